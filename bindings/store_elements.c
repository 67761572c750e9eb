/* store:elements: rows under a prefix, in the order of a number. They are put together here, as
 * each string less that Lua makes is a tenth of a command. */
#include "store_elements.h"

#include "buffer.h"
#include "common.h"
#include "pieces.h"
#include "store_bulk.h"
#include "store_reply.h"
#include "view.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define ELEMENTS_TYPE "lunode.elements"

enum {
    MOST_PREFIX = 64,
    INDEX_BYTES = 8,
    FEW = 64,
};

static const char box_tag = 0;

struct row {
    struct ln_store *store;
    size_t prefix_len;
    char key[MOST_PREFIX + INDEX_BYTES];
};

/* Calls that go through the elements of one list in order. */
struct run {
    struct row last;
    uint64_t index; /* the last one's */
    uint64_t step;  /* 1, or -1 for downwards */
    unsigned ahead; /* so many of the next ones have been fetched */
};

struct elements_box {
    const void *tag;
    struct ln_store *const *store;
    struct ln_value value;  /* of the call under way; freed later where that raised */
    struct ln_buffer found; /* the same of a search */
    struct run puts, takes;
};

static void set_index(struct row *row, uint64_t index) {
    for (unsigned i = 0; i < INDEX_BYTES; i++)
        row->key[row->prefix_len + i] = (char)(index >> (56 - 8 * i));
}

static size_t row_len(const struct row *row) {
    return row->prefix_len + INDEX_BYTES;
}

/* Of the prefix at index 2 and the number at index 3. */
static struct elements_box *check_row(lua_State *L, struct row *row) {
    struct elements_box *box = ln_check_tagged(L, &box_tag, sizeof *box, ELEMENTS_TYPE);
    if (!*box->store)
        luaL_error(L, "store is closed");
    const char *prefix = luaL_checklstring(L, 2, &row->prefix_len);
    lua_Integer index = luaL_checkinteger(L, 3);
    luaL_argcheck(L, row->prefix_len <= MOST_PREFIX, 2, "at most 64 bytes expected");
    row->store = *box->store;
    memcpy(row->key, prefix, row->prefix_len);
    set_index(row, (uint64_t)index);
    return box;
}

static void fetch_ahead(const struct run *run) {
    struct row rows[LN_STORE_AHEAD];
    struct ln_store_key keys[LN_STORE_AHEAD];
    uint64_t index = run->index;
    for (size_t i = 0; i < LN_STORE_AHEAD; i++) {
        index += run->step;
        rows[i] = run->last;
        set_index(&rows[i], index);
        keys[i] = (struct ln_store_key){rows[i].key, row_len(&rows[i])};
    }
    ln_store_ahead(run->last.store, keys, LN_STORE_AHEAD);
}

/* Who pushes or pops one element does so with the next one, as a rule: their rows lie anywhere in
 * memory, and waiting for them one by one would take as long as all the rest. */
static void follow(struct run *run, const struct row *row, uint64_t index) {
    uint64_t step = index - run->index;
    bool goes_on = row->prefix_len == run->last.prefix_len && (step == 1 || step == UINT64_MAX) &&
                   memcmp(row->key, run->last.key, row->prefix_len) == 0;
    if (!goes_on || step != run->step)
        run->ahead = 0;
    if (!goes_on)
        run->last = *row;
    run->index = index;
    run->step = step;
    if (goes_on && run->ahead-- == 0) {
        fetch_ahead(run);
        run->ahead = LN_STORE_AHEAD - 1;
    }
}

/* Into box->value, which the caller releases. False: there is no such row. */
static bool look(lua_State *L, struct elements_box *box, const struct row *row) {
    struct ln_detail detail = {.text = {0}};
    ln_value_release(&box->value);
    int rc = ln_store_get(row->store, row->key, row_len(row), &detail, &box->value);
    if (rc != LN_OK && rc != -ENOENT)
        luaL_error(L, "the store failed: %s", detail.text);
    return rc == LN_OK;
}

/* Pushes the row's value. False: there is no such row, and nothing is pushed. */
static bool push_value(lua_State *L, struct elements_box *box, const struct row *row) {
    if (!look(L, box, row))
        return false;
    lua_pushlstring(L, box->value.data, box->value.len);
    ln_value_release(&box->value);
    return true;
}

static void check_written(lua_State *L, int rc) {
    if (rc != LN_OK)
        luaL_error(L, "cannot write: %s", ln_status_text(rc));
}

static int elements_get(lua_State *L) {
    struct row row;
    struct elements_box *box = check_row(L, &row);
    return push_value(L, box, &row) ? 1 : 0;
}

typedef int put_fn(struct ln_store *s, const void *key, size_t klen, const void *value,
                   size_t vlen);

static int put(lua_State *L, put_fn *fn) {
    struct row row;
    size_t len;
    const char *value = ln_check_bytes(L, 4, &len);
    follow(&check_row(L, &row)->puts, &row, (uint64_t)lua_tointeger(L, 3));
    check_written(L, fn(row.store, row.key, row_len(&row), value, len));
    return 0;
}

static int elements_put(lua_State *L) {
    return put(L, ln_store_put);
}

static int elements_add(lua_State *L) {
    return put(L, ln_store_put_new);
}

static int elements_take(lua_State *L) {
    struct row row;
    struct elements_box *box = check_row(L, &row);
    follow(&box->takes, &row, (uint64_t)lua_tointeger(L, 3));
    if (!look(L, box, &row))
        return 0;
    if (lua_toboolean(L, 4))
        ln_view_push_result(L, box->value.data, box->value.len);
    else
        lua_pushlstring(L, box->value.data, box->value.len);
    ln_value_release(&box->value);
    check_written(L, ln_store_delete(row.store, row.key, row_len(&row)));
    return 1;
}

static int elements_range(lua_State *L) {
    struct row row;
    struct elements_box *box = check_row(L, &row);
    lua_Integer first = lua_tointeger(L, 3), count = luaL_checkinteger(L, 4);
    lua_Integer step = lua_toboolean(L, 5) ? -1 : 1;
    luaL_argcheck(L, count >= 0 && count <= INT_MAX, 4, "out of range");
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 0; i < count; i++) {
        set_index(&row, (uint64_t)(first + i * step));
        if (!push_value(L, box, &row))
            break;
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int elements_reply(lua_State *L) {
    struct row row, end;
    check_row(L, &row);
    lua_Integer first = lua_tointeger(L, 3), count = luaL_checkinteger(L, 4);
    luaL_argcheck(L, first >= 0, 3, "0 or more expected");
    luaL_argcheck(L, count >= 0 && count <= LUA_MAXINTEGER - first, 4, "out of range");
    end = row;
    set_index(&end, (uint64_t)(first + count));
    struct ln_reply reply = {
        .range = {.from = row.key,
                  .from_len = row_len(&row),
                  .to = end.key,
                  .to_len = row_len(&end)},
        .limit = UINT64_MAX,
        .known = (uint64_t)count,
        .exact = true,
        .what = LN_REPLY_VALUES,
        .kind = LN_RESP_ARRAY,
    };
    return ln_store_reply(L, row.store, &reply);
}

/* ---- many of them */

typedef int element_fn(void *arg, uint64_t index, const char *value, size_t len);

struct walk {
    struct row row;
    uint64_t first, count; /* the first one that is met, whichever way */
    bool reverse;
    element_fn *fn; /* other than LN_OK ends the walk */
    void *arg;
};

static int walk_few(const struct walk *w, struct ln_detail *detail) {
    struct row row = w->row;
    struct ln_value value = {0};
    int rc = LN_OK;
    for (uint64_t i = 0; rc == LN_OK && i < w->count; i++) {
        uint64_t index = w->reverse ? w->first - i : w->first + i;
        set_index(&row, index);
        rc = ln_store_get(row.store, row.key, row_len(&row), detail, &value);
        if (rc == LN_OK)
            rc = w->fn(w->arg, index, value.data, value.len);
        ln_value_release(&value);
    }
    return rc;
}

static int walk_many(const struct walk *w, struct ln_detail *detail) {
    uint64_t low = w->reverse ? w->first + 1 - w->count : w->first, met = 0;
    struct row from = w->row, to = w->row;
    struct ln_overlay_row row;
    struct ln_scan *scan;
    set_index(&from, low);
    set_index(&to, low + w->count);
    int rc = ln_store_scan(from.store, from.key, row_len(&from), to.key, row_len(&to), w->reverse,
                           &scan);
    if (rc != LN_OK)
        return rc;
    while (rc == LN_OK && met < w->count) {
        rc = ln_scan_next(scan, detail, &row);
        if (rc == LN_EOF)
            rc = -ENOENT;
        else if (rc == LN_OK)
            rc = w->fn(w->arg, w->reverse ? w->first - met : w->first + met, row.value, row.vlen);
        met++;
    }
    ln_scan_close(scan);
    return rc;
}

/* LN_OK; -ENOENT: there are less; what fn returned; or a status and a detail. To open a scan takes
 * as long as to look for some. */
static int walk(const struct walk *w, struct ln_detail *detail) {
    struct walk few = *w, rest = *w;
    few.count = w->count < FEW ? w->count : FEW;
    rest.count -= few.count;
    rest.first += w->reverse ? -few.count : few.count;
    int rc = walk_few(&few, detail);
    return rc == LN_OK && rest.count > 0 ? walk_many(&rest, detail) : rc;
}

/* A range: the first index at 3, and how many at 4. */
static struct walk check_walk(lua_State *L) {
    struct walk w;
    check_row(L, &w.row);
    lua_Integer count = luaL_checkinteger(L, 4);
    luaL_argcheck(L, count >= 0, 4, "out of range");
    w.first = (uint64_t)lua_tointeger(L, 3);
    w.count = (uint64_t)count;
    w.reverse = false;
    return w;
}

static void check_walked(lua_State *L, int rc, const struct ln_detail *detail) {
    if (rc != LN_OK && rc != -ENOENT)
        luaL_error(L, "the store failed: %s", detail->text[0] ? detail->text : ln_status_text(rc));
}

struct search {
    struct ln_buffer *found; /* indices */
    const char *value;
    size_t len;
    uint64_t limit, count;
};

static int on_element(void *arg, uint64_t index, const char *value, size_t len) {
    struct search *s = arg;
    if (len != s->len || memcmp(value, s->value, len) != 0)
        return LN_OK;
    int rc = ln_buffer_append(s->found, &index, sizeof index);
    return rc == LN_OK && ++s->count == s->limit ? LN_EOF : rc;
}

static int elements_find(lua_State *L) {
    struct walk w = check_walk(L);
    struct elements_box *box = lua_touserdata(L, 1);
    struct ln_detail detail = {.text = {0}};
    lua_Integer limit = luaL_checkinteger(L, 6);
    struct search s = {.found = &box->found, .limit = limit > 0 ? (uint64_t)limit : UINT64_MAX};
    s.value = luaL_checklstring(L, 5, &s.len);
    ln_buffer_free(&box->found); /* of a call that raised */
    w.reverse = lua_toboolean(L, 7);
    w.fn = on_element;
    w.arg = &s;
    int rc = walk(&w, &detail);
    check_walked(L, rc == LN_EOF ? LN_OK : rc, &detail);
    if (rc == -ENOENT)
        return 0;
    lua_createtable(L, s.count < INT_MAX ? (int)s.count : 0, 0);
    for (uint64_t i = 0; i < s.count; i++) {
        uint64_t index;
        memcpy(&index, ln_buffer_data(&box->found) + i * sizeof index, sizeof index);
        lua_pushinteger(L, (lua_Integer)index);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    ln_buffer_free(&box->found);
    return 1;
}

struct shift {
    struct ln_bulk bulk;
    struct row to;
    uint64_t by;
};

static int on_moved(void *arg, uint64_t index, const char *value, size_t len) {
    struct shift *s = arg;
    set_index(&s->to, index + s->by);
    return ln_bulk_add(&s->bulk, s->to.key, row_len(&s->to), "", 0, value, len);
}

/* From the end that is moved towards, so that nothing is overwritten that was not met. */
static int elements_move(lua_State *L) {
    struct walk w = check_walk(L);
    struct ln_detail detail = {.text = {0}};
    lua_Integer by = luaL_checkinteger(L, 5);
    struct shift s = {.to = w.row, .by = (uint64_t)by};
    w.reverse = by > 0;
    w.first += w.reverse ? w.count - 1 : 0;
    w.fn = on_moved;
    w.arg = &s;
    ln_bulk_init(&s.bulk, w.row.store, LN_BULK_PUT);
    int rc = walk(&w, &detail);
    if (rc == LN_OK)
        rc = ln_bulk_flush(&s.bulk);
    ln_bulk_free(&s.bulk);
    check_walked(L, rc, &detail);
    lua_pushboolean(L, rc == LN_OK);
    return 1;
}

static int elements_add_list(lua_State *L) {
    struct row row;
    size_t len;
    check_row(L, &row);
    uint64_t index = (uint64_t)lua_tointeger(L, 3);
    luaL_checktype(L, 4, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 4);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 4, i);
        const char *value = luaL_checklstring(L, -1, &len);
        set_index(&row, index++);
        check_written(L, ln_store_put_new(row.store, row.key, row_len(&row), value, len));
        lua_pop(L, 1);
    }
    return 0;
}

static int elements_unpack(lua_State *L) {
    struct row row;
    const char *value;
    size_t len;
    check_row(L, &row);
    uint64_t index = (uint64_t)lua_tointeger(L, 3), first = index;
    struct ln_pieces pieces = ln_check_pieces(L, 4);
    while (ln_next_piece(&pieces, &value, &len)) {
        set_index(&row, index++);
        check_written(L, ln_store_put_new(row.store, row.key, row_len(&row), value, len));
    }
    if (!pieces.good)
        return 0;
    lua_pushinteger(L, (lua_Integer)(index - first));
    return 1;
}

static int elements_free(lua_State *L) {
    struct elements_box *box = luaL_checkudata(L, 1, ELEMENTS_TYPE);
    ln_value_release(&box->value);
    ln_buffer_free(&box->found);
    return 0;
}

int ln_store_elements_new(lua_State *L, struct ln_store *const *store) {
    struct elements_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct elements_box){.tag = &box_tag, .store = store};
    luaL_setmetatable(L, ELEMENTS_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* the store's box lives as long */
    return 1;
}

static const luaL_Reg elements_methods[] = {
    {"get", elements_get},
    {"put", elements_put},
    {"add", elements_add},
    {"take", elements_take},
    {"range", elements_range},
    {"reply", elements_reply},
    {"find", elements_find},
    {"move", elements_move},
    {"add_list", elements_add_list},
    {"unpack", elements_unpack},
    {NULL, NULL},
};

void ln_store_elements_type(lua_State *L) {
    ln_new_type(L, ELEMENTS_TYPE, elements_methods, elements_free);
}
