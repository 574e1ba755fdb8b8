#include "tests/support/fake_exit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fake_clock.h"

struct addr at(const char *text)
{
    struct addr addr = {0};
    bool ok = addr_parse(text, &addr);

    assert(ok);
    return addr;
}

static struct fake_exit *fake_exit_of(struct exit *e)
{
    return (struct fake_exit *)(void *)((char *)e - offsetof(struct fake_exit, exit));
}

void fake_exit_answer(struct assoc *a)
{
    struct fake_exit *e = a->exit;
    struct assoc_opened o = {.result = EXIT_OK};

    assert(!a->answered);
    a->answered = true;
    o.result_v4 = a->want.v4 ? e->open_v4 : EXIT_OK;
    o.result_v6 = a->want.v6 ? e->open_v6 : EXIT_OK;
    if (a->want.v4 && o.result_v4 == EXIT_OK) {
        o.relayed_v4 = e->relayed_v4;
        o.relayed_v4.port = a->port;
    }
    if (a->want.v6 && o.result_v6 == EXIT_OK) {
        o.relayed_v6 = e->relayed_v6;
        o.relayed_v6.port = a->port;
    }
    if (o.relayed_v4.family == ADDR_NONE && o.relayed_v6.family == ADDR_NONE)
        o.result = a->want.v4 ? o.result_v4 : o.result_v6;
    if (a->want.reserve && o.result == EXIT_OK) {
        o.has_token = true;
        memcpy(o.token, "tokentok", sizeof(o.token));
    }
    a->events->on_open(a->user, &o); /* `a` may be gone after it */
}

static int fake_open(struct exit *exit, const struct assoc_want *want,
                     const struct assoc_events *events, void *user, struct assoc **ret_assoc)
{
    struct fake_exit *e = fake_exit_of(exit);
    struct assoc *a;

    if (e->open_no_memory)
        return -ENOMEM;
    a = calloc(1, sizeof(*a));
    *a = (struct assoc){.exit = e, .want = *want, .events = events, .user = user};
    a->port = (uint16_t)(e->relayed_v4.port + e->n_opened++);
    list_append(&e->assocs, &a->link);
    e->last = a;
    *ret_assoc = a;
    if (!e->open_later)
        fake_exit_answer(a);
    return 0;
}

static void fake_close(struct assoc *a)
{
    struct fake_exit *e = a->exit;

    e->n_closed++;
    list_remove(&a->link);
    e->last = list_empty(&e->assocs) ? NULL : list_entry(e->assocs.prev, struct assoc, link);
    free(a);
}

static enum exit_result fake_permit(struct assoc *a, const struct addr *peer)
{
    a->exit->n_permits++;
    a->exit->permit_peer = *peer;
    for (size_t i = 0; i < a->exit->n_deny; i++)
        if (addr_ip_equal(&a->exit->deny[i], peer))
            return EXIT_E_FORBIDDEN;
    return a->exit->permit_later ? EXIT_PENDING : EXIT_OK;
}

void fake_exit_permitted(struct fake_exit *e, const char *ip, enum exit_result result)
{
    struct addr peer;
    bool ok = addr_parse_ip(ip, 0, &peer);

    assert(ok && e->last);
    e->last->events->on_permitted(e->last->user, &peer, result);
}

static void fake_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                      bool dont_fragment)
{
    struct fake_exit *e = a->exit;

    if (e->n_sent < FAKE_EXIT_SENT_MAX) {
        struct fake_datagram *d = &e->sent[e->n_sent];

        assert(len <= sizeof(d->data));
        d->peer = *peer;
        d->len = len;
        d->dont_fragment = dont_fragment;
        memcpy(d->data, data, len);
    }
    e->n_sent++;
}

struct far *fake_exit_connected(struct fake_exit *e, enum exit_result result)
{
    struct far *far = result == EXIT_OK ? far_new() : NULL;

    e->connected = far;
    e->last->events->on_connected(e->last->user, e->connect_id, result, far ? far->stream : NULL);
    return far;
}

static enum exit_result fake_connect(struct assoc *a, const struct addr *peer, uint32_t connect_id)
{
    struct fake_exit *e = a->exit;

    e->n_connects++;
    e->connect_id = connect_id;
    e->connect_peer = *peer;
    if (e->connect_result != EXIT_OK)
        return e->connect_result;
    if (!e->connect_later)
        fake_exit_connected(e, e->connect_event);
    return EXIT_OK;
}

struct far *fake_exit_accept(struct assoc *a, const char *peer)
{
    struct far *far = far_new();
    struct addr from = at(peer);

    far->remote = from;
    a->events->on_accepted(a->user, &from, far->stream);
    return far;
}

void fake_exit_datagram(struct assoc *a, const char *peer, const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    struct addr from = at(peer);

    if (len > 0)
        memcpy(copy, data, len);
    a->events->on_datagram(a->user, &from, copy, len, fake_now_ns);
    free(copy);
}

void fake_exit_icmp(struct assoc *a, const char *peer, uint8_t type, uint8_t code, uint32_t data)
{
    struct assoc_icmp icmp = {.peer = at(peer), .type = type, .code = code, .data = data};

    a->events->on_icmp(a->user, &icmp, fake_now_ns);
}

void fake_exit_deny(struct fake_exit *e, const char *ip)
{
    bool ok = e->n_deny < FAKE_EXIT_DENY_MAX && addr_parse_ip(ip, 0, &e->deny[e->n_deny]);

    assert(ok);
    e->n_deny++;
}

void fake_exit_lose(struct assoc *a, enum exit_result why)
{
    a->events->on_lost(a->user, why); /* `a` is gone after it, if the session does as it must */
}

/* ---- dial ---- */

static int fake_dial(struct exit *exit, const struct addr *peer, exit_on_dialed *on_dialed,
                     void *user, struct dial **ret)
{
    struct fake_exit *e = fake_exit_of(exit);
    struct dial *d;

    if (e->open_no_memory)
        return -ENOMEM;
    d = calloc(1, sizeof(*d));
    *d = (struct dial){.exit = e, .peer = *peer, .on_dialed = on_dialed, .user = user};
    e->n_dials++;
    list_append(&e->dials, &d->link);
    *ret = d;
    return 0;
}

static void fake_hang_up(struct dial *d)
{
    list_remove(&d->link);
    free(d);
}

static struct dial *fake_find_dial(const struct fake_exit *e, const char *peer)
{
    struct addr to = at(peer);

    for (struct list *it = e->dials.next; it != &e->dials; it = it->next) {
        struct dial *d = list_entry(it, struct dial, link);

        if (addr_equal(&d->peer, &to))
            return d;
    }
    return NULL;
}

bool fake_exit_is_dialing(const struct fake_exit *e, const char *peer)
{
    return fake_find_dial(e, peer) != NULL;
}

struct far *fake_exit_dialed(struct fake_exit *e, const char *peer, enum exit_result result)
{
    struct dial *found = fake_find_dial(e, peer);
    struct far *far = result == EXIT_OK ? far_new() : NULL;
    struct addr relayed = found->peer.family == ADDR_IPV6 ? e->relayed_v6 : e->relayed_v4;
    struct dial d = *found;

    fake_hang_up(found);
    if (!far)
        relayed = (struct addr){0};
    d.on_dialed(d.user, result, far ? far->stream : NULL, &relayed);
    return far;
}

/* ---- resolve ---- */

static int fake_resolve(struct exit *exit, const char *name, exit_on_resolved *on_resolved,
                        void *user, struct lookup **ret)
{
    struct fake_exit *e = fake_exit_of(exit);
    struct lookup *l;

    if (e->open_no_memory)
        return -ENOMEM;
    l = calloc(1, sizeof(*l));
    *l = (struct lookup){.exit = e, .on_resolved = on_resolved, .user = user};
    assert(strlen(name) < sizeof(l->name));
    memcpy(l->name, name, strlen(name));
    e->n_lookups++;
    list_append(&e->lookups, &l->link);
    *ret = l;
    return 0;
}

static void fake_forget(struct lookup *l)
{
    list_remove(&l->link);
    free(l);
}

void fake_exit_resolved(struct fake_exit *e, const char *name, enum exit_result result,
                        const char *ips)
{
    struct lookup *found = list_entry(e->lookups.next, struct lookup, link);
    struct addr addrs[32];
    char copy[2048], *rest = copy, *ip;
    struct lookup l;
    size_t n = 0;

    assert(!list_empty(&e->lookups) && strcmp(found->name, name) == 0);
    assert(strlen(ips) < sizeof(copy));
    memcpy(copy, ips, strlen(ips) + 1);
    while ((ip = strsep(&rest, " "))) {
        bool ok = *ip == '\0' || addr_parse_ip(ip, 0, &addrs[n]);

        assert(ok);
        n += *ip != '\0';
    }
    l = *found;
    fake_forget(found);
    l.on_resolved(l.user, result, addrs, n);
}

static const struct exit_ops fake_ops = {
    .open = fake_open,
    .close = fake_close,
    .permit = fake_permit,
    .send = fake_send,
    .connect = fake_connect,
    .dial = fake_dial,
    .hang_up = fake_hang_up,
    .resolve = fake_resolve,
    .forget = fake_forget,
};

void fake_exit_init(struct fake_exit *e)
{
    *e = (struct fake_exit){.exit.ops = &fake_ops};
    list_init(&e->assocs);
    list_init(&e->dials);
    list_init(&e->lookups);
    e->relayed_v4 = at("192.0.2.1:50000");
    e->relayed_v6 = at("[2001:db8::1]:50000");
}

void fake_exit_deinit(struct fake_exit *e)
{
    assert(list_empty(&e->assocs));
    assert(list_empty(&e->dials));
    assert(list_empty(&e->lookups));
    assert(e->n_opened == e->n_closed);
}
