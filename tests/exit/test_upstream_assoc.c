#include <errno.h>
#include <string.h>

#include "tests/support/upstream_world.h"

static struct upstream_world *w;
static struct fake_server *a;

static const struct assoc_want tcp_want = {.tcp = true, .v4 = true};

static void teardown(void)
{
    world_free(w);
    w = NULL;
}

static void setup_ready(void)
{
    w = world_ready(0);
    a = world_server(w, SERVER_A);
    /* Find's own one is out of the way. */
    front_close(front_open_v4(w));
}

/* Three relays that are deaf: a search takes 18 s. */
static void setup_deaf(void)
{
    static const char *const hosts[] = {HOST_A, HOST_B, HOST_C};
    static const char *const servers[] = {SERVER_A, SERVER_B, SERVER_C};

    w = world_new(0);
    for (unsigned int i = 0; i < 3; i++) {
        world_server(w, servers[i])->deaf = true;
        world_url(w, 0, hosts[i], LISTEN_TCP);
    }
    a = world_server(w, SERVER_A);
    world_go(w, 0);
}

static struct world_link *control_of(const struct front_assoc *f)
{
    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        if (l->wire->link == session_link(f->assoc->carrier.session))
            return l;
    }
    ck_abort_msg("no such link");
    return NULL;
}

static void reset(struct front_assoc *f)
{
    struct world_link *l = control_of(f);

    l->closed = true;
    fake_wire_close(l->wire, -ECONNRESET, "reset");
}

static struct front_assoc *open_tcp(void)
{
    struct front_assoc *f = front_open(w, &tcp_want);

    world_settle(w);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    return f;
}

/* ---- waiting ---- */

START_TEST(an_association_waits_for_a_relay_that_is_being_found)
{
    struct front_assoc *f;

    setup_deaf();
    f = front_open_v4(w);
    world_pass_ms(w, 9000);
    ck_assert_uint_eq(f->n_open, 0);
    world_server(w, SERVER_B)->deaf = false;
    world_settle(w);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
}
END_TEST

START_TEST(an_association_waits_ten_seconds_at_most)
{
    struct front_assoc *f, *g;

    setup_deaf();
    f = front_open_v4(w);
    g = front_open(w, &tcp_want);
    world_pass_ms(w, 9900);
    ck_assert_uint_eq(f->n_open + g->n_open, 0);
    world_pass_ms(w, 1200);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_E_DOWN);
    ck_assert_int_eq(f->opened.result_v4, EXIT_E_DOWN);
    ck_assert_int_eq(f->opened.result_v6, EXIT_OK);
    ck_assert_uint_eq(g->n_open, 1);
    ck_assert_int_eq(g->opened.result, EXIT_E_DOWN);
    world_pass_ms(w, 60000);
    ck_assert_uint_eq(f->n_open, 1);
}
END_TEST

START_TEST(an_association_is_answered_at_once_while_the_relay_is_down)
{
    struct front_assoc *f;

    setup_deaf();
    world_pass_ms(w, 18000);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_DOWN);
    f = front_open_v4(w);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_E_DOWN);
}
END_TEST

START_TEST(an_association_that_waits_is_told_when_the_search_fails)
{
    struct front_assoc *f;

    setup_deaf();
    world_pass_ms(w, 12000);
    f = front_open_v4(w);
    world_pass_ms(w, 5999);
    ck_assert_uint_eq(f->n_open, 0);
    world_pass_ms(w, 1);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_E_DOWN);
}
END_TEST

START_TEST(an_association_may_be_closed_while_it_waits)
{
    struct front_assoc *f;

    setup_deaf();
    f = front_open_v4(w);
    front_close(f);
    world_pass_ms(w, 30000);
    ck_assert_uint_eq(f->n_open, 0);
}
END_TEST

/* ---- opening ---- */

START_TEST(a_refusal_of_the_relay_is_the_answer_and_the_relay_is_not_lost)
{
    static const struct {
        unsigned int code;
        enum exit_result result;
    } rows[] = {
        {403, EXIT_E_FORBIDDEN}, {440, EXIT_E_FAMILY}, {486, EXIT_E_CAPACITY},
        {508, EXIT_E_CAPACITY},  {442, EXIT_E_DOWN},
    };

    setup_ready();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct front_assoc *f;

        a->rules[STUN_ALLOCATE].code = rows[i].code;
        f = front_open_v4(w);
        world_settle(w);
        ck_assert_uint_eq(f->n_open, 1);
        ck_assert_int_eq(f->opened.result, rows[i].result);
        ck_assert_int_eq(f->opened.result_v4, rows[i].result);
        ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    }
}
END_TEST

START_TEST(an_association_whose_connection_fails_while_opening_tries_the_next_relay)
{
    struct front_assoc *f;

    w = world_new(0);
    a = world_server(w, SERVER_A);
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_url(w, 0, HOST_B, LISTEN_TCP);
    world_go(w, 0);
    front_close(front_open_v4(w));
    a->rules[STUN_ALLOCATE].hold = true;
    f = front_open_v4(w);
    world_settle(w);
    a->refuses = -ECONNREFUSED;
    reset(f);
    world_settle(w);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_OK);
    ck_assert_uint_eq(f->n_lost, 0);
    ck_assert(addr_equal(&f->assoc->carrier.target->server, &world_server(w, SERVER_B)->addr));
}
END_TEST

START_TEST(an_association_is_not_tried_for_ever_by_a_relay_that_always_loses_it)
{
    static const struct assoc_want even = {.v4 = true, .even_port = true};
    struct front_assoc *f;

    setup_ready();
    a->hold_even = true;
    f = front_open(w, &even);
    for (unsigned int i = 0; i < 6; i++) {
        world_settle(w);
        if (f->n_open == 0 && f->assoc->carrier.session)
            reset(f);
        world_pass_ms(w, 2000);
        ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    }
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_E_DOWN);
}
END_TEST

START_TEST(an_association_whose_relay_says_nothing_is_told_after_ten_seconds)
{
    static const struct assoc_want even = {.v4 = true, .even_port = true};
    struct front_assoc *f;

    setup_ready();
    a->rules[STUN_ALLOCATE].hold = true;
    f = front_open(w, &even);
    world_pass_ms(w, 9900);
    ck_assert_uint_eq(f->n_open, 0);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    world_pass_ms(w, 1200);
    ck_assert_uint_eq(f->n_open, 1);
    ck_assert_int_eq(f->opened.result, EXIT_E_DOWN);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_CONNECTING);
}
END_TEST

START_TEST(an_association_may_be_closed_while_its_allocate_is_under_way)
{
    struct front_assoc *f;

    setup_ready();
    a->rules[STUN_ALLOCATE].hold = true;
    f = front_open_v4(w);
    world_settle(w);
    ck_assert_uint_eq(world_n_held(w, STUN_ALLOCATE), 1);
    front_close(f);
    world_answer_held(w, STUN_ALLOCATE);
    ck_assert_uint_eq(f->n_open, 0);
    ck_assert_uint_eq(world_n_open(w, a), 1); /* the trunk */
}
END_TEST

START_TEST(an_association_may_be_closed_in_every_event)
{
    struct front_assoc *f;

    setup_ready();
    f = front_open_v4(w);
    f->closes = true;
    world_settle(w);
    ck_assert_uint_eq(f->n_open, 1);
    f = front_open_v4(w);
    world_settle(w);
    f->closes = true;
    fake_relay_data(&control_of(f)->relay, PEER, "hello", 5);
    ck_assert_uint_eq(f->n_datagrams, 1);
    f = front_open_v4(w);
    world_settle(w);
    f->closes = true;
    fake_relay_icmp(&control_of(f)->relay, PEER, 3, 3, 0);
    ck_assert_ptr_null(f->assoc);
    f = front_open_v4(w);
    world_settle(w);
    f->closes = true;
    reset(f);
    ck_assert_uint_eq(f->n_lost, 1);
    world_settle(w);
    a->refuses = -ECONNREFUSED;
    world_drop(w, a);
    world_settle(w);
    f = front_open_v4(w); /* refused within the call */
    ck_assert_uint_eq(f->n_open, 1);
    front_close(f);
}
END_TEST

/* ---- datagrams ---- */

START_TEST(datagrams_go_both_ways)
{
    struct addr peer = at(PEER);
    struct front_assoc *f;
    unsigned int n;

    setup_ready();
    f = front_open_v4(w);
    world_settle(w);
    ck_assert_int_eq(w->exit->ops->permit(f->assoc, &peer), EXIT_PENDING);
    w->exit->ops->send(f->assoc, &peer, (const uint8_t *)"hello", 5, false);
    world_settle(w);
    ck_assert_int_eq(w->exit->ops->permit(f->assoc, &peer), EXIT_OK);
    ck_assert_uint_eq(a->n_asked[STUN_CREATE_PERMISSION], 1);
    n = (unsigned int)control_of(f)->wire->n_sent;
    w->exit->ops->send(f->assoc, &peer, (const uint8_t *)"hello", 5, false);
    ck_assert_uint_eq(control_of(f)->wire->n_sent, n + 1);
    fake_relay_data(&control_of(f)->relay, PEER, "hello", 5);
    ck_assert_uint_eq(f->n_datagrams, 1);
}
END_TEST

START_TEST(datagrams_without_a_relay_are_dropped_and_counted)
{
    struct addr peer = at(PEER);
    struct front_assoc *f;

    setup_deaf();
    f = front_open_v4(w);
    ck_assert_int_eq(w->exit->ops->permit(f->assoc, &peer), EXIT_E_DOWN);
    w->exit->ops->send(f->assoc, &peer, (const uint8_t *)"hello", 5, false);
    ck_assert_uint_eq(w->counters.drop_down, 1);
}
END_TEST

START_TEST(an_association_that_is_lost_is_told_once_and_sends_nothing_more)
{
    struct addr peer = at(PEER);
    struct front_assoc *f, *g;

    setup_ready();
    f = front_open_v4(w);
    g = front_open_v4(w);
    world_settle(w);
    reset(f);
    world_pass_ms(w, 30000);
    ck_assert_uint_eq(f->n_lost, 1);
    ck_assert_int_eq(f->lost, EXIT_E_DOWN);
    ck_assert_uint_eq(g->n_lost, 0); /* its own connection is there */
    w->exit->ops->send(f->assoc, &peer, (const uint8_t *)"hello", 5, false);
    ck_assert_uint_eq(w->counters.drop_down, 1);
    ck_assert_int_eq(front_connect(f, PEER, 1), EXIT_E_DOWN);
    ck_assert_uint_eq(f->n_open, 1);
}
END_TEST

START_TEST(a_relay_that_forgot_the_allocation_loses_the_association)
{
    struct front_assoc *f;

    setup_ready();
    f = front_open_v4(w);
    world_settle(w);
    a->rules[STUN_REFRESH].code = 437;
    world_pass_ms(w, 25000);
    ck_assert_uint_eq(f->n_lost, 1);
}
END_TEST

/* ---- streams ---- */

START_TEST(a_tcp_association_connects)
{
    struct front_assoc *f;

    setup_ready();
    f = open_tcp();
    ck_assert_int_eq(front_connect(f, PEER, 7), EXIT_OK);
    ck_assert_uint_eq(f->n_connected, 0);
    world_settle(w);
    ck_assert_uint_eq(f->n_connected, 1);
    ck_assert_uint_eq(f->connect_id, 7);
    ck_assert_int_eq(f->connect_result, EXIT_OK);
    ck_assert_uint_eq(f->n_streams, 1);
}
END_TEST

START_TEST(a_refusal_of_connect_is_passed_on)
{
    struct front_assoc *f;

    setup_ready();
    f = open_tcp();
    a->rules[STUN_CONNECT].code = 447;
    ck_assert_int_eq(front_connect(f, PEER, 7), EXIT_OK);
    world_settle(w);
    ck_assert_uint_eq(f->n_connected, 1);
    ck_assert_int_eq(f->connect_result, EXIT_E_REFUSED);
    a->rules[STUN_CONNECT].code = 446;
    ck_assert_int_eq(front_connect(f, PEER, 8), EXIT_OK);
    world_settle(w);
    ck_assert_uint_eq(f->connect_id, 8);
    ck_assert_int_eq(f->connect_result, EXIT_E_DUPLICATE);
    ck_assert_int_eq(front_connect(f, PEER6, 9), EXIT_E_FAMILY);
}
END_TEST

START_TEST(a_data_connection_that_cannot_be_bound_is_a_failed_connect)
{
    struct front_assoc *f;

    setup_ready();
    f = open_tcp();
    a->rules[STUN_CONNECTION_BIND].code = 400;
    ck_assert_int_eq(front_connect(f, PEER, 7), EXIT_OK);
    world_settle(w);
    ck_assert_uint_eq(f->n_connected, 1);
    ck_assert_int_ne(f->connect_result, EXIT_OK);
    a->rules[STUN_CONNECTION_BIND] = (struct server_rule){.hold = true};
    ck_assert_int_eq(front_connect(f, PEER, 8), EXIT_OK);
    world_pass_ms(w, 29000);
    ck_assert_uint_eq(f->n_connected, 1);
    world_pass_ms(w, 2000);
    ck_assert_uint_eq(f->n_connected, 2);
    ck_assert_int_eq(f->connect_result, EXIT_E_TIMEOUT);
}
END_TEST

START_TEST(a_peer_that_connects_is_accepted_by_a_data_connection)
{
    struct addr peer = at(PEER2);
    struct front_assoc *f;

    setup_ready();
    f = open_tcp();
    world_attempt(w, control_of(f), PEER2);
    ck_assert_uint_eq(f->n_accepted, 0);
    world_settle(w);
    ck_assert_uint_eq(f->n_accepted, 1);
    ck_assert(addr_equal(&f->accepted_peer, &peer));
    ck_assert_uint_eq(f->n_streams, 1);
    ck_assert_uint_eq(a->n_asked[STUN_CONNECTION_BIND], 1);
}
END_TEST

START_TEST(a_peer_that_cannot_be_bound_is_nobodys)
{
    struct front_assoc *f;

    setup_ready();
    f = open_tcp();
    a->rules[STUN_CONNECTION_BIND].code = 400;
    world_attempt(w, control_of(f), PEER2);
    world_settle(w);
    ck_assert_uint_eq(f->n_accepted + f->n_connected, 0);
    ck_assert_uint_eq(f->n_lost, 0);
}
END_TEST

START_TEST(several_data_connections_are_bound_at_a_time)
{
    struct front_assoc *f;

    setup_ready();
    f = open_tcp();
    a->rules[STUN_CONNECTION_BIND].hold = true;
    world_attempt(w, control_of(f), PEER);
    world_attempt(w, control_of(f), PEER2);
    ck_assert_int_eq(front_connect(f, "203.0.113.11:80", 3), EXIT_OK);
    world_settle(w);
    ck_assert_uint_eq(world_n_held(w, STUN_CONNECTION_BIND), 3);
    world_answer_held(w, STUN_CONNECTION_BIND);
    ck_assert_uint_eq(f->n_accepted, 2);
    ck_assert_uint_eq(f->n_connected, 1);
}
END_TEST

START_TEST(what_is_being_bound_ends_with_its_association)
{
    struct front_assoc *f, *g;

    setup_ready();
    f = open_tcp();
    g = open_tcp();
    a->rules[STUN_CONNECTION_BIND].hold = true;
    world_attempt(w, control_of(f), PEER);
    world_attempt(w, control_of(g), PEER);
    world_settle(w);
    front_close(f);
    reset(g);
    ck_assert_uint_eq(g->n_lost, 1);
    world_settle(w);
    world_answer_held(w, STUN_CONNECTION_BIND);
    ck_assert_uint_eq(f->n_accepted + g->n_accepted, 0);
}
END_TEST

START_TEST(a_tcp_association_may_be_closed_when_it_is_connected_or_accepts)
{
    struct front_assoc *f;

    setup_ready();
    f = open_tcp();
    f->closes = true;
    ck_assert_int_eq(front_connect(f, PEER, 1), EXIT_OK);
    world_settle(w);
    ck_assert_uint_eq(f->n_connected, 1);
    f = open_tcp();
    f->closes = true;
    world_attempt(w, control_of(f), PEER);
    world_settle(w);
    ck_assert_uint_eq(f->n_accepted, 1);
    f = open_tcp();
    f->closes = true;
    a->rules[STUN_CONNECT].code = 447;
    ck_assert_int_eq(front_connect(f, PEER, 1), EXIT_OK);
    world_settle(w);
    ck_assert_ptr_null(f->assoc);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("exit/upstream/assoc");
    TCase *t;

    t = tcase_create("waiting");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, an_association_waits_for_a_relay_that_is_being_found);
    tcase_add_test(t, an_association_waits_ten_seconds_at_most);
    tcase_add_test(t, an_association_is_answered_at_once_while_the_relay_is_down);
    tcase_add_test(t, an_association_that_waits_is_told_when_the_search_fails);
    tcase_add_test(t, an_association_may_be_closed_while_it_waits);
    suite_add_tcase(s, t);

    t = tcase_create("opening");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_refusal_of_the_relay_is_the_answer_and_the_relay_is_not_lost);
    tcase_add_test(t, an_association_whose_connection_fails_while_opening_tries_the_next_relay);
    tcase_add_test(t, an_association_is_not_tried_for_ever_by_a_relay_that_always_loses_it);
    tcase_add_test(t, an_association_whose_relay_says_nothing_is_told_after_ten_seconds);
    tcase_add_test(t, an_association_may_be_closed_while_its_allocate_is_under_way);
    tcase_add_test(t, an_association_may_be_closed_in_every_event);
    suite_add_tcase(s, t);

    t = tcase_create("datagrams");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, datagrams_go_both_ways);
    tcase_add_test(t, datagrams_without_a_relay_are_dropped_and_counted);
    tcase_add_test(t, an_association_that_is_lost_is_told_once_and_sends_nothing_more);
    tcase_add_test(t, a_relay_that_forgot_the_allocation_loses_the_association);
    suite_add_tcase(s, t);

    t = tcase_create("streams");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_tcp_association_connects);
    tcase_add_test(t, a_refusal_of_connect_is_passed_on);
    tcase_add_test(t, a_data_connection_that_cannot_be_bound_is_a_failed_connect);
    tcase_add_test(t, a_peer_that_connects_is_accepted_by_a_data_connection);
    tcase_add_test(t, a_peer_that_cannot_be_bound_is_nobodys);
    tcase_add_test(t, several_data_connections_are_bound_at_a_time);
    tcase_add_test(t, what_is_being_bound_ends_with_its_association);
    tcase_add_test(t, a_tcp_association_may_be_closed_when_it_is_connected_or_accepts);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
