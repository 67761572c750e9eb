/* A segment is one piece of memory, its rows behind each other: to walk over some dozens costs
 * less than what points at them would. */
#include "nearby.h"

#include "overlay.h"
#include "status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEGMENT = 32, /* members, at most on the average, as segments are cut */
    JOINED = 8,   /* segments that become one, where the members are so many times fewer */
    JOINED_BITS = 3,
    GROWN = 4, /* times as many members: then all is to be cut anew */
    HASH_BITS = 32,
};

struct row {
    uint32_t hash, len; /* the member follows */
};

struct segment {
    char *rows; /* NULL: not read */
    size_t len, cap;
};

struct ln_nearby {
    struct segment *segments;
    unsigned bits;       /* of a hash, that are the number of its segment */
    size_t count, bytes; /* count: of the set's members, as the segments were cut */
};

static size_t segment_count(const struct ln_nearby *n) {
    return (size_t)1 << n->bits;
}

size_t ln_nearby_segments(const struct ln_nearby *n) {
    return segment_count(n);
}

static struct segment *segment_of(const struct ln_nearby *n, uint32_t hash) {
    return &n->segments[(uint64_t)hash >> (HASH_BITS - n->bits)];
}

struct ln_nearby *ln_nearby_new(size_t count) {
    struct ln_nearby *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->count = count;
    while (n->bits < HASH_BITS - 1 && count >> n->bits > SEGMENT)
        n->bits++;
    n->bytes = sizeof *n + segment_count(n) * sizeof *n->segments;
    n->segments = calloc(segment_count(n), sizeof *n->segments);
    if (!n->segments) {
        free(n);
        return NULL;
    }
    return n;
}

void ln_nearby_free(struct ln_nearby *n) {
    for (size_t i = 0; i < segment_count(n); i++)
        free(n->segments[i].rows);
    free(n->segments);
    free(n);
}

size_t ln_nearby_bytes(const struct ln_nearby *n) {
    return n->bytes;
}

void ln_nearby_range(const struct ln_nearby *n, size_t segment, uint32_t *from, uint32_t *past) {
    unsigned shift = HASH_BITS - n->bits;
    *from = (uint32_t)((uint64_t)segment << shift);
    *past = (uint32_t)((uint64_t)(segment + 1) << shift);
}

/* ---- rows */

static struct row row_at(const struct segment *s, size_t at) {
    struct row row;
    memcpy(&row, s->rows + at, sizeof row);
    return row;
}

static struct ln_nearby_row tell(const struct segment *s, size_t at) {
    struct row row = row_at(s, at);
    return (struct ln_nearby_row){s->rows + at + sizeof row, row.len, row.hash};
}

static size_t past_row(const struct segment *s, size_t at) {
    return at + sizeof(struct row) + row_at(s, at).len;
}

/* Where the first row lies that is not before a hash and a member; at the end: s->len. */
static size_t seek(const struct segment *s, uint32_t hash, const void *member, size_t len) {
    size_t at = 0;
    for (; at < s->len; at = past_row(s, at)) {
        struct row row = row_at(s, at);
        if (row.hash > hash || (row.hash == hash && ln_key_compare(s->rows + at + sizeof row,
                                                                   row.len, member, len) >= 0))
            break;
    }
    return at;
}

/* To walk over it takes one step after the other; its bytes may come at the same time. */
static void fetch(const struct segment *s) {
    enum { LINE = 64 };
    for (size_t i = 0; i < s->len; i += LINE)
        __builtin_prefetch(s->rows + i);
}

int ln_nearby_find(const struct ln_nearby *n, uint32_t hash, size_t offset, size_t *segment,
                   struct ln_nearby_row *out) {
    struct segment *first = segment_of(n, hash), *end = n->segments + segment_count(n);
    for (struct segment *s = first; s < end; s++) {
        *segment = (size_t)(s - n->segments);
        if (!s->rows)
            return -EAGAIN;
        fetch(s);
        size_t at = s == first ? seek(s, hash, "", 0) : 0;
        for (; at < s->len && offset > 0; at = past_row(s, at))
            offset--;
        if (at < s->len) {
            *out = tell(s, at);
            return LN_OK;
        }
    }
    return -ENOENT;
}

int ln_nearby_next(const struct ln_nearby *n, struct ln_nearby_cursor *cursor,
                   struct ln_nearby_row *out) {
    for (; cursor->segment < segment_count(n); cursor->segment++, cursor->at = 0) {
        const struct segment *s = &n->segments[cursor->segment];
        if (!s->rows)
            return -EAGAIN;
        if (cursor->at < s->len) {
            *out = tell(s, cursor->at);
            cursor->at = past_row(s, cursor->at);
            return LN_OK;
        }
    }
    return LN_EOF;
}

/* ---- changes */

static void forget(struct ln_nearby *n, struct segment *s) {
    n->bytes -= s->cap;
    free(s->rows);
    *s = (struct segment){0};
}

static int reserve(struct ln_nearby *n, struct segment *s, size_t need) {
    if (s->rows && need <= s->cap)
        return LN_OK;
    size_t cap = need + need / 4 + 16;
    char *rows = realloc(s->rows, cap);
    if (!rows)
        return -ENOMEM;
    n->bytes += cap - s->cap;
    s->rows = rows;
    s->cap = cap;
    return LN_OK;
}

int ln_nearby_read(struct ln_nearby *n, size_t segment) {
    struct segment *s = &n->segments[segment];
    s->len = 0;
    return reserve(n, s, 0);
}

int ln_nearby_add(struct ln_nearby *n, uint32_t hash, const void *member, size_t len) {
    struct segment *s = segment_of(n, hash);
    struct row row = {hash, (uint32_t)len};
    if (!s->rows)
        return LN_OK;
    if (reserve(n, s, s->len + sizeof row + len) != LN_OK) {
        forget(n, s);
        return -ENOMEM;
    }
    size_t at = seek(s, hash, member, len);
    char *to = s->rows + at;
    memmove(to + sizeof row + len, to, s->len - at);
    memcpy(to, &row, sizeof row);
    if (len)
        memcpy(to + sizeof row, member, len);
    s->len += sizeof row + len;
    return LN_OK;
}

void ln_nearby_remove(struct ln_nearby *n, uint32_t hash, const void *member, size_t len) {
    struct segment *s = segment_of(n, hash);
    if (!s->rows)
        return;
    size_t at = seek(s, hash, member, len);
    if (at == s->len)
        return;
    struct row row = row_at(s, at);
    if (row.hash != hash || row.len != len || memcmp(s->rows + at + sizeof row, member, len) != 0)
        return;
    size_t past = past_row(s, at);
    memmove(s->rows + at, s->rows + past, s->len - past);
    s->len -= past - at;
}

/* ---- fewer segments */

/* Into the first of them; where one was not read, or memory lacks, none of them is. */
static struct segment join(struct ln_nearby *n, struct segment *first) {
    bool whole = first->rows != NULL;
    for (size_t i = 1; i < JOINED; i++) {
        struct segment *s = &first[i];
        whole = whole && s->rows && reserve(n, first, first->len + s->len) == LN_OK;
        if (whole && s->len) {
            memcpy(first->rows + first->len, s->rows, s->len);
            first->len += s->len;
        }
        forget(n, s);
    }
    if (!whole)
        forget(n, first);
    struct segment joined = *first;
    *first = (struct segment){0};
    return joined;
}

bool ln_nearby_fit(struct ln_nearby *n, size_t count) {
    if (count / GROWN > n->count)
        return false;
    while (n->bits >= JOINED_BITS && count < n->count / JOINED) {
        size_t few = segment_count(n) / JOINED;
        for (size_t i = 0; i < few; i++)
            n->segments[i] = join(n, &n->segments[i * JOINED]);
        n->bits -= JOINED_BITS;
        n->count /= JOINED;
    }
    return true;
}
