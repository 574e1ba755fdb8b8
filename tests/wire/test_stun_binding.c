/* Answers to Binding requests (RFC 8489, sections 6.3.1 and 7.3.1). */
#include <check.h>
#include <string.h>

#include "common/wire/stun.h"
#include "tests/support/suite.h"

static const uint8_t txid[STUN_TXID_LEN] = "twelve bytes";
static uint8_t request[256], answer[STUN_BINDING_ANSWER_MAX];
static struct stun_builder b;
static struct stun_msg m;

static struct addr mapped(const char *text)
{
    struct addr addr;

    ck_assert(addr_parse(text, &addr));
    return addr;
}

static void begin(enum stun_class class, uint16_t method)
{
    stun_begin(&b, request, sizeof(request), class, method, txid);
}

static size_t answered(const char *text)
{
    struct addr addr = mapped(text);

    return stun_answer_binding(answer, request, stun_finish(&b), &addr);
}

START_TEST(it_shows_the_address_under_the_requests_id)
{
    static const char *const shown[] = {"203.0.113.9:50000", "[2001:db8::9]:1"};

    for (size_t i = 0; i < 2; i++) {
        struct addr addr, expected = mapped(shown[i]);

        begin(STUN_REQUEST, STUN_BINDING);
        ck_assert_int_eq(stun_decode(&m, answer, answered(shown[i])), 0);
        ck_assert_int_eq(m.class, STUN_SUCCESS);
        ck_assert_uint_eq(m.method, STUN_BINDING);
        ck_assert_mem_eq(m.txid, txid, sizeof(txid));
        ck_assert(stun_get_addr(&m, STUN_XOR_MAPPED_ADDRESS, &addr));
        ck_assert(addr_equal(&addr, &expected));
        ck_assert(!stun_has(&m, STUN_FINGERPRINT));
    }
}
END_TEST

START_TEST(a_fingerprint_is_answered_with_one)
{
    begin(STUN_REQUEST, STUN_BINDING);
    stun_put_fingerprint(&b);
    ck_assert_int_eq(stun_decode(&m, answer, answered("[2001:db8::9]:1")), 0);
    ck_assert(stun_has(&m, STUN_FINGERPRINT));
}
END_TEST

START_TEST(what_ice_puts_in_is_ignored)
{
    begin(STUN_REQUEST, STUN_BINDING);
    stun_put_text(&b, STUN_USERNAME, "abcd:efgh");
    stun_put_u32(&b, STUN_PRIORITY, 1);
    stun_put(&b, STUN_ICE_CONTROLLED, txid, 8);
    ck_assert_int_eq(stun_decode(&m, answer, answered("203.0.113.9:1")), 0);
    ck_assert_int_eq(m.class, STUN_SUCCESS);
}
END_TEST

START_TEST(unknown_attributes_that_must_be_understood_are_named)
{
    unsigned int code = 0;
    const uint8_t *types;
    size_t len;

    begin(STUN_REQUEST, STUN_BINDING);
    for (unsigned int i = 0; i < STUN_MAX_UNKNOWN + 2; i++) {
        const uint8_t attr[] = {0x7f, (uint8_t)i, 0, 0};

        memcpy(request + b.len, attr, sizeof(attr));
        b.len += sizeof(attr);
    }
    stun_put_fingerprint(&b);
    ck_assert_int_eq(stun_decode(&m, answer, answered("203.0.113.9:1")), 0);
    ck_assert_int_eq(m.class, STUN_ERROR);
    ck_assert(stun_get_error(&m, &code));
    ck_assert_uint_eq(code, 420);
    types = stun_get(&m, STUN_UNKNOWN_ATTRIBUTES, &len);
    ck_assert_uint_eq(len, 2 * STUN_MAX_UNKNOWN);
    ck_assert_mem_eq(types, "\x7f\x00\x7f\x01", 4);
    ck_assert(!stun_has(&m, STUN_XOR_MAPPED_ADDRESS));
}
END_TEST

START_TEST(nothing_else_is_answered)
{
    static const struct {
        enum stun_class class;
        uint16_t method;
    } others[] = {{STUN_INDICATION, STUN_BINDING},
                  {STUN_SUCCESS, STUN_BINDING},
                  {STUN_ERROR, STUN_BINDING},
                  {STUN_REQUEST, STUN_ALLOCATE},
                  {STUN_REQUEST, STUN_CREATE_PERMISSION}};
    struct addr addr = mapped("203.0.113.9:1");

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        begin(others[i].class, others[i].method);
        ck_assert_uint_eq(answered("203.0.113.9:1"), 0);
    }
    begin(STUN_REQUEST, STUN_BINDING);
    ck_assert_uint_eq(stun_answer_binding(answer, request, stun_finish(&b) - 1, &addr), 0);
    ck_assert_uint_eq(stun_answer_binding(answer, (const uint8_t *)"hello", 5, &addr), 0);
    ck_assert_uint_eq(stun_answer_binding(answer, request, 0, &addr), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wire/stun_binding");
    TCase *t = tcase_create("binding");

    tcase_add_test(t, it_shows_the_address_under_the_requests_id);
    tcase_add_test(t, a_fingerprint_is_answered_with_one);
    tcase_add_test(t, what_ice_puts_in_is_ignored);
    tcase_add_test(t, unknown_attributes_that_must_be_understood_are_named);
    tcase_add_test(t, nothing_else_is_answered);
    suite_add_tcase(s, t);
    return suite_run(s);
}
