/* Between the store's bindings: what store:elements makes. */
#ifndef LUNODE_STORE_ELEMENTS_H
#define LUNODE_STORE_ELEMENTS_H

#include "store.h"

#include <lua.h>

/* Makes the metatable. */
void ln_store_elements_type(lua_State *L);

/* store:elements(). `store` points into the box at index 1, and to NULL once that is closed. */
int ln_store_elements_new(lua_State *L, struct ln_store *const *store);

#endif
