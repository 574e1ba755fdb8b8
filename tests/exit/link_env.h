/*
 * tests/exit/link_env.h - a small relay of all four transports, and one link to it
 *
 * The relay echoes every message, as it came. It is made of OpenSSL and sockets by
 * way of common/net's server side, on loopback, in the same loop as the link.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include "common/net/batch.h"
#include "common/net/dtls.h"
#include "common/net/stream.h"
#include "common/net/tls_client.h"
#include "common/wire/channel.h"
#include "relay/exit/upstream/link_impl.h"
#include "tests/net/certs.h"
#include "tests/net/support.h"

#define N_GOT 512

struct link_bench {
    struct event_base *base;
    struct link_env env;
    struct tls_server *tls;
    struct tls_client *trust;
    unsigned char pin[1][32];
    struct link_to to;

    int fd; /* the relay's: UDP, or listening */
    struct addr addr;
    struct event *event;
    struct dtls_server *dtls;
    struct dtls_session *session;
    struct stream_pool *pool; /* the relay's own */
    struct stream *stream;
    struct addr client;
    bool silent; /* no echo */
    bool deaf;   /* TCP connections are not looked at */
    bool counts; /* messages of a stream, which are not kept */
    unsigned int n_counted;
    int n_relay_closed; /* of DTLS sessions */
    size_t relay_bytes; /* that came by stream, or in messages */
    uint8_t relay_got[1 << 18];

    struct link *link;
    bool in_call;
    int n_open, n_messages, n_closed, n_drained, reason;
    bool closed, opened;
    char why[128];
    size_t lens[N_GOT];
    uint8_t data[N_GOT][64]; /* the beginning of each */
    int free_on;             /* 1 on_open, 2 on_message, 3 on_closed */
    void (*hook)(const uint8_t *data, size_t len);
};

static struct link_bench b;

/* ---- the relay ---- */

static void relay_keep(const uint8_t *data, size_t len)
{
    ck_assert_uint_le(b.relay_bytes + len, sizeof(b.relay_got));
    memcpy(b.relay_got + b.relay_bytes, data, len);
    b.relay_bytes += len;
}

static void dtls_send(void *user, void *listener, const struct addr *to, const struct addr *from,
                      const uint8_t *data, size_t len)
{
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(to, &sa);

    sendto(b.fd, data, len, 0, (struct sockaddr *)&sa, sa_len);
}

static void dtls_on_open(void *user, struct dtls_session *session)
{
    b.session = session;
}

static void dtls_on_message(void *user, struct dtls_session *session, const uint8_t *data,
                            size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};

    relay_keep(data, len);
    if (!b.silent)
        dtls_session_send(session, &iov, 1);
}

static void dtls_on_closed(void *user, struct dtls_session *session, int reason)
{
    b.n_relay_closed++;
    b.session = NULL;
}

static const struct dtls_events dtls_events = {
    .send = dtls_send,
    .on_open = dtls_on_open,
    .on_message = dtls_on_message,
    .on_closed = dtls_on_closed,
};

static void relay_on_datagram(evutil_socket_t fd, short what, void *arg)
{
    static uint8_t buf[65536];
    struct sockaddr_storage sa;
    socklen_t sa_len = sizeof(sa);
    ssize_t n;

    while ((n = recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&sa, &sa_len)) >=
           0) {
        b.client = addr_from_sockaddr((struct sockaddr *)&sa);
        if (b.dtls) {
            dtls_server_input(b.dtls, &b, &b.client, &b.addr, buf, (size_t)n, clock_now_ns());
            continue;
        }
        relay_keep(buf, (size_t)n);
        if (!b.silent)
            sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&sa, sa_len);
    }
}

/* Counts messages; a stream without framing is the end of the test. */
static ptrdiff_t relay_count(const uint8_t *data, size_t len)
{
    size_t used = 0;

    while (used < len) {
        ptrdiff_t n = wire_frame_len(data + used, len - used);

        ck_assert_int_ge(n, 0);
        if (n == 0 || (size_t)n > len - used)
            break;
        used += (size_t)n;
        b.n_counted++;
    }
    return (ptrdiff_t)used;
}

static ptrdiff_t relay_on_bytes(void *user, const uint8_t *data, size_t len)
{
    if (b.counts)
        return relay_count(data, len);
    relay_keep(data, len);
    if (!b.silent)
        stream_write(b.stream, data, len);
    return (ptrdiff_t)len;
}

static void relay_on_closed(void *user, int reason)
{
    stream_free(b.stream);
    b.stream = NULL;
}

static const struct stream_events relay_events = {
    .on_bytes = relay_on_bytes,
    .on_closed = relay_on_closed,
};

static void relay_on_connection(evutil_socket_t fd, short what, void *arg)
{
    int client = accept(fd, NULL, NULL);

    b.stream = stream_accept(b.pool, client, b.to.kind == LINK_TLS ? b.tls->tls : NULL, false,
                             sizeof(b.relay_got));
    stream_set_events(b.stream, &relay_events, NULL);
}

static void relay_close(void)
{
    dtls_server_free(b.dtls);
    stream_free(b.stream);
    if (b.event)
        event_free(b.event);
    if (b.fd >= 0)
        close(b.fd);
    b.dtls = NULL;
    b.stream = NULL;
    b.event = NULL;
    b.fd = -1;
}

/* A relay for this kind of link, and `b.to` for it (with the right pin). */
static inline void bench_relay(enum link_kind kind)
{
    static const uint8_t secret[DTLS_COOKIE_SECRET_LEN] = "a secret of thirty-two byteslong";
    bool is_stream = link_kind_is_stream(kind);
    struct addr at;

    relay_close();
    ck_assert(addr_parse("127.0.0.1:0", &at));
    b.fd = is_stream ? sock_listen(&at, 0) : sock_bind(&at, SOCK_DGRAM, 0);
    ck_assert_int_ge(b.fd, 0);
    ck_assert_int_eq(sock_local_addr(b.fd, &b.addr), 0);
    if (kind == LINK_DTLS)
        b.dtls = dtls_server_new(b.base, b.tls->dtls, secret, NULL, &dtls_events, NULL);
    b.event = event_new(b.base, b.fd, EV_READ | EV_PERSIST,
                        is_stream ? relay_on_connection : relay_on_datagram, NULL);
    if (!b.deaf)
        event_add(b.event, NULL);
    b.to = (struct link_to){.kind = kind, .server = b.addr, .name = "relay.test"};
    b.to.pins = (const unsigned char(*)[32])b.pin;
    b.to.n_pins = 1;
}

static inline void bench_relay_says(const void *data, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(&b.client, &sa);

    if (b.dtls)
        ck_assert_int_eq(dtls_session_send(b.session, &iov, 1), 0);
    else if (b.stream)
        ck_assert_int_ge(stream_write(b.stream, data, len), 0);
    else
        ck_assert_int_eq(sendto(b.fd, data, len, 0, (struct sockaddr *)&sa, sa_len), (ssize_t)len);
}

/* ---- the link's owner ---- */

static void bench_free_link(void)
{
    link_free(b.link);
    b.link = NULL;
}

static void on_open(void *user)
{
    ck_assert_ptr_eq(user, &b);
    ck_assert(!b.in_call);
    b.n_open++;
    b.opened = true;
    if (b.free_on == 1)
        bench_free_link();
}

static void on_message(void *user, const uint8_t *data, size_t len, uint64_t now_ns)
{
    ck_assert(!b.in_call);
    ck_assert_int_eq(b.n_open, 1);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_uint_gt(now_ns, 0);
    if (b.n_messages < N_GOT) {
        b.lens[b.n_messages] = len;
        memcpy(b.data[b.n_messages], data, len < 64 ? len : 64);
    }
    b.n_messages++;
    if (b.free_on == 2)
        bench_free_link();
    else if (b.hook)
        b.hook(data, len);
}

static void on_closed(void *user, int reason, const char *why)
{
    ck_assert(!b.in_call);
    b.n_closed++;
    b.closed = true;
    b.reason = reason;
    if (b.free_on == 3)
        bench_free_link();
    snprintf(b.why, sizeof(b.why), "%s", why);
    ck_assert_ptr_null(strstr(b.why, "127."));
}

static void on_drained(void *user)
{
    ck_assert(!b.in_call);
    b.n_drained++;
}

static const struct link_events bench_events = {
    .on_open = on_open,
    .on_message = on_message,
    .on_closed = on_closed,
    .on_drained = on_drained,
};

/* Makes b.link to it. Return: as link_new(). */
static inline int bench_link(void)
{
    int r;

    link_free(b.link);
    b.link = NULL;
    b.in_call = true;
    r = link_new(&b.env, &b.to, &bench_events, &b, &b.link);
    b.in_call = false;
    return r;
}

static inline void bench_turns(int n)
{
    while (n-- > 0)
        event_base_loop(b.base, EVLOOP_NONBLOCK);
}

/* The same, and until it is open. */
static inline void bench_open(enum link_kind kind)
{
    bench_relay(kind);
    ck_assert_int_eq(bench_link(), 0);
    ck_assert(run_until(b.base, &b.opened, 2000));
    ck_assert_int_eq(b.n_open, 1);
    bench_turns(3); /* the relay's end of the handshake */
}

/* Until as many messages have come. Return: whether they have. */
static inline bool bench_messages(int n)
{
    uint64_t end_ns = clock_now_ns() + 2 * NS_PER_S;

    while (b.n_messages < n && clock_now_ns() < end_ns)
        event_base_loop(b.base, EVLOOP_NONBLOCK);
    return b.n_messages == n;
}

static inline void bench_setup(void)
{
    memset(&b, 0, sizeof(b));
    b.fd = -1;
    b.base = event_base_new();
    b.pool = stream_pool_new(b.base);
    b.tls = test_tls_server();
    b.trust = cert_client(NULL);
    ck_assert(pin_parse(b.tls->pin, b.pin[0]));
    b.env = (struct link_env){
        .base = b.base,
        .rx = rx_batch_new(),
        .tx = tx_queue_new(NULL),
        .pool = stream_pool_new(b.base),
        .tls = b.trust,
    };
}

static inline void bench_teardown(void)
{
    bench_free_link();
    relay_close();
    stream_pool_free(b.env.pool);
    stream_pool_free(b.pool);
    tx_queue_free(b.env.tx);
    rx_batch_free(b.env.rx);
    tls_client_free(b.trust);
    tls_server_free(b.tls);
    event_base_free(b.base);
}
