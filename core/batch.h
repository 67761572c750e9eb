/* Batches: lists of words packed behind each other, the payload of a log entry that holds commands.
 *
 *   batch    = command*
 *   command  = words:varint word*          at least one word
 *   word     = length:varint byte*
 *   varint   = LEB128, 7 bits a byte, lowest first; at most 5 bytes, below 2^32; the shortest form
 *
 * A batch carries no checksum: the log's records do. It may come from a peer, so a reader believes
 * nothing that is announced before the bytes are there. No callbacks; not thread-safe. */
#ifndef LUNODE_BATCH_H
#define LUNODE_BATCH_H

#include "buffer.h"

#include <stddef.h>
#include <stdint.h>

/* Words and bytes of one word are below this. */
#define LN_BATCH_MAX ((uint64_t)1 << 32)

enum { LN_VARINT_BYTES = 5 };

/* Writes the varint to out, which has room for LN_VARINT_BYTES. REQUIRES: n < LN_BATCH_MAX. */
size_t ln_varint_put(uint64_t n, uint8_t *out);

/* Starts a command of so many words; exactly that many ln_batch_put_word follow. LN_OK, or -ENOMEM
 * and nothing was appended. REQUIRES: 0 < words < LN_BATCH_MAX. */
int ln_batch_put_command(struct ln_buffer *b, size_t words);

/* LN_OK; or -ENOMEM, -E2BIG, and nothing was appended. */
int ln_batch_put_word(struct ln_buffer *b, const void *word, size_t len);

/* The same at once: a command of so many words. LN_OK; or -ENOMEM, -E2BIG, and nothing was
 * appended. REQUIRES: count > 0. */
struct ln_batch_text {
    const char *data;
    size_t len;
};
int ln_batch_put(struct ln_buffer *b, const struct ln_batch_text *words, size_t count);

/* Reads the head of a command at data[*at]: 1, its words, and *at is behind the head; 0: the batch
 * ends here; -EPROTO: malformed. There are at least *words bytes behind. */
int ln_batch_next(const uint8_t *data, size_t len, size_t *at, uint32_t *words);

/* Reads one word: LN_OK, where it lies in data, and *at is behind it; or -EPROTO. */
int ln_batch_word(const uint8_t *data, size_t len, size_t *at, const char **word,
                  uint32_t *word_len);

#endif
