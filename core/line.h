/* Lines: text ended by LF or CRLF.
 *
 * The reader looks at bytes in place and allocates nothing. No callbacks; not thread-safe. */
#ifndef LUNODE_LINE_H
#define LUNODE_LINE_H

#include <stddef.h>

#define LN_LINE_MAX_DEFAULT ((size_t)64 << 10)

struct ln_line_reader {
    size_t max;  /* bytes of one line, without its end; may be changed between any two calls */
    size_t scan; /* private: searched for the end up to here */
};

/* Reads one line. data begins where the last consumed byte ended, and has grown at its end since;
 * it may lie elsewhere than before. What has been searched is remembered, so a line that comes in
 * small pieces is not searched again.
 *
 *   1        the line is the first *line_len bytes of data; with its end it takes *consumed bytes
 *   0        more bytes are needed
 *   -EPROTO  the line is longer than max; so it stays, unless max grows
 *
 * One CR before the LF belongs to the end of the line; others are text. */
int ln_line_read(struct ln_line_reader *r, const char *data, size_t len, size_t *line_len,
                 size_t *consumed);

#endif
