/* Between the store's bindings: what store:members makes. */
#ifndef LUNODE_STORE_MEMBERS_H
#define LUNODE_STORE_MEMBERS_H

#include "store.h"

#include <lua.h>

/* Makes the metatable. */
void ln_store_members_type(lua_State *L);

/* store:members(). `store` points into the box at index 1, and to NULL once that is closed. */
int ln_store_members_new(lua_State *L, struct ln_store *const *store);

#endif
