/* The scanner and the reader of MessagePack. Further: the tokens of a value end where the scanner
 * says, and written again they are as long at most, and read as the same. */
#include "msgpack.h"
#include "fuzz.h"

enum { HEAD = 3 };

static int write_again(struct ln_buffer *b, const struct ln_msgpack_token *t, const char *bytes) {
    switch (t->type) {
    case LN_MSGPACK_NIL:
        return ln_msgpack_put_nil(b);
    case LN_MSGPACK_BOOLEAN:
        return ln_msgpack_put_boolean(b, t->integer);
    case LN_MSGPACK_INTEGER:
        return ln_msgpack_put_integer(b, t->integer);
    case LN_MSGPACK_UNSIGNED:
        return ln_msgpack_put_unsigned(b, t->unsigned_);
    case LN_MSGPACK_FLOAT:
        return ln_msgpack_put_float(b, t->number);
    case LN_MSGPACK_STR:
        return ln_msgpack_put_str(b, bytes, t->count);
    case LN_MSGPACK_BIN:
        return ln_msgpack_put_bin(b, bytes, t->count);
    case LN_MSGPACK_EXT:
        return ln_msgpack_put_ext(b, t->ext_type, bytes, t->count);
    case LN_MSGPACK_ARRAY:
        return ln_msgpack_put_array(b, t->count);
    case LN_MSGPACK_MAP:
        return ln_msgpack_put_map(b, t->count);
    }
    return -1;
}

static bool has_bytes(const struct ln_msgpack_token *t) {
    return t->type == LN_MSGPACK_STR || t->type == LN_MSGPACK_BIN || t->type == LN_MSGPACK_EXT;
}

static bool same(const struct ln_msgpack_token *a, const struct ln_msgpack_token *b) {
    bool numbers = a->number == b->number || (a->number != a->number && b->number != b->number);
    bool unsigneds = a->type != LN_MSGPACK_UNSIGNED || a->unsigned_ == b->unsigned_;
    return a->type == b->type && a->integer == b->integer && unsigneds && numbers &&
           a->count == b->count && a->ext_type == b->ext_type;
}

/* Goes over the tokens of one value, which has size bytes. */
static void check_tokens(const char *data, size_t size) {
    for (size_t at = 0; at < size;) {
        struct ln_msgpack_token t, again;
        struct ln_buffer b;
        size_t used = 0, used_again = 0, bytes = 0;
        FUZZ_CHECK(ln_msgpack_read_token(data + at, size - at, &t, &used) == 1);
        for (size_t i = 0; i < used; i++)
            FUZZ_CHECK(ln_msgpack_read_token(data + at, i, &again, &used_again) == 0);
        bytes = has_bytes(&t) ? t.count : 0;
        FUZZ_CHECK(used + bytes <= size - at);
        ln_buffer_init(&b);
        FUZZ_CHECK(write_again(&b, &t, data + at + used) == 0);
        FUZZ_CHECK(ln_buffer_len(&b) <= used + bytes || t.number != t.number); /* NaN has 64 bits */
        FUZZ_CHECK(
            ln_msgpack_read_token(ln_buffer_data(&b), ln_buffer_len(&b), &again, &used_again) == 1);
        FUZZ_CHECK(same(&t, &again));
        FUZZ_CHECK(bytes == 0 ||
                   memcmp(ln_buffer_data(&b) + used_again, data + at + used, bytes) == 0);
        ln_buffer_free(&b);
        at += used + bytes;
    }
}

static int read_one(void *reader, const char *data, size_t len, size_t *consumed,
                    struct fuzz_digest *digest) {
    struct ln_msgpack_scanner *s = reader;
    size_t size = 0;
    int rc = ln_msgpack_scan(s, data, len, &size);
    if (rc == 1) {
        FUZZ_CHECK(size > 0 && size <= len && size <= s->limits.max_bytes);
        check_tokens(data, size);
        fuzz_note(digest, data, size);
        *consumed = size;
    } else if (rc < 0) {
        fuzz_note(digest, s->error, strlen(s->error));
        FUZZ_CHECK(ln_msgpack_scan(s, data, len, &size) == rc); /* and so it stays */
    }
    return rc;
}

static struct fuzz_digest read_all(uint8_t choice, const char *data, size_t len, size_t first,
                                   size_t step) {
    struct ln_msgpack_scanner s;
    ln_msgpack_scanner_init(&s);
    if (choice & 1)
        s.limits.max_bytes = 60;
    if (choice & 2)
        s.limits.max_values = 12;
    return fuzz_read_in_pieces(read_one, &s, data, len, first, step);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size < HEAD)
        return 0;
    const char *data = (const char *)input + HEAD;
    size_t len = size - HEAD;
    struct fuzz_digest whole = read_all(input[0], data, len, len, 1);
    FUZZ_CHECK(read_all(input[0], data, len, input[1], input[2] % 16U + 1).hash == whole.hash);
    return 0;
}
