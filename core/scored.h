/* Members of sorted sets with their scores, gathered in memory to become a set or a reply: each
 * member once, in the order in which they come, until they are sorted. And scores as rows have
 * them.
 *
 * A member's name is what follows the prefix of its row: four bytes of hash, and the member. */
#ifndef LUNODE_SCORED_H
#define LUNODE_SCORED_H

#include "store.h"
#include "store_bulk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LN_SCORE_BYTES = 8, LN_HASH_BYTES = 4 };

/* Eight bytes that are ordered as the numbers are; there is one zero. */
void ln_score_encode(double score, char out[LN_SCORE_BYTES]);
double ln_score_decode(const char *bytes);

/* What becomes of a member's scores in several sets. */
enum ln_aggregate { LN_AGGREGATE_SUM, LN_AGGREGATE_MIN, LN_AGGREGATE_MAX };

struct ln_scored_entry {
    double score;
    size_t at; /* of its name */
    size_t len;
};

struct ln_scored {
    struct ln_scored_entry *entries; /* to be read; all else is private */
    size_t count, cap;
    struct ln_buffer names;
    bool by_name; /* that is their order */
};

/* A zeroed one is empty. */
void ln_scored_free(struct ln_scored *s);

/* Adds a member, which is not there: LN_OK or -ENOMEM. Copies the name. */
int ln_scored_add(struct ln_scored *s, double score, const char *name, size_t len);

static inline const char *ln_scored_name(const struct ln_scored *s,
                                         const struct ln_scored_entry *e) {
    return ln_buffer_data(&s->names) + e->at;
}

/* Adds what comes of several sets, at most `limit` members; a row without a value has the score 1.
 * weights: one for each input. LN_OK; or a status and a detail. */
int ln_scored_merge(struct ln_scored *s, struct ln_merge *merge, const double *weights,
                    enum ln_aggregate aggregate, uint64_t limit, struct ln_detail *detail);

/* By scores, and where these are the same, by members. */
void ln_scored_sort(struct ln_scored *s);

/* By names. False: one is there twice. */
bool ln_scored_sort_names(struct ln_scored *s);

/* What a sorted set's rows begin with: `members` those by name, whose values are scores; `scores`
 * those by score and member; `nodes` those of every 256th member, chosen by its hash, whose values
 * tell how many there are up to the next one. */
struct ln_scored_rows {
    struct ln_store *store;
    const char *members, *scores, *nodes;
    size_t members_len, scores_len, nodes_len;
};

/* Puts all rows of the set; there are none with these prefixes. Sorts. LN_OK, or what a put says;
 * and how many nodes there are. */
int ln_scored_put(struct ln_scored *s, const struct ln_scored_rows *rows, size_t *nodes);

#endif
