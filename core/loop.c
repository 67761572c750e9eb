#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 256, SCRATCH = 64 << 10 };

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

    struct ln_job deferred, flush, closing; /* list heads */
    struct ln_hook hooks;                   /* list head */
    struct ln_hook *next_hook;              /* of the walk under way */

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

    char *scratch;
};

static int64_t clock_now(void) {
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
    loop->scratch = malloc(SCRATCH);
    loop->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!loop->scratch || loop->epfd < 0) {
        int rc = loop->scratch ? -errno : -ENOMEM;
        if (loop->epfd >= 0)
            close(loop->epfd);
        free(loop->scratch);
        free(loop);
        return rc;
    }
    list_init(&loop->deferred);
    list_init(&loop->flush);
    list_init(&loop->closing);
    loop->hooks.prev = loop->hooks.next = &loop->hooks;
    loop->asyncs.prev = loop->asyncs.next = &loop->asyncs;
    loop->async_io.fd = -1;
    loop->signals.prev = loop->signals.next = &loop->signals;
    sigemptyset(&loop->signal_set);
    loop->signal_io.fd = -1;
    loop->now = clock_now();
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
    free(loop->scratch);
    free(loop);
    return LN_OK;
}

int64_t ln_loop_now(const struct ln_loop *loop) {
    return loop->now;
}

char *ln_loop_scratch(struct ln_loop *loop, size_t *len) {
    *len = SCRATCH;
    return loop->scratch;
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

bool ln_loop_running(const struct ln_loop *loop) {
    return loop->inside;
}

/* ---- timers */

static bool earlier(const struct ln_timer *a, const struct ln_timer *b) {
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void heap_put(struct ln_loop *loop, size_t index, struct ln_timer *timer) {
    loop->heap[index] = timer;
    timer->index = index;
}

static void heap_up(struct ln_loop *loop, size_t index, struct ln_timer *timer) {
    while (index > 1 && earlier(timer, loop->heap[index / 2])) {
        heap_put(loop, index, loop->heap[index / 2]);
        index /= 2;
    }
    heap_put(loop, index, timer);
}

static void heap_down(struct ln_loop *loop, size_t index, struct ln_timer *timer) {
    for (;;) {
        size_t child = index * 2;
        if (child > loop->timers)
            break;
        if (child < loop->timers && earlier(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!earlier(loop->heap[child], timer))
            break;
        heap_put(loop, index, loop->heap[child]);
        index = child;
    }
    heap_put(loop, index, timer);
}

/* The longest times mean forever. */
static int64_t after(int64_t time, int64_t delay) {
    return delay > INT64_MAX - time ? INT64_MAX : time + delay;
}

int ln_timer_start(struct ln_loop *loop, struct ln_timer *timer, int64_t delay, int64_t interval,
                   ln_timer_fn fn) {
    ln_timer_stop(timer);
    if (loop->timers + 2 > loop->heap_cap) {
        size_t cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
        struct ln_timer **heap = realloc(loop->heap, cap * sizeof(struct ln_timer *));
        if (!heap)
            return -ENOMEM;
        loop->heap = heap;
        loop->heap_cap = cap;
    }
    /* Outside of an iteration the cached time is as old as the last one. */
    int64_t now = loop->inside ? loop->now : clock_now();
    timer->loop = loop;
    timer->fn = fn;
    timer->due = after(now, delay > 0 ? delay : 0);
    timer->interval = interval;
    timer->order = loop->timer_order++;
    loop->active++;
    heap_up(loop, ++loop->timers, timer);
    return LN_OK;
}

void ln_timer_stop(struct ln_timer *timer) {
    if (!ln_timer_active(timer))
        return;
    struct ln_loop *loop = timer->loop;
    size_t index = timer->index;
    struct ln_timer *last = loop->heap[loop->timers--];
    loop->active--;
    if (last != timer) {
        if (index > 1 && earlier(last, loop->heap[index / 2]))
            heap_up(loop, index, last);
        else
            heap_down(loop, index, last);
    }
    timer->index = 0;
}

static void run_timers(struct ln_loop *loop) {
    uint64_t limit = loop->timer_order;
    while (loop->timers > 0) {
        struct ln_timer *timer = loop->heap[1];
        if (timer->due > loop->now || timer->order >= limit)
            break;
        if (timer->interval > 0) {
            /* Keeps to the grid, but does not catch up on what a long sleep missed. */
            int64_t next = after(timer->due, timer->interval);
            timer->due = next > loop->now ? next : after(loop->now, timer->interval);
            timer->order = loop->timer_order++;
            heap_down(loop, 1, timer);
        } else {
            ln_timer_stop(timer);
        }
        timer->fn(timer);
    }
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

/* ---- asyncs */

static void on_eventfd(struct ln_io *io, uint32_t events) {
    uint64_t count;
    (void)events;
    (void)!read(io->fd, &count, sizeof count);
    io->loop->woken = true;
}

static int eventfd_open(struct ln_loop *loop) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int rc = fd < 0 ? -errno : ln_io_start(loop, &loop->async_io, fd, EPOLLIN, on_eventfd);
    if (rc == LN_OK) {
        loop->active--; /* an async does not keep the loop alive, work under way does */
    } else {
        if (fd >= 0)
            close(fd);
        loop->async_io.fd = -1;
    }
    return rc;
}

static void eventfd_close(struct ln_loop *loop) {
    loop->active++; /* it was never counted */
    ln_io_stop(&loop->async_io);
    close(loop->async_io.fd);
    loop->async_io.fd = -1;
}

int ln_async_start(struct ln_loop *loop, struct ln_async *async, ln_async_fn fn) {
    int rc = loop->async_io.fd < 0 ? eventfd_open(loop) : LN_OK;
    if (rc != LN_OK)
        return rc;
    async->loop = loop;
    async->fn = fn;
    atomic_init(&async->posted, false);
    async->holds = 0;
    async->prev = loop->asyncs.prev;
    async->next = &loop->asyncs;
    async->prev->next = async;
    loop->asyncs.prev = async;
    return LN_OK;
}

void ln_async_post(struct ln_async *async) {
    const uint64_t one = 1;
    int error = errno;
    if (!atomic_exchange(&async->posted, true))
        while (write(async->loop->async_io.fd, &one, sizeof one) < 0 && errno == EINTR)
            ; /* else it fails only where it is full, and that wakes the loop as well */
    errno = error;
}

void ln_async_hold(struct ln_async *async) {
    async->holds++;
    async->loop->active++;
}

void ln_async_release(struct ln_async *async) {
    async->holds--;
    async->loop->active--;
}

void ln_async_stop(struct ln_async *async) {
    struct ln_loop *loop = async->loop;
    if (!async->next)
        return;
    if (loop->next_async == async)
        loop->next_async = async->next;
    async->prev->next = async->next;
    async->next->prev = async->prev;
    async->prev = async->next = NULL;
    loop->active -= async->holds;
    async->holds = 0;
    if (loop->asyncs.next == &loop->asyncs)
        eventfd_close(loop);
}

static void run_asyncs(struct ln_loop *loop) {
    if (!loop->woken)
        return;
    loop->woken = false;
    for (struct ln_async *a = loop->asyncs.next; a != &loop->asyncs; a = loop->next_async) {
        loop->next_async = a->next;
        if (atomic_exchange(&a->posted, false))
            a->fn(a);
    }
}

/* ---- signals */

static void on_signalfd(struct ln_io *io, uint32_t events) {
    (void)events;
    struct ln_loop *loop = io->loop;
    struct signalfd_siginfo info;
    while (read(io->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        for (struct ln_signal *s = loop->signals.next; s != &loop->signals; s = loop->next_signal) {
            loop->next_signal = s->next;
            if (s->signum == (int)info.ssi_signo)
                s->fn(s);
        }
        if (!ln_io_active(io)) /* the last watcher has gone */
            return;
    }
}

/* Makes the signalfd and the thread's mask agree with loop->signal_set. */
static int signals_apply(struct ln_loop *loop, bool any) {
    if (!any) {
        if (loop->signal_io.fd >= 0) {
            loop->active++; /* it was never counted */
            ln_io_stop(&loop->signal_io);
            close(loop->signal_io.fd);
            loop->signal_io.fd = -1;
        }
        return LN_OK;
    }
    int fd = signalfd(loop->signal_io.fd, &loop->signal_set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (loop->signal_io.fd < 0) {
        int rc = ln_io_start(loop, &loop->signal_io, fd, EPOLLIN, on_signalfd);
        if (rc != LN_OK) {
            close(fd);
            loop->signal_io.fd = -1;
            return rc;
        }
        loop->active--; /* signals do not keep the loop alive */
    }
    return LN_OK;
}

static bool signal_watched(const struct ln_loop *loop, int signum) {
    for (const struct ln_signal *s = loop->signals.next; s != &loop->signals; s = s->next)
        if (s->signum == signum)
            return true;
    return false;
}

/* A library's thread does not block what this one does, and would die of it: a signal that is
 * delivered there is sent on to the thread that watches. One thread of a process watches signals.
 */
static pthread_t watching_thread;

static void send_on(int signum) {
    int saved = errno;
    pthread_kill(watching_thread, signum);
    errno = saved;
}

/* Blocks signum for this thread, so that it waits for the signalfd, and remembers how it was. */
static int take_signal(struct ln_loop *loop, int signum) {
    struct sigaction action = {.sa_handler = send_on, .sa_flags = SA_RESTART};
    sigset_t one, former;
    sigemptyset(&one);
    sigaddset(&one, signum);
    sigfillset(&action.sa_mask);
    watching_thread = pthread_self();
    if (pthread_sigmask(SIG_BLOCK, &one, &former) != 0)
        return -EINVAL;
    if (sigaction(signum, &action, &loop->former_actions[signum]) != 0) {
        pthread_sigmask(SIG_SETMASK, &former, NULL);
        return -EINVAL;
    }
    loop->was_blocked[signum] = sigismember(&former, signum) == 1;
    sigaddset(&loop->signal_set, signum);
    return LN_OK;
}

static void give_signal_back(struct ln_loop *loop, int signum) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signum);
    sigdelset(&loop->signal_set, signum);
    sigaction(signum, &loop->former_actions[signum], NULL);
    if (!loop->was_blocked[signum])
        pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

int ln_signal_start(struct ln_loop *loop, struct ln_signal *s, int signum, ln_signal_fn fn) {
    if (signum < 1 || signum >= NSIG || signum == SIGKILL || signum == SIGSTOP)
        return -EINVAL;
    ln_signal_stop(loop, s);
    if (!signal_watched(loop, signum)) {
        int rc = take_signal(loop, signum);
        if (rc != LN_OK)
            return rc;
        rc = signals_apply(loop, true);
        if (rc != LN_OK) {
            give_signal_back(loop, signum);
            return rc;
        }
    }
    *s = (struct ln_signal){.fn = fn, .signum = signum, .active = true};
    s->prev = loop->signals.prev;
    s->next = &loop->signals;
    s->prev->next = s;
    loop->signals.prev = s;
    return LN_OK;
}

void ln_signal_stop(struct ln_loop *loop, struct ln_signal *s) {
    if (!s->active)
        return;
    if (loop->next_signal == s)
        loop->next_signal = s->next;
    s->prev->next = s->next;
    s->next->prev = s->prev;
    s->active = false;
    if (signal_watched(loop, s->signum))
        return;
    give_signal_back(loop, s->signum);
    (void)signals_apply(loop, loop->signals.next != &loop->signals);
}

/* ---- one iteration */

/* Milliseconds to sleep, rounded up so that a timer is due when epoll_wait returns. */
static int wait_ms(const struct ln_loop *loop, int64_t max_wait) {
    int64_t wait = max_wait;
    if (jobs_queued(loop) || loop->stopping)
        wait = 0;
    else if (loop->timers > 0) {
        int64_t left = loop->heap[1]->due - clock_now();
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
    loop->now = clock_now();
    run_timers(loop);
    run_jobs(&loop->deferred);

    int n = epoll_wait(loop->epfd, events, EVENTS_PER_WAIT, wait_ms(loop, max_wait));
    if (n < 0 && errno != EINTR)
        rc = -errno;
    loop->now = clock_now();
    for (int i = 0; i < n; i++)
        dispatch(loop, &events[i]);

    run_asyncs(loop);
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
