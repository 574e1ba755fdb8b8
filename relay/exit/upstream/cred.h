/*
 * relay/exit/upstream/cred.h - who we are to a relay: the client's long-term credentials
 *
 * One struct cred per relay is shared by its sessions: what one of them was told in a
 * 401 or 438 (realm, nonce, PASSWORD-ALGORITHMS), or a 405, is where the next one starts, which
 * saves it a round trip where the relay's nonces allow it. Each request keeps the nonce
 * it was sent with, so that a nonce that is good for one 5-tuple only (coturn) costs a
 * 438 and no loop.
 *
 * RFC 8489, section 9.2. SHA-256 is chosen when it is offered; a relay that had offered
 * it and stops doing so within a nonce's life is refused (bid-down, section 9.2.5).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/wire/stun.h"

#define CRED_TEXT_MAX 763 /* bytes of realm and nonce (RFC 8489, sections 14.9, 14.10) */

/* What one request is signed with. */
struct cred_proof {
    char realm[CRED_TEXT_MAX + 1], nonce[CRED_TEXT_MAX + 1];
    uint8_t algorithms[64]; /* the PASSWORD-ALGORITHMS value to send back; empty: RFC 5389 */
    size_t algorithms_len;
    enum stun_password_algorithm algorithm;
    enum stun_integrity integrity;
    bool userhash; /* the relay's nonce asks for USERHASH in place of USERNAME */
    uint8_t key[STUN_KEY_MAX];
    size_t key_len; /* 0: nothing is known yet, the request goes without credentials */
};

struct cred {
    char *user, *password; /* OpaqueString-prepared; owned */
    struct cred_proof proof;
    bool no_mobility; /* the relay has answered 405 to MOBILITY-TICKET: nobody need ask again */
};

/* Copies both. Return: 0 or -ENOMEM. */
int cred_init(struct cred *c, const char *user, const char *password);
/* Wipes. */
void cred_deinit(struct cred *c);

/* Adds USERNAME (or USERHASH), REALM, NONCE, PASSWORD-ALGORITHM(S) and the integrity attribute;
 * nothing when the proof is empty. */
void cred_put(const struct cred *c, const struct cred_proof *proof, struct stun_builder *b);

/* Reads a 401's or 438's challenge into `proof`, and into c->proof for those that come after.
 * Return: 0; -EBADMSG when it is no challenge (no realm or nonce, or a bid-down); -ENOMEM. On
 * failure neither is touched. */
int cred_take_challenge(struct cred *c, struct cred_proof *proof, const struct stun_msg *msg);
/* Forgets what the relay has said: whoever comes next asks without credentials first. */
void cred_forget(struct cred *c);

/* Whether an answer (success, or an error other than 401 and 438) proves that the relay knows the
 * password. */
bool cred_verify(const struct cred_proof *proof, const struct stun_msg *msg);
