#include "relay/demo/call.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"

/* 50 packets a second of G.711 with its RTP header, and as many of video in bursts of a frame. */
#define DEMO_TICK_NS      (20 * NS_PER_MS)
#define DEMO_TICKS_PER_S  50
#define DEMO_FRAME_TICKS  5
#define DEMO_STRAGGLER_NS (2 * NS_PER_S)
#define DEMO_CHANNEL      0x4001
#define DEMO_MAX_CLIENTS  8

static const struct {
    const char *name;
    uint8_t payload_type;
    size_t len;
    uint32_t time_step;
} demo_kinds[DEMO_N_KINDS] = {
    [DEMO_AUDIO] = {"audio", 0, 172, 160},
    [DEMO_VIDEO] = {"video", 96, 1200, 1800},
    [DEMO_REPORT] = {"report", 97, 24, 160},
};

/* ---- opening and closing ---- */

static int demo_fail(struct demo_call *call, const struct demo_peer *peer, const char *what, int r)
{
    if (r > 0)
        snprintf(call->why, sizeof(call->why), "peer %s: %s: the relay answered error %d",
                 peer->name, what, r);
    else
        snprintf(call->why, sizeof(call->why), "peer %s: %s: %s", peer->name, what, strerror(-r));
    return -1;
}

static int demo_peer_init(struct demo_peer *peer, unsigned int seconds)
{
    unsigned int n = seconds * DEMO_TICKS_PER_S;

    for (size_t k = 0; k < DEMO_N_KINDS; k++) {
        int r = demo_stream_init(&peer->out[k], demo_kinds[k].payload_type, demo_kinds[k].len,
                                 demo_kinds[k].time_step, n);

        if (r < 0)
            return r;
    }
    peer->sent_ns = calloc(n, sizeof(*peer->sent_ns));
    peer->rtt_us = calloc(n, sizeof(*peer->rtt_us));
    return peer->sent_ns && peer->rtt_us ? 0 : -ENOMEM;
}

static int demo_peer_reach(struct demo_peer *peer, const struct addr *other)
{
    return peer->channel ? demo_client_bind(peer->client, other, DEMO_CHANNEL)
                         : demo_client_permit(peer->client, other);
}

int demo_call_open(struct demo_call *call, unsigned int seconds)
{
    int r;

    for (size_t i = 0; i < 2; i++) {
        struct demo_peer *p = &call->peer[i];

        r = demo_peer_init(p, seconds);
        if (r < 0)
            return demo_fail(call, p, "starting", r);
        r = demo_client_new(&p->own, p->stream ? &p->login->tcp : &p->login->udp, p->stream,
                            p->login->user, p->login->password, &p->client);
        if (r < 0)
            return demo_fail(call, p, "connecting", r);
        demo_watch_hide(&p->client->link.watch, &call->peer[0].own);
        demo_watch_hide(&p->client->link.watch, &call->peer[1].own);
        r = demo_client_allocate(p->client);
        if (r != 0)
            return demo_fail(call, p, "Allocate", r);
    }
    for (size_t i = 0; i < 2; i++) {
        struct demo_peer *p = &call->peer[i];

        r = demo_peer_reach(p, &call->peer[1 - i].client->relayed);
        if (r != 0)
            return demo_fail(call, p, p->channel ? "ChannelBind" : "CreatePermission", r);
    }
    return 0;
}

void demo_call_close(struct demo_call *call)
{
    for (size_t i = 0; i < 2; i++) {
        struct demo_peer *p = &call->peer[i];

        demo_client_free(p->client);
        p->client = NULL;
        for (size_t k = 0; k < DEMO_N_KINDS; k++)
            demo_stream_deinit(&p->out[k]);
        free(p->sent_ns);
        free(p->rtt_us);
        p->sent_ns = NULL;
        p->rtt_us = NULL;
    }
}

/* ---- the exchange ---- */

static int demo_peer_send(struct demo_call *call, struct demo_peer *peer, enum demo_kind kind,
                          unsigned int i)
{
    struct demo_peer *other = &call->peer[peer == &call->peer[0]];
    uint8_t buf[DEMO_PACKET_MAX];
    size_t len = demo_stream_send(&peer->out[kind], i, buf);
    int r;

    if (kind == DEMO_AUDIO)
        peer->sent_ns[i] = clock_now_ns();
    r = demo_client_send(peer->client, &other->client->relayed, buf, len);
    return r < 0 ? demo_fail(call, peer, "sending", r) : 0;
}

/* What the other peer sent, by trying its streams: they differ in SSRC and length. */
static int demo_peer_take(struct demo_call *call, struct demo_peer *peer,
                          const struct demo_packet *packet)
{
    struct demo_peer *other = &call->peer[peer == &call->peer[0]];
    unsigned int i;

    if (peer->seen.family == ADDR_NONE)
        peer->seen = packet->from;
    if (!addr_equal(&peer->seen, &packet->from)) {
        peer->n_foreign++;
        return 0;
    }
    for (size_t k = 0; k < DEMO_N_KINDS; k++) {
        if (!demo_stream_receive(&other->out[k], packet->data, packet->len, &i))
            continue;
        if (k == DEMO_AUDIO && other->out[k].n_twice == 0)
            return demo_peer_send(call, peer, DEMO_REPORT, i);
        if (k == DEMO_REPORT && other->out[k].n_twice == 0)
            peer->rtt_us[peer->n_rtt++] =
                (uint32_t)((clock_now_ns() - peer->sent_ns[i]) / NS_PER_US);
        return 0;
    }
    peer->n_foreign++;
    return 0;
}

static int demo_peer_drain(struct demo_call *call, struct demo_peer *peer)
{
    for (;;) {
        struct demo_packet packet;
        int r = demo_client_receive(peer->client, 0, &packet);

        if (r == -ETIMEDOUT)
            return 0;
        if (r < 0)
            return demo_fail(call, peer, "receiving", r);
        if (demo_peer_take(call, peer, &packet) < 0)
            return -1;
    }
}

static const char *demo_calls_drain(struct demo_call *calls, size_t n_calls)
{
    for (size_t i = 0; i < n_calls; i++) {
        for (size_t k = 0; k < 2; k++) {
            if (demo_peer_drain(&calls[i], &calls[i].peer[k]) < 0)
                return calls[i].why;
        }
    }
    return NULL;
}

static void demo_calls_wait(const struct demo_call *calls, size_t n_calls, uint64_t wait_ns)
{
    struct pollfd fds[DEMO_MAX_CLIENTS];
    struct timespec ts = {(time_t)(wait_ns / NS_PER_S), (long)(wait_ns % NS_PER_S)};
    nfds_t n = 0;

    for (size_t i = 0; i < n_calls && n + 2 <= DEMO_MAX_CLIENTS; i++) {
        for (size_t k = 0; k < 2; k++) {
            const struct demo_client *client = calls[i].peer[k].client;

            assert(client); /* only calls that are open run */
            fds[n++] = (struct pollfd){.fd = client->link.fd, .events = POLLIN};
        }
    }
    (void)ppoll(fds, n, &ts, NULL); /* woken early or late, the clock decides what is next */
}

static bool demo_call_is_complete(const struct demo_call *call)
{
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < DEMO_N_KINDS; k++) {
            if (demo_stream_n_lost(&call->peer[i].out[k]) > 0)
                return false;
        }
    }
    return true;
}

/* One tick of one call: an audio packet each way, and a frame of video every now and then. */
static int demo_call_tick(struct demo_call *call, unsigned int n)
{
    for (size_t i = 0; i < 2; i++) {
        struct demo_peer *p = &call->peer[i];

        if (demo_peer_send(call, p, DEMO_AUDIO, n) < 0)
            return -1;
        for (unsigned int k = 0; n % DEMO_FRAME_TICKS == 0 && k < DEMO_FRAME_TICKS; k++) {
            if (demo_peer_send(call, p, DEMO_VIDEO, n + k) < 0)
                return -1;
        }
    }
    return 0;
}

/* Receives until `until_ns`, or until everything is there if `complete`. */
static const char *demo_calls_receive(struct demo_call *calls, size_t n_calls, uint64_t until_ns,
                                      bool complete)
{
    for (;;) {
        const char *why;
        uint64_t now_ns;
        size_t n_complete = 0;

        why = demo_calls_drain(calls, n_calls);
        if (why)
            return why;
        for (size_t i = 0; complete && i < n_calls; i++)
            n_complete += demo_call_is_complete(&calls[i]);
        now_ns = clock_now_ns();
        if (now_ns >= until_ns || n_complete == n_calls)
            return NULL;
        demo_calls_wait(calls, n_calls, until_ns - now_ns);
    }
}

const char *demo_calls_run(struct demo_call *calls, size_t n_calls, unsigned int seconds,
                           void (*tick)(void *arg), void *arg)
{
    uint64_t at_ns = clock_now_ns();
    const char *why;

    for (unsigned int n = 0; n < seconds * DEMO_TICKS_PER_S; n++) {
        for (size_t i = 0; i < n_calls; i++) {
            if (demo_call_tick(&calls[i], n) < 0)
                return calls[i].why;
        }
        at_ns += DEMO_TICK_NS;
        why = demo_calls_receive(calls, n_calls, at_ns, false);
        if (why)
            return why;
        tick(arg);
    }
    return demo_calls_receive(calls, n_calls, at_ns + DEMO_STRAGGLER_NS, true);
}

/* ---- the verdict ---- */

static bool demo_say(struct demo_call *call, const struct demo_peer *peer, const char *what)
{
    snprintf(call->why, sizeof(call->why), "peer %s %s", peer->name, what);
    return false;
}

static bool demo_peer_is_hidden(struct demo_call *call, const struct demo_peer *peer,
                                const struct demo_peer *other)
{
    const struct demo_watch *watch = &peer->client->link.watch;
    char text[128], addr[ADDR_STRLEN];

    if (watch->n_strangers > 0) {
        snprintf(text, sizeof(text), "got a datagram past the relay, from %s",
                 addr_format(&watch->found, addr, sizeof(addr)));
        return demo_say(call, peer, text);
    }
    if (watch->n_found > 0) {
        bool own = addr_ip_equal(&watch->found, &peer->own);

        snprintf(text, sizeof(text), "was told %s, %s",
                 addr_format_ip(&watch->found, addr, sizeof(addr)),
                 own ? "its own address, which apps pass on" : "the other's own address");
        return demo_say(call, peer, text);
    }
    if (!addr_equal(&peer->seen, &other->client->relayed)) {
        snprintf(text, sizeof(text), "saw %s, which is not the other's relayed address",
                 addr_format(&peer->seen, addr, sizeof(addr)));
        return demo_say(call, peer, text);
    }
    return true;
}

bool demo_call_is_clean(struct demo_call *call)
{
    for (size_t i = 0; i < 2; i++) {
        const struct demo_peer *peer = &call->peer[i], *other = &call->peer[1 - i];
        char text[96];

        if (!demo_peer_is_hidden(call, peer, other))
            return false;
        if (peer->n_foreign > 0)
            return demo_say(call, peer, "got packets that the other peer did not send");
        for (size_t k = 0; k < DEMO_N_KINDS; k++) {
            const struct demo_stream *s = &other->out[k];

            if (demo_stream_n_lost(s) == 0 && s->n_twice == 0)
                continue;
            snprintf(text, sizeof(text), "missed %u of %u %s packets, and got %u twice",
                     demo_stream_n_lost(s), s->n_sent, demo_kinds[k].name, s->n_twice);
            return demo_say(call, peer, text);
        }
    }
    return true;
}

static int demo_compare_us(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

uint32_t demo_peer_median_rtt_us(struct demo_peer *peer)
{
    if (peer->n_rtt == 0)
        return 0;
    qsort(peer->rtt_us, peer->n_rtt, sizeof(*peer->rtt_us), demo_compare_us);
    return peer->rtt_us[peer->n_rtt / 2];
}
