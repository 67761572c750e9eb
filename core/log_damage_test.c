/* Files of a log that are changed under it while it is closed: every byte of a tail flipped or cut,
 * damage before the tail, segments that are missing; and checking them. */
#include "log_fixture.h"
#include "log_format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    char path[128];
    size_t size, used;
    char *bytes;
};

static struct file load(uint64_t number) {
    struct file f = {.used = 0};
    struct stat st;
    snprintf(f.path, sizeof f.path, "%s/%016" PRIx64 ".log", dir, number);
    int fd = open(f.path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    f.size = (size_t)st.st_size;
    f.bytes = malloc(f.size);
    assert_non_null(f.bytes);
    assert_int_equal(read(fd, f.bytes, f.size), (ssize_t)f.size);
    for (size_t i = 0; i < f.size; i++)
        if (f.bytes[i])
            f.used = i + 1;
    f.used = (f.used + 7) / 8 * 8;
    close(fd);
    return f;
}

static void store(const struct file *f, size_t size) {
    int fd = open(f->path, O_WRONLY | O_TRUNC | O_CREAT, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, f->bytes, size), (ssize_t)size);
    close(fd);
}

static int check_dir(struct ln_log_report *report) {
    struct ln_detail detail;
    return ln_log_check(dir, NULL, NULL, &detail, report);
}

/* Whether the log opens, and then holds the first of the model's entries: how many. -1: damage is
 * reported, with segment and offset, and the check agrees. */
static int64_t prefix_left(void) {
    struct ln_log *log = NULL;
    struct ln_detail detail = {{0}};
    struct ln_log_report report;
    struct ln_log_options options = {.segment_size = SMALL};
    int checked = check_dir(&report);
    int rc = ln_log_open(loop, dir, &options, &detail, &log);
    assert_int_equal(rc, checked);
    if (rc != LN_OK) {
        assert_int_equal(rc, LN_ECORRUPT);
        assert_non_null(strstr(detail.text, "segment 00000000"));
        assert_non_null(strstr(detail.text, "offset "));
        assert_non_null(strstr(detail.text, "lunode check"));
        assert_true(report.damages > 0);
        return -1;
    }
    struct model expected = model;
    expected.last = ln_log_last(log);
    assert_true(expected.last <= model.last);
    assert_int_equal(report.last, expected.last);
    check_log(log, &expected);
    assert_int_equal(log_put(log, &expected, 9, 60), LN_OK); /* and it is of use */
    close_log(log);
    log = open_with(&options);
    check_log(log, &expected);
    close_log(log);
    return (int64_t)expected.last - 1;
}

/* Entries of several sizes, so that heads and payloads lie over the sectors' ends; not closed in
 * order, as after a crash: `synced` of them were synced before the others were written. */
static void make_crashed(uint64_t count, uint64_t synced) {
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    for (uint64_t i = 0; i < count; i++) {
        put_many(log, 1, 1 + i / 5, i % 4 * 61);
        if (i + 1 == synced)
            sync_log(log);
    }
    assert_int_equal(ln_log_flush(log), LN_OK);
    struct file f = load(1);
    close_log(log);
    store(&f, f.size);
    free(f.bytes);
}

static void every_flipped_byte_of_the_tail_is_cut_or_reported(void **state) {
    (void)state;
    enum { ENTRIES = 14, SYNCED = 6 };
    make_crashed(ENTRIES, SYNCED);
    struct file f = load(1);
    int64_t reported = 0, whole = 0;
    for (size_t at = 0; at < f.used + 64; at++) {
        for (int bit = 0; bit < 8; bit += getenv("LUNODE_FULL") ? 1 : 3) {
            f.bytes[at] = (char)(f.bytes[at] ^ 1 << bit);
            store(&f, f.size);
            int64_t left = prefix_left();
            reported += left < 0;
            whole += left == ENTRIES;
            assert_true(left < 0 || left >= SYNCED);
            f.bytes[at] = (char)(f.bytes[at] ^ 1 << bit);
        }
    }
    assert_true(reported > 0);
    assert_true(whole > 0); /* behind the end */
    free(f.bytes);
}

static void every_cut_of_the_tail_leaves_a_prefix(void **state) {
    (void)state;
    enum { ENTRIES = 14, SYNCED = 6 };
    make_crashed(ENTRIES, SYNCED);
    struct file f = load(1);
    char *bytes = f.bytes;
    int64_t before = 0;
    for (size_t size = 0; size <= f.used; size++) { /* the file ends there */
        store(&f, size);
        int64_t left = prefix_left();
        if (left < 0) /* nothing comes before its header, which was synced, is there */
            assert_in_range(size, 1, LN_LOG_HEADER - 1);
        else
            assert_in_range(left, before, ENTRIES);
        before = left < 0 ? 0 : left;
    }
    assert_int_equal(before, ENTRIES);
    f.bytes = malloc(f.size);
    assert_non_null(f.bytes);
    before = 0;
    for (size_t size = 0; size <= f.used;
         size += 512) { /* sectors from there on were not written */
        memset(f.bytes, 0, f.size);
        memcpy(f.bytes, bytes, size);
        store(&f, f.size);
        int64_t left = prefix_left();
        assert_true(left >= before);
        before = left;
    }
    free(f.bytes);
    free(bytes);
}

static void sectors_that_were_not_written_are_a_torn_tail_unless_they_were_synced(void **state) {
    (void)state;
    enum { ENTRIES = 26, SYNCED = 9 };
    make_crashed(ENTRIES, SYNCED);
    struct file f = load(1);
    int64_t cut = 0, reported = 0;
    for (size_t sector = 0; sector * 512 < f.used; sector++) {
        char kept[512];
        memcpy(kept, f.bytes + sector * 512, 512);
        memset(f.bytes + sector * 512, 0, 512);
        store(&f, f.size);
        int64_t left = prefix_left();
        assert_true(left < 0 || left >= SYNCED);
        cut += left >= 0;
        reported += left < 0;
        memcpy(f.bytes + sector * 512, kept, 512);
    }
    assert_true(cut > 0);
    assert_true(reported > 0);
    free(f.bytes);
}

static void what_was_cut_never_comes_back(void **state) {
    (void)state;
    make_crashed(26, 3);
    struct file f = load(1);
    size_t sector = f.used / 2 / 512 * 512;
    memset(f.bytes + sector, 0, 512); /* with intact records behind */
    store(&f, f.size);
    struct ln_log_options options = {.segment_size = SMALL};
    struct ln_log *log = open_with(&options);
    uint64_t last = ln_log_last(log);
    assert_in_range(last, 3, 25);
    model.last = last;
    check_log(log, &model);
    for (int i = 0; i < 4; i++) { /* of the very sizes that were there */
        uint64_t n = model.last;
        assert_int_equal(log_put(log, &model, 1 + n / 5, n % 4 * 61), LN_OK);
        assert_int_equal(ln_log_flush(log), LN_OK);
        struct file g = load(1);
        close_log(log);
        store(&g, g.size);
        free(g.bytes);
        log = open_with(&options);
        check_log(log, &model);
    }
    close_log(log);
    free(f.bytes);
}

static void damage_before_the_tail_refuses_and_changes_nothing(void **state) {
    (void)state;
    char text[512];
    struct ln_log_report report;
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 100, 1, 100);
    sync_log(log);
    close_log(log);
    for (uint64_t number = 1; number <= 3; number++) {
        struct file f = load(number);
        for (size_t at = 0; at < f.used; at += 7) {
            f.bytes[at] ^= 4;
            store(&f, f.size);
            assert_int_equal(refused(text), LN_ECORRUPT);
            assert_int_equal(check_dir(&report), LN_ECORRUPT);
            assert_true(report.damages >= 1);
            struct file same = load(number);
            assert_memory_equal(same.bytes, f.bytes, f.size);
            free(same.bytes);
            f.bytes[at] ^= 4;
        }
        store(&f, f.size);
        free(f.bytes);
    }
    assert_int_equal(check_dir(&report), LN_OK);
    assert_int_equal(report.entries, 100);
    assert_int_equal(report.last, 100);
    log = open_with(&(struct ln_log_options){.segment_size = SMALL});
    check_log(log, &model);
    close_log(log);
}

static void a_segment_that_is_missing_is_told(void **state) {
    (void)state;
    char text[512];
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 200, 1, 100);
    close_log(log);
    for (uint64_t number = 1; number <= 4; number++) {
        struct file f = load(number);
        assert_int_equal(unlink(f.path), 0);
        assert_int_equal(refused(text), LN_ECORRUPT);
        assert_non_null(strstr(text, "are missing"));
        store(&f, f.size);
        free(f.bytes);
    }
    assert_int_equal(refused(text), LN_OK);
}

static void a_log_that_was_closed_shows_damage_of_its_last_record(void **state) {
    (void)state;
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 5, 1, 600);
    close_log(log);
    struct file f = load(1);
    memset(f.bytes + f.used - 512 - 40, 0, 512); /* a sector of the last entry */
    store(&f, f.size);
    assert_int_equal(prefix_left(), -1);
    free(f.bytes);
}

static void a_newer_format_is_refused(void **state) {
    (void)state;
    char text[512];
    close_log(open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL}));
    struct file f = load(1);
    struct ln_log_header header;
    assert_true(ln_log_header_decode(f.bytes, 1, &header));
    header.version = LN_LOG_VERSION + 1;
    ln_log_header_encode(&header, f.bytes);
    store(&f, f.size);
    assert_int_equal(refused(text), LN_EVERSION);
    assert_non_null(strstr(text, "newer lunode"));
    free(f.bytes);
}

static void a_read_finds_damage_that_came_after_the_open(void **state) {
    (void)state;
    struct ln_log_cursor c;
    struct ln_log_entry e;
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 100, 1, 100);
    assert_int_equal(ln_log_flush(log), LN_OK);
    struct file f = load(1);
    f.bytes[1000] ^= 1;
    store(&f, f.size);
    free(f.bytes);
    ln_log_cursor_open(log, 1, UINT64_MAX, &c);
    int rc;
    while ((rc = ln_log_cursor_next(&c, &e)) == LN_OK)
        ;
    assert_int_equal(rc, LN_ECORRUPT);
    assert_non_null(strstr(ln_log_detail(log), "offset "));
    ln_log_cursor_close(&c);
    assert_int_equal(log_put(log, NULL, 1, 10), LN_OK); /* of no concern to the others */
    close_log(log);
}

/* ---- checking */

struct seen {
    uint64_t segments, entries, torn, unused, damages, last;
};

static int on_finding(void *arg, const struct ln_log_finding *f) {
    struct seen *s = arg;
    s->segments += f->kind == LN_LOG_FOUND_SEGMENT;
    s->torn += f->kind == LN_LOG_FOUND_TORN;
    s->unused += f->kind == LN_LOG_FOUND_UNUSED;
    s->damages += f->kind == LN_LOG_FOUND_DAMAGE;
    if (f->kind == LN_LOG_FOUND_RECORD && f->is_entry) {
        s->entries++;
        s->last = f->record.index;
        assert_true(payload_right(&f->record));
    }
    return LN_OK;
}

static void a_check_goes_on_behind_damage(void **state) {
    (void)state;
    struct seen seen = {0};
    struct ln_log_report report;
    struct ln_detail detail;
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    put_many(log, 100, 1, 100);
    close_log(log);
    for (uint64_t number = 2; number <= 3; number++) {
        struct file f = load(number);
        f.bytes[1500] ^= 1;
        store(&f, f.size);
        free(f.bytes);
    }
    assert_int_equal(ln_log_check(dir, on_finding, &seen, &detail, &report), LN_ECORRUPT);
    assert_non_null(strstr(detail.text, "0000000000000002.log, offset "));
    assert_int_equal(seen.damages, report.damages);
    assert_int_equal(seen.damages, 2);
    assert_int_equal(seen.entries, 98);
    assert_int_equal(seen.last, 100);
}

struct truncation {
    struct ln_log *log;
    uint64_t entries, last;
};

/* Once: all but the last entry goes, and the segments with it, under the eyes of the check. */
static int on_finding_truncate(void *arg, const struct ln_log_finding *f) {
    struct truncation *t = arg;
    struct ln_log_stats stats;
    assert_int_not_equal(f->kind, LN_LOG_FOUND_DAMAGE);
    if (f->kind != LN_LOG_FOUND_RECORD || !f->is_entry)
        return LN_OK;
    t->last = f->record.index;
    if (t->entries++ != 0)
        return LN_OK;
    assert_int_equal(ln_log_truncate_prefix(t->log, ln_log_last(t->log) - 1, 1), LN_OK);
    sync_log(t->log);
    char path[128];
    struct stat st;
    ln_log_stats(t->log, &stats);
    assert_true(stats.segments <= 2);
    for (uint64_t number = 1; number <= 4; number++) {
        snprintf(path, sizeof path, "%s/%016" PRIx64 ".log", dir, number);
        for (int i = 0; i < 10000 && stat(path, &st) == 0; i++)
            sched_yield();
        assert_int_not_equal(stat(path, &st), 0);
    }
    return LN_OK;
}

static void a_check_goes_on_where_segments_vanish(void **state) {
    (void)state;
    struct ln_log_report report;
    struct ln_detail detail;
    struct truncation t = {
        .log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL})};
    put_many(t.log, 200, 1, 100);
    sync_log(t.log);
    assert_int_equal(ln_log_check(dir, on_finding_truncate, &t, &detail, &report), LN_OK);
    assert_in_range(t.entries, 2, 199);
    assert_int_equal(t.last, 200);
    close_log(t.log);
}

static int stop_at_once(void *arg, const struct ln_log_finding *f) {
    (void)arg, (void)f;
    return -ECANCELED;
}

static void a_check_reads_beside_a_writer(void **state) {
    (void)state;
    struct ln_log_report report;
    struct ln_detail detail;
    struct seen seen = {0};
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    for (int i = 0; i < 40; i++) {
        put_many(log, 5, 1, 100);
        assert_int_equal(ln_log_flush(log), LN_OK);
        put_many(log, 1, 1, 100); /* not written yet */
        assert_int_equal(check_dir(&report), LN_OK);
        assert_in_range(report.last, model.last - 3, model.last);
        if (i % 10 == 9)
            sync_log(log);
    }
    assert_int_equal(ln_log_check(dir, on_finding, &seen, &detail, &report), LN_OK);
    assert_int_equal(seen.entries, report.entries);
    assert_int_equal(ln_log_check(dir, stop_at_once, NULL, &detail, &report), -ECANCELED);
    close_log(log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_flipped_byte_of_the_tail_is_cut_or_reported),
        TEST(every_cut_of_the_tail_leaves_a_prefix),
        TEST_ON_DISK(sectors_that_were_not_written_are_a_torn_tail_unless_they_were_synced),
        TEST(what_was_cut_never_comes_back),
        TEST(damage_before_the_tail_refuses_and_changes_nothing),
        TEST(a_segment_that_is_missing_is_told),
        TEST(a_log_that_was_closed_shows_damage_of_its_last_record),
        TEST(a_newer_format_is_refused),
        TEST(a_read_finds_damage_that_came_after_the_open),
        TEST(a_check_goes_on_behind_damage),
        TEST(a_check_goes_on_where_segments_vanish),
        TEST_ON_DISK(a_check_reads_beside_a_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
