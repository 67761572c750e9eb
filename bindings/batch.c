/* lunode.batch: commands packed into the payload of a log entry. Types in lunode.meta.lua. */
#include "batch.h"
#include "common.h"
#include "decoder.h"
#include "view.h"

#include <errno.h>

#define BATCH_TYPE "lunode.batch"

enum {
    KEPT = 256 << 10,
    FEW = 8, /* words */
};

static const char box_tag = 0;

struct box {
    const void *tag;
    struct ln_buffer bytes;
    size_t len;  /* of the commands in it */
    size_t last; /* where the one begins that was added last */
    lua_Integer commands;
};

static struct box *check_batch(lua_State *L) {
    return ln_check_tagged(L, &box_tag, sizeof(struct box), BATCH_TYPE);
}

static int batch_new(lua_State *L) {
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct box){.tag = &box_tag};
    ln_buffer_init(&box->bytes);
    luaL_setmetatable(L, BATCH_TYPE);
    return 1;
}

static int batch_free(lua_State *L) {
    struct box *box = check_batch(L);
    ln_buffer_free(&box->bytes);
    *box = (struct box){.tag = &box_tag};
    ln_buffer_init(&box->bytes);
    return 0;
}

/* Where the next command goes. What one that raised has left there is written over. */
static struct ln_buffer *begin_command(struct box *box) {
    ln_buffer_truncate(&box->bytes, box->len);
    return &box->bytes;
}

static int end_command(lua_State *L, struct box *box, int rc) {
    if (rc != LN_OK)
        return luaL_error(L, "%s", ln_status_text(rc));
    box->last = box->len;
    box->len = ln_buffer_len(&box->bytes);
    box->commands++;
    lua_pushinteger(L, (lua_Integer)box->len);
    return 1;
}

/* The words at index: one, or those of a list. */
static int put_words(lua_State *L, struct ln_buffer *bytes, int index) {
    size_t count = ln_count_words(L, index), len = 0;
    int rc = LN_OK;
    for (size_t i = 0; i < count && rc == LN_OK; i++) {
        const char *word = ln_word_at(L, index, i, &len);
        rc = ln_batch_put_word(bytes, word, len);
    }
    return rc;
}

/* False: they are too many for that, or there are lists among them. */
static bool get_few(lua_State *L, int top, struct ln_batch_text words[FEW]) {
    if (top - 1 > FEW)
        return false;
    for (int i = 2; i <= top; i++) {
        struct ln_batch_text *word = &words[i - 2];
        if (lua_type(L, i) == LUA_TSTRING)
            word->data = lua_tolstring(L, i, &word->len);
        else if (!ln_view_test(L, i, &word->data, &word->len))
            return false;
    }
    return true;
}

static int batch_add(lua_State *L) {
    struct box *box = check_batch(L);
    struct ln_batch_text words[FEW];
    int top = lua_gettop(L);
    while (top > 2 && lua_isnil(L, top))
        top--;
    luaL_argcheck(L, top > 1, 2, "a command has a name");
    if (get_few(L, top, words))
        return end_command(L, box, ln_batch_put(begin_command(box), words, (size_t)top - 1));
    size_t count = 0;
    for (int i = 2; i <= top; i++)
        count += ln_count_words(L, i);
    struct ln_buffer *bytes = begin_command(box);
    int rc = count < LN_BATCH_MAX ? ln_batch_put_command(bytes, count) : -E2BIG;
    for (int i = 2; i <= top && rc == LN_OK; i++)
        rc = put_words(L, bytes, i);
    return end_command(L, box, rc);
}

static int batch_add_list(lua_State *L) {
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    luaL_checktype(L, 2, LUA_TSTRING);
    return batch_add(L);
}

static int batch_undo(lua_State *L) {
    struct box *box = check_batch(L);
    luaL_argcheck(L, box->len > box->last, 1, "nothing to undo");
    box->len = box->last;
    box->commands--;
    return 0;
}

static int batch_bytes(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)check_batch(L)->len);
    return 1;
}

static int batch_commands(lua_State *L) {
    lua_pushinteger(L, check_batch(L)->commands);
    return 1;
}

static int batch_take(lua_State *L) {
    struct box *box = check_batch(L);
    size_t head_len = 0;
    const char *head = luaL_optlstring(L, 2, "", &head_len);
    luaL_Buffer all;
    luaL_buffinitsize(L, &all, head_len + box->len);
    luaL_addlstring(&all, head, head_len);
    if (box->len > 0)
        luaL_addlstring(&all, ln_buffer_data(&box->bytes), box->len);
    luaL_pushresult(&all);
    ln_buffer_truncate(&box->bytes, 0);
    if (box->bytes.cap > KEPT)
        ln_buffer_trim(&box->bytes);
    box->commands = 0;
    box->len = box->last = 0;
    return 1;
}

static int malformed(lua_State *L) {
    luaL_pushfail(L);
    lua_pushliteral(L, "a batch of commands is malformed");
    lua_pushstring(L, ln_status_name(-EPROTO));
    return 3;
}

static int batch_next(lua_State *L) {
    size_t len = 0;
    const uint8_t *data = (const uint8_t *)luaL_checklstring(L, 1, &len);
    lua_Integer position = luaL_optinteger(L, 2, 1);
    luaL_argcheck(L, position >= 1 && (lua_Unsigned)position <= len + 1, 2, "outside of the batch");
    size_t at = (size_t)position - 1;
    uint32_t words = 0, word_len = 0;
    const char *word = NULL;
    int rc = ln_batch_next(data, len, &at, &words);
    if (rc == 0)
        return 0;
    if (rc < 0 || ln_batch_word(data, len, &at, &word, &word_len) != LN_OK)
        return malformed(L);
    lua_settop(L, 1);
    lua_pushnil(L); /* the position behind, once it is known */
    lua_pushlstring(L, word, word_len);
    bool is_long = words > LN_DECODER_MAX_VALUES;
    if (is_long)
        lua_newtable(L); /* no room for what is announced, only for what is there */
    else
        luaL_checkstack(L, (int)words, "too many words");
    for (uint32_t i = 1; i < words; i++) {
        if (ln_batch_word(data, len, &at, &word, &word_len) != LN_OK)
            return malformed(L);
        lua_pushlstring(L, word, word_len);
        if (is_long)
            lua_rawseti(L, -2, (lua_Integer)i);
    }
    lua_pushinteger(L, (lua_Integer)at + 1);
    lua_replace(L, 2);
    return lua_gettop(L) - 1;
}

static const luaL_Reg batch_methods[] = {
    {"add", batch_add},     {"add_list", batch_add_list},
    {"bytes", batch_bytes}, {"commands", batch_commands},
    {"take", batch_take},   {"undo", batch_undo},
    {NULL, NULL},
};

static const luaL_Reg batch_functions[] = {
    {"new", batch_new},
    {"next", batch_next},
    {NULL, NULL},
};

int luaopen_lunode_batch(lua_State *L) {
    ln_new_type(L, BATCH_TYPE, batch_methods, batch_free);
    luaL_newlib(L, batch_functions);
    return 1;
}
