/*
 * Peers: their permissions, and what waits for one.
 *
 * A permission is the IP's (RFC 8656, section 9), a channel the address and port's; so
 * there are two records, and a peer points at its permission. The network cannot make
 * either: both come from what the owner sends. When there are too many, the one that was
 * used least recently gives way; a peer whose number the relay may still hold bound does
 * not (session_channels.c), nor a permission that a peer points at.
 *
 * A CreatePermission names one peer: a relay takes several together or not at all, and the
 * refusal of one must not hit the others.
 */
#include <stdlib.h>
#include <string.h>

#include "relay/exit/upstream/session_impl.h"

#define PERM_LIFETIME_NS (300 * NS_PER_S)
#define PERM_REFRESH_NS  (240 * NS_PER_S)
#define PERM_USED_NS     (300 * NS_PER_S) /* refreshed while the last use is not longer ago */
#define PERM_RETRY_NS    (5 * NS_PER_S)   /* between attempts to refresh */
#define REFUSED_NS       (30 * NS_PER_S)  /* how long a refusal is remembered */
#define PERM_NO_ANSWER   408              /* HTTP's; STUN has no code for silence */
#define CROWDED_NS       (10 * NS_PER_S)  /* the same for 486 and 508: that may pass */

/* ---- what waits ---- */

static void waiting_drop(struct session *s, struct session_perm *perm)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &perm->waiting) {
        struct session_waiting *w = list_entry(it, struct session_waiting, link);

        list_remove(&w->link);
        s->waiting_size -= w->len;
        free(w);
    }
    perm->n_waiting = 0;
}

static void waiting_send(struct session *s, struct session_perm *perm)
{
    for (struct list *it = perm->waiting.next; it != &perm->waiting; it = it->next) {
        const struct session_waiting *w = list_entry(it, struct session_waiting, link);

        (void)link_send_copy(s->link, w->msg, w->len);
    }
    waiting_drop(s, perm);
}

void session_perm_wait(struct session *s, struct session_perm *perm, const struct addr *peer,
                       const uint8_t *data, size_t len, bool dont_fragment)
{
    uint8_t prefix[STUN_SEND_PREFIX_MAX];
    size_t prefix_len = session_send_prefix(s, prefix, peer, len, dont_fragment);
    size_t total = prefix_len + len + stun_padding(len);
    struct session_waiting *w;

    if (prefix_len == 0 || perm->n_waiting >= SESSION_WAITING_MAX ||
        s->waiting_size + total > SESSION_WAITING_SIZE)
        return;
    w = calloc(1, sizeof(*w) + total);
    if (!w)
        return;
    w->len = total;
    memcpy(w->msg, prefix, prefix_len);
    if (len > 0)
        memcpy(w->msg + prefix_len, data, len);
    list_append(&perm->waiting, &w->link);
    perm->n_waiting++;
    s->waiting_size += total;
}

/* ---- CreatePermission ---- */

static void perm_put(struct session *s, const void *subject, struct stun_builder *b)
{
    const struct session_perm *perm = subject;

    stun_put_addr(b, STUN_XOR_PEER_ADDRESS, &perm->ip);
}

static void perm_tell(struct session *s, const struct session_perm *perm, unsigned int code)
{
    struct addr ip = perm->ip;

    ip.port = 0;
    if (s->events->on_permitted)
        s->events->on_permitted(s->user, &ip, code);
}

void session_perm_confirm(struct session *s, struct session_perm *perm, uint64_t sent_ns)
{
    bool is_new = perm->state != SESSION_PERM_LIVE;

    perm->state = SESSION_PERM_LIVE;
    perm->expires_ns = sent_ns + PERM_LIFETIME_NS;
    perm->refresh_ns = sent_ns + PERM_REFRESH_NS;
    session_due_by(s, perm->refresh_ns);
    waiting_send(s, perm);
    if (is_new)
        perm_tell(s, perm, 0);
}

static void perm_on_success(struct session *s, void *subject, const struct stun_msg *msg,
                            uint64_t sent_ns, uint64_t now_ns)
{
    struct session_perm *perm = subject;

    perm->asking = false;
    session_perm_confirm(s, perm, sent_ns);
}

static void perm_refuse(struct session *s, struct session_perm *perm, unsigned int code,
                        uint64_t now_ns)
{
    perm->state = SESSION_PERM_REFUSED;
    perm->refresh_ns = now_ns + (code == 486 || code == 508 ? CROWDED_NS : REFUSED_NS);
    waiting_drop(s, perm);
    perm_tell(s, perm, code);
}

/* Without an answer, or with one about us and not about the peer: what is there stays there until
 * it expires, and the next datagram asks again for what is not. */
static void perm_not_answered(struct session *s, struct session_perm *perm, uint64_t now_ns)
{
    waiting_drop(s, perm);
    if (perm->state == SESSION_PERM_LIVE) {
        perm->refresh_ns = now_ns + PERM_RETRY_NS;
        session_due_by(s, perm->refresh_ns);
    } else {
        perm->state = SESSION_PERM_IDLE;
        perm_tell(s, perm, PERM_NO_ANSWER);
    }
}

static void perm_on_failure(struct session *s, void *subject, unsigned int code,
                            const struct stun_msg *msg, uint64_t sent_ns, uint64_t now_ns)
{
    struct session_perm *perm = subject;

    perm->asking = false;
    if (code == 437 || code == 441)
        session_fail(s, SESSION_E_LOST, code, "the relay has forgotten the allocation");
    else if (code == 0 || code == 401 || code == 438 || (code >= 500 && code != 508))
        perm_not_answered(s, perm, now_ns);
    else
        perm_refuse(s, perm, code, now_ns);
}

static const struct session_kind perm_kind = {
    .method = STUN_CREATE_PERMISSION,
    .put = perm_put,
    .on_success = perm_on_success,
    .on_failure = perm_on_failure,
};

static void perm_ask(struct session *s, struct session_perm *perm, uint64_t now_ns)
{
    perm->asking = session_ask(s, &perm_kind, perm, now_ns);
    if (perm->state == SESSION_PERM_LIVE)
        perm->refresh_ns = now_ns + PERM_RETRY_NS;
    else
        perm->state = perm->asking ? SESSION_PERM_ASKED : SESSION_PERM_IDLE;
}

/* ---- permissions ---- */

static void perm_free(struct session *s, struct session_perm *perm)
{
    txn_end_subject(&s->txns, perm);
    waiting_drop(s, perm);
    hash_remove(&s->perms_by_ip, &perm->by_ip);
    list_remove(&perm->lru);
    s->n_perms--;
    free(perm);
}

struct session_perm *session_perm_find(const struct session *s, const struct addr *peer)
{
    uint64_t hash = addr_ip_hash(peer);

    for (struct hash_node *n = hash_first(&s->perms_by_ip, hash); n; n = hash_next(n, hash)) {
        struct session_perm *perm = hash_entry(n, struct session_perm, by_ip);

        if (addr_ip_equal(&perm->ip, peer))
            return perm;
    }
    return NULL;
}

static void peer_free(struct session *s, struct session_peer *peer)
{
    txn_end_subject(&s->txns, peer);
    session_chan_drop(s, peer);
    peer->perm->n_peers--;
    hash_remove(&s->peers_by_addr, &peer->by_addr);
    list_remove(&peer->lru);
    s->n_peers--;
    free(peer);
}

/* The peer used least recently that may go, and its permission with it if that has no other. */
static bool perms_make_room_by_peer(struct session *s, uint64_t now_ns)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &s->peers) {
        struct session_peer *peer = list_entry(it, struct session_peer, lru);
        struct session_perm *perm = peer->perm;

        if (!session_chan_is_free(peer, now_ns))
            continue;
        peer_free(s, peer);
        if (perm->n_peers == 0) {
            perm_free(s, perm);
            return true;
        }
    }
    return false;
}

/* Return: whether there is room for one more. */
static bool perms_make_room(struct session *s, uint64_t now_ns)
{
    if (s->n_perms < SESSION_PERMS_MAX)
        return true;
    for (struct list *it = s->perms.next; it != &s->perms; it = it->next) {
        struct session_perm *perm = list_entry(it, struct session_perm, lru);

        if (perm->n_peers == 0) {
            perm_free(s, perm);
            return true;
        }
    }
    return perms_make_room_by_peer(s, now_ns);
}

static struct session_perm *perm_new(struct session *s, const struct addr *peer, uint64_t now_ns)
{
    struct session_perm *perm = perms_make_room(s, now_ns) ? calloc(1, sizeof(*perm)) : NULL;

    if (!perm)
        return NULL;
    perm->ip = *peer;
    list_init(&perm->waiting);
    list_append(&s->perms, &perm->lru);
    hash_insert(&s->perms_by_ip, &perm->by_ip, addr_ip_hash(peer));
    s->n_perms++;
    return perm;
}

static void perm_use(struct session *s, struct session_perm *perm, uint64_t now_ns)
{
    perm->used_ns = now_ns;
    list_remove(&perm->lru);
    list_append(&s->perms, &perm->lru);
}

struct session_perm *session_perm_get(struct session *s, const struct addr *peer, uint64_t now_ns)
{
    struct session_perm *perm = session_perm_find(s, peer);

    if (!perm)
        perm = perm_new(s, peer, now_ns);
    if (!perm)
        return NULL;
    perm_use(s, perm, now_ns);
    if (perm->state == SESSION_PERM_LIVE && now_ns >= perm->expires_ns)
        perm->state = perm->asking ? SESSION_PERM_ASKED : SESSION_PERM_IDLE;
    if (perm->state == SESSION_PERM_REFUSED && now_ns >= perm->refresh_ns)
        perm->state = SESSION_PERM_IDLE;
    if (perm->state == SESSION_PERM_IDLE)
        perm_ask(s, perm, now_ns);
    return perm;
}

static bool perm_wants_refresh(const struct session_perm *perm)
{
    return perm->state == SESSION_PERM_LIVE && !perm->asking &&
           perm->refresh_ns < perm->used_ns + PERM_USED_NS && perm->refresh_ns < perm->expires_ns;
}

static void perm_tick(struct session *s, struct session_perm *perm, uint64_t now_ns)
{
    if (perm_wants_refresh(perm) && now_ns >= perm->refresh_ns)
        perm_ask(s, perm, now_ns);
}

/* ---- peers ---- */

struct session_peer *session_peer_find(const struct session *s, const struct addr *addr)
{
    uint64_t hash = addr_hash(addr);

    for (struct hash_node *n = hash_first(&s->peers_by_addr, hash); n; n = hash_next(n, hash)) {
        struct session_peer *peer = hash_entry(n, struct session_peer, by_addr);

        if (addr_equal(&peer->addr, addr))
            return peer;
    }
    return NULL;
}

static bool peers_make_room(struct session *s, uint64_t now_ns)
{
    if (s->n_peers < SESSION_PEERS_MAX)
        return true;
    for (struct list *it = s->peers.next; it != &s->peers; it = it->next) {
        struct session_peer *peer = list_entry(it, struct session_peer, lru);

        if (session_chan_is_free(peer, now_ns)) {
            peer_free(s, peer);
            return true;
        }
    }
    return false;
}

struct session_peer *session_peer_get(struct session *s, struct session_perm *perm,
                                      const struct addr *addr, uint64_t now_ns)
{
    struct session_peer *peer = peers_make_room(s, now_ns) ? calloc(1, sizeof(*peer)) : NULL;

    if (!peer)
        return NULL;
    peer->addr = *addr;
    peer->perm = perm;
    perm->n_peers++;
    list_append(&s->peers, &peer->lru);
    hash_insert(&s->peers_by_addr, &peer->by_addr, addr_hash(addr));
    s->n_peers++;
    return peer;
}

void session_peer_use(struct session *s, struct session_peer *peer, uint64_t now_ns)
{
    peer->used_ns = now_ns;
    list_remove(&peer->lru);
    list_append(&s->peers, &peer->lru);
    perm_use(s, peer->perm, now_ns);
}

/* ---- all of them ---- */

int session_peers_init(struct session *s)
{
    list_init(&s->perms);
    list_init(&s->peers);
    if (hash_init(&s->perms_by_ip, 0) < 0 || hash_init(&s->peers_by_addr, 0) < 0)
        return -1;
    return 0;
}

void session_peers_deinit(struct session *s)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &s->peers)
        peer_free(s, list_entry(it, struct session_peer, lru));
    list_for_each_safe (it, tmp, &s->perms)
        perm_free(s, list_entry(it, struct session_perm, lru));
    hash_deinit(&s->perms_by_ip);
    hash_deinit(&s->peers_by_addr);
    free(s->chans);
    s->chans = NULL;
}

void session_peers_tick(struct session *s, uint64_t now_ns)
{
    for (struct list *it = s->perms.next; it != &s->perms; it = it->next)
        perm_tick(s, list_entry(it, struct session_perm, lru), now_ns);
    for (struct list *it = s->peers.next; it != &s->peers; it = it->next)
        session_chan_tick(s, list_entry(it, struct session_peer, lru), now_ns);
}

uint64_t session_peers_busy_ns(const struct session *s)
{
    const struct session_peer *last;

    if (list_empty(&s->peers))
        return 0;
    last = list_entry(s->peers.prev, struct session_peer, lru);
    return last->chan != SESSION_CHAN_NONE ? last->used_ns : 0;
}

uint64_t session_peers_due_ns(const struct session *s)
{
    uint64_t due = SESSION_NEVER;

    for (struct list *it = s->perms.next; it != &s->perms; it = it->next) {
        const struct session_perm *perm = list_entry(it, struct session_perm, lru);

        if (perm_wants_refresh(perm) && perm->refresh_ns < due)
            due = perm->refresh_ns;
    }
    for (struct list *it = s->peers.next; it != &s->peers; it = it->next) {
        uint64_t at_ns = session_chan_due_ns(list_entry(it, struct session_peer, lru));

        if (at_ns < due)
            due = at_ns;
    }
    return due;
}
