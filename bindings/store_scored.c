/* store:scored: members with scores on their way from sorted sets into another one, or into a
 * reply, without a string of Lua's for each. */
#include "store_scored.h"

#include "common.h"
#include "pieces.h"
#include "resp_value.h"
#include "scored.h"
#include "store_combine.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

#define SCORED_TYPE "lunode.scored"

enum { WIDTH = 3 }; /* of an input: prefix, count, weight */

struct scored_box {
    struct ln_store *const *store;
    struct ln_scored members;
    struct ln_buffer name; /* scratch */
};

static struct scored_box *check_box(lua_State *L) {
    struct scored_box *box = luaL_checkudata(L, 1, SCORED_TYPE);
    if (!*box->store)
        luaL_error(L, "store is closed");
    return box;
}

static int scored_combine(lua_State *L) {
    static const char *const aggregates[] = {
        [LN_AGGREGATE_SUM] = "sum", [LN_AGGREGATE_MIN] = "min", [LN_AGGREGATE_MAX] = "max", NULL};
    struct scored_box *box = check_box(L);
    struct ln_merge merge;
    struct ln_detail detail = {.text = {0}};
    size_t count;
    enum ln_merge_how how = ln_check_how(L, 2);
    enum ln_aggregate aggregate = (enum ln_aggregate)luaL_checkoption(L, 4, "sum", aggregates);
    struct ln_merge_input *inputs = ln_check_sets(L, 3, WIDTH, &count);
    double *weights = lua_newuserdatauv(L, (count + 1) * sizeof *weights, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 3, (lua_Integer)i * WIDTH + WIDTH);
        weights[i] = luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    ln_merge_init(&merge, *box->store, how, inputs, count);
    int rc = ln_scored_merge(&box->members, &merge, weights, aggregate, UINT64_MAX, &detail);
    ln_merge_free(&merge);
    return ln_check_bulk(L, rc, &detail);
}

/* A member whose name is still to be made. */
static int add(struct scored_box *box, double score, const char *member, size_t len) {
    uint32_t hash = XXH32(len ? member : "", len, 0);
    char bytes[LN_HASH_BYTES] = {(char)(hash >> 24), (char)(hash >> 16), (char)(hash >> 8),
                                 (char)hash};
    ln_buffer_truncate(&box->name, 0);
    int rc = ln_buffer_append(&box->name, bytes, sizeof bytes);
    if (rc == LN_OK)
        rc = ln_buffer_append(&box->name, member, len);
    return rc == LN_OK ? ln_scored_add(&box->members, score, ln_buffer_data(&box->name),
                                       ln_buffer_len(&box->name))
                       : rc;
}

static int walk(struct scored_box *box, struct ln_scan *scan, size_t skip, lua_Integer limit,
                lua_Integer offset, struct ln_detail *detail) {
    struct ln_overlay_row row;
    int rc = LN_OK;
    while (limit > 0 && (rc = ln_scan_next(scan, detail, &row)) == LN_OK) {
        if (offset-- > 0)
            continue;
        if (row.klen < skip + LN_SCORE_BYTES)
            return -EINVAL;
        const char *key = row.key + skip;
        rc = add(box, ln_score_decode(key), key + LN_SCORE_BYTES, row.klen - skip - LN_SCORE_BYTES);
        if (rc != LN_OK)
            return rc;
        limit--;
    }
    return rc == LN_EOF ? LN_OK : rc;
}

static int scored_collect(lua_State *L) {
    struct scored_box *box = check_box(L);
    struct ln_detail detail = {.text = {0}};
    struct ln_scan *scan;
    size_t from_len, to_len;
    const char *from = luaL_checklstring(L, 2, &from_len), *to = luaL_checklstring(L, 3, &to_len);
    lua_Integer skip = luaL_checkinteger(L, 4), limit = luaL_optinteger(L, 5, LUA_MAXINTEGER);
    lua_Integer offset = luaL_optinteger(L, 6, 0);
    luaL_argcheck(L, skip >= 0, 4, "at least 0 expected");
    int rc = ln_store_scan(*box->store, from, from_len, to, to_len, lua_toboolean(L, 7), &scan);
    if (rc == LN_OK) {
        rc = walk(box, scan, (size_t)skip, limit, offset, &detail);
        ln_scan_close(scan);
    }
    return ln_check_bulk(L, rc, &detail);
}

static int scored_unpack(lua_State *L) {
    struct scored_box *box = check_box(L);
    struct ln_pieces pieces = ln_check_pieces(L, 2);
    const char *member, *score;
    size_t len, score_len;
    int rc = LN_OK;
    while (rc == LN_OK && ln_next_piece(&pieces, &member, &len)) {
        pieces.good = ln_next_piece(&pieces, &score, &score_len) && score_len == LN_SCORE_BYTES &&
                      !isnan(ln_score_decode(score));
        if (pieces.good)
            rc = add(box, ln_score_decode(score), member, len);
    }
    ln_check_bulk(L, rc, &(struct ln_detail){.text = {0}});
    lua_pushboolean(L, pieces.good && ln_scored_sort_names(&box->members));
    return 1;
}

static int scored_count(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)check_box(L)->members.count);
    return 1;
}

static int put_entry(struct ln_buffer *out, const struct ln_scored *s,
                     const struct ln_scored_entry *e, bool scores, int protocol) {
    int rc = scores && protocol == 3 ? ln_resp_put_array(out, 2) : LN_OK;
    if (rc == LN_OK)
        rc = ln_resp_put_bulk(out, ln_scored_name(s, e) + LN_HASH_BYTES, e->len - LN_HASH_BYTES);
    if (rc == LN_OK && scores)
        rc = ln_resp_put_double(out, e->score, protocol);
    return rc;
}

static int scored_reply(lua_State *L) {
    struct ln_scored *s = &check_box(L)->members;
    bool scores = lua_toboolean(L, 2);
    int protocol = luaL_optinteger(L, 3, 2) == 3 ? 3 : 2, rc = LN_OK;
    struct ln_buffer *out = ln_resp_rows_begin();
    if (!out)
        return luaL_error(L, "no memory");
    ln_scored_sort(s);
    for (size_t i = 0; rc == LN_OK && i < s->count; i++)
        rc = put_entry(out, s, &s->entries[i], scores, protocol);
    if (rc != LN_OK)
        ln_resp_rows_trim();
    ln_check_bulk(L, rc, &(struct ln_detail){.text = {0}});
    ln_resp_push_rows(L, LN_RESP_ARRAY, scores && protocol == 2 ? s->count * 2 : s->count);
    return 1;
}

static int scored_put(lua_State *L) {
    struct scored_box *box = check_box(L);
    struct ln_scored_rows rows = {.store = *box->store};
    size_t nodes = 0;
    rows.members = luaL_checklstring(L, 2, &rows.members_len);
    rows.scores = luaL_checklstring(L, 3, &rows.scores_len);
    rows.nodes = luaL_checklstring(L, 4, &rows.nodes_len);
    int rc = ln_scored_put(&box->members, &rows, &nodes);
    if (rc != LN_OK)
        return luaL_error(L, "cannot write: %s", ln_status_text(rc));
    lua_pushinteger(L, (lua_Integer)nodes);
    return 1;
}

/* A million members take tens of megabytes: who has what was wanted gives them back at once. */
static int scored_close(lua_State *L) {
    struct scored_box *box = luaL_checkudata(L, 1, SCORED_TYPE);
    ln_scored_free(&box->members);
    ln_buffer_free(&box->name);
    return 0;
}

int ln_store_scored_new(lua_State *L, struct ln_store *const *store) {
    struct scored_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct scored_box){.store = store};
    luaL_setmetatable(L, SCORED_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* the store's box lives as long */
    return 1;
}

static const luaL_Reg scored_methods[] = {
    {"combine", scored_combine}, {"collect", scored_collect},
    {"unpack", scored_unpack},   {"count", scored_count},
    {"reply", scored_reply},     {"put", scored_put},
    {"close", scored_close},     {NULL, NULL},
};

void ln_store_scored_type(lua_State *L) {
    ln_new_type(L, SCORED_TYPE, scored_methods, scored_close);
}
