/* store:members: rows under a prefix, in the order of their names' hashes. They are put together
 * here, as each string less that Lua makes is a tenth of a command. */
#include "store_members.h"

#include "buffer.h"
#include "common.h"
#include "pieces.h"
#include "store_bulk.h"
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
    struct ln_members_prefix *asked;    /* the last one */
    struct ln_value value;              /* of the call under way; freed later where that raised */
    struct ln_buffer first, last, name; /* the same of a cut */
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
    remember(box->asked, prefix, prefix_len);
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

/* ---- many of them */

static int add_member(struct ln_bulk *bulk, struct ln_buffer *name, const char *prefix,
                      size_t prefix_len, const char *member, size_t len, const char *value,
                      size_t value_len) {
    uint32_t hash = XXH32(len ? member : "", len, 0);
    char bytes[HASH_BYTES] = {(char)(hash >> 24), (char)(hash >> 16), (char)(hash >> 8),
                              (char)hash};
    ln_buffer_truncate(name, 0);
    int rc = ln_buffer_append(name, bytes, sizeof bytes);
    if (rc == LN_OK)
        rc = ln_buffer_append(name, member, len);
    return rc == LN_OK ? ln_bulk_add(bulk, prefix, prefix_len, ln_buffer_data(name),
                                     ln_buffer_len(name), value, value_len)
                       : rc;
}

static int members_unpack(lua_State *L) {
    struct members_box *box = check_box(L);
    struct ln_pieces pieces = ln_check_pieces(L, 3);
    bool paired = lua_toboolean(L, 5);
    size_t prefix_len, len, value_len = 0;
    const char *prefix = luaL_checklstring(L, 2, &prefix_len), *member, *value = "";
    lua_Integer count = 0;
    struct ln_bulk bulk;
    struct ln_buffer name;
    int rc = LN_OK;
    ln_bulk_init(&bulk, *box->store, LN_BULK_PUT_ONCE);
    ln_buffer_init(&name);
    while (rc == LN_OK && ln_next_piece(&pieces, &member, &len)) {
        if (paired && !ln_next_piece(&pieces, &value, &value_len))
            pieces.good = false;
        else
            rc = add_member(&bulk, &name, prefix, prefix_len, member, len, value, value_len);
        count++;
    }
    if (rc == LN_OK && pieces.good)
        rc = ln_bulk_flush(&bulk);
    ln_bulk_free(&bulk);
    ln_buffer_free(&name);
    if (rc == -EEXIST || (rc == LN_OK && !pieces.good))
        return 0;
    check_written(L, rc);
    lua_pushinteger(L, count);
    return 1;
}

/* What members_cut takes, and what it has met. */
struct cut {
    struct ln_store *store;
    const char *prefix, *from, *to;
    size_t prefix_len, from_len, to_len, skip; /* skip: bytes in front of a member in the index */
    lua_Integer limit, offset, count;
    bool reverse;
    struct ln_buffer *first, *last; /* rows of the index */
    struct ln_buffer *name;
};

static int keep(struct ln_buffer *b, const struct ln_overlay_row *row) {
    ln_buffer_truncate(b, 0);
    return ln_buffer_append(b, row->key, row->klen);
}

static int cut_row(struct cut *c, struct ln_bulk *bulk, const struct ln_overlay_row *row) {
    if (row->klen < c->skip)
        return -EINVAL;
    int rc = c->count++ == 0 ? keep(c->first, row) : LN_OK;
    if (rc == LN_OK)
        rc = keep(c->last, row);
    return rc == LN_OK ? add_member(bulk, c->name, c->prefix, c->prefix_len, row->key + c->skip,
                                    row->klen - c->skip, NULL, 0)
                       : rc;
}

static int cut_members(struct cut *c, struct ln_detail *detail) {
    struct ln_overlay_row row;
    struct ln_bulk bulk;
    struct ln_scan *scan;
    int rc = ln_store_scan(c->store, c->from, c->from_len, c->to, c->to_len, c->reverse, &scan);
    if (rc != LN_OK)
        return rc;
    ln_bulk_init(&bulk, c->store, LN_BULK_DELETE);
    while (rc == LN_OK && c->count < c->limit && (rc = ln_scan_next(scan, detail, &row)) == LN_OK) {
        if (c->offset-- <= 0)
            rc = cut_row(c, &bulk, &row);
    }
    ln_scan_close(scan);
    if (rc == LN_OK || rc == LN_EOF)
        rc = ln_bulk_flush(&bulk);
    ln_bulk_free(&bulk);
    return rc;
}

/* The rows of the index: they are neighbours, so that many of them go with one mark. */
static int cut_index(struct cut *c, struct ln_detail *detail) {
    enum { MANY = 256 };
    struct ln_buffer *low = c->reverse ? c->last : c->first;
    struct ln_buffer *high = c->reverse ? c->first : c->last;
    struct ln_overlay_row row;
    struct ln_scan *scan;
    int rc = ln_buffer_append(high, "", 1); /* just past it */
    if (rc == LN_OK && c->count > MANY)
        return ln_store_delete_range(c->store, ln_buffer_data(low), ln_buffer_len(low),
                                     ln_buffer_data(high), ln_buffer_len(high));
    if (rc == LN_OK)
        rc = ln_store_scan(c->store, ln_buffer_data(low), ln_buffer_len(low), ln_buffer_data(high),
                           ln_buffer_len(high), false, &scan);
    if (rc != LN_OK)
        return rc;
    while (rc == LN_OK && (rc = ln_scan_next(scan, detail, &row)) == LN_OK)
        rc = ln_store_delete(c->store, row.key, row.klen);
    ln_scan_close(scan);
    return rc == LN_EOF ? LN_OK : rc;
}

static void free_cut(struct members_box *box) {
    ln_buffer_free(&box->first);
    ln_buffer_free(&box->last);
    ln_buffer_free(&box->name);
}

static void push_behind(lua_State *L, const struct ln_buffer *key, size_t skip, size_t end) {
    lua_pushlstring(L, ln_buffer_data(key) + skip, ln_buffer_len(key) - skip - end);
}

static int members_cut(lua_State *L) {
    struct ln_detail detail = {.text = {0}};
    struct members_box *box = check_box(L);
    struct cut c = {
        .store = *box->store, .first = &box->first, .last = &box->last, .name = &box->name};
    size_t index_len;
    c.prefix = luaL_checklstring(L, 2, &c.prefix_len);
    (void)luaL_checklstring(L, 3, &index_len);
    c.from = luaL_checklstring(L, 4, &c.from_len);
    c.to = luaL_checklstring(L, 5, &c.to_len);
    lua_Integer value_bytes = luaL_checkinteger(L, 6);
    luaL_argcheck(L, value_bytes >= 0 && value_bytes <= MOST_INDEXED, 6, "out of range");
    c.skip = index_len + (size_t)value_bytes;
    c.limit = luaL_optinteger(L, 7, LUA_MAXINTEGER);
    c.offset = luaL_optinteger(L, 8, 0);
    c.reverse = lua_toboolean(L, 9);
    free_cut(box); /* of a call that raised */
    int rc = cut_members(&c, &detail);
    if (rc == LN_OK && c.count > 0)
        rc = cut_index(&c, &detail);
    if (rc != LN_OK)
        return luaL_error(L, "the store failed: %s",
                          detail.text[0] ? detail.text : ln_status_text(rc));
    lua_pushinteger(L, c.count);
    if (c.count == 0)
        return 1;
    push_behind(L, c.reverse ? c.last : c.first, index_len, 0);
    push_behind(L, c.reverse ? c.first : c.last, index_len, 1); /* without what is behind it */
    free_cut(box);
    return 3;
}

static int members_free(lua_State *L) {
    struct members_box *box = luaL_checkudata(L, 1, MEMBERS_TYPE);
    ln_value_release(&box->value);
    free_cut(box);
    return 0;
}

int ln_store_members_new(lua_State *L, struct ln_store *const *store,
                         struct ln_members_prefix *asked) {
    struct members_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct members_box){.tag = &box_tag, .store = store, .asked = asked};
    luaL_setmetatable(L, MEMBERS_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* the store's box lives as long */
    return 1;
}

static const luaL_Reg members_methods[] = {
    {"get", members_get},       {"has", members_has},     {"put", members_put},
    {"swap", members_swap},     {"index", members_index}, {"unindex", members_unindex},
    {"pop", members_pop},       {"add", members_add},     {"delete", members_delete},
    {"unpack", members_unpack}, {"cut", members_cut},     {NULL, NULL},
};

void ln_store_members_type(lua_State *L) {
    ln_new_type(L, MEMBERS_TYPE, members_methods, members_free);
}
