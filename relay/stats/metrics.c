#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "relay/stats/render.h"

/* Prometheus text exposition format 0.0.4. */

struct metrics_row {
    unsigned int roles;
    enum stats_kind kind;
    size_t offset; /* in struct counters */
    const char *metric, *labels, *help;
};

static const struct metrics_row metrics_rows[] = {
#define COUNTER(role, field, kind, metric, labels, help)                                           \
    {STATS_##role, STATS_##kind, offsetof(struct counters, field), metric, labels, help},
#define HISTOGRAM(role, field, metric, help)
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
};

static const struct metrics_row metrics_histograms[] = {
#define COUNTER(role, field, kind, metric, labels, help)
#define HISTOGRAM(role, field, metric, help)                                                       \
    {STATS_##role, STATS_COUNTER, offsetof(struct counters, field), metric, "", help},
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
};

uint64_t stats_value(enum stats_kind kind, const _Atomic uint64_t *counter)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

    return kind == STATS_GAUGE && value > INT64_MAX ? 0 : value;
}

static int metrics_head(struct evbuffer *out, const char *metric, enum stats_kind kind,
                        const char *help)
{
    return evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric, help, metric,
                               kind == STATS_GAUGE ? "gauge" : "counter");
}

/* Inside of a label's quotes a backslash, a quote and a newline are escaped. */
static int metrics_label(struct evbuffer *out, const char *text)
{
    int r = 0;

    for (; *text && r >= 0; text++) {
        if (*text == '\n')
            r = evbuffer_add(out, "\\n", 2);
        else if (*text == '\\' || *text == '"')
            r = evbuffer_add_printf(out, "\\%c", *text);
        else
            r = evbuffer_add(out, text, 1);
    }
    return r;
}

static int metrics_counters(const struct stats_view *view, struct evbuffer *out)
{
    const char *metric = "";
    int r = 0;

    for (size_t i = 0; i < sizeof(metrics_rows) / sizeof(metrics_rows[0]) && r >= 0; i++) {
        const struct metrics_row *row = &metrics_rows[i];
        const void *counter = (const char *)&view->counters + row->offset;

        if (!(row->roles & view->role))
            continue;
        if (strcmp(row->metric, metric) != 0)
            r = metrics_head(out, row->metric, row->kind, row->help);
        metric = row->metric;
        if (r >= 0)
            r = evbuffer_add_printf(out, row->labels[0] ? "%s{%s} %llu\n" : "%s%s %llu\n",
                                    row->metric, row->labels,
                                    (unsigned long long)stats_value(row->kind, counter));
    }
    return r;
}

/* Buckets are cumulative here, and times in seconds. `_count` is what the last one says: read from
 * a counter of its own, it could differ by what was counted in between. */
static int metrics_histogram(const struct metrics_row *row, const struct histogram *h,
                             struct evbuffer *out)
{
    unsigned long long n = 0, sum_us = atomic_load_explicit(&h->sum_us, memory_order_relaxed);
    int r = evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s histogram\n", row->metric, row->help,
                                row->metric);

    for (size_t i = 0; i < HISTOGRAM_N_BOUNDS && r >= 0; i++) {
        n += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        r = evbuffer_add_printf(out, "%s_bucket{le=\"%g\"} %llu\n", row->metric,
                                histogram_bounds_us[i] / 1e6, n);
    }
    if (r < 0)
        return r;
    n += atomic_load_explicit(&h->bucket[HISTOGRAM_N_BOUNDS], memory_order_relaxed);
    return evbuffer_add_printf(
        out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %llu.%06llu\n%s_count %llu\n", row->metric, n,
        row->metric, sum_us / 1000000, sum_us % 1000000, row->metric, n);
}

static int metrics_all_histograms(const struct stats_view *view, struct evbuffer *out)
{
    const size_t n = sizeof(metrics_histograms) / sizeof(metrics_histograms[0]);
    int r = 0;

    for (size_t i = 0; i < n && r >= 0; i++) {
        const void *at = (const char *)&view->counters + metrics_histograms[i].offset;

        if (metrics_histograms[i].roles & view->role)
            r = metrics_histogram(&metrics_histograms[i], at, out);
    }
    return r;
}

static int metrics_gauge(struct evbuffer *out, const char *metric, const char *help, uint64_t value)
{
    if (metrics_head(out, metric, STATS_GAUGE, help) < 0)
        return -1;
    return evbuffer_add_printf(out, "%s %llu\n", metric, (unsigned long long)value);
}

static int metrics_info(struct evbuffer *out, enum stats_role role)
{
    if (metrics_head(out, "callveil_build_info", STATS_GAUGE, "The version, as a label.") < 0 ||
        evbuffer_add_printf(out, "callveil_build_info{version=\"") < 0 ||
        metrics_label(out, CALLVEIL_VERSION) < 0)
        return -1;
    return evbuffer_add_printf(out, "\",role=\"%s\"} 1\n", role == STATS_local ? "local" : "relay");
}

/* What is not there has no series: a 0 would raise somebody's alarm. */
static int metrics_state(const struct stats_state *state, struct evbuffer *out)
{
    const struct {
        const char *name;
        int link;
    } links[] = {{"datagrams", state->datagrams}, {"streams", state->streams}};
    bool headed = false;
    int r = 0;

    for (size_t i = 0; i < 2 && r >= 0; i++) {
        if (links[i].link == STATS_LINK_NONE)
            continue;
        if (!headed)
            r = metrics_head(out, "callveil_upstream_up", STATS_GAUGE,
                             "Whether a relay is there for datagrams, and for streams.");
        headed = true;
        if (r >= 0)
            r = evbuffer_add_printf(out, "callveil_upstream_up{for=\"%s\"} %d\n", links[i].name,
                                    links[i].link == STATS_LINK_UP);
    }
    if (r >= 0 && state->certificate_not_after_s != 0)
        r = metrics_gauge(out, "callveil_certificate_expiry_timestamp_seconds",
                          "End of the relay's certificate, in seconds since 1970-01-01 UTC.",
                          state->certificate_not_after_s);
    return r;
}

int stats_render_metrics(const struct stats_view *view, struct evbuffer *out)
{
    if (metrics_info(out, view->role) < 0 ||
        metrics_gauge(out, "process_start_time_seconds",
                      "Start of the process, in seconds since 1970-01-01 UTC.",
                      view->started_s) < 0 ||
        metrics_state(&view->state, out) < 0 || metrics_counters(view, out) < 0 ||
        metrics_all_histograms(view, out) < 0)
        return -ENOMEM;
    return 0;
}
