#include <errno.h>
#include <stdio.h>

#include "tests/support/upstream_world.h"

static struct upstream_world *w;
static struct fake_server *a, *b;

static const struct assoc_want tcp_want = {.tcp = true, .v4 = true};

static void teardown(void)
{
    world_free(w);
    w = NULL;
}

static void setup_ready(void)
{
    w = world_ready(1);
    a = world_server(w, SERVER_A);
    b = world_server(w, SERVER_B);
}

static struct front_dial *dialed(const char *peer)
{
    struct front_dial *d = front_dial(w, peer);

    world_settle(w);
    assert_dialed(d, EXIT_OK);
    return d;
}

/* ---- the same ---- */

START_TEST(the_same_configuration_changes_nothing)
{
    struct front_assoc *f;
    struct front_dial *d;
    unsigned int n_links, n_states;

    setup_ready();
    f = front_open_v4(w);
    d = dialed(PEER);
    world_pass_ms(w, 1000);
    n_links = a->n_links;
    n_states = w->n_states;
    world_url(w, 1, HOST_A, LISTEN_TCP);
    world_go(w, 1);
    w->conf[0] = (struct conf){0}; /* it may be freed now */
    world_pass_ms(w, 10000);
    ck_assert_uint_eq(f->n_lost, 0);
    ck_assert_uint_eq(d->n_closed, 0);
    ck_assert_uint_eq(a->n_links, n_links);
    ck_assert_uint_eq(w->n_states, n_states);
    (void)dialed(PEER);
}
END_TEST

START_TEST(whatever_differs_in_upstream_starts_over)
{
    static char other[] = "other", file[] = "/some/ca.pem", text[] = HOST_A;
    static uint8_t pins[2][32] = {{1}, {2}};
    struct addr dns = at("192.0.2.54:53");

    for (unsigned int i = 0; i < 8; i++) {
        struct conf *conf;

        setup_ready();
        world_url(w, 1, i == 0 ? HOST_B : text, i == 1 ? LISTEN_TLS : LISTEN_TCP);
        conf = &w->conf[1];
        conf->url[0].port = i == 2 ? 3479 : 3478;
        if (i == 2)
            world_server(w, "192.0.2.10:3479");
        conf->upstream_user = i == 3 ? other : conf->upstream_user;
        conf->upstream_password = i == 4 ? other : conf->upstream_password;
        conf->ca_file = i == 5 ? file : NULL;
        conf->pin = pins;
        conf->n_pin = i == 6 ? 1 : 0;
        conf->dns = i == 7 ? &dns : conf->dns;
        world_go(w, 1);
        ck_assert_uint_eq(a->n_deleted, 2);
        if (i < 7)
            teardown();
    }
}
END_TEST

/* ---- another ---- */

static void go_b(void)
{
    world_url(w, 1, HOST_B, LISTEN_TCP);
    world_go(w, 1);
}

START_TEST(another_configuration_loses_what_is_open_and_finds_the_new_relay)
{
    struct front_assoc *f, *g;
    struct front_dial *d;

    setup_ready();
    f = front_open_v4(w);
    g = front_open(w, &tcp_want);
    d = dialed(PEER);
    ck_assert_int_eq(g->opened.result, EXIT_OK);
    go_b();
    ck_assert_uint_eq(f->n_lost, 1);
    ck_assert_int_eq(f->lost, EXIT_E_DOWN);
    ck_assert_uint_eq(g->n_lost, 1);
    ck_assert_uint_eq(d->n_closed, 1);
    ck_assert_int_eq(d->closed_reason, -ECONNRESET);
    ck_assert_uint_eq(world_n_open(w, a), 0);
    ck_assert_int_eq(world_status(w, true).state, UPSTREAM_READY);
    ck_assert(addr_equal(&w->x->datagrams.current->server, &b->addr));
    world_settle(w);
    ck_assert_uint_eq(front_open_v4(w)->n_open, 1);
    (void)dialed(PEER);
}
END_TEST

START_TEST(an_association_that_is_opening_goes_on_with_the_new_relay)
{
    static const struct assoc_want even = {.v4 = true, .even_port = true};
    struct front_assoc *f;

    setup_ready();
    a->hold_even = true;
    f = front_open(w, &even);
    world_settle(w);
    ck_assert_uint_eq(f->n_open, 0);
    go_b();
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert_uint_eq(f->n_lost, 0);
}
END_TEST

START_TEST(dials_under_way_in_any_step_end_with_the_old_configuration)
{
    static const enum stun_method steps[] = {STUN_ALLOCATE, STUN_CONNECT, STUN_CONNECTION_BIND};

    for (size_t i = 0; i < 3; i++) {
        struct front_dial *d, *waits;

        setup_ready();
        (void)dialed(PEER);
        a->rules[steps[i]].hold = true;
        d = front_dial(w, steps[i] == STUN_ALLOCATE ? PEER : PEER2);
        world_settle(w);
        waits = front_dial(w, PEER2);
        ck_assert_uint_ge(world_n_held(w, steps[i]), 1);
        ck_assert_int_eq(upstream_exit_set_conf(w->exit, &w->conf[1]), 0);
        assert_dialed(d, EXIT_E_DOWN);
        assert_dialed(waits, EXIT_E_DOWN);
        ck_assert_int_eq(world_status(w, true).state, UPSTREAM_OFF);
        if (i < 2)
            teardown();
    }
}
END_TEST

static void open_another(struct front_assoc *f)
{
    f->then = NULL;
    if (f->n_lost > 0)
        (void)front_open_v4(f->world);
}

START_TEST(a_front_may_open_again_when_it_is_told_of_the_loss)
{
    struct front_assoc *f;

    setup_ready();
    f = front_open_v4(w);
    f->then = open_another;
    go_b();
    f = list_entry(w->assocs.prev, struct front_assoc, link);
    ck_assert_uint_eq(f->n_lost, 0);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
}
END_TEST

static void dial_another(struct front_dial *d)
{
    d->then = NULL;
    (void)front_dial(d->world, PEER2);
}

START_TEST(a_front_may_dial_again_when_it_is_told_of_the_loss)
{
    struct front_dial *d;

    setup_ready();
    a->rules[STUN_CONNECT].hold = true;
    d = front_dial(w, PEER);
    d->then = dial_another;
    world_settle(w);
    go_b();
    assert_dialed(d, EXIT_E_DOWN);
    assert_dialed(list_entry(w->dials.prev, struct front_dial, link), EXIT_OK);
}
END_TEST

START_TEST(a_front_may_close_all_when_it_is_told_of_the_loss)
{
    struct front_assoc *f[3];

    setup_ready();
    for (unsigned int i = 0; i < 3; i++) {
        f[i] = front_open_v4(w);
        world_settle(w);
        f[i]->closes = true;
    }
    go_b();
    for (unsigned int i = 0; i < 3; i++)
        ck_assert_uint_eq(f[i]->n_lost, 1);
}
END_TEST

START_TEST(a_configuration_whose_ca_cannot_be_read_changes_nothing)
{
    static char bad[] = WORLD_BAD_CA;
    struct front_assoc *f;

    setup_ready();
    f = front_open_v4(w);
    world_url(w, 1, HOST_B, LISTEN_TCP);
    w->conf[1].ca_file = bad;
    ck_assert_int_eq(upstream_exit_set_conf(w->exit, &w->conf[1]), -EINVAL);
    world_pass_ms(w, 5000);
    ck_assert_uint_eq(f->n_lost, 0);
    ck_assert_uint_eq(b->n_links, 0);
    (void)dialed(PEER);
}
END_TEST

START_TEST(a_search_under_way_is_given_up_for_the_new_configuration)
{
    w = world_new(1);
    a = world_server(w, SERVER_A);
    b = world_server(w, SERVER_B);
    a->deaf = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_C, LISTEN_TCP);
    world_go(w, 0);
    world_pass_ms(w, 1000);
    go_b();
    world_pass_ms(w, 10000);
    ck_assert_int_eq(world_status(w, true).state, UPSTREAM_READY);
    ck_assert(addr_equal(&w->x->streams.current->server, &b->addr));
    ck_assert_uint_eq(world_server(w, SERVER_C)->n_links, 0);
    ck_assert_uint_eq(world_n_open(w, a), 0);
}
END_TEST

/* ---- the end ---- */

/* world_free() closes what the front has and looks for what is left. */
START_TEST(the_exit_may_be_freed_in_every_state)
{
    for (unsigned int step = 0; step < 8; step++) {
        w = world_new(step % 2);
        a = world_server(w, SERVER_A);
        if (step == 0)
            fake_resolver_hang("hangs.test");
        a->deaf = step == 1;
        a->refuses = step == 2 ? -ECONNREFUSED : 0;
        a->rules[STUN_ALLOCATE].hold = step == 3;
        world_url(w, 0, step == 0 ? "hangs.test" : HOST_A, LISTEN_TCP);
        world_go(w, 0);
        a->rules[STUN_ALLOCATE].hold = step == 3 || step == 4;
        a->rules[STUN_CONNECT].hold = step == 5;
        a->rules[STUN_CONNECTION_BIND].hold = step == 6;
        (void)front_open_v4(w);
        (void)front_open(w, &tcp_want);
        (void)front_dial(w, PEER);
        (void)front_dial(w, PEER);
        world_settle(w);
        if (step < 7)
            teardown();
    }
}
END_TEST

START_TEST(an_exit_without_a_configuration_may_be_freed)
{
    w = world_new(1);
}
END_TEST

START_TEST(allocations_are_given_back_at_the_end)
{
    setup_ready();
    (void)front_open_v4(w);
    (void)dialed(PEER);
    world_settle(w);
    ck_assert_uint_gt(w->counters.upstream_sessions, 0);
    ck_assert_uint_eq(a->n_deleted, 0);
    for (struct list *it = w->assocs.next; it != &w->assocs; it = it->next)
        front_close(list_entry(it, struct front_assoc, link));
    world_settle(w);
    ck_assert_uint_eq(a->n_deleted, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/reload");
    TCase *t;

    t = tcase_create("the same");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, the_same_configuration_changes_nothing);
    tcase_add_test(t, whatever_differs_in_upstream_starts_over);
    suite_add_tcase(s, t);

    t = tcase_create("another");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, another_configuration_loses_what_is_open_and_finds_the_new_relay);
    tcase_add_test(t, an_association_that_is_opening_goes_on_with_the_new_relay);
    tcase_add_test(t, dials_under_way_in_any_step_end_with_the_old_configuration);
    tcase_add_test(t, a_front_may_open_again_when_it_is_told_of_the_loss);
    tcase_add_test(t, a_front_may_dial_again_when_it_is_told_of_the_loss);
    tcase_add_test(t, a_front_may_close_all_when_it_is_told_of_the_loss);
    tcase_add_test(t, a_configuration_whose_ca_cannot_be_read_changes_nothing);
    tcase_add_test(t, a_search_under_way_is_given_up_for_the_new_configuration);
    suite_add_tcase(s, t);

    t = tcase_create("the end");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, the_exit_may_be_freed_in_every_state);
    tcase_add_test(t, an_exit_without_a_configuration_may_be_freed);
    tcase_add_test(t, allocations_are_given_back_at_the_end);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
