/*
 * relay/turn/replay.h - a retransmitted request gets the identical answer
 *
 * UDP loses answers, and a client that asks again must not be told that what it
 * asked for exists already (RFC 8489, section 6.3.1; 437 is the classic mistake).
 * Requests that are idempotent are simply carried out again; the answers of the
 * others (Allocate, Refresh with lifetime 0) are kept here for 40 s.
 *
 * A fixed, direct-mapped table: bounded memory, no allocation, and a collision
 * only forgets an answer. Entries are made by authenticated requests only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "common/wire/stun.h"

struct replay;

#define REPLAY_ANSWER_MAX 256
#define REPLAY_LIFETIME_S 40

struct replay *replay_new(void);
void replay_free(struct replay *replay);

/* Longer answers than REPLAY_ANSWER_MAX are not kept. */
void replay_keep(struct replay *replay, const struct addr *client,
                 const uint8_t txid[STUN_TXID_LEN], const uint8_t *answer, size_t len,
                 uint64_t now_ns);

/* The kept answer, borrowed until the next replay_keep(), or NULL. */
const uint8_t *replay_find(const struct replay *replay, const struct addr *client,
                           const uint8_t txid[STUN_TXID_LEN], size_t *ret_len, uint64_t now_ns);
