/* lunode.score: scores of sorted sets, as text, as numbers and as bytes in their order. Types in
 * lunode.meta.lua. */
#include "scored.h"

#include "common.h"
#include "view.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* All of the text, without spaces before it; no NaN, and nothing past the range of a double. */
static bool parse(const char *text, size_t len, double *out) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (len == 0 || isspace((unsigned char)*text) || end != text + len || isnan(value) ||
        (errno == ERANGE && (isinf(value) || value == 0)))
        return false;
    *out = value;
    return true;
}

static int score_parse(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    double value;
    if (!parse(text, len, &value))
        return 0;
    lua_pushnumber(L, value);
    return 1;
}

static int score_bound(lua_State *L) {
    const char *text = luaL_checkstring(L, 1);
    char *end;
    double value = strtod(text, &end);
    if (*end || isnan(value))
        return 0;
    lua_pushnumber(L, value);
    return 1;
}

/* A view's bytes are copied: what strtod reads has to end. */
static int score_read(lua_State *L) {
    size_t len;
    const char *text = ln_check_bytes(L, 1, &len);
    double value;
    char bytes[LN_SCORE_BYTES], small[64];
    if (lua_type(L, 1) != LUA_TSTRING && len < sizeof small) {
        memcpy(small, text, len);
        small[len] = 0;
        text = small;
    } else if (lua_type(L, 1) != LUA_TSTRING) {
        text = lua_pushlstring(L, text, len);
    }
    if (!parse(text, len, &value))
        return 0;
    ln_score_encode(value, bytes);
    lua_pushlstring(L, bytes, sizeof bytes);
    return 1;
}

static int score_encode(lua_State *L) {
    char bytes[LN_SCORE_BYTES];
    ln_score_encode(luaL_checknumber(L, 1), bytes);
    lua_pushlstring(L, bytes, sizeof bytes);
    return 1;
}

static const char *check_scored(lua_State *L, int index, size_t *len) {
    const char *bytes = luaL_checklstring(L, index, len);
    luaL_argcheck(L, *len >= LN_SCORE_BYTES, index, "a score's bytes expected");
    return bytes;
}

static int score_decode(lua_State *L) {
    size_t len;
    lua_pushnumber(L, ln_score_decode(check_scored(L, 1, &len)));
    return 1;
}

static int score_split(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 1);
    lua_createtable(L, count < INT_MAX / 2 ? (int)count * 2 : 0, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        size_t len;
        lua_rawgeti(L, 1, i);
        const char *key = check_scored(L, -1, &len);
        lua_pushlstring(L, key + LN_SCORE_BYTES, len - LN_SCORE_BYTES);
        lua_rawseti(L, 2, 2 * i - 1);
        lua_pushnumber(L, ln_score_decode(key));
        lua_rawseti(L, 2, 2 * i);
        lua_pop(L, 1);
    }
    return 1;
}

static const luaL_Reg score_functions[] = {
    {"parse", score_parse},
    {"bound", score_bound},
    {"read", score_read},
    {"encode", score_encode},
    {"decode", score_decode},
    {"split", score_split},
    {NULL, NULL},
};

int luaopen_lunode_score(lua_State *L) {
    luaL_newlib(L, score_functions);
    return 1;
}
