/* RFC 6062 through relay/exit/upstream/session.h: Connect, ConnectionAttempt, data connections. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/session_world.h"

static struct session_world *w;
static struct fake_relay *relay;
static struct fake_request req, req2;

static void setup(void)
{
    struct session_want want = {.tcp = true, .v4 = true};

    w = session_world_live(LINK_TCP, &want);
    relay = &w->relay;
}

static void teardown(void)
{
    session_world_free(w);
}

static enum exit_result connect_to(const char *peer, uint32_t id)
{
    struct addr addr = at(peer);

    return session_connect(w->session, &addr, id, fake_now_ns);
}

static void assert_connect(uint32_t id, enum exit_result result, uint32_t connection_id)
{
    ck_assert_uint_eq(w->n_connects, 1);
    ck_assert_uint_eq(w->connect_id, id);
    ck_assert_int_eq(w->connect_result, result);
    ck_assert_uint_eq(w->connection_id, connection_id);
}

/* ---- Connect ---- */

START_TEST(a_tcp_allocation_is_asked_for_as_such)
{
    struct session_want want = {.tcp = true, .v4 = true};
    uint8_t protocol = 0;

    session_world_again(w, LINK_TLS, &want);
    fake_relay_expect(relay, STUN_ALLOCATE, &req);
    ck_assert(stun_get_u8(&req.msg, STUN_REQUESTED_TRANSPORT, &protocol));
    ck_assert_uint_eq(protocol, 6);
    /* RFC 6062, section 5.1 forbids the three. */
    ck_assert(!stun_has(&req.msg, STUN_DONT_FRAGMENT) && !stun_has(&req.msg, STUN_EVEN_PORT) &&
              !stun_has(&req.msg, STUN_RESERVATION_TOKEN));
}
END_TEST

START_TEST(connect_names_the_connection_to_bind)
{
    struct addr peer = at(PEER), asked;

    ck_assert_int_eq(connect_to(PEER, 77), EXIT_OK);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    ck_assert(stun_get_peer(&req.msg, 0, &asked) && addr_equal(&asked, &peer));
    ck_assert_uint_eq(w->n_connects, 0);
    fake_relay_connected(relay, &req, 0xCAFE0001);
    assert_connect(77, EXIT_OK, 0xCAFE0001);
    fake_relay_give(relay); /* a duplicate */
    ck_assert_uint_eq(w->n_connects, 1);
}
END_TEST

START_TEST(a_refusal_is_told_apart)
{
    static const struct {
        unsigned int code;
        enum exit_result result;
    } cases[] = {
        {403, EXIT_E_FORBIDDEN}, {440, EXIT_E_FAMILY},      {443, EXIT_E_FAMILY},
        {446, EXIT_E_DUPLICATE}, {447, EXIT_E_REFUSED},     {486, EXIT_E_CAPACITY},
        {508, EXIT_E_CAPACITY},  {400, EXIT_E_UNREACHABLE},
    };

    ck_assert_int_eq(connect_to(PEER, 5), EXIT_OK);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    fake_relay_error(relay, &req, cases[_i].code);
    assert_connect(5, cases[_i].result, 0);
    ck_assert_uint_eq(w->n_ended, 0);
}
END_TEST

START_TEST(icmp_in_a_447_says_what_became_of_it)
{
    static const struct {
        uint8_t type, code;
        enum exit_result result;
    } cases[] = {
        {3, 3, EXIT_E_REFUSED}, {3, 1, EXIT_E_UNREACHABLE}, {3, 13, EXIT_E_UNREACHABLE},
        {1, 4, EXIT_E_REFUSED}, {1, 0, EXIT_E_UNREACHABLE},
    };
    uint8_t value[8] = {0, 0, cases[_i].type, cases[_i].code};

    connect_to(PEER, 5);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    session_world_pass_ms(w, 11000); /* the time it took says nothing then */
    fake_relay_begin(relay, &req, STUN_ERROR);
    stun_put_error(&relay->b, 447);
    stun_put(&relay->b, STUN_ICMP, value, sizeof(value));
    fake_relay_end(relay);
    assert_connect(5, cases[_i].result, 0);
}
END_TEST

START_TEST(a_447_that_took_long_is_a_timeout)
{
    connect_to(PEER, 5);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    session_world_serve_s(w, 0);
    for (int i = 0; i < 31; i++) {
        session_world_pass_ms(w, 1000);
        fake_relay_serve(relay);
    }
    fake_relay_error(relay, &req, 447);
    assert_connect(5, EXIT_E_TIMEOUT, 0);
}
END_TEST

START_TEST(connect_is_waited_for_45_seconds)
{
    connect_to(PEER, 5);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    for (int i = 0; i < 449; i++) {
        session_world_pass_ms(w, 100);
        fake_relay_serve(relay);
    }
    ck_assert_uint_eq(w->n_connects, 0);
    session_world_pass_ms(w, 100);
    assert_connect(5, EXIT_E_TIMEOUT, 0);
    fake_relay_connected(relay, &req, 1); /* late */
    ck_assert_uint_eq(w->n_connects, 1);
    ck_assert_uint_eq(relay->n_served[STUN_CONNECT], 0); /* a stream needs no repetition */
}
END_TEST

START_TEST(answers_may_come_in_any_order)
{
    connect_to(PEER, 1);
    connect_to(PEER2, 2);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    fake_relay_expect(relay, STUN_CONNECT, &req2);
    fake_relay_connected(relay, &req2, 22);
    ck_assert_uint_eq(w->connect_id, 2);
    ck_assert_uint_eq(w->connection_id, 22);
    fake_relay_connected(relay, &req, 11);
    ck_assert_uint_eq(w->connect_id, 1);
    ck_assert_uint_eq(w->connection_id, 11);
}
END_TEST

START_TEST(a_connect_survives_a_stale_nonce)
{
    fake_relay_new_nonce(relay);
    connect_to(PEER, 5);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    fake_relay_challenge(relay, &req, 438);
    fake_relay_expect(relay, STUN_CONNECT, &req2);
    fake_relay_connected(relay, &req2, 9);
    assert_connect(5, EXIT_OK, 9);
    session_world_pass_ms(w, 5000);
    ck_assert_uint_eq(w->n_connects, 1);
}
END_TEST

START_TEST(a_forged_connect_answer_is_ignored)
{
    connect_to(PEER, 5);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    relay->forger = "guess";
    fake_relay_connected(relay, &req, 666);
    fake_relay_error(relay, &req, 403);
    ck_assert_uint_eq(w->n_connects, 0);
    relay->forger = NULL;
    fake_relay_connected(relay, &req, 9);
    assert_connect(5, EXIT_OK, 9);
}
END_TEST

START_TEST(a_success_without_a_connection_id_connects_nothing)
{
    connect_to(PEER, 5);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    fake_relay_success(relay, &req);
    assert_connect(5, EXIT_E_UNREACHABLE, 0);
}
END_TEST

START_TEST(connects_under_way_are_bounded)
{
    for (uint32_t i = 0; i < 64; i++)
        ck_assert_int_eq(connect_to(PEER, i), EXIT_OK);
    ck_assert_int_eq(connect_to(PEER, 64), EXIT_E_CAPACITY);
    ck_assert_int_eq(connect_to(PEER6, 64), EXIT_E_FAMILY);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    fake_relay_error(relay, &req, 447);
    ck_assert_int_eq(connect_to(PEER, 64), EXIT_OK);
}
END_TEST

START_TEST(a_lost_allocation_shows_in_connect)
{
    connect_to(PEER, 5);
    connect_to(PEER2, 6);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    fake_relay_error(relay, &req, 437);
    ck_assert_uint_eq(w->n_ended, 1);
    ck_assert_int_eq(w->ended.end, SESSION_E_LOST);
    ck_assert_uint_eq(w->n_connects, 0);
    ck_assert_int_eq(connect_to(PEER, 7), EXIT_E_DOWN);
}
END_TEST

/* The user was taken off the list: says nothing about the peer, and the relay is asked at once. */
START_TEST(a_user_who_is_refused_shows_in_connect)
{
    connect_to(PEER, 5);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    fake_relay_challenge(relay, &req, 401);
    session_world_pass_ms(w, 45000);
    assert_connect(5, EXIT_E_DOWN, 0);
    fake_relay_expect(relay, STUN_REFRESH, &req);
}
END_TEST

START_TEST(the_owner_may_free_the_session_when_connect_is_answered)
{
    connect_to(PEER, 5);
    connect_to(PEER2, 6);
    fake_relay_expect(relay, STUN_CONNECT, &req);
    w->frees_on_any_event = true;
    fake_relay_connected(relay, &req, 9);
    ck_assert_ptr_null(w->session);
    ck_assert_uint_eq(w->n_connects, 1);
}
END_TEST

START_TEST(a_peer_that_connects_is_announced)
{
    struct addr peer = at(PEER);

    fake_relay_attempt(relay, PEER, 0xBEEF);
    ck_assert_uint_eq(w->n_attempts, 1);
    ck_assert_uint_eq(w->attempt_id, 0xBEEF);
    ck_assert(addr_equal(&w->attempt_peer, &peer));
}
END_TEST

START_TEST(datagrams_have_no_place_here)
{
    session_world_send(w, PEER, "hello");
    fake_relay_expect_nothing(relay);
    fake_relay_data(relay, PEER, "hello", 5);
    fake_relay_channel_data(relay, 0x4000, "hello", 5);
    ck_assert_uint_eq(w->n_datagrams, 0);
}
END_TEST

/* ---- data connections ---- */

static struct data_bind *b;
static unsigned int n_done;
static enum exit_result done_result;
static struct stream *done_stream;
static uint8_t got[64];
static size_t n_got;

static ptrdiff_t on_bytes(void *user, const uint8_t *data, size_t len)
{
    ck_assert_uint_le(n_got + len, sizeof(got));
    memcpy(got + n_got, data, len);
    n_got += len;
    return (ptrdiff_t)len;
}

static const struct stream_events stream_events = {.on_bytes = on_bytes};

static void on_done(void *user, enum exit_result result, struct stream *stream)
{
    n_done++;
    b = NULL;
    done_result = result;
    done_stream = stream;
    if (stream)
        stream_set_events(stream, &stream_events, NULL);
}

static void no_wake(void *arg, uint64_t at_ns)
{
    ck_abort_msg("the date of a data connection does not move");
}

static void bind_setup(void)
{
    static const struct session_waker waker = {.wake = no_wake};

    setup();
    n_done = 0;
    n_got = 0;
    done_stream = NULL;
    w->wire = fake_wire_new(LINK_TCP);
    relay->wire = w->wire;
    b = data_bind_new(w->wire->link, &w->cred, NULL, 0xCAFE, &waker, on_done, NULL, fake_now_ns);
    ck_assert_ptr_nonnull(b);
}

static void bind_teardown(void)
{
    data_bind_free(b);
    stream_free(done_stream);
    teardown();
}

static void opened(void)
{
    fake_wire_open(w->wire);
    fake_relay_expect(relay, STUN_CONNECTION_BIND, &req);
}

static void assert_failed(enum exit_result result)
{
    ck_assert_uint_eq(n_done, 1);
    ck_assert_int_eq(done_result, result);
    ck_assert_ptr_null(done_stream);
    ck_assert_ptr_null(w->wire->link);
}

START_TEST(a_bound_connection_is_handed_over_with_the_bytes_behind_the_answer)
{
    uint32_t id = 0;

    opened();
    ck_assert(req.is_signed); /* with what the control connection learnt */
    ck_assert(stun_get_u32(&req.msg, STUN_CONNECTION_ID, &id));
    ck_assert_uint_eq(id, 0xCAFE);
    relay->hold = true;
    fake_relay_success(relay, &req);
    fake_wire_give_more(w->wire, relay->answer, relay->answer_len, "220 hello", 9);
    ck_assert_uint_eq(n_done, 1);
    ck_assert_int_eq(done_result, EXIT_OK);
    ck_assert_ptr_nonnull(done_stream);
    ck_assert_ptr_null(w->wire->link);
    fake_streams_turn();
    ck_assert_uint_eq(n_got, 9);
    ck_assert_mem_eq(got, "220 hello", 9);
}
END_TEST

START_TEST(a_link_that_is_open_already_is_asked_at_once)
{
    static const struct session_waker waker = {.wake = no_wake};

    data_bind_free(b);
    w->wire = relay->wire = fake_wire_new(LINK_TLS);
    link_set_events(w->wire->link, NULL, NULL);
    fake_wire_open(w->wire);
    b = data_bind_new(w->wire->link, &w->cred, NULL, 0xCAFE, &waker, on_done, NULL, fake_now_ns);
    fake_relay_expect(relay, STUN_CONNECTION_BIND, &req);
    fake_relay_success(relay, &req);
    ck_assert_int_eq(done_result, EXIT_OK);
}
END_TEST

START_TEST(it_is_signed_with_the_nonce_of_its_control_connection)
{
    static const struct session_waker waker = {.wake = no_wake};
    const char *nonce = session_proof(w->session)->nonce, *sent;
    size_t len = 0;

    /* Another session of the user's was given one since. */
    w->cred.proof.nonce[strlen(w->cred.proof.nonce) - 1] ^= 1;
    data_bind_free(b);
    w->wire = relay->wire = fake_wire_new(LINK_TCP);
    b = data_bind_new(w->wire->link, &w->cred, w->session, 0xCAFE, &waker, on_done, NULL,
                      fake_now_ns);
    opened();
    sent = (const char *)stun_get(&req.msg, STUN_NONCE, &len);
    ck_assert_uint_eq(len, strlen(nonce));
    ck_assert_mem_eq(sent, nonce, len);
}
END_TEST

START_TEST(a_nonce_of_the_control_connection_may_be_refused)
{
    fake_relay_new_nonce(relay);
    opened();
    fake_relay_challenge(relay, &req, _i == 0 ? 438 : 401);
    fake_relay_expect(relay, STUN_CONNECTION_BIND, &req);
    if (_i == 2) {
        fake_relay_new_nonce(relay);
        fake_relay_challenge(relay, &req, 438);
        fake_relay_expect(relay, STUN_CONNECTION_BIND, &req);
    }
    fake_relay_success(relay, &req);
    ck_assert_int_eq(done_result, EXIT_OK);
    ck_assert_ptr_nonnull(done_stream);
}
END_TEST

START_TEST(challenges_without_end_are_a_refusal)
{
    opened();
    for (int i = 0; i < 3; i++) {
        fake_relay_new_nonce(relay);
        fake_relay_challenge(relay, &req, 438);
        fake_relay_expect(relay, STUN_CONNECTION_BIND, &req);
    }
    fake_relay_challenge(relay, &req, 438);
    assert_failed(EXIT_E_REFUSED);
}
END_TEST

START_TEST(credentials_refused_twice_are_a_refusal)
{
    opened();
    fake_relay_challenge(relay, &req, 401);
    fake_relay_expect(relay, STUN_CONNECTION_BIND, &req);
    fake_relay_challenge(relay, &req, 401);
    assert_failed(EXIT_E_REFUSED);
}
END_TEST

START_TEST(a_connection_the_relay_does_not_know_is_refused)
{
    opened();
    fake_relay_error(relay, &req, 400);
    assert_failed(EXIT_E_REFUSED);
}
END_TEST

START_TEST(a_success_that_proves_nothing_hands_nothing_over)
{
    opened();
    relay->unsigned_answers = _i == 0;
    relay->forger = _i == 1 ? "guess" : NULL;
    fake_relay_success(relay, &req);
    assert_failed(EXIT_E_REFUSED);
}
END_TEST

START_TEST(what_is_no_answer_changes_nothing)
{
    opened();
    fake_relay_channel_data(relay, 0x4000, "x", 1);
    fake_wire_give(w->wire, "\0", 1);
    req2 = req;
    req2.msg.method = STUN_CONNECT;
    fake_relay_success(relay, &req2);
    req2 = req;
    req2.msg.txid[0] ^= 1;
    fake_relay_success(relay, &req2);
    ck_assert_uint_eq(n_done, 0);
    fake_relay_success(relay, &req);
    ck_assert_int_eq(done_result, EXIT_OK);
}
END_TEST

START_TEST(patience_ends_after_half_a_minute_open_or_not)
{
    uint64_t due_ns = data_bind_tick(b, fake_now_ns);

    ck_assert_uint_eq(due_ns, fake_now_ns + 30 * NS_PER_S);
    if (_i == 1)
        opened();
    ck_assert_uint_eq(data_bind_tick(b, due_ns - 1), due_ns);
    ck_assert_uint_eq(n_done, 0);
    data_bind_tick(b, due_ns);
    assert_failed(EXIT_E_TIMEOUT);
}
END_TEST

START_TEST(a_link_that_closes_is_down)
{
    if (_i == 1)
        opened();
    fake_wire_close(w->wire, -ECONNREFUSED, "refused");
    assert_failed(EXIT_E_DOWN);
}
END_TEST

START_TEST(a_data_bind_that_is_freed_says_nothing)
{
    opened();
    data_bind_free(b);
    b = NULL;
    ck_assert_uint_eq(n_done, 0);
    ck_assert_ptr_null(w->wire->link);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("session_tcp");
    TCase *connects = tcase_create("connect"), *binds = tcase_create("bind");

    tcase_add_checked_fixture(connects, setup, teardown);
    tcase_add_test(connects, a_tcp_allocation_is_asked_for_as_such);
    tcase_add_test(connects, connect_names_the_connection_to_bind);
    tcase_add_loop_test(connects, a_refusal_is_told_apart, 0, 8);
    tcase_add_loop_test(connects, icmp_in_a_447_says_what_became_of_it, 0, 5);
    tcase_add_test(connects, a_447_that_took_long_is_a_timeout);
    tcase_add_test(connects, connect_is_waited_for_45_seconds);
    tcase_add_test(connects, answers_may_come_in_any_order);
    tcase_add_test(connects, a_connect_survives_a_stale_nonce);
    tcase_add_test(connects, a_forged_connect_answer_is_ignored);
    tcase_add_test(connects, a_success_without_a_connection_id_connects_nothing);
    tcase_add_test(connects, connects_under_way_are_bounded);
    tcase_add_test(connects, a_lost_allocation_shows_in_connect);
    tcase_add_test(connects, a_user_who_is_refused_shows_in_connect);
    tcase_add_test(connects, the_owner_may_free_the_session_when_connect_is_answered);
    tcase_add_test(connects, a_peer_that_connects_is_announced);
    tcase_add_test(connects, datagrams_have_no_place_here);
    tcase_add_checked_fixture(binds, bind_setup, bind_teardown);
    tcase_add_test(binds, a_bound_connection_is_handed_over_with_the_bytes_behind_the_answer);
    tcase_add_test(binds, a_link_that_is_open_already_is_asked_at_once);
    tcase_add_test(binds, it_is_signed_with_the_nonce_of_its_control_connection);
    tcase_add_loop_test(binds, a_nonce_of_the_control_connection_may_be_refused, 0, 3);
    tcase_add_test(binds, challenges_without_end_are_a_refusal);
    tcase_add_test(binds, credentials_refused_twice_are_a_refusal);
    tcase_add_test(binds, a_connection_the_relay_does_not_know_is_refused);
    tcase_add_loop_test(binds, a_success_that_proves_nothing_hands_nothing_over, 0, 2);
    tcase_add_test(binds, what_is_no_answer_changes_nothing);
    tcase_add_loop_test(binds, patience_ends_after_half_a_minute_open_or_not, 0, 2);
    tcase_add_loop_test(binds, a_link_that_closes_is_down, 0, 2);
    tcase_add_test(binds, a_data_bind_that_is_freed_says_nothing);
    suite_add_tcase(s, connects);
    suite_add_tcase(s, binds);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
