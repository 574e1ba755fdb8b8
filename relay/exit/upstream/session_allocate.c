/*
 * Allocate, and the Refresh that keeps the allocation and shows that the relay is there.
 *
 * One kind of request serves three ends in a LIVE session: the lifetime (a minute before it
 * ends), the NAT's binding and the round trip (20 s after the last packet of ours), and the
 * question whether anybody is there (six seconds after a packet to which nothing at all has
 * come back). It is a Refresh and not a Binding, because a relay that was restarted answers
 * a Binding as if nothing had happened, and to a Refresh says 437.
 *
 * Two of them without an answer, and without anything else heard meanwhile, and the relay is
 * given up: 16 s after the silence began, 20 s over a stream, whose output may queue. One is
 * enough, 11 s and 13 s, where the allocation can go on over another way (session_move.c): then
 * nothing is lost by a mistake, and a NAT that has forgotten us is what it mostly is.
 *
 * While datagrams flow, none of these has a reason to be sent, and nobody would know how the way
 * is just when a call depends on it. So with a busy peer there are samples, every two seconds:
 * Refreshes as well, for the same reason, beside the others and without a say in what the relay
 * is given up for. A minute of a call is thirty of them. A sample and its answer are some 350
 * bytes: less than two kbit/s, where the smallest audio call has fifty packets a second.
 */
#include <string.h>

#include "common/base/cursor.h"
#include "relay/exit/upstream/session_impl.h"

#define PROTO_UDP (17u << 24) /* REQUESTED-TRANSPORT */
#define PROTO_TCP (6u << 24)
#define IPV4      (0x01u << 24) /* REQUESTED-ADDRESS-FAMILY */
#define IPV6      (0x02u << 24)

#define REFRESH_AHEAD_S  60
#define SILENCE_NS       (6 * NS_PER_S)
#define KEEPALIVE_NS     (20 * NS_PER_S)
#define PROBE_NS         (5 * NS_PER_S)
#define STREAM_PROBE_NS  (7 * NS_PER_S)
#define SAMPLE_NS        (2 * NS_PER_S)
#define SAMPLE_WAIT_NS   (4 * NS_PER_S)
#define UNHEARD_MAX      2
#define UNAUTHORIZED_MAX 2
#define RETRY_NS         (3 * NS_PER_S)
#define LIFETIME_MAX_S   (7u * 24 * 3600) /* nobody means more; keeps the arithmetic small */

/* ---- Allocate ---- */

static void allocate_put(struct session *s, const void *subject, struct stun_builder *b)
{
    static const uint8_t even = 0x00, even_and_next = 0x80;

    stun_put_u32(b, STUN_REQUESTED_TRANSPORT, s->want.tcp ? PROTO_TCP : PROTO_UDP);
    if (s->want.has_token) {
        /* The reserved port says the family (RFC 8656, section 7.1). */
        stun_put(b, STUN_RESERVATION_TOKEN, s->want.token, sizeof(s->want.token));
    } else if (s->ask_v4 && s->ask_v6) {
        stun_put_u32(b, STUN_ADDITIONAL_ADDRESS_FAMILY, IPV6);
    } else if (s->ask_v6) {
        stun_put_u32(b, STUN_REQUESTED_ADDRESS_FAMILY, IPV6);
    }
    if (s->want.even_port && !s->want.has_token)
        stun_put(b, STUN_EVEN_PORT, s->want.reserve ? &even_and_next : &even, 1);
    /* Whether the relay can: a Send indication that asked in vain would vanish. */
    if (s->ask_dont_fragment)
        stun_put(b, STUN_DONT_FRAGMENT, NULL, 0);
    if (s->ask_ticket)
        stun_put(b, STUN_MOBILITY_TICKET, NULL, 0); /* RFC 8016, section 3.1.1 */
}

/* The relayed address of one family among those of the answer. */
static bool relayed_of(const struct stun_msg *msg, enum addr_family family, struct addr *ret)
{
    struct addr addr;

    for (unsigned int i = 0; stun_get_addr_nth(msg, STUN_XOR_RELAYED_ADDRESS, i, &addr); i++) {
        if (addr.family == family && addr.port != 0 && !addr_is_any(&addr)) {
            *ret = addr;
            return true;
        }
    }
    return false;
}

/* ADDRESS-ERROR-CODE says why IPv6 is missing; a relay that does not know ADDITIONAL-ADDRESS-FAMILY
 * says nothing. */
static enum exit_result missing_family(const struct stun_msg *msg)
{
    uint32_t value;

    if (!stun_get_u32(msg, STUN_ADDRESS_ERROR_CODE, &value))
        return EXIT_E_FAMILY;
    return (value >> 8 & 7) == 4 && (value & 0xFF) == 40 ? EXIT_E_FAMILY : EXIT_E_CAPACITY;
}

static void read_opened(const struct session *s, const struct stun_msg *msg,
                        struct assoc_opened *ret)
{
    size_t len;
    const uint8_t *token = stun_get(msg, STUN_RESERVATION_TOKEN, &len);

    *ret = (struct assoc_opened){.result_v4 = s->lost_v4, .result_v6 = s->lost_v6};
    if (s->ask_v4 && !relayed_of(msg, ADDR_IPV4, &ret->relayed_v4))
        ret->result_v4 = missing_family(msg);
    if (s->ask_v6 && !relayed_of(msg, ADDR_IPV6, &ret->relayed_v6))
        ret->result_v6 = missing_family(msg);
    if (s->want.reserve && token) {
        ret->has_token = true;
        memcpy(ret->token, token, sizeof(ret->token));
    }
}

/* A lifetime counts from when it was asked for: then we never believe in it longer than the
 * relay does. */
static void set_lifetime(struct session *s, uint32_t lifetime_s, uint64_t sent_ns)
{
    uint64_t life_ns;

    if (lifetime_s > LIFETIME_MAX_S)
        lifetime_s = LIFETIME_MAX_S;
    life_ns = lifetime_s * NS_PER_S;
    s->expires_ns = sent_ns + life_ns;
    s->refresh_ns = lifetime_s >= 3 * REFRESH_AHEAD_S ? s->expires_ns - REFRESH_AHEAD_S * NS_PER_S
                                                      : sent_ns + life_ns / 3 * 2;
}

static void allocate_on_success(struct session *s, void *subject, const struct stun_msg *msg,
                                uint64_t sent_ns, uint64_t now_ns)
{
    struct assoc_opened opened;
    uint32_t lifetime_s;

    read_opened(s, msg, &opened);
    if ((opened.relayed_v4.family == ADDR_NONE && opened.relayed_v6.family == ADDR_NONE) ||
        !stun_get_u32(msg, STUN_LIFETIME, &lifetime_s) || lifetime_s == 0) {
        session_fail(s, SESSION_E_REFUSED, 0, "the relay's answer names no address or lifetime");
        return;
    }
    s->opened = opened;
    s->has_dont_fragment = s->ask_dont_fragment;
    s->state = SESSION_LIVE;
    session_take_ticket(s, msg);
    set_lifetime(s, lifetime_s, sent_ns);
    session_due_by(s, session_allocate_due_ns(s));
    if (s->waker.counters)
        histogram_add(&s->waker.counters->upstream_allocation_time,
                      (now_ns - s->asked_ns) / NS_PER_US);
    s->events->on_live(s->user, &s->opened);
}

/* ---- Allocate refused ---- */

static const struct {
    unsigned int code;
    const char *text;
} refusals[] = {
    {0, "the relay does not answer"},
    {SESSION_UNUSABLE, "the relay's answer says things that are not known here"},
    {400, "the relay takes our request for malformed"},
    {403, "the relay forbids this user to use it"},
    {405, "the relay does not offer mobility"},
    {420, "the relay does not know what was asked for"},
    {437, "the relay has another allocation on this connection"},
    {440, "the relay has no address of that family"},
    {441, "the relay has this connection down as another user's"},
    {442, "the relay does not relay this transport"},
    {486, "the relay's quota for this user is used up"},
    {500, "the relay has an internal error"},
    {508, "the relay is full"},
};

static const char *refusal_text(unsigned int code)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        if (refusals[i].code == code)
            return refusals[i].text;
    return "the relay refuses";
}

/* Whether a 420 is about this attribute; one that names none may be. */
static bool names_unknown(const struct stun_msg *msg, enum stun_attr attr)
{
    size_t len = 0;
    const uint8_t *list = msg ? stun_get(msg, STUN_UNKNOWN_ATTRIBUTES, &len) : NULL;
    struct reader r = reader_make(list, len);

    if (len == 0)
        return true;
    while (reader_left(&r) >= 2)
        if (reader_u16(&r) == stun_attrs[attr].type)
            return true;
    return false;
}

/* Asks for less, where that may help. Return: whether there was less to ask for. */
static bool allocate_less(struct session *s, unsigned int code, const struct stun_msg *msg)
{
    if (code == 420 && s->ask_dont_fragment && names_unknown(msg, STUN_DONT_FRAGMENT)) {
        s->ask_dont_fragment = false;
        return true;
    }
    if (code == 405 && s->ask_ticket) {
        /* What it has said with a proof is good for the sessions that come. */
        s->cred->no_mobility = s->cred->no_mobility || msg;
        s->ask_ticket = false;
        return true;
    }
    if (code != 440 || !s->want.v4 || !s->want.v6)
        return false;
    if (s->ask_v4 && s->ask_v6) {
        s->ask_v6 = false;
        s->lost_v6 = EXIT_E_FAMILY;
        return true;
    }
    if (s->ask_v4) {
        s->ask_v4 = false;
        s->ask_v6 = true;
        s->lost_v4 = EXIT_E_FAMILY;
        s->lost_v6 = EXIT_OK;
        return true;
    }
    return false;
}

/* Whoever is sent elsewhere shows the other server who asks, and lets it carry the call: only the
 * relay itself may do that. Nobody else speaks within TLS or DTLS; in the clear, `msg` is what
 * proved the password, and a first Allocate without credentials has no such answer. */
static bool may_redirect(const struct session *s, const struct stun_msg *msg)
{
    enum link_kind kind = link_kind(s->link);

    return kind == LINK_TLS || kind == LINK_DTLS || (msg && s->proof.key_len > 0);
}

static void redirect(struct session *s, const struct stun_msg *msg)
{
    struct session_ended ended = {.end = SESSION_E_REDIRECTED, .code = 300};
    static const char why[] = "the relay sends us to another server";

    ended.alternate = s->alternate;
    if (msg && !stun_get_addr(msg, STUN_ALTERNATE_SERVER, &ended.alternate))
        ended.alternate = (struct addr){0};
    memcpy(ended.why, why, sizeof(why));
    if (!may_redirect(s, msg))
        session_fail(s, SESSION_E_REFUSED, 300,
                     "somebody sends us to another server, and does not prove to be the relay");
    else if (ended.alternate.family == ADDR_NONE)
        session_fail(s, SESSION_E_REFUSED, 300, "the relay sends us away, and not to where");
    else
        session_end(s, &ended);
}

static void allocate_on_failure(struct session *s, void *subject, unsigned int code,
                                const struct stun_msg *msg, uint64_t sent_ns, uint64_t now_ns)
{
    if (allocate_less(s, code, msg)) {
        session_allocate(s, now_ns);
        return;
    }
    if (code == 300)
        redirect(s, msg);
    else
        session_fail(s,
                     code == 0                    ? SESSION_E_TIMEOUT
                     : code == 437 || code == 441 ? SESSION_E_LOST
                                                  : SESSION_E_REFUSED,
                     code == SESSION_UNUSABLE ? 0 : code, "%s", refusal_text(code));
}

static const struct session_kind allocate_kind = {
    .method = STUN_ALLOCATE,
    .put = allocate_put,
    .on_success = allocate_on_success,
    .on_failure = allocate_on_failure,
};

void session_allocate(struct session *s, uint64_t now_ns)
{
    if (s->asked_ns == 0)
        s->asked_ns = now_ns;
    if (!session_ask(s, &allocate_kind, NULL, now_ns))
        session_fail(s, SESSION_E_MEMORY, 0, "a request could not be made");
}

/* ---- Refresh ---- */

static void refresh_put(struct session *s, const void *subject, struct stun_builder *b)
{
    /* Without LIFETIME the relay's default is asked for, as Allocate did. */
}

void session_refreshed(struct session *s, const struct stun_msg *msg, uint64_t sent_ns,
                       uint64_t now_ns)
{
    uint32_t lifetime_s;

    s->n_unheard = s->n_unauthorized = 0;
    if (!stun_get_u32(msg, STUN_LIFETIME, &lifetime_s)) {
        s->refresh_ns = now_ns + RETRY_NS;
        return;
    }
    if (lifetime_s == 0) {
        session_fail(s, SESSION_E_LOST, 0, "the relay has ended the allocation");
        return;
    }
    set_lifetime(s, lifetime_s, sent_ns);
    session_due_by(s, session_allocate_due_ns(s));
}

static void refresh_on_success(struct session *s, void *subject, const struct stun_msg *msg,
                               uint64_t sent_ns, uint64_t now_ns)
{
    s->refreshing = false;
    session_refreshed(s, msg, sent_ns, now_ns);
}

static void refresh_unanswered(struct session *s, uint64_t sent_ns, uint64_t now_ns)
{
    static const struct session_ended silence = {.end = SESSION_E_TIMEOUT,
                                                 .why = "the relay does not answer any more"};

    if (s->heard_ns >= sent_ns) {
        s->refresh_ns = now_ns;
        return;
    }
    if (++s->n_unheard >= (session_can_move(s, now_ns) ? 1 : UNHEARD_MAX))
        session_lose_way(s, &silence, now_ns);
    else
        s->refresh_ns = now_ns;
}

static void refresh_on_failure(struct session *s, void *subject, unsigned int code,
                               const struct stun_msg *msg, uint64_t sent_ns, uint64_t now_ns)
{
    s->refreshing = false;
    if (code == 0) {
        refresh_unanswered(s, sent_ns, now_ns);
    } else if (code == 437 || code == 441) {
        session_fail(s, SESSION_E_LOST, code, "the relay has forgotten the allocation");
    } else if (code == 401 && ++s->n_unauthorized >= UNAUTHORIZED_MAX) {
        cred_forget(s->cred);
        session_fail(s, SESSION_E_CREDENTIALS, code, "the relay refuses this user now");
    } else {
        s->n_unheard = 0;
        s->refresh_ns = now_ns + RETRY_NS;
    }
    if (s->state == SESSION_LIVE)
        session_due_by(s, session_allocate_due_ns(s));
}

static const struct session_kind refresh_kind = {
    .method = STUN_REFRESH,
    .patience_ns = PROBE_NS,
    .stream_patience_ns = STREAM_PROBE_NS,
    .put = refresh_put,
    .on_success = refresh_on_success,
    .on_failure = refresh_on_failure,
};

void session_refresh(struct session *s, uint64_t now_ns)
{
    s->refreshing = session_ask(s, &refresh_kind, NULL, now_ns);
    if (!s->refreshing) {
        s->refresh_ns = now_ns + RETRY_NS;
        s->sent_ns = now_ns;
        s->unheard_ns = 0;
    }
}

void session_refresh_forget(struct session *s)
{
    txn_end_subject(&s->txns, NULL); /* of what is asked while LIVE, only these are about nothing */
    s->refreshing = s->sampling = false;
}

/* ---- samples of the way, while it is used ---- */

static void sample_on_success(struct session *s, void *subject, const struct stun_msg *msg,
                              uint64_t sent_ns, uint64_t now_ns)
{
    s->sampling = false;
    session_refreshed(s, msg, sent_ns, now_ns);
}

/* What the answer means for the allocation is for a Refresh to find out that is sent for that. */
static void sample_on_failure(struct session *s, void *subject, unsigned int code,
                              const struct stun_msg *msg, uint64_t sent_ns, uint64_t now_ns)
{
    s->sampling = false;
    if (code != 0)
        session_probe(s, now_ns);
}

static const struct session_kind sample_kind = {
    .method = STUN_REFRESH,
    .patience_ns = SAMPLE_WAIT_NS,
    .stream_patience_ns = SAMPLE_WAIT_NS,
    .put = refresh_put,
    .on_success = sample_on_success,
    .on_failure = sample_on_failure,
};

/* Whatever a busy peer was sent or has sent since the last one asks for another. */
static uint64_t sample_due_ns(const struct session *s)
{
    if (s->sampling || session_peers_busy_ns(s) <= s->sampled_ns)
        return SESSION_NEVER;
    return s->sampled_ns + SAMPLE_NS;
}

static void sample_tick(struct session *s, uint64_t now_ns)
{
    if (now_ns < sample_due_ns(s))
        return;
    s->sampled_ns = now_ns;
    s->sampling = session_ask(s, &sample_kind, NULL, now_ns);
}

/* ---- when ---- */

static uint64_t question_due_ns(const struct session *s)
{
    uint64_t due = s->refresh_ns;

    if (s->unheard_ns != 0 && s->unheard_ns + SILENCE_NS < due)
        due = s->unheard_ns + SILENCE_NS;
    if (s->sent_ns + KEEPALIVE_NS < due)
        due = s->sent_ns + KEEPALIVE_NS;
    if (s->refreshing || s->expires_ns < due)
        due = s->expires_ns;
    return due;
}

uint64_t session_allocate_due_ns(const struct session *s)
{
    uint64_t question_ns = question_due_ns(s), sample_ns = sample_due_ns(s);

    return sample_ns < question_ns ? sample_ns : question_ns;
}

void session_allocate_tick(struct session *s, uint64_t now_ns)
{
    if (now_ns >= s->expires_ns) {
        session_fail(s, SESSION_E_TIMEOUT, 0, "the allocation ended without an answer");
        return;
    }
    sample_tick(s, now_ns);
    if (!s->refreshing && now_ns >= question_due_ns(s))
        session_refresh(s, now_ns);
}

void session_probe(struct session *s, uint64_t now_ns)
{
    if (s->state != SESSION_LIVE || s->refreshing || s->refresh_ns <= now_ns)
        return;
    session_enter(s);
    s->refresh_ns = now_ns;
    session_due_by(s, now_ns);
    session_leave(s);
}

static void deallocate_put(struct session *s, const void *subject, struct stun_builder *b)
{
    stun_put_u32(b, STUN_LIFETIME, 0);
}

void session_deallocate(struct session *s)
{
    static const struct session_kind kind = {.method = STUN_REFRESH, .put = deallocate_put};
    uint8_t buf[SESSION_MESSAGE];
    size_t len = session_build(s, &kind, NULL, buf, sizeof(buf));

    if (len > 0)
        (void)link_send_copy(s->link, buf, len);
}
