/* The inside of a log, for log.c and its parts: log_open.c, log_append.c, log_sync.c, log_read.c.
 */
#ifndef LUNODE_LOG_IMPL_H
#define LUNODE_LOG_IMPL_H

#include "log.h"
#include "log_format.h"
#include "log_index.h"
#include "log_thread.h"

struct ln_log {
    struct ln_loop *loop;
    char *dir;
    int dir_fd, lock_fd;
    uint32_t segment_size;
    size_t memory;

    struct ln_log_facts facts;
    struct ln_log_index index;
    uint64_t lowest; /* the oldest segment that is there */

    /* The segment that is written to. */
    uint64_t number;
    uint64_t previous_end; /* where the one before ends */
    int fd;
    uint64_t capacity;
    uint64_t written, end; /* offsets: the file has what is before, memory has all */
    char *tail;            /* the bytes from tail_start up to end */
    size_t tail_cap;
    uint64_t tail_start;
    uint64_t tail_keep; /* offset of a record: what lies before goes first; 0: there is none yet */
    bool asked;         /* for the next segment */
    int next_fd;        /* it was taken from the thread already; or -1 */

    uint64_t synced_position, synced;     /* what is on disk: up to there, and that entry */
    uint64_t sync_position, sync_index;   /* the sync under way; 0: there is none */
    uint64_t remove_position, remove_end; /* segments may go once that position is synced */
    struct ln_log_sync *waiters, **waiters_end;

    struct ln_async async;
    bool async_on, thread_on, held;
    struct ln_log_thread thread;
    struct ln_job flush_job, complete_job, close_job;

    int status; /* not LN_OK: it has ended */
    struct ln_detail detail;
    bool closed;
    uint64_t opened_end; /* the position that it was opened with */
    ln_log_close_fn close_fn;
    void *close_arg;
    struct ln_log_stats stats;
};

/* Takes the record, whose effect is in the facts already, into the index. */
int ln_log_note(struct ln_log_index *index, const struct ln_log_facts *facts, uint8_t type,
                uint64_t entry, uint64_t term, uint64_t position);

/* Fills log from what is on disk: all but what open gave it. */
int ln_log_recover(struct ln_log *log, struct ln_detail *detail);

/* Ends the log, which keeps the first reason. Returns status. */
int ln_log_fail(struct ln_log *log, int status, const char *doing);

/* A failure of this call only. Returns status. */
int ln_log_refuse(struct ln_log *log, int status, const char *doing);

/* Appends what log->facts do not know yet. REQUIRES: it can follow, and ln_log_index_reserve for
 * an entry. */
int ln_log_put(struct ln_log *log, const struct ln_log_record *record);
int ln_log_write_tail(struct ln_log *log);
void ln_log_will_flush(struct ln_log *log);

int ln_log_start_thread(struct ln_log *log);
void ln_log_begin_sync(struct ln_log *log);

/* Tells those who wait. */
void ln_log_complete(struct ln_log *log);

#endif
