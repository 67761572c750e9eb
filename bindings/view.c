#include "view.h"

#include <stdint.h>
#include <string.h>

/* A view's value is its generation and its place, so that one that has ended is known. */
static _Thread_local struct {
    uintptr_t generation;
    struct {
        uintptr_t value; /* 0: none */
        const char *data;
        size_t len;
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

void ln_view_push(lua_State *L, int which, const char *data, size_t len) {
    views.generation++;
    views.of[which].value = views.generation << LN_VIEW_BITS | (uintptr_t)which;
    views.of[which].data = data;
    views.of[which].len = len;
    lua_pushlightuserdata(L, (void *)views.of[which].value); /* NOLINT: a number, never followed */
}

void ln_view_push_result(lua_State *L, const char *data, size_t len) {
    if (len > sizeof views.result) {
        lua_pushlstring(L, data, len);
        return;
    }
    memcpy(views.result, data, len);
    ln_view_push(L, LN_VIEW_RESULT, views.result, len);
}

bool ln_view_test(lua_State *L, int index, const char **data, size_t *len) {
    if (!lua_islightuserdata(L, index))
        return false;
    uintptr_t value = (uintptr_t)lua_touserdata(L, index);
    unsigned which = value & ((1u << LN_VIEW_BITS) - 1);
    if (value == 0 || which >= LN_VIEW_ROWS || views.of[which].value != value)
        return false;
    *data = views.of[which].data;
    *len = views.of[which].len;
    return true;
}

bool ln_view_is_rows(lua_State *L, int index) {
    uintptr_t value = views.of[LN_VIEW_ROWS].value;
    return value != 0 && (uintptr_t)lua_touserdata(L, index) == value;
}

const char *ln_check_bytes(lua_State *L, int index, size_t *len) {
    const char *data = NULL;
    if (lua_type(L, index) == LUA_TSTRING)
        return lua_tolstring(L, index, len);
    if (!ln_view_test(L, index, &data, len)) {
        if (lua_islightuserdata(L, index))
            luaL_argerror(L, index, "a view of a command that is over");
        luaL_checktype(L, index, LUA_TSTRING);
    }
    return data;
}
