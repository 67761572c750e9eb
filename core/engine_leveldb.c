/* The default engine: LevelDB, through its C API. */
#include "engine.h"

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
    BATCH_KEEP = 1 << 20, /* rows' bytes, past which the batch's memory is given back */
};

struct engine {
    struct ln_engine base;
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read;
    leveldb_readoptions_t *read_scan;
    leveldb_writeoptions_t *write;
    leveldb_writeoptions_t *write_sync;
    leveldb_writebatch_t *batch;
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
    static const int known[] = {ENOSPC, EDQUOT, EFBIG,  EACCES, EPERM,   EROFS, EMFILE,
                                ENFILE, ENOMEM, ENOENT, EISDIR, ENOTDIR, EIO,   ENAMETOOLONG};
    if (strncmp(text, "Corruption", 10) == 0)
        return LN_ECORRUPT;
    if (strncmp(text, "IO error: ", 10) == 0 && ends_with(text, ".ldb: Invalid argument"))
        return LN_ECORRUPT; /* a read past the end of a table that was cut */
    if (strncmp(text, "IO error: lock ", 15) == 0 && !ends_with(text, strerror(EACCES)))
        return LN_ELOCKED;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ends_with(text, strerror(known[i])))
            return -known[i];
    return strncmp(text, "Invalid argument", 16) == 0 ? -EINVAL : -EIO;
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

/* LevelDB would take a folder without CURRENT for a new one, and remove the data that is there. One
 * with tables has a log, too, except where somebody has removed it; LevelDB would not miss it. */
static int check_current(const char *path, struct ln_detail *detail) {
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? LN_OK : ln_detail_set(detail, -errno, "%s: %m", path);
    bool current = false, tables = false, log = false;
    for (struct dirent *e; (errno = 0, e = readdir(dir)) != NULL;) {
        current |= strcmp(e->d_name, "CURRENT") == 0;
        tables |= ends_with(e->d_name, ".ldb") || ends_with(e->d_name, ".sst");
        log |= ends_with(e->d_name, ".log");
    }
    int rc = errno == 0 ? LN_OK : ln_detail_set(detail, -errno, "%s: %m", path);
    closedir(dir);
    if (rc != LN_OK)
        return rc;
    if ((tables || log) && !current)
        return ln_detail_set(detail, LN_ECORRUPT, "%s/CURRENT is missing", path);
    if (tables && !log)
        return ln_detail_set(detail, LN_ECORRUPT, "the .log file in %s is missing", path);
    return LN_OK;
}

static void engine_close(struct ln_engine *base) {
    struct engine *e = of(base);
    if (e->db)
        leveldb_close(e->db);
    leveldb_writebatch_destroy(e->batch);
    leveldb_writeoptions_destroy(e->write_sync);
    leveldb_writeoptions_destroy(e->write);
    leveldb_readoptions_destroy(e->read_scan);
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
    e->read_scan = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(e->read_scan, 1);
    leveldb_readoptions_set_fill_cache(e->read_scan, 0); /* a walk would push out what is hot */
    e->write = leveldb_writeoptions_create();
    e->write_sync = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(e->write_sync, 1);
    e->batch = leveldb_writebatch_create();
    return e;
}

static int engine_open(const char *path, const struct ln_engine_options *options,
                       struct ln_detail *detail, struct ln_engine **out) {
    int rc = check_current(path, detail);
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

static int engine_get(struct ln_engine *base, const void *key, size_t klen,
                      struct ln_detail *detail, char **value, size_t *vlen) {
    struct engine *e = of(base);
    char *error = NULL;
    size_t len = 0;
    char *found = leveldb_get(e->db, e->read, key, klen, &len, &error);
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

static void fill_batch(leveldb_writebatch_t *batch, const struct ln_overlay *rows) {
    for (const struct ln_overlay_node *n = ln_overlay_first(rows); n; n = ln_overlay_next(n)) {
        struct ln_overlay_row row = ln_overlay_row(n);
        if (row.deleted)
            leveldb_writebatch_delete(batch, row.key, row.klen);
        else
            leveldb_writebatch_put(batch, row.key, row.klen, row.value, row.vlen);
    }
}

static int engine_write(struct ln_engine *base, const struct ln_overlay *rows, bool sync,
                        struct ln_detail *detail) {
    struct engine *e = of(base);
    char *error = NULL;
    fill_batch(e->batch, rows);
    leveldb_write(e->db, sync ? e->write_sync : e->write, e->batch, &error);
    leveldb_writebatch_clear(e->batch);
    if (rows->bytes > BATCH_KEEP) {
        leveldb_writebatch_destroy(e->batch);
        e->batch = leveldb_writebatch_create();
    }
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

/* ---- iterators */

static struct ln_engine_iter *engine_iter_open(struct ln_engine *base) {
    struct engine *e = of(base);
    struct iter *i = malloc(sizeof *i);
    if (!i)
        return NULL;
    i->base.ops = &ln_engine_leveldb;
    i->it = leveldb_create_iterator(e->db, e->read_scan);
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
    .open = engine_open,
    .close = engine_close,
    .get = engine_get,
    .write = engine_write,
    .disk_bytes = engine_disk_bytes,
    .iter_open = engine_iter_open,
    .iter_close = engine_iter_close,
    .iter_seek = engine_iter_seek,
    .iter_next = engine_iter_next,
    .iter_row = engine_iter_row,
};
