/* lunode.resp: Lua values to replies of the Redis protocol, and back. */
#include "resp.h"
#include "conn.h"

#include <errno.h>
#include <string.h>

#define STATE_TYPE    "lunode.resp.state"
#define NULL_TYPE     "lunode.resp.null"
#define RAW_TYPE      "lunode.resp.raw"
#define MAP_TYPE      "lunode.resp.map"
#define SET_TYPE      "lunode.resp.set"
#define PUSH_TYPE     "lunode.resp.push"
#define VERBATIM_TYPE "lunode.resp.verbatim"

enum { SCRATCH_KEPT = 64 << 10 };

/* What every function has as its upvalue. Metatables and nulls are told by their address, which is
 * quicker than by their name; the registry and the user values keep them alive. */
struct state {
    struct ln_buffer scratch; /* freed by __gc, so that an error in between leaks nothing */
    const void *null, *null_array;
    const void *raw, *map, *set, *push, *verbatim;
};
enum { USER_NULL = 1, USER_NULL_ARRAY, USER_VALUES = USER_NULL_ARRAY };

static struct state *get_state(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int state_gc(lua_State *L) {
    struct state *state = lua_touserdata(L, 1);
    ln_buffer_free(&state->scratch);
    return 0;
}

/* ---- encoding. Nothing here raises or runs Lua code, so a queue is never left with half a value.
 */

struct encoder {
    lua_State *L;
    const struct state *state;
    struct ln_buffer *out;
    int protocol;
    const char *problem; /* why -EINVAL */
    const char *what;    /* the type it is about, or NULL */
};

static int refuse(struct encoder *e, const char *problem, const char *what) {
    e->problem = problem;
    e->what = what;
    return -EINVAL;
}

static int encode_value(struct encoder *e, int index, int depth);

static const void *metatable_of(lua_State *L, int index) {
    if (!lua_getmetatable(L, index))
        return NULL;
    const void *metatable = lua_topointer(L, -1);
    lua_pop(L, 1);
    return metatable;
}

static int encode_elements(struct encoder *e, int list, lua_Unsigned count, int depth) {
    int rc = LN_OK;
    for (lua_Unsigned i = 1; i <= count && rc == LN_OK; i++) {
        lua_rawgeti(e->L, list, (lua_Integer)i);
        rc = encode_value(e, list + 1, depth);
        lua_settop(e->L, list);
    }
    return rc;
}

/* The list on top of the stack, with a header for what its metatable told it to be. */
static int encode_list(struct encoder *e, const void *kind, int depth) {
    int list = lua_gettop(e->L);
    lua_Unsigned count = lua_rawlen(e->L, list);
    int rc = LN_OK;
    if (kind == e->state->map && count % 2 != 0)
        return refuse(e, "cannot encode a map: its last key has no value", NULL);
    if (kind == e->state->map)
        rc = ln_resp_put_map(e->out, count / 2, e->protocol);
    else if (kind == e->state->set)
        rc = ln_resp_put_set(e->out, count, e->protocol);
    else if (kind == e->state->push)
        rc = ln_resp_put_push(e->out, count, e->protocol);
    else
        rc = ln_resp_put_array(e->out, count);
    return rc == LN_OK ? encode_elements(e, list, count, depth + 1) : rc;
}

static int encode_table(struct encoder *e, int index, int depth) {
    const struct state *state = e->state;
    const void *kind = metatable_of(e->L, index);
    if (depth == LN_RESP_MAX_DEPTH)
        return refuse(e, "cannot encode a table nested this deeply, or inside of itself", NULL);
    if (kind && kind == state->verbatim) {
        size_t len = 0;
        lua_rawgeti(e->L, index, 1);
        const char *text = lua_tolstring(e->L, -1, &len);
        return text ? ln_resp_put_verbatim(e->out, text, len, e->protocol)
                    : refuse(e, "cannot encode a verbatim string without text", NULL);
    }
    if (kind && (kind == state->map || kind == state->set || kind == state->push))
        lua_rawgeti(e->L, index, 1);
    else
        lua_pushvalue(e->L, index);
    if (!lua_istable(e->L, -1))
        return refuse(e, "cannot encode a tagged value without its list", NULL);
    return encode_list(e, kind, depth);
}

static int encode_userdata(struct encoder *e, int index) {
    const void *value = lua_touserdata(e->L, index);
    if (value == e->state->null)
        return ln_resp_put_null(e->out, e->protocol);
    if (value == e->state->null_array)
        return ln_resp_put_null_array(e->out, e->protocol);
    if (metatable_of(e->L, index) == e->state->raw)
        return ln_buffer_append(e->out, value, lua_rawlen(e->L, index));
    return refuse(e, "cannot encode a ", "userdata");
}

/* Appends the value at index, which is absolute. May leave values on the stack. */
static int encode_value(struct encoder *e, int index, int depth) {
    lua_State *L = e->L;
    size_t len = 0;
    switch (lua_type(L, index)) {
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, index, &len);
        return ln_resp_put_bulk(e->out, text, len);
    }
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            return ln_resp_put_integer(e->out, lua_tointeger(L, index));
        return ln_resp_put_double(e->out, lua_tonumber(L, index), e->protocol);
    case LUA_TNIL:
        return ln_resp_put_null(e->out, e->protocol);
    case LUA_TBOOLEAN:
        return ln_resp_put_boolean(e->out, lua_toboolean(L, index), e->protocol);
    case LUA_TUSERDATA:
        return encode_userdata(e, index);
    case LUA_TTABLE:
        return encode_table(e, index, depth);
    default:
        return refuse(e, "cannot encode a ", luaL_typename(L, index));
    }
}

/* Appends the value at index to out, or raises at the caller's level with out as it was. */
static void encode(lua_State *L, struct ln_buffer *out, int index, int protocol) {
    struct encoder e = {.L = L, .state = get_state(L), .out = out, .protocol = protocol};
    size_t len = ln_buffer_len(out);
    int top = lua_gettop(L);
    int rc = LN_OK;
    if (lua_istable(L, index) && !lua_checkstack(L, 4 * (LN_RESP_MAX_DEPTH + 1)))
        rc = -ENOMEM;
    else
        rc = encode_value(&e, index, 0);
    lua_settop(L, top);
    if (rc == LN_OK)
        return;
    ln_buffer_truncate(out, len);
    if (rc == -EINVAL)
        luaL_error(L, "%s%s", e.problem, e.what ? e.what : "");
    luaL_error(L, "%s", ln_status_text(rc));
}

static int check_protocol(lua_State *L, int index) {
    if (lua_isnoneornil(L, index))
        return 2;
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
    int protocol = check_protocol(L, 2);
    luaL_checkany(L, 1);
    encode(L, scratch(L), 1, protocol);
    push_scratch(L);
    return 1;
}

/* conn:write(resp.encode(value)), for connections that are none of ours. */
static int reply_by_write(lua_State *L, int protocol) {
    luaL_argexpected(L, lua_istable(L, 1) || lua_isuserdata(L, 1), 1, LN_CONN_TYPE);
    lua_getfield(L, 1, "write");
    lua_pushvalue(L, 1);
    encode(L, scratch(L), 2, protocol);
    push_scratch(L);
    int base = lua_gettop(L) - 3;
    lua_call(L, 2, LUA_MULTRET);
    return lua_gettop(L) - base;
}

static int resp_reply(lua_State *L) {
    int protocol = check_protocol(L, 3);
    luaL_checkany(L, 2);
    struct ln_conn *conn = ln_conn_test(L, 1);
    if (!conn)
        return reply_by_write(L, protocol);
    if (!conn->stream)
        return ln_conn_push_written(L, -ENOTCONN);
    struct ln_buffer *out = ln_stream_out(conn->stream);
    if (!out) /* the stream knows why */
        return ln_conn_push_written(L, ln_stream_write(conn->stream, "", 0));
    encode(L, out, 2, protocol);
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
    luaL_setmetatable(L, RAW_TYPE);
    struct ln_buffer *b = scratch(L);
    int rc = put(b, text, len);
    if (rc != LN_OK)
        return luaL_error(L, "%s", ln_status_text(rc));
    memcpy(raw, ln_buffer_data(b), ln_buffer_len(b));
    scratch(L);
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
    return make_tagged(L, MAP_TYPE);
}

static int resp_set(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    return make_tagged(L, SET_TYPE);
}

static int resp_push(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    return make_tagged(L, PUSH_TYPE);
}

static int resp_verbatim(lua_State *L) {
    luaL_checkstring(L, 1);
    return make_tagged(L, VERBATIM_TYPE);
}

static int raw_tostring(lua_State *L) {
    const char *bytes = luaL_checkudata(L, 1, RAW_TYPE);
    lua_pushlstring(L, bytes, lua_rawlen(L, 1) - 2);
    return 1;
}

static int null_tostring(lua_State *L) {
    luaL_checkudata(L, 1, NULL_TYPE);
    lua_pushstring(L, lua_touserdata(L, 1) == get_state(L)->null ? "null" : "null array");
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
        lua_getiuservalue(L, lua_upvalueindex(1), USER_NULL);
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

static const luaL_Reg resp_functions[] = {
    {"status", resp_status}, {"error", resp_error}, {"map", resp_map},
    {"set", resp_set},       {"push", resp_push},   {"verbatim", resp_verbatim},
    {"encode", resp_encode}, {"reply", resp_reply}, {"command", resp_command},
    {"decode", resp_decode}, {NULL, NULL}};

/* Makes the metatable called type and returns its address. */
static const void *new_type(lua_State *L, const char *type, lua_CFunction tostring) {
    luaL_newmetatable(L, type);
    if (tostring) {
        lua_pushvalue(L, -2); /* the state */
        lua_pushcclosure(L, tostring, 1);
        lua_setfield(L, -2, "__tostring");
    }
    const void *metatable = lua_topointer(L, -1);
    lua_pop(L, 1);
    return metatable;
}

static const void *new_null(lua_State *L, int user_value) {
    const void *null = lua_newuserdatauv(L, 1, 0);
    luaL_setmetatable(L, NULL_TYPE);
    lua_setiuservalue(L, -2, user_value);
    return null;
}

static void new_state(lua_State *L) {
    struct state *state = lua_newuserdatauv(L, sizeof *state, USER_VALUES);
    *state = (struct state){0};
    luaL_newmetatable(L, STATE_TYPE);
    lua_pushcfunction(L, state_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    state->raw = new_type(L, RAW_TYPE, raw_tostring);
    state->map = new_type(L, MAP_TYPE, NULL);
    state->set = new_type(L, SET_TYPE, NULL);
    state->push = new_type(L, PUSH_TYPE, NULL);
    state->verbatim = new_type(L, VERBATIM_TYPE, NULL);
    new_type(L, NULL_TYPE, null_tostring);
    state->null = new_null(L, USER_NULL);
    state->null_array = new_null(L, USER_NULL_ARRAY);
}

int luaopen_lunode_resp(lua_State *L) {
    luaL_newlibtable(L, resp_functions);
    new_state(L);
    lua_getiuservalue(L, -1, USER_NULL);
    lua_setfield(L, -3, "null");
    lua_getiuservalue(L, -1, USER_NULL_ARRAY);
    lua_setfield(L, -3, "null_array");
    luaL_setfuncs(L, resp_functions, 1);
    lua_getfield(L, -1, "status");
    lua_pushliteral(L, "OK");
    lua_call(L, 1, 1);
    lua_setfield(L, -2, "OK");
    return 1;
}
