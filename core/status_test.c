#include "status.h"
#include "test.h"

#include <errno.h>

static void names_errno_and_our_own_codes(void **state) {
    (void)state;
    assert_string_equal(ln_status_name(LN_OK), "OK");
    assert_string_equal(ln_status_name(-ECONNREFUSED), "ECONNREFUSED");
    assert_string_equal(ln_status_text(-ECONNREFUSED), "Connection refused");
    assert_string_equal(ln_status_name(LN_EVERSION), "EVERSION");
    assert_string_equal(ln_status_text(LN_EOF), "end of stream");
}

static void each_code_of_ours_has_a_name_and_words(void **state) {
    (void)state;
#define LN_STATUS_CHECK(id, name, value, text)                                                     \
    assert_string_equal(ln_status_name(LN_##id), name);                                            \
    assert_string_equal(ln_status_text(LN_##id), text);
    LN_STATUS_MAP(LN_STATUS_CHECK)
#undef LN_STATUS_CHECK
}

static void the_timeouts_share_a_name_and_differ_in_words(void **state) {
    (void)state;
    assert_string_equal(ln_status_name(LN_EIDLE_TIMEOUT), "ETIMEDOUT");
    assert_string_equal(ln_status_name(LN_EREAD_TIMEOUT), ln_status_name(-ETIMEDOUT));
    assert_string_not_equal(ln_status_text(LN_EIDLE_TIMEOUT), ln_status_text(LN_EREAD_TIMEOUT));
}

static void an_unknown_number_still_has_a_name(void **state) {
    (void)state;
    assert_string_equal(ln_status_name(-999999), "EUNKNOWN");
    assert_string_equal(ln_status_name(7), "EUNKNOWN");
    assert_string_equal(ln_status_text(7), "unknown status");
}

static void a_detail_is_cut_and_terminated(void **state) {
    (void)state;
    struct ln_detail detail;
    assert_int_equal(ln_detail_set(&detail, -EIO, "%0600d", 7), -EIO);
    assert_int_equal(strlen(detail.text), sizeof detail.text - 1);
    assert_int_equal(ln_detail_set(NULL, -EIO, "no one listens"), -EIO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_errno_and_our_own_codes),
        cmocka_unit_test(each_code_of_ours_has_a_name_and_words),
        cmocka_unit_test(the_timeouts_share_a_name_and_differ_in_words),
        cmocka_unit_test(an_unknown_number_still_has_a_name),
        cmocka_unit_test(a_detail_is_cut_and_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
