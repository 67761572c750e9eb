#include "store.h"

#include "engine.h"
#include "store_dir.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ln_store {
    struct ln_overlay overlay;
    struct ln_engine *engine;
    uint64_t batches;
    int failed; /* the status of the commit that failed, or LN_OK */
    struct ln_detail failure;
    struct ln_scan *scans; /* all that are open */
    int lock_fd;
    char dir[];
};

/* A cursor over two ordered sources. Each stands on its first row not yet passed, or on the row
 * handed out last (on_…). Where a source has changed since, its place is found again from the last
 * key. */
struct ln_scan {
    struct ln_store *store; /* NULL: closed before us */
    struct ln_scan *next;
    struct ln_scan **link; /* what points to us in the store's list */
    const struct ln_overlay_node *node;
    struct ln_engine_iter *iter;
    uint64_t version; /* of the overlay, which node belongs to */
    uint64_t batches; /* as iter saw them */
    bool on_node, on_iter;
    bool started, ended;
    char *last; /* the seek key: from, then the smallest key after the last row's */
    size_t last_len, last_cap;
    size_t to_len;
    bool has_to;
    char to[];
};

/* ---- open, close */

static int open_engine(struct ln_store *s, size_t cache, struct ln_detail *detail) {
    struct ln_detail cause = {{0}};
    struct ln_engine_options options = {.cache = cache};
    char *path = NULL;
    if (asprintf(&path, "%s/db", s->dir) < 0)
        return ln_detail_set(detail, -ENOMEM, "no memory to open data directory %s", s->dir);
    int rc = ln_engine_leveldb.open(path, &options, &cause, &s->engine);
    free(path);
    return rc == LN_OK ? LN_OK : ln_store_dir_fail(detail, s->dir, "open", rc, cause.text);
}

int ln_store_open(const char *dir, const struct ln_store_options *options, struct ln_detail *detail,
                  struct ln_store **out) {
    struct ln_store_options o = options ? *options : LN_STORE_OPTIONS_DEFAULT;
    size_t len = strlen(dir) + 1;
    struct ln_store *s = calloc(1, sizeof *s + len);
    if (!s)
        return ln_detail_set(detail, -ENOMEM, "no memory to open data directory %s", dir);
    memcpy(s->dir, dir, len);
    ln_overlay_init(&s->overlay);
    s->lock_fd = -1;
    int rc = ln_store_dir_open(dir, o.create, detail, &s->lock_fd);
    if (rc == LN_OK)
        rc = open_engine(s, o.cache, detail);
    if (rc != LN_OK) {
        if (s->lock_fd >= 0)
            close(s->lock_fd);
        free(s);
        return rc;
    }
    *out = s;
    return LN_OK;
}

static void scan_detach(struct ln_scan *scan);

void ln_store_close(struct ln_store *s) {
    while (s->scans)
        scan_detach(s->scans);
    s->engine->ops->close(s->engine);
    ln_overlay_free(&s->overlay);
    close(s->lock_fd);
    free(s);
}

/* ---- rows */

int ln_store_get(struct ln_store *s, const void *key, size_t klen, struct ln_detail *detail,
                 struct ln_value *value) {
    const struct ln_overlay_node *n = ln_overlay_find(&s->overlay, key, klen);
    if (n) {
        struct ln_overlay_row row = ln_overlay_row(n);
        if (row.deleted)
            return -ENOENT;
        *value = (struct ln_value){.data = row.value, .len = row.vlen};
        return LN_OK;
    }
    char *owned;
    size_t len;
    int rc = s->engine->ops->get(s->engine, key, klen, detail, &owned, &len);
    if (rc == LN_OK)
        *value = (struct ln_value){.data = owned, .len = len, .owned = owned};
    else if (rc != -ENOENT && detail) {
        struct ln_detail cause = *detail;
        ln_store_dir_fail(detail, s->dir, "read from", rc, cause.text);
    }
    return rc;
}

void ln_value_release(struct ln_value *value) {
    free(value->owned);
    *value = (struct ln_value){0};
}

int ln_store_put(struct ln_store *s, const void *key, size_t klen, const void *value, size_t vlen) {
    if (klen > LN_STORE_MAX_BYTES || vlen > LN_STORE_MAX_BYTES)
        return -E2BIG;
    return ln_overlay_put(&s->overlay, key, klen, value, vlen);
}

int ln_store_delete(struct ln_store *s, const void *key, size_t klen) {
    if (klen > LN_STORE_MAX_BYTES)
        return -E2BIG;
    return ln_overlay_delete(&s->overlay, key, klen);
}

void ln_store_begin(struct ln_store *s) {
    ln_overlay_begin(&s->overlay);
}

void ln_store_rollback(struct ln_store *s) {
    ln_overlay_rollback(&s->overlay);
}

int ln_store_commit(struct ln_store *s, bool sync, struct ln_detail *detail) {
    size_t pending = s->overlay.count;
    if (s->failed == LN_OK && (pending || sync)) {
        struct ln_detail cause = {{0}};
        int rc = s->engine->ops->write(s->engine, &s->overlay, sync, &cause);
        if (rc != LN_OK)
            s->failed = ln_store_dir_fail(&s->failure, s->dir, "write to", rc, cause.text);
    }
    if (s->failed != LN_OK)
        return ln_detail_set(detail, s->failed, "%s", s->failure.text);
    if (pending) {
        s->batches++;
        ln_overlay_clear(&s->overlay);
    }
    return LN_OK;
}

/* ---- scans */

int ln_store_scan(struct ln_store *s, const void *from, size_t from_len, const void *to,
                  size_t to_len, struct ln_scan **out) {
    struct ln_scan *scan = calloc(1, sizeof *scan + to_len);
    if (!scan)
        return -ENOMEM;
    scan->last_cap = from_len + 64; /* the keys that follow are often a little longer */
    scan->last = malloc(scan->last_cap);
    if (!scan->last) {
        free(scan);
        return -ENOMEM;
    }
    if (from_len)
        memcpy(scan->last, from, from_len);
    scan->last_len = from_len;
    scan->has_to = to != NULL;
    scan->to_len = to_len;
    if (to && to_len)
        memcpy(scan->to, to, to_len);
    scan->store = s;
    scan->next = s->scans;
    scan->link = &s->scans;
    if (s->scans)
        s->scans->link = &scan->next;
    s->scans = scan;
    *out = scan;
    return LN_OK;
}

static void scan_close_iter(struct ln_scan *scan) {
    if (scan->iter)
        scan->iter->ops->iter_close(scan->iter);
    scan->iter = NULL;
}

static void scan_detach(struct ln_scan *scan) {
    scan_close_iter(scan);
    *scan->link = scan->next;
    if (scan->next)
        scan->next->link = scan->link;
    scan->store = NULL;
}

void ln_scan_close(struct ln_scan *scan) {
    if (scan->store)
        scan_detach(scan);
    free(scan->last);
    free(scan);
}

/* Brings both sources to the first row not yet passed. */
static int scan_advance(struct ln_scan *scan) {
    struct ln_store *s = scan->store;
    if (!scan->started || scan->version != s->overlay.version)
        scan->node = ln_overlay_seek(&s->overlay, scan->last, scan->last_len);
    else if (scan->on_node)
        scan->node = ln_overlay_next(scan->node);
    if (!scan->iter || scan->batches != s->batches) {
        scan_close_iter(scan);
        scan->iter = s->engine->ops->iter_open(s->engine);
        if (!scan->iter)
            return -ENOMEM;
        s->engine->ops->iter_seek(scan->iter, scan->last, scan->last_len);
    } else if (scan->on_iter) {
        s->engine->ops->iter_next(scan->iter);
    }
    scan->started = true;
    scan->version = s->overlay.version;
    scan->batches = s->batches;
    scan->on_node = scan->on_iter = false;
    return LN_OK;
}

static int compare(const char *a, size_t alen, const char *b, size_t blen) {
    size_t common = alen < blen ? alen : blen;
    int order = common ? memcmp(a, b, common) : 0;
    return order ? order : (alen > blen) - (alen < blen);
}

/* The smaller of the two rows; of equal ones the overlay's. LN_EOF where both sources are done. */
static int scan_pick(struct ln_scan *scan, struct ln_detail *detail, struct ln_overlay_row *row) {
    struct ln_overlay_row stored;
    int rc = scan->iter->ops->iter_row(scan->iter, detail, &stored);
    if (rc != LN_OK && rc != LN_EOF)
        return rc;
    scan->on_iter = rc == LN_OK;
    scan->on_node = scan->node != NULL;
    if (!scan->on_iter && !scan->on_node)
        return LN_EOF;
    if (scan->on_node)
        *row = ln_overlay_row(scan->node);
    if (scan->on_iter && scan->on_node) {
        int order = compare(row->key, row->klen, stored.key, stored.klen);
        scan->on_node = order <= 0;
        scan->on_iter = order >= 0;
    }
    if (!scan->on_node)
        *row = stored;
    return LN_OK;
}

/* The smallest key after key is key and a zero byte. */
static int scan_remember(struct ln_scan *scan, const struct ln_overlay_row *row) {
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
    scan->last_len = need;
    return LN_OK;
}

static int scan_step(struct ln_scan *scan, struct ln_detail *detail, struct ln_overlay_row *row) {
    int rc;
    do {
        rc = scan_advance(scan);
        if (rc == LN_OK)
            rc = scan_pick(scan, detail, row);
        if (rc == LN_OK && scan->has_to &&
            compare(row->key, row->klen, scan->to, scan->to_len) >= 0)
            rc = LN_EOF;
    } while (rc == LN_OK && row->deleted);
    return rc == LN_OK ? scan_remember(scan, row) : rc;
}

int ln_scan_next(struct ln_scan *scan, struct ln_detail *detail, struct ln_overlay_row *row) {
    struct ln_overlay_row found;
    struct ln_detail cause;
    cause.text[0] = 0;
    if (!scan->store)
        return ln_detail_set(detail, -EBADF, "the store is closed");
    if (scan->ended)
        return LN_EOF;
    int rc = scan_step(scan, &cause, &found);
    if (rc == LN_OK) {
        *row = found;
        return LN_OK;
    }
    scan->ended = rc == LN_EOF;
    scan->started = false; /* another try starts from the last key */
    scan_close_iter(scan);
    if (rc != LN_EOF)
        ln_store_dir_fail(detail, scan->store->dir, "read from", rc,
                          cause.text[0] ? cause.text : NULL);
    return rc;
}

/* ---- figures */

void ln_store_stats(struct ln_store *s, struct ln_store_stats *out) {
    *out = (struct ln_store_stats){.pending = s->overlay.count,
                                   .pending_bytes = s->overlay.bytes,
                                   .batches = s->batches,
                                   .disk_bytes = s->engine->ops->disk_bytes(s->engine),
                                   .engine = s->engine->ops->name};
}

size_t ln_store_pending(const struct ln_store *s) {
    return s->overlay.count;
}
