/*
 * relay/turn/chan.h - channel numbers and the peers behind them
 *
 * A channel stands for one peer transport address for ten minutes (RFC 8656,
 * section 12). After it ends, neither its number nor its peer may be bound in
 * another pairing for five more minutes, so that a late packet cannot reach the
 * wrong peer.
 *
 * Owner:   struct alloc embeds one chan_set; it dies with the alloc.
 * Threads: the worker that owns the alloc, nobody else.
 * Limits:  `max` per allocation (those in their five minutes count).
 */
#pragma once

#include <stdint.h>

#include "common/net/addr.h"

#define CHAN_LIFETIME_S 600
#define CHAN_HOLD_S     300

/* What a channel maps to: flat, so that a kernel fast path can hold the same record. */
struct chan {
    struct addr peer;
    uint16_t number;
    uint64_t expires_ns;
};

struct chan_set {
    struct chan *chans;
    uint32_t n, cap;
    uint32_t last_number, last_peer; /* where the last lookup of each kind hit */
};

enum {
    CHAN_E_FULL = 1,     /* `max` channels exist (-> 508) */
    CHAN_E_CONFLICT = 2, /* the number has another peer, or the peer another number (-> 400) */
};

/* Binds or refreshes. Return: 0, CHAN_E_FULL, CHAN_E_CONFLICT or -ENOMEM. */
int chan_bind(struct chan_set *set, uint16_t number, const struct addr *peer, unsigned int max,
              uint64_t now_ns);

/* As chan_bind() would answer, without binding. */
int chan_may_bind(struct chan_set *set, uint16_t number, const struct addr *peer, unsigned int max,
                  uint64_t now_ns);

/* The live channel of a number, of a peer; or NULL. Borrowed until the next bind. */
const struct chan *chan_by_number(struct chan_set *set, uint16_t number, uint64_t now_ns);
const struct chan *chan_by_peer(struct chan_set *set, const struct addr *peer, uint64_t now_ns);

/* Forgets the channels to peers of one family. */
void chan_drop_family(struct chan_set *set, uint8_t family);

void chan_deinit(struct chan_set *set);
