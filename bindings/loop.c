/* lunode.loop: the event loop as Lua sees it. Types in lunode.meta.lua. */
#include "lua_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LOOP_TYPE   "lunode.loop"
#define TIMER_TYPE  "lunode.timer"
#define HOOK_TYPE   "lunode.hook"
#define SIGNAL_TYPE "lunode.signal"

/* User values of the loop's box. */
enum { ON_ERROR = 1, DEFERRED, RUNNING, LOOP_VALUES = RUNNING };

struct loop_box {
    struct ln_loop *loop;
    lua_State *main;
    struct ln_job job;
    lua_Integer deferred;               /* functions in the list DEFERRED */
    lua_Integer running, running_count; /* of the list RUNNING: called, and all */
};

/* The address of this is the loop's key in the registry. */
static const char loop_key = 0;

/* A loop that was still in use when its state closed: kept in sight of leak checkers. */
static struct ln_loop *volatile left_behind;

/* ---- the loop's box */

static int loop_gc(lua_State *L) {
    struct loop_box *box = luaL_checkudata(L, 1, LOOP_TYPE);
    if (!box->loop)
        return 0;
    ln_job_cancel(&box->job);
    /* A script may leave through os.exit inside of a callback, or start timers in its finalizers:
     * then the loop is still in use, and goes with the process. */
    if (ln_loop_close(box->loop) != LN_OK)
        left_behind = box->loop;
    box->loop = NULL;
    return 0;
}

static struct loop_box *push_loop(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &loop_key) == LUA_TUSERDATA) {
        struct loop_box *made = lua_touserdata(L, -1);
        if (!made->loop) /* a finalizer that runs after ours */
            luaL_error(L, "the event loop has ended with its Lua state");
        return made;
    }
    lua_pop(L, 1);
    struct loop_box *box = lua_newuserdatauv(L, sizeof *box, LOOP_VALUES);
    *box = (struct loop_box){0};
    luaL_newmetatable(L, LOOP_TYPE);
    lua_pushcfunction(L, loop_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    int rc = ln_loop_open(&box->loop);
    if (rc != LN_OK)
        luaL_error(L, "cannot make the event loop: %s", ln_status_text(rc));
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    box->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &loop_key);
    return box;
}

struct ln_loop *ln_lua_loop(lua_State *L) {
    struct ln_loop *loop = push_loop(L)->loop;
    lua_pop(L, 1);
    return loop;
}

lua_State *ln_lua_main(lua_State *L) {
    lua_State *main = push_loop(L)->main;
    lua_pop(L, 1);
    return main;
}

/* ---- callbacks */

static int add_traceback(lua_State *L) {
    const char *message = lua_tostring(L, 1);
    if (!message && luaL_callmeta(L, 1, "__tostring"))
        message = lua_tostring(L, -1);
    if (!message)
        message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    luaL_traceback(L, L, message, 1);
    return 1;
}

/* For callers that want to see what was raised: a string gets its traceback, other values stay as
 * they are. */
static int keep_value(lua_State *L) {
    return lua_type(L, 1) == LUA_TSTRING ? add_traceback(L) : 1;
}

void ln_report(lua_State *L) {
    int top = lua_gettop(L);
    const char *second = NULL;
    bool told = false;
    const char *traceback = luaL_tolstring(L, top, NULL);
    push_loop(L);
    if (lua_getiuservalue(L, -1, ON_ERROR) == LUA_TFUNCTION) {
        lua_pushvalue(L, top + 1);
        told = lua_pcall(L, 1, 0, 0) == LUA_OK;
        second = told ? NULL : lua_tostring(L, -1);
    }
    if (!told)
        (void)fprintf(stderr, "lunode: %s\n", traceback);
    if (second)
        (void)fprintf(stderr, "lunode: and on_error failed: %s\n", second);
    lua_settop(L, top);
}

/* Calls fn(p, …the nargs values on top of the stack). False: what was raised lies on the stack
 * instead. */
static bool call(lua_State *L, lua_CFunction fn, void *p, int nargs, lua_CFunction handler) {
    int base = lua_gettop(L) - nargs;
    lua_pushcfunction(L, handler);
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, p);
    lua_rotate(L, base + 1, 3);
    bool ok = lua_pcall(L, nargs + 1, 0, base + 1) == LUA_OK;
    lua_remove(L, base + 1);
    return ok;
}

bool ln_try(lua_State *L, lua_CFunction fn, void *p) {
    if (lua_checkstack(L, LUA_MINSTACK))
        return call(L, fn, p, 0, keep_value);
    lua_pushnil(L); /* out of memory: Lua keeps a few slots for this */
    return false;
}

bool ln_protect(lua_State *L, lua_CFunction fn, void *p, int nargs) {
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        (void)fprintf(stderr, "lunode: out of memory for a callback\n");
        lua_pop(L, nargs);
        return false;
    }
    bool ok = call(L, fn, p, nargs, add_traceback);
    if (!ok) {
        ln_report(L);
        lua_pop(L, 1);
    }
    return ok;
}

int ln_pin(lua_State *L, int index) {
    lua_pushvalue(L, index);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

void ln_unpin(lua_State *L, int *ref) {
    luaL_unref(L, LUA_REGISTRYINDEX, *ref);
    *ref = LUA_NOREF;
}

int64_t ln_check_seconds(lua_State *L, int index) {
    lua_Number seconds = luaL_checknumber(L, index);
    luaL_argcheck(L, seconds >= 0, index, "seconds must not be negative");
    return seconds > 9e9 ? INT64_MAX : (int64_t)(seconds * (lua_Number)LN_SECOND);
}

/* ---- timers: active ones are pinned; the callback is user value 1 */

struct timer_box {
    struct ln_timer timer;
    lua_State *main;
    int ref;
    int64_t delay;
};

static struct timer_box *check_timer(lua_State *L) {
    return luaL_checkudata(L, 1, TIMER_TYPE);
}

static int call_timer(lua_State *L) {
    struct timer_box *box = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->ref);
    lua_getiuservalue(L, 2, 1);
    lua_insert(L, 2);
    if (!ln_timer_active(&box->timer))
        ln_unpin(L, &box->ref);
    lua_call(L, 1, 0);
    return 0;
}

static void on_timer(struct ln_timer *timer) {
    struct timer_box *box = (struct timer_box *)timer;
    ln_protect(box->main, call_timer, box, 0);
}

static void timer_start(lua_State *L, struct timer_box *box, int index, int64_t interval) {
    int rc = ln_timer_start(ln_lua_loop(L), &box->timer, box->delay, interval, on_timer);
    if (rc != LN_OK)
        luaL_error(L, "cannot start the timer: %s", ln_status_text(rc));
    if (box->ref == LUA_NOREF)
        box->ref = ln_pin(L, index);
}

static int loop_timer(lua_State *L) {
    int64_t delay = ln_check_seconds(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    int64_t interval = lua_isnoneornil(L, 3) ? 0 : ln_check_seconds(L, 3);
    luaL_argcheck(L, lua_isnoneornil(L, 3) || interval > 0, 3, "interval must be positive");
    struct timer_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct timer_box){.main = ln_lua_main(L), .ref = LUA_NOREF, .delay = delay};
    luaL_setmetatable(L, TIMER_TYPE);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    timer_start(L, box, -1, interval);
    return 1;
}

static int timer_close(lua_State *L) {
    struct timer_box *box = check_timer(L);
    ln_timer_stop(&box->timer);
    ln_unpin(L, &box->ref);
    return 0;
}

static int timer_again(lua_State *L) {
    struct timer_box *box = check_timer(L);
    if (!lua_isnoneornil(L, 2))
        box->delay = ln_check_seconds(L, 2);
    timer_start(L, box, 1, box->timer.interval);
    return 0;
}

static int timer_is_active(lua_State *L) {
    lua_pushboolean(L, ln_timer_active(&check_timer(L)->timer));
    return 1;
}

/* ---- deferred calls: a list in a user value, run by one job */

/* Runs the list until its end or until one of its functions raises: then it is called again. */
static int call_deferred(lua_State *L) {
    struct loop_box *box = lua_touserdata(L, 1);
    push_loop(L);
    lua_getiuservalue(L, 2, RUNNING);
    while (box->running < box->running_count) {
        lua_rawgeti(L, 3, ++box->running);
        lua_call(L, 0, 0);
    }
    lua_pushnil(L);
    lua_setiuservalue(L, 2, RUNNING);
    return 0;
}

/* What these calls defer goes to a new list, for the next turn. */
static int take_deferred(lua_State *L) {
    struct loop_box *box = lua_touserdata(L, 1);
    push_loop(L);
    lua_getiuservalue(L, 2, DEFERRED);
    lua_setiuservalue(L, 2, RUNNING);
    lua_pushnil(L);
    lua_setiuservalue(L, 2, DEFERRED);
    box->running = 0;
    box->running_count = box->deferred;
    box->deferred = 0;
    return 0;
}

static void on_deferred(struct ln_job *job) {
    struct loop_box *box = LN_OWNER(struct loop_box, job, job);
    if (!ln_protect(box->main, take_deferred, box, 0))
        return;
    while (!ln_protect(box->main, call_deferred, box, 0))
        ;
}

static int loop_defer(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct loop_box *box = push_loop(L);
    if (lua_getiuservalue(L, -1, DEFERRED) != LUA_TTABLE) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, -4, DEFERRED);
    }
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, box->deferred + 1);
    box->deferred++;
    ln_loop_defer(box->loop, &box->job, on_deferred);
    return 0;
}

/* ---- before_sleep hooks */

struct hook_box {
    struct ln_hook hook;
    struct ln_loop *loop;
    lua_State *main;
    int ref;
};

static int call_hook(lua_State *L) {
    struct hook_box *box = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->ref);
    lua_getiuservalue(L, -1, 1);
    lua_call(L, 0, 0);
    return 0;
}

static void on_hook(struct ln_hook *hook) {
    struct hook_box *box = (struct hook_box *)hook;
    ln_protect(box->main, call_hook, box, 0);
}

static int loop_before_sleep(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct hook_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct hook_box){.loop = ln_lua_loop(L), .main = ln_lua_main(L), .ref = LUA_NOREF};
    luaL_setmetatable(L, HOOK_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    box->ref = ln_pin(L, -1);
    ln_hook_add(box->loop, &box->hook, on_hook);
    return 1;
}

static int hook_close(lua_State *L) {
    struct hook_box *box = luaL_checkudata(L, 1, HOOK_TYPE);
    ln_hook_remove(box->loop, &box->hook);
    ln_unpin(L, &box->ref);
    return 0;
}

/* ---- signals */

struct signal_box {
    struct ln_signal signal;
    struct ln_loop *loop;
    lua_State *main;
    int ref;
};

static int call_signal(lua_State *L) {
    struct signal_box *box = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->ref);
    lua_getiuservalue(L, -1, 1);
    lua_pushstring(L, sigabbrev_np(box->signal.signum));
    lua_call(L, 1, 0);
    return 0;
}

static void on_signal(struct ln_signal *signal) {
    struct signal_box *box = (struct signal_box *)signal;
    ln_protect(box->main, call_signal, box, 0);
}

static int signal_number(const char *name) {
    for (int signum = 1; signum < NSIG; signum++) {
        const char *known = sigabbrev_np(signum);
        if (known && strcmp(known, name) == 0)
            return signum;
    }
    return -1;
}

static int loop_signal(lua_State *L) {
    int signum = signal_number(luaL_checkstring(L, 1));
    luaL_argcheck(L, signum > 0, 1, "no such signal; give a name such as \"TERM\"");
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct signal_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct signal_box){.loop = ln_lua_loop(L), .main = ln_lua_main(L), .ref = LUA_NOREF};
    luaL_setmetatable(L, SIGNAL_TYPE);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    int rc = ln_signal_start(box->loop, &box->signal, signum, on_signal);
    luaL_argcheck(L, rc == LN_OK, 1, "this signal cannot be caught");
    box->ref = ln_pin(L, -1);
    return 1;
}

static int signal_close(lua_State *L) {
    struct signal_box *box = luaL_checkudata(L, 1, SIGNAL_TYPE);
    if (box->signal.active)
        ln_signal_stop(box->loop, &box->signal);
    ln_unpin(L, &box->ref);
    return 0;
}

/* ---- time, chance */

static int loop_now(lua_State *L) {
    lua_pushnumber(L, (lua_Number)ln_loop_now(ln_lua_loop(L)) / (lua_Number)LN_SECOND);
    return 1;
}

static int loop_time(lua_State *L) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    lua_pushnumber(L, (lua_Number)ts.tv_sec + (lua_Number)ts.tv_nsec / 1e9);
    return 1;
}

static int loop_random(lua_State *L) {
    lua_Integer low = luaL_checkinteger(L, 1);
    lua_Integer high = luaL_checkinteger(L, 2);
    luaL_argcheck(L, low <= high, 2, "interval is empty");
    lua_Unsigned range = (lua_Unsigned)high - (lua_Unsigned)low; /* inclusive: 2^64 - 1 is all */
    lua_Unsigned mask = range, draw = 0;
    for (unsigned shift = 1; shift < 64; shift *= 2)
        mask |= mask >> shift;
    do { /* rejection keeps it uniform */
        if (getrandom(&draw, sizeof draw, 0) != (ssize_t)sizeof draw)
            return luaL_error(L, "the kernel gives no random numbers: %s", strerror(errno));
        draw &= mask;
    } while (draw > range);
    lua_pushinteger(L, (lua_Integer)((lua_Unsigned)low + draw));
    return 1;
}

/* ---- the process */

/* Pages in memory; 0 where the system does not tell. */
static long resident_pages(void) {
    char text[128], *end = text;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    (void)strtol(text, &end, 10); /* its whole size */
    return strtol(end, NULL, 10);
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void set_seconds(lua_State *L, const char *name, struct timeval time) {
    lua_pushnumber(L, (lua_Number)time.tv_sec + (lua_Number)time.tv_usec / 1e6);
    lua_setfield(L, -2, name);
}

static int loop_process(lua_State *L) {
    struct rusage usage = {0};
    struct rlimit files = {0};
    getrusage(RUSAGE_SELF, &usage);
    getrlimit(RLIMIT_NOFILE, &files);
    lua_Integer page = sysconf(_SC_PAGESIZE), rss = resident_pages() * page;
    lua_Integer peak = (lua_Integer)usage.ru_maxrss * 1024; /* is counted in steps */
    lua_createtable(L, 0, 7);
    set_integer(L, "pid", getpid());
    set_integer(L, "max_files", files.rlim_cur < INT_MAX ? (lua_Integer)files.rlim_cur : INT_MAX);
    set_integer(L, "rss", rss);
    set_integer(L, "peak_rss", peak > rss ? peak : rss);
    set_integer(L, "system_memory", sysconf(_SC_PHYS_PAGES) * page);
    set_seconds(L, "user", usage.ru_utime);
    set_seconds(L, "system", usage.ru_stime);
    return 1;
}

static int loop_trim(lua_State *L) {
    (void)L;
    (void)malloc_trim(0);
    return 0;
}

/* ---- running */

static void check_run(lua_State *L, const char *name, int rc) {
    if (rc == -EBUSY)
        luaL_error(L, "loop.%s inside of a callback", name);
    if (rc != LN_OK)
        luaL_error(L, "loop.%s: %s", name, ln_status_text(rc));
}

static int loop_run(lua_State *L) {
    check_run(L, "run", ln_loop_run(ln_lua_loop(L)));
    return 0;
}

static int loop_step(lua_State *L) {
    struct ln_loop *loop = ln_lua_loop(L);
    check_run(L, "step", ln_loop_step(loop, lua_isnoneornil(L, 1) ? 0 : ln_check_seconds(L, 1)));
    lua_pushboolean(L, ln_loop_alive(loop));
    return 1;
}

static int loop_stop(lua_State *L) {
    ln_loop_stop(ln_lua_loop(L));
    return 0;
}

static int loop_on_error(lua_State *L) {
    if (!lua_isnoneornil(L, 1))
        luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    push_loop(L);
    lua_getiuservalue(L, 2, ON_ERROR);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 2, ON_ERROR);
    return 1;
}

/* For errors that a script caught on their way to the loop: a task's, say. */
static int loop_report(lua_State *L) {
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    ln_report(L);
    return 0;
}

/* ---- what is active: whatever ln_pin keeps, for a box is pinned just as long */

static bool is_handle(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TUSERDATA || luaL_getmetafield(L, index, "__name") == LUA_TNIL)
        return false;
    const char *name = lua_tostring(L, -1);
    bool ours = name && strncmp(name, "lunode.", strlen("lunode.")) == 0;
    lua_pop(L, 1);
    return ours;
}

static int loop_handles(lua_State *L) {
    lua_settop(L, 0);
    lua_newtable(L);
    lua_Integer count = 0;
    for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX) != 0; lua_pop(L, 1)) {
        if (!lua_isinteger(L, 2) || !is_handle(L, 3)) /* pins have numbers as keys */
            continue;
        lua_pushvalue(L, 3);
        lua_rawseti(L, 1, ++count);
    }
    return 1;
}

/* ---- the module */

static const luaL_Reg timer_methods[] = {
    {"close", timer_close}, {"again", timer_again}, {"is_active", timer_is_active}, {NULL, NULL}};
static const luaL_Reg hook_methods[] = {{"close", hook_close}, {NULL, NULL}};
static const luaL_Reg signal_methods[] = {{"close", signal_close}, {NULL, NULL}};

static const luaL_Reg loop_functions[] = {
    {"now", loop_now},           {"time", loop_time},
    {"timer", loop_timer},       {"defer", loop_defer},
    {"signal", loop_signal},     {"before_sleep", loop_before_sleep},
    {"random", loop_random},     {"run", loop_run},
    {"step", loop_step},         {"stop", loop_stop},
    {"on_error", loop_on_error}, {"report", loop_report},
    {"handles", loop_handles},   {"process", loop_process},
    {"trim", loop_trim},         {NULL, NULL}};

int luaopen_lunode_loop(lua_State *L) {
    ln_lua_loop(L);
    ln_new_type(L, TIMER_TYPE, timer_methods, timer_close);
    ln_new_type(L, HOOK_TYPE, hook_methods, hook_close);
    ln_new_type(L, SIGNAL_TYPE, signal_methods, signal_close);
    luaL_newlib(L, loop_functions);
    return 1;
}
