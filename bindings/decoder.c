/* Choosing a decoder, and the small ones: lines and frames. */
#include "decoder.h"

#include "conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options */

lua_Integer ln_check_count(lua_State *L, const char *key, lua_Integer min, lua_Integer max) {
    int is_integer = 0;
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || value < min || value > max)
        luaL_error(L, "option '%s' must be an integer from %I to %I", key, (LUAI_UACINT)min,
                   (LUAI_UACINT)max);
    return value;
}

bool ln_check_boolean(lua_State *L, const char *key) {
    if (!lua_isboolean(L, -1))
        luaL_error(L, "option '%s' must be true or false", key);
    return lua_toboolean(L, -1);
}

enum { MOST_BYTES = 512 << 20 }; /* the stream keeps 1 GiB at most */

bool ln_decoder_take_setting(lua_State *L, const char *key, struct ln_decoder_settings *s) {
    if (strcmp(key, "max_args") == 0)
        s->resp.max_args = (uint32_t)ln_check_count(L, key, 1, 1 << 20);
    else if (strcmp(key, "max_bulk") == 0)
        s->resp.max_bulk = (uint32_t)ln_check_count(L, key, 1, MOST_BYTES);
    else if (strcmp(key, "protocol") == 0)
        s->protocol = (int)ln_check_count(L, key, 2, 3);
    else if (strcmp(key, "authenticated") == 0)
        s->resp.unauthenticated = !ln_check_boolean(L, key);
    else if (strcmp(key, "max_line") == 0)
        s->max_line = (size_t)ln_check_count(L, key, 1, MOST_BYTES);
    else if (strcmp(key, "max_message") == 0)
        s->max_message = (size_t)ln_check_count(L, key, 1, MOST_BYTES);
    else if (strcmp(key, "max_values") == 0)
        s->max_values = (uint32_t)ln_check_count(L, key, 1, 1 << 30);
    else
        return false;
    return true;
}

static bool equals(lua_State *L, const char *word) {
    return lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), word) == 0;
}

static void take_frame_field(lua_State *L, const char *key, struct ln_decoder_options *o) {
    if (strcmp(key, "length") == 0) {
        lua_Integer width = lua_tointeger(L, -1);
        if (width != 1 && width != 2 && width != 4 && width != 8)
            luaL_error(L, "option 'decoder.length' must be 1, 2, 4 or 8");
        o->frame.width = (uint8_t)width;
    } else if (strcmp(key, "endian") == 0) {
        o->frame.little = equals(L, "little");
        if (!o->frame.little && !equals(L, "big"))
            luaL_error(L, "option 'decoder.endian' must be \"big\" or \"little\"");
    } else if (strcmp(key, "max") == 0) {
        o->frame_max = (size_t)ln_check_count(L, "decoder.max", 1, MOST_BYTES);
    } else {
        luaL_error(L, "unknown option 'decoder.%s'", key);
    }
}

static void take_frame(lua_State *L, struct ln_decoder_options *o) {
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "option 'decoder': fields are named; found a %s as a key",
                       luaL_typename(L, -2));
        take_frame_field(L, lua_tostring(L, -2), o);
    }
    if (o->frame.width == 0)
        luaL_error(L, "option 'decoder' needs its length: {length = 1, 2, 4 or 8}");
    o->ops = &ln_decoder_frame;
}

void ln_decoder_take_option(lua_State *L, int callbacks, struct ln_decoder_options *o) {
    *o = (struct ln_decoder_options){0};
    if (lua_istable(L, -1)) {
        take_frame(L, o);
    } else if (lua_isfunction(L, -1)) {
        lua_pushvalue(L, -1);
        lua_rawseti(L, callbacks, LN_DECODER);
        o->ops = &ln_decoder_function;
    } else if (equals(L, "line")) {
        o->ops = &ln_decoder_line;
    } else if (equals(L, "resp")) {
        o->ops = &ln_decoder_resp;
    } else if (equals(L, "msgpack")) {
        o->ops = &ln_decoder_msgpack;
    } else {
        luaL_error(L, "option 'decoder' must be \"line\", \"resp\", \"msgpack\", {length = …} or a "
                      "function");
    }
}

/* ---- what on_message returns, where it is bytes: a string, or nothing */

static const char *check_reply(lua_State *L, size_t *len) {
    if (lua_isnil(L, -1))
        return NULL;
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "on_message returned a %s; this decoder writes strings",
                   luaL_typename(L, -1));
    return lua_tolstring(L, -1, len);
}

static bool wrote(lua_State *L, struct ln_buffer *out, size_t before, int rc) {
    if (rc != LN_OK) {
        ln_buffer_truncate(out, before);
        luaL_error(L, "cannot write what on_message returned: %s", ln_status_text(rc));
    }
    return true;
}

static void free_plain(lua_State *L, struct ln_decoder *d) {
    (void)L;
    free(d);
}

/* ---- "line" */

struct line_decoder {
    struct ln_decoder base;
    struct ln_line_reader reader;
    char error[48];
};

static struct ln_decoder *line_make(lua_State *L, int callbacks,
                                    const struct ln_decoder_options *o) {
    struct line_decoder *d = calloc(1, sizeof *d);
    (void)L, (void)callbacks, (void)o;
    return d ? &d->base : NULL;
}

static int line_next(lua_State *L, struct ln_decoder *base, const char *data, size_t len,
                     size_t *taken) {
    struct line_decoder *d = (struct line_decoder *)base;
    size_t line_len = 0, consumed = 0;
    d->reader.max = base->settings->max_line;
    int rc = ln_line_read(&d->reader, data, len, &line_len, &consumed);
    if (rc < 0) {
        (void)snprintf(d->error, sizeof d->error, "line longer than %zu bytes", d->reader.max);
        base->error = d->error;
    }
    if (rc <= 0)
        return rc;
    *taken += consumed;
    lua_pushlstring(L, data, line_len);
    return 1;
}

static bool line_reply(lua_State *L, struct ln_decoder *d, struct ln_buffer *out) {
    size_t len = 0, before = ln_buffer_len(out);
    const char *text = check_reply(L, &len);
    (void)d;
    if (!text)
        return false;
    int rc = ln_buffer_append(out, text, len);
    if (rc == LN_OK)
        rc = ln_buffer_append(out, "\n", 1);
    return wrote(L, out, before, rc);
}

const struct ln_decoder_ops ln_decoder_line = {line_make, free_plain, NULL, line_next, line_reply};

/* ---- {length = …} */

struct frame_decoder {
    struct ln_decoder base;
    struct ln_frame_format format;
    size_t max; /* 0: the setting */
    char error[80];
};

static struct ln_decoder *frame_make(lua_State *L, int callbacks,
                                     const struct ln_decoder_options *o) {
    struct frame_decoder *d = calloc(1, sizeof *d);
    (void)L, (void)callbacks;
    if (!d)
        return NULL;
    d->format = o->frame;
    d->max = o->frame_max;
    return &d->base;
}

static size_t frame_max(const struct frame_decoder *d) {
    if (d->max > 0)
        return d->max;
    return d->base.settings->max_message ? d->base.settings->max_message : LN_FRAME_MAX_DEFAULT;
}

static int frame_next(lua_State *L, struct ln_decoder *base, const char *data, size_t len,
                      size_t *taken) {
    struct frame_decoder *d = (struct frame_decoder *)base;
    uint64_t payload = 0;
    int rc = ln_frame_read(d->format, frame_max(d), data, len, &payload);
    if (rc < 0) {
        (void)snprintf(d->error, sizeof d->error, "frame of %llu bytes; at most %zu are allowed",
                       (unsigned long long)payload, frame_max(d));
        base->error = d->error;
    }
    if (rc <= 0)
        return rc;
    *taken += d->format.width + (size_t)payload;
    lua_pushlstring(L, data + d->format.width, (size_t)payload);
    return 1;
}

static bool frame_reply(lua_State *L, struct ln_decoder *base, struct ln_buffer *out) {
    struct frame_decoder *d = (struct frame_decoder *)base;
    size_t len = 0;
    const char *payload = check_reply(L, &len);
    if (!payload)
        return false;
    return wrote(L, out, ln_buffer_len(out), ln_frame_put(out, d->format, payload, len));
}

const struct ln_decoder_ops ln_decoder_frame = {frame_make, free_plain, NULL, frame_next,
                                                frame_reply};
