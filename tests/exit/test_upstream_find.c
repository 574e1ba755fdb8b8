#include <errno.h>
#include <string.h>

#include "tests/support/upstream_world.h"

static struct upstream_world *w;

static void teardown(void)
{
    world_free(w);
    w = NULL;
}

static void assert_state(bool streams, enum upstream_state state)
{
    ck_assert_int_eq(world_status(w, streams).state, state);
}

static void assert_at(bool streams, const char *server)
{
    struct upstream_status status = world_status(w, streams);
    struct addr addr = at(server);

    ck_assert_int_eq(status.state, UPSTREAM_READY);
    ck_assert(addr_equal(&status.server, &addr));
}

static void assert_why(bool streams, const char *part)
{
    struct upstream_status status = world_status(w, streams);

    ck_assert_int_eq(status.state, UPSTREAM_DOWN);
    ck_assert_msg(strstr(status.why, part) != NULL, "why: %s", status.why);
}

/* ---- which url ---- */

START_TEST(the_first_url_that_allocates_is_taken_for_each_purpose)
{
    w = world_new(0);
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    assert_at(false, SERVER_A);
    assert_at(true, SERVER_B);
    ck_assert_int_eq(world_status(w, false).kind, LINK_UDP);
    ck_assert_int_eq(world_status(w, true).kind, LINK_TCP);
    ck_assert_str_eq(world_status(w, true).host, HOST_B);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_asked[STUN_ALLOCATE], 1);
    ck_assert_uint_eq(world_server(w, SERVER_B)->n_asked[STUN_ALLOCATE], 1);
    ck_assert_uint_gt(w->n_states, 0);
}
END_TEST

START_TEST(each_transport_is_used_as_its_url_says)
{
    static const unsigned int protocols[] = {LISTEN_UDP, LISTEN_DTLS, LISTEN_TCP, LISTEN_TLS};

    for (unsigned int i = 0; i < N_LINK_KINDS; i++) {
        w = world_new(0);
        world_url(w, 0, HOST_A, protocols[i]);
        world_go(w, 0);
        assert_state(false, UPSTREAM_READY);
        ck_assert_uint_eq(world_status(w, false).kind, i);
        if (i < N_LINK_KINDS - 1)
            teardown();
    }
    assert_at(true, SERVER_A);
}
END_TEST

/* ---- what the relay shows ---- */

static void go_with_certificate(unsigned int protocol, uint64_t end_s)
{
    w = world_new(1);
    world_server(w, SERVER_A)->certificate_end_s = end_s;
    world_url(w, 0, HOST_A, protocol);
    world_go(w, 0);
    assert_state(false, UPSTREAM_READY);
}

START_TEST(the_certificates_end_shows_where_there_is_a_certificate)
{
    static const unsigned int protocols[] = {LISTEN_UDP, LISTEN_DTLS, LISTEN_TCP, LISTEN_TLS};
    bool has = _i % 2;

    go_with_certificate(protocols[_i], 1800000000);
    ck_assert_uint_eq(world_status(w, false).certificate_end_s, has ? 1800000000 : 0);
    ck_assert_uint_eq(world_status(w, true).certificate_end_s, _i == 3 ? 1800000000 : 0);
    ck_assert(!world_status(w, false).is_pinned);
}
END_TEST

START_TEST(one_that_is_known_by_its_pin_is_said_to_be)
{
    static uint8_t pin[1][32];

    w = world_new(1);
    world_server(w, SERVER_A)->certificate_end_s = 1800000000;
    world_url(w, 0, HOST_A, _i == 0 ? LISTEN_TLS : LISTEN_TCP);
    w->conf[0].pin = pin;
    w->conf[0].n_pin = 1;
    world_go(w, 0);
    ck_assert(world_status(w, false).is_pinned == (_i == 0));
    ck_assert(world_status(w, true).is_pinned == (_i == 0));
}
END_TEST

START_TEST(a_renewed_certificate_shows_once_somebody_has_connected_anew)
{
    go_with_certificate(LISTEN_DTLS, 1800000000);
    world_server(w, SERVER_A)->certificate_end_s = 1900000000;
    world_pass_ms(w, 60000);
    ck_assert_uint_eq(world_status(w, false).certificate_end_s, 1800000000);
    (void)front_open_v4(w); /* takes the ready one, and another is made */
    world_settle(w);
    ck_assert_uint_eq(world_status(w, false).certificate_end_s, 1900000000);
}
END_TEST

START_TEST(without_a_relay_there_is_no_certificate)
{
    go_with_certificate(LISTEN_TLS, 1800000000);
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_drop(w, world_server(w, SERVER_A));
    world_settle(w);
    assert_state(false, UPSTREAM_DOWN);
    ck_assert_uint_eq(world_status(w, false).certificate_end_s, 0);
}
END_TEST

START_TEST(streams_are_off_when_no_url_can_carry_them)
{
    struct front_dial *d;

    w = world_new(0);
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_url(w, 0, HOST_B, LISTEN_DTLS);
    world_go(w, 0);
    assert_state(true, UPSTREAM_OFF);
    assert_state(false, UPSTREAM_READY);
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_E_DOWN);
}
END_TEST

START_TEST(a_url_that_fails_makes_room_for_the_next_at_once)
{
    w = world_new(0);
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    assert_at(false, SERVER_B);
    assert_at(true, SERVER_B);
    ck_assert_uint_eq(w->counters.upstream_failures, 2);
    ck_assert_uint_eq(w->counters.upstream_attempts, 4);
}
END_TEST

START_TEST(a_url_that_is_silent_makes_room_for_the_next_after_six_seconds)
{
    w = world_new(0);
    world_server(w, SERVER_A)->deaf = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    world_pass_ms(w, 5999);
    assert_state(true, UPSTREAM_CONNECTING);
    ck_assert_uint_eq(world_server(w, SERVER_B)->n_links, 0);
    world_pass_ms(w, 1);
    assert_at(true, SERVER_B);
    ck_assert_uint_eq(world_n_open(w, world_server(w, SERVER_A)), 0);
}
END_TEST

START_TEST(a_url_that_was_left_is_not_waited_for)
{
    w = world_new(0);
    world_server(w, SERVER_A)->deaf = true;
    world_server(w, SERVER_B)->deaf = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    ck_assert_uint_eq(world_n_open(w, world_server(w, SERVER_A)), 2);
    world_pass_ms(w, 6000);
    ck_assert_uint_eq(world_n_open(w, world_server(w, SERVER_A)), 0);
    ck_assert_uint_eq(world_n_open(w, world_server(w, SERVER_B)), 2);
}
END_TEST

START_TEST(a_name_that_does_not_exist_or_is_not_answered_makes_room_for_the_next)
{
    w = world_new(0);
    fake_resolver_hang("hangs.test");
    world_url(w, 0, "none.test", LISTEN_TCP);
    world_url(w, 0, "hangs.test", LISTEN_TCP);
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    world_pass_ms(w, 5999);
    assert_state(true, UPSTREAM_CONNECTING);
    world_pass_ms(w, 1);
    assert_at(true, SERVER_A);
}
END_TEST

/* ---- a race ---- */

static void go_race(void)
{
    static const char *const ips[] = {HOST_A, HOST_B, HOST_C};

    w = world_new(0);
    fake_resolver_know("relay.test", ips, 3);
    world_url(w, 0, "relay.test", LISTEN_UDP);
}

START_TEST(the_next_address_starts_a_quarter_of_a_second_after_the_last)
{
    go_race();
    world_server(w, SERVER_A)->deaf = true;
    world_server(w, SERVER_B)->deaf = true;
    world_server(w, SERVER_C)->deaf = true;
    world_go(w, 0);
    world_pass_ms(w, 249);
    ck_assert_uint_eq(world_server(w, SERVER_B)->n_links, 0);
    world_pass_ms(w, 1);
    ck_assert_uint_eq(world_server(w, SERVER_B)->n_links, 1);
    world_pass_ms(w, 249);
    ck_assert_uint_eq(world_server(w, SERVER_C)->n_links, 0);
    world_pass_ms(w, 1);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, 1);
    ck_assert_uint_eq(world_server(w, SERVER_C)->n_links, 1);
    ck_assert_uint_eq(world_n_open(w, world_server(w, SERVER_A)), 1);
}
END_TEST

START_TEST(the_next_address_starts_at_once_when_the_last_fails)
{
    go_race();
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_go(w, 0);
    assert_at(false, SERVER_B);
    ck_assert_uint_eq(world_server(w, SERVER_C)->n_links, 0);
}
END_TEST

START_TEST(the_next_address_starts_at_once_when_the_last_fails_and_another_still_runs)
{
    go_race();
    world_server(w, SERVER_A)->deaf = true;
    world_server(w, SERVER_B)->refuses = -ECONNREFUSED;
    world_go(w, 0);
    world_pass_ms(w, 250);
    assert_at(false, SERVER_C);
}
END_TEST

START_TEST(the_first_address_to_allocate_wins_and_the_others_are_dropped)
{
    go_race();
    world_server(w, SERVER_A)->rules[STUN_ALLOCATE].hold = true;
    world_server(w, SERVER_B)->rules[STUN_ALLOCATE].hold = true;
    world_go(w, 0);
    world_pass_ms(w, 300);
    ck_assert_uint_eq(world_n_held(w, STUN_ALLOCATE), 2);
    world_answer_held(w, STUN_ALLOCATE);
    assert_at(false, SERVER_A);
    ck_assert_uint_eq(world_n_open(w, world_server(w, SERVER_A)), 1);
    ck_assert_uint_eq(world_n_open(w, world_server(w, SERVER_B)), 0);
    world_pass_ms(w, 1000);
    ck_assert_uint_eq(world_server(w, SERVER_C)->n_links, 0);
}
END_TEST

/* ---- down ---- */

static void go_refused(void)
{
    w = world_new(0);
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_server(w, SERVER_A)->why = "connection refused";
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_go(w, 0);
}

static uint64_t wait_ns(void)
{
    return w->x->datagrams.retry_at_ns - w->x->datagrams.searched_ns;
}

/* Until the next search has failed too. */
static void next_search(void)
{
    unsigned int n = world_server(w, SERVER_A)->n_links;

    world_pass_ms(w, (world_status(w, false).retry_at_ns - fake_now_ns) / NS_PER_MS + 1);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, n + 1);
    assert_state(false, UPSTREAM_DOWN);
}

START_TEST(it_is_down_when_nobody_answers_and_says_why)
{
    go_refused();
    assert_why(false, "UDP: connection refused");
    ck_assert_uint_gt(world_status(w, false).retry_at_ns, fake_now_ns);
    ck_assert_uint_eq(world_status(w, false).since_ns, fake_now_ns);
}
END_TEST

START_TEST(the_pause_between_searches_grows_to_a_minute)
{
    static const unsigned int seconds[] = {1, 2, 4, 8, 16, 32, 60, 60, 60, 60};

    go_refused();
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        ck_assert_uint_ge(wait_ns(), seconds[i] * NS_PER_S);
        ck_assert_uint_le(wait_ns(), seconds[i] * NS_PER_S / 4 * 5);
        next_search();
    }
}
END_TEST

START_TEST(the_pause_is_never_the_same_for_all)
{
    uint64_t first_ns;
    bool differs = false;

    go_refused();
    for (unsigned int i = 0; i < 6; i++)
        next_search();
    first_ns = wait_ns();
    for (unsigned int i = 0; i < 6; i++) {
        next_search();
        differs = differs || wait_ns() != first_ns;
    }
    ck_assert(differs);
}
END_TEST

START_TEST(success_makes_the_pause_short_again)
{
    go_refused();
    for (unsigned int i = 0; i < 5; i++)
        next_search();
    world_server(w, SERVER_A)->refuses = 0;
    world_pass_ms(w, 60000);
    assert_at(false, SERVER_A);
    ck_assert_str_eq(world_status(w, false).why, "");
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_drop(w, world_server(w, SERVER_A));
    world_settle(w);
    assert_state(false, UPSTREAM_DOWN);
    ck_assert_uint_le(wait_ns(), NS_PER_S / 4 * 5);
}
END_TEST

START_TEST(what_a_front_wants_shortens_the_pause_but_never_under_two_seconds)
{
    go_refused();
    for (unsigned int i = 0; i < 6; i++)
        next_search();
    world_pass_ms(w, 500);
    ck_assert_int_eq(front_open_v4(w)->opened.result, EXIT_E_DOWN);
    ck_assert_uint_eq(wait_ns(), 2 * NS_PER_S);
    world_server(w, SERVER_A)->refuses = 0;
    world_pass_ms(w, 1499);
    assert_state(false, UPSTREAM_DOWN);
    world_pass_ms(w, 1);
    assert_at(false, SERVER_A);
}
END_TEST

START_TEST(what_a_front_wants_after_two_seconds_starts_a_search_at_once)
{
    go_refused();
    for (unsigned int i = 0; i < 6; i++)
        next_search();
    world_pass_ms(w, 10000);
    assert_state(false, UPSTREAM_DOWN);
    world_server(w, SERVER_A)->refuses = 0;
    (void)front_open_v4(w);
    world_pass_ms(w, 1);
    assert_at(false, SERVER_A);
}
END_TEST

START_TEST(a_dial_shortens_the_pause_as_well)
{
    struct front_dial *d;
    unsigned int n;

    w = world_new(0);
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    world_pass_ms(w, 200000);
    while (fake_now_ns < w->x->streams.searched_ns + 3 * NS_PER_S ||
           w->x->streams.retry_at_ns < fake_now_ns + 3 * NS_PER_S)
        world_pass_ms(w, 500);
    n = world_server(w, SERVER_A)->n_links;
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_E_DOWN);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, n + 1);
}
END_TEST

START_TEST(what_one_search_finds_ends_the_others_pause)
{
    w = world_new(0);
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    world_pass_ms(w, 200000);
    while (fake_now_ns < w->x->streams.searched_ns + 3 * NS_PER_S ||
           w->x->streams.retry_at_ns < fake_now_ns + 5 * NS_PER_S ||
           w->x->datagrams.retry_at_ns < fake_now_ns + 5 * NS_PER_S)
        world_pass_ms(w, 500);
    world_server(w, SERVER_A)->refuses = 0;
    (void)front_dial(w, PEER); /* wants a stream, and nothing else */
    world_pass_ms(w, 1);
    assert_at(true, SERVER_A);
    assert_at(false, SERVER_A);
}
END_TEST

/* ---- why ---- */

START_TEST(a_wrong_password_shows)
{
    w = world_new(0);
    world_server(w, SERVER_A)->password = "looking-glass";
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    assert_why(false, "TCP: the relay refuses this user and password");
    assert_why(true, "TCP: the relay refuses this user and password");
}
END_TEST

START_TEST(a_wrong_pin_shows)
{
    w = world_new(0);
    world_server(w, SERVER_A)->refuses = -EACCES;
    world_server(w, SERVER_A)->why = "the server's certificate does not have the pinned key";
    world_url(w, 0, HOST_A, LISTEN_TLS);
    world_go(w, 0);
    assert_why(true, "TLS: the server's certificate does not have the pinned key");
}
END_TEST

START_TEST(a_refusal_shows)
{
    w = world_new(0);
    world_server(w, SERVER_A)->rules[STUN_ALLOCATE].code = 486;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    assert_why(false, "the relay's quota for this user is used up");
    world_pass_ms(w, 2000);
    world_server(w, SERVER_A)->rules[STUN_ALLOCATE].code = 508;
    world_pass_ms(w, 8000);
    assert_why(true, "the relay is full");
}
END_TEST

START_TEST(a_relay_without_rfc_6062_is_not_down_and_is_asked_again_in_five_minutes)
{
    struct front_dial *d;
    unsigned int n;

    w = world_new(0);
    world_server(w, SERVER_A)->rules[STUN_ALLOCATE].code = 442;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    assert_state(true, UPSTREAM_OFF);
    ck_assert_ptr_nonnull(strstr(world_status(w, true).why, "does not relay this transport"));
    world_server(w, SERVER_A)->rules[STUN_ALLOCATE].code = 0;
    world_pass_ms(w, 60000);
    assert_state(false, UPSTREAM_READY);
    n = world_server(w, SERVER_A)->n_asked[STUN_ALLOCATE];
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_E_DOWN);
    world_pass_ms(w, 230000);
    assert_state(true, UPSTREAM_OFF);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_asked[STUN_ALLOCATE], n);
    world_pass_ms(w, 20000);
    assert_at(true, SERVER_A);
}
END_TEST

START_TEST(streams_are_down_when_a_relay_that_might_carry_them_is)
{
    w = world_new(0);
    world_server(w, SERVER_A)->rules[STUN_ALLOCATE].code = 442;
    world_server(w, SERVER_B)->refuses = -ECONNREFUSED;
    world_url(w, 0, _i == 0 ? HOST_A : HOST_B, LISTEN_TCP);
    world_url(w, 0, _i == 0 ? HOST_B : HOST_A, LISTEN_TCP);
    world_go(w, 0);
    assert_state(true, UPSTREAM_DOWN);
}
END_TEST

/* The search goes on behind the url that was lost, asks nobody, and so knows nothing. */
START_TEST(a_relay_lost_as_soon_as_it_was_found_is_down_and_looked_for_again)
{
    struct fake_server *a;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    assert_at(true, SERVER_A);
    a->refuses = -ECONNREFUSED;
    world_drop(w, a);
    world_settle(w);
    assert_state(true, UPSTREAM_DOWN);
    a->refuses = 0;
    world_pass_ms(w, 5000);
    assert_at(true, SERVER_A);
}
END_TEST

START_TEST(a_name_that_does_not_exist_shows)
{
    w = world_new(0);
    world_url(w, 0, "none.test", LISTEN_TCP);
    world_go(w, 0);
    assert_why(false, "the relay's name does not exist");
}
END_TEST

START_TEST(a_machine_without_a_network_shows)
{
    w = world_new(1);
    fake_link_error = -ENETUNREACH;
    world_url(w, 0, HOST_A, LISTEN_TLS);
    world_go(w, 0);
    assert_why(false, "TLS: Network is unreachable");
    fake_link_error = 0;
    world_pass_ms(w, 2000);
    assert_at(false, SERVER_A);
}
END_TEST

START_TEST(silence_shows)
{
    w = world_new(0);
    world_server(w, SERVER_A)->deaf = true;
    world_url(w, 0, HOST_A, LISTEN_DTLS);
    world_go(w, 0);
    world_pass_ms(w, 6000);
    assert_why(false, "DTLS: no answer");
}
END_TEST

/* ---- 300 ---- */

static void redirect(const char *from, const char *to)
{
    struct fake_server *server = world_server(w, from);

    server->rules[STUN_ALLOCATE].code = 300;
    server->alternate = at(to);
}

START_TEST(another_server_is_followed_with_the_same_transport)
{
    w = world_new(0);
    redirect(SERVER_A, SERVER_B);
    world_url(w, 0, HOST_A, LISTEN_TLS);
    world_go(w, 0);
    assert_at(false, SERVER_B);
    assert_at(true, SERVER_B);
    ck_assert_int_eq(world_status(w, false).kind, LINK_TLS);
}
END_TEST

static void lose_network(void *arg)
{
    fake_link_error = -ENETUNREACH;
}

START_TEST(another_server_that_cannot_be_tried_makes_room_for_the_next)
{
    w = world_new(0);
    redirect(SERVER_A, SERVER_B);
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_server(w, SERVER_A)->on_error = lose_network;
    world_go(w, 0);
    assert_why(false, "Network is unreachable");
}
END_TEST

START_TEST(another_server_is_followed_once_only)
{
    w = world_new(0);
    redirect(SERVER_A, SERVER_B);
    redirect(SERVER_B, SERVER_C);
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_go(w, 0);
    assert_why(false, "sends us to another server");
    ck_assert_uint_eq(world_server(w, SERVER_B)->n_links, 1);
    ck_assert_uint_eq(world_server(w, SERVER_C)->n_links, 0);
}
END_TEST

START_TEST(another_server_is_followed_once_for_each_url)
{
    w = world_new(0);
    redirect(SERVER_A, SERVER_B);
    redirect(SERVER_B, SERVER_C);
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_url(w, 0, HOST_B, LISTEN_UDP);
    world_go(w, 0);
    assert_at(false, SERVER_C);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/find");
    TCase *t;

    t = tcase_create("which url");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, the_first_url_that_allocates_is_taken_for_each_purpose);
    tcase_add_test(t, each_transport_is_used_as_its_url_says);
    tcase_add_loop_test(t, the_certificates_end_shows_where_there_is_a_certificate, 0, 4);
    tcase_add_loop_test(t, one_that_is_known_by_its_pin_is_said_to_be, 0, 2);
    tcase_add_test(t, a_renewed_certificate_shows_once_somebody_has_connected_anew);
    tcase_add_test(t, without_a_relay_there_is_no_certificate);
    tcase_add_test(t, streams_are_off_when_no_url_can_carry_them);
    tcase_add_test(t, a_url_that_fails_makes_room_for_the_next_at_once);
    tcase_add_test(t, a_url_that_is_silent_makes_room_for_the_next_after_six_seconds);
    tcase_add_test(t, a_url_that_was_left_is_not_waited_for);
    tcase_add_test(t, a_name_that_does_not_exist_or_is_not_answered_makes_room_for_the_next);
    suite_add_tcase(s, t);

    t = tcase_create("a race");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, the_next_address_starts_a_quarter_of_a_second_after_the_last);
    tcase_add_test(t, the_next_address_starts_at_once_when_the_last_fails);
    tcase_add_test(t, the_next_address_starts_at_once_when_the_last_fails_and_another_still_runs);
    tcase_add_test(t, the_first_address_to_allocate_wins_and_the_others_are_dropped);
    suite_add_tcase(s, t);

    t = tcase_create("down");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, it_is_down_when_nobody_answers_and_says_why);
    tcase_add_test(t, the_pause_between_searches_grows_to_a_minute);
    tcase_add_test(t, the_pause_is_never_the_same_for_all);
    tcase_add_test(t, success_makes_the_pause_short_again);
    tcase_add_test(t, what_a_front_wants_shortens_the_pause_but_never_under_two_seconds);
    tcase_add_test(t, what_a_front_wants_after_two_seconds_starts_a_search_at_once);
    tcase_add_test(t, a_dial_shortens_the_pause_as_well);
    tcase_add_test(t, what_one_search_finds_ends_the_others_pause);
    suite_add_tcase(s, t);

    t = tcase_create("why");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_wrong_password_shows);
    tcase_add_test(t, a_wrong_pin_shows);
    tcase_add_test(t, a_refusal_shows);
    tcase_add_test(t, a_relay_without_rfc_6062_is_not_down_and_is_asked_again_in_five_minutes);
    tcase_add_loop_test(t, streams_are_down_when_a_relay_that_might_carry_them_is, 0, 2);
    tcase_add_test(t, a_relay_lost_as_soon_as_it_was_found_is_down_and_looked_for_again);
    tcase_add_test(t, a_name_that_does_not_exist_shows);
    tcase_add_test(t, a_machine_without_a_network_shows);
    tcase_add_test(t, silence_shows);
    suite_add_tcase(s, t);

    t = tcase_create("300");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, another_server_is_followed_with_the_same_transport);
    tcase_add_test(t, another_server_that_cannot_be_tried_makes_room_for_the_next);
    tcase_add_test(t, another_server_is_followed_once_only);
    tcase_add_test(t, another_server_is_followed_once_for_each_url);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
