/* The engine that keeps its rows in memory, for tests, caches and simulated worlds: nothing of it
 * is there at the next open.
 *
 * A treap whose nodes never change once others can see them: a write copies the path to the root,
 * and shares the rest. So a snapshot, and each iterator, is a root; a batch is made beside the tree
 * and published as its new root; and a range leaves by two splits. Nodes and rows count their
 * owners, across threads. */
#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct row {
    atomic_size_t owners;
    size_t klen, vlen;
    char data[]; /* the key, then the value */
};

struct node {
    atomic_size_t owners;
    uint64_t priority; /* greater than those below it */
    struct row *row;
    struct node *left, *right;
};

struct ln_engine_snapshot {
    struct node *root;
};

struct engine {
    struct ln_engine base;
    pthread_mutex_t lock; /* for root */
    struct node *root;
    size_t bytes; /* of all rows, as of the last batch */
    /* The writer's own: */
    struct node *next; /* what root will be */
    size_t next_bytes;
    bool gathering, failed; /* there is a batch; it ran out of memory */
    uint64_t random;
};

struct iter {
    struct ln_engine_iter base;
    struct node *root;
    const struct node *at; /* NULL: past an end */
};

static struct engine *of(struct ln_engine *base) {
    return (struct engine *)base;
}

/* ---- nodes. What is returned or stored is owned; arguments are borrowed, but where it is said. */

static struct node *retain(struct node *n) {
    if (n)
        atomic_fetch_add(&n->owners, 1);
    return n;
}

static void release_row(struct row *row) {
    if (atomic_fetch_sub(&row->owners, 1) == 1)
        free(row);
}

static void release(struct node *n) {
    while (n && atomic_fetch_sub(&n->owners, 1) == 1) {
        struct node *right = n->right;
        release(n->left);
        release_row(n->row);
        free(n);
        n = right;
    }
}

static struct node *node_new(struct engine *e, struct row *row, uint64_t priority) {
    struct node *n = malloc(sizeof *n);
    if (!n) {
        e->failed = true;
        return NULL;
    }
    *n = (struct node){.priority = priority, .row = row};
    atomic_init(&n->owners, 1);
    atomic_fetch_add(&row->owners, 1);
    return n;
}

/* A copy that may change, with the same children. */
static struct node *node_copy(struct engine *e, const struct node *n) {
    struct node *copy = node_new(e, n->row, n->priority);
    if (copy) {
        copy->left = retain(n->left);
        copy->right = retain(n->right);
    }
    return copy;
}

static int compare(const struct node *n, const void *key, size_t klen) {
    return ln_key_compare(n->row->data, n->row->klen, key, klen);
}

/* What lies below key, and the rest. Out of memory, rows are missing, and e->failed is set. */
static void split(struct engine *e, const struct node *n, const void *key, size_t klen,
                  struct node **below, struct node **rest) {
    *below = *rest = NULL;
    if (!n)
        return;
    struct node *copy = node_copy(e, n), *child;
    if (!copy)
        return;
    if (compare(n, key, klen) < 0) {
        child = copy->right;
        split(e, child, key, klen, &copy->right, rest);
        *below = copy;
    } else {
        child = copy->left;
        split(e, child, key, klen, below, &copy->left);
        *rest = copy;
    }
    release(child);
}

/* Takes both, of which all of left lies below all of right. */
static struct node *merge(struct engine *e, struct node *left, struct node *right) {
    if (!left || !right)
        return left ? left : right;
    bool from_left = left->priority > right->priority;
    struct node *top = from_left ? left : right, *copy = node_copy(e, top), *child;
    if (copy && from_left) {
        child = copy->right;
        copy->right = merge(e, retain(child), right);
    } else if (copy) {
        child = copy->left;
        copy->left = merge(e, left, retain(child));
    } else {
        child = NULL;
        release(from_left ? right : left);
    }
    release(child);
    release(top);
    return copy;
}

static size_t bytes_of(const struct node *n) {
    size_t bytes = 0;
    for (; n; n = n->right)
        bytes += bytes_of(n->left) + n->row->klen + n->row->vlen;
    return bytes;
}

/* ---- the batch */

static void begin(struct engine *e) {
    if (e->gathering)
        return;
    e->gathering = true;
    e->next = retain(e->root); /* only the writer changes root */
    e->next_bytes = e->bytes;
}

/* Puts row, which it takes, or nothing in the place of all that lies in the range. */
static void replace(struct engine *e, const void *from, size_t from_len, const void *to,
                    size_t to_len, struct row *row) {
    struct node *below, *rest, *within, *above = NULL, *fresh = NULL;
    split(e, e->next, from, from_len, &below, &rest);
    if (to) {
        split(e, rest, to, to_len, &within, &above);
        release(rest);
    } else {
        within = rest;
    }
    e->next_bytes -= bytes_of(within);
    release(within);
    if (row) {
        e->random ^= e->random << 13;
        e->random ^= e->random >> 7;
        e->random ^= e->random << 17;
        fresh = node_new(e, row, e->random);
        e->next_bytes += row->klen + row->vlen;
        release_row(row);
    }
    release(e->next);
    e->next = merge(e, merge(e, below, fresh), above);
}

static void engine_remove_range(struct ln_engine *base, const void *from, size_t from_len,
                                const void *to, size_t to_len) {
    begin(of(base));
    replace(of(base), from, from_len, to, to_len, NULL);
}

static struct row *row_new(const void *key, size_t klen, const void *value, size_t vlen) {
    struct row *row = malloc(sizeof *row + klen + 1 + vlen);
    if (!row)
        return NULL;
    *row = (struct row){.klen = klen, .vlen = vlen};
    atomic_init(&row->owners, 1);
    if (klen)
        memcpy(row->data, key, klen);
    row->data[klen] = 0; /* with it, the key is the smallest one after itself */
    if (vlen)
        memcpy(row->data + klen + 1, value, vlen);
    return row;
}

static void engine_put(struct ln_engine *base, const void *key, size_t klen, const void *value,
                       size_t vlen) {
    struct engine *e = of(base);
    begin(e);
    struct row *row = row_new(key, klen, value, vlen);
    if (row)
        replace(e, row->data, klen, row->data, klen + 1, row);
    else
        e->failed = true;
}

static void engine_remove(struct ln_engine *base, const void *key, size_t klen) {
    struct engine *e = of(base);
    begin(e);
    struct row *row = row_new(key, klen, NULL, 0);
    if (!row) {
        e->failed = true;
        return;
    }
    replace(e, row->data, klen, row->data, klen + 1, NULL);
    release_row(row);
}

static void engine_discard(struct ln_engine *base) {
    struct engine *e = of(base);
    release(e->next);
    e->next = NULL;
    e->gathering = e->failed = false;
}

static int engine_write(struct ln_engine *base, bool sync, struct ln_detail *detail) {
    struct engine *e = of(base);
    (void)sync;
    if (e->failed) {
        engine_discard(base);
        return ln_detail_set(detail, -ENOMEM, "no memory");
    }
    if (e->gathering) {
        pthread_mutex_lock(&e->lock);
        struct node *former = e->root;
        e->root = e->next;
        e->bytes = e->next_bytes;
        pthread_mutex_unlock(&e->lock);
        release(former);
        e->next = NULL;
        e->gathering = false;
    }
    return LN_OK;
}

static void engine_compact(struct ln_engine *base, const void *from, size_t from_len,
                           const void *to, size_t to_len) {
    (void)base, (void)from, (void)from_len, (void)to, (void)to_len;
}

/* ---- open, close */

static int engine_open(const char *path, const struct ln_engine_options *options,
                       struct ln_detail *detail, struct ln_engine **out) {
    (void)path, (void)options;
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return ln_detail_set(detail, -ENOMEM, "no memory");
    e->base.ops = &ln_engine_memory;
    e->random = 0x9e3779b97f4a7c15u;
    pthread_mutex_init(&e->lock, NULL);
    *out = &e->base;
    return LN_OK;
}

static void engine_close(struct ln_engine *base) {
    struct engine *e = of(base);
    engine_discard(base);
    release(e->root);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* ---- reading */

static struct node *root_of(struct engine *e, struct ln_engine_snapshot *snapshot) {
    if (snapshot)
        return retain(snapshot->root);
    pthread_mutex_lock(&e->lock);
    struct node *root = retain(e->root);
    pthread_mutex_unlock(&e->lock);
    return root;
}

/* The first node that is not below key, and the last one that is. */
static void search(const struct node *n, const void *key, size_t klen, const struct node **from,
                   const struct node **below) {
    *from = *below = NULL;
    while (n) {
        bool is_below = compare(n, key, klen) < 0;
        *(is_below ? below : from) = n;
        n = is_below ? n->right : n->left;
    }
}

static int engine_get(struct ln_engine *base, struct ln_engine_snapshot *snapshot, const void *key,
                      size_t klen, struct ln_detail *detail, char **value, size_t *vlen) {
    struct node *root = root_of(of(base), snapshot);
    const struct node *from, *below;
    int rc = -ENOENT;
    search(root, key, klen, &from, &below);
    if (from && compare(from, key, klen) == 0) {
        size_t len = from->row->vlen;
        char *copy = malloc(len + 1);
        rc = copy ? LN_OK : ln_detail_set(detail, -ENOMEM, "no memory");
        if (copy) {
            memcpy(copy, from->row->data + klen + 1, len);
            *value = copy;
            *vlen = len;
        }
    }
    release(root);
    return rc;
}

static uint64_t engine_disk_bytes(struct ln_engine *base) {
    struct engine *e = of(base);
    pthread_mutex_lock(&e->lock);
    uint64_t bytes = e->bytes;
    pthread_mutex_unlock(&e->lock);
    return bytes;
}

static struct ln_engine_snapshot *engine_snapshot(struct ln_engine *base) {
    struct ln_engine_snapshot *snapshot = malloc(sizeof *snapshot);
    if (snapshot)
        snapshot->root = root_of(of(base), NULL);
    return snapshot;
}

static void engine_release(struct ln_engine *base, struct ln_engine_snapshot *snapshot) {
    (void)base;
    release(snapshot->root);
    free(snapshot);
}

/* ---- iterators */

static struct iter *iter_of(struct ln_engine_iter *base) {
    return (struct iter *)base;
}

static struct ln_engine_iter *engine_iter_open(struct ln_engine *base,
                                               struct ln_engine_snapshot *snapshot) {
    struct iter *i = malloc(sizeof *i);
    if (!i)
        return NULL;
    *i = (struct iter){.base = {&ln_engine_memory}, .root = root_of(of(base), snapshot)};
    return &i->base;
}

static void engine_iter_close(struct ln_engine_iter *base) {
    release(iter_of(base)->root);
    free(base);
}

static void engine_iter_seek(struct ln_engine_iter *base, const void *key, size_t klen) {
    const struct node *below;
    search(iter_of(base)->root, key, klen, &iter_of(base)->at, &below);
}

static void engine_iter_seek_before(struct ln_engine_iter *base, const void *key, size_t klen) {
    const struct node *from;
    search(iter_of(base)->root, key, klen, &from, &iter_of(base)->at);
}

static void engine_iter_last(struct ln_engine_iter *base) {
    struct iter *i = iter_of(base);
    i->at = i->root;
    while (i->at && i->at->right)
        i->at = i->at->right;
}

static void engine_iter_next(struct ln_engine_iter *base) {
    const struct node *at = iter_of(base)->at;
    if (at)
        engine_iter_seek(base, at->row->data, at->row->klen + 1);
}

static void engine_iter_prev(struct ln_engine_iter *base) {
    const struct node *at = iter_of(base)->at;
    if (at)
        engine_iter_seek_before(base, at->row->data, at->row->klen);
}

static int engine_iter_row(struct ln_engine_iter *base, struct ln_detail *detail,
                           struct ln_overlay_row *row) {
    const struct node *at = iter_of(base)->at;
    (void)detail;
    if (!at)
        return LN_EOF;
    const struct row *r = at->row;
    *row = (struct ln_overlay_row){r->data, r->klen, r->data + r->klen + 1, r->vlen, false};
    return LN_OK;
}

const struct ln_engine_ops ln_engine_memory = {
    .name = "memory",
    .ranges = true,
    .open = engine_open,
    .close = engine_close,
    .get = engine_get,
    .put = engine_put,
    .remove = engine_remove,
    .remove_range = engine_remove_range,
    .write = engine_write,
    .discard = engine_discard,
    .compact = engine_compact,
    .disk_bytes = engine_disk_bytes,
    .snapshot = engine_snapshot,
    .release = engine_release,
    .iter_open = engine_iter_open,
    .iter_close = engine_iter_close,
    .iter_seek = engine_iter_seek,
    .iter_seek_before = engine_iter_seek_before,
    .iter_last = engine_iter_last,
    .iter_next = engine_iter_next,
    .iter_prev = engine_iter_prev,
    .iter_row = engine_iter_row,
};
