#include "relay/stats/counters.h"

const uint32_t histogram_bounds_us[HISTOGRAM_N_BOUNDS] = {
    20,    50,    100,    200,    500,    1000,    2000,    5000,    10000,
    20000, 50000, 100000, 200000, 500000, 1000000, 2000000, 5000000,
};

void histogram_add(struct histogram *h, uint64_t us)
{
    size_t i = 0;

    /* A bound belongs to its bucket: Prometheus' "le" is less or equal. */
    while (i < HISTOGRAM_N_BOUNDS && us > histogram_bounds_us[i])
        i++;
    counter_add(&h->bucket[i], 1);
    counter_add(&h->sum_us, us);
}

static void histogram_sum(struct histogram *to, const struct histogram *from)
{
    for (size_t i = 0; i <= HISTOGRAM_N_BOUNDS; i++)
        counter_add(&to->bucket[i], atomic_load_explicit(&from->bucket[i], memory_order_relaxed));
    counter_add(&to->sum_us, atomic_load_explicit(&from->sum_us, memory_order_relaxed));
}

void counters_sum(struct counters *to, const struct counters *from)
{
#define COUNTER(role, field, kind, metric, labels, help)                                           \
    counter_add(&to->field, atomic_load_explicit(&from->field, memory_order_relaxed));
#define HISTOGRAM(role, field, metric, help) histogram_sum(&to->field, &from->field);
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
}
