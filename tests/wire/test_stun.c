#include <check.h>
#include <stdio.h>

#include "samples.h"
#include "tests/support/suite.h"
#include "touch.h"

static volatile unsigned int sink;

/* Decodes a copy of exactly these bytes and reads all of it. */
static int decode_and_touch(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = exact_copy(bytes, len);
    struct stun_msg m;
    int r = stun_decode(&m, copy, len);

    if (r != STUN_E_NOT_STUN)
        sink = touch_message(&m);
    free(copy);
    return r;
}

/* ---- the RFCs' messages ---- */

START_TEST(rfc_samples_decode)
{
    for (size_t i = 0; i < N_SAMPLES; i++)
        ck_assert_msg(decode_and_touch(samples[i].bytes, samples[i].len) == 0, "%s",
                      samples[i].name);
}
END_TEST

static void assert_text(const struct stun_msg *m, enum stun_attr attr, const char *expected)
{
    size_t len = 0;
    const uint8_t *bytes = stun_get(m, attr, &len);

    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(len, strlen(expected));
    ck_assert_mem_eq(bytes, expected, len);
}

START_TEST(rfc5769_request_has_its_attributes)
{
    struct stun_msg m;
    uint32_t priority = 0;

    ck_assert_int_eq(stun_decode(&m, rfc5769_request, sizeof(rfc5769_request)), 0);
    ck_assert_int_eq(m.class, STUN_REQUEST);
    ck_assert_uint_eq(m.method, STUN_BINDING);
    ck_assert_mem_eq(m.txid, sample_txid, sizeof(sample_txid));
    assert_text(&m, STUN_SOFTWARE, "STUN test client");
    assert_text(&m, STUN_USERNAME, "evtj:h6vY");
    ck_assert(stun_get_u32(&m, STUN_PRIORITY, &priority));
    ck_assert_uint_eq(priority, 0x6e0001ff);
    ck_assert(stun_has(&m, STUN_ICE_CONTROLLED));
    ck_assert(!stun_has(&m, STUN_ICE_CONTROLLING));
    ck_assert_uint_eq(m.n_unknown, 0);
}
END_TEST

START_TEST(rfc5769_responses_name_the_mapped_address)
{
    struct stun_msg m;
    struct addr addr, expected;

    ck_assert_int_eq(stun_decode(&m, rfc5769_response_v4, sizeof(rfc5769_response_v4)), 0);
    ck_assert_int_eq(m.class, STUN_SUCCESS);
    ck_assert(stun_get_addr(&m, STUN_XOR_MAPPED_ADDRESS, &addr));
    ck_assert(addr_parse("192.0.2.1:32853", &expected));
    ck_assert(addr_equal(&addr, &expected));

    ck_assert_int_eq(stun_decode(&m, rfc5769_response_v6, sizeof(rfc5769_response_v6)), 0);
    ck_assert(stun_get_addr(&m, STUN_XOR_MAPPED_ADDRESS, &addr));
    ck_assert(addr_parse("[2001:db8:1234:5678:11:2233:4455:6677]:32853", &expected));
    ck_assert(addr_equal(&addr, &expected));
}
END_TEST

/* ---- header ---- */

START_TEST(class_and_method_bits_are_told_apart)
{
    uint8_t msg[STUN_HEADER_LEN];
    struct stun_msg m;

    for (uint16_t type = 0; type < 0x4000; type++) {
        memcpy(msg, rfc5769_request, sizeof(msg));
        put_u16(msg, type);
        put_u16(msg + 2, 0);
        ck_assert_int_eq(stun_decode(&m, msg, sizeof(msg)), 0);
        /* RFC 8489, figure 3: M11..M7 C1 M6..M4 C0 M3..M0. */
        ck_assert_uint_eq(m.class, (unsigned int)((type & 0x100) >> 7 | (type & 0x10) >> 4));
        ck_assert_uint_eq(m.method, (type & 0x3E00) >> 2 | (type & 0xE0) >> 1 | (type & 0xF));
    }
}
END_TEST

/* On a message without FINGERPRINT, which would give the same answer for another reason. */
START_TEST(what_has_no_stun_header_is_not_stun)
{
    uint8_t msg[sizeof(rfc5769_long_term)];
    struct stun_msg m;

    for (unsigned int bit = 0; bit < 2; bit++) {
        memcpy(msg, rfc5769_long_term, sizeof(msg));
        msg[0] |= (uint8_t)(0x40 << bit);
        ck_assert_int_eq(stun_decode(&m, msg, sizeof(msg)), STUN_E_NOT_STUN);
    }
    for (size_t i = 4; i < 8; i++) { /* a classic STUN message (RFC 3489) has no cookie */
        memcpy(msg, rfc5769_long_term, sizeof(msg));
        msg[i] ^= 0x01;
        ck_assert_int_eq(stun_decode(&m, msg, sizeof(msg)), STUN_E_NOT_STUN);
    }
    for (uint8_t off = 1; off < 4; off++) { /* not a multiple of four */
        memcpy(msg, rfc5769_long_term, sizeof(msg));
        msg[3] = (uint8_t)(msg[3] - off);
        ck_assert_int_eq(stun_decode(&m, msg, sizeof(msg) - off), STUN_E_NOT_STUN);
    }
}
END_TEST

START_TEST(length_must_be_that_of_the_datagram)
{
    uint8_t msg[sizeof(rfc5769_long_term) + 4] = {0};
    struct stun_msg m;

    memcpy(msg, rfc5769_long_term, sizeof(rfc5769_long_term));
    ck_assert_int_eq(stun_decode(&m, msg, sizeof(msg)), STUN_E_NOT_STUN);
    ck_assert_int_eq(stun_decode(&m, msg, sizeof(msg) - 4), 0);
    ck_assert_int_eq(stun_decode(&m, msg, sizeof(msg) - 8), STUN_E_NOT_STUN);
}
END_TEST

/* ---- lengths ---- */

START_TEST(every_truncation_of_every_sample_is_refused)
{
    for (size_t i = 0; i < N_SAMPLES; i++)
        for (size_t n = 0; n < samples[i].len; n++)
            ck_assert_int_eq(decode_and_touch(samples[i].bytes, n), STUN_E_NOT_STUN);
}
END_TEST

/* As above, but the header tells the truth, so that the attribute walk meets the end. */
START_TEST(every_truncation_with_a_matching_header_stays_inside)
{
    uint8_t msg[256];

    for (size_t i = 0; i < N_SAMPLES; i++) {
        for (size_t n = STUN_HEADER_LEN; n < samples[i].len; n++) {
            memcpy(msg, samples[i].bytes, n);
            fix_length(msg, n);
            if (n % 4 != 0)
                ck_assert_int_eq(decode_and_touch(msg, n), STUN_E_NOT_STUN);
            else
                ck_assert_int_ne(decode_and_touch(msg, n), STUN_E_NOT_STUN);
        }
    }
}
END_TEST

/* What the RFCs say about each attribute, apart from the table under test. */
static const struct {
    enum stun_attr attr;
    uint16_t type;
    int good[5], bad[7]; /* ended by -1 */
} attr_cases[] = {
    {STUN_MAPPED_ADDRESS, 0x0001, {8, 20, -1}, {0, 4, 7, 9, 12, 24, -1}},
    {STUN_USERNAME, 0x0006, {0, 1, 508, 513, -1}, {514, 65000, -1}},
    {STUN_MESSAGE_INTEGRITY, 0x0008, {20, -1}, {0, 16, 19, 21, 32, -1}},
    {STUN_ERROR_CODE, 0x0009, {4, 5, 767, -1}, {0, 1, 2, 3, 768, -1}},
    {STUN_UNKNOWN_ATTRIBUTES, 0x000A, {0, 2, 4, 64, -1}, {1, 3, 63, -1}},
    {STUN_REALM, 0x0014, {0, 1, 763, -1}, {764, 60000, -1}},
    {STUN_NONCE, 0x0015, {0, 1, 763, -1}, {764, 60000, -1}},
    {STUN_XOR_MAPPED_ADDRESS, 0x0020, {8, 20, -1}, {0, 4, 7, 9, 12, 24, -1}},
    {STUN_MESSAGE_INTEGRITY_SHA256, 0x001C, {16, 20, 28, 32, -1}, {0, 12, 15, 17, 30, 36, -1}},
    {STUN_PASSWORD_ALGORITHM, 0x001D, {4, 8, -1}, {0, 3, -1}},
    {STUN_USERHASH, 0x001E, {32, -1}, {0, 16, 31, 33, -1}},
    {STUN_PASSWORD_ALGORITHMS, 0x8002, {4, 8, -1}, {0, 3, -1}},
    {STUN_ALTERNATE_DOMAIN, 0x8003, {1, 255, -1}, {256, -1}},
    {STUN_SOFTWARE, 0x8022, {0, 763, -1}, {764, -1}},
    {STUN_ALTERNATE_SERVER, 0x8023, {8, 20, -1}, {0, 7, 9, 19, 21, -1}},
    {STUN_FINGERPRINT, 0x8028, {-1}, {0, 3, 5, 8, -1}}, /* needs a CRC: see below */
    {STUN_CHANNEL_NUMBER, 0x000C, {4, -1}, {0, 2, 3, 5, 8, -1}},
    {STUN_LIFETIME, 0x000D, {4, -1}, {0, 2, 3, 5, 8, -1}},
    {STUN_XOR_PEER_ADDRESS, 0x0012, {8, 20, -1}, {0, 4, 7, 9, 19, 21, -1}},
    {STUN_DATA_ATTR, 0x0013, {0, 1, 1400, 65000, -1}, {-1}},
    {STUN_XOR_RELAYED_ADDRESS, 0x0016, {8, 20, -1}, {0, 4, 7, 9, 19, 21, -1}},
    {STUN_REQUESTED_ADDRESS_FAMILY, 0x0017, {4, -1}, {0, 1, 3, 5, -1}},
    {STUN_EVEN_PORT, 0x0018, {1, -1}, {0, 2, 4, -1}},
    {STUN_REQUESTED_TRANSPORT, 0x0019, {4, -1}, {0, 1, 3, 5, -1}},
    {STUN_DONT_FRAGMENT, 0x001A, {0, -1}, {1, 4, -1}},
    {STUN_RESERVATION_TOKEN, 0x0022, {8, -1}, {0, 4, 7, 9, -1}},
    {STUN_ADDITIONAL_ADDRESS_FAMILY, 0x8000, {4, -1}, {0, 1, 3, 5, -1}},
    {STUN_ADDRESS_ERROR_CODE, 0x8001, {4, 767, -1}, {0, 3, 768, -1}},
    {STUN_ICMP, 0x8004, {8, -1}, {0, 4, 7, 9, -1}},
    {STUN_CONNECTION_ID, 0x002A, {4, -1}, {0, 3, 5, 8, -1}},
    {STUN_MOBILITY_TICKET, 0x8030, {0, 1, 300, -1}, {-1}},
    {STUN_CHANGE_REQUEST, 0x0003, {4, -1}, {0, 3, 5, -1}},
    {STUN_PADDING, 0x0026, {0, 1500, -1}, {-1}},
    {STUN_RESPONSE_PORT, 0x0027, {2, 4, -1}, {0, 1, 5, -1}},
    {STUN_RESPONSE_ORIGIN, 0x802B, {8, 20, -1}, {0, 7, 9, 19, 21, -1}},
    {STUN_OTHER_ADDRESS, 0x802C, {8, 20, -1}, {0, 7, 9, 19, 21, -1}},
    {STUN_PRIORITY, 0x0024, {4, -1}, {0, 3, 5, -1}},
    {STUN_USE_CANDIDATE, 0x0025, {0, -1}, {1, 4, -1}},
    {STUN_ICE_CONTROLLED, 0x8029, {8, -1}, {0, 7, 9, -1}},
    {STUN_ICE_CONTROLLING, 0x802A, {8, -1}, {0, 7, 9, -1}},
};
#define N_ATTR_CASES (sizeof(attr_cases) / sizeof(attr_cases[0]))

static uint8_t big_value[65536];
static uint8_t big_msg[65536 + 64];

START_TEST(every_attribute_has_its_type_and_name)
{
    bool seen[STUN_N_ATTRS] = {false};

    ck_assert_uint_eq(N_ATTR_CASES, STUN_N_ATTRS);
    for (size_t i = 0; i < N_ATTR_CASES; i++) {
        enum stun_attr attr = attr_cases[i].attr;

        ck_assert(!seen[attr]);
        seen[attr] = true;
        ck_assert_uint_eq(stun_attrs[attr].type, attr_cases[i].type);
        ck_assert_ptr_nonnull(stun_attrs[attr].name);
        ck_assert_uint_gt(strlen(stun_attrs[attr].name), 3);
    }
}
END_TEST

START_TEST(allowed_lengths_are_indexed)
{
    struct stun_msg m;
    size_t n, len;

    for (size_t i = 0; i < N_ATTR_CASES; i++) {
        for (const int *good = attr_cases[i].good; *good >= 0; good++) {
            n = raw_message(big_msg, sizeof(big_msg), attr_cases[i].type, big_value, (size_t)*good);
            ck_assert_msg(stun_decode(&m, big_msg, n) == 0, "%s, %d bytes",
                          stun_attrs[attr_cases[i].attr].name, *good);
            ck_assert_ptr_eq(stun_get(&m, attr_cases[i].attr, &len), big_msg + 24);
            ck_assert_uint_eq(len, (size_t)*good);
        }
    }
}
END_TEST

START_TEST(forbidden_lengths_are_malformed_with_a_valid_header)
{
    struct stun_msg m;
    size_t n;

    for (size_t i = 0; i < N_ATTR_CASES; i++) {
        for (const int *bad = attr_cases[i].bad; *bad >= 0; bad++) {
            n = raw_message(big_msg, sizeof(big_msg), attr_cases[i].type, big_value, (size_t)*bad);
            ck_assert_msg(stun_decode(&m, big_msg, n) == STUN_E_MALFORMED, "%s, %d bytes",
                          stun_attrs[attr_cases[i].attr].name, *bad);
            ck_assert_int_eq(m.class, STUN_REQUEST);
            ck_assert_uint_eq(m.method, STUN_BINDING);
            ck_assert_mem_eq(m.txid, sample_txid, sizeof(sample_txid));
            ck_assert(!stun_has(&m, attr_cases[i].attr));
        }
    }
}
END_TEST

START_TEST(every_truncation_of_every_attribute_stays_inside)
{
    uint8_t msg[1024];
    size_t n;

    for (size_t i = 0; i < N_ATTR_CASES; i++) {
        for (const int *good = attr_cases[i].good; *good >= 0 && *good < 900; good++) {
            n = raw_message(msg, sizeof(msg), attr_cases[i].type, big_value, (size_t)*good);
            for (size_t cut = 0; cut < n; cut++)
                ck_assert_int_eq(decode_and_touch(msg, cut), STUN_E_NOT_STUN);
            for (size_t cut = STUN_HEADER_LEN + 4; cut < n; cut += 4) {
                fix_length(msg, cut);
                ck_assert_int_eq(decode_and_touch(msg, cut), STUN_E_MALFORMED);
            }
        }
    }
}
END_TEST

START_TEST(s29_lengths_near_65535_are_refused_without_wrapping)
{
    uint8_t *msg;

    /* The attribute's length runs past the message. */
    for (unsigned int len = 65500; len <= 65535; len++) {
        raw_message(big_msg, sizeof(big_msg), 0x0013, big_value, 8);
        put_u16(big_msg + 22, (uint16_t)len);
        ck_assert_int_eq(decode_and_touch(big_msg, 32), STUN_E_MALFORMED);
    }
    /* The header's length runs past the datagram. */
    raw_message(big_msg, sizeof(big_msg), 0x0013, big_value, 8);
    put_u16(big_msg + 2, 65532);
    ck_assert_int_eq(decode_and_touch(big_msg, 32), STUN_E_NOT_STUN);
    /* Both tell the truth, and a second attribute's offset would be 65536. */
    msg = calloc(1, STUN_HEADER_LEN + 65532);
    ck_assert_ptr_nonnull(msg);
    raw_message(msg, 64, 0x0013, big_value, 8);
    put_u16(msg + 2, 65532);
    put_u16(msg + 22, 65508);
    put_u16(msg + 24 + 65508, 0x0013);
    put_u16(msg + 24 + 65508 + 2, 16);
    ck_assert_int_eq(decode_and_touch(msg, STUN_HEADER_LEN + 65532), STUN_E_MALFORMED);
    free(msg);
}
END_TEST

START_TEST(the_longest_message_decodes)
{
    struct stun_msg m;
    size_t n = raw_message(big_msg, sizeof(big_msg), 0x0013, big_value, STUN_MAX_LEN - 24), len;

    ck_assert_uint_eq(n, STUN_MAX_LEN);
    ck_assert_int_eq(stun_decode(&m, big_msg, n), 0);
    ck_assert_ptr_nonnull(stun_get(&m, STUN_DATA_ATTR, &len));
    ck_assert_uint_eq(len, STUN_MAX_LEN - 24);
}
END_TEST

START_TEST(s30_odd_alignment_makes_no_difference)
{
    for (size_t i = 0; i < N_SAMPLES; i++) {
        for (size_t shift = 0; shift < 4; shift++) {
            uint8_t *block = malloc(samples[i].len + shift);
            struct stun_msg m;

            ck_assert_ptr_nonnull(block);
            memcpy(block + shift, samples[i].bytes, samples[i].len);
            ck_assert_int_eq(stun_decode(&m, block + shift, samples[i].len), 0);
            sink = touch_message(&m);
            free(block);
        }
    }
}
END_TEST

START_TEST(s30_short_values_are_not_read_as_longer_ones)
{
    struct stun_msg m;
    uint8_t u8 = 7;
    uint16_t u16 = 7;
    uint32_t u32 = 7;
    size_t n = raw_message(big_msg, sizeof(big_msg), 0x0018, "\x80", 1);

    ck_assert_int_eq(stun_decode(&m, big_msg, n), 0);
    ck_assert(stun_get_u8(&m, STUN_EVEN_PORT, &u8));
    ck_assert_uint_eq(u8, 0x80);
    ck_assert(!stun_get_u16(&m, STUN_EVEN_PORT, &u16));
    ck_assert(!stun_get_u32(&m, STUN_EVEN_PORT, &u32));
    ck_assert(!stun_get_u8(&m, STUN_LIFETIME, &u8));
    ck_assert_uint_eq(u16, 7);
    ck_assert_uint_eq(u32, 7);
}
END_TEST

static Suite *stun_suite(void)
{
    Suite *s = suite_create("wire/stun");
    TCase *t = tcase_create("decode");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, rfc_samples_decode);
    tcase_add_test(t, rfc5769_request_has_its_attributes);
    tcase_add_test(t, rfc5769_responses_name_the_mapped_address);
    tcase_add_test(t, class_and_method_bits_are_told_apart);
    tcase_add_test(t, what_has_no_stun_header_is_not_stun);
    tcase_add_test(t, length_must_be_that_of_the_datagram);
    tcase_add_test(t, every_truncation_of_every_sample_is_refused);
    tcase_add_test(t, every_truncation_with_a_matching_header_stays_inside);
    tcase_add_test(t, every_attribute_has_its_type_and_name);
    tcase_add_test(t, allowed_lengths_are_indexed);
    tcase_add_test(t, forbidden_lengths_are_malformed_with_a_valid_header);
    tcase_add_test(t, every_truncation_of_every_attribute_stays_inside);
    tcase_add_test(t, s29_lengths_near_65535_are_refused_without_wrapping);
    tcase_add_test(t, the_longest_message_decodes);
    tcase_add_test(t, s30_odd_alignment_makes_no_difference);
    tcase_add_test(t, s30_short_values_are_not_read_as_longer_ones);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(stun_suite());
}
