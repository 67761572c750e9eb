/* Looks for a record that is intact, anywhere in a segment: behind damage, or behind the end of a
 * log, where one may prove that there was more. For log_scan.c. */
#ifndef LUNODE_LOG_SEARCH_H
#define LUNODE_LOG_SEARCH_H

#include "log_window.h"

enum { LN_LOG_GRID = 8 }; /* records begin at its multiples */

struct ln_log_search {
    struct ln_log_window window;
    uint64_t number;
    uint64_t than;        /* looks for a record that knew more than this position to be durable */
    uint64_t nonzero_end; /* of what is not zero, as far as it has looked */
    uint64_t found;       /* offset of the record, or 0 */
    uint64_t hashed;      /* bytes of what looked like one */
};

/* Goes from `from` on up to the first that is found, or the end. LN_OK, or a failure to read. */
int ln_log_search(struct ln_log_search *q, uint64_t from);

#endif
