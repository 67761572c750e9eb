/* Packs of an overlay's runs: they say what the rows say, whatever happens to those, and stay
 * within their bound. (Through a store's layers: store_model_test.c.) */
#include "fault.h"
#include "overlay.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 1000, MOST_VALUE = 300, KEY_BYTES = 4, TAG = 7 };

static uint64_t seed;
static size_t made, met;

static size_t below(size_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % n;
}

static void key_of(size_t i, char key[KEY_BYTES + 1]) {
    (void)snprintf(key, KEY_BYTES + 1, "%04zu", i);
}

static void put(struct ln_overlay *o, size_t i, size_t len) {
    char key[KEY_BYTES + 1], value[MOST_VALUE];
    key_of(i, key);
    memset(value, 'a' + (char)below(26), len);
    assert_int_equal(ln_overlay_put(o, key, KEY_BYTES, value, len), LN_OK);
}

static void drop(struct ln_overlay *o, size_t i) {
    char key[KEY_BYTES + 1];
    key_of(i, key);
    assert_int_equal(ln_overlay_delete(o, key, KEY_BYTES), LN_OK);
}

/* Keys and values of the run's rows. False: one is deleted. */
static bool write_run(const struct ln_overlay *o, const struct ln_overlay_run *run, char *bytes,
                      size_t ends[LN_OVERLAY_RUN]) {
    size_t len = 0;
    for (unsigned i = 0; i < ln_overlay_run_count(run); i++) {
        struct ln_overlay_row row = ln_overlay_run_row(o, run, i);
        if (row.deleted)
            return false;
        memcpy(bytes + len, row.key, row.klen);
        memcpy(bytes + len + row.klen, row.value, row.vlen);
        ends[i] = len += row.klen + row.vlen;
    }
    return true;
}

/* Asks for a run as somebody who makes a reply of it does. True: it was packed. */
static bool ask(struct ln_overlay *o, const struct ln_overlay_run *run) {
    static char bytes[LN_OVERLAY_RUN * (KEY_BYTES + MOST_VALUE)];
    size_t ends[LN_OVERLAY_RUN], len;
    const char *pack = ln_overlay_packed(o, run, TAG, &len);
    bool whole = write_run(o, run, bytes, ends);
    if (pack) {
        assert_true(whole);
        assert_int_equal(len, ends[ln_overlay_run_count(run) - 1]);
        assert_memory_equal(pack, bytes, len);
        met++;
        return true;
    }
    if (whole && ln_overlay_pack_wanted(o, run)) {
        ln_overlay_pack(o, run, TAG, bytes, ends);
        made++;
    }
    assert_true(o->packs->bytes <= o->packs->limit);
    return false;
}

/* The same backwards, from the row before the end. */
static void walk_back(struct ln_overlay *o, size_t from, size_t to) {
    char first[KEY_BYTES + 1], end[KEY_BYTES + 1];
    key_of(from, first);
    key_of(to, end);
    struct ln_overlay_cursor c = ln_overlay_seek_before(o, end, KEY_BYTES);
    while (ln_overlay_at(&c)) {
        struct ln_overlay_run run = ln_overlay_run_back(&c, first, KEY_BYTES);
        if (ln_overlay_run_count(&run) == 0)
            break;
        (void)ask(o, &run);
        c = ln_overlay_run_past(&run);
    }
}

/* All rows from one key to another. How many of their runs were packed. */
static size_t walk(struct ln_overlay *o, size_t from, size_t to) {
    char first[KEY_BYTES + 1], end[KEY_BYTES + 1];
    size_t packed = 0;
    key_of(from, first);
    key_of(to, end);
    struct ln_overlay_cursor c = ln_overlay_seek(o, first, KEY_BYTES);
    while (ln_overlay_at(&c)) {
        struct ln_overlay_run run = ln_overlay_run(&c, end, KEY_BYTES);
        if (ln_overlay_run_count(&run) == 0)
            break;
        packed += ask(o, &run);
        c = ln_overlay_run_past(&run);
    }
    return packed;
}

static void set_up(struct ln_overlay *o, struct ln_overlay_packs *packs, size_t limit) {
    *packs = (struct ln_overlay_packs){.limit = limit};
    ln_overlay_init(o);
    o->packs = packs;
}

/* As many rows as fill their pages, asked for until they are packed: how many packs there are. */
static size_t fill(struct ln_overlay *o) {
    for (size_t i = 0; i < KEYS; i++)
        put(o, i, 3);
    ln_overlay_begin(o);
    assert_int_equal(walk(o, 0, KEYS), 0);
    assert_int_equal(walk(o, 0, KEYS), 0);
    return walk(o, 0, KEYS);
}

static void tear_down(struct ln_overlay *o) {
    struct ln_overlay_packs *packs = o->packs;
    ln_overlay_free(o);
    assert_int_equal(packs->bytes, 0);
    assert_null(packs->hand);
}

/* ---- */

static void a_range_that_is_asked_for_again_is_packed(void **state) {
    (void)state;
    struct ln_overlay o;
    struct ln_overlay_packs packs;
    set_up(&o, &packs, 1 << 20);
    size_t all = fill(&o);
    assert_true(all >= KEYS / LN_OVERLAY_RUN);
    assert_int_equal(walk(&o, 0, KEYS), all);
    assert_true(walk(&o, 100, 700) > all / 2); /* and so are parts of it */
    tear_down(&o);
}

static void what_changes_a_row_unpacks_its_page_alone(void **state) {
    (void)state;
    struct ln_overlay o;
    struct ln_overlay_packs packs;
    set_up(&o, &packs, 1 << 20);
    size_t all = fill(&o);
    put(&o, 500, 3); /* another value */
    assert_int_equal(walk(&o, 0, KEYS), all - 1);
    assert_int_equal(walk(&o, 0, KEYS), all - 1);
    assert_int_equal(walk(&o, 0, KEYS), all);
    ln_overlay_rollback(&o);
    assert_int_equal(walk(&o, 0, KEYS), all - 1);
    (void)walk(&o, 0, KEYS);
    assert_int_equal(walk(&o, 0, KEYS), all);
    drop(&o, 500);
    assert_int_equal(walk(&o, 0, KEYS), all - 1);
    assert_int_equal(walk(&o, 0, KEYS), all - 1); /* a row that is deleted is in the way */
    ln_overlay_rollback(&o);
    (void)walk(&o, 0, KEYS);
    (void)walk(&o, 0, KEYS);
    assert_int_equal(walk(&o, 0, KEYS), all);
    tear_down(&o);
}

static void a_deleted_range_hides_what_is_packed(void **state) {
    (void)state;
    struct ln_overlay o;
    struct ln_overlay_packs packs;
    set_up(&o, &packs, 1 << 20);
    size_t all = fill(&o);
    assert_int_equal(ln_overlay_delete_range(&o, "0300", 4, "0310", 4), LN_OK);
    assert_in_range(walk(&o, 0, KEYS), all - 2, all - 1);
    ln_overlay_rollback(&o);
    for (int i = 0; i < 3; i++)
        (void)walk(&o, 0, KEYS);
    assert_int_equal(walk(&o, 0, KEYS), all);
    assert_int_equal(ln_overlay_delete_range(&o, "0000", 4, NULL, 0), LN_OK);
    assert_int_equal(walk(&o, 0, KEYS), 0);
    tear_down(&o);
}

static void packs_stay_within_their_bound(void **state) {
    (void)state;
    struct ln_overlay o;
    struct ln_overlay_packs packs;
    set_up(&o, &packs, 4000);
    assert_true(fill(&o) < KEYS / LN_OVERLAY_RUN / 2);
    assert_true(packs.bytes > 2000);
    for (size_t i = 0; i < 5; i++) /* what is asked for on and on stays */
        (void)walk(&o, 0, 100);
    size_t few = walk(&o, 0, 100);
    assert_in_range(few, 1, 3);
    (void)walk(&o, 100, KEYS);
    assert_true(packs.bytes <= packs.limit);
    tear_down(&o);
}

static void change(struct ln_overlay *o) {
    char from[KEY_BYTES + 1], to[KEY_BYTES + 1];
    size_t dice = below(100), i = below(KEYS);
    key_of(i, from);
    key_of(i + below(8), to);
    if (dice < 84)
        put(o, i, below(below(4) ? 20 : MOST_VALUE));
    else if (dice < 85)
        drop(o, i);
    else if (dice < 86)
        assert_int_equal(ln_overlay_delete_range(o, from, KEY_BYTES, to, KEY_BYTES), LN_OK);
    else if (dice < 90)
        ln_overlay_rollback(o);
    else if (dice < 99)
        ln_overlay_begin(o);
    else if (below(50) == 0)
        ln_overlay_clear(o);
}

static void packs_say_what_the_rows_say(void **state) {
    (void)state;
    size_t rounds = getenv("LUNODE_FULL") ? 100000 : 5000;
    struct ln_overlay o;
    struct ln_overlay_packs packs;
    set_up(&o, &packs, 30000);
    (void)fill(&o);
    seed = 1;
    made = met = 0;
    for (size_t i = 0; i < rounds; i++) {
        size_t from = below(KEYS), to = from + below(200);
        for (size_t k = below(8); k > 0; k--)
            change(&o);
        bool back = below(3) == 0;
        for (size_t k = below(5); k > 0; k--)
            if (back)
                walk_back(&o, from, to);
            else
                (void)walk(&o, from, to);
    }
    assert_true(made > rounds / 10 && met > rounds / 10);
    tear_down(&o);
}

/* ---- */

static void pack_and_change(const struct fault *f) {
    struct ln_overlay o;
    struct ln_overlay_packs packs;
    char key[KEY_BYTES + 1];
    (void)f;
    set_up(&o, &packs, 1500);
    for (size_t i = 0; i < 200; i++) {
        key_of(i, key);
        (void)ln_overlay_put(&o, key, KEY_BYTES, "value", 5);
    }
    for (int i = 0; i < 4; i++)
        (void)walk(&o, 0, 200);
    (void)ln_overlay_put(&o, "0050", KEY_BYTES, "other", 5);
    (void)ln_overlay_delete_range(&o, "0100", KEY_BYTES, "0110", KEY_BYTES);
    for (int i = 0; i < 4; i++)
        (void)walk(&o, 0, 200);
    tear_down(&o);
}

static void without_memory_rows_stay_unpacked(void **state) {
    static const struct fault faults[] = {{FAULT_malloc, ENOMEM, false}};
    (void)state;
    fault_each(faults, sizeof faults / sizeof *faults, pack_and_change);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_that_is_asked_for_again_is_packed),
        cmocka_unit_test(what_changes_a_row_unpacks_its_page_alone),
        cmocka_unit_test(a_deleted_range_hides_what_is_packed),
        cmocka_unit_test(packs_stay_within_their_bound),
        cmocka_unit_test(packs_say_what_the_rows_say),
        cmocka_unit_test_teardown(without_memory_rows_stay_unpacked, fault_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
