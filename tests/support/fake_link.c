#include "tests/support/fake_link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fake_clock.h"

struct link {
    struct fake_wire *wire;
    const struct link_events *events;
    void *user;
    bool open, closed;
    const void *rest; /* behind the message being handled */
    size_t rest_len;
    bool in_message;
};

static struct fake_wire *wires;

int fake_link_error;

struct fake_wire *fake_wire_new(enum link_kind kind)
{
    struct link_to to = {.kind = kind};
    struct link *link = NULL;
    int r = link_new(NULL, &to, NULL, NULL, &link);

    assert(r == 0 && link);
    return link->wire;
}

struct fake_wire *fake_wire_last(void)
{
    return wires;
}

void fake_wires_free_all(void)
{
    while (wires) {
        struct fake_wire *w = wires;

        assert(!w->link);
        wires = w->next;
        for (size_t i = 0; i < w->n_sent; i++)
            free(w->sent[i].data);
        free(w);
    }
}

void fake_wire_open(struct fake_wire *w)
{
    assert(w->link && !w->link->open && !w->link->closed);
    w->link->open = true;
    if (w->link->events)
        w->link->events->on_open(w->link->user);
}

void fake_wire_close(struct fake_wire *w, int reason, const char *why)
{
    assert(w->link && !w->link->closed);
    w->link->open = false;
    w->link->closed = true;
    w->link->events->on_closed(w->link->user, reason, why);
}

void fake_wire_give_more(struct fake_wire *w, const void *data, size_t len, const void *rest,
                         size_t rest_len)
{
    uint8_t *copy;

    if (!w->link || w->link->closed)
        return;
    copy = malloc(len);
    assert(copy || len == 0);
    if (len > 0)
        memcpy(copy, data, len);
    w->link->rest = rest;
    w->link->rest_len = rest_len;
    w->link->in_message = true;
    w->link->events->on_message(w->link->user, copy, len, fake_now_ns);
    if (w->link)
        w->link->in_message = false;
    free(copy);
}

void fake_wire_give(struct fake_wire *w, const void *data, size_t len)
{
    fake_wire_give_more(w, data, len, NULL, 0);
}

const struct fake_sent *fake_wire_read(struct fake_wire *w)
{
    return w->n_read < w->n_sent ? &w->sent[w->n_read++] : NULL;
}

void fake_wire_skip(struct fake_wire *w)
{
    w->n_read = w->n_sent;
}

/* ---- the symbols of relay/exit/upstream/link.h ---- */

int link_new(const struct link_env *env, const struct link_to *to, const struct link_events *events,
             void *user, struct link **ret)
{
    struct fake_wire *w;

    if (fake_link_error != 0)
        return fake_link_error;
    w = calloc(1, sizeof(*w));
    w->link = calloc(1, sizeof(*w->link));
    *w->link = (struct link){.wire = w, .events = events, .user = user};
    w->kind = to->kind;
    w->server = to->server;
    w->next = wires;
    wires = w;
    *ret = w->link;
    return 0;
}

void link_set_events(struct link *l, const struct link_events *events, void *user)
{
    l->events = events;
    l->user = user;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    l->wire->link = NULL;
    free(l);
}

static void keep(struct link *l, const void *header, size_t header_len, const void *payload,
                 size_t payload_len, size_t n_padding)
{
    struct fake_wire *w = l->wire;
    uint8_t *data = calloc(1, header_len + payload_len + n_padding + 1);

    assert(data && l->open && w->n_sent < FAKE_WIRE_MESSAGES);
    memcpy(data, header, header_len);
    if (payload_len > 0)
        memcpy(data + header_len, payload, payload_len);
    w->sent[w->n_sent++] = (struct fake_sent){
        .data = data, .len = header_len + payload_len + n_padding, .payload = payload};
}

void link_send(struct link *l, const void *header, size_t header_len, const void *payload,
               size_t payload_len)
{
    bool is_stun = *(const uint8_t *)header <= 3;
    size_t n = header_len + payload_len;

    /* A STUN message's last attribute is padded everywhere, ChannelData on streams. */
    if (!l->wire->refuses)
        keep(l, header, header_len, payload, payload_len,
             is_stun || link_kind_is_stream(l->wire->kind) ? (4 - n % 4) % 4 : 0);
}

int link_send_copy(struct link *l, const void *data, size_t len)
{
    if (l->wire->refuses)
        return -ENOBUFS;
    keep(l, data, len, NULL, 0, 0);
    return 0;
}

enum link_kind link_kind(const struct link *l)
{
    return l->wire->kind;
}

bool link_is_open(const struct link *l)
{
    return l->open;
}

struct addr link_local(const struct link *l)
{
    return l->closed ? (struct addr){0} : l->wire->local;
}

void link_fail(struct link *l, int reason)
{
    fake_wire_close(l->wire, reason, "this machine has another address now");
}

uint64_t link_certificate_end_s(const struct link *l)
{
    return l->open ? l->wire->certificate_end_s : 0;
}

struct stream *link_take_stream(struct link *l)
{
    struct far *far;

    assert(l->in_message);
    if (!link_kind_is_stream(l->wire->kind))
        return NULL;
    far = far_new();
    l->wire->far = far;
    if (l->rest_len > 0)
        far_write(far, l->rest, l->rest_len);
    l->open = false;
    l->closed = true;
    return far->stream;
}
