/* Between the store's bindings: what is done with all rows of prefixes at once. */
#ifndef LUNODE_STORE_COMBINE_H
#define LUNODE_STORE_COMBINE_H

#include "store.h"
#include "store_bulk.h"

#include <lua.h>

/* store:copy, store:combine. */
int ln_store_copy_prefix(lua_State *L, struct ln_store *store);
int ln_store_combine(lua_State *L, struct ln_store *store);

/* The sets in the list at `index`, {prefix, count, …}, `width` values each, as inputs in a userdata
 * that is pushed; the list keeps their prefixes. */
struct ln_merge_input *ln_check_sets(lua_State *L, int index, lua_Integer width, size_t *count);

enum ln_merge_how ln_check_how(lua_State *L, int index);

/* Raises what a walk or a put has failed with. */
int ln_check_bulk(lua_State *L, int status, const struct ln_detail *detail);

#endif
