/* Where a log's entries are, and of which term: the small part of it that is kept in memory.
 *
 * A mark says at which position an entry lies; the entries up to the next mark follow it in their
 * order, with other records between them. There is one about every 64 KiB, at each segment's first
 * entry, and where entries were dropped. Terms are kept as runs. No I/O. */
#ifndef LUNODE_LOG_INDEX_H
#define LUNODE_LOG_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ln_log_mark {
    uint64_t index;
    uint64_t value; /* a position, or a term */
};

struct ln_log_marks {
    struct ln_log_mark *list; /* by index */
    size_t count, cap;
};

struct ln_log_index {
    struct ln_log_marks places, terms;
    bool jump; /* the next entry needs a mark */
    /* How often entries were dropped from the end, and how often there was a new mark. */
    uint64_t truncations, changes;
};

/* Makes room, so that the next ln_log_index_add cannot fail. LN_OK or -ENOMEM. */
int ln_log_index_reserve(struct ln_log_index *x);

/* Adds the entry that follows the last one. */
void ln_log_index_add(struct ln_log_index *x, uint64_t index, uint64_t term, uint64_t position);

/* Forgets the entries behind last. */
void ln_log_index_cut_suffix(struct ln_log_index *x, uint64_t last);

/* Forgets the entries before first. */
void ln_log_index_cut_prefix(struct ln_log_index *x, uint64_t first);

/* The mark from which to look for the entry; *until is the index of the next one. REQUIRES: the
 * entry is there. */
struct ln_log_mark ln_log_index_find(const struct ln_log_index *x, uint64_t index, uint64_t *until);

/* REQUIRES: the entry is there. */
uint64_t ln_log_index_term(const struct ln_log_index *x, uint64_t index);

void ln_log_index_free(struct ln_log_index *x);

#endif
