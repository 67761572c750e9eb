/* The non-blocking client: a connect in all its outcomes, then a stream. */
#ifndef LUNODE_TCP_CLIENT_H
#define LUNODE_TCP_CLIENT_H

#include "addr.h"
#include "resolver.h"
#include "tcp_stream.h"

/* The head start of an address before the next one is tried beside it (RFC 8305, section 5). */
#define LN_CONNECT_DELAY (LN_SECOND / 4)

/* Starts to connect and returns at once. Copies the addresses, borrows events (static storage, as a
 * rule).
 *
 * The addresses are tried in turn. Each has a head start of LN_CONNECT_DELAY; the next one begins
 * when that is over, or at once when one fails. The first to succeed is the connection, the others
 * are closed. One attempt: EINPROGRESS waits until the socket is writable and then asks SO_ERROR;
 * an immediate 0 is the same success; a Unix socket whose backlog is full is tried again, until the
 * timeout.
 *
 * on_connect hears exactly once, never within this call: LN_OK; the last address's error (one that
 * only says that there is no way to its family counts less than others); LN_ECONNECT_TIMEOUT after
 * `timeout` nanoseconds for all of it; -ECANCELED when the caller closed first; where there is no
 * address, count, if it is a status, else LN_ENOTFOUND. A failure also reaches on_close.
 *
 * Returns LN_OK and stores the stream; or -ENOMEM, and then no callback follows. */
int ln_tcp_connect(struct ln_loop *loop, const struct ln_addr *addrs, int count, int64_t timeout,
                   const struct ln_stream_events *events, void *arg, struct ln_stream **out);

/* As ln_tcp_connect, for a host as people write it (see ln_addr_parse): a name is looked up first,
 * within the same timeout, and then LN_ELOOKUP_TIMEOUT, LN_ETRY_AGAIN, … may be the outcome (see
 * ln_lookup_fn). Copies host. REQUIRES: the resolver is of the same loop, and open. */
int ln_tcp_connect_host(struct ln_loop *loop, struct ln_resolver *resolver, const char *host,
                        uint16_t port, int64_t timeout, const struct ln_stream_events *events,
                        void *arg, struct ln_stream **out);

#endif
