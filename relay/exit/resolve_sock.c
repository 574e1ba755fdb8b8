/*
 * c-ares' sockets, which are ours
 *
 * Each is a number with nothing behind it in this process, far above any descriptor
 * there can be and used once: whatever c-ares might do with one behind our back (it
 * does nothing, when its socket functions are replaced) would fail with EBADF.
 *
 * Reading is turned round: something came, it is laid into `in`, and c-ares is told
 * that the socket is readable. What it does not take is lost (UDP) or taken by the next
 * call (TCP: it reads a length, then a message).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "relay/exit/resolve_far.h"

#define SOCK_BASE (1 << 24)
/* Past it c-ares is told to wait; all the questions there can be are little more. */
#define TCP_PENDING_MAX (64 * 1024)

static struct far_sock *sock_find(struct resolve_far *f, ares_socket_t number)
{
    for (size_t i = 0; i < FAR_SOCKS_MAX; i++)
        if (number != 0 && f->socks[i].number == number)
            return &f->socks[i];
    return NULL;
}

/* c-ares compares an answer's address with the server's, but not its port; so we do. */
static struct far_sock *sock_find_udp(struct resolve_far *f, const struct addr *peer)
{
    for (size_t i = 0; i < FAR_SOCKS_MAX; i++) {
        struct far_sock *s = &f->socks[i];

        if (s->number != 0 && !s->tcp && addr_equal(&s->peer, peer))
            return s;
    }
    return NULL;
}

/* Has c-ares read from, or write to, a socket; it may close any. */
static void sock_process(struct resolve_far *f, ares_socket_t readable, ares_socket_t writable)
{
    if (!resolve_enter(f->r))
        return;
    ares_process_fd(f->r->channel, readable, writable);
    resolve_leave(f->r);
}

static void sock_broke(struct far_sock *s, int error)
{
    s->error = error;
    resolve_raise(s->far->r);
}

void far_sock_datagram(struct resolve_far *f, const struct addr *peer, const uint8_t *data,
                       size_t len)
{
    struct far_sock *s = sock_find_udp(f, peer);

    if (!s || f->r->is_inside)
        return;
    s->in = data;
    s->in_len = len;
    sock_process(f, s->number, ARES_SOCKET_BAD);
    s->in_len = 0;
}

void far_sock_unreachable(struct resolve_far *f, const struct addr *peer)
{
    struct far_sock *s = sock_find_udp(f, peer);

    if (s)
        sock_broke(s, ECONNREFUSED);
}

/* ---- TCP ---- */

static ptrdiff_t sock_on_bytes(void *user, const uint8_t *data, size_t len)
{
    struct far_sock *s = user;
    ares_socket_t number = s->number;
    size_t left;

    s->in = data;
    s->in_len = len;
    do {
        left = s->in_len;
        sock_process(s->far, number, ARES_SOCKET_BAD);
    } while (s->number == number && s->in_len > 0 && s->in_len < left);
    s->in_len = 0;
    return (ptrdiff_t)len;
}

static void sock_on_drained(void *user)
{
    struct far_sock *s = user;

    resolve_raise(s->far->r);
}

static void sock_on_closed(void *user, int reason)
{
    struct far_sock *s = user;

    stream_free(s->stream);
    s->stream = NULL;
    sock_broke(s, ECONNRESET);
}

static const struct stream_events sock_events = {
    .on_bytes = sock_on_bytes,
    .on_drained = sock_on_drained,
    .on_closed = sock_on_closed,
};

static ptrdiff_t dead_on_bytes(void *user, const uint8_t *data, size_t len)
{
    return (ptrdiff_t)len;
}

static void dead_on_closed(void *user, int reason)
{
}

static const struct stream_events dead_events = {
    .on_bytes = dead_on_bytes,
    .on_closed = dead_on_closed,
};

static void sock_bury(struct resolve_far *f, struct stream *stream)
{
    if (f->n_dead == FAR_SOCKS_MAX) {
        stream_free(stream);
        return;
    }
    stream_set_events(stream, &dead_events, NULL);
    f->dead[f->n_dead++] = stream;
    resolve_raise(f->r);
}

static void dead_free(struct resolve_far *f)
{
    while (f->n_dead > 0)
        stream_free(f->dead[--f->n_dead]);
}

static void sock_on_dialed(void *user, enum exit_result result, struct stream *stream,
                           const struct addr *relayed)
{
    struct far_sock *s = user;

    s->dial = NULL;
    if (result == EXIT_E_DOWN) {
        resolve_again(s->far->r, EXIT_E_DOWN);
        return;
    }
    if (result != EXIT_OK) {
        sock_broke(s, ECONNREFUSED);
        return;
    }
    s->stream = stream;
    stream_set_events(stream, &sock_events, s);
    resolve_raise(s->far->r);
}

static int sock_dial(struct resolve_far *f, struct far_sock *s)
{
    const struct exit_ops *ops = f->r->exit->ops;

    if (!ops->dial) {
        errno = ENETUNREACH;
        return -1;
    }
    if (ops->dial(f->r->exit, &s->peer, sock_on_dialed, s, &s->dial) < 0) {
        s->dial = NULL;
        errno = ENOMEM;
        return -1;
    }
    errno = EINPROGRESS;
    return -1;
}

static ares_ssize_t sock_write(struct far_sock *s, const struct iovec *iov, int n_iov)
{
    ares_ssize_t n = 0;

    if (!s->stream || stream_pending(s->stream) > TCP_PENDING_MAX) {
        errno = EAGAIN;
        return -1;
    }
    for (int i = 0; i < n_iov; i++) {
        if (stream_write(s->stream, iov[i].iov_base, iov[i].iov_len) < 0) {
            errno = EPIPE;
            return -1;
        }
        n += (ares_ssize_t)iov[i].iov_len;
    }
    return n;
}

/* ---- the functions ---- */

static ares_socket_t sock_asocket(int family, int type, int protocol, void *user)
{
    struct resolve_far *f = user;

    for (size_t i = 0; i < FAR_SOCKS_MAX; i++) {
        struct far_sock *s = &f->socks[i];

        if (s->number != 0)
            continue;
        f->next_number = f->next_number == INT32_MAX ? SOCK_BASE : f->next_number + 1;
        *s = (struct far_sock){.far = f, .number = f->next_number, .tcp = type == SOCK_STREAM};
        return s->number;
    }
    errno = EMFILE;
    return ARES_SOCKET_BAD;
}

static int sock_aconnect(ares_socket_t number, const struct sockaddr *sa, ares_socklen_t len,
                         void *user)
{
    struct resolve_far *f = user;
    struct far_sock *s = sock_find(f, number);

    if (!s) {
        errno = EBADF;
        return -1;
    }
    s->peer = addr_from_sockaddr(sa);
    return s->tcp ? sock_dial(f, s) : 0;
}

static int sock_aclose(ares_socket_t number, void *user)
{
    struct resolve_far *f = user;
    struct far_sock *s = sock_find(f, number);

    if (!s) {
        errno = EBADF;
        return -1;
    }
    if (s->dial)
        f->r->exit->ops->hang_up(s->dial);
    if (s->stream)
        sock_bury(f, s->stream);
    *s = (struct far_sock){.far = f};
    return 0;
}

static ares_ssize_t sock_arecvfrom(ares_socket_t number, void *data, size_t cap, int flags,
                                   struct sockaddr *from, ares_socklen_t *from_len, void *user)
{
    struct far_sock *s = sock_find(user, number);
    size_t n;

    if (!s || s->error != 0 || s->in_len == 0) {
        errno = !s ? EBADF : s->error != 0 ? s->error : EAGAIN;
        return -1;
    }
    n = s->in_len < cap ? s->in_len : cap;
    memcpy(data, s->in, n);
    s->in += n;
    s->in_len = s->tcp ? s->in_len - n : 0;
    if (from && from_len) {
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(&s->peer, &sa);

        memcpy(from, &sa, len < *from_len ? len : *from_len);
        *from_len = len;
    }
    return (ares_ssize_t)n;
}

static ares_ssize_t sock_asendv(ares_socket_t number, const struct iovec *iov, int n_iov,
                                void *user)
{
    struct far_sock *s = sock_find(user, number);
    int r;

    if (!s || s->error != 0) {
        errno = s ? s->error : EBADF;
        return -1;
    }
    if (s->tcp)
        return sock_write(s, iov, n_iov);
    r = n_iov == 1 ? far_send(user, &s->peer, iov->iov_base, iov->iov_len) : -EMSGSIZE;
    if (r < 0) {
        errno = -r;
        return -1;
    }
    return (ares_ssize_t)iov->iov_len;
}

const struct ares_socket_functions far_sock_functions = {
    .asocket = sock_asocket,
    .aclose = sock_aclose,
    .aconnect = sock_aconnect,
    .arecvfrom = sock_arecvfrom,
    .asendv = sock_asendv,
};

void far_sock_on_state(void *data, ares_socket_t number, int readable, int writable)
{
    struct resolve_far *f = data;
    struct far_sock *s = sock_find(f, number);

    if (!s)
        return;
    s->wants_write = writable != 0;
    if (s->wants_write)
        resolve_raise(f->r);
}

/* ---- life ---- */

void far_sock_init(struct resolve_far *f)
{
    f->next_number = SOCK_BASE;
}

void far_sock_work(struct resolve_far *f)
{
    dead_free(f);
    for (size_t i = 0; i < FAR_SOCKS_MAX; i++) {
        struct far_sock *s = &f->socks[i];

        if (s->number != 0 && s->error != 0)
            sock_process(f, s->number, ARES_SOCKET_BAD);
        if (s->number != 0 && s->error == 0 && s->stream && s->wants_write)
            sock_process(f, ARES_SOCKET_BAD, s->number);
    }
}

void far_sock_deinit(struct resolve_far *f)
{
    dead_free(f);
}
