#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { DEFAULT_THREADS = 4, MOST_THREADS = 64, DEFAULT_QUEUE = 1024 };

struct thread {
    pthread_t id;
    struct shared *shared;
    bool running; /* something, that is, inside of a call that may last */
};

/* What the pool's threads see. It outlives the pool where one of them still runs something. */
struct shared {
    pthread_mutex_t lock; /* for all below, and for the state of work */
    pthread_cond_t wake;
    struct ln_work queue, ended; /* list heads */
    size_t queued, idle;
    size_t owners;          /* the pool, and each thread */
    struct ln_async *async; /* NULL: the pool is closed */
    size_t count;
    struct thread threads[];
};

struct ln_worker {
    struct ln_loop *loop;
    struct shared *shared;
    struct ln_async async;
    bool started, closed;
    size_t max_threads, max_queue;
    struct ln_job close_job;
};

/* ---- lists */

static void list_init(struct ln_work *head) {
    head->prev = head->next = head;
}

static void append(struct ln_work *head, struct ln_work *work) {
    work->prev = head->prev;
    work->next = head;
    work->prev->next = work;
    head->prev = work;
}

static void detach(struct ln_work *work) {
    work->prev->next = work->next;
    work->next->prev = work->prev;
    work->prev = work->next = NULL;
}

static struct ln_work *take_first(struct ln_work *head) {
    struct ln_work *work = head->next;
    if (work == head)
        return NULL;
    detach(work);
    return work;
}

/* ---- the threads */

static struct shared *shared_new(size_t threads) {
    struct shared *shared = calloc(1, sizeof *shared + threads * sizeof shared->threads[0]);
    if (!shared)
        return NULL;
    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->wake, NULL);
    list_init(&shared->queue);
    list_init(&shared->ended);
    shared->owners = 1;
    return shared;
}

/* REQUIRES: the lock is held. Lets it go, and with the last owner everything. */
static void shared_leave(struct shared *shared) {
    bool last = --shared->owners == 0;
    pthread_mutex_unlock(&shared->lock);
    if (!last)
        return;
    pthread_cond_destroy(&shared->wake);
    pthread_mutex_destroy(&shared->lock);
    free(shared);
}

/* Runs one piece of work outside of the lock, which is held before and after. */
static void run_one(struct shared *shared, struct ln_work *work) {
    work->state = LN_WORK_RUNNING;
    shared->queued--;
    pthread_mutex_unlock(&shared->lock);
    work->run(work);
    pthread_mutex_lock(&shared->lock);
    work->state = LN_WORK_ENDED;
    if (shared->async) {
        append(&shared->ended, work);
        ln_async_post(shared->async);
        return;
    }
    pthread_mutex_unlock(&shared->lock);
    work->drop(work);
    pthread_mutex_lock(&shared->lock);
}

static void *thread_main(void *arg) {
    struct thread *thread = arg;
    struct shared *shared = thread->shared;
    pthread_mutex_lock(&shared->lock);
    while (shared->async) {
        struct ln_work *work = take_first(&shared->queue);
        if (work) {
            thread->running = true;
            run_one(shared, work);
            thread->running = false;
        } else {
            shared->idle++;
            pthread_cond_wait(&shared->wake, &shared->lock);
            shared->idle--;
        }
    }
    shared_leave(shared);
    return NULL;
}

/* Signals are for the loop's thread. */
static int start_thread(struct shared *shared) {
    struct thread *thread = &shared->threads[shared->count];
    sigset_t all, former;
    sigfillset(&all);
    thread->shared = shared;
    pthread_sigmask(SIG_SETMASK, &all, &former);
    int error = pthread_create(&thread->id, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (error != 0)
        return -error;
    shared->count++;
    shared->owners++;
    return LN_OK;
}

/* Those that wait for work end at once: they are joined, so that nothing of them is left when this
 * returns. Those inside of a call end by themselves. REQUIRES: the lock is held; it is let go. */
static void end_threads(struct shared *shared) {
    pthread_t idle[MOST_THREADS];
    size_t count = 0;
    for (size_t i = 0; i < shared->count; i++) {
        struct thread *thread = &shared->threads[i];
        if (thread->running)
            pthread_detach(thread->id);
        else
            idle[count++] = thread->id;
    }
    pthread_cond_broadcast(&shared->wake);
    shared_leave(shared);
    for (size_t i = 0; i < count; i++)
        pthread_join(idle[i], NULL);
}

/* ---- the loop's side */

static void release(struct ln_worker *worker, struct ln_work *work) {
    if (work->held)
        ln_async_release(&worker->async);
    work->held = false;
}

/* Answers what had ended when it began: a `done` that submits again does not keep the loop here. */
static void on_async(struct ln_async *async) {
    struct ln_worker *worker = LN_OWNER(struct ln_worker, async, async);
    struct shared *shared = worker->shared;
    size_t count = 0;
    pthread_mutex_lock(&shared->lock);
    for (struct ln_work *work = shared->ended.next; work != &shared->ended; work = work->next)
        count++;
    for (; count > 0; count--) {
        struct ln_work *work = take_first(&shared->ended);
        work->state = LN_WORK_IDLE;
        pthread_mutex_unlock(&shared->lock);
        release(worker, work);
        work->done(work);
        if (worker->closed) /* by that call, and shared may be gone */
            return;
        pthread_mutex_lock(&shared->lock);
    }
    pthread_mutex_unlock(&shared->lock);
}

int ln_worker_open(struct ln_loop *loop, const struct ln_worker_options *options,
                   struct ln_worker **out) {
    size_t threads = options && options->threads ? options->threads : DEFAULT_THREADS;
    if (threads > MOST_THREADS)
        threads = MOST_THREADS;
    struct ln_worker *worker = calloc(1, sizeof *worker);
    struct shared *shared = worker ? shared_new(threads) : NULL;
    if (!shared) {
        free(worker);
        return -ENOMEM;
    }
    worker->loop = loop;
    worker->shared = shared;
    worker->max_threads = threads;
    worker->max_queue = options && options->max_queue ? options->max_queue : DEFAULT_QUEUE;
    *out = worker;
    return LN_OK;
}

/* The first submit makes the way back into the loop. */
static int start(struct ln_worker *worker) {
    if (worker->started)
        return LN_OK;
    int rc = ln_async_start(worker->loop, &worker->async, on_async);
    if (rc != LN_OK)
        return rc;
    worker->started = true;
    worker->shared->async = &worker->async; /* there is no thread yet that could look */
    return LN_OK;
}

int ln_worker_submit(struct ln_worker *worker, struct ln_work *work) {
    struct shared *shared = worker->shared;
    int rc = worker->closed ? -ECANCELED : start(worker);
    if (rc != LN_OK)
        return rc;
    pthread_mutex_lock(&shared->lock);
    if (shared->queued >= worker->max_queue)
        rc = -ENOBUFS;
    else if (shared->idle <= shared->queued && shared->count < worker->max_threads)
        rc = start_thread(shared);
    if (rc == LN_OK || (rc != -ENOBUFS && shared->count > 0)) { /* those that are will do */
        work->state = LN_WORK_QUEUED;
        append(&shared->queue, work);
        shared->queued++;
        pthread_cond_signal(&shared->wake);
        rc = LN_OK;
    }
    pthread_mutex_unlock(&shared->lock);
    if (rc == LN_OK) {
        work->held = true;
        ln_async_hold(&worker->async);
    }
    return rc;
}

bool ln_worker_cancel(struct ln_worker *worker, struct ln_work *work) {
    struct shared *shared = worker->shared;
    if (worker->closed)
        return false;
    pthread_mutex_lock(&shared->lock);
    bool waits = work->state == LN_WORK_QUEUED;
    if (waits) {
        detach(work);
        work->state = LN_WORK_IDLE;
        shared->queued--;
    }
    pthread_mutex_unlock(&shared->lock);
    if (waits)
        release(worker, work);
    return waits;
}

void ln_worker_hold(struct ln_worker *worker, struct ln_work *work, bool hold) {
    if (worker->closed || work->held == hold)
        return;
    work->held = hold;
    if (hold)
        ln_async_hold(&worker->async);
    else
        ln_async_release(&worker->async);
}

static void on_closing(struct ln_job *job) {
    free(LN_OWNER(struct ln_worker, close_job, job));
}

void ln_worker_close(struct ln_worker *worker) {
    struct shared *shared = worker->shared;
    struct ln_work dropped, *work;
    if (worker->closed)
        return;
    worker->closed = true;
    list_init(&dropped);
    pthread_mutex_lock(&shared->lock);
    shared->async = NULL;
    while ((work = take_first(&shared->ended)))
        append(&dropped, work);
    while ((work = take_first(&shared->queue)))
        append(&dropped, work);
    worker->shared = NULL;
    end_threads(shared);
    if (worker->started)
        ln_async_stop(&worker->async);
    while ((work = take_first(&dropped)))
        work->drop(work);
    ln_loop_closing(worker->loop, &worker->close_job, on_closing);
}
