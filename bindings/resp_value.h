/* Lua values as replies of the Redis protocol: what lunode.resp and connections that decode it
 * share. */
#ifndef LUNODE_BINDINGS_RESP_VALUE_H
#define LUNODE_BINDINGS_RESP_VALUE_H

#include "common.h"
#include "resp.h"

#define LN_RESP_NULL_TYPE     "lunode.resp.null"
#define LN_RESP_RAW_TYPE      "lunode.resp.raw"
#define LN_RESP_MAP_TYPE      "lunode.resp.map"
#define LN_RESP_SET_TYPE      "lunode.resp.set"
#define LN_RESP_PUSH_TYPE     "lunode.resp.push"
#define LN_RESP_VERBATIM_TYPE "lunode.resp.verbatim"

/* Nulls and metatables by their address, which is quicker than by their name. */
struct ln_resp_types {
    const void *null, *null_array;
    const void *raw, *map, *set, *push, *verbatim;
};

/* User values of the types' own userdata: the nulls. */
enum {
    LN_RESP_USER_NULL = 1,
    LN_RESP_USER_NULL_ARRAY,
    LN_RESP_USER_VALUES = LN_RESP_USER_NULL_ARRAY
};

/* Pushes the userdata that holds the types, made at the first call, and returns them; the registry
 * keeps them. */
const struct ln_resp_types *ln_resp_push_types(lua_State *L);

/* An aggregate whose elements are bytes already, many of them: they are gathered once and then
 * moved into the reply, or copied where there is something before them. */
enum ln_resp_kind { LN_RESP_ARRAY, LN_RESP_MAP, LN_RESP_SET };

/* Where to append the elements. NULL: no memory. Those before are gone. */
struct ln_buffer *ln_resp_rows_begin(void);

/* Pushes them as a view, which is for one reply, and ends with the next rows. */
void ln_resp_push_rows(lua_State *L, enum ln_resp_kind kind, size_t count);

/* They are not wanted after all: gives back what they took. */
void ln_resp_rows_trim(void);

/* Appends the value at index to out, or raises with out as it was. Runs no Lua code. */
void ln_resp_encode(lua_State *L, const struct ln_resp_types *types, struct ln_buffer *out,
                    int index, int protocol);

#endif
