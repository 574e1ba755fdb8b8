#include "tests/support/fake_client.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fake_clock.h"

/* What turn/ knows as a client. */
struct flow {
    struct client client;
    struct fake_client *owner;
    bool on_stack;
};

static struct flow *flow_of(struct client *c)
{
    return (struct flow *)(void *)((char *)c - offsetof(struct flow, client));
}

static struct fake_message *message_new(struct client *c, size_t len)
{
    struct fake_client *fc = flow_of(c)->owner;
    struct fake_message *m;

    assert(fc->n_sent < FAKE_CLIENT_MESSAGES);
    m = &fc->sent[fc->n_sent++];
    *m = (struct fake_message){.data = calloc(1, len + 1), .len = len, .to_port = c->remote.port};
    return m;
}

static void flow_send(struct client *c, const void *header, size_t header_len, const void *payload,
                      size_t payload_len, size_t n_padding)
{
    struct fake_message *m = message_new(c, header_len + payload_len + n_padding);

    memcpy(m->data, header, header_len);
    if (payload_len > 0)
        memcpy(m->data + header_len, payload, payload_len);
}

static void flow_send_copy(struct client *c, const void *data, size_t len)
{
    memcpy(message_new(c, len)->data, data, len);
}

static bool flow_send_copy_from(struct client *c, bool other_ip, bool other_port, uint16_t to_port,
                                const void *data, size_t len)
{
    struct fake_message *m = message_new(c, len);

    memcpy(m->data, data, len);
    m->other_ip = other_ip;
    m->other_port = other_port;
    m->to_port = to_port;
    return true;
}

static struct client *flow_keep(struct client *c)
{
    struct flow *flow = flow_of(c);
    struct fake_client *fc = flow->owner;

    if (fc->keep_fails)
        return NULL;
    fc->n_kept++;
    if (!flow->on_stack)
        return c;
    fc->flow = malloc(sizeof(*fc->flow));
    *fc->flow = *flow;
    fc->flow->on_stack = false;
    return &fc->flow->client;
}

static void flow_release(struct client *c)
{
    struct flow *flow = flow_of(c);
    struct fake_client *fc = flow->owner;

    assert(!flow->on_stack);
    assert(!c->alloc);
    fc->n_released++;
    if (client_is_stream(c) || c->transport == TRANSPORT_DTLS)
        return; /* the listener's, whose transport is still there */
    fc->flow = NULL;
    free(flow);
}

static struct stream *flow_take_stream(struct client *c)
{
    struct fake_client *fc = flow_of(c)->owner;

    fc->taken = true;
    fc->far = far_new();
    fc->far->remote = fc->remote;
    return fc->far->stream;
}

static const struct client_ops datagram_ops = {
    .send = flow_send,
    .send_copy = flow_send_copy,
    .send_copy_from = flow_send_copy_from,
    .keep = flow_keep,
    .release = flow_release,
};

static const struct client_ops stream_ops = {
    .send = flow_send,
    .send_copy = flow_send_copy,
    .keep = flow_keep,
    .release = flow_release,
    .take_stream = flow_take_stream,
};

static struct flow flow_make(struct fake_client *fc)
{
    bool stream = fc->transport == TRANSPORT_TCP || fc->transport == TRANSPORT_TLS;

    return (struct flow){
        .client = {.ops = stream || fc->no_way_back ? &stream_ops : &datagram_ops,
                   .remote = fc->remote,
                   .local = fc->local,
                   .transport = (uint8_t)fc->transport},
        .owner = fc,
    };
}

struct fake_client *fake_client_new(struct turn *turn, enum transport transport, const char *remote,
                                    const char *local)
{
    struct fake_client *fc = calloc(1, sizeof(*fc));
    bool ok = addr_parse(remote, &fc->remote) && addr_parse(local, &fc->local);

    assert(ok);
    fc->turn = turn;
    fc->transport = transport;
    if (transport != TRANSPORT_UDP) {
        fc->flow = malloc(sizeof(*fc->flow));
        *fc->flow = flow_make(fc);
    }
    return fc;
}

static void fake_client_drop_flow(struct fake_client *fc)
{
    if (fc->flow)
        assert(!fc->flow->client.alloc);
    free(fc->flow);
    fc->flow = NULL;
}

void fake_client_free(struct fake_client *fc)
{
    fake_client_drop_flow(fc);
    fake_client_forget(fc);
    if (fc->far && fc->far->stream)
        stream_free(fc->far->stream);
    free(fc);
}

int fake_client_give(struct fake_client *fc, const void *data, size_t len)
{
    struct flow *stack = NULL, *flow = fc->flow;
    uint8_t *copy = malloc(len > 0 ? len : 1);
    int r;

    memcpy(copy, data, len);
    if (!flow) {
        stack = flow = malloc(sizeof(*flow));
        *flow = flow_make(fc);
        flow->on_stack = true;
    }
    r = turn_on_message(fc->turn, &flow->client, copy, len, fake_now_ns);
    free(copy);
    free(stack);
    if (fc->taken)
        fake_client_drop_flow(fc);
    return r;
}

void fake_client_close(struct fake_client *fc)
{
    if (fc->flow)
        turn_on_closed(fc->turn, &fc->flow->client);
    fake_client_drop_flow(fc);
}

const struct fake_message *fake_client_sent(const struct fake_client *fc, size_t i)
{
    return i < fc->n_sent ? &fc->sent[fc->n_sent - 1 - i] : NULL;
}

void fake_client_forget(struct fake_client *fc)
{
    for (size_t i = 0; i < fc->n_sent; i++)
        free(fc->sent[i].data);
    fc->n_sent = 0;
}

bool fake_client_has_alloc(const struct fake_client *fc)
{
    return fc->flow && fc->flow->client.alloc;
}
