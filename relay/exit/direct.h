/*
 * relay/exit/direct.h - the way out through sockets of this machine
 *
 * Implements relay/exit.h. Each association has one UDP socket for each family
 * (or one listening TCP socket, RFC 6062), bound to a relayed port. With a
 * public-address (1:1 NAT in front of us) peers are told that address; between two
 * associations of this relay it stands for the bound one, since most NATs do not
 * turn packets round.
 *
 * Everything that is asked is answered before the call returns, except connect().
 *
 * Owner:   the worker makes one, with its own receive batch and send queue, and
 *          frees it after the last association was closed.
 * Threads: the worker's. `ports` is shared by all workers.
 * Limits:  DIRECT_CONNECTS_MAX connections being made per association; ports,
 *          descriptors.
 */
#pragma once

#include <event2/event.h>
#include <stdint.h>

#include "common/net/batch.h"
#include "conf/conf.h"
#include "relay/exit.h"
#include "relay/exit/ports.h"
#include "relay/guard/acl.h"
#include "relay/stats/counters.h"

struct stream_pool;

#define DIRECT_CONNECTS_MAX 32

/* All borrowed, and kept alive by the caller longer than the exit. */
struct direct_params {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool; /* NULL: no TCP associations */
    struct ports *ports;
    struct counters *counters;
    uint64_t (*now)(void);           /* NULL: clock_now_ns() */
    unsigned int connect_timeout_ms; /* 0: 30 s, the least that RFC 6062 (section 5.2) allows */
};

/* direct_exit_set_conf() must follow before anything is opened. Return: NULL when memory is short.
 */
struct exit *direct_exit_new(const struct direct_params *params);
void direct_exit_free(struct exit *e);

/* At start and after a reload: addresses and ports for associations from now on, and the rules for
 * all traffic at once. `conf` is copied from; `acl` is borrowed until the next call. */
void direct_exit_set_conf(struct exit *e, const struct conf *conf, const struct acl *acl);
