/* Between the store's bindings: what store:rows makes. */
#ifndef LUNODE_STORE_ROWS_H
#define LUNODE_STORE_ROWS_H

#include "store.h"

#include <lua.h>

/* Makes the metatable. */
void ln_store_rows_type(lua_State *L);

/* store:rows(kind). `store` points into the box at index 1, and to NULL once that is closed. */
int ln_store_rows_new(lua_State *L, struct ln_store *const *store);

#endif
