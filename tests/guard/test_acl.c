#include "tests/guard/acl_fixture.h"
#include "tests/support/suite.h"

START_TEST(s4_ranges_compare_by_bits_not_by_bytes)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(denied, &conf.n_deny, "45.32.252.0/22");
    acl = make(&conf);
    expect(acl, "45.32.251.255", ACL_ALLOW);
    expect(acl, "45.32.252.0", ACL_DENY_CONFIG);
    expect(acl, "45.32.253.255", ACL_DENY_CONFIG);
    expect(acl, "45.32.255.7", ACL_DENY_CONFIG);
    expect(acl, "45.33.0.0", ACL_ALLOW);
    acl_free(acl);
}
END_TEST

START_TEST(s7_our_stats_port_stays_shut_when_loopback_is_allowed)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(allowed, &conf.n_allow, "127.0.0.0/8");
    add_range(allowed, &conf.n_allow, "0.0.0.0/8");
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "127.0.0.1", 9641, true), ACL_DENY_LISTENER);
    ck_assert_int_eq(ask(acl, "0.0.0.0", 9641, true), ACL_DENY_LISTENER); /* loopback, to Linux */
    ck_assert_int_eq(ask(acl, "127.0.0.1", 9642, true), ACL_ALLOW);
    ck_assert_int_eq(ask(acl, "127.0.0.1", 9641, false), ACL_ALLOW); /* nothing of ours on UDP */
    acl_free(acl);
}
END_TEST

START_TEST(s41_tcp_to_local_services_is_refused)
{
    struct acl *acl = make_usual();

    ck_assert_int_eq(ask(acl, "169.254.169.254", 80, true), ACL_DENY_SPECIAL);
    ck_assert_int_eq(ask(acl, "127.0.0.1", 22, true), ACL_DENY_SPECIAL);
    ck_assert_int_eq(ask(acl, "10.0.0.5", 445, true), ACL_DENY_SPECIAL);
    ck_assert_int_eq(ask(acl, "45.33.32.1", 22, true), ACL_DENY_OWN);
    ck_assert_int_eq(ask(acl, "2600:3c01::1", 22, true), ACL_DENY_OWN);
    acl_free(acl);
}
END_TEST

START_TEST(s42_nothing_allows_a_loop_through_our_own_listener)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(allowed, &conf.n_allow, "45.33.32.1/32");
    add_range(allowed, &conf.n_allow, "2600:3c01::1/128");
    add_range(allowed, &conf.n_allow, "127.0.0.0/8");
    acl = make(&conf);
    for (int tcp = 0; tcp < 2; tcp++) {
        ck_assert_int_eq(ask(acl, "45.33.32.1", 3478, tcp), ACL_DENY_LISTENER);
        ck_assert_int_eq(ask(acl, "127.9.9.9", 3478, tcp), ACL_DENY_LISTENER);
        /* [::] takes IPv4 as well unless told not to */
        ck_assert_int_eq(ask(acl, "45.33.32.1", 5349, tcp), ACL_DENY_LISTENER);
        ck_assert_int_eq(ask(acl, "2600:3c01::1", 5349, tcp), ACL_DENY_LISTENER);
        ck_assert_int_eq(ask(acl, "45.33.32.1", 3479, tcp), ACL_ALLOW);
        ck_assert_int_eq(ask(acl, "45.33.32.2", 3478, tcp), ACL_ALLOW); /* somebody else's */
    }
    acl_free(acl);
}
END_TEST

START_TEST(s42_a_listener_in_the_relayed_range_is_a_listener)
{
    struct conf conf = usual();
    struct acl *acl;

    listeners[0] = (struct conf_listen){ip("45.33.32.1", 50443), LISTEN_TLS};
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "45.33.32.1", 50443, true), ACL_DENY_LISTENER);
    /* Its UDP port of the same number may be a relayed one, as may another address's. */
    ck_assert_int_eq(ask(acl, "45.33.32.1", 50443, false), ACL_ALLOW);
    conf.public_v4 = ip("45.79.1.1", 0);
    acl_free(acl);
    acl = make(&conf);
    /* The NAT in front maps the public address to it. */
    ck_assert_int_eq(ask(acl, "45.79.1.1", 50443, true), ACL_DENY_LISTENER);
    acl_free(acl);
}
END_TEST

START_TEST(two_clients_of_one_relay_can_call_each_other)
{
    struct acl *acl = make_usual();

    for (int tcp = 0; tcp < 2; tcp++) {
        ck_assert_int_eq(ask(acl, "45.33.32.1", 0, tcp), ACL_ALLOW);
        ck_assert_int_eq(ask(acl, "45.33.32.1", 49151, tcp), ACL_DENY_OWN);
        ck_assert_int_eq(ask(acl, "45.33.32.1", 49152, tcp), ACL_ALLOW);
        ck_assert_int_eq(ask(acl, "45.33.32.1", 65535, tcp), ACL_ALLOW);
        ck_assert_int_eq(ask(acl, "2600:3c01::1", 60000, tcp), ACL_ALLOW);
        /* Behind a NAT relayed sockets are bound to a private address. */
        ck_assert_int_eq(ask(acl, "10.1.2.3", 50000, tcp), ACL_ALLOW);
        ck_assert_int_eq(ask(acl, "10.1.2.3", 80, tcp), ACL_DENY_SPECIAL);
        ck_assert_int_eq(ask(acl, "10.1.2.4", 50000, tcp), ACL_DENY_SPECIAL);
        /* Never bound: no client arrives there. */
        ck_assert_int_eq(ask(acl, "127.0.0.1", 50000, tcp), ACL_DENY_SPECIAL);
        ck_assert_int_eq(ask(acl, "::1", 50000, tcp), ACL_DENY_SPECIAL);
        ck_assert_int_eq(ask(acl, "fe80::1", 50000, tcp), ACL_DENY_SPECIAL);
    }
    acl_free(acl);
}
END_TEST

START_TEST(deny_does_not_cut_the_relay_off_from_itself)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(denied, &conf.n_deny, "45.0.0.0/8");
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "45.33.32.1", 50000, false), ACL_ALLOW);
    ck_assert_int_eq(ask(acl, "45.33.32.1", 80, false), ACL_DENY_CONFIG);
    acl_free(acl);
}
END_TEST

START_TEST(with_a_relay_address_set_only_that_one_is_relayed)
{
    struct conf conf = usual();
    struct acl *acl;

    conf.relay_v4 = ip("45.33.32.9", 0);
    conf.public_v4 = ip("45.79.1.1", 0);
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "45.33.32.9", 50000, false), ACL_ALLOW);
    ck_assert_int_eq(ask(acl, "45.79.1.1", 50000, false), ACL_ALLOW);
    ck_assert_int_eq(ask(acl, "45.79.1.1", 80, false), ACL_DENY_OWN);
    ck_assert_int_eq(ask(acl, "45.33.32.1", 50000, false), ACL_DENY_OWN);
    ck_assert_int_eq(ask(acl, "45.79.1.1", 3478, false), ACL_DENY_LISTENER);
    /* nothing was said about IPv6 */
    ck_assert_int_eq(ask(acl, "2600:3c01::1", 50000, false), ACL_ALLOW);
    acl_free(acl);
}
END_TEST

START_TEST(a_relay_on_loopback_alone_relays_there)
{
    struct conf conf = usual();
    struct acl *acl;

    listeners[0].addr = ip("127.0.0.1", 3478);
    conf.n_listen = 1;
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "127.0.0.1", 50000, false), ACL_ALLOW);
    ck_assert_int_eq(ask(acl, "127.0.0.1", 3478, false), ACL_DENY_LISTENER);
    ck_assert_int_eq(ask(acl, "127.0.0.1", 22, true), ACL_DENY_SPECIAL);
    ck_assert_int_eq(ask(acl, "127.0.0.2", 50000, false), ACL_DENY_SPECIAL);
    acl_free(acl);
    /* The world on a second listener must not get at loopback's ports. */
    listeners[1].addr = ip("45.33.32.1", 3478);
    conf.n_listen = 2;
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "127.0.0.1", 50000, false), ACL_DENY_SPECIAL);
    acl_free(acl);
}
END_TEST

START_TEST(stats_on_loopback_make_no_relayed_address_of_it)
{
    struct conf conf = usual();
    struct acl *acl;

    listeners[0].addr = ip("::1", 3478);
    conf.n_listen = 1;
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "::1", 50000, false), ACL_ALLOW);
    ck_assert_int_eq(ask(acl, "127.0.0.1", 50000, false), ACL_DENY_SPECIAL);
    acl_free(acl);
}
END_TEST

START_TEST(allow_opens_a_range_and_deny_closes_one)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(allowed, &conf.n_allow, "192.168.7.0/24");
    add_range(denied, &conf.n_deny, "192.168.7.8/32");
    add_range(denied, &conf.n_deny, "45.56.0.0/16");
    add_range(allowed, &conf.n_allow, "45.56.78.0/24");
    add_range(denied, &conf.n_deny, "2a01:4f8::/32");
    acl = make(&conf);
    expect(acl, "192.168.7.7", ACL_ALLOW);
    expect(acl, "192.168.7.8", ACL_DENY_CONFIG);
    expect(acl, "192.168.8.1", ACL_DENY_SPECIAL);
    expect(acl, "45.56.1.1", ACL_DENY_CONFIG);
    expect(acl, "45.56.78.1", ACL_ALLOW);
    expect(acl, "45.57.1.1", ACL_ALLOW);
    expect(acl, "2a01:4f8::1", ACL_DENY_CONFIG);
    expect(acl, "2a01:4f9::1", ACL_ALLOW);
    acl_free(acl);
}
END_TEST

START_TEST(allow_opens_an_address_of_this_machine)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(allowed, &conf.n_allow, "45.33.32.0/24");
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "45.33.32.1", 80, true), ACL_ALLOW);
    acl_free(acl);
}
END_TEST

START_TEST(at_equal_length_deny_beats_allow_beats_builtin)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(allowed, &conf.n_allow, "10.0.0.0/8");
    add_range(allowed, &conf.n_allow, "192.168.0.0/16");
    add_range(denied, &conf.n_deny, "192.168.0.0/16");
    add_range(allowed, &conf.n_allow, "45.56.0.0/16");
    add_range(denied, &conf.n_deny, "45.56.0.0/16");
    add_range(allowed, &conf.n_allow, "0.0.0.0/0");
    acl = make(&conf);
    expect(acl, "10.0.0.1", ACL_ALLOW);
    expect(acl, "192.168.1.1", ACL_DENY_CONFIG);
    expect(acl, "45.56.1.1", ACL_DENY_CONFIG);
    /* A shorter `allow` opens no built-in range. */
    expect(acl, "172.16.0.1", ACL_DENY_SPECIAL);
    expect(acl, "127.0.0.1", ACL_DENY_SPECIAL);
    acl_free(acl);
}
END_TEST

START_TEST(deny_of_everything_in_ipv6_leaves_ipv4_alone)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(denied, &conf.n_deny, "::/0");
    acl = make(&conf);
    expect(acl, "8.8.8.8", ACL_ALLOW);
    expect(acl, "::ffff:8.8.8.8", ACL_ALLOW);
    expect(acl, "2a01:4f8::1", ACL_DENY_CONFIG);
    acl_free(acl);
}
END_TEST

START_TEST(own_addresses_are_known_as_own)
{
    static const char *const own[] = {"127.0.0.1", "127.255.0.9", "::1",          "0.0.0.0",
                                      "::",        "45.33.32.1",  "2600:3c01::1", "45.79.1.1"};
    struct conf conf = usual();
    struct addr stranger = ip("8.8.8.8", 1);
    struct acl *acl;

    conf.public_v4 = ip("45.79.1.1", 0);
    acl = make(&conf);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        struct addr a = ip(own[i], 4711);

        ck_assert_msg(acl_is_own(acl, &a), "%s", own[i]);
    }
    ck_assert(!acl_is_own(acl, &stranger));
    acl_free(acl);
}
END_TEST

START_TEST(the_machine_is_asked_for_its_addresses)
{
    struct conf conf = usual();
    struct acl *acl = acl_new(&conf);

    ck_assert_ptr_nonnull(acl);
    expect(acl, "8.8.8.8", ACL_ALLOW);
    expect(acl, "127.0.0.1", ACL_DENY_SPECIAL);
    acl_free(acl);
}
END_TEST

START_TEST(every_verdict_has_a_name)
{
    for (int v = ACL_ALLOW; v <= ACL_DENY_CONFIG; v++)
        ck_assert_str_ne(acl_verdict_name((enum acl_verdict)v), "unknown");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("guard/acl");
    TCase *own = tcase_create("own");
    TCase *conf = tcase_create("conf");

    tcase_add_test(own, s7_our_stats_port_stays_shut_when_loopback_is_allowed);
    tcase_add_test(own, s41_tcp_to_local_services_is_refused);
    tcase_add_test(own, s42_nothing_allows_a_loop_through_our_own_listener);
    tcase_add_test(own, s42_a_listener_in_the_relayed_range_is_a_listener);
    tcase_add_test(own, two_clients_of_one_relay_can_call_each_other);
    tcase_add_test(own, deny_does_not_cut_the_relay_off_from_itself);
    tcase_add_test(own, with_a_relay_address_set_only_that_one_is_relayed);
    tcase_add_test(own, a_relay_on_loopback_alone_relays_there);
    tcase_add_test(own, stats_on_loopback_make_no_relayed_address_of_it);
    tcase_add_test(own, own_addresses_are_known_as_own);
    tcase_add_test(own, the_machine_is_asked_for_its_addresses);
    tcase_add_test(conf, s4_ranges_compare_by_bits_not_by_bytes);
    tcase_add_test(conf, allow_opens_a_range_and_deny_closes_one);
    tcase_add_test(conf, allow_opens_an_address_of_this_machine);
    tcase_add_test(conf, at_equal_length_deny_beats_allow_beats_builtin);
    tcase_add_test(conf, deny_of_everything_in_ipv6_leaves_ipv4_alone);
    tcase_add_test(conf, every_verdict_has_a_name);
    suite_add_tcase(s, own);
    suite_add_tcase(s, conf);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
