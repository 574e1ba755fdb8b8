/* What the builder writes, byte for byte, and that decoding gives it back. */
#include <check.h>
#include <stdlib.h>

#include "samples.h"
#include "tests/support/suite.h"

static uint8_t buf[2048];
static struct stun_builder b;
static struct stun_msg m;

static void begin_request(void)
{
    memset(buf, 0xA5, sizeof(buf)); /* S23: what was there before must not get out */
    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_ALLOCATE, sample_txid);
}

static void finish_and_decode(void)
{
    size_t n = stun_finish(&b);

    ck_assert_uint_gt(n, 0);
    ck_assert_int_eq(stun_decode(&m, buf, n), 0);
}

static struct addr parse(const char *text)
{
    struct addr addr = {0};

    ck_assert(addr_parse(text, &addr));
    return addr;
}

static void assert_same(size_t n, const uint8_t *expected, size_t len)
{
    ck_assert_uint_eq(n, len);
    ck_assert_mem_eq(buf, expected, len);
}

/* The RFC pads with blanks in places; these two messages have zeros, as we write. */
START_TEST(rfc_messages_are_rebuilt_byte_for_byte)
{
    static const uint8_t txid[] = {0x78, 0xad, 0x34, 0x33, 0xc6, 0xad,
                                   0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e};
    uint8_t key[STUN_KEY_MAX], hash[32];
    size_t len;

    memset(buf, 0xA5, sizeof(buf));
    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, txid);
    stun_put_text(&b, STUN_USERNAME, RFC_USER);
    stun_put_text(&b, STUN_NONCE, "f//499k954d6OL34oL9FSTvy64sA");
    stun_put_text(&b, STUN_REALM, RFC_REALM);
    len = stun_long_term_key(STUN_PASSWORD_MD5, RFC_USER, RFC_REALM, RFC_PASSWORD, key);
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, key, len);
    assert_same(stun_finish(&b), rfc5769_long_term, sizeof(rfc5769_long_term));

    memset(buf, 0xA5, sizeof(buf));
    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, txid);
    ck_assert_int_eq(stun_userhash(RFC_USER, RFC_REALM, hash), 0);
    stun_put(&b, STUN_USERHASH, hash, sizeof(hash));
    stun_put_text(&b, STUN_NONCE, "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA");
    stun_put_text(&b, STUN_REALM, RFC_REALM);
    stun_put_u32(&b, STUN_PASSWORD_ALGORITHM, (uint32_t)STUN_PASSWORD_SHA256 << 16);
    len = stun_long_term_key(STUN_PASSWORD_SHA256, RFC_USER, RFC_REALM, RFC_PASSWORD, key);
    stun_put_integrity(&b, STUN_INTEGRITY_SHA256, key, len);
    assert_same(stun_finish(&b), rfc8489_b1, sizeof(rfc8489_b1));
}
END_TEST

START_TEST(fingerprint_of_an_rfc_message_is_recomputed)
{
    size_t attr = sizeof(rfc5769_request) - 8;

    memcpy(buf, rfc5769_request, attr);
    b = (struct stun_builder){.buf = buf, .cap = sizeof(buf), .len = attr};
    stun_put_fingerprint(&b);
    assert_same(stun_finish(&b), rfc5769_request, sizeof(rfc5769_request));
}
END_TEST

START_TEST(s23_padding_is_zero)
{
    for (size_t len = 0; len < 9; len++) {
        size_t n;

        begin_request();
        stun_put(&b, STUN_NONCE, "12345678", len);
        stun_put_u32(&b, STUN_EVEN_PORT, 0x80u << 24);
        n = stun_finish(&b);
        ck_assert_uint_eq(n, STUN_HEADER_LEN + 4 + len + stun_padding(len) + 8);
        for (size_t i = 0; i < stun_padding(len); i++)
            ck_assert_uint_eq(buf[STUN_HEADER_LEN + 4 + len + i], 0);
        ck_assert_mem_eq(buf + n - 8, "\x00\x18\x00\x01\x80\x00\x00\x00", 8);
        ck_assert_uint_eq(buf[n], 0xA5);
    }
}
END_TEST

START_TEST(every_class_and_method_comes_back)
{
    for (int class = STUN_REQUEST; class <= STUN_ERROR; class ++) {
        for (uint16_t method = 0; method < 0x1000; method++) {
            stun_begin(&b, buf, sizeof(buf), (enum stun_class) class, method, sample_txid);
            finish_and_decode();
            ck_assert_int_eq((int)m.class, class);
            ck_assert_uint_eq(m.method, method);
            ck_assert_mem_eq(m.txid, sample_txid, sizeof(sample_txid));
        }
    }
}
END_TEST

START_TEST(known_message_types_are_the_rfcs)
{
    static const struct {
        enum stun_class class;
        enum stun_method method;
        uint16_t type;
    } cases[] = {
        {STUN_REQUEST, STUN_BINDING, 0x0001},
        {STUN_SUCCESS, STUN_BINDING, 0x0101},
        {STUN_REQUEST, STUN_ALLOCATE, 0x0003},
        {STUN_ERROR, STUN_ALLOCATE, 0x0113},
        {STUN_REQUEST, STUN_REFRESH, 0x0004},
        {STUN_INDICATION, STUN_SEND, 0x0016},
        {STUN_INDICATION, STUN_DATA, 0x0017},
        {STUN_REQUEST, STUN_CREATE_PERMISSION, 0x0008},
        {STUN_REQUEST, STUN_CHANNEL_BIND, 0x0009},
        {STUN_SUCCESS, STUN_CHANNEL_BIND, 0x0109},
        {STUN_REQUEST, STUN_CONNECT, 0x000A},
        {STUN_INDICATION, STUN_CONNECTION_ATTEMPT, 0x001C},
        {STUN_REQUEST, STUN_CONNECTION_BIND, 0x000B},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        stun_begin(&b, buf, sizeof(buf), cases[i].class, cases[i].method, sample_txid);
        ck_assert_uint_eq(stun_finish(&b), STUN_HEADER_LEN);
        ck_assert_uint_eq(buf[0] << 8 | buf[1], cases[i].type);
    }
}
END_TEST

START_TEST(every_attribute_comes_back)
{
    uint8_t value[64];

    for (size_t i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)(i * 7 + 1);
    for (int attr = 0; attr < STUN_N_ATTRS; attr++) {
        size_t min = stun_attrs[attr].min_len, len;
        const uint8_t *bytes;

        if (attr == STUN_FINGERPRINT)
            continue; /* only stun_put_fingerprint() makes a valid one */
        begin_request();
        stun_put(&b, (enum stun_attr)attr, value, min);
        finish_and_decode();
        bytes = stun_get(&m, (enum stun_attr)attr, &len);
        ck_assert_ptr_nonnull(bytes);
        ck_assert_uint_eq(len, min);
        ck_assert(min == 0 || memcmp(bytes, value, min) == 0);
    }
}
END_TEST

START_TEST(numbers_come_back)
{
    uint32_t u32 = 0;
    uint16_t u16 = 0;
    uint8_t u8 = 0;

    begin_request();
    stun_put_u32(&b, STUN_LIFETIME, 0xDEADBEEF);
    stun_put_u32(&b, STUN_CHANNEL_NUMBER, 0x4001u << 16);
    stun_put_u32(&b, STUN_REQUESTED_TRANSPORT, 17u << 24);
    stun_put_u32(&b, STUN_EVEN_PORT, 0x80u << 24);
    finish_and_decode();
    ck_assert(stun_get_u32(&m, STUN_LIFETIME, &u32));
    ck_assert_uint_eq(u32, 0xDEADBEEF);
    ck_assert(stun_get_u16(&m, STUN_CHANNEL_NUMBER, &u16));
    ck_assert_uint_eq(u16, 0x4001);
    ck_assert(stun_get_u8(&m, STUN_REQUESTED_TRANSPORT, &u8));
    ck_assert_uint_eq(u8, 17);
    ck_assert(stun_get_u8(&m, STUN_EVEN_PORT, &u8));
    ck_assert_uint_eq(u8, 0x80);
}
END_TEST

START_TEST(addresses_come_back)
{
    static const enum stun_attr attrs[] = {
        STUN_MAPPED_ADDRESS,      STUN_XOR_MAPPED_ADDRESS, STUN_XOR_PEER_ADDRESS,
        STUN_XOR_RELAYED_ADDRESS, STUN_ALTERNATE_SERVER,   STUN_RESPONSE_ORIGIN,
        STUN_OTHER_ADDRESS,
    };
    static const char *const texts[] = {"192.0.2.1:1", "255.255.255.255:65535", "0.0.0.0:0",
                                        "[2001:db8::1]:3478", "[ffff::ffff]:65535"};
    struct addr in, out;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        in = parse(texts[i]);
        begin_request();
        for (size_t k = 0; k < sizeof(attrs) / sizeof(attrs[0]); k++)
            stun_put_addr(&b, attrs[k], &in);
        finish_and_decode();
        for (size_t k = 0; k < sizeof(attrs) / sizeof(attrs[0]); k++) {
            ck_assert(stun_get_addr(&m, attrs[k], &out));
            ck_assert(addr_equal(&in, &out));
        }
    }
}
END_TEST

START_TEST(xored_address_is_the_rfcs)
{
    struct addr v4 = parse("192.0.2.1:32853");
    struct addr v6 = parse("[2001:db8:1234:5678:11:2233:4455:6677]:32853");

    begin_request();
    stun_put_addr(&b, STUN_XOR_MAPPED_ADDRESS, &v4);
    ck_assert_mem_eq(buf + STUN_HEADER_LEN, rfc5769_response_v4 + 36, 12);
    begin_request();
    stun_put_addr(&b, STUN_XOR_MAPPED_ADDRESS, &v6);
    ck_assert_mem_eq(buf + STUN_HEADER_LEN, rfc5769_response_v6 + 36, 24);
}
END_TEST

START_TEST(error_is_four_bytes_without_a_reason)
{
    static const unsigned int codes[] = {300, 400, 401, 403, 420, 437, 438, 486, 500, 508, 699};
    unsigned int code;

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        begin_request();
        stun_put_error(&b, codes[i]);
        finish_and_decode();
        ck_assert_uint_eq(b.len, STUN_HEADER_LEN + 8); /* S20: nothing to amplify */
        ck_assert(stun_get_error(&m, &code));
        ck_assert_uint_eq(code, codes[i]);
    }
}
END_TEST

START_TEST(unknown_attributes_list_types_in_order)
{
    static const uint16_t types[STUN_MAX_UNKNOWN + 5] = {0x7FFF, 0x0002, 0x0040};
    static const uint8_t expected[] = {0x00, 0x0A, 0x00, 0x06, 0x7F, 0xFF,
                                       0x00, 0x02, 0x00, 0x40, 0x00, 0x00};
    size_t len;

    begin_request();
    stun_put_unknown(&b, types, 3);
    ck_assert_uint_eq(stun_finish(&b), STUN_HEADER_LEN + sizeof(expected));
    ck_assert_mem_eq(buf + STUN_HEADER_LEN, expected, sizeof(expected));
    begin_request();
    stun_put_unknown(&b, types, STUN_MAX_UNKNOWN + 5);
    finish_and_decode();
    ck_assert_ptr_nonnull(stun_get(&m, STUN_UNKNOWN_ATTRIBUTES, &len));
    ck_assert_uint_eq(len, sizeof(types[0]) * STUN_MAX_UNKNOWN);
}
END_TEST

/* A message with all kinds of attributes, into exactly `cap` bytes of heap. */
static size_t build_into(uint8_t *out, size_t cap)
{
    static const uint16_t unknown[] = {1, 2, 3};
    struct addr addr = parse("[2001:db8::1]:3478");

    stun_begin(&b, out, cap, STUN_ERROR, STUN_ALLOCATE, sample_txid);
    stun_put_error(&b, 420);
    stun_put_unknown(&b, unknown, 3);
    stun_put_addr(&b, STUN_XOR_MAPPED_ADDRESS, &addr);
    stun_put_text(&b, STUN_SOFTWARE, "short");
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, sample_txid, sizeof(sample_txid));
    stun_put_integrity(&b, STUN_INTEGRITY_SHA256, sample_txid, sizeof(sample_txid));
    stun_put_fingerprint(&b);
    return stun_finish(&b);
}

START_TEST(what_does_not_fit_fails_and_writes_nothing_beyond)
{
    size_t whole = build_into(buf, sizeof(buf));

    ck_assert_uint_gt(whole, 0);
    for (size_t cap = 0; cap < whole; cap++) {
        uint8_t *out = malloc(cap);

        ck_assert_ptr_nonnull(out);
        ck_assert_uint_eq(build_into(out, cap), 0);
        free(out);
    }
    ck_assert_uint_eq(build_into(buf, whole), whole);
}
END_TEST

START_TEST(nothing_is_written_after_a_failure)
{
    begin_request();
    stun_put(&b, STUN_LIFETIME, "12345", 5);
    ck_assert(b.failed);
    stun_put_u32(&b, STUN_LIFETIME, 1);
    stun_put_integrity(&b, STUN_INTEGRITY_SHA1, sample_txid, sizeof(sample_txid));
    stun_put_fingerprint(&b);
    ck_assert_uint_eq(stun_finish(&b), 0);
    ck_assert_uint_eq(buf[STUN_HEADER_LEN], 0xA5);
}
END_TEST

START_TEST(what_we_would_refuse_we_do_not_send)
{
    static uint8_t big[65536];
    struct addr none = {0}, some = parse("192.0.2.1:1");

    begin_request();
    stun_put(&b, STUN_EVEN_PORT, big, 4);
    ck_assert_uint_eq(stun_finish(&b), 0);
    begin_request();
    stun_put(&b, STUN_DATA_ATTR, big, sizeof(big));
    ck_assert_uint_eq(stun_finish(&b), 0);
    begin_request();
    stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, &none);
    ck_assert_uint_eq(stun_finish(&b), 0);
    begin_request();
    stun_put_addr(&b, STUN_DATA_ATTR, &some);
    ck_assert_uint_eq(stun_finish(&b), 0);
}
END_TEST

/* ---- the Data indication's prefix ---- */

static void assert_prefix_is_what_the_builder_writes(const char *peer_text, size_t data_len)
{
    static uint8_t whole[70000], payload[70000];
    uint8_t prefix[STUN_DATA_PREFIX_MAX];
    struct addr peer = parse(peer_text), out;
    size_t prefix_len, whole_len;

    memset(payload, 0x5A, sizeof(payload));
    stun_begin(&b, whole, sizeof(whole), STUN_INDICATION, STUN_DATA, sample_txid);
    stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, &peer);
    stun_put(&b, STUN_DATA_ATTR, payload, data_len);
    whole_len = stun_finish(&b);
    memset(prefix, 0xA5, sizeof(prefix));
    prefix_len = stun_data_prefix(prefix, sample_txid, &peer, data_len);
    if (whole_len == 0) {
        ck_assert_uint_eq(prefix_len, 0);
        return;
    }
    ck_assert_uint_eq(prefix_len + data_len + stun_padding(data_len), whole_len);
    ck_assert_mem_eq(prefix, whole, prefix_len);
    ck_assert_int_eq(stun_decode(&m, whole, whole_len), 0);
    ck_assert(stun_get_peer(&m, 0, &out));
    ck_assert(addr_equal(&peer, &out));
}

START_TEST(data_prefix_equals_what_the_builder_writes)
{
    static const size_t lens[] = {0, 1, 2, 3, 4, 5, 160, 1200, 1500, 9000, 65507};

    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        assert_prefix_is_what_the_builder_writes("192.0.2.1:5000", lens[i]);
        assert_prefix_is_what_the_builder_writes("[2001:db8::7]:65535", lens[i]);
    }
    for (size_t len = 65440; len < 65540; len++) {
        assert_prefix_is_what_the_builder_writes("192.0.2.1:5000", len);
        assert_prefix_is_what_the_builder_writes("[2001:db8::7]:65535", len);
    }
}
END_TEST

START_TEST(send_prefix_equals_what_the_builder_writes)
{
    static const uint8_t payload[1201];
    static const char *const peers[] = {"192.0.2.1:5000", "[2001:db8::7]:65535"};
    struct addr peer = parse(peers[_i / 2]);
    bool dont_fragment = _i % 2;
    uint8_t whole[2000], prefix[STUN_SEND_PREFIX_MAX];
    size_t prefix_len, whole_len;

    stun_begin(&b, whole, sizeof(whole), STUN_INDICATION, STUN_SEND, sample_txid);
    stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, &peer);
    if (dont_fragment)
        stun_put(&b, STUN_DONT_FRAGMENT, NULL, 0);
    stun_put(&b, STUN_DATA_ATTR, payload, sizeof(payload));
    whole_len = stun_finish(&b);
    prefix_len = stun_send_prefix(prefix, sample_txid, &peer, dont_fragment, sizeof(payload));
    ck_assert_uint_eq(prefix_len + sizeof(payload) + 3, whole_len);
    ck_assert_mem_eq(prefix, whole, prefix_len);
    ck_assert_uint_eq(stun_send_prefix(prefix, sample_txid, &peer, dont_fragment, STUN_MAX_LEN), 0);
}
END_TEST

START_TEST(data_prefix_refuses_what_no_message_holds)
{
    uint8_t prefix[STUN_DATA_PREFIX_MAX];
    struct addr v4 = parse("192.0.2.1:1"), none = {0};

    ck_assert_uint_eq(stun_data_prefix(prefix, sample_txid, &v4, STUN_MAX_LEN - 36), 36);
    ck_assert_uint_eq(stun_data_prefix(prefix, sample_txid, &v4, STUN_MAX_LEN - 35), 0);
    ck_assert_uint_eq(stun_data_prefix(prefix, sample_txid, &v4, 65536), 0);
    ck_assert_uint_eq(stun_data_prefix(prefix, sample_txid, &v4, SIZE_MAX), 0);
    ck_assert_uint_eq(stun_data_prefix(prefix, sample_txid, &none, 4), 0);
}
END_TEST

static Suite *stun_encode_suite(void)
{
    Suite *s = suite_create("wire/stun_encode");
    TCase *t = tcase_create("encode");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, rfc_messages_are_rebuilt_byte_for_byte);
    tcase_add_test(t, fingerprint_of_an_rfc_message_is_recomputed);
    tcase_add_test(t, s23_padding_is_zero);
    tcase_add_test(t, every_class_and_method_comes_back);
    tcase_add_test(t, known_message_types_are_the_rfcs);
    tcase_add_test(t, every_attribute_comes_back);
    tcase_add_test(t, numbers_come_back);
    tcase_add_test(t, addresses_come_back);
    tcase_add_test(t, xored_address_is_the_rfcs);
    tcase_add_test(t, error_is_four_bytes_without_a_reason);
    tcase_add_test(t, unknown_attributes_list_types_in_order);
    tcase_add_test(t, what_does_not_fit_fails_and_writes_nothing_beyond);
    tcase_add_test(t, nothing_is_written_after_a_failure);
    tcase_add_test(t, what_we_would_refuse_we_do_not_send);
    tcase_add_test(t, data_prefix_equals_what_the_builder_writes);
    tcase_add_loop_test(t, send_prefix_equals_what_the_builder_writes, 0, 4);
    tcase_add_test(t, data_prefix_refuses_what_no_message_holds);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(stun_encode_suite());
}
