/*
 * c-ares on this machine: its own sockets, watched by our loop, and its configuration
 *
 * c-ares reads /etc/resolv.conf when a channel is made; a laptop that changes networks
 * gets another one. So a query looks whether the file has changed, and if it has, and
 * c-ares has nothing of ours at the moment, the channel is made anew.
 *
 * Of that configuration, search domains are left out: the only name that is asked for
 * here is the relay's, in full. With a domain of the network behind it, it would be told
 * to whoever runs that domain, who could also answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/exit/resolve_impl.h"

#define NEAR_SOCKS_MAX   32
#define NEAR_RESOLV_CONF "/etc/resolv.conf"

struct near_sock {
    struct resolve_near *near;
    ares_socket_t fd;
    short what; /* 0: free */
    struct event event;
};

struct resolve_near {
    struct resolver *r;
    struct stat conf; /* of resolv.conf when the channel was made; zeros: there was none */
    bool is_stale;
    struct near_sock socks[NEAR_SOCKS_MAX];
};

static void near_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct near_sock *s = arg;
    struct resolver *r = s->near->r;

    if (!resolve_enter(r))
        return;
    ares_process_fd(r->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
                    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
    resolve_leave(r);
}

/* The entry of `fd`, or a free one. */
static struct near_sock *near_sock_of(struct resolve_near *n, ares_socket_t fd)
{
    struct near_sock *free_one = NULL;

    for (size_t i = 0; i < NEAR_SOCKS_MAX; i++) {
        if (n->socks[i].what != 0 && n->socks[i].fd == fd)
            return &n->socks[i];
        if (n->socks[i].what == 0 && !free_one)
            free_one = &n->socks[i];
    }
    return free_one;
}

/* c-ares opens or closes a socket, or has something to write. Without an entry its timeouts go on
 * to the next server. */
static void near_on_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolve_near *n = data;
    struct near_sock *s = near_sock_of(n, fd);
    short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));

    if (!s || s->what == what)
        return;
    if (s->what != 0)
        event_del(&s->event);
    s->near = n;
    s->fd = fd;
    s->what = what;
    if (what == 0)
        return;
    event_assign(&s->event, n->r->base, fd, (short)(what | EV_PERSIST), near_on_event, s);
    event_add(&s->event, NULL);
}

static void near_stat(struct stat *ret)
{
    if (stat(NEAR_RESOLV_CONF, ret) < 0)
        memset(ret, 0, sizeof(*ret));
}

static int near_channel(struct resolve_near *n, ares_channel *ret)
{
    /* No search domains, which 1.18 does not take NOSEARCH for. */
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH,
        .ndomains = 0,
        .timeout = RESOLVE_TRY_MS,
        .tries = RESOLVE_TRIES,
        .sock_state_cb = near_on_state,
        .sock_state_cb_data = n,
    };
    int r = resolve_seed();

    if (r < 0)
        return r;
    near_stat(&n->conf);
    if (ares_init_options(ret, &options,
                          ARES_OPT_FLAGS | ARES_OPT_DOMAINS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                              ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS)
        return -ENOMEM;
    return 0;
}

static bool near_conf_changed(const struct resolve_near *n)
{
    struct stat now;

    near_stat(&now);
    return now.st_ino != n->conf.st_ino || now.st_dev != n->conf.st_dev ||
           now.st_size != n->conf.st_size || now.st_mtim.tv_sec != n->conf.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != n->conf.st_mtim.tv_nsec;
}

static bool near_is_busy(const struct resolve_near *n)
{
    struct list *it, *tmp;

    if (n->r->is_inside || !list_empty(&n->r->abandoned))
        return true;
    list_for_each_safe (it, tmp, &n->r->queries)
        if (list_entry(it, struct query, link)->n_asked > 0)
            return true;
    return false;
}

void resolve_near_refresh(struct resolve_near *n, bool force)
{
    ares_channel channel;

    n->is_stale = n->is_stale || force || near_conf_changed(n);
    if (!n->is_stale || near_is_busy(n) || near_channel(n, &channel) < 0)
        return;
    ares_destroy(n->r->channel);
    n->r->channel = channel;
    n->is_stale = false;
}

int resolve_near_new(struct resolver *r)
{
    struct resolve_near *n = calloc(1, sizeof(*n));

    if (!n)
        return -ENOMEM;
    n->r = r;
    r->near = n;
    return near_channel(n, &r->channel);
}

void resolve_near_free(struct resolve_near *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < NEAR_SOCKS_MAX; i++)
        if (n->socks[i].what != 0)
            event_del(&n->socks[i].event);
    free(n);
}
