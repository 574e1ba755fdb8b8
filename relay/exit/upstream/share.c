/*
 * relay/exit/upstream/share.c - what streams are left when the relay gives no more allocations
 *
 * A relay counts allocations by user (486, RFC 8656, section 7.2). An app that opens one UDP port
 * after the other takes them all, and whatever is given back it takes again: streams, which need an
 * allocation for each connection to one and the same peer, would get none for as long as it goes
 * on. So once the relay has refused one, a few of those that it let us have are kept from
 * datagrams.
 *
 * What it let us have is known by how many there were when it refused. Others may use the same
 * name, and its limit may change: a minute after the last refusal nothing is kept any more.
 */
#include "common/base/log.h"
#include "relay/exit/upstream/upstream_impl.h"

#define SHARE_NS      (60 * NS_PER_S)
#define SHARE_STREAMS 8 /* allocations, and no more than a quarter of all */

void share_refused(struct upstream *x, const struct session_ended *ended, uint64_t now_ns)
{
    if (ended->end != SESSION_E_REFUSED || ended->code != 486)
        return;
    x->n_most = x->n_sessions - 1; /* without the one that was refused */
    x->most_until_ns = now_ns + SHARE_NS;
    log_limited(LOG_LEVEL_WARNING, "the relay gives no further allocation, with %u in use: %s",
                x->n_most, ended->why);
}

bool share_has_room(const struct upstream *x, uint64_t now_ns)
{
    unsigned int for_streams = x->n_most / 4 < SHARE_STREAMS ? x->n_most / 4 : SHARE_STREAMS;

    if (now_ns >= x->most_until_ns || x->streams.state == UPSTREAM_OFF)
        return true;
    /* Nothing has been given back: the relay may be asked whether there is more by now. */
    if (x->n_sessions >= x->n_most)
        return true;
    if (x->n_trunks > for_streams)
        for_streams = x->n_trunks;
    return x->n_sessions - x->n_trunks + for_streams < x->n_most;
}
