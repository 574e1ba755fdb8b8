/*
 * common/net/stream_impl.h - what stream.c and stream_io.c share; nobody else's
 *
 * stream.c: what the owner calls. stream_loop.c: what the loop calls, and the only
 * one that moves the state and calls the owner. stream_io.c: the two vtables and
 * the byte buffers.
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/base/list.h"
#include "common/net/stream.h"

/* One read. */
#define STREAM_READ_MAX (64 * 1024)
/* SSL_read calls to fill one read: a TLS record may hold a single byte. */
#define STREAM_TLS_RECORDS_MAX 64
/* One TLS write: some records, or a whole gathered message. */
#define STREAM_WRITE_MAX (STREAM_MESSAGE_MAX + 1024)
#define STREAM_IOV_MAX   8

/* Bytes [off, off + len) of `data`; no allocation while empty. */
struct stream_bytes {
    uint8_t *data;
    size_t off, len, cap;
};

enum stream_state {
    STREAM_SNIFFING,   /* accepted; the first byte decides between the next and OPEN */
    STREAM_HANDSHAKE,  /* TLS */
    STREAM_CONNECTING, /* TCP; with an SSL, HANDSHAKE comes next */
    STREAM_OPEN,       /* moving bytes; `closing`: only what is pending, then LINGERING */
    STREAM_LINGERING,  /* our end is said; input is thrown away until theirs comes */
    STREAM_CLOSED,     /* no descriptor, no events; on_closed() was called or is running */
};

struct stream_io {
    /* Return: bytes read, 0 at the end, -EAGAIN, or -errno. */
    ptrdiff_t (*read)(struct stream *s, uint8_t *buf, size_t cap);
    /* Return: bytes taken (at least one), -EAGAIN, or -errno. The bytes of an -EAGAIN come again
     * first in the next call: OpenSSL has encrypted them already. */
    ptrdiff_t (*write)(struct stream *s, const struct iovec *iov, int n_iov);
    /* Says the end of our output. Return: 0, -EAGAIN, or -errno. */
    int (*end)(struct stream *s);
};

/* On the stack of whoever calls an event: what the owner did to the stream in there. */
struct stream_guard {
    bool gone; /* freed or detached: not ours to touch any more */
    bool in_bytes;
};

struct stream {
    const struct stream_io *io;
    struct stream_pool *pool; /* NULL: detached */
    const struct stream_events *events;
    void *user;
    SSL *ssl;
    SSL_CTX *tls; /* until the handshake begins */
    int fd;
    enum stream_state state;
    int reason;          /* for on_closed() */
    int failed;          /* -errno of a write: closed with it on the next turn */
    bool paused;         /* by the owner */
    bool eof;            /* theirs: read and, if set, on_eof() called */
    bool closing;        /* stream_close() was called */
    bool resets;         /* stream_abort() was called: no end is said */
    bool closed_due;     /* closed while no events were set: on_closed() is owed */
    bool end_wanted;     /* stream_shutdown() was called */
    bool end_said;       /* io->end() is done */
    bool undrained;      /* something was kept: on_drained() is due when it has gone */
    bool redeliver;      /* kept bytes go to on_bytes() even if no new ones come */
    bool ssl_broken;     /* after a fatal error no call may follow (SSL_get_error(3)) */
    int ssl_read_error;  /* came behind bytes; for the next read */
    bool read_waits_out; /* TLS input (or the handshake) waits until the socket takes output */
    bool write_waits_in; /* TLS output waits for input */
    bool more_input;     /* OpenSSL may hold input that the socket does not show */
    unsigned int n_set_events; /* how often the events were set */
    size_t max_pending;
    uint64_t deadline_ns; /* of the timer; 0: none */
    uint64_t close_by_ns; /* once closing: no progress moves the deadline past this */
    size_t unsent;        /* once closing: what the far side had yet to take, last time */
    struct addr remote;
    struct stream_bytes kept;    /* input that on_bytes() left */
    struct stream_bytes pending; /* output that the socket did not take */
    struct list due;             /* in pool->due: stream_on_due() next turn of the loop */
    struct stream_guard *guard;  /* of the event being called */
    void (*then)(void *arg, struct stream *s);
    void *then_arg;
    void (*farewell)(void *arg);
    void *farewell_arg;
    bool reads, writes; /* which of the two events are added */
    struct event on_readable, on_writable, on_timer;
};

struct stream_pool {
    struct event_base *base;
    struct event *due_timer;
    struct list due;
    /* What on_bytes() sees: kept bytes, then new ones. Nothing is read behind more than a message
     * of kept bytes. */
    uint8_t in[STREAM_MESSAGE_MAX + STREAM_READ_MAX];
    uint8_t out[STREAM_WRITE_MAX];
};

extern const struct stream_io stream_io_plain;
extern const struct stream_io stream_io_tls;

/* Appends the pieces without their first `skip` bytes. Return: 0, or -ENOMEM and no change. */
int stream_bytes_append(struct stream_bytes *b, const struct iovec *iov, int n_iov, size_t skip);
/* Replaces the content. Return: as above. */
int stream_bytes_set(struct stream_bytes *b, const uint8_t *data, size_t len);
void stream_bytes_consume(struct stream_bytes *b, size_t len);
void stream_bytes_clear(struct stream_bytes *b);

/* Makes it a TLS server stream on the verge of its handshake. Return: 0, or -ENOMEM. */
int stream_tls_start(struct stream *s, SSL_CTX *ctx);
/* Makes it a TLS stream by `ssl`, which it takes. Return: 0, or -ENOMEM. */
int stream_tls_use(struct stream *s, SSL *ssl);
/* Return: 0 done, -EAGAIN, or -errno (-EPROTO, -EACCES: an alert was sent). */
int stream_tls_handshake(struct stream *s);

#define STREAM_SNIFF_MS     30000
#define STREAM_HANDSHAKE_MS 10000
#define STREAM_CLOSE_MS     2000 /* without progress */
#define STREAM_CLOSE_MAX_MS 60000

/* Bytes of ours that the far side has not taken yet, here or in the kernel. */
size_t stream_unsent(const struct stream *s);
/* Has the loop look after it on its next turn; nothing while detached (attaching wakes). */
void stream_wake(struct stream *s);
/* A write failed for good in a call of the owner's: the loop will close it. */
void stream_fail(struct stream *s, int err);
/* Makes the loop watch for what the state asks for. Called after anything changed. */
void stream_arm(struct stream *s);
void stream_set_deadline(struct stream *s, uint64_t ms);
void stream_clear_deadline(struct stream *s);
bool stream_may_read(const struct stream *s);
/* Gives back all that a closed stream does not need. */
void stream_release(struct stream *s);

void stream_on_readable(evutil_socket_t fd, short what, void *arg);
void stream_on_writable(evutil_socket_t fd, short what, void *arg);
void stream_on_timer(evutil_socket_t fd, short what, void *arg);
void stream_pool_on_due(evutil_socket_t fd, short what, void *arg);
