#include "resolver.h"

#include "worker.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_NAME = 254 }; /* with the root's dot */

/* One call of getaddrinfo, and who waits for it. The first part is the thread's while it runs. */
struct query {
    struct ln_work work;
    int status;
    int count;
    struct ln_addr addrs[LN_ADDR_MAX];

    struct ln_resolver *resolver;
    struct query *prev, *next;
    struct ln_lookup lookups; /* list head */
    char name[MAX_NAME + 1];
};

struct ln_resolver {
    struct ln_loop *loop;
    struct ln_worker *worker;
    struct query queries; /* list head: those that a further lookup can join. Has the lookups that a
                             close has left without a query */
    bool closed;
    struct ln_job close_job;
};

/* ---- on a thread */

static int eai_status(int eai, int error) {
    switch (eai) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return LN_ENOTFOUND;
    case EAI_AGAIN:
        return LN_ETRY_AGAIN;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return error > 0 ? -error : LN_EDNS;
    default:
        return LN_EDNS;
    }
}

static bool is_usable(const struct addrinfo *ai) {
    return (ai->ai_family == AF_INET || ai->ai_family == AF_INET6) &&
           ai->ai_addrlen <= sizeof(struct sockaddr_storage);
}

/* The next address of the family (or, as `other`, of another one), from ai on. */
static const struct addrinfo *find(const struct addrinfo *ai, int family, bool other) {
    while (ai && !(is_usable(ai) && (ai->ai_family == family) != other))
        ai = ai->ai_next;
    return ai;
}

/* Takes from the families by turns; within one, the system's order (RFC 6724) stays. */
static int interleave(const struct addrinfo *list, struct ln_addr out[LN_ADDR_MAX]) {
    int count = 0;
    while (list && !is_usable(list))
        list = list->ai_next;
    if (!list)
        return 0;
    int family = list->ai_family;
    const struct addrinfo *next[2] = {list, find(list, family, true)};
    for (int turn = 0; (next[0] || next[1]) && count < LN_ADDR_MAX; turn = !turn) {
        const struct addrinfo *ai = next[turn];
        if (!ai)
            continue;
        out[count] = (struct ln_addr){.len = ai->ai_addrlen};
        memcpy(&out[count++].ss, ai->ai_addr, ai->ai_addrlen);
        next[turn] = find(ai->ai_next, family, turn == 1);
    }
    return count;
}

static void on_run(struct ln_work *work) {
    struct query *q = LN_OWNER(struct query, work, work);
    struct addrinfo *list = NULL;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    errno = 0;
    int eai = getaddrinfo(q->name, NULL, &hints, &list);
    int error = errno;
    q->count = eai == 0 ? interleave(list, q->addrs) : 0;
    q->status = eai != 0 ? eai_status(eai, error) : q->count > 0 ? LN_OK : LN_ENOTFOUND;
    if (eai == 0)
        freeaddrinfo(list);
}

static void on_drop(struct ln_work *work) {
    free(LN_OWNER(struct query, work, work));
}

/* ---- queries */

static void query_unlink(struct query *q) {
    q->prev->next = q->next;
    q->next->prev = q->prev;
}

static void lookup_link(struct query *q, struct ln_lookup *lookup) {
    lookup->query = q;
    lookup->prev = q->lookups.prev;
    lookup->next = &q->lookups;
    lookup->prev->next = lookup;
    q->lookups.prev = lookup;
}

static void lookup_unlink(struct ln_lookup *lookup) {
    lookup->prev->next = lookup->next;
    lookup->next->prev = lookup->prev;
    lookup->query = NULL;
    ln_timer_stop(&lookup->deadline);
}

static void tell(struct ln_lookup *lookup, int status, const struct ln_addr *found, int count) {
    struct ln_addr addrs[LN_ADDR_MAX];
    for (int i = 0; i < count; i++) {
        addrs[i] = found[i];
        ln_addr_set_port(&addrs[i], lookup->port);
    }
    lookup_unlink(lookup);
    lookup->fn(lookup, status, addrs, count);
}

/* Any of these calls may cancel others, start new ones, close the resolver. */
static void tell_all(struct query *q, int status) {
    while (q->lookups.next != &q->lookups)
        tell(q->lookups.next, status, q->addrs, status == LN_OK ? q->count : 0);
}

static void on_done(struct ln_work *work) {
    struct query *q = LN_OWNER(struct query, work, work);
    query_unlink(q); /* a lookup from now on asks anew */
    tell_all(q, q->status);
    free(q);
}

static struct query *query_find(struct ln_resolver *resolver, const char *name) {
    for (struct query *q = resolver->queries.next; q != &resolver->queries; q = q->next)
        if (strcasecmp(q->name, name) == 0)
            return q;
    return NULL;
}

static int query_start(struct ln_resolver *resolver, const char *name, struct query **out) {
    size_t size = strlen(name) + 1;
    struct query *q = size <= sizeof q->name ? calloc(1, sizeof *q) : NULL;
    if (!q)
        return size <= sizeof q->name ? -ENOMEM : LN_ENOTFOUND;
    memcpy(q->name, name, size);
    q->work.run = on_run;
    q->work.done = on_done;
    q->work.drop = on_drop;
    q->resolver = resolver;
    q->lookups.prev = q->lookups.next = &q->lookups;
    int rc = ln_worker_submit(resolver->worker, &q->work);
    if (rc != LN_OK) {
        free(q);
        return rc == -ENOBUFS ? LN_EBUSY_NAMES : rc;
    }
    q->prev = resolver->queries.prev;
    q->next = &resolver->queries;
    q->prev->next = q;
    resolver->queries.prev = q;
    *out = q;
    return LN_OK;
}

/* Nobody waits for it: one that no thread has begun goes, the other can be joined while it runs,
 * but keeps nothing alive. */
static void query_abandon(struct query *q) {
    struct ln_worker *worker = q->resolver->worker;
    if (!ln_worker_cancel(worker, &q->work)) {
        ln_worker_hold(worker, &q->work, false);
        return;
    }
    query_unlink(q);
    free(q);
}

/* ---- lookups */

void ln_lookup_cancel(struct ln_lookup *lookup) {
    struct query *q = lookup->query;
    if (!q)
        return;
    lookup_unlink(lookup);
    if (q->lookups.next == &q->lookups)
        query_abandon(q);
}

static void on_deadline(struct ln_timer *timer) {
    struct ln_lookup *lookup = LN_OWNER(struct ln_lookup, deadline, timer);
    ln_lookup_cancel(lookup);
    lookup->fn(lookup, LN_ELOOKUP_TIMEOUT, NULL, 0);
}

int ln_resolver_lookup(struct ln_resolver *resolver, struct ln_lookup *lookup, const char *name,
                       uint16_t port, int64_t timeout, ln_lookup_fn fn) {
    if (resolver->closed)
        return -ECANCELED;
    *lookup = (struct ln_lookup){.fn = fn, .port = port};
    int rc = ln_timer_start(resolver->loop, &lookup->deadline, timeout, 0, on_deadline);
    if (rc != LN_OK)
        return rc;
    struct query *q = query_find(resolver, name);
    rc = q ? LN_OK : query_start(resolver, name, &q);
    if (rc != LN_OK) {
        ln_timer_stop(&lookup->deadline);
        return rc;
    }
    ln_worker_hold(resolver->worker, &q->work, true);
    lookup_link(q, lookup);
    return LN_OK;
}

/* ---- open and close */

int ln_resolver_open(struct ln_loop *loop, struct ln_resolver **out) {
    struct ln_resolver *resolver = calloc(1, sizeof *resolver);
    if (!resolver)
        return -ENOMEM;
    int rc = ln_worker_open(loop, NULL, &resolver->worker);
    if (rc != LN_OK) {
        free(resolver);
        return rc;
    }
    resolver->loop = loop;
    struct query *head = &resolver->queries;
    head->prev = head->next = head;
    head->resolver = resolver;
    head->lookups.prev = head->lookups.next = &head->lookups;
    *out = resolver;
    return LN_OK;
}

static void on_closing(struct ln_job *job) {
    free(LN_OWNER(struct ln_resolver, close_job, job));
}

void ln_resolver_close(struct ln_resolver *resolver) {
    if (resolver->closed)
        return;
    resolver->closed = true;
    struct query *q = NULL, *orphans = &resolver->queries;
    while ((q = resolver->queries.next) != &resolver->queries) {
        query_unlink(q);
        while (q->lookups.next != &q->lookups) {
            struct ln_lookup *lookup = q->lookups.next;
            lookup->prev->next = lookup->next;
            lookup->next->prev = lookup->prev;
            lookup_link(orphans, lookup);
        }
    }
    ln_worker_close(resolver->worker); /* the queries are its own from here on */
    tell_all(orphans, -ECANCELED);
    ln_loop_closing(resolver->loop, &resolver->close_job, on_closing);
}
