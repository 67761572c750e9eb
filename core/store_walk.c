/* Walks over what memory has of a range, within one call: nothing is kept between two rows. */
#include "store_impl.h"

#include <errno.h>

enum { LAYERS = LN_STORE_FROZEN + LN_STORE_KEPT + 2, NEAR = 4 };

/* A layer, and its first row that is not passed yet. */
struct source {
    struct ln_overlay *rows;
    struct ln_overlay_cursor at;
    unsigned end; /* forward: of the range, in the page that it is at */
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
    const struct ln_overlay_node *node = ln_overlay_at(&s->at);
    s->live = node && (w->range->reverse || s->at.at < s->end);
    if (!s->live)
        return;
    s->row = ln_overlay_row(s->rows, node);
    if (w->range->reverse)
        s->live = ln_key_compare(s->row.key, s->row.klen, w->range->from, w->range->from_len) >= 0;
}

/* At a page of its own: looks how far the range goes there. */
static void enter(const struct walk *w, struct source *s) {
    if (s->at.page && !w->range->reverse)
        s->end = ln_overlay_run(&s->at, w->range->to, w->range->to_len).end;
    settle(w, s);
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
    enter(w, s);
}

/* Forward, to a place up to the end of the range in its page. */
static void pass_to(const struct walk *w, struct source *s, unsigned at) {
    const struct ln_overlay_page *page = s->at.page;
    s->at.at = at - 1;
    ln_overlay_next(&s->at);
    if (s->at.page == page)
        settle(w, s);
    else
        enter(w, s);
}

static void step(const struct walk *w, struct source *s) {
    if (!w->range->reverse) {
        pass_to(w, s, s->at.at + 1);
        return;
    }
    ln_overlay_prev(&s->at);
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

/* A key that a run has to end before. */
struct bound {
    const char *key; /* NULL: none */
    size_t len;
};

static void lower(struct bound *b, const char *key, size_t klen) {
    if (!b->key || ln_key_compare(key, klen, b->key, b->len) < 0)
        *b = (struct bound){key, klen};
}

/* Where a run has to end. Rows of two sources often lie like the teeth of a zip: the first ones are
 * compared one by one. */
static unsigned end_of_run(const struct source *s, const struct bound *b) {
    struct ln_overlay_cursor c = s->at;
    unsigned near = c.at + NEAR < s->end ? c.at + NEAR : s->end;
    while (++c.at < near)
        if (!ln_overlay_is_before(&c, b->key, b->len))
            return c.at;
    if (near == s->end)
        return near;
    unsigned end = ln_overlay_run(&s->at, b->key, b->len).end;
    return end < s->end ? end : s->end;
}

/* The rows that come before any of another source. REQUIRES: forward; s was picked and is not
 * covered. */
static int pass_run(const struct walk *w, struct source *s) {
    struct ln_overlay_run run = {s->at.page, s->at.at, s->end};
    struct bound b = {NULL, 0};
    for (const struct source *other = w->sources; other < w->sources + w->count; other++)
        if (other != s && other->live)
            lower(&b, other->row.key, other->row.klen);
    for (const struct source *newer = w->sources; w->ranges && newer < s; newer++) {
        const struct ln_range *r = ln_overlay_range_from(newer->rows, s->row.key, s->row.klen);
        if (r)
            lower(&b, r->from, r->from_len);
    }
    if (b.key)
        run.end = end_of_run(s, &b);
    int rc = LN_OK;
    if (run.end - run.at > 1)
        rc = w->range->run(w->range->arg, s->rows, &run);
    else if (!s->row.deleted)
        rc = w->range->row(w->range->arg, &s->row);
    pass_to(w, s, run.end);
    return rc;
}

int ln_store_walk(struct ln_store *s, const struct ln_walk *range) {
    struct walk w = {.range = range, .count = 0};
    struct source *at;
    int rc = LN_OK;
    add(&w, s->active);
    for (size_t i = s->frozen_count; i > 0; i--)
        add(&w, s->frozen[i - 1]);
    if (!ln_store_has_all(s, range->from, range->from_len, range->to, range->to_len))
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
