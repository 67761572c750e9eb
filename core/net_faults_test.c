/* Every system call and allocation of a small network fails once, each at every Nth call: what
 * began ends once, nothing hangs or leaks, what arrives is in order, and no more than one
 * connection ends of it; of EINTR and short counts, none. */
#include "fault.h"
#include "resp.h"
#include "tcp_client.h"
#include "tcp_server.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ECHO_BYTES = 96000, CHUNK = 4000, COMMANDS = 60, STEPS = 20000, CLIENTS = 5, SERVED = 24 };

/* Small enough that queues fill. */
static const struct ln_stream_limits small = {8000, 16000, 1 << 20, 1 << 20};

static const struct ln_stream_timeouts patient = {20 * LN_SECOND, 20 * LN_SECOND, 20 * LN_SECOND};

static const char command[] = "*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n";

enum kind { ECHO, RESP, CANCELLED, REFUSED };

struct peer { /* one end of a connection */
    struct ln_stream *s;
    bool is_client;
    enum kind kind;
    int connects, closes, connect_status, close_status;
    size_t sent, received; /* bytes of an echo; replies */
    bool complete;
    struct ln_resp_reader reader;
};

static struct ln_loop *loop;
static struct ln_tcp_server *server;
static struct peer clients[CLIENTS], served[SERVED];
static int client_count, served_count, server_closes;
static int ticks, posts, signals;
static size_t max_connections = 2;

static char pattern(size_t i) {
    return (char)('a' + i % 23);
}

/* ---- what both ends do */

static void on_connect(struct ln_stream *s, int status) {
    struct peer *p = ln_stream_arg(s);
    p->connects++;
    p->connect_status = status;
    assert_true(p->is_client);
}

static void on_close(struct ln_stream *s, int status) {
    struct peer *p = ln_stream_arg(s);
    p->closes++;
    p->close_status = status;
    ln_resp_reader_free(&p->reader);
    p->s = NULL;
}

static void give_up(struct peer *p, int status) {
    ln_stream_abort(p->s, status);
}

/* ---- the server: echoes what it gets, and answers commands */

static size_t answer_commands(struct peer *p, const char *data, size_t len) {
    size_t used = 0, n = 0;
    int rc = LN_OK;
    while (rc >= 0 && (rc = ln_resp_read_command(&p->reader, data + used, len - used, &n)) == 1) {
        const struct ln_resp_span *word = &p->reader.argv[1];
        struct ln_buffer *out = ln_stream_out(p->s);
        assert_int_equal(p->reader.argc, 2);
        rc = out ? ln_resp_put_bulk(out, p->reader.base + word->off, word->len) : -ENOTCONN;
        if (rc == LN_OK)
            rc = ln_stream_wrote(p->s);
        used += n;
    }
    if (rc < 0) {
        give_up(p, rc);
        return used;
    }
    return used + n;
}

static size_t on_server_read(struct ln_stream *s, const char *data, size_t len) {
    struct peer *p = ln_stream_arg(s);
    if (p->kind == RESP || data[0] == '*') {
        p->kind = RESP;
        return answer_commands(p, data, len);
    }
    size_t take = len - len % CHUNK; /* the rest waits inside of the stream */
    int rc = take > 0 ? ln_stream_write(s, data, take) : LN_OK;
    if (rc == LN_STREAM_FULL)
        ln_stream_pause(s);
    else if (rc < 0)
        give_up(p, rc);
    return take;
}

static void on_server_writable(struct ln_stream *s) {
    ln_stream_resume(s);
}

static void on_server_end(struct ln_stream *s) {
    (void)ln_stream_shutdown(s);
}

static const struct ln_stream_events server_events = {
    .on_connect = on_connect,
    .on_read = on_server_read,
    .on_writable = on_server_writable,
    .on_end = on_server_end,
    .on_close = on_close,
};

static void on_accept(struct ln_tcp_server *srv, struct ln_stream *s, void *arg) {
    (void)srv, (void)arg;
    assert_true(served_count < SERVED);
    struct peer *p = &served[served_count++];
    *p = (struct peer){.s = s};
    ln_resp_reader_init(&p->reader);
    ln_stream_set_arg(s, p);
    ln_stream_set_limits(s, &small);
    if (ln_stream_set_timeouts(s, &patient) != LN_OK)
        give_up(p, -ENOMEM);
}

static void on_server_close(struct ln_tcp_server *srv, void *arg) {
    (void)srv, (void)arg;
    server_closes++;
}

/* ---- the clients */

/* Sends until the queue is full, or all of it is sent: then FIN. */
static void send_echo(struct peer *p) {
    char chunk[CHUNK];
    int rc = LN_OK;
    while (rc == LN_OK && p->sent < ECHO_BYTES) {
        for (size_t i = 0; i < CHUNK; i++)
            chunk[i] = pattern(p->sent + i);
        rc = ln_stream_write(p->s, chunk, sizeof chunk);
        if (rc >= 0)
            p->sent += sizeof chunk;
    }
    if (rc == LN_OK)
        rc = ln_stream_shutdown(p->s);
    if (rc < 0)
        give_up(p, rc);
}

static size_t read_replies(struct peer *p, const char *data, size_t len) {
    struct ln_resp_token token;
    const char *error = NULL;
    size_t used = 0, n = 0;
    while (ln_resp_read_token(data + used, len - used, &token, &n, &error) == 1) {
        assert_int_equal(token.len, 5);
        assert_memory_equal(token.text, "hello", 5);
        used += n;
        p->received++;
    }
    assert_null(error);
    p->complete = p->received == COMMANDS;
    if (p->complete)
        ln_stream_close(p->s, LN_OK);
    return used;
}

static size_t on_client_read(struct ln_stream *s, const char *data, size_t len) {
    struct peer *p = ln_stream_arg(s);
    if (p->kind == RESP)
        return read_replies(p, data, len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(data[i], pattern(p->received + i));
    p->received += len;
    p->complete = p->received == ECHO_BYTES;
    return len;
}

static void on_client_writable(struct ln_stream *s) {
    send_echo(ln_stream_arg(s));
}

static const struct ln_stream_events client_events = {
    .on_connect = on_connect,
    .on_read = on_client_read,
    .on_writable = on_client_writable,
    .on_close = on_close,
};

static void start_client(enum kind kind, const struct ln_addr *addrs, int count) {
    struct peer *p = &clients[client_count++];
    *p = (struct peer){.is_client = true, .kind = kind};
    int rc = ln_tcp_connect(loop, addrs, count, 20 * LN_SECOND, &client_events, p, &p->s);
    if (rc != LN_OK) { /* then nothing is told */
        p->connects = p->closes = 1;
        p->connect_status = p->close_status = rc;
        return;
    }
    ln_stream_set_limits(p->s, &small);
    (void)ln_stream_set_keepalive(p->s, &(struct ln_stream_keepalive){.idle = 60, .count = 3});
    (void)ln_stream_set_timeouts(p->s, &patient);
    if (kind == ECHO)
        send_echo(p);
    for (int i = 0; kind == RESP && rc >= 0 && i < COMMANDS; i++)
        rc = ln_stream_write(p->s, command, sizeof command - 1);
    if (kind == CANCELLED || rc < 0)
        ln_stream_close(p->s, rc < 0 ? rc : LN_OK);
}

/* ---- the loop's own */

static struct ln_timer tick;
static struct ln_async async;
static struct ln_signal watch;

static void on_tick(struct ln_timer *timer) {
    if (++ticks == 3)
        ln_timer_stop(timer);
}

static void on_post(struct ln_async *a) {
    posts++;
    ln_async_release(a);
}

static void on_signal(struct ln_signal *s) {
    (void)s;
    signals++;
}

static int start_own(void) {
    int rc = ln_timer_start(loop, &tick, LN_SECOND / 1000, LN_SECOND / 1000, on_tick);
    if (rc == LN_OK)
        rc = ln_signal_start(loop, &watch, SIGUSR1, on_signal);
    if (rc == LN_OK)
        rc = ln_async_start(loop, &async, on_post);
    if (rc == LN_OK) {
        ln_async_hold(&async);
        ln_async_post(&async);
        raise(SIGUSR1);
    }
    return rc;
}

static void stop_own(void) {
    ln_timer_stop(&tick);
    ln_signal_stop(loop, &watch);
    ln_async_stop(&async);
}

/* ---- the scenario */

static struct ln_addr local(uint16_t port) {
    struct ln_addr addrs[LN_ADDR_MAX];
    assert_int_equal(ln_addr_parse("127.0.0.1", port, addrs), 1);
    return addrs[0];
}

/* An address that nobody listens on: bound, for as long as *fd is open. */
static struct ln_addr dead_address(int *fd) {
    struct ln_addr addr = local(0);
    fault_pause();
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&addr.ss, addr.len), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&addr.ss, &addr.len), 0);
    fault_go_on();
    return addr;
}

static bool clients_ended(void) {
    for (int i = 0; i < client_count; i++)
        if (clients[i].closes == 0)
            return false;
    return true;
}

static bool own_ended(void) {
    return ticks >= 3 && posts >= 1 && signals >= 1;
}

static void step_until(bool (*done)(void)) {
    int64_t deadline = ln_loop_now(loop) + 10 * LN_SECOND;
    for (int i = 0; !done(); i++) {
        assert_true(i < STEPS && ln_loop_now(loop) < deadline);
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    }
}

static void start_clients(struct ln_addr live, struct ln_addr dead) {
    const struct ln_addr both[] = {dead, live};
    start_client(ECHO, &live, 1);
    start_client(CANCELLED, &live, 1);
    start_client(REFUSED, &dead, 1);
    start_client(RESP, both, 2);
    start_client(ECHO, &live, 1);
}

static bool as_expected(const struct peer *p) {
    switch (p->kind) {
    case CANCELLED:
        return p->connect_status == -ECANCELED && p->close_status == LN_OK;
    case REFUSED:
        return p->connect_status == -ECONNREFUSED && p->close_status == -ECONNREFUSED;
    default:
        return p->connect_status == LN_OK && p->close_status == LN_OK && p->complete;
    }
}

static void check_peers(bool harmless) {
    int failed = 0;
    for (int i = 0; i < client_count; i++) {
        const struct peer *p = &clients[i];
        assert_int_equal(p->connects, 1);
        assert_int_equal(p->closes, 1);
        failed += !as_expected(p);
    }
    for (int i = 0; i < served_count; i++) {
        assert_int_equal(served[i].connects, 0);
        assert_int_equal(served[i].closes, 1);
    }
    assert_true(failed <= (harmless ? 0 : 1));
}

static bool nothing_left(void) {
    return !ln_loop_alive(loop);
}

static void with_server(bool harmless) {
    struct ln_addr live = {.len = 0}, dead;
    int dead_fd = -1;
    if (ln_tcp_server_sock(server, &live) != LN_OK) {
        assert_true(fault_happened() && !harmless);
        return;
    }
    dead = dead_address(&dead_fd);
    int rc = start_own();
    assert_true(rc == LN_OK || (fault_happened() && !harmless));
    start_clients(live, dead);
    step_until(clients_ended);
    if (rc == LN_OK)
        step_until(own_ended);
    stop_own();
    close(dead_fd);
}

static void scenario(const struct fault *f) {
    bool harmless = !f || f->harmless;
    struct ln_addr addr = local(0);
    const struct ln_tcp_server_options options = {.backlog = 16,
                                                  .max_connections = max_connections,
                                                  .events = &server_events,
                                                  .on_accept = on_accept,
                                                  .on_close = on_server_close};
    client_count = served_count = server_closes = ticks = posts = signals = 0;
    if (ln_loop_open(&loop) != LN_OK) {
        assert_true(fault_happened() && !harmless);
        return;
    }
    if (ln_tcp_listen(loop, &addr, &options, &server) == LN_OK) {
        with_server(harmless);
        ln_tcp_server_close(server);
        step_until(nothing_left);
        assert_int_equal(server_closes, 1);
        check_peers(harmless);
    } else {
        assert_true(fault_happened() && !harmless);
    }
    assert_int_equal(ln_loop_close(loop), LN_OK);
}

/* ---- the faults */

static void memory_that_runs_out(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_malloc, ENOMEM, false},
        {FAULT_calloc, ENOMEM, false},
        {FAULT_realloc, ENOMEM, false},
    };
    fault_each(faults, sizeof faults / sizeof *faults, scenario);
}

static void calls_that_are_interrupted_or_cut_short(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_recv, EINTR, true},       {FAULT_recv, EAGAIN, true},
        {FAULT_recv, FAULT_SHORT, true}, {FAULT_send, EINTR, true},
        {FAULT_send, EAGAIN, true},      {FAULT_send, FAULT_SHORT, true},
        {FAULT_connect, EINTR, true},    {FAULT_accept4, EINTR, true},
        {FAULT_accept4, EAGAIN, true},   {FAULT_epoll_wait, EINTR, true},
        {FAULT_read, EINTR, true},       {FAULT_read, EAGAIN, true},
        {FAULT_write, EINTR, true},      {FAULT_close, EINTR, true},
    };
    fault_each(faults, sizeof faults / sizeof *faults, scenario);
}

static void descriptors_and_kernel_memory_that_run_out(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_accept4, EMFILE, true},        {FAULT_accept4, ENFILE, true},
        {FAULT_accept4, ENOMEM, true},        {FAULT_accept4, ENOBUFS, true},
        {FAULT_socket, EMFILE, false},        {FAULT_socket, ENOBUFS, false},
        {FAULT_epoll_create1, EMFILE, false}, {FAULT_epoll_ctl, ENOMEM, false},
        {FAULT_epoll_ctl, ENOSPC, false},     {FAULT_eventfd, EMFILE, false},
        {FAULT_signalfd, EMFILE, false},      {FAULT_connect, ENOMEM, false},
        {FAULT_send, ENOBUFS, false},         {FAULT_recv, ENOMEM, false},
        {FAULT_setsockopt, ENOMEM, false},    {FAULT_getsockopt, ENOBUFS, false},
        {FAULT_getsockname, ENOBUFS, false},  {FAULT_bind, EADDRINUSE, false},
        {FAULT_listen, EADDRINUSE, false},
    };
    fault_each(faults, sizeof faults / sizeof *faults, scenario);
}

/* Served one by one, each waits for the end of the one before. */
static void a_listener_that_cannot_be_watched(void **state) {
    (void)state;
    static const struct fault faults[] = {{FAULT_epoll_ctl, ENOMEM, false},
                                          {FAULT_accept4, EMFILE, true}};
    max_connections = 1;
    fault_each(faults, sizeof faults / sizeof *faults, scenario);
    max_connections = 2;
}

static void connections_that_break(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_recv, ECONNRESET, false},      {FAULT_recv, ETIMEDOUT, false},
        {FAULT_send, ECONNRESET, false},      {FAULT_send, EPIPE, false},
        {FAULT_accept4, ECONNABORTED, false}, {FAULT_connect, ECONNREFUSED, false},
        {FAULT_connect, ENETUNREACH, false},  {FAULT_connect, EADDRNOTAVAIL, false},
        {FAULT_shutdown, ENOTCONN, false},
    };
    fault_each(faults, sizeof faults / sizeof *faults, scenario);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(memory_that_runs_out, fault_report),
        cmocka_unit_test_teardown(calls_that_are_interrupted_or_cut_short, fault_report),
        cmocka_unit_test_teardown(descriptors_and_kernel_memory_that_run_out, fault_report),
        cmocka_unit_test_teardown(a_listener_that_cannot_be_watched, fault_report),
        cmocka_unit_test_teardown(connections_that_break, fault_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
