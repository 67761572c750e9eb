#include "line.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>

/* Lines as text, each in brackets; then "…" for more bytes needed, or "too long". */
struct transcript {
    char text[4096];
    size_t len;
};

static void note(struct transcript *t, const char *bytes, size_t len) {
    assert_true(t->len + len < sizeof t->text);
    memcpy(t->text + t->len, bytes, len);
    t->len += len;
    t->text[t->len] = '\0';
}

/* Feeds data in pieces: the first ends at first, the others have step bytes. Each call sees a copy
 * that ends where the data ends and lies elsewhere, so that the sanitizer sees every byte too far.
 */
static void read_in_pieces(size_t max, const char *data, size_t len, size_t first, size_t step,
                           struct transcript *t) {
    struct ln_line_reader r = {.max = max};
    size_t used = 0, end = first;
    int rc = 0;
    t->len = 0;
    for (;;) {
        do {
            size_t line = 0, n = 0;
            char *copy = malloc(end - used + 1);
            assert_non_null(copy);
            memcpy(copy + 1, data + used, end - used);
            rc = ln_line_read(&r, copy + 1, end - used, &line, &n);
            if (rc == 1) {
                assert_true(line <= max && line < n && n <= end - used);
                note(t, "[", 1);
                note(t, copy + 1, line);
                note(t, "]", 1);
            }
            free(copy);
            used += n;
        } while (rc == 1);
        if (rc < 0 || end == len)
            break;
        end = end + step < len ? end + step : len;
    }
    note(t, rc < 0 ? "too long" : "…", strlen(rc < 0 ? "too long" : "…"));
}

static void expect(size_t max, const char *data, size_t len, const char *expected) {
    struct transcript t;
    for (size_t split = 0; split <= len; split++) {
        read_in_pieces(max, data, len, split, len + 1, &t);
        assert_string_equal(t.text, expected);
    }
    read_in_pieces(max, data, len, 0, 1, &t);
    assert_string_equal(t.text, expected);
}

#define EXPECT(max, data, expected) expect(max, data, sizeof(data) - 1, expected)

static void lf_and_crlf_end_a_line(void **state) {
    (void)state;
    EXPECT(100, "one\ntwo\r\nthree\n", "[one][two][three]…");
    EXPECT(100, "\n\r\n\n", "[][][]…");
    EXPECT(100, "", "…");
    EXPECT(100, "rest", "…");
    EXPECT(100, "line\nrest\r", "[line]…");
}

static void a_cr_elsewhere_is_text(void **state) {
    (void)state;
    EXPECT(100, "a\rb\n", "[a\rb]…");
    EXPECT(100, "a\r\r\n", "[a\r]…");
    EXPECT(100, "\r\n\r\r\n", "[][\r]…");
}

static void a_line_may_have_max_bytes_without_its_end(void **state) {
    (void)state;
    EXPECT(3, "abc\nabc\r\n", "[abc][abc]…");
    EXPECT(3, "abc\r", "…");
    EXPECT(3, "abc", "…");
    EXPECT(3, "abcd", "too long");
    EXPECT(3, "abcd\n", "too long");
    EXPECT(3, "abcd\r\n", "too long");
    EXPECT(3, "abc\r\r\n", "too long");
    EXPECT(3, "abc\rd", "too long");
    EXPECT(3, "ok\nabc\r\rxxxxxxxxxx", "[ok]too long");
    EXPECT(0, "\n\r\nx", "[][]too long");
}

static void a_line_too_long_stays_so(void **state) {
    struct ln_line_reader r = {.max = 3};
    size_t line = 7, n = 7;
    (void)state;
    assert_int_equal(ln_line_read(&r, "abcd", 4, &line, &n), -EPROTO);
    assert_int_equal(ln_line_read(&r, "abcd\n", 5, &line, &n), -EPROTO);
    assert_int_equal(line, 7);
    assert_int_equal(n, 7);
}

static void what_was_searched_is_not_searched_again(void **state) {
    struct ln_line_reader r = {.max = 100};
    size_t line = 0, n = 0;
    (void)state;
    assert_int_equal(ln_line_read(&r, "abc", 3, &line, &n), 0);
    /* A reader that looked back would find this LF. */
    assert_int_equal(ln_line_read(&r, "a\ncdef", 6, &line, &n), 0);
    assert_int_equal(ln_line_read(&r, "abcdef\n", 7, &line, &n), 1);
    assert_int_equal(line, 6);
    assert_int_equal(ln_line_read(&r, "a\n", 2, &line, &n), 1); /* and begins anew behind a line */
    assert_int_equal(line, 1);
}

static void any_bytes_read_alike_however_they_are_cut(void **state) {
    unsigned seed = 1;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        char data[40];
        struct transcript whole, pieces;
        size_t len = (size_t)(rand_r(&seed) % 40);
        for (size_t i = 0; i < len; i++)
            data[i] = "ab\r\n"[rand_r(&seed) % 4];
        size_t max = (size_t)(rand_r(&seed) % 8);
        read_in_pieces(max, data, len, len, 1, &whole);
        read_in_pieces(max, data, len, 0, 1 + (size_t)(rand_r(&seed) % 3), &pieces);
        assert_string_equal(whole.text, pieces.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lf_and_crlf_end_a_line),
        cmocka_unit_test(a_cr_elsewhere_is_text),
        cmocka_unit_test(a_line_may_have_max_bytes_without_its_end),
        cmocka_unit_test(a_line_too_long_stays_so),
        cmocka_unit_test(what_was_searched_is_not_searched_again),
        cmocka_unit_test(any_bytes_read_alike_however_they_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
