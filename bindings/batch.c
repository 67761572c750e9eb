/* lunode.batch: commands packed into the payload of a log entry. Types in lunode.meta.lua. */
#include "batch.h"
#include "common.h"
#include "decoder.h"
#include "view.h"

#include <errno.h>

#define BATCH_TYPE "lunode.batch"

enum { KEPT = 256 << 10 };

static const char box_tag = 0;

struct box {
    const void *tag;
    struct ln_buffer bytes;
    size_t last; /* where the command begins that was added last */
    lua_Integer commands;
};

static struct box *check_batch(lua_State *L) {
    struct box *box = ln_test_tagged(L, 1, &box_tag, sizeof *box);
    return box ? box : luaL_checkudata(L, 1, BATCH_TYPE); /* which raises */
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
    ln_buffer_init(&box->bytes);
    box->commands = 0;
    return 0;
}

static int failed(lua_State *L, struct box *box, size_t before, int rc) {
    ln_buffer_truncate(&box->bytes, before);
    return luaL_error(L, "%s", ln_status_text(rc));
}

static int added(lua_State *L, struct box *box, size_t before) {
    box->last = before;
    box->commands++;
    lua_pushinteger(L, (lua_Integer)ln_buffer_len(&box->bytes));
    return 1;
}

static int batch_add(lua_State *L) {
    struct box *box = check_batch(L);
    int top = lua_gettop(L);
    luaL_argcheck(L, top > 1, 2, "a command has a name");
    size_t before = ln_buffer_len(&box->bytes);
    int rc = ln_batch_put_command(&box->bytes, (size_t)(top - 1));
    for (int i = 2; i <= top && rc == LN_OK; i++) {
        size_t len = 0;
        const char *word = NULL;
        if (lua_type(L, i) == LUA_TSTRING) {
            word = lua_tolstring(L, i, &len);
        } else if (!ln_view_test(L, i, &word, &len)) {
            ln_buffer_truncate(&box->bytes, before);
            ln_check_bytes(L, i, &len); /* which raises */
        }
        rc = ln_batch_put_word(&box->bytes, word, len);
    }
    return rc == LN_OK ? added(L, box, before) : failed(L, box, before, rc);
}

static int batch_add_list(lua_State *L) {
    struct box *box = check_batch(L);
    size_t len = 0;
    const char *name = luaL_checklstring(L, 2, &len);
    luaL_checktype(L, 3, LUA_TTABLE);
    size_t count = lua_rawlen(L, 3), before = ln_buffer_len(&box->bytes);
    int rc = count + 1 < LN_BATCH_MAX ? ln_batch_put_command(&box->bytes, count + 1) : -E2BIG;
    if (rc == LN_OK)
        rc = ln_batch_put_word(&box->bytes, name, len);
    for (size_t i = 1; i <= count && rc == LN_OK; i++) {
        if (lua_rawgeti(L, 3, (lua_Integer)i) != LUA_TSTRING) {
            ln_buffer_truncate(&box->bytes, before);
            return luaL_argerror(L, 3, "a list of strings expected");
        }
        const char *word = lua_tolstring(L, -1, &len);
        rc = ln_batch_put_word(&box->bytes, word, len);
        lua_pop(L, 1);
    }
    return rc == LN_OK ? added(L, box, before) : failed(L, box, before, rc);
}

static int batch_undo(lua_State *L) {
    struct box *box = check_batch(L);
    luaL_argcheck(L, ln_buffer_len(&box->bytes) > box->last, 1, "nothing to undo");
    ln_buffer_truncate(&box->bytes, box->last);
    box->commands--;
    return 0;
}

static int batch_bytes(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ln_buffer_len(&check_batch(L)->bytes));
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
    size_t len = ln_buffer_len(&box->bytes);
    luaL_buffinitsize(L, &all, head_len + len);
    luaL_addlstring(&all, head, head_len);
    if (len > 0)
        luaL_addlstring(&all, ln_buffer_data(&box->bytes), len);
    luaL_pushresult(&all);
    ln_buffer_consume(&box->bytes, len);
    if (box->bytes.cap > KEPT)
        ln_buffer_trim(&box->bytes);
    box->commands = 0;
    box->last = 0;
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
