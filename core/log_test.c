#include "log.h"

#include "log_fixture.h"

#include <errno.h>

static uint64_t full(uint64_t calm, uint64_t full) {
    return getenv("LUNODE_FULL") ? full : calm;
}

static struct ln_log *reopen(struct ln_log *log) {
    close_log(log);
    return open_log();
}

/* ---- entries */

static void a_new_log_is_empty(void **state) {
    (void)state;
    uint64_t term = 7;
    struct ln_log *log = open_log();
    assert_int_equal(ln_log_first(log), 1);
    assert_int_equal(ln_log_last(log), 0);
    assert_int_equal(ln_log_synced(log), 0);
    assert_int_equal(ln_log_term(log, 0, &term), LN_OK);
    assert_int_equal(term, 0);
    assert_int_equal(ln_log_term(log, 1, &term), -ERANGE);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void entries_are_there_before_and_after_flush_and_reopen(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 100, 1, 0);
    put_many(log, 100, 1, 1);
    put_many(log, 100, 3, 700);
    check_log(log, &model);
    assert_int_equal(ln_log_flush(log), LN_OK);
    check_log(log, &model);
    log = reopen(log);
    assert_int_equal(ln_log_synced(log), 300);
    check_log(log, &model);
    put_many(log, 200, 4, 333);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void appends_of_one_iteration_leave_in_one_write(void **state) {
    (void)state;
    struct ln_log_stats before, stats;
    struct ln_log *log = open_log();
    ln_log_stats(log, &before);
    put_many(log, 50, 1, 100);
    ln_log_stats(log, &stats);
    assert_int_equal(stats.writes, before.writes);
    assert_int_equal(stats.unwritten_bytes, 50 * 144);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    ln_log_stats(log, &stats);
    assert_int_equal(stats.writes, before.writes + 1);
    assert_int_equal(stats.written_bytes, 50 * 144);
    assert_int_equal(stats.appends, 50);
    close_log(log);
}

static void an_entry_larger_than_a_segment_gets_one_of_its_own(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 3, 1, 10);
    put_many(log, 1, 1, 900000);
    put_many(log, 3, 1, 10);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void room_that_was_made_is_there_and_changes_nothing(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 3, 1, 10);
    assert_int_equal(ln_log_room(log, 10, true), LN_OK);
    assert_int_equal(ln_log_room(log, 900000, true), LN_OK);
    assert_int_equal(ln_log_room(log, LN_LOG_MAX_PAYLOAD + 1, true), -EMSGSIZE);
    check_log(log, &model);
    put_many(log, 1, 1, 10);
    assert_int_equal(ln_log_room(log, 900000, true), LN_OK);
    put_many(log, 1, 1, 900000);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_room(log, 900000, true), LN_OK);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void what_cannot_be_appended_changes_nothing(void **state) {
    (void)state;
    uint64_t index = 77;
    struct ln_log *log = open_log();
    put_many(log, 2, 5, 10);
    assert_int_equal(ln_log_append(log, 4, 0, "x", 1, &index), -EINVAL);
    assert_non_null(strstr(ln_log_detail(log), "term"));
    assert_int_equal(ln_log_append(log, 5, 128, "x", 1, &index), -EINVAL);
    assert_non_null(strstr(ln_log_detail(log), "type"));
    assert_int_equal(ln_log_append(log, 5, 0, "x", LN_LOG_MAX_PAYLOAD + 1, &index), -EMSGSIZE);
    assert_int_equal(ln_log_set_state(log, 9, "x", LN_LOG_MAX_VOTE + 1), -EMSGSIZE);
    assert_int_equal(ln_log_truncate_suffix(log, 0), -EINVAL);
    assert_int_equal(ln_log_truncate_prefix(log, UINT64_MAX, 9), -EINVAL);
    assert_int_equal(index, 77);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void the_last_index_there_is(void **state) {
    (void)state;
    uint64_t index = 0;
    struct ln_log *log = open_log();
    assert_int_equal(ln_log_truncate_prefix(log, LN_LOG_MAX_INDEX - 1, 1), LN_OK);
    assert_int_equal(ln_log_append(log, 1, 0, "x", 1, &index), LN_OK);
    assert_int_equal(index, LN_LOG_MAX_INDEX);
    assert_int_equal(ln_log_append(log, 1, 0, "x", 1, &index), -EOVERFLOW);
    log = reopen(log);
    assert_int_equal(ln_log_last(log), LN_LOG_MAX_INDEX);
    close_log(log);
}

/* ---- reading */

static void a_cursor_reads_ranges_from_memory_and_from_disk(void **state) {
    (void)state;
    struct ln_log_entry e;
    struct ln_log *log = open_with(
        &(struct ln_log_options){.create = true, .segment_size = 64 * 1024, .memory = 2000});
    for (int round = 0; round < 40; round++) {
        put_many(log, 25, 1, 100);
        assert_int_equal(ln_log_flush(log), LN_OK);
    }
    for (uint64_t from = 1; from <= 1000; from += 37) {
        struct ln_log_cursor c;
        ln_log_cursor_open(log, from, from + 50, &c);
        uint64_t i = from;
        for (; ln_log_cursor_next(&c, &e) == LN_OK; i++)
            check_entry(&model, &e, i);
        assert_int_equal(i, from + 50 < 1000 ? from + 51 : 1001);
        ln_log_cursor_close(&c);
    }
    close_log(log);
}

static void a_cursor_follows_the_log_as_it_grows_and_changes(void **state) {
    (void)state;
    struct ln_log_entry e;
    struct ln_log_cursor c;
    struct ln_log *log = open_with(
        &(struct ln_log_options){.create = true, .segment_size = 16 * 1024, .memory = 1000});
    ln_log_cursor_open(log, 1, UINT64_MAX, &c);
    assert_int_equal(ln_log_cursor_next(&c, &e), LN_EOF);
    uint64_t next = 1;
    for (int round = 0; round < 60; round++) {
        put_many(log, 11, 1, 150);
        for (int i = 0; i < 9; i++)
            assert_int_equal(log_put(log, &model, 1, 20), LN_OK);
        if (round % 3 == 0)
            assert_int_equal(ln_log_flush(log), LN_OK);
        for (; ln_log_cursor_next(&c, &e) == LN_OK; next++)
            check_entry(&model, &e, next);
        assert_int_equal(next, model.last + 1);
        if (round % 10 == 4) { /* what it has read is dropped, and other entries come there */
            assert_int_equal(ln_log_truncate_suffix(log, model.last - 1), LN_OK);
            model_suffix(&model, model.last - 1);
            put_many(log, 4, 1, 77);
        }
        if (round % 10 == 8) {
            assert_int_equal(ln_log_truncate_prefix(log, next - 1, 1), LN_OK);
            model_prefix(&model, next - 1, 1);
        }
    }
    assert_int_equal(ln_log_truncate_prefix(log, next + 5, 2), LN_OK);
    assert_int_equal(ln_log_cursor_next(&c, &e), -ERANGE);
    assert_non_null(strstr(ln_log_detail(log), "is gone"));
    ln_log_cursor_close(&c);
    close_log(log);
}

/* ---- truncation */

static void a_suffix_is_dropped_and_stays_so(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 10, 1, 10);
    put_many(log, 10, 2, 10);
    assert_int_equal(ln_log_truncate_suffix(log, 21), LN_OK);
    assert_int_equal(ln_log_last(log), 20);
    assert_int_equal(ln_log_truncate_suffix(log, 8), LN_OK);
    model_suffix(&model, 8);
    check_log(log, &model);
    put_many(log, 5, 1, 20); /* an older term than what was dropped */
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_truncate_suffix(log, 1), LN_OK);
    model_suffix(&model, 1);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void a_prefix_is_dropped_with_its_segments(void **state) {
    (void)state;
    struct ln_log_stats stats;
    struct ln_log *log = open_log();
    put_many(log, 2000, 1, 100);
    sync_log(log);
    ln_log_stats(log, &stats);
    assert_true(stats.segments >= 4);
    assert_int_equal(ln_log_truncate_prefix(log, 1900, 1), LN_OK);
    model_prefix(&model, 1900, 1);
    check_log(log, &model);
    sync_log(log);
    ln_log_stats(log, &stats);
    assert_true(stats.segments <= 2);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_truncate_prefix(log, 1800, 1), LN_OK); /* gone already */
    assert_int_equal(ln_log_truncate_suffix(log, 1900), -EINVAL);
    assert_int_equal(ln_log_truncate_prefix(log, 2000, 1), LN_OK);
    model_prefix(&model, 2000, 1);
    check_log(log, &model);
    put_many(log, 3, 2, 10);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void a_prefix_past_the_end_or_of_another_term_resets(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    put_many(log, 20, 1, 100);
    assert_int_equal(ln_log_set_state(log, 3, "me", 2), LN_OK);
    model_state(&model, 3, "me", 2);
    assert_int_equal(ln_log_truncate_prefix(log, 1000, 5), LN_OK);
    model_prefix(&model, 1000, 5);
    assert_int_equal(ln_log_synced(log), 0);
    check_log(log, &model);
    put_many(log, 20, 5, 100);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_truncate_prefix(log, 1010, 4), LN_OK);
    model_prefix(&model, 1010, 4);
    assert_int_equal(ln_log_last(log), 1010);
    check_log(log, &model);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

static void the_state_outlives_the_segment_that_it_was_written_to(void **state) {
    (void)state;
    struct ln_log *log = open_log();
    assert_int_equal(ln_log_set_state(log, 42, "127.1.0.1:7000", 14), LN_OK);
    model_state(&model, 42, "127.1.0.1:7000", 14);
    put_many(log, 2000, 1, 100);
    assert_int_equal(ln_log_truncate_prefix(log, 2000, 1), LN_OK);
    model_prefix(&model, 2000, 1);
    sync_log(log);
    log = reopen(log);
    check_log(log, &model);
    assert_int_equal(ln_log_set_state(log, 43, NULL, 0), LN_OK);
    model_state(&model, 43, "", 0);
    log = reopen(log);
    check_log(log, &model);
    close_log(log);
}

/* ---- sync */

static void a_sync_covers_all_that_was_appended(void **state) {
    (void)state;
    struct waiter w = {.calls = 0};
    struct ln_log *log = open_log();
    put_many(log, 5, 1, 100);
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    assert_int_equal(ln_log_synced(log), 0);
    assert_true(ln_loop_alive(loop));
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.status, LN_OK);
    assert_int_equal(w.index, 5);
    assert_int_equal(ln_log_synced(log), 5);
    close_log(log);
}

static void syncs_complete_in_order_and_share_what_gathered(void **state) {
    (void)state;
    enum { WAITERS = 50 };
    static struct waiter w[WAITERS];
    struct ln_log_stats stats;
    struct ln_log *log = open_log();
    memset(w, 0, sizeof w);
    told = 0;
    for (int i = 0; i < WAITERS; i++) {
        put_many(log, 3, 1, 50);
        assert_int_equal(ln_log_sync(log, &w[i].sync, on_synced), LN_OK);
        if (i % 10 == 9) {
            assert_int_equal(ln_log_flush(log), LN_OK);
            put_many(log, 1, 1, 50);
        }
    }
    assert_int_equal(ln_loop_run(loop), LN_OK);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(w[i].calls, 1);
        assert_int_equal(w[i].order, i + 1);
        assert_true(w[i].index >= (uint64_t)(i + 1) * 3);
    }
    ln_log_stats(log, &stats);
    assert_in_range(stats.syncs, 1, 3);
    assert_true(stats.synced_bytes > 0 && stats.last_sync_seconds > 0);
    close_log(log);
}

static void a_sync_of_nothing_is_told_as_well(void **state) {
    (void)state;
    struct waiter w = {.calls = 0};
    struct ln_log *log = open_log();
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    assert_int_equal(w.calls, 0);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.status, LN_OK);
    close_log(log);
}

static void what_is_dropped_while_it_syncs_is_not_synced(void **state) {
    (void)state;
    struct waiter w = {.calls = 0};
    struct ln_log *log = open_log();
    put_many(log, 10, 1, 100);
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    assert_int_equal(ln_log_flush(log), LN_OK); /* it is under way */
    assert_int_equal(ln_log_truncate_suffix(log, 8), LN_OK);
    model_suffix(&model, 8);
    put_many(log, 5, 2, 100);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.index, 7);
    assert_int_equal(ln_log_synced(log), 7);
    sync_log(log);
    assert_int_equal(ln_log_synced(log), 12);
    close_log(log);
}

struct chain {
    struct ln_log_sync sync;
    struct ln_log *log;
    int left;
};

static void on_link(struct ln_log_sync *sync, int status, uint64_t index) {
    struct chain *c = LN_OWNER(struct chain, sync, sync);
    assert_int_equal(status, LN_OK);
    assert_int_equal(index, ln_log_last(c->log));
    if (--c->left > 0) {
        if (c->left % 2)
            assert_int_equal(log_put(c->log, &model, 1, 10), LN_OK);
        assert_int_equal(ln_log_sync(c->log, &c->sync, on_link), LN_OK);
    } else {
        assert_int_equal(ln_log_close(c->log, NULL, NULL), LN_OK);
    }
}

static void a_callback_may_sync_again_and_close(void **state) {
    (void)state;
    struct chain c = {.log = open_log(), .left = 12};
    struct waiter w = {.calls = 0};
    assert_int_equal(log_put(c.log, &model, 1, 10), LN_OK);
    assert_int_equal(ln_log_sync(c.log, &c.sync, on_link), LN_OK);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(c.left, 0);
    assert_int_equal(w.calls, 0);
    struct ln_log *log = open_log();
    check_log(log, &model);
    close_log(log);
}

static void count_close(void *arg) {
    ++*(int *)arg;
}

static void closing_syncs_and_tells_those_who_wait(void **state) {
    (void)state;
    int closed = 0;
    struct waiter w[3] = {{.calls = 0}};
    struct ln_log *log = open_log();
    for (int i = 0; i < 3; i++) {
        put_many(log, 10, 1, 100);
        assert_int_equal(ln_log_sync(log, &w[i].sync, on_synced), LN_OK);
        if (i == 0)
            assert_int_equal(ln_log_flush(log), LN_OK);
    }
    assert_int_equal(ln_log_close(log, count_close, &closed), LN_OK);
    assert_int_equal(w[0].calls + w[1].calls + w[2].calls + closed, 0);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(closed, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(w[i].calls, 1);
        assert_int_equal(w[i].status, LN_OK);
        assert_int_equal(w[i].index, 30);
    }
    log = open_log();
    check_log(log, &model);
    close_log(log);
}

static void an_owner_who_forgets_is_told_nothing(void **state) {
    (void)state;
    struct waiter w = {.calls = 0};
    int closed = 0;
    struct ln_log *log = open_log();
    put_many(log, 10, 1, 100);
    assert_int_equal(ln_log_sync(log, &w.sync, on_synced), LN_OK);
    ln_log_forget(log);
    assert_int_equal(ln_log_close(log, count_close, &closed), LN_OK);
    ln_log_forget(log);
    assert_int_equal(ln_loop_run(loop), LN_OK);
    assert_int_equal(w.calls + closed, 0);
}

/* ---- whose it is */

static void a_second_open_is_refused(void **state) {
    (void)state;
    char text[512];
    struct ln_log *log = open_log();
    assert_int_equal(refused(text), LN_ELOCKED);
    assert_non_null(strstr(text, "in use"));
    close_log(log);
}

static void a_missing_directory_is_made_only_if_asked(void **state) {
    (void)state;
    char kept[64], text[512];
    memcpy(kept, dir, sizeof kept);
    strcat(dir, "/log"); /* NOLINT: there is room */
    assert_int_equal(refused(text), -ENOENT);
    assert_non_null(strstr(text, "no such directory"));
    struct ln_log *log = open_log();
    put_many(log, 1, 1, 1);
    close_log(log);
    assert_int_equal(refused(text), LN_OK);
    memcpy(dir, kept, sizeof kept);
}

static void sizes_out_of_range_are_refused(void **state) {
    (void)state;
    struct ln_log *log = NULL;
    struct ln_detail detail;
    struct ln_log_options options = {.create = true, .segment_size = 4095};
    assert_int_equal(ln_log_open(loop, dir, &options, &detail, &log), -EINVAL);
    assert_non_null(strstr(detail.text, "4 KiB"));
}

/* ---- against a plain list */

static uint64_t seed;

static uint64_t draw(uint64_t below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed % below;
}

static uint64_t last_term(void) {
    return model.last + 1 == model.first ? model.base_term : model_term(&model, model.last);
}

static void random_step(struct ln_log *log) {
    uint64_t count = model.last + 1 - model.first, index = 0, term = 0;
    switch (draw(12)) {
    case 0:
        index = model.first + draw(count + 2);
        assert_int_equal(ln_log_truncate_suffix(log, index), LN_OK);
        model_suffix(&model, index);
        break;
    case 1:
        index = model.first + draw(count / 2 + 1);
        term = index <= model.last && draw(8) ? model_term(&model, index) : last_term() + draw(2);
        assert_int_equal(ln_log_truncate_prefix(log, index, term), LN_OK);
        model_prefix(&model, index, term);
        break;
    case 2:
        term = draw(100);
        assert_int_equal(ln_log_set_state(log, term, payload_of(1, term, 9), term % 10), LN_OK);
        model_state(&model, term, payload_of(1, term, 9), term % 10);
        break;
    case 3:
        assert_int_equal(ln_log_flush(log), LN_OK);
        break;
    case 4:
        if (draw(5) == 0)
            check_log(log, &model);
        break;
    default:
        if (count < MODEL_MOST / 2)
            put_many(log, 1 + draw(20), last_term() + draw(2), draw(20) ? draw(300) : draw(9000));
    }
}

static void a_log_is_what_a_list_would_be(void **state) {
    (void)state;
    uint64_t steps = full(6000, 60000);
    struct ln_log *log = open_with(&(struct ln_log_options){.create = true, .segment_size = SMALL});
    seed = 88172645463325252U;
    for (uint64_t i = 0; i < steps; i++) {
        random_step(log);
        if (draw(60) == 0)
            sync_log(log);
        if (draw(200) == 0) {
            close_log(log);
            log = open_with(&(struct ln_log_options){.segment_size = (uint32_t)(SMALL << draw(3)),
                                                     .memory = 500 + draw(20000)});
            check_log(log, &model);
            assert_int_equal(ln_log_synced(log), model.last);
        }
    }
    check_log(log, &model);
    close_log(log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_new_log_is_empty),
        TEST_ON_DISK(entries_are_there_before_and_after_flush_and_reopen),
        TEST(appends_of_one_iteration_leave_in_one_write),
        TEST(an_entry_larger_than_a_segment_gets_one_of_its_own),
        TEST(room_that_was_made_is_there_and_changes_nothing),
        TEST(what_cannot_be_appended_changes_nothing),
        TEST(the_last_index_there_is),
        TEST(a_cursor_reads_ranges_from_memory_and_from_disk),
        TEST(a_cursor_follows_the_log_as_it_grows_and_changes),
        TEST(a_suffix_is_dropped_and_stays_so),
        TEST_ON_DISK(a_prefix_is_dropped_with_its_segments),
        TEST(a_prefix_past_the_end_or_of_another_term_resets),
        TEST(the_state_outlives_the_segment_that_it_was_written_to),
        TEST(a_sync_covers_all_that_was_appended),
        TEST_ON_DISK(syncs_complete_in_order_and_share_what_gathered),
        TEST(a_sync_of_nothing_is_told_as_well),
        TEST(what_is_dropped_while_it_syncs_is_not_synced),
        TEST(a_callback_may_sync_again_and_close),
        TEST(closing_syncs_and_tells_those_who_wait),
        TEST(an_owner_who_forgets_is_told_nothing),
        TEST(a_second_open_is_refused),
        TEST(a_missing_directory_is_made_only_if_asked),
        TEST(sizes_out_of_range_are_refused),
        TEST(a_log_is_what_a_list_would_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
