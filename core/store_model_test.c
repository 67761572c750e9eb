/* The store under a log, on each engine, against a sorted array: any mix of writes, deleted ranges,
 * rollbacks, scans and walks both ways, snapshots, flushes and reopens. A reopened store has to be
 * exactly what it was at the index it says. */
#include "store_test.h"

#include <limits.h>
#include <stdio.h>

enum { KEYS = 60, SCANS = 3, SNAPSHOTS = 3, HISTORY = 4096 };

struct value {
    bool there;
    uint16_t len;
    char fill;
};

static char keys[KEYS][6];
static size_t klens[KEYS];
static uint64_t seed;
static struct value now[KEYS], mark[KEYS], history[HISTORY][KEYS];
static uint64_t applied;
static const struct ln_engine_ops *ops;
static struct ln_store *s;
static size_t flushes, purged, reopens, walked, loaded, fresh, packs, packed;

static struct cursor {
    struct ln_scan *scan; /* or NULL */
    struct value *rows;   /* what it walks over */
    int next, end;        /* indices: the first key it may meet, and where it ends (exclusive) */
    int step, most;
    bool all; /* its rows are in memory */
} scans[SCANS];

static struct shot {
    struct ln_snapshot *snapshot; /* or NULL */
    struct value rows[KEYS];
} shots[SNAPSHOTS];

static size_t below(size_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % n;
}

/* Some lie around the store's own rows, which begin with FF FF 00; some are prefixes of others. */
static void make_keys(void) {
    static const char *const around[] = {
        "\xfe\xff",     "\xff",         "\xff\x61",     "\xff\xff",
        "\xff\xff\x01", "\xff\xff\xfe", "\xff\xff\xff", "\xff\xff\xff\xff"};
    size_t extra = sizeof around / sizeof *around;
    memset(keys, 0, sizeof keys);
    for (size_t i = 1; i < KEYS - extra;
         i++) { /* the empty one, then "a", "a\0", "a\0\0", "b", … */
        klens[i] = 1 + (i - 1) % 3;
        keys[i][0] = (char)('a' + (i - 1) / 3);
    }
    for (size_t i = 0; i < extra; i++) {
        size_t k = KEYS - extra + i;
        klens[k] = strlen(around[i]);
        memcpy(keys[k], around[i], klens[k]);
    }
}

static void assert_row(const struct value *v, const char *data, size_t len) {
    assert_true(v->there);
    assert_int_equal(len, v->len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(data[i], v->fill);
}

static void close_scan(struct cursor *c) {
    if (c->scan)
        ln_scan_close(c->scan);
    c->scan = NULL;
}

static void close_shot(struct shot *shot) {
    for (size_t i = 0; i < SCANS; i++)
        if (scans[i].rows == shot->rows)
            close_scan(&scans[i]);
    if (shot->snapshot)
        ln_snapshot_close(shot->snapshot);
    shot->snapshot = NULL;
}

static void write_one(void) {
    size_t i = below(KEYS);
    char bytes[3000];
    struct value *v = &now[i];
    bool absent = !v->there && below(3) != 0;
    v->there = below(3) != 0;
    if (!v->there) {
        v->len = 0;
        assert_int_equal(ln_store_delete(s, keys[i], klens[i]), LN_OK);
        return;
    }
    v->len = (uint16_t)below(below(10) ? 40 : sizeof bytes);
    v->fill = (char)below(256);
    memset(bytes, v->fill, v->len);
    assert_int_equal(
        (absent ? ln_store_put_new : ln_store_put)(s, keys[i], klens[i], bytes, v->len), LN_OK);
}

static void delete_range(void) {
    size_t from = below(KEYS), to = from + below(below(4) ? 10 : KEYS);
    bool bounded = to < KEYS;
    assert_int_equal(ln_store_delete_range(s, keys[from], klens[from], bounded ? keys[to] : NULL,
                                           bounded ? klens[to] : 0),
                     LN_OK);
    for (size_t i = from; i < KEYS && i < to; i++)
        now[i].there = false;
}

static void advance(void) {
    assert_int_equal(ln_store_advance(s, ++applied), LN_OK);
    memcpy(history[applied % HISTORY], now, sizeof now);
    memcpy(mark, now, sizeof now);
}

static void get_one(void) {
    size_t i = below(KEYS), which = below((size_t)SNAPSHOTS * 3);
    struct ln_value value = {0};
    struct shot *shot = which < SNAPSHOTS && shots[which].snapshot ? &shots[which] : NULL;
    int rc = shot ? ln_snapshot_get(shot->snapshot, keys[i], klens[i], NULL, &value)
                  : ln_store_get(s, keys[i], klens[i], NULL, &value);
    const struct value *v = shot ? &shot->rows[i] : &now[i];
    assert_int_equal(rc, v->there ? LN_OK : -ENOENT);
    if (rc == LN_OK)
        assert_row(v, value.data, value.len);
    ln_value_release(&value);
}

static void open_scan(struct cursor *c) {
    int from = (int)below(KEYS), to = below(2) ? KEYS : (int)below(KEYS);
    const char *end = to < KEYS ? keys[to] : NULL;
    size_t end_len = to < KEYS ? klens[to] : 0;
    size_t which = below((size_t)SNAPSHOTS * 2);
    bool reverse = below(2) == 0;
    struct shot *shot = which < SNAPSHOTS && shots[which].snapshot ? &shots[which] : NULL;
    c->rows = shot ? shot->rows : now;
    c->step = reverse ? -1 : 1;
    c->next = reverse ? to - 1 : from;
    c->end = reverse ? from - 1 : to;
    assert_int_equal(
        shot ? ln_snapshot_scan(shot->snapshot, keys[from], klens[from], end, end_len, reverse,
                                &c->scan)
             : ln_store_scan(s, keys[from], klens[from], end, end_len, reverse, &c->scan),
        LN_OK);
}

static bool is_within(const struct cursor *c) {
    return c->step > 0 ? c->next < c->end : c->next > c->end;
}

static void scan_some(void) {
    struct cursor *c = &scans[below(SCANS)];
    if (!c->scan)
        open_scan(c);
    for (size_t steps = below(8); steps > 0 && c->scan; steps--) {
        struct ln_overlay_row row;
        while (is_within(c) && !c->rows[c->next].there)
            c->next += c->step;
        int rc = ln_scan_next(c->scan, NULL, &row);
        assert_int_equal(rc, is_within(c) ? LN_OK : LN_EOF);
        if (rc != LN_OK) {
            close_scan(c);
            return;
        }
        assert_int_equal(row.klen, klens[c->next]);
        assert_memory_equal(row.key, keys[c->next], row.klen);
        assert_row(&c->rows[c->next], row.value, row.vlen);
        c->next += c->step;
    }
}

static bool in_memory(int i) {
    struct ln_overlay_row row;
    bool found = ln_overlay_get(&s->active->rows, keys[i], klens[i], &row);
    for (size_t k = 0; k < s->frozen_count; k++)
        found |= ln_overlay_get(&s->frozen[k]->rows, keys[i], klens[i], &row);
    for (size_t k = 0; k < s->flushed_count; k++)
        found |= ln_overlay_get(&s->flushed[k]->rows, keys[i], klens[i], &row);
    return found || (s->warm && ln_overlay_get(&s->warm->rows, keys[i], klens[i], &row));
}

static int on_walked(void *arg, const struct ln_overlay_row *row) {
    struct cursor *c = arg;
    while (is_within(c) && !(c->rows[c->next].there && (c->all || in_memory(c->next))))
        c->next += c->step;
    assert_true(is_within(c));
    assert_int_equal(row->klen, klens[c->next]);
    assert_memory_equal(row->key, keys[c->next], row->klen);
    assert_row(&c->rows[c->next], row->value, row->vlen);
    c->next += c->step;
    walked++;
    return c->most-- > 0 ? LN_OK : LN_EOF;
}

enum { MOST_PACKED = LN_OVERLAY_RUN * 3010 };

/* Each row of a run as its key and its value. True: none is deleted. */
static bool write_run(const struct ln_overlay *rows, const struct ln_overlay_run *run,
                      char bytes[MOST_PACKED], size_t ends[LN_OVERLAY_RUN]) {
    size_t len = 0;
    for (unsigned i = 0; i < ln_overlay_run_count(run); i++) {
        struct ln_overlay_row row = ln_overlay_run_row(rows, run, i);
        if (row.deleted)
            return false;
        memcpy(bytes + len, row.key, row.klen);
        memcpy(bytes + len + row.klen, row.value, row.vlen);
        ends[i] = len += row.klen + row.vlen;
    }
    return true;
}

/* What is packed is what the rows are. */
static int on_walked_run(void *arg, struct ln_overlay *rows, const struct ln_overlay_run *run) {
    static char bytes[MOST_PACKED];
    size_t ends[LN_OVERLAY_RUN], len;
    int rc = LN_OK;
    bool whole = write_run(rows, run, bytes, ends);
    const char *pack = ln_overlay_packed(rows, run, 1, &len);
    if (pack) {
        assert_true(whole);
        assert_int_equal(len, ends[ln_overlay_run_count(run) - 1]);
        assert_memory_equal(pack, bytes, len);
        packed++;
    } else if (whole && ln_overlay_pack_wanted(rows, run)) {
        ln_overlay_pack(rows, run, 1, bytes, ends);
        packs++;
    }
    for (unsigned i = 0; i < ln_overlay_run_count(run) && rc == LN_OK; i++) {
        struct ln_overlay_row row = ln_overlay_run_row(rows, run, i);
        if (!row.deleted)
            rc = on_walked(arg, &row);
    }
    return rc;
}

/* Some of the same few ranges are brought into memory first, and then all rows must be met. */
static void walk_some(void) {
    bool reverse = below(2) == 0, all = below(2) == 0;
    int from = all ? (int)below(4) * 10 : (int)below(KEYS);
    int to = all ? from + 10 + (int)below(2) * 5 : below(2) ? KEYS : (int)below(KEYS);
    if (below(4) == 0) { /* the keys that begin with one letter, which may be new */
        from = 1 + 3 * (int)below(8);
        to = from + 3;
        all = true;
    }
    all = all && ln_store_load(s, keys[from], klens[from], keys[to], klens[to], 10);
    loaded += all;
    struct cursor c = {.rows = now,
                       .step = reverse ? -1 : 1,
                       .next = reverse ? to - 1 : from,
                       .end = reverse ? from - 1 : to,
                       .most = below(4) ? INT_MAX : (int)below(10),
                       .all = all};
    struct cursor begin = c;
    struct ln_walk walk = {.from = keys[from],
                           .from_len = klens[from],
                           .to = to < KEYS ? keys[to] : NULL,
                           .to_len = to < KEYS ? klens[to] : 0,
                           .reverse = reverse,
                           .row = on_walked,
                           .run = below(4) ? on_walked_run : NULL,
                           .arg = &c};
    for (size_t times = 1 + below(3); times > 0; times--, c = begin) {
        if (ln_store_walk(s, &walk) == LN_EOF)
            continue;
        for (; is_within(&c); c.next += c.step)
            assert_false(now[c.next].there && (all || in_memory(c.next)));
    }
}

static void take_snapshot(void) {
    struct shot *shot = &shots[below(SNAPSHOTS)];
    struct ln_detail detail;
    close_shot(shot);
    advance();
    int rc = ln_store_snapshot(s, &detail, &shot->snapshot);
    if (rc == -EAGAIN)
        return;
    assert_int_equal(rc, LN_OK);
    assert_true(ln_snapshot_applied(shot->snapshot) == applied);
    memcpy(shot->rows, now, sizeof now);
}

static void on_flush(struct ln_store_flush *flush, int status, const struct ln_detail *detail,
                     uint64_t index) {
    (void)detail;
    assert_int_equal(status, LN_OK);
    assert_true(!ops->durable || index >= *(uint64_t *)(flush + 1));
    flushes++;
    free(flush);
}

static void flush(void) {
    struct ln_store_flush *f = calloc(1, sizeof *f + sizeof applied);
    f->fn = on_flush;
    memcpy(f + 1, &applied, sizeof applied);
    assert_int_equal(ln_store_flush(s, f, NULL), LN_OK);
}

static void mark_or_back(void) {
    if (below(2)) {
        ln_store_begin(s);
        memcpy(mark, now, sizeof now);
    } else {
        ln_store_rollback(s);
        memcpy(now, mark, sizeof now);
    }
}

/* Where no row has a prefix, by now and for good, that is told. */
static void tell_fresh(void) {
    size_t p = 1 + below(KEYS - 1);
    ln_store_begin(s);
    memcpy(mark, now, sizeof now);
    for (size_t i = 0; i < KEYS; i++)
        if (now[i].there && klens[i] >= klens[p] && memcmp(keys[i], keys[p], klens[p]) == 0)
            return;
    ln_store_fresh(s, keys[p], klens[p]);
    fresh++;
}

static void on_cancelled(struct ln_store_flush *f, int status, const struct ln_detail *detail,
                         uint64_t index) {
    (void)detail, (void)index;
    assert_true(status == -ECANCELED || status == LN_OK);
    free(f);
}

/* Its cache has room for an overlay, or has not. */
static struct ln_store *open_one(void) {
    return open_with(&(struct ln_store_options){.create = true,
                                                .cache = below(2) ? 1 << 14 : 1 << 20,
                                                .overlay = 2000,
                                                .limit = 1 << 20,
                                                .max_age = INT64_MAX,
                                                .engine = ops->name},
                     NULL);
}

static void reopen(void) {
    struct ln_store_stats stats;
    for (struct ln_store_flush *f = s->flushes; f; f = f->next)
        f->fn = on_cancelled;
    for (size_t i = 0; i < SNAPSHOTS; i++)
        close_shot(&shots[i]);
    for (size_t i = 0; i < SCANS; i++)
        close_scan(&scans[i]);
    ln_store_stats(s, &stats);
    uint64_t durable = stats.durable;
    purged += stats.purged;
    ln_store_close(s);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK); /* frees it */
    s = open_one();
    assert_true(ln_store_applied(s) >= durable && ln_store_applied(s) <= applied);
    assert_true(applied - ln_store_applied(s) < HISTORY);
    applied = ln_store_applied(s);
    memcpy(now, history[applied % HISTORY], sizeof now);
    memcpy(mark, now, sizeof now);
    advance(); /* from here on it is under a log */
    reopens++;
}

static void any_one(void) {
    size_t dice = below(1000);
    if (dice < 380)
        write_one();
    else if (dice < 400)
        delete_range();
    else if (dice < 600)
        get_one();
    else if (dice < 700)
        scan_some();
    else if (dice < 800)
        walk_some();
    else if (dice < 850)
        mark_or_back();
    else if (dice < 860)
        tell_fresh();
    else if (dice < 940)
        advance();
    else if (dice < 960)
        flush();
    else if (dice < 970)
        take_snapshot();
    else if (dice < 998 || below(8))
        (void)ln_loop_step(loop, 0);
    else
        reopen();
}

static void run(const char *name) {
    ops = ln_engine_find(name);
    if (ops->check && ops->check(NULL) != LN_OK)
        skip();
    make_keys();
    memset(now, 0, sizeof now);
    memset(mark, 0, sizeof mark);
    memset(history, 0, sizeof history);
    applied = 0;
    flushes = purged = reopens = walked = loaded = fresh = packs = packed = 0;
    seed = 7;
    ln_write_inline_rows = 5; /* so that marks are needed */
    ln_write_piece_rows = 2;  /* and purges are paused */
    ln_overlay_pack_rows = 2;
    s = open_one();
    advance();
    int count = getenv("LUNODE_FULL") ? 400000 : 40000;
    for (int i = 0; i < count; i++)
        any_one();
    reopen();
    assert_true(flushes > 100 && reopens > 3 && walked > 10000 && loaded > 500);
    assert_true(packs > 10 && packed > 10 && fresh > 30);
    assert_true(ops->ranges || purged > 100);
    ln_store_close(s);
    (void)ln_loop_step(loop, 0);
    ln_write_inline_rows = 2000;
    ln_write_piece_rows = 100000;
    ln_overlay_pack_rows = 8;
}

static void on_leveldb_any_mix_agrees_with_an_array(void **state) {
    (void)state;
    run("leveldb");
}

static void on_rocksdb_any_mix_agrees_with_an_array(void **state) {
    (void)state;
    run("rocksdb");
}

static void in_memory_any_mix_agrees_with_an_array(void **state) {
    (void)state;
    run("memory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(on_leveldb_any_mix_agrees_with_an_array),
        TEST(on_rocksdb_any_mix_agrees_with_an_array),
        TEST(in_memory_any_mix_agrees_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
