#include "log_window.h"

#include "log_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 256 * 1024 };

void ln_log_window_init(struct ln_log_window *w, int fd, uint64_t size) {
    *w = (struct ln_log_window){.fd = fd, .size = size};
}

void ln_log_window_forget(struct ln_log_window *w) {
    w->len = 0;
}

void ln_log_window_close(struct ln_log_window *w) {
    if (w->fd >= 0)
        close(w->fd);
    free(w->data);
    ln_log_window_init(w, -1, 0);
}

static int make_room(struct ln_log_window *w, size_t need) {
    if (need <= w->cap)
        return LN_OK;
    size_t cap = need > WINDOW ? need : WINDOW;
    char *data = malloc(cap);
    if (!data)
        return -ENOMEM;
    free(w->data);
    w->data = data;
    w->cap = cap;
    w->len = 0;
    return LN_OK;
}

int ln_log_window_get(struct ln_log_window *w, uint64_t offset, size_t need, const char **p,
                      size_t *have) {
    uint64_t rest = offset < w->size ? w->size - offset : 0;
    size_t want = need < rest ? need : (size_t)rest;
    if (w->len == 0 || offset < w->at || offset + want > w->at + w->len) {
        int rc = make_room(w, want > 0 ? want : 1);
        w->len = 0;
        w->at = offset;
        if (rc == LN_OK)
            rc = ln_log_pread(w->fd, w->data, w->cap < rest ? w->cap : (size_t)rest, offset,
                              &w->len);
        if (rc != LN_OK)
            return rc;
    }
    *p = w->data + (offset - w->at);
    *have = w->len - (size_t)(offset - w->at);
    return LN_OK;
}

static int set(struct ln_log_at *out, enum ln_log_found found, const char *why) {
    out->found = found;
    out->why = why;
    return LN_OK;
}

static bool is_zero(const char *p, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

int ln_log_window_record(struct ln_log_window *w, uint64_t number, uint64_t offset,
                         struct ln_log_at *out) {
    const char *p = NULL;
    size_t have = 0;
    bool zero;
    *out = (struct ln_log_at){.size = LN_LOG_RECORD_HEAD};
    int rc = ln_log_window_get(w, offset, LN_LOG_RECORD_HEAD, &p, &have);
    if (rc != LN_OK)
        return rc;
    if (have < LN_LOG_RECORD_HEAD)
        return is_zero(p, have) ? set(out, LN_LOG_AT_END, NULL)
                                : set(out, LN_LOG_AT_BAD, "the file ends within a record");
    size_t size = ln_log_record_head(p, &out->record, &zero);
    if (zero)
        return set(out, LN_LOG_AT_END, NULL);
    if (size == 0)
        return set(out, LN_LOG_AT_BAD, "this is no record");
    out->size = size;
    if (size > w->size - offset)
        return set(out, LN_LOG_AT_BAD, "the record leads behind the end of the file");
    rc = ln_log_window_get(w, offset, size, &p, &have);
    if (rc != LN_OK)
        return rc;
    (void)ln_log_record_head(p, &out->record, &zero);
    return have >= size && ln_log_record_intact(p, size, number)
               ? set(out, LN_LOG_AT_RECORD, NULL)
               : set(out, LN_LOG_AT_BAD, "the checksum does not match");
}
