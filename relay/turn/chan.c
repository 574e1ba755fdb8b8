#include "relay/turn/chan.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/clock.h"

#define CHAN_CAP_MIN 4

static struct chan *chan_find_number(struct chan_set *set, uint16_t number)
{
    if (set->last_number < set->n && set->chans[set->last_number].number == number)
        return &set->chans[set->last_number];
    for (uint32_t i = 0; i < set->n; i++) {
        if (set->chans[i].number == number) {
            set->last_number = i;
            return &set->chans[i];
        }
    }
    return NULL;
}

static struct chan *chan_find_peer(struct chan_set *set, const struct addr *peer)
{
    if (set->last_peer < set->n && addr_equal(&set->chans[set->last_peer].peer, peer))
        return &set->chans[set->last_peer];
    for (uint32_t i = 0; i < set->n; i++) {
        if (addr_equal(&set->chans[i].peer, peer)) {
            set->last_peer = i;
            return &set->chans[i];
        }
    }
    return NULL;
}

static void chan_drop_old(struct chan_set *set, uint64_t now_ns)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < set->n; i++)
        if (set->chans[i].expires_ns + CHAN_HOLD_S * NS_PER_S > now_ns)
            set->chans[n++] = set->chans[i];
    set->n = n;
}

static int chan_grow(struct chan_set *set)
{
    uint32_t cap = set->cap > 0 ? set->cap * 2 : CHAN_CAP_MIN;
    struct chan *chans = realloc(set->chans, cap * sizeof(*chans));

    if (!chans)
        return -ENOMEM;
    set->chans = chans;
    set->cap = cap;
    return 0;
}

int chan_may_bind(struct chan_set *set, uint16_t number, const struct addr *peer, unsigned int max,
                  uint64_t now_ns)
{
    const struct chan *by_number, *by_peer;

    chan_drop_old(set, now_ns);
    by_number = chan_find_number(set, number);
    by_peer = chan_find_peer(set, peer);
    if (by_number != by_peer)
        return CHAN_E_CONFLICT;
    return !by_number && set->n >= max ? CHAN_E_FULL : 0;
}

int chan_bind(struct chan_set *set, uint16_t number, const struct addr *peer, unsigned int max,
              uint64_t now_ns)
{
    int r = chan_may_bind(set, number, peer, max, now_ns);
    uint64_t expires_ns = now_ns + CHAN_LIFETIME_S * NS_PER_S;
    struct chan *chan;

    if (r != 0)
        return r;
    chan = chan_find_number(set, number);
    if (chan) {
        chan->expires_ns = expires_ns;
        return 0;
    }
    if (set->n == set->cap) {
        r = chan_grow(set);
        if (r < 0)
            return r;
    }
    set->chans[set->n++] = (struct chan){.peer = *peer, .number = number, .expires_ns = expires_ns};
    return 0;
}

const struct chan *chan_by_number(struct chan_set *set, uint16_t number, uint64_t now_ns)
{
    const struct chan *chan = chan_find_number(set, number);

    return chan && chan->expires_ns > now_ns ? chan : NULL;
}

const struct chan *chan_by_peer(struct chan_set *set, const struct addr *peer, uint64_t now_ns)
{
    const struct chan *chan = chan_find_peer(set, peer);

    return chan && chan->expires_ns > now_ns ? chan : NULL;
}

void chan_drop_family(struct chan_set *set, uint8_t family)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < set->n; i++)
        if (set->chans[i].peer.family != family)
            set->chans[n++] = set->chans[i];
    set->n = n;
}

void chan_deinit(struct chan_set *set)
{
    free(set->chans);
    *set = (struct chan_set){0};
}
