/*
 * relay/local_stats.h - what /stats.json says of the local role
 */
#pragma once

#include <jansson.h>

#include "common/net/addr.h"
#include "relay/exit.h"
#include "relay/mirror.h"
#include "relay/stats/flows.h"
#include "relay/stats/http.h"

struct local_view {
    struct exit *exit; /* the upstream one */
    struct addr socks5, turn;
    const char *turn_user;
    const char *turn_password;
    const struct flow_list *flows;
    struct mirror *mirror; /* may be NULL */
};

/* Adds "role", "upstream", "streams", "peers_see", "flows", "socks5" and "turn". */
void local_stats_describe(const struct local_view *view, json_t *root);
/* Adds the credential to "turn", "own_addresses" and "mirror": for the owner's eyes. */
void local_stats_describe_secrets(const struct local_view *view, json_t *root);

/* Whether a relay is there for datagrams and for streams; `exit` is the upstream one. */
void local_stats_state(struct exit *exit, struct stats_state *ret);
