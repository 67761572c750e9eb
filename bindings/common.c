#include "common.h"

int ln_push_failure(lua_State *L, int status, const struct ln_detail *detail) {
    lua_pushnil(L);
    lua_pushstring(L, detail && detail->text[0] ? detail->text : ln_status_text(status));
    lua_pushstring(L, ln_status_name(status));
    return 3;
}

void ln_new_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close) {
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__close");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void *ln_test_tagged(lua_State *L, int index, const void *tag, size_t size) {
    void *box = lua_touserdata(L, index);
    if (!box || lua_islightuserdata(L, index) || lua_rawlen(L, index) != size ||
        *(const void *const *)box != tag)
        return NULL;
    return box;
}

void *ln_check_tagged(lua_State *L, const void *tag, size_t size, const char *type) {
    void *box = ln_test_tagged(L, 1, tag, size);
    if (!box)
        luaL_typeerror(L, 1, type);
    return box;
}

const void *ln_metatable(lua_State *L, int index) {
    if (!lua_getmetatable(L, index))
        return NULL;
    const void *metatable = lua_topointer(L, -1);
    lua_pop(L, 1);
    return metatable;
}
