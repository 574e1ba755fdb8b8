/*
 * Strangers: what a flood of them leaves behind, how many answers one address
 * gets, and how large an answer is.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc;
static struct login login;

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    login = login_old(fc, "alice", "wonderland");
}

static void teardown(void)
{
    world_free(w);
}

/* ---- floods ---- */

START_TEST(s18_an_allocate_flood_keeps_no_state)
{
    for (unsigned int i = 0; i < 200; i++) {
        struct req r;

        allocate_begin(&r);
        ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 401);
    }
    ck_assert_uint_eq(fc->n_kept, 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(w->exit.n_opened, 0);
    ck_assert_uint_eq(quota_total(w->quota), 0);
}
END_TEST

/* Return: how many of `n` were answered. */
static unsigned int flood(enum transport transport, const char *ip, unsigned int n,
                          const struct login *with)
{
    unsigned int n_answered = 0;

    for (unsigned int i = 0; i < n; i++) {
        struct fake_client *c;
        char text[ADDR_STRLEN];
        struct req r;

        snprintf(text, sizeof(text), "%s:%u", ip, 10000 + i);
        c = fake_client_new(w->turn, transport, text, RELAY);
        allocate_begin(&r);
        ck_assert_int_eq(fake_client_give(c, r.buf, req_end(&r, with)), 0);
        n_answered += c->n_sent > 0;
        fake_client_free(c);
    }
    return n_answered;
}

START_TEST(s19_one_address_gets_no_more_answers_than_the_limit_from_all_its_ports)
{
    w->conf->unauthenticated_rate = 20;
    ck_assert_uint_eq(flood(TRANSPORT_UDP, "198.51.100.1", 50, NULL), 20);
    ck_assert_uint_eq(w->counters.rate_limited, 30);
    ck_assert_uint_eq(flood(TRANSPORT_UDP, "198.51.100.2", 50, NULL), 20);
    world_pass(1);
    ck_assert_uint_eq(flood(TRANSPORT_UDP, "198.51.100.1", 50, NULL), 20);
}
END_TEST

START_TEST(s19_wrong_passwords_stay_under_the_limit_too)
{
    struct login bad = login_old(fc, "alice", "looking-glass");

    w->conf->unauthenticated_rate = 20;
    ck_assert_uint_le(flood(TRANSPORT_UDP, "198.51.100.77", 50, &bad), 20);
}
END_TEST

START_TEST(s19_transports_that_proved_the_address_are_not_limited)
{
    w->conf->unauthenticated_rate = 1;
    ck_assert_uint_eq(flood(TRANSPORT_TCP, "198.51.100.1", 30, NULL), 30);
    ck_assert_uint_eq(flood(TRANSPORT_TLS, "198.51.100.1", 30, NULL), 30);
    ck_assert_uint_eq(flood(TRANSPORT_DTLS, "198.51.100.1", 30, NULL), 30);
}
END_TEST

START_TEST(a_client_with_an_allocation_is_not_limited)
{
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    w->conf->unauthenticated_rate = 1;
    for (unsigned int i = 0; i < 30; i++) {
        struct req r;

        req_begin(&r, STUN_BINDING);
        ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 0);
    }
}
END_TEST

START_TEST(s19_every_kind_of_answer_to_strangers_is_limited)
{
    static const struct {
        uint16_t method, raw_type;
    } kinds[] = {{STUN_BINDING, 0}, {0x007F, 0}, {STUN_ALLOCATE, 0x0019}, {STUN_BINDING, 0x7ABC}};

    w->conf->unauthenticated_rate = 1;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        world_pass(10);
        fake_client_forget(fc);
        for (unsigned int n = 0; n < 5; n++) {
            struct req r;

            req_begin(&r, kinds[i].method);
            if (kinds[i].raw_type)
                req_put_raw(&r, kinds[i].raw_type, "x", 1);
            ck_assert_int_eq(fake_client_give(fc, r.buf, req_end(&r, NULL)), 0);
        }
        ck_assert_uint_eq(fc->n_sent, 1);
    }
}
END_TEST

/* ---- amplification: bytes on the wire, with Ethernet, IPv4 and UDP headers ---- */

#define WIRE_OVERHEAD (14 + 20 + 8)

static double amplification(struct req *r)
{
    struct reply reply;
    size_t len = req_end(r, NULL);

    req_send(fc, r, &reply);
    ck_assert(reply.any);
    return (double)(reply.len + WIRE_OVERHEAD) / (double)(len + WIRE_OVERHEAD);
}

START_TEST(s20_a_401_is_at_most_twice_as_large_as_the_allocate)
{
    struct req r;

    allocate_begin(&r);
    ck_assert_double_le(amplification(&r), 2.0);
}
END_TEST

START_TEST(s20_a_binding_answer_is_at_most_1_6_times_as_large)
{
    struct req r;

    req_begin(&r, STUN_BINDING);
    ck_assert_double_le(amplification(&r), 1.6);
}
END_TEST

START_TEST(s20_other_errors_to_strangers_are_smaller_than_twice_the_request)
{
    struct req r;

    req_begin(&r, 0x007F);
    ck_assert_double_le(amplification(&r), 1.2);
    req_begin(&r, STUN_BINDING);
    for (uint16_t i = 0; i < 20; i++)
        req_put_raw(&r, (uint16_t)(0x7000 + i), "", 0);
    ck_assert_double_le(amplification(&r), 1.2);
}
END_TEST

START_TEST(s23_what_we_send_has_zero_padding)
{
    struct reply reply;
    struct req r;
    size_t len;
    const uint8_t *nonce;

    allocate_begin(&r);
    ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 401);
    nonce = stun_get(&reply.msg, STUN_NONCE, &len);
    ck_assert_uint_eq(len % 4, 1);
    ck_assert_mem_eq(nonce + len, "\0\0\0", 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/strangers");
    TCase *t = tcase_create("strangers");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, s18_an_allocate_flood_keeps_no_state);
    tcase_add_test(t, s19_one_address_gets_no_more_answers_than_the_limit_from_all_its_ports);
    tcase_add_test(t, s19_wrong_passwords_stay_under_the_limit_too);
    tcase_add_test(t, s19_transports_that_proved_the_address_are_not_limited);
    tcase_add_test(t, a_client_with_an_allocation_is_not_limited);
    tcase_add_test(t, s19_every_kind_of_answer_to_strangers_is_limited);
    tcase_add_test(t, s20_a_401_is_at_most_twice_as_large_as_the_allocate);
    tcase_add_test(t, s20_a_binding_answer_is_at_most_1_6_times_as_large);
    tcase_add_test(t, s20_other_errors_to_strangers_are_smaller_than_twice_the_request);
    tcase_add_test(t, s23_what_we_send_has_zero_padding);
    suite_add_tcase(s, t);
    return suite_run(s);
}
