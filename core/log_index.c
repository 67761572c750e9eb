#include "log_index.h"

#include "log_format.h"
#include "status.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_EVERY = 64 * 1024 };

static int reserve(struct ln_log_marks *m) {
    if (m->count < m->cap)
        return LN_OK;
    size_t cap = m->cap ? m->cap * 2 : 64;
    struct ln_log_mark *list = reallocarray(m->list, cap, sizeof *list);
    if (!list)
        return -ENOMEM;
    m->list = list;
    m->cap = cap;
    return LN_OK;
}

/* How many marks are not behind index: the last of them is the one that covers it. */
static size_t count_up_to(const struct ln_log_marks *m, uint64_t index) {
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->list[middle].index <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Drops the marks that cover nothing from first on. */
static void cut_prefix(struct ln_log_marks *m, uint64_t first) {
    size_t covered = count_up_to(m, first);
    if (covered <= 1)
        return;
    m->count -= covered - 1;
    memmove(m->list, m->list + covered - 1, m->count * sizeof *m->list);
}

int ln_log_index_reserve(struct ln_log_index *x) {
    int rc = reserve(&x->places);
    return rc == LN_OK ? reserve(&x->terms) : rc;
}

void ln_log_index_add(struct ln_log_index *x, uint64_t index, uint64_t term, uint64_t position) {
    struct ln_log_marks *p = &x->places, *t = &x->terms;
    if (x->jump || p->count == 0 ||
        ln_log_position_number(p->list[p->count - 1].value) != ln_log_position_number(position) ||
        position - p->list[p->count - 1].value >= MARK_EVERY) {
        p->list[p->count++] = (struct ln_log_mark){index, position};
        x->changes++;
    }
    if (t->count == 0 || t->list[t->count - 1].value != term)
        t->list[t->count++] = (struct ln_log_mark){index, term};
    x->jump = false;
}

void ln_log_index_cut_suffix(struct ln_log_index *x, uint64_t last) {
    x->places.count = count_up_to(&x->places, last);
    x->terms.count = count_up_to(&x->terms, last);
    x->jump = true;
    x->truncations++;
}

void ln_log_index_cut_prefix(struct ln_log_index *x, uint64_t first) {
    cut_prefix(&x->places, first);
    cut_prefix(&x->terms, first);
}

struct ln_log_mark ln_log_index_find(const struct ln_log_index *x, uint64_t index,
                                     uint64_t *until) {
    const struct ln_log_marks *p = &x->places;
    size_t n = count_up_to(p, index);
    assert(n > 0);
    *until = n < p->count ? p->list[n].index : UINT64_MAX;
    return p->list[n - 1];
}

uint64_t ln_log_index_term(const struct ln_log_index *x, uint64_t index) {
    size_t n = count_up_to(&x->terms, index);
    assert(n > 0);
    return x->terms.list[n - 1].value;
}

void ln_log_index_free(struct ln_log_index *x) {
    free(x->places.list);
    free(x->terms.list);
    *x = (struct ln_log_index){0};
}
