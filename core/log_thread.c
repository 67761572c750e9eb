#include "log_thread.h"

#include "log_dir.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

void ln_log_thread_init(struct ln_log_thread *t, int dir_fd, struct ln_async *async) {
    *t = (struct ln_log_thread){
        .dir_fd = dir_fd, .async = async, .made_fd = -1, .made_status = LN_OK};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    pthread_cond_init(&t->made, NULL);
}

/* ---- on the thread. These are called, and return, with the lock held, and let it go meanwhile. */

static int64_t clock_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * LN_SECOND + ts.tv_nsec;
}

static void fail(struct ln_log_thread *t, int status, const char *doing) {
    t->done.status = status;
    (void)ln_detail_set(&t->done.detail, status, "%s failed: %s", doing, ln_status_text(status));
    pthread_cond_broadcast(&t->made);
    ln_async_post(t->async);
}

static int datasync(struct ln_log_thread *t, int fd) {
    pthread_mutex_unlock(&t->lock);
    int64_t begun = clock_now();
    int rc = ln_log_datasync(fd);
    int64_t took = clock_now() - begun;
    pthread_mutex_lock(&t->lock);
    t->done.last_sync = took;
    if (rc != LN_OK)
        fail(t, rc, "syncing the log");
    return rc;
}

static void synced(struct ln_log_thread *t) {
    t->done.synced = t->sync_to;
    t->done.syncs++;
    t->sync_to = 0;
    ln_async_post(t->async);
}

static void sync_full(struct ln_log_thread *t) {
    int fd = t->full[0];
    if (datasync(t, fd) != LN_OK)
        return;                             /* it stays in the list, and is closed with it */
    if (t->sync_to > 0 && t->sync_fd == fd) /* asked for before it was full */
        synced(t);
    close(fd);
    t->full_count--;
    for (size_t i = 0; i < t->full_count; i++)
        t->full[i] = t->full[i + 1];
}

static void sync_current(struct ln_log_thread *t) {
    if (datasync(t, t->sync_fd) == LN_OK)
        synced(t);
}

static void make(struct ln_log_thread *t) {
    uint64_t number = t->number, size = t->size;
    bool fatal = false;
    int fd = -1;
    t->wanted = false;
    t->making = true;
    pthread_mutex_unlock(&t->lock);
    int rc = ln_log_segment_make(t->dir_fd, number, size, &fatal, &fd);
    pthread_mutex_lock(&t->lock);
    t->making = false;
    t->made_status = rc;
    t->made_fd = fd;
    if (rc != LN_OK && fatal)
        fail(t, rc, "syncing a new segment of the log");
    pthread_cond_broadcast(&t->made);
}

/* What cannot be removed now is in nobody's way: the next open does it. */
static void remove_old(struct ln_log_thread *t) {
    uint64_t number = t->remove_from++;
    pthread_mutex_unlock(&t->lock);
    (void)ln_log_segment_remove(t->dir_fd, number);
    pthread_mutex_lock(&t->lock);
    if (t->made_status != LN_OK)
        t->wanted = true; /* there may be room now */
}

static bool work(struct ln_log_thread *t) {
    if (t->done.status != LN_OK)
        return false;
    if (t->full_count > 0)
        sync_full(t);
    else if (t->sync_to > 0)
        sync_current(t);
    else if (t->wanted && t->made_fd < 0)
        make(t);
    else if (t->remove_from < t->remove_end)
        remove_old(t);
    else
        return false;
    return true;
}

static void *thread_main(void *arg) {
    struct ln_log_thread *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->stop)
        if (!work(t))
            pthread_cond_wait(&t->wake, &t->lock);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* ---- on the loop */

/* Signals are for the loop's thread. */
int ln_log_thread_start(struct ln_log_thread *t) {
    sigset_t all, former;
    if (t->started)
        return LN_OK;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    int error = pthread_create(&t->id, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    t->started = error == 0;
    return -error;
}

void ln_log_thread_full(struct ln_log_thread *t, int fd) {
    pthread_mutex_lock(&t->lock);
    assert(t->full_count < LN_LOG_MOST_FULL);
    t->full[t->full_count++] = fd;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

void ln_log_thread_sync(struct ln_log_thread *t, int fd, uint64_t to) {
    pthread_mutex_lock(&t->lock);
    t->sync_fd = fd;
    t->sync_to = to;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

/* REQUIRES: the lock is held. */
static void want(struct ln_log_thread *t, uint64_t number, uint64_t size) {
    if (t->made_fd >= 0 || t->making)
        return;
    t->wanted = true;
    t->number = number;
    t->size = size;
    pthread_cond_signal(&t->wake);
}

void ln_log_thread_make(struct ln_log_thread *t, uint64_t number, uint64_t size) {
    pthread_mutex_lock(&t->lock);
    want(t, number, size);
    pthread_mutex_unlock(&t->lock);
}

int ln_log_thread_take(struct ln_log_thread *t, uint64_t number, uint64_t size, bool wait,
                       bool *waited, int *fd) {
    pthread_mutex_lock(&t->lock);
    int rc = t->made_status;
    want(t, number, size);
    /* Full ones come first, so there is always room in their list when this returns. */
    while (wait && rc == LN_OK && t->made_fd < 0 && t->done.status == LN_OK) {
        *waited = true;
        pthread_cond_wait(&t->made, &t->lock);
        rc = t->made_status;
    }
    if (rc == LN_OK && t->done.status != LN_OK)
        rc = t->done.status;
    if (rc == LN_OK && t->made_fd < 0)
        rc = -EAGAIN;
    if (t->made_fd >= 0 && rc == LN_OK) {
        *fd = t->made_fd;
        t->made_fd = -1;
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

void ln_log_thread_remove(struct ln_log_thread *t, uint64_t from, uint64_t end) {
    pthread_mutex_lock(&t->lock);
    if (t->remove_from >= t->remove_end)
        t->remove_from = from;
    t->remove_end = end;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

bool ln_log_thread_lacks(struct ln_log_thread *t) {
    pthread_mutex_lock(&t->lock);
    bool lacks = t->made_status != LN_OK;
    pthread_mutex_unlock(&t->lock);
    return lacks;
}

void ln_log_thread_done(struct ln_log_thread *t, struct ln_log_done *out) {
    pthread_mutex_lock(&t->lock);
    *out = t->done;
    pthread_mutex_unlock(&t->lock);
}

int ln_log_thread_stop(struct ln_log_thread *t) {
    if (t->started) {
        pthread_mutex_lock(&t->lock);
        t->stop = true;
        pthread_cond_signal(&t->wake);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->id, NULL);
    }
    int rc = t->done.status;
    for (size_t i = 0; i < t->full_count; i++) {
        if (rc == LN_OK)
            rc = ln_log_datasync(t->full[i]);
        close(t->full[i]);
    }
    if (t->made_fd >= 0) {
        close(t->made_fd);
        (void)ln_log_segment_remove(t->dir_fd, t->number);
    }
    pthread_cond_destroy(&t->made);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    return rc;
}
