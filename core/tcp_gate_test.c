#include "tcp_gate.h"

#include "test.h"

#include <stdlib.h>

enum { STREAMS = 3, BYTES = 4000 };

/* A stream, and for each of its bytes the mark that it really has to wait for. */
struct model {
    struct ln_held held;
    uint64_t end, sent;
    uint64_t due[BYTES];
    bool told;
};

static void tell(struct ln_held *held) {
    ((struct model *)held)->told = true; /* the first field */
}

static void queue(struct model *m, uint64_t n, uint64_t mark) {
    for (uint64_t i = 0; i < n && m->end < BYTES; i++)
        m->due[m->end++] = mark;
}

static void send(struct ln_gate *gate, struct model *m) {
    uint64_t until = ln_gate_pass(gate, &m->held, m->end);
    assert_true(until >= m->sent && until <= m->end);
    for (; m->sent < until; m->sent++)
        assert_true(m->due[m->sent] <= gate->released);
    assert_int_equal(ln_gate_holds(&m->held), until < m->end);
    m->told = false;
}

static void no_byte_leaves_before_its_mark_and_all_leave_after_the_last(void **state) {
    (void)state;
    srand(7);
    for (int round = 0; round < 300; round++) {
        static struct model m[STREAMS];
        struct ln_gate gate;
        memset(m, 0, sizeof m);
        ln_gate_init(&gate);
        uint64_t mark = 0, held = 0;
        for (int step = 0; step < 200; step++) {
            struct model *one = &m[rand() % STREAMS];
            switch (rand() % 4) {
            case 0: /* a turn with a mark */
                held = ++mark;
                queue(one, (uint64_t)(rand() % 5), held);
                ln_gate_hold(&gate, held);
                send(&gate, one);
                break;
            case 1: /* one without */
                queue(one, (uint64_t)(rand() % 5), held);
                send(&gate, one);
                break;
            case 2:
                ln_gate_release(&gate, mark > 3 ? mark - (uint64_t)(rand() % 4) : mark, tell);
                break;
            default: /* one that may send is told */
                for (int i = 0; i < STREAMS; i++)
                    if (m[i].told)
                        send(&gate, &m[i]);
            }
        }
        ln_gate_release(&gate, mark, tell);
        for (int i = 0; i < STREAMS; i++) {
            assert_true(m[i].told || m[i].sent == m[i].held.known);
            send(&gate, &m[i]);
            assert_int_equal(m[i].sent, m[i].end);
            assert_null(m[i].held.next);
        }
    }
}

static void a_stream_that_goes_is_not_told(void **state) {
    (void)state;
    struct ln_gate gate;
    static struct model gone, stays;
    ln_gate_init(&gate);
    ln_gate_hold(&gate, 1);
    queue(&gone, 1, 1);
    queue(&stays, 1, 1);
    send(&gate, &gone);
    send(&gate, &stays);
    ln_gate_leave(&gone.held);
    ln_gate_leave(&gone.held);
    ln_gate_release(&gate, 1, tell);
    assert_false(gone.told);
    assert_true(stays.told);
    send(&gate, &stays);
    assert_ptr_equal(gate.streams.next, &gate.streams);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_byte_leaves_before_its_mark_and_all_leave_after_the_last),
        cmocka_unit_test(a_stream_that_goes_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
