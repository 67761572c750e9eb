#include "lcs.h"

#include <string.h>

/* With L(i, j) the length for the first i bytes of a and the first j of b: the turn at (i, j) says
 * that L(i - 1, j) > L(i, j - 1), so that the way back to the beginning leaves out a's byte there,
 * not b's. It matters only where the two bytes differ. */
static size_t turn_at(const struct ln_lcs *lcs, size_t i, size_t j) {
    return (i - 1) * lcs->b_len + (j - 1);
}

size_t ln_lcs_memory(size_t a_len, size_t b_len) {
    if (a_len > UINT32_MAX || b_len > UINT32_MAX)
        return 0;
    uint64_t product = (uint64_t)a_len * b_len;
    if (product > (uint64_t)1 << 47)
        return 0;
    return (b_len + 1) * sizeof(uint32_t) + product / 8 + 1;
}

void ln_lcs_init(struct ln_lcs *lcs, void *memory, const void *a, size_t a_len, const void *b,
                 size_t b_len) {
    *lcs = (struct ln_lcs){.a = a, .b = b, .a_len = a_len, .b_len = b_len, .i = a_len, .j = b_len};
    lcs->row = memory;
    lcs->turns = (uint8_t *)(lcs->row + b_len + 1);
    memset(memory, 0, ln_lcs_memory(a_len, b_len));
    for (size_t i = 1; i <= a_len; i++) {
        uint8_t byte = lcs->a[i - 1];
        uint32_t left = 0, corner = 0; /* L(i, j - 1) and L(i - 1, j - 1) */
        for (size_t j = 1; j <= b_len; j++) {
            uint32_t up = lcs->row[j];
            if (byte == lcs->b[j - 1]) {
                left = corner + 1;
            } else if (up > left) {
                size_t turn = turn_at(lcs, i, j);
                lcs->turns[turn / 8] |= (uint8_t)(1U << turn % 8);
                left = up;
            }
            corner = up;
            lcs->row[j] = left;
        }
    }
    lcs->len = lcs->row[b_len];
}

static bool is_turn(const struct ln_lcs *lcs) {
    size_t turn = turn_at(lcs, lcs->i, lcs->j);
    return lcs->turns[turn / 8] >> turn % 8 & 1;
}

bool ln_lcs_next(struct ln_lcs *lcs, struct ln_lcs_run *run) {
    size_t len = 0;
    while (lcs->i > 0 && lcs->j > 0) {
        if (lcs->a[lcs->i - 1] == lcs->b[lcs->j - 1]) {
            lcs->i--;
            lcs->j--;
            len++;
        } else if (len > 0) {
            break;
        } else if (is_turn(lcs)) {
            lcs->i--;
        } else {
            lcs->j--;
        }
    }
    *run = (struct ln_lcs_run){.a = lcs->i, .b = lcs->j, .len = len};
    return len > 0;
}
