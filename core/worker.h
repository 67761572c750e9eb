/* A pool of threads for calls that block: work runs off the loop, its completion comes back through
 * the loop, in the order in which work ended.
 *
 * Threads start when there is work for them, up to the limit, take no signals, and stay until the
 * pool closes. Work is intrusive: its owner allocates it by itself, so that it can outlive him (see
 * drop). Not thread-safe: only `run` is called from another thread. */
#ifndef LUNODE_WORKER_H
#define LUNODE_WORKER_H

#include "loop.h"

struct ln_worker;
struct ln_work;

typedef void (*ln_work_fn)(struct ln_work *work);

/* All of it is private, but that the owner sets the three calls before he submits. */
struct ln_work {
    ln_work_fn run;  /* on a thread of the pool; may block; must touch nothing but the work's own */
    ln_work_fn done; /* on the loop, after run; the work is the owner's again */
    /* Instead of done, where the pool was closed before: frees the work. Called inside of
     * ln_worker_close, or after run on the pool's thread. */
    ln_work_fn drop;
    struct ln_work *prev, *next;
    enum { LN_WORK_IDLE, LN_WORK_QUEUED, LN_WORK_RUNNING, LN_WORK_ENDED } state;
    bool held;
};

struct ln_worker_options {
    size_t threads;   /* at most so many, up to 64; 0: 4 */
    size_t max_queue; /* work that waits for a thread; 0: 1024 */
};

/* Starts nothing yet. Copies the options, which may be NULL. LN_OK or -ENOMEM. */
int ln_worker_open(struct ln_loop *loop, const struct ln_worker_options *options,
                   struct ln_worker **out);

/* Queues work, which keeps the loop alive until it is done. LN_OK; or nothing happened: -ENOBUFS
 * (the queue is full), -ECANCELED (closed), -EAGAIN (not one thread can start), -EMFILE, … */
int ln_worker_submit(struct ln_worker *worker, struct ln_work *work);

/* Takes work back that no thread has begun: true, and it is the owner's again and no call follows.
 * False: it runs, or has run, and done follows (or drop, after a close). */
bool ln_worker_cancel(struct ln_worker *worker, struct ln_work *work);

/* Whether work under way keeps the loop alive (it does unless told otherwise). */
void ln_worker_hold(struct ln_worker *worker, struct ln_work *work, bool hold);

/* Waits for no work: what is not done yet is dropped, what runs by the thread that runs it,
 * whenever it returns. So a call that blocks for a minute keeps neither the loop nor the process
 * from ending. Threads that run nothing have ended when this returns, the others end after what
 * they run; the pool's memory goes in the loop's closing phase. */
void ln_worker_close(struct ln_worker *worker);

#endif
