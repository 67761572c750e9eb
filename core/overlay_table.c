#include "overlay_impl.h"

#include "status.h"

#define XXH_INLINE_ALL
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum { FIRST = 64, KEEP = 4096 };

struct ln_overlay_slot {
    uint64_t hash;
    struct ln_overlay_node *node; /* NULL: free */
};

static uint64_t hash_of(const struct ln_overlay_table *t, const void *key, size_t klen) {
    return XXH3_64bits_withSeed(key, klen, t->seed);
}

static void put(struct ln_overlay_table *t, struct ln_overlay_slot slot) {
    size_t at = slot.hash & t->mask;
    while (t->slots[at].node)
        at = (at + 1) & t->mask;
    t->slots[at] = slot;
}

int ln_overlay_table_reserve(struct ln_overlay_table *t) {
    if (t->slots && t->used < (t->mask + 1) / 4 * 3)
        return LN_OK;
    size_t size = t->slots ? (t->mask + 1) * 2 : FIRST;
    struct ln_overlay_table grown = {.mask = size - 1, .used = t->used, .seed = t->seed};
    grown.slots = calloc(size, sizeof *grown.slots);
    if (!grown.slots)
        return -ENOMEM;
    if (!t->slots) /* nobody can aim at one slot: addresses are random */
        grown.seed = (uint64_t)(uintptr_t)grown.slots ^ (uint64_t)(uintptr_t)&grown << 20;
    for (size_t i = 0; t->slots && i <= t->mask; i++)
        if (t->slots[i].node)
            put(&grown, t->slots[i]);
    free(t->slots);
    *t = grown;
    return LN_OK;
}

void ln_overlay_table_clear(struct ln_overlay_table *t) {
    if (t->slots && t->mask < KEEP) {
        memset(t->slots, 0, (t->mask + 1) * sizeof *t->slots);
    } else {
        free(t->slots);
        t->slots = NULL;
    }
    t->used = 0;
}

void ln_overlay_table_add(struct ln_overlay_table *t, struct ln_overlay_node *n) {
    put(t, (struct ln_overlay_slot){hash_of(t, ln_overlay_key(n), n->klen), n});
    t->used++;
}

static size_t find(const struct ln_overlay_table *t, uint64_t hash, const void *key, size_t klen) {
    size_t at = hash & t->mask;
    while (t->slots[at].node &&
           (t->slots[at].hash != hash || !ln_overlay_node_is(t->slots[at].node, key, klen)))
        at = (at + 1) & t->mask;
    return at;
}

struct ln_overlay_node *ln_overlay_table_find(const struct ln_overlay_table *t, const void *key,
                                              size_t klen) {
    return t->slots ? t->slots[find(t, hash_of(t, key, klen), key, klen)].node : NULL;
}

/* Moves back what probing had pushed past the slot (Knuth, vol. 3, 6.4, algorithm R). */
void ln_overlay_table_remove(struct ln_overlay_table *t, const struct ln_overlay_node *n) {
    const char *key = ln_overlay_key(n);
    size_t gap = find(t, hash_of(t, key, n->klen), key, n->klen);
    for (size_t at = (gap + 1) & t->mask; t->slots[at].node; at = (at + 1) & t->mask) {
        size_t home = t->slots[at].hash & t->mask;
        if (((at - home) & t->mask) >= ((at - gap) & t->mask)) {
            t->slots[gap] = t->slots[at];
            gap = at;
        }
    }
    t->slots[gap].node = NULL;
    t->used--;
}

/* ---- hints */

uint64_t ln_overlay_fetch_slot(const struct ln_overlay *o, const void *key, size_t klen) {
    const struct ln_overlay_table *t = &o->table;
    uint64_t hash = hash_of(t, key, klen);
    if (t->slots)
        __builtin_prefetch(&t->slots[hash & t->mask]);
    return hash;
}

const struct ln_overlay_node *ln_overlay_fetch_node(const struct ln_overlay *o, uint64_t hash) {
    const struct ln_overlay_table *t = &o->table;
    if (!t->slots)
        return NULL;
    size_t at = hash & t->mask;
    while (t->slots[at].node && t->slots[at].hash != hash)
        at = (at + 1) & t->mask;
    const struct ln_overlay_node *node = t->slots[at].node;
    if (node) {
        __builtin_prefetch(node);
        __builtin_prefetch((const char *)node + 64); /* the key */
    }
    return node;
}

void ln_overlay_fetch_value(const struct ln_overlay_node *node) {
    __builtin_prefetch(node->value);
}
