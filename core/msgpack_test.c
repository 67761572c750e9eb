#include "msgpack.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* A scan over a copy that ends where the data ends, so that the sanitizer sees every byte too far.
 */
static int scan_copy(struct ln_msgpack_scanner *s, const char *data, size_t len, size_t *size) {
    char *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy + 1, data, len);
    int rc = ln_msgpack_scan(s, copy + 1, len, size);
    free(copy);
    return rc;
}

static int scan(const char *data, size_t len, size_t *size) {
    struct ln_msgpack_scanner s;
    ln_msgpack_scanner_init(&s);
    return scan_copy(&s, data, len, size);
}

/* ---- tokens: the table of formats in the specification */

struct format {
    const char *bytes;
    size_t len; /* of the token */
    struct ln_msgpack_token token;
};

#define FORMAT(bytes, ...)                                                                         \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, {                                                                \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define INTEGER(value)   .type = LN_MSGPACK_INTEGER, .integer = (value)
#define UNSIGNED(value)  .type = LN_MSGPACK_UNSIGNED, .unsigned_ = (value)
#define FLOAT(value)     .type = LN_MSGPACK_FLOAT, .number = (value)
#define COUNTED(kind, n) .type = LN_MSGPACK_##kind, .count = (n)
#define EXT(n, t)        .type = LN_MSGPACK_EXT, .count = (n), .ext_type = (t)

static const struct format formats[] = {
    FORMAT("\xc0", .type = LN_MSGPACK_NIL),
    FORMAT("\xc2", .type = LN_MSGPACK_BOOLEAN, .integer = 0),
    FORMAT("\xc3", .type = LN_MSGPACK_BOOLEAN, .integer = 1),
    FORMAT("\xc4\xff", COUNTED(BIN, 255)),
    FORMAT("\xc5\xff\xfe", COUNTED(BIN, 65534)),
    FORMAT("\xc6\xff\xff\xff\xff", COUNTED(BIN, UINT32_MAX)),
    FORMAT("\xc7\x03\x80", EXT(3, -128)),
    FORMAT("\xc8\x01\x00\x7f", EXT(256, 127)),
    FORMAT("\xc9\x01\x00\x00\x00\xff", EXT(1U << 24, -1)),
    FORMAT("\xca\x3f\xc0\x00\x00", FLOAT(1.5)),
    FORMAT("\xcb\x3f\xf1\x99\x99\x99\x99\x99\x9a", FLOAT(1.1)),
    FORMAT("\xcc\xff", INTEGER(255)),
    FORMAT("\xcd\xff\xff", INTEGER(65535)),
    FORMAT("\xce\xff\xff\xff\xff", INTEGER(UINT32_MAX)),
    FORMAT("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", INTEGER(INT64_MAX)),
    FORMAT("\xcf\x80\x00\x00\x00\x00\x00\x00\x00", UNSIGNED((uint64_t)1 << 63)),
    FORMAT("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", UNSIGNED(UINT64_MAX)),
    FORMAT("\xd0\x80", INTEGER(-128)),
    FORMAT("\xd0\x7f", INTEGER(127)),
    FORMAT("\xd1\x80\x00", INTEGER(-32768)),
    FORMAT("\xd1\x7f\xff", INTEGER(32767)),
    FORMAT("\xd2\x80\x00\x00\x00", INTEGER(INT32_MIN)),
    FORMAT("\xd2\x7f\xff\xff\xff", INTEGER(INT32_MAX)),
    FORMAT("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", INTEGER(INT64_MIN)),
    FORMAT("\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", INTEGER(INT64_MAX)),
    FORMAT("\xd3\xff\xff\xff\xfe\xff\xff\xff\xff", INTEGER(-4294967297)),
    FORMAT("\xd4\x05", EXT(1, 5)),
    FORMAT("\xd5\x05", EXT(2, 5)),
    FORMAT("\xd6\xff", EXT(4, -1)),
    FORMAT("\xd7\xff", EXT(8, -1)),
    FORMAT("\xd8\x05", EXT(16, 5)),
    FORMAT("\xd9\xff", COUNTED(STR, 255)),
    FORMAT("\xda\xff\xfe", COUNTED(STR, 65534)),
    FORMAT("\xdb\xff\xff\xff\xfe", COUNTED(STR, UINT32_MAX - 1)),
    FORMAT("\xdc\x01\x02", COUNTED(ARRAY, 258)),
    FORMAT("\xdd\x01\x02\x03\x04", COUNTED(ARRAY, 16909060)),
    FORMAT("\xde\x01\x02", COUNTED(MAP, 258)),
    FORMAT("\xdf\x01\x02\x03\x04", COUNTED(MAP, 16909060)),
};
enum { FORMATS = sizeof formats / sizeof formats[0] };

static void assert_token(const struct ln_msgpack_token *t, const struct ln_msgpack_token *want) {
    assert_int_equal(t->type, want->type);
    assert_true(t->integer == want->integer);
    assert_true(want->type != LN_MSGPACK_UNSIGNED || t->unsigned_ == want->unsigned_);
    assert_true(t->number == want->number);
    assert_int_equal(t->count, want->count);
    assert_int_equal(t->ext_type, want->ext_type);
}

static void each_format_reads_as_specified_and_no_part_of_it(void **state) {
    bool seen[256] = {false};
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        struct ln_msgpack_token t;
        size_t n = 99;
        for (size_t cut = 0; cut < formats[i].len; cut++)
            assert_int_equal(ln_msgpack_read_token(formats[i].bytes, cut, &t, &n), 0);
        assert_int_equal(n, 99);
        assert_int_equal(ln_msgpack_read_token(formats[i].bytes, formats[i].len, &t, &n), 1);
        assert_int_equal(n, formats[i].len);
        assert_token(&t, &formats[i].token);
        seen[(unsigned char)formats[i].bytes[0]] = true;
    }
    for (int byte = 0xc0; byte < 0xe0; byte++)
        assert_true(seen[byte] || byte == 0xc1);
}

static void each_format_of_one_byte_reads_as_specified(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char data = (char)byte;
        struct ln_msgpack_token t, want = {.type = LN_MSGPACK_INTEGER, .integer = (int8_t)byte};
        size_t n = 0;
        if (byte >= 0xc0 && byte < 0xe0)
            continue;
        if (byte >= 0x80 && byte < 0xc0) {
            want.integer = 0;
            want.type = byte < 0x90   ? LN_MSGPACK_MAP
                        : byte < 0xa0 ? LN_MSGPACK_ARRAY
                                      : LN_MSGPACK_STR;
            want.count = (uint32_t)byte & (byte < 0xa0 ? 15U : 31U);
        }
        assert_int_equal(ln_msgpack_read_token(&data, 1, &t, &n), 1);
        assert_int_equal(n, 1);
        assert_token(&t, &want);
    }
}

static void c1_begins_no_value(void **state) {
    struct ln_msgpack_scanner s;
    struct ln_msgpack_token t;
    size_t n = 99;
    (void)state;
    assert_int_equal(ln_msgpack_read_token("\xc1", 1, &t, &n), -EPROTO);
    ln_msgpack_scanner_init(&s);
    assert_int_equal(scan_copy(&s, "\x92\x01\xc1", 3, &n), -EPROTO);
    assert_string_equal(s.error, "0xc1 begins no value");
    assert_int_equal(scan_copy(&s, "\x92\x01\x01", 3, &n), -EPROTO);
    assert_int_equal(n, 99);
}

/* ---- writing */

static struct ln_buffer out;

/* What was written since the last call is these bytes; and it reads as it should. */
static void expect_written(int rc, const char *bytes, size_t len) {
    assert_int_equal(rc, LN_OK);
    assert_int_equal(ln_buffer_len(&out), len);
    assert_memory_equal(ln_buffer_data(&out), bytes, len);
    ln_buffer_free(&out);
}

#define EXPECT(rc, bytes) expect_written(rc, bytes, sizeof(bytes) - 1)

static void integers_take_the_shortest_format(void **state) {
    (void)state;
    EXPECT(ln_msgpack_put_integer(&out, 0), "\x00");
    EXPECT(ln_msgpack_put_integer(&out, 127), "\x7f");
    EXPECT(ln_msgpack_put_integer(&out, 128), "\xcc\x80");
    EXPECT(ln_msgpack_put_integer(&out, 255), "\xcc\xff");
    EXPECT(ln_msgpack_put_integer(&out, 256), "\xcd\x01\x00");
    EXPECT(ln_msgpack_put_integer(&out, 65535), "\xcd\xff\xff");
    EXPECT(ln_msgpack_put_integer(&out, 65536), "\xce\x00\x01\x00\x00");
    EXPECT(ln_msgpack_put_integer(&out, UINT32_MAX), "\xce\xff\xff\xff\xff");
    EXPECT(ln_msgpack_put_integer(&out, 4294967296), "\xcf\x00\x00\x00\x01\x00\x00\x00\x00");
    EXPECT(ln_msgpack_put_integer(&out, INT64_MAX), "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff");
    EXPECT(ln_msgpack_put_integer(&out, -1), "\xff");
    EXPECT(ln_msgpack_put_integer(&out, -32), "\xe0");
    EXPECT(ln_msgpack_put_integer(&out, -33), "\xd0\xdf");
    EXPECT(ln_msgpack_put_integer(&out, -128), "\xd0\x80");
    EXPECT(ln_msgpack_put_integer(&out, -129), "\xd1\xff\x7f");
    EXPECT(ln_msgpack_put_integer(&out, -32768), "\xd1\x80\x00");
    EXPECT(ln_msgpack_put_integer(&out, -32769), "\xd2\xff\xff\x7f\xff");
    EXPECT(ln_msgpack_put_integer(&out, INT32_MIN), "\xd2\x80\x00\x00\x00");
    EXPECT(ln_msgpack_put_integer(&out, -2147483649), "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff");
    EXPECT(ln_msgpack_put_integer(&out, -4294967297), "\xd3\xff\xff\xff\xfe\xff\xff\xff\xff");
    EXPECT(ln_msgpack_put_integer(&out, INT64_MIN), "\xd3\x80\x00\x00\x00\x00\x00\x00\x00");
    EXPECT(ln_msgpack_put_unsigned(&out, UINT64_MAX), "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    EXPECT(ln_msgpack_put_unsigned(&out, 5), "\x05");
}

static void floats_take_32_bits_where_nothing_gets_lost(void **state) {
    (void)state;
    EXPECT(ln_msgpack_put_float(&out, 1.5), "\xca\x3f\xc0\x00\x00");
    EXPECT(ln_msgpack_put_float(&out, -0.0), "\xca\x80\x00\x00\x00");
    EXPECT(ln_msgpack_put_float(&out, 1.1), "\xcb\x3f\xf1\x99\x99\x99\x99\x99\x9a");
    EXPECT(ln_msgpack_put_float(&out, 16777217), "\xcb\x41\x70\x00\x00\x10\x00\x00\x00");
    EXPECT(ln_msgpack_put_float(&out, HUGE_VAL), "\xca\x7f\x80\x00\x00");
    EXPECT(ln_msgpack_put_float(&out, -HUGE_VAL), "\xca\xff\x80\x00\x00");
    EXPECT(ln_msgpack_put_float(&out, (double)NAN), "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00");
    EXPECT(ln_msgpack_put_float(&out, -(double)NAN), "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00");
}

/* The first bytes of a string of len bytes, written by put. */
static void expect_header(int (*put)(struct ln_buffer *, const char *, size_t), size_t len,
                          const char *header, size_t header_len) {
    char *data = calloc(1, len + 1);
    size_t size = 0;
    assert_non_null(data);
    assert_int_equal(put(&out, data, len), LN_OK);
    assert_int_equal(ln_buffer_len(&out), header_len + len);
    assert_memory_equal(ln_buffer_data(&out), header, header_len);
    assert_int_equal(scan(ln_buffer_data(&out), header_len + len, &size), 1);
    assert_int_equal(size, header_len + len);
    assert_int_equal(scan(ln_buffer_data(&out), header_len + len - 1, &size), 0);
    ln_buffer_free(&out);
    free(data);
}

#define HEADER(put, len, header) expect_header(put, len, header, sizeof(header) - 1)

static int put_ext_5(struct ln_buffer *b, const char *data, size_t len) {
    return ln_msgpack_put_ext(b, 5, data, len);
}

static int put_ext_minus_1(struct ln_buffer *b, const char *data, size_t len) {
    return ln_msgpack_put_ext(b, -1, data, len);
}

static void strings_take_the_shortest_format(void **state) {
    (void)state;
    HEADER(ln_msgpack_put_str, 0, "\xa0");
    HEADER(ln_msgpack_put_str, 31, "\xbf");
    HEADER(ln_msgpack_put_str, 32, "\xd9\x20");
    HEADER(ln_msgpack_put_str, 255, "\xd9\xff");
    HEADER(ln_msgpack_put_str, 256, "\xda\x01\x00");
    HEADER(ln_msgpack_put_str, 65536, "\xdb\x00\x01\x00\x00");
    HEADER(ln_msgpack_put_bin, 0, "\xc4\x00");
    HEADER(ln_msgpack_put_bin, 256, "\xc5\x01\x00");
    HEADER(ln_msgpack_put_bin, 65536, "\xc6\x00\x01\x00\x00");
    HEADER(put_ext_5, 0, "\xc7\x00\x05");
    HEADER(put_ext_5, 1, "\xd4\x05");
    HEADER(put_ext_5, 2, "\xd5\x05");
    HEADER(put_ext_5, 3, "\xc7\x03\x05");
    HEADER(put_ext_5, 4, "\xd6\x05");
    HEADER(put_ext_minus_1, 8, "\xd7\xff");
    HEADER(put_ext_minus_1, 12, "\xc7\x0c\xff");
    HEADER(put_ext_minus_1, 16, "\xd8\xff");
    HEADER(put_ext_minus_1, 256, "\xc8\x01\x00\xff");
    HEADER(put_ext_minus_1, 65536, "\xc9\x00\x01\x00\x00\xff");
}

static void arrays_maps_and_the_rest_take_the_shortest_format(void **state) {
    (void)state;
    EXPECT(ln_msgpack_put_array(&out, 15), "\x9f");
    EXPECT(ln_msgpack_put_array(&out, 16), "\xdc\x00\x10");
    EXPECT(ln_msgpack_put_array(&out, 65536), "\xdd\x00\x01\x00\x00");
    EXPECT(ln_msgpack_put_map(&out, 15), "\x8f");
    EXPECT(ln_msgpack_put_map(&out, 16), "\xde\x00\x10");
    EXPECT(ln_msgpack_put_map(&out, 65536), "\xdf\x00\x01\x00\x00");
    EXPECT(ln_msgpack_put_nil(&out), "\xc0");
    EXPECT(ln_msgpack_put_boolean(&out, true), "\xc3");
    EXPECT(ln_msgpack_put_boolean(&out, false), "\xc2");
}

/* ---- the scanner */

#define VALUE(bytes)                                                                               \
    { bytes, sizeof(bytes) - 1 }

static const struct {
    const char *bytes;
    size_t len;
} values[] = {
    VALUE("\x00"),
    VALUE("\xc0"),
    VALUE("\x90"),
    VALUE("\x80"),
    VALUE("\xa0"),
    VALUE("\xa3"
          "abc"),
    VALUE("\xc4\x02\xc1\xc1"),
    VALUE("\xd6\xff\x00\x00\x00\x01"),
    VALUE("\x93\x01\xa1x\x92\x90\x81\x01\x80"),
    VALUE("\x82\xa1k\x93\x01\x02\x03\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xc3"),
    VALUE("\xdc\x00\x02\xdf\x00\x00\x00\x01\x01\xd9\x01z\xcf\x00\x00\x00\x00\x00\x00\x00\x09"),
};
enum { VALUES = sizeof values / sizeof values[0] };

static void a_value_ends_at_its_last_byte_however_it_is_cut(void **state) {
    (void)state;
    for (int i = 0; i < VALUES; i++) {
        struct ln_msgpack_scanner s;
        char data[64];
        size_t len = values[i].len, size = 0;
        memcpy(data, values[i].bytes, len);
        data[len] = '\xc1'; /* what follows is not looked at */
        assert_int_equal(scan(data, len + 1, &size), 1);
        assert_int_equal(size, len);
        for (size_t cut = 0; cut < len; cut++) {
            ln_msgpack_scanner_init(&s);
            assert_int_equal(scan_copy(&s, data, cut, &size), 0);
            assert_int_equal(scan_copy(&s, data, len, &size), 1);
            assert_int_equal(size, len);
        }
        ln_msgpack_scanner_init(&s);
        for (int round = 0; round < 2; round++) { /* byte by byte, and it begins anew */
            for (size_t cut = 0; cut < len; cut++)
                assert_int_equal(scan_copy(&s, data, cut, &size), 0);
            assert_int_equal(scan_copy(&s, data, len, &size), 1);
        }
    }
}

static void what_was_read_is_not_read_again(void **state) {
    struct ln_msgpack_scanner s;
    size_t size = 0;
    (void)state;
    ln_msgpack_scanner_init(&s);
    assert_int_equal(scan_copy(&s, "\x94\x01\xa1x", 4, &size), 0);
    /* A scanner that looked back would refuse these. */
    assert_int_equal(scan_copy(&s, "\xc1\xc1\xc1\xc1\xa3", 5, &size), 0);
    assert_int_equal(scan_copy(&s, "\xc1\xc1\xc1\xc1\xa3xy", 7, &size), 0);
    assert_int_equal(scan_copy(&s, "\xc1\xc1\xc1\xc1\xc1xyz\x05", 9, &size), 1);
    assert_int_equal(size, 9);
}

static void nesting_ends_at_32(void **state) {
    char data[2 * LN_MSGPACK_MAX_DEPTH + 2];
    struct ln_msgpack_scanner s;
    size_t size = 0;
    (void)state;
    memset(data, '\x91', sizeof data);
    data[LN_MSGPACK_MAX_DEPTH] = '\x01';
    assert_int_equal(scan(data, LN_MSGPACK_MAX_DEPTH + 1, &size), 1);
    data[LN_MSGPACK_MAX_DEPTH] = '\x90'; /* an empty one is one, too */
    ln_msgpack_scanner_init(&s);
    assert_int_equal(scan_copy(&s, data, LN_MSGPACK_MAX_DEPTH + 1, &size), -EPROTO);
    assert_string_equal(s.error, "nested more than 32 deep");
    memset(data, '\x01', sizeof data);
    for (size_t i = 0; i < LN_MSGPACK_MAX_DEPTH; i++)
        data[2 * i] = '\x81'; /* maps inside of maps, as their values */
    assert_int_equal(scan(data, 2 * LN_MSGPACK_MAX_DEPTH + 1, &size), 1);
    data[(size_t)2 * LN_MSGPACK_MAX_DEPTH] = '\x80';
    assert_int_equal(scan(data, 2 * LN_MSGPACK_MAX_DEPTH + 1, &size), -EPROTO);
}

static void an_array_behind_32_others_is_not_inside_of_them(void **state) {
    char data[100];
    size_t size = 0;
    (void)state;
    data[0] = '\xdc';
    data[1] = '\0';
    data[2] = '\x40';
    memset(data + 3, '\x90', 64);
    assert_int_equal(scan(data, 67, &size), 1);
    assert_int_equal(size, 67);
}

/* What is refused, with its first bytes alone. */
static void expect_refused(struct ln_msgpack_limits limits, const char *data, size_t len,
                           const char *error) {
    struct ln_msgpack_scanner s;
    size_t size = 99;
    ln_msgpack_scanner_init(&s);
    s.limits = limits;
    assert_int_equal(scan_copy(&s, data, len, &size), -EPROTO);
    assert_string_equal(s.error, error);
    assert_int_equal(size, 99);
}

#define REFUSED(bytes_, values_, data, error)                                                      \
    expect_refused((struct ln_msgpack_limits){bytes_, values_}, data, sizeof(data) - 1, error)

static void announced_lengths_are_checked_at_once(void **state) {
    (void)state;
    REFUSED(100, 100, "\xdb\xff\xff\xff\xff", "message longer than 100 bytes");
    REFUSED(100, 100, "\xc6\x00\x00\x00\x60", "message longer than 100 bytes");
    REFUSED(100, 100, "\xc9\x00\x00\x00\x5f\x01", "message longer than 100 bytes");
    REFUSED(100, 1000, "\xdc\x00\x62", "message longer than 100 bytes");
    REFUSED(100, 1000, "\xde\x00\x31", "message longer than 100 bytes");
}

static void limits_are_reached_exactly(void **state) {
    struct ln_msgpack_scanner s;
    size_t size = 0;
    char data[300] = {0};
    (void)state;
    ln_msgpack_scanner_init(&s);
    s.limits = (struct ln_msgpack_limits){5, 3};
    assert_int_equal(scan_copy(&s, "\xa4xyzw", 5, &size), 1);
    assert_int_equal(scan_copy(&s, "\x92\x01\xa2xy", 5, &size), 1);
    REFUSED(4, 3, "\xa4", "message longer than 4 bytes");
    REFUSED(5, 2, "\x92", "more than 2 values in one message");
    REFUSED(5, 2, "\x81", "more than 2 values in one message");
    REFUSED(1 << 30, 1U << 20, "\xdd\xff\xff\xff\xff", "more than 1048576 values in one message");
    REFUSED(1 << 30, 1U << 20, "\xdf\xff\xff\xff\xff", "more than 1048576 values in one message");
    ln_msgpack_scanner_init(&s);
    s.limits.max_values = UINT32_MAX;
    s.limits.max_bytes = SIZE_MAX;
    for (size_t i = 0; i < LN_MSGPACK_MAX_DEPTH; i++) /* counts that would overflow if multiplied */
        memcpy(data + 5 * i, "\xdd\x00\xff\xff\xff", 5);
    assert_int_equal(scan_copy(&s, data, (size_t)5 * LN_MSGPACK_MAX_DEPTH, &size), 0);
}

/* ---- any bytes */

/* What comes of data, fed in pieces of step bytes: the sizes of its values, then the outcome. */
static size_t outcome(const char *data, size_t len, size_t step, size_t sizes[64], int *last) {
    struct ln_msgpack_scanner s;
    size_t count = 0, used = 0, end = step < len ? step : len;
    ln_msgpack_scanner_init(&s);
    s.limits = (struct ln_msgpack_limits){100, 50};
    for (;;) {
        size_t size = 0;
        *last = scan_copy(&s, data + used, end - used, &size);
        if (*last == 1) {
            sizes[count++] = size;
            assert_true(size > 0 && size <= 100 && size <= end - used);
            used += size;
        } else if (*last < 0 || end == len) {
            return count;
        } else {
            end = end + step < len ? end + step : len;
        }
    }
}

static void any_bytes_scan_alike_however_they_are_cut(void **state) {
    unsigned seed = 7;
    int complete = 0, refused = 0;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char data[64];
        size_t whole[64], pieces[64];
        int last_whole = 0, last_pieces = 0;
        size_t len = 1 + (size_t)(rand_r(&seed) % 60);
        const size_t base = (size_t)(rand_r(&seed) % VALUES);
        for (size_t i = 0; i < len;
             i++) /* a valid value again and again, with some bytes changed */
            data[i] = rand_r(&seed) % 8 == 0 ? (char)rand_r(&seed)
                                             : values[base].bytes[i % values[base].len];
        size_t count = outcome(data, len, len, whole, &last_whole);
        assert_int_equal(outcome(data, len, 1, pieces, &last_pieces), count);
        assert_memory_equal(whole, pieces, count * sizeof whole[0]);
        assert_int_equal(last_whole, last_pieces);
        complete += count > 0;
        refused += last_whole < 0;
    }
    assert_true(complete > 1000 && refused > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format_reads_as_specified_and_no_part_of_it),
        cmocka_unit_test(each_format_of_one_byte_reads_as_specified),
        cmocka_unit_test(c1_begins_no_value),
        cmocka_unit_test(integers_take_the_shortest_format),
        cmocka_unit_test(floats_take_32_bits_where_nothing_gets_lost),
        cmocka_unit_test(strings_take_the_shortest_format),
        cmocka_unit_test(arrays_maps_and_the_rest_take_the_shortest_format),
        cmocka_unit_test(a_value_ends_at_its_last_byte_however_it_is_cut),
        cmocka_unit_test(what_was_read_is_not_read_again),
        cmocka_unit_test(nesting_ends_at_32),
        cmocka_unit_test(an_array_behind_32_others_is_not_inside_of_them),
        cmocka_unit_test(announced_lengths_are_checked_at_once),
        cmocka_unit_test(limits_are_reached_exactly),
        cmocka_unit_test(any_bytes_scan_alike_however_they_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
