/* Names to addresses, off the loop: getaddrinfo on a pool of threads, with a deadline.
 *
 * getaddrinfo cannot be interrupted: a lookup that times out or is cancelled leaves it to end by
 * itself, and what it finds is dropped. Lookups of one name at the same time share one call, those
 * that come while an abandoned one still runs, too: so a name server that does not answer costs one
 * thread a name, however often its callers try again. */
#ifndef LUNODE_RESOLVER_H
#define LUNODE_RESOLVER_H

#include "addr.h"
#include "loop.h"

struct ln_resolver;
struct ln_lookup;

/* The addresses, up to LN_ADDR_MAX, with their port: IPv6 and IPv4 by turns, the family that the
 * system puts first begins (RFC 8305, section 4). They are valid in this call only.
 *
 * Or count is 0, and status is LN_ENOTFOUND; LN_ETRY_AGAIN (no name server answers, or it says so);
 * LN_EDNS (it refuses, or answers nonsense); LN_ELOOKUP_TIMEOUT (the deadline); -ENOMEM;
 * -ECANCELED (the resolver was closed); what the system failed with. */
typedef void (*ln_lookup_fn)(struct ln_lookup *lookup, int status, const struct ln_addr *addrs,
                             int count);

struct ln_lookup { /* all fields private */
    ln_lookup_fn fn;
    uint16_t port;
    struct ln_timer deadline;
    struct query *query; /* NULL: not active */
    struct ln_lookup *prev, *next;
};

/* Starts no thread yet. LN_OK or -ENOMEM. */
int ln_resolver_open(struct ln_loop *loop, struct ln_resolver **out);

/* Looks a name up within `timeout` nanoseconds; fn is called once, never within this call. The
 * lookup keeps the loop alive until then. LN_OK; or -ENOMEM, LN_EBUSY_NAMES (a thousand names are
 * waiting), LN_ENOTFOUND (no name is that long), -ECANCELED (closed), …, and then no call follows.
 */
int ln_resolver_lookup(struct ln_resolver *resolver, struct ln_lookup *lookup, const char *name,
                       uint16_t port, int64_t timeout, ln_lookup_fn fn);

/* No call follows. Idempotent. */
void ln_lookup_cancel(struct ln_lookup *lookup);
static inline bool ln_lookup_active(const struct ln_lookup *lookup) {
    return lookup->query != NULL;
}

/* Lookups under way hear -ECANCELED, within this call. Waits for nobody; the memory goes in the
 * loop's closing phase. */
void ln_resolver_close(struct ln_resolver *resolver);

#endif
