#include "view.h"

#include <stdint.h>
#include <string.h>

/* A view's value is its generation and its place, so that one that has ended is known. */
static _Thread_local struct {
    uintptr_t generation;
    struct {
        uintptr_t value; /* 0: none */
        const char *data;
        size_t len;                       /* of a list, how many words */
        const struct ln_resp_span *spans; /* NULL: one word */
    } of[LN_VIEWS];
    char result[LN_VIEW_RESULT_BYTES];
} views;

void ln_view_end(int which) {
    views.of[which].value = 0;
}

void ln_views_end(void) {
    for (int i = 0; i < LN_VIEWS; i++)
        ln_view_end(i);
}

static void push(lua_State *L, int which, const char *data, size_t len,
                 const struct ln_resp_span *spans) {
    views.generation++;
    views.of[which].value = views.generation << LN_VIEW_BITS | (uintptr_t)which;
    views.of[which].data = data;
    views.of[which].len = len;
    views.of[which].spans = spans;
    lua_pushlightuserdata(L, (void *)views.of[which].value); /* NOLINT: a number, never followed */
}

void ln_view_push(lua_State *L, int which, const char *data, size_t len) {
    push(L, which, data, len, NULL);
}

void ln_view_push_list(lua_State *L, int which, const struct ln_view_list *list) {
    push(L, which, list->base, list->count, list->spans);
}

void ln_view_push_result(lua_State *L, const char *data, size_t len) {
    if (len > sizeof views.result) {
        lua_pushlstring(L, data, len);
        return;
    }
    memcpy(views.result, data, len);
    ln_view_push(L, LN_VIEW_RESULT, views.result, len);
}

/* The place of a view, or -1. */
static int find(lua_State *L, int index) {
    if (!lua_islightuserdata(L, index))
        return -1;
    uintptr_t value = (uintptr_t)lua_touserdata(L, index);
    unsigned which = value & ((1u << LN_VIEW_BITS) - 1);
    return value != 0 && which < LN_VIEWS && views.of[which].value == value ? (int)which : -1;
}

bool ln_view_test(lua_State *L, int index, const char **data, size_t *len) {
    int which = find(L, index);
    if (which < 0 || which == LN_VIEW_ROWS || views.of[which].spans)
        return false;
    *data = views.of[which].data;
    *len = views.of[which].len;
    return true;
}

bool ln_view_is_rows(lua_State *L, int index) {
    uintptr_t value = views.of[LN_VIEW_ROWS].value;
    return value != 0 && (uintptr_t)lua_touserdata(L, index) == value;
}

bool ln_view_test_list(lua_State *L, int index, struct ln_view_list *list) {
    int which = find(L, index);
    if (which < 0 || !views.of[which].spans)
        return false;
    *list = (struct ln_view_list){views.of[which].data, views.of[which].spans, views.of[which].len};
    return true;
}

size_t ln_count_words(lua_State *L, int index) {
    struct ln_view_list list;
    size_t len;
    if (lua_type(L, index) == LUA_TSTRING)
        return 1;
    if (lua_istable(L, index))
        return lua_rawlen(L, index);
    if (ln_view_test_list(L, index, &list))
        return list.count;
    (void)ln_check_bytes(L, index, &len);
    return 1;
}

const char *ln_word_at(lua_State *L, int index, size_t i, size_t *len) {
    struct ln_view_list list;
    if (lua_type(L, index) == LUA_TSTRING)
        return lua_tolstring(L, index, len);
    if (ln_view_test_list(L, index, &list)) {
        *len = list.spans[i].len;
        return list.base + list.spans[i].off;
    }
    if (!lua_istable(L, index))
        return ln_check_bytes(L, index, len);
    if (lua_rawgeti(L, index, (lua_Integer)i + 1) != LUA_TSTRING)
        luaL_argerror(L, index, "a list of strings expected");
    const char *text = lua_tolstring(L, -1, len);
    lua_pop(L, 1);
    return text;
}

const char *ln_check_bytes(lua_State *L, int index, size_t *len) {
    const char *data = NULL;
    if (lua_type(L, index) == LUA_TSTRING)
        return lua_tolstring(L, index, len);
    if (!ln_view_test(L, index, &data, len)) {
        luaL_argcheck(L, find(L, index) < 0, index, "one word expected, not a list");
        if (lua_islightuserdata(L, index))
            luaL_argerror(L, index, "a view of a command that is over");
        luaL_checktype(L, index, LUA_TSTRING);
    }
    return data;
}
