/*
 * relay/exit/upstream/ready.c - what is made ahead
 *
 * An allocation takes a handshake and two round trips, a data connection (RFC 6062) a
 * handshake and one. So one of each stands ready, and is made again as soon as it is
 * taken. A ready session refreshes itself; a ready connection says a word now and then,
 * because relays close connections that have nothing to say (ours after a minute), and
 * because one that gets no answer is dead, which nobody should find out by using it.
 *
 * Only what belongs to the relay that find.c chose is kept: the rest is closed at the
 * next look.
 */
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "relay/exit/upstream/upstream_impl.h"

#define READY_KEEPALIVE_NS (20 * NS_PER_S)
#define READY_ANSWER_NS    (5 * NS_PER_S)
#define READY_REFUSED_NS   (5 * NS_PER_S)

/* ---- connections ---- */

static void ready_link_free(struct ready_link *r)
{
    list_remove(&r->link);
    r->x->n_ready_links--;
    link_free(r->to);
    target_unref(r->target);
    free(r);
}

static void ready_link_on_open(void *user)
{
}

static void ready_link_on_message(void *user, const uint8_t *data, size_t len, uint64_t now_ns)
{
    struct ready_link *r = user;

    r->is_owed = false;
}

static void ready_link_on_closed(void *user, int reason, const char *why)
{
    /* Made again by the next look, which a relay that is gone does not see at once. */
    ready_link_free(user);
}

static const struct link_events ready_link_events = {
    .on_open = ready_link_on_open,
    .on_message = ready_link_on_message,
    .on_closed = ready_link_on_closed,
};

static bool ready_make_link(struct upstream *x, struct target *target, uint64_t now_ns)
{
    struct ready_link *r = calloc(1, sizeof(*r));

    if (!r)
        return false;
    if (target_link(target, &ready_link_events, r, &r->to) < 0) {
        free(r);
        return false;
    }
    r->x = x;
    r->target = target_ref(target);
    r->said_ns = now_ns;
    list_append(&x->ready_links, &r->link);
    x->n_ready_links++;
    return true;
}

static bool target_same_server(const struct target *a, const struct target *b)
{
    return a->kind == b->kind && addr_equal(&a->server, &b->server);
}

struct link *ready_take_link(struct upstream *x, const struct target *target)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->ready_links) {
        struct ready_link *r = list_entry(it, struct ready_link, link);
        struct link *to = r->to;

        if (!link_is_open(to) || r->is_owed || !target_same_server(r->target, target))
            continue;
        r->to = NULL;
        ready_link_free(r);
        upstream_wake(x);
        return to;
    }
    return NULL;
}

/* A Binding request needs no credentials, and any answer will do. */
static void ready_say_something(struct ready_link *r, uint64_t now_ns)
{
    uint8_t buf[STUN_HEADER_LEN], txid[STUN_TXID_LEN];
    struct stun_builder b;
    size_t len;

    if (!link_is_open(r->to) || now_ns - r->said_ns < READY_KEEPALIVE_NS ||
        RAND_bytes(txid, sizeof(txid)) != 1)
        return;
    stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, txid);
    len = stun_finish(&b);
    (void)link_send_copy(r->to, buf, len);
    r->said_ns = now_ns;
    r->is_owed = true;
}

static void ready_fill_links(struct upstream *x, uint64_t now_ns)
{
    struct find *f = &x->streams;
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->ready_links) {
        struct ready_link *r = list_entry(it, struct ready_link, link);

        if (f->state != UPSTREAM_READY || !target_same_server(r->target, f->current) ||
            (r->is_owed && now_ns - r->said_ns >= READY_ANSWER_NS))
            ready_link_free(r);
        else if (!way_fails(x, r->to))
            ready_say_something(r, now_ns);
    }
    while (f->state == UPSTREAM_READY && x->n_ready_links < x->params.n_ready_links)
        if (!ready_make_link(x, f->current, now_ns))
            return;
}

/* ---- sessions ---- */

static void ready_session_free(struct ready_session *r)
{
    list_remove(&r->link);
    r->carrier.x->n_ready_sessions--;
    carrier_close(&r->carrier);
    free(r);
}

static void ready_on_live(void *user, const struct assoc_opened *opened)
{
    upstream_wake(((struct ready_session *)user)->carrier.x);
}

static void ready_on_ended(void *user, const struct session_ended *ended)
{
    struct ready_session *r = user;
    struct upstream *x = r->carrier.x;
    struct target *target = target_ref(r->carrier.target);

    share_refused(x, ended, clock_now_ns());
    ready_session_free(r);
    if (ended->end == SESSION_E_REFUSED)
        x->no_ready_until_ns = clock_now_ns() + READY_REFUSED_NS;
    find_failed(&x->datagrams, target, ended);
    target_unref(target);
}

/* It has given nobody a permission. */
static void ready_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                              uint64_t now_ns)
{
}

static void ready_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
}

static const struct session_events ready_events = {
    .on_live = ready_on_live,
    .on_ended = ready_on_ended,
    .on_datagram = ready_on_datagram,
    .on_icmp = ready_on_icmp,
};

static struct ready_session *ready_session_new(struct upstream *x)
{
    struct ready_session *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    carrier_init(&r->carrier, x);
    list_append(&x->ready_sessions, &r->link);
    x->n_ready_sessions++;
    return r;
}

void ready_put_session(struct upstream *x, struct carrier *from)
{
    struct ready_session *r = ready_session_new(x);

    if (r)
        carrier_move(&r->carrier, from, &ready_events, r);
}

bool ready_take_session(struct upstream *x, const struct session_want *want, struct carrier *c,
                        const struct session_events *events, void *user)
{
    struct list *it, *tmp;

    if (want->tcp || want->even_port || want->reserve || want->has_token)
        return false;
    list_for_each_safe (it, tmp, &x->ready_sessions) {
        struct ready_session *r = list_entry(it, struct ready_session, link);
        const struct assoc_opened *opened;

        if (!session_is_live(r->carrier.session))
            continue;
        opened = session_opened(r->carrier.session);
        /* All that was asked for; of two families the relay may have one only, and a new session
         * would get no more. */
        if ((want->v4 && opened->relayed_v4.family == ADDR_NONE) ||
            (want->v6 && !want->v4 && opened->relayed_v6.family == ADDR_NONE))
            continue;
        carrier_move(c, &r->carrier, events, user);
        ready_session_free(r);
        upstream_wake(x);
        return true;
    }
    return false;
}

static void ready_fill_sessions(struct upstream *x, uint64_t now_ns)
{
    static const struct session_want want = {.v4 = true, .v6 = true, .mobile = true};
    struct find *f = &x->datagrams;
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->ready_sessions) {
        struct ready_session *r = list_entry(it, struct ready_session, link);

        if (f->state != UPSTREAM_READY || !target_same_server(r->carrier.target, f->current))
            ready_session_free(r);
    }
    while (f->state == UPSTREAM_READY && now_ns >= x->no_ready_until_ns &&
           x->n_ready_sessions < x->params.n_ready_sessions && share_has_room(x, now_ns)) {
        struct ready_session *r = ready_session_new(x);

        if (!r)
            return;
        if (carrier_open(&r->carrier, f->current, &want, &ready_events, r) < 0) {
            ready_session_free(r);
            return;
        }
    }
}

/* ---- both ---- */

void ready_fill(struct upstream *x, uint64_t now_ns)
{
    ready_fill_sessions(x, now_ns);
    ready_fill_links(x, now_ns);
    if (x->streams.state == UPSTREAM_READY && trunk_count(x, ADDR_IPV4) < x->params.n_ready_trunks)
        trunk_make(x, ADDR_IPV4, 1, now_ns);
}

void ready_clear(struct upstream *x)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->ready_links)
        ready_link_free(list_entry(it, struct ready_link, link));
    list_for_each_safe (it, tmp, &x->ready_sessions)
        ready_session_free(list_entry(it, struct ready_session, link));
}
