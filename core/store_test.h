/* What the store's tests share: a loop, and a store in a directory of its own. */
#ifndef LUNODE_STORE_TEST_H
#define LUNODE_STORE_TEST_H

#include "store.h"
#include "store_impl.h"
#include "test_dir.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

/* The engines are built without TSan: what they do between threads through atomics would be
 * reported. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "ignore_noninstrumented_modules=1";
}

static struct ln_loop *loop;
static char path[64];

static int set_up(void **state) {
    (void)state;
    test_dir_make(path);
    return ln_loop_open(&loop);
}

static int tear_down(void **state) {
    (void)state;
    assert_int_equal(ln_loop_close(loop), LN_OK);
    test_dir_remove(path);
    return 0;
}

static inline struct ln_store *open_with(const struct ln_store_options *options,
                                         const struct ln_engine_ops *ops) {
    struct ln_store *s = NULL;
    struct ln_detail detail = {{0}};
    if (ln_store_open_engine(loop, path, options, ops, &detail, &s) != LN_OK)
        fail_msg("%s", detail.text);
    return s;
}

static inline struct ln_store *open_store(void) {
    return open_with(NULL, NULL);
}

static inline void put(struct ln_store *s, const char *key, const char *value) {
    assert_int_equal(ln_store_put(s, key, strlen(key), value, strlen(value)), LN_OK);
}

static inline void drop(struct ln_store *s, const char *key) {
    assert_int_equal(ln_store_delete(s, key, strlen(key)), LN_OK);
}

static inline void drop_range(struct ln_store *s, const char *from, const char *to) {
    assert_int_equal(ln_store_delete_range(s, from, strlen(from), to, to ? strlen(to) : 0), LN_OK);
}

static inline void commit(struct ln_store *s) {
    struct ln_detail detail = {{0}};
    if (ln_store_commit(s, false, &detail) != LN_OK)
        fail_msg("%s", detail.text);
}

static inline void assert_found(int rc, struct ln_value *value, const char *expected) {
    assert_int_equal(rc, expected ? LN_OK : -ENOENT);
    if (expected) {
        assert_int_equal(value->len, strlen(expected));
        assert_memory_equal(value->data, expected, value->len);
    }
    ln_value_release(value);
}

static inline void assert_value(struct ln_store *s, const char *key, const char *expected) {
    struct ln_value value = {0};
    assert_found(ln_store_get(s, key, strlen(key), NULL, &value), &value, expected);
}

static inline struct ln_scan *scan(struct ln_store *s, const char *from, const char *to) {
    struct ln_scan *sc = NULL;
    assert_int_equal(ln_store_scan(s, from, strlen(from), to, to ? strlen(to) : 0, false, &sc),
                     LN_OK);
    return sc;
}

/* Walks the rest of the scan, and compares it with "key=value key=value …". */
static inline void assert_rest(struct ln_scan *sc, const char *expected) {
    char met[512] = "";
    struct ln_overlay_row row;
    int rc;
    while ((rc = ln_scan_next(sc, NULL, &row)) == LN_OK) {
        size_t used = strlen(met);
        snprintf(met + used, sizeof met - used, "%s%.*s=%.*s", used ? " " : "", (int)row.klen,
                 row.key, (int)row.vlen, row.value);
    }
    assert_int_equal(rc, LN_EOF);
    assert_string_equal(met, expected);
}

static inline void assert_rows(struct ln_store *s, const char *from, const char *to,
                               const char *expected) {
    struct ln_scan *sc = scan(s, from, to);
    assert_rest(sc, expected);
    ln_scan_close(sc);
}

static inline void assert_rows_back(struct ln_store *s, const char *from, const char *to,
                                    const char *expected) {
    struct ln_scan *sc = NULL;
    assert_int_equal(ln_store_scan(s, from, strlen(from), to, to ? strlen(to) : 0, true, &sc),
                     LN_OK);
    assert_rest(sc, expected);
    ln_scan_close(sc);
}

/* A turn of the loop, which does not wait by itself where nothing keeps it alive. */
static inline void turn(time_t start) {
    assert_true(time(NULL) - start < 30);
    assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    if (!ln_loop_alive(loop))
        (void)poll(NULL, 0, 1);
}

/* Turns the loop until the condition holds, for 30 seconds at most. */
#define WAIT(condition)                                                                            \
    for (time_t start_ = time(NULL); !(condition);)                                                \
    turn(start_)

#endif
