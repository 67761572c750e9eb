/* The Redis protocol: a reader of commands, a reader of replies, and a writer of replies.
 *
 * What a reader accepts, and how it words what it refuses, is Redis 7.0's. Readers look at bytes in
 * place and check every length against a limit before anything is allocated for it. No callbacks;
 * not thread-safe. */
#ifndef LUNODE_RESP_H
#define LUNODE_RESP_H

#include "buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- commands: arrays of bulk strings, and inline commands */

struct ln_resp_limits {
    uint32_t max_args;    /* arguments of one command */
    uint32_t max_bulk;    /* bytes of one argument */
    uint32_t max_inline;  /* bytes of one line: an inline command, or a length */
    bool unauthenticated; /* arrays: 10 arguments of 16384 bytes at most, refused in words of their
                             own */
};

#define LN_RESP_LIMITS_DEFAULT ((struct ln_resp_limits){1048576, 512U << 20, 64U << 10, false})

struct ln_resp_span {
    uint32_t off, len;
};

struct ln_resp_reader {
    struct ln_resp_limits limits; /* may be changed between any two calls */

    /* The command read. Its arguments are the bytes at base + argv[i].off, which lie in the data
     * that was given (or, for an inline command, in the reader) and are valid until the next call.
     */
    const char *base;
    struct ln_resp_span *argv;
    uint32_t argc;

    /* After -EPROTO: what follows "-ERR Protocol error: ". */
    char error[40];

    /* private */
    uint8_t at;    /* enum place: what comes next */
    uint32_t cap;  /* spans allocated */
    uint32_t left; /* arguments still to come */
    uint32_t bulk; /* length of the one that comes next */
    size_t start;  /* where the next line or bulk begins */
    size_t scan;   /* the line has been searched for its end up to here */
    char *text;    /* an inline command without its quotes */
};

void ln_resp_reader_init(struct ln_resp_reader *r);
void ln_resp_reader_free(struct ln_resp_reader *r);

/* Reads one command. data begins where the last consumed byte ended, and has grown at its end
 * since; it may lie elsewhere than before. What has been read is remembered, so input that comes in
 * small pieces is not read again.
 *
 *   1          a command of at least one argument is complete
 *   0          more bytes are needed
 *   -EPROTO    malformed: see error; every further call answers the same
 *   -ENOMEM    so does this
 *
 * *consumed is set by 1 and by 0 alike: empty commands (a blank line, *0, *-1) are passed over, and
 * their bytes are not offered again. A call that finds no bytes (len may be 0) gives back all but
 * 256 bytes of memory, so call it until it returns 0. */
int ln_resp_read_command(struct ln_resp_reader *r, const char *data, size_t len, size_t *consumed);

/* A look at the command in front of data, without a reader: its name and its first arguments, if it
 * is an array of two bulk strings or more and complete. Returns its length, or 0 for anything else.
 * For hints only: nothing is refused, and limits do not count. */
enum { LN_RESP_GLANCE = 3 };
struct ln_resp_glance {
    const char *name, *args[LN_RESP_GLANCE];
    uint32_t name_len, lens[LN_RESP_GLANCE], argc;
};
size_t ln_resp_glance(const char *data, size_t len, struct ln_resp_glance *out);

/* A decimal number in [p, end) and nothing else, as Redis takes one: no '+', no leading zeros, no
 * "-0". */
bool ln_resp_parse_integer(const char *p, const char *end, int64_t *out);

/* The other way round: writes the number to out, which has room for LN_RESP_INTEGER bytes, and
 * returns how many it took. */
enum { LN_RESP_INTEGER = 20 };
size_t ln_resp_format_integer(int64_t value, char *out);

/* ---- replies, one token at a time; RESP2 and RESP3 */

struct ln_resp_token {
    char type;        /* one of + - : $ * _ # , ( ! = % ~ > | */
    bool null;        /* $-1, *-1, _ */
    int64_t integer;  /* the integer; # 0 or 1; of * % ~ > | how many values follow (two for each
                         pair) */
    double number;    /* , */
    const char *text; /* + - $ ( ! = (without its "txt:"): the bytes, inside of data */
    size_t len;
};

enum {
    LN_RESP_MAX_DEPTH = 32
}; /* aggregates inside of each other, for readers and writers of values */

/* Reads the token at the front of data: 1, 0 (more bytes are needed), or -EPROTO and *error says
 * why (static storage). Keeps no state; *consumed and *token are set by 1 only. */
int ln_resp_read_token(const char *data, size_t len, struct ln_resp_token *token, size_t *consumed,
                       const char **error);

/* ---- writing. Each appends one token: LN_OK, or -ENOMEM and nothing was appended. protocol is 2
 * or 3. */

int ln_resp_put_status(struct ln_buffer *b, const char *text,
                       size_t len); /* line breaks become spaces */
int ln_resp_put_error(struct ln_buffer *b, const char *text,
                      size_t len); /* line breaks become spaces */
int ln_resp_put_integer(struct ln_buffer *b, int64_t value);
int ln_resp_put_bulk(struct ln_buffer *b, const char *data, size_t len);
int ln_resp_put_verbatim(struct ln_buffer *b, const char *text, size_t len,
                         int protocol); /* "txt" */
int ln_resp_put_null(struct ln_buffer *b, int protocol);
int ln_resp_put_null_array(struct ln_buffer *b, int protocol);
int ln_resp_put_boolean(struct ln_buffer *b, bool value, int protocol);
int ln_resp_put_double(struct ln_buffer *b, double value, int protocol);

/* Headers; the values follow. RESP2 writes an array for each of them. */
int ln_resp_put_array(struct ln_buffer *b, size_t count);
int ln_resp_put_map(struct ln_buffer *b, size_t pairs, int protocol);
int ln_resp_put_set(struct ln_buffer *b, size_t count, int protocol);
int ln_resp_put_push(struct ln_buffer *b, size_t count, int protocol);

#endif
