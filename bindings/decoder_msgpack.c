/* decoder = "msgpack": each top-level value is a message. */
#include "decoder.h"

#include "msgpack_value.h"

#include <errno.h>
#include <stdlib.h>

struct msgpack_decoder {
    struct ln_decoder base;
    struct ln_msgpack_scanner scanner;
    const struct ln_msgpack_types *types;
};

static struct ln_decoder *msgpack_make(lua_State *L, int callbacks,
                                       const struct ln_decoder_options *o) {
    (void)callbacks, (void)o;
    const struct ln_msgpack_types *types = ln_msgpack_push_types(L);
    lua_pop(L, 1);
    struct msgpack_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    ln_msgpack_scanner_init(&d->scanner);
    d->types = types;
    return &d->base;
}

static void msgpack_free(lua_State *L, struct ln_decoder *d) {
    (void)L;
    free(d);
}

static int msgpack_next(lua_State *L, struct ln_decoder *base, const char *data, size_t len,
                        size_t *taken) {
    struct msgpack_decoder *d = (struct msgpack_decoder *)base;
    size_t size = 0;
    if (base->settings->max_message)
        d->scanner.limits.max_bytes = base->settings->max_message;
    d->scanner.limits.max_values = base->settings->max_values;
    int rc = ln_msgpack_scan(&d->scanner, data, len, &size);
    if (rc < 0)
        base->error = d->scanner.error;
    if (rc <= 0)
        return rc;
    *taken += size;
    if (!ln_msgpack_push(L, data, size, false, &base->error))
        return -EPROTO;
    return 1;
}

static bool msgpack_reply(lua_State *L, struct ln_decoder *base, struct ln_buffer *out) {
    struct msgpack_decoder *d = (struct msgpack_decoder *)base;
    if (lua_isnil(L, -1))
        return false;
    ln_msgpack_encode(L, d->types, out, -1);
    return true;
}

const struct ln_decoder_ops ln_decoder_msgpack = {msgpack_make, msgpack_free, NULL, msgpack_next,
                                                  msgpack_reply};
