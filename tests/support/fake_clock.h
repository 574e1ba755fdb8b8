/*
 * tests/support/fake_clock.h - the clock of a test program
 *
 * Stands in for common/base/clock.c (same symbols): time moves when a test says
 * so, and no test sleeps.
 */
#pragma once

#include <stdint.h>

extern uint64_t fake_now_ns;
extern uint64_t fake_real_s;
