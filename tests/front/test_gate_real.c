/*
 * The gate with the real kernel: apps whose packets tproxy catches, in a namespace that the test
 * makes; a keeper that makes real sockets; and an exit whose far side is the test
 */
#include "tests/front/gate_real_env.h"
#include "tests/support/suite.h"

/* ---- TCP ---- */

static int far_accept(void)
{
    int fd;

    ck_assert(turn_until(env.listener, POLLIN));
    fd = accept4(env.listener, NULL, NULL, SOCK_NONBLOCK);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void pump(int from, int to)
{
    static uint8_t out[BULK], in[BULK];
    size_t n_out = 0, n_in = 0;

    for (size_t i = 0; i < BULK; i++)
        out[i] = (uint8_t)(i * 7 + i / 251);
    while (n_in < BULK) {
        ssize_t n = n_out < BULK ? write(from, out + n_out, BULK - n_out) : 0;

        n_out += n > 0 ? (size_t)n : 0;
        ck_assert(turn_until(to, POLLIN));
        n = read(to, in + n_in, BULK - n_in);
        ck_assert_int_gt(n, 0);
        n_in += (size_t)n;
    }
    ck_assert_mem_eq(in, out, BULK);
}

START_TEST(a_connection_carries_bulk_both_ways_and_half_closes)
{
    int app = app_connect(peers[_i], SOCK_STREAM), far = far_accept();
    char c;

    pump(app, far);
    pump(far, app);
    shutdown(app, SHUT_WR);
    ck_assert(turn_until(far, POLLIN));
    ck_assert_int_eq(read(far, &c, 1), 0);
    pump(far, app);
    close(far);
    ck_assert(turn_until(app, POLLIN));
    ck_assert_int_eq(read(app, &c, 1), 0);
    close(app);
    turn();
    ck_assert_uint_eq(env.counters.up_bytes, BULK);
    ck_assert_uint_eq(env.counters.down_bytes, 2 * BULK);
}
END_TEST

START_TEST(what_cannot_be_dialled_is_reset_at_once)
{
    int app;
    char c;

    close(env.listener);
    env.listener = -1;
    app = app_connect(peers[_i], SOCK_STREAM);
    ck_assert(turn_until(app, POLLIN));
    ck_assert_int_eq(read(app, &c, 1), -1);
    ck_assert_int_eq(errno, ECONNRESET);
    close(app);
    ck_assert_uint_eq(env.counters.gate_failed, 1);
}
END_TEST

START_TEST(a_reset_of_the_far_side_is_one_for_the_app)
{
    const struct linger now = {.l_onoff = 1};
    int app = app_connect(peers[_i], SOCK_STREAM), far = far_accept();
    char c;

    turn();
    setsockopt(far, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(far);
    ck_assert(turn_until(app, POLLIN));
    ck_assert_int_eq(read(app, &c, 1), -1);
    ck_assert_int_eq(errno, ECONNRESET);
    close(app);
}
END_TEST

/* ---- UDP ---- */

static void app_says(int app, const void *data, size_t len)
{
    size_t n = env.assoc ? env.assoc->n_sent : 0;

    ck_assert_int_eq(write(app, data, len), (ssize_t)len);
    for (int i = 0; i < 5000 && (!env.assoc || env.assoc->n_sent == n); i++) {
        event_base_loop(env.base, EVLOOP_NONBLOCK);
        usleep(env.assoc && env.assoc->n_sent > n ? 0 : 100);
    }
    ck_assert_ptr_nonnull(env.assoc);
    ck_assert_uint_eq(env.assoc->n_sent, n + 1);
    ck_assert_uint_eq(env.assoc->len, len);
    ck_assert_mem_eq(env.assoc->data, data, len);
}

static void peer_says(const char *peer, const void *data, size_t len)
{
    struct addr from = space_at(peer);

    env.assoc->events->on_datagram(env.assoc->user, &from, data, len, clock_now_ns());
    tx_flush(env.tx);
    turn();
}

static void app_hears(int app, const void *data, size_t len)
{
    static uint8_t buf[65536];

    ck_assert(turn_until(app, POLLIN));
    ck_assert_int_eq(recv(app, buf, sizeof(buf), MSG_DONTWAIT), (ssize_t)len);
    if (len > 0)
        ck_assert_mem_eq(buf, data, len);
}

START_TEST(datagrams_go_to_their_peer_and_the_peers_come_back_from_it)
{
    int app = app_connect(peers[_i], SOCK_DGRAM);
    struct addr peer = space_at(peers[_i]);

    app_says(app, "ping", 4);
    ck_assert(addr_equal(&env.assoc->peer, &peer));
    /* The first one before there is a socket for that peer, the second one from it. */
    peer_says(peers[_i], "one", 3);
    app_hears(app, "one", 3);
    ck_assert_uint_eq(env.n_made, 1);
    peer_says(peers[_i], "two", 3);
    app_hears(app, "two", 3);
    app_says(app, "again", 5);
    ck_assert_uint_eq(env.n_assocs, 1);
    ck_assert_uint_eq(env.n_made, 1);
    close(app);
}
END_TEST

START_TEST(peers_that_were_never_sent_to_come_from_their_address)
{
    static const char *const others[] = {"198.51.100.7:51000", "[2001:db8:7::7]:51000"};
    struct addr near = {.family = _i ? ADDR_IPV6 : ADDR_IPV4}, to = space_at(peers[_i]);
    int app = sock_bind(&near, SOCK_DGRAM, 0);
    struct addr from = {0}, other = space_at(others[_i]);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&to, &sa);
    char buf[8];

    ck_assert_int_eq(sendto(app, "x", 1, 0, (struct sockaddr *)&sa, len), 1);
    for (int i = 0; i < 1000 && !env.assoc; i++)
        turn();
    for (int i = 0; i < 2; i++) {
        peer_says(others[_i], "hello", 5);
        ck_assert(turn_until(app, POLLIN));
        len = sizeof(sa);
        ck_assert_int_eq(recvfrom(app, buf, sizeof(buf), 0, (struct sockaddr *)&sa, &len), 5);
        from = addr_from_sockaddr((struct sockaddr *)&sa);
        ck_assert(addr_equal(&from, &other));
    }
    close(app);
}
END_TEST

/* As SIP clients do. */
START_TEST(an_app_that_has_bound_the_peers_port_everywhere_hears_it_all_the_same)
{
    struct addr any = {.family = _i ? ADDR_IPV6 : ADDR_IPV4, .port = 50000};
    struct addr peer = space_at(peers[_i]);
    int app = sock_bind(&any, SOCK_DGRAM, 0);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&peer, &sa);

    /* Not connected: connect(2) would bind it to one address. */
    ck_assert_int_eq(sendto(app, "REGISTER", 8, 0, (struct sockaddr *)&sa, len), 8);
    for (int i = 0; i < 1000 && !env.assoc; i++)
        turn();
    ck_assert_ptr_nonnull(env.assoc);
    for (int i = 0; i < 5; i++) {
        peer_says(peers[_i], "200 OK", 6);
        app_hears(app, "200 OK", 6);
    }
    ck_assert_uint_eq(env.n_made, 0);
    close(app);
}
END_TEST

START_TEST(an_app_may_bind_the_port_of_a_sip_server_that_was_heard_before)
{
    static const char *const servers[] = {"203.0.113.9:5060", "[2001:db8:9::9]:5060"};
    struct addr any = {.family = _i ? ADDR_IPV6 : ADDR_IPV4, .port = 5060};
    int app = app_connect(servers[_i], SOCK_DGRAM), other;

    app_says(app, "OPTIONS", 7);
    for (int i = 0; i < 3; i++) {
        peer_says(servers[_i], "200 OK", 6);
        app_hears(app, "200 OK", 6);
    }
    other = sock_bind(&any, SOCK_DGRAM, 0);
    ck_assert_int_ge(other, 0);
    close(other);
    close(app);
}
END_TEST

START_TEST(datagrams_of_every_length_arrive_without_a_socket_for_the_peer)
{
    static const size_t lens[] = {0, 1, 2, 3, 63, 64, 65, 1199, 1200, 1500, 9001, 60000};
    static uint8_t data[65536];
    int app = app_connect(peers[_i], SOCK_DGRAM);

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(255 - i * 13 % 255);
    env.keeper_refuses = true;
    app_says(app, "ping", 4);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        peer_says(peers[_i], data, lens[i]);
        app_hears(app, data, lens[i]);
    }
    close(app);
}
END_TEST

START_TEST(a_train_of_a_peer_arrives_whole_and_in_order)
{
    struct addr from = space_at(peers[_i % 2]);
    int app = app_connect(peers[_i % 2], SOCK_DGRAM);
    static uint8_t data[40][1000];

    env.keeper_refuses = _i >= 2; /* from its socket, or as IP packets */
    app_says(app, "ping", 4);
    peer_says(peers[_i % 2], "one", 3);
    app_hears(app, "one", 3);
    for (int i = 0; i < 40; i++) {
        memset(data[i], i, sizeof(data[i]));
        env.assoc->events->on_datagram(env.assoc->user, &from, data[i], sizeof(data[i]),
                                       clock_now_ns());
    }
    tx_flush(env.tx);
    for (int i = 0; i < 40; i++)
        app_hears(app, data[i], sizeof(data[i]));
    close(app);
}
END_TEST

/* ---- refusals ---- */

static void app_is_refused(int app)
{
    char c;

    ck_assert_int_eq(write(app, "ping", 4), 4);
    ck_assert(turn_until(app, POLLERR | POLLIN));
    ck_assert_int_eq(recv(app, &c, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, ECONNREFUSED);
}

START_TEST(a_peer_that_is_denied_is_refused_at_once)
{
    int app = app_connect(peers[_i], SOCK_DGRAM);

    env.permit_result = EXIT_E_FORBIDDEN;
    app_is_refused(app);
    app_is_refused(app);
    ck_assert_uint_eq(env.counters.drop_denied, 2);
    ck_assert_uint_eq(env.assoc->n_sent, 0);
    close(app);
}
END_TEST

START_TEST(while_the_exit_is_down_datagrams_are_refused_at_once)
{
    int app = app_connect(peers[_i], SOCK_DGRAM);

    env.open_result = EXIT_E_DOWN;
    app_is_refused(app);
    app_is_refused(app);
    ck_assert_uint_eq(env.counters.gate_refused, 2);
    close(app);
}
END_TEST

START_TEST(what_icmp_said_far_away_reaches_the_app)
{
    static const uint8_t types[] = {3, 1}, codes[] = {3, 4};
    int app = app_connect(peers[_i], SOCK_DGRAM);
    struct assoc_icmp icmp = {.peer = space_at(peers[_i]), .type = types[_i], .code = codes[_i]};
    char c;

    app_says(app, "ping", 4);
    env.assoc->events->on_icmp(env.assoc->user, &icmp, clock_now_ns());
    tx_flush(env.tx);
    ck_assert(turn_until(app, POLLERR | POLLIN));
    ck_assert_int_eq(recv(app, &c, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, ECONNREFUSED);
    close(app);
}
END_TEST

START_TEST(a_smaller_path_far_away_is_the_apps_path_mtu)
{
    int app = app_connect(PEER_V4, SOCK_DGRAM), mtu = 0;
    struct assoc_icmp icmp = {.peer = space_at(PEER_V4), .type = 3, .code = 4, .data = 900};
    socklen_t len = sizeof(mtu);

    app_says(app, "ping", 4);
    env.assoc->events->on_icmp(env.assoc->user, &icmp, clock_now_ns());
    tx_flush(env.tx);
    turn();
    ck_assert_int_eq(getsockopt(app, IPPROTO_IP, IP_MTU, &mtu, &len), 0);
    ck_assert_int_eq(mtu, 900);
    close(app);
}
END_TEST

/* ---- DNS, and the end ---- */

START_TEST(a_name_server_answers_in_the_name_of_the_one_that_was_asked)
{
    static const char *const asked[] = {"192.0.2.1:53", "[2001:db8:1::1]:53"};
    static const uint8_t query[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
                                   "\x07"
                                   "example\x03"
                                   "com\x00\x00\x41\x00\x01";
    static uint8_t answer[sizeof(query) - 1];
    int app = app_connect(asked[_i], SOCK_DGRAM);

    ck_assert_int_eq(write(app, query, sizeof(query) - 1), sizeof(query) - 1);
    for (int i = 0; i < 1000 && (!env.assoc || env.assoc->n_sent == 0); i++)
        turn();
    ck_assert_ptr_nonnull(env.assoc);
    ck_assert(addr_equal(&env.assoc->peer, &env.dns));
    ck_assert_mem_eq(env.assoc->data + 2, query + 2, sizeof(query) - 3);
    memcpy(answer, env.assoc->data, sizeof(answer));
    answer[2] |= 0x80;
    peer_says("9.9.9.9:53", answer, sizeof(answer));
    memcpy(answer, query, 2);
    app_hears(app, answer, sizeof(answer));
    close(app);
}
END_TEST

START_TEST(the_gate_ends_with_its_keeper)
{
    int app = app_connect(PEER_V4, SOCK_DGRAM);

    app_says(app, "ping", 4);
    end_keeper();
    turn();
    ck_assert_uint_eq(env.n_ended, 1);
    ck_assert_ptr_null(env.gate);
    close(app);
}
END_TEST

int main(void)
{
    const char *why = space_enter();
    Suite *s = suite_create("front/gate_real");
    TCase *t = tcase_create("gate");

    signal(SIGPIPE, SIG_IGN);
    if (why)
        return space_skip(why);
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_connection_carries_bulk_both_ways_and_half_closes, 0, 2);
    tcase_add_loop_test(t, what_cannot_be_dialled_is_reset_at_once, 0, 2);
    tcase_add_loop_test(t, a_reset_of_the_far_side_is_one_for_the_app, 0, 2);
    tcase_add_loop_test(t, datagrams_go_to_their_peer_and_the_peers_come_back_from_it, 0, 2);
    tcase_add_loop_test(t, peers_that_were_never_sent_to_come_from_their_address, 0, 2);
    tcase_add_loop_test(t, an_app_that_has_bound_the_peers_port_everywhere_hears_it_all_the_same, 0,
                        2);
    tcase_add_loop_test(t, an_app_may_bind_the_port_of_a_sip_server_that_was_heard_before, 0, 2);
    tcase_add_loop_test(t, datagrams_of_every_length_arrive_without_a_socket_for_the_peer, 0, 2);
    tcase_add_loop_test(t, a_train_of_a_peer_arrives_whole_and_in_order, 0, 4);
    tcase_add_loop_test(t, a_peer_that_is_denied_is_refused_at_once, 0, 2);
    tcase_add_loop_test(t, while_the_exit_is_down_datagrams_are_refused_at_once, 0, 2);
    tcase_add_loop_test(t, what_icmp_said_far_away_reaches_the_app, 0, 2);
    tcase_add_test(t, a_smaller_path_far_away_is_the_apps_path_mtu);
    tcase_add_loop_test(t, a_name_server_answers_in_the_name_of_the_one_that_was_asked, 0, 2);
    tcase_add_test(t, the_gate_ends_with_its_keeper);
    suite_add_tcase(s, t);
    return suite_run(s);
}
