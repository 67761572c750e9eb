/* An overlay that grows, in whose pages and segments each allocation fails once: what failed has
 * changed nothing. (Those of rows and values: store_faults_test.c.) */
#include "fault.h"
#include "overlay.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>

enum { ROWS = 2600, KEY_BYTES = 15 };

/* Of a collection, in no order. */
static void key_of(unsigned i, char key[KEY_BYTES]) {
    unsigned hash = i * 2654435761u;
    memcpy(key,
           "\x12\x34"
           "e\0\0\0\0\0\0\0\1",
           11);
    for (int b = 0; b < 4; b++)
        key[11 + b] = (char)(hash >> (24 - 8 * b));
}

static void assert_rows(const struct ln_overlay *o, const bool there[ROWS]) {
    struct ln_overlay_row row, before = {.key = "", .klen = 0};
    size_t count = 0, walked = 0;
    char key[KEY_BYTES];
    for (unsigned i = 0; i < ROWS; i++) {
        key_of(i, key);
        bool found = ln_overlay_get(o, key, sizeof key, &row) && !row.deleted;
        assert_int_equal(found, there[i]);
        count += found;
    }
    for (struct ln_overlay_cursor c = ln_overlay_first(o); ln_overlay_at(&c); ln_overlay_next(&c)) {
        row = ln_overlay_row(o, ln_overlay_at(&c));
        assert_true(ln_key_compare(before.key, before.klen, row.key, row.klen) < 0);
        before = row;
        walked += !row.deleted;
    }
    assert_int_equal(walked, count);
}

static void write_row(struct ln_overlay *o, unsigned i, bool deleted, bool there[ROWS]) {
    char key[KEY_BYTES];
    key_of(i, key);
    bool before = fault_happened();
    int rc = deleted ? ln_overlay_delete(o, key, sizeof key)
                     : ln_overlay_put_new(o, key, sizeof key, "v", 1);
    assert_int_equal(rc, fault_happened() == before ? LN_OK : -ENOMEM);
    if (rc == LN_OK)
        there[i] = !deleted;
    else
        assert_rows(o, there);
}

/* Rows come, go without a trace, and come again. */
static void grow(const struct fault *f) {
    (void)f;
    struct ln_overlay o;
    bool there[ROWS] = {false}, marked[ROWS] = {false};
    ln_overlay_init(&o);
    for (unsigned i = 0; i < ROWS; i++)
        write_row(&o, i, false, there);
    ln_overlay_begin(&o);
    for (unsigned i = 0; i < ROWS; i++)
        if (i % 8 != 0)
            write_row(&o, i, true, there);
    ln_overlay_begin(&o);
    memcpy(marked, there, sizeof there);
    assert_rows(&o, there);
    for (unsigned i = 0; i < ROWS; i++)
        write_row(&o, i, false, there);
    assert_rows(&o, there);
    ln_overlay_rollback(&o);
    assert_rows(&o, marked);
    while (!ln_overlay_reap(&o, 4096))
        continue;
}

static void an_overlay_that_cannot_grow_stays_as_it_was(void **state) {
    static const struct fault faults[] = {{FAULT_malloc, ENOMEM, false},
                                          {FAULT_calloc, ENOMEM, false},
                                          {FAULT_reallocarray, ENOMEM, false}};
    (void)state;
    fault_each(faults, sizeof faults / sizeof *faults, grow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_overlay_that_cannot_grow_stays_as_it_was, fault_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
