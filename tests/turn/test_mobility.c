/*
 * Tickets, and where an allocation goes on (RFC 8016, section 3).
 */
#include <string.h>

#include "relay/turn/mobility.h"
#include "tests/support/turn_world.h"

#define CLIENT3 "198.51.100.79:40000"

static struct world *w;
static struct fake_client *home, *away, *third;
static struct login alice;

static void setup(void)
{
    w = world_new();
    home = world_client(w, TRANSPORT_UDP, CLIENT);
    away = world_client(w, TRANSPORT_UDP, CLIENT2);
    third = world_client(w, TRANSPORT_UDP, CLIENT3);
    alice = login_old(home, "alice", "wonderland");
}

static void teardown(void)
{
    world_free(w);
}

static unsigned int ask_mobile(struct fake_client *fc, const struct login *login,
                               const char *ticket, size_t len, struct reply *reply)
{
    struct req r;

    allocate_begin(&r);
    stun_put(&r.b, STUN_MOBILITY_TICKET, ticket, len);
    return ask(fc, &r, login, reply);
}

/* An allocation with a channel to PEER, and its first ticket. */
static struct ticket allocate(struct fake_client *fc, const struct login *login)
{
    struct reply reply;
    struct ticket t;

    ck_assert_uint_eq(ask_mobile(fc, login, "", 0, &reply), 0);
    t = reply_ticket(&reply);
    ck_assert_uint_eq(ask_channel(fc, login, 0x4001, PEER), 0);
    fake_client_forget(fc);
    return t;
}

/* From a new address the nonce of the old one is stale: a login of its own. */
static unsigned int ask_move(struct fake_client *fc, const char *user, const char *password,
                             const struct ticket *t, uint32_t lifetime_s, struct reply *reply)
{
    struct login login = login_old(fc, user, password);
    struct req r;
    unsigned int code;

    req_begin(&r, STUN_REFRESH);
    stun_put_u32(&r.b, STUN_LIFETIME, lifetime_s);
    stun_put(&r.b, STUN_MOBILITY_TICKET, t->bytes, t->len);
    code = ask(fc, &r, &login, reply);
    fake_client_forget(fc);
    return code;
}

static struct ticket move(struct fake_client *fc, const struct ticket *t)
{
    struct reply reply;

    ck_assert_uint_eq(ask_move(fc, "alice", "wonderland", t, 600, &reply), 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 600);
    return reply_ticket(&reply);
}

/* What a peer sends arrives at `fc`, and nowhere else. */
static void assert_peer_reaches(struct fake_client *fc)
{
    size_t n = home->n_sent + away->n_sent + third->n_sent, mine = fc ? fc->n_sent : 0;

    fake_exit_datagram(w->exit.last, PEER, "x", 1);
    ck_assert_uint_eq(home->n_sent + away->n_sent + third->n_sent, n + (fc ? 1 : 0));
    ck_assert_uint_eq(fc ? fc->n_sent : 0, mine + (fc ? 1 : 0));
}

static void assert_reaches_peer(struct fake_client *fc)
{
    size_t n = w->exit.n_sent;

    give_channel_data(fc, 0x4001, "up", 2);
    ck_assert_uint_eq(w->exit.n_sent, n + 1);
}

/* ---- asking ---- */

START_TEST(a_ticket_comes_only_to_those_who_ask_and_is_never_the_same)
{
    struct login bob = login_old(away, "bob", "builder");
    struct ticket a, b;
    struct reply reply;

    a = allocate(home, &alice);
    b = allocate(away, &bob);
    ck_assert_mem_ne(a.bytes, b.bytes, MOBILITY_TICKET_LEN);
    ck_assert_uint_eq(ask_refresh(home, &alice, 600, &reply), 0);
    ck_assert(!stun_has(&reply.msg, STUN_MOBILITY_TICKET));
    bob = login_old(third, "bob", "builder");
    ck_assert_uint_eq(ask_allocate(third, &bob, &reply), 0);
    ck_assert(!stun_has(&reply.msg, STUN_MOBILITY_TICKET));
}
END_TEST

START_TEST(s15_a_ticket_in_allocate_that_is_not_empty_gets_400)
{
    ck_assert_uint_eq(ask_mobile(home, &alice, "ticket", 6, NULL), 400);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

#define WITHOUT_MOBILITY                                                                           \
    "[relay]\nlisten = udp://192.0.2.1:3478\nmobility = no\n[users]\nalice = wonderland\n"

START_TEST(s15_where_it_is_not_offered_both_requests_get_405)
{
    struct ticket t = allocate(home, &alice);
    struct reply reply;

    world_reload(w, WITHOUT_MOBILITY);
    ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &t, 600, &reply), 405);
    alice = login_old(third, "alice", "wonderland");
    ck_assert_uint_eq(ask_mobile(third, &alice, "", 0, NULL), 405);
    /* And what was there goes on. */
    assert_peer_reaches(home);
}
END_TEST

START_TEST(an_allocation_for_streams_gets_no_ticket)
{
    struct fake_client *tcp = world_client(w, TRANSPORT_TCP, "198.51.100.80:1");
    struct login login = login_old(tcp, "alice", "wonderland");
    struct reply reply;
    struct req r;

    req_begin(&r, STUN_ALLOCATE);
    stun_put_u32(&r.b, STUN_REQUESTED_TRANSPORT, 6u << 24);
    stun_put(&r.b, STUN_MOBILITY_TICKET, "", 0);
    ck_assert_uint_eq(ask(tcp, &r, &login, &reply), 0);
    ck_assert(!stun_has(&reply.msg, STUN_MOBILITY_TICKET));
    fake_client_close(tcp);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

/* ---- the move ---- */

START_TEST(both_paths_are_in_use_until_something_comes_by_the_new_one)
{
    struct ticket t = allocate(home, &alice), next;

    next = move(away, &t);
    ck_assert_mem_ne(next.bytes, t.bytes, MOBILITY_TICKET_LEN);
    assert_peer_reaches(home);
    assert_reaches_peer(home);
    assert_peer_reaches(home);
    ck_assert_uint_eq(w->counters.allocations_moved, 0);
    assert_reaches_peer(away);
    ck_assert_uint_eq(w->counters.allocations_moved, 1);
    assert_peer_reaches(away);
    /* The old 5-tuple has no allocation any more, and is nobody's. */
    ck_assert(!fake_client_has_alloc(home));
    ck_assert_uint_eq(ask_permission(home, &alice, PEER), 437);
    ck_assert_uint_eq(w->counters.clients_udp, 1);
    ck_assert_uint_eq(quota_total(w->quota), 1);
}
END_TEST

START_TEST(a_request_from_the_new_address_or_an_indication_moves_it_too)
{
    struct ticket t = allocate(home, &alice);

    t = move(away, &t);
    alice = login_old(away, "alice", "wonderland");
    ck_assert_uint_eq(ask_permission(away, &alice, PEER2), 0);
    assert_peer_reaches(away);
    t = move(third, &t);
    give_send(third, PEER, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    assert_peer_reaches(third);
    ck_assert_uint_eq(w->counters.allocations_moved, 2);
}
END_TEST

START_TEST(what_was_permitted_and_bound_and_the_relayed_address_stay)
{
    struct ticket t = allocate(home, &alice);
    struct login login;

    t = move(away, &t);
    login = login_old(away, "alice", "wonderland");
    ck_assert_uint_eq(ask_refresh(away, &login, 600, NULL), 0);
    fake_client_forget(away);
    assert_peer_reaches(away);
    ck_assert_uint_eq(fake_client_sent(away, 0)->data[0], 0x40); /* ChannelData */
    ck_assert_uint_eq(w->exit.n_closed, 0);
    ck_assert_uint_eq(w->counters.allocations_made, 1);
}
END_TEST

/* The answer was lost, and the client is elsewhere by now: the ticket it has is good. */
START_TEST(the_old_ticket_serves_until_the_move_and_not_after_it)
{
    struct ticket first = allocate(home, &alice), unseen;
    struct reply reply;

    unseen = move(away, &first);
    (void)move(third, &first);
    ck_assert(!fake_client_has_alloc(away)); /* s13: one pending, the earlier one is let go */
    assert_reaches_peer(third);
    ck_assert_uint_eq(ask_move(home, "alice", "wonderland", &first, 600, &reply), 437);
    ck_assert_uint_eq(ask_move(home, "alice", "wonderland", &unseen, 600, &reply), 437);
    assert_peer_reaches(third);
}
END_TEST

START_TEST(the_next_ticket_serves_before_anything_was_sent_with_it)
{
    struct ticket first = allocate(home, &alice), second, third_ticket;
    struct reply reply;

    second = move(away, &first);
    third_ticket = move(third, &second);
    /* Who shows the second has had it: the first is done with. */
    ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &first, 600, &reply), 437);
    ck_assert_mem_ne(third_ticket.bytes, second.bytes, MOBILITY_TICKET_LEN);
    assert_reaches_peer(third);
    assert_peer_reaches(third);
}
END_TEST

START_TEST(a_retransmission_of_the_move_is_not_the_arrival)
{
    struct ticket t = allocate(home, &alice);
    struct login login = login_old(away, "alice", "wonderland");
    struct reply first, again;
    struct req r;

    req_begin(&r, STUN_REFRESH);
    stun_put(&r.b, STUN_MOBILITY_TICKET, t.bytes, t.len);
    ck_assert_uint_eq(ask(away, &r, &login, &first), 0);
    req_send(away, &r, &again);
    ck_assert_uint_eq(first.len, again.len);
    ck_assert_mem_eq(first.buf, again.buf, first.len);
    assert_peer_reaches(home);
}
END_TEST

START_TEST(the_same_5_tuple_may_show_its_ticket_twice)
{
    struct ticket t = allocate(home, &alice), a, b;

    a = move(away, &t);
    b = move(away, &t);
    ck_assert_mem_ne(a.bytes, b.bytes, MOBILITY_TICKET_LEN);
    assert_peer_reaches(home);
    assert_reaches_peer(away);
    b = move(third, &b);
    assert_reaches_peer(third);
}
END_TEST

START_TEST(a_new_path_that_stays_silent_is_forgotten_after_half_a_minute)
{
    struct ticket t = allocate(home, &alice);

    t = move(away, &t);
    world_pass(MOBILITY_PENDING_S - 1);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert(fake_client_has_alloc(away));
    world_pass(2);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert(!fake_client_has_alloc(away));
    assert_peer_reaches(home);
    /* The client has that ticket, and may use it. */
    t = move(third, &t);
    assert_reaches_peer(third);
}
END_TEST

/* ---- who may not ---- */

START_TEST(s12_another_users_ticket_gets_441_and_changes_nothing)
{
    struct ticket t = allocate(home, &alice);
    struct reply reply;

    ck_assert_uint_eq(ask_move(away, "bob", "builder", &t, 600, &reply), 441);
    ck_assert_uint_eq(ask_move(away, "bob", "builder", &t, 0, &reply), 441);
    ck_assert(!fake_client_has_alloc(away));
    assert_reaches_peer(home);
    assert_peer_reaches(home);
    (void)move(third, &t);
}
END_TEST

START_TEST(s13_one_ticket_shown_from_many_places_keeps_one_of_them)
{
    struct ticket t = allocate(home, &alice);
    char from[40];

    for (unsigned int i = 0; i < 50; i++) {
        snprintf(from, sizeof(from), "198.51.100.90:%u", 1000 + i);
        (void)move(world_client(w, TRANSPORT_UDP, from), &t);
    }
    for (size_t i = 3; i < w->n_clients; i++)
        ck_assert_int_eq(fake_client_has_alloc(w->clients[i]), i == w->n_clients - 1);
    ck_assert_uint_eq(quota_total(w->quota), 1);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    assert_peer_reaches(home);
}
END_TEST

START_TEST(s15_an_unknown_ticket_gets_437)
{
    struct ticket good = allocate(home, &alice), bad = good;
    struct reply reply;

    for (size_t i = 0; i < MOBILITY_TICKET_LEN; i++) {
        bad = good;
        bad.bytes[i] ^= 1;
        ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &bad, 600, &reply), 437);
    }
    for (bad.len = 0; bad.len < sizeof(bad.bytes); bad.len++)
        if (bad.len != MOBILITY_TICKET_LEN)
            ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &bad, 600, &reply), 437);
    ck_assert_uint_eq(ask_refresh(home, &alice, 0, NULL), 0);
    ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &good, 600, &reply), 437);
}
END_TEST

START_TEST(a_5_tuple_with_another_allocation_gets_437)
{
    struct login login = login_old(away, "alice", "wonderland");
    struct ticket t = allocate(home, &alice);
    struct reply reply;

    ck_assert_uint_eq(ask_allocate(away, &login, NULL), 0);
    ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &t, 600, &reply), 437);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 2);
}
END_TEST

START_TEST(where_it_is_in_use_a_ticket_says_nothing)
{
    struct ticket t = allocate(home, &alice);
    struct reply reply;

    ck_assert_uint_eq(ask_move(home, "alice", "wonderland", &t, 600, &reply), 0);
    ck_assert(!stun_has(&reply.msg, STUN_MOBILITY_TICKET));
    (void)move(away, &t);
}
END_TEST

START_TEST(a_move_with_lifetime_0_ends_the_allocation)
{
    struct ticket t = allocate(home, &alice);
    struct reply reply;

    ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &t, 0, &reply), 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert(!fake_client_has_alloc(home));
}
END_TEST

START_TEST(when_memory_is_short_nothing_has_changed)
{
    struct ticket t = allocate(home, &alice);
    struct reply reply;

    away->keep_fails = true;
    ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &t, 600, &reply), 508);
    away->keep_fails = false;
    assert_peer_reaches(home);
    (void)move(away, &t);
}
END_TEST

/* ---- connections that close ---- */

static struct fake_client *tls;

static struct ticket allocate_over_tls(void)
{
    struct login login;

    tls = world_client(w, TRANSPORT_TLS, "198.51.100.80:1");
    login = login_old(tls, "alice", "wonderland");
    return allocate(tls, &login);
}

START_TEST(s14_without_a_connection_it_waits_holds_its_place_and_goes_on_at_once)
{
    struct ticket t = allocate_over_tls();

    ck_assert_uint_eq(w->counters.clients_tls, 1);
    fake_client_close(tls);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    ck_assert_uint_eq(quota_total(w->quota), 1);
    ck_assert_uint_eq(w->counters.clients_tls, 0);
    assert_peer_reaches(NULL);
    (void)move(away, &t);
    ck_assert_uint_eq(w->counters.allocations_moved, 1);
    ck_assert_uint_eq(w->counters.clients_udp, 1);
    assert_peer_reaches(away);
}
END_TEST

START_TEST(s14_the_quota_counts_it_while_it_waits)
{
    static const char one_each[] = "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\n"
                                   "alice = wonderland\n[limits]\nmax-allocations-per-user = 1\n"
                                   "unauthenticated-rate = 0\n";
    struct ticket t = allocate_over_tls();

    world_reload(w, one_each);
    fake_client_close(tls);
    alice = login_old(home, "alice", "wonderland");
    ck_assert_uint_eq(ask_mobile(home, &alice, "", 0, NULL), 486);
    (void)move(away, &t);
    assert_reaches_peer(away);
}
END_TEST

START_TEST(after_two_minutes_without_a_connection_it_is_gone)
{
    struct ticket t = allocate_over_tls();
    struct reply reply;

    turn_sweep(w->turn, fake_now_ns);
    fake_client_close(tls);
    world_pass(MOBILITY_NOWHERE_S - 1);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    world_pass(1);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(quota_total(w->quota), 0);
    ck_assert_uint_eq(ask_move(away, "alice", "wonderland", &t, 600, &reply), 437);
}
END_TEST

START_TEST(a_connection_that_closes_during_the_move_completes_it)
{
    struct ticket t = allocate_over_tls();

    (void)move(away, &t);
    assert_peer_reaches(NULL); /* it goes to tls, which none of the three is */
    fake_client_close(tls);
    assert_peer_reaches(away);
}
END_TEST

START_TEST(a_new_connection_that_closes_during_the_move_changes_nothing)
{
    struct ticket t = allocate(home, &alice);

    tls = world_client(w, TRANSPORT_TLS, "198.51.100.80:1");
    (void)move(tls, &t);
    fake_client_close(tls);
    assert_peer_reaches(home);
    (void)move(away, &t);
}
END_TEST

START_TEST(without_a_ticket_it_ends_with_its_connection)
{
    struct login login;

    tls = world_client(w, TRANSPORT_TLS, "198.51.100.80:1");
    login = login_old(tls, "alice", "wonderland");
    ck_assert_uint_eq(ask_allocate(tls, &login, NULL), 0);
    fake_client_close(tls);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(a_user_taken_off_the_list_has_none_left_to_come_back_to)
{
    struct ticket t = allocate_over_tls();
    struct reply reply;

    fake_client_close(tls);
    world_reload(w, "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\nbob = builder\n"
                    "[limits]\nunauthenticated-rate = 0\n");
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(ask_move(away, "bob", "builder", &t, 600, &reply), 437);
}
END_TEST

START_TEST(the_end_during_a_move_lets_both_clients_go)
{
    struct ticket t = allocate(home, &alice);

    (void)move(away, &t);
    ck_assert_uint_eq(ask_refresh(home, &alice, 0, NULL), 0);
    ck_assert(!fake_client_has_alloc(home));
    ck_assert(!fake_client_has_alloc(away));
}
END_TEST

/* ---- several workers ---- */

START_TEST(a_ticket_of_another_worker_goes_there_with_its_client)
{
    struct turn *other = world_turn(w, 2, 3);
    struct fake_client *there = fake_client_new(other, TRANSPORT_UDP, "198.51.100.81:1", RELAY);
    struct turn *here = world_turn(w, 1, 3);
    struct fake_client *comes = fake_client_new(here, TRANSPORT_UDP, "198.51.100.82:1", RELAY);
    struct login login = login_old(there, "alice", "wonderland");
    struct ticket t = allocate(there, &login);
    struct reply reply;
    struct req r;

    login = login_old(comes, "alice", "wonderland");
    fake_client_forget(comes);
    req_begin(&r, STUN_REFRESH);
    stun_put(&r.b, STUN_MOBILITY_TICKET, t.bytes, t.len);
    req_end(&r, &login);
    req_send(comes, &r, &reply);
    ck_assert_uint_eq(w->n_visits, 1);
    ck_assert_uint_eq(w->visit_to, 2);
    ck_assert_uint_eq(w->visit_len, r.b.len);
    ck_assert_mem_eq(w->visit_data, r.buf, w->visit_len);
    ck_assert_uint_eq(comes->n_sent, 0); /* that worker answers */
    w->visit_fails = true;
    ck_assert_uint_eq(ask_move(comes, "alice", "wonderland", &t, 600, &reply), 437);
    turn_free(here);
    turn_free(other);
    fake_client_free(comes);
    fake_client_free(there);
}
END_TEST

static Suite *mobility_suite(void)
{
    Suite *s = suite_create("turn/mobility");
    TCase *t = tcase_create("mobility");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_ticket_comes_only_to_those_who_ask_and_is_never_the_same);
    tcase_add_test(t, s15_a_ticket_in_allocate_that_is_not_empty_gets_400);
    tcase_add_test(t, s15_where_it_is_not_offered_both_requests_get_405);
    tcase_add_test(t, an_allocation_for_streams_gets_no_ticket);
    tcase_add_test(t, both_paths_are_in_use_until_something_comes_by_the_new_one);
    tcase_add_test(t, a_request_from_the_new_address_or_an_indication_moves_it_too);
    tcase_add_test(t, what_was_permitted_and_bound_and_the_relayed_address_stay);
    tcase_add_test(t, the_old_ticket_serves_until_the_move_and_not_after_it);
    tcase_add_test(t, the_next_ticket_serves_before_anything_was_sent_with_it);
    tcase_add_test(t, a_retransmission_of_the_move_is_not_the_arrival);
    tcase_add_test(t, the_same_5_tuple_may_show_its_ticket_twice);
    tcase_add_test(t, a_new_path_that_stays_silent_is_forgotten_after_half_a_minute);
    tcase_add_test(t, s12_another_users_ticket_gets_441_and_changes_nothing);
    tcase_add_test(t, s13_one_ticket_shown_from_many_places_keeps_one_of_them);
    tcase_add_test(t, s15_an_unknown_ticket_gets_437);
    tcase_add_test(t, a_5_tuple_with_another_allocation_gets_437);
    tcase_add_test(t, where_it_is_in_use_a_ticket_says_nothing);
    tcase_add_test(t, a_move_with_lifetime_0_ends_the_allocation);
    tcase_add_test(t, when_memory_is_short_nothing_has_changed);
    tcase_add_test(t, s14_without_a_connection_it_waits_holds_its_place_and_goes_on_at_once);
    tcase_add_test(t, s14_the_quota_counts_it_while_it_waits);
    tcase_add_test(t, after_two_minutes_without_a_connection_it_is_gone);
    tcase_add_test(t, a_connection_that_closes_during_the_move_completes_it);
    tcase_add_test(t, a_new_connection_that_closes_during_the_move_changes_nothing);
    tcase_add_test(t, without_a_ticket_it_ends_with_its_connection);
    tcase_add_test(t, a_user_taken_off_the_list_has_none_left_to_come_back_to);
    tcase_add_test(t, the_end_during_a_move_lets_both_clients_go);
    tcase_add_test(t, a_ticket_of_another_worker_goes_there_with_its_client);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(mobility_suite());
}
