/*
 * States of a port's word, all changes by compare-and-swap or by its one holder:
 *
 *   FREE       never used. Anybody may take it.
 *   IN_USE     somebody's: only the holder may change it.
 *   RESTING|t  released in second t (31 bits of the clock's seconds, rounded up).
 *              Anybody may take it once PORTS_HOLD_S have passed.
 *
 * Seconds are compared by their difference modulo 2^31, so neither the clock's wrap
 * (68 years) nor a start just before it matters.
 */
#include "relay/exit/ports.h"

#include <assert.h>
#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "relay/exit/ports_impl.h"

#define PORTS_FREE    0u
#define PORTS_IN_USE  1u
#define PORTS_RESTING 0x80000000u

/* Random picks before the walk. With half the range taken, one in 65536 scans gets to walk. */
#define PORTS_PICKS 16

/* ---- random numbers ---- */

int port_rng_bytes(struct port_rng *rng, void *buf, size_t len)
{
    assert(len <= sizeof(rng->bytes));
    if (rng->n_left < len) {
        if (RAND_bytes(rng->bytes, sizeof(rng->bytes)) != 1)
            return -EIO;
        rng->n_left = sizeof(rng->bytes);
    }
    rng->n_left -= len;
    memcpy(buf, rng->bytes + rng->n_left, len);
    /* What was handed out must not be found in our memory again. */
    memset(rng->bytes + rng->n_left, 0, len);
    return 0;
}

int port_rng_below(struct port_rng *rng, uint32_t n, uint32_t *ret)
{
    uint32_t max = UINT32_MAX - UINT32_MAX % n; /* above it, low results would come up more often */
    uint32_t value;
    int r;

    do {
        r = port_rng_bytes(rng, &value, sizeof(value));
        if (r < 0)
            return r;
    } while (value >= max);
    *ret = value % n;
    return 0;
}

/* ---- the table ---- */

struct ports *ports_new(void)
{
    struct ports *ports = calloc(1, sizeof(*ports)); /* PORTS_FREE is zero */

    if (!ports)
        return NULL;
    if (pthread_mutex_init(&ports->mutex, NULL) != 0) {
        free(ports);
        return NULL;
    }
    return ports;
}

void ports_free(struct ports *ports)
{
    if (!ports)
        return;
    (void)ports_sweep(ports, UINT64_MAX);
    pthread_mutex_destroy(&ports->mutex);
    free(ports);
}

static _Atomic uint32_t *ports_word(struct ports *ports, struct port_space space, uint16_t port)
{
    return &ports->state[space.family == ADDR_IPV6][space.tcp][port];
}

static uint32_t ports_second(uint64_t now_ns)
{
    return (uint32_t)(now_ns / NS_PER_S) & ~PORTS_RESTING;
}

static bool ports_is_resting(uint32_t state, uint64_t now_ns)
{
    uint32_t age = (ports_second(now_ns) - state) & ~PORTS_RESTING;

    /* The stored second was rounded up, so it may lie one in the future: an age of 2^31 - 1. */
    return (state & PORTS_RESTING) && (age < PORTS_HOLD_S || age == ~PORTS_RESTING);
}

static bool ports_try_take(struct ports *ports, struct port_space space, uint16_t port,
                           uint64_t now_ns)
{
    _Atomic uint32_t *word = ports_word(ports, space, port);
    uint32_t state = atomic_load_explicit(word, memory_order_relaxed);

    if (state == PORTS_IN_USE || ports_is_resting(state, now_ns))
        return false;
    return atomic_compare_exchange_strong(word, &state, PORTS_IN_USE);
}

void ports_release(struct ports *ports, struct port_space space, uint16_t port, uint64_t now_ns)
{
    uint32_t second = ports_second(now_ns + (NS_PER_S - 1));
    uint32_t old = atomic_exchange(ports_word(ports, space, port), PORTS_RESTING | second);

    assert(old == PORTS_IN_USE);
}

void ports_cancel(struct ports *ports, struct port_space space, uint16_t port)
{
    uint32_t old = atomic_exchange(ports_word(ports, space, port), PORTS_FREE);

    assert(old == PORTS_IN_USE);
}

struct ports_count ports_count(const struct ports *ports, struct port_space space,
                               struct port_range range, uint64_t now_ns)
{
    const _Atomic uint32_t *words = ports->state[space.family == ADDR_IPV6][space.tcp];
    struct ports_count count = {0};
    uint32_t state;

    for (uint32_t port = range.min; port <= range.max; port++) {
        state = atomic_load_explicit(&words[port], memory_order_relaxed);
        if (state == PORTS_IN_USE)
            count.in_use++;
        else if (ports_is_resting(state, now_ns))
            count.resting++;
        else
            count.free++;
    }
    return count;
}

/* ---- scans ---- */

void ports_scan_init(struct ports_scan *scan, struct ports *ports, struct port_rng *rng,
                     struct port_space space, struct port_range range, enum ports_shape shape)
{
    uint32_t first = range.min, last = range.max;

    *scan =
        (struct ports_scan){.ports = ports, .rng = rng, .space = space, .step = 1, .shape = shape};
    if (shape != PORTS_ANY) {
        scan->step = 2;
        first += first & 1;
    }
    if (shape == PORTS_PAIR && last > 0)
        last--; /* its partner must be in the range too */
    scan->first = first;
    scan->n = first <= last ? (last - first) / scan->step + 1 : 0;
}

/* The index of the next port to look at. Return: 0, PORTS_E_NONE after the last, or -EIO. */
static int ports_scan_step(struct ports_scan *scan, uint32_t *ret)
{
    int r = 0;

    if (scan->n_picks < PORTS_PICKS && scan->n_walked == 0 && scan->n > 0) {
        scan->n_picks++;
        return port_rng_below(scan->rng, scan->n, ret);
    }
    if (scan->n_walked == scan->n)
        return PORTS_E_NONE;
    if (scan->n_walked == 0)
        r = port_rng_below(scan->rng, scan->n, &scan->start);
    if (r == 0)
        *ret = (scan->start + scan->n_walked++) % scan->n;
    return r;
}

static bool ports_scan_take(struct ports_scan *scan, uint16_t port, uint64_t now_ns)
{
    if (!ports_try_take(scan->ports, scan->space, port, now_ns))
        return false;
    if (scan->shape != PORTS_PAIR ||
        ports_try_take(scan->ports, scan->space, (uint16_t)(port + 1), now_ns))
        return true;
    /* It was free when we took it, so nothing is forgotten: whatever rest it had was over. */
    ports_cancel(scan->ports, scan->space, port);
    return false;
}

int ports_scan_next(struct ports_scan *scan, uint64_t now_ns, uint16_t *ret)
{
    uint32_t index = 0;
    uint16_t port;
    int r;

    while ((r = ports_scan_step(scan, &index)) == 0) {
        port = (uint16_t)(scan->first + index * scan->step);
        if (ports_scan_take(scan, port, now_ns)) {
            *ret = port;
            return 0;
        }
    }
    return r;
}
