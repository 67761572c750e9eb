/* Members of a set, by their hashes, as far as they were read: for those who choose some at random,
 * and would have to ask the store for the neighbours of each hash.
 *
 * The space of hashes is cut into segments of some members each. Somebody reads a segment as it is
 * needed; after that it has to be told what comes and goes. Members of the same hash are in the
 * order of memcmp.
 *
 * Members are copied in; what is handed out is borrowed until the next call that is not const.
 * Changes return LN_OK or -ENOMEM; then the segment counts as not read. Not thread-safe. */
#ifndef LUNODE_NEARBY_H
#define LUNODE_NEARBY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ln_nearby;

struct ln_nearby_row {
    const char *member;
    size_t len;
    uint32_t hash;
};

/* For a set of so many members, none of which is read yet. NULL: no memory. */
struct ln_nearby *ln_nearby_new(size_t count);
void ln_nearby_free(struct ln_nearby *n);

/* The set has so many members now: segments are joined where they have become few. False: they have
 * become so many that it is time for a new one. */
bool ln_nearby_fit(struct ln_nearby *n, size_t count);

/* Of all that is held, about. */
size_t ln_nearby_bytes(const struct ln_nearby *n);

size_t ln_nearby_segments(const struct ln_nearby *n);

/* What lies in a segment: from <= hash; hash < past, or past == 0: all that follow. */
void ln_nearby_range(const struct ln_nearby *n, size_t segment, uint32_t *from, uint32_t *past);

/* A segment has been read: `read`, then `add` for each of its members, in their order. */
int ln_nearby_read(struct ln_nearby *n, size_t segment);

/* The member that is `offset` behind the first one from `hash` on. LN_OK; -ENOENT: there are not so
 * many; -EAGAIN: *segment is to be read first. */
int ln_nearby_find(const struct ln_nearby *n, uint32_t hash, size_t offset, size_t *segment,
                   struct ln_nearby_row *out);

/* All members, one after the other: from a cursor of zeros on. LN_OK; LN_EOF; -EAGAIN: the cursor's
 * segment is to be read first. */
struct ln_nearby_cursor {
    size_t segment, at;
};
int ln_nearby_next(const struct ln_nearby *n, struct ln_nearby_cursor *cursor,
                   struct ln_nearby_row *out);

/* A member has come or gone. What lies in a segment that was not read is not noted. */
int ln_nearby_add(struct ln_nearby *n, uint32_t hash, const void *member, size_t len);
void ln_nearby_remove(struct ln_nearby *n, uint32_t hash, const void *member, size_t len);

#endif
