#include "log.h"

#include "log_dir.h"
#include "log_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_SEGMENT = 32 << 20, DEFAULT_MEMORY = 1 << 20 };
static const uint32_t smallest_segment = 4096, largest_segment = 1U << 30;

/* ---- opening */

static int fail_open(struct ln_detail *detail, const char *dir, int status) {
    if (status == LN_ELOCKED)
        return ln_detail_set(detail, status,
                             "the log in %s is in use by another process; stop that first", dir);
    if (status == -ENOENT)
        return ln_detail_set(detail, status,
                             "cannot open the log in %s: there is no such directory; create it, or "
                             "its parent",
                             dir);
    return ln_detail_set(detail, status, "cannot open the log in %s: %s", dir,
                         ln_status_text(status));
}

static struct ln_log *allocate(struct ln_loop *loop, const char *dir,
                               const struct ln_log_options *o) {
    struct ln_log *log = calloc(1, sizeof *log);
    char *copy = malloc(strlen(dir) + 1);
    if (!log || !copy) {
        free(log);
        free(copy);
        return NULL;
    }
    log->loop = loop;
    log->dir = strcpy(copy, dir); /* NOLINT: it has the room */
    log->dir_fd = log->lock_fd = log->fd = log->next_fd = -1;
    log->segment_size = o->segment_size ? o->segment_size : DEFAULT_SEGMENT;
    log->memory = o->memory ? o->memory : DEFAULT_MEMORY;
    log->waiters_end = &log->waiters;
    return log;
}

static void close_if_open(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_files(struct ln_log *log) {
    close_if_open(&log->fd);
    close_if_open(&log->next_fd);
    close_if_open(&log->lock_fd);
    close_if_open(&log->dir_fd);
}

static void free_log(struct ln_log *log) {
    ln_log_index_free(&log->index);
    free(log->tail);
    free(log->dir);
    free(log);
}

int ln_log_open(struct ln_loop *loop, const char *dir, const struct ln_log_options *options,
                struct ln_detail *detail, struct ln_log **out) {
    uint32_t size = options->segment_size ? options->segment_size : DEFAULT_SEGMENT;
    if (size < smallest_segment || size > largest_segment)
        return ln_detail_set(detail, -EINVAL, "a segment of the log has 4 KiB … 1 GiB");
    struct ln_log *log = allocate(loop, dir, options);
    if (!log)
        return fail_open(detail, dir, -ENOMEM);
    int rc = ln_log_dir_open(dir, options->create, &log->dir_fd);
    if (rc == LN_OK)
        rc = ln_log_dir_lock(log->dir_fd, &log->lock_fd);
    if (rc != LN_OK)
        rc = fail_open(detail, dir, rc);
    else
        rc = ln_log_recover(log, detail);
    if (rc == LN_OK) {
        ln_log_thread_init(&log->thread, log->dir_fd, &log->async);
        *out = log;
    } else {
        close_files(log);
        free_log(log);
    }
    return rc;
}

/* ---- closing */

/* Everything before it is on disk: a later reader can tell damage from an unfinished write. */
static void put_close(struct ln_log *log) {
    struct ln_log_record r = {.index = log->facts.last, .type = LN_LOG_CLOSE};
    size_t size = ln_log_record_size(0);
    char bytes[LN_LOG_RECORD_HEAD];
    if (log->synced_position == log->opened_end || log->end + size > log->capacity)
        return;
    r.synced = log->synced_position;
    ln_log_record_encode(&r, log->number, bytes);
    (void)ln_log_write(log->fd, bytes, sizeof bytes, log->end);
}

static int end_writing(struct ln_log *log) {
    int rc = log->status == LN_OK ? ln_log_write_tail(log) : log->status;
    int stopped = ln_log_thread_stop(&log->thread);
    if (rc == LN_OK && stopped != LN_OK)
        rc = ln_log_fail(log, stopped, "syncing the log");
    uint64_t position = ln_log_position(log->number, log->end);
    if (rc == LN_OK && log->synced_position < position) {
        rc = ln_log_datasync(log->fd);
        if (rc != LN_OK)
            return ln_log_fail(log, rc, "syncing the log");
    }
    if (rc == LN_OK) {
        log->synced_position = position;
        log->synced = log->facts.last;
        put_close(log);
    }
    return rc;
}

static void on_closing(struct ln_job *job) {
    struct ln_log *log = LN_OWNER(struct ln_log, close_job, job);
    struct ln_log_sync *sync;
    while ((sync = log->waiters) != NULL) {
        log->waiters = sync->next;
        sync->fn(sync, log->status, log->synced);
    }
    if (log->close_fn)
        log->close_fn(log->close_arg);
    free_log(log);
}

int ln_log_close(struct ln_log *log, ln_log_close_fn fn, void *arg) {
    if (log->closed)
        return log->status;
    log->closed = true;
    log->close_fn = fn;
    log->close_arg = arg;
    ln_job_cancel(&log->flush_job);
    ln_job_cancel(&log->complete_job);
    int rc = end_writing(log);
    if (log->next_fd >= 0) /* nothing is in it */
        (void)ln_log_segment_remove(log->dir_fd, log->number + 1);
    if (log->async_on)
        ln_async_stop(&log->async);
    close_files(log);
    ln_loop_closing(log->loop, &log->close_job, on_closing);
    return rc;
}

void ln_log_forget(struct ln_log *log) {
    if (log->held && !log->closed)
        ln_async_release(&log->async);
    log->held = false;
    log->waiters = NULL;
    log->waiters_end = &log->waiters;
    log->close_fn = NULL;
}

/* ---- looking */

uint64_t ln_log_first(const struct ln_log *log) {
    return log->facts.first;
}

uint64_t ln_log_last(const struct ln_log *log) {
    return log->facts.last;
}

uint64_t ln_log_synced(const struct ln_log *log) {
    return log->synced;
}

int ln_log_term(const struct ln_log *log, uint64_t index, uint64_t *term) {
    const struct ln_log_facts *f = &log->facts;
    if (index + 1 == f->first)
        *term = f->base_term;
    else if (index >= f->first && index <= f->last)
        *term = ln_log_index_term(&log->index, index);
    else
        return -ERANGE;
    return LN_OK;
}

struct ln_log_state ln_log_state(const struct ln_log *log) {
    const struct ln_log_facts *f = &log->facts;
    return (struct ln_log_state){f->state_term, f->vote, f->vote_len};
}

const char *ln_log_detail(const struct ln_log *log) {
    return log->detail.text;
}

void ln_log_stats(struct ln_log *log, struct ln_log_stats *out) {
    *out = log->stats;
    out->segments = log->number - log->lowest + 1;
    out->disk_bytes = (log->number - log->lowest) * log->segment_size + log->capacity;
    out->unwritten_bytes = log->end - log->written;
    out->unsynced_bytes = log->end;
    if (ln_log_position_number(log->synced_position) == log->number)
        out->unsynced_bytes -= ln_log_position_offset(log->synced_position);
    out->full = log->thread_on && ln_log_thread_lacks(&log->thread);
}
