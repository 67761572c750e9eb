#include "resolver_test.h"
#include "tcp_client.h"
#include "tcp_test.h"

#include <stdio.h>

/* Linked with --wrap=connect: what the next connects answer, instead of the kernel. An errno fails
 * at once, 0 succeeds at once. */
enum { REAL = -1, LATER = -2, MOST = 20 };
static int scripted[MOST], scripted_count, connects;
static int64_t connected_at[MOST];
static char tried[MOST][LN_ADDR_TEXT];
static int far_ends[MOST]; /* of connects that answer LATER: nothing comes until the test says so */

int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);

/* Puts a socket with a full buffer in the place of fd: it becomes writable when its peer reads. */
static void make_later(int fd, int *far_end) {
    static const char fill[4096];
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    while (write(pair[0], fill, sizeof fill) > 0)
        ;
    while (write(pair[0], fill, 1) > 0)
        ;
    assert_int_equal(dup2(pair[0], fd), fd);
    close(pair[0]);
    *far_end = pair[1];
}

static void note_address(int i, const struct sockaddr *addr, socklen_t len) {
    struct ln_addr a = {.len = len};
    uint16_t port;
    memcpy(&a.ss, addr, len);
    assert_int_equal(ln_addr_format(&a, tried[i], sizeof tried[i], &port), LN_OK);
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len) {
    int i = connects++, answer = i < scripted_count ? scripted[i] : REAL;
    assert_true(i < MOST);
    connected_at[i] = ln_loop_now(loop);
    note_address(i, addr, len);
    if (answer == REAL)
        return __real_connect(fd, addr, len);
    if (answer == 0) { /* at once, as for a local socket: do it in the foreground */
        struct timeval tv = {.tv_sec = 1};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
        int rc = __real_connect(fd, addr, len);
        for (int n = 0; rc != 0 && errno != EISCONN && n < 1000; n++)
            rc = __real_connect(fd, addr, len);
        return 0;
    }
    if (answer == LATER) {
        make_later(fd, &far_ends[i]);
        answer = EINPROGRESS;
    }
    errno = answer;
    return -1;
}

static struct ln_resolver *resolver;

static int open_scripted(void **state) {
    scripted_count = connects = 0;
    for (int i = 0; i < MOST; i++)
        far_ends[i] = -1;
    script_names();
    assert_int_equal(open_world(state), 0);
    return ln_resolver_open(loop, &resolver);
}

static int close_scripted(void **state) {
    if (resolver)
        ln_resolver_close(resolver);
    assert_int_equal(close_world(state), 0);
    for (int i = 0; i < MOST; i++)
        if (far_ends[i] >= 0)
            close(far_ends[i]);
    return 0;
}

static void script(int first, int second) {
    scripted[0] = first;
    scripted[1] = second;
    scripted_count = 2;
}

static void script_all(int answer) {
    for (int i = 0; i < MOST; i++)
        scripted[i] = answer;
    scripted_count = MOST;
}

/* What our end of the i-th connect sent; true where it is closed. */
static bool drained(int i, char *last, size_t size) {
    char bytes[4096];
    ssize_t n;
    while ((n = read(far_ends[i], bytes, sizeof bytes)) > 0)
        if (last)
            (void)snprintf(last, size, "%.*s", (int)n, bytes);
    return n == 0;
}

static void grant(int i) {
    (void)drained(i, NULL, 0);
}

/* Closing with unread bytes is a reset. */
static void refuse(int i) {
    close(far_ends[i]);
    far_ends[i] = -1;
}

/* A port that refuses: it was free a moment ago. */
static struct ln_addr refusing_address(void) {
    struct ln_tcp_server_options options = server_options();
    struct ln_addr addr = listen_locally(&options);
    ln_tcp_server_close(listener);
    listener = NULL;
    return addr;
}

static void a_connect_in_progress_completes_when_the_socket_is_writable(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    connect_to(listen_locally(&options), &client);
    assert_string_equal(client.trail, ""); /* nothing within the call */
    WAIT_FOR(client.trail[0]);
    assert_string_equal(client.trail, "C");
    assert_int_equal(ln_stream_state(client.s), LN_STREAM_OPEN);
}

static void an_immediate_success_is_the_same_success(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    script(0, REAL);
    connect_to(listen_locally(&options), &client);
    assert_string_equal(client.trail, "");
    assert_int_equal(ln_stream_write(client.s, "hello", 5), LN_OK);
    WAIT_FOR(server_end.got_len == 5);
    assert_string_equal(client.trail, "C");
    assert_string_equal(server_end.got, "hello");
}

static void a_refused_connect_is_told_once_and_closes(void **state) {
    (void)state;
    connect_to(refusing_address(), &client);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, -ECONNREFUSED);
    assert_int_equal(client.close_status, -ECONNREFUSED);
}

static void an_unreachable_network_is_told_never_within_the_call(void **state) {
    (void)state;
    script(ENETUNREACH, REAL);
    connect_to(local(9), &client);
    assert_string_equal(client.trail, "");
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, -ENETUNREACH);
}

/* A listener whose backlog is full answers no SYN: the connect hangs as it would on a black hole.
 */
static void a_connect_that_nobody_answers_times_out(void **state) {
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct ln_addr addr = local(0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr.ss, addr.len), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr.ss, &addr.len), 0);
    int fillers[4];
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)__real_connect(fillers[i], (struct sockaddr *)&addr.ss, addr.len);
    }
    assert_int_equal(
        ln_tcp_connect(loop, &addr, 1, LN_SECOND / 20, &end_events, &client, &client.s), LN_OK);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, LN_ECONNECT_TIMEOUT);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(fd);
}

static void closing_while_connecting_cancels(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    connect_to(listen_locally(&options), &client);
    ln_stream_close(client.s, LN_OK);
    ln_stream_close(client.s, LN_OK);
    assert_string_equal(client.trail, "");
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, -ECANCELED);
    assert_int_equal(client.close_status, LN_OK);
}

static void closing_after_the_syn_has_gone_cancels_too(void **state) {
    (void)state;
    script(LATER, REAL);
    connect_to(local(9), &client);
    WAIT_FOR(connects == 1);
    ln_stream_close(client.s, LN_OK);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, -ECANCELED);
    assert_true(drained(0, NULL, 0));
}

static void a_name_that_stands_for_nothing_is_told_like_any_failure(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    int count = ln_addr_parse("name.invalid", 80, addrs);
    assert_int_equal(count, LN_ENOTFOUND);
    assert_int_equal(ln_tcp_connect(loop, addrs, count, LN_SECOND, &end_events, &client, &client.s),
                     LN_OK);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, LN_ENOTFOUND);
}

static void the_next_address_is_tried_when_one_refuses(void **state) {
    (void)state;
    struct ln_addr addrs[2] = {refusing_address()};
    struct ln_tcp_server_options options = server_options();
    addrs[1] = listen_locally(&options);
    assert_int_equal(ln_tcp_connect(loop, addrs, 2, LN_SECOND, &end_events, &client, &client.s),
                     LN_OK);
    WAIT_FOR(client.trail[0]);
    assert_string_equal(client.trail, "C");
    assert_int_equal(connects, 2);
}

static void connect_to_local(int count, int64_t timeout) {
    struct ln_addr addrs[LN_ADDR_MAX];
    for (int i = 0; i < count; i++)
        addrs[i] = local((uint16_t)(9 + i));
    assert_int_equal(ln_tcp_connect(loop, addrs, count, timeout, &end_events, &client, &client.s),
                     LN_OK);
}

static void expect_failure(int first, int second, int status) {
    script(first, second);
    connects = 0;
    client = (struct end){.s = NULL};
    connect_to_local(2, LN_SECOND);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, status);
    assert_int_equal(connects, 2);
}

static void when_every_address_fails_the_last_error_that_says_something_counts(void **state) {
    (void)state;
    expect_failure(ECONNREFUSED, EHOSTUNREACH, -EHOSTUNREACH);
    expect_failure(EHOSTUNREACH, ECONNREFUSED, -ECONNREFUSED);
    expect_failure(ECONNREFUSED, ENETUNREACH, -ECONNREFUSED); /* there is no IPv6 here */
    expect_failure(ENETUNREACH, ECONNREFUSED, -ECONNREFUSED);
    expect_failure(EADDRNOTAVAIL, ENETUNREACH, -ENETUNREACH);
}

static void an_address_that_is_silent_gets_a_head_start_and_then_a_rival(void **state) {
    (void)state;
    script_all(LATER);
    connect_to_local(3, 5 * LN_SECOND);
    WAIT_FOR(connects == 3);
    for (int i = 1; i < 3; i++) {
        assert_true(connected_at[i] - connected_at[i - 1] >= LN_CONNECT_DELAY);
        assert_true(connected_at[i] - connected_at[i - 1] < 2 * LN_CONNECT_DELAY);
    }
    assert_string_equal(client.trail, "");
    assert_int_equal(ln_stream_write(client.s, "to the winner", 13), LN_OK);
    grant(1);
    WAIT_FOR(client.trail[0]);
    assert_string_equal(client.trail, "C");
    assert_true(drained(0, NULL, 0));
    assert_true(drained(2, NULL, 0));
    char got[32] = "";
    WAIT_FOR(!drained(1, got, sizeof got) && got[0]);
    assert_string_equal(got, "to the winner");
}

static void a_rival_begins_at_once_when_an_address_fails(void **state) {
    (void)state;
    script_all(LATER);
    connect_to_local(3, 5 * LN_SECOND);
    WAIT_FOR(connects == 1);
    refuse(0);
    WAIT_FOR(connects == 2);
    assert_true(connected_at[1] - connected_at[0] < LN_CONNECT_DELAY);
    WAIT_FOR(connects == 3);
    assert_true(connected_at[2] - connected_at[1] >= LN_CONNECT_DELAY); /* it has its head start */
    refuse(2);
    refuse(1);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, -ECONNRESET);
}

static void the_last_address_has_the_rest_of_the_time(void **state) {
    (void)state;
    script(ECONNREFUSED, LATER);
    connect_to_local(2, 5 * LN_SECOND);
    WAIT_FOR(connects == 2);
    int64_t until = ln_loop_now(loop) + LN_CONNECT_DELAY + LN_SECOND / 20;
    WAIT_FOR(ln_loop_now(loop) > until);
    assert_string_equal(client.trail, "");
    grant(1);
    WAIT_FOR(client.trail[0]);
    assert_string_equal(client.trail, "C");
}

static void of_two_that_succeed_at_once_one_is_the_connection(void **state) {
    (void)state;
    script_all(LATER);
    connect_to_local(2, 5 * LN_SECOND);
    WAIT_FOR(connects == 2);
    grant(0);
    grant(1);
    WAIT_FOR(client.trail[0]);
    assert_string_equal(client.trail, "C");
    assert_true(drained(0, NULL, 0) != drained(1, NULL, 0));
}

static void one_timeout_is_for_all_addresses(void **state) {
    (void)state;
    script_all(LATER);
    connect_to_local(16, LN_CONNECT_DELAY + LN_SECOND / 10);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, LN_ECONNECT_TIMEOUT);
    assert_int_equal(connects, 2);
    assert_true(drained(0, NULL, 0) && drained(1, NULL, 0));
}

static void closing_ends_a_race(void **state) {
    (void)state;
    script_all(LATER);
    connect_to_local(3, 5 * LN_SECOND);
    WAIT_FOR(connects == 2);
    grant(0);
    ln_stream_close(client.s, LN_OK);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, -ECANCELED);
    assert_true(drained(0, NULL, 0) && drained(1, NULL, 0));
    assert_int_equal(connects, 2);
}

/* ---- names */

static void connect_to_name(const char *name, int64_t timeout) {
    assert_int_equal(
        ln_tcp_connect_host(loop, resolver, name, 9, timeout, &end_events, &client, &client.s),
        LN_OK);
    assert_string_equal(client.trail, "");
}

static void a_name_is_looked_up_and_its_addresses_tried_in_turn(void **state) {
    (void)state;
    found_addresses = "::1 ::2 127.0.0.2";
    script_all(ECONNREFUSED);
    scripted[2] = LATER;
    connect_to_name("found.test", 5 * LN_SECOND);
    assert_int_equal(ln_stream_write(client.s, "hello", 5), LN_OK);
    WAIT_FOR(connects == 3);
    assert_string_equal(tried[0], "::1");
    assert_string_equal(tried[1], "127.0.0.2");
    assert_string_equal(tried[2], "::2");
    grant(2);
    char got[32] = "";
    WAIT_FOR(!drained(2, got, sizeof got) && got[0]);
    assert_string_equal(got, "hello");
    assert_string_equal(client.trail, "C");
}

static void a_numeric_host_and_localhost_need_no_lookup(void **state) {
    (void)state;
    const char *hosts[] = {"127.0.0.1", "::1", "localhost", "db.localhost"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        script_all(ECONNREFUSED);
        connects = 0;
        client = (struct end){.s = NULL};
        connect_to_name(hosts[i], LN_SECOND);
        WAIT_FOR(!client.s);
        assert_int_equal(client.connect_status, -ECONNREFUSED);
    }
    assert_int_equal(atomic_load(&calls), 0);
}

static void expect_no_connect(const char *name, int status) {
    client = (struct end){.s = NULL};
    connect_to_name(name, 5 * LN_SECOND);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, status);
    assert_int_equal(client.close_status, status);
    assert_int_equal(connects, 0);
}

static void a_lookup_that_fails_is_told_as_any_failure(void **state) {
    (void)state;
    expect_no_connect("missing.test", LN_ENOTFOUND);
    expect_no_connect("name.invalid", LN_ENOTFOUND);
    expect_no_connect("", LN_ENOTFOUND);
    expect_no_connect("busy.test", LN_ETRY_AGAIN);
    expect_no_connect("files.test", -EMFILE);
    expect_no_connect("unix:", LN_EUNIX_EMPTY);
    ln_resolver_close(resolver);
    expect_no_connect("found.test", -ECANCELED);
    resolver = NULL;
}

static void the_timeout_covers_the_lookup(void **state) {
    (void)state;
    connect_to_name("slow.test", LN_SECOND / 50);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, LN_ELOOKUP_TIMEOUT);
    wait_until_waiting(1);
    open_gate(1);
}

static void closing_during_a_lookup_cancels(void **state) {
    (void)state;
    connect_to_name("slow.test", 5 * LN_SECOND);
    wait_until_waiting(1);
    ln_stream_close(client.s, LN_OK);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, -ECANCELED);
    assert_false(ln_loop_alive(loop));
    open_gate(1);
    assert_int_equal(ln_loop_step(loop, LN_SECOND / 50), LN_OK); /* the answer finds nobody */
    assert_int_equal(connects, 0);
}

static void closing_in_the_turn_of_the_answer_cancels(void **state) {
    (void)state;
    connect_to_name("slow.test", 5 * LN_SECOND);
    wait_until_waiting(1);
    open_gate(1);
    ln_stream_abort(client.s, LN_OK); /* the answer is on its way, or here */
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(connects, 0);
}

static void a_resolver_that_closes_ends_what_waits_for_it(void **state) {
    (void)state;
    connect_to_name("slow.test", 5 * LN_SECOND);
    wait_until_waiting(1);
    ln_resolver_close(resolver);
    resolver = NULL;
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.connect_status, -ECANCELED);
    open_gate(1);
}

static void a_discarded_lookup_tells_nobody(void **state) {
    (void)state;
    connect_to_name("slow.test", 5 * LN_SECOND);
    wait_until_waiting(1);
    ln_stream_discard(client.s);
    client.s = NULL;
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(client.trail, "");
    open_gate(1);
}

static void writes_queued_while_connecting_follow_in_order(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    connect_to(listen_locally(&options), &client);
    assert_int_equal(ln_stream_write(client.s, "one ", 4), LN_OK);
    assert_int_equal(ln_stream_write(client.s, "two ", 4), LN_OK);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    assert_int_equal(ln_stream_write(client.s, "three", 5), LN_OK);
    WAIT_FOR(server_end.got_len == 13);
    assert_string_equal(server_end.got, "one two three");
}

static void a_shutdown_asked_for_while_connecting_follows_the_queue(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    connect_to(listen_locally(&options), &client);
    assert_int_equal(ln_stream_write(client.s, "bye", 3), LN_OK);
    assert_int_equal(ln_stream_shutdown(client.s), LN_OK);
    assert_int_equal(ln_stream_write(client.s, "!", 1), -EPIPE);
    WAIT_FOR(strchr(server_end.trail, 'E'));
    assert_string_equal(server_end.got, "bye");
}

static void close_at_once(struct end *e) {
    ln_stream_close(e->s, LN_OK);
}

static void on_connect_may_close_the_connection(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    client.on_connect = close_at_once;
    connect_to(listen_locally(&options), &client);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "CX");
}

static void abort_at_once(struct end *e) {
    ln_stream_abort(e->s, -EPROTO);
    ln_stream_abort(e->s, -EIO);
}

static void the_first_status_of_an_abort_stays(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    client.on_connect = abort_at_once;
    connect_to(listen_locally(&options), &client);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "CX");
    assert_int_equal(client.close_status, -EPROTO);
}

static void a_callback_of_a_failed_connect_may_abort_again(void **state) {
    (void)state;
    client.on_connect = abort_at_once;
    client.on_close = abort_at_once;
    connect_to(refusing_address(), &client);
    WAIT_FOR(!client.s);
    assert_string_equal(client.trail, "cX");
    assert_int_equal(client.close_status, -ECONNREFUSED);
}

static void a_discarded_connect_tells_nobody(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    connect_to(listen_locally(&options), &client);
    ln_stream_discard(client.s);
    client.s = NULL;
    ln_tcp_server_close(listener);
    listener = NULL;
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_string_equal(client.trail, "");
}

int main(void) {
#undef TEST
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_scripted, close_scripted)
    const struct CMUnitTest tests[] = {
        TEST(a_connect_in_progress_completes_when_the_socket_is_writable),
        TEST(an_immediate_success_is_the_same_success),
        TEST(a_refused_connect_is_told_once_and_closes),
        TEST(an_unreachable_network_is_told_never_within_the_call),
        TEST(a_connect_that_nobody_answers_times_out),
        TEST(closing_while_connecting_cancels),
        TEST(closing_after_the_syn_has_gone_cancels_too),
        TEST(a_name_that_stands_for_nothing_is_told_like_any_failure),
        TEST(the_next_address_is_tried_when_one_refuses),
        TEST(when_every_address_fails_the_last_error_that_says_something_counts),
        TEST(an_address_that_is_silent_gets_a_head_start_and_then_a_rival),
        TEST(a_rival_begins_at_once_when_an_address_fails),
        TEST(the_last_address_has_the_rest_of_the_time),
        TEST(of_two_that_succeed_at_once_one_is_the_connection),
        TEST(one_timeout_is_for_all_addresses),
        TEST(closing_ends_a_race),
        TEST(a_name_is_looked_up_and_its_addresses_tried_in_turn),
        TEST(a_numeric_host_and_localhost_need_no_lookup),
        TEST(a_lookup_that_fails_is_told_as_any_failure),
        TEST(the_timeout_covers_the_lookup),
        TEST(closing_during_a_lookup_cancels),
        TEST(closing_in_the_turn_of_the_answer_cancels),
        TEST(a_resolver_that_closes_ends_what_waits_for_it),
        TEST(a_discarded_lookup_tells_nobody),
        TEST(writes_queued_while_connecting_follow_in_order),
        TEST(a_shutdown_asked_for_while_connecting_follows_the_queue),
        TEST(on_connect_may_close_the_connection),
        TEST(the_first_status_of_an_abort_stays),
        TEST(a_callback_of_a_failed_connect_may_abort_again),
        TEST(a_discarded_connect_tells_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
