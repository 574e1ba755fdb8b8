/*
 * A relay that gives no more allocations: what is left for streams
 */
#include <string.h>

#include "tests/support/upstream_world.h"

#define N_OPEN 40

static struct upstream_world *w;
static struct fake_server *a;
static struct front_assoc *open[N_OPEN];

static void teardown(void)
{
    world_free(w);
    w = NULL;
}

/* N_OPEN associations, a trunk that `PEER` is connected by, and no more. */
static void setup(void)
{
    struct front_dial *d;
    struct front_assoc *f;

    w = world_ready(0);
    a = world_server(w, SERVER_A);
    d = front_dial(w, PEER);
    world_settle(w);
    ck_assert_int_eq(d->result, EXIT_OK);
    for (size_t i = 0; i < N_OPEN; i++)
        open[i] = front_open_v4(w);
    world_settle(w);
    ck_assert_int_eq(open[N_OPEN - 1]->opened.result, EXIT_OK);
    a->rules[STUN_ALLOCATE].code = 486;
    f = front_open_v4(w);
    world_settle(w);
    ck_assert_int_eq(f->opened.result, EXIT_E_CAPACITY);
    a->rules[STUN_ALLOCATE].code = 0;
}

/* Return: what one association more comes to, and whether the relay was asked. */
static enum exit_result opened(bool *ret_asked)
{
    unsigned int n = a->n_asked[STUN_ALLOCATE];
    struct front_assoc *f = front_open_v4(w);

    world_settle(w);
    *ret_asked = a->n_asked[STUN_ALLOCATE] > n;
    ck_assert_uint_eq(f->n_open, 1);
    return f->opened.result;
}

START_TEST(what_datagrams_give_back_goes_to_streams_first)
{
    struct front_dial *d[7];
    bool asked;

    for (size_t i = 0; i < 8; i++) {
        front_close(open[i]);
        if (i < 7) {
            ck_assert_int_eq(opened(&asked), EXIT_E_CAPACITY);
            ck_assert(!asked);
        }
    }
    /* One of the eight is a trunk already; a second stream to a peer takes another. */
    world_pass_ms(w, 6000);
    for (size_t i = 0; i < 7; i++) {
        d[i] = front_dial(w, PEER);
        world_settle(w);
        ck_assert_int_eq(d[i]->result, EXIT_OK);
    }
    ck_assert_uint_eq(w->x->n_trunks, 8);
}
END_TEST

START_TEST(datagrams_get_the_rest)
{
    bool asked;

    for (size_t i = 0; i < 7; i++)
        front_close(open[i]);
    ck_assert_int_eq(opened(&asked), EXIT_E_CAPACITY);
    ck_assert(!asked);
    front_close(open[7]);
    ck_assert_int_eq(opened(&asked), EXIT_OK);
    ck_assert(asked);
    ck_assert_int_eq(opened(&asked), EXIT_E_CAPACITY);
}
END_TEST

START_TEST(a_minute_after_the_last_refusal_the_relay_is_asked_again)
{
    bool asked;

    front_close(open[0]);
    world_pass_ms(w, 59900);
    ck_assert_int_eq(opened(&asked), EXIT_E_CAPACITY);
    ck_assert(!asked);
    world_pass_ms(w, 200);
    ck_assert_int_eq(opened(&asked), EXIT_OK);
    ck_assert(asked);
}
END_TEST

/* Somebody else of the same name has given some back, perhaps. */
START_TEST(with_nothing_given_back_the_relay_is_asked)
{
    bool asked;

    a->rules[STUN_ALLOCATE].code = 486;
    ck_assert_int_eq(opened(&asked), EXIT_E_CAPACITY);
    ck_assert(asked);
    a->rules[STUN_ALLOCATE].code = 0;
    ck_assert_int_eq(opened(&asked), EXIT_OK);
    ck_assert(asked);
}
END_TEST

/* 508, say, is about ports, or a reservation that is unknown. */
START_TEST(other_refusals_are_no_limit)
{
    static const unsigned int codes[] = {403, 440, 442, 500, 508};
    struct front_assoc *f;
    bool asked;

    world_pass_ms(w, 60000);
    front_close(open[0]);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        a->rules[STUN_ALLOCATE].code = codes[i];
        f = front_open_v4(w);
        world_settle(w);
        ck_assert_int_ne(f->opened.result, EXIT_OK);
        a->rules[STUN_ALLOCATE].code = 0;
        ck_assert_int_eq(opened(&asked), EXIT_OK);
    }
}
END_TEST

/* A quarter of all at most. */
START_TEST(a_small_limit_leaves_datagrams_something)
{
    bool asked;

    w = world_ready(0);
    a = world_server(w, SERVER_A);
    open[0] = front_open_v4(w);
    world_settle(w);
    a->rules[STUN_ALLOCATE].code = 486;
    while (opened(&asked) == EXIT_OK) {
    }
    a->rules[STUN_ALLOCATE].code = 0;
    ck_assert_uint_lt(w->x->n_most, 4);
    front_close(open[0]);
    ck_assert_int_eq(opened(&asked), EXIT_OK);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exit/upstream_share");
    TCase *t = tcase_create("share"), *small = tcase_create("small");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_datagrams_give_back_goes_to_streams_first);
    tcase_add_test(t, datagrams_get_the_rest);
    tcase_add_test(t, a_minute_after_the_last_refusal_the_relay_is_asked_again);
    tcase_add_test(t, with_nothing_given_back_the_relay_is_asked);
    tcase_add_test(t, other_refusals_are_no_limit);
    suite_add_tcase(s, t);
    tcase_add_checked_fixture(small, NULL, teardown);
    tcase_add_test(small, a_small_limit_leaves_datagrams_something);
    suite_add_tcase(s, small);
    return suite_run(s);
}
