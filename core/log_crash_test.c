/* Power cuts. A run of a log is recorded, write by write; from the record are built the directories
 * that a power cut may legally leave: of what was not synced, each sector as it was before or
 * after any of its writes, and of files made or removed in a directory that was not synced, any
 * part. Each of them must open, hold what was acknowledged as synced, and be what the log was after
 * some of the calls; also when the power fails again while it is opened. */
#include "log.h"
#include "log_test.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SEGMENT = 4096,
    SECTOR = 512,
    MOST_FILES = 64,
    MOST_OPS = 6000,
    MOST_FDS = 256,
    STEPS = 160
};

/* ---- a disk in memory */

struct file {
    uint64_t number; /* 0: there is none */
    size_t size;
    char *bytes;
};

struct disk {
    struct file files[MOST_FILES];
};

static struct file *find(struct disk *d, uint64_t number) {
    for (size_t i = 0; i < MOST_FILES; i++)
        if (d->files[i].number == number)
            return &d->files[i];
    return NULL;
}

static void resize(struct file *f, size_t size) {
    if (size <= f->size)
        return;
    f->bytes = realloc(f->bytes, size);
    assert_non_null(f->bytes);
    memset(f->bytes + f->size, 0, size - f->size);
    f->size = size;
}

static void drop(struct file *f) {
    free(f->bytes);
    *f = (struct file){0};
}

static void disk_free(struct disk *d) {
    for (size_t i = 0; i < MOST_FILES; i++)
        drop(&d->files[i]);
}

/* ---- the record of a run */

struct op {
    enum { MAKE, WRITE, ALLOCATE, REMOVE, SYNC, SYNC_DIR, ACKNOWLEDGE } kind;
    uint64_t number;
    uint64_t offset;
    size_t len;
    char *bytes;
    size_t begun; /* of a sync: it covers the operations before this one */
    size_t calls; /* of an acknowledgement: the calls it covers */
};

static struct {
    pthread_mutex_t lock;
    bool on;
    ino_t dir;
    uint64_t numbers[MOST_FDS]; /* by descriptor */
    struct op ops[MOST_OPS];
    size_t count;
} record = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t note(struct op op) {
    pthread_mutex_lock(&record.lock);
    size_t at = record.count;
    if (record.on) {
        assert_true(at < MOST_OPS);
        record.ops[record.count++] = op;
    }
    pthread_mutex_unlock(&record.lock);
    return at;
}

static void record_clear(void) {
    for (size_t i = 0; i < record.count; i++)
        free(record.ops[i].bytes);
    record.count = 0;
}

static uint64_t number_of(const char *name) {
    uint64_t number = 0;
    return strlen(name) == 20 && sscanf(name, "%16" SCNx64 ".log", &number) == 1 ? number : 0;
}

int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (flags & O_CREAT && number_of(path) > 0)
        (void)note((struct op){.kind = MAKE, .number = number_of(path)});
    int fd = __real_openat(dir, path, flags, mode);
    assert_true(fd < MOST_FDS);
    if (fd >= 0)
        record.numbers[fd] = number_of(path);
    return fd;
}

ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at) {
    struct op op = {.kind = WRITE, .number = record.numbers[fd], .offset = (uint64_t)at, .len = n};
    op.bytes = malloc(n);
    assert_non_null(op.bytes);
    memcpy(op.bytes, p, n);
    if (!record.on)
        free(op.bytes);
    else
        (void)note(op);
    return __real_pwrite(fd, p, n, at);
}

int __real_fallocate(int fd, int mode, off_t at, off_t len);
int __wrap_fallocate(int fd, int mode, off_t at, off_t len);
int __wrap_fallocate(int fd, int mode, off_t at, off_t len) {
    (void)note((struct op){.kind = ALLOCATE, .number = record.numbers[fd], .len = (size_t)len});
    return __real_fallocate(fd, mode, at, len);
}

int __real_unlinkat(int dir, const char *path, int flags);
int __wrap_unlinkat(int dir, const char *path, int flags);
int __wrap_unlinkat(int dir, const char *path, int flags) {
    (void)note((struct op){.kind = REMOVE, .number = number_of(path)});
    return __real_unlinkat(dir, path, flags);
}

/* A sync covers what was written before it began, once it has ended. */
static int sync_recorded(int fd, int (*real)(int)) {
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    bool is_dir = S_ISDIR(st.st_mode);
    pthread_mutex_lock(&record.lock);
    size_t begun = record.count;
    pthread_mutex_unlock(&record.lock);
    int rc = real(fd);
    if (!is_dir)
        (void)note((struct op){.kind = SYNC, .number = record.numbers[fd], .begun = begun});
    else if (st.st_ino == record.dir)
        (void)note((struct op){.kind = SYNC_DIR, .begun = begun});
    return rc;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd) {
    return sync_recorded(fd, __real_fdatasync);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
    return sync_recorded(fd, __real_fsync);
}

/* ---- what a power cut leaves */

static uint64_t seed;

static uint64_t draw(uint64_t below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (seed >> 11) % below;
}

/* Whether operation i of the file is on disk for certain when the power fails before the end-th. */
static bool is_durable(size_t i, size_t end, bool of_dir) {
    const struct op *op = &record.ops[i];
    for (size_t s = i + 1; s < end; s++) {
        const struct op *sync = &record.ops[s];
        if (sync->begun > i &&
            (of_dir ? sync->kind == SYNC_DIR : sync->kind == SYNC && sync->number == op->number))
            return true;
    }
    return false;
}

enum mood { LOSE_ALL, KEEP_ALL, KEEP_SOME, KEEP_A_PREFIX, MOODS };

/* Writes the sectors that the mood lets through. A write that follows another one to the same
 * sector shows what both have written, where it is kept. */
static void write_sectors(struct file *f, const struct op *op, bool durable, enum mood mood) {
    resize(f, (size_t)op->offset + op->len);
    for (size_t at = 0; at < op->len;) {
        size_t n = SECTOR - (size_t)(op->offset + at) % SECTOR;
        n = n < op->len - at ? n : op->len - at;
        if (durable || mood == KEEP_ALL || mood == KEEP_A_PREFIX || draw(2))
            memcpy(f->bytes + op->offset + at, op->bytes + at, n);
        at += n;
    }
}

/* A file is removed for good with its last name; one made anew is another one. */
static void apply(struct disk *d, size_t i, size_t end, enum mood mood, bool *lost) {
    const struct op *op = &record.ops[i];
    bool of_dir = op->kind == MAKE || op->kind == REMOVE;
    bool durable = is_durable(i, end, of_dir);
    if (!durable && mood == KEEP_A_PREFIX && draw(12) == 0)
        *lost = true;
    bool kept =
        durable ||
        (!*lost && (mood == KEEP_ALL || mood == KEEP_A_PREFIX || (mood == KEEP_SOME && draw(2))));
    struct file *f = find(d, op->number);
    if (op->kind == MAKE && kept && !f) {
        f = find(d, 0);
        assert_non_null(f);
        f->number = op->number;
    } else if (op->kind == REMOVE && kept && f) {
        drop(f);
    } else if (op->kind == ALLOCATE && kept && f) {
        resize(f, op->len);
    } else if (op->kind == WRITE && f && (kept || mood == KEEP_SOME)) {
        write_sectors(f, op, durable, mood);
    }
}

static struct disk power_cut(const struct disk *before, size_t end, enum mood mood) {
    struct disk d = {{{0}}};
    bool lost = false;
    for (size_t i = 0; i < MOST_FILES; i++) {
        d.files[i].number = before->files[i].number;
        if (before->files[i].size > 0) {
            resize(&d.files[i], before->files[i].size);
            memcpy(d.files[i].bytes, before->files[i].bytes, before->files[i].size);
        }
    }
    for (size_t i = 0; i < end; i++)
        apply(&d, i, end, mood, &lost);
    return d;
}

/* ---- the run */

static struct ln_loop *loop;
static char dir[64];
static struct model *history; /* the log after each call */
static size_t calls;

static void make_dir(void) {
    static const char template[] = "/dev/shm/lunode_test_XXXXXX";
    struct stat st;
    memcpy(dir, template, sizeof template);
    if (!mkdtemp(dir))
        test_dir_make(dir);
    assert_int_equal(stat(dir, &st), 0);
    record.dir = st.st_ino;
}

static void disk_store(const struct disk *d) {
    for (size_t i = 0; i < MOST_FILES; i++) {
        char path[128];
        if (d->files[i].number == 0)
            continue;
        snprintf(path, sizeof path, "%s/%016" PRIx64 ".log", dir, d->files[i].number);
        int fd = open(path, O_WRONLY | O_CREAT, 0666);
        assert_true(fd >= 0);
        if (d->files[i].size > 0)
            assert_int_equal(__real_pwrite(fd, d->files[i].bytes, d->files[i].size, 0),
                             (ssize_t)d->files[i].size);
        close(fd);
    }
}

static struct ln_log *open_log(void) {
    struct ln_log *log = NULL;
    struct ln_detail detail = {{0}};
    struct ln_log_options options = {.segment_size = SEGMENT, .memory = 1000};
    int rc = ln_log_open(loop, dir, &options, &detail, &log);
    if (rc != LN_OK)
        print_error("%s\n", detail.text);
    assert_int_equal(rc, LN_OK);
    return log;
}

static void close_log(struct ln_log *log) {
    assert_int_equal(ln_log_close(log, NULL, NULL), LN_OK);
    assert_int_equal(ln_loop_run(loop), LN_OK);
}

struct waiter {
    struct ln_log_sync sync;
    size_t calls;
};

static void on_synced(struct ln_log_sync *sync, int status, uint64_t index) {
    struct waiter *w = LN_OWNER(struct waiter, sync, sync);
    (void)index;
    assert_int_equal(status, LN_OK);
    (void)note((struct op){.kind = ACKNOWLEDGE, .calls = w->calls});
    free(w);
}

static void sync_log(struct ln_log *log) {
    struct waiter *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->calls = calls;
    assert_int_equal(ln_log_sync(log, &w->sync, on_synced), LN_OK);
}

static uint64_t last_term(struct model *m) {
    return model_term(m, m->last);
}

static void change(struct ln_log *log, struct model *m) {
    uint64_t count = m->last + 1 - m->first, index, term;
    switch (draw(14)) {
    case 0:
        index = m->first + draw(count + 1);
        assert_int_equal(ln_log_truncate_suffix(log, index), LN_OK);
        model_suffix(m, index);
        break;
    case 1:
    case 2:
        index = m->first + draw(count / 2 + 1) + (draw(12) ? 0 : count);
        term = index <= m->last && draw(6) ? model_term(m, index) : last_term(m) + 1;
        assert_int_equal(ln_log_truncate_prefix(log, index, term), LN_OK);
        model_prefix(m, index, term);
        break;
    case 3:
        term = draw(50);
        assert_int_equal(ln_log_set_state(log, term, payload_of(1, term, 9), term % 10), LN_OK);
        model_state(m, term, payload_of(1, term, 9), term % 10);
        break;
    default:
        assert_int_equal(log_put(log, m, last_term(m) + draw(2), draw(4) ? draw(200) : draw(2000)),
                         LN_OK);
    }
}

static void run(void) {
    calls = 0;
    model_init(&history[0]);
    record.on = true;
    struct ln_log *log = open_log();
    for (size_t i = 0; i < STEPS; i++) {
        history[calls + 1] = history[calls];
        change(log, &history[calls + 1]);
        calls++;
        if (draw(3) == 0)
            assert_int_equal(ln_log_flush(log), LN_OK);
        if (draw(6) == 0)
            sync_log(log);
        if (draw(4) == 0) /* the thread may be at any point meanwhile */
            assert_int_equal(ln_loop_step(loop, draw(3) ? 0 : LN_SECOND / 1000), LN_OK);
    }
    close_log(log);
    record.on = false;
}

/* ---- judging */

static bool same_state(struct ln_log *log, struct model *m) {
    struct ln_log_state s = ln_log_state(log);
    uint64_t term;
    return ln_log_first(log) == m->first && ln_log_last(log) == m->last &&
           s.term == m->state_term && s.vote_len == m->vote_len &&
           memcmp(s.vote, m->vote, s.vote_len) == 0 &&
           ln_log_term(log, m->first - 1, &term) == LN_OK && term == m->base_term;
}

static bool same_entries(struct ln_log *log, struct model *m) {
    struct ln_log_cursor c;
    struct ln_log_entry e;
    bool same = true;
    ln_log_cursor_open(log, m->first, UINT64_MAX, &c);
    for (uint64_t i = m->first; same && i <= m->last; i++) {
        const struct model_entry *want = model_at(m, i);
        assert_int_equal(ln_log_cursor_next(&c, &e), LN_OK);
        same = e.index == i && e.term == want->term && e.type == want->type && e.len == want->len &&
               payload_right(&e);
    }
    ln_log_cursor_close(&c);
    return same;
}

/* Which of the calls was the last to be found; at least those that were acknowledged. */
static size_t judge(struct ln_log *log, size_t acknowledged) {
    for (size_t i = acknowledged; i <= calls; i++)
        if (same_state(log, &history[i]) && same_entries(log, &history[i]))
            return i;
    fail_msg("what was found, %" PRIu64 " to %" PRIu64 ", is nothing that the log was since call "
             "%zu",
             ln_log_first(log), ln_log_last(log), acknowledged);
    return 0;
}

static size_t acknowledged_before(size_t end) {
    size_t most = 0;
    for (size_t i = 0; i < end; i++)
        if (record.ops[i].kind == ACKNOWLEDGE && record.ops[i].calls > most)
            most = record.ops[i].calls;
    return most;
}

/* Opens what a power cut left, writes to it, and opens it again. */
static void use(const struct disk *d, size_t acknowledged) {
    make_dir();
    disk_store(d);
    struct ln_log *log = open_log();
    static struct model m;
    m = history[judge(log, acknowledged)];
    assert_int_equal(log_put(log, &m, last_term(&m), draw(300)), LN_OK);
    assert_int_equal(log_put(log, &m, last_term(&m), draw(300)), LN_OK);
    close_log(log);
    log = open_log();
    check_log(log, &m);
    close_log(log);
    test_dir_remove(dir);
}

/* The power fails again while it is opened. */
static size_t fail_while_opening(const struct disk *d, size_t acknowledged, size_t most) {
    static struct op kept[MOST_OPS];
    size_t kept_count = record.count, states = 0;
    memcpy(kept, record.ops, kept_count * sizeof *kept);
    record.count = 0;
    make_dir();
    disk_store(d);
    record.on = true;
    struct ln_log *log = open_log();
    record.on = false;
    close_log(log);
    test_dir_remove(dir);
    for (; states < most; states++) {
        struct disk again = power_cut(d, draw(record.count + 1), (enum mood)draw(MOODS));
        use(&again, acknowledged);
        disk_free(&again);
    }
    record_clear();
    memcpy(record.ops, kept, kept_count * sizeof *kept);
    record.count = kept_count;
    return states;
}

/* ---- the test */

static size_t try_run(size_t states) {
    static const struct disk nothing;
    size_t tried = 0;
    make_dir();
    run();
    test_dir_remove(dir);
    assert_true(record.count > STEPS / 2);
    assert_true(acknowledged_before(record.count) > 0);
    while (tried < states) {
        size_t end = draw(record.count + 1);
        struct disk d = power_cut(&nothing, end, (enum mood)draw(MOODS));
        size_t acknowledged = acknowledged_before(end);
        use(&d, acknowledged);
        tried++;
        if (draw(4) == 0)
            tried += fail_while_opening(&d, acknowledged, 2);
        disk_free(&d);
    }
    record_clear();
    return tried;
}

static void every_state_that_a_power_cut_leaves_opens_with_what_was_synced(void **state) {
    (void)state;
    size_t runs = getenv("LUNODE_FULL") ? 60 : 6, tried = 0;
    assert_int_equal(ln_loop_open(&loop), LN_OK);
    history = calloc(STEPS + 1, sizeof *history);
    assert_non_null(history);
    for (size_t i = 0; i < runs; i++) {
        seed = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
        tried += try_run(100);
    }
    free(history);
    assert_int_equal(ln_loop_close(loop), LN_OK);
    print_message("# %zu states\n", tried);
    assert_true(tried >= runs * 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_that_a_power_cut_leaves_opens_with_what_was_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
