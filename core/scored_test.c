/* Scores as bytes, and members in their two orders. What becomes of them in a store, the specs say.
 */
#include "scored.h"
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void test_bytes_are_ordered_as_scores(void **state) {
    (void)state;
    static const double scores[] = {-INFINITY, -1e300, -1, -5e-324, 0,
                                    5e-324,    0.5,    1,  1e300,   INFINITY};
    char last[LN_SCORE_BYTES], next[LN_SCORE_BYTES];
    for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++) {
        ln_score_encode(scores[i], next);
        assert_true(ln_score_decode(next) == scores[i]);
        if (i > 0)
            assert_true(memcmp(last, next, sizeof next) < 0);
        memcpy(last, next, sizeof next);
    }
    ln_score_encode(-0.0, last);
    ln_score_encode(0.0, next);
    assert_memory_equal(last, next, sizeof next);
}

static void add(struct ln_scored *s, double score, const char *name) {
    assert_int_equal(ln_scored_add(s, score, name, strlen(name)), LN_OK);
}

static const char *names(const struct ln_scored *s) {
    static char text[256];
    text[0] = 0;
    for (size_t i = 0; i < s->count; i++)
        (void)strncat(text, ln_scored_name(s, &s->entries[i]), s->entries[i].len);
    return text;
}

static void test_has_two_orders(void **state) {
    (void)state;
    struct ln_scored s = {0};
    assert_true(ln_scored_sort_names(&s));
    add(&s, 2, "hashc");
    add(&s, 1, "hasza");
    add(&s, 1, "haskb");
    add(&s, -0.0, "hasyd");
    assert_true(ln_scored_sort_names(&s));
    assert_string_equal(names(&s), "hashchaskbhasydhasza");
    ln_scored_sort(&s);
    assert_string_equal(names(&s), "hasydhaszahaskbhashc");
    add(&s, 7, "hashc");
    assert_false(ln_scored_sort_names(&s));
    ln_scored_free(&s);
    assert_int_equal(s.count, 0);
    ln_scored_free(&s);
}

static void test_takes_very_many(void **state) {
    (void)state;
    struct ln_scored s = {0};
    char name[32];
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof name, "h%05dx%d", i * 7919 % 20000, i);
        add(&s, i * 7919 % 1000, name);
    }
    assert_true(ln_scored_sort_names(&s));
    ln_scored_sort(&s);
    for (size_t i = 1; i < s.count; i++)
        assert_true(s.entries[i - 1].score <= s.entries[i].score);
    ln_scored_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_ordered_as_scores),
        cmocka_unit_test(test_has_two_orders),
        cmocka_unit_test(test_takes_very_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
