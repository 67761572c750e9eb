/* Wake-ups from other threads, over one eventfd. */
#include "loop_impl.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void on_eventfd(struct ln_io *io, uint32_t events) {
    uint64_t count;
    (void)events;
    (void)!read(io->fd, &count, sizeof count);
    io->loop->woken = true;
}

static int eventfd_open(struct ln_loop *loop) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int rc = fd < 0 ? -errno : ln_io_start(loop, &loop->async_io, fd, EPOLLIN, on_eventfd);
    if (rc == LN_OK) {
        loop->active--; /* an async does not keep the loop alive, work under way does */
    } else {
        if (fd >= 0)
            close(fd);
        loop->async_io.fd = -1;
    }
    return rc;
}

static void eventfd_close(struct ln_loop *loop) {
    loop->active++; /* it was never counted */
    ln_io_stop(&loop->async_io);
    close(loop->async_io.fd);
    loop->async_io.fd = -1;
}

int ln_async_start(struct ln_loop *loop, struct ln_async *async, ln_async_fn fn) {
    int rc = loop->async_io.fd < 0 ? eventfd_open(loop) : LN_OK;
    if (rc != LN_OK)
        return rc;
    async->loop = loop;
    async->fn = fn;
    atomic_init(&async->posted, false);
    async->holds = 0;
    async->prev = loop->asyncs.prev;
    async->next = &loop->asyncs;
    async->prev->next = async;
    loop->asyncs.prev = async;
    return LN_OK;
}

void ln_async_post(struct ln_async *async) {
    const uint64_t one = 1;
    int error = errno;
    if (!atomic_exchange(&async->posted, true))
        while (write(async->loop->async_io.fd, &one, sizeof one) < 0 && errno == EINTR)
            ; /* else it fails only where it is full, and that wakes the loop as well */
    errno = error;
}

void ln_async_hold(struct ln_async *async) {
    async->holds++;
    async->loop->active++;
}

void ln_async_release(struct ln_async *async) {
    async->holds--;
    async->loop->active--;
}

void ln_async_stop(struct ln_async *async) {
    struct ln_loop *loop = async->loop;
    if (!async->next)
        return;
    if (loop->next_async == async)
        loop->next_async = async->next;
    async->prev->next = async->next;
    async->next->prev = async->prev;
    async->prev = async->next = NULL;
    loop->active -= async->holds;
    async->holds = 0;
    if (loop->asyncs.next == &loop->asyncs)
        eventfd_close(loop);
}

void ln_loop_run_asyncs(struct ln_loop *loop) {
    if (!loop->woken)
        return;
    loop->woken = false;
    for (struct ln_async *a = loop->asyncs.next; a != &loop->asyncs; a = loop->next_async) {
        loop->next_async = a->next;
        if (atomic_exchange(&a->posted, false))
            a->fn(a);
    }
}
