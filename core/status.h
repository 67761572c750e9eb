/* Status codes: what every function of the core returns.
 *
 * 0 is success, a negative number is a failure. Failures of the system are -errno; the few that are
 * our own lie below LN_STATUS_OWN. A name such as "ECONNREFUSED" is what scripts see as `code`. */
#ifndef LUNODE_STATUS_H
#define LUNODE_STATUS_H

#define LN_OK         0
#define LN_STATUS_OWN (-5000)

/* X(id, name, value, text): our own codes, beside errno's. Some share errno's name: scripts ask for
 * one code, people read which it was. */
#define LN_STATUS_MAP(X)                                                                           \
    X(EOF, "EOF", LN_STATUS_OWN - 1, "end of stream")                                              \
    X(ENOTFOUND, "ENOTFOUND", LN_STATUS_OWN - 2, "name not found")                                 \
    X(ECORRUPT, "ECORRUPT", LN_STATUS_OWN - 3, "data is damaged")                                  \
    X(EVERSION, "EVERSION", LN_STATUS_OWN - 4, "format is of a newer version")                     \
    X(ELOCKED, "ELOCKED", LN_STATUS_OWN - 5, "locked by another process")                          \
    X(EFOREIGN, "EFOREIGN", LN_STATUS_OWN - 6, "not made by lunode")                               \
    X(ECALLBACK, "ECALLBACK", LN_STATUS_OWN - 7, "a callback raised an error")                     \
    X(ECONNECT_TIMEOUT, "ETIMEDOUT", LN_STATUS_OWN - 8, "connect timeout: no address answered")    \
    X(EIDLE_TIMEOUT, "ETIMEDOUT", LN_STATUS_OWN - 9, "idle timeout: nothing was sent or received") \
    X(EREAD_TIMEOUT, "ETIMEDOUT", LN_STATUS_OWN - 10, "read timeout: nothing was received")        \
    X(EWRITE_TIMEOUT, "ETIMEDOUT", LN_STATUS_OWN - 11, "write timeout: the peer took nothing")     \
    X(ETRY_AGAIN, "EAGAIN", LN_STATUS_OWN - 12, "temporary failure in name resolution")            \
    X(EDNS, "EDNS", LN_STATUS_OWN - 13, "the name server failed")                                  \
    X(EBUSY_NAMES, "ENOBUFS", LN_STATUS_OWN - 14, "too many names are being looked up")            \
    X(ELOOKUP_TIMEOUT, "ETIMEDOUT", LN_STATUS_OWN - 15, "lookup timeout: no name server answered") \
    X(ENO_LOOKUP, "ENOTFOUND", LN_STATUS_OWN - 16,                                                 \
      "listening looks no names up: it needs a numeric address, localhost or unix:/path")          \
    X(EUNIX_LONG, "ENAMETOOLONG", LN_STATUS_OWN - 17,                                              \
      "the path of a Unix socket is too long: 107 bytes at most")                                  \
    X(EUNIX_EMPTY, "EINVAL", LN_STATUS_OWN - 18, "unix: needs a path, as in unix:/run/node.sock")  \
    X(EUNIX_LIVE, "EADDRINUSE", LN_STATUS_OWN - 19,                                                \
      "a server is listening on that socket already")                                              \
    X(EUNIX_FILE, "ENOTSOCK", LN_STATUS_OWN - 20,                                                  \
      "there is a file that is not a socket; it is left as it is")                                 \
    X(EUNIX_UNKNOWN, "EACCES", LN_STATUS_OWN - 21,                                                 \
      "there is a socket that we have no permission to connect to; it is left as it is")           \
    X(EENGINE, "EENGINE", LN_STATUS_OWN - 40, "made with another storage engine")

enum ln_status {
#define LN_STATUS_ENUM(id, name, value, text) LN_##id = (value),
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
