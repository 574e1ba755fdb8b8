/*
 * Datagrams and ICMP errors of UDP associations
 *
 * A read event receives batches until the socket looks empty or its share of the
 * turn is used up; each batch is delivered and flushed before the next one
 * overwrites the buffers.
 *
 * ICMP errors come by the socket's error queue (IP_RECVERR), with the destination
 * of our datagram as the message's name. The kernel signals one by failing the
 * next call on the socket, receiving or sending. When a send met it, only the
 * queue itself still tells (as EPOLLERR, which libevent reports as readable): a
 * receive that finds no datagram looks there, and so does every
 * DIRECT_ERRORS_EVERY-th read event, so that steady traffic does not hide it.
 */
/* clang-format off: linux/errqueue.h uses struct timespec without including it. */
#include <time.h>
/* clang-format on */
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <string.h>
#include <sys/uio.h>

#include "relay/exit/direct_impl.h"

#define DIRECT_BATCHES_PER_TURN 4
#define DIRECT_ERRORS_EVERY     32
#define DIRECT_ERRORS_PER_TURN  16

/* What the kernel may keep for one association; used only when the relay or the network lags. */
#define DIRECT_RCVBUF (1 << 20)
#define DIRECT_SNDBUF (1 << 20)

static void direct_set(int fd, int level, int option, int value)
{
    /* Best effort: each of these exists in every kernel that has recvmmsg. */
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

void direct_udp_setup(int fd, enum addr_family family)
{
    sock_tune_udp(fd, DIRECT_RCVBUF, DIRECT_SNDBUF);
    sock_set_df(fd, family, false); /* RFC 8656, section 14.6 */
    if (family == ADDR_IPV6)
        direct_set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    else
        direct_set(fd, IPPROTO_IP, IP_RECVERR, 1);
}

/* ---- sending ---- */

/* The session asked permit() about the address; a port matters only where the address is ours, and
 * whether it is was found out when it came first. */
static bool direct_udp_allows(struct leg *leg, const struct addr *peer)
{
    const struct direct_exit *x = leg->assoc->exit;

    if (leg->judged_generation != x->generation || !addr_ip_equal(&leg->judged, peer)) {
        leg->judged = *peer;
        leg->judged_own = acl_is_own(x->acl, peer);
        leg->judged_generation = x->generation;
    }
    return !leg->judged_own || acl_check(x->acl, peer, false) == ACL_ALLOW;
}

void direct_udp_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                     bool dont_fragment)
{
    struct leg *leg = a->tcp ? NULL : direct_leg(a, peer->family);
    struct tx_queue *tx = a->exit->params.tx;
    struct addr to;

    if (!leg)
        return;
    if (!direct_udp_allows(leg, peer)) {
        counter_add(&a->exit->params.counters->drop_denied, 1);
        return;
    }
    if (leg->df != dont_fragment) {
        /* The option is the socket's: what is queued goes out under the old one. It stays until
         * the other kind is asked for, which also lets ICMP "too big" reports arrive, as the
         * kernel keeps these from sockets that do not set DF. */
        tx_flush(tx);
        sock_set_df(leg->fd, leg->bound.family, dont_fragment);
        leg->df = dont_fragment;
    }
    to = direct_to_wire(leg, peer);
    if (dont_fragment)
        leg->df_peer = to;
    tx_push(tx, leg->fd, &to, NULL, NULL, 0, data, len);
}

/* ---- errors ---- */

/* The kernel knew the path's MTU and refused a datagram with DF itself: as good as the router's
 * word. Its IPv4 half forgets the port of an unconnected socket's destination. */
static bool direct_read_too_big(const struct leg *leg, const struct sock_extended_err *ee,
                                struct assoc_icmp *ret)
{
    bool v6 = leg->bound.family == ADDR_IPV6;

    if (ee->ee_errno != EMSGSIZE || !addr_ip_equal(&ret->peer, &leg->df_peer))
        return false;
    ret->peer = leg->df_peer;
    ret->type = v6 ? ICMPV6_PKT_TOOBIG : ICMP_DEST_UNREACH;
    ret->code = v6 ? 0 : ICMP_FRAG_NEEDED;
    ret->data = ee->ee_info;
    return true;
}

/* The report about one datagram of ours, to ret->peer. Return: false for those that are nobody's
 * business. */
static bool direct_read_error(const struct leg *leg, const struct sock_extended_err *ee,
                              struct assoc_icmp *ret)
{
    bool v6 = leg->bound.family == ADDR_IPV6;

    if (ee->ee_origin == SO_EE_ORIGIN_LOCAL)
        return direct_read_too_big(leg, ee, ret);
    if (ee->ee_origin != (v6 ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP))
        return false;
    ret->type = ee->ee_type;
    ret->code = ee->ee_code;
    /* RFC 8656, section 11.5: destination unreachable, time exceeded, packet too big. */
    if (v6) {
        ret->data = ee->ee_type == ICMPV6_PKT_TOOBIG ? ee->ee_info : 0;
        return ee->ee_type >= ICMPV6_DEST_UNREACH && ee->ee_type <= ICMPV6_TIME_EXCEED;
    }
    ret->data =
        ee->ee_type == ICMP_DEST_UNREACH && ee->ee_code == ICMP_FRAG_NEEDED ? ee->ee_info : 0;
    return ee->ee_type == ICMP_DEST_UNREACH || ee->ee_type == ICMP_TIME_EXCEEDED;
}

/* Return: 1 and a report, 0 for an entry to ignore, -errno when the queue is empty. */
static int direct_next_error(const struct leg *leg, struct assoc_icmp *ret)
{
    _Alignas(struct cmsghdr) uint8_t control[512];
    struct sockaddr_storage name = {0};
    struct iovec iov = {NULL, 0}; /* the datagram itself is of no use */
    struct msghdr hdr = {.msg_name = &name,
                         .msg_namelen = sizeof(name),
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct sock_extended_err ee;

    if (recvmsg(leg->fd, &hdr, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&hdr); c; c = CMSG_NXTHDR(&hdr, c)) {
        if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
            !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
            continue;
        memcpy(&ee, CMSG_DATA(c), sizeof(ee));
        ret->peer = addr_from_sockaddr((const struct sockaddr *)&name);
        if (ret->peer.family == leg->bound.family && direct_read_error(leg, &ee, ret))
            return 1;
    }
    return 0;
}

static void direct_drain_errors(struct leg *leg, uint64_t now_ns)
{
    struct assoc *a = leg->assoc;
    int r = 0;

    for (int i = 0; i < DIRECT_ERRORS_PER_TURN && r >= 0 && !a->is_closed; i++) {
        struct assoc_icmp icmp = {0};

        r = direct_next_error(leg, &icmp);
        if (r <= 0)
            continue;
        icmp.peer = direct_from_wire(leg, &icmp.peer);
        a->events->on_icmp(a->user, &icmp, now_ns);
    }
    tx_flush(a->exit->params.tx);
}

/* ---- receiving ---- */

static void direct_deliver(struct leg *leg, uint64_t now_ns)
{
    struct assoc *a = leg->assoc;
    struct direct_exit *x = a->exit;
    struct rx_packet packet;
    struct addr peer;

    while (!a->is_closed && rx_batch_next(x->params.rx, &packet)) {
        peer = direct_from_wire(leg, &packet.from);
        a->events->on_datagram(a->user, &peer, packet.data, packet.len, now_ns);
    }
    tx_flush(x->params.tx);
}

void direct_udp_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct leg *leg = arg;
    struct assoc *a = leg->assoc;
    struct direct_exit *x = a->exit;
    uint64_t now_ns = direct_now(x);
    int n = RX_BATCH_MESSAGES;

    direct_enter(a);
    if (++leg->n_turns % DIRECT_ERRORS_EVERY == 0)
        direct_drain_errors(leg, now_ns);
    for (int i = 0; i < DIRECT_BATCHES_PER_TURN && n == RX_BATCH_MESSAGES && !a->is_closed; i++) {
        n = rx_batch_recv(x->params.rx, leg->fd);
        if (n > 0) {
            counter_add(&x->params.counters->rx_calls, 1);
            direct_deliver(leg, now_ns);
        } else if (n < 0 || i == 0) {
            direct_drain_errors(leg, now_ns);
        }
    }
    direct_leave(a);
}
