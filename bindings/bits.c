/* lunode.bits: bits in strings. Types in lunode.meta.lua. */
#include "bits.h"
#include "common.h"

#include <string.h>

/* The range in arguments 3 and 4, both ends included, of a string of `len` bytes. */
static void check_range(lua_State *L, int index, size_t len, uint64_t *first, uint64_t *past) {
    lua_Integer from = luaL_checkinteger(L, index), to = luaL_checkinteger(L, index + 1);
    luaL_argcheck(L, from >= 0, index, "0 or more expected");
    luaL_argcheck(L, to < (lua_Integer)len * 8, index + 1, "past the string's end");
    *first = (uint64_t)from;
    *past = to < from ? *first : (uint64_t)to + 1;
}

static int bits_count(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    uint64_t first, past;
    check_range(L, 2, len, &first, &past);
    lua_pushinteger(L, (lua_Integer)ln_bits_count(text, first, past));
    return 1;
}

static int bits_find(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_Integer bit = luaL_checkinteger(L, 2);
    luaL_argcheck(L, bit == 0 || bit == 1, 2, "0 or 1 expected");
    uint64_t first, past, at;
    check_range(L, 3, len, &first, &past);
    if (!ln_bits_find(text, first, past, bit == 1, &at))
        return 0;
    lua_pushinteger(L, (lua_Integer)at);
    return 1;
}

static int bits_combine(lua_State *L) {
    static const char *const names[] = {"and", "or", "xor", NULL};
    enum ln_bits_op op = (enum ln_bits_op)luaL_checkoption(L, 1, NULL, names);
    int top = lua_gettop(L);
    size_t out_len = 0, text_len;
    for (int i = 2; i <= top; i++) {
        luaL_checklstring(L, i, &text_len);
        out_len = text_len > out_len ? text_len : out_len;
    }
    luaL_checklstring(L, 2, &text_len); /* there is one */
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, out_len);
    const char *first = lua_tolstring(L, 2, &text_len);
    memcpy(out, first, text_len);
    memset(out + text_len, 0, out_len - text_len);
    for (int i = 3; i <= top; i++) {
        const char *text = lua_tolstring(L, i, &text_len);
        ln_bits_combine(op, out, out_len, text, text_len);
    }
    luaL_pushresultsize(&buffer, out_len);
    return 1;
}

static int bits_invert(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, len);
    memcpy(out, text, len);
    ln_bits_invert(out, len);
    luaL_pushresultsize(&buffer, len);
    return 1;
}

static const luaL_Reg bits_functions[] = {
    {"count", bits_count},   {"find", bits_find}, {"combine", bits_combine},
    {"invert", bits_invert}, {NULL, NULL},
};

int luaopen_lunode_bits(lua_State *L) {
    luaL_newlib(L, bits_functions);
    return 1;
}
