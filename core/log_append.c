/* Changing a log: records gather in memory, and leave in one write. */
#include "log_dir.h"
#include "log_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_UNWRITTEN = 4 << 20, RESERVE = 64 * 1024, SMALLEST_TAIL = 4096 };

/* Entries leave so much free at the end of a segment. */
static uint64_t reserve_of(const struct ln_log *log, const struct ln_log_record *r) {
    uint64_t reserve = log->segment_size / 16;
    if (r->type > LN_LOG_MAX_TYPE)
        return 0;
    return reserve < RESERVE ? reserve : RESERVE;
}

/* ---- the tail */

static int tail_room(struct ln_log *log, uint64_t start, size_t size) {
    size_t need = (size_t)(log->end - start) + size;
    if (need <= log->tail_cap)
        return LN_OK;
    size_t cap = log->tail_cap ? log->tail_cap * 2 : SMALLEST_TAIL;
    cap = cap > need ? cap : need;
    char *tail = realloc(log->tail, cap);
    if (!tail)
        return -ENOMEM;
    log->tail = tail;
    log->tail_cap = cap;
    return LN_OK;
}

/* Lets the older part of what is written go. */
static void trim_tail(struct ln_log *log) {
    uint64_t keep = log->tail_keep > log->tail_start ? log->tail_keep : log->end;
    if (log->end - log->tail_start <= log->memory)
        return;
    if (log->end - keep > log->memory)
        keep = log->end;
    memmove(log->tail, log->tail + (keep - log->tail_start), (size_t)(log->end - keep));
    log->tail_start = keep;
    log->tail_keep = 0;
    if (log->tail_cap > 4 * log->memory) { /* a large entry was there */
        size_t cap = (size_t)(log->end - keep) + SMALLEST_TAIL;
        char *tail = realloc(log->tail, cap);
        log->tail_cap = tail ? cap : log->tail_cap;
        log->tail = tail ? tail : log->tail;
    }
}

int ln_log_write_tail(struct ln_log *log) {
    size_t len = (size_t)(log->end - log->written);
    if (len == 0)
        return LN_OK;
    int rc = ln_log_write(log->fd, log->tail + (log->written - log->tail_start), len, log->written);
    if (rc != LN_OK)
        return ln_log_fail(log, rc, "writing to the log");
    log->written = log->end;
    log->stats.writes++;
    log->stats.written_bytes += len;
    trim_tail(log);
    return LN_OK;
}

/* ---- segments */

/* The next segment, with at least so many bytes; what it lacks is said, and nothing has changed. */
static int take_next(struct ln_log *log, uint64_t need, bool wait, uint64_t *capacity) {
    bool waited = false;
    int rc = log->number < UINT32_MAX ? LN_OK : -EFBIG;
    if (rc == LN_OK && log->next_fd < 0) {
        rc = ln_log_start_thread(log);
        if (rc == LN_OK)
            rc = ln_log_thread_take(&log->thread, log->number + 1, log->segment_size, wait, &waited,
                                    &log->next_fd);
        log->stats.waits += waited;
    }
    *capacity = log->segment_size;
    if (rc == LN_OK && need > *capacity) {
        *capacity = need;
        rc = ln_log_allocate(log->next_fd, need);
    }
    return rc == LN_OK ? rc : ln_log_refuse(log, rc, "making a new segment of the log");
}

static void put_header(struct ln_log *log) {
    struct ln_log_header header = {.version = LN_LOG_VERSION,
                                   .previous_end = (uint32_t)log->previous_end,
                                   .number = log->number,
                                   .synced = log->synced_position,
                                   .facts = log->facts};
    ln_log_header_encode(&header, log->tail);
    log->end = LN_LOG_HEADER;
}

static int next_segment(struct ln_log *log, size_t size, uint64_t reserve) {
    uint64_t capacity = 0;
    int rc = tail_room(log, log->end, LN_LOG_HEADER + size);
    if (rc == LN_OK)
        rc = take_next(log, LN_LOG_HEADER + size + reserve, true, &capacity);
    if (rc == LN_OK)
        rc = ln_log_write_tail(log);
    if (rc == LN_OK) /* writing may have let go of it */
        rc = tail_room(log, log->end, LN_LOG_HEADER + size);
    if (rc != LN_OK)
        return rc;
    ln_log_thread_full(&log->thread, log->fd);
    log->previous_end = log->end;
    log->fd = log->next_fd;
    log->next_fd = -1;
    log->asked = false;
    log->number++;
    log->capacity = capacity;
    log->written = log->tail_start = log->tail_keep = 0;
    put_header(log);
    return LN_OK;
}

/* Asks for it in good time. Whether that can be met shows when it is needed. */
static void ask_for_next(struct ln_log *log) {
    if (log->asked || log->next_fd >= 0 || log->end < log->capacity / 2)
        return;
    log->asked = true;
    if (ln_log_start_thread(log) == LN_OK)
        ln_log_thread_make(&log->thread, log->number + 1, log->segment_size);
}

/* ---- records */

int ln_log_put(struct ln_log *log, const struct ln_log_record *record) {
    struct ln_log_record r = *record;
    size_t size = ln_log_record_size(r.len);
    uint64_t reserve = reserve_of(log, record);
    int rc = log->end + size + reserve <= log->capacity ? tail_room(log, log->tail_start, size)
                                                        : next_segment(log, size, reserve);
    if (rc != LN_OK)
        return rc == -ENOMEM ? ln_log_refuse(log, rc, "adding to the log") : rc;
    if (log->tail_keep == 0 && log->end - log->tail_start >= log->memory / 2)
        log->tail_keep = log->end;
    uint64_t position = ln_log_position(log->number, log->end);
    r.synced = log->synced_position;
    ln_log_record_encode(&r, log->number, log->tail + (log->end - log->tail_start));
    log->end += size;
    const char *why = ln_log_apply(&log->facts, &r);
    assert(!why);
    (void)why;
    rc = ln_log_note(&log->index, &log->facts, r.type, r.index, r.term, position);
    assert(rc == LN_OK);
    ln_log_will_flush(log);
    ask_for_next(log);
    return log->end - log->written > MOST_UNWRITTEN ? ln_log_write_tail(log) : LN_OK;
}

int ln_log_append(struct ln_log *log, uint64_t term, uint8_t type, const char *payload, size_t len,
                  uint64_t *index) {
    struct ln_log_record r = {.index = log->facts.last + 1,
                              .term = term,
                              .payload = payload,
                              .len = (uint32_t)len,
                              .type = type};
    assert(!log->closed);
    if (log->status != LN_OK)
        return log->status;
    if (r.index > LN_LOG_MAX_INDEX)
        return ln_log_refuse(log, -EOVERFLOW, "adding to the log");
    if (len > LN_LOG_MAX_PAYLOAD)
        return ln_detail_set(&log->detail, -EMSGSIZE, "an entry has at most 1 GiB");
    if (type > LN_LOG_MAX_TYPE)
        return ln_detail_set(&log->detail, -EINVAL, "the type of an entry is 0 … 127");
    if (term < log->facts.last_term)
        return ln_detail_set(&log->detail, -EINVAL, "the term of an entry never goes back");
    int rc = ln_log_index_reserve(&log->index);
    if (rc != LN_OK)
        return ln_log_refuse(log, rc, "adding to the log");
    rc = ln_log_put(log, &r);
    if (rc != LN_OK)
        return rc;
    log->stats.appends++;
    *index = r.index;
    return LN_OK;
}

int ln_log_room(struct ln_log *log, size_t len, bool wait) {
    const struct ln_log_record r = {.type = 0, .len = (uint32_t)len};
    uint64_t need = ln_log_record_size(r.len) + reserve_of(log, &r), capacity;
    assert(!log->closed);
    if (log->status != LN_OK)
        return log->status;
    if (len > LN_LOG_MAX_PAYLOAD)
        return ln_detail_set(&log->detail, -EMSGSIZE, "an entry has at most 1 GiB");
    return log->end + need <= log->capacity ? LN_OK
                                            : take_next(log, LN_LOG_HEADER + need, wait, &capacity);
}

/* ---- truncation */

/* What is on disk of the entries that are dropped is no part of the log any more. */
static void forget_synced(struct ln_log *log, uint64_t last) {
    if (log->synced > last)
        log->synced = last;
    if (log->sync_index > last)
        log->sync_index = last;
}

int ln_log_truncate_suffix(struct ln_log *log, uint64_t index) {
    const struct ln_log_facts *f = &log->facts;
    assert(!log->closed);
    if (log->status != LN_OK)
        return log->status;
    if (index < f->first)
        return ln_detail_set(&log->detail, -EINVAL,
                             "entry %llu cannot be dropped from the end: the log begins at %llu",
                             (unsigned long long)index, (unsigned long long)f->first);
    if (index > f->last)
        return LN_OK;
    struct ln_log_record r = {.index = index - 1, .type = LN_LOG_SUFFIX};
    int rc = ln_log_term(log, index - 1, &r.term);
    assert(rc == LN_OK);
    rc = ln_log_put(log, &r);
    if (rc == LN_OK)
        forget_synced(log, index - 1);
    return rc;
}

/* The segments that nothing is left in go once the record is durable. */
static void plan_removal(struct ln_log *log) {
    uint64_t until, end = log->number;
    if (log->facts.first <= log->facts.last)
        end =
            ln_log_position_number(ln_log_index_find(&log->index, log->facts.first, &until).value);
    if (end <= log->lowest)
        return;
    log->remove_end = end;
    log->remove_position = ln_log_position(log->number, log->end);
    (void)ln_log_start_thread(log); /* without one, it is done at the next open */
}

int ln_log_truncate_prefix(struct ln_log *log, uint64_t index, uint64_t term) {
    const struct ln_log_facts *f = &log->facts;
    uint64_t known = 0;
    assert(!log->closed);
    if (log->status != LN_OK)
        return log->status;
    if (index < f->first)
        return LN_OK;
    if (index >= LN_LOG_MAX_INDEX)
        return ln_detail_set(&log->detail, -EINVAL, "the index is too large");
    struct ln_log_record r = {.index = index, .term = term, .type = LN_LOG_PREFIX};
    if (ln_log_term(log, index, &known) != LN_OK || known != term)
        r.type = LN_LOG_RESET;
    int rc = ln_log_put(log, &r);
    if (rc == LN_OK && r.type == LN_LOG_RESET)
        forget_synced(log, 0);
    if (rc == LN_OK)
        plan_removal(log);
    return rc;
}

int ln_log_set_state(struct ln_log *log, uint64_t term, const char *vote, size_t vote_len) {
    struct ln_log_record r = {.index = log->facts.last,
                              .term = term,
                              .payload = vote,
                              .len = (uint32_t)vote_len,
                              .type = LN_LOG_STATE};
    assert(!log->closed);
    if (log->status != LN_OK)
        return log->status;
    if (vote_len > LN_LOG_MAX_VOTE)
        return ln_detail_set(&log->detail, -EMSGSIZE, "a vote has at most 128 bytes");
    return ln_log_put(log, &r);
}
