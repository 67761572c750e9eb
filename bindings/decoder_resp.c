/* decoder = "resp": commands of the Redis protocol; what on_message returns is the reply. */
#include "decoder.h"

#include "conn.h"
#include "resp_value.h"

#include <stdlib.h>

struct resp_decoder {
    struct ln_decoder base;
    struct ln_resp_reader reader;
    const struct ln_resp_types *types;
    bool takes_long; /* there is an on_long_message; without it, long commands are refused */
};

static struct ln_decoder *resp_make(lua_State *L, int callbacks,
                                    const struct ln_decoder_options *o) {
    (void)o;
    const struct ln_resp_types *types = ln_resp_push_types(L);
    bool takes_long = lua_rawgeti(L, callbacks, LN_ON_LONG_MESSAGE) == LUA_TFUNCTION;
    lua_pop(L, 2);
    struct resp_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    ln_resp_reader_init(&d->reader);
    d->types = types;
    d->takes_long = takes_long;
    return &d->base;
}

static void resp_free(lua_State *L, struct ln_decoder *base) {
    struct resp_decoder *d = (struct resp_decoder *)base;
    (void)L;
    ln_resp_reader_free(&d->reader);
    free(d);
}

static void push_arguments(lua_State *L, const struct ln_resp_reader *r) {
    for (uint32_t i = 0; i < r->argc; i++)
        lua_pushlstring(L, r->base + r->argv[i].off, r->argv[i].len);
}

/* The name, and a list of the others. */
static void push_long(lua_State *L, const struct ln_resp_reader *r) {
    lua_pushlstring(L, r->base + r->argv[0].off, r->argv[0].len);
    lua_createtable(L, (int)r->argc - 1, 0);
    for (uint32_t i = 1; i < r->argc; i++) {
        lua_pushlstring(L, r->base + r->argv[i].off, r->argv[i].len);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
}

static int resp_next(lua_State *L, struct ln_decoder *base, const char *data, size_t len,
                     size_t *taken) {
    struct resp_decoder *d = (struct resp_decoder *)base;
    struct ln_resp_reader *r = &d->reader;
    size_t n = 0;
    r->limits = base->settings->resp;
    if (!d->takes_long && r->limits.max_args > LN_DECODER_MAX_VALUES)
        r->limits.max_args = LN_DECODER_MAX_VALUES;
    int rc = ln_resp_read_command(r, data, len, &n);
    if (rc < 0) {
        base->error = r->error;
        return rc;
    }
    *taken += n;
    if (rc == 0)
        return 0;
    base->is_long = r->argc > LN_DECODER_MAX_VALUES;
    if (base->is_long) {
        push_long(L, r);
        return 2;
    }
    push_arguments(L, r);
    return (int)r->argc;
}

static bool resp_reply(lua_State *L, struct ln_decoder *base, struct ln_buffer *out) {
    struct resp_decoder *d = (struct resp_decoder *)base;
    ln_resp_encode(L, d->types, out, -1, base->settings->protocol);
    return true;
}

const struct ln_decoder_ops ln_decoder_resp = {resp_make, resp_free, NULL, resp_next, resp_reply};
