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

static json_t *json_counters(const struct counters *counters)
{
    json_t *object = json_object();
    int r = object ? 0 : -1;

#define COUNTER(field, kind, metric, labels, help)                                                 \
    r |= json_object_set_new(object, #field, json_number(STATS_##kind, &counters->field));
#include "relay/stats/counters.def"
#undef COUNTER
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
    r |= json_object_set_new(root, "counters", json_counters(&view->counters));
    if (r == 0 && source->describe)
        source->describe(source->arg, root);
    if (r == 0 && view->with_secrets && source->describe_secrets)
        source->describe_secrets(source->arg, root);
    if (r == 0)
        r = json_dump_callback(root, json_write_escaped, out, JSON_INDENT(2));
    if (r == 0)
        r = evbuffer_add(out, "\n", 1);
    json_decref(root);
    return r == 0 ? 0 : -ENOMEM;
}
