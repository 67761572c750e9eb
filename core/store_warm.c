/* Ranges whose rows were brought into memory as a whole, below all other layers: an overlay in
 * which such a range is deleted, so that the engine counts for nothing there, and then filled with
 * what the engine has. It holds until the layer above it, which hides what has changed since, goes
 * with the next flush. */
#include "store_impl.h"

#include <errno.h>

enum {
    PART = 4,            /* of the store's cache */
    MOST_ROWS = 1 << 14, /* that are brought at once */
    PAUSE = 64, /* ranges that are not brought after one that was too large, or not worth it */
};

void ln_store_cool(struct ln_store *s) {
    if (!s->warm)
        return;
    ln_layer_release(s, s->warm);
    s->warm = NULL;
    s->warm_hits = s->warm_loads = 0;
    s->epoch++;
}

bool ln_store_is_warm(const struct ln_store *s, const char *from, size_t from_len, const char *to,
                      size_t to_len) {
    const struct ln_range *r;
    if (!s->warm || !to || ln_key_compare(from, from_len, to, to_len) >= 0)
        return false;
    while ((r = ln_overlay_covering(&s->warm->rows, from, from_len))) {
        if (!r->to || ln_key_compare(to, to_len, r->to, r->to_len) <= 0)
            return true;
        from = r->to;
        from_len = r->to_len;
    }
    return false;
}

bool ln_store_has_all(struct ln_store *s, const char *from, size_t from_len, const char *to,
                      size_t to_len) {
    if (!to || ln_key_compare(from, from_len, to, to_len) >= 0)
        return false;
    if (ln_store_range_is_fresh(s, from, from_len, to, to_len))
        return true;
    bool warm = ln_store_is_warm(s, from, from_len, to, to_len);
    s->warm_hits += warm;
    return warm;
}

static int copy_rows(struct ln_store *s, const char *from, size_t from_len, const char *to,
                     size_t to_len) {
    struct ln_overlay *rows = &s->warm->rows;
    struct ln_overlay_row row;
    size_t limit = s->options.cache / PART, count = 0;
    struct ln_engine_iter *iter = s->ops->iter_open(s->engine, NULL);
    if (!iter)
        return -ENOMEM;
    s->ops->iter_seek(iter, from, from_len);
    int rc = s->ops->iter_row(iter, NULL, &row);
    while (rc == LN_OK && ln_key_compare(row.key, row.klen, to, to_len) < 0) {
        rc = rows->memory > limit || ++count > MOST_ROWS
                 ? -E2BIG
                 : ln_overlay_put(rows, row.key, row.klen, row.value, row.vlen);
        s->ops->iter_next(iter);
        if (rc == LN_OK)
            rc = s->ops->iter_row(iter, NULL, &row);
    }
    s->ops->iter_close(iter);
    return rc == LN_EOF ? LN_OK : rc;
}

/* Room for one more: where it is full, all of it goes, unless it has been of little use. */
static int make_room(struct ln_store *s) {
    if (s->warm && s->warm->rows.memory > s->options.cache / PART / 2) {
        bool worth = s->warm_hits > s->warm_loads;
        ln_store_cool(s);
        if (!worth)
            s->warm_pause = PAUSE;
    }
    if (s->warm_pause > 0) {
        s->warm_pause--;
        return -EAGAIN;
    }
    if (!s->warm)
        s->warm = ln_layer_new(s);
    return s->warm ? LN_OK : -ENOMEM;
}

bool ln_store_load(struct ln_store *s, const char *from, size_t from_len, const char *to,
                   size_t to_len, uint64_t count) {
    if (ln_store_has_all(s, from, from_len, to, to_len))
        return true;
    /* Keys from FF on are escaped in the engine; and most ranges are read but once. */
    if (!s->engine || count > MOST_ROWS || !to || to_len == 0 || (unsigned char)to[0] == 0xFF ||
        ln_key_compare(from, from_len, to, to_len) >= 0 ||
        !ln_row_cache_wants(s->cache, from, from_len) || make_room(s) != LN_OK)
        return false;
    struct ln_overlay *rows = &s->warm->rows;
    ln_overlay_begin(rows);
    const struct ln_range range = {.from = from, .from_len = from_len, .to = to, .to_len = to_len};
    int rc = ln_overlay_delete_range_below(rows, &range); /* it covers none of the rows */
    if (rc == LN_OK)
        rc = copy_rows(s, from, from_len, to, to_len);
    if (rc == LN_OK) {
        ln_overlay_begin(rows);
        s->warm_loads++;
        return true;
    }
    ln_overlay_rollback(rows);
    s->warm_pause = PAUSE;
    return false;
}
