/* The longest common subsequence of two byte strings, as Redis's LCS finds it where there are
 * several. O(a × b) time, and a bit of memory for each pair of bytes. */
#ifndef LUNODE_LCS_H
#define LUNODE_LCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that both have in a row. */
struct ln_lcs_run {
    size_t a, b, len; /* where it begins in each, and how long it is */
};

struct ln_lcs {
    const uint8_t *a, *b;
    size_t a_len, b_len;
    size_t i, j; /* how much of both is still to be walked over, from their ends */
    size_t len;  /* of the subsequence */
    uint32_t *row;
    uint8_t *turns;
};

/* How much memory ln_lcs_init needs. 0: the lengths are past 2^32, or their product is past 2^47.
 */
size_t ln_lcs_memory(size_t a_len, size_t b_len);

/* Finds the subsequence's length. a and b are borrowed until the last ln_lcs_next; so is memory, of
 * the size that ln_lcs_memory says, aligned as malloc's. */
void ln_lcs_init(struct ln_lcs *lcs, void *memory, const void *a, size_t a_len, const void *b,
                 size_t b_len);

/* The runs that make up the subsequence, the last one first. False: there are no more. */
bool ln_lcs_next(struct ln_lcs *lcs, struct ln_lcs_run *run);

#endif
