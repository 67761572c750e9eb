/* lunode.store: the ordered store as Lua sees it. Types in lunode.meta.lua. */
#include "store.h"
#include "common.h"

#include <errno.h>

#define STORE_TYPE "lunode.store_handle"
#define SCAN_TYPE  "lunode.scan"

struct store_box {
    struct ln_store *store; /* NULL: closed */
    struct ln_value value;  /* of the read under way; freed later where pushing it raised */
};

struct scan_box {
    struct ln_scan *scan; /* NULL: closed, or at the end */
};

static struct store_box *check_store(lua_State *L) {
    struct store_box *box = luaL_checkudata(L, 1, STORE_TYPE);
    if (!box->store)
        luaL_error(L, "store is closed");
    return box;
}

/* Failures of writes to memory are the caller's mistake, or the end. */
static int check_written(lua_State *L, int status) {
    return status == LN_OK ? 0 : luaL_error(L, "cannot write: %s", ln_status_text(status));
}

/* ---- rows */

static int store_get(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t len;
    const char *key = luaL_checklstring(L, 2, &len);
    struct ln_detail detail;
    detail.text[0] = '\0';
    ln_value_release(&box->value);
    int rc = ln_store_get(box->store, key, len, &detail, &box->value);
    if (rc == -ENOENT) {
        lua_pushnil(L);
        return 1;
    }
    if (rc != LN_OK)
        return ln_push_failure(L, rc, &detail);
    lua_pushlstring(L, box->value.data, box->value.len);
    ln_value_release(&box->value);
    return 1;
}

static int store_put(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t key_len, value_len;
    const char *key = luaL_checklstring(L, 2, &key_len);
    const char *value = luaL_checklstring(L, 3, &value_len);
    return check_written(L, ln_store_put(box->store, key, key_len, value, value_len));
}

static int store_delete(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t len;
    const char *key = luaL_checklstring(L, 2, &len);
    return check_written(L, ln_store_delete(box->store, key, len));
}

static int store_begin(lua_State *L) {
    ln_store_begin(check_store(L)->store);
    return 0;
}

static int store_rollback(lua_State *L) {
    ln_store_rollback(check_store(L)->store);
    return 0;
}

static int store_commit(lua_State *L) {
    struct store_box *box = check_store(L);
    struct ln_detail detail;
    detail.text[0] = '\0';
    int rc = ln_store_commit(box->store, lua_toboolean(L, 2), &detail);
    if (rc != LN_OK)
        return ln_push_failure(L, rc, &detail);
    lua_pushboolean(L, 1);
    return 1;
}

static int store_pending(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ln_store_pending(check_store(L)->store));
    return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t count) {
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static int store_stats(lua_State *L) {
    struct ln_store_stats stats;
    ln_store_stats(check_store(L)->store, &stats);
    lua_createtable(L, 0, 5);
    set_count(L, "pending", stats.pending);
    set_count(L, "pending_bytes", stats.pending_bytes);
    set_count(L, "batches", stats.batches);
    set_count(L, "disk_bytes", stats.disk_bytes);
    lua_pushstring(L, stats.engine);
    lua_setfield(L, -2, "engine");
    return 1;
}

/* ---- scans */

static int scan_close(lua_State *L) {
    struct scan_box *box = luaL_checkudata(L, 1, SCAN_TYPE);
    if (box->scan)
        ln_scan_close(box->scan);
    box->scan = NULL;
    return 0;
}

/* The iterator. A failure raises: a loop that ended early would look like one that met all rows. */
static int scan_next(lua_State *L) {
    struct scan_box *box = lua_touserdata(L, lua_upvalueindex(1));
    struct ln_overlay_row row;
    struct ln_detail detail;
    int rc = box->scan ? ln_scan_next(box->scan, &detail, &row) : LN_EOF;
    if (rc == LN_OK) {
        lua_pushlstring(L, row.key, row.klen);
        lua_pushlstring(L, row.value, row.vlen);
        return 2;
    }
    if (rc != LN_EOF)
        return luaL_error(L, "%s", detail.text);
    if (box->scan)
        ln_scan_close(box->scan);
    box->scan = NULL;
    lua_pushnil(L);
    return 1;
}

/* Returns what a generic for takes: the iterator, two nils, and the box, which it closes. */
static int store_scan(lua_State *L) {
    struct store_box *store = check_store(L);
    size_t from_len, to_len;
    const char *from = luaL_checklstring(L, 2, &from_len);
    const char *to = luaL_optlstring(L, 3, NULL, &to_len);
    struct scan_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->scan = NULL;
    luaL_setmetatable(L, SCAN_TYPE);
    lua_pushvalue(L, -1);
    lua_pushvalue(L, 1); /* the store lives as long as its iterator */
    lua_pushcclosure(L, scan_next, 2);
    lua_insert(L, -2);
    int rc = ln_store_scan(store->store, from, from_len, to, to ? to_len : 0, &box->scan);
    if (rc != LN_OK)
        return luaL_error(L, "cannot scan: %s", ln_status_text(rc));
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 4;
}

/* ---- open, close */

static int store_close(lua_State *L) {
    struct store_box *box = luaL_checkudata(L, 1, STORE_TYPE);
    ln_value_release(&box->value);
    if (box->store)
        ln_store_close(box->store);
    box->store = NULL;
    return 0;
}

static struct ln_store_options check_options(lua_State *L, int index) {
    struct ln_store_options options = LN_STORE_OPTIONS_DEFAULT;
    if (lua_isnoneornil(L, index))
        return options;
    luaL_checktype(L, index, LUA_TTABLE);
    if (lua_getfield(L, index, "create") != LUA_TNIL)
        options.create = lua_toboolean(L, -1);
    if (lua_getfield(L, index, "cache") != LUA_TNIL) {
        int is_integer;
        lua_Integer cache = lua_tointegerx(L, -1, &is_integer);
        luaL_argcheck(L, is_integer && cache >= 0, index, "cache: a number of bytes expected");
        options.cache = (size_t)cache;
    }
    lua_pop(L, 2);
    return options;
}

static int store_open(lua_State *L) {
    const char *dir = luaL_checkstring(L, 1);
    struct ln_store_options options = check_options(L, 2);
    struct ln_detail detail;
    struct store_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct store_box){0};
    luaL_setmetatable(L, STORE_TYPE);
    int rc = ln_store_open(dir, &options, &detail, &box->store);
    return rc == LN_OK ? 1 : ln_push_failure(L, rc, &detail);
}

static const luaL_Reg store_methods[] = {
    {"get", store_get},
    {"put", store_put},
    {"delete", store_delete},
    {"begin", store_begin},
    {"rollback", store_rollback},
    {"scan", store_scan},
    {"pending", store_pending},
    {"commit", store_commit},
    {"stats", store_stats},
    {"close", store_close},
    {NULL, NULL},
};

static const luaL_Reg store_meta[] = {
    {"__gc", store_close},
    {"__close", store_close},
    {NULL, NULL},
};

static const luaL_Reg scan_meta[] = {
    {"__gc", scan_close},
    {"__close", scan_close},
    {NULL, NULL},
};

static const luaL_Reg store_functions[] = {
    {"open", store_open},
    {NULL, NULL},
};

int luaopen_lunode_store(lua_State *L) {
    luaL_newmetatable(L, STORE_TYPE);
    luaL_setfuncs(L, store_meta, 0);
    luaL_newlib(L, store_methods);
    lua_setfield(L, -2, "__index");
    luaL_newmetatable(L, SCAN_TYPE);
    luaL_setfuncs(L, scan_meta, 0);
    luaL_newlib(L, store_functions);
    return 1;
}
