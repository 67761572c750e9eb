/* The log's own thread: syncs, makes segments ahead, removes old ones, so that the loop waits for
 * none of it. For the log's own files. It starts at the first request. */
#ifndef LUNODE_LOG_THREAD_H
#define LUNODE_LOG_THREAD_H

#include "loop.h"

#include <pthread.h>

enum { LN_LOG_MOST_FULL = 4 };

/* What has come of it, for the loop. */
struct ln_log_done {
    uint64_t synced; /* position up to which all is on disk */
    uint64_t syncs;
    int64_t last_sync; /* nanoseconds it took */
    int status;        /* not LN_OK: a sync has failed, and the thread does nothing any more */
    struct ln_detail detail;
};

struct ln_log_thread { /* all fields private */
    pthread_mutex_t lock;
    pthread_cond_t wake, made;
    pthread_t id;
    struct ln_async *async; /* is posted when a sync has ended */
    bool started, stop;

    int dir_fd;
    int full[LN_LOG_MOST_FULL]; /* segments to be synced and closed */
    size_t full_count;
    int sync_fd;
    uint64_t sync_to; /* 0: none is wanted */
    bool wanted, making;
    uint64_t number, size;            /* of the segment wanted */
    uint64_t remove_from, remove_end; /* segments to be removed */

    int made_fd;     /* -1: there is none */
    int made_status; /* how the last attempt went */
    struct ln_log_done done;
};

void ln_log_thread_init(struct ln_log_thread *t, int dir_fd, struct ln_async *async);

/* LN_OK, or -EAGAIN: no thread can be made. Does nothing where it runs. */
int ln_log_thread_start(struct ln_log_thread *t);

/* These ask for something. REQUIRES: it runs. */

/* Takes over a segment that has been written to its end: syncs and closes it. */
void ln_log_thread_full(struct ln_log_thread *t, int fd);

/* Syncs the segment and all that were full before; then done.synced is `to`, and async is posted.
 * Borrows fd. REQUIRES: no other sync is under way. */
void ln_log_thread_sync(struct ln_log_thread *t, int fd, uint64_t to);

/* Makes a segment, unless there is one, or it is about to. */
void ln_log_thread_make(struct ln_log_thread *t, uint64_t number, uint64_t size);

/* The segment made, which becomes the caller's; waits while it is being made, and sets *waited
 * then; or, without `wait`, -EAGAIN. Where the last attempt has failed, its status, and another one
 * begins. */
int ln_log_thread_take(struct ln_log_thread *t, uint64_t number, uint64_t size, bool wait,
                       bool *waited, int *fd);

/* Removes the segments from `from` up to before `end`. */
void ln_log_thread_remove(struct ln_log_thread *t, uint64_t from, uint64_t end);

/* Whether the last attempt to make a segment has failed for lack of something. */
bool ln_log_thread_lacks(struct ln_log_thread *t);

void ln_log_thread_done(struct ln_log_thread *t, struct ln_log_done *out);

/* Ends it after what it does at the moment. Syncs the full segments that it has not; a segment made
 * that nobody took is removed. Returns the first failure. */
int ln_log_thread_stop(struct ln_log_thread *t);

#endif
