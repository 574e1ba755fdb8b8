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
 * States: HANDSHAKE (TCP connect or TLS handshake under way; sends are kept) ->
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

/* The largest framed message: 65535 bytes of data behind STUN headers, padded. */
#define STREAM_MESSAGE_MAX (65535 + 4 + 20 + 3)

struct stream_events {
    /* `data` holds all unused bytes, old and new; it dies with the call. Return: how many were
     * used, or -errno to have the stream closed with that reason (as by stream_close()). Using
     * nothing of more than STREAM_MESSAGE_MAX bytes closes with -EMSGSIZE, unless paused. May
     * close or free the stream; the answer does not matter then. May set other events: they are
     * handed the unused rest on the next turn of the loop. */
    ptrdiff_t (*on_bytes)(void *user, const uint8_t *data, size_t len);
    /* Handshake, connect or sniffing done; may be NULL. Never for a plain stream from
     * stream_accept(), which is open from the start. */
    void (*on_open)(void *user);
    void (*on_eof)(void *user);                /* may be NULL: then EOF closes */
    void (*on_drained)(void *user);            /* kept output is all sent; may be NULL */
    void (*on_closed)(void *user, int reason); /* 0 orderly, -errno otherwise */
};

/* Shared by the streams of one worker: the read buffer. All of them are freed or detached first.
 * The process ignores SIGPIPE: OpenSSL writes without MSG_NOSIGNAL. */
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
/* The same with a TLS client handshake behind it; on_open() when that is done. Takes `ssl`
 * (tls_client.h), also on failure. on_closed() says -EACCES when the certificate is not the
 * server's (tls_client_why(stream_ssl()) has the reason until the stream is freed). */
struct stream *stream_connecting_tls(struct stream_pool *pool, int fd, SSL *ssl,
                                     size_t max_pending);
/* The TLS client's SSL, or NULL. */
const SSL *stream_ssl(const struct stream *s);

void stream_set_events(struct stream *s, const struct stream_events *events, void *user);

/* Queues one whole message of a few pieces (at most 8). With nothing pending, a message of any size
 * is taken. Return: 0; -ENOBUFS (nothing was sent); or -EPIPE: the stream is ending, on_closed()
 * tells or has told why. */
int stream_send(struct stream *s, const struct iovec *iov, int n_iov);
/* Return: bytes now pending (0: all went out), or -EPIPE as above. Takes everything, past the limit
 * too. */
ptrdiff_t stream_write(struct stream *s, const void *data, size_t len);
size_t stream_pending(const struct stream *s);

/* Stops and resumes on_bytes(); TCP's own flow control then reaches the sender. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/* No more output: FIN (TLS: close_notify) once what is pending has gone. */
void stream_shutdown(struct stream *s);
/* Close once what is pending has gone and the far side has ended too, or after two seconds in which
 * it took nothing of what is pending (a minute in all); on_closed() follows. (Closing a socket with
 * unread input resets it, and the far side may then lose what was sent last: RFC 9293,
 * section 3.6.1.) No other event comes. */
void stream_close(struct stream *s, int reason);
/* As stream_close(), but with a reset at the end (TLS: and no close_notify): for a stream that was
 * cut short. */
void stream_abort(struct stream *s, int reason);
/* Now, without a word; pending bytes are lost. NULL is fine. No event follows. */
void stream_free(struct stream *s);

/* Calls `farewell` once, from stream_free(): for whoever lent something to a stream that belongs to
 * somebody else. */
void stream_set_farewell(struct stream *s, void (*farewell)(void *arg), void *arg);

bool stream_is_tls(const struct stream *s);
/* Time since the stream was made or since bytes last arrived is the owner's to watch. */
int stream_fd(const struct stream *s);
struct addr stream_remote(const struct stream *s);
struct addr stream_local(const struct stream *s);

/* Takes the stream off its loop; its events stay set, and what is sent meanwhile is kept. Not from
 * within the stream's own on_bytes(), where nobody knows yet what is left over: there, use
 * stream_detach_then(). */
void stream_detach(struct stream *s);
/* Detaches now or, called from within the stream's on_bytes(), as soon as that has returned; then
 * calls `then` once, in this thread. Freeing the stream before cancels it. */
void stream_detach_then(struct stream *s, void (*then)(void *arg, struct stream *s), void *arg);
/* In the thread of `pool`. Unused bytes go to on_bytes() on the next turn of the loop. Return: 0,
 * or -errno (still detached). */
int stream_attach(struct stream *s, struct stream_pool *pool);
