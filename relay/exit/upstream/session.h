/*
 * relay/exit/upstream/session.h - one allocation on a relay, as its client
 *
 * Allocate, Refresh, CreatePermission, ChannelBind, Send/Data and ChannelData (RFC
 * 8656), Connect (RFC 6062), MOBILITY-TICKET (RFC 8016), with the long-term credentials
 * of RFC 8489 (both password algorithms; 401, 438, 437, 441, 300 and what a relay may say
 * besides).
 *
 * A session is handed everything: the link, the time, each message. It keeps no
 * timer: whoever owns it calls session_tick() when session_due_ns() has come.
 *
 * States:
 *   OPENING     the link opens, or Allocate is on its way.
 *   LIVE        on_live() was called; everything works.
 *   MOVING      the way to the relay is gone and on_moving() was called; the allocation, and
 *               what peers know of it, is still there. The owner gives it other links with
 *               session_move() until one leads to the relay (LIVE again, without an event) or
 *               it has taken too long (ENDED). Requests wait, datagrams are dropped.
 *   ENDED       on_ended() was called, or is being: only session_free() may follow.
 *
 * Peers: the first datagram to an address installs a permission, and waits for it
 * (a few do; more are dropped); then Send indications, and a channel for a peer that
 * is busy. Permissions and channels are refreshed while they are used, and forgotten
 * afterwards. What a peer sends is delivered whether or not we asked for it: the
 * relay has checked the permission.
 *
 * Owner:   whoever made it; it owns the link. Threads: the worker's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "relay/exit.h"
#include "relay/exit/upstream/cred.h"
#include "relay/exit/upstream/link.h"
#include "relay/stats/counters.h"

struct session;

struct session_want {
    bool tcp;    /* RFC 6062; the link is a stream */
    bool v4, v6; /* both: ADDITIONAL-ADDRESS-FAMILY */
    bool even_port, reserve, has_token;
    uint8_t token[8];
    bool mobile; /* asks for a MOBILITY-TICKET; not with `tcp`, whose data connections end anyway */
};

/* Why a session ended. */
enum session_end {
    SESSION_E_LINK = 1,    /* the transport failed or closed */
    SESSION_E_TIMEOUT,     /* the relay does not answer */
    SESSION_E_CREDENTIALS, /* 401 to credentials, or an answer that proves nothing */
    SESSION_E_REFUSED,     /* another error code to Allocate: see `code` */
    SESSION_E_REDIRECTED,  /* 300: see `alternate` */
    SESSION_E_LOST,        /* the relay has forgotten the allocation (437, 441, lifetime 0) */
    SESSION_E_MEMORY,
};

struct session_ended {
    enum session_end end;
    unsigned int code;     /* STUN error code; 0: none */
    int reason;            /* -errno of the link; 0: none */
    struct addr alternate; /* SESSION_E_REDIRECTED */
    char why[128];         /* one line for a log and the stats page; no addresses in it */
};

struct session_events {
    /* As exit.h's on_open(), with result EXIT_OK. */
    void (*on_live)(void *user, const struct assoc_opened *opened);
    void (*on_ended)(void *user, const struct session_ended *ended);
    /* The way to the relay is gone, for this reason, and the allocation can be taken to another:
     * see session_move(). NULL: it ends instead. */
    void (*on_moving)(void *user, const struct session_ended *ended);
    void (*on_datagram)(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                        uint64_t now_ns);
    void (*on_icmp)(void *user, const struct assoc_icmp *icmp, uint64_t now_ns);
    /* The relay has let this peer in (`code` 0), or refuses it (403, 443...: sends to it are
     * dropped for a while), or did not answer (408). May be NULL. */
    void (*on_permitted)(void *user, const struct addr *peer, unsigned int code);
    /* Connect was answered: EXIT_OK and the CONNECTION-ID to bind, or why not. TCP only. Those
     * under way when the session ends are not answered any more. */
    void (*on_connect)(void *user, uint32_t connect_id, enum exit_result result,
                       uint32_t connection_id);
    /* ConnectionAttempt: a peer has connected. TCP only. */
    void (*on_attempt)(void *user, const struct addr *peer, uint32_t connection_id);
};

/* Something is due earlier than the owner has been told: session_tick() at `at_ns` at the latest.
 */
struct session_waker {
    void (*wake)(void *arg, uint64_t at_ns);
    void *arg;
    struct counters *counters; /* of times; NULL: nobody wants them */
};

/* Takes `link` (OPENING or OPEN), also on failure; `cred` is shared, and borrowed. Nothing is
 * called back before it returns; session_due_ns() says when it wants its first tick (at once, on
 * an OPEN link). Return: NULL when memory is short. */
struct session *session_new(struct link *link, struct cred *cred, const struct session_want *want,
                            const struct session_waker *waker, const struct session_events *events,
                            void *user, uint64_t now_ns);
/* From now on, whose it is (a session that was made ahead is handed to who needs it). */
void session_set_events(struct session *s, const struct session_events *events, void *user);
/* Deletes the allocation with one Refresh of lifetime 0 (not waited for) if it is LIVE, and frees
 * the link; one that is MOVING is left to its lifetime. NULL is fine; also from within an event. */
void session_free(struct session *s, uint64_t now_ns);

/* Retransmits, refreshes, expires; what it sends leaves with the worker's next tx_flush(), as from
 * session_send(). Return: when it wants to be called next (also session_due_ns()). */
uint64_t session_tick(struct session *s, uint64_t now_ns);
uint64_t session_due_ns(const struct session *s);

bool session_is_live(const struct session *s);
bool session_is_moving(const struct session *s);
/* What was opened; valid while LIVE. */
const struct assoc_opened *session_opened(const struct session *s);
struct link *session_link(struct session *s); /* NULL: MOVING, without one for now */
/* What its requests are signed with now. */
const struct cred_proof *session_proof(const struct session *s);

/* MOVING, with no link to try, and the last one did not fail just now. */
bool session_wants_link(const struct session *s, uint64_t now_ns);
/* Asks by `link` (OPENING or OPEN, and taken) for the allocation to be used from there on (RFC
 * 8016, section 3.2), for one that session_wants_link(). `cred`: as for session_new(), of the url
 * that the link leads to. Nothing is called back before it returns. */
void session_move(struct session *s, struct link *link, struct cred *cred, uint64_t now_ns);

/* Asks now whether the relay is there, unless that is being asked: one that is gone is given up
 * within 14 s from here (7 s where the allocation can move), and a stream whose relay is silent has
 * no other way to hear of it. */
void session_probe(struct session *s, uint64_t now_ns);

/* Asks for a permission now, so that a first datagram, or a peer's, need not wait. Return: EXIT_OK
 * when it is there, EXIT_PENDING when on_permitted() will tell, EXIT_E_FORBIDDEN while a refusal is
 * remembered, EXIT_E_CAPACITY when no more can be asked for, EXIT_E_FAMILY, EXIT_E_DOWN. MOVING
 * makes no difference, but that the answer takes longer. */
enum exit_result session_permit(struct session *s, const struct addr *peer, uint64_t now_ns);
/* One datagram; `data` is referenced until the worker's next flush (copied if it has to wait for a
 * permission). Dropped when it cannot go. */
void session_send(struct session *s, const struct addr *peer, const uint8_t *data, size_t len,
                  bool dont_fragment, uint64_t now_ns);
/* RFC 6062 Connect; on_connect() answers. Return: EXIT_OK, or the refusal (no event then). */
enum exit_result session_connect(struct session *s, const struct addr *peer, uint32_t connect_id,
                                 uint64_t now_ns);

/* Microseconds: smoothed round trip to the relay (RFC 6298's SRTT over unretransmitted requests and
 * keepalives), 0 before the first. */
uint32_t session_rtt_us(const struct session *s);
/* For how long nothing at all has come back since we asked something; 0: the relay owes us nothing.
 * A session asks by itself six seconds after the first unanswered packet, so that only a relay that
 * is gone is silent for much longer. */
uint64_t session_silent_ns(const struct session *s, uint64_t now_ns);

/* ---- a data connection (RFC 6062, section 4.4) ---- */

struct data_bind;

/* The answer, once: the stream is the caller's (its events are to be set before the call returns),
 * or NULL and why: EXIT_E_DOWN the link failed, EXIT_E_TIMEOUT, EXIT_E_REFUSED the relay knows no
 * such connection. The data_bind is gone. */
typedef void data_bind_on_done(void *user, enum exit_result result, struct stream *stream);

/* ConnectionBind of `connection_id` on a stream link that is used for nothing else (OPENING or
 * OPEN; a ready one saves the handshake). Takes `link`, also on failure. Nothing is called back
 * before it returns. `control` is the session that was told of the connection, or NULL: coturn
 * takes that one's nonce only, and ends what comes with another. `waker` is not needed, see
 * data_bind_tick(). Return: NULL when memory is short. */
struct data_bind *data_bind_new(struct link *link, struct cred *cred, const struct session *control,
                                uint32_t connection_id, const struct session_waker *waker,
                                data_bind_on_done *on_done, void *user, uint64_t now_ns);
/* As session_tick(); called right after data_bind_new() it says when patience ends, which does not
 * move. `b` is gone when that has come. */
uint64_t data_bind_tick(struct data_bind *b, uint64_t now_ns);
uint64_t data_bind_due_ns(const struct data_bind *b);
struct link *data_bind_link(struct data_bind *b);
void data_bind_free(struct data_bind *b); /* on_done() is not called; NULL is fine */
