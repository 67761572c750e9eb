/* RocksDB, through its C API. The library is loaded when a store asks for it: to link it would
 * double the memory and the start time of every node that does not. */
#include "engine.h"

#include <errno.h>

#ifndef LUNODE_ROCKSDB

static int engine_check(struct ln_detail *detail) {
    return ln_detail_set(detail, -ENOSYS,
                         "this lunode was built without RocksDB: install librocksdb-dev and build "
                         "anew, or ask for another engine");
}

const struct ln_engine_ops ln_engine_rocksdb = {.name = "rocksdb", .check = engine_check};

#else

#include "engine_impl.h"

#include <dlfcn.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

enum {
    WRITE_BUFFER = 16 << 20,
    OPEN_TABLES = 1000,
    LOG_FILES = 2,      /* of RocksDB's own talk */
    LOG_LEVEL_WARN = 2, /* that much of it */
    TOLERATE_CORRUPTED_TAIL =
        0 /* a batch that a crash cut short is dropped; other damage refuses */
};

/* clang-format off */
#define API_MAP(X)                                                                                 \
    X(open) X(close) X(free) X(get) X(write) X(approximate_sizes) X(compact_range)                 \
    X(create_snapshot) X(release_snapshot) X(create_iterator) X(cache_create_lru)                  \
    X(cache_destroy) X(filterpolicy_create_bloom_full) X(options_create) X(options_destroy)        \
    X(options_set_create_if_missing) X(options_set_write_buffer_size)                              \
    X(options_set_max_open_files) X(options_set_paranoid_checks) X(options_set_compression)        \
    X(options_set_keep_log_file_num) X(options_set_info_log_level)                                 \
    X(options_set_wal_recovery_mode) X(options_set_block_based_table_factory)                      \
    X(block_based_options_create) X(block_based_options_destroy)                                   \
    X(block_based_options_set_block_cache) X(block_based_options_set_filter_policy)                \
    X(readoptions_create) X(readoptions_destroy) X(readoptions_set_fill_cache)                     \
    X(readoptions_set_snapshot) X(writeoptions_create) X(writeoptions_destroy)                     \
    X(writeoptions_set_sync) X(writebatch_create) X(writebatch_destroy) X(writebatch_clear)        \
    X(writebatch_put) X(writebatch_delete) X(writebatch_delete_range) X(iter_destroy)              \
    X(iter_valid) X(iter_seek) X(iter_seek_to_last) X(iter_next) X(iter_prev) X(iter_key)          \
    X(iter_value) X(iter_get_error)
/* clang-format on */

static struct {
/* NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define API_POINTER(name) __typeof__(&rocksdb_##name) name;
    API_MAP(API_POINTER)
#undef API_POINTER
} api;

struct engine {
    struct ln_engine base;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *tables;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *writing, *writing_sync;
    rocksdb_writebatch_t *batch;
};

struct iter {
    struct ln_engine_iter base;
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *options;
};

static struct engine *of(struct ln_engine *base) {
    return (struct engine *)base;
}

static int engine_check(struct ln_detail *detail) {
    static bool loaded;
    if (loaded)
        return LN_OK;
    void *library = dlopen(LUNODE_ROCKSDB, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return ln_detail_set(detail, -ENOSYS,
                             "RocksDB cannot be loaded: %s; install the package that has "
                             "it, or ask for another engine",
                             dlerror());
#define API_LOAD(name)                                                                             \
    *(void **)&api.name = dlsym(library, "rocksdb_" #name);                                        \
    if (!api.name)                                                                                 \
        return ln_detail_set(detail, -ENOSYS, "%s", dlerror());
    API_MAP(API_LOAD)
#undef API_LOAD
    loaded = true;
    return LN_OK;
}

/* "IO error: No space left on device: While appending to file: PATH: …" */
static int check(char *error, struct ln_detail *detail) {
    if (!error)
        return LN_OK;
    int status = -EIO;
    if (strncmp(error, "Corruption", 10) == 0)
        status = LN_ECORRUPT;
    else if (strstr(error, "While lock file") || strstr(error, "lock hold by current process"))
        status = strstr(error, "Permission denied") ? -EACCES : LN_ELOCKED;
    else
        status = ln_engine_status_of(error);
    ln_detail_set(detail, status, "%s", error);
    api.free(error);
    return status;
}

/* ---- open, close */

static void engine_close(struct ln_engine *base) {
    struct engine *e = of(base);
    if (e->db)
        api.close(e->db);
    api.writebatch_destroy(e->batch);
    api.writeoptions_destroy(e->writing_sync);
    api.writeoptions_destroy(e->writing);
    api.readoptions_destroy(e->read);
    api.options_destroy(e->options);
    api.block_based_options_destroy(e->tables);
    api.cache_destroy(e->cache);
    free(e);
}

static struct engine *engine_new(const struct ln_engine_options *options) {
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->base.ops = &ln_engine_rocksdb;
    e->cache = api.cache_create_lru(options->cache);
    e->tables = api.block_based_options_create();
    api.block_based_options_set_block_cache(e->tables, e->cache);
    api.block_based_options_set_filter_policy(e->tables, api.filterpolicy_create_bloom_full(10));
    e->options = api.options_create();
    api.options_set_create_if_missing(e->options, 1);
    api.options_set_block_based_table_factory(e->options, e->tables);
    api.options_set_write_buffer_size(e->options, WRITE_BUFFER);
    api.options_set_max_open_files(e->options, OPEN_TABLES);
    api.options_set_paranoid_checks(e->options, 1);
    api.options_set_compression(e->options, rocksdb_snappy_compression);
    api.options_set_keep_log_file_num(e->options, LOG_FILES);
    api.options_set_info_log_level(e->options, LOG_LEVEL_WARN);
    api.options_set_wal_recovery_mode(e->options, TOLERATE_CORRUPTED_TAIL);
    e->read = api.readoptions_create();
    e->writing = api.writeoptions_create();
    e->writing_sync = api.writeoptions_create();
    api.writeoptions_set_sync(e->writing_sync, 1);
    e->batch = api.writebatch_create();
    return e;
}

static int engine_open(const char *path, const struct ln_engine_options *options,
                       struct ln_detail *detail, struct ln_engine **out) {
    int rc = engine_check(detail);
    if (rc == LN_OK)
        rc = ln_engine_check_current(path, detail);
    if (rc != LN_OK)
        return rc;
    struct engine *e = engine_new(options);
    if (!e)
        return ln_detail_set(detail, -ENOMEM, "no memory");
    char *error = NULL;
    e->db = api.open(e->options, path, &error);
    rc = check(error, detail);
    if (rc == LN_OK) {
        *out = &e->base;
        return LN_OK;
    }
    engine_close(&e->base);
    return rc == -ENOENT ? LN_ECORRUPT : rc;
}

/* ---- rows */

static rocksdb_readoptions_t *read_options(struct ln_engine_snapshot *snapshot) {
    rocksdb_readoptions_t *options = api.readoptions_create();
    api.readoptions_set_fill_cache(options, 0); /* a walk would push out what is hot */
    if (snapshot)
        api.readoptions_set_snapshot(options, (const rocksdb_snapshot_t *)snapshot);
    return options;
}

static int engine_get(struct ln_engine *base, struct ln_engine_snapshot *snapshot, const void *key,
                      size_t klen, struct ln_detail *detail, char **value, size_t *vlen) {
    struct engine *e = of(base);
    char *error = NULL;
    size_t len = 0;
    rocksdb_readoptions_t *options = snapshot ? read_options(snapshot) : e->read;
    char *found = api.get(e->db, options, key, klen, &len, &error);
    if (snapshot)
        api.readoptions_destroy(options);
    if (!found)
        return error ? check(error, detail) : -ENOENT;
    *value = found;
    *vlen = len;
    return LN_OK;
}

static void engine_put(struct ln_engine *base, const void *key, size_t klen, const void *value,
                       size_t vlen) {
    api.writebatch_put(of(base)->batch, key, klen, value, vlen);
}

static void engine_remove(struct ln_engine *base, const void *key, size_t klen) {
    api.writebatch_delete(of(base)->batch, key, klen);
}

/* A range needs an end. What lies past the greatest one is looked up; hardly ever there is any. */
static void engine_remove_range(struct ln_engine *base, const void *from, size_t from_len,
                                const void *to, size_t to_len) {
    static const char last[64] = {[0 ... 63] = (char)0xff};
    struct engine *e = of(base);
    if (to) {
        api.writebatch_delete_range(e->batch, from, from_len, to, to_len);
        return;
    }
    if (ln_key_compare(from, from_len, last, sizeof last) < 0) {
        api.writebatch_delete_range(e->batch, from, from_len, last, sizeof last);
        from = last;
        from_len = sizeof last;
    }
    rocksdb_iterator_t *it = api.create_iterator(e->db, e->read);
    for (api.iter_seek(it, from, from_len); api.iter_valid(it); api.iter_next(it)) {
        size_t klen;
        const char *key = api.iter_key(it, &klen);
        api.writebatch_delete(e->batch, key, klen);
    }
    api.iter_destroy(it);
}

/* A batch keeps its memory, so a new one begins. */
static void engine_discard(struct ln_engine *base) {
    struct engine *e = of(base);
    api.writebatch_destroy(e->batch);
    e->batch = api.writebatch_create();
}

static int engine_write(struct ln_engine *base, bool sync, struct ln_detail *detail) {
    struct engine *e = of(base);
    char *error = NULL;
    api.write(e->db, sync ? e->writing_sync : e->writing, e->batch, &error);
    engine_discard(base);
    return check(error, detail);
}

static void engine_compact(struct ln_engine *base, const void *from, size_t from_len,
                           const void *to, size_t to_len) {
    api.compact_range(of(base)->db, from, from_len, to, to_len);
}

static uint64_t engine_disk_bytes(struct ln_engine *base) {
    static const char last[64] = {[0 ... 63] = (char)0xff};
    const char *from = "", *to = last;
    size_t from_len = 0, to_len = sizeof last;
    uint64_t bytes = 0;
    char *error = NULL;
    api.approximate_sizes(of(base)->db, 1, &from, &from_len, &to, &to_len, &bytes, &error);
    return check(error, NULL) == LN_OK ? bytes : 0;
}

/* ---- snapshots and iterators */

static struct ln_engine_snapshot *engine_snapshot(struct ln_engine *base) {
    return (struct ln_engine_snapshot *)api.create_snapshot(of(base)->db);
}

static void engine_release(struct ln_engine *base, struct ln_engine_snapshot *snapshot) {
    api.release_snapshot(of(base)->db, (const rocksdb_snapshot_t *)snapshot);
}

static struct ln_engine_iter *engine_iter_open(struct ln_engine *base,
                                               struct ln_engine_snapshot *snapshot) {
    struct iter *i = malloc(sizeof *i);
    if (!i)
        return NULL;
    i->base.ops = &ln_engine_rocksdb;
    i->options = read_options(snapshot);
    i->it = api.create_iterator(of(base)->db, i->options);
    return &i->base;
}

static rocksdb_iterator_t *iter_of(struct ln_engine_iter *base) {
    return ((struct iter *)base)->it;
}

static void engine_iter_close(struct ln_engine_iter *base) {
    api.iter_destroy(iter_of(base));
    api.readoptions_destroy(((struct iter *)base)->options);
    free(base);
}

static void engine_iter_seek(struct ln_engine_iter *base, const void *key, size_t klen) {
    api.iter_seek(iter_of(base), key, klen);
}

static void engine_iter_last(struct ln_engine_iter *base) {
    api.iter_seek_to_last(iter_of(base));
}

static void engine_iter_seek_before(struct ln_engine_iter *base, const void *key, size_t klen) {
    rocksdb_iterator_t *it = iter_of(base);
    api.iter_seek(it, key, klen);
    if (api.iter_valid(it))
        api.iter_prev(it);
    else
        api.iter_seek_to_last(it);
}

static void engine_iter_next(struct ln_engine_iter *base) {
    api.iter_next(iter_of(base));
}

static void engine_iter_prev(struct ln_engine_iter *base) {
    api.iter_prev(iter_of(base));
}

static int engine_iter_row(struct ln_engine_iter *base, struct ln_detail *detail,
                           struct ln_overlay_row *row) {
    rocksdb_iterator_t *it = iter_of(base);
    char *error = NULL;
    api.iter_get_error(it, &error);
    if (error)
        return check(error, detail);
    if (!api.iter_valid(it))
        return LN_EOF;
    row->key = api.iter_key(it, &row->klen);
    row->value = api.iter_value(it, &row->vlen);
    row->deleted = false;
    return LN_OK;
}

const struct ln_engine_ops ln_engine_rocksdb = {
    .name = "rocksdb",
    .durable = true,
    .ranges = true,
    .check = engine_check,
    .open = engine_open,
    .close = engine_close,
    .get = engine_get,
    .put = engine_put,
    .remove = engine_remove,
    .remove_range = engine_remove_range,
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

#endif
