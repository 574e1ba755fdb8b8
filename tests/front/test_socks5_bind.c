/*
 * BIND: two replies, one expected peer
 */
#include <errno.h>

#include "tests/front/socks5_env.h"

static struct far *app;

static void bind_to(const char *peer)
{
    app = app_ready();
    app_asks(app, SOCKS5_BIND, peer, 6000);
}

START_TEST(the_first_reply_says_where_the_second_who)
{
    struct far *peer;

    bind_to("203.0.113.9");
    assert_addr_eq(check_reply(app, SOCKS5_SUCCEEDED), "192.0.2.1:50000");
    ck_assert(env.exit.last->want.tcp && env.exit.last->want.v4 && !env.exit.last->want.v6);
    assert_addr_eq(env.exit.permit_peer, "203.0.113.9:0");
    /* From any port of the expected host. */
    peer = fake_exit_accept(env.exit.last, "203.0.113.9:7777");
    assert_addr_eq(check_reply(app, SOCKS5_SUCCEEDED), "203.0.113.9:7777");
    SAY(peer, "from the peer");
    GOT(app, "from the peer");
    SAY(app, "from the app");
    GOT(peer, "from the app");
    ck_assert_uint_eq(env.counters.socks_bind, 1);
}
END_TEST

START_TEST(an_ipv6_peer_gets_ipv6_replies)
{
    bind_to("2001:db8:9::9");
    assert_addr_eq(check_reply(app, SOCKS5_SUCCEEDED), "[2001:db8::1]:50000");
    ck_assert(env.exit.last->want.v6 && !env.exit.last->want.v4);
    fake_exit_accept(env.exit.last, "[2001:db8:9::9]:7777");
    assert_addr_eq(check_reply(app, SOCKS5_SUCCEEDED), "[2001:db8:9::9]:7777");
}
END_TEST

START_TEST(without_a_concrete_peer_2)
{
    bind_to("0.0.0.0");
    check_failed(app, SOCKS5_FORBIDDEN);
    bind_to("::");
    check_failed(app, SOCKS5_FORBIDDEN);
    ck_assert_uint_eq(env.exit.n_opened, 0);
}
END_TEST

START_TEST(a_denied_peer_gets_2_and_no_port)
{
    fake_exit_deny(&env.exit, "10.0.0.1");
    bind_to("10.0.0.1");
    check_failed(app, SOCKS5_FORBIDDEN);
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

START_TEST(only_the_expected_peer_is_accepted)
{
    struct far *stranger, *peer;

    bind_to("203.0.113.9");
    check_reply(app, SOCKS5_SUCCEEDED);
    stranger = fake_exit_accept(env.exit.last, "203.0.113.10:6000");
    ck_assert(stranger->freed);
    ck_assert_uint_eq(app->n_got, 0);
    peer = fake_exit_accept(env.exit.last, "203.0.113.9:6000");
    check_reply(app, SOCKS5_SUCCEEDED);
    stranger = fake_exit_accept(env.exit.last, "203.0.113.9:6001"); /* one is all there is */
    ck_assert(stranger->freed);
    ck_assert(!peer->freed);
}
END_TEST

START_TEST(a_name_stands_for_all_its_addresses_of_one_family)
{
    bind_to("peer.example");
    fake_exit_resolved(&env.exit, "peer.example", EXIT_OK, "203.0.113.9 2001:db8::9 203.0.113.10");
    check_reply(app, SOCKS5_SUCCEEDED);
    ck_assert_uint_eq(env.exit.n_permits, 2);
    fake_exit_accept(env.exit.last, "203.0.113.10:1234");
    check_reply(app, SOCKS5_SUCCEEDED);
    bind_to("none.example");
    fake_exit_resolved(&env.exit, "none.example", EXIT_E_NAME, "");
    check_failed(app, SOCKS5_HOST_UNREACHABLE);
}
END_TEST

START_TEST(the_first_reply_waits_until_the_far_side_lets_the_peer_in)
{
    env.exit.permit_later = true;
    bind_to("203.0.113.9");
    ck_assert_uint_eq(app->n_got, 0);
    fake_exit_permitted(&env.exit, "203.0.113.9", EXIT_OK);
    check_reply(app, SOCKS5_SUCCEEDED);
    bind_to("203.0.113.9");
    fake_exit_permitted(&env.exit, "203.0.113.9", EXIT_E_FORBIDDEN);
    check_failed(app, SOCKS5_FORBIDDEN);
}
END_TEST

START_TEST(an_exit_that_cannot_listen_fails_the_request)
{
    env.exit.open_v4 = EXIT_E_DOWN;
    bind_to("203.0.113.9");
    check_failed(app, SOCKS5_NET_UNREACHABLE);
    env.exit.open_later = true;
    env.exit.open_v4 = EXIT_E_CAPACITY;
    bind_to("203.0.113.9");
    fake_exit_answer(env.exit.last);
    check_failed(app, SOCKS5_FAILED);
    env.exit.open_no_memory = true;
    bind_to("203.0.113.9");
    check_failed(app, SOCKS5_FAILED);
    bind_to("peer.example");
    check_failed(app, SOCKS5_FAILED);
}
END_TEST

START_TEST(a_relayed_address_that_nobody_could_call_is_a_failure)
{
    env.exit.relayed_v4 = at("0.0.0.0:50000");
    bind_to("203.0.113.9");
    check_failed(app, SOCKS5_FAILED);
}
END_TEST

START_TEST(a_peer_that_does_not_come_gets_6_after_three_minutes)
{
    bind_to("203.0.113.9");
    check_reply(app, SOCKS5_SUCCEEDED);
    env_pass(179);
    ck_assert_uint_eq(app->n_got, 0);
    env_pass(1);
    check_reply(app, SOCKS5_TTL_EXPIRED);
    ck_assert(app->close_called);
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

START_TEST(an_association_lost_while_waiting_is_the_second_reply)
{
    bind_to("203.0.113.9");
    check_reply(app, SOCKS5_SUCCEEDED);
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    check_failed(app, SOCKS5_NET_UNREACHABLE);
}
END_TEST

START_TEST(the_association_lives_as_long_as_the_stream_through_it)
{
    struct far *peer;

    bind_to("203.0.113.9");
    check_reply(app, SOCKS5_SUCCEEDED);
    peer = fake_exit_accept(env.exit.last, "203.0.113.9:6000");
    check_reply(app, SOCKS5_SUCCEEDED);
    env_pass(86400);
    ck_assert_ptr_nonnull(env.exit.last);
    ck_assert(!peer->freed);
    far_fin(peer);
    far_fin(app);
    fake_streams_turn();
    ck_assert(peer->freed && app->freed);
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

START_TEST(an_association_lost_behind_the_stream_leaves_the_stream_to_its_end)
{
    struct far *peer;

    bind_to("203.0.113.9");
    check_reply(app, SOCKS5_SUCCEEDED);
    peer = fake_exit_accept(env.exit.last, "203.0.113.9:6000");
    check_reply(app, SOCKS5_SUCCEEDED);
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    ck_assert_ptr_null(env.exit.last);
    ck_assert(!app->close_called);
    far_reset(peer);
    fake_streams_turn();
    ck_assert(app->reset);
    ck_assert(app->freed);
}
END_TEST

START_TEST(an_app_that_leaves_while_waiting_leaves_nothing)
{
    bind_to("203.0.113.9");
    check_reply(app, SOCKS5_SUCCEEDED);
    far_reset(app);
    fake_streams_turn();
    ck_assert_ptr_null(env.exit.last);
    bind_to("peer.example");
    far_reset(app);
    fake_streams_turn();
    ck_assert(list_empty(&env.exit.lookups));
    ck_assert_uint_eq(env.counters.socks_connections, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/socks5_bind");
    TCase *t = tcase_create("bind");

    tcase_add_checked_fixture(t, env_begin, env_end);
    tcase_add_test(t, the_first_reply_says_where_the_second_who);
    tcase_add_test(t, an_ipv6_peer_gets_ipv6_replies);
    tcase_add_test(t, without_a_concrete_peer_2);
    tcase_add_test(t, a_denied_peer_gets_2_and_no_port);
    tcase_add_test(t, only_the_expected_peer_is_accepted);
    tcase_add_test(t, a_name_stands_for_all_its_addresses_of_one_family);
    tcase_add_test(t, the_first_reply_waits_until_the_far_side_lets_the_peer_in);
    tcase_add_test(t, an_exit_that_cannot_listen_fails_the_request);
    tcase_add_test(t, a_relayed_address_that_nobody_could_call_is_a_failure);
    tcase_add_test(t, a_peer_that_does_not_come_gets_6_after_three_minutes);
    tcase_add_test(t, an_association_lost_while_waiting_is_the_second_reply);
    tcase_add_test(t, the_association_lives_as_long_as_the_stream_through_it);
    tcase_add_test(t, an_association_lost_behind_the_stream_leaves_the_stream_to_its_end);
    tcase_add_test(t, an_app_that_leaves_while_waiting_leaves_nothing);
    suite_add_tcase(s, t);
    return suite_run(s);
}
