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
        assert_int_equal(ln_overlay_get(o, key, sizeof key, &row), there[i]);
        count += there[i];
    }
    for (struct ln_overlay_cursor c = ln_overlay_first(o); ln_overlay_at(&c); ln_overlay_next(&c)) {
        row = ln_overlay_row(o, ln_overlay_at(&c));
        assert_true(ln_key_compare(before.key, before.klen, row.key, row.klen) < 0);
        before = row;
        walked++;
    }
    assert_int_equal(o->count, count);
    assert_int_equal(walked, count);
}

static void grow(const struct fault *f) {
    (void)f;
    struct ln_overlay o;
    bool there[ROWS] = {false}, marked[ROWS] = {false};
    char key[KEY_BYTES];
    ln_overlay_init(&o);
    for (unsigned i = 0; i < ROWS; i++) {
        key_of(i, key);
        bool before = fault_happened();
        int rc = ln_overlay_put(&o, key, sizeof key, "v", 1);
        assert_int_equal(rc, fault_happened() == before ? LN_OK : -ENOMEM);
        there[i] = rc == LN_OK;
        if (rc != LN_OK)
            assert_rows(&o, there);
        if (i == ROWS / 2) {
            ln_overlay_begin(&o);
            memcpy(marked, there, sizeof there);
        }
    }
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
