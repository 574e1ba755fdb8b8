/*
 * relay/mirror.h - a STUN server by which this machine's own browsers see themselves
 *
 * The leak check must tell a browser that sends nothing past its proxy from one that
 * merely lists no address: some settings hide the list, and a page then learns the
 * address from the first STUN server it asks. So there is one to ask, at an address
 * that is not loopback (browsers treat that one apart), which tells the truth.
 *
 * Only this machine is answered: a datagram whose source is not the address it was
 * sent to comes from somewhere else and is dropped. Nothing leaves the machine.
 *
 * Owner:   local.c. Threads: the event_base's.
 */
#pragma once

#include <event2/event.h>
#include <stddef.h>

#include "common/net/addr.h"

#define MIRROR_ADDRS_MAX 32

struct mirror;

/* The addresses of this machine's interfaces, loopback and link-local ones left out. Return: how
 * many (at most `max`). */
size_t mirror_own_addresses(struct addr *ret, size_t max);

/* Nothing is open before mirror_look(). Return: NULL when memory is short. */
struct mirror *mirror_new(struct event_base *base);
void mirror_free(struct mirror *m);

/* Opens a socket at one of the machine's addresses of each family, or keeps the one that is there
 * while the machine still has its address. */
void mirror_look(struct mirror *m, const struct addr *own, size_t n);
/* Where it listens; ADDR_NONE: nowhere. */
struct addr mirror_addr(const struct mirror *m, enum addr_family family);
