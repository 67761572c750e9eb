/* What the store's files share: store.c (rows, commit), store_flush.c (the thread and what its
 * results mean), store_scan.c (scans and snapshots). store_write.c knows no store. */
#ifndef LUNODE_STORE_IMPL_H
#define LUNODE_STORE_IMPL_H

#include "engine.h"
#include "row_cache.h"
#include "store.h"
#include "store_write.h"

#include <pthread.h>

enum {
    LN_STORE_FROZEN = 8,    /* overlays at most that wait: one, unless snapshots are taken */
    LN_STORE_KEPT = 4,      /* overlays at most that stay after they were flushed */
    LN_STORE_FRESH = 8,     /* prefixes that are known to be in memory only */
    LN_STORE_RANGES = 4096, /* deleted ranges at which an overlay is flushed, whatever its size */
};

/* An overlay, and who needs it: the store, and snapshots. */
struct ln_layer {
    struct ln_overlay rows;
    size_t owners;
    uint64_t index;        /* of the last entry in it, and in what lies below */
    uint64_t number;       /* counts layers */
    struct ln_layer *next; /* in the list of those to be freed */
};

/* The thread, and the one flush that it has at a time. */
struct ln_flusher {
    pthread_t thread;
    bool started, busy; /* busy: a flush was handed over, and its end was not yet seen */
    bool held;          /* the loop is kept alive for it */
    struct ln_async async;
    pthread_mutex_t lock; /* for the rest */
    pthread_cond_t wake, done;
    bool work, durable, ended, quit;
    int status;
    int64_t nanoseconds;
    struct ln_write write;
    atomic_int ask;        /* of a purge: enum ln_purge */
    struct ln_layer *rest; /* the write's */
};

struct ln_fresh {
    uint64_t number; /* of the layer that was the active one */
    size_t len;
    char prefix[16];
};

struct ln_store {
    struct ln_loop *loop;
    struct ln_store_options options;
    const struct ln_engine_ops *ops;
    struct ln_engine *engine; /* NULL: could not be opened anew after the disk was full */
    struct ln_row_cache *cache;
    struct ln_key key; /* scratch */

    struct ln_layer *active;
    struct ln_layer *frozen[LN_STORE_FROZEN]; /* the oldest first */
    size_t frozen_count;
    struct ln_layer
        *flushed[LN_STORE_KEPT]; /* the last ones, which the engine has, the oldest first */
    size_t flushed_count;
    struct ln_layer *warm; /* NULL, or what the engine has in some ranges: see store_warm.c */
    uint64_t warm_hits, warm_loads, warm_pause;
    struct ln_overlay_packs packs;

    struct ln_fresh fresh[LN_STORE_FRESH]; /* the oldest first */
    size_t fresh_count;
    uint64_t epoch;       /* grows when the layers or the engine change */
    int64_t active_since; /* of its first write */
    uint64_t index;       /* of the last advance */
    bool logged, dirty;   /* there was an advance; there were writes since */
    bool leftovers;       /* the engine may have marks of deleted ranges */
    bool unsynced;        /* something was committed without sync */
    bool purging;         /* frozen[0] is durable, and rows of its ranges are being deleted */
    bool parked;          /* frozen[0] is what a paused purge has left; nobody works at it */
    uint64_t number;      /* of the active layer */
    uint64_t durable_number, durable_index, wanted_number;

    struct ln_flusher flusher;
    struct ln_store_flush *flushes, **flushes_end; /* that somebody waits for */
    bool tell_flushed, tell_failed, tell_room, no_room;
    struct ln_job tell_job, reap_job, close_job;
    struct ln_timer retry;
    struct ln_layer *dying;

    int failed; /* what a flush or commit failed with, for good */
    int full;   /* -ENOSPC, -EDQUOT: until the engine was opened anew */
    struct ln_detail failure;
    bool closed;

    struct ln_scan *scans; /* all that are open on the store itself */
    struct ln_snapshot *snapshots;
    uint64_t batches, flushed_bytes, purged;
    int64_t flush_time;
    int lock_fd;
    char *dir; /* NULL: memory only */
};

struct ln_snapshot {
    struct ln_store *store; /* NULL: closed before us */
    struct ln_snapshot *next, **link;
    struct ln_layer *layers[LN_STORE_FROZEN]; /* the newest first */
    size_t count;
    struct ln_engine_snapshot *engine; /* NULL, with a store: lost */
    uint64_t number;                   /* of its newest layer */
    uint64_t index, epoch;
    struct ln_scan *scans;
};

/* As ln_store_open, with an engine of one's own, for tests: ops is copied over the one asked for.
 */
int ln_store_open_engine(struct ln_loop *loop, const char *dir,
                         const struct ln_store_options *options, const struct ln_engine_ops *ops,
                         struct ln_detail *detail, struct ln_store **out);

/* store.c */
int ln_store_fail(const struct ln_store *s, struct ln_detail *detail, const char *doing, int status,
                  const char *cause);
struct ln_layer *ln_layer_new(struct ln_store *s);
void ln_layer_release(struct ln_store *s, struct ln_layer *layer);
/* Point reads look into this one from now on before they ask cache and engine, and into those of
 * the ones before that still have room; or into none (NULL). Takes it. */
void ln_store_keep_flushed(struct ln_store *s, struct ln_layer *layer);
static inline bool ln_layer_empty(const struct ln_layer *layer) {
    return layer->rows.count == 0 && layer->rows.range_count == 0;
}

/* store_flush.c */

/* Sets the active layer aside, to be flushed. LN_OK, -EAGAIN (too many are), -ENOMEM. */
int ln_store_seal(struct ln_store *s);
/* Hands the oldest frozen layer to the thread, if it is idle. LN_OK, or why there is no thread. */
int ln_store_kick(struct ln_store *s);
/* Seals where it is time to. */
void ln_store_maybe_seal(struct ln_store *s);
/* The active layer was written, but the rows of its ranges are many: what is left of them lies
 * below from now on, and the thread goes on in one of the next turns. REQUIRES: nothing is frozen.
 */
int ln_store_park_leftovers(struct ln_store *s);
/* Waits until no layer is frozen. LN_OK, or why that cannot be. */
int ln_store_wait(struct ln_store *s, struct ln_detail *detail);
/* What the end of a write means, whoever wrote. */
void ln_store_failed(struct ln_store *s, int status, const struct ln_detail *detail);
/* On a full disk: opens the engine anew, if there is space. */
int ln_store_recover(struct ln_store *s, struct ln_detail *detail);
/* Ends the thread. */
void ln_store_stop(struct ln_store *s);
/* Calls back, in the loop's next turn. */
void ln_store_tell(struct ln_store *s);
int ln_store_flusher_init(struct ln_store *s);
void ln_store_flusher_free(struct ln_store *s);
size_t ln_store_memory(const struct ln_store *s);

/* store_fresh.c */

/* Memory has the layers up to this number no more. */
void ln_store_stale(struct ln_store *s, uint64_t number);
bool ln_store_is_fresh(const struct ln_store *s, const void *key, size_t klen);
/* REQUIRES: from < to. */
bool ln_store_range_is_fresh(const struct ln_store *s, const char *from, size_t from_len,
                             const char *to, size_t to_len);

/* store_warm.c */

/* Whether the range was brought into the layer below all others. */
bool ln_store_is_warm(const struct ln_store *s, const char *from, size_t from_len, const char *to,
                      size_t to_len);
/* Whether memory has all rows of a range. */
bool ln_store_has_all(struct ln_store *s, const char *from, size_t from_len, const char *to,
                      size_t to_len);
/* Forgets what was brought. */
void ln_store_cool(struct ln_store *s);

/* store_scan.c */
void ln_scan_drop_iter(struct ln_scan *scan);
void ln_scan_detach_all(struct ln_scan **scans);
void ln_scan_drop_iters(struct ln_scan *scans);
void ln_snapshot_detach(struct ln_snapshot *snapshot);
/* The layer has reached the engine, as its last one: snapshots that end there need it no more. */
void ln_snapshots_settle(struct ln_store *s, uint64_t number);
void ln_snapshots_lose(struct ln_store *s);

#endif
