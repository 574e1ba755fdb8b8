#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire/dns.h"
#include "tests/support/suite.h"

static const uint8_t query[] = "\x12\x34\x01\x10\x00\x01\x00\x00\x00\x00\x00\x01"
                               "\x03wWw\x07"
                               "example\x03"
                               "com\x00\x00\x1c\x00\x01"
                               "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
#define QUERY_LEN    (sizeof(query) - 1)
#define QUESTION_LEN 21

/* Reads from a heap buffer of just that size. */
static int read_copy(const uint8_t *data, size_t len, struct dns_question *ret)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    int r;

    if (len > 0)
        memcpy(copy, data, len);
    r = dns_read_query(copy, len, ret);
    free(copy);
    return r;
}

START_TEST(a_query_is_read)
{
    struct dns_question q;

    ck_assert_int_eq(read_copy(query, QUERY_LEN, &q), 0);
    ck_assert_uint_eq(q.id, 0x1234);
    ck_assert_uint_eq(q.type, 28);
    ck_assert_uint_eq(q.question_len, QUESTION_LEN);
    ck_assert_str_eq(q.name, "www.example.com");
}
END_TEST

START_TEST(a_query_cut_anywhere_is_an_error_or_none)
{
    struct dns_question q;

    for (size_t n = 0; n < 12; n++)
        ck_assert_int_eq(read_copy(query, n, &q), -EBADMSG);
    for (size_t n = 12; n < 12 + QUESTION_LEN; n++) {
        ck_assert_int_eq(read_copy(query, n, &q), DNS_RCODE_FORMERR);
        ck_assert_uint_eq(q.question_len, 0);
        ck_assert_uint_eq(q.id, 0x1234);
    }
    for (size_t n = 12 + QUESTION_LEN; n <= QUERY_LEN; n++)
        ck_assert_int_eq(read_copy(query, n, &q), 0);
}
END_TEST

START_TEST(what_is_no_plain_query_is_told)
{
    struct dns_question q;
    uint8_t m[QUERY_LEN];

    memcpy(m, query, sizeof(m));
    m[2] |= 0x80;
    ck_assert_int_eq(read_copy(m, sizeof(m), &q), -EBADMSG);
    memcpy(m, query, sizeof(m));
    m[2] |= 0x20;
    ck_assert_int_eq(read_copy(m, sizeof(m), &q), DNS_RCODE_NOTIMP);
    memcpy(m, query, sizeof(m));
    m[5] = 0;
    ck_assert_int_eq(read_copy(m, sizeof(m), &q), DNS_RCODE_FORMERR);
    m[5] = 2;
    ck_assert_int_eq(read_copy(m, sizeof(m), &q), DNS_RCODE_FORMERR);
    memcpy(m, query, sizeof(m));
    m[12] = 0xc0; /* a pointer */
    ck_assert_int_eq(read_copy(m, sizeof(m), &q), DNS_RCODE_FORMERR);
    m[12] = 0x43;
    ck_assert_int_eq(read_copy(m, sizeof(m), &q), DNS_RCODE_FORMERR);
}
END_TEST

/* Labels of 63: with `last` bytes in the fourth. */
static size_t long_query(uint8_t *m, uint8_t last)
{
    size_t at = 12;

    memcpy(m, query, 12);
    for (int i = 0; i < 4; i++) {
        uint8_t n = i < 3 ? 63 : last;

        m[at++] = n;
        memset(m + at, 'a', n);
        at += n;
    }
    m[at++] = 0;
    memcpy(m + at, "\0\1\0\1", 4);
    return at + 4;
}

START_TEST(a_name_is_at_most_253_characters)
{
    struct dns_question q;
    uint8_t m[512], failure[DNS_FAILURE_MAX];
    size_t len = long_query(m, 61);

    ck_assert_int_eq(read_copy(m, len, &q), 0);
    ck_assert_uint_eq(strlen(q.name), 253);
    ck_assert_uint_eq(dns_put_failure(failure, m, &q, DNS_RCODE_NXDOMAIN), DNS_FAILURE_MAX);
    len = long_query(m, 62);
    ck_assert_int_eq(read_copy(m, len, &q), DNS_RCODE_FORMERR);
}
END_TEST

START_TEST(the_root_has_an_empty_name)
{
    struct dns_question q;
    uint8_t m[17];

    memcpy(m, query, 12);
    memcpy(m + 12, "\0\0\2\0\1", 5);
    ck_assert_int_eq(read_copy(m, sizeof(m), &q), 0);
    ck_assert_str_eq(q.name, "");
}
END_TEST

START_TEST(no_label_looks_like_two)
{
    struct dns_question q;
    uint8_t m[QUERY_LEN];

    memcpy(m, query, sizeof(m));
    m[13] = '.';
    m[14] = '\0';
    m[15] = ' ';
    ck_assert_int_eq(read_copy(m, sizeof(m), &q), 0);
    ck_assert_str_eq(q.name, "???.example.com");
}
END_TEST

START_TEST(a_failure_repeats_the_question_and_nothing_else)
{
    uint8_t m[DNS_FAILURE_MAX];
    struct dns_question q;

    ck_assert_int_eq(read_copy(query, QUERY_LEN, &q), 0);
    ck_assert_uint_eq(dns_put_failure(m, query, &q, DNS_RCODE_SERVFAIL), 12 + QUESTION_LEN);
    ck_assert_mem_eq(m, "\x12\x34\x81\x92\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    ck_assert_mem_eq(m + 12, query + 12, QUESTION_LEN);
    ck_assert_int_eq(read_copy(query, 20, &q), DNS_RCODE_FORMERR);
    ck_assert_uint_eq(dns_put_failure(m, query, &q, DNS_RCODE_FORMERR), 12);
    ck_assert_mem_eq(m, "\x12\x34\x81\x91\x00\x00\x00\x00\x00\x00\x00\x00", 12);
}
END_TEST

START_TEST(an_answer_has_the_id_and_the_question)
{
    const uint8_t *question = query + 12;
    uint8_t m[QUERY_LEN];

    memcpy(m, query, sizeof(m));
    ck_assert(!dns_answers(m, sizeof(m), 0x1234, question, QUESTION_LEN));
    m[2] |= 0x80;
    ck_assert(dns_answers(m, sizeof(m), 0x1234, question, QUESTION_LEN));
    ck_assert(!dns_answers(m, sizeof(m), 0x1235, question, QUESTION_LEN));
    for (size_t n = 0; n < 12 + QUESTION_LEN; n++)
        ck_assert(!dns_answers(m, n, 0x1234, question, QUESTION_LEN));
    m[13] = 'v';
    ck_assert(!dns_answers(m, sizeof(m), 0x1234, question, QUESTION_LEN));
    m[5] = 0; /* without a question: only an error may be */
    ck_assert(!dns_answers(m, 12, 0x1234, question, QUESTION_LEN));
    m[3] = 0x04;
    ck_assert(dns_answers(m, 12, 0x1234, question, QUESTION_LEN));
}
END_TEST

START_TEST(local_names_are_not_global)
{
    static const char *const local[] = {
        "", "host", "x.onion", "x.local", "a.b.localhost", "x.internal", "1.2.3.4", "a.0x7f"};
    static const char *const global[] = {"example.com", "1.2.3.4.in-addr.arpa", "onion.example",
                                         "x.0xz"};

    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        ck_assert_msg(!dns_name_is_global(local[i]), "%s", local[i]);
    for (size_t i = 0; i < sizeof(global) / sizeof(global[0]); i++)
        ck_assert_msg(dns_name_is_global(global[i]), "%s", global[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wire/dns");
    TCase *t = tcase_create("dns");

    tcase_add_test(t, a_query_is_read);
    tcase_add_test(t, a_query_cut_anywhere_is_an_error_or_none);
    tcase_add_test(t, what_is_no_plain_query_is_told);
    tcase_add_test(t, a_name_is_at_most_253_characters);
    tcase_add_test(t, the_root_has_an_empty_name);
    tcase_add_test(t, no_label_looks_like_two);
    tcase_add_test(t, a_failure_repeats_the_question_and_nothing_else);
    tcase_add_test(t, an_answer_has_the_id_and_the_question);
    tcase_add_test(t, local_names_are_not_global);
    suite_add_tcase(s, t);
    return suite_run(s);
}
