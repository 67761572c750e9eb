/* lunode.decoder: the decoders of connections, without a socket. Types in lunode.meta.lua. */
#include "buffer.h"
#include "decoder.h"

#include "conn.h"

#include <errno.h>
#include <string.h>

#define DECODER_TYPE "lunode.decoder"

enum { OUT_KEPT = 64 << 10 }; /* bytes of memory that encode keeps for the next time */

struct decoder_box {
    struct ln_decoder *decoder; /* NULL: freed */
    struct ln_decoder_settings settings;
    struct ln_buffer in, out;
    size_t taken; /* of what is in `in`: kept here, so that a raise does not lose it */
    bool closed;
};

static void free_box(lua_State *L, struct decoder_box *box) {
    if (box->decoder)
        box->decoder->ops->free(L, box->decoder);
    box->decoder = NULL;
    ln_buffer_free(&box->in);
    ln_buffer_free(&box->out);
}

static int decoder_gc(lua_State *L) {
    free_box(L, luaL_checkudata(L, 1, DECODER_TYPE));
    return 0;
}

/* A function that closes its own decoder is still inside of it, and so is, as far as we can tell,
 * one that has raised: their memory goes with the box. */
static int decoder_close(lua_State *L) {
    struct decoder_box *box = luaL_checkudata(L, 1, DECODER_TYPE);
    box->closed = true;
    if (!box->decoder || !box->decoder->broken)
        free_box(L, box);
    else if (box->decoder->ops->drop)
        box->decoder->ops->drop(L, box->decoder);
    return 0;
}

/* ---- options */

static const char *check_key(lua_State *L) {
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "options are named; found a %s as a key", luaL_typename(L, -2));
    return lua_tostring(L, -2);
}

static void take_settings(lua_State *L, int index, struct ln_decoder_settings *s) {
    luaL_checktype(L, index, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *key = check_key(L);
        if (!ln_decoder_take_setting(L, key, s))
            luaL_error(L, "unknown option '%s'", key);
    }
}

static int nothing(lua_State *L) {
    (void)L;
    return 0;
}

/* `long_messages` stands for an on_long_message in the list that the decoders look into. */
static void take_long(lua_State *L, int list) {
    if (!ln_check_boolean(L, "long_messages"))
        return;
    lua_pushcfunction(L, nothing);
    lua_rawseti(L, list, LN_ON_LONG_MESSAGE);
}

/* Pushes the list. */
static void take_options(lua_State *L, int index, struct ln_decoder_options *o,
                         struct ln_decoder_settings *s) {
    luaL_checktype(L, index, LUA_TTABLE);
    lua_createtable(L, LN_DECODER, 0);
    int list = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *key = check_key(L);
        if (strcmp(key, "decoder") == 0)
            ln_decoder_take_option(L, list, o);
        else if (strcmp(key, "long_messages") == 0)
            take_long(L, list);
        else if (!ln_decoder_take_setting(L, key, s))
            luaL_error(L, "unknown option '%s'", key);
    }
}

static int try_option(lua_State *L) {
    struct ln_decoder_settings settings = LN_DECODER_SETTINGS_DEFAULT;
    struct ln_decoder_options options = {0};
    const char *key = lua_tostring(L, 1);
    bool known = true;
    lua_settop(L, 2);
    if (strcmp(key, "decoder") == 0) {
        lua_createtable(L, LN_DECODER, 0);
        lua_insert(L, 2);
        ln_decoder_take_option(L, 2, &options);
    } else {
        known = ln_decoder_take_setting(L, key, &settings);
    }
    lua_pushboolean(L, known);
    return 1;
}

/* Protected, so that the words come without a position: whose line it is, the caller knows. */
static int decoder_check(lua_State *L) {
    luaL_checktype(L, 1, LUA_TSTRING);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    lua_pushcfunction(L, try_option);
    lua_insert(L, 1);
    if (lua_pcall(L, 2, 1, 0) == LUA_OK)
        return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

static int decoder_new(lua_State *L) {
    struct ln_decoder_options options = {0};
    struct ln_decoder_settings settings = LN_DECODER_SETTINGS_DEFAULT;
    lua_settop(L, 1);
    take_options(L, 1, &options, &settings); /* the list is at 2 */
    if (!options.ops)
        return luaL_error(L, "option 'decoder' is missing: it says what the bytes mean");
    struct decoder_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct decoder_box){.settings = settings};
    ln_buffer_init(&box->in);
    ln_buffer_init(&box->out);
    luaL_setmetatable(L, DECODER_TYPE);
    box->decoder = options.ops->make(L, 2, &options);
    if (!box->decoder)
        return luaL_error(L, "%s", ln_status_text(-ENOMEM));
    box->decoder->ops = options.ops;
    box->decoder->settings = &box->settings;
    return 1;
}

/* ---- methods */

static struct decoder_box *check_decoder(lua_State *L) {
    struct decoder_box *box = luaL_checkudata(L, 1, DECODER_TYPE);
    if (box->closed)
        luaL_error(L, "the decoder is closed");
    return box;
}

static void drop_taken(struct decoder_box *box) {
    ln_buffer_consume(&box->in, box->taken);
    box->taken = 0;
    ln_buffer_trim(&box->in);
}

static int decoder_feed(lua_State *L) {
    struct decoder_box *box = check_decoder(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    drop_taken(box);
    int rc = ln_buffer_append(&box->in, data, len);
    if (rc != LN_OK)
        return luaL_error(L, "%s", ln_status_text(rc));
    return 0;
}

static int decoder_next(lua_State *L) {
    struct decoder_box *box = check_decoder(L);
    struct ln_decoder *d = box->decoder;
    if (d->broken)
        return luaL_error(L, "the decoder raised an error, or asks itself: it cannot go on");
    lua_settop(L, 1);
    luaL_checkstack(L, LN_DECODER_MAX_VALUES + LUA_MINSTACK, "too many arguments");
    drop_taken(box);
    if (ln_buffer_len(&box->in) == 0) {
        lua_pushnil(L);
        return 1;
    }
    d->kind = LN_MESSAGE;
    lua_pushliteral(L, "message");
    int rc = d->ops->next(L, d, ln_buffer_data(&box->in), ln_buffer_len(&box->in), &box->taken);
    if (rc > 0) {
        if (d->kind == LN_LONG_MESSAGE) {
            lua_pushliteral(L, "long");
            lua_replace(L, 2);
        }
        return rc + 1;
    }
    lua_pushnil(L);
    if (rc == 0)
        return 1;
    lua_pushstring(L, d->error);
    lua_pushstring(L, ln_status_name(rc));
    return 3;
}

static int decoder_encode(lua_State *L) {
    struct decoder_box *box = check_decoder(L);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    ln_buffer_truncate(&box->out, 0);
    if (!box->decoder->ops->reply(L, box->decoder, &box->out))
        return 0;
    lua_pushlstring(L, ln_buffer_data(&box->out), ln_buffer_len(&box->out));
    ln_buffer_truncate(&box->out, 0);
    if (box->out.cap > OUT_KEPT)
        ln_buffer_trim(&box->out);
    return 1;
}

static int decoder_set(lua_State *L) {
    struct decoder_box *box = check_decoder(L);
    struct ln_decoder_settings settings = box->settings;
    take_settings(L, 2, &settings);
    box->settings = settings;
    return 0;
}

static int decoder_kept(lua_State *L) {
    const struct decoder_box *box = check_decoder(L);
    lua_pushinteger(L, (lua_Integer)(ln_buffer_len(&box->in) - box->taken));
    return 1;
}

static const luaL_Reg methods[] = {{"feed", decoder_feed},
                                   {"next", decoder_next},
                                   {"encode", decoder_encode},
                                   {"set", decoder_set},
                                   {"kept", decoder_kept},
                                   {"close", decoder_close},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"new", decoder_new}, {"check", decoder_check}, {NULL, NULL}};

int luaopen_lunode_decoder(lua_State *L) {
    ln_new_type(L, DECODER_TYPE, methods, decoder_close);
    luaL_getmetatable(L, DECODER_TYPE);
    lua_pushcfunction(L, decoder_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
