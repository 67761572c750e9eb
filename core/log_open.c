/* Opening a log: finds where it ends, cuts off what is torn, and makes the rest durable. */
#include "log_dir.h"
#include "log_impl.h"
#include "log_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ZEROS = 64 * 1024 };

int ln_log_note(struct ln_log_index *index, const struct ln_log_facts *facts, uint8_t type,
                uint64_t entry, uint64_t term, uint64_t position) {
    if (type <= LN_LOG_MAX_TYPE) {
        int rc = ln_log_index_reserve(index);
        if (rc == LN_OK)
            ln_log_index_add(index, entry, term, position);
        return rc;
    }
    if (type == LN_LOG_RESET || facts->last < facts->first)
        ln_log_index_cut_suffix(index, 0);
    else if (type == LN_LOG_SUFFIX)
        ln_log_index_cut_suffix(index, facts->last);
    else if (type == LN_LOG_PREFIX)
        ln_log_index_cut_prefix(index, facts->first);
    return LN_OK;
}

struct recovery {
    struct ln_log *log;
    struct ln_log_scan scan;
    struct ln_detail *detail;
};

static int on_finding(void *arg, const struct ln_log_finding *f) {
    struct recovery *r = arg;
    return f->kind == LN_LOG_FOUND_RECORD
               ? ln_log_note(&r->log->index, &r->scan.facts, f->record.type, f->record.index,
                             f->record.term, ln_log_position(f->segment, f->offset))
               : LN_OK;
}

static int fail(struct recovery *r, int status, const char *doing) {
    if (status == LN_ECORRUPT)
        return ln_detail_set(r->detail, status,
                             "the log in %s is damaged: %s; nothing was changed, and `lunode "
                             "check` tells more",
                             r->log->dir, r->scan.damage);
    if (status == LN_EVERSION)
        return ln_detail_set(r->detail, status,
                             "the log in %s has a newer format than this lunode knows (%d); run a "
                             "newer lunode",
                             r->log->dir, LN_LOG_VERSION);
    if (status == -ENOSPC || status == -EDQUOT)
        return ln_detail_set(r->detail, status,
                             "cannot %s the log in %s: %s; free some, or choose segments of less "
                             "than %u bytes",
                             doing, r->log->dir, ln_status_text(status),
                             (unsigned)r->log->segment_size);
    return ln_detail_set(r->detail, status, "cannot %s the log in %s: %s", doing, r->log->dir,
                         ln_status_text(status));
}

/* ---- cutting */

/* What lies behind the end must not be taken for a part of the log later, when new records have
 * come to lie before it. */
static int write_zeros(int fd, uint64_t from, uint64_t to) {
    static const char zeros[ZEROS];
    int rc = LN_OK;
    for (uint64_t at = from; rc == LN_OK && at < to; at += ZEROS)
        rc = ln_log_write(fd, zeros, to - at < ZEROS ? (size_t)(to - at) : ZEROS, at);
    return rc == LN_OK ? ln_log_datasync(fd) : rc;
}

/* From the last one back, each durably before the next: there must never be a gap. */
static int remove_later(struct recovery *r) {
    int rc = LN_OK;
    for (size_t i = r->scan.count; rc == LN_OK && i > 0 && r->scan.numbers[i - 1] > r->log->number;
         i--) {
        rc = ln_log_segment_remove(r->log->dir_fd, r->scan.numbers[i - 1]);
        if (rc == LN_OK && fsync(r->log->dir_fd) != 0)
            rc = -errno;
    }
    return rc;
}

/* Segments that hold nothing any more, and that a crash has kept from being removed. */
static void remove_earlier(struct recovery *r) {
    struct ln_log *log = r->log;
    uint64_t until;
    log->lowest = log->number;
    if (log->facts.first <= log->facts.last)
        log->lowest =
            ln_log_position_number(ln_log_index_find(&log->index, log->facts.first, &until).value);
    for (size_t i = 0; i < r->scan.count && r->scan.numbers[i] < log->lowest; i++)
        (void)ln_log_segment_remove(log->dir_fd, r->scan.numbers[i]);
}

/* ---- the segment where it goes on */

static int write_first_header(struct ln_log *log) {
    struct ln_log_header header = {.version = LN_LOG_VERSION,
                                   .number = log->number,
                                   .synced = ln_log_position(log->number, 0),
                                   .facts = LN_LOG_FACTS_EMPTY};
    char bytes[LN_LOG_HEADER];
    ln_log_header_encode(&header, bytes);
    int rc = ln_log_write(log->fd, bytes, sizeof bytes, 0);
    log->end = sizeof bytes;
    return rc == LN_OK ? ln_log_datasync(log->fd) : rc;
}

static int make_first(struct ln_log *log) {
    bool fatal;
    log->number = log->lowest = 1;
    log->capacity = log->segment_size;
    int rc = ln_log_segment_make(log->dir_fd, 1, log->segment_size, &fatal, &log->fd);
    return rc == LN_OK ? write_first_header(log) : rc;
}

static int open_last(struct recovery *r) {
    struct ln_log *log = r->log;
    char name[LN_LOG_NAME];
    struct stat st;
    ln_log_segment_name(log->number, name);
    log->fd = openat(log->dir_fd, name, O_RDWR | O_CLOEXEC);
    if (log->fd < 0 || fstat(log->fd, &st) != 0)
        return -errno;
    int rc = remove_later(r);
    if (rc == LN_OK && r->scan.garbage_end > log->end)
        rc = write_zeros(log->fd, log->end, r->scan.garbage_end);
    if (rc != LN_OK)
        return rc;
    /* A full disk is no reason not to open: entries will ask for a new segment then. */
    log->capacity = (uint64_t)st.st_size;
    if (log->capacity < log->segment_size && ln_log_allocate(log->fd, log->segment_size) == LN_OK)
        log->capacity = log->segment_size;
    return r->scan.headless ? write_first_header(log) : LN_OK;
}

/* What a process that was killed has written may not be on disk yet. */
static int sync_all(struct recovery *r) {
    uint64_t from = ln_log_position_number(r->scan.synced);
    int rc = LN_OK;
    for (size_t i = 0; rc == LN_OK && i < r->scan.count; i++) {
        uint64_t number = r->scan.numbers[i];
        char name[LN_LOG_NAME];
        if (number < from || number < r->scan.lowest || number >= r->log->number)
            continue;
        ln_log_segment_name(number, name);
        int fd = openat(r->log->dir_fd, name, O_RDONLY | O_CLOEXEC);
        rc = fd < 0 ? -errno : ln_log_datasync(fd);
        if (fd >= 0)
            close(fd);
    }
    if (rc == LN_OK)
        rc = ln_log_datasync(r->log->fd);
    return rc == LN_OK && fsync(r->log->dir_fd) != 0 ? -errno : rc;
}

int ln_log_recover(struct ln_log *log, struct ln_detail *detail) {
    struct recovery r = {.log = log, .detail = detail};
    r.scan = (struct ln_log_scan){.dir_fd = log->dir_fd, .fn = on_finding, .arg = &r};
    int rc = ln_log_scan_run(&r.scan);
    if (rc != LN_OK) {
        rc = fail(&r, rc, "read");
        ln_log_scan_free(&r.scan);
        return rc;
    }
    log->facts = r.scan.facts;
    log->number = r.scan.number;
    log->end = r.scan.end;
    if (log->number == 0) {
        rc = make_first(log);
    } else {
        rc = open_last(&r);
        if (rc == LN_OK)
            rc = sync_all(&r);
        if (rc == LN_OK)
            remove_earlier(&r);
    }
    if (rc != LN_OK)
        rc = fail(&r, rc, "write to");
    ln_log_scan_free(&r.scan);
    log->tail_start = log->written = log->end;
    log->synced_position = log->opened_end = ln_log_position(log->number, log->end);
    log->synced = log->facts.last;
    return rc;
}
