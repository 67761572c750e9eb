/* decoder = "resp": commands of the Redis protocol; what on_message returns is the reply. */
#include "decoder.h"

#include "conn.h"
#include "resp_names.h"
#include "resp_value.h"
#include "store_rows.h"
#include "view.h"

#include <stdlib.h>

struct resp_decoder {
    struct ln_decoder base;
    struct ln_resp_reader reader;
    const struct ln_resp_types *types;
    const struct ln_resp_names *names; /* NULL: none; the list of callbacks keeps it */
    const struct ln_rows *rows;        /* NULL: nothing to look ahead for; likewise */
    size_t ahead;                      /* messages that have been looked at, or need not be */
    bool takes_long; /* there is an on_long_message; without it, long commands are refused */
};

static struct ln_decoder *resp_make(lua_State *L, int callbacks,
                                    const struct ln_decoder_options *o) {
    (void)o;
    const struct ln_resp_types *types = ln_resp_push_types(L);
    bool takes_long = lua_rawgeti(L, callbacks, LN_ON_LONG_MESSAGE) == LUA_TFUNCTION;
    bool takes_short = lua_rawgeti(L, callbacks, LN_ON_SHORT_MESSAGE) == LUA_TFUNCTION;
    lua_rawgeti(L, callbacks, LN_NAMES);
    const struct ln_resp_names *names = takes_short ? ln_resp_names_test(L, -1) : NULL;
    lua_rawgeti(L, callbacks, LN_AHEAD);
    const struct ln_rows *rows = names ? ln_store_rows_test(L, -1) : NULL;
    lua_pop(L, 5);
    struct resp_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    ln_resp_reader_init(&d->reader);
    d->types = types;
    d->takes_long = takes_long;
    d->names = names;
    d->rows = rows;
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

/* The value of the name, and the arguments, or one view of all. */
static int push_short(lua_State *L, struct resp_decoder *d, int place) {
    const struct ln_resp_reader *r = &d->reader;
    d->base.kind = LN_SHORT_MESSAGE;
    lua_rawgeti(L, d->base.values, place + 1);
    if (ln_resp_names_at(d->names, place)->listed) {
        ln_view_push_list(L, 1, &(struct ln_view_list){r->base, r->argv + 1, r->argc - 1});
        return 2;
    }
    for (uint32_t i = 1; i < r->argc; i++) {
        const char *data = r->base + r->argv[i].off;
        if (i >= ln_resp_names_at(d->names, place)->views)
            ln_view_push(L, (int)i, data, r->argv[i].len);
        else
            lua_pushlstring(L, data, r->argv[i].len);
    }
    return (int)r->argc;
}

/* The place of a name that makes it a short message, or -1. */
static int find_short(const struct resp_decoder *d) {
    const struct ln_resp_reader *r = &d->reader;
    if (!d->names || r->argc > 1 + LN_RESP_LISTED)
        return -1;
    return ln_resp_names_find(d->names, r->base + r->argv[0].off, r->argv[0].len, r->argc - 1);
}

/* Commands that come together wait for memory together: the keys of those that come next are told
 * to the store, where they are views, or the members that they name. What they are, their turn will
 * tell. */
static void look_ahead(struct resp_decoder *d, const char *data, size_t len) {
    struct ln_store_key keys[LN_STORE_AHEAD], members[LN_STORE_AHEAD];
    struct ln_resp_glance g;
    size_t key_count = 0, member_count = 0, count = 0, used;
    for (; count < LN_STORE_AHEAD && (used = ln_resp_glance(data, len, &g)) > 0; count++) {
        int place = ln_resp_names_find(d->names, g.name, g.name_len, g.argc - 1);
        const struct ln_resp_name *name = place < 0 ? NULL : ln_resp_names_at(d->names, place);
        if (!name || (name->views != 1 && name->member == 0))
            break;
        unsigned m = name->member;
        if (m == 0)
            keys[key_count++] = (struct ln_store_key){g.args[0], g.lens[0]};
        else if (m < g.argc)
            members[member_count++] = (struct ln_store_key){g.args[m - 1], g.lens[m - 1]};
        data += used;
        len -= used;
    }
    if (key_count > 1)
        ln_store_rows_ahead(d->rows, keys, key_count);
    if (member_count > 1)
        ln_store_rows_members_ahead(d->rows, members, member_count);
    d->ahead = count > 1 ? count : len > 0 ? LN_STORE_AHEAD / 4 : 1;
}

static int resp_next(lua_State *L, struct ln_decoder *base, const char *data, size_t len,
                     size_t *taken) {
    struct resp_decoder *d = (struct resp_decoder *)base;
    struct ln_resp_reader *r = &d->reader;
    size_t n = 0;
    r->limits = base->settings->resp;
    ln_views_end(); /* they may lie in the reader */
    if (d->rows && d->ahead == 0)
        look_ahead(d, data, len);
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
    d->ahead -= d->ahead > 0;
    base->kind = r->argc > LN_DECODER_MAX_VALUES ? LN_LONG_MESSAGE : LN_MESSAGE;
    if (base->kind == LN_LONG_MESSAGE) {
        push_long(L, r);
        return 2;
    }
    int place = find_short(d);
    if (place >= 0)
        return push_short(L, d, place);
    push_arguments(L, r);
    return (int)r->argc;
}

static bool resp_reply(lua_State *L, struct ln_decoder *base, struct ln_buffer *out) {
    struct resp_decoder *d = (struct resp_decoder *)base;
    ln_resp_encode(L, d->types, out, -1, base->settings->protocol);
    return true;
}

const struct ln_decoder_ops ln_decoder_resp = {resp_make, resp_free, NULL, resp_next, resp_reply};
