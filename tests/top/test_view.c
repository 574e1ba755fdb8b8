#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "relay/top/view.h"
#include "tests/support/suite.h"

#define NOW_S 1800000000

static struct view view;
static json_t *now, *before;

static void setup(void)
{
    now = json_pack("{s:s, s:s, s:i, s:{s:i, s:i, s:i, s:i, s:i}}", "role", "relay", "callveil",
                    "0.1.0", "uptime_s", 3700, "counters", "up_packets", 1100, "up_bytes", 1125000,
                    "drop_no_permission", 3, "err_401", 0, "allocations", 2);
    before = json_pack("{s:{s:i, s:i}}", "counters", "up_packets", 1000, "up_bytes", 1000000);
    ck_assert_ptr_nonnull(now);
    ck_assert_ptr_nonnull(before);
}

static void teardown(void)
{
    json_decref(now);
    json_decref(before);
}

/* The line that starts with `start`. */
static const char *line(const char *start)
{
    for (size_t i = 0; i < view.n; i++)
        if (strncmp(view.line[i], start, strlen(start)) == 0)
            return view.line[i];
    return NULL;
}

static void expect(const char *start, const char *part)
{
    ck_assert_msg(line(start) != NULL, "no line %s", start);
    ck_assert_msg(strstr(line(start), part) != NULL, "no \"%s\" in: %s", part, line(start));
}

START_TEST(rates_are_differences_over_the_time_between)
{
    view_make(&view, now, before, 2, NOW_S);
    expect("callveil relay 0.1.0, up 1 h 1 min", "");
    expect("Up", " 500 kbit/s ");
    expect("Up", " 50/s ");
    expect("Up", " 1100 ");
    expect("Up", " 1.12 MB");
}
END_TEST

START_TEST(a_role_that_was_restarted_has_no_rate_yet)
{
    view_make(&view, before, now, 1, NOW_S);
    expect("Up", " 0 bit/s ");
    expect("Up", " 0/s ");
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Up", " 0 bit/s ");
}
END_TEST

START_TEST(drops_and_errors_are_named_when_there_are_any)
{
    view_make(&view, now, NULL, 0, NOW_S);
    expect("              no-permission 3", "");
    expect("Errors        none", "");
    json_object_set_new(json_object_get(now, "counters"), "err_401", json_integer(7));
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Errors        401 7", "");
}
END_TEST

START_TEST(the_way_to_the_relay_is_told_with_its_reason)
{
    json_object_set_new(now, "peers_see", json_pack("[s, s]", "203.0.113.5", "2001:db8::5"));
    json_object_set_new(now, "upstream",
                        json_pack("{s:s, s:i, s:s, s:s, s:f}", "state", "ready", "for_s", 90,
                                  "transport", "dtls", "host", "relay.example", "rtt_ms", 23.44));
    json_object_set_new(now, "streams",
                        json_pack("{s:s, s:i, s:s, s:i}", "state", "down", "for_s", 5, "why",
                                  "the relay refuses this user and password", "retry_in_s", 4));
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Peers see     203.0.113.5, 2001:db8::5", "");
    expect("Datagrams     ready over dtls to relay.example, for 1 min 30 s, round trip 23.4 ms",
           "");
    expect("Streams       DOWN for 5 s: the relay refuses this user and password; next attempt in "
           "4 s",
           "");
    json_object_del(now, "peers_see");
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Peers see     nothing", "");
}
END_TEST

START_TEST(the_other_roles_lines_are_not_there)
{
    view_make(&view, now, NULL, 0, NOW_S);
    ck_assert_ptr_null(line("SOCKS5"));
    ck_assert_ptr_null(line("Datagrams"));
    ck_assert_ptr_null(line("Ports"));
}
END_TEST

START_TEST(s26_no_text_of_others_reaches_the_terminal_as_a_command)
{
    json_object_set_new(now, "users",
                        json_pack("[{s:s, s:i}]", "name",
                                  "a\x1b[2J\r\nb\xc2\x9b"
                                  "31m\x7f\xc3\xa9",
                                  "allocations", 1));
    view_make(&view, now, NULL, 0, NOW_S);
    expect("            1 a?[2J??b??31m?\xc3\xa9", "");
    for (size_t i = 0; i < view.n; i++)
        for (const char *c = view.line[i]; *c; c++)
            ck_assert(*c >= ' ' || (unsigned char)*c >= 0x80);
}
END_TEST

START_TEST(however_many_users_the_page_has_an_end)
{
    json_t *users = json_array();
    char name[300];

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (int i = 0; i < 100; i++)
        json_array_append_new(users, json_pack("{s:s, s:i}", "name", i == 50 ? "most" : name,
                                               "allocations", i == 50 ? 1000 : i));
    json_object_set_new(now, "users", users);
    view_make(&view, now, NULL, 0, NOW_S);
    expect("         1000 most", "");
    expect("              and 92 more users", "");
    ck_assert_uint_lt(view.n, VIEW_LINES);
    for (int i = 0; i < 100; i++)
        view_put(&view, "%d", i);
    ck_assert_uint_eq(view.n, VIEW_LINES);
}
END_TEST

START_TEST(an_answer_without_anything_in_it_makes_a_page)
{
    json_t *empty = json_object(), *odd = json_pack("{s:[i], s:s, s:i, s:[i]}", "counters", 1,
                                                    "upstream", "x", "peers_see", 7, "users", 1);

    view_make(&view, empty, empty, 1, NOW_S);
    ck_assert_uint_gt(view.n, 3);
    view_make(&view, odd, odd, 1, NOW_S);
    ck_assert_uint_gt(view.n, 3);
    json_decref(empty);
    json_decref(odd);
}
END_TEST

START_TEST(the_busiest_flows_come_first_with_their_rates)
{
    json_object_set_new(
        now, "flows",
        json_pack("[{s:i, s:s, s:s, s:f, s:i, s:i, s:s}, {s:i, s:s, s:s, s:f, s:i, s:i, s:n}]",
                  "id", 1, "front", "turn", "transport", "dtls", "age_s", 65.0, "up_bytes", 1000,
                  "down_bytes", 2000, "user", "alice", "id", 1, "front", "socks5", "transport",
                  "udp", "age_s", 5.0, "up_bytes", 500000, "down_bytes", 0, "user"));
    json_object_set_new(now, "n_flows", json_integer(7));
    json_object_set_new(before, "flows",
                        json_pack("[{s:i, s:s, s:i, s:i}]", "id", 1, "front", "turn", "up_bytes",
                                  750, "down_bytes", 1000));
    view_make(&view, now, before, 2, NOW_S);
    expect("Open for ", "the busiest of 7");
    for (size_t i = 0; i + 2 < view.n; i++) {
        if (strncmp(view.line[i], "Open for ", 9) != 0)
            continue;
        ck_assert_str_eq(view.line[i + 1],
                         "          5 s  2.00 Mbit/s      0 bit/s   socks5 over udp");
        ck_assert_str_eq(view.line[i + 2],
                         "    1 min 5 s  1.00 kbit/s  4.00 kbit/s   turn over dtls, alice");
    }
}
END_TEST

START_TEST(room_that_is_left_is_told)
{
    json_object_set_new(now, "limits",
                        json_pack("{s:i, s:i}", "allocations", 100, "allocations_per_user", 10));
    view_make(&view, now, NULL, 0, NOW_S);
    expect("              room for 98 more, 10 of one user", "");
}
END_TEST

START_TEST(the_certificates_end_is_told)
{
    view_make(&view, now, NULL, 0, NOW_S);
    ck_assert_ptr_null(line("Certificate"));
    json_object_set_new(now, "certificate_not_after", json_integer(NOW_S + 86400 * 30 + 3600));
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Certificate   good for another 30 d 1 h", "");
    json_object_set_new(now, "certificate_not_after", json_integer(NOW_S - 60));
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Certificate   EXPIRED 1 min 0 s ago", "");
}
END_TEST

START_TEST(the_relays_certificate_is_told_as_the_proxy_was_shown_it)
{
    json_t *streams = json_pack("{s:s, s:I, s:b}", "state", "ready", "certificate_not_after",
                                (json_int_t)NOW_S - 60, "certificate_pinned", 0);

    json_object_set_new(now, "upstream", json_pack("{s:s}", "state", "ready"));
    json_object_set_new(now, "streams", streams);
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Certificate   EXPIRED 1 min 0 s ago", "");
    json_object_set_new(streams, "certificate_pinned", json_true());
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Certificate   known by its pin, whatever its date", "");
}
END_TEST

START_TEST(what_the_way_loses_is_told_once_something_was_asked)
{
    json_t *counters = json_object_get(now, "counters");

    json_object_set_new(counters, "upstream_requests", json_integer(0));
    json_object_set_new(counters, "upstream_retransmissions", json_integer(0));
    json_object_set_new(counters, "upstream_unanswered", json_integer(7));
    view_make(&view, now, NULL, 0, NOW_S);
    ck_assert_ptr_null(line("Lost"));
    json_object_set_new(counters, "upstream_requests", json_integer(195));
    json_object_set_new(counters, "upstream_retransmissions", json_integer(5));
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Lost          2.5 % of 200 questions on the way to the relay; 7 never answered", "");
}
END_TEST

START_TEST(a_histogram_is_told_by_its_bounds)
{
    json_object_set_new(now, "histograms",
                        json_pack("{s:{s:i, s:[{s:i, s:i}, {s:i, s:i}, {s:n, s:i}]}}",
                                  "allocation_time", "count", 100, "buckets", "le_us", 200, "n", 60,
                                  "le_us", 5000, "n", 38, "le_us", "n", 2));
    view_make(&view, now, NULL, 0, NOW_S);
    expect("Allocating    half within 0.2 ms, 95 % within 5 ms (100 since the start)", "");
}
END_TEST

START_TEST(a_line_is_cut_between_characters)
{
    ck_assert_uint_eq(view_fit("abc", 2), 2);
    ck_assert_uint_eq(view_fit("abc", 80), 3);
    ck_assert_uint_eq(view_fit("\xc3\xa9\xc3\xa9x", 1), 2);
    ck_assert_uint_eq(view_fit("\xc3\xa9\xc3\xa9x", 2), 4);
    ck_assert_uint_eq(view_fit("\xc3\xa9", 0), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("top/view");
    TCase *tc = tcase_create("view");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, rates_are_differences_over_the_time_between);
    tcase_add_test(tc, a_role_that_was_restarted_has_no_rate_yet);
    tcase_add_test(tc, drops_and_errors_are_named_when_there_are_any);
    tcase_add_test(tc, the_way_to_the_relay_is_told_with_its_reason);
    tcase_add_test(tc, the_other_roles_lines_are_not_there);
    tcase_add_test(tc, s26_no_text_of_others_reaches_the_terminal_as_a_command);
    tcase_add_test(tc, however_many_users_the_page_has_an_end);
    tcase_add_test(tc, an_answer_without_anything_in_it_makes_a_page);
    tcase_add_test(tc, the_busiest_flows_come_first_with_their_rates);
    tcase_add_test(tc, room_that_is_left_is_told);
    tcase_add_test(tc, the_certificates_end_is_told);
    tcase_add_test(tc, the_relays_certificate_is_told_as_the_proxy_was_shown_it);
    tcase_add_test(tc, what_the_way_loses_is_told_once_something_was_asked);
    tcase_add_test(tc, a_histogram_is_told_by_its_bounds);
    tcase_add_test(tc, a_line_is_cut_between_characters);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
