/*
 * The gate with the real kernel: apps whose packets tproxy catches, in a namespace that the test
 * makes; a keeper that makes real sockets; and an exit whose far side is the test
 */
#include <signal.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/stream.h"
#include "relay/front/gate.h"
#include "tests/kernel/tproxy_space.h"

#define PEER_V4 "203.0.113.9:6000"
#define PEER_V6 "[2001:db8:9::9]:6000"
#define BULK    (4u << 20)

static const char *const peers[] = {PEER_V4, PEER_V6};

struct assoc {
    const struct assoc_events *events;
    void *user;
    struct addr peer; /* of the last datagram */
    uint8_t data[8192];
    size_t len, n_sent;
};

struct dial {
    struct stream *stream;
    exit_on_dialed *on_dialed;
    void *user;
};

static struct {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct counters counters;
    struct exit exit;
    struct gate *gate;
    struct assoc *assoc; /* the youngest */
    unsigned int n_assocs, n_ended;
    enum exit_result open_result, permit_result;
    int listener; /* the far side's, on loopback */
    struct addr far, dns;
    int keeper; /* its end of the link */
    struct event *keeper_readable;
    unsigned int n_made;
    bool keeper_refuses; /* KEEPER_UDP */
} env;

/* ---- the exit ---- */

static int exit_open(struct exit *e, const struct assoc_want *want,
                     const struct assoc_events *events, void *user, struct assoc **ret)
{
    struct assoc_opened opened = {.result = env.open_result};
    struct assoc *a = calloc(1, sizeof(*a));

    *a = (struct assoc){.events = events, .user = user};
    env.n_assocs++;
    env.assoc = *ret = a;
    if (want->v4)
        opened.relayed_v4 = space_at("198.51.100.1:50000");
    if (want->v6)
        opened.relayed_v6 = space_at("[2001:db8:2::1]:50000");
    events->on_open(user, &opened);
    return 0;
}

static void exit_close(struct assoc *a)
{
    env.n_assocs--;
    if (env.assoc == a)
        env.assoc = NULL;
    free(a);
}

static enum exit_result exit_permit(struct assoc *a, const struct addr *peer)
{
    return env.permit_result;
}

static void exit_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                      bool dont_fragment)
{
    a->peer = *peer;
    a->len = len < sizeof(a->data) ? len : sizeof(a->data);
    memcpy(a->data, data, a->len);
    a->n_sent++;
}

static ptrdiff_t dial_on_bytes(void *user, const uint8_t *data, size_t len)
{
    return 0;
}

static void dial_answer(struct dial *d, enum exit_result result, struct stream *stream)
{
    static const struct addr none;
    struct dial copy = *d;

    free(d);
    copy.on_dialed(copy.user, result, stream, &none);
}

static void dial_on_open(void *user)
{
    struct dial *d = user;

    dial_answer(d, EXIT_OK, d->stream);
}

static void dial_on_closed(void *user, int reason)
{
    struct dial *d = user;

    stream_free(d->stream);
    dial_answer(d, EXIT_E_REFUSED, NULL);
}

static const struct stream_events dial_events = {
    .on_bytes = dial_on_bytes, .on_open = dial_on_open, .on_closed = dial_on_closed};

static int exit_dial(struct exit *e, const struct addr *peer, exit_on_dialed *on_dialed, void *user,
                     struct dial **ret)
{
    struct dial *d = calloc(1, sizeof(*d));
    int fd = sock_connect(&env.far, SOCK_STREAM);

    ck_assert_int_ge(fd, 0);
    *d = (struct dial){.on_dialed = on_dialed, .user = user};
    d->stream = stream_connecting(env.pool, fd, 65536);
    stream_set_events(d->stream, &dial_events, d);
    *ret = d;
    return 0;
}

static void exit_hang_up(struct dial *d)
{
    stream_free(d->stream);
    free(d);
}

static const struct exit_ops exit_ops = {
    .open = exit_open,
    .close = exit_close,
    .permit = exit_permit,
    .send = exit_send,
    .dial = exit_dial,
    .hang_up = exit_hang_up,
};

/* ---- the keeper ---- */

static int keeper_make(const struct keeper_want *want)
{
    int fd;

    if (want->kind == KEEPER_UDP)
        return env.keeper_refuses ? -EADDRINUSE : space_transparent(&want->addr, SOCK_DGRAM);
    ck_assert_uint_eq(want->kind, KEEPER_RAW);
    fd = socket(want->addr.family == ADDR_IPV6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK,
                IPPROTO_RAW);
    return fd < 0 ? -errno : fd;
}

static void keeper_say(const struct keeper_made *made, int fd)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {(void *)(uintptr_t)made, sizeof(*made)};
    struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *c;

    if (fd >= 0) {
        hdr.msg_control = control;
        hdr.msg_controllen = sizeof(control);
        c = CMSG_FIRSTHDR(&hdr);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    ck_assert_int_eq(sendmsg(env.keeper, &hdr, 0), sizeof(*made));
}

static void keeper_on_readable(evutil_socket_t link, short what, void *arg)
{
    struct keeper_want want;
    struct keeper_made made = {.version = KEEPER_VERSION};
    int fd;

    while (recv(link, &want, sizeof(want), MSG_DONTWAIT) == sizeof(want)) {
        fd = keeper_make(&want);
        made.id = want.id;
        made.status = fd < 0 ? fd : 0;
        keeper_say(&made, fd);
        env.n_made += fd >= 0 && want.kind == KEEPER_UDP;
        if (fd >= 0)
            close(fd);
    }
}

static void on_ended(void *arg)
{
    env.n_ended++;
    gate_free(env.gate);
    env.gate = NULL;
}

/* ---- the world ---- */

static void turn(void)
{
    for (int i = 0; i < 20; i++)
        event_base_loop(env.base, EVLOOP_NONBLOCK);
}

/* Turns until there is something for the app. */
static bool turn_until(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (int i = 0; i < 5000; i++) {
        event_base_loop(env.base, EVLOOP_NONBLOCK);
        if (poll(&p, 1, 1) == 1)
            return true;
    }
    return false;
}

static void begin_gate(void)
{
    struct gate_params params = {
        .base = env.base,
        .rx = env.rx,
        .tx = env.tx,
        .pool = env.pool,
        .exit = &env.exit,
        .counters = &env.counters,
        .dns = &env.dns,
        .n_dns = 1,
        .on_ended = on_ended,
    };
    struct keeper_attach attach = {.version = KEEPER_VERSION};
    int fds[KEEPER_N_FDS], link[2];

    ck_assert(addr_parse_ip(SPACE_NEAR_V4, 0, &attach.near_v4));
    ck_assert(addr_parse_ip(SPACE_NEAR_V6, 0, &attach.near_v6));
    space_catch(fds);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, link), 0);
    fds[KEEPER_LINK] = link[0];
    env.keeper = link[1];
    env.keeper_readable =
        event_new(env.base, link[1], EV_READ | EV_PERSIST, keeper_on_readable, NULL);
    event_add(env.keeper_readable, NULL);
    ck_assert_int_eq(gate_new(&params, &attach, fds, &env.gate), 0);
    turn();
}

static void setup(void)
{
    memset(&env, 0, sizeof(env));
    log_init(LOG_LEVEL_ERROR, false);
    env.base = event_base_new();
    env.rx = rx_batch_new();
    env.tx = tx_queue_new(NULL);
    env.pool = stream_pool_new(env.base);
    env.exit.ops = &exit_ops;
    env.dns = space_at("9.9.9.9:53");
    env.far = space_at("127.0.0.1:0");
    env.listener = sock_listen(&env.far, 0);
    ck_assert_int_eq(sock_local_addr(env.listener, &env.far), 0);
    begin_gate();
}

static void end_keeper(void)
{
    if (env.keeper_readable)
        event_free(env.keeper_readable);
    env.keeper_readable = NULL;
    if (env.keeper >= 0)
        close(env.keeper);
    env.keeper = -1;
}

static void teardown(void)
{
    gate_free(env.gate);
    end_keeper();
    if (env.listener >= 0)
        close(env.listener);
    ck_assert_uint_eq(env.n_assocs, 0);
    ck_assert_uint_eq(env.counters.gate_flows, 0);
    ck_assert_uint_eq(env.counters.gate_associations, 0);
    ck_assert_uint_eq(env.counters.gate_peers, 0);
    stream_pool_free(env.pool);
    tx_queue_free(env.tx);
    rx_batch_free(env.rx);
    event_base_free(env.base);
}

static int app_connect(const char *to, int type)
{
    struct addr addr = space_at(to);
    int fd = sock_connect(&addr, type);

    ck_assert_int_ge(fd, 0);
    return fd;
}

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
    static const char *const others[] = {"198.51.100.7:7000", "[2001:db8:7::7]:7000"};
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
    struct addr any = {.family = _i ? ADDR_IPV6 : ADDR_IPV4, .port = 6000};
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
    struct addr from = space_at(peers[_i]);
    int app = app_connect(peers[_i], SOCK_DGRAM);
    static uint8_t data[40][1000];

    app_says(app, "ping", 4);
    peer_says(peers[_i], "one", 3);
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
    SRunner *runner;
    int n_failed;

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
    tcase_add_loop_test(t, datagrams_of_every_length_arrive_without_a_socket_for_the_peer, 0, 2);
    tcase_add_loop_test(t, a_train_of_a_peer_arrives_whole_and_in_order, 0, 2);
    tcase_add_loop_test(t, a_peer_that_is_denied_is_refused_at_once, 0, 2);
    tcase_add_loop_test(t, while_the_exit_is_down_datagrams_are_refused_at_once, 0, 2);
    tcase_add_loop_test(t, what_icmp_said_far_away_reaches_the_app, 0, 2);
    tcase_add_test(t, a_smaller_path_far_away_is_the_apps_path_mtu);
    tcase_add_loop_test(t, a_name_server_answers_in_the_name_of_the_one_that_was_asked, 0, 2);
    tcase_add_test(t, the_gate_ends_with_its_keeper);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
