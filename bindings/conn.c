/* Connections as Lua sees them, from either side. Types in lunode.meta.lua. */
#include "conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* User values of a box. */
enum { CALLBACKS = 1, DATA, CONN_VALUES = DATA };

/* ---- from the stream to Lua */

void ln_conn_push(lua_State *L, const struct ln_conn *c) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
    lua_getiuservalue(L, -1, CALLBACKS);
}

void ln_conn_call(lua_State *L, struct ln_conn *c, enum ln_conn_callback which, int nargs) {
    int base = lua_gettop(L) - nargs;
    ln_conn_push(L, c);
    if (lua_rawgeti(L, -1, which) != LUA_TFUNCTION) {
        lua_settop(L, base);
        return;
    }
    lua_replace(L, -2);         /* args…, box, function */
    lua_insert(L, -2);          /* args…, function, box */
    lua_rotate(L, base + 1, 2); /* function, box, args… */
    lua_call(L, nargs + 1, 0);
}

/* One event on its way to Lua. */
struct event {
    struct ln_conn *c;
    enum ln_conn_callback which;
    int status;
    const char *data;
    size_t len, consumed;
};

static int call_event(lua_State *L) {
    struct event *e = lua_touserdata(L, 1);
    int nargs = 0;
    if (e->data) {
        lua_pushlstring(L, e->data, e->len);
        nargs = 1;
    } else if (e->status != LN_OK) {
        lua_pushstring(L, ln_status_text(e->status));
        lua_pushstring(L, ln_status_name(e->status));
        nargs = 2;
    }
    ln_conn_call(L, e->c, e->which, nargs);
    return 0;
}

/* A callback that raised closes its connection, and nothing else. */
static void send_event(struct ln_stream *s, struct event e) {
    e.c = ln_stream_arg(s);
    if (!ln_protect(e.c->main, call_event, &e, 0) && e.which != LN_ON_CLOSE)
        ln_stream_abort(s, LN_ECALLBACK);
}

static void on_connect(struct ln_stream *s, int status) {
    send_event(s, (struct event){.which = LN_ON_CONNECT, .status = status});
}

/* The stream reads unless the script has paused it or a reply has filled its queue. */
void ln_conn_apply_pause(struct ln_conn *c) {
    if (c->paused || c->held)
        ln_stream_pause(c->stream);
    else
        ln_stream_resume(c->stream);
}

static void on_writable(struct ln_stream *s) {
    struct ln_conn *c = ln_stream_arg(s);
    c->held = false;
    ln_conn_apply_pause(c);
    send_event(s, (struct event){.which = LN_ON_WRITABLE});
}

static int has_callback(lua_State *L) {
    struct event *e = lua_touserdata(L, 1);
    ln_conn_push(L, e->c);
    e->consumed = lua_rawgeti(L, -1, e->which) == LUA_TFUNCTION;
    return 0;
}

static void on_end(struct ln_stream *s) {
    struct event e = {.c = ln_stream_arg(s), .which = LN_ON_END};
    if (ln_protect(e.c->main, has_callback, &e, 0) && e.consumed)
        send_event(s, e);
    else
        ln_stream_close(s, LN_OK);
}

static void free_decoder(lua_State *L, struct ln_conn *c) {
    if (c->decoder)
        c->decoder->ops->free(L, c->decoder);
    c->decoder = NULL;
}

static void on_close(struct ln_stream *s, int status) {
    struct ln_conn *c = ln_stream_arg(s);
    send_event(s, (struct event){.which = LN_ON_CLOSE, .status = status});
    c->stream = NULL;
    free_decoder(c->main, c);
    ln_unpin(c->main, &c->ref);
}

static size_t on_read(struct ln_stream *s, const char *data, size_t len) {
    struct event e = {.c = ln_stream_arg(s), .which = LN_ON_READ, .data = data, .len = len};
    if (e.c->decoder)
        return ln_conn_take_messages(e.c, data, len);
    send_event(s, e);
    return len;
}

const struct ln_stream_events ln_conn_events = {
    .on_connect = on_connect,
    .on_read = on_read,
    .on_writable = on_writable,
    .on_end = on_end,
    .on_close = on_close,
};

/* ---- the box */

/* Quicker than to look the metatable up by its name. */
static const char box_tag = 0;

struct ln_conn *ln_conn_test(lua_State *L, int index) {
    return ln_test_tagged(L, index, &box_tag, sizeof(struct ln_conn));
}

static struct ln_conn *check_conn(lua_State *L) {
    return ln_check_tagged(L, &box_tag, sizeof(struct ln_conn), LN_CONN_TYPE);
}

struct ln_conn *ln_conn_new(lua_State *L, int callbacks) {
    callbacks = lua_absindex(L, callbacks);
    struct ln_conn *c = lua_newuserdatauv(L, sizeof *c, CONN_VALUES);
    *c = (struct ln_conn){.tag = &box_tag,
                          .main = ln_lua_main(L),
                          .ref = LUA_NOREF,
                          .settings = LN_DECODER_SETTINGS_DEFAULT};
    luaL_setmetatable(L, LN_CONN_TYPE);
    lua_pushvalue(L, callbacks);
    lua_setiuservalue(L, -2, CALLBACKS);
    return c;
}

static void apply_options(struct ln_stream *s, const struct ln_conn_options *o) {
    ln_stream_set_limits(s, &o->limits);
    (void)ln_stream_set_timeouts(s, &o->timeouts);
    if (o->sets_nodelay)
        (void)ln_stream_set_nodelay(s, o->nodelay);
    if (o->sets_keepalive)
        (void)ln_stream_set_keepalive(s, &o->keepalive);
}

static int open_decoder(lua_State *L, struct ln_conn *c, const struct ln_decoder_options *o) {
    if (!o->ops)
        return LN_OK;
    c->decoder = o->ops->make(L, lua_gettop(L), o);
    if (!c->decoder)
        return -ENOMEM;
    c->decoder->ops = o->ops;
    c->decoder->settings = &c->settings;
    return LN_OK;
}

int ln_conn_open(lua_State *L, int index, struct ln_stream *s, const struct ln_conn_options *o) {
    index = lua_absindex(L, index);
    struct ln_conn *c = lua_touserdata(L, index);
    lua_getiuservalue(L, index, CALLBACKS);
    c->takes_errors = lua_rawgeti(L, -1, LN_ON_ERROR) == LUA_TFUNCTION;
    lua_pop(L, 1);
    c->settings = o->settings;
    int rc = open_decoder(L, c, &o->decoder);
    lua_pop(L, 1);
    if (rc != LN_OK)
        return rc;
    c->ref = ln_pin(L, index); /* may raise, as all before it: the box owns its decoder already */
    apply_options(s, o);
    ln_stream_set_arg(s, c);
    c->stream = s;
    return LN_OK;
}

static int conn_gc(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    if (c->stream)
        ln_stream_discard(c->stream);
    c->stream = NULL;
    free_decoder(L, c);
    return 0;
}

/* ---- methods */

int ln_conn_push_written(lua_State *L, int status) {
    if (status < 0)
        return ln_push_failure(L, status, NULL);
    lua_pushboolean(L, status != LN_STREAM_FULL);
    return 1;
}

static int write_list(lua_State *L, struct ln_stream *s) {
    lua_Integer count = (lua_Integer)lua_rawlen(L, 2);
    for (lua_Integer i = 1; i <= count; i++, lua_pop(L, 1))
        if (lua_rawgeti(L, 2, i) != LUA_TSTRING)
            return luaL_error(L, "bad argument #1 to 'write' (element %I is a %s, not a string)",
                              (LUAI_UACINT)i, luaL_typename(L, -1));
    struct ln_buffer *out = ln_stream_out(s);
    if (!out)
        return ln_conn_push_written(L, ln_stream_write(s, "", 0));
    size_t before = ln_buffer_len(out);
    for (lua_Integer i = 1; i <= count; i++, lua_pop(L, 1)) {
        size_t len;
        lua_rawgeti(L, 2, i);
        const char *data = lua_tolstring(L, -1, &len);
        int rc = ln_buffer_append(out, data, len);
        if (rc != LN_OK) {
            ln_buffer_truncate(out, before);
            return ln_push_failure(L, rc, NULL);
        }
    }
    return ln_conn_push_written(L, ln_stream_wrote(s));
}

static int conn_write(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    if (lua_istable(L, 2) && c->stream)
        return write_list(L, c->stream);
    size_t len = 0;
    const char *data = lua_istable(L, 2) ? "" : luaL_checklstring(L, 2, &len);
    return ln_conn_push_written(L, c->stream ? ln_stream_write(c->stream, data, len) : -ENOTCONN);
}

static int conn_close(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    if (c->stream)
        ln_stream_close(c->stream, LN_OK);
    return 0;
}

static int conn_abort(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    if (c->stream)
        ln_stream_abort(c->stream, LN_OK);
    return 0;
}

static int conn_shutdown(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    if (c->stream)
        (void)ln_stream_shutdown(c->stream);
    return 0;
}

static int conn_pause(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    c->paused = true;
    if (c->stream)
        ln_conn_apply_pause(c);
    return 0;
}

static int conn_resume(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    c->paused = false;
    if (c->stream)
        ln_conn_apply_pause(c);
    return 0;
}

static int conn_set(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (!c->stream)
        return 0;
    struct ln_conn_options o = {.limits = *ln_stream_limits(c->stream),
                                .timeouts = *ln_stream_timeouts(c->stream),
                                .keepalive = *ln_stream_keepalive(c->stream),
                                .settings = c->settings};
    lua_settop(L, 2);
    ln_conn_check_settings(L, 2, &o);
    apply_options(c->stream, &o);
    c->settings = o.settings;
    return 0;
}

uint16_t ln_check_port(lua_State *L, int index, const char *host) {
    if (ln_addr_is_unix(host) && lua_isnoneornil(L, index))
        return 0;
    lua_Integer port = luaL_checkinteger(L, index);
    luaL_argcheck(L, port >= 0 && port <= 65535, index, "port must be from 0 to 65535");
    return (uint16_t)port;
}

const char *ln_check_host(lua_State *L, int index) {
    size_t len = 0;
    const char *host = luaL_checklstring(L, index, &len);
    luaL_argcheck(L, strlen(host) == len, index, "host contains a zero byte");
    return host;
}

int ln_push_addr(lua_State *L, int status, const struct ln_addr *addr) {
    char host[LN_ADDR_TEXT];
    uint16_t port = 0;
    int rc = status == LN_OK ? ln_addr_format(addr, host, sizeof host, &port) : status;
    if (rc != LN_OK)
        return ln_push_failure(L, rc, NULL);
    lua_pushstring(L, host);
    lua_pushinteger(L, port);
    return 2;
}

static int conn_peer(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    struct ln_addr addr;
    return ln_push_addr(L, c->stream ? ln_stream_peer(c->stream, &addr) : -ENOTCONN, &addr);
}

static int conn_sock(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    struct ln_addr addr;
    return ln_push_addr(L, c->stream ? ln_stream_sock(c->stream, &addr) : -ENOTCONN, &addr);
}

static const char *state_name(const struct ln_conn *c) {
    static const char *const names[] = {[LN_STREAM_CONNECTING] = "connecting",
                                        [LN_STREAM_OPEN] = "open",
                                        [LN_STREAM_CLOSING] = "closing"};
    return c->stream ? names[ln_stream_state(c->stream)] : "closed";
}

static int conn_credentials(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    struct ln_stream_stats stats = {.fd = -1};
    if (c->stream)
        ln_stream_stats(c->stream, &stats);
    struct ucred who;
    socklen_t len = sizeof who;
    if (stats.fd < 0)
        return ln_push_failure(L, -ENOTCONN, NULL);
    if (getsockopt(stats.fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return ln_push_failure(L, -errno, NULL);
    if (who.pid == 0) /* as TCP has it */
        return ln_push_failure(L, -EOPNOTSUPP, NULL);
    lua_pushinteger(L, who.pid);
    lua_pushinteger(L, who.uid);
    lua_pushinteger(L, who.gid);
    return 3;
}

static int conn_stats(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    struct ln_stream_stats stats = {.fd = -1};
    if (c->stream)
        ln_stream_stats(c->stream, &stats);
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, (lua_Integer)stats.bytes_read);
    lua_setfield(L, -2, "bytes_read");
    lua_pushinteger(L, (lua_Integer)stats.bytes_written);
    lua_setfield(L, -2, "bytes_written");
    lua_pushinteger(L, (lua_Integer)stats.queued);
    lua_setfield(L, -2, "queued");
    lua_pushinteger(L, (lua_Integer)stats.kept);
    lua_setfield(L, -2, "kept");
    lua_pushinteger(L, stats.fd);
    lua_setfield(L, -2, "fd");
    lua_pushstring(L, state_name(c));
    lua_setfield(L, -2, "state");
    return 1;
}

static int conn_is_open(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    lua_pushboolean(L, c->stream && ln_stream_state(c->stream) == LN_STREAM_OPEN);
    return 1;
}

/* ---- fields: the methods, and `data` */

static int conn_index(lua_State *L) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    if (lua_rawequal(L, 2, lua_upvalueindex(2))) {
        luaL_checkudata(L, 1, LN_CONN_TYPE);
        lua_getiuservalue(L, 1, DATA);
    }
    return 1;
}

static int conn_newindex(lua_State *L) {
    check_conn(L);
    if (!lua_rawequal(L, 2, lua_upvalueindex(2)))
        return luaL_error(L, "a connection has no field '%s' to set; use conn.data",
                          luaL_tolstring(L, 2, NULL));
    lua_settop(L, 3);
    lua_setiuservalue(L, 1, DATA);
    return 0;
}

static int conn_tostring(lua_State *L) {
    struct ln_conn *c = check_conn(L);
    lua_pushfstring(L, "lunode.conn (%s): %p", state_name(c), lua_topointer(L, 1));
    return 1;
}

static const luaL_Reg conn_methods[] = {{"write", conn_write}, {"close", conn_close},
                                        {"abort", conn_abort}, {"shutdown", conn_shutdown},
                                        {"pause", conn_pause}, {"resume", conn_resume},
                                        {"set", conn_set},     {"peer", conn_peer},
                                        {"sock", conn_sock},   {"credentials", conn_credentials},
                                        {"stats", conn_stats}, {"is_open", conn_is_open},
                                        {NULL, NULL}};

static const luaL_Reg conn_meta[] = {
    {"__gc", conn_gc}, {"__close", conn_close}, {"__tostring", conn_tostring}, {NULL, NULL}};

static const luaL_Reg conn_access[] = {
    {"__index", conn_index}, {"__newindex", conn_newindex}, {NULL, NULL}};

void ln_conn_type(lua_State *L) {
    if (luaL_newmetatable(L, LN_CONN_TYPE)) {
        luaL_setfuncs(L, conn_meta, 0);
        luaL_newlib(L, conn_methods);
        lua_pushliteral(L, "data");
        luaL_setfuncs(L, conn_access, 2);
    }
    lua_pop(L, 1);
}
