/* What the bindings share. A binding checks arguments, calls core and pushes results; no logic.
 *
 * Order inside a binding: check all arguments → create the closed box with its metatable → acquire
 * → publish. Nothing that was malloc'd lives across a call that may raise. */
#ifndef LUNODE_BINDINGS_COMMON_H
#define LUNODE_BINDINGS_COMMON_H

#include "status.h"

#include <lauxlib.h>
#include <lua.h>

/* Pushes `nil, message, code` and returns 3. detail may be NULL, or empty: then the status's own
 * text. */
int ln_push_failure(lua_State *L, int status, const struct ln_detail *detail);

/* The address of the metatable of the value at index, or NULL. */
const void *ln_metatable(lua_State *L, int index);

/* The userdata at index, if it is of this size and begins with the tag (the address of something
 * static), or NULL: much quicker than to look its metatable up by the type's name. */
void *ln_test_tagged(lua_State *L, int index, const void *tag, size_t size);

/* The same for a method's own object, at 1; raises on anything else. */
void *ln_check_tagged(lua_State *L, const void *tag, size_t size, const char *type);

/* Makes a metatable whose __gc and __close are `close`, and whose __index holds the methods. */
void ln_new_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close);

int luaopen_lunode_decoder(lua_State *L);
int luaopen_lunode_hash(lua_State *L);
int luaopen_lunode_batch(lua_State *L);
int luaopen_lunode_bits(lua_State *L);
int luaopen_lunode_budget(lua_State *L);
int luaopen_lunode_lcs(lua_State *L);
int luaopen_lunode_log(lua_State *L);
int luaopen_lunode_loop(lua_State *L);
int luaopen_lunode_msgpack(lua_State *L);
int luaopen_lunode_nearby(lua_State *L);
int luaopen_lunode_ranks(lua_State *L);
int luaopen_lunode_resp(lua_State *L);
int luaopen_lunode_score(lua_State *L);
int luaopen_lunode_slot(lua_State *L);
int luaopen_lunode_store(lua_State *L);
int luaopen_lunode_tcp_client(lua_State *L);
int luaopen_lunode_tcp_server(lua_State *L);
int luaopen_lunode_watchdog(lua_State *L);

#endif
