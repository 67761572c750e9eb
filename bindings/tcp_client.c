/* lunode.tcp_client: outgoing connections. Types in lunode.meta.lua. */
#include "tcp_client.h"
#include "conn.h"

static int client_connect(lua_State *L) {
    struct ln_conn_options options;
    struct ln_addr addrs[LN_ADDR_MAX];
    const char *host = luaL_checkstring(L, 1);
    lua_Integer port = luaL_checkinteger(L, 2);
    luaL_argcheck(L, port >= 0 && port <= 65535, 2, "port must be from 0 to 65535");
    ln_conn_check_options(L, 3, LN_CLIENT, &options);

    struct ln_conn *c = ln_conn_new(L, -1);
    struct ln_stream *s = NULL;
    int count = ln_addr_parse(host, (uint16_t)port, addrs);
    int rc = ln_tcp_connect(ln_lua_loop(L), addrs, count, options.connect_timeout, &ln_conn_events,
                            c, &s);
    if (rc == LN_OK) {
        rc = ln_conn_open(L, -1, s, &options);
        if (rc != LN_OK)
            ln_stream_discard(s);
    }
    if (rc != LN_OK)
        return luaL_error(L, "cannot connect: %s", ln_status_text(rc));
    return 1;
}

static const luaL_Reg functions[] = {{"connect", client_connect}, {NULL, NULL}};

int luaopen_lunode_tcp_client(lua_State *L) {
    ln_lua_loop(L);
    ln_conn_type(L);
    luaL_newlib(L, functions);
    return 1;
}
