/*
 * What relay/front/gate*.c assumes of tproxy in an ordinary user's namespace. It tests Linux, not
 * callveil: when it fails, the assumption is what has to change.
 */
#include <netinet/udp.h>

#include "tests/kernel/tproxy_space.h"
#include "tests/support/suite.h"

#define PEER_V4  "203.0.113.9:6000"
#define OTHER_V4 "203.0.113.8:6000"
#define PEER_V6  "[2001:db8:9::9]:6000"
#define OTHER_V6 "[2001:db8:9::8]:6000"

static const char *const peers[] = {PEER_V4, PEER_V6};
static const char *const others[] = {OTHER_V4, OTHER_V6};
static const char *const nears[] = {SPACE_NEAR_V4, SPACE_NEAR_V6};

static int catching[KEEPER_LINK];
static struct rx_batch *rx;

static void setup(void)
{
    space_catch(catching);
    rx = rx_batch_new();
    ck_assert_ptr_nonnull(rx);
}

static void teardown(void)
{
    rx_batch_free(rx);
    for (int i = 0; i < KEEPER_LINK; i++)
        close(catching[i]);
}

static int app_connect(const char *to, int type)
{
    struct addr addr = space_at(to);
    int fd = sock_connect(&addr, type);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static struct addr local_of(int fd)
{
    struct addr addr = {0};

    ck_assert_int_eq(sock_local_addr(fd, &addr), 0);
    return addr;
}

/* The next datagram caught; false: none comes. */
static bool caught(int fd, struct rx_packet *ret)
{
    if (rx_batch_next(rx, ret))
        return true;
    return space_wait(fd, POLLIN) && rx_batch_recv(rx, fd) > 0 && rx_batch_next(rx, ret);
}

static void assert_addr(const struct addr *a, const char *text)
{
    struct addr b = space_at(text);

    ck_assert(addr_equal(a, &b));
}

START_TEST(an_accepted_socket_has_the_true_destination_and_carries_bytes)
{
    int app = app_connect(peers[_i], SOCK_STREAM), gate;
    struct addr to;
    char buf[8];

    ck_assert(space_wait(catching[KEEPER_TCP4 + _i], POLLIN));
    gate = accept4(catching[KEEPER_TCP4 + _i], NULL, NULL, SOCK_NONBLOCK);
    ck_assert_int_ge(gate, 0);
    to = local_of(gate);
    assert_addr(&to, peers[_i]);
    ck_assert(space_wait(app, POLLOUT));
    ck_assert_int_eq(write(app, "ping", 4), 4);
    ck_assert(space_wait(gate, POLLIN));
    ck_assert_int_eq(read(gate, buf, sizeof(buf)), 4);
    ck_assert_int_eq(write(gate, "pong", 4), 4);
    ck_assert(space_wait(app, POLLIN));
    ck_assert_int_eq(read(app, buf, sizeof(buf)), 4);
    close(app);
    close(gate);
}
END_TEST

START_TEST(a_datagram_comes_with_its_true_destination_and_the_apps_source)
{
    int app = app_connect(peers[_i], SOCK_DGRAM);
    struct addr from = local_of(app), near;
    struct rx_packet packet;

    ck_assert(addr_parse_ip(nears[_i], from.port, &near));
    ck_assert(addr_equal(&from, &near));
    ck_assert_int_eq(write(app, "ping", 4), 4);
    ck_assert(caught(catching[KEEPER_UDP4 + _i], &packet));
    assert_addr(&packet.to, peers[_i]);
    ck_assert(addr_equal(&packet.from, &from));
    ck_assert_uint_eq(packet.len, 4);
    close(app);
}
END_TEST

START_TEST(an_answer_from_a_transparent_socket_reaches_the_app_and_is_not_caught)
{
    struct addr peer = space_at(peers[_i]);
    int app = app_connect(peers[_i], SOCK_DGRAM), answers = space_transparent(&peer, SOCK_DGRAM);
    struct addr to = local_of(app);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&to, &sa);
    struct rx_packet packet;
    char buf[8];

    ck_assert_int_ge(answers, 0);
    ck_assert_int_eq(sendto(answers, "pong", 4, 0, (struct sockaddr *)&sa, len), 4);
    ck_assert(space_wait(app, POLLIN));
    ck_assert_int_eq(read(app, buf, sizeof(buf)), 4);
    /* While it exists the app's datagrams still go to the catching socket, not to it. */
    ck_assert_int_eq(write(app, "again", 5), 5);
    ck_assert(caught(catching[KEEPER_UDP4 + _i], &packet));
    ck_assert_uint_eq(packet.len, 5);
    ck_assert(!rx_batch_next(rx, &packet));
    ck_assert_int_eq(recv(answers, buf, sizeof(buf), MSG_DONTWAIT), -1);
    close(app);
    close(answers);
}
END_TEST

static void send_train(int fd, const char *to, uint16_t segment_len, size_t n)
{
    static uint8_t data[65536];
    struct addr addr = space_at(to);
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct iovec iov = {data, segment_len * n};
    struct sockaddr_storage sa;
    struct msghdr hdr = {.msg_name = &sa,
                         .msg_namelen = addr_to_sockaddr(&addr, &sa),
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&hdr);

    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(segment_len));
    memcpy(CMSG_DATA(c), &segment_len, sizeof(segment_len));
    ck_assert_int_eq(sendmsg(fd, &hdr, 0), (ssize_t)iov.iov_len);
}

START_TEST(a_train_comes_in_one_piece_and_has_one_destination)
{
    int fd = catching[KEEPER_UDP4 + _i], n_messages;
    struct addr any = {.family = _i ? ADDR_IPV6 : ADDR_IPV4};
    int app = sock_bind(&any, SOCK_DGRAM, 0);
    size_t n[2] = {0};
    struct rx_packet packet;

    sock_tune_udp(fd, 1 << 20, 0);
    for (int i = 0; i < 4; i++) {
        send_train(app, peers[_i], 1200, 20);
        send_train(app, others[_i], 1200, 10);
    }
    ck_assert(space_wait(fd, POLLIN));
    n_messages = rx_batch_recv(rx, fd);
    ck_assert_int_eq(n_messages, 8);
    while (rx_batch_next(rx, &packet)) {
        struct addr peer = space_at(peers[_i]);
        bool is_peer = addr_equal(&packet.to, &peer);

        if (!is_peer)
            assert_addr(&packet.to, others[_i]);
        ck_assert_uint_eq(packet.len, 1200);
        n[is_peer]++;
    }
    ck_assert_uint_eq(n[1], 80);
    ck_assert_uint_eq(n[0], 40);
    close(app);
}
END_TEST

/* Why the gate needs another way to speak as a peer. */
START_TEST(a_port_that_an_app_has_bound_everywhere_is_closed_to_transparent_sockets)
{
    struct addr any = {.family = _i ? ADDR_IPV6 : ADDR_IPV4, .port = 6000};
    struct addr peer = space_at(peers[_i]);
    int app = sock_bind(&any, SOCK_DGRAM, 0);

    ck_assert_int_ge(app, 0);
    ck_assert_int_eq(space_transparent(&peer, SOCK_DGRAM), -EADDRINUSE);
    close(app);
}
END_TEST

START_TEST(datagrams_longer_than_the_mtu_come_whole)
{
    static uint8_t data[4000];
    int app = app_connect(peers[_i], SOCK_DGRAM);
    struct rx_packet packet;

    ck_assert_int_eq(write(app, data, sizeof(data)), sizeof(data));
    ck_assert(caught(catching[KEEPER_UDP4 + _i], &packet));
    ck_assert_uint_eq(packet.len, sizeof(data));
    assert_addr(&packet.to, peers[_i]);
    close(app);
}
END_TEST

int main(void)
{
    const char *why = space_enter();
    Suite *s = suite_create("kernel/tproxy");
    TCase *t = tcase_create("tproxy");

    if (why)
        return space_skip(why);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, an_accepted_socket_has_the_true_destination_and_carries_bytes, 0, 2);
    tcase_add_loop_test(t, a_datagram_comes_with_its_true_destination_and_the_apps_source, 0, 2);
    tcase_add_loop_test(t, an_answer_from_a_transparent_socket_reaches_the_app_and_is_not_caught, 0,
                        2);
    tcase_add_loop_test(t, a_train_comes_in_one_piece_and_has_one_destination, 0, 2);
    tcase_add_loop_test(t, a_port_that_an_app_has_bound_everywhere_is_closed_to_transparent_sockets,
                        0, 2);
    tcase_add_loop_test(t, datagrams_longer_than_the_mtu_come_whole, 0, 2);
    suite_add_tcase(s, t);
    return suite_run(s);
}
