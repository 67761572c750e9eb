/* What libmpack 1.0.5 gets wrong, and is done here: it writes -129 as 127 and -32769 as 32767,
 * drops the upper half of some integers below -2^31, and asserts that extension types are not below
 * 0. */
#include "msgpack.h"

#include "status.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <mpack.h>

/* ---- reading */

static void take_number(struct ln_msgpack_token *token, const mpack_token_t *t) {
    if (t->type == MPACK_TOKEN_FLOAT) {
        token->type = LN_MSGPACK_FLOAT;
        token->number = mpack_unpack_float(*t);
        return;
    }
    uint64_t value =
        t->type == MPACK_TOKEN_SINT ? (uint64_t)mpack_unpack_sint(*t) : mpack_unpack_uint(*t);
    bool fits = t->type == MPACK_TOKEN_SINT || value <= INT64_MAX;
    token->type = fits ? LN_MSGPACK_INTEGER : LN_MSGPACK_UNSIGNED;
    token->integer = fits ? (int64_t)value : 0;
    token->unsigned_ = value;
}

static void take(struct ln_msgpack_token *token, const mpack_token_t *t) {
    static const enum ln_msgpack_type announcing[] = {
        [MPACK_TOKEN_ARRAY] = LN_MSGPACK_ARRAY, [MPACK_TOKEN_MAP] = LN_MSGPACK_MAP,
        [MPACK_TOKEN_BIN] = LN_MSGPACK_BIN,     [MPACK_TOKEN_STR] = LN_MSGPACK_STR,
        [MPACK_TOKEN_EXT] = LN_MSGPACK_EXT,
    };
    *token = (struct ln_msgpack_token){.type = LN_MSGPACK_NIL};
    switch (t->type) {
    case MPACK_TOKEN_UINT:
    case MPACK_TOKEN_SINT:
    case MPACK_TOKEN_FLOAT:
        take_number(token, t);
        break;
    case MPACK_TOKEN_BOOLEAN:
        token->type = LN_MSGPACK_BOOLEAN;
        token->integer = mpack_unpack_boolean(*t);
        break;
    case MPACK_TOKEN_ARRAY:
    case MPACK_TOKEN_MAP:
    case MPACK_TOKEN_BIN:
    case MPACK_TOKEN_STR:
    case MPACK_TOKEN_EXT:
        token->type = announcing[t->type];
        token->count = t->length;
        if (t->type == MPACK_TOKEN_EXT)
            token->ext_type = (int8_t)t->data.ext_type;
        break;
    case MPACK_TOKEN_NIL:
    case MPACK_TOKEN_CHUNK: /* never: bytes that were announced are not given to libmpack */
        break;
    }
}

int ln_msgpack_read_token(const char *data, size_t len, struct ln_msgpack_token *token,
                          size_t *consumed) {
    mpack_tokbuf_t tokbuf; /* a new one for each token: a token in pieces is read again */
    mpack_token_t t;
    size_t left = len;
    if (len == 0)
        return 0;
    mpack_tokbuf_init(&tokbuf);
    int rc = mpack_read(&tokbuf, &data, &left, &t);
    if (rc != MPACK_OK)
        return rc == MPACK_EOF ? 0 : -EPROTO;
    take(token, &t);
    *consumed = len - left;
    return 1;
}

/* ---- the scanner */

static void rewind_scanner(struct ln_msgpack_scanner *s) {
    s->scan = 0;
    s->skip = s->values = 0;
    s->pending = s->left[0] = 1;
    s->depth = 0;
}

void ln_msgpack_scanner_init(struct ln_msgpack_scanner *s) {
    s->limits = LN_MSGPACK_LIMITS_DEFAULT;
    s->error[0] = '\0';
    rewind_scanner(s);
}

__attribute__((format(printf, 2, 3), cold)) static int fail(struct ln_msgpack_scanner *s,
                                                            const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(s->error, sizeof s->error, format, args);
    va_end(args);
    return -EPROTO;
}

/* What is announced counts as if it were there: each value that is still to come takes a byte at
 * least. */
static int check_limits(struct ln_msgpack_scanner *s) {
    if (s->values + s->pending > s->limits.max_values)
        return fail(s, "more than %u values in one message", s->limits.max_values);
    if (s->scan + s->skip + s->pending > s->limits.max_bytes)
        return fail(s, "message longer than %zu bytes", s->limits.max_bytes);
    return 1;
}

/* Counts the token in: 1 or -EPROTO. */
static int enter(struct ln_msgpack_scanner *s, const struct ln_msgpack_token *t) {
    bool nests = t->type == LN_MSGPACK_ARRAY || t->type == LN_MSGPACK_MAP;
    s->values++;
    s->pending--;
    s->left[s->depth]--;
    if (nests) {
        if (s->depth == LN_MSGPACK_MAX_DEPTH)
            return fail(s, "nested more than %d deep", LN_MSGPACK_MAX_DEPTH);
        uint64_t count = (uint64_t)t->count << (t->type == LN_MSGPACK_MAP);
        s->left[++s->depth] = count;
        s->pending += count;
    } else {
        s->skip = t->count;
    }
    while (s->depth > 0 && s->left[s->depth] == 0)
        s->depth--;
    return check_limits(s);
}

static void skip_bytes(struct ln_msgpack_scanner *s, size_t len) {
    uint64_t there = len - s->scan;
    uint64_t n = s->skip < there ? s->skip : there;
    s->skip -= n;
    s->scan += (size_t)n;
}

int ln_msgpack_scan(struct ln_msgpack_scanner *s, const char *data, size_t len, size_t *size) {
    int rc = s->error[0] ? -EPROTO : 1;
    while (rc == 1 && (s->pending > 0 || s->skip > 0)) {
        struct ln_msgpack_token token;
        size_t used = 0;
        skip_bytes(s, len);
        if (s->skip > 0)
            return 0;
        if (s->pending == 0)
            break;
        rc = ln_msgpack_read_token(data + s->scan, len - s->scan, &token, &used);
        if (rc < 0)
            return fail(s, "0x%02x begins no value", (unsigned char)data[s->scan]);
        if (rc == 0)
            return 0;
        s->scan += used;
        rc = enter(s, &token);
    }
    if (rc == 1) {
        *size = s->scan;
        rewind_scanner(s);
    }
    return rc;
}

/* ---- writing */

static int put_token(struct ln_buffer *b, mpack_token_t token) {
    mpack_tokbuf_t tokbuf;
    char *space = NULL;
    size_t left = MPACK_MAX_TOKEN_LEN;
    int rc = ln_buffer_reserve(b, left, &space);
    if (rc != LN_OK)
        return rc;
    mpack_tokbuf_init(&tokbuf);
    (void)mpack_write(&tokbuf, &space, &left, &token); /* there is room: it cannot fail */
    ln_buffer_commit(b, MPACK_MAX_TOKEN_LEN - left);
    return LN_OK;
}

static int put_string(struct ln_buffer *b, mpack_token_t token, const char *data, size_t len) {
    size_t before = ln_buffer_len(b);
    int rc = put_token(b, token);
    if (rc == LN_OK)
        rc = ln_buffer_append(b, data, len);
    if (rc != LN_OK)
        ln_buffer_truncate(b, before);
    return rc;
}

int ln_msgpack_put_nil(struct ln_buffer *b) {
    return put_token(b, mpack_pack_nil());
}

int ln_msgpack_put_boolean(struct ln_buffer *b, bool value) {
    return put_token(b, mpack_pack_boolean(value));
}

int ln_msgpack_put_integer(struct ln_buffer *b, int64_t value) {
    if (value >= -32)
        return put_token(b, mpack_pack_sint(value));
    size_t width = value >= INT8_MIN ? 1 : value >= INT16_MIN ? 2 : value >= INT32_MIN ? 4 : 8;
    char bytes[9] = {(char)(width == 1 ? 0xd0 : width == 2 ? 0xd1 : width == 4 ? 0xd2 : 0xd3)};
    for (size_t i = 0; i < width; i++)
        bytes[1 + i] = (char)((uint64_t)value >> (8 * (width - 1 - i)));
    return ln_buffer_append(b, bytes, 1 + width);
}

int ln_msgpack_put_unsigned(struct ln_buffer *b, uint64_t value) {
    return put_token(b, mpack_pack_uint(value));
}

int ln_msgpack_put_float(struct ln_buffer *b, double value) {
    /* One NaN of all: its sign depends on the machine that computed it. */
    return put_token(b, mpack_pack_float(isnan(value) ? (double)NAN : value));
}

int ln_msgpack_put_str(struct ln_buffer *b, const char *data, size_t len) {
    return put_string(b, mpack_pack_str((uint32_t)len), data, len);
}

int ln_msgpack_put_bin(struct ln_buffer *b, const char *data, size_t len) {
    return put_string(b, mpack_pack_bin((uint32_t)len), data, len);
}

int ln_msgpack_put_ext(struct ln_buffer *b, int8_t type, const char *data, size_t len) {
    size_t before = ln_buffer_len(b);
    int rc = put_token(b, mpack_pack_ext(0, (uint32_t)len));
    if (rc == LN_OK) {
        b->base[b->tail - 1] = (char)type; /* it ends the token */
        rc = ln_buffer_append(b, data, len);
    }
    if (rc != LN_OK)
        ln_buffer_truncate(b, before);
    return rc;
}

int ln_msgpack_put_array(struct ln_buffer *b, uint32_t count) {
    return put_token(b, mpack_pack_array(count));
}

int ln_msgpack_put_map(struct ln_buffer *b, uint32_t pairs) {
    return put_token(b, mpack_pack_map(pairs));
}
