/* The binary: a Lua state with the C modules preloaded and the scripts beside it on the path; what
 * it does with its arguments is lunode.cli, in Lua. */
#include "common.h"

#include <limits.h>
#include <lualib.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const luaL_Reg modules[] = {
    {"lunode.decoder", luaopen_lunode_decoder},
    {"lunode.hash", luaopen_lunode_hash},
    {"lunode.batch", luaopen_lunode_batch},
    {"lunode.bits", luaopen_lunode_bits},
    {"lunode.budget", luaopen_lunode_budget},
    {"lunode.lcs", luaopen_lunode_lcs},
    {"lunode.log", luaopen_lunode_log},
    {"lunode.loop", luaopen_lunode_loop},
    {"lunode.msgpack", luaopen_lunode_msgpack},
    {"lunode.nearby", luaopen_lunode_nearby},
    {"lunode.ranks", luaopen_lunode_ranks},
    {"lunode.resp", luaopen_lunode_resp},
    {"lunode.score", luaopen_lunode_score},
    {"lunode.slot", luaopen_lunode_slot},
    {"lunode.store", luaopen_lunode_store},
    {"lunode.tcp_client", luaopen_lunode_tcp_client},
    {"lunode.tcp_server", luaopen_lunode_tcp_server},
    {"lunode.watchdog", luaopen_lunode_watchdog},
    {NULL, NULL},
};

/* The scripts are found from where the binary is, so that an installation can be moved:
 * PREFIX/bin/lunode, PREFIX/share/lua/5.4/lunode/cli.lua, PREFIX/lib/lunode/lunode/edit.so. */
static void set_path(lua_State *L) {
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    char *slash = NULL;
    if (n > 0) {
        exe[n] = '\0';
        slash = strrchr(exe, '/');
    }
    if (!slash) {
        (void)luaL_error(L, "cannot tell where this binary is: /proc/self/exe is not readable");
        return;
    }
    *slash = '\0';
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/../share/lua/5.4/?.lua;%s/../share/lua/5.4/?/init.lua;%s", exe, exe,
                    lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 1);
    lua_getfield(L, -1,
                 "cpath"); /* what few need: lunode.edit. Not where lunode.so is, a second core */
    lua_pushfstring(L, "%s/../lib/lunode/?.so;%s", exe, lua_tostring(L, -1));
    lua_setfield(L, -3, "cpath");
    lua_pop(L, 2);
}

static int protected_main(lua_State *L) {
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    luaL_setfuncs(L, modules, 0);
    set_path(L);

    lua_getglobal(L, "require");
    lua_pushliteral(L, "lunode.cli");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    return 1;
}

static int add_traceback(lua_State *L) {
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

/* Queues and Lua's strings come and go all the time: do not give their pages back to the system
 * after each turn of the loop, only to ask for them again in the next. */
static void keep_pages(void) {
    (void)mallopt(M_TRIM_THRESHOLD, 16 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
}

/* The soft limit of descriptors is for programs that call select. */
static void raise_files(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

int main(int argc, char **argv) {
    keep_pages();
    raise_files();
    lua_State *L = luaL_newstate();
    if (!L) {
        (void)fprintf(stderr, "lunode: out of memory\n");
        return EXIT_FAILURE;
    }
    (void)signal(SIGPIPE,
                 SIG_IGN); /* a peer, or a pager, that goes away is an error code, no death */
    lua_pushcfunction(L, add_traceback);
    lua_pushcfunction(L, protected_main);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int code = EXIT_FAILURE;
    if (lua_pcall(L, 2, 1, 1) == LUA_OK)
        code = (int)lua_tointeger(L, -1);
    else
        (void)fprintf(stderr, "lunode: %s\n", lua_tostring(L, -1));
    lua_close(L);
    return code;
}
