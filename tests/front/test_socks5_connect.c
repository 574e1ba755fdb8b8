/*
 * CONNECT: addresses, names, relaying, and our own loopback port
 */
#include <errno.h>

#include "tests/front/socks5_env.h"

#define PEER "203.0.113.9:6000"

static struct far *app, *far;

/* An app whose CONNECT has succeeded. */
static void connected(void)
{
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    far = fake_exit_dialed(&env.exit, PEER, EXIT_OK);
    check_reply(app, SOCKS5_SUCCEEDED);
}

/* ---- addresses ---- */

START_TEST(the_reply_names_the_relayed_address_in_its_own_family)
{
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    ck_assert_uint_eq(app->n_got, 0);
    fake_exit_dialed(&env.exit, PEER, EXIT_OK);
    assert_addr_eq(check_reply(app, SOCKS5_SUCCEEDED), "192.0.2.1:50000");
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "2001:db8:9::9", 6000);
    fake_exit_dialed(&env.exit, "[2001:db8:9::9]:6000", EXIT_OK);
    assert_addr_eq(check_reply(app, SOCKS5_SUCCEEDED), "[2001:db8::1]:50000");
    ck_assert_uint_eq(env.counters.socks_connect, 2);
}
END_TEST

START_TEST(a_relayed_address_that_is_not_known_is_replaced_by_our_own)
{
    struct addr own = socks5_addr(env.s);
    struct addr bound;

    env.exit.relayed_v4 = (struct addr){0};
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    fake_exit_dialed(&env.exit, PEER, EXIT_OK);
    bound = check_reply(app, SOCKS5_SUCCEEDED);
    ck_assert(addr_equal(&bound, &own));
    env.exit.relayed_v4 = at("0.0.0.0:0");
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    fake_exit_dialed(&env.exit, PEER, EXIT_OK);
    bound = check_reply(app, SOCKS5_SUCCEEDED);
    ck_assert(addr_equal(&bound, &own));
}
END_TEST

START_TEST(ip_literals_in_a_names_clothes_are_addresses)
{
    static const struct {
        const char *text, *peer;
    } rows[] = {
        {"203.0.113.9", PEER},
        {"2001:db8:9::9", "[2001:db8:9::9]:6000"},
        {"[2001:db8:9::9]", "[2001:db8:9::9]:6000"},
        {"::ffff:203.0.113.9", PEER},
        {"[::ffff:203.0.113.9]", PEER},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t request[64] = {5, 1, 0, 3, (uint8_t)strlen(rows[i].text)};
        size_t len = 5 + strlen(rows[i].text);

        memcpy(request + 5, rows[i].text, strlen(rows[i].text));
        put_u16(request + len, 6000);
        app = app_ready();
        far_write(app, request, len + 2);
        ck_assert_uint_eq(env.exit.n_lookups, 0);
        ck_assert(fake_exit_is_dialing(&env.exit, rows[i].peer));
        fake_exit_dialed(&env.exit, rows[i].peer, EXIT_E_REFUSED);
    }
}
END_TEST

START_TEST(a_mapped_address_is_its_ipv4_one)
{
    app = app_ready();
    SAY(app, "\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xCB\x00\x71\x09\x17\x70");
    ck_assert(fake_exit_is_dialing(&env.exit, PEER));
}
END_TEST

START_TEST(each_failure_of_the_exit_has_its_code)
{
    static const struct {
        enum exit_result result;
        enum socks5_rep rep;
    } rows[] = {
        {EXIT_E_FAMILY, 3},      {EXIT_E_CAPACITY, 1}, {EXIT_E_FORBIDDEN, 2}, {EXIT_E_TOKEN, 1},
        {EXIT_E_UNREACHABLE, 4}, {EXIT_E_TIMEOUT, 6},  {EXIT_E_DUPLICATE, 1}, {EXIT_E_DOWN, 3},
        {EXIT_E_REFUSED, 5},     {EXIT_E_NAME, 4},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        app = app_ready();
        app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
        fake_exit_dialed(&env.exit, PEER, rows[i].result);
        check_failed(app, rows[i].rep);
        app = app_ready();
        app_asks(app, SOCKS5_CONNECT, "peer.example", 6000);
        fake_exit_resolved(&env.exit, "peer.example", rows[i].result, "");
        check_failed(app, rows[i].rep);
    }
    ck_assert_uint_eq(env.counters.socks_failed, 2 * sizeof(rows) / sizeof(rows[0]));
}
END_TEST

START_TEST(loopback_and_private_targets_go_to_the_exit_like_all_others)
{
    static const char *const targets[] = {"127.0.0.1:22", "10.0.0.1:80", "169.254.169.254:80",
                                          "[::1]:80"};

    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        struct addr to = at(targets[i]);
        char ip[ADDR_STRLEN];

        app = app_ready();
        app_asks(app, SOCKS5_CONNECT, addr_format_ip(&to, ip, sizeof(ip)), to.port);
        fake_exit_dialed(&env.exit, targets[i], EXIT_E_FORBIDDEN);
        check_failed(app, SOCKS5_FORBIDDEN);
    }
}
END_TEST

START_TEST(port_zero_and_an_exit_out_of_memory_get_1)
{
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 0);
    check_failed(app, SOCKS5_FAILED);
    env.exit.open_no_memory = true;
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    check_failed(app, SOCKS5_FAILED);
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "peer.example", 6000);
    check_failed(app, SOCKS5_FAILED);
}
END_TEST

START_TEST(an_exit_without_dial_fails_closed)
{
    struct exit_ops ops = *env.exit.exit.ops;
    const struct exit_ops *all = env.exit.exit.ops;

    ops.dial = NULL;
    env.exit.exit.ops = &ops;
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    check_failed(app, SOCKS5_FAILED);
    env.exit.exit.ops = all;
}
END_TEST

START_TEST(what_takes_a_minute_gets_6_and_is_given_up)
{
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    env_pass(59);
    ck_assert_uint_eq(app->n_got, 0);
    env_pass(1);
    check_reply(app, SOCKS5_TTL_EXPIRED);
    ck_assert(!fake_exit_is_dialing(&env.exit, PEER));
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "peer.example", 6000);
    env_pass(60);
    check_reply(app, SOCKS5_TTL_EXPIRED);
    ck_assert(list_empty(&env.exit.lookups));
}
END_TEST

/* ---- names: RFC 8305 ---- */

static void asks_for_name(const char *ips)
{
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "peer.example", 443);
    fake_exit_resolved(&env.exit, "peer.example", EXIT_OK, ips);
}

START_TEST(a_names_addresses_are_tried_in_order_as_each_fails)
{
    asks_for_name("2001:db8:9::9 203.0.113.9 203.0.113.10");
    ck_assert_uint_eq(env.exit.n_dials, 1);
    fake_exit_dialed(&env.exit, "[2001:db8:9::9]:443", EXIT_E_FAMILY);
    ck_assert_uint_eq(env.exit.n_dials, 2);
    fake_exit_dialed(&env.exit, "203.0.113.9:443", EXIT_E_REFUSED);
    fake_exit_dialed(&env.exit, "203.0.113.10:443", EXIT_OK);
    check_reply(app, SOCKS5_SUCCEEDED);
}
END_TEST

START_TEST(when_all_fail_the_last_failure_counts_but_a_missing_family_says_least)
{
    asks_for_name("203.0.113.9 2001:db8:9::9");
    fake_exit_dialed(&env.exit, "203.0.113.9:443", EXIT_E_REFUSED);
    fake_exit_dialed(&env.exit, "[2001:db8:9::9]:443", EXIT_E_FAMILY);
    check_failed(app, SOCKS5_REFUSED);
    asks_for_name("2001:db8:9::9");
    fake_exit_dialed(&env.exit, "[2001:db8:9::9]:443", EXIT_E_FAMILY);
    check_failed(app, SOCKS5_NET_UNREACHABLE);
}
END_TEST

/* Turns the loop until so many dials were made, or two seconds have passed. */
static void until_dials(unsigned int n)
{
    for (int i = 0; i < 2000 && env.exit.n_dials < n; i++) {
        event_base_loop(env.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    ck_assert_uint_eq(env.exit.n_dials, n);
}

START_TEST(a_silent_address_does_not_hold_up_the_next_and_the_first_success_wins)
{
    env.s->params.attempt_delay_ms = 1;
    asks_for_name("203.0.113.9 203.0.113.10 203.0.113.11");
    until_dials(3);
    far = fake_exit_dialed(&env.exit, "203.0.113.10:443", EXIT_OK);
    check_reply(app, SOCKS5_SUCCEEDED);
    /* The others were hung up. */
    ck_assert(list_empty(&env.exit.dials));
    far_write(far, "hello", 5);
    GOT(app, "hello");
}
END_TEST

START_TEST(an_attempt_that_fails_while_others_run_fails_nothing)
{
    env.s->params.attempt_delay_ms = 1;
    asks_for_name("203.0.113.9 203.0.113.10");
    until_dials(2);
    fake_exit_dialed(&env.exit, "203.0.113.10:443", EXIT_E_TIMEOUT);
    ck_assert_uint_eq(app->n_got, 0);
    fake_exit_dialed(&env.exit, "203.0.113.9:443", EXIT_OK);
    check_reply(app, SOCKS5_SUCCEEDED);
}
END_TEST

START_TEST(more_addresses_than_we_keep_are_left_out)
{
    char ips[1024] = "";

    for (int i = 1; i <= 20; i++) {
        char ip[32];

        snprintf(ip, sizeof(ip), "%s203.0.113.%d", i > 1 ? " " : "", i);
        strcat(ips, ip);
    }
    asks_for_name(ips);
    for (int i = 1; i <= SOCKS5_ADDRS_MAX; i++) {
        char peer[64];

        snprintf(peer, sizeof(peer), "203.0.113.%d:443", i);
        fake_exit_dialed(&env.exit, peer, EXIT_E_TIMEOUT);
    }
    check_failed(app, SOCKS5_TTL_EXPIRED);
}
END_TEST

START_TEST(an_app_that_leaves_while_its_name_is_asked_or_its_peer_dialed_leaves_nothing)
{
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "peer.example", 443);
    far_reset(app);
    fake_streams_turn();
    ck_assert(list_empty(&env.exit.lookups));
    asks_for_name("203.0.113.9 203.0.113.10");
    far_reset(app);
    fake_streams_turn();
    ck_assert(list_empty(&env.exit.dials));
    ck_assert_uint_eq(env.counters.socks_connections, 0);
}
END_TEST

/* ---- relaying ---- */

START_TEST(bytes_behind_the_request_are_kept_for_the_far_side)
{
    uint8_t buf[300];
    size_t len = request_make(buf, sizeof(buf), SOCKS5_CONNECT, "203.0.113.9", 6000);

    app = app_ready();
    memcpy(buf + len, "early ", 6);
    far_write(app, buf, len + 6);
    far_write(app, "bird", 4);
    ck_assert(far_is_paused(app));
    fake_streams_turn();
    far = fake_exit_dialed(&env.exit, PEER, EXIT_OK);
    check_reply(app, SOCKS5_SUCCEEDED);
    fake_streams_turn();
    GOT(far, "early bird");
}
END_TEST

START_TEST(an_app_that_only_ends_its_sending_still_gets_the_answer)
{
    app = app_ready();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    far_fin(app);
    fake_streams_turn();
    ck_assert(fake_exit_is_dialing(&env.exit, PEER));
    far = fake_exit_dialed(&env.exit, PEER, EXIT_OK);
    check_reply(app, SOCKS5_SUCCEEDED);
    ck_assert(far->fin);
    far_write(far, "answer", 6);
    GOT(app, "answer");
    far_fin(far);
    fake_streams_turn();
    ck_assert(app->freed);
    ck_assert(!app->reset);
}
END_TEST

START_TEST(bytes_cross_unchanged_both_ways_and_are_counted)
{
    connected();
    SAY(app, "up\0up");
    GOT(far, "up\0up");
    SAY(far, "down\xFF");
    GOT(app, "down\xFF");
    ck_assert_uint_eq(env.counters.up_bytes, 5);
    ck_assert_uint_eq(env.counters.down_bytes, 5);
}
END_TEST

START_TEST(each_slow_reader_pauses_its_sender_and_nobody_else)
{
    static uint8_t block[64 * 1024];
    struct far *slow, *fast;

    for (int i = 0; i < 2; i++) {
        connected();
        slow = i == 0 ? app : far;
        fast = i == 0 ? far : app;
        slow->window = 0;
        for (int n = 0; n < 20 && !far_is_paused(fast); n++)
            far_write(fast, block, sizeof(block));
        ck_assert(far_is_paused(fast));
        ck_assert_uint_le(slow->n_got, SPLICE_HIGH_WATER + sizeof(block));
        ck_assert(!far_is_paused(slow));
        far_write(slow, "still", 5);
        GOT(fast, "still");
        far_drain(slow);
        fake_streams_turn();
        ck_assert(!far_is_paused(fast));
    }
}
END_TEST

START_TEST(a_half_close_is_passed_on_and_the_other_way_goes_on)
{
    connected();
    far_fin(app);
    ck_assert(far->fin);
    far_write(far, "late", 4);
    GOT(app, "late");
    far_fin(far);
    fake_streams_turn();
    ck_assert(app->freed && far->freed);
    ck_assert(!app->reset && !far->reset);
    ck_assert_uint_eq(env.counters.socks_connections, 0);
}
END_TEST

START_TEST(a_far_side_that_was_cut_off_does_not_look_like_one_that_ended)
{
    connected();
    far_write(far, "half of", 7);
    far_reset(far);
    fake_streams_turn();
    GOT(app, "half of");
    ck_assert(app->reset);
    ck_assert(app->freed);
    connected();
    far_reset(app);
    fake_streams_turn();
    ck_assert(far->reset);
    ck_assert(far->freed);
}
END_TEST

START_TEST(streams_that_our_own_end_cuts_off_do_not_look_complete)
{
    connected();
    SAY(app, "half of");
    socks5_free(env.s);
    env.s = NULL;
    ck_assert(app->reset && far->reset);
    ck_assert(app->freed && far->freed);
}
END_TEST

START_TEST(quiet_streams_are_not_cut)
{
    connected();
    for (int i = 0; i < 48; i++)
        env_pass(3600);
    SAY(far, "awake");
    GOT(app, "awake");
}
END_TEST

/* ---- our own port ---- */

static void ours_is(const char *name)
{
    strcpy(env.ours, name);
    env.ours_port = 3478;
}

START_TEST(our_own_loopback_port_is_joined_and_not_dialed)
{
    static const char *const names[] = {"127.0.0.1", "localhost", "::1"};
    struct addr own = socks5_addr(env.s), bound;

    for (size_t i = 0; i < 3; i++) {
        ours_is(names[i]);
        app = app_at("127.0.0.1:41000");
        SAY(app, "\x05\x01\x00");
        GOT(app, "\x05\x00");
        app_asks(app, SOCKS5_CONNECT, names[i], 3478);
        bound = check_reply(app, SOCKS5_SUCCEEDED);
        ck_assert(addr_equal(&bound, &own));
        ck_assert_ptr_eq(env.joined, app->stream);
        assert_addr_eq(env.joined_app, "127.0.0.1:41000");
        ck_assert_uint_eq(env.counters.socks_connections, 0); /* it is the TURN server's now */
        stream_free(env.joined);
        env.joined = NULL;
    }
    ck_assert_uint_eq(env.exit.n_dials + env.exit.n_lookups, 0);
}
END_TEST

START_TEST(bytes_behind_a_request_for_our_own_port_go_with_the_stream)
{
    uint8_t buf[300];
    size_t len = request_make(buf, sizeof(buf), SOCKS5_CONNECT, "127.0.0.1", 3478);

    ours_is("127.0.0.1");
    app = app_ready();
    memcpy(buf + len, "stun", 4);
    far_write(app, buf, len + 4);
    check_reply(app, SOCKS5_SUCCEEDED);
    ck_assert_uint_eq(far_n_unread(app), 4);
}
END_TEST

START_TEST(only_connect_is_joined)
{
    ours_is("127.0.0.1");
    app = app_ready();
    env.exit.open_later = true;
    app_asks(app, SOCKS5_BIND, "127.0.0.1", 3478);
    app = app_ready();
    app_asks(app, SOCKS5_ASSOCIATE, "127.0.0.1", 3478);
    ck_assert_uint_eq(env.asked_ours, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/socks5_connect");
    TCase *t = tcase_create("connect");
    TCase *u = tcase_create("relaying");

    tcase_add_checked_fixture(t, env_begin, env_end);
    tcase_add_test(t, the_reply_names_the_relayed_address_in_its_own_family);
    tcase_add_test(t, a_relayed_address_that_is_not_known_is_replaced_by_our_own);
    tcase_add_test(t, ip_literals_in_a_names_clothes_are_addresses);
    tcase_add_test(t, a_mapped_address_is_its_ipv4_one);
    tcase_add_test(t, each_failure_of_the_exit_has_its_code);
    tcase_add_test(t, loopback_and_private_targets_go_to_the_exit_like_all_others);
    tcase_add_test(t, port_zero_and_an_exit_out_of_memory_get_1);
    tcase_add_test(t, an_exit_without_dial_fails_closed);
    tcase_add_test(t, what_takes_a_minute_gets_6_and_is_given_up);
    tcase_add_test(t, a_names_addresses_are_tried_in_order_as_each_fails);
    tcase_add_test(t, when_all_fail_the_last_failure_counts_but_a_missing_family_says_least);
    tcase_add_test(t, a_silent_address_does_not_hold_up_the_next_and_the_first_success_wins);
    tcase_add_test(t, an_attempt_that_fails_while_others_run_fails_nothing);
    tcase_add_test(t, more_addresses_than_we_keep_are_left_out);
    tcase_add_test(t, an_app_that_leaves_while_its_name_is_asked_or_its_peer_dialed_leaves_nothing);
    tcase_add_test(t, our_own_loopback_port_is_joined_and_not_dialed);
    tcase_add_test(t, bytes_behind_a_request_for_our_own_port_go_with_the_stream);
    tcase_add_test(t, only_connect_is_joined);
    suite_add_tcase(s, t);

    tcase_add_checked_fixture(u, env_begin, env_end);
    tcase_add_test(u, bytes_behind_the_request_are_kept_for_the_far_side);
    tcase_add_test(u, an_app_that_only_ends_its_sending_still_gets_the_answer);
    tcase_add_test(u, bytes_cross_unchanged_both_ways_and_are_counted);
    tcase_add_test(u, each_slow_reader_pauses_its_sender_and_nobody_else);
    tcase_add_test(u, a_half_close_is_passed_on_and_the_other_way_goes_on);
    tcase_add_test(u, a_far_side_that_was_cut_off_does_not_look_like_one_that_ended);
    tcase_add_test(u, streams_that_our_own_end_cuts_off_do_not_look_complete);
    tcase_add_test(u, quiet_streams_are_not_cut);
    suite_add_tcase(s, u);
    return suite_run(s);
}
