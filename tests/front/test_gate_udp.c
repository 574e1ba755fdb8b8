/*
 * UDP of a sealed app: associations, refusals, answers
 */
#include "common/wire/stun.h"
#include "relay/stats/flows.h"
#include "tests/front/gate_env.h"

static void setup(void)
{
    env_begin();
}

static void teardown(void)
{
    env_end();
}

static void far_sends(const char *peer, const char *text)
{
    far_sends_bytes(env.exit.last, peer, text, strlen(text));
}

/* ---- associations ---- */

START_TEST(one_source_has_one_association_for_all_its_peers)
{
    app_sends(APP, PEER, "one");
    app_sends(APP, "203.0.113.10:51000", "two");
    app_sends(APP, "203.0.113.9:50001", "");
    ck_assert_uint_eq(env.exit.n_opened, 1);
    check_sent(0, PEER, "one");
    check_sent(1, "203.0.113.10:51000", "two");
    check_sent(2, "203.0.113.9:50001", "");
    ck_assert_uint_eq(env.counters.up_packets, 3);
    ck_assert_uint_eq(env.counters.up_bytes, 6);
    check_silence();
}
END_TEST

START_TEST(every_source_has_its_own_and_of_its_own_family)
{
    app_sends(APP, PEER, "one");
    ck_assert(env.exit.last->want.v4 && !env.exit.last->want.v6 && !env.exit.last->want.tcp);
    app_sends("192.0.2.2:40001", PEER, "two");
    app_sends(APP_V6, PEER_V6, "three");
    ck_assert(!env.exit.last->want.v4 && env.exit.last->want.v6);
    ck_assert_uint_eq(env.exit.n_opened, 3);
    ck_assert_uint_eq(env.counters.gate_associations, 3);
    check_sent(2, PEER_V6, "three");
}
END_TEST

START_TEST(a_few_datagrams_wait_for_the_association)
{
    env.exit.open_later = true;
    for (int i = 0; i < GATE_WAITING_MAX + 2; i++) {
        char text[8];

        snprintf(text, sizeof(text), "n%d", i);
        app_sends(APP, PEER, text);
    }
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.counters.drop_gate_waiting, 2);
    fake_exit_answer(env.exit.last);
    ck_assert_uint_eq(env.exit.n_sent, GATE_WAITING_MAX);
    check_sent(0, PEER, "n0");
    check_sent(GATE_WAITING_MAX - 1, PEER, "n7");
    app_sends(APP, PEER, "after");
    check_sent(GATE_WAITING_MAX, PEER, "after");
    check_silence();
}
END_TEST

START_TEST(five_minutes_without_a_datagram_of_the_app_end_it)
{
    app_sends(APP, PEER, "one");
    env_pass(299);
    app_sends(APP, PEER, "two");
    env_pass(299);
    ck_assert_ptr_nonnull(env.exit.last);
    env_pass(1);
    ck_assert_ptr_null(env.exit.last);
    ck_assert_uint_eq(env.counters.gate_associations, 0);
    app_sends(APP, PEER, "three");
    ck_assert_uint_eq(env.exit.n_opened, 2);
}
END_TEST

START_TEST(what_peers_send_does_not_keep_it)
{
    app_sends(APP, PEER, "one");
    for (int i = 0; i < 300; i++) {
        far_sends(PEER, "x");
        env_pass(1);
    }
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

START_TEST(a_source_that_only_speaks_quic_is_over_after_a_minute)
{
    app_sends(APP, "203.0.113.9:443", "quic");
    app_sends("192.0.2.2:40001", "203.0.113.9:443", "quic");
    app_sends("192.0.2.2:40001", "203.0.113.9:50000", "and more");
    env_pass(59);
    ck_assert_uint_eq(env.counters.gate_associations, 2);
    env_pass(1);
    ck_assert_uint_eq(env.counters.gate_associations, 1);
    env_pass(240);
    ck_assert_uint_eq(env.counters.gate_associations, 0);
}
END_TEST

/* ---- the router ---- */

#define ROUTER "192.0.2.1:3478"

static size_t stun_request(uint8_t *buf, size_t cap, uint16_t method)
{
    static const uint8_t txid[STUN_TXID_LEN] = "twelve bytes";
    struct stun_builder b;

    stun_begin(&b, buf, cap, STUN_REQUEST, method, txid);
    return stun_finish(&b);
}

START_TEST(the_router_tells_where_peers_see_the_source)
{
    uint8_t request[STUN_HEADER_LEN];
    const uint8_t *data;
    struct addr mapped;
    struct stun_msg m;
    size_t len;

    env.exit.open_later = true;
    app_sends_bytes(APP, ROUTER, request, stun_request(request, sizeof(request), STUN_BINDING));
    check_silence();
    fake_exit_answer(env.exit.last);
    len = check_raw_udp(ROUTER, APP, &data);
    ck_assert_int_eq(stun_decode(&m, data, len), 0);
    ck_assert_int_eq(m.class, STUN_SUCCESS);
    ck_assert(stun_get_addr(&m, STUN_XOR_MAPPED_ADDRESS, &mapped));
    ck_assert(addr_ip_equal(&mapped, &env.exit.relayed_v4));
    ck_assert_uint_eq(mapped.port, env.exit.last->port);
    /* The same association is the app's for its peers, and the relay was sent nothing so far. */
    ck_assert_uint_eq(env.exit.n_sent, 0);
    app_sends(APP, PEER, "one");
    ck_assert_uint_eq(env.exit.n_opened, 1);
    check_sent(0, PEER, "one");
}
END_TEST

START_TEST(the_router_serves_nothing_else_by_udp)
{
    uint8_t request[STUN_HEADER_LEN];

    app_sends(APP, ROUTER, "no STUN");
    check_refused(APP, ROUTER);
    app_sends_bytes(APP, ROUTER, request, stun_request(request, sizeof(request), STUN_ALLOCATE));
    check_refused(APP, ROUTER);
    env_keeper_works();
    ck_assert_ptr_nonnull(env_next_said()); /* 403 */
    app_sends(APP, "192.0.2.1:3479", "x");
    check_refused(APP, "192.0.2.1:3479");
    app_sends(APP, "192.0.2.2:3478", "x");
    check_refused(APP, "192.0.2.2:3478");
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.counters.drop_denied, 4);
}
END_TEST

START_TEST(without_a_relay_the_router_refuses)
{
    uint8_t request[STUN_HEADER_LEN];

    env.exit.open_v4 = EXIT_E_DOWN;
    app_sends_bytes(APP, ROUTER, request, stun_request(request, sizeof(request), STUN_BINDING));
    check_refused(APP, ROUTER);
    check_silence();
}
END_TEST

START_TEST(its_flows_are_told_with_what_they_carried)
{
    static struct flow_list list;

    app_sends(APP, PEER, "one");
    app_sends(APP, PEER, "two!");
    far_sends(PEER, "back");
    env.exit.open_later = true;
    app_sends("192.0.2.2:40001", PEER, "not open yet");
    list.n = list.n_all = 0;
    gate_flows(env.g, &list);
    ck_assert_uint_eq(list.n_all, 1);
    ck_assert_str_eq(list.flow[0].front, "run");
    ck_assert_uint_eq(list.flow[0].made_ns, fake_now_ns);
    ck_assert_uint_eq(list.flow[0].count.up_packets, 2);
    ck_assert_uint_eq(list.flow[0].count.up_bytes, 7);
    ck_assert_uint_eq(list.flow[0].count.down_packets, 1);
    ck_assert_uint_eq(list.flow[0].count.down_bytes, 4);
    ck_assert(addr_ip_equal(&list.flow[0].relayed_v4, &env.exit.relayed_v4));
}
END_TEST

static void fill_table(const char *to)
{
    for (unsigned int i = env.g->n_assocs; i < GATE_ASSOCS_MAX; i++) {
        char from[32];

        snprintf(from, sizeof(from), "192.0.2.2:%u", 1024 + i);
        app_sends(from, to, "x");
    }
    ck_assert_uint_eq(env.counters.gate_associations, GATE_ASSOCS_MAX);
}

START_TEST(a_full_table_refuses)
{
    fill_table(PEER);
    ck_assert_uint_eq(env.exit.n_opened, GATE_ASSOCS_MAX);
    app_sends(APP, PEER, "one more");
    check_refused(APP, PEER);
    ck_assert_uint_eq(env.exit.n_opened, GATE_ASSOCS_MAX);
    ck_assert_uint_eq(env.counters.drop_gate_full, 1);
    /* Those that are in it go on. */
    app_sends("192.0.2.2:1024", PEER, "y");
    ck_assert_uint_eq(env.exit.n_sent, GATE_ASSOCS_MAX + 1);
}
END_TEST

START_TEST(a_full_table_ends_what_was_idle_for_two_minutes)
{
    fill_table(PEER);
    env_pass(1);
    app_sends("192.0.2.2:1024", PEER, "y"); /* now 1025 is the idlest */
    env_pass(118);
    app_sends(APP, PEER, "too early");
    check_refused(APP, PEER);
    env_pass(1);
    app_sends(APP, PEER, "one more");
    check_silence();
    ck_assert_uint_eq(env.counters.gate_associations, GATE_ASSOCS_MAX);
    ck_assert_uint_eq(env.exit.n_opened, GATE_ASSOCS_MAX + 1);
    app_sends("192.0.2.2:1024", PEER, "still there");
    ck_assert_uint_eq(env.exit.n_opened, GATE_ASSOCS_MAX + 1);
    app_sends("192.0.2.2:1025", PEER, "was ended");
    ck_assert_uint_eq(env.exit.n_opened, GATE_ASSOCS_MAX + 2);
}
END_TEST

START_TEST(a_full_table_ends_quic_of_half_a_minute_before)
{
    app_sends(APP, PEER, "a call");
    fill_table("203.0.113.9:443");
    env_pass(29);
    app_sends("192.0.2.2:50000", PEER, "too early");
    check_refused("192.0.2.2:50000", PEER);
    env_pass(1);
    app_sends("192.0.2.2:50000", PEER, "one more");
    check_silence();
    app_sends(APP, PEER, "the call goes on");
    ck_assert_uint_eq(env.exit.n_opened, GATE_ASSOCS_MAX + 1);
}
END_TEST

/* ---- failures ---- */

START_TEST(without_an_association_datagrams_are_refused_and_it_is_tried_again_later)
{
    env.exit.open_v4 = EXIT_E_DOWN;
    app_sends(APP, PEER, "one");
    check_refused(APP, PEER);
    app_sends(APP, PEER, "two");
    check_refused(APP, PEER);
    ck_assert_uint_eq(env.exit.n_opened, 1);
    ck_assert_uint_eq(env.counters.drop_down, 2);
    ck_assert_uint_eq(env.counters.gate_refused, 2);
    env.exit.open_v4 = EXIT_OK;
    env_pass(1);
    app_sends(APP, PEER, "three");
    check_sent(0, PEER, "three");
    check_silence();
}
END_TEST

START_TEST(what_waits_for_an_association_that_fails_is_refused)
{
    env.exit.open_later = true;
    env.exit.open_v6 = EXIT_E_FAMILY;
    app_sends(APP_V6, PEER_V6, "one");
    app_sends(APP_V6, "[2001:db8:9::9]:50001", "two");
    check_silence();
    fake_exit_answer(env.exit.last);
    check_refused(APP_V6, PEER_V6);
    check_refused(APP_V6, "[2001:db8:9::9]:50001");
    check_silence();
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

START_TEST(short_memory_refuses)
{
    env.exit.open_no_memory = true;
    app_sends(APP, PEER, "one");
    check_refused(APP, PEER);
}
END_TEST

START_TEST(a_lost_association_is_opened_by_the_next_datagram)
{
    app_sends(APP, PEER, "one");
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    ck_assert_ptr_null(env.exit.last);
    env_pass(5);
    ck_assert_uint_eq(env.exit.n_opened, 1); /* not by itself */
    app_sends(APP, PEER, "two");
    ck_assert_uint_eq(env.exit.n_opened, 2);
    ck_assert_uint_eq(env.exit.n_permits, 2); /* the new one was asked, too */
    check_sent(1, PEER, "two");
    check_silence();
}
END_TEST

START_TEST(an_association_lost_before_it_was_open_refuses_what_waits)
{
    env.exit.open_later = true;
    app_sends(APP, PEER, "one");
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    check_refused(APP, PEER);
}
END_TEST

START_TEST(when_the_relay_has_no_more_an_idle_one_makes_room)
{
    app_sends("192.0.2.2:1024", PEER, "idle");
    env_pass(121);
    env.exit.open_v4 = EXIT_E_CAPACITY;
    app_sends(APP, PEER, "one");
    check_refused(APP, PEER);
    ck_assert_uint_eq(env.counters.gate_associations, 1);
    env.exit.open_v4 = EXIT_OK;
    app_sends(APP, PEER, "two"); /* in the same second */
    check_sent(1, PEER, "two");
}
END_TEST

START_TEST(the_one_that_the_relay_has_no_room_for_is_not_the_one_to_go)
{
    env.exit.open_later = true;
    env.exit.open_v4 = EXIT_E_CAPACITY;
    app_sends(APP, PEER, "one");
    env_pass(121);
    fake_exit_answer(env.exit.last);
    check_refused(APP, PEER);
    ck_assert_uint_eq(env.counters.gate_associations, 1);
}
END_TEST

START_TEST(what_waited_is_whole_on_the_wire_also_when_it_is_lost_in_mid_send)
{
    const struct env_said *s;

    env_exit_refers(true);
    env.exit.open_later = true;
    app_sends(APP, PEER, "a datagram that waits for its turn");
    app_sends(APP, PEER, "another");
    fake_exit_answer(env.exit.last);
    s = env_next_said();
    ck_assert_ptr_nonnull(s);
    assert_addr_eq(s->to, PEER);
    ck_assert_uint_eq(s->len, 34);
    ck_assert_mem_eq(s->data, "a datagram that waits for its turn", 34);
    check_refused(APP, PEER);
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

/* ---- peers ---- */

START_TEST(a_denied_peer_is_asked_about_once_and_refused_each_time)
{
    fake_exit_deny(&env.exit, "203.0.113.9");
    app_sends(APP, PEER, "one");
    check_refused(APP, PEER);
    app_sends(APP, "203.0.113.9:50001", "two");
    check_refused(APP, "203.0.113.9:50001");
    ck_assert_uint_eq(env.exit.n_permits, 1);
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.counters.drop_denied, 2);
    app_sends(APP, "203.0.113.10:50000", "three");
    check_sent(0, "203.0.113.10:50000", "three");
    ck_assert_uint_eq(env.exit.permit_peer.port, 0);
}
END_TEST

START_TEST(a_denied_stun_or_turn_server_says_no)
{
    static const char binding[] = "\x00\x01\x00\x00\x21\x12\xa4\x42txidtxidtxid",
                      allocate[] = "\x00\x03\x00\x08\x21\x12\xa4\x42txidtxidtxid"
                                   "\x00\x19\x00\x04\x11\x00\x00\x00",
                      check[] = "\x00\x01\x00\x08\x21\x12\xa4\x42txidtxidtxid"
                                "\x00\x06\x00\x03"
                                "a:b\x00",
                      indication[] = "\x00\x11\x00\x00\x21\x12\xa4\x42txidtxidtxid";
    const uint8_t *data;

    fake_exit_deny(&env.exit, "203.0.113.9");
    app_sends_bytes(APP, PEER, binding, sizeof(binding) - 1);
    check_refused(APP, PEER);
    ck_assert_uint_eq(check_raw_udp(PEER, APP, &data), 28);
    ck_assert_mem_eq(data,
                     "\x01\x11\x00\x08\x21\x12\xa4\x42txidtxidtxid"
                     "\x00\x09\x00\x04\x00\x00\x04\x03",
                     28);
    app_sends_bytes(APP, PEER, allocate, sizeof(allocate) - 1);
    check_refused(APP, PEER);
    ck_assert_uint_eq(check_raw_udp(PEER, APP, &data), 28);
    ck_assert_mem_eq(data, "\x01\x13", 2);
    app_sends_bytes(APP, PEER, check, sizeof(check) - 1);
    check_refused(APP, PEER);
    app_sends_bytes(APP, PEER, indication, sizeof(indication) - 1);
    check_refused(APP, PEER);
    check_silence();
    /* Those that are not denied answer for themselves. */
    app_sends_bytes(APP, "203.0.113.10:3478", binding, sizeof(binding) - 1);
    check_silence();
}
END_TEST

START_TEST(a_peer_denied_later_is_refused_then)
{
    env.exit.permit_later = true;
    app_sends(APP, PEER, "one");
    check_sent(0, PEER, "one");
    fake_exit_permitted(&env.exit, "203.0.113.9", EXIT_E_FORBIDDEN);
    check_refused(APP, PEER);
    fake_exit_permitted(&env.exit, "203.0.113.9", EXIT_E_FORBIDDEN);
    fake_exit_permitted(&env.exit, "203.0.113.77", EXIT_E_FORBIDDEN);
    check_silence();
    app_sends(APP, PEER, "two");
    check_refused(APP, PEER);
    ck_assert_uint_eq(env.exit.n_sent, 1);
}
END_TEST

START_TEST(a_permission_that_failed_for_the_moment_is_asked_for_again)
{
    env.exit.permit_later = true;
    app_sends(APP, PEER, "one");
    fake_exit_permitted(&env.exit, "203.0.113.9", EXIT_E_TIMEOUT);
    check_refused(APP, PEER);
    app_sends(APP, PEER, "two");
    ck_assert_uint_eq(env.exit.n_permits, 2);
    check_sent(1, PEER, "two");
}
END_TEST

START_TEST(the_namespaces_own_addresses_never_reach_the_exit)
{
    static const char *const own[] = {"127.0.0.1:50000", "192.0.2.2:50000", "192.0.2.1:50000",
                                      "0.0.0.0:50000"};
    static const char *const groups[] = {"224.0.0.251:5353", "255.255.255.255:67"};

    for (size_t i = 0; i < 4; i++) {
        app_sends(APP, own[i], "x");
        check_refused(APP, own[i]);
    }
    for (size_t i = 0; i < 2; i++)
        app_sends(APP, groups[i], "x"); /* nobody answers for a group */
    app_sends(APP_V6, "[ff02::fb]:5353", "x");
    check_silence();
    app_sends(APP_V6, "[::1]:50000", "x");
    check_refused(APP_V6, "[::1]:50000");
    app_sends(APP, "203.0.113.9:0", "x");
    check_refused(APP, "203.0.113.9:0");
    ck_assert_uint_eq(env.exit.n_opened, 0);
    ck_assert_uint_eq(env.counters.drop_denied, 9);
}
END_TEST

/* ---- answers ---- */

START_TEST(answers_come_from_the_peers_socket_once_there_is_one)
{
    struct keeper_want want;

    app_sends(APP, PEER, "ping");
    far_sends(PEER, "one");
    check_said_raw(PEER, APP, "one");
    far_sends(PEER, "two"); /* asked for once */
    check_said_raw(PEER, APP, "two");
    ck_assert(env_wanted(&want));
    ck_assert_uint_eq(want.version, KEEPER_VERSION);
    ck_assert_uint_eq(want.kind, KEEPER_UDP);
    assert_addr_eq(want.addr, PEER);
    env_answer_want(&want, 0);
    ck_assert(!env_wanted(&want));
    far_sends(PEER, "three");
    check_said_as(PEER, APP, "three");
    ck_assert_uint_eq(env.counters.down_packets, 3);
    ck_assert_uint_eq(env.counters.down_bytes, 11);
}
END_TEST

START_TEST(two_sources_share_a_peers_socket)
{
    struct assoc *first;
    struct addr from = at(PEER);

    app_sends(APP, PEER, "ping");
    first = env.exit.last;
    app_sends("192.0.2.2:40001", PEER, "ping");
    far_sends(PEER, "x");
    check_said_raw(PEER, "192.0.2.2:40001", "x");
    ck_assert_uint_eq(env_keeper_works(), 1);
    first->events->on_datagram(first->user, &from, (const uint8_t *)"y", 1, fake_now_ns);
    far_sends(PEER, "z");
    check_said_as(PEER, APP, "y");
    check_said_as(PEER, "192.0.2.2:40001", "z");
    ck_assert_uint_eq(env_keeper_works(), 0);
}
END_TEST

START_TEST(nobody_far_away_speaks_as_the_apps_own_machine)
{
    static const char *const bad[] = {"127.0.0.1:50000",  "192.0.2.2:50000", "192.0.2.1:50000",
                                      "224.0.0.251:5353", "203.0.113.9:0",   PEER_V6};

    app_sends(APP, PEER, "ping");
    for (size_t i = 0; i < 6; i++)
        far_sends(bad[i], "x");
    check_silence();
    ck_assert_uint_eq(env_keeper_works(), 0);
    ck_assert_uint_eq(env.counters.drop_denied, 6);
    ck_assert_uint_eq(env.counters.down_packets, 0);
}
END_TEST

/* RFC 1071's sum over what the receiver sees is all ones. */
START_TEST(ipv6_packets_have_a_checksum_that_holds)
{
    static const char text[] = "an odd number of bytes in it";

    app_sends(APP_V6, PEER_V6, "ping");
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        struct addr from = at(PEER_V6);
        const struct env_said *s;
        uint32_t sum = IPPROTO_UDP;

        env.exit.last->events->on_datagram(env.exit.last->user, &from, (const uint8_t *)text, n,
                                           fake_now_ns);
        s = env_next_said();
        ck_assert_uint_eq(s->len, 48 + n);
        sum += (uint32_t)(8 + n);
        for (size_t i = 8; i < s->len; i++)
            sum += i % 2 ? s->data[i] : (uint32_t)s->data[i] << 8;
        while (sum >> 16)
            sum = (sum >> 16) + (sum & 0xffff);
        ck_assert_uint_eq(sum, 0xffff);
    }
}
END_TEST

START_TEST(no_ipv6_packet_is_without_a_checksum)
{
    unsigned int n_ones = 0;

    app_sends(APP_V6, PEER_V6, "ping");
    for (unsigned int i = 0; i <= UINT16_MAX; i++) {
        const uint8_t data[] = {(uint8_t)(i >> 8), (uint8_t)i};
        const struct env_said *s;

        far_sends_bytes(env.exit.last, PEER_V6, data, sizeof(data));
        s = env_next_said();
        ck_assert_uint_ne(word_at(s, 46), 0);
        n_ones += word_at(s, 46) == 0xffff;
    }
    ck_assert_uint_gt(n_ones, 0);
}
END_TEST

START_TEST(errors_about_datagrams_pass_and_nothing_else)
{
    static const struct {
        uint8_t type, code;
        bool passes;
    } v4[] = {{3, 3, true},  {3, 4, true},  {11, 0, true},
              {0, 0, false}, {5, 1, false}, {8, 0, false}},
      v6[] = {{1, 4, true},    {2, 0, true},    {3, 0, true},
              {128, 0, false}, {134, 0, false}, {137, 0, false}};

    app_sends(APP, PEER, "ping");
    for (size_t i = 0; i < 6; i++) {
        fake_exit_icmp(env.exit.last, PEER, v4[i].type, v4[i].code, 0);
        if (v4[i].passes)
            check_icmp(APP, PEER, v4[i].type, v4[i].code);
        check_silence();
    }
    fake_exit_icmp(env.exit.last, PEER_V6, 1, 4, 0);
    fake_exit_icmp(env.exit.last, "127.0.0.1:50000", 3, 3, 0);
    check_silence();
    app_sends(APP_V6, PEER_V6, "ping");
    for (size_t i = 0; i < 6; i++) {
        fake_exit_icmp(env.exit.last, PEER_V6, v6[i].type, v6[i].code, 0);
        if (v6[i].passes)
            check_icmp(APP_V6, PEER_V6, v6[i].type, v6[i].code);
        check_silence();
    }
}
END_TEST

START_TEST(too_big_says_how_big)
{
    const struct env_said *s;

    app_sends(APP, PEER, "ping");
    fake_exit_icmp(env.exit.last, PEER, 3, 4, 1400);
    s = env_next_said();
    ck_assert_uint_eq(word_at(s, 24), 0);
    ck_assert_uint_eq(word_at(s, 26), 1400);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/gate_udp");
    TCase *t = tcase_create("udp");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, one_source_has_one_association_for_all_its_peers);
    tcase_add_test(t, every_source_has_its_own_and_of_its_own_family);
    tcase_add_test(t, a_few_datagrams_wait_for_the_association);
    tcase_add_test(t, five_minutes_without_a_datagram_of_the_app_end_it);
    tcase_add_test(t, what_peers_send_does_not_keep_it);
    tcase_add_test(t, a_source_that_only_speaks_quic_is_over_after_a_minute);
    tcase_add_test(t, the_router_tells_where_peers_see_the_source);
    tcase_add_test(t, the_router_serves_nothing_else_by_udp);
    tcase_add_test(t, without_a_relay_the_router_refuses);
    tcase_add_test(t, its_flows_are_told_with_what_they_carried);
    tcase_add_test(t, a_full_table_refuses);
    tcase_add_test(t, a_full_table_ends_what_was_idle_for_two_minutes);
    tcase_add_test(t, a_full_table_ends_quic_of_half_a_minute_before);
    tcase_add_test(t, without_an_association_datagrams_are_refused_and_it_is_tried_again_later);
    tcase_add_test(t, what_waits_for_an_association_that_fails_is_refused);
    tcase_add_test(t, short_memory_refuses);
    tcase_add_test(t, a_lost_association_is_opened_by_the_next_datagram);
    tcase_add_test(t, an_association_lost_before_it_was_open_refuses_what_waits);
    tcase_add_test(t, when_the_relay_has_no_more_an_idle_one_makes_room);
    tcase_add_test(t, the_one_that_the_relay_has_no_room_for_is_not_the_one_to_go);
    tcase_add_test(t, what_waited_is_whole_on_the_wire_also_when_it_is_lost_in_mid_send);
    tcase_add_test(t, a_denied_peer_is_asked_about_once_and_refused_each_time);
    tcase_add_test(t, a_denied_stun_or_turn_server_says_no);
    tcase_add_test(t, a_peer_denied_later_is_refused_then);
    tcase_add_test(t, a_permission_that_failed_for_the_moment_is_asked_for_again);
    tcase_add_test(t, the_namespaces_own_addresses_never_reach_the_exit);
    tcase_add_test(t, answers_come_from_the_peers_socket_once_there_is_one);
    tcase_add_test(t, two_sources_share_a_peers_socket);
    tcase_add_test(t, nobody_far_away_speaks_as_the_apps_own_machine);
    tcase_add_test(t, ipv6_packets_have_a_checksum_that_holds);
    tcase_add_test(t, no_ipv6_packet_is_without_a_checksum);
    tcase_add_test(t, errors_about_datagrams_pass_and_nothing_else);
    tcase_add_test(t, too_big_says_how_big);
    suite_add_tcase(s, t);
    return suite_run(s);
}
