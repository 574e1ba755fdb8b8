/*
 * Theory of operation
 *
 * Events are called from three places only, all of them the loop's: a socket
 * that is ready, the timer, and the pool's list of streams on which something is
 * due (stream_on_due). What the owner calls never calls back; it marks the stream
 * and puts it on that list.
 *
 * An owner may free or detach the stream within an event. So every event is
 * called with a guard, and nothing of the stream is touched once the guard says
 * it is gone; functions that call events answer whether the stream is still there.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/net/stream_impl.h"

/* Fairness: how much one stream may do before the others have their turn. */
#define STREAM_READS_PER_TURN  4
#define STREAM_WRITES_PER_TURN 16

#define TLS_RECORD_HANDSHAKE 22 /* RFC 8446, section 5.1 */

/* ---- events ---- */

/* Calls an event that takes only `user`. Return: whether the stream is still there. */
static bool stream_call(struct stream *s, void (*event)(void *user))
{
    struct stream_guard guard = {0};

    if (!event)
        return true;
    s->guard = &guard;
    event(s->user);
    if (guard.gone)
        return false;
    s->guard = NULL;
    return true;
}

/* on_closed(), or later when there is nobody to tell yet. The stream may be gone after it. */
static void stream_tell_closed(struct stream *s)
{
    struct stream_guard guard = {0};

    s->closed_due = !s->events;
    if (!s->events)
        return;
    s->guard = &guard;
    s->events->on_closed(s->user, s->reason);
    if (!guard.gone)
        s->guard = NULL;
}

/* The end, from the loop only. The stream may be gone after it. */
static void stream_finish(struct stream *s, int reason)
{
    s->state = STREAM_CLOSED;
    s->reason = reason;
    s->deadline_ns = 0;
    stream_release(s);
    stream_tell_closed(s);
}

/* ---- closing ---- */

/* Waits for the far side's end, so that what it has yet to read is not reset away. */
static void stream_linger(struct stream *s)
{
    s->state = STREAM_LINGERING;
    if (s->eof || shutdown(s->fd, SHUT_WR) < 0) {
        stream_finish(s, s->reason);
        return;
    }
    stream_arm(s);
}

/* For an error that came with a TLS alert: the alert has to arrive. */
static void stream_break(struct stream *s, int err)
{
    if ((err != -EPROTO && err != -EACCES) || !s->ssl) {
        stream_finish(s, err);
        return;
    }
    s->failed = 0;
    s->closing = true;
    s->reason = err;
    stream_bytes_clear(&s->pending);
    stream_set_deadline(s, STREAM_CLOSE_MS);
    stream_linger(s);
}

static void stream_drain_input(struct stream *s)
{
    ssize_t n = 1;

    for (int i = 0; i < STREAM_READS_PER_TURN && n > 0; i++)
        n = recv(s->fd, s->pool->in, STREAM_READ_MAX, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        stream_finish(s, s->reason);
}

/* All output has gone: says the end if one is due. Return: whether the stream goes on. */
static bool stream_say_end(struct stream *s)
{
    int r = 0;

    if (!s->end_wanted && !s->closing)
        return true;
    if (s->closing && s->resets) {
        stream_finish(s, s->reason);
        return false;
    }
    if (!s->end_said)
        r = s->io->end(s);
    if (r == -EAGAIN)
        return true;
    s->end_said = true;
    if (s->closing)
        stream_linger(s);
    else if (r < 0)
        stream_break(s, r);
    else
        return true;
    return false;
}

/* ---- output ---- */

static bool stream_flush(struct stream *s)
{
    for (int i = 0; i < STREAM_WRITES_PER_TURN && s->pending.len > 0; i++) {
        struct iovec iov = {s->pending.data + s->pending.off, s->pending.len};
        ptrdiff_t n = s->io->write(s, &iov, 1);

        if (n == -EAGAIN)
            break;
        if (n < 0) {
            stream_break(s, s->closing ? s->reason : (int)n);
            return false;
        }
        stream_bytes_consume(&s->pending, (size_t)n);
    }
    if (s->pending.len > 0)
        return true;
    if (s->undrained) {
        s->undrained = false;
        if (s->events && !s->closing && !stream_call(s, s->events->on_drained))
            return false;
        if (s->pending.len > 0)
            return true;
    }
    return stream_say_end(s);
}

/* ---- input ---- */

/* Keeps what on_bytes() left. */
static void stream_keep(struct stream *s, ptrdiff_t used, size_t len, bool same_events)
{
    size_t left = len - (size_t)used;

    if (stream_bytes_set(&s->kept, s->pool->in + used, left) < 0) {
        stream_close(s, -ENOMEM);
    } else if (left > 0 && (left > STREAM_MESSAGE_MAX || !same_events)) {
        if (used == 0 && same_events && !s->paused) {
            stream_close(s, -EMSGSIZE);
            return;
        }
        s->redeliver = true;
        stream_wake(s);
    }
}

/* Return: whether to read on. */
static bool stream_deliver(struct stream *s, size_t len)
{
    struct stream_guard guard = {.in_bytes = true};
    unsigned int n_set_events = s->n_set_events;
    void (*then)(void *, struct stream *);
    ptrdiff_t used;

    s->guard = &guard;
    used = s->events->on_bytes(s->user, s->pool->in, len);
    if (guard.gone)
        return false;
    s->guard = NULL;
    s->redeliver = false;
    assert(used <= (ptrdiff_t)len);
    if (used < 0)
        stream_close(s, (int)used);
    else if (!s->closing)
        stream_keep(s, used, len, n_set_events == s->n_set_events);
    then = s->then;
    s->then = NULL;
    if (then) {
        stream_detach(s);
        then(s->then_arg, s);
        return false;
    }
    return stream_may_read(s) && !s->redeliver;
}

static void stream_input_ended(struct stream *s)
{
    s->eof = true;
    if (!s->events->on_eof)
        stream_close(s, 0);
    else if (!stream_call(s, s->events->on_eof))
        return;
    stream_arm(s);
}

/* The stream may be gone after it. */
static void stream_read(struct stream *s)
{
    ptrdiff_t n = 0;

    if (!stream_may_read(s))
        return;
    if (s->redeliver && s->kept.len > 0) {
        memcpy(s->pool->in, s->kept.data + s->kept.off, s->kept.len);
        if (!stream_deliver(s, s->kept.len))
            return;
    }
    for (int i = 0; i < STREAM_READS_PER_TURN; i++) {
        size_t have = s->kept.len;

        n = s->io->read(s, s->pool->in + have, STREAM_READ_MAX);
        if (n <= 0)
            break;
        if (have > 0)
            memcpy(s->pool->in, s->kept.data + s->kept.off, have);
        if (!stream_deliver(s, have + (size_t)n))
            return;
        if (s->ssl ? !s->more_input : n < STREAM_READ_MAX)
            break;
    }
    if (n == 0) {
        stream_input_ended(s);
    } else if (n < 0 && n != -EAGAIN) {
        stream_break(s, (int)n);
    } else {
        if (s->ssl && s->more_input)
            stream_wake(s);
        stream_arm(s);
    }
}

/* ---- opening ---- */

static void stream_opened(struct stream *s)
{
    s->state = STREAM_OPEN;
    if (!s->closing) {
        stream_clear_deadline(s);
        if (s->events && !stream_call(s, s->events->on_open))
            return;
    }
    stream_arm(s);
    /* OpenSSL may have read on behind the handshake, and output may have been kept. */
    stream_wake(s);
}

static void stream_handshake(struct stream *s)
{
    int r = stream_tls_handshake(s);

    if (r == 0)
        stream_opened(s);
    else if (r == -EAGAIN)
        stream_arm(s);
    else
        stream_break(s, s->closing ? s->reason : r);
}

static void stream_sniff(struct stream *s)
{
    uint8_t first;
    ssize_t n = recv(s->fd, &first, 1, MSG_PEEK);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        stream_finish(s, n < 0 ? -errno : 0);
        return;
    }
    if (first != TLS_RECORD_HANDSHAKE) {
        stream_opened(s);
        return;
    }
    s->state = STREAM_HANDSHAKE;
    if (stream_tls_start(s, s->tls) < 0) {
        stream_finish(s, -ENOMEM);
        return;
    }
    if (!s->closing)
        stream_set_deadline(s, STREAM_HANDSHAKE_MS);
    stream_handshake(s);
}

static void stream_connected(struct stream *s)
{
    socklen_t len = sizeof(int);
    int err = 0;

    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err) {
        stream_finish(s, -err);
        return;
    }
    if (!s->ssl) {
        stream_opened(s);
        return;
    }
    s->state = STREAM_HANDSHAKE;
    if (!s->closing)
        stream_set_deadline(s, STREAM_HANDSHAKE_MS);
    stream_handshake(s);
}

/* ---- from the loop ---- */

void stream_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;

    if (s->state == STREAM_SNIFFING)
        stream_sniff(s);
    else if (s->state == STREAM_HANDSHAKE)
        stream_handshake(s);
    else if (s->state == STREAM_LINGERING)
        stream_drain_input(s);
    else if (s->state == STREAM_OPEN && (!s->write_waits_in || stream_flush(s)))
        stream_read(s);
}

void stream_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    bool read_waits = s->read_waits_out;

    if (s->state == STREAM_CONNECTING)
        stream_connected(s);
    else if (s->state == STREAM_HANDSHAKE)
        stream_handshake(s);
    else if (s->state == STREAM_OPEN && stream_flush(s)) {
        stream_arm(s);
        if (read_waits)
            stream_read(s);
    }
}

/* A slow reader of what is pending at the close gets all of it, as long as it keeps reading: ended
 * by the clock alone, its stream would be cut short behind a FIN that says it is whole. The kernel
 * is asked, because it makes a socket writable again only when a third of its buffer is free. */
static bool stream_makes_progress(struct stream *s)
{
    size_t unsent = stream_unsent(s), before = s->unsent;

    s->unsent = unsent;
    return s->closing && s->pending.len > 0 && unsent < before && clock_now_ns() < s->close_by_ns;
}

void stream_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;

    if (stream_makes_progress(s)) {
        stream_set_deadline(s, STREAM_CLOSE_MS);
        return;
    }
    stream_finish(s, s->closing ? s->reason : -ETIMEDOUT);
}

static void stream_on_due(struct stream *s)
{
    if (s->state == STREAM_CLOSED) {
        if (s->closed_due)
            stream_tell_closed(s);
    } else if (s->failed) {
        stream_break(s, s->closing ? s->reason : s->failed);
    } else if (s->closing && s->state < STREAM_OPEN && s->pending.len == 0) {
        stream_finish(s, s->reason);
    } else if (s->state == STREAM_OPEN && stream_flush(s)) {
        stream_arm(s);
        stream_read(s);
    }
}

void stream_pool_on_due(evutil_socket_t fd, short what, void *arg)
{
    struct stream_pool *pool = arg;
    struct list now;

    /* Whoever is woken from here on waits for the next turn. */
    list_take_all(&pool->due, &now);
    while (!list_empty(&now)) {
        struct stream *s = list_entry(now.next, struct stream, due);

        list_remove(&s->due);
        stream_on_due(s);
    }
}
