#include "tests/support/fake_stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/list.h"

struct stream {
    struct list link;
    struct far *far;
    const struct stream_events *events;
    void *user;
    uint8_t *in; /* sent by the far end, not yet used */
    size_t n_in;
    bool paused, eof, eof_told, closing, broken, closed, drained_due, in_callback;
    int reason;
    void (*farewell)(void *arg);
    void *farewell_arg;
};

static struct list streams = {&streams, &streams};
static struct far *fars;

struct far *far_new(void)
{
    struct far *far = calloc(1, sizeof(*far));
    struct stream *s = calloc(1, sizeof(*s));

    far->got = malloc(FAR_CAP);
    far->window = SIZE_MAX;
    far->next = fars;
    fars = far;
    far->stream = s;
    s->in = malloc(FAR_CAP);
    s->far = far;
    list_append(&streams, &s->link);
    return far;
}

void far_free_all(void)
{
    while (fars) {
        struct far *far = fars;

        assert(!far->stream);
        fars = far->next;
        free(far->got);
        free(far);
    }
}

static size_t pending_of(const struct far *far)
{
    return far->n_got > far->window ? far->n_got - far->window : 0;
}

/* One on_bytes() per turn, as one readable event gives. */
static void deliver(struct stream *s)
{
    ptrdiff_t used = 0;

    if (!s->events || s->paused || s->closed || s->in_callback)
        return;
    if (s->n_in > 0) {
        struct list *before = s->link.next;

        s->in_callback = true;
        used = s->events->on_bytes(s->user, s->in, s->n_in);
        s->in_callback = false;
        assert(s->link.next == before); /* on_bytes() must not free the stream */
        if (used < 0) {
            s->closing = s->broken = true;
            s->reason = (int)used;
            return;
        }
        assert((size_t)used <= s->n_in);
        memmove(s->in, s->in + used, s->n_in - (size_t)used);
        s->n_in -= (size_t)used;
    }
    if (s->eof && !s->eof_told && s->n_in == 0 && !s->paused) {
        s->eof_told = true;
        if (!s->events->on_eof)
            s->closing = true;
        else
            s->events->on_eof(s->user);
    }
}

void far_write(struct far *far, const void *data, size_t len)
{
    struct stream *s = far->stream;

    if (!s || s->closed || len == 0)
        return;
    assert(s->n_in + len <= FAR_CAP);
    memcpy(s->in + s->n_in, data, len);
    s->n_in += len;
    deliver(s);
}

void far_fin(struct far *far)
{
    if (!far->stream)
        return;
    far->stream->eof = true;
    deliver(far->stream);
}

void far_reset(struct far *far)
{
    if (!far->stream)
        return;
    far->stream->closing = far->stream->broken = true;
    far->stream->reason = -ECONNRESET;
}

void far_drain(struct far *far)
{
    if (far->stream && pending_of(far) > 0)
        far->stream->drained_due = true;
    far->window = SIZE_MAX;
}

bool far_is_paused(const struct far *far)
{
    return far->stream && far->stream->paused;
}

size_t far_n_unread(const struct far *far)
{
    return far->stream ? far->stream->n_in : 0;
}

/* Return: false when the stream was freed on the way. */
static bool turn_one(struct stream *s)
{
    struct far *far = s->far;

    if (s->drained_due && !s->closed) {
        s->drained_due = false;
        if (s->events && s->events->on_drained)
            s->events->on_drained(s->user);
    }
    if (far->stream == s && !s->closed)
        deliver(s);
    /* An orderly close waits for its output, a broken connection does not. */
    if (far->stream == s && s->closing && !s->closed && (s->broken || pending_of(far) == 0)) {
        s->closed = true;
        if (s->events)
            s->events->on_closed(s->user, s->reason);
    }
    return far->stream == s;
}

void fake_streams_turn(void)
{
    /* A callback may free any stream, so the walk starts again after each that did. */
    for (int turns = 0; turns < 4; turns++) {
        struct list *it = streams.next;

        while (it != &streams) {
            struct list *next = it->next;
            size_t n = fake_streams_count();

            turn_one(list_entry(it, struct stream, link));
            it = fake_streams_count() == n ? next : streams.next;
        }
    }
}

size_t fake_streams_count(void)
{
    size_t n = 0;

    for (struct list *it = streams.next; it != &streams; it = it->next)
        n++;
    return n;
}

/* ---- the symbols of common/net/stream.h ---- */

struct stream *stream_accept(struct stream_pool *pool, int fd, SSL_CTX *tls, bool sniff,
                             size_t max_pending)
{
    close(fd); /* the test plays the other end by far_new()'s word, not by the socket's */
    return far_new()->stream;
}

void stream_set_events(struct stream *s, const struct stream_events *events, void *user)
{
    s->events = events;
    s->user = user;
}

ptrdiff_t stream_write(struct stream *s, const void *data, size_t len)
{
    struct far *far = s->far;

    if (s->closed || far->fin)
        return -EPIPE;
    assert(far->n_got + len <= FAR_CAP);
    memcpy(far->got + far->n_got, data, len);
    far->n_got += len;
    return (ptrdiff_t)pending_of(far);
}

int stream_send(struct stream *s, const struct iovec *iov, int n_iov)
{
    for (int i = 0; i < n_iov; i++)
        if (stream_write(s, iov[i].iov_base, iov[i].iov_len) < 0)
            return -ENOBUFS;
    return 0;
}

size_t stream_pending(const struct stream *s)
{
    return pending_of(s->far);
}

void stream_pause(struct stream *s)
{
    s->paused = true;
}

void stream_resume(struct stream *s)
{
    s->paused = false;
}

void stream_shutdown(struct stream *s)
{
    s->far->fin = true;
}

void stream_close(struct stream *s, int reason)
{
    if (!s->closing)
        s->reason = reason;
    s->closing = true;
    s->far->close_called = true;
    s->far->close_reason = reason;
}

void stream_set_farewell(struct stream *s, void (*farewell)(void *arg), void *arg)
{
    s->farewell = farewell;
    s->farewell_arg = arg;
}

void stream_abort(struct stream *s, int reason)
{
    stream_close(s, reason);
    s->far->reset = true;
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    list_remove(&s->link);
    s->far->freed = true;
    s->far->stream = NULL;
    free(s->in);
    if (s->farewell)
        s->farewell(s->farewell_arg);
    free(s);
}

bool stream_is_tls(const struct stream *s)
{
    return false;
}

int stream_fd(const struct stream *s)
{
    return -1;
}

struct addr stream_remote(const struct stream *s)
{
    return s->far->remote;
}

struct addr stream_local(const struct stream *s)
{
    return s->far->local;
}

void stream_detach(struct stream *s)
{
}

int stream_attach(struct stream *s, struct stream_pool *pool)
{
    return 0;
}
