/*
 * common/net/batch.h - many datagrams per system call, payloads in place
 *
 * Receiving fills one worker-wide set of buffers (recvmmsg, and UDP_GRO where the
 * kernel has it: one buffer may then hold a train of equal-sized datagrams, which
 * batch_next() hands out one by one). Sending queues references: a small header
 * is copied into the queue, the payload is not. One flush turns the queue into
 * sendmmsg calls, and runs of equal-sized datagrams to one destination into one
 * UDP_SEGMENT message.
 *
 * Lifetime: a queued payload must stay untouched until tx_flush(). Whoever
 * receives a batch therefore handles all of it, flushes, and only then receives
 * again. Text that dies earlier (a STUN answer on the stack) is queued with
 * tx_push_copy(), from an arena that the flush empties.
 *
 * Threads: one worker owns an rx_batch and a tx_queue; nothing is shared.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

struct rx_batch;
struct tx_queue;

/* What one rx_batch_recv() takes at most: fewer than that, and the socket is most likely empty. */
#define RX_BATCH_MESSAGES 32

struct rx_packet {
    const uint8_t *data;
    size_t len;
    struct addr from; /* the sender */
    struct addr to;   /* where it was sent to. With sock_want_pktinfo(): the local address, the port
                         is the caller's to fill. With sock_want_origdst(): address and port before
                         tproxy. Else ADDR_NONE. */
};

/* Return: NULL when memory is short. */
struct rx_batch *rx_batch_new(void);
void rx_batch_free(struct rx_batch *rx);

/* Receives without blocking, once. Return: the number of messages (0: nothing was waiting), or
 * -errno (e.g. -ECONNREFUSED after an ICMP error: look at the error queue and call again). */
int rx_batch_recv(struct rx_batch *rx, int fd);

/* The next datagram of the batch. Return: false when all were handed out. */
bool rx_batch_next(struct rx_batch *rx, struct rx_packet *ret);

/* Counts what the kernel refused, for the worker's counters; may be NULL. */
struct tx_stats {
    uint64_t n_datagrams, n_bytes; /* accepted by the kernel */
    uint64_t n_dropped;            /* refused: full socket buffer, unreachable, too big */
    uint64_t n_calls;              /* sendmmsg calls */
};

struct tx_queue *tx_queue_new(struct tx_stats *stats);
void tx_queue_free(struct tx_queue *tx);

/* Queues header + payload as one datagram from socket `fd` to `to` (NULL: a connected socket's
 * peer). `from` (or NULL) is the local address to send from, for sockets bound to a wildcard.
 * `header` (up to TX_HEADER_MAX bytes, may be NULL) is copied, `payload` is referenced. A full
 * queue is flushed first. */
#define TX_HEADER_MAX 64
void tx_push(struct tx_queue *tx, int fd, const struct addr *to, const struct addr *from,
             const void *header, size_t header_len, const void *payload, size_t payload_len);
/* The same with up to three zero bytes behind the payload: it cannot be padded where it lies. */
void tx_push_padded(struct tx_queue *tx, int fd, const struct addr *to, const struct addr *from,
                    const void *header, size_t header_len, const void *payload, size_t payload_len,
                    size_t n_padding);
void tx_push_copy(struct tx_queue *tx, int fd, const struct addr *to, const struct addr *from,
                  const void *data, size_t len);

/* Sends all that is queued. What the kernel refuses is dropped and counted: these are datagrams. */
void tx_flush(struct tx_queue *tx);

/* ---- sockets (sock.c) ---- */

enum {
    SOCK_REUSEPORT = 1, /* several sockets share the address; the kernel spreads flows over them */
    SOCK_REUSEADDR = 2,
};

/* A bound, non-blocking, close-on-exec socket; IPv6 sockets never carry IPv4 (IPV6_V6ONLY).
 * `sock_type` is SOCK_DGRAM or SOCK_STREAM. Return: the descriptor, or -errno. */
int sock_bind(const struct addr *addr, int sock_type, unsigned int flags);
/* As sock_bind() and listen(2). */
int sock_listen(const struct addr *addr, unsigned int flags);
/* A socket connected to `remote`, or (SOCK_STREAM) connecting; otherwise as sock_bind(). */
int sock_connect(const struct addr *remote, int sock_type);
/* The address a socket is bound to. Return: 0 or -errno. */
int sock_local_addr(int fd, struct addr *ret);
/* Options of a UDP socket that clients or peers send to; each is best effort where the kernel
 * lacks it: UDP_GRO, buffer sizes in bytes. */
void sock_tune_udp(int fd, int rcvbuf, int sndbuf);
/* Whether what a UDP socket sends may be fragmented on the way. Linux sets DF unless told
 * otherwise. Best effort. */
void sock_set_df(int fd, enum addr_family family, bool df);
/* Report the local address of each datagram (IP_PKTINFO). Return: 0 or -errno. */
int sock_want_pktinfo(int fd, enum addr_family family);
/* Report where each datagram was sent to before tproxy brought it here (IP_RECVORIGDSTADDR), in
 * place of the above. Return: 0 or -errno. */
int sock_want_origdst(int fd, enum addr_family family);
/* The local address (port 0) the kernel would use towards `remote`; sends nothing. Return: 0 or
 * -errno. */
int sock_route_source(const struct addr *remote, struct addr *ret);
