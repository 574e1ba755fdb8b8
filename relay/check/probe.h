/*
 * relay/check/probe.h - one transport to the relay, tried with real packets
 *
 * Two allocations of our own, as two people in a call have: A sends numbered packets to
 * B's relayed address, B returns each to the address it came from, which is what a peer
 * sees of A. Over TCP and TLS a stream goes the same way, from an address that B's side
 * is told. Nothing but the exit is used, so what is shown is what apps get.
 *
 * Blocks, on an event_base of its own, for a bounded time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "conf/conf.h"

#define PROBE_SEEN_MAX 8
#define PROBE_PACKETS  50

struct probe {
    bool reached;                    /* both allocations were made */
    bool hears_echo;                 /* at least one packet went all the way */
    bool streams_wanted, streams_ok; /* TCP and TLS: RFC 6062 */
    char why[192];                   /* what failed, for a person; empty when nothing did */
    char streams_why[192];           /* the same of streams */
    struct addr relayed[2];          /* A's: IPv4, IPv6; ADDR_NONE where there is none */
    struct addr
        seen[PROBE_SEEN_MAX]; /* every address that B saw, datagrams and streams; no ports */
    size_t n_seen;
    unsigned int n_sent, n_echoed;
    uint32_t rtt_us; /* median of A -> relay -> B's place -> relay -> A: twice the way to the relay
                        and back; 0 when nothing came back */
};

/* `conf` has one url. Return: 0 with *ret filled in whatever the outcome, or -errno when this
 * machine would not even let us try. */
int probe_run(const struct conf *conf, struct probe *ret);
