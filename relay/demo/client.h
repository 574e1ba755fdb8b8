/*
 * relay/demo/client.h - a small TURN client for the demo: allocate, reach one peer, tidy up
 *
 * A client like any other: it knows the relay's address, a user name and a password,
 * and nothing of the relay's insides although it runs in the same process. Speaks
 * RFC 8489's SHA-256 authentication where the server offers it and RFC 5389's
 * otherwise, over UDP or TCP, so that it can be tried against any TURN server.
 *
 * Calls block, each up to a few seconds. One request is under way at a time; what
 * peers send while one is, is dropped: a demo call starts after the requests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "common/wire/stun.h"
#include "relay/demo/link.h"

#define DEMO_TEXT_MAX 763 /* bytes of REALM and NONCE, RFC 8489, sections 14.9 and 14.10 */

struct demo_client {
    struct demo_link link;
    struct addr mapped;  /* XOR-MAPPED-ADDRESS: what the relay says the client's address is */
    struct addr relayed; /* XOR-RELAYED-ADDRESS: the only one that peers should see */
    struct addr channel_peer;
    uint16_t channel; /* 0: none bound */

    const char *user, *password;
    char realm[DEMO_TEXT_MAX + 1], nonce[DEMO_TEXT_MAX + 1];
    uint8_t algorithms[64]; /* PASSWORD-ALGORITHMS, to be echoed; empty before RFC 8489 */
    size_t algorithms_len;
    uint8_t key[STUN_KEY_MAX];
    size_t key_len; /* 0 until the server's challenge */
    enum stun_integrity integrity;
};

struct demo_packet {
    struct addr from; /* what the relay says the sender's address is */
    const uint8_t *data;
    size_t len;
};

/* All calls answer 0, -errno (-ETIMEDOUT: no answer; -EBADMSG: an answer that does not prove that
 * the server knows the password, or that lacks what it must hold), or > 0: the error code that the
 * server answered. */

/* `from` is the address to call from; `user` and `password` stay the caller's. On failure, too,
 * demo_client_free() is due if *ret is not NULL. */
int demo_client_new(const struct addr *from, const struct addr *relay, bool stream,
                    const char *user, const char *password, struct demo_client **ret);
/* Deletes the allocation (best effort). NULL is fine. */
void demo_client_free(struct demo_client *c);

int demo_client_allocate(struct demo_client *c);
int demo_client_permit(struct demo_client *c, const struct addr *peer);
/* Later sends to `peer` are ChannelData; also installs the permission. */
int demo_client_bind(struct demo_client *c, const struct addr *peer, uint16_t channel);

/* At most 2000 bytes. */
int demo_client_send(struct demo_client *c, const struct addr *peer, const void *data, size_t len);
/* The next packet from a peer, valid until the next call; a deadline in the past takes what is
 * there. */
int demo_client_receive(struct demo_client *c, uint64_t deadline_ns, struct demo_packet *ret);
