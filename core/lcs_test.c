#include "lcs.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

static void *open_lcs(struct ln_lcs *lcs, const char *a, const char *b) {
    void *memory = malloc(ln_lcs_memory(strlen(a), strlen(b)));
    assert_non_null(memory);
    ln_lcs_init(lcs, memory, a, strlen(a), b, strlen(b));
    return memory;
}

/* The runs as text, first to last: "4-7=5-8 2-3=0-1", both ends included. */
static void assert_runs(const char *a, const char *b, size_t len, const char *expected) {
    struct ln_lcs lcs;
    void *memory = open_lcs(&lcs, a, b);
    assert_int_equal(lcs.len, len);
    char text[256] = "";
    size_t used = 0;
    for (struct ln_lcs_run run; ln_lcs_next(&lcs, &run);)
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%zu-%zu=%zu-%zu", used ? " " : "",
                             run.a, run.a + run.len - 1, run.b, run.b + run.len - 1);
    assert_string_equal(text, expected);
    free(memory);
}

static void finds_the_runs_from_the_last_to_the_first(void **state) {
    (void)state;
    assert_runs("ohmytext", "mynewtext", 6, "4-7=5-8 2-3=0-1");
    assert_runs("same", "same", 4, "0-3=0-3");
    assert_runs("ab", "cd", 0, "");
    assert_runs("", "x", 0, "");
    assert_runs("x", "", 0, "");
    assert_runs("", "", 0, "");
}

static void of_several_it_finds_the_one_that_redis_finds(void **state) {
    (void)state;
    assert_runs("ab", "ba", 1, "1-1=0-0");
    assert_runs("aXb", "bXa", 1, "2-2=0-0");
}

/* Against the definition, recursively. */
static size_t slowly(const char *a, size_t i, const char *b, size_t j) {
    if (i == 0 || j == 0)
        return 0;
    if (a[i - 1] == b[j - 1])
        return slowly(a, i - 1, b, j - 1) + 1;
    size_t up = slowly(a, i - 1, b, j), left = slowly(a, i, b, j - 1);
    return up > left ? up : left;
}

static void every_pair_of_short_strings_has_the_longest(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 300; round++) {
        char text[2][9] = {"", ""};
        for (int k = 0; k < 2; k++) {
            seed = seed * 1664525 + 1013904223;
            size_t len = seed >> 24 & 7;
            for (size_t i = 0; i < len; i++)
                text[k][i] = (char)('a' + (seed >> (2 * i) & 3));
        }
        struct ln_lcs lcs;
        void *memory = open_lcs(&lcs, text[0], text[1]);
        assert_int_equal(lcs.len, slowly(text[0], strlen(text[0]), text[1], strlen(text[1])));
        size_t sum = 0, a = lcs.a_len, b = lcs.b_len;
        for (struct ln_lcs_run run; ln_lcs_next(&lcs, &run); a = run.a, b = run.b) {
            assert_true(run.a + run.len <= a && run.b + run.len <= b);
            assert_memory_equal(text[0] + run.a, text[1] + run.b, run.len);
            sum += run.len;
        }
        assert_int_equal(sum, lcs.len);
        free(memory);
    }
}

static void refuses_what_no_memory_could_hold(void **state) {
    (void)state;
    assert_int_equal(ln_lcs_memory((size_t)1 << 32, 1), 0);
    assert_int_equal(ln_lcs_memory(1, (size_t)1 << 32), 0);
    assert_int_equal(ln_lcs_memory((size_t)1 << 24, (size_t)1 << 24), 0);
    assert_true(ln_lcs_memory(0, 0) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_runs_from_the_last_to_the_first),
        cmocka_unit_test(of_several_it_finds_the_one_that_redis_finds),
        cmocka_unit_test(every_pair_of_short_strings_has_the_longest),
        cmocka_unit_test(refuses_what_no_memory_could_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
