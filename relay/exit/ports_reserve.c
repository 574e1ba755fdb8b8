/*
 * Reserved sockets: few, short-lived and met by requests only, so an array and a
 * mutex do. Workers hand sockets to each other through it, because the Allocate
 * that brings the token may reach another worker than the one that gave it.
 */
#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "relay/exit/ports_impl.h"

static void ports_slot_remove(struct ports *ports, unsigned int i)
{
    ports->slots[i] = ports->slots[--ports->n_slots];
}

static void ports_sweep_locked(struct ports *ports, uint64_t now_ns)
{
    struct port_space space = {.tcp = false};

    for (unsigned int i = ports->n_slots; i-- > 0;) {
        struct ports_slot *slot = &ports->slots[i];

        if (now_ns < slot->expires_ns)
            continue;
        close(slot->reserved.fd);
        space.family = slot->reserved.bound.family;
        ports_release(ports, space, slot->reserved.bound.port, now_ns);
        ports_slot_remove(ports, i);
    }
}

unsigned int ports_sweep(struct ports *ports, uint64_t now_ns)
{
    unsigned int n;

    pthread_mutex_lock(&ports->mutex);
    ports_sweep_locked(ports, now_ns);
    n = ports->n_slots;
    pthread_mutex_unlock(&ports->mutex);
    return n;
}

int ports_park(struct ports *ports, struct port_rng *rng, const struct ports_reserved *reserved,
               uint64_t now_ns, uint8_t ret_token[8])
{
    struct ports_slot slot = {
        .reserved = *reserved,
        .expires_ns = now_ns + PORTS_RESERVE_S * NS_PER_S,
    };
    int r = port_rng_bytes(rng, slot.token, sizeof(slot.token));

    if (r < 0)
        return r;
    pthread_mutex_lock(&ports->mutex);
    ports_sweep_locked(ports, now_ns);
    if (ports->n_slots == PORTS_RESERVED_MAX)
        r = PORTS_E_FULL;
    else
        ports->slots[ports->n_slots++] = slot;
    pthread_mutex_unlock(&ports->mutex);
    if (r == 0)
        memcpy(ret_token, slot.token, sizeof(slot.token));
    return r;
}

int ports_claim(struct ports *ports, const uint8_t token[8], uint64_t now_ns,
                struct ports_reserved *ret)
{
    int r = PORTS_E_TOKEN;

    pthread_mutex_lock(&ports->mutex);
    ports_sweep_locked(ports, now_ns);
    for (unsigned int i = 0; i < ports->n_slots && r != 0; i++) {
        /* A token is a secret until used: no early way out of the comparison. */
        if (CRYPTO_memcmp(ports->slots[i].token, token, 8) != 0)
            continue;
        *ret = ports->slots[i].reserved;
        ports_slot_remove(ports, i);
        r = 0;
    }
    pthread_mutex_unlock(&ports->mutex);
    return r;
}
