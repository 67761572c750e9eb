/* Commands: the reader. */
#include "resp.h"

#include "status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ln_resp_parse_integer(const char *p, const char *end, int64_t *out) {
    bool negative = p < end && *p == '-';
    p += negative;
    if (p == end || (*p == '0' && (negative || end - p > 1)))
        return false;
    uint64_t value = 0;
    for (; p < end; p++) {
        unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit > 9 || __builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    if (value > (uint64_t)INT64_MAX + negative)
        return false;
    *out = (int64_t)(negative ? 0 - value : value);
    return true;
}

enum place { AT_COMMAND, IN_INLINE, IN_COUNT, IN_LENGTH, IN_BULK, AT_ERROR };

enum {
    FIRST_SPANS = 8,
    IDLE_SPANS = 32, /* 256 bytes */
    UNAUTHENTICATED_ARGS = 10,
    UNAUTHENTICATED_BULK = 16384
};

void ln_resp_reader_init(struct ln_resp_reader *r) {
    *r = (struct ln_resp_reader){.limits = LN_RESP_LIMITS_DEFAULT};
}

void ln_resp_reader_free(struct ln_resp_reader *r) {
    free(r->argv);
    free(r->text);
    ln_resp_reader_init(r);
}

__attribute__((format(printf, 2, 3), cold)) static int fail(struct ln_resp_reader *r,
                                                            const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->error, sizeof r->error, format, args);
    va_end(args);
    r->at = AT_ERROR;
    return -EPROTO;
}

/* Spans are allocated for arguments that have arrived, whatever number was announced. */
static int grow(struct ln_resp_reader *r) {
    uint32_t cap = r->cap ? r->cap * 2 : FIRST_SPANS;
    struct ln_resp_span *argv = realloc(r->argv, cap * sizeof *argv);
    if (!argv)
        return -ENOMEM;
    r->argv = argv;
    r->cap = cap;
    return LN_OK;
}

static void drop_text(struct ln_resp_reader *r) {
    if (r->text) {
        free(r->text);
        r->text = NULL;
    }
}

static void rest(struct ln_resp_reader *r) {
    drop_text(r);
    if (r->cap > IDLE_SPANS) {
        free(r->argv);
        r->argv = NULL;
        r->cap = 0;
    }
}

/* Looks for the '\r' of the line at r->start: 1 and where it is, 0, or -EPROTO. The '\n' has
 * arrived too, but is not looked at: neither does Redis. */
static inline int find_line(struct ln_resp_reader *r, const char *data, size_t len,
                            const char *too_big, size_t *end) {
    size_t i = r->scan;
    size_t most = r->limits.max_inline;
    size_t stop = len - r->start > most ? r->start + most + 1 : len;
    while (i < stop && data[i] != '\r')
        i++;
    r->scan = i;
    if (i - r->start > most)
        return fail(r, "%s", too_big);
    if (len - i < 2)
        return 0;
    *end = i;
    return 1;
}

static inline void next_line(struct ln_resp_reader *r, size_t start) {
    r->start = r->scan = start;
}

/* As ln_resp_parse_integer: most counts and lengths are one digit or two. */
static inline bool parse_count(const char *p, const char *end, int64_t *out) {
    unsigned tens = end - p == 2 ? (unsigned)(p[0] - '0') : 0;
    unsigned ones = end > p ? (unsigned)(end[-1] - '0') : 10;
    if (end - p > 2 || tens > 9 || ones > 9 || (tens == 0 && end - p == 2))
        return ln_resp_parse_integer(p, end, out);
    *out = tens * 10 + ones;
    return true;
}

/* "*3": 1, 0 or a failure. A count of zero or less is an empty command. */
static inline int read_count(struct ln_resp_reader *r, const char *data, size_t len) {
    size_t end = 0;
    int64_t count = 0;
    int rc = find_line(r, data, len, "too big mbulk count string", &end);
    if (rc <= 0)
        return rc;
    if (!parse_count(data + r->start + 1, data + end, &count) || count > r->limits.max_args)
        return fail(r, "invalid multibulk length");
    if (r->limits.unauthenticated && count > UNAUTHENTICATED_ARGS)
        return fail(r, "unauthenticated multibulk length");
    next_line(r, end + 2);
    r->left = count > 0 ? (uint32_t)count : 0;
    r->at = IN_LENGTH;
    return 1;
}

/* A byte inside of an error line: it may not end the line, nor the string. */
static int printable(char c) {
    return c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
}

/* "$4" */
static inline int read_length(struct ln_resp_reader *r, const char *data, size_t len) {
    size_t end = 0;
    int64_t bulk = 0;
    int rc = find_line(r, data, len, "too big bulk count string", &end);
    if (rc <= 0)
        return rc;
    if (data[r->start] != '$')
        return fail(r, "expected '$', got '%c'", printable(data[r->start]));
    if (!parse_count(data + r->start + 1, data + end, &bulk) || bulk < 0 ||
        bulk > r->limits.max_bulk || end + (size_t)bulk + 4 > UINT32_MAX)
        return fail(r, "invalid bulk length");
    if (r->limits.unauthenticated && bulk > UNAUTHENTICATED_BULK)
        return fail(r, "unauthenticated bulk length");
    r->start = end + 2;
    r->bulk = (uint32_t)bulk;
    r->at = IN_BULK;
    return 1;
}

static inline int read_bulk(struct ln_resp_reader *r, size_t len) {
    if (len - r->start < (size_t)r->bulk + 2)
        return 0;
    if (r->argc == r->cap && grow(r) != LN_OK)
        return -ENOMEM;
    r->argv[r->argc++] = (struct ln_resp_span){(uint32_t)r->start, r->bulk};
    r->left--;
    next_line(r, r->start + r->bulk + 2);
    r->at = IN_LENGTH;
    return 1;
}

static int read_array(struct ln_resp_reader *r, const char *data, size_t len) {
    int rc = 1;
    if (r->at == IN_COUNT)
        rc = read_count(r, data, len);
    if (rc == 1 && r->at == IN_BULK)
        rc = read_bulk(r, len);
    while (rc == 1 && r->left > 0) {
        rc = read_length(r, data, len);
        if (rc == 1)
            rc = read_bulk(r, len);
    }
    r->base = data;
    return rc;
}

/* ---- inline commands: words split as in redis-cli */

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that the escape at *p (a backslash inside of double quotes, with a byte after it) stands
 * for. */
static char unescape(const char **p, const char *end) {
    static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
    const char *s = *p;
    if (s[1] == 'x' && end - s > 3 && hex(s[2]) >= 0 && hex(s[3]) >= 0) {
        *p = s + 4;
        return (char)(hex(s[2]) * 16 + hex(s[3]));
    }
    *p = s + 2;
    const char *named = memchr(from, s[1], sizeof from - 1);
    if (named)
        return to[named - from];
    return s[1];
}

/* Copies the word at *p to *out, without its quotes; false where they are unbalanced. */
static bool split_word(const char **p, const char *end, char **out) {
    const char *s = *p;
    char *o = *out;
    char quote = 0;
    for (; s < end; s++) {
        if (!quote && (*s == '"' || *s == '\'')) {
            quote = *s;
        } else if (!quote) {
            if (*s == ' ' || *s == '\t' || *s == '\r')
                break;
            *o++ = *s;
        } else if (*s == quote) {
            quote = 0;
            s++;
            if (s < end && !is_blank(*s)) /* a closing quote ends the word */
                return false;
            break;
        } else if (quote == '"' && *s == '\\' && s + 1 < end) {
            *o++ = unescape(&s, end);
            s--;
        } else {
            if (quote == '\'' && *s == '\\' && s + 1 < end && s[1] == '\'')
                s++;
            *o++ = *s;
        }
    }
    *p = s;
    *out = o;
    return quote == 0;
}

static int split_line(struct ln_resp_reader *r, const char *p, const char *end) {
    char *out = r->text;
    for (;;) {
        while (p < end && is_blank(*p))
            p++;
        if (p == end)
            return 1;
        if (r->argc == r->limits.max_args)
            return fail(r, "too big inline request");
        if (r->argc == r->cap && grow(r) != LN_OK)
            return -ENOMEM;
        char *word = out;
        if (!split_word(&p, end, &out))
            return fail(r, "unbalanced quotes in request");
        r->argv[r->argc++] =
            (struct ln_resp_span){(uint32_t)(word - r->text), (uint32_t)(out - word)};
    }
}

static int read_inline(struct ln_resp_reader *r, const char *data, size_t len) {
    size_t most = r->limits.max_inline;
    size_t stop = len > most ? most + 1 : len;
    const char *newline = stop > r->scan ? memchr(data + r->scan, '\n', stop - r->scan) : NULL;
    if (!newline) {
        r->scan = stop;
        return stop > most ? fail(r, "too big inline request") : 0;
    }
    size_t end = (size_t)(newline - data);
    r->start = end + 1;
    if (end > 0 && data[end - 1] == '\r')
        end--;
    if (end == 0)
        return 1;
    r->argc = 0;
    drop_text(r);
    r->text = malloc(end); /* words are never longer than the line */
    if (!r->text)
        return -ENOMEM;
    r->base = r->text;
    return split_line(r, data, data + end);
}

static int read_one(struct ln_resp_reader *r, const char *data, size_t len) {
    switch ((enum place)r->at) {
    case AT_COMMAND:
        if (len == 0) {
            rest(r);
            return 0;
        }
        drop_text(r);
        r->argc = r->left = 0;
        next_line(r, 0);
        r->at = data[0] == '*' ? IN_COUNT : IN_INLINE;
        return r->at == IN_COUNT ? read_array(r, data, len) : read_inline(r, data, len);
    case IN_INLINE:
        return read_inline(r, data, len);
    case IN_COUNT:
    case IN_LENGTH:
    case IN_BULK:
        return read_array(r, data, len);
    case AT_ERROR:
        break;
    }
    return -EPROTO;
}

int ln_resp_read_command(struct ln_resp_reader *r, const char *data, size_t len, size_t *consumed) {
    size_t skipped = 0;
    for (;;) {
        int rc = read_one(r, data + skipped, len - skipped);
        if (rc < 0)
            return rc;
        if (rc == 1) {
            r->at = AT_COMMAND;
            skipped += r->start;
            if (r->argc == 0)
                continue; /* an empty command */
        }
        *consumed = skipped;
        return rc;
    }
}

/* ---- a look ahead */

/* "$4\r\n": where it ends, or NULL. */
static const char *glance_count(const char *p, const char *end, char type, uint32_t *count) {
    const char *digits = p + 1;
    uint32_t n = 0;
    if (p == end || *p != type)
        return NULL;
    for (p = digits; p < end && *p >= '0' && *p <= '9' && p - digits < 9; p++)
        n = n * 10 + (uint32_t)(*p - '0');
    if (p == digits || end - p < 2 || p[0] != '\r' || p[1] != '\n')
        return NULL;
    *count = n;
    return p + 2;
}

static const char *glance_bulk(const char *p, const char *end, const char **text, uint32_t *len) {
    p = glance_count(p, end, '$', len);
    if (!p || (size_t)(end - p) < (size_t)*len + 2)
        return NULL;
    *text = p;
    return p + *len + 2;
}

size_t ln_resp_glance(const char *data, size_t len, struct ln_resp_glance *out) {
    const char *end = data + len, *text;
    uint32_t text_len;
    const char *p = glance_count(data, end, '*', &out->argc);
    if (!p || out->argc < 2)
        return 0;
    p = glance_bulk(p, end, &out->name, &out->name_len);
    for (uint32_t i = 0; p && i + 1 < out->argc; i++)
        p = i < LN_RESP_GLANCE ? glance_bulk(p, end, &out->args[i], &out->lens[i])
                               : glance_bulk(p, end, &text, &text_len);
    return p ? (size_t)(p - data) : 0;
}
