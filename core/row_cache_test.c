#include "row_cache.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t seed = 1;

static size_t below(size_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % n;
}

static void add(struct ln_row_cache *c, const char *key, const char *value) {
    ln_row_cache_add(c, key, strlen(key), value, value ? strlen(value) : 0);
}

/* value "?": the cache does not know; NULL: it knows that there is none. */
static void assert_cached(struct ln_row_cache *c, const char *key, const char *value) {
    struct ln_cached found;
    bool known = ln_row_cache_get(c, key, strlen(key), &found);
    assert_int_equal(known, !value || strcmp(value, "?") != 0);
    if (!known)
        return;
    assert_int_equal(found.absent, value == NULL);
    if (value) {
        assert_int_equal(found.vlen, strlen(value));
        assert_memory_equal(found.value, value, found.vlen);
    }
}

static void it_knows_rows_and_keys_without_rows(void **state) {
    (void)state;
    struct ln_row_cache *c = ln_row_cache_new(1 << 20);
    assert_cached(c, "a", "?");
    add(c, "a", "1");
    add(c, "", "the empty key");
    add(c, "none", NULL);
    add(c, "empty", "");
    assert_cached(c, "a", "1");
    assert_cached(c, "", "the empty key");
    assert_cached(c, "none", NULL);
    assert_cached(c, "empty", "");
    ln_row_cache_drop(c, "a", 1);
    ln_row_cache_drop(c, "never", 5);
    assert_cached(c, "a", "?");
    add(c, "a", "2");
    assert_cached(c, "a", "2");
    ln_row_cache_free(c);
}

static void it_stays_within_its_memory(void **state) {
    (void)state;
    struct ln_row_cache *c = ln_row_cache_new(200000);
    struct ln_row_cache_stats stats;
    char *value = calloc(1, 5000);
    for (uint32_t i = 0; i < 20000; i++) {
        ln_row_cache_add(c, &i, sizeof i, value, below(below(20) ? 100 : 5000));
        ln_row_cache_stats(c, &stats);
        assert_true(stats.bytes <= 200000);
    }
    assert_true(stats.rows > 100);
    uint32_t large = 1 << 30;
    ln_row_cache_add(c, &large, sizeof large, value, 5000); /* more than its share */
    struct ln_cached found;
    assert_false(ln_row_cache_get(c, &large, sizeof large, &found));
    ln_row_cache_free(c);
    c = ln_row_cache_new(0);
    add(c, "a", "1");
    assert_cached(c, "a", "?");
    ln_row_cache_free(c);
    free(value);
}

/* Rows that are read again stay while a thousand times as many pass through once. */
static void what_is_read_once_does_not_push_out_what_is_hot(void **state) {
    (void)state;
    struct ln_row_cache *c = ln_row_cache_new(200000);
    struct ln_cached found;
    char value[100] = {0};
    for (int round = 0; round < 2; round++)
        for (uint32_t hot = 0; hot < 100; hot++)
            if (!ln_row_cache_get(c, &hot, sizeof hot, &found))
                ln_row_cache_add(c, &hot, sizeof hot, value, sizeof value);
    for (uint32_t once = 1000; once < 101000; once++) {
        if (!ln_row_cache_get(c, &once, sizeof once, &found))
            ln_row_cache_add(c, &once, sizeof once, value, sizeof value);
        uint32_t hot = once % 100;
        if (once % 10 == 0)
            (void)ln_row_cache_get(c, &hot, sizeof hot, &found);
    }
    size_t kept = 0;
    for (uint32_t hot = 0; hot < 100; hot += 10)
        kept += ln_row_cache_get(c, &hot, sizeof hot, &found);
    assert_int_equal(kept, 10);
    ln_row_cache_free(c);
}

static void it_wants_what_is_asked_for_again(void **state) {
    (void)state;
    struct ln_row_cache *c = ln_row_cache_new(1 << 20), *none = ln_row_cache_new(0);
    size_t wanted = 0;
    assert_false(ln_row_cache_wants(c, "a", 1));
    assert_true(ln_row_cache_wants(c, "a", 1));
    for (uint32_t once = 0; once < 100000; once++)
        wanted += ln_row_cache_wants(c, &once, sizeof once);
    assert_true(wanted < 15000); /* by chance */
    assert_false(ln_row_cache_wants(none, "a", 1));
    assert_false(ln_row_cache_wants(none, "a", 1));
    ln_row_cache_free(none);
    ln_row_cache_free(c);
}

static void a_dropped_range_takes_what_was_there_and_no_more(void **state) {
    (void)state;
    struct ln_row_cache *c = ln_row_cache_new(1 << 20);
    add(c, "a", "1");
    add(c, "b", "1");
    add(c, "c", "1");
    ln_row_cache_drop_range(c, "b", 1, "c", 1);
    assert_cached(c, "a", "1");
    assert_cached(c, "b", "?");
    assert_cached(c, "c", "1");
    add(c, "b", "2");
    assert_cached(c, "b", "2");
    ln_row_cache_drop_range(c, "c", 1, NULL, 0);
    assert_cached(c, "b", "2");
    assert_cached(c, "c", "?");
    ln_row_cache_free(c);
}

/* Against an array: what the cache knows is right, however many ranges were dropped. */
static void it_never_knows_what_is_wrong(void **state) {
    (void)state;
    enum { KEYS = 200 };
    int version[KEYS] = {0};
    size_t hits = 0;
    struct ln_row_cache *c = ln_row_cache_new(20000);
    for (int i = 0; i < 200000; i++) {
        size_t k = below(KEYS);
        char key[400], value[16];
        size_t pad = k % 7 == 0 ? 300 : 0; /* longer than the ends of ranges that it keeps */
        snprintf(key, sizeof key, "%03zu%0*d", k, (int)pad + 1, 0);
        snprintf(value, sizeof value, "%d", version[k]);
        size_t dice = below(1000);
        struct ln_cached found;
        if (dice < 900) {
            if (ln_row_cache_get(c, key, strlen(key), &found)) {
                assert_int_equal(found.vlen, strlen(value));
                assert_memory_equal(found.value, value, found.vlen);
                hits++;
            } else {
                ln_row_cache_add(c, key, strlen(key), value, strlen(value));
            }
        } else if (dice < 960) {
            version[k]++;
            ln_row_cache_drop(c, key, strlen(key));
        } else {
            size_t end = k + below(20);
            char to[8];
            snprintf(to, sizeof to, "%03zu", end);
            for (size_t n = k; n < end && n < KEYS; n++)
                version[n]++;
            ln_row_cache_drop_range(c, key, 3, to, 3);
        }
    }
    assert_true(hits > 10000);
    ln_row_cache_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_knows_rows_and_keys_without_rows),
        cmocka_unit_test(it_stays_within_its_memory),
        cmocka_unit_test(what_is_read_once_does_not_push_out_what_is_hot),
        cmocka_unit_test(it_wants_what_is_asked_for_again),
        cmocka_unit_test(a_dropped_range_takes_what_was_there_and_no_more),
        cmocka_unit_test(it_never_knows_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
