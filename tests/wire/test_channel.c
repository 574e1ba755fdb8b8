#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire/channel.h"
#include "samples.h"
#include "tests/support/suite.h"

START_TEST(first_byte_tells_the_kinds_apart)
{
    for (unsigned int byte = 0; byte < 256; byte++) {
        enum wire_kind expected = byte <= 3                  ? WIRE_STUN
                                  : byte >= 20 && byte <= 63 ? WIRE_DTLS
                                  : byte >= 64 && byte <= 79 ? WIRE_CHANNEL
                                                             : WIRE_OTHER;

        ck_assert_int_eq(wire_kind_of((uint8_t)byte), expected);
    }
}
END_TEST

/* Parses a copy of exactly these bytes, which lives until the next call: `*ret_payload` points
 * into it. */
static int parse_exact(const uint8_t *bytes, size_t len, uint16_t *ret_number,
                       const uint8_t **ret_payload, size_t *ret_len)
{
    static uint8_t *copy;

    free(copy);
    copy = exact_copy(bytes, len);
    return channel_parse(copy, len, ret_number, ret_payload, ret_len);
}

/* S35: RFC 8656 leaves 0x4000-0x4FFF of what RFC 5766 had. */
START_TEST(s35_only_numbers_in_the_channel_range_are_channel_data)
{
    uint8_t msg[CHANNEL_HEADER_LEN];
    const uint8_t *payload;
    uint16_t number;
    size_t len;

    for (unsigned int n = 0; n <= 0xFFFF; n++) {
        int expected = n >= 0x4000 && n <= 0x4FFF ? 0 : 1;

        channel_put_header(msg, (uint16_t)n, 0);
        number = 0;
        ck_assert_int_eq(channel_parse(msg, sizeof(msg), &number, &payload, &len), expected);
        ck_assert_int_eq(wire_kind_of(msg[0]) == WIRE_CHANNEL, expected == 0);
        ck_assert_uint_eq(number, expected == 0 ? n : 0);
    }
}
END_TEST

START_TEST(zero_length_is_legal)
{
    static const uint8_t msg[] = {0x40, 0x01, 0x00, 0x00};
    const uint8_t *payload = NULL;
    uint16_t number;
    size_t len = 7;

    ck_assert_int_eq(parse_exact(msg, sizeof(msg), &number, &payload, &len), 0);
    ck_assert_uint_eq(number, 0x4001);
    ck_assert_uint_eq(len, 0);
    ck_assert_ptr_nonnull(payload);
}
END_TEST

START_TEST(length_beyond_the_message_is_dropped)
{
    uint8_t msg[12] = {0x4F, 0xFF};
    const uint8_t *payload = NULL;
    uint16_t number = 0;
    size_t len = 0;

    for (unsigned int claimed = 0; claimed <= 0xFFFF; claimed++) {
        put_u16(msg + 2, (uint16_t)claimed);
        ck_assert_int_eq(channel_parse(msg, sizeof(msg), &number, &payload, &len),
                         claimed <= 8 ? 0 : 1);
    }
    put_u16(msg + 2, 8);
    for (size_t n = 0; n < sizeof(msg); n++)
        ck_assert_int_eq(parse_exact(msg, n, &number, &payload, &len), 1);
}
END_TEST

START_TEST(padding_is_accepted_and_not_payload)
{
    static const uint8_t msg[] = {0x40, 0x00, 0x00, 0x05, 'h', 'e', 'l', 'l', 'o', 9, 9, 9};
    const uint8_t *payload;
    uint16_t number;
    size_t len;

    for (size_t n = 9; n <= sizeof(msg); n++) {
        ck_assert_int_eq(parse_exact(msg, n, &number, &payload, &len), 0);
        ck_assert_uint_eq(len, 5);
        ck_assert_mem_eq(payload, "hello", 5);
    }
}
END_TEST

START_TEST(header_comes_back)
{
    uint8_t msg[CHANNEL_HEADER_LEN + 300] = {0};
    const uint8_t *payload;
    uint16_t number;
    size_t len;

    channel_put_header(msg, 0x4ABC, 300);
    ck_assert_mem_eq(msg, "\x4A\xBC\x01\x2C", 4);
    ck_assert_int_eq(channel_parse(msg, sizeof(msg), &number, &payload, &len), 0);
    ck_assert_uint_eq(number, 0x4ABC);
    ck_assert_uint_eq(len, 300);
    ck_assert_ptr_eq(payload, msg + CHANNEL_HEADER_LEN);
}
END_TEST

static ptrdiff_t frame_exact(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = exact_copy(bytes, len);
    ptrdiff_t r = wire_frame_len(copy, len);

    free(copy);
    return r;
}

START_TEST(stun_frame_ends_where_its_length_says)
{
    for (size_t i = 0; i < N_SAMPLES; i++) {
        for (size_t n = 0; n < 8; n++)
            ck_assert_int_eq(frame_exact(samples[i].bytes, n), 0);
        for (size_t n = 8; n <= samples[i].len; n++)
            ck_assert_int_eq(frame_exact(samples[i].bytes, n), (ptrdiff_t)samples[i].len);
    }
}
END_TEST

START_TEST(channel_frame_includes_its_padding)
{
    uint8_t msg[8] = {0x40, 0x00};

    for (unsigned int len = 0; len <= 0xFFFF; len++) {
        put_u16(msg + 2, (uint16_t)len);
        ck_assert_int_eq(wire_frame_len(msg, 4), (ptrdiff_t)(4 + (len + 3) / 4 * 4));
    }
    for (size_t n = 0; n < 4; n++)
        ck_assert_int_eq(frame_exact(msg, n), 0);
}
END_TEST

START_TEST(what_starts_no_message_is_a_protocol_error_at_once)
{
    uint8_t msg[8];

    for (unsigned int byte = 0; byte < 256; byte++) {
        enum wire_kind kind = wire_kind_of((uint8_t)byte);

        msg[0] = (uint8_t)byte;
        ck_assert_int_eq(frame_exact(msg, 1),
                         kind == WIRE_STUN || kind == WIRE_CHANNEL ? 0 : -EPROTO);
    }
    for (size_t i = 4; i < 8; i++) { /* each byte of the cookie, as soon as it is there */
        memcpy(msg, rfc5769_request, sizeof(msg));
        msg[i] ^= 0x80;
        ck_assert_int_eq(frame_exact(msg, i), 0);
        ck_assert_int_eq(frame_exact(msg, i + 1), -EPROTO);
    }
    memcpy(msg, rfc5769_request, sizeof(msg));
    msg[3] |= 2;
    ck_assert_int_eq(frame_exact(msg, 4), -EPROTO);
}
END_TEST

START_TEST(longest_frames_do_not_wrap)
{
    uint8_t msg[8];

    memcpy(msg, rfc5769_request, sizeof(msg));
    put_u16(msg + 2, 65532);
    ck_assert_int_eq(frame_exact(msg, 8), 65552);
    put_u16(msg, 0x4000);
    put_u16(msg + 2, 65535);
    ck_assert_int_eq(frame_exact(msg, 8), 65540);
}
END_TEST

static Suite *channel_suite(void)
{
    Suite *s = suite_create("wire/channel");
    TCase *t = tcase_create("channel");

    tcase_add_test(t, first_byte_tells_the_kinds_apart);
    tcase_add_test(t, s35_only_numbers_in_the_channel_range_are_channel_data);
    tcase_add_test(t, zero_length_is_legal);
    tcase_add_test(t, length_beyond_the_message_is_dropped);
    tcase_add_test(t, padding_is_accepted_and_not_payload);
    tcase_add_test(t, header_comes_back);
    tcase_add_test(t, stun_frame_ends_where_its_length_says);
    tcase_add_test(t, channel_frame_includes_its_padding);
    tcase_add_test(t, what_starts_no_message_is_a_protocol_error_at_once);
    tcase_add_test(t, longest_frames_do_not_wrap);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(channel_suite());
}
