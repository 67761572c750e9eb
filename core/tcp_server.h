/* Listen, and accept into streams. */
#ifndef LUNODE_TCP_SERVER_H
#define LUNODE_TCP_SERVER_H

#include "addr.h"
#include "tcp_stream.h"

#include <sys/types.h>

struct ln_tcp_server;

struct ln_tcp_server_options {
    int backlog;
    bool reuseport;                        /* SO_REUSEPORT: several may listen on one port */
    bool ipv6_only;                        /* else an IPv6 address takes IPv4, too, where it can */
    mode_t mode;                           /* of a Unix socket's file; 0: as the umask has it */
    size_t max_connections;                /* 0: no limit; past it, clients wait in the backlog */
    const struct ln_stream_events *events; /* of the accepted streams; borrowed */
    /* A new connection, OPEN. Required. */
    void (*on_accept)(struct ln_tcp_server *server, struct ln_stream *s, void *arg);
    /* The server is closed and its memory about to go: exactly once. May be NULL. */
    void (*on_close)(struct ln_tcp_server *server, void *arg);
    void *arg;
};

/* Binds and listens. Copies the options. The file of a Unix socket is made and removed as
 * ln_unix_listen has it. When descriptors run out (EMFILE, ENFILE) accepting pauses
 * and is taken up again a little later. LN_OK; -EADDRINUSE, -EACCES, … */
int ln_tcp_listen(struct ln_loop *loop, const struct ln_addr *addr,
                  const struct ln_tcp_server_options *options, struct ln_tcp_server **out);

/* Stops listening, at once, and removes a Unix socket's file. Its connections go on; on_close fires
 * in the closing phase after the last of them has closed. Idempotent. */
void ln_tcp_server_close(struct ln_tcp_server *server);

/* Closes without telling anyone, for owners that go away: no callback follows. */
void ln_tcp_server_discard(struct ln_tcp_server *server);

/* A gate for the output of its connections: see tcp_gate.h. */
void ln_tcp_server_hold(struct ln_tcp_server *server, uint64_t mark);
void ln_tcp_server_release(struct ln_tcp_server *server, uint64_t mark);

size_t ln_tcp_server_connections(const struct ln_tcp_server *server);
int ln_tcp_server_sock(const struct ln_tcp_server *server, struct ln_addr *out);

#endif
