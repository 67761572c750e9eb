/* Rows that come and go between two flushes: the engine hears nothing of them, and nothing that it
 * has comes back. */
#include "store_test.h"

#include <errno.h>
#include <stdatomic.h>

/* ---- an engine that counts, and whose batch may come through though it fails */

static struct ln_engine_ops counting;
static const struct ln_engine_ops *real;
static atomic_int written, removals;
static atomic_bool fails;

static void counting_put(struct ln_engine *engine, const void *key, size_t klen, const void *value,
                         size_t vlen) {
    atomic_fetch_add(&written, 1);
    real->put(engine, key, klen, value, vlen);
}

static void counting_remove(struct ln_engine *engine, const void *key, size_t klen) {
    atomic_fetch_add(&removals, 1);
    real->remove(engine, key, klen);
}

static int counting_write(struct ln_engine *engine, bool sync, struct ln_detail *detail) {
    int rc = real->write(engine, sync, detail);
    return rc == LN_OK && atomic_load(&fails) ? ln_detail_set(detail, -ENOSPC, "it came through")
                                              : rc;
}

static int counting_open(const char *dir, const struct ln_engine_options *options,
                         struct ln_detail *detail, struct ln_engine **out) {
    int rc = real->open(dir, options, detail, out);
    if (rc == LN_OK)
        (*out)->ops = &counting;
    return rc;
}

static struct ln_store *open_counting(void) {
    real = ln_engine_find("leveldb");
    counting = *real;
    counting.open = counting_open;
    counting.put = counting_put;
    counting.remove = counting_remove;
    counting.write = counting_write;
    atomic_store(&written, 0);
    atomic_store(&removals, 0);
    atomic_store(&fails, false);
    return open_with(NULL, &counting);
}

static void put_new(struct ln_store *s, const char *key) {
    assert_int_equal(ln_store_get(s, key, strlen(key), NULL, &(struct ln_value){0}), -ENOENT);
    assert_int_equal(ln_store_put_new(s, key, strlen(key), "new", 3), LN_OK);
}

static void assert_absent(struct ln_store *s, const char *key) {
    struct ln_overlay_row row;
    assert_int_equal(ln_store_get(s, key, strlen(key), NULL, &(struct ln_value){0}), -ENOENT);
    struct ln_scan *sc = NULL;
    assert_int_equal(ln_store_scan(s, key, strlen(key), NULL, 0, false, &sc), LN_OK);
    int rc = ln_scan_next(sc, NULL, &row);
    assert_true(rc == LN_EOF ||
                (rc == LN_OK && ln_key_compare(row.key, row.klen, key, strlen(key)) != 0));
    ln_scan_close(sc);
}

/* ---- */

static void the_engine_hears_nothing_of_rows_that_came_and_went(void **state) {
    (void)state;
    struct ln_store *s = open_counting();
    for (int i = 0; i < 10; i++) {
        char key[2] = {(char)('a' + i), 0};
        put_new(s, key);
        ln_store_begin(s);
        drop(s, key);
        ln_store_begin(s);
        assert_absent(s, key);
    }
    put_new(s, "c"); /* one comes again */
    commit(s);
    assert_int_equal(atomic_load(&removals), 0);
    assert_int_equal(atomic_load(&written), 1);
    drop(s, "c"); /* by now the engine has it */
    put(s, "z", "old");
    drop(s, "z"); /* who puts does not always know */
    commit(s);
    assert_int_equal(atomic_load(&removals), 2);
    ln_store_close(s);
}

static void what_the_engine_has_stays_deleted(void **state) {
    (void)state;
    struct ln_store *s = open_counting();
    put(s, "a", "old");
    put(s, "b", "old");
    put(s, "c", "old");
    commit(s);
    drop(s, "a");
    drop_range(s, "b", "c");
    ln_store_begin(s);
    put_new(s, "a"); /* over a tombstone, and over a deleted range */
    put_new(s, "b");
    ln_store_begin(s);
    drop(s, "a");
    drop(s, "b");
    ln_store_begin(s);
    assert_absent(s, "a");
    assert_absent(s, "b");
    commit(s);
    assert_absent(s, "a");
    assert_absent(s, "b");
    ln_store_close(s);
    s = open_store();
    assert_absent(s, "a");
    assert_absent(s, "b");
    assert_value(s, "c", "old");
    ln_store_close(s);
}

static void a_batch_that_came_through_though_it_failed_brings_nothing_back(void **state) {
    (void)state;
    struct ln_store *s = open_counting();
    put_new(s, "k");
    atomic_store(&fails, true);
    assert_int_equal(ln_store_commit(s, true, NULL), -ENOSPC);
    atomic_store(&fails, false);
    drop(s, "k");
    ln_store_begin(s);
    commit(s);
    assert_absent(s, "k");
    ln_store_close(s);
    s = open_store();
    assert_absent(s, "k");
    ln_store_close(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_engine_hears_nothing_of_rows_that_came_and_went),
        TEST(what_the_engine_has_stays_deleted),
        TEST(a_batch_that_came_through_though_it_failed_brings_nothing_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
