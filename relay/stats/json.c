#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "relay/stats/render.h"

#define JSON_VERSION 1 /* goes up when a member changes its meaning or goes away */

static json_t *json_number(enum stats_kind kind, const _Atomic uint64_t *counter)
{
    uint64_t value = stats_value(kind, counter);

    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *json_counters(const struct stats_view *view)
{
    const struct counters *counters = &view->counters;
    json_t *object = json_object();
    int r = object ? 0 : -1;

#define COUNTER(role_, field, kind, metric, labels, help)                                          \
    if (view->role & STATS_##role_)                                                                \
        r |= json_object_set_new(object, #field, json_number(STATS_##kind, &counters->field));
#define HISTOGRAM(role_, field, metric, help)
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
    if (r == 0)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *json_histogram(const struct histogram *h)
{
    json_t *buckets = json_array();
    json_int_t count = 0;

    for (size_t i = 0; i <= HISTOGRAM_N_BOUNDS; i++) {
        json_t *n = json_number(STATS_COUNTER, &h->bucket[i]);
        json_t *bound = i < HISTOGRAM_N_BOUNDS ? json_integer(histogram_bounds_us[i]) : json_null();

        count += json_integer_value(n);
        json_array_append_new(buckets, json_pack("{s:o, s:o}", "le_us", bound, "n", n));
    }
    return json_pack("{s:I, s:o, s:o}", "count", count, "sum_us",
                     json_number(STATS_COUNTER, &h->sum_us), "buckets", buckets);
}

static json_t *json_histograms(const struct stats_view *view)
{
    json_t *object = json_object();
    int r = object ? 0 : -1;

#define COUNTER(role_, field, kind, metric, labels, help)
#define HISTOGRAM(role_, field, metric, help)                                                      \
    if (view->role & STATS_##role_)                                                                \
        r |= json_object_set_new(object, #field, json_histogram(&view->counters.field));
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
    if (r == 0)
        return object;
    json_decref(object);
    return NULL;
}

/* JSON has these characters inside strings only, where the escape means the same. Without them no
 * user name becomes markup, even where somebody pastes the text into a page. */
static int json_write_escaped(const char *text, size_t len, void *arg)
{
    struct evbuffer *out = arg;

    for (size_t n; len > 0; text += n, len -= n) {
        char escape[8];

        for (n = 0; n < len && !strchr("<>&", text[n]); n++)
            ;
        if (n > 0 && evbuffer_add(out, text, n) < 0)
            return -1;
        if (n == len)
            break;
        snprintf(escape, sizeof(escape), "\\u%04x", (unsigned int)text[n++]);
        if (evbuffer_add(out, escape, 6) < 0)
            return -1;
    }
    return 0;
}

int stats_render_json(const struct stats_source *source, const struct stats_view *view,
                      struct evbuffer *out)
{
    json_t *root = json_object();
    int r = root ? 0 : -1;

    r |= json_object_set_new(root, "version", json_integer(JSON_VERSION));
    r |= json_object_set_new(root, "callveil", json_string(CALLVEIL_VERSION));
    r |= json_object_set_new(root, "uptime_s", json_integer((json_int_t)view->uptime_s));
    r |= json_object_set_new(root, "counters", json_counters(view));
    r |= json_object_set_new(root, "histograms", json_histograms(view));
    if (r == 0 && source->describe)
        source->describe(source->arg, &view->reader, root);
    if (r == 0)
        r = json_dump_callback(root, json_write_escaped, out, JSON_INDENT(2));
    if (r == 0)
        r = evbuffer_add(out, "\n", 1);
    json_decref(root);
    return r == 0 ? 0 : -ENOMEM;
}
