/* A scripted getaddrinfo, for the tests linked with --wrap=getaddrinfo,--wrap=freeaddrinfo:
 *
 *   "found.test"        the addresses in `found_addresses`
 *   "missing.test" …    fails as its row in `failures` says
 *   "slow.test", any name that begins with "slow": waits until the gate is opened, then as found */
#ifndef LUNODE_RESOLVER_TEST_H
#define LUNODE_RESOLVER_TEST_H

#include "addr.h"
#include "test.h"

#include <errno.h>
#include <netdb.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out);
void __wrap_freeaddrinfo(struct addrinfo *list);

static atomic_int calls, waiting, alive_lists;
static sem_t gate;

/* Separated by blanks, in the order in which the system gives them. "?": a family nobody knows. */
static const char *_Atomic found_addresses = "127.0.0.1";

static const struct {
    const char *name;
    int eai, error;
} failures[] = {{"missing.test", EAI_NONAME, 0}, {"nodata.test", EAI_NODATA, 0},
                {"busy.test", EAI_AGAIN, 0},     {"refused.test", EAI_FAIL, 0},
                {"memory.test", EAI_MEMORY, 0},  {"files.test", EAI_SYSTEM, EMFILE},
                {"system.test", EAI_SYSTEM, 0}};

static inline struct addrinfo *make_list(void) {
    struct addrinfo *first = NULL, **last = &first;
    char text[1024], *rest = text, *word;
    strncpy(text, found_addresses, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    while ((word = strtok_r(rest, " ", &rest))) {
        struct ln_addr addrs[LN_ADDR_MAX] = {{.len = 0}};
        struct addrinfo *ai = calloc(1, sizeof *ai);
        (void)ln_addr_parse(word, 0, addrs);
        ai->ai_addrlen = addrs[0].len;
        ai->ai_family = addrs[0].ss.ss_family;
        ai->ai_addr = malloc(sizeof addrs[0].ss);
        memcpy(ai->ai_addr, &addrs[0].ss, sizeof addrs[0].ss);
        *last = ai;
        last = &ai->ai_next;
    }
    return first;
}

int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out) {
    (void)service;
    (void)hints;
    atomic_fetch_add(&calls, 1);
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        errno = failures[i].error;
        if (strcmp(name, failures[i].name) == 0)
            return failures[i].eai;
    }
    if (strncmp(name, "slow", 4) == 0) {
        atomic_fetch_add(&waiting, 1);
        while (sem_wait(&gate) != 0)
            ;
        atomic_fetch_sub(&waiting, 1);
    }
    *out = make_list();
    atomic_fetch_add(&alive_lists, 1);
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list) {
    atomic_fetch_sub(&alive_lists, 1);
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list->ai_addr);
        free(list);
        list = next;
    }
}

static inline void script_names(void) {
    atomic_store(&calls, 0);
    atomic_store(&waiting, 0);
    sem_init(&gate, 0, 0);
    found_addresses = "127.0.0.1";
}

static inline void wait_until_waiting(int count) {
    for (int i = 0; i < 5000 && atomic_load(&waiting) < count; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&waiting), count);
}

/* Lets `count` calls return, which others may have left, and waits for their end. */
static inline void open_gate(int count) {
    for (int i = 0; i < count; i++)
        sem_post(&gate);
    for (int i = 0; i < 5000 && (atomic_load(&waiting) > 0 || atomic_load(&alive_lists) > 0); i++)
        usleep(1000);
    assert_int_equal(atomic_load(&waiting), 0);
    assert_int_equal(atomic_load(&alive_lists), 0);
}

#endif
