/*
 * relay/exit/upstream/dial.c - a stream to a peer: Connect, then ConnectionBind (RFC 6062)
 *
 * Each step that fails for a reason of the trunk's (it is lost, or has a connection to
 * that peer already that we did not know of) is tried again on another; a reason of
 * the peer's is the answer.
 *
 * A peer may take its time (DIAL_TOTAL_NS), the relay may not: DIAL_RELAY_NS to be
 * found, as much without a sign of life from it while Connect is on its way, and as
 * much for ConnectionBind, which concerns no peer.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/net/stream.h"
#include "relay/exit/upstream/upstream_impl.h"

#define DIAL_RELAY_NS  (10 * NS_PER_S)
#define DIAL_TRUNK_NS  (2 * NS_PER_S) /* more, with a relay that was found late */
#define DIAL_TOTAL_NS  (75 * NS_PER_S)
#define DIAL_TRIES_MAX 5

/* ---- life ---- */

/* `cool`: the trunk may have a connection to the peer. */
static void dial_leave_trunk(struct dial *d, bool cool)
{
    carrier_close(&d->carrier);
    trunk_release(d->use, cool, clock_now_ns());
    d->use = NULL;
    list_remove(&d->on_trunk);
    d->trunk = NULL;
    d->state = DIAL_WAITING;
}

static void dial_free(struct dial *d, bool cool)
{
    dial_leave_trunk(d, cool);
    list_remove(&d->link);
    free(d);
}

static void dial_finish(struct dial *d, enum exit_result result, struct stream *stream,
                        const struct addr *relayed)
{
    static const struct addr none;
    exit_on_dialed *on_dialed = d->on_dialed;
    void *user = d->user;
    struct upstream *x = d->x;
    bool was_bound = d->state == DIAL_BINDING;

    dial_free(d, was_bound);
    on_dialed(user, result, stream, relayed ? relayed : &none);
    upstream_wake(x);
}

int dial_start(struct exit *e, const struct addr *peer, exit_on_dialed *on_dialed, void *user,
               struct dial **ret)
{
    struct upstream *x = upstream_of(e);
    struct dial *d = calloc(1, sizeof(*d));
    uint64_t now_ns = clock_now_ns();

    if (!d)
        return -ENOMEM;
    d->x = x;
    d->peer = *peer;
    d->on_dialed = on_dialed;
    d->user = user;
    d->relay_until_ns = now_ns + DIAL_RELAY_NS;
    d->until_ns = now_ns + DIAL_TOTAL_NS;
    list_init(&d->on_trunk);
    carrier_init(&d->carrier, x);
    list_append(&x->dials, &d->link);
    *ret = d;
    upstream_wake(x);
    return 0;
}

void dial_hang_up(struct dial *d)
{
    if (d)
        dial_free(d, d->state != DIAL_WAITING);
}

/* ---- the steps ---- */

/* Back to the start, or the end after too many. */
static void dial_again(struct dial *d, enum exit_result why)
{
    if (d->trunk || d->state != DIAL_WAITING)
        dial_leave_trunk(d, true);
    if (++d->n_tries >= DIAL_TRIES_MAX || clock_now_ns() >= d->relay_until_ns)
        dial_finish(d, why, NULL, NULL);
    else
        upstream_wake(d->x);
}

static void dial_connect(struct dial *d, struct trunk *t, uint64_t now_ns)
{
    enum exit_result result;

    d->use = trunk_hold(t, &d->peer);
    if (!d->use) {
        dial_finish(d, EXIT_E_CAPACITY, NULL, NULL);
        return;
    }
    d->trunk = t;
    d->id = ++d->x->next_dial_id;
    d->state = DIAL_CONNECTING;
    list_append(&t->dials, &d->on_trunk);
    result = session_connect(t->carrier.session, &d->peer, d->id, now_ns);
    if (result == EXIT_E_DUPLICATE || result == EXIT_E_CAPACITY)
        dial_again(d, result);
    else if (result != EXIT_OK)
        dial_finish(d, result, NULL, NULL);
}

static void dial_on_bound(void *user, enum exit_result result, struct stream *stream)
{
    struct dial *d = user;
    struct trunk *t = d->trunk;
    struct addr relayed = {0};

    if (result != EXIT_OK) {
        dial_again(d, EXIT_E_DOWN);
        return;
    }
    if (session_is_live(t->carrier.session)) {
        const struct assoc_opened *opened = session_opened(t->carrier.session);

        relayed = d->peer.family == ADDR_IPV6 ? opened->relayed_v6 : opened->relayed_v4;
    }
    trunk_follow(d->use, stream);
    d->use = NULL; /* the stream's from now on */
    dial_finish(d, EXIT_OK, stream, &relayed);
}

static struct dial *dial_find(struct trunk *t, uint32_t id)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &t->dials) {
        struct dial *d = list_entry(it, struct dial, on_trunk);

        if (d->id == id && d->state == DIAL_CONNECTING)
            return d;
    }
    return NULL;
}

void dial_on_connect(struct trunk *t, uint32_t connect_id, enum exit_result result,
                     uint32_t connection_id)
{
    struct dial *d = dial_find(t, connect_id);

    /* Nobody wants it any more: unbound, the relay closes it after half a minute. */
    if (!d)
        return;
    if (result == EXIT_E_DUPLICATE || result == EXIT_E_DOWN) {
        dial_again(d, result);
        return;
    }
    if (result != EXIT_OK) {
        dial_finish(d, result, NULL, NULL);
        return;
    }
    d->state = DIAL_BINDING;
    d->binding_ns = clock_now_ns();
    if (carrier_bind(&d->carrier, &t->carrier, connection_id, dial_on_bound, d) < 0)
        dial_finish(d, EXIT_E_CAPACITY, NULL, NULL);
}

void dial_lost_trunk(struct dial *d)
{
    dial_again(d, EXIT_E_DOWN);
}

/* ---- waiting ---- */

/* The dial's end, if the relay owes it an answer for too long. */
static void dial_check_relay(struct dial *d, uint64_t now_ns)
{
    struct upstream *x = d->x;
    struct target *target = d->trunk->carrier.target;

    if (d->state == DIAL_BINDING) {
        /* It says nothing about the relay: a ready connection may have died unnoticed. */
        if (now_ns - d->binding_ns >= DIAL_RELAY_NS)
            dial_finish(d, EXIT_E_DOWN, NULL, NULL);
        return;
    }
    if (session_silent_ns(d->trunk->carrier.session, now_ns) < DIAL_RELAY_NS)
        return;
    target_ref(target);
    dial_finish(d, EXIT_E_DOWN, NULL, NULL);
    find_failed(&x->streams, target, &find_silence);
    target_unref(target);
}

/* Return: whether a trunk has to be made for it. */
static bool dial_try(struct dial *d, uint64_t now_ns)
{
    struct upstream *x = d->x;
    struct find *f = &x->streams;
    struct trunk *t = NULL;

    if (now_ns >= d->until_ns) {
        dial_finish(d, EXIT_E_TIMEOUT, NULL, NULL);
        return false;
    }
    if (d->state != DIAL_WAITING) {
        dial_check_relay(d, now_ns);
        return false;
    }
    if (f->state == UPSTREAM_DOWN)
        find_hurry(f);
    if (f->state == UPSTREAM_CONNECTING && now_ns < d->relay_until_ns)
        return false;
    if (f->state != UPSTREAM_READY) {
        dial_finish(d, EXIT_E_DOWN, NULL, NULL);
        return false;
    }
    switch (trunk_choose(x, &d->peer, now_ns, &t)) {
    case TRUNK_OK:
        dial_connect(d, t, now_ns);
        return false;
    case TRUNK_E_WAIT:
        if (now_ns < d->relay_until_ns + DIAL_TRUNK_NS)
            return true;
        dial_finish(d, EXIT_E_DOWN, NULL, NULL);
        return false;
    case TRUNK_E_FAMILY:
        dial_finish(d, EXIT_E_FAMILY, NULL, NULL);
        return false;
    default:
        dial_finish(d, EXIT_E_CAPACITY, NULL, NULL);
        return false;
    }
}

static struct dial *dial_next(struct upstream *x, struct list *taken)
{
    struct list *next = list_give_back(taken, &x->dials);

    return next ? list_entry(next, struct dial, link) : NULL;
}

/* How many trunks would serve it and those that have waited for the same peer before it: the others
 * can share. */
static unsigned int dial_rank(const struct dial *d)
{
    unsigned int n = 1;

    for (struct list *it = d->x->dials.next; it != &d->link && n < TRUNK_OPENING; it = it->next) {
        const struct dial *other = list_entry(it, struct dial, link);

        n += other->state == DIAL_WAITING && addr_equal(&other->peer, &d->peer);
    }
    return n;
}

void dial_pump(struct upstream *x, uint64_t now_ns)
{
    unsigned int n_v4 = 0, n_v6 = 0;
    struct list now;
    struct dial *d;

    list_take_all(&x->dials, &now);
    while ((d = dial_next(x, &now))) {
        unsigned int *n = d->peer.family == ADDR_IPV6 ? &n_v6 : &n_v4, rank;

        if (!dial_try(d, now_ns))
            continue;
        rank = dial_rank(d);
        *n = rank > *n ? rank : *n;
    }
    if (n_v4 > 0)
        trunk_make(x, ADDR_IPV4, n_v4, now_ns);
    if (n_v6 > 0)
        trunk_make(x, ADDR_IPV6, n_v6, now_ns);
}

void dial_end_all(struct upstream *x, enum exit_result why)
{
    struct list now;
    struct dial *d;

    list_take_all(&x->dials, &now);
    while ((d = dial_next(x, &now)))
        dial_finish(d, why, NULL, NULL);
}
