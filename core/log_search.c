#include "log_search.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Looking at records that are none may take so long: more is no accident. */
static const uint64_t most_hashed = UINT64_C(1) << 32;

/* len: of what is there, which ends anywhere. */
static uint64_t word_at(const char *p, size_t len) {
    uint64_t word = 0;
    memcpy(&word, p, len < sizeof word ? len : sizeof word);
    return word;
}

/* Whether the bytes begin like a record that would prove it. */
static bool promising(const struct ln_log_search *q, const char *p, uint64_t offset) {
    struct ln_log_record r;
    bool zero;
    size_t size = ln_log_record_head(p, &r, &zero);
    return size > 0 && size <= q->window.size - offset && r.synced > q->than &&
           r.synced <= ln_log_position(q->number, offset);
}

static int try_record(struct ln_log_search *q, uint64_t offset) {
    struct ln_log_at at;
    int rc = ln_log_window_record(&q->window, q->number, offset, &at);
    q->hashed += at.size;
    if (rc == LN_OK && (at.found == LN_LOG_AT_RECORD || q->hashed > most_hashed))
        q->found = offset;
    return rc;
}

/* Looks at each place on the grid, up to the end of the file's next part that has data. */
static int search_part(struct ln_log_search *q, uint64_t from, uint64_t to) {
    while (from < to && q->found == 0) {
        const char *p = NULL;
        size_t have = 0, i = 0;
        int rc = ln_log_window_get(&q->window, from, LN_LOG_RECORD_HEAD, &p, &have);
        if (rc != LN_OK)
            return rc;
        bool last = have < LN_LOG_RECORD_HEAD, candidate = false;
        for (; !candidate && i + (last ? 1 : LN_LOG_RECORD_HEAD) <= have; i += LN_LOG_GRID) {
            if (word_at(p + i, have - i) == 0)
                continue;
            q->nonzero_end = from + i + LN_LOG_GRID;
            candidate = !last && promising(q, p + i, from + i);
        }
        if (candidate)
            rc = try_record(q, from + i - LN_LOG_GRID);
        if (rc != LN_OK || last)
            return rc;
        from += i;
    }
    return LN_OK;
}

int ln_log_search(struct ln_log_search *q, uint64_t from) {
    int rc = LN_OK;
    while (rc == LN_OK && from < q->window.size && q->found == 0) {
        off_t data = lseek(q->window.fd, (off_t)from, SEEK_DATA), hole = -1;
        if (data < 0 && errno == ENXIO)
            break;
        if (data >= 0)
            hole = lseek(q->window.fd, data, SEEK_HOLE);
        uint64_t to = hole < 0 ? q->window.size : (uint64_t)hole; /* it cannot tell: all of it */
        if (data > 0 && (uint64_t)data > from)
            from = (uint64_t)data & ~(uint64_t)(LN_LOG_GRID - 1);
        rc = search_part(q, from, to < q->window.size ? to : q->window.size);
        from = to;
    }
    return rc;
}
