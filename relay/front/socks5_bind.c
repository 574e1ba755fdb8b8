/*
 * BIND: one stream from a peer that the app expects (RFC 1928, section 4)
 *
 * The exit opens a TCP association and lets the expected peer in; the first reply
 * says where it listens, the second who came. A peer is its IP address: the port
 * that it will call from is rarely known, and apps put the one they have called.
 * Without a concrete address anybody could be the first to call, so that is
 * refused. The association stays open as long as the stream that came through it.
 */
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/front/socks5_impl.h"

struct socks5_bind {
    struct socks5_conn *conn;
    struct assoc *assoc;   /* NULL: not asked for, or lost */
    struct lookup *lookup; /* under way; or NULL */
    struct addr peers[SOCKS5_ADDRS_MAX];
    size_t n_peers, n_pending; /* of these, not let in yet */
    struct addr relayed;
    bool is_listening; /* the first reply has been sent */
    bool is_over;      /* the peer has come */
};

static struct exit *bind_exit(const struct socks5_bind *bind)
{
    return bind->conn->socks->params.exit;
}

static void bind_close(struct socks5_bind *bind)
{
    struct assoc *assoc = bind->assoc;

    bind->assoc = NULL;
    if (assoc)
        bind_exit(bind)->ops->close(assoc);
}

void socks5_bind_free(struct socks5_bind *bind)
{
    if (!bind)
        return;
    if (bind->lookup)
        bind_exit(bind)->ops->forget(bind->lookup);
    bind_close(bind);
    free(bind);
}

/* Return: EXIT_OK when one of the peers is let in, EXIT_PENDING when one may be, else why not. */
static enum exit_result bind_permit(struct socks5_bind *bind)
{
    enum exit_result result = EXIT_E_FORBIDDEN;
    bool any = false;

    for (size_t i = 0; i < bind->n_peers; i++) {
        result = bind_exit(bind)->ops->permit(bind->assoc, &bind->peers[i]);
        bind->n_pending += result == EXIT_PENDING;
        any = any || result == EXIT_OK;
    }
    if (any)
        return EXIT_OK;
    return bind->n_pending > 0 ? EXIT_PENDING : result;
}

/* The app tells its peer where to call as soon as it knows. */
static void bind_listen(struct socks5_bind *bind)
{
    bind->is_listening = true;
    socks5_reply(bind->conn, SOCKS5_SUCCEEDED, &bind->relayed);
}

static void bind_on_permitted(void *user, const struct addr *peer, enum exit_result result)
{
    struct socks5_bind *bind = user;

    if (bind->is_listening || bind->n_pending == 0)
        return;
    bind->n_pending--;
    if (result == EXIT_OK)
        bind_listen(bind);
    else if (bind->n_pending == 0)
        socks5_fail(bind->conn, socks5_rep_of(result));
}

static void bind_on_open(void *user, const struct assoc_opened *opened)
{
    struct socks5_bind *bind = user;
    struct socks5_conn *c = bind->conn;
    enum exit_result result = opened->result;
    const struct addr *relayed =
        bind->peers[0].family == ADDR_IPV6 ? &opened->relayed_v6 : &opened->relayed_v4;

    bind->relayed = *relayed;
    if (result == EXIT_OK)
        result = bind_permit(bind);
    if (!exit_may_send(result) || !socks5_is_usable(relayed))
        socks5_fail(c, exit_may_send(result) ? SOCKS5_FAILED : socks5_rep_of(result));
    else if (result == EXIT_OK)
        bind_listen(bind);
}

static bool bind_expects(const struct socks5_bind *bind, const struct addr *peer)
{
    for (size_t i = 0; i < bind->n_peers; i++)
        if (addr_ip_equal(&bind->peers[i], peer))
            return true;
    return false;
}

static void bind_on_accepted(void *user, const struct addr *peer, struct stream *stream)
{
    struct socks5_bind *bind = user;
    struct socks5_conn *c = bind->conn;

    if (!bind->is_listening || bind->is_over || !bind_expects(bind, peer)) {
        counter_add(&c->socks->params.counters->drop_no_permission, 1);
        stream_free(stream);
        return;
    }
    bind->is_over = true;
    socks5_reply(c, SOCKS5_SUCCEEDED, peer);
    socks5_join(c, stream);
}

static void bind_on_lost(void *user, enum exit_result why)
{
    struct socks5_bind *bind = user;

    if (bind->is_over)
        bind_close(bind); /* the stream tells its end by itself */
    else
        socks5_fail(bind->conn, socks5_rep_of(why));
}

static const struct assoc_events bind_events = {
    .on_open = bind_on_open,
    .on_permitted = bind_on_permitted,
    .on_accepted = bind_on_accepted,
    .on_lost = bind_on_lost,
};

/* The association is of one family, so peers of the other cannot call. `bind` may be gone after
 * it. */
static void bind_open(struct socks5_bind *bind, const struct addr *addrs, size_t n)
{
    struct socks5_conn *c = bind->conn;
    struct exit *exit = bind_exit(bind);
    struct assoc_want want = {.tcp = true,
                              .v4 = addrs[0].family == ADDR_IPV4,
                              .v6 = addrs[0].family == ADDR_IPV6,
                              .local = c->local};

    for (size_t i = 0; i < n && bind->n_peers < SOCKS5_ADDRS_MAX; i++) {
        if (addrs[i].family != addrs[0].family || addr_is_any(&addrs[i]))
            continue;
        bind->peers[bind->n_peers] = addrs[i];
        bind->peers[bind->n_peers++].port = 0;
    }
    if (bind->n_peers == 0)
        socks5_fail(c, SOCKS5_FORBIDDEN);
    else if (exit->ops->open(exit, &want, &bind_events, bind, &bind->assoc) < 0)
        socks5_fail(c, SOCKS5_FAILED);
}

static void bind_on_resolved(void *user, enum exit_result result, const struct addr *addrs,
                             size_t n)
{
    struct socks5_bind *bind = user;

    bind->lookup = NULL;
    if (result == EXIT_OK)
        bind_open(bind, addrs, n);
    else
        socks5_fail(bind->conn, socks5_rep_of(result));
}

void socks5_bind_start(struct socks5_conn *c, const struct socks5_target *target)
{
    struct exit *exit = c->socks->params.exit;
    struct socks5_bind *bind = calloc(1, sizeof(*bind));

    if (!bind) {
        socks5_fail(c, SOCKS5_FAILED);
        return;
    }
    c->bind = bind;
    bind->conn = c;
    c->deadline_ns = clock_now_ns() + SOCKS5_BIND_S * NS_PER_S;
    if (target->addr.family != ADDR_NONE)
        bind_open(bind, &target->addr, 1);
    else if (!exit->ops->resolve ||
             exit->ops->resolve(exit, target->name, bind_on_resolved, bind, &bind->lookup) < 0)
        socks5_fail(c, SOCKS5_FAILED);
}
