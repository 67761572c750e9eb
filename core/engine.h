/* What a storage engine implements: an ordered map from byte strings to byte strings.
 *
 * The store owns the directory, its lock and its format; an engine owns one folder inside of it.
 * Keys are ordered as memcmp orders them. Functions return LN_OK or a negative status, and on
 * failure fill detail (which may be NULL) with the engine's own words. Engines call nothing back.
 *
 * Threads: one may write (the batch), while others read, each with iterators of its own. Open and
 * close exclude everything else. */
#ifndef LUNODE_ENGINE_H
#define LUNODE_ENGINE_H

#include "overlay.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ln_engine_options {
    size_t cache; /* bytes of block cache */
};

/* Each engine's object and iterator begin with these. */
struct ln_engine {
    const struct ln_engine_ops *ops;
};

struct ln_engine_iter {
    const struct ln_engine_ops *ops;
};

struct ln_engine_snapshot; /* of one engine, and private to it */

struct ln_engine_ops {
    const char *name;
    bool durable; /* what was written is there at the next open */
    bool ranges;  /* has delete_range; else it is NULL, and the store deletes row by row */

    /* Whether it is there at all: LN_OK; or -ENOSYS, which says what to do. NULL: it is. */
    int (*check)(struct ln_detail *detail);

    /* Opens the engine in path, and makes it where there is none. LN_ECORRUPT where something is
     * there but damaged, LN_ELOCKED, -EACCES, -ENOSPC, … On failure, nothing that was there is
     * lost. */
    int (*open)(const char *path, const struct ln_engine_options *options, struct ln_detail *detail,
                struct ln_engine **out);

    /* REQUIRES: no iterator and no snapshot is open. */
    void (*close)(struct ln_engine *engine);

    /* Stores a malloc'd copy of the value, for the caller to free. -ENOENT: there is no such row
     * (then without detail). snapshot: NULL for the rows as they are now. */
    int (*get)(struct ln_engine *engine, struct ln_engine_snapshot *snapshot, const void *key,
               size_t klen, struct ln_detail *detail, char **value, size_t *vlen);

    /* Gather a batch, of which later writes win; key and value are copied. to == NULL: no end. */
    void (*put)(struct ln_engine *engine, const void *key, size_t klen, const void *value,
                size_t vlen);
    void (*remove)(struct ln_engine *engine, const void *key, size_t klen);
    void (*remove_range)(struct ln_engine *engine, const void *from, size_t from_len,
                         const void *to, size_t to_len);

    /* Writes the batch, atomically: after a crash, all of it is there or nothing. It survives a
     * crash of the process; with sync, it and all before it also survive a power failure. An empty
     * batch: only the sync. After a failure, what is on disk is unknown. The batch is empty then,
     * either way. */
    int (*write)(struct ln_engine *engine, bool sync, struct ln_detail *detail);

    /* Forgets the batch. */
    void (*discard)(struct ln_engine *engine);

    /* Takes what deletions left behind out of a range, now; may last. to == NULL: no end. */
    void (*compact)(struct ln_engine *engine, const void *from, size_t from_len, const void *to,
                    size_t to_len);

    /* The size of what is stored, about; what is still in the engine's own log may be left out. */
    uint64_t (*disk_bytes)(struct ln_engine *engine);

    /* The rows as they are now, whatever is written later. NULL: no memory. */
    struct ln_engine_snapshot *(*snapshot)(struct ln_engine *engine);
    void (*release)(struct ln_engine *engine, struct ln_engine_snapshot *snapshot);

    /* An iterator over the rows of the snapshot, or (NULL) as they are now: later writes do not
     * show. It belongs to one thread. NULL: no memory. */
    struct ln_engine_iter *(*iter_open)(struct ln_engine *engine,
                                        struct ln_engine_snapshot *snapshot);
    void (*iter_close)(struct ln_engine_iter *iter);

    /* Moves to the first row whose key is >= key; or to the last one whose key is < key. */
    void (*iter_seek)(struct ln_engine_iter *iter, const void *key, size_t klen);
    void (*iter_seek_before)(struct ln_engine_iter *iter, const void *key, size_t klen);
    void (*iter_last)(struct ln_engine_iter *iter);
    void (*iter_next)(struct ln_engine_iter *iter);
    void (*iter_prev)(struct ln_engine_iter *iter);

    /* The row it stands on, borrowed until it moves; row->deleted is false. LN_EOF past either end,
     * or why no row can be read. REQUIRES: a seek, or iter_last. */
    int (*iter_row)(struct ln_engine_iter *iter, struct ln_detail *detail,
                    struct ln_overlay_row *row);
};

extern const struct ln_engine_ops ln_engine_leveldb;
extern const struct ln_engine_ops ln_engine_memory;

extern const struct ln_engine_ops ln_engine_rocksdb;

/* By name; NULL: there is none of that name. */
const struct ln_engine_ops *ln_engine_find(const char *name);

#endif
