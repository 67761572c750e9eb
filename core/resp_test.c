#include "resp.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Commands as text: arguments between '|', one command a line; then "…" for more bytes needed, or
 * the error. */
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

static void note_command(struct transcript *t, const struct ln_resp_reader *r) {
    for (uint32_t i = 0; i < r->argc; i++) {
        note(t, "|", 1);
        note(t, r->base + r->argv[i].off, r->argv[i].len);
    }
    note(t, "\n", 1);
}

/* Feeds data in pieces: the first ends at first, the others have step bytes. Each call sees a copy
 * that ends where the data ends and lies elsewhere, so that the sanitizer sees every byte too far.
 */
static void read_in_pieces(struct ln_resp_reader *r, const char *data, size_t len, size_t first,
                           size_t step, struct transcript *t) {
    size_t used = 0, end = first;
    int rc = 0;
    for (;;) {
        do {
            size_t n = 0;
            char *copy = malloc(end - used + 1);
            assert_non_null(copy);
            memcpy(copy + 1, data + used, end - used);
            rc = ln_resp_read_command(r, copy + 1, end - used, &n);
            if (rc == 1)
                note_command(t, r);
            free(copy);
            used += n;
        } while (rc == 1);
        if (rc < 0 || end == len)
            break;
        end = end + step < len ? end + step : len;
    }
    note(t, rc < 0 ? r->error : "…", rc < 0 ? strlen(r->error) : strlen("…"));
}

static void expect_limited(const struct ln_resp_limits *limits, const char *data, size_t len,
                           const char *expected) {
    struct ln_resp_reader r;
    ln_resp_reader_init(&r);
    r.limits = *limits;
    struct transcript t = {.len = 0};
    read_in_pieces(&r, data, len, len, 1, &t);
    assert_string_equal(t.text, expected);
    ln_resp_reader_free(&r);
}

static void expect(const char *data, const char *expected) {
    struct ln_resp_limits limits = LN_RESP_LIMITS_DEFAULT;
    expect_limited(&limits, data, strlen(data), expected);
}

/* ---- commands */

static void commands_are_arrays_of_bulk_strings(void **state) {
    (void)state;
    expect("*1\r\n$4\r\nPING\r\n", "|PING\n…");
    expect("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\n\r\n\r\n\r\n", "|SET||\r\n\r\n\n…");
    expect("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPI", "|PING\n|GET|k\n…");
}

static void line_breaks_are_not_looked_at_as_in_redis(void **state) {
    (void)state;
    expect("*1\rx$4\rxPINGyy", "|PING\n…");
}

static void empty_commands_are_passed_over(void **state) {
    (void)state;
    expect("\r\n\n  \r\n*0\r\n*-1\r\n*-7\r\nPING\r\n*0\r\n", "|PING\n…");
    struct ln_resp_reader r;
    ln_resp_reader_init(&r);
    size_t consumed = 99;
    assert_int_equal(ln_resp_read_command(&r, "\r\n*0\r\n*1", 8, &consumed), 0);
    assert_int_equal(consumed, 6);
    assert_int_equal(ln_resp_read_command(&r, "*1\r\n$1\r\nx\r\n", 11, &consumed), 1);
    assert_int_equal(consumed, 11);
    ln_resp_reader_free(&r);
}

static void inline_commands_are_split_as_redis_cli_splits_words(void **state) {
    (void)state;
    expect("PING\n", "|PING\n…");
    expect("SET  k\tv \r\n", "|SET|k|v\n…");
    expect("E \"a\\x41\\n\\r\\t\\b\\a\\q\\\"\\x4g\"\r\n", "|E|aA\n\r\t\b\aq\"x4g\n…");
    expect("E 'a\\'b\\n'\r\n", "|E|a'b\\n\n…");
    expect("E a\"b c\" \"\" ''\r\n", "|E|ab c||\n…");
    expect("\vE a\vb \"c\"\v\r\n", "|E|a\vb|c\n…");
    expect("E \"a\rb\" c\rd\r\n", "|E|a\rb|c|d\n…");
    expect("$3\r\nabc\r\n", "|$3\n|abc\n…");
}

static void unbalanced_quotes_are_refused(void **state) {
    (void)state;
    const char *inputs[] = {"E \"a\r\n",   "E 'a\r\n",    "E \"a\"b\r\n",
                            "E 'a'b'\r\n", "E \"a\\\r\n", "E \"a\\\"\r\n"};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        expect(inputs[i], "unbalanced quotes in request");
}

static void malformed_arrays_are_refused_in_the_words_of_redis(void **state) {
    (void)state;
    const char *counts[] = {"*x\r\n",  "*\r\n",    "*01\r\n",      "*-0\r\n",
                            "*+1\r\n", "*1 2\r\n", "*1048577\r\n", "*-9223372036854775809\r\n"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        expect(counts[i], "invalid multibulk length");
    const char *lengths[] = {"$x\r\n",         "$\r\n",   "$-1\r\n",
                             "$536870913\r\n", "$01\r\n", "$18446744073709551617\r\n"};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char input[64];
        snprintf(input, sizeof input, "*1\r\n%s", lengths[i]);
        expect(input, "invalid bulk length");
    }
    expect("*1\r\nPING\r\n", "expected '$', got 'P'");
    expect("*1\r\n\n\r\n", "expected '$', got ' '");
    expect("PING\r\n*2\r\n$4\r\nECHO\r\n:1\r\n", "|PING\nexpected '$', got ':'");
    expect_limited(&LN_RESP_LIMITS_DEFAULT, "*1\r\n\0\r\n", 7, "expected '$', got ' '");
}

static void a_refusal_is_final(void **state) {
    (void)state;
    struct ln_resp_reader r;
    ln_resp_reader_init(&r);
    size_t consumed = 7;
    assert_int_equal(ln_resp_read_command(&r, "*x\r\n", 4, &consumed), -EPROTO);
    assert_int_equal(ln_resp_read_command(&r, "PING\r\n", 6, &consumed), -EPROTO);
    assert_string_equal(r.error, "invalid multibulk length");
    assert_int_equal(consumed, 7);
    ln_resp_reader_free(&r);
}

static void lengths_are_refused_past_the_limits_and_only_past_them(void **state) {
    (void)state;
    struct ln_resp_limits limits = {.max_args = 2, .max_bulk = 3, .max_inline = 10};
    expect_limited(&limits, "*2\r\n", 4, "…");
    expect_limited(&limits, "*3\r\n", 4, "invalid multibulk length");
    expect_limited(&limits, "*1\r\n$3\r\n", 8, "…");
    expect_limited(&limits, "*1\r\n$4\r\n", 8, "invalid bulk length");
    expect_limited(&limits, "PING 6789\r\n", 11, "|PING|6789\n…");
    expect_limited(&limits, "PING 67890\r\n", 12, "too big inline request");
    expect_limited(&limits, "PING 67890", 10, "…");
    expect_limited(&limits, "PING 678901", 11, "too big inline request");
    expect_limited(&limits, "A B C\r\n", 7, "too big inline request");
    expect_limited(&limits, "*123456789", 10, "…");
    expect_limited(&limits, "*1234567890", 11, "too big mbulk count string");
    expect_limited(&limits, "*1\r\n$1234567890", 15, "too big bulk count string");
}

static void offsets_past_32_bits_are_refused(void **state) {
    (void)state;
    struct ln_resp_limits limits = LN_RESP_LIMITS_DEFAULT;
    limits.max_bulk = UINT32_MAX;
    expect_limited(&limits, "*1\r\n$4294967295\r\n", 17, "invalid bulk length");
    expect_limited(&limits, "*1\r\n$4294967200\r\n", 17, "…");
}

static void unauthenticated_commands_have_limits_of_their_own(void **state) {
    (void)state;
    struct ln_resp_limits limits = LN_RESP_LIMITS_DEFAULT;
    limits.unauthenticated = true;
    expect_limited(&limits, "*10\r\n", 5, "…");
    expect_limited(&limits, "*11\r\n", 5, "unauthenticated multibulk length");
    expect_limited(&limits, "*1048577\r\n", 10, "invalid multibulk length");
    expect_limited(&limits, "*1\r\n$16384\r\n", 12, "…");
    expect_limited(&limits, "*1\r\n$16385\r\n", 12, "unauthenticated bulk length");
    expect_limited(&limits, "*1\r\n$536870913\r\n", 16, "invalid bulk length");
}

static const char *const pipelines[] = {
    "*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nhello\r\nworld\r\n",
    "PING\r\n\r\n*0\r\nSET k \"a b\\x00c\" 'd'\n*-1\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\nGET k\r\n*1\r\n$4\r\nQU",
    "*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n*1\r\n$4\r\nPING\r\n*1\r\n:5\r\nPING\r\n",
    "GET 'k'\r\n*2\r\n$3\r\nGET\r\n$-4\r\n",
    "\n\n \n*0\r\n*10000000\r\nPING\r\n",
    "SET k \"v\"x\r\nPING\r\n",
};

static void however_input_is_cut_the_commands_are_the_same(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof pipelines / sizeof *pipelines; i++) {
        const char *data = pipelines[i];
        size_t len = strlen(data);
        struct transcript whole = {.len = 0};
        struct ln_resp_reader r;
        ln_resp_reader_init(&r);
        read_in_pieces(&r, data, len, len, 1, &whole);
        ln_resp_reader_free(&r);
        assert_true(whole.len > 4);
        for (size_t first = 0; first <= len; first++) {
            for (size_t step = 1; step <= len; step += step < 4 ? 1 : len) {
                struct transcript t = {.len = 0};
                ln_resp_reader_init(&r);
                read_in_pieces(&r, data, len, first, step, &t);
                assert_int_equal(t.len, whole.len);
                assert_memory_equal(t.text, whole.text, whole.len);
                ln_resp_reader_free(&r);
            }
        }
    }
}

/* ---- cost */

/* Work is linear if no byte is looked at anew by later calls. What has been searched (scan) and
 * what begins the next line (start) never fall back; and bytes before start may be overwritten, so
 * they are not read. */
static void input_that_comes_byte_by_byte_is_not_read_again(void **state) {
    (void)state;
    enum { ARGS = 20000, BULK = 3 };
    size_t cap = 32 + ARGS * 16;
    char *data = malloc(cap);
    assert_non_null(data);
    size_t len = (size_t)sprintf(data, "*%d\r\n", ARGS);
    for (int i = 0; i < ARGS; i++)
        len += (size_t)sprintf(data + len, "$%d\r\n%03d\r\n", BULK, i % 1000);
    struct ln_resp_reader r;
    ln_resp_reader_init(&r);
    size_t consumed = 0, scanned = 0, spoiled = 0;
    for (size_t n = 1; n < len; n++) {
        assert_int_equal(ln_resp_read_command(&r, data, n, &consumed), 0);
        assert_int_equal(consumed, 0);
        assert_true(r.scan >= scanned);
        /* in a line, all has been searched but for a '\r' that waits for its '\n'; a bulk is not
         * searched */
        assert_true(r.scan == n || data[r.scan] == '\r' || n < r.start + BULK + 2);
        memset(data + spoiled, 'X', r.start - spoiled);
        spoiled = r.start;
        scanned = r.scan;
    }
    assert_int_equal(ln_resp_read_command(&r, data, len, &consumed), 1);
    assert_int_equal(consumed, len);
    assert_int_equal(r.argc, ARGS);
    ln_resp_reader_free(&r);

    memset(data, 'a', 60000);
    data[60000] = '\n';
    ln_resp_reader_init(&r);
    for (size_t n = 1; n <= 60000; n++) {
        assert_int_equal(ln_resp_read_command(&r, data, n, &consumed), 0);
        assert_int_equal(r.scan, n);
    }
    assert_int_equal(ln_resp_read_command(&r, data, 60001, &consumed), 1);
    assert_int_equal(r.argv[0].len, 60000);
    ln_resp_reader_free(&r);
    free(data);
}

static void a_million_arguments_are_read_and_their_memory_given_back(void **state) {
    (void)state;
    enum { ARGS = 1048576 };
    char *data = malloc(17 + ARGS * 7);
    assert_non_null(data);
    size_t len = (size_t)sprintf(data, "*%d\r\n", ARGS);
    for (int i = 0; i < ARGS; i++) {
        len += (size_t)sprintf(data + len, "$1\r\nx\r\n");
    }
    struct ln_resp_reader r;
    ln_resp_reader_init(&r);
    size_t consumed = 0;
    assert_int_equal(ln_resp_read_command(&r, data, len, &consumed), 1);
    assert_int_equal(r.argc, ARGS);
    assert_int_equal(r.argv[ARGS - 1].off, len - 3);
    assert_int_equal(ln_resp_read_command(&r, data, 0, &consumed), 0);
    assert_int_equal(consumed, 0);
    assert_true(r.cap * sizeof *r.argv <= 256);
    ln_resp_reader_free(&r);
    free(data);
}

static void nothing_is_allocated_for_what_is_only_announced(void **state) {
    (void)state;
    struct ln_resp_reader r;
    ln_resp_reader_init(&r);
    size_t consumed = 0;
    const char *data = "*1048576\r\n$536870912\r\nabc";
    assert_int_equal(ln_resp_read_command(&r, data, strlen(data), &consumed), 0);
    assert_int_equal(r.cap, 0);
    assert_null(r.text);
    ln_resp_reader_free(&r);
}

static void an_idle_reader_keeps_no_inline_text(void **state) {
    (void)state;
    struct ln_resp_reader r;
    ln_resp_reader_init(&r);
    size_t consumed = 0;
    assert_int_equal(ln_resp_read_command(&r, "PING\r\n", 6, &consumed), 1);
    assert_non_null(r.text);
    assert_int_equal(ln_resp_read_command(&r, NULL, 0, &consumed), 0);
    assert_null(r.text);
    ln_resp_reader_free(&r);
}

/* ---- garbage: nothing to expect but that whole and cut input are read alike, and no byte too far
 */

static uint32_t next_random(uint32_t *seed) { /* xorshift32 */
    uint32_t x = *seed;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *seed = x;
}

static size_t mutate(char *data, size_t len, size_t cap, uint32_t *seed) {
    static const char alphabet[] = "*$\r\n019-+\"'\\x :_#,(!=%~>|\0a";
    for (uint32_t n = 1 + next_random(seed) % 4; n > 0; n--) {
        size_t at = next_random(seed) % (len + 1);
        char c = alphabet[next_random(seed) % (sizeof alphabet - 1)];
        switch (next_random(seed) % 3) {
        case 0: /* replace */
            if (at < len)
                data[at] = c;
            break;
        case 1: /* insert */
            if (len < cap) {
                memmove(data + at + 1, data + at, len - at);
                data[at] = c;
                len++;
            }
            break;
        default: /* delete */
            if (at < len) {
                memmove(data + at, data + at + 1, len - at - 1);
                len--;
            }
        }
    }
    return len;
}

static void mutated_commands_are_read_alike_whole_and_cut(void **state) {
    (void)state;
    size_t refused = 0, taken = 0;
    for (uint32_t round = 1; round <= 20000; round++) {
        uint32_t seed = round * 2654435761U;
        char data[256];
        const char *model = pipelines[round % (sizeof pipelines / sizeof *pipelines)];
        size_t len = (size_t)sprintf(data, "%s", model);
        len = mutate(data, len, sizeof data, &seed);
        struct transcript whole = {.len = 0}, cut = {.len = 0};
        struct ln_resp_reader r;
        ln_resp_reader_init(&r);
        r.limits.max_inline = round % 3 ? 64 << 10 : 20;
        read_in_pieces(&r, data, len, len, 1, &whole);
        struct ln_resp_limits limits = r.limits;
        refused += r.error[0] != '\0';
        ln_resp_reader_free(&r);
        r.limits = limits;
        read_in_pieces(&r, data, len, next_random(&seed) % (len + 1), 1 + next_random(&seed) % 5,
                       &cut);
        ln_resp_reader_free(&r);
        assert_int_equal(cut.len, whole.len);
        assert_memory_equal(cut.text, whole.text, whole.len);
        taken += whole.text[0] == '|';
    }
    assert_true(refused > 1000);
    assert_true(taken > 1000);
}

/* ---- replies */

static int token_of(const char *text, size_t len, struct ln_resp_token *token) {
    const char *error = NULL;
    size_t consumed = 0;
    char *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy + 1, text, len);
    for (size_t n = 0; n < len; n++) /* what is cut short is never taken, nor refused */
        assert_int_equal(ln_resp_read_token(text, n, token, &consumed, &error), 0);
    int rc = ln_resp_read_token(copy + 1, len, token, &consumed, &error);
    if (rc == 1) {
        assert_int_equal(consumed, len);
        if (token->text)
            token->text = text + (token->text - (copy + 1));
    }
    free(copy);
    return rc;
}

static struct ln_resp_token token(const char *text) {
    struct ln_resp_token t = {0};
    assert_int_equal(token_of(text, strlen(text), &t), 1);
    assert_int_equal(t.type, text[0]);
    return t;
}

static void expect_text(const char *reply, const char *text) {
    struct ln_resp_token t = token(reply);
    assert_int_equal(t.len, strlen(text));
    assert_memory_equal(t.text, text, t.len);
    assert_false(t.null);
}

static void replies_are_read_token_by_token(void **state) {
    (void)state;
    expect_text("+PONG\r\n", "PONG");
    expect_text("+\r\n", "");
    expect_text("-ERR no\r\n", "ERR no");
    expect_text("$3\r\na\r\n\r\n", "a\r\n");
    expect_text("$0\r\n\r\n", "");
    expect_text("!5\r\nERR x\r\n", "ERR x");
    expect_text("=8\r\ntxt:a\nbc\r\n", "a\nbc");
    expect_text("(-12345678901234567890123\r\n", "-12345678901234567890123");
    assert_int_equal(token(":-9223372036854775808\r\n").integer, INT64_MIN);
    assert_int_equal(token(":+12\r\n").integer, 12);
    assert_int_equal(token("#t\r\n").integer, 1);
    assert_int_equal(token("#f\r\n").integer, 0);
    assert_true(token("$-1\r\n").null);
    assert_true(token("*-1\r\n").null);
    assert_true(token("_\r\n").null);
    assert_int_equal(token("*3\r\n").integer, 3);
    assert_int_equal(token("~0\r\n").integer, 0);
    assert_int_equal(token(">2\r\n").integer, 2);
    assert_int_equal(token("%2\r\n").integer, 4);
    assert_int_equal(token("|1\r\n").integer, 2);
    assert_true(token(",1.5\r\n").number == 1.5);
    assert_true(token(",10\r\n").number == 10);
    assert_true(token(",-1e-3\r\n").number == -1e-3);
    assert_true(isinf(token(",-inf\r\n").number));
    assert_true(isnan(token(",nan\r\n").number));
}

static void malformed_replies_are_refused(void **state) {
    (void)state;
    const char *inputs[] = {
        "PONG\r\n",      ":\r\n",          ":1x\r\n",   ":+-1\r\n",  ":01\r\n", "$x\r\n",
        "$-2\r\n",       "$536870913\r\n", "*-2\r\n",   "%-1\r\n",   "~-1\r\n", "*99999999999\r\n",
        "_x\r\n",        "#\r\n",          "#x\r\n",    "#tt\r\n",   ",\r\n",   ",0x10\r\n",
        ",1 \r\n",       ",infinity\r\n",  ",1e\r\n",   "(\r\n",     "(-\r\n",  "(1a\r\n",
        "=3\r\nabc\r\n", "=4\r\nabcd\r\n", "$1\r\nabc", "+a\rb\r\n", "$?\r\n",  "=-1\r\n"};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct ln_resp_token t;
        const char *error = NULL;
        size_t consumed = 77;
        assert_int_equal(ln_resp_read_token(inputs[i], strlen(inputs[i]), &t, &consumed, &error),
                         -EPROTO);
        assert_non_null(error);
        assert_int_equal(consumed, 77);
    }
}

static void a_line_without_end_is_refused(void **state) {
    (void)state;
    static char line[70000];
    memset(line, '+', sizeof line);
    struct ln_resp_token t;
    const char *error = NULL;
    size_t consumed = 0;
    assert_int_equal(ln_resp_read_token(line, 65535, &t, &consumed, &error), 0);
    assert_int_equal(ln_resp_read_token(line, 65536, &t, &consumed, &error), -EPROTO);
}

static void mutated_replies_never_lead_past_their_end(void **state) {
    (void)state;
    static const char model[] = "*3\r\n$3\r\nabc\r\n:12\r\n%1\r\n+k\r\n,1.5\r\n=7\r\ntxt:abc\r\n"
                                "~1\r\n#t\r\n(123\r\n!3\r\nERR\r\n|1\r\n_\r\n$-1\r\n>0\r\n-ERR\r\n";
    size_t tokens = 0, refused = 0;
    for (uint32_t round = 1; round <= 20000; round++) {
        uint32_t seed = round * 2654435761U;
        char data[256];
        size_t len = sizeof model - 1;
        memcpy(data, model, len);
        len = mutate(data, len, sizeof data, &seed);
        len = next_random(&seed) % (len + 1);
        char *copy = malloc(len + 1);
        assert_non_null(copy);
        memcpy(copy + 1, data, len);
        size_t used = 0, n = 0;
        struct ln_resp_token t = {0};
        const char *error = NULL;
        int rc = 0;
        while ((rc = ln_resp_read_token(copy + 1 + used, len - used, &t, &n, &error)) == 1) {
            used += n;
            assert_true(used <= len);
            assert_true(!t.text || (t.text > copy && t.text + t.len <= copy + 1 + len));
            tokens++;
        }
        refused += rc < 0;
        free(copy);
    }
    assert_true(tokens > 20000);
    assert_true(refused > 1000);
}

/* ---- writing */

static void expect_written(struct ln_buffer *b, int rc, const char *expected) {
    assert_int_equal(rc, LN_OK);
    assert_int_equal(ln_buffer_len(b), strlen(expected));
    assert_memory_equal(ln_buffer_data(b), expected, strlen(expected));
    ln_buffer_consume(b, ln_buffer_len(b));
}

static void replies_are_written_as_redis_writes_them(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    expect_written(&b, ln_resp_put_status(&b, "OK", 2), "+OK\r\n");
    expect_written(&b, ln_resp_put_error(&b, "ERR a\r\nb\n", 9), "-ERR a  b \r\n");
    expect_written(&b, ln_resp_put_integer(&b, 0), ":0\r\n");
    expect_written(&b, ln_resp_put_integer(&b, 10), ":10\r\n");
    expect_written(&b, ln_resp_put_integer(&b, -1), ":-1\r\n");
    expect_written(&b, ln_resp_put_integer(&b, INT64_MAX), ":9223372036854775807\r\n");
    expect_written(&b, ln_resp_put_integer(&b, INT64_MIN), ":-9223372036854775808\r\n");
    expect_written(&b, ln_resp_put_bulk(&b, "a\r\n", 3), "$3\r\na\r\n\r\n");
    expect_written(&b, ln_resp_put_bulk(&b, NULL, 0), "$0\r\n\r\n");
    expect_written(&b, ln_resp_put_verbatim(&b, "hi", 2, 2), "$2\r\nhi\r\n");
    expect_written(&b, ln_resp_put_verbatim(&b, "hi", 2, 3), "=6\r\ntxt:hi\r\n");
    expect_written(&b, ln_resp_put_null(&b, 2), "$-1\r\n");
    expect_written(&b, ln_resp_put_null(&b, 3), "_\r\n");
    expect_written(&b, ln_resp_put_null_array(&b, 2), "*-1\r\n");
    expect_written(&b, ln_resp_put_null_array(&b, 3), "_\r\n");
    expect_written(&b, ln_resp_put_boolean(&b, true, 2), ":1\r\n");
    expect_written(&b, ln_resp_put_boolean(&b, false, 2), ":0\r\n");
    expect_written(&b, ln_resp_put_boolean(&b, true, 3), "#t\r\n");
    expect_written(&b, ln_resp_put_boolean(&b, false, 3), "#f\r\n");
    expect_written(&b, ln_resp_put_array(&b, 12), "*12\r\n");
    expect_written(&b, ln_resp_put_map(&b, 6, 2), "*12\r\n");
    expect_written(&b, ln_resp_put_map(&b, 6, 3), "%6\r\n");
    expect_written(&b, ln_resp_put_set(&b, 3, 2), "*3\r\n");
    expect_written(&b, ln_resp_put_set(&b, 3, 3), "~3\r\n");
    expect_written(&b, ln_resp_put_push(&b, 3, 2), "*3\r\n");
    expect_written(&b, ln_resp_put_push(&b, 3, 3), ">3\r\n");
    ln_buffer_free(&b);
}

static void doubles_are_written_with_17_digits(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    expect_written(&b, ln_resp_put_double(&b, 3.141, 3), ",3.141\r\n");
    expect_written(&b, ln_resp_put_double(&b, 3.141, 2), "$5\r\n3.141\r\n");
    expect_written(&b, ln_resp_put_double(&b, 0.1, 2), "$19\r\n0.10000000000000001\r\n");
    expect_written(&b, ln_resp_put_double(&b, 10, 3), ",10\r\n");
    expect_written(&b, ln_resp_put_double(&b, 0, 3), ",0\r\n");
    expect_written(&b, ln_resp_put_double(&b, -0.0, 3), ",-0\r\n");
    expect_written(&b, ln_resp_put_double(&b, -999999999999999, 3), ",-999999999999999\r\n");
    expect_written(&b, ln_resp_put_double(&b, 1e15, 3), ",1000000000000000\r\n");
    expect_written(&b, ln_resp_put_double(&b, 1e17, 3), ",1e+17\r\n");
    expect_written(&b, ln_resp_put_double(&b, 1e15 + 0.5, 3), ",1000000000000000.5\r\n");
    expect_written(&b, ln_resp_put_double(&b, -1e300, 3), ",-1.0000000000000001e+300\r\n");
    expect_written(&b, ln_resp_put_double(&b, (double)INFINITY, 3), ",inf\r\n");
    expect_written(&b, ln_resp_put_double(&b, (double)-INFINITY, 2), "$4\r\n-inf\r\n");
    expect_written(&b, ln_resp_put_double(&b, -(double)NAN, 3), ",nan\r\n");
    ln_buffer_free(&b);
}

static void a_length_that_overflows_appends_nothing(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    assert_int_equal(ln_resp_put_bulk(&b, "x", SIZE_MAX), -ENOMEM);
    assert_int_equal(ln_resp_put_verbatim(&b, "x", SIZE_MAX - 3, 3), -ENOMEM);
    assert_int_equal(ln_resp_put_status(&b, "x", SIZE_MAX), -ENOMEM);
    assert_int_equal(ln_buffer_len(&b), 0);
    ln_buffer_free(&b);
}

static void a_glance_sees_the_name_and_the_first_argument_of_a_complete_array(void **state) {
    (void)state;
    static const char get[] = "*2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\n*1\r\n";
    static const char set[] = "*3\r\n$3\r\nset\r\n$0\r\n\r\n$2\r\n\r\n\r\n";
    struct ln_resp_glance g;
    size_t whole = strlen(get) - 4;
    assert_int_equal(ln_resp_glance(get, strlen(get), &g), whole);
    assert_int_equal(g.argc, 2);
    assert_memory_equal(g.name, "GET", g.name_len);
    assert_int_equal(g.lens[0], 5);
    assert_memory_equal(g.args[0], "key:1", 5);
    assert_int_equal(ln_resp_glance(set, strlen(set), &g), strlen(set));
    assert_int_equal(g.lens[0], 0);
    for (size_t len = 0; len < whole; len++) { /* of its own size: a read past it is seen */
        char *cut = malloc(len + 1);
        memcpy(cut, get, len);
        assert_int_equal(ln_resp_glance(cut, len, &g), 0);
        free(cut);
    }
    static const char *const others[] = {
        "GET x\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "*-1\r\n",
        "*2\r\n:3\r\nGET\r\n",
        "*2\r\n$-1\r\n$1\r\nx\r\n",
        "*9999999999\r\n$1\r\nx\r\n",
        "*2\n$1\nx\n$1\nx\n",
        "*\r\n",
        "*2\r\n$999999999\r\nx\r\n$1\r\nx\r\n",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(ln_resp_glance(others[i], strlen(others[i]), &g), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_glance_sees_the_name_and_the_first_argument_of_a_complete_array),
        cmocka_unit_test(commands_are_arrays_of_bulk_strings),
        cmocka_unit_test(line_breaks_are_not_looked_at_as_in_redis),
        cmocka_unit_test(empty_commands_are_passed_over),
        cmocka_unit_test(inline_commands_are_split_as_redis_cli_splits_words),
        cmocka_unit_test(unbalanced_quotes_are_refused),
        cmocka_unit_test(malformed_arrays_are_refused_in_the_words_of_redis),
        cmocka_unit_test(a_refusal_is_final),
        cmocka_unit_test(lengths_are_refused_past_the_limits_and_only_past_them),
        cmocka_unit_test(offsets_past_32_bits_are_refused),
        cmocka_unit_test(unauthenticated_commands_have_limits_of_their_own),
        cmocka_unit_test(however_input_is_cut_the_commands_are_the_same),
        cmocka_unit_test(input_that_comes_byte_by_byte_is_not_read_again),
        cmocka_unit_test(a_million_arguments_are_read_and_their_memory_given_back),
        cmocka_unit_test(nothing_is_allocated_for_what_is_only_announced),
        cmocka_unit_test(an_idle_reader_keeps_no_inline_text),
        cmocka_unit_test(mutated_commands_are_read_alike_whole_and_cut),
        cmocka_unit_test(replies_are_read_token_by_token),
        cmocka_unit_test(malformed_replies_are_refused),
        cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(mutated_replies_never_lead_past_their_end),
        cmocka_unit_test(replies_are_written_as_redis_writes_them),
        cmocka_unit_test(doubles_are_written_with_17_digits),
        cmocka_unit_test(a_length_that_overflows_appends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
