/* Prefixes that no row of the engine had when somebody told so. As long as memory has all layers
 * that were written since, it has all rows with such a prefix: what is not there need not be asked
 * of the engine, which takes microseconds to find nothing. The newest few are remembered. */
#include "store_impl.h"

#include <string.h>

static bool begins(const void *key, size_t klen, const struct ln_fresh *f) {
    return klen >= f->len && memcmp(key, f->prefix, f->len) == 0;
}

void ln_store_fresh(struct ln_store *s, const void *prefix, size_t len) {
    struct ln_fresh *f = s->fresh;
    if (len == 0 || len > sizeof f->prefix)
        return;
    if (s->fresh_count == LN_STORE_FRESH)
        memmove(f, f + 1, --s->fresh_count * sizeof *f);
    f += s->fresh_count++;
    *f = (struct ln_fresh){.number = s->active->number, .len = len};
    memcpy(f->prefix, prefix, len);
}

void ln_store_stale(struct ln_store *s, uint64_t number) {
    size_t gone = 0; /* they are in the order of their numbers */
    while (gone < s->fresh_count && s->fresh[gone].number <= number)
        gone++;
    s->fresh_count -= gone;
    if (gone > 0)
        memmove(s->fresh, s->fresh + gone, s->fresh_count * sizeof *s->fresh);
}

bool ln_store_is_fresh(const struct ln_store *s, const void *key, size_t klen) {
    for (size_t i = s->fresh_count; i > 0; i--)
        if (begins(key, klen, &s->fresh[i - 1]))
            return true;
    return false;
}

/* Whether `to` is the end of what has the prefix, or lies before it. */
static bool ends_within(const struct ln_fresh *f, const char *to, size_t to_len) {
    char past[sizeof f->prefix];
    size_t len = f->len;
    memcpy(past, f->prefix, len);
    while (len > 0 && past[len - 1] == (char)0xff)
        len--;
    if (len == 0)
        return begins(to, to_len, f);
    past[len - 1]++;
    return ln_key_compare(to, to_len, past, len) <= 0;
}

bool ln_store_range_is_fresh(const struct ln_store *s, const char *from, size_t from_len,
                             const char *to, size_t to_len) {
    for (size_t i = s->fresh_count; i > 0; i--)
        if (begins(from, from_len, &s->fresh[i - 1]))
            return ends_within(&s->fresh[i - 1], to, to_len);
    return false;
}
