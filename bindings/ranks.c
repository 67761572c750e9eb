/* lunode.ranks: the nodes of a large sorted set, in memory. Types in lunode.meta.lua. */
#include "ranks.h"
#include "common.h"
#include "view.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define RANKS_TYPE "lunode.ranks"

enum {
    SMALL = 512, /* bytes of a key that lie on the stack */
    SPAN_BYTES = 4,
};

/* Quicker than to look the metatable up by its name. */
static const char box_tag = 0;

struct ranks_box {
    const void *tag;
    struct ln_ranks *ranks; /* NULL: not made */
    lua_Integer command;    /* whose changes can be undone */
};

struct key {
    const char *bytes; /* NULL: none was given */
    size_t len;
    char small[SMALL];
};

static struct ranks_box *check_box(lua_State *L) {
    return ln_check_tagged(L, &box_tag, sizeof(struct ranks_box), RANKS_TYPE);
}

/* For a change by the command at index 2. */
static struct ln_ranks *check_command(lua_State *L) {
    struct ranks_box *box = check_box(L);
    lua_Integer command = luaL_checkinteger(L, 2);
    if (command != box->command)
        ln_ranks_begin(box->ranks);
    box->command = command;
    return box->ranks;
}

static void check_changed(lua_State *L, int rc) {
    if (rc != LN_OK)
        luaL_error(L, "the ranks of a sorted set do not add up: %s", ln_status_text(rc));
}

static int ranks_new(lua_State *L) {
    struct ranks_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct ranks_box){.tag = &box_tag, .command = -1};
    luaL_setmetatable(L, RANKS_TYPE);
    box->ranks = ln_ranks_new();
    return box->ranks ? 1 : luaL_error(L, "no memory");
}

static int ranks_free(lua_State *L) {
    struct ranks_box *box = luaL_checkudata(L, 1, RANKS_TYPE);
    if (box->ranks)
        ln_ranks_free(box->ranks);
    box->ranks = NULL;
    return 0;
}

static uint32_t read_span(lua_State *L, int index) {
    size_t len;
    const unsigned char *bytes = (const unsigned char *)luaL_checklstring(L, index, &len);
    if (len != SPAN_BYTES)
        luaL_error(L, "a span of 4 bytes expected");
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void push_span(lua_State *L, uint32_t span) {
    char bytes[SPAN_BYTES] = {(char)(span >> 24), (char)(span >> 16), (char)(span >> 8),
                              (char)span};
    lua_pushlstring(L, bytes, sizeof bytes);
}

static int ranks_load(lua_State *L) {
    struct ln_ranks *ranks = check_box(L)->ranks;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 2);
    for (lua_Integer i = 1; i < count; i += 2) {
        size_t len;
        lua_rawgeti(L, 2, i);
        lua_rawgeti(L, 2, i + 1);
        const char *key = luaL_checklstring(L, -2, &len);
        check_changed(L, ln_ranks_insert(ranks, key, len, read_span(L, -1)));
        lua_pop(L, 2);
    }
    ln_ranks_saved(ranks);
    return 0;
}

/* Of the score at `index`, if there is one, and the member at index 3. */
static void make_key(lua_State *L, int index, struct key *key) {
    size_t score_len, len;
    key->bytes = NULL;
    key->len = 0;
    if (lua_isnoneornil(L, index))
        return;
    const char *member = ln_check_bytes(L, 3, &len);
    const char *score = luaL_checklstring(L, index, &score_len);
    key->len = score_len + len;
    char *bytes = key->len <= SMALL ? key->small : lua_newuserdatauv(L, key->len, 0);
    memcpy(bytes, score, score_len);
    memcpy(bytes + score_len, member, len);
    key->bytes = bytes;
}

static int ranks_move(lua_State *L) {
    struct ln_ranks *ranks = check_command(L);
    struct key from, to;
    lua_settop(L, 5);
    make_key(L, 4, &from);
    make_key(L, 5, &to);
    check_changed(L, ln_ranks_move(ranks, from.bytes, from.len, to.bytes, to.len));
    return 0;
}

static int ranks_add(lua_State *L) {
    struct ln_ranks *ranks = check_command(L);
    size_t len;
    const char *key = luaL_checklstring(L, 3, &len);
    check_changed(L, ln_ranks_add(ranks, key, len, luaL_checkinteger(L, 4)));
    return 0;
}

static int ranks_insert(lua_State *L) {
    struct ln_ranks *ranks = check_command(L);
    size_t len;
    const char *key = luaL_checklstring(L, 3, &len);
    lua_Integer span = luaL_checkinteger(L, 4);
    if (span < 0 || span > UINT32_MAX)
        return luaL_error(L, "the ranks of a sorted set do not add up: a span of %I", span);
    check_changed(L, ln_ranks_insert(ranks, key, len, (uint32_t)span));
    return 0;
}

static int ranks_remove(lua_State *L) {
    struct ln_ranks *ranks = check_command(L);
    size_t len;
    uint32_t span;
    const char *key = luaL_checklstring(L, 3, &len);
    check_changed(L, ln_ranks_remove(ranks, key, len, &span));
    lua_pushinteger(L, span);
    return 1;
}

static int ranks_rollback(lua_State *L) {
    struct ranks_box *box = check_box(L);
    if (luaL_checkinteger(L, 2) == box->command)
        ln_ranks_rollback(box->ranks);
    return 0;
}

static int push_node(lua_State *L, const struct ln_ranks_node *node) {
    lua_pushlstring(L, node->key, node->klen);
    lua_pushinteger(L, (lua_Integer)node->before);
    lua_pushinteger(L, node->span);
    return 3;
}

static int ranks_at(lua_State *L) {
    struct ln_ranks *ranks = check_box(L)->ranks;
    struct ln_ranks_node node;
    size_t len;
    const char *key = luaL_checklstring(L, 2, &len);
    return ln_ranks_at(ranks, key, len, &node) ? push_node(L, &node) : 0;
}

static int ranks_with(lua_State *L) {
    struct ln_ranks *ranks = check_box(L)->ranks;
    struct ln_ranks_node node;
    lua_Integer rank = luaL_checkinteger(L, 2);
    return rank >= 0 && ln_ranks_with(ranks, (uint64_t)rank, &node) ? push_node(L, &node) : 0;
}

static int ranks_sum(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ln_ranks_sum(check_box(L)->ranks));
    return 1;
}

static int ranks_unsaved(lua_State *L) {
    const struct ln_ranks *ranks = check_box(L)->ranks;
    size_t prefix_len;
    const char *prefix = luaL_checklstring(L, 2, &prefix_len);
    struct ln_ranks_node node;
    lua_Integer count = 0;
    lua_createtable(L, (int)ln_ranks_unsaved_count(ranks) * 2, 0);
    for (size_t i = 0; ln_ranks_unsaved(ranks, i, &node); i++) {
        if (!node.key)
            continue;
        luaL_Buffer row;
        luaL_buffinit(L, &row);
        luaL_addlstring(&row, prefix, prefix_len);
        luaL_addlstring(&row, node.key, node.klen);
        luaL_pushresult(&row);
        lua_rawseti(L, -2, ++count);
        push_span(L, node.span);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

static int ranks_saved(lua_State *L) {
    ln_ranks_saved(check_box(L)->ranks);
    return 0;
}

static const luaL_Reg ranks_methods[] = {
    {"load", ranks_load},       {"move", ranks_move},     {"add", ranks_add},
    {"insert", ranks_insert},   {"remove", ranks_remove}, {"rollback", ranks_rollback},
    {"at", ranks_at},           {"with", ranks_with},     {"sum", ranks_sum},
    {"unsaved", ranks_unsaved}, {"saved", ranks_saved},   {NULL, NULL},
};

static const luaL_Reg ranks_functions[] = {
    {"new", ranks_new},
    {NULL, NULL},
};

int luaopen_lunode_ranks(lua_State *L) {
    ln_new_type(L, RANKS_TYPE, ranks_methods, ranks_free);
    luaL_newlib(L, ranks_functions);
    return 1;
}
