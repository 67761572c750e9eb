/* lunode.budget: ends Lua code that does not end by itself. Types in lunode.meta.lua.
 *
 * A count hook looks at the clock every so many instructions, of the coroutine that asked for it
 * and of those made in it: Lua copies C hooks to new coroutines. What it measures is the turn of
 * the loop, so code that waits may last. It costs the code that it watches, and no other.
 *
 * The first error of a turn can be caught, and there is time to clean up. Where the code goes on
 * all the same, each instruction raises, until it has unwound. What a hook cannot see: one long
 * call of C's (string.rep, a pattern that backtracks), and the message handler of an xpcall. */
#include "lua_loop.h"

#include <signal.h>
#include <time.h>

#define BUDGET_TYPE "lunode.budget"

enum { COUNT = 50000 }; /* instructions: less than a millisecond */

struct budget {
    struct ln_loop *loop;
    int64_t seconds; /* nanoseconds of a turn */
    bool interrupt;  /* a pending SIGINT raises */
    int64_t cut;     /* the turn in which it has raised */
};

/* The address of this is the key in the registry. */
static const char budget_key = 0;

static struct budget *push_budget(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &budget_key) == LUA_TUSERDATA)
        return lua_touserdata(L, -1);
    lua_pop(L, 1);
    struct budget *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (struct budget){.loop = ln_lua_loop(L), .seconds = INT64_MAX, .cut = -1};
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &budget_key);
    return b;
}

/* The loop has SIGINT blocked and will find it in its next turn, which may never come. */
static bool take_interrupt(void) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    static const struct timespec none = {0, 0};
    return sigtimedwait(&set, NULL, &none) == SIGINT;
}

static void on_count(lua_State *L, lua_Debug *ar) {
    (void)ar;
    struct budget *b = push_budget(L);
    lua_pop(L, 1);
    int64_t turn = ln_loop_now(b->loop);
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t taken = (int64_t)ts.tv_sec * LN_SECOND + ts.tv_nsec - turn;
    int64_t milliseconds = taken / 1000000;
    bool interrupted = b->interrupt && take_interrupt();
    bool again = b->cut == turn;
    if (!interrupted && !again && taken <= b->seconds) {
        if (lua_gethookcount(L) != COUNT) /* it has got over an earlier turn */
            lua_sethook(L, on_count, LUA_MASKCOUNT, COUNT);
        return;
    }
    if (again)
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    b->cut = turn;
    if (again)
        lua_pushliteral(L, ""); /* where it happens to be says nothing */
    else
        luaL_where(L, 0);
    if (interrupted || (again && taken <= b->seconds))
        lua_pushliteral(L, "interrupted");
    else
        lua_pushfstring(L, "ran for %f s without waiting; the limit is %f s",
                        (lua_Number)milliseconds / 1e3,
                        (lua_Number)b->seconds / (lua_Number)LN_SECOND);
    lua_concat(L, 2);
    lua_error(L);
}

static int budget_arm(lua_State *L) {
    (void)push_budget(L);
    lua_sethook(L, on_count, LUA_MASKCOUNT, COUNT);
    return 0;
}

static int add_traceback(lua_State *L) {
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

/* In C, because where each instruction raises no Lua code could take the hook away. */
static int budget_call(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    (void)push_budget(L);
    lua_pop(L, 1);
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, 1);
    lua_Hook hook = lua_gethook(L);
    int mask = lua_gethookmask(L), count = lua_gethookcount(L);
    lua_sethook(L, on_count, LUA_MASKCOUNT, COUNT);
    int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 1);
    lua_sethook(L, hook, mask, count);
    lua_pushboolean(L, status == LUA_OK);
    lua_replace(L, 1);
    return lua_gettop(L);
}

static void on_any(lua_State *L, lua_Debug *ar) {
    (void)ar;
    luaL_error(L, "ended: it went on after it was cancelled");
}

static int budget_kill(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTHREAD);
    lua_sethook(lua_tothread(L, 1), on_any, LUA_MASKCOUNT, 1);
    return 0;
}

static int budget_set(lua_State *L) {
    int64_t seconds = lua_isnoneornil(L, 1) ? INT64_MAX : ln_check_seconds(L, 1);
    struct budget *b = push_budget(L);
    b->seconds = seconds;
    b->interrupt = lua_toboolean(L, 2);
    return 0;
}

static const luaL_Reg functions[] = {{"arm", budget_arm},
                                     {"call", budget_call},
                                     {"kill", budget_kill},
                                     {"set", budget_set},
                                     {NULL, NULL}};

int luaopen_lunode_budget(lua_State *L) {
    luaL_newlib(L, functions);
    return 1;
}
