#include "tcp_client.h"

#include "tcp_stream_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* How soon a Unix socket with a full backlog is tried again: at first, and at last. */
#define FIRST_RETRY (LN_SECOND / 1000)
#define LAST_RETRY  (LN_SECOND / 20)

/* One address, and its socket while it is connecting. */
struct attempt {
    struct client *client;
    struct ln_addr addr;
    struct ln_io io;
};

/* Lives until the stream is connected, or freed: the stream's maker. */
struct client {
    struct ln_stream *stream;
    struct ln_job job;
    struct ln_lookup lookup;
    struct ln_timer delay;    /* until the next address's turn */
    struct attempt *attempts; /* by address, in their order */
    int count, next, running;
    int status; /* what would be told if all failed; LN_OK: nothing yet */
    int64_t retry;
};

static void client_free(struct client *c) {
    ln_job_cancel(&c->job);
    ln_lookup_cancel(&c->lookup);
    ln_timer_stop(&c->delay);
    for (int i = 0; i < c->next; i++) {
        struct ln_io *io = &c->attempts[i].io;
        if (ln_io_active(io)) {
            ln_io_stop(io);
            close(io->fd);
        }
    }
    free(c->attempts);
    free(c);
}

static void on_released(struct ln_stream *s, void *maker) {
    (void)s;
    client_free(maker);
}

static bool connecting(const struct client *c) {
    return c->stream->state == LN_STREAM_CONNECTING;
}

/* ---- outcomes */

/* The other attempts end here, and with them the client. */
static void won(struct client *c, int fd) {
    struct ln_stream *s = c->stream;
    s->released = NULL;
    s->maker = NULL;
    client_free(c);
    int rc = ln_stream_adopt(s, fd);
    if (rc != LN_OK) {
        close(fd);
        ln_stream_abort(s, rc);
    } else if (s->state == LN_STREAM_OPEN) {
        s->announced = true;
        if (s->events->on_connect)
            s->events->on_connect(s, LN_OK);
    }
}

/* That there is no way to an address from here, as for IPv6 on many machines. */
static bool says_little(int status) {
    return status == -ENETUNREACH || status == -EAFNOSUPPORT || status == -EADDRNOTAVAIL ||
           status == -EPROTONOSUPPORT;
}

static void note_failure(struct client *c, int status) {
    if (c->status == LN_OK || says_little(c->status) || !says_little(status))
        c->status = status;
}

/* ---- attempts */

static void try_next(struct client *c);

/* The socket is writable, or in error: SO_ERROR tells which. */
static void on_io(struct ln_io *io, uint32_t events) {
    struct client *c = LN_OWNER(struct attempt, io, io)->client;
    int fd = io->fd, error = 0;
    socklen_t len = sizeof error;
    (void)events;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    ln_io_stop(io);
    c->running--;
    if (connecting(c) && error == 0) {
        won(c, fd);
        return;
    }
    close(fd);
    if (connecting(c)) { /* else it was closed earlier in this batch */
        note_failure(c, -error);
        try_next(c);
    }
}

/* LN_OK: connected at once, through *out; -EINPROGRESS; or why not. */
static int begin(struct attempt *a, int *out) {
    struct ln_loop *loop = a->client->stream->loop;
    int fd = socket(a->addr.ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (const struct sockaddr *)&a->addr.ss, a->addr.len) == 0 ? LN_OK : -errno;
    if (rc == LN_OK) {
        *out = fd;
        return LN_OK;
    }
    if (rc == -EINPROGRESS || rc == -EINTR) {
        rc = ln_io_start(loop, &a->io, fd, EPOLLOUT, on_io);
        if (rc == LN_OK)
            return -EINPROGRESS;
    }
    close(fd);
    return rc;
}

static void on_delay(struct ln_timer *timer) {
    struct client *c = LN_OWNER(struct client, delay, timer);
    if (connecting(c))
        try_next(c);
}

/* The backlog of a Unix socket is full, and nothing would tell when it has room. */
static void try_later(struct client *c) {
    c->retry = c->retry == 0 ? FIRST_RETRY : c->retry < LAST_RETRY ? c->retry * 2 : c->retry;
    int rc = ln_timer_start(c->stream->loop, &c->delay, c->retry, 0, on_delay);
    if (rc != LN_OK)
        ln_stream_abort(c->stream, rc);
}

/* Goes on to the next address whose attempt does not fail at once. */
static void try_next(struct client *c) {
    ln_timer_stop(&c->delay);
    while (c->next < c->count) {
        struct attempt *a = &c->attempts[c->next];
        int fd = -1, rc = begin(a, &fd);
        if (rc == -EAGAIN && a->addr.ss.ss_family == AF_UNIX) {
            try_later(c);
            return;
        }
        c->next++;
        if (rc == LN_OK) {
            won(c, fd);
            return;
        }
        if (rc == -EINPROGRESS) {
            c->running++;
            /* Without memory for the timer, the next one waits until this one fails. */
            if (c->next < c->count)
                (void)ln_timer_start(c->stream->loop, &c->delay, LN_CONNECT_DELAY, 0, on_delay);
            return;
        }
        note_failure(c, rc);
    }
    if (c->running == 0)
        ln_stream_abort(c->stream, c->status);
}

/* ---- the start */

static int take_addresses(struct client *c, const struct ln_addr *addrs, int count) {
    c->attempts = calloc((size_t)count, sizeof *c->attempts);
    if (!c->attempts)
        return -ENOMEM;
    for (int i = 0; i < count; i++) {
        c->attempts[i].client = c;
        c->attempts[i].addr = addrs[i];
    }
    c->count = count;
    return LN_OK;
}

static void on_lookup(struct ln_lookup *lookup, int status, const struct ln_addr *addrs,
                      int count) {
    struct client *c = LN_OWNER(struct client, lookup, lookup);
    if (!connecting(c))
        return;
    int rc = status == LN_OK ? take_addresses(c, addrs, count) : status;
    if (rc == LN_OK)
        try_next(c);
    else
        ln_stream_abort(c->stream, rc);
}

static void on_start(struct ln_job *job) {
    struct client *c = LN_OWNER(struct client, job, job);
    if (connecting(c))
        try_next(c);
}

static void on_timeout(struct ln_timer *timer) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, timer, timer);
    const struct client *c = s->maker;
    ln_stream_abort(s, ln_lookup_active(&c->lookup) ? LN_ELOOKUP_TIMEOUT : LN_ECONNECT_TIMEOUT);
}

static struct client *client_new(struct ln_loop *loop, int64_t timeout,
                                 const struct ln_stream_events *events, void *arg) {
    struct client *c = calloc(1, sizeof *c);
    struct ln_stream *s = c ? ln_stream_new(loop, events, arg) : NULL;
    if (!s || ln_timer_start(loop, &s->timer, timeout, 0, on_timeout) != LN_OK) {
        free(s);
        free(c);
        return NULL;
    }
    s->released = on_released;
    s->maker = c;
    c->stream = s;
    return c;
}

static void client_undo(struct client *c) {
    ln_timer_stop(&c->stream->timer);
    free(c->stream);
    client_free(c);
}

int ln_tcp_connect(struct ln_loop *loop, const struct ln_addr *addrs, int count, int64_t timeout,
                   const struct ln_stream_events *events, void *arg, struct ln_stream **out) {
    struct client *c = client_new(loop, timeout, events, arg);
    if (!c)
        return -ENOMEM;
    if (count <= 0) {
        c->status = count < 0 ? count : LN_ENOTFOUND;
    } else if (take_addresses(c, addrs, count) != LN_OK) {
        client_undo(c);
        return -ENOMEM;
    }
    /* Deferred, so that nothing is told before this call has returned. */
    ln_loop_defer(loop, &c->job, on_start);
    *out = c->stream;
    return LN_OK;
}

int ln_tcp_connect_host(struct ln_loop *loop, struct ln_resolver *resolver, const char *host,
                        uint16_t port, int64_t timeout, const struct ln_stream_events *events,
                        void *arg, struct ln_stream **out) {
    struct ln_addr addrs[LN_ADDR_MAX];
    int count = ln_addr_parse(host, port, addrs);
    if (count != 0)
        return ln_tcp_connect(loop, addrs, count, timeout, events, arg, out);
    struct client *c = client_new(loop, timeout, events, arg);
    if (!c)
        return -ENOMEM;
    c->status = ln_resolver_lookup(resolver, &c->lookup, host, port, timeout, on_lookup);
    if (c->status != LN_OK) /* told as any failure is */
        ln_loop_defer(loop, &c->job, on_start);
    *out = c->stream;
    return LN_OK;
}
