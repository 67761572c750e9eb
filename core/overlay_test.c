#include "overlay.h"
#include "status.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t seed;

static size_t below(size_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % n;
}

static void put(struct ln_overlay *o, const char *key, const char *value) {
    assert_int_equal(ln_overlay_put(o, key, strlen(key), value, strlen(value)), LN_OK);
}

static void assert_row(const struct ln_overlay *o, const struct ln_overlay_node *n, const char *key,
                       const char *value) {
    assert_non_null(n);
    struct ln_overlay_row row = ln_overlay_row(o, n);
    assert_int_equal(row.klen, strlen(key));
    assert_memory_equal(row.key, key, row.klen);
    assert_false(row.deleted);
    assert_int_equal(row.vlen, strlen(value));
    assert_memory_equal(row.value, value, row.vlen);
}

static void assert_at(const struct ln_overlay *o, struct ln_overlay_cursor at, const char *key) {
    assert_row(o, ln_overlay_at(&at), key, key);
}

static bool is_end(struct ln_overlay_cursor at) {
    return ln_overlay_at(&at) == NULL;
}

static void rows_come_in_the_order_of_memcmp(void **state) {
    (void)state;
    struct ln_overlay o;
    ln_overlay_init(&o);
    assert_true(is_end(ln_overlay_first(&o)) && is_end(ln_overlay_last(&o)));
    assert_true(is_end(ln_overlay_seek(&o, "a", 1)) && is_end(ln_overlay_seek_before(&o, "a", 1)));
    assert_null(ln_overlay_find(&o, "a", 1));
    const char *keys[] = {"b", "", "a\xff", "ab", "a", "abcdefgh", "abcdefghi", "abcdefg"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        put(&o, keys[i], keys[i]);
    assert_int_equal(ln_overlay_put(&o, "a\0", 2, "zero", 4), LN_OK);
    const char *order[] = {"", "a", NULL, "ab", "abcdefg", "abcdefgh", "abcdefghi", "a\xff", "b"};
    struct ln_overlay_cursor at = ln_overlay_first(&o);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++, ln_overlay_next(&at)) {
        if (order[i])
            assert_at(&o, at, order[i]);
        else
            assert_int_equal(ln_overlay_row(&o, ln_overlay_at(&at)).klen, 2);
    }
    assert_true(is_end(at));
    assert_at(&o, ln_overlay_seek(&o, "abcdefghh", 9), "abcdefghi");
    assert_at(&o, ln_overlay_seek(&o, "ac", 2), "a\xff");
    assert_at(&o, ln_overlay_seek(&o, "", 0), "");
    assert_at(&o, ln_overlay_last(&o), "b");
    assert_at(&o, ln_overlay_seek_before(&o, "abcdefghh", 9), "abcdefgh");
    assert_at(&o, ln_overlay_seek_before(&o, "a", 1), "");
    assert_true(is_end(ln_overlay_seek_before(&o, "", 0)));
    assert_true(is_end(ln_overlay_seek(&o, "c", 1)));
    ln_overlay_free(&o);
}

static void a_tombstone_is_a_row(void **state) {
    (void)state;
    struct ln_overlay o;
    ln_overlay_init(&o);
    put(&o, "k", "value");
    assert_int_equal(ln_overlay_delete(&o, "k", 1), LN_OK);
    assert_int_equal(ln_overlay_delete(&o, "other", 5), LN_OK);
    assert_int_equal(o.count, 2);
    assert_int_equal(o.bytes, 6);
    assert_true(ln_overlay_row(&o, ln_overlay_find(&o, "k", 1)).deleted);
    assert_true(ln_overlay_row(&o, ln_overlay_find(&o, "other", 5)).deleted);
    put(&o, "k", "");
    assert_row(&o, ln_overlay_find(&o, "k", 1), "k", "");
    ln_overlay_free(&o);
}

static void rollback_restores_what_the_mark_saw(void **state) {
    (void)state;
    struct ln_overlay o;
    ln_overlay_init(&o);
    put(&o, "kept", "old");
    put(&o, "gone", "old");
    ln_overlay_begin(&o);
    put(&o, "kept", "new");
    put(&o, "kept", "newer, and longer");
    put(&o, "fresh", "x");
    assert_int_equal(ln_overlay_delete(&o, "gone", 4), LN_OK);
    ln_overlay_rollback(&o);
    assert_int_equal(o.count, 2);
    assert_int_equal(o.bytes, 14);
    struct ln_overlay_cursor at = ln_overlay_first(&o);
    assert_row(&o, ln_overlay_at(&at), "gone", "old");
    ln_overlay_next(&at);
    assert_row(&o, ln_overlay_at(&at), "kept", "old");
    put(&o, "kept", "again");
    ln_overlay_rollback(&o); /* the mark has stayed */
    assert_row(&o, ln_overlay_find(&o, "kept", 4), "kept", "old");
    ln_overlay_clear(&o);
    put(&o, "after", "x");
    ln_overlay_rollback(&o); /* clear moved it */
    assert_int_equal(o.count, 0);
    ln_overlay_free(&o);
}

static void assert_look(const struct ln_overlay *o, const char *key, const char *expected) {
    struct ln_overlay_row row;
    assert_true(ln_overlay_get(o, key, strlen(key), &row));
    assert_int_equal(row.deleted, expected == NULL);
    if (expected)
        assert_memory_equal(row.value, expected, row.vlen);
}

static void delete_range(struct ln_overlay *o, const char *from, const char *to) {
    assert_int_equal(ln_overlay_delete_range(o, from, strlen(from), to, to ? strlen(to) : 0),
                     LN_OK);
}

static void a_deleted_range_covers_what_is_older_and_not_what_is_later(void **state) {
    (void)state;
    struct ln_overlay o;
    struct ln_overlay_row row;
    ln_overlay_init(&o);
    put(&o, "a", "1");
    put(&o, "m", "1");
    delete_range(&o, "b", "y");
    put(&o, "n", "2");
    assert_look(&o, "a", "1");
    assert_look(&o, "m", NULL);
    assert_look(&o, "n", "2");
    assert_look(&o, "b", NULL); /* there was no such row here; there may be one below */
    assert_false(ln_overlay_get(&o, "y", 1, &row));
    assert_false(ln_overlay_get(&o, "az", 2, &row));
    delete_range(&o, "m", "nn");
    delete_range(&o, "z", "c"); /* empty */
    assert_look(&o, "n", NULL);
    assert_int_equal(o.range_count, 3);
    put(&o, "m", "3");
    assert_look(&o, "m", "3");
    delete_range(&o, "", NULL);
    assert_int_equal(o.range_count, 1);
    assert_look(&o, "zzz", NULL);
    assert_look(&o, "m", NULL);
    ln_overlay_free(&o);
}

static void a_range_deleted_below_covers_nothing_that_is_here(void **state) {
    (void)state;
    static const struct ln_range below = {.from = "b", .from_len = 1, .to = "x", .to_len = 1};
    struct ln_overlay o;
    struct ln_overlay_row row;
    ln_overlay_init(&o);
    put(&o, "c", "1");
    put(&o, "m", "1");
    delete_range(&o, "a", "d"); /* reaches into it */
    delete_range(&o, "g", "h");
    delete_range(&o, "w", "z");
    ln_overlay_begin(&o);
    assert_int_equal(ln_overlay_delete_range_below(&o, &below), LN_OK);
    assert_int_equal(o.range_count, 5); /* that one fills the two gaps */
    assert_look(&o, "m", "1");
    assert_look(&o, "c", NULL);
    assert_look(&o, "e", NULL);
    assert_look(&o, "h", NULL);
    assert_false(ln_overlay_get(&o, "z", 1, &row));
    assert_true(ln_overlay_covering(&o, "h", 1)->written); /* "m" stands in it */
    assert_false(ln_overlay_covering(&o, "g", 1)->written);
    put(&o, "gg", "1");
    assert_true(ln_overlay_covering(&o, "g", 1)->written);
    ln_overlay_rollback(&o);
    assert_int_equal(o.range_count, 3);
    assert_false(ln_overlay_covering(&o, "g", 1)->written);
    assert_false(ln_overlay_get(&o, "e", 1, &row));
    ln_overlay_free(&o);
}

static void rollback_takes_deleted_ranges_back(void **state) {
    (void)state;
    struct ln_overlay o;
    struct ln_overlay_row row;
    ln_overlay_init(&o);
    put(&o, "a", "1");
    delete_range(&o, "k", "m");
    put(&o, "l", "1");
    ln_overlay_begin(&o);
    delete_range(&o, "", NULL);
    put(&o, "a", "2");
    delete_range(&o, "a", "b");
    ln_overlay_rollback(&o);
    assert_look(&o, "a", "1");
    assert_look(&o, "k", NULL);
    assert_look(&o, "l", "1");
    assert_false(ln_overlay_get(&o, "z", 1, &row));
    ln_overlay_clear(&o);
    assert_false(ln_overlay_get(&o, "k", 1, &row));
    ln_overlay_rollback(&o);
    assert_false(ln_overlay_get(&o, "k", 1, &row));
    ln_overlay_free(&o);
}

static void an_overlay_goes_in_pieces(void **state) {
    (void)state;
    struct ln_overlay o;
    ln_overlay_init(&o);
    char *big = calloc(1, 1 << 20);
    for (int i = 0; i < 8; i++)
        assert_int_equal(ln_overlay_put(&o, &i, sizeof i, big, 1 << 20), LN_OK);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(ln_overlay_put(&o, &i, sizeof i - 1, big, 200), LN_OK);
    delete_range(&o, "", NULL);
    size_t pieces = 1, before = o.memory;
    assert_true(before > 12 << 20);
    while (!ln_overlay_reap(&o, 1 << 20)) {
        assert_true(before - o.memory <= 2 << 20);
        before = o.memory;
        pieces++;
    }
    assert_true(pieces > 6);
    assert_int_equal(o.memory, 0);
    put(&o, "a", "it can be used again");
    ln_overlay_free(&o);
    free(big);
}

static void a_value_may_be_copied_from_the_overlay_itself(void **state) {
    (void)state;
    struct ln_overlay o;
    ln_overlay_init(&o);
    size_t len = 100000;
    char *text = malloc(len + 1);
    memset(text, 'x', len);
    text[len] = 0;
    text[0] = 'y';
    put(&o, "k", text);
    struct ln_overlay_row row = ln_overlay_row(&o, ln_overlay_find(&o, "k", 1));
    assert_int_equal(ln_overlay_put(&o, "k", 1, row.value + 1, len - 1), LN_OK);
    assert_row(&o, ln_overlay_find(&o, "k", 1), "k", memset(text, 'x', len) ? text + 1 : NULL);
    row = ln_overlay_row(&o, ln_overlay_find(&o, "k", 1));
    assert_int_equal(ln_overlay_put(&o, row.value, 20, row.value, 20), LN_OK);
    ln_overlay_begin(&o);
    row = ln_overlay_row(&o, ln_overlay_find(&o, "k", 1));
    assert_int_equal(ln_overlay_put(&o, "k", 1, row.value, 5), LN_OK);
    assert_row(&o, ln_overlay_find(&o, "k", 1), "k", "xxxxx");
    free(text);
    ln_overlay_free(&o);
}

static void large_values_do_not_pile_up(void **state) {
    (void)state;
    struct ln_overlay o;
    ln_overlay_init(&o);
    char *big = calloc(1, 1 << 20);
    for (int i = 0; i < 100; i++) {
        ln_overlay_begin(&o);
        assert_int_equal(ln_overlay_put(&o, "k", 1, big, (size_t)(1 << 20) - (size_t)i), LN_OK);
        assert_int_equal(ln_overlay_put(&o, "k", 1, big, 1 << 20), LN_OK);
        assert_in_range(o.large, 1, 2); /* the current one, and the one to roll back to */
    }
    ln_overlay_rollback(&o);
    assert_int_equal(o.large, 1);
    ln_overlay_clear(&o);
    assert_int_equal(o.large, 0);
    free(big);
    ln_overlay_free(&o);
}

/* ---- a model: a sorted array, copied whole at each mark */

enum { MODEL_KEYS = 300 };

struct model_row {
    char key[24];
    size_t klen;
    bool there, deleted, covered;
    size_t vlen; /* the value is vlen bytes of `fill` */
    char fill;
};

static struct model_row model[MODEL_KEYS], marked[MODEL_KEYS];

static int by_key(const void *a, const void *b) {
    const struct model_row *x = a, *y = b;
    int order = memcmp(x->key, y->key, x->klen < y->klen ? x->klen : y->klen);
    return order ? order : (x->klen > y->klen) - (x->klen < y->klen);
}

/* Keys over a small alphabet, so that many are prefixes of others or share eight bytes. */
static void model_fill(void) {
    size_t n = 0;
    memset(model, 0, sizeof model);
    while (n < MODEL_KEYS) {
        struct model_row row = {.klen = below(sizeof row.key)};
        for (size_t i = 0; i < row.klen; i++)
            row.key[i] = (char)(i < 6 ? 'a' : "\0a\xff"[below(3)]);
        size_t same = 0;
        while (same < n && by_key(&model[same], &row) != 0)
            same++;
        if (same < n && below(4) == 0) { /* the short ones are soon used up */
            row = (struct model_row){.klen = 4, .key = {(char)n, (char)(n >> 8), 1, 2}};
            same = n;
        }
        if (same == n)
            model[n++] = row;
    }
    qsort(model, n, sizeof *model, by_key);
    memcpy(marked, model, sizeof model);
}

static void check_against_model(const struct ln_overlay *o) {
    size_t count = 0, bytes = 0;
    struct ln_overlay_cursor at = ln_overlay_first(o), found;
    const struct ln_overlay_node *n = ln_overlay_at(&at), *before = NULL;
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        const struct model_row *m = &model[i];
        found = ln_overlay_seek(o, m->key, m->klen);
        assert_ptr_equal(ln_overlay_at(&found), n);
        found = ln_overlay_seek_before(o, m->key, m->klen);
        assert_ptr_equal(ln_overlay_at(&found), before);
        assert_ptr_equal(ln_overlay_find(o, m->key, m->klen), m->there ? n : NULL);
        struct ln_overlay_row looked;
        assert_int_equal(ln_overlay_get(o, m->key, m->klen, &looked), m->there || m->covered);
        if (!m->there)
            continue;
        before = n;
        struct ln_overlay_row row = ln_overlay_row(o, n);
        assert_int_equal(row.klen, m->klen);
        assert_memory_equal(row.key, m->key, m->klen);
        assert_int_equal(row.deleted, m->deleted);
        if (!m->deleted)
            assert_int_equal(row.vlen, m->vlen);
        for (size_t k = 0; !m->deleted && k < m->vlen; k += m->vlen < 100 ? 1 : 97)
            assert_int_equal(row.value[k], m->fill);
        count++;
        bytes += m->klen + m->vlen;
        ln_overlay_next(&at);
        n = ln_overlay_at(&at);
    }
    assert_null(n);
    found = ln_overlay_last(o);
    assert_ptr_equal(ln_overlay_at(&found), before);
    assert_int_equal(o->count, count);
    assert_int_equal(o->bytes, bytes);
}

static void model_put(struct ln_overlay *o, char *scratch) {
    struct model_row *m = &model[below(MODEL_KEYS)];
    m->there = true;
    m->deleted = below(4) == 0;
    m->vlen = m->deleted ? 0 : below(below(50) == 0 ? 40000 : 60);
    m->fill = (char)below(256);
    if (m->deleted) {
        assert_int_equal(ln_overlay_delete(o, m->key, m->klen), LN_OK);
    } else {
        memset(scratch, m->fill, m->vlen);
        assert_int_equal(ln_overlay_put(o, m->key, m->klen, scratch, m->vlen), LN_OK);
    }
}

static void model_delete_range(struct ln_overlay *o) {
    size_t from = below(MODEL_KEYS), to = from + below(below(4) ? 8 : MODEL_KEYS);
    const struct model_row *end = to < MODEL_KEYS ? &model[to] : NULL;
    assert_int_equal(ln_overlay_delete_range(o, model[from].key, model[from].klen,
                                             end ? end->key : NULL, end ? end->klen : 0),
                     LN_OK);
    for (size_t i = from; i < MODEL_KEYS && i < to; i++)
        model[i].covered = model[i].deleted = true;
}

static void any_mix_of_calls_agrees_with_a_sorted_array(void **state) {
    (void)state;
    char *scratch = malloc(40000);
    for (seed = 1; seed < 4000; seed += 1000) {
        uint64_t start = seed;
        struct ln_overlay o;
        ln_overlay_init(&o);
        model_fill();
        for (int i = 0; i < 30000; i++) {
            size_t dice = below(100);
            if (dice < 87) {
                model_put(&o, scratch);
            } else if (dice < 90) {
                model_delete_range(&o);
            } else if (dice < 95) {
                ln_overlay_begin(&o);
                memcpy(marked, model, sizeof model);
            } else if (dice < 99) {
                ln_overlay_rollback(&o);
                memcpy(model, marked, sizeof model);
            } else if (below(4) == 0) {
                ln_overlay_clear(&o);
                for (size_t k = 0; k < MODEL_KEYS; k++)
                    model[k].there = model[k].covered = model[k].deleted = false;
                memcpy(marked, model, sizeof model);
            }
            if (i % 100 == 0)
                check_against_model(&o);
        }
        check_against_model(&o);
        ln_overlay_free(&o);
        seed = start;
    }
    free(scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_in_the_order_of_memcmp),
        cmocka_unit_test(a_tombstone_is_a_row),
        cmocka_unit_test(rollback_restores_what_the_mark_saw),
        cmocka_unit_test(a_deleted_range_covers_what_is_older_and_not_what_is_later),
        cmocka_unit_test(a_range_deleted_below_covers_nothing_that_is_here),
        cmocka_unit_test(rollback_takes_deleted_ranges_back),
        cmocka_unit_test(an_overlay_goes_in_pieces),
        cmocka_unit_test(a_value_may_be_copied_from_the_overlay_itself),
        cmocka_unit_test(large_values_do_not_pile_up),
        cmocka_unit_test(any_mix_of_calls_agrees_with_a_sorted_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
