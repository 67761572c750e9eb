/* Rows of the engine that were read lately, and keys that it does not have, within a bound of
 * memory.
 *
 * Resists scans and one-time reads: a row enters on probation (a tenth of the memory, first in,
 * first out), and only one that is read again while there moves on to the rest, where a CLOCK
 * evicts. (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023, without its
 * ghost queue; its place takes a doorkeeper, after Einziger et al., "TinyLFU", 2017,
 * section 3.4.2.) A hit sets a bit and moves nothing.
 *
 * Keys and values are copied in; what is handed out is borrowed until the next call. Not
 * thread-safe. */
#ifndef LUNODE_ROW_CACHE_H
#define LUNODE_ROW_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ln_row_cache;

struct ln_cached {
    const char *value;
    size_t vlen;
    bool absent; /* the engine has no such row */
};

struct ln_row_cache_stats {
    uint64_t hits, misses;
    size_t rows, bytes; /* bytes: of all memory it holds, its table included */
};

/* Holds at most so many bytes; 0: nothing. NULL: no memory. */
struct ln_row_cache *ln_row_cache_new(size_t bytes);
void ln_row_cache_free(struct ln_row_cache *cache);

/* False: the cache does not know. */
bool ln_row_cache_get(struct ln_row_cache *cache, const void *key, size_t klen,
                      struct ln_cached *out);

/* Whether a row that was not there is worth to be added: it was asked for before, not long ago.
 * Most rows that are read once are not read again, and to add one costs a tenth of reading it. */
bool ln_row_cache_wants(struct ln_row_cache *cache, const void *key, size_t klen);

/* Adds what the engine was found to have: value == NULL, no such row. Where memory lacks, or the
 * row is large, it is left out. REQUIRES: the key is not there. */
void ln_row_cache_add(struct ln_row_cache *cache, const void *key, size_t klen, const void *value,
                      size_t vlen);

/* Forgets a key. An empty cache costs one branch. */
void ln_row_cache_drop(struct ln_row_cache *cache, const void *key, size_t klen);

/* Forgets the keys with from <= key < to (to == NULL: no end), in short and constant time: what
 * lies there is found out when it is met. */
void ln_row_cache_drop_range(struct ln_row_cache *cache, const void *from, size_t from_len,
                             const void *to, size_t to_len);

void ln_row_cache_stats(const struct ln_row_cache *cache, struct ln_row_cache_stats *out);

#endif
