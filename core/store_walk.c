/* Walks over what memory has of a range, within one call: nothing is kept between two rows. */
#include "store_impl.h"

#include <errno.h>

enum { LAYERS = LN_STORE_FROZEN + LN_STORE_KEPT + 2 };

/* A layer, and its first row that is not passed yet. */
struct source {
    struct ln_overlay *rows;
    struct ln_overlay_cursor at;
    struct ln_overlay_row row;
    bool live; /* false: none is left */
};

struct walk {
    const struct ln_walk *range;
    struct source sources[LAYERS]; /* the newest first */
    size_t count;
    bool ranges; /* one of them has deleted ranges */
};

/* The row of its place, unless that lies past the end. */
static void settle(const struct walk *w, struct source *s) {
    const struct ln_walk *r = w->range;
    const struct ln_overlay_node *node = ln_overlay_at(&s->at);
    s->live = node != NULL;
    if (!node)
        return;
    s->row = ln_overlay_row(s->rows, node);
    if (r->reverse)
        s->live = ln_key_compare(s->row.key, s->row.klen, r->from, r->from_len) >= 0;
    else if (r->to)
        s->live = ln_key_compare(s->row.key, s->row.klen, r->to, r->to_len) < 0;
}

/* To the first row that is not before key; backwards, to the last one before it; NULL: no end. */
static void seek(const struct walk *w, struct source *s, const char *key, size_t klen) {
    if (!key && w->range->reverse) {
        s->at = ln_overlay_last(s->rows);
    } else if (!key) {
        s->live = false;
        return;
    } else {
        s->at = w->range->reverse ? ln_overlay_seek_before(s->rows, key, klen)
                                  : ln_overlay_seek(s->rows, key, klen);
    }
    settle(w, s);
}

static void step(const struct walk *w, struct source *s) {
    if (w->range->reverse)
        ln_overlay_prev(&s->at);
    else
        ln_overlay_next(&s->at);
    settle(w, s);
}

static void add(struct walk *w, struct ln_layer *layer) {
    const struct ln_walk *r = w->range;
    struct source *s = &w->sources[w->count];
    if (ln_layer_empty(layer))
        return;
    w->count++;
    w->ranges |= layer->rows.range_count > 0;
    s->rows = &layer->rows;
    if (r->reverse)
        seek(w, s, r->to, r->to_len);
    else
        seek(w, s, r->from, r->from_len);
}

/* The source of the row that comes next, of equal keys the newest; the others pass theirs. NULL at
 * the end. */
static struct source *pick(struct walk *w) {
    struct source *best = NULL;
    for (size_t i = 0; i < w->count; i++) {
        struct source *s = &w->sources[i];
        if (!s->live)
            continue;
        int order =
            best ? ln_key_compare(s->row.key, s->row.klen, best->row.key, best->row.klen) : 0;
        if (!best || (w->range->reverse ? order > 0 : order < 0))
            best = s;
        else if (order == 0)
            step(w, s);
    }
    return best;
}

/* Whether its row lies in a range that a newer layer has deleted: then it is past that. */
static bool uncover(const struct walk *w, struct source *s) {
    for (const struct source *newer = w->sources; newer < s; newer++) {
        const struct ln_range *r = ln_overlay_covering(newer->rows, s->row.key, s->row.klen);
        if (!r)
            continue;
        if (!w->range->reverse)
            seek(w, s, r->to, r->to_len);
        else if (r->from_len > 0)
            seek(w, s, r->from, r->from_len);
        else
            s->live = false;
        return true;
    }
    return false;
}

/* Lowers the end of a run to a key. */
static void bound(const char **end, size_t *end_len, const char *key, size_t klen) {
    if (*end && ln_key_compare(*end, *end_len, key, klen) <= 0)
        return;
    *end = key;
    *end_len = klen;
}

/* The rows that come before any of another source. REQUIRES: forward; s was picked and is not
 * covered. */
static int pass_run(const struct walk *w, struct source *s) {
    const struct ln_walk *range = w->range;
    const char *end = range->to;
    size_t end_len = range->to_len;
    for (const struct source *other = w->sources; other < w->sources + w->count; other++)
        if (other != s && other->live)
            bound(&end, &end_len, other->row.key, other->row.klen);
    for (const struct source *newer = w->sources; w->ranges && newer < s; newer++) {
        const struct ln_range *r = ln_overlay_range_from(newer->rows, s->row.key, s->row.klen);
        if (r)
            bound(&end, &end_len, r->from, r->from_len);
    }
    struct ln_overlay_run run = ln_overlay_run(&s->at, end, end_len);
    int rc = range->run(range->arg, s->rows, &run);
    s->at = ln_overlay_past(&run);
    settle(w, s);
    return rc;
}

int ln_store_walk(struct ln_store *s, const struct ln_walk *range) {
    struct walk w = {.range = range, .count = 0};
    struct source *at;
    int rc = LN_OK;
    add(&w, s->active);
    for (size_t i = s->frozen_count; i > 0; i--)
        add(&w, s->frozen[i - 1]);
    for (size_t i = s->flushed_count; i > 0; i--)
        add(&w, s->flushed[i - 1]);
    if (s->warm)
        add(&w, s->warm);
    while (rc == LN_OK && (at = pick(&w))) {
        if (w.ranges && uncover(&w, at))
            continue;
        if (range->run && !range->reverse) {
            rc = pass_run(&w, at);
            continue;
        }
        if (!at->row.deleted)
            rc = range->row(range->arg, &at->row);
        step(&w, at);
    }
    return rc;
}
