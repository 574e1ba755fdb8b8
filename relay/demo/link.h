/*
 * relay/demo/link.h - a demo client's socket: whole messages in and out, and a watch on them
 *
 * Everything that a peer of the demo ever learns comes in here, so the search for
 * addresses that it must not learn sits here too: every received message is looked
 * through, byte by byte, before anybody interprets it.
 *
 * UDP sockets are left unconnected on purpose: the kernel would hide a datagram
 * that reached the client past the relay, and the demo has to notice one.
 *
 * Calls block with poll(2), up to a deadline in clock_now_ns() time. IPv4 only: the
 * peers need several loopback addresses, and IPv6 has one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

#define DEMO_MAX_HIDDEN 8
/* The longest message: a STUN header with all that its length field can say, or less. */
#define DEMO_LINK_BUF (20 + 65535)

struct demo_watch {
    struct addr hidden[DEMO_MAX_HIDDEN]; /* addresses that must not come in; ports do not matter */
    size_t n_hidden;
    uint64_t n_messages, n_bytes; /* looked through */
    uint64_t n_found;             /* messages that hold a hidden address */
    uint64_t n_strangers;         /* datagrams that did not come from the relay */
    struct addr found;            /* the last hidden address, or stranger, that was seen */
};

struct demo_link {
    int fd;
    bool stream;
    struct addr local, remote;
    struct demo_watch watch;
    size_t len;  /* bytes in buf */
    size_t used; /* of these, handed out by the last receive */
    uint8_t buf[DEMO_LINK_BUF];
};

void demo_watch_hide(struct demo_watch *watch, const struct addr *addr);
/* Whether `data` holds the address: as four bytes, as XORed by STUN (RFC 8489, section 14.2), or
 * as text. */
bool demo_watch_holds(const uint8_t *data, size_t len, const struct addr *addr);

/* A socket bound to `from` (port 0: any), connected to `to` if it is a stream. Return: 0 or
 * -errno; demo_link_close() is due in both cases. */
int demo_link_open(struct demo_link *l, const struct addr *from, const struct addr *to, bool stream,
                   uint64_t deadline_ns);
void demo_link_close(struct demo_link *l);

/* One whole message. Return: 0 or -errno (-ETIMEDOUT). */
int demo_link_send(struct demo_link *l, const void *data, size_t len, uint64_t deadline_ns);

/* The next message, valid until the next call; a deadline in the past takes what is there.
 * Return: 0; -ETIMEDOUT; -EPIPE when the relay closed the stream; -EPROTO when what came is
 * neither STUN nor ChannelData; or another -errno. */
int demo_link_receive(struct demo_link *l, uint64_t deadline_ns, const uint8_t **ret,
                      size_t *ret_len);
