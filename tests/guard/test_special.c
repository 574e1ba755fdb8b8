#include "tests/guard/acl_fixture.h"
#include "tests/support/suite.h"

struct range_case {
    const char *first, *last;
    const char *before, *after; /* NULL: no such address; '!': another range begins there */
};

static const struct range_case ranges_v4[] = {
    {"0.0.0.0", "0.255.255.255", NULL, "1.0.0.0"},
    {"10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"},
    {"100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"},
    {"127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"},
    {"169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"},
    {"172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"},
    {"192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"},
    {"192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"},
    {"192.31.196.0", "192.31.196.255", "192.31.195.255", "192.31.197.0"},
    {"192.52.193.0", "192.52.193.255", "192.52.192.255", "192.52.194.0"},
    {"192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"},
    {"192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"},
    {"192.175.48.0", "192.175.48.255", "192.175.47.255", "192.175.49.0"},
    {"198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"},
    {"198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"},
    {"203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"},
    {"224.0.0.0", "239.255.255.255", "223.255.255.255", "!240.0.0.0"},
    {"240.0.0.0", "255.255.255.255", "!239.255.255.255", NULL},
    {"168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"},
};

static const struct range_case ranges_v6[] = {
    {"::", "::1", NULL, "!::2"},
    {"::2", "::ffff:ffff", "!::1", "::1:0:0"},
    {"::ffff:0:0:0", "::ffff:0:ffff:ffff", "::fffe:ffff:ffff:ffff", "::ffff:1:0:0"},
    {"64:ff9b::", "64:ff9b::ffff:ffff", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b::1:0:0"},
    {"64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:0:ffff:ffff:ffff:ffff:ffff",
     "64:ff9b:2::"},
    {"100::", "100::ffff:ffff:ffff:ffff", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "!100:0:0:1::"},
    {"100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", "!100::ffff:ffff:ffff:ffff", "100:0:0:2::"},
    {"2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:200::"},
    {"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
    {"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "2003::"},
    {"2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
     "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"},
    {"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "3fff:1000::"},
    {"5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "5f01::"},
    {"fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "fe00::"},
    {"fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "!fec0::"},
    {"fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "!febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "!ff00::"},
    {"ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "!fec0::", NULL},
};

static void expect_neighbour(const struct acl *acl, const char *text)
{
    if (text && text[0] == '!')
        expect(acl, text + 1, ACL_DENY_SPECIAL);
    else if (text)
        expect(acl, text, ACL_ALLOW);
}

static void expect_range(const struct acl *acl, const struct range_case *c)
{
    expect(acl, c->first, ACL_DENY_SPECIAL);
    expect(acl, c->last, ACL_DENY_SPECIAL);
    expect_neighbour(acl, c->before);
    expect_neighbour(acl, c->after);
}

START_TEST(special_ipv4_ranges_end_where_they_end)
{
    /* A machine without relayed addresses of its own in the ranges. */
    struct conf conf = usual();
    struct acl *acl = acl_new_with(&conf, NULL, 0);

    for (size_t i = 0; i < sizeof(ranges_v4) / sizeof(ranges_v4[0]); i++)
        expect_range(acl, &ranges_v4[i]);
    acl_free(acl);
}
END_TEST

START_TEST(special_ipv6_ranges_end_where_they_end)
{
    struct conf conf = usual();
    struct acl *acl;

    /* With the space outside of 2000::/3 opened, the ranges in it have edges. */
    add_range(allowed, &conf.n_allow, "::/3");
    add_range(allowed, &conf.n_allow, "4000::/2");
    add_range(allowed, &conf.n_allow, "8000::/1");
    acl = acl_new_with(&conf, NULL, 0);
    for (size_t i = 0; i < sizeof(ranges_v6) / sizeof(ranges_v6[0]); i++)
        expect_range(acl, &ranges_v6[i]);
    acl_free(acl);
}
END_TEST

START_TEST(ipv6_outside_of_global_unicast_is_refused)
{
    struct acl *acl = make_usual();

    expect(acl, "200:1234::1", ACL_DENY_SPECIAL); /* a Yggdrasil mesh */
    expect(acl, "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ACL_DENY_SPECIAL);
    expect(acl, "2000::", ACL_ALLOW);
    expect(acl, "2a01:4f8::1", ACL_ALLOW);
    expect(acl, "3ffe::1", ACL_ALLOW);
    expect(acl, "4000::", ACL_DENY_SPECIAL);
    expect(acl, "7fff::1", ACL_DENY_SPECIAL);
    expect(acl, "8000::", ACL_DENY_SPECIAL);
    expect(acl, "fe00::1", ACL_DENY_SPECIAL);
    acl_free(acl);
}
END_TEST

START_TEST(no_address_at_all_is_refused)
{
    struct acl *acl = make_usual();
    struct addr none = {0};

    ck_assert_int_eq(acl_check(acl, &none, false), ACL_DENY_SPECIAL);
    none.family = 7;
    ck_assert_int_eq(acl_check(acl, &none, true), ACL_DENY_SPECIAL);
    acl_free(acl);
}
END_TEST

START_TEST(s1_s2_mapped_ipv4_is_judged_as_ipv4)
{
    static const char *const texts[] = {"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0.0.0.0",
                                        "::ffff:169.254.169.254"};
    struct acl *acl = make_usual();

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect(acl, texts[i], ACL_DENY_SPECIAL);
    expect(acl, "::ffff:8.8.8.8", ACL_ALLOW);
    acl_free(acl);
}
END_TEST

START_TEST(s1_a_mapped_address_that_slipped_through_is_still_ipv4)
{
    struct addr raw = {.ip = {[10] = 0xff, 0xff, 127, 0, 0, 1}, .port = 80, .family = ADDR_IPV6};
    struct conf conf = usual();
    struct acl *acl;

    add_range(allowed, &conf.n_allow, "::/3");
    add_range(allowed, &conf.n_allow, "::/8");
    acl = make(&conf);
    ck_assert_int_eq(acl_check(acl, &raw, false), ACL_DENY_SPECIAL);
    ck_assert(acl_is_own(acl, &raw));
    acl_free(acl);
}
END_TEST

struct embed_case {
    const char *allow; /* what opens the IPv6 range */
    const char *peer;  /* in it */
    enum acl_verdict verdict;
};

/* Every form twice: an IPv4 address nobody may reach, and one that is fine. */
static const struct embed_case embeds[] = {
    {"::/96", "::10.0.0.1", ACL_DENY_SPECIAL},
    {"::/96", "::127.0.0.1", ACL_DENY_SPECIAL},
    {"::/96", "::8.8.8.8", ACL_ALLOW},
    {"::ffff:0:0:0/96", "::ffff:0:10.0.0.1", ACL_DENY_SPECIAL},
    {"::ffff:0:0:0/96", "::ffff:0:8.8.8.8", ACL_ALLOW},
    {"64:ff9b::/96", "64:ff9b::169.254.169.254", ACL_DENY_SPECIAL},
    {"64:ff9b::/96", "64:ff9b::192.168.1.1", ACL_DENY_SPECIAL},
    {"64:ff9b::/96", "64:ff9b::8.8.8.8", ACL_ALLOW},
    {"64:ff9b:1::/48", "64:ff9b:1:a00:0:100::", ACL_DENY_SPECIAL}, /* 10.0.0.1 */
    {"64:ff9b:1::/48", "64:ff9b:1:808:8:800::", ACL_ALLOW},
    {"64:ff9b:1:ab00::/56", "64:ff9b:1:ab0a:0:1::", ACL_DENY_SPECIAL},
    {"64:ff9b:1:ab00::/56", "64:ff9b:1:ab08:8:808::", ACL_ALLOW},
    {"64:ff9b:1:abcd::/64", "64:ff9b:1:abcd:a:0:100:0", ACL_DENY_SPECIAL},
    {"64:ff9b:1:abcd::/64", "64:ff9b:1:abcd:8:808:800:0", ACL_ALLOW},
    {"64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::10.0.0.1", ACL_DENY_SPECIAL},
    {"64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::8.8.8.8", ACL_ALLOW},
    {"64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::", ACL_DENY_SPECIAL},
    /* 168.63.129.16: each of the four bytes decides. */
    {"64:ff9b:1::/48", "64:ff9b:1:a83f:81:1000::", ACL_DENY_SPECIAL},
    {"64:ff9b:1:ab00::/56", "64:ff9b:1:aba8:3f:8110::", ACL_DENY_SPECIAL},
    {"64:ff9b:1:abcd::/64", "64:ff9b:1:abcd:a8:3f81:1000:0", ACL_DENY_SPECIAL},
    /* A longer translator's prefix inside of an opened /48 hides nothing. */
    {"64:ff9b:1::/48", "64:ff9b:1:abcd::10.0.0.1", ACL_DENY_SPECIAL},
    {"64:ff9b:1::/48", "64:ff9b:1::", ACL_DENY_SPECIAL},
    {"2002::/16", "2002:a00:1::1", ACL_DENY_SPECIAL},
    {"2002::/16", "2002:7f00:1::1", ACL_DENY_SPECIAL},
    {"2002::/16", "2002:808:808::1", ACL_ALLOW},
    {"2001::/23", "2001:0:a00:1:0:0:f7f7:f7f7", ACL_DENY_SPECIAL},   /* the server */
    {"2001::/23", "2001:0:808:808:0:0:f5ff:fffe", ACL_DENY_SPECIAL}, /* the client, turned */
    {"2001::/23", "2001:0:808:808:0:0:f7f7:f7f7", ACL_ALLOW},
    {"2001::/23", "2001:1::a00:1", ACL_ALLOW}, /* not Teredo: embeds nothing */
    {"2001:db8::/32", "2001:db8::5efe:10.0.0.1", ACL_DENY_SPECIAL},
    {"2001:db8::/32", "2001:db8::200:5efe:127.0.0.1", ACL_DENY_SPECIAL},
    {"2001:db8::/32", "2001:db8::200:5efe:8.8.8.8", ACL_ALLOW},
    {"2001:db8::/32", "2001:db8::100:5efe:10.0.0.1", ACL_ALLOW}, /* no ISATAP identifier */
};

START_TEST(s3_an_embedded_ipv4_address_must_pass_too)
{
    for (size_t i = 0; i < sizeof(embeds) / sizeof(embeds[0]); i++)
        expect_allow(embeds[i].allow, embeds[i].peer, embeds[i].verdict);
}
END_TEST

START_TEST(s3_isatap_is_seen_in_any_global_prefix)
{
    struct acl *acl = make_usual();

    expect(acl, "2a01:4f8:0:1::5efe:192.168.0.1", ACL_DENY_SPECIAL);
    expect(acl, "2a01:4f8:0:1:200:5efe:127.0.0.1", ACL_DENY_SPECIAL);
    expect(acl, "2a01:4f8:0:1:200:5efe:8.8.8.8", ACL_ALLOW);
    acl_free(acl);
}
END_TEST

START_TEST(s3_what_the_configuration_says_of_the_embedded_address_counts)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(allowed, &conf.n_allow, "64:ff9b::/96");
    add_range(allowed, &conf.n_allow, "10.9.0.0/16");
    add_range(denied, &conf.n_deny, "8.8.8.0/24");
    acl = make(&conf);
    expect(acl, "64:ff9b::10.9.0.1", ACL_ALLOW);
    expect(acl, "64:ff9b::10.8.0.1", ACL_DENY_SPECIAL);
    expect(acl, "64:ff9b::8.8.8.8", ACL_DENY_CONFIG);
    acl_free(acl);
}
END_TEST

START_TEST(s3_the_way_back_through_a_nat64_ends_at_the_same_rules)
{
    struct conf conf = usual();
    struct addr us = ip("64:ff9b::45.33.32.1", 0), other = ip("64:ff9b::45.33.32.2", 0);
    struct acl *acl;

    add_range(allowed, &conf.n_allow, "64:ff9b::/96");
    acl = make(&conf);
    ck_assert_int_eq(ask(acl, "64:ff9b::45.33.32.1", 3478, false), ACL_DENY_LISTENER);
    ck_assert_int_eq(ask(acl, "64:ff9b::45.33.32.1", 22, true), ACL_DENY_OWN);
    ck_assert_int_eq(ask(acl, "64:ff9b::45.33.32.1", 50000, false), ACL_ALLOW);
    /* No port was asked: then every datagram's must be, or port 22 is open after all. */
    ck_assert(acl_is_own(acl, &us));
    ck_assert(!acl_is_own(acl, &other));
    acl_free(acl);
}
END_TEST

START_TEST(s5_s6_unspecified_and_loopback_are_refused_by_default)
{
    struct acl *acl = make_usual();

    expect(acl, "0.0.0.0", ACL_DENY_SPECIAL);
    expect(acl, "::", ACL_DENY_SPECIAL);
    expect(acl, "::1", ACL_DENY_SPECIAL);
    expect(acl, "127.0.0.1", ACL_DENY_SPECIAL);
    /* coturn's admin CLI */
    ck_assert_int_eq(ask(acl, "127.0.0.1", 5766, true), ACL_DENY_SPECIAL);
    acl_free(acl);
}
END_TEST

START_TEST(s7_metadata_services_and_local_networks_are_refused)
{
    static const char *const texts[] = {"169.254.169.254", "fd00:ec2::254",  "fd20:ce::254",
                                        "100.100.100.200", "192.0.0.192",    "168.63.129.16",
                                        "fe80::a9fe:a9fe", "fc00::1",        "fec0::1",
                                        "172.17.0.2",      "255.255.255.255"};
    struct acl *acl = make_usual();

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect(acl, texts[i], ACL_DENY_SPECIAL);
    acl_free(acl);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("guard/special");
    TCase *special = tcase_create("special");

    tcase_add_test(special, special_ipv4_ranges_end_where_they_end);
    tcase_add_test(special, special_ipv6_ranges_end_where_they_end);
    tcase_add_test(special, ipv6_outside_of_global_unicast_is_refused);
    tcase_add_test(special, no_address_at_all_is_refused);
    tcase_add_test(special, s1_s2_mapped_ipv4_is_judged_as_ipv4);
    tcase_add_test(special, s1_a_mapped_address_that_slipped_through_is_still_ipv4);
    tcase_add_test(special, s3_an_embedded_ipv4_address_must_pass_too);
    tcase_add_test(special, s3_isatap_is_seen_in_any_global_prefix);
    tcase_add_test(special, s3_what_the_configuration_says_of_the_embedded_address_counts);
    tcase_add_test(special, s3_the_way_back_through_a_nat64_ends_at_the_same_rules);
    tcase_add_test(special, s5_s6_unspecified_and_loopback_are_refused_by_default);
    tcase_add_test(special, s7_metadata_services_and_local_networks_are_refused);
    suite_add_tcase(s, special);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
