#include "relay/turn/replay.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"

#define REPLAY_SLOTS 1024

struct replay_slot {
    struct addr client;
    uint8_t txid[STUN_TXID_LEN];
    uint16_t len; /* 0: empty */
    uint64_t expires_ns;
    uint8_t answer[REPLAY_ANSWER_MAX];
};

struct replay {
    struct replay_slot slots[REPLAY_SLOTS];
};

struct replay *replay_new(void)
{
    return calloc(1, sizeof(struct replay));
}

void replay_free(struct replay *replay)
{
    free(replay);
}

static size_t replay_index(const struct addr *client, const uint8_t txid[STUN_TXID_LEN])
{
    return (addr_hash(client) ^ hash_bytes(txid, STUN_TXID_LEN)) % REPLAY_SLOTS;
}

void replay_keep(struct replay *replay, const struct addr *client,
                 const uint8_t txid[STUN_TXID_LEN], const uint8_t *answer, size_t len,
                 uint64_t now_ns)
{
    struct replay_slot *slot = &replay->slots[replay_index(client, txid)];

    if (len > REPLAY_ANSWER_MAX)
        return;
    slot->client = *client;
    memcpy(slot->txid, txid, STUN_TXID_LEN);
    memcpy(slot->answer, answer, len);
    slot->len = (uint16_t)len;
    slot->expires_ns = now_ns + REPLAY_LIFETIME_S * NS_PER_S;
}

const uint8_t *replay_find(const struct replay *replay, const struct addr *client,
                           const uint8_t txid[STUN_TXID_LEN], size_t *ret_len, uint64_t now_ns)
{
    const struct replay_slot *slot = &replay->slots[replay_index(client, txid)];

    if (slot->len == 0 || slot->expires_ns <= now_ns || !addr_equal(&slot->client, client) ||
        memcmp(slot->txid, txid, STUN_TXID_LEN) != 0)
        return NULL;
    *ret_len = slot->len;
    return slot->answer;
}
