/* Status codes: what every function of the core returns.
 *
 * 0 is success, a negative number is a failure. Failures of the system are -errno; the few that are
 * our own lie below LN_STATUS_OWN. A name such as "ECONNREFUSED" is what scripts see as `code`. */
#ifndef LUNODE_STATUS_H
#define LUNODE_STATUS_H

#define LN_OK         0
#define LN_STATUS_OWN (-5000)

/* X(name, value, text): our own codes, beside errno's. */
#define LN_STATUS_MAP(X)                                                                           \
    X(EOF, LN_STATUS_OWN - 1, "end of stream")                                                     \
    X(ENOTFOUND, LN_STATUS_OWN - 2, "name not found")                                              \
    X(ECORRUPT, LN_STATUS_OWN - 3, "data is damaged")                                              \
    X(EVERSION, LN_STATUS_OWN - 4, "format is of a newer version")                                 \
    X(ELOCKED, LN_STATUS_OWN - 5, "locked by another process")                                     \
    X(EFOREIGN, LN_STATUS_OWN - 6, "not made by lunode")                                           \
    X(ECALLBACK, LN_STATUS_OWN - 7, "a callback raised an error")

enum ln_status {
#define LN_STATUS_ENUM(name, value, text) LN_##name = (value),
    LN_STATUS_MAP(LN_STATUS_ENUM)
#undef LN_STATUS_ENUM
};

/* One sentence about a failure, with its cause, for people. Filled by functions that fail before
 * there is an object that could keep it. */
struct ln_detail {
    char text[512];
};

/* "ECONNREFUSED", "EOF"; "EUNKNOWN" for a number that is no status. Static storage. */
const char *ln_status_name(int status);

/* "Connection refused". Static storage. */
const char *ln_status_text(int status);

/* Formats into detail (which may be NULL) and returns status, so that a failing function can end
 * with `return ln_detail_set(detail, status, "…", …)`. */
int ln_detail_set(struct ln_detail *detail, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
