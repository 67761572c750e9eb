/* Against plain arrays, at random, with what is undone and with allocations that fail. */
#include "ranks.h"

#include "fault.h"
#include "overlay.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>

enum { KEYS = 1200, KEY_BYTES = 16 };

struct model {
    bool there[KEYS];
    uint32_t spans[KEYS];
};

static struct {
    char bytes[KEY_BYTES];
    size_t len;
} keys[KEYS];

static int by_key(const void *a, const void *b) {
    size_t len_a, len_b;
    memcpy(&len_a, (const char *)a + KEY_BYTES, sizeof len_a);
    memcpy(&len_b, (const char *)b + KEY_BYTES, sizeof len_b);
    return ln_key_compare(a, len_a, b, len_b);
}

/* Many with the same first eight bytes, some that are shorter, some that begin others, one that is
 * empty. */
static void make_keys(void) {
    static const struct {
        const char *bytes;
        size_t len;
    } tails[] = {{"", 0}, {"\0", 1}, {"\0\0", 2}, {"a", 1}, {"a\0b", 3}, {"\xFF", 1}};
    for (size_t i = 0; i < KEYS; i++) {
        size_t group = i / 6, len = group % 20 == 0 ? group / 20 : 8;
        memset(keys[i].bytes, 0, KEY_BYTES);
        keys[i].bytes[0] = (char)(len ? group : 0);
        keys[i].bytes[7] = (char)(len == 8 ? group * 7 : 0);
        len = len > 8 ? 8 : len;
        memcpy(keys[i].bytes + len, tails[i % 6].bytes, tails[i % 6].len);
        keys[i].len = len + tails[i % 6].len;
    }
    qsort(keys, KEYS, sizeof keys[0], by_key);
}

/* An equal one comes first in the list, and stands for all. */
static size_t canonical(size_t i) {
    while (i > 0 && keys[i].len == keys[i - 1].len &&
           memcmp(keys[i].bytes, keys[i - 1].bytes, keys[i].len) == 0)
        i--;
    return i;
}

static uint32_t random_number(uint32_t *state, uint32_t below) {
    *state = *state * 1664525 + 1013904223;
    return (*state >> 8) % below;
}

/* The last node at or before key i, or KEYS. */
static size_t node_at(const struct model *m, size_t i) {
    do {
        if (m->there[i])
            return i;
    } while (i-- > 0);
    return KEYS;
}

static void check(struct ln_ranks *r, const struct model *m, uint32_t *state) {
    uint64_t sum = 0, before = 0;
    size_t i = canonical(random_number(state, KEYS)), at = node_at(m, i), with = 0;
    struct ln_ranks_node node;
    for (size_t k = 0; k < KEYS; k++) {
        sum += m->there[k] ? m->spans[k] : 0;
        before += m->there[k] && k < at ? m->spans[k] : 0;
    }
    assert_int_equal(ln_ranks_sum(r), sum);
    assert_int_equal(ln_ranks_at(r, keys[i].bytes, keys[i].len, &node), at < KEYS);
    if (at < KEYS) {
        assert_int_equal(node.klen, keys[at].len);
        assert_memory_equal(node.key, keys[at].bytes, node.klen);
        assert_int_equal(node.span, m->spans[at]);
        assert_int_equal(node.before, before);
    }
    assert_false(ln_ranks_with(r, sum, &node));
    if (sum == 0)
        return;
    uint64_t rank = random_number(state, (uint32_t)sum);
    for (before = 0; !m->there[with] || before + m->spans[with] <= rank; with++)
        before += m->there[with] ? m->spans[with] : 0;
    assert_true(ln_ranks_with(r, rank, &node));
    assert_int_equal(node.klen, keys[with].len);
    assert_memory_equal(node.key, keys[with].bytes, node.klen);
    assert_int_equal(node.before, before);
}

static int insert(struct ln_ranks *r, struct model *m, size_t i, uint32_t span) {
    int rc = ln_ranks_insert(r, keys[i].bytes, keys[i].len, span);
    if (m->there[i]) {
        assert_int_equal(rc, -EEXIST);
    } else if (rc == LN_OK) {
        m->there[i] = true;
        m->spans[i] = span;
    }
    return rc == -EEXIST ? LN_OK : rc;
}

static int take_out(struct ln_ranks *r, struct model *m, size_t i) {
    uint32_t span = 0;
    int rc = ln_ranks_remove(r, keys[i].bytes, keys[i].len, &span);
    if (!m->there[i]) {
        assert_int_equal(rc, -ENOENT);
    } else if (rc == LN_OK) {
        assert_int_equal(span, m->spans[i]);
        m->there[i] = false;
    }
    return rc == -ENOENT ? LN_OK : rc;
}

static int add(struct ln_ranks *r, struct model *m, size_t i, int64_t by) {
    size_t at = node_at(m, i);
    bool fits = at == KEYS || m->spans[at] + by >= 0;
    int rc = ln_ranks_add(r, keys[i].bytes, keys[i].len, by);
    if (!fits)
        assert_int_equal(rc, -ERANGE);
    else if (rc == LN_OK && at < KEYS)
        m->spans[at] = (uint32_t)(m->spans[at] + by);
    return rc == -ERANGE ? LN_OK : rc;
}

static int move(struct ln_ranks *r, struct model *m, size_t from, size_t to) {
    size_t old = node_at(m, from), now = node_at(m, to);
    bool fits = old == now || old == KEYS || m->spans[old] > 0;
    int rc = ln_ranks_move(r, keys[from].bytes, keys[from].len, keys[to].bytes, keys[to].len);
    if (!fits)
        assert_int_equal(rc, -ERANGE);
    if (rc == LN_OK && old < KEYS)
        m->spans[old]--;
    if (rc == LN_OK && now < KEYS)
        m->spans[now]++;
    return rc == -ERANGE ? LN_OK : rc;
}

static int change(struct ln_ranks *r, struct model *m, uint32_t *state) {
    size_t i = canonical(random_number(state, KEYS));
    switch (random_number(state, 8)) {
    case 0:
        return take_out(r, m, i);
    case 1:
        return move(r, m, i, canonical(random_number(state, KEYS)));
    case 2:
    case 3:
        return add(r, m, i, (int64_t)random_number(state, 100) - 40);
    default:
        return insert(r, m, i, random_number(state, 50));
    }
}

/* Applies to `stored` what is unsaved, as the store would get it. */
static void save(struct ln_ranks *r, struct model *stored) {
    struct ln_ranks_node node;
    for (size_t i = 0; ln_ranks_unsaved(r, i, &node); i++)
        for (size_t k = 0; node.key && k < KEYS; k++)
            if (keys[k].len == node.klen && memcmp(keys[k].bytes, node.key, node.klen) == 0) {
                stored->there[k] = true;
                stored->spans[k] = node.span;
                break;
            }
}

static size_t rounds;

static void use_ranks(const struct fault *fault) {
    static struct model model, marked, stored;
    uint32_t state = 7;
    (void)fault;
    memset(&model, 0, sizeof model);
    memset(&marked, 0, sizeof marked);
    memset(&stored, 0, sizeof stored);
    struct ln_ranks *r = ln_ranks_new();
    if (!r)
        return;
    for (size_t round = 1; round <= rounds; round++) {
        bool before = fault_happened();
        int rc = change(r, &model, &state);
        assert_int_equal(rc, fault_happened() == before ? LN_OK : -ENOMEM);
        check(r, &model, &state);
        uint32_t what = random_number(&state, 60);
        if (what < 2) {
            ln_ranks_begin(r);
            marked = model;
        } else if (what < 4) {
            ln_ranks_rollback(r);
            model = marked;
            check(r, &model, &state);
        } else if (what == 4) { /* the rows of those that were removed go at once */
            for (size_t k = 0; k < KEYS; k++)
                stored.there[k] = stored.there[k] && model.there[k];
            save(r, &stored);
            ln_ranks_saved(r);
            assert_int_equal(ln_ranks_unsaved_count(r), 0);
            for (size_t k = 0; k < KEYS; k++) {
                assert_int_equal(stored.there[k], model.there[k]);
                assert_true(!model.there[k] || stored.spans[k] == model.spans[k]);
            }
            marked = model;
        }
    }
    ln_ranks_free(r);
}

static void nodes_are_found_by_key_and_by_rank(void **unused) {
    (void)unused;
    rounds = 30000;
    use_ranks(NULL);
}

static void ranks_without_memory_stay_as_they_were(void **unused) {
    (void)unused;
    static const struct fault faults[] = {{FAULT_malloc, ENOMEM, false},
                                          {FAULT_calloc, ENOMEM, false},
                                          {FAULT_reallocarray, ENOMEM, true}};
    rounds = 200;
    fault_each(faults, sizeof faults / sizeof *faults, use_ranks);
}

int main(void) {
    make_keys();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_found_by_key_and_by_rank),
        cmocka_unit_test_teardown(ranks_without_memory_stay_as_they_were, fault_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
