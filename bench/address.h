/* Numeric IPv4 addresses as the benchmarks take them: "127.0.0.1:7000". */
#ifndef LUNODE_BENCH_ADDRESS_H
#define LUNODE_BENCH_ADDRESS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static inline bool parse_address(const char *text, struct sockaddr_in *out) {
    char host[INET_ADDRSTRLEN];
    unsigned short port;
    if (sscanf(text, "%15[0-9.]:%hu", host, &port) != 2)
        return false;
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

#endif
