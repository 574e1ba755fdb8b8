/*
 * Allocate (RFC 8656, section 7): what is granted, what is refused and in which
 * order.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc, *tcp;
static struct login login;

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    tcp = world_client(w, TRANSPORT_TCP, "198.51.100.77:41000");
    login = login_old(fc, "alice", "wonderland");
}

static void teardown(void)
{
    world_free(w);
}

/* An Allocate with one more attribute. */
static unsigned int allocate_with(struct fake_client *client, uint8_t protocol, enum stun_attr attr,
                                  uint32_t value)
{
    struct req r;

    req_begin(&r, STUN_ALLOCATE);
    req_put_u8(&r, STUN_REQUESTED_TRANSPORT, protocol);
    if (attr == STUN_DONT_FRAGMENT)
        stun_put(&r.b, attr, "", 0);
    else if (attr == STUN_RESERVATION_TOKEN)
        stun_put(&r.b, attr, "tokentok", 8);
    else
        stun_put_u32(&r.b, attr, value);
    return ask(client, &r, &login, NULL);
}

#define V4   (1u << 24)
#define V6   (2u << 24)
#define EVEN 0u
#define PAIR (0x80u << 24)

/* ---- granted ---- */

START_TEST(the_answer_has_relayed_address_lifetime_and_mapped_address)
{
    struct reply reply;

    ck_assert_uint_eq(ask_allocate(fc, &login, &reply), 0);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_RELAYED_ADDRESS), "192.0.2.1:50000");
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 600);
    ck_assert(stun_has(&reply.msg, STUN_XOR_MAPPED_ADDRESS));
    ck_assert(!stun_has(&reply.msg, STUN_RESERVATION_TOKEN));
    ck_assert(!stun_has(&reply.msg, STUN_ADDRESS_ERROR_CODE));
    ck_assert_uint_eq(w->counters.allocations, 1);
    ck_assert_uint_eq(w->counters.allocations_made, 1);
    ck_assert_uint_eq(w->counters.clients_udp, 1);
}
END_TEST

START_TEST(the_exit_is_told_which_address_the_client_reached)
{
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    assert_addr_eq(w->exit.last->want.local, RELAY);
    ck_assert(!w->exit.last->want.tcp);
}
END_TEST

START_TEST(every_transport_may_allocate)
{
    static const enum transport transports[] = {TRANSPORT_UDP, TRANSPORT_TCP, TRANSPORT_TLS,
                                                TRANSPORT_DTLS};

    for (size_t i = 0; i < 4; i++) {
        char text[ADDR_STRLEN];
        struct fake_client *c;

        snprintf(text, sizeof(text), "198.51.100.77:%zu", 42000 + i);
        c = world_client(w, transports[i], text);
        ck_assert_uint_eq(ask_allocate(c, &login, NULL), 0);
    }
    ck_assert_uint_eq(w->counters.clients_udp, 1);
    ck_assert_uint_eq(w->counters.clients_tcp, 1);
    ck_assert_uint_eq(w->counters.clients_tls, 1);
    ck_assert_uint_eq(w->counters.clients_dtls, 1);
}
END_TEST

static uint32_t granted(uint32_t wanted)
{
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    stun_put_u32(&r.b, STUN_LIFETIME, wanted);
    ck_assert_uint_eq(ask(fc, &r, &login, &reply), 0);
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
    return reply_u32(&reply, STUN_LIFETIME);
}

START_TEST(lifetime_is_at_least_the_default_and_at_most_the_maximum)
{
    ck_assert_uint_eq(granted(0), 600);
    ck_assert_uint_eq(granted(60), 600);
    ck_assert_uint_eq(granted(1800), 1800);
    ck_assert_uint_eq(granted(3600), 3600);
    ck_assert_uint_eq(granted(3601), 3600);
    ck_assert_uint_eq(granted(UINT32_MAX), 3600);
}
END_TEST

START_TEST(without_a_family_the_relayed_address_is_ipv4)
{
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    ck_assert(w->exit.last->want.v4);
    ck_assert(!w->exit.last->want.v6);
}
END_TEST

START_TEST(a_requested_family_is_the_one_that_is_granted)
{
    ck_assert_uint_eq(allocate_with(fc, 17, STUN_REQUESTED_ADDRESS_FAMILY, V6), 0);
    ck_assert(!w->exit.last->want.v4);
    ck_assert(w->exit.last->want.v6);
    ck_assert_uint_eq(allocate_with(tcp, 17, STUN_REQUESTED_ADDRESS_FAMILY, V4), 0);
    ck_assert(w->exit.last->want.v4);
    ck_assert(!w->exit.last->want.v6);
}
END_TEST

static void dual(struct reply *reply)
{
    struct req r;

    allocate_begin(&r);
    req_put_u8(&r, STUN_ADDITIONAL_ADDRESS_FAMILY, 2);
    ck_assert_uint_eq(ask(fc, &r, &login, reply), 0);
}

static unsigned int n_attrs(const struct reply *reply, uint16_t type)
{
    unsigned int n = 0;

    for (size_t i = STUN_HEADER_LEN; i + 4 <= reply->len;) {
        size_t len = (size_t)(reply->buf[i + 2] << 8 | reply->buf[i + 3]);

        n += (reply->buf[i] << 8 | reply->buf[i + 1]) == type;
        i += 4 + len + stun_padding(len);
    }
    return n;
}

START_TEST(an_additional_family_gives_two_relayed_addresses)
{
    struct reply reply;

    dual(&reply);
    ck_assert_uint_eq(n_attrs(&reply, 0x0016), 2);
    ck_assert(!stun_has(&reply.msg, STUN_ADDRESS_ERROR_CODE));
    ck_assert_uint_eq(w->counters.allocations, 1);
}
END_TEST

START_TEST(half_of_a_dual_allocation_comes_with_the_other_halfs_error)
{
    struct reply reply;

    w->exit.open_v6 = EXIT_E_FAMILY;
    dual(&reply);
    ck_assert_uint_eq(n_attrs(&reply, 0x0016), 1);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_RELAYED_ADDRESS), "192.0.2.1:50000");
    ck_assert_uint_eq(reply_u32(&reply, STUN_ADDRESS_ERROR_CODE), 0x02000428);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER6), 443);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
}
END_TEST

START_TEST(the_ipv4_half_may_be_the_one_that_fails)
{
    struct reply reply;

    w->exit.open_v4 = EXIT_E_CAPACITY;
    dual(&reply);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_RELAYED_ADDRESS), "[2001:db8::1]:50000");
    ck_assert_uint_eq(reply_u32(&reply, STUN_ADDRESS_ERROR_CODE), 0x01000508);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 443);
}
END_TEST

START_TEST(even_port_is_passed_on_and_reserves_only_with_the_r_bit)
{
    struct reply reply;
    struct req r;

    ck_assert_uint_eq(allocate_with(fc, 17, STUN_EVEN_PORT, EVEN), 0);
    ck_assert(w->exit.last->want.even_port);
    ck_assert(!w->exit.last->want.reserve);
    allocate_begin(&r);
    req_put_u8(&r, STUN_EVEN_PORT, 0x80);
    ck_assert_uint_eq(ask(tcp, &r, &login, &reply), 0);
    ck_assert(w->exit.last->want.reserve);
    ck_assert(stun_has(&reply.msg, STUN_RESERVATION_TOKEN));
}
END_TEST

START_TEST(s16_an_even_port_without_reservation_gives_everything_back)
{
    for (unsigned int i = 0; i < 50; i++) {
        ck_assert_uint_eq(allocate_with(fc, 17, STUN_EVEN_PORT, EVEN), 0);
        ck_assert(!w->exit.last->want.reserve);
        ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
        ck_assert_uint_eq(w->exit.n_opened, w->exit.n_closed);
    }
}
END_TEST

START_TEST(a_reservation_token_is_passed_on)
{
    ck_assert_uint_eq(allocate_with(fc, 17, STUN_RESERVATION_TOKEN, 0), 0);
    ck_assert(w->exit.last->want.has_token);
    ck_assert_mem_eq(w->exit.last->want.token, "tokentok", 8);
}
END_TEST

/* ---- refused ---- */

START_TEST(no_requested_transport_gets_400)
{
    struct req r;

    req_begin(&r, STUN_ALLOCATE);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
}
END_TEST

START_TEST(an_unknown_transport_gets_442)
{
    ck_assert_uint_eq(allocate_with(fc, 132, STUN_LIFETIME, 600), 442);
    ck_assert_uint_eq(allocate_with(fc, 0, STUN_LIFETIME, 600), 442);
}
END_TEST

START_TEST(tcp_is_refused_to_datagram_clients)
{
    struct fake_client *dtls = world_client(w, TRANSPORT_DTLS, "198.51.100.77:41001");

    ck_assert_uint_eq(ask_allocate_tcp(fc, &login), 400);
    ck_assert_uint_eq(ask_allocate_tcp(dtls, &login), 400);
    ck_assert_uint_eq(ask_allocate_tcp(tcp, &login), 0);
    ck_assert(w->exit.last->want.tcp);
}
END_TEST

START_TEST(tcp_with_even_port_dont_fragment_or_token_gets_400)
{
    ck_assert_uint_eq(allocate_with(tcp, 6, STUN_EVEN_PORT, EVEN), 400);
    ck_assert_uint_eq(allocate_with(tcp, 6, STUN_DONT_FRAGMENT, 0), 400);
    ck_assert_uint_eq(allocate_with(tcp, 6, STUN_RESERVATION_TOKEN, 0), 400);
    ck_assert_uint_eq(allocate_with(tcp, 6, STUN_REQUESTED_ADDRESS_FAMILY, V6), 0);
}
END_TEST

START_TEST(dont_fragment_is_supported)
{
    ck_assert_uint_eq(allocate_with(fc, 17, STUN_DONT_FRAGMENT, 0), 0);
}
END_TEST

static unsigned int allocate_with_two(enum stun_attr a, uint32_t a_value, enum stun_attr b,
                                      uint32_t b_value)
{
    struct req r;

    allocate_begin(&r);
    if (a == STUN_RESERVATION_TOKEN)
        stun_put(&r.b, a, "tokentok", 8);
    else
        stun_put_u32(&r.b, a, a_value);
    stun_put_u32(&r.b, b, b_value);
    return ask(fc, &r, &login, NULL);
}

START_TEST(attributes_that_exclude_each_other_get_400)
{
    ck_assert_uint_eq(allocate_with_two(STUN_RESERVATION_TOKEN, 0, STUN_EVEN_PORT, EVEN), 400);
    ck_assert_uint_eq(
        allocate_with_two(STUN_RESERVATION_TOKEN, 0, STUN_REQUESTED_ADDRESS_FAMILY, V4), 400);
    ck_assert_uint_eq(
        allocate_with_two(STUN_RESERVATION_TOKEN, 0, STUN_ADDITIONAL_ADDRESS_FAMILY, V6), 400);
    ck_assert_uint_eq(
        allocate_with_two(STUN_REQUESTED_ADDRESS_FAMILY, V4, STUN_ADDITIONAL_ADDRESS_FAMILY, V6),
        400);
    ck_assert_uint_eq(allocate_with_two(STUN_EVEN_PORT, PAIR, STUN_ADDITIONAL_ADDRESS_FAMILY, V6),
                      400);
    ck_assert_uint_eq(allocate_with_two(STUN_EVEN_PORT, EVEN, STUN_ADDITIONAL_ADDRESS_FAMILY, V6),
                      0);
}
END_TEST

START_TEST(only_ipv6_may_be_the_additional_family)
{
    ck_assert_uint_eq(allocate_with(fc, 17, STUN_ADDITIONAL_ADDRESS_FAMILY, V4), 400);
    ck_assert_uint_eq(allocate_with(fc, 17, STUN_ADDITIONAL_ADDRESS_FAMILY, 3u << 24), 400);
}
END_TEST

START_TEST(an_unknown_family_gets_440)
{
    ck_assert_uint_eq(allocate_with(fc, 17, STUN_REQUESTED_ADDRESS_FAMILY, 3u << 24), 440);
}
END_TEST

START_TEST(a_family_that_the_exit_lacks_gets_440)
{
    w->exit.open_v6 = EXIT_E_FAMILY;
    ck_assert_uint_eq(allocate_with(fc, 17, STUN_REQUESTED_ADDRESS_FAMILY, V6), 440);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(s37_what_cannot_be_satisfied_now_gets_508)
{
    static const enum exit_result results[] = {EXIT_E_CAPACITY, EXIT_E_TOKEN, EXIT_E_DOWN};

    for (size_t i = 0; i < 3; i++) {
        w->exit.open_v4 = results[i];
        ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 508);
        ck_assert_uint_eq(allocate_with(fc, 17, STUN_EVEN_PORT, PAIR), 508);
        ck_assert_uint_eq(allocate_with(fc, 17, STUN_RESERVATION_TOKEN, 0), 508);
    }
    w->exit.open_no_memory = true;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 508);
    fc->keep_fails = true;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 508);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(quota_total(w->quota), 0);
}
END_TEST

/* Each request is wrong in all the ways that follow, too: the first one decides. */
START_TEST(errors_come_in_the_order_of_rfc_8656_section_7_2)
{
    struct login wrong = login_old(fc, "alice", "looking-glass");
    struct req r;

    w->conf->max_allocations = 0;
    /* 401 before everything */
    req_begin(&r, STUN_ALLOCATE);
    req_put_raw(&r, 0x7ABC, "what", 4);
    ck_assert_uint_eq(ask(fc, &r, &wrong, NULL), 401);
    /* 400 for the transport before the families' 440 */
    req_begin(&r, STUN_ALLOCATE);
    req_put_u8(&r, STUN_REQUESTED_ADDRESS_FAMILY, 9);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
    /* 442 before the token's 400 */
    req_begin(&r, STUN_ALLOCATE);
    req_put_u8(&r, STUN_REQUESTED_TRANSPORT, 132);
    stun_put(&r.b, STUN_RESERVATION_TOKEN, "tokentok", 8);
    req_put_u8(&r, STUN_EVEN_PORT, 0);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 442);
    /* the token's 400 before 440 */
    allocate_begin(&r);
    stun_put(&r.b, STUN_RESERVATION_TOKEN, "tokentok", 8);
    req_put_u8(&r, STUN_REQUESTED_ADDRESS_FAMILY, 9);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
    /* 440 before the quota's */
    allocate_begin(&r);
    req_put_u8(&r, STUN_REQUESTED_ADDRESS_FAMILY, 9);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 440);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 508);
}
END_TEST

START_TEST(an_existing_allocation_comes_before_what_is_wrong_with_the_request)
{
    struct req r;

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    req_begin(&r, STUN_ALLOCATE);
    req_put_u8(&r, STUN_REQUESTED_TRANSPORT, 132);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 437);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/allocate");
    TCase *t = tcase_create("allocate");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_answer_has_relayed_address_lifetime_and_mapped_address);
    tcase_add_test(t, the_exit_is_told_which_address_the_client_reached);
    tcase_add_test(t, every_transport_may_allocate);
    tcase_add_test(t, lifetime_is_at_least_the_default_and_at_most_the_maximum);
    tcase_add_test(t, without_a_family_the_relayed_address_is_ipv4);
    tcase_add_test(t, a_requested_family_is_the_one_that_is_granted);
    tcase_add_test(t, an_additional_family_gives_two_relayed_addresses);
    tcase_add_test(t, half_of_a_dual_allocation_comes_with_the_other_halfs_error);
    tcase_add_test(t, the_ipv4_half_may_be_the_one_that_fails);
    tcase_add_test(t, even_port_is_passed_on_and_reserves_only_with_the_r_bit);
    tcase_add_test(t, s16_an_even_port_without_reservation_gives_everything_back);
    tcase_add_test(t, a_reservation_token_is_passed_on);
    tcase_add_test(t, no_requested_transport_gets_400);
    tcase_add_test(t, an_unknown_transport_gets_442);
    tcase_add_test(t, tcp_is_refused_to_datagram_clients);
    tcase_add_test(t, tcp_with_even_port_dont_fragment_or_token_gets_400);
    tcase_add_test(t, dont_fragment_is_supported);
    tcase_add_test(t, attributes_that_exclude_each_other_get_400);
    tcase_add_test(t, only_ipv6_may_be_the_additional_family);
    tcase_add_test(t, an_unknown_family_gets_440);
    tcase_add_test(t, a_family_that_the_exit_lacks_gets_440);
    tcase_add_test(t, s37_what_cannot_be_satisfied_now_gets_508);
    tcase_add_test(t, errors_come_in_the_order_of_rfc_8656_section_7_2);
    tcase_add_test(t, an_existing_allocation_comes_before_what_is_wrong_with_the_request);
    suite_add_tcase(s, t);
    return suite_run(s);
}
