#include "test.h"
#include "worker.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static struct ln_loop *loop;
static struct ln_worker *worker;

static char trail[64]; /* the letters of what was done, in order */
static atomic_int running, most_running, ran, dropped;
static sem_t gate; /* jobs of the kind `wait_at_gate` pass it one by one */

struct job {
    struct ln_work work;
    char letter;
    int result;
};

static int open_world(void **state) {
    (void)state;
    memset(trail, 0, sizeof trail);
    atomic_store(&running, 0);
    atomic_store(&most_running, 0);
    atomic_store(&ran, 0);
    atomic_store(&dropped, 0);
    sem_init(&gate, 0, 0);
    return ln_loop_open(&loop);
}

static void wait_until_dropped(int count) {
    for (int i = 0; i < 5000 && atomic_load(&dropped) < count; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&dropped), count);
}

static int close_world(void **state) {
    (void)state;
    ln_worker_close(worker);
    ln_worker_close(worker);
    assert_int_equal(ln_loop_close(loop), LN_OK);
    return 0;
}

static void open_worker(size_t threads, size_t max_queue) {
    struct ln_worker_options options = {.threads = threads, .max_queue = max_queue};
    assert_int_equal(ln_worker_open(loop, &options, &worker), LN_OK);
}

static void note_letter(struct ln_work *work) {
    struct job *job = (struct job *)work;
    size_t n = strlen(trail);
    assert_true(n + 1 < sizeof trail);
    trail[n] = job->letter;
    free(job);
}

static void note_drop(struct ln_work *work) {
    free(work);
    atomic_fetch_add(&dropped, 1);
}

static void count_run(struct ln_work *work) {
    (void)work;
    atomic_fetch_add(&ran, 1);
}

static void wait_at_gate(struct ln_work *work) {
    int now = atomic_fetch_add(&running, 1) + 1, most = atomic_load(&most_running);
    while (now > most && !atomic_compare_exchange_weak(&most_running, &most, now))
        ;
    while (sem_wait(&gate) != 0)
        ;
    atomic_fetch_sub(&running, 1);
    count_run(work);
}

static struct job *new_job(char letter, ln_work_fn run) {
    struct job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    job->letter = letter;
    job->work.run = run;
    job->work.done = note_letter;
    job->work.drop = note_drop;
    return job;
}

static struct job *submit(char letter, ln_work_fn run) {
    struct job *job = new_job(letter, run);
    assert_int_equal(ln_worker_submit(worker, &job->work), LN_OK);
    return job;
}

static void wait_until_running(int count) {
    for (int i = 0; i < 5000 && atomic_load(&running) < count; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&running), count);
}

static void open_gate(int count) {
    for (int i = 0; i < count; i++)
        sem_post(&gate);
}

static void a_job_runs_elsewhere_and_is_done_on_the_loop(void **state) {
    (void)state;
    open_worker(0, 0);
    assert_false(ln_loop_alive(loop)); /* an idle pool is nothing to wait for */
    submit('a', wait_at_gate);
    wait_until_running(1); /* the loop has not turned yet */
    open_gate(1);
    assert_string_equal(trail, "");
    assert_int_equal(ln_loop_run(loop), LN_OK); /* ends, as the job has */
    assert_string_equal(trail, "a");
}

static void completions_come_in_the_order_in_which_jobs_ended(void **state) {
    (void)state;
    open_worker(2, 0);
    submit('a', wait_at_gate); /* lasts */
    wait_until_running(1);
    for (const char *c = "bcdef"; *c; c++)
        submit(*c, count_run);
    for (int i = 0; i < 5000 && strlen(trail) < 5; i++)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    open_gate(1);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "bcdefa");
}

static void no_more_threads_run_than_were_asked_for(void **state) {
    (void)state;
    open_worker(3, 0);
    for (int i = 0; i < 9; i++)
        submit('x', wait_at_gate);
    wait_until_running(3);
    open_gate(9);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "xxxxxxxxx");
    assert_int_equal(atomic_load(&most_running), 3);
}

static void a_full_queue_refuses(void **state) {
    (void)state;
    open_worker(1, 2);
    submit('a', wait_at_gate);
    wait_until_running(1);
    submit('b', count_run);
    submit('c', count_run);
    struct job *job = new_job('d', count_run);
    assert_int_equal(ln_worker_submit(worker, &job->work), -ENOBUFS);
    open_gate(1);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "abc");
    assert_int_equal(ln_worker_submit(worker, &job->work), LN_OK); /* there is room again */
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "abcd");
}

static void only_a_job_that_waits_can_be_cancelled(void **state) {
    (void)state;
    open_worker(1, 0);
    struct job *a = submit('a', wait_at_gate);
    wait_until_running(1);
    struct job *b = submit('b', count_run);
    submit('c', count_run);
    assert_false(ln_worker_cancel(worker, &a->work));
    assert_true(ln_worker_cancel(worker, &b->work));
    assert_false(ln_worker_cancel(worker, &b->work));
    free(b);
    open_gate(1);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "ac");
    assert_int_equal(atomic_load(&ran), 2);
}

static void a_job_that_nobody_waits_for_lets_the_loop_end(void **state) {
    (void)state;
    open_worker(1, 0);
    struct job *a = submit('a', wait_at_gate);
    ln_worker_hold(worker, &a->work, false);
    ln_worker_hold(worker, &a->work, false);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "");
    ln_worker_hold(worker, &a->work, true);
    open_gate(1);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "a");
}

static void closing_waits_for_nobody_and_drops_what_is_left(void **state) {
    (void)state;
    open_worker(1, 0);
    submit('a', count_run);
    for (int i = 0; i < 5000 && atomic_load(&ran) < 1; i++)
        usleep(1000);
    submit('b', wait_at_gate);
    submit('c', count_run);
    wait_until_running(1);
    ln_worker_close(worker);
    assert_int_equal(atomic_load(&dropped), 2); /* what had ended, and what waited */
    struct job *late = new_job('d', count_run);
    assert_int_equal(ln_worker_submit(worker, &late->work), -ECANCELED);
    assert_false(ln_worker_cancel(worker, &late->work));
    free(late);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    open_gate(1); /* only now does the call return, to a pool that is gone */
    wait_until_dropped(3);
    assert_string_equal(trail, "");
    assert_int_equal(ln_worker_open(loop, NULL, &worker), LN_OK); /* for close_world */
}

static void close_and_note(struct ln_work *work) {
    note_letter(work);
    ln_worker_close(worker);
}

static void a_completion_may_close_the_pool(void **state) {
    (void)state;
    open_worker(1, 0);
    struct job *a = new_job('a', count_run);
    a->work.done = close_and_note;
    assert_int_equal(ln_worker_submit(worker, &a->work), LN_OK);
    submit('b', count_run);
    submit('c', count_run);
    for (int i = 0; i < 5000 && atomic_load(&ran) < 3; i++)
        usleep(1000);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(trail, "a");
    wait_until_dropped(2);
    assert_int_equal(ln_worker_open(loop, NULL, &worker), LN_OK);
}

static int rounds;

static void submit_again(struct ln_work *work) {
    if (++rounds < 1000)
        assert_int_equal(ln_worker_submit(worker, work), LN_OK);
    else
        free(work);
}

static void a_completion_may_submit_again(void **state) {
    (void)state;
    open_worker(0, 0);
    rounds = 0;
    for (int i = 0; i < 4; i++) {
        struct job *job = new_job('x', count_run);
        job->work.done = submit_again;
        assert_int_equal(ln_worker_submit(worker, &job->work), LN_OK);
    }
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(rounds, 1003);
    assert_int_equal(atomic_load(&ran), 1003);
}

static void thousands_of_jobs_are_each_done_once(void **state) {
    (void)state;
    enum { MANY = 5000 };
    open_worker(4, MANY);
    rounds = 1000; /* done only counts, and frees */
    for (int i = 0; i < MANY; i++) {
        struct job *job = new_job('x', count_run);
        job->work.done = submit_again;
        assert_int_equal(ln_worker_submit(worker, &job->work), LN_OK);
    }
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(rounds, 1000 + MANY);
    assert_int_equal(atomic_load(&ran), MANY);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(a_job_runs_elsewhere_and_is_done_on_the_loop),
        TEST(completions_come_in_the_order_in_which_jobs_ended),
        TEST(no_more_threads_run_than_were_asked_for),
        TEST(a_full_queue_refuses),
        TEST(only_a_job_that_waits_can_be_cancelled),
        TEST(a_job_that_nobody_waits_for_lets_the_loop_end),
        TEST(closing_waits_for_nobody_and_drops_what_is_left),
        TEST(a_completion_may_close_the_pool),
        TEST(a_completion_may_submit_again),
        TEST(thousands_of_jobs_are_each_done_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
