/*
 * relay/exit/upstream/session_data.c - datagrams to and from peers: the fast path
 *
 *   app  -> channel bound   -> ChannelData     -> relay
 *   app  -> permission live -> Send            -> relay
 *   app  -> no permission   -> CreatePermission, and wait
 *   relay -> ChannelData, Data -> app
 *
 * Nothing is allocated or copied but what has to wait for a permission: a hash finds the
 * peer, a header goes in front, and the payload stays where it is.
 */
#include "common/base/cursor.h"
#include "common/wire/channel.h"
#include "relay/exit/upstream/session_impl.h"

/* ---- to a peer ---- */

size_t session_send_prefix(struct session *s, uint8_t *buf, const struct addr *peer, size_t len,
                           bool dont_fragment)
{
    uint8_t txid[STUN_TXID_LEN];
    uint64_t n = ++s->n_indications;

    /* An indication is never answered: its id only has to differ from all others. */
    put_u32(txid, (uint32_t)(s->indication_salt >> 32));
    put_u32(txid + 4, (uint32_t)s->indication_salt ^ (uint32_t)(n >> 32));
    put_u32(txid + 8, (uint32_t)n);
    return stun_send_prefix(buf, txid, peer, dont_fragment && s->has_dont_fragment, len);
}

static void send_indication(struct session *s, const struct addr *peer, const uint8_t *data,
                            size_t len, bool dont_fragment)
{
    uint8_t prefix[STUN_SEND_PREFIX_MAX];
    size_t prefix_len = session_send_prefix(s, prefix, peer, len, dont_fragment);

    if (prefix_len > 0) /* the link pads */
        link_send(s->link, prefix, prefix_len, data, len);
}

static void send_channel_data(struct session *s, uint16_t number, const uint8_t *data, size_t len)
{
    uint8_t header[CHANNEL_HEADER_LEN];

    channel_put_header(header, number, (uint16_t)len);
    link_send(s->link, header, sizeof(header), data, len);
}

static bool has_family(const struct session *s, const struct addr *peer)
{
    return peer->family == ADDR_IPV4   ? s->opened.relayed_v4.family != ADDR_NONE
           : peer->family == ADDR_IPV6 ? s->opened.relayed_v6.family != ADDR_NONE
                                       : false;
}

/* A peer that has no permission, or no record yet. */
static struct session_peer *send_slowly(struct session *s, const struct addr *addr,
                                        const uint8_t *data, size_t len, bool dont_fragment,
                                        uint64_t now_ns)
{
    struct session_perm *perm = session_perm_get(s, addr, now_ns);
    struct session_peer *peer;

    if (!perm)
        return NULL;
    if (perm->state == SESSION_PERM_ASKED)
        session_perm_wait(s, perm, addr, data, len, dont_fragment);
    if (perm->state != SESSION_PERM_LIVE && perm->state != SESSION_PERM_ASKED)
        return NULL;
    peer = session_peer_find(s, addr);
    if (!peer)
        peer = session_peer_get(s, perm, addr, now_ns);
    if (peer)
        session_peer_use(s, peer, now_ns);
    if (perm->state == SESSION_PERM_LIVE)
        return peer;
    return NULL;
}

static bool perm_is_live(const struct session_perm *perm, uint64_t now_ns)
{
    return perm->state == SESSION_PERM_LIVE && now_ns < perm->expires_ns;
}

static void send_now(struct session *s, struct session_peer *peer, const uint8_t *data, size_t len,
                     bool dont_fragment, uint64_t now_ns)
{
    bool bound = peer->chan == SESSION_CHAN_BOUND && now_ns < peer->expires_ns;

    /* ChannelData has no room for DONT-FRAGMENT. */
    if (bound && len <= UINT16_MAX && !(dont_fragment && s->has_dont_fragment))
        send_channel_data(s, peer->number, data, len);
    else
        send_indication(s, &peer->addr, data, len, dont_fragment);
    session_note_sent(s, now_ns);
    session_chan_count(s, peer, now_ns);
}

void session_send(struct session *s, const struct addr *peer, const uint8_t *data, size_t len,
                  bool dont_fragment, uint64_t now_ns)
{
    struct session_peer *known;

    if (s->state == SESSION_MOVING && s->waker.counters)
        counter_add(&s->waker.counters->drop_down, 1);
    if (s->state != SESSION_LIVE || s->want.tcp || !has_family(s, peer))
        return;
    session_enter(s);
    known = session_peer_find(s, peer);
    if (known && perm_is_live(known->perm, now_ns))
        session_peer_use(s, known, now_ns);
    else
        known = send_slowly(s, peer, data, len, dont_fragment, now_ns);
    if (known)
        send_now(s, known, data, len, dont_fragment, now_ns);
    session_leave(s);
}

static enum exit_result perm_result(const struct session_perm *perm)
{
    static const enum exit_result results[] = {
        [SESSION_PERM_IDLE] = EXIT_E_CAPACITY, /* it could not be asked for */
        [SESSION_PERM_ASKED] = EXIT_PENDING,
        [SESSION_PERM_LIVE] = EXIT_OK,
        [SESSION_PERM_REFUSED] = EXIT_E_FORBIDDEN,
    };

    return perm ? results[perm->state] : EXIT_E_CAPACITY;
}

enum exit_result session_permit(struct session *s, const struct addr *peer, uint64_t now_ns)
{
    enum exit_result result;

    if (s->state != SESSION_LIVE && s->state != SESSION_MOVING)
        return EXIT_E_DOWN;
    if (!has_family(s, peer))
        return EXIT_E_FAMILY;
    session_enter(s);
    result = perm_result(session_perm_get(s, peer, now_ns));
    session_leave(s);
    return result;
}

/* ---- from a peer ---- */

static void received_from(struct session *s, struct session_peer *peer, uint64_t now_ns)
{
    session_note_heard(s, now_ns);
    if (!peer)
        return;
    session_peer_use(s, peer, now_ns);
    session_chan_count(s, peer, now_ns);
}

void session_on_channel_data(struct session *s, const uint8_t *data, size_t len, uint64_t now_ns)
{
    struct session_peer *peer;
    const uint8_t *payload;
    size_t payload_len;
    uint16_t number;
    struct addr from;

    if (s->state != SESSION_LIVE || channel_parse(data, len, &number, &payload, &payload_len) != 0)
        return;
    peer = number - CHANNEL_MIN < (int)s->n_chans ? s->chans[number - CHANNEL_MIN] : NULL;
    if (!peer)
        return;
    received_from(s, peer, now_ns);
    from = peer->addr;
    s->events->on_datagram(s->user, &from, payload, payload_len, now_ns);
}

static void on_icmp(struct session *s, const struct stun_msg *msg, const struct addr *peer,
                    uint64_t now_ns)
{
    size_t len = 0;
    const uint8_t *value = stun_get(msg, STUN_ICMP, &len);
    struct reader r = reader_make(value, len);
    struct assoc_icmp icmp = {.peer = *peer};

    /* Two reserved bytes, then a byte each (relay/turn/forward.c). */
    reader_bytes(&r, 2);
    icmp.type = reader_u8(&r);
    icmp.code = reader_u8(&r);
    icmp.data = reader_u32(&r);
    session_note_heard(s, now_ns);
    s->events->on_icmp(s->user, &icmp, now_ns);
}

void session_on_data(struct session *s, const struct stun_msg *msg, uint64_t now_ns)
{
    const uint8_t *payload;
    struct addr peer;
    size_t len;

    if (s->state != SESSION_LIVE || s->want.tcp || msg->n_unknown > 0 ||
        !stun_get_peer(msg, 0, &peer))
        return;
    payload = stun_get(msg, STUN_DATA_ATTR, &len);
    if (payload) {
        received_from(s, session_peer_find(s, &peer), now_ns);
        s->events->on_datagram(s->user, &peer, payload, len, now_ns);
    } else if (stun_has(msg, STUN_ICMP)) {
        on_icmp(s, msg, &peer, now_ns);
    }
}
