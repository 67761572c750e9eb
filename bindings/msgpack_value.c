#include "msgpack_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The address of this is the types' key in the registry. */
static const char types_key = 0;

/* A table that holds itself often would fill the memory before it is found to be too deep. */
enum { MOST_ENCODED = 1 << 30 };

/* ---- encoding. Nothing here raises or runs Lua code, so a queue is never left with half a value.
 */

struct encoder {
    lua_State *L;
    const struct ln_msgpack_types *types;
    struct ln_buffer *out;
    size_t start;
    int n;               /* where the string "n" is: to push it anew could collect garbage */
    const char *problem; /* why -EINVAL */
    const char *what;    /* the type it is about, or NULL */
};

static int refuse(struct encoder *e, const char *problem, const char *what) {
    e->problem = problem;
    e->what = what;
    return -EINVAL;
}

static int encode_value(struct encoder *e, int index, int depth);

/* ---- maps. Their pairs are encoded as they come, and then put in the order of the bytes of their
 * keys, so that nothing depends on the order of `pairs`. */

struct pair {
    size_t start, end; /* in the pairs' bytes */
};

static int compare_pairs(const void *a, const void *b, void *arg) {
    const struct pair *p = a, *q = b;
    const char *bytes = arg;
    size_t p_len = p->end - p->start, q_len = q->end - q->start;
    int order = memcmp(bytes + p->start, bytes + q->start, p_len < q_len ? p_len : q_len);
    /* No key is the beginning of another, so this compares keys; equal ones (of two bin objects,
     * say) by their values. */
    return order != 0 ? order : (p_len > q_len) - (p_len < q_len);
}

static int sort_pairs(struct encoder *e, struct pair *pairs, size_t count, size_t start) {
    char *bytes = e->out->base + e->out->head + start;
    size_t size = ln_buffer_len(e->out) - start, at = 0;
    bool sorted = true;
    for (size_t i = 1; i < count && sorted; i++)
        sorted = compare_pairs(&pairs[i - 1], &pairs[i], bytes) <= 0;
    if (sorted)
        return LN_OK;
    char *copy = malloc(size);
    if (!copy)
        return -ENOMEM;
    qsort_r(pairs, count, sizeof *pairs, compare_pairs, bytes);
    for (size_t i = 0; i < count; i++) {
        memcpy(copy + at, bytes + pairs[i].start, pairs[i].end - pairs[i].start);
        at += pairs[i].end - pairs[i].start;
    }
    memcpy(bytes, copy, size);
    free(copy);
    return LN_OK;
}

static int encode_pairs(struct encoder *e, int table, size_t count, int depth) {
    enum { FEW = 16 };
    struct pair few[FEW];
    struct pair *pairs = count <= FEW ? few : malloc(count * sizeof *pairs);
    size_t start = ln_buffer_len(e->out), n = 0;
    int rc = pairs ? LN_OK : -ENOMEM;
    lua_pushnil(e->L);
    while (rc == LN_OK && lua_next(e->L, table) != 0) {
        struct pair *p = &pairs[n++];
        p->start = ln_buffer_len(e->out) - start;
        rc = encode_value(e, table + 1, depth);
        if (rc == LN_OK)
            rc = encode_value(e, table + 2, depth);
        p->end = ln_buffer_len(e->out) - start;
        lua_settop(e->L, table + 1);
    }
    lua_settop(e->L, table);
    if (rc == LN_OK && n > 1)
        rc = sort_pairs(e, pairs, n, start);
    if (pairs != few)
        free(pairs);
    return rc;
}

/* ---- tables */

/* Counts the pairs, and tells whether their keys are 1 … n. */
static size_t count_pairs(lua_State *L, int table, bool *is_array) {
    lua_Integer last = (lua_Integer)lua_rawlen(L, table);
    size_t count = 0, inside = 0;
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        count++;
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= last)
            inside++;
    }
    *is_array = count == inside && inside == (size_t)last;
    return count;
}

/* A tagged array may have holes, where its field n tells its length, as table.pack does. */
static lua_Integer array_length(struct encoder *e, int table) {
    lua_State *L = e->L;
    lua_Integer n = (lua_Integer)lua_rawlen(L, table);
    lua_pushvalue(L, e->n);
    lua_rawget(L, table);
    if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0)
        n = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

static int encode_array(struct encoder *e, int table, lua_Integer count, int depth) {
    int rc = ln_msgpack_put_array(e->out, (uint32_t)count);
    for (lua_Integer i = 1; i <= count && rc == LN_OK; i++) {
        lua_rawgeti(e->L, table, i);
        rc = encode_value(e, table + 1, depth);
        lua_settop(e->L, table);
    }
    return rc;
}

static int encode_table(struct encoder *e, int index, int depth) {
    lua_State *L = e->L;
    bool is_array = false;
    if (depth == LN_MSGPACK_MAX_DEPTH)
        return refuse(e, "cannot encode a table nested more than 32 deep, or inside of itself",
                      NULL);
    const void *tag = ln_metatable(L, index);
    lua_pushvalue(L, index);
    int table = lua_gettop(L);
    size_t count = tag && tag == e->types->array ? (size_t)array_length(e, table)
                                                 : count_pairs(L, table, &is_array);
    if (count > MOST_ENCODED)
        return refuse(e, "cannot encode a table of so many values", NULL);
    if (tag && (tag == e->types->array || tag == e->types->map))
        is_array = tag == e->types->array;
    if (is_array)
        return encode_array(e, table, (lua_Integer)count, depth + 1);
    int rc = ln_msgpack_put_map(e->out, (uint32_t)count);
    return rc == LN_OK ? encode_pairs(e, table, count, depth + 1) : rc;
}

/* ---- the other values */

static int encode_userdata(struct encoder *e, int index) {
    const struct ln_msgpack_blob *blob = lua_touserdata(e->L, index);
    const void *metatable = ln_metatable(e->L, index);
    size_t len = 0;
    if (blob == e->types->null)
        return ln_msgpack_put_nil(e->out);
    if (!metatable || (metatable != e->types->bin && metatable != e->types->ext))
        return refuse(e, "cannot encode a ", "userdata");
    lua_getiuservalue(e->L, index, 1);
    const char *data = lua_tolstring(e->L, -1, &len);
    if (metatable == e->types->bin)
        return ln_msgpack_put_bin(e->out, data, len);
    return ln_msgpack_put_ext(e->out, blob->type, data, len);
}

static int encode_string(struct encoder *e, int index) {
    size_t len = 0;
    const char *text = lua_tolstring(e->L, index, &len);
    if (len > UINT32_MAX)
        return refuse(e, "cannot encode a string of 4 GiB or more", NULL);
    return ln_msgpack_put_str(e->out, text, len);
}

/* Appends the value at index, which is absolute. May leave values on the stack. */
static int encode_value(struct encoder *e, int index, int depth) {
    lua_State *L = e->L;
    if (ln_buffer_len(e->out) - e->start > MOST_ENCODED)
        return refuse(e, "cannot encode a value of more than 1 GiB", NULL);
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        return encode_string(e, index);
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            return ln_msgpack_put_integer(e->out, lua_tointeger(L, index));
        return ln_msgpack_put_float(e->out, lua_tonumber(L, index));
    case LUA_TNIL:
        return ln_msgpack_put_nil(e->out);
    case LUA_TBOOLEAN:
        return ln_msgpack_put_boolean(e->out, lua_toboolean(L, index));
    case LUA_TUSERDATA:
        return encode_userdata(e, index);
    case LUA_TTABLE:
        return encode_table(e, index, depth);
    default:
        return refuse(e, "cannot encode a ", luaL_typename(L, index));
    }
}

void ln_msgpack_encode(lua_State *L, const struct ln_msgpack_types *types, struct ln_buffer *out,
                       int index) {
    struct encoder e = {.L = L, .types = types, .out = out};
    index = lua_absindex(L, index);
    int top = lua_gettop(L);
    int rc = -ENOMEM;
    lua_pushliteral(L, "n");
    e.n = top + 1;
    e.start = ln_buffer_len(out); /* now: a finalizer may have written, too */
    if (lua_checkstack(L, 6 * (LN_MSGPACK_MAX_DEPTH + 2)))
        rc = encode_value(&e, index, 0);
    lua_settop(L, top);
    if (rc == LN_OK)
        return;
    ln_buffer_truncate(out, e.start);
    if (rc == -EINVAL)
        luaL_error(L, "%s%s", e.problem, e.what ? e.what : "");
    luaL_error(L, "%s", ln_status_text(rc));
}

/* ---- decoding */

struct pusher {
    lua_State *L;
    int types; /* index of the types' userdata */
    const char *data;
    size_t len, pos;
    bool keep_bin;
    const char *error;
};

static bool push_value(struct pusher *p);

static bool push_array(struct pusher *p, uint32_t count) {
    lua_createtable(p->L, (int)count, 0); /* so many values are there */
    for (uint32_t i = 1; i <= count; i++) {
        if (!push_value(p))
            return false;
        lua_rawseti(p->L, -2, i);
    }
    return true;
}

static bool is_nan(lua_State *L) {
    return lua_type(L, -1) == LUA_TNUMBER && !lua_rawequal(L, -1, -1);
}

/* A map that would encode as an array gets the tag that keeps it one. */
static bool push_map(struct pusher *p, uint32_t count) {
    lua_State *L = p->L;
    lua_createtable(L, 0, (int)count);
    for (uint32_t i = 0; i < count; i++) {
        if (!push_value(p))
            return false;
        if (is_nan(L)) {
            p->error = "a map key that is not a number (NaN)";
            return false;
        }
        if (!push_value(p))
            return false;
        lua_rawset(L, -3);
    }
    if (count == 0 || lua_rawlen(L, -1) > 0) {
        lua_getiuservalue(L, p->types, LN_MSGPACK_USER_MAP);
        lua_setmetatable(L, -2);
    }
    return true;
}

static void push_blob(struct pusher *p, const struct ln_msgpack_token *t) {
    lua_pushlstring(p->L, p->data + p->pos, t->count);
    p->pos += t->count;
    if (t->type == LN_MSGPACK_EXT)
        ln_msgpack_new_blob(p->L, LN_MSGPACK_USER_EXT, t->ext_type);
    else if (t->type == LN_MSGPACK_BIN && p->keep_bin)
        ln_msgpack_new_blob(p->L, LN_MSGPACK_USER_BIN, 0);
}

static bool push_value(struct pusher *p) {
    struct ln_msgpack_token t = {.type = LN_MSGPACK_NIL};
    size_t used = 0;
    (void)ln_msgpack_read_token(p->data + p->pos, p->len - p->pos, &t, &used);
    p->pos += used;
    switch (t.type) {
    case LN_MSGPACK_NIL:
        lua_getiuservalue(p->L, p->types, LN_MSGPACK_USER_NULL);
        break;
    case LN_MSGPACK_BOOLEAN:
        lua_pushboolean(p->L, t.integer != 0);
        break;
    case LN_MSGPACK_INTEGER:
        lua_pushinteger(p->L, t.integer);
        break;
    case LN_MSGPACK_UNSIGNED:
        lua_pushnumber(p->L, (lua_Number)t.unsigned_);
        break;
    case LN_MSGPACK_FLOAT:
        lua_pushnumber(p->L, t.number);
        break;
    case LN_MSGPACK_STR:
    case LN_MSGPACK_BIN:
    case LN_MSGPACK_EXT:
        push_blob(p, &t);
        break;
    case LN_MSGPACK_ARRAY:
        return push_array(p, t.count);
    case LN_MSGPACK_MAP:
        return push_map(p, t.count);
    }
    return true;
}

bool ln_msgpack_push(lua_State *L, const char *data, size_t size, bool keep_bin,
                     const char **error) {
    int top = lua_gettop(L);
    luaL_checkstack(L, 4 * (LN_MSGPACK_MAX_DEPTH + 2), NULL);
    ln_msgpack_push_types(L);
    struct pusher p = {.L = L, .types = top + 1, .data = data, .len = size, .keep_bin = keep_bin};
    if (!push_value(&p)) {
        *error = p.error;
        lua_settop(L, top);
        return false;
    }
    lua_remove(L, top + 1);
    return true;
}

/* ---- the types */

void ln_msgpack_new_blob(lua_State *L, int user_value, int8_t type) {
    struct ln_msgpack_blob *blob = lua_newuserdatauv(L, sizeof *blob, 1);
    blob->type = type;
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    ln_msgpack_push_types(L);
    lua_getiuservalue(L, -1, user_value);
    lua_setmetatable(L, -3);
    lua_pop(L, 1);
}

/* Makes the metatable called type, as a user value of the userdata on top of the stack unless that
 * is 0, and returns its address. */
static const void *new_type(lua_State *L, const char *type, int user_value) {
    luaL_newmetatable(L, type);
    const void *metatable = lua_topointer(L, -1);
    if (user_value)
        lua_setiuservalue(L, -2, user_value);
    else
        lua_pop(L, 1);
    return metatable;
}

const struct ln_msgpack_types *ln_msgpack_push_types(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &types_key) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    struct ln_msgpack_types *types = lua_newuserdatauv(L, sizeof *types, LN_MSGPACK_USER_VALUES);
    types->array = new_type(L, LN_MSGPACK_ARRAY_TYPE, 0);
    types->map = new_type(L, LN_MSGPACK_MAP_TYPE, LN_MSGPACK_USER_MAP);
    types->bin = new_type(L, LN_MSGPACK_BIN_TYPE, LN_MSGPACK_USER_BIN);
    types->ext = new_type(L, LN_MSGPACK_EXT_TYPE, LN_MSGPACK_USER_EXT);
    types->null = lua_newuserdatauv(L, 1, 0);
    luaL_newmetatable(L, LN_MSGPACK_NULL_TYPE);
    lua_setmetatable(L, -2);
    lua_setiuservalue(L, -2, LN_MSGPACK_USER_NULL);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &types_key);
    return types;
}
