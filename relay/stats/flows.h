/*
 * relay/stats/flows.h - allocations and associations, one by one, for the JSON
 *
 * What a person would call their calls: what each has carried, since when, and by
 * which transport it came. A front fills a list of its own, on its own thread; it is
 * bounded, newest first, and says how many there are in all.
 *
 * Addresses are shown only with log-addresses.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

#define FLOWS_MAX      100 /* in one list, and in the JSON */
#define FLOWS_USER_MAX 64  /* bytes of a name; the rest is cut off */

/* Counted by the owner of the flow, without atomics: payload, as in counters.def. */
struct flow_count {
    uint64_t up_packets, up_bytes, down_packets, down_bytes;
};

struct flow_view {
    uint64_t id;
    uint64_t made_ns;
    const char *front;     /* "turn", "socks5" */
    const char *transport; /* from the app or client to us */
    struct flow_count count;
    char user[FLOWS_USER_MAX];
    size_t user_len;
    struct addr client, relayed_v4, relayed_v6; /* ADDR_NONE: not known */
};

struct flow_list {
    struct flow_view flow[FLOWS_MAX];
    size_t n;
    size_t n_all; /* with those that had no room */
};

/* A place for one more, zeroed, or NULL; counts it in n_all either way. */
struct flow_view *flows_add(struct flow_list *list);
void flows_append(struct flow_list *to, const struct flow_list *from);

/* Adds "flows" and "n_flows". */
void flows_describe(const struct flow_list *list, uint64_t now_ns, json_t *root);
