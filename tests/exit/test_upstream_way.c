/*
 * Connections that leave by an address which is not this machine's any more. What is asked is the
 * real machine: it has 127.0.0.1, and does not have an address of TEST-NET-1.
 */
#include "tests/exit/upstream_mobile_env.h"

static void setup(void)
{
    setup_by(LISTEN_TCP, 1);
}

/* All links that there are leave by this address from now on. */
static void leave_by(const char *local)
{
    for (struct list *it = w->links.next; it != &w->links; it = it->next)
        list_entry(it, struct world_link, link)->wire->local = at(local);
}

static unsigned int n_left_by(const char *local)
{
    struct addr addr = at(local);
    unsigned int n = 0;

    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        const struct fake_wire *wire = list_entry(it, struct world_link, link)->wire;

        n += wire->link && addr_equal(&wire->local, &addr);
    }
    return n;
}

#define OURS     "127.0.0.1:40000"
#define OURS_TOO "127.0.0.2:40000"
#define NOT_OURS "192.0.2.200:40000"

START_TEST(nothing_happens_while_the_address_is_there)
{
    static const char *const addresses[] = {OURS, OURS_TOO, "0.0.0.0:40000"};
    unsigned int n_links = a->n_links;

    leave_by(addresses[_i]);
    world_pass_ms(w, 15000);
    ck_assert_uint_eq(a->n_links, n_links);
    ck_assert_uint_eq(f->n_lost, 0);
}
END_TEST

START_TEST(when_it_is_gone_associations_go_on_within_a_second_or_so)
{
    struct session *session = f->assoc->carrier.session;

    leave_by(NOT_OURS);
    world_pass_ms(w, 1100);
    ck_assert(session_is_live(session));
    ck_assert_ptr_eq(f->assoc->carrier.session, session);
    ck_assert_uint_eq(f->n_lost, 0);
    ck_assert_uint_eq(w->counters.upstream_moves, 1);
    ck_assert_uint_eq(a->n_moved, 1);
}
END_TEST

START_TEST(streams_are_reset_and_others_can_be_made_at_once)
{
    struct front_dial *d = dialed(PEER);

    leave_by(NOT_OURS);
    world_pass_ms(w, 1100);
    ck_assert_uint_eq(d->n_closed, 1);
    ck_assert_int_eq(d->closed_reason, -ECONNRESET);
    (void)dialed(PEER2);
}
END_TEST

START_TEST(what_was_made_ahead_is_made_anew)
{
    ck_assert_uint_gt(w->x->n_ready_links, 0);
    ck_assert_uint_gt(w->x->n_ready_sessions, 0);
    leave_by(NOT_OURS);
    world_pass_ms(w, 1100);
    ck_assert_uint_eq(n_left_by(NOT_OURS), 0);
    ck_assert_uint_gt(w->x->n_ready_links, 0);
    ck_assert_uint_gt(w->x->n_ready_sessions, 0);
}
END_TEST

START_TEST(what_leaves_by_another_address_stays)
{
    struct front_assoc *other = front_open_v4(w);
    struct link *link = session_link(other->assoc->carrier.session);
    bool is_mine = true;

    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        struct fake_wire *wire = list_entry(it, struct world_link, link)->wire;

        is_mine = !is_mine;
        wire->local = at(is_mine || wire->link == link ? OURS : NOT_OURS);
    }
    world_pass_ms(w, 1100);
    ck_assert_uint_eq(n_left_by(NOT_OURS), 0);
    ck_assert_uint_gt(n_left_by(OURS), 0);
    ck_assert_ptr_eq(session_link(other->assoc->carrier.session), link);
}
END_TEST

START_TEST(without_a_network_it_is_lost_in_the_end)
{
    a->refuses = -ENETUNREACH;
    a->why = "no network";
    leave_by(NOT_OURS);
    world_pass_ms(w, 1100);
    ck_assert_int_ne(world_status(w, false).state, UPSTREAM_READY);
    ck_assert(session_is_moving(f->assoc->carrier.session));
    world_pass_ms(w, 50000);
    ck_assert_uint_eq(f->n_lost, 1);
}
END_TEST

static Suite *way_suite(void)
{
    Suite *s = suite_create("exit/upstream_way");
    TCase *t = tcase_create("way");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, nothing_happens_while_the_address_is_there, 0, 3);
    tcase_add_test(t, when_it_is_gone_associations_go_on_within_a_second_or_so);
    tcase_add_test(t, streams_are_reset_and_others_can_be_made_at_once);
    tcase_add_test(t, what_was_made_ahead_is_made_anew);
    tcase_add_test(t, what_leaves_by_another_address_stays);
    tcase_add_test(t, without_a_network_it_is_lost_in_the_end);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(way_suite());
}
