/* The files of a log. An input is a program that writes them, with checksums that are right: else
 * no made-up byte would get past those. It may then damage what it has written. Whatever lies
 * there: opening and checking agree, damage is refused and nothing changed, and what has opened
 * reads to its end, takes an entry, and opens again with the same. */
#include "log.h"
#include "fuzz.h"
#include "log_format.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEGMENT = 4096, SEGMENTS = 4, STEPS = 200 };

struct input {
    const uint8_t *at, *end;
};

static uint8_t next(struct input *in) {
    return in->at < in->end ? *in->at++ : 0;
}

static char segments[SEGMENTS][SEGMENT];
static size_t ends[SEGMENTS];
static struct ln_log_facts facts;
static char dir[64];
static struct ln_loop *loop;

static void remove_dir(void);

static void make_once(void) {
    static const char template[] = "/tmp/lunode_fuzz_XXXXXX";
    if (loop)
        return;
    memcpy(dir, "/dev/shm/lunode_fuzz_XXXXXX", sizeof "/dev/shm/lunode_fuzz_XXXXXX");
    if (!mkdtemp(dir)) {
        memcpy(dir, template, sizeof template);
        FUZZ_CHECK(mkdtemp(dir));
    }
    FUZZ_CHECK(ln_loop_open(&loop) == LN_OK);
    FUZZ_CHECK(atexit(remove_dir) == 0);
}

/* ---- the program */

static uint64_t place(struct input *in, size_t segment) {
    return ln_log_position(1 + next(in) % (segment + 1), next(in) * UINT64_C(16));
}

static void put_header(struct input *in, size_t segment) {
    uint8_t how = next(in);
    struct ln_log_header h = {.version = how == 255 ? 2 : 1,
                              .number = how == 254 ? 77 : segment + 1,
                              .previous_end = segment > 0 ? (uint32_t)ends[segment - 1] : 0,
                              .facts = facts};
    h.synced = place(in, segment);
    if (how % 8 == 1)
        h.previous_end = next(in) * 8U;
    if (how % 8 == 2)
        h.facts.last = h.facts.first - 1 + next(in);
    if (how % 8 != 3)
        ln_log_header_encode(&h, segments[segment]);
    ends[segment] = LN_LOG_HEADER;
}

static void put_record(struct input *in, size_t segment) {
    static const char bytes[256] = "what is in an entry";
    uint8_t type = next(in), how = next(in);
    struct ln_log_record r = {.term = facts.last_term,
                              .index = facts.last + (type <= LN_LOG_MAX_TYPE),
                              .payload = bytes,
                              .len = next(in),
                              .type = type < 250 ? type % LN_LOG_TYPES : LN_LOG_SUFFIX};
    if (how % 4 == 1)
        r.index = facts.first + next(in) - 1;
    if (how % 8 == 2)
        r.term += next(in);
    if (how % 8 == 6)
        r.index = UINT64_MAX / 2 - next(in) / 4U;
    r.synced = place(in, segment);
    size_t size = ln_log_record_size(r.len);
    if (ends[segment] + size > SEGMENT)
        return;
    ln_log_record_encode(&r, segment + 1, segments[segment] + ends[segment]);
    ends[segment] += size;
    (void)ln_log_apply(&facts, &r);
}

static void damage(struct input *in, size_t segment) {
    size_t at = (size_t)(next(in) << 8 | next(in)) % SEGMENT, len = next(in);
    uint8_t with = next(in);
    for (size_t i = at; i < at + len && i < SEGMENT; i++)
        segments[segment][i] = (char)(with ? segments[segment][i] ^ with : 0);
}

static size_t write_segments(struct input *in) {
    size_t segment = 0;
    memset(segments, 0, sizeof segments);
    facts = LN_LOG_FACTS_EMPTY;
    put_header(in, 0);
    for (int i = 0; i < STEPS && in->at < in->end; i++) {
        uint8_t op = next(in) % 16;
        if (op == 0 && segment + 1 < SEGMENTS)
            put_header(in, ++segment);
        else if (op == 1)
            damage(in, next(in) % (segment + 1));
        else
            put_record(in, segment);
    }
    return segment + 1;
}

/* ---- files */

static void name_of(size_t segment, char out[128]) {
    (void)snprintf(out, 128, "%s/%016" PRIx64 ".log", dir, (uint64_t)segment + 1);
}

static void remove_dir(void) {
    char path[128];
    for (size_t i = 0; i < SEGMENTS + 2; i++) {
        name_of(i, path);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s/LOCK", dir);
    (void)unlink(path);
    (void)rmdir(dir);
}

static void store(size_t count, uint8_t missing) {
    char path[128];
    for (size_t i = 0; i < SEGMENTS + 2; i++) {
        name_of(i, path);
        (void)unlink(path);
        if (i >= count || (missing % 16 == 1 && i == missing / 16U % count))
            continue;
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        FUZZ_CHECK(fd >= 0);
        size_t size = missing % 16 == 2 ? SEGMENT - missing : SEGMENT;
        FUZZ_CHECK(write(fd, segments[i], size) == (ssize_t)size);
        close(fd);
    }
}

static uint64_t files_digest(void) {
    struct fuzz_digest d = {UINT64_C(0xcbf29ce484222325)};
    for (size_t i = 0; i < SEGMENTS + 2; i++) {
        char path[128], bytes[SEGMENT + 1];
        name_of(i, path);
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, bytes, sizeof bytes);
        FUZZ_CHECK(n >= 0);
        fuzz_note(&d, bytes, (size_t)n);
        if (fd >= 0)
            close(fd);
    }
    return d.hash;
}

/* ---- what must hold */

static struct ln_log *open_log(int *rc) {
    struct ln_log *log = NULL;
    struct ln_detail detail;
    struct ln_log_options options = {.segment_size = SEGMENT};
    *rc = ln_log_open(loop, dir, &options, &detail, &log);
    return log;
}

static void close_log(struct ln_log *log) {
    FUZZ_CHECK(ln_log_close(log, NULL, NULL) == LN_OK);
    FUZZ_CHECK(ln_loop_run(loop) == LN_OK);
}

static struct fuzz_digest read_all(struct ln_log *log, uint64_t to) {
    struct fuzz_digest d = {UINT64_C(0xcbf29ce484222325)};
    struct ln_log_cursor c;
    struct ln_log_entry e;
    uint64_t index = ln_log_first(log), term = 0;
    int rc;
    ln_log_cursor_open(log, index, to, &c);
    while ((rc = ln_log_cursor_next(&c, &e)) == LN_OK) {
        FUZZ_CHECK(e.index == index++);
        FUZZ_CHECK(ln_log_term(log, e.index, &term) == LN_OK && term == e.term);
        fuzz_note(&d, &e.index, sizeof e.index);
        fuzz_note(&d, &e.term, sizeof e.term);
        fuzz_note(&d, e.payload, e.len);
    }
    FUZZ_CHECK(rc == LN_EOF);
    FUZZ_CHECK(index > ln_log_last(log) || index > to);
    ln_log_cursor_close(&c);
    return d;
}

static void use(struct ln_log *log) {
    struct ln_log_report report;
    struct ln_detail detail;
    uint64_t first = ln_log_first(log), last = ln_log_last(log), term = 0, index = 0;
    int rc;
    struct fuzz_digest before = read_all(log, last);
    FUZZ_CHECK(ln_log_synced(log) == last);
    FUZZ_CHECK(ln_log_term(log, last, &term) == LN_OK);
    rc = ln_log_append(log, UINT64_MAX, 1, "more", 4, &index);
    FUZZ_CHECK(rc == LN_OK ? index == last + 1 : last == LN_LOG_MAX_INDEX);
    close_log(log);
    FUZZ_CHECK(ln_log_check(dir, NULL, NULL, &detail, &report) == LN_OK && !report.torn);
    log = open_log(&rc);
    FUZZ_CHECK(rc == LN_OK && ln_log_first(log) == first);
    FUZZ_CHECK(ln_log_last(log) == (index ? index : last));
    FUZZ_CHECK(read_all(log, last).hash == before.hash);
    close_log(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    struct input in = {input, input + size};
    struct ln_log_report report;
    struct ln_detail detail;
    int rc;
    make_once();
    uint8_t missing = next(&in);
    store(write_segments(&in), missing);
    int checked = ln_log_check(dir, NULL, NULL, &detail, &report);
    uint64_t before = files_digest();
    struct ln_log *log = open_log(&rc);
    /* A check looks further: behind damage there may be a segment of a newer format. */
    FUZZ_CHECK(rc == checked || (rc == LN_ECORRUPT && checked == LN_EVERSION));
    FUZZ_CHECK(rc == LN_OK || rc == LN_ECORRUPT || rc == LN_EVERSION);
    if (rc == LN_OK) {
        FUZZ_CHECK(report.first == ln_log_first(log) && report.last == ln_log_last(log));
        use(log);
    } else {
        FUZZ_CHECK(files_digest() == before);
    }
    return 0;
}
