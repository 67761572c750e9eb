/* lunode.edit: the terminal, for prompts: lines edited with libedit, and the standard input watched
 * by the loop. Types in lunode.meta.lua. A file of its own (edit.so), so that what has no prompt
 * does not load libedit. */
#include "line_editor.h"
#include "lua_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define EDITOR_TYPE  "lunode.editor"
#define WATCHER_TYPE "lunode.watcher"

int luaopen_lunode_edit(lua_State *L);

/* ---- editors */

static struct ln_editor **editor_box(lua_State *L) {
    return luaL_checkudata(L, 1, EDITOR_TYPE);
}

static struct ln_editor *check_editor(lua_State *L) {
    struct ln_editor *editor = *editor_box(L);
    if (!editor)
        luaL_error(L, "the editor is closed");
    return editor;
}

static int editor_close(lua_State *L) {
    struct ln_editor **box = editor_box(L);
    struct ln_editor *editor = *box;
    *box = NULL;
    if (editor)
        ln_editor_close(editor);
    return 0;
}

static int edit_open(lua_State *L) {
    struct ln_editor **box = lua_newuserdatauv(L, sizeof(struct ln_editor *), 0);
    *box = NULL;
    luaL_setmetatable(L, EDITOR_TYPE);
    int rc = ln_editor_open(box);
    return rc == LN_OK ? 1 : ln_push_failure(L, rc, NULL);
}

static int push_event(lua_State *L, enum ln_edit event) {
    static const char *const names[] = {
        [LN_EDIT_IDLE] = "idle", [LN_EDIT_WAITS] = "waits",         [LN_EDIT_LINE] = "line",
        [LN_EDIT_END] = "end",   [LN_EDIT_CANCELLED] = "cancelled", [LN_EDIT_COMPLETE] = "complete",
    };
    lua_pushstring(L, names[event]);
    if (event != LN_EDIT_LINE && event != LN_EDIT_COMPLETE)
        return 1;
    size_t len, cursor;
    const char *text = ln_editor_text(check_editor(L), &len, &cursor);
    lua_pushlstring(L, text, len);
    lua_pushinteger(L, (lua_Integer)cursor);
    return 3;
}

static int editor_begin(lua_State *L) {
    const char *prompt = luaL_checkstring(L, 2);
    return push_event(L, ln_editor_begin(check_editor(L), prompt));
}

static int editor_feed(lua_State *L) {
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    return push_event(L, ln_editor_feed(check_editor(L), bytes, len));
}

static int editor_answer(lua_State *L) {
    const char *text = luaL_optstring(L, 2, NULL);
    return push_event(L, ln_editor_answer(check_editor(L), text));
}

static int editor_cancel(lua_State *L) {
    return push_event(L, ln_editor_cancel(check_editor(L)));
}

static int editor_hide(lua_State *L) {
    ln_editor_hide(check_editor(L));
    return 0;
}

static int editor_show(lua_State *L) {
    ln_editor_show(check_editor(L));
    return 0;
}

static int editor_resize(lua_State *L) {
    ln_editor_resize(check_editor(L));
    return 0;
}

static int editor_suspend(lua_State *L) {
    ln_editor_suspend(check_editor(L));
    return 0;
}

static int editor_remember(lua_State *L) {
    const char *line = luaL_checkstring(L, 2);
    ln_editor_remember(check_editor(L), line);
    return 0;
}

/* ---- the standard input, watched. What epoll does not take, files, is read without waiting. */

struct watcher_box {
    struct ln_io io;
    struct ln_job job; /* that reads a file */
    struct ln_loop *loop;
    lua_State *main;
    int ref; /* LUA_NOREF: it has ended */
    bool is_file;
};

static struct watcher_box *check_watcher(lua_State *L) {
    return luaL_checkudata(L, 1, WATCHER_TYPE);
}

static void stop_watching(struct watcher_box *box) {
    if (ln_io_active(&box->io))
        ln_io_stop(&box->io);
    ln_job_cancel(&box->job);
}

static int watcher_close(lua_State *L) {
    struct watcher_box *box = check_watcher(L);
    stop_watching(box);
    ln_unpin(L, &box->ref);
    return 0;
}

static int call_watcher(lua_State *L) {
    struct watcher_box *box = lua_touserdata(L, 1);
    char chunk[4096];
    ssize_t n = read(STDIN_FILENO, chunk, sizeof chunk);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->ref);
    lua_getiuservalue(L, -1, 1);
    if (n > 0) {
        lua_pushlstring(L, chunk, (size_t)n);
        lua_call(L, 1, 0);
        return 0;
    }
    int rc = n < 0 ? -errno : LN_OK; /* at the end of a terminal that is gone: EIO */
    stop_watching(box);
    ln_unpin(L, &box->ref);
    lua_pushnil(L);
    lua_pushstring(L, rc == LN_OK ? NULL : ln_status_text(rc));
    lua_call(L, 2, 0);
    return 0;
}

static void read_input(struct watcher_box *box) {
    ln_protect(box->main, call_watcher, box, 0);
}

static void on_input(struct ln_io *io, uint32_t events) {
    (void)events;
    read_input(LN_OWNER(struct watcher_box, io, io));
}

static void on_turn(struct ln_job *job) {
    struct watcher_box *box = LN_OWNER(struct watcher_box, job, job);
    ln_loop_defer(box->loop, job, on_turn); /* unless the callback pauses it */
    read_input(box);
}

static int start_watching(struct watcher_box *box) {
    int rc = LN_OK;
    if (!box->is_file && !ln_io_active(&box->io)) {
        rc = ln_io_start(box->loop, &box->io, STDIN_FILENO, EPOLLIN, on_input);
        box->is_file = rc == -EPERM;
    }
    if (!box->is_file)
        return rc;
    ln_loop_defer(box->loop, &box->job, on_turn);
    return LN_OK;
}

static int edit_watch(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct watcher_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct watcher_box){.loop = ln_lua_loop(L), .main = ln_lua_main(L), .ref = LUA_NOREF};
    luaL_setmetatable(L, WATCHER_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    int rc = start_watching(box);
    if (rc != LN_OK)
        return ln_push_failure(L, rc, NULL);
    box->ref = ln_pin(L, -1);
    return 1;
}

static int watcher_pause(lua_State *L) {
    stop_watching(check_watcher(L));
    return 0;
}

static int watcher_resume(lua_State *L) {
    struct watcher_box *box = check_watcher(L);
    int rc = box->ref == LUA_NOREF ? LN_OK : start_watching(box); /* else it has ended */
    if (rc != LN_OK)
        return luaL_error(L, "cannot watch the standard input: %s", ln_status_text(rc));
    return 0;
}

/* ---- the terminal, and files for nobody else's eyes */

static int edit_is_terminal(lua_State *L) {
    lua_Integer fd = luaL_checkinteger(L, 1);
    luaL_argcheck(L, fd >= 0 && fd <= 2, 1, "0, 1 or 2");
    lua_pushboolean(L, isatty((int)fd));
    return 1;
}

static int edit_size(lua_State *L) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
        lua_pushinteger(L, 80);
        lua_pushinteger(L, 24);
        return 2;
    }
    lua_pushinteger(L, size.ws_col);
    lua_pushinteger(L, size.ws_row);
    return 2;
}

static int close_file(lua_State *L) {
    luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    return luaL_fileresult(L, fclose(stream->f) == 0, NULL);
}

static FILE *open_private(const char *path) {
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0)
        return NULL;
    struct stat st;
    FILE *file = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        if ((st.st_mode & 077) == 0 || fchmod(fd, 0600) == 0)
            file = fdopen(fd, "a+");
    } else {
        errno = EINVAL; /* a device, a pipe: nothing to keep lines in */
    }
    if (!file) {
        int err = errno;
        (void)close(fd);
        errno = err;
    }
    return file;
}

static int edit_private_file(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    luaL_Stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
    stream->closef = NULL;
    luaL_setmetatable(L, LUA_FILEHANDLE);
    stream->f = open_private(path);
    if (!stream->f)
        return ln_push_failure(L, -errno, NULL);
    stream->closef = close_file;
    return 1;
}

/* ---- the module */

static const luaL_Reg editor_methods[] = {{"begin", editor_begin},
                                          {"feed", editor_feed},
                                          {"answer", editor_answer},
                                          {"cancel", editor_cancel},
                                          {"hide", editor_hide},
                                          {"show", editor_show},
                                          {"resize", editor_resize},
                                          {"suspend", editor_suspend},
                                          {"remember", editor_remember},
                                          {"close", editor_close},
                                          {NULL, NULL}};
static const luaL_Reg watcher_methods[] = {
    {"pause", watcher_pause}, {"resume", watcher_resume}, {"close", watcher_close}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"open", edit_open},
                                     {"watch", edit_watch},
                                     {"size", edit_size},
                                     {"is_terminal", edit_is_terminal},
                                     {"private_file", edit_private_file},
                                     {NULL, NULL}};

int luaopen_lunode_edit(lua_State *L) {
    ln_new_type(L, EDITOR_TYPE, editor_methods, editor_close);
    ln_new_type(L, WATCHER_TYPE, watcher_methods, watcher_close);
    luaL_newlib(L, functions);
    return 1;
}
