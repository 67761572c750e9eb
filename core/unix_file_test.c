#include "test_dir.h"
#include "unix_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/stat.h>

static char dir[64], path[80], host[90];
static struct ln_addr addr;
static struct ln_unix_file file;

static void use_name(const char *name) {
    struct ln_addr addrs[LN_ADDR_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    (void)snprintf(host, sizeof host, "unix:%s", path);
    assert_int_equal(ln_addr_parse(host, 0, addrs), 1);
    addr = addrs[0];
}

static int open_world(void **state) {
    (void)state;
    umask(022);
    test_dir_make(dir);
    use_name("socket");
    file = (struct ln_unix_file){.ino = 0};
    return 0;
}

static int close_world(void **state) {
    (void)state;
    test_dir_remove(dir);
    return 0;
}

static int new_socket(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    return fd;
}

/* The listening socket. */
static int listening(mode_t mode) {
    int fd = new_socket();
    assert_int_equal(ln_unix_listen(fd, &addr, 5, mode, &file), LN_OK);
    return fd;
}

static void expect_refusal(int status) {
    struct ln_unix_file other = {.ino = 0};
    int fd = new_socket();
    assert_int_equal(ln_unix_listen(fd, &addr, 5, 0, &other), status);
    assert_int_equal(other.ino, 0);
    close(fd);
}

static bool exists(void) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static bool answers(void) {
    int fd = new_socket();
    bool ok = connect(fd, (const struct sockaddr *)&addr.ss, addr.len) == 0;
    close(fd);
    return ok;
}

static unsigned mode_of_file(void) {
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    return st.st_mode & 07777;
}

static void the_file_comes_with_the_socket_and_goes_before_it(void **state) {
    (void)state;
    int fd = listening(0);
    assert_true(answers());
    ln_unix_file_remove(&file);
    ln_unix_file_remove(&file);
    assert_false(exists());
    close(fd);
}

static void the_mode_is_what_was_asked_for_whatever_the_umask(void **state) {
    (void)state;
    const mode_t masks[] = {022, 0, 0777}, modes[] = {0600, 0660, 0666, 0777};
    for (size_t m = 0; m < 3; m++) {
        umask(masks[m]);
        for (size_t i = 0; i < 4; i++) {
            int fd = listening(modes[i]);
            assert_int_equal(mode_of_file(), modes[i]);
            ln_unix_file_remove(&file);
            close(fd);
        }
    }
    umask(027);
    int fd = listening(0);
    assert_int_equal(mode_of_file(), 0750);
    close(fd);
}

static void a_stale_file_is_replaced(void **state) {
    (void)state;
    close(listening(0)); /* as a process that was killed leaves it */
    assert_true(exists());
    assert_false(answers());
    int fd = listening(0600);
    assert_true(answers());
    assert_int_equal(mode_of_file(), 0600);
    close(fd);
}

static void a_live_one_is_refused_and_goes_on(void **state) {
    (void)state;
    int fd = listening(0);
    struct stat before, after;
    assert_int_equal(lstat(path, &before), 0);
    expect_refusal(LN_EUNIX_LIVE);
    assert_int_equal(lstat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_true(answers());
    close(fd);
}

static void one_whose_backlog_is_full_is_alive(void **state) {
    (void)state;
    int fd = listening(0), fillers[16];
    for (size_t i = 0; i < 16; i++) {
        fillers[i] = new_socket();
        (void)connect(fillers[i], (const struct sockaddr *)&addr.ss, addr.len);
    }
    assert_false(answers());
    expect_refusal(LN_EUNIX_LIVE);
    for (size_t i = 0; i < 16; i++)
        close(fillers[i]);
    close(fd);
}

static void a_socket_of_another_type_is_alive(void **state) {
    (void)state;
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr.ss, addr.len), 0);
    expect_refusal(LN_EUNIX_LIVE);
    assert_true(exists());
    close(fd);
}

static void what_is_no_socket_is_left_alone(void **state) {
    (void)state;
    char target[80];
    test_dir_write(dir, "socket", "precious");
    expect_refusal(LN_EUNIX_FILE);
    assert_true(exists());
    use_name("directory");
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refusal(LN_EUNIX_FILE);
    (void)snprintf(target, sizeof target, "%s/target", dir);
    use_name("link");
    assert_int_equal(symlink(target, path), 0); /* dangling: nothing must appear there */
    expect_refusal(LN_EUNIX_FILE);
    assert_int_equal(access(target, F_OK), -1);
    assert_true(exists());
}

static void a_directory_that_is_missing_is_named_by_its_code(void **state) {
    (void)state;
    use_name("no/socket");
    expect_refusal(-ENOENT);
}

static void a_file_that_is_no_longer_ours_stays(void **state) {
    (void)state;
    int fd = listening(0);
    struct ln_unix_file first = file;
    assert_int_equal(unlink(path), 0);
    int second = listening(0);
    ln_unix_file_remove(&first);
    assert_true(exists());
    assert_true(answers());
    first = file;
    assert_int_equal(unlink(path), 0);
    test_dir_write(dir, "socket", "precious");
    ln_unix_file_remove(&first);
    assert_true(exists());
    close(fd);
    close(second);
}

static void an_abstract_name_has_no_file(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    char name[64];
    (void)snprintf(name, sizeof name, "unix:@lunode-test-%d", (int)getpid());
    assert_int_equal(ln_addr_parse(name, 0, addrs), 1);
    addr = addrs[0];
    int fd = listening(0600);
    assert_true(answers());
    assert_int_equal(file.ino, 0);
    expect_refusal(-EADDRINUSE);
    ln_unix_file_remove(&file);
    close(fd);
}

static void a_path_may_be_relative(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    char former[256];
    assert_non_null(getcwd(former, sizeof former));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(ln_addr_parse("unix:socket", 0, addrs), 1);
    addr = addrs[0];
    int fd = listening(0600);
    assert_true(exists());
    ln_unix_file_remove(&file);
    assert_false(exists());
    close(fd);
    assert_int_equal(chdir(former), 0);
}

static void a_lock_that_somebody_holds_is_not_waited_for_long(void **state) {
    (void)state;
    int held = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(held, LOCK_EX), 0);
    int fd = listening(0);
    assert_true(answers());
    close(fd);
    close(held);
}

static atomic_int won;

static void *race(void *arg) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct ln_unix_file mine = {.ino = 0};
    if (ln_unix_listen(fd, &addr, 5, 0, &mine) == LN_OK)
        atomic_fetch_add(&won, 1);
    *(int *)arg = fd; /* it stays open: who has lost must not be replaced */
    return NULL;
}

/* Servers that start at the same time over one stale file: exactly one gets it. */
static void of_many_that_replace_a_stale_file_one_wins(void **state) {
    (void)state;
    enum { RACERS = 4, ROUNDS = 50 };
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[RACERS];
        int fds[RACERS];
        close(listening(0));
        atomic_store(&won, 0);
        for (int i = 0; i < RACERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, race, &fds[i]), 0);
        for (int i = 0; i < RACERS; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(atomic_load(&won), 1);
        assert_true(answers());
        for (int i = 0; i < RACERS; i++)
            close(fds[i]);
    }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(the_file_comes_with_the_socket_and_goes_before_it),
        TEST(the_mode_is_what_was_asked_for_whatever_the_umask),
        TEST(a_stale_file_is_replaced),
        TEST(a_live_one_is_refused_and_goes_on),
        TEST(one_whose_backlog_is_full_is_alive),
        TEST(a_socket_of_another_type_is_alive),
        TEST(what_is_no_socket_is_left_alone),
        TEST(a_directory_that_is_missing_is_named_by_its_code),
        TEST(a_file_that_is_no_longer_ours_stays),
        TEST(an_abstract_name_has_no_file),
        TEST(a_path_may_be_relative),
        TEST(a_lock_that_somebody_holds_is_not_waited_for_long),
        TEST(of_many_that_replace_a_stale_file_one_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
