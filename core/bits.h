/* Bits in byte strings: counted, found, combined. Pure functions.
 *
 * Bit 0 is the highest one of the first byte, as Redis numbers them. Ranges are first <= bit <
 * past, and have to lie within the data. */
#ifndef LUNODE_BITS_H
#define LUNODE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bits of the range are set. */
uint64_t ln_bits_count(const void *data, uint64_t first, uint64_t past);

/* The first bit of the range that is set, or clear. False: there is none. */
bool ln_bits_find(const void *data, uint64_t first, uint64_t past, bool set, uint64_t *at);

enum ln_bits_op { LN_BITS_AND, LN_BITS_OR, LN_BITS_XOR };

/* out = out op data, where data counts as followed by zeros. REQUIRES: data_len <= out_len, and
 * they do not overlap. */
void ln_bits_combine(enum ln_bits_op op, void *out, size_t out_len, const void *data,
                     size_t data_len);

void ln_bits_invert(void *data, size_t len);

#endif
