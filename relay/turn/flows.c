#include <string.h>

#include "relay/turn/alloc.h"
#include "relay/turn/internal.h"

/* A cut name must stay UTF-8, or it could not be shown at all. */
static size_t flows_cut(const char *name, size_t len)
{
    if (len <= FLOWS_USER_MAX)
        return len;
    len = FLOWS_USER_MAX;
    while (len > 0 && ((unsigned char)name[len] & 0xC0) == 0x80)
        len--;
    return len;
}

void turn_flows(const struct turn *turn, struct flow_list *list)
{
    static const char *const transports[N_TRANSPORTS] = {
        [TRANSPORT_UDP] = "udp",
        [TRANSPORT_TCP] = "tcp",
        [TRANSPORT_TLS] = "tls",
        [TRANSPORT_DTLS] = "dtls",
    };
    struct list *it;

    /* The end of the list has the newest ones. */
    for (it = turn->allocs.prev; it != &turn->allocs; it = it->prev) {
        const struct alloc *alloc = list_entry(it, struct alloc, link);
        struct flow_view *flow = flows_add(list);

        if (!flow)
            continue;
        flow->id = alloc->id;
        flow->made_ns = alloc->made_ns;
        flow->front = "turn";
        flow->transport =
            alloc->client == &turn->nobody ? "none" : transports[alloc->client->transport];
        flow->count = alloc->count;
        flow->user_len = flows_cut(alloc->user, alloc->user_len);
        memcpy(flow->user, alloc->user, flow->user_len);
        flow->client = alloc->client->remote;
        flow->relayed_v4 = alloc->relayed_v4;
        flow->relayed_v6 = alloc->relayed_v6;
    }
}
