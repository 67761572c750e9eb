/* What scripts can say of connections. */
#ifndef LUNODE_BINDINGS_CONN_OPTIONS_H
#define LUNODE_BINDINGS_CONN_OPTIONS_H

#include "decoder.h"
#include "tcp_stream.h"

/* Some options are for one side only. */
enum ln_conn_side { LN_CLIENT, LN_SERVER };

/* What a table of options holds beside callbacks. */
struct ln_conn_options {
    struct ln_stream_limits limits;
    struct ln_stream_timeouts timeouts;
    struct ln_stream_keepalive keepalive;
    bool nodelay, sets_nodelay, sets_keepalive; /* these are applied only where they were given */
    struct ln_decoder_options decoder;
    struct ln_decoder_settings settings;
    /* LN_CLIENT */
    int64_t connect_timeout;
    /* LN_SERVER */
    int backlog;
    size_t max_connections;
    bool reuseport, ipv6_only;
    mode_t mode; /* of a Unix socket's file; 0: not given */
};

/* Reads the options and callbacks at index, a table; pushes the list of callbacks. Raises on a key
 * it does not know, and on values of the wrong type. */
void ln_conn_check_options(lua_State *L, int index, enum ln_conn_side side,
                           struct ln_conn_options *options);

/* Reads the table at index for an open connection, into what holds its settings as they are. Raises
 * as above. */
void ln_conn_check_settings(lua_State *L, int index, struct ln_conn_options *options);

#endif
