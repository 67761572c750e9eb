#include "engine.h"
#include "test_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

static const struct ln_engine_ops *const ops = &ln_engine_leveldb;
static const struct ln_engine_options options = {.cache = 1 << 20};
static char path[64];

static int set_up(void **state) {
    (void)state;
    test_dir_make(path);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    test_dir_remove(path);
    return 0;
}

static struct ln_engine *open_engine(void) {
    struct ln_engine *e = NULL;
    struct ln_detail detail = {{0}};
    if (ops->open(path, &options, &detail, &e) != LN_OK)
        fail_msg("%s", detail.text);
    return e;
}

static void assert_value(struct ln_engine *e, const char *key, const char *expected) {
    char *value = NULL;
    size_t len = 0;
    int rc = ops->get(e, NULL, key, strlen(key), NULL, &value, &len);
    assert_int_equal(rc, expected ? LN_OK : -ENOENT);
    if (expected) {
        assert_int_equal(len, strlen(expected));
        assert_memory_equal(value, expected, len);
    }
    free(value);
}

/* Writes enough for several tables, 100 rows a batch. Values do not compress. */
static void fill(struct ln_engine *e, int batches) {
    uint32_t x = 1;
    for (int b = 0; b < batches; b++) {
        for (int i = 0; i < 100; i++) {
            char key[16];
            uint32_t value[256];
            for (size_t k = 0; k < 256; k++)
                value[k] = x = x * 1664525u + 1013904223u;
            snprintf(key, sizeof key, "%08d", b * 100 + i);
            ops->put(e, key, 8, value, sizeof value);
        }
        assert_int_equal(ops->write(e, false, NULL), LN_OK);
    }
}

static void rows_move_to_tables_and_the_size_says_so(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    assert_int_equal(ops->disk_bytes(e), 0);
    fill(e, 400); /* 40 MB: at least one memtable was written out before the third began */
    assert_int_equal(ops->write(e, true, NULL), LN_OK);
    assert_true(ops->disk_bytes(e) > 10 << 20);
    ops->close(e);
}

/* Overwrites bytes in the middle of each file of that kind; returns how many there were. */
static int damage(const char *suffix) {
    int count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char *dot = strrchr(entry->d_name, *suffix);
        if (!dot || strncmp(dot, suffix, strlen(suffix)) != 0)
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        off_t end = lseek(fd, 0, SEEK_END);
        char junk[512];
        memset(junk, 0x5a, sizeof junk);
        for (off_t at = 50000; at < end - 100000; at += 4096)
            assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
        if (end <= 100100)
            assert_int_equal(pwrite(fd, junk, sizeof junk, 0), sizeof junk);
        close(fd);
        count++;
    }
    closedir(dir);
    return count;
}

static void damaged_rows_are_an_error_not_a_gap(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    fill(e, 400);
    ops->close(e);
    assert_true(damage(".ldb") > 0);
    e = open_engine();
    char *value = NULL;
    size_t len;
    struct ln_detail detail = {{0}};
    int rc = ops->get(e, NULL, "00000100", 8, &detail, &value, &len);
    assert_int_equal(rc, LN_ECORRUPT);
    assert_non_null(strstr(detail.text, "Corruption"));
    struct ln_engine_iter *it = ops->iter_open(e, NULL);
    struct ln_overlay_row row;
    ops->iter_seek(it, "", 0);
    for (int i = 0; (rc = ops->iter_row(it, &detail, &row)) == LN_OK; i++, ops->iter_next(it)) {
        char key[16];
        snprintf(key, sizeof key, "%08d", i);
        assert_memory_equal(row.key, key, 8);
    }
    assert_int_equal(rc, LN_ECORRUPT);
    ops->iter_close(it);
    ops->close(e);
}

static int open_fails(void) {
    struct ln_engine *e = NULL;
    struct ln_detail detail = {{0}};
    int rc = ops->open(path, &options, &detail, &e);
    assert_null(e);
    assert_true(detail.text[0] != 0);
    return rc;
}

static void a_damaged_manifest_refuses_to_open(void **state) {
    (void)state;
    ops->close(open_engine());
    assert_int_equal(damage("MANIFEST"), 1);
    assert_int_equal(open_fails(), LN_ECORRUPT);
}

static void a_missing_manifest_refuses_to_open(void **state) {
    (void)state;
    ops->close(open_engine());
    test_dir_write(path, "CURRENT", "MANIFEST-000099\n");
    assert_int_equal(open_fails(), LN_ECORRUPT);
}

/* LevelDB by itself would skip the rows in the damaged part, and go on with those that follow. */
static void a_damaged_log_refuses_to_open(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    fill(e, 3);
    ops->close(e);
    assert_int_equal(damage(".log"), 1);
    assert_int_equal(open_fails(), LN_ECORRUPT);
}

/* A crash can cut the last batch short. It was not acknowledged, and those before it are whole. */
static void a_log_that_ends_early_has_the_batches_before(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    fill(e, 2);
    ops->close(e);
    char log[128];
    snprintf(log, sizeof log, "%s/000003.log", path);
    assert_int_equal(truncate(log, 150000), 0); /* of about 100 KiB each */
    e = open_engine();
    char *value = NULL;
    size_t len = 0;
    assert_int_equal(ops->get(e, NULL, "00000099", 8, NULL, &value, &len), LN_OK);
    free(value);
    assert_value(e, "00000100", NULL);
    ops->close(e);
}

static void tables_without_a_log_are_kept_and_refused(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    fill(e, 1);
    ops->close(e);
    ops->close(open_engine()); /* which made a table of the log */
    char log[128], table[128];
    snprintf(log, sizeof log, "%s/000006.log", path);
    snprintf(table, sizeof table, "%s/000005.ldb", path);
    assert_int_equal(unlink(log), 0);
    assert_int_equal(open_fails(), LN_ECORRUPT);
    assert_int_equal(access(table, F_OK), 0);
}

/* LevelDB by itself would begin anew and remove the tables. */
static void tables_without_current_are_kept_and_refused(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    fill(e, 1);
    ops->close(e);
    char current[128], log[128];
    snprintf(current, sizeof current, "%s/CURRENT", path);
    snprintf(log, sizeof log, "%s/000003.log", path);
    assert_int_equal(unlink(current), 0);
    assert_int_equal(open_fails(), LN_ECORRUPT);
    assert_int_equal(access(log, F_OK), 0);
    test_dir_write(path, "CURRENT", "MANIFEST-000002\n");
    e = open_engine();
    char *value = NULL;
    size_t len = 0;
    assert_int_equal(ops->get(e, NULL, "00000099", 8, NULL, &value, &len), LN_OK);
    assert_int_equal(len, 1024);
    free(value);
    ops->close(e);
}

static void a_second_open_is_locked_out(void **state) {
    (void)state;
    struct ln_engine *e = open_engine();
    assert_int_equal(open_fails(), LN_ELOCKED);
    ops->close(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(rows_move_to_tables_and_the_size_says_so),
        TEST(damaged_rows_are_an_error_not_a_gap),
        TEST(a_damaged_manifest_refuses_to_open),
        TEST(a_missing_manifest_refuses_to_open),
        TEST(a_damaged_log_refuses_to_open),
        TEST(a_log_that_ends_early_has_the_batches_before),
        TEST(tables_without_a_log_are_kept_and_refused),
        TEST(tables_without_current_are_kept_and_refused),
        TEST(a_second_open_is_locked_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
