/* Permissions, channels and datagrams of relay/exit/upstream/session.h. */
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/session_world.h"

static struct session_world *w;
static struct fake_relay *relay;
static struct fake_request req, req2;

static void setup(void)
{
    struct session_want want = {.v4 = true, .v6 = true};

    w = session_world_live(LINK_UDP, &want);
    relay = &w->relay;
}

static void teardown(void)
{
    session_world_free(w);
}

/* A peer with a permission and nothing waiting. */
static void permitted(const char *peer)
{
    session_world_send(w, peer, "first");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_success(relay, &req);
    expect_send(w, peer, "first");
}

/* A peer on channel 0x4000. */
static void bound(const char *peer)
{
    permitted(peer);
    for (int i = 0; i < 3; i++) {
        session_world_send(w, peer, "busy");
        expect_send(w, peer, "busy");
    }
    fake_relay_expect(relay, STUN_CHANNEL_BIND, &req);
    fake_relay_success(relay, &req);
    fake_relay_expect_nothing(relay);
}

static unsigned int number_of(const struct fake_request *r)
{
    uint16_t number = 0;

    ck_assert(stun_get_u16(&r->msg, STUN_CHANNEL_NUMBER, &number));
    return number;
}

/* ---- permissions ---- */

START_TEST(the_first_datagrams_wait_for_the_permission_and_go_in_order)
{
    struct addr peer = at(PEER), asked;

    session_world_send(w, PEER, "one");
    session_world_send(w, PEER, "two..");
    session_world_send(w, PEER, "");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_expect_nothing(relay);
    ck_assert(stun_get_peer(&req.msg, 0, &asked) && addr_ip_equal(&asked, &peer));
    fake_relay_success(relay, &req);
    expect_send(w, PEER, "one");
    expect_send(w, PEER, "two..");
    expect_send(w, PEER, "");
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(ports_of_one_host_share_its_permission)
{
    session_world_send(w, "203.0.113.9:1", "one");
    session_world_send(w, "203.0.113.9:2", "two");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_success(relay, &req);
    expect_send(w, "203.0.113.9:1", "one");
    expect_send(w, "203.0.113.9:2", "two");
    session_world_send(w, "203.0.113.9:3", "three");
    expect_send(w, "203.0.113.9:3", "three");
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(few_datagrams_wait_and_their_bytes_are_bounded)
{
    static uint8_t large[60000];
    struct addr peer;
    size_t n = 0;

    for (int i = 0; i < 100; i++)
        session_world_send(w, PEER, "again");
    for (uint32_t i = 0; i < 20; i++) {
        peer = addr_make_v4(0xCB007100u + i, 9);
        session_send(w->session, &peer, large, sizeof(large), false, fake_now_ns);
    }
    fake_relay_serve(relay);
    for (size_t i = 0; i < w->wire->n_sent; i++)
        n += w->wire->sent[i].len > 50000;
    ck_assert_uint_eq(n, 4);
    n = 0;
    for (size_t i = 0; i < w->wire->n_sent; i++) {
        struct stun_msg msg;

        n += w->wire->sent[i].len < 1000 &&
             stun_decode(&msg, w->wire->sent[i].data, w->wire->sent[i].len) == 0 &&
             msg.method == STUN_SEND;
    }
    ck_assert_uint_eq(n, 8);
}
END_TEST

START_TEST(a_permission_asked_for_early_saves_the_wait)
{
    struct addr peer = at(PEER);

    session_permit(w->session, &peer, fake_now_ns);
    session_permit(w->session, &peer, fake_now_ns);
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_expect_nothing(relay);
    fake_relay_success(relay, &req);
    session_world_send(w, PEER, "hello");
    expect_send(w, PEER, "hello");
}
END_TEST

START_TEST(a_permission_that_is_used_never_lapses)
{
    session_world_send(w, PEER, "hello");
    fake_relay_serve(relay);
    for (int i = 0; i < 1200; i++) {
        session_world_serve_s(w, 1);
        if (i % 100 == 0) /* too slow for a channel */
            session_world_send(w, PEER, "hello");
        ck_assert_uint_lt(fake_now_ns - relay->served_ns[STUN_CREATE_PERMISSION], 300 * NS_PER_S);
    }
    ck_assert_uint_eq(relay->n_served[STUN_CREATE_PERMISSION], 6);
}
END_TEST

START_TEST(a_permission_that_is_not_used_is_forgotten)
{
    permitted(PEER);
    relay->n_served[STUN_CREATE_PERMISSION] = 0;
    session_world_serve_s(w, 1500);
    ck_assert_uint_le(relay->n_served[STUN_CREATE_PERMISSION], 1);
    session_world_send(w, PEER, "late"); /* it lapsed at the relay: ask again, and wait */
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_expect_nothing(relay);
    fake_relay_success(relay, &req);
    expect_send(w, PEER, "late");
}
END_TEST

START_TEST(a_refused_peer_is_reported_and_left_alone_for_a_while)
{
    static const unsigned int codes[] = {403, 443, 400};
    struct addr peer = at(PEER);

    session_world_send(w, PEER, "hello");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_error(relay, &req, codes[_i]);
    ck_assert_uint_eq(w->n_refused, 1);
    ck_assert_uint_eq(w->refused_code, codes[_i]);
    ck_assert(addr_ip_equal(&w->refused_peer, &peer));
    session_world_pass_ms(w, 19000);
    session_world_send(w, PEER, "hello");
    fake_relay_expect_nothing(relay);
    session_world_serve_s(w, 11);
    session_world_send(w, PEER, "again");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_success(relay, &req);
    expect_send(w, PEER, "again");
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(the_refusal_of_one_peer_does_not_hit_another)
{
    session_world_send(w, PEER, "one");
    session_world_send(w, PEER2, "two");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req2);
    fake_relay_success(relay, &req2); /* the later request is answered first */
    fake_relay_error(relay, &req, 403);
    expect_send(w, PEER2, "two");
    fake_relay_expect_nothing(relay);
    ck_assert_uint_eq(w->n_refused, 1);
}
END_TEST

START_TEST(a_full_relay_is_asked_again_later)
{
    session_world_send(w, PEER, "hello");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_error(relay, &req, _i == 0 ? 508 : 486);
    session_world_pass_ms(w, 9000);
    session_world_send(w, PEER, "hello");
    fake_relay_serve(relay); /* at most a probe */
    ck_assert_uint_eq(relay->n_served[STUN_CREATE_PERMISSION], 0);
    session_world_pass_ms(w, 1000);
    session_world_send(w, PEER, "hello");
    ck_assert(fake_relay_find(relay, STUN_CREATE_PERMISSION, &req));
}
END_TEST

START_TEST(a_lost_permission_request_is_sent_again_by_itself)
{
    session_world_send(w, PEER, "hello");
    fake_wire_skip(w->wire);
    session_world_pass_ms(w, 500);
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_success(relay, &req);
    fake_relay_give(relay); /* and a duplicate */
    expect_send(w, PEER, "hello");
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(a_forged_refusal_does_not_cut_a_peer_off)
{
    session_world_send(w, PEER, "hello");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    relay->unsigned_answers = true;
    fake_relay_error(relay, &req, 403);
    relay->unsigned_answers = false;
    ck_assert_uint_eq(w->n_refused, 0);
    fake_relay_success(relay, &req);
    expect_send(w, PEER, "hello");
}
END_TEST

START_TEST(a_permission_survives_a_stale_nonce)
{
    fake_relay_new_nonce(relay);
    session_world_send(w, PEER, "hello");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_challenge(relay, &req, 438);
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req2);
    fake_relay_success(relay, &req2);
    expect_send(w, PEER, "hello");
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(a_forgotten_allocation_shows_at_the_next_request)
{
    session_world_send(w, PEER, "hello");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_error(relay, &req, 437);
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_int_eq(w->ended.end, SESSION_E_LOST);
}
END_TEST

START_TEST(many_peers_cost_bounded_memory_and_the_oldest_gives_way)
{
    struct addr peer;

    for (uint32_t i = 0; i < 600; i++) {
        peer = addr_make_v4(0xCB000000u + i, 9);
        session_send(w->session, &peer, (const uint8_t *)"hi", 2, false, fake_now_ns);
        fake_relay_serve(relay);
    }
    ck_assert_uint_eq(relay->n_served[STUN_CREATE_PERMISSION], 600);
    fake_relay_serve(relay);
    session_send(w->session, &peer, (const uint8_t *)"hi", 2, false, fake_now_ns);
    expect_send(w, "203.0.2.87:9", "hi"); /* the youngest is known */
    session_world_send(w, "203.0.0.1:9", "hi");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req); /* the oldest was forgotten */
}
END_TEST

START_TEST(a_family_without_a_relayed_address_is_not_sent_to)
{
    struct session_want want = {.v4 = true};

    session_world_again(w, LINK_UDP, &want);
    fake_relay_serve(relay);
    session_world_send(w, PEER6, "hello");
    fake_relay_expect_nothing(relay);
    session_world_again(w, LINK_UDP, &(struct session_want){.v4 = true, .v6 = true});
    fake_relay_serve(relay);
    session_world_send(w, PEER6, "hello");
    fake_relay_serve(relay);
    ck_assert_uint_eq(relay->n_served[STUN_CREATE_PERMISSION], 1);
}
END_TEST

/* ---- channels ---- */

START_TEST(a_busy_peer_gets_a_channel_and_it_is_used_once_confirmed)
{
    struct addr peer = at(PEER), asked;

    permitted(PEER);
    session_world_send(w, PEER, "1");
    session_world_send(w, PEER, "2");
    session_world_send(w, PEER, "3");
    expect_send(w, PEER, "1");
    expect_send(w, PEER, "2");
    expect_send(w, PEER, "3");
    fake_relay_expect(relay, STUN_CHANNEL_BIND, &req);
    ck_assert_uint_eq(number_of(&req), 0x4000);
    ck_assert(stun_get_peer(&req.msg, 0, &asked) && addr_equal(&asked, &peer));
    session_world_send(w, PEER, "4");
    expect_send(w, PEER, "4"); /* not yet */
    fake_relay_success(relay, &req);
    session_world_send(w, PEER, "5");
    expect_channel_data(w, 0x4000, "5");
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(an_idle_peer_gets_none)
{
    permitted(PEER);
    for (int i = 0; i < 20; i++) {
        session_world_send(w, PEER, "now and then");
        session_world_serve_s(w, 4);
    }
    ck_assert_uint_eq(relay->n_served[STUN_CHANNEL_BIND], 0);
}
END_TEST

START_TEST(what_a_peer_sends_counts_as_well)
{
    permitted(PEER);
    fake_relay_data(relay, PEER, "a", 1);
    fake_relay_data(relay, PEER, "b", 1);
    fake_relay_expect_nothing(relay);
    fake_relay_data(relay, PEER, "c", 1);
    fake_relay_expect(relay, STUN_CHANNEL_BIND, &req);
}
END_TEST

START_TEST(channel_data_is_taken_as_soon_as_the_bind_was_sent)
{
    permitted(PEER);
    for (int i = 0; i < 3; i++)
        session_world_send(w, PEER, "busy");
    fake_relay_channel_data(relay, 0x4000, "early", 5);
    expect_got(w, 0, PEER, "early");
    fake_relay_channel_data(relay, 0x4001, "nobody's", 8);
    fake_relay_channel_data(relay, 0x4FFF, "nobody's", 8);
    ck_assert_uint_eq(w->n_datagrams, 1);
}
END_TEST

START_TEST(a_channel_is_kept_while_it_is_used)
{
    bound(PEER);
    for (int i = 0; i < 3000; i++) {
        session_world_pass_ms(w, 1000);
        fake_relay_serve(relay);
        if (i % 200 != 0)
            continue;
        session_world_send(w, PEER, "still");
        expect_channel_data(w, 0x4000, "still");
    }
    ck_assert_uint_ge(relay->n_served[STUN_CHANNEL_BIND], 5);
    ck_assert_uint_le(relay->n_served[STUN_CHANNEL_BIND], 7);
}
END_TEST

START_TEST(a_channel_that_lapsed_is_bound_to_the_same_number_again)
{
    bound(PEER);
    session_world_serve_s(w, 650);
    session_world_send(w, PEER, "after a rest");
    fake_relay_serve(relay); /* the permission, too, had lapsed */
    for (int i = 0; i < 3; i++)
        session_world_send(w, PEER, "busy");
    ck_assert(fake_relay_find(relay, STUN_CHANNEL_BIND, &req));
    ck_assert_uint_eq(number_of(&req), 0x4000);
}
END_TEST

static void keep_busy(uint32_t first, uint32_t n, bool one_host)
{
    for (uint32_t i = first; i < first + n; i++) {
        struct addr peer = one_host ? addr_make_v4(0xCB000000u, (uint16_t)(1000 + i))
                                    : addr_make_v4(0xCB000000u + i, 9);

        for (int j = 0; j < 4; j++) {
            session_send(w->session, &peer, (const uint8_t *)"hi", 2, false, fake_now_ns);
            fake_relay_serve(relay);
        }
    }
}

START_TEST(a_number_is_never_given_to_another_peer)
{
    keep_busy(0, 300, _i == 0);
    /* Those that are bound keep their places for a quarter of an hour. */
    ck_assert_uint_eq(relay->n_served[STUN_CHANNEL_BIND], 256);
    session_world_serve_s(w, 1000);
    keep_busy(1000, 200,
              _i == 0); /* the fake relay refuses a number it has seen with another peer */
    ck_assert_uint_eq(relay->n_served[STUN_CHANNEL_BIND], 456);
    ck_assert_int_ne(relay->channels[455].family, ADDR_NONE);
    ck_assert_int_eq(relay->channels[456].family, ADDR_NONE);
}
END_TEST

START_TEST(a_refused_channel_leaves_indications)
{
    permitted(PEER);
    for (int i = 0; i < 3; i++)
        session_world_send(w, PEER, "busy");
    ck_assert(fake_relay_find(relay, STUN_CHANNEL_BIND, &req));
    fake_relay_error(relay, &req, _i == 0 ? 400 : 508);
    for (int i = 0; i < 10; i++) {
        session_world_send(w, PEER, "on");
        expect_send(w, PEER, "on");
    }
    fake_relay_expect_nothing(relay);
    ck_assert_uint_eq(w->n_refused + w->n_ended, 0);
}
END_TEST

START_TEST(df_goes_by_indication_and_is_asked_for_where_the_relay_can)
{
    struct addr peer = at(PEER);
    const struct fake_sent *sent;
    struct stun_msg msg;

    bound(PEER);
    session_send(w->session, &peer, (const uint8_t *)"df!!", 4, true, fake_now_ns);
    sent = fake_wire_read(w->wire);
    ck_assert_ptr_nonnull(sent);
    ck_assert_int_eq(stun_decode(&msg, sent->data, sent->len), 0);
    ck_assert(msg.method == STUN_SEND && stun_has(&msg, STUN_DONT_FRAGMENT));
}
END_TEST

START_TEST(df_is_left_out_where_the_relay_would_drop_the_datagram)
{
    struct addr peer = at(PEER);
    struct session_want want = {.v4 = true};

    session_world_again(w, LINK_TCP, &want);
    fake_relay_serve(relay);
    permitted(PEER);
    session_send(w->session, &peer, (const uint8_t *)"df!!", 4, true, fake_now_ns);
    ck_assert_uint_eq(w->wire->sent[w->wire->n_read].len, 20 + 12 + 8); /* address and data */
    expect_send(w, PEER, "df!!");
}
END_TEST

START_TEST(the_payload_is_not_copied)
{
    static const uint8_t payload[1199] = {42};
    struct addr peer = at(PEER);
    const struct fake_sent *sent;

    permitted(PEER);
    session_send(w->session, &peer, payload, sizeof(payload), false, fake_now_ns);
    sent = fake_wire_read(w->wire);
    ck_assert_ptr_eq(sent->payload, payload);
    session_world_again(w, LINK_UDP, NULL);
    fake_relay_serve(relay);
    bound(PEER);
    session_send(w->session, &peer, payload, sizeof(payload), false, fake_now_ns);
    sent = fake_wire_read(w->wire);
    ck_assert_ptr_eq(sent->payload, payload);
}
END_TEST

/* ---- what comes in ---- */

START_TEST(datagrams_are_delivered_whether_or_not_asked_for)
{
    fake_relay_data(relay, PEER2, "hello", 5);
    fake_relay_data(relay, PEER6, "", 0);
    ck_assert_uint_eq(w->n_datagrams, 2);
    expect_got(w, 0, PEER2, "hello");
    expect_got(w, 1, PEER6, "");
}
END_TEST

START_TEST(icmp_is_passed_on)
{
    struct addr peer = at(PEER);

    fake_relay_icmp(relay, PEER, 3, 4, 1400);
    ck_assert_uint_eq(w->n_icmp, 1);
    ck_assert(addr_equal(&w->icmp.peer, &peer));
    ck_assert_uint_eq(w->icmp.type, 3);
    ck_assert_uint_eq(w->icmp.code, 4);
    ck_assert_uint_eq(w->icmp.data, 1400);
    ck_assert_uint_eq(w->n_datagrams, 0);
}
END_TEST

START_TEST(truncated_messages_and_wrong_classes_are_dropped)
{
    uint8_t whole[256];
    size_t len;

    bound(PEER);
    relay->hold = true;
    fake_relay_data(relay, PEER, "hello", 5);
    len = relay->answer_len;
    memcpy(whole, relay->answer, len);
    for (size_t n = 0; n < len; n++)
        fake_wire_give(w->wire, whole, n);
    for (int class = 0; class < 4; class ++) {
        for (uint16_t method = 0; method < 0x10; method++) {
            static const uint8_t txid[STUN_TXID_LEN] = {9};
            struct stun_builder b;

            stun_begin(&b, whole, sizeof(whole), (enum stun_class) class, method, txid);
            if (class == STUN_ERROR)
                stun_put_error(&b, 437);
            fake_wire_give(w->wire, whole, stun_finish(&b));
        }
    }
    for (size_t n = 0; n < 8; n++)
        fake_wire_give(w->wire, "\x40\x00\x00\x09hell", n);
    ck_assert_uint_eq(w->n_datagrams + w->n_icmp + w->n_ended + w->n_attempts, 0);
    fake_relay_expect_nothing(relay);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("session_peers");
    TCase *perms = tcase_create("permissions"), *chans = tcase_create("channels");
    TCase *incoming = tcase_create("incoming");

    tcase_add_checked_fixture(perms, setup, teardown);
    tcase_add_test(perms, the_first_datagrams_wait_for_the_permission_and_go_in_order);
    tcase_add_test(perms, ports_of_one_host_share_its_permission);
    tcase_add_test(perms, few_datagrams_wait_and_their_bytes_are_bounded);
    tcase_add_test(perms, a_permission_asked_for_early_saves_the_wait);
    tcase_add_test(perms, a_permission_that_is_used_never_lapses);
    tcase_add_test(perms, a_permission_that_is_not_used_is_forgotten);
    tcase_add_loop_test(perms, a_refused_peer_is_reported_and_left_alone_for_a_while, 0, 3);
    tcase_add_test(perms, the_refusal_of_one_peer_does_not_hit_another);
    tcase_add_loop_test(perms, a_full_relay_is_asked_again_later, 0, 2);
    tcase_add_test(perms, a_lost_permission_request_is_sent_again_by_itself);
    tcase_add_test(perms, a_forged_refusal_does_not_cut_a_peer_off);
    tcase_add_test(perms, a_permission_survives_a_stale_nonce);
    tcase_add_test(perms, a_forgotten_allocation_shows_at_the_next_request);
    tcase_add_test(perms, many_peers_cost_bounded_memory_and_the_oldest_gives_way);
    tcase_add_test(perms, a_family_without_a_relayed_address_is_not_sent_to);
    tcase_add_checked_fixture(chans, setup, teardown);
    tcase_add_test(chans, a_busy_peer_gets_a_channel_and_it_is_used_once_confirmed);
    tcase_add_test(chans, an_idle_peer_gets_none);
    tcase_add_test(chans, what_a_peer_sends_counts_as_well);
    tcase_add_test(chans, channel_data_is_taken_as_soon_as_the_bind_was_sent);
    tcase_add_test(chans, a_channel_is_kept_while_it_is_used);
    tcase_add_test(chans, a_channel_that_lapsed_is_bound_to_the_same_number_again);
    tcase_add_loop_test(chans, a_number_is_never_given_to_another_peer, 0, 2);
    tcase_add_loop_test(chans, a_refused_channel_leaves_indications, 0, 2);
    tcase_add_test(chans, df_goes_by_indication_and_is_asked_for_where_the_relay_can);
    tcase_add_test(chans, df_is_left_out_where_the_relay_would_drop_the_datagram);
    tcase_add_test(chans, the_payload_is_not_copied);
    tcase_add_checked_fixture(incoming, setup, teardown);
    tcase_add_test(incoming, datagrams_are_delivered_whether_or_not_asked_for);
    tcase_add_test(incoming, icmp_is_passed_on);
    tcase_add_test(incoming, truncated_messages_and_wrong_classes_are_dropped);
    suite_add_tcase(s, perms);
    suite_add_tcase(s, chans);
    suite_add_tcase(s, incoming);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
