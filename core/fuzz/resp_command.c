/* The reader of Redis commands. Further: what it has read, written as an array of bulks, is read as
 * the same command. */
#include "fuzz.h"
#include "resp.h"

enum { HEAD = 3 };

static void write_command(struct ln_buffer *b, const struct ln_resp_reader *r) {
    FUZZ_CHECK(ln_resp_put_array(b, r->argc) == 0);
    for (uint32_t i = 0; i < r->argc; i++)
        FUZZ_CHECK(ln_resp_put_bulk(b, r->base + r->argv[i].off, r->argv[i].len) == 0);
}

static void check_again(const struct ln_resp_reader *r) {
    struct ln_resp_reader again;
    struct ln_buffer b;
    size_t consumed = 0;
    ln_buffer_init(&b);
    ln_resp_reader_init(&again);
    write_command(&b, r);
    FUZZ_CHECK(ln_resp_read_command(&again, ln_buffer_data(&b), ln_buffer_len(&b), &consumed) == 1);
    FUZZ_CHECK(consumed == ln_buffer_len(&b) && again.argc == r->argc);
    for (uint32_t i = 0; i < r->argc; i++)
        FUZZ_CHECK(
            again.argv[i].len == r->argv[i].len &&
            memcmp(again.base + again.argv[i].off, r->base + r->argv[i].off, r->argv[i].len) == 0);
    ln_resp_reader_free(&again);
    ln_buffer_free(&b);
}

static int read_one(void *reader, const char *data, size_t len, size_t *consumed,
                    struct fuzz_digest *digest) {
    struct ln_resp_reader *r = reader;
    int rc = ln_resp_read_command(r, data, len, consumed);
    if (rc == 1) {
        FUZZ_CHECK(r->argc > 0 && r->argc <= r->limits.max_args);
        for (uint32_t i = 0; i < r->argc; i++)
            fuzz_note(digest, r->base + r->argv[i].off, r->argv[i].len);
        check_again(r);
    } else if (rc < 0) {
        size_t again = 0;
        fuzz_note(digest, r->error, strlen(r->error));
        FUZZ_CHECK(ln_resp_read_command(r, data, len, &again) == rc); /* and so it stays */
    }
    return rc;
}

static struct fuzz_digest read_all(uint8_t choice, const char *data, size_t len, size_t first,
                                   size_t step) {
    struct ln_resp_reader r;
    ln_resp_reader_init(&r);
    r.limits.unauthenticated = choice & 1;
    if (choice & 2)
        r.limits.max_args = 3;
    if (choice & 4)
        r.limits.max_bulk = 20;
    if (choice & 8)
        r.limits.max_inline = 16;
    struct fuzz_digest digest = fuzz_read_in_pieces(read_one, &r, data, len, first, step);
    ln_resp_reader_free(&r);
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < HEAD)
        return 0;
    const char *data = (const char *)input + HEAD;
    size_t len = size - HEAD;
    struct fuzz_digest whole = read_all(input[0], data, len, len, 1);
    FUZZ_CHECK(read_all(input[0], data, len, input[1], input[2] % 32U + 1).hash == whole.hash);
    return 0;
}
