/*
 * relay/turn/mobility.h - an allocation goes on when its client's address changes
 *
 * A client that asks for it gets a ticket with its allocation, and shows it in a
 * Refresh from wherever it is then. Until something else comes from there, the old
 * 5-tuple stays in use as well, and both tickets are good: the answer may be lost.
 * With that the allocation has moved: the old 5-tuple and its ticket are forgotten.
 *
 *   HERE      one path, one ticket.
 *   BETWEEN   the ticket was shown from another 5-tuple, `pending`; the next ticket
 *             was given to it. -> HERE, there; or HERE, as before, after half a minute;
 *             or BETWEEN with another one, whom the same ticket moves to yet elsewhere.
 *   NOWHERE   the client's connection has closed: what peers send is dropped, and a
 *             ticket moves the allocation at once. It ends after two minutes, or with
 *             its lifetime.
 *
 * Tickets are random bytes, known to nobody else: nothing can be read from one, and
 * one that we did not give is not found. Only their first four say something, to
 * ourselves: which worker has the allocation (modulo the number of workers, as with
 * CONNECTION-ID). Allocations of RFC 6062 do not move: their streams end with the
 * address in any case.
 *
 * Source: RFC 8016, section 3.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/hash.h"
#include "relay/client.h"

struct alloc;
struct request;
struct stun_builder;
struct turn;

#define MOBILITY_TICKET_LEN 24
#define MOBILITY_PENDING_S  30  /* for something to come from the new 5-tuple */
#define MOBILITY_NOWHERE_S  120 /* for a client without a connection to come back */

struct mobility_ticket {
    struct hash_node node; /* turn->tickets, if is_given */
    struct alloc *alloc;
    bool is_given;
    uint8_t bytes[MOBILITY_TICKET_LEN];
};

/* What an allocation keeps of it. Zeroed: the client did not ask. */
struct mobility {
    struct mobility_ticket here, next; /* next: given to `pending` */
    struct client *pending;            /* kept; its `alloc` is this allocation too */
    uint64_t until_ns;                 /* of BETWEEN and NOWHERE */
};

/* Allocate: whether the client asks for mobility. Return: 0 and *ret, 400 for a ticket that is not
 * empty, 405 when it is not offered. */
unsigned int mobility_read(const struct request *req, bool *ret);
/* Makes the first ticket. Without randomness there is none, which tells the client that this one
 * does not move. */
void mobility_begin(struct alloc *alloc);
/* Adds the ticket that the client is to use next time, if it has asked for any. */
void mobility_put(const struct alloc *alloc, struct stun_builder *b);

/* A Refresh with MOBILITY-TICKET. Return: the allocation that it is about; or NULL, and the request
 * was answered, or went to the worker that can. */
struct alloc *mobility_find(struct request *req);
/* The request's client is where the allocation is to go on. Return: the client to answer, or NULL
 * when memory or randomness is short (nothing has changed then). */
struct client *mobility_move(struct alloc *alloc, struct request *req);

/* Something came from a client of `alloc` that is not the one in use: it is from now on. */
void mobility_arrive(struct alloc *alloc);
/* The transport of one of its clients is gone. Return: false when the allocation has to end. */
bool mobility_on_closed(struct alloc *alloc, struct client *client, uint64_t now_ns);
/* Return: true when the allocation is gone. */
bool mobility_sweep(struct alloc *alloc, uint64_t now_ns);
/* Forgets tickets and pending client; of alloc_free(). */
void mobility_end(struct alloc *alloc);

/* Of turn->nobody, the client of allocations that are NOWHERE. */
extern const struct client_ops mobility_nobody_ops;
