#include "line.h"

#include <errno.h>
#include <string.h>

int ln_line_read(struct ln_line_reader *r, const char *data, size_t len, size_t *line_len,
                 size_t *consumed) {
    size_t most = r->max + 2; /* a CR and the LF may follow */
    size_t stop = len < most ? len : most;
    const char *end = stop > r->scan ? memchr(data + r->scan, '\n', stop - r->scan) : NULL;
    size_t text = end ? (size_t)(end - data) : stop;
    size_t with_cr = text;
    if (text > 0 && data[text - 1] == '\r')
        text--;
    if (text > r->max)
        return -EPROTO;
    if (!end) {
        r->scan = stop;
        return 0;
    }
    r->scan = 0;
    *line_len = text;
    *consumed = with_cr + 1;
    return 1;
}
