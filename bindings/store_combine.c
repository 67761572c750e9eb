/* store:copy and store:combine: all rows of one prefix, or of several, without a string of Lua's
 * for each. */
#include "store_combine.h"

#include "common.h"
#include "resp_value.h"
#include "scored.h"

#include <string.h>

int ln_check_bulk(lua_State *L, int status, const struct ln_detail *detail) {
    if (status == LN_OK)
        return 0;
    return luaL_error(L, "%s", detail->text[0] ? detail->text : ln_status_text(status));
}

static const char *check_prefix(lua_State *L, int index, size_t *len) {
    const char *prefix = luaL_checklstring(L, index, len);
    size_t i = 0;
    while (i < *len && (unsigned char)prefix[i] == 0xFF)
        i++;
    luaL_argcheck(L, i < *len, index, "a prefix with a byte other than FF expected");
    return prefix;
}

int ln_store_copy_prefix(lua_State *L, struct ln_store *store) {
    size_t from_len, to_len;
    struct ln_detail detail = {.text = {0}};
    const char *from = check_prefix(L, 2, &from_len), *to = check_prefix(L, 3, &to_len);
    int rc = ln_store_copy(store, from, from_len, to, to_len, &detail);
    return ln_check_bulk(L, rc == LN_EOF ? LN_OK : rc, &detail);
}

/* ---- several sets */

enum ln_merge_how ln_check_how(lua_State *L, int index) {
    static const char *const hows[] = {[LN_MERGE_UNION] = "union",
                                       [LN_MERGE_INTERSECTION] = "intersection",
                                       [LN_MERGE_DIFFERENCE] = "difference",
                                       NULL};
    return (enum ln_merge_how)luaL_checkoption(L, index, NULL, hows);
}

struct ln_merge_input *ln_check_sets(lua_State *L, int index, lua_Integer width, size_t *count) {
    luaL_checktype(L, index, LUA_TTABLE);
    *count = (size_t)(luaL_len(L, index) / width);
    struct ln_merge_input *inputs = lua_newuserdatauv(L, (*count + 1) * sizeof *inputs, 0);
    memset(inputs, 0, (*count + 1) * sizeof *inputs);
    for (size_t i = 0; i < *count; i++) {
        lua_Integer at = (lua_Integer)i * width;
        lua_rawgeti(L, index, at + 1);
        lua_rawgeti(L, index, at + 2);
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING, index, "strings as prefixes expected");
        inputs[i].prefix = check_prefix(L, lua_absindex(L, -2), &inputs[i].len);
        lua_Integer rows = luaL_checkinteger(L, -1);
        inputs[i].count = rows > 0 ? (uint64_t)rows : 0;
        lua_pop(L, 2);
    }
    return inputs;
}

struct result {
    struct ln_buffer *reply;
    struct ln_bulk *bulk;
    const char *into;
    size_t into_len;
};

/* A member alone: what follows the hash. */
static int take(const struct result *r, const struct ln_merge *m) {
    if (r->into)
        return ln_bulk_add(r->bulk, r->into, r->into_len, m->name, m->len, "", 0);
    if (!r->reply)
        return LN_OK;
    size_t skip = m->len < LN_HASH_BYTES ? m->len : LN_HASH_BYTES;
    return ln_resp_put_bulk(r->reply, m->name + skip, m->len - skip);
}

/* Nothing here raises. */
static int combine(struct ln_merge *m, const struct result *r, uint64_t limit, uint64_t *count,
                   struct ln_detail *detail) {
    int rc = LN_OK;
    *count = 0;
    while (rc == LN_OK && *count < limit && (rc = ln_merge_next(m, detail)) == LN_OK) {
        rc = take(r, m);
        ++*count;
    }
    rc = rc == LN_EOF ? LN_OK : rc;
    if (rc == LN_OK && r->into)
        rc = ln_bulk_flush(r->bulk);
    return rc;
}

int ln_store_combine(lua_State *L, struct ln_store *store) {
    struct ln_merge merge;
    struct ln_bulk bulk;
    struct ln_detail detail = {.text = {0}};
    struct result result = {.bulk = &bulk};
    uint64_t count;
    size_t inputs_count;
    enum ln_merge_how how = ln_check_how(L, 2);
    bool counted = lua_isboolean(L, 4) && !lua_toboolean(L, 4);
    lua_Integer limit = luaL_optinteger(L, 5, LUA_MAXINTEGER);
    if (!counted && !lua_isnoneornil(L, 4))
        result.into = check_prefix(L, 4, &result.into_len);
    struct ln_merge_input *inputs = ln_check_sets(L, 3, 2, &inputs_count);
    if (!counted && !result.into && !(result.reply = ln_resp_rows_begin()))
        return luaL_error(L, "no memory");
    ln_bulk_init(&bulk, store, LN_BULK_PUT_NEW);
    ln_merge_init(&merge, store, how, inputs, inputs_count);
    int rc = combine(&merge, &result, limit > 0 ? (uint64_t)limit : 0, &count, &detail);
    ln_merge_free(&merge);
    ln_bulk_free(&bulk);
    if (rc != LN_OK && result.reply)
        ln_resp_rows_trim();
    ln_check_bulk(L, rc, &detail);
    if (result.reply)
        ln_resp_push_rows(L, LN_RESP_SET, count);
    else
        lua_pushinteger(L, (lua_Integer)count);
    return 1;
}
