/* Between the store's bindings: what store:rows makes. */
#ifndef LUNODE_STORE_ROWS_H
#define LUNODE_STORE_ROWS_H

#include "store_members.h"

#include <lua.h>

struct ln_rows;

/* The rows at index, or NULL where it is something else. */
struct ln_rows *ln_store_rows_test(lua_State *L, int index);

/* Tells that these keys will be looked up soon: see ln_store_ahead. */
void ln_store_rows_ahead(const struct ln_rows *box, const struct ln_store_key *keys, size_t count);

/* The same of members of the collection that one was asked for last. */
void ln_store_rows_members_ahead(const struct ln_rows *box, const struct ln_store_key *names,
                                 size_t count);

/* Makes the metatable. */
void ln_store_rows_type(lua_State *L);

/* store:rows(kind). Both point into the box at index 1, the store to NULL once that is closed. */
int ln_store_rows_new(lua_State *L, struct ln_store *const *store,
                      const struct ln_members_prefix *last);

#endif
