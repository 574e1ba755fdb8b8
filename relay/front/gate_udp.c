/*
 * UDP: one association for each source address and port of the app
 *
 * All that leaves one source goes through one association, whoever the peer is
 * (endpoint-independent mapping, RFC 4787, REQ-1), so that the relayed address that a
 * STUN server has seen is the one that peers see, too.
 *
 * States of a gate_assoc, moved here:
 *   opening   assoc, not is_open: a few datagrams wait (copied)
 *   open      assoc and is_open
 *   closed    no assoc: the next datagram opens one, but not before retry_ns; until then
 *             each is answered with ICMP. So it is after a failure, and (retry_ns 0) after
 *             a loss, as with a NAT that was restarted.
 * The exit may close it at any time, in mid-send, too; freed it is only by the sweep, for
 * idleness, or to make room.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/wire/stun.h"
#include "relay/front/gate_impl.h"
#include "relay/stats/flows.h"

/* Of all gates: whoever looks at the flows tells them apart by it. */
static uint64_t udp_last_id;

#define UDP_VERDICTS 32 /* peers lately asked about; a power of two */

struct verdict {
    struct addr peer; /* ADDR_NONE: empty. Asked about is the address; the port is the last one. */
    bool allowed;
};

struct waiting {
    struct list link;
    struct addr peer;
    size_t len;
    uint8_t data[];
};

struct gate_assoc {
    struct gate *gate;
    struct hash_node by_source;
    struct list link; /* gate->assocs */
    struct addr source;
    struct assoc *assoc;
    bool is_open;
    struct addr relayed; /* while it is open */
    uint64_t id, opened_ns;
    struct flow_count count;
    bool is_known;    /* it has only sent to well-known ports */
    uint64_t used_ns; /* the app sent; what comes in does not count (RFC 4787, REQ-6) */
    uint64_t retry_ns;
    struct list waiting;
    unsigned int n_waiting;
    struct verdict verdicts[UDP_VERDICTS];
};

static struct counters *udp_counters(const struct gate_assoc *a)
{
    return a->gate->params.counters;
}

/* ---- to a peer ---- */

static struct verdict *udp_verdict(struct gate_assoc *a, const struct addr *peer)
{
    return &a->verdicts[addr_ip_hash(peer) % UDP_VERDICTS];
}

static bool udp_is_allowed(struct gate_assoc *a, const struct addr *peer)
{
    struct verdict *v = udp_verdict(a, peer);
    struct addr ip = *peer;

    ip.port = 0;
    if (!addr_ip_equal(&v->peer, peer)) {
        /* Written before: the exit may call back from within. */
        *v = (struct verdict){.peer = *peer, .allowed = true};
        if (!exit_may_send(a->gate->params.exit->ops->permit(a->assoc, &ip)))
            v->allowed = false;
    }
    v->peer.port = peer->port;
    return v->allowed;
}

/* Browsers' sockets are not connected, so ICMP does not reach them: for a STUN or TURN server that
 * keeps silent they wait 40 s. One that says no they believe. ICE's own checks (which have a
 * USERNAME) expect silence. */
static void udp_say_forbidden(struct gate_assoc *a, const struct addr *peer, const uint8_t *data,
                              size_t len)
{
    uint8_t buf[STUN_HEADER_LEN + 8];
    struct stun_builder b;
    struct stun_msg m;

    if (stun_decode(&m, data, len) != 0 || m.class != STUN_REQUEST || stun_has(&m, STUN_USERNAME))
        return;
    stun_begin(&b, buf, sizeof(buf), STUN_ERROR, m.method, m.txid);
    stun_put_error(&b, 403);
    gate_answer(a->gate, peer, &a->source, NULL, 0, buf, stun_finish(&b), clock_now_ns());
    tx_flush(a->gate->params.tx); /* `buf` ends here */
}

/* For the router, which is a STUN server and nothing else by UDP. */
static void udp_answer(struct gate_assoc *a, const struct addr *router, const uint8_t *data,
                       size_t len)
{
    uint8_t buf[STUN_BINDING_ANSWER_MAX];
    size_t n = stun_answer_binding(buf, data, len, &a->relayed);

    if (n == 0) {
        counter_add(&udp_counters(a)->drop_denied, 1);
        gate_refuse(a->gate, &a->source, router, len);
        udp_say_forbidden(a, router, data, len);
        return;
    }
    gate_answer(a->gate, router, &a->source, NULL, 0, buf, n, clock_now_ns());
    tx_flush(a->gate->params.tx); /* `buf` ends here */
}

static void udp_forward(struct gate_assoc *a, const struct addr *peer, const uint8_t *data,
                        size_t len)
{
    bool is_allowed;

    if (peer->port == ROUTER_TURN_PORT && gate_is_router(a->gate, peer)) {
        udp_answer(a, peer, data, len);
        return;
    }
    is_allowed = udp_is_allowed(a, peer);
    if (!a->is_open) { /* lost while it was asked */
        counter_add(&udp_counters(a)->drop_down, 1);
    } else if (!is_allowed) {
        counter_add(&udp_counters(a)->drop_denied, 1);
        gate_refuse(a->gate, &a->source, peer, len);
        udp_say_forbidden(a, peer, data, len);
    } else {
        counter_add(&udp_counters(a)->up_packets, 1);
        counter_add(&udp_counters(a)->up_bytes, len);
        a->count.up_packets++;
        a->count.up_bytes += len;
        a->gate->params.exit->ops->send(a->assoc, peer, data, len, false);
    }
}

/* ---- while it is opened ---- */

static void udp_wait(struct gate_assoc *a, const struct addr *peer, const uint8_t *data, size_t len)
{
    struct waiting *w = NULL;

    if (a->n_waiting < GATE_WAITING_MAX)
        w = malloc(sizeof(*w) + len);
    if (!w) {
        counter_add(&udp_counters(a)->drop_gate_waiting, 1);
        return;
    }
    w->peer = *peer;
    w->len = len;
    if (len > 0)
        memcpy(w->data, data, len);
    list_append(&a->waiting, &w->link);
    a->n_waiting++;
}

/* Sends what waits, or refuses it. */
static void udp_end_waiting(struct gate_assoc *a, bool send)
{
    struct list *it, *tmp;

    if (list_empty(&a->waiting))
        return;
    list_for_each_safe (it, tmp, &a->waiting) {
        struct waiting *w = list_entry(it, struct waiting, link);

        if (send && a->is_open)
            udp_forward(a, &w->peer, w->data, w->len);
        else
            gate_refuse(a->gate, &a->source, &w->peer, w->len);
    }
    /* What was sent is only referenced until here. */
    tx_flush(a->gate->params.tx);
    list_for_each_safe (it, tmp, &a->waiting) {
        list_remove(it);
        free(list_entry(it, struct waiting, link));
    }
    a->n_waiting = 0;
}

static void udp_close(struct gate_assoc *a)
{
    struct assoc *assoc = a->assoc;

    a->assoc = NULL;
    a->is_open = false;
    if (assoc)
        a->gate->params.exit->ops->close(assoc);
}

static void udp_failed(struct gate_assoc *a, enum exit_result why)
{
    log_debug("gate: an association could not be opened (%d)", (int)why);
    udp_close(a);
    a->retry_ns = clock_now_ns() + GATE_RETRY_S * NS_PER_S;
    udp_end_waiting(a, false);
}

static void udp_free(struct gate_assoc *a)
{
    struct gate *g = a->gate;

    udp_close(a);
    udp_end_waiting(a, false);
    hash_remove(&g->by_source, &a->by_source);
    list_remove(&a->link);
    g->n_assocs--;
    counter_sub(&g->params.counters->gate_associations, 1);
    free(a);
}

static bool udp_is_idle(const struct gate_assoc *a, bool is_pressed, uint64_t now_ns)
{
    uint64_t limit_s = is_pressed ? GATE_IDLE_LEAST_S : GATE_IDLE_S;

    if (a->is_known)
        limit_s = is_pressed ? GATE_IDLE_KNOWN_LEAST_S : GATE_IDLE_KNOWN_S;
    return a->used_ns + limit_s * NS_PER_S <= now_ns;
}

/* Ends the one that has been idle for longest, if for long enough; `but` stays. Return: whether
 * there is room now. */
static bool udp_make_room(struct gate *g, const struct gate_assoc *but, uint64_t now_ns)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &g->assocs) {
        struct gate_assoc *a = list_entry(it, struct gate_assoc, link);

        if (a != but && udp_is_idle(a, true, now_ns)) {
            udp_free(a);
            return true;
        }
        if (a->used_ns + GATE_IDLE_KNOWN_LEAST_S * NS_PER_S > now_ns)
            break;
    }
    return false;
}

/* ---- events of the exit ---- */

static void udp_on_open(void *user, const struct assoc_opened *opened)
{
    struct gate_assoc *a = user;

    if (opened->result != EXIT_OK) {
        udp_failed(a, opened->result);
        /* The relay's limit, perhaps: with another one less, the next datagram may try at once. */
        if (opened->result == EXIT_E_CAPACITY && udp_make_room(a->gate, a, clock_now_ns()))
            a->retry_ns = 0;
        return;
    }
    a->is_open = true;
    a->relayed = a->source.family == ADDR_IPV6 ? opened->relayed_v6 : opened->relayed_v4;
    a->opened_ns = clock_now_ns();
    a->id = ++udp_last_id;
    a->count = (struct flow_count){0};
    memset(a->verdicts, 0, sizeof(a->verdicts));
    udp_end_waiting(a, true);
}

static void udp_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                            uint64_t now_ns)
{
    struct gate_assoc *a = user;

    /* Nobody far away speaks as the app's own machine, whatever the relay says. */
    if (peer->family != a->source.family || peer->port == 0 || gate_is_inside(a->gate, peer)) {
        counter_add(&udp_counters(a)->drop_denied, 1);
        return;
    }
    counter_add(&udp_counters(a)->down_packets, 1);
    counter_add(&udp_counters(a)->down_bytes, len);
    a->count.down_packets++;
    a->count.down_bytes += len;
    gate_answer(a->gate, peer, &a->source, NULL, 0, data, len, now_ns);
}

static void udp_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    struct gate_assoc *a = user;

    if (icmp->peer.family == a->source.family && !gate_is_inside(a->gate, &icmp->peer))
        gate_raw_icmp(a->gate, &a->source, icmp);
}

static void udp_on_permitted(void *user, const struct addr *peer, enum exit_result result)
{
    struct gate_assoc *a = user;
    struct verdict *v = udp_verdict(a, peer);

    if (exit_may_send(result) || !addr_ip_equal(&v->peer, peer) || !v->allowed)
        return;
    v->allowed = false;
    if (peer->family == a->source.family)
        gate_refuse(a->gate, &a->source, &v->peer, 0);
    if (result != EXIT_E_FORBIDDEN && result != EXIT_E_FAMILY)
        *v = (struct verdict){0}; /* it may do better next time */
}

static void udp_on_lost(void *user, enum exit_result why)
{
    struct gate_assoc *a = user;

    if (!a->is_open) {
        udp_failed(a, why);
        return;
    }
    log_limited(LOG_LEVEL_WARNING, "gate: an association was lost; the app's next datagram will "
                                   "open another one");
    udp_close(a);
    a->retry_ns = 0;
}

static const struct assoc_events udp_events = {
    .on_open = udp_on_open,
    .on_datagram = udp_on_datagram,
    .on_icmp = udp_on_icmp,
    .on_permitted = udp_on_permitted,
    .on_lost = udp_on_lost,
};

/* An IPv4 source cannot talk to anything else, so one family is all that is asked for. */
static void udp_open(struct gate_assoc *a)
{
    const struct assoc_want want = {
        .v4 = a->source.family == ADDR_IPV4,
        .v6 = a->source.family == ADDR_IPV6,
    };
    struct exit *exit = a->gate->params.exit;

    if (exit->ops->open(exit, &want, &udp_events, a, &a->assoc) < 0)
        udp_failed(a, EXIT_E_CAPACITY);
}

/* ---- from the app ---- */

static struct gate_assoc *udp_find(struct gate *g, const struct addr *source, uint64_t hash)
{
    struct hash_node *node = hash_first(&g->by_source, hash);

    for (; node; node = hash_next(node, hash)) {
        struct gate_assoc *a = hash_entry(node, struct gate_assoc, by_source);

        if (addr_equal(&a->source, source))
            return a;
    }
    return NULL;
}

static struct gate_assoc *udp_new(struct gate *g, const struct addr *source, uint64_t hash,
                                  uint64_t now_ns)
{
    struct gate_assoc *a = NULL;

    if (g->n_assocs < GATE_ASSOCS_MAX || udp_make_room(g, NULL, now_ns))
        a = calloc(1, sizeof(*a));
    if (!a) {
        log_limited(LOG_LEVEL_WARNING, "gate: too many UDP ports are in use: one more was refused");
        return NULL;
    }
    a->gate = g;
    a->source = *source;
    a->is_known = true;
    list_init(&a->waiting);
    list_append(&g->assocs, &a->link);
    hash_insert(&g->by_source, &a->by_source, hash);
    g->n_assocs++;
    counter_add(&g->params.counters->gate_associations, 1);
    return a;
}

static void udp_send_from(struct gate_assoc *a, const struct rx_packet *packet, uint64_t now_ns)
{
    struct gate *g = a->gate;

    a->used_ns = now_ns;
    a->is_known = a->is_known && packet->to.port < GATE_KNOWN_PORTS;
    list_remove(&a->link);
    list_append(&g->assocs, &a->link);
    if (!a->assoc && a->retry_ns <= now_ns)
        udp_open(a);
    if (a->is_open) {
        udp_forward(a, &packet->to, packet->data, packet->len);
    } else if (a->assoc) {
        udp_wait(a, &packet->to, packet->data, packet->len);
    } else {
        counter_add(&g->params.counters->drop_down, 1);
        gate_refuse(g, &a->source, &packet->to, packet->len);
    }
}

static bool udp_is_served(const struct gate *g, const struct addr *to)
{
    return !gate_is_inside(g, to) || (to->port == ROUTER_TURN_PORT && gate_is_router(g, to));
}

void gate_udp_send(struct gate *g, const struct rx_packet *packet, uint64_t now_ns)
{
    uint64_t hash = addr_hash(&packet->from);
    struct gate_assoc *a;

    if (packet->to.port == GATE_DNS_PORT) {
        gate_dns_ask(g->dns, packet, now_ns);
        return;
    }
    if (packet->to.port == 0 || packet->from.port == 0 || !udp_is_served(g, &packet->to)) {
        counter_add(&g->params.counters->drop_denied, 1);
        gate_refuse(g, &packet->from, &packet->to, packet->len);
        return;
    }
    a = udp_find(g, &packet->from, hash);
    if (!a)
        a = udp_new(g, &packet->from, hash, now_ns);
    if (a) {
        udp_send_from(a, packet, now_ns);
        return;
    }
    counter_add(&g->params.counters->drop_gate_full, 1);
    gate_refuse(g, &packet->from, &packet->to, packet->len);
}

void gate_udp_sweep(struct gate *g, uint64_t now_ns)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &g->assocs) {
        struct gate_assoc *a = list_entry(it, struct gate_assoc, link);

        if (a->used_ns + GATE_IDLE_KNOWN_S * NS_PER_S > now_ns)
            break;
        if (udp_is_idle(a, false, now_ns))
            udp_free(a);
    }
}

void gate_udp_flows(const struct gate *g, struct flow_list *list)
{
    struct list *it;

    /* The end of the list has those that sent last. */
    for (it = g->assocs.prev; it != &g->assocs; it = it->prev) {
        const struct gate_assoc *a = list_entry(it, struct gate_assoc, link);
        struct flow_view *flow = a->is_open ? flows_add(list) : NULL;

        if (!flow)
            continue;
        flow->id = a->id;
        flow->made_ns = a->opened_ns;
        flow->front = "run";
        flow->transport = "udp";
        flow->count = a->count;
        flow->client = a->source;
        *(a->relayed.family == ADDR_IPV6 ? &flow->relayed_v6 : &flow->relayed_v4) = a->relayed;
    }
}

void gate_udp_free_all(struct gate *g)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &g->assocs)
        udp_free(list_entry(it, struct gate_assoc, link));
}
