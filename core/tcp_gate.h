/* A gate: holds output of a group of streams back until what it answers for is safe, on disk say.
 *
 * Its owner numbers what there is to wait for with marks that grow. ln_gate_hold(m) before the
 * flush phase: all that the streams have queued since the last one, and all that they queue from
 * now on, leaves once ln_gate_release has been called with m or more. What was queued before is as
 * it was, and order is kept: bytes behind held ones wait with them.
 *
 * A stream remembers two marks. With a third one, the bytes of the second wait for the third: that
 * is never too early, and at most one release too late. */
#ifndef LUNODE_TCP_GATE_H
#define LUNODE_TCP_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* What is held of one stream; all fields private. Zero at first. */
struct ln_held {
    struct ln_held *prev, *next; /* in the gate's list, while something is */
    uint64_t known;              /* bytes up to here have been looked at */
    unsigned parts;
    struct {
        uint64_t from; /* bytes from here on wait for mark */
        uint64_t mark;
    } part[2];
};

struct ln_gate {
    uint64_t mark, released;
    struct ln_held streams; /* list head */
};

void ln_gate_init(struct ln_gate *gate);
void ln_gate_hold(struct ln_gate *gate, uint64_t mark);

/* Calls fn for each stream that may send some of what was held: it asks ln_gate_pass then. fn calls
 * nothing of this here. */
void ln_gate_release(struct ln_gate *gate, uint64_t mark, void (*fn)(struct ln_held *held));

/* How far a stream may send, whose queue ends at `end`. Both are positions in all the bytes that it
 * ever queued. */
uint64_t ln_gate_pass(struct ln_gate *gate, struct ln_held *held, uint64_t end);

static inline bool ln_gate_holds(const struct ln_held *held) {
    return held->parts > 0;
}

/* The stream goes away. */
void ln_gate_leave(struct ln_held *held);

#endif
