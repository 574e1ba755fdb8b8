/* A session that is LIVE: its lifetime, what it believes, whether anybody is there, its end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/session_world.h"

static struct session_world *w;
static struct fake_relay *relay;
static struct fake_request req, req2;

static void opening(enum link_kind kind)
{
    w = session_world_new(kind, NULL);
    relay = &w->relay;
}

static void live(enum link_kind kind)
{
    w = session_world_live(kind, NULL);
    relay = &w->relay;
}

static void teardown(void)
{
    session_world_free(w);
    w = NULL;
}

static void assert_ended(enum session_end end, unsigned int code)
{
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_int_eq(w->ended.end, end);
    ck_assert_uint_eq(w->ended.code, code);
    ck_assert_uint_gt(strlen(w->ended.why), 0);
}

/* ---- the lifetime ---- */

START_TEST(an_allocation_is_refreshed_in_time_for_as_long_as_it_lives)
{
    live(LINK_UDP);
    relay->lifetime_s = _i == 0 ? 600 : 10;
    session_world_serve_s(w, 3700);
    ck_assert_uint_eq(w->n_ended, 0);
    ck_assert(session_is_live(w->session));
}
END_TEST

START_TEST(a_short_lifetime_is_refreshed_a_third_before_its_end)
{
    opening(LINK_UDP);
    relay->lifetime_s = 12;
    fake_relay_serve(relay);
    session_world_pass_ms(w, 7999);
    fake_relay_expect_nothing(relay);
    session_world_pass_ms(w, 1);
    fake_relay_expect(relay, STUN_REFRESH, &req);
}
END_TEST

START_TEST(without_answers_it_ends_with_the_lifetime_at_the_latest)
{
    opening(LINK_UDP);
    relay->lifetime_s = 9;
    fake_relay_serve(relay);
    for (int i = 0; i < 8; i++) {
        session_world_pass_ms(w, 1000);
        fake_relay_data(relay, PEER, "still", 5); /* the relay is there, and does not answer */
    }
    ck_assert_uint_eq(w->n_ended, 0);
    session_world_pass_ms(w, 1000);
    assert_ended(SESSION_E_TIMEOUT, 0);
}
END_TEST

START_TEST(a_refresh_that_finds_nothing_ends_the_session)
{
    static const unsigned int codes[] = {437, 441};

    live(LINK_UDP);
    session_world_pass_ms(w, 20000);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    fake_relay_error(relay, &req, codes[_i]);
    assert_ended(SESSION_E_LOST, codes[_i]);
}
END_TEST

START_TEST(a_lifetime_of_zero_is_the_end)
{
    live(LINK_UDP);
    session_world_pass_ms(w, 20000);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    fake_relay_refreshed(relay, &req, 0);
    assert_ended(SESSION_E_LOST, 0);
}
END_TEST

START_TEST(a_refresh_is_tried_again_after_an_error_of_the_moment)
{
    live(LINK_UDP);
    session_world_pass_ms(w, 20000);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    fake_relay_error(relay, &req, 500);
    ck_assert_uint_eq(w->n_ended, 0);
    session_world_pass_ms(w, 3000);
    fake_relay_expect(relay, STUN_REFRESH, &req);
}
END_TEST

/* ---- nonces in a call ---- */

START_TEST(a_nonce_may_change_in_a_call)
{
    live(LINK_UDP);
    fake_relay_new_nonce(relay);
    session_world_pass_ms(w, 20000);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    fake_relay_challenge(relay, &req, _i == 0 ? 438 : 401);
    fake_relay_expect(relay, STUN_REFRESH, &req2);
    fake_relay_refreshed(relay, &req2, 600);
    session_world_pass_ms(w, 2500);
    ck_assert_uint_eq(w->n_ended, 0);
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(forged_challenges_do_not_end_a_call)
{
    live(LINK_UDP);
    relay->takes_any_nonce = true;
    for (int i = 0; i < 40; i++) {
        session_world_pass_ms(w, 5000);
        if (!fake_relay_find(relay, STUN_REFRESH, &req))
            continue;
        /* Someone who sees the request is always quicker than the relay. */
        fake_relay_new_nonce(relay);
        fake_relay_challenge(relay, &req, _i == 0 ? 438 : 401);
        fake_relay_refreshed(relay, &req, 600);
    }
    ck_assert_uint_eq(w->n_ended, 0);
    ck_assert(session_is_live(w->session));
}
END_TEST

START_TEST(forged_errors_do_not_end_a_call)
{
    static const unsigned int codes[] = {300, 400, 420, 437, 441, 486, 500};

    live(LINK_UDP);
    session_world_pass_ms(w, 20000);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    relay->unsigned_answers = true;
    fake_relay_error(relay, &req, codes[_i]);
    relay->unsigned_answers = false;
    relay->forger = "guess";
    fake_relay_error(relay, &req, codes[_i]);
    fake_relay_refreshed(relay, &req, 0);
    relay->forger = NULL;
    ck_assert_uint_eq(w->n_ended, 0);
    session_world_pass_ms(w, 1000); /* it is still being sent */
    ck_assert(fake_relay_find(relay, STUN_REFRESH, &req));
    fake_relay_refreshed(relay, &req, 600);
    session_world_pass_ms(w, 6000);
    ck_assert_uint_eq(w->n_ended, 0);
}
END_TEST

START_TEST(another_realm_in_a_call_is_somebody_elses)
{
    live(LINK_UDP);
    session_world_pass_ms(w, 20000);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    relay->realm = "elsewhere";
    fake_relay_challenge(relay, &req, _i == 0 ? 401 : 438);
    fake_relay_expect_nothing(relay);
    relay->realm = "test";
    fake_relay_refreshed(relay, &req, 600);
    session_world_pass_ms(w, 6000);
    ck_assert_uint_eq(w->n_ended, 0);
}
END_TEST

START_TEST(a_user_who_was_removed_is_told_so_within_seconds)
{
    live(LINK_UDP);
    session_world_pass_ms(w, 20000);
    for (int i = 0; i < 60 && w->n_ended == 0; i++) {
        while (w->n_ended == 0 && fake_relay_find(relay, STUN_REFRESH, &req))
            fake_relay_challenge(relay, &req, 401);
        session_world_pass_ms(w, 250);
    }
    assert_ended(SESSION_E_CREDENTIALS, 401);
}
END_TEST

/* ---- is anybody there ---- */

START_TEST(a_relay_that_falls_silent_is_given_up_within_twenty_seconds)
{
    live(_i == 0 ? LINK_UDP : LINK_TCP);
    session_world_send(w, PEER, "hello");
    for (int i = 0; i < 15; i++) {
        session_world_pass_ms(w, 1000);
        session_world_send(w, PEER, "hello");
        ck_assert_uint_eq(w->n_ended, 0);
    }
    session_world_pass_ms(w, 5000);
    assert_ended(SESSION_E_TIMEOUT, 0);
}
END_TEST

START_TEST(one_lost_probe_is_not_the_end)
{
    live(LINK_UDP);
    session_world_send(w, PEER, "hello");
    fake_relay_serve(relay);
    session_world_send(w, PEER, "hello");
    session_world_pass_ms(w, 6000 + 5000 + 100);
    ck_assert_uint_eq(w->n_ended, 0);
    fake_relay_serve(relay);
    session_world_pass_ms(w, 8000);
    ck_assert_uint_eq(w->n_ended, 0);
}
END_TEST

START_TEST(an_idle_session_keeps_the_way_open)
{
    live(LINK_UDP);
    session_world_pass_ms(w, 14999);
    fake_relay_expect_nothing(relay);
    session_world_pass_ms(w, 10001);
    fake_relay_expect(relay, STUN_REFRESH, &req);
}
END_TEST

START_TEST(after_a_long_sleep_the_session_is_over)
{
    live(LINK_UDP);
    fake_now_ns += 3600 * NS_PER_S;
    session_tick(w->session, fake_now_ns);
    assert_ended(SESSION_E_TIMEOUT, 0);
}
END_TEST

START_TEST(the_round_trip_is_measured_where_nothing_was_sent_twice)
{
    opening(LINK_UDP);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    session_world_pass_ms(w, 40);
    fake_relay_challenge(relay, &req, 401);
    ck_assert_uint_eq(session_rtt_us(w->session), 40000);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    session_world_pass_ms(w, 700);
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(session_rtt_us(w->session), 40000);
    fake_wire_skip(w->wire);
    session_world_pass_ms(w, 19300); /* 20 s after the signed Allocate left */
    fake_relay_expect(relay, STUN_REFRESH, &req);
    session_world_pass_ms(w, 120);
    fake_relay_refreshed(relay, &req, 600);
    ck_assert_uint_gt(session_rtt_us(w->session), 49000);
    ck_assert_uint_lt(session_rtt_us(w->session), 60000);
    ck_assert_uint_eq(w->counters.upstream_rtt.sum_us, 160000); /* and not the one of 700 ms */
}
END_TEST

START_TEST(the_time_to_the_allocation_is_measured_from_the_first_question)
{
    opening(LINK_UDP);
    session_world_pass_ms(w, 5);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    session_world_pass_ms(w, 40);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert_uint_eq(w->counters.upstream_allocation_time.sum_us, 0);
    session_world_pass_ms(w, 30);
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->counters.upstream_allocation_time.sum_us, 75000);
    fake_wire_skip(w->wire);
    session_world_serve_s(w, 3600);
    ck_assert_uint_eq(w->counters.upstream_allocation_time.sum_us, 75000); /* once */
}
END_TEST

/* ---- the end ---- */

START_TEST(a_session_that_is_freed_gives_its_allocation_back)
{
    uint32_t lifetime_s = 1;

    live(LINK_UDP);
    session_free(w->session, fake_now_ns);
    w->session = NULL;
    fake_relay_expect(relay, STUN_REFRESH, &req);
    ck_assert(req.is_signed && stun_get_u32(&req.msg, STUN_LIFETIME, &lifetime_s));
    ck_assert_uint_eq(lifetime_s, 0);
    fake_relay_expect_nothing(relay);
    ck_assert_ptr_null(w->wire->link);
}
END_TEST

START_TEST(one_that_was_never_live_has_nothing_to_give_back)
{
    opening(LINK_UDP);
    fake_wire_skip(w->wire);
    session_free(w->session, fake_now_ns);
    w->session = NULL;
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(the_owner_may_free_the_session_in_any_event)
{
    opening(LINK_UDP);
    if (_i < 4)
        fake_relay_serve(relay);
    if (_i == 1)
        session_world_send(w, PEER, "hello");
    w->frees_on_any_event = true;
    switch (_i) {
    case 0:
        fake_relay_data(relay, PEER, "hi", 2);
        break;
    case 1:
        fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
        fake_relay_error(relay, &req, 403);
        break;
    case 2:
        fake_wire_close(w->wire, 0, "closed");
        break;
    case 3:
        session_world_pass_ms(w, 60000);
        break;
    case 4:
        fake_relay_serve(relay);
        break;
    default:
        session_world_pass_ms(w, 40000);
    }
    ck_assert_ptr_null(w->session);
    ck_assert_ptr_null(w->wire->link);
    ck_assert_uint_eq(w->n_live + w->n_ended + w->n_datagrams + w->n_refused, _i < 4 ? 2 : 1);
}
END_TEST

START_TEST(nothing_is_sent_or_said_after_the_end)
{
    struct addr peer = at(PEER);

    live(LINK_UDP);
    session_world_send(w, PEER, "hello");
    fake_wire_close(w->wire, -ECONNREFUSED, "refused");
    fake_wire_skip(w->wire);
    session_world_send(w, PEER, "hello");
    session_permit(w->session, &peer, fake_now_ns);
    session_world_pass_ms(w, 60000);
    ck_assert_uint_eq(session_tick(w->session, fake_now_ns), UINT64_MAX);
    fake_relay_expect_nothing(relay);
    ck_assert_uint_eq(w->n_ended, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("session_life");
    TCase *lives = tcase_create("lifetime"), *ends = tcase_create("end");

    tcase_add_checked_fixture(lives, NULL, teardown);
    tcase_add_loop_test(lives, an_allocation_is_refreshed_in_time_for_as_long_as_it_lives, 0, 2);
    tcase_add_test(lives, a_short_lifetime_is_refreshed_a_third_before_its_end);
    tcase_add_test(lives, without_answers_it_ends_with_the_lifetime_at_the_latest);
    tcase_add_loop_test(lives, a_refresh_that_finds_nothing_ends_the_session, 0, 2);
    tcase_add_test(lives, a_lifetime_of_zero_is_the_end);
    tcase_add_test(lives, a_refresh_is_tried_again_after_an_error_of_the_moment);
    tcase_add_loop_test(lives, a_nonce_may_change_in_a_call, 0, 2);
    tcase_add_loop_test(lives, forged_challenges_do_not_end_a_call, 0, 2);
    tcase_add_loop_test(lives, forged_errors_do_not_end_a_call, 0, 7);
    tcase_add_loop_test(lives, another_realm_in_a_call_is_somebody_elses, 0, 2);
    tcase_add_test(lives, a_user_who_was_removed_is_told_so_within_seconds);
    tcase_add_loop_test(lives, a_relay_that_falls_silent_is_given_up_within_twenty_seconds, 0, 2);
    tcase_add_test(lives, one_lost_probe_is_not_the_end);
    tcase_add_test(lives, an_idle_session_keeps_the_way_open);
    tcase_add_test(lives, after_a_long_sleep_the_session_is_over);
    tcase_add_test(lives, the_round_trip_is_measured_where_nothing_was_sent_twice);
    tcase_add_test(lives, the_time_to_the_allocation_is_measured_from_the_first_question);
    tcase_add_checked_fixture(ends, NULL, teardown);
    tcase_add_test(ends, a_session_that_is_freed_gives_its_allocation_back);
    tcase_add_test(ends, one_that_was_never_live_has_nothing_to_give_back);
    tcase_add_loop_test(ends, the_owner_may_free_the_session_in_any_event, 0, 6);
    tcase_add_test(ends, nothing_is_sent_or_said_after_the_end);
    suite_add_tcase(s, lives);
    suite_add_tcase(s, ends);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
