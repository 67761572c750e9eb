/* rpc_load HOST:PORT SERVER_PID msgpack|neovim|iproto DEPTH CALLS: loads an RPC server over one
 * connection, and checks every response.
 *
 * A closed loop: DEPTH calls are under way; for those that are answered in one read, as many go out
 * in one write. A call takes a string of 64 bytes: `echo` returns it, Neovim's nvim_strwidth its
 * width. A fifth of CALLS goes first, unmeasured; the measured run begins and ends in silence, so
 * that the server's CPU clock is exact. Prints one line, as echo_load does:
 *
 *   server CPU nanoseconds <TAB> calls per second <TAB> p50 microseconds <TAB> p99 microseconds
 */
#include "address.h"
#include "process_clock.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT = 64, MAX_DEPTH = 1024, MOST = 256, FIRST_ID = 1 << 16 };

/* All ids take four bytes, so a request differs from the one before in these only. */
struct protocol {
    const char *name;
    unsigned char request[MOST];
    size_t size, id_at;
    unsigned char response[MOST]; /* without its text */
    size_t response_size, response_id_at;
    bool has_text; /* at the end of the response */
};

static struct protocol protocol;
static int fd;
static uint32_t depth, next_id = FIRST_ID;
static int64_t sent_at[MAX_DEPTH]; /* by id */
static bool under_way[MAX_DEPTH];
static uint32_t *latencies;

#define fail(...)                                                                                  \
    ((void)fprintf(stderr, "rpc_load: " __VA_ARGS__), (void)fputc('\n', stderr), exit(1))

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- protocols */

static void put(unsigned char *to, size_t *size, const char *bytes, size_t len) {
    memcpy(to + *size, bytes, len);
    *size += len;
}

static void put_text(unsigned char *to, size_t *size) {
    put(to, size, "\xd9\x40", 2);
    for (int i = 0; i < TEXT; i++)
        to[(*size)++] = (unsigned char)('a' + i % 26);
}

/* [0, id, method, [text]] and [1, id, nil, result] */
static void use_msgpack(const char *method, bool echoes) {
    struct protocol *p = &protocol;
    put(p->request, &p->size, "\x94\x00\xce", 3);
    p->id_at = p->size;
    p->size += 4;
    p->request[p->size++] = (unsigned char)(0xa0 + strlen(method));
    put(p->request, &p->size, method, strlen(method));
    put(p->request, &p->size, "\x91", 1);
    put_text(p->request, &p->size);
    put(p->response, &p->response_size, "\x94\x01\xce\0\0\0\0\xc0", 8);
    p->response_id_at = 3;
    p->has_text = echoes;
    if (echoes)
        put_text(p->response, &p->response_size);
    else
        put(p->response, &p->response_size, "\x40", 1);
}

/* Tarantool: a length, {0: IPROTO_CALL, 1: id}, {0x22: name, 0x21: [text]}; the response is a
 * length, {0: 0, 1: id, 5: schema version}, {0x30: [text]}. */
static void use_iproto(void) {
    struct protocol *p = &protocol;
    put(p->request, &p->size, "\xce\0\0\0\0\x82\x00\x0a\x01\xce", 10);
    p->id_at = p->size;
    p->size += 4;
    put(p->request, &p->size,
        "\x82\x22\xa4"
        "echo\x21\x91",
        9);
    put_text(p->request, &p->size);
    p->request[4] = (unsigned char)(p->size - 5);
    put(p->response, &p->response_size, "\xce\0\0\0\0\x83\x00\xce\0\0\0\0\x01\xcf\0\0\0\0\0\0\0\0",
        22);
    p->response_id_at = 18;
    put(p->response, &p->response_size, "\x05\xce\0\0\0\0\x81\x30\xdd\0\0\0\x01", 13);
    put_text(p->response, &p->response_size);
    p->response[4] = (unsigned char)(p->response_size - 5);
    p->has_text = true;
}

/* What Tarantool's schema version is cannot be known before. */
static void learn_version(const unsigned char *response) {
    if (strcmp(protocol.name, "iproto") == 0)
        memcpy(protocol.response + 24, response + 24, 4);
}

/* ---- the loop */

static void send_calls(uint32_t count) {
    static unsigned char out[MAX_DEPTH * MOST];
    size_t size = 0;
    int64_t t = now();
    for (uint32_t i = 0; i < count; i++, next_id++) {
        unsigned char *request = out + size;
        memcpy(request, protocol.request, protocol.size);
        for (int b = 0; b < 4; b++)
            request[protocol.id_at + (size_t)b] = (unsigned char)(next_id >> (24 - 8 * b));
        sent_at[next_id % MAX_DEPTH] = t;
        under_way[next_id % MAX_DEPTH] = true;
        size += protocol.size;
    }
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, out + done, size - done);
        if (n <= 0)
            fail("write: %s", strerror(errno));
        done += (size_t)n;
    }
}

/* Checks a whole response, and notes how long it took. */
static void take(const unsigned char *response, uint32_t *latency) {
    static bool learnt;
    if (!learnt)
        learn_version(response);
    learnt = true;
    uint32_t id = 0;
    for (size_t b = 0; b < 4; b++)
        id = id << 8 | response[protocol.response_id_at + b];
    size_t after = protocol.response_id_at + 4;
    if (memcmp(response, protocol.response, protocol.response_id_at) != 0 ||
        memcmp(response + after, protocol.response + after, protocol.response_size - after) != 0 ||
        id - FIRST_ID >= next_id - FIRST_ID || !under_way[id % MAX_DEPTH])
        fail("a response that is none of ours");
    under_way[id % MAX_DEPTH] = false;
    int64_t took = now() - sent_at[id % MAX_DEPTH];
    *latency = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
}

/* Runs `count` calls, from silence to silence. */
static void run(size_t count) {
    static unsigned char in[MAX_DEPTH * MOST];
    size_t sent = count < depth ? count : depth, done = 0, have = 0;
    send_calls((uint32_t)sent);
    while (done < count) {
        ssize_t n = read(fd, in + have, sizeof in - have);
        if (n <= 0)
            fail("the server closed the connection: %s", n < 0 ? strerror(errno) : "end of file");
        have += (size_t)n;
        size_t at = 0;
        uint32_t answered = 0;
        for (; have - at >= protocol.response_size; at += protocol.response_size, answered++)
            take(in + at, &latencies[done++]);
        memmove(in, in + at, have - at);
        have -= at;
        if (answered > count - sent)
            answered = (uint32_t)(count - sent);
        sent += answered;
        if (answered > 0)
            send_calls(answered);
    }
}

static void open_connection(const struct sockaddr_in *addr) {
    struct timeval patience = {.tv_sec = 10};
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof *addr) != 0)
        fail("connection: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char greeting[128];
    if (strcmp(protocol.name, "iproto") == 0 &&
        recv(fd, greeting, sizeof greeting, MSG_WAITALL) != (ssize_t)sizeof greeting)
        fail("no greeting");
}

static bool choose(const char *name) {
    protocol.name = name;
    if (strcmp(name, "msgpack") == 0)
        use_msgpack("echo", true);
    else if (strcmp(name, "neovim") == 0)
        use_msgpack("nvim_strwidth", false);
    else if (strcmp(name, "iproto") == 0)
        use_iproto();
    else
        return false;
    return true;
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    struct sockaddr_in addr;
    if (argc != 6 || !parse_address(argv[1], &addr) || !choose(argv[3]) || atol(argv[4]) < 1 ||
        atol(argv[4]) > MAX_DEPTH || atol(argv[5]) < 1) {
        fprintf(stderr, "usage: rpc_load HOST:PORT SERVER_PID msgpack|neovim|iproto DEPTH CALLS\n");
        return 2;
    }
    pid_t server = (pid_t)atol(argv[2]);
    depth = (uint32_t)atol(argv[4]);
    size_t count = (size_t)atol(argv[5]);
    latencies = calloc(count, sizeof *latencies);
    if (!latencies)
        fail("no memory");
    open_connection(&addr);
    run((count + 4) / 5);

    int64_t cpu_before = process_clock(server), began = now();
    run(count);
    int64_t ended = now(), cpu_after = process_clock(server);
    if (cpu_before < 0 || cpu_after < 0)
        fail("the server (pid %d) is gone", (int)server);

    qsort(latencies, count, sizeof *latencies, compare);
    printf("%" PRId64 "\t%.0f\t%.1f\t%.1f\n", cpu_after - cpu_before,
           (double)count * 1e9 / (double)(ended - began), latencies[count / 2] / 1e3,
           latencies[count * 99 / 100] / 1e3);
    return 0;
}
