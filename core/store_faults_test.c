/* Every allocation of the overlay, and every system call and allocation of the store (LevelDB's own
 * excepted), fails once, each at every Nth call: what failed has changed nothing, what was
 * committed is there. */
#include "fault.h"
#include "overlay.h"
#include "store.h"
#include "store_write.h"
#include "test.h"
#include "test_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 24, ROUNDS = 160, LARGEST = 40000 };

/* What a row should be: its value is `len` times the byte `fill`. */
struct expected {
    enum { ABSENT, DELETED, PRESENT } state;
    size_t len;
    char fill;
};

static char bytes[LARGEST];

static size_t key_of(int i, char key[300]) {
    size_t len = i % 5 == 4 ? 280 : 8;
    memset(key, 'k', len);
    (void)snprintf(key, 8, "%06d", i);
    return len;
}

static const char *value_of(const struct expected *e) {
    memset(bytes, e->fill, e->len);
    return bytes;
}

static bool holds(const struct expected *e, const char *value, size_t len) {
    return len == e->len && memcmp(value, value_of(e), len) == 0;
}

static struct expected write_number(int round, int *key) {
    static const size_t lens[] = {0, 5, 400, 17000, 60, LARGEST, 5000};
    *key = round * 7 % KEYS;
    return (struct expected){round % 6 == 5 ? DELETED : PRESENT,
                             round % 6 == 5 ? 0 : lens[round % 7], (char)('a' + round % 26)};
}

/* ---- the overlay */

static void check_overlay(const struct ln_overlay *o, const struct expected rows[KEYS]) {
    char key[300];
    size_t count = 0, total = 0;
    for (int i = 0; i < KEYS; i++) {
        size_t klen = key_of(i, key);
        const struct ln_overlay_node *n = ln_overlay_find(o, key, klen);
        assert_int_equal(n != NULL, rows[i].state != ABSENT);
        if (!n)
            continue;
        struct ln_overlay_row row = ln_overlay_row(o, n);
        assert_int_equal(row.deleted, rows[i].state == DELETED);
        assert_true(holds(&rows[i], row.value, row.vlen));
        count++;
        total += klen + row.vlen;
    }
    assert_int_equal(o->count, count);
    assert_int_equal(o->bytes, total);
    for (struct ln_overlay_cursor c = ln_overlay_first(o); ln_overlay_at(&c); ln_overlay_next(&c))
        count--;
    assert_int_equal(count, 0);
}

static int overlay_write(struct ln_overlay *o, int i, const struct expected *e) {
    char key[300];
    size_t klen = key_of(i, key);
    return e->state == DELETED ? ln_overlay_delete(o, key, klen)
                               : ln_overlay_put(o, key, klen, value_of(e), e->len);
}

static void use_overlay(const struct fault *f) {
    struct ln_overlay o;
    struct expected rows[KEYS] = {{0}}, marked[KEYS] = {{0}};
    (void)f;
    ln_overlay_init(&o);
    for (int round = 0; round < ROUNDS; round++) {
        int i = 0;
        struct expected e = write_number(round, &i);
        bool before = fault_happened();
        int rc = overlay_write(&o, i, &e);
        assert_int_equal(rc, fault_happened() == before ? LN_OK : -ENOMEM);
        if (rc == LN_OK)
            rows[i] = e;
        else
            check_overlay(&o, rows);
        if (round % 20 == 9) {
            ln_overlay_begin(&o);
            memcpy(marked, rows, sizeof rows);
        } else if (round % 20 == 19) {
            ln_overlay_rollback(&o);
            memcpy(rows, marked, sizeof rows);
            check_overlay(&o, rows);
        }
        if (round == ROUNDS / 2) {
            ln_overlay_clear(&o);
            memset(rows, 0, sizeof rows);
            memset(marked, 0, sizeof marked);
        }
    }
    check_overlay(&o, rows);
    ln_overlay_free(&o);
}

static void an_overlay_without_memory_stays_as_it_was(void **state) {
    (void)state;
    static const struct fault faults[] = {{FAULT_malloc, ENOMEM, false},
                                          {FAULT_reallocarray, ENOMEM, false}};
    fault_each(faults, sizeof faults / sizeof *faults, use_overlay);
}

/* ---- the store */

static char dir[64];
static struct ln_loop *loop;
static bool harmless, told;
static const struct ln_store_options options = {.create = true, .cache = 1 << 20};

static void check_failed(const struct ln_detail *detail, int rc) {
    told = true;
    assert_true(fault_happened() && !harmless);
    assert_true(rc < 0);
    if (!strstr(detail->text, dir)) /* names what it is about */
        fail_msg("%s: %s", ln_status_name(rc), detail->text);
    assert_null(strstr(detail->text, "not lunode's"));
    assert_null(strstr(detail->text, "is in use"));
}

static int store_write(struct ln_store *s, int i, const struct expected *e) {
    char key[300];
    size_t klen = key_of(i, key);
    return e->state == DELETED ? ln_store_delete(s, key, klen)
                               : ln_store_put(s, key, klen, value_of(e), e->len);
}

/* One of the rows; false where the fault kept it from being read. */
static bool check_row(struct ln_store *s, int i, const struct expected *e) {
    char key[300];
    size_t klen = key_of(i, key);
    struct ln_detail detail = {{0}};
    struct ln_value value = {0};
    bool before = fault_happened();
    int rc = ln_store_get(s, key, klen, &detail, &value);
    int expected = e->state == PRESENT ? LN_OK : -ENOENT;
    if (fault_happened() != before && rc != expected) {
        check_failed(&detail, rc);
        return false;
    }
    told |= fault_happened() != before; /* the row is not cached, then */
    assert_int_equal(rc, expected);
    if (rc == LN_OK)
        assert_true(holds(e, value.data, value.len));
    ln_value_release(&value);
    return true;
}

static void check_scan(struct ln_store *s, const struct expected rows[KEYS]) {
    struct ln_scan *scan = NULL;
    struct ln_overlay_row row;
    struct ln_detail detail = {{0}};
    char key[300];
    if (ln_store_scan(s, "", 0, NULL, 0, false, &scan) != LN_OK) {
        assert_true(fault_happened());
        told = true;
        return;
    }
    for (int i = 0; i < KEYS; i++) {
        if (rows[i].state != PRESENT)
            continue;
        bool before = fault_happened();
        int rc = ln_scan_next(scan, &detail, &row);
        if (fault_happened() != before) {
            check_failed(&detail, rc);
            rc = ln_scan_next(scan, &detail, &row); /* another try goes on where it was */
        }
        assert_int_equal(rc, LN_OK);
        assert_int_equal(row.klen, key_of(i, key));
        assert_memory_equal(row.key, key, row.klen);
        assert_true(holds(&rows[i], row.value, row.vlen));
    }
    assert_int_equal(ln_scan_next(scan, &detail, &row), LN_EOF);
    ln_scan_close(scan);
}

static void check_store(struct ln_store *s, const struct expected rows[KEYS]) {
    for (int i = 0; i < KEYS; i++)
        if (!check_row(s, i, &rows[i]))
            assert_true(check_row(s, i, &rows[i]));
    check_scan(s, rows);
}

/* Writes and commits; what the disk should hold then. False: a commit failed, and whether its
 * writes are there is not known. */
static bool use_store(struct ln_store *s, struct expected rows[KEYS],
                      struct expected stored[KEYS]) {
    struct ln_detail detail = {{0}};
    memcpy(stored, rows, sizeof(struct expected) * KEYS);
    for (int round = 0; round < ROUNDS / 4; round++) {
        int i = 0;
        struct expected e = write_number(round, &i);
        bool before = fault_happened();
        int rc = store_write(s, i, &e);
        assert_int_equal(rc, fault_happened() == before ? LN_OK : -ENOMEM);
        if (rc == LN_OK)
            rows[i] = e;
        else
            told = true;
        if (round % 16 != 15)
            continue;
        check_store(s, rows);
        rc = ln_store_commit(s, round > 16, &detail);
        if (rc != LN_OK) {
            check_failed(&detail, rc);
            assert_int_equal(ln_store_commit(s, true, &detail), rc);
            return false;
        }
        memcpy(stored, rows, sizeof(struct expected) * KEYS);
    }
    check_store(s, rows);
    memcpy(rows, stored, sizeof(struct expected) * KEYS); /* the rest was never committed */
    return true;
}

static struct ln_store *open_store(void) {
    struct ln_store *s = NULL;
    struct ln_detail detail = {{0}};
    bool before = fault_happened();
    int rc = ln_store_open(loop, dir, &options, &detail, &s);
    if (rc != LN_OK) {
        assert_true(fault_happened() != before);
        check_failed(&detail, rc);
        rc = ln_store_open(loop, dir, &options, &detail, &s); /* nothing that was there is lost */
    }
    assert_int_equal(rc, LN_OK);
    return s;
}

/* Syncing the parent directory is an attempt, and so is closing what has been synced or read. */
static bool may_go_unsaid(const struct fault *f) {
    return f->harmless || f->call == FAULT_close || f->call == FAULT_open || f->call == FAULT_fsync;
}

static void store_scenario(const struct fault *f) {
    struct expected rows[KEYS] = {{0}}, stored[KEYS];
    harmless = !f || f->harmless;
    told = false;
    fault_pause();
    test_dir_make(dir);
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    fault_go_on();
    struct ln_store *s = open_store();
    bool known = use_store(s, rows, stored);
    ln_store_close(s);
    s = open_store();
    if (known)
        check_store(s, stored);
    ln_store_close(s);
    fault_pause();
    assert_int_equal(ln_loop_close(loop), LN_OK);
    test_dir_remove(dir);
    fault_go_on();
    assert_true(told || !fault_happened() || may_go_unsaid(f));
}

/* ---- the flush and its thread: rows and applied index are those of the same entry, whatever fails
 */

struct waiter {
    struct ln_store_flush flush;
    bool called;
    int status;
};

static void on_flush(struct ln_store_flush *flush, int status, const struct ln_detail *detail,
                     uint64_t index) {
    struct waiter *w = (struct waiter *)flush;
    (void)index;
    w->called = true;
    w->status = status;
    assert_true(status == LN_OK || strstr(detail->text, dir));
}

/* The same call until it goes through; it fails at most once. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        bool before_ = fault_happened();                                                           \
        int rc_ = (call);                                                                          \
        if (rc_ != LN_OK) {                                                                        \
            assert_true(fault_happened() != before_);                                              \
            told = true;                                                                           \
            rc_ = (call);                                                                          \
        }                                                                                          \
        assert_int_equal(rc_, LN_OK);                                                              \
    } while (0)

static size_t count_rows(struct ln_store *s) {
    struct ln_scan *scan = NULL;
    struct ln_overlay_row row;
    struct ln_detail detail;
    size_t count = 0;
    TRY(ln_store_scan(s, "", 0, NULL, 0, false, &scan));
    for (bool again = true;;) {
        int rc = ln_scan_next(scan, &detail, &row);
        if (rc == LN_EOF)
            break;
        if (rc == LN_OK) {
            count++;
        } else {
            assert_true(fault_happened() && again);
            again = false;
            told = true;
        }
    }
    ln_scan_close(scan);
    return count;
}

/* 40 rows, entry 1; then all but 5 of them deleted, and 2 written, entry 2. Returns what the flush
 * of the second came to. */
static int flush_entries(struct ln_store *s) {
    struct waiter w = {.flush = {.fn = on_flush}};
    struct ln_snapshot *snapshot = NULL;
    char key[16];
    for (int i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof key, "%02d", i);
        TRY(ln_store_put(s, key, 2, bytes, 100));
    }
    TRY(ln_store_advance(s, 1));
    int rc = ln_store_commit(s, true, NULL);
    if (rc != LN_OK)
        return rc;
    TRY(ln_store_delete_range(s, "05", 2, NULL, 0));
    TRY(ln_store_put(s, "07", 2, bytes, 100));
    TRY(ln_store_put(s, "99", 2, bytes, 20000));
    TRY(ln_store_advance(s, 2));
    TRY(ln_store_snapshot(s, NULL, &snapshot)); /* the thread begins */
    TRY(ln_store_flush(s, &w.flush, NULL));
    while (!w.called)
        TRY(ln_loop_step(loop, LN_SECOND / 1000));
    assert_int_equal(count_rows(s), 7);
    ln_snapshot_close(snapshot);
    return w.status;
}

static void flush_scenario(const struct fault *f) {
    harmless = !f || f->harmless;
    told = false;
    ln_write_inline_rows = 4;
    fault_pause();
    test_dir_make(dir);
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    fault_go_on();
    struct ln_store *s = open_store();
    int rc = flush_entries(s);
    assert_true(rc == LN_OK || fault_happened());
    told |= rc != LN_OK;
    ln_store_close(s);
    s = open_store();
    uint64_t applied = ln_store_applied(s);
    assert_true(rc != LN_OK || applied == 2);
    assert_int_equal(count_rows(s), applied == 2 ? 7 : applied == 1 ? 40 : 0);
    ln_store_close(s);
    fault_pause();
    assert_int_equal(ln_loop_close(loop), LN_OK);
    test_dir_remove(dir);
    fault_go_on();
    ln_write_inline_rows = 2000;
}

static void a_flush_in_which_each_call_fails_once(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_malloc, ENOMEM, false},   {FAULT_calloc, ENOMEM, false},
        {FAULT_realloc, ENOMEM, false},  {FAULT_reallocarray, ENOMEM, false},
        {FAULT_eventfd, EMFILE, false},  {FAULT_pthread_create, EAGAIN, false},
        {FAULT_openat, EMFILE, false},   {FAULT_opendir, EMFILE, false},
        {FAULT_fdatasync, EIO, false},   {FAULT_epoll_ctl, ENOMEM, false},
        {FAULT_leveldb_get, EIO, false},
    };
    fault_each(faults, sizeof faults / sizeof *faults, flush_scenario);
}

static void a_store_without_memory(void **state) {
    (void)state;
    static const struct fault faults[] = {{FAULT_malloc, ENOMEM, false},
                                          {FAULT_calloc, ENOMEM, false},
                                          {FAULT_realloc, ENOMEM, false},
                                          {FAULT_reallocarray, ENOMEM, false},
                                          {FAULT_asprintf, ENOMEM, false}};
    fault_each(faults, sizeof faults / sizeof *faults, store_scenario);
}

static void a_store_on_a_system_that_fails(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_open, EMFILE, false},       {FAULT_openat, EMFILE, false},
        {FAULT_openat, EACCES, false},     {FAULT_opendir, EMFILE, false},
        {FAULT_fdopendir, ENOMEM, false},  {FAULT_readdir, EIO, false},
        {FAULT_read, EIO, false},          {FAULT_read, FAULT_SHORT, true},
        {FAULT_read, EINTR, true},         {FAULT_write, ENOSPC, false},
        {FAULT_write, FAULT_SHORT, false}, {FAULT_fsync, EIO, false},
        {FAULT_fdatasync, EIO, false},     {FAULT_mkdir, EACCES, false},
        {FAULT_renameat, EIO, false},      {FAULT_fcntl, ENOLCK, false},
        {FAULT_ftruncate, EIO, true},      {FAULT_pwrite, ENOSPC, true},
        {FAULT_leveldb_get, EIO, false},   {FAULT_close, EIO, false},
    };
    fault_each(faults, sizeof faults / sizeof *faults, store_scenario);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_overlay_without_memory_stays_as_it_was, fault_report),
        cmocka_unit_test_teardown(a_store_without_memory, fault_report),
        cmocka_unit_test_teardown(a_store_on_a_system_that_fails, fault_report),
        cmocka_unit_test_teardown(a_flush_in_which_each_call_fails_once, fault_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
