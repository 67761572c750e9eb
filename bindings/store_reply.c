#include "store_reply.h"

#include "overlay.h"
#include "scored.h"

#include <errno.h>
#include <string.h>

enum {
    HEADER = 24, /* bytes that a length takes at most, with its line's end */
    SHORT = 8,   /* rows of a piece */
};

static char *put_line_end(char *at) {
    memcpy(at, "\r\n", 2);
    return at + 2;
}

static char *put_bulk(char *at, const char *data, size_t len) {
    if (len < 10) {
        const char head[] = {'$', (char)('0' + len), '\r', '\n'};
        memcpy(at, head, sizeof head);
        at += sizeof head;
    } else {
        *at++ = '$';
        at = put_line_end(at + ln_resp_format_integer((int64_t)len, at));
    }
    if (len > 0)
        memcpy(at, data, len);
    return put_line_end(at + len);
}

/* A row's key, value, or both. */
static int put_row(struct ln_reply *r, const struct ln_overlay_row *row, size_t start) {
    struct ln_buffer *b = r->elements;
    size_t cap = row->klen - start + row->vlen + 2 * (size_t)HEADER + 4;
    char *space = b->base + b->tail;
    if (b->cap - b->tail < cap) {
        int rc = ln_buffer_reserve(b, cap, &space);
        if (rc != LN_OK)
            return rc;
    }
    char *at = space;
    if (r->what != LN_REPLY_VALUES)
        at = put_bulk(at, row->key + start, row->klen - start);
    if (r->what != LN_REPLY_KEYS)
        at = put_bulk(at, row->value, row->vlen);
    b->tail += (size_t)(at - space);
    return LN_OK;
}

/* A key that is a score and a member. */
static int put_scored(struct ln_reply *r, const char *key, size_t len) {
    if (len < LN_SCORE_BYTES)
        return -EINVAL;
    int rc = r->protocol == 3 ? ln_resp_put_array(r->elements, 2) : LN_OK;
    if (rc == LN_OK)
        rc = ln_resp_put_bulk(r->elements, key + LN_SCORE_BYTES, len - LN_SCORE_BYTES);
    return rc == LN_OK ? ln_resp_put_double(r->elements, ln_score_decode(key), r->protocol) : rc;
}

/* The end of the walk is one of its own kind: LN_EOF. */
static int on_row(void *arg, const struct ln_overlay_row *row) {
    struct ln_reply *r = arg;
    size_t start = row->klen < r->skip ? row->klen : r->skip;
    if (r->left_out < r->offset) {
        r->left_out++;
        return LN_OK;
    }
    if (r->rows == r->limit)
        return LN_EOF;
    r->rows++;
    return r->what == LN_REPLY_SCORES ? put_scored(r, row->key + start, row->klen - start)
                                      : put_row(r, row, start);
}

static int on_single_row(void *arg, const struct ln_overlay_row *row) {
    ((struct ln_reply *)arg)->pieces++;
    return on_row(arg, row);
}

/* What packs are told apart by: never 0. */
static uint64_t tag_of(const struct ln_reply *r) {
    uint64_t protocol = r->what == LN_REPLY_SCORES ? (uint64_t)r->protocol : 0;
    return (uint64_t)r->skip << 8 | protocol << 4 | (uint64_t)r->what << 1 | 1;
}

/* The rows of a run that was packed, offset and limit heeded: LN_OK, LN_EOF, or -EAGAIN, it was
 * not. */
static int put_packed(struct ln_reply *r, struct ln_overlay *rows, struct ln_overlay_run run) {
    size_t len;
    const char *bytes = ln_overlay_packed(rows, &run, tag_of(r), &len);
    if (!bytes)
        return -EAGAIN;
    uint64_t count = ln_overlay_run_count(&run), skip = r->offset - r->left_out;
    if (skip > count)
        skip = count;
    bool ends = count - skip > r->limit - r->rows;
    count = ends ? r->limit - r->rows : count - skip;
    r->left_out += skip;
    r->rows += count;
    if (count < ln_overlay_run_count(&run)) {
        run = ln_overlay_run_of(ln_overlay_run_from(run, (unsigned)skip), (unsigned)count);
        bytes = count > 0 ? ln_overlay_packed(rows, &run, tag_of(r), &len) : NULL;
    }
    int rc = count > 0 ? ln_buffer_append(r->elements, bytes, len) : LN_OK;
    return rc == LN_OK && ends ? LN_EOF : rc;
}

static int on_run(void *arg, struct ln_overlay *rows, const struct ln_overlay_run *run) {
    struct ln_reply *r = arg;
    size_t ends[LN_OVERLAY_RUN], before = ln_buffer_len(r->elements);
    uint64_t passed = r->rows;
    r->pieces++;
    int rc = put_packed(r, rows, *run);
    if (rc != -EAGAIN)
        return rc;
    rc = LN_OK;
    unsigned count = ln_overlay_run_count(run);
    for (unsigned i = 0; i < count && rc == LN_OK; i++) {
        struct ln_overlay_row row = ln_overlay_run_row(rows, run, i);
        if (!row.deleted)
            rc = on_row(r, &row);
        ends[i] = ln_buffer_len(r->elements) - before;
    }
    if (rc == LN_OK && r->rows - passed == count && ln_overlay_pack_wanted(rows, run))
        ln_overlay_pack(rows, run, tag_of(r), ln_buffer_data(r->elements) + before, ends);
    return rc;
}

static int begin(struct ln_reply *r) {
    r->rows = r->left_out = r->pieces = 0;
    r->elements = ln_resp_rows_begin();
    return r->elements ? LN_OK : -ENOMEM;
}

static int from_memory(struct ln_store *store, struct ln_reply *r) {
    int rc = begin(r);
    if (rc == LN_OK)
        rc = ln_store_walk(store, &r->range);
    return rc == LN_EOF ? LN_OK : rc;
}

static int from_all(struct ln_store *store, struct ln_reply *r, struct ln_detail *detail) {
    const struct ln_walk *w = &r->range;
    struct ln_overlay_row row;
    struct ln_scan *scan;
    int rc = begin(r);
    if (rc == LN_OK)
        rc = ln_store_scan(store, w->from, w->from_len, w->to, w->to_len, w->reverse, &scan);
    if (rc != LN_OK)
        return rc;
    while (rc == LN_OK && r->rows < r->limit) {
        rc = ln_scan_next(scan, detail, &row);
        if (rc == LN_OK)
            rc = on_row(r, &row);
    }
    ln_scan_close(scan);
    return rc == LN_EOF ? LN_OK : rc;
}

static bool load(struct ln_store *store, const struct ln_reply *r) {
    const struct ln_walk *w = &r->range;
    return ln_store_load(store, w->from, w->from_len, w->to, w->to_len, r->known);
}

/* How many rows were met tells whether some were not, where all of them are wanted. Those that lie
 * in this layer and that one are brought into one: the next time they are there. */
static int gather(struct ln_store *store, struct ln_reply *r, struct ln_detail *detail) {
    r->range.row = on_single_row;
    r->range.run = on_run;
    r->range.arg = r;
    if (r->known <= r->limit && r->offset == 0) {
        int rc = from_memory(store, r);
        if (rc == LN_OK && r->rows == r->known && r->rows >= SHORT && r->pieces > r->rows / SHORT)
            (void)load(store, r);
        if (rc != LN_OK || r->rows == r->known)
            return rc;
    }
    return load(store, r) ? from_memory(store, r) : from_all(store, r, detail);
}

static uint64_t count_of(const struct ln_reply *r) {
    bool pairs = r->what == LN_REPLY_BOTH || (r->what == LN_REPLY_SCORES && r->protocol == 2);
    return pairs ? r->rows * 2 : r->rows;
}

int ln_store_reply(lua_State *L, struct ln_store *store, struct ln_reply *r) {
    struct ln_detail detail = {.text = {0}};
    int rc = gather(store, r, &detail);
    if (rc == LN_OK && (!r->exact || r->rows == r->known)) {
        ln_resp_push_rows(L, r->kind, count_of(r));
        return 1;
    }
    ln_resp_rows_trim();
    if (rc != LN_OK)
        return luaL_error(L, "%s", detail.text[0] ? detail.text : ln_status_text(rc));
    return 0;
}
