#include "resp_value.h"

#include "view.h"

#include <errno.h>
#include <string.h>

/* The address of this is the types' key in the registry. */
static const char types_key = 0;

/* ---- encoding. Nothing here raises or runs Lua code, so a queue is never left with half a value.
 */

enum {
    ROWS_HEAD = 32,       /* bytes in front of rows, for their head */
    ROWS_KEPT = 64 << 10, /* of memory, from one reply to the next */
};

/* What the view LN_VIEW_ROWS stands for. */
static _Thread_local struct {
    enum ln_resp_kind kind;
    size_t count;
    struct ln_buffer elements; /* behind ROWS_HEAD others */
} rows;

struct encoder {
    lua_State *L;
    const struct ln_resp_types *types;
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
    if (kind == e->types->map && count % 2 != 0)
        return refuse(e, "cannot encode a map: its last key has no value", NULL);
    if (kind == e->types->map)
        rc = ln_resp_put_map(e->out, count / 2, e->protocol);
    else if (kind == e->types->set)
        rc = ln_resp_put_set(e->out, count, e->protocol);
    else if (kind == e->types->push)
        rc = ln_resp_put_push(e->out, count, e->protocol);
    else
        rc = ln_resp_put_array(e->out, count);
    return rc == LN_OK ? encode_elements(e, list, count, depth + 1) : rc;
}

static int encode_table(struct encoder *e, int index, int depth) {
    const struct ln_resp_types *types = e->types;
    const void *kind = ln_metatable(e->L, index);
    if (depth == LN_RESP_MAX_DEPTH)
        return refuse(e, "cannot encode a table nested this deeply, or inside of itself", NULL);
    if (kind && kind == types->verbatim) {
        size_t len = 0;
        lua_rawgeti(e->L, index, 1);
        const char *text = lua_tolstring(e->L, -1, &len);
        return text ? ln_resp_put_verbatim(e->out, text, len, e->protocol)
                    : refuse(e, "cannot encode a verbatim string without text", NULL);
    }
    if (kind && (kind == types->map || kind == types->set || kind == types->push))
        lua_rawgeti(e->L, index, 1);
    else
        lua_pushvalue(e->L, index);
    if (!lua_istable(e->L, -1))
        return refuse(e, "cannot encode a tagged value without its list", NULL);
    return encode_list(e, kind, depth);
}

static int put_kind(struct encoder *e, enum ln_resp_kind kind, size_t count) {
    switch (kind) {
    case LN_RESP_MAP:
        return ln_resp_put_map(e->out, count / 2, e->protocol);
    case LN_RESP_SET:
        return ln_resp_put_set(e->out, count, e->protocol);
    default:
        return ln_resp_put_array(e->out, count);
    }
}

/* The queue's bytes go in front of the elements, and all of them change hands. */
static int move_rows(struct ln_buffer *out) {
    struct ln_buffer *from = &rows.elements;
    size_t before = ln_buffer_len(out), len = ln_buffer_len(from);
    char *room;
    if (before > ROWS_HEAD) {
        int rc = ln_buffer_reserve(from, before, &room);
        if (rc != LN_OK)
            return rc;
        ln_buffer_commit(from, before - ROWS_HEAD);
        memmove(from->base + from->head + before, from->base + from->head + ROWS_HEAD,
                len - ROWS_HEAD);
    } else {
        from->head += ROWS_HEAD - before;
    }
    memcpy(from->base + from->head, ln_buffer_data(out), before);
    ln_buffer_free(out);
    *out = *from;
    ln_buffer_init(from);
    return LN_OK;
}

/* What is large is not copied: hundreds of megabytes need not be there twice. */
static int encode_rows(struct encoder *e) {
    const struct ln_buffer *b = &rows.elements;
    size_t len = ln_buffer_len(b) - ROWS_HEAD;
    int rc = put_kind(e, rows.kind, rows.count);
    if (rc == LN_OK && len > ROWS_KEPT && len > ln_buffer_len(e->out))
        rc = move_rows(e->out);
    else if (rc == LN_OK)
        rc = ln_buffer_append(e->out, ln_buffer_data(b) + ROWS_HEAD, len);
    ln_view_end(LN_VIEW_ROWS);
    ln_resp_rows_trim();
    return rc;
}

static int encode_userdata(struct encoder *e, int index) {
    const void *value = lua_touserdata(e->L, index);
    if (value == e->types->null)
        return ln_resp_put_null(e->out, e->protocol);
    if (value == e->types->null_array)
        return ln_resp_put_null_array(e->out, e->protocol);
    if (ln_metatable(e->L, index) == e->types->raw)
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
    case LUA_TLIGHTUSERDATA: {
        const char *data = NULL;
        if (ln_view_test(L, index, &data, &len))
            return ln_resp_put_bulk(e->out, data, len);
        if (ln_view_is_rows(L, index))
            return encode_rows(e);
        return refuse(e, "cannot encode a ", luaL_typename(L, index));
    }
    case LUA_TUSERDATA:
        return encode_userdata(e, index);
    case LUA_TTABLE:
        return encode_table(e, index, depth);
    default:
        return refuse(e, "cannot encode a ", luaL_typename(L, index));
    }
}

void ln_resp_encode(lua_State *L, const struct ln_resp_types *types, struct ln_buffer *out,
                    int index, int protocol) {
    struct encoder e = {.L = L, .types = types, .out = out, .protocol = protocol};
    index = lua_absindex(L, index);
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

/* ---- the types */

/* Makes the metatable called type and returns its address. */
static const void *new_type(lua_State *L, const char *type) {
    luaL_newmetatable(L, type);
    const void *metatable = lua_topointer(L, -1);
    lua_pop(L, 1);
    return metatable;
}

/* Makes a null as a user value of the userdata on top of the stack. */
static const void *new_null(lua_State *L, int user_value) {
    const void *null = lua_newuserdatauv(L, 1, 0);
    luaL_setmetatable(L, LN_RESP_NULL_TYPE);
    lua_setiuservalue(L, -2, user_value);
    return null;
}

const struct ln_resp_types *ln_resp_push_types(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &types_key) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    struct ln_resp_types *types = lua_newuserdatauv(L, sizeof *types, LN_RESP_USER_VALUES);
    types->raw = new_type(L, LN_RESP_RAW_TYPE);
    types->map = new_type(L, LN_RESP_MAP_TYPE);
    types->set = new_type(L, LN_RESP_SET_TYPE);
    types->push = new_type(L, LN_RESP_PUSH_TYPE);
    types->verbatim = new_type(L, LN_RESP_VERBATIM_TYPE);
    new_type(L, LN_RESP_NULL_TYPE);
    types->null = new_null(L, LN_RESP_USER_NULL);
    types->null_array = new_null(L, LN_RESP_USER_NULL_ARRAY);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &types_key);
    return types;
}

/* ---- rows */

void ln_resp_push_rows(lua_State *L, enum ln_resp_kind kind, size_t count) {
    rows.kind = kind;
    rows.count = count;
    ln_view_push(L, LN_VIEW_ROWS, NULL, 0);
}

void ln_resp_rows_trim(void) {
    if (rows.elements.cap > ROWS_KEPT)
        ln_buffer_free(&rows.elements);
}

struct ln_buffer *ln_resp_rows_begin(void) {
    struct ln_buffer *b = &rows.elements;
    char *room;
    ln_resp_rows_trim();
    ln_buffer_truncate(b, 0);
    if (ln_buffer_reserve(b, ROWS_HEAD, &room) != LN_OK)
        return NULL;
    ln_buffer_commit(b, ROWS_HEAD);
    return b;
}
