#include "relay/top/view.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIEW_USERS 8
#define VIEW_FLOWS 8
#define VIEW_TEXT  32

struct view_pair {
    const json_t *now, *before; /* "counters" of both; `before` may be NULL */
    double seconds;
};

/* ---- lines ---- */

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* C0, DEL and C1: what a terminal would obey. */
static void clean(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7F)
            *c = '?';
        else if (*c == 0xC2 && c[1] >= 0x80 && c[1] < 0xA0)
            c[0] = c[1] = '?';
    }
}

void view_put(struct view *v, const char *format, ...)
{
    va_list args;

    if (v->n == VIEW_LINES)
        return;
    va_start(args, format);
    vsnprintf(v->line[v->n], VIEW_BYTES, format, args);
    va_end(args);
    clean(v->line[v->n++]);
}

size_t view_fit(const char *line, size_t n_columns)
{
    size_t len = 0;

    while (line[len] && (n_columns > 0 || is_continuation(line[len])))
        n_columns -= !is_continuation(line[len++]);
    return len;
}

/* ---- values ---- */

static double number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static const char *string(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

/* A counter starts again from 0 with its process: then there is no rate. */
static double rate(const struct view_pair *p, const char *name)
{
    double more = p->before ? number(p->now, name) - number(p->before, name) : 0;

    return more > 0 && p->seconds > 0 ? more / p->seconds : 0;
}

static const char *scaled(double value, const char *unit, char buf[VIEW_TEXT])
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    size_t i = 0;

    for (; value >= 999.5 && i < 5; i++)
        value /= 1000;
    snprintf(buf, VIEW_TEXT, "%.*f %s%s",
             i == 0 || value >= 100 ? 0
             : value >= 10          ? 1
                                    : 2,
             value, prefixes[i], unit);
    return buf;
}

static const char *span(double seconds, char buf[VIEW_TEXT])
{
    uint64_t s = seconds > 0 ? (uint64_t)seconds : 0;

    if (s < 60)
        snprintf(buf, VIEW_TEXT, "%u s", (unsigned int)s);
    else if (s < 3600)
        snprintf(buf, VIEW_TEXT, "%u min %u s", (unsigned int)(s / 60), (unsigned int)(s % 60));
    else if (s < 86400)
        snprintf(buf, VIEW_TEXT, "%u h %u min", (unsigned int)(s / 3600),
                 (unsigned int)(s / 60 % 60));
    else
        snprintf(buf, VIEW_TEXT, "%llu d %u h", (unsigned long long)(s / 86400),
                 (unsigned int)(s / 3600 % 24));
    return buf;
}

/* Adds ", NAME VALUE" to a list in `buf`. */
static void list_add(char *buf, size_t cap, const char *name, double value)
{
    size_t len = strlen(buf);

    snprintf(buf + len, cap - len, "%s%s %.0f", len > 0 ? ", " : "", name, value);
}

/* ---- what peers see, and the way to the relay ---- */

static void put_peers(struct view *v, const json_t *root)
{
    const json_t *seen = json_object_get(root, "peers_see"), *address;
    char text[VIEW_BYTES / 2] = "";
    size_t i;

    json_array_foreach(seen, i, address)
    {
        size_t len = strlen(text);

        if (json_is_string(address))
            snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? ", " : "",
                     json_string_value(address));
    }
    view_put(v, "Peers see     %s", text[0] ? text : "nothing: no relay is there");
}

static void put_link(struct view *v, const char *title, const json_t *link)
{
    const char *state = string(link, "state");
    char since[VIEW_TEXT], round[VIEW_TEXT] = "";

    if (!link)
        return;
    span(number(link, "for_s"), since);
    if (strcmp(state, "ready") == 0) {
        if (json_is_number(json_object_get(link, "rtt_ms")))
            snprintf(round, sizeof(round), ", round trip %.1f ms", number(link, "rtt_ms"));
        view_put(v, "%-13s ready over %s to %s, for %s%s", title, string(link, "transport"),
                 string(link, "host"), since, round);
    } else if (strcmp(state, "down") == 0) {
        view_put(v, "%-13s DOWN for %s: %s; next attempt in %.0f s", title, since,
                 string(link, "why"), number(link, "retry_in_s"));
    } else if (strcmp(state, "off") == 0) {
        view_put(v, "%-13s off: no url of the configuration can carry them", title);
    } else {
        view_put(v, "%-13s %s, for %s%s%s", title, state, since,
                 *string(link, "why") ? "; before: " : "", string(link, "why"));
    }
}

/* ---- traffic ---- */

static void put_direction(struct view *v, const char *title, const struct view_pair *p,
                          const char *packets, const char *bytes)
{
    char bits[VIEW_TEXT], total[VIEW_TEXT];

    view_put(v, "%-13s %12s %10.0f/s %12.0f %12s", title, scaled(8 * rate(p, bytes), "bit/s", bits),
             rate(p, packets), number(p->now, packets), scaled(number(p->now, bytes), "B", total));
}

static void put_drops(struct view *v, const struct view_pair *p)
{
    char reasons[VIEW_BYTES / 2] = "", name[VIEW_TEXT];
    double total = 0, per_second = 0;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)p->now, key, value)
    {
        if (strncmp(key, "drop_", 5) != 0)
            continue;
        total += json_number_value(value);
        per_second += rate(p, key);
        snprintf(name, sizeof(name), "%s", key + 5);
        for (char *c = strchr(name, '_'); c; c = strchr(c, '_'))
            *c = '-';
        if (json_number_value(value) > 0)
            list_add(reasons, sizeof(reasons), name, json_number_value(value));
    }
    view_put(v, "%-13s %12s %10.0f/s %12.0f %12s", "Dropped", "", per_second, total, "");
    if (reasons[0])
        view_put(v, "              %s", reasons);
}

static void put_traffic(struct view *v, const struct view_pair *p)
{
    view_put(v, "%s", "");
    view_put(v, "%-13s %12s %12s %12s %12s", "", "bit rate", "packets", "packets", "bytes");
    put_direction(v, "Up", p, "up_packets", "up_bytes");
    put_direction(v, "Down", p, "down_packets", "down_bytes");
    put_drops(v, p);
}

/* ---- what there is ---- */

static void put_allocations(struct view *v, const struct view_pair *p, const json_t *limits)
{
    static const char *const transports[][2] = {{"clients_udp", "UDP"},
                                                {"clients_tcp", "TCP"},
                                                {"clients_tls", "TLS"},
                                                {"clients_dtls", "DTLS"}};
    char clients[VIEW_BYTES / 2] = "";

    for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
        if (number(p->now, transports[i][0]) > 0)
            list_add(clients, sizeof(clients), transports[i][1], number(p->now, transports[i][0]));
    view_put(v, "%s", "");
    view_put(v, "Allocations   %.0f now%s%s%s, %.0f made", number(p->now, "allocations"),
             clients[0] ? " (" : "", clients, clients[0] ? ")" : "",
             number(p->now, "allocations_made"));
    if (json_is_number(json_object_get(limits, "allocations")))
        view_put(v, "              room for %.0f more, %.0f of one user",
                 number(limits, "allocations") - number(p->now, "allocations"),
                 number(limits, "allocations_per_user"));
    view_put(v, "Connections   %.0f of clients, %.0f with peers", number(p->now, "connections"),
             number(p->now, "peer_connections"));
}

static void put_local(struct view *v, const struct view_pair *p)
{
    if (!json_object_get(p->now, "socks_connections"))
        return;
    view_put(v, "SOCKS5        %.0f connections, %.0f associations, %.0f failed requests",
             number(p->now, "socks_connections"), number(p->now, "socks_associations"),
             number(p->now, "socks_failed"));
    view_put(v, "At the relay  %.0f allocations, %.0f streams; %.0f attempts, %.0f failed",
             number(p->now, "upstream_sessions"), number(p->now, "upstream_streams"),
             number(p->now, "upstream_attempts"), number(p->now, "upstream_failures"));
}

/* See lossOnTheWay() in the page: questions that had to be put again. */
static void put_loss(struct view *v, const struct view_pair *p)
{
    double again = number(p->now, "upstream_retransmissions");
    double sent = number(p->now, "upstream_requests") + again;

    if (sent > 0)
        view_put(v,
                 "Lost          %.1f %% of %.0f questions on the way to the relay; %.0f never "
                 "answered",
                 100 * again / sent, sent, number(p->now, "upstream_unanswered"));
}

static void put_ports(struct view *v, const struct view_pair *p)
{
    if (!json_object_get(p->now, "ports_udp4_free"))
        return;
    view_put(v, "Ports         IPv4 %.0f in use, %.0f free; IPv6 %.0f in use, %.0f free",
             number(p->now, "ports_udp4_in_use"), number(p->now, "ports_udp4_free"),
             number(p->now, "ports_udp6_in_use"), number(p->now, "ports_udp6_free"));
}

static void put_errors(struct view *v, const struct view_pair *p)
{
    char errors[VIEW_BYTES / 2] = "";
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)p->now, key,
                        value) if (strncmp(key, "err_", 4) == 0 && json_number_value(value) > 0)
        list_add(errors, sizeof(errors), key + 4, json_number_value(value));
    view_put(v, "Errors        %s", errors[0] ? errors : "none");
}

/* ---- times ---- */

/* The bound of the bucket that holds the share, microseconds; 0: nothing was measured. */
static double quantile(const json_t *histogram, double share)
{
    const json_t *buckets = json_object_get(histogram, "buckets"), *bucket;
    double wanted = share * number(histogram, "count"), sum = 0, bound = 0;
    size_t i;

    json_array_foreach(buckets, i, bucket)
    {
        sum += number(bucket, "n");
        if (json_is_number(json_object_get(bucket, "le_us")))
            bound = number(bucket, "le_us");
        if (sum >= wanted && sum > 0)
            return bound;
    }
    return 0;
}

static void put_times(struct view *v, const json_t *root)
{
    static const char *const rows[][2] = {{"upstream_rtt", "Round trips"},
                                          {"allocation_time", "Allocating"}};
    const json_t *all = json_object_get(root, "histograms");

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const json_t *histogram = json_object_get(all, rows[i][0]);

        if (number(histogram, "count") > 0)
            view_put(v, "%-13s half within %g ms, 95 %% within %g ms (%.0f since the start)",
                     rows[i][1], quantile(histogram, 0.5) / 1000, quantile(histogram, 0.95) / 1000,
                     number(histogram, "count"));
    }
}

/* ---- users ---- */

static int by_allocations(const void *a, const void *b)
{
    double x = number(*(const json_t *const *)a, "allocations");
    double y = number(*(const json_t *const *)b, "allocations");

    return (x < y) - (x > y);
}

static void put_users(struct view *v, const json_t *root)
{
    const json_t *users = json_object_get(root, "users");
    size_t n = json_array_size(users), i;
    const json_t **sorted = n > 0 ? calloc(n, sizeof(json_t *)) : NULL, *user;

    if (!sorted)
        return;
    json_array_foreach(users, i, user) sorted[i] = user;
    qsort(sorted, n, sizeof(json_t *), by_allocations);
    view_put(v, "%s", "");
    view_put(v, "Users         and how many allocations they have");
    for (i = 0; i < n && i < VIEW_USERS; i++)
        view_put(v, "%13.0f %s", number(sorted[i], "allocations"),
                 *string(sorted[i], "name") ? string(sorted[i], "name") : "(no name)");
    if (n > VIEW_USERS)
        view_put(v, "              and %zu more users", n - VIEW_USERS);
    free(sorted);
}

/* ---- what is open ---- */

struct view_flow {
    const json_t *now;
    double up, down; /* bytes per second */
};

static const json_t *find_flow(const json_t *flows, const json_t *like)
{
    const json_t *flow;
    size_t i;

    json_array_foreach(flows, i, flow) if (number(flow, "id") == number(like, "id") &&
                                           strcmp(string(flow, "front"), string(like, "front")) ==
                                               0) return flow;
    return NULL;
}

/* One that was not there before has carried all of it since. */
static double flow_rate(const json_t *now, const json_t *before, const char *name, double seconds)
{
    double more = number(now, name) - (before ? number(before, name) : 0);

    return more > 0 && seconds > 0 ? more / seconds : 0;
}

static int by_rate(const void *a, const void *b)
{
    const struct view_flow *f = a, *g = b;

    return (f->up + f->down < g->up + g->down) - (f->up + f->down > g->up + g->down);
}

static void put_flow(struct view *v, const struct view_flow *f)
{
    char age[VIEW_TEXT], up[VIEW_TEXT], down[VIEW_TEXT];

    view_put(v, "%13s %12s %12s   %s over %s%s%s", span(number(f->now, "age_s"), age),
             scaled(8 * f->up, "bit/s", up), scaled(8 * f->down, "bit/s", down),
             string(f->now, "front"), string(f->now, "transport"),
             *string(f->now, "user") ? ", " : "", string(f->now, "user"));
}

static void put_flows(struct view *v, const json_t *root, const json_t *before, double seconds)
{
    const json_t *flows = json_object_get(root, "flows");
    size_t n = json_array_size(flows), i;
    struct view_flow *all = n > 0 ? calloc(n, sizeof(*all)) : NULL;
    const json_t *flow;

    if (!all)
        return;
    json_array_foreach(flows, i, flow)
    {
        const json_t *old = find_flow(json_object_get(before, "flows"), flow);
        double span_s = before ? seconds : 0;

        all[i] = (struct view_flow){flow, flow_rate(flow, old, "up_bytes", span_s),
                                    flow_rate(flow, old, "down_bytes", span_s)};
    }
    qsort(all, n, sizeof(*all), by_rate);
    view_put(v, "%s", "");
    view_put(v, "%-13s %12s %12s   the busiest of %.0f", "Open for", "up", "down",
             number(root, "n_flows"));
    for (i = 0; i < n && i < VIEW_FLOWS; i++)
        put_flow(v, &all[i]);
    free(all);
}

/* ---- the certificate ---- */

/* Its own, or as the local proxy was shown it. */
static const json_t *find_certificate(const json_t *root)
{
    const json_t *up = json_object_get(root, "upstream"),
                 *streams = json_object_get(root, "streams");

    if (number(up, "certificate_not_after") > 0)
        return up;
    return number(streams, "certificate_not_after") > 0 ? streams : root;
}

static void put_certificate(struct view *v, const json_t *root, double now_s)
{
    const json_t *of = find_certificate(root);
    double end = number(of, "certificate_not_after");
    char left[VIEW_TEXT];

    if (end <= 0)
        return;
    if (json_is_true(json_object_get(of, "certificate_pinned")))
        view_put(v, "%s", "Certificate   known by its pin, whatever its date");
    else if (end <= now_s)
        view_put(v, "Certificate   EXPIRED %s ago", span(now_s - end, left));
    else
        view_put(v, "Certificate   good for another %s", span(end - now_s, left));
}

void view_make(struct view *v, const json_t *now, const json_t *before, double seconds,
               double now_s)
{
    const struct view_pair pair = {
        .now = json_object_get(now, "counters"),
        .before = before ? json_object_get(before, "counters") : NULL,
        .seconds = seconds,
    };
    char up[VIEW_TEXT];

    v->n = 0;
    view_put(v, "callveil %s %s, up %s%s", string(now, "role"), string(now, "callveil"),
             span(number(now, "uptime_s"), up),
             json_is_true(json_object_get(now, "draining")) ? ", draining" : "");
    view_put(v, "%s", "");
    put_peers(v, now);
    put_link(v, "Datagrams", json_object_get(now, "upstream"));
    put_link(v, "Streams", json_object_get(now, "streams"));
    put_traffic(v, &pair);
    put_allocations(v, &pair, json_object_get(now, "limits"));
    put_local(v, &pair);
    put_loss(v, &pair);
    put_ports(v, &pair);
    put_errors(v, &pair);
    put_times(v, now);
    put_certificate(v, now, now_s);
    put_flows(v, now, before, seconds);
    put_users(v, now);
}
