#include <errno.h>
#include <stdlib.h>

#include "common/net/tls_client.h"
#include "relay/exit/upstream/upstream_impl.h"

/* ---- targets ---- */

struct target *target_ref(struct target *t)
{
    t->n_refs++;
    return t;
}

void target_unref(struct target *t)
{
    if (t && --t->n_refs == 0)
        free(t);
}

int target_link(struct target *t, const struct link_events *events, void *user, struct link **ret)
{
    const struct conf *conf = t->x->conf;
    const struct link_to to = {
        .kind = t->kind,
        .server = t->server,
        .name = conf->url[t->url].host,
        .pins = (const unsigned char(*)[32])conf->pin,
        .n_pins = conf->n_pin,
    };

    return link_new(&t->x->env, &to, events, user, ret);
}

/* ---- carriers ---- */

void carrier_init(struct carrier *c, struct upstream *x)
{
    *c = (struct carrier){.x = x};
    list_init(&c->link);
}

static void carrier_enter(struct carrier *c, struct target *target)
{
    const struct session_waker waker = upstream_waker(c->x);

    c->target = target_ref(target);
    list_append(&c->x->carriers, &c->link);
    waker.wake(waker.arg, c->session ? session_due_ns(c->session) : data_bind_due_ns(c->bind));
}

int carrier_open(struct carrier *c, struct target *target, const struct session_want *want,
                 const struct session_events *events, void *user)
{
    const struct session_waker waker = upstream_waker(c->x);
    struct link *link;
    int r = target_link(target, NULL, NULL, &link);

    if (r < 0)
        return r;
    c->session =
        session_new(link, &c->x->creds[target->url], want, &waker, events, user, clock_now_ns());
    if (!c->session)
        return -ENOMEM;
    carrier_enter(c, target);
    c->x->n_sessions++;
    counter_add(&c->x->params.counters->upstream_sessions, 1);
    return 0;
}

static void carrier_on_bound(void *user, enum exit_result result, struct stream *stream)
{
    struct carrier *c = user;

    c->bind = NULL;
    c->on_bound(c->user, result, stream);
}

int carrier_bind(struct carrier *c, const struct carrier *control, uint32_t connection_id,
                 data_bind_on_done *on_bound, void *user)
{
    struct target *target = control->target;
    const struct session_waker waker = upstream_waker(c->x);
    struct link *link = ready_take_link(c->x, target);
    int r = link ? 0 : target_link(target, NULL, NULL, &link);

    if (r < 0)
        return r;
    c->on_bound = on_bound;
    c->user = user;
    c->bind = data_bind_new(link, &c->x->creds[target->url], control->session, connection_id,
                            &waker, carrier_on_bound, c, clock_now_ns());
    if (!c->bind)
        return -ENOMEM;
    carrier_enter(c, target);
    return 0;
}

void carrier_move(struct carrier *c, struct carrier *from, const struct session_events *events,
                  void *user)
{
    c->session = from->session;
    carrier_enter(c, from->target);
    from->session = NULL;
    session_set_events(c->session, events, user);
    carrier_close(from);
}

int carrier_move_to(struct carrier *c, struct target *target)
{
    struct target *old = c->target;
    struct link *link;
    int r = target_link(target, NULL, NULL, &link);

    if (r < 0)
        return r;
    session_move(c->session, link, &c->x->creds[target->url], clock_now_ns());
    c->target = target_ref(target);
    target_unref(old);
    return 0;
}

void carrier_close(struct carrier *c)
{
    if (c->session) {
        c->x->n_sessions--;
        counter_sub(&c->x->params.counters->upstream_sessions, 1);
        session_free(c->session, clock_now_ns());
    }
    data_bind_free(c->bind);
    c->session = NULL;
    c->bind = NULL;
    list_remove(&c->link);
    target_unref(c->target);
    c->target = NULL;
}
