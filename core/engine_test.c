/* The contract of engine.h, on every engine. */
#include "engine.h"
#include "test_dir.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "ignore_noninstrumented_modules=1"; /* the engines are built without it */
}

static const struct ln_engine_ops *ops;
static const struct ln_engine_options options = {.cache = 1 << 20};
static char path[64];

static struct ln_engine *open_engine(void) {
    struct ln_engine *e = NULL;
    struct ln_detail detail = {{0}};
    if (ops->open(path, &options, &detail, &e) != LN_OK)
        fail_msg("%s", detail.text);
    return e;
}

static void put(struct ln_engine *e, const char *key, const char *value) {
    ops->put(e, key, strlen(key), value, strlen(value));
}

static void drop(struct ln_engine *e, const char *key) {
    ops->remove(e, key, strlen(key));
}

static void write_batch(struct ln_engine *e, bool sync) {
    assert_int_equal(ops->write(e, sync, NULL), LN_OK);
}

static void assert_value(struct ln_engine *e, struct ln_engine_snapshot *snapshot, const char *key,
                         const char *expected) {
    char *value = NULL;
    size_t len = 0;
    int rc = ops->get(e, snapshot, key, strlen(key), NULL, &value, &len);
    assert_int_equal(rc, expected ? LN_OK : -ENOENT);
    if (expected) {
        assert_int_equal(len, strlen(expected));
        assert_memory_equal(value, expected, len);
    }
    free(value);
}

static void assert_at(struct ln_engine_iter *it, const char *key, const char *value) {
    struct ln_overlay_row row;
    int rc = ops->iter_row(it, NULL, &row);
    assert_int_equal(rc, key ? LN_OK : LN_EOF);
    if (!key)
        return;
    assert_int_equal(row.klen, strlen(key));
    assert_memory_equal(row.key, key, row.klen);
    assert_int_equal(row.vlen, strlen(value));
    assert_memory_equal(row.value, value, row.vlen);
    assert_false(row.deleted);
}

static void a_batch_is_there_as_a_whole_and_later_writes_win(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    put(e, "a", "1");
    put(e, "", "the empty key");
    put(e, "empty", "");
    put(e, "twice", "1");
    put(e, "twice", "2");
    put(e, "gone", "1");
    drop(e, "gone");
    drop(e, "never");
    assert_value(e, NULL, "a", NULL); /* not yet */
    write_batch(e, false);
    assert_value(e, NULL, "a", "1");
    assert_value(e, NULL, "", "the empty key");
    assert_value(e, NULL, "empty", "");
    assert_value(e, NULL, "twice", "2");
    assert_value(e, NULL, "gone", NULL);
    put(e, "b", "forgotten");
    ops->discard(e);
    write_batch(e, true);
    assert_value(e, NULL, "b", NULL);
    ops->close(e);
}

static void what_is_durable_is_there_after_a_reopen(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    put(e, "a", "1");
    put(e, "b", "1");
    write_batch(e, false);
    drop(e, "a");
    put(e, "b", "2");
    write_batch(e, true);
    put(e, "c", "never written");
    ops->close(e);
    e = open_engine();
    assert_value(e, NULL, "a", NULL);
    assert_value(e, NULL, "b", ops->durable ? "2" : NULL);
    assert_value(e, NULL, "c", NULL);
    ops->close(e);
}

static void iterators_walk_both_ways(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    put(e, "a", "1");
    put(e, "ab", "2");
    put(e, "b\xff", "3");
    write_batch(e, false);
    struct ln_engine_iter *it = ops->iter_open(e, NULL);
    ops->iter_seek(it, "", 0);
    assert_at(it, "a", "1");
    ops->iter_next(it);
    assert_at(it, "ab", "2");
    ops->iter_next(it);
    assert_at(it, "b\xff", "3");
    ops->iter_next(it);
    assert_at(it, NULL, NULL);
    ops->iter_last(it);
    assert_at(it, "b\xff", "3");
    ops->iter_prev(it);
    ops->iter_prev(it);
    assert_at(it, "a", "1");
    ops->iter_prev(it);
    assert_at(it, NULL, NULL);
    ops->iter_seek(it, "aa", 2);
    assert_at(it, "ab", "2");
    ops->iter_seek_before(it, "ab", 2);
    assert_at(it, "a", "1");
    ops->iter_seek_before(it, "z", 1);
    assert_at(it, "b\xff", "3");
    ops->iter_seek_before(it, "a", 1);
    assert_at(it, NULL, NULL);
    ops->iter_seek(it, "c", 1);
    assert_at(it, NULL, NULL);
    ops->iter_close(it);
    ops->close(e);
}

static void an_empty_engine_has_no_rows_either_way(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    struct ln_engine_iter *it = ops->iter_open(e, NULL);
    ops->iter_seek(it, "", 0);
    assert_at(it, NULL, NULL);
    ops->iter_last(it);
    assert_at(it, NULL, NULL);
    ops->iter_seek_before(it, "a", 1);
    assert_at(it, NULL, NULL);
    ops->iter_close(it);
    assert_int_equal(ops->disk_bytes(e), 0);
    ops->close(e);
}

static void iterators_and_snapshots_see_the_rows_as_they_were(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    put(e, "a", "1");
    put(e, "c", "1");
    write_batch(e, false);
    struct ln_engine_snapshot *snapshot = ops->snapshot(e);
    struct ln_engine_iter *early = ops->iter_open(e, NULL);
    put(e, "a", "2");
    put(e, "b", "2");
    drop(e, "c");
    write_batch(e, false);
    struct ln_engine_iter *late = ops->iter_open(e, snapshot), *now = ops->iter_open(e, NULL);
    ops->iter_seek(early, "", 0);
    ops->iter_seek(late, "", 0);
    ops->iter_last(now);
    assert_at(early, "a", "1");
    assert_at(late, "a", "1");
    assert_at(now, "b", "2");
    ops->iter_next(early);
    ops->iter_next(late);
    assert_at(early, "c", "1");
    assert_at(late, "c", "1");
    assert_value(e, snapshot, "a", "1");
    assert_value(e, snapshot, "b", NULL);
    assert_value(e, snapshot, "c", "1");
    assert_value(e, NULL, "c", NULL);
    ops->iter_close(now);
    ops->iter_close(late);
    ops->iter_close(early);
    ops->release(e, snapshot);
    ops->close(e);
}

static void a_range_goes_in_the_order_of_the_batch(void **state) {
    (void)state;
    if (!ops->ranges)
        return;
    struct ln_engine *e = open_engine();
    static const char *const keys[] = {"", "a", "b", "bb", "c", "\xff\xff"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        put(e, keys[i], "1");
    write_batch(e, false);
    put(e, "ba", "before");
    ops->remove_range(e, "b", 1, "c", 1);
    put(e, "bb", "after");
    write_batch(e, false);
    assert_value(e, NULL, "a", "1");
    assert_value(e, NULL, "b", NULL);
    assert_value(e, NULL, "ba", NULL);
    assert_value(e, NULL, "bb", "after");
    assert_value(e, NULL, "c", "1");
    ops->remove_range(e, "a", 1, NULL, 0);
    write_batch(e, false);
    assert_value(e, NULL, "", "1");
    assert_value(e, NULL, "a", NULL);
    assert_value(e, NULL, "\xff\xff", NULL);
    ops->compact(e, "", 0, NULL, 0);
    assert_value(e, NULL, "", "1");
    ops->close(e);
}

/* Reads on this thread, while another writes: a batch is seen whole, or not at all. */

static atomic_bool writer_done;

static void *write_pairs(void *arg) {
    struct ln_engine *e = arg;
    for (int i = 0; i < 300; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        put(e, "left", value);
        put(e, "right", value);
        (void)ops->write(e, false, NULL);
    }
    atomic_store(&writer_done, true);
    return NULL;
}

static void reads_go_on_while_a_thread_writes(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    pthread_t writer;
    put(e, "left", "x");
    put(e, "right", "x");
    write_batch(e, false);
    atomic_store(&writer_done, false);
    assert_int_equal(pthread_create(&writer, NULL, write_pairs, e), 0);
    while (!atomic_load(&writer_done)) {
        struct ln_engine_snapshot *snapshot = ops->snapshot(e);
        char *left = NULL, *right = NULL;
        size_t left_len = 0, right_len = 0;
        assert_int_equal(ops->get(e, snapshot, "left", 4, NULL, &left, &left_len), LN_OK);
        assert_int_equal(ops->get(e, snapshot, "right", 5, NULL, &right, &right_len), LN_OK);
        assert_int_equal(left_len, right_len);
        assert_memory_equal(left, right, left_len);
        free(left);
        free(right);
        ops->release(e, snapshot);
    }
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_value(e, NULL, "right", "299");
    ops->close(e);
}

/* ---- each test on each engine */

static const char *const engines[] = {"leveldb", "rocksdb", "memory"};

static void (*const contract[])(void **state) = {
    a_batch_is_there_as_a_whole_and_later_writes_win,
    what_is_durable_is_there_after_a_reopen,
    iterators_walk_both_ways,
    an_empty_engine_has_no_rows_either_way,
    iterators_and_snapshots_see_the_rows_as_they_were,
    a_range_goes_in_the_order_of_the_batch,
    reads_go_on_while_a_thread_writes,
};

enum { SENTENCES = sizeof contract / sizeof *contract };

static void run_contract(const char *engine) {
    ops = ln_engine_find(engine);
    assert_non_null(ops);
    if (ops->check && ops->check(NULL) != LN_OK)
        skip();
    for (size_t i = 0; i < SENTENCES; i++) {
        test_dir_make(path);
        contract[i](NULL);
        test_dir_remove(path);
    }
}

static void leveldb_keeps_the_contract(void **state) {
    (void)state;
    run_contract(engines[0]);
}

static void rocksdb_keeps_the_contract(void **state) {
    (void)state;
    run_contract(engines[1]);
}

static void memory_keeps_the_contract(void **state) {
    (void)state;
    run_contract(engines[2]);
}

static void there_is_no_other_engine(void **state) {
    (void)state;
    assert_null(ln_engine_find("granite"));
    assert_null(ln_engine_find(""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leveldb_keeps_the_contract),
        cmocka_unit_test(rocksdb_keeps_the_contract),
        cmocka_unit_test(memory_keeps_the_contract),
        cmocka_unit_test(there_is_no_other_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
