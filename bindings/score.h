/* Between the bindings: scores of sorted sets as their rows have them. */
#ifndef LUNODE_BINDINGS_SCORE_H
#define LUNODE_BINDINGS_SCORE_H

/* Of the eight bytes that lunode.score makes. */
double ln_score_decode(const char *bytes);

#endif
