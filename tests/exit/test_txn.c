#include <stdlib.h>
#include <string.h>

#include "relay/exit/upstream/txn.h"
#include "tests/support/session_world.h"

#define START (1000 * NS_PER_S)
#define MS(n) ((n)*NS_PER_MS)

static struct fake_wire *wire;
static struct txn_set set;

static void on_open(void *user)
{
}

static const struct link_events events = {.on_open = on_open};

static void start_on(enum link_kind kind)
{
    wire = fake_wire_new(kind);
    link_set_events(wire->link, &events, NULL);
    fake_wire_open(wire);
    txn_set_init(&set, wire->link);
}

static void teardown(void)
{
    txn_set_deinit(&set);
    link_free(wire->link);
    fake_wires_free_all();
}

typedef struct txn *start_fn(struct txn_set *set, const uint8_t *msg, size_t len,
                             uint64_t patience_ns, uint64_t now_ns);

static struct txn *ask_by(start_fn *start, enum stun_method method, uint64_t patience_ns,
                          uint64_t now_ns)
{
    uint8_t buf[64], txid[STUN_TXID_LEN];
    struct stun_builder b;

    ck_assert_int_eq(txn_id(txid), 0);
    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, (uint16_t)method, txid);
    return start(&set, buf, stun_finish(&b), patience_ns, now_ns);
}

static struct txn *ask(enum stun_method method, uint64_t patience_ns, uint64_t now_ns)
{
    return ask_by(txn_start, method, patience_ns, now_ns);
}

static struct txn *answer(const uint8_t *txid, enum stun_class class, enum stun_method method)
{
    uint8_t buf[64];
    struct stun_builder b;
    struct stun_msg msg;

    stun_begin(&b, buf, sizeof(buf), class, (uint16_t)method, txid);
    ck_assert_int_eq(stun_decode(&msg, buf, stun_finish(&b)), 0);
    return txn_match(&set, &msg);
}

START_TEST(over_datagrams_it_is_sent_at_rfc_8489s_times)
{
    static const uint64_t at_ms[] = {0, 500, 1500, 3500, 7500, 15500, 31500};
    struct txn *t;

    start_on(_i == 0 ? LINK_UDP : LINK_DTLS);
    t = ask(STUN_BINDING, 0, START);
    for (size_t i = 1; i < 7; i++) {
        ck_assert_uint_eq(txn_due_ns(&set), START + MS(at_ms[i]));
        ck_assert_ptr_null(txn_tick(&set, START + MS(at_ms[i]) - 1));
        ck_assert_uint_eq(wire->n_sent, i);
        ck_assert_ptr_null(txn_tick(&set, START + MS(at_ms[i])));
        ck_assert_uint_eq(wire->n_sent, i + 1);
        ck_assert_mem_eq(wire->sent[i].data, wire->sent[0].data, wire->sent[0].len);
    }
    ck_assert_uint_eq(txn_due_ns(&set), START + MS(39500));
    ck_assert_ptr_null(txn_tick(&set, START + MS(39500) - 1));
    ck_assert_ptr_eq(txn_tick(&set, START + MS(39500)), t);
    ck_assert_uint_eq(wire->n_sent, 7);
}
END_TEST

START_TEST(over_a_stream_it_is_sent_once)
{
    struct txn *t;

    start_on(_i == 0 ? LINK_TCP : LINK_TLS);
    t = ask(STUN_BINDING, 0, START);
    ck_assert_uint_eq(txn_due_ns(&set), START + MS(39500));
    ck_assert_ptr_null(txn_tick(&set, START + MS(39500) - 1));
    ck_assert_ptr_eq(txn_tick(&set, START + MS(39500)), t);
    ck_assert_uint_eq(wire->n_sent, 1);
}
END_TEST

START_TEST(a_tick_that_comes_late_sends_once_and_waits_on)
{
    start_on(LINK_UDP);
    ask(STUN_BINDING, 0, START);
    ck_assert_ptr_null(txn_tick(&set, START + MS(4000)));
    ck_assert_uint_eq(wire->n_sent, 2);
    ck_assert_uint_eq(txn_due_ns(&set), START + MS(5000));
}
END_TEST

START_TEST(patience_may_be_shorter)
{
    struct txn *t;

    start_on(LINK_UDP);
    t = ask(STUN_BINDING, MS(5000), START);
    for (uint64_t ms = 100; ms < 5000; ms += 100)
        ck_assert_ptr_null(txn_tick(&set, START + MS(ms)));
    ck_assert_uint_eq(wire->n_sent, 4);
    ck_assert_ptr_eq(txn_tick(&set, START + MS(5000)), t);
    ck_assert_ptr_eq(txn_tick(&set, START + MS(5000)), t); /* until it is ended */
    txn_end(&set, t);
    ck_assert_ptr_null(txn_tick(&set, START + MS(5000)));
    ck_assert_uint_eq(txn_due_ns(&set), TXN_NEVER);
}
END_TEST

START_TEST(an_answer_is_known_by_id_and_method)
{
    uint8_t other[STUN_TXID_LEN];
    struct txn *a, *b;

    start_on(LINK_UDP);
    a = ask(STUN_REFRESH, 0, START);
    b = ask(STUN_CHANNEL_BIND, 0, START);
    ck_assert_ptr_eq(answer(a->txid, STUN_SUCCESS, STUN_REFRESH), a);
    ck_assert_ptr_eq(answer(b->txid, STUN_ERROR, STUN_CHANNEL_BIND), b);
    ck_assert_ptr_null(answer(a->txid, STUN_SUCCESS, STUN_CHANNEL_BIND));
    ck_assert_ptr_null(answer(a->txid, STUN_REQUEST, STUN_REFRESH));
    ck_assert_ptr_null(answer(a->txid, STUN_INDICATION, STUN_REFRESH));
    for (int i = 0; i < STUN_TXID_LEN; i++) {
        memcpy(other, a->txid, sizeof(other));
        other[i] ^= 1;
        ck_assert_ptr_null(answer(other, STUN_SUCCESS, STUN_REFRESH));
    }
}
END_TEST

START_TEST(an_answer_to_what_has_ended_is_nobodys)
{
    uint8_t txid[STUN_TXID_LEN];
    struct txn *t;

    start_on(LINK_UDP);
    t = ask(STUN_REFRESH, 0, START);
    memcpy(txid, t->txid, sizeof(txid));
    txn_end(&set, t);
    ck_assert_ptr_null(answer(txid, STUN_SUCCESS, STUN_REFRESH));
}
END_TEST

START_TEST(ids_differ)
{
    uint8_t ids[64][STUN_TXID_LEN];

    start_on(LINK_UDP);
    for (int i = 0; i < 64; i++) {
        ck_assert_int_eq(txn_id(ids[i]), 0);
        for (int j = 0; j < i; j++)
            ck_assert_mem_ne(ids[i], ids[j], STUN_TXID_LEN);
    }
}
END_TEST

START_TEST(their_number_is_bounded)
{
    start_on(LINK_UDP);
    for (int i = 0; i < TXN_MAX; i++)
        ck_assert_ptr_nonnull(ask(STUN_REFRESH, 0, START));
    ck_assert_ptr_null(ask(STUN_REFRESH, 0, START));
    ck_assert_uint_eq(wire->n_sent, TXN_MAX);
    txn_end(&set, txn_tick(&set, START + MS(39500)));
    ck_assert_ptr_nonnull(ask(STUN_REFRESH, 0, START));
}
END_TEST

START_TEST(a_link_that_takes_nothing_is_one_more_loss)
{
    start_on(LINK_UDP);
    wire->refuses = true;
    ck_assert_ptr_nonnull(ask(STUN_REFRESH, 0, START));
    wire->refuses = false;
    ck_assert_ptr_null(txn_tick(&set, START + MS(500)));
    ck_assert_uint_eq(wire->n_sent, 1);
}
END_TEST

START_TEST(doubt_stops_the_sending_and_shortens_the_wait)
{
    struct txn *t;

    start_on(LINK_UDP);
    t = ask(STUN_REFRESH, 0, START);
    txn_doubt(t, MS(2000), START + MS(100));
    ck_assert_uint_eq(txn_due_ns(&set), START + MS(2100));
    txn_doubt(t, MS(2000), START + MS(900)); /* no longer than that */
    ck_assert_ptr_null(txn_tick(&set, START + MS(2099)));
    ck_assert_ptr_eq(txn_tick(&set, START + MS(2100)), t);
    ck_assert_uint_eq(wire->n_sent, 1);
}
END_TEST

START_TEST(the_round_trip_of_what_was_sent_twice_is_not_known)
{
    struct txn *t;

    start_on(LINK_UDP);
    t = ask(STUN_REFRESH, 0, START);
    ck_assert_uint_eq(txn_rtt_ns(t, START + MS(30)), MS(30));
    txn_tick(&set, START + MS(500));
    ck_assert_uint_eq(txn_rtt_ns(t, START + MS(530)), 0);
}
END_TEST

START_TEST(what_was_lost_is_what_was_sent_again_but_not_in_vain)
{
    struct txn *t;

    start_on(LINK_UDP);
    t = ask(STUN_REFRESH, 0, START);
    ck_assert_uint_eq(txn_n_lost(t, MS(200), START + MS(10)), 0);
    txn_tick(&set, START + MS(500));
    ck_assert_uint_eq(txn_n_lost(t, MS(200), START + MS(599)), 0);
    ck_assert_uint_eq(txn_n_lost(t, MS(200), START + MS(600)), 1);
    /* Nearby, nothing takes half a second one time and no time the next. */
    ck_assert_uint_eq(txn_n_lost(t, MS(10), START + MS(501)), 1);
    txn_tick(&set, START + MS(1500));
    ck_assert_uint_eq(txn_n_lost(t, MS(200), START + MS(1599)), 1);
    ck_assert_uint_eq(txn_n_lost(t, MS(200), START + MS(1600)), 2);
}
END_TEST

START_TEST(those_of_one_subject_end_together)
{
    int a, b;

    start_on(LINK_UDP);
    for (int i = 0; i < 6; i++)
        ask(STUN_REFRESH, 0, START)->subject = i % 2 ? &a : &b;
    txn_end_subject(&set, &a);
    ck_assert_uint_eq(set.n, 3);
    txn_end_subject(&set, &a);
    ck_assert_uint_eq(set.n, 3);
    txn_end_subject(&set, &b);
    ck_assert_uint_eq(set.n, 0);
}
END_TEST

/* ---- parked ---- */

START_TEST(what_is_parked_is_not_sent_and_ends_in_its_time)
{
    struct txn *t;

    start_on(LINK_UDP);
    t = ask(STUN_REFRESH, MS(5000), START);
    txn_park(&set);
    ck_assert_uint_eq(txn_due_ns(&set), START + MS(5000));
    ck_assert_ptr_null(txn_tick(&set, START + MS(4999)));
    ck_assert_ptr_eq(txn_tick(&set, START + MS(5000)), t);
    ck_assert_uint_eq(wire->n_sent, 1);
}
END_TEST

START_TEST(what_is_started_while_parked_is_kept_and_not_sent)
{
    struct txn *t;

    start_on(LINK_UDP);
    txn_park(&set);
    t = ask(STUN_REFRESH, MS(5000), START);
    ck_assert(t && t->is_parked);
    ck_assert_ptr_null(txn_tick(&set, START + MS(4999)));
    ck_assert_ptr_eq(txn_tick(&set, START + MS(5000)), t);
    ck_assert_uint_eq(wire->n_sent, 0);
}
END_TEST

START_TEST(what_goes_ahead_is_sent_and_sent_again)
{
    struct txn *parked, *ahead;

    start_on(LINK_UDP);
    txn_park(&set);
    parked = ask(STUN_CREATE_PERMISSION, 0, START);
    ahead = ask_by(txn_start_ahead, STUN_REFRESH, 0, START);
    ck_assert_uint_eq(wire->n_sent, 1);
    ck_assert_uint_eq(txn_due_ns(&set), START + MS(500));
    ck_assert_ptr_null(txn_tick(&set, START + MS(500)));
    ck_assert_uint_eq(wire->n_sent, 2);
    ck_assert_ptr_eq(answer(ahead->txid, STUN_SUCCESS, STUN_REFRESH), ahead);
    ck_assert_ptr_eq(txn_find_parked(&set), parked);
}
END_TEST

START_TEST(however_many_are_parked_something_can_go_ahead)
{
    start_on(LINK_UDP);
    txn_park(&set);
    while (ask(STUN_CREATE_PERMISSION, 0, START))
        ;
    ck_assert_uint_eq(set.n, TXN_MAX);
    ck_assert_ptr_nonnull(ask_by(txn_start_ahead, STUN_REFRESH, 0, START));
    ck_assert_uint_eq(wire->n_sent, 1);
}
END_TEST

START_TEST(what_was_parked_stays_so_and_what_comes_then_is_sent)
{
    struct txn *t;

    start_on(LINK_UDP);
    txn_park(&set);
    ask(STUN_CREATE_PERMISSION, 0, START);
    ask(STUN_CHANNEL_BIND, 0, START);
    txn_unpark(&set);
    ask(STUN_REFRESH, 0, START);
    ck_assert_uint_eq(wire->n_sent, 1);
    ck_assert_ptr_null(txn_tick(&set, START + MS(500)));
    ck_assert_uint_eq(wire->n_sent, 2);
    for (int i = 0; i < 2; i++) {
        t = txn_find_parked(&set);
        ck_assert(t && t->method != STUN_REFRESH);
        txn_end(&set, t);
    }
    ck_assert_ptr_null(txn_find_parked(&set));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("txn");
    TCase *t = tcase_create("txn");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_loop_test(t, over_datagrams_it_is_sent_at_rfc_8489s_times, 0, 2);
    tcase_add_loop_test(t, over_a_stream_it_is_sent_once, 0, 2);
    tcase_add_test(t, a_tick_that_comes_late_sends_once_and_waits_on);
    tcase_add_test(t, patience_may_be_shorter);
    tcase_add_test(t, an_answer_is_known_by_id_and_method);
    tcase_add_test(t, an_answer_to_what_has_ended_is_nobodys);
    tcase_add_test(t, ids_differ);
    tcase_add_test(t, their_number_is_bounded);
    tcase_add_test(t, a_link_that_takes_nothing_is_one_more_loss);
    tcase_add_test(t, doubt_stops_the_sending_and_shortens_the_wait);
    tcase_add_test(t, the_round_trip_of_what_was_sent_twice_is_not_known);
    tcase_add_test(t, what_was_lost_is_what_was_sent_again_but_not_in_vain);
    tcase_add_test(t, those_of_one_subject_end_together);
    suite_add_tcase(s, t);
    t = tcase_create("parked");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, what_is_parked_is_not_sent_and_ends_in_its_time);
    tcase_add_test(t, what_is_started_while_parked_is_kept_and_not_sent);
    tcase_add_test(t, what_goes_ahead_is_sent_and_sent_again);
    tcase_add_test(t, however_many_are_parked_something_can_go_ahead);
    tcase_add_test(t, what_was_parked_stays_so_and_what_comes_then_is_sent);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
