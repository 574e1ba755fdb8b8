/*
 * relay/exit/upstream/assoc_v6.c - IPv6 for an association whose allocation has IPv4 only
 *
 * ADDITIONAL-ADDRESS-FAMILY (RFC 8656, section 18.11) may be ignored, and widespread relays do: one
 * that has IPv6 gives it to whoever asks for nothing else. So an association that wants
 * both families gets the other one by an allocation of its own, but only when something
 * is sent to an IPv6 peer: most associations never do, and the relay counts allocations.
 *
 * The first datagrams wait for it, a few and short ones. A relay that says it has no
 * IPv6 is believed for a minute. That this allocation ends is no news to the front: it
 * was never told its address, and the next datagram makes another.
 */
#include <stdlib.h>
#include <string.h>

#include "common/net/batch.h"
#include "relay/exit/upstream/upstream_impl.h"

#define V6_REFUSED_NS    (60 * NS_PER_S) /* after 440 */
#define V6_RETRY_NS      (5 * NS_PER_S)  /* after any other failure */
#define V6_WAITING_MAX   8
#define V6_WAITING_BYTES 2048 /* of one datagram */

struct assoc_waiting {
    struct list link; /* assoc_v6->waiting */
    struct addr peer;
    bool dont_fragment;
    size_t len;
    uint8_t data[];
};

/* ---- what waits ---- */

static void v6_drop_waiting(struct assoc_v6 *v6)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &v6->waiting) {
        list_remove(it);
        free(list_entry(it, struct assoc_waiting, link));
    }
    v6->n_waiting = 0;
}

/* Return: whether it was kept. */
static bool v6_wait(struct assoc_v6 *v6, const struct addr *peer, const uint8_t *data, size_t len,
                    bool dont_fragment)
{
    struct assoc_waiting *w;

    if (v6->n_waiting >= V6_WAITING_MAX || len > V6_WAITING_BYTES)
        return false;
    w = calloc(1, sizeof(*w) + len);
    if (!w)
        return false;
    w->peer = *peer;
    w->dont_fragment = dont_fragment;
    w->len = len;
    if (len > 0)
        memcpy(w->data, data, len);
    list_append(&v6->waiting, &w->link);
    v6->n_waiting++;
    return true;
}

/* ---- its allocation ---- */

static void v6_on_live(void *user, const struct assoc_opened *opened)
{
    struct assoc *a = user;
    struct assoc_v6 *v6 = &a->v6;
    uint64_t now_ns = clock_now_ns();

    v6->live = true;
    for (struct list *it = v6->waiting.next; it != &v6->waiting; it = it->next) {
        const struct assoc_waiting *w = list_entry(it, struct assoc_waiting, link);

        session_send(v6->carrier.session, &w->peer, w->data, w->len, w->dont_fragment, now_ns);
    }
    tx_flush(a->x->params.tx); /* what was sent refers to what waited */
    v6_drop_waiting(v6);
}

/* Whether the relay is gone altogether, the association's first allocation tells. */
static void v6_on_ended(void *user, const struct session_ended *ended)
{
    struct assoc *a = user;
    uint64_t now_ns = clock_now_ns();
    bool was_live = a->v6.live;

    if (ended->end == SESSION_E_REFUSED && ended->code == 440)
        a->x->no_v6_assoc_until_ns = now_ns + V6_REFUSED_NS;
    share_refused(a->x, ended, now_ns);
    assoc_v6_close(a);
    a->v6.retry_ns = was_live ? now_ns : now_ns + V6_RETRY_NS;
}

static const struct session_events v6_events = {
    .on_live = v6_on_live,
    .on_ended = v6_on_ended,
    .on_datagram = assoc_on_datagram,
    .on_icmp = assoc_on_icmp,
    .on_permitted = assoc_on_permitted,
};

/* Return: whether there is one, or will be. */
static bool v6_open(struct assoc *a, uint64_t now_ns)
{
    static const struct session_want want = {.v6 = true};
    struct assoc_v6 *v6 = &a->v6;

    if (v6->carrier.session)
        return true;
    /* One that is MOVING has a target that is gone. */
    if (!a->carrier.session || !session_is_live(a->carrier.session) || now_ns < v6->retry_ns ||
        now_ns < a->x->no_v6_assoc_until_ns)
        return false;
    if (share_has_room(a->x, now_ns) &&
        carrier_open(&v6->carrier, a->carrier.target, &want, &v6_events, a) == 0)
        return true;
    v6->retry_ns = now_ns + V6_RETRY_NS;
    return false;
}

/* ---- what assoc.c asks ---- */

void assoc_v6_init(struct assoc *a)
{
    carrier_init(&a->v6.carrier, a->x);
    list_init(&a->v6.waiting);
}

void assoc_v6_close(struct assoc *a)
{
    carrier_close(&a->v6.carrier);
    v6_drop_waiting(&a->v6);
    a->v6.live = false;
}

bool assoc_v6_may_follow(struct assoc *a, const struct assoc_opened *opened, uint64_t now_ns)
{
    a->v6.hoped = a->want.v4 && a->want.v6 && !a->want.tcp && !a->want.even_port &&
                  !a->want.has_token && opened->relayed_v4.family != ADDR_NONE &&
                  opened->result_v6 == EXIT_E_FAMILY;
    return a->v6.hoped && now_ns >= a->x->no_v6_assoc_until_ns;
}

bool assoc_v6_is_for(const struct assoc *a, const struct addr *peer)
{
    return a->v6.hoped && peer->family == ADDR_IPV6;
}

enum exit_result assoc_v6_permit(struct assoc *a, const struct addr *peer, uint64_t now_ns)
{
    if (v6_open(a, now_ns) && a->v6.live)
        return session_permit(a->v6.carrier.session, peer, now_ns);
    /* Nobody has refused this peer, and when the allocation is there the first datagram asks. */
    return EXIT_OK;
}

void assoc_v6_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                   bool dont_fragment, uint64_t now_ns)
{
    if (v6_open(a, now_ns) && a->v6.live)
        session_send(a->v6.carrier.session, peer, data, len, dont_fragment, now_ns);
    else if (!a->v6.carrier.session || !v6_wait(&a->v6, peer, data, len, dont_fragment))
        counter_add(&a->x->params.counters->drop_send, 1);
}
