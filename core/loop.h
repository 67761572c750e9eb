/* The event loop: epoll readiness, timers, deferred calls, wake-ups from threads, signals.
 *
 * One iteration, in order:
 *   1. timers that were due when it began (those they add wait for the next iteration)
 *   2. deferred calls (those they add wait, too)
 *   3. epoll_wait, then socket callbacks: they read what has come
 *   4. deliver: jobs that hand on what was read
 *   5. completions from threads: asyncs that were posted
 *   6. before_sleep hooks
 *   7. flush: jobs that send buffered output
 *   8. closing: jobs that free; the only place where an object's memory goes
 *
 * Reading, handling and sending have a phase each, so that the kernel's code and that of the
 * handlers do not push each other out of the processor's caches with each message.
 *
 * Objects are intrusive: their owner embeds an ln_timer, ln_io, ln_job, ln_async or ln_hook and
 * keeps it alive while it is active. The loop allocates only its own tables. Not thread-safe, but
 * for ln_async_post.
 *
 * The loop is alive while a timer or an io is active, a job is queued or an async is held. Hooks
 * and signals do not count. A callback may start and stop anything, and stop the loop; it may not
 * close the loop. */
#ifndef LUNODE_LOOP_H
#define LUNODE_LOOP_H

#include "status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LN_SECOND INT64_C(1000000000)

/* The object that embeds a handle, from a pointer to the handle. */
#define LN_OWNER(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

struct ln_loop;
struct ln_timer;
struct ln_io;
struct ln_job;
struct ln_async;
struct ln_hook;
struct ln_signal;

/* Creates a loop: LN_OK, -EMFILE, -ENOMEM, … */
int ln_loop_open(struct ln_loop **out);

/* Runs the closing jobs that are queued, then frees the loop. LN_OK; or -EBUSY, and the loop stays,
 * inside of a callback or while an io, a timer, an async or a signal is active or a job is queued.
 */
int ln_loop_close(struct ln_loop *loop);

/* Runs iterations until nothing is active or ln_loop_stop was called. LN_OK; -EBUSY inside of a
 * callback, because the closing phase would free objects whose callback is under way; or what
 * epoll_wait failed with. */
int ln_loop_run(struct ln_loop *loop);

/* One iteration that sleeps at most max_wait nanoseconds (negative: as long as it takes). As
 * ln_loop_run. */
int ln_loop_step(struct ln_loop *loop, int64_t max_wait);

/* Makes ln_loop_run return at the end of this iteration; called before ln_loop_run, at once. A step
 * ends by itself, and takes it for that. */
void ln_loop_stop(struct ln_loop *loop);

bool ln_loop_alive(const struct ln_loop *loop);

/* CLOCK_MONOTONIC in nanoseconds, as of this iteration (read again after each sleep). */
int64_t ln_loop_now(const struct ln_loop *loop);

/* Memory that readers share, of LN_LOOP_READ bytes: valid inside of one socket callback; what of it
 * is given to ln_loop_deliver, until that job has run. */
enum { LN_LOOP_READ = 64 << 10 };
char *ln_loop_space(struct ln_loop *loop);

/* ---- timers: a heap ordered by (due, start order) */

typedef void (*ln_timer_fn)(struct ln_timer *timer);

struct ln_timer { /* all fields private */
    struct ln_loop *loop;
    ln_timer_fn fn;
    int64_t due;
    int64_t interval;
    uint64_t order;
    size_t index; /* in the heap, from 1; 0: not active */
};

/* Fires fn after delay nanoseconds, and then every interval where it is > 0. Starting an active
 * timer starts it anew. LN_OK or -ENOMEM. */
int ln_timer_start(struct ln_loop *loop, struct ln_timer *timer, int64_t delay, int64_t interval,
                   ln_timer_fn fn);
void ln_timer_stop(struct ln_timer *timer);
static inline bool ln_timer_active(const struct ln_timer *timer) {
    return timer->index != 0;
}

/* ---- jobs: calls to come. A job that is queued already stays where it is. */

typedef void (*ln_job_fn)(struct ln_job *job);

struct ln_job { /* all fields private */
    ln_job_fn fn;
    struct ln_job *prev, *next; /* NULL: not queued */
};

void ln_loop_defer(struct ln_loop *loop, struct ln_job *job, ln_job_fn fn);
/* Only inside of a socket callback, once; taken: bytes from ln_loop_space on. When much has been
 * taken, the jobs so far run before the next socket's callback. */
void ln_loop_deliver(struct ln_loop *loop, struct ln_job *job, ln_job_fn fn, size_t taken);
void ln_loop_flush(struct ln_loop *loop, struct ln_job *job, ln_job_fn fn);
void ln_loop_closing(struct ln_loop *loop, struct ln_job *job, ln_job_fn fn);
void ln_job_cancel(struct ln_job *job);

/* ---- before_sleep hooks, in the order they were added */

typedef void (*ln_hook_fn)(struct ln_hook *hook);

struct ln_hook { /* all fields private */
    ln_hook_fn fn;
    struct ln_hook *prev, *next;
};

void ln_hook_add(struct ln_loop *loop, struct ln_hook *hook, ln_hook_fn fn);
void ln_hook_remove(struct ln_loop *loop, struct ln_hook *hook);

/* ---- io: level-triggered readiness of a descriptor that the owner keeps open until ln_io_stop.
 * Events reach the loop by slot and generation, so one that was meant for a stopped io, or for the
 * descriptor's former owner, is dropped. */

typedef void (*ln_io_fn)(struct ln_io *io, uint32_t events);

struct ln_io { /* all fields private but fd */
    struct ln_loop *loop;
    ln_io_fn fn;
    int fd;
    uint32_t slot; /* from 1; 0: not active */
    uint32_t events;
};

/* Watches fd for EPOLLIN, EPOLLOUT, … (0: errors and hang-ups only). LN_OK, -ENOMEM, -ENOSPC, … */
int ln_io_start(struct ln_loop *loop, struct ln_io *io, int fd, uint32_t events, ln_io_fn fn);
int ln_io_set(struct ln_io *io, uint32_t events);
void ln_io_stop(struct ln_io *io);
static inline bool ln_io_active(const struct ln_io *io) {
    return io->slot != 0;
}

/* ---- asyncs: how other threads wake the loop, through one eventfd per loop. Several posts between
 * two iterations are one call: what there is to say waits in the owner's own queue, under its lock.
 */

typedef void (*ln_async_fn)(struct ln_async *async);

struct ln_async { /* all fields private */
    struct ln_loop *loop;
    ln_async_fn fn;
    atomic_bool posted;
    size_t holds;
    struct ln_async *prev, *next; /* NULL: not active */
};

/* From here on fn answers posts. It keeps nothing alive until it is held. LN_OK, -EMFILE, … */
int ln_async_start(struct ln_loop *loop, struct ln_async *async, ln_async_fn fn);

/* From any thread. REQUIRES: the async is active, and stays so while this runs. */
void ln_async_post(struct ln_async *async);

/* Counts work under way whose post is awaited: the loop is alive until all of it is released. */
void ln_async_hold(struct ln_async *async);
void ln_async_release(struct ln_async *async);

/* REQUIRES: no thread posts any more. Drops what was posted, and all holds. */
void ln_async_stop(struct ln_async *async);

/* ---- signals, through one signalfd per loop */

typedef void (*ln_signal_fn)(struct ln_signal *signal);

struct ln_signal { /* all fields private but signum */
    ln_signal_fn fn;
    int signum;
    bool active;
    struct ln_signal *prev, *next;
};

/* Blocks signum for this thread (which programs it starts inherit) and calls fn each time it
 * arrives. LN_OK, -EINVAL, … */
int ln_signal_start(struct ln_loop *loop, struct ln_signal *signal, int signum, ln_signal_fn fn);
/* With the last watcher of a signum, the signal gets its former effect back. */
void ln_signal_stop(struct ln_loop *loop, struct ln_signal *signal);

#endif
