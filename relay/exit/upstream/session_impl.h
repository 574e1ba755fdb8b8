/*
 * relay/exit/upstream/session_impl.h - what the rooms of a session share
 *
 *   session.c           life, link events, ticks, the end
 *   session_request.c   requests and answers: credentials, proof, doubt
 *   session_allocate.c  Allocate, Refresh
 *   session_move.c      from one way to the relay to another
 *   session_peers.c     permissions, and what waits for one
 *   session_channels.c  channels
 *   session_data.c      datagrams both ways: the fast path
 *   session_tcp.c       Connect, ConnectionAttempt (RFC 6062)
 *
 * An event of the owner's may free the session. So whatever calls one runs between
 * session_enter() and session_leave(): session_free() then takes the link away, leaves an
 * ENDED session that calls nobody, and the memory goes at the outermost leave.
 */
#pragma once

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/list.h"
#include "relay/exit/upstream/session.h"
#include "relay/exit/upstream/txn.h"

#define SESSION_NEVER    UINT64_MAX
#define SESSION_TICKET   512  /* bytes of the longest MOBILITY-TICKET that is kept */
#define SESSION_MESSAGE  3584 /* bytes of the longest request: all texts at their limits fit */
#define SESSION_UNUSABLE 1    /* in place of an error code: an answer that cannot be used */

#define SESSION_PERMS_MAX    256
#define SESSION_PEERS_MAX    256
#define SESSION_WAITING_MAX  8            /* datagrams that wait for one permission */
#define SESSION_WAITING_SIZE (256 * 1024) /* bytes of all that wait */
#define SESSION_CONNECTS_MAX 64

enum session_state {
    SESSION_OPENING,
    SESSION_LIVE,
    SESSION_MOVING,
    SESSION_ENDED,
};

/* What can be asked of the relay: one row each. `subject` is what it is about: a permission, a
 * peer, a connect; it outlives the transaction. */
struct session_kind {
    uint16_t method;
    bool goes_ahead;                          /* is sent while MOVING, when all others are parked */
    uint64_t patience_ns, stream_patience_ns; /* 0: RFC 8489's */
    void (*put)(struct session *s, const void *subject, struct stun_builder *b);
    /* `sent_ns`: when the request left first, from which lifetimes are counted. */
    void (*on_success)(struct session *s, void *subject, const struct stun_msg *msg,
                       uint64_t sent_ns, uint64_t now_ns);
    /* A STUN error code, 0 (no answer in time) or SESSION_UNUSABLE. `msg` is NULL without a proven
     * answer. */
    void (*on_failure)(struct session *s, void *subject, unsigned int code,
                       const struct stun_msg *msg, uint64_t sent_ns, uint64_t now_ns);
};

/* A datagram that waits for its permission: a whole Send indication. */
struct session_waiting {
    struct list link;
    size_t len;
    uint8_t msg[];
};

/* A permission, for an IP (RFC 8656, section 9).
 *   IDLE     nothing is there and nothing asked for
 *   ASKED    the first CreatePermission is on its way; datagrams wait
 *   LIVE     until expires_ns; refreshed from refresh_ns on while it is used
 *   REFUSED  until refresh_ns: datagrams are dropped */
enum session_perm_state {
    SESSION_PERM_IDLE,
    SESSION_PERM_ASKED,
    SESSION_PERM_LIVE,
    SESSION_PERM_REFUSED,
};

struct session_perm {
    struct hash_node by_ip;
    struct list lru; /* session.perms, least recently used first */
    struct addr ip;  /* as it was asked for; the port is of no interest */
    enum session_perm_state state;
    bool asking; /* a transaction is under way */
    uint64_t expires_ns, refresh_ns, used_ns;
    unsigned int n_peers; /* that point here: it stays */
    struct list waiting;
    unsigned int n_waiting;
};

/* A peer address we have sent to, and its channel (section 12).
 *   NONE     indications; from retry_ns on a busy one is bound
 *   ASKED    the first ChannelBind is on its way: what comes in on the number counts already
 *   BOUND    until expires_ns; refreshed from refresh_ns on while it is used */
enum session_chan_state {
    SESSION_CHAN_NONE,
    SESSION_CHAN_ASKED,
    SESSION_CHAN_BOUND,
};

struct session_peer {
    struct hash_node by_addr;
    struct list lru; /* session.peers, least recently used first */
    struct addr addr;
    struct session_perm *perm;
    enum session_chan_state chan;
    bool asking;
    uint16_t number; /* 0: never had one */
    uint64_t expires_ns, refresh_ns, retry_ns, hold_ns, used_ns;
    uint64_t window_ns; /* when the counting of busy_n began */
    unsigned int busy_n;
};

struct session_connect {
    struct list link; /* session.connects */
    struct addr peer;
    uint32_t id;
    uint64_t asked_ns;
};

struct session {
    enum session_state state;
    struct link *link; /* NULL: MOVING, or freed */
    struct cred *cred;
    struct session_want want;
    struct session_waker waker;
    const struct session_events *events;
    void *user;
    unsigned int depth; /* of session_enter() */
    bool freed;
    bool is_stream;
    uint64_t due_ns, told_ns; /* when something is due; what the owner knows of it */

    /* requests */
    struct cred_proof proof;
    bool challenged; /* the nonce was given to us, not to another session */
    struct txn_set txns;
    uint32_t srtt_us;

    /* the allocation */
    bool ask_v4, ask_v6;               /* families still hoped for */
    enum exit_result lost_v4, lost_v6; /* why one is not */
    bool ask_dont_fragment, has_dont_fragment, ask_ticket;
    struct addr alternate; /* of a redirection that was not proven */
    struct assoc_opened opened;
    bool refreshing, sampling;              /* a question is under way; a sample is */
    uint64_t sampled_ns;                    /* the last one left */
    unsigned int n_unheard, n_unauthorized; /* Refreshes in a row that ended so */
    uint64_t asked_ns;                      /* the first Allocate; 0: none yet */
    uint64_t open_by_ns, expires_ns, refresh_ns;
    uint64_t heard_ns, sent_ns;
    uint64_t unheard_ns; /* the first that was sent since we last heard something; 0: none */

    /* mobility */
    uint8_t ticket[SESSION_TICKET];
    size_t ticket_len;               /* 0: none, it cannot move */
    struct session_ended moving_for; /* why it is MOVING, and why it ends if nothing helps */
    uint64_t move_until_ns;          /* when that is */
    uint64_t move_next_ns;           /* no link before; one that is there has to open until then */

    /* peers */
    struct hash_table perms_by_ip, peers_by_addr;
    struct list perms, peers;
    unsigned int n_perms, n_peers;
    size_t waiting_size;
    struct session_peer **chans; /* by number - CHANNEL_MIN, n_chans of them */
    size_t n_chans, cap_chans;
    uint64_t n_indications, indication_salt;

    struct list connects;
    unsigned int n_connects;
};

/* ---- session.c ---- */

void session_enter(struct session *s);
/* `s` may be gone afterwards. */
void session_leave(struct session *s);
/* Something is due at `at_ns`. */
void session_due_by(struct session *s, uint64_t at_ns);
void session_note_sent(struct session *s, uint64_t now_ns);
void session_note_heard(struct session *s, uint64_t now_ns);
extern const struct link_events session_link_events;
/* Calls on_ended(). */
void session_end(struct session *s, const struct session_ended *ended);
__attribute__((format(printf, 4, 5))) void session_fail(struct session *s, enum session_end end,
                                                        unsigned int code, const char *format, ...);

/* ---- session_request.c ---- */

/* Sends a request. Return: false when it could not be made (TXN_MAX, no memory). */
bool session_ask(struct session *s, const struct session_kind *kind, void *subject,
                 uint64_t now_ns);
/* Builds it only. Return: its length, or 0. */
size_t session_build(struct session *s, const struct session_kind *kind, const void *subject,
                     uint8_t *buf, size_t cap);
void session_on_answer(struct session *s, const struct stun_msg *msg, uint64_t now_ns);
/* Sends again and gives up what is due. */
void session_requests_tick(struct session *s, uint64_t now_ns);

/* ---- session_allocate.c ---- */

void session_allocate(struct session *s, uint64_t now_ns);
void session_allocate_tick(struct session *s, uint64_t now_ns);
uint64_t session_allocate_due_ns(const struct session *s);
/* What a Refresh's success says of the lifetime; the session may be ENDED afterwards. */
void session_refreshed(struct session *s, const struct stun_msg *msg, uint64_t sent_ns,
                       uint64_t now_ns);
/* Asks whether the relay is there; it is not being asked already. */
void session_refresh(struct session *s, uint64_t now_ns);
/* Nobody waits for the answers of those under way any more. */
void session_refresh_forget(struct session *s);
/* Refresh with lifetime 0, not waited for. */
void session_deallocate(struct session *s);

/* ---- session_move.c ---- */

/* The MOBILITY-TICKET of a success, or none. */
void session_take_ticket(struct session *s, const struct stun_msg *msg);
/* LIVE, with a ticket, and an owner who can bring another link. */
bool session_can_move(const struct session *s, uint64_t now_ns);
/* The link is closed, or leads nowhere any more: it is freed and the session MOVING, or ended. */
void session_lose_way(struct session *s, const struct session_ended *ended, uint64_t now_ns);
/* The link is open. */
void session_move_ask(struct session *s, uint64_t now_ns);
void session_move_tick(struct session *s, uint64_t now_ns);
uint64_t session_move_due_ns(const struct session *s, uint64_t now_ns);

/* ---- session_peers.c ---- */

int session_peers_init(struct session *s);
void session_peers_deinit(struct session *s);
/* The permission for an IP; asked for when there is none. NULL: no room, or no memory. */
struct session_perm *session_perm_get(struct session *s, const struct addr *peer, uint64_t now_ns);
struct session_perm *session_perm_find(const struct session *s, const struct addr *peer);
/* Keeps one datagram until the permission is there. */
void session_perm_wait(struct session *s, struct session_perm *perm, const struct addr *peer,
                       const uint8_t *data, size_t len, bool dont_fragment);
/* The relay has confirmed it by a CreatePermission or ChannelBind of `sent_ns`. */
void session_perm_confirm(struct session *s, struct session_perm *perm, uint64_t sent_ns);
struct session_peer *session_peer_find(const struct session *s, const struct addr *addr);
/* Makes one. NULL: no room, or no memory. */
struct session_peer *session_peer_get(struct session *s, struct session_perm *perm,
                                      const struct addr *addr, uint64_t now_ns);
void session_peer_use(struct session *s, struct session_peer *peer, uint64_t now_ns);
void session_peers_tick(struct session *s, uint64_t now_ns);
/* When a datagram last went to a peer or came from one, if that one is busy (it has a channel); or
 * 0.
 */
uint64_t session_peers_busy_ns(const struct session *s);
uint64_t session_peers_due_ns(const struct session *s);

/* ---- session_channels.c ---- */

/* One datagram went to or came from the peer: binds a channel to a busy one. */
void session_chan_count(struct session *s, struct session_peer *peer, uint64_t now_ns);
void session_chan_tick(struct session *s, struct session_peer *peer, uint64_t now_ns);
uint64_t session_chan_due_ns(const struct session_peer *peer);
/* May its record go? Not while the relay may still hold the number bound to it. */
bool session_chan_is_free(const struct session_peer *peer, uint64_t now_ns);
void session_chan_drop(struct session *s, struct session_peer *peer);

/* ---- session_data.c ---- */

void session_on_channel_data(struct session *s, const uint8_t *data, size_t len, uint64_t now_ns);
void session_on_data(struct session *s, const struct stun_msg *msg, uint64_t now_ns);
/* A Send indication up to DATA's value. Return: its length, or 0: the payload is too long. */
size_t session_send_prefix(struct session *s, uint8_t *buf, const struct addr *peer, size_t len,
                           bool dont_fragment);

/* ---- session_tcp.c ---- */

void session_on_attempt(struct session *s, const struct stun_msg *msg);
void session_connects_deinit(struct session *s);
