/*
 * Theory of operation: a state machine in the loop of a base of its own
 *
 *   OPENING    A and B wait for their allocations (the exit finds the relay meanwhile)
 *   EXCHANGE   a packet every PROBE_EVERY_MS, alternating between the families; then a
 *              moment for stragglers
 *   STREAM     B has a TCP allocation and lets A's relayed address in; A dials it
 *   DONE       the loop ends
 */
#include "relay/check/probe.h"

#include <errno.h>
#include <event2/event.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/net/batch.h"
#include "common/net/stream.h"
#include "relay/exit/upstream/upstream.h"

#define PROBE_OPEN_NS    (12 * NS_PER_S)
#define PROBE_EVERY_MS   20
#define PROBE_LINGER_NS  (2 * NS_PER_S)
#define PROBE_STREAM_NS  (15 * NS_PER_S)
#define PROBE_PACKET_LEN 172 /* a packet of G.711 */
#define PROBE_TOKEN_LEN  16

enum probe_state {
    PROBE_OPENING,
    PROBE_EXCHANGE,
    PROBE_STREAM,
    PROBE_DONE,
};

struct probe_run;

/* One of the two people. */
struct party {
    struct probe_run *run;
    struct assoc *assoc;
    bool open;
    struct addr relayed[2];
};

struct probe_run {
    struct probe *probe;
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct exit *exit;
    struct event *tick;
    struct counters counters;
    enum probe_state state;
    uint64_t until_ns;
    struct party a, b;
    uint8_t token[PROBE_TOKEN_LEN];
    uint64_t sent_ns[PROBE_PACKETS];
    bool echoed[PROBE_PACKETS];
    uint32_t rtt_us[PROBE_PACKETS];
    struct party listener; /* of the stream */
    struct dial *dial;
    struct stream *called, *calling;
};

/* ---- what is found ---- */

static void probe_saw(struct probe *p, const struct addr *peer)
{
    struct addr ip = *peer;

    ip.port = 0;
    for (size_t i = 0; i < p->n_seen; i++)
        if (addr_equal(&p->seen[i], &ip))
            return;
    if (p->n_seen < PROBE_SEEN_MAX)
        p->seen[p->n_seen++] = ip;
}

static void probe_enter(struct probe_run *r, enum probe_state state, uint64_t limit_ns)
{
    r->state = state;
    r->until_ns = clock_now_ns() + limit_ns;
    if (state == PROBE_DONE)
        event_base_loopbreak(r->base);
}

static void probe_fail(struct probe_run *r, const char *why)
{
    snprintf(r->probe->why, sizeof(r->probe->why), "%s", why);
    probe_enter(r, PROBE_DONE, 0);
}

static void probe_fail_stream(struct probe_run *r, const char *why)
{
    snprintf(r->probe->streams_why, sizeof(r->probe->streams_why), "%s", why);
    probe_enter(r, PROBE_DONE, 0);
}

static const char *probe_result(enum exit_result result)
{
    static const char *const texts[] = {
        [EXIT_E_FAMILY] = "the relay has no address of that family",
        [EXIT_E_CAPACITY] = "the relay is full, or this user's quota is used up",
        [EXIT_E_FORBIDDEN] = "the relay forbids it",
        [EXIT_E_UNREACHABLE] = "unreachable",
        [EXIT_E_TIMEOUT] = "no answer in time",
        [EXIT_E_DUPLICATE] = "the relay has such a connection already",
        [EXIT_E_DOWN] = "the relay cannot be reached",
        [EXIT_E_REFUSED] = "refused",
    };
    size_t n = sizeof(texts) / sizeof(texts[0]);

    return (size_t)result < n && texts[result] ? texts[result] : "it failed";
}

/* ---- datagrams ---- */

static void probe_packet(const struct probe_run *r, unsigned int i, uint8_t *buf)
{
    memset(buf, 0x55, PROBE_PACKET_LEN);
    memcpy(buf, r->token, PROBE_TOKEN_LEN);
    put_u32(buf + PROBE_TOKEN_LEN, i);
}

/* Return: the packet's number, or -1 for one that is not ours. */
static int probe_number(const struct probe_run *r, const uint8_t *data, size_t len)
{
    struct reader reader = reader_make(data, len);
    const uint8_t *token = reader_bytes(&reader, PROBE_TOKEN_LEN);
    uint32_t i = reader_u32(&reader);

    if (reader.failed || len != PROBE_PACKET_LEN || memcmp(token, r->token, PROBE_TOKEN_LEN) != 0 ||
        i >= PROBE_PACKETS)
        return -1;
    return (int)i;
}

static void probe_send(struct probe_run *r)
{
    unsigned int i = r->probe->n_sent;
    const struct addr *to = &r->b.relayed[i % 2];
    uint8_t buf[PROBE_PACKET_LEN];

    if (to->family == ADDR_NONE || r->a.relayed[i % 2].family == ADDR_NONE)
        to = &r->b.relayed[(i + 1) % 2];
    probe_packet(r, i, buf);
    r->sent_ns[i] = clock_now_ns();
    r->probe->n_sent++;
    r->exit->ops->send(r->a.assoc, to, buf, sizeof(buf), false);
    tx_flush(r->tx);
}

static void party_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                              uint64_t now_ns)
{
    struct party *p = user;
    struct probe_run *r = p->run;
    int i = probe_number(r, data, len);

    if (i < 0)
        return;
    if (p == &r->b) {
        probe_saw(r->probe, peer);
        r->exit->ops->send(p->assoc, peer, data, len, false);
    } else if (!r->echoed[i]) {
        r->echoed[i] = true;
        r->rtt_us[r->probe->n_echoed++] = (uint32_t)((clock_now_ns() - r->sent_ns[i]) / NS_PER_US);
    }
}

static void party_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
}

static void probe_begin_exchange(struct probe_run *r)
{
    r->probe->reached = true;
    memcpy(r->probe->relayed, r->a.relayed, sizeof(r->a.relayed));
    for (int i = 0; i < 2; i++) {
        if (r->a.relayed[i].family == ADDR_NONE || r->b.relayed[i].family == ADDR_NONE)
            continue;
        (void)r->exit->ops->permit(r->a.assoc, &r->b.relayed[i]);
        (void)r->exit->ops->permit(r->b.assoc, &r->a.relayed[i]);
    }
    probe_enter(r, PROBE_EXCHANGE, PROBE_PACKETS * PROBE_EVERY_MS * NS_PER_MS + PROBE_LINGER_NS);
}

/* ---- life of a party ---- */

static void probe_upstream_why(struct probe_run *r, enum exit_result result)
{
    struct upstream_status status;

    upstream_exit_status(r->exit, false, &status);
    probe_fail(r, status.why[0] ? status.why : probe_result(result));
}

static void party_on_open(void *user, const struct assoc_opened *opened)
{
    struct party *p = user;
    struct probe_run *r = p->run;

    if (opened->result != EXIT_OK && p == &r->listener) {
        probe_fail_stream(r, probe_result(opened->result));
        return;
    }
    if (opened->result != EXIT_OK) {
        probe_upstream_why(r, opened->result);
        return;
    }
    p->open = true;
    p->relayed[0] = opened->relayed_v4;
    p->relayed[1] = opened->relayed_v6;
    if (r->state == PROBE_OPENING && r->a.open && r->b.open)
        probe_begin_exchange(r);
}

static void party_on_lost(void *user, enum exit_result why)
{
    struct party *p = user;

    if (p == &p->run->listener)
        probe_fail_stream(p->run, "the relay dropped the TCP allocation");
    else
        probe_upstream_why(p->run, why);
}

/* ---- the stream ---- */

static ptrdiff_t stream_on_bytes(void *user, const uint8_t *data, size_t len)
{
    struct probe_run *r = user;

    /* Across the relay, from the calling end to the called one. */
    if (len >= PROBE_TOKEN_LEN && memcmp(data, r->token, PROBE_TOKEN_LEN) == 0) {
        r->probe->streams_ok = true;
        probe_enter(r, PROBE_DONE, 0);
        return (ptrdiff_t)len;
    }
    return 0;
}

static void stream_on_closed(void *user, int reason)
{
    probe_fail_stream(user, "the stream was closed before anything came");
}

static const struct stream_events probe_stream_events = {
    .on_bytes = stream_on_bytes,
    .on_closed = stream_on_closed,
};

static void listener_on_accepted(void *user, const struct addr *peer, struct stream *stream)
{
    struct probe_run *r = ((struct party *)user)->run;

    if (r->called) {
        stream_free(stream);
        return;
    }
    r->called = stream;
    stream_set_events(stream, &probe_stream_events, r);
    probe_saw(r->probe, peer);
}

static void listener_on_connected(void *user, uint32_t id, enum exit_result result,
                                  struct stream *stream)
{
    stream_free(stream); /* nobody connects from there */
}

static const struct assoc_events party_events = {
    .on_open = party_on_open,
    .on_datagram = party_on_datagram,
    .on_icmp = party_on_icmp,
    .on_connected = listener_on_connected,
    .on_accepted = listener_on_accepted,
    .on_lost = party_on_lost,
};

static void probe_on_dialed(void *user, enum exit_result result, struct stream *stream,
                            const struct addr *relayed)
{
    struct probe_run *r = user;
    const struct iovec iov = {.iov_base = r->token, .iov_len = sizeof(r->token)};

    r->dial = NULL;
    if (result != EXIT_OK) {
        probe_fail_stream(r, probe_result(result));
        return;
    }
    r->calling = stream;
    stream_set_events(stream, &probe_stream_events, r);
    (void)stream_send(stream, &iov, 1);
}

/* Return: whether the address that A's streams come from may be let in. */
static void probe_dial(struct probe_run *r)
{
    struct upstream_status status;
    const struct addr *to = &r->listener.relayed[0];

    upstream_exit_status(r->exit, true, &status);
    /* The trunk's address is the relay's, as the listener's own is. */
    (void)r->exit->ops->permit(r->listener.assoc,
                               status.relayed_v4.family != ADDR_NONE ? &status.relayed_v4 : to);
    if (r->exit->ops->dial(r->exit, to, probe_on_dialed, r, &r->dial) < 0)
        probe_fail_stream(r, "out of memory");
}

static int party_open(struct probe_run *r, struct party *p, const struct assoc_want *want)
{
    p->run = r;
    return r->exit->ops->open(r->exit, want, &party_events, p, &p->assoc);
}

static void probe_begin_stream(struct probe_run *r)
{
    const struct assoc_want want = {.tcp = true, .v4 = true};

    probe_enter(r, PROBE_STREAM, PROBE_STREAM_NS);
    r->probe->streams_wanted = true;
    if (party_open(r, &r->listener, &want) < 0)
        probe_fail_stream(r, "out of memory");
}

/* ---- the run ---- */

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void probe_end_exchange(struct probe_run *r)
{
    struct probe *p = r->probe;
    struct upstream_status streams;

    p->hears_echo = p->n_echoed > 0;
    if (p->n_echoed > 0) {
        qsort(r->rtt_us, p->n_echoed, sizeof(r->rtt_us[0]), compare_u32);
        p->rtt_us = r->rtt_us[p->n_echoed / 2];
    } else {
        snprintf(p->why, sizeof(p->why),
                 "the relay was reached, but carries no packets between two of its own addresses");
    }
    upstream_exit_status(r->exit, true, &streams);
    if (streams.state == UPSTREAM_OFF)
        probe_enter(r, PROBE_DONE, 0);
    else
        probe_begin_stream(r);
}

static void probe_on_timeout(struct probe_run *r)
{
    if (r->state == PROBE_OPENING)
        probe_upstream_why(r, EXIT_E_TIMEOUT);
    else if (r->state == PROBE_EXCHANGE)
        probe_end_exchange(r);
    else
        probe_fail_stream(r, "no stream in time");
}

static void probe_on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct probe_run *r = arg;

    if (r->state == PROBE_DONE)
        return;
    if (clock_now_ns() >= r->until_ns)
        probe_on_timeout(r);
    else if (r->state == PROBE_EXCHANGE && r->probe->n_sent < PROBE_PACKETS)
        probe_send(r);
    else if (r->state == PROBE_EXCHANGE && r->probe->n_echoed == PROBE_PACKETS)
        probe_end_exchange(r);
    else if (r->state == PROBE_STREAM && r->listener.open && !r->dial && !r->calling)
        probe_dial(r);
    tx_flush(r->tx);
}

static int probe_start(struct probe_run *r, const struct conf *conf)
{
    static const struct timeval every = {.tv_usec = PROBE_EVERY_MS * 1000};
    static const struct assoc_want both = {.v4 = true, .v6 = true};
    struct upstream_params params = {.counters = &r->counters};
    int e;

    r->base = event_base_new();
    r->rx = rx_batch_new();
    r->tx = tx_queue_new(NULL);
    r->pool = r->base ? stream_pool_new(r->base) : NULL;
    r->tick = r->base ? event_new(r->base, -1, EV_PERSIST, probe_on_tick, r) : NULL;
    if (!r->rx || !r->tx || !r->pool || !r->tick || RAND_bytes(r->token, sizeof(r->token)) != 1)
        return -ENOMEM;
    params.base = r->base;
    params.rx = r->rx;
    params.tx = r->tx;
    params.pool = r->pool;
    r->exit = upstream_exit_new(&params);
    if (!r->exit || event_add(r->tick, &every) < 0)
        return -ENOMEM;
    e = upstream_exit_set_conf(r->exit, conf);
    if (e < 0)
        return e;
    probe_enter(r, PROBE_OPENING, PROBE_OPEN_NS);
    e = party_open(r, &r->a, &both);
    return e < 0 ? e : party_open(r, &r->b, &both);
}

static void probe_stop(struct probe_run *r)
{
    struct party *parties[] = {&r->a, &r->b, &r->listener};

    if (r->dial)
        r->exit->ops->hang_up(r->dial);
    stream_free(r->called);
    stream_free(r->calling);
    for (size_t i = 0; i < 3; i++)
        if (parties[i]->assoc)
            r->exit->ops->close(parties[i]->assoc);
    upstream_exit_free(r->exit);
    if (r->tick)
        event_free(r->tick);
    stream_pool_free(r->pool);
    tx_queue_free(r->tx);
    rx_batch_free(r->rx);
    if (r->base)
        event_base_free(r->base);
}

int probe_run(const struct conf *conf, struct probe *ret)
{
    struct probe_run *r = calloc(1, sizeof(*r));
    int e;

    *ret = (struct probe){0};
    if (!r)
        return -ENOMEM;
    r->probe = ret;
    e = probe_start(r, conf);
    if (e == 0 && r->state != PROBE_DONE)
        event_base_loop(r->base, EVLOOP_NO_EXIT_ON_EMPTY);
    probe_stop(r);
    free(r);
    return e;
}
