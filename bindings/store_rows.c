/* store:rows: users' keys of one kind. The row of a key and the head of its value are put together
 * here, as each string less that Lua makes is a tenth of a GET. */
#include "store_rows.h"

#include "common.h"
#include "resp_value.h"
#include "slot.h"
#include "view.h"

#include <errno.h>
#include <string.h>

#define ROWS_TYPE "lunode.rows"

enum {
    SMALL = 512, /* bytes of a row and its value that lie on the stack */
    MOST_HEAD = 255,
};

static const char box_tag = 0;

struct ln_rows {
    const void *tag;
    struct ln_store *const *store;
    const struct ln_members_prefix *last; /* what its members are asked for */
    struct ln_value value;                /* of the call under way; freed later where that raised */
    char kind;
};

/* Where a row is put together: on the stack, or in a userdata. */
struct room {
    char small[SMALL];
};

struct ln_rows *ln_store_rows_test(lua_State *L, int index) {
    return ln_test_tagged(L, index, &box_tag, sizeof(struct ln_rows));
}

static struct ln_rows *check_rows(lua_State *L) {
    struct ln_rows *box = ln_check_tagged(L, &box_tag, sizeof *box, ROWS_TYPE);
    if (!*box->store)
        luaL_error(L, "store is closed");
    return box;
}

static char *make_room(lua_State *L, struct room *room, size_t len) {
    return len <= SMALL ? room->small : lua_newuserdatauv(L, len, 0);
}

static size_t make_row(const struct ln_rows *box, const char *key, size_t len, char *row) {
    ln_slot_row((uint8_t)box->kind, key, len, (uint8_t *)row);
    memcpy(row + LN_SLOT_ROW_BYTES, key, len);
    return LN_SLOT_ROW_BYTES + len;
}

void ln_store_rows_ahead(const struct ln_rows *box, const struct ln_store_key *keys, size_t count) {
    enum { LONGEST = 64 };
    char rows[LN_STORE_AHEAD][LN_SLOT_ROW_BYTES + LONGEST];
    struct ln_store_key ahead[LN_STORE_AHEAD];
    size_t n = 0;
    for (size_t i = 0; i < count && n < LN_STORE_AHEAD; i++) {
        if (keys[i].len > LONGEST)
            continue;
        ahead[n].len = make_row(box, keys[i].key, keys[i].len, rows[n]);
        ahead[n].key = rows[n];
        n++;
    }
    if (*box->store)
        ln_store_ahead(*box->store, ahead, n);
}

void ln_store_rows_members_ahead(const struct ln_rows *box, const struct ln_store_key *names,
                                 size_t count) {
    if (*box->store)
        ln_store_members_ahead(*box->store, box->last, names, count);
}

static int check_head(lua_State *L, int index) {
    lua_Integer head = luaL_checkinteger(L, index);
    luaL_argcheck(L, head >= 0 && head <= MOST_HEAD, index, "a byte expected");
    return (int)head;
}

/* Into box->value. False: there is no such row. */
static bool look(lua_State *L, struct ln_rows *box, const char *row, size_t len) {
    struct ln_detail detail = {.text = {0}};
    ln_value_release(&box->value);
    int rc = ln_store_get(*box->store, row, len, &detail, &box->value);
    if (rc != LN_OK && rc != -ENOENT)
        luaL_error(L, "the store failed: %s", detail.text);
    return rc == LN_OK;
}

static int head_of(const struct ln_value *value) {
    return value->len > 0 ? (unsigned char)value->data[0] : -1;
}

static int rows_get(lua_State *L) {
    struct ln_rows *box = check_rows(L);
    size_t len;
    struct room room;
    const char *key = ln_check_bytes(L, 2, &len);
    int head = check_head(L, 3), results = 1;
    char *row = make_room(L, &room, LN_SLOT_ROW_BYTES + len);
    if (!look(L, box, row, make_row(box, key, len, row)))
        return 0;
    if (head_of(&box->value) == head) {
        if (lua_islightuserdata(L, 2))
            ln_view_push_result(L, box->value.data + 1, box->value.len - 1);
        else
            lua_pushlstring(L, box->value.data + 1, box->value.len - 1);
    } else {
        lua_pushnil(L);
        lua_pushlstring(L, box->value.data, box->value.len);
        results = 2;
    }
    ln_value_release(&box->value);
    return results;
}

/* found: there is such a row, as a look has just said. */
static void put(lua_State *L, struct ln_rows *box, bool found, const char *row, size_t row_len,
                const char *value, size_t value_len) {
    int rc = found ? ln_store_put(*box->store, row, row_len, value, value_len)
                   : ln_store_put_new(*box->store, row, row_len, value, value_len);
    if (rc != LN_OK)
        luaL_error(L, "cannot write: %s", ln_status_text(rc));
}

/* What a key gets, and with which bits in the head there is nothing is written. */
struct change {
    const char *key, *text;
    size_t len, text_len;
    int head, unless;
};

/* False: there was no such row. Else *old is the head of what was there, or -1. */
static bool change(lua_State *L, struct ln_rows *box, const struct change *c, int *old) {
    struct room room;
    char *row = make_room(L, &room, LN_SLOT_ROW_BYTES + c->len + 1 + c->text_len);
    size_t row_len = make_row(box, c->key, c->len, row);
    bool found = look(L, box, row, row_len);
    *old = found ? head_of(&box->value) : -1;
    ln_value_release(&box->value);
    if (!found || (*old & c->unless) == 0) {
        char *stored = row + row_len;
        stored[0] = (char)c->head;
        memcpy(stored + 1, c->text, c->text_len);
        put(L, box, found, row, row_len, stored, c->text_len + 1);
    }
    return found;
}

static int rows_put(lua_State *L) {
    struct ln_rows *box = check_rows(L);
    struct change c;
    int old;
    c.key = ln_check_bytes(L, 2, &c.len);
    c.head = check_head(L, 3);
    c.text = ln_check_bytes(L, 4, &c.text_len);
    c.unless = (int)luaL_optinteger(L, 5, 0);
    if (!change(L, box, &c, &old))
        return 0;
    lua_pushinteger(L, old);
    return 1;
}

/* Of the list at index 2, in which each step-th word is a key. */
static void list_ahead(lua_State *L, const struct ln_rows *box, size_t at, size_t count,
                       size_t step) {
    struct ln_store_key keys[LN_STORE_AHEAD];
    size_t n = 0;
    for (; at < count && n < LN_STORE_AHEAD; at += step, n++)
        keys[n].key = ln_word_at(L, 2, at, &keys[n].len);
    ln_store_rows_ahead(box, keys, n);
}

static int rows_put_list(lua_State *L) {
    struct ln_rows *box = check_rows(L);
    size_t count = ln_count_words(L, 2), created = 0;
    lua_Integer first = luaL_checkinteger(L, 3);
    struct change c = {.head = check_head(L, 4), .unless = (int)luaL_optinteger(L, 5, 0)};
    luaL_argcheck(L, first > 0 && (lua_Unsigned)first <= count + 1, 3,
                  "a place in the list expected");
    int top = lua_gettop(L), old;
    size_t from = (size_t)first - 1, at = from;
    for (; at + 1 < count; at += 2) {
        if ((at - from) % ((size_t)2 * LN_STORE_AHEAD) == 0)
            list_ahead(L, box, at, count, 2);
        c.key = ln_word_at(L, 2, at, &c.len);
        c.text = ln_word_at(L, 2, at + 1, &c.text_len);
        bool found = change(L, box, &c, &old);
        lua_settop(L, top);
        if (found && (old & c.unless) != 0)
            break;
        created += !found;
    }
    lua_pushinteger(L, (lua_Integer)at + 1);
    lua_pushinteger(L, (lua_Integer)created);
    return 2;
}

/* Appends what a key's value is in a reply. False: it has another head. */
static bool reply_one(lua_State *L, struct ln_rows *box, const struct change *c, int protocol,
                      struct ln_buffer *elements) {
    struct room room;
    char *row = make_room(L, &room, LN_SLOT_ROW_BYTES + c->len);
    bool found = look(L, box, row, make_row(box, c->key, c->len, row));
    bool fits = !found || head_of(&box->value) == c->head;
    int rc = LN_OK;
    if (!found)
        rc = ln_resp_put_null(elements, protocol);
    else if (fits)
        rc = ln_resp_put_bulk(elements, box->value.data + 1, box->value.len - 1);
    ln_value_release(&box->value);
    if (rc != LN_OK) {
        ln_resp_rows_trim();
        luaL_error(L, "%s", ln_status_text(rc));
    }
    return fits;
}

static int rows_reply(lua_State *L) {
    struct ln_rows *box = check_rows(L);
    size_t count = ln_count_words(L, 2);
    struct change c = {.head = check_head(L, 3)};
    int protocol = luaL_optinteger(L, 4, 2) == 3 ? 3 : 2, top = lua_gettop(L);
    struct ln_buffer *elements = ln_resp_rows_begin();
    if (!elements)
        return luaL_error(L, "%s", ln_status_text(-ENOMEM));
    for (size_t at = 0; at < count; at++) {
        if (at % LN_STORE_AHEAD == 0)
            list_ahead(L, box, at, count, 1);
        c.key = ln_word_at(L, 2, at, &c.len);
        if (!reply_one(L, box, &c, protocol, elements)) {
            ln_resp_rows_trim();
            return 0;
        }
        lua_settop(L, top);
    }
    ln_resp_push_rows(L, LN_RESP_ARRAY, count);
    return 1;
}

/* The integer that a value spells behind its head, plus `by`. */
static bool sum_of(const struct ln_value *value, int head, int64_t by, int64_t *sum) {
    int64_t n;
    return head_of(value) == head &&
           ln_resp_parse_integer(value->data + 1, value->data + value->len, &n) &&
           !__builtin_add_overflow(n, by, sum);
}

static int rows_add(lua_State *L) {
    struct ln_rows *box = check_rows(L);
    size_t len;
    struct room room;
    char text[1 + LN_RESP_INTEGER];
    const char *key = ln_check_bytes(L, 2, &len);
    int head = check_head(L, 3);
    int64_t by = luaL_checkinteger(L, 4), sum = by;
    char *row = make_room(L, &room, LN_SLOT_ROW_BYTES + len);
    size_t row_len = make_row(box, key, len, row);
    bool found = look(L, box, row, row_len);
    bool fits = !found || sum_of(&box->value, head, by, &sum);
    ln_value_release(&box->value);
    if (!fits)
        return 0;
    text[0] = (char)head;
    put(L, box, found, row, row_len, text, 1 + ln_resp_format_integer(sum, text + 1));
    lua_pushinteger(L, sum);
    lua_pushboolean(L, !found);
    return 2;
}

static int rows_free(lua_State *L) {
    struct ln_rows *box = luaL_checkudata(L, 1, ROWS_TYPE);
    ln_value_release(&box->value);
    return 0;
}

int ln_store_rows_new(lua_State *L, struct ln_store *const *store,
                      const struct ln_members_prefix *last) {
    size_t len;
    const char *kind = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len == 1, 2, "one byte expected");
    struct ln_rows *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct ln_rows){.tag = &box_tag, .store = store, .last = last, .kind = *kind};
    luaL_setmetatable(L, ROWS_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* the store's box lives as long */
    return 1;
}

static const luaL_Reg rows_methods[] = {
    {"get", rows_get},     {"put", rows_put}, {"put_list", rows_put_list},
    {"reply", rows_reply}, {"add", rows_add}, {NULL, NULL},
};

void ln_store_rows_type(lua_State *L) {
    ln_new_type(L, ROWS_TYPE, rows_methods, rows_free);
}
