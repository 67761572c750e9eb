/* Addresses as people write them. Numeric IPv4 and IPv6, and "localhost"; other names need a
 * resolver. */
#ifndef LUNODE_ADDR_H
#define LUNODE_ADDR_H

#include "status.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ln_addr {
    struct sockaddr_storage ss;
    socklen_t len;
};

#define LN_ADDR_MAX 2

/* Stores the addresses a name stands for, in the order to try them ("localhost": IPv4, then IPv6).
 * Returns how many, or LN_ENOTFOUND. */
int ln_addr_parse(const char *host, uint16_t port, struct ln_addr out[LN_ADDR_MAX]);

/* Writes the numeric host, terminated, and stores the port. LN_OK or -EAFNOSUPPORT. */
int ln_addr_format(const struct ln_addr *addr, char *host, size_t size, uint16_t *port);

#endif
