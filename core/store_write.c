#include "store_write.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Rows of ours, from LN_SYSTEM_START and a zero byte on; docs/data-format.md has them. */
#define APPLIED    "\xff\xff\0applied"
#define MARK       "\xff\xff\0range"
#define SURVIVOR   "\xff\xff\0row"
#define KEY(text)  (text), sizeof(text) - 1
#define LEFT_START "\xff\xff\0r"
#define LEFT_END   "\xff\xff\0s"

enum {
    PURGE_ROWS = 4096,     /* in one batch of a purge */
    COMPACT_LEAST = 10000, /* deleted rows that are worth a compaction */
    FEW_SURVIVORS = 1000,  /* so many may be carried from one overlay into the next */
};

/* These are not compacted: few enough for a scan to walk over. */
atomic_size_t ln_write_inline_rows = 2000;

/* For so long does a flush wait for the purge, about half a second. Each piece costs LevelDB a
 * compaction of whole tables, however small it is. */
atomic_size_t ln_write_piece_rows = 200000;

static int reserve(struct ln_key *buffer, size_t len) {
    if (buffer->data && buffer->cap >= len)
        return LN_OK;
    char *data = realloc(buffer->data, len + 64);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->cap = len + 64;
    return LN_OK;
}

static int keep(struct ln_key *buffer, const char *data, size_t len) {
    if (reserve(buffer, len) != LN_OK)
        return -ENOMEM;
    if (len)
        memcpy(buffer->data, data, len);
    return LN_OK;
}

int ln_stored_key(struct ln_key *buffer, const void *key, size_t klen, const char **stored,
                  size_t *stored_len) {
    const char *k = key;
    if (klen < 2 || k[0] != (char)0xff || k[1] != (char)0xff) {
        *stored = key;
        *stored_len = klen;
        return LN_OK;
    }
    if (reserve(buffer, klen + 1) != LN_OK)
        return -ENOMEM;
    buffer->data[0] = (char)0xff;
    memcpy(buffer->data + 1, key, klen);
    *stored = buffer->data;
    *stored_len = klen + 1;
    return LN_OK;
}

static void user_key(struct ln_overlay_row *row) {
    size_t skip = ln_stored_skip(row->key, row->klen);
    row->key += skip;
    row->klen -= skip;
}

/* ---- marks: "range" and its number; the value is from_len:u32be from has_to:u8 to. In stored
 * keys. A survivor is "row" and the user's key. */

struct mark {
    const char *from, *to;
    size_t from_len, to_len;
};

enum { MARK_BYTES = sizeof MARK - 1 + 4 };

static void mark_key(char key[MARK_BYTES], uint32_t number) {
    uint32_t be = htobe32(number);
    memcpy(key, MARK, sizeof MARK - 1);
    memcpy(key + sizeof MARK - 1, &be, 4);
}

static int put_mark(struct ln_engine *engine, uint32_t number, const struct mark *mark) {
    char key[MARK_BYTES];
    size_t len = 4 + mark->from_len + 1 + mark->to_len;
    uint32_t from_len = htobe32((uint32_t)mark->from_len);
    char *value = malloc(len);
    if (!value)
        return -ENOMEM;
    mark_key(key, number);
    memcpy(value, &from_len, 4);
    if (mark->from_len)
        memcpy(value + 4, mark->from, mark->from_len);
    value[4 + mark->from_len] = mark->to != NULL;
    if (mark->to && mark->to_len)
        memcpy(value + 5 + mark->from_len, mark->to, mark->to_len);
    engine->ops->put(engine, key, sizeof key, value, len);
    free(value);
    return LN_OK;
}

/* False where the value makes no sense. */
static bool parse_mark(const char *value, size_t len, struct mark *mark) {
    uint32_t from_len;
    if (len < 5)
        return false;
    memcpy(&from_len, value, 4);
    from_len = be32toh(from_len);
    if (from_len > len - 5)
        return false;
    mark->from = value + 4;
    mark->from_len = from_len;
    mark->to = value[4 + from_len] ? value + 5 + from_len : NULL;
    mark->to_len = len - 5 - from_len;
    return mark->to || mark->to_len == 0;
}

/* Adds the deletion of all marks and survivors to the batch. */
static int remove_leftovers(struct ln_engine *engine, struct ln_detail *detail) {
    struct ln_engine_iter *it = engine->ops->iter_open(engine, NULL);
    struct ln_overlay_row row;
    int rc = it ? LN_OK : -ENOMEM;
    if (!it)
        return rc;
    engine->ops->iter_seek(it, KEY(LEFT_START));
    while ((rc = engine->ops->iter_row(it, detail, &row)) == LN_OK &&
           ln_key_compare(row.key, row.klen, KEY(LEFT_END)) < 0) {
        engine->ops->remove(engine, row.key, row.klen);
        engine->ops->iter_next(it);
    }
    engine->ops->iter_close(it);
    return rc == LN_EOF ? LN_OK : rc;
}

/* ---- the batch */

/* The rows that were written after the range that covers them: they have to survive its purge. */
static int put_survivors(struct ln_write *w, const struct mark *mark, struct ln_key *buffer) {
    struct ln_overlay_row from = {.key = mark->from, .klen = mark->from_len};
    user_key(&from);
    struct ln_overlay_cursor at = ln_overlay_seek(w->rows, from.key, from.klen);
    for (const struct ln_overlay_node *n; (n = ln_overlay_at(&at)); ln_overlay_next(&at)) {
        struct ln_overlay_row row = ln_overlay_row(w->rows, n);
        const char *stored;
        size_t len;
        int rc = ln_stored_key(buffer, row.key, row.klen, &stored, &len);
        if (rc != LN_OK)
            return rc;
        if (mark->to && ln_key_compare(stored, len, mark->to, mark->to_len) >= 0)
            break;
        if (row.deleted)
            continue;
        char *key = malloc(sizeof SURVIVOR - 1 + row.klen);
        if (!key)
            return -ENOMEM;
        memcpy(key, SURVIVOR, sizeof SURVIVOR - 1);
        if (row.klen)
            memcpy(key + sizeof SURVIVOR - 1, row.key, row.klen);
        w->engine->ops->put(w->engine, key, sizeof SURVIVOR - 1 + row.klen, "", 0);
        w->survivors++;
        free(key);
    }
    return LN_OK;
}

/* The iterator's row. LN_EOF: the mark's range ends before it. */
static int row_within(struct ln_write *w, struct ln_engine_iter *it, const struct mark *mark,
                      struct ln_overlay_row *row) {
    int rc = it->ops->iter_row(it, &w->detail, row);
    if (rc == LN_OK && mark->to && ln_key_compare(row->key, row->klen, mark->to, mark->to_len) >= 0)
        rc = LN_EOF;
    return rc;
}

/* Unless the overlay has written it since. */
static bool remove_row(struct ln_write *w, struct ln_overlay_row row) {
    struct ln_overlay_row user = row, newer;
    user_key(&user);
    if (ln_overlay_get(w->rows, user.key, user.klen, &newer) && !newer.deleted)
        return false;
    w->engine->ops->remove(w->engine, row.key, row.klen);
    w->purged++;
    return true;
}

/* Deletes rows from `it` on, up to the mark's end and as many as *room: but those that the overlay
 * has written since. mark->from moves to where it stopped, in *at. LN_EOF: to the end. */
static int remove_rows(struct ln_write *w, struct ln_engine_iter *it, struct mark *mark,
                       size_t *room, struct ln_key *at) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_overlay_row row;
    int rc;
    while ((rc = row_within(w, it, mark, &row)) == LN_OK && *room > 0) {
        if (remove_row(w, row))
            --*room;
        ops->iter_next(it);
    }
    if (rc == LN_OK)
        rc = keep(at, row.key, row.klen);
    if (rc != LN_OK)
        return rc;
    mark->from = at->data;
    mark->from_len = row.klen;
    return LN_OK;
}

/* One range, or what of it lies on one side of our own rows. */
static int remove_part(struct ln_write *w, struct mark mark, size_t *room, uint32_t *marks,
                       struct ln_key *buffer) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_key at = {0};
    if (ops->ranges) {
        ops->remove_range(w->engine, mark.from, mark.from_len, mark.to, mark.to_len);
        return LN_OK;
    }
    struct ln_engine_iter *it = ops->iter_open(w->engine, NULL);
    if (!it)
        return -ENOMEM;
    ops->iter_seek(it, mark.from, mark.from_len);
    int rc = remove_rows(w, it, &mark, room, &at);
    ops->iter_close(it);
    if (rc == LN_OK) { /* more than fit */
        rc = put_mark(w->engine, (*marks)++, &mark);
        if (rc == LN_OK)
            rc = put_survivors(w, &mark, buffer);
    }
    free(at.data);
    return rc == LN_EOF ? LN_OK : rc;
}

/* Our own rows lie between the users'. */
static int remove_around(struct ln_write *w, struct mark whole, size_t *room, uint32_t *marks,
                         struct ln_key *buffer) {
    struct mark low = whole, high = whole;
    int rc = LN_OK;
    if (!whole.to || ln_key_compare(whole.to, whole.to_len, KEY(LN_SYSTEM_START)) > 0) {
        low.to = LN_SYSTEM_START;
        low.to_len = sizeof LN_SYSTEM_START - 1;
    }
    if (ln_key_compare(whole.from, whole.from_len, KEY(LN_SYSTEM_END)) < 0) {
        high.from = LN_SYSTEM_END;
        high.from_len = sizeof LN_SYSTEM_END - 1;
    }
    if (ln_key_compare(low.from, low.from_len, low.to, low.to_len) < 0)
        rc = remove_part(w, low, room, marks, buffer);
    if (rc == LN_OK &&
        (!high.to || ln_key_compare(high.from, high.from_len, high.to, high.to_len) < 0))
        rc = remove_part(w, high, room, marks, buffer);
    return rc;
}

static int remove_ranges(struct ln_write *w, uint32_t *marks, struct ln_key *buffer) {
    size_t room = ln_write_inline_rows;
    int rc = LN_OK;
    for (size_t i = 0; rc == LN_OK && i < w->rows->range_count; i++) {
        const struct ln_range *r = &w->rows->ranges[i];
        struct ln_key from = {0}, to = {0};
        struct mark whole = {0};
        rc = ln_stored_key(&from, r->from, r->from_len, &whole.from, &whole.from_len);
        if (rc == LN_OK && r->to)
            rc = ln_stored_key(&to, r->to, r->to_len, &whole.to, &whole.to_len);
        if (rc == LN_OK)
            rc = remove_around(w, whole, &room, marks, buffer);
        free(from.data);
        free(to.data);
    }
    return rc;
}

static int put_rows(struct ln_write *w, struct ln_key *buffer) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_overlay_cursor at = ln_overlay_first(w->rows);
    for (const struct ln_overlay_node *n; (n = ln_overlay_at(&at)); ln_overlay_next(&at)) {
        struct ln_overlay_row row = ln_overlay_row(w->rows, n);
        const char *stored;
        size_t len;
        if (ln_stored_key(buffer, row.key, row.klen, &stored, &len) != LN_OK)
            return -ENOMEM;
        if (row.deleted)
            ops->remove(w->engine, stored, len);
        else
            ops->put(w->engine, stored, len, row.value, row.vlen);
    }
    return LN_OK;
}

int ln_write_batch(struct ln_write *w) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_key buffer = {0};
    uint64_t index = htobe64(w->index);
    uint32_t marks = 0;
    int rc = w->leftovers ? remove_leftovers(w->engine, &w->detail) : LN_OK;
    if (rc == LN_OK)
        rc = remove_ranges(w, &marks, &buffer);
    if (rc == LN_OK)
        rc = put_rows(w, &buffer);
    if (rc == LN_OK && w->index > 0)
        ops->put(w->engine, KEY(APPLIED), &index, sizeof index);
    if (rc == LN_OK)
        rc = ops->write(w->engine, w->sync, &w->detail);
    else
        ops->discard(w->engine);
    free(buffer.data);
    if (rc == LN_OK)
        w->leftovers = marks > 0;
    if (rc != LN_OK && !w->detail.text[0])
        ln_detail_set(&w->detail, rc, "%s", ln_status_text(rc));
    return rc;
}

/* ---- the purge */

/* The first mark, in *value. LN_EOF: there is none. */
static int first_mark(struct ln_write *w, uint32_t *number, struct ln_key *value,
                      struct mark *mark) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_engine_iter *it = ops->iter_open(w->engine, NULL);
    struct ln_overlay_row row;
    if (!it)
        return -ENOMEM;
    ops->iter_seek(it, KEY(MARK));
    int rc = ops->iter_row(it, &w->detail, &row);
    if (rc == LN_OK && (row.klen != MARK_BYTES || memcmp(row.key, KEY(MARK)) != 0))
        rc = LN_EOF;
    if (rc == LN_OK)
        rc = keep(value, row.value, row.vlen);
    if (rc == LN_OK) {
        memcpy(number, row.key + sizeof MARK - 1, 4);
        *number = be32toh(*number);
        if (!parse_mark(value->data, row.vlen, mark))
            rc = ln_detail_set(&w->detail, LN_ECORRUPT,
                               "the mark of a deleted range makes no sense");
    }
    ops->iter_close(it);
    return rc;
}

/* One batch. LN_EOF: to the range's end. */
static int purge_batch(struct ln_write *w, struct ln_engine_iter *it, struct mark *mark,
                       struct ln_key *at, size_t *rows) {
    const struct ln_engine_ops *ops = w->engine->ops;
    size_t most = ln_write_piece_rows < PURGE_ROWS ? ln_write_piece_rows : PURGE_ROWS, room = most;
    int end = remove_rows(w, it, mark, &room, at), rc = end;
    *rows += most - room;
    if (end == LN_OK || end == LN_EOF)
        rc = ops->write(w->engine, false, &w->detail);
    else
        ops->discard(w->engine);
    return rc == LN_OK ? end : rc;
}

/* At once, in the middle of a piece. */
static bool is_to_end(const struct ln_write *w, atomic_int *ask) {
    int asked = atomic_load(ask);
    return asked == LN_PURGE_STOP || (w->rest && asked == LN_PURGE_PAUSE_NOW);
}

static bool is_to_pause(const struct ln_write *w, atomic_int *ask) {
    int asked = atomic_load(ask);
    return w->rest && (asked == LN_PURGE_PAUSE_NOW ||
                       (asked == LN_PURGE_PAUSE && w->survivors <= FEW_SURVIVORS));
}

/* Deletes rows of the mark's range from its second one on, and has that compacted; then *mark
 * begins behind them. LN_EOF: there are no more. -EINTR: it was asked to end before. */
static int purge_behind(struct ln_write *w, struct mark *mark, struct ln_key *at,
                        struct ln_key *first, size_t *first_len, atomic_int *ask) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_engine_iter *it = ops->iter_open(w->engine, NULL);
    struct mark from = *mark;
    struct ln_overlay_row row;
    size_t rows = 0;
    int rc = -ENOMEM;
    if (it) {
        ops->iter_seek(it, mark->from, mark->from_len);
        rc = row_within(w, it, mark, &row);
    }
    if (rc == LN_OK) {
        *first_len = row.klen;
        rc = keep(first, row.key, row.klen);
        ops->iter_next(it);
    }
    while (rc == LN_OK && rows < ln_write_piece_rows)
        rc = is_to_end(w, ask) ? -EINTR : purge_batch(w, it, mark, at, &rows);
    if (it) /* it keeps the engine from letting go of what is compacted */
        ops->iter_close(it);
    if ((rc == LN_OK || rc == LN_EOF) && rows >= COMPACT_LEAST) {
        const struct mark end =
            rc == LN_OK ? *mark : (struct mark){.from = mark->to, .from_len = mark->to_len};
        ops->compact(w->engine, from.from, from.from_len, end.from, end.from_len);
    }
    return rc;
}

/* A piece of a mark's range. LevelDB walks over what was deleted, in each scan that comes by, until
 * it is compacted. So the first row stays until then: a scan that meets it sees that the overlay
 * has a deleted range there, and jumps. */
static int purge_piece(struct ln_write *w, uint32_t number, struct mark mark, atomic_int *ask) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_key at = {0}, first = {0};
    struct ln_overlay_row row = {0};
    char key[MARK_BYTES];
    int end = purge_behind(w, &mark, &at, &first, &row.klen, ask), rc = end;
    if (end == LN_OK || end == LN_EOF) {
        row.key = first.data;
        if (row.key)
            (void)remove_row(w, row);
        mark_key(key, number);
        ops->remove(w->engine, key, sizeof key);
        rc = end == LN_OK ? put_mark(w->engine, number, &mark) : LN_OK;
        if (rc == LN_OK)
            rc = ops->write(w->engine, false, &w->detail);
        else
            ops->discard(w->engine);
    }
    free(first.data);
    free(at.data);
    return rc == -EINTR ? LN_OK : rc;
}

int ln_write_purge(struct ln_write *w, atomic_int *ask) {
    struct ln_key value = {0};
    struct mark mark;
    uint32_t number;
    int rc = LN_OK;
    bool paused = false;
    while (!paused && (rc = first_mark(w, &number, &value, &mark)) == LN_OK) {
        rc = purge_piece(w, number, mark, ask);
        if (rc == LN_OK && atomic_load(ask) == LN_PURGE_STOP)
            rc = -EINTR;
        if (rc != LN_OK)
            break;
        paused = is_to_pause(w, ask);
    }
    if (paused)
        rc = ln_read_leftovers(w->engine, w->rest, &w->detail, &paused);
    free(value.data);
    if (rc == LN_EOF) {
        rc = remove_leftovers(w->engine, &w->detail);
        if (rc == LN_OK)
            rc = w->engine->ops->write(w->engine, false, &w->detail);
        else
            w->engine->ops->discard(w->engine);
        w->leftovers = rc != LN_OK;
    }
    if (rc != LN_OK && !w->detail.text[0])
        ln_detail_set(&w->detail, rc, "%s", ln_status_text(rc));
    return rc;
}

/* ---- at open */

int ln_read_applied(struct ln_engine *engine, struct ln_detail *detail, uint64_t *index) {
    char *value = NULL;
    size_t len = 0;
    uint64_t be;
    int rc = engine->ops->get(engine, NULL, KEY(APPLIED), detail, &value, &len);
    *index = 0;
    if (rc == -ENOENT)
        return LN_OK;
    if (rc == LN_OK && len != sizeof be)
        rc = ln_detail_set(detail, LN_ECORRUPT, "the applied index has %zu bytes", len);
    if (rc == LN_OK) {
        memcpy(&be, value, sizeof be);
        *index = be64toh(be);
    }
    free(value);
    return rc;
}

static int read_survivor(struct ln_engine *engine, struct ln_overlay *rows, const char *key,
                         size_t klen, struct ln_detail *detail) {
    struct ln_key buffer = {0};
    const char *stored;
    char *value = NULL;
    size_t len, vlen = 0;
    int rc = ln_stored_key(&buffer, key, klen, &stored, &len);
    if (rc == LN_OK)
        rc = engine->ops->get(engine, NULL, stored, len, detail, &value, &vlen);
    if (rc == LN_OK)
        rc = ln_overlay_put(rows, key, klen, value, vlen);
    else if (rc == -ENOENT)
        rc = LN_OK; /* deleted since, by a batch that came before the marks went */
    free(value);
    free(buffer.data);
    return rc;
}

static int read_mark(struct ln_overlay *rows, const struct ln_overlay_row *row,
                     struct ln_detail *detail) {
    struct mark mark;
    if (!parse_mark(row->value, row->vlen, &mark))
        return ln_detail_set(detail, LN_ECORRUPT, "the mark of a deleted range makes no sense");
    struct ln_overlay_row from = {.key = mark.from, .klen = mark.from_len};
    struct ln_overlay_row to = {.key = mark.to, .klen = mark.to_len};
    user_key(&from);
    if (mark.to)
        user_key(&to);
    return ln_overlay_delete_range(rows, from.key, from.klen, to.key, to.klen);
}

int ln_read_leftovers(struct ln_engine *engine, struct ln_overlay *rows, struct ln_detail *detail,
                      bool *found) {
    const struct ln_engine_ops *ops = engine->ops;
    struct ln_engine_iter *it = ops->iter_open(engine, NULL);
    struct ln_overlay_row row;
    int rc;
    *found = false;
    if (!it)
        return -ENOMEM;
    ops->iter_seek(it, KEY(LEFT_START));
    /* "range" sorts before "row": the rows come after the ranges that cover them. */
    while ((rc = ops->iter_row(it, detail, &row)) == LN_OK &&
           ln_key_compare(row.key, row.klen, KEY(LEFT_END)) < 0) {
        *found = true;
        size_t skip = sizeof SURVIVOR - 1;
        if (row.klen >= skip && memcmp(row.key, SURVIVOR, skip) == 0)
            rc = read_survivor(engine, rows, row.key + skip, row.klen - skip, detail);
        else
            rc = read_mark(rows, &row, detail);
        if (rc != LN_OK)
            break;
        ops->iter_next(it);
    }
    ops->iter_close(it);
    return rc == LN_EOF ? LN_OK : rc;
}
