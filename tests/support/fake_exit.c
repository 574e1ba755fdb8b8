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
    return EXIT_OK;
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

static const struct exit_ops fake_ops = {
    .open = fake_open,
    .close = fake_close,
    .permit = fake_permit,
    .send = fake_send,
    .connect = fake_connect,
};

void fake_exit_init(struct fake_exit *e)
{
    *e = (struct fake_exit){.exit.ops = &fake_ops};
    list_init(&e->assocs);
    e->relayed_v4 = at("192.0.2.1:50000");
    e->relayed_v6 = at("[2001:db8::1]:50000");
}

void fake_exit_deinit(struct fake_exit *e)
{
    assert(list_empty(&e->assocs));
    assert(e->n_opened == e->n_closed);
}
