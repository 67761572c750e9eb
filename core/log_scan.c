#include "log_scan.h"

#include "log_dir.h"
#include "log_search.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

const char *ln_log_type_name(uint8_t type) {
    static const char *const own[] = {"state", "truncate suffix", "truncate prefix", "reset",
                                      "close"};
    return type <= LN_LOG_MAX_TYPE ? "entry" : own[type - LN_LOG_STATE];
}

/* ---- telling */

static int tell(struct ln_log_scan *s, enum ln_log_finding_kind kind, uint64_t segment,
                uint64_t offset, const char *what) {
    struct ln_log_finding f = {.kind = kind, .segment = segment, .offset = offset, .what = what};
    f.record.index = s->facts.last;
    return s->fn ? s->fn(s->arg, &f) : LN_OK;
}

static int tell_record(struct ln_log_scan *s, const struct ln_log_record *r) {
    struct ln_log_finding f = {.kind = LN_LOG_FOUND_RECORD,
                               .segment = s->number,
                               .offset = s->end,
                               .what = ln_log_type_name(r->type),
                               .is_entry = r->type <= LN_LOG_MAX_TYPE,
                               .record = {r->index, r->term, r->payload, r->len, r->type}};
    s->report.records++;
    if (f.is_entry)
        s->report.entries++;
    return s->fn ? s->fn(s->arg, &f) : LN_OK;
}

static int damage(struct ln_log_scan *s, uint64_t segment, uint64_t offset, const char *what) {
    if (s->report.damages++ == 0)
        (void)snprintf(s->damage, sizeof s->damage,
                       "segment %016" PRIx64 ".log, offset %" PRIu64 ": %s", segment, offset, what);
    int rc = tell(s, LN_LOG_FOUND_DAMAGE, segment, offset, what);
    return rc == LN_OK ? LN_ECORRUPT : rc;
}

/* ---- files */

static int open_segment(struct ln_log_scan *s, uint64_t number, struct ln_log_window *w) {
    char name[LN_LOG_NAME];
    struct stat st;
    ln_log_segment_name(number, name);
    int fd = openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    uint64_t size = (uint64_t)st.st_size;
    ln_log_window_init(w, fd, size < UINT32_MAX ? size : UINT32_MAX);
    return LN_OK;
}

enum head { HEAD_GOOD, HEAD_NEWER, HEAD_ZERO, HEAD_BAD };

static int read_head(struct ln_log_window *w, uint64_t number, struct ln_log_header *header,
                     enum head *head) {
    static const char zeros[LN_LOG_HEADER];
    char bytes[LN_LOG_HEADER] = {0};
    const char *p = NULL;
    size_t have = 0;
    int rc = ln_log_window_get(w, 0, sizeof bytes, &p, &have);
    if (rc != LN_OK)
        return rc;
    memcpy(bytes, p, have < sizeof bytes ? have : sizeof bytes);
    if (ln_log_header_decode(bytes, number, header))
        *head = header->version > LN_LOG_VERSION ? HEAD_NEWER : HEAD_GOOD;
    else
        *head = memcmp(bytes, zeros, sizeof zeros) == 0 ? HEAD_ZERO : HEAD_BAD;
    return LN_OK;
}

/* Goes on in the segment, whose header says what the ones before have left. */
static int enter(struct ln_log_scan *s, struct ln_log_window *w, uint64_t number,
                 const struct ln_log_header *header) {
    ln_log_window_close(&s->window);
    s->window = *w;
    s->number = number;
    s->end = LN_LOG_HEADER;
    s->facts = header->facts;
    s->anchored = true;
    if (header->synced > s->synced)
        s->synced = header->synced;
    s->report.segments++;
    return tell(s, LN_LOG_FOUND_SEGMENT, number, 0, "segment");
}

/* ---- what proves that the end was durable once, and so is none */

/* In the segments behind the one where the log ends. */
static int search_later(struct ln_log_scan *s, size_t at, uint64_t than) {
    struct ln_log_search q = {.number = s->numbers[at], .than = than, .hashed = s->hashed};
    struct ln_log_header header;
    enum head head = HEAD_ZERO;
    int rc = open_segment(s, q.number, &q.window);
    if (rc != LN_OK)
        return rc == -ENOENT && s->go_on ? LN_OK : rc;
    rc = read_head(&q.window, q.number, &header, &head);
    if (rc == LN_OK && head == HEAD_NEWER)
        rc = LN_EVERSION;
    if (rc == LN_OK && head == HEAD_GOOD && header.synced > than)
        s->proof = ln_log_position(q.number, 0);
    else if (rc == LN_OK)
        rc = ln_log_search(&q, LN_LOG_HEADER);
    if (q.found > 0)
        s->proof = ln_log_position(q.number, q.found);
    s->hashed = q.hashed;
    ln_log_window_close(&q.window);
    return rc;
}

static int look_behind(struct ln_log_scan *s) {
    uint64_t than = ln_log_position(s->number, s->end);
    struct ln_log_search q = {
        .window = s->window, .number = s->number, .than = than, .hashed = s->hashed};
    q.nonzero_end = s->end;
    s->proof = 0;
    ln_log_window_forget(&q.window);
    int rc = ln_log_search(&q, s->end);
    s->window = q.window;
    s->garbage_end = q.nonzero_end;
    s->hashed = q.hashed;
    if (q.found > 0)
        s->proof = ln_log_position(s->number, q.found);
    for (size_t i = s->at + 1; rc == LN_OK && s->proof == 0 && i < s->count; i++)
        rc = search_later(s, i, than);
    return rc;
}

/* Whether a write that was cut short can have left this: a sector of it that was not written, and
 * so has zeros. */
static int may_be_torn(struct ln_log_scan *s, bool *torn) {
    uint64_t at = s->end, end = s->end + s->size;
    *torn = end > s->window.size;
    while (!*torn && at < end) {
        const char *p = NULL;
        size_t have = 0, n = (size_t)(SECTOR - at % SECTOR);
        n = n < end - at ? n : (size_t)(end - at);
        int rc = ln_log_window_get(&s->window, at, n, &p, &have);
        if (rc != LN_OK)
            return rc;
        *torn = true;
        for (size_t i = 0; i < n && i < have; i++)
            *torn = *torn && p[i] == 0;
        at += n;
    }
    return LN_OK;
}

/* ---- walking */

/* For facts that damage has left unknown: what the record takes for granted. */
static void anchor(struct ln_log_scan *s, const struct ln_log_record *r) {
    struct ln_log_facts *f = &s->facts;
    f->last = r->type <= LN_LOG_MAX_TYPE ? r->index - 1 : r->index;
    f->last_term = 0;
    if (f->first > f->last + 1)
        f->first = f->last + 1;
    s->anchored = true;
}

static int walk_record(struct ln_log_scan *s, const struct ln_log_at *at) {
    const struct ln_log_record *r = &at->record;
    if (!s->anchored)
        anchor(s, r);
    const char *why = ln_log_apply(&s->facts, r);
    if (why) {
        int rc = damage(s, s->number, s->end, why);
        if (rc != LN_ECORRUPT || !s->go_on)
            return rc;
        anchor(s, r);
        (void)ln_log_apply(&s->facts, r);
    }
    if (r->synced > s->synced)
        s->synced = r->synced;
    if (r->type == LN_LOG_RESET)
        s->base_last = 0;
    else if (s->base_last > s->facts.last)
        s->base_last = s->facts.last;
    int rc = tell_record(s, r);
    s->end += at->size;
    return rc;
}

/* To the first place in the segment that is no record. */
static int walk_records(struct ln_log_scan *s) {
    for (;;) {
        struct ln_log_at at;
        int rc = ln_log_window_record(&s->window, s->number, s->end, &at);
        s->why = at.why;
        s->size = at.size;
        if (rc == LN_OK && at.found != LN_LOG_AT_RECORD)
            return LN_OK;
        if (rc == LN_OK)
            rc = walk_record(s, &at);
        if (rc != LN_OK)
            return rc;
    }
}

/* Opens the segment behind this one. A writer may have removed it meanwhile, and this one before
 * it: then *skipped, and the next one that is there. */
static int open_next(struct ln_log_scan *s, struct ln_log_window *w, bool *skipped) {
    *skipped = false;
    int rc = open_segment(s, s->numbers[s->at + 1], w);
    while (rc == -ENOENT && s->go_on && s->at + 2 < s->count) {
        *skipped = true;
        rc = open_segment(s, s->numbers[++s->at + 1], w);
    }
    return rc;
}

/* Whether the header is that of a segment which follows what was read. */
static int follows(struct ln_log_scan *s, uint64_t number, const struct ln_log_header *header,
                   enum head head, bool skipped, bool *joined) {
    if (head == HEAD_NEWER)
        return LN_EVERSION;
    if (head == HEAD_BAD) /* it lies in one sector, which is written or not */
        return damage(s, number, 0, "the header is damaged");
    *joined = head == HEAD_GOOD && (skipped || header->previous_end == s->end);
    if (!*joined || skipped || !s->anchored || s->report.damages > 0 ||
        ln_log_facts_equal(&header->facts, &s->facts))
        return LN_OK;
    int rc = damage(s, number, 0, "the header does not agree with the segment before");
    return rc == LN_ECORRUPT && s->go_on ? LN_OK : rc;
}

/* Into the next segment, where it follows this one. */
static int join(struct ln_log_scan *s, bool *joined) {
    struct ln_log_window w;
    struct ln_log_header header;
    enum head head = HEAD_ZERO;
    bool skipped;
    *joined = false;
    int rc = open_next(s, &w, &skipped);
    uint64_t number = s->numbers[s->at + 1];
    if (rc != LN_OK)
        return rc == -ENOENT && s->go_on ? LN_OK : rc;
    rc = read_head(&w, number, &header, &head);
    if (rc == LN_OK)
        rc = follows(s, number, &header, head, skipped, joined);
    if (rc != LN_OK || !*joined) {
        *joined = false;
        ln_log_window_close(&w);
        return rc;
    }
    if (skipped)
        s->base_last = header.facts.last;
    s->at++;
    s->report.bytes += s->end;
    return enter(s, &w, number, &header);
}

static int walk(struct ln_log_scan *s) {
    bool joined = true;
    int rc = LN_OK;
    while (rc == LN_OK && joined) {
        rc = walk_records(s);
        joined = rc == LN_OK && !s->why && s->at + 1 < s->count;
        if (joined)
            rc = join(s, &joined);
    }
    return rc;
}

/* ---- the end */

/* A writer may have gone on while we read. */
static int grown(struct ln_log_scan *s, bool *more) {
    struct ln_log_at at = {.found = LN_LOG_AT_END};
    *more = false;
    if (!s->go_on)
        return LN_OK;
    ln_log_window_forget(&s->window);
    int rc = ln_log_window_record(&s->window, s->number, s->end, &at);
    *more = rc == LN_OK && at.found == LN_LOG_AT_RECORD;
    return rc;
}

static int tell_unused(struct ln_log_scan *s) {
    int rc = LN_OK;
    for (size_t i = s->at + 1; rc == LN_OK && i < s->count; i++)
        rc = tell(s, LN_LOG_FOUND_UNUSED, s->numbers[i], 0, "nothing of the log is in it");
    return rc;
}

/* Whether what the walk ended at is the end of the log. */
static int judge(struct ln_log_scan *s) {
    bool torn = true;
    int rc = s->why ? may_be_torn(s, &torn) : LN_OK;
    if (rc == LN_OK)
        rc = look_behind(s);
    if (rc != LN_OK)
        return rc;
    if (s->proof > 0) {
        char why[128];
        (void)snprintf(why, sizeof why,
                       "%s, and what was written later, in segment %016" PRIx64 ".log at %" PRIu64
                       ", says that it was on disk",
                       s->why ? s->why : "records are missing", ln_log_position_number(s->proof),
                       ln_log_position_offset(s->proof));
        return damage(s, s->number, s->end, why);
    }
    if (!torn)
        return damage(s, s->number, s->end, s->why);
    s->report.torn = s->why || s->garbage_end > s->end;
    if (s->report.torn)
        rc = tell(s, LN_LOG_FOUND_TORN, s->number, s->end,
                  "an unfinished write; opening will cut it off");
    return rc == LN_OK ? tell_unused(s) : rc;
}

/* Behind damage: to the next record of the segment that is intact, else into the next segment. */
static int resume(struct ln_log_scan *s, bool *more) {
    struct ln_log_search q = {.window = s->window, .number = s->number};
    int rc = ln_log_search(&q, s->end + LN_LOG_GRID);
    s->window = q.window;
    *more = rc == LN_OK && q.found > 0;
    if (*more) {
        s->end = q.found;
        s->anchored = false;
    }
    while (rc == LN_OK && !*more && s->at + 1 < s->count) {
        struct ln_log_window w;
        struct ln_log_header header;
        enum head head = HEAD_ZERO;
        uint64_t number = s->numbers[++s->at];
        rc = open_segment(s, number, &w);
        if (rc == -ENOENT) {
            rc = LN_OK;
            continue;
        }
        if (rc == LN_OK)
            rc = read_head(&w, number, &header, &head);
        *more = rc == LN_OK && head == HEAD_GOOD;
        if (*more)
            rc = enter(s, &w, number, &header);
        else
            ln_log_window_close(&w);
    }
    return rc;
}

/* ---- the whole */

/* The first of the segments that follow each other without a gap up to the last one. Those before
 * a gap are on their way out. */
static int begin(struct ln_log_scan *s) {
    struct ln_log_window w;
    struct ln_log_header header = {.facts = LN_LOG_FACTS_EMPTY};
    enum head head = HEAD_ZERO;
    size_t at = s->count - 1;
    while (at > 0 && s->numbers[at - 1] + 1 == s->numbers[at])
        at--;
    s->at = at;
    s->lowest = s->number = s->numbers[at];
    int rc = open_segment(s, s->number, &w);
    if (rc != LN_OK)
        return rc;
    rc = read_head(&w, s->number, &header, &head);
    if (rc == LN_OK && head == HEAD_NEWER)
        rc = LN_EVERSION;
    if (rc != LN_OK) {
        ln_log_window_close(&w);
        return rc;
    }
    s->base_last = header.facts.last;
    rc = enter(s, &w, s->number, &header);
    if (rc != LN_OK || head == HEAD_GOOD)
        return rc;
    s->end = 0;
    s->anchored = false;
    s->headless = true;
    return head == HEAD_BAD || s->number > 1 ? damage(s, s->number, 0, "the header is damaged")
                                             : LN_OK;
}

static int walk_and_judge(struct ln_log_scan *s) {
    bool more = true;
    int rc = LN_OK;
    while (rc == LN_OK && more) {
        rc = walk(s);
        if (rc == LN_OK)
            rc = grown(s, &more);
    }
    return rc == LN_OK ? judge(s) : rc;
}

int ln_log_scan_run(struct ln_log_scan *s) {
    ln_log_window_init(&s->window, -1, 0);
    s->facts = LN_LOG_FACTS_EMPTY;
    s->report.first = s->facts.first;
    int rc = ln_log_dir_list(s->dir_fd, &s->numbers, &s->count);
    if (rc != LN_OK || s->count == 0)
        return rc;
    rc = begin(s);
    if (rc == LN_OK)
        rc = s->headless ? judge(s) : walk_and_judge(s);
    while (rc == LN_ECORRUPT && s->go_on) {
        bool more = false;
        rc = resume(s, &more);
        if (rc == LN_OK && !more)
            break;
        if (rc == LN_OK)
            rc = walk_and_judge(s);
    }
    if (rc == LN_OK && s->facts.first <= s->base_last && s->base_last > 0)
        rc = damage(s, s->lowest, 0, "segments before this one are missing");
    s->report.bytes += s->end;
    s->report.first = s->facts.first;
    s->report.last = s->facts.last;
    s->report.state_term = s->facts.state_term;
    return rc == LN_OK && s->report.damages > 0 ? LN_ECORRUPT : rc;
}

void ln_log_scan_free(struct ln_log_scan *s) {
    ln_log_window_close(&s->window);
    free(s->numbers);
    s->numbers = NULL;
}
