/* lunode.msgpack: Lua values to MessagePack, and back. Types in lunode.meta.lua. */
#include "conn.h"
#include "msgpack_value.h"

#include <errno.h>
#include <string.h>

#define STATE_TYPE "lunode.msgpack.state"

enum { SCRATCH_KEPT = 64 << 10 };

/* What every function has as its upvalue; its user value 1 is the types. */
struct state {
    struct ln_buffer scratch; /* freed by __gc, so that an error in between leaks nothing */
    const struct ln_msgpack_types *types;
};

static struct state *get_state(lua_State *L) {
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int state_gc(lua_State *L) {
    struct state *state = lua_touserdata(L, 1);
    ln_buffer_free(&state->scratch);
    return 0;
}

/* ---- encoding */

static void empty_scratch(struct ln_buffer *b) {
    ln_buffer_truncate(b, 0);
    if (b->cap > SCRATCH_KEPT)
        ln_buffer_trim(b);
}

static void push_encoded(lua_State *L, int index) {
    struct ln_buffer *b = &get_state(L)->scratch;
    empty_scratch(b); /* what an error left there */
    ln_msgpack_encode(L, get_state(L)->types, b, index);
    lua_pushlstring(L, ln_buffer_data(b), ln_buffer_len(b));
    empty_scratch(b);
}

static int msgpack_encode(lua_State *L) {
    luaL_checkany(L, 1);
    push_encoded(L, 1);
    return 1;
}

/* conn:write(msgpack.encode(value)), for connections that are none of ours. */
static int write_by_method(lua_State *L) {
    luaL_argexpected(L, lua_istable(L, 1) || lua_isuserdata(L, 1), 1, LN_CONN_TYPE);
    lua_settop(L, 2);
    lua_getfield(L, 1, "write");
    lua_pushvalue(L, 1);
    push_encoded(L, 2);
    lua_call(L, 2, LUA_MULTRET);
    return lua_gettop(L) - 2;
}

static int msgpack_write(lua_State *L) {
    struct ln_conn *conn = ln_conn_test(L, 1);
    luaL_checkany(L, 2);
    if (!conn)
        return write_by_method(L);
    if (!conn->stream)
        return ln_conn_push_written(L, -ENOTCONN);
    struct ln_buffer *out = ln_stream_out(conn->stream);
    if (!out) /* the stream knows why */
        return ln_conn_push_written(L, ln_stream_write(conn->stream, "", 0));
    ln_msgpack_encode(L, get_state(L)->types, out, 2);
    return ln_conn_push_written(L, ln_stream_wrote(conn->stream));
}

/* ---- values with a type of their own */

static int set_tag(lua_State *L, const char *type) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_setmetatable(L, type);
    return 1;
}

static int msgpack_array(lua_State *L) {
    return set_tag(L, LN_MSGPACK_ARRAY_TYPE);
}

static int msgpack_map(lua_State *L) {
    return set_tag(L, LN_MSGPACK_MAP_TYPE);
}

/* The string at index, for a blob. */
static void push_bytes(lua_State *L, int index) {
    luaL_checktype(L, index, LUA_TSTRING);
    luaL_argcheck(L, lua_rawlen(L, index) <= UINT32_MAX, index, "4 GiB or more");
    lua_pushvalue(L, index);
}

static int msgpack_bin(lua_State *L) {
    push_bytes(L, 1);
    ln_msgpack_new_blob(L, LN_MSGPACK_USER_BIN, 0);
    return 1;
}

static int msgpack_ext(lua_State *L) {
    lua_Integer type = luaL_checkinteger(L, 1);
    luaL_argcheck(L, type >= INT8_MIN && type <= INT8_MAX, 1, "a type is from -128 to 127");
    push_bytes(L, 2);
    ln_msgpack_new_blob(L, LN_MSGPACK_USER_EXT, (int8_t)type);
    return 1;
}

static int null_tostring(lua_State *L) {
    lua_pushliteral(L, "null");
    return 1;
}

static int blob_index(lua_State *L) {
    const struct ln_msgpack_blob *blob = lua_touserdata(L, 1);
    bool is_ext = luaL_testudata(L, 1, LN_MSGPACK_EXT_TYPE) != NULL;
    if (!is_ext)
        luaL_checkudata(L, 1, LN_MSGPACK_BIN_TYPE);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "data") == 0)
        lua_getiuservalue(L, 1, 1);
    else if (is_ext && strcmp(key, "type") == 0)
        lua_pushinteger(L, blob->type);
    else
        lua_pushnil(L);
    return 1;
}

static int blob_eq(lua_State *L) {
    const struct ln_msgpack_blob *a = NULL, *b = NULL;
    static const char *const types[] = {LN_MSGPACK_BIN_TYPE, LN_MSGPACK_EXT_TYPE};
    for (int i = 0; i < 2 && !(a && b); i++) {
        a = luaL_testudata(L, 1, types[i]);
        b = luaL_testudata(L, 2, types[i]);
    }
    if (a && b && a->type == b->type) {
        lua_getiuservalue(L, 1, 1);
        lua_getiuservalue(L, 2, 1);
        lua_pushboolean(L, lua_rawequal(L, -1, -2));
    } else {
        lua_pushboolean(L, 0);
    }
    return 1;
}

static int bin_tostring(lua_State *L) {
    luaL_checkudata(L, 1, LN_MSGPACK_BIN_TYPE);
    lua_getiuservalue(L, 1, 1);
    return 1;
}

static int ext_tostring(lua_State *L) {
    const struct ln_msgpack_blob *ext = luaL_checkudata(L, 1, LN_MSGPACK_EXT_TYPE);
    lua_getiuservalue(L, 1, 1);
    lua_pushfstring(L, "ext %d (%I bytes)", ext->type, (LUAI_UACINT)lua_rawlen(L, -1));
    return 1;
}

/* ---- decoding */

struct decode_options {
    bool bin;
    struct ln_msgpack_limits limits;
};

static void check_decode_options(lua_State *L, int index, struct decode_options *o) {
    if (lua_isnoneornil(L, index))
        return;
    luaL_checktype(L, index, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(key, "bin") == 0)
            o->bin = ln_check_boolean(L, key);
        else if (strcmp(key, "max_message") == 0)
            o->limits.max_bytes = (size_t)ln_check_count(L, key, 1, (lua_Integer)1 << 40);
        else if (strcmp(key, "max_values") == 0)
            o->limits.max_values = (uint32_t)ln_check_count(L, key, 1, UINT32_MAX);
        else
            luaL_error(L, "unknown option '%s'", key);
    }
}

static int push_malformed(lua_State *L, const char *why) {
    struct ln_detail detail;
    ln_detail_set(&detail, -EPROTO, "%s", why);
    return ln_push_failure(L, -EPROTO, &detail);
}

static int msgpack_decode(lua_State *L) {
    size_t len = 0, size = 0;
    const char *error = NULL;
    const char *bytes = luaL_checklstring(L, 1, &len);
    lua_Integer position = luaL_optinteger(L, 2, 1);
    luaL_argcheck(L, position >= 1 && (lua_Unsigned)position <= len + 1, 2, "out of range");
    struct decode_options o = {.limits = LN_MSGPACK_LIMITS_DEFAULT};
    check_decode_options(L, 3, &o);
    const char *data = bytes + position - 1;
    struct ln_msgpack_scanner scanner;
    ln_msgpack_scanner_init(&scanner);
    scanner.limits = o.limits;
    int rc = ln_msgpack_scan(&scanner, data, len - (size_t)(position - 1), &size);
    if (rc < 0)
        return push_malformed(L, scanner.error);
    if (rc == 0) {
        lua_pushnil(L);
        return 1;
    }
    if (!ln_msgpack_push(L, data, size, o.bin, &error))
        return push_malformed(L, error);
    lua_pushinteger(L, position + (lua_Integer)size);
    return 2;
}

/* ---- the module */

static const luaL_Reg msgpack_functions[] = {{"encode", msgpack_encode}, {"decode", msgpack_decode},
                                             {"write", msgpack_write},   {"array", msgpack_array},
                                             {"map", msgpack_map},       {"bin", msgpack_bin},
                                             {"ext", msgpack_ext},       {NULL, NULL}};

static const luaL_Reg null_meta[] = {{"__tostring", null_tostring}, {NULL, NULL}};
static const luaL_Reg bin_meta[] = {
    {"__index", blob_index}, {"__eq", blob_eq}, {"__tostring", bin_tostring}, {NULL, NULL}};
static const luaL_Reg ext_meta[] = {
    {"__index", blob_index}, {"__eq", blob_eq}, {"__tostring", ext_tostring}, {NULL, NULL}};

static void set_meta(lua_State *L, const char *type, const luaL_Reg *meta) {
    luaL_getmetatable(L, type);
    luaL_setfuncs(L, meta, 0);
    lua_pop(L, 1);
}

static void push_state(lua_State *L) {
    struct state *state = lua_newuserdatauv(L, sizeof *state, 1);
    *state = (struct state){0};
    luaL_newmetatable(L, STATE_TYPE);
    lua_pushcfunction(L, state_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    state->types = ln_msgpack_push_types(L);
    lua_setiuservalue(L, -2, 1);
}

int luaopen_lunode_msgpack(lua_State *L) {
    luaL_newlibtable(L, msgpack_functions);
    ln_msgpack_push_types(L);
    lua_getiuservalue(L, -1, LN_MSGPACK_USER_NULL);
    lua_setfield(L, -3, "null");
    lua_pop(L, 1);
    set_meta(L, LN_MSGPACK_NULL_TYPE, null_meta);
    set_meta(L, LN_MSGPACK_BIN_TYPE, bin_meta);
    set_meta(L, LN_MSGPACK_EXT_TYPE, ext_meta);
    push_state(L);
    luaL_setfuncs(L, msgpack_functions, 1);
    return 1;
}
