/*
 * common/net/stream.h - a byte stream over TCP, plain or TLS, on a libevent base
 *
 * One struct for both: TLS is a stream with another vtable (struct stream_io).
 * Reading goes through one worker-wide buffer: the owner's on_bytes() is handed
 * all bytes that are there and says how many it used; what is left over (half a
 * message) is kept in the stream until more arrives. An idle stream holds no
 * buffers.
 *
 * Writing tries the socket at once, gathering header and payload without a copy
 * (writev; TLS: one record); what the socket does not take is kept, up to
 * `max_pending` bytes. stream_send() is for messages: one that would exceed the
 * limit is refused whole, so that framing is never broken and a slow client
 * loses datagrams, not memory. stream_write() is for raw relayed bytes (RFC
 * 6062) and answers how many bytes are pending, so that the caller can pause the
 * other side.
 *
 * States: HANDSHAKE (TLS accept or TCP connect under way; sends are kept) ->
 * OPEN -> CLOSED (on_closed was called; only stream_free() may follow).
 * on_closed() is called once, from the event loop, never from within a call the
 * owner made on the stream.
 *
 * Half close: end-of-file from the far side calls on_eof() if the owner set it
 * (a relayed TCP stream passes it on with stream_shutdown()); otherwise it
 * closes the stream.
 *
 * Threads: a stream belongs to the thread of its base. stream_detach() takes it
 * off its base so that another thread can stream_attach() it; bytes kept in
 * either direction travel with it.
 */
#pragma once

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/net/addr.h"

struct stream;

struct stream_events {
    /* `data` holds all unused bytes, old and new. Return: how many were used, or -errno to have
     * the stream closed with that reason. Must not free the stream; may stream_close() it. */
    ptrdiff_t (*on_bytes)(void *user, const uint8_t *data, size_t len);
    void (*on_open)(void *user);               /* handshake or connect done; may be NULL */
    void (*on_eof)(void *user);                /* may be NULL: then EOF closes */
    void (*on_drained)(void *user);            /* kept output is all sent; may be NULL */
    void (*on_closed)(void *user, int reason); /* 0 orderly, -errno otherwise */
};

/* Shared by the streams of one worker: the read buffer. */
struct stream_pool;
struct stream_pool *stream_pool_new(struct event_base *base);
void stream_pool_free(struct stream_pool *pool);

/* Takes an accepted socket `fd`. With `tls` non-NULL the TLS server handshake is awaited first.
 * With `sniff`, the first byte decides: 22 (a TLS handshake) uses `tls`, anything else is plain
 * (TLS and TCP on one port). Fails (NULL) when memory is short; then `fd` is closed. */
struct stream *stream_accept(struct stream_pool *pool, int fd, SSL_CTX *tls, bool sniff,
                             size_t max_pending);

/* Takes a connecting or connected plain socket; on_open() when connect(2) is done, on_closed()
 * with its -errno when it fails. */
struct stream *stream_connecting(struct stream_pool *pool, int fd, size_t max_pending);

void stream_set_events(struct stream *s, const struct stream_events *events, void *user);

/* Queues one whole message of up to three pieces. Return: 0; or -ENOBUFS (nothing was sent). */
int stream_send(struct stream *s, const struct iovec *iov, int n_iov);
/* Return: bytes now pending (0: all went out), or -errno. Takes everything, past the limit too. */
ptrdiff_t stream_write(struct stream *s, const void *data, size_t len);
size_t stream_pending(const struct stream *s);

/* Stops and resumes on_bytes(); TCP's own flow control then reaches the sender. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/* No more output: FIN (TLS: close_notify) once what is pending has gone. */
void stream_shutdown(struct stream *s);
/* Close once what is pending has gone, or after two seconds; on_closed() follows. */
void stream_close(struct stream *s, int reason);
/* Now, without a word; pending bytes are lost. NULL is fine. No event follows. */
void stream_free(struct stream *s);

bool stream_is_tls(const struct stream *s);
/* Time since the stream was made or since bytes last arrived is the owner's to watch. */
int stream_fd(const struct stream *s);
struct addr stream_remote(const struct stream *s);
struct addr stream_local(const struct stream *s);

void stream_detach(struct stream *s);
int stream_attach(struct stream *s, struct stream_pool *pool);
