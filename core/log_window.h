/* Reads the records of one segment through a piece of memory. For the log's own files. */
#ifndef LUNODE_LOG_WINDOW_H
#define LUNODE_LOG_WINDOW_H

#include "log.h"
#include "log_format.h"

enum ln_log_found {
    LN_LOG_AT_RECORD,
    LN_LOG_AT_END, /* zeros, or no room for a record */
    LN_LOG_AT_BAD
};

struct ln_log_at {
    enum ln_log_found found;
    struct ln_log_record record;
    size_t size;     /* of the record, also of a bad one as far as its head tells */
    const char *why; /* of a bad one */
};

/* fd < 0: opened later. Takes over the descriptor. */
void ln_log_window_init(struct ln_log_window *w, int fd, uint64_t size);

/* Forgets what was read: the file may have changed. */
void ln_log_window_forget(struct ln_log_window *w);

/* Makes the `need` bytes at offset readable at *p; *have is at least that, or all that there are.
 * LN_OK, -ENOMEM, -EIO, … */
int ln_log_window_get(struct ln_log_window *w, uint64_t offset, size_t need, const char **p,
                      size_t *have);

/* What lies at offset. The record's payload is valid until the next call. */
int ln_log_window_record(struct ln_log_window *w, uint64_t number, uint64_t offset,
                         struct ln_log_at *out);

void ln_log_window_close(struct ln_log_window *w);

#endif
