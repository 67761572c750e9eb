/* The bytes of the log, for its own files: what they mean, docs/log-format.md says at length.
 *
 *   segment := header record* zero*             a file NUMBER.log, 16 hexadecimal digits
 *   header  := magic[8] checksum:u64 version:u32 previous_end:u32 number:u64 synced:u64
 *              first:u64 base_term:u64 last:u64 last_term:u64
 *              state_term:u64 vote_len:u8 zero[7] vote[128] zero[40]                  256 bytes
 *   record  := checksum:u64 length:u32 type:u8 zero[3] index:u64 term:u64 synced:u64
 *              payload[length] zero[0..7]                            a multiple of eight bytes
 *
 * Little-endian. A checksum is XXH3-64, seeded with the segment's number, of all that follows it in
 * its header or record. A position is `number << 32 | offset`; positions are ordered as what was
 * written. `synced` is the position up to which all was known to be durable when it was written.
 *
 * The records are a journal: each changes the log as the ones before left it (ln_log_apply), and
 * what a prefix of them leaves is a state that the log was in. A header holds what the segments
 * before have left, so these can go as soon as no entry in them is wanted. */
#ifndef LUNODE_LOG_FORMAT_H
#define LUNODE_LOG_FORMAT_H

#include "log.h"

enum {
    LN_LOG_VERSION = 1,
    LN_LOG_HEADER = 256,
    LN_LOG_RECORD_HEAD = 40,
    /* Types behind those of entries are the log's own. */
    LN_LOG_STATE = LN_LOG_MAX_TYPE + 1, /* term, and the vote as payload */
    LN_LOG_SUFFIX,                      /* drops the entries behind index, whose term it is */
    LN_LOG_PREFIX,                      /* drops the entries up to index, whose term it is */
    LN_LOG_RESET, /* drops all entries: the next one follows index, whose term it is */
    LN_LOG_CLOSE, /* the log was closed in good order */
    LN_LOG_TYPES
};

static inline uint64_t ln_log_position(uint64_t number, uint64_t offset) {
    return number << 32 | offset;
}
static inline uint64_t ln_log_position_number(uint64_t position) {
    return position >> 32;
}
static inline uint64_t ln_log_position_offset(uint64_t position) {
    return position & UINT32_MAX;
}

/* What the records so far leave. The log is empty where last is first - 1. */
struct ln_log_facts {
    uint64_t first, base_term; /* base_term: of the entry before first */
    uint64_t last, last_term;
    uint64_t state_term;
    uint8_t vote_len;
    char vote[LN_LOG_MAX_VOTE];
};

#define LN_LOG_FACTS_EMPTY ((struct ln_log_facts){.first = 1})

struct ln_log_header {
    uint32_t version;
    uint32_t previous_end; /* offset at which the records of the segment before end */
    uint64_t number;
    uint64_t synced;
    struct ln_log_facts facts;
};

struct ln_log_record {
    uint64_t index, term, synced;
    const char *payload;
    uint32_t len;
    uint8_t type;
};

static inline size_t ln_log_record_size(uint64_t len) {
    return (size_t)((LN_LOG_RECORD_HEAD + len + 7) & ~UINT64_C(7));
}

void ln_log_header_encode(const struct ln_log_header *header, char out[LN_LOG_HEADER]);

/* Whether these are a header of the segment that the name says. Its version may be a newer one:
 * then nothing else of it means anything. */
bool ln_log_header_decode(const char in[LN_LOG_HEADER], uint64_t number, struct ln_log_header *out);

/* out has ln_log_record_size(record->len) bytes. */
void ln_log_record_encode(const struct ln_log_record *record, uint64_t number, char *out);

/* Reads the head of a record; payload is where it would be. The size of the whole, or 0: no record
 * begins like this. *zero: because there are only zeros. */
size_t ln_log_record_head(const char *in, struct ln_log_record *out, bool *zero);

/* Whether the size bytes are what was written. */
bool ln_log_record_intact(const char *in, size_t size, uint64_t number);

/* Changes the facts as the record has it. NULL; or why it cannot follow, and nothing has changed.
 */
const char *ln_log_apply(struct ln_log_facts *facts, const struct ln_log_record *record);

bool ln_log_facts_equal(const struct ln_log_facts *a, const struct ln_log_facts *b);

#endif
