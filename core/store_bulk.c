#include "store_bulk.h"

#include "store_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_ONCE = 64 << 10, /* bytes of rows that wait */
    FEW = 64,           /* rows for which nobody opens another scan */
    MUCH_LARGER = 8,    /* a row that is asked for takes as long as so many that are walked over */
};

/* ---- writing */

struct waiting {
    uint32_t key_len, value_len;
};

void ln_bulk_init(struct ln_bulk *b, struct ln_store *store, enum ln_bulk_what what) {
    b->store = store;
    b->what = what;
    ln_buffer_init(&b->rows);
}

void ln_bulk_free(struct ln_bulk *b) {
    ln_buffer_free(&b->rows);
}

/* The bytes of the row that waits at `at`. */
static size_t waiting_at(const struct ln_bulk *b, size_t at, struct waiting *w) {
    memcpy(w, ln_buffer_data(&b->rows) + at, sizeof *w);
    return sizeof *w + w->key_len + w->value_len;
}

/* The places of the next ones are fetched into the processor's cache, all at once. */
static void fetch(const struct ln_bulk *b, size_t at) {
    struct ln_store_key keys[LN_STORE_AHEAD];
    struct waiting w;
    size_t n = 0;
    while (n < LN_STORE_AHEAD && at < ln_buffer_len(&b->rows)) {
        size_t size = waiting_at(b, at, &w);
        keys[n++] = (struct ln_store_key){ln_buffer_data(&b->rows) + at + sizeof w, w.key_len};
        at += size;
    }
    ln_store_ahead(b->store, keys, n);
}

static int write_row(const struct ln_bulk *b, size_t at, const struct waiting *w) {
    const char *key = ln_buffer_data(&b->rows) + at + sizeof *w, *value = key + w->key_len;
    switch (b->what) {
    case LN_BULK_PUT:
        return ln_store_put(b->store, key, w->key_len, value, w->value_len);
    case LN_BULK_PUT_ONCE:
        if (ln_store_wrote(b->store, key, w->key_len))
            return -EEXIST;
        /* fall through */
    case LN_BULK_PUT_NEW:
        return ln_store_put_new(b->store, key, w->key_len, value, w->value_len);
    default:
        return ln_store_delete(b->store, key, w->key_len);
    }
}

int ln_bulk_flush(struct ln_bulk *b) {
    struct waiting w;
    size_t at = 0, len = ln_buffer_len(&b->rows);
    int rc = LN_OK;
    for (unsigned n = 0; rc == LN_OK && at < len; n++) {
        if (n % LN_STORE_AHEAD == 0)
            fetch(b, at);
        size_t size = waiting_at(b, at, &w);
        rc = write_row(b, at, &w);
        at += size;
    }
    ln_buffer_consume(&b->rows, at);
    return rc;
}

static char *append(char *at, const char *data, size_t len) {
    if (len > 0)
        memcpy(at, data, len);
    return at + len;
}

int ln_bulk_add(struct ln_bulk *b, const char *prefix, size_t prefix_len, const char *name,
                size_t len, const char *value, size_t value_len) {
    char *at;
    if (prefix_len + len > LN_STORE_MAX_BYTES || value_len > LN_STORE_MAX_BYTES)
        return -E2BIG;
    struct waiting w = {(uint32_t)(prefix_len + len), (uint32_t)value_len};
    size_t size = sizeof w + w.key_len + w.value_len;
    int rc = ln_buffer_reserve(&b->rows, size, &at);
    if (rc != LN_OK)
        return rc;
    memcpy(at, &w, sizeof w);
    at = append(at + sizeof w, prefix, prefix_len);
    at = append(at, name, len);
    (void)append(at, value, value_len);
    ln_buffer_commit(&b->rows, size);
    return ln_buffer_len(&b->rows) < AT_ONCE ? LN_OK : ln_bulk_flush(b);
}

/* Just past the rows with a prefix; NULL: no memory. */
static char *past_of(const char *prefix, size_t *len) {
    while (*len > 0 && (unsigned char)prefix[*len - 1] == 0xFF)
        --*len;
    char *past = *len > 0 ? malloc(*len) : NULL;
    if (past) {
        memcpy(past, prefix, *len);
        past[*len - 1]++;
    }
    return past;
}

int ln_store_copy(struct ln_store *s, const char *from, size_t from_len, const char *to,
                  size_t to_len, struct ln_detail *detail) {
    struct ln_overlay_row row;
    struct ln_bulk bulk;
    struct ln_scan *scan = NULL;
    size_t past_len = from_len;
    char *past = past_of(from, &past_len);
    ln_bulk_init(&bulk, s, LN_BULK_PUT_NEW);
    int rc = past ? ln_store_scan(s, from, from_len, past, past_len, false, &scan) : -ENOMEM;
    while (rc == LN_OK && (rc = ln_scan_next(scan, detail, &row)) == LN_OK)
        rc = ln_bulk_add(&bulk, to, to_len, row.key + from_len, row.klen - from_len, row.value,
                         row.vlen);
    if (rc == LN_EOF)
        rc = ln_bulk_flush(&bulk);
    if (scan)
        ln_scan_close(scan);
    free(past);
    ln_bulk_free(&bulk);
    return rc;
}

/* ---- several sets */

void ln_merge_init(struct ln_merge *m, struct ln_store *store, enum ln_merge_how how,
                   struct ln_merge_input *inputs, size_t count) {
    *m = (struct ln_merge){.store = store, .how = how, .inputs = inputs, .count = count};
    for (size_t i = 1; i < count && how != LN_MERGE_UNION; i++)
        inputs[i].asked = inputs[0].count <= FEW || inputs[i].count / MUCH_LARGER > inputs[0].count;
}

void ln_merge_free(struct ln_merge *m) {
    for (size_t i = 0; i < m->count; i++) {
        struct ln_merge_input *in = &m->inputs[i];
        if (in->scan)
            ln_scan_close(in->scan);
        free(in->past);
        ln_buffer_free(&in->name);
        in->scan = NULL;
        in->past = NULL;
    }
    ln_buffer_free(&m->row);
    m->count = 0;
}

static int set_bytes(struct ln_buffer *b, const char *data, size_t len) {
    ln_buffer_truncate(b, 0);
    return ln_buffer_append(b, data, len);
}

static int open_input(struct ln_merge *m, struct ln_merge_input *in) {
    size_t past_len = in->len;
    in->started = true;
    in->past = past_of(in->prefix, &past_len);
    return in->past
               ? ln_store_scan(m->store, in->prefix, in->len, in->past, past_len, false, &in->scan)
               : -ENOMEM;
}

static void set_value(struct ln_merge_input *in, const char *value, size_t len) {
    in->value_len = len < LN_MERGE_VALUE ? len : LN_MERGE_VALUE;
    memcpy(in->value, value, in->value_len);
}

/* To its next row. LN_OK also at the end. */
static int step(struct ln_merge *m, struct ln_merge_input *in, struct ln_detail *detail) {
    struct ln_overlay_row row;
    int rc = in->started ? LN_OK : open_input(m, in);
    if (rc == LN_OK)
        rc = ln_scan_next(in->scan, detail, &row);
    in->ended = rc != LN_OK;
    if (rc != LN_OK)
        return rc == LN_EOF ? LN_OK : rc;
    set_value(in, row.value, row.vlen);
    return set_bytes(&in->name, row.key + in->len, row.klen - in->len);
}

static int compare(const struct ln_merge_input *in, const char *name, size_t len) {
    return ln_key_compare(ln_buffer_data(&in->name), ln_buffer_len(&in->name), name, len);
}

static int next_of_union(struct ln_merge *m, struct ln_detail *detail) {
    const struct ln_merge_input *least = NULL;
    for (size_t i = 0; i < m->count; i++) {
        struct ln_merge_input *in = &m->inputs[i];
        int rc = in->has || !in->started ? step(m, in, detail) : LN_OK;
        if (rc != LN_OK)
            return rc;
        if (!in->ended &&
            (!least || compare(in, ln_buffer_data(&least->name), ln_buffer_len(&least->name)) < 0))
            least = in;
    }
    if (!least)
        return LN_EOF;
    m->name = ln_buffer_data(&least->name);
    m->len = ln_buffer_len(&least->name);
    for (size_t i = 0; i < m->count; i++)
        m->inputs[i].has = !m->inputs[i].ended && compare(&m->inputs[i], m->name, m->len) == 0;
    return LN_OK;
}

/* Whether an input has the row that m is at: by one look, */
static int ask(struct ln_merge *m, struct ln_merge_input *in, struct ln_detail *detail) {
    struct ln_value value = {0};
    int rc = set_bytes(&m->row, in->prefix, in->len);
    if (rc == LN_OK)
        rc = ln_buffer_append(&m->row, m->name, m->len);
    if (rc == LN_OK)
        rc =
            ln_store_get(m->store, ln_buffer_data(&m->row), ln_buffer_len(&m->row), detail, &value);
    in->has = rc == LN_OK;
    if (rc == LN_OK)
        set_value(in, value.data, value.len);
    ln_value_release(&value);
    return rc == -ENOENT ? LN_OK : rc;
}

/* … or by walking up to it. */
static int reach(struct ln_merge *m, struct ln_merge_input *in, struct ln_detail *detail) {
    int rc = in->started ? LN_OK : step(m, in, detail), order = -1;
    while (rc == LN_OK && !in->ended && (order = compare(in, m->name, m->len)) < 0)
        rc = step(m, in, detail);
    in->has = rc == LN_OK && !in->ended && order == 0;
    return rc;
}

/* Of the first one's rows, those that all the others have, or that none has. */
static int next_of_first(struct ln_merge *m, struct ln_detail *detail) {
    struct ln_merge_input *first = &m->inputs[0];
    bool wanted = m->how == LN_MERGE_INTERSECTION, found = false;
    while (!found) {
        int rc = step(m, first, detail);
        if (rc != LN_OK || first->ended)
            return rc == LN_OK ? LN_EOF : rc;
        m->name = ln_buffer_data(&first->name);
        m->len = ln_buffer_len(&first->name);
        first->has = found = true;
        for (size_t i = 1; found && i < m->count; i++) {
            struct ln_merge_input *in = &m->inputs[i];
            rc = in->asked ? ask(m, in, detail) : reach(m, in, detail);
            if (rc != LN_OK)
                return rc;
            found = in->has == wanted;
        }
    }
    return LN_OK;
}

int ln_merge_next(struct ln_merge *m, struct ln_detail *detail) {
    if (m->count == 0)
        return LN_EOF;
    return m->how == LN_MERGE_UNION ? next_of_union(m, detail) : next_of_first(m, detail);
}
