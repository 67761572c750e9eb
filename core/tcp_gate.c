#include "tcp_gate.h"

#include <stddef.h>

void ln_gate_init(struct ln_gate *gate) {
    *gate = (struct ln_gate){0};
    gate->streams.prev = gate->streams.next = &gate->streams;
}

void ln_gate_hold(struct ln_gate *gate, uint64_t mark) {
    if (mark > gate->mark)
        gate->mark = mark;
}

void ln_gate_release(struct ln_gate *gate, uint64_t mark, void (*fn)(struct ln_held *held)) {
    if (mark <= gate->released)
        return;
    gate->released = mark;
    struct ln_held *head = &gate->streams;
    for (struct ln_held *held = head->next; held != head; held = held->next)
        if (held->part[0].mark <= mark)
            fn(held);
}

static void join(struct ln_gate *gate, struct ln_held *held) {
    if (held->next)
        return;
    held->prev = gate->streams.prev;
    held->next = &gate->streams;
    held->prev->next = held;
    gate->streams.prev = held;
}

void ln_gate_leave(struct ln_held *held) {
    if (!held->next)
        return;
    held->prev->next = held->next;
    held->next->prev = held->prev;
    held->prev = held->next = NULL;
}

/* The bytes from `from` on wait for mark. */
static void add_part(struct ln_held *held, uint64_t from, uint64_t mark) {
    if (held->parts < 2) {
        held->part[held->parts].from = from;
        held->parts++;
    }
    held->part[held->parts - 1].mark = mark;
}

uint64_t ln_gate_pass(struct ln_gate *gate, struct ln_held *held, uint64_t end) {
    while (held->parts > 0 && held->part[0].mark <= gate->released) {
        held->part[0] = held->part[1];
        held->parts--;
    }
    bool more = end > held->known && gate->mark > gate->released;
    if (more && (held->parts == 0 || held->part[held->parts - 1].mark < gate->mark))
        add_part(held, held->known, gate->mark);
    held->known = end;
    if (held->parts == 0) {
        ln_gate_leave(held);
        return end;
    }
    join(gate, held);
    return held->part[0].from;
}
