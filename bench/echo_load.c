/* echo_load HOST:PORT SERVER_PID CONNECTIONS REQUESTS: loads an echo server and checks every byte.
 *
 * A closed loop: each connection sends one message of 64 bytes, waits until it is back, and sends
 * the next. A fifth of REQUESTS goes first, unmeasured; then all connections fall silent, and the
 * measured run begins and ends with an idle server, so that its CPU clock is exact. Prints one
 * line:
 *
 *   server CPU nanoseconds <TAB> requests per second <TAB> p50 microseconds <TAB> p99 microseconds
 */
#include "address.h"
#include "process_clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE = 64, MAX_EVENTS = 1024, PATIENCE_MS = 10000 };

struct conn {
    int fd;
    uint32_t number;
    uint32_t sequence; /* of the message under way: no two messages are alike */
    size_t got;        /* bytes of it that are back */
    int64_t sent_at;
    char message[MESSAGE];
};

static int epoll_fd;
static struct conn *conns;
static uint32_t conn_count;
static uint32_t *latencies; /* nanoseconds, one a request */

#define fail(...)                                                                                  \
    ((void)fprintf(stderr, "echo_load: " __VA_ARGS__), (void)fputc('\n', stderr), exit(1))

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void connect_all(const struct sockaddr_in *addr) {
    for (uint32_t i = 0; i < conn_count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof *addr) != 0)
            fail("connection %" PRIu32 ": %s", i + 1, strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        fcntl(fd, F_SETFL, O_NONBLOCK);
        conns[i] = (struct conn){.fd = fd, .number = i};
        for (size_t j = 0; j < MESSAGE; j++)
            conns[i].message[j] = (char)(i + j);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &conns[i]};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
            fail("epoll_ctl: %s", strerror(errno));
    }
}

static void send_next(struct conn *c) {
    c->sequence++;
    c->got = 0;
    memcpy(c->message, &c->sequence, sizeof c->sequence);
    memcpy(c->message + sizeof c->sequence, &c->number, sizeof c->number);
    c->sent_at = now();
    ssize_t n = write(c->fd, c->message, MESSAGE);
    if (n != MESSAGE) /* the socket's buffer is empty: the last message came back whole */
        fail("write: %s", n < 0 ? strerror(errno) : "short");
}

/* True when the message is back whole. */
static bool receive(struct conn *c) {
    char in[MESSAGE + 1];
    ssize_t n = read(c->fd, in, sizeof in);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        fail("the server closed a connection: %s", n < 0 ? strerror(errno) : "end of file");
    if ((size_t)n > MESSAGE - c->got || memcmp(in, c->message + c->got, (size_t)n) != 0)
        fail("the echo differs from what was sent (connection %" PRIu32 ", message %" PRIu32 ")",
             c->number, c->sequence);
    c->got += (size_t)n;
    return c->got == MESSAGE;
}

/* Runs `count` requests over all connections, from silence to silence. */
static void run(size_t count) {
    size_t sent = 0, done = 0;
    for (uint32_t i = 0; i < conn_count && sent < count; i++, sent++)
        send_next(&conns[i]);
    while (done < count) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(epoll_fd, events, MAX_EVENTS, PATIENCE_MS);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait: %s", strerror(errno));
        if (n == 0)
            fail("no echo for %d s", PATIENCE_MS / 1000);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!receive(c))
                continue;
            int64_t took = now() - c->sent_at;
            latencies[done++] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
            if (sent < count) {
                send_next(c);
                sent++;
            }
        }
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    struct sockaddr_in addr;
    if (argc != 5 || !parse_address(argv[1], &addr) || atol(argv[3]) < 1 || atol(argv[4]) < 1) {
        fprintf(stderr, "usage: echo_load HOST:PORT SERVER_PID CONNECTIONS REQUESTS\n");
        return 2;
    }
    pid_t server = (pid_t)atol(argv[2]);
    conn_count = (uint32_t)atol(argv[3]);
    size_t count = (size_t)atol(argv[4]);

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    conns = calloc(conn_count, sizeof *conns);
    latencies = calloc(count, sizeof *latencies);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || !latencies || epoll_fd < 0)
        fail("%s", strerror(errno));
    connect_all(&addr);
    run((count + 4) / 5);

    int64_t cpu_before = process_clock(server), began = now();
    run(count);
    int64_t ended = now(), cpu_after = process_clock(server);
    if (cpu_before < 0 || cpu_after < 0)
        fail("the server (pid %d) is gone", (int)server);

    qsort(latencies, count, sizeof *latencies, compare);
    uint32_t p50 = latencies[count / 2], p99 = latencies[count * 99 / 100];
    printf("%" PRId64 "\t%.0f\t%.1f\t%.1f\n", cpu_after - cpu_before,
           (double)count * 1e9 / (double)(ended - began), p50 / 1e3, p99 / 1e3);
    return 0;
}
