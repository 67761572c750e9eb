/* store:rows: users' keys of one kind. The row of a key and the head of its value are put together
 * here, as each string less that Lua makes is a tenth of a GET. */
#include "store_rows.h"

#include "common.h"
#include "slot.h"
#include "view.h"

#include <errno.h>
#include <string.h>

#define ROWS_TYPE "lunode.rows"

enum {
    SMALL = 512, /* bytes of a row and its value that lie on the stack */
    MOST_HEAD = 255,
};

/* Quicker than to look the metatable up by its name. */
static const char box_tag = 0;

struct ln_rows {
    const void *tag;
    struct ln_store *const *store;
    struct ln_value value; /* of the call under way; freed later where that raised */
    char kind;
};

/* Where a row is put together: on the stack, or in a userdata. */
struct room {
    char small[SMALL];
};

struct ln_rows *ln_store_rows_test(lua_State *L, int index) {
    struct ln_rows *box = lua_touserdata(L, index);
    if (!box || lua_islightuserdata(L, index) || lua_rawlen(L, index) != sizeof *box ||
        box->tag != &box_tag)
        return NULL;
    return box;
}

static struct ln_rows *check_rows(lua_State *L) {
    struct ln_rows *box = ln_store_rows_test(L, 1);
    if (!box)
        box = luaL_checkudata(L, 1, ROWS_TYPE); /* which raises */
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

static int rows_put(lua_State *L) {
    struct ln_rows *box = check_rows(L);
    size_t len, value_len;
    struct room room;
    const char *key = ln_check_bytes(L, 2, &len);
    int head = check_head(L, 3);
    const char *value = ln_check_bytes(L, 4, &value_len);
    int unless = (int)luaL_optinteger(L, 5, 0), old = -1;
    char *row = make_room(L, &room, LN_SLOT_ROW_BYTES + len + 1 + value_len);
    size_t row_len = make_row(box, key, len, row);
    bool found = look(L, box, row, row_len);
    if (found)
        old = head_of(&box->value);
    ln_value_release(&box->value);
    if (!found || (old & unless) == 0) {
        char *stored = row + row_len;
        stored[0] = (char)head;
        memcpy(stored + 1, value, value_len);
        int rc = ln_store_put(*box->store, row, row_len, stored, value_len + 1);
        if (rc != LN_OK)
            return luaL_error(L, "cannot write: %s", ln_status_text(rc));
    }
    if (!found)
        return 0;
    lua_pushinteger(L, old);
    return 1;
}

static int rows_free(lua_State *L) {
    struct ln_rows *box = luaL_checkudata(L, 1, ROWS_TYPE);
    ln_value_release(&box->value);
    return 0;
}

int ln_store_rows_new(lua_State *L, struct ln_store *const *store) {
    size_t len;
    const char *kind = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len == 1, 2, "one byte expected");
    struct ln_rows *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct ln_rows){.tag = &box_tag, .store = store, .kind = *kind};
    luaL_setmetatable(L, ROWS_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* the store's box lives as long */
    return 1;
}

static const luaL_Reg rows_methods[] = {
    {"get", rows_get},
    {"put", rows_put},
    {NULL, NULL},
};

void ln_store_rows_type(lua_State *L) {
    ln_new_type(L, ROWS_TYPE, rows_methods, rows_free);
}
