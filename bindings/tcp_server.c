/* lunode.tcp_server: listening, and incoming connections. Types in lunode.meta.lua. */
#include "tcp_server.h"

#include "conn.h"

#include <errno.h>

#define SERVER_TYPE "lunode.server"

struct server_box {
    struct ln_tcp_server *server; /* NULL once it is closed and its connections have gone */
    lua_State *main;
    int ref; /* pins the box while the server lives */
    struct ln_conn_options options;
};

/* User value of a box. */
enum { CALLBACKS = 1 };

struct arrival {
    struct server_box *box;
    struct ln_stream *stream;
    bool taken; /* the stream has its box */
};

static int call_accept(lua_State *L) {
    struct arrival *a = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->box->ref);
    lua_getiuservalue(L, 2, CALLBACKS);
    struct ln_conn *c = ln_conn_new(L, 3);
    int rc = ln_conn_open(L, 4, a->stream, &a->box->options);
    if (rc != LN_OK)
        return luaL_error(L, "cannot accept: %s", ln_status_text(rc));
    a->taken = true;
    ln_conn_call(L, c, LN_ON_CONNECT, 0);
    return 0;
}

static void on_accept(struct ln_tcp_server *server, struct ln_stream *s, void *arg) {
    struct arrival a = {.box = arg, .stream = s};
    (void)server;
    if (ln_protect(a.box->main, call_accept, &a, 0))
        return;
    if (a.taken)
        ln_stream_abort(s, LN_ECALLBACK);
    else
        ln_stream_discard(s);
}

static void on_close(struct ln_tcp_server *server, void *arg) {
    struct server_box *box = arg;
    (void)server;
    box->server = NULL;
    ln_unpin(box->main, &box->ref);
}

static int push_listen_failure(lua_State *L, int rc, const char *host, int port) {
    struct ln_detail detail;
    if (ln_addr_is_unix(host))
        ln_detail_set(&detail, rc, "cannot listen on %s: %s", host, ln_status_text(rc));
    else
        ln_detail_set(&detail, rc, "cannot listen on %s port %d: %s", host, port,
                      ln_status_text(rc));
    return ln_push_failure(L, rc, &detail);
}

static int server_listen(lua_State *L) {
    struct ln_addr addrs[LN_ADDR_MAX];
    const char *host = ln_check_host(L, 1);
    uint16_t port = ln_check_port(L, 2, host);
    luaL_checktype(L, 3, LUA_TTABLE);

    struct server_box *box = lua_newuserdatauv(L, sizeof *box, CALLBACKS);
    *box = (struct server_box){.main = ln_lua_main(L), .ref = LUA_NOREF};
    luaL_setmetatable(L, SERVER_TYPE);
    ln_conn_check_options(L, 3, LN_SERVER, &box->options);
    lua_setiuservalue(L, -2, CALLBACKS);
    box->ref = ln_pin(L, -1);

    struct ln_tcp_server_options options = {.backlog = box->options.backlog,
                                            .reuseport = box->options.reuseport,
                                            .ipv6_only = box->options.ipv6_only,
                                            .mode = box->options.mode,
                                            .max_connections = box->options.max_connections,
                                            .events = &ln_conn_events,
                                            .on_accept = on_accept,
                                            .on_close = on_close,
                                            .arg = box};
    int rc = ln_addr_parse(host, port, addrs);
    if (rc > 0)
        rc = ln_tcp_listen(ln_lua_loop(L), &addrs[0], &options, &box->server);
    else if (rc == 0) /* a name */
        rc = LN_ENO_LOOKUP;
    if (rc != LN_OK) {
        ln_unpin(L, &box->ref);
        return push_listen_failure(L, rc, host, port);
    }
    return 1;
}

static struct server_box *check_server(lua_State *L) {
    return luaL_checkudata(L, 1, SERVER_TYPE);
}

static int server_close(lua_State *L) {
    struct server_box *box = check_server(L);
    if (box->server)
        ln_tcp_server_close(box->server);
    return 0;
}

static int server_gc(lua_State *L) {
    struct server_box *box = check_server(L);
    if (box->server)
        ln_tcp_server_discard(box->server);
    box->server = NULL;
    return 0;
}

static int server_sock(lua_State *L) {
    struct server_box *box = check_server(L);
    struct ln_addr addr;
    return ln_push_addr(L, box->server ? ln_tcp_server_sock(box->server, &addr) : -ENOTCONN, &addr);
}

static int server_connections(lua_State *L) {
    struct server_box *box = check_server(L);
    lua_pushinteger(L, box->server ? (lua_Integer)ln_tcp_server_connections(box->server) : 0);
    return 1;
}

static uint64_t check_mark(lua_State *L) {
    lua_Integer mark = luaL_checkinteger(L, 2);
    luaL_argcheck(L, mark >= 0, 2, "a mark is not negative");
    return (uint64_t)mark;
}

static int server_hold(lua_State *L) {
    struct server_box *box = check_server(L);
    uint64_t mark = check_mark(L);
    if (box->server)
        ln_tcp_server_hold(box->server, mark);
    return 0;
}

static int server_release(lua_State *L) {
    struct server_box *box = check_server(L);
    uint64_t mark = check_mark(L);
    if (box->server)
        ln_tcp_server_release(box->server, mark);
    return 0;
}

static const luaL_Reg server_methods[] = {
    {"close", server_close}, {"sock", server_sock},       {"connections", server_connections},
    {"hold", server_hold},   {"release", server_release}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"listen", server_listen}, {NULL, NULL}};

int luaopen_lunode_tcp_server(lua_State *L) {
    ln_lua_loop(L);
    ln_conn_type(L);
    ln_new_type(L, SERVER_TYPE, server_methods, server_close);
    luaL_getmetatable(L, SERVER_TYPE);
    lua_pushcfunction(L, server_gc); /* at the end of the state nobody is told */
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
