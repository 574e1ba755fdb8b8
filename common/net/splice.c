#include "common/net/splice.h"

#include <stdint.h>

#include "common/net/stream.h"

static void splice_resume(struct splice_end *end)
{
    if (end->stream && !end->blocked && !end->held)
        stream_resume(end->stream);
}

static ptrdiff_t splice_on_bytes(void *user, const uint8_t *data, size_t len)
{
    struct splice_end *end = user;
    struct splice *s = end->splice;
    ptrdiff_t pending;

    if (!s->joined)
        return 0;
    /* The other end is closed and this one is closing: what it was given must still get out, and an
     * error would cut that short. */
    if (!end->other->stream)
        return (ptrdiff_t)len;
    pending = stream_write(end->other->stream, data, len);
    if (pending < 0)
        return pending;
    end->blocked = pending > SPLICE_HIGH_WATER;
    end->held = !s->events->on_crossed(s->user, end, len);
    if (end->blocked || end->held)
        stream_pause(end->stream);
    return (ptrdiff_t)len;
}

static void splice_on_drained(void *user)
{
    struct splice_end *end = user;

    end->other->blocked = false;
    if (end->splice->joined)
        splice_resume(end->other);
}

static void splice_on_eof(void *user)
{
    struct splice_end *end = user;

    end->eof = true;
    if (!end->other->stream)
        return; /* it has not come yet, or this one is closing already */
    stream_shutdown(end->other->stream);
    if (end->other->eof) {
        stream_close(end->stream, 0);
        stream_close(end->other->stream, 0);
    }
}

static void splice_on_closed(void *user, int reason)
{
    struct splice_end *end = user;
    struct splice *s = end->splice;
    struct stream *other = s->joined ? end->other->stream : NULL;

    stream_free(end->stream);
    end->stream = NULL;
    if (!other)
        s->events->on_ended(s->user);
    else if (reason != 0)
        stream_abort(other, reason);
    else
        stream_close(other, 0);
}

static const struct stream_events splice_stream_events = {
    .on_bytes = splice_on_bytes,
    .on_eof = splice_on_eof,
    .on_drained = splice_on_drained,
    .on_closed = splice_on_closed,
};

void splice_init(struct splice *s, const struct splice_events *events, void *user)
{
    *s = (struct splice){.events = events, .user = user};
    s->ends[0] = (struct splice_end){.splice = s, .other = &s->ends[1]};
    s->ends[1] = (struct splice_end){.splice = s, .other = &s->ends[0]};
}

void splice_deinit(struct splice *s)
{
    for (int i = 0; i < 2; i++) {
        stream_free(s->ends[i].stream);
        s->ends[i].stream = NULL;
    }
}

void splice_add(struct splice *s, unsigned int end, struct stream *stream, bool eof)
{
    struct splice_end *e = &s->ends[end];

    e->stream = stream;
    e->eof = eof;
    stream_set_events(stream, &splice_stream_events, e);
    if (!e->other->stream) {
        stream_pause(stream);
        return;
    }
    s->joined = true;
    splice_resume(e);
    splice_resume(e->other);
    /* An end may have come before there was anyone to tell. */
    for (int i = 0; i < 2; i++)
        if (s->ends[i].eof)
            stream_shutdown(s->ends[i].other->stream);
    if (e->eof && e->other->eof) {
        stream_close(e->stream, 0);
        stream_close(e->other->stream, 0);
    }
}

void splice_release(struct splice_end *end)
{
    end->held = false;
    splice_resume(end);
}
