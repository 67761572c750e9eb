#include "loop.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct ln_loop *loop;
static char trail[256]; /* what was called, in order */

static void mark(char c) {
    size_t n = strlen(trail);
    assert_true(n + 1 < sizeof trail);
    trail[n] = c;
}

static int open_loop(void **state) {
    (void)state;
    memset(trail, 0, sizeof trail);
    return ln_loop_open(&loop);
}

static int close_loop(void **state) {
    (void)state;
    assert_int_equal(ln_loop_close(loop), LN_OK);
    return 0;
}

/* ---- timers */

struct lettered {
    struct ln_timer timer;
    char letter;
};

static void mark_letter(struct ln_timer *timer) {
    mark(((struct lettered *)timer)->letter);
}

static void timers_fire_by_due_time_and_then_by_start_order(void **state) {
    (void)state;
    struct lettered a = {.letter = 'a'}, b = {.letter = 'b'}, c = {.letter = 'c'};
    assert_int_equal(ln_timer_start(loop, &a.timer, LN_SECOND / 200, 0, mark_letter), LN_OK);
    assert_int_equal(ln_timer_start(loop, &b.timer, LN_SECOND / 1000, 0, mark_letter), LN_OK);
    assert_int_equal(ln_timer_start(loop, &c.timer, LN_SECOND / 200, 0, mark_letter), LN_OK);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "bac");
    assert_false(ln_loop_alive(loop));
}

static struct lettered *other;

static void stop_the_other(struct ln_timer *timer) {
    mark_letter(timer);
    ln_timer_stop(&other->timer);
}

static void a_timer_stopped_by_one_that_is_due_with_it_does_not_fire(void **state) {
    (void)state;
    struct lettered a = {.letter = 'a'}, b = {.letter = 'b'};
    other = &b;
    assert_int_equal(ln_timer_start(loop, &a.timer, 0, 0, stop_the_other), LN_OK);
    assert_int_equal(ln_timer_start(loop, &b.timer, 0, 0, mark_letter), LN_OK);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "a");
}

static void restart_at_once(struct ln_timer *timer) {
    mark_letter(timer);
    if (strlen(trail) < 3)
        assert_int_equal(ln_timer_start(loop, timer, 0, 0, restart_at_once), LN_OK);
}

static void a_timer_that_a_timer_adds_waits_for_the_next_iteration(void **state) {
    (void)state;
    struct lettered a = {.letter = 'a'};
    assert_int_equal(ln_timer_start(loop, &a.timer, 0, 0, restart_at_once), LN_OK);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    assert_string_equal(trail, "a");
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    assert_string_equal(trail, "aa");
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "aaa");
}

static void stop_after_three(struct ln_timer *timer) {
    mark_letter(timer);
    if (strlen(trail) == 3)
        ln_timer_stop(timer);
}

static void an_interval_repeats_until_it_is_stopped(void **state) {
    (void)state;
    struct lettered a = {.letter = 'a'};
    assert_int_equal(ln_timer_start(loop, &a.timer, 0, LN_SECOND / 1000, stop_after_three), LN_OK);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "aaa");
}

static int64_t last_due;
static size_t fired;

static void due_never_goes_back(struct ln_timer *timer) {
    assert_true(timer->due >= last_due);
    last_due = timer->due;
    fired++;
}

static void a_thousand_timers_keep_order_while_others_are_stopped(void **state) {
    (void)state;
    static struct ln_timer timers[1000];
    last_due = 0;
    fired = 0;
    srand(7);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(
            ln_timer_start(loop, &timers[i], rand() % (LN_SECOND / 100), 0, due_never_goes_back),
            LN_OK);
    for (size_t i = 0; i < 1000; i += 3)
        ln_timer_stop(&timers[i]);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(fired, 666);
}

/* ---- the order of one iteration */

static struct ln_job deferred, deliver, flush, closing;
static struct ln_hook hook;
static struct ln_io pipe_io;
static int pipe_fds[2];

static void mark_closing(struct ln_job *job) {
    (void)job;
    mark('c');
}
static void mark_flush(struct ln_job *job) {
    (void)job;
    mark('f');
    ln_loop_closing(loop, &closing, mark_closing);
}
static void mark_hook(struct ln_hook *h) {
    (void)h;
    mark('h');
}
static void mark_deliver(struct ln_job *job) {
    (void)job;
    mark('r');
}
static void mark_io(struct ln_io *io, uint32_t events) {
    assert_int_equal(events, EPOLLIN);
    mark('i');
    ln_io_stop(io);
    ln_loop_deliver(loop, &deliver, mark_deliver, 0);
    ln_loop_flush(loop, &flush, mark_flush);
}
static void mark_deferred(struct ln_job *job) {
    (void)job;
    mark('d');
}
static void mark_timer(struct ln_timer *timer) {
    (void)timer;
    mark('t');
    ln_loop_defer(loop, &deferred, mark_deferred);
    ln_loop_defer(loop, &deferred, mark_deferred);
}

static void an_iteration_runs_its_phases_in_the_order_of_the_header(void **state) {
    (void)state;
    struct ln_timer timer = {0};
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    ln_hook_add(loop, &hook, mark_hook);
    assert_int_equal(ln_io_start(loop, &pipe_io, pipe_fds[0], EPOLLIN, mark_io), LN_OK);
    assert_int_equal(ln_timer_start(loop, &timer, 0, 0, mark_timer), LN_OK);
    assert_int_equal(ln_loop_step(loop, LN_SECOND), LN_OK);
    assert_string_equal(trail, "tdirhfc");
    ln_hook_remove(loop, &hook);
    assert_false(ln_loop_alive(loop));
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* Reads all that the loop has space for, with a letter of its own. */
struct reader {
    struct ln_io io;
    struct ln_job job;
    char letter;
    const char *read;
};

static void check_what_was_read(struct ln_job *job) {
    struct reader *r = LN_OWNER(struct reader, job, job);
    for (size_t i = 0; i < LN_LOOP_READ; i++)
        assert_int_equal(r->read[i], r->letter);
    mark(r->letter);
}

static void fill_the_space(struct ln_io *io, uint32_t events) {
    struct reader *r = LN_OWNER(struct reader, io, io);
    (void)events;
    r->read = memset(ln_loop_space(loop), r->letter, LN_LOOP_READ);
    ln_io_stop(io);
    ln_loop_deliver(loop, &r->job, check_what_was_read, LN_LOOP_READ);
}

static void what_was_read_stays_until_it_is_delivered_however_much_comes(void **state) {
    (void)state;
    enum { READERS = 20 };
    struct reader readers[READERS] = {0};
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    int fds[READERS];
    for (int i = 0; i < READERS; i++) {
        fds[i] = dup(pipe_fds[0]);
        readers[i].letter = (char)('a' + i);
        assert_int_equal(ln_io_start(loop, &readers[i].io, fds[i], EPOLLIN, fill_the_space), LN_OK);
    }
    assert_int_equal(ln_loop_step(loop, LN_SECOND), LN_OK);
    assert_int_equal(strlen(trail), READERS);
    for (int i = 0; i < READERS; i++) {
        assert_non_null(strchr(trail, readers[i].letter));
        close(fds[i]);
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void a_cancelled_job_is_not_called(void **state) {
    (void)state;
    ln_loop_defer(loop, &deferred, mark_deferred);
    ln_job_cancel(&deferred);
    ln_job_cancel(&deferred);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    assert_string_equal(trail, "");
}

static void cancel_flush(struct ln_job *job) {
    (void)job;
    mark('x');
    ln_job_cancel(&flush);
}

static void a_job_can_cancel_another_of_the_same_batch(void **state) {
    (void)state;
    ln_loop_defer(loop, &deferred, cancel_flush);
    ln_loop_defer(loop, &flush, mark_deferred);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    assert_string_equal(trail, "x");
}

static void step_inside(struct ln_job *job) {
    (void)job;
    assert_int_equal(ln_loop_step(loop, 0), -EBUSY);
    assert_int_equal(ln_loop_run(loop), -EBUSY);
    mark('x');
}

static void the_loop_refuses_to_run_inside_of_a_callback(void **state) {
    (void)state;
    ln_loop_defer(loop, &deferred, step_inside);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    assert_string_equal(trail, "x");
}

/* ---- io */

static struct ln_io ios[2];
static int pairs[2][2];

/* Whichever comes first stops the other, closes its descriptor and lets a new one take its number.
 */
static void replace_the_other(struct ln_io *io, uint32_t events) {
    (void)events;
    struct ln_io *victim = io == &ios[0] ? &ios[1] : &ios[0];
    int fd = victim->fd, fresh[2];
    mark('r');
    ln_io_stop(io);
    ln_io_stop(victim);
    close(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fresh), 0);
    assert_true(fresh[0] == fd || fresh[1] == fd);
    assert_int_equal(ln_io_start(loop, victim, fd, EPOLLIN, mark_io), LN_OK);
    pairs[victim - ios][0] = fresh[0];
    close(pairs[victim - ios][1]);
    pairs[victim - ios][1] = fresh[1];
}

static void an_event_for_a_recycled_descriptor_is_dropped(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]), 0);
        assert_int_equal(write(pairs[i][1], "x", 1), 1);
        assert_int_equal(ln_io_start(loop, &ios[i], pairs[i][0], EPOLLIN, replace_the_other),
                         LN_OK);
    }
    assert_int_equal(ln_loop_step(loop, LN_SECOND), LN_OK);
    assert_string_equal(trail, "r"); /* the second event of the batch reached nobody */
    for (int i = 0; i < 2; i++) {
        ln_io_stop(&ios[i]);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
}

static void a_bad_descriptor_is_refused_and_leaves_nothing_behind(void **state) {
    (void)state;
    struct ln_io io = {0};
    assert_int_equal(ln_io_start(loop, &io, -1, EPOLLIN, mark_io), -EBADF);
    assert_false(ln_io_active(&io));
    assert_false(ln_loop_alive(loop));
}

/* ---- signals */

static void mark_signal(struct ln_signal *s) {
    mark('s');
    ln_signal_stop(loop, s);
    ln_loop_stop(loop);
}

static void a_signal_reaches_every_watcher_and_keeps_nothing_alive(void **state) {
    (void)state;
    struct ln_signal one = {0}, two = {0};
    assert_int_equal(ln_signal_start(loop, &one, SIGUSR1, mark_signal), LN_OK);
    assert_int_equal(ln_signal_start(loop, &two, SIGUSR1, mark_signal), LN_OK);
    assert_false(ln_loop_alive(loop));
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(ln_loop_step(loop, LN_SECOND), LN_OK);
    assert_string_equal(trail, "ss");
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    assert_false(sigismember(&now, SIGUSR1)); /* its former effect is back */
    assert_int_equal(ln_signal_start(loop, &one, SIGKILL, mark_signal), -EINVAL);
}

static void a_signal_that_nobody_can_watch_is_refused(void **state) {
    (void)state;
    static const int refused[] = {-1, 0, SIGKILL, SIGSTOP, NSIG, 1000};
    struct ln_signal one = {0};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_int_equal(ln_signal_start(loop, &one, refused[i], mark_signal), -EINVAL);
}

static void a_signal_that_was_blocked_stays_blocked(void **state) {
    (void)state;
    struct ln_signal one = {0};
    sigset_t set, now;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    assert_int_equal(ln_signal_start(loop, &one, SIGUSR2, mark_signal), LN_OK);
    ln_signal_stop(loop, &one);
    ln_signal_stop(loop, &one); /* once is enough */
    pthread_sigmask(SIG_UNBLOCK, &set, &now);
    assert_true(sigismember(&now, SIGUSR2));
}

/* A thread that a library started blocks nothing. */
static void *wait_to_end(void *go_on) {
    sem_wait(go_on);
    return NULL;
}

static void a_signal_that_meets_another_thread_reaches_its_watcher(void **state) {
    (void)state;
    struct ln_signal watcher = {0};
    pthread_t thread;
    sem_t go_on;
    sem_init(&go_on, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_to_end, &go_on), 0);
    assert_int_equal(ln_signal_start(loop, &watcher, SIGUSR2, mark_signal), LN_OK);
    assert_int_equal(pthread_kill(thread, SIGUSR2), 0);
    int64_t deadline = ln_loop_now(loop) + 20 * LN_SECOND;
    while (trail[0] == '\0' && ln_loop_now(loop) < deadline)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 10), LN_OK);
    assert_string_equal(trail, "s");
    sem_post(&go_on);
    pthread_join(thread, NULL);
    sem_destroy(&go_on);
}

/* ---- stop and alive */

static void stop_the_loop(struct ln_timer *timer) {
    mark_letter(timer);
    ln_loop_stop(loop);
}

static void stop_ends_run_and_the_next_run_goes_on(void **state) {
    (void)state;
    struct lettered a = {.letter = 'a'}, b = {.letter = 'b'};
    assert_int_equal(ln_timer_start(loop, &a.timer, 0, 0, stop_the_loop), LN_OK);
    assert_int_equal(ln_timer_start(loop, &b.timer, LN_SECOND / 500, 0, mark_letter), LN_OK);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "a");
    assert_true(ln_loop_alive(loop));
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "ab");
}

static void the_time_moves_on_after_a_sleep(void **state) {
    (void)state;
    struct lettered a = {.letter = 'a'};
    int64_t before = ln_loop_now(loop);
    assert_int_equal(ln_timer_start(loop, &a.timer, LN_SECOND / 500, 0, mark_letter), LN_OK);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_true(ln_loop_now(loop) - before >= LN_SECOND / 500);
}

/* ---- asyncs */

enum { POSTERS = 4, POSTS = 1000 };

static struct ln_async async;
static atomic_int said; /* by the threads */
static int heard;       /* by the loop */

static void hear(struct ln_async *a) {
    (void)a;
    heard = atomic_load(&said);
}

static void *post_often(void *arg) {
    for (int i = 0; i < POSTS; i++) {
        atomic_fetch_add(&said, 1);
        ln_async_post(arg);
    }
    return NULL;
}

static void what_threads_post_reaches_the_loop(void **state) {
    (void)state;
    pthread_t threads[POSTERS];
    atomic_store(&said, 0);
    heard = 0;
    assert_int_equal(ln_async_start(loop, &async, hear), LN_OK);
    ln_async_hold(&async);
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_often, &async), 0);
    for (int turns = 0; turns < 100000 && heard < POSTERS * POSTS; turns++)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 100), LN_OK);
    assert_int_equal(heard, POSTERS * POSTS);
    for (int i = 0; i < POSTERS; i++) /* the last may still be inside of its post */
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    ln_async_stop(&async);
    assert_false(ln_loop_alive(loop));
}

static void mark_async(struct ln_async *a) {
    mark(a == &async ? 'a' : 'b');
}

static void a_post_is_answered_between_sockets_and_hooks(void **state) {
    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    assert_int_equal(ln_async_start(loop, &async, mark_async), LN_OK);
    ln_hook_add(loop, &hook, mark_hook);
    ln_async_post(&async);
    ln_async_post(&async); /* before the first was answered: one call */
    assert_int_equal(ln_io_start(loop, &pipe_io, pipe_fds[0], EPOLLIN, mark_io), LN_OK);
    assert_int_equal(ln_loop_step(loop, LN_SECOND), LN_OK);
    assert_string_equal(trail, "irahfc");
    ln_async_stop(&async);
    ln_hook_remove(loop, &hook);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void only_held_work_keeps_the_loop_alive(void **state) {
    (void)state;
    assert_int_equal(ln_async_start(loop, &async, mark_async), LN_OK);
    assert_false(ln_loop_alive(loop));
    assert_int_equal(ln_loop_close(loop), -EBUSY); /* a thread may still post */
    ln_async_hold(&async);
    ln_async_hold(&async);
    ln_async_release(&async);
    assert_true(ln_loop_alive(loop));
    ln_async_stop(&async);
    ln_async_stop(&async);
    assert_false(ln_loop_alive(loop));
}

static struct ln_async second_async;

static void stop_both(struct ln_async *a) {
    mark_async(a);
    ln_async_stop(&async);
    ln_async_stop(&second_async);
}

static void an_async_that_another_stops_hears_nothing(void **state) {
    (void)state;
    for (int round = 0; round < 2; round++) { /* the second time with an eventfd of its own */
        assert_int_equal(ln_async_start(loop, &async, stop_both), LN_OK);
        assert_int_equal(ln_async_start(loop, &second_async, stop_both), LN_OK);
        ln_async_post(&second_async);
        ln_async_post(&async);
        assert_int_equal(ln_loop_step(loop, 0), LN_OK);
        assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    }
    assert_string_equal(trail, "aa");
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)
    const struct CMUnitTest tests[] = {
        TEST(timers_fire_by_due_time_and_then_by_start_order),
        TEST(a_timer_stopped_by_one_that_is_due_with_it_does_not_fire),
        TEST(a_timer_that_a_timer_adds_waits_for_the_next_iteration),
        TEST(an_interval_repeats_until_it_is_stopped),
        TEST(a_thousand_timers_keep_order_while_others_are_stopped),
        TEST(an_iteration_runs_its_phases_in_the_order_of_the_header),
        TEST(what_was_read_stays_until_it_is_delivered_however_much_comes),
        TEST(a_cancelled_job_is_not_called),
        TEST(a_job_can_cancel_another_of_the_same_batch),
        TEST(the_loop_refuses_to_run_inside_of_a_callback),
        TEST(an_event_for_a_recycled_descriptor_is_dropped),
        TEST(a_bad_descriptor_is_refused_and_leaves_nothing_behind),
        TEST(a_signal_reaches_every_watcher_and_keeps_nothing_alive),
        TEST(a_signal_that_nobody_can_watch_is_refused),
        TEST(a_signal_that_was_blocked_stays_blocked),
        TEST(a_signal_that_meets_another_thread_reaches_its_watcher),
        TEST(stop_ends_run_and_the_next_run_goes_on),
        TEST(the_time_moves_on_after_a_sleep),
        TEST(what_threads_post_reaches_the_loop),
        TEST(a_post_is_answered_between_sockets_and_hooks),
        TEST(only_held_work_keeps_the_loop_alive),
        TEST(an_async_that_another_stops_hears_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
