/*
 * relay/listen/listen.h - the listeners of one worker: bytes in, messages out
 *
 * udp.c    datagrams; tells STUN, ChannelData and DTLS apart by the first byte
 * dtls.c   the DTLS sessions behind a UDP listener
 * tcp.c    TCP and TLS streams, cut into messages
 *
 * Each makes struct client (relay/client.h) and feeds turn_on_message(). A client
 * without an allocation costs nothing over UDP (it lives on the stack).
 *
 * Every worker binds the same addresses with SO_REUSEPORT; the kernel spreads
 * flows over the workers and keeps each on its own.
 */
#pragma once

#include <event2/event.h>
#include <stdatomic.h>

#include "common/net/batch.h"
#include "common/net/stream.h"
#include "conf/conf.h"
#include "relay/settings.h"
#include "relay/stats/counters.h"
#include "relay/turn/turn.h"

/* What the worker lends. */
struct listen_env {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct turn *turn;
    struct counters *counters;
    struct settings **settings;   /* the worker's current ones */
    atomic_uint *n_connections;   /* of all workers, for max-connections */
    const uint8_t *cookie_secret; /* DTLS cookies: 32 bytes, the same in all workers */
};

struct listen_set;

/* Binds `n` listeners. A port of 0 is filled in with the one that was bound, for the workers that
 * follow. Return: 0 and *ret; or -errno with *ret_failed the index of the one that could not be. */
int listen_set_new(const struct listen_env *env, struct conf_listen *listen, size_t n,
                   struct listen_set **ret, size_t *ret_failed);
void listen_set_free(struct listen_set *set);

/* A stream that came another way (through a proxy of this process) is served as if `remote` had
 * connected to the TCP listener at `local`. Return: false, and the stream is still the caller's,
 * when there is no such listener or no room. */
bool listen_set_adopt(struct listen_set *set, struct stream *stream, const struct addr *remote,
                      const struct addr *local);

/* New settings are in place: certificates. */
void listen_set_reloaded(struct listen_set *set);
/* Closes TCP and TLS connections that are idle and hold no allocation (DTLS sees to its own). */
void listen_set_sweep(struct listen_set *set, uint64_t now_ns);

/* ---- for the files of listen/ ---- */

struct udp_listener;
struct tcp_listener;
struct dtls_front;

int udp_listener_new(struct listen_set *set, const struct conf_listen *listen,
                     struct udp_listener **ret);
void udp_listener_free(struct udp_listener *l);
struct addr udp_listener_addr(const struct udp_listener *l);
void udp_listener_reloaded(struct udp_listener *l);
/* One datagram from here; `from` is the local address (its port is the listener's). */
void udp_listener_send(struct udp_listener *l, const struct addr *to, const struct addr *from,
                       const void *data, size_t len);

int tcp_listener_new(struct listen_set *set, const struct conf_listen *listen,
                     struct tcp_listener **ret);
void tcp_listener_free(struct tcp_listener *l);
struct addr tcp_listener_addr(const struct tcp_listener *l);
void tcp_listener_sweep(struct tcp_listener *l, uint64_t now_ns);
bool tcp_listener_adopt(struct tcp_listener *l, struct stream *stream, const struct addr *remote);

int dtls_front_new(struct listen_set *set, struct udp_listener *l, struct dtls_front **ret);
void dtls_front_free(struct dtls_front *d);
void dtls_front_input(struct dtls_front *d, const struct rx_packet *p, uint64_t now_ns);
void dtls_front_reloaded(struct dtls_front *d);

const struct listen_env *listen_set_env(const struct listen_set *set);
/* The UDP listener bound to exactly this address, or NULL. */
struct udp_listener *listen_set_find_udp(struct listen_set *set, const struct addr *addr);
