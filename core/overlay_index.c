/* The rows of an overlay in their order: a B+-tree over its nodes. Pages are wide, so there are few
 * levels, and a search in a page compares integers that lie side by side: a node itself is only
 * looked at where two of them are equal.
 *
 *   page   = prefix entry*           in their order
 *   entry  = part to                 to: a node, or in pages of a level above 0 a page
 *   prefix                           bytes that all keys in the page begin with
 *   part   = u64                     the next eight bytes of the key, big-endian, zero-padded
 *
 * The part and the prefix of an entry for a page are of a key that parts what lies below it from
 * what lies before: the least one when the entry was made. They stay when rows come and go: what
 * has an equal part is compared with the key that is the least now. The first entry of such a page
 * is never compared.
 *
 * A full page is halved, or, where it was filled in order, cut where it was being filled: rows that
 * come in ascending or descending order leave full pages behind. A page leaves when it is empty. */
#include "overlay_impl.h"

#include "status.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

enum {
    IN_ORDER = 8, /* so many rows in a row beside each other are no chance */
    SPARES = 4,   /* kept when pages leave */
};

static uint64_t part_of(const char *key, size_t klen, size_t from) {
    uint64_t part = 0;
    if (klen >= from + sizeof part)
        memcpy(&part, key + from, sizeof part);
    else if (klen > from)
        memcpy(&part, key + from, klen - from);
    return be64toh(part);
}

static size_t shared_bytes(const char *a, size_t alen, const char *b, size_t blen) {
    size_t n = alen < blen ? alen : blen, i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

static unsigned first_part(const struct ln_overlay_page *p) {
    return p->level > 0;
}

/* The first node at or below an entry. */
static const struct ln_overlay_node *least(const struct ln_overlay_page *p, unsigned at) {
    for (; p->level > 0; at = 0)
        p = p->to[at];
    return p->to[at];
}

/* ---- pages */

static struct ln_overlay_page *take_page(struct ln_overlay *o, unsigned level) {
    struct ln_overlay_page *p = o->index.spare;
    assert(p);
    o->index.spare = p->next;
    o->index.spares--;
    p->level = (uint8_t)level;
    p->count = p->shared = p->last = p->run = p->asked = 0;
    p->packed = false;
    p->next = p->prev = NULL;
    return p;
}

static void add_spare(struct ln_overlay *o, struct ln_overlay_page *p) {
    p->next = o->index.spare;
    o->index.spare = p;
    o->index.spares++;
}

static int reserve_pages(struct ln_overlay *o, unsigned count) {
    while (o->index.spares < count) {
        struct ln_overlay_page *p = calloc(1, sizeof *p);
        if (!p)
            return -ENOMEM;
        o->memory += sizeof *p;
        add_spare(o, p);
    }
    return LN_OK;
}

static void free_page(struct ln_overlay *o, struct ln_overlay_page *p) {
    ln_overlay_page_touch(o, p);
    o->memory -= sizeof *p;
    free(p);
}

static void release_page(struct ln_overlay *o, struct ln_overlay_page *p) {
    ln_overlay_page_touch(o, p);
    if (o->index.spares < SPARES)
        add_spare(o, p);
    else
        free_page(o, p);
}

/* The last page of the lowest level, or one above it that is empty by now. */
static struct ln_overlay_page *cut_last_page(struct ln_overlay *o) {
    struct ln_overlay_page *above = NULL, *p = o->index.root;
    while (p->level > 0 && p->count > 0) {
        above = p;
        p = p->to[p->count - 1];
    }
    if (above)
        above->count--;
    else
        o->index.root = NULL;
    return p;
}

void ln_overlay_index_clear(struct ln_overlay *o) {
    while (o->index.root)
        release_page(o, cut_last_page(o));
}

bool ln_overlay_index_reap(struct ln_overlay *o, size_t memory) {
    while (o->index.root && o->memory > memory)
        free_page(o, cut_last_page(o));
    if (o->index.root)
        return false;
    for (struct ln_overlay_page *p = o->index.spare, *next; p; p = next) {
        next = p->next;
        free_page(o, p);
    }
    o->index = (struct ln_overlay_index){0};
    return true;
}

/* ---- search */

/* Where in the entries from low to end, whose parts equal the key's, those below the key end; with
 * past, those up to it. */
static unsigned find_among_equals(const struct ln_overlay_page *p, unsigned low, unsigned end,
                                  const char *key, size_t klen, bool past) {
    while (low < end) {
        unsigned middle = low + (end - low) / 2;
        const struct ln_overlay_node *n = least(p, middle);
        int order = ln_key_compare(n->key, n->klen, key, klen);
        if (order < 0 || (past && order == 0))
            low = middle + 1;
        else
            end = middle;
    }
    return low;
}

/* How many entries lie below the key; with past, or at it. */
static unsigned find(const struct ln_overlay_page *p, const char *key, size_t klen, bool past) {
    unsigned low = first_part(p), count = p->count - low;
    size_t common = klen < p->shared ? klen : p->shared;
    int order = common ? memcmp(key, p->prefix, common) : 0;
    if (order > 0)
        return p->count;
    if (order < 0 || klen < p->shared || count == 0)
        return low;
    uint64_t part = part_of(key, klen, p->shared);
    const uint64_t *at = p->parts + low;
    for (; count > 1; count -= count / 2) /* without branches that cannot be foreseen */
        at += at[count / 2 - 1] < part ? count / 2 : 0;
    at += *at < part;
    low = (unsigned)(at - p->parts);
    unsigned end = low;
    while (end < p->count && p->parts[end] == part)
        end++;
    return low == end ? low : find_among_equals(p, low, end, key, klen, past);
}

static void fetch(const struct ln_overlay_page *p) {
    enum { LINE = 64 };
    for (size_t i = 0; i < offsetof(struct ln_overlay_page, to); i += LINE)
        __builtin_prefetch((const char *)p + i);
}

/* To the first row that is not below key: path[0] is its place, or the end of the page before.
 * REQUIRES: there are rows. */
static void descend(const struct ln_overlay *o, const char *key, size_t klen,
                    struct ln_overlay_path *path) {
    struct ln_overlay_page *p = o->index.root;
    while (p->level > 0) {
        unsigned at = find(p, key, klen, true) - 1;
        path->steps[p->level].page = p;
        path->steps[p->level].at = at;
        p = p->to[at];
        fetch(p);
    }
    path->steps[0].page = p;
    path->steps[0].at = find(p, key, klen, false);
}

/* ---- cursors */

const struct ln_overlay_node *ln_overlay_at(const struct ln_overlay_cursor *c) {
    return c->page ? c->page->to[c->at] : NULL;
}

struct ln_overlay_cursor ln_overlay_seek(const struct ln_overlay *o, const void *key, size_t klen) {
    struct ln_overlay_path path;
    if (!o->index.root)
        return (struct ln_overlay_cursor){0};
    descend(o, key, klen, &path);
    struct ln_overlay_cursor c = path.steps[0];
    return c.at < c.page->count ? c : (struct ln_overlay_cursor){.page = c.page->next};
}

struct ln_overlay_cursor ln_overlay_first(const struct ln_overlay *o) {
    struct ln_overlay_page *p = o->index.root;
    while (p && p->level > 0)
        p = p->to[0];
    return (struct ln_overlay_cursor){.page = p};
}

static struct ln_overlay_cursor end_of(struct ln_overlay_page *p) {
    return (struct ln_overlay_cursor){.page = p, .at = p ? p->count - 1u : 0};
}

struct ln_overlay_cursor ln_overlay_seek_before(const struct ln_overlay *o, const void *key,
                                                size_t klen) {
    struct ln_overlay_path path;
    if (!o->index.root)
        return (struct ln_overlay_cursor){0};
    descend(o, key, klen, &path);
    struct ln_overlay_cursor c = path.steps[0];
    if (c.at == 0)
        return end_of(c.page->prev);
    c.at--;
    return c;
}

struct ln_overlay_cursor ln_overlay_last(const struct ln_overlay *o) {
    struct ln_overlay_page *p = o->index.root;
    while (p && p->level > 0)
        p = p->to[p->count - 1];
    return end_of(p);
}

/* The nodes that come next lie anywhere in memory. */
enum { AHEAD = 4 };

void ln_overlay_next(struct ln_overlay_cursor *c) {
    if (!c->page)
        return;
    if (++c->at == c->page->count)
        *c = (struct ln_overlay_cursor){.page = c->page->next};
    else if (c->at + AHEAD < c->page->count)
        __builtin_prefetch(c->page->to[c->at + AHEAD]);
}

void ln_overlay_prev(struct ln_overlay_cursor *c) {
    if (!c->page)
        return;
    if (c->at-- == 0)
        *c = end_of(c->page->prev);
    else if (c->at >= AHEAD)
        __builtin_prefetch(c->page->to[c->at - AHEAD]);
}

/* ---- runs */

struct ln_overlay_run ln_overlay_run(const struct ln_overlay_cursor *c, const void *key,
                                     size_t klen) {
    struct ln_overlay_run run = {.page = c->page, .at = c->at, .end = c->page->count};
    if (key)
        run.end = find(c->page, key, klen, false);
    if (run.end < run.at)
        run.end = run.at;
    return run;
}

struct ln_overlay_run ln_overlay_run_back(const struct ln_overlay_cursor *c, const void *key,
                                          size_t klen) {
    struct ln_overlay_run run = {.page = c->page, .end = c->at + 1, .reverse = true};
    run.at = find(c->page, key, klen, false);
    if (run.at > run.end)
        run.at = run.end;
    return run;
}

struct ln_overlay_row ln_overlay_run_row(const struct ln_overlay *o,
                                         const struct ln_overlay_run *run, unsigned i) {
    unsigned at = run->reverse ? run->end - 1 - i : run->at + i;
    unsigned ahead = run->reverse ? at - AHEAD : at + AHEAD;
    if (ahead < run->page->count)
        __builtin_prefetch(run->page->to[ahead]);
    return ln_overlay_row(o, run->page->to[at]);
}

struct ln_overlay_cursor ln_overlay_run_past(const struct ln_overlay_run *run) {
    struct ln_overlay_cursor c = {run->page, run->reverse ? run->at : run->end - 1};
    if (run->reverse)
        ln_overlay_prev(&c);
    else
        ln_overlay_next(&c);
    return c;
}

/* ---- changes of a page */

/* The prefix loses its end: its bytes move into the parts. */
static void widen(struct ln_overlay_page *p, size_t shared) {
    size_t by = p->shared - shared;
    uint64_t head = part_of(p->prefix, p->shared, shared);
    for (unsigned i = 0; i < p->count; i++)
        p->parts[i] = by < sizeof head ? head | p->parts[i] >> 8 * by : head;
    p->shared = (uint8_t)shared;
}

/* Where many parts are equal and the keys allow it, the prefix grows. */
static void narrow(struct ln_overlay_page *p) {
    unsigned first = first_part(p), equal = 0;
    for (unsigned i = first + 1; i < p->count; i++)
        equal += p->parts[i] == p->parts[i - 1];
    if (equal == 0 || equal < p->count / 4u)
        return;
    const struct ln_overlay_node *low = least(p, first), *high = least(p, p->count - 1u);
    size_t shared = shared_bytes(low->key, low->klen, high->key, high->klen);
    if (shared > sizeof p->prefix)
        shared = sizeof p->prefix;
    if (shared <= p->shared)
        return;
    p->shared = (uint8_t)shared;
    memcpy(p->prefix, low->key, shared);
    for (unsigned i = first; i < p->count; i++) {
        const struct ln_overlay_node *n = least(p, i);
        p->parts[i] = part_of(n->key, n->klen, shared);
    }
}

/* REQUIRES: the page is not full. */
static void page_add(struct ln_overlay_page *p, unsigned at, const struct ln_overlay_node *n,
                     void *to) {
    if (p->count <= first_part(p)) { /* nothing in it is compared yet */
        p->shared = (uint8_t)(n->klen < sizeof p->prefix ? n->klen : sizeof p->prefix);
        memcpy(p->prefix, n->key, p->shared);
    }
    size_t shared = shared_bytes(n->key, n->klen, p->prefix, p->shared);
    if (shared < p->shared)
        widen(p, shared);
    memmove(p->parts + at + 1, p->parts + at, (p->count - at) * sizeof *p->parts);
    memmove(p->to + at + 1, p->to + at, (p->count - at) * sizeof *p->to);
    p->parts[at] = part_of(n->key, n->klen, p->shared);
    p->to[at] = to;
    p->count++;
    p->run = at == p->last || at == p->last + 1u ? (uint8_t)(p->run + (p->run < IN_ORDER)) : 0;
    p->last = (uint8_t)at;
}

static void page_remove(struct ln_overlay_page *p, unsigned at) {
    p->count--;
    memmove(p->parts + at, p->parts + at + 1, (p->count - at) * sizeof *p->parts);
    memmove(p->to + at, p->to + at + 1, (p->count - at) * sizeof *p->to);
    p->last = (uint8_t)(p->last - (at < p->last));
}

/* Moves the entries from `at` on to a page behind this one. */
static struct ln_overlay_page *page_cut(struct ln_overlay *o, struct ln_overlay_page *p,
                                        unsigned at) {
    struct ln_overlay_page *right = take_page(o, p->level);
    unsigned moved = p->count - at;
    memcpy(right->parts, p->parts + at, moved * sizeof *p->parts);
    memcpy(right->to, p->to + at, moved * sizeof *p->to);
    memcpy(right->prefix, p->prefix, sizeof p->prefix);
    right->shared = p->shared;
    right->count = (uint8_t)moved;
    p->count = (uint8_t)at;
    p->run = 0;
    if (p->level == 0) {
        right->prev = p;
        right->next = p->next;
        if (p->next)
            p->next->prev = right;
        p->next = right;
    }
    narrow(p);
    narrow(right);
    return right;
}

/* Adds to a full page. Returns the page that it takes for it, which belongs behind this one. */
static struct ln_overlay_page *page_split(struct ln_overlay *o, struct ln_overlay_page *p,
                                          unsigned at, const struct ln_overlay_node *n, void *to) {
    unsigned cut = p->run >= IN_ORDER ? at : p->count / 2u;
    struct ln_overlay_page *right = page_cut(o, p, cut);
    if (at < cut || (at == cut && right->count > 0))
        page_add(p, at, n, to);
    else
        page_add(right, at - cut, n, to);
    return right;
}

/* ---- rows come and go */

int ln_overlay_index_reserve(struct ln_overlay *o, const char *key, size_t klen,
                             struct ln_overlay_path *path) {
    if (!o->index.root)
        return reserve_pages(o, 1);
    descend(o, key, klen, path);
    unsigned levels = o->index.root->level + 1u, full = 0;
    while (full < levels && path->steps[full].page->count == LN_OVERLAY_WIDTH)
        full++;
    if (full == LN_OVERLAY_LEVELS)
        return -ENOMEM; /* of which there is not enough in the world */
    return full == 0 ? LN_OK : reserve_pages(o, full + (full == levels));
}

static void grow(struct ln_overlay *o, struct ln_overlay_page *right) {
    struct ln_overlay_page *left = o->index.root, *root = take_page(o, left->level + 1u);
    page_add(root, 0, least(left, 0), left);
    page_add(root, 1, least(right, 0), right);
    o->index.root = root;
}

void ln_overlay_index_add(struct ln_overlay *o, struct ln_overlay_node *node,
                          const struct ln_overlay_path *path) {
    if (!o->index.root) {
        o->index.root = take_page(o, 0);
        page_add(o->index.root, 0, node, node);
        return;
    }
    void *to = node;
    const struct ln_overlay_node *key = node;
    ln_overlay_page_touch(o, path->steps[0].page);
    for (unsigned level = 0; level <= o->index.root->level; level++) {
        struct ln_overlay_page *p = path->steps[level].page;
        unsigned at = path->steps[level].at + (level > 0); /* behind the page that was cut */
        if (p->count < LN_OVERLAY_WIDTH) {
            page_add(p, at, key, to);
            return;
        }
        struct ln_overlay_page *right = page_split(o, p, at, key, to);
        key = least(right, 0);
        to = right;
    }
    grow(o, to);
}

void ln_overlay_index_touch(struct ln_overlay *o, const struct ln_overlay_node *node) {
    struct ln_overlay_path path;
    descend(o, node->key, node->klen, &path);
    ln_overlay_page_touch(o, path.steps[0].page);
}

static void unchain(struct ln_overlay_page *p) {
    if (p->prev)
        p->prev->next = p->next;
    if (p->next)
        p->next->prev = p->prev;
}

void ln_overlay_index_remove(struct ln_overlay *o, const struct ln_overlay_node *node) {
    struct ln_overlay_path path;
    struct ln_overlay_index *x = &o->index;
    descend(o, node->key, node->klen, &path);
    assert(path.steps[0].page->to[path.steps[0].at] == node);
    unsigned top = x->root->level;
    ln_overlay_page_touch(o, path.steps[0].page);
    for (unsigned level = 0; level <= top; level++) {
        struct ln_overlay_page *p = path.steps[level].page;
        page_remove(p, path.steps[level].at);
        if (p->count > 0)
            break;
        if (level == 0)
            unchain(p);
        if (p == x->root)
            x->root = NULL;
        release_page(o, p);
    }
    while (x->root && x->root->level > 0 && x->root->count == 1) {
        struct ln_overlay_page *only = x->root->to[0];
        release_page(o, x->root);
        x->root = only;
    }
}
