/* A session whose way to the relay is gone: the ticket, the move, and what becomes of the rest. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "relay/exit/upstream/session_impl.h"
#include "tests/support/session_world.h"

static const struct session_want want = {.v4 = true, .mobile = true};

static struct session_world *w;
static struct fake_relay *relay;
static struct fake_request req, req2;
static struct cred other; /* another url's */

static void opening(enum link_kind kind, const struct session_want *wanted)
{
    w = session_world_new(kind, wanted);
    relay = &w->relay;
    relay->mobile = true;
}

static void live(enum link_kind kind)
{
    opening(kind, &want);
    fake_relay_serve(relay);
    ck_assert(session_is_live(w->session));
}

static void lose(void)
{
    fake_wire_close(w->wire, -ECONNRESET, "reset by somebody");
}

static void assert_moving(void)
{
    ck_assert_uint_eq(w->n_ended, 0);
    ck_assert(session_is_moving(w->session) && !session_is_live(w->session));
}

static void moving(enum link_kind kind)
{
    live(kind);
    lose();
    assert_moving();
}

/* Another link, which is open, and what is asked by it. */
static void ask_to_move(enum link_kind kind)
{
    session_world_move(w, kind);
    fake_wire_open(w->wire);
    fake_relay_expect(relay, STUN_REFRESH, &req);
}

static void teardown(void)
{
    session_world_free(w);
    w = NULL;
    cred_deinit(&other);
}

static void assert_ended(enum session_end end, unsigned int code)
{
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_int_eq(w->ended.end, end);
    ck_assert_uint_eq(w->ended.code, code);
    ck_assert_uint_gt(strlen(w->ended.why), 0);
}

static void assert_carries(const struct fake_request *r, const char *ticket)
{
    size_t len = 0;
    const uint8_t *value = stun_get(&r->msg, STUN_MOBILITY_TICKET, &len);

    ck_assert(value && r->is_signed);
    ck_assert_uint_eq(len, strlen(ticket));
    ck_assert_mem_eq(value, ticket, len);
}

/* It is LIVE again, and has asked whether it is. */
static void assert_moved(void)
{
    ck_assert(session_is_live(w->session));
    fake_relay_expect(relay, STUN_REFRESH, &req2);
    ck_assert(!stun_has(&req2.msg, STUN_MOBILITY_TICKET));
    fake_relay_refreshed(relay, &req2, 600);
}

static void move(enum link_kind kind)
{
    ask_to_move(kind);
    fake_relay_moved(relay, &req);
    assert_moved();
}

/* ---- the ticket ---- */

START_TEST(an_allocate_asks_for_a_ticket)
{
    size_t len = 1;

    opening(LINK_UDP, &want);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(stun_get(&req.msg, STUN_MOBILITY_TICKET, &len));
    ck_assert_uint_eq(len, 0);
}
END_TEST

START_TEST(who_does_not_want_it_or_wants_streams_does_not_ask)
{
    static const struct session_want wants[] = {{.v4 = true},
                                                {.v4 = true, .tcp = true, .mobile = true}};

    opening(LINK_TCP, &wants[_i]);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(!stun_has(&req.msg, STUN_MOBILITY_TICKET));
}
END_TEST

/* Return: whether the next session asks for a ticket after a 405. */
static bool next_one_asks(void)
{
    session_world_again(w, LINK_UDP, &want);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    return stun_has(&req.msg, STUN_MOBILITY_TICKET);
}

START_TEST(where_there_is_no_mobility_it_is_asked_again_without_and_once_only)
{
    opening(LINK_UDP, &want);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_error(relay, &req, 405);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(!stun_has(&req.msg, STUN_MOBILITY_TICKET));
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
    ck_assert(!next_one_asks());
}
END_TEST

START_TEST(a_405_that_proves_nothing_counts_for_one_session)
{
    opening(LINK_UDP, &want);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    relay->unsigned_answers = true;
    fake_relay_error(relay, &req, 405);
    relay->unsigned_answers = false;
    session_world_pass_ms(w, 2000);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(!stun_has(&req.msg, STUN_MOBILITY_TICKET));
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
    ck_assert(next_one_asks());
}
END_TEST

START_TEST(without_a_ticket_the_end_of_the_link_is_the_end)
{
    opening(LINK_UDP, &want);
    relay->mobile = false;
    fake_relay_serve(relay);
    lose();
    assert_ended(SESSION_E_LINK, 0);
    ck_assert_int_eq(w->ended.reason, -ECONNRESET);
    ck_assert_uint_eq(w->n_moving, 0);
}
END_TEST

START_TEST(a_ticket_that_is_empty_or_too_long_is_none)
{
    static const uint8_t ticket[SESSION_TICKET + 1];
    static const size_t lens[] = {0, SESSION_TICKET, SESSION_TICKET + 1};
    struct addr relayed = at(RELAYED);

    opening(LINK_UDP, &want);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_begin(relay, &req, STUN_SUCCESS);
    stun_put_addr(&relay->b, STUN_XOR_RELAYED_ADDRESS, &relayed);
    stun_put_u32(&relay->b, STUN_LIFETIME, 600);
    stun_put(&relay->b, STUN_MOBILITY_TICKET, ticket, lens[_i]);
    fake_relay_end(relay);
    lose();
    ck_assert_uint_eq(w->n_moving, lens[_i] == SESSION_TICKET);
    ck_assert_uint_eq(w->n_ended, lens[_i] != SESSION_TICKET);
}
END_TEST

START_TEST(an_owner_who_has_no_other_link_hears_of_the_end)
{
    static struct session_events events;

    live(LINK_UDP);
    events = *w->session->events;
    events.on_moving = NULL;
    session_set_events(w->session, &events, w);
    lose();
    assert_ended(SESSION_E_LINK, 0);
}
END_TEST

/* ---- the move ---- */

START_TEST(a_lost_link_is_the_owners_to_replace)
{
    moving(LINK_UDP);
    ck_assert_uint_eq(w->n_moving, 1);
    ck_assert_int_eq(w->moving.end, SESSION_E_LINK);
    ck_assert_int_eq(w->moving.reason, -ECONNRESET);
    ck_assert_str_eq(w->moving.why, "reset by somebody");
    ck_assert_ptr_null(w->wire->link);
    ck_assert_ptr_null(session_link(w->session));
    ck_assert(session_wants_link(w->session, fake_now_ns));
    session_world_move(w, LINK_UDP);
    ck_assert(!session_wants_link(w->session, fake_now_ns));
    ck_assert_uint_eq(w->n_moving, 1);
}
END_TEST

START_TEST(a_relay_that_falls_silent_is_left_as_a_lost_link_is)
{
    uint64_t start_ns;

    live(LINK_UDP);
    start_ns = fake_now_ns;
    for (int i = 0; i < 200 && w->n_moving == 0; i++)
        session_world_pass_ms(w, 250);
    assert_moving();
    /* A keepalive after 20 s, which is given five. */
    ck_assert_uint_eq(fake_now_ns, start_ns + 25 * NS_PER_S);
    ck_assert_int_eq(w->moving.end, SESSION_E_TIMEOUT);
    ck_assert_ptr_null(w->wire->link);
    move(LINK_UDP);
}
END_TEST

START_TEST(the_move_is_one_refresh_with_the_ticket_and_a_plain_one_follows)
{
    static const enum link_kind kinds[][2] = {
        {LINK_UDP, LINK_UDP}, {LINK_UDP, LINK_TLS}, {LINK_TCP, LINK_DTLS}, {LINK_TCP, LINK_TCP}};
    char ticket[sizeof(relay->ticket)];
    uint64_t n_counted;

    moving(kinds[_i][0]);
    memcpy(ticket, relay->ticket, sizeof(ticket));
    ask_to_move(kinds[_i][1]);
    assert_carries(&req, ticket);
    fake_relay_expect_nothing(relay);
    assert_moving();
    fake_relay_moved(relay, &req);
    assert_moved();
    fake_relay_expect_nothing(relay);
    ck_assert_uint_eq(w->n_live, 1);
    ck_assert_uint_eq(w->counters.upstream_moves, 1);
    n_counted = w->counters.upstream_requests;
    session_world_serve_s(w, 1200);
    ck_assert_uint_eq(w->n_ended, 0);
    ck_assert_uint_eq(w->n_moving, 1);
    /* What the way loses is counted as befits the new one. */
    ck_assert(link_kind_is_stream(kinds[_i][1]) == (w->counters.upstream_requests == n_counted));
}
END_TEST

START_TEST(a_link_that_is_open_already_is_used_at_once)
{
    moving(LINK_UDP);
    w->wire = relay->wire = fake_wire_new(LINK_UDP);
    fake_wire_open(w->wire);
    session_move(w->session, w->wire->link, &w->cred, fake_now_ns);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    assert_carries(&req, relay->ticket);
}
END_TEST

START_TEST(the_answers_ticket_is_the_next_moves)
{
    char first[sizeof(relay->ticket)];

    moving(LINK_UDP);
    memcpy(first, relay->ticket, sizeof(first));
    move(LINK_UDP);
    ck_assert_str_ne(first, relay->ticket);
    lose();
    assert_moving();
    ck_assert_uint_eq(w->n_moving, 2);
    ask_to_move(LINK_TCP);
    assert_carries(&req, relay->ticket);
}
END_TEST

START_TEST(an_answer_without_a_ticket_is_the_last_move)
{
    moving(LINK_UDP);
    relay->mobile = false;
    move(LINK_UDP);
    lose();
    assert_ended(SESSION_E_LINK, 0);
    ck_assert_uint_eq(w->n_moving, 1);
}
END_TEST

START_TEST(a_move_is_sent_again_until_it_is_answered)
{
    moving(LINK_UDP);
    ask_to_move(LINK_UDP);
    session_world_pass_ms(w, 1500);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    assert_carries(&req, relay->ticket);
    fake_relay_expect_nothing(relay);
    fake_relay_moved(relay, &req);
    assert_moved();
}
END_TEST

START_TEST(a_challenge_to_the_move_is_answered)
{
    moving(LINK_UDP);
    ask_to_move(LINK_UDP);
    fake_relay_new_nonce(relay);
    fake_relay_challenge(relay, &req, _i == 0 ? 438 : 401);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    assert_carries(&req, relay->ticket);
    fake_relay_expect_nothing(relay);
    fake_relay_moved(relay, &req);
    assert_moved();
    session_world_pass_ms(w, 5000);
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(another_urls_credentials_are_used_from_the_move_on)
{
    moving(LINK_UDP);
    ck_assert_int_eq(cred_init(&other, "alice", "wonderland"), 0);
    w->wire = relay->wire = fake_wire_new(LINK_UDP);
    session_move(w->session, w->wire->link, &other, fake_now_ns);
    fake_wire_open(w->wire);
    /* Nothing was learnt there yet: what the session knows is tried. */
    fake_relay_expect(relay, STUN_REFRESH, &req);
    assert_carries(&req, relay->ticket);
    fake_relay_new_nonce(relay);
    fake_relay_challenge(relay, &req, 438);
    ck_assert_str_eq(other.proof.nonce, relay->nonce);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    fake_relay_moved(relay, &req);
    assert_moved();
}
END_TEST

/* ---- what the relay does not do ---- */

START_TEST(a_relay_that_does_not_know_the_ticket_ends_it)
{
    static const unsigned int codes[] = {437, 441, 400, 403, 405};

    moving(LINK_UDP);
    ask_to_move(LINK_UDP);
    fake_relay_error(relay, &req, codes[_i]);
    assert_ended(SESSION_E_REFUSED, codes[_i]);
}
END_TEST

START_TEST(a_lifetime_of_zero_ends_it)
{
    moving(LINK_UDP);
    ask_to_move(LINK_UDP);
    relay->lifetime_s = 0;
    fake_relay_moved(relay, &req);
    assert_ended(SESSION_E_LOST, 0);
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(forged_errors_do_not_end_it)
{
    static const unsigned int codes[] = {300, 400, 405, 437, 441, 500};

    moving(LINK_UDP);
    ask_to_move(LINK_UDP);
    relay->unsigned_answers = true;
    fake_relay_error(relay, &req, codes[_i]);
    relay->unsigned_answers = false;
    relay->forger = "guess";
    fake_relay_error(relay, &req, codes[_i]);
    fake_relay_moved(relay, &req);
    relay->forger = NULL;
    assert_moving();
    snprintf(relay->ticket, sizeof(relay->ticket), "the real one");
    fake_relay_moved(relay, &req);
    assert_moved();
}
END_TEST

START_TEST(an_error_of_the_moment_or_endless_challenges_end_the_attempt)
{
    moving(LINK_UDP);
    ask_to_move(LINK_UDP);
    if (_i == 0)
        fake_relay_error(relay, &req, 500);
    for (int i = 0; _i > 0 && i < 8; i++) {
        fake_relay_new_nonce(relay);
        fake_relay_challenge(relay, &req, _i == 1 ? 401 : 438);
        (void)fake_relay_find(relay, STUN_REFRESH, &req);
    }
    session_world_pass_ms(w, _i == 0 ? 0 : 2000);
    assert_moving();
    ck_assert_ptr_null(w->wire->link);
    session_world_pass_ms(w, 1000);
    ask_to_move(LINK_UDP);
    fake_relay_moved(relay, &req);
    assert_moved();
}
END_TEST

START_TEST(a_link_that_fails_is_followed_by_another_a_second_later)
{
    moving(LINK_UDP);
    session_world_move(w, LINK_UDP);
    if (_i == 1)
        fake_wire_open(w->wire);
    lose();
    assert_moving();
    ck_assert_uint_eq(w->n_moving, 1);
    ck_assert_ptr_null(w->wire->link);
    ck_assert(!session_wants_link(w->session, fake_now_ns));
    session_world_pass_ms(w, 999);
    ck_assert(!session_wants_link(w->session, fake_now_ns));
    ck_assert_uint_le(session_due_ns(w->session), fake_now_ns + NS_PER_MS);
    session_world_pass_ms(w, 1);
    move(LINK_UDP);
}
END_TEST

START_TEST(silence_is_followed_by_another_link_and_in_the_end_by_the_first_reason)
{
    uint64_t start_ns;
    unsigned int n = 0;

    moving(_i == 0 ? LINK_UDP : LINK_TCP);
    start_ns = fake_now_ns;
    for (int i = 0; i < 400 && w->n_ended == 0; i++) {
        if (session_wants_link(w->session, fake_now_ns)) {
            session_world_move(w, _i == 0 ? LINK_UDP : LINK_TCP);
            if (n++ % 2 == 0) /* every other one does not even open */
                fake_wire_open(w->wire);
        }
        session_world_pass_ms(w, 250);
    }
    ck_assert_uint_ge(n, 4);
    ck_assert_uint_le(n, 8);
    ck_assert_uint_eq(fake_now_ns, start_ns + 45 * NS_PER_S);
    assert_ended(SESSION_E_LINK, 0);
    ck_assert_int_eq(w->ended.reason, -ECONNRESET);
    ck_assert_str_eq(w->ended.why, "reset by somebody");
    ck_assert_uint_eq(w->n_moving, 1);
}
END_TEST

START_TEST(it_does_not_move_for_longer_than_the_allocation_lives)
{
    opening(LINK_UDP, &want);
    relay->lifetime_s = 12;
    fake_relay_serve(relay);
    session_world_pass_ms(w, 2000);
    lose();
    session_world_pass_ms(w, 9999);
    assert_moving();
    session_world_pass_ms(w, 1);
    assert_ended(SESSION_E_LINK, 0);
}
END_TEST

/* ---- what goes on ---- */

START_TEST(what_is_under_way_waits_and_is_asked_for_anew)
{
    struct addr peer = at(PEER);

    live(LINK_UDP);
    ck_assert_int_eq(session_permit(w->session, &peer, fake_now_ns), EXIT_PENDING);
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    lose();
    session_world_pass_ms(w, 4000); /* not by the old link, nor by none */
    ask_to_move(LINK_UDP);
    session_world_pass_ms(w, 400);
    fake_relay_expect_nothing(relay);
    fake_relay_new_nonce(relay);
    fake_relay_challenge(relay, &req, 438);
    fake_relay_expect(relay, STUN_REFRESH, &req);
    fake_relay_moved(relay, &req);
    assert_moved();
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    ck_assert(req.is_signed); /* and checked: with the new nonce */
    ck_assert_uint_eq(w->n_permitted + w->n_refused, 0);
    fake_relay_success(relay, &req);
    ck_assert_uint_eq(w->n_permitted, 1);
    ck_assert_int_eq(session_permit(w->session, &peer, fake_now_ns), EXIT_OK);
    ck_assert_uint_eq(w->counters.upstream_unanswered, 0);
    ck_assert_uint_eq(w->counters.upstream_retransmissions, 0);
}
END_TEST

START_TEST(what_was_just_challenged_is_asked_for_once)
{
    live(LINK_UDP);
    session_world_send(w, PEER, "first");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_new_nonce(relay);
    fake_relay_challenge(relay, &req, 438);
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    lose();
    move(LINK_UDP);
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(what_was_asked_about_the_old_way_is_forgotten)
{
    live(LINK_UDP);
    session_world_pass_ms(w, 24000); /* a Refresh is under way */
    lose();
    ask_to_move(LINK_UDP);
    fake_relay_moved(relay, &req);
    assert_moved();
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(what_is_asked_for_meanwhile_waits_too)
{
    struct addr peer = at(PEER);

    moving(LINK_UDP);
    ck_assert_int_eq(session_permit(w->session, &peer, fake_now_ns), EXIT_PENDING);
    ask_to_move(LINK_TCP);
    ck_assert_int_eq(session_permit(w->session, &peer, fake_now_ns), EXIT_PENDING);
    fake_relay_expect_nothing(relay);
    fake_relay_moved(relay, &req);
    assert_moved();
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_success(relay, &req);
    ck_assert_uint_eq(w->n_permitted, 1);
}
END_TEST

START_TEST(who_has_waited_too_long_is_told_so)
{
    struct addr peer = at(PEER);

    moving(LINK_UDP);
    ck_assert_int_eq(session_permit(w->session, &peer, fake_now_ns), EXIT_PENDING);
    session_world_pass_ms(w, 39499);
    ck_assert_uint_eq(w->n_refused, 0);
    session_world_pass_ms(w, 1);
    ck_assert_uint_eq(w->n_refused, 1);
    ck_assert_uint_eq(w->refused_code, 408);
    assert_moving();
    ck_assert_uint_eq(w->counters.upstream_unanswered, 0); /* nobody was asked */
}
END_TEST

START_TEST(however_many_wait_it_can_move)
{
    char text[32];

    moving(LINK_UDP);
    for (unsigned int i = 1; i <= TXN_MAX + 10; i++) {
        struct addr peer;

        snprintf(text, sizeof(text), "203.0.113.%u:6000", i);
        peer = at(text);
        session_permit(w->session, &peer, fake_now_ns);
    }
    ask_to_move(LINK_UDP);
    fake_relay_moved(relay, &req);
    ck_assert(session_is_live(w->session));
    session_world_serve_s(w, 10);
    ck_assert_uint_eq(w->n_permitted, TXN_MAX);
    ck_assert_uint_gt(relay->n_served[STUN_REFRESH & 0xF], 0);
}
END_TEST

START_TEST(datagrams_are_dropped_and_flow_afterwards_on_the_same_channel)
{
    live(LINK_UDP);
    for (int i = 0; i < 8; i++) {
        session_world_send(w, PEER, "before");
        fake_relay_serve(relay);
    }
    session_world_send(w, PEER, "before");
    expect_channel_data(w, CHANNEL_MIN, "before");
    lose();
    session_world_send(w, PEER, "between");
    session_world_send(w, PEER2, "between");
    ask_to_move(LINK_TCP);
    session_world_send(w, PEER, "between");
    fake_relay_channel_data(relay, CHANNEL_MIN, "early", 5);
    fake_relay_expect_nothing(relay);
    ck_assert_uint_eq(w->counters.drop_down, 3);
    ck_assert_uint_eq(w->n_datagrams, 0);
    fake_relay_moved(relay, &req);
    assert_moved();
    session_world_send(w, PEER, "after...");
    expect_channel_data(w, CHANNEL_MIN, "after...");
    fake_relay_channel_data(relay, CHANNEL_MIN, "back", 4);
    expect_got(w, 0, PEER, "back");
    ck_assert_uint_eq(w->counters.drop_down, 3);
}
END_TEST

START_TEST(what_waited_for_a_permission_still_goes)
{
    live(LINK_UDP);
    session_world_send(w, PEER, "first");
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    lose();
    move(LINK_UDP);
    fake_relay_expect(relay, STUN_CREATE_PERMISSION, &req);
    fake_relay_success(relay, &req);
    expect_send(w, PEER, "first");
}
END_TEST

/* ---- the owner ---- */

START_TEST(one_that_is_moving_is_freed_without_a_word)
{
    moving(LINK_UDP);
    if (_i > 0)
        session_world_move(w, LINK_UDP);
    if (_i > 1) {
        fake_wire_open(w->wire);
        fake_relay_expect(relay, STUN_REFRESH, &req);
    }
    session_free(w->session, fake_now_ns);
    w->session = NULL;
    fake_relay_expect_nothing(relay);
    ck_assert_ptr_null(w->wire->link);
}
END_TEST

START_TEST(it_may_be_freed_when_it_begins_to_move_and_when_it_ends)
{
    live(LINK_UDP);
    w->frees_on_any_event = _i == 0;
    lose();
    ck_assert_uint_eq(w->n_moving, 1);
    w->frees_on_any_event = true;
    session_world_pass_ms(w, 45000);
    ck_assert_ptr_null(w->session);
    ck_assert_uint_eq(w->n_ended, _i);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/session/move");
    TCase *t;

    t = tcase_create("ticket");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, an_allocate_asks_for_a_ticket);
    tcase_add_loop_test(t, who_does_not_want_it_or_wants_streams_does_not_ask, 0, 2);
    tcase_add_test(t, where_there_is_no_mobility_it_is_asked_again_without_and_once_only);
    tcase_add_test(t, a_405_that_proves_nothing_counts_for_one_session);
    tcase_add_test(t, without_a_ticket_the_end_of_the_link_is_the_end);
    tcase_add_loop_test(t, a_ticket_that_is_empty_or_too_long_is_none, 0, 3);
    tcase_add_test(t, an_owner_who_has_no_other_link_hears_of_the_end);
    suite_add_tcase(s, t);
    t = tcase_create("move");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_lost_link_is_the_owners_to_replace);
    tcase_add_test(t, a_relay_that_falls_silent_is_left_as_a_lost_link_is);
    tcase_add_loop_test(t, the_move_is_one_refresh_with_the_ticket_and_a_plain_one_follows, 0, 4);
    tcase_add_test(t, a_link_that_is_open_already_is_used_at_once);
    tcase_add_test(t, the_answers_ticket_is_the_next_moves);
    tcase_add_test(t, an_answer_without_a_ticket_is_the_last_move);
    tcase_add_test(t, a_move_is_sent_again_until_it_is_answered);
    tcase_add_loop_test(t, a_challenge_to_the_move_is_answered, 0, 2);
    tcase_add_test(t, another_urls_credentials_are_used_from_the_move_on);
    suite_add_tcase(s, t);
    t = tcase_create("refused");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, a_relay_that_does_not_know_the_ticket_ends_it, 0, 5);
    tcase_add_test(t, a_lifetime_of_zero_ends_it);
    tcase_add_loop_test(t, forged_errors_do_not_end_it, 0, 6);
    tcase_add_loop_test(t, an_error_of_the_moment_or_endless_challenges_end_the_attempt, 0, 3);
    tcase_add_loop_test(t, a_link_that_fails_is_followed_by_another_a_second_later, 0, 2);
    tcase_add_loop_test(t, silence_is_followed_by_another_link_and_in_the_end_by_the_first_reason,
                        0, 2);
    tcase_add_test(t, it_does_not_move_for_longer_than_the_allocation_lives);
    suite_add_tcase(s, t);
    t = tcase_create("goes on");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, what_is_under_way_waits_and_is_asked_for_anew);
    tcase_add_test(t, what_was_just_challenged_is_asked_for_once);
    tcase_add_test(t, what_was_asked_about_the_old_way_is_forgotten);
    tcase_add_test(t, what_is_asked_for_meanwhile_waits_too);
    tcase_add_test(t, who_has_waited_too_long_is_told_so);
    tcase_add_test(t, however_many_wait_it_can_move);
    tcase_add_test(t, datagrams_are_dropped_and_flow_afterwards_on_the_same_channel);
    tcase_add_test(t, what_waited_for_a_permission_still_goes);
    suite_add_tcase(s, t);
    t = tcase_create("owner");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, one_that_is_moving_is_freed_without_a_word, 0, 3);
    tcase_add_loop_test(t, it_may_be_freed_when_it_begins_to_move_and_when_it_ends, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
