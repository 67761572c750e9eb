/* What the tests of the log share: entries whose bytes follow from their index and term, and a
 * plain list that says what a log should hold. */
#ifndef LUNODE_LOG_TEST_H
#define LUNODE_LOG_TEST_H

#include "log.h"
#include "test.h"
#include "test_dir.h"

#include <stdlib.h>

enum { MODEL_MOST = 4096 };

struct model_entry {
    uint64_t term;
    uint32_t len;
    uint8_t type;
};

/* A log as a list: entry i is list[i - first]. */
struct model {
    uint64_t first, base_term, last;
    struct model_entry list[MODEL_MOST];
    uint64_t state_term;
    char vote[LN_LOG_MAX_VOTE];
    size_t vote_len;
};

static inline void model_init(struct model *m) {
    memset(m, 0, sizeof *m);
    m->first = 1;
}

static inline struct model_entry *model_at(struct model *m, uint64_t index) {
    return &m->list[index % MODEL_MOST];
}

static inline uint64_t model_term(struct model *m, uint64_t index) {
    return index + 1 == m->first ? m->base_term : model_at(m, index)->term;
}

/* The payload: no two entries have the same, and no long run of it is zero. */
static inline char payload_byte(uint64_t index, uint64_t term, size_t i) {
    return (char)(1 + (index * 31 + term * 17 + i * (index % 7 + 1)) % 255);
}

static inline const char *payload_of(uint64_t index, uint64_t term, size_t len) {
    static char bytes[1 << 20];
    assert_true(len <= sizeof bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = payload_byte(index, term, i);
    return bytes;
}

static inline bool payload_right(const struct ln_log_entry *e) {
    for (size_t i = 0; i < e->len; i++)
        if (e->payload[i] != payload_byte(e->index, e->term, i))
            return false;
    return true;
}

static inline int log_put(struct ln_log *log, struct model *m, uint64_t term, size_t len) {
    uint64_t index = 0, want = ln_log_last(log) + 1;
    uint8_t type = (uint8_t)(want % 128);
    int rc = ln_log_append(log, term, type, payload_of(want, term, len), len, &index);
    if (rc == LN_OK) {
        assert_int_equal(index, want);
        if (m) {
            *model_at(m, index) = (struct model_entry){term, (uint32_t)len, type};
            m->last = index;
        }
    }
    return rc;
}

static inline void check_entry(struct model *m, const struct ln_log_entry *e, uint64_t index) {
    const struct model_entry *want = model_at(m, index);
    assert_int_equal(e->index, index);
    assert_int_equal(e->term, want->term);
    assert_int_equal(e->type, want->type);
    assert_int_equal(e->len, want->len);
    assert_true(payload_right(e));
}

/* Whether the log holds what the model does: all of it. */
static inline void check_log(struct ln_log *log, struct model *m) {
    struct ln_log_cursor c;
    struct ln_log_entry e;
    uint64_t term;
    assert_int_equal(ln_log_first(log), m->first);
    assert_int_equal(ln_log_last(log), m->last);
    ln_log_cursor_open(log, m->first, UINT64_MAX, &c);
    for (uint64_t i = m->first; i <= m->last; i++) {
        int rc = ln_log_cursor_next(&c, &e);
        if (rc != LN_OK)
            print_error("%s\n", ln_log_detail(log));
        assert_int_equal(rc, LN_OK);
        check_entry(m, &e, i);
        assert_int_equal(ln_log_term(log, i, &term), LN_OK);
        assert_int_equal(term, model_at(m, i)->term);
    }
    assert_int_equal(ln_log_cursor_next(&c, &e), LN_EOF);
    ln_log_cursor_close(&c);
    assert_int_equal(ln_log_term(log, m->first - 1, &term), LN_OK);
    assert_int_equal(term, m->base_term);
    struct ln_log_state state = ln_log_state(log);
    assert_int_equal(state.term, m->state_term);
    assert_int_equal(state.vote_len, m->vote_len);
    assert_memory_equal(state.vote, m->vote, m->vote_len);
}

static inline void model_suffix(struct model *m, uint64_t index) {
    if (index <= m->last)
        m->last = index - 1;
}

static inline void model_prefix(struct model *m, uint64_t index, uint64_t term) {
    if (index < m->first)
        return;
    if (index > m->last || model_term(m, index) != term)
        m->last = index;
    m->first = index + 1;
    m->base_term = term;
}

static inline void model_state(struct model *m, uint64_t term, const char *vote, size_t len) {
    m->state_term = term;
    m->vote_len = len;
    memcpy(m->vote, vote, len);
}

#endif
