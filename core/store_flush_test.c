/* The flush: an engine that stalls, fails, fills its disk or is killed in the middle, and what the
 * store's callers notice of it. */
#include "store_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- an engine that does what it is told: another one's calls, but for write and compact */

static struct ln_engine_ops obedient;
static const struct ln_engine_ops *real;
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_opened = PTHREAD_COND_INITIALIZER;
static bool gate_closed;
static atomic_int write_status, writes, compactions, opens, kill_at;

static int obedient_write(struct ln_engine *engine, bool sync, struct ln_detail *detail) {
    pthread_mutex_lock(&gate_lock);
    while (gate_closed)
        pthread_cond_wait(&gate_opened, &gate_lock);
    pthread_mutex_unlock(&gate_lock);
    int number = atomic_fetch_add(&writes, 1) + 1;
    int status = atomic_load(&write_status);
    if (status != LN_OK) {
        real->discard(engine);
        return ln_detail_set(detail, status, "as it was told");
    }
    int rc = real->write(engine, sync, detail);
    if (number == atomic_load(&kill_at))
        (void)raise(SIGKILL);
    return rc;
}

static void obedient_compact(struct ln_engine *engine, const void *from, size_t from_len,
                             const void *to, size_t to_len) {
    real->compact(engine, from, from_len, to, to_len);
    atomic_fetch_add(&compactions, 1);
}

/* For a process that was forked: LevelDB's own thread, which would do it, has stayed behind. */
static void do_not_compact(struct ln_engine *engine, const void *from, size_t from_len,
                           const void *to, size_t to_len) {
    (void)engine, (void)from, (void)from_len, (void)to, (void)to_len;
}

static int obedient_open(const char *dir, const struct ln_engine_options *options,
                         struct ln_detail *detail, struct ln_engine **out) {
    int rc = real->open(dir, options, detail, out);
    if (rc == LN_OK)
        (*out)->ops = &obedient;
    atomic_fetch_add(&opens, 1);
    return rc;
}

static void set_gate(bool closed) {
    pthread_mutex_lock(&gate_lock);
    gate_closed = closed;
    pthread_cond_broadcast(&gate_opened);
    pthread_mutex_unlock(&gate_lock);
}

static const struct ln_engine_ops *obey(const struct ln_engine_ops *engine) {
    real = engine;
    obedient = *engine;
    obedient.open = obedient_open;
    obedient.write = obedient_write;
    obedient.compact = obedient_compact;
    set_gate(false);
    atomic_store(&write_status, LN_OK);
    atomic_store(&writes, 0);
    atomic_store(&compactions, 0);
    atomic_store(&opens, 0);
    atomic_store(&kill_at, 0);
    return &obedient;
}

/* ---- what callbacks have told */

static int room_calls, flushed_calls, last_status;
static uint64_t last_index;

static void on_room(void *arg) {
    (void)arg;
    room_calls++;
}

static void on_flushed(void *arg, int status, const struct ln_detail *detail, uint64_t index) {
    (void)arg;
    assert_true(status == LN_OK || detail->text[0]);
    flushed_calls++;
    last_status = status;
    last_index = index;
}

static struct ln_store_options options_of(size_t overlay, size_t limit) {
    room_calls = flushed_calls = 0;
    last_status = 1;
    last_index = 0;
    return (struct ln_store_options){.create = true,
                                     .cache = 1 << 20,
                                     .overlay = overlay,
                                     .limit = limit,
                                     .max_age = INT64_MAX,
                                     .on_flushed = on_flushed,
                                     .on_room = on_room};
}

struct waiter {
    struct ln_store_flush flush;
    int calls, status;
    uint64_t index;
};

static void on_waited(struct ln_store_flush *flush, int status, const struct ln_detail *detail,
                      uint64_t index) {
    struct waiter *w = (struct waiter *)flush;
    (void)detail;
    w->calls++;
    w->status = status;
    w->index = index;
}

static void ask(struct ln_store *s, struct waiter *w) {
    *w = (struct waiter){.flush = {.fn = on_waited}, .status = 1};
    assert_int_equal(ln_store_flush(s, &w->flush, NULL), LN_OK);
    assert_int_equal(w->calls, 0);
}

static void fill(struct ln_store *s, int from, int count, size_t len) {
    char key[16], *value = calloc(1, len);
    for (int i = from; i < from + count; i++) {
        snprintf(key, sizeof key, "%08d", i);
        assert_int_equal(ln_store_put(s, key, 8, value, len), LN_OK);
    }
    free(value);
}

static size_t count_rows(struct ln_store *s) {
    struct ln_scan *sc = scan(s, "", NULL);
    struct ln_overlay_row row;
    size_t count = 0;
    while (ln_scan_next(sc, NULL, &row) == LN_OK)
        count++;
    ln_scan_close(sc);
    return count;
}

static struct ln_store_stats stats_of(struct ln_store *s) {
    struct ln_store_stats stats;
    ln_store_stats(s, &stats);
    return stats;
}

/* ---- flushes */

static void an_overlay_that_has_grown_is_flushed_with_its_index(void **state) {
    (void)state;
    struct ln_store_options o = options_of(100000, 1 << 20);
    struct ln_store *s = open_with(&o, NULL);
    assert_true(ln_store_applied(s) == 0);
    uint64_t index = 0;
    while (flushed_calls == 0) {
        fill(s, (int)index, 1, 1000);
        assert_int_equal(ln_store_advance(s, ++index), LN_OK);
        assert_int_equal(ln_loop_step(loop, 0), LN_OK);
        assert_true(index < 100000);
    }
    assert_int_equal(last_status, LN_OK);
    assert_true(last_index > 50 && last_index <= index);
    uint64_t durable = last_index;
    ln_store_close(s);
    s = open_store();
    assert_true(ln_store_applied(s) >= durable);
    assert_int_equal(count_rows(s), ln_store_applied(s)); /* a row an entry */
    ln_store_close(s);
}

static void an_entry_is_flushed_as_a_whole_or_not_at_all(void **state) {
    (void)state;
    struct waiter w;
    struct ln_store *s = open_store();
    struct ln_detail detail;
    struct ln_snapshot *snapshot = NULL;
    put(s, "a", "1");
    assert_int_equal(ln_store_advance(s, 1), LN_OK);
    put(s, "b", "2");
    ask(s, &w);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    assert_int_equal(w.calls, 0);
    assert_int_equal(ln_store_commit(s, true, &detail), -EINVAL);
    assert_int_equal(ln_store_snapshot(s, &detail, &snapshot), -EINVAL);
    put(s, "c", "2");
    assert_int_equal(ln_store_advance(s, 1), -EINVAL);
    assert_int_equal(ln_store_advance(s, 2), LN_OK);
    WAIT(w.calls == 1);
    assert_true(w.index == 2);
    ln_store_close(s);
    s = open_store();
    assert_true(ln_store_applied(s) == 2);
    assert_rows(s, "", NULL, "a=1 b=2 c=2");
    ln_store_close(s);
}

static void a_flush_with_nothing_to_do_is_told_all_the_same(void **state) {
    (void)state;
    struct waiter first, second, third;
    struct ln_store *s = open_store();
    ask(s, &first);
    WAIT(first.calls == 1);
    assert_false(s->flusher.started); /* it needs no thread */
    put(s, "a", "1");
    ask(s, &second);
    ask(s, &third);
    assert_int_equal(ln_loop_run(loop), LN_OK); /* they keep the loop alive, and only they */
    assert_int_equal(second.calls + third.calls, 2);
    assert_int_equal(second.status, LN_OK);
    ln_store_close(s);
}

static void a_close_cancels_those_who_wait(void **state) {
    (void)state;
    struct waiter w;
    struct ln_store_options o = options_of(1 << 20, 1 << 20);
    struct ln_store *s = open_with(&o, obey(&ln_engine_memory));
    put(s, "a", "1");
    assert_int_equal(ln_store_advance(s, 1), LN_OK);
    put(s, "b", "half an entry");
    ask(s, &w);
    ln_store_close(s);
    assert_int_equal(w.calls, 0); /* not from within a call */
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.status, -ECANCELED);
}

static struct ln_store *closes_itself;

static void on_close_it(void *arg, int status, const struct ln_detail *detail, uint64_t index) {
    (void)arg, (void)status, (void)detail, (void)index;
    flushed_calls++;
    ln_store_close(closes_itself);
}

static void a_callback_may_close_the_store(void **state) {
    (void)state;
    struct waiter w;
    struct ln_store_options o = options_of(1, 1 << 20);
    o.on_flushed = on_close_it;
    closes_itself = open_with(&o, NULL);
    put(closes_itself, "a", "1");
    assert_int_equal(ln_store_advance(closes_itself, 1), LN_OK);
    ask(closes_itself, &w);
    WAIT(flushed_calls == 1 && w.calls == 1);
    assert_int_equal(w.status, -ECANCELED);
}

static void memory_keeps_nothing_and_says_so(void **state) {
    (void)state;
    struct waiter w;
    struct ln_store_options o = options_of(1, 1 << 20);
    o.engine = "memory";
    struct ln_store *s = NULL;
    assert_int_equal(ln_store_open(loop, NULL, &o, NULL, &s), LN_OK);
    put(s, "a", "1");
    assert_int_equal(ln_store_advance(s, 1), LN_OK);
    ask(s, &w);
    WAIT(w.calls == 1);
    assert_int_equal(flushed_calls, 0);
    assert_true(stats_of(s).durable == 0);
    assert_value(s, "a", "1");
    ln_store_close(s);
}

/* ---- stalls */

static void while_the_engine_stalls_reads_and_writes_go_on_up_to_the_bound(void **state) {
    (void)state;
    struct ln_store_options o = options_of(200000, 600000);
    struct ln_store *s = open_with(&o, obey(&ln_engine_leveldb));
    uint64_t index = 0;
    int rc = LN_OK;
    fill(s, 0, 100, 100);
    commit(s);
    set_gate(true);
    while ((rc = ln_store_room(s, NULL)) == LN_OK && index < 10000) {
        fill(s, (int)index + 100, 1, 1000);
        assert_int_equal(ln_store_advance(s, ++index), LN_OK);
        assert_int_equal(ln_loop_step(loop, 0), LN_OK);
        assert_value(s, "absent", NULL);
    }
    assert_int_equal(rc, -EAGAIN);
    assert_true(stats_of(s).overlay_bytes < 800000 && stats_of(s).frozen == 1);
    assert_int_equal(flushed_calls, 0);
    assert_int_equal(count_rows(s), 100 + index); /* from all three layers */
    struct ln_value value;
    assert_int_equal(ln_store_get(s, "00000000", 8, NULL, &value), LN_OK);
    assert_int_equal(value.len, 100); /* of the engine, which others wait for */
    ln_value_release(&value);
    assert_int_equal(room_calls, 0);
    set_gate(false);
    WAIT(room_calls == 1);
    assert_int_equal(ln_store_room(s, NULL), LN_OK);
    assert_int_equal(count_rows(s), 100 + index);
    ln_store_close(s);
}

static void snapshots_hold_while_writes_go_on_and_flushes_come(void **state) {
    (void)state;
    struct ln_store_options o = options_of(1 << 20, 1 << 22);
    struct ln_store *s = open_with(&o, obey(&ln_engine_leveldb));
    struct ln_snapshot *all[LN_STORE_FROZEN + 1], *more = NULL;
    struct ln_detail detail;
    struct ln_value value = {0};
    struct waiter w;
    char text[2] = "0";
    set_gate(true);
    for (int i = 0; i < LN_STORE_FROZEN; i++) {
        text[0] = (char)('0' + i);
        put(s, "k", text);
        assert_int_equal(ln_store_snapshot(s, &detail, &all[i]), LN_OK);
    }
    put(s, "k", "x");
    assert_int_equal(ln_store_snapshot(s, &detail, &more), -EAGAIN);
    drop_range(s, "", NULL);
    struct ln_scan *sc = NULL;
    assert_int_equal(ln_snapshot_scan(all[3], "", 0, NULL, 0, false, &sc), LN_OK);
    set_gate(false);
    ask(s, &w);
    WAIT(w.calls == 1);
    for (int i = 0; i < LN_STORE_FROZEN; i++) {
        text[0] = (char)('0' + i);
        assert_found(ln_snapshot_get(all[i], "k", 1, NULL, &value), &value, text);
        assert_int_equal(all[i]->count, 0); /* of overlays in memory */
    }
    assert_rest(sc, "k=3");
    assert_value(s, "k", NULL);
    ln_snapshot_close(all[0]);
    ln_store_close(s);
    assert_int_equal(ln_snapshot_get(all[1], "k", 1, &detail, &value), -EBADF);
    assert_int_equal(ln_snapshot_scan(all[1], "", 0, NULL, 0, false, &sc), -EBADF);
    for (int i = 1; i < LN_STORE_FROZEN; i++)
        ln_snapshot_close(all[i]);
    ln_scan_close(sc);
}

/* ---- failures */

static void a_flush_that_fails_is_final_and_told_to_everybody(void **state) {
    (void)state;
    struct waiter w, late;
    struct ln_detail detail = {{0}};
    struct ln_store_options o = options_of(1 << 20, 1 << 20);
    struct ln_store *s = open_with(&o, obey(&ln_engine_leveldb));
    put(s, "old", "1");
    commit(s);
    put(s, "a", "1");
    assert_int_equal(ln_store_advance(s, 1), LN_OK);
    atomic_store(&write_status, -EIO);
    ask(s, &w);
    WAIT(w.calls == 1 && flushed_calls == 1);
    assert_int_equal(w.status, -EIO);
    assert_int_equal(last_status, -EIO);
    atomic_store(&write_status, LN_OK); /* too late: nothing is tried again */
    assert_int_equal(ln_store_put(s, "b", 1, "", 0), -EIO);
    assert_int_equal(ln_store_delete(s, "b", 1), -EIO);
    assert_int_equal(ln_store_delete_range(s, "b", 1, NULL, 0), -EIO);
    assert_int_equal(ln_store_advance(s, 2), -EIO);
    assert_int_equal(ln_store_commit(s, true, &detail), -EIO);
    assert_non_null(strstr(detail.text, "as it was told"));
    assert_int_equal(ln_store_room(s, &detail), -EIO);
    late.flush.fn = on_waited;
    assert_int_equal(ln_store_flush(s, &late.flush, &detail), -EIO);
    assert_value(s, "a", "1"); /* reads go on */
    assert_value(s, "old", "1");
    ln_store_close(s);
    s = open_store();
    assert_true(ln_store_applied(s) == 0);
    assert_rows(s, "", NULL, "old=1");
    ln_store_close(s);
}

static void a_full_disk_is_waited_for(void **state) {
    (void)state;
    struct waiter w;
    struct ln_snapshot *snapshot = NULL;
    struct ln_scan *sc = NULL;
    struct ln_value value;
    struct ln_overlay_row row;
    struct ln_store_options o = options_of(1 << 20, 1 << 20);
    struct ln_store *s = open_with(&o, obey(&ln_engine_leveldb));
    put(s, "old", "1");
    commit(s);
    assert_int_equal(ln_store_snapshot(s, NULL, &snapshot), LN_OK);
    struct ln_scan *live = scan(s, "", NULL);
    assert_int_equal(ln_snapshot_scan(snapshot, "", 0, NULL, 0, true, &sc), LN_OK);
    put(s, "a", "1");
    drop_range(s, "b", "c");
    assert_int_equal(ln_store_advance(s, 1), LN_OK);
    assert_int_equal(ln_scan_next(live, NULL, &row), LN_OK);
    atomic_store(&write_status, -ENOSPC);
    ask(s, &w);
    WAIT(stats_of(s).full);
    int opened = atomic_load(&opens);
    assert_int_equal(ln_store_room(s, NULL), -ENOSPC);
    assert_value(s, "a", "1");
    assert_value(s, "old", "1");
    assert_int_equal(w.calls, 0);
    assert_int_equal(flushed_calls, 0);
    put(s, "b", "an entry that is in the log has to be applied");
    assert_int_equal(ln_store_advance(s, 2), LN_OK);
    WAIT(atomic_load(&opens) > opened); /* a try that fails as well */
    assert_value(s, "old", "1");
    atomic_store(&write_status, LN_OK);
    WAIT(w.calls == 1 && room_calls == 1);
    assert_int_equal(w.status, LN_OK);
    assert_int_equal(ln_store_room(s, NULL), LN_OK);
    assert_int_equal(ln_snapshot_get(snapshot, "old", 3, NULL, &value), -ESTALE);
    assert_int_equal(ln_scan_next(sc, NULL, &row), -ESTALE);
    assert_rest(live, "b=an entry that is in the log has to be applied old=1");
    ln_snapshot_close(snapshot);
    ln_scan_close(live);
    ask(s, &w);
    WAIT(w.calls == 1);
    ln_store_close(s);
    ln_scan_close(sc);
    s = open_store();
    assert_true(ln_store_applied(s) == 2);
    assert_rows(s, "", NULL, "a=1 b=an entry that is in the log has to be applied old=1");
    ln_store_close(s);
}

static int unmount(void **state) {
    (void)umount2(path, MNT_DETACH); /* fails where it was not mounted */
    return tear_down(state);
}

/* The same on a real disk, which LevelDB meets in the middle of whatever it does. */
static void a_small_disk_that_grows(void **state) {
    (void)state;
    if (mount("lunode_test", path, "tmpfs", 0, "size=1m") != 0) {
        print_message("cannot mount a small tmpfs here: %s\n", strerror(errno));
        skip();
    }
    struct ln_store_options o = options_of(100000, 400000);
    struct ln_store *s = open_with(&o, NULL);
    struct waiter w;
    int rc, count = 0;
    while (((rc = ln_store_room(s, NULL)) == LN_OK || rc == -EAGAIN) && count < 5000) {
        if (rc == LN_OK) {
            char key[16];
            uint32_t noise[250];
            for (size_t i = 0; i < 250; i++)
                noise[i] = (uint32_t)(count * 7919 + (int)i) * 2654435761u;
            snprintf(key, sizeof key, "%08d", count++);
            assert_int_equal(ln_store_put(s, key, 8, noise, sizeof noise), LN_OK);
            assert_int_equal(ln_store_advance(s, (uint64_t)count), LN_OK);
        }
        assert_int_equal(ln_loop_step(loop, rc == LN_OK ? 0 : LN_SECOND / 1000), LN_OK);
    }
    assert_int_equal(rc, -ENOSPC);
    assert_true(count > 200);
    assert_int_equal(count_rows(s), count);
    ask(s, &w);
    assert_int_equal(mount("lunode_test", path, "tmpfs", MS_REMOUNT, "size=32m"), 0);
    WAIT(w.calls == 1);
    assert_int_equal(w.status, LN_OK);
    assert_int_equal(count_rows(s), count);
    ln_store_close(s);
    s = open_store();
    assert_int_equal(ln_store_applied(s), count);
    assert_int_equal(count_rows(s), count);
    ln_store_close(s);
}

/* ---- deleted ranges */

static void a_range_of_many_rows_is_gone_at_once_and_purged_behind(void **state) {
    (void)state;
    struct waiter w;
    struct ln_store_options o = options_of(1 << 22, 1 << 24);
    struct ln_store *s = open_with(&o, obey(&ln_engine_leveldb));
    fill(s, 0, 30000, 10);
    commit(s);
    ln_write_inline_rows = 100;
    drop_range(s, "00001000", "00029000");
    assert_int_equal(count_rows(s), 2000);
    put(s, "00002000", "survives");
    assert_int_equal(ln_store_advance(s, 1), LN_OK);
    ask(s, &w);
    WAIT(w.calls == 1);
    assert_int_equal(count_rows(s), 2001);
    WAIT(stats_of(s).frozen == 0);
    assert_true(stats_of(s).purged == 28000 - 1);
    assert_int_equal(count_rows(s), 2001);
    assert_value(s, "00002000", "survives");
    assert_value(s, "00002001", NULL);
    WAIT(atomic_load(&compactions) > 0);
    ln_store_close(s);
    ln_write_inline_rows = 2000;
    s = open_store();
    assert_false(s->leftovers);
    assert_int_equal(count_rows(s), 2001);
    ln_store_close(s);
}

/* Killed right after each of the batches that a flush and its purge take. */
static void whenever_it_is_killed_rows_and_index_agree(void **state) {
    (void)state;
    char top[64];
    int ended = 0, killed = 0;
#ifdef __SANITIZE_THREAD__
    skip(); /* it does not let a process that was forked start threads */
#endif
    strcpy(top, path);
    for (int at = 1; !ended; at++) {
        assert_true((size_t)snprintf(path, sizeof path, "%.40s/%d", top, at) < sizeof path);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct waiter w;
            struct ln_store_options o = options_of(1 << 22, 1 << 24);
            (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            (void)ln_loop_open(&loop); /* not the parent's */
            ln_write_inline_rows = 5;
            (void)obey(&ln_engine_leveldb);
            obedient.compact = do_not_compact;
            struct ln_store *s = open_with(&o, &obedient);
            fill(s, 0, 20000, 10);
            (void)ln_store_advance(s, 1);
            (void)ln_store_commit(s, true, NULL);
            atomic_store(&kill_at, atomic_load(&writes) + at);
            drop_range(s, "00000100", NULL);
            put(s, "00000200", "survives");
            drop(s, "00000001");
            (void)ln_store_advance(s, 2);
            ask(s, &w);
            while (stats_of(s).frozen > 0)
                (void)ln_loop_step(loop, LN_SECOND / 100);
            _exit(0); /* no close: LevelDB's own thread has stayed with the parent */
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        ended = WIFEXITED(status);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        struct ln_store *s = open_store();
        assert_true(ln_store_applied(s) ==
                    2); /* it is killed after the first batch at the earliest */
        assert_int_equal(count_rows(s), 100);
        assert_value(s, "00000200", "survives");
        assert_value(s, "00000001", NULL);
        WAIT(stats_of(s).frozen == 0);
        assert_int_equal(count_rows(s), 100);
        ln_store_close(s);
        s = open_store();
        assert_false(s->leftovers);
        assert_int_equal(count_rows(s), 100);
        ln_store_close(s);
        assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    }
    assert_true(killed >= 5);
    strcpy(path, top);
}

static void a_close_in_the_middle_of_a_purge_is_taken_up_at_open(void **state) {
    (void)state;
    struct waiter w;
    struct ln_store_options o = options_of(1 << 22, 1 << 24);
    struct ln_store *s = open_with(&o, obey(&ln_engine_leveldb));
    fill(s, 0, 30000, 10);
    commit(s);
    ln_write_inline_rows = 5;
    drop_range(s, "", NULL);
    put(s, "00000007", "survives");
    ask(s, &w);
    WAIT(w.calls == 1); /* durable; the purge has begun */
    ln_store_close(s);
    s = open_store();
    assert_rows(s, "", NULL, "00000007=survives");
    WAIT(stats_of(s).frozen == 0);
    assert_rows(s, "", NULL, "00000007=survives");
    put(s, "00000008", "new");
    commit(s);
    ln_store_close(s);
    ln_write_inline_rows = 2000;
    s = open_store();
    assert_rows(s, "", NULL, "00000007=survives 00000008=new");
    ln_store_close(s);
}

static void a_commit_hands_a_large_range_over_to_the_thread(void **state) {
    (void)state;
    struct ln_store *s = open_store();
    fill(s, 0, 20000, 10);
    commit(s);
    ln_write_inline_rows = 5;
    drop_range(s, "00000010", NULL);
    commit(s);
    assert_int_equal(count_rows(s), 10);
    fill(s, 50000, 5, 10);
    commit(s); /* behind it */
    assert_int_equal(count_rows(s), 15);
    WAIT(stats_of(s).frozen == 0);
    ln_store_close(s);
    ln_write_inline_rows = 2000;
    s = open_store();
    assert_int_equal(count_rows(s), 15);
    ln_store_close(s);
}

/* Begins a purge of 30,000 rows in pieces of ten, in which nobody else is in its way. */
static struct ln_store *begin_purge(void) {
    struct waiter w;
    struct ln_store_options o = options_of(1 << 22, 1 << 24);
    struct ln_store *s = open_with(&o, obey(&ln_engine_leveldb));
    fill(s, 0, 30000, 10);
    commit(s);
    ln_write_inline_rows = 5;
    ln_write_piece_rows = 10;
    drop_range(s, "00000000", "00030000");
    put(s, "00029000", "survives");
    put(s, "00029001", "survives");
    put(s, "00029002", "goes");
    assert_int_equal(ln_store_advance(s, 1), LN_OK);
    ask(s, &w);
    WAIT(w.calls == 1);
    WAIT(s->purging);
    return s;
}

static void end_purge(struct ln_store *s, const char *expected) {
    assert_rows(s, "", NULL, expected);
    ln_write_piece_rows = 100000;
    WAIT(stats_of(s).frozen == 0);
    assert_rows(s, "", NULL, expected);
    assert_false(s->leftovers);
    ln_store_close(s);
    ln_write_inline_rows = 2000;
    s = open_store();
    assert_false(s->leftovers);
    assert_rows(s, "", NULL, expected);
    ln_store_close(s);
}

static void a_purge_makes_room_for_a_flush(void **state) {
    (void)state;
    struct waiter w;
    struct ln_store *s = begin_purge();
    for (uint64_t i = 2; i < 6; i++) {
        put(s, "00029001", "new");
        drop(s, "00029002");
        drop_range(s, "00029500", "00029600");
        put(s, "00029550", "later");
        assert_int_equal(ln_store_advance(s, i), LN_OK);
        ask(s, &w);
        WAIT(w.calls == 1);
        assert_int_equal(ln_store_applied(s), i);
        assert_int_equal(stats_of(s).durable, i);
        assert_true(s->leftovers || s->purging);
        assert_rows(s, "", NULL, "00029000=survives 00029001=new 00029550=later");
    }
    end_purge(s, "00029000=survives 00029001=new 00029550=later");
}

static void a_snapshot_outlives_the_pauses_of_a_purge(void **state) {
    (void)state;
    struct waiter w;
    struct ln_snapshot *first = NULL, *second = NULL;
    struct ln_scan *sc[2] = {NULL};
    struct ln_store *s = begin_purge();
    assert_int_equal(ln_store_snapshot(s, NULL, &first), LN_OK);
    put(s, "00029001", "new");
    assert_int_equal(ln_store_advance(s, 2), LN_OK);
    assert_int_equal(ln_store_snapshot(s, NULL, &second), LN_OK); /* a layer above the purge's */
    drop(s, "00029000");
    assert_int_equal(ln_store_advance(s, 3), LN_OK);
    ask(s, &w);
    WAIT(w.calls == 1);
    assert_int_equal(ln_snapshot_scan(first, "", 0, NULL, 0, false, &sc[0]), LN_OK);
    assert_int_equal(ln_snapshot_scan(second, "", 0, NULL, 0, false, &sc[1]), LN_OK);
    assert_rest(sc[0], "00029000=survives 00029001=survives 00029002=goes");
    assert_rest(sc[1], "00029000=survives 00029001=new 00029002=goes");
    for (int i = 0; i < 2; i++)
        ln_scan_close(sc[i]);
    ln_snapshot_close(first);
    ln_snapshot_close(second);
    end_purge(s, "00029001=new 00029002=goes");
}

static void a_commit_does_not_wait_for_a_purge(void **state) {
    (void)state;
    struct ln_store *s = begin_purge();
    put(s, "00029003", "committed");
    assert_int_equal(ln_store_advance(s, 2), LN_OK);
    commit(s);
    assert_true(s->leftovers);
    ln_store_close(s); /* in the middle of it */
    s = open_store();
    assert_int_equal(ln_store_applied(s), 2);
    end_purge(s, "00029000=survives 00029001=survives 00029002=goes 00029003=committed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_overlay_that_has_grown_is_flushed_with_its_index),
        TEST(an_entry_is_flushed_as_a_whole_or_not_at_all),
        TEST(a_flush_with_nothing_to_do_is_told_all_the_same),
        TEST(a_close_cancels_those_who_wait),
        TEST(a_callback_may_close_the_store),
        TEST(memory_keeps_nothing_and_says_so),
        TEST(while_the_engine_stalls_reads_and_writes_go_on_up_to_the_bound),
        TEST(snapshots_hold_while_writes_go_on_and_flushes_come),
        TEST(a_flush_that_fails_is_final_and_told_to_everybody),
        TEST(a_full_disk_is_waited_for),
        cmocka_unit_test_setup_teardown(a_small_disk_that_grows, set_up, unmount),
        TEST(a_range_of_many_rows_is_gone_at_once_and_purged_behind),
        TEST(whenever_it_is_killed_rows_and_index_agree),
        TEST(a_close_in_the_middle_of_a_purge_is_taken_up_at_open),
        TEST(a_commit_hands_a_large_range_over_to_the_thread),
        TEST(a_purge_makes_room_for_a_flush),
        TEST(a_snapshot_outlives_the_pauses_of_a_purge),
        TEST(a_commit_does_not_wait_for_a_purge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
