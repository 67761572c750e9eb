/* Many rows of the store at once: put together from a walk over others, and met in several ranges
 * side by side. What would take a walk of each row's own a seek otherwise goes in pieces, so the
 * memory that it takes is bounded.
 *
 * Rows of a set begin with its prefix; what follows is the row's name. Sets of the same kind have
 * the same order of names, so several are walked side by side like the piles of a merge sort.
 *
 * Prefixes hold a byte other than FF, and are borrowed as long as what was made with them. */
#ifndef LUNODE_STORE_BULK_H
#define LUNODE_STORE_BULK_H

#include "buffer.h"
#include "store.h"

/* ---- writing while walking */

enum ln_bulk_what {
    LN_BULK_PUT,
    LN_BULK_PUT_NEW,  /* REQUIRES: as ln_store_put_new */
    LN_BULK_PUT_ONCE, /* the same, but since the mark such rows may have been put: -EEXIST */
    LN_BULK_DELETE,
};

/* Writes that wait, so that a walk is not interrupted by each of them; and so that memory is asked
 * for the places of several at once. */
struct ln_bulk {
    struct ln_store *store; /* private, and so is the rest */
    struct ln_buffer rows;
    enum ln_bulk_what what;
};

void ln_bulk_init(struct ln_bulk *b, struct ln_store *store, enum ln_bulk_what what);

/* Writes a row whose key is two pieces: LN_OK, or what the store says, and rows before may have
 * been written. It shows after ln_bulk_flush at the latest. Copies all. */
int ln_bulk_add(struct ln_bulk *b, const char *prefix, size_t prefix_len, const char *name,
                size_t len, const char *value, size_t value_len);
int ln_bulk_flush(struct ln_bulk *b);

/* Frees it, with what waits. */
void ln_bulk_free(struct ln_bulk *b);

/* The rows of one prefix under another, which has none: LN_OK, or a status and a detail. */
int ln_store_copy(struct ln_store *s, const char *from, size_t from_len, const char *to,
                  size_t to_len, struct ln_detail *detail);

/* ---- several sets */

enum ln_merge_how { LN_MERGE_UNION, LN_MERGE_INTERSECTION, LN_MERGE_DIFFERENCE };

enum { LN_MERGE_VALUE = 8 };

struct ln_merge_input {
    const char *prefix;
    size_t len;
    uint64_t count; /* rows, about */

    bool has;                   /* after next: it has the row; of a difference, the first one */
    char value[LN_MERGE_VALUE]; /* … with this value, cut off */
    size_t value_len;

    struct ln_scan *scan; /* private, and so is the rest */
    char *past;
    struct ln_buffer name;
    bool started, ended, asked;
};

struct ln_merge {
    struct ln_store *store;
    enum ln_merge_how how;
    struct ln_merge_input *inputs;
    size_t count;
    const char *name; /* of the row; borrowed until the next call */
    size_t len;
    struct ln_buffer row; /* private */
};

/* Inputs are borrowed, zeroed but for what is not private. Of an intersection or a difference the
 * first one is walked; others that are much larger are asked for each of its rows. */
void ln_merge_init(struct ln_merge *m, struct ln_store *store, enum ln_merge_how how,
                   struct ln_merge_input *inputs, size_t count);

/* The next row of the result, in the order of names. LN_OK; LN_EOF; or a status and a detail. */
int ln_merge_next(struct ln_merge *m, struct ln_detail *detail);

/* Idempotent. */
void ln_merge_free(struct ln_merge *m);

#endif
