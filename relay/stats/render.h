/*
 * relay/stats/render.h - the counters as text
 *
 * Neither form names a user or an address of its own accord; what describe() adds
 * to the JSON is the role's decision. The metrics never get to see it: a label per
 * user would make a time series per ephemeral credential.
 */
#pragma once

#include <event2/buffer.h>
#include <stdint.h>

#include "relay/stats/counters.h"
#include "relay/stats/http.h"

struct stats_view {
    enum stats_role role;
    struct counters counters;
    struct stats_state state;
    uint64_t uptime_s;
    uint64_t started_s; /* seconds since 1970 */
    struct stats_reader reader;
};

enum stats_kind {
    STATS_COUNTER,
    STATS_GAUGE,
};

/* The value to show. A gauge may be raised by one worker and lowered by another, and is read
 * between the two for a moment: what would be negative is 0. */
uint64_t stats_value(enum stats_kind kind, const _Atomic uint64_t *counter);

/* Both append to `out`. Return: 0, or -ENOMEM with part of the text written. */
int stats_render_json(const struct stats_source *source, const struct stats_view *view,
                      struct evbuffer *out);
int stats_render_metrics(const struct stats_view *view, struct evbuffer *out);
