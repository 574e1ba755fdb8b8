#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/addr.h"
#include "tests/support/suite.h"

static struct addr parse_ip(const char *text)
{
    struct addr addr = {0};

    ck_assert_msg(addr_parse_ip(text, 0, &addr), "%s", text);
    return addr;
}

/* ---- the one normal form ---- */

START_TEST(mapped_ipv4_is_ipv4_however_it_is_made)
{
    static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 10, 0, 0, 1};
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    struct addr expected = addr_make_v4(0x0A000001, 80), addr;

    addr = addr_make(ADDR_IPV6, mapped, 80);
    ck_assert(addr_equal(&addr, &expected));
    memcpy(&sa.sin6_addr, mapped, sizeof(mapped));
    addr = addr_from_sockaddr((const struct sockaddr *)&sa);
    ck_assert(addr_equal(&addr, &expected));
    ck_assert(addr_parse_ip("::ffff:10.0.0.1", 80, &addr));
    ck_assert(addr_equal(&addr, &expected));
    ck_assert(addr_parse_ip("::FFFF:0a00:1", 80, &addr));
    ck_assert(addr_equal(&addr, &expected));
    ck_assert(addr_parse("[::ffff:10.0.0.1]:80", &addr));
    ck_assert(addr_equal(&addr, &expected));
    ck_assert_uint_eq(addr_hash(&addr), addr_hash(&expected));
}
END_TEST

START_TEST(other_embedded_ipv4_stays_ipv6)
{
    static const char *const texts[] = {"::10.0.0.1", "64:ff9b::10.0.0.1",
                                        "2002:a00:1::", "::fffe:10.0.0.1", "::1:ffff:10.0.0.1"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ck_assert_uint_eq(parse_ip(texts[i]).family, ADDR_IPV6);
}
END_TEST

START_TEST(equal_addresses_are_equal_bytes)
{
    struct addr a, b;
    uint8_t ip[16];

    memset(ip, 0xA5, sizeof(ip));
    memset(&a, 0xFF, sizeof(a));
    memset(&b, 0x00, sizeof(b));
    memcpy(ip, (const uint8_t[]){192, 0, 2, 1}, 4);
    a = addr_make(ADDR_IPV4, ip, 9); /* twelve bytes behind the address are not its own */
    b = addr_make_v4(0xC0000201, 9);
    ck_assert_mem_eq(&a, &b, sizeof(a));
    ck_assert(addr_equal(&a, &b));
    b.port = 10;
    ck_assert(!addr_equal(&a, &b));
    ck_assert(addr_ip_equal(&a, &b));
    ck_assert_uint_eq(addr_ip_hash(&a), addr_ip_hash(&b));
    b = parse_ip("c000:201::");
    b.port = 9;
    ck_assert_mem_eq(a.ip, b.ip, sizeof(a.ip));
    ck_assert(!addr_ip_equal(&a, &b)); /* the same bytes in another family */
}
END_TEST

START_TEST(sockaddr_comes_back)
{
    static const char *const texts[] = {"192.0.2.1:65535", "[2001:db8::1]:1", "0.0.0.0:0",
                                        "[::]:0"};
    struct sockaddr_storage sa;
    struct addr in, out;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert(addr_parse(texts[i], &in));
        memset(&sa, 0xA5, sizeof(sa));
        ck_assert_uint_eq(addr_to_sockaddr(&in, &sa), in.family == ADDR_IPV4
                                                          ? sizeof(struct sockaddr_in)
                                                          : sizeof(struct sockaddr_in6));
        out = addr_from_sockaddr((const struct sockaddr *)&sa);
        ck_assert(addr_equal(&in, &out));
    }
}
END_TEST

START_TEST(sockaddr_of_another_family_is_none)
{
    struct sockaddr sa = {.sa_family = AF_UNIX};
    struct addr addr = addr_from_sockaddr(&sa);

    ck_assert_uint_eq(addr.family, ADDR_NONE);
    ck_assert_uint_eq(addr_ip_len(&addr), 0);
}
END_TEST

/* ---- text ---- */

START_TEST(text_comes_back)
{
    static const char *const texts[] = {"192.0.2.1:80", "[2001:db8::1]:80", "0.0.0.0:0",
                                        "[::1]:65535", "255.255.255.255:1"};
    char buf[ADDR_STRLEN];
    struct addr addr;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert(addr_parse(texts[i], &addr));
        ck_assert_str_eq(addr_format(&addr, buf, sizeof(buf)), texts[i]);
    }
    addr = parse_ip("[2001:db8::1]");
    ck_assert_str_eq(addr_format_ip(&addr, buf, sizeof(buf)), "2001:db8::1");
    addr = (struct addr){0};
    ck_assert_str_eq(addr_format(&addr, buf, sizeof(buf)), "-");
    ck_assert_str_eq(addr_format_ip(&addr, buf, sizeof(buf)), "-");
}
END_TEST

START_TEST(longest_text_fits)
{
    struct addr addr;
    char buf[ADDR_STRLEN];

    ck_assert(addr_parse("[2001:db8:1111:2222:3333:4444:5555:6666]:65535", &addr));
    ck_assert_str_eq(addr_format(&addr, buf, sizeof(buf)),
                     "[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
}
END_TEST

START_TEST(format_never_overruns_a_short_buffer)
{
    struct addr addr;

    ck_assert(addr_parse("[2001:db8:1111:2222:3333:4444:5555:6666]:65535", &addr));
    for (size_t cap = 1; cap < 50; cap++) {
        char *buf = malloc(cap);

        ck_assert_ptr_nonnull(buf);
        ck_assert_uint_lt(strlen(addr_format(&addr, buf, cap)), cap);
        ck_assert_uint_lt(strlen(addr_format_ip(&addr, buf, cap)), cap);
        free(buf);
    }
}
END_TEST

START_TEST(what_is_no_address_with_port_is_refused)
{
    static const char *const texts[] = {
        "",
        ":",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1:+1",
        "192.0.2.1: 1",
        "192.0.2.1:1x",
        "192.0.2.1:000001",
        "2001:db8::1",
        "2001:db8::1:80",
        "[2001:db8::1]",
        "[2001:db8::1]80",
        "[192.0.2.1]:80",
        "[]:80",
        "[:80",
        "]:80",
        ":80",
        "example.org:80",
        "192.0.2:80",
        "192.0.2.256:80",
        "192.0.2.01:80",
        "[fe80::1%lo]:80",
        " 192.0.2.1:80",
        "[2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999]:80",
    };
    struct addr addr = {.port = 77};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ck_assert_msg(!addr_parse(texts[i], &addr), "%s", texts[i]);
    ck_assert_uint_eq(addr.port, 77); /* untouched */
}
END_TEST

static bool is_loopback(const char *text)
{
    struct addr addr = parse_ip(text);

    return addr_is_loopback(&addr);
}

static bool is_any(const char *text)
{
    struct addr addr = parse_ip(text);

    return addr_is_any(&addr);
}

START_TEST(any_and_loopback_are_known_in_both_families)
{
    ck_assert(is_loopback("127.0.0.1"));
    ck_assert(is_loopback("127.255.255.254"));
    ck_assert(is_loopback("::1"));
    ck_assert(is_loopback("::ffff:127.0.0.1"));
    ck_assert(!is_loopback("128.0.0.1"));
    ck_assert(!is_loopback("::2"));
    ck_assert(!is_loopback("7f00::"));
    ck_assert(is_any("0.0.0.0"));
    ck_assert(is_any("::"));
    ck_assert(is_any("::ffff:0.0.0.0"));
    ck_assert(!is_any("0.0.0.1"));
}
END_TEST

/* ---- ranges ---- */

static bool contains(const char *range_text, const char *ip)
{
    struct addr addr = parse_ip(ip);
    struct addr_range range;

    ck_assert_msg(addr_range_parse(range_text, &range), "%s", range_text);
    return addr_range_contains(&range, &addr);
}

START_TEST(range_holds_what_shares_its_prefix)
{
    ck_assert(contains("10.0.0.0/8", "10.255.255.255"));
    ck_assert(!contains("10.0.0.0/8", "11.0.0.0"));
    ck_assert(!contains("10.0.0.0/8", "9.255.255.255"));
    ck_assert(contains("192.0.2.1", "192.0.2.1"));
    ck_assert(!contains("192.0.2.1", "192.0.2.0"));
    ck_assert(contains("0.0.0.0/0", "203.0.113.9"));
    ck_assert(!contains("0.0.0.0/0", "2001:db8::1"));
    ck_assert(!contains("::/0", "203.0.113.9"));
    ck_assert(contains("::/0", "2001:db8::1"));
    ck_assert(contains("fe80::/10", "febf:ffff::1"));
    ck_assert(!contains("fe80::/10", "fec0::"));
    ck_assert(contains("[2001:db8::]/32", "2001:db8:ffff::"));
    ck_assert(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    ck_assert(!contains("::1", "0.0.0.1"));
}
END_TEST

/* S4: a per-byte comparison let addresses through that lie inside the range by value but have one
 * byte above the range's own. Every prefix length is held against plain arithmetic. */
START_TEST(s4_containment_is_that_of_the_number)
{
    static const uint32_t bases[] = {0xAC100000, 0xC0A8FF80, 0x0AFF01F0, 0xFFFFFFFF, 0x00000000};

    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        for (unsigned int bits = 0; bits <= 32; bits++) {
            uint32_t mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
            uint32_t first = bases[i] & mask, last = first | ~mask;
            struct addr_range range = {addr_make_v4(first, 0), (uint8_t)bits};
            uint32_t probes[] = {first - 1,    first,           first + 1,       last - 1,
                                 last,         last + 1,        bases[i],        first ^ 0x80000000,
                                 last ^ 0x100, last - 0x00FF00, first + 0x00FF00};

            for (size_t k = 0; k < sizeof(probes) / sizeof(probes[0]); k++) {
                struct addr addr = addr_make_v4(probes[k], 4711);

                ck_assert_msg(addr_range_contains(&range, &addr) ==
                                  (probes[k] >= first && probes[k] <= last),
                              "%08x in %08x/%u", probes[k], first, bits);
            }
        }
    }
}
END_TEST

START_TEST(every_ipv6_prefix_length_ends_where_it_says)
{
    for (unsigned int bits = 0; bits <= 128; bits++) {
        struct addr_range range = {parse_ip("::"), (uint8_t)bits};

        for (unsigned int bit = 0; bit < 128; bit++) {
            struct addr addr = parse_ip("::");

            addr.ip[bit / 8] = (uint8_t)(0x80 >> bit % 8);
            ck_assert(addr_range_contains(&range, &addr) == (bit >= bits));
        }
    }
}
END_TEST

/* S8: a rule that could mean something else is an error, not a guess. */
START_TEST(s8_range_that_is_not_one_is_refused)
{
    static const char *const texts[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.1/8",
        "10.0.0.0/8x",
        "10.0.0.0/ 8",
        "10.0.0.0/8/8",
        "172.16.1.0/12",
        "10.0.0/8",
        "2001:db8::/129",
        "2001:db8::1/32",
        "2001:db8::/31x",
        "example.org/8",
        "10.0.0.0-10.0.0.9",
        "192.0.2.1/31",
        "fe80::%lo/10",
        "10.0.0.0/256",
        "10.0.0.0/4294967304",
        /* prefix lengths of the IPv6 notation do not carry over to the IPv4 address it is */
        "::ffff:10.0.0.0/8",
        "::ffff:10.0.0.0/104",
        "::ffff:0:0/96",
        "::ffff:10.0.0.1/32",
    };
    struct addr_range range = {.bits = 77};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ck_assert_msg(!addr_range_parse(texts[i], &range), "%s", texts[i]);
    ck_assert_uint_eq(range.bits, 77); /* untouched */
}
END_TEST

static Suite *addr_suite(void)
{
    Suite *s = suite_create("net/addr");
    TCase *t = tcase_create("addr");

    tcase_add_test(t, mapped_ipv4_is_ipv4_however_it_is_made);
    tcase_add_test(t, other_embedded_ipv4_stays_ipv6);
    tcase_add_test(t, equal_addresses_are_equal_bytes);
    tcase_add_test(t, sockaddr_comes_back);
    tcase_add_test(t, sockaddr_of_another_family_is_none);
    tcase_add_test(t, text_comes_back);
    tcase_add_test(t, longest_text_fits);
    tcase_add_test(t, format_never_overruns_a_short_buffer);
    tcase_add_test(t, what_is_no_address_with_port_is_refused);
    tcase_add_test(t, any_and_loopback_are_known_in_both_families);
    tcase_add_test(t, range_holds_what_shares_its_prefix);
    tcase_add_test(t, s4_containment_is_that_of_the_number);
    tcase_add_test(t, every_ipv6_prefix_length_ends_where_it_says);
    tcase_add_test(t, s8_range_that_is_not_one_is_refused);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(addr_suite());
}
