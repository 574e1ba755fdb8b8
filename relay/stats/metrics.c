#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "relay/stats/render.h"

/* Prometheus text exposition format 0.0.4. */

struct metrics_row {
    size_t offset; /* in struct counters */
    enum stats_kind kind;
    const char *metric, *labels, *help;
};

static const struct metrics_row metrics_rows[] = {
#define COUNTER(field, kind, metric, labels, help)                                                 \
    {offsetof(struct counters, field), STATS_##kind, metric, labels, help},
#include "relay/stats/counters.def"
#undef COUNTER
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

static int metrics_counters(const struct counters *counters, struct evbuffer *out)
{
    const char *metric = "";
    int r = 0;

    for (size_t i = 0; i < sizeof(metrics_rows) / sizeof(metrics_rows[0]) && r >= 0; i++) {
        const struct metrics_row *row = &metrics_rows[i];
        const void *counter = (const char *)counters + row->offset;

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

static int metrics_gauge(struct evbuffer *out, const char *metric, const char *help, uint64_t value)
{
    if (metrics_head(out, metric, STATS_GAUGE, help) < 0)
        return -1;
    return evbuffer_add_printf(out, "%s %llu\n", metric, (unsigned long long)value);
}

static int metrics_build_info(struct evbuffer *out)
{
    if (metrics_head(out, "callveil_build_info", STATS_GAUGE, "The version, as a label.") < 0 ||
        evbuffer_add_printf(out, "callveil_build_info{version=\"") < 0 ||
        metrics_label(out, CALLVEIL_VERSION) < 0)
        return -1;
    return evbuffer_add_printf(out, "\"} 1\n");
}

int stats_render_metrics(const struct stats_view *view, struct evbuffer *out)
{
    if (metrics_build_info(out) < 0 ||
        metrics_gauge(out, "process_start_time_seconds",
                      "Start of the process, in seconds since 1970-01-01 UTC.",
                      view->started_s) < 0 ||
        metrics_gauge(out, "callveil_uptime_seconds", "Seconds since the process started.",
                      view->uptime_s) < 0 ||
        metrics_counters(&view->counters, out) < 0)
        return -ENOMEM;
    return 0;
}
