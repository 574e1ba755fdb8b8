/* What a session counts as lost on the way to the relay, and the samples it takes for that. */
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/session_world.h"

static struct session_world *w;
static struct fake_relay *relay;
static struct fake_request req, req2;
static uint64_t since_asked_ms; /* when live() returns */

static const enum link_kind datagram_links[] = {LINK_UDP, LINK_DTLS};
static const enum link_kind all_links[] = {LINK_UDP, LINK_DTLS, LINK_TCP, LINK_TLS};

static void opening(enum link_kind kind)
{
    w = session_world_new(kind, NULL);
    relay = &w->relay;
}

/* The latest Allocate; copies of others may stand before it. */
static void expect_allocate(void)
{
    bool is_there = false;

    while (fake_relay_find(relay, STUN_ALLOCATE, &req))
        is_there = true;
    ck_assert(is_there);
}

/* LIVE, with a round trip of so long. */
static void live(enum link_kind kind, uint64_t rtt_ms)
{
    opening(kind);
    expect_allocate();
    session_world_pass_ms(w, rtt_ms);
    fake_relay_challenge(relay, &req, 401);
    expect_allocate();
    session_world_pass_ms(w, rtt_ms);
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
    fake_wire_skip(w->wire);
    since_asked_ms = rtt_ms;
}

static void teardown(void)
{
    session_world_free(w);
    w = NULL;
}

static void assert_counted(unsigned int requests, unsigned int retransmissions,
                           unsigned int unanswered)
{
    ck_assert_uint_eq(w->counters.upstream_requests, requests);
    ck_assert_uint_eq(w->counters.upstream_retransmissions, retransmissions);
    ck_assert_uint_eq(w->counters.upstream_unanswered, unanswered);
}

/* The Refresh of an idle session, just sent. */
static void expect_keepalive(void)
{
    session_world_pass_ms(w, 20000 - since_asked_ms);
    fake_relay_expect(relay, STUN_REFRESH, &req);
}

/* A peer on channel 0x4000. */
static void bound(void)
{
    session_world_send(w, PEER, "first");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_success(relay, &req);
    for (int i = 0; i < 3; i++)
        session_world_send(w, PEER, "busy");
    ck_assert(fake_relay_find(relay, STUN_CHANNEL_BIND, &req));
    fake_relay_success(relay, &req);
}

/* A call goes on, both ways; the relay answers what it is asked. */
static void talk_s(unsigned int seconds)
{
    for (unsigned int i = 0; i < 10 * seconds; i++) {
        session_world_send(w, PEER, "up");
        fake_relay_channel_data(relay, 0x4000, "down", 4);
        session_world_pass_ms(w, 100);
        fake_relay_serve(relay);
    }
}

/* The app talks on, and nothing comes back. */
static void talk_in_vain_ms(unsigned int ms)
{
    for (unsigned int i = 0; i < ms / 100; i++) {
        session_world_send(w, PEER, "up");
        session_world_pass_ms(w, 100);
    }
}

/* ---- what counts ---- */

START_TEST(a_lost_question_counts_once_it_is_answered_and_once_only)
{
    live(datagram_links[_i], 40);
    assert_counted(2, 0, 0);
    expect_keepalive();
    assert_counted(2, 0, 0);
    session_world_pass_ms(w, 500);
    assert_counted(2, 0, 0); /* sent again, and not answered */
    session_world_pass_ms(w, 40);
    fake_relay_refreshed(relay, &req, 600);
    assert_counted(3, 1, 0);
    fake_relay_give(relay);
    session_world_pass_ms(w, 10000);
    assert_counted(3, 1, 0);
}
END_TEST

START_TEST(one_that_was_lost_three_times_counts_three)
{
    live(LINK_UDP, 40);
    expect_keepalive();
    session_world_pass_ms(w, 3500 + 40);
    fake_relay_refreshed(relay, &req, 600);
    assert_counted(3, 3, 0);
}
END_TEST

START_TEST(an_answer_to_the_copy_before_is_no_loss)
{
    live(LINK_UDP, 450);
    expect_keepalive();
    session_world_pass_ms(w, 550); /* the first one's, 50 ms after the second left */
    fake_relay_refreshed(relay, &req, 600);
    assert_counted(3, 0, 0);
}
END_TEST

START_TEST(nothing_counts_before_a_round_trip_is_known)
{
    live(LINK_UDP, 600); /* everything is sent twice, and nothing lost */
    assert_counted(0, 0, 0);
    expect_keepalive();
    session_world_pass_ms(w, 600);
    fake_relay_refreshed(relay, &req, 600);
    assert_counted(0, 0, 0);
}
END_TEST

START_TEST(a_challenge_is_an_answer_and_what_follows_it_counts_for_itself)
{
    live(LINK_UDP, 40);
    fake_relay_new_nonce(relay);
    expect_keepalive();
    session_world_pass_ms(w, 540);
    fake_relay_challenge(relay, &req, 438);
    assert_counted(3, 1, 0);
    fake_wire_skip(w->wire);
    session_world_pass_ms(w, 540);
    ck_assert(fake_relay_find(relay, STUN_REFRESH, &req2));
    fake_relay_refreshed(relay, &req, 600); /* the one before, after all */
    fake_relay_refreshed(relay, &req2, 600);
    assert_counted(3, 1, 0);
    session_world_pass_ms(w, 5000);
    assert_counted(3, 1, 0);
}
END_TEST

START_TEST(a_relay_that_is_gone_is_no_loss)
{
    live(LINK_UDP, 40);
    bound();
    assert_counted(4, 0, 0);
    talk_in_vain_ms(20000);
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_uint_eq(w->counters.upstream_requests, 4);
    ck_assert_uint_eq(w->counters.upstream_retransmissions, 0);
    ck_assert_uint_ge(w->counters.upstream_unanswered, 3);
}
END_TEST

START_TEST(over_a_stream_nothing_is_counted)
{
    live(all_links[2 + _i], 40);
    bound();
    talk_s(30);
    session_world_pass_ms(w, 25000);
    ck_assert(fake_relay_find(relay, STUN_REFRESH, &req));
    fake_relay_refreshed(relay, &req, 600);
    session_world_pass_ms(w, 60000); /* given up */
    ck_assert_uint_eq(w->n_ended, 1);
    assert_counted(0, 0, 0);
}
END_TEST

/* ---- samples ---- */

START_TEST(a_call_is_sampled_every_two_seconds_and_no_longer)
{
    unsigned int n;

    live(all_links[_i], 40);
    bound();
    talk_s(60);
    n = relay->n_served[STUN_REFRESH];
    ck_assert_uint_ge(n, 29);
    ck_assert_uint_le(n, 31);
    ck_assert_uint_eq(w->counters.upstream_requests, _i < 2 ? 4 + n : 0);
    session_world_serve_s(w, 19);
    ck_assert_uint_le(relay->n_served[STUN_REFRESH], n + 1);
}
END_TEST

START_TEST(a_peer_that_is_not_busy_is_not_sampled_for)
{
    live(LINK_UDP, 40);
    for (int i = 0; i < 15; i++) {
        session_world_send(w, PEER, "now and then");
        session_world_serve_s(w, 4);
    }
    ck_assert_uint_eq(relay->n_served[STUN_CHANNEL_BIND], 0);
    /* The peer is silent, about which the relay is asked after six seconds. */
    ck_assert_uint_le(relay->n_served[STUN_REFRESH], 60 / 6);
}
END_TEST

START_TEST(a_call_measures_its_round_trip)
{
    live(all_links[_i], 40);
    bound();
    for (int i = 0; i < 2000; i++) {
        session_world_send(w, PEER, "up");
        session_world_pass_ms(w, 20);
        if (!fake_relay_find(relay, STUN_REFRESH, &req))
            continue;
        session_world_pass_ms(w, 60);
        fake_relay_refreshed(relay, &req, 600);
    }
    ck_assert_uint_gt(session_rtt_us(w->session), 50000);
}
END_TEST

START_TEST(samples_make_nobody_give_up_sooner)
{
    bool is_stream = link_kind_is_stream(all_links[_i]);

    live(all_links[_i], 40);
    bound();
    talk_s(5);
    talk_in_vain_ms(is_stream ? 19800 : 15800);
    ck_assert_uint_eq(w->n_ended, 0);
    talk_in_vain_ms(400);
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_int_eq(w->ended.end, SESSION_E_TIMEOUT);
}
END_TEST

START_TEST(a_relay_that_has_forgotten_is_noticed_by_the_next_sample)
{
    live(LINK_UDP, 40);
    bound();
    talk_s(5);
    for (int i = 0; i < 30 && w->n_ended == 0; i++) {
        session_world_send(w, PEER, "up");
        session_world_pass_ms(w, 100);
        while (w->n_ended == 0 && fake_relay_find(relay, STUN_REFRESH, &req))
            fake_relay_error(relay, &req, 437);
    }
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_int_eq(w->ended.end, SESSION_E_LOST);
}
END_TEST

START_TEST(forged_answers_to_samples_do_not_end_a_call)
{
    static const unsigned int codes[] = {437, 441, 401, 500};

    live(LINK_UDP, 40);
    bound();
    for (int i = 0; i < 600; i++) {
        session_world_send(w, PEER, "up");
        session_world_pass_ms(w, 100);
        if (!fake_relay_find(relay, STUN_REFRESH, &req))
            continue;
        relay->unsigned_answers = true;
        fake_relay_error(relay, &req, codes[_i]);
        relay->unsigned_answers = false;
        fake_relay_refreshed(relay, &req, 600);
    }
    ck_assert_uint_eq(w->n_ended, 0);
    ck_assert(session_is_live(w->session));
}
END_TEST

START_TEST(a_forged_answer_to_a_sample_has_no_say_even_when_the_real_one_is_lost)
{
    live(LINK_UDP, 40);
    bound();
    session_world_send(w, PEER, "up");
    session_world_pass_ms(w, 100);
    ck_assert(fake_relay_find(relay, STUN_REFRESH, &req));
    relay->unsigned_answers = true;
    fake_relay_error(relay, &req, 437);
    relay->unsigned_answers = false;
    for (int i = 0; i < 39; i++) {
        session_world_pass_ms(w, 100);
        fake_wire_skip(w->wire);
        fake_relay_channel_data(relay, 0x4000, "down", 4);
    }
    talk_s(10);
    ck_assert_uint_eq(w->n_ended, 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("session_loss");
    TCase *t = tcase_create("loss");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, a_lost_question_counts_once_it_is_answered_and_once_only, 0, 2);
    tcase_add_test(t, one_that_was_lost_three_times_counts_three);
    tcase_add_test(t, an_answer_to_the_copy_before_is_no_loss);
    tcase_add_test(t, nothing_counts_before_a_round_trip_is_known);
    tcase_add_test(t, a_challenge_is_an_answer_and_what_follows_it_counts_for_itself);
    tcase_add_test(t, a_relay_that_is_gone_is_no_loss);
    tcase_add_loop_test(t, over_a_stream_nothing_is_counted, 0, 2);
    tcase_add_loop_test(t, a_call_is_sampled_every_two_seconds_and_no_longer, 0, 4);
    tcase_add_test(t, a_peer_that_is_not_busy_is_not_sampled_for);
    tcase_add_loop_test(t, a_call_measures_its_round_trip, 0, 4);
    tcase_add_loop_test(t, samples_make_nobody_give_up_sooner, 0, 4);
    tcase_add_test(t, a_relay_that_has_forgotten_is_noticed_by_the_next_sample);
    tcase_add_loop_test(t, forged_answers_to_samples_do_not_end_a_call, 0, 4);
    tcase_add_test(t, a_forged_answer_to_a_sample_has_no_say_even_when_the_real_one_is_lost);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
