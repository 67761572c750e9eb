/* store:members: rows under a prefix, in the order of their names' hashes. They are put together
 * here, as each string less that Lua makes is a tenth of a command. */
#include "store_members.h"

#include "buffer.h"
#include "common.h"
#include "pieces.h"
#include "view.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#define MEMBERS_TYPE "lunode.members"

enum {
    SMALL = 512, /* bytes of a row that lie on the stack */
    HASH_BYTES = 4,
    MOST_INDEXED = 64, /* bytes of a value */
};

static const char box_tag = 0;

struct members_box {
    const void *tag;
    struct ln_store *const *store;
    struct ln_members_prefix *last;
    struct ln_value value; /* of the call under way; freed later where that raised */
};

struct row {
    struct ln_store *store;
    const char *key;
    size_t len;
    uint32_t hash;
    char small[SMALL];
};

/* Puts a row together, and returns its member's hash. */
static uint32_t make_row(char *key, const char *prefix, size_t prefix_len, const char *member,
                         size_t len) {
    uint32_t hash = XXH32(len ? member : "", len, 0);
    memcpy(key, prefix, prefix_len);
    for (unsigned i = 0; i < HASH_BYTES; i++)
        key[prefix_len + i] = (char)(hash >> (24 - 8 * i));
    memcpy(key + prefix_len + HASH_BYTES, member, len);
    return hash;
}

void ln_store_members_ahead(const struct ln_store *store, const struct ln_members_prefix *prefix,
                            const struct ln_store_key *names, size_t count) {
    enum { LONGEST = 64 };
    char rows[LN_STORE_AHEAD][sizeof prefix->bytes + HASH_BYTES + LONGEST];
    struct ln_store_key ahead[LN_STORE_AHEAD];
    size_t n = 0;
    for (size_t i = 0; i < count && n < LN_STORE_AHEAD && prefix->len > 0; i++) {
        if (names[i].len > LONGEST)
            continue;
        (void)make_row(rows[n], prefix->bytes, prefix->len, names[i].key, names[i].len);
        ahead[n].len = prefix->len + HASH_BYTES + names[i].len;
        ahead[n].key = rows[n];
        n++;
    }
    ln_store_ahead(store, ahead, n);
}

static void remember(struct ln_members_prefix *last, const char *prefix, size_t len) {
    last->len = len <= sizeof last->bytes ? len : 0;
    memcpy(last->bytes, prefix, last->len);
}

static struct members_box *check_box(lua_State *L) {
    struct members_box *box = ln_check_tagged(L, &box_tag, sizeof *box, MEMBERS_TYPE);
    if (!*box->store)
        luaL_error(L, "store is closed");
    return box;
}

/* Of the prefix at index 2 and the member at index 3; a long one lies in a userdata. */
static struct members_box *check_row(lua_State *L, struct row *row) {
    struct members_box *box = check_box(L);
    size_t prefix_len, len;
    const char *prefix = luaL_checklstring(L, 2, &prefix_len);
    const char *member = ln_check_bytes(L, 3, &len);
    row->store = *box->store;
    row->len = prefix_len + HASH_BYTES + len;
    char *key = row->len <= SMALL ? row->small : lua_newuserdatauv(L, row->len, 0);
    row->hash = make_row(key, prefix, prefix_len, member, len);
    row->key = key;
    remember(box->last, prefix, prefix_len);
    return box;
}

/* Into box->value, which the caller releases. False: there is no such row. */
static bool look(lua_State *L, struct members_box *box, const struct row *row) {
    struct ln_detail detail = {.text = {0}};
    ln_value_release(&box->value);
    int rc = ln_store_get(row->store, row->key, row->len, &detail, &box->value);
    if (rc != LN_OK && rc != -ENOENT)
        luaL_error(L, "the store failed: %s", detail.text);
    return rc == LN_OK;
}

static bool is_there(lua_State *L, struct members_box *box, const struct row *row) {
    bool found = look(L, box, row);
    ln_value_release(&box->value);
    return found;
}

static void check_written(lua_State *L, int rc) {
    if (rc != LN_OK)
        luaL_error(L, "cannot write: %s", ln_status_text(rc));
}

/* found: there is such a row, as a look has just said. */
static void write_row(lua_State *L, const struct row *row, bool found, const char *value,
                      size_t len) {
    check_written(L, found ? ln_store_put(row->store, row->key, row->len, value, len)
                           : ln_store_put_new(row->store, row->key, row->len, value, len));
}

/* A member's hash comes with the answer: some give those with certain hashes a part to play. */
static int push_answer(lua_State *L, bool answer, const struct row *row) {
    lua_pushboolean(L, answer);
    lua_pushinteger(L, row->hash);
    return 2;
}

static int members_get(lua_State *L) {
    struct row row;
    struct members_box *box = check_row(L, &row);
    if (!look(L, box, &row))
        return 0;
    if (lua_type(L, 3) == LUA_TSTRING)
        lua_pushlstring(L, box->value.data, box->value.len);
    else
        ln_view_push_result(L, box->value.data, box->value.len);
    ln_value_release(&box->value);
    return 1;
}

static int members_has(lua_State *L) {
    struct row row;
    struct members_box *box = check_row(L, &row);
    return push_answer(L, is_there(L, box, &row), &row);
}

static int members_put(lua_State *L) {
    struct row row;
    size_t len;
    const char *value = ln_check_bytes(L, 4, &len);
    struct members_box *box = check_row(L, &row);
    bool found = is_there(L, box, &row);
    write_row(L, &row, found, value, len);
    return push_answer(L, found, &row);
}

static int members_swap(lua_State *L) {
    struct row row;
    size_t len;
    const char *value = ln_check_bytes(L, 4, &len);
    struct members_box *box = check_row(L, &row);
    bool found = look(L, box, &row), same = false;
    if (found) {
        same = box->value.len == len && memcmp(box->value.data, value, len) == 0;
        lua_pushlstring(L, box->value.data, box->value.len);
    } else {
        lua_pushnil(L);
    }
    ln_value_release(&box->value);
    if (!same)
        write_row(L, &row, found, value, len);
    lua_pushinteger(L, row.hash);
    return 2;
}

/* The row of the index: its prefix at index 4, a value, and the member at index 3. */
static void make_index_row(lua_State *L, struct row *row, const char *value, size_t value_len) {
    size_t prefix_len, len;
    const char *prefix = luaL_checklstring(L, 4, &prefix_len), *member = ln_check_bytes(L, 3, &len);
    row->len = prefix_len + value_len + len;
    char *key = row->len <= SMALL ? row->small : lua_newuserdatauv(L, row->len, 0);
    memcpy(key, prefix, prefix_len);
    memcpy(key + prefix_len, value, value_len);
    memcpy(key + prefix_len + value_len, member, len);
    row->key = key;
}

static int members_index(lua_State *L) {
    struct row row, entry;
    char old[MOST_INDEXED];
    size_t len, old_len = 0;
    const char *value = luaL_checklstring(L, 5, &len);
    luaL_argcheck(L, len <= MOST_INDEXED, 5, "too long for an index");
    struct members_box *box = check_row(L, &row);
    bool found = look(L, box, &row);
    if (found && box->value.len <= MOST_INDEXED) {
        old_len = box->value.len;
        memcpy(old, box->value.data, old_len);
    }
    ln_value_release(&box->value);
    if (!found || old_len != len || memcmp(old, value, len) != 0) {
        if (found) {
            make_index_row(L, &entry, old, old_len);
            check_written(L, ln_store_delete(row.store, entry.key, entry.len));
        }
        make_index_row(L, &entry, value, len);
        /* The index has a row of the member under its value, and under no other. */
        check_written(L, ln_store_put_new(row.store, entry.key, entry.len, "", 0));
        write_row(L, &row, found, value, len);
    }
    if (found)
        lua_pushlstring(L, old, old_len);
    else
        lua_pushnil(L);
    lua_pushinteger(L, row.hash);
    return 2;
}

static int members_unindex(lua_State *L) {
    struct row row, entry;
    char old[MOST_INDEXED];
    struct members_box *box = check_row(L, &row);
    bool found = look(L, box, &row);
    size_t len = box->value.len;
    if (found && len <= MOST_INDEXED)
        memcpy(old, box->value.data, len);
    ln_value_release(&box->value);
    if (found) {
        luaL_argcheck(L, len <= MOST_INDEXED, 3, "too long for an index");
        make_index_row(L, &entry, old, len);
        check_written(L, ln_store_delete(row.store, entry.key, entry.len));
        check_written(L, ln_store_delete(row.store, row.key, row.len));
        lua_pushlstring(L, old, len);
    } else {
        lua_pushnil(L);
    }
    lua_pushinteger(L, row.hash);
    return 2;
}

/* The row of the index as one string, the member's put together from its end. */
static int members_pop(lua_State *L) {
    struct row row, entry;
    size_t len, value_len = (size_t)luaL_checkinteger(L, 5);
    const char *key = luaL_checklstring(L, 3, &len);
    luaL_argcheck(L, value_len <= len && value_len <= MOST_INDEXED, 5, "out of range");
    lua_settop(L, 4);
    lua_pushlstring(L, key + value_len, len - value_len);
    lua_pushvalue(L, 3); /* so that it stays */
    lua_pushvalue(L, 5);
    lua_replace(L, 3);
    check_row(L, &row);
    make_index_row(L, &entry, key, value_len);
    check_written(L, ln_store_delete(row.store, entry.key, entry.len));
    check_written(L, ln_store_delete(row.store, row.key, row.len));
    lua_pushvalue(L, 3);
    lua_pushinteger(L, row.hash);
    return 2;
}

static int members_add(lua_State *L) {
    struct row row;
    size_t len;
    const char *value = ln_check_bytes(L, 4, &len);
    struct members_box *box = check_row(L, &row);
    bool found = is_there(L, box, &row);
    if (!found)
        write_row(L, &row, false, value, len);
    return push_answer(L, !found, &row);
}

static int members_delete(lua_State *L) {
    struct row row;
    bool known = lua_toboolean(L, 4); /* before the row: a long one lies on the stack */
    struct members_box *box = check_row(L, &row);
    bool found = known || is_there(L, box, &row);
    if (found)
        check_written(L, ln_store_delete(row.store, row.key, row.len));
    return push_answer(L, found, &row);
}

/* What lies in `row`: its name is to be known no more than the command itself has put. */
static int put_once(struct ln_store *store, struct ln_buffer *row, size_t prefix_len,
                    const char *member, size_t len, const char *value, size_t value_len) {
    uint32_t hash = XXH32(len ? member : "", len, 0);
    char bytes[HASH_BYTES] = {(char)(hash >> 24), (char)(hash >> 16), (char)(hash >> 8),
                              (char)hash};
    ln_buffer_truncate(row, prefix_len);
    int rc = ln_buffer_append(row, bytes, sizeof bytes);
    if (rc == LN_OK)
        rc = ln_buffer_append(row, member, len);
    if (rc == LN_OK && ln_store_wrote(store, ln_buffer_data(row), ln_buffer_len(row)))
        rc = -EEXIST;
    return rc == LN_OK
               ? ln_store_put_new(store, ln_buffer_data(row), ln_buffer_len(row), value, value_len)
               : rc;
}

static int members_unpack(lua_State *L) {
    struct members_box *box = check_box(L);
    struct ln_pieces pieces = ln_check_pieces(L, 3);
    bool paired = lua_toboolean(L, 5);
    size_t prefix_len, len, value_len = 0;
    const char *prefix = luaL_checklstring(L, 2, &prefix_len), *member, *value = "";
    lua_Integer count = 0;
    struct ln_buffer row;
    ln_buffer_init(&row);
    int rc = ln_buffer_append(&row, prefix, prefix_len);
    while (rc == LN_OK && ln_next_piece(&pieces, &member, &len)) {
        if (paired && !ln_next_piece(&pieces, &value, &value_len))
            pieces.good = false;
        else
            rc = put_once(*box->store, &row, prefix_len, member, len, value, value_len);
        count++;
    }
    ln_buffer_free(&row);
    if (rc == -EEXIST || (rc == LN_OK && !pieces.good))
        return 0;
    check_written(L, rc);
    lua_pushinteger(L, count);
    return 1;
}

static int members_free(lua_State *L) {
    struct members_box *box = luaL_checkudata(L, 1, MEMBERS_TYPE);
    ln_value_release(&box->value);
    return 0;
}

int ln_store_members_new(lua_State *L, struct ln_store *const *store,
                         struct ln_members_prefix *last) {
    struct members_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct members_box){.tag = &box_tag, .store = store, .last = last};
    luaL_setmetatable(L, MEMBERS_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* the store's box lives as long */
    return 1;
}

static const luaL_Reg members_methods[] = {
    {"get", members_get},
    {"has", members_has},
    {"put", members_put},
    {"swap", members_swap},
    {"index", members_index},
    {"unindex", members_unindex},
    {"pop", members_pop},
    {"add", members_add},
    {"delete", members_delete},
    {"unpack", members_unpack},
    {NULL, NULL},
};

void ln_store_members_type(lua_State *L) {
    ln_new_type(L, MEMBERS_TYPE, members_methods, members_free);
}
