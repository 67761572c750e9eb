/* What log_test.c and log_damage_test.c begin each test with: a loop, a directory, a model, and
 * short ways to a log in it. */
#ifndef LUNODE_LOG_FIXTURE_H
#define LUNODE_LOG_FIXTURE_H

#include "log.h"
#include "log_test.h"

enum { SMALL = 4096 };

static struct ln_loop *loop;
static char dir[64];
static struct model model;

/* In memory where that can be: nothing is to be seen of a sync here, but how long it takes. */
static inline void make_dir(void) {
    static const char template[] = "/dev/shm/lunode_test_XXXXXX";
    memcpy(dir, template, sizeof template);
    if (!mkdtemp(dir))
        test_dir_make(dir);
}

static inline int setup(void **state) {
    (void)state;
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    make_dir();
    model_init(&model);
    return 0;
}

static inline int setup_on_disk(void **state) {
    (void)state;
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    test_dir_make(dir);
    model_init(&model);
    return 0;
}

static inline int teardown(void **state) {
    (void)state;
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(ln_loop_close(loop), LN_OK);
    test_dir_remove(dir);
    return 0;
}

static inline struct ln_log *open_with(const struct ln_log_options *options) {
    struct ln_log *log = NULL;
    struct ln_detail detail = {{0}};
    int rc = ln_log_open(loop, dir, options, &detail, &log);
    if (rc != LN_OK)
        print_error("%s\n", detail.text);
    assert_int_equal(rc, LN_OK);
    return log;
}

static inline struct ln_log *open_log(void) {
    return open_with(&(struct ln_log_options){.create = true, .segment_size = 64 * 1024});
}

static inline void close_log(struct ln_log *log) {
    assert_int_equal(ln_log_close(log, NULL, NULL), LN_OK);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
}

static inline int refused(char text[512]) {
    struct ln_log *log = NULL;
    struct ln_detail detail = {{0}};
    int rc = ln_log_open(loop, dir, &(struct ln_log_options){.segment_size = SMALL}, &detail, &log);
    if (rc == LN_OK)
        close_log(log);
    memcpy(text, detail.text, sizeof detail.text);
    return rc;
}

static inline void put_many(struct ln_log *log, uint64_t count, uint64_t term, size_t len) {
    while (count-- > 0)
        assert_int_equal(log_put(log, &model, term, len), LN_OK);
}

/* A sync, and what was told of it. */
struct waiter {
    struct ln_log_sync sync;
    int calls, status, order;
    uint64_t index;
};

static int told;

static inline void on_synced(struct ln_log_sync *sync, int status, uint64_t index) {
    struct waiter *w = LN_OWNER(struct waiter, sync, sync);
    w->calls++;
    w->status = status;
    w->index = index;
    w->order = ++told;
}

static inline void sync_log(struct ln_log *log) {
    struct waiter w = {.calls = 0};
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    assert_int_equal(w.calls, 0);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.status, LN_OK);
}

#define TEST(f)         cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_ON_DISK(f) cmocka_unit_test_setup_teardown(f, setup_on_disk, teardown)

#endif
