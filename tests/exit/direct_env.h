/*
 * tests/exit/direct_env.h - an exit on a loop of its own, a clock that is set, rules that are told,
 * and sessions that write down what they hear
 *
 * Every test starts and ends here: direct_env_end() checks that no descriptor was left open.
 */
#pragma once

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/net/stream.h"
#include "relay/exit/direct.h"

#define ENV_HEARD_MAX 512

struct heard {
    struct addr peer;
    size_t len;
    uint8_t data[1500];
    uint64_t now_ns;
};

struct session {
    struct exit *exit;
    struct assoc *assoc;
    struct assoc_opened opened;
    unsigned int n_opened, n_heard, n_icmp, n_connected, n_accepted;
    struct heard heard[ENV_HEARD_MAX];
    struct assoc_icmp icmp;
    struct {
        uint32_t id;
        enum exit_result result;
        struct stream *stream;
    } connected[64];
    struct {
        struct addr peer;
        struct stream *stream;
    } accepted[8];
    bool close_when_heard; /* and once more, for good measure */
};

/* The two sessions of a test. */
static struct session sessions[2];

static struct {
    struct event_base *base;
    struct ports *ports;
    struct conf conf;
    struct counters counters;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct tx_stats tx_stats;
    struct stream_pool *pool;
    struct exit *exit;
    uint64_t now_ns;
    unsigned int n_descriptors;

    /* What the rules below say. */
    struct addr own;    /* an address of this machine: ports matter there */
    struct addr denied; /* port 0: all ports */
    unsigned int n_own_asked, n_checked;
} env;

/* ---- the rules, in place of relay/guard/acl.c ---- */

enum acl_verdict acl_check(const struct acl *acl, const struct addr *peer, bool tcp)
{
    env.n_checked++;
    if (addr_ip_equal(peer, &env.denied) && (env.denied.port == 0 || env.denied.port == peer->port))
        return ACL_DENY_LISTENER;
    return ACL_ALLOW;
}

bool acl_is_own(const struct acl *acl, const struct addr *ip)
{
    env.n_own_asked++;
    return addr_ip_equal(ip, &env.own);
}

/* ---- sessions ---- */

static void session_on_open(void *user, const struct assoc_opened *opened)
{
    struct session *s = user;

    ck_assert_ptr_nonnull(s->assoc); /* written before the first event */
    s->opened = *opened;
    s->n_opened++;
}

static void session_close(struct session *s)
{
    struct assoc *a = s->assoc;

    s->assoc = NULL;
    s->exit->ops->close(a);
}

static void session_on_datagram(void *user, const struct addr *peer, const uint8_t *data,
                                size_t len, uint64_t now_ns)
{
    struct session *s = user;
    struct heard *h = &s->heard[s->n_heard++];

    ck_assert_uint_le(s->n_heard, ENV_HEARD_MAX);
    ck_assert_ptr_nonnull(s->assoc); /* nothing after close() */
    h->peer = *peer;
    h->len = len;
    h->now_ns = now_ns;
    memcpy(h->data, data, len < sizeof(h->data) ? len : sizeof(h->data));
    if (s->close_when_heard) {
        struct assoc *a = s->assoc;

        session_close(s);
        s->exit->ops->close(a);
    }
}

static void session_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    struct session *s = user;

    ck_assert_ptr_nonnull(s->assoc);
    s->icmp = *icmp;
    s->n_icmp++;
}

static void session_on_connected(void *user, uint32_t id, enum exit_result result,
                                 struct stream *stream)
{
    struct session *s = user;

    ck_assert_ptr_nonnull(s->assoc);
    ck_assert_uint_lt(s->n_connected, 64);
    ck_assert_int_eq(stream != NULL, result == EXIT_OK);
    s->connected[s->n_connected].id = id;
    s->connected[s->n_connected].result = result;
    s->connected[s->n_connected++].stream = stream;
}

static void session_on_accepted(void *user, const struct addr *peer, struct stream *stream)
{
    struct session *s = user;

    ck_assert_ptr_nonnull(s->assoc);
    ck_assert_uint_lt(s->n_accepted, 8);
    s->accepted[s->n_accepted].peer = *peer;
    s->accepted[s->n_accepted++].stream = stream;
}

static const struct assoc_events session_events = {
    .on_open = session_on_open,
    .on_datagram = session_on_datagram,
    .on_icmp = session_on_icmp,
    .on_connected = session_on_connected,
    .on_accepted = session_on_accepted,
};

/* Return: how it went (the session is to be closed either way). */
static enum exit_result session_open_at(struct session *s, struct exit *exit,
                                        const struct assoc_want *want)
{
    memset(s, 0, sizeof(*s));
    s->exit = exit;
    ck_assert_int_eq(exit->ops->open(exit, want, &session_events, s, &s->assoc), 0);
    ck_assert_uint_eq(s->n_opened, 1);
    return s->opened.result;
}

static inline enum exit_result session_open(struct session *s, const struct assoc_want *want)
{
    return session_open_at(s, env.exit, want);
}

/* ---- the environment ---- */

static uint64_t env_now(void)
{
    return env.now_ns;
}

static unsigned int env_count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned int n = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void env_apply_conf(void)
{
    direct_exit_set_conf(env.exit, &env.conf, NULL);
}

static struct exit *env_exit_new(void)
{
    const struct direct_params params = {
        .base = env.base,
        .rx = env.rx,
        .tx = env.tx,
        .pool = env.pool,
        .ports = env.ports,
        .counters = &env.counters,
        .now = env_now,
        .connect_timeout_ms = 200,
    };
    struct exit *exit = direct_exit_new(&params);

    ck_assert_ptr_nonnull(exit);
    direct_exit_set_conf(exit, &env.conf, NULL);
    return exit;
}

static void direct_env_begin(void)
{
    memset(&env, 0, sizeof(env));
    env.n_descriptors = env_count_descriptors();
    env.now_ns = 1000000007;
    env.conf.port_min = 20000; /* below the ports that Linux hands out by itself */
    env.conf.port_max = 27999;
    env.base = event_base_new();
    env.rx = rx_batch_new();
    env.tx = tx_queue_new(&env.tx_stats);
    env.pool = stream_pool_new(env.base);
    env.ports = ports_new();
    env.exit = env_exit_new();
}

static void direct_env_end(void)
{
    /* What a failed test left open must not hide why it failed. */
    for (int i = 0; i < 2; i++)
        if (sessions[i].assoc)
            session_close(&sessions[i]);
    direct_exit_free(env.exit);
    ports_free(env.ports);
    stream_pool_free(env.pool);
    tx_queue_free(env.tx);
    rx_batch_free(env.rx);
    event_base_free(env.base);
    ck_assert_uint_eq(env_count_descriptors(), env.n_descriptors);
}

/* Loopback addresses of this process: tests that run beside it may use the same ports. */
static struct addr loopback(uint8_t last, uint16_t port)
{
    unsigned int pid = (unsigned int)getpid();

    return addr_make_v4(0x7f000000u | (1 + pid / 254 % 254) << 16 | (1 + pid % 254) << 8 | last,
                        port);
}

static inline struct addr loopback6(void)
{
    struct addr addr;

    ck_assert(addr_parse_ip("::1", 0, &addr));
    return addr;
}

static inline struct assoc_want want_v4(void)
{
    return (struct assoc_want){.v4 = true, .local = loopback(1, 3478)};
}

/* One round of the loop, waiting up to 20 ms for something to happen. */
static void env_turn(void)
{
    const struct timeval tv = {.tv_usec = 20000};

    event_base_loopexit(env.base, &tv);
    event_base_loop(env.base, EVLOOP_ONCE);
}

/* Until `*counter` reaches `n`, at most two seconds; then a little longer, for what is too much. */
static void env_until(const unsigned int *counter, unsigned int n)
{
    for (int i = 0; i < 100 && *counter < n; i++)
        env_turn();
    env_turn();
    ck_assert_uint_eq(*counter, n);
}
