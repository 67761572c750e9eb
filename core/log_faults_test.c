/* Every system call and allocation of a log fails once, at every Nth call, on the loop's thread and
 * on its own: what was acknowledged as synced is there afterwards, what is there is right, and a
 * failure is told by the call that it befell, by the syncs under way, and by all later calls. */
#include "fault.h"
#include "log.h"
#include "log_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SEGMENT = 4096, ENTRIES = 64, PREFIX = 20, STATE_AT = 30 };

static struct ln_loop *loop;
static char dir[64];
static struct model model;
static uint64_t acknowledged;
static bool told, ended, state_acknowledged;

static void check_told(int rc, const char *detail) {
    assert_true(rc < 0);
    assert_true(fault_happened());
    assert_non_null(strstr(detail, dir));
    told = true;
}

static struct ln_log *open_log(void) {
    struct ln_log *log = NULL;
    struct ln_detail detail = {{0}};
    struct ln_log_options options = {.create = true, .segment_size = SEGMENT, .memory = 1000};
    int rc = ln_log_open(loop, dir, &options, &detail, &log);
    if (rc != LN_OK) {
        check_told(rc, detail.text);
        assert_true(rc != LN_ECORRUPT && rc != LN_ELOCKED);
        rc = ln_log_open(loop, dir, &options, &detail, &log); /* nothing that was there is lost */
    }
    if (rc != LN_OK)
        print_error("%s\n", detail.text);
    assert_int_equal(rc, LN_OK);
    return log;
}

/* A call has failed: has the log ended, or was it refused for now? What has ended stays so. */
static void look(struct ln_log *log, int rc) {
    check_told(rc, ln_log_detail(log));
    ended = ln_log_flush(log) != LN_OK;
    if (ended) {
        struct ln_log_cursor c;
        struct ln_log_entry e;
        struct ln_log_sync sync;
        uint64_t index;
        int status = ln_log_flush(log);
        assert_int_equal(ln_log_append(log, 9, 0, "x", 1, &index), status);
        assert_int_equal(ln_log_set_state(log, 9, "x", 1), status);
        assert_int_equal(ln_log_truncate_suffix(log, 1), status);
        assert_int_equal(ln_log_truncate_prefix(log, 1, 1), status);
        assert_int_equal(ln_log_sync(log, &sync, NULL), status);
        ln_log_cursor_open(log, 1, 2, &c);
        assert_int_equal(ln_log_cursor_next(&c, &e), status);
        ln_log_cursor_close(&c);
        assert_non_null(strstr(ln_log_detail(log), "has ended"));
    }
}

static int64_t clock_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * LN_SECOND + ts.tv_nsec;
}

/* Until it works again, or has ended. */
static int again(struct ln_log *log, int (*call)(struct ln_log *)) {
    int64_t deadline = clock_now() + 10 * LN_SECOND;
    int rc = call(log);
    while (rc != LN_OK && !ended && clock_now() < deadline) {
        uint64_t last = ln_log_last(log);
        look(log, rc);
        assert_int_equal(ln_loop_step(loop, 0), LN_OK);
        assert_int_equal(ln_log_last(log), last);
        rc = ended ? rc : call(log);
    }
    assert_true(rc == LN_OK || ended);
    return rc;
}

static int put_next(struct ln_log *log) {
    return log_put(log, &model, 1, 90 + model.last * 37 % 200);
}

static int set_state(struct ln_log *log) {
    return ln_log_set_state(log, 7, "somebody", 8);
}

static int drop_prefix(struct ln_log *log) {
    return ln_log_truncate_prefix(log, PREFIX, 1);
}

struct waiter {
    struct ln_log_sync sync;
    bool called, with_state;
    int status;
};

static void on_synced(struct ln_log_sync *sync, int status, uint64_t index) {
    struct waiter *w = LN_OWNER(struct waiter, sync, sync);
    assert_false(w->called);
    w->called = true;
    w->status = status;
    assert_true(index >= acknowledged);
    acknowledged = index;
    state_acknowledged |= status == LN_OK && w->with_state;
}

static struct waiter *pending;

static int begin_sync(struct ln_log *log) {
    return ln_log_sync(log, &pending->sync, on_synced);
}

static void sync_log(struct ln_log *log) {
    struct waiter w = {.with_state = model.last >= STATE_AT};
    pending = &w;
    if (again(log, begin_sync) != LN_OK)
        return;
    for (int i = 0; !w.called && i < 5000; i++)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 100), LN_OK);
    assert_true(w.called);
    if (w.status == LN_OK)
        assert_int_equal(acknowledged, model.last);
    else
        look(log, w.status);
    assert_true(w.status == LN_OK || ended);
}

static void read_back(struct ln_log *log) {
    struct ln_log_cursor c;
    struct ln_log_entry e;
    int rc = LN_OK;
    ln_log_cursor_open(log, model.first, UINT64_MAX, &c);
    for (uint64_t i = model.first; i <= model.last && !ended; i++) {
        rc = ln_log_cursor_next(&c, &e);
        if (rc != LN_OK) {
            check_told(rc, ln_log_detail(log));
            rc = ln_log_cursor_next(&c, &e); /* another try goes on where it was */
        }
        assert_int_equal(rc, LN_OK);
        check_entry(&model, &e, i);
    }
    ln_log_cursor_close(&c);
}

static void use_log(struct ln_log *log) {
    while (model.last < ENTRIES && !ended) {
        (void)again(log, put_next);
        if (!ended && model.last == STATE_AT - 1)
            (void)again(log, set_state);
        if (!ended && model.last % 16 == 15)
            sync_log(log);
        if (!ended && model.last == 40) {
            (void)again(log, drop_prefix);
            if (!ended)
                model_prefix(&model, PREFIX, 1);
        }
        if (!ended && model.last % 5 == 0) {
            int rc = ln_log_flush(log);
            if (rc != LN_OK)
                look(log, rc);
        }
    }
    if (!ended)
        read_back(log);
    int rc = ln_log_close(log, NULL, NULL);
    if (rc != LN_OK) {
        told = true;
        assert_true(fault_happened());
    } else {
        acknowledged = model.last;
    }
    assert_int_equal(ln_loop_run(loop), LN_OK);
}

/* What is there is a prefix of what was done, and all that was acknowledged. */
static void check_found(struct ln_log *log) {
    struct ln_log_cursor c;
    struct ln_log_entry e;
    uint64_t first = ln_log_first(log), last = ln_log_last(log);
    assert_true(first == 1 || first == PREFIX + 1);
    assert_in_range(last, acknowledged, ENTRIES);
    if (state_acknowledged)
        assert_int_equal(ln_log_state(log).term, 7);
    ln_log_cursor_open(log, first, UINT64_MAX, &c);
    for (uint64_t i = first; i <= last; i++) {
        int rc = ln_log_cursor_next(&c, &e);
        if (rc != LN_OK) {
            check_told(rc, ln_log_detail(log));
            rc = ln_log_cursor_next(&c, &e);
        }
        assert_int_equal(rc, LN_OK);
        check_entry(&model, &e, i);
    }
    ln_log_cursor_close(&c);
}

/* What the log can do without: closing what was read or synced, removing what is not wanted any
 * more, allocating in one way where there is another, the last word of a log that is closed. */
static bool may_go_unsaid(const struct fault *f) {
    return f->harmless || (f->call == FAULT_pwrite && acknowledged == model.last) ||
           f->call == FAULT_close || f->call == FAULT_unlinkat || f->call == FAULT_open ||
           f->call == FAULT_pthread_create || f->call == FAULT_fallocate ||
           f->call == FAULT_openat || f->call == FAULT_malloc || f->call == FAULT_realloc ||
           f->call == FAULT_eventfd || f->call == FAULT_epoll_ctl || f->call == FAULT_fsync;
}

static void scenario(const struct fault *f) {
    static const char template[] = "/dev/shm/lunode_test_XXXXXX";
    fault_pause();
    memcpy(dir, template, sizeof template);
    if (!mkdtemp(dir))
        test_dir_make(dir);
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    model_init(&model);
    acknowledged = 0;
    told = ended = state_acknowledged = false;
    fault_go_on();
    use_log(open_log());
    struct ln_log *log = open_log();
    check_found(log);
    (void)ln_log_close(log, NULL, NULL);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    fault_pause();
    assert_int_equal(ln_loop_close(loop), LN_OK);
    test_dir_remove(dir);
    fault_go_on();
    assert_true(told || !fault_happened() || may_go_unsaid(f));
    if (f && f->harmless)
        assert_false(told);
}

static void a_log_without_memory(void **state) {
    (void)state;
    static const struct fault faults[] = {{FAULT_malloc, ENOMEM, false},
                                          {FAULT_calloc, ENOMEM, false},
                                          {FAULT_realloc, ENOMEM, false},
                                          {FAULT_reallocarray, ENOMEM, false}};
    fault_each(faults, sizeof faults / sizeof *faults, scenario);
}

static void a_log_on_a_system_that_fails(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_mkdir, EACCES, false},
        {FAULT_open, EMFILE, false},
        {FAULT_openat, EMFILE, false},
        {FAULT_fdopendir, ENOMEM, false},
        {FAULT_readdir, EIO, false},
        {FAULT_flock, ENOLCK, false},
        {FAULT_pread, EIO, false},
        {FAULT_pread, EINTR, true},
        {FAULT_pread, FAULT_SHORT, true},
        {FAULT_pwrite, EIO, false},
        {FAULT_pwrite, ENOSPC, false},
        {FAULT_pwrite, EINTR, true},
        {FAULT_pwrite, FAULT_SHORT, true},
        {FAULT_fallocate, ENOSPC, false},
        {FAULT_fallocate, EINTR, true},
        {FAULT_fallocate, EOPNOTSUPP, true},
        {FAULT_fdatasync, EIO, false},
        {FAULT_fsync, EIO, false},
        {FAULT_unlinkat, EACCES, false},
        {FAULT_close, EIO, true},
        {FAULT_pthread_create, EAGAIN, false},
        {FAULT_eventfd, EMFILE, false},
        {FAULT_epoll_ctl, ENOSPC, false},
    };
    fault_each(faults, sizeof faults / sizeof *faults, scenario);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_log_without_memory, fault_report),
        cmocka_unit_test_teardown(a_log_on_a_system_that_fails, fault_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
