/* Measures core/store beside LevelDB itself: random reads of data that the cache does not hold,
 * reads while a flush and a compaction run, writes, and start with many rows. bench/run calls it.
 *
 *   store_bench fill DIR ROWS       a data directory with so many rows (16-byte keys, 100-byte
 * values) store_bench get DIR ROWS CACHE READS      ours: random reads, CACHE bytes of cache
 *   store_bench leveldb DIR ROWS CACHE READS  the same rows through leveldb_get and nothing else
 *   store_bench busy DIR ROWS CACHE READS     reads, quiet and then with writes that flush and
 * compact store_bench put DIR ROWS                  writes under a log store_bench start DIR opens
 * and reads one row
 *
 * Prints lines of "name value". */
#include "loop.h"
#include "store.h"

#include <errno.h>
#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { VALUE = 100, KEY = 16 };

static uint64_t seed = 88172645463325252u;

static uint64_t random_number(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static double seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *what) {
    (void)fprintf(stderr, "store_bench: %s\n", what);
    exit(1);
}

static void make_key(uint64_t n, char key[KEY + 1]) {
    (void)snprintf(key, KEY + 1, "%016llx", (unsigned long long)(n * 0x9e3779b97f4a7c15u));
}

/* Half of it compresses, as db_bench has it. */
static void make_value(char value[VALUE]) {
    for (size_t i = 0; i < VALUE / 2; i += sizeof(uint64_t)) {
        uint64_t r = random_number();
        memcpy(value + i, &r, i + sizeof r <= VALUE ? sizeof r : VALUE - i);
    }
    memset(value + VALUE / 2, 'x', VALUE / 2);
}

static struct ln_loop *loop;

static struct ln_store *open_store(const char *dir, size_t cache) {
    struct ln_store_options options = LN_STORE_OPTIONS_DEFAULT;
    struct ln_store *s = NULL;
    struct ln_detail detail;
    options.cache = cache;
    if (ln_loop_open(&loop) != LN_OK || ln_store_open(loop, dir, &options, &detail, &s) != LN_OK)
        fail(detail.text);
    return s;
}

static void close_store(struct ln_store *s) {
    ln_store_close(s);
    (void)ln_loop_close(loop);
}

/* Rows from `from` on, each an entry; waits where there is no room, as a proposer would. */
static void put_rows(struct ln_store *s, uint64_t from, uint64_t count) {
    char key[KEY + 1], value[VALUE];
    for (uint64_t i = from; i < from + count; i++) {
        make_key(i, key);
        make_value(value);
        if (ln_store_put(s, key, KEY, value, VALUE) != LN_OK ||
            ln_store_advance(s, ln_store_applied(s) + 1) != LN_OK)
            fail("a write failed");
        if (i % 64 == 0)
            (void)ln_loop_step(loop, 0);
        while (ln_store_room(s, NULL) == -EAGAIN)
            (void)ln_loop_step(loop, LN_SECOND / 100);
    }
}

static void fill(const char *dir, uint64_t rows) {
    struct ln_store *s = open_store(dir, 8 << 20);
    put_rows(s, 0, rows);
    if (ln_store_commit(s, true, NULL) != LN_OK)
        fail("the commit failed");
    close_store(s);
}

static void report(const char *name, uint64_t reads, double start, double cpu) {
    printf("%s_per_s %.0f\n%s_cpu_us %.3f\n", name, (double)reads / (seconds() - start), name,
           (cpu_seconds() - cpu) / (double)reads * 1e6);
}

static void get_one(struct ln_store *s, uint64_t rows) {
    char key[KEY + 1];
    struct ln_value value;
    make_key(random_number() % rows, key);
    if (ln_store_get(s, key, KEY, NULL, &value) != LN_OK || value.len != VALUE)
        fail("a row is missing");
    ln_value_release(&value);
}

static void get(const char *dir, uint64_t rows, size_t cache, uint64_t reads) {
    struct ln_store *s = open_store(dir, cache);
    for (uint64_t i = 0; i < reads / 2; i++) /* the caches fill */
        get_one(s, rows);
    double start = seconds(), cpu = cpu_seconds();
    for (uint64_t i = 0; i < reads; i++)
        get_one(s, rows);
    report("get", reads, start, cpu);
    close_store(s);
}

static void bare(const char *dir, uint64_t rows, size_t cache, uint64_t reads) {
    char path[4096], *error = NULL;
    (void)snprintf(path, sizeof path, "%s/db", dir);
    leveldb_options_t *options = leveldb_options_create();
    leveldb_options_set_cache(options, leveldb_cache_create_lru(cache));
    leveldb_options_set_filter_policy(options, leveldb_filterpolicy_create_bloom(10));
    leveldb_options_set_max_open_files(options, 1000);
    leveldb_t *db = leveldb_open(options, path, &error);
    if (!db)
        fail(error);
    leveldb_readoptions_t *read = leveldb_readoptions_create();
    double start = 0, cpu = 0;
    for (uint64_t i = 0; i < reads + reads / 2; i++) {
        char key[KEY + 1];
        size_t len;
        if (i == reads / 2) {
            start = seconds();
            cpu = cpu_seconds();
        }
        make_key(random_number() % rows, key);
        char *value = leveldb_get(db, read, key, KEY, &len, &error);
        if (!value)
            fail("a row is missing");
        leveldb_free(value);
    }
    report("leveldb", reads, start, cpu);
    leveldb_close(db);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One read at a time, as between two commands; each with the writes before it. */
static double p99(struct ln_store *s, uint64_t rows, uint64_t reads, uint64_t writes_each) {
    double *times = calloc(reads, sizeof *times);
    uint64_t next = rows;
    if (!times)
        fail("no memory");
    for (uint64_t i = 0; i < reads; i++) {
        if (writes_each)
            put_rows(s, next, writes_each);
        next += writes_each;
        (void)ln_loop_step(loop, 0);
        double start = seconds();
        get_one(s, rows);
        times[i] = seconds() - start;
    }
    qsort(times, reads, sizeof *times, by_value);
    double result = times[reads * 99 / 100] * 1e6;
    free(times);
    return result;
}

static void busy(const char *dir, uint64_t rows, size_t cache, uint64_t reads) {
    struct ln_store_stats before, after;
    struct ln_store *s = open_store(dir, cache);
    (void)p99(s, rows, reads, 0);
    printf("quiet_p99_us %.1f\n", p99(s, rows, reads, 0));
    ln_store_stats(s, &before);
    printf("busy_p99_us %.1f\n", p99(s, rows, reads, 8));
    ln_store_stats(s, &after);
    printf("flushes_meanwhile %llu\n", (unsigned long long)(after.batches - before.batches));
    close_store(s);
}

static void put(const char *dir, uint64_t rows) {
    struct ln_store *s = open_store(dir, 8 << 20);
    double start = seconds(), cpu = cpu_seconds();
    put_rows(s, 0, rows);
    printf("put_in_memory_and_flushed_per_s %.0f\n", (double)rows / (seconds() - start));
    if (ln_store_commit(s, true, NULL) != LN_OK)
        fail("the commit failed");
    report("put", rows, start, cpu);
    close_store(s);
}

static void start(const char *dir) {
    char key[KEY + 1];
    double begin = seconds();
    struct ln_store *s = open_store(dir, 64 << 20);
    struct ln_value value;
    make_key(1, key);
    if (ln_store_get(s, key, KEY, NULL, &value) != LN_OK)
        fail("a row is missing");
    ln_value_release(&value);
    printf("start_ms %.1f\n", (seconds() - begin) * 1e3);
    close_store(s);
}

static uint64_t number(const char *text) {
    return strtoull(text, NULL, 10);
}

int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[1] : "";
    if (strcmp(what, "fill") == 0 && argc == 4)
        fill(argv[2], number(argv[3]));
    else if (strcmp(what, "put") == 0 && argc == 4)
        put(argv[2], number(argv[3]));
    else if (strcmp(what, "start") == 0 && argc == 3)
        start(argv[2]);
    else if (strcmp(what, "get") == 0 && argc == 6)
        get(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
    else if (strcmp(what, "leveldb") == 0 && argc == 6)
        bare(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
    else if (strcmp(what, "busy") == 0 && argc == 6)
        busy(argv[2], number(argv[3]), number(argv[4]), number(argv[5]));
    else
        fail("see the head of bench/store_bench.c for its arguments");
    return 0;
}
