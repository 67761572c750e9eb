/* Between the overlay's files: rows and their undoing (overlay.c), their order (overlay_index.c),
 * the table (overlay_table.c), the ranges (overlay_range.c), packs (overlay_pack.c). */
#ifndef LUNODE_OVERLAY_IMPL_H
#define LUNODE_OVERLAY_IMPL_H

#include "overlay.h"

#include <string.h>

struct ln_overlay_node {
    uint64_t seq; /* of the write that gave it its value */
    char *value;
    uint32_t klen, vlen, vcap;
    bool deleted;
    bool only_here; /* no row below has this key */
    bool out;       /* of the order: it came and went, and there is nothing to tell those below */
    bool packed;    /* its page may be */
    char key[];
};

static inline bool ln_overlay_node_is(const struct ln_overlay_node *n, const void *key,
                                      size_t klen) {
    return n->klen == klen && (klen == 0 || memcmp(n->key, key, klen) == 0);
}

/* Memory that lives until a rollback to a mark before it, or until clear. NULL: none. */
void *ln_overlay_alloc(struct ln_overlay *o, size_t n);

/* ---- order */

enum {
    LN_OVERLAY_WIDTH = 64,  /* entries of a page */
    LN_OVERLAY_PREFIX = 40, /* bytes: with it, what a search needs first is one cache line */
    LN_OVERLAY_LEVELS = 24,
};

struct ln_overlay_page {
    uint8_t count, level;
    uint8_t shared;    /* bytes of the prefix */
    uint8_t last, run; /* where the last entry was added; how many so far beside each other */
    uint8_t asked;     /* how often for rows that are not packed, since they changed */
    bool packed;       /* there is a pack */
    struct ln_overlay_page *prev, *next; /* at level 0, in order */
    char prefix[LN_OVERLAY_PREFIX];
    uint64_t parts[LN_OVERLAY_WIDTH];
    void *to[LN_OVERLAY_WIDTH];
    struct ln_overlay_pack *pack;
};

/* The way from the root to a place, by level. */
struct ln_overlay_path {
    struct ln_overlay_cursor steps[LN_OVERLAY_LEVELS];
};

/* The place of a key that is not there, and the pages that it may take: LN_OK or -ENOMEM. */
int ln_overlay_index_reserve(struct ln_overlay *o, const char *key, size_t klen,
                             struct ln_overlay_path *path);

/* REQUIRES: reserved, and no changes since. */
void ln_overlay_index_add(struct ln_overlay *o, struct ln_overlay_node *node,
                          const struct ln_overlay_path *path);

/* REQUIRES: it is there. */
void ln_overlay_index_remove(struct ln_overlay *o, const struct ln_overlay_node *node);

/* The value of a node that may be packed changes. */
void ln_overlay_index_touch(struct ln_overlay *o, const struct ln_overlay_node *node);

void ln_overlay_index_clear(struct ln_overlay *o);

/* Frees pages until the overlay takes so much memory. True: all are gone. */
bool ln_overlay_index_reap(struct ln_overlay *o, size_t memory);

/* ---- the table */

/* The node of key, or NULL. */
struct ln_overlay_node *ln_overlay_table_find(const struct ln_overlay_table *t, uint64_t hash,
                                              const void *key, size_t klen);

/* Room for one more with this hash: LN_OK or -ENOMEM. */
int ln_overlay_table_reserve(struct ln_overlay *o, uint64_t hash);

/* REQUIRES: room. */
void ln_overlay_table_add(struct ln_overlay *o, uint64_t hash, struct ln_overlay_node *n);

/* REQUIRES: it is there. */
void ln_overlay_table_remove(struct ln_overlay *o, const struct ln_overlay_node *n);

void ln_overlay_table_clear(struct ln_overlay *o);

/* As of the index. */
bool ln_overlay_table_reap(struct ln_overlay *o, size_t memory);

/* ---- packs */

void ln_overlay_unpack(struct ln_overlay *o, struct ln_overlay_page *page);

/* Rows of a page change, or it leaves. */
static inline void ln_overlay_page_touch(struct ln_overlay *o, struct ln_overlay_page *page) {
    page->asked = 0;
    if (page->packed)
        ln_overlay_unpack(o, page);
}

/* ---- ranges */

/* A row of that key was written. REQUIRES: after that. */
void ln_overlay_ranges_written(struct ln_overlay *o, const void *key, size_t klen);

/* Makes the ranges those of the mark. */
void ln_overlay_ranges_restore(struct ln_overlay *o);

#endif
