/* One TCP connection, from either side: queues, watermarks, half-close, close.
 *
 * Streams are made by ln_tcp_connect and ln_tcp_server; the loop owns them. Lifecycle:
 *
 *   CONNECTING → OPEN → CLOSING → (on_close) → freed
 *
 * on_close fires exactly once for every stream, in the loop's closing phase; after it returns the
 * memory is gone. Every other callback fires only before it, and never within the call that caused
 * it. A callback may call any function here on its own or on any other stream.
 *
 * Output is queued and sent at the end of the iteration, one write per stream. Input is offered to
 * on_read in place; bytes that it does not consume are kept and offered again, with those that
 * follow. */
#ifndef LUNODE_TCP_STREAM_H
#define LUNODE_TCP_STREAM_H

#include "addr.h"
#include "buffer.h"
#include "loop.h"

struct ln_stream;

enum ln_stream_state { LN_STREAM_CONNECTING, LN_STREAM_OPEN, LN_STREAM_CLOSING };

/* What happened, told to the owner. on_read and on_close are required, the others may be NULL. */
struct ln_stream_events {
    /* Clients only; exactly once: LN_OK, or why there is no connection (-ECANCELED: closed before).
     */
    void (*on_connect)(struct ln_stream *s, int status);
    /* Bytes arrived. Returns how many of them were consumed. */
    size_t (*on_read)(struct ln_stream *s, const char *data, size_t len);
    /* The queue fell below the low watermark after a write had returned LN_STREAM_FULL. */
    void (*on_writable)(struct ln_stream *s);
    /* The peer shut down its sending side. Without it, the stream closes once its queue is sent. */
    void (*on_end)(struct ln_stream *s);
    /* The end: LN_OK after an orderly close from either side, else why. */
    void (*on_close)(struct ln_stream *s, int status);
};

struct ln_stream_limits {
    size_t low;    /* bytes queued, below which on_writable fires */
    size_t high;   /* above which a write returns LN_STREAM_FULL */
    size_t cap;    /* past which a write is refused and the stream closes with -ENOBUFS */
    size_t max_in; /* bytes kept for on_read, past which the stream closes with -ENOBUFS */
};

/* Nanoseconds; 0: none. What ends a connection reaches on_close with a status of its own. */
struct ln_stream_timeouts {
    int64_t idle;  /* nothing sent or received: LN_EIDLE_TIMEOUT */
    int64_t read;  /* nothing received while reading: LN_EREAD_TIMEOUT */
    int64_t write; /* the kernel's buffer is full, and the peer took nothing: LN_EWRITE_TIMEOUT */
};

/* How the kernel looks after a connection whose peer is silent. Seconds; 0: as the system does. */
struct ln_stream_keepalive {
    int idle, interval, count; /* idle > 0 turns TCP keepalive on */
    int user_timeout_ms;       /* TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged */
};

#define LN_STREAM_LIMITS_DEFAULT ((struct ln_stream_limits){64 << 10, 1 << 20, 64 << 20, 1 << 30})

/* How long a closing stream waits for its peer to take more of the queue. */
#define LN_STREAM_LINGER (10 * LN_SECOND)

/* A write that was taken, but the queue is now above the high watermark. */
#define LN_STREAM_FULL 1

struct ln_stream_stats {
    uint64_t bytes_read, bytes_written;
    size_t queued; /* output not yet sent */
    size_t kept;   /* input not yet consumed */
    int fd;
};

enum ln_stream_state ln_stream_state(const struct ln_stream *s);
void *ln_stream_arg(const struct ln_stream *s);
void ln_stream_set_arg(struct ln_stream *s, void *arg);

/* Queues a copy of the bytes. LN_OK, LN_STREAM_FULL; or nothing was queued: -ENOBUFS (past the cap;
 * the stream closes), -ENOMEM, -EPIPE (after ln_stream_shutdown), -ENOTCONN (closing). While
 * connecting, bytes queue up and follow once connected, in order. */
int ln_stream_write(struct ln_stream *s, const void *data, size_t len);

/* For encoders that write in place: the output queue, or NULL where a write would be refused.
 * Append to it, then call ln_stream_wrote, which answers as ln_stream_write does (past the cap: the
 * stream closes). */
struct ln_buffer *ln_stream_out(struct ln_stream *s);
int ln_stream_wrote(struct ln_stream *s);

/* Sends what is queued, then FIN. Reading goes on. LN_OK, or -ENOTCONN. */
int ln_stream_shutdown(struct ln_stream *s);

/* Sends what is queued, then closes with status. on_read hears nothing more: what still comes is
 * dropped until the peer ends its side too, or keeps silent for a moment; a reset for it would
 * destroy what is on its way to the peer. A peer that takes nothing for
 * LN_STREAM_LINGER ends it with LN_EWRITE_TIMEOUT. While connecting: gives up, on_connect hears
 * -ECANCELED. Idempotent. */
void ln_stream_close(struct ln_stream *s, int status);

/* Closes at once with status, dropping what is queued. Idempotent: the first status stays. */
void ln_stream_abort(struct ln_stream *s, int status);

/* For owners that go away: as abort, but no callback follows, on_close neither. */
void ln_stream_discard(struct ln_stream *s);

/* Stops and restarts on_read. While paused, what was not consumed is kept; resume offers it again,
 * in a deferred call. */
void ln_stream_pause(struct ln_stream *s);
void ln_stream_resume(struct ln_stream *s);
bool ln_stream_paused(const struct ln_stream *s);

void ln_stream_set_limits(struct ln_stream *s, const struct ln_stream_limits *limits);
const struct ln_stream_limits *ln_stream_limits(const struct ln_stream *s);

/* TCP_NODELAY, on unless set otherwise. While connecting, it is remembered. LN_OK, -EINVAL, … */
int ln_stream_set_nodelay(struct ln_stream *s, bool on);

/* Each counts from now, or from the time the stream opens. LN_OK or -ENOMEM. */
int ln_stream_set_timeouts(struct ln_stream *s, const struct ln_stream_timeouts *timeouts);
const struct ln_stream_timeouts *ln_stream_timeouts(const struct ln_stream *s);

/* While connecting, it is remembered. LN_OK, -EINVAL, … */
int ln_stream_set_keepalive(struct ln_stream *s, const struct ln_stream_keepalive *keepalive);
const struct ln_stream_keepalive *ln_stream_keepalive(const struct ln_stream *s);

void ln_stream_stats(const struct ln_stream *s, struct ln_stream_stats *out);

/* The addresses of both ends: LN_OK, -ENOTCONN, … */
int ln_stream_peer(const struct ln_stream *s, struct ln_addr *out);
int ln_stream_sock(const struct ln_stream *s, struct ln_addr *out);

#endif
