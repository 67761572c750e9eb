#include "store_test.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- rows */

static void writes_are_read_at_once_and_kept_by_commit(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    put(s, "a", "1");
    put(s, "b", "2");
    drop(s, "never");
    assert_value(s, "a", "1");
    assert_int_equal(ln_store_pending(s), 3);
    commit(s);
    assert_int_equal(ln_store_pending(s), 0);
    drop(s, "a");
    assert_value(s, "a", NULL);
    put(s, "c", "lost");
    ln_store_close(s); /* without a commit */
    s = open_store();
    assert_rows(s, "", NULL, "a=1 b=2");
    ln_store_close(s);
}

static void rollback_undoes_the_writes_since_the_mark(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    put(s, "stored", "1");
    commit(s);
    put(s, "a", "1");
    ln_store_begin(s);
    put(s, "a", "2");
    put(s, "b", "2");
    drop(s, "stored");
    ln_store_rollback(s);
    assert_rows(s, "", NULL, "a=1 stored=1");
    put(s, "a", "3");
    commit(s);
    ln_store_rollback(s); /* what is committed stays */
    assert_rows(s, "", NULL, "a=3 stored=1");
    ln_store_close(s);
}

static void a_key_or_value_too_long_is_refused(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    assert_int_equal(ln_store_put(s, "k", LN_STORE_MAX_BYTES + 1, "", 0), -E2BIG);
    assert_int_equal(ln_store_put(s, "k", 1, "", LN_STORE_MAX_BYTES + 1), -E2BIG);
    assert_int_equal(ln_store_delete(s, "k", LN_STORE_MAX_BYTES + 1), -E2BIG);
    assert_int_equal(ln_store_pending(s), 0);
    ln_store_close(s);
}

static void stats_count(void **state) {
    (void)state;
    struct ln_store_stats stats;
    struct ln_store *s = open_store();
    put(s, "a", "123");
    commit(s);
    commit(s); /* nothing to do */
    put(s, "b", "12");
    ln_store_stats(s, &stats);
    assert_int_equal(stats.pending, 1);
    assert_int_equal(stats.pending_bytes, 3);
    assert_int_equal(stats.batches, 1);
    assert_string_equal(stats.engine, "leveldb");
    ln_store_close(s);
}

/* A process that is killed after a commit: all of its batches are there, and nothing uncommitted.
 */
static void a_commit_survives_the_death_of_the_process(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct ln_store *s = NULL;
        if (ln_store_open(loop, path, NULL, NULL, &s) != LN_OK)
            _exit(1);
        for (char i = 0; i < 100; i++) {
            (void)ln_store_put(s, &i, 1, "x", 1);
            if (i % 10 == 9 && ln_store_commit(s, i % 20 == 9, NULL) != LN_OK)
                _exit(2);
        }
        (void)ln_store_put(s, "pending", 7, "x", 1);
        (void)raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct ln_store *s = open_store();
    struct ln_scan *sc = scan(s, "", NULL);
    struct ln_overlay_row row;
    for (char i = 0; i < 100; i++) {
        assert_int_equal(ln_scan_next(sc, NULL, &row), LN_OK);
        assert_int_equal(row.key[0], i);
    }
    assert_int_equal(ln_scan_next(sc, NULL, &row), LN_EOF);
    ln_scan_close(sc);
    ln_store_close(s);
}

/* ---- scans */

static void a_scan_merges_what_is_pending_with_what_is_stored(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    put(s, "a", "1");
    put(s, "c", "1");
    put(s, "e", "1");
    commit(s);
    put(s, "b", "2");
    put(s, "c", "2");
    put(s, "f", "2");
    drop(s, "e");
    drop(s, "z");
    assert_rows(s, "", NULL, "a=1 b=2 c=2 f=2");
    assert_rows(s, "b", "f", "b=2 c=2");
    assert_rows(s, "bb", "c", "");
    assert_rows(s, "bb", "c\x01", "c=2");
    assert_rows(s, "", "", "");
    assert_rows(s, "g", NULL, "");
    ln_store_close(s);
}

static void a_scan_goes_on_through_writes_rollback_and_commit(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    struct ln_overlay_row row;
    put(s, "a", "1");
    put(s, "c", "1");
    commit(s);
    put(s, "b", "2");
    put(s, "d", "2");
    struct ln_scan *sc = scan(s, "", NULL);
    assert_int_equal(ln_scan_next(sc, NULL, &row), LN_OK);
    assert_memory_equal(row.key, "a", 1);
    commit(s); /* b and d move to the engine */
    assert_int_equal(ln_scan_next(sc, NULL, &row), LN_OK);
    assert_memory_equal(row.key, "b", 1);
    ln_store_begin(s);
    put(s, "bb", "3");
    drop(s, "c");
    assert_int_equal(ln_scan_next(sc, NULL, &row), LN_OK);
    assert_memory_equal(row.key, "bb", 2);
    ln_store_rollback(s); /* the row it stands on is gone */
    put(s, "aa", "behind");
    assert_rest(sc, "c=1 d=2");
    put(s, "x", "late");
    assert_rest(sc, ""); /* the end is the end */
    ln_scan_close(sc);
    ln_store_close(s);
}

static void a_scan_outlives_its_store(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    struct ln_overlay_row row;
    struct ln_detail detail;
    put(s, "a", "1");
    commit(s);
    struct ln_scan *fresh = scan(s, "", NULL), *used = scan(s, "", NULL), *gone = scan(s, "", NULL);
    assert_int_equal(ln_scan_next(used, NULL, &row), LN_OK);
    ln_scan_close(gone);
    ln_store_close(s);
    assert_int_equal(ln_scan_next(fresh, &detail, &row), -EBADF);
    assert_int_equal(ln_scan_next(used, &detail, &row), -EBADF);
    ln_scan_close(used);
    ln_scan_close(fresh);
}

/* ---- opening what cannot be opened */

static void assert_open_fails(int status, const char *cause, const char *remedy) {
    struct ln_store *s = NULL;
    struct ln_detail detail = {{0}};
    int rc = ln_store_open(loop, path, NULL, &detail, &s);
    if (rc != status)
        fail_msg("%s: %s", ln_status_name(rc), detail.text);
    assert_null(s);
    assert_non_null(strstr(detail.text, cause));
    assert_non_null(strstr(detail.text, remedy));
    assert_null(strchr(detail.text, '\n'));
}

static bool has(const char *name) {
    char file[128];
    snprintf(file, sizeof file, "%s/%s", path, name);
    return access(file, F_OK) == 0;
}

/* Runs fn in a child, as nobody where we are root; it returns its exit code. */
static int in_child(int (*fn)(void)) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
            _exit(99);
        _exit(fn());
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static pid_t holder;

static int open_as_another(void) {
    struct ln_store *s = NULL;
    struct ln_detail detail = {{0}};
    char expected[64];
    int rc = ln_store_open(loop, path, NULL, &detail, &s);
    snprintf(expected, sizeof expected, "is in use by process %d; stop it", (int)holder);
    return rc == LN_ELOCKED && strstr(detail.text, expected) ? 0 : 1;
}

static void a_directory_in_use_names_who_has_it(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    char lock[128];
    snprintf(lock, sizeof lock, "%s/LOCK", path);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(chmod(lock, 0666), 0); /* the other process runs as nobody */
    holder = getpid();
    assert_int_equal(in_child(open_as_another), 0);
    assert_open_fails(LN_ELOCKED, "in use by process", "or give another --data"); /* nor can we */
    assert_int_equal(truncate(lock, 0), 0);
    assert_open_fails(LN_ELOCKED, "in use by another process", "or give another --data");
    put(s, "still", "works");
    commit(s);
    ln_store_close(s);
    ln_store_close(open_store()); /* it is free again */
}

static void a_newer_format_is_left_alone(void **state) {
    (void)state;
    test_dir_write(path, "FORMAT", "lunode data 3\n");
    assert_open_fails(LN_EVERSION, "has format 3", "run a newer lunode");
    test_dir_write(path, "FORMAT", "lunode data 2\nengine granite\n");
    assert_open_fails(LN_EVERSION, "of the engine granite", "run a newer lunode");
    assert_false(has("LOCK"));
    assert_false(has("db"));
}

static void what_is_not_ours_is_left_alone(void **state) {
    (void)state;
    test_dir_write(path, "thesis.txt", "the only copy");
    assert_open_fails(LN_EFOREIGN, "thesis.txt", "give an empty or a new one with --data");
    assert_false(has("LOCK"));
    assert_false(has("FORMAT"));
    test_dir_write(path, "LOCK", ""); /* another program's */
    assert_open_fails(LN_EFOREIGN, "thesis.txt", "give an empty or a new one with --data");
    assert_false(has("FORMAT"));
    const char *formats[] = {"",
                             "leveldb",
                             "lunode data",
                             "lunode data \n",
                             "lunode data 0\n",
                             "lunode data -1\n",
                             "lunode data 1",
                             "lunode data 1\nmore\n",
                             "lunode data 2\n",
                             "lunode data 2\nengine leveldb",
                             "lunode data 2\nengine leveldb\nmore\n",
                             "lunode data 2\nengine a name that is longer than any engine's\n"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        test_dir_write(path, "FORMAT", formats[i]);
        assert_open_fails(LN_EFOREIGN, "not lunode's", "give another --data");
    }
    assert_false(has("db"));
}

static void an_open_that_never_finished_is_taken_up(void **state) {
    (void)state;
    test_dir_write(path, "LOCK", "12345\n");
    test_dir_write(path, "FORMAT.tmp", "lunode");
    ln_store_close(open_store());
    assert_true(has("FORMAT"));
    assert_false(has("FORMAT.tmp"));
    ln_store_close(open_store());
}

static void a_missing_directory_is_made_on_request_only(void **state) {
    (void)state;
    char top[64];
    struct ln_store *s = NULL;
    struct ln_detail detail = {{0}};
    struct ln_store_options options = LN_STORE_OPTIONS_DEFAULT;
    strcpy(top, path);
    strcat(path, "/new");
    options.create = false;
    assert_int_equal(ln_store_open(loop, path, &options, &detail, &s), -ENOENT);
    assert_non_null(strstr(detail.text, "create it, or give another --data"));
    assert_int_not_equal(access(path, F_OK), 0);
    strcat(path, "/deep");
    assert_open_fails(-ENOENT, "its parent does not exist", "create that");
    *strrchr(path, '/') = 0;
    ln_store_close(open_store());
    strcat(path, "/FORMAT");
    assert_open_fails(-ENOTDIR, "Not a directory", "give another --data");
    strcpy(path, top);
}

static void a_damaged_engine_says_so(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    put(s, "a", "1");
    commit(s);
    ln_store_close(s);
    test_dir_write(path, "db/CURRENT", "MANIFEST-000099\n");
    assert_open_fails(LN_ECORRUPT, "is damaged", "restore it from a backup");
    test_dir_write(path, "db/CURRENT", "nonsense");
    assert_open_fails(LN_ECORRUPT, "is damaged", "restore it from a backup");
    test_dir_write(path, "db/CURRENT", "MANIFEST-000002\n");
    s = open_store();
    assert_value(s, "a", "1");
    ln_store_close(s);
}

static int open_without_rights(void) {
    struct ln_store *s = NULL;
    struct ln_detail detail = {{0}};
    int rc = ln_store_open(loop, path, NULL, &detail, &s);
    return rc == -EACCES && strstr(detail.text, "Permission denied; give this user") ? 0 : 1;
}

static void a_directory_without_rights_says_so(void **state) {
    (void)state;
    ln_store_close(open_store());
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(in_child(open_without_rights), 0);
    assert_int_equal(chmod(path, 0755), 0);
    if (geteuid() == 0) /* else LOCK is our own */
        assert_int_equal(in_child(open_without_rights), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

/* ---- commits that fail */

static void assert_commit_fails(struct ln_store *s, bool sync, int status, const char *cause) {
    struct ln_detail detail = {{0}};
    assert_int_equal(ln_store_commit(s, sync, &detail), status);
    assert_non_null(strstr(detail.text, "cannot write to data directory"));
    assert_non_null(strstr(detail.text, cause));
}

/* Lets no file grow past limit bytes. */
static void limit_files(rlim_t limit) {
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
    r.rlim_cur = limit;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static void a_failed_commit_stops_the_store_and_keeps_the_writes(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    char big[20000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    put(s, "a", "1");
    commit(s);
    put(s, "a", "2");
    put(s, "big", big);
    (void)signal(SIGXFSZ, SIG_IGN);
    limit_files(10000);
    assert_commit_fails(s, false, -EFBIG, "File too large");
    limit_files(RLIM_INFINITY);
    assert_commit_fails(s, false, -EFBIG, "File too large"); /* also now that it could */
    assert_commit_fails(s, true, -EFBIG, "File too large");
    assert_value(s, "a", "2");
    assert_value(s, "big", big);
    assert_int_equal(ln_store_pending(s), 2);
    ln_store_close(s);
    s = open_store(); /* the batch is there as a whole, or not at all */
    assert_value(s, "a", "1");
    assert_value(s, "big", NULL);
    ln_store_close(s);
}

static void a_full_disk_is_named(void **state) {
    (void)state;
    if (mount("lunode_test", path, "tmpfs", 0, "size=256k") != 0) {
        print_message("cannot mount a small tmpfs here: %s\n", strerror(errno));
        skip();
    }
    struct ln_store *s = open_store();
    char value[1000] = {0};
    struct ln_detail detail = {{0}};
    int commits = 0, rc;
    do {
        assert_int_equal(ln_store_put(s, &commits, sizeof commits, value, sizeof value), LN_OK);
        rc = ln_store_commit(s, false, &detail);
    } while (rc == LN_OK && ++commits < 1000);
    assert_int_equal(rc, -ENOSPC);
    assert_non_null(strstr(detail.text, "free some space"));
    assert_commit_fails(s, true, -ENOSPC, "No space left on device");
    ln_store_close(s);
    assert_open_fails(-ENOSPC, "No space left on device", "free some space");
    assert_int_equal(mount("lunode_test", path, "tmpfs", MS_REMOUNT, "size=4m"), 0);
    s = open_store();
    for (int i = 0; i < commits; i++) { /* all that was acknowledged, and nothing half */
        struct ln_value found = {0};
        assert_int_equal(ln_store_get(s, &i, sizeof i, NULL, &found), LN_OK);
        assert_int_equal(found.len, sizeof value);
        ln_value_release(&found);
    }
    ln_store_close(s);
}

static int unmount(void **state) {
    (void)umount2(path, MNT_DETACH); /* fails where it was not mounted */
    return tear_down(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(writes_are_read_at_once_and_kept_by_commit),
        TEST(rollback_undoes_the_writes_since_the_mark),
        TEST(a_key_or_value_too_long_is_refused),
        TEST(stats_count),
        TEST(a_commit_survives_the_death_of_the_process),
        TEST(a_scan_merges_what_is_pending_with_what_is_stored),
        TEST(a_scan_goes_on_through_writes_rollback_and_commit),
        TEST(a_scan_outlives_its_store),
        TEST(a_directory_in_use_names_who_has_it),
        TEST(a_newer_format_is_left_alone),
        TEST(what_is_not_ours_is_left_alone),
        TEST(an_open_that_never_finished_is_taken_up),
        TEST(a_missing_directory_is_made_on_request_only),
        TEST(a_damaged_engine_says_so),
        TEST(a_directory_without_rights_says_so),
        TEST(a_failed_commit_stops_the_store_and_keeps_the_writes),
        cmocka_unit_test_setup_teardown(a_full_disk_is_named, set_up, unmount),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
