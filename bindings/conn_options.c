/* What scripts can say of connections: tables of options, read and checked. */
#include "conn_options.h"

#include "conn.h"
#include "resp_names.h"
#include "store_rows.h"

#include <stdlib.h>
#include <string.h>

static const char *const callback_names[] = {
    [LN_ON_CONNECT] = "on_connect",
    [LN_ON_READ] = "on_read",
    [LN_ON_WRITABLE] = "on_writable",
    [LN_ON_END] = "on_end",
    [LN_ON_CLOSE] = "on_close",
    [LN_ON_MESSAGE] = "on_message",
    [LN_ON_LONG_MESSAGE] = "on_long_message",
    [LN_ON_SHORT_MESSAGE] = "on_short_message",
    [LN_ON_BAD_MESSAGE] = "on_bad_message",
    [LN_ON_ERROR] = "on_error",
};

/* Seconds, as nanoseconds; false or 0: none. */
static int64_t check_timeout(lua_State *L, const char *key) {
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        return 0;
    if (!lua_isnumber(L, -1) || !(lua_tonumber(L, -1) >= 0))
        luaL_error(L, "option '%s' must be a number of seconds, or false", key);
    return ln_check_seconds(L, lua_gettop(L));
}

static int check_field(lua_State *L, const char *field, const char *label) {
    int value = 0;
    if (lua_getfield(L, -1, field) != LUA_TNIL)
        value = (int)ln_check_count(L, label, 1, 32767);
    lua_pop(L, 1);
    return value;
}

/* `keepalive = false`, `= seconds` or `= {idle = …, interval = …, count = …}`. */
static void take_keepalive(lua_State *L, struct ln_stream_keepalive *k) {
    k->idle = k->interval = k->count = 0;
    if (lua_istable(L, -1)) {
        k->idle = check_field(L, "idle", "keepalive.idle");
        k->interval = check_field(L, "interval", "keepalive.interval");
        k->count = check_field(L, "count", "keepalive.count");
    } else if (!lua_isboolean(L, -1) || lua_toboolean(L, -1)) {
        k->idle = (int)ln_check_count(L, "keepalive", 1, 32767);
    }
}

/* How the kernel looks after a silent peer. False when the key is none of these. */
static bool take_care_setting(lua_State *L, const char *key, struct ln_conn_options *o) {
    if (strcmp(key, "idle_timeout") == 0)
        o->timeouts.idle = check_timeout(L, key);
    else if (strcmp(key, "read_timeout") == 0)
        o->timeouts.read = check_timeout(L, key);
    else if (strcmp(key, "write_timeout") == 0)
        o->timeouts.write = check_timeout(L, key);
    else if (strcmp(key, "keepalive") == 0)
        take_keepalive(L, &o->keepalive), o->sets_keepalive = true;
    else if (strcmp(key, "user_timeout") == 0)
        o->keepalive.user_timeout_ms = (int)(check_timeout(L, key) / 1000000),
        o->sets_keepalive = true;
    else
        return false;
    return true;
}

/* Of an open connection, too: takes the one whose value is on top of the stack. False when the key
 * is none. */
static bool take_setting(lua_State *L, const char *key, struct ln_conn_options *o) {
    const lua_Integer max_size = 1LL << 40;
    if (strcmp(key, "low") == 0)
        o->limits.low = (size_t)ln_check_count(L, key, 1, max_size);
    else if (strcmp(key, "high") == 0)
        o->limits.high = (size_t)ln_check_count(L, key, 1, max_size);
    else if (strcmp(key, "cap") == 0)
        o->limits.cap = (size_t)ln_check_count(L, key, 1, max_size);
    else if (strcmp(key, "nodelay") == 0)
        o->nodelay = ln_check_boolean(L, key), o->sets_nodelay = true;
    else
        return take_care_setting(L, key, o) || ln_decoder_take_setting(L, key, &o->settings);
    return true;
}

/* A string: Lua has no octal numbers, and 0600 would be six hundred. */
static mode_t check_mode(lua_State *L, const char *key) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    char *end = NULL;
    unsigned long mode = strtoul(text, &end, 8);
    if (strspn(text, "01234567") == 0 || *end != '\0' || mode == 0 || mode > 0777)
        luaL_error(L, "option '%s' must be a string of octal digits such as \"0600\"", key);
    return (mode_t)mode;
}

static bool take_option(lua_State *L, const char *key, enum ln_conn_side side, int list,
                        struct ln_conn_options *o) {
    if (side == LN_CLIENT && strcmp(key, "connect_timeout") == 0) {
        if (!lua_isnumber(L, -1) || !(lua_tonumber(L, -1) > 0))
            luaL_error(L, "option 'connect_timeout' must be a positive number of seconds");
        o->connect_timeout = ln_check_seconds(L, lua_gettop(L));
    } else if (side == LN_SERVER && strcmp(key, "backlog") == 0) {
        o->backlog = (int)ln_check_count(L, key, 1, 1 << 20);
    } else if (side == LN_SERVER && strcmp(key, "max_connections") == 0) {
        o->max_connections = (size_t)ln_check_count(L, key, 1, 1 << 24);
    } else if (side == LN_SERVER && strcmp(key, "reuseport") == 0) {
        o->reuseport = ln_check_boolean(L, key);
    } else if (side == LN_SERVER && strcmp(key, "ipv6_only") == 0) {
        o->ipv6_only = ln_check_boolean(L, key);
    } else if (side == LN_SERVER && strcmp(key, "mode") == 0) {
        o->mode = check_mode(L, key);
    } else if (strcmp(key, "decoder") == 0) {
        ln_decoder_take_option(L, list, &o->decoder);
    } else if (strcmp(key, "names") == 0) {
        if (!ln_resp_names_test(L, -1))
            luaL_error(L, "option 'names' must be what resp.names gives");
        lua_pushvalue(L, -1);
        lua_rawseti(L, list, LN_NAMES);
    } else if (strcmp(key, "ahead") == 0) {
        if (!ln_store_rows_test(L, -1))
            luaL_error(L, "option 'ahead' must be what store:rows gives");
        lua_pushvalue(L, -1);
        lua_rawseti(L, list, LN_AHEAD);
    } else {
        return take_setting(L, key, o);
    }
    return true;
}

/* Takes the callback whose value is on top of the stack into the list at index. */
static bool take_callback(lua_State *L, const char *key, int list) {
    for (int i = 1; i < LN_CALLBACKS; i++) {
        if (strcmp(key, callback_names[i]) != 0)
            continue;
        if (!lua_isfunction(L, -1))
            luaL_error(L, "option '%s' must be a function", key);
        lua_pushvalue(L, -1);
        lua_rawseti(L, list, i);
        return true;
    }
    return false;
}

static const char *check_key(lua_State *L) {
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "options are named; found a %s as a key", luaL_typename(L, -2));
    return lua_tostring(L, -2);
}

void ln_conn_check_options(lua_State *L, int index, enum ln_conn_side side,
                           struct ln_conn_options *o) {
    luaL_checktype(L, index, LUA_TTABLE);
    *o = (struct ln_conn_options){.limits = LN_STREAM_LIMITS_DEFAULT,
                                  .settings = LN_DECODER_SETTINGS_DEFAULT,
                                  .connect_timeout = 5 * LN_SECOND,
                                  .backlog = 511};
    lua_createtable(L, LN_DECODER, 0);
    int list = lua_gettop(L);
    for (int i = 1; i < LN_CALLBACKS; i++) {
        lua_pushboolean(L, 0);
        lua_rawseti(L, list, i);
    }
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *key = check_key(L);
        if (!take_callback(L, key, list) && !take_option(L, key, side, list, o))
            luaL_error(L, "unknown option '%s'", key);
    }
}

void ln_conn_check_settings(lua_State *L, int index, struct ln_conn_options *o) {
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *key = check_key(L);
        if (!take_setting(L, key, o))
            luaL_error(L, "unknown option '%s'", key);
    }
}
