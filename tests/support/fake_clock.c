#include "tests/support/fake_clock.h"

#include "common/base/clock.h"

/* A machine that has been up for two hours, on a day in 2025. */
uint64_t fake_now_ns = 7200 * NS_PER_S;
uint64_t fake_real_s = 1750000000;

uint64_t clock_now_ns(void)
{
    return fake_now_ns;
}

uint64_t clock_real_s(void)
{
    return fake_real_s;
}
