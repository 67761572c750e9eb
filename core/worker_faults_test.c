/* As net_faults_test, for what runs on threads and for Unix sockets: work, lookups, connections to
 * names; a socket's file that is made, replaced and removed. */
#include "fault.h"
#include "tcp_client.h"
#include "tcp_server.h"
#include "test.h"
#include "test_dir.h"
#include "worker.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORKS = 3, NAMES = 2, STEPS = 20000 };

static struct ln_loop *loop;

static bool nothing_left(void) {
    return !ln_loop_alive(loop);
}

static void step_until(bool (*done)(void)) {
    int64_t deadline = ln_loop_now(loop) + 10 * LN_SECOND;
    for (int i = 0; !done(); i++) {
        assert_true(i < STEPS && ln_loop_now(loop) < deadline);
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    }
}

static bool open_loop(bool harmless) {
    int rc = ln_loop_open(&loop);
    assert_true(rc == LN_OK || (fault_happened() && !harmless));
    return rc == LN_OK;
}

/* ---- connections whose ends count what they hear, and send nothing */

struct end {
    int connects, closes, status;
};

static void on_connect(struct ln_stream *s, int status) {
    struct end *e = ln_stream_arg(s);
    e->connects++;
    e->status = status;
    if (status == LN_OK)
        ln_stream_close(s, LN_OK);
}

static size_t on_read(struct ln_stream *s, const char *data, size_t len) {
    (void)s, (void)data;
    return len;
}

static void on_close(struct ln_stream *s, int status) {
    struct end *e = ln_stream_arg(s);
    if (e)
        e->closes++;
    (void)status;
}

static const struct ln_stream_events events = {
    .on_connect = on_connect, .on_read = on_read, .on_close = on_close};

static void on_accept(struct ln_tcp_server *server, struct ln_stream *s, void *arg) {
    (void)server, (void)s, (void)arg;
}

static const struct ln_tcp_server_options options = {
    .backlog = 16, .mode = 0600, .events = &events, .on_accept = on_accept};

static bool heard_once(const struct end *e) {
    assert_true(e->connects <= 1 && e->closes <= 1);
    return e->connects == 1 && e->closes == 1;
}

/* ---- work */

static struct ln_work works[WORKS];
static int done[WORKS], dropped[WORKS];

static void on_run(struct ln_work *work) {
    void *p = malloc(1 + (size_t)(work - works)); /* as what runs on threads does */
    free(p);
}

static void on_done(struct ln_work *work) {
    done[work - works]++;
}

static void on_drop(struct ln_work *work) {
    dropped[work - works]++;
}

static void work_scenario(const struct fault *f) {
    bool harmless = !f || f->harmless, accepted[WORKS] = {false};
    struct ln_worker *worker = NULL;
    const struct ln_worker_options two = {.threads = 2, .max_queue = 8};
    memset(done, 0, sizeof done);
    memset(dropped, 0, sizeof dropped);
    if (!open_loop(harmless))
        return;
    if (ln_worker_open(loop, &two, &worker) == LN_OK) {
        for (int i = 0; i < WORKS; i++) {
            works[i] = (struct ln_work){.run = on_run, .done = on_done, .drop = on_drop};
            accepted[i] = ln_worker_submit(worker, &works[i]) == LN_OK;
            assert_true(accepted[i] || (fault_happened() && !harmless));
        }
        step_until(nothing_left);
        ln_worker_close(worker);
        step_until(nothing_left);
    } else {
        assert_true(fault_happened() && !harmless);
    }
    for (int i = 0; i < WORKS; i++) {
        assert_int_equal(done[i], accepted[i]);
        assert_int_equal(dropped[i], 0);
    }
    assert_int_equal(ln_loop_close(loop), LN_OK);
}

static void work_is_done_once_or_refused(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_calloc, ENOMEM, false},   {FAULT_realloc, ENOMEM, false},
        {FAULT_eventfd, EMFILE, false},  {FAULT_pthread_create, EAGAIN, false},
        {FAULT_write, EINTR, true},      {FAULT_read, EINTR, true},
        {FAULT_read, EAGAIN, true},      {FAULT_epoll_ctl, ENOMEM, false},
        {FAULT_epoll_wait, EINTR, true},
    };
    fault_each(faults, sizeof faults / sizeof *faults, work_scenario);
}

/* ---- names, looked up by a getaddrinfo of our own */

int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out);
void __wrap_freeaddrinfo(struct addrinfo *list);

int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out) {
    static struct sockaddr_in in = {.sin_family = AF_INET,
                                    .sin_addr = {__builtin_bswap32(INADDR_LOOPBACK)}};
    static struct addrinfo found = {
        .ai_family = AF_INET, .ai_addrlen = sizeof in, .ai_addr = (struct sockaddr *)&in};
    (void)name, (void)service, (void)hints;
    *out = &found;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list) {
    (void)list;
}

static struct end ends[NAMES];

static bool ends_ended(void) {
    for (int i = 0; i < NAMES; i++)
        if (!heard_once(&ends[i]))
            return false;
    return true;
}

static void connect_to_names(struct ln_resolver *resolver, uint16_t port) {
    static const char *const names[NAMES] = {"found.test", "other.test"};
    struct ln_stream *s = NULL;
    for (int i = 0; i < NAMES; i++) {
        int rc = ln_tcp_connect_host(loop, resolver, names[i], port, 20 * LN_SECOND, &events,
                                     &ends[i], &s);
        if (rc != LN_OK) /* then nothing is told */
            ends[i] = (struct end){.connects = 1, .closes = 1, .status = rc};
    }
    step_until(ends_ended);
}

static void name_scenario(const struct fault *f) {
    bool harmless = !f || f->harmless;
    struct ln_addr addr[LN_ADDR_MAX];
    struct ln_tcp_server *server = NULL;
    struct ln_resolver *resolver = NULL;
    char host[LN_ADDR_TEXT];
    uint16_t port = 0;
    int failed = 0;
    memset(ends, 0, sizeof ends);
    assert_int_equal(ln_addr_parse("127.0.0.1", 0, addr), 1);
    if (!open_loop(harmless))
        return;
    if (ln_tcp_listen(loop, addr, &options, &server) == LN_OK) {
        if (ln_tcp_server_sock(server, addr) == LN_OK &&
            ln_resolver_open(loop, &resolver) == LN_OK) {
            assert_int_equal(ln_addr_format(addr, host, sizeof host, &port), LN_OK);
            connect_to_names(resolver, port);
            ln_resolver_close(resolver);
        }
        ln_tcp_server_close(server);
        step_until(nothing_left);
    }
    for (int i = 0; i < NAMES; i++)
        failed += ends[i].connects == 0 || ends[i].status != LN_OK;
    assert_true(failed == 0 || (fault_happened() && !harmless));
    assert_int_equal(ln_loop_close(loop), LN_OK);
}

static void a_connection_to_a_name_is_told_once(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_calloc, ENOMEM, false},       {FAULT_realloc, ENOMEM, false},
        {FAULT_eventfd, EMFILE, false},      {FAULT_pthread_create, EAGAIN, false},
        {FAULT_write, EINTR, true},          {FAULT_read, EINTR, true},
        {FAULT_socket, EMFILE, false},       {FAULT_connect, EINTR, true},
        {FAULT_connect, ENETUNREACH, false},
    };
    fault_each(faults, sizeof faults / sizeof *faults, name_scenario);
}

/* ---- Unix sockets */

static char dir[64], path[80];

static bool unix_ended(void) {
    return heard_once(&ends[0]);
}

static void serve_and_connect(const struct ln_addr *addr, bool harmless) {
    struct ln_tcp_server *server = NULL;
    struct ln_stream *s = NULL;
    ends[0] = (struct end){0};
    if (ln_tcp_listen(loop, addr, &options, &server) != LN_OK) {
        assert_true(fault_happened() && !harmless);
        return;
    }
    if (ln_tcp_connect(loop, addr, 1, 20 * LN_SECOND, &events, &ends[0], &s) == LN_OK) {
        step_until(unix_ended);
        assert_true(ends[0].status == LN_OK || (fault_happened() && !harmless));
    }
    ln_tcp_server_close(server);
    step_until(nothing_left);
    fault_pause();
    assert_true(access(path, F_OK) != 0 || fault_happened());
    fault_go_on();
}

static void leave_stale_file(const struct ln_addr *addr) {
    fault_pause();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr->ss, addr->len), 0);
    close(fd);
    fault_go_on();
}

static void unix_scenario(const struct fault *f) {
    bool harmless = !f || f->harmless;
    struct ln_addr addr[LN_ADDR_MAX];
    char host[96];
    fault_pause();
    test_dir_make(dir);
    fault_go_on();
    (void)snprintf(path, sizeof path, "%s/socket", dir);
    (void)snprintf(host, sizeof host, "unix:%s", path);
    assert_int_equal(ln_addr_parse(host, 0, addr), 1);
    mode_t former = umask(0277); /* so that the mode asked for has to be set */
    if (open_loop(harmless)) {
        leave_stale_file(addr);
        serve_and_connect(addr, harmless);
        serve_and_connect(addr, harmless); /* whatever the first has left behind */
        assert_int_equal(ln_loop_close(loop), LN_OK);
    }
    umask(former);
    fault_pause();
    test_dir_remove(dir);
    fault_go_on();
}

static void a_unix_socket_is_served_or_refused(void **state) {
    (void)state;
    static const struct fault faults[] = {
        {FAULT_calloc, ENOMEM, false},     {FAULT_open, EMFILE, true},
        {FAULT_flock, EINTR, true},        {FAULT_flock, EWOULDBLOCK, true},
        {FAULT_lstat, EACCES, false},      {FAULT_fchmod, EIO, false},
        {FAULT_unlink, EACCES, false},     {FAULT_unlink, ENOENT, true},
        {FAULT_lstat, ENOENT, false},      {FAULT_fchmodat, EPERM, false},
        {FAULT_bind, EADDRINUSE, true},    {FAULT_connect, EACCES, false},
        {FAULT_connect, EPERM, false},     {FAULT_bind, ENOSPC, false},
        {FAULT_listen, EADDRINUSE, false}, {FAULT_socket, EMFILE, false},
        {FAULT_connect, EAGAIN, false},    {FAULT_connect, EINTR, false},
        {FAULT_connect, ENOENT, false},    {FAULT_accept4, ECONNABORTED, false},
        {FAULT_epoll_ctl, ENOMEM, false},
    };
    fault_each(faults, sizeof faults / sizeof *faults, unix_scenario);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(work_is_done_once_or_refused, fault_report),
        cmocka_unit_test_teardown(a_connection_to_a_name_is_told_once, fault_report),
        cmocka_unit_test_teardown(a_unix_socket_is_served_or_refused, fault_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
