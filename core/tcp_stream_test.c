#include "tcp_stream.h"
#include "tcp_test.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static char block[64 << 10];

static void bytes_arrive_both_ways(void **state) {
    (void)state;
    connect_pair();
    assert_int_equal(ln_stream_write(client.s, "ping", 4), LN_OK);
    assert_int_equal(ln_stream_write(server_end.s, "pong", 4), LN_OK);
    WAIT_FOR(client.got_len == 4 && server_end.got_len == 4);
    assert_string_equal(client.got, "pong");
    assert_string_equal(server_end.got, "ping");
}

static void bytes_that_are_not_consumed_are_offered_again(void **state) {
    (void)state;
    connect_pair();
    server_end.consume_step = 4; /* whole words of four */
    assert_int_equal(ln_stream_write(client.s, "ab", 2), LN_OK);
    WAIT_FOR(strchr(server_end.trail, 'R'));
    assert_int_equal(server_end.got_len, 0);
    assert_int_equal(ln_stream_write(client.s, "cdef", 4), LN_OK);
    WAIT_FOR(server_end.got_len == 4);
    assert_int_equal(ln_stream_write(client.s, "gh", 2), LN_OK);
    WAIT_FOR(server_end.got_len == 8);
    assert_string_equal(server_end.got, "abcdefgh");
    struct ln_stream_stats stats;
    ln_stream_stats(server_end.s, &stats);
    assert_int_equal(stats.kept, 0);
    assert_int_equal(stats.bytes_read, 8);
}

static void input_that_nobody_consumes_is_bounded(void **state) {
    (void)state;
    struct ln_stream_limits limits = LN_STREAM_LIMITS_DEFAULT;
    connect_pair();
    limits.max_in = 100000;
    ln_stream_set_limits(server_end.s, &limits);
    server_end.consume_step = 1 << 30;
    while (server_end.s) {
        if (client.s)
            (void)ln_stream_write(client.s, block, sizeof block);
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 100), LN_OK);
    }
    assert_int_equal(server_end.close_status, -ENOBUFS);
}

/* ---- watermarks */

static void a_full_queue_answers_full_and_later_tells_that_it_is_writable(void **state) {
    (void)state;
    connect_pair();
    ln_stream_pause(server_end.s);
    int rc = LN_OK;
    size_t sent = 0;
    while (rc == LN_OK) {
        rc = ln_stream_write(client.s, block, sizeof block);
        sent += sizeof block;
        assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    }
    assert_int_equal(rc, LN_STREAM_FULL);
    assert_string_equal(client.trail, "C");
    ln_stream_resume(server_end.s);
    WAIT_FOR(strchr(client.trail, 'W'));
    struct ln_stream_stats stats;
    ln_stream_stats(client.s, &stats);
    assert_true(stats.queued < ln_stream_limits(client.s)->low);
    WAIT_FOR(server_end.got_len == sent);
    assert_string_equal(client.trail, "CW"); /* once */
}

static void a_write_past_the_cap_is_refused_whole_and_closes(void **state) {
    (void)state;
    struct ln_stream_limits limits = {.low = 10, .high = 100, .cap = 1000, .max_in = 1000};
    connect_pair();
    ln_stream_set_limits(client.s, &limits);
    assert_int_equal(ln_stream_write(client.s, block, 1000), LN_STREAM_FULL);
    assert_int_equal(ln_stream_write(client.s, block, 1), -ENOBUFS);
    assert_int_equal(ln_stream_write(client.s, block, 1), -ENOTCONN);
    WAIT_FOR(!client.s);
    assert_int_equal(client.close_status, -ENOBUFS);
}

static void an_encoder_that_writes_in_place_meets_the_same_limits(void **state) {
    (void)state;
    struct ln_stream_limits limits = {.low = 10, .high = 100, .cap = 1000, .max_in = 1000};
    connect_pair();
    ln_stream_set_limits(client.s, &limits);
    assert_int_equal(ln_buffer_append(ln_stream_out(client.s), "hello", 5), LN_OK);
    assert_int_equal(ln_stream_wrote(client.s), LN_OK);
    WAIT_FOR(server_end.got_len == 5);
    assert_int_equal(ln_buffer_append(ln_stream_out(client.s), block, 1001), LN_OK);
    assert_int_equal(ln_stream_wrote(client.s), -ENOBUFS);
    assert_null(ln_stream_out(client.s));
}

/* ---- half-close */

static void answer_the_end(struct end *e) {
    assert_int_equal(ln_stream_write(e->s, "late", 4), LN_OK);
    ln_stream_close(e->s, LN_OK);
}

static void after_a_shutdown_data_still_flows_the_other_way(void **state) {
    (void)state;
    connect_pair();
    server_end.on_end = answer_the_end;
    assert_int_equal(ln_stream_write(client.s, "last", 4), LN_OK);
    assert_int_equal(ln_stream_shutdown(client.s), LN_OK);
    WAIT_FOR(!client.s && !server_end.s);
    assert_string_equal(server_end.got, "last");
    assert_string_equal(server_end.trail, "REX");
    assert_string_equal(client.got, "late");
    assert_string_equal(client.trail, "CREX");
    assert_int_equal(client.close_status, LN_OK);
    assert_int_equal(server_end.close_status, LN_OK);
}

static void both_sides_shut_down_is_an_orderly_close(void **state) {
    (void)state;
    connect_pair();
    assert_int_equal(ln_stream_shutdown(client.s), LN_OK);
    assert_int_equal(ln_stream_shutdown(server_end.s), LN_OK);
    WAIT_FOR(!client.s && !server_end.s);
    assert_int_equal(client.close_status, LN_OK);
    assert_int_equal(server_end.close_status, LN_OK);
    assert_string_equal(client.trail, "CEX");
}

static const struct ln_stream_events endless = {end_on_connect, end_on_read, end_on_writable, NULL,
                                                end_on_close};

static void without_on_end_a_stream_closes_once_its_queue_is_sent(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    options.events = &endless;
    connect_to(listen_locally(&options), &client);
    WAIT_FOR(server_end.s && client.trail[0]);
    for (int i = 0; i < 16; i++)
        (void)ln_stream_write(server_end.s, block, sizeof block);
    assert_int_equal(ln_stream_shutdown(client.s), LN_OK);
    WAIT_FOR(!client.s && !server_end.s);
    assert_int_equal(client.got_len, 16 * sizeof block);
    assert_string_equal(server_end.trail, "X");
}

/* ---- close */

static void close_sends_what_is_queued_first(void **state) {
    (void)state;
    connect_pair();
    ln_stream_pause(client.s);
    for (int i = 0; i < 64; i++)
        assert_true(ln_stream_write(server_end.s, block, sizeof block) >= 0);
    ln_stream_close(server_end.s, LN_OK);
    assert_int_equal(ln_stream_write(server_end.s, "x", 1), -ENOTCONN);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    ln_stream_resume(client.s);
    WAIT_FOR(strchr(client.trail, 'E'));
    assert_int_equal(client.got_len, 64 * sizeof block);
    WAIT_FOR(!server_end.s);
    assert_int_equal(server_end.close_status, LN_OK);
}

static void the_last_words_survive_a_close_with_unread_input(void **state) {
    (void)state;
    connect_pair();
    ln_stream_pause(server_end.s);
    assert_int_equal(ln_stream_write(client.s, block, sizeof block), LN_OK);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    assert_int_equal(ln_stream_write(server_end.s, "-ERR", 4), LN_OK);
    ln_stream_close(server_end.s, -EPROTO);
    WAIT_FOR(!server_end.s);
    assert_int_equal(server_end.close_status, -EPROTO);
    WAIT_FOR(client.got_len == 4);
    assert_string_equal(client.got, "-ERR");
}

static void answer(struct end *e) {
    (void)ln_stream_write(e->s, "and", 3);
}

/* What the kernel has not yet delivered is lost by a reset, which input after the close causes. */
static void a_large_last_word_survives_a_peer_that_talks_on(void **state) {
    (void)state;
    connect_pair();
    client.on_read = answer;
    for (int i = 0; i < 64; i++)
        assert_true(ln_stream_write(server_end.s, block, sizeof block) >= 0);
    ln_stream_close(server_end.s, LN_OK);
    WAIT_FOR(!server_end.s);
    assert_int_equal(server_end.close_status, LN_OK);
    WAIT_FOR(!client.s || client.got_len == 64 * sizeof block);
    assert_int_equal(client.got_len, 64 * sizeof block);
}

static void abort_drops_the_queue(void **state) {
    (void)state;
    connect_pair();
    assert_int_equal(ln_stream_write(client.s, "never", 5), LN_OK);
    ln_stream_abort(client.s, -EIO);
    WAIT_FOR(!client.s && strchr(server_end.trail, 'E'));
    assert_int_equal(client.close_status, -EIO);
    assert_int_equal(server_end.got_len, 0);
}

static void a_reset_by_the_peer_is_told_with_its_code(void **state) {
    (void)state;
    connect_pair();
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    struct ln_stream_stats stats;
    ln_stream_stats(client.s, &stats);
    assert_int_equal(setsockopt(stats.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    ln_stream_abort(client.s, LN_OK);
    WAIT_FOR(!server_end.s);
    assert_string_equal(server_end.trail, "X");
    assert_int_equal(server_end.close_status, -ECONNRESET);
}

static void a_reset_while_paused_is_told_and_does_not_spin(void **state) {
    (void)state;
    connect_pair();
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    struct ln_stream_stats stats;
    ln_stream_pause(server_end.s);
    ln_stream_stats(client.s, &stats);
    assert_int_equal(setsockopt(stats.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    ln_stream_abort(client.s, LN_OK);
    WAIT_FOR(!server_end.s);
    assert_int_equal(server_end.close_status, -ECONNRESET);
}

/* ---- pause and resume */

static void pause_after_the_first(struct end *e) {
    if (e->got_len == 4)
        ln_stream_pause(e->s);
}

static void while_paused_nothing_is_read_and_resume_goes_on(void **state) {
    (void)state;
    connect_pair();
    ln_stream_pause(server_end.s);
    assert_int_equal(ln_stream_write(client.s, "abcd", 4), LN_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    assert_int_equal(server_end.got_len, 0);
    ln_stream_resume(server_end.s);
    ln_stream_resume(server_end.s);
    WAIT_FOR(server_end.got_len == 4);
}

static void a_pause_within_on_read_holds_from_the_next_read_on(void **state) {
    (void)state;
    connect_pair();
    server_end.on_read = pause_after_the_first;
    assert_int_equal(ln_stream_write(client.s, "abcd", 4), LN_OK);
    WAIT_FOR(server_end.got_len == 4);
    assert_int_equal(ln_stream_write(client.s, "efgh", 4), LN_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    assert_int_equal(server_end.got_len, 4);
    ln_stream_resume(server_end.s);
    WAIT_FOR(server_end.got_len == 8);
}

/* Both ends have something to read in one iteration. */
static void read_both_at_once(void (*on_read)(struct end *e)) {
    connect_pair();
    client.on_read = server_end.on_read = on_read;
    assert_int_equal(ln_stream_write(client.s, "ping", 4), LN_OK);
    assert_int_equal(ln_stream_write(server_end.s, "pong", 4), LN_OK);
    WAIT_FOR(client.got_len + server_end.got_len > 0);
}

static struct end *other_of(struct end *e) {
    return e == &client ? &server_end : &client;
}

static void pause_the_other(struct end *e) {
    ln_stream_pause(other_of(e)->s);
}

static void what_was_read_when_another_handler_paused_is_offered_after_the_resume(void **state) {
    (void)state;
    read_both_at_once(pause_the_other);
    struct end *paused = client.got_len == 0 ? &client : &server_end;
    struct ln_stream_stats stats;
    ln_stream_stats(paused->s, &stats);
    assert_int_equal(stats.bytes_read, 4);
    assert_int_equal(paused->got_len, 0);
    assert_int_equal(stats.kept, 4);
    ln_stream_resume(paused->s);
    WAIT_FOR(paused->got_len == 4);
}

static void abort_the_other(struct end *e) {
    ln_stream_abort(other_of(e)->s, LN_OK);
}

static void what_was_read_when_another_handler_closed_is_dropped(void **state) {
    (void)state;
    read_both_at_once(abort_the_other);
    assert_int_equal(client.got_len + server_end.got_len, 4);
    struct end *closed = client.got_len == 0 ? &client : &server_end;
    assert_null(closed->s);
    assert_null(strchr(closed->trail, 'R'));
}

static void a_peer_that_leaves_while_we_are_paused_is_noticed_after_resume(void **state) {
    (void)state;
    connect_pair();
    assert_int_equal(ln_stream_shutdown(server_end.s), LN_OK); /* so that a FIN makes a hang-up */
    WAIT_FOR(strchr(client.trail, 'E'));
    ln_stream_pause(server_end.s);
    assert_int_equal(ln_stream_write(client.s, "last", 4), LN_OK);
    ln_stream_close(client.s, LN_OK);
    WAIT_FOR(!client.s);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ln_loop_step(loop, LN_SECOND / 1000), LN_OK);
    assert_non_null(server_end.s);
    ln_stream_resume(server_end.s);
    WAIT_FOR(!server_end.s);
    assert_string_equal(server_end.got, "last");
    assert_int_equal(server_end.close_status, LN_OK);
}

static void pause_with_a_rest(struct end *e) {
    ln_stream_pause(e->s);
}

static void what_was_kept_is_offered_before_the_peers_end(void **state) {
    (void)state;
    connect_pair();
    server_end.consume_step = 4;
    server_end.on_read = pause_with_a_rest;
    assert_int_equal(ln_stream_write(client.s, "abcdef", 6), LN_OK);
    WAIT_FOR(server_end.got_len == 4);
    server_end.on_read = NULL;
    assert_int_equal(ln_stream_shutdown(client.s), LN_OK);
    assert_int_equal(ln_loop_step(loop, LN_SECOND / 100), LN_OK);
    server_end.consume_step = 0;
    ln_stream_resume(server_end.s);
    assert_string_equal(server_end.trail, "R");
    WAIT_FOR(strchr(server_end.trail, 'E'));
    assert_string_equal(server_end.got, "abcdef");
}

/* ---- the write barrier */

static bool hook_ran, read_before_hook;

static void note_hook(struct ln_hook *hook) {
    (void)hook;
    char byte;
    struct ln_stream_stats stats;
    ln_stream_stats(client.s, &stats);
    read_before_hook = read_before_hook || recv(stats.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    hook_ran = true;
}

static void reply(struct end *e) {
    assert_int_equal(ln_stream_write(e->s, "reply", 5), LN_OK);
    e->on_read = NULL;
}

static void output_leaves_only_after_the_hooks_of_its_iteration(void **state) {
    (void)state;
    struct ln_hook hook = {0};
    connect_pair();
    server_end.on_read = reply;
    hook_ran = read_before_hook = false;
    assert_int_equal(ln_stream_write(client.s, "x", 1), LN_OK);
    assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    ln_stream_pause(client.s);
    ln_hook_add(loop, &hook, note_hook);
    WAIT_FOR(server_end.got_len ==
             1); /* in this iteration the reply was queued, then the hook ran */
    assert_true(hook_ran);
    assert_false(read_before_hook);
    ln_hook_remove(loop, &hook);
    ln_stream_resume(client.s);
    WAIT_FOR(client.got_len == 5);
}

/* ---- timeouts */

static void set_timeouts(struct ln_stream *s, int64_t idle, int64_t read, int64_t write) {
    struct ln_stream_timeouts t = {.idle = idle, .read = read, .write = write};
    assert_int_equal(ln_stream_set_timeouts(s, &t), LN_OK);
}

static void a_silent_connection_ends_after_its_idle_timeout(void **state) {
    (void)state;
    connect_pair();
    set_timeouts(server_end.s, LN_SECOND / 50, 0, 0);
    WAIT_FOR(!server_end.s);
    assert_int_equal(server_end.close_status, LN_EIDLE_TIMEOUT);
}

static int64_t talk_until;

static void talk_on(struct ln_timer *timer) {
    if (ln_loop_now(loop) < talk_until && client.s && ln_stream_state(client.s) == LN_STREAM_OPEN)
        assert_int_equal(ln_stream_write(client.s, "x", 1), LN_OK);
    else
        ln_timer_stop(timer);
}

static void bytes_put_the_timeouts_off(void **state) {
    (void)state;
    struct ln_timer timer = {0};
    connect_pair();
    const int64_t silence = LN_SECOND * 3 / 5; /* more than a busy machine keeps us waiting */
    set_timeouts(server_end.s, silence, silence, 0);
    set_timeouts(client.s, silence, 0, 0);
    talk_until = ln_loop_now(loop) + silence * 3 / 2;
    assert_int_equal(ln_timer_start(loop, &timer, 0, LN_SECOND / 100, talk_on), LN_OK);
    WAIT_FOR(!ln_timer_active(&timer));
    assert_non_null(client.s);
    assert_non_null(server_end.s);
    WAIT_FOR(!server_end.s);
    assert_true(ln_loop_now(loop) - talk_until >= silence / 2);
}

static void writing_does_not_put_the_read_timeout_off(void **state) {
    (void)state;
    struct ln_timer timer = {0};
    connect_pair();
    set_timeouts(client.s, 0, LN_SECOND / 20, 0);
    talk_until = INT64_MAX;
    assert_int_equal(ln_timer_start(loop, &timer, 0, LN_SECOND / 100, talk_on), LN_OK);
    WAIT_FOR(!client.s);
    assert_int_equal(client.close_status, LN_EREAD_TIMEOUT);
    ln_timer_stop(&timer);
}

static void while_paused_the_read_timeout_waits(void **state) {
    (void)state;
    connect_pair();
    set_timeouts(client.s, 0, LN_SECOND / 50, 0);
    ln_stream_pause(client.s);
    int64_t until = ln_loop_now(loop) + LN_SECOND / 10;
    WAIT_FOR(ln_loop_now(loop) > until);
    assert_non_null(client.s);
    ln_stream_resume(client.s);
    WAIT_FOR(!client.s);
    assert_int_equal(client.close_status, LN_EREAD_TIMEOUT);
}

static void a_peer_that_takes_nothing_ends_after_the_write_timeout(void **state) {
    (void)state;
    connect_pair();
    set_timeouts(client.s, 0, 0, LN_SECOND / 20);
    ln_stream_pause(server_end.s);
    while (client.s && ln_stream_write(client.s, block, sizeof block) == LN_OK)
        assert_int_equal(ln_loop_step(loop, 0), LN_OK);
    WAIT_FOR(!client.s);
    assert_int_equal(client.close_status, LN_EWRITE_TIMEOUT);
}

static void keepalive_reaches_the_socket(void **state) {
    (void)state;
    connect_pair();
    struct ln_stream_keepalive keepalive = {
        .idle = 7, .interval = 3, .count = 2, .user_timeout_ms = 9000};
    struct ln_stream_stats stats;
    assert_int_equal(ln_stream_set_keepalive(client.s, &keepalive), LN_OK);
    ln_stream_stats(client.s, &stats);
    const struct {
        int level, option, value;
    } expected[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                    {IPPROTO_TCP, TCP_KEEPIDLE, 7},
                    {IPPROTO_TCP, TCP_KEEPINTVL, 3},
                    {IPPROTO_TCP, TCP_KEEPCNT, 2},
                    {IPPROTO_TCP, TCP_USER_TIMEOUT, 9000}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        int value = 0;
        socklen_t len = sizeof value;
        assert_int_equal(getsockopt(stats.fd, expected[i].level, expected[i].option, &value, &len),
                         0);
        assert_int_equal(value, expected[i].value);
    }
}

static void a_keepalive_that_the_system_refuses_is_told(void **state) {
    (void)state;
    connect_pair();
    const struct ln_stream_keepalive refused[] = {{.idle = 1 << 20},
                                                  {.idle = 1, .interval = 1 << 20},
                                                  {.idle = 1, .interval = 1, .count = 1 << 20}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_int_equal(ln_stream_set_keepalive(client.s, &refused[i]), -EINVAL);
    const struct ln_stream_keepalive off = {.idle = 0};
    assert_int_equal(ln_stream_set_keepalive(client.s, &off), LN_OK);
}

static void without_a_connection_there_are_no_addresses(void **state) {
    (void)state;
    struct ln_tcp_server_options options = server_options();
    struct ln_addr addr = listen_locally(&options);
    connect_to(addr, &client);
    assert_int_equal(ln_stream_peer(client.s, &addr), -ENOTCONN);
    assert_int_equal(ln_stream_sock(client.s, &addr), -ENOTCONN);
}

/* ---- a callback may close anything */

static void close_both(struct end *e) {
    (void)e;
    ln_stream_abort(client.s, LN_OK);
    ln_stream_abort(server_end.s, LN_OK);
}

static void a_callback_may_close_its_own_stream_and_another_of_the_batch(void **state) {
    (void)state;
    connect_pair();
    client.on_read = server_end.on_read = close_both;
    assert_int_equal(ln_stream_write(client.s, "x", 1), LN_OK);
    assert_int_equal(ln_stream_write(server_end.s, "x", 1), LN_OK);
    WAIT_FOR(!client.s && !server_end.s);
    /* whichever was first, the other one heard no more than its close */
    assert_true(strcmp(client.trail, "CX") == 0 || strcmp(server_end.trail, "X") == 0);
}

static void an_idle_stream_holds_no_buffers(void **state) {
    (void)state;
    connect_pair();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ln_stream_write(client.s, block, 10000), LN_OK);
        WAIT_FOR(server_end.got_len == (size_t)(i + 1) * 10000);
    }
    assert_null(ln_stream_out(client.s)->base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(bytes_arrive_both_ways),
        TEST(bytes_that_are_not_consumed_are_offered_again),
        TEST(input_that_nobody_consumes_is_bounded),
        TEST(a_full_queue_answers_full_and_later_tells_that_it_is_writable),
        TEST(a_write_past_the_cap_is_refused_whole_and_closes),
        TEST(an_encoder_that_writes_in_place_meets_the_same_limits),
        TEST(after_a_shutdown_data_still_flows_the_other_way),
        TEST(both_sides_shut_down_is_an_orderly_close),
        TEST(without_on_end_a_stream_closes_once_its_queue_is_sent),
        TEST(close_sends_what_is_queued_first),
        TEST(the_last_words_survive_a_close_with_unread_input),
        TEST(a_large_last_word_survives_a_peer_that_talks_on),
        TEST(abort_drops_the_queue),
        TEST(a_reset_by_the_peer_is_told_with_its_code),
        TEST(a_reset_while_paused_is_told_and_does_not_spin),
        TEST(while_paused_nothing_is_read_and_resume_goes_on),
        TEST(a_pause_within_on_read_holds_from_the_next_read_on),
        TEST(what_was_read_when_another_handler_paused_is_offered_after_the_resume),
        TEST(what_was_read_when_another_handler_closed_is_dropped),
        TEST(a_peer_that_leaves_while_we_are_paused_is_noticed_after_resume),
        TEST(what_was_kept_is_offered_before_the_peers_end),
        TEST(output_leaves_only_after_the_hooks_of_its_iteration),
        TEST(a_silent_connection_ends_after_its_idle_timeout),
        TEST(bytes_put_the_timeouts_off),
        TEST(writing_does_not_put_the_read_timeout_off),
        TEST(while_paused_the_read_timeout_waits),
        TEST(a_peer_that_takes_nothing_ends_after_the_write_timeout),
        TEST(keepalive_reaches_the_socket),
        TEST(a_keepalive_that_the_system_refuses_is_told),
        TEST(without_a_connection_there_are_no_addresses),
        TEST(a_callback_may_close_its_own_stream_and_another_of_the_batch),
        TEST(an_idle_stream_holds_no_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
