#include "batch.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>

static void put(struct ln_buffer *b, size_t words, const char *const *list) {
    assert_int_equal(ln_batch_put_command(b, words), LN_OK);
    for (size_t i = 0; i < words; i++)
        assert_int_equal(ln_batch_put_word(b, list[i], strlen(list[i])), LN_OK);
}

static const uint8_t *bytes(const struct ln_buffer *b) {
    return (const uint8_t *)ln_buffer_data(b);
}

static void commands_come_back_as_they_were_put(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    put(&b, 3, (const char *[]){"SET", "key", ""});
    put(&b, 1, (const char *[]){"FLUSHALL"});

    size_t at = 0;
    uint32_t words = 0, len = 0;
    const char *word = NULL;
    assert_int_equal(ln_batch_next(bytes(&b), ln_buffer_len(&b), &at, &words), 1);
    assert_int_equal(words, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ln_batch_word(bytes(&b), ln_buffer_len(&b), &at, &word, &len), LN_OK);
    assert_int_equal(len, 0);
    assert_int_equal(ln_batch_next(bytes(&b), ln_buffer_len(&b), &at, &words), 1);
    assert_int_equal(ln_batch_word(bytes(&b), ln_buffer_len(&b), &at, &word, &len), LN_OK);
    assert_int_equal(len, 8);
    assert_memory_equal(word, "FLUSHALL", 8);
    assert_int_equal(ln_batch_next(bytes(&b), ln_buffer_len(&b), &at, &words), 0);
    ln_buffer_free(&b);
}

static void a_command_put_at_once_is_the_same(void **state) {
    (void)state;
    struct ln_buffer b, once;
    struct ln_batch_text words[300] = {{"MSET", 4}, {NULL, 0}, {"a\0b", 3}};
    ln_buffer_init(&b);
    ln_buffer_init(&once);
    for (size_t i = 3; i < 300; i++)
        words[i] = (struct ln_batch_text){"0123456789", i % 11};
    for (size_t count = 1; count <= 300; count += count < 3 ? 1 : 99) {
        assert_int_equal(ln_batch_put_command(&b, count), LN_OK);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(ln_batch_put_word(&b, words[i].data, words[i].len), LN_OK);
        assert_int_equal(ln_batch_put(&once, words, count), LN_OK);
        assert_int_equal(ln_buffer_len(&once), ln_buffer_len(&b));
        assert_memory_equal(bytes(&once), bytes(&b), ln_buffer_len(&b));
    }
    words[1].len = (size_t)LN_BATCH_MAX;
    assert_int_equal(ln_batch_put(&once, words, 2), -E2BIG);
    assert_int_equal(ln_buffer_len(&once), ln_buffer_len(&b));
    ln_buffer_free(&once);
    ln_buffer_free(&b);
}

static void numbers_take_as_few_bytes_as_they_can(void **state) {
    (void)state;
    uint8_t out[LN_VARINT_BYTES];
    assert_int_equal(ln_varint_put(0, out), 1);
    assert_int_equal(ln_varint_put(127, out), 1);
    assert_int_equal(ln_varint_put(128, out), 2);
    assert_int_equal(ln_varint_put(LN_BATCH_MAX - 1, out), 5);
    assert_memory_equal(out, "\xff\xff\xff\xff\x0f", 5);
}

static void every_batch_that_is_cut_is_refused(void **state) {
    (void)state;
    struct ln_buffer b;
    ln_buffer_init(&b);
    put(&b, 2, (const char *[]){"DEL", "a key"});
    for (size_t cut = 1; cut < ln_buffer_len(&b); cut++) {
        uint8_t *piece = malloc(cut); /* its end is the end of what may be read: ASan sees to it */
        assert_non_null(piece);
        memcpy(piece, bytes(&b), cut);
        size_t at = 0;
        uint32_t words = 0, len = 0;
        const char *word = NULL;
        int rc = ln_batch_next(piece, cut, &at, &words);
        for (uint32_t i = 0; rc == 1 && i < words; i++)
            if (ln_batch_word(piece, cut, &at, &word, &len) != LN_OK)
                rc = -EPROTO;
        assert_int_equal(rc, -EPROTO);
        free(piece);
    }
    ln_buffer_free(&b);
}

static void what_is_malformed_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"\x00", 1},                     /* a command without words */
        {"\x80\x00", 2},                 /* a zero in two bytes */
        {"\xff\xff\xff\xff\x1f", 5},     /* 2^33 - 1 */
        {"\x80\x80\x80\x80\x80\x01", 6}, /* six bytes */
        {"\x7f\x01x", 3},                /* more words than bytes */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t at = 0;
        uint32_t words = 7;
        assert_int_equal(ln_batch_next((const uint8_t *)bad[i].bytes, bad[i].len, &at, &words),
                         -EPROTO);
        assert_int_equal(at, 0);
        assert_int_equal(words, 7);
    }
    size_t at = 1;
    uint32_t len = 0;
    const char *word = NULL;
    assert_int_equal(ln_batch_word((const uint8_t *)"\x01\x02x", 3, &at, &word, &len), -EPROTO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_come_back_as_they_were_put),
        cmocka_unit_test(a_command_put_at_once_is_the_same),
        cmocka_unit_test(numbers_take_as_few_bytes_as_they_can),
        cmocka_unit_test(every_batch_that_is_cut_is_refused),
        cmocka_unit_test(what_is_malformed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
