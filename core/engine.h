/* What a storage engine implements: an ordered map on disk from byte strings to byte strings.
 *
 * The store owns the directory, its lock and its format; an engine owns one folder inside of it.
 * Keys are ordered as memcmp orders them. Functions return LN_OK or a negative status, and on
 * failure fill detail (which may be NULL) with the engine's own words. Engines call nothing back.
 * Called by one thread at a time. */
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

struct ln_engine_ops {
    const char *name;

    /* Opens the engine in path, and makes it where there is none. LN_ECORRUPT where something is
     * there but damaged, LN_ELOCKED, -EACCES, -ENOSPC, … On failure, nothing that was there is
     * lost. */
    int (*open)(const char *path, const struct ln_engine_options *options, struct ln_detail *detail,
                struct ln_engine **out);

    /* REQUIRES: no iterator is open. */
    void (*close)(struct ln_engine *engine);

    /* Stores a malloc'd copy of the value, for the caller to free. -ENOENT: there is no such row
     * (then without detail). */
    int (*get)(struct ln_engine *engine, const void *key, size_t klen, struct ln_detail *detail,
               char **value, size_t *vlen);

    /* Applies all rows, tombstones as deletions, as one atomic batch: after a crash, all of them
     * are there or none. It survives a crash of the process; with sync, it and all before it also
     * survive a power failure. No rows: only the sync. After a failure, what is on disk is unknown.
     */
    int (*write)(struct ln_engine *engine, const struct ln_overlay *rows, bool sync,
                 struct ln_detail *detail);

    /* The size of what is stored, about; what is still in the engine's own log may be left out. */
    uint64_t (*disk_bytes)(struct ln_engine *engine);

    /* An iterator over the rows as they are now: later writes do not show. NULL: no memory. */
    struct ln_engine_iter *(*iter_open)(struct ln_engine *engine);
    void (*iter_close)(struct ln_engine_iter *iter);

    /* Moves to the first row whose key is >= key, or to the next row. */
    void (*iter_seek)(struct ln_engine_iter *iter, const void *key, size_t klen);
    void (*iter_next)(struct ln_engine_iter *iter);

    /* The row it stands on, borrowed until it moves; row->deleted is false. LN_EOF past the last
     * one, or why no row can be read. REQUIRES: a seek. */
    int (*iter_row)(struct ln_engine_iter *iter, struct ln_detail *detail,
                    struct ln_overlay_row *row);
};

extern const struct ln_engine_ops ln_engine_leveldb;

#endif
