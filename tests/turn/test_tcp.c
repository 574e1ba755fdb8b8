/*
 * TCP allocations (RFC 6062): Connect, peers that connect, ConnectionBind.
 * What happens on a joined pair is in test_tcp_relay.c.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc;
static struct login login;
static struct far *peer; /* of the last connection */

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_TCP, CLIENT);
    login = login_new(fc, "alice", "wonderland");
    ck_assert_uint_eq(ask_allocate_tcp(fc, &login), 0);
}

static void teardown(void)
{
    world_free(w);
}

static struct fake_client *data_client(void)
{
    static unsigned int port = 42000;
    char text[ADDR_STRLEN];

    snprintf(text, sizeof(text), "198.51.100.77:%u", port++);
    return world_client(w, TRANSPORT_TCP, text);
}

/* Return: the CONNECTION-ID. */
static uint32_t connected(const char *to)
{
    struct reply reply;

    ck_assert_uint_eq(ask_connect(fc, &login, to, &reply), 0);
    peer = w->exit.connected;
    return reply_u32(&reply, STUN_CONNECTION_ID);
}

/* ---- Connect ---- */

START_TEST(connect_answers_with_a_connection_id_once_the_peer_is_there)
{
    struct reply reply;
    struct req r;

    w->exit.connect_later = true;
    fake_client_forget(fc);
    req_begin(&r, STUN_CONNECT);
    req_put_peer(&r, PEER);
    req_end(&r, &login);
    req_send(fc, &r, &reply);
    ck_assert(!reply.any);
    assert_addr_eq(w->exit.connect_peer, PEER);
    peer = fake_exit_connected(&w->exit, EXIT_OK);
    reply_read(fc, &reply);
    ck_assert_int_eq(reply.msg.class, STUN_SUCCESS);
    ck_assert_mem_eq(reply.msg.txid, r.txid, STUN_TXID_LEN);
    ck_assert(reply_is_authentic(&reply, &login));
    ck_assert(stun_has(&reply.msg, STUN_CONNECTION_ID));
    ck_assert_uint_eq(w->counters.peer_connections, 1);
}
END_TEST

START_TEST(connect_needs_no_permission_but_the_access_rules_hold)
{
    fake_exit_deny(&w->exit, "203.0.113.10");
    ck_assert_uint_eq(ask_connect(fc, &login, PEER2, NULL), 403);
    ck_assert_uint_eq(w->exit.n_connects, 0);
    connected(PEER);
}
END_TEST

START_TEST(s9_connect_to_a_denied_peer_gets_403_and_makes_no_connection)
{
    fake_exit_deny(&w->exit, "203.0.113.9");
    ck_assert_uint_eq(ask_connect(fc, &login, PEER, NULL), 403);
    ck_assert_uint_eq(ask_connect(fc, &login, "[::ffff:203.0.113.9]:6000", NULL), 403);
    ck_assert_uint_eq(w->exit.n_connects, 0);
    ck_assert_uint_eq(w->counters.err_403, 2);
}
END_TEST

START_TEST(connect_without_a_peer_or_to_port_zero_gets_400)
{
    struct req r;

    req_begin(&r, STUN_CONNECT);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
    ck_assert_uint_eq(ask_connect(fc, &login, "203.0.113.9:0", NULL), 400);
}
END_TEST

START_TEST(connect_to_the_other_family_gets_443)
{
    ck_assert_uint_eq(ask_connect(fc, &login, PEER6, NULL), 443);
}
END_TEST

START_TEST(connect_to_a_peer_that_is_being_connected_gets_446)
{
    struct reply reply;
    struct req r;

    w->exit.connect_later = true;
    req_begin(&r, STUN_CONNECT);
    req_put_peer(&r, PEER);
    req_end(&r, &login);
    req_send(fc, &r, &reply);
    ck_assert_uint_eq(ask_connect(fc, &login, PEER, NULL), 446);
    peer = fake_exit_connected(&w->exit, EXIT_OK);
    ck_assert_uint_eq(w->exit.n_connects, 1);
}
END_TEST

START_TEST(connect_to_a_peer_that_is_connected_gets_446_and_another_port_is_another_peer)
{
    connected(PEER);
    ck_assert_uint_eq(ask_connect(fc, &login, PEER, NULL), 446);
    connected("203.0.113.9:6001");
}
END_TEST

static unsigned int connect_ends(enum exit_result immediate, enum exit_result event)
{
    w->exit.connect_result = immediate;
    w->exit.connect_event = event;
    return ask_connect(fc, &login, PEER, NULL);
}

START_TEST(each_failure_of_the_exit_has_its_code)
{
    ck_assert_uint_eq(connect_ends(EXIT_E_FORBIDDEN, EXIT_OK), 403);
    ck_assert_uint_eq(connect_ends(EXIT_E_DUPLICATE, EXIT_OK), 446);
    ck_assert_uint_eq(connect_ends(EXIT_E_CAPACITY, EXIT_OK), 508);
    ck_assert_uint_eq(connect_ends(EXIT_E_UNREACHABLE, EXIT_OK), 447);
    ck_assert_uint_eq(connect_ends(EXIT_OK, EXIT_E_UNREACHABLE), 447);
    ck_assert_uint_eq(connect_ends(EXIT_OK, EXIT_E_TIMEOUT), 447);
    ck_assert_uint_eq(connect_ends(EXIT_OK, EXIT_E_FORBIDDEN), 403);
    ck_assert_uint_eq(connect_ends(EXIT_OK, EXIT_E_DUPLICATE), 446);
    /* And none of them stands in the way of the next try. */
    ck_assert_uint_eq(connect_ends(EXIT_OK, EXIT_OK), 0);
    peer = w->exit.connected;
}
END_TEST

/* Type and code of the ICMP attribute of a 447; -1: there is none. */
static int connect_icmp(const char *to, enum exit_result immediate, enum exit_result event)
{
    struct reply reply;
    const uint8_t *icmp;
    size_t len = 0;

    w->exit.connect_result = immediate;
    w->exit.connect_event = event;
    ck_assert_uint_eq(ask_connect(fc, &login, to, &reply), 447);
    ck_assert(reply_is_authentic(&reply, &login));
    icmp = stun_get(&reply.msg, STUN_ICMP, &len);
    if (!icmp)
        return -1;
    ck_assert_uint_eq(len, 8);
    ck_assert_mem_eq(icmp, "\0\0", 2);
    ck_assert_mem_eq(icmp + 4, "\0\0\0\0", 4);
    return icmp[2] << 8 | icmp[3];
}

START_TEST(a_447_says_in_an_icmp_attribute_whether_the_peer_refused)
{
    ck_assert_int_eq(connect_icmp(PEER, EXIT_E_REFUSED, EXIT_OK), 3 << 8 | 3);
    ck_assert_int_eq(connect_icmp(PEER, EXIT_OK, EXIT_E_REFUSED), 3 << 8 | 3);
    ck_assert_int_eq(connect_icmp(PEER, EXIT_E_UNREACHABLE, EXIT_OK), 3 << 8 | 1);
    ck_assert_int_eq(connect_icmp(PEER, EXIT_OK, EXIT_E_UNREACHABLE), 3 << 8 | 1);
    ck_assert_int_eq(connect_icmp(PEER, EXIT_OK, EXIT_E_TIMEOUT), -1);
    ck_assert_int_eq(connect_icmp(PEER, EXIT_E_DOWN, EXIT_OK), -1);
}
END_TEST

START_TEST(an_ipv6_peers_447_speaks_icmpv6)
{
    struct req r;

    fc = world_client(w, TRANSPORT_TCP, CLIENT2);
    login = login_new(fc, "alice", "wonderland");
    req_begin(&r, STUN_ALLOCATE);
    req_put_u8(&r, STUN_REQUESTED_TRANSPORT, 6);
    req_put_u8(&r, STUN_REQUESTED_ADDRESS_FAMILY, 2);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 0);
    ck_assert_int_eq(connect_icmp(PEER6, EXIT_E_REFUSED, EXIT_OK), 1 << 8 | 4);
    ck_assert_int_eq(connect_icmp(PEER6, EXIT_OK, EXIT_E_UNREACHABLE), 1 << 8 | 3);
    ck_assert_int_eq(connect_icmp(PEER6, EXIT_OK, EXIT_E_TIMEOUT), -1);
}
END_TEST

START_TEST(connect_on_a_udp_allocation_gets_403)
{
    struct fake_client *udp = world_client(w, TRANSPORT_UDP, "198.51.100.77:50000");

    ck_assert_uint_eq(ask_allocate(udp, &login, NULL), 0);
    ck_assert_uint_eq(ask_connect(udp, &login, PEER, NULL), 403);
}
END_TEST

START_TEST(peer_connections_are_capped_with_508)
{
    w->conf->max_peer_connections = 1;
    connected(PEER);
    ck_assert_uint_eq(ask_connect(fc, &login, PEER2, NULL), 508);
    w->conf->max_peer_connections = 0;
    ck_assert_uint_eq(ask_connect(fc, &login, PEER2, NULL), 508);
}
END_TEST

START_TEST(a_client_that_leaves_while_a_connect_is_under_way_leaves_nothing)
{
    struct reply reply;
    struct req r;

    w->exit.connect_later = true;
    req_begin(&r, STUN_CONNECT);
    req_put_peer(&r, PEER);
    req_end(&r, &login);
    req_send(fc, &r, &reply);
    fake_client_close(fc);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(fake_streams_count(), 0);
}
END_TEST

/* ---- no datagrams on a TCP allocation ---- */

START_TEST(send_and_channels_do_nothing_on_a_tcp_allocation)
{
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 403);
    fake_client_forget(fc);
    give_send(fc, PEER, "x", 1);
    give_channel_data(fc, 0x4000, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

/* ---- peers that connect ---- */

START_TEST(s9_a_peer_without_permission_is_closed_without_an_attempt)
{
    fake_client_forget(fc);
    peer = fake_exit_accept(w->exit.last, PEER);
    ck_assert(peer->freed);
    ck_assert_uint_eq(fc->n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_no_permission, 1);
}
END_TEST

START_TEST(a_permitted_peer_is_announced_with_a_connection_id)
{
    struct reply m;

    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    peer = fake_exit_accept(w->exit.last, "203.0.113.9:777");
    reply_read(fc, &m);
    ck_assert_int_eq(m.msg.class, STUN_INDICATION);
    ck_assert_uint_eq(m.msg.method, STUN_CONNECTION_ATTEMPT);
    assert_addr_eq(reply_addr(&m, STUN_XOR_PEER_ADDRESS), "203.0.113.9:777");
    ck_assert(stun_has(&m.msg, STUN_CONNECTION_ID));
    ck_assert(!peer->freed);
}
END_TEST

START_TEST(a_permission_that_expired_lets_nobody_in)
{
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    world_pass(300);
    fake_client_forget(fc);
    peer = fake_exit_accept(w->exit.last, PEER);
    ck_assert(peer->freed);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

START_TEST(peers_over_the_cap_are_closed)
{
    w->conf->max_peer_connections = 0;
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    fake_client_forget(fc);
    peer = fake_exit_accept(w->exit.last, PEER);
    ck_assert(peer->freed);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

/* ---- ConnectionBind ---- */

START_TEST(connection_bind_joins_the_two)
{
    uint32_t id = connected(PEER);
    struct fake_client *data = data_client();

    ck_assert_uint_eq(ask_connection_bind(data, &login, id, NULL), 0);
    far_write(peer, "from peer", 9);
    far_write(data->far, "from client", 11);
    fake_streams_turn();
    ck_assert_uint_eq(peer->n_got, 11);
    ck_assert_mem_eq(peer->got, "from client", 11);
    ck_assert_mem_eq(data->far->got + data->far->n_got - 9, "from peer", 9);
}
END_TEST

START_TEST(s28_connection_ids_differ_and_are_not_sequential)
{
    uint32_t ids[20];
    unsigned int n_next = 0;

    for (unsigned int i = 0; i < 20; i++) {
        char text[ADDR_STRLEN];

        snprintf(text, sizeof(text), "203.0.113.9:%u", 7000 + i);
        ids[i] = connected(text);
        for (unsigned int j = 0; j < i; j++)
            ck_assert_uint_ne(ids[i], ids[j]);
        n_next += i > 0 && ids[i] - ids[i - 1] < 1000;
    }
    ck_assert_uint_eq(n_next, 0);
}
END_TEST

START_TEST(a_connection_id_can_be_used_once)
{
    uint32_t id = connected(PEER);
    struct fake_client *first = data_client(), *second = data_client();

    ck_assert_uint_eq(ask_connection_bind(first, &login, id, NULL), 0);
    ck_assert_uint_eq(ask_connection_bind(second, &login, id, NULL), 400);
    fake_streams_turn();
    ck_assert(second->far->freed);
    far_write(peer, "x", 1);
    ck_assert_uint_gt(first->far->n_got, 0);
    ck_assert_uint_eq(first->far->got[first->far->n_got - 1], 'x');
}
END_TEST

START_TEST(an_unknown_connection_id_gets_400_and_the_connection_is_closed)
{
    struct fake_client *data = data_client();

    ck_assert_uint_eq(ask_connection_bind(data, &login, connected(PEER) + 1, NULL), 400);
    ck_assert(data->far->close_called);
    far_write(data->far, "more", 4);
    fake_streams_turn();
    ck_assert(data->far->freed);
    ck_assert(!peer->freed);
}
END_TEST

START_TEST(another_users_connection_id_gets_441_and_stays_usable)
{
    uint32_t id = connected(PEER);
    struct fake_client *thief = data_client(), *data = data_client();
    struct login bob = login_new(thief, "bob", "builder");

    ck_assert_uint_eq(ask_connection_bind(thief, &bob, id, NULL), 441);
    fake_streams_turn();
    ck_assert(thief->far->freed);
    ck_assert_uint_eq(ask_connection_bind(data, &login, id, NULL), 0);
}
END_TEST

START_TEST(connection_bind_without_an_id_gets_400)
{
    struct fake_client *data = data_client();
    struct req r;

    req_begin(&r, STUN_CONNECTION_BIND);
    ck_assert_uint_eq(ask(data, &r, &login, NULL), 400);
    ck_assert(!data->taken);
}
END_TEST

START_TEST(s18_connection_bind_over_udp_gets_400_and_leaves_nothing)
{
    struct fake_client *udp = world_client(w, TRANSPORT_UDP, "198.51.100.77:50000");
    struct fake_client *dtls = world_client(w, TRANSPORT_DTLS, "198.51.100.77:50001");
    uint32_t id = connected(PEER);

    ck_assert_uint_eq(ask_connection_bind(udp, &login, id, NULL), 400);
    ck_assert_uint_eq(ask_connection_bind(dtls, &login, id, NULL), 400);
    ck_assert_uint_eq(udp->n_kept, 0);
    ck_assert(!udp->taken);
    ck_assert(!dtls->taken);
}
END_TEST

START_TEST(connection_bind_on_the_control_connection_gets_400)
{
    ck_assert_uint_eq(ask_connection_bind(fc, &login, connected(PEER), NULL), 400);
    ck_assert(!fc->taken);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
}
END_TEST

START_TEST(connection_bind_of_a_stranger_is_challenged)
{
    struct fake_client *data = data_client();
    struct req r;

    req_begin(&r, STUN_CONNECTION_BIND);
    stun_put_u32(&r.b, STUN_CONNECTION_ID, connected(PEER));
    ck_assert_uint_eq(ask(data, &r, NULL, NULL), 401);
    ck_assert(!data->taken);
}
END_TEST

START_TEST(a_peer_waits_thirty_seconds_for_the_bind)
{
    uint32_t id = connected(PEER);

    world_pass(29);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert(!peer->freed);
    world_pass(1);
    ck_assert_uint_eq(ask_connection_bind(data_client(), &login, id, NULL), 400);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert(peer->freed);
    fake_streams_turn();
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
}
END_TEST

START_TEST(a_connect_under_way_is_the_exits_to_time_out)
{
    struct reply reply;
    struct req r;

    w->exit.connect_later = true;
    req_begin(&r, STUN_CONNECT);
    req_put_peer(&r, PEER);
    req_end(&r, &login);
    req_send(fc, &r, &reply);
    world_pass(60);
    turn_sweep(w->turn, fake_now_ns);
    peer = fake_exit_connected(&w->exit, EXIT_OK);
    reply_read(fc, &reply);
    ck_assert_int_eq(reply.msg.class, STUN_SUCCESS);
}
END_TEST

START_TEST(a_data_connection_is_handed_to_the_worker_whose_peer_it_is)
{
    struct turn *owner = world_turn(w, 1, 2), *taker = world_turn(w, 0, 2);
    struct fake_client *data = data_client();
    struct reply reply;
    struct req r;
    uint32_t id = 0;

    fc = world_client(w, TRANSPORT_TCP, "198.51.100.77:43000");
    fc->turn = owner;
    data->turn = taker;
    ck_assert_uint_eq(ask_allocate_tcp(fc, &login), 0);
    for (unsigned int i = 0; i < 12; i++) {
        char text[ADDR_STRLEN];

        snprintf(text, sizeof(text), "203.0.113.9:%u", 7000 + i);
        id = connected(text);
        ck_assert_uint_eq(id % 2, 1);
    }
    req_begin(&r, STUN_CONNECTION_BIND);
    stun_put_u32(&r.b, STUN_CONNECTION_ID, id);
    req_end(&r, &login);
    req_send(data, &r, &reply);
    ck_assert(!reply.any);
    ck_assert_uint_eq(w->n_handed, 1);
    ck_assert_uint_eq(w->handed_to, 1);
    ck_assert_uint_eq(data->far->n_got, 0);
    turn_on_bind(owner, &w->handed, fake_now_ns);
    ck_assert_uint_gt(data->far->n_got, STUN_HEADER_LEN);
    far_write(data->far, "across", 6);
    fake_streams_turn();
    ck_assert_mem_eq(peer->got, "across", 6);
    turn_free(taker);
    turn_free(owner);
}
END_TEST

START_TEST(a_data_connection_that_arrives_after_its_allocation_ended_gets_400)
{
    uint32_t id = connected(PEER);
    struct fake_client *data = data_client();

    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
    ck_assert(peer->freed);
    ck_assert_uint_eq(ask_connection_bind(data, &login, id, NULL), 400);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/tcp");
    TCase *t = tcase_create("tcp");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, connect_answers_with_a_connection_id_once_the_peer_is_there);
    tcase_add_test(t, connect_needs_no_permission_but_the_access_rules_hold);
    tcase_add_test(t, s9_connect_to_a_denied_peer_gets_403_and_makes_no_connection);
    tcase_add_test(t, connect_without_a_peer_or_to_port_zero_gets_400);
    tcase_add_test(t, connect_to_the_other_family_gets_443);
    tcase_add_test(t, connect_to_a_peer_that_is_being_connected_gets_446);
    tcase_add_test(t,
                   connect_to_a_peer_that_is_connected_gets_446_and_another_port_is_another_peer);
    tcase_add_test(t, each_failure_of_the_exit_has_its_code);
    tcase_add_test(t, a_447_says_in_an_icmp_attribute_whether_the_peer_refused);
    tcase_add_test(t, an_ipv6_peers_447_speaks_icmpv6);
    tcase_add_test(t, connect_on_a_udp_allocation_gets_403);
    tcase_add_test(t, peer_connections_are_capped_with_508);
    tcase_add_test(t, a_client_that_leaves_while_a_connect_is_under_way_leaves_nothing);
    tcase_add_test(t, send_and_channels_do_nothing_on_a_tcp_allocation);
    tcase_add_test(t, s9_a_peer_without_permission_is_closed_without_an_attempt);
    tcase_add_test(t, a_permitted_peer_is_announced_with_a_connection_id);
    tcase_add_test(t, a_permission_that_expired_lets_nobody_in);
    tcase_add_test(t, peers_over_the_cap_are_closed);
    tcase_add_test(t, connection_bind_joins_the_two);
    tcase_add_test(t, s28_connection_ids_differ_and_are_not_sequential);
    tcase_add_test(t, a_connection_id_can_be_used_once);
    tcase_add_test(t, an_unknown_connection_id_gets_400_and_the_connection_is_closed);
    tcase_add_test(t, another_users_connection_id_gets_441_and_stays_usable);
    tcase_add_test(t, connection_bind_without_an_id_gets_400);
    tcase_add_test(t, s18_connection_bind_over_udp_gets_400_and_leaves_nothing);
    tcase_add_test(t, connection_bind_on_the_control_connection_gets_400);
    tcase_add_test(t, connection_bind_of_a_stranger_is_challenged);
    tcase_add_test(t, a_peer_waits_thirty_seconds_for_the_bind);
    tcase_add_test(t, a_connect_under_way_is_the_exits_to_time_out);
    tcase_add_test(t, a_data_connection_is_handed_to_the_worker_whose_peer_it_is);
    tcase_add_test(t, a_data_connection_that_arrives_after_its_allocation_ended_gets_400);
    suite_add_tcase(s, t);
    return suite_run(s);
}
