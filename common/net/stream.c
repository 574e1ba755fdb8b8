/*
 * The owner's side of a stream. Nothing here calls an event; stream_loop.c does,
 * and says how.
 */
#include "common/net/stream.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/stream_impl.h"

/* ---- what is waited for ---- */

void stream_wake(struct stream *s)
{
    static const struct timeval now = {0};

    if (!s->pool || s->due.next != &s->due)
        return;
    /* A timer of no time, and not event_active(): that would run in this turn of the loop, before
     * any socket is looked at. */
    if (list_empty(&s->pool->due))
        evtimer_add(s->pool->due_timer, &now);
    list_append(&s->pool->due, &s->due);
}

void stream_fail(struct stream *s, int err)
{
    if (!s->failed)
        s->failed = err;
    stream_wake(s);
}

bool stream_may_read(const struct stream *s)
{
    return s->state == STREAM_OPEN && s->events && !s->paused && !s->eof && !s->closing &&
           !s->failed;
}

static bool stream_wants_in(const struct stream *s)
{
    switch (s->state) {
    case STREAM_SNIFFING:
    case STREAM_LINGERING:
        return true;
    case STREAM_HANDSHAKE:
        return !s->read_waits_out;
    case STREAM_OPEN:
        return s->write_waits_in || (stream_may_read(s) && !s->read_waits_out);
    default:
        return false;
    }
}

static bool stream_wants_out(const struct stream *s)
{
    bool ending = (s->end_wanted || s->closing) && !s->end_said;

    switch (s->state) {
    case STREAM_CONNECTING:
        return true;
    case STREAM_HANDSHAKE:
        return s->read_waits_out;
    case STREAM_OPEN:
        return s->read_waits_out || (!s->write_waits_in && (s->pending.len > 0 || ending));
    default:
        return false;
    }
}

static void stream_set_event(struct stream *s, struct event *ev, bool *is_added, bool wanted)
{
    if (*is_added == wanted)
        return;
    if ((wanted ? event_add(ev, NULL) : event_del(ev)) < 0)
        stream_fail(s, -ENOMEM);
    else
        *is_added = wanted;
}

/* Makes the loop watch for what the state asks for. Called after anything changed. */
void stream_arm(struct stream *s)
{
    if (!s->pool)
        return;
    stream_set_event(s, &s->on_readable, &s->reads, !s->failed && stream_wants_in(s));
    stream_set_event(s, &s->on_writable, &s->writes, !s->failed && stream_wants_out(s));
}

static void stream_add_timer(struct stream *s, uint64_t now_ns)
{
    uint64_t left_us = s->deadline_ns > now_ns ? (s->deadline_ns - now_ns) / NS_PER_US : 0;
    struct timeval tv = {.tv_sec = (time_t)(left_us / 1000000),
                         .tv_usec = (suseconds_t)(left_us % 1000000)};

    if (s->pool && event_add(&s->on_timer, &tv) < 0)
        stream_fail(s, -ENOMEM);
}

void stream_set_deadline(struct stream *s, uint64_t ms)
{
    uint64_t now_ns = clock_now_ns();

    s->deadline_ns = now_ns + ms * NS_PER_MS;
    stream_add_timer(s, now_ns);
}

void stream_clear_deadline(struct stream *s)
{
    s->deadline_ns = 0;
    if (s->pool)
        event_del(&s->on_timer);
}

/* Takes the stream off the loop, wherever it is waiting. */
static void stream_unwatch(struct stream *s)
{
    list_remove(&s->due);
    if (!s->pool)
        return;
    event_del(&s->on_readable);
    event_del(&s->on_writable);
    event_del(&s->on_timer);
    s->reads = s->writes = false;
}

/* ---- making and freeing ---- */

struct stream_pool *stream_pool_new(struct event_base *base)
{
    struct stream_pool *pool = malloc(sizeof(*pool));

    if (!pool)
        return NULL;
    pool->base = base;
    list_init(&pool->due);
    pool->due_timer = evtimer_new(base, stream_pool_on_due, pool);
    if (!pool->due_timer) {
        free(pool);
        return NULL;
    }
    return pool;
}

void stream_pool_free(struct stream_pool *pool)
{
    if (!pool)
        return;
    assert(list_empty(&pool->due));
    event_free(pool->due_timer);
    free(pool);
}

static struct addr stream_get_addr(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);

    if (get(fd, (struct sockaddr *)&sa, &len) < 0)
        return (struct addr){0};
    return addr_from_sockaddr((struct sockaddr *)&sa);
}

static int stream_assign_events(struct stream *s, struct event_base *base)
{
    if (event_assign(&s->on_readable, base, s->fd, EV_READ | EV_PERSIST, stream_on_readable, s) ||
        event_assign(&s->on_writable, base, s->fd, EV_WRITE | EV_PERSIST, stream_on_writable, s) ||
        evtimer_assign(&s->on_timer, base, stream_on_timer, s))
        return -EINVAL;
    return 0;
}

/* Takes over `fd`, which is closed when memory is short. */
static struct stream *stream_new(struct stream_pool *pool, int fd, enum stream_state state,
                                 size_t max_pending)
{
    struct stream *s = calloc(1, sizeof(*s));
    int on = 1;

    if (!s) {
        close(fd);
        return NULL;
    }
    s->io = &stream_io_plain;
    s->pool = pool;
    s->fd = fd;
    s->state = state;
    s->max_pending = max_pending;
    list_init(&s->due);
    /* Messages are small and somebody is talking: waiting to fill a segment is the wrong trade.
     * Fails harmlessly where the socket is not TCP (tests). */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (evutil_make_socket_nonblocking(fd) < 0 || stream_assign_events(s, pool->base) < 0) {
        stream_free(s);
        return NULL;
    }
    return s;
}

struct stream *stream_accept(struct stream_pool *pool, int fd, SSL_CTX *tls, bool sniff,
                             size_t max_pending)
{
    enum stream_state state = !tls ? STREAM_OPEN : sniff ? STREAM_SNIFFING : STREAM_HANDSHAKE;
    struct stream *s = stream_new(pool, fd, state, max_pending);

    if (!s)
        return NULL;
    s->remote = stream_get_addr(fd, getpeername);
    if (state == STREAM_SNIFFING) {
        SSL_CTX_up_ref(tls);
        s->tls = tls;
        stream_set_deadline(s, STREAM_SNIFF_MS);
    } else if (state == STREAM_HANDSHAKE) {
        if (stream_tls_start(s, tls) < 0) {
            stream_free(s);
            return NULL;
        }
        stream_set_deadline(s, STREAM_HANDSHAKE_MS);
    }
    stream_arm(s);
    return s;
}

struct stream *stream_connecting(struct stream_pool *pool, int fd, size_t max_pending)
{
    struct stream *s = stream_new(pool, fd, STREAM_CONNECTING, max_pending);

    if (s)
        stream_arm(s);
    return s;
}

struct stream *stream_connecting_tls(struct stream_pool *pool, int fd, SSL *ssl, size_t max_pending)
{
    struct stream *s = stream_new(pool, fd, STREAM_CONNECTING, max_pending);

    if (!s) {
        SSL_free(ssl);
        return NULL;
    }
    if (stream_tls_use(s, ssl) < 0) {
        stream_free(s);
        return NULL;
    }
    stream_arm(s);
    return s;
}

void stream_set_events(struct stream *s, const struct stream_events *events, void *user)
{
    s->events = events;
    s->user = user;
    s->n_set_events++;
    s->redeliver = s->kept.len > 0;
    /* The new owner may have missed something: kept bytes, even the end. */
    stream_wake(s);
    stream_arm(s);
}

/* Gives back all that a closed stream does not need. */
void stream_release(struct stream *s)
{
    stream_unwatch(s);
    if (!stream_ssl(s)) { /* a client's SSL still has to say why */
        SSL_free(s->ssl);
        s->ssl = NULL;
    }
    SSL_CTX_free(s->tls);
    s->tls = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    stream_bytes_clear(&s->kept);
    stream_bytes_clear(&s->pending);
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    if (s->guard)
        s->guard->gone = true;
    stream_release(s);
    SSL_free(s->ssl);
    if (s->farewell)
        s->farewell(s->farewell_arg);
    free(s);
}

void stream_set_farewell(struct stream *s, void (*farewell)(void *arg), void *arg)
{
    s->farewell = farewell;
    s->farewell_arg = arg;
}

/* ---- output ---- */

/* With nothing pending: the socket first, memory for the rest. */
static int stream_put(struct stream *s, const struct iovec *iov, int n_iov, size_t total)
{
    ptrdiff_t n = -EAGAIN;

    if (s->state == STREAM_OPEN && s->pool)
        n = s->io->write(s, iov, n_iov);
    if (n < 0 && n != -EAGAIN) {
        stream_fail(s, (int)n);
        return -EPIPE;
    }
    if (n == (ptrdiff_t)total)
        return 0;
    if (stream_bytes_append(&s->pending, iov, n_iov, n > 0 ? (size_t)n : 0) < 0) {
        stream_fail(s, -ENOMEM); /* half a message is out */
        return -EPIPE;
    }
    s->undrained = true;
    stream_arm(s);
    return 0;
}

static bool stream_takes_output(const struct stream *s)
{
    return s->state < STREAM_LINGERING && !s->closing && !s->end_wanted && !s->failed;
}

int stream_send(struct stream *s, const struct iovec *iov, int n_iov)
{
    size_t total = 0;

    assert(n_iov <= STREAM_IOV_MAX);
    if (!stream_takes_output(s))
        return -EPIPE;
    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    if (total == 0)
        return 0;
    if (s->pending.len == 0)
        return stream_put(s, iov, n_iov, total);
    if (total > s->max_pending || s->pending.len > s->max_pending - total)
        return -ENOBUFS;
    return stream_bytes_append(&s->pending, iov, n_iov, 0) < 0 ? -ENOBUFS : 0;
}

ptrdiff_t stream_write(struct stream *s, const void *data, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};

    if (!stream_takes_output(s))
        return -EPIPE;
    if (len > 0 && s->pending.len == 0) {
        if (stream_put(s, &iov, 1, len) < 0)
            return -EPIPE;
    } else if (stream_bytes_append(&s->pending, &iov, 1, 0) < 0) {
        stream_fail(s, -ENOMEM);
        return -EPIPE;
    }
    return (ptrdiff_t)s->pending.len;
}

size_t stream_pending(const struct stream *s)
{
    return s->pending.len;
}

size_t stream_unsent(const struct stream *s)
{
    int in_kernel = 0;

    if (s->fd < 0 || ioctl(s->fd, SIOCOUTQ, &in_kernel) < 0)
        in_kernel = 0;
    return s->pending.len + (size_t)in_kernel;
}

/* ---- flow and end ---- */

void stream_pause(struct stream *s)
{
    s->paused = true;
    stream_arm(s);
}

void stream_resume(struct stream *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    s->redeliver = s->kept.len > 0;
    if (s->redeliver || s->ssl)
        stream_wake(s);
    stream_arm(s);
}

void stream_shutdown(struct stream *s)
{
    if (!stream_takes_output(s))
        return;
    s->end_wanted = true;
    stream_wake(s);
    stream_arm(s);
}

void stream_close(struct stream *s, int reason)
{
    if (s->state >= STREAM_LINGERING || s->closing)
        return;
    s->closing = true;
    s->reason = reason;
    stream_bytes_clear(&s->kept);
    s->close_by_ns = clock_now_ns() + STREAM_CLOSE_MAX_MS * NS_PER_MS;
    s->unsent = stream_unsent(s);
    stream_set_deadline(s, STREAM_CLOSE_MS);
    stream_wake(s);
    stream_arm(s);
}

void stream_abort(struct stream *s, int reason)
{
    const struct linger now = {.l_onoff = 1};

    /* With this the last close(2) resets (socket(7), SO_LINGER); what goes out before it does. */
    if (s->fd >= 0)
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    s->resets = true;
    stream_close(s, reason);
}

/* ---- from thread to thread ---- */

void stream_detach(struct stream *s)
{
    assert(!s->guard || !s->guard->in_bytes);
    if (s->guard)
        s->guard->gone = true;
    s->guard = NULL;
    stream_unwatch(s);
    s->pool = NULL;
}

void stream_detach_then(struct stream *s, void (*then)(void *arg, struct stream *s), void *arg)
{
    if (s->guard && s->guard->in_bytes) {
        s->then = then;
        s->then_arg = arg;
        return;
    }
    stream_detach(s);
    then(arg, s);
}

int stream_attach(struct stream *s, struct stream_pool *pool)
{
    int r = stream_assign_events(s, pool->base);

    assert(!s->pool);
    if (r < 0)
        return r;
    s->pool = pool;
    s->redeliver = s->kept.len > 0;
    if (s->deadline_ns > 0)
        stream_add_timer(s, clock_now_ns());
    stream_wake(s);
    stream_arm(s);
    return 0;
}

/* ---- questions ---- */

bool stream_is_tls(const struct stream *s)
{
    return s->io == &stream_io_tls;
}

const SSL *stream_ssl(const struct stream *s)
{
    return s->ssl && !SSL_is_server(s->ssl) ? s->ssl : NULL;
}

int stream_fd(const struct stream *s)
{
    return s->fd;
}

struct addr stream_remote(const struct stream *s)
{
    /* An accepted socket was asked at once: after a reset it does not know any more. */
    return s->remote.family != ADDR_NONE ? s->remote : stream_get_addr(s->fd, getpeername);
}

struct addr stream_local(const struct stream *s)
{
    return stream_get_addr(s->fd, getsockname);
}
