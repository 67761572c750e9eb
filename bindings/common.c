#include "common.h"

int ln_push_failure(lua_State *L, int status, const struct ln_detail *detail) {
    lua_pushnil(L);
    lua_pushstring(L, detail && detail->text[0] ? detail->text : ln_status_text(status));
    lua_pushstring(L, ln_status_name(status));
    return 3;
}
