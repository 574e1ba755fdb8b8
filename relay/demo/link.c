#include "relay/demo/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/wire/channel.h"
#include "common/wire/stun.h"

/* A burst of video must not be lost in the client's own socket and be blamed on the relay. */
#define DEMO_RCVBUF (1 << 20)

/* ---- the watch ---- */

void demo_watch_hide(struct demo_watch *watch, const struct addr *addr)
{
    if (watch->n_hidden < DEMO_MAX_HIDDEN)
        watch->hidden[watch->n_hidden++] = *addr;
}

bool demo_watch_holds(const uint8_t *data, size_t len, const struct addr *addr)
{
    char text[ADDR_STRLEN];
    uint8_t xored[4];

    put_u32(xored, STUN_MAGIC_COOKIE);
    for (size_t i = 0; i < sizeof(xored); i++)
        xored[i] ^= addr->ip[i];
    addr_format_ip(addr, text, sizeof(text));
    return memmem(data, len, addr->ip, 4) || memmem(data, len, xored, sizeof(xored)) ||
           memmem(data, len, text, strlen(text));
}

static void demo_watch_look(struct demo_watch *watch, const uint8_t *data, size_t len)
{
    bool found = false;

    watch->n_messages++;
    watch->n_bytes += len;
    for (size_t i = 0; i < watch->n_hidden; i++) {
        if (!demo_watch_holds(data, len, &watch->hidden[i]))
            continue;
        watch->found = watch->hidden[i];
        found = true;
    }
    watch->n_found += found;
}

/* ---- the socket ---- */

/* Return: 0 when `events` are there, -ETIMEDOUT or -errno. */
static int demo_link_wait(const struct demo_link *l, short events, uint64_t deadline_ns)
{
    struct pollfd p = {.fd = l->fd, .events = events};
    uint64_t now_ns = clock_now_ns();
    /* Rounded up: a wait of zero would spin until the deadline. */
    uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns) / NS_PER_MS + 1 : 0;
    int n = poll(&p, 1, left_ms > 60000 ? 60000 : (int)left_ms);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n > 0 ? 0 : -ETIMEDOUT;
}

static int demo_link_connect(struct demo_link *l, uint64_t deadline_ns)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&l->remote, &sa);
    int error = 0;
    int r;

    if (connect(l->fd, (struct sockaddr *)&sa, len) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    r = demo_link_wait(l, POLLOUT, deadline_ns);
    if (r < 0)
        return r;
    len = sizeof(error);
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}

int demo_link_open(struct demo_link *l, const struct addr *from, const struct addr *to, bool stream,
                   uint64_t deadline_ns)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(from, &sa);
    int rcvbuf = DEMO_RCVBUF;
    int r = 0;

    l->stream = stream;
    l->remote = *to;
    l->len = l->used = 0;
    l->watch = (struct demo_watch){0};
    l->fd = socket(AF_INET, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return -errno;
    if (bind(l->fd, (struct sockaddr *)&sa, len) < 0)
        return -errno;
    if (stream)
        r = demo_link_connect(l, deadline_ns);
    else
        (void)setsockopt(l->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
    if (r < 0)
        return r;
    len = sizeof(sa);
    if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    l->local = addr_from_sockaddr((struct sockaddr *)&sa);
    return 0;
}

void demo_link_close(struct demo_link *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

int demo_link_send(struct demo_link *l, const void *data, size_t len, uint64_t deadline_ns)
{
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(&l->remote, &sa);
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = l->stream ? send(l->fd, at, len, MSG_NOSIGNAL)
                              : sendto(l->fd, at, len, 0, (struct sockaddr *)&sa, sa_len);
        int r = n < 0 ? -errno : 0;

        if (r == -EAGAIN)
            r = demo_link_wait(l, POLLOUT, deadline_ns);
        else if (r == -EINTR)
            r = 0;
        if (r < 0)
            return r;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* ---- receiving ---- */

/* Return: 0 when bytes came, -EAGAIN, or another -errno. */
static int demo_link_read(struct demo_link *l, struct addr *ret_from)
{
    struct sockaddr_storage sa;
    socklen_t sa_len = sizeof(sa);
    ssize_t n = recvfrom(l->fd, l->buf + l->len, sizeof(l->buf) - l->len, 0, (struct sockaddr *)&sa,
                         &sa_len);

    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (l->stream && n == 0)
        return -EPIPE;
    l->len += (size_t)n;
    *ret_from = l->stream ? l->remote : addr_from_sockaddr((struct sockaddr *)&sa);
    return 0;
}

/* The message at the start of the buffer. Return: its length, 0 while it is not complete, or
 * -EPROTO. */
static ptrdiff_t demo_link_frame(const struct demo_link *l)
{
    ptrdiff_t n;

    if (!l->stream || l->len == 0)
        return (ptrdiff_t)l->len;
    n = wire_frame_len(l->buf, l->len);
    if (n > (ptrdiff_t)sizeof(l->buf))
        return -EPROTO;
    return n > (ptrdiff_t)l->len ? 0 : n;
}

static void demo_link_forget(struct demo_link *l)
{
    memmove(l->buf, l->buf + l->used, l->len - l->used);
    l->len -= l->used;
    l->used = 0;
}

int demo_link_receive(struct demo_link *l, uint64_t deadline_ns, const uint8_t **ret,
                      size_t *ret_len)
{
    demo_link_forget(l);
    for (;;) {
        ptrdiff_t n = demo_link_frame(l);
        struct addr from;
        int r;

        if (n < 0)
            return (int)n;
        if (n > 0) {
            demo_watch_look(&l->watch, l->buf, (size_t)n);
            l->used = (size_t)n;
            *ret = l->buf;
            *ret_len = (size_t)n;
            return 0;
        }
        r = demo_link_read(l, &from);
        if (r == 0 && !addr_equal(&from, &l->remote)) {
            l->watch.n_strangers++;
            l->watch.found = from;
            l->len = 0;
        }
        if (r == -EAGAIN)
            r = demo_link_wait(l, POLLIN, deadline_ns);
        if (r < 0)
            return r;
    }
}
