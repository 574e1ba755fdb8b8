/*
 * Binding (RFC 8489), behaviour discovery (RFC 5780), and whose address the
 * answers show.
 */
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc;
static struct login login;

static const char discovery_conf[] =
    "[relay]\n"
    "listen = udp://192.0.2.1:3478, udp://192.0.2.1:3479, udp://192.0.2.2:3478, "
    "udp://192.0.2.2:3479, tcp://192.0.2.1:3478\n"
    "behavior-discovery = yes\n"
    "hide-client-address = no\n"
    "[users]\nalice = wonderland\n"
    "[limits]\nunauthenticated-rate = 0\n";

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    login = login_old(fc, "alice", "wonderland");
}

static void setup_discovery(void)
{
    w = world_new_with(discovery_conf);
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    login = login_old(fc, "alice", "wonderland");
}

static void teardown(void)
{
    world_free(w);
}

static void bind_now(struct fake_client *c, struct reply *reply)
{
    struct req r;

    req_begin(&r, STUN_BINDING);
    ck_assert_uint_eq(ask(c, &r, NULL, reply), 0);
}

/* ---- Binding ---- */

START_TEST(binding_needs_no_credentials)
{
    struct reply reply;

    bind_now(fc, &reply);
    ck_assert(stun_has(&reply.msg, STUN_XOR_MAPPED_ADDRESS));
    ck_assert_uint_eq(w->counters.bindings, 1);
}
END_TEST

START_TEST(binding_ignores_what_ice_puts_into_its_checks)
{
    struct reply reply;
    struct req r;

    req_begin(&r, STUN_BINDING);
    stun_put_text(&r.b, STUN_USERNAME, "evtj:h6vY");
    stun_put_u32(&r.b, STUN_PRIORITY, 0x6e0001ff);
    stun_put(&r.b, STUN_ICE_CONTROLLED, "12345678", 8);
    stun_put(&r.b, STUN_USE_CANDIDATE, "", 0);
    stun_put_integrity(&r.b, STUN_INTEGRITY_SHA1, (const uint8_t *)"some other key", 14);
    stun_put_fingerprint(&r.b);
    ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 0);
    ck_assert(stun_has(&reply.msg, STUN_FINGERPRINT));
    ck_assert(!stun_has(&reply.msg, STUN_MESSAGE_INTEGRITY));
}
END_TEST

START_TEST(binding_with_an_unknown_required_attribute_gets_420)
{
    struct req r;

    req_begin(&r, STUN_BINDING);
    req_put_raw(&r, 0x7ABC, "what", 4);
    ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 420);
}
END_TEST

START_TEST(discovery_is_off_by_default_and_its_attributes_get_420)
{
    struct reply reply;
    struct req r;
    size_t len;

    bind_now(fc, &reply);
    ck_assert(!stun_has(&reply.msg, STUN_OTHER_ADDRESS));
    ck_assert(!stun_has(&reply.msg, STUN_RESPONSE_ORIGIN));
    req_begin(&r, STUN_BINDING);
    stun_put_u32(&r.b, STUN_CHANGE_REQUEST, 6);
    stun_put(&r.b, STUN_RESPONSE_PORT, "\x12\x34\0\0", 4);
    stun_put(&r.b, STUN_PADDING, "padding!", 8);
    ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 420);
    ck_assert_mem_eq(stun_get(&reply.msg, STUN_UNKNOWN_ATTRIBUTES, &len),
                     "\x00\x03\x00\x27\x00\x26", 6);
}
END_TEST

/* ---- whose address ---- */

START_TEST(binding_shows_the_relays_address_while_the_clients_is_hidden)
{
    struct reply reply;

    bind_now(fc, &reply);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), RELAY);
}
END_TEST

START_TEST(behind_nat_binding_shows_the_public_address)
{
    struct reply reply;

    w->conf->public_v4 = at("203.0.113.200:0");
    bind_now(fc, &reply);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), "203.0.113.200:3478");
}
END_TEST

START_TEST(allocate_shows_the_relayed_address_while_the_clients_is_hidden)
{
    struct reply reply;

    ck_assert_uint_eq(ask_allocate(fc, &login, &reply), 0);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), "192.0.2.1:50000");
    assert_addr_eq(reply_addr(&reply, STUN_XOR_RELAYED_ADDRESS), "192.0.2.1:50000");
}
END_TEST

START_TEST(ipv6_clients_are_hidden_too)
{
    struct fake_client *six = world_client(w, TRANSPORT_UDP, CLIENT6);
    struct login bob = login_old(six, "bob", "builder");
    struct reply reply;
    struct req r;

    bind_now(six, &reply);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), RELAY6);
    allocate_begin(&r);
    req_put_u8(&r, STUN_REQUESTED_ADDRESS_FAMILY, 2);
    ck_assert_uint_eq(ask(six, &r, &bob, &reply), 0);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), "[2001:db8::1]:50000");
}
END_TEST

START_TEST(shown_when_the_operator_says_so)
{
    struct reply reply;

    w->conf->hide_client_address = false;
    fc->hidden = false;
    bind_now(fc, &reply);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), CLIENT);
    ck_assert(message_shows_ip(reply.buf, reply.len, &fc->remote)); /* the check below works */
    ck_assert_uint_eq(ask_allocate(fc, &login, &reply), 0);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), CLIENT);
}
END_TEST

/* Whatever a client asks, well or badly: no byte sequence of any answer is its IP. */
static void ask_everything(struct fake_client *c, const char *user, const char *password)
{
    struct login l = login_old(c, user, password), wrong = l;
    struct reply reply;
    struct req r;

    wrong.key[0] ^= 1;
    bind_now(c, NULL);
    ask_allocate(c, &wrong, NULL);
    memset(wrong.nonce, 'x', 20);
    ask_allocate(c, &wrong, NULL);
    ask_refresh(c, &l, 600, NULL);
    req_begin(&r, STUN_ALLOCATE);
    ask(c, &r, &l, NULL);
    ask_allocate_dual(c, &l);
    ask_allocate(c, &l, NULL);
    ask_permission(c, &l, PEER);
    ask_channel(c, &l, 0x4000, PEER2);
    ask_channel(c, &l, 0x4000, PEER);
    ask_connect(c, &l, PEER, NULL);
    fake_exit_datagram(w->exit.last, PEER, "hello", 5);
    fake_exit_datagram(w->exit.last, PEER2, "hello", 5);
    fake_exit_icmp(w->exit.last, PEER, 3, 3, 0);
    req_begin(&r, STUN_BINDING);
    req_put_raw(&r, 0x7ABC, "what", 4);
    ask(c, &r, NULL, NULL);
    req_begin(&r, STUN_REFRESH);
    stun_put_u32(&r.b, STUN_LIFETIME, 0);
    ask(c, &r, &l, NULL);
    req_send(c, &r, &reply);
}

START_TEST(the_clients_ip_is_in_no_answer_whatsoever)
{
    struct fake_client *clients[] = {fc, world_client(w, TRANSPORT_TCP, CLIENT2),
                                     world_client(w, TRANSPORT_DTLS, CLIENT6)};

    w->conf->alternate_server = at("192.0.2.99:3478");
    for (size_t i = 0; i < 3; i++)
        ask_everything(clients[i], "alice", "wonderland");
    turn_set_draining(w->turn);
    for (size_t i = 0; i < 3; i++) {
        login = login_old(clients[i], "alice", "wonderland");
        ask_allocate(clients[i], &login, NULL);
        ck_assert_uint_ge(clients[i]->n_sent, 18);
        for (size_t n = 0; n < clients[i]->n_sent; n++) {
            const struct fake_message *m = fake_client_sent(clients[i], n);

            ck_assert(!message_shows_ip(m->data, m->len, &clients[i]->remote));
        }
    }
}
END_TEST

/* ---- behaviour discovery ---- */

START_TEST(discovery_names_origin_and_the_other_address)
{
    struct reply reply;

    bind_now(fc, &reply);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), CLIENT);
    assert_addr_eq(reply_addr(&reply, STUN_MAPPED_ADDRESS), CLIENT);
    assert_addr_eq(reply_addr(&reply, STUN_RESPONSE_ORIGIN), RELAY);
    assert_addr_eq(reply_addr(&reply, STUN_OTHER_ADDRESS), "192.0.2.2:3479");
}
END_TEST

static void check_change(uint32_t flags, bool ip, bool port, const char *origin)
{
    const struct fake_message *m;
    struct reply reply;
    struct req r;

    req_begin(&r, STUN_BINDING);
    stun_put_u32(&r.b, STUN_CHANGE_REQUEST, flags);
    ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 0);
    m = fake_client_sent(fc, 0);
    ck_assert_int_eq(m->other_ip, ip);
    ck_assert_int_eq(m->other_port, port);
    ck_assert_uint_eq(m->to_port, 40000);
    assert_addr_eq(reply_addr(&reply, STUN_RESPONSE_ORIGIN), origin);
}

START_TEST(change_request_is_answered_from_where_it_says)
{
    check_change(0, false, false, RELAY);
    check_change(2, false, true, "192.0.2.1:3479");
    check_change(4, true, false, "192.0.2.2:3478");
    check_change(6, true, true, "192.0.2.2:3479");
}
END_TEST

START_TEST(response_port_moves_the_answer_to_another_port_of_the_same_host)
{
    struct req r;

    req_begin(&r, STUN_BINDING);
    stun_put(&r.b, STUN_RESPONSE_PORT, "\x12\x34\0\0", 4);
    ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 0);
    ck_assert_uint_eq(fake_client_sent(fc, 0)->to_port, 0x1234);
}
END_TEST

START_TEST(padding_is_answered_with_no_more_than_was_sent)
{
    static const uint8_t zeros[1000];

    for (size_t n = 4; n <= sizeof(zeros); n += 332) {
        struct reply reply;
        struct req r;
        size_t len;

        req_begin(&r, STUN_BINDING);
        stun_put(&r.b, STUN_PADDING, zeros, n);
        ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 0);
        ck_assert_ptr_nonnull(stun_get(&reply.msg, STUN_PADDING, &len));
        ck_assert_uint_le(len, n);
    }
}
END_TEST

START_TEST(over_tcp_discovery_gets_420_and_a_plain_binding_an_answer)
{
    struct fake_client *tcp = world_client(w, TRANSPORT_TCP, CLIENT2);
    struct reply reply;
    struct req r;

    req_begin(&r, STUN_BINDING);
    stun_put_u32(&r.b, STUN_CHANGE_REQUEST, 6);
    ck_assert_uint_eq(ask(tcp, &r, NULL, NULL), 420);
    bind_now(tcp, &reply);
    assert_addr_eq(reply_addr(&reply, STUN_XOR_MAPPED_ADDRESS), CLIENT2);
}
END_TEST

START_TEST(a_change_to_a_listener_that_is_not_there_gets_420)
{
    struct req r;

    fc->local = at("192.0.2.3:9999");
    w->conf->n_listen = 1; /* 192.0.2.1:3478 */
    req_begin(&r, STUN_BINDING);
    stun_put_u32(&r.b, STUN_CHANGE_REQUEST, 4);
    ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 420);
}
END_TEST

START_TEST(s21_discovery_stays_under_the_rate_limit)
{
    fake_client_forget(fc);
    w->conf->unauthenticated_rate = 5;
    for (int i = 0; i < 20; i++) {
        struct req r;

        req_begin(&r, STUN_BINDING);
        stun_put_u32(&r.b, STUN_CHANGE_REQUEST, 6);
        ck_assert_int_eq(fake_client_give(fc, r.buf, req_end(&r, NULL)), 0);
    }
    ck_assert_uint_eq(fc->n_sent, 5);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/binding");
    TCase *t = tcase_create("binding");
    TCase *u = tcase_create("discovery");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, binding_needs_no_credentials);
    tcase_add_test(t, binding_ignores_what_ice_puts_into_its_checks);
    tcase_add_test(t, binding_with_an_unknown_required_attribute_gets_420);
    tcase_add_test(t, discovery_is_off_by_default_and_its_attributes_get_420);
    tcase_add_test(t, binding_shows_the_relays_address_while_the_clients_is_hidden);
    tcase_add_test(t, behind_nat_binding_shows_the_public_address);
    tcase_add_test(t, allocate_shows_the_relayed_address_while_the_clients_is_hidden);
    tcase_add_test(t, ipv6_clients_are_hidden_too);
    tcase_add_test(t, shown_when_the_operator_says_so);
    tcase_add_test(t, the_clients_ip_is_in_no_answer_whatsoever);
    suite_add_tcase(s, t);

    tcase_add_checked_fixture(u, setup_discovery, teardown);
    tcase_add_test(u, discovery_names_origin_and_the_other_address);
    tcase_add_test(u, change_request_is_answered_from_where_it_says);
    tcase_add_test(u, response_port_moves_the_answer_to_another_port_of_the_same_host);
    tcase_add_test(u, padding_is_answered_with_no_more_than_was_sent);
    tcase_add_test(u, over_tcp_discovery_gets_420_and_a_plain_binding_an_answer);
    tcase_add_test(u, a_change_to_a_listener_that_is_not_there_gets_420);
    tcase_add_test(u, s21_discovery_stays_under_the_rate_limit);
    suite_add_tcase(s, u);
    return suite_run(s);
}
