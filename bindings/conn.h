/* The box of one connection, shared by tcp_client, tcp_server and the encoders that write into it.
 */
#ifndef LUNODE_BINDINGS_CONN_H
#define LUNODE_BINDINGS_CONN_H

#include "conn_options.h"
#include "lua_loop.h"
#include "tcp_stream.h"

#define LN_CONN_TYPE "lunode.conn"

/* The callbacks of a connection: positions in a list, its user value 1, that all connections of a
 * server share. */
enum ln_conn_callback {
    LN_ON_CONNECT = 1,
    LN_ON_READ,
    LN_ON_WRITABLE,
    LN_ON_END,
    LN_ON_CLOSE,
    LN_ON_MESSAGE,
    LN_ON_LONG_MESSAGE,
    LN_ON_SHORT_MESSAGE,
    LN_ON_BAD_MESSAGE,
    LN_ON_ERROR,
    LN_CALLBACKS, /* how many, plus one */
    /* no callbacks, but in the same list: */
    LN_DECODER = LN_CALLBACKS, /* a decoder that is a function */
    LN_NAMES,                  /* what a decoder looks names up in */
    LN_AHEAD,                  /* rows that it looks ahead for */
};

struct ln_conn {
    const void *tag;          /* tells a box from other userdata of its size */
    struct ln_stream *stream; /* NULL once the connection has closed */
    lua_State *main;
    int ref;                    /* pins the box while the stream lives */
    struct ln_decoder *decoder; /* NULL: raw reads */
    struct ln_decoder_settings settings;
    bool paused;       /* by the script */
    bool held;         /* by a reply that filled the queue */
    bool takes_errors; /* there is an on_error */
};

/* The events that lead from a stream to its box, which is the stream's arg. */
extern const struct ln_stream_events ln_conn_events;

/* Pushes a closed box whose callbacks are the list at index. */
struct ln_conn *ln_conn_new(lua_State *L, int callbacks);

/* Opens the box at index: it takes the stream over and is pinned. On failure (-ENOMEM) the stream
 * is still the caller's. */
int ln_conn_open(lua_State *L, int index, struct ln_stream *s,
                 const struct ln_conn_options *options);

/* The box at index, or NULL where the value is no connection (a simulated one, say). Never raises.
 */
struct ln_conn *ln_conn_test(lua_State *L, int index);

/* Pushes what `conn:write` returns for a status of ln_stream_write or ln_stream_wrote. */
int ln_conn_push_written(lua_State *L, int status);

/* Calls the callback, if there is one, with the box and nargs values from the top of the stack;
 * pops them. Raises what it raises. Runs inside of ln_protect. */
void ln_conn_call(lua_State *L, struct ln_conn *c, enum ln_conn_callback which, int nargs);

/* The host and the port that a script gives; a Unix socket needs no port. Raise on other values. */
const char *ln_check_host(lua_State *L, int index);
uint16_t ln_check_port(lua_State *L, int index, const char *host);

/* Pushes the box of a connection that is open, and its list of callbacks. */
void ln_conn_push(lua_State *L, const struct ln_conn *c);

/* Makes the stream read or not, as paused and held tell. */
void ln_conn_apply_pause(struct ln_conn *c);

/* Decodes bytes that have arrived, and calls on_message for each message: returns how many bytes
 * were taken. In conn_messages.c. */
size_t ln_conn_take_messages(struct ln_conn *c, const char *data, size_t len);

/* Pushes host and port; or nil, message, code. */
int ln_push_addr(lua_State *L, int status, const struct ln_addr *addr);

/* Creates the type of connections, once per state. */
void ln_conn_type(lua_State *L);

#endif
