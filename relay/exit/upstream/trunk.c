/*
 * relay/exit/upstream/trunk.c - TCP allocations that streams share
 *
 * An allocation for each stream would cost a handshake and a port of the relay every
 * time; one for all cannot be, since an allocation can have one connection to a peer
 * at a time, and none for a minute afterwards if the relay's end closed first (TIME-
 * WAIT). So there are as many trunks as the busiest peer asks for, and they stay for a
 * while. When the relay gives no more, the least promising way is tried: a peer that
 * is cooling down.
 */
#include <stdlib.h>

#include "common/base/log.h"
#include "common/net/stream.h"
#include "relay/exit/upstream/upstream_impl.h"

#define TRUNK_COOL_NS    (60 * NS_PER_S) /* TIME-WAIT of today's systems */
#define TRUNK_IDLE_NS    (300 * NS_PER_S)
#define TRUNK_REFUSED_NS (5 * NS_PER_S)
#define TRUNK_NO_V6_NS   (60 * NS_PER_S)
#define TRUNK_USES_MAX   1024

static const struct session_events trunk_events;

/* ---- uses ---- */

static void use_free(struct trunk_use *use)
{
    if (use->trunk)
        use->trunk->n_uses--;
    list_remove(&use->link);
    free(use);
}

struct trunk_use *trunk_hold(struct trunk *t, const struct addr *peer)
{
    struct trunk_use *use = calloc(1, sizeof(*use));

    if (!use)
        return NULL;
    use->x = t->x;
    use->trunk = t;
    use->peer = *peer;
    use->busy = true;
    list_append(&t->uses, &use->link);
    t->n_uses++;
    t->n_streams++;
    return use;
}

void trunk_release(struct trunk_use *use, bool cool, uint64_t now_ns)
{
    if (!use)
        return;
    if (use->trunk) {
        use->trunk->n_streams--;
        use->trunk->used_ns = now_ns;
    }
    use->busy = false;
    use->since_ns = now_ns;
    if (!use->trunk || !cool)
        use_free(use);
}

static void trunk_on_farewell(void *arg)
{
    struct trunk_use *use = arg;

    counter_sub(&use->x->params.counters->upstream_streams, 1);
    use->stream = NULL;
    trunk_release(use, true, clock_now_ns());
}

void trunk_follow(struct trunk_use *use, struct stream *stream)
{
    counter_add(&use->x->params.counters->upstream_streams, 1);
    use->stream = stream;
    stream_set_farewell(stream, trunk_on_farewell, use);
}

static struct trunk_use *trunk_find_use(struct trunk *t, const struct addr *peer)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &t->uses) {
        struct trunk_use *use = list_entry(it, struct trunk_use, link);

        if (addr_equal(&use->peer, peer))
            return use;
    }
    return NULL;
}

/* ---- choosing ---- */

static bool trunk_is_opening(const struct trunk *t)
{
    return !t->live;
}

static unsigned int trunk_n_opening(const struct upstream *x, uint8_t family)
{
    unsigned int n = 0;
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->trunks) {
        const struct trunk *t = list_entry(it, struct trunk, link);

        n += t->family == family && trunk_is_opening(t);
    }
    return n;
}

unsigned int trunk_count(const struct upstream *x, uint8_t family)
{
    unsigned int n = 0;
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->trunks)
        n += list_entry(it, struct trunk, link)->family == family;
    return n;
}

enum trunk_answer trunk_choose(struct upstream *x, const struct addr *peer, uint64_t now_ns,
                               struct trunk **ret)
{
    bool may_make = x->n_trunks < TRUNKS_MAX && now_ns >= x->no_trunk_until_ns;
    struct trunk *old = NULL, *cooling = NULL; /* old: on a relay that was left for another */
    struct list *it, *tmp;

    if (peer->family == ADDR_IPV6 && now_ns < x->no_v6_until_ns)
        return TRUNK_E_FAMILY;
    list_for_each_safe (it, tmp, &x->trunks) {
        struct trunk *t = list_entry(it, struct trunk, link);
        struct trunk_use *use;

        if (!t->live || t->family != peer->family || t->n_uses >= TRUNK_USES_MAX)
            continue;
        use = trunk_find_use(t, peer);
        if (!use && t->carrier.target == x->streams.current) {
            *ret = t;
            return TRUNK_OK;
        }
        if (!use)
            old = t;
        else if (!use->busy)
            cooling = t;
    }
    if (may_make || trunk_n_opening(x, peer->family) > 0)
        return TRUNK_E_WAIT;
    if (old) {
        *ret = old;
        return TRUNK_OK;
    }
    if (!cooling)
        return TRUNK_E_CAPACITY;
    use_free(trunk_find_use(cooling, peer));
    *ret = cooling;
    return TRUNK_OK;
}

/* ---- life ---- */

/* Its streams end with it: the relay closes them, and cut short they must not look complete. */
static void trunk_free(struct trunk *t)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &t->uses) {
        struct trunk_use *use = list_entry(it, struct trunk_use, link);

        if (!use->busy) {
            use_free(use);
            continue;
        }
        list_remove(&use->link);
        use->trunk = NULL;
        if (use->stream)
            stream_close(use->stream, -ECONNRESET);
    }
    /* A front that is told of one may hang up any other. */
    while (!list_empty(&t->dials))
        dial_lost_trunk(list_entry(t->dials.next, struct dial, on_trunk));
    carrier_close(&t->carrier);
    list_remove(&t->link);
    t->x->n_trunks--;
    free(t);
}

static struct trunk *trunk_new(struct upstream *x, uint8_t family, uint64_t now_ns)
{
    struct trunk *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->x = x;
    t->family = family;
    t->used_ns = now_ns;
    list_init(&t->uses);
    list_init(&t->dials);
    carrier_init(&t->carrier, x);
    list_append(&x->trunks, &t->link);
    x->n_trunks++;
    return t;
}

void trunk_adopt(struct upstream *x, struct carrier *from)
{
    struct trunk *t = trunk_new(x, ADDR_IPV4, clock_now_ns());

    /* What another relay, or this one in another hour, could not give. */
    x->no_v6_until_ns = x->no_trunk_until_ns = 0;
    if (!t)
        return;
    carrier_move(&t->carrier, from, &trunk_events, t);
    t->live = true;
}

void trunk_make(struct upstream *x, uint8_t family, unsigned int n_wanted, uint64_t now_ns)
{
    const struct session_want want = {
        .tcp = true, .v4 = family == ADDR_IPV4, .v6 = family == ADDR_IPV6};
    unsigned int n = trunk_n_opening(x, family);

    if (x->streams.state != UPSTREAM_READY || now_ns < x->no_trunk_until_ns)
        return;
    n_wanted = n_wanted < TRUNK_OPENING ? n_wanted : TRUNK_OPENING;
    for (; n < n_wanted && x->n_trunks < TRUNKS_MAX; n++) {
        struct trunk *t = trunk_new(x, family, now_ns);

        if (!t)
            return;
        if (carrier_open(&t->carrier, x->streams.current, &want, &trunk_events, t) < 0) {
            trunk_free(t);
            x->no_trunk_until_ns = now_ns + TRUNK_REFUSED_NS;
            return;
        }
    }
}

/* One that no stream and no dial uses goes when it has been idle for long, was made on a relay that
 * is no longer the chosen one, or when all are taken and its peers are cooling. */
static bool trunk_is_spare(const struct upstream *x, const struct trunk *t, uint64_t now_ns)
{
    const struct find *f = &x->streams;

    if (t->n_streams > 0 || !list_empty(&t->dials))
        return false;
    if (f->state == UPSTREAM_READY && t->carrier.target != f->current)
        return true;
    if (x->n_trunks >= TRUNKS_MAX && t->n_uses > 0)
        return true;
    return now_ns - t->used_ns > TRUNK_IDLE_NS &&
           trunk_count(x, t->family) > (t->family == ADDR_IPV4 ? x->params.n_ready_trunks : 0);
}

void trunk_sweep(struct upstream *x, uint64_t now_ns)
{
    struct list *it, *tmp, *use_it, *use_tmp;

    list_for_each_safe (it, tmp, &x->trunks) {
        struct trunk *t = list_entry(it, struct trunk, link);

        list_for_each_safe (use_it, use_tmp, &t->uses) {
            struct trunk_use *use = list_entry(use_it, struct trunk_use, link);

            if (!use->busy && now_ns - use->since_ns > TRUNK_COOL_NS)
                use_free(use);
        }
        if (trunk_is_spare(x, t, now_ns))
            trunk_free(t);
    }
}

void trunk_free_all(struct upstream *x)
{
    while (!list_empty(&x->trunks))
        trunk_free(list_entry(x->trunks.next, struct trunk, link));
}

/* ---- what its session says ---- */

static void trunk_on_live(void *user, const struct assoc_opened *opened)
{
    struct trunk *t = user;

    t->live = true;
    upstream_wake(t->x);
}

static void trunk_on_ended(void *user, const struct session_ended *ended)
{
    struct trunk *t = user;
    struct upstream *x = t->x;
    struct target *target = target_ref(t->carrier.target);
    uint64_t now_ns = clock_now_ns();

    share_refused(x, ended, now_ns);
    if (ended->end == SESSION_E_REFUSED && ended->code == 440 && t->family == ADDR_IPV6)
        x->no_v6_until_ns = now_ns + TRUNK_NO_V6_NS;
    else if (ended->end == SESSION_E_REFUSED) {
        log_limited(LOG_LEVEL_WARNING, "the relay gives no further TCP allocation: %s", ended->why);
        x->no_trunk_until_ns = now_ns + TRUNK_REFUSED_NS;
    }
    trunk_free(t);
    find_failed(&x->streams, target, ended);
    target_unref(target);
    upstream_wake(x);
}

static void trunk_on_connect(void *user, uint32_t connect_id, enum exit_result result,
                             uint32_t connection_id)
{
    dial_on_connect(user, connect_id, result, connection_id);
}

/* Nobody listens on a trunk: without a permission the relay lets no peer in, and tells us nothing.
 */
static void trunk_on_attempt(void *user, const struct addr *peer, uint32_t connection_id)
{
}

static void trunk_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                              uint64_t now_ns)
{
}

static void trunk_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
}

static const struct session_events trunk_events = {
    .on_live = trunk_on_live,
    .on_ended = trunk_on_ended,
    .on_datagram = trunk_on_datagram,
    .on_icmp = trunk_on_icmp,
    .on_connect = trunk_on_connect,
    .on_attempt = trunk_on_attempt,
};
