/*
 * common/net/splice.h - two streams joined: bytes go across until both have ended
 *
 * What one end sends is written to the other. When the other does not take it,
 * more than SPLICE_HIGH_WATER bytes are never kept before the sender is paused,
 * so TCP's own flow control reaches from one end to the other. An end of file is
 * passed on and the other direction goes on; both ends of file close both. An end
 * that breaks breaks the other (stream_abort()), behind what is on its way: a
 * stream that was cut short must not look whole.
 *
 * An end may come before the other one is there: it is paused, so that its bytes
 * stay in the kernel.
 *
 * Owner:   whoever embeds a struct splice; it owns the streams from splice_add().
 * Threads: those of the streams.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct splice;
struct stream;

#define SPLICE_HIGH_WATER (256 * 1024)

/* The `user` of its stream's events. Read, not written, by the owner. */
struct splice_end {
    struct splice *splice;
    struct splice_end *other;
    struct stream *stream; /* NULL: not there yet, or closed */
    bool eof;
    bool blocked; /* paused: the other end has not taken what it was given */
    bool held;    /* paused: on_crossed() said so */
};

struct splice_events {
    /* `len` bytes went from this end to the other. Return: whether more may follow; if not, the end
     * is held until splice_release(). */
    bool (*on_crossed)(void *user, struct splice_end *from, size_t len);
    /* No stream is left; may free the splice. */
    void (*on_ended)(void *user);
};

struct splice {
    struct splice_end ends[2];
    bool joined; /* both streams have been there */
    const struct splice_events *events;
    void *user;
};

void splice_init(struct splice *s, const struct splice_events *events, void *user);
/* Frees the streams that are left; no event. A splice of zeros is fine. */
void splice_deinit(struct splice *s);

/* Takes a stream as end 0 or 1 and, with the second one, starts. `eof`: its end of file has been
 * told to an earlier owner. */
void splice_add(struct splice *s, unsigned int end, struct stream *stream, bool eof);
void splice_release(struct splice_end *end);
