#include "loop_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 256, SPACE = 4 * LN_LOOP_READ };

int64_t ln_loop_clock(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * LN_SECOND + ts.tv_nsec;
}

/* ---- open and close */

static void list_init(struct ln_job *head) {
    head->prev = head->next = head;
}

int ln_loop_open(struct ln_loop **out) {
    struct ln_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return -ENOMEM;
    loop->space = malloc(SPACE);
    loop->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!loop->space || loop->epfd < 0) {
        int rc = loop->space ? -errno : -ENOMEM;
        if (loop->epfd >= 0)
            close(loop->epfd);
        free(loop->space);
        free(loop);
        return rc;
    }
    list_init(&loop->deferred);
    list_init(&loop->deliver);
    list_init(&loop->flush);
    list_init(&loop->closing);
    loop->hooks.prev = loop->hooks.next = &loop->hooks;
    loop->asyncs.prev = loop->asyncs.next = &loop->asyncs;
    loop->async_io.fd = -1;
    loop->signals.prev = loop->signals.next = &loop->signals;
    sigemptyset(&loop->signal_set);
    loop->signal_io.fd = -1;
    loop->now = ln_loop_clock();
    *out = loop;
    return LN_OK;
}

static void run_jobs(struct ln_job *queue);

int ln_loop_close(struct ln_loop *loop) {
    if (loop->inside)
        return -EBUSY;
    while (loop->closing.next != &loop->closing)
        run_jobs(&loop->closing);
    if (ln_loop_alive(loop) || loop->signals.next != &loop->signals ||
        loop->asyncs.next != &loop->asyncs)
        return -EBUSY;
    close(loop->epfd);
    free(loop->heap);
    free(loop->slots);
    free(loop->space);
    free(loop);
    return LN_OK;
}

int64_t ln_loop_now(const struct ln_loop *loop) {
    return loop->now;
}

char *ln_loop_space(struct ln_loop *loop) {
    return loop->space + loop->space_taken;
}

void ln_loop_stop(struct ln_loop *loop) {
    loop->stopping = true;
}

static bool jobs_queued(const struct ln_loop *loop) {
    return loop->deferred.next != &loop->deferred || loop->flush.next != &loop->flush ||
           loop->closing.next != &loop->closing;
}

bool ln_loop_alive(const struct ln_loop *loop) {
    return loop->active > 0 || jobs_queued(loop);
}

/* ---- jobs */

static void enqueue(struct ln_job *queue, struct ln_job *job, ln_job_fn fn) {
    if (job->next)
        return;
    job->fn = fn;
    job->prev = queue->prev;
    job->next = queue;
    queue->prev->next = job;
    queue->prev = job;
}

void ln_loop_defer(struct ln_loop *loop, struct ln_job *job, ln_job_fn fn) {
    enqueue(&loop->deferred, job, fn);
}

void ln_loop_deliver(struct ln_loop *loop, struct ln_job *job, ln_job_fn fn, size_t taken) {
    loop->space_taken += taken;
    enqueue(&loop->deliver, job, fn);
}

void ln_loop_flush(struct ln_loop *loop, struct ln_job *job, ln_job_fn fn) {
    enqueue(&loop->flush, job, fn);
}

void ln_loop_closing(struct ln_loop *loop, struct ln_job *job, ln_job_fn fn) {
    enqueue(&loop->closing, job, fn);
}

void ln_job_cancel(struct ln_job *job) {
    if (!job->next)
        return;
    job->prev->next = job->next;
    job->next->prev = job->prev;
    job->prev = job->next = NULL;
}

/* Runs what is queued now; what these jobs queue stays for the next time. */
static void run_jobs(struct ln_job *queue) {
    if (queue->next == queue)
        return;
    struct ln_job batch = {.prev = queue->prev, .next = queue->next};
    batch.prev->next = batch.next->prev = &batch;
    list_init(queue);
    while (batch.next != &batch) {
        struct ln_job *job = batch.next;
        ln_job_cancel(job);
        job->fn(job);
    }
}

/* ---- hooks */

void ln_hook_add(struct ln_loop *loop, struct ln_hook *hook, ln_hook_fn fn) {
    hook->fn = fn;
    hook->prev = loop->hooks.prev;
    hook->next = &loop->hooks;
    hook->prev->next = hook;
    loop->hooks.prev = hook;
}

void ln_hook_remove(struct ln_loop *loop, struct ln_hook *hook) {
    if (!hook->next)
        return;
    if (loop->next_hook == hook)
        loop->next_hook = hook->next;
    hook->prev->next = hook->next;
    hook->next->prev = hook->prev;
    hook->prev = hook->next = NULL;
}

static void run_hooks(struct ln_loop *loop) {
    for (struct ln_hook *hook = loop->hooks.next; hook != &loop->hooks; hook = loop->next_hook) {
        loop->next_hook = hook->next;
        hook->fn(hook);
    }
}

/* ---- io */

static int slot_take(struct ln_loop *loop, uint32_t *out) {
    if (loop->free_slot) {
        *out = loop->free_slot;
        loop->free_slot = loop->slots[*out].next_free;
        return LN_OK;
    }
    if (loop->slot_count + 1 >= loop->slot_cap) {
        uint32_t cap = loop->slot_cap ? loop->slot_cap * 2 : 64;
        struct slot *slots = realloc(loop->slots, cap * sizeof *slots);
        if (!slots)
            return -ENOMEM;
        loop->slots = slots;
        loop->slot_cap = cap;
    }
    *out = ++loop->slot_count;
    loop->slots[*out] = (struct slot){0};
    return LN_OK;
}

static void slot_give(struct ln_loop *loop, uint32_t slot) {
    loop->slots[slot].io = NULL;
    loop->slots[slot].generation++;
    loop->slots[slot].next_free = loop->free_slot;
    loop->free_slot = slot;
}

static int epoll_change(struct ln_io *io, int op, uint32_t events) {
    uint32_t generation = io->loop->slots[io->slot].generation;
    struct epoll_event event = {.events = events,
                                .data.u64 = (uint64_t)generation << 32 | io->slot};
    return epoll_ctl(io->loop->epfd, op, io->fd, &event) == 0 ? LN_OK : -errno;
}

int ln_io_start(struct ln_loop *loop, struct ln_io *io, int fd, uint32_t events, ln_io_fn fn) {
    uint32_t slot = 0;
    int rc = slot_take(loop, &slot);
    if (rc != LN_OK)
        return rc;
    *io = (struct ln_io){.loop = loop, .fn = fn, .fd = fd, .slot = slot, .events = events};
    loop->slots[slot].io = io;
    rc = epoll_change(io, EPOLL_CTL_ADD, events);
    if (rc != LN_OK) {
        slot_give(loop, slot);
        io->slot = 0;
        return rc;
    }
    loop->active++;
    return LN_OK;
}

int ln_io_set(struct ln_io *io, uint32_t events) {
    if (io->events == events)
        return LN_OK;
    int rc = epoll_change(io, EPOLL_CTL_MOD, events);
    if (rc == LN_OK)
        io->events = events;
    return rc;
}

void ln_io_stop(struct ln_io *io) {
    if (!ln_io_active(io))
        return;
    (void)epoll_change(io, EPOLL_CTL_DEL, 0);
    slot_give(io->loop, io->slot);
    io->slot = 0;
    io->loop->active--;
}

static void dispatch(struct ln_loop *loop, const struct epoll_event *event) {
    uint32_t slot = (uint32_t)event->data.u64;
    uint32_t generation = (uint32_t)(event->data.u64 >> 32);
    struct ln_io *io = loop->slots[slot].io;
    if (io && loop->slots[slot].generation == generation)
        io->fn(io, event->events);
}

static void deliver(struct ln_loop *loop) {
    run_jobs(&loop->deliver);
    loop->space_taken = 0;
}

/* ---- one iteration */

/* Milliseconds to sleep, rounded up so that a timer is due when epoll_wait returns. */
static int wait_ms(const struct ln_loop *loop, int64_t max_wait) {
    int64_t wait = max_wait;
    if (jobs_queued(loop) || loop->stopping)
        wait = 0;
    else if (loop->timers > 0) {
        int64_t left = loop->heap[1]->due - ln_loop_clock();
        left = left > 0 ? left : 0;
        wait = wait < 0 || left < wait ? left : wait;
    } else if (loop->active == 0)
        wait = 0;
    if (wait < 0)
        return -1;
    int64_t ms = wait / 1000000 + (wait % 1000000 != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static int iterate(struct ln_loop *loop, int64_t max_wait) {
    struct epoll_event events[EVENTS_PER_WAIT];
    int rc = LN_OK;

    loop->inside = true;
    loop->now = ln_loop_clock();
    ln_loop_run_timers(loop);
    run_jobs(&loop->deferred);

    int n = epoll_wait(loop->epfd, events, EVENTS_PER_WAIT, wait_ms(loop, max_wait));
    if (n < 0 && errno != EINTR)
        rc = -errno;
    loop->now = ln_loop_clock();
    for (int i = 0; i < n; i++) {
        if (loop->space_taken > SPACE - LN_LOOP_READ)
            deliver(loop);
        dispatch(loop, &events[i]);
    }
    deliver(loop);
    ln_loop_run_asyncs(loop);
    run_hooks(loop);
    run_jobs(&loop->flush);
    run_jobs(&loop->closing);
    loop->inside = false;
    return rc;
}

int ln_loop_step(struct ln_loop *loop, int64_t max_wait) {
    if (loop->inside)
        return -EBUSY;
    int rc = iterate(loop, max_wait);
    loop->stopping = false; /* meant for this iteration, not for a run to come */
    return rc;
}

int ln_loop_run(struct ln_loop *loop) {
    int rc = LN_OK;
    if (loop->inside)
        return -EBUSY;
    while (rc == LN_OK && !loop->stopping && ln_loop_alive(loop))
        rc = iterate(loop, -1);
    loop->stopping = false;
    return rc;
}
