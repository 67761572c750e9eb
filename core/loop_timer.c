/* Timers: a heap ordered by (due, start order). */
#include "loop_impl.h"

#include <errno.h>
#include <stdlib.h>

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
    int64_t now = loop->inside ? loop->now : ln_loop_clock();
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

void ln_loop_run_timers(struct ln_loop *loop) {
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
