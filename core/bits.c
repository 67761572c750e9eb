#include "bits.h"

#include <string.h>

enum { WORD = sizeof(uint64_t) };

static uint64_t load(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, WORD);
    return word;
}

static void store(uint8_t *p, uint64_t word) {
    memcpy(p, &word, WORD);
}

/* The bits of byte `at` that are in the range. */
static uint8_t mask_of(uint64_t at, uint64_t first, uint64_t past) {
    unsigned mask = 0xFF;
    if (at == first / 8)
        mask &= 0xFFU >> (first % 8);
    if (at == past / 8)
        mask &= ~(0xFFU >> (past % 8));
    return (uint8_t)mask;
}

uint64_t ln_bits_count(const void *data, uint64_t first, uint64_t past) {
    if (first >= past)
        return 0;
    const uint8_t *p = data;
    uint64_t at = first / 8, last = (past - 1) / 8;
    uint64_t count = (uint64_t)__builtin_popcount(p[at] & mask_of(at, first, past));
    if (at == last)
        return count;
    count += (uint64_t)__builtin_popcount(p[last] & mask_of(last, first, past));
    for (at++; last - at >= WORD; at += WORD)
        count += (uint64_t)__builtin_popcountll(load(p + at));
    for (; at < last; at++)
        count += (uint64_t)__builtin_popcount(p[at]);
    return count;
}

bool ln_bits_find(const void *data, uint64_t first, uint64_t past, bool set, uint64_t *at) {
    const uint8_t *p = data;
    uint64_t word_flip = set ? 0 : UINT64_MAX; /* then what is looked for is set */
    uint8_t flip = set ? 0 : 0xFF;
    uint64_t byte = first / 8, end = (past + 7) / 8;
    if (first >= past)
        return false;
    while (byte < end) {
        uint8_t found = (p[byte] ^ flip) & mask_of(byte, first, past);
        if (found) {
            *at = byte * 8 + (uint64_t)__builtin_clz(found) - (sizeof(unsigned) - 1) * 8;
            return true;
        }
        byte++;
        while (end - byte > WORD && load(p + byte) == word_flip) /* the last byte needs its mask */
            byte += WORD;
    }
    return false;
}

static void combine_and(uint8_t *restrict out, const uint8_t *restrict data, size_t len) {
    size_t i = 0;
    for (; len - i >= WORD; i += WORD)
        store(out + i, load(out + i) & load(data + i));
    for (; i < len; i++)
        out[i] &= data[i];
}

static void combine_or(uint8_t *restrict out, const uint8_t *restrict data, size_t len) {
    size_t i = 0;
    for (; len - i >= WORD; i += WORD)
        store(out + i, load(out + i) | load(data + i));
    for (; i < len; i++)
        out[i] |= data[i];
}

static void combine_xor(uint8_t *restrict out, const uint8_t *restrict data, size_t len) {
    size_t i = 0;
    for (; len - i >= WORD; i += WORD)
        store(out + i, load(out + i) ^ load(data + i));
    for (; i < len; i++)
        out[i] ^= data[i];
}

void ln_bits_combine(enum ln_bits_op op, void *out, size_t out_len, const void *data,
                     size_t data_len) {
    uint8_t *p = out;
    if (op == LN_BITS_AND) {
        combine_and(p, data, data_len);
        memset(p + data_len, 0, out_len - data_len);
    } else if (op == LN_BITS_OR) {
        combine_or(p, data, data_len);
    } else {
        combine_xor(p, data, data_len);
    }
}

void ln_bits_invert(void *data, size_t len) {
    uint8_t *p = data;
    size_t i = 0;
    for (; len - i >= WORD; i += WORD)
        store(p + i, ~load(p + i));
    for (; i < len; i++)
        p[i] = (uint8_t)~p[i];
}
