/* A byte queue: bytes go in at the end and come out at the front, and lie in one piece.
 *
 * Sockets queue their output in one and keep incomplete input in one. An empty queue holds no
 * memory once ln_buffer_trim has seen it empty, so that idle connections cost nothing.
 *
 * Not thread-safe. Pointers into the queue are valid until the next call that is not const. */
#ifndef LUNODE_BUFFER_H
#define LUNODE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct ln_buffer {
    char *base;  /* the allocation, or NULL */
    size_t head; /* first byte that is still queued */
    size_t tail; /* one past the last */
    size_t cap;  /* bytes allocated */
};

void ln_buffer_init(struct ln_buffer *b);
void ln_buffer_free(struct ln_buffer *b);

static inline size_t ln_buffer_len(const struct ln_buffer *b) {
    return b->tail - b->head;
}

static inline const char *ln_buffer_data(const struct ln_buffer *b) {
    return b->base + b->head;
}

/* Makes room for n more bytes and stores where they may be written: LN_OK or -ENOMEM. They join the
 * queue only with ln_buffer_commit. */
int ln_buffer_reserve(struct ln_buffer *b, size_t n, char **space);

/* Appends the first n of the bytes reserved. REQUIRES: n is at most what was reserved. */
void ln_buffer_commit(struct ln_buffer *b, size_t n);

/* Copies n bytes to the end: LN_OK or -ENOMEM, and then nothing was appended. */
int ln_buffer_append(struct ln_buffer *b, const void *data, size_t n);

/* Drops n bytes from the front. REQUIRES: n <= ln_buffer_len(b). */
void ln_buffer_consume(struct ln_buffer *b, size_t n);

/* Takes bytes back from the end, until len are queued. REQUIRES: len <= ln_buffer_len(b). */
void ln_buffer_truncate(struct ln_buffer *b, size_t len);

/* Gives the memory back if the queue is empty. */
void ln_buffer_trim(struct ln_buffer *b);

#endif
