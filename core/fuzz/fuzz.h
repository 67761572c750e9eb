/* For the fuzz targets: one function a target, called with bytes that libFuzzer makes up. Besides
 * not crashing, each holds its reader to what its header promises, and so to one thing in
 * particular: input that comes in pieces means what it means as a whole.
 *
 * The first bytes of an input choose the limits and the pieces; the others are data. */
#ifndef LUNODE_FUZZ_H
#define LUNODE_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/* As assert, in every build: libFuzzer takes an abort for a finding. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What was read, as far as two readings can be compared by it: FNV-1a. */
struct fuzz_digest {
    uint64_t hash;
};

static inline void fuzz_note(struct fuzz_digest *d, const void *bytes, size_t len) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++)
        d->hash = (d->hash ^ p[i]) * UINT64_C(0x100000001b3);
    d->hash = (d->hash ^ len) * UINT64_C(0x100000001b3);
}

/* A copy of its own that ends where the data ends, so that ASan sees every byte too far. */
static inline char *fuzz_copy(const char *data, size_t len) {
    char *copy = calloc(len + 1, 1);
    FUZZ_CHECK(copy);
    copy[0] =
        '\n'; /* what a reader that looks one byte too far to the left would take for an end */
    if (len > 0)
        memcpy(copy + 1, data, len);
    return copy;
}

static inline void fuzz_drop(char *copy) {
    free(copy);
}

/* Reads one message from the front of data: 1 and *consumed, 0 (*consumed may be set as well), or a
 * negative status. Notes what it has read. */
typedef int (*fuzz_read_fn)(void *reader, const char *data, size_t len, size_t *consumed,
                            struct fuzz_digest *digest);

/* Offers data as a connection does: at first one piece of `first` bytes, then `step` more each
 * time; what was not consumed comes again, at another place. Notes messages, and how it ended. */
static inline struct fuzz_digest fuzz_read_in_pieces(fuzz_read_fn read, void *reader,
                                                     const char *data, size_t len, size_t first,
                                                     size_t step) {
    struct fuzz_digest digest = {UINT64_C(0xcbf29ce484222325)};
    size_t used = 0, end = first < len ? first : len;
    int rc = 0;
    for (;;) {
        do {
            size_t consumed = 0;
            char *copy = fuzz_copy(data + used, end - used);
            rc = read(reader, copy + 1, end - used, &consumed, &digest);
            fuzz_drop(copy);
            FUZZ_CHECK(consumed <= end - used);
            FUZZ_CHECK(rc != 1 || consumed > 0);
            used += consumed;
        } while (rc == 1);
        if (rc < 0 || end == len)
            break;
        end = end + step < len ? end + step : len;
    }
    fuzz_note(&digest, &rc, sizeof rc);
    if (rc == 0)
        fuzz_note(&digest, data + used, len - used); /* the rest waits */
    return digest;
}

#endif
