/*
 * Theory of operation
 *
 * The certificate is verified within the handshake (tls_client.c), so OPEN means
 * that the server is the one that was asked for.
 *
 * Once there are keys, OpenSSL passes over whatever does not verify, and a stranger
 * can do nothing. Before that, datagrams are plain text that anybody may have sent
 * who can write the server's address on them. What is no DTLS record is dropped
 * before OpenSSL sees it. A fatal alert in plain text proves nothing either: it only
 * shortens the time that is left, which a server that has really given up cannot use
 * and one that has not can.
 *
 * States: NEW -> HANDSHAKE (the timer is pending) -> OPEN -> ENDED (on_closed() is
 *   being or was called). `failed`: an end that the owner has yet to be told, from
 *   the timer, because it came up in a call of the owner's.
 */
#include "common/net/dtls_client.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/net/dtls_wire.h"
#include "common/net/tls_client.h"
#include "common/net/tls_ctx.h"

/* RFC 6347 (section 4.2.4.1) suggests a second and allows less where delay hurts: half of it is
 * STUN's (RFC 8489, section 6.2.1), for the same path and the same wait. */
#define DTLS_CLIENT_RETRANSMIT_MS 500
#define DTLS_CLIENT_ALERT_MS      1000

enum {
    DTLS_CONTENT_FIRST = 20, /* change_cipher_spec */
    DTLS_CONTENT_ALERT = 21,
    DTLS_CONTENT_LAST = 23, /* application_data */
    DTLS_ALERT_WARNING = 1,
};

enum dtls_client_state {
    DTLS_CLIENT_NEW,
    DTLS_CLIENT_HANDSHAKE,
    DTLS_CLIENT_OPEN,
    DTLS_CLIENT_ENDED,
};

/* On the stack of whoever calls an event: whether the owner freed the client in there. */
struct dtls_client_guard {
    bool gone;
};

struct dtls_client {
    struct dtls_wire wire;
    struct dtls_datagram input;
    SSL *ssl;
    const struct dtls_client_events *events;
    void *user;
    enum dtls_client_state state;
    unsigned int handshake_ms, retransmit_ms;
    uint64_t deadline_ns;
    int failed;
    bool alerted; /* a plain fatal alert came */
    struct dtls_client_guard *guard;
    struct event timer;
    struct dtls_plain plain;
    uint8_t out[DTLS_MESSAGE_MAX];
};

static void dtls_client_on_timer(evutil_socket_t fd, short what, void *arg);

static void dtls_client_on_send(struct dtls_wire *wire, const uint8_t *data, size_t len)
{
    struct dtls_client *c = list_entry(wire, struct dtls_client, wire);

    c->events->send(c->user, data, len);
}

static unsigned int dtls_client_on_set_timer(SSL *ssl, unsigned int previous_us)
{
    const struct dtls_client *c = SSL_get_app_data(ssl);

    return previous_us == 0 ? c->retransmit_ms * 1000 : previous_us * 2;
}

/* ---- the end ---- */

/* The last thing that is done to the client: it may be gone after it. */
static void dtls_client_end(struct dtls_client *c, int reason)
{
    event_del(&c->timer);
    c->state = DTLS_CLIENT_ENDED;
    ERR_clear_error();
    c->events->on_closed(c->user, reason);
}

/* An end that comes up in a call of the owner's. */
static void dtls_client_fail(struct dtls_client *c, int reason)
{
    static const struct timeval now = {0};

    if (!c->failed)
        c->failed = reason;
    evtimer_add(&c->timer, &now);
}

/* What a failed SSL call means. Return: -EAGAIN, or the reason of the end: 0 or -errno. */
static int dtls_client_result(const struct dtls_client *c, int r)
{
    int why = SSL_get_error(c->ssl, r);

    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    if (why == SSL_ERROR_ZERO_RETURN && c->state == DTLS_CLIENT_OPEN)
        return 0;
    return tls_client_why(c->ssl) ? -EACCES : -EPROTO;
}

/* ---- the handshake ---- */

/* The next retransmission or the deadline, whichever comes first. */
static void dtls_client_arm(struct dtls_client *c, uint64_t now_ns)
{
    uint64_t left_ms = c->deadline_ns > now_ns ? (c->deadline_ns - now_ns) / NS_PER_MS : 0;
    struct timeval retransmit, deadline = dtls_timeval(left_ms + 1);

    if (DTLSv1_get_timeout(c->ssl, &retransmit) == 1 && evutil_timercmp(&retransmit, &deadline, <))
        deadline = retransmit;
    evtimer_add(&c->timer, &deadline);
}

/* Return: 0 done, -EAGAIN and the timer is set, or why it failed. */
static int dtls_client_handshake(struct dtls_client *c)
{
    int r;

    ERR_clear_error();
    r = SSL_do_handshake(c->ssl);
    if (r == 1)
        return 0;
    r = dtls_client_result(c, r);
    if (r == -EAGAIN)
        dtls_client_arm(c, clock_now_ns());
    return r;
}

static void dtls_client_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct dtls_client *c = arg;
    uint64_t now_ns = clock_now_ns();

    ERR_clear_error();
    if (c->failed)
        dtls_client_end(c, c->failed);
    else if (now_ns >= c->deadline_ns)
        dtls_client_end(c, c->alerted ? -EPROTO : -ETIMEDOUT);
    else if (DTLSv1_handle_timeout(c->ssl) < 0)
        dtls_client_end(c, -ETIMEDOUT);
    else
        dtls_client_arm(c, now_ns);
}

/* ---- input ---- */

static bool dtls_is_record(const uint8_t *data, size_t len)
{
    return len >= DTLS_RECORD_HEADER && len <= DTLS_DATAGRAM_MAX && data[0] >= DTLS_CONTENT_FIRST &&
           data[0] <= DTLS_CONTENT_LAST && data[1] == DTLS_VERSION_MAJOR;
}

/* Whether this is an alert in plain text. */
static bool dtls_client_is_alert(const uint8_t *data, size_t len)
{
    return data[0] == DTLS_CONTENT_ALERT && data[3] == 0 && data[4] == 0 /* epoch */ &&
           len > DTLS_RECORD_HEADER;
}

static void dtls_client_alerted(struct dtls_client *c, const uint8_t *data)
{
    uint64_t now_ns = clock_now_ns(), soon_ns = now_ns + DTLS_CLIENT_ALERT_MS * NS_PER_MS;

    if (data[DTLS_RECORD_HEADER] == DTLS_ALERT_WARNING || c->alerted)
        return;
    c->alerted = true;
    if (soon_ns < c->deadline_ns)
        c->deadline_ns = soon_ns;
    dtls_client_arm(c, now_ns);
}

/* All messages of the datagram. Nothing of the client is touched once it has ended or is gone. */
static void dtls_client_read(struct dtls_client *c, const struct dtls_client_guard *guard)
{
    while (!guard->gone) {
        uint8_t *data = dtls_plain_space(&c->plain, c->events->flush, c->user);
        int n, r;

        tls_forget_errors();
        n = SSL_read(c->ssl, data, DTLS_MESSAGE_MAX);
        if (n > 0) {
            c->plain.len += (size_t)n;
            c->events->on_message(c->user, data, (size_t)n);
            continue;
        }
        r = dtls_client_result(c, n);
        if (r == 0)
            dtls_client_say_goodbye(c); /* RFC 5246, section 7.2.1 */
        if (r != -EAGAIN)
            dtls_client_end(c, r);
        return;
    }
}

static void dtls_client_take(struct dtls_client *c, const struct dtls_client_guard *guard)
{
    int r = 0;

    if (c->state == DTLS_CLIENT_HANDSHAKE) {
        r = dtls_client_handshake(c);
        if (r == 0) {
            event_del(&c->timer);
            c->state = DTLS_CLIENT_OPEN;
            c->events->on_open(c->user);
        } else if (r != -EAGAIN) {
            dtls_client_end(c, r);
        }
    }
    if (r == 0)
        dtls_client_read(c, guard);
}

void dtls_client_input(struct dtls_client *c, const uint8_t *data, size_t len)
{
    struct dtls_client_guard guard = {false};

    if ((c->state != DTLS_CLIENT_HANDSHAKE && c->state != DTLS_CLIENT_OPEN) || c->failed ||
        !dtls_is_record(data, len) || !dtls_wire_takes(c->ssl, data, len))
        return;
    if (c->state == DTLS_CLIENT_HANDSHAKE && dtls_client_is_alert(data, len)) {
        dtls_client_alerted(c, data);
        return;
    }
    c->input = (struct dtls_datagram){data, len};
    c->guard = &guard;
    dtls_client_take(c, &guard);
    ERR_clear_error();
    if (guard.gone)
        return;
    c->guard = NULL;
    c->input.data = NULL;
}

/* ---- the owner's side ---- */

struct dtls_client *dtls_client_new(struct event_base *base, SSL *ssl,
                                    const struct dtls_client_events *events, void *user)
{
    struct dtls_client *c = calloc(1, sizeof(*c));

    if (!c || evtimer_assign(&c->timer, base, dtls_client_on_timer, c) < 0) {
        SSL_free(ssl);
        free(c);
        return NULL;
    }
    c->wire = (struct dtls_wire){.input = &c->input, .send = dtls_client_on_send};
    c->ssl = ssl;
    c->events = events;
    c->user = user;
    dtls_client_set_times(c, DTLS_CLIENT_HANDSHAKE_MS, DTLS_CLIENT_RETRANSMIT_MS);
    SSL_set_app_data(ssl, c);
    if (dtls_wire_attach(&c->wire, ssl) < 0) {
        dtls_client_free(c);
        return NULL;
    }
    DTLS_set_timer_cb(ssl, dtls_client_on_set_timer);
    return c;
}

void dtls_client_set_times(struct dtls_client *c, unsigned int handshake_ms,
                           unsigned int retransmit_ms)
{
    c->handshake_ms = handshake_ms;
    c->retransmit_ms = retransmit_ms;
}

void dtls_client_start(struct dtls_client *c)
{
    int r;

    c->state = DTLS_CLIENT_HANDSHAKE;
    c->deadline_ns = clock_now_ns() + c->handshake_ms * NS_PER_MS;
    r = dtls_client_handshake(c);
    if (r != -EAGAIN)
        dtls_client_fail(c, r < 0 ? r : -EPROTO);
    ERR_clear_error();
}

void dtls_client_free(struct dtls_client *c)
{
    if (!c)
        return;
    if (c->guard)
        c->guard->gone = true;
    event_del(&c->timer);
    SSL_free(c->ssl);
    free(c);
}

void dtls_client_say_goodbye(struct dtls_client *c)
{
    if (c->state != DTLS_CLIENT_OPEN || c->failed)
        return;
    ERR_clear_error();
    SSL_shutdown(c->ssl);
    ERR_clear_error();
}

int dtls_client_send(struct dtls_client *c, const struct iovec *iov, int n_iov)
{
    int r;

    if (c->state != DTLS_CLIENT_OPEN || c->failed)
        return -EPIPE;
    r = dtls_wire_write(c->ssl, c->out, iov, n_iov);
    if (r == -EPIPE)
        dtls_client_fail(c, -EPROTO);
    ERR_clear_error();
    return r;
}

const SSL *dtls_client_ssl(const struct dtls_client *c)
{
    return c->ssl;
}
