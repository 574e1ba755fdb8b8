#include "tests/exit/upstream_dial_env.h"

/* ---- a stream ---- */

START_TEST(a_stream_is_dialled_over_the_trunk_that_is_there)
{
    struct addr relayed = at(RELAYED);
    struct front_dial *d;
    struct far *far;

    setup_ready();
    ck_assert_uint_eq(w->x->n_trunks, 1);
    d = front_dial(w, PEER);
    assert_not_dialed(d); /* never within the call */
    world_settle(w);
    assert_dialed(d, EXIT_OK);
    ck_assert(addr_equal(&d->relayed, &relayed));
    ck_assert_uint_eq(w->x->n_trunks, 1);
    ck_assert_uint_eq(w->counters.upstream_streams, 1);
    far = last_connection()->far;
    ck_assert_int_eq(stream_write(d->stream, "hello", 5), 0);
    ck_assert_mem_eq(far->got, "hello", 5);
    front_hang_up(d);
    ck_assert_uint_eq(w->counters.upstream_streams, 0);
}
END_TEST

START_TEST(streams_to_different_peers_share_a_trunk)
{
    setup_ready();
    (void)dialed(PEER);
    (void)dialed(PEER2);
    (void)dialed("203.0.113.9:6001");
    ck_assert_uint_eq(w->x->n_trunks, 1);
    ck_assert_uint_eq(a->n_asked[STUN_ALLOCATE], 2);
}
END_TEST

START_TEST(streams_to_the_same_peer_take_a_trunk_each)
{
    setup_ready();
    (void)dialed(PEER);
    (void)dialed(PEER);
    (void)dialed(PEER);
    ck_assert_uint_eq(w->x->n_trunks, 3);
    ck_assert_uint_eq(a->n_doubled, 0);
    (void)dialed(PEER2);
    ck_assert_uint_eq(w->x->n_trunks, 3);
}
END_TEST

/* By IPv6, for which there is no trunk yet. */
START_TEST(dials_that_wait_for_different_peers_have_one_trunk_made)
{
    static const char *const peers[] = {"[2001:db8:9::1]:80", "[2001:db8:9::2]:80",
                                        "[2001:db8:9::3]:80", "[2001:db8:9::1]:80"};
    struct front_dial *d[4];

    setup_ready();
    for (unsigned int i = 0; i < 4; i++)
        d[i] = front_dial(w, peers[i]);
    world_settle(w);
    for (unsigned int i = 0; i < 4; i++)
        assert_dialed(d[i], EXIT_OK);
    ck_assert_uint_eq(w->x->n_trunks, 1 + 2); /* two for the peer that is called twice */
}
END_TEST

START_TEST(many_dials_to_one_peer_at_once_have_their_trunks_made_together)
{
    struct front_dial *d[6];

    setup_ready();
    a->rules[STUN_ALLOCATE].hold = true;
    for (unsigned int i = 0; i < 6; i++)
        d[i] = front_dial(w, PEER);
    world_settle(w);
    ck_assert_uint_eq(world_n_held(w, STUN_ALLOCATE), 5);
    world_answer_held(w, STUN_ALLOCATE);
    for (unsigned int i = 0; i < 6; i++)
        assert_dialed(d[i], EXIT_OK);
    ck_assert_uint_eq(w->x->n_trunks, 6);
    ck_assert_uint_eq(a->n_doubled, 0);
}
END_TEST

START_TEST(a_trunk_is_kept_from_the_peer_for_a_minute_after_its_stream)
{
    setup_ready();
    front_hang_up(dialed(PEER));
    front_hang_up(dialed(PEER2)); /* not from another */
    ck_assert_uint_eq(w->x->n_trunks, 1);
    world_pass_ms(w, 59000);
    front_hang_up(dialed(PEER));
    ck_assert_uint_eq(w->x->n_trunks, 2);
    world_pass_ms(w, 3000);
    ck_assert_uint_eq(w->x->n_trunks, 2);
    (void)dialed(PEER); /* on the first, free again */
    ck_assert_uint_eq(w->x->n_trunks, 2);
}
END_TEST

START_TEST(an_idle_trunk_goes_after_five_minutes_but_the_ready_one_stays)
{
    struct front_dial *d;

    w = world_ready(1);
    d = dialed(PEER);
    front_hang_up(dialed(PEER));
    ck_assert_uint_eq(w->x->n_trunks, 2);
    world_pass_ms(w, 299000);
    ck_assert_uint_eq(w->x->n_trunks, 2);
    world_pass_ms(w, 3000);
    ck_assert_uint_eq(w->x->n_trunks, 1);
    ck_assert_uint_eq(d->n_closed, 0);
    front_hang_up(d);
    world_pass_ms(w, 600000);
    ck_assert_uint_eq(w->x->n_trunks, 1);
}
END_TEST

START_TEST(a_trunk_with_a_stream_stays)
{
    struct front_dial *d;

    setup_ready();
    d = dialed(PEER);
    world_pass_ms(w, 900000);
    ck_assert_uint_eq(w->x->n_trunks, 1);
    ck_assert_uint_eq(d->n_closed, 0);
}
END_TEST

START_TEST(the_front_may_free_the_stream_as_it_gets_it)
{
    struct front_dial *d;

    setup_ready();
    d = front_dial(w, PEER);
    d->frees = true;
    world_settle(w);
    assert_dialed(d, EXIT_OK);
    ck_assert_uint_eq(w->counters.upstream_streams, 0);
    (void)dialed(PEER);
    ck_assert_uint_eq(w->x->n_trunks, 2);
}
END_TEST

/* ---- refusals ---- */

START_TEST(a_peer_that_refuses_is_the_answer_and_uses_up_no_trunk)
{
    static const struct {
        unsigned int code;
        enum exit_result result;
    } rows[] = {
        {403, EXIT_E_FORBIDDEN}, {447, EXIT_E_REFUSED},  {443, EXIT_E_FAMILY},
        {486, EXIT_E_CAPACITY},  {508, EXIT_E_CAPACITY}, {500, EXIT_E_UNREACHABLE},
    };

    setup_ready();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct front_dial *d;

        a->rules[STUN_CONNECT].code = rows[i].code;
        d = front_dial(w, PEER);
        world_settle(w);
        assert_dialed(d, rows[i].result);
    }
    a->rules[STUN_CONNECT].code = 0;
    (void)dialed(PEER);
    ck_assert_uint_eq(w->x->n_trunks, 1);
}
END_TEST

START_TEST(a_connection_the_relay_already_has_moves_the_dial_to_another_trunk)
{
    struct front_dial *d;

    setup_ready();
    a->rules[STUN_CONNECT].hold = true;
    d = front_dial(w, PEER);
    world_settle(w);
    a->rules[STUN_CONNECT] = (struct server_rule){.code = 446, .hold = true};
    world_answer_held(w, STUN_CONNECT);
    assert_not_dialed(d);
    ck_assert_uint_eq(w->x->n_trunks, 2);
    a->rules[STUN_CONNECT] = (struct server_rule){0};
    world_answer_held(w, STUN_CONNECT);
    assert_dialed(d, EXIT_OK);
    (void)dialed(PEER); /* the first trunk is out of the question for a minute */
    ck_assert_uint_eq(w->x->n_trunks, 3);
}
END_TEST

START_TEST(a_dial_gives_up_after_five_trunks)
{
    struct front_dial *d;

    setup_ready();
    a->rules[STUN_CONNECT].code = 446;
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_E_DUPLICATE);
    ck_assert_uint_eq(a->n_asked[STUN_CONNECT], 5);
}
END_TEST

START_TEST(a_data_connection_that_cannot_be_bound_is_tried_on_another_trunk)
{
    struct front_dial *d;

    setup_ready();
    a->rules[STUN_CONNECTION_BIND].hold = true;
    d = front_dial(w, PEER);
    world_settle(w);
    a->rules[STUN_CONNECTION_BIND] = (struct server_rule){.code = 400, .hold = true};
    world_answer_held(w, STUN_CONNECTION_BIND);
    assert_not_dialed(d);
    a->rules[STUN_CONNECTION_BIND] = (struct server_rule){0};
    world_answer_held(w, STUN_CONNECTION_BIND);
    assert_dialed(d, EXIT_OK);
    ck_assert_uint_eq(w->x->n_trunks, 2);
}
END_TEST

START_TEST(a_peer_that_never_answers_is_a_timeout)
{
    struct front_dial *d;

    setup_ready();
    a->rules[STUN_CONNECT].hold = true;
    d = front_dial(w, PEER);
    world_pass_ms(w, 44000);
    assert_not_dialed(d);
    world_pass_ms(w, 32000);
    assert_dialed(d, EXIT_E_TIMEOUT);
    ck_assert_uint_eq(w->x->dials.next == &w->x->dials, 1);
}
END_TEST

START_TEST(a_machine_without_a_network_fails_the_dial_in_any_step)
{
    struct front_dial *d;

    setup_ready();
    fake_link_error = -ENETUNREACH;
    d = front_dial(w, PEER); /* no data connection */
    world_settle(w);
    assert_dialed(d, EXIT_E_CAPACITY);
    fake_link_error = 0;
    (void)dialed(PEER2);
    fake_link_error = -ENETUNREACH;
    d = front_dial(w, PEER2); /* no trunk */
    world_pass_ms(w, 2000);
    assert_dialed(d, EXIT_E_CAPACITY);
    fake_link_error = 0;
    world_pass_ms(w, 5000);
    (void)dialed(PEER2);
}
END_TEST

/* A relay that is gone without a word, as behind a network that swallows everything. */
START_TEST(a_relay_that_falls_silent_is_told_within_ten_seconds_in_any_step)
{
    static const enum stun_method steps[] = {STUN_ALLOCATE, STUN_CONNECT, STUN_CONNECTION_BIND};

    for (size_t i = 0; i < 3; i++) {
        struct front_dial *d;

        setup_ready();
        if (steps[i] == STUN_ALLOCATE)
            (void)dialed(PEER); /* takes the trunk there is */
        a->rules[steps[i]].hold = a->rules[STUN_REFRESH].hold = true;
        d = front_dial(w, PEER);
        world_settle(w);
        ck_assert_uint_eq(world_n_held(w, steps[i]), 1);
        a->deaf = true;
        world_pass_ms(w, 9500);
        assert_not_dialed(d);
        world_pass_ms(w, 3000);
        assert_dialed(d, EXIT_E_DOWN);
        if (steps[i] == STUN_CONNECT)
            ck_assert_int_ne(world_status(w, true).state, UPSTREAM_READY);
        if (i < 2)
            teardown();
    }
}
END_TEST

/* Nothing is said on its trunk, so that only others can notice early. */
START_TEST(a_stream_whose_relay_falls_silent_ends_soon_after_the_first_who_notices)
{
    static const struct assoc_want even = {.v4 = true, .even_port = true};
    struct front_dial *stream;
    struct front_assoc *f;

    setup_ready();
    stream = dialed(PEER);
    a->rules[STUN_REFRESH].hold = a->rules[STUN_ALLOCATE].hold = true;
    f = front_open(w, &even);
    world_pass_ms(w, 11000);
    ck_assert_int_eq(f->opened.result, EXIT_E_DOWN);
    ck_assert_uint_eq(stream->n_closed, 0);
    world_pass_ms(w, 14000);
    ck_assert_uint_eq(stream->n_closed, 1);
    ck_assert_int_lt(stream->closed_reason, 0);
}
END_TEST

/* ---- hanging up ---- */

START_TEST(a_dial_may_be_hung_up_while_it_waits_for_a_relay)
{
    struct front_dial *d;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    a->deaf = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    d = front_dial(w, PEER);
    world_settle(w);
    front_hang_up(d);
    a->deaf = false;
    world_pass_ms(w, 1000);
    ck_assert_uint_eq(a->n_asked[STUN_CONNECT], 0);
    assert_not_dialed(d);
}
END_TEST

START_TEST(a_dial_may_be_hung_up_while_its_trunk_is_made)
{
    struct front_dial *d;

    setup_ready();
    (void)dialed(PEER);
    a->rules[STUN_ALLOCATE].hold = true;
    d = front_dial(w, PEER);
    world_settle(w);
    front_hang_up(d);
    world_answer_held(w, STUN_ALLOCATE);
    assert_not_dialed(d);
    ck_assert_uint_eq(a->n_asked[STUN_CONNECT], 1);
}
END_TEST

START_TEST(a_dial_hung_up_during_connect_keeps_the_peer_off_the_trunk_for_a_minute)
{
    struct front_dial *d;

    setup_ready();
    a->rules[STUN_CONNECT].hold = true;
    d = front_dial(w, PEER);
    world_settle(w);
    front_hang_up(d);
    a->rules[STUN_CONNECT].hold = false;
    world_answer_held(w, STUN_CONNECT);
    assert_not_dialed(d);
    ck_assert_uint_eq(a->n_asked[STUN_CONNECTION_BIND], 0);
    front_hang_up(dialed(PEER));
    ck_assert_uint_eq(w->x->n_trunks, 2);
    world_pass_ms(w, 61000);
    (void)dialed(PEER);
    ck_assert_uint_eq(w->x->n_trunks, 2);
}
END_TEST

START_TEST(a_dial_hung_up_during_bind_keeps_the_peer_off_the_trunk_for_a_minute)
{
    struct front_dial *d;
    unsigned int n;

    setup_ready();
    a->rules[STUN_CONNECTION_BIND].hold = true;
    d = front_dial(w, PEER);
    world_settle(w);
    n = world_n_open(w, a);
    front_hang_up(d);
    ck_assert_uint_eq(world_n_open(w, a), n - 1); /* the data connection is closed */
    a->rules[STUN_CONNECTION_BIND].hold = false;
    world_answer_held(w, STUN_CONNECTION_BIND);
    assert_not_dialed(d);
    (void)dialed(PEER);
    ck_assert_uint_eq(w->x->n_trunks, 2);
}
END_TEST

START_TEST(one_dial_may_hang_up_another_when_it_is_answered)
{
    struct front_dial *d, *other;

    setup_ready();
    a->rules[STUN_CONNECT].hold = true;
    d = front_dial(w, PEER);
    other = front_dial(w, PEER2);
    d->then = hang_up_next;
    world_settle(w);
    world_answer_held(w, STUN_CONNECT);
    assert_dialed(d, EXIT_OK);
    assert_not_dialed(other);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/dial");
    TCase *t;

    t = tcase_create("a stream");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_stream_is_dialled_over_the_trunk_that_is_there);
    tcase_add_test(t, streams_to_different_peers_share_a_trunk);
    tcase_add_test(t, streams_to_the_same_peer_take_a_trunk_each);
    tcase_add_test(t, dials_that_wait_for_different_peers_have_one_trunk_made);
    tcase_add_test(t, many_dials_to_one_peer_at_once_have_their_trunks_made_together);
    tcase_add_test(t, a_trunk_is_kept_from_the_peer_for_a_minute_after_its_stream);
    tcase_add_test(t, an_idle_trunk_goes_after_five_minutes_but_the_ready_one_stays);
    tcase_add_test(t, a_trunk_with_a_stream_stays);
    tcase_add_test(t, the_front_may_free_the_stream_as_it_gets_it);
    suite_add_tcase(s, t);

    t = tcase_create("refusals");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_peer_that_refuses_is_the_answer_and_uses_up_no_trunk);
    tcase_add_test(t, a_connection_the_relay_already_has_moves_the_dial_to_another_trunk);
    tcase_add_test(t, a_dial_gives_up_after_five_trunks);
    tcase_add_test(t, a_data_connection_that_cannot_be_bound_is_tried_on_another_trunk);
    tcase_add_test(t, a_peer_that_never_answers_is_a_timeout);
    tcase_add_test(t, a_machine_without_a_network_fails_the_dial_in_any_step);
    tcase_add_test(t, a_relay_that_falls_silent_is_told_within_ten_seconds_in_any_step);
    tcase_add_test(t, a_stream_whose_relay_falls_silent_ends_soon_after_the_first_who_notices);
    suite_add_tcase(s, t);

    t = tcase_create("hanging up");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_dial_may_be_hung_up_while_it_waits_for_a_relay);
    tcase_add_test(t, a_dial_may_be_hung_up_while_its_trunk_is_made);
    tcase_add_test(t, a_dial_hung_up_during_connect_keeps_the_peer_off_the_trunk_for_a_minute);
    tcase_add_test(t, a_dial_hung_up_during_bind_keeps_the_peer_off_the_trunk_for_a_minute);
    tcase_add_test(t, one_dial_may_hang_up_another_when_it_is_answered);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
