/* An ordered map in memory from byte strings to values or tombstones, and the ranges that were
 * deleted: the writes that the engine does not have yet.
 *
 * A deleted range is one marker, however many rows it covers, here or below. Writes are numbered:
 * a row that is older than a range that covers it counts as deleted, a later one stands.
 *
 * Nodes in an arena; a B+-tree over them, ordered as memcmp orders (a prefix comes first), and a
 * hash table for those who look for one key. The same calls build the same tree.
 *
 * Keys and values are copied in; they may point into the overlay itself. What is handed out is
 * borrowed: values until the next call that is not const, nodes until the next rollback or clear,
 * places in the order until the version changes.
 *
 * The mark is where rollback returns to. It stands where the last of init, begin and clear put it;
 * there is one, and they do not nest. Not thread-safe. */
#ifndef LUNODE_OVERLAY_H
#define LUNODE_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ln_overlay_node;
struct ln_overlay_page;
struct ln_overlay_segment;
struct ln_overlay_block;
struct ln_overlay_large;
struct ln_overlay_undo;
struct ln_overlay_pack;

/* The nodes in their order. */
struct ln_overlay_index {
    struct ln_overlay_page *root;  /* NULL: no nodes */
    struct ln_overlay_page *spare; /* a stack: what the next change may take */
    unsigned spares;
};

/* The nodes by their keys. */
struct ln_overlay_table {
    struct ln_overlay_segment **segments; /* 2^depth places; NULL: no nodes yet */
    unsigned depth;
    size_t reaped; /* places whose segments are freed, from the end */
};

/* A place in the order: on a row, or past an end. */
struct ln_overlay_cursor {
    struct ln_overlay_page *page; /* private; NULL: past an end */
    unsigned at;
};

/* Rows that follow each other, and lie in one page. */
struct ln_overlay_run {
    struct ln_overlay_page *page; /* private */
    unsigned at, end;
    bool reverse; /* from the last one to the first */
};

static inline unsigned ln_overlay_run_count(const struct ln_overlay_run *run) {
    return run->end - run->at;
}

/* Its rows without the first few. */
static inline struct ln_overlay_run ln_overlay_run_from(struct ln_overlay_run run, unsigned skip) {
    if (run.reverse)
        run.end -= skip;
    else
        run.at += skip;
    return run;
}

/* Its first few rows. */
static inline struct ln_overlay_run ln_overlay_run_of(struct ln_overlay_run run, unsigned count) {
    if (run.reverse)
        run.at = run.end - count;
    else
        run.end = run.at + count;
    return run;
}

/* Memory for packs (overlay_pack.c), shared by the overlays of a store. */
struct ln_overlay_packs {
    struct ln_overlay_pack *hand; /* of the clock; NULL: none */
    size_t bytes, limit;
};

/* The keys with from <= key < to; to == NULL: no end. */
struct ln_range {
    const char *from, *to;
    size_t from_len, to_len;
    uint64_t seq; /* private */
    bool written; /* rows in it may have been written since; else none of them stands */
};

struct ln_overlay {     /* all fields private but the first five */
    size_t count;       /* rows, tombstones and those that came and went included */
    size_t bytes;       /* of their keys and values */
    size_t memory;      /* that they take; more, where rows were written again and again */
    uint64_t version;   /* grows with each change */
    size_t range_count; /* deleted ranges, in order and apart from each other */

    struct ln_overlay_table table;
    struct ln_overlay_index index;
    uint64_t seq;                   /* of the last write */
    uint64_t mark;                  /* of the last write before the mark */
    struct ln_overlay_block *block; /* the newest; a stack */
    struct ln_overlay_block *mark_block;
    size_t mark_used;
    struct ln_overlay_undo *undo; /* what the rows changed since the mark were before */
    size_t undo_len, undo_cap;
    size_t leaving;                  /* deletions of new rows since the mark */
    bool distrusts;                  /* what is new has to be deleted below, too */
    struct ln_overlay_large *larges; /* values that have an allocation of their own */
    size_t large;                    /* how many */
    struct ln_range *ranges, *saved_ranges;
    size_t range_cap, saved_count, saved_cap;
    uint64_t range_seq;             /* of the last write that deleted a range */
    struct ln_overlay_packs *packs; /* NULL: nothing is packed. Borrowed */
    bool ranges_saved; /* saved_ranges are those of the mark, and ranges have changed since */
};

struct ln_overlay_row {
    const char *key;
    size_t klen;
    const char *value; /* never NULL */
    size_t vlen;
    bool deleted; /* a tombstone; its value is empty */
};

void ln_overlay_init(struct ln_overlay *o);
void ln_overlay_free(struct ln_overlay *o);

/* Sets the row of key, or makes it a tombstone: LN_OK; or -ENOMEM, and then nothing has changed.
 * REQUIRES: lengths below UINT32_MAX. */
int ln_overlay_put(struct ln_overlay *o, const void *key, size_t klen, const void *value,
                   size_t vlen);
int ln_overlay_delete(struct ln_overlay *o, const void *key, size_t klen);

/* As put. The caller knows that there is no such row, neither here nor below, or that a deleted
 * range covers it here. When it is deleted, it is gone with the next move of the mark: out of the
 * order, with no tombstone. ln_overlay_get knows it as deleted. */
int ln_overlay_put_new(struct ln_overlay *o, const void *key, size_t klen, const void *value,
                       size_t vlen);

/* From now on, who knows what lies below: each deletion leaves a tombstone. Until clear. */
void ln_overlay_distrust(struct ln_overlay *o);

/* Deletes all rows of a range, here and below. As above. An empty range changes nothing. */
int ln_overlay_delete_range(struct ln_overlay *o, const void *from, size_t from_len, const void *to,
                            size_t to_len);

/* Deletes the rows of a range below, as if that had come before all that is here. LN_OK; or
 * -ENOMEM, and parts of the range may be there. */
int ln_overlay_delete_range_below(struct ln_overlay *o, const struct ln_range *range);

/* Moves the mark to here. */
void ln_overlay_begin(struct ln_overlay *o);

/* Makes the content what it was at the mark, which stays. */
void ln_overlay_rollback(struct ln_overlay *o);

/* Removes everything and moves the mark to here. Keeps one block of memory for what comes next. */
void ln_overlay_clear(struct ln_overlay *o);

/* Frees about so many bytes of it, for who must not spend long at once: true once all is gone, and
 * the overlay is as after init. Until then nothing else may be done with it. */
bool ln_overlay_reap(struct ln_overlay *o, size_t bytes);

/* The first row whose key is >= key, the last one whose key is < key, and both ends of all. */
struct ln_overlay_cursor ln_overlay_seek(const struct ln_overlay *o, const void *key, size_t klen);
struct ln_overlay_cursor ln_overlay_seek_before(const struct ln_overlay *o, const void *key,
                                                size_t klen);
struct ln_overlay_cursor ln_overlay_first(const struct ln_overlay *o);
struct ln_overlay_cursor ln_overlay_last(const struct ln_overlay *o);

/* A step to the row after or before; past an end it stays there. */
void ln_overlay_next(struct ln_overlay_cursor *c);
void ln_overlay_prev(struct ln_overlay_cursor *c);

/* NULL: past an end. */
const struct ln_overlay_node *ln_overlay_at(const struct ln_overlay_cursor *c);

/* What a node says now: one that a later range covers is a tombstone. */
struct ln_overlay_row ln_overlay_row(const struct ln_overlay *o,
                                     const struct ln_overlay_node *node);

/* The rows from a place on whose keys are before key (NULL: no end), or backwards those whose keys
 * are not before key; as far as they lie in its page. REQUIRES: the place is on a row. */
struct ln_overlay_run ln_overlay_run(const struct ln_overlay_cursor *c, const void *key,
                                     size_t klen);
struct ln_overlay_run ln_overlay_run_back(const struct ln_overlay_cursor *c, const void *key,
                                          size_t klen);

/* REQUIRES: i is less than their count. */
struct ln_overlay_row ln_overlay_run_row(const struct ln_overlay *o,
                                         const struct ln_overlay_run *run, unsigned i);

/* The place of the row behind them: after the last one, or backwards before the first. REQUIRES:
 * there was at least one row in the run, which may be passed. */
struct ln_overlay_cursor ln_overlay_run_past(const struct ln_overlay_run *run);

/* ---- packs: what somebody makes of a run's rows, kept with them in one piece until one of them
 * changes. tag: what was made of them, 0 is none. */
enum { LN_OVERLAY_RUN = 64 /* rows at most */ };

/* What was packed of each row of the run, one behind the other, or NULL. None of the rows is
 * deleted then. Borrowed until the next call that is not const. */
const char *ln_overlay_packed(struct ln_overlay *o, const struct ln_overlay_run *run, uint64_t tag,
                              size_t *len);

/* Whether a run that was not packed is worth it: it was asked for before. */
bool ln_overlay_pack_wanted(struct ln_overlay *o, const struct ln_overlay_run *run);

/* Keeps the bytes; those of the i-th row of the run end at ends[i]. Where memory lacks, or they are
 * many, they are left out. REQUIRES: none of the rows is deleted. */
void ln_overlay_pack(struct ln_overlay *o, const struct ln_overlay_run *run, uint64_t tag,
                     const char *bytes, const size_t *ends);

/* For tests: rows of a run below which it is not worth it. */
extern unsigned ln_overlay_pack_rows;

/* The deleted range that key lies in, or NULL. Borrowed until the next change. */
const struct ln_range *ln_overlay_covering(const struct ln_overlay *o, const void *key,
                                           size_t klen);

/* The first deleted range that ends behind key, or NULL. As above. */
const struct ln_range *ln_overlay_range_from(const struct ln_overlay *o, const void *key,
                                             size_t klen);

/* The order of memcmp, a prefix before what is longer: negative, 0 or positive. */
int ln_key_compare(const void *a, size_t alen, const void *b, size_t blen);

/* The same in all overlays of a process. */
uint64_t ln_overlay_hash(const void *key, size_t klen);

bool ln_overlay_look(const struct ln_overlay *o, uint64_t hash, const void *key, size_t klen,
                     struct ln_overlay_row *row);

/* Hints for the processor's cache, in three steps, so that those of several keys overlap: where the
 * table has the key, its node (NULL: there is none), its value. Between them nothing may change. */
void ln_overlay_fetch_slot(const struct ln_overlay *o, uint64_t hash);
const struct ln_overlay_node *ln_overlay_fetch_node(const struct ln_overlay *o, uint64_t hash);
void ln_overlay_fetch_value(const struct ln_overlay_node *node);

/* Whether the overlay knows about key: then row says what. An empty overlay, the usual case for a
 * read, costs one branch. For who asks several: with the key's hash. */
static inline bool ln_overlay_get_hashed(const struct ln_overlay *o, uint64_t hash, const void *key,
                                         size_t klen, struct ln_overlay_row *row) {
    return (o->count || o->range_count) && ln_overlay_look(o, hash, key, klen, row);
}

static inline bool ln_overlay_get(const struct ln_overlay *o, const void *key, size_t klen,
                                  struct ln_overlay_row *row) {
    return (o->count || o->range_count) &&
           ln_overlay_look(o, ln_overlay_hash(key, klen), key, klen, row);
}

const struct ln_overlay_node *ln_overlay_search(const struct ln_overlay *o, const void *key,
                                                size_t klen);

/* The node of key, or NULL. */
static inline const struct ln_overlay_node *ln_overlay_find(const struct ln_overlay *o,
                                                            const void *key, size_t klen) {
    return o->count ? ln_overlay_search(o, key, klen) : NULL;
}

#endif
