#include "relay/stats/flows.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"

struct flow_view *flows_add(struct flow_list *list)
{
    struct flow_view *flow;

    list->n_all++;
    if (list->n == FLOWS_MAX)
        return NULL;
    flow = &list->flow[list->n++];
    *flow = (struct flow_view){0};
    return flow;
}

void flows_append(struct flow_list *to, const struct flow_list *from)
{
    size_t room = FLOWS_MAX - to->n, n = from->n < room ? from->n : room;

    memcpy(&to->flow[to->n], from->flow, n * sizeof(from->flow[0]));
    to->n += n;
    to->n_all += from->n_all;
}

static void flows_add_address(json_t *object, const char *name, const struct addr *addr)
{
    char text[ADDR_STRLEN];

    if (addr->family != ADDR_NONE)
        json_object_set_new(object, name, json_string(addr_format(addr, text, sizeof(text))));
}

static json_t *flows_object(const struct flow_view *f, uint64_t now_ns)
{
    uint64_t age_ns = now_ns > f->made_ns ? now_ns - f->made_ns : 0;
    json_t *object = json_pack(
        "{s:I, s:s, s:s, s:f, s:I, s:I, s:I, s:I}", "id", (json_int_t)f->id, "front", f->front,
        "transport", f->transport, "age_s", (double)age_ns / NS_PER_S, "up_packets",
        (json_int_t)f->count.up_packets, "up_bytes", (json_int_t)f->count.up_bytes, "down_packets",
        (json_int_t)f->count.down_packets, "down_bytes", (json_int_t)f->count.down_bytes);
    json_t *user = f->user_len > 0 ? json_stringn(f->user, f->user_len) : NULL;

    json_object_set_new(object, "user", user ? user : json_null());
    if (log_shows_addresses()) {
        flows_add_address(object, "client", &f->client);
        flows_add_address(object, "relayed_ipv4", &f->relayed_v4);
        flows_add_address(object, "relayed_ipv6", &f->relayed_v6);
    }
    return object;
}

void flows_describe(const struct flow_list *list, uint64_t now_ns, json_t *root)
{
    json_t *flows = json_array();

    for (size_t i = 0; i < list->n; i++)
        json_array_append_new(flows, flows_object(&list->flow[i], now_ns));
    json_object_set_new(root, "flows", flows);
    json_object_set_new(root, "n_flows", json_integer((json_int_t)list->n_all));
}
