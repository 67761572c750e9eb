#include "tcp_server.h"

#include "tcp_stream_impl.h"
#include "unix_file.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ACCEPTS_PER_TURN = 128 };
#define ACCEPT_PAUSE (LN_SECOND / 10)

struct ln_tcp_server {
    struct ln_loop *loop;
    struct ln_io io;
    int fd;
    bool closed;
    struct ln_unix_file file; /* of a Unix socket */
    struct ln_tcp_server_options options;
    size_t connections;
    struct ln_gate gate;
    struct ln_timer pause; /* while descriptors are short */
    struct ln_job close_job;
};

size_t ln_tcp_server_connections(const struct ln_tcp_server *server) {
    return server->connections;
}

void ln_tcp_server_hold(struct ln_tcp_server *server, uint64_t mark) {
    ln_gate_hold(&server->gate, mark);
}

void ln_tcp_server_release(struct ln_tcp_server *server, uint64_t mark) {
    ln_gate_release(&server->gate, mark, ln_stream_released);
}

int ln_tcp_server_sock(const struct ln_tcp_server *server, struct ln_addr *out) {
    struct ln_addr addr = {.len = sizeof addr.ss};
    if (server->fd < 0)
        return -ENOTCONN;
    if (getsockname(server->fd, (struct sockaddr *)&addr.ss, &addr.len) != 0)
        return -errno;
    *out = addr;
    return LN_OK;
}

static void on_closing(struct ln_job *job) {
    struct ln_tcp_server *server = LN_OWNER(struct ln_tcp_server, close_job, job);
    if (server->options.on_close)
        server->options.on_close(server, server->options.arg);
    free(server);
}

/* Frees a closed server once its last connection, which counts on it, has gone. */
static void finish_close(struct ln_tcp_server *server) {
    if (server->closed && server->connections == 0)
        ln_loop_closing(server->loop, &server->close_job, on_closing);
}

void ln_tcp_server_close(struct ln_tcp_server *server) {
    if (server->closed)
        return;
    server->closed = true;
    ln_io_stop(&server->io);
    ln_timer_stop(&server->pause);
    ln_unix_file_remove(&server->file);
    close(server->fd);
    server->fd = -1;
    finish_close(server);
}

void ln_tcp_server_discard(struct ln_tcp_server *server) {
    server->options.on_close = NULL;
    ln_tcp_server_close(server);
}

static bool has_room(const struct ln_tcp_server *server) {
    size_t max = server->options.max_connections;
    return max == 0 || server->connections < max;
}

static void on_pause_over(struct ln_timer *timer);

/* Listens to the socket again unless there is a reason not to. Where it cannot be had, nothing else
 * may ever bring us back here. */
static void take_up(struct ln_tcp_server *server) {
    if (server->closed || !has_room(server) || ln_timer_active(&server->pause))
        return;
    if (ln_io_set(&server->io, EPOLLIN) != LN_OK)
        (void)ln_timer_start(server->loop, &server->pause, ACCEPT_PAUSE, 0, on_pause_over);
}

static void on_released(struct ln_stream *s, void *maker) {
    struct ln_tcp_server *server = maker;
    (void)s;
    server->connections--;
    take_up(server);
    finish_close(server);
}

static void on_pause_over(struct ln_timer *timer) {
    take_up(LN_OWNER(struct ln_tcp_server, pause, timer));
}

static int welcome(struct ln_tcp_server *server, int fd) {
    struct ln_stream *s = ln_stream_new(server->loop, server->options.events, NULL);
    if (s)
        s->gate = &server->gate;
    int rc = s ? ln_stream_adopt(s, fd) : -ENOMEM;
    if (rc != LN_OK) {
        free(s);
        close(fd);
        return rc;
    }
    s->announced = true;
    s->released = on_released;
    s->maker = server;
    server->connections++;
    server->options.on_accept(server, s, server->options.arg);
    return LN_OK;
}

/* The level-triggered listener would wake us at once and for nothing. */
static void pause_accepting(struct ln_tcp_server *server) {
    if (ln_timer_start(server->loop, &server->pause, ACCEPT_PAUSE, 0, on_pause_over) == LN_OK)
        (void)ln_io_set(&server->io, 0);
}

static bool is_shortage(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_io(struct ln_io *io, uint32_t events) {
    struct ln_tcp_server *server = LN_OWNER(struct ln_tcp_server, io, io);
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && !server->closed; i++) {
        if (!has_room(server)) {
            (void)ln_io_set(&server->io, 0);
            return;
        }
        int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        int error = fd < 0 ? errno : -welcome(server, fd);
        if (error == EAGAIN)
            return;
        if (is_shortage(error)) {
            pause_accepting(server);
            return;
        }
        /* Whatever else there is concerns one connection that did not come about. */
    }
}

static int set_option(int fd, int level, int option, int value) {
    return setsockopt(fd, level, option, &value, sizeof value) == 0 ? LN_OK : -errno;
}

static int set_options(int fd, int family, const struct ln_tcp_server_options *options) {
    int rc = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == LN_OK && options->reuseport)
        rc = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == LN_OK && family == AF_INET6)
        rc = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->ipv6_only);
    return rc;
}

static int bind_and_listen(struct ln_tcp_server *server, const struct ln_addr *addr) {
    const struct ln_tcp_server_options *options = &server->options;
    int family = addr->ss.ss_family;
    if (family == AF_UNIX)
        return ln_unix_listen(server->fd, addr, options->backlog, options->mode, &server->file);
    int rc = set_options(server->fd, family, options);
    if (rc == LN_OK && (bind(server->fd, (const struct sockaddr *)&addr->ss, addr->len) != 0 ||
                        listen(server->fd, options->backlog) != 0))
        rc = -errno;
    return rc;
}

int ln_tcp_listen(struct ln_loop *loop, const struct ln_addr *addr,
                  const struct ln_tcp_server_options *options, struct ln_tcp_server **out) {
    struct ln_tcp_server *server = calloc(1, sizeof *server);
    if (!server)
        return -ENOMEM;
    server->loop = loop;
    server->options = *options;
    ln_gate_init(&server->gate);
    server->fd = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc = server->fd < 0 ? -errno : bind_and_listen(server, addr);
    if (rc == LN_OK)
        rc = ln_io_start(loop, &server->io, server->fd, EPOLLIN, on_io);
    if (rc != LN_OK) {
        ln_unix_file_remove(&server->file);
        if (server->fd >= 0)
            close(server->fd);
        free(server);
        return rc;
    }
    *out = server;
    return LN_OK;
}
