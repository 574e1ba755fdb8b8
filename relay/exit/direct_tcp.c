/*
 * TCP associations (RFC 6062): one listening socket at the relayed address, and
 * connections made from that same address and port
 *
 * SO_REUSEPORT lets a second socket bind to the listener's port and connect from
 * there. The listener gets the option only after bind(2): two sockets that both
 * have it *before* share a port without EADDRINUSE, and another relay on this
 * machine would then get half of the peers meant for us. (tests/kernel holds Linux
 * to both halves of this.)
 *
 * A connection being made is a struct direct_connect from connect() until the
 * stream opens, fails or runs out of time; then the session owns the stream, or
 * there is none. That a connection to the same peer exists already, made or
 * accepted, is what the kernel says when it is asked for the 5-tuple twice.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/net/stream.h"
#include "relay/exit/direct_impl.h"

#define DIRECT_BACKLOG            32
#define DIRECT_ACCEPTS_PER_TURN   16
#define DIRECT_CONNECT_TIMEOUT_MS 30000
#define DIRECT_MAX_PENDING        65536 /* stream_write() takes more; the session watches */

struct direct_connect {
    struct list link; /* direct_tcp.connects */
    struct assoc *assoc;
    struct stream *stream;
    struct event timer;
    struct addr peer;
    uint32_t id;
};

int direct_tcp_listen(const struct addr *addr)
{
    int fd = sock_bind(addr, SOCK_STREAM, SOCK_REUSEADDR);
    int on = 1, r;

    if (fd < 0)
        return fd;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
        listen(fd, DIRECT_BACKLOG) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

/* ---- accepting ---- */

static void direct_tcp_accepted(struct leg *leg, int fd, const struct sockaddr *sa)
{
    struct assoc *a = leg->assoc;
    struct addr source = addr_from_sockaddr(sa);
    struct addr peer = direct_from_wire(leg, &source);
    struct stream *stream;

    /* RFC 6062, section 5.3 asks for a permission, which the session knows; a peer that policy
     * denies is turned away before that, whatever was permitted. */
    if (acl_check(a->exit->acl, &peer, true) != ACL_ALLOW) {
        close(fd);
        return;
    }
    stream = stream_accept(a->exit->params.pool, fd, NULL, false, DIRECT_MAX_PENDING);
    if (stream)
        a->events->on_accepted(a->user, &peer, stream);
}

/* Out of descriptors or memory: the connection stays in the backlog and the listener readable, so
 * looking away for a second is all that keeps the loop from spinning. */
static void direct_tcp_pause(struct leg *leg)
{
    static const struct timeval second = {.tv_sec = 1};

    log_limited(LOG_LEVEL_WARNING, "relay: cannot accept a peer's connection (error %d)", errno);
    event_del(&leg->event);
    evtimer_add(&leg->assoc->tcp->resume, &second);
}

static void direct_tcp_on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct assoc *a = arg;

    for (int i = 0; i < 2; i++)
        if (a->legs[i].fd >= 0)
            event_add(&a->legs[i].event, NULL);
}

void direct_tcp_on_event(evutil_socket_t listener, short what, void *arg)
{
    struct leg *leg = arg;
    struct assoc *a = leg->assoc;
    struct sockaddr_storage sa;
    socklen_t len;
    int fd;

    direct_enter(a);
    for (int i = 0; i < DIRECT_ACCEPTS_PER_TURN && !a->is_closed; i++) {
        len = sizeof(sa);
        fd = accept4(listener, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            direct_tcp_accepted(leg, fd, (const struct sockaddr *)&sa);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            direct_tcp_pause(leg);
        /* Anything but "none left" is about a connection that died in the queue (accept(2)). */
        if (errno == EAGAIN || evtimer_pending(&a->tcp->resume, NULL))
            break;
    }
    tx_flush(a->exit->params.tx);
    direct_leave(a);
}

/* ---- connecting ---- */

static void direct_connect_free(struct direct_connect *c)
{
    event_del(&c->timer);
    list_remove(&c->link);
    c->assoc->tcp->n_connects--;
    stream_free(c->stream);
    free(c);
}

/* Ends `c` with an answer to the session, who gets the stream if there is one. */
static void direct_connect_finish(struct direct_connect *c, enum exit_result result)
{
    struct assoc *a = c->assoc;
    struct stream *stream = NULL;
    uint32_t id = c->id;

    if (result == EXIT_OK) {
        stream = c->stream;
        c->stream = NULL;
    }
    direct_connect_free(c);
    direct_enter(a);
    a->events->on_connected(a->user, id, result, stream);
    tx_flush(a->exit->params.tx);
    direct_leave(a);
}

static void direct_connect_on_open(void *user)
{
    direct_connect_finish(user, EXIT_OK);
}

/* The session takes over before the first byte; until then all of them wait. */
static ptrdiff_t direct_connect_on_bytes(void *user, const uint8_t *data, size_t len)
{
    return 0;
}

/* What an errno of connect(2) means to whoever asked. A reset is a peer that is there and will not
 * (RFC 9293, section 3.10.7.3). */
static enum exit_result direct_connect_failure(int error)
{
    switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
        return EXIT_E_REFUSED;
    case ETIMEDOUT:
        return EXIT_E_TIMEOUT;
    default:
        return EXIT_E_UNREACHABLE;
    }
}

static void direct_connect_on_closed(void *user, int reason)
{
    direct_connect_finish(user, direct_connect_failure(-reason));
}

static void direct_connect_on_timer(evutil_socket_t fd, short what, void *arg)
{
    direct_connect_finish(arg, EXIT_E_TIMEOUT);
}

static const struct stream_events direct_connect_events = {
    .on_bytes = direct_connect_on_bytes,
    .on_open = direct_connect_on_open,
    .on_closed = direct_connect_on_closed,
};

static enum exit_result direct_connect_refusal(struct assoc *a, const struct leg *leg,
                                               const struct addr *peer)
{
    struct addr to = direct_to_wire(leg, peer);
    struct list *it, *tmp;

    /* TCP lets a socket connect to itself; a session would talk to its own echo. */
    if (acl_check(a->exit->acl, peer, true) != ACL_ALLOW || addr_equal(&to, &leg->bound))
        return EXIT_E_FORBIDDEN;
    list_for_each_safe (it, tmp, &a->tcp->connects) {
        if (addr_equal(&list_entry(it, struct direct_connect, link)->peer, peer))
            return EXIT_E_DUPLICATE;
    }
    return a->tcp->n_connects < DIRECT_CONNECTS_MAX ? EXIT_OK : EXIT_E_CAPACITY;
}

/* A socket on its way from the relayed address to `peer`. */
static enum exit_result direct_connect_socket(const struct leg *leg, const struct addr *peer,
                                              int *ret_fd)
{
    struct addr to = direct_to_wire(leg, peer);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&to, &sa);
    int fd = sock_bind(&leg->bound, SOCK_STREAM, SOCK_REUSEADDR | SOCK_REUSEPORT);
    int error;

    if (fd < 0)
        return EXIT_E_CAPACITY;
    if (connect(fd, (const struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS) {
        *ret_fd = fd;
        return EXIT_OK;
    }
    error = errno;
    close(fd);
    /* EADDRNOTAVAIL from a bound socket: its 5-tuple exists. */
    if (error == EADDRNOTAVAIL || error == EADDRINUSE)
        return EXIT_E_DUPLICATE;
    return direct_connect_failure(error);
}

/* Takes `fd`. */
static enum exit_result direct_connect_start(struct assoc *a, int fd, const struct addr *peer,
                                             uint32_t id)
{
    struct direct_exit *x = a->exit;
    unsigned int ms = x->params.connect_timeout_ms;
    struct direct_connect *c = calloc(1, sizeof(*c));
    struct timeval tv;

    if (!c) {
        close(fd);
        return EXIT_E_CAPACITY;
    }
    ms = ms ? ms : DIRECT_CONNECT_TIMEOUT_MS;
    tv = (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    c->assoc = a;
    c->peer = *peer;
    c->id = id;
    list_append(&a->tcp->connects, &c->link);
    a->tcp->n_connects++;
    evtimer_assign(&c->timer, x->params.base, direct_connect_on_timer, c);
    c->stream = stream_connecting(x->params.pool, fd, DIRECT_MAX_PENDING);
    if (!c->stream || evtimer_add(&c->timer, &tv) < 0) {
        direct_connect_free(c);
        return EXIT_E_CAPACITY;
    }
    stream_set_events(c->stream, &direct_connect_events, c);
    return EXIT_OK;
}

enum exit_result direct_tcp_connect(struct assoc *a, const struct addr *peer, uint32_t connect_id)
{
    struct leg *leg = a->tcp ? direct_leg(a, peer->family) : NULL;
    enum exit_result result;
    int fd = -1;

    if (!leg)
        return EXIT_E_FAMILY;
    result = direct_connect_refusal(a, leg, peer);
    if (result == EXIT_OK)
        result = direct_connect_socket(leg, peer, &fd);
    if (result == EXIT_OK)
        result = direct_connect_start(a, fd, peer, connect_id);
    return result;
}

/* ---- life ---- */

int direct_tcp_init(struct assoc *a)
{
    struct direct_tcp *tcp = calloc(1, sizeof(*tcp));

    if (!tcp)
        return -ENOMEM;
    list_init(&tcp->connects);
    evtimer_assign(&tcp->resume, a->exit->params.base, direct_tcp_on_resume, a);
    a->tcp = tcp;
    return 0;
}

void direct_tcp_free(struct assoc *a)
{
    struct list *it, *tmp;

    if (!a->tcp)
        return;
    list_for_each_safe (it, tmp, &a->tcp->connects)
        direct_connect_free(list_entry(it, struct direct_connect, link));
    event_del(&a->tcp->resume);
    free(a->tcp);
    a->tcp = NULL;
}
