/* The deleted ranges of an overlay: an array in order, in which no two overlap. A new range is the
 * latest write, so it replaces what it covers and cuts off what reaches into it. */
#include "overlay.h"

#include "overlay_impl.h"
#include "status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int ln_key_compare(const void *a, size_t alen, const void *b, size_t blen) {
    size_t common = alen < blen ? alen : blen;
    int order = common ? memcmp(a, b, common) : 0;
    return order ? order : (alen > blen) - (alen < blen);
}

static bool ends_before(const struct ln_range *r, const void *key, size_t klen) {
    return r->to && ln_key_compare(r->to, r->to_len, key, klen) <= 0;
}

/* The first range that does not end at or before key. */
static size_t find(const struct ln_overlay *o, const void *key, size_t klen) {
    size_t low = 0, high = o->range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ends_before(&o->ranges[middle], key, klen))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct ln_range *covering(const struct ln_overlay *o, const void *key, size_t klen) {
    size_t i = o->range_count ? find(o, key, klen) : 0;
    struct ln_range *r = i < o->range_count ? &o->ranges[i] : NULL;
    return r && ln_key_compare(r->from, r->from_len, key, klen) <= 0 ? r : NULL;
}

const struct ln_range *ln_overlay_covering(const struct ln_overlay *o, const void *key,
                                           size_t klen) {
    return covering(o, key, klen);
}

const struct ln_range *ln_overlay_range_from(const struct ln_overlay *o, const void *key,
                                             size_t klen) {
    size_t i = o->range_count ? find(o, key, klen) : 0;
    return i < o->range_count ? &o->ranges[i] : NULL;
}

void ln_overlay_ranges_written(struct ln_overlay *o, const void *key, size_t klen) {
    struct ln_range *r = covering(o, key, klen);
    if (r)
        r->written = true;
}

/* ---- changes */

static int reserve(struct ln_range **ranges, size_t *cap, size_t need) {
    if (need <= *cap)
        return LN_OK;
    struct ln_range *more = reallocarray(*ranges, need * 2, sizeof *more);
    if (!more)
        return -ENOMEM;
    *ranges = more;
    *cap = need * 2;
    return LN_OK;
}

/* The first change since the mark keeps the ranges as they were, for rollback. Their keys lie in
 * the arena, below the mark. */
static int save(struct ln_overlay *o) {
    if (o->ranges_saved)
        return LN_OK;
    if (reserve(&o->saved_ranges, &o->saved_cap, o->range_count) != LN_OK)
        return -ENOMEM;
    if (o->range_count)
        memcpy(o->saved_ranges, o->ranges, o->range_count * sizeof *o->ranges);
    o->saved_count = o->range_count;
    o->ranges_saved = true;
    return LN_OK;
}

void ln_overlay_ranges_restore(struct ln_overlay *o) {
    if (!o->ranges_saved)
        return;
    o->range_count = o->saved_count; /* there is room: it had them before */
    if (o->saved_count)
        memcpy(o->ranges, o->saved_ranges, o->saved_count * sizeof *o->ranges);
}

static const char *copy(struct ln_overlay *o, const void *key, size_t klen) {
    char *to = ln_overlay_alloc(o, klen + 1);
    if (to && klen)
        memcpy(to, key, klen);
    return to;
}

static void insert(struct ln_overlay *o, const struct ln_range *range) {
    struct ln_range pieces[3];
    size_t count = 0, first = find(o, range->from, range->from_len), end = first;
    while (end < o->range_count &&
           (!range->to || ln_key_compare(o->ranges[end].from, o->ranges[end].from_len, range->to,
                                         range->to_len) < 0))
        end++;
    if (first < end) {
        struct ln_range left = o->ranges[first];
        left.to = range->from;
        left.to_len = range->from_len;
        if (ln_key_compare(left.from, left.from_len, left.to, left.to_len) < 0)
            pieces[count++] = left;
    }
    pieces[count++] = *range;
    if (first < end && range->to && !ends_before(&o->ranges[end - 1], range->to, range->to_len)) {
        pieces[count] = o->ranges[end - 1];
        pieces[count].from = range->to;
        pieces[count++].from_len = range->to_len;
    }
    memmove(o->ranges + first + count, o->ranges + end, (o->range_count - end) * sizeof *o->ranges);
    memcpy(o->ranges + first, pieces, count * sizeof *pieces);
    o->range_count += count - (end - first);
}

/* A range between those that are there. */
static int insert_gap(struct ln_overlay *o, const struct ln_range *gap) {
    struct ln_range range = *gap;
    if (reserve(&o->ranges, &o->range_cap, o->range_count + 2) != LN_OK)
        return -ENOMEM;
    range.from = copy(o, gap->from, gap->from_len);
    range.to = gap->to ? copy(o, gap->to, gap->to_len) : NULL;
    if (!range.from || (gap->to && !range.to))
        return -ENOMEM;
    insert(o, &range);
    return LN_OK;
}

int ln_overlay_delete_range_below(struct ln_overlay *o, const struct ln_range *range) {
    struct ln_range rest = *range;
    rest.seq = 0; /* writes begin with 1 */
    rest.written = true;
    if (save(o) != LN_OK)
        return -ENOMEM;
    o->version++;
    for (;;) {
        if (rest.to && ln_key_compare(rest.from, rest.from_len, rest.to, rest.to_len) >= 0)
            return LN_OK;
        size_t i = find(o, rest.from, rest.from_len);
        struct ln_range gap = rest;
        const struct ln_range *r = i < o->range_count ? &o->ranges[i] : NULL;
        if (r && rest.to && ln_key_compare(r->from, r->from_len, rest.to, rest.to_len) >= 0)
            r = NULL;
        if (r) {
            gap.to = r->from;
            gap.to_len = r->from_len;
        }
        const struct ln_range next = r ? *r : rest;
        if (!gap.to || ln_key_compare(gap.from, gap.from_len, gap.to, gap.to_len) < 0)
            if (insert_gap(o, &gap) != LN_OK)
                return -ENOMEM;
        if (!r || !next.to)
            return LN_OK;
        rest.from = next.to;
        rest.from_len = next.to_len;
    }
}

int ln_overlay_delete_range(struct ln_overlay *o, const void *from, size_t from_len, const void *to,
                            size_t to_len) {
    if (to && ln_key_compare(from, from_len, to, to_len) >= 0)
        return LN_OK;
    struct ln_range range = {.from_len = from_len, .to_len = to ? to_len : 0};
    if (reserve(&o->ranges, &o->range_cap, o->range_count + 2) != LN_OK || save(o) != LN_OK)
        return -ENOMEM;
    range.from = copy(o, from, from_len);
    range.to = to ? copy(o, to, to_len) : NULL;
    if (!range.from || (to && !range.to))
        return -ENOMEM;
    range.seq = o->range_seq = ++o->seq;
    insert(o, &range);
    o->version++;
    return LN_OK;
}
