#include "overlay.h"

#include "overlay_impl.h"

#include "status.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_BYTES = 64 << 10, /* of an arena block, its header included */
    BIG_BLOCK = 512 << 10,  /* of those in an overlay that has grown */
    LARGE_VALUE = 16 << 10, /* above it, a value is allocated apart and freed before the rest */
    UNDO_FIRST = 64,
    UNDO_KEEP = 4096, /* entries an empty overlay keeps room for */
};

struct ln_overlay_block {
    struct ln_overlay_block *below;
    size_t used, cap; /* of data */
    _Alignas(max_align_t) char data[];
};

struct ln_overlay_large {
    struct ln_overlay_large *prev, *next;
    size_t cap;
    char data[];
};

struct ln_overlay_undo {
    struct ln_overlay_node *node;
    uint64_t seq;
    char *value;
    uint32_t vlen, vcap;
    bool deleted, out;
    bool fresh; /* there was no such row */
};

static char nothing[1];

/* ---- arena: a stack of blocks, so that a rollback can drop what came after the mark */

void *ln_overlay_alloc(struct ln_overlay *o, size_t n) {
    n = (n + 7) & ~(size_t)7;
    struct ln_overlay_block *b = o->block;
    if (!b || b->cap - b->used < n) {
        size_t cap = (o->memory < (size_t)4 * BIG_BLOCK ? BLOCK_BYTES : BIG_BLOCK) - sizeof *b;
        if (cap < n)
            cap = n;
        b = malloc(sizeof *b + cap);
        if (!b)
            return NULL;
        *b = (struct ln_overlay_block){.below = o->block, .cap = cap};
        o->block = b;
        o->memory += cap;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

static void free_block(struct ln_overlay *o) {
    struct ln_overlay_block *below = o->block->below;
    o->memory -= o->block->cap;
    free(o->block);
    o->block = below;
}

static void arena_cut(struct ln_overlay *o, struct ln_overlay_block *block, size_t used) {
    while (o->block != block)
        free_block(o);
    if (block)
        block->used = used;
}

/* ---- values */

static char *value_alloc(struct ln_overlay *o, uint32_t cap) {
    if (cap == 0)
        return nothing;
    if (cap <= LARGE_VALUE)
        return ln_overlay_alloc(o, cap);
    struct ln_overlay_large *l = malloc(sizeof *l + cap);
    if (!l)
        return NULL;
    *l = (struct ln_overlay_large){.next = o->larges, .cap = cap};
    if (o->larges)
        o->larges->prev = l;
    o->larges = l;
    o->large++;
    o->memory += cap;
    return l->data;
}

static void large_free(struct ln_overlay *o, struct ln_overlay_large *l) {
    *(l->prev ? &l->prev->next : &o->larges) = l->next;
    if (l->next)
        l->next->prev = l->prev;
    o->large--;
    o->memory -= l->cap;
    free(l);
}

/* The newest ones, up to about so many bytes. */
static void free_larges(struct ln_overlay *o, size_t bytes) {
    struct ln_overlay_large *l = o->larges;
    for (size_t freed = 0; l && freed < bytes;) {
        struct ln_overlay_large *next = l->next;
        freed += l->cap;
        o->memory -= l->cap;
        o->large--;
        free(l);
        l = next;
    }
    if (l)
        l->prev = NULL;
    o->larges = l;
}

static void value_free(struct ln_overlay *o, char *value, uint32_t cap) {
    if (cap > LARGE_VALUE)
        large_free(o, (struct ln_overlay_large *)(value - offsetof(struct ln_overlay_large, data)));
}

/* ---- undo */

static int undo_reserve(struct ln_overlay *o) {
    if (o->undo_len < o->undo_cap)
        return LN_OK;
    size_t cap = o->undo_cap ? o->undo_cap * 2 : UNDO_FIRST;
    struct ln_overlay_undo *undo = reallocarray(o->undo, cap, sizeof *undo);
    if (!undo)
        return -ENOMEM;
    o->undo = undo;
    o->undo_cap = cap;
    return LN_OK;
}

/* Opens a new span: from here on, the first change of a row saves what it was. */
static void mark_here(struct ln_overlay *o) {
    o->undo_len = 0;
    o->leaving = 0;
    o->mark = o->seq;
    o->ranges_saved = false;
    o->mark_block = o->block;
    o->mark_used = o->block ? o->block->used : 0;
}

/* As no rollback brings them back any more. */
static void let_go(struct ln_overlay *o) {
    for (size_t i = 0; i < o->undo_len; i++) {
        struct ln_overlay_node *n = o->undo[i].node;
        if (!n->deleted || !n->only_here || n->out)
            continue;
        ln_overlay_index_remove(o, n);
        n->out = true;
        o->version++;
    }
}

void ln_overlay_begin(struct ln_overlay *o) {
    for (size_t i = 0; o->large && i < o->undo_len; i++)
        value_free(o, o->undo[i].value, o->undo[i].vcap);
    if (o->leaving > 0 && !o->distrusts)
        let_go(o);
    mark_here(o);
}

void ln_overlay_distrust(struct ln_overlay *o) {
    o->distrusts = true;
}

/* ---- rows */

const struct ln_overlay_node *ln_overlay_search(const struct ln_overlay *o, const void *key,
                                                size_t klen) {
    return ln_overlay_table_find(&o->table, ln_overlay_hash(key, klen), key, klen);
}

struct ln_overlay_row ln_overlay_row(const struct ln_overlay *o, const struct ln_overlay_node *n) {
    const struct ln_range *r =
        n->seq < o->range_seq ? ln_overlay_covering(o, n->key, n->klen) : NULL;
    if (r && r->seq > n->seq)
        return (struct ln_overlay_row){n->key, n->klen, nothing, 0, true};
    return (struct ln_overlay_row){n->key, n->klen, n->value, n->vlen, n->deleted};
}

bool ln_overlay_look(const struct ln_overlay *o, uint64_t hash, const void *key, size_t klen,
                     struct ln_overlay_row *row) {
    const struct ln_overlay_node *n = ln_overlay_table_find(&o->table, hash, key, klen);
    if (n)
        *row = ln_overlay_row(o, n);
    else if (ln_overlay_covering(o, key, klen))
        *row = (struct ln_overlay_row){key, klen, nothing, 0, true};
    else
        return false;
    return true;
}

/* A new node in no order yet, with its key; it has no value. */
static struct ln_overlay_node *node_new(struct ln_overlay *o, const void *key, size_t klen) {
    struct ln_overlay_node *n = ln_overlay_alloc(o, sizeof *n + klen);
    if (!n)
        return NULL;
    *n = (struct ln_overlay_node){.seq = o->seq, .value = nothing, .klen = (uint32_t)klen};
    if (klen)
        memcpy(n->key, key, klen);
    return n;
}

/* Its value changes. */
static void touch(struct ln_overlay *o, struct ln_overlay_node *n) {
    if (n->packed && !n->out)
        ln_overlay_index_touch(o, n);
    n->packed = false;
}

/* Gives the node a value. Memory written before the mark stays as it is, for rollback; memory
 * written since is used again where it suffices. REQUIRES: room for one undo entry. */
static int assign(struct ln_overlay *o, struct ln_overlay_node *n, const void *value, uint32_t vlen,
                  bool deleted) {
    bool saves = n->seq <= o->mark;
    char *to = n->value;
    uint32_t cap = n->vcap;
    if (saves || vlen > cap) {
        cap = vlen;
        to = value_alloc(o, cap);
        if (!to)
            return -ENOMEM;
    }
    if (vlen)
        memmove(to, value, vlen); /* the value may lie in the very memory that is overwritten */
    if (saves)
        o->undo[o->undo_len++] = (struct ln_overlay_undo){n,       n->seq,     n->value, n->vlen,
                                                          n->vcap, n->deleted, n->out,   false};
    else if (to != n->value)
        value_free(o, n->value, n->vcap);
    touch(o, n);
    o->bytes = o->bytes - n->vlen + vlen;
    n->value = to;
    n->vlen = vlen;
    n->vcap = cap;
    n->deleted = deleted;
    n->seq = o->seq;
    return LN_OK;
}

/* What a row gets. */
struct change {
    const char *value;
    uint32_t vlen;
    bool deleted, only_here;
};

/* A row that is not there yet. */
static int add(struct ln_overlay *o, uint64_t hash, const void *key, size_t klen,
               const struct change *c) {
    struct ln_overlay_path path;
    if (ln_overlay_table_reserve(o, hash) != LN_OK ||
        ln_overlay_index_reserve(o, key, klen, &path) != LN_OK)
        return -ENOMEM;
    struct ln_overlay_node *n = node_new(o, key, klen);
    if (!n || assign(o, n, c->value, c->vlen, c->deleted) != LN_OK)
        return -ENOMEM; /* a node made here stays in the arena, and nobody knows it */
    n->only_here = c->only_here;
    o->undo[o->undo_len++] = (struct ln_overlay_undo){.node = n, .fresh = true};
    ln_overlay_index_add(o, n, &path);
    ln_overlay_table_add(o, hash, n);
    o->count++;
    o->bytes += klen;
    return LN_OK;
}

static void take_back(struct ln_overlay *o, const struct ln_overlay_node *n) {
    ln_overlay_index_remove(o, n);
    ln_overlay_table_remove(o, n);
    o->count--;
    o->bytes -= n->klen;
}

/* A row that came and went, and comes again. */
static int bring_back(struct ln_overlay *o, struct ln_overlay_node *n, const struct change *c) {
    struct ln_overlay_path path;
    if (ln_overlay_index_reserve(o, n->key, n->klen, &path) != LN_OK ||
        assign(o, n, c->value, c->vlen, c->deleted) != LN_OK)
        return -ENOMEM;
    ln_overlay_index_add(o, n, &path);
    n->out = false;
    return LN_OK;
}

static int set(struct ln_overlay *o, const void *key, size_t klen, const struct change *c) {
    assert(klen < UINT32_MAX);
    int rc;
    uint64_t hash = ln_overlay_hash(key, klen);
    struct ln_overlay_node *n = ln_overlay_table_find(&o->table, hash, key, klen);
    if (n && n->out && c->deleted)
        return LN_OK;
    if (undo_reserve(o) != LN_OK)
        return -ENOMEM;
    o->seq++;
    if (!n)
        rc = add(o, hash, key, klen, c);
    else if (n->out)
        rc = bring_back(o, n, c);
    else
        rc = assign(o, n, c->value, c->vlen, c->deleted);
    if (rc != LN_OK)
        return rc;
    o->leaving += n && n->only_here && c->deleted;
    o->version++;
    if (o->range_count > 0)
        ln_overlay_ranges_written(o, key, klen);
    return LN_OK;
}

int ln_overlay_put(struct ln_overlay *o, const void *key, size_t klen, const void *value,
                   size_t vlen) {
    assert(vlen < UINT32_MAX);
    return set(o, key, klen, &(struct change){.value = value, .vlen = (uint32_t)vlen});
}

int ln_overlay_put_new(struct ln_overlay *o, const void *key, size_t klen, const void *value,
                       size_t vlen) {
    assert(vlen < UINT32_MAX);
    return set(o, key, klen,
               &(struct change){.value = value, .vlen = (uint32_t)vlen, .only_here = true});
}

int ln_overlay_delete(struct ln_overlay *o, const void *key, size_t klen) {
    return set(o, key, klen, &(struct change){.deleted = true});
}

void ln_overlay_rollback(struct ln_overlay *o) {
    while (o->undo_len > 0) {
        struct ln_overlay_undo *u = &o->undo[--o->undo_len];
        struct ln_overlay_node *n = u->node;
        value_free(o, n->value, n->vcap);
        o->bytes -= n->vlen;
        if (u->fresh) {
            take_back(o, n);
            continue;
        }
        touch(o, n);
        o->bytes += u->vlen;
        n->seq = u->seq;
        n->value = u->value;
        n->vlen = u->vlen;
        n->vcap = u->vcap;
        n->deleted = u->deleted;
        if (u->out) { /* it had come back */
            ln_overlay_index_remove(o, n);
            n->out = true;
        }
    }
    ln_overlay_ranges_restore(o);
    arena_cut(o, o->mark_block, o->mark_used);
    mark_here(o);
    o->version++;
}

void ln_overlay_clear(struct ln_overlay *o) {
    free_larges(o, SIZE_MAX);
    struct ln_overlay_block *first = o->block;
    while (first && first->below)
        first = first->below;
    if (first && first->cap > BLOCK_BYTES)
        first = NULL;
    arena_cut(o, first, 0);
    if (o->undo_cap > UNDO_KEEP) {
        free(o->undo);
        o->undo = NULL;
        o->undo_cap = 0;
    }
    ln_overlay_index_clear(o);
    ln_overlay_table_clear(o);
    o->count = o->bytes = 0;
    o->range_count = 0;
    o->distrusts = false;
    o->version++;
    mark_here(o);
}

void ln_overlay_init(struct ln_overlay *o) {
    *o = (struct ln_overlay){0};
}

bool ln_overlay_reap(struct ln_overlay *o, size_t bytes) {
    size_t start = o->memory, left = start > bytes ? start - bytes : 0;
    free_larges(o, bytes);
    while (o->block && o->memory > left)
        free_block(o);
    if (o->larges || o->block || !ln_overlay_index_reap(o, left) || !ln_overlay_table_reap(o, left))
        return false;
    free(o->undo);
    free(o->ranges);
    free(o->saved_ranges);
    ln_overlay_init(o);
    return true;
}

void ln_overlay_free(struct ln_overlay *o) {
    (void)ln_overlay_reap(o, SIZE_MAX);
}
