/*
 * tests/front/socks5_env.h - the SOCKS5 front between fakes: apps that say what the test says, an
 * exit that answers when it is told to, a clock that is set
 *
 * Streams are the fakes of tests/support/; only an association's UDP socket is a real one, on
 * loopback. Every test starts and ends here: env_end() checks that nothing is left.
 */
#pragma once

#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/batch.h"
#include "relay/front/socks5_impl.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_exit.h"
#include "tests/support/suite.h"

static struct {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct conf conf;
    struct conf_user users[3];
    struct counters counters;
    struct fake_exit exit;
    struct socks5 *s;
    unsigned int attempt_delay_ms;
    /* is_ours() and join() */
    char ours[256];
    uint16_t ours_port;
    struct stream *joined;
    struct addr joined_app;
    size_t asked_ours;
} env;

static bool env_is_ours(void *arg, const char *name, uint16_t port)
{
    env.asked_ours++;
    return port == env.ours_port && strcmp(name, env.ours) == 0;
}

static ptrdiff_t env_joined_on_bytes(void *user, const uint8_t *data, size_t len)
{
    return (ptrdiff_t)len;
}

static const struct stream_events env_joined_events = {.on_bytes = env_joined_on_bytes};

static bool env_join(void *arg, struct stream *stream, const struct addr *app)
{
    env.joined = stream;
    env.joined_app = *app;
    stream_set_events(stream, &env_joined_events, NULL);
    return true;
}

static void env_begin_at(const char *ip)
{
    struct socks5_params params;
    struct addr listen;
    bool ok = addr_parse_ip(ip, 0, &listen);

    ck_assert(ok);
    memset(&env, 0, sizeof(env));
    log_init(LOG_LEVEL_ERROR, false);
    env.base = event_base_new();
    env.rx = rx_batch_new();
    env.tx = tx_queue_new(NULL);
    env.attempt_delay_ms = 600000;
    fake_exit_init(&env.exit);
    params = (struct socks5_params){
        .base = env.base,
        .rx = env.rx,
        .tx = env.tx,
        .exit = &env.exit.exit,
        .counters = &env.counters,
        .is_ours = env_is_ours,
        .join = env_join,
        .attempt_delay_ms = env.attempt_delay_ms,
    };
    ck_assert_int_eq(socks5_new(&params, &env.conf, &listen, &env.s), 0);
}

static inline void env_begin(void)
{
    env_begin_at("127.0.0.1");
}

static void env_end(void)
{
    fake_streams_turn();
    socks5_free(env.s);
    stream_free(env.joined);
    ck_assert_int_eq(event_base_get_num_events(env.base, EVENT_BASE_COUNT_ADDED), 0);
    ck_assert_uint_eq(env.counters.socks_connections, 0);
    ck_assert_uint_eq(env.counters.socks_associations, 0);
    ck_assert_uint_eq(fake_streams_count(), 0);
    fake_exit_deinit(&env.exit);
    far_free_all();
    tx_queue_free(env.tx);
    rx_batch_free(env.rx);
    event_base_free(env.base);
}

static inline void env_pass(uint64_t seconds)
{
    fake_now_ns += seconds * NS_PER_S;
    socks5_sweep(env.s, fake_now_ns);
    fake_streams_turn();
}

/* Users alice/wonderland and bob/builder, and carol of whom only a key is stored. */
static inline void env_add_users(void)
{
    env.users[0] = (struct conf_user){.name = (char *)"alice", .password = (char *)"wonderland"};
    env.users[1] = (struct conf_user){.name = (char *)"bob", .password = (char *)"builder"};
    env.users[2] = (struct conf_user){.name = (char *)"carol", .has_md5 = true};
    env.conf.user = env.users;
    env.conf.n_user = 3;
    socks5_set_conf(env.s, &env.conf);
}

/* ---- an app ---- */

static inline struct far *app_at(const char *remote)
{
    struct far *app = far_new();
    struct addr listen = socks5_addr(env.s);

    app->remote = at(remote);
    app->local = listen;
    socks5_take(env.s, app->stream);
    return app;
}

static inline struct far *app_new(void)
{
    return app_at("127.0.0.1:40000");
}

/* What was written to the app since the last look. */
static inline void check_got(struct far *app, const void *expected, size_t len)
{
    ck_assert_uint_eq(app->n_got, len);
    ck_assert_mem_eq(app->got, expected, len);
    app->n_got = 0;
}

#define SAY(app, bytes) far_write(app, bytes, sizeof(bytes) - 1)
#define GOT(app, bytes) check_got(app, bytes, sizeof(bytes) - 1)

/* An app that has settled on no authentication. */
static inline struct far *app_ready(void)
{
    struct far *app = app_new();

    SAY(app, "\x05\x01\x00");
    GOT(app, "\x05\x00");
    return app;
}

static inline size_t request_make(uint8_t *buf, size_t cap, uint8_t command, const char *target,
                                  uint16_t port)
{
    struct writer w = writer_make(buf, cap);
    struct socks5_target t = {0};

    if (!socks5_target_of(target, strlen(target), port, &t))
        abort();
    writer_u8(&w, 5);
    writer_u8(&w, command);
    writer_u8(&w, 0);
    socks5_put_target(&w, &t);
    return w.len;
}

static inline void app_asks(struct far *app, uint8_t command, const char *target, uint16_t port)
{
    uint8_t buf[300];

    far_write(app, buf, request_make(buf, sizeof(buf), command, target, port));
}

/* The app got exactly one reply. Return: BND.ADDR and BND.PORT. */
static inline struct addr check_reply(struct far *app, enum socks5_rep rep)
{
    const uint8_t *m = app->got;
    size_t ip_len = m[3] == 4 ? 16 : 4;
    struct addr bound = {0};

    ck_assert_uint_ge(app->n_got, 10);
    ck_assert_uint_eq(m[0], 5);
    ck_assert_uint_eq(m[1], rep);
    ck_assert_uint_eq(m[2], 0);
    ck_assert(m[3] == 1 || m[3] == 4);
    ck_assert_uint_eq(app->n_got, 6 + ip_len);
    bound = addr_make(m[3] == 4 ? ADDR_IPV6 : ADDR_IPV4, m + 4,
                      (uint16_t)(m[4 + ip_len] << 8 | m[5 + ip_len]));
    app->n_got = 0;
    return bound;
}

/* A failure: the reply, and then the end. */
static inline void check_failed(struct far *app, enum socks5_rep rep)
{
    check_reply(app, rep);
    ck_assert(app->close_called);
    fake_streams_turn();
    ck_assert(app->freed);
}

#define assert_addr_eq(a, text)                                                                    \
    do {                                                                                           \
        struct addr expected_ = at(text), actual_ = (a);                                           \
        char buf_[ADDR_STRLEN];                                                                    \
        ck_assert_msg(addr_equal(&actual_, &expected_), "%s is not %s",                            \
                      addr_format(&actual_, buf_, sizeof(buf_)), (text));                          \
    } while (0)
