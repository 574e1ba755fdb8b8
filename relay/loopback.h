/*
 * relay/loopback.h - the TURN server that `callveil local` has on loopback
 *
 * A relay's own listen/ and turn/ on the upstream exit, with a configuration that is made here:
 * one user, whose password is drawn at each start, so that whoever reads it can do nothing with it
 * but use this port. Binding answers show the relayed address in place of the app's.
 *
 * Owner:   local.c. Threads: the worker's.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "relay/exit.h"
#include "relay/stats/counters.h"
#include "relay/stats/flows.h"

struct loopback;
struct rx_batch;
struct stream;
struct stream_pool;
struct tx_queue;

#define LOOPBACK_USER "callveil"

/* All borrowed. */
struct loopback_params {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct exit *exit;
    struct counters *counters;
};

/* Listens on `addr`, UDP and TCP; port 0: one that both can have. Return: 0 and *ret, or the exit
 * status after a line in the log. */
int loopback_new(const struct loopback_params *params, const struct addr *addr,
                 struct loopback **ret);
/* Ends every allocation. NULL is fine. */
void loopback_free(struct loopback *t);

/* What Binding answers and XOR-MAPPED-ADDRESS show from now on. */
void loopback_show(struct loopback *t, const struct addr *v4, const struct addr *v6);
/* Takes a stream as a client's connection, from `app`. Return: false when there are too many; then
 * nothing was taken. */
bool loopback_adopt(struct loopback *t, struct stream *stream, const struct addr *app);
/* About once a second. */
void loopback_sweep(struct loopback *t, uint64_t now_ns);

struct addr loopback_addr(const struct loopback *t);
const char *loopback_password(const struct loopback *t); /* of LOOPBACK_USER */
void loopback_flows(const struct loopback *t, struct flow_list *list);
