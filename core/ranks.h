/* Where members stand in a large sorted set, without a walk over all that precede them: some of its
 * members are nodes, each with its span, the number of members from it up to the next node. Here
 * are the nodes, in order, in memory; who asks walks over less than one span.
 *
 * What has changed since the last ln_ranks_begin can be undone. Nodes that have changed are
 * unsaved, until ln_ranks_saved says that they are in the store.
 *
 * Keys are ordered as memcmp orders (a prefix comes first), and copied in; what is handed out is
 * borrowed until the next call that is not const. Changes return LN_OK, or a failure, and then
 * nothing has changed. Not thread-safe. */
#ifndef LUNODE_RANKS_H
#define LUNODE_RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ln_ranks;

struct ln_ranks_node {
    const char *key;
    size_t klen;
    uint32_t span;
    uint64_t before; /* the spans of all nodes before it, together */
};

/* NULL: no memory. */
struct ln_ranks *ln_ranks_new(void);
void ln_ranks_free(struct ln_ranks *r);

/* The spans of all nodes. */
uint64_t ln_ranks_sum(const struct ln_ranks *r);

/* The last node at or before key. False: there is none. */
bool ln_ranks_at(struct ln_ranks *r, const void *key, size_t klen, struct ln_ranks_node *out);

/* The node whose span has the member of this rank, from 0 at the first node. False: past them. */
bool ln_ranks_with(struct ln_ranks *r, uint64_t rank, struct ln_ranks_node *out);

/* -EEXIST, -ENOMEM. */
int ln_ranks_insert(struct ln_ranks *r, const void *key, size_t klen, uint32_t span);

/* -ENOENT, -ENOMEM. */
int ln_ranks_remove(struct ln_ranks *r, const void *key, size_t klen, uint32_t *span);

/* Adds to the span that key lies in; before all nodes, nothing is to be done. -ERANGE: it would be
 * negative, or past 32 bits; -ENOMEM. */
int ln_ranks_add(struct ln_ranks *r, const void *key, size_t klen, int64_t by);

/* A member that is no node goes from one key to another; NULL: it comes, or goes. As ln_ranks_add.
 */
int ln_ranks_move(struct ln_ranks *r, const void *from, size_t from_len, const void *to,
                  size_t to_len);

void ln_ranks_begin(struct ln_ranks *r);

/* Makes the nodes what they were at ln_ranks_begin; those that had changed stay unsaved. */
void ln_ranks_rollback(struct ln_ranks *r);

/* The i-th unsaved node, without what is before it. False: there are no more. */
bool ln_ranks_unsaved(const struct ln_ranks *r, size_t i, struct ln_ranks_node *out);
size_t ln_ranks_unsaved_count(const struct ln_ranks *r); /* at most so many */

/* What was unsaved is in the store. Begins, too. */
void ln_ranks_saved(struct ln_ranks *r);

#endif
