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
    COMPACT_ROWS = 200000, /* deleted rows to one compaction, which then takes about a second */
    COMPACT_LEAST = 10000,
};

atomic_size_t ln_write_inline_rows = 20000;

int ln_stored_key(struct ln_key *buffer, const void *key, size_t klen, const char **stored,
                  size_t *stored_len) {
    const char *k = key;
    if (klen < 2 || k[0] != (char)0xff || k[1] != (char)0xff) {
        *stored = key;
        *stored_len = klen;
        return LN_OK;
    }
    if (!buffer->data || buffer->cap < klen + 1) {
        char *data = realloc(buffer->data, klen + 64);
        if (!data)
            return -ENOMEM;
        buffer->data = data;
        buffer->cap = klen + 64;
    }
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

static int put_mark(struct ln_engine *engine, uint32_t number, const struct mark *mark) {
    char key[sizeof MARK - 1 + 4];
    size_t len = 4 + mark->from_len + 1 + mark->to_len;
    uint32_t be = htobe32(number), from_len = htobe32((uint32_t)mark->from_len);
    char *value = malloc(len);
    if (!value)
        return -ENOMEM;
    memcpy(key, MARK, sizeof MARK - 1);
    memcpy(key + sizeof MARK - 1, &be, 4);
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
        free(key);
    }
    return LN_OK;
}

/* Deletes rows from `it` on, up to the mark's end and as many as *room: but those that the overlay
 * has written since. mark->from moves to where it stopped, in *at. LN_EOF: to the end. */
static int remove_rows(struct ln_write *w, struct ln_engine_iter *it, struct mark *mark,
                       size_t *room, struct ln_key *at) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_overlay_row row, newer;
    int rc;
    while ((rc = ops->iter_row(it, &w->detail, &row)) == LN_OK) {
        if (mark->to && ln_key_compare(row.key, row.klen, mark->to, mark->to_len) >= 0)
            return LN_EOF;
        if (*room == 0)
            break;
        struct ln_overlay_row user = row;
        user_key(&user);
        if (!ln_overlay_get(w->rows, user.key, user.klen, &newer) || newer.deleted) {
            ops->remove(w->engine, row.key, row.klen);
            --*room;
            w->purged++;
        }
        ops->iter_next(it);
    }
    if (rc != LN_OK)
        return rc;
    if (at->cap < row.klen + 1) {
        char *data = realloc(at->data, row.klen + 64);
        if (!data)
            return -ENOMEM;
        at->data = data;
        at->cap = row.klen + 64;
    }
    if (row.klen)
        memcpy(at->data, row.key, row.klen);
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

static int add_compaction(struct ln_write *w, const char *from, size_t from_len,
                          const struct mark *upto) {
    struct ln_compaction *c = malloc(sizeof *c + from_len);
    if (!c)
        return -ENOMEM;
    *c = (struct ln_compaction){.from_len = from_len, .to_len = upto->from_len};
    memcpy(c->from, from, from_len);
    c->to = malloc(upto->from_len + 1);
    if (!c->to) {
        free(c);
        return -ENOMEM;
    }
    memcpy(c->to, upto->from, upto->from_len);
    struct ln_compaction **end = &w->compactions;
    while (*end)
        end = &(*end)->next;
    *end = c;
    return LN_OK;
}

void ln_compactions_free(struct ln_compaction *list) {
    while (list) {
        struct ln_compaction *next = list->next;
        free(list->to);
        free(list);
        list = next;
    }
}

/* To be compacted later, in pieces; a piece that is left out for want of memory only costs time. */
struct piece {
    struct ln_key from;
    size_t from_len, rows;
};

static void end_piece(struct ln_write *w, struct piece *p, const struct mark *here, bool last) {
    if (p->rows >= COMPACT_ROWS || (last && p->rows >= COMPACT_LEAST))
        (void)add_compaction(w, p->from.data, p->from_len, here);
    else if (p->from.data)
        return;
    char *data = realloc(p->from.data, here->from_len + 1);
    if (!data)
        return;
    p->from.data = data;
    memcpy(data, here->from, here->from_len);
    p->from_len = here->from_len;
    p->rows = 0;
}

static int purge_mark(struct ln_write *w, uint32_t number, struct mark mark, atomic_bool *stop) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_engine_iter *it = ops->iter_open(w->engine, NULL);
    struct ln_key at = {0};
    struct piece piece = {0};
    int rc = it ? LN_OK : -ENOMEM;
    if (it)
        ops->iter_seek(it, mark.from, mark.from_len);
    while (rc == LN_OK) {
        end_piece(w, &piece, &mark, false);
        size_t room = PURGE_ROWS;
        int end = atomic_load(stop) ? -EINTR : remove_rows(w, it, &mark, &room, &at);
        piece.rows += PURGE_ROWS - room;
        rc = end == LN_OK ? put_mark(w->engine, number, &mark) : end;
        if (rc == LN_OK || rc == LN_EOF) {
            rc = ops->write(w->engine, false, &w->detail);
            if (rc == LN_OK && end == LN_EOF)
                break;
        } else {
            ops->discard(w->engine);
        }
    }
    end_piece(w, &piece, &mark, true);
    free(piece.from.data);
    free(at.data);
    if (it)
        ops->iter_close(it);
    return rc;
}

/* The marks are read through an iterator of their own: the purge rewrites them, it does not see
 * that. */
int ln_write_purge(struct ln_write *w, atomic_bool *stop) {
    const struct ln_engine_ops *ops = w->engine->ops;
    struct ln_engine_iter *it = ops->iter_open(w->engine, NULL);
    struct ln_overlay_row row;
    uint32_t number;
    int rc = it ? LN_OK : -ENOMEM;
    if (!it)
        return rc;
    ops->iter_seek(it, KEY(MARK));
    while (rc == LN_OK && (rc = ops->iter_row(it, &w->detail, &row)) == LN_OK &&
           row.klen == sizeof MARK - 1 + 4 && memcmp(row.key, KEY(MARK)) == 0) {
        struct mark mark;
        memcpy(&number, row.key + sizeof MARK - 1, 4);
        if (parse_mark(row.value, row.vlen, &mark))
            rc = purge_mark(w, be32toh(number), mark, stop);
        if (rc == LN_OK)
            ops->iter_next(it);
    }
    ops->iter_close(it);
    if (rc == LN_OK || rc == LN_EOF)
        rc = remove_leftovers(w->engine, &w->detail);
    if (rc == LN_OK)
        rc = ops->write(w->engine, false, &w->detail);
    else
        ops->discard(w->engine);
    if (rc == LN_OK)
        w->leftovers = false;
    else if (!w->detail.text[0])
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
