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

/* ---- lists in the order of numbers or texts: SORT */

/* As Redis reads what SORT sorts by: a C string, spaces before it allowed, and so is nothing. */
static bool parse_weight(const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return *end == 0 && errno != ERANGE && !isnan(*out);
}

static int score_weights(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 1);
    lua_createtable(L, count < INT_MAX ? (int)count : 0, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        double weight = 0;
        lua_rawgeti(L, 1, i);
        if (lua_toboolean(L, -1) && !parse_weight(luaL_checkstring(L, -1), &weight))
            return 0;
        lua_pop(L, 1);
        lua_pushnumber(L, weight);
        lua_rawseti(L, 2, i);
    }
    return 1;
}

/* The smaller, the quicker: a million of them are moved twenty times. */
struct item {
    double number;
    const char *weight, *text; /* weight: NULL: it is sorted by its number */
    uint32_t weight_len, text_len, at;
};

static int compare(const void *x, const void *y) {
    const struct item *a = x, *b = y;
    int order = (a->number > b->number) - (a->number < b->number);
    if (order == 0 && a->weight && b->weight)
        order = ln_key_compare(a->weight, a->weight_len, b->weight, b->weight_len);
    else if (order == 0)
        order = (a->weight != NULL) - (b->weight != NULL);
    if (order == 0)
        order = ln_key_compare(a->text, a->text_len, b->text, b->text_len);
    return order ? order : (a->at > b->at) - (a->at < b->at);
}

static const char *check_text(lua_State *L, int index, uint32_t *len) {
    size_t size;
    const char *text = lua_tolstring(L, index, &size);
    luaL_argcheck(L, size < UINT32_MAX, 1, "a string is too long");
    *len = (uint32_t)size;
    return text;
}

/* Of the i-th element and its weight; the tables at 1 and 2 keep what is borrowed. */
static struct item check_item(lua_State *L, lua_Integer i) {
    struct item item = {.at = (uint32_t)i};
    lua_rawgeti(L, 1, i);
    lua_rawgeti(L, 2, i);
    luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING, 1, "a list of strings expected");
    item.text = check_text(L, -2, &item.text_len);
    if (lua_type(L, -1) == LUA_TSTRING)
        item.weight = check_text(L, -1, &item.weight_len);
    else if (lua_toboolean(L, -1))
        item.number = luaL_checknumber(L, -1);
    lua_pop(L, 2);
    return item;
}

static int score_order(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    bool descending = lua_toboolean(L, 3);
    lua_Integer count = luaL_len(L, 1);
    luaL_argcheck(L, count < UINT32_MAX, 1, "too long a list");
    struct item *items = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *items, 0);
    for (lua_Integer i = 0; i < count; i++)
        items[i] = check_item(L, i + 1);
    if (count > 1)
        qsort(items, (size_t)count, sizeof *items, compare);
    lua_createtable(L, count < INT_MAX ? (int)count : 0, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, 1, items[descending ? count - 1 - i : i].at);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static const luaL_Reg score_functions[] = {
    {"parse", score_parse},     {"bound", score_bound},   {"read", score_read},
    {"encode", score_encode},   {"decode", score_decode}, {"split", score_split},
    {"weights", score_weights}, {"order", score_order},   {NULL, NULL},
};

int luaopen_lunode_score(lua_State *L) {
    luaL_newlib(L, score_functions);
    return 1;
}
