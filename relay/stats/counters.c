#include "relay/stats/counters.h"

void counters_sum(struct counters *to, const struct counters *from)
{
#define COUNTER(field, kind, metric, labels, help)                                                 \
    counter_add(&to->field, atomic_load_explicit(&from->field, memory_order_relaxed));
#include "relay/stats/counters.def"
#undef COUNTER
}
