/* The log's way to the disk: flush, sync, and telling those who wait. */
#include "log_impl.h"

#include <assert.h>
#include <errno.h>

/* Before its header is written, a segment has no position of its own: a record that says all
 * before it was on disk must not seem to say that the header was. */
static uint64_t written_position(const struct ln_log *log) {
    return log->written > 0 ? ln_log_position(log->number, log->written)
                            : ln_log_position(log->number - 1, log->previous_end);
}

/* ---- failures */

int ln_log_refuse(struct ln_log *log, int status, const char *doing) {
    return ln_detail_set(&log->detail, status, "%s in %s failed: %s", doing, log->dir,
                         ln_status_text(status));
}

static void on_complete(struct ln_job *job) {
    ln_log_complete(LN_OWNER(struct ln_log, complete_job, job));
}

int ln_log_fail(struct ln_log *log, int status, const char *doing) {
    if (log->status != LN_OK)
        return log->status;
    log->status = status;
    (void)ln_detail_set(&log->detail, status,
                        "%s in %s failed: %s; the log has ended, and what is on disk is what a "
                        "new start will find",
                        doing, log->dir, ln_status_text(status));
    if (log->waiters && !log->closed)
        ln_loop_defer(log->loop, &log->complete_job, on_complete);
    return status;
}

/* ---- those who wait */

static bool is_done(const struct ln_log *log, const struct ln_log_sync *sync) {
    return log->status != LN_OK || sync->position <= log->synced_position;
}

static struct ln_log_sync *take_waiter(struct ln_log *log) {
    struct ln_log_sync *sync = log->waiters;
    log->waiters = sync->next;
    if (!log->waiters) {
        log->waiters_end = &log->waiters;
        if (log->held)
            ln_async_release(&log->async);
        log->held = false;
    }
    return sync;
}

/* Those who come meanwhile wait for the next turn: a callback that syncs again must not keep the
 * loop here. */
void ln_log_complete(struct ln_log *log) {
    struct ln_log_sync **end = log->waiters_end;
    bool last = false;
    while (log->waiters && !last && is_done(log, log->waiters)) {
        last = end == &log->waiters->next;
        struct ln_log_sync *sync = take_waiter(log);
        sync->fn(sync, log->status, log->synced);
        if (log->closed)
            return;
    }
    if (log->waiters && is_done(log, log->waiters))
        ln_loop_defer(log->loop, &log->complete_job, on_complete);
}

int ln_log_sync(struct ln_log *log, struct ln_log_sync *sync, ln_log_sync_fn fn) {
    assert(!log->closed);
    if (log->status != LN_OK)
        return log->status;
    *sync = (struct ln_log_sync){.fn = fn, .position = ln_log_position(log->number, log->end)};
    bool done = is_done(log, sync);
    int rc = done ? LN_OK : ln_log_start_thread(log);
    if (rc != LN_OK)
        return ln_log_refuse(log, rc, "starting the log's thread");
    *log->waiters_end = sync;
    log->waiters_end = &sync->next;
    if (done) {
        ln_loop_defer(log->loop, &log->complete_job, on_complete);
    } else {
        if (!log->held)
            ln_async_hold(&log->async);
        log->held = true;
        ln_log_will_flush(log);
    }
    return LN_OK;
}

/* ---- syncing */

static void remove_old(struct ln_log *log) {
    if (log->remove_end <= log->lowest || log->synced_position < log->remove_position)
        return;
    ln_log_thread_remove(&log->thread, log->lowest, log->remove_end);
    log->lowest = log->remove_end;
}

/* Of what is written; somebody must want it. */
void ln_log_begin_sync(struct ln_log *log) {
    uint64_t written = written_position(log);
    const struct ln_log_sync *first = log->waiters;
    while (first && first->position <= log->synced_position)
        first = first->next;
    bool waiting = first && first->position <= written;
    bool removing = log->remove_end > log->lowest && log->remove_position <= written;
    if (log->status != LN_OK || log->sync_position > 0 || !log->thread_on ||
        !(waiting || removing) || written <= log->synced_position)
        return;
    log->sync_position = written;
    log->sync_index = log->facts.last;
    ln_log_thread_sync(&log->thread, log->fd, written);
}

static void on_async(struct ln_async *async) {
    struct ln_log *log = LN_OWNER(struct ln_log, async, async);
    struct ln_log_done done;
    ln_log_thread_done(&log->thread, &done);
    if (done.status != LN_OK) {
        (void)ln_log_fail(log, done.status, "syncing the log");
    } else if (log->sync_position > 0 && done.synced == log->sync_position) {
        uint64_t old_number = ln_log_position_number(log->synced_position);
        uint64_t bytes = ln_log_position_offset(done.synced);
        if (old_number == ln_log_position_number(done.synced))
            bytes -= ln_log_position_offset(log->synced_position);
        log->stats.syncs++;
        log->stats.synced_bytes += bytes;
        log->stats.last_sync_seconds = (double)done.last_sync / (double)LN_SECOND;
        log->synced_position = done.synced;
        log->synced = log->sync_index;
        log->sync_position = 0;
    }
    if (log->status == LN_OK) {
        remove_old(log);
        (void)ln_log_flush(log);
    }
    ln_log_complete(log);
}

int ln_log_start_thread(struct ln_log *log) {
    int rc = LN_OK;
    if (!log->async_on)
        rc = ln_async_start(log->loop, &log->async, on_async);
    if (rc != LN_OK)
        return rc;
    log->async_on = true;
    rc = ln_log_thread_start(&log->thread);
    log->thread_on = rc == LN_OK;
    return rc;
}

/* ---- flushing */

/* While a sync is under way, nobody waits for a write: the next sync begins when this one ends, and
 * one write then serves all that has gathered. */
static void on_flush(struct ln_job *job) {
    struct ln_log *log = LN_OWNER(struct ln_log, flush_job, job);
    if (log->sync_position == 0 || log->status != LN_OK)
        (void)ln_log_flush(log);
}

void ln_log_will_flush(struct ln_log *log) {
    ln_loop_flush(log->loop, &log->flush_job, on_flush);
}

int ln_log_flush(struct ln_log *log) {
    assert(!log->closed);
    ln_job_cancel(&log->flush_job);
    int rc = log->status == LN_OK ? ln_log_write_tail(log) : log->status;
    if (rc == LN_OK)
        ln_log_begin_sync(log);
    return rc;
}
