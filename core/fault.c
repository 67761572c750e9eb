#include "fault.h"

#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_CALLS = 20000 };

static const char *const names[] = {
#define FAULT_NAME(name) #name,
    FAULT_MAP(FAULT_NAME)
#undef FAULT_NAME
};

/* Set while no thread but the test's own runs. */
static struct fault armed;
static unsigned nth; /* from 1; 0: nothing fails */
static atomic_uint calls;
static atomic_bool happened, paused;
static atomic_long blocks, descriptors;

/* ---- runs */

bool fault_happened(void) {
    return atomic_load(&happened);
}

void fault_pause(void) {
    atomic_store(&paused, true);
}

void fault_go_on(void) {
    atomic_store(&paused, false);
}

static const char *error_name(int error) {
    return error == FAULT_SHORT ? "one byte" : strerrorname_np(error);
}

int fault_report(void **state) {
    (void)state;
    if (nth > 0)
        print_error("with %s failing at call %u: %s\n", names[armed.call], nth,
                    error_name(armed.error));
    nth = 0;
    fault_go_on();
    return 0;
}

static void run(void (*scenario)(const struct fault *f), const struct fault *f, unsigned n) {
    long blocks_before = atomic_load(&blocks), descriptors_before = atomic_load(&descriptors);
    if (f)
        armed = *f;
    nth = n;
    atomic_store(&calls, 0);
    atomic_store(&happened, false);
    if (f && getenv("LUNODE_FAULT_TRACE"))
        print_message("# %s %u: %s\n", names[f->call], n, error_name(f->error));
    scenario(f);
    for (int i = 0; i < 5000 && atomic_load(&blocks) != blocks_before; i++)
        usleep(1000); /* threads that nobody joins are about to let go */
    assert_int_equal(atomic_load(&blocks), blocks_before);
    assert_int_equal(atomic_load(&descriptors), descriptors_before);
    nth = 0;
}

void fault_each(const struct fault *faults, size_t count, void (*scenario)(const struct fault *f)) {
    run(scenario, NULL, 0);
    for (size_t i = 0; i < count; i++) {
        unsigned n = 0;
        do {
            run(scenario, &faults[i], ++n);
            assert_true(n < MOST_CALLS);
        } while (fault_happened());
        if (n == 1)
            fail_msg("the scenario never calls %s", names[faults[i].call]);
    }
}

/* Whether this call is to fail: the error, else 0. */
static int trip(enum fault_call call) {
    if (nth == 0 || call != armed.call || atomic_load(&paused) ||
        atomic_fetch_add(&calls, 1) + 1 != nth)
        return 0;
    atomic_store(&happened, true);
    if (armed.error != FAULT_SHORT)
        errno = armed.error;
    return armed.error;
}

/* As trip; a short call goes through with one byte of its len. */
static bool trip_length(enum fault_call call, size_t *len) {
    int error = trip(call);
    if (error == FAULT_SHORT && *len > 1)
        *len = 1;
    return error > 0;
}

/* ---- what is open, and what is allocated */

static void *allocated(void *block) {
    if (block)
        atomic_fetch_add(&blocks, 1);
    return block;
}

static int opened(int fd) {
    if (fd >= 0)
        atomic_fetch_add(&descriptors, 1);
    return fd;
}

/* ---- the wrappers: the linker calls them, and gives them the real ones */

/* RESULT: what a call that fails returns, and what becomes of one that does not. */
#define WRAP(type, name, params, args, failed, result)                                             \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params {                                                                    \
        return trip(FAULT_##name) ? (failed) : result(__real_##name args);                         \
    }
#define AS_IT_IS(x) (x)

WRAP(void *, malloc, (size_t n), (n), NULL, allocated)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL, allocated)

static void *reallocated(void *old, void *block) {
    return old ? block : allocated(block);
}
#define REALLOCATED(x) reallocated(p, x)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL, REALLOCATED)
WRAP(void *, reallocarray, (void *p, size_t n, size_t size), (p, n, size), NULL, REALLOCATED)

WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, opened)
WRAP(int, bind, (int fd, const struct sockaddr *a, socklen_t len), (fd, a, len), -1, AS_IT_IS)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1, AS_IT_IS)
WRAP(int, shutdown, (int fd, int how), (fd, how), -1, AS_IT_IS)
WRAP(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *len),
     (fd, level, option, value, len), -1, AS_IT_IS)
WRAP(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t len),
     (fd, level, option, value, len), -1, AS_IT_IS)
WRAP(int, getsockname, (int fd, struct sockaddr *a, socklen_t *len), (fd, a, len), -1, AS_IT_IS)
WRAP(int, epoll_create1, (int flags), (flags), -1, opened)
WRAP(int, epoll_wait, (int fd, struct epoll_event *events, int max, int ms), (fd, events, max, ms),
     -1, AS_IT_IS)
WRAP(int, eventfd, (unsigned value, int flags), (value, flags), -1, opened)
WRAP(int, pthread_create, (pthread_t * t, const pthread_attr_t *a, void *(*f)(void *), void *arg),
     (t, a, f, arg), armed.error, AS_IT_IS)
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len), -1, AS_IT_IS)
WRAP(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), -1, AS_IT_IS)
WRAP(int, ftruncate, (int fd, off_t len), (fd, len), -1, AS_IT_IS)
WRAP(int, fsync, (int fd), (fd), -1, AS_IT_IS)
WRAP(int, fdatasync, (int fd), (fd), -1, AS_IT_IS)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, AS_IT_IS)
WRAP(int, renameat, (int from_fd, const char *from, int to_fd, const char *to),
     (from_fd, from, to_fd, to), -1, AS_IT_IS)
WRAP(int, unlink, (const char *path), (path), -1, AS_IT_IS)
WRAP(int, lstat, (const char *path, struct stat *st), (path, st), -1, AS_IT_IS)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), -1, AS_IT_IS)
WRAP(int, fchmodat, (int fd, const char *path, mode_t mode, int flags), (fd, path, mode, flags), -1,
     AS_IT_IS)
WRAP(int, flock, (int fd, int operation), (fd, operation), -1, AS_IT_IS)
WRAP(DIR *, opendir, (const char *path), (path), NULL, AS_IT_IS)
WRAP(struct dirent *, readdir, (DIR * dir), (dir), NULL, AS_IT_IS)
/* A descriptor that became a directory is closed with it. */
static DIR *taken_over(DIR *dir) {
    if (dir)
        atomic_fetch_sub(&descriptors, 1);
    return dir;
}
WRAP(DIR *, fdopendir, (int fd), (fd), NULL, taken_over)

/* LevelDB allocates the value; we free it. */
char *__real_leveldb_get(void *db, const void *options, const char *key, size_t klen, size_t *vlen,
                         char **error);
char *__wrap_leveldb_get(void *db, const void *options, const char *key, size_t klen, size_t *vlen,
                         char **error);
char *__wrap_leveldb_get(void *db, const void *options, const char *key, size_t klen, size_t *vlen,
                         char **error) {
    if (trip(FAULT_leveldb_get)) {
        *error = strdup("IO error: 000005.ldb: Input/output error");
        return NULL;
    }
    return allocated(__real_leveldb_get(db, options, key, klen, vlen, error));
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p) {
    if (p)
        atomic_fetch_sub(&blocks, 1);
    __real_free(p);
}

int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **out, const char *format, ...) {
    if (trip(FAULT_asprintf))
        return -1;
    va_list args;
    va_start(args, format);
    int n = vasprintf(out, format, args);
    va_end(args);
    if (n >= 0)
        (void)allocated(*out);
    return n;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
    int rc = __real_close(fd);
    if (rc == 0)
        atomic_fetch_sub(&descriptors, 1);
    return trip(FAULT_close) ? -1 : rc;
}

int __real_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *len, int flags) {
    int error = trip(FAULT_accept4);
    if (error == ECONNABORTED) {
        int gone = __real_accept4(fd, a, len, flags);
        if (gone >= 0)
            __real_close(gone);
        errno = error;
    }
    return error ? -1 : opened(__real_accept4(fd, a, len, flags));
}

int __real_connect(int fd, const struct sockaddr *a, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t len) {
    int error = trip(FAULT_connect);
    if (error == EINTR) {
        (void)__real_connect(fd, a, len);
        errno = error;
    }
    return error ? -1 : __real_connect(fd, a, len);
}

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event) {
    /* To take something out needs nothing. */
    return op != EPOLL_CTL_DEL && trip(FAULT_epoll_ctl) ? -1
                                                        : __real_epoll_ctl(epfd, op, fd, event);
}

int __real_signalfd(int fd, const sigset_t *set, int flags);
int __wrap_signalfd(int fd, const sigset_t *set, int flags);
int __wrap_signalfd(int fd, const sigset_t *set, int flags) {
    if (trip(FAULT_signalfd))
        return -1;
    int made = __real_signalfd(fd, set, flags);
    return fd < 0 ? opened(made) : made;
}

/* ---- bytes */

#define WRAP_BYTES(name, params, args)                                                             \
    ssize_t __real_##name params;                                                                  \
    ssize_t __wrap_##name params;                                                                  \
    ssize_t __wrap_##name params {                                                                 \
        return trip_length(FAULT_##name, &n) ? -1 : __real_##name args;                            \
    }

WRAP_BYTES(recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
WRAP_BYTES(send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
WRAP_BYTES(read, (int fd, void *p, size_t n), (fd, p, n))
WRAP_BYTES(write, (int fd, const void *p, size_t n), (fd, p, n))
WRAP_BYTES(pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
WRAP_BYTES(pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))

/* ---- calls with an argument that is not always there */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    mode_t mode = 0;
    va_list args;
    va_start(args, flags);
    if (flags & O_CREAT)
        mode = va_arg(args, mode_t); /* NOLINT: the analyzer misses va_start */
    va_end(args);
    return trip(FAULT_open) ? -1 : opened(__real_open(path, flags, mode));
}

int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...) {
    mode_t mode = 0;
    va_list args;
    va_start(args, flags);
    if (flags & O_CREAT)
        mode = va_arg(args, mode_t); /* NOLINT: the analyzer misses va_start */
    va_end(args);
    return trip(FAULT_openat) ? -1 : opened(__real_openat(dir, path, flags, mode));
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    return trip(FAULT_fcntl) ? -1 : __real_fcntl(fd, command, arg);
}
