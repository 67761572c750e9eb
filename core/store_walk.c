/* Walks over what memory has of a range, within one call: nothing is kept between two rows. */
#include "store_impl.h"

#include <errno.h>

enum { LAYERS = LN_STORE_FROZEN + LN_STORE_KEPT + 2, NEAR = 4, ZIP = 16 };

/* A layer, and its rows that are not passed yet. */
struct source {
    struct ln_overlay *rows;
    struct ln_overlay_run rest; /* of the page that it is at */
    struct ln_overlay_row row;  /* the first one */
    bool live;                  /* false: none is left */
};

struct walk {
    const struct ln_walk *range;
    struct source sources[LAYERS]; /* the newest first */
    size_t count;
    bool ranges; /* one of them has deleted ranges */
    unsigned shorts,
        one_by_one; /* short runs in a row; rows that are met without looking for one */
};

static void settle(struct source *s) {
    s->live = ln_overlay_run_count(&s->rest) > 0;
    if (s->live)
        s->row = ln_overlay_run_row(s->rows, &s->rest, 0);
}

/* To a row, as far as the range goes in its page. */
static void enter(const struct walk *w, struct source *s, const struct ln_overlay_cursor *c) {
    const struct ln_walk *r = w->range;
    if (!c->page)
        s->rest = (struct ln_overlay_run){0};
    else if (r->reverse)
        s->rest = ln_overlay_run_back(c, r->from, r->from_len);
    else
        s->rest = ln_overlay_run(c, r->to, r->to_len);
    settle(s);
}

/* To the first row that is not before key; backwards, to the last one before it; NULL: no end. */
static void seek(const struct walk *w, struct source *s, const char *key, size_t klen) {
    struct ln_overlay_cursor c = {0};
    if (key)
        c = w->range->reverse ? ln_overlay_seek_before(s->rows, key, klen)
                              : ln_overlay_seek(s->rows, key, klen);
    else if (w->range->reverse)
        c = ln_overlay_last(s->rows);
    enter(w, s, &c);
}

/* By so many rows of its page. */
static void pass(const struct walk *w, struct source *s, unsigned count) {
    struct ln_overlay_run passed = s->rest;
    s->rest = ln_overlay_run_from(s->rest, count);
    if (ln_overlay_run_count(&s->rest) > 0) {
        settle(s);
        return;
    }
    struct ln_overlay_cursor c = ln_overlay_run_past(&passed);
    if (c.page != passed.page)
        enter(w, s, &c);
    else
        s->live = false;
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
            pass(w, s, 1);
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

/* Whether a row comes before a key. */
static bool precedes(const struct walk *w, const struct ln_overlay_row *row, const char *key,
                     size_t klen) {
    int order = ln_key_compare(row->key, row->klen, key, klen);
    return w->range->reverse ? order > 0 : order < 0;
}

/* How many of the first `count` rows come before the key of another source. Rows of two sources
 * may lie like the teeth of a zip: the first ones are compared one by one. */
static unsigned before_other(const struct walk *w, const struct source *s,
                             const struct ln_overlay_row *other, unsigned count) {
    struct ln_overlay_run run = s->rest;
    struct ln_overlay_row row;
    for (unsigned i = 1; i < NEAR; i++) {
        if (i >= count)
            return count;
        row = ln_overlay_run_row(s->rows, &run, i);
        if (!precedes(w, &row, other->key, other->klen))
            return i;
    }
    struct ln_overlay_cursor c = {run.page, run.reverse ? run.end - 1 : run.at};
    run = run.reverse ? ln_overlay_run_back(&c, other->key, other->klen)
                      : ln_overlay_run(&c, other->key, other->klen);
    unsigned before = ln_overlay_run_count(&run);
    if (run.reverse) { /* it may be there, too */
        row = ln_overlay_run_row(s->rows, &run, before - 1);
        before -= !precedes(w, &row, other->key, other->klen);
    }
    return before < count ? before : count;
}

/* How many of the first `count` rows come before a range that a newer layer has deleted. */
static unsigned before_range(const struct source *s, const struct source *newer, unsigned count) {
    const struct ln_range *r = ln_overlay_range_from(newer->rows, s->row.key, s->row.klen);
    struct ln_overlay_cursor c = {s->rest.page, s->rest.at};
    if (newer->rows->range_count == 0)
        return count;
    if (s->rest.reverse)
        return 1;
    if (!r)
        return count;
    struct ln_overlay_run run = ln_overlay_run(&c, r->from, r->from_len);
    return ln_overlay_run_count(&run) < count ? ln_overlay_run_count(&run) : count;
}

/* The rows that come before any of another source. REQUIRES: s was picked and is not covered. */
static int pass_run(struct walk *w, struct source *s) {
    unsigned count = ln_overlay_run_count(&s->rest);
    for (const struct source *other = w->sources; other < w->sources + w->count; other++)
        if (other != s && other->live)
            count = before_other(w, s, &other->row, count);
    for (const struct source *newer = w->sources; w->ranges && newer < s; newer++)
        count = before_range(s, newer, count);
    struct ln_overlay_run run = ln_overlay_run_of(s->rest, count);
    int rc = LN_OK;
    if (count > 1)
        rc = w->range->run(w->range->arg, s->rows, &run);
    else if (!s->row.deleted)
        rc = w->range->row(w->range->arg, &s->row);
    w->shorts = count < NEAR ? w->shorts + 1 : 0;
    w->one_by_one = w->shorts > NEAR ? ZIP : 0;
    pass(w, s, count);
    return rc;
}

int ln_store_walk(struct ln_store *s, const struct ln_walk *range) {
    struct walk w = {.range = range, .count = 0};
    struct source *at;
    int rc = LN_OK;
    add(&w, s->active);
    for (size_t i = s->frozen_count; i > 0; i--)
        add(&w, s->frozen[i - 1]);
    /* What is warm has been brought since: it is all that is below. */
    if (!ln_store_is_warm(s, range->from, range->from_len, range->to, range->to_len))
        for (size_t i = s->flushed_count; i > 0; i--)
            add(&w, s->flushed[i - 1]);
    if (s->warm)
        add(&w, s->warm);
    while (rc == LN_OK && (at = pick(&w))) {
        if (w.ranges && uncover(&w, at))
            continue;
        if (range->run && w.one_by_one == 0) {
            rc = pass_run(&w, at);
            continue;
        }
        w.one_by_one -= w.one_by_one > 0;
        if (!at->row.deleted)
            rc = range->row(range->arg, &at->row);
        pass(&w, at, 1);
    }
    return rc;
}
