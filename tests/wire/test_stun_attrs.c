/* Which attributes count: order, repetition, unknown ones, addresses (RFC 8489, section 14). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "samples.h"
#include "tests/support/suite.h"
#include "touch.h"

static const uint8_t key[] = "a key of some length";

static uint8_t buf[2048];
static struct stun_builder b;
static struct stun_msg m;

static void begin_request(void)
{
    memset(buf, 0xA5, sizeof(buf));
    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_REFRESH, sample_txid);
}

static int finish_and_decode(void)
{
    size_t n = stun_finish(&b);

    ck_assert_uint_gt(n, 0);
    return stun_decode(&m, buf, n);
}

/* Appends an attribute as an attacker would, without asking the table. */
static void append_raw(uint16_t type, const void *value, size_t len)
{
    put_u16(buf + b.len, type);
    put_u16(buf + b.len + 2, (uint16_t)len);
    memcpy(buf + b.len + 4, value, len);
    b.len += 4 + len + stun_padding(len);
}

START_TEST(first_of_several_counts)
{
    uint32_t lifetime = 0;

    begin_request();
    stun_put_u32(&b, STUN_LIFETIME, 600);
    stun_put_u32(&b, STUN_LIFETIME, 0);
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert(stun_get_u32(&m, STUN_LIFETIME, &lifetime));
    ck_assert_uint_eq(lifetime, 600);
}
END_TEST

static void put_peer(const char *text)
{
    struct addr addr;

    ck_assert(addr_parse(text, &addr));
    stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, &addr);
}

/* S11: what somebody appended behind the HMAC, with a fresh FINGERPRINT, changes nothing. */
START_TEST(s11_attributes_after_message_integrity_are_ignored)
{
    uint32_t lifetime = 0;

    begin_request();
    stun_put_u32(&b, STUN_LIFETIME, 600);
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, key, sizeof(key));
    put_peer("192.0.2.7:9");
    append_raw(0x0018, "", 0);     /* EVEN-PORT of a forbidden length */
    append_raw(0x7FFF, "abcd", 4); /* unknown, comprehension required */
    stun_put_text(&b, STUN_USERNAME, "mallory");
    stun_put_fingerprint(&b);
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert(!stun_has(&m, STUN_XOR_PEER_ADDRESS));
    ck_assert(!stun_has(&m, STUN_EVEN_PORT));
    ck_assert(!stun_has(&m, STUN_USERNAME));
    ck_assert_uint_eq(m.n_peers, 0);
    ck_assert_uint_eq(m.n_unknown, 0);
    ck_assert(stun_has(&m, STUN_FINGERPRINT));
    ck_assert(stun_get_u32(&m, STUN_LIFETIME, &lifetime));
    ck_assert_uint_eq(lifetime, 600);
    ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, sizeof(key)));
}
END_TEST

START_TEST(sha256_integrity_counts_after_sha1_and_closes_for_all_else)
{
    begin_request();
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, key, sizeof(key));
    append_raw(0x0013, "data", 4);
    stun_put_integrity(&b, STUN_INTEGRITY_SHA256, key, sizeof(key));
    stun_put_text(&b, STUN_REALM, "elsewhere");
    stun_put_fingerprint(&b);
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert(!stun_has(&m, STUN_DATA_ATTR));
    ck_assert(!stun_has(&m, STUN_REALM));
    ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, sizeof(key)));
    ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA256, key, sizeof(key)));
}
END_TEST

START_TEST(sha1_integrity_after_sha256_is_ignored)
{
    begin_request();
    stun_put_integrity(&b, STUN_INTEGRITY_SHA256, key, sizeof(key));
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, key, sizeof(key));
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert(!stun_has(&m, STUN_MESSAGE_INTEGRITY));
    ck_assert(!stun_check_integrity(&m, STUN_INTEGRITY_SHA1, key, sizeof(key)));
    ck_assert(stun_check_integrity(&m, STUN_INTEGRITY_SHA256, key, sizeof(key)));
}
END_TEST

START_TEST(an_ignored_attribute_that_overruns_is_still_malformed)
{
    begin_request();
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, key, sizeof(key));
    append_raw(0x0013, "data", 4);
    put_u16(buf + b.len - 6, 8);
    ck_assert_int_eq(finish_and_decode(), STUN_E_MALFORMED);
}
END_TEST

START_TEST(fingerprint_must_be_last)
{
    begin_request();
    stun_put_fingerprint(&b);
    stun_put_u32(&b, STUN_LIFETIME, 600);
    ck_assert_int_eq(finish_and_decode(), STUN_E_MALFORMED);
    ck_assert_uint_eq(m.method, STUN_REFRESH);
    begin_request();
    stun_put_fingerprint(&b);
    stun_put_fingerprint(&b);
    ck_assert_int_eq(finish_and_decode(), STUN_E_MALFORMED);
}
END_TEST

START_TEST(wrong_fingerprint_is_not_stun)
{
    size_t n;

    begin_request();
    stun_put_u32(&b, STUN_LIFETIME, 600);
    stun_put_fingerprint(&b);
    n = stun_finish(&b);
    ck_assert_int_eq(stun_decode(&m, buf, n), 0);
    for (size_t bit = 0; bit < 32; bit++) {
        buf[n - 4 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_int_eq(stun_decode(&m, buf, n), STUN_E_NOT_STUN);
        buf[n - 4 + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buf[STUN_HEADER_LEN + 7] ^= 1;
    ck_assert_int_eq(stun_decode(&m, buf, n), STUN_E_NOT_STUN);
}
END_TEST

START_TEST(unknown_comprehension_required_types_are_listed)
{
    static const uint16_t unknown[] = {0x0000, 0x0002, 0x0040, 0x0041, 0x7FFF, 0x1806};

    begin_request();
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        append_raw(unknown[i], "x", 1);
        append_raw((uint16_t)(0x8100 + i), "optional", 8); /* unknown, but may be skipped */
    }
    stun_put_u32(&b, STUN_LIFETIME, 1);
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert_uint_eq(m.n_unknown, sizeof(unknown) / sizeof(unknown[0]));
    for (size_t i = 0; i < m.n_unknown; i++)
        ck_assert_uint_eq(m.unknown[i], unknown[i]);
    ck_assert(stun_has(&m, STUN_LIFETIME));
}
END_TEST

START_TEST(no_type_outside_the_table_is_taken_for_one_inside)
{
    for (unsigned int type = 0; type <= 0xFFFF; type++) {
        bool known = false, taken = false;

        for (int attr = 0; attr < STUN_N_ATTRS; attr++)
            known |= stun_attrs[attr].type == type;
        if (known)
            continue;
        ck_assert_int_eq(stun_decode(&m, buf, raw_message(buf, sizeof(buf), (uint16_t)type, "", 0)),
                         0);
        ck_assert_uint_eq(m.n_unknown, type < 0x8000 ? 1 : 0);
        for (int attr = 0; attr < STUN_N_ATTRS; attr++)
            taken |= stun_has(&m, (enum stun_attr)attr);
        ck_assert(!taken);
    }
}
END_TEST

START_TEST(unknown_types_beyond_the_limit_go_unlisted)
{
    begin_request();
    for (uint16_t i = 0; i < STUN_MAX_UNKNOWN + 9; i++)
        append_raw((uint16_t)(0x0100 + i), "", 0);
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert_uint_eq(m.n_unknown, STUN_MAX_UNKNOWN);
    ck_assert_uint_eq(m.unknown[STUN_MAX_UNKNOWN - 1], 0x0100 + STUN_MAX_UNKNOWN - 1);
}
END_TEST

START_TEST(all_peers_are_kept_up_to_the_limit)
{
    struct addr addr;
    char text[32];

    begin_request();
    for (unsigned int i = 0; i < STUN_MAX_PEERS; i++) {
        snprintf(text, sizeof(text), "192.0.2.%u:%u", i + 1, i + 1000);
        put_peer(text);
    }
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert_uint_eq(m.n_peers, STUN_MAX_PEERS);
    ck_assert(!m.too_many_peers);
    for (unsigned int i = 0; i < STUN_MAX_PEERS; i++) {
        ck_assert(stun_get_peer(&m, i, &addr));
        ck_assert_uint_eq(addr.ip[3], i + 1);
        ck_assert_uint_eq(addr.port, i + 1000);
    }
    ck_assert(!stun_get_peer(&m, STUN_MAX_PEERS, &addr));
    put_peer("[2001:db8::1]:1");
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert_uint_eq(m.n_peers, STUN_MAX_PEERS);
    ck_assert(m.too_many_peers);
    ck_assert(stun_get_addr(&m, STUN_XOR_PEER_ADDRESS, &addr)); /* the first */
    ck_assert_uint_eq(addr.port, 1000);
}
END_TEST

START_TEST(the_nth_of_several_addresses_is_found_before_the_integrity)
{
    struct addr addr, want;

    begin_request();
    append_raw(0x0013, "data", 4);
    put_peer("192.0.2.1:1001");
    append_raw(0x0013, "more", 4);
    put_peer("[2001:db8::1]:1002");
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, (const uint8_t *)"key", 3);
    put_peer("192.0.2.3:1003");
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert(stun_get_addr_nth(&m, STUN_XOR_PEER_ADDRESS, 0, &addr));
    ck_assert(addr_parse("192.0.2.1:1001", &want) && addr_equal(&addr, &want));
    ck_assert(stun_get_addr_nth(&m, STUN_XOR_PEER_ADDRESS, 1, &addr));
    ck_assert(addr_parse("[2001:db8::1]:1002", &want) && addr_equal(&addr, &want));
    ck_assert(!stun_get_addr_nth(&m, STUN_XOR_PEER_ADDRESS, 2, &addr)); /* nobody vouches for it */
    ck_assert(!stun_get_addr_nth(&m, STUN_XOR_RELAYED_ADDRESS, 0, &addr));
    ck_assert(!stun_get_addr_nth(&m, STUN_DATA_ATTR, 0, &addr));
}
END_TEST

/* A raw XOR-PEER-ADDRESS for an IPv6 address written out in bytes. */
static size_t peer_message(uint8_t family, const uint8_t *ip, size_t ip_len)
{
    uint8_t value[20] = {0xEE, family, 0x12 ^ 0x21, 0x34 ^ 0x12}; /* first byte: to be ignored */

    for (size_t i = 0; i < ip_len; i++)
        value[4 + i] =
            ip[i] ^ (i < 4 ? (uint8_t)(STUN_MAGIC_COOKIE >> (24 - 8 * i)) : sample_txid[i - 4]);
    return raw_message(buf, sizeof(buf), 0x0012, value, 4 + ip_len);
}

/* S1, S2: the access rules must see ::ffff:127.0.0.1 as 127.0.0.1, while a family check (443)
 * can still see what was on the wire. */
START_TEST(mapped_ipv4_is_normalised_and_its_wire_family_still_known)
{
    static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
    struct addr addr;

    ck_assert_int_eq(stun_decode(&m, buf, peer_message(0x02, mapped, 16)), 0);
    ck_assert(stun_get_peer(&m, 0, &addr));
    ck_assert_uint_eq(addr.family, ADDR_IPV4);
    ck_assert(addr_is_loopback(&addr));
    ck_assert_uint_eq(addr.port, 0x1234);
    ck_assert_uint_eq(stun_get_peer_family(&m, 0), 0x02);

    ck_assert_int_eq(stun_decode(&m, buf, peer_message(0x01, mapped + 12, 4)), 0);
    ck_assert(stun_get_peer(&m, 0, &addr));
    ck_assert(addr_is_loopback(&addr));
    ck_assert_uint_eq(stun_get_peer_family(&m, 0), 0x01);
}
END_TEST

START_TEST(address_whose_family_does_not_fit_its_length_is_none)
{
    static const uint8_t ip[16] = {1, 2, 3, 4};
    static const struct {
        uint8_t family;
        size_t ip_len;
    } cases[] = {{0x01, 16}, {0x02, 4}, {0x00, 4}, {0x03, 4}, {0x03, 16}, {0xFF, 16}};
    struct addr addr = {.port = 77};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_int_eq(stun_decode(&m, buf, peer_message(cases[i].family, ip, cases[i].ip_len)),
                         0);
        ck_assert_uint_eq(m.n_peers, 1);
        ck_assert(!stun_get_peer(&m, 0, &addr));
        ck_assert(!stun_get_addr(&m, STUN_XOR_PEER_ADDRESS, &addr));
        ck_assert_uint_eq(stun_get_peer_family(&m, 0), cases[i].family);
        ck_assert_uint_eq(addr.port, 77);
    }
    ck_assert_uint_eq(stun_get_peer_family(&m, 1), 0);
}
END_TEST

START_TEST(plain_address_is_not_xored)
{
    static const uint8_t value[] = {0, 1, 0x12, 0x34, 192, 0, 2, 9};
    struct addr addr, expected = addr_make_v4(0xC0000209, 0x1234);

    ck_assert_int_eq(stun_decode(&m, buf, raw_message(buf, sizeof(buf), 0x0001, value, 8)), 0);
    ck_assert(stun_get_addr(&m, STUN_MAPPED_ADDRESS, &addr));
    ck_assert(addr_equal(&addr, &expected));
    ck_assert(!stun_get_addr(&m, STUN_XOR_MAPPED_ADDRESS, &addr));
    ck_assert(!stun_get_addr(&m, STUN_LIFETIME, &addr));
}
END_TEST

START_TEST(error_code_is_read_and_checked)
{
    static const struct {
        uint8_t value[4];
        unsigned int code; /* 0: none */
    } cases[] = {{{0, 0, 4, 1}, 401}, {{0, 0, 3, 0}, 300},        {{0, 0, 6, 99}, 699},
                 {{0, 0, 5, 8}, 508}, {{0xFF, 0xFF, 4, 38}, 438}, {{9, 9, 0xF8 | 4, 38}, 438},
                 {{0, 0, 2, 99}, 0},  {{0, 0, 7, 0}, 0},          {{0, 0, 0, 0}, 0},
                 {{0, 0, 4, 100}, 0}, {{0, 0, 4, 255}, 0}};
    unsigned int code;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = raw_message(buf, sizeof(buf), 0x0009, cases[i].value, 4);

        code = 0;
        ck_assert_int_eq(stun_decode(&m, buf, n), 0);
        ck_assert(stun_get_error(&m, &code) == (cases[i].code != 0));
        ck_assert_uint_eq(code, cases[i].code);
    }
    begin_request();
    ck_assert_int_eq(finish_and_decode(), 0);
    ck_assert(!stun_get_error(&m, &code));
}
END_TEST

START_TEST(absent_attributes_have_no_value)
{
    size_t len = 99;

    begin_request();
    ck_assert_int_eq(finish_and_decode(), 0);
    for (int attr = 0; attr < STUN_N_ATTRS; attr++)
        ck_assert_ptr_null(stun_get(&m, (enum stun_attr)attr, &len));
    ck_assert_uint_eq(len, 99);
}
END_TEST

static Suite *stun_attrs_suite(void)
{
    Suite *s = suite_create("wire/stun_attrs");
    TCase *t = tcase_create("attrs");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, first_of_several_counts);
    tcase_add_test(t, s11_attributes_after_message_integrity_are_ignored);
    tcase_add_test(t, sha256_integrity_counts_after_sha1_and_closes_for_all_else);
    tcase_add_test(t, sha1_integrity_after_sha256_is_ignored);
    tcase_add_test(t, an_ignored_attribute_that_overruns_is_still_malformed);
    tcase_add_test(t, fingerprint_must_be_last);
    tcase_add_test(t, wrong_fingerprint_is_not_stun);
    tcase_add_test(t, unknown_comprehension_required_types_are_listed);
    tcase_add_test(t, no_type_outside_the_table_is_taken_for_one_inside);
    tcase_add_test(t, unknown_types_beyond_the_limit_go_unlisted);
    tcase_add_test(t, all_peers_are_kept_up_to_the_limit);
    tcase_add_test(t, the_nth_of_several_addresses_is_found_before_the_integrity);
    tcase_add_test(t, mapped_ipv4_is_normalised_and_its_wire_family_still_known);
    tcase_add_test(t, address_whose_family_does_not_fit_its_length_is_none);
    tcase_add_test(t, plain_address_is_not_xored);
    tcase_add_test(t, error_code_is_read_and_checked);
    tcase_add_test(t, absent_attributes_have_no_value);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(stun_attrs_suite());
}
