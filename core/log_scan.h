/* Walks through the segments of a directory as they follow each other, tells what it finds, and
 * judges where the log ends: what opening and checking share. Reads only. */
#ifndef LUNODE_LOG_SCAN_H
#define LUNODE_LOG_SCAN_H

#include "log.h"
#include "log_format.h"
#include "log_window.h"

struct ln_log_scan {
    int dir_fd;
    bool go_on; /* behind damage: for checking */
    ln_log_finding_fn fn;
    void *arg;

    /* What was found. */
    struct ln_log_facts facts;
    uint64_t *numbers; /* of the segments that are there; ln_log_scan_free */
    size_t count;
    uint64_t lowest;      /* the oldest segment of those without a gap behind them */
    uint64_t number, end; /* where the log ends; number 0: there is no segment */
    bool headless;        /* the segment where it ends has no header: nothing was ever in it */
    uint64_t garbage_end; /* in that segment, bytes that are not zero lie before this offset */
    uint64_t synced;      /* the furthest that a record knew to be durable */
    struct ln_log_report report;
    char damage[192]; /* the first one, in words */

    /* Private. */
    struct ln_log_window window;
    size_t at;            /* in numbers */
    bool joins, anchored; /* the facts come from the segment before; from anywhere */
    uint64_t base_last;   /* what the run of segments says lies before it */
    size_t size;          /* of the bad record at the end */
    const char *why;      /* it is bad; NULL: the end has zeros */
    uint64_t proof;       /* position of a record that knew the end to be durable */
    uint64_t hashed;      /* bytes, while looking for such a record */
};

/* LN_OK; LN_ECORRUPT; LN_EVERSION; -errno; what fn returned. */
int ln_log_scan_run(struct ln_log_scan *s);
void ln_log_scan_free(struct ln_log_scan *s);

/* "entry", "state", … */
const char *ln_log_type_name(uint8_t type);

#endif
