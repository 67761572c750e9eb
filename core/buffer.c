#include "buffer.h"

#include "status.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 1024 };

void ln_buffer_init(struct ln_buffer *b) {
    *b = (struct ln_buffer){0};
}

void ln_buffer_free(struct ln_buffer *b) {
    free(b->base);
    ln_buffer_init(b);
}

int ln_buffer_reserve(struct ln_buffer *b, size_t n, char **space) {
    size_t len = ln_buffer_len(b);
    if (n > SIZE_MAX / 2 - len)
        return -ENOMEM;
    if (b->cap - b->tail < n) {
        if (b->head > 0 && b->head >= len && b->cap - len >= n) {
            /* At least half of what is used lies behind us: moving the rest is paid for by the
             * bytes that were consumed. */
            memmove(b->base, b->base + b->head, len);
        } else {
            size_t cap = b->cap ? b->cap * 2 : FIRST_CAP;
            if (cap < len + n)
                cap = len + n;
            char *base = b->head ? malloc(cap) : realloc(b->base, cap);
            if (!base)
                return -ENOMEM;
            if (b->head) {
                memcpy(base, b->base + b->head, len);
                free(b->base);
            }
            b->base = base;
            b->cap = cap;
        }
        b->head = 0;
        b->tail = len;
    }
    *space = b->base + b->tail;
    return LN_OK;
}

void ln_buffer_commit(struct ln_buffer *b, size_t n) {
    assert(n <= b->cap - b->tail);
    b->tail += n;
}

int ln_buffer_append(struct ln_buffer *b, const void *data, size_t n) {
    char *space = NULL;
    if (n == 0)
        return LN_OK;
    int rc = ln_buffer_reserve(b, n, &space);
    if (rc != LN_OK)
        return rc;
    memcpy(space, data, n);
    ln_buffer_commit(b, n);
    return LN_OK;
}

void ln_buffer_consume(struct ln_buffer *b, size_t n) {
    assert(n <= ln_buffer_len(b));
    b->head += n;
    if (b->head == b->tail)
        b->head = b->tail = 0;
}

void ln_buffer_truncate(struct ln_buffer *b, size_t len) {
    assert(len <= ln_buffer_len(b));
    b->tail = b->head + len;
}

void ln_buffer_trim(struct ln_buffer *b) {
    if (ln_buffer_len(b) == 0)
        ln_buffer_free(b);
}
