/* How bindings reach the loop of a Lua state, and how C calls back into Lua. */
#ifndef LUNODE_BINDINGS_LUA_LOOP_H
#define LUNODE_BINDINGS_LUA_LOOP_H

#include "common.h"
#include "loop.h"

#include <stdbool.h>

/* One per Lua state, made by the first module that asks; the state owns it. Raises when out of
 * memory or descriptors. */
struct ln_loop *ln_lua_loop(lua_State *L);

/* The main thread of a state: callbacks run there, because the coroutine that registered them may
 * be dead. */
lua_State *ln_lua_main(lua_State *L);

/* Calls fn(p, …) from C, protected, with the nargs values on top of the stack, which it pops: fn, a
 * C function that finds p as a light userdata at 1, may raise and allocate as it likes. An error
 * goes to loop.on_error with its traceback; then false. */
bool ln_protect(lua_State *L, lua_CFunction fn, void *p, int nargs);

/* As ln_protect without arguments, but when fn raises, what it raised is left on the stack, a
 * string with its traceback. */
bool ln_try(lua_State *L, lua_CFunction fn, void *p);

/* Hands the error on top of the stack, which stays there, to loop.on_error. */
void ln_report(lua_State *L);

/* Keeps the value at index from being collected: returns a reference for ln_unpin. */
int ln_pin(lua_State *L, int index);
void ln_unpin(lua_State *L, int *ref);

/* Seconds as a script gives them → nanoseconds. Raises on NaN and negative numbers. */
int64_t ln_check_seconds(lua_State *L, int index);

#endif
