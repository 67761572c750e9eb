#include "resp_names.h"

#include <string.h>

enum { PLACES = 2048 }; /* a power of two; half of them are used at most */

struct ln_resp_names {
    size_t used;
    struct ln_resp_name of[PLACES];
};

static char fold(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_name(const struct ln_resp_name *n, const char *name, size_t len) {
    if (n->len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (n->name[i] != fold(name[i]))
            return false;
    return true;
}

/* Where the name is, or could be put. */
static size_t place_of(const struct ln_resp_names *names, const char *name, size_t len) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)(name[i] | 0x20)) * 16777619u;
    size_t at = (hash ^ hash >> 15) & (PLACES - 1);
    while (names->of[at].len > 0 && !is_name(&names->of[at], name, len))
        at = (at + 1) & (PLACES - 1);
    return at;
}

int ln_resp_names_find(const struct ln_resp_names *names, const char *name, size_t len,
                       size_t count) {
    if (len == 0 || len > LN_RESP_NAME_MAX)
        return -1;
    size_t at = place_of(names, name, len);
    const struct ln_resp_name *n = &names->of[at];
    return n->len > 0 && count >= n->min && count <= n->max ? (int)at : -1;
}

const struct ln_resp_name *ln_resp_names_at(const struct ln_resp_names *names, int place) {
    return &names->of[place];
}

struct ln_resp_names *ln_resp_names_test(lua_State *L, int index) {
    return luaL_testudata(L, index, LN_RESP_NAMES_TYPE);
}

static struct ln_resp_names *check_names(lua_State *L) {
    return luaL_checkudata(L, 1, LN_RESP_NAMES_TYPE);
}

static uint8_t check_count(lua_State *L, int index, bool listed) {
    lua_Integer count = luaL_checkinteger(L, index);
    luaL_argcheck(L, count >= 0 && count <= (listed ? LN_RESP_LISTED : LN_RESP_SHORT), index,
                  listed ? "from 0 to 255 expected" : "from 0 to 3 expected");
    return (uint8_t)count;
}

static const char *check_name(lua_State *L, size_t *len) {
    const char *name = luaL_checklstring(L, 2, len);
    luaL_argcheck(L, *len > 0 && *len <= LN_RESP_NAME_MAX, 2, "a name has 1 to 64 bytes");
    return name;
}

static bool is_listed(lua_State *L, int index) {
    return lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), "list") == 0;
}

/* true, "list": all of them. */
static uint8_t first_view(lua_State *L, int index) {
    if (!lua_isinteger(L, index))
        return lua_toboolean(L, index) ? 1 : LN_RESP_SHORT + 1;
    lua_Integer first = lua_tointeger(L, index);
    luaL_argcheck(L, first >= 1 && first <= LN_RESP_SHORT, index, "from 1 to 3 expected");
    return (uint8_t)first;
}

static int names_bind(lua_State *L) {
    struct ln_resp_names *names = check_names(L);
    size_t len;
    const char *name = check_name(L, &len);
    luaL_checkany(L, 3);
    bool listed = is_listed(L, 6);
    uint8_t min = check_count(L, 4, listed), max = check_count(L, 5, listed);
    uint8_t views = first_view(L, 6);
    lua_Integer member = luaL_optinteger(L, 7, 0);
    luaL_argcheck(L, member >= 0 && member <= LN_RESP_SHORT, 7, "from 0 to 3 expected");
    luaL_argcheck(L, max >= min, 5, "less than the least");
    struct ln_resp_name *n = &names->of[place_of(names, name, len)];
    if (n->len == 0 && names->used == PLACES / 2)
        return luaL_error(L, "too many names");
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, n - names->of + 1);
    names->used += n->len == 0;
    n->len = (uint8_t)len;
    n->min = min;
    n->max = max;
    n->views = views;
    n->member = (uint8_t)member;
    n->listed = listed;
    for (size_t i = 0; i < len; i++)
        n->name[i] = fold(name[i]);
    return 0;
}

/* The place stays the name's own: what was put behind it is found past it. */
static int names_unbind(lua_State *L) {
    struct ln_resp_names *names = check_names(L);
    size_t len;
    const char *name = check_name(L, &len);
    struct ln_resp_name *n = &names->of[place_of(names, name, len)];
    n->min = 1;
    n->max = 0;
    if (n->len == 0)
        return 0;
    lua_getiuservalue(L, 1, 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, n - names->of + 1);
    return 0;
}

static int names_find(lua_State *L) {
    const struct ln_resp_names *names = check_names(L);
    size_t len;
    const char *name = luaL_checklstring(L, 2, &len);
    lua_Integer count = luaL_checkinteger(L, 3);
    int place = count < 0 ? -1 : ln_resp_names_find(names, name, len, (size_t)count);
    if (place < 0)
        return 0;
    lua_getiuservalue(L, 1, 1);
    lua_rawgeti(L, -1, place + 1);
    lua_pushboolean(L, names->of[place].listed);
    return 2;
}

int ln_resp_names_new(lua_State *L) {
    struct ln_resp_names *names = lua_newuserdatauv(L, sizeof *names, 1);
    memset(names, 0, sizeof *names);
    luaL_setmetatable(L, LN_RESP_NAMES_TYPE);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

static int names_close(lua_State *L) {
    (void)check_names(L);
    return 0;
}

static const luaL_Reg names_methods[] = {
    {"bind", names_bind}, {"unbind", names_unbind}, {"find", names_find}, {NULL, NULL}};

void ln_resp_names_type(lua_State *L) {
    ln_new_type(L, LN_RESP_NAMES_TYPE, names_methods, names_close);
}
