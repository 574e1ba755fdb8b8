/*
 * tests/front/gate_real_env.h - the gate in a namespace that the test makes: real packets that
 * tproxy catches, a keeper that makes real sockets, and an exit whose far side is the test
 */
#pragma once

#include <signal.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/stream.h"
#include "relay/front/gate.h"
#include "tests/kernel/tproxy_space.h"

#define PEER_V4 "203.0.113.9:50000"
#define PEER_V6 "[2001:db8:9::9]:50000"
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
