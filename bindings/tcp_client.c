/* lunode.tcp_client: outgoing connections. Types in lunode.meta.lua. */
#include "tcp_client.h"
#include "conn.h"
#include "resolver.h"

#define RESOLVER_TYPE "lunode.resolver"

/* The address of this is the resolver's key in the registry: a state has one, which connect has as
 * its upvalue. */
static const char resolver_key = 0;

struct resolver_box {
    struct ln_resolver *resolver; /* NULL: the state is closing */
};

static int resolver_gc(lua_State *L) {
    struct resolver_box *box = luaL_checkudata(L, 1, RESOLVER_TYPE);
    if (box->resolver)
        ln_resolver_close(box->resolver);
    box->resolver = NULL;
    return 0;
}

static void push_resolver(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &resolver_key) == LUA_TUSERDATA)
        return;
    lua_pop(L, 1);
    struct resolver_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->resolver = NULL;
    if (luaL_newmetatable(L, RESOLVER_TYPE)) {
        lua_pushcfunction(L, resolver_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    int rc = ln_resolver_open(ln_lua_loop(L), &box->resolver);
    if (rc != LN_OK)
        luaL_error(L, "cannot make the resolver: %s", ln_status_text(rc));
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &resolver_key);
}

static int client_connect(lua_State *L) {
    struct ln_conn_options options;
    const char *host = ln_check_host(L, 1);
    uint16_t port = ln_check_port(L, 2, host);
    ln_conn_check_options(L, 3, LN_CLIENT, &options);
    const struct resolver_box *box = lua_touserdata(L, lua_upvalueindex(1));
    if (!box->resolver) /* a finalizer that runs after ours */
        return luaL_error(L, "cannot connect: the Lua state is closing");

    struct ln_conn *c = ln_conn_new(L, -1);
    struct ln_stream *s = NULL;
    int rc = ln_tcp_connect_host(ln_lua_loop(L), box->resolver, host, port, options.connect_timeout,
                                 &ln_conn_events, c, &s);
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
    ln_lua_loop(L); /* made first, so that it goes last */
    ln_conn_type(L);
    luaL_newlibtable(L, functions);
    push_resolver(L);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
