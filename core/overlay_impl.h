/* Between the overlay's files: the list (overlay.c), the table (overlay_table.c), the ranges
 * (overlay_range.c). */
#ifndef LUNODE_OVERLAY_IMPL_H
#define LUNODE_OVERLAY_IMPL_H

#include "overlay.h"

#include <string.h>

/* Most comparisons end with the prefix: rows start with a slot and a hash, so their first eight
 * bytes differ, and no key needs to be fetched. */
struct ln_overlay_node {
    uint64_t prefix; /* the first bytes of the key as a big-endian number, zero-padded */
    uint64_t seq;    /* of the write that gave it its value */
    char *value;
    uint32_t klen, vlen, vcap;
    uint8_t height;
    bool deleted;
    struct ln_overlay_node *next[]; /* height of them; the key follows */
};

static inline char *ln_overlay_key(const struct ln_overlay_node *n) {
    return (char *)&n->next[n->height];
}

static inline bool ln_overlay_node_is(const struct ln_overlay_node *n, const void *key,
                                      size_t klen) {
    return n->klen == klen && (klen == 0 || memcmp(ln_overlay_key(n), key, klen) == 0);
}

/* The node of key, or NULL. */
struct ln_overlay_node *ln_overlay_table_find(const struct ln_overlay_table *t, const void *key,
                                              size_t klen);

/* Room for one more: LN_OK or -ENOMEM. */
int ln_overlay_table_reserve(struct ln_overlay_table *t);

/* A node that is in the list now, or is not any more. REQUIRES: room. */
void ln_overlay_table_add(struct ln_overlay_table *t, struct ln_overlay_node *n);
void ln_overlay_table_remove(struct ln_overlay_table *t, const struct ln_overlay_node *n);

/* The list is empty. */
void ln_overlay_table_clear(struct ln_overlay_table *t);

/* Memory that lives until a rollback to a mark before it, or until clear. NULL: none. */
void *ln_overlay_alloc(struct ln_overlay *o, size_t n);

/* Makes the ranges those of the mark. */
void ln_overlay_ranges_restore(struct ln_overlay *o);

#endif
