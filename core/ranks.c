/* An array of the nodes, with the beginnings of their keys. One member in some hundreds is a node,
 * so to move the array's rest for a new one costs little; the sums of blocks of it are made anew
 * after that, once they are asked for.
 *
 * A node that was removed stays in the list of the unsaved, marked: to undo needs no memory. */
#include "ranks.h"

#include "overlay.h"
#include "status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 256,       /* nodes in a sum */
    MOST_KEPT = 4096,  /* of changes, whose memory is kept for the next ones */
    FRAGMENT_BYTES = 8 /* of a key */
};

struct node {
    uint32_t span, klen;
    bool unsaved, gone;
    char key[];
};

struct entry {
    uint64_t fragment; /* the first bytes of the key as a big-endian number, zero-padded */
    struct node *node;
};

struct change {
    enum { ADDED, INSERTED, REMOVED } kind;
    struct node *node;
    int64_t by;
};

struct ln_ranks {
    struct entry *entries;
    size_t count, cap;
    uint64_t sum;
    uint64_t *sums; /* of each block */
    size_t sums_cap;
    bool summed; /* they are right */
    struct node **unsaved;
    size_t unsaved_count, unsaved_cap;
    struct change *changes; /* since begin */
    size_t change_count, change_cap;
};

struct ln_ranks *ln_ranks_new(void) {
    return calloc(1, sizeof(struct ln_ranks));
}

void ln_ranks_free(struct ln_ranks *r) {
    ln_ranks_saved(r); /* which frees those that are gone */
    for (size_t i = 0; i < r->count; i++)
        free(r->entries[i].node);
    free(r->entries);
    free(r->sums);
    free((void *)r->unsaved);
    free(r->changes);
    free(r);
}

uint64_t ln_ranks_sum(const struct ln_ranks *r) {
    return r->sum;
}

/* ---- places */

static uint64_t fragment_of(const void *key, size_t klen) {
    const unsigned char *bytes = key;
    uint64_t fragment = 0;
    for (size_t i = 0; i < FRAGMENT_BYTES; i++)
        fragment = fragment << 8 | (i < klen ? bytes[i] : 0);
    return fragment;
}

static int compare(const struct entry *e, uint64_t fragment, const void *key, size_t klen) {
    if (e->fragment != fragment)
        return e->fragment < fragment ? -1 : 1;
    return ln_key_compare(e->node->key, e->node->klen, key, klen);
}

/* How many nodes are at or before key. */
static size_t find(const struct ln_ranks *r, const void *key, size_t klen) {
    uint64_t fragment = fragment_of(key, klen);
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&r->entries[middle], fragment, key, klen) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct ln_ranks *r, size_t place, const void *key, size_t klen) {
    const struct node *n = r->entries[place].node;
    return n->klen == klen && memcmp(n->key, key, klen) == 0;
}

/* ---- sums */

/* Where memory lacks, they are done without. */
static void sum_up(struct ln_ranks *r) {
    size_t need = r->count / BLOCK + 1;
    if (r->summed)
        return;
    if (need > r->sums_cap) {
        uint64_t *sums = reallocarray(r->sums, need * 2, sizeof *sums);
        if (!sums)
            return;
        r->sums = sums;
        r->sums_cap = need * 2;
    }
    memset(r->sums, 0, need * sizeof *r->sums);
    for (size_t i = 0; i < r->count; i++)
        r->sums[i / BLOCK] += r->entries[i].node->span;
    r->summed = true;
}

static void tell(const struct node *n, uint64_t before, struct ln_ranks_node *out) {
    *out = (struct ln_ranks_node){n->key, n->klen, n->span, before};
}

bool ln_ranks_at(struct ln_ranks *r, const void *key, size_t klen, struct ln_ranks_node *out) {
    size_t place = find(r, key, klen), i = 0;
    uint64_t before = 0;
    if (place == 0)
        return false;
    place--;
    sum_up(r);
    for (; r->summed && i + BLOCK <= place; i += BLOCK)
        before += r->sums[i / BLOCK];
    for (; i < place; i++)
        before += r->entries[i].node->span;
    tell(r->entries[place].node, before, out);
    return true;
}

bool ln_ranks_with(struct ln_ranks *r, uint64_t rank, struct ln_ranks_node *out) {
    uint64_t before = 0;
    size_t i = 0;
    sum_up(r);
    while (r->summed && i + BLOCK <= r->count && before + r->sums[i / BLOCK] <= rank) {
        before += r->sums[i / BLOCK];
        i += BLOCK;
    }
    for (; i < r->count; i++) {
        const struct node *n = r->entries[i].node;
        if (rank < before + n->span) {
            tell(n, before, out);
            return true;
        }
        before += n->span;
    }
    return false;
}

/* ---- changes */

/* The items, or a larger copy of them; NULL: no memory, and they stay as they are. */
static void *grow(void *items, size_t *cap, size_t need, size_t size) {
    if (need <= *cap)
        return items;
    void *more = reallocarray(items, need * 2, size);
    if (more)
        *cap = need * 2;
    return more;
}

/* For what `changed` takes; n: of them. */
static int make_room(struct ln_ranks *r, size_t n) {
    struct change *changes = grow(r->changes, &r->change_cap, r->change_count + n, sizeof *changes);
    if (!changes)
        return -ENOMEM;
    r->changes = changes;
    struct node **unsaved = (struct node **)grow((void *)r->unsaved, &r->unsaved_cap,
                                                 r->unsaved_count + n, sizeof(struct node *));
    if (!unsaved)
        return -ENOMEM;
    r->unsaved = unsaved;
    return LN_OK;
}

static void changed(struct ln_ranks *r, struct node *n, struct change change) {
    change.node = n;
    r->changes[r->change_count++] = change;
    if (!n->unsaved)
        r->unsaved[r->unsaved_count++] = n;
    n->unsaved = true;
}

static void put_in(struct ln_ranks *r, size_t place, struct node *n) {
    struct entry *e = r->entries + place;
    memmove(e + 1, e, (r->count - place) * sizeof *e);
    *e = (struct entry){fragment_of(n->key, n->klen), n};
    n->gone = false;
    r->count++;
    r->sum += n->span;
    r->summed = false;
}

static void take_out(struct ln_ranks *r, size_t place) {
    struct entry *e = r->entries + place;
    struct node *n = e->node;
    memmove(e, e + 1, (r->count - place - 1) * sizeof *e);
    n->gone = true;
    r->count--;
    r->sum -= n->span;
    r->summed = false;
}

int ln_ranks_insert(struct ln_ranks *r, const void *key, size_t klen, uint32_t span) {
    size_t place = find(r, key, klen);
    if (place > 0 && is_at(r, place - 1, key, klen))
        return -EEXIST;
    if (make_room(r, 1) != LN_OK)
        return -ENOMEM;
    struct entry *entries = grow(r->entries, &r->cap, r->count + 1, sizeof *entries);
    if (!entries)
        return -ENOMEM;
    r->entries = entries;
    struct node *n = malloc(sizeof *n + klen);
    if (!n)
        return -ENOMEM;
    *n = (struct node){.span = span, .klen = (uint32_t)klen};
    if (klen)
        memcpy(n->key, key, klen);
    put_in(r, place, n);
    changed(r, n, (struct change){.kind = INSERTED});
    return LN_OK;
}

int ln_ranks_remove(struct ln_ranks *r, const void *key, size_t klen, uint32_t *span) {
    size_t place = find(r, key, klen);
    if (place == 0 || !is_at(r, place - 1, key, klen))
        return -ENOENT;
    if (make_room(r, 1) != LN_OK)
        return -ENOMEM;
    struct node *n = r->entries[place - 1].node;
    take_out(r, place - 1);
    changed(r, n, (struct change){.kind = REMOVED});
    *span = n->span;
    return LN_OK;
}

static bool fits(const struct ln_ranks *r, size_t place, int64_t by) {
    int64_t span = place > 0 ? r->entries[place - 1].node->span + by : 0;
    return span >= 0 && span <= UINT32_MAX;
}

static void add(struct ln_ranks *r, size_t place, int64_t by) {
    if (place == 0)
        return;
    struct node *n = r->entries[place - 1].node;
    n->span = (uint32_t)(n->span + by);
    r->sum += (uint64_t)by;
    if (r->summed)
        r->sums[(place - 1) / BLOCK] += (uint64_t)by;
    changed(r, n, (struct change){.kind = ADDED, .by = by});
}

int ln_ranks_add(struct ln_ranks *r, const void *key, size_t klen, int64_t by) {
    size_t place = find(r, key, klen);
    if (!fits(r, place, by))
        return -ERANGE;
    if (make_room(r, 1) != LN_OK)
        return -ENOMEM;
    add(r, place, by);
    return LN_OK;
}

int ln_ranks_move(struct ln_ranks *r, const void *from, size_t from_len, const void *to,
                  size_t to_len) {
    size_t before = from ? find(r, from, from_len) : 0, after = to ? find(r, to, to_len) : 0;
    if (before == after)
        return LN_OK;
    if (!fits(r, before, -1) || !fits(r, after, 1))
        return -ERANGE;
    if (make_room(r, 2) != LN_OK)
        return -ENOMEM;
    add(r, before, -1);
    add(r, after, 1);
    return LN_OK;
}

/* ---- what can be undone, and what is unsaved */

void ln_ranks_begin(struct ln_ranks *r) {
    r->change_count = 0;
    if (r->change_cap > MOST_KEPT) {
        free(r->changes);
        r->changes = NULL;
        r->change_cap = 0;
    }
}

static void undo(struct ln_ranks *r, const struct change *change) {
    struct node *n = change->node;
    size_t place;
    switch (change->kind) {
    case ADDED:
        n->span = (uint32_t)(n->span - change->by);
        r->sum -= (uint64_t)change->by;
        r->summed = false;
        break;
    case INSERTED:
        take_out(r, find(r, n->key, n->klen) - 1);
        break;
    case REMOVED: /* there is room: it had its place before */
        place = find(r, n->key, n->klen);
        put_in(r, place, n);
        break;
    }
}

void ln_ranks_rollback(struct ln_ranks *r) {
    while (r->change_count > 0)
        undo(r, &r->changes[--r->change_count]);
}

bool ln_ranks_unsaved(const struct ln_ranks *r, size_t i, struct ln_ranks_node *out) {
    if (i >= r->unsaved_count)
        return false;
    const struct node *n = r->unsaved[i];
    tell(n, 0, out);
    if (n->gone)
        out->key = NULL;
    return true;
}

size_t ln_ranks_unsaved_count(const struct ln_ranks *r) {
    return r->unsaved_count;
}

void ln_ranks_saved(struct ln_ranks *r) {
    ln_ranks_begin(r);
    for (size_t i = 0; i < r->unsaved_count; i++) {
        struct node *n = r->unsaved[i];
        n->unsaved = false;
        if (n->gone)
            free(n);
    }
    r->unsaved_count = 0;
}
