/* lunode.hash: a fast hash of values, for traces and seeds. Types in lunode.meta.lua. */
#include "common.h"

#include <string.h>
#include <xxhash.h>

/* Each value counts with its type, so that "1", 1 and 1.0 differ, and so do ("a", "b") and ("ab").
 */
static uint64_t fold(lua_State *L, int index, uint64_t seed) {
    int type = lua_type(L, index);
    seed += (uint64_t)type + 1;
    if (type == LUA_TSTRING) {
        size_t length;
        const char *bytes = lua_tolstring(L, index, &length);
        return XXH3_64bits_withSeed(bytes, length, seed + (uint64_t)length * 31);
    }
    uint64_t bits = 0;
    if (lua_isinteger(L, index))
        bits = (uint64_t)lua_tointeger(L, index);
    else if (type == LUA_TNUMBER) {
        lua_Number number = lua_tonumber(L, index);
        memcpy(&bits, &number, sizeof bits);
        seed++;
    } else if (type == LUA_TBOOLEAN)
        bits = (uint64_t)lua_toboolean(L, index);
    else
        luaL_argcheck(L, type == LUA_TNIL, index, "a string, number, boolean or nil expected");
    return XXH3_64bits_withSeed(&bits, sizeof bits, seed);
}

static int hash_of(lua_State *L) {
    uint64_t hash = (uint64_t)luaL_checkinteger(L, 1);
    int top = lua_gettop(L);
    for (int i = 2; i <= top; i++)
        hash = fold(L, i, hash);
    lua_pushinteger(L, (lua_Integer)hash);
    return 1;
}

static const luaL_Reg hash_functions[] = {
    {"of", hash_of},
    {NULL, NULL},
};

int luaopen_lunode_hash(lua_State *L) {
    luaL_newlib(L, hash_functions);
    return 1;
}
