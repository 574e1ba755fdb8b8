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
    struct addr socks5;
    struct addr turn; /* of a sealed reader: the router's */
    struct addr stun; /* for sealed readers: what their router answers */
    const char *turn_user;
    const char *turn_password;
    const struct flow_list *flows;
    struct mirror *mirror; /* may be NULL */
};

/* Adds "role", "upstream", "streams", "peers_see", "flows", "socks5" and "turn"; for the owner's
 * eyes the credential to "turn", "own_addresses" and "mirror". A sealed reader gets "sealed" and
 * "stun", and nothing that is outside: no addresses, no "mirror", no "socks5". */
void local_stats_describe(const struct local_view *view, const struct stats_reader *reader,
                          json_t *root);

/* Whether a relay is there for datagrams and for streams, and until when its certificate lets it
 * be; `exit` is the upstream one. */
void local_stats_state(struct exit *exit, struct stats_state *ret);
