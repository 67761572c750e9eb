/* lunode.resp: Lua values to replies of the Redis protocol, and back. */
#include "resp.h"
#include "conn.h"
#include "resp_names.h"
#include "resp_value.h"
#include "view.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define STATE_TYPE "lunode.resp.state"

enum { SCRATCH_KEPT = 64 << 10 };

/* What every function has as its upvalue. */
struct state {
    struct ln_buffer scratch; /* freed by __gc, so that an error in between leaks nothing */
    const struct ln_resp_types *types;
};

/* User values of the state. */
enum { TYPES = 1, STATE_VALUES = TYPES };

static struct state *get_state(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int state_gc(lua_State *L) {
    struct state *state = lua_touserdata(L, 1);
    ln_buffer_free(&state->scratch);
    return 0;
}

static int check_protocol(lua_State *L, int index, int fallback) {
    if (lua_isnoneornil(L, index))
        return fallback;
    lua_Integer protocol = luaL_checkinteger(L, index);
    luaL_argcheck(L, protocol == 2 || protocol == 3, index, "protocol is 2 or 3");
    return (int)protocol;
}

/* Empty. Whoever fills it must not run Lua code, nor collect garbage, before it is read. */
static struct ln_buffer *scratch(lua_State *L) {
    struct ln_buffer *b = &get_state(L)->scratch;
    ln_buffer_truncate(b, 0);
    if (b->cap > SCRATCH_KEPT)
        ln_buffer_trim(b);
    return b;
}

static void push_scratch(lua_State *L) {
    struct ln_buffer *b = &get_state(L)->scratch;
    lua_pushlstring(L, ln_buffer_data(b), ln_buffer_len(b));
    scratch(L); /* a large one is not kept */
}

static int resp_encode(lua_State *L) {
    int protocol = check_protocol(L, 2, 2);
    luaL_checkany(L, 1);
    ln_resp_encode(L, get_state(L)->types, scratch(L), 1, protocol);
    push_scratch(L);
    return 1;
}

/* conn:write(resp.encode(value)), for connections that are none of ours. */
static int reply_by_write(lua_State *L, int protocol) {
    luaL_argexpected(L, lua_istable(L, 1) || lua_isuserdata(L, 1), 1, LN_CONN_TYPE);
    lua_getfield(L, 1, "write");
    lua_pushvalue(L, 1);
    ln_resp_encode(L, get_state(L)->types, scratch(L), 2, protocol);
    push_scratch(L);
    int base = lua_gettop(L) - 3;
    lua_call(L, 2, LUA_MULTRET);
    return lua_gettop(L) - base;
}

/* Of a connection that is none of ours: what its metamethod __protocol returns, if it has one. */
static int foreign_protocol(lua_State *L) {
    int protocol = 2;
    if (luaL_callmeta(L, 1, "__protocol")) {
        protocol = check_protocol(L, -1, 2);
        lua_pop(L, 1);
    }
    return protocol;
}

static int resp_reply(lua_State *L) {
    struct ln_conn *conn = ln_conn_test(L, 1);
    int protocol = check_protocol(L, 3, conn ? conn->settings.protocol : 0);
    if (protocol == 0)
        protocol = foreign_protocol(L);
    luaL_checkany(L, 2);
    if (!conn)
        return reply_by_write(L, protocol);
    if (!conn->stream)
        return ln_conn_push_written(L, -ENOTCONN);
    struct ln_buffer *out = ln_stream_out(conn->stream);
    if (!out) /* the stream knows why */
        return ln_conn_push_written(L, ln_stream_write(conn->stream, "", 0));
    ln_resp_encode(L, get_state(L)->types, out, 2, protocol);
    return ln_conn_push_written(L, ln_stream_wrote(conn->stream));
}

static int resp_command(lua_State *L) {
    int count = lua_gettop(L);
    luaL_argcheck(L, count > 0, 1, "a command has a name");
    for (int i = 1; i <= count; i++) {
        if (lua_type(L, i) != LUA_TSTRING)
            luaL_argexpected(L, lua_type(L, i) == LUA_TNUMBER, i, "string or number");
        lua_tolstring(L, i, NULL); /* may collect garbage: before the scratch is filled */
    }
    struct ln_buffer *out = scratch(L);
    int rc = ln_resp_put_array(out, (size_t)count);
    for (int i = 1; i <= count && rc == LN_OK; i++) {
        size_t len = 0;
        const char *text = lua_tolstring(L, i, &len);
        rc = ln_resp_put_bulk(out, text, len);
    }
    if (rc != LN_OK)
        return luaL_error(L, "%s", ln_status_text(rc));
    push_scratch(L);
    return 1;
}

/* ---- values with a type of their own */

static int make_raw(lua_State *L, int (*put)(struct ln_buffer *, const char *, size_t)) {
    size_t len = 0;
    const char *text = luaL_checklstring(L, 1, &len);
    void *raw = lua_newuserdatauv(L, len + 3, 0); /* may collect garbage: before the scratch */
    luaL_setmetatable(L, LN_RESP_RAW_TYPE);
    struct ln_buffer *b = scratch(L);
    int rc = put(b, text, len);
    if (rc != LN_OK)
        return luaL_error(L, "%s", ln_status_text(rc));
    memcpy(raw, ln_buffer_data(b), ln_buffer_len(b));
    scratch(L);
    return 1;
}

/* Bytes that are replies already. */
static int resp_raw(lua_State *L) {
    size_t len = 0;
    const char *bytes = luaL_checklstring(L, 1, &len);
    void *raw = lua_newuserdatauv(L, len, 0);
    if (len > 0)
        memcpy(raw, bytes, len);
    luaL_setmetatable(L, LN_RESP_RAW_TYPE);
    return 1;
}

static int resp_status(lua_State *L) {
    return make_raw(L, ln_resp_put_status);
}

static int resp_error(lua_State *L) {
    return make_raw(L, ln_resp_put_error);
}

/* The value at 1 inside of a table that tells its kind, so that the caller's own list stays as it
 * is. */
static int make_tagged(lua_State *L, const char *type) {
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    luaL_setmetatable(L, type);
    return 1;
}

static int resp_map(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argcheck(L, lua_rawlen(L, 1) % 2 == 0, 1, "the last key has no value");
    return make_tagged(L, LN_RESP_MAP_TYPE);
}

static int resp_set(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    return make_tagged(L, LN_RESP_SET_TYPE);
}

static int resp_push(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    return make_tagged(L, LN_RESP_PUSH_TYPE);
}

static int resp_verbatim(lua_State *L) {
    luaL_checkstring(L, 1);
    return make_tagged(L, LN_RESP_VERBATIM_TYPE);
}

static int raw_tostring(lua_State *L) {
    const char *bytes = luaL_checkudata(L, 1, LN_RESP_RAW_TYPE);
    size_t len = lua_rawlen(L, 1);
    lua_pushlstring(L, bytes, len >= 2 ? len - 2 : 0);
    return 1;
}

static int null_tostring(lua_State *L) {
    luaL_checkudata(L, 1, LN_RESP_NULL_TYPE);
    lua_pushstring(L, lua_touserdata(L, 1) == get_state(L)->types->null ? "null" : "null array");
    return 1;
}

/* ---- names, and views */

static int resp_names(lua_State *L) {
    return ln_resp_names_new(L);
}

static int resp_words(lua_State *L) {
    int top = lua_gettop(L);
    for (int i = 1; i <= top; i++) {
        size_t count = ln_count_words(L, i), len = 0;
        luaL_checkstack(L, (int)(count < INT_MAX ? count : INT_MAX), "too many words");
        for (size_t k = 0; k < count; k++) {
            const char *word = ln_word_at(L, i, k, &len);
            lua_pushlstring(L, word, len);
        }
    }
    return lua_gettop(L) - top;
}

static int resp_count(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ln_count_words(L, 1));
    return 1;
}

static int resp_integer(lua_State *L) {
    size_t len = 0;
    int64_t n;
    const char *text = ln_check_bytes(L, 1, &len);
    if (ln_resp_parse_integer(text, text + len, &n))
        lua_pushinteger(L, n);
    else
        lua_pushnil(L);
    return 1;
}

/* ---- decoding */

struct decoder {
    lua_State *L;
    const char *data;
    size_t len, pos;
    const char *error;
};

static int decode_value(struct decoder *d, int depth);

static int decode_elements(struct decoder *d, const struct ln_resp_token *t, int depth) {
    lua_State *L = d->L;
    int rc = 1;
    /* Not more room than what has arrived can fill, whatever was announced. */
    size_t most = (d->len - d->pos) / 3 < 64 ? (d->len - d->pos) / 3 : 64;
    lua_createtable(L, t->integer < (int64_t)most ? (int)t->integer : (int)most, t->type != '*');
    if (t->type != '*') {
        lua_pushstring(L, t->type == '%' ? "map" : t->type == '~' ? "set" : "push");
        lua_setfield(L, -2, "kind");
    }
    for (int64_t i = 1; i <= t->integer && rc == 1; i++) {
        rc = decode_value(d, depth);
        if (rc == 1)
            lua_rawseti(L, -2, i);
    }
    return rc;
}

static int decode_aggregate(struct decoder *d, const struct ln_resp_token *t, int depth) {
    if (depth == LN_RESP_MAX_DEPTH) {
        d->error = "nested too deeply";
        return -EPROTO;
    }
    luaL_checkstack(d->L, 8, NULL);
    return decode_elements(d, t, depth + 1);
}

static void push_named(lua_State *L, const char *name, const struct ln_resp_token *t) {
    lua_createtable(L, 0, 1);
    lua_pushlstring(L, t->text, t->len);
    lua_setfield(L, -2, name);
}

static int push_token(struct decoder *d, const struct ln_resp_token *t, int depth) {
    lua_State *L = d->L;
    if (t->null) {
        lua_getiuservalue(L, lua_upvalueindex(1), TYPES);
        lua_getiuservalue(L, -1, LN_RESP_USER_NULL);
        lua_remove(L, -2);
        return 1;
    }
    switch (t->type) {
    case '+':
        push_named(L, "ok", t);
        return 1;
    case '-':
    case '!':
        push_named(L, "err", t);
        return 1;
    case ':':
        lua_pushinteger(L, t->integer);
        return 1;
    case '#':
        lua_pushboolean(L, t->integer != 0);
        return 1;
    case ',':
        lua_pushnumber(L, t->number);
        return 1;
    case '*':
    case '%':
    case '~':
    case '>':
        return decode_aggregate(d, t, depth);
    default: /* $ = ( */
        lua_pushlstring(L, t->text, t->len);
        return 1;
    }
}

/* Pushes one value: 1; 0: more bytes are needed; or -EPROTO. May leave values on the stack. */
static int decode_value(struct decoder *d, int depth) {
    for (;;) {
        struct ln_resp_token t;
        size_t used = 0;
        int rc = ln_resp_read_token(d->data + d->pos, d->len - d->pos, &t, &used, &d->error);
        if (rc != 1)
            return rc;
        d->pos += used;
        if (t.type != '|')
            return push_token(d, &t, depth);
        rc = decode_aggregate(d, &t, depth); /* attributes are read, and passed over */
        if (rc != 1)
            return rc;
        lua_pop(d->L, 1);
    }
}

static int resp_decode(lua_State *L) {
    struct decoder d = {.L = L};
    d.data = luaL_checklstring(L, 1, &d.len);
    lua_Integer position = luaL_optinteger(L, 2, 1);
    luaL_argcheck(L, position >= 1 && (lua_Unsigned)position <= d.len + 1, 2, "out of range");
    d.pos = (size_t)position - 1;
    int rc = decode_value(&d, 0);
    if (rc == 1) {
        lua_pushinteger(L, (lua_Integer)d.pos + 1);
        return 2;
    }
    lua_settop(L, 2);
    if (rc == 0) {
        lua_pushnil(L);
        return 1;
    }
    struct ln_detail detail;
    ln_detail_set(&detail, rc, "%s", d.error);
    return ln_push_failure(L, rc, &detail);
}

/* ---- the module */

static const luaL_Reg resp_functions[] = {{"status", resp_status},   {"error", resp_error},
                                          {"map", resp_map},         {"set", resp_set},
                                          {"push", resp_push},       {"verbatim", resp_verbatim},
                                          {"encode", resp_encode},   {"reply", resp_reply},
                                          {"command", resp_command}, {"decode", resp_decode},
                                          {"names", resp_names},     {"words", resp_words},
                                          {"count", resp_count},     {"integer", resp_integer},
                                          {"raw", resp_raw},         {NULL, NULL}};

static void set_tostring(lua_State *L, const char *type, lua_CFunction tostring) {
    luaL_getmetatable(L, type);
    lua_pushvalue(L, -2); /* the state */
    lua_pushcclosure(L, tostring, 1);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}

static void push_state(lua_State *L) {
    struct state *state = lua_newuserdatauv(L, sizeof *state, STATE_VALUES);
    *state = (struct state){0};
    luaL_newmetatable(L, STATE_TYPE);
    lua_pushcfunction(L, state_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    state->types = ln_resp_push_types(L);
    lua_setiuservalue(L, -2, TYPES);
    set_tostring(L, LN_RESP_RAW_TYPE, raw_tostring);
    set_tostring(L, LN_RESP_NULL_TYPE, null_tostring);
}

int luaopen_lunode_resp(lua_State *L) {
    ln_resp_names_type(L);
    luaL_newlibtable(L, resp_functions);
    ln_resp_push_types(L);
    lua_getiuservalue(L, -1, LN_RESP_USER_NULL);
    lua_setfield(L, -3, "null");
    lua_getiuservalue(L, -1, LN_RESP_USER_NULL_ARRAY);
    lua_setfield(L, -3, "null_array");
    lua_pop(L, 1);
    push_state(L);
    luaL_setfuncs(L, resp_functions, 1);
    lua_getfield(L, -1, "status");
    lua_pushliteral(L, "OK");
    lua_call(L, 1, 1);
    lua_setfield(L, -2, "OK");
    return 1;
}
