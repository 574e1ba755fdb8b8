#include "relay/turn/perm.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/clock.h"

#define PERM_CAP_MIN 4

static struct perm *perm_find(struct perm_set *set, const struct addr *peer)
{
    if (set->last < set->n && addr_ip_equal(&set->perms[set->last].ip, peer))
        return &set->perms[set->last];
    for (uint32_t i = 0; i < set->n; i++) {
        if (addr_ip_equal(&set->perms[i].ip, peer)) {
            set->last = i;
            return &set->perms[i];
        }
    }
    return NULL;
}

static void perm_drop_expired(struct perm_set *set, uint64_t now_ns)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < set->n; i++)
        if (set->perms[i].expires_ns > now_ns)
            set->perms[n++] = set->perms[i];
    set->n = n;
}

static int perm_grow(struct perm_set *set)
{
    uint32_t cap = set->cap > 0 ? set->cap * 2 : PERM_CAP_MIN;
    struct perm *perms = realloc(set->perms, cap * sizeof(*perms));

    if (!perms)
        return -ENOMEM;
    set->perms = perms;
    set->cap = cap;
    return 0;
}

int perm_add(struct perm_set *set, const struct addr *peer, unsigned int max, uint64_t now_ns)
{
    uint64_t expires_ns = now_ns + PERM_LIFETIME_S * NS_PER_S;
    struct perm *perm = perm_find(set, peer);
    int r;

    if (perm) {
        perm->expires_ns = expires_ns;
        return 0;
    }
    if (set->n >= max || set->n == set->cap)
        perm_drop_expired(set, now_ns);
    if (set->n >= max)
        return PERM_E_FULL;
    if (set->n == set->cap) {
        r = perm_grow(set);
        if (r < 0)
            return r;
    }
    set->perms[set->n] = (struct perm){.ip = *peer, .expires_ns = expires_ns};
    set->perms[set->n++].ip.port = 0;
    return 0;
}

int perm_reserve(struct perm_set *set, const struct addr *peers, unsigned int n, unsigned int max,
                 uint64_t now_ns)
{
    uint32_t n_new = 0;
    int r = 0;

    perm_drop_expired(set, now_ns);
    for (unsigned int i = 0; i < n; i++) {
        bool known = perm_find(set, &peers[i]) != NULL;

        for (unsigned int j = 0; j < i && !known; j++)
            known = addr_ip_equal(&peers[j], &peers[i]);
        n_new += !known;
    }
    if (n_new > 0 && (set->n >= max || n_new > max - set->n))
        return PERM_E_FULL;
    while (r == 0 && set->cap < set->n + n_new)
        r = perm_grow(set);
    return r;
}

bool perm_has(struct perm_set *set, const struct addr *peer, uint64_t now_ns)
{
    const struct perm *perm = perm_find(set, peer);

    return perm && perm->expires_ns > now_ns;
}

void perm_drop_family(struct perm_set *set, uint8_t family)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < set->n; i++)
        if (set->perms[i].ip.family != family)
            set->perms[n++] = set->perms[i];
    set->n = n;
}

void perm_deinit(struct perm_set *set)
{
    free(set->perms);
    *set = (struct perm_set){0};
}
