#include "batch.h"
#include "status.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

size_t ln_varint_put(uint64_t n, uint8_t *out) {
    assert(n < LN_BATCH_MAX);
    size_t len = 0;
    while (n >= 0x80) {
        out[len++] = (uint8_t)(n | 0x80);
        n >>= 7;
    }
    out[len++] = (uint8_t)n;
    return len;
}

static int get_varint(const uint8_t *data, size_t len, size_t *at, uint32_t *out) {
    uint64_t n = 0;
    size_t i = *at;
    for (unsigned shift = 0; shift < 7 * LN_VARINT_BYTES && i < len; shift += 7) {
        uint8_t byte = data[i++];
        n |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        if (n >= LN_BATCH_MAX || (byte == 0 && shift > 0))
            return -EPROTO;
        *out = (uint32_t)n;
        *at = i;
        return LN_OK;
    }
    return -EPROTO;
}

int ln_batch_put_command(struct ln_buffer *b, size_t words) {
    char *space = NULL;
    assert(words > 0);
    int rc = ln_buffer_reserve(b, LN_VARINT_BYTES, &space);
    if (rc == LN_OK)
        ln_buffer_commit(b, ln_varint_put(words, (uint8_t *)space));
    return rc;
}

int ln_batch_put_word(struct ln_buffer *b, const void *word, size_t len) {
    char *space = NULL;
    if (len >= LN_BATCH_MAX)
        return -E2BIG;
    int rc = ln_buffer_reserve(b, LN_VARINT_BYTES + len, &space);
    if (rc != LN_OK)
        return rc;
    size_t head = ln_varint_put(len, (uint8_t *)space);
    if (len > 0)
        memcpy(space + head, word, len);
    ln_buffer_commit(b, head + len);
    return LN_OK;
}

int ln_batch_put(struct ln_buffer *b, const struct ln_batch_text *words, size_t count) {
    char *space = NULL;
    size_t most = LN_VARINT_BYTES;
    assert(count > 0);
    for (size_t i = 0; i < count; i++) {
        if (words[i].len >= LN_BATCH_MAX)
            return -E2BIG;
        most += LN_VARINT_BYTES + words[i].len;
    }
    int rc = ln_buffer_reserve(b, most, &space);
    if (rc != LN_OK)
        return rc;
    char *p = space + ln_varint_put(count, (uint8_t *)space);
    for (size_t i = 0; i < count; i++) {
        p += ln_varint_put(words[i].len, (uint8_t *)p);
        if (words[i].len > 0)
            memcpy(p, words[i].data, words[i].len);
        p += words[i].len;
    }
    ln_buffer_commit(b, (size_t)(p - space));
    return LN_OK;
}

int ln_batch_next(const uint8_t *data, size_t len, size_t *at, uint32_t *words) {
    size_t behind = *at;
    uint32_t n = 0;
    if (behind == len)
        return 0;
    int rc = get_varint(data, len, &behind, &n);
    if (rc != LN_OK || n == 0 || n > len - behind) /* each word takes a byte at least */
        return -EPROTO;
    *at = behind;
    *words = n;
    return 1;
}

int ln_batch_word(const uint8_t *data, size_t len, size_t *at, const char **word,
                  uint32_t *word_len) {
    size_t behind = *at;
    uint32_t n = 0;
    int rc = get_varint(data, len, &behind, &n);
    if (rc != LN_OK || n > len - behind)
        return -EPROTO;
    *word = (const char *)data + behind;
    *word_len = n;
    *at = behind + n;
    return LN_OK;
}
