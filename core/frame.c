#include "frame.h"

#include "status.h"

#include <errno.h>
#include <string.h>

/* Which byte of the length has the weight 256^i. */
static size_t place(struct ln_frame_format f, size_t i) {
    return f.little ? i : (size_t)f.width - 1 - i;
}

int ln_frame_read(struct ln_frame_format format, size_t max, const char *data, size_t len,
                  uint64_t *payload_len) {
    uint64_t value = 0;
    if (len < format.width)
        return 0;
    for (size_t i = format.width; i-- > 0;)
        value = value << 8 | (unsigned char)data[place(format, i)];
    *payload_len = value;
    if (value > max)
        return -EPROTO;
    return len - format.width >= value;
}

int ln_frame_put(struct ln_buffer *b, struct ln_frame_format format, const char *data, size_t len) {
    char *space = NULL;
    if (format.width < sizeof len && len >> (8 * format.width) != 0)
        return -EMSGSIZE;
    int rc = ln_buffer_reserve(b, format.width + len, &space);
    if (rc != LN_OK)
        return rc;
    for (size_t i = 0; i < format.width; i++)
        space[place(format, i)] = (char)((uint64_t)len >> (8 * i));
    if (len > 0)
        memcpy(space + format.width, data, len);
    ln_buffer_commit(b, format.width + len);
    return LN_OK;
}
