/* The nodes of an overlay by their keys: extendible hashing. The first bits of a hash choose a
 * segment, the last ones where in it to begin (open addressing, linear probing). A full segment
 * gives half of its nodes to a new one, so no single write pays for all that came before it. */
#include "overlay_impl.h"

#include "status.h"

#define XXH_INLINE_ALL
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum {
    FIRST = 64,   /* slots of the first segment, which grows */
    MOST = 1024,  /* slots of a segment */
    DEEPEST = 32, /* segments: 2^32 */
};

struct ln_overlay_slot {
    uint64_t hash;
    struct ln_overlay_node *node; /* NULL: free */
};

struct ln_overlay_segment {
    unsigned depth; /* so many first bits of their hashes are equal */
    unsigned used, mask;
    struct ln_overlay_slot slots[];
};

/* Nobody can aim at one slot: addresses are random. */
uint64_t ln_overlay_hash(const void *key, size_t klen) {
    static const char here;
    return XXH3_64bits_withSeed(key, klen, (uint64_t)(uintptr_t)&here * XXH_PRIME64_1);
}

static size_t first_bits(uint64_t hash, unsigned depth) {
    return depth ? (size_t)(hash >> (64 - depth)) : 0;
}

static struct ln_overlay_segment *segment_of(const struct ln_overlay_table *t, uint64_t hash) {
    return t->segments[first_bits(hash, t->depth)];
}

/* ---- segments */

static size_t segment_bytes(const struct ln_overlay_segment *s) {
    return sizeof *s + (s->mask + 1) * sizeof *s->slots;
}

static struct ln_overlay_segment *segment_new(struct ln_overlay *o, unsigned size, unsigned depth) {
    struct ln_overlay_segment *s = calloc(1, sizeof *s + size * sizeof *s->slots);
    if (!s)
        return NULL;
    s->depth = depth;
    s->mask = size - 1;
    o->memory += segment_bytes(s);
    return s;
}

static void segment_free(struct ln_overlay *o, struct ln_overlay_segment *s) {
    o->memory -= s ? segment_bytes(s) : 0;
    free(s);
}

static void put(struct ln_overlay_segment *s, struct ln_overlay_slot slot) {
    size_t at = slot.hash & s->mask;
    while (s->slots[at].node)
        at = (at + 1) & s->mask;
    s->slots[at] = slot;
    s->used++;
}

static bool is_full(const struct ln_overlay_segment *s) {
    return s->used >= (s->mask + 1) / 4 * 3;
}

static size_t find(const struct ln_overlay_segment *s, uint64_t hash, const void *key,
                   size_t klen) {
    size_t at = hash & s->mask;
    while (s->slots[at].node &&
           (s->slots[at].hash != hash || !ln_overlay_node_is(s->slots[at].node, key, klen)))
        at = (at + 1) & s->mask;
    return at;
}

/* ---- growth */

static int make_first(struct ln_overlay *o) {
    struct ln_overlay_segment **segments = malloc(sizeof(void *));
    struct ln_overlay_segment *s = segments ? segment_new(o, FIRST, 0) : NULL;
    if (!s) {
        free(segments);
        return -ENOMEM;
    }
    segments[0] = s;
    o->table.segments = segments;
    o->table.depth = 0;
    o->memory += sizeof(void *);
    return LN_OK;
}

/* Each segment has two places in the directory where it had one. */
static int deepen(struct ln_overlay *o) {
    struct ln_overlay_table *t = &o->table;
    size_t count = (size_t)1 << t->depth;
    struct ln_overlay_segment **segments = reallocarray(t->segments, count, 2 * sizeof(void *));
    if (!segments)
        return -ENOMEM;
    for (size_t i = count; i-- > 0;)
        segments[2 * i] = segments[2 * i + 1] = segments[i];
    o->memory += count * sizeof(void *);
    t->segments = segments;
    t->depth++;
    return LN_OK;
}

/* Puts left in the place of the segment s, and right in the latter half of its places. */
static void replace(struct ln_overlay *o, struct ln_overlay_segment *s,
                    struct ln_overlay_segment *left, struct ln_overlay_segment *right) {
    struct ln_overlay_table *t = &o->table;
    uint64_t hash = 0;
    for (size_t k = 0; k <= s->mask; k++) {
        struct ln_overlay_slot slot = s->slots[k];
        if (!slot.node)
            continue;
        hash = slot.hash;
        put(right != left && (hash >> (63 - s->depth) & 1) ? right : left, slot);
    }
    size_t places = (size_t)1 << (t->depth - s->depth);
    size_t first = first_bits(hash, s->depth) * places, i = 0;
    do
        t->segments[first + i] = i < places / 2 ? left : right;
    while (++i < places);
    segment_free(o, s);
}

static int split(struct ln_overlay *o, struct ln_overlay_segment *s) {
    if (s->depth == DEEPEST || (s->depth == o->table.depth && deepen(o) != LN_OK))
        return -ENOMEM;
    struct ln_overlay_segment *left = segment_new(o, MOST, s->depth + 1);
    struct ln_overlay_segment *right = left ? segment_new(o, MOST, s->depth + 1) : NULL;
    if (!right) {
        segment_free(o, left);
        return -ENOMEM;
    }
    replace(o, s, left, right);
    return LN_OK;
}

static int grow(struct ln_overlay *o, struct ln_overlay_segment *s) {
    if (s->mask + 1 == MOST)
        return split(o, s);
    struct ln_overlay_segment *larger = segment_new(o, (s->mask + 1) * 2, s->depth);
    if (!larger)
        return -ENOMEM;
    replace(o, s, larger, larger);
    return LN_OK;
}

int ln_overlay_table_reserve(struct ln_overlay *o, uint64_t hash) {
    int rc = o->table.segments ? LN_OK : make_first(o);
    while (rc == LN_OK && is_full(segment_of(&o->table, hash)))
        rc = grow(o, segment_of(&o->table, hash));
    return rc;
}

/* ---- nodes */

void ln_overlay_table_add(struct ln_overlay *o, uint64_t hash, struct ln_overlay_node *n) {
    put(segment_of(&o->table, hash), (struct ln_overlay_slot){hash, n});
}

struct ln_overlay_node *ln_overlay_table_find(const struct ln_overlay_table *t, uint64_t hash,
                                              const void *key, size_t klen) {
    if (!t->segments)
        return NULL;
    const struct ln_overlay_segment *s = segment_of(t, hash);
    return s->slots[find(s, hash, key, klen)].node;
}

/* Moves back what probing had pushed past the slot (Knuth, vol. 3, 6.4, algorithm R). */
void ln_overlay_table_remove(struct ln_overlay *o, const struct ln_overlay_node *n) {
    uint64_t hash = ln_overlay_hash(n->key, n->klen);
    struct ln_overlay_segment *s = segment_of(&o->table, hash);
    size_t gap = find(s, hash, n->key, n->klen);
    for (size_t at = (gap + 1) & s->mask; s->slots[at].node; at = (at + 1) & s->mask) {
        size_t home = s->slots[at].hash & s->mask;
        if (((at - home) & s->mask) >= ((at - gap) & s->mask)) {
            s->slots[gap] = s->slots[at];
            gap = at;
        }
    }
    s->slots[gap].node = NULL;
    s->used--;
}

/* ---- the end */

bool ln_overlay_table_reap(struct ln_overlay *o, size_t memory) {
    struct ln_overlay_table *t = &o->table;
    if (!t->segments)
        return true;
    size_t left = ((size_t)1 << t->depth) - t->reaped;
    while (left > 0 && o->memory > memory) {
        struct ln_overlay_segment *s = t->segments[left - 1];
        size_t places = (size_t)1 << (t->depth - s->depth);
        left -= places;
        t->reaped += places;
        segment_free(o, s);
    }
    if (left > 0)
        return false;
    o->memory -= sizeof(void *) << t->depth;
    free(t->segments);
    t->segments = NULL;
    t->reaped = 0;
    return true;
}

void ln_overlay_table_clear(struct ln_overlay *o) {
    struct ln_overlay_table *t = &o->table;
    if (t->segments && t->depth == 0) {
        struct ln_overlay_segment *s = t->segments[0];
        memset(s->slots, 0, (s->mask + 1) * sizeof *s->slots);
        s->used = 0;
    } else {
        (void)ln_overlay_table_reap(o, 0);
    }
}

/* ---- hints */

void ln_overlay_fetch_slot(const struct ln_overlay *o, uint64_t hash) {
    if (o->table.segments) {
        const struct ln_overlay_segment *s = segment_of(&o->table, hash);
        __builtin_prefetch(&s->slots[hash & s->mask]);
    }
}

const struct ln_overlay_node *ln_overlay_fetch_node(const struct ln_overlay *o, uint64_t hash) {
    if (!o->table.segments)
        return NULL;
    const struct ln_overlay_segment *s = segment_of(&o->table, hash);
    size_t at = hash & s->mask;
    while (s->slots[at].node && s->slots[at].hash != hash)
        at = (at + 1) & s->mask;
    const struct ln_overlay_node *node = s->slots[at].node;
    if (node)
        __builtin_prefetch(node);
    return node;
}

void ln_overlay_fetch_value(const struct ln_overlay_node *node) {
    __builtin_prefetch(node->value);
}
