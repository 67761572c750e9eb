/* Between the store's bindings: what store:scored makes. */
#ifndef LUNODE_STORE_SCORED_H
#define LUNODE_STORE_SCORED_H

#include "store.h"

#include <lua.h>

/* Makes the metatable. */
void ln_store_scored_type(lua_State *L);

/* store:scored(). `store` points into the box at index 1, and to NULL once that is closed. */
int ln_store_scored_new(lua_State *L, struct ln_store *const *store);

#endif
