/* resp.names: the names of commands, and the Lua values that they stand for, looked up in the bytes
 * of a message, in any case, without making a string. */
#ifndef LUNODE_BINDINGS_RESP_NAMES_H
#define LUNODE_BINDINGS_RESP_NAMES_H

#include "common.h"

#include <stdbool.h>
#include <stdint.h>

#define LN_RESP_NAMES_TYPE "lunode.resp.names"

enum {
    LN_RESP_NAME_MAX = 64,
    LN_RESP_SHORT = 3,    /* arguments of a short message, at most; */
    LN_RESP_LISTED = 255, /* of one whose arguments come as a list */
};

struct ln_resp_name {
    char name[LN_RESP_NAME_MAX]; /* in lower case */
    uint8_t len;                 /* 0: free */
    uint8_t min, max;            /* arguments */
    uint8_t views;               /* the first argument that comes as a view, as all after it */
    uint8_t member;              /* the argument that names a member of its key's, or 0 */
    bool listed;                 /* all come as one view of a list */
};

/* A userdata; its user value is the list of values, by the place of their names, from 1 on. */
struct ln_resp_names;

/* The place of a name that is bound for so many arguments, or -1. */
int ln_resp_names_find(const struct ln_resp_names *names, const char *name, size_t len,
                       size_t count);
const struct ln_resp_name *ln_resp_names_at(const struct ln_resp_names *names, int place);

/* Pushes a new, empty one. */
int ln_resp_names_new(lua_State *L);

/* The names at index, or NULL where it is something else. */
struct ln_resp_names *ln_resp_names_test(lua_State *L, int index);

/* Creates the type, once per state. */
void ln_resp_names_type(lua_State *L);

#endif
