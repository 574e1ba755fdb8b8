#include <errno.h>

#include "tests/support/upstream_world.h"

static struct upstream_world *w;

static void teardown(void)
{
    world_free(w);
    w = NULL;
}

static void assert_at(bool streams, const char *server)
{
    struct upstream_status status = world_status(w, streams);
    struct addr addr = at(server);

    ck_assert_int_eq(status.state, UPSTREAM_READY);
    ck_assert(addr_equal(&status.server, &addr));
}

/* ---- later ---- */

static void go_refused(void)
{
    w = world_new(0);
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_server(w, SERVER_A)->why = "connection refused";
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_go(w, 0);
}

static void go_second_best(unsigned int ready)
{
    w = world_new(ready);
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    assert_at(false, SERVER_B);
}

START_TEST(a_better_url_is_tried_every_minute_and_its_failure_changes_nothing)
{
    struct front_assoc *f;
    unsigned int n_states, n_links;

    go_second_best(0);
    f = front_open_v4(w);
    world_settle(w);
    n_states = w->n_states;
    n_links = world_server(w, SERVER_A)->n_links;
    world_pass_ms(w, 59999);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, n_links);
    world_pass_ms(w, 1);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, n_links + 2);
    world_pass_ms(w, 60000);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, n_links + 4);
    ck_assert_uint_eq(w->n_states, n_states);
    assert_at(false, SERVER_B);
    assert_at(true, SERVER_B);
    ck_assert_uint_eq(f->n_lost, 0);
}
END_TEST

START_TEST(a_better_url_that_is_back_is_taken_and_what_runs_is_left_alone)
{
    struct front_assoc *f, *g;
    struct front_dial *d;

    go_second_best(0);
    f = front_open_v4(w);
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_OK);
    world_server(w, SERVER_A)->refuses = 0;
    world_pass_ms(w, 60000);
    assert_at(false, SERVER_A);
    assert_at(true, SERVER_A);
    ck_assert_uint_eq(f->n_lost, 0);
    ck_assert_uint_eq(d->n_closed, 0);
    world_pass_ms(w, 120000);
    ck_assert_uint_eq(f->n_lost, 0);
    ck_assert_uint_eq(d->n_closed, 0);
    g = front_open_v4(w);
    world_settle(w);
    ck_assert_int_eq(g->opened.result, EXIT_OK);
    ck_assert(addr_equal(&g->assoc->carrier.target->server, &world_server(w, SERVER_A)->addr));
    ck_assert_uint_eq(world_server(w, SERVER_B)->n_links, 3); /* find's two and d's data */
}
END_TEST

START_TEST(what_is_lost_on_the_old_relay_says_nothing_about_the_new_one)
{
    struct front_assoc *f;
    struct front_dial *d;
    unsigned int n;

    go_second_best(0);
    f = front_open_v4(w);
    d = front_dial(w, PEER);
    world_settle(w);
    world_server(w, SERVER_A)->refuses = 0;
    world_pass_ms(w, 61000);
    assert_at(false, SERVER_A);
    n = world_server(w, SERVER_A)->n_links;
    world_drop(w, world_server(w, SERVER_B));
    world_settle(w);
    ck_assert_uint_eq(f->n_lost, 1);
    ck_assert_uint_eq(d->n_closed, 1);
    assert_at(false, SERVER_A);
    assert_at(true, SERVER_A);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, n);
}
END_TEST

START_TEST(the_best_url_is_never_left_for_another)
{
    w = world_new(0);
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    world_pass_ms(w, 600000);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, 2);
    ck_assert_uint_eq(world_server(w, SERVER_B)->n_links, 0);
}
END_TEST

START_TEST(a_relay_that_is_lost_is_left_for_the_next)
{
    struct front_assoc *f;
    struct front_dial *d;

    w = world_new(1);
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    f = front_open_v4(w);
    d = front_dial(w, PEER);
    world_settle(w);
    world_server(w, SERVER_A)->refuses = -ECONNREFUSED;
    world_drop(w, world_server(w, SERVER_A));
    ck_assert_uint_eq(f->n_lost, 1);
    ck_assert_int_eq(f->lost, EXIT_E_DOWN);
    world_settle(w);
    assert_at(false, SERVER_B);
    assert_at(true, SERVER_B);
    ck_assert_uint_eq(d->n_closed, 1);
    ck_assert_int_eq(d->closed_reason, -ECONNRESET);
    world_pass_ms(w, 2000);
    ck_assert_uint_eq(world_n_open(w, world_server(w, SERVER_A)), 0);
    ck_assert_uint_eq(f->n_lost, 1);
}
END_TEST

START_TEST(a_relay_that_takes_back_what_it_gives_makes_room_for_the_next)
{
    w = world_new(1);
    world_server(w, SERVER_A)->takes_back = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    assert_at(false, SERVER_B);
    assert_at(true, SERVER_B);
    ck_assert_uint_le(world_server(w, SERVER_A)->n_links, 6);
}
END_TEST

START_TEST(a_relay_that_takes_back_what_it_gives_is_not_pestered)
{
    w = world_new(1);
    world_server(w, SERVER_A)->takes_back = true;
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_go(w, 0);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_DOWN);
    world_pass_ms(w, 120000);
    ck_assert_uint_le(world_server(w, SERVER_A)->n_asked[STUN_ALLOCATE], 20);
    world_server(w, SERVER_A)->takes_back = false;
    world_pass_ms(w, 75000);
    assert_at(false, SERVER_A);
}
END_TEST

START_TEST(a_relay_that_falls_silent_is_left_within_half_a_minute)
{
    struct front_assoc *f;

    w = world_new(1);
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_url(w, 0, HOST_B, LISTEN_UDP);
    world_go(w, 0);
    f = front_open_v4(w);
    world_settle(w);
    world_server(w, SERVER_A)->deaf = true;
    world_server(w, SERVER_A)->rules[STUN_REFRESH].hold = true;
    world_pass_ms(w, 45000);
    ck_assert_uint_eq(f->n_lost, 1);
    assert_at(false, SERVER_B);
}
END_TEST

START_TEST(names_are_asked_for_anew_when_a_relay_is_found)
{
    unsigned int n;

    go_refused();
    n = fake_resolver_n_restarts();
    world_server(w, SERVER_A)->refuses = 0;
    world_pass_ms(w, 2000);
    assert_at(false, SERVER_A);
    ck_assert_uint_gt(fake_resolver_n_restarts(), n);
}
END_TEST

START_TEST(the_status_shows_what_peers_see)
{
    struct addr v4 = at(RELAYED), v6 = at(RELAYED6);
    struct upstream_status status;

    w = world_ready(1);
    status = world_status(w, false);
    ck_assert(addr_equal(&status.relayed_v4, &v4));
    ck_assert(addr_equal(&status.relayed_v6, &v6));
    ck_assert_uint_gt(status.rtt_us, 0);
    status = world_status(w, true);
    ck_assert(addr_equal(&status.relayed_v4, &v4));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/switch");
    TCase *t;

    t = tcase_create("later");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_better_url_is_tried_every_minute_and_its_failure_changes_nothing);
    tcase_add_test(t, a_better_url_that_is_back_is_taken_and_what_runs_is_left_alone);
    tcase_add_test(t, what_is_lost_on_the_old_relay_says_nothing_about_the_new_one);
    tcase_add_test(t, the_best_url_is_never_left_for_another);
    tcase_add_test(t, a_relay_that_is_lost_is_left_for_the_next);
    tcase_add_test(t, a_relay_that_takes_back_what_it_gives_makes_room_for_the_next);
    tcase_add_test(t, a_relay_that_takes_back_what_it_gives_is_not_pestered);
    tcase_add_test(t, a_relay_that_falls_silent_is_left_within_half_a_minute);
    tcase_add_test(t, names_are_asked_for_anew_when_a_relay_is_found);
    tcase_add_test(t, the_status_shows_what_peers_see);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
