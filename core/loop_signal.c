/* Signals, over one signalfd. */
#include "loop_impl.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void on_signalfd(struct ln_io *io, uint32_t events) {
    (void)events;
    struct ln_loop *loop = io->loop;
    struct signalfd_siginfo info;
    while (read(io->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        for (struct ln_signal *s = loop->signals.next; s != &loop->signals; s = loop->next_signal) {
            loop->next_signal = s->next;
            if (s->signum == (int)info.ssi_signo)
                s->fn(s);
        }
        if (!ln_io_active(io)) /* the last watcher has gone */
            return;
    }
}

/* Makes the signalfd and the thread's mask agree with loop->signal_set. */
static int signals_apply(struct ln_loop *loop, bool any) {
    if (!any) {
        if (loop->signal_io.fd >= 0) {
            loop->active++; /* it was never counted */
            ln_io_stop(&loop->signal_io);
            close(loop->signal_io.fd);
            loop->signal_io.fd = -1;
        }
        return LN_OK;
    }
    int fd = signalfd(loop->signal_io.fd, &loop->signal_set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (loop->signal_io.fd < 0) {
        int rc = ln_io_start(loop, &loop->signal_io, fd, EPOLLIN, on_signalfd);
        if (rc != LN_OK) {
            close(fd);
            loop->signal_io.fd = -1;
            return rc;
        }
        loop->active--; /* signals do not keep the loop alive */
    }
    return LN_OK;
}

static bool signal_watched(const struct ln_loop *loop, int signum) {
    for (const struct ln_signal *s = loop->signals.next; s != &loop->signals; s = s->next)
        if (s->signum == signum)
            return true;
    return false;
}

/* A library's thread does not block what this one does, and would die of it: a signal that is
 * delivered there is sent on to the thread that watches. One thread of a process watches signals.
 */
static pthread_t watching_thread;

static void send_on(int signum) {
    int saved = errno;
    pthread_kill(watching_thread, signum);
    errno = saved;
}

/* Blocks signum for this thread, so that it waits for the signalfd, and remembers how it was. */
static int take_signal(struct ln_loop *loop, int signum) {
    struct sigaction action = {.sa_handler = send_on, .sa_flags = SA_RESTART};
    sigset_t one, former;
    sigemptyset(&one);
    sigaddset(&one, signum);
    sigfillset(&action.sa_mask);
    watching_thread = pthread_self();
    if (pthread_sigmask(SIG_BLOCK, &one, &former) != 0)
        return -EINVAL;
    if (sigaction(signum, &action, &loop->former_actions[signum]) != 0) {
        pthread_sigmask(SIG_SETMASK, &former, NULL);
        return -EINVAL;
    }
    loop->was_blocked[signum] = sigismember(&former, signum) == 1;
    sigaddset(&loop->signal_set, signum);
    return LN_OK;
}

static void give_signal_back(struct ln_loop *loop, int signum) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signum);
    sigdelset(&loop->signal_set, signum);
    sigaction(signum, &loop->former_actions[signum], NULL);
    if (!loop->was_blocked[signum])
        pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

int ln_signal_start(struct ln_loop *loop, struct ln_signal *s, int signum, ln_signal_fn fn) {
    if (signum < 1 || signum >= NSIG || signum == SIGKILL || signum == SIGSTOP)
        return -EINVAL;
    ln_signal_stop(loop, s);
    if (!signal_watched(loop, signum)) {
        int rc = take_signal(loop, signum);
        if (rc != LN_OK)
            return rc;
        rc = signals_apply(loop, true);
        if (rc != LN_OK) {
            give_signal_back(loop, signum);
            return rc;
        }
    }
    *s = (struct ln_signal){.fn = fn, .signum = signum, .active = true};
    s->prev = loop->signals.prev;
    s->next = &loop->signals;
    s->prev->next = s;
    loop->signals.prev = s;
    return LN_OK;
}

void ln_signal_stop(struct ln_loop *loop, struct ln_signal *s) {
    if (!s->active)
        return;
    if (loop->next_signal == s)
        loop->next_signal = s->next;
    s->prev->next = s->next;
    s->next->prev = s->prev;
    s->active = false;
    if (signal_watched(loop, s->signum))
        return;
    give_signal_back(loop, s->signum);
    (void)signals_apply(loop, loop->signals.next != &loop->signals);
}
