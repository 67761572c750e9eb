/* Lua values as MessagePack and back: what lunode.msgpack and connections that decode it share. */
#ifndef LUNODE_BINDINGS_MSGPACK_VALUE_H
#define LUNODE_BINDINGS_MSGPACK_VALUE_H

#include "common.h"
#include "msgpack.h"

#include <stdbool.h>

#define LN_MSGPACK_NULL_TYPE  "lunode.msgpack.null"
#define LN_MSGPACK_ARRAY_TYPE "lunode.msgpack.array" /* metatables of tables */
#define LN_MSGPACK_MAP_TYPE   "lunode.msgpack.map"
#define LN_MSGPACK_BIN_TYPE   "lunode.msgpack.bin" /* userdata: struct ln_msgpack_blob */
#define LN_MSGPACK_EXT_TYPE   "lunode.msgpack.ext"

/* Its bytes are a string, user value 1. */
struct ln_msgpack_blob {
    int8_t type; /* of an ext */
};

/* The null and the metatables by their address, which is quicker than by their name. */
struct ln_msgpack_types {
    const void *null, *array, *map, *bin, *ext;
};

/* User values of the types' own userdata. */
enum {
    LN_MSGPACK_USER_NULL = 1,
    LN_MSGPACK_USER_MAP,
    LN_MSGPACK_USER_BIN,
    LN_MSGPACK_USER_EXT,
    LN_MSGPACK_USER_VALUES = LN_MSGPACK_USER_EXT
};

/* Pushes the userdata that holds the types, made at the first call, and returns them; the registry
 * keeps them. */
const struct ln_msgpack_types *ln_msgpack_push_types(lua_State *L);

/* Appends the value at index to out, or raises with out as it was. Runs no Lua code. */
void ln_msgpack_encode(lua_State *L, const struct ln_msgpack_types *types, struct ln_buffer *out,
                       int index);

/* Pushes the value in the bytes, which ln_msgpack_scan has found complete. keep_bin: bin as the
 * userdata that encodes as such, else as strings. False, with nothing pushed and *error told, where
 * Lua cannot have it. */
bool ln_msgpack_push(lua_State *L, const char *data, size_t size, bool keep_bin,
                     const char **error);

/* Puts a blob of the type, which is LN_MSGPACK_USER_BIN or _EXT, in place of the string on top of
 * the stack. */
void ln_msgpack_new_blob(lua_State *L, int user_value, int8_t type);

#endif
