/* cpu_time PID: prints the CPU time of a process in nanoseconds. */
#include "process_clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    int64_t ns = argc == 2 ? process_clock((pid_t)atoi(argv[1])) : -1;
    if (ns < 0) {
        fprintf(stderr, "cpu_time: no such process\n");
        return 1;
    }
    printf("%" PRId64 "\n", ns);
    return 0;
}
