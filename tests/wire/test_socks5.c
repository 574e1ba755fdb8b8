#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire/socks5.h"
#include "samples.h"
#include "tests/support/suite.h"

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

/* ---- each message whole, cut at every byte, and with bytes behind it ---- */

enum kind {
    METHODS,
    LOGIN,
    REQUEST,
};

static ptrdiff_t read_exact(enum kind kind, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = exact_copy(bytes, len);
    struct socks5_methods methods;
    struct socks5_login login;
    struct socks5_request request;
    ptrdiff_t n = kind == METHODS ? socks5_read_methods(copy, len, &methods)
                  : kind == LOGIN ? socks5_read_login(copy, len, &login)
                                  : socks5_read_request(copy, len, &request);

    free(copy);
    return n;
}

static const struct {
    enum kind kind;
    const uint8_t *bytes;
    size_t len;
} messages[] = {
    {METHODS, BYTES("\x05\x00")},
    {METHODS, BYTES("\x05\x03\x00\x01\x02")},
    {LOGIN, BYTES("\x01\x01u\x00")},
    {LOGIN, BYTES("\x01\x05"
                  "alice\x0A"
                  "wonderland")},
    {REQUEST, BYTES("\x05\x01\x00\x01\xCB\x00\x71\x09\x17\x70")},
    {REQUEST, BYTES("\x05\x02\x00\x03\x0C"
                    "peer.example\x17\x70")},
    {REQUEST, BYTES("\x05\x03\x00\x04\x20\x01\x0D\xB8\0\x09\0\0\0\0\0\0\0\0\0\x09\x17\x70")},
};

#define N_MESSAGES (sizeof(messages) / sizeof(messages[0]))

START_TEST(a_message_is_incomplete_until_its_last_byte)
{
    for (size_t i = 0; i < N_MESSAGES; i++) {
        uint8_t more[64];

        for (size_t n = 0; n < messages[i].len; n++)
            ck_assert_int_eq(read_exact(messages[i].kind, messages[i].bytes, n), 0);
        memcpy(more, messages[i].bytes, messages[i].len);
        memset(more + messages[i].len, 0xA5, 9);
        for (size_t n = 0; n < 9; n++)
            ck_assert_int_eq(read_exact(messages[i].kind, more, messages[i].len + n),
                             (ptrdiff_t)messages[i].len);
    }
}
END_TEST

START_TEST(another_version_is_a_protocol_error_at_its_first_byte)
{
    for (unsigned int version = 0; version < 256; version++) {
        uint8_t byte = (uint8_t)version;

        ck_assert_int_eq(read_exact(METHODS, &byte, 1), version == 5 ? 0 : -EPROTO);
        ck_assert_int_eq(read_exact(REQUEST, &byte, 1), version == 5 ? 0 : -EPROTO);
        ck_assert_int_eq(read_exact(LOGIN, &byte, 1), version == 1 ? 0 : -EPROTO);
    }
}
END_TEST

START_TEST(methods_are_found_wherever_they_stand)
{
    struct socks5_methods m = {0};

    ck_assert_int_eq(socks5_read_methods(BYTES("\x05\x03\x01\x80\x02"), &m), 5);
    ck_assert(!m.none && m.login);
    ck_assert_int_eq(socks5_read_methods(BYTES("\x05\x01\x00"), &m), 3);
    ck_assert(m.none && !m.login);
    /* What follows the list is not of it. */
    ck_assert_int_eq(socks5_read_methods(BYTES("\x05\x01\x01\x00\x02"), &m), 3);
    ck_assert(!m.none && !m.login);
}
END_TEST

START_TEST(the_longest_login_fits_and_one_without_a_name_is_none)
{
    static uint8_t bytes[2 + 255 + 1 + 255] = {1, 255};
    struct socks5_login l;

    memset(bytes + 2, 'n', 255);
    bytes[2 + 255] = 255;
    memset(bytes + 3 + 255, 'p', 255);
    ck_assert_int_eq(socks5_read_login(bytes, sizeof(bytes), &l), sizeof(bytes));
    ck_assert_uint_eq(l.name_len, 255);
    ck_assert_uint_eq(l.password_len, 255);
    ck_assert_uint_eq(strlen(l.name), 255);
    ck_assert_uint_eq(strlen(l.password), 255);
    for (size_t n = 0; n < sizeof(bytes); n++)
        ck_assert_int_eq(read_exact(LOGIN, bytes, n), 0);
    ck_assert_int_eq(read_exact(LOGIN, BYTES("\x01\x00")), -EPROTO);
}
END_TEST

/* ---- requests ---- */

static enum socks5_rep refusal(const uint8_t *bytes, size_t len)
{
    struct socks5_request r;

    ck_assert_int_gt(socks5_read_request(bytes, len, &r), 0);
    return r.refusal;
}

START_TEST(each_fault_of_a_request_has_its_code_as_soon_as_it_shows)
{
    ck_assert_int_eq(refusal(BYTES("\x05\x01\x01")), SOCKS5_FAILED);
    ck_assert_int_eq(refusal(BYTES("\x05\x00\x00")), SOCKS5_BAD_COMMAND);
    ck_assert_int_eq(refusal(BYTES("\x05\x04\x00")), SOCKS5_BAD_COMMAND);
    ck_assert_int_eq(refusal(BYTES("\x05\x01\x00\x00")), SOCKS5_BAD_ADDRESS_TYPE);
    ck_assert_int_eq(refusal(BYTES("\x05\x01\x00\x02")), SOCKS5_BAD_ADDRESS_TYPE);
    ck_assert_int_eq(refusal(BYTES("\x05\x01\x00\x05")), SOCKS5_BAD_ADDRESS_TYPE);
    ck_assert_int_eq(refusal(BYTES("\x05\x01\x00\x03\x00\x00\x50")), SOCKS5_FAILED);
}
END_TEST

START_TEST(s46_only_bytes_that_a_name_may_have_make_a_name)
{
    for (unsigned int c = 0; c < 256; c++) {
        uint8_t bytes[] = {5, 1, 0, 3, 3, 'a', (uint8_t)c, 'b', 0, 80};
        bool expected = c > ' ' && c != 0x7F;

        ck_assert_int_eq(refusal(bytes, sizeof(bytes)),
                         expected ? SOCKS5_SUCCEEDED : SOCKS5_FAILED);
    }
}
END_TEST

START_TEST(s46_names_of_every_length_are_read_whole)
{
    static uint8_t bytes[5 + 255 + 2] = {5, 1, 0, 3};
    struct socks5_request r;

    memset(bytes + 5, 'n', 255);
    for (size_t len = 1; len <= 255; len++) {
        uint8_t *copy;

        bytes[4] = (uint8_t)len;
        put_u16(bytes + 5 + len, 443);
        copy = exact_copy(bytes, 5 + len + 2);
        ck_assert_int_eq(socks5_read_request(copy, 5 + len + 2, &r), (ptrdiff_t)(5 + len + 2));
        ck_assert_uint_eq(strlen(r.target.name), len);
        ck_assert_uint_eq(r.target.addr.port, 443);
        ck_assert_uint_eq(r.target.addr.family, ADDR_NONE);
        free(copy);
        for (size_t n = 0; n < 5 + len + 2; n++)
            ck_assert_int_eq(read_exact(REQUEST, bytes, n), 0);
        bytes[5 + len] = bytes[6 + len < sizeof(bytes) ? 6 + len : 5 + len] = 'n';
    }
}
END_TEST

static struct socks5_target target_of(const char *text)
{
    struct socks5_target t = {0};

    ck_assert(socks5_target_of(text, strlen(text), 80, &t));
    return t;
}

static void check_literal(const char *text, const char *addr)
{
    struct socks5_target t = target_of(text);
    struct addr expected;

    ck_assert(addr_parse(addr, &expected));
    ck_assert(addr_equal(&t.addr, &expected));
    ck_assert_str_eq(t.name, "");
}

START_TEST(ip_literals_are_addresses_and_look_alikes_are_names)
{
    static const char *const names[] = {"127.1",        "2130706433", "0x7f.0.0.1", "1.2.3.4.",
                                        "fe80::1%eth0", "[::1",       "::1]",       "1.2.3.4:80"};

    check_literal("192.0.2.1", "192.0.2.1:80");
    check_literal("2001:db8::1", "[2001:db8::1]:80");
    check_literal("[2001:db8::1]", "[2001:db8::1]:80");
    check_literal("::ffff:192.0.2.1", "192.0.2.1:80");
    check_literal("[::ffff:c000:201]", "192.0.2.1:80");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct socks5_target t = target_of(names[i]);

        ck_assert_uint_eq(t.addr.family, ADDR_NONE);
        ck_assert_str_eq(t.name, names[i]);
    }
}
END_TEST

/* ---- replies ---- */

START_TEST(replies_have_the_type_of_their_address)
{
    uint8_t buf[SOCKS5_REPLY_MAX];
    struct addr v4, v6, none = {0};

    ck_assert(addr_parse("192.0.2.1:50000", &v4));
    ck_assert(addr_parse("[2001:db8::1]:50000", &v6));
    ck_assert_uint_eq(socks5_put_reply(buf, SOCKS5_SUCCEEDED, &v4), 10);
    ck_assert_mem_eq(buf, "\x05\x00\x00\x01\xC0\x00\x02\x01\xC3\x50", 10);
    ck_assert_uint_eq(socks5_put_reply(buf, SOCKS5_SUCCEEDED, &v6), 22);
    ck_assert_mem_eq(buf, "\x05\x00\x00\x04\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x01\xC3\x50", 22);
    ck_assert_uint_eq(socks5_put_reply(buf, SOCKS5_REFUSED, &none), 10);
    ck_assert_mem_eq(buf, "\x05\x05\x00\x01\0\0\0\0\0\0", 10);
}
END_TEST

/* ---- datagrams ---- */

static bool datagram_exact(const uint8_t *bytes, size_t len, struct socks5_datagram *ret)
{
    static uint8_t *copy; /* lives until the next call: the payload is in it */

    free(copy);
    copy = exact_copy(bytes, len);
    return socks5_read_datagram(copy, len, ret);
}

START_TEST(s46_a_datagram_cut_within_its_header_is_none)
{
    static const struct {
        const uint8_t *bytes;
        size_t len;
    } headers[] = {
        {BYTES("\0\0\0\x01\xCB\x00\x71\x09\x17\x70")},
        {BYTES("\0\0\0\x03\x0C"
               "peer.example\x17\x70")},
        {BYTES("\0\0\0\x04\x20\x01\x0D\xB8\0\x09\0\0\0\0\0\0\0\0\0\x09\x17\x70")},
    };
    struct socks5_datagram d;

    for (size_t i = 0; i < 3; i++) {
        uint8_t more[64];

        for (size_t n = 0; n < headers[i].len; n++)
            ck_assert(!datagram_exact(headers[i].bytes, n, &d));
        ck_assert(datagram_exact(headers[i].bytes, headers[i].len, &d));
        ck_assert_uint_eq(d.payload_len, 0);
        ck_assert_uint_eq(d.target.addr.port, 6000);
        memcpy(more, headers[i].bytes, headers[i].len);
        memcpy(more + headers[i].len, "ping", 4);
        ck_assert(datagram_exact(more, headers[i].len + 4, &d));
        ck_assert_uint_eq(d.payload_len, 4);
        ck_assert_mem_eq(d.payload, "ping", 4);
    }
}
END_TEST

START_TEST(a_fragment_is_known_by_its_number_alone)
{
    struct socks5_datagram d;

    ck_assert(datagram_exact(BYTES("\0\0\x80"), &d));
    ck_assert_uint_eq(d.fragment, 0x80);
    ck_assert(!datagram_exact(BYTES("\0\x01\x00\x01\xCB\x00\x71\x09\x17\x70"), &d));
    ck_assert(!datagram_exact(BYTES("\x01\0\x01"), &d));
}
END_TEST

START_TEST(the_header_to_the_app_is_read_as_it_was_written)
{
    static const char *const senders[] = {"203.0.113.9:6000", "[2001:db8:9::9]:1"};
    struct socks5_datagram d;
    uint8_t buf[SOCKS5_HEADER_MAX];

    for (size_t i = 0; i < 2; i++) {
        struct addr from;
        size_t len;

        ck_assert(addr_parse(senders[i], &from));
        len = socks5_put_header(buf, &from);
        ck_assert_uint_eq(len, i == 0 ? 10 : 22);
        ck_assert(datagram_exact(buf, len, &d));
        ck_assert(addr_equal(&d.target.addr, &from));
        ck_assert_uint_eq(d.payload_len, 0);
    }
    datagram_exact(buf, 0, &d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wire/socks5");
    TCase *t = tcase_create("socks5");

    tcase_add_test(t, a_message_is_incomplete_until_its_last_byte);
    tcase_add_test(t, another_version_is_a_protocol_error_at_its_first_byte);
    tcase_add_test(t, methods_are_found_wherever_they_stand);
    tcase_add_test(t, the_longest_login_fits_and_one_without_a_name_is_none);
    tcase_add_test(t, each_fault_of_a_request_has_its_code_as_soon_as_it_shows);
    tcase_add_test(t, s46_only_bytes_that_a_name_may_have_make_a_name);
    tcase_add_test(t, s46_names_of_every_length_are_read_whole);
    tcase_add_test(t, ip_literals_are_addresses_and_look_alikes_are_names);
    tcase_add_test(t, replies_have_the_type_of_their_address);
    tcase_add_test(t, s46_a_datagram_cut_within_its_header_is_none);
    tcase_add_test(t, a_fragment_is_known_by_its_number_alone);
    tcase_add_test(t, the_header_to_the_app_is_read_as_it_was_written);
    suite_add_tcase(s, t);
    return suite_run(s);
}
