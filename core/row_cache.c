#include "row_cache.h"

#include "overlay.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    FIRST_SLOTS = 1024,
    PROBATION = 10, /* a tenth of the memory */
    LARGEST = 64,   /* no row takes more than this part of it */
    DOOR_LEAST = 1 << 16,
    DOOR_BYTES = 32, /* of the limit to one bit of the door: eight to a row of ordinary size */
    RANGES = 32,     /* dropped ranges that are remembered each by itself */
    RANGE_KEY = 256, /* bytes of their ends; longer ones are cut, which drops more */
};

struct entry {
    struct entry *chain; /* of the same slot */
    struct entry *prev, *next;
    uint64_t seq; /* when it was known to be right */
    uint32_t hash, klen, vlen;
    bool absent, again, main; /* again: read since it was last looked at */
    char data[];
};

struct range {
    char from[RANGE_KEY], to[RANGE_KEY];
    size_t from_len, to_len;
    bool has_to;
    uint64_t seq;
};

struct ln_row_cache {
    size_t limit, bytes, probation_bytes, rows;
    struct entry **slots;
    size_t slot_count;            /* a power of two; 0: none yet */
    struct entry probation, main; /* list heads: newest next, oldest prev */
    uint64_t seed, seq, hits, misses;
    uint64_t *door;             /* a bit for each hash that was asked for, or NULL */
    size_t door_bits, door_set; /* a power of two */
    uint64_t dropped;           /* all entries up to this seq are wrong */
    struct range *ranges;       /* a ring of RANGES, or NULL */
    uint64_t range_count;       /* ever */
};

/* ---- lists and the table */

static void unlink_entry(struct entry *e) {
    e->prev->next = e->next;
    e->next->prev = e->prev;
}

static void push(struct entry *head, struct entry *e) {
    e->prev = head;
    e->next = head->next;
    head->next->prev = e;
    head->next = e;
}

static size_t size_of(const struct entry *e) {
    return sizeof *e + 16 + e->klen + e->vlen; /* 16: what malloc takes beside */
}

static uint32_t hash_of(const struct ln_row_cache *c, const void *key, size_t klen) {
    return (uint32_t)XXH3_64bits_withSeed(key, klen, c->seed);
}

static struct entry **find(struct ln_row_cache *c, uint32_t hash, const void *key, size_t klen) {
    struct entry **link = &c->slots[hash & (c->slot_count - 1)];
    for (; *link; link = &(*link)->chain) {
        struct entry *e = *link;
        if (e->hash == hash && e->klen == klen && (klen == 0 || memcmp(e->data, key, klen) == 0))
            break;
    }
    return link;
}

static void remove_entry(struct ln_row_cache *c, struct entry **link) {
    struct entry *e = *link;
    *link = e->chain;
    unlink_entry(e);
    c->bytes -= size_of(e);
    if (!e->main)
        c->probation_bytes -= size_of(e);
    c->rows--;
    free(e);
}

/* Doubles the table where it is full; without memory, its chains grow. */
static void grow(struct ln_row_cache *c) {
    size_t count = c->slot_count ? c->slot_count * 2 : FIRST_SLOTS;
    if (c->rows < c->slot_count)
        return;
    struct entry **slots = calloc(count, sizeof(struct entry *));
    if (!slots)
        return;
    for (size_t i = 0; i < c->slot_count; i++)
        for (struct entry *e = c->slots[i], *next; e; e = next) {
            next = e->chain;
            e->chain = slots[e->hash & (count - 1)];
            slots[e->hash & (count - 1)] = e;
        }
    free(c->slots);
    c->slots = slots;
    c->bytes += (count - c->slot_count) * sizeof(struct entry *);
    c->slot_count = count;
}

/* ---- eviction */

static void evict_one(struct ln_row_cache *c) {
    bool from_probation = c->main.prev == &c->main || (c->probation.prev != &c->probation &&
                                                       c->probation_bytes > c->limit / PROBATION);
    struct entry *e = from_probation ? c->probation.prev : c->main.prev;
    if (e->again && e->seq > c->dropped) {
        unlink_entry(e);
        if (!e->main)
            c->probation_bytes -= size_of(e);
        e->again = false;
        e->main = true;
        push(&c->main, e);
        return;
    }
    remove_entry(c, find(c, e->hash, e->data, e->klen));
}

/* ---- dropped ranges */

static bool covers(const struct range *r, const struct entry *e) {
    return ln_key_compare(r->from, r->from_len, e->data, e->klen) <= 0 &&
           (!r->has_to || ln_key_compare(e->data, e->klen, r->to, r->to_len) < 0);
}

/* Whether no range that was dropped since covers it; looked up once for each entry and range. */
static bool is_right(struct ln_row_cache *c, struct entry *e) {
    if (e->seq <= c->dropped)
        return false;
    for (uint64_t i = c->range_count; e->seq < c->seq && i > 0 && c->range_count - i < RANGES;
         i--) {
        const struct range *r = &c->ranges[(i - 1) % RANGES];
        if (r->seq <= e->seq)
            break;
        if (covers(r, e))
            return false;
    }
    e->seq = c->seq;
    return true;
}

/* The end that was cut must not exclude what the whole one did not. */
static void set_end(struct range *r, const void *to, size_t to_len) {
    r->has_to = to && to_len <= RANGE_KEY;
    r->to_len = r->has_to ? to_len : 0;
    if (r->to_len)
        memcpy(r->to, to, to_len);
}

void ln_row_cache_drop_range(struct ln_row_cache *c, const void *from, size_t from_len,
                             const void *to, size_t to_len) {
    if (c->rows == 0)
        return;
    if (!c->ranges)
        c->ranges = calloc(RANGES, sizeof *c->ranges);
    c->seq++;
    if (!c->ranges) {
        c->dropped = c->seq - 1;
        return;
    }
    struct range *r = &c->ranges[c->range_count++ % RANGES];
    if (r->seq > 0)
        c->dropped = r->seq - 1; /* what has not been looked at since is not worth to be kept */
    r->seq = c->seq;
    r->from_len = from_len < RANGE_KEY ? from_len : RANGE_KEY;
    if (r->from_len)
        memcpy(r->from, from, r->from_len);
    set_end(r, to, to_len);
}

/* ---- calls */

struct ln_row_cache *ln_row_cache_new(size_t bytes) {
    struct ln_row_cache *c = calloc(1, sizeof *c);
    struct timespec now;
    if (!c)
        return NULL;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    c->limit = bytes;
    c->seq = 1;
    c->seed = (uint64_t)(uintptr_t)c ^ (uint64_t)now.tv_nsec << 32; /* nobody can aim at one slot */
    c->probation.prev = c->probation.next = &c->probation;
    c->main.prev = c->main.next = &c->main;
    return c;
}

void ln_row_cache_free(struct ln_row_cache *c) {
    if (!c)
        return;
    struct entry *heads[] = {&c->probation, &c->main};
    for (size_t i = 0; i < 2; i++)
        for (struct entry *e = heads[i]->next, *next; e != heads[i]; e = next) {
            next = e->next;
            free(e);
        }
    free(c->slots);
    free(c->ranges);
    free(c->door);
    free(c);
}

bool ln_row_cache_get(struct ln_row_cache *c, const void *key, size_t klen, struct ln_cached *out) {
    struct entry **link = NULL;
    if (c->rows > 0) {
        link = find(c, hash_of(c, key, klen), key, klen);
        if (*link && !is_right(c, *link)) {
            remove_entry(c, link);
            link = NULL;
        }
    }
    if (!link || !*link) {
        c->misses++;
        return false;
    }
    struct entry *e = *link;
    c->hits++;
    e->again = true;
    *out = (struct ln_cached){e->data + e->klen, e->vlen, e->absent};
    return true;
}

bool ln_row_cache_wants(struct ln_row_cache *c, const void *key, size_t klen) {
    if (c->limit == 0)
        return false;
    if (!c->door) {
        size_t bits = DOOR_LEAST;
        while (bits < c->limit / DOOR_BYTES)
            bits *= 2;
        c->door = calloc(bits / 64, sizeof *c->door);
        if (!c->door)
            return false;
        c->door_bits = bits;
        c->bytes += bits / 8;
    }
    uint32_t hash = hash_of(c, key, klen);
    uint64_t *word = &c->door[(hash & (c->door_bits - 1)) / 64], bit = (uint64_t)1 << hash % 64;
    if (*word & bit)
        return true;
    *word |= bit;
    if (++c->door_set > c->door_bits / 8) { /* not long ago is over */
        memset(c->door, 0, c->door_bits / 8);
        c->door_set = 0;
    }
    return false;
}

void ln_row_cache_add(struct ln_row_cache *c, const void *key, size_t klen, const void *value,
                      size_t vlen) {
    size_t size = sizeof(struct entry) + 16 + klen + vlen;
    if (size > c->limit / LARGEST)
        return;
    grow(c);
    while (c->rows > 0 && c->bytes + size > c->limit)
        evict_one(c);
    struct entry *e =
        c->slot_count && c->bytes + size <= c->limit ? malloc(sizeof *e + klen + vlen) : NULL;
    if (!e)
        return;
    *e = (struct entry){.seq = c->seq,
                        .hash = hash_of(c, key, klen),
                        .klen = (uint32_t)klen,
                        .vlen = (uint32_t)vlen,
                        .absent = value == NULL};
    if (klen)
        memcpy(e->data, key, klen);
    if (value && vlen)
        memcpy(e->data + klen, value, vlen);
    struct entry **slot = &c->slots[e->hash & (c->slot_count - 1)];
    e->chain = *slot;
    *slot = e;
    push(&c->probation, e);
    c->bytes += size;
    c->probation_bytes += size;
    c->rows++;
}

void ln_row_cache_drop(struct ln_row_cache *c, const void *key, size_t klen) {
    if (c->rows == 0)
        return;
    struct entry **link = find(c, hash_of(c, key, klen), key, klen);
    if (*link)
        remove_entry(c, link);
}

void ln_row_cache_stats(const struct ln_row_cache *c, struct ln_row_cache_stats *out) {
    *out = (struct ln_row_cache_stats){c->hits, c->misses, c->rows, c->bytes};
}
