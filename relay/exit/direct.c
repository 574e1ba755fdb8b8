#include "relay/exit/direct.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/exit/direct_impl.h"

/* ---- associations ---- */

void direct_enter(struct assoc *a)
{
    a->n_busy++;
}

void direct_leave(struct assoc *a)
{
    if (--a->n_busy == 0 && a->is_closed)
        free(a);
}

static void leg_close(struct leg *leg)
{
    struct direct_exit *x = leg->assoc->exit;

    if (leg->fd < 0)
        return;
    if (event_initialized(&leg->event)) /* not when opening failed half-way */
        event_del(&leg->event);
    close(leg->fd);
    leg->fd = -1;
    ports_release(x->params.ports, direct_space(leg), leg->bound.port, direct_now(x));
}

/* Puts a bound leg into the event loop and tells its relayed address. */
static enum exit_result leg_start(struct leg *leg, struct addr *ret_relayed)
{
    struct direct_exit *x = leg->assoc->exit;
    const struct addr *public = leg->bound.family == ADDR_IPV6 ? &x->public_v6 : &x->public_v4;
    event_callback_fn on_event = leg->assoc->tcp ? direct_tcp_on_event : direct_udp_on_event;

    event_assign(&leg->event, x->params.base, leg->fd, EV_READ | EV_PERSIST, on_event, leg);
    if (event_add(&leg->event, NULL) < 0) {
        leg_close(leg);
        return EXIT_E_CAPACITY;
    }
    if (public->family != ADDR_NONE && !addr_ip_equal(public, &leg->bound))
        leg->shown = *public;
    *ret_relayed = leg->bound;
    if (leg->shown.family != ADDR_NONE) {
        *ret_relayed = leg->shown;
        ret_relayed->port = leg->bound.port;
    }
    return EXIT_OK;
}

static enum exit_result direct_open_family(struct assoc *a, enum addr_family family,
                                           const struct assoc_want *want,
                                           struct assoc_opened *opened)
{
    struct leg *leg = &a->legs[family == ADDR_IPV6];
    enum exit_result result = direct_bind(leg, family, want, opened);

    if (result == EXIT_OK)
        return leg_start(leg, family == ADDR_IPV6 ? &opened->relayed_v6 : &opened->relayed_v4);
    leg_close(leg);
    return result;
}

static void direct_open_reserved(struct assoc *a, const struct assoc_want *want,
                                 struct assoc_opened *opened)
{
    struct leg *leg = NULL;

    opened->result = direct_bind_reserved(a, want, &leg);
    if (opened->result != EXIT_OK) {
        opened->result_v4 = want->v4 ? opened->result : EXIT_OK;
        opened->result_v6 = want->v6 ? opened->result : EXIT_OK;
        return;
    }
    /* The family is the reserved socket's: a request with a token cannot name one (RFC 8656,
     * section 7.2). */
    if (leg->bound.family == ADDR_IPV6)
        opened->result = opened->result_v6 = leg_start(leg, &opened->relayed_v6);
    else
        opened->result = opened->result_v4 = leg_start(leg, &opened->relayed_v4);
}

static void direct_open_families(struct assoc *a, const struct assoc_want *want,
                                 struct assoc_opened *opened)
{
    if (want->v4)
        opened->result_v4 = direct_open_family(a, ADDR_IPV4, want, opened);
    if (want->v6)
        opened->result_v6 = direct_open_family(a, ADDR_IPV6, want, opened);
    if (opened->relayed_v4.family != ADDR_NONE || opened->relayed_v6.family != ADDR_NONE)
        opened->result = EXIT_OK;
    else if (opened->result_v4 != EXIT_OK)
        opened->result = opened->result_v4;
    else
        opened->result = opened->result_v6 != EXIT_OK ? opened->result_v6 : EXIT_E_FAMILY;
}

static int direct_open(struct exit *e, const struct assoc_want *want,
                       const struct assoc_events *events, void *user, struct assoc **ret_assoc)
{
    struct direct_exit *x = (struct direct_exit *)(void *)e;
    struct assoc *a = calloc(1, sizeof(*a));
    struct assoc_opened opened = {0};

    if (!a)
        return -ENOMEM;
    a->exit = x;
    a->events = events;
    a->user = user;
    for (int i = 0; i < 2; i++) {
        a->legs[i].assoc = a;
        a->legs[i].fd = -1;
    }
    if (want->tcp && (!x->params.pool || direct_tcp_init(a) < 0)) {
        free(a);
        return -ENOMEM;
    }
    x->n_assocs++;
    *ret_assoc = a;
    direct_enter(a);
    if (want->has_token)
        direct_open_reserved(a, want, &opened);
    else
        direct_open_families(a, want, &opened);
    events->on_open(user, &opened);
    direct_leave(a);
    return 0;
}

static void direct_close(struct assoc *a)
{
    if (!a || a->is_closed)
        return;
    a->is_closed = true;
    a->exit->n_assocs--;
    /* The queue names sockets by number, and the next socket may get ours. */
    tx_flush(a->exit->params.tx);
    for (int i = 0; i < 2; i++)
        leg_close(&a->legs[i]);
    direct_tcp_free(a);
    if (a->n_busy == 0)
        free(a);
}

static enum exit_result direct_permit(struct assoc *a, const struct addr *peer)
{
    if (acl_check(a->exit->acl, peer, a->tcp != NULL) == ACL_ALLOW)
        return EXIT_OK;
    return EXIT_E_FORBIDDEN;
}

static const struct exit_ops direct_ops = {
    .open = direct_open,
    .close = direct_close,
    .permit = direct_permit,
    .send = direct_udp_send,
    .connect = direct_tcp_connect,
};

/* ---- the exit ---- */

static void direct_on_sweep(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval again = {.tv_sec = 5};
    struct direct_exit *x = arg;

    if (ports_sweep(x->params.ports, direct_now(x)) > 0)
        evtimer_add(&x->sweep, &again);
}

struct exit *direct_exit_new(const struct direct_params *params)
{
    struct direct_exit *x = calloc(1, sizeof(*x));

    if (!x)
        return NULL;
    x->exit.ops = &direct_ops;
    x->params = *params;
    evtimer_assign(&x->sweep, params->base, direct_on_sweep, x);
    return &x->exit;
}

void direct_exit_free(struct exit *e)
{
    struct direct_exit *x = (struct direct_exit *)(void *)e;

    if (!x)
        return;
    assert(x->n_assocs == 0);
    event_del(&x->sweep);
    free(x);
}

static struct addr direct_first_listener(const struct conf *conf, enum addr_family family)
{
    for (size_t i = 0; i < conf->n_listen; i++) {
        const struct addr *a = &conf->listen[i].addr;

        if (a->family == family && !addr_is_any(a))
            return *a;
    }
    return (struct addr){0};
}

void direct_exit_set_conf(struct exit *e, const struct conf *conf, const struct acl *acl)
{
    struct direct_exit *x = (struct direct_exit *)(void *)e;

    x->acl = acl;
    x->relay_v4 = conf->relay_v4;
    x->relay_v6 = conf->relay_v6;
    x->listen_v4 = direct_first_listener(conf, ADDR_IPV4);
    x->listen_v6 = direct_first_listener(conf, ADDR_IPV6);
    x->public_v4 = conf->public_v4;
    x->public_v6 = conf->public_v6;
    x->range = (struct port_range){conf->port_min, conf->port_max};
    x->generation++;
}
