/* decoder = function(bytes, position): the script's own.
 *
 * It is asked about all bytes that are kept, as one string, which is made anew when more have
 * arrived and serves for all messages in it. Where it says how many bytes it needs, it is not asked
 * before they are there; else at each arrival, which costs a copy of what is kept: hence the small
 * default of max_message. */
#include "decoder.h"

#include "conn.h"
#include "lua_loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_DEFAULT = 64 << 10 };

struct function_decoder {
    struct ln_decoder base;
    int function; /* references */
    int text;     /* the string it was given last, while bytes of it are left */
    size_t position, rest;
    size_t wanted; /* not asked before so many bytes are there */
    char error[256];
};

static struct ln_decoder *function_make(lua_State *L, int callbacks,
                                        const struct ln_decoder_options *o) {
    (void)o;
    lua_rawgeti(L, callbacks, LN_DECODER);
    int function = luaL_ref(L, LUA_REGISTRYINDEX);
    struct function_decoder *d = calloc(1, sizeof *d);
    if (!d) {
        luaL_unref(L, LUA_REGISTRYINDEX, function);
        return NULL;
    }
    d->function = function;
    d->text = LUA_NOREF;
    d->wanted = 1;
    return &d->base;
}

static void drop_text(lua_State *L, struct function_decoder *d) {
    ln_unpin(L, &d->text);
    d->rest = 0;
}

static void function_drop(lua_State *L, struct ln_decoder *base) {
    struct function_decoder *d = (struct function_decoder *)base;
    drop_text(L, d);
    ln_unpin(L, &d->function);
}

static void function_free(lua_State *L, struct ln_decoder *base) {
    function_drop(L, base);
    free(base);
}

/* Pushes the string that data lies in, from d->position on. */
static void push_text(lua_State *L, struct function_decoder *d, const char *data, size_t len) {
    if (d->text != LUA_NOREF && d->rest == len) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, d->text);
        return;
    }
    drop_text(L, d);
    lua_pushlstring(L, data, len);
    d->text = ln_pin(L, -1);
    d->position = 1;
    d->rest = len;
}

static int refuse(struct function_decoder *d, const char *why) {
    (void)snprintf(d->error, sizeof d->error, "%s", why);
    d->base.error = d->error;
    return -EPROTO;
}

static int refuse_long(struct function_decoder *d, size_t max) {
    (void)snprintf(d->error, sizeof d->error, "message longer than %zu bytes", max);
    d->base.error = d->error;
    return -EPROTO;
}

/* It returned a value, at -2, and where the next message begins. */
static int take_value(lua_State *L, struct function_decoder *d, size_t len, size_t max,
                      size_t *taken) {
    int is_integer = 0;
    lua_Integer next = lua_tointegerx(L, -1, &is_integer);
    lua_Integer low = (lua_Integer)d->position + 1,
                high = (lua_Integer)d->position + (lua_Integer)len;
    if (!is_integer || next < low || next > high)
        luaL_error(L,
                   "the decoder must return the next message's position beside its value, an "
                   "integer from %I to %I; it returned %s",
                   (LUAI_UACINT)low, (LUAI_UACINT)high, luaL_tolstring(L, -1, NULL));
    size_t n = (size_t)next - d->position;
    if (n > max)
        return refuse_long(d, max);
    *taken += n;
    d->position += n;
    d->rest -= n;
    d->wanted = 1;
    if (d->rest == 0)
        drop_text(L, d);
    lua_pop(L, 1);
    return 1;
}

/* It returned nil, and a message, a number of bytes, or nothing. */
static int take_nil(lua_State *L, struct function_decoder *d, size_t len, size_t max) {
    int is_integer = 0;
    if (lua_type(L, -1) == LUA_TSTRING)
        return refuse(d, lua_tostring(L, -1));
    lua_Integer wanted = lua_tointegerx(L, -1, &is_integer);
    if (!lua_isnil(L, -1) && (!is_integer || wanted <= (lua_Integer)len))
        luaL_error(L,
                   "the decoder asks for %s bytes and has %I: it must return how many the message "
                   "takes from its position on",
                   luaL_tolstring(L, -1, NULL), (LUAI_UACINT)len);
    d->wanted = is_integer ? (size_t)wanted : len + 1;
    drop_text(L, d);
    return d->wanted > max ? refuse_long(d, max) : 0;
}

static int function_next(lua_State *L, struct ln_decoder *base, const char *data, size_t len,
                         size_t *taken) {
    struct function_decoder *d = (struct function_decoder *)base;
    size_t max = base->settings->max_message ? base->settings->max_message : MAX_DEFAULT;
    if (len < d->wanted)
        return 0;
    base->broken = true; /* what is raised from here on would be raised again and again */
    lua_rawgeti(L, LUA_REGISTRYINDEX, d->function);
    push_text(L, d, data, len);
    lua_pushinteger(L, (lua_Integer)d->position);
    lua_call(L, 2, 2);
    int rc = lua_isnil(L, -2) ? take_nil(L, d, len, max) : take_value(L, d, len, max, taken);
    base->broken = false;
    return rc;
}

static bool function_reply(lua_State *L, struct ln_decoder *d, struct ln_buffer *out) {
    size_t len = 0;
    (void)d;
    if (lua_isnil(L, -1))
        return false;
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "on_message returned a %s; this decoder writes strings",
                   luaL_typename(L, -1));
    const char *bytes = lua_tolstring(L, -1, &len);
    if (ln_buffer_append(out, bytes, len) != LN_OK)
        luaL_error(L, "%s", ln_status_text(-ENOMEM));
    return true;
}

const struct ln_decoder_ops ln_decoder_function = {function_make, function_free, function_drop,
                                                   function_next, function_reply};
