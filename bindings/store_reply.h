/* Between the store's bindings: rows of a range as the reply to a command, without a value of Lua's
 * for each. */
#ifndef LUNODE_STORE_REPLY_H
#define LUNODE_STORE_REPLY_H

#include "resp_value.h"
#include "store.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ln_reply_what { LN_REPLY_KEYS, LN_REPLY_VALUES, LN_REPLY_BOTH, LN_REPLY_SCORES };

struct ln_reply {
    struct ln_walk range; /* without its function */
    uint64_t offset, limit;
    uint64_t known; /* how many rows the range has; UINT64_MAX: nobody knows */
    bool exact;     /* others make no reply */
    enum ln_reply_what what;
    size_t skip; /* bytes left out at the start of each key */
    enum ln_resp_kind kind;
    int protocol; /* of scores */

    struct ln_buffer *elements; /* private, and so is the rest */
    uint64_t rows, left_out, pieces;
    int status;
};

/* Pushes it: 1; 0: not as many as known, and they had to be. Raises where the store fails. */
int ln_store_reply(lua_State *L, struct ln_store *store, struct ln_reply *reply);

#endif
