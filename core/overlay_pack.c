/* Packs: what somebody makes of rows that lie beside each other, such as their part of a reply. A
 * page has at most one; it goes when a row of the page comes, goes or changes, or when all packs
 * take too much memory: then in the order of a clock, which spares those used since it came by.
 *
 * A range that is deleted touches no page. Packs are numbered as writes are: one that is older than
 * the last such range is looked at anew. */
#include "overlay_impl.h"

#include <assert.h>
#include <stdlib.h>

enum {
    MOST_BYTES = 16 << 10, /* of a pack; larger rows are copied as quickly from where they are */
    TIMES = 2,             /* that they are asked for */
};

unsigned ln_overlay_pack_rows = 8; /* fewer are walked as quickly */

struct ln_overlay_pack {
    struct ln_overlay_pack *prev, *next; /* a ring */
    struct ln_overlay_page *page;
    uint64_t tag;
    uint64_t seq; /* no range that was deleted up to here covers its rows */
    size_t size;
    uint8_t at, end; /* its rows in the page */
    bool reverse;    /* the last one's bytes come first, as in the run */
    bool used;
    uint16_t ends[LN_OVERLAY_WIDTH + 1]; /* of the rows; the first one is 0 */
    char bytes[];
};

/* ---- memory */

static void drop(struct ln_overlay_packs *packs, struct ln_overlay_pack *pack) {
    pack->page->packed = false;
    pack->page->pack = NULL;
    packs->bytes -= pack->size;
    if (packs->hand == pack)
        packs->hand = pack->next == pack ? NULL : pack->next;
    pack->prev->next = pack->next;
    pack->next->prev = pack->prev;
    free(pack);
}

void ln_overlay_unpack(struct ln_overlay *o, struct ln_overlay_page *page) {
    drop(o->packs, page->pack);
}

static void make_room(struct ln_overlay_packs *packs, size_t size) {
    while (packs->hand && packs->bytes + size > packs->limit) {
        struct ln_overlay_pack *pack = packs->hand;
        packs->hand = pack->next;
        if (pack->used)
            pack->used = false;
        else
            drop(packs, pack);
    }
}

/* Behind the hand: it comes there last. */
static void add(struct ln_overlay_packs *packs, struct ln_overlay_pack *pack) {
    struct ln_overlay_pack *hand = packs->hand;
    pack->next = hand ? hand : pack;
    pack->prev = hand ? hand->prev : pack;
    pack->prev->next = pack;
    pack->next->prev = pack;
    packs->hand = pack->next;
    packs->bytes += pack->size;
}

/* ---- rows */

static const struct ln_overlay_node *node(const struct ln_overlay_pack *pack, unsigned i) {
    return pack->page->to[i];
}

/* Whether a range that was deleted since covers a row. */
static bool is_covered(const struct ln_overlay *o, const struct ln_overlay_pack *pack) {
    const struct ln_overlay_node *first = node(pack, pack->at), *last = node(pack, pack->end - 1u);
    const struct ln_range *r = ln_overlay_range_from(o, first->key, first->klen);
    const struct ln_range *end = o->ranges + o->range_count;
    for (; r && r < end && ln_key_compare(r->from, r->from_len, last->key, last->klen) <= 0; r++)
        if (r->seq > pack->seq)
            return true;
    return false;
}

const char *ln_overlay_packed(struct ln_overlay *o, const struct ln_overlay_run *run, uint64_t tag,
                              size_t *len) {
    if (!run->page->packed)
        return NULL;
    struct ln_overlay_pack *pack = run->page->pack;
    if (pack->tag != tag || pack->reverse != run->reverse || run->at < pack->at ||
        run->end > pack->end)
        return NULL;
    if (pack->seq < o->range_seq && is_covered(o, pack)) {
        drop(o->packs, pack);
        return NULL;
    }
    pack->seq = o->seq;
    pack->used = true;
    unsigned first = run->reverse ? pack->end - run->end : run->at - pack->at;
    size_t from = pack->ends[first];
    *len = pack->ends[first + ln_overlay_run_count(run)] - from;
    return pack->bytes + from;
}

bool ln_overlay_pack_wanted(struct ln_overlay *o, const struct ln_overlay_run *run) {
    struct ln_overlay_page *page = run->page;
    if (!o->packs || ln_overlay_run_count(run) < ln_overlay_pack_rows)
        return false;
    page->asked++;
    return page->asked >= TIMES;
}

void ln_overlay_pack(struct ln_overlay *o, const struct ln_overlay_run *run, uint64_t tag,
                     const char *bytes, const size_t *ends) {
    struct ln_overlay_page *page = run->page;
    unsigned count = ln_overlay_run_count(run);
    size_t len = ends[count - 1];
    size_t size = sizeof(struct ln_overlay_pack) + len;
    assert(count > 0);
    ln_overlay_page_touch(o, page);
    if (len > MOST_BYTES || size > o->packs->limit)
        return;
    make_room(o->packs, size);
    struct ln_overlay_pack *pack = malloc(size);
    if (!pack)
        return;
    *pack = (struct ln_overlay_pack){.page = page,
                                     .tag = tag,
                                     .seq = o->seq,
                                     .size = size,
                                     .at = (uint8_t)run->at,
                                     .end = (uint8_t)run->end,
                                     .reverse = run->reverse};
    for (unsigned i = 0; i < count; i++) {
        struct ln_overlay_node *n = page->to[run->at + i];
        pack->ends[i + 1] = (uint16_t)ends[i];
        n->packed = true;
    }
    memcpy(pack->bytes, bytes, len);
    page->pack = pack;
    page->packed = true;
    add(o->packs, pack);
}
