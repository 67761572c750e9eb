#include "line_editor.h"

#include "status.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

enum { MAX_LINE = 64 * 1024, MAX_HISTORY = 1000 };

enum request { NOTHING, BEGIN, INPUT, ANSWER, CANCEL, HIDE, SHOW, RESIZE, STOP };

struct ln_editor {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t turn_changed;
    bool editors_turn; /* whose thread runs: its, or the caller's */
    enum request request;
    enum ln_edit event;

    EditLine *el;
    History *history;
    FILE *in, *out;
    locale_t locale;
    struct termios raw; /* the terminal's mode while a line is edited */
    bool raw_known;

    char *prompt;
    char *input; /* bytes that libedit has not asked for yet */
    size_t input_len, input_at;
    size_t taken; /* characters, for this line */
    mbstate_t decoding;
    char *text; /* of LN_EDIT_LINE and LN_EDIT_COMPLETE */
    size_t text_len, text_cursor;
    const char *answer;

    bool cancelled, stopping;
    bool hidden; /* the line is off the screen */
};

/* ---- the terminal as it was, for every end that the process may find */

static struct termios before;
static volatile sig_atomic_t is_open, restores_at_exit;

static void restore_terminal(void) {
    if (is_open)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

/* SA_RESETHAND and SA_NODEFER: what comes now ends the process. */
static void on_fatal_signal(int signum) {
    restore_terminal();
    (void)raise(signum);
}

static void guard_terminal(void) {
    static const int fatal[] = {SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction restore = {.sa_handler = on_fatal_signal}, now;
    restore.sa_flags = (int)((unsigned)SA_RESETHAND | (unsigned)SA_NODEFER);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        if (sigaction(fatal[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
            (void)sigaction(fatal[i], &restore, NULL);
    if (!restores_at_exit) {
        (void)atexit(restore_terminal);
        restores_at_exit = 1;
    }
}

/* ---- taking turns */

static void set_turn(struct ln_editor *e, bool editors) {
    e->editors_turn = editors;
    (void)pthread_cond_broadcast(&e->turn_changed);
    while (e->editors_turn == editors)
        (void)pthread_cond_wait(&e->turn_changed, &e->lock);
}

/* The caller's side: returns when the editor has nothing to do any more. */
static enum ln_edit ask(struct ln_editor *e, enum request request) {
    (void)pthread_mutex_lock(&e->lock);
    e->request = request;
    set_turn(e, true);
    enum ln_edit event = e->event;
    (void)pthread_mutex_unlock(&e->lock);
    return event;
}

/* The editor's side: returns when there is a request. */
static enum request park(struct ln_editor *e, enum ln_edit event) {
    (void)pthread_mutex_lock(&e->lock);
    e->event = event;
    set_turn(e, false);
    enum request request = e->request;
    (void)pthread_mutex_unlock(&e->lock);
    return request;
}

/* ---- on the editor's thread */

static size_t length_of(const struct ln_editor *e, size_t *cursor) {
    const LineInfoW *line = el_wline(e->el);
    *cursor = (size_t)(line->cursor - line->buffer);
    return (size_t)(line->lastchar - line->buffer);
}

/* The cells that libedit draws for a character, as its re_addc does. */
static int cells_of(wchar_t c) {
    if (c < L' ' || c == 0x7f)
        return 2; /* ^X */
    int cells = wcwidth(c);
    return cells >= 0 ? cells : (int)sizeof "\\U+12345" - 1;
}

struct place {
    int row, column, columns;
};

static void step(struct place *at, int cells) {
    if (at->column + cells > at->columns) {
        at->row++;
        at->column = 0;
    }
    at->column += cells;
    if (at->column >= at->columns) {
        at->row++;
        at->column = 0;
    }
}

static void step_over(struct place *at, wchar_t c) {
    if (c == L'\n') {
        at->row++;
        at->column = 0;
    } else if (c == L'\t') {
        do
            step(at, 1);
        while (at->column % 8 != 0);
    } else {
        step(at, cells_of(c));
    }
}

/* The row of the cursor, below the one where the prompt begins. */
static int cursor_row(const struct ln_editor *e) {
    struct winsize size;
    struct place at = {0, 0, 80};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        at.columns = size.ws_col;
    bool literal = false;
    mbstate_t state = {0};
    wchar_t c;
    for (const char *p = e->prompt; *p;) {
        size_t n = mbrtowc(&c, p, strlen(p), &state);
        if (n == (size_t)-1 || n == (size_t)-2)
            break;
        if (c == L'\1')
            literal = !literal;
        else if (!literal)
            step_over(&at, c);
        p += n;
    }
    const LineInfoW *line = el_wline(e->el);
    for (const wchar_t *w = line->buffer; w < line->cursor; w++)
        step_over(&at, *w);
    return at.row;
}

/* libedit can draw a line, not take one away. */
static void hide(struct ln_editor *e) {
    if (e->hidden)
        return;
    e->hidden = true;
    int row = cursor_row(e);
    (void)fputc('\r', e->out);
    if (row > 0)
        (void)fprintf(e->out, "\033[%dA", row);
    (void)fputs("\033[J", e->out);
    (void)fflush(e->out);
}

static void show(struct ln_editor *e) {
    e->hidden = false;
    (void)el_set(e->el, EL_REFRESH); /* draws all of it, from where the cursor is */
}

static void give_up_line(struct ln_editor *e) {
    e->cancelled = true;
    e->input_at = e->input_len; /* as the terminal drops what it has */
    e->decoding = (mbstate_t){0};
    size_t cursor, len = length_of(e, &cursor);
    hide(e);
    (void)el_cursor(e->el, (int)(len - cursor));
    show(e);
    (void)fputs("^C\r\n", e->out);
    (void)fflush(e->out);
}

static void resize(struct ln_editor *e) {
    bool hidden = e->hidden;
    hide(e);
    el_resize(e->el);
    if (!hidden)
        show(e);
}

/* What can be asked while a line is edited. */
static void serve(struct ln_editor *e, enum request request) {
    switch (request) {
    case HIDE:
        hide(e);
        break;
    case SHOW:
        show(e);
        break;
    case RESIZE:
        resize(e);
        break;
    case CANCEL:
        give_up_line(e);
        break;
    case STOP:
        e->stopping = true;
        break;
    default:
        break;
    }
}

/* The next character; false where the input ends within one. Bytes that are none give one that says
 * so: those of a beginning that something else follows, together. */
static bool decode(struct ln_editor *e, wchar_t *out) {
    bool began = !mbsinit(&e->decoding);
    size_t n = mbrtowc(out, e->input + e->input_at, e->input_len - e->input_at, &e->decoding);
    if (n == (size_t)-2) {
        e->input_at = e->input_len;
        return false;
    }
    if (n == (size_t)-1) {
        e->decoding = (mbstate_t){0};
        *out = L'\xFFFD';
        n = began ? 0 : 1;
    } else if (n == 0) {
        n = 1; /* NUL */
    }
    e->input_at += n;
    return true;
}

static bool take_char(struct ln_editor *e, wchar_t *out) {
    while (e->input_at < e->input_len && decode(e, out)) {
        if (*out < L' ')
            return true;
        if (e->taken < MAX_LINE) { /* more is not taken, but for its end */
            e->taken++;
            return true;
        }
    }
    return false;
}

static int get_char(EditLine *el, wchar_t *out) {
    struct ln_editor *e;
    (void)el_get(el, EL_CLIENTDATA, &e);
    if (!e->raw_known)
        e->raw_known = tcgetattr(STDIN_FILENO, &e->raw) == 0;
    while (!e->stopping && !e->cancelled) {
        if (take_char(e, out))
            return 1;
        serve(e, park(e, LN_EDIT_WAITS));
    }
    errno = 0;
    return -1;
}

static char *get_prompt(EditLine *el) {
    struct ln_editor *e;
    (void)el_get(el, EL_CLIENTDATA, &e);
    return e->prompt;
}

static void set_text(struct ln_editor *e, const char *text, size_t len, size_t cursor) {
    char *copy = malloc(len + 1);
    if (copy) {
        if (len > 0)
            memcpy(copy, text, len);
        copy[len] = '\0';
        free(e->text);
        e->text = copy;
        e->text_len = len;
        e->text_cursor = cursor;
    }
}

static unsigned char complete(EditLine *el, int ch) {
    (void)ch;
    struct ln_editor *e;
    (void)el_get(el, EL_CLIENTDATA, &e);
    const LineInfo *line = el_line(el);
    set_text(e, line->buffer, (size_t)(line->lastchar - line->buffer),
             (size_t)(line->cursor - line->buffer));
    enum request request = park(e, LN_EDIT_COMPLETE);
    while (request != ANSWER && !e->stopping && !e->cancelled) {
        serve(e, request);
        if (!e->stopping && !e->cancelled)
            request = park(e, LN_EDIT_WAITS);
    }
    if (e->stopping || e->cancelled)
        return CC_EOF;
    if (!e->answer)
        return CC_REFRESH_BEEP;
    (void)el_insertstr(el, e->answer);
    return CC_REFRESH;
}

static enum ln_edit read_line(struct ln_editor *e) {
    int len = 0;
    e->hidden = false;
    e->taken = 0;
    const char *line = el_gets(e->el, &len);
    (void)fflush(e->out);
    if (e->raw_known) /* nothing that is typed ahead is echoed, nor understood by the terminal */
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &e->raw);
    if (e->cancelled) {
        e->cancelled = false;
        return LN_EDIT_CANCELLED;
    }
    if (e->stopping || !line || len <= 0) {
        (void)fputs("\r\n", e->out);
        (void)fflush(e->out);
        return LN_EDIT_END;
    }
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    set_text(e, line, (size_t)len, (size_t)len);
    return LN_EDIT_LINE;
}

/* LC_CTYPE as the environment has it, for this thread alone: Lua's patterns stay as they are. Where
 * it has none, UTF-8, which terminals speak. */
static void use_locale(struct ln_editor *e) {
    e->locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (e->locale && strcmp(nl_langinfo_l(CODESET, e->locale), "ANSI_X3.4-1968") == 0) {
        freelocale(e->locale);
        e->locale = (locale_t)0;
    }
    if (!e->locale)
        e->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (e->locale)
        (void)uselocale(e->locale);
}

static void bind_key(EditLine *el, const char *key, const char *command) {
    (void)el_set(el, EL_BIND, key, command, NULL);
}

static bool start_libedit(struct ln_editor *e) {
    HistEvent event;
    use_locale(e);
    e->history = history_init();
    e->el = el_init("lunode", e->in, e->out, stderr);
    if (!e->history || !e->el)
        return false;
    (void)history(e->history, &event, H_SETSIZE, MAX_HISTORY);
    (void)history(e->history, &event, H_SETUNIQUE, 1);
    (void)el_set(e->el, EL_CLIENTDATA, e);
    (void)el_set(e->el, EL_EDITOR, "emacs");
    (void)el_set(e->el, EL_SIGNAL, 0);
    (void)el_set(e->el, EL_PROMPT_ESC, get_prompt, '\1');
    (void)el_set(e->el, EL_HIST, history, e->history);
    (void)el_set(e->el, EL_GETCFN, get_char);
    /* The narrow one leaks its strings. */
    (void)el_wset(e->el, EL_ADDFN, L"ln-complete", L"Complete the name before the cursor",
                  complete);
    bind_key(e->el, "^I", "ln-complete");
    bind_key(e->el, "^R", "em-inc-search-prev");
    bind_key(e->el, "^L", "ed-clear-screen");
    bind_key(e->el, "\\e[3~", "ed-delete-next-char");
    bind_key(e->el, "\\e[1;5C", "em-next-word");
    bind_key(e->el, "\\e[1;5D", "ed-prev-word");
    (void)el_source(e->el, NULL); /* ~/.editrc has the last word */
    return true;
}

static void *run_editor(void *arg) {
    struct ln_editor *e = arg;
    enum ln_edit event = start_libedit(e) ? LN_EDIT_IDLE : LN_EDIT_END;
    e->stopping = event == LN_EDIT_END;
    while (!e->stopping) {
        enum request request = park(e, event);
        if (request == BEGIN)
            event = read_line(e);
        else if (request == STOP)
            serve(e, request);
        else if (request == RESIZE)
            el_resize(e->el);
        else
            event = LN_EDIT_IDLE; /* there is no line */
    }
    if (e->el)
        el_end(e->el); /* cooks the terminal */
    if (e->history)
        history_end(e->history);
    if (e->locale) {
        (void)uselocale(LC_GLOBAL_LOCALE);
        freelocale(e->locale);
    }
    (void)pthread_mutex_lock(&e->lock);
    e->event = LN_EDIT_END;
    e->editors_turn = false;
    (void)pthread_cond_broadcast(&e->turn_changed);
    (void)pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- the caller's side */

static void free_editor(struct ln_editor *e) {
    if (e->in)
        (void)fclose(e->in);
    if (e->out)
        (void)fclose(e->out);
    (void)pthread_cond_destroy(&e->turn_changed);
    (void)pthread_mutex_destroy(&e->lock);
    free(e->prompt);
    free(e->input);
    free(e->text);
    free(e);
}

static FILE *duplicate(int fd, const char *mode) {
    int copy = dup(fd);
    FILE *file = copy >= 0 ? fdopen(copy, mode) : NULL;
    if (!file && copy >= 0)
        (void)close(copy);
    return file;
}

/* Starts the thread, which takes no signals, and waits until it has said whether libedit is well.
 */
static int start_thread(struct ln_editor *e) {
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    e->editors_turn = true;
    int rc = pthread_create(&e->thread, NULL, run_editor, e);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return -rc;
    (void)pthread_mutex_lock(&e->lock);
    while (e->editors_turn)
        (void)pthread_cond_wait(&e->turn_changed, &e->lock);
    (void)pthread_mutex_unlock(&e->lock);
    if (e->event != LN_EDIT_END)
        return LN_OK;
    (void)pthread_join(e->thread, NULL);
    return -ENOMEM;
}

int ln_editor_open(struct ln_editor **out) {
    if (is_open)
        return -EBUSY;
    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0)
        return -ENOTTY;
    struct ln_editor *e = calloc(1, sizeof *e);
    if (!e)
        return -ENOMEM;
    e->prompt = strdup("");
    (void)pthread_mutex_init(&e->lock, NULL);
    (void)pthread_cond_init(&e->turn_changed, NULL);
    e->in = duplicate(STDIN_FILENO, "r");
    e->out = duplicate(STDOUT_FILENO, "w");
    int rc = e->in && e->out && e->prompt ? start_thread(e) : -errno;
    if (rc != LN_OK) {
        free_editor(e);
        return rc;
    }
    is_open = 1;
    guard_terminal();
    *out = e;
    return LN_OK;
}

void ln_editor_close(struct ln_editor *e) {
    (void)ask(e, STOP);
    (void)pthread_join(e->thread, NULL);
    restore_terminal();
    is_open = 0;
    free_editor(e);
}

enum ln_edit ln_editor_begin(struct ln_editor *e, const char *prompt) {
    char *copy = strdup(prompt);
    if (!copy)
        return LN_EDIT_IDLE;
    free(e->prompt);
    e->prompt = copy;
    return ask(e, BEGIN);
}

enum ln_edit ln_editor_feed(struct ln_editor *e, const char *bytes, size_t len) {
    size_t left = e->input_len - e->input_at;
    char *all = malloc(left + len + 1);
    if (!all)
        return LN_EDIT_IDLE;
    if (left > 0)
        memcpy(all, e->input + e->input_at, left);
    memcpy(all + left, bytes, len);
    free(e->input);
    e->input = all;
    e->input_at = 0;
    e->input_len = left + len;
    return ask(e, INPUT);
}

enum ln_edit ln_editor_answer(struct ln_editor *e, const char *text) {
    e->answer = text;
    enum ln_edit event = ask(e, ANSWER);
    e->answer = NULL;
    return event;
}

enum ln_edit ln_editor_cancel(struct ln_editor *e) {
    return ask(e, CANCEL);
}

void ln_editor_hide(struct ln_editor *e) {
    (void)ask(e, HIDE);
}

void ln_editor_show(struct ln_editor *e) {
    (void)ask(e, SHOW);
}

void ln_editor_resize(struct ln_editor *e) {
    (void)ask(e, RESIZE);
}

void ln_editor_suspend(struct ln_editor *e) {
    struct termios raw;
    bool known = tcgetattr(STDIN_FILENO, &raw) == 0;
    ln_editor_hide(e);
    restore_terminal();
    (void)raise(SIGSTOP);
    if (known)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    ln_editor_show(e);
}

const char *ln_editor_text(const struct ln_editor *e, size_t *len, size_t *cursor) {
    *len = e->text_len;
    *cursor = e->text_cursor;
    return e->text ? e->text : "";
}

void ln_editor_remember(struct ln_editor *e, const char *line) {
    HistEvent event;
    (void)history(e->history, &event, H_ENTER, line);
}
