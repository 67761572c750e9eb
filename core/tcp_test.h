/* For the tests of streams: ends that write down what happens to them, and waiting with a deadline.
 */
#ifndef LUNODE_TCP_TEST_H
#define LUNODE_TCP_TEST_H

#include "tcp_client.h"
#include "tcp_server.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* One end of a connection. trail: C connected, c connect failed, R read, W writable, E end, X
 * closed. */
struct end {
    struct ln_stream *s; /* NULL once closed */
    char trail[64];
    int connect_status, close_status;
    char *got; /* all bytes read */
    size_t got_len;
    size_t consume_step; /* 0: consume all; else whole multiples of it */
    void (*on_read)(struct end *e);
    void (*on_writable)(struct end *e);
    void (*on_end)(struct end *e);
    void (*on_connect)(struct end *e);
    void (*on_close)(struct end *e);
};

static struct ln_loop *loop;
static struct end client, server_end;
static struct ln_tcp_server *listener;

static inline void mark(struct end *e, char what) {
    size_t n = strlen(e->trail);
    if (what != 'R' || n == 0 || e->trail[n - 1] != 'R') { /* reads in a row are one letter */
        assert_true(n + 1 < sizeof e->trail);
        e->trail[n] = what;
    }
}

static inline void end_on_connect(struct ln_stream *s, int status) {
    struct end *e = ln_stream_arg(s);
    e->connect_status = status;
    mark(e, status == LN_OK ? 'C' : 'c');
    if (e->on_connect)
        e->on_connect(e);
}

static inline size_t end_on_read(struct ln_stream *s, const char *data, size_t len) {
    struct end *e = ln_stream_arg(s);
    size_t take = e->consume_step ? len - len % e->consume_step : len;
    e->got = realloc(e->got, e->got_len + take + 1);
    memcpy(e->got + e->got_len, data, take);
    e->got_len += take;
    e->got[e->got_len] = '\0';
    mark(e, 'R');
    if (e->on_read)
        e->on_read(e);
    return take;
}

static inline void end_on_writable(struct ln_stream *s) {
    struct end *e = ln_stream_arg(s);
    mark(e, 'W');
    if (e->on_writable)
        e->on_writable(e);
}

static inline void end_on_end(struct ln_stream *s) {
    struct end *e = ln_stream_arg(s);
    mark(e, 'E');
    if (e->on_end)
        e->on_end(e);
}

static inline void end_on_close(struct ln_stream *s, int status) {
    struct end *e = ln_stream_arg(s);
    e->close_status = status;
    mark(e, 'X');
    if (e->on_close)
        e->on_close(e);
    e->s = NULL;
}

static const struct ln_stream_events end_events = {end_on_connect, end_on_read, end_on_writable,
                                                   end_on_end, end_on_close};

static inline void take_first(struct ln_tcp_server *server, struct ln_stream *s, void *arg) {
    struct end *e = arg;
    (void)server;
    e->s = s;
    ln_stream_set_arg(s, e);
}

/* Runs the loop until the condition holds; fails after five seconds. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        int64_t deadline_ = ln_loop_now(loop) + 20 * LN_SECOND;                                    \
        while (!(condition)) {                                                                     \
            assert_true(ln_loop_now(loop) < deadline_);                                            \
            assert_int_equal(ln_loop_step(loop, LN_SECOND / 100), LN_OK);                          \
        }                                                                                          \
    } while (0)

static inline struct ln_addr local(uint16_t port) {
    struct ln_addr addrs[LN_ADDR_MAX];
    assert_int_equal(ln_addr_parse("127.0.0.1", port, addrs), 1);
    return addrs[0];
}

static inline struct ln_tcp_server_options server_options(void) {
    return (struct ln_tcp_server_options){
        .backlog = 16, .events = &end_events, .on_accept = take_first, .arg = &server_end};
}

static inline struct ln_addr listen_locally(const struct ln_tcp_server_options *options) {
    struct ln_addr addr = local(0);
    assert_int_equal(ln_tcp_listen(loop, &addr, options, &listener), LN_OK);
    assert_int_equal(ln_tcp_server_sock(listener, &addr), LN_OK);
    return addr;
}

static inline void connect_to(struct ln_addr addr, struct end *e) {
    assert_int_equal(ln_tcp_connect(loop, &addr, 1, 5 * LN_SECOND, &end_events, e, &e->s), LN_OK);
}

/* client and server_end, connected to each other; the listener is closed. */
static inline void connect_pair(void) {
    struct ln_tcp_server_options options = server_options();
    connect_to(listen_locally(&options), &client);
    WAIT_FOR(server_end.s && client.trail[0]);
    ln_tcp_server_close(listener);
    listener = NULL;
}

static inline int open_world(void **state) {
    (void)state;
    client = server_end = (struct end){0};
    listener = NULL;
    return ln_loop_open(&loop);
}

/* Ends what is left, and with the loop checks that nothing stays behind. */
static inline int close_world(void **state) {
    (void)state;
    if (client.s)
        ln_stream_abort(client.s, LN_OK);
    if (server_end.s)
        ln_stream_abort(server_end.s, LN_OK);
    if (listener)
        ln_tcp_server_close(listener);
    ln_loop_run(loop);
    assert_int_equal(ln_loop_close(loop), LN_OK);
    free(client.got);
    free(server_end.got);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

#endif
