#include "resolver_test.h"
#include "resolver.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static struct ln_loop *loop;
static struct ln_resolver *resolver;

struct asked {
    struct ln_lookup lookup;
    int told, status, count;
    char found[1024]; /* the addresses, separated by blanks */
    uint16_t port;
    void (*then)(struct asked *a);
};

static struct asked asked[3];

static int open_world(void **state) {
    (void)state;
    memset(asked, 0, sizeof asked);
    script_names();
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    return ln_resolver_open(loop, &resolver);
}

static int close_world(void **state) {
    (void)state;
    ln_resolver_close(resolver);
    ln_resolver_close(resolver);
    assert_int_equal(ln_loop_close(loop), LN_OK);
    return 0;
}

static void note(struct ln_lookup *lookup, int status, const struct ln_addr *addrs, int count) {
    struct asked *a = (struct asked *)lookup;
    assert_false(ln_lookup_active(lookup));
    a->told++;
    a->status = status;
    a->count = count;
    for (int i = 0; i < count; i++) {
        char text[LN_ADDR_TEXT];
        assert_int_equal(ln_addr_format(&addrs[i], text, sizeof text, &a->port), LN_OK);
        strcat(strcat(a->found, i > 0 ? " " : ""), text);
    }
    if (a->then)
        a->then(a);
}

static void ask_within(struct asked *a, const char *name, int64_t timeout) {
    assert_int_equal(ln_resolver_lookup(resolver, &a->lookup, name, 6380, timeout, note), LN_OK);
    assert_true(ln_lookup_active(&a->lookup));
    assert_int_equal(a->told, 0); /* never within the call */
}

static void ask(struct asked *a, const char *name) {
    ask_within(a, name, 5 * LN_SECOND);
}

static void expect_addresses(const char *given, const char *in_turns) {
    struct asked a = {.told = 0};
    found_addresses = given;
    ask(&a, "found.test");
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(a.told, 1);
    assert_int_equal(a.status, LN_OK);
    assert_string_equal(a.found, in_turns);
    assert_int_equal(a.port, 6380);
}

static void a_name_becomes_its_addresses_with_the_port(void **state) {
    (void)state;
    assert_false(ln_loop_alive(loop));
    expect_addresses("127.0.0.1", "127.0.0.1");
    expect_addresses("::1", "::1");
}

static void the_families_take_turns_and_the_first_one_begins(void **state) {
    (void)state;
    expect_addresses("::1 ::2 ::3 1.0.0.1 1.0.0.2", "::1 1.0.0.1 ::2 1.0.0.2 ::3");
    expect_addresses("1.0.0.1 ::1 ::2 ::3", "1.0.0.1 ::1 ::2 ::3");
    expect_addresses("1.0.0.1 1.0.0.2 ::1", "1.0.0.1 ::1 1.0.0.2");
    expect_addresses("? 1.0.0.1 ? ::1 ?", "1.0.0.1 ::1");
}

static void of_many_addresses_sixteen_are_taken_from_both_families(void **state) {
    (void)state;
    char many[1024] = "";
    for (int i = 1; i <= 40; i++)
        sprintf(many + strlen(many), "::%x ", (unsigned)i);
    strcat(many, "1.0.0.1 1.0.0.2");
    expect_addresses(many, "::1 1.0.0.1 ::2 1.0.0.2 ::3 ::4 ::5 ::6 ::7 ::8 ::9 ::a ::b ::c ::d "
                           "::e");
}

static void expect_status(const char *name, int status) {
    struct asked a = {.told = 0};
    ask(&a, name);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(a.told, 1);
    assert_int_equal(a.status, status);
    assert_int_equal(a.count, 0);
}

static void every_failure_has_its_status(void **state) {
    (void)state;
    expect_status("missing.test", LN_ENOTFOUND);
    expect_status("nodata.test", LN_ENOTFOUND);
    expect_status("busy.test", LN_ETRY_AGAIN);
    expect_status("refused.test", LN_EDNS);
    expect_status("memory.test", -ENOMEM);
    expect_status("files.test", -EMFILE);
    expect_status("system.test", LN_EDNS);
    found_addresses = "?"; /* found, but nothing that we can connect to */
    expect_status("found.test", LN_ENOTFOUND);
}

static void a_name_that_is_too_long_is_refused(void **state) {
    (void)state;
    char name[300];
    memset(name, 'a', sizeof name);
    name[299] = '\0';
    assert_int_equal(ln_resolver_lookup(resolver, &asked[0].lookup, name, 1, LN_SECOND, note),
                     LN_ENOTFOUND);
    assert_false(ln_loop_alive(loop));
}

static void lookups_of_one_name_share_a_call(void **state) {
    (void)state;
    ask(&asked[0], "slow.test");
    ask(&asked[1], "SLOW.test");
    ask(&asked[2], "slow.test");
    wait_until_waiting(1);
    open_gate(1);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(asked[i].told, 1);
        assert_string_equal(asked[i].found, "127.0.0.1");
    }
    assert_int_equal(atomic_load(&calls), 1);
    expect_addresses("127.0.0.2", "127.0.0.2"); /* nothing is remembered */
    assert_int_equal(atomic_load(&calls), 2);
}

static void a_lookup_ends_at_its_deadline_and_leaves_the_call_behind(void **state) {
    (void)state;
    ask_within(&asked[0], "slow.test", LN_SECOND / 100);
    ask_within(&asked[1], "slow.test", LN_SECOND / 50);
    wait_until_waiting(1);
    assert_int_equal(ln_loop_run(loop), LN_OK); /* the call that blocks keeps nothing alive */
    assert_int_equal(asked[0].status, LN_ELOOKUP_TIMEOUT);
    assert_int_equal(asked[1].status, LN_ELOOKUP_TIMEOUT);
    assert_int_equal(atomic_load(&waiting), 1);
    ask(&asked[2], "slow.test"); /* joins it */
    open_gate(1);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(asked[2].status, LN_OK);
    assert_int_equal(asked[0].told + asked[1].told + asked[2].told, 3);
    assert_int_equal(atomic_load(&calls), 1);
}

static void a_cancelled_lookup_hears_nothing(void **state) {
    (void)state;
    ask(&asked[0], "slow.test");
    ask(&asked[1], "slow.test");
    wait_until_waiting(1);
    ln_lookup_cancel(&asked[0].lookup);
    ln_lookup_cancel(&asked[0].lookup);
    open_gate(1);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(asked[0].told, 0);
    assert_int_equal(asked[1].told, 1);
}

static void a_cancelled_lookup_that_waits_for_a_thread_never_runs(void **state) {
    (void)state;
    struct asked busy[4] = {{.told = 0}};
    const char *names[] = {"slow1", "slow2", "slow3", "slow4"};
    for (int i = 0; i < 4; i++)
        ask(&busy[i], names[i]);
    wait_until_waiting(4);
    ask(&asked[0], "found.test");
    ln_lookup_cancel(&asked[0].lookup);
    open_gate(4);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(atomic_load(&calls), 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(busy[i].told, 1);
}

static void cancel_the_next(struct asked *a) {
    ln_lookup_cancel(&a[1].lookup);
    ask(&a[2], "slow.test"); /* the call has ended: this is another one */
    sem_post(&gate);
}

static void an_answer_may_cancel_others_and_ask_again(void **state) {
    (void)state;
    ask(&asked[0], "slow.test");
    ask(&asked[1], "slow.test");
    asked[0].then = cancel_the_next;
    wait_until_waiting(1);
    open_gate(1);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(asked[1].told, 0);
    assert_int_equal(asked[2].told, 1);
    assert_int_equal(atomic_load(&calls), 2);
}

static void close_the_resolver(struct asked *a) {
    (void)a;
    ln_resolver_close(resolver);
}

static void an_answer_may_close_the_resolver(void **state) {
    (void)state;
    ask(&asked[2], "slow.test");
    wait_until_waiting(1);
    ask(&asked[0], "found.test");
    ask(&asked[1], "found.test"); /* of the same call: it is answered all the same */
    asked[0].then = close_the_resolver;
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(asked[1].status, LN_OK);
    assert_int_equal(asked[2].status, -ECANCELED);
    for (int i = 0; i < 3; i++)
        assert_int_equal(asked[i].told, 1);
    open_gate(1);
    assert_int_equal(ln_resolver_open(loop, &resolver), LN_OK); /* for close_world */
}

static void cancel_the_last(struct asked *a) {
    (void)a;
    ln_lookup_cancel(&asked[2].lookup);
}

static void closing_tells_all_lookups_and_waits_for_no_call(void **state) {
    (void)state;
    ask(&asked[0], "slow.test");
    ask(&asked[1], "slow.test");
    ask(&asked[2], "found.test");
    wait_until_waiting(1);
    asked[0].then = cancel_the_last; /* before its turn has come */
    ln_resolver_close(resolver);
    assert_int_equal(asked[0].status, -ECANCELED);
    assert_int_equal(asked[1].status, -ECANCELED);
    assert_int_equal(asked[2].told, 0);
    assert_int_equal(ln_resolver_lookup(resolver, &asked[2].lookup, "a", 1, 1, note), -ECANCELED);
    assert_int_equal(ln_loop_close(loop), LN_OK);
    open_gate(1); /* the call returns when loop and resolver are gone */
    assert_int_equal(asked[0].told, 1);
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    assert_int_equal(ln_resolver_open(loop, &resolver), LN_OK);
}

static void a_thousand_names_may_wait_and_no_more(void **state) {
    (void)state;
    enum { MANY = 1100 };
    static struct asked many[MANY];
    int taken = 0, refused = 0;
    memset(many, 0, sizeof many);
    for (int i = 0; i < MANY; i++) {
        char name[32];
        sprintf(name, "slow%d.test", i);
        int rc = ln_resolver_lookup(resolver, &many[i].lookup, name, 1, 5 * LN_SECOND, note);
        assert_true(rc == LN_OK || rc == LN_EBUSY_NAMES);
        taken += rc == LN_OK;
        refused += rc != LN_OK;
    }
    assert_true(taken >= 1024 && taken <= 1028 && refused == MANY - taken);
    for (int i = 0; i < taken; i++)
        sem_post(&gate);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    int told = 0;
    for (int i = 0; i < MANY; i++)
        told += many[i].told;
    assert_int_equal(told, taken);
}

/* In a process of its own, which must end while getaddrinfo blocks. */
static void a_lookup_under_way_does_not_keep_the_process_from_ending(void **state) {
    (void)state;
    int status = 0;
    pid_t pid = fork(), ended = 0;
    assert_true(pid >= 0);
    if (pid == 0) {
        ask(&asked[0], "slow.test");
        wait_until_waiting(1);
        ln_resolver_close(resolver);
        exit(ln_loop_close(loop) == LN_OK && asked[0].told == 1 ? 7 : 8);
    }
    for (int i = 0; i < 10000 && ended == 0; i++) {
        usleep(1000);
        ended = waitpid(pid, &status, WNOHANG);
    }
    if (ended == 0)
        kill(pid, SIGKILL);
    assert_int_equal(ended, pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(a_lookup_under_way_does_not_keep_the_process_from_ending),
        TEST(a_name_becomes_its_addresses_with_the_port),
        TEST(the_families_take_turns_and_the_first_one_begins),
        TEST(of_many_addresses_sixteen_are_taken_from_both_families),
        TEST(every_failure_has_its_status),
        TEST(a_name_that_is_too_long_is_refused),
        TEST(lookups_of_one_name_share_a_call),
        TEST(a_lookup_ends_at_its_deadline_and_leaves_the_call_behind),
        TEST(a_cancelled_lookup_hears_nothing),
        TEST(a_cancelled_lookup_that_waits_for_a_thread_never_runs),
        TEST(an_answer_may_cancel_others_and_ask_again),
        TEST(an_answer_may_close_the_resolver),
        TEST(closing_tells_all_lookups_and_waits_for_no_call),
        TEST(a_thousand_names_may_wait_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
