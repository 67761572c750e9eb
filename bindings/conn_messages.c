/* From the bytes of a connection to on_message, and from what that returns to bytes. */
#include "conn.h"
#include "view.h"

#include <errno.h>

/* Bytes that have arrived, on their way to Lua. */
struct batch {
    struct ln_conn *c;
    const char *data;
    size_t len, taken;
    int status;
};

static bool takes_messages(const struct ln_stream *s) {
    return ln_stream_state(s) == LN_STREAM_OPEN && !ln_stream_paused(s);
}

/* Encodes the value on top of the stack as the reply. While replies fill the queue above its high
 * watermark, no more messages are taken: a client that sends and never reads costs its watermark
 * and one reply. */
static void reply(lua_State *L, struct ln_conn *c) {
    struct ln_buffer *out = ln_stream_out(c->stream);
    if (out && c->decoder->ops->reply(L, c->decoder, out) &&
        ln_stream_wrote(c->stream) == LN_STREAM_FULL) {
        c->held = true;
        ln_conn_apply_pause(c);
    }
}

/* Calls on_message for each complete message, until the connection closes or is paused. */
static int call_messages(lua_State *L) {
    enum { BATCH = 1, BOX, CALLBACKS, FUNCTION, LONG_FUNCTION, SHORT_FUNCTION, VALUES, CALLED };
    struct batch *b = lua_touserdata(L, BATCH);
    struct ln_stream *s = b->c->stream;
    struct ln_decoder *d = b->c->decoder;
    int rc = 1;
    ln_conn_push(L, b->c);
    bool wanted = lua_rawgeti(L, CALLBACKS, LN_ON_MESSAGE) == LUA_TFUNCTION;
    lua_rawgeti(L, CALLBACKS, LN_ON_LONG_MESSAGE);
    lua_rawgeti(L, CALLBACKS, LN_ON_SHORT_MESSAGE);
    if (lua_rawgeti(L, CALLBACKS, LN_NAMES) == LUA_TUSERDATA) {
        lua_getiuservalue(L, VALUES, 1);
        lua_replace(L, VALUES);
    }
    d->values = VALUES;
    luaL_checkstack(L, LN_DECODER_MAX_VALUES + LUA_MINSTACK, "too many arguments");
    while (rc > 0 && takes_messages(s)) {
        lua_pushvalue(L, FUNCTION);
        lua_pushvalue(L, BOX);
        rc = d->ops->next(L, d, b->data + b->taken, b->len - b->taken, &b->taken);
        if (rc > 0 && wanted) {
            if (d->kind != LN_MESSAGE)
                lua_copy(L, d->kind == LN_LONG_MESSAGE ? LONG_FUNCTION : SHORT_FUNCTION, CALLED);
            lua_call(L, 1 + rc, LUA_MULTRET);
            if (lua_gettop(L) > VALUES) {
                lua_settop(L, VALUES + 1);
                reply(L, b->c);
            }
        }
        lua_settop(L, VALUES);
    }
    b->status = rc < 0 ? rc : LN_OK;
    return 0;
}

static int call_bad_message(lua_State *L) {
    struct batch *b = lua_touserdata(L, 1);
    lua_pushstring(L, b->c->decoder->error);
    ln_conn_call(L, b->c, LN_ON_BAD_MESSAGE, 1);
    return 0;
}

/* on_error answers what on_message raised, which is at 2. */
static int call_error(lua_State *L) {
    enum { BATCH = 1, RAISED, BOX, CALLBACKS };
    struct batch *b = lua_touserdata(L, BATCH);
    ln_conn_push(L, b->c);
    lua_rawgeti(L, CALLBACKS, LN_ON_ERROR);
    lua_pushvalue(L, BOX);
    lua_pushvalue(L, RAISED);
    lua_call(L, 2, LUA_MULTRET);
    if (lua_gettop(L) > CALLBACKS) {
        lua_settop(L, CALLBACKS + 1);
        reply(L, b->c);
    }
    return 0;
}

/* False when a message raised and nobody answered for it. */
static bool take_messages(struct batch *b) {
    lua_State *L = b->c->main;
    size_t before = b->taken;
    while (!ln_try(L, call_messages, b)) {
        /* Without a step forward, it would be raised again and again. */
        bool stuck = b->taken == before || b->c->decoder->broken;
        before = b->taken;
        if (!b->c->takes_errors || stuck) {
            ln_report(L);
            lua_pop(L, 1);
            return false;
        }
        if (!ln_protect(L, call_error, b, 1))
            return false;
    }
    return true;
}

size_t ln_conn_take_messages(struct ln_conn *c, const char *data, size_t len) {
    struct batch b = {.c = c, .data = data, .len = len};
    struct ln_stream *s = c->stream;
    bool answered = take_messages(&b);
    ln_views_end();
    if (!answered)
        ln_stream_abort(s, LN_ECALLBACK);
    else if (b.status == -EPROTO && ln_protect(c->main, call_bad_message, &b, 0))
        ln_stream_close(s, -EPROTO);
    else if (b.status != LN_OK)
        ln_stream_abort(s, b.status == -EPROTO ? LN_ECALLBACK : b.status);
    return b.taken;
}
