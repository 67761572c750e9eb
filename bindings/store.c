/* lunode.store: the ordered store as Lua sees it. Types in lunode.meta.lua. */
#include "store.h"
#include "lua_loop.h"
#include "pieces.h"
#include "store_combine.h"
#include "store_dir.h"
#include "store_elements.h"
#include "store_members.h"
#include "store_reply.h"
#include "store_rows.h"
#include "store_scored.h"

#include <errno.h>
#include <string.h>

#define STORE_TYPE    "lunode.store_handle"
#define SNAPSHOT_TYPE "lunode.snapshot"
#define SCAN_TYPE     "lunode.scan"

/* User values of a store's box. */
enum { ON_FLUSHED = 1, ON_ROOM, STORE_VALUES = ON_ROOM };

/* Of a flush: the function to call, and the store's box, which has to live until then. */
enum { FLUSH_FN = 1, FLUSH_STORE, FLUSH_VALUES = FLUSH_STORE };

/* Quicker than to look the metatable up by its name. */
static const char store_tag = 0;

struct store_box {
    const void *tag;
    struct ln_store *store; /* NULL: closed */
    struct ln_value value;  /* of the read under way; freed later where pushing it raised */
    lua_State *main;
    struct ln_scan *walk; /* the same of a walk */
    struct ln_members_prefix last;
};

enum { WHAT_KEYS, WHAT_VALUES, WHAT_BOTH };

struct snapshot_box {
    struct ln_snapshot *snapshot; /* NULL: closed */
    struct ln_value value;
};

struct scan_box {
    struct ln_scan *scan; /* NULL: closed, or at the end */
};

struct flush_box {
    struct ln_store_flush flush;
    lua_State *main;
    int ref;
};

/* What a callback of C tells one of Lua. */
struct news {
    void *box;
    int status;
    const struct ln_detail *detail;
    uint64_t index;
};

/* Its address is the key of a table of all boxes by their addresses, which keeps none of them. */
static const char boxes_key = 0;

static struct store_box *check_store(lua_State *L) {
    struct store_box *box = ln_check_tagged(L, &store_tag, sizeof *box, STORE_TYPE);
    if (!box->store)
        luaL_error(L, "store is closed");
    return box;
}

static struct snapshot_box *check_snapshot(lua_State *L) {
    struct snapshot_box *box = luaL_checkudata(L, 1, SNAPSHOT_TYPE);
    if (!box->snapshot)
        luaL_error(L, "snapshot is closed");
    return box;
}

/* Failures of writes to memory are the caller's mistake, or the end. */
static int check_written(lua_State *L, int status) {
    return status == LN_OK ? 0 : luaL_error(L, "cannot write: %s", ln_status_text(status));
}

static int push_result(lua_State *L, int rc, const struct ln_detail *detail) {
    if (rc != LN_OK)
        return ln_push_failure(L, rc, detail);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- rows */

static int push_value(lua_State *L, int rc, const struct ln_detail *detail,
                      struct ln_value *value) {
    if (rc == -ENOENT) {
        lua_pushnil(L);
        return 1;
    }
    if (rc != LN_OK)
        return ln_push_failure(L, rc, detail);
    lua_pushlstring(L, value->data, value->len);
    ln_value_release(value);
    return 1;
}

static int store_get(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t len;
    const char *key = luaL_checklstring(L, 2, &len);
    struct ln_detail detail;
    detail.text[0] = '\0';
    ln_value_release(&box->value);
    int rc = ln_store_get(box->store, key, len, &detail, &box->value);
    return push_value(L, rc, &detail, &box->value);
}

static int store_put(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t key_len, value_len;
    const char *key = luaL_checklstring(L, 2, &key_len);
    const char *value = luaL_checklstring(L, 3, &value_len);
    return check_written(L, ln_store_put(box->store, key, key_len, value, value_len));
}

static int store_delete(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t len;
    const char *key = luaL_checklstring(L, 2, &len);
    return check_written(L, ln_store_delete(box->store, key, len));
}

static int store_delete_range(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t from_len, to_len = 0;
    const char *from = luaL_checklstring(L, 2, &from_len);
    const char *to = luaL_optlstring(L, 3, NULL, &to_len);
    return check_written(L, ln_store_delete_range(box->store, from, from_len, to, to ? to_len : 0));
}

static int store_begin(lua_State *L) {
    ln_store_begin(check_store(L)->store);
    return 0;
}

static int store_rollback(lua_State *L) {
    ln_store_rollback(check_store(L)->store);
    return 0;
}

static int store_commit(lua_State *L) {
    struct store_box *box = check_store(L);
    struct ln_detail detail;
    detail.text[0] = '\0';
    return push_result(L, ln_store_commit(box->store, lua_toboolean(L, 2), &detail), &detail);
}

static int store_pending(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ln_store_pending(check_store(L)->store));
    return 1;
}

/* ---- under a log */

static int store_advance(lua_State *L) {
    struct store_box *box = check_store(L);
    lua_Integer index = luaL_checkinteger(L, 2);
    luaL_argcheck(L, index > 0 && (uint64_t)index > ln_store_applied(box->store), 2,
                  "greater than the index before expected");
    int rc = ln_store_advance(box->store, (uint64_t)index);
    struct ln_detail detail;
    detail.text[0] = '\0';
    if (rc != LN_OK)
        rc = ln_store_room(box->store, &detail); /* has the words */
    return push_result(L, rc, &detail);
}

static int store_applied(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ln_store_applied(check_store(L)->store));
    return 1;
}

static int store_room(lua_State *L) {
    struct store_box *box = check_store(L);
    struct ln_detail detail;
    detail.text[0] = '\0';
    int rc = ln_store_room(box->store, &detail);
    if (rc == LN_OK)
        return push_result(L, rc, &detail);
    (void)ln_push_failure(L, rc, &detail);
    lua_pushboolean(L, 0);
    lua_replace(L, -4);
    return 3;
}

static int push_news(lua_State *L, const struct news *news) {
    if (news->status == LN_OK) {
        lua_pushnil(L);
        lua_pushnil(L);
    } else {
        (void)ln_push_failure(L, news->status, news->detail);
        lua_remove(L, -3);
    }
    lua_pushinteger(L, (lua_Integer)news->index);
    return 3;
}

static int call_flush(lua_State *L) {
    struct news *news = lua_touserdata(L, 1);
    struct flush_box *box = news->box;
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->ref);
    ln_unpin(L, &box->ref);
    if (lua_getiuservalue(L, 2, FLUSH_FN) != LUA_TFUNCTION)
        return 0;
    lua_call(L, push_news(L, news), 0);
    return 0;
}

static void on_flush(struct ln_store_flush *flush, int status, const struct ln_detail *detail,
                     uint64_t index) {
    struct flush_box *box = LN_OWNER(struct flush_box, flush, flush);
    struct news news = {box, status, detail, index};
    ln_protect(box->main, call_flush, &news, 0);
}

static int store_flush(lua_State *L) {
    struct store_box *store = check_store(L);
    struct ln_detail detail;
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    struct flush_box *box = lua_newuserdatauv(L, sizeof *box, FLUSH_VALUES);
    *box = (struct flush_box){.flush = {.fn = on_flush}, .main = store->main, .ref = LUA_NOREF};
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 3, FLUSH_FN);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 3, FLUSH_STORE);
    box->ref = ln_pin(L, 3);
    detail.text[0] = '\0';
    int rc = ln_store_flush(store->store, &box->flush, &detail);
    if (rc != LN_OK)
        ln_unpin(L, &box->ref);
    return push_result(L, rc, &detail);
}

/* Pushes the callback of a box that C knows by its address. False: there is none. */
static bool push_callback(lua_State *L, const void *box, int which) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    return lua_rawgetp(L, -1, box) == LUA_TUSERDATA &&
           lua_getiuservalue(L, -1, which) == LUA_TFUNCTION;
}

static int call_flushed(lua_State *L) {
    struct news *news = lua_touserdata(L, 1);
    if (push_callback(L, news->box, ON_FLUSHED))
        lua_call(L, push_news(L, news), 0);
    return 0;
}

static void on_flushed(void *arg, int status, const struct ln_detail *detail, uint64_t index) {
    struct store_box *box = arg;
    struct news news = {box, status, detail, index};
    ln_protect(box->main, call_flushed, &news, 0);
}

static int call_room(lua_State *L) {
    if (push_callback(L, lua_touserdata(L, 1), ON_ROOM))
        lua_call(L, 0, 0);
    return 0;
}

static void on_room(void *arg) {
    struct store_box *box = arg;
    ln_protect(box->main, call_room, box, 0);
}

/* ---- scans */

static int scan_close(lua_State *L) {
    struct scan_box *box = luaL_checkudata(L, 1, SCAN_TYPE);
    if (box->scan)
        ln_scan_close(box->scan);
    box->scan = NULL;
    return 0;
}

/* The iterator. A failure raises: a loop that ended early would look like one that met all rows. */
static int scan_next(lua_State *L) {
    struct scan_box *box = lua_touserdata(L, lua_upvalueindex(1));
    struct ln_overlay_row row;
    struct ln_detail detail;
    int rc = box->scan ? ln_scan_next(box->scan, &detail, &row) : LN_EOF;
    if (rc == LN_OK) {
        lua_pushlstring(L, row.key, row.klen);
        lua_pushlstring(L, row.value, row.vlen);
        return 2;
    }
    if (rc != LN_EOF)
        return luaL_error(L, "%s", detail.text);
    if (box->scan)
        ln_scan_close(box->scan);
    box->scan = NULL;
    lua_pushnil(L);
    return 1;
}

static bool check_reverse(lua_State *L, int index) {
    if (lua_isnoneornil(L, index))
        return false;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, "reverse");
    bool reverse = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return reverse;
}

/* Returns what a generic for takes: the iterator, two nils, and the box, which it closes. */
static int push_scan(lua_State *L, struct ln_store *store, struct ln_snapshot *snapshot) {
    size_t from_len, to_len = 0;
    const char *from = luaL_checklstring(L, 2, &from_len);
    const char *to = luaL_optlstring(L, 3, NULL, &to_len);
    bool reverse = check_reverse(L, 4);
    struct scan_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->scan = NULL;
    luaL_setmetatable(L, SCAN_TYPE);
    lua_pushvalue(L, -1);
    lua_pushvalue(L, 1); /* what is walked lives as long as its iterator */
    lua_pushcclosure(L, scan_next, 2);
    lua_insert(L, -2);
    int rc = snapshot ? ln_snapshot_scan(snapshot, from, from_len, to, to_len, reverse, &box->scan)
                      : ln_store_scan(store, from, from_len, to, to_len, reverse, &box->scan);
    if (rc != LN_OK)
        return luaL_error(L, "cannot scan: %s",
                          rc == -EBADF ? "the store is closed" : ln_status_text(rc));
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 4;
}

static int store_scan(lua_State *L) {
    return push_scan(L, check_store(L)->store, NULL);
}

/* ---- snapshots */

static int store_snapshot(lua_State *L) {
    struct store_box *store = check_store(L);
    struct ln_detail detail;
    struct snapshot_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct snapshot_box){0};
    luaL_setmetatable(L, SNAPSHOT_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* a store lives as long as its snapshots */
    int rc = ln_store_snapshot(store->store, &detail, &box->snapshot);
    return rc == LN_OK ? 1 : ln_push_failure(L, rc, &detail);
}

static int snapshot_get(lua_State *L) {
    struct snapshot_box *box = check_snapshot(L);
    size_t len;
    const char *key = luaL_checklstring(L, 2, &len);
    struct ln_detail detail;
    detail.text[0] = '\0';
    ln_value_release(&box->value);
    int rc = ln_snapshot_get(box->snapshot, key, len, &detail, &box->value);
    return push_value(L, rc, &detail, &box->value);
}

static int snapshot_scan(lua_State *L) {
    return push_scan(L, NULL, check_snapshot(L)->snapshot);
}

static int snapshot_applied(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ln_snapshot_applied(check_snapshot(L)->snapshot));
    return 1;
}

static int snapshot_close(lua_State *L) {
    struct snapshot_box *box = luaL_checkudata(L, 1, SNAPSHOT_TYPE);
    ln_value_release(&box->value);
    if (box->snapshot)
        ln_snapshot_close(box->snapshot);
    box->snapshot = NULL;
    return 0;
}

/* What collect and count take: a range, walked here: calls of Lua's are most of a scan. */
struct walk {
    struct store_box *box;
    lua_Integer limit, offset;
    size_t skip;
    int what;
};

static void end_walk(struct store_box *box) {
    if (box->walk)
        ln_scan_close(box->walk);
    box->walk = NULL;
}

static void open_walk(lua_State *L, struct walk *w, bool reverse) {
    size_t from_len, to_len = 0;
    const char *from = luaL_checklstring(L, 2, &from_len);
    const char *to = luaL_optlstring(L, 3, NULL, &to_len);
    w->box = check_store(L);
    end_walk(w->box); /* one that raised */
    int rc = ln_store_scan(w->box->store, from, from_len, to, to_len, reverse, &w->box->walk);
    if (rc != LN_OK)
        luaL_error(L, "cannot scan: %s", ln_status_text(rc));
}

/* False at the end. */
static bool next_row(lua_State *L, struct walk *w, struct ln_overlay_row *row) {
    struct ln_detail detail;
    int rc = ln_scan_next(w->box->walk, &detail, row);
    if (rc != LN_OK && rc != LN_EOF)
        luaL_error(L, "%s", detail.text);
    return rc == LN_OK;
}

/* Into the list on top of the stack. */
static void collect(lua_State *L, struct walk *w) {
    struct ln_overlay_row row;
    lua_Integer count = 0;
    while (w->limit > 0 && next_row(L, w, &row)) {
        if (w->offset > 0) {
            w->offset--;
            continue;
        }
        size_t start = row.klen < w->skip ? row.klen : w->skip;
        if (w->what != WHAT_VALUES) {
            lua_pushlstring(L, row.key + start, row.klen - start);
            lua_rawseti(L, -2, ++count);
        }
        if (w->what != WHAT_KEYS) {
            lua_pushlstring(L, row.value, row.vlen);
            lua_rawseti(L, -2, ++count);
        }
        w->limit--;
    }
}

static int check_what(lua_State *L, int index) {
    static const char *const whats[] = {
        [WHAT_KEYS] = "keys", [WHAT_VALUES] = "values", [WHAT_BOTH] = "both", NULL};
    return luaL_checkoption(L, index, "both", whats);
}

static int store_collect(lua_State *L) {
    struct walk w = {
        .what = check_what(L, 4),
        .limit = luaL_optinteger(L, 5, LUA_MAXINTEGER),
        .offset = luaL_optinteger(L, 8, 0),
    };
    lua_Integer skip = luaL_optinteger(L, 6, 0);
    luaL_argcheck(L, skip >= 0, 6, "at least 0 expected");
    w.skip = (size_t)skip;
    open_walk(L, &w, lua_toboolean(L, 7));
    lua_createtable(L, w.limit > 0 && w.limit < 1024 ? (int)w.limit : 0, 0);
    collect(L, &w);
    end_walk(w.box);
    return 1;
}

static void add_piece(luaL_Buffer *b, const char *data, size_t len) {
    char head[LN_PIECE_HEAD];
    ln_piece_head(head, len);
    luaL_addlstring(b, head, sizeof head);
    luaL_addlstring(b, data, len);
}

static int store_pack(lua_State *L) {
    struct walk w = {.what = check_what(L, 4)};
    struct ln_overlay_row row;
    luaL_Buffer b;
    size_t head_len, bytes = 0;
    lua_Integer skip = luaL_checkinteger(L, 5), most = luaL_checkinteger(L, 6);
    const char *head = luaL_checklstring(L, 7, &head_len);
    luaL_argcheck(L, skip >= 0, 5, "at least 0 expected");
    w.skip = (size_t)skip;
    open_walk(L, &w, false);
    luaL_buffinit(L, &b);
    luaL_addlstring(&b, head, head_len);
    while (most >= 0 && bytes <= (size_t)most && next_row(L, &w, &row)) {
        size_t start = row.klen < w.skip ? row.klen : w.skip;
        if (w.what != WHAT_VALUES) {
            add_piece(&b, row.key + start, row.klen - start);
            bytes += LN_PIECE_HEAD + row.klen - start;
        }
        if (w.what != WHAT_KEYS) {
            add_piece(&b, row.value, row.vlen);
            bytes += LN_PIECE_HEAD + row.vlen;
        }
    }
    end_walk(w.box);
    if (most < 0 || bytes > (size_t)most)
        return 0;
    luaL_pushresult(&b);
    return 1;
}

static int store_count(lua_State *L) {
    struct walk w = {.limit = luaL_optinteger(L, 4, LUA_MAXINTEGER)};
    struct ln_overlay_row row;
    lua_Integer count = 0;
    open_walk(L, &w, false);
    while (count < w.limit && next_row(L, &w, &row))
        count++;
    end_walk(w.box);
    lua_pushinteger(L, count);
    return 1;
}

static int store_fresh(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t len;
    const char *prefix = luaL_checklstring(L, 2, &len);
    ln_store_fresh(box->store, prefix, len);
    return 0;
}

static int store_load(lua_State *L) {
    struct store_box *box = check_store(L);
    size_t from_len, to_len;
    const char *from = luaL_checklstring(L, 2, &from_len);
    const char *to = luaL_checklstring(L, 3, &to_len);
    lua_Integer count = luaL_checkinteger(L, 4);
    lua_pushboolean(L, count >= 0 &&
                           ln_store_load(box->store, from, from_len, to, to_len, (uint64_t)count));
    return 1;
}

static int store_reply(lua_State *L) {
    static const char *const whats[] = {[LN_REPLY_KEYS] = "keys",
                                        [LN_REPLY_VALUES] = "values",
                                        [LN_REPLY_BOTH] = "both",
                                        [LN_REPLY_SCORES] = "scores",
                                        NULL};
    static const char *const kinds[] = {
        [LN_RESP_ARRAY] = "array", [LN_RESP_MAP] = "map", [LN_RESP_SET] = "set", NULL};
    struct store_box *box = check_store(L);
    struct ln_reply r = {.what = luaL_checkoption(L, 4, "both", whats),
                         .kind = luaL_checkoption(L, 5, "array", kinds)};
    lua_Integer known = luaL_optinteger(L, 6, -1), skip = luaL_optinteger(L, 7, 0);
    lua_Integer limit = luaL_optinteger(L, 9, LUA_MAXINTEGER), offset = luaL_optinteger(L, 10, 0);
    lua_Integer protocol = luaL_optinteger(L, 11, 2);
    luaL_argcheck(L, r.kind != LN_RESP_MAP || r.what == LN_REPLY_BOTH, 5, "a map is of both");
    luaL_argcheck(L, r.kind == LN_RESP_ARRAY || r.what != LN_REPLY_SCORES, 5, "no array");
    luaL_argcheck(L, skip >= 0, 7, "at least 0 expected");
    r.range.from = luaL_checklstring(L, 2, &r.range.from_len);
    r.range.to = luaL_optlstring(L, 3, NULL, &r.range.to_len);
    r.range.reverse = lua_toboolean(L, 8);
    r.known = known < 0 ? UINT64_MAX : (uint64_t)known;
    r.limit = limit < 0 ? 0 : (uint64_t)limit;
    r.offset = offset < 0 ? 0 : (uint64_t)offset;
    r.skip = (size_t)skip;
    r.protocol = protocol == 3 ? 3 : 2;
    return ln_store_reply(L, box->store, &r);
}

/* ---- rows of users' keys */

static int store_elements(lua_State *L) {
    return ln_store_elements_new(L, &check_store(L)->store);
}

static int store_members(lua_State *L) {
    struct store_box *box = check_store(L);
    return ln_store_members_new(L, &box->store, &box->last);
}

static int store_rows(lua_State *L) {
    struct store_box *box = check_store(L);
    return ln_store_rows_new(L, &box->store, &box->last);
}

static int store_scored(lua_State *L) {
    return ln_store_scored_new(L, &check_store(L)->store);
}

/* ---- many rows */

static int store_copy(lua_State *L) {
    return ln_store_copy_prefix(L, check_store(L)->store);
}

static int store_combine(lua_State *L) {
    return ln_store_combine(L, check_store(L)->store);
}

/* ---- figures */

static void set_count(lua_State *L, const char *name, uint64_t count) {
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static int store_stats(lua_State *L) {
    struct ln_store_stats stats;
    ln_store_stats(check_store(L)->store, &stats);
    lua_createtable(L, 0, 18);
    set_count(L, "pending", stats.pending);
    set_count(L, "pending_bytes", stats.pending_bytes);
    set_count(L, "overlay_bytes", stats.overlay_bytes);
    set_count(L, "frozen", stats.frozen);
    set_count(L, "batches", stats.batches);
    set_count(L, "applied", stats.applied);
    set_count(L, "durable", stats.durable);
    set_count(L, "flushed_bytes", stats.flushed_bytes);
    set_count(L, "purged", stats.purged);
    set_count(L, "cache_hits", stats.cache_hits);
    set_count(L, "cache_misses", stats.cache_misses);
    set_count(L, "cache_rows", stats.cache_rows);
    set_count(L, "cache_bytes", stats.cache_bytes);
    set_count(L, "disk_bytes", stats.disk_bytes);
    lua_pushnumber(L, (lua_Number)stats.flush_time / (lua_Number)LN_SECOND);
    lua_setfield(L, -2, "flush_time");
    lua_pushboolean(L, stats.full);
    lua_setfield(L, -2, "full");
    lua_pushstring(L, stats.engine);
    lua_setfield(L, -2, "engine");
    return 1;
}

/* ---- open, close */

static int store_close(lua_State *L) {
    struct store_box *box = luaL_checkudata(L, 1, STORE_TYPE);
    ln_value_release(&box->value);
    end_walk(box);
    if (box->store)
        ln_store_close(box->store);
    box->store = NULL;
    return 0;
}

/* Nobody waits any more, or the state is at its end. */
static int store_gc(lua_State *L) {
    struct store_box *box = luaL_checkudata(L, 1, STORE_TYPE);
    ln_value_release(&box->value);
    end_walk(box);
    if (box->store)
        ln_store_discard(box->store);
    box->store = NULL;
    return 0;
}

static void check_bytes(lua_State *L, int index, const char *name, size_t *bytes) {
    if (lua_getfield(L, index, name) != LUA_TNIL) {
        int is_integer;
        lua_Integer given = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer || given < 0)
            luaL_argerror(L, index, lua_pushfstring(L, "%s: a number of bytes expected", name));
        *bytes = (size_t)given;
    }
    lua_pop(L, 1);
}

/* Leaves the engine's name, if there is one, on the stack. */
static struct ln_store_options check_options(lua_State *L, int index) {
    struct ln_store_options options = LN_STORE_OPTIONS_DEFAULT;
    if (lua_isnoneornil(L, index))
        return options;
    luaL_checktype(L, index, LUA_TTABLE);
    if (lua_getfield(L, index, "create") != LUA_TNIL)
        options.create = lua_toboolean(L, -1);
    lua_pop(L, 1);
    check_bytes(L, index, "cache", &options.cache);
    check_bytes(L, index, "overlay", &options.overlay);
    check_bytes(L, index, "limit", &options.limit);
    if (lua_getfield(L, index, "max_age") != LUA_TNIL)
        options.max_age = ln_check_seconds(L, -1);
    lua_pop(L, 1);
    static const char *const callbacks[] = {"on_flushed", "on_room"};
    for (size_t i = 0; i < 2; i++) {
        int type = lua_getfield(L, index, callbacks[i]);
        if (type != LUA_TNIL && type != LUA_TFUNCTION)
            luaL_argerror(L, index, lua_pushfstring(L, "%s: a function expected", callbacks[i]));
        lua_pop(L, 1);
    }
    int type = lua_getfield(L, index, "engine");
    luaL_argcheck(L, type == LUA_TNIL || type == LUA_TSTRING, index, "engine: a name expected");
    options.engine = lua_tostring(L, -1);
    return options;
}

static int store_open(lua_State *L) {
    lua_settop(L, 2);
    struct ln_store_options options = check_options(L, 2);
    bool anywhere = options.engine && strcmp(options.engine, "memory") == 0;
    const char *dir = anywhere ? luaL_optstring(L, 1, NULL) : luaL_checkstring(L, 1);
    struct ln_loop *loop = ln_lua_loop(L);
    struct ln_detail detail;
    struct store_box *box = lua_newuserdatauv(L, sizeof *box, STORE_VALUES);
    int at = lua_gettop(L);
    *box = (struct store_box){.tag = &store_tag, .main = ln_lua_main(L)};
    luaL_setmetatable(L, STORE_TYPE);
    if (!lua_isnil(L, 2)) {
        lua_getfield(L, 2, "on_flushed");
        lua_setiuservalue(L, at, ON_FLUSHED);
        lua_getfield(L, 2, "on_room");
        lua_setiuservalue(L, at, ON_ROOM);
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    lua_pushvalue(L, at);
    lua_rawsetp(L, -2, box);
    lua_settop(L, at);
    options.on_flushed = on_flushed;
    options.on_room = on_room;
    options.arg = box;
    int rc = ln_store_open(loop, dir, &options, &detail, &box->store);
    return rc == LN_OK ? 1 : ln_push_failure(L, rc, &detail);
}

static int store_inspect(lua_State *L) {
    const char *dir = luaL_checkstring(L, 1);
    struct ln_store_info info;
    struct ln_detail detail;
    detail.text[0] = '\0';
    int rc = ln_store_inspect(dir, &detail, &info);
    if (rc != LN_OK)
        return ln_push_failure(L, rc, &detail);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, info.format);
    lua_setfield(L, -2, "format");
    lua_pushstring(L, info.engine);
    lua_setfield(L, -2, "engine");
    lua_pushboolean(L, info.locked);
    lua_setfield(L, -2, "locked");
    if (info.pid > 0) {
        lua_pushinteger(L, info.pid);
        lua_setfield(L, -2, "pid");
    }
    return 1;
}

static int store_remove(lua_State *L) {
    const char *dir = luaL_checkstring(L, 1);
    struct ln_detail detail;
    detail.text[0] = '\0';
    return push_result(L, ln_store_remove(dir, lua_toboolean(L, 2), &detail), &detail);
}

static const luaL_Reg store_methods[] = {
    {"get", store_get},
    {"put", store_put},
    {"delete", store_delete},
    {"delete_range", store_delete_range},
    {"begin", store_begin},
    {"rollback", store_rollback},
    {"scan", store_scan},
    {"snapshot", store_snapshot},
    {"rows", store_rows},
    {"elements", store_elements},
    {"members", store_members},
    {"collect", store_collect},
    {"count", store_count},
    {"pending", store_pending},
    {"reply", store_reply},
    {"load", store_load},
    {"fresh", store_fresh},
    {"commit", store_commit},
    {"advance", store_advance},
    {"applied", store_applied},
    {"room", store_room},
    {"flush", store_flush},
    {"stats", store_stats},
    {"copy", store_copy},
    {"combine", store_combine},
    {"scored", store_scored},
    {"pack", store_pack},
    {"close", store_close},
    {NULL, NULL},
};

static const luaL_Reg snapshot_methods[] = {
    {"get", snapshot_get},
    {"scan", snapshot_scan},
    {"applied", snapshot_applied},
    {"close", snapshot_close},
    {NULL, NULL},
};

static const luaL_Reg scan_meta[] = {
    {"__gc", scan_close},
    {"__close", scan_close},
    {NULL, NULL},
};

static const luaL_Reg store_functions[] = {
    {"open", store_open},
    {"inspect", store_inspect},
    {"remove", store_remove},
    {NULL, NULL},
};

static void new_boxes(lua_State *L) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &boxes_key);
}

int luaopen_lunode_store(lua_State *L) {
    new_boxes(L);
    ln_new_type(L, STORE_TYPE, store_methods, store_close);
    luaL_getmetatable(L, STORE_TYPE);
    lua_pushcfunction(L, store_gc);
    lua_setfield(L, -2, "__gc");
    ln_store_rows_type(L);
    ln_store_elements_type(L);
    ln_store_members_type(L);
    ln_store_scored_type(L);
    ln_new_type(L, SNAPSHOT_TYPE, snapshot_methods, snapshot_close);
    luaL_newmetatable(L, SCAN_TYPE);
    luaL_setfuncs(L, scan_meta, 0);
    luaL_newlib(L, store_functions);
    return 1;
}
