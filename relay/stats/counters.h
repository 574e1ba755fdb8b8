/*
 * relay/stats/counters.h - what each worker counts
 *
 * One struct of relaxed 64-bit counters per worker, written by its worker only and
 * summed by whoever reads. counters.def has one row per counter: field, Prometheus
 * name, labels, help; the struct, the JSON and the metrics are made from it.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct counters {
#define COUNTER(field, kind, metric, labels, help) _Atomic uint64_t field;
#include "relay/stats/counters.def"
#undef COUNTER
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

/* Adds each of `from`'s counters to `to` (an ordinary sum on the reader's stack). */
void counters_sum(struct counters *to, const struct counters *from);
