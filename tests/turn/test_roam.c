/*
 * A client at one worker, its allocation at another: mailboxes, roams and turns of three workers on
 * one base, so that a test says when the letters are delivered.
 */
#include <stdlib.h>
#include <string.h>

#include "relay/roam.h"
#include "tests/support/turn_world.h"

#define N_WORKERS 3

struct station {
    struct turn *turn;
    struct mailbox *mailbox;
};

static struct world *w;
static struct event_base *base;
static struct roam *roams[N_WORKERS];
static struct station stations[N_WORKERS];
static struct fake_client *home, *away;
static struct login login;

static void station_on_read(void *arg)
{
    struct roam **roam = arg;

    roam_flushed(*roam);
}

static bool station_visit(void *arg, unsigned int to, struct client *client, const uint8_t *data,
                          size_t len)
{
    struct roam **roam = arg;

    return roam_visit(*roam, to, client, data, len);
}

static void station_leave(void *arg, struct client *client)
{
    struct roam **roam = arg;

    roam_leave(*roam, client);
}

static void station_init(unsigned int i)
{
    struct station *st = &stations[i];
    struct turn_params params = {
        .worker = i,
        .n_workers = N_WORKERS,
        .exit = &w->exit.exit,
        .quota = w->quota,
        .rate = w->rate,
        .counters = &w->counters,
        .visit = station_visit,
        .leave = station_leave,
        .arg = &roams[i],
    };
    struct roam_params roam = {.worker = i, .all = roams, .counters = &w->counters};

    st->mailbox = roam.mailbox = mailbox_new(base, station_on_read, &roams[i]);
    st->turn = roam.turn = turn_new(&params);
    turn_set_settings(st->turn, w->conf, w->auth);
    ck_assert_ptr_nonnull(roam_new(&roam));
}

static void setup(void)
{
    w = world_new();
    base = event_base_new();
    for (unsigned int i = 0; i < N_WORKERS; i++)
        station_init(i);
    home = fake_client_new(stations[1].turn, TRANSPORT_UDP, CLIENT, RELAY);
    away = fake_client_new(stations[2].turn, TRANSPORT_UDP, CLIENT2, RELAY);
    login = login_old(home, "alice", "wonderland");
}

/* As worker_free() does. */
static void teardown(void)
{
    for (unsigned int i = 0; i < N_WORKERS; i++) {
        roam_close(roams[i]);
        turn_free(stations[i].turn);
        ck_assert_uint_eq(roam_n_guests(roams[i]), 0);
        roam_free(roams[i]);
        mailbox_free(stations[i].mailbox);
    }
    ck_assert_uint_eq(home->n_kept, home->n_released);
    ck_assert_uint_eq(away->n_kept, away->n_released);
    fake_client_free(home);
    fake_client_free(away);
    event_base_free(base);
    world_free(w);
}

static void deliver(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static struct ticket allocate(void)
{
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    stun_put(&r.b, STUN_MOBILITY_TICKET, "", 0);
    ck_assert_uint_eq(ask(home, &r, &login, &reply), 0);
    ck_assert_uint_eq(ask_channel(home, &login, 0x4001, PEER), 0);
    return reply_ticket(&reply);
}

/* The answer comes with the letters. Return: the error code. */
static unsigned int move(struct fake_client *fc, const struct ticket *t, struct reply *reply)
{
    struct req r;

    login = login_old(fc, "alice", "wonderland");
    req_begin(&r, STUN_REFRESH);
    stun_put(&r.b, STUN_MOBILITY_TICKET, t->bytes, t->len);
    req_end(&r, &login);
    fake_client_forget(fc);
    (void)fake_client_give(fc, r.buf, r.b.len);
    deliver();
    ck_assert_uint_eq(fc->n_sent, 1);
    reply_read(fc, reply);
    ck_assert(reply_is_authentic(reply, &login));
    return reply->code;
}

static void moved(struct ticket *t)
{
    struct reply reply;

    ck_assert_uint_eq(move(away, t, &reply), 0);
    *t = reply_ticket(&reply);
    give_channel_data(away, 0x4001, "up", 2);
    deliver();
    fake_client_forget(away);
    ck_assert_uint_eq(w->counters.allocations_moved, 1);
}

static void assert_visits(size_t n)
{
    ck_assert_uint_eq(roam_n_visitors(roams[2]), n);
    ck_assert_uint_eq(roam_n_guests(roams[1]), n);
}

START_TEST(what_it_says_and_what_it_is_sent_goes_from_worker_to_worker)
{
    struct ticket t = allocate();

    moved(&t);
    assert_visits(1);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    for (unsigned int i = 0; i < 100; i++) {
        give_channel_data(away, 0x4001, "more", 4);
        fake_exit_datagram(w->exit.last, PEER, "down", 4);
    }
    deliver();
    ck_assert_uint_eq(w->exit.n_sent, 101);
    ck_assert_uint_eq(away->n_sent, 100);
    ck_assert_mem_eq(fake_client_sent(away, 0)->data,
                     "\x40\x01\x00\x04"
                     "down",
                     8);
    /* Nothing of it is known to the worker where it came. */
    ck_assert_uint_eq(turn_n_allocations(stations[2].turn), 0);
    ck_assert(!fake_client_has_alloc(away));
    ck_assert(!fake_client_has_alloc(home));
}
END_TEST

START_TEST(requests_are_answered_through_it_and_the_end_ends_the_visit)
{
    struct ticket t = allocate();
    struct reply reply;
    struct req r;

    moved(&t);
    req_begin(&r, STUN_REFRESH);
    stun_put_u32(&r.b, STUN_LIFETIME, 0);
    req_end(&r, &login);
    (void)fake_client_give(away, r.buf, r.b.len);
    deliver();
    reply_read(away, &reply);
    ck_assert_uint_eq(reply.code, 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 0);
    assert_visits(0);
    ck_assert_uint_eq(quota_total(w->quota), 0);
    /* From here on it is a stranger there like any other. */
    login = login_old(away, "alice", "wonderland");
    ck_assert_uint_eq(ask_allocate(away, &login, NULL), 0);
    ck_assert_uint_eq(turn_n_allocations(stations[2].turn), 1);
}
END_TEST

START_TEST(a_ticket_that_its_worker_does_not_know_gets_437_and_no_visit)
{
    struct ticket t = allocate();
    struct reply reply;

    t.bytes[20] ^= 1;
    ck_assert_uint_eq(move(away, &t, &reply), 437);
    assert_visits(0);
}
END_TEST

START_TEST(another_users_ticket_gets_441_there)
{
    struct ticket t = allocate();
    struct reply reply;
    struct req r;

    login = login_old(away, "bob", "builder");
    req_begin(&r, STUN_REFRESH);
    stun_put(&r.b, STUN_MOBILITY_TICKET, t.bytes, t.len);
    req_end(&r, &login);
    fake_client_forget(away);
    (void)fake_client_give(away, r.buf, r.b.len);
    deliver();
    reply_read(away, &reply);
    ck_assert_uint_eq(reply.code, 441);
    assert_visits(0);
}
END_TEST

START_TEST(a_connection_that_closes_leaves_the_allocation_to_come_back_to)
{
    struct ticket t = allocate();
    struct reply reply;

    fake_client_free(away);
    away = fake_client_new(stations[2].turn, TRANSPORT_TLS, CLIENT2, RELAY);
    moved(&t);
    ck_assert_uint_eq(w->counters.clients_tls, 1);
    fake_client_close(away);
    ck_assert_uint_eq(roam_n_visitors(roams[2]), 0);
    deliver();
    assert_visits(0);
    ck_assert_uint_eq(w->counters.clients_tls, 0);
    ck_assert_uint_eq(turn_n_allocations(stations[1].turn), 1);
    /* Back at its own worker. */
    ck_assert_uint_eq(move(home, &t, &reply), 0);
    ck_assert(fake_client_has_alloc(home));
}
END_TEST

START_TEST(an_allocation_that_expires_sends_its_guest_home)
{
    struct ticket t = allocate();

    moved(&t);
    world_pass(601);
    turn_sweep(stations[1].turn, fake_now_ns);
    ck_assert_uint_eq(roam_n_guests(roams[1]), 0);
    ck_assert_uint_eq(roam_n_visitors(roams[2]), 1);
    /* What was on its way meanwhile finds nobody. */
    give_channel_data(away, 0x4001, "x", 1);
    deliver();
    assert_visits(0);
    ck_assert_uint_eq(w->exit.n_sent, 1);
}
END_TEST

START_TEST(it_may_move_on_to_a_third_worker_and_to_the_first)
{
    struct fake_client *third =
        fake_client_new(stations[0].turn, TRANSPORT_DTLS, "198.51.100.99:1", RELAY);
    struct ticket t = allocate();
    struct reply reply;

    moved(&t);
    ck_assert_uint_eq(move(third, &t, &reply), 0);
    t = reply_ticket(&reply);
    ck_assert_uint_eq(roam_n_guests(roams[1]), 2);
    fake_exit_datagram(w->exit.last, PEER, "x", 1);
    deliver();
    ck_assert_uint_eq(away->n_sent, 1); /* still there */
    give_channel_data(third, 0x4001, "up", 2);
    deliver();
    ck_assert_uint_eq(roam_n_guests(roams[1]), 1);
    ck_assert_uint_eq(roam_n_visitors(roams[2]), 0);
    ck_assert_uint_eq(roam_n_visitors(roams[0]), 1);
    fake_client_forget(third);
    fake_exit_datagram(w->exit.last, PEER, "x", 1);
    deliver();
    ck_assert_uint_eq(third->n_sent, 1);
    ck_assert_uint_eq(away->n_sent, 1);
    fake_client_close(third);
    deliver();
    ck_assert_uint_eq(roam_n_guests(roams[1]), 0);
    fake_client_free(third);
}
END_TEST

START_TEST(a_flood_of_letters_is_cut_and_counted)
{
    struct ticket t = allocate();

    moved(&t);
    for (unsigned int i = 0; i < ROAM_QUEUE + 50; i++)
        give_channel_data(away, 0x4001, "x", 1);
    ck_assert_uint_eq(w->counters.drop_backlog, 50);
    deliver();
    ck_assert_uint_eq(w->exit.n_sent, 1 + ROAM_QUEUE);
    assert_visits(1);
}
END_TEST

static Suite *roam_suite(void)
{
    Suite *s = suite_create("turn/roam");
    TCase *t = tcase_create("roam");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_it_says_and_what_it_is_sent_goes_from_worker_to_worker);
    tcase_add_test(t, requests_are_answered_through_it_and_the_end_ends_the_visit);
    tcase_add_test(t, a_ticket_that_its_worker_does_not_know_gets_437_and_no_visit);
    tcase_add_test(t, another_users_ticket_gets_441_there);
    tcase_add_test(t, a_connection_that_closes_leaves_the_allocation_to_come_back_to);
    tcase_add_test(t, an_allocation_that_expires_sends_its_guest_home);
    tcase_add_test(t, it_may_move_on_to_a_third_worker_and_to_the_first);
    tcase_add_test(t, a_flood_of_letters_is_cut_and_counted);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(roam_suite());
}
