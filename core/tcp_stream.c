#include "tcp_stream_impl.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FIRST_READ = 4 << 10 };

/* How long a peer that was sent our end may keep silent before it is left alone. */
#define DRAIN_QUIET (LN_SECOND / 10)

static void flush_later(struct ln_stream *s);
static void on_hangup(struct ln_stream *s, uint32_t events);
static void on_closing(struct ln_job *job);

/* ---- plain accessors */

enum ln_stream_state ln_stream_state(const struct ln_stream *s) {
    return s->state;
}

void *ln_stream_arg(const struct ln_stream *s) {
    return s->arg;
}

void ln_stream_set_arg(struct ln_stream *s, void *arg) {
    s->arg = arg;
}

bool ln_stream_paused(const struct ln_stream *s) {
    return s->paused;
}

void ln_stream_set_limits(struct ln_stream *s, const struct ln_stream_limits *limits) {
    s->limits = *limits;
}

const struct ln_stream_limits *ln_stream_limits(const struct ln_stream *s) {
    return &s->limits;
}

static int set_option(int fd, int level, int option, int value) {
    return setsockopt(fd, level, option, &value, sizeof value) == 0 ? LN_OK : -errno;
}

int ln_stream_set_nodelay(struct ln_stream *s, bool on) {
    s->nodelay = on;
    return s->fd < 0 ? LN_OK : set_option(s->fd, IPPROTO_TCP, TCP_NODELAY, on);
}

const struct ln_stream_keepalive *ln_stream_keepalive(const struct ln_stream *s) {
    return &s->keepalive;
}

int ln_stream_set_keepalive(struct ln_stream *s, const struct ln_stream_keepalive *k) {
    s->keepalive = *k;
    if (s->fd < 0)
        return LN_OK;
    int rc = set_option(s->fd, SOL_SOCKET, SO_KEEPALIVE, k->idle > 0);
    if (rc == LN_OK && k->idle > 0)
        rc = set_option(s->fd, IPPROTO_TCP, TCP_KEEPIDLE, k->idle);
    if (rc == LN_OK && k->interval > 0)
        rc = set_option(s->fd, IPPROTO_TCP, TCP_KEEPINTVL, k->interval);
    if (rc == LN_OK && k->count > 0)
        rc = set_option(s->fd, IPPROTO_TCP, TCP_KEEPCNT, k->count);
    if (rc == LN_OK && k->user_timeout_ms > 0)
        rc = set_option(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, k->user_timeout_ms);
    return rc;
}

void ln_stream_stats(const struct ln_stream *s, struct ln_stream_stats *out) {
    *out = (struct ln_stream_stats){.bytes_read = s->bytes_read,
                                    .bytes_written = s->bytes_written,
                                    .queued = ln_buffer_len(&s->out),
                                    .kept = ln_buffer_len(&s->in),
                                    .fd = s->fd};
}

static int address(const struct ln_stream *s, int (*get)(int, struct sockaddr *, socklen_t *),
                   struct ln_addr *out) {
    struct ln_addr addr = {.len = sizeof addr.ss};
    if (s->fd < 0)
        return -ENOTCONN;
    if (get(s->fd, (struct sockaddr *)&addr.ss, &addr.len) != 0)
        return -errno;
    *out = addr;
    return LN_OK;
}

int ln_stream_peer(const struct ln_stream *s, struct ln_addr *out) {
    return address(s, getpeername, out);
}

int ln_stream_sock(const struct ln_stream *s, struct ln_addr *out) {
    return address(s, getsockname, out);
}

/* ---- the end */

void ln_stream_abort(struct ln_stream *s, int status) {
    if (s->aborted)
        return;
    s->aborted = true;
    if (s->state != LN_STREAM_CLOSING || status != LN_OK)
        s->status = status;
    s->state = LN_STREAM_CLOSING;
    ln_io_stop(&s->io);
    ln_timer_stop(&s->timer);
    ln_loop_closing(s->loop, &s->close_job, on_closing);
}

void ln_stream_discard(struct ln_stream *s) {
    s->events = NULL;
    ln_stream_abort(s, LN_OK);
}

/* The only place where a stream's memory goes. */
static void on_closing(struct ln_job *job) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, close_job, job);
    if (s->events && !s->announced && s->events->on_connect) {
        s->announced = true;
        s->events->on_connect(s, s->status == LN_OK ? -ECANCELED : s->status);
    }
    if (s->events)
        s->events->on_close(s, s->status);
    ln_job_cancel(&s->flush_job);
    ln_job_cancel(&s->resume_job);
    ln_job_cancel(&s->deliver_job);
    ln_gate_leave(&s->held);
    if (s->fd >= 0)
        close(s->fd);
    if (s->released)
        s->released(s, s->maker);
    ln_buffer_free(&s->out);
    ln_buffer_free(&s->in);
    free(s);
}

/* The queue and a FIN are sent. Were the descriptor closed now, input that is unread or still to
 * come would be answered with a reset, which destroys what the peer has not taken yet, and which
 * its writes meet before its reads meet our end. So input is read and dropped until the peer's own
 * end; or, for one that does not answer, until it has acknowledged everything and is quiet. */
static void drain(struct ln_stream *s) {
    int64_t now = ln_loop_now(s->loop);
    int left = 0;
    ssize_t n = recv(s->fd, ln_loop_space(s->loop), LN_LOOP_READ, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        ln_stream_abort(s, s->status);
        return;
    }
    if (n > 0)
        s->last_read = now;
    if (ioctl(s->fd, SIOCOUTQ, &left) == 0 && left < s->unacked) {
        s->unacked = left;
        s->last_write = now;
    }
    if (left == 0 && now - s->last_read >= DRAIN_QUIET)
        ln_stream_abort(s, s->status);
    else if (now - s->last_write >= LN_STREAM_LINGER)
        ln_stream_abort(s, left == 0 ? s->status : LN_EWRITE_TIMEOUT);
}

static void on_drain_poll(struct ln_timer *timer) {
    drain(LN_OWNER(struct ln_stream, timer, timer));
}

static void finish_close(struct ln_stream *s) {
    if (s->ended || !ln_io_active(&s->io) || shutdown(s->fd, SHUT_WR) != 0) {
        ln_stream_abort(s, s->status);
        return;
    }
    s->draining = true;
    s->unacked = INT_MAX;
    s->last_read = s->last_write = ln_loop_now(s->loop);
    int rc = ln_io_set(&s->io, EPOLLIN);
    if (rc == LN_OK) /* no event tells that the peer has acknowledged */
        rc = ln_timer_start(s->loop, &s->timer, DRAIN_QUIET, DRAIN_QUIET, on_drain_poll);
    if (rc != LN_OK)
        ln_stream_abort(s, rc);
}

static void linger(struct ln_stream *s);

static void on_linger(struct ln_timer *timer) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, timer, timer);
    if (ln_gate_holds(&s->held) && !s->want_write) /* it is not the peer who keeps us waiting */
        linger(s);
    else
        ln_stream_abort(s, LN_EWRITE_TIMEOUT);
}

/* CLOSING, with something left to send: events are only for that, within the linger. */
static void linger(struct ln_stream *s) {
    int rc = ln_timer_start(s->loop, &s->timer, LN_STREAM_LINGER, 0, on_linger);
    if (rc != LN_OK)
        ln_stream_abort(s, rc);
}

void ln_stream_close(struct ln_stream *s, int status) {
    if (s->state == LN_STREAM_CLOSING)
        return;
    if (s->state == LN_STREAM_CONNECTING) {
        ln_stream_abort(s, status);
        return;
    }
    s->state = LN_STREAM_CLOSING;
    s->status = status;
    linger(s);
    flush_later(s);
}

/* ---- interest in events: reading unless paused or ended, writing while the kernel's buffer is
 * full */

static void set_events(struct ln_stream *s) {
    bool reading = !s->paused && !s->ended && s->state == LN_STREAM_OPEN;
    uint32_t events = (reading ? EPOLLIN : 0U) | (s->want_write ? EPOLLOUT : 0U);
    int rc = ln_io_active(&s->io) ? ln_io_set(&s->io, events) : LN_OK;
    if (rc != LN_OK)
        ln_stream_abort(s, rc);
}

/* ---- timeouts. One timer, for whichever would be due first; bytes that come or go only note the
 * time, and a timer that finds it was early starts anew. */

static void on_timeout(struct ln_timer *timer);

/* When the timeout would be due, and which status it has; INT64_MAX: there is none to wait for. */
static int64_t next_timeout(const struct ln_stream *s, int *status) {
    const struct ln_stream_timeouts *t = &s->timeouts;
    int64_t due = INT64_MAX;
    int64_t last = s->last_read > s->last_write ? s->last_read : s->last_write;
    if (t->idle > 0) {
        due = last + t->idle;
        *status = LN_EIDLE_TIMEOUT;
    }
    /* While it is paused, not the peer is to blame: the time begins with the resume. */
    if (t->read > 0 && !s->paused && !s->ended && s->last_read + t->read < due) {
        due = s->last_read + t->read;
        *status = LN_EREAD_TIMEOUT;
    }
    if (t->write > 0 && s->want_write && s->last_write + t->write < due) {
        due = s->last_write + t->write;
        *status = LN_EWRITE_TIMEOUT;
    }
    return due;
}

static int arm_timeout(struct ln_stream *s) {
    int status = LN_OK;
    int64_t due = next_timeout(s, &status);
    if (due != INT64_MAX)
        return ln_timer_start(s->loop, &s->timer, due - ln_loop_now(s->loop), 0, on_timeout);
    ln_timer_stop(&s->timer);
    return LN_OK;
}

static void on_timeout(struct ln_timer *timer) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, timer, timer);
    int status = LN_OK;
    int64_t due = next_timeout(s, &status);
    int rc = due <= ln_loop_now(s->loop) ? status : arm_timeout(s);
    if (rc != LN_OK)
        ln_stream_abort(s, rc);
}

/* A timeout that did not run because it had nothing to wait for begins to. */
static void timeout_begins(struct ln_stream *s) {
    const struct ln_stream_timeouts *t = &s->timeouts;
    if ((t->read > 0 || t->write > 0) && s->state == LN_STREAM_OPEN) {
        int rc = arm_timeout(s);
        if (rc != LN_OK)
            ln_stream_abort(s, rc);
    }
}

int ln_stream_set_timeouts(struct ln_stream *s, const struct ln_stream_timeouts *timeouts) {
    s->timeouts = *timeouts;
    if (s->state != LN_STREAM_OPEN)
        return LN_OK;
    s->last_read = s->last_write = ln_loop_now(s->loop);
    return arm_timeout(s);
}

const struct ln_stream_timeouts *ln_stream_timeouts(const struct ln_stream *s) {
    return &s->timeouts;
}

/* ---- output */

/* How many of the bytes queued may leave. */
static size_t sendable(struct ln_stream *s) {
    size_t len = ln_buffer_len(&s->out);
    if (!s->gate)
        return len;
    return (size_t)(ln_gate_pass(s->gate, &s->held, s->bytes_written + len) - s->bytes_written);
}

/* Sends until the queue is empty, or what is left is held, or the kernel's buffer is full. False
 * when the stream was aborted. */
static bool send_queue(struct ln_stream *s) {
    bool would_block = false;
    size_t len = sendable(s);
    while (len > 0 && !would_block) {
        ssize_t n = send(s->fd, ln_buffer_data(&s->out), len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            ln_stream_abort(s, -errno);
            return false;
        }
        if (n > 0) {
            s->last_write = ln_loop_now(s->loop);
            ln_buffer_consume(&s->out, (size_t)n);
            s->bytes_written += (uint64_t)n;
        }
        would_block = n < 0 || (size_t)n < len;
        len -= n > 0 ? (size_t)n : 0;
    }
    if (would_block && !s->want_write) {
        s->last_write = ln_loop_now(s->loop); /* from here on the peer is waited for */
        s->want_write = true;
        timeout_begins(s);
    }
    s->want_write = would_block;
    ln_buffer_trim(&s->out);
    return true;
}

static void on_flush(struct ln_job *job) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, flush_job, job);
    if (s->aborted || s->draining || s->state == LN_STREAM_CONNECTING)
        return;
    uint64_t before = s->bytes_written;
    if (!send_queue(s))
        return;
    size_t left = ln_buffer_len(&s->out);
    if (s->state == LN_STREAM_CLOSING) {
        if (left == 0) {
            finish_close(s);
            return;
        }
        if (s->bytes_written > before)
            linger(s);
    } else if (left == 0 && s->shutdown && !s->fin_sent) {
        s->fin_sent = true;
        if (shutdown(s->fd, SHUT_WR) != 0) {
            on_hangup(s, EPOLLERR); /* the connection is gone, and the peer would hear of no end */
            return;
        }
        if (s->ended) {
            ln_stream_abort(s, LN_OK);
            return;
        }
    }
    set_events(s);
    if (s->full && left < s->limits.low && s->state == LN_STREAM_OPEN) {
        s->full = false;
        if (s->events->on_writable)
            s->events->on_writable(s);
    }
}

static void flush_later(struct ln_stream *s) {
    ln_loop_flush(s->loop, &s->flush_job, on_flush);
}

void ln_stream_released(struct ln_held *held) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, held, held);
    if (!s->want_write)
        flush_later(s);
}

static int writable_status(const struct ln_stream *s) {
    if (s->state == LN_STREAM_CLOSING)
        return -ENOTCONN;
    return s->shutdown ? -EPIPE : LN_OK;
}

int ln_stream_write(struct ln_stream *s, const void *data, size_t len) {
    int rc = writable_status(s);
    if (rc != LN_OK)
        return rc;
    size_t queued = ln_buffer_len(&s->out);
    if (queued > s->limits.cap || len > s->limits.cap - queued) {
        ln_stream_abort(s, -ENOBUFS);
        return -ENOBUFS;
    }
    rc = ln_buffer_append(&s->out, data, len);
    return rc == LN_OK ? ln_stream_wrote(s) : rc;
}

struct ln_buffer *ln_stream_out(struct ln_stream *s) {
    return writable_status(s) == LN_OK ? &s->out : NULL;
}

int ln_stream_wrote(struct ln_stream *s) {
    size_t queued = ln_buffer_len(&s->out);
    if (queued > s->limits.cap) {
        ln_stream_abort(s, -ENOBUFS);
        return -ENOBUFS;
    }
    if (!s->want_write && s->state == LN_STREAM_OPEN)
        flush_later(s);
    if (queued <= s->limits.high)
        return LN_OK;
    s->full = true;
    return LN_STREAM_FULL;
}

int ln_stream_shutdown(struct ln_stream *s) {
    if (s->state == LN_STREAM_CLOSING)
        return -ENOTCONN;
    s->shutdown = true;
    if (s->state == LN_STREAM_OPEN)
        flush_later(s);
    return LN_OK;
}

/* ---- input */

/* Offers bytes to the owner; returns how many it left, and whether the stream still reads. */
static bool offer(struct ln_stream *s, const char *data, size_t len, size_t *left) {
    size_t consumed = s->events->on_read(s, data, len);
    assert(consumed <= len);
    *left = len - consumed;
    return s->state == LN_STREAM_OPEN;
}

static void on_ended(struct ln_stream *s) {
    s->ended = true;
    if (s->fin_sent && ln_buffer_len(&s->out) == 0) {
        if (s->events->on_end)
            s->events->on_end(s);
        ln_stream_abort(s, LN_OK);
        return;
    }
    set_events(s);
    if (!s->events->on_end)
        ln_stream_close(s, LN_OK);
    else
        s->events->on_end(s);
}

/* What is kept. */
static void offer_kept(struct ln_stream *s) {
    size_t left = 0;
    if (ln_buffer_len(&s->in) > 0 &&
        offer(s, ln_buffer_data(&s->in), ln_buffer_len(&s->in), &left)) {
        ln_buffer_consume(&s->in, ln_buffer_len(&s->in) - left);
        ln_buffer_trim(&s->in);
    }
}

/* What its owner leaves is kept. */
static void offer_fresh(struct ln_stream *s, const char *data, size_t len) {
    size_t left =
        len; /* all of it, where a handler of another stream has paused this one meanwhile */
    if (!s->paused && !offer(s, data, len, &left))
        return;
    int rc = left > 0 ? ln_buffer_append(&s->in, data + (len - left), left) : LN_OK;
    if (rc != LN_OK)
        ln_stream_abort(s, rc);
}

static void on_deliver(struct ln_job *job) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, deliver_job, job);
    if (s->state != LN_STREAM_OPEN)
        return;
    if (s->fresh)
        offer_fresh(s, s->fresh, s->fresh_len);
    else if (!s->paused)
        offer_kept(s);
}

static void was_read(struct ln_stream *s, const char *fresh, size_t len) {
    s->last_read = ln_loop_now(s->loop);
    s->bytes_read += len;
    s->fresh = fresh;
    s->fresh_len = len;
    ln_loop_deliver(s->loop, &s->deliver_job, on_deliver, fresh ? len : 0);
}

/* Into the memory that the loop's streams share, while nothing is kept: so an idle connection needs
 * none. */
static ssize_t read_fresh(struct ln_stream *s) {
    char *space = ln_loop_space(s->loop);
    ssize_t n = recv(s->fd, space, LN_LOOP_READ, MSG_DONTWAIT);
    if (n > 0)
        was_read(s, space, (size_t)n);
    return n;
}

/* Behind what is kept: as much again, so that a slow or hostile sender of large frames pays for its
 * memory. */
static ssize_t read_more(struct ln_stream *s) {
    size_t kept = ln_buffer_len(&s->in);
    size_t size = kept > LN_LOOP_READ ? kept : kept > FIRST_READ ? kept : FIRST_READ;
    char *space = NULL;
    if (kept > s->limits.max_in) {
        errno = ENOBUFS;
        return -1;
    }
    int rc = ln_buffer_reserve(&s->in, size, &space);
    if (rc != LN_OK) {
        errno = -rc;
        return -1;
    }
    ssize_t n = recv(s->fd, space, size, MSG_DONTWAIT);
    if (n > 0) {
        ln_buffer_commit(&s->in, (size_t)n);
        was_read(s, NULL, (size_t)n);
    }
    return n;
}

static void on_readable(struct ln_stream *s) {
    ssize_t n = ln_buffer_len(&s->in) > 0 ? read_more(s) : read_fresh(s);
    if (n == 0)
        on_ended(s);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        ln_stream_abort(s, -errno);
}

static void on_resume(struct ln_job *job) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, resume_job, job);
    if (s->state == LN_STREAM_OPEN && !s->paused)
        offer_kept(s);
}

void ln_stream_pause(struct ln_stream *s) {
    s->paused = true;
    if (s->state == LN_STREAM_OPEN)
        set_events(s);
}

static void on_io(struct ln_io *io, uint32_t events);

void ln_stream_resume(struct ln_stream *s) {
    if (!s->paused)
        return;
    s->paused = false;
    if (s->state != LN_STREAM_OPEN)
        return;
    /* While paused, a hang-up took the descriptor out of epoll. */
    int rc = ln_io_active(&s->io) ? LN_OK : ln_io_start(s->loop, &s->io, s->fd, 0, on_io);
    if (rc != LN_OK) {
        ln_stream_abort(s, rc);
        return;
    }
    set_events(s);
    s->last_read = ln_loop_now(s->loop);
    timeout_begins(s);
    ln_loop_defer(s->loop, &s->resume_job, on_resume);
}

/* ---- events of the descriptor */

/* An error or a hang-up that no read will take. */
static void on_hangup(struct ln_stream *s, uint32_t events) {
    int error = 0;
    socklen_t len = sizeof error;
    if (events & EPOLLERR)
        (void)getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0)
        ln_stream_abort(s, -error);
    else if (s->paused && s->state == LN_STREAM_OPEN)
        ln_io_stop(&s->io); /* epoll would report it again and again: look at it after resume */
    else
        ln_stream_abort(s, s->ended ? LN_OK : -ECONNRESET);
}

static void on_io(struct ln_io *io, uint32_t events) {
    struct ln_stream *s = LN_OWNER(struct ln_stream, io, io);
    const uint32_t trouble = EPOLLERR | EPOLLHUP;
    bool reading = !s->paused && !s->ended && s->state == LN_STREAM_OPEN;
    if (s->draining) {
        drain(s);
        return;
    }
    if (s->resume_job.next) /* what was kept goes first; epoll will say this again */
        return;
    /* Not sent here: what this iteration queued may leave only after its before_sleep hooks. */
    if (events & EPOLLOUT && s->want_write)
        flush_later(s);
    if (reading && events & (EPOLLIN | trouble))
        on_readable(s);
    else if (events & trouble)
        on_hangup(s, events);
}

/* ---- making streams */

struct ln_stream *ln_stream_new(struct ln_loop *loop, const struct ln_stream_events *events,
                                void *arg) {
    struct ln_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->loop = loop;
    s->events = events;
    s->arg = arg;
    s->fd = -1;
    s->state = LN_STREAM_CONNECTING;
    s->limits = LN_STREAM_LIMITS_DEFAULT;
    s->nodelay = true;
    return s;
}

int ln_stream_adopt(struct ln_stream *s, int fd) {
    int rc = ln_io_start(s->loop, &s->io, fd, s->paused ? 0 : EPOLLIN, on_io);
    if (rc != LN_OK)
        return rc;
    s->fd = fd;
    s->state = LN_STREAM_OPEN;
    (void)ln_stream_set_nodelay(s, s->nodelay);
    if (s->keepalive.idle > 0 || s->keepalive.user_timeout_ms > 0)
        (void)ln_stream_set_keepalive(s, &s->keepalive);
    ln_timer_stop(&s->timer); /* of the connect */
    s->last_read = s->last_write = ln_loop_now(s->loop);
    rc = arm_timeout(s);
    if (rc != LN_OK)
        ln_stream_abort(s, rc);
    if (ln_buffer_len(&s->out) > 0 || s->shutdown)
        flush_later(s);
    return LN_OK;
}
