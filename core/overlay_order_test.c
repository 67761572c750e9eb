/* The order of an overlay's rows: long random histories beside a sorted array, in which rows come
 * ascending, descending and at random, and look as much alike as keys can. */
#include "overlay.h"
#include "status.h"
#include "test.h"

#include <stdlib.h>

static uint64_t seed;

static size_t below(size_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % n;
}

/* ---- keys */

enum { LONGEST = 64 };

struct key {
    size_t len;
    char bytes[LONGEST];
};

static void append(struct key *k, const void *bytes, size_t len) {
    memcpy(k->bytes + k->len, bytes, len);
    k->len += len;
}

static void append_number(struct key *k, uint64_t n, size_t len) {
    for (size_t i = len; i-- > 0;)
        k->bytes[k->len++] = (char)(n >> 8 * i);
}

/* As the rows of a collection: 11 bytes that all of them begin with. */
static struct key element(unsigned collection) {
    struct key k = {.len = 0};
    append_number(&k, 0x1234, 2);
    append(&k, "e", 1);
    append_number(&k, collection, 8);
    return k;
}

enum shape { ASCENDING, DESCENDING, MEMBERS, ROWS, LONG, SHORT, ZEROS, HIGH, SHAPES };

static struct key make_key(enum shape shape) {
    static uint64_t counter;
    struct key k = {.len = 0};
    switch (shape) {
    case ASCENDING:
        k = element((unsigned)below(3));
        append_number(&k, ((uint64_t)1 << 62) + counter++, 8);
        break;
    case DESCENDING:
        k = element(1);
        append_number(&k, ((uint64_t)1 << 62) - counter++, 8);
        break;
    case MEMBERS:
        k = element(2);
        append_number(&k, below(1 << 20), 4);
        append(&k, "member", below(7));
        break;
    case ROWS:
        append_number(&k, below(0x4000), 2);
        append(&k, "m", 1);
        append_number(&k, below(1u << 30), 4);
        break;
    case LONG: /* more in common than a page remembers */
        memset(k.bytes, 'x', k.len = 50);
        append_number(&k, below(5000), 2 + below(3));
        break;
    case SHORT: /* prefixes of each other */
        for (size_t n = below(9); k.len < n;)
            append(&k, &"\0a\xff"[below(3)], 1);
        break;
    case ZEROS:
        k.len = below(LONGEST);
        break;
    case HIGH:
        memset(k.bytes, 0xff, k.len = below(LONGEST));
        break;
    case SHAPES:
        break;
    }
    return k;
}

/* ---- the model: what there is, in order, and what there was at the mark */

enum { MOST = 6000 };

struct row {
    struct key key;
    unsigned value;
    bool deleted;
    bool only_here, out; /* nothing below has it; it is gone without a trace */
};

static struct row now[MOST], marked[MOST];
static size_t now_count, marked_count;

static const struct row *seen[MOST]; /* those in the order, once they are looked at */
static size_t seen_count;

static void look(void) {
    seen_count = 0;
    for (size_t i = 0; i < now_count; i++)
        if (!now[i].out)
            seen[seen_count++] = &now[i];
}

static int compare(const struct key *a, const struct key *b) {
    return ln_key_compare(a->bytes, a->len, b->bytes, b->len);
}

/* The first row of the model that is not below key. */
static size_t place_of(const struct key *k) {
    size_t low = 0, high = now_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&now[middle].key, k) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The same among those seen. */
static size_t seen_place_of(const struct key *k) {
    size_t at = 0;
    while (at < seen_count && compare(&seen[at]->key, k) < 0)
        at++;
    return at;
}

static struct row *make_row(const struct key *k, bool *fresh) {
    size_t at = place_of(k);
    *fresh = at == now_count || compare(&now[at].key, k) != 0;
    if (*fresh) {
        memmove(now + at + 1, now + at, (now_count - at) * sizeof *now);
        now_count++;
        now[at] = (struct row){.key = *k};
    }
    return &now[at];
}

static void put(struct ln_overlay *o, const struct key *k) {
    static unsigned value;
    bool fresh;
    struct row *row = make_row(k, &fresh);
    value++;
    if ((fresh || row->deleted) && below(2)) {
        row->only_here |= fresh;
        assert_int_equal(ln_overlay_put_new(o, k->bytes, k->len, &value, sizeof value), LN_OK);
    } else {
        assert_int_equal(ln_overlay_put(o, k->bytes, k->len, &value, sizeof value), LN_OK);
    }
    row->value = value;
    row->deleted = row->out = false;
}

static void drop(struct ln_overlay *o, const struct key *k) {
    bool fresh;
    make_row(k, &fresh)->deleted = true;
    assert_int_equal(ln_overlay_delete(o, k->bytes, k->len), LN_OK);
}

static void begin(struct ln_overlay *o) {
    ln_overlay_begin(o);
    for (size_t i = 0; i < now_count; i++)
        now[i].out |= now[i].only_here && now[i].deleted;
    memcpy(marked, now, now_count * sizeof *now);
    marked_count = now_count;
}

static void rollback(struct ln_overlay *o) {
    ln_overlay_rollback(o);
    memcpy(now, marked, marked_count * sizeof *now);
    now_count = marked_count;
}

static void clear(struct ln_overlay *o) {
    ln_overlay_clear(o);
    now_count = marked_count = 0;
}

/* ---- the comparison */

static void assert_row(const struct ln_overlay_row *row, const struct row *expected) {
    assert_int_equal(row->klen, expected->key.len);
    assert_memory_equal(row->key, expected->key.bytes, row->klen);
    assert_int_equal(row->deleted, expected->deleted);
    assert_int_equal(row->vlen, row->deleted ? 0 : sizeof expected->value);
    assert_memory_equal(row->value, &expected->value, row->vlen);
}

/* The cursor stands on row i of those seen; where there is none, past an end. */
static void assert_place(const struct ln_overlay *o, struct ln_overlay_cursor c, size_t i) {
    const struct ln_overlay_node *n = ln_overlay_at(&c);
    if (i >= seen_count) {
        assert_null(n);
        return;
    }
    assert_non_null(n);
    struct ln_overlay_row row = ln_overlay_row(o, n);
    assert_row(&row, seen[i]);
}

static void walk(const struct ln_overlay *o, struct ln_overlay_cursor c, size_t at, size_t steps) {
    size_t end = (size_t)-1; /* past the first row backwards, too */
    for (; steps > 0; steps--) {
        assert_place(o, c, at);
        if (at >= seen_count)
            return;
        bool forward = below(3) > 0;
        if (forward)
            ln_overlay_next(&c);
        else
            ln_overlay_prev(&c);
        at = forward ? at + 1 : at > 0 ? at - 1 : end;
    }
}

static void look_around(const struct ln_overlay *o, enum shape shape) {
    struct key k =
        now_count && below(2) ? now[below(now_count)].key : make_key(below(2) ? shape : SHORT);
    look();
    size_t at = seen_place_of(&k);
    walk(o, ln_overlay_seek(o, k.bytes, k.len), at, below(200));
    walk(o, ln_overlay_seek_before(o, k.bytes, k.len), at - 1, below(200));
}

static void compare_all(const struct ln_overlay *o) {
    struct ln_overlay_cursor c = ln_overlay_first(o);
    struct ln_overlay_row row;
    look();
    for (size_t i = 0; i <= seen_count; i++, ln_overlay_next(&c))
        assert_place(o, c, i);
    c = ln_overlay_last(o);
    for (size_t i = seen_count; i-- > 0; ln_overlay_prev(&c))
        assert_place(o, c, i);
    assert_null(ln_overlay_at(&c));
    for (size_t i = 0; i < seen_count; i++)
        assert_place(o, ln_overlay_seek(o, seen[i]->key.bytes, seen[i]->key.len), i);
    assert_int_equal(o->count, now_count);
    for (size_t i = 0; i < now_count; i++) { /* also what is out of the order */
        assert_true(ln_overlay_get(o, now[i].key.bytes, now[i].key.len, &row));
        assert_row(&row, &now[i]);
    }
}

static void live(struct ln_overlay *o, size_t phases) {
    for (size_t phase = 0; phase < phases; phase++) {
        enum shape shape = (enum shape)below(SHAPES), other = (enum shape)below(SHAPES);
        size_t mixed = below(3) ? 0 : below(100), deleted = below(2) ? 0 : below(90);
        for (size_t i = below(1500); i > 0 && now_count + 1 < MOST; i--) {
            struct key k = make_key(below(100) < mixed ? other : shape);
            if (now_count && below(100) < deleted)
                k = now[below(now_count)].key;
            if (below(100) < deleted)
                drop(o, &k);
            else
                put(o, &k);
            if (below(100) == 0)
                look_around(o, shape);
            if (below(500) == 0)
                begin(o);
        }
        size_t dice = below(20);
        if (dice < 9)
            rollback(o);
        else if (dice < 10 || now_count > MOST / 2)
            clear(o);
        else if (dice < 15)
            begin(o);
        if (dice < 12)
            compare_all(o);
    }
}

static void rows_stand_as_in_a_sorted_array(void **state) {
    (void)state;
    size_t phases = getenv("LUNODE_FULL") ? 2000 : 120;
    for (uint64_t run = 1; run <= 3; run++) {
        struct ln_overlay o;
        ln_overlay_init(&o);
        seed = run;
        now_count = marked_count = 0;
        live(&o, phases);
        compare_all(&o);
        ln_overlay_free(&o);
    }
}

/* ---- pages */

static size_t pages_of(const struct ln_overlay *o) {
    size_t pages = 0;
    const void *page = NULL;
    for (struct ln_overlay_cursor c = ln_overlay_first(o); ln_overlay_at(&c); ln_overlay_next(&c)) {
        pages += c.page != page;
        page = c.page;
    }
    return pages;
}

static void rows_that_come_in_order_fill_their_pages(void **state) {
    (void)state;
    enum { COUNT = 10000, NEARLY_FULL = 60 };
    for (enum shape shape = ASCENDING; shape <= DESCENDING; shape++) {
        struct ln_overlay o;
        ln_overlay_init(&o);
        for (unsigned neighbour = 0; neighbour < 4; neighbour++) { /* not at an end of all rows */
            struct key k = element(neighbour);
            assert_int_equal(ln_overlay_put(&o, k.bytes, k.len, "", 0), LN_OK);
        }
        for (uint64_t i = 0; i < COUNT; i++) {
            struct key k = element(1);
            append_number(&k, shape == ASCENDING ? i : COUNT - i, 8);
            assert_int_equal(ln_overlay_put(&o, k.bytes, k.len, "", 0), LN_OK);
        }
        assert_in_range(pages_of(&o), 1, COUNT / NEARLY_FULL);
        ln_overlay_free(&o);
    }
}

static void pages_leave_with_their_rows(void **state) {
    (void)state;
    struct ln_overlay o;
    ln_overlay_init(&o);
    seed = 1;
    now_count = marked_count = 0;
    struct key first = make_key(MEMBERS);
    put(&o, &first);
    begin(&o);
    for (int i = 0; i < 5000; i++) {
        struct key k = make_key(MEMBERS);
        put(&o, &k);
    }
    assert_true(pages_of(&o) > 5000 / 64);
    size_t grown = o.memory;
    rollback(&o);
    compare_all(&o);
    assert_int_equal(pages_of(&o), 1);
    assert_true(o.memory < grown / 2);
    ln_overlay_free(&o);
    assert_int_equal(o.memory, 0);
}

/* As a queue does it: what was taken out at one end costs a walk nothing. */
static void rows_that_came_and_went_are_not_met(void **state) {
    (void)state;
    struct ln_overlay o;
    struct ln_overlay_row row;
    ln_overlay_init(&o);
    for (uint64_t i = 0; i < 10000; i++) {
        struct key in = element(1), out = element(1);
        append_number(&in, i, 8);
        assert_int_equal(ln_overlay_put_new(&o, in.bytes, in.len, "v", 1), LN_OK);
        append_number(&out, i - 10, 8);
        if (i >= 10)
            assert_int_equal(ln_overlay_delete(&o, out.bytes, out.len), LN_OK);
        ln_overlay_begin(&o);
        assert_true(i < 10 || (ln_overlay_get(&o, out.bytes, out.len, &row) && row.deleted));
    }
    size_t met = 0;
    for (struct ln_overlay_cursor c = ln_overlay_first(&o); ln_overlay_at(&c); ln_overlay_next(&c))
        met++;
    assert_int_equal(met, 10);
    assert_in_range(pages_of(&o), 1, 2);
    ln_overlay_free(&o);
}

static void who_knows_what_lies_below_leaves_tombstones(void **state) {
    (void)state;
    struct ln_overlay o;
    ln_overlay_init(&o);
    assert_int_equal(ln_overlay_put_new(&o, "k", 1, "v", 1), LN_OK);
    ln_overlay_distrust(&o);
    assert_int_equal(ln_overlay_delete(&o, "k", 1), LN_OK);
    ln_overlay_begin(&o);
    struct ln_overlay_cursor c = ln_overlay_first(&o);
    assert_true(ln_overlay_row(&o, ln_overlay_at(&c)).deleted);
    ln_overlay_free(&o);
}

/* Two that went through the same have their rows at the same places of their pages. */
static void the_same_calls_build_the_same_pages(void **state) {
    (void)state;
    struct ln_overlay same[2];
    for (size_t i = 0; i < 2; i++) {
        ln_overlay_init(&same[i]);
        seed = 7;
        for (size_t k = 0; k < 4000; k++) {
            struct key key = make_key(below(2) ? MEMBERS : LONG);
            assert_int_equal(ln_overlay_put(&same[i], key.bytes, key.len, "", 0), LN_OK);
            if (k % 1000 == 700)
                ln_overlay_rollback(&same[i]);
            else if (k % 100 == 0)
                ln_overlay_begin(&same[i]);
        }
    }
    struct ln_overlay_cursor a = ln_overlay_first(&same[0]), b = ln_overlay_first(&same[1]);
    assert_true(pages_of(&same[0]) > 20);
    for (; ln_overlay_at(&a); ln_overlay_next(&a), ln_overlay_next(&b))
        assert_int_equal(a.at, b.at);
    assert_null(ln_overlay_at(&b));
    ln_overlay_free(&same[0]);
    ln_overlay_free(&same[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_stand_as_in_a_sorted_array),
        cmocka_unit_test(rows_that_come_in_order_fill_their_pages),
        cmocka_unit_test(pages_leave_with_their_rows),
        cmocka_unit_test(rows_that_came_and_went_are_not_met),
        cmocka_unit_test(who_knows_what_lies_below_leaves_tombstones),
        cmocka_unit_test(the_same_calls_build_the_same_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
