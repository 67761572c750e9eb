#include "tcp_client.h"
#include "tcp_test.h"

/* Linked with --wrap=connect: what the next connects answer, instead of the kernel. */
static int scripted[4], scripted_count, connects;

int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len) {
    int answer = connects < scripted_count ? scripted[connects] : -1;
    connects++;
    if (answer < 0)
        return __real_connect(fd, addr, len);
    if (answer == 0) { /* at once, as for a local socket: do it in the foreground */
        struct timeval tv = {.tv_sec = 1};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
        int rc = __real_connect(fd, addr, len);
        for (int i = 0; rc != 0 && errno != EISCONN && i < 1000; i++)
            rc = __real_connect(fd, addr, len);
        return 0;
    }
    errno = answer;
    return -1;
}

static int open_scripted(void **state) {
    scripted_count = connects = 0;
    return open_world(state);
}

static void script(int first, int second) {
    scripted[0] = first;
    scripted[1] = second;
    scripted_count = 2;
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
    script(0, -1);
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
    script(ENETUNREACH, -1);
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
    struct ln_tcp_server_options options = server_options();
    script(EINPROGRESS, -1); /* it never completes */
    connect_to(listen_locally(&options), &client);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    if (client.s)
        ln_stream_close(client.s, LN_OK);
    WAIT_FOR(!client.s);
    assert_int_equal(strlen(client.trail), 2);
    assert_int_equal(client.trail[1], 'X');
}

static void a_name_that_stands_for_nothing_is_told_like_any_failure(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    int count = ln_addr_parse("no.such.name", 80, addrs);
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

static void the_last_error_counts_when_every_address_fails(void **state) {
    (void)state;
    struct ln_addr addrs[2] = {local(9), local(9)};
    script(EHOSTUNREACH, ENETUNREACH);
    assert_int_equal(ln_tcp_connect(loop, addrs, 2, LN_SECOND, &end_events, &client, &client.s),
                     LN_OK);
    WAIT_FOR(!client.s);
    assert_int_equal(client.connect_status, -ENETUNREACH);
    assert_int_equal(connects, 2);
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
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_scripted, close_world)
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
        TEST(the_last_error_counts_when_every_address_fails),
        TEST(writes_queued_while_connecting_follow_in_order),
        TEST(a_shutdown_asked_for_while_connecting_follows_the_queue),
        TEST(on_connect_may_close_the_connection),
        TEST(the_first_status_of_an_abort_stays),
        TEST(a_callback_of_a_failed_connect_may_abort_again),
        TEST(a_discarded_connect_tells_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
