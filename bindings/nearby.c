/* lunode.nearby: members of a set by their hashes, in memory. Types in lunode.meta.lua. */
#include "nearby.h"
#include "common.h"
#include "view.h"

#include <errno.h>
#include <stdint.h>

#define NEARBY_TYPE "lunode.nearby"

enum { HASH_BYTES = 4 };

/* Quicker than to look the metatable up by its name. */
static const char box_tag = 0;

struct nearby_box {
    const void *tag;
    struct ln_nearby *nearby; /* NULL: not made */
};

static struct ln_nearby *check_nearby(lua_State *L) {
    struct nearby_box *box = ln_check_tagged(L, &box_tag, sizeof *box, NEARBY_TYPE);
    return box->nearby;
}

static void check_changed(lua_State *L, int rc) {
    if (rc != LN_OK)
        luaL_error(L, "cannot remember a set: %s", ln_status_text(rc));
}

static uint32_t check_hash(lua_State *L, int index) {
    lua_Integer hash = luaL_checkinteger(L, index);
    luaL_argcheck(L, hash >= 0 && hash <= UINT32_MAX, index, "out of range");
    return (uint32_t)hash;
}

static size_t check_size(lua_State *L, int index) {
    lua_Integer n = luaL_checkinteger(L, index);
    luaL_argcheck(L, n >= 0, index, "out of range");
    return (size_t)n;
}

static int nearby_new(lua_State *L) {
    size_t count = check_size(L, 1);
    struct nearby_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct nearby_box){.tag = &box_tag};
    luaL_setmetatable(L, NEARBY_TYPE);
    box->nearby = ln_nearby_new(count);
    check_changed(L, box->nearby ? LN_OK : -ENOMEM);
    return 1;
}

static int nearby_free(lua_State *L) {
    struct nearby_box *box = luaL_checkudata(L, 1, NEARBY_TYPE);
    if (box->nearby)
        ln_nearby_free(box->nearby);
    box->nearby = NULL;
    return 0;
}

static int nearby_fit(lua_State *L) {
    lua_pushboolean(L, ln_nearby_fit(check_nearby(L), check_size(L, 2)));
    return 1;
}

static int nearby_bytes(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ln_nearby_bytes(check_nearby(L)));
    return 1;
}

static size_t check_segment(lua_State *L, const struct ln_nearby *nearby, int index) {
    size_t segment = check_size(L, index);
    luaL_argcheck(L, segment < ln_nearby_segments(nearby), index, "out of range");
    return segment;
}

static int nearby_range(lua_State *L) {
    const struct ln_nearby *nearby = check_nearby(L);
    uint32_t from, past;
    ln_nearby_range(nearby, check_segment(L, nearby, 2), &from, &past);
    lua_pushinteger(L, from);
    if (past == 0)
        return 1;
    lua_pushinteger(L, past);
    return 2;
}

static int nearby_read(lua_State *L) {
    struct ln_nearby *nearby = check_nearby(L);
    size_t segment = check_segment(L, nearby, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    check_changed(L, ln_nearby_read(nearby, segment));
    lua_Integer count = luaL_len(L, 3);
    for (lua_Integer i = 1; i <= count; i++) {
        size_t len;
        lua_rawgeti(L, 3, i);
        const char *row = luaL_checklstring(L, -1, &len);
        luaL_argcheck(L, len >= HASH_BYTES, 3, "a row of 4 bytes at least expected");
        const unsigned char *h = (const unsigned char *)row;
        uint32_t hash = (uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
        check_changed(L, ln_nearby_add(nearby, hash, row + HASH_BYTES, len - HASH_BYTES));
        lua_pop(L, 1);
    }
    return 0;
}

static int nearby_find(lua_State *L) {
    const struct ln_nearby *nearby = check_nearby(L);
    struct ln_nearby_row row;
    size_t segment = 0;
    int rc = ln_nearby_find(nearby, check_hash(L, 2), check_size(L, 3), &segment, &row);
    if (rc == LN_OK && lua_toboolean(L, 4))
        ln_view_push_result(L, row.member, row.len);
    else if (rc == LN_OK)
        lua_pushlstring(L, row.member, row.len);
    else
        lua_pushnil(L);
    if (rc != -EAGAIN)
        return 1;
    lua_pushinteger(L, (lua_Integer)segment);
    return 2;
}

static int nearby_all(lua_State *L) {
    const struct ln_nearby *nearby = check_nearby(L);
    struct ln_nearby_cursor cursor = {0, 0};
    struct ln_nearby_row row;
    int rc, count = 0;
    while ((rc = ln_nearby_next(nearby, &cursor, &row)) == LN_OK)
        count++;
    if (rc != LN_EOF) {
        lua_pushnil(L);
        lua_pushinteger(L, (lua_Integer)cursor.segment);
        return 2;
    }
    lua_createtable(L, count, 0);
    cursor = (struct ln_nearby_cursor){0, 0};
    for (int i = 1; ln_nearby_next(nearby, &cursor, &row) == LN_OK; i++) {
        lua_pushlstring(L, row.member, row.len);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

static int nearby_add(lua_State *L) {
    struct ln_nearby *nearby = check_nearby(L);
    size_t len;
    uint32_t hash = check_hash(L, 2);
    const char *member = ln_check_bytes(L, 3, &len);
    check_changed(L, ln_nearby_add(nearby, hash, member, len));
    return 0;
}

static int nearby_remove(lua_State *L) {
    struct ln_nearby *nearby = check_nearby(L);
    size_t len;
    uint32_t hash = check_hash(L, 2);
    const char *member = ln_check_bytes(L, 3, &len);
    ln_nearby_remove(nearby, hash, member, len);
    return 0;
}

static const luaL_Reg nearby_methods[] = {
    {"fit", nearby_fit},   {"bytes", nearby_bytes},   {"range", nearby_range},
    {"read", nearby_read}, {"find", nearby_find},     {"all", nearby_all},
    {"add", nearby_add},   {"remove", nearby_remove}, {NULL, NULL},
};

static const luaL_Reg nearby_functions[] = {
    {"new", nearby_new},
    {NULL, NULL},
};

int luaopen_lunode_nearby(lua_State *L) {
    ln_new_type(L, NEARBY_TYPE, nearby_methods, nearby_free);
    luaL_newlib(L, nearby_functions);
    return 1;
}
