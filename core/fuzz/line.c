/* The reader of lines. Further: a line has no line feed, is within the limit, and with its end it
 * is what was consumed. */
#include "line.h"
#include "fuzz.h"

enum { HEAD = 3 };

static int read_one(void *reader, const char *data, size_t len, size_t *consumed,
                    struct fuzz_digest *digest) {
    struct ln_line_reader *r = reader;
    size_t n = 0;
    int rc = ln_line_read(r, data, len, &n, consumed);
    if (rc == 1) {
        size_t end = *consumed - n;
        FUZZ_CHECK(n <= r->max && *consumed <= len && data[*consumed - 1] == '\n');
        FUZZ_CHECK(!memchr(data, '\n', n));
        FUZZ_CHECK(end == 1 ? n == 0 || data[n - 1] != '\r' : end == 2 && data[n] == '\r');
        fuzz_note(digest, data, n);
    }
    return rc;
}

static struct fuzz_digest read_all(size_t max, const char *data, size_t len, size_t first,
                                   size_t step) {
    struct ln_line_reader r = {.max = max};
    return fuzz_read_in_pieces(read_one, &r, data, len, first, step);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < HEAD)
        return 0;
    const char *data = (const char *)input + HEAD;
    size_t len = size - HEAD, max = input[0] == 255 ? LN_LINE_MAX_DEFAULT : input[0];
    struct fuzz_digest whole = read_all(max, data, len, len, 1);
    FUZZ_CHECK(read_all(max, data, len, input[1], input[2] % 16U + 1).hash == whole.hash);
    return 0;
}
