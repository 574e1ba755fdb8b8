#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conf/value.h"
#include "tests/support/suite.h"

static char why[VALUE_WHY_LEN];

static void unwraps_to(const char *text, bool secret, const char *wanted, bool wanted_quoted)
{
    char *copy = strdup(text);
    bool quoted = !wanted_quoted;

    ck_assert_int_eq(value_unwrap(copy, secret, &quoted, why), 0);
    ck_assert_str_eq(copy, wanted);
    ck_assert_int_eq(quoted, wanted_quoted);
    free(copy);
}

static void does_not_unwrap(const char *text, bool secret)
{
    char *copy = strdup(text);
    bool quoted;

    ck_assert_int_eq(value_unwrap(copy, secret, &quoted, why), VALUE_E_BAD);
    free(copy);
}

START_TEST(blanks_and_comments_go)
{
    unwraps_to(" \t udp://1.2.3.4:5 \t", false, "udp://1.2.3.4:5", false);
    unwraps_to(" 1 # one", false, "1", false);
    unwraps_to(" 1 ;one", false, "1", false);
    unwraps_to(" 1\t#one", false, "1", false);
    unwraps_to("# nothing", false, "", false);
    unwraps_to("", false, "", false);
}
END_TEST

START_TEST(marks_inside_a_word_are_no_comment)
{
    unwraps_to(" a#b;c=d:e ", true, "a#b;c=d:e", false);
    unwraps_to("a#", true, "a#", false);
}
END_TEST

START_TEST(quotes_keep_everything)
{
    unwraps_to("\" a # b ; c \"", true, " a # b ; c ", true);
    unwraps_to("\"a\" # b", true, "a", true);
    unwraps_to("\"a\\\"b\\\\c\"", true, "a\"b\\c", true);
    unwraps_to("\"\"", true, "", true);
}
END_TEST

START_TEST(broken_quotes_are_refused)
{
    does_not_unwrap("\"a", false);
    does_not_unwrap("\"a\\", false);
    does_not_unwrap("\"a\\n\"", false);
    does_not_unwrap("\"a\"b", false);
    does_not_unwrap("\"a\" b", false);
    does_not_unwrap("\"", false);
}
END_TEST

START_TEST(a_password_is_never_cut_in_doubt)
{
    unwraps_to(" hunter2   # or another", true, "hunter2", false);
    unwraps_to(" correct horse battery", true, "correct horse battery", false);
    does_not_unwrap(" hunter2 #2", true);
    does_not_unwrap(" #hunter2", true);
    does_not_unwrap(" correct horse # battery", true);
    does_not_unwrap(" a ;b", true);
}
END_TEST

START_TEST(items_come_trimmed_and_empty_ones_are_kept)
{
    char text[] = " a ,b,, c ,", *rest = text;

    ck_assert_str_eq(value_next_item(&rest), "a");
    ck_assert_str_eq(value_next_item(&rest), "b");
    ck_assert_str_eq(value_next_item(&rest), "");
    ck_assert_str_eq(value_next_item(&rest), "c");
    ck_assert_str_eq(value_next_item(&rest), "");
    ck_assert_ptr_null(value_next_item(&rest));
}
END_TEST

START_TEST(numbers_keep_to_their_range)
{
    static const char *const bad[] = {"",
                                      "abc",
                                      "0",
                                      "65536",
                                      "-1",
                                      "+5",
                                      " 5",
                                      "5 ",
                                      "1.5",
                                      "0x5",
                                      "5k",
                                      "1e3",
                                      "--1",
                                      "-",
                                      "99999999999999999999",
                                      "18446744073709551617"};
    uint64_t n = 7;

    ck_assert_int_eq(value_number("1", 1, 65535, &n, why), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(value_number("65535", 1, 65535, &n, why), 0);
    ck_assert_uint_eq(n, 65535);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(value_number(bad[i], 1, 65535, &n, why), VALUE_E_BAD);
    ck_assert_uint_eq(n, 65535);
    ck_assert_int_eq(value_number("-0", 0, UINT64_MAX, &n, why), VALUE_E_BAD);
}
END_TEST

START_TEST(sizes_take_powers_of_a_thousand)
{
    uint64_t n;

    ck_assert_int_eq(value_size("500", 0, UINT64_MAX, &n, why), 0);
    ck_assert_uint_eq(n, 500);
    ck_assert_int_eq(value_size("2k", 0, UINT64_MAX, &n, why), 0);
    ck_assert_uint_eq(n, 2000);
    ck_assert_int_eq(value_size("3M", 0, UINT64_MAX, &n, why), 0);
    ck_assert_uint_eq(n, 3000000);
    ck_assert_int_eq(value_size("4G", 0, UINT64_MAX, &n, why), 0);
    ck_assert_uint_eq(n, 4000000000);
    ck_assert_int_eq(value_size("2Mbit", 0, UINT64_MAX, &n, why), VALUE_E_BAD);
    ck_assert_int_eq(value_size("k", 0, UINT64_MAX, &n, why), VALUE_E_BAD);
    ck_assert_int_eq(value_size("18446744073709551615G", 0, 1000000, &n, why), VALUE_E_BAD);
}
END_TEST

START_TEST(durations_take_a_unit)
{
    uint64_t n;

    ck_assert_int_eq(value_duration("90", 1, 86400, &n, why), 0);
    ck_assert_uint_eq(n, 90);
    ck_assert_int_eq(value_duration("90s", 1, 86400, &n, why), 0);
    ck_assert_uint_eq(n, 90);
    ck_assert_int_eq(value_duration("10m", 1, 86400, &n, why), 0);
    ck_assert_uint_eq(n, 600);
    ck_assert_int_eq(value_duration("1h", 1, 86400, &n, why), 0);
    ck_assert_uint_eq(n, 3600);
    ck_assert_int_eq(value_duration("1d", 1, 86400, &n, why), 0);
    ck_assert_uint_eq(n, 86400);
    ck_assert_int_eq(value_duration("2d", 1, 86400, &n, why), VALUE_E_BAD);
    ck_assert_int_eq(value_duration("1h30m", 1, 86400, &n, why), VALUE_E_BAD);
    ck_assert_int_eq(value_duration("1 h", 1, 86400, &n, why), VALUE_E_BAD);
}
END_TEST

START_TEST(port_ranges_run_upwards)
{
    static const char *const bad[] = {"",    "1024",        "-",          "1024-",     "-1024",
                                      "2-1", "2000-1999",   "65535-1024", "1023-2000", "1024-65536",
                                      "a-b", "1024-2000-3", "1024 2000"};
    uint16_t min, max;

    ck_assert_int_eq(value_ports("49152-65535", 1024, 65535, &min, &max, why), 0);
    ck_assert_uint_eq(min, 49152);
    ck_assert_uint_eq(max, 65535);
    ck_assert_int_eq(value_ports("5000 - 5000", 1024, 65535, &min, &max, why), 0);
    ck_assert_uint_eq(min, 5000);
    ck_assert_uint_eq(max, 5000);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(value_ports(bad[i], 1024, 65535, &min, &max, why), VALUE_E_BAD);
}
END_TEST

START_TEST(listeners_name_protocol_address_and_port)
{
    static const char *const bad[] = {"",
                                      "1.2.3.4:3478",
                                      "udp:1.2.3.4:3478",
                                      "http://1.2.3.4:80",
                                      "udp://1.2.3.4",
                                      "udp://relay.example:3478",
                                      "udp://1.2.3.4:65536",
                                      "udp://[::1]",
                                      "udp://::1:3478",
                                      "udp://1.2.3.4:3478/"};
    struct conf_listen l;
    char text[ADDR_STRLEN];

    ck_assert_int_eq(value_listen("DTLS://[2001:db8::1]:5349", &l, why), 0);
    ck_assert_uint_eq(l.protocols, LISTEN_DTLS);
    ck_assert_str_eq(addr_format(&l.addr, text, sizeof(text)), "[2001:db8::1]:5349");
    ck_assert_int_eq(value_listen("tcp://0.0.0.0:443", &l, why), 0);
    ck_assert_uint_eq(l.protocols, LISTEN_TCP);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(value_listen(bad[i], &l, why), VALUE_E_BAD);
}
END_TEST

START_TEST(realms_fit_a_quoted_string_of_127_characters)
{
    char text[2 * 128 + 1] = "", *realm;

    ck_assert_int_eq(value_realm("caf\xc3\xa9 of mine", &realm, why), 0);
    ck_assert_str_eq(realm, "caf\xc3\xa9 of mine");
    free(realm);
    for (int i = 0; i < 127; i++)
        strcat(text, "\xc3\xa9");
    ck_assert_int_eq(value_realm(text, &realm, why), 0);
    free(realm);
    strcat(text, "\xc3\xa9");
    ck_assert_int_eq(value_realm(text, &realm, why), VALUE_E_BAD);
    ck_assert_str_eq(why, "a realm has at most 127 characters");
    ck_assert_int_eq(value_realm("", &realm, why), VALUE_E_BAD);
    ck_assert_int_eq(value_realm("a\"b", &realm, why), VALUE_E_BAD);
    ck_assert_int_eq(value_realm("a\\b", &realm, why), VALUE_E_BAD);
    ck_assert_int_eq(value_realm("a\x01", &realm, why), VALUE_E_BAD);
}
END_TEST

START_TEST(quoted_values_are_printable_and_bounded)
{
    char buf[VALUE_QUOTE_LEN], longest[400];

    ck_assert_str_eq(value_quote("a b\x1b[31m\xff", buf), "\"a b\\x1b[31m\\xff\"");
    memset(longest, '\xff', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    value_quote(longest, buf);
    ck_assert_uint_lt(strlen(buf), VALUE_QUOTE_LEN);
    ck_assert_str_eq(buf + strlen(buf) - 4, "...\"");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/value");
    TCase *tc = tcase_create("value");

    tcase_add_test(tc, blanks_and_comments_go);
    tcase_add_test(tc, marks_inside_a_word_are_no_comment);
    tcase_add_test(tc, quotes_keep_everything);
    tcase_add_test(tc, broken_quotes_are_refused);
    tcase_add_test(tc, a_password_is_never_cut_in_doubt);
    tcase_add_test(tc, items_come_trimmed_and_empty_ones_are_kept);
    tcase_add_test(tc, numbers_keep_to_their_range);
    tcase_add_test(tc, sizes_take_powers_of_a_thousand);
    tcase_add_test(tc, durations_take_a_unit);
    tcase_add_test(tc, port_ranges_run_upwards);
    tcase_add_test(tc, listeners_name_protocol_address_and_port);
    tcase_add_test(tc, realms_fit_a_quoted_string_of_127_characters);
    tcase_add_test(tc, quoted_values_are_printable_and_bounded);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
