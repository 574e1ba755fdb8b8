#include "relay/guard/rate.h"

#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"

/*
 * GCRA (ITU-T I.371, annex A): a slot holds the theoretical arrival time, the
 * moment at which all answers given so far would have been due at the exact rate.
 * An answer may go out while that moment is less than a burst ahead; it moves the
 * moment on by one interval. One word holds it all, so one compare-and-swap decides.
 *
 * Which slot an address shares must not be for a sender to choose, hence the salt:
 * a spoofed neighbour in the slot could silence someone. Filling all slots takes
 * 65536 x rate packets a second of spoofed traffic, more than the answers are worth.
 */

#define RATE_SLOTS 65536

/* No slot is ever a burst (one second) and the age of a worker's `now` ahead. What seems further
 * ahead is behind, however often the word turned over. A slot never used holds 0. */
#define RATE_HORIZON_NS (10 * NS_PER_S)

struct rate {
    uint8_t salt[16];
    _Atomic uint64_t slot[RATE_SLOTS];
};

struct rate *rate_new(void)
{
    struct rate *rate = calloc(1, sizeof(*rate));

    if (rate && RAND_bytes(rate->salt, sizeof(rate->salt)) != 1) {
        free(rate);
        rate = NULL;
    }
    return rate;
}

void rate_free(struct rate *rate)
{
    free(rate);
}

static _Atomic uint64_t *rate_slot(struct rate *rate, const struct addr *addr)
{
    /* A home has a /64 to choose its IPv6 addresses from: it is one sender. */
    size_t len = addr->family == ADDR_IPV6 ? 8 : 4;
    uint8_t key[sizeof(rate->salt) + 9];

    memcpy(key, rate->salt, sizeof(rate->salt));
    key[sizeof(rate->salt)] = addr->family;
    memcpy(key + sizeof(rate->salt) + 1, addr->ip, len);
    return &rate->slot[hash_bytes(key, sizeof(rate->salt) + 1 + len) % RATE_SLOTS];
}

bool rate_allows(struct rate *rate, const struct addr *addr, unsigned int per_second,
                 uint64_t now_ns)
{
    _Atomic uint64_t *slot;
    uint64_t interval, due, ahead, next;

    if (per_second == 0)
        return true;
    interval = NS_PER_S / per_second;
    slot = rate_slot(rate, addr);
    due = atomic_load_explicit(slot, memory_order_relaxed);
    do {
        ahead = due - now_ns; /* modulo 2^64, like the horizon's test */
        if (due == 0 || ahead > RATE_HORIZON_NS)
            ahead = 0;
        if (ahead + interval > interval * per_second)
            return false;
        next = now_ns + ahead + interval;
    } while (!atomic_compare_exchange_weak_explicit(slot, &due, next ? next : UINT64_MAX,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
