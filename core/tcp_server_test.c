#include "tcp_server.h"
#include "tcp_test.h"
#include "test_dir.h"

#include <sys/resource.h>

enum { MANY = 300 };

static struct end clients[MANY], accepted[MANY];
static size_t accepted_count;
static int server_closed;

static void take_each(struct ln_tcp_server *server, struct ln_stream *s, void *arg) {
    (void)server;
    (void)arg;
    accepted[accepted_count].s = s;
    ln_stream_set_arg(s, &accepted[accepted_count++]);
}

static void count_close(struct ln_tcp_server *server, void *arg) {
    (void)server;
    (void)arg;
    server_closed++;
}

static struct ln_tcp_server_options many_options(void) {
    struct ln_tcp_server_options options = server_options();
    options.on_accept = take_each;
    options.on_close = count_close;
    options.backlog = 511;
    return options;
}

static int open_many(void **state) {
    memset(clients, 0, sizeof clients);
    memset(accepted, 0, sizeof accepted);
    accepted_count = 0;
    server_closed = 0;
    return open_world(state);
}

static void abort_all(struct end *ends, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (ends[i].s)
            ln_stream_abort(ends[i].s, LN_OK);
}

static int close_many(void **state) {
    abort_all(clients, MANY);
    abort_all(accepted, MANY);
    return close_world(state);
}

static void hundreds_that_connect_at_once_are_all_accepted(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    struct ln_addr addr = listen_locally(&options);
    for (size_t i = 0; i < MANY; i++)
        connect_to(addr, &clients[i]);
    WAIT_FOR(accepted_count == MANY);
    assert_int_equal(ln_tcp_server_connections(listener), MANY);
    abort_all(accepted, MANY);
    WAIT_FOR(ln_tcp_server_connections(listener) == 0);
}

static void past_the_limit_clients_wait_until_one_leaves(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    options.max_connections = 2;
    struct ln_addr addr = listen_locally(&options);
    for (size_t i = 0; i < 3; i++)
        connect_to(addr, &clients[i]);
    WAIT_FOR(clients[0].trail[0] && clients[1].trail[0] && clients[2].trail[0]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    assert_int_equal(accepted_count, 2);
    ln_stream_abort(accepted[0].s, LN_OK);
    WAIT_FOR(accepted_count == 3);
}

static void accepting_pauses_when_descriptors_run_out_and_recovers(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    struct ln_addr addr = listen_locally(&options);
    struct rlimit limit, tight;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int lowest_free = dup(fd);
    close(lowest_free);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = (struct rlimit){.rlim_cur = (rlim_t)lowest_free, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr.ss, addr.len), 0);
    int turns = 0;
    int64_t until = ln_loop_now(loop) + LN_SECOND / 20;
    while (ln_loop_now(loop) < until) {
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 20), LN_OK);
        turns++;
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(accepted_count, 0);
    assert_true(turns < 10); /* it waits, it does not spin */
    WAIT_FOR(accepted_count == 1);
    close(fd);
}

static void a_port_in_use_is_refused_with_its_code(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    struct ln_addr addr = listen_locally(&options);
    struct ln_tcp_server *second = NULL;
    assert_int_equal(ln_tcp_listen(loop, &addr, &options, &second), -EADDRINUSE);
    assert_null(second);
}

static void a_closed_server_refuses_while_its_connections_go_on(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    struct ln_addr addr = listen_locally(&options);
    connect_to(addr, &clients[0]);
    WAIT_FOR(accepted_count == 1 && clients[0].trail[0]);
    ln_tcp_server_close(listener);
    ln_tcp_server_close(listener);
    connect_to(addr, &clients[1]);
    WAIT_FOR(!clients[1].s);
    assert_int_equal(clients[1].connect_status, -ECONNREFUSED);
    assert_int_equal(ln_stream_write(accepted[0].s, "still here", 10), LN_OK);
    WAIT_FOR(clients[0].got_len == 10);
    assert_int_equal(server_closed, 0);
    ln_stream_abort(accepted[0].s, LN_OK);
    WAIT_FOR(server_closed == 1);
    listener = NULL;
    free(clients[0].got);
}

static void close_the_server(struct ln_tcp_server *server, struct ln_stream *s, void *arg) {
    take_each(server, s, arg);
    ln_tcp_server_close(server);
}

static void on_accept_may_close_the_server(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    options.on_accept = close_the_server;
    struct ln_addr addr = listen_locally(&options);
    for (size_t i = 0; i < 3; i++)
        connect_to(addr, &clients[i]);
    WAIT_FOR(accepted_count == 1);
    abort_all(accepted, 1);
    WAIT_FOR(server_closed == 1);
    assert_int_equal(accepted_count, 1);
    listener = NULL;
}

static void two_servers_share_a_port_where_both_ask_for_it(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    options.reuseport = true;
    struct ln_addr addr = listen_locally(&options);
    struct ln_tcp_server *second = NULL, *third = NULL;
    assert_int_equal(ln_tcp_listen(loop, &addr, &options, &second), LN_OK);
    options.reuseport = false;
    assert_int_equal(ln_tcp_listen(loop, &addr, &options, &third), -EADDRINUSE);
    ln_tcp_server_close(second);
}

static void ipv6_alone_leaves_ipv4_to_others(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    struct ln_addr any[LN_ADDR_MAX], any4[LN_ADDR_MAX];
    struct ln_tcp_server *second = NULL;
    char host[LN_ADDR_TEXT];
    uint16_t port;
    assert_int_equal(ln_addr_parse("::", 0, any), 1);
    options.ipv6_only = true;
    if (ln_tcp_listen(loop, &any[0], &options, &listener) != LN_OK)
        skip(); /* no IPv6 here */
    assert_int_equal(ln_tcp_server_sock(listener, &any[0]), LN_OK);
    assert_int_equal(ln_addr_format(&any[0], host, sizeof host, &port), LN_OK);
    assert_int_equal(ln_addr_parse("0.0.0.0", port, any4), 1);
    assert_int_equal(ln_tcp_listen(loop, &any4[0], &options, &second), LN_OK);
    ln_tcp_server_close(second);
    ln_tcp_server_close(listener);
    listener = NULL;

    options.ipv6_only = false;
    assert_int_equal(ln_tcp_listen(loop, &any[0], &options, &listener), LN_OK);
    connect_to(local(port), &clients[0]);
    WAIT_FOR(accepted_count == 1 && clients[0].trail[0]);
    assert_string_equal(clients[0].trail, "C");
}

static void a_unix_socket_serves_and_takes_its_file_along(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    struct ln_addr addr[LN_ADDR_MAX], peer;
    char dir[64], host[90], text[LN_ADDR_TEXT];
    uint16_t port;
    test_dir_make(dir);
    snprintf(host, sizeof host, "unix:%s/socket", dir);
    assert_int_equal(ln_addr_parse(host, 0, addr), 1);
    options.backlog = 32; /* so most connects find it full, and try again */
    assert_int_equal(ln_tcp_listen(loop, &addr[0], &options, &listener), LN_OK);
    for (size_t i = 0; i < MANY; i++)
        connect_to(addr[0], &clients[i]);
    WAIT_FOR(accepted_count == MANY);
    WAIT_FOR(clients[MANY - 1].trail[0]);
    assert_int_equal(ln_stream_peer(clients[0].s, &peer), LN_OK);
    assert_int_equal(ln_addr_format(&peer, text, sizeof text, &port), LN_OK);
    assert_string_equal(text, host);
    assert_int_equal(access(host + 5, F_OK), 0);
    ln_tcp_server_discard(listener);
    listener = NULL;
    assert_int_equal(access(host + 5, F_OK), -1);
    test_dir_remove(dir);
}

/* Where listening fails after the file was made, it goes again. */
static void a_unix_server_without_descriptors_leaves_no_file(void **state) {
    (void)state;
    struct ln_tcp_server_options options = many_options();
    struct ln_addr addr[LN_ADDR_MAX];
    char dir[64], host[90];
    struct rlimit limit, tight;
    test_dir_make(dir);
    snprintf(host, sizeof host, "unix:%s/socket", dir);
    assert_int_equal(ln_addr_parse(host, 0, addr), 1);
    int lowest_free = dup(0);
    close(lowest_free);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (rlim_t more = 0; more < 2; more++) { /* none for the socket; none for the lock */
        tight = (struct rlimit){.rlim_cur = (rlim_t)lowest_free + more, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        int rc = ln_tcp_listen(loop, &addr[0], &options, &listener);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(rc, more == 0 ? -EMFILE : LN_OK);
        assert_int_equal(access(host + 5, F_OK), more == 0 ? -1 : 0);
    }
    ln_tcp_server_close(listener);
    listener = NULL;
    test_dir_remove(dir);
}

int main(void) {
#undef TEST
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_many, close_many)
    const struct CMUnitTest tests[] = {
        TEST(hundreds_that_connect_at_once_are_all_accepted),
        TEST(past_the_limit_clients_wait_until_one_leaves),
        TEST(accepting_pauses_when_descriptors_run_out_and_recovers),
        TEST(a_port_in_use_is_refused_with_its_code),
        TEST(a_closed_server_refuses_while_its_connections_go_on),
        TEST(on_accept_may_close_the_server),
        TEST(two_servers_share_a_port_where_both_ask_for_it),
        TEST(ipv6_alone_leaves_ipv4_to_others),
        TEST(a_unix_socket_serves_and_takes_its_file_along),
        TEST(a_unix_server_without_descriptors_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
