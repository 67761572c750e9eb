/* lunode.lcs: the longest common subsequence of two strings. Types in lunode.meta.lua. */
#include "lcs.h"
#include "common.h"

static void push_runs(lua_State *L, struct ln_lcs *lcs) {
    lua_newtable(L);
    lua_Integer at = 0;
    for (struct ln_lcs_run run; ln_lcs_next(lcs, &run);) {
        const size_t fields[] = {run.a, run.b, run.len};
        for (size_t i = 0; i < 3; i++) {
            lua_pushinteger(L, (lua_Integer)fields[i] + (i < 2)); /* positions begin with 1 */
            lua_rawseti(L, -2, ++at);
        }
    }
}

static int lcs_of(lua_State *L) {
    size_t a_len, b_len;
    const char *a = luaL_checklstring(L, 1, &a_len), *b = luaL_checklstring(L, 2, &b_len);
    size_t memory = ln_lcs_memory(a_len, b_len);
    if (memory == 0)
        return luaL_error(L, "the strings are too long");
    struct ln_lcs lcs;
    ln_lcs_init(&lcs, lua_newuserdatauv(L, memory, 0), a, a_len, b, b_len);
    lua_pushinteger(L, (lua_Integer)lcs.len);
    push_runs(L, &lcs);
    return 2;
}

static const luaL_Reg lcs_functions[] = {
    {"of", lcs_of},
    {NULL, NULL},
};

int luaopen_lunode_lcs(lua_State *L) {
    luaL_newlib(L, lcs_functions);
    return 1;
}
