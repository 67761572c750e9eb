#include "buffer.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>

static void bytes_come_out_as_they_went_in(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    assert_int_equal(ln_buffer_append(&b, "hello ", 6), LN_OK);
    assert_int_equal(ln_buffer_append(&b, "world", 5), LN_OK);
    assert_int_equal(ln_buffer_len(&b), 11);
    assert_memory_equal(ln_buffer_data(&b), "hello world", 11);
    ln_buffer_consume(&b, 6);
    assert_memory_equal(ln_buffer_data(&b), "world", 5);
    ln_buffer_truncate(&b, 3);
    assert_int_equal(ln_buffer_len(&b), 3);
    ln_buffer_free(&b);
}

/* A model of the queue: random appends and consumes of a counting sequence. */
static void any_mix_of_appends_and_consumes_keeps_order(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    srand(1);
    unsigned char in = 0, out = 0;
    size_t len = 0;
    for (int i = 0; i < 20000; i++) {
        unsigned char chunk[3000];
        size_t n = (size_t)rand() % (i % 100 ? 100 : sizeof chunk);
        for (size_t k = 0; k < n; k++)
            chunk[k] = in++;
        assert_int_equal(ln_buffer_append(&b, chunk, n), LN_OK);
        len += n;
        size_t take = len ? (size_t)rand() % (len + 1) : 0;
        const unsigned char *data = (const unsigned char *)ln_buffer_data(&b);
        for (size_t k = 0; k < take; k++)
            assert_int_equal(data[k], out++);
        ln_buffer_consume(&b, take);
        len -= take;
        assert_int_equal(ln_buffer_len(&b), len);
    }
    ln_buffer_free(&b);
}

static void a_queue_that_is_never_empty_does_not_grow_without_end(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    char kib[1024] = {0};
    assert_int_equal(ln_buffer_append(&b, kib, 10), LN_OK);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(ln_buffer_append(&b, kib, sizeof kib), LN_OK);
        ln_buffer_consume(&b, sizeof kib);
    }
    assert_true(b.cap <= 8192);
    ln_buffer_free(&b);
}

/* A queue that made room for each append alone would copy itself every time. */
static void a_queue_grows_by_doubling(void **state) {
    (void)state;
    struct ln_buffer b;
    size_t last = 0, growths = 0;
    ln_buffer_init(&b);
    for (size_t i = 0; i < 1000000; i++) {
        assert_int_equal(ln_buffer_append(&b, "12345678", 8), LN_OK);
        growths += b.cap != last;
        last = b.cap;
    }
    assert_int_equal(ln_buffer_len(&b), 8000000);
    assert_in_range(growths, 1, 20);
    assert_true(b.cap < 2 * ln_buffer_len(&b) + 1024);
    ln_buffer_free(&b);
}

static void an_empty_queue_gives_its_memory_back(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    assert_int_equal(ln_buffer_append(&b, "x", 1), LN_OK);
    ln_buffer_trim(&b);
    assert_non_null(b.base);
    ln_buffer_consume(&b, 1);
    ln_buffer_trim(&b);
    assert_null(b.base);
    assert_int_equal(b.cap, 0);
}

static void a_size_that_overflows_is_refused(void **state) {
    (void)state;
    struct ln_buffer b;
    char *space = NULL;
    ln_buffer_init(&b);
    assert_int_equal(ln_buffer_append(&b, "x", 1), LN_OK);
    assert_int_equal(ln_buffer_reserve(&b, SIZE_MAX - 1, &space), -ENOMEM);
    assert_null(space);
    assert_int_equal(ln_buffer_len(&b), 1);
    ln_buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(any_mix_of_appends_and_consumes_keeps_order),
        cmocka_unit_test(a_queue_that_is_never_empty_does_not_grow_without_end),
        cmocka_unit_test(a_queue_grows_by_doubling),
        cmocka_unit_test(an_empty_queue_gives_its_memory_back),
        cmocka_unit_test(a_size_that_overflows_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
