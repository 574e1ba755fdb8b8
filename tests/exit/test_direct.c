#include <fcntl.h>
#include <linux/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "common/base/clock.h"
#include "relay/exit/direct_impl.h"
#include "tests/exit/direct_env.h"
#include "tests/support/suite.h"

static struct session *const a = &sessions[0], *const b = &sessions[1];

static void send_text(struct session *s, const struct addr *peer, const char *text)
{
    s->exit->ops->send(s->assoc, peer, (const uint8_t *)text, strlen(text), false);
    tx_flush(env.tx);
}

static void expect_heard(const struct session *s, unsigned int i, const struct addr *peer,
                         const char *text)
{
    ck_assert_uint_gt(s->n_heard, i);
    ck_assert(addr_equal(&s->heard[i].peer, peer));
    ck_assert_uint_eq(s->heard[i].len, strlen(text));
    ck_assert_mem_eq(s->heard[i].data, text, strlen(text));
}

static int outside_socket(struct addr *addr)
{
    int fd = sock_bind(addr, SOCK_DGRAM, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sock_local_addr(fd, addr), 0);
    return fd;
}

static ssize_t outside_send(int fd, const struct addr *to, const void *data, size_t len)
{
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(to, &sa);

    return sendto(fd, data, len, 0, (struct sockaddr *)&sa, sa_len);
}

/* Return: the length, or -1 when nothing is there. */
static ssize_t outside_recv(int fd, void *data, size_t cap, struct addr *ret_from)
{
    struct sockaddr_storage sa;
    socklen_t sa_len = sizeof(sa);
    ssize_t n = recvfrom(fd, data, cap, MSG_DONTWAIT, (struct sockaddr *)&sa, &sa_len);

    if (n >= 0 && ret_from)
        *ret_from = addr_from_sockaddr((struct sockaddr *)&sa);
    return n;
}

static struct ports_count count_ports(enum addr_family family)
{
    return ports_count(env.ports, (struct port_space){family, false},
                       (struct port_range){env.conf.port_min, env.conf.port_max}, env.now_ns);
}

START_TEST(the_relayed_address_is_the_one_the_client_reached)
{
    struct assoc_want want = want_v4();

    want.local = loopback(7, 3478);
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert(addr_ip_equal(&a->opened.relayed_v4, &want.local));
    ck_assert_uint_ge(a->opened.relayed_v4.port, env.conf.port_min);
    ck_assert_uint_le(a->opened.relayed_v4.port, env.conf.port_max);
    ck_assert_int_eq(a->opened.relayed_v6.family, ADDR_NONE);
    ck_assert(!a->opened.has_token);
    ck_assert_uint_eq(count_ports(ADDR_IPV4).in_use, 1);
    session_close(a);
    ck_assert_uint_eq(count_ports(ADDR_IPV4).in_use, 0);
}
END_TEST

START_TEST(a_configured_relay_address_is_taken_instead)
{
    struct assoc_want want = want_v4();

    env.conf.relay_v4 = loopback(5, 0);
    env_apply_conf();
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert(addr_ip_equal(&a->opened.relayed_v4, &env.conf.relay_v4));
    session_close(a);
}
END_TEST

START_TEST(a_relayed_address_is_never_a_wildcard_and_loopback_only_if_reached)
{
    struct assoc_want want = {.v4 = true, .v6 = true};
    struct addr *relayed[] = {&a->opened.relayed_v4, &a->opened.relayed_v6};
    const struct addr reached[] = {
        {.family = ADDR_IPV4}, {.family = ADDR_IPV6}, loopback(1, 3478), loopback6()};

    ck_assert(addr_parse_ip("0.0.0.0", 0, &env.conf.relay_v4));
    ck_assert(addr_parse_ip("::", 0, &env.conf.relay_v6));
    env_apply_conf();
    for (int i = 0; i < 4; i++) {
        want.local = reached[i];
        session_open(a, &want);
        for (int k = 0; k < 2; k++) {
            ck_assert(relayed[k]->family == ADDR_NONE || !addr_is_any(relayed[k]));
            if (addr_is_loopback(relayed[k]))
                ck_assert(addr_ip_equal(relayed[k], &reached[i]));
        }
        ck_assert_int_eq(a->opened.result_v4 == EXIT_OK, relayed[0]->family == ADDR_IPV4);
        ck_assert_int_eq(a->opened.result_v6 == EXIT_OK, relayed[1]->family == ADDR_IPV6);
        session_close(a);
    }
}
END_TEST

START_TEST(one_family_may_fail_without_the_other)
{
    struct assoc_want want = want_v4();

    want.v6 = true;
    ck_assert(addr_parse_ip("2001:db8::77", 0, &env.conf.relay_v6)); /* nobody has it */
    env_apply_conf();
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_int_eq(a->opened.result_v4, EXIT_OK);
    ck_assert_int_eq(a->opened.result_v6, EXIT_E_FAMILY);
    ck_assert_int_eq(a->opened.relayed_v4.family, ADDR_IPV4);
    ck_assert_int_eq(a->opened.relayed_v6.family, ADDR_NONE);
    /* The failure cost no port, nor two minutes of one. */
    ck_assert_uint_eq(count_ports(ADDR_IPV6).free, 8000);
    session_close(a);

    want.v4 = false;
    ck_assert_int_eq(session_open(a, &want), EXIT_E_FAMILY);
    session_close(a);
}
END_TEST

static void two_associations_talk(const struct assoc_want *want, size_t offset)
{
    const struct addr *relayed_a, *relayed_b;

    ck_assert_int_eq(session_open(a, want), EXIT_OK);
    ck_assert_int_eq(session_open(b, want), EXIT_OK);
    relayed_a = (const struct addr *)(const void *)((const char *)&a->opened + offset);
    relayed_b = (const struct addr *)(const void *)((const char *)&b->opened + offset);
    ck_assert(!addr_equal(relayed_a, relayed_b));
    send_text(a, relayed_b, "from a to b");
    env_until(&b->n_heard, 1);
    expect_heard(b, 0, relayed_a, "from a to b");
    ck_assert_uint_eq(b->heard[0].now_ns, env.now_ns);
    send_text(b, relayed_a, "");
    send_text(b, relayed_a, "and back");
    env_until(&a->n_heard, 2);
    expect_heard(a, 0, relayed_b, "");
    expect_heard(a, 1, relayed_b, "and back");
    session_close(a);
    session_close(b);
}

START_TEST(two_associations_talk_over_ipv4)
{
    struct assoc_want want = want_v4();

    two_associations_talk(&want, offsetof(struct assoc_opened, relayed_v4));
}
END_TEST

START_TEST(two_associations_talk_over_ipv6)
{
    struct assoc_want want = {.v6 = true, .local = loopback6()};

    two_associations_talk(&want, offsetof(struct assoc_opened, relayed_v6));
}
END_TEST

START_TEST(both_families_of_one_association_work)
{
    struct assoc_want want = want_v4();
    struct addr v4 = loopback(1, 0), v6 = loopback6(), from;
    int fd4 = outside_socket(&v4), fd6 = outside_socket(&v6);
    char text[10];

    want.v6 = true;
    env.conf.relay_v6 = loopback6();
    env_apply_conf();
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    send_text(a, &v4, "four");
    send_text(a, &v6, "six");
    ck_assert_int_eq(outside_recv(fd4, text, 10, &from), 4);
    ck_assert(addr_equal(&from, &a->opened.relayed_v4));
    ck_assert_int_eq(outside_recv(fd6, text, 10, &from), 3);
    ck_assert(addr_equal(&from, &a->opened.relayed_v6));
    ck_assert_int_eq(outside_send(fd4, &a->opened.relayed_v4, "4", 1), 1);
    env_until(&a->n_heard, 1);
    ck_assert_int_eq(outside_send(fd6, &a->opened.relayed_v6, "6", 1), 1);
    env_until(&a->n_heard, 2);
    expect_heard(a, 0, &v4, "4");
    expect_heard(a, 1, &v6, "6");
    session_close(a);
    close(fd4);
    close(fd6);
}
END_TEST

START_TEST(a_missing_family_swallows_datagrams)
{
    struct assoc_want want = want_v4();
    struct addr v6 = loopback6(), none = {0};

    v6.port = 9;
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    send_text(a, &v6, "nowhere");
    send_text(a, &none, "nowhere");
    ck_assert_uint_eq(env.tx_stats.n_calls, 0);
    session_close(a);
}
END_TEST

START_TEST(bursts_arrive_whole_and_in_order_both_ways)
{
    struct assoc_want want = want_v4();
    static uint8_t data[300][200];

    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_int_eq(session_open(b, &want), EXIT_OK);
    for (unsigned int i = 0; i < 300; i++) {
        memset(data[i], (int)i, sizeof(data[i]));
        data[i][0] = (uint8_t)(i >> 8);
        a->exit->ops->send(a->assoc, &b->opened.relayed_v4, data[i], 200, false);
    }
    tx_flush(env.tx);
    env_until(&b->n_heard, 300);
    for (unsigned int i = 0; i < 300; i++)
        ck_assert(b->heard[i].len == 200 && memcmp(b->heard[i].data, data[i], 200) == 0);
    ck_assert_uint_lt(env.counters.rx_calls, 10);
    session_close(a);
    session_close(b);
}
END_TEST

START_TEST(the_public_address_is_shown_and_turned_round_between_associations)
{
    struct assoc_want want = want_v4();
    struct addr outside = loopback(9, 0), bound, same_ip;
    int fd = outside_socket(&outside), same_fd;
    char text[10];

    env.conf.public_v4 = addr_make_v4(0xcb007105, 0); /* 203.0.113.5 */
    env_apply_conf();
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_int_eq(session_open(b, &want), EXIT_OK);
    ck_assert(addr_ip_equal(&a->opened.relayed_v4, &env.conf.public_v4));
    send_text(a, &b->opened.relayed_v4, "hairpin");
    env_until(&b->n_heard, 1);
    expect_heard(b, 0, &a->opened.relayed_v4, "hairpin");

    /* Peers elsewhere are as they are. */
    send_text(a, &outside, "out");
    ck_assert_int_eq(outside_recv(fd, text, 10, &bound), 3);
    same_ip = loopback(1, a->opened.relayed_v4.port);
    ck_assert(addr_equal(&bound, &same_ip));
    outside_send(fd, &bound, "in", 2);
    env_until(&a->n_heard, 1);
    expect_heard(a, 0, &outside, "in");

    /* What dies on the way to the public address is reported of that address. */
    same_ip = loopback(1, 0);
    same_fd = outside_socket(&same_ip);
    close(same_fd);
    same_ip = (struct addr){.port = same_ip.port, .family = ADDR_IPV4};
    memcpy(same_ip.ip, env.conf.public_v4.ip, 4);
    send_text(a, &same_ip, "nobody");
    env_until(&a->n_icmp, 1);
    ck_assert(addr_equal(&a->icmp.peer, &same_ip));
    session_close(a);
    session_close(b);
    close(fd);
}
END_TEST

START_TEST(port_unreachable_is_reported_with_the_peer)
{
    struct assoc_want want = want_v4();
    struct addr v4 = loopback(1, 0), v6 = loopback6();
    int fd4 = outside_socket(&v4), fd6 = outside_socket(&v6);

    want.v6 = true;
    env.conf.relay_v6 = loopback6();
    env_apply_conf();
    close(fd4);
    close(fd6);
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    send_text(a, &v4, "anybody?");
    env_until(&a->n_icmp, 1);
    ck_assert(addr_equal(&a->icmp.peer, &v4));
    ck_assert_uint_eq(a->icmp.type, ICMP_DEST_UNREACH);
    ck_assert_uint_eq(a->icmp.code, ICMP_PORT_UNREACH);
    ck_assert_uint_eq(a->icmp.data, 0);
    send_text(a, &v6, "anybody?");
    env_until(&a->n_icmp, 2);
    ck_assert(addr_equal(&a->icmp.peer, &v6));
    ck_assert_uint_eq(a->icmp.type, ICMP6_DST_UNREACH);
    ck_assert_uint_eq(a->icmp.code, ICMP6_DST_UNREACH_NOPORT);
    session_close(a);
}
END_TEST

START_TEST(an_icmp_error_met_by_a_send_is_reported_at_once)
{
    struct assoc_want want = want_v4();
    struct addr closed = loopback(1, 0), outside = loopback(1, 0);
    int fd = outside_socket(&closed);

    close(fd);
    fd = outside_socket(&outside);
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    send_text(a, &closed, "anybody?");
    send_text(a, &outside, "takes the socket's pending error");
    /* Nothing to receive and no error from receiving: the queue alone tells. */
    event_base_loop(env.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    ck_assert_uint_eq(a->n_icmp, 1);
    event_base_loop(env.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    ck_assert_uint_eq(a->n_icmp, 1);
    session_close(a);
    close(fd);
}
END_TEST

START_TEST(an_icmp_error_is_not_hidden_by_steady_traffic)
{
    struct assoc_want want = want_v4();
    struct addr closed = loopback(1, 0), outside = loopback(1, 0);
    int fd = outside_socket(&closed), i;

    close(fd);
    fd = outside_socket(&outside);
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    send_text(a, &closed, "anybody?");
    send_text(a, &outside, "takes the socket's pending error");
    for (i = 0; i < 40 && a->n_icmp == 0; i++) {
        outside_send(fd, &a->opened.relayed_v4, "x", 1);
        event_base_loop(env.base, EVLOOP_ONCE);
    }
    ck_assert_uint_eq(a->n_icmp, 1);
    ck_assert_int_gt(i, 1); /* or the test has lost its point */
    ck_assert_uint_eq(a->n_heard, (unsigned int)i);
    session_close(a);
    close(fd);
}
END_TEST

START_TEST(nothing_reaches_our_own_listeners)
{
    struct assoc_want want = want_v4();
    struct addr listener = loopback(1, 0), other = loopback(1, 0), far = loopback(2, 0);
    int fd = outside_socket(&listener), fd_other = outside_socket(&other),
        fd_far = outside_socket(&far);
    char text[10];

    env.own = listener;
    env.denied = listener;
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    send_text(a, &listener, "loop");
    send_text(a, &other, "fine");
    send_text(a, &listener, "loop");
    ck_assert_int_eq(outside_recv(fd, text, 10, NULL), -1);
    ck_assert_int_eq(outside_recv(fd_other, text, 10, NULL), 4);
    ck_assert_uint_eq(env.counters.drop_denied, 2);

    /* Peers elsewhere are asked about once, not for each datagram. */
    env.n_own_asked = env.n_checked = 0;
    for (int i = 0; i < 10; i++)
        send_text(a, &far, "x");
    ck_assert_uint_eq(env.n_own_asked, 1);
    ck_assert_uint_eq(env.n_checked, 0);

    /* A reload makes an address ours: remembered verdicts are void. */
    env.own = env.denied = far;
    env_apply_conf();
    send_text(a, &far, "x");
    ck_assert_uint_eq(env.counters.drop_denied, 3);
    session_close(a);
    close(fd);
    close(fd_other);
    close(fd_far);
}
END_TEST

START_TEST(permit_asks_the_rules)
{
    struct assoc_want want = want_v4();
    struct addr good = loopback(1, 0), bad = loopback(2, 0);

    env.denied = bad;
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_int_eq(env.exit->ops->permit(a->assoc, &good), EXIT_OK);
    ck_assert_int_eq(env.exit->ops->permit(a->assoc, &bad), EXIT_E_FORBIDDEN);
    session_close(a);
}
END_TEST

START_TEST(even_port_is_even_and_holds_no_sibling)
{
    struct assoc_want want = want_v4();

    env.conf.port_min = 20001;
    env.conf.port_max = 20003;
    env_apply_conf();
    want.even_port = true;
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_uint_eq(a->opened.relayed_v4.port, 20002);
    ck_assert(!a->opened.has_token);
    ck_assert_int_eq(session_open(b, &want), EXIT_E_CAPACITY);
    session_close(b);
    ck_assert_uint_eq(count_ports(ADDR_IPV4).free, 2);
    want.even_port = false;
    ck_assert_int_eq(session_open(b, &want), EXIT_OK);
    session_close(a);
    session_close(b);
    env.now_ns += 121 * NS_PER_S;
    ck_assert_uint_eq(count_ports(ADDR_IPV4).free, 3);
}
END_TEST

START_TEST(a_reserved_port_goes_to_whoever_brings_the_token_once)
{
    struct assoc_want want = want_v4(), with_token = want_v4(), odd = want_v4();
    struct exit *other_worker = env_exit_new();
    struct addr peer = loopback(1, 0), from;
    int fd = outside_socket(&peer);
    char text[10];

    env.conf.port_min = 20000;
    env.conf.port_max = 20001;
    env_apply_conf();
    want.even_port = want.reserve = true;
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_uint_eq(a->opened.relayed_v4.port, 20000);
    ck_assert(a->opened.has_token);

    /* Nobody else gets it meanwhile, nor with a wrong token. */
    ck_assert_int_eq(session_open(b, &odd), EXIT_E_CAPACITY);
    session_close(b);
    with_token.has_token = true;
    memcpy(with_token.token, a->opened.token, 8);
    with_token.token[0] ^= 1;
    ck_assert_int_eq(session_open(b, &with_token), EXIT_E_TOKEN);
    session_close(b);

    with_token.token[0] ^= 1;
    env.now_ns += 29 * NS_PER_S;
    ck_assert_int_eq(session_open_at(b, other_worker, &with_token), EXIT_OK);
    ck_assert_uint_eq(b->opened.relayed_v4.port, 20001);
    ck_assert(addr_ip_equal(&b->opened.relayed_v4, &a->opened.relayed_v4));
    send_text(b, &peer, "rtcp");
    ck_assert_int_eq(outside_recv(fd, text, 10, &from), 4);
    ck_assert(addr_equal(&from, &b->opened.relayed_v4));
    outside_send(fd, &from, "report", 6);
    env_until(&b->n_heard, 1);
    expect_heard(b, 0, &peer, "report");
    session_close(a);

    ck_assert_int_eq(session_open(a, &with_token), EXIT_E_TOKEN);
    session_close(a);
    session_close(b);
    direct_exit_free(other_worker);
    close(fd);
}
END_TEST

START_TEST(a_reservation_nobody_claims_ends)
{
    struct assoc_want want = want_v4(), with_token = want_v4();
    unsigned int n_descriptors;

    want.even_port = want.reserve = true;
    n_descriptors = env_count_descriptors();
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_uint_eq(env_count_descriptors(), n_descriptors + 2);
    with_token.has_token = true;
    memcpy(with_token.token, a->opened.token, 8);
    env.now_ns += 30 * NS_PER_S;
    ck_assert_int_eq(session_open(b, &with_token), EXIT_E_TOKEN);
    ck_assert_uint_eq(env_count_descriptors(), n_descriptors + 1);
    ck_assert_uint_eq(count_ports(ADDR_IPV4).resting, 1);
    session_close(a);
    session_close(b);
}
END_TEST

START_TEST(a_full_reservation_table_gives_everything_back)
{
    struct assoc_want want = want_v4();
    struct port_rng rng = {.n_left = 0};
    struct port_space space = {ADDR_IPV4, false};
    struct ports_reserved parked = {.bound = loopback(1, 0)};
    struct ports_scan scan;
    uint8_t token[8];

    for (unsigned int i = 0; i < PORTS_RESERVED_MAX; i++) {
        ports_scan_init(&scan, env.ports, &rng, space, (struct port_range){1024, 9999}, PORTS_ANY);
        ck_assert_int_eq(ports_scan_next(&scan, env.now_ns, &parked.bound.port), 0);
        parked.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(ports_park(env.ports, &rng, &parked, env.now_ns, token), 0);
    }
    want.even_port = want.reserve = true;
    ck_assert_int_eq(session_open(a, &want), EXIT_E_CAPACITY);
    ck_assert(!a->opened.has_token);
    ck_assert_int_eq(a->opened.relayed_v4.family, ADDR_NONE);
    ck_assert_uint_eq(count_ports(ADDR_IPV4).in_use, 0);
    session_close(a);
}
END_TEST

START_TEST(a_port_is_not_given_out_again_for_two_minutes)
{
    struct assoc_want want = want_v4();

    env.conf.port_min = env.conf.port_max = 20005;
    env_apply_conf();
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_int_eq(session_open(b, &want), EXIT_E_CAPACITY);
    session_close(b);
    session_close(a);
    env.now_ns += 119 * NS_PER_S;
    ck_assert_int_eq(session_open(a, &want), EXIT_E_CAPACITY);
    session_close(a);
    env.now_ns += 2 * NS_PER_S;
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    session_close(a);
}
END_TEST

START_TEST(ports_of_other_processes_are_stepped_over)
{
    struct assoc_want want = want_v4();
    struct addr taken = loopback(1, 0);
    int fds[9];

    env.conf.port_min = 20010;
    env.conf.port_max = 20019;
    env_apply_conf();
    for (int i = 0; i < 9; i++) {
        taken.port = (uint16_t)(20010 + (i < 6 ? i : i + 1));
        fds[i] = outside_socket(&taken);
    }
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_uint_eq(a->opened.relayed_v4.port, 20016);
    ck_assert_int_eq(session_open(b, &want), EXIT_E_CAPACITY);
    session_close(b);
    session_close(a);

    /* A pair needs both: 20018 is free now, 20019 is not. */
    close(fds[7]);
    env.now_ns += 121 * NS_PER_S;
    want.even_port = want.reserve = true;
    ck_assert_int_eq(session_open(a, &want), EXIT_E_CAPACITY);
    ck_assert_uint_eq(count_ports(ADDR_IPV4).in_use, 0);
    session_close(a);
    close(fds[8]);
    env.now_ns += 121 * NS_PER_S;
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_uint_eq(a->opened.relayed_v4.port, 20018);
    session_close(a);
    for (int i = 0; i < 7; i++)
        close(fds[i]);
}
END_TEST

static int pmtu_mode(const struct session *s)
{
    int mode = -1;
    socklen_t len = sizeof(mode);

    ck_assert_int_eq(getsockopt(s->assoc->legs[0].fd, IPPROTO_IP, IP_MTU_DISCOVER, &mode, &len), 0);
    return mode;
}

START_TEST(only_datagrams_that_ask_for_it_carry_df)
{
    struct assoc_want want = want_v4();
    struct addr peer = loopback(1, 0);
    int fd = outside_socket(&peer);
    uint8_t data[10] = {0};

    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_int_eq(pmtu_mode(a), IP_PMTUDISC_DONT);
    a->exit->ops->send(a->assoc, &peer, data, sizeof(data), false);
    ck_assert_uint_eq(env.tx_stats.n_datagrams, 0);
    a->exit->ops->send(a->assoc, &peer, data, sizeof(data), true);
    ck_assert_uint_eq(env.tx_stats.n_datagrams, 1); /* the first left before the option changed */
    ck_assert_int_eq(pmtu_mode(a), IP_PMTUDISC_DO);
    a->exit->ops->send(a->assoc, &peer, data, sizeof(data), false);
    ck_assert_uint_eq(env.tx_stats.n_datagrams, 2);
    ck_assert_int_eq(pmtu_mode(a), IP_PMTUDISC_DONT);
    tx_flush(env.tx);
    ck_assert_uint_eq(env.tx_stats.n_datagrams, 3);
    session_close(a);
    close(fd);
}
END_TEST

/* A loopback of our own with an MTU of 1400. Return: a descriptor of the namespace we came from, or
 * -1 where that takes rights we do not have. */
static int small_loopback(void)
{
    struct ifreq ifr = {.ifr_name = "lo"};
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd;

    if (home < 0 || unshare(CLONE_NEWNET) < 0) {
        if (home >= 0)
            close(home);
        return -1;
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifr.ifr_mtu = 1400;
    ck_assert_int_eq(ioctl(fd, SIOCSIFMTU, &ifr), 0);
    ifr.ifr_flags = IFF_UP;
    ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
    close(fd);
    return home;
}

START_TEST(a_datagram_too_big_for_df_is_reported_and_without_df_it_arrives)
{
    struct assoc_want want = want_v4();
    struct addr peer = loopback(1, 0);
    static uint8_t data[3000], got[3000];
    int home = small_loopback(), fd;

    if (home < 0) /* needs CAP_SYS_ADMIN */
        return;
    fd = outside_socket(&peer);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 31);
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    /* Trains of fragments: the kernel refuses to segment these, and they still go. */
    for (int i = 0; i < 3; i++)
        a->exit->ops->send(a->assoc, &peer, data, sizeof(data), false);
    tx_flush(env.tx);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(outside_recv(fd, got, sizeof(got), NULL), sizeof(data));
        ck_assert_mem_eq(got, data, sizeof(data));
    }
    ck_assert_uint_eq(env.tx_stats.n_dropped, 0);
    a->exit->ops->send(a->assoc, &peer, data, sizeof(data), true);
    tx_flush(env.tx);
    ck_assert_int_eq(outside_recv(fd, got, sizeof(got), NULL), -1);
    for (int i = 0; i < 100 && a->n_icmp == 0; i++)
        env_turn();
    ck_assert_uint_ge(a->n_icmp, 1);
    ck_assert_uint_eq(a->icmp.type, ICMP_DEST_UNREACH);
    ck_assert_uint_eq(a->icmp.code, ICMP_FRAG_NEEDED);
    ck_assert_uint_eq(a->icmp.data, 1400);
    ck_assert(addr_equal(&a->icmp.peer, &peer));
    session_close(a);
    close(fd);
    ck_assert_int_eq(setns(home, CLONE_NEWNET), 0);
    close(home);
}
END_TEST

START_TEST(what_was_sent_before_close_leaves_and_nothing_comes_after)
{
    struct assoc_want want = want_v4();
    struct addr peer = loopback(1, 0), relayed, from;
    int fd = outside_socket(&peer);
    char text[10];

    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    relayed = a->opened.relayed_v4;
    outside_send(fd, &relayed, "late", 4);
    a->exit->ops->send(a->assoc, &peer, (const uint8_t *)"bye", 3, false);
    session_close(a);
    /* The next socket has the number of the closed one, and must not inherit its datagrams. */
    ck_assert_int_eq(session_open(b, &want), EXIT_OK);
    tx_flush(env.tx);
    ck_assert_int_eq(outside_recv(fd, text, 10, &from), 3);
    ck_assert(addr_equal(&from, &relayed));
    ck_assert_int_eq(outside_recv(fd, text, 10, NULL), -1);
    env_turn();
    ck_assert_uint_eq(a->n_heard, 0);
    session_close(b);
    close(fd);
}
END_TEST

START_TEST(closing_twice_from_within_a_delivery_is_safe)
{
    struct assoc_want want = want_v4();
    struct addr peer = loopback(1, 0);
    int fd = outside_socket(&peer);

    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    a->close_when_heard = true;
    for (int i = 0; i < 5; i++)
        outside_send(fd, &a->opened.relayed_v4, "x", 1);
    env_until(&a->n_heard, 1);
    ck_assert_ptr_null(a->assoc);
    ck_assert_uint_eq(count_ports(ADDR_IPV4).in_use, 0);
    env.exit->ops->close(NULL);
    close(fd);
}
END_TEST

START_TEST(a_thousand_associations_leave_nothing_behind)
{
    struct assoc_want want = want_v4();

    want.v6 = true;
    env.conf.relay_v6 = loopback6();
    env_apply_conf();
    for (int i = 0; i < 1000; i++) {
        want.even_port = i % 3 == 0;
        want.reserve = i % 6 == 0;
        ck_assert_int_eq(session_open(a, &want), EXIT_OK);
        session_close(a);
        env.now_ns += NS_PER_S;
    }
    env.now_ns += 200 * NS_PER_S;
    ck_assert_uint_eq(ports_sweep(env.ports, env.now_ns), 0);
    env.now_ns += 200 * NS_PER_S;
    ck_assert_uint_eq(count_ports(ADDR_IPV4).free, 8000);
    ck_assert_uint_eq(count_ports(ADDR_IPV6).free, 8000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exit/direct");
    TCase *tc = tcase_create("direct");

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, direct_env_begin, direct_env_end);
    tcase_add_test(tc, the_relayed_address_is_the_one_the_client_reached);
    tcase_add_test(tc, a_configured_relay_address_is_taken_instead);
    tcase_add_test(tc, a_relayed_address_is_never_a_wildcard_and_loopback_only_if_reached);
    tcase_add_test(tc, one_family_may_fail_without_the_other);
    tcase_add_test(tc, two_associations_talk_over_ipv4);
    tcase_add_test(tc, two_associations_talk_over_ipv6);
    tcase_add_test(tc, both_families_of_one_association_work);
    tcase_add_test(tc, a_missing_family_swallows_datagrams);
    tcase_add_test(tc, bursts_arrive_whole_and_in_order_both_ways);
    tcase_add_test(tc, the_public_address_is_shown_and_turned_round_between_associations);
    tcase_add_test(tc, port_unreachable_is_reported_with_the_peer);
    tcase_add_test(tc, an_icmp_error_met_by_a_send_is_reported_at_once);
    tcase_add_test(tc, an_icmp_error_is_not_hidden_by_steady_traffic);
    tcase_add_test(tc, nothing_reaches_our_own_listeners);
    tcase_add_test(tc, permit_asks_the_rules);
    tcase_add_test(tc, even_port_is_even_and_holds_no_sibling);
    tcase_add_test(tc, a_reserved_port_goes_to_whoever_brings_the_token_once);
    tcase_add_test(tc, a_reservation_nobody_claims_ends);
    tcase_add_test(tc, a_full_reservation_table_gives_everything_back);
    tcase_add_test(tc, a_port_is_not_given_out_again_for_two_minutes);
    tcase_add_test(tc, ports_of_other_processes_are_stepped_over);
    tcase_add_test(tc, only_datagrams_that_ask_for_it_carry_df);
    tcase_add_test(tc, a_datagram_too_big_for_df_is_reported_and_without_df_it_arrives);
    tcase_add_test(tc, what_was_sent_before_close_leaves_and_nothing_comes_after);
    tcase_add_test(tc, closing_twice_from_within_a_delivery_is_safe);
    tcase_add_test(tc, a_thousand_associations_leave_nothing_behind);
    return suite_run(suite);
}
