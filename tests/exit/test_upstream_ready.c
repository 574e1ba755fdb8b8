#include <errno.h>

#include "tests/support/upstream_world.h"

static struct upstream_world *w;
static struct fake_server *a, *b;

static void teardown(void)
{
    world_free(w);
    w = NULL;
}

static void setup_ready(void)
{
    w = world_ready(1);
    a = world_server(w, SERVER_A);
}

/* A refuses at first, B is taken; both are there for streams and datagrams. */
static void setup_two(void)
{
    w = world_new(1);
    a = world_server(w, SERVER_A);
    b = world_server(w, SERVER_B);
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
}

static const struct addr *server_of(const struct front_assoc *f)
{
    return &f->assoc->carrier.target->server;
}

/* ---- sessions ---- */

START_TEST(a_ready_session_is_handed_out_without_a_round_trip)
{
    struct addr v4 = at(RELAYED);
    struct front_assoc *f;

    setup_ready();
    a->deaf = true;
    a->rules[STUN_ALLOCATE].hold = true;
    f = front_open_v4(w);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert(addr_equal(&f->opened.relayed_v4, &v4));
}
END_TEST

START_TEST(a_ready_session_that_was_taken_is_made_again_at_once)
{
    unsigned int n;

    setup_ready();
    n = a->n_asked[STUN_ALLOCATE];
    (void)front_open_v4(w);
    world_settle(w);
    ck_assert_uint_eq(a->n_asked[STUN_ALLOCATE], n + 1);
    ck_assert_uint_eq(w->x->n_ready_sessions, 1);
    ck_assert_uint_eq(front_open_v4(w)->n_open, 1);
}
END_TEST

START_TEST(a_session_that_is_not_there_yet_is_not_handed_out)
{
    struct front_assoc *f;

    setup_ready();
    (void)front_open_v4(w);
    a->rules[STUN_ALLOCATE].hold = true;
    world_settle(w);
    f = front_open_v4(w);
    world_settle(w);
    ck_assert_uint_eq(f->n_open, 0);
    ck_assert_uint_eq(world_n_held(w, STUN_ALLOCATE), 2);
    world_answer_held(w, STUN_ALLOCATE);
    ck_assert_uint_eq(f->n_open, 1);
}
END_TEST

START_TEST(families_are_cut_to_what_was_asked_for)
{
    static const struct assoc_want v6 = {.v6 = true}, both = {.v4 = true, .v6 = true};
    struct front_assoc *f;

    setup_ready();
    f = front_open_v4(w);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.relayed_v4.family, ADDR_IPV4);
    ck_assert_int_eq(f->opened.relayed_v6.family, ADDR_NONE);
    ck_assert_int_eq(f->opened.result_v6, EXIT_OK);
    world_settle(w);
    f = front_open(w, &v6);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.relayed_v4.family, ADDR_NONE);
    ck_assert_int_eq(f->opened.relayed_v6.family, ADDR_IPV6);
    world_settle(w);
    f = front_open(w, &both);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.relayed_v4.family, ADDR_IPV4);
    ck_assert_int_eq(f->opened.relayed_v6.family, ADDR_IPV6);
}
END_TEST

START_TEST(a_family_the_ready_session_lacks_is_asked_for_anew)
{
    static const struct assoc_want v6 = {.v6 = true}, both = {.v4 = true, .v6 = true};
    struct front_assoc *f;

    w = world_new(1);
    a = world_server(w, SERVER_A);
    a->v4_only = true;
    world_url(w, 0, HOST_A, LISTEN_UDP);
    world_go(w, 0);
    f = front_open(w, &v6);
    ck_assert_uint_eq(f->n_open, 0);
    world_settle(w);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert_int_eq(f->opened.relayed_v6.family, ADDR_IPV6);
    f = front_open(w, &both);
    ck_assert_uint_eq(f->n_open, 1); /* a new one would get no more */
    ck_assert_int_eq(f->opened.result_v6, EXIT_E_FAMILY);
}
END_TEST

START_TEST(even_ports_and_tokens_get_a_session_of_their_own)
{
    static const struct assoc_want even = {.v4 = true, .even_port = true},
                                   reserve = {.v4 = true, .even_port = true, .reserve = true},
                                   token = {.v4 = true, .has_token = true, .token = "tokentok"};
    struct front_assoc *f;

    setup_ready();
    f = front_open(w, &even);
    ck_assert_uint_eq(f->n_open, 0);
    world_settle(w);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert(!f->opened.has_token);
    f = front_open(w, &reserve);
    ck_assert_uint_eq(f->n_open, 0);
    world_settle(w);
    ck_assert(f->opened.has_token);
    ck_assert_mem_eq(f->opened.token, "tokentok", 8);
    f = front_open(w, &token);
    ck_assert_uint_eq(f->n_open, 0);
    world_settle(w);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert_int_eq(f->opened.relayed_v4.family, ADDR_IPV4);
}
END_TEST

START_TEST(the_relay_of_a_ready_session_that_ends_is_lost)
{
    setup_two();
    world_go(w, 0);
    a->refuses = -ECONNREFUSED;
    world_drop(w, a);
    world_settle(w);
    ck_assert(addr_equal(&w->x->datagrams.current->server, &b->addr));
}
END_TEST

START_TEST(a_relay_that_refuses_further_sessions_is_not_lost_and_not_pestered)
{
    struct front_assoc *f;
    unsigned int n;

    setup_ready();
    f = front_open_v4(w);
    a->rules[STUN_ALLOCATE].code = 486;
    world_settle(w);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    n = a->n_asked[STUN_ALLOCATE];
    world_pass_ms(w, 60000);
    ck_assert_uint_le(a->n_asked[STUN_ALLOCATE], n + 12);
    ck_assert_uint_eq(f->n_lost, 0);
    a->rules[STUN_ALLOCATE].code = 0;
    world_pass_ms(w, 10000);
    ck_assert_uint_eq(front_open_v4(w)->n_open, 1);
}
END_TEST

START_TEST(nothing_is_made_ahead_unless_it_is_wanted)
{
    w = world_ready(0);
    world_pass_ms(w, 30000);
    ck_assert_uint_eq(world_server(w, SERVER_A)->n_links, 2); /* find's own */
}
END_TEST

/* ---- connections ---- */

START_TEST(a_ready_connection_becomes_a_data_connection_and_is_made_again)
{
    struct front_dial *d;
    unsigned int n;

    setup_ready();
    world_pass_ms(w, 1000);
    n = a->n_links;
    a->deaf = true;
    d = front_dial(w, PEER);
    world_settle(w);
    assert_dialed(d, EXIT_OK);
    ck_assert_uint_eq(a->n_links, n + 1); /* the next one, which does not open */
    ck_assert_uint_eq(w->x->n_ready_links, 1);
}
END_TEST

START_TEST(a_connection_that_does_not_open_is_left_on_the_shelf)
{
    struct link *closed;
    struct front_dial *d;

    setup_ready();
    world_pass_ms(w, 1000);
    a->deaf = true;
    (void)front_dial(w, PEER);
    world_settle(w);
    closed = list_entry(w->x->ready_links.next, struct ready_link, link)->to;
    d = front_dial(w, PEER2);
    world_settle(w);
    assert_not_dialed(d);
    ck_assert_ptr_eq(list_entry(w->x->ready_links.next, struct ready_link, link)->to, closed);
}
END_TEST

START_TEST(a_ready_connection_says_something_every_twenty_seconds)
{
    setup_ready();
    world_pass_ms(w, 61000);
    ck_assert_uint_eq(a->n_asked[STUN_BINDING], 3);
}
END_TEST

START_TEST(a_ready_connection_without_an_answer_is_replaced_and_not_handed_out)
{
    struct ready_link *r;
    unsigned int n;

    setup_ready();
    n = a->n_links;
    a->rules[STUN_BINDING].hold = true;
    world_pass_ms(w, 22000);
    ck_assert_uint_eq(a->n_asked[STUN_BINDING], 1);
    ck_assert_ptr_null(ready_take_link(w->x, w->x->streams.current));
    a->rules[STUN_BINDING].hold = false;
    world_pass_ms(w, 5000);
    r = list_entry(w->x->ready_links.next, struct ready_link, link);
    ck_assert_uint_eq(a->n_links, n + 1);
    ck_assert_ptr_eq(list_entry(w->x->ready_links.prev, struct ready_link, link), r);
    world_pass_ms(w, 40000);
    ck_assert_ptr_eq(list_entry(w->x->ready_links.next, struct ready_link, link), r);
}
END_TEST

START_TEST(a_ready_connection_that_was_closed_is_made_again_and_the_relay_is_not_lost)
{
    unsigned int n;

    setup_ready();
    world_pass_ms(w, 1000);
    n = a->n_links;
    ck_assert_uint_eq(w->x->n_ready_links, 1);
    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        if (l->wire->link == list_entry(w->x->ready_links.next, struct ready_link, link)->to) {
            l->closed = true;
            fake_wire_close(l->wire, 0, "closed");
            break;
        }
    }
    ck_assert_uint_eq(w->x->n_ready_links, 0);
    world_pass_ms(w, 1000);
    ck_assert_uint_eq(w->x->n_ready_links, 1);
    ck_assert_uint_eq(a->n_links, n + 1);
    ck_assert_int_eq(world_status(w, true).state, UPSTREAM_READY);
}
END_TEST

/* ---- another relay ---- */

START_TEST(what_stood_ready_on_an_old_relay_is_given_back_after_a_switch)
{
    setup_two();
    a->refuses = -ECONNREFUSED;
    world_go(w, 0);
    world_pass_ms(w, 1000);
    ck_assert_uint_eq(world_n_open(w, b), 3); /* a session, a trunk, a connection */
    a->refuses = 0;
    world_pass_ms(w, 61000);
    ck_assert_uint_eq(world_n_open(w, b), 0);
    ck_assert_uint_eq(b->n_deleted, 2);
    ck_assert_uint_eq(world_n_open(w, a), 3);
}
END_TEST

START_TEST(a_session_of_a_relay_that_was_lost_is_never_handed_out)
{
    struct front_assoc *f, *g;

    setup_two();
    world_go(w, 0);
    f = front_open_v4(w);
    world_settle(w);
    ck_assert_uint_eq(w->x->n_ready_sessions, 1);
    /* Only this one's connection shows it so far. */
    a->refuses = -ECONNREFUSED;
    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        if (l->wire->link == session_link(f->assoc->carrier.session)) {
            l->closed = true;
            fake_wire_close(l->wire, -ECONNRESET, "reset");
            break;
        }
    }
    ck_assert_uint_eq(f->n_lost, 1);
    g = front_open_v4(w);
    world_settle(w);
    ck_assert_uint_eq(g->n_open, 1);
    ck_assert(addr_equal(server_of(g), &b->addr));
    g = front_open_v4(w);
    world_settle(w);
    ck_assert(addr_equal(server_of(g), &b->addr));
}
END_TEST

static void take_one(struct front_assoc *f)
{
    f->then = NULL;
    (void)front_open_v4(f->world);
}

START_TEST(a_ready_session_may_be_asked_for_from_within_on_open)
{
    struct front_assoc *f;

    setup_ready();
    f = front_open_v4(w);
    world_settle(w);
    f->then = take_one;
    world_drop(w, a);
    world_settle(w);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    f = list_entry(w->assocs.prev, struct front_assoc, link);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert_uint_eq(f->n_open, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/ready");
    TCase *t;

    t = tcase_create("sessions");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_ready_session_is_handed_out_without_a_round_trip);
    tcase_add_test(t, a_ready_session_that_was_taken_is_made_again_at_once);
    tcase_add_test(t, a_session_that_is_not_there_yet_is_not_handed_out);
    tcase_add_test(t, families_are_cut_to_what_was_asked_for);
    tcase_add_test(t, a_family_the_ready_session_lacks_is_asked_for_anew);
    tcase_add_test(t, even_ports_and_tokens_get_a_session_of_their_own);
    tcase_add_test(t, the_relay_of_a_ready_session_that_ends_is_lost);
    tcase_add_test(t, a_relay_that_refuses_further_sessions_is_not_lost_and_not_pestered);
    tcase_add_test(t, nothing_is_made_ahead_unless_it_is_wanted);
    suite_add_tcase(s, t);

    t = tcase_create("connections");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_ready_connection_becomes_a_data_connection_and_is_made_again);
    tcase_add_test(t, a_connection_that_does_not_open_is_left_on_the_shelf);
    tcase_add_test(t, a_ready_connection_says_something_every_twenty_seconds);
    tcase_add_test(t, a_ready_connection_without_an_answer_is_replaced_and_not_handed_out);
    tcase_add_test(t, a_ready_connection_that_was_closed_is_made_again_and_the_relay_is_not_lost);
    suite_add_tcase(s, t);

    t = tcase_create("another relay");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, what_stood_ready_on_an_old_relay_is_given_back_after_a_switch);
    tcase_add_test(t, a_session_of_a_relay_that_was_lost_is_never_handed_out);
    tcase_add_test(t, a_ready_session_may_be_asked_for_from_within_on_open);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
