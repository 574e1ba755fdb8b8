/*
 * relay/turn/admission.c - CreatePermission and ChannelBind: who may talk through
 *
 * One question on both paths, and on Connect (tcp.c): admission_check(). Nothing is
 * installed before everything in a request was found good (RFC 8656, section 10.2).
 */
#include "common/base/log.h"
#include "common/wire/channel.h"
#include "relay/turn/alloc.h"

unsigned int admission_check(struct alloc *alloc, const struct addr *peer)
{
    struct turn *turn = alloc->turn;

    if (!alloc_has_family(alloc, peer->family))
        return 443;
    if (turn->params.exit->ops->permit(alloc->assoc, peer) == EXIT_OK)
        return 0;
    log_limited(LOG_LEVEL_INFO, "allocation %llu was refused a peer that the rules deny (403)",
                (unsigned long long)alloc->id);
    return 403;
}

void admission_on_create_permission(struct request *req)
{
    struct alloc *alloc = request_alloc(req);
    struct addr peers[STUN_MAX_PEERS];
    unsigned int code = 0, max;

    if (!alloc)
        return;
    if (req->msg->n_peers == 0) {
        request_fail(req, 400);
        return;
    }
    /* All or nothing: everything is checked before anything is installed. */
    if (req->msg->too_many_peers)
        code = 508;
    for (unsigned int i = 0; i < req->msg->n_peers && code == 0; i++) {
        if (!stun_get_peer(req->msg, i, &peers[i])) {
            code = 400;
            break;
        }
        peers[i].port = 0;
        code = admission_check(alloc, &peers[i]);
    }
    max = req->turn->conf->max_permissions;
    if (code == 0 && perm_reserve(&alloc->perms, peers, req->msg->n_peers, max, req->now_ns) != 0)
        code = 508;
    if (code != 0) {
        request_fail(req, code);
        return;
    }
    for (unsigned int i = 0; i < req->msg->n_peers; i++)
        (void)perm_add(&alloc->perms, &peers[i], max, req->now_ns);
    request_succeed(req);
}

void admission_on_channel_bind(struct request *req)
{
    struct alloc *alloc = request_alloc(req);
    const struct conf *conf = req->turn->conf;
    uint16_t number;
    struct addr peer;
    unsigned int code;
    int r;

    if (!alloc)
        return;
    if (alloc->tcp) {
        /* Channels carry datagrams; RFC 6062 has no code for it, and clients know this one. */
        request_fail(req, 403);
        return;
    }
    if (req->msg->n_peers == 0 || !stun_get_u16(req->msg, STUN_CHANNEL_NUMBER, &number) ||
        number < CHANNEL_MIN || number > CHANNEL_MAX || !stun_get_peer(req->msg, 0, &peer)) {
        request_fail(req, 400);
        return;
    }
    code = admission_check(alloc, &peer);
    if (code != 0) {
        request_fail(req, code);
        return;
    }
    r = chan_may_bind(&alloc->chans, number, &peer, conf->max_channels, req->now_ns);
    if (r == 0 && perm_add(&alloc->perms, &peer, conf->max_permissions, req->now_ns) == 0)
        r = chan_bind(&alloc->chans, number, &peer, conf->max_channels, req->now_ns);
    else if (r == 0)
        r = CHAN_E_FULL;
    if (r == 0)
        request_succeed(req);
    else
        request_fail(req, r == CHAN_E_CONFLICT ? 400 : 508);
}
