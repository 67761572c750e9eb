/* System calls and allocations that fail on demand, for the tests that are linked with fault.c and
 * its --wrap options (FAULT_CALLS in CMakeLists.txt). What a library calls inside is not reached:
 * only what is linked here.
 *
 * One call fails, once: the Nth of its kind. It fails as the system would have it: a connect that
 * is interrupted goes on in the background, a connection that was aborted is gone, a close that
 * fails has closed. Counts what is open and what is allocated. Threads may call. */
#ifndef LUNODE_FAULT_H
#define LUNODE_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/* clang-format off */
#define FAULT_MAP(X)                                                                               \
    X(malloc) X(calloc) X(realloc) X(reallocarray) X(asprintf) X(leveldb_get)                      \
    X(socket) X(bind) X(listen) X(accept4) X(connect) X(shutdown) X(recv) X(send)                  \
    X(getsockopt) X(setsockopt) X(getsockname)                                                     \
    X(epoll_create1) X(epoll_ctl) X(epoll_wait) X(eventfd) X(signalfd) X(pthread_create)           \
    X(open) X(openat) X(opendir) X(fdopendir) X(readdir) X(read) X(write) X(pread) X(pwrite)       \
    X(fallocate) X(ftruncate) X(fsync) X(fdatasync) X(mkdir) X(renameat) X(unlink) X(unlinkat)     \
    X(lstat) X(fchmod) X(fchmodat) X(flock) X(fcntl) X(close)
/* clang-format on */

enum fault_call {
#define FAULT_ENUM(name) FAULT_##name,
    FAULT_MAP(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_CALLS
};

enum { FAULT_SHORT = -1 }; /* in place of an errno: one byte only is read or written */

struct fault {
    enum fault_call call;
    int error;
    bool harmless; /* nothing may come of it */
};

/* Runs the scenario once without a fault, then with each fault at each Nth call, until there are no
 * more calls for it to meet. Fails a test where a fault meets none at all, and where something
 * stays open or allocated. LUNODE_FAULT_TRACE=1 prints each run before it begins. */
void fault_each(const struct fault *faults, size_t count, void (*scenario)(const struct fault *f));

/* In a scenario, whose argument is NULL in the run without a fault: has it happened yet? */
bool fault_happened(void);

/* A teardown of cmocka's: names the run that failed. */
int fault_report(void **state);

/* Nothing fails in between: for what a test has to do by itself. */
void fault_pause(void);
void fault_go_on(void);

#endif
