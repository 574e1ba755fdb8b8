/*
 * relay/exit/resolve_cache.h - what names were answered with, for as long as that holds
 *
 * A table of answers by canonical name. The one used least recently makes room for a
 * new one; nothing is allocated beyond the limit.
 *
 * Owner: the resolver embeds one. Time is handed in.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/hash.h"
#include "common/base/list.h"
#include "relay/exit/resolve.h"

struct resolve_answer {
    enum exit_result result;
    size_t n;
    struct addr addrs[RESOLVE_ADDRS_MAX];
};

struct resolve_cache {
    struct hash_table table;
    struct list used; /* the least recently used first */
    size_t n, max;
};

/* Return: 0, or -ENOMEM. */
int resolve_cache_init(struct resolve_cache *cache, size_t max);
void resolve_cache_deinit(struct resolve_cache *cache);

/* Borrowed until the next call, or NULL. */
const struct resolve_answer *resolve_cache_get(struct resolve_cache *cache, const char *name,
                                               uint64_t now_ns);
/* Replaces what is there; without memory it stays unknown. */
void resolve_cache_put(struct resolve_cache *cache, const char *name,
                       const struct resolve_answer *answer, uint64_t expires_ns);
/* Forgets the answers that are not addresses. */
void resolve_cache_forget_failures(struct resolve_cache *cache);
