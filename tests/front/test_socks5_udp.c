/*
 * UDP ASSOCIATE: a real socket on loopback, apps and strangers around it, a fake exit behind it
 */
#include <errno.h>

#include "tests/front/socks5_env.h"

#define PEER "203.0.113.9:6000"

static struct far *app;
static struct addr bound; /* of the last association */
static int sock;          /* the app's */

static void setup(void)
{
    env_begin();
    sock = -1;
}

static void teardown(void)
{
    if (sock >= 0)
        close(sock);
    env_end();
}

static int udp_at(const char *text)
{
    struct addr local = at(text);
    int fd = sock_bind(&local, SOCK_DGRAM, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static uint16_t port_of(int fd)
{
    struct addr local = {0};

    ck_assert_int_eq(sock_local_addr(fd, &local), 0);
    return local.port;
}

static void associate_at(const char *remote, const char *said, uint16_t port)
{
    app = app_at(remote);
    SAY(app, "\x05\x01\x00");
    GOT(app, "\x05\x00");
    app_asks(app, SOCKS5_ASSOCIATE, said, port);
}

static void associate(void)
{
    associate_at("127.0.0.1:40000", "0.0.0.0", 0);
    bound = check_reply(app, SOCKS5_SUCCEEDED);
    sock = udp_at("127.0.0.1:0");
}

static void send_raw(int fd, const void *data, size_t len)
{
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(&bound, &sa);

    ck_assert_int_eq(sendto(fd, data, len, 0, (struct sockaddr *)&sa, sa_len), (ssize_t)len);
    event_base_loop(env.base, EVLOOP_NONBLOCK);
}

/* One datagram to `target` (an IP literal or a name). */
static void send_to(int fd, const char *target, uint16_t port, const void *data, size_t len)
{
    uint8_t buf[4096];
    struct writer w = writer_make(buf, sizeof(buf));
    struct socks5_target t;

    ck_assert(socks5_target_of(target, strlen(target), port, &t));
    writer_zeros(&w, 3);
    socks5_put_target(&w, &t);
    writer_bytes(&w, data, len);
    ck_assert(!w.failed);
    send_raw(fd, buf, w.len);
}

static void check_sent(size_t i, const char *peer, const char *text)
{
    ck_assert_uint_gt(env.exit.n_sent, i);
    assert_addr_eq(env.exit.sent[i].peer, peer);
    ck_assert_uint_eq(env.exit.sent[i].len, strlen(text));
    ck_assert_mem_eq(env.exit.sent[i].data, text, strlen(text));
}

/* A datagram of the far side, as an exit delivers it: the queue is flushed behind it. */
static void far_sends(const char *peer, const char *text)
{
    struct addr from = at(peer);
    struct assoc *a = env.exit.last;

    a->events->on_datagram(a->user, &from, (const uint8_t *)text, strlen(text), fake_now_ns);
    tx_flush(env.tx);
}

static size_t receive(int fd, uint8_t *buf, size_t cap)
{
    ssize_t n = recv(fd, buf, cap, MSG_DONTWAIT);

    return n < 0 ? 0 : (size_t)n;
}

/* ---- the association ---- */

START_TEST(the_reply_names_the_tcp_connections_own_address_and_a_port_of_its)
{
    associate();
    ck_assert(addr_is_loopback(&bound));
    ck_assert_uint_ne(bound.port, 0);
    ck_assert(env.exit.last->want.v4 && env.exit.last->want.v6 && !env.exit.last->want.tcp);
    ck_assert_uint_eq(env.counters.socks_associate, 1);
    ck_assert_uint_eq(env.counters.socks_associations, 1);
}
END_TEST

START_TEST(the_socket_is_bound_to_that_address_and_to_no_other)
{
    char text[32];

    associate();
    /* The kernel would refuse this beside a wildcard's socket. */
    snprintf(text, sizeof(text), "127.0.0.2:%u", bound.port);
    close(udp_at(text));
    snprintf(text, sizeof(text), "0.0.0.0:%u", bound.port);
    bound = at(text);
    ck_assert_int_eq(sock_bind(&bound, SOCK_DGRAM, 0), -EADDRINUSE);
}
END_TEST

START_TEST(the_reply_waits_for_the_exit)
{
    env.exit.open_later = true;
    associate_at("127.0.0.1:40000", "0.0.0.0", 0);
    ck_assert_uint_eq(app->n_got, 0);
    fake_exit_answer(env.exit.last);
    check_reply(app, SOCKS5_SUCCEEDED);
}
END_TEST

START_TEST(an_exit_without_an_association_fails_the_request)
{
    static const struct {
        enum exit_result result;
        enum socks5_rep rep;
    } rows[] = {{EXIT_E_DOWN, 3},   {EXIT_E_CAPACITY, 1}, {EXIT_E_FORBIDDEN, 2},
                {EXIT_E_FAMILY, 3}, {EXIT_E_TIMEOUT, 6},  {EXIT_E_UNREACHABLE, 4}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        env.exit.open_later = i % 2;
        env.exit.open_v4 = env.exit.open_v6 = rows[i].result;
        associate_at("127.0.0.1:40000", "0.0.0.0", 0);
        if (env.exit.open_later)
            fake_exit_answer(env.exit.last);
        check_failed(app, rows[i].rep);
    }
    ck_assert_uint_eq(env.counters.socks_associations, 0);
    env.exit.open_no_memory = true;
    associate_at("127.0.0.1:40000", "0.0.0.0", 0);
    check_failed(app, SOCKS5_FAILED);
}
END_TEST

START_TEST(one_family_is_enough)
{
    env.exit.open_v6 = EXIT_E_FAMILY;
    associate();
    send_to(sock, "2001:db8:9::9", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.counters.drop_send, 1);
    send_to(sock, "203.0.113.9", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_sent, 1);
}
END_TEST

START_TEST(an_answer_that_never_comes_gets_6)
{
    env.exit.open_later = true;
    associate_at("127.0.0.1:40000", "0.0.0.0", 0);
    env_pass(60);
    check_reply(app, SOCKS5_TTL_EXPIRED);
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

START_TEST(the_association_ends_with_its_tcp_connection)
{
    for (int i = 0; i < 2; i++) {
        associate();
        if (i == 0)
            far_fin(app);
        else
            far_reset(app);
        fake_streams_turn();
        ck_assert(app->freed);
        ck_assert_ptr_null(env.exit.last);
        ck_assert_uint_eq(env.counters.socks_associations, 0);
        close(sock);
    }
    sock = -1;
}
END_TEST

START_TEST(bytes_on_the_tcp_connection_mean_nothing_and_quiet_is_fine)
{
    associate();
    SAY(app, "keep alive");
    env_pass(86400);
    ck_assert(!app->close_called);
    send_to(sock, "203.0.113.9", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_sent, 1);
}
END_TEST

START_TEST(associations_are_limited_and_counted)
{
    env.s->n_assocs = SOCKS5_ASSOCS_MAX;
    associate_at("127.0.0.1:40000", "0.0.0.0", 0);
    check_failed(app, SOCKS5_FAILED);
    ck_assert_uint_eq(env.counters.socks_refused, 1);
    env.s->n_assocs = 0;
}
END_TEST

/* ---- datagrams ---- */

START_TEST(datagrams_go_to_their_peers_and_answers_name_theirs)
{
    static const char v4[] = "\0\0\0\x01\xCB\x00\x71\x09\x17\x70"
                             "pong";
    static const char v6[] = "\0\0\0\x04\x20\x01\x0D\xB8\0\x09\0\0\0\0\0\0\0\0\0\x09\x17\x70"
                             "six";
    uint8_t buf[100];

    associate();
    send_to(sock, "203.0.113.9", 6000, "ping", 4);
    send_to(sock, "2001:db8:9::9", 6000, "", 0);
    check_sent(0, PEER, "ping");
    check_sent(1, "[2001:db8:9::9]:6000", "");
    ck_assert_uint_eq(env.counters.up_packets, 2);
    ck_assert_uint_eq(env.counters.up_bytes, 4);
    far_sends(PEER, "pong");
    ck_assert_uint_eq(receive(sock, buf, sizeof(buf)), sizeof(v4) - 1);
    ck_assert_mem_eq(buf, v4, sizeof(v4) - 1);
    far_sends("[2001:db8:9::9]:6000", "six");
    ck_assert_uint_eq(receive(sock, buf, sizeof(buf)), sizeof(v6) - 1);
    ck_assert_mem_eq(buf, v6, sizeof(v6) - 1);
    ck_assert_uint_eq(env.counters.down_packets, 2);
    ck_assert_uint_eq(env.counters.down_bytes, 7);
}
END_TEST

START_TEST(a_peer_is_asked_about_once_and_a_denied_one_gets_nothing)
{
    associate();
    fake_exit_deny(&env.exit, "10.0.0.1");
    for (int i = 0; i < 5; i++) {
        send_to(sock, "203.0.113.9", (uint16_t)(6000 + i), "x", 1);
        send_to(sock, "10.0.0.1", 6000, "x", 1);
    }
    ck_assert_uint_eq(env.exit.n_permits, 2);
    ck_assert_uint_eq(env.exit.n_sent, 5);
    ck_assert_uint_eq(env.counters.drop_denied, 5);
}
END_TEST

START_TEST(a_mapped_peer_is_asked_about_as_the_ipv4_one)
{
    associate();
    fake_exit_deny(&env.exit, "10.0.0.1");
    send_raw(sock, "\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\xFF\xFF\x0A\0\0\x01\x17\x70x", 23);
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.counters.drop_denied, 1);
}
END_TEST

START_TEST(fragments_are_dropped_and_counted)
{
    associate();
    for (int fragment = 1; fragment < 256; fragment++) {
        uint8_t d[] = {0, 0, (uint8_t)fragment, 1, 203, 0, 113, 9, 0x17, 0x70, 'x'};

        send_raw(sock, d, sizeof(d));
    }
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.counters.drop_socks_fragment, 255);
}
END_TEST

START_TEST(s46_short_and_malformed_datagrams_are_dropped_and_counted)
{
    static const uint8_t whole[] = {0, 0, 0, 1, 203, 0, 113, 9, 0x17, 0x70};
    static const char *const bad[] = {
        "\x01\0\0\x01\xCB\0\x71\x09\x17\x70", /* RSV */
        "\0\0\0\x02\xCB\0\x71\x09\x17\x70",   /* ATYP */
        "\0\0\0\x03\xFFname.ex\x17",          /* a name longer than the datagram */
        "\0\0\0\x03\0\x17\x70xxxx",           /* no name */
        "\0\0\0\x03\x03\x61\nz\x17\x70",      /* a name that is none */
    };

    associate();
    for (size_t n = 0; n < sizeof(whole); n++)
        send_raw(sock, whole, n);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        send_raw(sock, bad[i], 10);
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.exit.n_lookups, 0);
    ck_assert_uint_eq(env.counters.drop_malformed, sizeof(whole) + sizeof(bad) / sizeof(bad[0]));
}
END_TEST

/* ---- S44: who the app is ---- */

START_TEST(s44_datagrams_of_other_hosts_are_dropped_and_counted)
{
    int other = udp_at("127.0.0.2:0");

    associate();
    send_to(other, "203.0.113.9", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.counters.drop_socks_source, 1);
    send_to(sock, "203.0.113.9", 6000, "x", 1);
    send_to(other, "203.0.113.9", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_sent, 1);
    ck_assert_uint_eq(env.counters.drop_socks_source, 2);
    close(other);
}
END_TEST

START_TEST(s44_the_first_datagram_locks_the_port)
{
    int other = udp_at("127.0.0.1:0");
    uint8_t buf[64];

    associate();
    send_raw(other, "junk", 4); /* which is no datagram of an app */
    send_to(sock, "203.0.113.9", 6000, "x", 1);
    send_to(other, "203.0.113.9", 6000, "y", 1);
    ck_assert_uint_eq(env.exit.n_sent, 1);
    ck_assert_uint_eq(env.counters.drop_socks_source, 1);
    far_sends(PEER, "answer");
    ck_assert_uint_eq(receive(other, buf, sizeof(buf)), 0);
    ck_assert_uint_eq(receive(sock, buf, sizeof(buf)), 16);
    close(other);
}
END_TEST

START_TEST(s44_a_source_that_was_told_is_the_only_one)
{
    int told = udp_at("127.0.0.1:0");
    uint8_t buf[64];

    for (int i = 0; i < 2; i++) {
        associate_at("127.0.0.1:40000", i == 0 ? "127.0.0.1" : "0.0.0.0", port_of(told));
        bound = check_reply(app, SOCKS5_SUCCEEDED);
        sock = udp_at("127.0.0.1:0");
        env.exit.n_sent = 0;
        /* It may be sent to before it has sent. */
        far_sends(PEER, "first");
        ck_assert_uint_eq(receive(told, buf, sizeof(buf)), 15);
        send_to(sock, "203.0.113.9", 6000, "x", 1);
        ck_assert_uint_eq(env.exit.n_sent, 0);
        send_to(told, "203.0.113.9", 6000, "x", 1);
        ck_assert_uint_eq(env.exit.n_sent, 1);
        close(sock);
    }
    sock = told;
}
END_TEST

/* Apps that take DST.ADDR for the destination, or sit behind a NAT. */
START_TEST(a_told_source_that_is_not_the_apps_address_is_ignored)
{
    int other = udp_at("127.0.0.2:0");

    associate_at("127.0.0.1:40000", "127.0.0.2", port_of(other));
    bound = check_reply(app, SOCKS5_SUCCEEDED);
    sock = udp_at("127.0.0.1:0");
    send_to(other, "203.0.113.9", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_sent, 0);
    send_to(sock, "203.0.113.9", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_sent, 1);
    close(other);
}
END_TEST

START_TEST(before_the_app_has_sent_there_is_nobody_to_send_to)
{
    associate();
    far_sends(PEER, "too early");
    ck_assert_uint_eq(env.counters.drop_send, 1);
    ck_assert_uint_eq(env.counters.down_packets, 0);
}
END_TEST

/* ---- names ---- */

START_TEST(a_name_is_resolved_once_by_the_exit_and_its_datagrams_wait)
{
    associate();
    send_to(sock, "peer.example", 6000, "one", 3);
    send_to(sock, "peer.example", 6001, "two", 3);
    ck_assert_uint_eq(env.exit.n_sent, 0);
    ck_assert_uint_eq(env.exit.n_lookups, 1);
    fake_exit_resolved(&env.exit, "peer.example", EXIT_OK, "203.0.113.9 203.0.113.10");
    check_sent(0, "203.0.113.9:6000", "one");
    check_sent(1, "203.0.113.9:6001", "two");
    send_to(sock, "peer.example", 6002, "three", 5);
    check_sent(2, "203.0.113.9:6002", "three");
    ck_assert_uint_eq(env.exit.n_lookups, 1);
}
END_TEST

START_TEST(the_answer_to_a_name_comes_from_its_address)
{
    uint8_t buf[64];

    associate();
    send_to(sock, "peer.example", 6000, "one", 3);
    fake_exit_resolved(&env.exit, "peer.example", EXIT_OK, "203.0.113.9");
    far_sends(PEER, "re");
    ck_assert_uint_eq(receive(sock, buf, sizeof(buf)), 12);
    ck_assert_mem_eq(buf, "\0\0\0\x01\xCB\x00\x71\x09\x17\x70re", 12);
}
END_TEST

START_TEST(a_names_address_is_one_of_a_family_that_there_is)
{
    env.exit.open_v6 = EXIT_E_FAMILY;
    associate();
    send_to(sock, "peer.example", 6000, "one", 3);
    fake_exit_resolved(&env.exit, "peer.example", EXIT_OK, "2001:db8:9::9 203.0.113.9");
    check_sent(0, PEER, "one");
}
END_TEST

START_TEST(a_name_that_is_none_drops_and_is_asked_again_only_later)
{
    associate();
    send_to(sock, "none.example", 6000, "x", 1);
    fake_exit_resolved(&env.exit, "none.example", EXIT_E_NAME, "");
    send_to(sock, "none.example", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_lookups, 1);
    ck_assert_uint_eq(env.counters.drop_send, 2);
    env_pass(5);
    send_to(sock, "none.example", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_lookups, 2);
}
END_TEST

START_TEST(a_name_is_asked_again_after_some_minutes)
{
    associate();
    send_to(sock, "peer.example", 6000, "one", 3);
    fake_exit_resolved(&env.exit, "peer.example", EXIT_OK, "203.0.113.9");
    env_pass(299);
    send_to(sock, "peer.example", 6000, "two", 3);
    ck_assert_uint_eq(env.exit.n_lookups, 1);
    env_pass(1);
    send_to(sock, "peer.example", 6000, "three", 5);
    ck_assert_uint_eq(env.exit.n_lookups, 2);
}
END_TEST

START_TEST(names_under_way_and_what_waits_for_them_are_bounded)
{
    associate();
    for (int i = 0; i < 100; i++) {
        char name[32];

        snprintf(name, sizeof(name), "n%d.example", i);
        send_to(sock, name, 6000, "x", 1);
    }
    ck_assert_uint_eq(env.exit.n_lookups, 16);
    ck_assert_uint_eq(env.counters.drop_send, 92); /* eight wait */
    for (int i = 0; i < 16; i++) {
        char name[32];

        snprintf(name, sizeof(name), "n%d.example", i);
        fake_exit_resolved(&env.exit, name, EXIT_OK, "203.0.113.9");
    }
    ck_assert_uint_eq(env.exit.n_sent, 8);
    /* Old names make room for new ones. */
    send_to(sock, "n99.example", 6000, "new", 3);
    ck_assert_uint_eq(env.exit.n_lookups, 17);
    fake_exit_resolved(&env.exit, "n99.example", EXIT_OK, "203.0.113.9");
    ck_assert_uint_eq(env.exit.n_sent, 9);
    check_sent(8, PEER, "new");
}
END_TEST

START_TEST(an_association_that_ends_forgets_its_lookups)
{
    associate();
    send_to(sock, "peer.example", 6000, "one", 3);
    far_fin(app);
    fake_streams_turn();
    ck_assert(list_empty(&env.exit.lookups));
}
END_TEST

/* ---- lost and found ---- */

START_TEST(a_lost_association_is_opened_again_and_the_app_notices_nothing)
{
    uint8_t buf[64];

    associate();
    send_to(sock, "203.0.113.9", 6000, "one", 3);
    env.exit.open_later = true;
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    ck_assert_ptr_null(env.exit.last);
    ck_assert(!app->close_called);
    send_to(sock, "203.0.113.9", 6000, "two", 3);
    send_to(sock, "peer.example", 6000, "two", 3);
    ck_assert_uint_eq(env.exit.n_sent, 1);
    ck_assert_uint_eq(env.counters.drop_down, 2);
    env_pass(2);
    ck_assert_ptr_nonnull(env.exit.last);
    send_to(sock, "203.0.113.9", 6000, "three", 5);
    ck_assert_uint_eq(env.counters.drop_down, 3);
    fake_exit_answer(env.exit.last);
    send_to(sock, "203.0.113.9", 6000, "four", 4);
    check_sent(1, PEER, "four");
    ck_assert_uint_eq(env.exit.n_permits, 2); /* the new one was asked, too */
    far_sends(PEER, "back");
    ck_assert_uint_eq(receive(sock, buf, sizeof(buf)), 14);
    ck_assert_uint_eq(app->n_got, 0); /* no second reply */
}
END_TEST

START_TEST(while_the_exit_is_down_the_pauses_grow_up_to_half_a_minute)
{
    unsigned int n;

    associate();
    env.exit.open_v4 = env.exit.open_v6 = EXIT_E_DOWN;
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    for (int i = 0; i < 600; i++)
        env_pass(1);
    n = env.exit.n_opened - 1;
    ck_assert_uint_ge(n, 600 / 41 + 4);
    ck_assert_uint_le(n, 600 / 24 + 6);
    ck_assert(!app->close_called);
    env.exit.open_v4 = env.exit.open_v6 = EXIT_OK;
    for (int i = 0; i < 41; i++)
        env_pass(1);
    send_to(sock, "203.0.113.9", 6000, "x", 1);
    ck_assert_uint_eq(env.exit.n_sent, 1);
}
END_TEST

START_TEST(an_association_that_is_lost_for_good_ends_the_tcp_connection)
{
    associate();
    env.exit.open_v4 = env.exit.open_v6 = EXIT_E_FORBIDDEN;
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    env_pass(2);
    ck_assert(app->freed);
    ck_assert_uint_eq(app->n_got, 0);
}
END_TEST

START_TEST(an_association_lost_before_its_reply_fails_the_request)
{
    env.exit.open_later = true;
    associate_at("127.0.0.1:40000", "0.0.0.0", 0);
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    check_failed(app, SOCKS5_NET_UNREACHABLE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/socks5_udp");
    TCase *t = tcase_create("associate");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_reply_names_the_tcp_connections_own_address_and_a_port_of_its);
    tcase_add_test(t, the_socket_is_bound_to_that_address_and_to_no_other);
    tcase_add_test(t, the_reply_waits_for_the_exit);
    tcase_add_test(t, an_exit_without_an_association_fails_the_request);
    tcase_add_test(t, one_family_is_enough);
    tcase_add_test(t, an_answer_that_never_comes_gets_6);
    tcase_add_test(t, the_association_ends_with_its_tcp_connection);
    tcase_add_test(t, bytes_on_the_tcp_connection_mean_nothing_and_quiet_is_fine);
    tcase_add_test(t, associations_are_limited_and_counted);
    tcase_add_test(t, datagrams_go_to_their_peers_and_answers_name_theirs);
    tcase_add_test(t, a_peer_is_asked_about_once_and_a_denied_one_gets_nothing);
    tcase_add_test(t, a_mapped_peer_is_asked_about_as_the_ipv4_one);
    tcase_add_test(t, fragments_are_dropped_and_counted);
    tcase_add_test(t, s46_short_and_malformed_datagrams_are_dropped_and_counted);
    tcase_add_test(t, s44_datagrams_of_other_hosts_are_dropped_and_counted);
    tcase_add_test(t, s44_the_first_datagram_locks_the_port);
    tcase_add_test(t, s44_a_source_that_was_told_is_the_only_one);
    tcase_add_test(t, a_told_source_that_is_not_the_apps_address_is_ignored);
    tcase_add_test(t, before_the_app_has_sent_there_is_nobody_to_send_to);
    tcase_add_test(t, a_name_is_resolved_once_by_the_exit_and_its_datagrams_wait);
    tcase_add_test(t, the_answer_to_a_name_comes_from_its_address);
    tcase_add_test(t, a_names_address_is_one_of_a_family_that_there_is);
    tcase_add_test(t, a_name_that_is_none_drops_and_is_asked_again_only_later);
    tcase_add_test(t, a_name_is_asked_again_after_some_minutes);
    tcase_add_test(t, names_under_way_and_what_waits_for_them_are_bounded);
    tcase_add_test(t, an_association_that_ends_forgets_its_lookups);
    tcase_add_test(t, a_lost_association_is_opened_again_and_the_app_notices_nothing);
    tcase_add_test(t, while_the_exit_is_down_the_pauses_grow_up_to_half_a_minute);
    tcase_add_test(t, an_association_that_is_lost_for_good_ends_the_tcp_connection);
    tcase_add_test(t, an_association_lost_before_its_reply_fails_the_request);
    suite_add_tcase(s, t);
    return suite_run(s);
}
