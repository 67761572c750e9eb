/* lunode.slot: where a user's key lives. Types in lunode.meta.lua. */
#include "slot.h"
#include "common.h"

#include <string.h>

static int slot_of(lua_State *L) {
    size_t len;
    const char *key = luaL_checklstring(L, 1, &len);
    lua_pushinteger(L, ln_slot_of(key, len));
    return 1;
}

static int slot_row(lua_State *L) {
    size_t kind_len, len;
    const char *kind = luaL_checklstring(L, 1, &kind_len);
    const char *key = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, kind_len == 1, 1, "one byte expected");
    luaL_Buffer buffer; /* on the stack for all but long keys */
    uint8_t *row = (uint8_t *)luaL_buffinitsize(L, &buffer, LN_SLOT_ROW_BYTES + len);
    ln_slot_row((uint8_t)*kind, key, len, row);
    memcpy(row + LN_SLOT_ROW_BYTES, key, len);
    luaL_pushresultsize(&buffer, LN_SLOT_ROW_BYTES + len);
    return 1;
}

static const luaL_Reg slot_functions[] = {
    {"of", slot_of},
    {"row", slot_row},
    {NULL, NULL},
};

int luaopen_lunode_slot(lua_State *L) {
    luaL_newlib(L, slot_functions);
    return 1;
}
