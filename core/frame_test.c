#include "frame.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>

static const struct ln_frame_format formats[] = {{1, false}, {2, false}, {4, false}, {8, false},
                                                 {1, true},  {2, true},  {4, true},  {8, true}};
enum { FORMATS = sizeof formats / sizeof formats[0] };

/* Reads a copy that ends where the data ends, so that the sanitizer sees every byte too far. */
static int read_copy(struct ln_frame_format f, size_t max, const char *data, size_t len,
                     uint64_t *payload) {
    char *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy + 1, data, len);
    int rc = ln_frame_read(f, max, copy + 1, len, payload);
    free(copy);
    return rc;
}

static void the_length_comes_first_in_its_order_of_bytes(void **state) {
    static const char expected[FORMATS][11] = {
        "\x02hi", "\0\x02hi", "\0\0\0\x02hi", "\0\0\0\0\0\0\0\x02hi",
        "\x02hi", "\x02\0hi", "\x02\0\0\0hi", "\x02\0\0\0\0\0\0\0hi"};
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        struct ln_buffer b;
        ln_buffer_init(&b);
        assert_int_equal(ln_frame_put(&b, formats[i], "hi", 2), LN_OK);
        assert_int_equal(ln_buffer_len(&b), formats[i].width + 2U);
        assert_memory_equal(ln_buffer_data(&b), expected[i], formats[i].width + 2U);
        ln_buffer_free(&b);
    }
}

static void what_is_written_is_read_and_no_part_of_it_taken_for_whole(void **state) {
    static const size_t lengths[] = {0, 1, 100, 255, 256, 258, 65535, 65536, 70000};
    char *payload = calloc(1, 70000);
    (void)state;
    assert_non_null(payload);
    for (size_t i = 0; i < FORMATS * sizeof lengths / sizeof lengths[0]; i++) {
        struct ln_frame_format f = formats[i % FORMATS];
        size_t most = lengths[i / FORMATS];
        uint64_t found = 0;
        struct ln_buffer b;
        if (f.width < 3 && most >> (8 * f.width) != 0)
            continue;
        ln_buffer_init(&b);
        assert_int_equal(ln_frame_put(&b, f, payload, most), LN_OK);
        size_t size = ln_buffer_len(&b);
        assert_int_equal(read_copy(f, most, ln_buffer_data(&b), size, &found), 1);
        assert_int_equal(found, most);
        for (size_t cut = 0; cut < size; cut += cut < 16 || cut > size - 16 ? 1 : 97)
            assert_int_equal(read_copy(f, most, ln_buffer_data(&b), cut, &found), 0);
        ln_buffer_free(&b);
    }
    free(payload);
}

static void a_length_is_refused_before_its_payload_arrives(void **state) {
    static const char huge[] = "\xff\xff\xff\xff\xff\xff\xff\xff";
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        struct ln_frame_format f = formats[i];
        uint64_t found = 0;
        uint64_t most = f.width == 8 ? UINT64_MAX : ((uint64_t)1 << (8 * f.width)) - 1;
        assert_int_equal(read_copy(f, 254, huge, f.width, &found), -EPROTO);
        assert_true(found == most);
        assert_int_equal(read_copy(f, 254, huge, f.width - 1U, &found), 0);
        assert_int_equal(read_copy(f, SIZE_MAX, huge, f.width, &found), 0);
    }
}

static void a_payload_whose_length_cannot_be_told_is_not_written(void **state) {
    char *payload = calloc(1, 65536);
    struct ln_buffer b;
    (void)state;
    assert_non_null(payload);
    ln_buffer_init(&b);
    assert_int_equal(ln_frame_put(&b, formats[0], payload, 256), -EMSGSIZE);
    assert_int_equal(ln_frame_put(&b, formats[5], payload, 65536), -EMSGSIZE);
    assert_int_equal(ln_buffer_len(&b), 0);
    ln_buffer_free(&b);
    free(payload);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_length_comes_first_in_its_order_of_bytes),
        cmocka_unit_test(what_is_written_is_read_and_no_part_of_it_taken_for_whole),
        cmocka_unit_test(a_length_is_refused_before_its_payload_arrives),
        cmocka_unit_test(a_payload_whose_length_cannot_be_told_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
