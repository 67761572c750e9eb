/* Against a plain array, at random, with allocations that fail. */
#include "nearby.h"

#include "fault.h"
#include "overlay.h"
#include "status.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MEMBERS = 3000 };

/* In the order of hashes and names; few hashes come twice. */
static struct {
    uint32_t hash;
    char name[16];
    size_t len;
    bool there;
} members[MEMBERS];

static uint32_t random_number(uint32_t *state, uint32_t below) {
    *state = *state * 1664525 + 1013904223;
    return (*state >> 8) % below;
}

static int by_hash(const void *a, const void *b) {
    uint32_t hash_a, hash_b;
    memcpy(&hash_a, a, sizeof hash_a);
    memcpy(&hash_b, b, sizeof hash_b);
    if (hash_a != hash_b)
        return hash_a < hash_b ? -1 : 1;
    return memcmp((const char *)a + sizeof hash_a, (const char *)b + sizeof hash_b, 16);
}

static void make_members(void) {
    uint32_t state = 3;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        members[i].hash = i % 10 == 9 ? members[i - 1].hash : random_number(&state, 1 << 24) << 8;
        members[i].len = (size_t)snprintf(members[i].name, sizeof members[i].name, "m%u", i);
    }
    members[0].hash = 0;
    members[0].len = 0;
    memset(members[0].name, 0, sizeof members[0].name);
    members[1].hash = UINT32_MAX;
    qsort(members, MEMBERS, sizeof members[0], by_hash);
}

static int read_segment(struct ln_nearby *n, size_t segment) {
    uint32_t from, past;
    ln_nearby_range(n, segment, &from, &past);
    assert_true(segment < ln_nearby_segments(n));
    int rc = ln_nearby_read(n, segment);
    for (size_t i = 0; rc == LN_OK && i < MEMBERS; i++)
        if (members[i].there && members[i].hash >= from && (past == 0 || members[i].hash < past))
            rc = ln_nearby_add(n, members[i].hash, members[i].name, members[i].len);
    return rc;
}

static int find(struct ln_nearby *n, uint32_t hash, size_t offset, struct ln_nearby_row *row) {
    size_t segment;
    int rc;
    while ((rc = ln_nearby_find(n, hash, offset, &segment, row)) == -EAGAIN)
        if ((rc = read_segment(n, segment)) != LN_OK)
            return rc;
    return rc;
}

static int check_find(struct ln_nearby *n, uint32_t *state) {
    uint32_t hash = random_number(state, 1 << 24) << 8;
    size_t offset = random_number(state, 40), i = 0, rest = offset;
    struct ln_nearby_row row;
    int rc = find(n, hash, offset, &row);
    if (rc == -ENOMEM)
        return rc;
    while (i < MEMBERS && (members[i].hash < hash || !members[i].there || rest > 0)) {
        rest -= members[i].hash >= hash && members[i].there;
        i++;
    }
    assert_int_equal(rc, i < MEMBERS ? LN_OK : -ENOENT);
    if (rc == LN_OK) {
        assert_int_equal(row.hash, members[i].hash);
        assert_int_equal(row.len, members[i].len);
        assert_memory_equal(row.member, members[i].name, row.len);
    }
    return LN_OK;
}

static int check_all(struct ln_nearby *n) {
    struct ln_nearby_cursor cursor = {0, 0};
    struct ln_nearby_row row;
    size_t i = 0;
    int rc;
    while ((rc = ln_nearby_next(n, &cursor, &row)) != LN_EOF) {
        if (rc == -EAGAIN) {
            if ((rc = read_segment(n, cursor.segment)) != LN_OK)
                return rc;
            continue;
        }
        while (!members[i].there)
            i++;
        assert_int_equal(row.len, members[i].len);
        assert_memory_equal(row.member, members[i].name, row.len);
        i++;
    }
    while (i < MEMBERS)
        assert_false(members[i++].there);
    return LN_OK;
}

/* Members come and go, towards so many; what lacks memory is forgotten, as its user would. */
static struct ln_nearby *wander(struct ln_nearby *n, size_t *count, size_t wanted, size_t rounds,
                                uint32_t *state) {
    for (size_t round = 0; round < rounds; round++) {
        size_t i = random_number(state, MEMBERS);
        int rc = LN_OK;
        if (!members[i].there && *count < wanted) {
            members[i].there = true;
            ++*count;
            rc = ln_nearby_add(n, members[i].hash, members[i].name, members[i].len);
        } else if (members[i].there && *count > wanted) {
            members[i].there = false;
            --*count;
            ln_nearby_remove(n, members[i].hash, members[i].name, members[i].len);
        } else if (!members[i].there) {
            ln_nearby_remove(n, members[i].hash, members[i].name, members[i].len);
        }
        if (rc == LN_OK && round % 8 == 0)
            rc = check_find(n, state);
        bool fits = ln_nearby_fit(n, *count);
        if (rc != LN_OK || !fits) {
            assert_true(rc == LN_OK || (rc == -ENOMEM && fault_happened()));
            ln_nearby_free(n);
            do
                n = ln_nearby_new(*count);
            while (!n);
        }
    }
    while (check_all(n) != LN_OK)
        assert_true(fault_happened());
    return n;
}

static size_t scale = 1;

static void use_nearby(const struct fault *fault) {
    static const size_t wanted[] = {2500, 40, 3, 700, 0, 30};
    uint32_t state = 11;
    size_t count = 0;
    (void)fault;
    for (size_t i = 0; i < MEMBERS; i++)
        members[i].there = false;
    struct ln_nearby *n = ln_nearby_new(0);
    if (!n)
        return;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        n = wander(n, &count, wanted[i] / scale, 20000 / scale / scale, &state);
    assert_true(ln_nearby_bytes(n) > 0);
    ln_nearby_free(n);
}

static void members_are_found_as_they_come_and_go(void **unused) {
    (void)unused;
    scale = 1;
    use_nearby(NULL);
}

static void without_memory_nothing_is_wrong(void **unused) {
    (void)unused;
    static const struct fault faults[] = {{FAULT_calloc, ENOMEM, false},
                                          {FAULT_realloc, ENOMEM, false}};
    scale = 7;
    fault_each(faults, sizeof faults / sizeof *faults, use_nearby);
}

int main(void) {
    make_members();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found_as_they_come_and_go),
        cmocka_unit_test_teardown(without_memory_nothing_is_wrong, fault_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
