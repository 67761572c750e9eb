/* The box of one connection, shared by tcp_client, tcp_server and the encoders that write into it.
 */
#ifndef LUNODE_BINDINGS_CONN_H
#define LUNODE_BINDINGS_CONN_H

#include "common.h"
#include "tcp_stream.h"

#define LN_CONN_TYPE "lunode.conn"

/* One pointer; NULL once the connection has closed. */
struct ln_conn {
    struct ln_stream *stream;
};

/* The box at index, or NULL where the value is no connection (a simulated one, say). Never raises.
 */
struct ln_conn *ln_conn_test(lua_State *L, int index);

/* Pushes what `conn:write` returns for a status of ln_stream_write or ln_stream_wrote. */
int ln_conn_push_written(lua_State *L, int status);

#endif
