#include "addr.h"
#include "test.h"

#include <errno.h>
#include <netinet/in.h>

static void expect_round_trip(const char *host, const char *formatted) {
    struct ln_addr addrs[LN_ADDR_MAX];
    char text[LN_ADDR_TEXT];
    uint16_t port = 0;
    assert_int_equal(ln_addr_parse(host, 6380, addrs), 1);
    assert_int_equal(ln_addr_format(&addrs[0], text, sizeof text, &port), LN_OK);
    assert_string_equal(text, formatted);
    assert_int_equal(port, 6380);
}

static void numeric_addresses_read_and_write_the_same(void **state) {
    (void)state;
    expect_round_trip("127.0.0.1", "127.0.0.1");
    expect_round_trip("0.0.0.0", "0.0.0.0");
    expect_round_trip("::1", "::1");
    expect_round_trip("2001:DB8:0:0:0:0:0:1", "2001:db8::1");
}

static void localhost_is_ipv4_and_then_ipv6(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    assert_int_equal(ln_addr_parse("localhost", 1, addrs), 2);
    assert_int_equal(addrs[0].ss.ss_family, AF_INET);
    assert_int_equal(addrs[1].ss.ss_family, AF_INET6);
}

static void names_under_localhost_are_the_same(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    const char *names[] = {"LocalHost", "localhost.", "db.localhost", "a.b.localhost."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(ln_addr_parse(names[i], 1, addrs), 2);
    assert_int_equal(ln_addr_parse("notlocalhost", 1, addrs), 0);
}

static void other_names_need_a_resolver(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    const char *names[] = {"example",   "a.b",     "a.b.",          "x1",
                           "1.2.3.com", "my_host", "d\xc3\xb6rf.de"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(ln_addr_parse(names[i], 1, addrs), 0);
}

static void what_no_resolver_would_know_is_not_found(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    const char *names[] = {
        "",        ".",          "1.2.3",      "1.2.3.4.5", "256.0.0.1", ":::1",
        "127.1",   "0x7f.1",     "2130706433", "1.2.0x3",   "a..b",      ".a",
        "a b",     "127.0.0.1 ", "a/b",        "a:80",      "[::1]",     "::1%no.such.interface",
        "invalid", "x.invalid",  "X.Invalid."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(ln_addr_parse(names[i], 1, addrs), LN_ENOTFOUND);
    char name[300];
    memset(name, 'a', sizeof name);
    name[299] = '\0';
    assert_int_equal(ln_addr_parse(name, 1, addrs), LN_ENOTFOUND); /* a label is too long */
    for (size_t i = 50; i < 299; i += 50)
        name[i] = '.';
    assert_int_equal(ln_addr_parse(name, 1, addrs), LN_ENOTFOUND); /* the name is */
    name[200] = '\0';
    assert_int_equal(ln_addr_parse(name, 1, addrs), 0);
}

static void a_link_local_address_keeps_its_interface(void **state) {
    (void)state;
    expect_round_trip("fe80::1%lo", "fe80::1%lo");
    expect_round_trip("fe80::1%1", "fe80::1%lo");
    expect_round_trip("fe80::1%4000000000", "fe80::1%4000000000"); /* one that is gone */
}

static void expect_unix(const char *host) {
    struct ln_addr addrs[LN_ADDR_MAX];
    char text[LN_ADDR_TEXT];
    uint16_t port = 7;
    assert_true(ln_addr_is_unix(host));
    assert_int_equal(ln_addr_parse(host, 6380, addrs), 1);
    assert_int_equal(addrs[0].ss.ss_family, AF_UNIX);
    assert_int_equal(ln_addr_format(&addrs[0], text, sizeof text, &port), LN_OK);
    assert_string_equal(text, host);
    assert_int_equal(port, 0);
}

static void unix_sockets_read_and_write_the_same(void **state) {
    (void)state;
    char longest[5 + 107 + 1];
    memset(longest, 'x', sizeof longest - 1);
    memcpy(longest, "unix:/", 6);
    longest[sizeof longest - 1] = '\0';
    expect_unix("unix:/run/node.sock");
    expect_unix("unix:relative");
    expect_unix("unix:@abstract");
    expect_unix(longest);
    assert_false(ln_addr_is_unix("unix"));
}

static void a_path_that_fits_no_unix_socket_is_refused(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    char path[5 + 108 + 1];
    memset(path, 'x', sizeof path - 1);
    memcpy(path, "unix:/", 6);
    path[sizeof path - 1] = '\0';
    assert_int_equal(ln_addr_parse(path, 0, addrs), LN_EUNIX_LONG);
    path[5] = '@'; /* an abstract name needs no zero at its end */
    assert_int_equal(ln_addr_parse(path, 0, addrs), 1);
    assert_int_equal(ln_addr_parse("unix:", 0, addrs), LN_EUNIX_EMPTY);
    assert_int_equal(ln_addr_parse("unix:@", 0, addrs), LN_EUNIX_EMPTY);
}

static void a_unix_socket_bound_to_nothing_has_no_path(void **state) {
    (void)state;
    struct ln_addr addr = {.ss.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
    char text[LN_ADDR_TEXT];
    uint16_t port;
    assert_int_equal(ln_addr_format(&addr, text, sizeof text, &port), LN_OK);
    assert_string_equal(text, "unix:");
    assert_int_equal(ln_addr_format(&addr, text, 3, &port), -ENOSPC);
}

static void a_port_is_set_in_both_families(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    char text[LN_ADDR_TEXT];
    for (int i = 0; i < 2; i++) {
        uint16_t port = 0;
        assert_int_equal(ln_addr_parse("localhost", 0, addrs), 2);
        ln_addr_set_port(&addrs[i], 6380);
        assert_int_equal(ln_addr_format(&addrs[i], text, sizeof text, &port), LN_OK);
        assert_int_equal(port, 6380);
    }
}

static void a_foreign_family_is_not_formatted(void **state) {
    (void)state;
    struct ln_addr addr = {.ss.ss_family = AF_PACKET};
    char text[LN_ADDR_TEXT];
    uint16_t port;
    assert_int_equal(ln_addr_format(&addr, text, sizeof text, &port), -EAFNOSUPPORT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_addresses_read_and_write_the_same),
        cmocka_unit_test(localhost_is_ipv4_and_then_ipv6),
        cmocka_unit_test(names_under_localhost_are_the_same),
        cmocka_unit_test(other_names_need_a_resolver),
        cmocka_unit_test(what_no_resolver_would_know_is_not_found),
        cmocka_unit_test(a_link_local_address_keeps_its_interface),
        cmocka_unit_test(unix_sockets_read_and_write_the_same),
        cmocka_unit_test(a_path_that_fits_no_unix_socket_is_refused),
        cmocka_unit_test(a_unix_socket_bound_to_nothing_has_no_path),
        cmocka_unit_test(a_port_is_set_in_both_families),
        cmocka_unit_test(a_foreign_family_is_not_formatted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
