/* Replies: the reader and the writer. */
#include "resp.h"

#include "status.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading */

enum { MAX_LINE = 64 << 10, MAX_BULK = 512 << 20 };

static int malformed(const char **error, const char *why) {
    *error = why;
    return -EPROTO;
}

static bool parse_double(const char *p, size_t len, double *out) {
    char text[400];
    if (len == 0 || len >= sizeof text)
        return false;
    memcpy(text, p, len);
    text[len] = '\0';
    /* strtod knows more spellings than the protocol does */
    if (strcmp(text, "inf") != 0 && strcmp(text, "-inf") != 0 && strcmp(text, "nan") != 0 &&
        strspn(text, "0123456789+-.eE") != len)
        return false;
    char *end = NULL;
    *out = strtod(text, &end);
    return end == text + len;
}

static bool is_big_number(const char *p, size_t len) {
    size_t sign = len > 0 && (*p == '-' || *p == '+');
    for (size_t i = sign; i < len; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return len > sign;
}

/* $ ! = with the length that their line tells; line is how many bytes that line has. */
static int read_blob(const char *data, size_t len, size_t line, struct ln_resp_token *token,
                     size_t *consumed, const char **error) {
    if (token->integer < 0 || token->integer > MAX_BULK)
        return malformed(error, "invalid bulk length");
    size_t n = (size_t)token->integer;
    if (len - line < n + 2)
        return 0;
    if (data[line + n] != '\r' || data[line + n + 1] != '\n')
        return malformed(error, "a bulk is not followed by a line break");
    token->text = data + line;
    token->len = n;
    if (token->type == '=') {
        if (n < 4 || token->text[3] != ':')
            return malformed(error, "invalid verbatim string");
        token->text += 4;
        token->len -= 4;
    }
    *consumed = line + n + 2;
    return 1;
}

static int check_aggregate(struct ln_resp_token *token, const char **error) {
    if (token->integer < 0 || token->integer > INT32_MAX)
        return malformed(error, "invalid aggregate length");
    if (token->type == '%' || token->type == '|')
        token->integer *= 2;
    return 1;
}

/* The types that are one line: + - : _ # , ( */
static int read_line(struct ln_resp_token *token, const char **error) {
    const char *p = token->text;
    switch (token->type) {
    case '+':
    case '-':
        return 1;
    case ':': {
        size_t sign = token->len > 1 && p[0] == '+' && p[1] != '-';
        return ln_resp_parse_integer(p + sign, p + token->len, &token->integer)
                   ? 1
                   : malformed(error, "invalid integer");
    }
    case '_':
        token->null = true;
        return token->len == 0 ? 1 : malformed(error, "invalid null");
    case '#':
        token->integer = token->len == 1 && *p == 't';
        return token->len == 1 && (*p == 't' || *p == 'f') ? 1
                                                           : malformed(error, "invalid boolean");
    case ',':
        return parse_double(p, token->len, &token->number) ? 1 : malformed(error, "invalid double");
    default:
        return is_big_number(p, token->len) ? 1 : malformed(error, "invalid big number");
    }
}

int ln_resp_read_token(const char *data, size_t len, struct ln_resp_token *token, size_t *consumed,
                       const char **error) {
    if (len == 0)
        return 0;
    if (data[0] == '\0' || !strchr("+-:$*_#,(!=%~>|", data[0]))
        return malformed(error, "unknown type of reply");
    size_t stop = len > MAX_LINE ? MAX_LINE : len;
    const char *cr = memchr(data, '\r', stop);
    if (!cr)
        return stop == MAX_LINE ? malformed(error, "too long a line") : 0;
    size_t end = (size_t)(cr - data);
    if (end + 1 == len)
        return 0;
    if (cr[1] != '\n')
        return malformed(error, "a line ends with CR alone");

    struct ln_resp_token t = {.type = data[0], .text = data + 1, .len = end - 1};
    size_t used = end + 2;
    int rc = 0;
    if (!strchr("$!=*%~>|", t.type)) {
        rc = read_line(&t, error);
    } else if (!ln_resp_parse_integer(t.text, cr, &t.integer)) {
        rc = malformed(error, "invalid length");
    } else if (t.integer == -1 && (t.type == '$' || t.type == '*')) {
        t.null = true;
        rc = 1;
    } else {
        rc = strchr("$!=", t.type) ? read_blob(data, len, used, &t, &used, error)
                                   : check_aggregate(&t, error);
    }
    if (rc == 1) {
        *token = t;
        *consumed = used;
    }
    return rc;
}

/* ---- writing */

enum {
    MAX_DIGITS = 20,
    MAX_AROUND = 1 + MAX_DIGITS + 2 + 4 + 2 /* "=123\r\ntxt:" … "\r\n" */
};

static char *put_crlf(char *p) {
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

static char *put_unsigned(char *p, uint64_t value) {
    if (value < 10) {
        *p++ = (char)('0' + value);
        return p;
    }
    char digits[MAX_DIGITS];
    char *d = digits + sizeof digits;
    do {
        *--d = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    size_t n = (size_t)(digits + sizeof digits - d);
    memcpy(p, d, n);
    return p + n;
}

static char *put_header(char *p, char type, uint64_t count) {
    *p++ = type;
    return put_crlf(put_unsigned(p, count));
}

static void commit(struct ln_buffer *b, const char *start, const char *end) {
    ln_buffer_commit(b, (size_t)(end - start));
}

/* Room for len bytes and what stands around them. */
static int reserve(struct ln_buffer *b, size_t len, char **space) {
    if (len > SIZE_MAX / 2)
        return -ENOMEM;
    return ln_buffer_reserve(b, len + MAX_AROUND, space);
}

static int put_line(struct ln_buffer *b, char type, const char *text, size_t len) {
    char *space = NULL;
    int rc = reserve(b, len, &space);
    if (rc != LN_OK)
        return rc;
    char *p = space;
    *p++ = type;
    memcpy(p, text, len);
    for (char *end = p + len; p < end; p++)
        if (*p == '\r' || *p == '\n')
            *p = ' ';
    commit(b, space, put_crlf(p));
    return LN_OK;
}

static int put_count(struct ln_buffer *b, char type, uint64_t count) {
    char *space = NULL;
    int rc = reserve(b, 0, &space);
    if (rc == LN_OK)
        commit(b, space, put_header(space, type, count));
    return rc;
}

int ln_resp_put_status(struct ln_buffer *b, const char *text, size_t len) {
    return put_line(b, '+', text, len);
}

int ln_resp_put_error(struct ln_buffer *b, const char *text, size_t len) {
    return put_line(b, '-', text, len);
}

size_t ln_resp_format_integer(int64_t value, char *out) {
    char *p = out;
    if (value < 0)
        *p++ = '-';
    p = put_unsigned(p, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    return (size_t)(p - out);
}

int ln_resp_put_integer(struct ln_buffer *b, int64_t value) {
    char *space = NULL;
    int rc = reserve(b, 0, &space);
    if (rc != LN_OK)
        return rc;
    char *p = space;
    *p++ = ':';
    p += ln_resp_format_integer(value, p);
    commit(b, space, put_crlf(p));
    return LN_OK;
}

int ln_resp_put_bulk(struct ln_buffer *b, const char *data, size_t len) {
    char *space = NULL;
    int rc = reserve(b, len, &space);
    if (rc != LN_OK)
        return rc;
    char *p = put_header(space, '$', len);
    if (len > 0)
        memcpy(p, data, len);
    commit(b, space, put_crlf(p + len));
    return LN_OK;
}

int ln_resp_put_verbatim(struct ln_buffer *b, const char *text, size_t len, int protocol) {
    static const char format[4] = {'t', 'x', 't', ':'};
    char *space = NULL;
    if (protocol == 2)
        return ln_resp_put_bulk(b, text, len);
    int rc = reserve(b, len, &space);
    if (rc != LN_OK)
        return rc;
    char *p = put_header(space, '=', len + sizeof format);
    memcpy(p, format, sizeof format);
    p += sizeof format;
    if (len > 0)
        memcpy(p, text, len);
    commit(b, space, put_crlf(p + len));
    return LN_OK;
}

int ln_resp_put_null(struct ln_buffer *b, int protocol) {
    return protocol == 2 ? ln_buffer_append(b, "$-1\r\n", 5) : ln_buffer_append(b, "_\r\n", 3);
}

int ln_resp_put_null_array(struct ln_buffer *b, int protocol) {
    return protocol == 2 ? ln_buffer_append(b, "*-1\r\n", 5) : ln_buffer_append(b, "_\r\n", 3);
}

int ln_resp_put_boolean(struct ln_buffer *b, bool value, int protocol) {
    if (protocol == 2)
        return ln_buffer_append(b, value ? ":1\r\n" : ":0\r\n", 4);
    return ln_buffer_append(b, value ? "#t\r\n" : "#f\r\n", 4);
}

/* Most are whole numbers, which take a fifth of the time. Not for -0. */
static bool is_whole(double value) {
    return fabs(value) < 1e15 && value == (double)(int64_t)value && !(value == 0 && signbit(value));
}

int ln_resp_put_double(struct ln_buffer *b, double value, int protocol) {
    char text[40];
    int n = 0;
    if (is_whole(value))
        n = (int)ln_resp_format_integer((int64_t)value, text);
    else if (isnan(value)) /* never "-nan" */
        n = snprintf(text, sizeof text, "nan");
    else
        n = snprintf(text, sizeof text, "%.17g", value);
    assert(n > 0 && (size_t)n < sizeof text);
    return protocol == 2 ? ln_resp_put_bulk(b, text, (size_t)n) : put_line(b, ',', text, (size_t)n);
}

int ln_resp_put_array(struct ln_buffer *b, size_t count) {
    return put_count(b, '*', count);
}

int ln_resp_put_map(struct ln_buffer *b, size_t pairs, int protocol) {
    return protocol == 2 ? put_count(b, '*', (uint64_t)pairs * 2) : put_count(b, '%', pairs);
}

int ln_resp_put_set(struct ln_buffer *b, size_t count, int protocol) {
    return put_count(b, protocol == 2 ? '*' : '~', count);
}

int ln_resp_put_push(struct ln_buffer *b, size_t count, int protocol) {
    return put_count(b, protocol == 2 ? '*' : '>', count);
}
