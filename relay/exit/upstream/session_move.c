/*
 * relay/exit/upstream/session_move.c - an allocation goes on over another way to the relay
 *
 * A relay knows a client by its 5-tuple, so that a connection that breaks, or an address that
 * changes, would be the end of the allocation and of all that peers know of it. With the ticket
 * that Allocate was answered with, a Refresh from a new 5-tuple takes the allocation there (RFC
 * 8016, section 3.2). Each ticket is good once; the answer brings the next.
 *
 * From the loss until that answer:
 *
 * - Nothing but the Refresh is sent. To the relay we are a stranger, and it would answer 437, as
 *   if the allocation had gone. Requests are parked and made anew afterwards, when they can be
 *   signed with the nonce of the new address. Datagrams are dropped: seconds later nobody wants
 *   them.
 *
 * - The allocation ends by what the relay says of it (437 and the like), proven or unrefuted as
 *   any answer. A link that fails, silence, a challenge that does not come to an end and errors of
 *   the moment (5xx) only end the attempt; the owner may have a better link. When it has none in
 *   time, the session ends with what took the first one from it.
 *
 * The relay may go on using the old 5-tuple until it hears the new one say something else (section
 * 3.2.2). So an ordinary Refresh follows at once.
 */
#include <assert.h>
#include <string.h>

#include "common/base/log.h"
#include "relay/exit/upstream/session_impl.h"

#define MOVE_NS             (45 * NS_PER_S) /* from the loss on: a lift, a tunnel, a restart */
#define MOVE_RETRY_NS       NS_PER_S        /* between the end of one attempt and the next */
#define MOVE_OPEN_NS        (10 * NS_PER_S) /* for a link to open; most give up themselves */
#define MOVE_WAIT_NS        (5 * NS_PER_S)  /* for the answer */
#define MOVE_STREAM_WAIT_NS (7 * NS_PER_S)

void session_take_ticket(struct session *s, const struct stun_msg *msg)
{
    size_t len = 0;
    const uint8_t *ticket = s->ask_ticket ? stun_get(msg, STUN_MOBILITY_TICKET, &len) : NULL;

    s->ticket_len = ticket && len <= sizeof(s->ticket) ? len : 0;
    if (s->ticket_len > 0)
        memcpy(s->ticket, ticket, len);
}

/* ---- attempts ---- */

/* Its transactions are those whose subject is the session. */
static void move_drop_link(struct session *s, uint64_t now_ns)
{
    txn_end_subject(&s->txns, s);
    link_free(s->link);
    s->link = s->txns.link = NULL;
    s->move_next_ns = now_ns + MOVE_RETRY_NS;
    session_due_by(s, s->move_next_ns);
}

/* What was parked is asked for anew. */
static void move_ask_parked(struct session *s, uint64_t now_ns)
{
    struct txn *t;

    /* Whoever hears of a failure may free the session. */
    while (s->state == SESSION_LIVE && (t = txn_find_parked(&s->txns))) {
        const struct session_kind *kind = t->kind;
        void *subject = t->subject;
        bool superseded = t->superseded;

        txn_end(&s->txns, t);
        if (!superseded && !session_ask(s, kind, subject, now_ns))
            kind->on_failure(s, subject, 0, NULL, now_ns, now_ns);
    }
}

static void move_put(struct session *s, const void *subject, struct stun_builder *b)
{
    stun_put(b, STUN_MOBILITY_TICKET, s->ticket, s->ticket_len);
}

static void move_on_success(struct session *s, void *subject, const struct stun_msg *msg,
                            uint64_t sent_ns, uint64_t now_ns)
{
    session_take_ticket(s, msg);
    s->state = SESSION_LIVE;
    session_refreshed(s, msg, sent_ns, now_ns);
    if (s->state != SESSION_LIVE)
        return;
    if (s->waker.counters)
        counter_add(&s->waker.counters->upstream_moves, 1);
    log_limited(LOG_LEVEL_INFO, "relay: an allocation goes on over a new connection");
    txn_unpark(&s->txns);
    session_refresh(s, now_ns);
    move_ask_parked(s, now_ns);
}

/* As SESSION_E_REFUSED, and not as LOST: the relay has answered and works, and what it says of this
 * allocation is no reason to look for another one (find_failed()). A relay that was restarted
 * refuses every one of them so, right after it was found again. */
static void move_on_failure(struct session *s, void *subject, unsigned int code,
                            const struct stun_msg *msg, uint64_t sent_ns, uint64_t now_ns)
{
    if (code == 0 || code == 401 || code == 438 || code >= 500)
        move_drop_link(s, now_ns);
    else
        session_fail(s, SESSION_E_REFUSED, code == SESSION_UNUSABLE ? 0 : code,
                     "the relay did not take the allocation over to the new connection");
}

static const struct session_kind move_kind = {
    .method = STUN_REFRESH,
    .goes_ahead = true,
    .patience_ns = MOVE_WAIT_NS,
    .stream_patience_ns = MOVE_STREAM_WAIT_NS,
    .put = move_put,
    .on_success = move_on_success,
    .on_failure = move_on_failure,
};

void session_move_ask(struct session *s, uint64_t now_ns)
{
    s->move_next_ns = SESSION_NEVER;
    if (!session_ask(s, &move_kind, s, now_ns))
        move_drop_link(s, now_ns);
}

/* ---- the owner's side ---- */

bool session_is_moving(const struct session *s)
{
    return s->state == SESSION_MOVING;
}

bool session_wants_link(const struct session *s, uint64_t now_ns)
{
    return s->state == SESSION_MOVING && !s->link && now_ns >= s->move_next_ns;
}

void session_move(struct session *s, struct link *link, struct cred *cred, uint64_t now_ns)
{
    assert(s->state == SESSION_MOVING && !s->link);
    session_enter(s);
    s->link = s->txns.link = link;
    s->is_stream = link_kind_is_stream(link_kind(link));
    s->srtt_us = 0; /* of the old way */
    s->cred = cred;
    /* One that knows nothing now leaves us with what we know. */
    if (cred->proof.key_len > 0)
        s->proof = cred->proof;
    link_set_events(link, &session_link_events, s);
    s->move_next_ns = now_ns + MOVE_OPEN_NS;
    if (link_is_open(link))
        session_move_ask(s, now_ns);
    session_due_by(s, session_move_due_ns(s, now_ns));
    session_leave(s);
}

/* ---- the way is gone ---- */

bool session_can_move(const struct session *s, uint64_t now_ns)
{
    return s->state == SESSION_LIVE && s->ticket_len > 0 && s->events->on_moving &&
           now_ns < s->expires_ns;
}

void session_lose_way(struct session *s, const struct session_ended *ended, uint64_t now_ns)
{
    if (s->state == SESSION_MOVING) {
        move_drop_link(s, now_ns);
        return;
    }
    if (!session_can_move(s, now_ns)) {
        session_end(s, ended);
        return;
    }
    s->state = SESSION_MOVING;
    s->moving_for = *ended;
    s->move_until_ns = now_ns + MOVE_NS < s->expires_ns ? now_ns + MOVE_NS : s->expires_ns;
    s->move_next_ns = now_ns;
    session_refresh_forget(s);
    txn_park(&s->txns);
    link_free(s->link);
    s->link = s->txns.link = NULL;
    session_due_by(s, s->move_until_ns);
    s->events->on_moving(s->user, ended);
}

/* ---- when ---- */

uint64_t session_move_due_ns(const struct session *s, uint64_t now_ns)
{
    /* That a link may be tried from now on is no date: the owner has to have one. */
    bool next = s->move_next_ns > now_ns && s->move_next_ns < s->move_until_ns;

    return next ? s->move_next_ns : s->move_until_ns;
}

void session_move_tick(struct session *s, uint64_t now_ns)
{
    if (now_ns >= s->move_until_ns)
        session_end(s, &s->moving_for);
    else if (s->link && now_ns >= s->move_next_ns)
        move_drop_link(s, now_ns);
}
