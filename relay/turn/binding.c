/*
 * relay/turn/binding.c - Binding requests, and RFC 5780 behaviour discovery
 *
 * Binding needs no credentials and ignores what ICE puts into its checks. With
 * hide-client-address the answer shows our address: a browser makes a "srflx"
 * candidate from it and gives that to the peer.
 *
 * Behaviour discovery answers from another address, or to another port, than the
 * one asked: a reflector in the wrong hands. It is off by default and, when on,
 * stays under the rate limit of strangers.
 */
#include "common/wire/stun.h"
#include "relay/turn/internal.h"

struct discovery {
    bool other_ip, other_port;
    uint16_t to_port; /* RESPONSE-PORT, or the port the request came from */
    size_t padding;
};

#define CHANGE_IP   4u
#define CHANGE_PORT 2u

static struct discovery binding_wants(const struct request *req)
{
    struct discovery d = {.to_port = req->client->remote.port};
    uint32_t flags = 0;

    stun_get_u32(req->msg, STUN_CHANGE_REQUEST, &flags);
    d.other_ip = flags & CHANGE_IP;
    d.other_port = flags & CHANGE_PORT;
    stun_get_u16(req->msg, STUN_RESPONSE_PORT, &d.to_port);
    /* As long as the request's, so that the answer is never larger (RFC 5780, section 7.6). */
    (void)stun_get(req->msg, STUN_PADDING, &d.padding);
    return d;
}

/* The listener with the other IP, the other port, or both; ADDR_NONE when there is none. The
 * configuration was checked to hold the whole 2x2 grid. */
static struct addr binding_other(const struct request *req, bool other_ip, bool other_port)
{
    const struct conf *conf = req->turn->conf;
    const struct addr *local = &req->client->local;

    for (size_t i = 0; i < conf->n_listen; i++) {
        const struct addr *a = &conf->listen[i].addr;

        if ((conf->listen[i].protocols & LISTEN_UDP) && a->family == local->family &&
            addr_ip_equal(a, local) != other_ip && (a->port == local->port) != other_port)
            return *a;
    }
    return (struct addr){0};
}

/* Whether the answer can be sent the way the request wants it: over TCP and DTLS there is but one
 * way back. */
static bool binding_can(const struct request *req, const struct discovery *d)
{
    if (!req->turn->conf->behavior_discovery || !req->client->ops->send_copy_from ||
        req->client->transport != TRANSPORT_UDP)
        return false;
    return !(d->other_ip || d->other_port) ||
           binding_other(req, d->other_ip, d->other_port).family != ADDR_NONE;
}

/* What cannot be done is answered as if its attributes were unknown (RFC 5780, section 6.1). */
static bool binding_refuses(struct request *req, const struct discovery *d)
{
    static const enum stun_attr needed[] = {STUN_CHANGE_REQUEST, STUN_RESPONSE_PORT, STUN_PADDING};
    uint16_t types[sizeof(needed) / sizeof(needed[0])];
    size_t n = 0;

    if (binding_can(req, d))
        return false;
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (stun_has(req->msg, needed[i]))
            types[n++] = stun_attrs[needed[i]].type;
    if (n > 0)
        request_fail_unknown(req, types, n);
    return n > 0;
}

static void binding_put_discovery(struct request *req, struct stun_builder *b,
                                  const struct discovery *d)
{
    struct addr origin = binding_other(req, d->other_ip, d->other_port);
    struct addr other = binding_other(req, true, true);

    if (origin.family != ADDR_NONE)
        stun_put_addr(b, STUN_RESPONSE_ORIGIN, &origin);
    if (other.family != ADDR_NONE)
        stun_put_addr(b, STUN_OTHER_ADDRESS, &other);
    if (d->padding > 0) {
        static const uint8_t zeros[256];

        stun_put(b, STUN_PADDING, zeros, d->padding < sizeof(zeros) ? d->padding : sizeof(zeros));
    }
}

void binding_on_request(struct request *req)
{
    struct addr shown = turn_shown_address(req->turn, req->client, NULL);
    const struct client_ops *ops = req->client->ops;
    struct discovery d = binding_wants(req);
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;
    size_t len;

    if (binding_refuses(req, &d))
        return;
    answer_begin(&req->answer, &b, buf);
    stun_put_addr(&b, STUN_XOR_MAPPED_ADDRESS, &shown);
    counter_add(&req->turn->params.counters->bindings, 1);
    if (!binding_can(req, &d)) {
        answer_send(req->turn, req->client, &req->answer, &b, false, 0);
        return;
    }
    stun_put_addr(&b, STUN_MAPPED_ADDRESS, &shown);
    binding_put_discovery(req, &b, &d);
    if (req->answer.fingerprint)
        stun_put_fingerprint(&b);
    len = stun_finish(&b);
    if (len > 0)
        ops->send_copy_from(req->client, d.other_ip, d.other_port, d.to_port, buf, len);
}
