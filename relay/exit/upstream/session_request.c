/*
 * Requests and their answers: what may be believed.
 *
 * Whoever sees our packets can answer them first, and a relay signs neither 401 nor 438
 * (RFC 8489, section 9.2.4). What a forged answer can do is bounded like this:
 *
 * - A request without credentials (the first Allocate, when nothing is known of the relay)
 *   cannot have a proven answer. 401 teaches realm and nonce; any other error ends the
 *   opening, and no call is at stake. A *success* would prove nothing and ends it too.
 *
 * - A request with credentials: a success or an error other than 401 and 438 counts when it
 *   proves the password (section 9.2.5). One that does not is remembered, and the request
 *   goes on being sent; the real answer, if there is one, arrives. When patience ends with
 *   none, what was remembered is taken for the reason: relays exist that sign no errors.
 *   While opening, two seconds are patience enough.
 *
 * - 401 and 438 while opening are believed, a few times in a row. In a LIVE or MOVING one only
 *   their nonce is new: another realm, or a weaker algorithm, is somebody else's. The
 *   request is made again with the new nonce, while the old one waits two seconds more for
 *   a real answer, which still counts. So who can only add packets cannot end a call; who
 *   can take packets away needs no forgery for it.
 *
 * - 400 without integrity to a request with credentials is discarded by the same rules, as
 *   section 9.2.5 says.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "relay/exit/upstream/session_impl.h"

#define GRACE_NS         (2 * NS_PER_S)
#define STALE_MAX        4 /* 438 in a row for one request */
#define UNAUTHORIZED_MAX 1 /* 401 in a row in a LIVE session; while opening, none */

/* ---- asking ---- */

size_t session_build(struct session *s, const struct session_kind *kind, const void *subject,
                     uint8_t *buf, size_t cap)
{
    uint8_t txid[STUN_TXID_LEN];
    struct stun_builder b;

    if (txn_id(txid) < 0)
        return 0;
    stun_begin(&b, buf, cap, STUN_REQUEST, kind->method, txid);
    kind->put(s, subject, &b);
    cred_put(s->cred, &s->proof, &b);
    return stun_finish(&b);
}

static struct txn *session_start(struct session *s, const struct session_kind *kind, void *subject,
                                 uint64_t now_ns)
{
    uint8_t buf[SESSION_MESSAGE];
    uint64_t patience_ns = s->is_stream ? kind->stream_patience_ns : kind->patience_ns;
    struct txn *t = NULL;
    size_t len;

    if (s->state == SESSION_ENDED)
        return NULL;
    len = session_build(s, kind, subject, buf, sizeof(buf));
    if (len > 0)
        t = (kind->goes_ahead ? txn_start_ahead : txn_start)(&s->txns, buf, len, patience_ns,
                                                             now_ns);
    if (!t)
        return NULL;
    t->kind = kind;
    t->subject = subject;
    t->is_signed = s->proof.key_len > 0;
    if (!t->is_parked)
        session_note_sent(s, now_ns);
    session_due_by(s, t->next_ns < t->end_ns ? t->next_ns : t->end_ns);
    return t;
}

bool session_ask(struct session *s, const struct session_kind *kind, void *subject, uint64_t now_ns)
{
    return session_start(s, kind, subject, now_ns) != NULL;
}

/* ---- the end of a request ---- */

/* Ends the request, and whatever else asks for the same. */
static void session_end_request(struct session *s, const struct session_kind *kind,
                                const void *subject)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &s->txns.txns) {
        struct txn *t = list_entry(it, struct txn, link);

        if (t->kind == kind && t->subject == subject)
            txn_end(&s->txns, t);
    }
}

/* RFC 6298, section 2, with the smoothed value only. */
static void session_note_rtt(struct session *s, const struct txn *t, uint64_t now_ns)
{
    uint64_t rtt_us = txn_rtt_ns(t, now_ns) / NS_PER_US;

    if (t->method == STUN_CONNECT || t->n_sent > 1 || rtt_us > UINT32_MAX / 8)
        return;
    if (s->waker.counters)
        histogram_add(&s->waker.counters->upstream_rtt, rtt_us);
    if (rtt_us == 0)
        rtt_us = 1;
    s->srtt_us = s->srtt_us == 0 ? (uint32_t)rtt_us : (uint32_t)((s->srtt_us * 7ull + rtt_us) / 8);
}

/* What the way to the relay loses. Our own requests are all that can tell: what TURN carries has no
 * numbers. Each is counted once, at its first answer, so that a relay that is gone is no loss; and
 * from the first known round trip on, without which a slow way looks like one that loses. (A way
 * that always takes longer than 500 ms, when everything is sent twice, stays unknown.) */
static void session_note_answered(struct session *s, struct txn *t, uint64_t now_ns)
{
    struct counters *c = s->waker.counters;

    if (t->is_answered)
        return;
    t->is_answered = true;
    if (!c || s->is_stream || s->srtt_us == 0)
        return;
    counter_add(&c->upstream_requests, 1);
    counter_add(&c->upstream_retransmissions, txn_n_lost(t, s->srtt_us * NS_PER_US, now_ns));
}

static void session_note_unanswered(struct session *s, const struct txn *t)
{
    if (s->waker.counters && !s->is_stream && !t->is_answered && !t->is_parked)
        counter_add(&s->waker.counters->upstream_unanswered, 1);
}

/* `msg` is NULL when no answer came that could be believed; then `code` is what could not. */
static void session_conclude(struct session *s, struct txn *t, unsigned int code,
                             const struct stun_msg *msg, uint64_t now_ns)
{
    const struct session_kind *kind = t->kind;
    void *subject = t->subject;
    uint64_t sent_ns = t->first_ns;

    if (t->superseded && (!msg || code != 0)) {
        txn_end(&s->txns, t);
        return;
    }
    if (msg && msg->n_unknown > 0)
        code = SESSION_UNUSABLE; /* RFC 8489, sections 6.3.3 and 6.3.4 */
    session_end_request(s, kind, subject);
    if (msg && code == 0)
        kind->on_success(s, subject, msg, sent_ns, now_ns);
    else
        kind->on_failure(s, subject, code, msg, sent_ns, now_ns);
}

/* ---- challenges ---- */

static bool session_is_our_realm(const struct session *s, const struct stun_msg *msg)
{
    size_t len = 0;
    const uint8_t *realm = stun_get(msg, STUN_REALM, &len);

    return realm && len == strlen(s->proof.realm) && memcmp(realm, s->proof.realm, len) == 0;
}

/* The same once more, with the nonce that was just learnt. */
static void session_ask_again(struct session *s, struct txn *t, unsigned int code, uint64_t now_ns)
{
    struct txn *again = session_start(s, t->kind, t->subject, now_ns);

    if (!again)
        return; /* the old one ends in its time */
    again->n_stale = (uint8_t)(t->n_stale + (code == 438));
    again->n_unauthorized = (uint8_t)(t->n_unauthorized + (code == 401));
    t->superseded = true;
}

static void session_on_live_challenge(struct session *s, struct txn *t, unsigned int code,
                                      const struct stun_msg *msg, uint64_t now_ns)
{
    if (t->superseded || t->doubt == 401 || t->doubt == 438 || !session_is_our_realm(s, msg) ||
        cred_take_challenge(s->cred, &s->proof, msg) != 0)
        return;
    if (code == 401 ? t->n_unauthorized < UNAUTHORIZED_MAX : t->n_stale < STALE_MAX)
        session_ask_again(s, t, code, now_ns);
    else
        t->doubt = code;
    txn_doubt(t, GRACE_NS, now_ns);
    session_due_by(s, t->end_ns);
}

static void session_on_opening_challenge(struct session *s, struct txn *t, unsigned int code,
                                         const struct stun_msg *msg, uint64_t now_ns)
{
    bool refused = code == 401 && t->is_signed && s->challenged;
    int r;

    if (refused) {
        cred_forget(s->cred);
        session_fail(s, SESSION_E_CREDENTIALS, code, "the relay refuses this user and password");
        return;
    }
    if (t->n_stale >= STALE_MAX) {
        session_fail(s, SESSION_E_REFUSED, code, "the relay refuses its own nonces");
        return;
    }
    r = cred_take_challenge(s->cred, &s->proof, msg);
    if (r == -ENOMEM) {
        session_fail(s, SESSION_E_MEMORY, 0, "out of memory");
        return;
    }
    if (r < 0) {
        cred_forget(s->cred);
        session_fail(s, SESSION_E_CREDENTIALS, code,
                     "the relay's way to ask for a password is broken, or weaker than before");
        return;
    }
    s->challenged = true;
    session_ask_again(s, t, code, now_ns);
    txn_end(&s->txns, t);
    if (s->txns.n == 0)
        session_fail(s, SESSION_E_MEMORY, 0, "out of memory");
}

/* ---- answers ---- */

/* It does not prove that it is the relay's. */
static void session_on_unproven(struct session *s, struct txn *t, unsigned int code,
                                const struct stun_msg *msg, uint64_t now_ns)
{
    if (code == 0 || t->superseded || t->doubt != 0)
        return;
    t->doubt = code;
    if (s->state != SESSION_OPENING)
        return;
    if (!stun_get_addr(msg, STUN_ALTERNATE_SERVER, &s->alternate))
        s->alternate = (struct addr){0};
    txn_doubt(t, GRACE_NS, now_ns);
    session_due_by(s, t->end_ns);
}

void session_on_answer(struct session *s, const struct stun_msg *msg, uint64_t now_ns)
{
    struct txn *t = txn_match(&s->txns, msg);
    unsigned int code = 0;

    if (!t || (msg->class == STUN_ERROR && !stun_get_error(msg, &code)))
        return;
    session_note_heard(s, now_ns);
    if (code == 401 || code == 438) {
        session_note_rtt(s, t, now_ns);
        session_note_answered(s, t, now_ns);
        if (s->state == SESSION_OPENING)
            session_on_opening_challenge(s, t, code, msg, now_ns);
        else
            session_on_live_challenge(s, t, code, msg, now_ns);
        return;
    }
    if (t->is_signed && !cred_verify(&s->proof, msg)) {
        session_on_unproven(s, t, code, msg, now_ns);
        return;
    }
    session_note_rtt(s, t, now_ns);
    session_note_answered(s, t, now_ns);
    if (!t->is_signed && code == 0)
        session_fail(s, SESSION_E_CREDENTIALS, 0, "the relay asks for no password");
    else
        session_conclude(s, t, code, msg, now_ns);
}

void session_requests_tick(struct session *s, uint64_t now_ns)
{
    struct txn *t;

    while (s->state != SESSION_ENDED && (t = txn_tick(&s->txns, now_ns))) {
        session_note_unanswered(s, t);
        session_conclude(s, t, t->doubt, NULL, now_ns);
    }
}
