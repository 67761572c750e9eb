#include "scored.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NODE_MASK = 0xFF, SPAN_BYTES = 4 };

/* ---- scores */

/* The bits of a double, those of a negative one inverted, the sign of the others set: in this order
 * they are as the numbers are. */
void ln_score_encode(double score, char out[LN_SCORE_BYTES]) {
    uint64_t bits;
    score = score == 0 ? 0 : score;
    memcpy(&bits, &score, sizeof bits);
    bits = htobe64(bits >> 63 ? ~bits : bits | (uint64_t)1 << 63);
    memcpy(out, &bits, sizeof bits);
}

double ln_score_decode(const char *bytes) {
    uint64_t bits;
    double score;
    memcpy(&bits, bytes, sizeof bits);
    bits = be64toh(bits);
    bits = bits >> 63 ? bits & ~((uint64_t)1 << 63) : ~bits;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* ---- gathering */

void ln_scored_free(struct ln_scored *s) {
    free(s->entries);
    ln_buffer_free(&s->names);
    *s = (struct ln_scored){0};
}

int ln_scored_add(struct ln_scored *s, double score, const char *name, size_t len) {
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        struct ln_scored_entry *entries = realloc(s->entries, cap * sizeof *entries);
        if (!entries)
            return -ENOMEM;
        s->entries = entries;
        s->cap = cap;
    }
    size_t at = ln_buffer_len(&s->names);
    int rc = ln_buffer_append(&s->names, name, len);
    if (rc != LN_OK)
        return rc;
    s->entries[s->count++] = (struct ln_scored_entry){score, at, len};
    s->by_name = false;
    return LN_OK;
}

static double no_nan(double score) {
    return score == score ? score : 0; /* inf - inf, as Redis has it */
}

static double join(enum ln_aggregate aggregate, double a, double b) {
    switch (aggregate) {
    case LN_AGGREGATE_MIN:
        return b < a ? b : a;
    case LN_AGGREGATE_MAX:
        return b > a ? b : a;
    default:
        return no_nan(a + b);
    }
}

/* In the order of the inputs, as sums of doubles depend on it. */
static double score_of(const struct ln_merge *m, const double *weights,
                       enum ln_aggregate aggregate) {
    double sum = 0;
    bool any = false;
    for (size_t i = 0; i < m->count; i++) {
        const struct ln_merge_input *in = &m->inputs[i];
        if (!in->has)
            continue;
        double score = in->value_len == LN_SCORE_BYTES ? ln_score_decode(in->value) : 1;
        score *= weights[i];
        if (!any || m->how == LN_MERGE_UNION)
            score = no_nan(score);
        sum = any ? join(aggregate, sum, score) : score;
        any = true;
    }
    return sum;
}

int ln_scored_merge(struct ln_scored *s, struct ln_merge *merge, const double *weights,
                    enum ln_aggregate aggregate, uint64_t limit, struct ln_detail *detail) {
    int rc = LN_OK;
    bool first = s->count == 0;
    while (rc == LN_OK && s->count < limit && (rc = ln_merge_next(merge, detail)) == LN_OK)
        rc = ln_scored_add(s, score_of(merge, weights, aggregate), merge->name, merge->len);
    s->by_name = first;
    return rc == LN_EOF ? LN_OK : rc;
}

/* ---- order */

static int by_name(const void *a, const void *b, void *arg) {
    const struct ln_scored *s = arg;
    const struct ln_scored_entry *x = a, *y = b;
    return ln_key_compare(ln_scored_name(s, x), x->len, ln_scored_name(s, y), y->len);
}

static int by_score(const void *a, const void *b, void *arg) {
    const struct ln_scored *s = arg;
    const struct ln_scored_entry *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return ln_key_compare(ln_scored_name(s, x) + LN_HASH_BYTES, x->len - LN_HASH_BYTES,
                          ln_scored_name(s, y) + LN_HASH_BYTES, y->len - LN_HASH_BYTES);
}

void ln_scored_sort(struct ln_scored *s) {
    if (s->count > 1)
        qsort_r(s->entries, s->count, sizeof *s->entries, by_score, s);
    s->by_name = s->count <= 1;
}

bool ln_scored_sort_names(struct ln_scored *s) {
    if (s->by_name)
        return true;
    if (s->count > 1)
        qsort_r(s->entries, s->count, sizeof *s->entries, by_name, s);
    s->by_name = true;
    for (size_t i = 1; i < s->count; i++)
        if (by_name(&s->entries[i - 1], &s->entries[i], s) == 0)
            return false;
    return true;
}

/* ---- rows */

static bool is_node(const struct ln_scored *s, const struct ln_scored_entry *e) {
    return (ln_scored_name(s, e)[LN_HASH_BYTES - 1] & NODE_MASK) == 0;
}

static int put_members(const struct ln_scored *s, const struct ln_scored_rows *rows,
                       struct ln_bulk *bulk) {
    char score[LN_SCORE_BYTES];
    int rc = LN_OK;
    for (size_t i = 0; rc == LN_OK && i < s->count; i++) {
        const struct ln_scored_entry *e = &s->entries[i];
        ln_score_encode(e->score, score);
        rc = ln_bulk_add(bulk, rows->members, rows->members_len, ln_scored_name(s, e), e->len,
                         score, sizeof score);
    }
    return rc;
}

/* Score and member behind one of the prefixes. */
static int put_scored(const struct ln_scored *s, const struct ln_scored_entry *e,
                      struct ln_bulk *bulk, struct ln_buffer *key, const char *prefix, size_t len,
                      const char *value, size_t value_len) {
    char score[LN_SCORE_BYTES];
    ln_score_encode(e->score, score);
    ln_buffer_truncate(key, 0);
    int rc = ln_buffer_append(key, score, sizeof score);
    if (rc == LN_OK)
        rc = ln_buffer_append(key, ln_scored_name(s, e) + LN_HASH_BYTES, e->len - LN_HASH_BYTES);
    return rc == LN_OK ? ln_bulk_add(bulk, prefix, len, ln_buffer_data(key), ln_buffer_len(key),
                                     value, value_len)
                       : rc;
}

static int put_node(const struct ln_scored *s, size_t at, size_t next,
                    const struct ln_scored_rows *rows, struct ln_bulk *bulk,
                    struct ln_buffer *key) {
    size_t span = next - at;
    char bytes[SPAN_BYTES] = {(char)(span >> 24), (char)(span >> 16), (char)(span >> 8),
                              (char)span};
    return put_scored(s, &s->entries[at], bulk, key, rows->nodes, rows->nodes_len, bytes,
                      sizeof bytes);
}

static int put_nodes(const struct ln_scored *s, const struct ln_scored_rows *rows,
                     struct ln_bulk *bulk, struct ln_buffer *key, size_t *nodes) {
    size_t last = s->count;
    int rc = LN_OK;
    *nodes = 0;
    for (size_t i = 0; rc == LN_OK && i < s->count; i++) {
        if (!is_node(s, &s->entries[i]))
            continue;
        if (last < s->count)
            rc = put_node(s, last, i, rows, bulk, key);
        last = i;
        ++*nodes;
    }
    return rc == LN_OK && last < s->count ? put_node(s, last, s->count, rows, bulk, key) : rc;
}

int ln_scored_put(struct ln_scored *s, const struct ln_scored_rows *rows, size_t *nodes) {
    struct ln_bulk bulk;
    struct ln_buffer key;
    int rc = LN_OK;
    ln_buffer_init(&key);
    ln_bulk_init(&bulk, rows->store, LN_BULK_PUT_NEW);
    (void)ln_scored_sort_names(s);
    rc = put_members(s, rows, &bulk);
    ln_scored_sort(s);
    for (size_t i = 0; rc == LN_OK && i < s->count; i++)
        rc = put_scored(s, &s->entries[i], &bulk, &key, rows->scores, rows->scores_len, "", 0);
    if (rc == LN_OK)
        rc = put_nodes(s, rows, &bulk, &key, nodes);
    if (rc == LN_OK)
        rc = ln_bulk_flush(&bulk);
    ln_bulk_free(&bulk);
    ln_buffer_free(&key);
    return rc;
}
