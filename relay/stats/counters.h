/*
 * relay/stats/counters.h - what each worker counts
 *
 * One struct of relaxed 64-bit counters per worker, written by its worker only and
 * summed by whoever reads. counters.def has one row per counter and per histogram:
 * who shows it, field, Prometheus name, labels, help; the struct, the JSON and the
 * metrics are made from it.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Bits: a counter may be shown by both. */
enum stats_role {
    STATS_relay = 1,
    STATS_local = 2,
    STATS_both = STATS_relay | STATS_local,
};

/* Upper bounds of the buckets in microseconds: what a relay takes for an allocation, and what a
 * round trip takes on the far side of the earth. One more bucket has the rest. */
#define HISTOGRAM_N_BOUNDS 17

extern const uint32_t histogram_bounds_us[HISTOGRAM_N_BOUNDS];

struct histogram {
    _Atomic uint64_t bucket[HISTOGRAM_N_BOUNDS + 1]; /* each for itself, not cumulative */
    _Atomic uint64_t sum_us;
};

struct counters {
#define COUNTER(role, field, kind, metric, labels, help) _Atomic uint64_t field;
#define HISTOGRAM(role, field, metric, help)             struct histogram field;
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
};

/* Only the owning worker writes, so a plain add on a relaxed load is exact and needs no lock
 * prefix. */
static inline void counter_add(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void counter_sub(_Atomic uint64_t *c, uint64_t n)
{
    counter_add(c, (uint64_t)0 - n);
}

void histogram_add(struct histogram *h, uint64_t us);

/* Adds each of `from`'s counters to `to` (an ordinary sum on the reader's stack). */
void counters_sum(struct counters *to, const struct counters *from);
