/*
 * relay/turn/perm.h - which peers may talk through an allocation
 *
 * TURN keeps a permission per peer IP (no port), refreshed by CreatePermission
 * or ChannelBind and gone five minutes later (RFC 8656, section 9). Traffic does
 * not refresh it.
 *
 * Flow:    turn/alloc.c adds; turn/forward.c asks, once per datagram.
 * Owner:   struct alloc embeds one perm_set; it dies with the alloc.
 * Threads: the worker that owns the alloc, nobody else.
 * Limits:  `max` per allocation; a full set answers 508.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/net/addr.h"

#define PERM_LIFETIME_S 300

struct perm {
    struct addr ip; /* port 0 */
    uint64_t expires_ns;
};

struct perm_set {
    struct perm *perms;
    uint32_t n, cap;
    uint32_t last; /* where the last lookup hit: calls have few peers, and mostly one at a time */
};

enum {
    PERM_E_FULL = 1, /* `max` live permissions exist (-> 508) */
};

/* Installs or refreshes. Return: 0, PERM_E_FULL or -ENOMEM. */
int perm_add(struct perm_set *set, const struct addr *peer, unsigned int max, uint64_t now_ns);

/* Makes sure that perm_add() of each of these `n` peers will succeed, and installs nothing: a
 * CreatePermission is carried out whole or not at all (RFC 8656, section 10.2).
 * Return: 0, PERM_E_FULL or -ENOMEM. */
int perm_reserve(struct perm_set *set, const struct addr *peers, unsigned int n, unsigned int max,
                 uint64_t now_ns);

/* Whether the peer's IP has a live permission. */
bool perm_has(struct perm_set *set, const struct addr *peer, uint64_t now_ns);

/* Forgets the peers of one family. */
void perm_drop_family(struct perm_set *set, uint8_t family);

void perm_deinit(struct perm_set *set);
