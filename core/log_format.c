#include "log_format.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

static const char magic[8] = "lunodeLG";

enum {
    CHECKSUM = 8, /* where a header's lies, and how long each is */
    HEADER_BODY = 16,
    VOTE_LEN = 80,
    VOTE = 88,
    LENGTH = 8,
    TYPE = 12,
    INDEX = 16,
    TERM = 24,
    SYNCED = 32
};

static void put32(char *out, uint32_t value) {
    value = htole32(value);
    memcpy(out, &value, sizeof value);
}

static void put64(char *out, uint64_t value) {
    value = htole64(value);
    memcpy(out, &value, sizeof value);
}

static uint32_t get32(const char *in) {
    uint32_t value;
    memcpy(&value, in, sizeof value);
    return le32toh(value);
}

static uint64_t get64(const char *in) {
    uint64_t value;
    memcpy(&value, in, sizeof value);
    return le64toh(value);
}

/* ---- headers */

void ln_log_header_encode(const struct ln_log_header *header, char out[LN_LOG_HEADER]) {
    const struct ln_log_facts *f = &header->facts;
    const uint64_t words[] = {header->number, header->synced, f->first,     f->base_term,
                              f->last,        f->last_term,   f->state_term};
    memset(out, 0, LN_LOG_HEADER);
    memcpy(out, magic, sizeof magic);
    put32(out + HEADER_BODY, header->version);
    put32(out + HEADER_BODY + 4, header->previous_end);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        put64(out + 24 + 8 * i, words[i]);
    out[VOTE_LEN] = (char)f->vote_len;
    memcpy(out + VOTE, f->vote, f->vote_len);
    put64(out + CHECKSUM,
          XXH3_64bits_withSeed(out + HEADER_BODY, LN_LOG_HEADER - HEADER_BODY, header->number));
}

bool ln_log_header_decode(const char in[LN_LOG_HEADER], uint64_t number,
                          struct ln_log_header *out) {
    uint64_t checksum = XXH3_64bits_withSeed(in + HEADER_BODY, LN_LOG_HEADER - HEADER_BODY, number);
    uint8_t vote_len = (uint8_t)in[VOTE_LEN];
    if (memcmp(in, magic, sizeof magic) != 0 || get64(in + CHECKSUM) != checksum ||
        get64(in + 24) != number)
        return false;
    *out = (struct ln_log_header){.version = get32(in + HEADER_BODY), .number = number};
    if (out->version != LN_LOG_VERSION)
        return out->version > LN_LOG_VERSION;
    out->previous_end = get32(in + HEADER_BODY + 4);
    out->synced = get64(in + 32);
    out->facts = (struct ln_log_facts){.first = get64(in + 40),
                                       .base_term = get64(in + 48),
                                       .last = get64(in + 56),
                                       .last_term = get64(in + 64),
                                       .state_term = get64(in + 72),
                                       .vote_len = vote_len};
    if (vote_len > LN_LOG_MAX_VOTE || out->facts.first == 0 ||
        out->facts.last < out->facts.first - 1 || out->facts.last > LN_LOG_MAX_INDEX)
        return false;
    memcpy(out->facts.vote, in + VOTE, vote_len);
    return true;
}

/* ---- records */

static uint64_t record_checksum(const char *in, size_t size, uint64_t number) {
    return XXH3_64bits_withSeed(in + CHECKSUM, size - CHECKSUM, number);
}

void ln_log_record_encode(const struct ln_log_record *record, uint64_t number, char *out) {
    size_t size = ln_log_record_size(record->len);
    size_t end = LN_LOG_RECORD_HEAD + (size_t)record->len;
    put32(out + LENGTH, record->len);
    put32(out + TYPE, record->type);
    put64(out + INDEX, record->index);
    put64(out + TERM, record->term);
    put64(out + SYNCED, record->synced);
    if (record->len > 0)
        memcpy(out + LN_LOG_RECORD_HEAD, record->payload, record->len);
    memset(out + end, 0, size - end);
    put64(out, record_checksum(out, size, number));
}

size_t ln_log_record_head(const char *in, struct ln_log_record *out, bool *zero) {
    static const char zeros[LN_LOG_RECORD_HEAD];
    uint32_t type = get32(in + TYPE); /* and the three zeros behind it */
    *zero = memcmp(in, zeros, sizeof zeros) == 0;
    *out = (struct ln_log_record){.index = get64(in + INDEX),
                                  .term = get64(in + TERM),
                                  .synced = get64(in + SYNCED),
                                  .payload = in + LN_LOG_RECORD_HEAD,
                                  .len = get32(in + LENGTH),
                                  .type = (uint8_t)type};
    bool like_one = !*zero && type < LN_LOG_TYPES && out->len <= LN_LOG_MAX_PAYLOAD;
    return like_one ? ln_log_record_size(out->len) : 0;
}

bool ln_log_record_intact(const char *in, size_t size, uint64_t number) {
    return get64(in) == record_checksum(in, size, number);
}

/* ---- what records mean */

static const char *apply_entry(struct ln_log_facts *f, const struct ln_log_record *r) {
    if (r->index != f->last + 1)
        return "the index does not follow the one before";
    if (r->term < f->last_term)
        return "the term goes back";
    f->last = r->index;
    f->last_term = r->term;
    return NULL;
}

static const char *apply_prefix(struct ln_log_facts *f, const struct ln_log_record *r) {
    if (r->index + 1 < f->first || r->index > f->last)
        return "it drops entries that are not there";
    if (r->index == f->last && r->term != f->last_term)
        return "its term is not the last entry's";
    f->first = r->index + 1;
    f->base_term = r->term;
    return NULL;
}

static const char *apply_suffix(struct ln_log_facts *f, const struct ln_log_record *r) {
    if (r->index + 1 < f->first || r->index > f->last)
        return "it drops entries that are not there";
    if (r->index + 1 == f->first && r->term != f->base_term)
        return "its term is not that of the entry before the first";
    f->last = r->index;
    f->last_term = r->term;
    return NULL;
}

static const char *apply_state(struct ln_log_facts *f, const struct ln_log_record *r) {
    if (r->len > LN_LOG_MAX_VOTE)
        return "the vote is too long";
    f->state_term = r->term;
    f->vote_len = (uint8_t)r->len;
    memset(f->vote, 0, sizeof f->vote);
    if (r->len > 0)
        memcpy(f->vote, r->payload, r->len);
    return NULL;
}

static void apply_reset(struct ln_log_facts *f, const struct ln_log_record *r) {
    f->first = r->index + 1;
    f->last = r->index;
    f->base_term = f->last_term = r->term;
}

const char *ln_log_apply(struct ln_log_facts *facts, const struct ln_log_record *record) {
    if (record->index > LN_LOG_MAX_INDEX)
        return "the index is too large";
    switch (record->type) {
    case LN_LOG_STATE:
        return apply_state(facts, record);
    case LN_LOG_SUFFIX:
        return apply_suffix(facts, record);
    case LN_LOG_PREFIX:
        return apply_prefix(facts, record);
    case LN_LOG_RESET:
        apply_reset(facts, record);
        return NULL;
    case LN_LOG_CLOSE:
        return NULL;
    default:
        return apply_entry(facts, record);
    }
}

bool ln_log_facts_equal(const struct ln_log_facts *a, const struct ln_log_facts *b) {
    return a->first == b->first && a->base_term == b->base_term && a->last == b->last &&
           a->last_term == b->last_term && a->state_term == b->state_term &&
           a->vote_len == b->vote_len && memcmp(a->vote, b->vote, a->vote_len) == 0;
}
