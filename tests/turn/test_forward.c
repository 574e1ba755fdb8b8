/*
 * Datagrams between a client and its peers (RFC 8656, sections 11 and 12).
 */
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc;
static struct login login;

static void setup_with(enum transport transport)
{
    w = world_new();
    fc = world_client(w, transport, CLIENT);
    login = login_old(fc, "alice", "wonderland");
    ck_assert_uint_eq(ask_allocate_dual(fc, &login), 0);
    fake_client_forget(fc);
}

static void setup(void)
{
    setup_with(TRANSPORT_UDP);
}

static void setup_tcp(void)
{
    setup_with(TRANSPORT_TCP);
}

static void teardown(void)
{
    world_free(w);
}

static void permit(const char *peer)
{
    ck_assert_uint_eq(ask_permission(fc, &login, peer), 0);
    fake_client_forget(fc);
}

static void bind_channel(unsigned int number, const char *peer)
{
    ck_assert_uint_eq(ask_channel(fc, &login, number, peer), 0);
    fake_client_forget(fc);
}

static void from_peer(const char *peer, const void *data, size_t len)
{
    fake_exit_datagram(w->exit.last, peer, data, len);
}

/* ---- client to peer ---- */

START_TEST(send_reaches_a_permitted_peer_unchanged)
{
    permit(PEER);
    give_send(fc, PEER, "hello peer", 10);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    assert_addr_eq(w->exit.sent[0].peer, PEER);
    ck_assert_uint_eq(w->exit.sent[0].len, 10);
    ck_assert_mem_eq(w->exit.sent[0].data, "hello peer", 10);
    ck_assert(!w->exit.sent[0].dont_fragment);
    ck_assert_uint_eq(w->counters.up_packets, 1);
    ck_assert_uint_eq(w->counters.up_bytes, 10);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

START_TEST(send_reaches_ipv6_peers)
{
    permit(PEER6);
    give_send(fc, PEER6, "x", 1);
    assert_addr_eq(w->exit.sent[0].peer, PEER6);
}
END_TEST

START_TEST(an_empty_datagram_is_a_datagram)
{
    permit(PEER);
    give_send(fc, PEER, "", 0);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    ck_assert_uint_eq(w->exit.sent[0].len, 0);
    bind_channel(0x4000, PEER2);
    give_channel_data(fc, 0x4000, "", 0);
    ck_assert_uint_eq(w->exit.n_sent, 2);
    ck_assert_uint_eq(w->exit.sent[1].len, 0);
}
END_TEST

START_TEST(send_without_permission_is_dropped_in_silence)
{
    give_send(fc, PEER, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    ck_assert_uint_eq(fc->n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_no_permission, 1);
}
END_TEST

static void send_begin(struct req *r)
{
    req_begin(r, STUN_SEND);
    stun_begin(&r->b, r->buf, sizeof(r->buf), STUN_INDICATION, STUN_SEND, r->txid);
}

static void send_end(struct req *r)
{
    ck_assert_int_eq(fake_client_give(fc, r->buf, req_end(r, NULL)), 0);
}

START_TEST(send_without_data_or_peer_is_dropped_in_silence)
{
    struct req r;

    permit(PEER);
    send_begin(&r);
    req_put_peer(&r, PEER);
    send_end(&r);
    send_begin(&r);
    stun_put(&r.b, STUN_DATA_ATTR, "x", 1);
    send_end(&r);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    ck_assert_uint_eq(fc->n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_malformed, 2);
}
END_TEST

START_TEST(send_with_an_unknown_required_attribute_is_dropped_in_silence)
{
    struct req r;

    permit(PEER);
    send_begin(&r);
    req_put_peer(&r, PEER);
    stun_put(&r.b, STUN_DATA_ATTR, "x", 1);
    req_put_raw(&r, 0x7ABC, "what", 4);
    send_end(&r);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

START_TEST(s36_of_two_peers_in_a_send_the_first_counts)
{
    struct req r;

    permit(PEER);
    send_begin(&r);
    req_put_peer(&r, PEER);
    req_put_peer(&r, PEER2);
    stun_put(&r.b, STUN_DATA_ATTR, "x", 1);
    send_end(&r);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    assert_addr_eq(w->exit.sent[0].peer, PEER);
    send_begin(&r);
    req_put_peer(&r, PEER2);
    req_put_peer(&r, PEER);
    stun_put(&r.b, STUN_DATA_ATTR, "x", 1);
    send_end(&r);
    ck_assert_uint_eq(w->exit.n_sent, 1);
}
END_TEST

START_TEST(dont_fragment_is_passed_on)
{
    struct req r;

    permit(PEER);
    send_begin(&r);
    req_put_peer(&r, PEER);
    stun_put(&r.b, STUN_DONT_FRAGMENT, "", 0);
    stun_put(&r.b, STUN_DATA_ATTR, "x", 1);
    send_end(&r);
    ck_assert(w->exit.sent[0].dont_fragment);
}
END_TEST

START_TEST(channel_data_reaches_the_channels_peer)
{
    bind_channel(0x4123, PEER);
    give_channel_data(fc, 0x4123, "hello", 5);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    assert_addr_eq(w->exit.sent[0].peer, PEER);
    ck_assert_uint_eq(w->exit.sent[0].len, 5);
    ck_assert_mem_eq(w->exit.sent[0].data, "hello", 5);
}
END_TEST

START_TEST(channel_data_on_no_channel_is_dropped)
{
    bind_channel(0x4000, PEER);
    give_channel_data(fc, 0x4001, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_no_channel, 1);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

START_TEST(channel_data_padding_is_accepted_and_not_relayed)
{
    static const uint8_t padded[] = {0x40, 0x00, 0, 1, 'x', 0xAA, 0xBB, 0xCC};

    bind_channel(0x4000, PEER);
    ck_assert_int_eq(fake_client_give(fc, padded, 8), 0);
    ck_assert_int_eq(fake_client_give(fc, padded, 5), 0);
    ck_assert_uint_eq(w->exit.n_sent, 2);
    ck_assert_uint_eq(w->exit.sent[0].len, 1);
    ck_assert_uint_eq(w->exit.sent[1].len, 1);
}
END_TEST

START_TEST(channel_data_that_says_more_than_there_is_is_dropped)
{
    static const uint8_t liar[] = {0x40, 0x00, 0, 9, 'x', 0, 0, 0};

    bind_channel(0x4000, PEER);
    for (size_t n = 1; n <= sizeof(liar); n++)
        ck_assert_int_eq(fake_client_give(fc, liar, n), 0);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_malformed, sizeof(liar));
}
END_TEST

START_TEST(s45_strangers_make_the_relay_send_nothing_anywhere)
{
    struct fake_client *stranger = world_client(w, TRANSPORT_UDP, CLIENT2);

    permit(PEER);
    give_send(stranger, PEER, "x", 1);
    give_channel_data(stranger, 0x4000, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    ck_assert_uint_eq(stranger->n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_malformed, 2);
}
END_TEST

/* ---- peer to client ---- */

START_TEST(s10_a_peer_without_permission_is_dropped)
{
    from_peer(PEER, "x", 1);
    ck_assert_uint_eq(fc->n_sent, 0);
    ck_assert_uint_eq(w->counters.drop_no_permission, 1);
    permit(PEER2);
    from_peer(PEER, "x", 1);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

static void check_data_indication(const char *peer, const void *data, size_t len)
{
    const uint8_t *got;
    struct reply m;
    size_t got_len;

    reply_read(fc, &m);
    ck_assert(m.any);
    ck_assert_int_eq(m.msg.class, STUN_INDICATION);
    ck_assert_uint_eq(m.msg.method, STUN_DATA);
    assert_addr_eq(reply_addr(&m, STUN_XOR_PEER_ADDRESS), peer);
    got = stun_get(&m.msg, STUN_DATA_ATTR, &got_len);
    ck_assert_uint_eq(got_len, len);
    ck_assert_mem_eq(got, data, len);
    for (size_t i = 0; i < stun_padding(len); i++)
        ck_assert_uint_eq(got[len + i], 0);
    ck_assert_uint_eq(m.len % 4, 0);
}

START_TEST(a_permitted_peers_datagram_becomes_a_data_indication)
{
    permit(PEER);
    for (size_t len = 1; len <= 9; len++) {
        from_peer(PEER, "123456789", len);
        check_data_indication(PEER, "123456789", len);
    }
    ck_assert_uint_eq(w->counters.down_packets, 9);
    ck_assert_uint_eq(w->counters.down_bytes, 45);
}
END_TEST

START_TEST(an_ipv6_peers_datagram_becomes_a_data_indication)
{
    permit(PEER6);
    from_peer(PEER6, "hello", 5);
    check_data_indication(PEER6, "hello", 5);
}
END_TEST

START_TEST(the_peers_own_port_is_named_whatever_the_permission_said)
{
    permit("203.0.113.9:1");
    from_peer("203.0.113.9:777", "hello", 5);
    check_data_indication("203.0.113.9:777", "hello", 5);
}
END_TEST

START_TEST(indications_have_different_transaction_ids)
{
    uint8_t first[STUN_TXID_LEN];
    struct reply m;

    permit(PEER);
    from_peer(PEER, "x", 1);
    reply_read(fc, &m);
    memcpy(first, m.msg.txid, sizeof(first));
    from_peer(PEER, "x", 1);
    reply_read(fc, &m);
    ck_assert_mem_ne(first, m.msg.txid, sizeof(first));
}
END_TEST

START_TEST(a_channels_peer_comes_in_as_channel_data)
{
    const struct fake_message *m;

    bind_channel(0x4123, PEER);
    from_peer(PEER, "hello", 5);
    m = fake_client_sent(fc, 0);
    ck_assert_uint_eq(m->len, 9);
    ck_assert_mem_eq(m->data, "\x41\x23\x00\x05hello", 9);
    from_peer("203.0.113.9:1", "hello", 5);
    check_data_indication("203.0.113.9:1", "hello", 5);
}
END_TEST

START_TEST(over_a_stream_channel_data_is_padded_with_zeros)
{
    bind_channel(0x4123, PEER);
    for (size_t len = 0; len <= 8; len++) {
        const struct fake_message *m;

        from_peer(PEER, "12345678", len);
        m = fake_client_sent(fc, 0);
        ck_assert_uint_eq(m->len, CHANNEL_HEADER_LEN + len + stun_padding(len));
        ck_assert_uint_eq(m->data[3], len);
        for (size_t i = CHANNEL_HEADER_LEN + len; i < m->len; i++)
            ck_assert_uint_eq(m->data[i], 0);
    }
}
END_TEST

START_TEST(an_expired_channel_falls_back_to_indications)
{
    ck_assert_uint_eq(ask_refresh(fc, &login, 3600, NULL), 0);
    bind_channel(0x4000, PEER);
    world_pass(600);
    permit(PEER);
    from_peer(PEER, "hello", 5);
    check_data_indication(PEER, "hello", 5);
}
END_TEST

/* ---- ICMP ---- */

START_TEST(icmp_of_a_permitted_peer_becomes_an_indication)
{
    struct reply m;
    size_t len;

    permit(PEER);
    fake_exit_icmp(w->exit.last, PEER, 3, 4, 1400);
    reply_read(fc, &m);
    ck_assert_int_eq(m.msg.class, STUN_INDICATION);
    ck_assert_uint_eq(m.msg.method, STUN_DATA);
    assert_addr_eq(reply_addr(&m, STUN_XOR_PEER_ADDRESS), PEER);
    ck_assert_mem_eq(stun_get(&m.msg, STUN_ICMP, &len), "\0\0\x03\x04\0\0\x05\x78", 8);
    ck_assert(!stun_has(&m.msg, STUN_DATA_ATTR));
}
END_TEST

START_TEST(icmp_of_an_ipv6_peer_fits_too)
{
    struct reply m;

    permit(PEER6);
    fake_exit_icmp(w->exit.last, PEER6, 2, 0, 1280);
    reply_read(fc, &m);
    ck_assert(stun_has(&m.msg, STUN_ICMP));
}
END_TEST

START_TEST(icmp_is_rate_limited)
{
    permit(PEER);
    for (int i = 0; i < 100; i++)
        fake_exit_icmp(w->exit.last, PEER, 3, 3, 0);
    ck_assert_uint_eq(fc->n_sent, 1);
    world_pass(1);
    fake_exit_icmp(w->exit.last, PEER, 3, 3, 0);
    ck_assert_uint_eq(fc->n_sent, 2);
}
END_TEST

START_TEST(icmp_without_permission_is_dropped)
{
    fake_exit_icmp(w->exit.last, PEER, 3, 3, 0);
    ck_assert_uint_eq(fc->n_sent, 0);
}
END_TEST

/* ---- bandwidth ---- */

START_TEST(bandwidth_is_limited_each_way_by_itself)
{
    static const char payload[1000];

    w->conf->max_bandwidth_per_allocation = 5000;
    bind_channel(0x4000, PEER);
    for (int i = 0; i < 10; i++) {
        give_channel_data(fc, 0x4000, payload, sizeof(payload));
        from_peer(PEER, payload, sizeof(payload));
    }
    ck_assert_uint_eq(w->exit.n_sent, 5);
    ck_assert_uint_eq(fc->n_sent, 5);
    ck_assert_uint_eq(w->counters.drop_bandwidth, 10);
    world_pass(1);
    give_channel_data(fc, 0x4000, payload, sizeof(payload));
    ck_assert_uint_eq(w->exit.n_sent, 6);
}
END_TEST

START_TEST(what_is_dropped_for_want_of_permission_costs_no_bandwidth)
{
    static const char payload[1000];

    w->conf->max_bandwidth_per_allocation = 5000;
    permit(PEER);
    for (int i = 0; i < 10; i++)
        from_peer(PEER2, payload, sizeof(payload));
    from_peer(PEER, payload, sizeof(payload));
    ck_assert_uint_eq(fc->n_sent, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/forward");
    TCase *t = tcase_create("forward");
    TCase *u = tcase_create("forward over a stream");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, send_reaches_a_permitted_peer_unchanged);
    tcase_add_test(t, send_reaches_ipv6_peers);
    tcase_add_test(t, an_empty_datagram_is_a_datagram);
    tcase_add_test(t, send_without_permission_is_dropped_in_silence);
    tcase_add_test(t, send_without_data_or_peer_is_dropped_in_silence);
    tcase_add_test(t, send_with_an_unknown_required_attribute_is_dropped_in_silence);
    tcase_add_test(t, s36_of_two_peers_in_a_send_the_first_counts);
    tcase_add_test(t, dont_fragment_is_passed_on);
    tcase_add_test(t, channel_data_reaches_the_channels_peer);
    tcase_add_test(t, channel_data_on_no_channel_is_dropped);
    tcase_add_test(t, channel_data_padding_is_accepted_and_not_relayed);
    tcase_add_test(t, channel_data_that_says_more_than_there_is_is_dropped);
    tcase_add_test(t, s45_strangers_make_the_relay_send_nothing_anywhere);
    tcase_add_test(t, s10_a_peer_without_permission_is_dropped);
    tcase_add_test(t, a_permitted_peers_datagram_becomes_a_data_indication);
    tcase_add_test(t, an_ipv6_peers_datagram_becomes_a_data_indication);
    tcase_add_test(t, the_peers_own_port_is_named_whatever_the_permission_said);
    tcase_add_test(t, indications_have_different_transaction_ids);
    tcase_add_test(t, a_channels_peer_comes_in_as_channel_data);
    tcase_add_test(t, an_expired_channel_falls_back_to_indications);
    tcase_add_test(t, icmp_of_a_permitted_peer_becomes_an_indication);
    tcase_add_test(t, icmp_of_an_ipv6_peer_fits_too);
    tcase_add_test(t, icmp_is_rate_limited);
    tcase_add_test(t, icmp_without_permission_is_dropped);
    tcase_add_test(t, bandwidth_is_limited_each_way_by_itself);
    tcase_add_test(t, what_is_dropped_for_want_of_permission_costs_no_bandwidth);
    suite_add_tcase(s, t);

    tcase_add_checked_fixture(u, setup_tcp, teardown);
    tcase_add_test(u, over_a_stream_channel_data_is_padded_with_zeros);
    suite_add_tcase(s, u);
    return suite_run(s);
}
