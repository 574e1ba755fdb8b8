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

/* ---- opening ---- */

START_TEST(a_session_asks_is_challenged_and_lives)
{
    struct addr relayed = at(RELAYED);

    opening(LINK_UDP);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(!req.is_signed);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req2);
    ck_assert(req2.is_signed);
    ck_assert_mem_ne(req.msg.txid, req2.msg.txid, STUN_TXID_LEN);
    fake_relay_allocated(relay, &req2);
    ck_assert_uint_eq(w->n_live, 1);
    ck_assert(addr_equal(&w->opened.relayed_v4, &relayed));
    ck_assert(session_is_live(w->session));
}
END_TEST

START_TEST(what_the_last_session_learnt_saves_a_round_trip)
{
    opening(LINK_UDP);
    fake_relay_serve(relay);
    session_world_again(w, LINK_UDP, NULL);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(req.is_signed);
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
}
END_TEST

START_TEST(a_nonce_of_another_connection_costs_one_more_round_trip)
{
    opening(LINK_UDP);
    fake_relay_serve(relay);
    session_world_again(w, LINK_UDP, NULL);
    fake_relay_new_nonce(relay);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401); /* some say this and not 438 */
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
}
END_TEST

START_TEST(rfc_5389_relays_and_userhash_are_spoken)
{
    opening(LINK_UDP);
    relay->rfc5389 = _i == 0;
    relay->userhash = _i == 1;
    fake_relay_new_nonce(relay);
    fake_relay_serve(relay); /* which checks the requests */
    ck_assert_uint_eq(w->n_live, 1);
}
END_TEST

START_TEST(a_second_401_is_a_wrong_password)
{
    opening(LINK_UDP);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    assert_ended(SESSION_E_CREDENTIALS, 401);
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(stale_nonces_are_replaced_a_few_times_in_a_row)
{
    opening(LINK_UDP);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    for (int i = 0; i < 4; i++) {
        fake_relay_expect(relay, STUN_ALLOCATE, &req);
        fake_relay_new_nonce(relay);
        fake_relay_challenge(relay, &req, 438);
        ck_assert_uint_eq(w->n_ended, 0);
    }
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    if (_i == 0) {
        fake_relay_allocated(relay, &req);
        ck_assert_uint_eq(w->n_live, 1);
    } else {
        fake_relay_challenge(relay, &req, 438);
        assert_ended(SESSION_E_REFUSED, 438);
    }
}
END_TEST

START_TEST(a_relay_that_stops_offering_sha256_is_refused)
{
    opening(LINK_UDP);
    fake_relay_serve(relay);
    session_world_again(w, LINK_UDP, NULL);
    relay->rfc5389 = true;
    fake_relay_new_nonce(relay);
    relay->takes_any_nonce = true;
    ck_assert_ptr_nonnull(w->session);
    ck_assert(fake_wire_read(w->wire) != NULL);
    memcpy(req.buf, w->wire->sent[0].data, w->wire->sent[0].len);
    ck_assert_int_eq(stun_decode(&req.msg, req.buf, w->wire->sent[0].len), 0);
    fake_relay_challenge(relay, &req, 438);
    assert_ended(SESSION_E_CREDENTIALS, 438);
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(a_relay_without_passwords_proves_nothing)
{
    opening(LINK_UDP);
    relay->unsigned_answers = true;
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 0);
    assert_ended(SESSION_E_CREDENTIALS, 0);
}
END_TEST

/* Up to the signed Allocate. */
static void challenged(enum link_kind kind)
{
    opening(kind);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
}

START_TEST(a_success_that_does_not_prove_the_password_is_ignored)
{
    challenged(LINK_UDP);
    relay->unsigned_answers = _i == 0;
    relay->forger = _i == 1 ? "guess" : NULL;
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live + w->n_ended, 0);
    relay->unsigned_answers = false;
    relay->forger = NULL;
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
}
END_TEST

START_TEST(a_refusal_says_why)
{
    static const struct {
        unsigned int code;
        enum session_end end;
    } cases[] = {
        {400, SESSION_E_REFUSED}, {403, SESSION_E_REFUSED}, {405, SESSION_E_REFUSED},
        {437, SESSION_E_LOST},    {440, SESSION_E_REFUSED}, {441, SESSION_E_LOST},
        {442, SESSION_E_REFUSED}, {486, SESSION_E_REFUSED}, {500, SESSION_E_REFUSED},
        {508, SESSION_E_REFUSED}, {599, SESSION_E_REFUSED}, {605, SESSION_E_REFUSED},
    };

    challenged(LINK_UDP);
    fake_relay_error(relay, &req, cases[_i].code);
    assert_ended(cases[_i].end, cases[_i].code);
    if (cases[_i].code == 486)
        ck_assert_str_eq(w->ended.why, "the relay's quota for this user is used up");
    session_world_pass_ms(w, 60000);
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(an_unproven_refusal_counts_when_no_better_answer_comes)
{
    challenged(LINK_UDP);
    relay->unsigned_answers = true;
    fake_relay_error(relay, &req, 486);
    session_world_pass_ms(w, 1900);
    ck_assert_uint_eq(w->n_ended, 0);
    relay->unsigned_answers = false;
    if (_i == 0) {
        fake_relay_allocated(relay, &req);
        ck_assert_uint_eq(w->n_live, 1);
        session_world_pass_ms(w, 200);
        ck_assert_uint_eq(w->n_ended, 0);
    } else {
        session_world_pass_ms(w, 200);
        assert_ended(SESSION_E_REFUSED, 486);
    }
}
END_TEST

START_TEST(a_redirection_to_nowhere_is_a_refusal)
{
    challenged(LINK_UDP);
    fake_relay_error(relay, &req, 300);
    assert_ended(SESSION_E_REFUSED, 300);
}
END_TEST

START_TEST(an_answer_with_an_unknown_demand_fails_the_request)
{
    static const uint8_t demand[] = {0x7F, 0x01, 0, 0};
    struct addr relayed = at(RELAYED);

    challenged(LINK_UDP);
    fake_relay_begin(relay, &req, STUN_SUCCESS);
    stun_put_addr(&relay->b, STUN_XOR_RELAYED_ADDRESS, &relayed);
    stun_put_u32(&relay->b, STUN_LIFETIME, 600);
    if (_i == 1) {
        memcpy(relay->b.buf + relay->b.len, demand, sizeof(demand));
        relay->b.len += sizeof(demand);
    }
    fake_relay_end(relay);
    if (_i == 0) {
        ck_assert_uint_eq(w->n_live, 1);
        return;
    }
    ck_assert_uint_eq(w->n_live, 0);
    assert_ended(SESSION_E_REFUSED, 0);
}
END_TEST

START_TEST(an_answer_without_an_address_opens_nothing)
{
    challenged(LINK_UDP);
    fake_relay_refreshed(relay, &req, 600);
    ck_assert_uint_eq(w->n_live, 0);
    assert_ended(SESSION_E_REFUSED, 0);
}
END_TEST

START_TEST(an_allocate_over_udp_is_sent_seven_times_and_given_up_after_39500_ms)
{
    opening(LINK_UDP);
    session_world_pass_ms(w, 39499);
    ck_assert_uint_eq(w->n_ended, 0);
    ck_assert_uint_eq(w->wire->n_sent, 7);
    session_world_pass_ms(w, 1);
    assert_ended(SESSION_E_TIMEOUT, 0);
}
END_TEST

START_TEST(an_allocate_over_a_stream_is_sent_once_and_given_up_after_39500_ms)
{
    opening(_i == 0 ? LINK_TCP : LINK_TLS);
    session_world_pass_ms(w, 39499);
    ck_assert_uint_eq(w->n_ended, 0);
    ck_assert_uint_eq(w->wire->n_sent, 1);
    session_world_pass_ms(w, 1);
    assert_ended(SESSION_E_TIMEOUT, 0);
}
END_TEST

START_TEST(loss_on_the_way_is_made_good)
{
    opening(LINK_UDP);
    fake_wire_skip(w->wire); /* lost */
    session_world_pass_ms(w, 500);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_wire_skip(w->wire);
    session_world_pass_ms(w, 1500);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_expect(relay, STUN_ALLOCATE, &req2);
    ck_assert_uint_eq(req.len, req2.len);
    ck_assert_mem_eq(req.buf, req2.buf, req.len); /* the same, to the byte */
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
}
END_TEST

START_TEST(duplicates_and_late_answers_change_nothing)
{
    opening(LINK_UDP);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_give(relay); /* again */
    fake_relay_expect(relay, STUN_ALLOCATE, &req2);
    fake_relay_expect_nothing(relay);
    fake_relay_challenge(relay, &req, 401); /* late */
    fake_relay_expect_nothing(relay);
    fake_relay_allocated(relay, &req2);
    fake_relay_give(relay);
    ck_assert_uint_eq(w->n_live, 1);
    fake_relay_error(relay, &req2, 437);
    fake_relay_challenge(relay, &req2, 401);
    ck_assert_uint_eq(w->n_ended, 0);
    fake_relay_expect_nothing(relay);
}
END_TEST

START_TEST(an_answer_of_another_method_is_none)
{
    challenged(LINK_UDP);
    req2 = req;
    req2.msg.method = STUN_REFRESH;
    fake_relay_refreshed(relay, &req2, 600);
    fake_relay_error(relay, &req2, 437);
    ck_assert_uint_eq(w->n_live + w->n_ended, 0);
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
}
END_TEST

START_TEST(a_link_that_closes_ends_the_session)
{
    opening(LINK_TLS);
    if (_i == 1)
        fake_relay_serve(relay);
    fake_wire_close(w->wire, -EACCES, "the certificate is not the relay's");
    assert_ended(SESSION_E_LINK, 0);
    ck_assert_int_eq(w->ended.reason, -EACCES);
    ck_assert_str_eq(w->ended.why, "the certificate is not the relay's");
}
END_TEST

/* ---- families ---- */

static void dual(void)
{
    struct session_want want = {.v4 = true, .v6 = true};

    w = session_world_new(LINK_UDP, &want);
    relay = &w->relay;
}

START_TEST(two_families_are_asked_for_in_one_request)
{
    struct addr v4 = at(RELAYED), v6 = at(RELAYED6);

    dual();
    fake_relay_serve(relay);
    ck_assert_uint_eq(w->n_live, 1);
    ck_assert(addr_equal(&w->opened.relayed_v4, &v4) && addr_equal(&w->opened.relayed_v6, &v6));
    ck_assert_int_eq(w->opened.result_v4, EXIT_OK);
    ck_assert_int_eq(w->opened.result_v6, EXIT_OK);
}
END_TEST

START_TEST(one_family_is_better_than_none)
{
    static const struct {
        bool v4_only;
        unsigned int code;
        enum exit_result result;
    } cases[] = {
        {true, 0, EXIT_E_FAMILY}, {false, 440, EXIT_E_FAMILY}, {false, 508, EXIT_E_CAPACITY}};

    dual();
    relay->v4_only = cases[_i].v4_only;
    relay->v6_error = cases[_i].code;
    fake_relay_serve(relay);
    ck_assert_uint_eq(w->n_live, 1);
    ck_assert_int_eq(w->opened.result, EXIT_OK);
    ck_assert_int_eq(w->opened.result_v4, EXIT_OK);
    ck_assert_int_eq(w->opened.result_v6, cases[_i].result);
    ck_assert_int_eq(w->opened.relayed_v6.family, ADDR_NONE);
}
END_TEST

START_TEST(a_440_to_both_is_followed_by_each_alone)
{
    dual();
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    fake_relay_error(relay, &req, 440);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(!stun_has(&req.msg, STUN_ADDITIONAL_ADDRESS_FAMILY));
    fake_relay_error(relay, &req, 440);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(stun_has(&req.msg, STUN_REQUESTED_ADDRESS_FAMILY));
    if (_i == 0) {
        fake_relay_allocated(relay, &req);
        ck_assert_uint_eq(w->n_live, 1);
        ck_assert_int_eq(w->opened.result_v4, EXIT_E_FAMILY);
        ck_assert_int_eq(w->opened.result_v6, EXIT_OK);
    } else {
        fake_relay_error(relay, &req, 440);
        assert_ended(SESSION_E_REFUSED, 440);
    }
}
END_TEST

START_TEST(a_relay_that_cannot_set_df_is_not_asked_to)
{
    static const uint16_t unknown[] = {0x0018, 0x001A};

    challenged(LINK_UDP);
    ck_assert(stun_has(&req.msg, STUN_DONT_FRAGMENT));
    fake_relay_begin(relay, &req, STUN_ERROR);
    stun_put_error(&relay->b, 420);
    if (_i < 2) /* some name nothing */
        stun_put_unknown(&relay->b, unknown, _i == 0 ? 2 : 1);
    fake_relay_end(relay);
    if (_i == 1) {
        assert_ended(SESSION_E_REFUSED, 420);
        return;
    }
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(!stun_has(&req.msg, STUN_DONT_FRAGMENT));
    fake_relay_allocated(relay, &req);
    ck_assert_uint_eq(w->n_live, 1);
}
END_TEST

START_TEST(over_a_stream_df_is_not_asked_for)
{
    challenged(LINK_TLS);
    ck_assert(!stun_has(&req.msg, STUN_DONT_FRAGMENT));
}
END_TEST

START_TEST(an_even_port_is_asked_for_and_its_token_handed_on)
{
    struct session_want want = {.v4 = true, .even_port = true, .reserve = true};

    w = session_world_live(LINK_UDP, &want);
    relay = &w->relay;
    ck_assert(w->opened.has_token);
    ck_assert_mem_eq(w->opened.token, "tokentok", 8);
    want = (struct session_want){.v4 = true, .has_token = true};
    memcpy(want.token, "tokentok", 8);
    session_world_again(w, LINK_UDP, &want);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(stun_has(&req.msg, STUN_RESERVATION_TOKEN) && !stun_has(&req.msg, STUN_EVEN_PORT));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("session");
    TCase *opens = tcase_create("opening"), *families = tcase_create("families");

    tcase_add_checked_fixture(opens, NULL, teardown);
    tcase_add_test(opens, a_session_asks_is_challenged_and_lives);
    tcase_add_test(opens, what_the_last_session_learnt_saves_a_round_trip);
    tcase_add_test(opens, a_nonce_of_another_connection_costs_one_more_round_trip);
    tcase_add_loop_test(opens, rfc_5389_relays_and_userhash_are_spoken, 0, 2);
    tcase_add_test(opens, a_second_401_is_a_wrong_password);
    tcase_add_loop_test(opens, stale_nonces_are_replaced_a_few_times_in_a_row, 0, 2);
    tcase_add_test(opens, a_relay_that_stops_offering_sha256_is_refused);
    tcase_add_test(opens, a_relay_without_passwords_proves_nothing);
    tcase_add_loop_test(opens, a_success_that_does_not_prove_the_password_is_ignored, 0, 2);
    tcase_add_loop_test(opens, a_refusal_says_why, 0, 12);
    tcase_add_loop_test(opens, an_unproven_refusal_counts_when_no_better_answer_comes, 0, 2);
    tcase_add_test(opens, a_redirection_to_nowhere_is_a_refusal);
    tcase_add_loop_test(opens, an_answer_with_an_unknown_demand_fails_the_request, 0, 2);
    tcase_add_test(opens, an_answer_without_an_address_opens_nothing);
    tcase_add_test(opens, an_allocate_over_udp_is_sent_seven_times_and_given_up_after_39500_ms);
    tcase_add_loop_test(opens, an_allocate_over_a_stream_is_sent_once_and_given_up_after_39500_ms,
                        0, 2);
    tcase_add_test(opens, loss_on_the_way_is_made_good);
    tcase_add_test(opens, duplicates_and_late_answers_change_nothing);
    tcase_add_test(opens, an_answer_of_another_method_is_none);
    tcase_add_loop_test(opens, a_link_that_closes_ends_the_session, 0, 2);
    tcase_add_checked_fixture(families, NULL, teardown);
    tcase_add_test(families, two_families_are_asked_for_in_one_request);
    tcase_add_loop_test(families, one_family_is_better_than_none, 0, 3);
    tcase_add_loop_test(families, a_440_to_both_is_followed_by_each_alone, 0, 2);
    tcase_add_loop_test(families, a_relay_that_cannot_set_df_is_not_asked_to, 0, 3);
    tcase_add_test(families, over_a_stream_df_is_not_asked_for);
    tcase_add_test(families, an_even_port_is_asked_for_and_its_token_handed_on);
    suite_add_tcase(s, opens);
    suite_add_tcase(s, families);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
