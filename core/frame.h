/* Frames: a length of 1, 2, 4 or 8 bytes, then that many bytes of payload.
 *
 * The reader looks at bytes in place and allocates nothing; a length is checked as soon as it has
 * arrived, before any of its payload. No callbacks; not thread-safe. */
#ifndef LUNODE_FRAME_H
#define LUNODE_FRAME_H

#include "buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LN_FRAME_MAX_DEFAULT ((size_t)64 << 20)

struct ln_frame_format {
    uint8_t width; /* of the length: 1, 2, 4 or 8 */
    bool little;   /* endian; else big, as networks have it */
};

/* Reads the frame at the front of data:
 *
 *   1        it is complete: *payload_len bytes, from data + format.width on
 *   0        more bytes are needed
 *   -EPROTO  a payload of more than max bytes is announced: *payload_len says how many
 *
 * Keeps no state: what there is to remember is in the frame's first bytes. */
int ln_frame_read(struct ln_frame_format format, size_t max, const char *data, size_t len,
                  uint64_t *payload_len);

/* Appends one frame: LN_OK; or nothing was appended: -ENOMEM, -EMSGSIZE (width bytes cannot tell so
 * great a length). */
int ln_frame_put(struct ln_buffer *b, struct ln_frame_format format, const char *data, size_t len);

#endif
