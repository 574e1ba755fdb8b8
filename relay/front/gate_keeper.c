/*
 * The keeper, and the sockets that speak as peers
 *
 * A peer's datagrams go to the app from a socket that is bound to the peer's address:
 * trains of them are one system call and one packet for the kernel (UDP_SEGMENT). Only
 * the keeper can make such a socket, so it is asked for once for each peer, and until it
 * is there, or when there can be none, a raw socket sends (gate_raw.c).
 *
 * Such a socket takes its port away from whoever wants to bind it to all addresses (bind(2)
 * says EADDRINUSE, to us or to the app, whoever is second). Peers whose port an app may want
 * for itself, as SIP clients want 5060, are therefore answered for by the raw socket.
 *
 * A gate_peer is asked for (id > 0), has its socket (fd >= 0), or has been refused and is
 * asked for again after retry_ns. The least recently used one makes room for a new one;
 * an answer that nobody waits for any more is closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/front/gate_impl.h"

#define KEEPER_RETRY_S  10
#define KEEPER_FDS_MAX  4 /* room for more than there may be, so that none stays unseen */
#define KEEPER_MESSAGES 64

/* Ports that apps choose by number: below, they may not; above, the kernel chooses, and avoids what
 * is taken (ip_unprivileged_port_start, ip_local_port_range). */
#define KEEPER_FIXED_MIN 1024
#define KEEPER_FIXED_MAX 32767

struct gate_peer {
    struct hash_node by_addr;
    struct list link; /* keeper->peers */
    struct addr addr;
    int fd;
    uint32_t id; /* of the request under way; 0: none */
    uint64_t used_ns, retry_ns;
};

/* ---- asking ---- */

/* Return: the request's id, or 0: it could not be made now. */
static uint32_t keeper_ask(struct gate_keeper *k, enum keeper_kind kind, const struct addr *addr)
{
    struct keeper_want want = {.version = KEEPER_VERSION, .kind = kind, .addr = *addr};

    if (k->fd < 0)
        return 0;
    k->last_id = k->last_id == UINT32_MAX ? 1 : k->last_id + 1;
    want.id = k->last_id;
    if (send(k->fd, &want, sizeof(want), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(want))
        return 0;
    return want.id;
}

/* ---- peers ---- */

static void peer_free(struct gate *g, struct gate_peer *p)
{
    hash_remove(&g->keeper.by_addr, &p->by_addr);
    list_remove(&p->link);
    g->keeper.n_peers--;
    counter_sub(&g->params.counters->gate_peers, 1);
    if (p->fd >= 0) {
        tx_flush(g->params.tx); /* something may be queued for it */
        close(p->fd);
    }
    free(p);
}

static struct gate_peer *peer_find(struct gate_keeper *k, const struct addr *addr, uint64_t hash)
{
    struct hash_node *node = hash_first(&k->by_addr, hash);

    for (; node; node = hash_next(node, hash)) {
        struct gate_peer *p = hash_entry(node, struct gate_peer, by_addr);

        if (addr_equal(&p->addr, addr))
            return p;
    }
    return NULL;
}

static struct gate_peer *peer_new(struct gate *g, const struct addr *addr, uint64_t hash)
{
    struct gate_keeper *k = &g->keeper;
    struct gate_peer *p;

    if (k->n_peers >= GATE_PEERS_MAX)
        peer_free(g, list_entry(k->peers.next, struct gate_peer, link));
    p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->addr = *addr;
    p->fd = -1;
    hash_insert(&k->by_addr, &p->by_addr, hash);
    list_append(&k->peers, &p->link);
    k->n_peers++;
    counter_add(&g->params.counters->gate_peers, 1);
    return p;
}

/* Return: the socket that sends as `from`, or -1: there is none, or none yet. */
static int peer_socket(struct gate *g, const struct addr *from, uint64_t now_ns)
{
    uint64_t hash = addr_hash(from);
    struct gate_peer *p;

    if (from->port >= KEEPER_FIXED_MIN && from->port <= KEEPER_FIXED_MAX)
        return -1;
    p = peer_find(&g->keeper, from, hash);
    if (!p)
        p = peer_new(g, from, hash);
    if (!p)
        return -1;
    p->used_ns = now_ns;
    list_remove(&p->link);
    list_append(&g->keeper.peers, &p->link);
    if (p->fd < 0 && p->id == 0 && p->retry_ns <= now_ns) {
        p->id = keeper_ask(&g->keeper, KEEPER_UDP, from);
        p->retry_ns = now_ns + KEEPER_RETRY_S * NS_PER_S;
    }
    return p->fd;
}

void gate_answer(struct gate *g, const struct addr *from, const struct addr *to, const void *header,
                 size_t header_len, const uint8_t *data, size_t len, uint64_t now_ns)
{
    int fd = peer_socket(g, from, now_ns);

    if (fd >= 0)
        tx_push(g->params.tx, fd, to, NULL, header, header_len, data, len);
    else
        gate_raw_answer(g, from, to, header, header_len, data, len);
}

void gate_keeper_sweep(struct gate *g, uint64_t now_ns)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &g->keeper.peers) {
        struct gate_peer *p = list_entry(it, struct gate_peer, link);

        if (p->used_ns + GATE_PEER_IDLE_S * NS_PER_S > now_ns)
            break;
        peer_free(g, p);
    }
}

/* ---- answers ---- */

static bool keeper_take_raw(struct gate_keeper *k, uint32_t id, int fd)
{
    int *raw = id == k->raw_v4_id ? &k->raw_v4 : id == k->raw_v6_id ? &k->raw_v6 : NULL;

    if (id == 0 || !raw || *raw >= 0)
        return false;
    *raw = fd;
    return true;
}

/* Takes `fd` (-1: none). */
static void keeper_on_made(struct gate *g, const struct keeper_made *made, int fd)
{
    struct gate_keeper *k = &g->keeper;
    struct list *it, *tmp;

    if (made->status != 0)
        log_limited(LOG_LEVEL_INFO, "gate: no socket to answer from: %s", strerror(-made->status));
    if (fd >= 0 && keeper_take_raw(k, made->id, fd))
        return;
    list_for_each_safe (it, tmp, &k->peers) {
        struct gate_peer *p = list_entry(it, struct gate_peer, link);

        if (p->id != made->id || made->id == 0)
            continue;
        p->id = 0;
        p->fd = fd;
        return;
    }
    if (fd >= 0)
        close(fd);
}

/* The descriptors that came along: exactly one is kept. Return: how many there were. */
static unsigned int keeper_take_fds(struct msghdr *hdr, int *ret_fd)
{
    unsigned int n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd;

            memcpy(&fd, (const uint8_t *)c + at, sizeof(fd));
            if (n++ == 0)
                *ret_fd = fd;
            else
                close(fd);
        }
    }
    return n;
}

/* Return: 1: one was dealt with; 0: there is none; -errno: the keeper is gone, or is none. */
static int keeper_read(struct gate *g)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(KEEPER_FDS_MAX * sizeof(int))];
    struct keeper_made made;
    struct iovec iov = {&made, sizeof(made)};
    struct msghdr hdr = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    unsigned int n_fds;
    int fd = -1;
    ssize_t n = recvmsg(g->keeper.fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    n_fds = keeper_take_fds(&hdr, &fd);
    if (n == sizeof(made) && !(hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
        made.version == KEEPER_VERSION && made.status <= 0 && n_fds == (made.status == 0)) {
        keeper_on_made(g, &made, fd);
        return 1;
    }
    if (fd >= 0)
        close(fd);
    return n == 0 ? -EPIPE : -EBADMSG;
}

static void keeper_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct gate *g = arg;
    int r = 1;

    for (int i = 0; i < KEEPER_MESSAGES && r > 0; i++)
        r = keeper_read(g);
    if (r >= 0)
        return;
    if (r != -EPIPE && r != -ECONNRESET)
        log_warn("gate: the keeper is not understood: %s", strerror(-r));
    event_del(&g->keeper.readable);
    close(g->keeper.fd);
    g->keeper.fd = -1;
    /* `g` may be gone after it. */
    if (g->params.on_ended)
        g->params.on_ended(g->params.arg);
}

/* ---- life ---- */

int gate_keeper_init(struct gate *g, int fd)
{
    struct gate_keeper *k = &g->keeper;
    const struct addr v4 = addr_make_v4(0, 0);
    struct addr v6 = {.family = ADDR_IPV6};
    int r;

    k->fd = fd;
    k->raw_v4 = k->raw_v6 = -1;
    list_init(&k->peers);
    r = hash_init(&k->by_addr, 64);
    if (r < 0)
        return r;
    event_assign(&k->readable, g->params.base, fd, EV_READ | EV_PERSIST, keeper_on_readable, g);
    if (event_add(&k->readable, NULL) < 0)
        return -ENOMEM;
    k->raw_v4_id = keeper_ask(k, KEEPER_RAW, &v4);
    k->raw_v6_id = keeper_ask(k, KEEPER_RAW, &v6);
    return 0;
}

void gate_keeper_deinit(struct gate *g)
{
    struct gate_keeper *k = &g->keeper;
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &k->peers)
        peer_free(g, list_entry(it, struct gate_peer, link));
    hash_deinit(&k->by_addr);
    if (event_initialized(&k->readable))
        event_del(&k->readable);
    if (k->fd >= 0)
        close(k->fd);
    if (k->raw_v4 >= 0)
        close(k->raw_v4);
    if (k->raw_v6 >= 0)
        close(k->raw_v6);
}
