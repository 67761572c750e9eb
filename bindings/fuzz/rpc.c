/* RPC: what arrives on a connection, as a server and as a peer see it. The bytes are read in C and
 * understood in Lua: so this is a Lua state with the node's own loop, and what it does with an
 * input, and what it holds true, is in rpc.lua. */
#include "common.h"
#include "fuzz.h"

#include <lualib.h>
#include <unistd.h>

enum { HEAD = 3, COUNTERS = 1 << 14 };

static const luaL_Reg modules[] = {
    {"lunode.loop", luaopen_lunode_loop},
    {"lunode.msgpack", luaopen_lunode_msgpack},
    {"lunode.tcp_client", luaopen_lunode_tcp_client},
    {"lunode.tcp_server", luaopen_lunode_tcp_server},
    {NULL, NULL},
};

/* Lua is not instrumented; libFuzzer takes what stands in this section for coverage, too. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

/* Counts the line, by its file's name and its number. */
static void on_line(lua_State *L, lua_Debug *ar) {
    struct fuzz_digest place = {UINT64_C(0xcbf29ce484222325)};
    if (lua_getinfo(L, "Sl", ar) == 0 || !strstr(ar->source, "/lunode/rpc/"))
        return;
    size_t tail = ar->srclen < 12 ? ar->srclen : 12;
    fuzz_note(&place, ar->source + ar->srclen - tail, tail);
    fuzz_note(&place, &ar->currentline, sizeof ar->currentline);
    uint8_t *counter = &counters[place.hash % COUNTERS];
    if (*counter < UINT8_MAX)
        (*counter)++;
}

static int add_traceback(lua_State *L) {
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static void call(lua_State *L, int nargs, int nresults) {
    int handler = lua_gettop(L) - nargs;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, handler);
    if (lua_pcall(L, nargs, nresults, handler) != LUA_OK) {
        (void)fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    lua_remove(L, handler);
}

/* A state whose stack holds the function that takes an input. */
static lua_State *open_state(void) {
    lua_State *L = luaL_newstate();
    FUZZ_CHECK(L);
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    luaL_setfuncs(L, modules, 0);
    lua_getglobal(L, "package");
    lua_pushliteral(L, LUNODE_SOURCE "/scripts/?.lua");
    lua_setfield(L, -2, "path");
    lua_settop(L, 0);
    lua_sethook(L, on_line, LUA_MASKLINE, 0); /* the coroutines that it makes have it, too */
    FUZZ_CHECK(luaL_loadfile(L, LUNODE_SOURCE "/bindings/fuzz/rpc.lua") == LUA_OK);
    lua_pushinteger(L, getpid());
    call(L, 1, 1);
    return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    static lua_State *L;
    if (!L)
        L = open_state();
    if (size < HEAD)
        return 0;
    lua_pushvalue(L, 1);
    for (int i = 0; i < HEAD; i++)
        lua_pushinteger(L, input[i]);
    lua_pushlstring(L, (const char *)input + HEAD, size - HEAD);
    call(L, HEAD + 1, 0);
    return 0;
}
