#include "bits.h"
#include "test.h"

enum { BYTES = 67 };

/* Each test looks at ranges that begin and end at every bit of a byte, around words' borders. */
static const uint64_t edges[] = {0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 130, 511, 512, 520, 535, 536};

static bool bit_of(const uint8_t *data, uint64_t at) {
    return data[at / 8] >> (7 - at % 8) & 1;
}

static void fill(uint8_t *data, size_t len, uint32_t seed) {
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (uint8_t)(seed >> 24);
    }
}

static uint64_t count_slowly(const uint8_t *data, uint64_t first, uint64_t past) {
    uint64_t count = 0;
    for (uint64_t at = first; at < past; at++)
        count += bit_of(data, at);
    return count;
}

static void counts_the_bits_of_a_range(void **state) {
    (void)state;
    uint8_t data[BYTES];
    fill(data, BYTES, 1);
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        for (size_t j = 0; j < sizeof edges / sizeof *edges; j++)
            assert_int_equal(ln_bits_count(data, edges[i], edges[j]),
                             count_slowly(data, edges[i], edges[j]));
    assert_int_equal(ln_bits_count("", 0, 0), 0);
}

static void finds_the_first_bit_of_a_range(void **state) {
    (void)state;
    for (uint64_t only = 0; only < (uint64_t)BYTES * 8; only++) {
        uint8_t ones[BYTES] = {0}, zeros[BYTES];
        ones[only / 8] = (uint8_t)(0x80 >> only % 8);
        memcpy(zeros, ones, BYTES);
        ln_bits_invert(zeros, BYTES);
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
            for (size_t j = 0; j < sizeof edges / sizeof *edges; j++) {
                uint64_t first = edges[i], past = edges[j], at = 0;
                bool there = only >= first && only < past;
                assert_int_equal(ln_bits_find(ones, first, past, true, &at), there);
                assert_int_equal(at, there ? only : 0);
                at = 0;
                assert_int_equal(ln_bits_find(zeros, first, past, false, &at), there);
                assert_int_equal(at, there ? only : 0);
            }
    }
}

static uint8_t combined(enum ln_bits_op op, uint8_t a, uint8_t b) {
    return op == LN_BITS_AND ? a & b : op == LN_BITS_OR ? a | b : a ^ b;
}

static void combines_with_what_is_shorter_as_if_zeros_followed(void **state) {
    (void)state;
    const enum ln_bits_op ops[] = {LN_BITS_AND, LN_BITS_OR, LN_BITS_XOR};
    uint8_t a[BYTES], b[BYTES], out[BYTES];
    fill(a, BYTES, 2);
    fill(b, BYTES, 3);
    for (size_t n = 0; n < sizeof ops / sizeof *ops; n++)
        for (size_t len = 0; len <= BYTES; len++) {
            memcpy(out, a, BYTES);
            ln_bits_combine(ops[n], out, BYTES, b, len);
            for (size_t i = 0; i < BYTES; i++)
                assert_int_equal(out[i], combined(ops[n], a[i], i < len ? b[i] : 0));
        }
}

static void inverts_every_bit(void **state) {
    (void)state;
    uint8_t a[BYTES], out[BYTES];
    fill(a, BYTES, 4);
    for (size_t len = 0; len <= BYTES; len++) {
        memcpy(out, a, BYTES);
        ln_bits_invert(out, len);
        for (size_t i = 0; i < BYTES; i++)
            assert_int_equal(out[i], i < len ? a[i] ^ 0xFF : a[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_the_bits_of_a_range),
        cmocka_unit_test(finds_the_first_bit_of_a_range),
        cmocka_unit_test(combines_with_what_is_shorter_as_if_zeros_followed),
        cmocka_unit_test(inverts_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
