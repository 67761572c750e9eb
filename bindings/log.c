/* lunode.log: the durable log as Lua sees it. Types in lunode.meta.lua. */
#include "log.h"
#include "lua_loop.h"

#include <errno.h>

#define LOG_TYPE     "lunode.log_handle"
#define ENTRIES_TYPE "lunode.log_entries"

enum { DEFAULT_READ = 1 << 20 };

struct log_box {
    struct ln_log *log; /* NULL: closed, and gone */
    bool closed;
    lua_State *main;
    int ref;                     /* pinned from close on until it is gone */
    struct ln_log_cursor cursor; /* of the read under way; closed later where pushing raised */
    bool reading;
};

struct entries_box {
    struct ln_log_cursor cursor;
    bool open;
};

struct sync_box {
    struct ln_log_sync sync;
    lua_State *main;
    int ref; /* pinned until its function, user value 1, is called */
    int status;
    uint64_t index;
    struct ln_log *log;
};

static struct log_box *check_log(lua_State *L) {
    struct log_box *box = luaL_checkudata(L, 1, LOG_TYPE);
    if (box->closed || !box->log)
        luaL_error(L, "log is closed");
    return box;
}

static uint64_t check_index(lua_State *L, int arg) {
    lua_Integer index = luaL_checkinteger(L, arg);
    luaL_argcheck(L, index >= 0, arg, "an index or term is not negative");
    return (uint64_t)index;
}

static int push_failure(lua_State *L, struct ln_log *log, int status) {
    struct ln_detail detail;
    (void)ln_detail_set(&detail, status, "%s", ln_log_detail(log));
    return ln_push_failure(L, status, &detail);
}

static int push_done(lua_State *L, struct ln_log *log, int status) {
    if (status != LN_OK)
        return push_failure(L, log, status);
    lua_pushboolean(L, 1);
    return 1;
}

static int push_index(lua_State *L, uint64_t index) {
    lua_pushinteger(L, (lua_Integer)index);
    return 1;
}

/* ---- entries */

static int log_append(lua_State *L) {
    struct ln_log *log = check_log(L)->log;
    lua_Integer type = luaL_checkinteger(L, 2);
    size_t len;
    const char *payload = luaL_checklstring(L, 3, &len);
    uint64_t term = 0, index = 0;
    luaL_argcheck(L, type >= 0 && type <= LN_LOG_MAX_TYPE, 2, "a type is 0 … 127");
    if (lua_isnoneornil(L, 4))
        (void)ln_log_term(log, ln_log_last(log), &term);
    else
        term = check_index(L, 4);
    int rc = ln_log_append(log, term, (uint8_t)type, payload, len, &index);
    return rc == LN_OK ? push_index(L, index) : push_failure(L, log, rc);
}

static int log_room(lua_State *L) {
    struct ln_log *log = check_log(L)->log;
    lua_Integer len = luaL_checkinteger(L, 2);
    luaL_argcheck(L, len >= 0, 2, "a number of bytes expected");
    bool wait = lua_isnoneornil(L, 3) || lua_toboolean(L, 3);
    return push_done(L, log, ln_log_room(log, (size_t)len, wait));
}

static int log_first(lua_State *L) {
    return push_index(L, ln_log_first(check_log(L)->log));
}

static int log_last(lua_State *L) {
    return push_index(L, ln_log_last(check_log(L)->log));
}

static int log_synced(lua_State *L) {
    return push_index(L, ln_log_synced(check_log(L)->log));
}

static int log_term(lua_State *L) {
    struct ln_log *log = check_log(L)->log;
    uint64_t term = 0, index = check_index(L, 2);
    struct ln_detail detail;
    int rc = ln_log_term(log, index, &term);
    if (rc == LN_OK)
        return push_index(L, term);
    (void)ln_detail_set(&detail, rc, "the log has no entry %lld", (long long)index);
    return ln_push_failure(L, rc, &detail);
}

static int log_truncate_suffix(lua_State *L) {
    struct ln_log *log = check_log(L)->log;
    return push_done(L, log, ln_log_truncate_suffix(log, check_index(L, 2)));
}

static int log_truncate_prefix(lua_State *L) {
    struct ln_log *log = check_log(L)->log;
    uint64_t index = check_index(L, 2), term = 0;
    if (!lua_isnoneornil(L, 3))
        term = check_index(L, 3);
    else if (ln_log_term(log, index, &term) != LN_OK && index > ln_log_last(log))
        return luaL_argerror(L, 3, "the term of an index that the log does not have is needed");
    return push_done(L, log, ln_log_truncate_prefix(log, index, term));
}

/* ---- the hard state */

static int log_state(lua_State *L) {
    struct ln_log_state state = ln_log_state(check_log(L)->log);
    lua_pushinteger(L, (lua_Integer)state.term);
    if (state.vote_len == 0)
        return 1;
    lua_pushlstring(L, state.vote, state.vote_len);
    return 2;
}

static int log_set_state(lua_State *L) {
    struct ln_log *log = check_log(L)->log;
    uint64_t term = check_index(L, 2);
    size_t len = 0;
    const char *vote = luaL_optlstring(L, 3, "", &len);
    luaL_argcheck(L, len <= LN_LOG_MAX_VOTE, 3, "a vote has at most 128 bytes");
    return push_done(L, log, ln_log_set_state(log, term, vote, len));
}

/* ---- flush and sync */

static int log_flush(lua_State *L) {
    struct ln_log *log = check_log(L)->log;
    return push_done(L, log, ln_log_flush(log));
}

static int call_synced(lua_State *L) {
    struct sync_box *sync = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, sync->ref);
    ln_unpin(L, &sync->ref);
    lua_getiuservalue(L, 2, 1);
    if (sync->status == LN_OK) {
        lua_pushnil(L);
        lua_pushnil(L);
    } else {
        lua_pushstring(L, ln_log_detail(sync->log));
        lua_pushstring(L, ln_status_name(sync->status));
    }
    lua_pushinteger(L, (lua_Integer)sync->index);
    lua_call(L, 3, 0);
    return 0;
}

static void on_synced(struct ln_log_sync *s, int status, uint64_t index) {
    struct sync_box *sync = LN_OWNER(struct sync_box, sync, s);
    sync->status = status;
    sync->index = index;
    (void)ln_protect(sync->main, call_synced, sync, 0);
}

static int log_sync(lua_State *L) {
    struct log_box *box = check_log(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct sync_box *sync = lua_newuserdatauv(L, sizeof *sync, 2);
    *sync = (struct sync_box){.main = box->main, .ref = LUA_NOREF, .log = box->log};
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 1); /* the log lives at least until it is told */
    lua_setiuservalue(L, -2, 2);
    sync->ref = ln_pin(L, -1);
    int rc = ln_log_sync(box->log, &sync->sync, on_synced);
    if (rc != LN_OK)
        ln_unpin(L, &sync->ref);
    return push_done(L, box->log, rc);
}

/* ---- reading */

static void end_read(struct log_box *box) {
    if (box->reading)
        ln_log_cursor_close(&box->cursor);
    box->reading = false;
}

static void push_entry(lua_State *L, const struct ln_log_entry *e) {
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)e->index);
    lua_setfield(L, -2, "index");
    lua_pushinteger(L, (lua_Integer)e->term);
    lua_setfield(L, -2, "term");
    lua_pushinteger(L, e->type);
    lua_setfield(L, -2, "type");
    lua_pushlstring(L, e->payload, e->len);
    lua_setfield(L, -2, "payload");
}

static int log_read(lua_State *L) {
    struct log_box *box = check_log(L);
    uint64_t from = check_index(L, 2);
    uint64_t to = lua_isnoneornil(L, 3) ? UINT64_MAX : check_index(L, 3);
    lua_Integer most = luaL_optinteger(L, 4, DEFAULT_READ);
    struct ln_log_entry e;
    luaL_argcheck(L, most >= 0, 4, "a number of bytes expected");
    end_read(box);
    ln_log_cursor_open(box->log, from, to, &box->cursor);
    box->reading = true;
    lua_newtable(L);
    size_t bytes = 0;
    int rc = LN_OK;
    for (lua_Integer n = 1; bytes == 0 || bytes < (size_t)most; n++) {
        rc = ln_log_cursor_next(&box->cursor, &e);
        if (rc != LN_OK || (n > 1 && bytes + e.len > (size_t)most))
            break;
        push_entry(L, &e);
        lua_rawseti(L, -2, n);
        bytes += e.len > 0 ? e.len : 1; /* many empty ones are not nothing */
    }
    end_read(box);
    return rc == LN_OK || rc == LN_EOF ? 1 : push_failure(L, box->log, rc);
}

static int entries_close(lua_State *L) {
    struct entries_box *box = luaL_checkudata(L, 1, ENTRIES_TYPE);
    if (box->open)
        ln_log_cursor_close(&box->cursor);
    box->open = false;
    return 0;
}

/* The iterator. A failure raises: a loop that ended early would look like one that met all. */
static int entries_next(lua_State *L) {
    struct entries_box *box = lua_touserdata(L, lua_upvalueindex(1));
    struct log_box *log = lua_touserdata(L, lua_upvalueindex(2));
    struct ln_log_entry e;
    if (log->closed || !log->log)
        return luaL_error(L, "log is closed");
    int rc = box->open ? ln_log_cursor_next(&box->cursor, &e) : LN_EOF;
    if (rc == LN_EOF) {
        lua_pushnil(L);
        return 1;
    }
    if (rc != LN_OK)
        return luaL_error(L, "%s", ln_log_detail(log->log));
    lua_pushinteger(L, (lua_Integer)e.index);
    lua_pushlstring(L, e.payload, e.len);
    lua_pushinteger(L, e.type);
    lua_pushinteger(L, (lua_Integer)e.term);
    return 4;
}

/* Returns what a generic for takes: the iterator, two nils, and the box, which it closes. */
static int log_entries(lua_State *L) {
    struct log_box *log = check_log(L);
    uint64_t from = lua_isnoneornil(L, 2) ? ln_log_first(log->log) : check_index(L, 2);
    uint64_t to = lua_isnoneornil(L, 3) ? UINT64_MAX : check_index(L, 3);
    struct entries_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->open = false;
    luaL_setmetatable(L, ENTRIES_TYPE);
    ln_log_cursor_open(log->log, from, to, &box->cursor);
    box->open = true;
    int at = lua_gettop(L);
    lua_pushvalue(L, at);
    lua_pushvalue(L, 1); /* the log lives as long as its iterator */
    lua_pushcclosure(L, entries_next, 2);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, at);
    return 4;
}

/* ---- stats */

static void set_count(lua_State *L, const char *name, uint64_t count) {
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static int log_stats(lua_State *L) {
    struct ln_log_stats s;
    ln_log_stats(check_log(L)->log, &s);
    lua_createtable(L, 0, 12);
    set_count(L, "segments", s.segments);
    set_count(L, "disk_bytes", s.disk_bytes);
    set_count(L, "appends", s.appends);
    set_count(L, "writes", s.writes);
    set_count(L, "written_bytes", s.written_bytes);
    set_count(L, "syncs", s.syncs);
    set_count(L, "synced_bytes", s.synced_bytes);
    set_count(L, "waits", s.waits);
    set_count(L, "unwritten_bytes", s.unwritten_bytes);
    set_count(L, "unsynced_bytes", s.unsynced_bytes);
    lua_pushnumber(L, s.last_sync_seconds);
    lua_setfield(L, -2, "last_sync_seconds");
    lua_pushboolean(L, s.full);
    lua_setfield(L, -2, "full");
    return 1;
}

/* ---- open, close */

static int call_closed(lua_State *L) {
    struct log_box *box = lua_touserdata(L, 1);
    ln_unpin(L, &box->ref);
    return 0;
}

static void on_closed(void *arg) {
    struct log_box *box = arg;
    box->log = NULL;
    (void)ln_protect(box->main, call_closed, box, 0);
}

static int log_close(lua_State *L) {
    struct log_box *box = luaL_checkudata(L, 1, LOG_TYPE);
    end_read(box);
    if (box->closed || !box->log) {
        lua_pushboolean(L, 1);
        return 1;
    }
    box->ref = ln_pin(L, 1);
    box->closed = true;
    return push_done(L, box->log, ln_log_close(box->log, on_closed, box));
}

/* A box that is pinned is collected only with its state: then nobody is told any more. */
static int log_gc(lua_State *L) {
    struct log_box *box = luaL_checkudata(L, 1, LOG_TYPE);
    end_read(box);
    if (!box->log)
        return 0;
    ln_log_forget(box->log);
    if (!box->closed)
        (void)ln_log_close(box->log, NULL, NULL);
    box->closed = true;
    box->log = NULL;
    return 0;
}

static lua_Integer size_option(lua_State *L, int index, const char *name, lua_Integer most) {
    lua_Integer size = 0;
    int is_integer = 1;
    if (lua_getfield(L, index, name) != LUA_TNIL)
        size = lua_tointegerx(L, -1, &is_integer);
    lua_pop(L, 1);
    if (!is_integer || size < 0 || size > most)
        luaL_error(L, "bad option %s (a number of bytes up to %I expected)", name, most);
    return size;
}

static struct ln_log_options check_options(lua_State *L, int index) {
    struct ln_log_options options = {.create = true};
    if (lua_isnoneornil(L, index))
        return options;
    luaL_checktype(L, index, LUA_TTABLE);
    if (lua_getfield(L, index, "create") != LUA_TNIL)
        options.create = lua_toboolean(L, -1);
    lua_pop(L, 1);
    options.segment_size = (uint32_t)size_option(L, index, "segment_size", 1 << 30);
    options.memory = (size_t)size_option(L, index, "memory", 1 << 30);
    return options;
}

static int log_open(lua_State *L) {
    const char *dir = luaL_checkstring(L, 1);
    struct ln_log_options options = check_options(L, 2);
    struct ln_detail detail;
    struct ln_loop *loop = ln_lua_loop(L);
    struct log_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct log_box){.main = ln_lua_main(L), .ref = LUA_NOREF};
    luaL_setmetatable(L, LOG_TYPE);
    int rc = ln_log_open(loop, dir, &options, &detail, &box->log);
    return rc == LN_OK ? 1 : ln_push_failure(L, rc, &detail);
}

/* ---- checking */

struct check {
    lua_State *L;
    const struct ln_log_finding *finding;
    bool raised; /* what is on top of the stack */
};

static void push_finding(lua_State *L, const struct ln_log_finding *f) {
    static const char *const kinds[] = {"segment", "record", "torn", "unused", "damage"};
    if (f->kind == LN_LOG_FOUND_RECORD)
        push_entry(L, &f->record);
    else
        lua_createtable(L, 0, 4);
    lua_pushstring(L, f->kind == LN_LOG_FOUND_RECORD ? f->what : kinds[f->kind]);
    lua_setfield(L, -2, "kind");
    set_count(L, "segment", f->segment);
    set_count(L, "offset", f->offset);
    if (f->kind == LN_LOG_FOUND_RECORD)
        return;
    lua_pushstring(L, f->what);
    lua_setfield(L, -2, "what");
}

/* check, the list of damages, the script's function or nil */
static int take_finding(lua_State *L) {
    const struct check *check = lua_touserdata(L, 1);
    bool damage = check->finding->kind == LN_LOG_FOUND_DAMAGE;
    if (!damage && lua_isnil(L, 3))
        return 0;
    push_finding(L, check->finding);
    if (damage) {
        lua_pushvalue(L, -1);
        lua_rawseti(L, 2, (lua_Integer)lua_rawlen(L, 2) + 1);
    }
    if (lua_isnil(L, 3))
        return 0;
    lua_pushvalue(L, 3);
    lua_insert(L, -2);
    lua_call(L, 1, 0);
    return 0;
}

static int on_finding(void *arg, const struct ln_log_finding *f) {
    struct check *check = arg;
    lua_State *L = check->L;
    check->finding = f;
    lua_pushcfunction(L, take_finding);
    lua_pushlightuserdata(L, check);
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 2);
    check->raised = lua_pcall(L, 3, 0, 0) != LUA_OK;
    return check->raised ? -ECANCELED : LN_OK;
}

static int log_check(lua_State *L) {
    const char *dir = luaL_checkstring(L, 1);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    struct check check = {.L = L};
    struct ln_log_report report = {0};
    struct ln_detail detail;
    lua_settop(L, 2);
    lua_newtable(L); /* 3: the damages */
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    int rc = ln_log_check(dir, on_finding, &check, &detail, &report);
    if (check.raised)
        return lua_error(L);
    if (rc != LN_OK && rc != LN_ECORRUPT)
        return ln_push_failure(L, rc, &detail);
    lua_createtable(L, 0, 10);
    lua_pushboolean(L, rc == LN_OK);
    lua_setfield(L, -2, "ok");
    lua_pushboolean(L, report.torn);
    lua_setfield(L, -2, "torn");
    set_count(L, "segments", report.segments);
    set_count(L, "records", report.records);
    set_count(L, "entries", report.entries);
    set_count(L, "bytes", report.bytes);
    set_count(L, "first", report.first);
    set_count(L, "last", report.last);
    set_count(L, "state_term", report.state_term);
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "damages");
    return 1;
}

/* ---- the module */

static const luaL_Reg log_methods[] = {
    {"append", log_append},
    {"room", log_room},
    {"first", log_first},
    {"last", log_last},
    {"synced", log_synced},
    {"term", log_term},
    {"truncate_suffix", log_truncate_suffix},
    {"truncate_prefix", log_truncate_prefix},
    {"state", log_state},
    {"set_state", log_set_state},
    {"flush", log_flush},
    {"sync", log_sync},
    {"read", log_read},
    {"entries", log_entries},
    {"stats", log_stats},
    {"close", log_close},
    {NULL, NULL},
};

static const luaL_Reg log_meta[] = {{"__gc", log_gc}, {"__close", log_close}, {NULL, NULL}};

static const luaL_Reg entries_meta[] = {
    {"__gc", entries_close}, {"__close", entries_close}, {NULL, NULL}};

static const luaL_Reg log_functions[] = {{"open", log_open}, {"check", log_check}, {NULL, NULL}};

int luaopen_lunode_log(lua_State *L) {
    luaL_newmetatable(L, LOG_TYPE);
    luaL_setfuncs(L, log_meta, 0);
    luaL_newlib(L, log_methods);
    lua_setfield(L, -2, "__index");
    luaL_newmetatable(L, ENTRIES_TYPE);
    luaL_setfuncs(L, entries_meta, 0);
    luaL_newlib(L, log_functions);
    return 1;
}
