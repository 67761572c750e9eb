/* Reading a log: from the tail in memory, else from the segments. */
#include "log_dir.h"
#include "log_impl.h"
#include "log_window.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

void ln_log_cursor_open(struct ln_log *log, uint64_t from, uint64_t to, struct ln_log_cursor *c) {
    *c = (struct ln_log_cursor){.log = log, .next = from, .to = to};
    ln_log_window_init(&c->window, -1, 0);
}

void ln_log_cursor_close(struct ln_log_cursor *c) {
    ln_log_window_close(&c->window);
}

static int damaged(const struct ln_log_cursor *c, const char *why) {
    uint64_t number = ln_log_position_number(c->position);
    return ln_detail_set(&c->log->detail, LN_ECORRUPT,
                         "the log in %s is damaged: segment %016" PRIx64 ".log, offset %" PRIu64
                         ": %s",
                         c->log->dir, number, ln_log_position_offset(c->position), why);
}

/* The segment of the position. Of the one that is written to, only what has left memory is read
 * from the file. */
static int open_segment(struct ln_log_cursor *c) {
    uint64_t number = ln_log_position_number(c->position);
    if (c->window.fd < 0 || c->number != number) {
        char name[LN_LOG_NAME];
        ln_log_segment_name(number, name);
        int fd = openat(c->log->dir_fd, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return ln_log_refuse(c->log, -errno, "opening a segment of the log");
        if (c->window.fd >= 0)
            close(c->window.fd);
        c->window.fd = fd;
        c->window.len = 0;
        c->number = number;
    }
    struct stat st;
    if (number == c->log->number)
        c->window.size = c->log->tail_start;
    else if (fstat(c->window.fd, &st) != 0)
        return ln_log_refuse(c->log, -errno, "reading the log");
    else
        c->window.size = (uint64_t)st.st_size;
    return LN_OK;
}

static int read_record(struct ln_log_cursor *c, struct ln_log_at *at) {
    const struct ln_log *log = c->log;
    uint64_t number = ln_log_position_number(c->position);
    uint64_t offset = ln_log_position_offset(c->position);
    if (number == log->number && offset >= log->tail_start) {
        bool zero;
        at->size = ln_log_record_head(log->tail + (offset - log->tail_start), &at->record, &zero);
        return LN_OK;
    }
    int rc = LN_OK;
    /* While the window has it, the file need not be asked for its size. */
    if (c->number != number || offset + LN_LOG_RECORD_HEAD > c->window.at + c->window.len)
        rc = open_segment(c);
    if (rc == LN_OK) {
        rc = ln_log_window_record(&c->window, number, offset, at);
        if (rc != LN_OK)
            return ln_log_refuse(c->log, rc, "reading the log");
        if (at->found != LN_LOG_AT_RECORD)
            return damaged(c, at->why ? at->why : "there is no record");
    }
    return rc;
}

/* To the mark, unless we are behind it on the way to the entry. */
static void seek(struct ln_log_cursor *c) {
    const struct ln_log_index *x = &c->log->index;
    struct ln_log_mark mark = ln_log_index_find(x, c->next, &c->until);
    if (c->position <= mark.value || c->truncations != x->truncations ||
        ln_log_position_number(c->position) != ln_log_position_number(mark.value))
        c->position = mark.value;
    c->truncations = x->truncations;
    c->changes = x->changes;
}

int ln_log_cursor_next(struct ln_log_cursor *c, struct ln_log_entry *out) {
    struct ln_log *log = c->log;
    if (log->status != LN_OK)
        return log->status;
    if (c->next < log->facts.first)
        return ln_detail_set(&log->detail, -ERANGE,
                             "entry %" PRIu64 " is gone: the log begins at %" PRIu64, c->next,
                             log->facts.first);
    if (c->next > c->to || c->next > log->facts.last)
        return LN_EOF;
    if (c->position == 0 || c->next >= c->until || c->truncations != log->index.truncations ||
        (c->until == UINT64_MAX && c->changes != log->index.changes))
        seek(c);
    for (;;) {
        struct ln_log_at at;
        int rc = read_record(c, &at);
        if (rc != LN_OK)
            return rc;
        c->position += at.size;
        const struct ln_log_record *r = &at.record;
        if (r->type > LN_LOG_MAX_TYPE || r->index < c->next)
            continue;
        if (r->index > c->next)
            return damaged(c, "an entry is missing");
        *out = (struct ln_log_entry){r->index, r->term, r->payload, r->len, r->type};
        c->next++;
        return LN_OK;
    }
}
