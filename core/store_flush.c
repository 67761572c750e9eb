/* The flush: overlays set aside, the thread that writes them, and what comes of it. */
#include "store_impl.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* ---- the thread */

static int64_t clock_now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * LN_SECOND + t.tv_nsec;
}

/* REQUIRES, here and below: the lock is held, and so it is after. */
static void run_flush(struct ln_flusher *f) {
    struct ln_write *w = &f->write;
    int64_t start = clock_now();
    f->work = false;
    pthread_mutex_unlock(&f->lock);
    int rc = ln_write_batch(w);
    pthread_mutex_lock(&f->lock);
    f->nanoseconds = clock_now() - start;
    if (rc == LN_OK && w->leftovers) { /* durable, but more is to do */
        f->durable = true;
        ln_async_post(&f->async);
        pthread_mutex_unlock(&f->lock);
        rc = ln_write_purge(w, &f->ask);
        pthread_mutex_lock(&f->lock);
    }
    f->status = rc;
    f->ended = true;
    pthread_cond_broadcast(&f->done);
    ln_async_post(&f->async);
}

static void *thread_main(void *arg) {
    struct ln_flusher *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->quit) {
        if (f->work)
            run_flush(f);
        else
            pthread_cond_wait(&f->wake, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void on_async(struct ln_async *async);

/* Signals are for the loop's thread. */
static int start_thread(struct ln_store *s) {
    struct ln_flusher *f = &s->flusher;
    sigset_t all, former;
    if (f->started)
        return LN_OK;
    int rc = ln_async_start(s->loop, &f->async, on_async);
    if (rc != LN_OK)
        return rc;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    int error = pthread_create(&f->thread, NULL, thread_main, f);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    f->started = error == 0;
    if (error != 0)
        ln_async_stop(&f->async);
    return -error;
}

int ln_store_flusher_init(struct ln_store *s) {
    struct ln_flusher *f = &s->flusher;
    if (pthread_mutex_init(&f->lock, NULL) != 0)
        return -ENOMEM;
    pthread_cond_init(&f->wake, NULL);
    pthread_cond_init(&f->done, NULL);
    atomic_init(&f->ask, LN_PURGE_ON);
    return LN_OK;
}

void ln_store_flusher_free(struct ln_store *s) {
    struct ln_flusher *f = &s->flusher;
    if (f->rest)
        ln_layer_release(NULL, f->rest);
    pthread_cond_destroy(&f->done);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
}

void ln_store_stop(struct ln_store *s) {
    struct ln_flusher *f = &s->flusher;
    if (!f->started)
        return;
    pthread_mutex_lock(&f->lock);
    f->quit = true;
    atomic_store(&f->ask, LN_PURGE_STOP);
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    ln_async_stop(&f->async);
    f->started = false;
}

/* ---- layers */

size_t ln_store_memory(const struct ln_store *s) {
    size_t memory = s->active->rows.memory;
    for (size_t i = 0; i < s->frozen_count; i++)
        memory += s->frozen[i]->rows.memory;
    return memory;
}

static void drop_oldest(struct ln_store *s) {
    s->frozen_count--;
    memmove(s->frozen, s->frozen + 1, s->frozen_count * sizeof(struct ln_layer *));
    s->epoch++;
}

/* What a paused purge has left goes into the layer above, below all that this one has: those who
 * read see no difference, and the next flush begins with it. Rows first: each step is harmless. */
static int fold(struct ln_store *s) {
    struct ln_layer *rest = s->frozen[0];
    struct ln_layer *above = s->frozen_count > 1 ? s->frozen[1] : s->active;
    struct ln_overlay_row newer;
    struct ln_overlay_cursor at = ln_overlay_first(&rest->rows);
    for (; ln_overlay_at(&at); ln_overlay_next(&at)) {
        struct ln_overlay_row row = ln_overlay_row(&rest->rows, ln_overlay_at(&at));
        if (!ln_overlay_get(&above->rows, row.key, row.klen, &newer) &&
            ln_overlay_put(&above->rows, row.key, row.klen, row.value, row.vlen) != LN_OK)
            return -ENOMEM;
    }
    for (size_t i = 0; i < rest->rows.range_count; i++)
        if (ln_overlay_delete_range_below(&above->rows, &rest->rows.ranges[i]) != LN_OK)
            return -ENOMEM;
    ln_overlay_begin(&above->rows);
    s->parked = false;
    s->leftovers = true;
    drop_oldest(s);
    ln_layer_release(s, rest);
    return LN_OK;
}

int ln_store_seal(struct ln_store *s) {
    if (s->parked && fold(s) != LN_OK)
        return -ENOMEM;
    if (s->frozen_count == LN_STORE_FROZEN)
        return -EAGAIN;
    struct ln_layer *fresh = ln_layer_new(s);
    if (!fresh)
        return -ENOMEM;
    ln_overlay_begin(&s->active->rows);
    s->active->index = s->index;
    s->frozen[s->frozen_count++] = s->active;
    s->active = fresh;
    s->active->number = ++s->number;
    s->active_since = 0;
    s->dirty &= s->logged;
    s->epoch++;
    return LN_OK;
}

int ln_store_kick(struct ln_store *s) {
    struct ln_flusher *f = &s->flusher;
    if (f->busy || s->parked || s->frozen_count == 0 || s->full != LN_OK || s->failed != LN_OK)
        return LN_OK;
    int rc = start_thread(s);
    if (rc != LN_OK)
        return rc;
    struct ln_layer *layer = s->frozen[0];
    if (!f->rest)
        f->rest = ln_layer_new(s); /* NULL: a purge goes on to its end, then */
    pthread_mutex_lock(&f->lock);
    atomic_store(&f->ask, LN_PURGE_ON);
    f->write = (struct ln_write){.engine = s->engine,
                                 .rows = &layer->rows,
                                 .index = layer->index,
                                 .sync = true,
                                 .leftovers = s->leftovers,
                                 .rest = f->rest ? &f->rest->rows : NULL};
    f->work = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    f->busy = true;
    return LN_OK;
}

static bool is_wanted(const struct ln_store *s) {
    const struct ln_overlay *rows = &s->active->rows;
    bool wanted = s->wanted_number == s->active->number;
    if (s->logged ? s->dirty || (!wanted && ln_layer_empty(s->active)) : !wanted)
        return false;
    return wanted || rows->memory >= s->options.overlay || rows->range_count >= LN_STORE_RANGES ||
           (s->active_since > 0 && ln_loop_now(s->loop) - s->active_since >= s->options.max_age);
}

void ln_store_maybe_seal(struct ln_store *s) {
    if (s->failed != LN_OK || s->full != LN_OK)
        return;
    bool wanted = is_wanted(s);
    if (s->frozen_count > 0 && !s->parked) {
        if (s->purging && (wanted || s->frozen_count > 1)) /* that is what can wait */
            atomic_store(&s->flusher.ask, LN_PURGE_PAUSE);
    } else if (wanted && ln_store_seal(s) == LN_OK) {
        (void)ln_store_kick(s); /* else the next advance tries again */
    } else if (s->parked && !wanted && !(s->logged && s->dirty)) {
        s->parked = false; /* nobody needs its place any more */
        (void)ln_store_kick(s);
    }
}

/* ---- what has ended */

static void is_durable(struct ln_store *s, const struct ln_layer *layer) {
    s->durable_number = layer->number;
    if (s->ops->durable && layer->index > s->durable_index) {
        s->durable_index = layer->index;
        s->tell_flushed = true;
    }
}

static void is_written(struct ln_store *s, const struct ln_layer *layer, bool leftovers) {
    s->batches++;
    s->flushed_bytes += layer->rows.bytes;
    s->leftovers = leftovers;
    s->unsynced = false;
}

static void finish_layer(struct ln_store *s) {
    struct ln_layer *layer = s->frozen[0];
    is_durable(s, layer);
    is_written(s, layer, false);
    drop_oldest(s);
    ln_snapshots_settle(s, layer->number);
    ln_store_keep_flushed(s, layer);
    ln_store_maybe_seal(s);
    (void)ln_store_kick(s);
}

/* The purge was paused. What it has left takes its layer's place until the next one is sealed, or
 * goes into that one where it is there already. */
static void park(struct ln_store *s) {
    struct ln_layer *layer = s->frozen[0], *rest = s->flusher.rest;
    is_written(s, layer, true);
    rest->number = layer->number;
    rest->index = layer->index;
    s->flusher.rest = NULL;
    s->frozen[0] = rest;
    s->parked = true;
    s->epoch++;
    ln_store_keep_flushed(s, layer);
    if (s->frozen_count > 1 && fold(s) == LN_OK)
        (void)ln_store_kick(s);
}

int ln_store_park_leftovers(struct ln_store *s) {
    struct ln_layer *rest = ln_layer_new(s);
    struct ln_detail detail = {{0}};
    bool found;
    int rc = rest ? ln_read_leftovers(s->engine, &rest->rows, &detail, &found) : -ENOMEM;
    if (rc != LN_OK) {
        if (rest)
            ln_layer_release(NULL, rest);
        return rc;
    }
    rest->index = s->index;
    rest->number = s->number;
    s->frozen[s->frozen_count++] = rest;
    s->parked = true;
    ln_store_tell(s);
    return LN_OK;
}

static void on_retry(struct ln_timer *timer) {
    struct ln_store *s = LN_OWNER(struct ln_store, retry, timer);
    (void)ln_store_recover(s, NULL);
}

static void retry_later(struct ln_store *s) {
    if (s->full != LN_OK && s->frozen_count > 0)
        (void)ln_timer_start(s->loop, &s->retry, LN_SECOND / 2, 0, on_retry);
}

void ln_store_failed(struct ln_store *s, int status, const struct ln_detail *detail) {
    ln_store_fail(s, &s->failure, "write to", status, detail->text);
    s->leftovers = true; /* who knows */
    if (status == -ENOSPC || status == -EDQUOT) {
        s->full = status;
        retry_later(s);
        return;
    }
    s->failed = status;
    s->tell_failed = true;
    ln_store_tell(s);
}

/* Takes notice of what the thread has done. Calls nothing back. */
static void collect(struct ln_store *s) {
    struct ln_flusher *f = &s->flusher;
    pthread_mutex_lock(&f->lock);
    bool durable = f->durable, ended = f->ended;
    f->durable = f->ended = false;
    pthread_mutex_unlock(&f->lock);
    if (durable)
        is_durable(s, s->frozen[0]);
    s->purging = (s->purging || durable) && !ended;
    if (!ended)
        return;
    f->busy = false;
    s->flush_time = f->nanoseconds;
    s->purged += f->write.purged;
    if (f->status == LN_OK && f->write.leftovers)
        park(s);
    else if (f->status == LN_OK)
        finish_layer(s);
    else
        ln_store_failed(s, f->status, &f->write.detail);
}

int ln_store_wait(struct ln_store *s, struct ln_detail *detail) {
    struct ln_flusher *f = &s->flusher;
    int rc = LN_OK;
    while (rc == LN_OK && s->frozen_count > 0) {
        if (s->parked) { /* it may last, and what is written is durable without it */
            rc = fold(s);
            continue;
        }
        rc = ln_store_kick(s);
        if (rc != LN_OK)
            break;
        atomic_store(&f->ask, LN_PURGE_PAUSE_NOW);
        pthread_mutex_lock(&f->lock);
        while (!f->ended)
            pthread_cond_wait(&f->done, &f->lock);
        pthread_mutex_unlock(&f->lock);
        collect(s);
        ln_store_tell(s);
        rc = s->failed != LN_OK ? s->failed : s->full;
    }
    return rc == LN_OK ? LN_OK : ln_detail_set(detail, rc, "%s", s->failure.text);
}

/* ---- telling */

/* Those who wait now; what they ask for anew waits for the next turn. */
static void tell_flushes(struct ln_store *s) {
    size_t count = 0;
    for (struct ln_store_flush *f = s->flushes; f; f = f->next)
        count++;
    while (count-- > 0 && s->flushes &&
           (s->failed != LN_OK || s->flushes->number <= s->durable_number)) {
        struct ln_store_flush *f = s->flushes;
        s->flushes = f->next;
        if (!s->flushes)
            s->flushes_end = &s->flushes;
        if (s->flushes == NULL && s->flusher.held) {
            s->flusher.held = false;
            ln_async_release(&s->flusher.async);
        }
        bool done = f->number <= s->durable_number;
        f->fn(f, done ? LN_OK : s->failed, done ? NULL : &s->failure, s->durable_index);
        if (s->closed)
            return;
    }
    if (s->flushes && (s->failed != LN_OK || s->flushes->number <= s->durable_number))
        ln_store_tell(s);
}

static void deliver(struct ln_store *s) {
    const struct ln_store_options *o = &s->options;
    if (s->tell_flushed && o->on_flushed)
        o->on_flushed(o->arg, LN_OK, NULL, s->durable_index);
    s->tell_flushed = false;
    if (!s->closed && s->tell_failed && o->on_flushed)
        o->on_flushed(o->arg, s->failed, &s->failure, s->durable_index);
    s->tell_failed = false;
    if (!s->closed)
        tell_flushes(s);
    if (s->closed || !s->no_room || ln_store_room(s, NULL) != LN_OK)
        return;
    s->no_room = false;
    if (o->on_room)
        o->on_room(o->arg);
}

static void on_async(struct ln_async *async) {
    struct ln_store *s = LN_OWNER(struct ln_store, flusher.async, async);
    collect(s);
    ln_store_maybe_seal(s);
    deliver(s);
}

static void on_tell(struct ln_job *job) {
    struct ln_store *s = LN_OWNER(struct ln_store, tell_job, job);
    ln_store_maybe_seal(s);
    deliver(s);
}

void ln_store_tell(struct ln_store *s) {
    ln_loop_defer(s->loop, &s->tell_job, on_tell);
}

int ln_store_flush(struct ln_store *s, struct ln_store_flush *flush, struct ln_detail *detail) {
    if (s->failed != LN_OK)
        return ln_detail_set(detail, s->failed, "%s", s->failure.text);
    const struct ln_layer *last = s->frozen_count ? s->frozen[s->frozen_count - 1] : NULL;
    uint64_t index = last ? last->index : s->durable_index;
    bool pending = !ln_layer_empty(s->active) || s->index > index || s->dirty;
    flush->next = NULL;
    flush->number = last ? last->number : s->durable_number;
    if (pending || s->unsynced)
        flush->number = s->active->number;
    if (flush->number > s->durable_number) {
        int rc = start_thread(s);
        if (rc != LN_OK)
            return ln_store_fail(s, detail, "flush", rc, "no thread can be started");
        if (!s->flusher.held)
            ln_async_hold(&s->flusher.async);
        s->flusher.held = true;
    }
    if (flush->number == s->active->number)
        s->wanted_number = flush->number;
    ln_store_maybe_seal(s);
    (void)ln_store_kick(s);
    *s->flushes_end = flush;
    s->flushes_end = &flush->next;
    ln_store_tell(s);
    return LN_OK;
}

/* ---- a full disk */

/* To open the engine takes at least what its logs hold, which become tables, and then comes what
 * could not be written. Opening must not fail half way: there would be no reads. */
static bool has_space(struct ln_store *s) {
    char path[4096];
    struct statvfs v;
    struct stat st;
    if (snprintf(path, sizeof path, "%s/db", s->dir) >= (int)sizeof path)
        return true; /* nobody knows */
    DIR *dir = opendir(path);
    uint64_t need = 2 * ln_store_memory(s) + (1 << 18);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        size_t n = strlen(e->d_name);
        if (n > 4 && strcmp(e->d_name + n - 4, ".log") == 0 &&
            fstatat(dirfd(dir), e->d_name, &st, 0) == 0)
            need += (uint64_t)st.st_size;
    }
    if (dir)
        closedir(dir);
    return statvfs(path, &v) != 0 || (uint64_t)v.f_bavail * v.f_frsize >= need;
}

/* A batch that failed has left the engine's log in a state that nobody knows. What was flushed
 * before it was synced; what failed is still here, whole, and may be written twice. So the engine
 * begins anew from the disk. */
static int reopen(struct ln_store *s) {
    struct ln_engine_options options = {.cache = s->options.cache / 4 * 3};
    struct ln_detail cause = {{0}};
    char path[4096];
    if (snprintf(path, sizeof path, "%s/db", s->dir) >= (int)sizeof path)
        return -ENAMETOOLONG;
    ln_scan_drop_iters(s->scans);
    ln_store_cool(s);
    ln_snapshots_lose(s);
    s->epoch++;
    if (s->engine)
        s->ops->close(s->engine);
    s->engine = NULL;
    int rc = s->ops->open(path, &options, &cause, &s->engine);
    if (rc != LN_OK)
        ln_store_fail(s, &s->failure, "open", rc, cause.text);
    return rc;
}

int ln_store_recover(struct ln_store *s, struct ln_detail *detail) {
    if (s->full == LN_OK || !s->dir)
        return LN_OK;
    if (!has_space(s)) {
        retry_later(s);
        return ln_detail_set(detail, s->full, "%s", s->failure.text);
    }
    int rc = reopen(s); /* the thread is idle: it had failed */
    if (rc != LN_OK) {
        retry_later(s);
        return ln_detail_set(detail, rc, "%s", s->failure.text);
    }
    s->full = LN_OK;
    s->failure.text[0] = 0;
    rc = ln_store_kick(s);
    ln_store_tell(s);
    return rc;
}
