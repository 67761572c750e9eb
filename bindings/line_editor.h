/* Edits lines on the terminal with libedit, while the caller goes on with other work. No Lua in it.
 *
 * libedit blocks: in el_gets, in its searches, within an escape sequence. So it runs on a thread of
 * its own, which never runs beside the caller's: the caller hands over what it wants done and waits
 * until the editor needs more. All of libedit's calls, and its locale, are that thread's.
 *
 * Ctrl-C and Ctrl-Z are signals all the time, and what is typed between two lines is for the next
 * one. The terminal is as it was before when the editor is closed, when the process stops, and
 * after exit() and signals that end the process. */
#ifndef LUNODE_BINDINGS_LINE_EDITOR_H
#define LUNODE_BINDINGS_LINE_EDITOR_H

#include <stdbool.h>
#include <stddef.h>

struct ln_editor;

enum ln_edit {
    LN_EDIT_IDLE,      /* no line is being edited */
    LN_EDIT_WAITS,     /* for more input */
    LN_EDIT_LINE,      /* a line is complete: ln_editor_text */
    LN_EDIT_END,       /* Ctrl-D on an empty line */
    LN_EDIT_CANCELLED, /* by ln_editor_cancel */
    LN_EDIT_COMPLETE,  /* Tab: ln_editor_answer continues. ln_editor_text is the line */
};

/* Opens it on descriptors 0 and 1. LN_OK, -ENOTTY, -ENOMEM, … One at a time: -EBUSY. */
int ln_editor_open(struct ln_editor **out);

/* Gives the terminal back. */
void ln_editor_close(struct ln_editor *editor);

/* Begins a line. In the prompt, what stands between two bytes \1 takes no room: colours.
 * LN_EDIT_IDLE: out of memory. REQUIRES: idle. */
enum ln_edit ln_editor_begin(struct ln_editor *editor, const char *prompt);

/* Takes what was typed. What comes behind the end of the line is kept for the next one.
 * LN_EDIT_IDLE: out of memory, nothing was taken. */
enum ln_edit ln_editor_feed(struct ln_editor *editor, const char *bytes, size_t len);

/* Ends the wait for a completion: inserts text (copied), or beeps where it is NULL. */
enum ln_edit ln_editor_answer(struct ln_editor *editor, const char *text);

/* Drops the line. */
enum ln_edit ln_editor_cancel(struct ln_editor *editor);

/* Takes the line off the screen, so that something can be printed in its place, whole lines; and
 * draws it again. */
void ln_editor_hide(struct ln_editor *editor);
void ln_editor_show(struct ln_editor *editor);

/* The size of the terminal has changed. */
void ln_editor_resize(struct ln_editor *editor);

/* Stops the process as Ctrl-Z does, with the terminal as it was before; returns when it goes on. */
void ln_editor_suspend(struct ln_editor *editor);

/* The text of the line, and how many of its bytes lie before the cursor. Valid until the next call.
 */
const char *ln_editor_text(const struct ln_editor *editor, size_t *len, size_t *cursor);

/* Adds a line to those that the arrow keys bring back. */
void ln_editor_remember(struct ln_editor *editor, const char *line);

#endif
