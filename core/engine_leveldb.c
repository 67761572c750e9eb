/* The default engine: LevelDB, through its C API. */
#include "engine.h"

#include "engine_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WRITE_BUFFER = 16 << 20, /* the memtable: larger ones make fewer, larger level-0 tables */
    TABLE_BYTES = 8 << 20,
    OPEN_TABLES = 1000, /* as many as LevelDB maps to memory, where they hold no descriptor */
    BLOOM_BITS = 10,
    BATCH_KEEP = 1 << 20, /* bytes, past which the batch's memory is given back */
};

struct engine {
    struct ln_engine base;
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
    leveldb_writeoptions_t *write_sync;
    leveldb_writebatch_t *batch;
    size_t batch_bytes;
    bool unsynced; /* something was written since the last sync */
    char path[];
};

struct iter {
    struct ln_engine_iter base;
    leveldb_iterator_t *it;
};

static struct engine *of(struct ln_engine *base) {
    return (struct engine *)base;
}

/* ---- LevelDB tells what failed in words only: "IO error: PATH: No space left on device" */

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int status_of(const char *text) {
    if (strncmp(text, "Corruption", 10) == 0)
        return LN_ECORRUPT;
    if (strncmp(text, "IO error: ", 10) == 0 && ends_with(text, ".ldb: Invalid argument"))
        return LN_ECORRUPT; /* a read past the end of a table that was cut */
    if (strncmp(text, "IO error: lock ", 15) == 0 && !ends_with(text, strerror(EACCES)))
        return LN_ELOCKED;
    return ln_engine_status_of(text);
}

/* Turns LevelDB's error, if there is one, into a status and a detail, and frees it. */
static int check(char *error, struct ln_detail *detail) {
    if (!error)
        return LN_OK;
    int rc = ln_detail_set(detail, status_of(error), "%s", error);
    leveldb_free(error);
    return rc;
}

/* ---- open, close */

static void engine_close(struct ln_engine *base) {
    struct engine *e = of(base);
    if (e->db)
        leveldb_close(e->db);
    leveldb_writebatch_destroy(e->batch);
    leveldb_writeoptions_destroy(e->write_sync);
    leveldb_writeoptions_destroy(e->write);
    leveldb_readoptions_destroy(e->read);
    leveldb_options_destroy(e->options);
    leveldb_filterpolicy_destroy(e->filter);
    leveldb_cache_destroy(e->cache);
    free(e);
}

static struct engine *engine_new(const char *path, const struct ln_engine_options *options) {
    size_t len = strlen(path) + 1;
    struct engine *e = calloc(1, sizeof *e + len);
    if (!e)
        return NULL;
    memcpy(e->path, path, len);
    e->base.ops = &ln_engine_leveldb;
    e->cache = leveldb_cache_create_lru(options->cache);
    e->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    e->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(e->options, 1);
    leveldb_options_set_cache(e->options, e->cache);
    leveldb_options_set_filter_policy(e->options, e->filter);
    leveldb_options_set_write_buffer_size(e->options, WRITE_BUFFER);
    leveldb_options_set_max_file_size(e->options, TABLE_BYTES);
    leveldb_options_set_max_open_files(e->options, OPEN_TABLES);
    leveldb_options_set_paranoid_checks(e->options,
                                        1); /* else damage in a log is skipped, unsaid */
    leveldb_options_set_compression(e->options, leveldb_snappy_compression);
    e->read = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(e->read, 1);
    e->write = leveldb_writeoptions_create();
    e->write_sync = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(e->write_sync, 1);
    e->batch = leveldb_writebatch_create();
    return e;
}

static int engine_open(const char *path, const struct ln_engine_options *options,
                       struct ln_detail *detail, struct ln_engine **out) {
    int rc = ln_engine_check_current(path, detail);
    if (rc != LN_OK)
        return rc;
    struct engine *e = engine_new(path, options);
    if (!e)
        return ln_detail_set(detail, -ENOMEM, "no memory");
    char *error = NULL;
    e->db = leveldb_open(e->options, path, &error);
    rc = check(error, detail);
    if (rc == LN_OK) {
        e->unsynced =
            true; /* what the log held was written by a process that may not have synced */
        *out = &e->base;
        return LN_OK;
    }
    engine_close(&e->base);
    /* A file that CURRENT or the manifest speaks of is not there. */
    return rc == -ENOENT ? LN_ECORRUPT : rc;
}

/* ---- rows */

/* For one call at a time, of one thread. */
static leveldb_readoptions_t *read_options(struct ln_engine_snapshot *snapshot) {
    leveldb_readoptions_t *options = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(options, 1);
    leveldb_readoptions_set_fill_cache(options, 0); /* a walk would push out what is hot */
    leveldb_readoptions_set_snapshot(options, (const leveldb_snapshot_t *)snapshot);
    return options;
}

static int engine_get(struct ln_engine *base, struct ln_engine_snapshot *snapshot, const void *key,
                      size_t klen, struct ln_detail *detail, char **value, size_t *vlen) {
    struct engine *e = of(base);
    char *error = NULL;
    size_t len = 0;
    leveldb_readoptions_t *options = snapshot ? read_options(snapshot) : e->read;
    char *found = leveldb_get(e->db, options, key, klen, &len, &error);
    if (snapshot)
        leveldb_readoptions_destroy(options);
    if (!found)
        return error ? check(error, detail) : -ENOENT;
    *value = found;
    *vlen = len;
    return LN_OK;
}

/* A sync reaches LevelDB's current log only. If a log was filled since the last sync, its rows are
 * neither on disk nor yet in a table; they are synced here, through descriptors of our own. */
static int sync_logs(struct engine *e, struct ln_detail *detail) {
    DIR *dir = opendir(e->path);
    if (!dir)
        return ln_detail_set(detail, -errno, "%s: %m", e->path);
    int rc = LN_OK;
    struct dirent *entry = NULL;
    while (rc == LN_OK && (errno = 0, entry = readdir(dir)) != NULL) {
        if (!ends_with(entry->d_name, ".log"))
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue; /* its rows have just become a table, which LevelDB has synced */
        if (fd < 0 || fdatasync(fd) != 0)
            rc = ln_detail_set(detail, -errno, "%s/%s: %m", e->path, entry->d_name);
        if (fd >= 0)
            close(fd);
    }
    if (rc == LN_OK && errno != 0) /* a log that was not listed is not synced */
        rc = ln_detail_set(detail, -errno, "%s: %m", e->path);
    closedir(dir);
    return rc;
}

static void engine_put(struct ln_engine *base, const void *key, size_t klen, const void *value,
                       size_t vlen) {
    leveldb_writebatch_put(of(base)->batch, key, klen, value, vlen);
    of(base)->batch_bytes += klen + vlen;
}

static void engine_remove(struct ln_engine *base, const void *key, size_t klen) {
    leveldb_writebatch_delete(of(base)->batch, key, klen);
    of(base)->batch_bytes += klen;
}

static void engine_discard(struct ln_engine *base) {
    struct engine *e = of(base);
    leveldb_writebatch_clear(e->batch);
    if (e->batch_bytes > BATCH_KEEP) {
        leveldb_writebatch_destroy(e->batch);
        e->batch = leveldb_writebatch_create();
    }
    e->batch_bytes = 0;
}

static int engine_write(struct ln_engine *base, bool sync, struct ln_detail *detail) {
    struct engine *e = of(base);
    char *error = NULL;
    leveldb_write(e->db, sync ? e->write_sync : e->write, e->batch, &error);
    engine_discard(base);
    int rc = check(error, detail);
    if (rc == LN_OK && sync && e->unsynced)
        rc = sync_logs(e, detail);
    if (rc == LN_OK)
        e->unsynced = !sync;
    return rc;
}

static uint64_t engine_disk_bytes(struct ln_engine *base) {
    static const char last[64] = {[0 ... 63] = (char)0xff};
    const char *from = "", *to = last;
    size_t from_len = 0, to_len = sizeof last;
    uint64_t bytes = 0;
    leveldb_approximate_sizes(of(base)->db, 1, &from, &from_len, &to, &to_len, &bytes);
    return bytes;
}

static void engine_compact(struct ln_engine *base, const void *from, size_t from_len,
                           const void *to, size_t to_len) {
    leveldb_compact_range(of(base)->db, from, from_len, to, to_len);
}

/* ---- snapshots and iterators */

static struct ln_engine_snapshot *engine_snapshot(struct ln_engine *base) {
    return (struct ln_engine_snapshot *)leveldb_create_snapshot(of(base)->db);
}

static void engine_release(struct ln_engine *base, struct ln_engine_snapshot *snapshot) {
    leveldb_release_snapshot(of(base)->db, (const leveldb_snapshot_t *)snapshot);
}

static struct ln_engine_iter *engine_iter_open(struct ln_engine *base,
                                               struct ln_engine_snapshot *snapshot) {
    struct engine *e = of(base);
    struct iter *i = malloc(sizeof *i);
    if (!i)
        return NULL;
    i->base.ops = &ln_engine_leveldb;
    leveldb_readoptions_t *options = read_options(snapshot);
    i->it = leveldb_create_iterator(e->db, options); /* which copies them */
    leveldb_readoptions_destroy(options);
    return &i->base;
}

static leveldb_iterator_t *iter_of(struct ln_engine_iter *base) {
    return ((struct iter *)base)->it;
}

static void engine_iter_close(struct ln_engine_iter *base) {
    leveldb_iter_destroy(iter_of(base));
    free(base);
}

static void engine_iter_seek(struct ln_engine_iter *base, const void *key, size_t klen) {
    leveldb_iter_seek(iter_of(base), key, klen);
}

static void engine_iter_last(struct ln_engine_iter *base) {
    leveldb_iter_seek_to_last(iter_of(base));
}

static void engine_iter_seek_before(struct ln_engine_iter *base, const void *key, size_t klen) {
    leveldb_iterator_t *it = iter_of(base);
    leveldb_iter_seek(it, key, klen);
    if (leveldb_iter_valid(it))
        leveldb_iter_prev(it);
    else
        leveldb_iter_seek_to_last(it);
}

static void engine_iter_prev(struct ln_engine_iter *base) {
    leveldb_iter_prev(iter_of(base));
}

static void engine_iter_next(struct ln_engine_iter *base) {
    leveldb_iter_next(iter_of(base));
}

static int engine_iter_row(struct ln_engine_iter *base, struct ln_detail *detail,
                           struct ln_overlay_row *row) {
    leveldb_iterator_t *it = iter_of(base);
    char *error = NULL;
    leveldb_iter_get_error(it, &error); /* also while it is valid: it steps over damaged blocks */
    if (error)
        return check(error, detail);
    if (!leveldb_iter_valid(it))
        return LN_EOF;
    row->key = leveldb_iter_key(it, &row->klen);
    row->value = leveldb_iter_value(it, &row->vlen);
    row->deleted = false;
    return LN_OK;
}

const struct ln_engine_ops ln_engine_leveldb = {
    .name = "leveldb",
    .durable = true,
    .open = engine_open,
    .close = engine_close,
    .get = engine_get,
    .put = engine_put,
    .remove = engine_remove,
    .write = engine_write,
    .discard = engine_discard,
    .compact = engine_compact,
    .disk_bytes = engine_disk_bytes,
    .snapshot = engine_snapshot,
    .release = engine_release,
    .iter_open = engine_iter_open,
    .iter_close = engine_iter_close,
    .iter_seek = engine_iter_seek,
    .iter_seek_before = engine_iter_seek_before,
    .iter_last = engine_iter_last,
    .iter_next = engine_iter_next,
    .iter_prev = engine_iter_prev,
    .iter_row = engine_iter_row,
};
