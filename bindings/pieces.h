/* Between the bindings: strings behind each other, each with its length in front, u32be: what DUMP
 * makes of a collection. */
#ifndef LUNODE_BINDINGS_PIECES_H
#define LUNODE_BINDINGS_PIECES_H

#include <lauxlib.h>
#include <stdbool.h>
#include <stddef.h>

enum { LN_PIECE_HEAD = 4 };

struct ln_pieces {
    const char *at;
    size_t left;
    bool good; /* false: what is left is damaged, or there was nothing */
};

/* The string at `index`, from the place on that the one at `index + 1` tells (1 where it does not).
 * Borrowed from it. */
static inline struct ln_pieces ln_check_pieces(lua_State *L, int index) {
    size_t len;
    const char *text = luaL_checklstring(L, index, &len);
    lua_Integer first = luaL_optinteger(L, index + 1, 1);
    if (first < 1 || (size_t)(first - 1) >= len)
        return (struct ln_pieces){text, 0, false};
    return (struct ln_pieces){text + first - 1, len - (size_t)(first - 1), true};
}

/* False at the end, and where it is damaged. */
static inline bool ln_next_piece(struct ln_pieces *p, const char **piece, size_t *len) {
    const unsigned char *head = (const unsigned char *)p->at;
    if (!p->good || p->left == 0)
        return false;
    p->good = p->left >= LN_PIECE_HEAD;
    if (!p->good)
        return false;
    *len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    p->good = *len <= p->left - LN_PIECE_HEAD;
    if (!p->good)
        return false;
    *piece = p->at + LN_PIECE_HEAD;
    p->at += LN_PIECE_HEAD + *len;
    p->left -= LN_PIECE_HEAD + *len;
    return true;
}

static inline void ln_piece_head(char head[LN_PIECE_HEAD], size_t len) {
    for (unsigned i = 0; i < LN_PIECE_HEAD; i++)
        head[i] = (char)(len >> (24 - 8 * i));
}

#endif
