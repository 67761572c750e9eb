/* Addresses as people write them: numeric IPv4 and IPv6 ("fe80::1%eth0" with its interface),
 * "localhost", "unix:/path" and "unix:@abstract". Knows no other name: those need a resolver. */
#ifndef LUNODE_ADDR_H
#define LUNODE_ADDR_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ln_addr {
    struct sockaddr_storage ss;
    socklen_t len;
};

/* As many addresses of one name are looked at. */
#define LN_ADDR_MAX 16

/* Room for any address as ln_addr_format writes it. */
#define LN_ADDR_TEXT 128

/* Stores the addresses that host stands for, in the order to try them ("localhost", and as RFC 6761
 * has it all names that end in ".localhost": IPv4, then IPv6). Unix sockets have no port.
 *
 * Returns how many; 0 for a name that needs a resolver; LN_ENOTFOUND for one that no resolver would
 * know: empty, malformed, or ".invalid" (RFC 6761); LN_EUNIX_LONG, LN_EUNIX_EMPTY for the path
 * of a Unix socket. */
int ln_addr_parse(const char *host, uint16_t port, struct ln_addr out[LN_ADDR_MAX]);

/* Whether host is written "unix:…". */
bool ln_addr_is_unix(const char *host);

/* Writes the host, terminated, as ln_addr_parse reads it, and stores the port (Unix sockets: 0; one
 * that is bound to nothing is "unix:"). LN_OK, -ENOSPC or -EAFNOSUPPORT. */
int ln_addr_format(const struct ln_addr *addr, char *host, size_t size, uint16_t *port);

/* Sets the port, of an IPv4 or IPv6 address. */
void ln_addr_set_port(struct ln_addr *addr, uint16_t port);

#endif
