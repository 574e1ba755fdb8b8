/*
 * relay/turn/forward.c - datagrams between a client and its peers: the fast path
 *
 *   client -> ChannelData -> chan_by_number -> exit send
 *   client -> Send        -> perm_has       -> exit send
 *   peer   -> chan_by_peer and perm_has     -> ChannelData -> client
 *   peer   -> perm_has                      -> Data        -> client
 *
 * No memory is allocated here, nothing is locked, logged or copied; what cannot
 * go on is dropped and counted. Both ways the payload stays where the kernel put
 * it, and the header goes in front as a second piece.
 */
#include <string.h>

#include "common/base/cursor.h"
#include "common/wire/channel.h"
#include "relay/turn/alloc.h"
#include "relay/turn/internal.h"

static void forward_up(struct alloc *alloc, const struct addr *peer, const uint8_t *data,
                       size_t len, bool dont_fragment, uint64_t now_ns)
{
    struct turn *turn = alloc->turn;
    struct counters *c = turn->params.counters;

    if (!bucket_take(&alloc->up, turn->conf->max_bandwidth_per_allocation, len, now_ns)) {
        counter_add(&c->drop_bandwidth, 1);
        return;
    }
    counter_add(&c->up_packets, 1);
    counter_add(&c->up_bytes, len);
    alloc->count.up_packets++;
    alloc->count.up_bytes += len;
    turn->params.exit->ops->send(alloc->assoc, peer, data, len, dont_fragment);
}

static struct alloc *forward_alloc(const struct client *client)
{
    struct alloc *alloc = client->alloc;

    if (!alloc || alloc->state != ALLOC_LIVE || alloc->tcp)
        return NULL;
    if (alloc->client != client)
        mobility_arrive(alloc);
    return alloc;
}

void forward_channel_data(struct turn *turn, struct client *client, const uint8_t *data, size_t len,
                          uint64_t now_ns)
{
    struct counters *c = turn->params.counters;
    struct alloc *alloc = forward_alloc(client);
    const struct chan *chan;
    const uint8_t *payload;
    size_t payload_len;
    uint16_t number;

    if (!alloc || channel_parse(data, len, &number, &payload, &payload_len) != 0) {
        counter_add(&c->drop_malformed, 1);
        return;
    }
    chan = chan_by_number(&alloc->chans, number, now_ns);
    if (!chan) {
        counter_add(&c->drop_no_channel, 1);
        return;
    }
    forward_up(alloc, &chan->peer, payload, payload_len, false, now_ns);
}

void forward_send(struct turn *turn, struct client *client, const struct stun_msg *msg,
                  uint64_t now_ns)
{
    struct counters *c = turn->params.counters;
    struct alloc *alloc = forward_alloc(client);
    const uint8_t *payload;
    struct addr peer;
    size_t len;

    payload = stun_get(msg, STUN_DATA_ATTR, &len);
    if (!alloc || !payload || msg->n_unknown > 0 || msg->n_peers == 0 ||
        !stun_get_peer(msg, 0, &peer)) {
        counter_add(&c->drop_malformed, 1);
        return;
    }
    if (!perm_has(&alloc->perms, &peer, now_ns)) {
        counter_add(&c->drop_no_permission, 1);
        return;
    }
    forward_up(alloc, &peer, payload, len, stun_has(msg, STUN_DONT_FRAGMENT), now_ns);
}

static void forward_down_channel(struct alloc *alloc, uint16_t number, const uint8_t *data,
                                 size_t len)
{
    struct client *client = alloc->client;
    uint8_t header[CHANNEL_HEADER_LEN];

    channel_put_header(header, number, (uint16_t)len);
    /* Over UDP padding is optional and only costs bytes (RFC 8656, section 12.5). */
    client->ops->send(client, header, sizeof(header), data, len,
                      client_is_stream(client) ? stun_padding(len) : 0);
}

static void forward_down_data(struct alloc *alloc, const struct addr *peer, const uint8_t *data,
                              size_t len)
{
    uint8_t header[STUN_DATA_PREFIX_MAX], txid[STUN_TXID_LEN];
    uint64_t n = ++alloc->turn->next_id;
    size_t header_len;

    /* An indication is never answered: its transaction id only has to differ from the last. */
    memset(txid, 0, sizeof(txid));
    put_u32(txid + 4, (uint32_t)(n >> 32));
    put_u32(txid + 8, (uint32_t)n);
    header_len = stun_data_prefix(header, txid, peer, len);
    if (header_len > 0)
        alloc->client->ops->send(alloc->client, header, header_len, data, len, stun_padding(len));
}

void forward_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                         uint64_t now_ns)
{
    struct alloc *alloc = user;
    struct turn *turn = alloc->turn;
    struct counters *c = turn->params.counters;
    const struct chan *chan;

    if (!perm_has(&alloc->perms, peer, now_ns)) {
        counter_add(&c->drop_no_permission, 1);
        return;
    }
    if (!bucket_take(&alloc->down, turn->conf->max_bandwidth_per_allocation, len, now_ns)) {
        counter_add(&c->drop_bandwidth, 1);
        return;
    }
    counter_add(&c->down_packets, 1);
    counter_add(&c->down_bytes, len);
    alloc->count.down_packets++;
    alloc->count.down_bytes += len;
    chan = chan_by_peer(&alloc->chans, peer, now_ns);
    if (chan)
        forward_down_channel(alloc, chan->number, data, len);
    else
        forward_down_data(alloc, peer, data, len);
}

#define ICMP_INTERVAL_NS (100 * NS_PER_MS)

/* RFC 8656, section 11.5: a Data indication with ICMP instead of DATA, to a permitted peer. Type
 * and code are a byte each, as in ICMP itself. */
void forward_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    struct alloc *alloc = user;
    struct turn *turn = alloc->turn;
    uint8_t buf[STUN_HEADER_LEN + 24 + 12], value[8] = {0}, txid[STUN_TXID_LEN] = {0};
    struct stun_builder b;
    size_t len;

    if (!perm_has(&alloc->perms, &icmp->peer, now_ns) ||
        now_ns - alloc->last_icmp_ns < ICMP_INTERVAL_NS)
        return;
    alloc->last_icmp_ns = now_ns;
    put_u32(txid + 8, (uint32_t)++turn->next_id);
    value[2] = icmp->type;
    value[3] = icmp->code;
    put_u32(value + 4, icmp->data);
    stun_begin(&b, buf, sizeof(buf), STUN_INDICATION, STUN_DATA, txid);
    stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, &icmp->peer);
    stun_put(&b, STUN_ICMP, value, sizeof(value));
    len = stun_finish(&b);
    if (len > 0)
        alloc->client->ops->send_copy(alloc->client, buf, len);
}
