#include "slot.h"
#include "test.h"

#include <stdlib.h>

static unsigned slot(const char *key) {
    return ln_slot_of(key, strlen(key));
}

static void slots_are_those_of_redis_cluster(void **state) {
    (void)state;

    assert_int_equal(slot("123456789"), 12739); /* 0x31c3, the check value of CRC16/XMODEM */
    assert_int_equal(slot("foo"), 12182);
    assert_int_equal(slot("bar"), 5061);
    assert_int_equal(slot(""), 0);
    assert_int_equal(ln_slot_of(NULL, 0), 0);
    assert_int_equal(ln_slot_of("\xff\0\x80", 3), 7915);
}

/* Of any length: whatever way is taken through the bytes, each of them counts alike. */
static void every_byte_is_taken_in_order(void **state) {
    (void)state;
    char key[41];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (char)(i * 37 + 129);
    for (size_t len = 0; len <= sizeof key; len++) {
        unsigned crc = 0;
        for (size_t i = 0; i < len; i++) {
            crc ^= (unsigned)(unsigned char)key[i] << 8;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
        }
        assert_int_equal(ln_slot_of(key, len), crc % LN_SLOTS);
    }
}

static void a_hash_tag_decides_alone(void **state) {
    (void)state;
    assert_int_equal(slot("{user1000}.following"), slot("user1000"));
    assert_int_equal(slot("{user1000}.followers"), slot("user1000"));
    assert_int_equal(slot("foo{bar}{zap}"), slot("bar"));
    assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
    assert_int_equal(slot("}{bar}"), slot("bar"));
}

/* A tag that is empty or open counts for nothing: whatever follows it makes a difference. */
static void an_empty_or_open_tag_is_none(void **state) {
    (void)state;
    assert_int_not_equal(slot("foo{}{bar}"), slot("bar"));
    assert_int_equal(slot("foo{}{bar}"), 8363);
    assert_int_not_equal(slot("foo{bar"), slot("bar"));
    assert_int_equal(slot("{"), 4092);
    assert_int_not_equal(slot("{}a"), slot("{}b"));
}

static void a_row_starts_with_slot_kind_and_hash(void **state) {
    (void)state;
    uint8_t row[LN_SLOT_ROW_BYTES];
    ln_slot_row('k', "123456789", 9, row);
    assert_memory_equal(row, "\x31\xc3k\x93\x7b\xad\x67", 7); /* XXH32: 937bad67 */
    ln_slot_row(0, NULL, 0, row);
    assert_memory_equal(row, "\0\0\0\x02\xcc\x5d\x05", 7); /* XXH32 of nothing: 02cc5d05 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_those_of_redis_cluster),
        cmocka_unit_test(every_byte_is_taken_in_order),
        cmocka_unit_test(a_hash_tag_decides_alone),
        cmocka_unit_test(an_empty_or_open_tag_is_none),
        cmocka_unit_test(a_row_starts_with_slot_kind_and_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
