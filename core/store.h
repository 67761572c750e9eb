/* The ordered store: byte strings to byte strings, ordered as memcmp orders them.
 *
 * Writes gather in an overlay in memory, where reads and scans see them at once; commit hands them
 * to the engine as one atomic batch. begin and rollback undo the writes of one command.
 *
 * A data directory holds
 *
 *   FORMAT   text, one line: "lunode data 1\n"
 *   LOCK     locked while a process has the store open; holds that process's id in decimal
 *   db/      the engine's files
 *
 * FORMAT appears as a whole (written as FORMAT.tmp, synced, renamed) and before the engine writes
 * anything. So a directory without FORMAT that holds only LOCK and FORMAT.tmp (or lost+found) was
 * never finished, and is as good as empty; one that holds anything else is not ours and stays
 * untouched.
 *
 * Keys and values are copied in. What is handed out is borrowed, each for as long as it says.
 * Nothing here calls back. Not thread-safe. */
#ifndef LUNODE_STORE_H
#define LUNODE_STORE_H

#include "overlay.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longer keys and values are refused with -E2BIG. */
#define LN_STORE_MAX_BYTES ((size_t)1 << 30)

struct ln_store;
struct ln_scan;

struct ln_store_options {
    bool create;  /* make the directory (not its parents) where it is missing */
    size_t cache; /* bytes of the engine's block cache */
};

#define LN_STORE_OPTIONS_DEFAULT ((struct ln_store_options){.create = true, .cache = 64 << 20})

/* Opens the store in dir; options may be NULL. LN_OK; or a status, a detail that says in one
 * sentence what is wrong and what to do, and everything that was in dir is still there:
 *
 *   LN_ELOCKED   another process, or this one, has it open
 *   LN_EVERSION  made by a newer lunode
 *   LN_EFOREIGN  the directory is not empty and not lunode's
 *   LN_ECORRUPT  damaged
 *   -ENOENT, -ENOTDIR, -EACCES, -EROFS, -ENOSPC, … from the system */
int ln_store_open(const char *dir, const struct ln_store_options *options, struct ln_detail *detail,
                  struct ln_store **out);

/* Drops what is not committed, ends all scans (see ln_scan_next), and frees the store. */
void ln_store_close(struct ln_store *s);

/* ---- rows */

/* A value found: borrowed from the overlay until the next write, rollback or commit, or owned. */
struct ln_value {
    const char *data; /* never NULL after LN_OK */
    size_t len;
    char *owned; /* private */
};

/* LN_OK: the caller releases the value. -ENOENT: there is no such row, without detail. Else why it
 * cannot be read. */
int ln_store_get(struct ln_store *s, const void *key, size_t klen, struct ln_detail *detail,
                 struct ln_value *value);

/* Idempotent; a zeroed value may be released too. */
void ln_value_release(struct ln_value *value);

/* LN_OK; or -ENOMEM, -E2BIG, and nothing has changed. Key and value may be borrowed from this
 * store. */
int ln_store_put(struct ln_store *s, const void *key, size_t klen, const void *value, size_t vlen);
int ln_store_delete(struct ln_store *s, const void *key, size_t klen);

/* begin sets the mark to here; rollback undoes all writes since the mark, which stays. There is one
 * mark, they do not nest. Open and a successful commit set it too: what is committed stays. */
void ln_store_begin(struct ln_store *s);
void ln_store_rollback(struct ln_store *s);

/* Hands all pending writes to the engine as one atomic batch. Once it returns LN_OK they survive a
 * crash of this process; with sync, they and all earlier commits survive a power failure, also
 * where nothing is pending.
 *
 * After a failure the writes are still pending and readable, but what the disk holds is unknown:
 * the batch may come back whole at the next open, or not at all. So the store stops: every later
 * commit fails with the same status and detail, and the only way on is to close and open anew. */
int ln_store_commit(struct ln_store *s, bool sync, struct ln_detail *detail);

/* ---- scans */

/* Walks the rows with from <= key < to; to == NULL: no end. LN_OK or -ENOMEM. */
int ln_store_scan(struct ln_store *s, const void *from, size_t from_len, const void *to,
                  size_t to_len, struct ln_scan **out);

/* The first row whose key is greater than that of the row before, in the store as it is now:
 * writes, rollback and commit between two calls are allowed, and show. The row is borrowed until
 * the next call on the scan or the next write, rollback, commit or close of the store. LN_EOF at
 * the end; -EBADF once the store is closed; else why the row cannot be read. */
int ln_scan_next(struct ln_scan *scan, struct ln_detail *detail, struct ln_overlay_row *row);

/* Frees the scan, before or after its store's close. */
void ln_scan_close(struct ln_scan *scan);

/* ---- figures */

struct ln_store_stats {
    size_t pending;       /* rows written and not committed */
    size_t pending_bytes; /* of their keys and values */
    uint64_t batches;     /* committed since open */
    uint64_t disk_bytes;  /* about; the engine's log is not counted */
    const char *engine;   /* "leveldb" */
};

void ln_store_stats(struct ln_store *s, struct ln_store_stats *out);

size_t ln_store_pending(const struct ln_store *s);

#endif
