/* Views: bytes that a function in C hands to Lua without making a string of them, for another one
 * to take: an argument of a command on its way to the store and the log, a value on its way into a
 * reply. To a script a view is an opaque value, a light userdata. It ends with the command that it
 * came with; who comes too late with one gets an error, never other bytes.
 *
 * One set for each thread, of the command that is being decoded. */
#ifndef LUNODE_BINDINGS_VIEW_H
#define LUNODE_BINDINGS_VIEW_H

#include "common.h"
#include "resp.h"

#include <stdbool.h>

enum {
    LN_VIEW_RESULT = 0, /* arguments come after it, from 1 on */
    LN_VIEW_ROWS = 4,   /* no bytes, but what resp_value.h says */
    LN_VIEWS,
    LN_VIEW_BITS = 3,
    LN_VIEW_RESULT_BYTES = 256, /* of a result; longer ones are strings */
};

/* The views so far end. */
void ln_views_end(void);

/* One of them ends. */
void ln_view_end(int which);

/* Pushes a view. Borrows the bytes until the next ln_views_end. */
void ln_view_push(lua_State *L, int which, const char *data, size_t len);

/* Pushes a view of a copy, or a string where it is too long. The one before ends. */
void ln_view_push_result(lua_State *L, const char *data, size_t len);

/* A view of several words: of a command's arguments as a list. Borrows base and spans. */
struct ln_view_list {
    const char *base;
    const struct ln_resp_span *spans; /* of the words, from base on */
    size_t count;
};
void ln_view_push_list(lua_State *L, int which, const struct ln_view_list *list);

/* False: the value is no view of a list, or it has ended. */
bool ln_view_test_list(lua_State *L, int index, struct ln_view_list *list);

/* How many words a value stands for: a string or a view, 1; a table or a view of a list, those in
 * it. Raises on anything else. */
size_t ln_count_words(lua_State *L, int index);

/* The i-th of them, from 0 on; raises where it is no string. A table's is borrowed from the table.
 */
const char *ln_word_at(lua_State *L, int index, size_t i, size_t *len);

/* The bytes of a view of one word. False: the value is none, or it has ended, or has none. */
bool ln_view_test(lua_State *L, int index, const char **data, size_t *len);

/* Whether it is the view LN_VIEW_ROWS, and that has not ended. */
bool ln_view_is_rows(lua_State *L, int index);

/* The bytes of a string or of a view; raises on anything else. */
const char *ln_check_bytes(lua_State *L, int index, size_t *len);

#endif
