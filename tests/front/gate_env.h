/*
 * tests/front/gate_env.h - the gate between fakes: an app whose datagrams and connections the test
 * hands in, an exit that answers when it is told to, a keeper that is the test, a clock that is set
 *
 * What the gate sends is recorded instead of sent (sendmmsg() is ours): the sockets that the keeper
 * passes are real ones on loopback, but they only serve to be told apart. Every test starts and
 * ends here: env_end() checks that nothing is left.
 */
#pragma once

#include <check.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "relay/front/gate_impl.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_exit.h"
#include "tests/support/suite.h"

#define APP      "192.0.2.2:40000"
#define PEER     "203.0.113.9:50000"
#define APP_V6   "[2001:db8:1::2]:40000"
#define PEER_V6  "[2001:db8:9::9]:50000"
#define SERVER   "9.9.9.9:53"
#define SERVER_2 "[2620:fe::9]:53"

#define ENV_SAID_MAX 1024

/* What the gate sent to the app. */
struct env_said {
    bool is_raw;
    struct addr as; /* unless raw: the address that the socket was asked for */
    struct addr to;
    uint8_t data[2048];
    size_t len;
};

struct env_socket {
    struct addr as, local; /* local tells the descriptor's copies apart */
};

static struct {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct counters counters;
    struct fake_exit exit;
    struct gate *g;
    int keeper; /* its end of the link */
    struct addr dns[2];
    unsigned int n_ended;
    bool free_at_end;
    uint16_t served_port; /* of the router; 0: none */
    struct stream *served;
    struct env_said said[ENV_SAID_MAX];
    size_t n_said, n_looked;
    struct env_socket sockets[1024];
    size_t n_sockets;
} env;

/* ---- sendmmsg() ---- */

static void env_record(int fd, const struct msghdr *hdr, const uint8_t *data, size_t len)
{
    struct env_said *s = &env.said[env.n_said % ENV_SAID_MAX];
    struct addr local = {0};
    int domain = 0;
    socklen_t opt_len = sizeof(domain);

    *s = (struct env_said){.len = len, .to = addr_from_sockaddr(hdr->msg_name)};
    ck_assert_uint_le(len, sizeof(s->data));
    memcpy(s->data, data, len);
    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &opt_len), 0);
    s->is_raw = domain == AF_UNIX;
    if (!s->is_raw)
        ck_assert_int_eq(sock_local_addr(fd, &local), 0);
    for (size_t i = 0; i < env.n_sockets && !s->is_raw; i++)
        if (addr_equal(&env.sockets[i].local, &local))
            s->as = env.sockets[i].as;
    env.n_said++;
}

static void env_record_message(int fd, struct mmsghdr *msg)
{
    struct msghdr *hdr = &msg->msg_hdr;
    static uint8_t data[1 << 17];
    size_t len = 0, segment_len;
    socklen_t opt_len = sizeof(int);
    int domain = 0;
    uint16_t v = 0;

    for (size_t i = 0; i < hdr->msg_iovlen; i++) {
        memcpy(data + len, hdr->msg_iov[i].iov_base, hdr->msg_iov[i].iov_len);
        len += hdr->msg_iov[i].iov_len;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
            memcpy(&v, CMSG_DATA(c), sizeof(v));
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &opt_len);
    ck_assert(v == 0 || domain != AF_UNIX); /* IP packets make no train */
    segment_len = v ? v : len;
    msg->msg_len = (unsigned int)len;
    for (size_t at = 0; at < len || at == 0; at += segment_len ? segment_len : 1)
        env_record(fd, hdr, data + at, len - at < segment_len ? len - at : segment_len);
}

int sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
    for (unsigned int i = 0; i < n; i++)
        env_record_message(fd, &msgs[i]);
    return (int)n;
}

/* The next thing that the app was sent, or NULL. */
static inline const struct env_said *env_next_said(void)
{
    tx_flush(env.tx);
    return env.n_looked < env.n_said ? &env.said[env.n_looked++ % ENV_SAID_MAX] : NULL;
}

/* ---- the keeper ---- */

/* Return: false when nothing is wanted. */
static inline bool env_wanted(struct keeper_want *ret)
{
    return recv(env.keeper, ret, sizeof(*ret), MSG_DONTWAIT) == sizeof(*ret);
}

static inline void env_turn(void)
{
    event_base_loop(env.base, EVLOOP_NONBLOCK);
}

/* Any message of the keeper's, well-formed or not. */
static inline void env_keeper_says(const void *data, size_t len, const int *fds, size_t n_fds)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec iov = {(void *)(uintptr_t)data, len};
    struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *c;

    if (n_fds > 0) {
        hdr.msg_control = control;
        hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&hdr);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    if (sendmsg(env.keeper, &hdr, MSG_NOSIGNAL) >= 0)
        env_turn();
}

static inline int env_make_socket(const struct keeper_want *want)
{
    struct env_socket *s;
    struct addr local = addr_make_v4(INADDR_LOOPBACK, 0);
    int fd;

    if (want->kind == KEEPER_RAW)
        return socket(AF_UNIX, SOCK_DGRAM, 0);
    fd = sock_bind(&local, SOCK_DGRAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_lt(env.n_sockets, 1024);
    s = &env.sockets[env.n_sockets++];
    s->as = want->addr;
    ck_assert_int_eq(sock_local_addr(fd, &s->local), 0);
    return fd;
}

static inline void env_answer_want(const struct keeper_want *want, int status)
{
    struct keeper_made made = {.version = KEEPER_VERSION, .id = want->id, .status = status};
    int fd = status == 0 ? env_make_socket(want) : -1;

    env_keeper_says(&made, sizeof(made), &fd, status == 0);
    if (fd >= 0)
        close(fd);
}

/* Answers all that is wanted. Return: how much that was. */
static inline unsigned int env_keeper_works(void)
{
    struct keeper_want want;
    unsigned int n = 0;

    for (; env_wanted(&want); n++)
        env_answer_want(&want, 0);
    return n;
}

/* ---- life ---- */

static void env_on_ended(void *arg)
{
    env.n_ended++;
    if (env.free_at_end) {
        gate_free(env.g);
        env.g = NULL;
    }
}

static bool env_on_service(void *arg, struct stream *app, uint16_t port)
{
    ck_assert_ptr_eq(arg, &env);
    if (port != env.served_port)
        return false;
    env.served = app;
    return true;
}

static void env_begin_with(size_t n_dns)
{
    struct keeper_attach attach = {.version = KEEPER_VERSION};
    struct addr loopback = addr_make_v4(INADDR_LOOPBACK, 0);
    struct gate_params params;
    int fds[KEEPER_N_FDS], link[2];

    memset(&env, 0, sizeof(env));
    log_init(LOG_LEVEL_ERROR, false);
    env.base = event_base_new();
    env.rx = rx_batch_new();
    env.tx = tx_queue_new(NULL);
    env.dns[0] = at(SERVER);
    env.dns[1] = at(SERVER_2);
    fake_exit_init(&env.exit);
    params = (struct gate_params){
        .base = env.base,
        .rx = env.rx,
        .tx = env.tx,
        .exit = &env.exit.exit,
        .counters = &env.counters,
        .dns = env.dns,
        .n_dns = n_dns,
        .on_ended = env_on_ended,
        .on_service = env_on_service,
        .service_arg = &env,
    };
    attach.near_v4 = at("192.0.2.2:0");
    attach.near_v6 = at("[2001:db8:1::2]:0");
    attach.router_v4 = at("192.0.2.1:0");
    for (int i = 0; i < KEEPER_LINK; i++) {
        fds[i] = i < KEEPER_UDP4 ? sock_listen(&loopback, 0) : sock_bind(&loopback, SOCK_DGRAM, 0);
        ck_assert_int_ge(fds[i], 0);
    }
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, link), 0);
    fds[KEEPER_LINK] = link[0];
    env.keeper = link[1];
    ck_assert_int_eq(gate_new(&params, &attach, fds, &env.g), 0);
}

static inline void env_begin(void)
{
    env_begin_with(1);
    ck_assert_uint_eq(env_keeper_works(), 2); /* the raw sockets */
}

static void env_end(void)
{
    fake_streams_turn();
    gate_free(env.g);
    if (env.keeper >= 0)
        close(env.keeper);
    ck_assert_int_eq(event_base_get_num_events(env.base, EVENT_BASE_COUNT_ADDED), 0);
    ck_assert_uint_eq(env.counters.gate_flows, 0);
    ck_assert_uint_eq(env.counters.gate_associations, 0);
    ck_assert_uint_eq(env.counters.gate_peers, 0);
    ck_assert_uint_eq(fake_streams_count(), 0);
    fake_exit_deinit(&env.exit);
    far_free_all();
    tx_queue_free(env.tx);
    rx_batch_free(env.rx);
    event_base_free(env.base);
}

/* An exit that only refers to what it is given, until the flush, as one over UDP does: what it
 * sends is recorded with the rest. */
static struct exit_ops env_referring_ops;
static int env_referring_fd;
static bool env_referring_loses; /* the association, in mid-send */

static inline void env_refer(struct assoc *a, const struct addr *peer, const uint8_t *data,
                             size_t len, bool dont_fragment)
{
    tx_push(env.tx, env_referring_fd, peer, NULL, NULL, 0, data, len);
    if (env_referring_loses)
        a->events->on_lost(a->user, EXIT_E_DOWN);
}

static inline void env_exit_refers(bool loses)
{
    env_referring_ops = *env.exit.exit.ops;
    env_referring_ops.send = env_refer;
    env_referring_loses = loses;
    env.exit.exit.ops = &env_referring_ops;
    env_referring_fd = env.g->udp[0].fd;
}

/* Second by second, as the worker sweeps. */
static inline void env_pass(uint64_t seconds)
{
    for (uint64_t i = 0; i < seconds; i++) {
        fake_now_ns += NS_PER_S;
        gate_sweep(env.g, fake_now_ns);
    }
    fake_streams_turn();
}

/* ---- the app ---- */

/* A datagram on a heap buffer of its own size, gone after the flush as the batch's is. */
static inline void app_sends_bytes(const char *from, const char *to, const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    const struct rx_packet packet = {.data = copy, .len = len, .from = at(from), .to = at(to)};

    if (len > 0)
        memcpy(copy, data, len);
    gate_udp_send(env.g, &packet, fake_now_ns);
    tx_flush(env.tx);
    free(copy);
}

static inline void app_sends(const char *from, const char *to, const char *text)
{
    app_sends_bytes(from, to, text, strlen(text));
}

static inline struct far *app_connects(const char *to)
{
    struct far *app = far_new();
    struct addr addr = at(to);

    gate_tcp_take(env.g, app->stream, &addr);
    return app;
}

/* A datagram of the far side, on a heap buffer as above. */
static inline void far_sends_bytes(struct assoc *a, const char *peer, const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    struct addr from = at(peer);

    if (len > 0)
        memcpy(copy, data, len);
    a->events->on_datagram(a->user, &from, copy, len, fake_now_ns);
    tx_flush(env.tx);
    free(copy);
}

/* ---- what it got ---- */

#define assert_addr_eq(a, text)                                                                    \
    do {                                                                                           \
        struct addr expected_ = at(text), actual_ = (a);                                           \
        char buf_[ADDR_STRLEN];                                                                    \
        ck_assert_msg(addr_equal(&actual_, &expected_), "%s is not %s",                            \
                      addr_format(&actual_, buf_, sizeof(buf_)), (text));                          \
    } while (0)

static inline void check_sent(size_t i, const char *peer, const char *text)
{
    ck_assert_uint_gt(env.exit.n_sent, i);
    assert_addr_eq(env.exit.sent[i].peer, peer);
    ck_assert_uint_eq(env.exit.sent[i].len, strlen(text));
    ck_assert_mem_eq(env.exit.sent[i].data, text, strlen(text));
}

/* The app got this datagram next, from the socket of that peer. */
static inline void check_said_as(const char *peer, const char *app, const char *text)
{
    const struct env_said *s = env_next_said();

    ck_assert_ptr_nonnull(s);
    ck_assert(!s->is_raw);
    assert_addr_eq(s->as, peer);
    assert_addr_eq(s->to, app);
    ck_assert_uint_eq(s->len, strlen(text));
    ck_assert_mem_eq(s->data, text, strlen(text));
}

static inline uint16_t word_at(const struct env_said *s, size_t i)
{
    ck_assert_uint_ge(s->len, i + 2);
    return (uint16_t)(s->data[i] << 8 | s->data[i + 1]);
}

/* The app got this datagram next, as a whole IP packet; `ret`, or NULL, gets its payload. */
static inline size_t check_raw_udp(const char *peer, const char *app, const uint8_t **ret)
{
    const struct env_said *s = env_next_said();
    struct addr from = at(peer), to = at(app);
    size_t ip_len = from.family == ADDR_IPV6 ? 40 : 20, n = addr_ip_len(&from);

    ck_assert_ptr_nonnull(s);
    ck_assert(s->is_raw);
    ck_assert(addr_ip_equal(&s->to, &to));
    ck_assert_uint_eq(s->to.port, 0);
    ck_assert_uint_ge(s->len, ip_len + 8);
    ck_assert_uint_eq(s->data[ip_len == 40 ? 6 : 9], IPPROTO_UDP);
    ck_assert_mem_eq(s->data + ip_len - 2 * n, from.ip, n);
    ck_assert_mem_eq(s->data + ip_len - n, to.ip, n);
    ck_assert_uint_eq(word_at(s, ip_len), from.port);
    ck_assert_uint_eq(word_at(s, ip_len + 2), to.port);
    ck_assert_uint_eq(word_at(s, ip_len + 4), s->len - ip_len);
    *ret = s->data + ip_len + 8;
    return s->len - ip_len - 8;
}

static inline void check_said_raw(const char *peer, const char *app, const char *text)
{
    const uint8_t *data;
    size_t len = check_raw_udp(peer, app, &data);

    ck_assert_uint_eq(len, strlen(text));
    ck_assert_mem_eq(data, text, len);
}

/* The app got an ICMP error next, about its datagram to that peer. */
static inline void check_icmp(const char *app, const char *peer, uint8_t type, uint8_t code)
{
    const struct env_said *s = env_next_said();
    struct addr from = at(peer), to = at(app);
    size_t ip_len = from.family == ADDR_IPV6 ? 40 : 20, n = addr_ip_len(&from), inner;

    ck_assert_ptr_nonnull(s);
    ck_assert(s->is_raw);
    ck_assert(addr_ip_equal(&s->to, &to));
    ck_assert_uint_eq(s->len, 2 * ip_len + 16);
    ck_assert_uint_eq(s->data[ip_len == 40 ? 6 : 9], ip_len == 40 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
    ck_assert_mem_eq(s->data + ip_len - 2 * n, from.ip, n);
    ck_assert_mem_eq(s->data + ip_len - n, to.ip, n);
    ck_assert_uint_eq(s->data[ip_len], type);
    ck_assert_uint_eq(s->data[ip_len + 1], code);
    inner = ip_len + 8;
    ck_assert_mem_eq(s->data + inner + ip_len - 2 * n, to.ip, n);
    ck_assert_mem_eq(s->data + inner + ip_len - n, from.ip, n);
    ck_assert_uint_eq(word_at(s, inner + ip_len), to.port);
    ck_assert_uint_eq(word_at(s, inner + ip_len + 2), from.port);
}

static inline void check_refused(const char *app, const char *peer)
{
    struct addr addr = at(peer);

    if (addr.family == ADDR_IPV6)
        check_icmp(app, peer, 1, 4);
    else
        check_icmp(app, peer, 3, 3);
}

static inline void check_silence(void)
{
    ck_assert_ptr_null(env_next_said());
}
