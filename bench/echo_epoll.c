/* echo_epoll HOST:PORT: the least an echo server can do, as the mark that ours is measured against.
 *
 * One thread, level-triggered epoll, one read and one write a message. What the socket does not
 * take is kept, and nothing more is read from that connection until it is gone. Port 0 lets the
 * kernel choose. */
#include "address.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_EVENTS = 1024, READ_SIZE = 64 << 10, BACKLOG = 511 };

struct conn {
    int fd;
    char *rest; /* what the socket did not take; NULL: nothing */
    size_t rest_at, rest_len;
};

static int epoll_fd;
static char input[READ_SIZE];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int op, int fd, uint32_t events, void *ptr) {
    struct epoll_event ev = {.events = events, .data.ptr = ptr};
    if (epoll_ctl(epoll_fd, op, fd, &ev) != 0)
        die("epoll_ctl");
}

static void close_conn(struct conn *c) {
    close(c->fd);
    free(c->rest);
    free(c);
}

/* Sends what it can and says how much that was, or -1 when the connection is lost. */
static ssize_t send_some(int fd, const char *data, size_t len) {
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    return n < 0 && errno == EAGAIN ? 0 : n;
}

static void on_readable(struct conn *c) {
    ssize_t n = recv(c->fd, input, sizeof input, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    ssize_t sent = n > 0 ? send_some(c->fd, input, (size_t)n) : -1;
    if (sent < 0) {
        close_conn(c);
    } else if (sent < n) {
        c->rest_len = (size_t)(n - sent);
        c->rest_at = 0;
        c->rest = malloc(c->rest_len);
        if (!c->rest)
            die("malloc");
        memcpy(c->rest, input + sent, c->rest_len);
        watch(EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
    }
}

static void on_writable(struct conn *c) {
    ssize_t sent = send_some(c->fd, c->rest + c->rest_at, c->rest_len - c->rest_at);
    if (sent < 0) {
        close_conn(c);
        return;
    }
    c->rest_at += (size_t)sent;
    if (c->rest_at == c->rest_len) {
        free(c->rest);
        c->rest = NULL;
        watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    }
}

static void on_acceptable(int listen_fd) {
    int fd;
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is allocated here, epoll holds */
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct conn *c = calloc(1, sizeof *c);
        if (!c)
            die("calloc");
        c->fd = fd;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        die("accept4");
}

static int listen_on(struct sockaddr_in *addr) {
    socklen_t len = sizeof *addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)addr, len) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)addr, &len) != 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv) {
    struct sockaddr_in addr;
    if (argc != 2 || !parse_address(argv[1], &addr)) {
        fprintf(stderr, "usage: echo_epoll HOST:PORT\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
    int listen_fd = listen_on(&addr);
    watch(EPOLL_CTL_ADD, listen_fd, EPOLLIN, NULL);
    printf("listening on %s:%d\n", inet_ntoa(addr.sin_addr), ntohs(addr.sin_port));
    fflush(stdout);

    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c)
                on_acceptable(listen_fd);
            else if (c->rest)
                on_writable(c);
            else
                on_readable(c);
        }
    }
}
