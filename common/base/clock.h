/*
 * common/base/clock.h - the time, read once and passed on
 *
 * Whoever is woken (an event callback) reads the clock and hands `now_ns` down;
 * nothing below reads it, so tests set the time instead of waiting for it.
 */
#pragma once

#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* Nanoseconds since boot, never running backwards; time asleep counts, because a
 * lifetime granted by another host does not stop when this one is suspended. */
uint64_t clock_now_ns(void);

/* Seconds since 1970-01-01 UTC: for certificates and TURN REST expiry only. */
uint64_t clock_real_s(void);
