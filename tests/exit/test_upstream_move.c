/* Associations whose way to the relay is gone, where the relay has mobility (RFC 8016). */
#include <string.h>

#include "common/wire/channel.h"
#include "tests/exit/upstream_mobile_env.h"

static void setup(void)
{
    setup_by(LISTEN_TCP, 0);
}

static bool is_moving(const struct front_assoc *front)
{
    return front->assoc->carrier.session && session_is_moving(front->assoc->carrier.session);
}

/* Its link, or NULL while it has none. */
static struct world_link *link_of(const struct front_assoc *front)
{
    struct link *link = session_link(front->assoc->carrier.session);

    for (struct list *it = w->links.next; link && it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        if (l->wire->link == link)
            return l;
    }
    return NULL;
}

static void drop(struct front_assoc *front)
{
    drop_link(link_of(front));
}

static void go_away(void)
{
    a->refuses = -ECONNREFUSED;
    a->why = "refused";
    world_drop(w, a);
    world_settle(w);
}

static void send_to_peer(struct front_assoc *front)
{
    struct addr peer = at(PEER);

    w->exit->ops->send(front->assoc, &peer, (const uint8_t *)"out", 3, false);
    world_settle(w);
}

/* Datagrams flow both ways, by the link that is there now. */
static void assert_flows(struct front_assoc *front)
{
    struct world_link *l = link_of(front);
    unsigned int n = front->n_datagrams;
    size_t n_sent;

    ck_assert_ptr_nonnull(l);
    send_to_peer(front); /* the first one may have to ask for a permission */
    n_sent = l->wire->n_sent;
    send_to_peer(front);
    ck_assert_uint_gt(l->wire->n_sent, n_sent);
    fake_relay_data(&l->relay, PEER, "in", 2);
    ck_assert_uint_eq(front->n_datagrams, n + 1);
}

static void assert_lost(const struct front_assoc *front)
{
    ck_assert_uint_eq(front->n_lost, 1);
    ck_assert_int_eq(front->lost, EXIT_E_DOWN);
}

static void assert_heard_nothing(const struct front_assoc *front)
{
    ck_assert_uint_eq(front->n_open, 1);
    ck_assert_uint_eq(front->n_lost, 0);
}

/* ---- it goes on ---- */

START_TEST(a_connection_that_breaks_is_nothing_to_the_front)
{
    static const unsigned int protocols[] = {LISTEN_TCP, LISTEN_UDP, LISTEN_TLS, LISTEN_DTLS};
    struct world_link *old;
    struct session *session;

    setup_by(protocols[_i / 2], 0);
    assert_flows(f);
    old = link_of(f);
    session = f->assoc->carrier.session;
    if (_i % 2 == 0)
        drop(f);
    else
        world_drop(w, a);
    ck_assert(is_moving(f));
    world_settle(w);
    assert_heard_nothing(f);
    ck_assert_ptr_eq(f->assoc->carrier.session, session);
    ck_assert_ptr_ne(link_of(f), old);
    assert_flows(f);
    ck_assert_uint_eq(a->n_moved, 1);
    ck_assert_uint_eq(a->n_strange, 0);
    ck_assert_uint_eq(w->counters.upstream_moves, 1);
    ck_assert_ptr_eq(f->assoc->carrier.target, w->x->datagrams.current);
    world_pass_ms(w, 700000);
    assert_heard_nothing(f);
    assert_flows(f);
}
END_TEST

START_TEST(it_goes_on_as_often_as_the_connection_breaks)
{
    setup();
    for (unsigned int i = 0; i < 5; i++) {
        drop(f);
        world_pass_ms(w, 3000);
        assert_flows(f);
    }
    assert_heard_nothing(f);
    ck_assert_uint_eq(a->n_moved, 5);
}
END_TEST

START_TEST(a_relay_that_was_away_for_a_while_finds_everyone_again)
{
    struct front_assoc *others[10];
    unsigned int n_sessions;

    setup();
    for (size_t i = 0; i < 10; i++)
        others[i] = front_open_v4(w);
    world_settle(w);
    n_sessions = w->x->n_sessions;
    go_away();
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_DOWN);
    world_pass_ms(w, 25000);
    assert_heard_nothing(f);
    a->refuses = 0;
    world_pass_ms(w, 4000); /* nobody waits longer than for the next hurried search */
    assert_flows(f);
    for (size_t i = 0; i < 10; i++) {
        assert_heard_nothing(others[i]);
        assert_flows(others[i]);
    }
    ck_assert_uint_eq(a->n_moved, 11);
    ck_assert_uint_eq(a->n_strange, 0);
    ck_assert_uint_ge(w->x->n_sessions, n_sessions);
}
END_TEST

START_TEST(a_relay_that_fell_silent_finds_everyone_again)
{
    setup_by(LISTEN_UDP, 0);
    a->deaf = true;
    a->rules[STUN_REFRESH].hold = true;
    for (int i = 0; i < 100 && !is_moving(f); i++)
        world_pass_ms(w, 500);
    ck_assert(is_moving(f));
    world_pass_ms(w, 10000);
    a->deaf = false;
    a->rules[STUN_REFRESH].hold = false;
    world_pass_ms(w, 4000);
    assert_heard_nothing(f);
    assert_flows(f);
}
END_TEST

START_TEST(what_is_sent_meanwhile_is_dropped_and_counted)
{
    setup();
    assert_flows(f);
    go_away();
    send_to_peer(f);
    send_to_peer(f);
    ck_assert_uint_eq(w->counters.drop_down, 2);
    assert_heard_nothing(f);
}
END_TEST

START_TEST(who_asks_for_a_permission_meanwhile_waits)
{
    struct addr peer = at(PEER);

    setup();
    go_away();
    ck_assert_int_eq(w->exit->ops->permit(f->assoc, &peer), EXIT_PENDING);
    a->refuses = 0;
    world_pass_ms(w, 4000);
    ck_assert_int_eq(w->exit->ops->permit(f->assoc, &peer), EXIT_OK);
}
END_TEST

START_TEST(a_link_that_cannot_be_made_is_made_later)
{
    setup_by(LISTEN_TCP, 1); /* the ready ones keep the relay found */
    fake_link_error = -EMFILE;
    drop(f);
    world_settle(w);
    ck_assert(is_moving(f));
    world_pass_ms(w, 5000);
    ck_assert(is_moving(f));
    fake_link_error = 0;
    world_pass_ms(w, 4000);
    assert_flows(f);
    assert_heard_nothing(f);
}
END_TEST

START_TEST(a_relay_that_forbids_mobility_is_asked_by_find_only_and_each_time)
{
    unsigned int n;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    a->forbids_mobility = a->mobile = true;
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_go(w, 0);
    f = front_open_v4(w);
    world_pass_ms(w, 2500);
    n = a->n_asked[STUN_ALLOCATE];
    ck_assert_uint_eq(n, 2);
    f = front_open_v4(w);
    world_settle(w);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert_uint_eq(a->n_asked[STUN_ALLOCATE], n + 1);
    a->forbids_mobility = false;
    drop(f);
    assert_lost(f);
    world_settle(w);
    f = front_open_v4(w);
    world_pass_ms(w, 2500);
    drop(f);
    world_settle(w);
    assert_heard_nothing(f);
    assert_flows(f);
}
END_TEST

/* ---- the quota ---- */

START_TEST(a_quota_that_those_who_move_have_used_up_does_not_keep_them)
{
    setup_by(LISTEN_TCP, (unsigned int)_i);
    world_drop(w, a);
    a->rules[STUN_ALLOCATE].code = 486;
    world_settle(w);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    assert_heard_nothing(f);
    assert_flows(f);
    ck_assert_uint_eq(a->n_moved, 1);
    world_pass_ms(w, 60000);
    assert_flows(f);
}
END_TEST

START_TEST(a_quota_that_others_have_used_up_is_no_relay_for_us)
{
    setup_by(LISTEN_TCP, 1);
    front_close(f);
    world_settle(w);
    world_drop(w, a); /* what was made ahead says so */
    a->rules[STUN_ALLOCATE].code = 486;
    world_settle(w);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_DOWN);
}
END_TEST

/* ---- it does not go on ---- */

START_TEST(a_relay_without_mobility_is_lost_as_ever)
{
    setup();
    front_close(f);
    world_settle(w);
    a->mobile = false;
    f = front_open_v4(w);
    world_settle(w);
    drop(f);
    assert_lost(f);
    ck_assert_uint_eq(w->counters.upstream_moves, 0);
}
END_TEST

START_TEST(a_relay_that_was_restarted_is_not_searched_for_twice)
{
    struct front_assoc *other;
    unsigned int n_links;

    setup();
    other = front_open_v4(w);
    world_settle(w);
    n_links = a->n_links;
    world_forget(w, a);
    world_drop(w, a);
    world_settle(w);
    assert_lost(f);
    assert_lost(other);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    world_pass_ms(w, 1000);
    /* Each find's, and one for each that asked in vain. */
    ck_assert_uint_eq(a->n_links, n_links + 4);
    ck_assert_uint_eq(a->n_moved, 0);
}
END_TEST

START_TEST(another_relay_is_not_taken_for_the_one_that_is_gone)
{
    w = world_new(0);
    a = world_server(w, SERVER_A);
    a->mobile = true;
    world_server(w, SERVER_B)->mobile = _i == 0;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    f = front_open_v4(w);
    world_pass_ms(w, 2500);
    world_server(w, SERVER_B)->rules[STUN_REFRESH].code = _i == 0 ? 0 : 437;
    go_away();
    assert_lost(f);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    ck_assert_uint_eq(world_server(w, SERVER_B)->n_moved, 0);
}
END_TEST

START_TEST(a_relay_that_stays_away_is_waited_for_three_quarters_of_a_minute)
{
    setup();
    go_away();
    world_pass_ms(w, 44000);
    assert_heard_nothing(f);
    world_pass_ms(w, 1000);
    assert_lost(f);
    ck_assert_uint_eq(w->x->n_sessions, 0);
}
END_TEST

START_TEST(one_that_is_closed_meanwhile_is_gone)
{
    setup();
    go_away();
    front_close(f);
    ck_assert_uint_eq(w->x->n_sessions, 0);
    a->refuses = 0;
    world_pass_ms(w, 4000);
    ck_assert_uint_eq(a->n_moved, 0);
}
END_TEST

START_TEST(with_a_new_configuration_it_is_lost)
{
    setup();
    go_away();
    world_url(w, 1, HOST_B, LISTEN_TCP);
    world_server(w, SERVER_B);
    world_go(w, 1);
    assert_lost(f);
}
END_TEST

START_TEST(an_association_for_streams_does_not_move)
{
    static const struct assoc_want tcp_want = {.tcp = true, .v4 = true};
    struct front_assoc *tcp;

    setup();
    tcp = front_open(w, &tcp_want);
    world_settle(w);
    ck_assert_int_eq(tcp->opened.result, EXIT_OK);
    drop(tcp);
    assert_lost(tcp);
    assert_heard_nothing(f);
}
END_TEST

START_TEST(what_was_made_ahead_does_not_move)
{
    setup_by(LISTEN_TCP, 1);
    front_close(f);
    world_settle(w);
    world_drop(w, a);
    world_settle(w);
    world_pass_ms(w, 10000);
    ck_assert_uint_eq(a->n_moved, 0);
    ck_assert_uint_eq(w->x->n_ready_sessions, 1);
}
END_TEST

START_TEST(ipv6_of_its_own_waits_for_the_move)
{
    static const struct assoc_want both = {.v4 = true, .v6 = true};
    struct addr peer = at(PEER6);
    unsigned int n_links;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    a->mobile = a->v4_only = true;
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    f = front_open(w, &both);
    world_pass_ms(w, 2500);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    go_away();
    n_links = a->n_links;
    w->exit->ops->send(f->assoc, &peer, (const uint8_t *)"out", 3, false);
    ck_assert_ptr_null(f->assoc->v6.carrier.session);
    a->refuses = 0;
    world_pass_ms(w, 4000);
    w->exit->ops->send(f->assoc, &peer, (const uint8_t *)"out", 3, false);
    world_settle(w);
    ck_assert(f->assoc->v6.live);
    ck_assert_uint_gt(a->n_links, n_links);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/move");
    TCase *t;

    t = tcase_create("goes on");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, a_connection_that_breaks_is_nothing_to_the_front, 0, 8);
    tcase_add_test(t, it_goes_on_as_often_as_the_connection_breaks);
    tcase_add_test(t, a_relay_that_was_away_for_a_while_finds_everyone_again);
    tcase_add_test(t, a_relay_that_fell_silent_finds_everyone_again);
    tcase_add_test(t, what_is_sent_meanwhile_is_dropped_and_counted);
    tcase_add_test(t, who_asks_for_a_permission_meanwhile_waits);
    tcase_add_test(t, a_link_that_cannot_be_made_is_made_later);
    tcase_add_test(t, a_relay_that_forbids_mobility_is_asked_by_find_only_and_each_time);
    tcase_add_loop_test(t, a_quota_that_those_who_move_have_used_up_does_not_keep_them, 0, 2);
    tcase_add_test(t, a_quota_that_others_have_used_up_is_no_relay_for_us);
    suite_add_tcase(s, t);
    t = tcase_create("does not go on");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_relay_without_mobility_is_lost_as_ever);
    tcase_add_test(t, a_relay_that_was_restarted_is_not_searched_for_twice);
    tcase_add_loop_test(t, another_relay_is_not_taken_for_the_one_that_is_gone, 0, 2);
    tcase_add_test(t, a_relay_that_stays_away_is_waited_for_three_quarters_of_a_minute);
    tcase_add_test(t, one_that_is_closed_meanwhile_is_gone);
    tcase_add_test(t, with_a_new_configuration_it_is_lost);
    tcase_add_test(t, an_association_for_streams_does_not_move);
    tcase_add_test(t, what_was_made_ahead_does_not_move);
    tcase_add_test(t, ipv6_of_its_own_waits_for_the_move);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
