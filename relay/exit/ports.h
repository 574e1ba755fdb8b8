/*
 * relay/exit/ports.h - which relayed ports are taken, for the whole process
 *
 * One table for each family and protocol, one atomic word for each port: free, in
 * use, or released lately. A released port rests for PORTS_HOLD_S before it is
 * given to anybody else, so that late packets meant for one user never reach
 * another (RFC 8656, section 7.2). Ports are picked at random (section 7.2 again:
 * a guessable port invites strangers), from the system's random source.
 *
 * A port is counted once for all local addresses: on a relay with several, port p
 * is in use on one of them at most.
 *
 * Flow:    ports_scan_init(), then ports_scan_next() until one can be bound;
 *          ports_release() or ports_cancel() at the end.
 * Threads: any, without a lock; a struct port_rng and a struct ports_scan belong to
 *          one thread. The reservation table below has a mutex: it is met by
 *          Allocate requests with EVEN-PORT or RESERVATION-TOKEN, never by packets.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

#define PORTS_HOLD_S 120

/* A reserved socket waits so long for its Allocate (RFC 8656, section 7.2: at least 30 s). */
#define PORTS_RESERVE_S    30
#define PORTS_RESERVED_MAX 1024 /* of the whole process */

enum ports_result {
    PORTS_E_NONE = 1,  /* no port of the range is free */
    PORTS_E_TOKEN = 2, /* unknown, used or expired token */
    PORTS_E_FULL = 3,  /* PORTS_RESERVED_MAX sockets are parked already */
};

/* Each protocol of each family has ports of its own. */
struct port_space {
    enum addr_family family;
    bool tcp;
};

struct port_range {
    uint16_t min, max; /* both belong to it */
};

/* Random numbers, bought from RAND_bytes in bulk: one for each worker. */
struct port_rng {
    uint8_t bytes[256];
    size_t n_left;
};

/* Uniform in [0, n), n > 0. Return: 0, or -EIO when the system has no random numbers. */
int port_rng_below(struct port_rng *rng, uint32_t n, uint32_t *ret);
/* For tokens and the like. Return: 0 or -EIO. */
int port_rng_bytes(struct port_rng *rng, void *buf, size_t len);

struct ports;

/* Return: NULL when memory is short. */
struct ports *ports_new(void);
/* Closes the sockets that are still parked. */
void ports_free(struct ports *ports);

/* What EVEN-PORT asks for. */
enum ports_shape {
    PORTS_ANY,
    PORTS_EVEN,
    PORTS_PAIR, /* an even port and the next one, both taken */
};

/* A walk over the range: some random picks, then every port from a random one on. */
struct ports_scan {
    struct ports *ports;
    struct port_rng *rng;
    struct port_space space;
    uint32_t first, step; /* the ports looked at: first + i * step, i < n */
    uint32_t n, start, n_walked;
    unsigned int n_picks;
    enum ports_shape shape;
};

void ports_scan_init(struct ports_scan *scan, struct ports *ports, struct port_rng *rng,
                     struct port_space space, struct port_range range, enum ports_shape shape);

/* Takes the next free port (for PORTS_PAIR also *ret + 1). Call again for another one after the
 * kernel refused it, having given this one back. Return: 0, PORTS_E_NONE, or -EIO. */
int ports_scan_next(struct ports_scan *scan, uint64_t now_ns, uint16_t *ret);

/* Gives a port back that peers may have heard of: it rests for PORTS_HOLD_S. Also right for one
 * that another process turned out to hold: it is left alone for as long. */
void ports_release(struct ports *ports, struct port_space space, uint16_t port, uint64_t now_ns);
/* Gives a port back that was never used. */
void ports_cancel(struct ports *ports, struct port_space space, uint16_t port);

struct ports_count {
    unsigned int in_use, resting, free;
};
/* Counts by looking at every port of the range: for a gauge, not for the packet path. */
struct ports_count ports_count(const struct ports *ports, struct port_space space,
                               struct port_range range, uint64_t now_ns);

/* ---- reserved sockets (EVEN-PORT with the R bit), ports_reserve.c ---- */

struct ports_reserved {
    int fd; /* bound, in no event loop */
    struct addr bound;
};

/* Parks a bound UDP socket whose port has been taken; the table closes it and releases the port
 * unless it is claimed in time. Return: 0 and a token, PORTS_E_FULL or -EIO (the socket and the
 * port stay the caller's). */
int ports_park(struct ports *ports, struct port_rng *rng, const struct ports_reserved *reserved,
               uint64_t now_ns, uint8_t ret_token[8]);

/* Hands the socket and its port over; the token is good for once. Return: 0 or PORTS_E_TOKEN. */
int ports_claim(struct ports *ports, const uint8_t token[8], uint64_t now_ns,
                struct ports_reserved *ret);

/* Closes what has expired; park and claim do so as well. Return: how many are still parked. */
unsigned int ports_sweep(struct ports *ports, uint64_t now_ns);
