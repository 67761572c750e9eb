#include "addr.h"
#include "test.h"

#include <errno.h>
#include <netinet/in.h>

static void expect_round_trip(const char *host, const char *formatted) {
    struct ln_addr addrs[LN_ADDR_MAX];
    char text[INET6_ADDRSTRLEN];
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

static void other_names_are_not_found(void **state) {
    (void)state;
    struct ln_addr addrs[LN_ADDR_MAX];
    const char *names[] = {"", "example", "1.2.3", "1.2.3.4.5", "256.0.0.1", ":::1", "127.0.0.1 "};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(ln_addr_parse(names[i], 1, addrs), LN_ENOTFOUND);
}

static void a_foreign_family_is_not_formatted(void **state) {
    (void)state;
    struct ln_addr addr = {.ss.ss_family = AF_UNIX};
    char text[INET6_ADDRSTRLEN];
    uint16_t port;
    assert_int_equal(ln_addr_format(&addr, text, sizeof text, &port), -EAFNOSUPPORT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_addresses_read_and_write_the_same),
        cmocka_unit_test(localhost_is_ipv4_and_then_ipv6),
        cmocka_unit_test(other_names_are_not_found),
        cmocka_unit_test(a_foreign_family_is_not_formatted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
