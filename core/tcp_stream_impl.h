/* The inside of a stream, for tcp_stream.c and the two that make streams: tcp_client.c,
 * tcp_server.c. */
#ifndef LUNODE_TCP_STREAM_IMPL_H
#define LUNODE_TCP_STREAM_IMPL_H

#include "tcp_gate.h"
#include "tcp_stream.h"

struct ln_stream {
    struct ln_io io;
    int fd; /* -1: none */
    enum ln_stream_state state;
    struct ln_loop *loop;
    const struct ln_stream_events *events;
    void *arg;
    struct ln_buffer out, in;
    struct ln_stream_limits limits;
    uint64_t bytes_read, bytes_written;
    struct ln_timer
        timer; /* connecting: the timeout; open: the next to be due; closing: the linger */
    struct ln_stream_timeouts timeouts;
    struct ln_stream_keepalive keepalive;
    bool nodelay;
    int64_t last_read,
        last_write; /* when something came; when something went, or the queue began */
    struct ln_job deliver_job, flush_job, resume_job, close_job;
    const char *fresh; /* to be delivered: in the loop's space; NULL: what is kept in `in` */
    size_t fresh_len;
    int status;     /* what on_close will hear */
    bool announced; /* on_connect has fired, or is not due */
    bool paused;    /* by the owner */
    bool ended;     /* the peer's FIN was read */
    bool shutdown;  /* ours is asked for: no more writes */
    bool fin_sent;
    bool draining;        /* closing: all is sent, and input is dropped until the peer has it */
    int unacked;          /* draining: bytes that the peer has not acknowledged yet */
    bool aborted;         /* the closing job is queued, or running */
    bool full;            /* a write answered LN_STREAM_FULL and on_writable is owed */
    bool want_write;      /* the kernel's buffer was full: wait for EPOLLOUT */
    struct ln_gate *gate; /* NULL: none; it outlives the stream */
    struct ln_held held;  /* output that the gate holds back */
    /* Whoever made the stream: is told when it is freed. */
    void (*released)(struct ln_stream *s, void *maker);
    void *maker;
};

/* A stream without a descriptor, CONNECTING. */
struct ln_stream *ln_stream_new(struct ln_loop *loop, const struct ln_stream_events *events,
                                void *arg);

/* Takes fd over: the stream is OPEN, and what was queued will be sent. On failure the stream is as
 * before and fd still the caller's. */
int ln_stream_adopt(struct ln_stream *s, int fd);

/* A gate has let some of its output go: it is sent in the next flush phase. */
void ln_stream_released(struct ln_held *held);

#endif
