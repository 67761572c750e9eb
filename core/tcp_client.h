/* The non-blocking client: a connect in all its outcomes, then a stream. */
#ifndef LUNODE_TCP_CLIENT_H
#define LUNODE_TCP_CLIENT_H

#include "addr.h"
#include "tcp_stream.h"

/* Starts to connect and returns at once. Copies the addresses, borrows events (static storage, as a
 * rule).
 *
 * Each address is tried in turn: EINPROGRESS waits until the socket is writable and then asks
 * SO_ERROR; an immediate 0 is the same success. on_connect hears exactly once, never within this
 * call: LN_OK; the last address's error; LN_ECONNECT_TIMEOUT after `timeout` nanoseconds for all of
 * them; -ECANCELED when the caller closed first; LN_ENOTFOUND for a name that stands for no address
 * (count is then that status). A failure also reaches on_close.
 *
 * Returns LN_OK and stores the stream; or -ENOMEM, and then no callback follows. */
int ln_tcp_connect(struct ln_loop *loop, const struct ln_addr *addrs, int count, int64_t timeout,
                   const struct ln_stream_events *events, void *arg, struct ln_stream **out);

#endif
