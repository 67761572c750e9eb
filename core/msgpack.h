/* MessagePack: reading and writing tokens, and a scanner that finds where a value ends.
 *
 * A value is one token; or a token that announces a string, whose bytes follow; or one that
 * announces an array or a map, whose values follow. The tokens are libmpack's; this module adds the
 * limits, and what libmpack gets wrong (see msgpack.c). No callbacks; not thread-safe. */
#ifndef LUNODE_MSGPACK_H
#define LUNODE_MSGPACK_H

#include "buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ln_msgpack_type {
    LN_MSGPACK_NIL,
    LN_MSGPACK_BOOLEAN,
    LN_MSGPACK_INTEGER,  /* fits int64_t */
    LN_MSGPACK_UNSIGNED, /* above INT64_MAX */
    LN_MSGPACK_FLOAT,
    LN_MSGPACK_STR,
    LN_MSGPACK_BIN,
    LN_MSGPACK_EXT,
    LN_MSGPACK_ARRAY,
    LN_MSGPACK_MAP,
};

struct ln_msgpack_token {
    enum ln_msgpack_type type;
    int64_t integer;    /* the integer; of a boolean 0 or 1 */
    uint64_t unsigned_; /* the unsigned */
    double number;      /* the float */
    uint32_t count;     /* bytes, values of an array, or pairs of a map, that follow */
    int8_t ext_type;    /* -128 … 127; those below 0 are MessagePack's own */
};

/* Reads the token at the front of data, without the bytes or values that it announces: 1, 0 (more
 * bytes are needed), or -EPROTO (0xc1, which no token begins with). */
int ln_msgpack_read_token(const char *data, size_t len, struct ln_msgpack_token *token,
                          size_t *consumed);

/* ---- the scanner */

enum { LN_MSGPACK_MAX_DEPTH = 32 }; /* arrays and maps inside of each other; for encoders, too */

struct ln_msgpack_limits {
    size_t max_bytes; /* of one value, with all that is in it */
    uint32_t
        max_values; /* in one value, itself included: small values cost more memory than bytes */
};

#define LN_MSGPACK_LIMITS_DEFAULT ((struct ln_msgpack_limits){(size_t)64 << 20, 1U << 20})

struct ln_msgpack_scanner {
    struct ln_msgpack_limits limits; /* may be changed between any two calls */
    char error[64];                  /* after -EPROTO: why */

    /* private */
    size_t scan;      /* tokens have been read up to here */
    uint64_t skip;    /* bytes of a string still to come */
    uint64_t pending; /* values that are announced and still to come */
    uint64_t values;  /* read */
    uint32_t depth;
    uint64_t left[LN_MSGPACK_MAX_DEPTH + 1]; /* values still to come, by depth */
};

void ln_msgpack_scanner_init(struct ln_msgpack_scanner *s);

/* Looks for the end of the value at the front of data. data begins where the last complete value
 * ended, and has grown at its end since; it may lie elsewhere than before. What has been read is
 * remembered, so a value that comes in small pieces is not read again.
 *
 *   1        the value is complete: *size bytes, well-formed and within the limits
 *   0        more bytes are needed
 *   -EPROTO  malformed, or past a limit, which announced lengths count for: see error; so it stays
 */
int ln_msgpack_scan(struct ln_msgpack_scanner *s, const char *data, size_t len, size_t *size);

/* ---- writing, in the shortest format. Each appends one token: LN_OK; or -ENOMEM, and nothing was
 * appended. */

int ln_msgpack_put_nil(struct ln_buffer *b);
int ln_msgpack_put_boolean(struct ln_buffer *b, bool value);
int ln_msgpack_put_integer(struct ln_buffer *b, int64_t value);
int ln_msgpack_put_unsigned(struct ln_buffer *b, uint64_t value);
int ln_msgpack_put_float(struct ln_buffer *b,
                         double value); /* 32 bits where nothing gets lost; NaN: 64 */

/* With their bytes. REQUIRES: len <= UINT32_MAX. */
int ln_msgpack_put_str(struct ln_buffer *b, const char *data, size_t len);
int ln_msgpack_put_bin(struct ln_buffer *b, const char *data, size_t len);
int ln_msgpack_put_ext(struct ln_buffer *b, int8_t type, const char *data, size_t len);

/* Headers; the values follow. */
int ln_msgpack_put_array(struct ln_buffer *b, uint32_t count);
int ln_msgpack_put_map(struct ln_buffer *b, uint32_t pairs);

#endif
