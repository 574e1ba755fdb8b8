/*
 * relay/exit/upstream/assoc.c - what a front has opened: one allocation each
 *
 * States: an assoc waits for a relay, then for its allocation (carrier.session, not
 * opened), both until wait_until_ns and however often one is lost on the way, and is
 * open until its session ends or the front closes it. One whose way to the relay is gone
 * goes on over the next that find.c finds, where the relay has mobility, and the front hears
 * nothing of it. One that is lost is not repaired here: its relayed address is gone, and
 * only the front knows whether a new one will do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/stream.h"
#include "relay/exit/upstream/upstream_impl.h"

#define ASSOC_WAIT_NS (10 * NS_PER_S)

/* A data connection of a TCP association (RFC 6062) on its way. */
struct assoc_bind {
    struct list link; /* assoc->binds */
    struct assoc *assoc;
    struct carrier carrier;
    bool accepted; /* by a ConnectionAttempt, not by Connect */
    struct addr peer;
    uint32_t connect_id;
};

static const struct session_events assoc_session_events;

/* ---- brackets around calls of a->events; after assoc_leave() `a` may be gone ---- */

static void assoc_enter(struct assoc *a)
{
    a->n_busy++;
}

static void assoc_leave(struct assoc *a)
{
    if (--a->n_busy == 0 && a->is_closed)
        free(a);
}

/* ---- life ---- */

static void assoc_bind_free(struct assoc_bind *b)
{
    list_remove(&b->link);
    carrier_close(&b->carrier);
    free(b);
}

static void assoc_drop_session(struct assoc *a)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &a->binds)
        assoc_bind_free(list_entry(it, struct assoc_bind, link));
    assoc_v6_close(a);
    carrier_close(&a->carrier);
}

void assoc_close(struct assoc *a)
{
    if (!a || a->is_closed)
        return;
    a->is_closed = true;
    assoc_drop_session(a);
    list_remove(&a->link);
    if (a->n_busy == 0)
        free(a);
}

static void assoc_answer(struct assoc *a, const struct assoc_opened *opened)
{
    a->opened = true;
    assoc_enter(a);
    a->events->on_open(a->user, opened);
    assoc_leave(a);
}

static void assoc_fail(struct assoc *a, enum exit_result why)
{
    struct assoc_opened opened = {
        .result = why,
        .result_v4 = a->want.v4 ? why : EXIT_OK,
        .result_v6 = a->want.v6 ? why : EXIT_OK,
    };

    assoc_drop_session(a);
    assoc_answer(a, &opened);
}

static void assoc_lose(struct assoc *a, enum exit_result why)
{
    assoc_drop_session(a);
    assoc_enter(a);
    a->events->on_lost(a->user, why);
    assoc_leave(a);
}

/* A ready allocation may have more than was asked for. */
static void assoc_on_live(void *user, const struct assoc_opened *opened)
{
    struct assoc *a = user;
    struct assoc_opened mine = *opened;

    if (!a->want.v4 && !a->want.has_token) {
        mine.relayed_v4 = (struct addr){0};
        mine.result_v4 = EXIT_OK;
    }
    if (!a->want.v6 && !a->want.has_token) {
        mine.relayed_v6 = (struct addr){0};
        mine.result_v6 = EXIT_OK;
    }
    mine.v6_may_follow = assoc_v6_may_follow(a, opened, clock_now_ns());
    assoc_answer(a, &mine);
}

static struct find *assoc_find(struct assoc *a)
{
    return a->want.tcp ? &a->x->streams : &a->x->datagrams;
}

static void assoc_on_ended(void *user, const struct session_ended *ended)
{
    struct assoc *a = user;
    struct upstream *x = a->x;
    struct find *f = assoc_find(a);
    struct target *target = target_ref(a->carrier.target);

    share_refused(x, ended, clock_now_ns());
    if (a->opened)
        assoc_lose(a, EXIT_E_DOWN);
    else if (ended->end == SESSION_E_REFUSED)
        assoc_fail(a, upstream_result(ended));
    else
        assoc_drop_session(a); /* waits for another relay; assoc_pump() sees to it */
    find_failed(f, target, ended);
    target_unref(target);
    upstream_wake(x);
}

/* ---- moving ---- */

static void assoc_on_moving(void *user, const struct session_ended *ended)
{
    struct assoc *a = user;

    find_left(assoc_find(a), a->carrier.target, ended);
    upstream_wake(a->x);
}

/* Where another relay is found, its 437 says so at once. */
static void assoc_try_move(struct assoc *a, uint64_t now_ns)
{
    struct find *f = assoc_find(a);

    if (!a->carrier.session || !session_wants_link(a->carrier.session, now_ns))
        return;
    if (f->state == UPSTREAM_READY)
        (void)carrier_move_to(&a->carrier, f->current); /* or with the next pump */
    else if (f->state == UPSTREAM_DOWN)
        find_hurry(f);
}

/* ---- opening ---- */

/* A relay that was asked and said nothing is looked at again: others ask it too. */
static void assoc_give_up(struct assoc *a)
{
    struct find *f = assoc_find(a);
    struct target *target = a->carrier.session ? target_ref(a->carrier.target) : NULL;

    assoc_fail(a, EXIT_E_DOWN);
    if (target)
        find_failed(f, target, &find_silence);
    target_unref(target);
}

static void assoc_try(struct assoc *a, uint64_t now_ns)
{
    struct upstream *x = a->x;
    struct find *f = assoc_find(a);

    if (a->opened) {
        assoc_try_move(a, now_ns);
        return;
    }
    if (now_ns >= a->wait_until_ns) {
        assoc_give_up(a);
        return;
    }
    if (a->carrier.session)
        return;
    if (f->state == UPSTREAM_READY) {
        if (ready_take_session(x, &a->want, &a->carrier, &assoc_session_events, a))
            assoc_on_live(a, session_opened(a->carrier.session));
        else if ((!a->want.tcp && !share_has_room(x, now_ns)) ||
                 carrier_open(&a->carrier, f->current, &a->want, &assoc_session_events, a) < 0)
            assoc_fail(a, EXIT_E_CAPACITY);
        return;
    }
    if (f->state == UPSTREAM_DOWN)
        find_hurry(f);
    if (f->state != UPSTREAM_CONNECTING)
        assoc_fail(a, EXIT_E_DOWN);
}

int assoc_open(struct exit *e, const struct assoc_want *want, const struct assoc_events *events,
               void *user, struct assoc **ret_assoc)
{
    struct upstream *x = upstream_of(e);
    struct assoc *a = calloc(1, sizeof(*a));
    uint64_t now_ns = clock_now_ns();

    if (!a)
        return -ENOMEM;
    a->x = x;
    a->events = events;
    a->user = user;
    a->wait_until_ns = now_ns + ASSOC_WAIT_NS;
    a->want = (struct session_want){
        .tcp = want->tcp,
        .v4 = want->v4,
        .v6 = want->v6,
        .even_port = want->even_port,
        .reserve = want->reserve,
        .has_token = want->has_token,
        .mobile = !want->tcp,
    };
    memcpy(a->want.token, want->token, sizeof(a->want.token));
    a->wait_until_ns = now_ns + ASSOC_WAIT_NS;
    list_init(&a->binds);
    carrier_init(&a->carrier, x);
    assoc_v6_init(a);
    list_append(&x->assocs, &a->link);
    *ret_assoc = a;
    assoc_try(a, now_ns);
    return 0;
}

static struct assoc *assoc_next(struct upstream *x, struct list *taken)
{
    struct list *next = list_give_back(taken, &x->assocs);

    return next ? list_entry(next, struct assoc, link) : NULL;
}

void assoc_pump(struct upstream *x, uint64_t now_ns)
{
    struct assoc *a;
    struct list now;

    /* Whoever opens another one meanwhile has it tried at once. */
    list_take_all(&x->assocs, &now);
    while ((a = assoc_next(x, &now)))
        assoc_try(a, now_ns);
}

void assoc_lose_all(struct upstream *x, enum exit_result why)
{
    struct assoc *a;
    struct list now;

    list_take_all(&x->assocs, &now);
    while ((a = assoc_next(x, &now))) {
        if (a->opened && a->carrier.session)
            assoc_lose(a, why);
        else if (!a->opened)
            assoc_drop_session(a); /* not open yet: waits for the new one */
    }
}

/* ---- datagrams ---- */

enum exit_result assoc_permit(struct assoc *a, const struct addr *peer)
{
    if (!a->carrier.session)
        return EXIT_E_DOWN;
    if (assoc_v6_is_for(a, peer))
        return assoc_v6_permit(a, peer, clock_now_ns());
    return session_permit(a->carrier.session, peer, clock_now_ns());
}

static enum exit_result permit_result(unsigned int code)
{
    switch (code) {
    case 0:
        return EXIT_OK;
    case 408:
        return EXIT_E_TIMEOUT;
    case 443:
        return EXIT_E_FAMILY;
    case 486:
    case 508:
        return EXIT_E_CAPACITY;
    default:
        return EXIT_E_FORBIDDEN;
    }
}

void assoc_on_permitted(void *user, const struct addr *peer, unsigned int code)
{
    struct assoc *a = user;

    if (!a->events->on_permitted)
        return;
    assoc_enter(a);
    a->events->on_permitted(a->user, peer, permit_result(code));
    assoc_leave(a);
}

void assoc_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                bool dont_fragment)
{
    if (!a->carrier.session) {
        counter_add(&a->x->params.counters->drop_down, 1);
        return;
    }
    if (assoc_v6_is_for(a, peer))
        assoc_v6_send(a, peer, data, len, dont_fragment, clock_now_ns());
    else
        session_send(a->carrier.session, peer, data, len, dont_fragment, clock_now_ns());
}

void assoc_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                       uint64_t now_ns)
{
    struct assoc *a = user;

    assoc_enter(a);
    a->events->on_datagram(a->user, peer, data, len, now_ns);
    assoc_leave(a);
}

void assoc_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    struct assoc *a = user;

    assoc_enter(a);
    a->events->on_icmp(a->user, icmp, now_ns);
    assoc_leave(a);
}

/* ---- streams ---- */

static void assoc_connected(struct assoc *a, uint32_t connect_id, enum exit_result result,
                            struct stream *stream)
{
    assoc_enter(a);
    a->events->on_connected(a->user, connect_id, result, stream);
    assoc_leave(a);
}

static void assoc_on_bound(void *user, enum exit_result result, struct stream *stream)
{
    struct assoc_bind *b = user;
    struct assoc *a = b->assoc;
    struct addr peer = b->peer;
    uint32_t connect_id = b->connect_id;
    bool accepted = b->accepted;

    assoc_bind_free(b);
    if (!accepted) {
        assoc_connected(a, connect_id, result, stream);
    } else if (result == EXIT_OK) {
        assoc_enter(a);
        a->events->on_accepted(a->user, &peer, stream);
        assoc_leave(a);
    }
}

/* Return: 0 or -errno. */
static int assoc_bind_new(struct assoc *a, uint32_t connection_id, const struct assoc_bind *as)
{
    struct assoc_bind *b = malloc(sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    *b = *as;
    b->assoc = a;
    list_append(&a->binds, &b->link);
    carrier_init(&b->carrier, a->x);
    r = carrier_bind(&b->carrier, &a->carrier, connection_id, assoc_on_bound, b);
    if (r < 0)
        assoc_bind_free(b);
    return r;
}

static void assoc_on_connect(void *user, uint32_t connect_id, enum exit_result result,
                             uint32_t connection_id)
{
    struct assoc *a = user;
    const struct assoc_bind as = {.connect_id = connect_id};

    if (result == EXIT_OK && assoc_bind_new(a, connection_id, &as) < 0)
        result = EXIT_E_CAPACITY;
    if (result != EXIT_OK)
        assoc_connected(a, connect_id, result, NULL);
}

/* What cannot be bound, the relay closes after half a minute (RFC 6062, section 5.3). */
static void assoc_on_attempt(void *user, const struct addr *peer, uint32_t connection_id)
{
    struct assoc *a = user;
    const struct assoc_bind as = {.accepted = true, .peer = *peer};

    (void)assoc_bind_new(a, connection_id, &as);
}

enum exit_result assoc_connect(struct assoc *a, const struct addr *peer, uint32_t connect_id)
{
    if (!a->carrier.session)
        return EXIT_E_DOWN;
    return session_connect(a->carrier.session, peer, connect_id, clock_now_ns());
}

static const struct session_events assoc_session_events = {
    .on_live = assoc_on_live,
    .on_ended = assoc_on_ended,
    .on_moving = assoc_on_moving,
    .on_datagram = assoc_on_datagram,
    .on_icmp = assoc_on_icmp,
    .on_permitted = assoc_on_permitted,
    .on_connect = assoc_on_connect,
    .on_attempt = assoc_on_attempt,
};
