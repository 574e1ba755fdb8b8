/*
 * TCP of a sealed app, with streams in memory
 */
#include "tests/front/gate_env.h"

static void setup(void)
{
    env_begin();
}

static void teardown(void)
{
    env_end();
}

static void check_reset(struct far *app)
{
    ck_assert(app->reset);
    ck_assert(app->freed); /* at once: no turn of the loop was needed */
    ck_assert_uint_eq(app->n_got, 0);
    ck_assert(!app->fin);
}

START_TEST(the_true_destination_is_dialled_and_bytes_go_across)
{
    struct far *app = app_connects("203.0.113.9:443"), *far;

    far_write(app, "early", 5);
    ck_assert_uint_eq(far_n_unread(app), 5); /* it waits in the kernel */
    far = fake_exit_dialed(&env.exit, "203.0.113.9:443", EXIT_OK);
    fake_streams_turn();
    ck_assert_uint_eq(far->n_got, 5);
    far_write(far, "answer", 6);
    ck_assert_uint_eq(app->n_got, 6);
    ck_assert_mem_eq(app->got, "answer", 6);
    ck_assert_uint_eq(env.counters.up_bytes, 5);
    ck_assert_uint_eq(env.counters.down_bytes, 6);
    ck_assert_uint_eq(env.counters.gate_flows, 1);
    far_fin(app);
    ck_assert(far->fin);
    far_write(far, "more", 4);
    ck_assert_uint_eq(app->n_got, 10);
    far_fin(far);
    fake_streams_turn();
    ck_assert(app->freed && far->freed);
    ck_assert_uint_eq(env.counters.gate_flows, 0);
    ck_assert(!app->reset);
}
END_TEST

START_TEST(ipv6_destinations_are_dialled_too)
{
    app_connects(PEER_V6);
    ck_assert(fake_exit_is_dialing(&env.exit, PEER_V6));
}
END_TEST

START_TEST(what_cannot_be_reached_is_reset_at_once)
{
    for (int result = EXIT_E_FAMILY; result <= EXIT_E_NAME; result++) {
        struct far *app = app_connects("203.0.113.9:443");

        far_write(app, "early", 5);
        fake_exit_dialed(&env.exit, "203.0.113.9:443", (enum exit_result)result);
        check_reset(app);
    }
    ck_assert_uint_eq(env.counters.gate_failed, EXIT_E_NAME);
    ck_assert_uint_eq(env.counters.gate_flows, 0);
}
END_TEST

START_TEST(a_reset_on_one_side_is_one_on_the_other)
{
    for (int i = 0; i < 2; i++) {
        struct far *app = app_connects("203.0.113.9:443");
        struct far *far = fake_exit_dialed(&env.exit, "203.0.113.9:443", EXIT_OK);

        far_reset(i ? app : far);
        fake_streams_turn();
        ck_assert((i ? far : app)->reset);
        ck_assert(app->freed && far->freed);
    }
}
END_TEST

START_TEST(a_slow_side_pauses_the_other)
{
    static uint8_t bulk[SPLICE_HIGH_WATER + 1];
    struct far *app = app_connects("203.0.113.9:443");
    struct far *far = fake_exit_dialed(&env.exit, "203.0.113.9:443", EXIT_OK);

    far->window = 0;
    far_write(app, bulk, sizeof(bulk));
    ck_assert(far_is_paused(app));
    far_drain(far);
    fake_streams_turn();
    ck_assert(!far_is_paused(app));
}
END_TEST

START_TEST(the_namespaces_own_addresses_are_reset_and_never_dialled)
{
    static const char *const own[] = {"127.0.0.1:80",      "[::1]:80",     "192.0.2.2:80",
                                      "192.0.2.1:80",      "0.0.0.0:80",   "[2001:db8:1::2]:80",
                                      "224.0.0.1:80",      "[ff02::1]:80", "203.0.113.9:0",
                                      "255.255.255.255:80"};

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        check_reset(app_connects(own[i]));
    ck_assert_uint_eq(env.exit.n_dials, 0);
}
END_TEST

START_TEST(what_the_router_serves_is_taken_and_not_dialled)
{
    struct far *app;

    env.served_port = 80;
    app = app_connects("192.0.2.1:80");
    ck_assert_ptr_eq(env.served, app->stream);
    ck_assert(!app->freed && !app->reset);
    check_reset(app_connects("192.0.2.1:81"));
    check_reset(app_connects("192.0.2.2:80"));
    app_connects("203.0.113.9:80");
    ck_assert(fake_exit_is_dialing(&env.exit, "203.0.113.9:80"));
    ck_assert_uint_eq(env.exit.n_dials, 1);
    stream_free(env.served);
}
END_TEST

START_TEST(flows_are_limited_and_the_next_is_reset)
{
    struct far *app = NULL;

    for (int i = 0; i < GATE_FLOWS_MAX; i++) {
        env.g->n_flows++;
        if (i == 0)
            app = app_connects("203.0.113.9:443");
    }
    ck_assert_uint_eq(env.g->n_flows, GATE_FLOWS_MAX + 1);
    check_reset(app_connects("203.0.113.9:443"));
    ck_assert(!app->freed);
    env.g->n_flows = GATE_FLOWS_MAX - 1;
    app = app_connects("203.0.113.9:443");
    ck_assert(!app->freed);
    check_reset(app_connects("203.0.113.9:443"));
    env.g->n_flows = 2;
}
END_TEST

START_TEST(short_memory_resets)
{
    env.exit.open_no_memory = true;
    check_reset(app_connects("203.0.113.9:443"));
}
END_TEST

START_TEST(port_53_is_dialled_at_the_configured_server)
{
    static const char *const asked[] = {"192.0.2.1:53", "127.0.0.53:53", "1.1.1.1:53"};

    for (size_t i = 0; i < 3; i++) {
        app_connects(asked[i]);
        fake_exit_dialed(&env.exit, SERVER, EXIT_OK);
    }
    ck_assert_uint_eq(env.counters.gate_flows, 3);
}
END_TEST

START_TEST(the_end_of_the_gate_resets_everything)
{
    struct far *waiting = app_connects("203.0.113.8:443"), *app = app_connects("203.0.113.9:443");
    struct far *far = fake_exit_dialed(&env.exit, "203.0.113.9:443", EXIT_OK);

    gate_free(env.g);
    env.g = NULL;
    ck_assert(waiting->reset && app->reset && far->reset);
    ck_assert(waiting->freed && app->freed && far->freed);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/gate_tcp");
    TCase *t = tcase_create("tcp");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_true_destination_is_dialled_and_bytes_go_across);
    tcase_add_test(t, ipv6_destinations_are_dialled_too);
    tcase_add_test(t, what_cannot_be_reached_is_reset_at_once);
    tcase_add_test(t, a_reset_on_one_side_is_one_on_the_other);
    tcase_add_test(t, a_slow_side_pauses_the_other);
    tcase_add_test(t, the_namespaces_own_addresses_are_reset_and_never_dialled);
    tcase_add_test(t, what_the_router_serves_is_taken_and_not_dialled);
    tcase_add_test(t, flows_are_limited_and_the_next_is_reset);
    tcase_add_test(t, short_memory_resets);
    tcase_add_test(t, port_53_is_dialled_at_the_configured_server);
    tcase_add_test(t, the_end_of_the_gate_resets_everything);
    suite_add_tcase(s, t);
    return suite_run(s);
}
