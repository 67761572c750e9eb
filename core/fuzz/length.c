/* The reader of frames behind a length. Further: a payload is within the limit, and what is written
 * again is the same bytes. */
#include "frame.h"
#include "fuzz.h"

enum { HEAD = 4 };

struct reader {
    struct ln_frame_format format;
    size_t max;
};

static int read_one(void *reader, const char *data, size_t len, size_t *consumed,
                    struct fuzz_digest *digest) {
    const struct reader *r = reader;
    uint64_t n = 0;
    int rc = ln_frame_read(r->format, r->max, data, len, &n);
    if (rc == 1) {
        struct ln_buffer b;
        size_t size = r->format.width + (size_t)n;
        FUZZ_CHECK(n <= r->max && size <= len);
        ln_buffer_init(&b);
        FUZZ_CHECK(ln_frame_put(&b, r->format, data + r->format.width, (size_t)n) == 0);
        FUZZ_CHECK(ln_buffer_len(&b) == size && memcmp(ln_buffer_data(&b), data, size) == 0);
        ln_buffer_free(&b);
        fuzz_note(digest, data, size);
        *consumed = size;
    } else if (rc < 0) {
        FUZZ_CHECK(n > r->max);
        fuzz_note(digest, &n, sizeof n);
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < HEAD)
        return 0;
    struct reader r = {{(uint8_t)(1U << (input[0] & 3)), input[0] & 4},
                       input[1] == 255 ? LN_FRAME_MAX_DEFAULT : (size_t)input[1] * 4};
    const char *data = (const char *)input + HEAD;
    size_t len = size - HEAD;
    struct fuzz_digest whole = fuzz_read_in_pieces(read_one, &r, data, len, len, 1);
    FUZZ_CHECK(fuzz_read_in_pieces(read_one, &r, data, len, input[2], input[3] % 16U + 1).hash ==
               whole.hash);
    return 0;
}
