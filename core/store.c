/* Opening and closing, rows, advance and commit. */
#include "store.h"

#include "store_dir.h"
#include "store_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PACKS_PART = 8 /* of the cache: what ranges that are read again have in one piece */ };

int ln_store_fail(const struct ln_store *s, struct ln_detail *detail, const char *doing, int status,
                  const char *cause) {
    return ln_store_dir_fail(detail, s->dir ? s->dir : "(memory)", doing, status,
                             cause && cause[0] ? cause : NULL);
}

/* ---- layers */

struct ln_layer *ln_layer_new(struct ln_store *s) {
    struct ln_layer *layer = calloc(1, sizeof *layer);
    if (!layer)
        return NULL;
    ln_overlay_init(&layer->rows);
    layer->rows.packs = &s->packs;
    layer->owners = 1;
    return layer;
}

/* An overlay has many pages; to give them back takes longer than a turn of the loop should. */
static void on_reap(struct ln_job *job) {
    struct ln_store *s = LN_OWNER(struct ln_store, reap_job, job);
    struct ln_layer *layer = s->dying;
    if (ln_overlay_reap(&layer->rows, 1 << 20)) {
        s->dying = layer->next;
        free(layer);
    }
    if (s->dying)
        ln_loop_defer(s->loop, &s->reap_job, on_reap);
}

void ln_layer_release(struct ln_store *s, struct ln_layer *layer) {
    if (--layer->owners > 0)
        return;
    if (layer->rows.memory <= 1 << 20 || !s || s->closed) {
        ln_overlay_free(&layer->rows);
        free(layer);
        return;
    }
    layer->next = s->dying;
    s->dying = layer;
    ln_loop_defer(s->loop, &s->reap_job, on_reap);
}

static void drop_flushed(struct ln_store *s) {
    ln_store_stale(s, s->flushed[0]->number);
    ln_layer_release(s, s->flushed[0]);
    memmove(s->flushed, s->flushed + 1, --s->flushed_count * sizeof(void *));
}

/* What was written lately is read lately, and lies here already in the form that reads like best.
 * What is newer lies in the layers above, which come here in their turn. Together they take as much
 * as the cache, and so the oldest ones go. */
void ln_store_keep_flushed(struct ln_store *s, struct ln_layer *layer) {
    ln_store_cool(s); /* it is older than what goes */
    s->epoch++;
    size_t memory = layer ? layer->rows.memory : 0;
    for (size_t i = 0; i < s->flushed_count; i++)
        memory += s->flushed[i]->rows.memory;
    while (s->flushed_count > 0 &&
           (!layer || memory > s->options.cache || s->flushed_count == LN_STORE_KEPT)) {
        memory -= s->flushed[0]->rows.memory;
        drop_flushed(s);
    }
    if (layer && memory <= s->options.cache) {
        s->flushed[s->flushed_count++] = layer;
    } else if (layer) {
        ln_store_stale(s, layer->number);
        ln_layer_release(s, layer);
    }
}

/* ---- open */

static int open_engine(struct ln_store *s, struct ln_detail *detail) {
    struct ln_detail cause = {{0}};
    struct ln_engine_options options = {.cache = s->options.cache / 4 * 3};
    char *path = NULL;
    if (s->dir && asprintf(&path, "%s/db", s->dir) < 0)
        return ln_detail_set(detail, -ENOMEM, "no memory to open data directory %s", s->dir);
    int rc = s->ops->open(path, &options, &cause, &s->engine);
    free(path);
    return rc == LN_OK ? LN_OK : ln_store_fail(s, detail, "open", rc, cause.text);
}

/* Format 1 had the same rows, but none of ours, and users' keys from FF FF on as they are. */
static int check_upgrade(struct ln_store *s, struct ln_detail *detail) {
    struct ln_engine_iter *it = s->ops->iter_open(s->engine, NULL);
    struct ln_overlay_row row;
    struct ln_detail cause = {{0}};
    if (!it)
        return ln_store_fail(s, detail, "open", -ENOMEM, NULL);
    s->ops->iter_seek(it, LN_SYSTEM_START, 2);
    int rc = s->ops->iter_row(it, &cause, &row);
    s->ops->iter_close(it);
    if (rc == LN_OK)
        return ln_detail_set(
            detail, LN_EVERSION,
            "data directory %s has format 1 with keys that begin with FF FF, which "
            "cannot be upgraded; copy its rows with the lunode that made it",
            s->dir);
    if (rc != LN_EOF)
        return ln_store_fail(s, detail, "read from", rc, cause.text);
    return ln_store_dir_upgrade(s->dir, s->ops->name, detail);
}

/* What the last process left in the engine. */
static int read_state(struct ln_store *s, struct ln_detail *detail) {
    struct ln_detail cause = {{0}};
    int rc = ln_read_applied(s->engine, &cause, &s->index);
    if (rc == LN_OK)
        rc = ln_read_leftovers(s->engine, &s->active->rows, &cause, &s->leftovers);
    if (rc != LN_OK)
        return ln_store_fail(s, detail, "read from", rc, cause.text);
    s->durable_index = s->index;
    s->logged = s->index > 0;
    ln_overlay_begin(&s->active->rows);
    if (s->leftovers && (rc = ln_store_seal(s)) == LN_OK)
        rc = ln_store_kick(s);
    return rc == LN_OK ? LN_OK : ln_store_fail(s, detail, "open", rc, NULL);
}

static struct ln_store *store_new(struct ln_loop *loop, const char *dir,
                                  const struct ln_store_options *options) {
    struct ln_store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->loop = loop;
    s->options = *options;
    s->options.engine = NULL;
    s->lock_fd = -1;
    s->number = 1;
    s->epoch = 1;
    s->flushes_end = &s->flushes;
    size_t len = dir ? strlen(dir) + 1 : 0;
    s->dir = dir ? malloc(len) : NULL;
    if (s->dir)
        memcpy(s->dir, dir, len);
    s->packs.limit = options->cache / PACKS_PART;
    s->active = ln_layer_new(s);
    s->cache = ln_row_cache_new(options->cache / 4);
    if (s->active && s->cache && (!dir || s->dir) && ln_store_flusher_init(s) == LN_OK) {
        s->active->number = s->number;
        return s;
    }
    free(s->active);
    ln_row_cache_free(s->cache);
    free(s->dir);
    free(s);
    return NULL;
}

static void on_closing(struct ln_job *job) {
    struct ln_store *s = LN_OWNER(struct ln_store, close_job, job);
    for (struct ln_store_flush *f = s->flushes, *next; f; f = next) {
        next = f->next;
        f->fn(f, -ECANCELED, NULL, 0);
    }
    free(s->dir);
    free(s);
}

static int open_dir(struct ln_store *s, const char *engine, bool create, bool *upgrade,
                    struct ln_detail *detail) {
    char name[LN_STORE_DIR_ENGINE] = "memory";
    int rc = LN_OK;
    if (s->dir)
        rc = ln_store_dir_open(s->dir, create, engine, detail, name, upgrade, &s->lock_fd);
    if (rc == LN_OK && !s->ops)
        s->ops = ln_engine_find(name);
    return rc;
}

/* The engine by its name, before anything is touched. */
static int check_engine(const char *dir, const char *name, struct ln_detail *detail) {
    const struct ln_engine_ops *ops = name ? ln_engine_find(name) : NULL;
    if (name && !ops)
        return ln_detail_set(detail, -EINVAL,
                             "there is no engine %s; give leveldb, rocksdb or memory", name);
    if (!dir && ops != &ln_engine_memory)
        return ln_detail_set(detail, -EINVAL, "only the engine memory goes without a directory");
    return ops && ops->check ? ops->check(detail) : LN_OK;
}

int ln_store_open_engine(struct ln_loop *loop, const char *dir,
                         const struct ln_store_options *options, const struct ln_engine_ops *ops,
                         struct ln_detail *detail, struct ln_store **out) {
    struct ln_store_options o = options ? *options : LN_STORE_OPTIONS_DEFAULT;
    bool upgrade = false;
    int rc = check_engine(dir, o.engine, detail);
    if (rc != LN_OK)
        return rc;
    struct ln_store *s = store_new(loop, dir, &o);
    if (!s)
        return ln_detail_set(detail, -ENOMEM, "no memory to open data directory %s",
                             dir ? dir : "(memory)");
    s->ops = ops;
    rc = open_dir(s, o.engine, o.create, &upgrade, detail);
    if (rc == LN_OK)
        rc = open_engine(s, detail);
    if (rc == LN_OK && upgrade)
        rc = check_upgrade(s, detail);
    if (rc == LN_OK)
        rc = read_state(s, detail);
    if (rc == LN_OK)
        *out = s;
    else
        ln_store_discard(s);
    return rc;
}

int ln_store_open(struct ln_loop *loop, const char *dir, const struct ln_store_options *options,
                  struct ln_detail *detail, struct ln_store **out) {
    return ln_store_open_engine(loop, dir, options, NULL, detail, out);
}

/* ---- close */

void ln_store_close(struct ln_store *s) {
    if (s->closed)
        return;
    s->closed = true;
    ln_store_stop(s);
    ln_scan_detach_all(&s->scans);
    while (s->snapshots)
        ln_snapshot_detach(s->snapshots);
    if (s->engine)
        s->ops->close(s->engine);
    ln_layer_release(s, s->active);
    for (size_t i = 0; i < s->frozen_count; i++)
        ln_layer_release(s, s->frozen[i]);
    ln_store_keep_flushed(s, NULL);
    for (struct ln_layer *layer = s->dying, *next; layer; layer = next) {
        next = layer->next;
        ln_overlay_free(&layer->rows);
        free(layer);
    }
    ln_job_cancel(&s->reap_job);
    ln_job_cancel(&s->tell_job);
    ln_timer_stop(&s->retry);
    ln_row_cache_free(s->cache);
    free(s->key.data);
    ln_store_flusher_free(s);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    ln_loop_closing(s->loop, &s->close_job, on_closing);
}

void ln_store_discard(struct ln_store *s) {
    if (s->closed) { /* and whoever asked is gone */
        s->flushes = NULL;
        return;
    }
    s->flushes = NULL;
    s->flushes_end = &s->flushes;
    ln_store_close(s);
}

/* ---- reading */

static int get_stored(struct ln_store *s, const void *key, size_t klen, struct ln_detail *detail,
                      struct ln_value *value) {
    const char *stored;
    char *owned = NULL;
    size_t stored_len, len = 0;
    if (!s->engine)
        return ln_detail_set(detail, s->full, "%s", s->failure.text);
    int rc = ln_stored_key(&s->key, key, klen, &stored, &stored_len);
    if (rc == LN_OK)
        rc = s->ops->get(s->engine, NULL, stored, stored_len, detail, &owned, &len);
    if ((rc == LN_OK || rc == -ENOENT) && ln_row_cache_wants(s->cache, key, klen))
        ln_row_cache_add(s->cache, key, klen, owned, len);
    if (rc == LN_OK) {
        *value = (struct ln_value){.data = owned, .len = len, .owned = owned};
    } else if (rc != -ENOENT && detail) {
        struct ln_detail cause = *detail;
        ln_store_fail(s, detail, "read from", rc, cause.text);
    }
    return rc;
}

/* Whether a layer knows about key, the newest first. */
static bool look(const struct ln_store *s, const void *key, size_t klen,
                 struct ln_overlay_row *row) {
    uint64_t hash = ln_overlay_hash(key, klen);
    bool found = ln_overlay_get_hashed(&s->active->rows, hash, key, klen, row);
    for (size_t i = s->frozen_count; !found && i > 0; i--)
        found = ln_overlay_get_hashed(&s->frozen[i - 1]->rows, hash, key, klen, row);
    for (size_t i = s->flushed_count; !found && i > 0; i--)
        found = ln_overlay_get_hashed(&s->flushed[i - 1]->rows, hash, key, klen, row);
    return found;
}

int ln_store_get(struct ln_store *s, const void *key, size_t klen, struct ln_detail *detail,
                 struct ln_value *value) {
    struct ln_overlay_row row;
    struct ln_cached cached;
    if (look(s, key, klen, &row)) {
        if (row.deleted)
            return -ENOENT;
        *value = (struct ln_value){.data = row.value, .len = row.vlen};
        return LN_OK;
    }
    if (ln_store_is_fresh(s, key, klen))
        return -ENOENT;
    if (!ln_row_cache_get(s->cache, key, klen, &cached)) {
        if (!s->warm || !ln_overlay_get(&s->warm->rows, key, klen, &row))
            return get_stored(s, key, klen, detail, value);
        cached = (struct ln_cached){row.value, row.vlen, row.deleted};
    }
    if (cached.absent)
        return -ENOENT;
    *value = (struct ln_value){.data = cached.value, .len = cached.vlen};
    return LN_OK;
}

enum { LAYERS = 1 + LN_STORE_FROZEN + LN_STORE_KEPT };

/* Those that have rows, the newest first. */
static size_t list_layers(const struct ln_store *s, const struct ln_overlay *rows[LAYERS]) {
    size_t n = 0;
    rows[n] = &s->active->rows;
    n += rows[n]->count > 0;
    for (size_t i = s->frozen_count; i > 0; i--) {
        rows[n] = &s->frozen[i - 1]->rows;
        n += rows[n]->count > 0;
    }
    for (size_t i = s->flushed_count; i > 0; i--) {
        rows[n] = &s->flushed[i - 1]->rows;
        n += rows[n]->count > 0;
    }
    return n;
}

void ln_store_ahead(const struct ln_store *s, const struct ln_store_key *keys, size_t count) {
    const struct ln_overlay *rows[LAYERS];
    const struct ln_overlay_node *nodes[LN_STORE_AHEAD] = {NULL};
    uint64_t hashes[LN_STORE_AHEAD];
    size_t layers = list_layers(s, rows);
    if (layers == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        hashes[i] = ln_overlay_hash(keys[i].key, keys[i].len);
        for (size_t k = 0; k < layers; k++)
            ln_overlay_fetch_slot(rows[k], hashes[i]);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < layers && !nodes[i]; k++)
            nodes[i] = ln_overlay_fetch_node(rows[k], hashes[i]);
    for (size_t i = 0; i < count; i++)
        if (nodes[i])
            ln_overlay_fetch_value(nodes[i]);
}

void ln_value_release(struct ln_value *value) {
    free(value->owned);
    *value = (struct ln_value){0};
}

/* ---- writing */

/* A cached row is what the engine has. Where an overlay knows better, it is not looked at, and it
 * must be gone by the time the engine has the overlay. So it goes with the first write: as long as
 * the key lies in an overlay, reads do not bring it back. */
static int written(struct ln_store *s, int rc) {
    if (rc != LN_OK)
        return rc;
    s->dirty = true;
    if (s->active_since == 0)
        s->active_since = ln_loop_now(s->loop) + 1; /* 0: nothing was written */
    return LN_OK;
}

typedef int put_fn(struct ln_overlay *o, const void *key, size_t klen, const void *value,
                   size_t vlen);

static int put(struct ln_store *s, put_fn *fn, const void *key, size_t klen, const void *value,
               size_t vlen) {
    if (klen > LN_STORE_MAX_BYTES || vlen > LN_STORE_MAX_BYTES)
        return -E2BIG;
    if (s->failed != LN_OK)
        return s->failed;
    size_t rows = s->active->rows.count;
    int rc = fn(&s->active->rows, key, klen, value, vlen);
    if (s->active->rows.count > rows) /* last: key and value may be borrowed from there */
        ln_row_cache_drop(s->cache, key, klen);
    return written(s, rc);
}

int ln_store_put(struct ln_store *s, const void *key, size_t klen, const void *value, size_t vlen) {
    return put(s, ln_overlay_put, key, klen, value, vlen);
}

int ln_store_put_new(struct ln_store *s, const void *key, size_t klen, const void *value,
                     size_t vlen) {
    return put(s, ln_overlay_put_new, key, klen, value, vlen);
}

bool ln_store_wrote(const struct ln_store *s, const void *key, size_t klen) {
    struct ln_overlay_row row;
    return ln_overlay_get(&s->active->rows, key, klen, &row) && !row.deleted;
}

int ln_store_delete(struct ln_store *s, const void *key, size_t klen) {
    if (klen > LN_STORE_MAX_BYTES)
        return -E2BIG;
    if (s->failed != LN_OK)
        return s->failed;
    int rc = ln_overlay_delete(&s->active->rows, key, klen);
    if (rc == LN_OK)
        ln_row_cache_drop(s->cache, key, klen);
    return written(s, rc);
}

int ln_store_delete_range(struct ln_store *s, const void *from, size_t from_len, const void *to,
                          size_t to_len) {
    if (from_len > LN_STORE_MAX_BYTES || to_len > LN_STORE_MAX_BYTES)
        return -E2BIG;
    if (s->failed != LN_OK)
        return s->failed;
    int rc = ln_overlay_delete_range(&s->active->rows, from, from_len, to, to_len);
    if (rc == LN_OK)
        ln_row_cache_drop_range(s->cache, from, from_len, to, to_len);
    return written(s, rc);
}

void ln_store_begin(struct ln_store *s) {
    ln_overlay_begin(&s->active->rows);
}

void ln_store_rollback(struct ln_store *s) {
    ln_overlay_rollback(&s->active->rows);
}

/* ---- under a log */

int ln_store_advance(struct ln_store *s, uint64_t index) {
    if (s->failed != LN_OK)
        return s->failed;
    if (index <= s->index)
        return -EINVAL;
    s->index = index;
    s->logged = true;
    s->dirty = false;
    ln_overlay_begin(&s->active->rows);
    ln_store_maybe_seal(s);
    return LN_OK;
}

uint64_t ln_store_applied(const struct ln_store *s) {
    return s->index;
}

int ln_store_room(struct ln_store *s, struct ln_detail *detail) {
    int rc = LN_OK;
    if (s->failed != LN_OK)
        return ln_detail_set(detail, s->failed, "%s", s->failure.text);
    if (s->full != LN_OK)
        rc = ln_detail_set(detail, s->full, "%s", s->failure.text);
    else if (ln_store_memory(s) > s->options.limit)
        rc = ln_detail_set(detail, -EAGAIN,
                           "the flush is behind: %zu MiB of writes wait for the engine",
                           ln_store_memory(s) >> 20);
    s->no_room |= rc != LN_OK;
    return rc;
}

/* ---- alone */

/* Writes the active layer, here and now. Nothing is frozen. */
static int commit_active(struct ln_store *s, bool sync) {
    struct ln_overlay *rows = &s->active->rows;
    struct ln_write w = {.engine = s->engine,
                         .rows = rows,
                         .index = s->index,
                         .sync = sync,
                         .leftovers = s->leftovers};
    size_t bytes = rows->bytes;
    int rc = ln_write_batch(&w);
    if (rc != LN_OK) {
        ln_overlay_distrust(rows); /* the batch may have come through all the same */
        ln_store_failed(s, rc, &w.detail);
        return rc;
    }
    s->leftovers = w.leftovers;
    ln_store_keep_flushed(s, NULL); /* the engine has newer rows */
    ln_store_stale(s, s->number);
    s->unsynced = !sync;
    if (w.leftovers && (rc = ln_store_park_leftovers(s)) != LN_OK)
        return rc; /* all of it is still here, and may be written again */
    s->epoch++;
    s->batches += bytes > 0 || !ln_layer_empty(s->active);
    s->purged += w.purged;
    s->flushed_bytes += bytes;
    if (s->ops->durable && s->index > s->durable_index) {
        s->durable_index = s->index;
        s->tell_flushed = true;
        ln_store_tell(s);
    }
    ln_overlay_clear(rows);
    s->active_since = 0;
    s->durable_number = s->number;
    s->active->number = ++s->number;
    if (s->flushes)
        ln_store_tell(s);
    return LN_OK;
}

int ln_store_commit(struct ln_store *s, bool sync, struct ln_detail *detail) {
    if (s->failed == LN_OK && s->logged && s->dirty)
        return ln_detail_set(detail, -EINVAL, "commit in the middle of an entry: advance first");
    int rc = s->failed;
    if (rc == LN_OK && s->full != LN_OK)
        rc = ln_store_recover(s, NULL);
    if (rc == LN_OK)
        rc = ln_store_wait(s, NULL);
    if (rc == LN_OK && (!ln_layer_empty(s->active) || (sync && s->unsynced)))
        rc = commit_active(s, sync);
    if (rc != LN_OK)
        return ln_detail_set(detail, rc, "%s",
                             s->failure.text[0] ? s->failure.text : ln_status_text(rc));
    ln_overlay_begin(&s->active->rows);
    if (!s->logged)
        s->dirty = false;
    return LN_OK;
}

/* ---- figures */

size_t ln_store_pending(const struct ln_store *s) {
    size_t pending = s->active->rows.count + s->active->rows.range_count;
    for (size_t i = 0; i < s->frozen_count; i++)
        pending += s->frozen[i]->rows.count + s->frozen[i]->rows.range_count;
    return pending;
}

void ln_store_stats(struct ln_store *s, struct ln_store_stats *out) {
    struct ln_row_cache_stats cache;
    ln_row_cache_stats(s->cache, &cache);
    size_t ranges = s->packs.bytes + (s->warm ? s->warm->rows.memory : 0);
    *out = (struct ln_store_stats){.pending = ln_store_pending(s),
                                   .pending_bytes = s->active->rows.bytes,
                                   .overlay_bytes = ln_store_memory(s),
                                   .frozen = s->frozen_count,
                                   .batches = s->batches,
                                   .applied = s->index,
                                   .durable = s->durable_index,
                                   .flushed_bytes = s->flushed_bytes,
                                   .flush_time = s->flush_time,
                                   .purged = s->purged,
                                   .cache_hits = cache.hits,
                                   .cache_misses = cache.misses,
                                   .cache_rows = cache.rows,
                                   .cache_bytes = cache.bytes + ranges,
                                   .disk_bytes = s->engine ? s->ops->disk_bytes(s->engine) : 0,
                                   .engine = s->ops->name,
                                   .full = s->full != LN_OK};
    for (size_t i = 0; i < s->frozen_count; i++)
        out->pending_bytes += s->frozen[i]->rows.bytes;
}
