/* CPU time of another process, to the nanosecond: user and system, all its threads. */
#ifndef LUNODE_BENCH_PROCESS_CLOCK_H
#define LUNODE_BENCH_PROCESS_CLOCK_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Nanoseconds since the process began, or -1 where there is no such process. The kernel adds a
 * thread's time when the thread leaves the CPU, so read this while the process has nothing to do.
 */
static inline int64_t process_clock(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return -1;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#endif
