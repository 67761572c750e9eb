#include "log.h"

#include "log_format.h"
#include "log_test.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL = 4096 };

static struct ln_loop *loop;
static char dir[64];
static struct model model;

/* In memory where that can be: nothing is to be seen of a sync here, but how long it takes. */
static void make_dir(void) {
    static const char template[] = "/dev/shm/lunode_test_XXXXXX";
    memcpy(dir, template, sizeof template);
    if (!mkdtemp(dir))
        test_dir_make(dir);
}

static int setup(void **state) {
    (void)state;
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    make_dir();
    model_init(&model);
    return 0;
}

static int setup_on_disk(void **state) {
    (void)state;
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    test_dir_make(dir);
    model_init(&model);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(ln_loop_close(loop), LN_OK);
    test_dir_remove(dir);
    return 0;
}

static uint64_t full(uint64_t calm, uint64_t full) {
    return getenv("LUNODE_FULL") ? full : calm;
}

static struct ln_log *open_with(const struct ln_log_options *options) {
    struct ln_log *log = NULL;
    struct ln_detail detail = {{0}};
    int rc = ln_log_open(loop, dir, options, &detail, &log);
    if (rc != LN_OK)
        print_error("%s\n", detail.text);
    assert_int_equal(rc, LN_OK);
    return log;
}

static struct ln_log *open_log(void) {
    return open_with(&(struct ln_log_options){.create = true, .segment_size = 64 * 1024});
}

static void close_log(struct ln_log *log) {
    assert_int_equal(ln_log_close(log, NULL, NULL), LN_OK);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
}

static struct ln_log *reopen(struct ln_log *log) {
    close_log(log);
    return open_log();
}

static int refused(char text[512]) {
    struct ln_log *log = NULL;
    struct ln_detail detail = {{0}};
    int rc = ln_log_open(loop, dir, &(struct ln_log_options){.segment_size = SMALL}, &detail, &log);
    if (rc == LN_OK)
        close_log(log);
    memcpy(text, detail.text, sizeof detail.text);
    return rc;
}

static void put_many(struct ln_log *log, uint64_t count, uint64_t term, size_t len) {
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

static void on_synced(struct ln_log_sync *sync, int status, uint64_t index) {
    struct waiter *w = LN_OWNER(struct waiter, sync, sync);
    w->calls++;
    w->status = status;
    w->index = index;
    w->order = ++told;
}

static void sync_log(struct ln_log *log) {
    struct waiter w = {.calls = 0};
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    assert_int_equal(w.calls, 0);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.status, LN_OK);
}

/* ---- entries */

static void a_new_log_is_empty(void **state) {
    (void)state;
    uint64_t term = 7;
    struct ln_log *log = open_log();
    assert_int_equal(ln_log_first(log), 1);
    assert_int_equal(ln_log_last(log), 0);
    assert_int_equal(ln_log_synced(log), 0);
    assert_int_equal(ln_log_term(log, 0, &term), LN_OK);
    assert_int_equal(term, 0);
    assert_int_equal(ln_log_term(log, 1, &term), -ERANGE);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void entries_are_there_before_and_after_flush_and_reopen(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 100, 1, 0);
    put_many(log, 100, 1, 1);
    put_many(log, 100, 3, 700);
    check_log(log, &model);
    assert_int_equal(ln_log_flush(log), LN_OK);
    check_log(log, &model);
    log = reopen(log);
    assert_int_equal(ln_log_synced(log), 300);
    check_log(log, &model);
    put_many(log, 200, 4, 333);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void appends_of_one_iteration_leave_in_one_write(void **state) {
    (void)state;
    struct ln_log_stats before, stats;
    struct ln_log *log = open_log();
    ln_log_stats(log, &before);
    put_many(log, 50, 1, 100);
    ln_log_stats(log, &stats);
    assert_int_equal(stats.writes, before.writes);
    assert_int_equal(stats.unwritten_bytes, 50 * 144);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    ln_log_stats(log, &stats);
    assert_int_equal(stats.writes, before.writes + 1);
    assert_int_equal(stats.written_bytes, 50 * 144);
    assert_int_equal(stats.appends, 50);
    close_log(log);
}

static void an_entry_larger_than_a_segment_gets_one_of_its_own(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 3, 1, 10);
    put_many(log, 1, 1, 900000);
    put_many(log, 3, 1, 10);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void what_cannot_be_appended_changes_nothing(void **state) {
    (void)state;
    uint64_t index = 77;
    struct ln_log *log = open_log();
    put_many(log, 2, 5, 10);
    assert_int_equal(ln_log_append(log, 4, 0, "x", 1, &index), -EINVAL);
    assert_non_null(strstr(ln_log_detail(log), "term"));
    assert_int_equal(ln_log_append(log, 5, 128, "x", 1, &index), -EINVAL);
    assert_non_null(strstr(ln_log_detail(log), "type"));
    assert_int_equal(ln_log_append(log, 5, 0, "x", LN_LOG_MAX_PAYLOAD + 1, &index), -EMSGSIZE);
    assert_int_equal(ln_log_set_state(log, 9, "x", LN_LOG_MAX_VOTE + 1), -EMSGSIZE);
    assert_int_equal(ln_log_truncate_suffix(log, 0), -EINVAL);
    assert_int_equal(ln_log_truncate_prefix(log, UINT64_MAX, 9), -EINVAL);
    assert_int_equal(index, 77);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void the_last_index_there_is(void **state) {
    (void)state;
    uint64_t index = 0;
    struct ln_log *log = open_log();
    assert_int_equal(ln_log_truncate_prefix(log, LN_LOG_MAX_INDEX - 1, 1), LN_OK);
    assert_int_equal(ln_log_append(log, 1, 0, "x", 1, &index), LN_OK);
    assert_int_equal(index, LN_LOG_MAX_INDEX);
    assert_int_equal(ln_log_append(log, 1, 0, "x", 1, &index), -EOVERFLOW);
    log = reopen(log);
    assert_int_equal(ln_log_last(log), LN_LOG_MAX_INDEX);
    close_log(log);
}

/* ---- reading */

static void a_cursor_reads_ranges_from_memory_and_from_disk(void **state) {
    (void)state;
    struct ln_log_entry e;
    struct ln_log *log = open_with(
        &(struct ln_log_options){.create = true, .segment_size = 64 * 1024, .memory = 2000});
    for (int round = 0; round < 40; round++) {
        put_many(log, 25, 1, 100);
        assert_int_equal(ln_log_flush(log), LN_OK);
    }
    for (uint64_t from = 1; from <= 1000; from += 37) {
        struct ln_log_cursor c;
        ln_log_cursor_open(log, from, from + 50, &c);
        uint64_t i = from;
        for (; ln_log_cursor_next(&c, &e) == LN_OK; i++)
            check_entry(&model, &e, i);
        assert_int_equal(i, from + 50 < 1000 ? from + 51 : 1001);
        ln_log_cursor_close(&c);
    }
    close_log(log);
}

static void a_cursor_follows_the_log_as_it_grows_and_changes(void **state) {
    (void)state;
    struct ln_log_entry e;
    struct ln_log_cursor c;
    struct ln_log *log = open_with(
        &(struct ln_log_options){.create = true, .segment_size = 16 * 1024, .memory = 1000});
    ln_log_cursor_open(log, 1, UINT64_MAX, &c);
    assert_int_equal(ln_log_cursor_next(&c, &e), LN_EOF);
    uint64_t next = 1;
    for (int round = 0; round < 60; round++) {
        put_many(log, 11, 1, 150);
        for (int i = 0; i < 9; i++)
            assert_int_equal(log_put(log, &model, 1, 20), LN_OK);
        if (round % 3 == 0)
            assert_int_equal(ln_log_flush(log), LN_OK);
        for (; ln_log_cursor_next(&c, &e) == LN_OK; next++)
            check_entry(&model, &e, next);
        assert_int_equal(next, model.last + 1);
        if (round % 10 == 4) { /* what it has read is dropped, and other entries come there */
            assert_int_equal(ln_log_truncate_suffix(log, model.last - 1), LN_OK);
            model_suffix(&model, model.last - 1);
            put_many(log, 4, 1, 77);
        }
        if (round % 10 == 8) {
            assert_int_equal(ln_log_truncate_prefix(log, next - 1, 1), LN_OK);
            model_prefix(&model, next - 1, 1);
        }
    }
    assert_int_equal(ln_log_truncate_prefix(log, next + 5, 2), LN_OK);
    assert_int_equal(ln_log_cursor_next(&c, &e), -ERANGE);
    assert_non_null(strstr(ln_log_detail(log), "is gone"));
    ln_log_cursor_close(&c);
    close_log(log);
}

/* ---- truncation */

static void a_suffix_is_dropped_and_stays_so(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 10, 1, 10);
    put_many(log, 10, 2, 10);
    assert_int_equal(ln_log_truncate_suffix(log, 21), LN_OK);
    assert_int_equal(ln_log_last(log), 20);
    assert_int_equal(ln_log_truncate_suffix(log, 8), LN_OK);
    model_suffix(&model, 8);
    check_log(log, &model);
    put_many(log, 5, 1, 20); /* an older term than what was dropped */
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_truncate_suffix(log, 1), LN_OK);
    model_suffix(&model, 1);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void a_prefix_is_dropped_with_its_segments(void **state) {
    (void)state;
    struct ln_log_stats stats;
    struct ln_log *log = open_log();
    put_many(log, 2000, 1, 100);
    sync_log(log);
    ln_log_stats(log, &stats);
    assert_true(stats.segments >= 4);
    assert_int_equal(ln_log_truncate_prefix(log, 1900, 1), LN_OK);
    model_prefix(&model, 1900, 1);
    check_log(log, &model);
    sync_log(log);
    ln_log_stats(log, &stats);
    assert_true(stats.segments <= 2);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_truncate_prefix(log, 1800, 1), LN_OK); /* gone already */
    assert_int_equal(ln_log_truncate_suffix(log, 1900), -EINVAL);
    assert_int_equal(ln_log_truncate_prefix(log, 2000, 1), LN_OK);
    model_prefix(&model, 2000, 1);
    check_log(log, &model);
    put_many(log, 3, 2, 10);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void a_prefix_past_the_end_or_of_another_term_resets(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 20, 1, 100);
    assert_int_equal(ln_log_set_state(log, 3, "me", 2), LN_OK);
    model_state(&model, 3, "me", 2);
    assert_int_equal(ln_log_truncate_prefix(log, 1000, 5), LN_OK);
    model_prefix(&model, 1000, 5);
    assert_int_equal(ln_log_synced(log), 0);
    check_log(log, &model);
    put_many(log, 20, 5, 100);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_truncate_prefix(log, 1010, 4), LN_OK);
    model_prefix(&model, 1010, 4);
    assert_int_equal(ln_log_last(log), 1010);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void the_state_outlives_the_segment_that_it_was_written_to(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    assert_int_equal(ln_log_set_state(log, 42, "127.1.0.1:7000", 14), LN_OK);
    model_state(&model, 42, "127.1.0.1:7000", 14);
    put_many(log, 2000, 1, 100);
    assert_int_equal(ln_log_truncate_prefix(log, 2000, 1), LN_OK);
    model_prefix(&model, 2000, 1);
    sync_log(log);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_set_state(log, 43, NULL, 0), LN_OK);
    model_state(&model, 43, "", 0);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

/* ---- sync */

static void a_sync_covers_all_that_was_appended(void **state) {
    (void)state;
    struct waiter w = {.calls = 0};
    struct ln_log *log = open_log();
    put_many(log, 5, 1, 100);
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    assert_int_equal(ln_log_synced(log), 0);
    assert_true(ln_loop_alive(loop));
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.status, LN_OK);
    assert_int_equal(w.index, 5);
    assert_int_equal(ln_log_synced(log), 5);
    close_log(log);
}

static void syncs_complete_in_order_and_share_what_gathered(void **state) {
    (void)state;
    enum { WAITERS = 50 };
    static struct waiter w[WAITERS];
    struct ln_log_stats stats;
    struct ln_log *log = open_log();
    memset(w, 0, sizeof w);
    told = 0;
    for (int i = 0; i < WAITERS; i++) {
        put_many(log, 3, 1, 50);
        assert_int_equal(ln_log_sync(log, &w[i].sync, on_synced), LN_OK);
        if (i % 10 == 9) {
            assert_int_equal(ln_log_flush(log), LN_OK);
            put_many(log, 1, 1, 50);
        }
    }
    assert_int_equal(ln_loop_run(loop), LN_OK);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(w[i].calls, 1);
        assert_int_equal(w[i].order, i + 1);
        assert_true(w[i].index >= (uint64_t)(i + 1) * 3);
    }
    ln_log_stats(log, &stats);
    assert_in_range(stats.syncs, 1, 3);
    assert_true(stats.synced_bytes > 0 && stats.last_sync_seconds > 0);
    close_log(log);
}

static void a_sync_of_nothing_is_told_as_well(void **state) {
    (void)state;
    struct waiter w = {.calls = 0};
    struct ln_log *log = open_log();
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    assert_int_equal(w.calls, 0);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.status, LN_OK);
    close_log(log);
}

static void what_is_dropped_while_it_syncs_is_not_synced(void **state) {
    (void)state;
    struct waiter w = {.calls = 0};
    struct ln_log *log = open_log();
    put_many(log, 10, 1, 100);
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    assert_int_equal(ln_log_flush(log), LN_OK); /* it is under way */
    assert_int_equal(ln_log_truncate_suffix(log, 8), LN_OK);
    model_suffix(&model, 8);
    put_many(log, 5, 2, 100);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.index, 7);
    assert_int_equal(ln_log_synced(log), 7);
    sync_log(log);
    assert_int_equal(ln_log_synced(log), 12);
    close_log(log);
}

struct chain {
    struct ln_log_sync sync;
    struct ln_log *log;
    int left;
};

static void on_link(struct ln_log_sync *sync, int status, uint64_t index) {
    struct chain *c = LN_OWNER(struct chain, sync, sync);
    assert_int_equal(status, LN_OK);
    assert_int_equal(index, ln_log_last(c->log));
    if (--c->left > 0) {
        if (c->left % 2)
            assert_int_equal(log_put(c->log, &model, 1, 10), LN_OK);
        assert_int_equal(ln_log_sync(c->log, &c->sync, on_link), LN_OK);
    } else {
        assert_int_equal(ln_log_close(c->log, NULL, NULL), LN_OK);
    }
}

static void a_callback_may_sync_again_and_close(void **state) {
    (void)state;
    struct chain c = {.log = open_log(), .left = 12};
    struct waiter w = {.calls = 0};
    assert_int_equal(log_put(c.log, &model, 1, 10), LN_OK);
    assert_int_equal(ln_log_sync(c.log, &c.sync, on_link), LN_OK);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(c.left, 0);
    assert_int_equal(w.calls, 0);
    struct ln_log *log = open_log();
    check_log(log, &model);
    close_log(log);
}

static void count_close(void *arg) {
    ++*(int *)arg;
}

static void closing_syncs_and_tells_those_who_wait(void **state) {
    (void)state;
    int closed = 0;
    struct waiter w[3] = {{.calls = 0}};
    struct ln_log *log = open_log();
    for (int i = 0; i < 3; i++) {
        put_many(log, 10, 1, 100);
        assert_int_equal(ln_log_sync(log, &w[i].sync, on_synced), LN_OK);
        if (i == 0)
            assert_int_equal(ln_log_flush(log), LN_OK);
    }
    assert_int_equal(ln_log_close(log, count_close, &closed), LN_OK);
    assert_int_equal(w[0].calls + w[1].calls + w[2].calls + closed, 0);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(closed, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(w[i].calls, 1);
        assert_int_equal(w[i].status, LN_OK);
        assert_int_equal(w[i].index, 30);
    }
    log = open_log();
    check_log(log, &model);
    close_log(log);
}

static void an_owner_who_forgets_is_told_nothing(void **state) {
    (void)state;
    struct waiter w = {.calls = 0};
    int closed = 0;
    struct ln_log *log = open_log();
    put_many(log, 10, 1, 100);
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    ln_log_forget(log);
    assert_int_equal(ln_log_close(log, count_close, &closed), LN_OK);
    ln_log_forget(log);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.calls + closed, 0);
}

/* ---- whose it is */

static void a_second_open_is_refused(void **state) {
    (void)state;
    char text[512];
    struct ln_log *log = open_log();
    assert_int_equal(refused(text), LN_ELOCKED);
    assert_non_null(strstr(text, "in use"));
    close_log(log);
}

static void a_missing_directory_is_made_only_if_asked(void **state) {
    (void)state;
    char kept[64], text[512];
    memcpy(kept, dir, sizeof kept);
    strcat(dir, "/log"); /* NOLINT: there is room */
    assert_int_equal(refused(text), -ENOENT);
    assert_non_null(strstr(text, "no such directory"));
    struct ln_log *log = open_log();
    put_many(log, 1, 1, 1);
    close_log(log);
    assert_int_equal(refused(text), LN_OK);
    memcpy(dir, kept, sizeof kept);
}

static void sizes_out_of_range_are_refused(void **state) {
    (void)state;
    struct ln_log *log = NULL;
    struct ln_detail detail;
    struct ln_log_options options = {.create = true, .segment_size = 4095};
    assert_int_equal(ln_log_open(loop, dir, &options, &detail, &log), -EINVAL);
    assert_non_null(strstr(detail.text, "4 KiB"));
}

/* ---- damage: files are changed under a log that is closed */

struct file {
    char path[128];
    size_t size, used;
    char *bytes;
};

static struct file load(uint64_t number) {
    struct file f = {.used = 0};
    struct stat st;
    snprintf(f.path, sizeof f.path, "%s/%016" PRIx64 ".log", dir, number);
    int fd = open(f.path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    f.size = (size_t)st.st_size;
    f.bytes = malloc(f.size);
    assert_non_null(f.bytes);
    assert_int_equal(read(fd, f.bytes, f.size), (ssize_t)f.size);
    for (size_t i = 0; i < f.size; i++)
        if (f.bytes[i])
            f.used = i + 1;
    f.used = (f.used + 7) / 8 * 8;
    close(fd);
    return f;
}

static void store(const struct file *f, size_t size) {
    int fd = open(f->path, O_WRONLY | O_TRUNC | O_CREAT, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, f->bytes, size), (ssize_t)size);
    close(fd);
}

static int check_dir(struct ln_log_report *report) {
    struct ln_detail detail;
    return ln_log_check(dir, NULL, NULL, &detail, report);
}

/* Whether the log opens, and then holds the first of the model's entries: how many. -1: damage is
 * reported, with segment and offset, and the check agrees. */
static int64_t prefix_left(void) {
    struct ln_log *log = NULL;
    struct ln_detail detail = {{0}};
    struct ln_log_report report;
    struct ln_log_options options = {.segment_size = SMALL};
    int checked = check_dir(&report);
    int rc = ln_log_open(loop, dir, &options, &detail, &log);
    assert_int_equal(rc, checked);
    if (rc != LN_OK) {
        assert_int_equal(rc, LN_ECORRUPT);
        assert_non_null(strstr(detail.text, "segment 00000000"));
        assert_non_null(strstr(detail.text, "offset "));
        assert_non_null(strstr(detail.text, "lunode check"));
        assert_true(report.damages > 0);
        return -1;
    }
    struct model expected = model;
    expected.last = ln_log_last(log);
    assert_true(expected.last <= model.last);
    assert_int_equal(report.last, expected.last);
    check_log(log, &expected);
    assert_int_equal(log_put(log, &expected, 9, 60), LN_OK); /* and it is of use */
    close_log(log);
    log = open_with(&options);
    check_log(log, &expected);
    close_log(log);
    return (int64_t)expected.last - 1;
}

/* Entries of several sizes, so that heads and payloads lie over the sectors' ends; not closed in
 * order, as after a crash: `synced` of them were synced before the others were written. */
static void make_crashed(uint64_t count, uint64_t synced) {
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    for (uint64_t i = 0; i < count; i++) {
        put_many(log, 1, 1 + i / 5, i % 4 * 61);
        if (i + 1 == synced)
            sync_log(log);
    }
    assert_int_equal(ln_log_flush(log), LN_OK);
    struct file f = load(1);
    close_log(log);
    store(&f, f.size);
    free(f.bytes);
}

static void every_flipped_byte_of_the_tail_is_cut_or_reported(void **state) {
    (void)state;
    enum { ENTRIES = 14, SYNCED = 6 };
    make_crashed(ENTRIES, SYNCED);
    struct file f = load(1);
    int64_t reported = 0, whole = 0;
    for (size_t at = 0; at < f.used + 64; at++) {
        for (int bit = 0; bit < 8; bit += getenv("LUNODE_FULL") ? 1 : 3) {
            f.bytes[at] = (char)(f.bytes[at] ^ 1 << bit);
            store(&f, f.size);
            int64_t left = prefix_left();
            reported += left < 0;
            whole += left == ENTRIES;
            assert_true(left < 0 || left >= SYNCED);
            f.bytes[at] = (char)(f.bytes[at] ^ 1 << bit);
        }
    }
    assert_true(reported > 0);
    assert_true(whole > 0); /* behind the end */
    free(f.bytes);
}

static void every_cut_of_the_tail_leaves_a_prefix(void **state) {
    (void)state;
    enum { ENTRIES = 14, SYNCED = 6 };
    make_crashed(ENTRIES, SYNCED);
    struct file f = load(1);
    char *bytes = f.bytes;
    int64_t before = 0;
    for (size_t size = 0; size <= f.used; size++) { /* the file ends there */
        store(&f, size);
        int64_t left = prefix_left();
        if (left < 0) /* nothing comes before its header, which was synced, is there */
            assert_in_range(size, 1, LN_LOG_HEADER - 1);
        else
            assert_in_range(left, before, ENTRIES);
        before = left < 0 ? 0 : left;
    }
    assert_int_equal(before, ENTRIES);
    f.bytes = malloc(f.size);
    assert_non_null(f.bytes);
    before = 0;
    for (size_t size = 0; size <= f.used;
         size += 512) { /* sectors from there on were not written */
        memset(f.bytes, 0, f.size);
        memcpy(f.bytes, bytes, size);
        store(&f, f.size);
        int64_t left = prefix_left();
        assert_true(left >= before);
        before = left;
    }
    free(f.bytes);
    free(bytes);
}

static void sectors_that_were_not_written_are_a_torn_tail_unless_they_were_synced(void **state) {
    (void)state;
    enum { ENTRIES = 26, SYNCED = 9 };
    make_crashed(ENTRIES, SYNCED);
    struct file f = load(1);
    int64_t cut = 0, reported = 0;
    for (size_t sector = 0; sector * 512 < f.used; sector++) {
        char kept[512];
        memcpy(kept, f.bytes + sector * 512, 512);
        memset(f.bytes + sector * 512, 0, 512);
        store(&f, f.size);
        int64_t left = prefix_left();
        assert_true(left < 0 || left >= SYNCED);
        cut += left >= 0;
        reported += left < 0;
        memcpy(f.bytes + sector * 512, kept, 512);
    }
    assert_true(cut > 0);
    assert_true(reported > 0);
    free(f.bytes);
}

static void what_was_cut_never_comes_back(void **state) {
    (void)state;
    make_crashed(26, 3);
    struct file f = load(1);
    size_t sector = f.used / 2 / 512 * 512;
    memset(f.bytes + sector, 0, 512); /* with intact records behind */
    store(&f, f.size);
    struct ln_log_options options = {.segment_size = SMALL};
    struct ln_log *log = open_with(&options);
    uint64_t last = ln_log_last(log);
    assert_in_range(last, 3, 25);
    model.last = last;
    check_log(log, &model);
    for (int i = 0; i < 4; i++) { /* of the very sizes that were there */
        uint64_t n = model.last;
        assert_int_equal(log_put(log, &model, 1 + n / 5, n % 4 * 61), LN_OK);
        assert_int_equal(ln_log_flush(log), LN_OK);
        struct file g = load(1);
        close_log(log);
        store(&g, g.size);
        free(g.bytes);
        log = open_with(&options);
        check_log(log, &model);
    }
    close_log(log);
    free(f.bytes);
}

static void damage_before_the_tail_refuses_and_changes_nothing(void **state) {
    (void)state;
    char text[512];
    struct ln_log_report report;
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 100, 1, 100);
    sync_log(log);
    close_log(log);
    for (uint64_t number = 1; number <= 3; number++) {
        struct file f = load(number);
        for (size_t at = 0; at < f.used; at += 7) {
            f.bytes[at] ^= 4;
            store(&f, f.size);
            assert_int_equal(refused(text), LN_ECORRUPT);
            assert_int_equal(check_dir(&report), LN_ECORRUPT);
            assert_true(report.damages >= 1);
            struct file same = load(number);
            assert_memory_equal(same.bytes, f.bytes, f.size);
            free(same.bytes);
            f.bytes[at] ^= 4;
        }
        store(&f, f.size);
        free(f.bytes);
    }
    assert_int_equal(check_dir(&report), LN_OK);
    assert_int_equal(report.entries, 100);
    assert_int_equal(report.last, 100);
    log = open_with(&(struct ln_log_options){.segment_size = SMALL});
    check_log(log, &model);
    close_log(log);
}

static void a_segment_that_is_missing_is_told(void **state) {
    (void)state;
    char text[512];
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 200, 1, 100);
    close_log(log);
    for (uint64_t number = 1; number <= 4; number++) {
        struct file f = load(number);
        assert_int_equal(unlink(f.path), 0);
        assert_int_equal(refused(text), LN_ECORRUPT);
        assert_non_null(strstr(text, "are missing"));
        store(&f, f.size);
        free(f.bytes);
    }
    assert_int_equal(refused(text), LN_OK);
}

static void a_log_that_was_closed_shows_damage_of_its_last_record(void **state) {
    (void)state;
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 5, 1, 600);
    close_log(log);
    struct file f = load(1);
    memset(f.bytes + f.used - 512 - 40, 0, 512); /* a sector of the last entry */
    store(&f, f.size);
    assert_int_equal(prefix_left(), -1);
    free(f.bytes);
}

static void a_newer_format_is_refused(void **state) {
    (void)state;
    char text[512];
    close_log(open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL}));
    struct file f = load(1);
    struct ln_log_header header;
    assert_true(ln_log_header_decode(f.bytes, 1, &header));
    header.version = LN_LOG_VERSION + 1;
    ln_log_header_encode(&header, f.bytes);
    store(&f, f.size);
    assert_int_equal(refused(text), LN_EVERSION);
    assert_non_null(strstr(text, "newer lunode"));
    free(f.bytes);
}

static void a_read_finds_damage_that_came_after_the_open(void **state) {
    (void)state;
    struct ln_log_cursor c;
    struct ln_log_entry e;
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 100, 1, 100);
    assert_int_equal(ln_log_flush(log), LN_OK);
    struct file f = load(1);
    f.bytes[1000] ^= 1;
    store(&f, f.size);
    free(f.bytes);
    ln_log_cursor_open(log, 1, UINT64_MAX, &c);
    int rc;
    while ((rc = ln_log_cursor_next(&c, &e)) == LN_OK)
        ;
    assert_int_equal(rc, LN_ECORRUPT);
    assert_non_null(strstr(ln_log_detail(log), "offset "));
    ln_log_cursor_close(&c);
    assert_int_equal(log_put(log, NULL, 1, 10), LN_OK); /* of no concern to the others */
    close_log(log);
}

/* ---- checking */

struct seen {
    uint64_t segments, entries, torn, unused, damages, last;
};

static int on_finding(void *arg, const struct ln_log_finding *f) {
    struct seen *s = arg;
    s->segments += f->kind == LN_LOG_FOUND_SEGMENT;
    s->torn += f->kind == LN_LOG_FOUND_TORN;
    s->unused += f->kind == LN_LOG_FOUND_UNUSED;
    s->damages += f->kind == LN_LOG_FOUND_DAMAGE;
    if (f->kind == LN_LOG_FOUND_RECORD && f->is_entry) {
        s->entries++;
        s->last = f->record.index;
        assert_true(payload_right(&f->record));
    }
    return LN_OK;
}

static void a_check_goes_on_behind_damage(void **state) {
    (void)state;
    struct seen seen = {0};
    struct ln_log_report report;
    struct ln_detail detail;
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 100, 1, 100);
    close_log(log);
    for (uint64_t number = 2; number <= 3; number++) {
        struct file f = load(number);
        f.bytes[1500] ^= 1;
        store(&f, f.size);
        free(f.bytes);
    }
    assert_int_equal(ln_log_check(dir, on_finding, &seen, &detail, &report), LN_ECORRUPT);
    assert_non_null(strstr(detail.text, "0000000000000002.log, offset "));
    assert_int_equal(seen.damages, report.damages);
    assert_int_equal(seen.damages, 2);
    assert_int_equal(seen.entries, 98);
    assert_int_equal(seen.last, 100);
}

struct truncation {
    struct ln_log *log;
    uint64_t entries, last;
};

/* Once: all but the last entry goes, and the segments with it, under the eyes of the check. */
static int on_finding_truncate(void *arg, const struct ln_log_finding *f) {
    struct truncation *t = arg;
    struct ln_log_stats stats;
    assert_int_not_equal(f->kind, LN_LOG_FOUND_DAMAGE);
    if (f->kind != LN_LOG_FOUND_RECORD || !f->is_entry)
        return LN_OK;
    t->last = f->record.index;
    if (t->entries++ != 0)
        return LN_OK;
    assert_int_equal(ln_log_truncate_prefix(t->log, ln_log_last(t->log) - 1, 1), LN_OK);
    sync_log(t->log);
    char path[128];
    struct stat st;
    ln_log_stats(t->log, &stats);
    assert_true(stats.segments <= 2);
    for (uint64_t number = 1; number <= 4; number++) {
        snprintf(path, sizeof path, "%s/%016" PRIx64 ".log", dir, number);
        for (int i = 0; i < 10000 && stat(path, &st) == 0; i++)
            sched_yield();
        assert_int_not_equal(stat(path, &st), 0);
    }
    return LN_OK;
}

static void a_check_goes_on_where_segments_vanish(void **state) {
    (void)state;
    struct ln_log_report report;
    struct ln_detail detail;
    struct truncation t = {
        .log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL})};
    put_many(t.log, 200, 1, 100);
    sync_log(t.log);
    assert_int_equal(ln_log_check(dir, on_finding_truncate, &t, &detail, &report), LN_OK);
    assert_in_range(t.entries, 2, 199);
    assert_int_equal(t.last, 200);
    close_log(t.log);
}

static int stop_at_once(void *arg, const struct ln_log_finding *f) {
    (void)arg, (void)f;
    return -ECANCELED;
}

static void a_check_reads_beside_a_writer(void **state) {
    (void)state;
    struct ln_log_report report;
    struct ln_detail detail;
    struct seen seen = {0};
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    for (int i = 0; i < 40; i++) {
        put_many(log, 5, 1, 100);
        assert_int_equal(ln_log_flush(log), LN_OK);
        put_many(log, 1, 1, 100); /* not written yet */
        assert_int_equal(check_dir(&report), LN_OK);
        assert_in_range(report.last, model.last - 3, model.last);
        if (i % 10 == 9)
            sync_log(log);
    }
    assert_int_equal(ln_log_check(dir, on_finding, &seen, &detail, &report), LN_OK);
    assert_int_equal(seen.entries, report.entries);
    assert_int_equal(ln_log_check(dir, stop_at_once, NULL, &detail, &report), -ECANCELED);
    close_log(log);
}

/* ---- against a plain list */

static uint64_t seed;

static uint64_t draw(uint64_t below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed % below;
}

static uint64_t last_term(void) {
    return model.last + 1 == model.first ? model.base_term : model_term(&model, model.last);
}

static void random_step(struct ln_log *log) {
    uint64_t count = model.last + 1 - model.first, index = 0, term = 0;
    switch (draw(12)) {
    case 0:
        index = model.first + draw(count + 2);
        assert_int_equal(ln_log_truncate_suffix(log, index), LN_OK);
        model_suffix(&model, index);
        break;
    case 1:
        index = model.first + draw(count / 2 + 1);
        term = index <= model.last && draw(8) ? model_term(&model, index) : last_term() + draw(2);
        assert_int_equal(ln_log_truncate_prefix(log, index, term), LN_OK);
        model_prefix(&model, index, term);
        break;
    case 2:
        term = draw(100);
        assert_int_equal(ln_log_set_state(log, term, payload_of(1, term, 9), term % 10), LN_OK);
        model_state(&model, term, payload_of(1, term, 9), term % 10);
        break;
    case 3:
        assert_int_equal(ln_log_flush(log), LN_OK);
        break;
    case 4:
        if (draw(5) == 0)
            check_log(log, &model);
        break;
    default:
        if (count < MODEL_MOST / 2)
            put_many(log, 1 + draw(20), last_term() + draw(2), draw(20) ? draw(300) : draw(9000));
    }
}

static void a_log_is_what_a_list_would_be(void **state) {
    (void)state;
    uint64_t steps = full(6000, 60000);
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    seed = 88172645463325252U;
    for (uint64_t i = 0; i < steps; i++) {
        random_step(log);
        if (draw(60) == 0)
            sync_log(log);
        if (draw(200) == 0) {
            close_log(log);
            log = open_with(&(struct ln_log_options){.segment_size = (uint32_t)(SMALL << draw(3)),
                                                     .memory = 500 + draw(20000)});
            check_log(log, &model);
            assert_int_equal(ln_log_synced(log), model.last);
        }
    }
    check_log(log, &model);
    close_log(log);
}

#define TEST(f)         cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_ON_DISK(f) cmocka_unit_test_setup_teardown(f, setup_on_disk, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_new_log_is_empty),
        TEST_ON_DISK(entries_are_there_before_and_after_flush_and_reopen),
        TEST(appends_of_one_iteration_leave_in_one_write),
        TEST(an_entry_larger_than_a_segment_gets_one_of_its_own),
        TEST(what_cannot_be_appended_changes_nothing),
        TEST(the_last_index_there_is),
        TEST(a_cursor_reads_ranges_from_memory_and_from_disk),
        TEST(a_cursor_follows_the_log_as_it_grows_and_changes),
        TEST(a_suffix_is_dropped_and_stays_so),
        TEST_ON_DISK(a_prefix_is_dropped_with_its_segments),
        TEST(a_prefix_past_the_end_or_of_another_term_resets),
        TEST(the_state_outlives_the_segment_that_it_was_written_to),
        TEST(a_sync_covers_all_that_was_appended),
        TEST_ON_DISK(syncs_complete_in_order_and_share_what_gathered),
        TEST(a_sync_of_nothing_is_told_as_well),
        TEST(what_is_dropped_while_it_syncs_is_not_synced),
        TEST(a_callback_may_sync_again_and_close),
        TEST(closing_syncs_and_tells_those_who_wait),
        TEST(an_owner_who_forgets_is_told_nothing),
        TEST(a_second_open_is_refused),
        TEST(a_missing_directory_is_made_only_if_asked),
        TEST(sizes_out_of_range_are_refused),
        TEST(every_flipped_byte_of_the_tail_is_cut_or_reported),
        TEST(every_cut_of_the_tail_leaves_a_prefix),
        TEST_ON_DISK(sectors_that_were_not_written_are_a_torn_tail_unless_they_were_synced),
        TEST(what_was_cut_never_comes_back),
        TEST(damage_before_the_tail_refuses_and_changes_nothing),
        TEST(a_segment_that_is_missing_is_told),
        TEST(a_log_that_was_closed_shows_damage_of_its_last_record),
        TEST(a_newer_format_is_refused),
        TEST(a_read_finds_damage_that_came_after_the_open),
        TEST(a_check_goes_on_behind_damage),
        TEST(a_check_goes_on_where_segments_vanish),
        TEST_ON_DISK(a_check_reads_beside_a_writer),
        TEST(a_log_is_what_a_list_would_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
