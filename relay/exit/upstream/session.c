/*
 * The life of a session: its link's events, its ticks, its end.
 *
 * Times are kept where they belong (transactions, permissions, channels) and looked
 * through at each tick, which comes every few seconds; between two ticks a new date can
 * only bring the next one forward (session_due_by()). Nothing of this touches the path of
 * a datagram.
 */
#include "relay/exit/upstream/session.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire/channel.h"
#include "relay/exit/upstream/session_impl.h"

#define SESSION_OPEN_NS (30 * NS_PER_S) /* for the link to open; most give up themselves */

/* ---- entering and leaving ---- */

void session_enter(struct session *s)
{
    s->depth++;
}

static void session_delete(struct session *s)
{
    txn_set_deinit(&s->txns);
    session_connects_deinit(s);
    session_peers_deinit(s);
    link_free(s->link);
    OPENSSL_cleanse(&s->proof, sizeof(s->proof));
    free(s);
}

void session_leave(struct session *s)
{
    if (--s->depth > 0)
        return;
    if (s->freed) {
        session_delete(s);
        return;
    }
    if (s->state == SESSION_ENDED || s->due_ns >= s->told_ns)
        return;
    s->told_ns = s->due_ns;
    s->waker.wake(s->waker.arg, s->due_ns);
}

void session_due_by(struct session *s, uint64_t at_ns)
{
    if (at_ns < s->due_ns)
        s->due_ns = at_ns;
}

/* ---- the end ---- */

void session_end(struct session *s, const struct session_ended *ended)
{
    if (s->state == SESSION_ENDED)
        return;
    s->state = SESSION_ENDED;
    s->due_ns = SESSION_NEVER;
    txn_set_deinit(&s->txns);
    s->events->on_ended(s->user, ended);
}

void session_fail(struct session *s, enum session_end end, unsigned int code, const char *format,
                  ...)
{
    struct session_ended ended = {.end = end, .code = code};
    va_list args;

    va_start(args, format);
    vsnprintf(ended.why, sizeof(ended.why), format, args);
    va_end(args);
    session_end(s, &ended);
}

/* ---- the link ---- */

static void session_on_open(void *user)
{
    struct session *s = user;

    session_enter(s);
    if (s->state == SESSION_OPENING && s->txns.n == 0)
        session_allocate(s, clock_now_ns());
    else if (s->state == SESSION_MOVING)
        session_move_ask(s, clock_now_ns());
    session_leave(s);
}

static void session_on_stun(struct session *s, const uint8_t *data, size_t len, uint64_t now_ns)
{
    struct stun_msg msg;

    if (stun_decode(&msg, data, len) != 0)
        return;
    if (msg.class == STUN_SUCCESS || msg.class == STUN_ERROR)
        session_on_answer(s, &msg, now_ns);
    else if (msg.class == STUN_INDICATION && msg.method == STUN_DATA)
        session_on_data(s, &msg, now_ns);
    else if (msg.class == STUN_INDICATION && msg.method == STUN_CONNECTION_ATTEMPT)
        session_on_attempt(s, &msg);
}

static void session_on_message(void *user, const uint8_t *data, size_t len, uint64_t now_ns)
{
    struct session *s = user;

    if (s->state == SESSION_ENDED || len == 0)
        return;
    session_enter(s);
    switch (wire_kind_of(data[0])) {
    case WIRE_CHANNEL:
        session_on_channel_data(s, data, len, now_ns);
        break;
    case WIRE_STUN:
        session_on_stun(s, data, len, now_ns);
        break;
    case WIRE_DTLS:
    case WIRE_OTHER:
        break;
    }
    session_leave(s);
}

static void session_on_closed(void *user, int reason, const char *why)
{
    struct session *s = user;
    struct session_ended ended = {.end = SESSION_E_LINK, .reason = reason};

    snprintf(ended.why, sizeof(ended.why), "%s", why ? why : "the connection is closed");
    session_enter(s);
    session_lose_way(s, &ended, clock_now_ns());
    session_leave(s);
}

const struct link_events session_link_events = {
    .on_open = session_on_open,
    .on_message = session_on_message,
    .on_closed = session_on_closed,
};

void session_note_sent(struct session *s, uint64_t now_ns)
{
    s->sent_ns = now_ns;
    if (s->unheard_ns != 0)
        return;
    s->unheard_ns = now_ns;
    if (s->state == SESSION_LIVE)
        session_due_by(s, session_allocate_due_ns(s));
}

void session_note_heard(struct session *s, uint64_t now_ns)
{
    s->heard_ns = now_ns;
    s->unheard_ns = 0;
}

/* ---- life ---- */

static void session_init(struct session *s, struct link *link, struct cred *cred,
                         const struct session_want *want, uint64_t now_ns)
{
    s->link = link;
    s->cred = cred;
    s->want = *want;
    s->is_stream = link_kind_is_stream(link_kind(link));
    s->proof = cred->proof;
    s->ask_v4 = want->v4;
    s->ask_v6 = want->v6;
    s->ask_ticket = want->mobile && !want->tcp && !cred->no_mobility;
    /* Not over a stream: erlang-p1-stun closes one after the 420 it answers with. */
    s->ask_dont_fragment = !want->tcp && !s->is_stream;
    s->open_by_ns = now_ns + SESSION_OPEN_NS;
    s->due_ns = s->told_ns = s->open_by_ns;
    txn_set_init(&s->txns, link);
    list_init(&s->connects);
}

struct session *session_new(struct link *link, struct cred *cred, const struct session_want *want,
                            const struct session_waker *waker, const struct session_events *events,
                            void *user, uint64_t now_ns)
{
    struct session *s = calloc(1, sizeof(*s));

    if (!s || session_peers_init(s) < 0 ||
        RAND_bytes((unsigned char *)&s->indication_salt, sizeof(s->indication_salt)) != 1) {
        link_free(link);
        if (s)
            session_peers_deinit(s);
        free(s);
        return NULL;
    }
    s->waker = *waker;
    s->events = events;
    s->user = user;
    session_init(s, link, cred, want, now_ns);
    link_set_events(link, &session_link_events, s);
    /* The owner asks for the date when it has the session; a wake() before that would be about
     * something it does not know. */
    if (link_is_open(link))
        session_due_by(s, now_ns);
    s->told_ns = s->due_ns;
    return s;
}

void session_set_events(struct session *s, const struct session_events *events, void *user)
{
    s->events = events;
    s->user = user;
}

void session_free(struct session *s, uint64_t now_ns)
{
    if (!s)
        return;
    session_enter(s);
    if (s->state == SESSION_LIVE)
        session_deallocate(s);
    s->state = SESSION_ENDED;
    s->freed = true;
    txn_set_deinit(&s->txns);
    link_free(s->link);
    s->link = NULL;
    session_leave(s);
}

/* ---- time ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void session_count_due(struct session *s, uint64_t now_ns)
{
    if (s->state == SESSION_ENDED) {
        s->due_ns = SESSION_NEVER;
        return;
    }
    s->due_ns = txn_due_ns(&s->txns);
    if (s->state == SESSION_LIVE)
        s->due_ns =
            earlier(s->due_ns, earlier(session_allocate_due_ns(s), session_peers_due_ns(s)));
    else if (s->state == SESSION_MOVING)
        s->due_ns = earlier(s->due_ns, session_move_due_ns(s, now_ns));
    else if (s->txns.n == 0)
        s->due_ns = s->open_by_ns;
}

/* A link that was open when it was handed over is used from the first tick on. */
static void session_opening_tick(struct session *s, uint64_t now_ns)
{
    if (s->txns.n > 0)
        return;
    if (link_is_open(s->link))
        session_allocate(s, now_ns);
    else if (now_ns >= s->open_by_ns)
        session_fail(s, SESSION_E_TIMEOUT, 0, "the relay cannot be reached");
}

uint64_t session_tick(struct session *s, uint64_t now_ns)
{
    uint64_t due_ns;

    session_enter(s);
    session_requests_tick(s, now_ns);
    if (s->state == SESSION_OPENING)
        session_opening_tick(s, now_ns);
    if (s->state == SESSION_MOVING)
        session_move_tick(s, now_ns);
    if (s->state == SESSION_LIVE)
        session_allocate_tick(s, now_ns);
    if (s->state == SESSION_LIVE)
        session_peers_tick(s, now_ns);
    session_count_due(s, now_ns);
    due_ns = s->told_ns = s->due_ns;
    session_leave(s);
    return due_ns;
}

uint64_t session_due_ns(const struct session *s)
{
    return s->due_ns;
}

bool session_is_live(const struct session *s)
{
    return s->state == SESSION_LIVE;
}

const struct assoc_opened *session_opened(const struct session *s)
{
    return &s->opened;
}

const struct cred_proof *session_proof(const struct session *s)
{
    return &s->proof;
}

struct link *session_link(struct session *s)
{
    return s->link;
}

uint32_t session_rtt_us(const struct session *s)
{
    return s->srtt_us;
}

uint64_t session_silent_ns(const struct session *s, uint64_t now_ns)
{
    return s->unheard_ns != 0 ? now_ns - s->unheard_ns : 0;
}
