/*
 * relay/exit/resolve_far.h - what resolve_far.c and resolve_sock.c share; nobody else includes it
 *
 * States of the way out (resolve_far.c moves them):
 *   CLOSED   no association.
 *   OPENING  open() was called; queries wait for on_open().
 *   OPEN     queries are asked.
 *   FAILED   on_open() or on_lost() said why; resolve_far_work() takes it from there,
 *            because either may be called while c-ares is.
 */
#pragma once

#include <sys/uio.h>

#include "common/net/stream.h"
#include "relay/exit/resolve_impl.h"

#define FAR_SOCKS_MAX (2 * RESOLVE_SERVERS_MAX) /* a UDP and a TCP socket to each server */

enum far_state {
    FAR_CLOSED,
    FAR_OPENING,
    FAR_OPEN,
    FAR_FAILED,
};

/* One of c-ares' sockets. `number` 0: free. */
struct far_sock {
    struct resolve_far *far;
    ares_socket_t number;
    bool tcp;
    bool wants_write; /* c-ares has output queued */
    int error;        /* what the next read says, an errno; 0: none */
    struct addr peer;
    struct dial *dial; /* TCP: being made */
    struct stream *stream;
    const uint8_t *in; /* what is being delivered */
    size_t in_len;
};

struct resolve_far {
    struct resolver *r;
    struct addr servers[RESOLVE_SERVERS_MAX];
    size_t n_servers;
    enum far_state state;
    enum exit_result why; /* FAILED */
    bool was_open;        /* FAILED: by on_lost() */
    bool has_v4, has_v6;  /* OPEN */
    struct assoc *assoc;
    uint64_t used_ns;
    struct list packets; /* what was sent lately */
    size_t n_packets;
    struct event tick;
    struct far_sock socks[FAR_SOCKS_MAX];
    ares_socket_t next_number;
    struct stream *dead[FAR_SOCKS_MAX]; /* closed by c-ares, perhaps from within their own event */
    size_t n_dead;
};

/* ---- resolve_far.c ---- */

/* One query to `server`. Return: 0, or -errno. */
int far_send(struct resolve_far *f, const struct addr *server, const void *data, size_t len);

/* ---- resolve_sock.c ---- */

extern const struct ares_socket_functions far_sock_functions; /* user data: the resolve_far */
void far_sock_on_state(void *data, ares_socket_t number, int readable, int writable);
void far_sock_init(struct resolve_far *f);
/* A datagram came: it goes to the UDP socket that is connected to exactly its source. */
void far_sock_datagram(struct resolve_far *f, const struct addr *peer, const uint8_t *data,
                       size_t len);
/* That server cannot be reached by UDP. */
void far_sock_unreachable(struct resolve_far *f, const struct addr *peer);
/* Outside of c-ares: writes what is queued, frees what is closed. */
void far_sock_work(struct resolve_far *f);
void far_sock_deinit(struct resolve_far *f);
