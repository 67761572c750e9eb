/* lunode.watchdog: ends Lua code that runs too long, without any cost while it does not. Types in
 * lunode.meta.lua.
 *
 * `call` counts, a timer of the thread's processor time looks whether it is still the same call,
 * and only then sets a hook, which raises at each further instruction until that call has returned:
 * so neither pcall nor another coroutine can swallow it. `resume`, `wrap` and `close` tell the
 * timer which Lua threads run. Code inside of a C function (a pattern that backtracks without end)
 * never comes to a hook: after GRACE times the budget the process ends, with one line that says
 * where. */
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define TICKS 4   /* in one budget */
#define GRACE 10  /* budgets that code may stay inside of C */
#define DEPTH 256 /* Lua itself permits 200 levels of C */

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum reason { NONE, BUDGET, CANCELLED };

/* The handler reads and writes this in the thread whose time the timer counts: the one that runs
 * Lua. */
static struct {
    lua_State *volatile threads[DEPTH]; /* that run now, each resumed by the one before */
    volatile int top;
    volatile int base;  /* index of the innermost call's thread */
    volatile int calls; /* that are under way */
    volatile unsigned serial, seen;
    volatile int ticks;  /* since the call began, about */
    volatile int reason; /* why the innermost call has to end */
    const char *volatile what;
    timer_t timer;
    bool has_timer;
    int starts;
    double seconds;
} dog;

/* The address of each is its key in the registry. */
static const char traceback_key = 0, value_key = 0;

/* ---- the hook */

static void keep_traceback(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &traceback_key) == LUA_TNIL) {
        luaL_traceback(L, L, NULL, 0);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &traceback_key);
    }
    lua_pop(L, 1);
}

static int raise_reason(lua_State *L) {
    if (dog.reason == CANCELLED)
        lua_rawgetp(L, LUA_REGISTRYINDEX, &value_key);
    else {
        luaL_where(L, 0);
        lua_pushfstring(L, "used more than %f s of processor time within one event", dog.seconds);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static void on_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    if (dog.reason == NONE) {
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    keep_traceback(L);
    raise_reason(L);
}

static void set_hooks(void) {
    for (int i = dog.base; i < dog.top; i++)
        lua_sethook(dog.threads[i], on_hook, LUA_MASKCOUNT, 1);
}

/* ---- the timer */

static void give_up(void) {
    char text[256];
    int length = snprintf(
        text, sizeof text,
        "lunode: %s: has spent %g times its budget of %g s inside of one C function, which nothing can "
        "interrupt (a pattern?); the process ends\n",
        dog.what ? dog.what : "?", (double)GRACE, dog.seconds);
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0) {
        /* nobody reads it */
    }
    _exit(70);
}

static void on_tick(int signum) {
    (void)signum;
    if (dog.calls == 0)
        return;
    if (dog.serial != dog.seen) {
        dog.seen = dog.serial;
        dog.ticks = 0;
        return;
    }
    dog.ticks++;
    if (dog.ticks < TICKS)
        return;
    if (dog.ticks > TICKS * GRACE)
        give_up();
    if (dog.reason == NONE)
        dog.reason = BUDGET;
    set_hooks();
}

static void make_timer(lua_State *L) {
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGVTALRM};
    event.sigev_notify_thread_id = gettid();
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGVTALRM, &action, NULL) != 0 ||
        timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &dog.timer) != 0)
        luaL_error(L, "cannot make a timer of processor time: %s", strerror(errno));
    dog.has_timer = true;
}

static void set_timer(double seconds) {
    double tick = seconds / TICKS;
    struct itimerspec spec = {0};
    spec.it_interval.tv_sec = (time_t)tick;
    spec.it_interval.tv_nsec = (long)((tick - (double)spec.it_interval.tv_sec) * 1e9);
    spec.it_value = spec.it_interval;
    (void)timer_settime(dog.timer, 0, &spec, NULL);
}

static int watchdog_start(lua_State *L) {
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0.001 && seconds <= 1e6, 1, "seconds from 0.001 to 1e6 expected");
    if (dog.starts == 0) {
        if (!dog.has_timer)
            make_timer(L);
        dog.seconds = seconds;
        set_timer(seconds);
    }
    dog.starts++;
    return 0;
}

static int watchdog_stop(lua_State *L) {
    (void)L;
    if (dog.starts > 0 && --dog.starts == 0)
        set_timer(0);
    return 0;
}

/* ---- calls */

static void enter(lua_State *L, lua_State *thread) {
    if (dog.top == DEPTH)
        luaL_error(L, "C stack overflow");
    dog.threads[dog.top] = thread;
    dog.top++;
    if (dog.reason != NONE)
        lua_sethook(thread, on_hook, LUA_MASKCOUNT, 1);
}

static void leave(void) {
    lua_State *thread = dog.threads[dog.top - 1];
    dog.top--;
    if (dog.reason != NONE)
        lua_sethook(thread, NULL, 0, 0);
}

static const char *const reasons[] = {
    [NONE] = NULL, [BUDGET] = "budget", [CANCELLED] = "cancelled"};

/* call(what, handler, fn, …) */
static int watchdog_call(lua_State *L) {
    const char *what = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_checkany(L, 3);
    int base = dog.base, reason = dog.reason, top = dog.top;
    const char *outer = dog.what;
    dog.reason = NONE;
    enter(L, L);
    dog.base = top;
    dog.what = what;
    dog.serial++;
    dog.calls++;
    int status = lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 2);
    dog.calls--;
    int ended = dog.reason;
    dog.top = top + 1;
    leave();
    dog.base = base;
    dog.reason = reason;
    dog.what = outer;
    lua_pushboolean(L, status == LUA_OK && ended == NONE);
    lua_replace(L, 2);
    if (ended == NONE)
        return lua_gettop(L) - 1;
    /* It may have returned in good order before the hook could raise: all the same. */
    lua_settop(L, 2);
    if (ended == BUDGET)
        lua_pushfstring(L, "used more than %f s of processor time within one event", dog.seconds);
    else
        lua_rawgetp(L, LUA_REGISTRYINDEX, &value_key);
    lua_pushstring(L, reasons[ended]);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &traceback_key);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &traceback_key);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &value_key);
    return 4;
}

static int watchdog_cancel(lua_State *L) {
    luaL_checkany(L, 1);
    if (dog.calls == 0)
        return luaL_error(L, "watchdog.cancel outside of watchdog.call");
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &value_key);
    dog.reason = CANCELLED;
    set_hooks();
    return raise_reason(L);
}

static int watchdog_ending(lua_State *L) {
    lua_pushboolean(L, dog.calls > 0 && dog.reason != NONE);
    return 1;
}

/* ---- coroutines: as Lua's own functions, and the timer knows of them */

static lua_State *check_thread(lua_State *L) {
    lua_State *thread = lua_tothread(L, 1);
    luaL_argexpected(L, thread, 1, "thread");
    return thread;
}

/* Resumes with the arguments on top of L's stack. How many results there are, or -1 and the error.
 */
static int resume(lua_State *L, lua_State *thread, int arguments) {
    int results;
    if (!lua_checkstack(thread, arguments)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, thread, arguments);
    enter(L, thread);
    int status = lua_resume(thread, L, arguments, &results);
    leave();
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(thread, L, 1);
        return -1;
    }
    if (!lua_checkstack(L, results + 1)) {
        lua_pop(thread, results);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(thread, L, results);
    return results;
}

static int watchdog_resume(lua_State *L) {
    lua_State *thread = check_thread(L);
    int results = resume(L, thread, lua_gettop(L) - 1);
    lua_pushboolean(L, results >= 0);
    if (results < 0)
        results = 1;
    lua_insert(L, -(results + 1));
    return results + 1;
}

static int reset(lua_State *L, lua_State *thread) {
    enter(L, thread);
    int status = lua_resetthread(thread);
    leave();
    return status;
}

static int call_wrapped(lua_State *L) {
    lua_State *thread = lua_tothread(L, lua_upvalueindex(1));
    int results = resume(L, thread, lua_gettop(L));
    if (results >= 0)
        return results;
    int status = lua_status(thread);
    if (status != LUA_OK && status != LUA_YIELD) { /* it died of the error */
        reset(L, thread);
        lua_pop(L, 1);
        lua_xmove(thread, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int watchdog_wrap(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *thread = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, thread, 1);
    lua_pushcclosure(L, call_wrapped, 1);
    return 1;
}

/* Whether nothing runs in it. */
static bool is_closable(lua_State *L, lua_State *thread) {
    lua_Debug ar;
    if (L == thread)
        return false;
    switch (lua_status(thread)) {
    case LUA_OK:
        return !lua_getstack(thread, 0, &ar);
    default:
        return true;
    }
}

static int watchdog_close(lua_State *L) {
    lua_State *thread = check_thread(L);
    if (!is_closable(L, thread))
        return luaL_error(L, "cannot close a %s coroutine", L == thread ? "running" : "normal");
    if (reset(L, thread) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(thread, L, 1);
    return 2;
}

static const luaL_Reg watchdog_functions[] = {
    {"start", watchdog_start},   {"stop", watchdog_stop},     {"call", watchdog_call},
    {"cancel", watchdog_cancel}, {"resume", watchdog_resume}, {"wrap", watchdog_wrap},
    {"close", watchdog_close},   {"ending", watchdog_ending}, {NULL, NULL},
};

int luaopen_lunode_watchdog(lua_State *L) {
    luaL_newlib(L, watchdog_functions);
    return 1;
}
