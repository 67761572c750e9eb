/* From an overlay into an engine: keys as the engine has them, the batch of a flush, and the rows
 * that deleted ranges leave behind. Knows no store and no loop; runs on whichever thread writes.
 *
 * An engine without ranges of its own gets them deleted row by row. Up to a bound that happens in
 * the flush's own batch, and nobody ever sees the difference. What is left of the ranges goes into
 * the batch as marks, together with the keys in them that were written since (docs/data-format.md);
 * then the rows go in bounded batches, and the marks last. While there are marks, the overlay that
 * they came from has to stay above the engine: it hides what is still there. After a crash the
 * marks bring it back. */
#ifndef LUNODE_STORE_WRITE_H
#define LUNODE_STORE_WRITE_H

#include "engine.h"

#include <stdatomic.h>

/* A growing buffer. Zeroed, it is empty. */
struct ln_key {
    char *data;
    size_t cap;
};

/* The user's key as the engine has it: in *stored, borrowed from key or from the buffer. The keys
 * from FF FF on get one more FF in front, so that FF FF 00 is ours. LN_OK or -ENOMEM. */
int ln_stored_key(struct ln_key *buffer, const void *key, size_t klen, const char **stored,
                  size_t *stored_len);

#define LN_SYSTEM_START "\xff\xff"     /* our own rows from here … */
#define LN_SYSTEM_END   "\xff\xff\xff" /* … to here */

static inline bool ln_is_system(const char *stored, size_t len) {
    return len >= 3 && stored[0] == (char)0xff && stored[1] == (char)0xff && stored[2] == 0;
}

/* The user's key is the stored one without its first `skip` bytes. */
static inline size_t ln_stored_skip(const char *stored, size_t len) {
    return len >= 3 && stored[0] == (char)0xff && stored[1] == (char)0xff &&
           stored[2] == (char)0xff;
}

/* What is asked of a purge while it is at work. */
enum ln_purge {
    LN_PURGE_ON,
    LN_PURGE_PAUSE,     /* end soon, if that is cheap: few rows would have to be kept in memory */
    LN_PURGE_PAUSE_NOW, /* end, whatever it costs */
    LN_PURGE_STOP,      /* end at once; nothing is told of what is left */
};

struct ln_write {
    /* In. rows stays as it is until the write has ended. */
    struct ln_engine *engine;
    const struct ln_overlay *rows;
    uint64_t index; /* 0: none is written */
    bool sync;
    bool leftovers; /* there may be marks in the engine; then: there are */
    /* Empty; of a purge that was paused then: what is left of the ranges, and the rows in them that
     * were written since. NULL: it is not to be paused. */
    struct ln_overlay *rest;
    /* Out. */
    struct ln_detail detail;
    uint64_t purged;
    size_t survivors;
};

/* The batch. LN_OK, and with leftovers false, all is done; with leftovers, ln_write_purge follows.
 * Else what failed, and it may all be done again. */
int ln_write_batch(struct ln_write *w);

/* Deletes the rows of the ranges that have marks, piece by piece, each with its mark, and has the
 * engine compact what that leaves. LN_OK, and with leftovers false, all are gone; with leftovers,
 * it was paused. -EINTR: stopped; the marks stay. */
int ln_write_purge(struct ln_write *w, atomic_int *ask);

/* The index in the engine, 0 where there is none. LN_OK, or why it cannot be read. */
int ln_read_applied(struct ln_engine *engine, struct ln_detail *detail, uint64_t *index);

/* Brings back into rows what marks tell. *found: there were some. */
int ln_read_leftovers(struct ln_engine *engine, struct ln_overlay *rows, struct ln_detail *detail,
                      bool *found);

/* For tests: rows deleted in the batch itself, at most; and in a piece of a purge. */
extern atomic_size_t ln_write_inline_rows, ln_write_piece_rows;

#endif
