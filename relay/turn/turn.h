/*
 * relay/turn/turn.h - the TURN server of one worker
 *
 * Messages come in through turn_on_message() from whatever client.h stands for,
 * datagrams of peers through the events of exit.h. Inside: request.c checks and
 * dispatches, auth.c knows who asks, alloc.c grants, perm.c and chan.c say who
 * may talk, forward.c moves datagrams, tcp.c moves streams (RFC 6062), and
 * mobility.c moves an allocation to where its client is now (RFC 8016).
 *
 * Sources: RFC 8489, 8656, 6062, 5780, 8016.
 *
 * Threads: a struct turn belongs to its worker. What a worker shares with the
 * others is handed in and is const (settings) or safe by itself (quota, rate).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "relay/client.h"
#include "relay/exit.h"
#include "relay/guard/quota.h"
#include "relay/guard/rate.h"
#include "relay/stats/counters.h"
#include "relay/stats/flows.h"
#include "relay/turn/auth.h"

struct turn;

/* A client's data connection on its way to the worker that owns the peer's connection
 * (ConnectionBind, RFC 6062, section 4.4). Already authenticated. */
struct turn_bind {
    struct stream *stream;
    uint32_t connection_id;
    uint8_t txid[STUN_TXID_LEN];
    struct auth_who who;
    bool fingerprint; /* the request had one, so the answer does */
};

struct turn_params {
    unsigned int worker, n_workers; /* index and count: they are in every CONNECTION-ID */
    struct exit *exit;
    struct quota *quota;
    struct rate *rate;
    struct counters *counters;
    /* Takes `bind` to worker `to` (never our own), whose turn_on_bind() it must reach. The stream
     * is still on our base and inside a callback: detach it later. */
    void (*hand_over)(void *arg, unsigned int to, const struct turn_bind *bind);
    /* From now on `client`, which has no allocation here, is served by worker `to` (never our own),
     * beginning with this message: it is `away`, and what else it says goes there the same way.
     * Return: false when memory is short. With one worker, never called. */
    bool (*visit)(void *arg, unsigned int to, struct client *client, const uint8_t *data,
                  size_t len);
    /* The transport of a client that is away is gone. */
    void (*leave)(void *arg, struct client *client);
    void *arg;
};

/* Return: NULL when memory is short. */
struct turn *turn_new(const struct turn_params *params);
/* Ends every allocation without a word. */
void turn_free(struct turn *turn);

/* `conf` and `auth` are borrowed until the next call. */
void turn_set_settings(struct turn *turn, const struct conf *conf, const struct auth *auth);
/* After new settings: ends the allocations of users who are not listed any more. Holders of
 * ephemeral credentials are on no list, and stay. */
void turn_end_revoked(struct turn *turn);
/* No new allocations: 300 with the alternate server when there is one, else 508. */
void turn_set_draining(struct turn *turn);

/* One whole message (a datagram, or one framed message of a stream). `client` may go away during
 * the call only by its own close. What is queued on the way stays referenced until the worker's
 * flush. Return: 0, or -EPROTO when the bytes are no message at all (a stream is then closed). */
int turn_on_message(struct turn *turn, struct client *client, const uint8_t *data, size_t len,
                    uint64_t now_ns);
/* The client's transport is gone; its allocation ends (RFC 8656, section 3.1), unless it may move.
 */
void turn_on_closed(struct turn *turn, struct client *client);
/* A data connection that another worker authenticated. */
void turn_on_bind(struct turn *turn, const struct turn_bind *bind, uint64_t now_ns);

/* Ends what has expired; called about once a second. */
void turn_sweep(struct turn *turn, uint64_t now_ns);

size_t turn_n_allocations(const struct turn *turn);
/* Adds the allocations, newest first. */
void turn_flows(const struct turn *turn, struct flow_list *list);
