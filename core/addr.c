#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static int parse_ipv4(const char *host, uint16_t port, struct ln_addr *out) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return 0;
    *out = (struct ln_addr){.len = sizeof in};
    memcpy(&out->ss, &in, sizeof in);
    return 1;
}

static int parse_ipv6(const char *host, uint16_t port, struct ln_addr *out) {
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET6, host, &in6.sin6_addr) != 1)
        return 0;
    *out = (struct ln_addr){.len = sizeof in6};
    memcpy(&out->ss, &in6, sizeof in6);
    return 1;
}

int ln_addr_parse(const char *host, uint16_t port, struct ln_addr out[LN_ADDR_MAX]) {
    if (strcmp(host, "localhost") == 0)
        return parse_ipv4("127.0.0.1", port, &out[0]) + parse_ipv6("::1", port, &out[1]);
    if (parse_ipv4(host, port, out) || parse_ipv6(host, port, out))
        return 1;
    return LN_ENOTFOUND;
}

int ln_addr_format(const struct ln_addr *addr, char *host, size_t size, uint16_t *port) {
    const void *numeric = NULL;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    in_port_t net_port = 0;
    if (addr->ss.ss_family == AF_INET) {
        memcpy(&in, &addr->ss, sizeof in);
        numeric = &in.sin_addr;
        net_port = in.sin_port;
    } else if (addr->ss.ss_family == AF_INET6) {
        memcpy(&in6, &addr->ss, sizeof in6);
        numeric = &in6.sin6_addr;
        net_port = in6.sin6_port;
    } else {
        return -EAFNOSUPPORT;
    }
    if (!inet_ntop(addr->ss.ss_family, numeric, host, (socklen_t)size))
        return -errno;
    *port = ntohs(net_port);
    return LN_OK;
}
