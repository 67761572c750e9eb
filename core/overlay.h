/* An ordered map in memory from byte strings to values or tombstones: the writes that the engine
 * does not have yet.
 *
 * A skip list in an arena, ordered as memcmp orders (a prefix comes first). The heights come from a
 * generator seeded alike in every overlay, so the same calls build the same list.
 *
 * Keys and values are copied in; they may point into the overlay itself. What is handed out is
 * borrowed: values until the next call that is not const, nodes until the next rollback or clear.
 *
 * The mark is where rollback returns to. It stands where the last of init, begin and clear put it;
 * there is one, and they do not nest. Not thread-safe. */
#ifndef LUNODE_OVERLAY_H
#define LUNODE_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LN_OVERLAY_HEIGHT = 16 };

struct ln_overlay_node;
struct ln_overlay_block;
struct ln_overlay_undo;

struct ln_overlay {   /* all fields private but the first three */
    size_t count;     /* rows, tombstones included */
    size_t bytes;     /* of their keys and values */
    uint64_t version; /* grows with each change */

    struct ln_overlay_node *head[LN_OVERLAY_HEIGHT];
    int height;
    uint64_t random;
    uint64_t mark;                  /* names the span since the mark; never reused */
    struct ln_overlay_block *block; /* the newest; a stack */
    struct ln_overlay_block *mark_block;
    size_t mark_used;
    struct ln_overlay_undo *undo; /* what the rows changed since the mark were before */
    size_t undo_len, undo_cap;
    size_t large; /* values that have an allocation of their own */
};

struct ln_overlay_row {
    const char *key;
    size_t klen;
    const char *value; /* never NULL */
    size_t vlen;
    bool deleted; /* a tombstone; its value is empty */
};

void ln_overlay_init(struct ln_overlay *o);
void ln_overlay_free(struct ln_overlay *o);

/* Sets the row of key, or makes it a tombstone: LN_OK; or -ENOMEM, and then nothing has changed.
 * REQUIRES: lengths below UINT32_MAX. */
int ln_overlay_put(struct ln_overlay *o, const void *key, size_t klen, const void *value,
                   size_t vlen);
int ln_overlay_delete(struct ln_overlay *o, const void *key, size_t klen);

/* Moves the mark to here. */
void ln_overlay_begin(struct ln_overlay *o);

/* Makes the content what it was at the mark, which stays. */
void ln_overlay_rollback(struct ln_overlay *o);

/* Removes everything and moves the mark to here. Keeps one block of memory for what comes next. */
void ln_overlay_clear(struct ln_overlay *o);

/* The first node whose key is >= key, and the one after a node; NULL at the end. */
const struct ln_overlay_node *ln_overlay_seek(const struct ln_overlay *o, const void *key,
                                              size_t klen);
const struct ln_overlay_node *ln_overlay_first(const struct ln_overlay *o);
const struct ln_overlay_node *ln_overlay_next(const struct ln_overlay_node *node);
struct ln_overlay_row ln_overlay_row(const struct ln_overlay_node *node);

const struct ln_overlay_node *ln_overlay_search(const struct ln_overlay *o, const void *key,
                                                size_t klen);

/* The node of key, or NULL. An empty overlay, the usual case for a read, costs one branch. */
static inline const struct ln_overlay_node *ln_overlay_find(const struct ln_overlay *o,
                                                            const void *key, size_t klen) {
    return o->count ? ln_overlay_search(o, key, klen) : NULL;
}

#endif
