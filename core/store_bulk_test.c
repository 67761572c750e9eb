/* Copies of prefixes, and sets side by side, over rows in memory and in the engine. */
#include "store_bulk.h"
#include "store_test.h"

static size_t count(struct ln_store *s, const char *from, const char *to) {
    struct ln_overlay_row row;
    struct ln_detail detail = {{0}};
    struct ln_scan *scan;
    size_t n = 0;
    assert_int_equal(ln_store_scan(s, from, strlen(from), to, strlen(to), false, &scan), LN_OK);
    while (ln_scan_next(scan, &detail, &row) == LN_OK)
        n++;
    ln_scan_close(scan);
    return n;
}

static void test_copies_a_prefix(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    struct ln_detail detail = {{0}};
    static char large[100 << 10];
    char key[32];
    memset(large, 'x', sizeof large);
    put(s, "a", "the prefix itself");
    assert_int_equal(ln_store_put(s, "alarge", 6, large, sizeof large), LN_OK);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "a%d", i);
        put(s, key, key);
        if (i == 2500)
            commit(s);
    }
    drop(s, "a17");
    put(s, "b", "behind it");
    assert_int_equal(ln_store_copy(s, "a", 1, "to-", 3, &detail), LN_OK);
    assert_int_equal(count(s, "to-", "to."), 5001);
    struct ln_value value = {0};
    assert_int_equal(ln_store_get(s, "to-large", 8, &detail, &value), LN_OK);
    assert_int_equal(value.len, sizeof large);
    ln_value_release(&value);
    assert_int_equal(ln_store_get(s, "to-", 3, &detail, &value), LN_OK);
    ln_value_release(&value);
    assert_int_equal(ln_store_get(s, "to-17", 5, &detail, &value), -ENOENT);
    ln_store_close(s);
    assert_int_equal(ln_loop_run(loop), LN_OK);
}

static void test_no_prefix_of_bytes_ff(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    struct ln_detail detail = {{0}};
    put(s, "a\xFF\xFF-", "1");
    put(s, "b", "2");
    assert_int_equal(ln_store_copy(s, "a\xFF\xFF", 3, "c", 1, &detail), LN_OK);
    assert_int_equal(count(s, "c", "d"), 1);
    assert_int_not_equal(ln_store_copy(s, "\xFF", 1, "c", 1, &detail), LN_OK);
    ln_store_close(s);
    assert_int_equal(ln_loop_run(loop), LN_OK);
}

/* What a merge meets, and which inputs have it: "name:mask name:mask …". */
static const char *merged(struct ln_store *s, enum ln_merge_how how, struct ln_merge_input *inputs,
                          size_t n) {
    static char text[256];
    struct ln_merge m;
    struct ln_detail detail = {{0}};
    size_t len = 0;
    int rc;
    text[0] = 0;
    ln_merge_init(&m, s, how, inputs, n);
    while ((rc = ln_merge_next(&m, &detail)) == LN_OK) {
        unsigned mask = 0;
        for (size_t i = 0; i < n; i++)
            mask |= (unsigned)inputs[i].has << i;
        len +=
            (size_t)snprintf(text + len, sizeof text - len, "%.*s:%u ", (int)m.len, m.name, mask);
    }
    assert_int_equal(rc, LN_EOF);
    ln_merge_free(&m);
    ln_merge_free(&m);
    return text;
}

static void test_merges_sets(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    for (int i = 0; i < 8; i++) { /* x: even ones, y: those from 3 on */
        char key[] = {i % 2 ? 'z' : 'x', (char)('0' + i), 0};
        put(s, key, "0123456789");
        key[0] = 'y';
        if (i >= 3)
            put(s, key, "");
        if (i == 4)
            commit(s);
    }
    /* The first one's count decides whether others are asked, or walked over. */
    for (uint64_t few = 0; few < 2; few++) {
        uint64_t first = few ? 1 : 1000;
        struct ln_merge_input a[] = {{.prefix = "x", .len = 1, .count = first},
                                     {.prefix = "y", .len = 1, .count = 1000}};
        assert_string_equal(merged(s, LN_MERGE_UNION, a, 2), "0:1 2:1 3:2 4:3 5:2 6:3 7:2 ");
        assert_int_equal(a[0].value_len, LN_MERGE_VALUE);
        struct ln_merge_input b[] = {{.prefix = "x", .len = 1, .count = first},
                                     {.prefix = "y", .len = 1, .count = 1000}};
        assert_string_equal(merged(s, LN_MERGE_INTERSECTION, b, 2), "4:3 6:3 ");
        struct ln_merge_input c[] = {{.prefix = "x", .len = 1, .count = first},
                                     {.prefix = "y", .len = 1, .count = 1000},
                                     {.prefix = "none", .len = 4, .count = 0}};
        assert_string_equal(merged(s, LN_MERGE_DIFFERENCE, c, 3), "0:1 2:1 ");
    }
    assert_string_equal(merged(s, LN_MERGE_UNION, NULL, 0), "");
    ln_store_close(s);
    assert_int_equal(ln_loop_run(loop), LN_OK);
}

/* A merge that is given up gives back what it has, also when the store is closed before. */
static void test_ends_early(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    struct ln_detail detail = {{0}};
    struct ln_merge m;
    struct ln_merge_input in = {.prefix = "x", .len = 1, .count = 2};
    put(s, "x1", "");
    put(s, "x2", "");
    ln_merge_init(&m, s, LN_MERGE_UNION, &in, 1);
    assert_int_equal(ln_merge_next(&m, &detail), LN_OK);
    ln_store_close(s);
    assert_int_equal(ln_merge_next(&m, &detail), -EBADF);
    ln_merge_free(&m);
    assert_int_equal(ln_loop_run(loop), LN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_copies_a_prefix, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_prefix_of_bytes_ff, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_merges_sets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends_early, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
