/* The log: entries with consecutive indexes, from 1 on, each with a term, a small type and bytes,
 * kept in segment files of one directory; beside them a hard state (a term and a vote). What the
 * files hold, log_format.h and docs/log-format.md say.
 *
 * Every change is a record in one journal: an entry, a truncation, a state. So a crash, whenever it
 * comes, leaves what the log was after some prefix of the calls; after a power cut, a prefix that
 * holds at least all that a completed sync covers. That is the whole order of durability: a state
 * that was set before an entry is durable if the entry is, and the other way round.
 *
 * Nothing here waits for the disk but open, close, reads of what has left memory, and an append
 * that needs a new segment before the log's thread has it ready. Calls change memory; what they
 * have gathered leaves in one write at ln_log_flush, which comes by itself in the flush phase of
 * the iteration, or, while a sync is under way, when that has ended (or sooner, when 4 MiB have
 * gathered). Output of connections leaves in that phase,
 * too, in no certain order: who answers for what he has appended calls ln_log_flush in
 * before_sleep. Written is safe from the end of the process, not from a power cut: that is what
 * ln_log_sync is for.
 *
 * Failures. A write or a sync that fails ends the log: nothing is tried again, because after a
 * failed sync the system may have dropped what it could not write. Every later call but close
 * returns that status, and ln_log_detail tells its cause. A disk without space is not such a
 * failure: room is allocated ahead, a segment at a time, so it shows before anything is written: an
 * append that needs a new segment fails with -ENOSPC (or -EDQUOT, -EMFILE, …), nothing has changed,
 * and the thread tries anew each time that somebody asks, and when truncation has freed segments.
 * At the end of each segment there is a reserve that entries leave alone, for truncations and
 * states: what frees space works on a full disk.
 *
 * Opening cuts a torn tail: what a crash left behind the last whole record. The rule: the first
 * record that is not intact is a torn one if nothing intact behind it says that it was written
 * after that place had been synced, and if the damage is one that a torn write makes: sectors of
 * 512 bytes that were not written, and so are zero. Else it is damage, and the log does not open.
 * See docs/log-format.md.
 *
 * Not thread-safe: all calls come from the loop's thread. */
#ifndef LUNODE_LOG_H
#define LUNODE_LOG_H

#include "loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ln_log;

struct ln_log_options {
    bool create;           /* make the directory where it is missing; its parent must be there */
    uint32_t segment_size; /* bytes, 4 KiB … 1 GiB; 0: 32 MiB */
    size_t memory;         /* bytes of the newest records that are read from memory; 0: 1 MiB */
};

/* Opens the log, one process at a time, recovers it, and syncs what it found: ln_log_synced is
 * ln_log_last. Borrows the loop. LN_OK; else nothing has changed on disk, and detail (which may be
 * NULL) tells what to do: LN_ELOCKED; LN_ECORRUPT, with segment and offset; LN_EVERSION; -EINVAL,
 * -ENOSPC, -EACCES, … */
int ln_log_open(struct ln_loop *loop, const char *dir, const struct ln_log_options *options,
                struct ln_detail *detail, struct ln_log **out);

typedef void (*ln_log_close_fn)(void *arg);

/* Writes, syncs and closes; waits for the disk. Syncs under way end, each with its callback, in the
 * loop's closing phase, then fn (which may be NULL) is called; the memory goes there, too. Returns
 * how the last write and sync went. Once closed, every other call is a mistake. */
int ln_log_close(struct ln_log *log, ln_log_close_fn fn, void *arg);

/* Forgets all callbacks: for an owner who ends before the loop has turned. */
void ln_log_forget(struct ln_log *log);

/* ---- entries */

enum { LN_LOG_MAX_TYPE = 127, LN_LOG_MAX_VOTE = 128 };
#define LN_LOG_MAX_PAYLOAD ((size_t)1 << 30)
#define LN_LOG_MAX_INDEX   (UINT64_MAX / 2)

struct ln_log_entry {
    uint64_t index, term;
    const char *payload;
    size_t len;
    uint8_t type; /* 0 … LN_LOG_MAX_TYPE, the owner's to give a meaning */
};

/* The log is empty where first is last + 1. */
uint64_t ln_log_first(const struct ln_log *log);
uint64_t ln_log_last(const struct ln_log *log);

/* Up to this index, the log as it is now is on disk. */
uint64_t ln_log_synced(const struct ln_log *log);

/* Appends an entry and gives its index. Copies the payload. Terms never go back: -EINVAL.
 * -EMSGSIZE: payload too long; -EOVERFLOW: past LN_LOG_MAX_INDEX; -ENOSPC, …: no room, see above;
 * -ENOMEM. Nothing has changed then.
 */
int ln_log_append(struct ln_log *log, uint64_t term, uint8_t type, const char *payload, size_t len,
                  uint64_t *index);

/* Makes sure that an entry with a payload of up to len bytes can be appended next: LN_OK, or what
 * the append would fail with. For who has to know before he does what he is going to log. Without
 * `wait`, -EAGAIN where the log's thread is still busy with the segment that this takes, or with a
 * sync before it: it will be there soon. */
int ln_log_room(struct ln_log *log, size_t len, bool wait);

/* The term of an entry, and of the one before the first. -ERANGE: there is no such entry. */
int ln_log_term(const struct ln_log *log, uint64_t index, uint64_t *term);

/* Drops the entry `index` and all behind it. Nothing where there is none. -EINVAL: it is before the
 * first; -ENOSPC where the reserve is used up. */
int ln_log_truncate_suffix(struct ln_log *log, uint64_t index);

/* Drops the entries up to `index`, that one included: a snapshot holds them. Where the log has no
 * entry of that index and term, all entries go, and the next one follows index: the snapshot is
 * another node's. Nothing where index is before the first. Segments without an entry left are
 * deleted once this is durable, which needs no ln_log_sync. Errors as above. */
int ln_log_truncate_prefix(struct ln_log *log, uint64_t index, uint64_t term);

/* ---- the hard state: durable with the next sync, in the order of the calls */

struct ln_log_state {
    uint64_t term;
    const char *vote; /* valid until the next call */
    size_t vote_len;
};

struct ln_log_state ln_log_state(const struct ln_log *log);

/* Copies the vote, of up to LN_LOG_MAX_VOTE bytes: -EMSGSIZE. */
int ln_log_set_state(struct ln_log *log, uint64_t term, const char *vote, size_t vote_len);

/* ---- writing */

/* Writes what has gathered, in one go. */
int ln_log_flush(struct ln_log *log);

struct ln_log_sync;

/* status LN_OK: all that the log held at ln_log_sync is on disk, and `index` is what ln_log_synced
 * says. Else the log has ended, and index is the last that is known to be on disk. */
typedef void (*ln_log_sync_fn)(struct ln_log_sync *sync, int status, uint64_t index);

struct ln_log_sync { /* fields are the log's until fn is called */
    ln_log_sync_fn fn;
    uint64_t position;
    struct ln_log_sync *next;
};

/* Calls fn once all changes so far are on disk; never within this call, in the order of the calls.
 * The sync begins with the next flush, on the log's thread; changes go on meanwhile, and one sync
 * serves all who came while the one before was under way. Keeps the loop alive. Borrows sync. Where
 * it fails, fn is not called. */
int ln_log_sync(struct ln_log *log, struct ln_log_sync *sync, ln_log_sync_fn fn);

/* Why the log has ended, or why the last call failed. */
const char *ln_log_detail(const struct ln_log *log);

/* ---- reading: entries in order, each checked against its checksum. Several cursors may be at work
 * while the log changes; each step gives what the log then holds. */

struct ln_log_window {
    int fd;
    uint64_t size; /* of the file, as far as it may be read */
    char *data;
    size_t cap, len;
    uint64_t at; /* offset of data in the file */
};

struct ln_log_cursor { /* all fields private */
    struct ln_log *log;
    uint64_t next, to, until, position, number, changes, truncations;
    struct ln_log_window window;
};

/* Reads from `from` up to `to`, which may lie behind the end. Costs nothing yet. */
void ln_log_cursor_open(struct ln_log *log, uint64_t from, uint64_t to, struct ln_log_cursor *c);

/* The next entry; its payload is valid until the next call on this cursor or the log. LN_EOF: there
 * are no more (yet); -ERANGE: the entry was dropped from the front; LN_ECORRUPT, -EIO, …: see
 * ln_log_detail. */
int ln_log_cursor_next(struct ln_log_cursor *c, struct ln_log_entry *out);
void ln_log_cursor_close(struct ln_log_cursor *c);

/* ---- watching */

struct ln_log_stats {
    uint64_t segments;
    uint64_t disk_bytes; /* that the segments take */
    uint64_t appends, writes, written_bytes;
    uint64_t syncs, synced_bytes; /* since the log was opened */
    double last_sync_seconds;     /* how long it took */
    uint64_t waits;               /* how often an append waited for a segment */
    uint64_t unwritten_bytes, unsynced_bytes;
    bool full; /* there is no room for another segment */
};

void ln_log_stats(struct ln_log *log, struct ln_log_stats *out);

/* ---- checking: reads a directory, also while another process writes there; changes nothing */

enum ln_log_finding_kind {
    LN_LOG_FOUND_SEGMENT, /* begins: index is the last entry before it */
    LN_LOG_FOUND_RECORD,
    LN_LOG_FOUND_TORN,   /* unfinished at the end: opening will cut it */
    LN_LOG_FOUND_UNUSED, /* a segment without anything in it: room made ahead, or cut */
    LN_LOG_FOUND_DAMAGE  /* opening refuses */
};

struct ln_log_finding {
    enum ln_log_finding_kind kind;
    uint64_t segment, offset;
    const char *what; /* of a record: "entry", "state", …; else a sentence */
    bool is_entry;
    struct ln_log_entry record; /* of a record; payload valid in the call only */
};

/* Not LN_OK: stops the check, which returns it. */
typedef int (*ln_log_finding_fn)(void *arg, const struct ln_log_finding *finding);

struct ln_log_report {
    uint64_t segments, records, entries, bytes, damages;
    uint64_t first, last, state_term; /* as far as it can be read */
    bool torn;
};

/* Walks through every record of every segment. fn may be NULL. LN_OK: all is well, a torn tail
 * aside; LN_ECORRUPT: there were damages, each of which fn was told; LN_EVERSION, -ENOENT, …, with
 * detail (may be NULL). */
int ln_log_check(const char *dir, ln_log_finding_fn fn, void *arg, struct ln_detail *detail,
                 struct ln_log_report *report);

#endif
