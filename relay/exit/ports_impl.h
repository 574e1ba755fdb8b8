/* relay/exit/ports_impl.h - what ports.c and ports_reserve.c share, and nobody else sees */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "relay/exit/ports.h"

#define PORTS_PER_SPACE 65536u

struct ports_slot {
    uint8_t token[8];
    struct ports_reserved reserved;
    uint64_t expires_ns;
};

struct ports {
    /* By family (IPv4, IPv6) and protocol (UDP, TCP); see ports.c for the states of a word. */
    _Atomic uint32_t state[2][2][PORTS_PER_SPACE];

    pthread_mutex_t mutex; /* of everything below */
    unsigned int n_slots;
    struct ports_slot slots[PORTS_RESERVED_MAX]; /* the first n_slots, in no order */
};
