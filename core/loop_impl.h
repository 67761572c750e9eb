/* The inside of a loop, for loop.c and its parts: loop_timer.c, loop_async.c, loop_signal.c. */
#ifndef LUNODE_LOOP_IMPL_H
#define LUNODE_LOOP_IMPL_H

#include "loop.h"

#include <pthread.h>
#include <signal.h>

struct slot {
    struct ln_io *io; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct ln_loop {
    int epfd;
    int64_t now;
    size_t active; /* timers, ios and held work that keep the loop alive */
    bool stopping;
    bool inside; /* an iteration is under way */

    struct ln_timer **heap; /* from 1 */
    size_t timers, heap_cap;
    uint64_t timer_order;

    struct slot *slots; /* from 1 */
    uint32_t slot_count, slot_cap, free_slot;

    struct ln_job deferred, deliver, flush, closing; /* list heads */
    struct ln_hook hooks;                            /* list head */
    struct ln_hook *next_hook;                       /* of the walk under way */

    struct ln_io async_io;
    struct ln_async asyncs; /* list head */
    struct ln_async *next_async;
    bool woken; /* in this iteration, by a thread */

    struct ln_io signal_io;
    struct ln_signal signals; /* list head */
    struct ln_signal *next_signal;
    sigset_t signal_set;
    struct sigaction former_actions[NSIG];
    bool was_blocked[NSIG];

    char *space;
    size_t space_taken; /* by the jobs in deliver */
};

int64_t ln_loop_clock(void);

/* The phases of an iteration that are not in loop.c. */
void ln_loop_run_timers(struct ln_loop *loop);
void ln_loop_run_asyncs(struct ln_loop *loop);

#endif
