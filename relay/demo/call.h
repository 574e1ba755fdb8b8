/*
 * relay/demo/call.h - two peers, each with a relayed address, and a call between them
 *
 * The peers learn each other's relayed address the way real ones do, out of band (a
 * pointer, here). From then on a peer knows what it receives, and nothing else.
 *
 * Every audio packet is answered with a short report of the same number, as RTCP
 * would, from which its sender takes the round trip: peer, relay twice, peer, and
 * back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "relay/demo/client.h"
#include "relay/demo/media.h"

enum demo_kind {
    DEMO_AUDIO,
    DEMO_VIDEO,
    DEMO_REPORT,
    DEMO_N_KINDS,
};

#define DEMO_SECONDS_MAX 600 /* within the lifetimes that are granted: nothing is refreshed */

struct demo_login {
    struct addr udp, tcp; /* the server's */
    const char *user, *password;
};

struct demo_peer {
    /* set by the caller */
    const char *name;
    const struct demo_login *login; /* the relay's, or the local proxy's in front of it */
    struct addr own;                /* where it calls from: what the other side must not learn */
    bool stream;                    /* TCP to the server */
    bool channel;                   /* ChannelData, else Send indications */

    struct demo_client *client;
    struct demo_stream out[DEMO_N_KINDS];
    struct addr seen;       /* where packets came from, as the relay says */
    unsigned int n_foreign; /* packets that are none of the other peer's, or not from `seen` */
    uint64_t *sent_ns;      /* of each audio packet */
    uint32_t *rtt_us;
    unsigned int n_rtt;
};

struct demo_call {
    struct demo_peer peer[2];
    char why[160]; /* after a failure */
};

/* Connects, allocates, and opens the way to each other. Return: 0, or -1 and call->why. */
int demo_call_open(struct demo_call *call, unsigned int seconds);
/* NULL members are fine. */
void demo_call_close(struct demo_call *call);

/* All calls at once, for `seconds`, then up to two more for what is still on its way. `tick` is
 * called about fifty times a second. Return: NULL, or why it ended early. */
const char *demo_calls_run(struct demo_call *calls, size_t n_calls, unsigned int seconds,
                           void (*tick)(void *arg), void *arg);

/* Whether everything arrived as sent and nothing gave a peer away; else call->why. */
bool demo_call_is_clean(struct demo_call *call);

/* Microseconds; 0 when nothing came back. Sorts the peer's samples. */
uint32_t demo_peer_median_rtt_us(struct demo_peer *peer);
