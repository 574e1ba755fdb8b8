#include "relay/turn/turn.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/turn/alloc.h"
#include "relay/turn/internal.h"

struct turn *turn_new(const struct turn_params *params)
{
    struct turn *turn = calloc(1, sizeof(*turn));

    if (!turn)
        return NULL;
    turn->params = *params;
    list_init(&turn->allocs);
    list_init(&turn->refused);
    turn->nobody.ops = &mobility_nobody_ops;
    turn->replay = replay_new();
    if (!turn->replay || hash_init(&turn->tickets, 64) < 0) {
        replay_free(turn->replay);
        free(turn);
        return NULL;
    }
    return turn;
}

void turn_free(struct turn *turn)
{
    struct list *it, *tmp;

    if (!turn)
        return;
    list_for_each_safe (it, tmp, &turn->allocs)
        alloc_free(list_entry(it, struct alloc, link));
    tcp_deinit(turn);
    hash_deinit(&turn->tickets);
    replay_free(turn->replay);
    free(turn);
}

void turn_set_settings(struct turn *turn, const struct conf *conf, const struct auth *auth)
{
    turn->conf = conf;
    turn->auth = auth;
}

void turn_end_revoked(struct turn *turn)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &turn->allocs) {
        struct alloc *alloc = list_entry(it, struct alloc, link);
        char text[LOG_TEXT_LEN];

        if (!alloc_is_revoked(alloc))
            continue;
        log_info("allocation %llu ends: user \"%s\" is not listed any more",
                 (unsigned long long)alloc->id, log_text(alloc->user, alloc->user_len, text));
        alloc_free(alloc);
    }
}

void turn_set_draining(struct turn *turn)
{
    turn->draining = true;
}

void turn_on_closed(struct turn *turn, struct client *client)
{
    if (client->away)
        turn->params.leave(turn->params.arg, client);
    else if (client->alloc && !mobility_on_closed(client->alloc, client, turn->now_ns))
        alloc_free(client->alloc);
}

void turn_sweep(struct turn *turn, uint64_t now_ns)
{
    struct list *it, *tmp;

    turn->now_ns = now_ns;
    list_for_each_safe (it, tmp, &turn->allocs) {
        struct alloc *alloc = list_entry(it, struct alloc, link);

        if (alloc_expire(alloc, now_ns) || mobility_sweep(alloc, now_ns))
            continue;
        admission_sweep(alloc, now_ns);
        if (alloc->tcp)
            tcp_sweep(turn, alloc, now_ns);
    }
}

size_t turn_n_allocations(const struct turn *turn)
{
    return turn->n_allocs;
}

struct addr turn_shown_address(const struct turn *turn, const struct client *client,
                               const struct addr *relayed)
{
    const struct conf *conf = turn->conf;
    const struct addr *public;
    struct addr shown;

    if (!conf->hide_client_address)
        return client->remote;
    if (relayed && relayed->family != ADDR_NONE)
        return *relayed;
    /* Our own address as the client reached it, or as the world does. */
    shown = client->local;
    public = shown.family == ADDR_IPV6 ? &conf->public_v6 : &conf->public_v4;
    if (public->family != ADDR_NONE) {
        shown = *public;
        shown.port = client->local.port;
    }
    return shown;
}
