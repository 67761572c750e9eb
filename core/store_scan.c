/* Scans, which merge the overlays and the engine, in both directions; and snapshots. */
#include "store_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = LN_STORE_FROZEN + LN_STORE_KEPT + 2 };

/* A cursor over ordered sources, the newest first, the engine last. Each stands on its first row
 * not yet passed, or on the row handed out last (on). Where a source has changed since, its place
 * is found again from the last key. */
struct ln_scan {
    struct ln_store *store;       /* NULL: closed before us */
    struct ln_snapshot *snapshot; /* or NULL: the store as it is */
    struct ln_scan *next;
    struct ln_scan **link; /* what points to us in our owner's list */
    struct source {
        const struct ln_layer *layer;
        struct ln_overlay_cursor at;
        uint64_t version;
        bool on;
    } layers[LAYERS];
    size_t count;
    struct ln_engine_iter *iter;
    bool on_iter, iter_ended;
    bool skipped;   /* a source went past a range that a newer one has deleted */
    uint64_t epoch; /* of the owner, that the sources belong to */
    bool reverse, started, ended;
    struct ln_key key; /* scratch */
    char *last;        /* forward: seek from here; reverse: before here. The last row is passed */
    size_t last_len, last_cap;
    bool has_last; /* else: from the end of all rows backwards */
    size_t end_len;
    bool has_end;
    char end[]; /* the bound that is walked towards: exclusive forward, inclusive backwards */
};

/* ---- open, close */

static int scan_new(struct ln_store *s, struct ln_snapshot *snapshot, const void *start,
                    size_t start_len, const void *end, size_t end_len, bool reverse,
                    struct ln_scan **out) {
    struct ln_scan *scan = calloc(1, sizeof *scan + end_len);
    if (!scan)
        return -ENOMEM;
    scan->last_cap = start_len + 64; /* the keys that follow are often a little longer */
    scan->last = malloc(scan->last_cap);
    if (!scan->last) {
        free(scan);
        return -ENOMEM;
    }
    if (start_len)
        memcpy(scan->last, start, start_len);
    scan->last_len = start_len;
    scan->has_last = start != NULL;
    scan->has_end = end != NULL;
    scan->end_len = end_len;
    if (end && end_len)
        memcpy(scan->end, end, end_len);
    struct ln_scan **list = snapshot ? &snapshot->scans : &s->scans;
    scan->reverse = reverse;
    scan->store = s;
    scan->snapshot = snapshot;
    scan->next = *list;
    scan->link = list;
    if (*list)
        (*list)->link = &scan->next;
    *list = scan;
    *out = scan;
    return LN_OK;
}

static int scan_open(struct ln_store *s, struct ln_snapshot *snapshot, const void *from,
                     size_t from_len, const void *to, size_t to_len, bool reverse,
                     struct ln_scan **out) {
    if (!to)
        to_len = 0;
    return reverse ? scan_new(s, snapshot, to, to_len, from, from_len, true, out)
                   : scan_new(s, snapshot, from, from_len, to, to_len, false, out);
}

int ln_store_scan(struct ln_store *s, const void *from, size_t from_len, const void *to,
                  size_t to_len, bool reverse, struct ln_scan **out) {
    return scan_open(s, NULL, from, from_len, to, to_len, reverse, out);
}

void ln_scan_drop_iter(struct ln_scan *scan) {
    if (scan->iter)
        scan->iter->ops->iter_close(scan->iter);
    scan->iter = NULL;
    scan->started = false;
}

void ln_scan_drop_iters(struct ln_scan *scans) {
    for (struct ln_scan *scan = scans; scan; scan = scan->next)
        ln_scan_drop_iter(scan);
}

static void detach(struct ln_scan *scan) {
    ln_scan_drop_iter(scan);
    *scan->link = scan->next;
    if (scan->next)
        scan->next->link = scan->link;
    scan->store = NULL;
    scan->snapshot = NULL;
}

void ln_scan_detach_all(struct ln_scan **scans) {
    while (*scans)
        detach(*scans);
}

void ln_scan_close(struct ln_scan *scan) {
    if (scan->store)
        detach(scan);
    free(scan->key.data);
    free(scan->last);
    free(scan);
}

/* ---- the sources */

static void place_node(struct ln_scan *scan, struct source *source) {
    const struct ln_overlay *rows = &source->layer->rows;
    source->version = rows->version;
    source->on = false;
    if (!scan->reverse)
        source->at = ln_overlay_seek(rows, scan->last, scan->last_len);
    else if (scan->has_last)
        source->at = ln_overlay_seek_before(rows, scan->last, scan->last_len);
    else
        source->at = ln_overlay_last(rows);
}

static void step_node(struct ln_scan *scan, struct source *source) {
    source->on = false;
    if (scan->reverse)
        ln_overlay_prev(&source->at);
    else
        ln_overlay_next(&source->at);
}

/* Passes over our own rows. */
static int settle_iter(struct ln_scan *scan, struct ln_detail *detail) {
    const struct ln_engine_ops *ops = scan->iter->ops;
    struct ln_overlay_row row;
    int rc = ops->iter_row(scan->iter, detail, &row);
    scan->iter_ended = rc == LN_EOF;
    if (rc != LN_OK)
        return rc == LN_EOF ? LN_OK : rc;
    if (!ln_is_system(row.key, row.klen))
        return LN_OK;
    if (scan->reverse)
        ops->iter_seek_before(scan->iter, LN_SYSTEM_START, 2);
    else
        ops->iter_seek(scan->iter, LN_SYSTEM_END, 3);
    rc = ops->iter_row(scan->iter, detail, &row);
    scan->iter_ended = rc == LN_EOF;
    return rc == LN_EOF ? LN_OK : rc;
}

/* To key, or before it. */
static int seek_iter(struct ln_scan *scan, const void *key, size_t klen, struct ln_detail *detail) {
    const struct ln_engine_ops *ops = scan->iter->ops;
    const char *stored;
    size_t len;
    int rc = ln_stored_key(&scan->key, key, klen, &stored, &len);
    if (rc != LN_OK)
        return rc;
    scan->on_iter = false;
    if (scan->reverse)
        ops->iter_seek_before(scan->iter, stored, len);
    else
        ops->iter_seek(scan->iter, stored, len);
    return settle_iter(scan, detail);
}

static int place_iter(struct ln_scan *scan, struct ln_detail *detail) {
    if (scan->has_last)
        return seek_iter(scan, scan->last, scan->last_len, detail);
    scan->on_iter = false;
    scan->iter->ops->iter_last(scan->iter);
    return settle_iter(scan, detail);
}

static int place_all(struct ln_scan *scan, struct ln_detail *detail) {
    for (size_t i = 0; i < scan->count; i++)
        place_node(scan, &scan->layers[i]);
    scan->skipped = false;
    return scan->iter ? place_iter(scan, detail) : LN_OK;
}

/* Whether memory has all that is still to come. */
static bool needs_no_engine(const struct ln_scan *scan) {
    if (scan->snapshot || !scan->has_last || !scan->has_end)
        return false;
    return scan->reverse
               ? ln_store_has_all(scan->store, scan->end, scan->end_len, scan->last, scan->last_len)
               : ln_store_has_all(scan->store, scan->last, scan->last_len, scan->end,
                                  scan->end_len);
}

static int open_engine(struct ln_scan *scan) {
    struct ln_store *s = scan->store;
    scan->on_iter = false;
    scan->iter_ended = needs_no_engine(scan);
    if (scan->iter_ended) {
        for (size_t i = s->flushed_count; i > 0; i--)
            scan->layers[scan->count++].layer = s->flushed[i - 1];
        if (s->warm)
            scan->layers[scan->count++].layer = s->warm;
        return LN_OK;
    }
    scan->iter = s->ops->iter_open(s->engine, scan->snapshot ? scan->snapshot->engine : NULL);
    return scan->iter ? LN_OK : -ENOMEM;
}

static int open_sources(struct ln_scan *scan, struct ln_detail *detail) {
    struct ln_store *s = scan->store;
    struct ln_snapshot *snapshot = scan->snapshot;
    ln_scan_drop_iter(scan);
    if (snapshot && !snapshot->engine)
        return ln_detail_set(detail, -ESTALE,
                             "the disk was full, and the engine was opened anew: its snapshots are "
                             "gone");
    if (!s->engine)
        return s->full;
    scan->count = 0;
    if (!snapshot)
        scan->layers[scan->count++].layer = s->active;
    for (size_t i = 0; snapshot && i < snapshot->count; i++)
        scan->layers[scan->count++].layer = snapshot->layers[i];
    for (size_t i = s->frozen_count; !snapshot && i > 0; i--)
        scan->layers[scan->count++].layer = s->frozen[i - 1];
    int rc = open_engine(scan);
    if (rc == LN_OK)
        rc = place_all(scan, detail);
    scan->epoch = snapshot ? snapshot->epoch : s->epoch;
    scan->started = rc == LN_OK;
    return rc;
}

/* Brings all sources to the first row not yet passed. */
static int advance(struct ln_scan *scan, struct ln_detail *detail) {
    uint64_t epoch = scan->snapshot ? scan->snapshot->epoch : scan->store->epoch;
    if (!scan->started || scan->epoch != epoch)
        return open_sources(scan, detail);
    for (size_t i = 0; i < scan->count; i++) {
        struct source *source = &scan->layers[i];
        bool changed = source->version != source->layer->rows.version;
        if (changed && scan->skipped) /* a range that was rolled back gives its rows back */
            return place_all(scan, detail);
        if (changed)
            place_node(scan, source);
        else if (source->on)
            step_node(scan, source);
    }
    if (!scan->on_iter)
        return LN_OK;
    scan->on_iter = false;
    if (scan->reverse)
        scan->iter->ops->iter_prev(scan->iter);
    else
        scan->iter->ops->iter_next(scan->iter);
    return settle_iter(scan, detail);
}

/* ---- the merge */

/* The row of source i; the engine is the last one. LN_EOF at its end. */
static int row_of(struct ln_scan *scan, size_t i, struct ln_detail *detail,
                  struct ln_overlay_row *row) {
    if (i < scan->count) {
        struct source *source = &scan->layers[i];
        const struct ln_overlay_node *node = ln_overlay_at(&source->at);
        if (!node)
            return LN_EOF;
        *row = ln_overlay_row(&source->layer->rows, node);
        return LN_OK;
    }
    if (scan->iter_ended)
        return LN_EOF;
    assert(scan->iter);
    int rc = scan->iter->ops->iter_row(scan->iter, detail, row);
    if (rc == LN_OK) {
        size_t skip = ln_stored_skip(row->key, row->klen);
        row->key += skip;
        row->klen -= skip;
    }
    return rc;
}

static void set_on(struct ln_scan *scan, size_t i, bool on) {
    *(i < scan->count ? &scan->layers[i].on : &scan->on_iter) = on;
}

/* Moves source i past a range that a newer layer has deleted. */
static int skip_range(struct ln_scan *scan, size_t i, const struct ln_range *r,
                      struct ln_detail *detail) {
    const char *key = scan->reverse ? r->from : r->to;
    size_t klen = scan->reverse ? r->from_len : r->to_len;
    scan->skipped = true;
    if (i < scan->count) {
        const struct ln_overlay *rows = &scan->layers[i].layer->rows;
        scan->layers[i].at = !key            ? (struct ln_overlay_cursor){0}
                             : scan->reverse ? ln_overlay_seek_before(rows, key, klen)
                                             : ln_overlay_seek(rows, key, klen);
        return LN_OK;
    }
    if (key)
        return seek_iter(scan, key, klen, detail);
    scan->iter_ended = true;
    return LN_OK;
}

/* As long as source i stands in a range that a newer layer has deleted, moves it; or its own layer,
 * where that has written nothing there since. */
static int uncover(struct ln_scan *scan, size_t i, struct ln_detail *detail,
                   struct ln_overlay_row *row) {
    int rc = row_of(scan, i, detail, row);
    for (size_t newer = 0; rc == LN_OK && newer <= i && newer < scan->count;) {
        const struct ln_range *r =
            ln_overlay_covering(&scan->layers[newer].layer->rows, row->key, row->klen);
        if (!r || (newer == i && r->written)) {
            newer++;
            continue;
        }
        rc = skip_range(scan, i, r, detail);
        if (rc == LN_OK)
            rc = row_of(scan, i, detail, row);
        newer = 0;
    }
    return rc;
}

/* The row that comes first; of equal keys the newest one. LN_EOF where all sources are done. */
static int pick(struct ln_scan *scan, struct ln_detail *detail, struct ln_overlay_row *row) {
    bool any = false;
    for (size_t i = 0; i <= scan->count; i++) {
        struct ln_overlay_row candidate;
        int rc = uncover(scan, i, detail, &candidate);
        if (rc == LN_EOF)
            continue;
        if (rc != LN_OK)
            return rc;
        int order = any ? ln_key_compare(candidate.key, candidate.klen, row->key, row->klen) : 0;
        if (scan->reverse)
            order = -order;
        if (any && order > 0)
            continue;
        if (!any || order < 0) { /* the others are not it after all */
            for (size_t k = 0; k < i; k++)
                set_on(scan, k, false);
            *row = candidate;
            any = true;
        }
        set_on(scan, i, true);
    }
    return any ? LN_OK : LN_EOF;
}

/* Remembers where to go on: forward from the smallest key after this one, which is it and a zero
 * byte. */
static int remember(struct ln_scan *scan, const struct ln_overlay_row *row) {
    size_t need = row->klen + 1;
    if (need > scan->last_cap) {
        char *last = realloc(scan->last, need * 2);
        if (!last)
            return -ENOMEM;
        scan->last = last;
        scan->last_cap = need * 2;
    }
    if (row->klen)
        memcpy(scan->last, row->key, row->klen);
    scan->last[row->klen] = 0;
    scan->last_len = scan->reverse ? row->klen : need;
    scan->has_last = true;
    return LN_OK;
}

static bool past_end(const struct ln_scan *scan, const struct ln_overlay_row *row) {
    if (!scan->has_end)
        return false;
    int order = ln_key_compare(row->key, row->klen, scan->end, scan->end_len);
    return scan->reverse ? order < 0 : order >= 0;
}

static int step(struct ln_scan *scan, struct ln_detail *detail, struct ln_overlay_row *row) {
    int rc;
    do {
        rc = advance(scan, detail);
        if (rc == LN_OK)
            rc = pick(scan, detail, row);
        if (rc == LN_OK && past_end(scan, row))
            rc = LN_EOF;
    } while (rc == LN_OK && row->deleted);
    return rc == LN_OK ? remember(scan, row) : rc;
}

int ln_scan_next(struct ln_scan *scan, struct ln_detail *detail, struct ln_overlay_row *row) {
    struct ln_overlay_row found;
    struct ln_detail cause;
    cause.text[0] = 0;
    if (!scan->store)
        return ln_detail_set(detail, -EBADF, "the store is closed");
    if (scan->ended)
        return LN_EOF;
    int rc = step(scan, &cause, &found);
    if (rc == LN_OK) {
        *row = found;
        return LN_OK;
    }
    scan->ended = rc == LN_EOF;
    ln_scan_drop_iter(scan); /* another try starts from the last key */
    if (rc == -ESTALE)
        ln_detail_set(detail, rc, "%s", cause.text);
    else if (rc != LN_EOF)
        ln_store_fail(scan->store, detail, "read from", rc, cause.text);
    return rc;
}

/* ---- snapshots */

int ln_store_snapshot(struct ln_store *s, struct ln_detail *detail, struct ln_snapshot **out) {
    int rc = LN_OK;
    if (s->logged && s->dirty)
        return ln_detail_set(detail, -EINVAL,
                             "a snapshot in the middle of an entry: advance first");
    if (!s->engine)
        return ln_detail_set(detail, s->full, "%s", s->failure.text);
    struct ln_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot)
        return ln_detail_set(detail, -ENOMEM, "no memory for a snapshot");
    snapshot->engine = s->ops->snapshot(s->engine);
    if (!snapshot->engine)
        rc = ln_detail_set(detail, -ENOMEM, "no memory for a snapshot");
    else if (!ln_layer_empty(s->active) && (rc = ln_store_seal(s)) != LN_OK)
        ln_detail_set(detail, rc,
                      rc == -EAGAIN ? "too many snapshots while the flush is behind: wait for one"
                                    : "no memory for a snapshot");
    if (rc != LN_OK) {
        if (snapshot->engine)
            s->ops->release(s->engine, snapshot->engine);
        free(snapshot);
        return rc;
    }
    for (size_t i = s->frozen_count; i > 0; i--) {
        snapshot->layers[snapshot->count++] = s->frozen[i - 1];
        s->frozen[i - 1]->owners++;
    }
    snapshot->number = snapshot->count ? snapshot->layers[0]->number : 0;
    snapshot->index = s->index;
    snapshot->store = s;
    snapshot->next = s->snapshots;
    snapshot->link = &s->snapshots;
    if (s->snapshots)
        s->snapshots->link = &snapshot->next;
    s->snapshots = snapshot;
    (void)ln_store_kick(s);
    *out = snapshot;
    return LN_OK;
}

static void release_layers(struct ln_snapshot *snapshot) {
    for (size_t i = 0; i < snapshot->count; i++)
        ln_layer_release(snapshot->store, snapshot->layers[i]);
    snapshot->count = 0;
    snapshot->number = 0;
    snapshot->epoch++;
}

/* Between this flush and the next one, the engine is what the snapshot has to show. */
void ln_snapshots_settle(struct ln_store *s, uint64_t number) {
    for (struct ln_snapshot *n = s->snapshots; n; n = n->next) {
        if (n->number != number || !n->engine)
            continue;
        struct ln_engine_snapshot *engine = s->ops->snapshot(s->engine);
        if (!engine)
            continue; /* it keeps the layers, then */
        ln_scan_drop_iters(n->scans);
        s->ops->release(s->engine, n->engine);
        n->engine = engine;
        release_layers(n);
    }
}

void ln_snapshots_lose(struct ln_store *s) {
    for (struct ln_snapshot *n = s->snapshots; n; n = n->next) {
        ln_scan_drop_iters(n->scans);
        if (n->engine)
            s->ops->release(s->engine, n->engine);
        n->engine = NULL;
        release_layers(n);
    }
}

void ln_snapshot_detach(struct ln_snapshot *snapshot) {
    struct ln_store *s = snapshot->store;
    ln_scan_detach_all(&snapshot->scans);
    if (snapshot->engine)
        s->ops->release(s->engine, snapshot->engine);
    release_layers(snapshot);
    *snapshot->link = snapshot->next;
    if (snapshot->next)
        snapshot->next->link = snapshot->link;
    snapshot->store = NULL;
}

void ln_snapshot_close(struct ln_snapshot *snapshot) {
    if (snapshot->store)
        ln_snapshot_detach(snapshot);
    free(snapshot);
}

uint64_t ln_snapshot_applied(const struct ln_snapshot *snapshot) {
    return snapshot->index;
}

int ln_snapshot_scan(struct ln_snapshot *snapshot, const void *from, size_t from_len,
                     const void *to, size_t to_len, bool reverse, struct ln_scan **out) {
    if (!snapshot->store)
        return -EBADF;
    return scan_open(snapshot->store, snapshot, from, from_len, to, to_len, reverse, out);
}

int ln_snapshot_get(struct ln_snapshot *snapshot, const void *key, size_t klen,
                    struct ln_detail *detail, struct ln_value *value) {
    struct ln_store *s = snapshot->store;
    struct ln_overlay_row row;
    const char *stored;
    char *owned = NULL;
    size_t stored_len, len = 0;
    if (!s)
        return ln_detail_set(detail, -EBADF, "the store is closed");
    if (!snapshot->engine)
        return ln_detail_set(detail, -ESTALE,
                             "the disk was full, and the engine was opened anew: its snapshots are "
                             "gone");
    for (size_t i = 0; i < snapshot->count; i++)
        if (ln_overlay_get(&snapshot->layers[i]->rows, key, klen, &row)) {
            if (row.deleted)
                return -ENOENT;
            *value = (struct ln_value){.data = row.value, .len = row.vlen};
            return LN_OK;
        }
    struct ln_detail cause = {{0}};
    int rc = ln_stored_key(&s->key, key, klen, &stored, &stored_len);
    if (rc == LN_OK)
        rc = s->ops->get(s->engine, snapshot->engine, stored, stored_len, &cause, &owned, &len);
    if (rc == LN_OK)
        *value = (struct ln_value){.data = owned, .len = len, .owned = owned};
    else if (rc != -ENOENT)
        ln_store_fail(s, detail, "read from", rc, cause.text);
    return rc;
}
