/* Between the store's bindings: what store:members makes. */
#ifndef LUNODE_STORE_MEMBERS_H
#define LUNODE_STORE_MEMBERS_H

#include "store.h"

#include <lua.h>

/* What the row of the member that was asked for last begins with: a guess at the next ones. */
struct ln_members_prefix {
    size_t len; /* 0: none */
    char bytes[16];
};

/* Tells that members with these names will be looked up soon: see ln_store_ahead. */
void ln_store_members_ahead(const struct ln_store *store, const struct ln_members_prefix *prefix,
                            const struct ln_store_key *names, size_t count);

/* Makes the metatable. */
void ln_store_members_type(lua_State *L);

/* store:members(). Both point into the box at index 1, the store's to NULL once that is closed. */
int ln_store_members_new(lua_State *L, struct ln_store *const *store,
                         struct ln_members_prefix *asked);

#endif
