/*
 * relay/guard/rate.h - answers to addresses that have not authenticated
 *
 * An open UDP port answers whoever asks, and a sender may lie about who asks. The
 * limiter bounds what one address (IPv4 /32, IPv6 /64) can make us send: a fixed
 * table of atomic words shared by all workers (GCRA, one word per address hash), no
 * memory per sender. Two addresses that share a slot share its rate.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/net/addr.h"

struct rate;

struct rate *rate_new(void);
void rate_free(struct rate *rate);

/* Whether one more answer may go to `addr` now; `per_second` 0 always may. A burst of one second's
 * worth is allowed. Lock-free. */
bool rate_allows(struct rate *rate, const struct addr *addr, unsigned int per_second,
                 uint64_t now_ns);
