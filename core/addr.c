#include "addr.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define UNIX_PREFIX "unix:"
enum { PREFIX_LEN = sizeof UNIX_PREFIX - 1, MAX_NAME = 253, MAX_LABEL = 63 };

/* ---- reading */

static int parse_ipv4(const char *host, uint16_t port, struct ln_addr *out) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return 0;
    *out = (struct ln_addr){.len = sizeof in};
    memcpy(&out->ss, &in, sizeof in);
    return 1;
}

/* The interface of a link-local address, by name or by number; 0: there is none such. */
static uint32_t parse_scope(const char *text) {
    char *end = NULL;
    uint32_t scope = if_nametoindex(text);
    if (scope == 0 && isdigit((unsigned char)*text)) {
        unsigned long number = strtoul(text, &end, 10);
        scope = *end == '\0' && number <= UINT32_MAX ? (uint32_t)number : 0;
    }
    return scope;
}

static int parse_ipv6(const char *host, uint16_t port, struct ln_addr *out) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    char numeric[INET6_ADDRSTRLEN];
    const char *percent = strchr(host, '%');
    size_t len = percent ? (size_t)(percent - host) : strlen(host);
    if (len >= sizeof numeric)
        return 0;
    memcpy(numeric, host, len);
    numeric[len] = '\0';
    if (inet_pton(AF_INET6, numeric, &in6.sin6_addr) != 1)
        return 0;
    if (percent && (in6.sin6_scope_id = parse_scope(percent + 1)) == 0)
        return 0;
    *out = (struct ln_addr){.len = sizeof in6};
    memcpy(&out->ss, &in6, sizeof in6);
    return 1;
}

bool ln_addr_is_unix(const char *host) {
    return strncmp(host, UNIX_PREFIX, PREFIX_LEN) == 0;
}

static int parse_unix(const char *path, struct ln_addr *out) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    bool abstract = path[0] == '@';
    if (len <= (size_t)abstract)
        return LN_EUNIX_EMPTY;
    /* A path ends with its zero; an abstract name begins with one, and its length says the rest. */
    if (len + !abstract > sizeof un.sun_path)
        return LN_EUNIX_LONG;
    memcpy(un.sun_path, path, len);
    if (abstract)
        un.sun_path[0] = '\0';
    *out = (struct ln_addr){
        .len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !abstract)};
    memcpy(&out->ss, &un, sizeof un);
    return 1;
}

/* Whether host ends in the label `top`. */
static bool is_under(const char *host, size_t len, const char *top) {
    size_t n = strlen(top);
    return len >= n && strncasecmp(host + len - n, top, n) == 0 &&
           (len == n || host[len - n - 1] == '.');
}

/* Whether a resolver could know the name. What ends in a number is a numeric address, or nothing:
 * getaddrinfo would take "1.2.3" for 1.2.0.3. */
static bool is_name(const char *host, size_t len) {
    size_t label = 0;
    bool digits = true;
    if (len == 0 || len > MAX_NAME)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)host[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
            digits = true;
            continue;
        }
        if (!isalnum(c) && c != '-' && c != '_' && c < 0x80)
            return false;
        bool hex = label == 1 && host[i - 1] == '0' && (c == 'x' || c == 'X');
        digits = digits && (isdigit(c) || hex);
        if (++label > MAX_LABEL)
            return false;
    }
    return label > 0 && !digits;
}

int ln_addr_parse(const char *host, uint16_t port, struct ln_addr out[LN_ADDR_MAX]) {
    if (ln_addr_is_unix(host))
        return parse_unix(host + PREFIX_LEN, out);
    if (parse_ipv4(host, port, out) || parse_ipv6(host, port, out))
        return 1;
    size_t len = strlen(host);
    if (len > 0 && host[len - 1] == '.') /* the root: "localhost." is the same */
        len--;
    if (!is_name(host, len) || is_under(host, len, "invalid"))
        return LN_ENOTFOUND;
    if (is_under(host, len, "localhost"))
        return parse_ipv4("127.0.0.1", port, &out[0]) + parse_ipv6("::1", port, &out[1]);
    return 0;
}

/* ---- writing */

static int written(int len, size_t size) {
    return len >= 0 && (size_t)len < size ? LN_OK : -ENOSPC;
}

static int format_unix(const struct ln_addr *addr, char *host, size_t size) {
    struct sockaddr_un un;
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t len = addr->len > start ? addr->len - start : 0;
    memcpy(&un, &addr->ss, sizeof un);
    if (len > sizeof un.sun_path)
        len = sizeof un.sun_path;
    if (len > 0 && un.sun_path[0] == '\0')
        return written(snprintf(host, size, UNIX_PREFIX "@%.*s", (int)len - 1, un.sun_path + 1),
                       size);
    return written(snprintf(host, size, UNIX_PREFIX "%.*s", (int)len, un.sun_path), size);
}

static int format_ipv6(const struct sockaddr_in6 *in6, char *host, size_t size) {
    char scope[IF_NAMESIZE];
    if (!inet_ntop(AF_INET6, &in6->sin6_addr, host, (socklen_t)size))
        return -errno;
    if (in6->sin6_scope_id == 0)
        return LN_OK;
    if (!if_indextoname(in6->sin6_scope_id, scope)) /* it may be gone by now */
        (void)snprintf(scope, sizeof scope, "%u", (unsigned)in6->sin6_scope_id);
    size_t len = strlen(host);
    return written(snprintf(host + len, size - len, "%%%s", scope), size - len);
}

int ln_addr_format(const struct ln_addr *addr, char *host, size_t size, uint16_t *port) {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    uint16_t found = 0;
    int rc = -EAFNOSUPPORT;
    if (addr->ss.ss_family == AF_INET) {
        memcpy(&in, &addr->ss, sizeof in);
        found = ntohs(in.sin_port);
        rc = inet_ntop(AF_INET, &in.sin_addr, host, (socklen_t)size) ? LN_OK : -errno;
    } else if (addr->ss.ss_family == AF_INET6) {
        memcpy(&in6, &addr->ss, sizeof in6);
        found = ntohs(in6.sin6_port);
        rc = format_ipv6(&in6, host, size);
    } else if (addr->ss.ss_family == AF_UNIX) {
        rc = format_unix(addr, host, size);
    }
    if (rc == LN_OK)
        *port = found;
    return rc;
}

/* The port lies at the same place in both. */
void ln_addr_set_port(struct ln_addr *addr, uint16_t port) {
    struct sockaddr_in in;
    memcpy(&in, &addr->ss, sizeof in);
    in.sin_port = htons(port);
    memcpy(&addr->ss, &in, sizeof in);
}
