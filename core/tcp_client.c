#include "tcp_client.h"

#include "tcp_stream_impl.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define OWNER(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Lives until its stream is freed: the stream's maker. */
struct client {
    struct ln_stream *stream;
    struct ln_io io; /* of the socket that is connecting */
    struct ln_job job;
    struct ln_addr addrs[LN_ADDR_MAX];
    int count, next;
    int status; /* of the last address tried */
};

static void try_next(struct client *c);

static void on_released(struct ln_stream *s, void *maker) {
    struct client *c = maker;
    (void)s;
    if (ln_io_active(&c->io)) {
        int fd = c->io.fd;
        ln_io_stop(&c->io);
        close(fd);
    }
    ln_job_cancel(&c->job);
    free(c);
}

static void connected(struct client *c, int fd) {
    struct ln_stream *s = c->stream;
    int rc = ln_stream_adopt(s, fd);
    if (rc != LN_OK) {
        close(fd);
        ln_stream_abort(s, rc);
        return;
    }
    s->announced = true;
    if (s->events->on_connect)
        s->events->on_connect(s, LN_OK);
}

static void failed(struct client *c, int fd, int status) {
    if (fd >= 0)
        close(fd);
    c->status = status;
    try_next(c);
}

/* The socket is writable, or in error: SO_ERROR tells which. */
static void on_io(struct ln_io *io, uint32_t events) {
    struct client *c = OWNER(struct client, io, io);
    int fd = io->fd, error = 0;
    socklen_t len = sizeof error;
    (void)events;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    ln_io_stop(io);
    if (c->stream->state != LN_STREAM_CONNECTING) /* closed earlier in this batch */
        close(fd);
    else if (error == 0)
        connected(c, fd);
    else
        failed(c, fd, -error);
}

static void try_next(struct client *c) {
    struct ln_stream *s = c->stream;
    if (s->state != LN_STREAM_CONNECTING)
        return;
    if (c->next >= c->count) {
        ln_stream_abort(s, c->status);
        return;
    }
    const struct ln_addr *addr = &c->addrs[c->next++];
    int fd = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        failed(c, -1, -errno);
        return;
    }
    int rc = connect(fd, (const struct sockaddr *)&addr->ss, addr->len) == 0 ? LN_OK : -errno;
    if (rc == LN_OK) {
        connected(c, fd);
    } else if (rc == -EINPROGRESS || rc == -EINTR) {
        rc = ln_io_start(s->loop, &c->io, fd, EPOLLOUT, on_io);
        if (rc != LN_OK)
            failed(c, fd, rc);
    } else {
        failed(c, fd, rc);
    }
}

static void on_start(struct ln_job *job) {
    try_next(OWNER(struct client, job, job));
}

static void on_timeout(struct ln_timer *timer) {
    ln_stream_abort(OWNER(struct ln_stream, timer, timer), LN_ECONNECT_TIMEOUT);
}

int ln_tcp_connect(struct ln_loop *loop, const struct ln_addr *addrs, int count, int64_t timeout,
                   const struct ln_stream_events *events, void *arg, struct ln_stream **out) {
    struct client *c = calloc(1, sizeof *c);
    struct ln_stream *s = c ? ln_stream_new(loop, events, arg) : NULL;
    if (!s || ln_timer_start(loop, &s->timer, timeout, 0, on_timeout) != LN_OK) {
        free(s);
        free(c);
        return -ENOMEM;
    }
    c->stream = s;
    c->count = count > 0 ? count : 0;
    c->status = count < 0 ? count : LN_ENOTFOUND;
    memcpy(c->addrs, addrs, (size_t)c->count * sizeof *addrs);
    s->released = on_released;
    s->maker = c;
    /* Deferred, so that nothing is told before this call has returned. */
    ln_loop_defer(loop, &c->job, on_start);
    *out = s;
    return LN_OK;
}
