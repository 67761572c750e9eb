/* The ordered store: byte strings to byte strings, ordered as memcmp orders them.
 *
 * Three layers. Writes go into an overlay in memory, where reads and scans see them at once. A
 * thread writes overlays that have grown to the engine (LevelDB, RocksDB or memory), each as one
 * atomic, synced batch together with the index of the last log entry in it. Between them lies a
 * cache of rows that were read. So the engine's stalls are not the caller's: writes go on until the
 * overlays have reached a bound, and ln_store_room says no; reads go on always.
 *
 * Two ways to use it:
 *
 * - Under a log. Each entry's writes are followed by ln_store_advance(index). What is flushed is
 *   always a whole number of entries; after a crash, ln_store_applied says up to which entry, and
 *   the log brings back the rest. on_flushed says up to where the log is no longer needed.
 * - Alone. ln_store_commit writes all that is pending as one atomic batch, and blocks meanwhile.
 *
 * begin and rollback undo the writes of one command.
 *
 * The directory is specified in docs/data-format.md.
 *
 * Keys and values are copied in. What is handed out is borrowed, each for as long as it says.
 * Callbacks come from the loop, never from within a call. Not thread-safe. */
#ifndef LUNODE_STORE_H
#define LUNODE_STORE_H

#include "loop.h"
#include "overlay.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longer keys and values are refused with -E2BIG. */
#define LN_STORE_MAX_BYTES ((size_t)1 << 30)

struct ln_store;
struct ln_scan;
struct ln_snapshot;
struct ln_store_flush;

struct ln_store_options {
    bool create; /* make the directory (not its parents) where it is missing */
    /* Bytes of cache: a quarter for rows, the rest for blocks. Beside it stay: the last overlays
     * flushed, as far as they are not larger together; ranges that are read again, up to a quarter,
     * and what was made of their rows, up to an eighth. */
    size_t cache;
    const char *engine; /* "leveldb", "rocksdb", "memory"; NULL: the directory's, leveldb if new */
    size_t overlay;     /* bytes of memory at which an overlay is flushed */
    size_t limit;       /* bytes of all overlays past which there is no room */
    int64_t max_age;    /* nanoseconds after which an overlay is flushed at the next advance */

    /* All that was written up to index is durable, and the log's prefix may go; or the flush has
     * failed, which is final. Either may be NULL. An engine that keeps nothing tells nothing. */
    void (*on_flushed)(void *arg, int status, const struct ln_detail *detail, uint64_t index);
    /* There is room again, after ln_store_room said no. */
    void (*on_room)(void *arg);
    void *arg;
};

#define LN_STORE_OPTIONS_DEFAULT                                                                   \
    ((struct ln_store_options){.create = true,                                                     \
                               .cache = 64 << 20,                                                  \
                               .overlay = 32 << 20,                                                \
                               .limit = 96 << 20,                                                  \
                               .max_age = 30 * LN_SECOND})

/* Opens the store in dir; options may be NULL, and so may dir for the engine "memory", which then
 * touches no disk. LN_OK; or a status, a detail that says in one sentence what is wrong and what to
 * do, and everything that was in dir is still there:
 *
 *   LN_ELOCKED   another process, or this one, has it open
 *   LN_EVERSION  made by a newer lunode
 *   LN_EFOREIGN  the directory is not empty and not lunode's
 *   LN_EENGINE   it holds another engine's data
 *   LN_ECORRUPT  damaged
 *   -EINVAL      there is no such engine
 *   -ENOSYS      this engine was left out of the build, or cannot be loaded
 *   -ENOENT, -ENOTDIR, -EACCES, -EROFS, -ENOSPC, … from the system */
int ln_store_open(struct ln_loop *loop, const char *dir, const struct ln_store_options *options,
                  struct ln_detail *detail, struct ln_store **out);

/* Drops what is not flushed, ends all scans and snapshots, and gives the directory back at once;
 * waits for a batch that is being written. Flushes that were asked for end with -ECANCELED. The
 * store's memory goes in the loop's closing phase. */
void ln_store_close(struct ln_store *s);

/* The same, and nobody is told of anything any more. */
void ln_store_discard(struct ln_store *s);

/* ---- rows */

/* A value found: borrowed until the next call on the store, or owned. */
struct ln_value {
    const char *data; /* never NULL after LN_OK */
    size_t len;
    char *owned; /* private */
};

/* LN_OK: the caller releases the value. -ENOENT: there is no such row, without detail. Else why it
 * cannot be read. */
int ln_store_get(struct ln_store *s, const void *key, size_t klen, struct ln_detail *detail,
                 struct ln_value *value);

/* Tells that these rows will be asked for soon, in this turn: what is in memory of them is fetched
 * into the processor's cache, all at once. REQUIRES: count <= LN_STORE_AHEAD. */
enum { LN_STORE_AHEAD = 16 };
struct ln_store_key {
    const char *key;
    size_t len;
};
void ln_store_ahead(const struct ln_store *s, const struct ln_store_key *keys, size_t count);

/* Idempotent; a zeroed value may be released too. */
void ln_value_release(struct ln_value *value);

/* LN_OK; or -ENOMEM, -E2BIG, or what a flush has failed with, and nothing has changed. Key and
 * value may be borrowed from this store. */
int ln_store_put(struct ln_store *s, const void *key, size_t klen, const void *value, size_t vlen);
int ln_store_delete(struct ln_store *s, const void *key, size_t klen);

/* As put. REQUIRES: there is no such row, as ln_store_get would say (else a later delete may bring
 * an older value back). It costs the engine nothing where it is deleted before it was flushed. */
int ln_store_put_new(struct ln_store *s, const void *key, size_t klen, const void *value,
                     size_t vlen);

/* Whether the writes since the mark, at the least, have left such a row. Looks at no engine and no
 * cache: for who knows that there was none before. */
bool ln_store_wrote(const struct ln_store *s, const void *key, size_t klen);

/* Deletes the rows with from <= key < to (to == NULL: no end), however many, with one marker: as of
 * now they are gone from all reads and scans; the engine's rows go in the background. */
int ln_store_delete_range(struct ln_store *s, const void *from, size_t from_len, const void *to,
                          size_t to_len);

/* Tells that there are no rows with this prefix but those that will be written from now on. Reads
 * of such rows and walks over them do without the engine as long as memory has them all: up to some
 * flushes later. REQUIRES: that is so. One that is longer than 16 bytes is not remembered. */
void ln_store_fresh(struct ln_store *s, const void *prefix, size_t len);

/* begin sets the mark to here; rollback undoes all writes since the mark, which stays. There is one
 * mark, they do not nest. Open, advance, commit, flush and snapshot set it too: what they saw
 * stays. */
void ln_store_begin(struct ln_store *s);
void ln_store_rollback(struct ln_store *s);

/* ---- under a log */

/* All writes so far belong to entries up to index. LN_OK; -EINVAL where index is not greater than
 * the last one; or what a flush has failed with. */
int ln_store_advance(struct ln_store *s, uint64_t index);

/* The last advance; after open, of what is in the engine. 0: none. */
uint64_t ln_store_applied(const struct ln_store *s);

/* LN_OK: write on. -EAGAIN: the overlays are past their bound, as the flush is behind. -ENOSPC: the
 * disk is full; the flush tries again by itself, once there is space. Writes are taken all the
 * same, since an entry that is in the log has to be applied; it is for the caller to stop proposing
 * until on_room. Else what a flush has failed with, for good. */
int ln_store_room(struct ln_store *s, struct ln_detail *detail);

/* A flush that somebody waits for. */
struct ln_store_flush {
    /* Once: LN_OK when all that was written before is durable; else why it is not. */
    void (*fn)(struct ln_store_flush *flush, int status, const struct ln_detail *detail,
               uint64_t index);
    struct ln_store_flush *next; /* private, and so is the rest */
    uint64_t number;
};

/* Has everything that is written by now flushed (under a log: up to the next advance, where an
 * entry is half applied), and calls flush->fn, until when the flush belongs to the store and the
 * loop stays alive. LN_OK; or what a flush has failed with, or why there is no thread; and fn is
 * not called. */
int ln_store_flush(struct ln_store *s, struct ln_store_flush *flush, struct ln_detail *detail);

/* ---- alone */

/* Writes all that is pending as one atomic batch, on this thread, behind flushes under way. Once it
 * returns LN_OK they survive a crash of this process; with sync, they and all before survive a
 * power failure, also where nothing is pending. -EINVAL in the middle of a log's entry.
 *
 * After a failure the writes are still pending and readable, but what the disk holds is unknown:
 * the batch may come back whole at the next open, or not at all. So the store stops: every later
 * write fails with the same status and detail, and the only way on is to close and open anew. Only
 * on a full disk (-ENOSPC) a later commit opens the engine anew by itself, and writes all again. */
int ln_store_commit(struct ln_store *s, bool sync, struct ln_detail *detail);

/* How many writes are not flushed or committed. */
size_t ln_store_pending(const struct ln_store *s);

/* ---- scans */

/* Walks the rows with from <= key < to, backwards with reverse; to == NULL: no end. LN_OK or
 * -ENOMEM. */
int ln_store_scan(struct ln_store *s, const void *from, size_t from_len, const void *to,
                  size_t to_len, bool reverse, struct ln_scan **out);

/* The first row past the row before, in the store as it is now: writes, rollback, flushes and
 * commit between two calls are allowed, and show. The row is borrowed until the next call on the
 * scan or the store. LN_EOF at the end; -EBADF once the store, or the snapshot, is closed; else why
 * the row cannot be read. */
int ln_scan_next(struct ln_scan *scan, struct ln_detail *detail, struct ln_overlay_row *row);

/* Frees the scan, before or after its store's close. */
void ln_scan_close(struct ln_scan *scan);

/* A walk within one call. REQUIRES: row writes nothing. */
struct ln_walk {
    const char *from, *to; /* as in a scan */
    size_t from_len, to_len;
    bool reverse;
    int (*row)(void *arg, const struct ln_overlay_row *row); /* other than LN_OK ends the walk */
    /* NULL; or is told of rows that lie beside each other in one call, deleted ones included. */
    int (*run)(void *arg, struct ln_overlay *rows, const struct ln_overlay_run *run);
    void *arg;
};

/* Meets the rows of a range that memory has, in order, and not those that only the engine has: for
 * who knows how many there are, and scans where they were not all met. Takes a tenth of what a scan
 * does. LN_OK, or what row has returned. */
int ln_store_walk(struct ln_store *s, const struct ln_walk *range);

/* Whether memory has all rows of a range, so that a walk meets them all. Where it has not, and the
 * range was asked for before, they are brought from the engine, if they are not too many. Scans of
 * what lies within do without the engine, too. count: how many rows there are, about. */
bool ln_store_load(struct ln_store *s, const char *from, size_t from_len, const char *to,
                   size_t to_len, uint64_t count);

/* ---- snapshots */

/* The rows as they are now, whatever is written later. Costs memory up to the next flush, and then
 * disk space. LN_OK; -EINVAL in the middle of a log's entry; -EAGAIN where too many were taken
 * while the flush was behind: wait for room, or for a flush; -ENOMEM. */
int ln_store_snapshot(struct ln_store *s, struct ln_detail *detail, struct ln_snapshot **out);

/* As of the store. A snapshot that a full disk has taken (the engine had to be opened anew) says
 * -ESTALE; that of a closed store -EBADF. */
int ln_snapshot_get(struct ln_snapshot *snapshot, const void *key, size_t klen,
                    struct ln_detail *detail, struct ln_value *value);
int ln_snapshot_scan(struct ln_snapshot *snapshot, const void *from, size_t from_len,
                     const void *to, size_t to_len, bool reverse, struct ln_scan **out);

/* The index that the snapshot stands at. */
uint64_t ln_snapshot_applied(const struct ln_snapshot *snapshot);

/* Ends its scans and frees it, before or after its store's close. */
void ln_snapshot_close(struct ln_snapshot *snapshot);

/* ---- figures */

struct ln_store_stats {
    size_t pending;         /* rows and ranges written and not flushed or committed */
    size_t pending_bytes;   /* of their keys and values */
    size_t overlay_bytes;   /* of memory that the overlays take */
    size_t frozen;          /* overlays that are being flushed, or wait for it */
    uint64_t batches;       /* flushed or committed since open */
    uint64_t applied;       /* the last advance */
    uint64_t durable;       /* up to which the engine has it */
    uint64_t flushed_bytes; /* keys and values, since open */
    int64_t flush_time;     /* nanoseconds that the last flush took */
    uint64_t purged;        /* rows that deleted ranges took out of the engine */
    uint64_t cache_hits, cache_misses;
    size_t cache_rows, cache_bytes;
    uint64_t disk_bytes; /* about; the engine's log is not counted */
    const char *engine;  /* "leveldb" */
    bool full;           /* waits for disk space */
};

void ln_store_stats(struct ln_store *s, struct ln_store_stats *out);

#endif
