#include "tests/exit/upstream_dial_env.h"

/* ---- the relay ---- */

START_TEST(a_dial_waits_ten_seconds_for_a_relay)
{
    struct front_dial *d;

    w = world_new(0);
    world_server(w, SERVER_A)->deaf = true;
    world_server(w, SERVER_B)->deaf = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    d = front_dial(w, PEER);
    world_pass_ms(w, 9900);
    assert_not_dialed(d);
    world_pass_ms(w, 1200);
    assert_dialed(d, EXIT_E_DOWN);
}
END_TEST

START_TEST(a_dial_goes_on_when_the_relay_is_found)
{
    struct front_dial *d;

    w = world_new(0);
    world_server(w, SERVER_A)->deaf = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    d = front_dial(w, PEER);
    world_pass_ms(w, 6000);
    assert_dialed(d, EXIT_OK);
}
END_TEST

/* A goes, in the step that the held method stands for; B is there. */
static struct front_dial *lose_relay_during(enum stun_method method)
{
    struct front_dial *d;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    if (method == STUN_ALLOCATE)
        (void)dialed(PEER);
    a->rules[method].hold = true;
    d = front_dial(w, PEER);
    world_settle(w);
    assert_not_dialed(d);
    ck_assert_uint_eq(world_n_held(w, method), 1);
    a->refuses = -ECONNREFUSED;
    world_drop(w, a);
    world_settle(w);
    return d;
}

START_TEST(a_dial_whose_relay_is_lost_in_any_step_goes_to_the_next)
{
    static const enum stun_method steps[] = {STUN_ALLOCATE, STUN_CONNECT, STUN_CONNECTION_BIND};

    for (size_t i = 0; i < 3; i++) {
        struct front_dial *d = lose_relay_during(steps[i]);

        assert_dialed(d, EXIT_OK);
        ck_assert(addr_equal(&last_connection()->control->server->addr,
                             &world_server(w, SERVER_B)->addr));
        world_pass_ms(w, 2000);
        ck_assert_uint_eq(world_n_open(w, a), 0);
        if (i < 2)
            teardown();
    }
}
END_TEST

START_TEST(a_trunk_alone_lost_in_any_step_sends_the_dial_to_another)
{
    static const enum stun_method steps[] = {STUN_CONNECT, STUN_CONNECTION_BIND};

    for (size_t i = 0; i < 2; i++) {
        struct front_dial *d;

        setup_ready();
        a->rules[steps[i]].hold = true;
        d = front_dial(w, PEER);
        world_settle(w);
        a->rules[steps[i]].hold = false;
        for (struct list *it = w->links.next; it != &w->links; it = it->next) {
            struct world_link *l = list_entry(it, struct world_link, link);
            struct trunk *t = list_entry(w->x->trunks.next, struct trunk, link);

            if (l->wire->link && l->wire->link == session_link(t->carrier.session)) {
                drop_link(l);
                break;
            }
        }
        assert_not_dialed(d);
        world_settle(w);
        assert_dialed(d, EXIT_OK);
        world_answer_held(w, steps[i]);
        ck_assert_uint_eq(w->x->n_trunks, 1);
        if (i < 1)
            teardown();
    }
}
END_TEST

START_TEST(the_streams_of_a_lost_trunk_are_reset_and_no_others)
{
    struct front_dial *d, *other;

    setup_ready();
    d = dialed(PEER);
    other = dialed(PEER);
    ck_assert_uint_eq(w->x->n_trunks, 2);
    drop_link(list_entry(w->connections.next, struct world_connection, link)->control);
    world_settle(w);
    ck_assert_uint_eq(d->n_closed, 1);
    ck_assert_int_eq(d->closed_reason, -ECONNRESET);
    ck_assert_uint_eq(other->n_closed, 0);
    ck_assert_uint_eq(w->counters.upstream_streams, 1);
}
END_TEST

START_TEST(a_dial_answered_by_the_loss_of_its_trunk_may_hang_up_another_on_it)
{
    struct front_dial *d, *other;
    struct trunk *t;

    setup_ready();
    a->rules[STUN_CONNECT].hold = true;
    d = front_dial(w, PEER);
    other = front_dial(w, PEER2);
    d->then = hang_up_next;
    world_settle(w);
    ck_assert_uint_eq(world_n_held(w, STUN_CONNECT), 2);
    t = list_entry(w->x->trunks.next, struct trunk, link);
    list_entry(t->dials.next, struct dial, on_trunk)->n_tries = 4; /* its last */
    world_drop(w, a);
    assert_dialed(d, EXIT_E_DOWN);
    world_settle(w);
    assert_not_dialed(other);
}
END_TEST

START_TEST(after_a_switch_dials_go_by_the_relay_that_was_chosen)
{
    struct front_dial *d;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    a->refuses = -ECONNREFUSED;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    d = dialed(PEER);
    a->refuses = 0;
    world_pass_ms(w, 60000);
    (void)dialed(PEER2);
    ck_assert_ptr_eq(last_connection()->control->server, a);
    ck_assert_uint_eq(d->n_closed, 0);
}
END_TEST

START_TEST(a_trunk_that_is_being_made_on_an_old_relay_keeps_nobody_waiting)
{
    struct front_dial *d, *e;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    a->refuses = -ECONNREFUSED;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    (void)dialed(PEER);
    world_pass_ms(w, 50000);
    world_server(w, SERVER_B)->rules[STUN_ALLOCATE].hold = true;
    d = front_dial(w, PEER);
    e = front_dial(w, PEER);
    a->refuses = 0;
    world_pass_ms(w, 11000);
    assert_dialed(d, EXIT_OK);
    assert_dialed(e, EXIT_OK);
    ck_assert_ptr_eq(last_connection()->control->server, a);
}
END_TEST

/* ---- limits ---- */

START_TEST(without_further_allocations_idle_trunks_serve_other_peers)
{
    struct front_dial *d;

    setup_ready();
    (void)dialed(PEER);
    a->rules[STUN_ALLOCATE].code = 486;
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_E_CAPACITY);
    ck_assert_int_eq(world_status(w, true).state, UPSTREAM_READY);
    (void)dialed(PEER2);
}
END_TEST

START_TEST(without_further_allocations_a_peer_that_cools_down_is_tried)
{
    setup_ready();
    front_hang_up(dialed(PEER));
    a->rules[STUN_ALLOCATE].code = 486;
    (void)dialed(PEER);
    ck_assert_uint_eq(w->x->n_trunks, 1);
}
END_TEST

START_TEST(a_relay_that_refused_a_trunk_is_asked_again_after_five_seconds)
{
    struct front_dial *d;
    unsigned int n;

    setup_ready();
    (void)dialed(PEER);
    a->rules[STUN_ALLOCATE].code = 486;
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_E_CAPACITY);
    n = a->n_asked[STUN_ALLOCATE];
    a->rules[STUN_ALLOCATE].code = 0;
    world_pass_ms(w, 4900);
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_E_CAPACITY);
    ck_assert_uint_eq(a->n_asked[STUN_ALLOCATE], n);
    world_pass_ms(w, 200);
    (void)dialed(PEER);
}
END_TEST

START_TEST(more_connects_than_an_allocation_can_have_at_a_time_take_another_trunk)
{
    struct front_dial *d[70];
    char peer[32];

    setup_ready();
    a->rules[STUN_CONNECT].hold = true;
    for (unsigned int i = 0; i < 70; i++) {
        snprintf(peer, sizeof(peer), "203.0.113.9:%u", 1000 + i);
        d[i] = front_dial(w, peer);
    }
    world_settle(w);
    ck_assert_uint_eq(world_n_held(w, STUN_CONNECT), 70);
    world_answer_held(w, STUN_CONNECT);
    for (unsigned int i = 0; i < 70; i++)
        assert_dialed(d[i], EXIT_OK);
    ck_assert_uint_ge(w->x->n_trunks, 2);
}
END_TEST

START_TEST(there_are_never_more_trunks_than_the_limit)
{
    struct front_dial *d[TRUNKS_MAX + 2];

    setup_ready();
    for (unsigned int i = 0; i < TRUNKS_MAX + 2; i++)
        d[i] = front_dial(w, PEER);
    world_settle(w);
    for (unsigned int i = 0; i < TRUNKS_MAX; i++)
        assert_dialed(d[i], EXIT_OK);
    assert_dialed(d[TRUNKS_MAX], EXIT_E_CAPACITY);
    assert_dialed(d[TRUNKS_MAX + 1], EXIT_E_CAPACITY);
    ck_assert_uint_eq(w->x->n_trunks, TRUNKS_MAX);
    (void)dialed(PEER2);
    ck_assert_uint_eq(a->n_doubled, 0);
    /* One that is free again makes room. */
    front_hang_up(d[3]);
    world_pass_ms(w, 1000);
    ck_assert_uint_eq(w->x->n_trunks, TRUNKS_MAX - 1);
    (void)dialed(PEER);
}
END_TEST

START_TEST(a_peer_by_ipv6_has_a_trunk_of_its_own)
{
    struct addr relayed = at(RELAYED6);
    struct front_dial *d;

    setup_ready();
    d = dialed(PEER6);
    ck_assert(addr_equal(&d->relayed, &relayed));
    ck_assert_uint_eq(trunk_count(w->x, ADDR_IPV6), 1);
    ck_assert_uint_eq(trunk_count(w->x, ADDR_IPV4), 1);
}
END_TEST

START_TEST(a_relay_without_ipv6_is_not_asked_again_for_a_minute)
{
    struct front_dial *d;
    unsigned int n;

    setup_ready();
    a->no_v6 = true;
    d = front_dial(w, PEER6);
    world_settle(w);
    assert_dialed(d, EXIT_E_FAMILY);
    n = a->n_asked[STUN_ALLOCATE];
    world_pass_ms(w, 59000);
    d = front_dial(w, PEER6);
    world_settle(w);
    assert_dialed(d, EXIT_E_FAMILY);
    ck_assert_uint_eq(a->n_asked[STUN_ALLOCATE], n);
    (void)dialed(PEER); /* IPv4 is as it was */
    a->no_v6 = false;
    world_pass_ms(w, 1500);
    (void)dialed(PEER6);
}
END_TEST

START_TEST(another_relay_is_asked_for_ipv6_at_once)
{
    struct front_dial *d;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    a->no_v6 = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    d = front_dial(w, PEER6);
    world_settle(w);
    assert_dialed(d, EXIT_E_FAMILY);
    a->refuses = -ECONNREFUSED;
    world_drop(w, a);
    world_settle(w);
    (void)dialed(PEER6);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/trunk");
    TCase *t;

    t = tcase_create("the relay");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_dial_waits_ten_seconds_for_a_relay);
    tcase_add_test(t, a_dial_goes_on_when_the_relay_is_found);
    tcase_add_test(t, a_dial_whose_relay_is_lost_in_any_step_goes_to_the_next);
    tcase_add_test(t, a_trunk_alone_lost_in_any_step_sends_the_dial_to_another);
    tcase_add_test(t, the_streams_of_a_lost_trunk_are_reset_and_no_others);
    tcase_add_test(t, a_dial_answered_by_the_loss_of_its_trunk_may_hang_up_another_on_it);
    tcase_add_test(t, after_a_switch_dials_go_by_the_relay_that_was_chosen);
    tcase_add_test(t, a_trunk_that_is_being_made_on_an_old_relay_keeps_nobody_waiting);
    suite_add_tcase(s, t);

    t = tcase_create("limits");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, without_further_allocations_idle_trunks_serve_other_peers);
    tcase_add_test(t, without_further_allocations_a_peer_that_cools_down_is_tried);
    tcase_add_test(t, a_relay_that_refused_a_trunk_is_asked_again_after_five_seconds);
    tcase_add_test(t, more_connects_than_an_allocation_can_have_at_a_time_take_another_trunk);
    tcase_add_test(t, there_are_never_more_trunks_than_the_limit);
    tcase_add_test(t, a_peer_by_ipv6_has_a_trunk_of_its_own);
    tcase_add_test(t, a_relay_without_ipv6_is_not_asked_again_for_a_minute);
    tcase_add_test(t, another_relay_is_asked_for_ipv6_at_once);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
