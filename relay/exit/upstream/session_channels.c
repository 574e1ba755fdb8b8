/*
 * Channels: four bytes in front of a datagram in place of 36 or more, for a peer that is busy.
 *
 * Each number stands for one peer as long as the session lives, and is never given to
 * another: what a relay still sends on it can then not be taken for somebody else's. A
 * relay may hold a number bound for ten minutes after the last ChannelBind, and neither
 * number nor peer may be paired otherwise for five more (RFC 8656, section 12), so a peer's
 * record stays that long. When the numbers are used up, indications serve as well.
 */
#include <stdlib.h>

#include "common/wire/channel.h"
#include "relay/exit/upstream/session_impl.h"

#define CHAN_LIFETIME_NS (600 * NS_PER_S)
#define CHAN_REFRESH_NS  (540 * NS_PER_S)
#define CHAN_USED_NS     (300 * NS_PER_S) /* refreshed while the last use is not longer ago */
#define CHAN_RETRY_NS    (10 * NS_PER_S)
#define CHAN_HOLD_NS     (900 * NS_PER_S)
#define CHAN_REFUSED_NS                                                                            \
    (300 * NS_PER_S) /* indications do; asking again is no matter of urgency                       \
                      */
#define BUSY_N  3
#define BUSY_NS (5 * NS_PER_S)

/* ---- ChannelBind ---- */

static void chan_put(struct session *s, const void *subject, struct stun_builder *b)
{
    const struct session_peer *peer = subject;

    stun_put_u32(b, STUN_CHANNEL_NUMBER, (uint32_t)peer->number << 16);
    stun_put_addr(b, STUN_XOR_PEER_ADDRESS, &peer->addr);
}

static void chan_on_success(struct session *s, void *subject, const struct stun_msg *msg,
                            uint64_t sent_ns, uint64_t now_ns)
{
    struct session_peer *peer = subject;

    peer->asking = false;
    peer->chan = SESSION_CHAN_BOUND;
    peer->expires_ns = sent_ns + CHAN_LIFETIME_NS;
    peer->refresh_ns = sent_ns + CHAN_REFRESH_NS;
    session_due_by(s, peer->refresh_ns);
    session_perm_confirm(s, peer->perm, sent_ns);
}

/* A channel that is bound stays so until it expires. One that is not may be bound at the relay for
 * all we know (the answer was lost): what comes in on its number still counts. */
static void chan_on_failure(struct session *s, void *subject, unsigned int code,
                            const struct stun_msg *msg, uint64_t sent_ns, uint64_t now_ns)
{
    struct session_peer *peer = subject;

    peer->asking = false;
    if (code == 437 || code == 441) {
        session_fail(s, SESSION_E_LOST, code, "the relay has forgotten the allocation");
        return;
    }
    if (peer->chan == SESSION_CHAN_BOUND) {
        peer->refresh_ns = now_ns + CHAN_RETRY_NS;
        session_due_by(s, peer->refresh_ns);
        return;
    }
    peer->chan = SESSION_CHAN_NONE;
    peer->retry_ns = now_ns + (code == 0 ? CHAN_RETRY_NS : CHAN_REFUSED_NS);
}

static const struct session_kind chan_kind = {
    .method = STUN_CHANNEL_BIND,
    .put = chan_put,
    .on_success = chan_on_success,
    .on_failure = chan_on_failure,
};

static void chan_ask(struct session *s, struct session_peer *peer, uint64_t now_ns)
{
    peer->asking = session_ask(s, &chan_kind, peer, now_ns);
    if (!peer->asking) {
        peer->refresh_ns = peer->retry_ns = now_ns + CHAN_RETRY_NS;
        return;
    }
    peer->hold_ns = now_ns + CHAN_HOLD_NS;
    if (peer->chan == SESSION_CHAN_NONE)
        peer->chan = SESSION_CHAN_ASKED;
}

/* ---- numbers ---- */

static bool chans_grow(struct session *s)
{
    size_t cap = s->cap_chans > 0 ? 2 * s->cap_chans : 16;
    struct session_peer **chans = realloc(s->chans, cap * sizeof(*chans));

    if (!chans)
        return false;
    s->chans = chans;
    s->cap_chans = cap;
    return true;
}

/* Gives the peer a number of its own. Return: false when there is none left, or no memory. */
static bool chan_number(struct session *s, struct session_peer *peer)
{
    if (peer->number != 0)
        return true;
    if (s->n_chans > CHANNEL_MAX - CHANNEL_MIN || (s->n_chans == s->cap_chans && !chans_grow(s)))
        return false;
    peer->number = (uint16_t)(CHANNEL_MIN + s->n_chans);
    s->chans[s->n_chans++] = peer;
    return true;
}

void session_chan_drop(struct session *s, struct session_peer *peer)
{
    if (peer->number != 0)
        s->chans[peer->number - CHANNEL_MIN] = NULL;
}

bool session_chan_is_free(const struct session_peer *peer, uint64_t now_ns)
{
    return peer->number == 0 || now_ns >= peer->hold_ns;
}

/* ---- when ---- */

void session_chan_count(struct session *s, struct session_peer *peer, uint64_t now_ns)
{
    if (peer->chan == SESSION_CHAN_BOUND && now_ns >= peer->expires_ns)
        peer->chan = peer->asking ? SESSION_CHAN_ASKED : SESSION_CHAN_NONE;
    if (peer->chan != SESSION_CHAN_NONE || peer->asking || now_ns < peer->retry_ns)
        return;
    if (now_ns - peer->window_ns > BUSY_NS) {
        peer->window_ns = now_ns;
        peer->busy_n = 0;
    }
    if (++peer->busy_n >= BUSY_N && peer->perm->state == SESSION_PERM_LIVE && chan_number(s, peer))
        chan_ask(s, peer, now_ns);
}

static bool chan_wants_refresh(const struct session_peer *peer)
{
    return peer->chan == SESSION_CHAN_BOUND && !peer->asking &&
           peer->refresh_ns < peer->used_ns + CHAN_USED_NS && peer->refresh_ns < peer->expires_ns;
}

uint64_t session_chan_due_ns(const struct session_peer *peer)
{
    return chan_wants_refresh(peer) ? peer->refresh_ns : SESSION_NEVER;
}

void session_chan_tick(struct session *s, struct session_peer *peer, uint64_t now_ns)
{
    if (chan_wants_refresh(peer) && now_ns >= peer->refresh_ns)
        chan_ask(s, peer, now_ns);
}
