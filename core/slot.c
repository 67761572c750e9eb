#include "slot.h"

#include <string.h>
#include <xxhash.h>

enum { SLICES = 8 };

/* For the polynomial x^16 + x^12 + x^5 + 1, highest bit first: the remainder of each byte that has
 * k bytes behind it, so that eight bytes are looked up at once and do not wait for each other
 * (Kounavis, Berry: Novel Table Lookup-Based Algorithms for High-Performance CRC Generation, 2008).
 */
static uint16_t remainders[SLICES][256];

__attribute__((constructor)) static void make_remainders(void) {
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned crc = byte << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
        remainders[0][byte] = (uint16_t)crc;
    }
    for (unsigned k = 1; k < SLICES; k++)
        for (unsigned byte = 0; byte < 256; byte++) {
            unsigned crc = remainders[k - 1][byte];
            remainders[k][byte] = (uint16_t)(crc << 8 ^ remainders[0][crc >> 8]);
        }
}

static uint16_t crc16(const uint8_t *p, size_t len) {
    unsigned crc = 0;
    for (; len >= SLICES; p += SLICES, len -= SLICES)
        crc = remainders[7][p[0] ^ crc >> 8] ^ remainders[6][p[1] ^ (crc & 0xff)] ^
              remainders[5][p[2]] ^ remainders[4][p[3]] ^ remainders[3][p[4]] ^
              remainders[2][p[5]] ^ remainders[1][p[6]] ^ remainders[0][p[7]];
    for (const uint8_t *end = p + len; p < end; p++)
        crc = (crc << 8 & 0xffff) ^ remainders[0][crc >> 8 ^ *p];
    return (uint16_t)crc;
}

uint16_t ln_slot_of(const void *key, size_t len) {
    const uint8_t *tag = key;
    size_t tag_len = len;
    const uint8_t *open = len ? memchr(key, '{', len) : NULL;
    if (open) {
        const uint8_t *rest = open + 1;
        const uint8_t *shut = memchr(rest, '}', len - (size_t)(rest - tag));
        if (shut && shut > rest) {
            tag = rest;
            tag_len = (size_t)(shut - rest);
        }
    }
    return crc16(tag, tag_len) & (LN_SLOTS - 1);
}

void ln_slot_row(uint8_t kind, const void *key, size_t len, uint8_t out[LN_SLOT_ROW_BYTES]) {
    uint16_t slot = ln_slot_of(key, len);
    uint32_t hash = XXH32(len ? key : "", len, 0);
    out[0] = (uint8_t)(slot >> 8);
    out[1] = (uint8_t)slot;
    out[2] = kind;
    out[3] = (uint8_t)(hash >> 24);
    out[4] = (uint8_t)(hash >> 16);
    out[5] = (uint8_t)(hash >> 8);
    out[6] = (uint8_t)hash;
}
