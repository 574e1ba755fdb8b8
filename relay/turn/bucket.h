/*
 * relay/turn/bucket.h - a byte budget that refills with time
 *
 * One second's worth may be used at once. A rate of 0 has no limit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/clock.h"

struct bucket {
    int64_t bytes; /* left; below zero after bucket_spend(): a debt to wait off */
    uint64_t refilled_ns;
};

static inline void bucket_refill(struct bucket *b, uint64_t bytes_per_s, uint64_t now_ns)
{
    uint64_t elapsed_ns = now_ns - b->refilled_ns;

    if (b->refilled_ns == 0 || elapsed_ns >= NS_PER_S) {
        b->bytes += (int64_t)bytes_per_s;
        b->refilled_ns = now_ns;
    } else {
        /* In two parts: the product of a second and the highest rate is over 64 bits. */
        uint64_t earned =
            bytes_per_s / NS_PER_S * elapsed_ns + bytes_per_s % NS_PER_S * elapsed_ns / NS_PER_S;

        b->bytes += (int64_t)earned;
        /* Short steps earn a fraction of a byte: its time is kept until it is worth one. */
        b->refilled_ns =
            bytes_per_s < NS_PER_S ? b->refilled_ns + earned * NS_PER_S / bytes_per_s : now_ns;
    }
    if (b->bytes > (int64_t)bytes_per_s)
        b->bytes = (int64_t)bytes_per_s;
}

/* Takes `n` bytes if they are there. */
static inline bool bucket_take(struct bucket *b, uint64_t bytes_per_s, size_t n, uint64_t now_ns)
{
    if (bytes_per_s == 0)
        return true;
    bucket_refill(b, bytes_per_s, now_ns);
    if (b->bytes < (int64_t)n)
        return false;
    b->bytes -= (int64_t)n;
    return true;
}

/* Takes `n` bytes in any case (a stream's bytes cannot be dropped). Return: false when the budget
 * is overdrawn and the sender should be paused. */
static inline bool bucket_spend(struct bucket *b, uint64_t bytes_per_s, size_t n, uint64_t now_ns)
{
    if (bytes_per_s == 0)
        return true;
    bucket_refill(b, bytes_per_s, now_ns);
    b->bytes -= (int64_t)n;
    return b->bytes >= 0;
}

static inline bool bucket_solvent(struct bucket *b, uint64_t bytes_per_s, uint64_t now_ns)
{
    return bucket_spend(b, bytes_per_s, 0, now_ns);
}
