/*
 * relay/worker.h - one thread: its event_base, sockets, allocations, counters
 *
 * Workers share nothing that a packet needs. What crosses over is a letter to a
 * mailbox (mail.h): new settings, a data connection that landed on the wrong worker,
 * drain, stop; and, where a client's allocation is another worker's, what they say
 * to each other (roam.h).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "relay/exit/ports.h"
#include "relay/guard/quota.h"
#include "relay/guard/rate.h"
#include "relay/settings.h"
#include "relay/stats/counters.h"
#include "relay/stats/flows.h"

struct worker;

/* The process's, safe to use from every thread. Outlives the workers. */
struct worker_shared {
    struct quota *quota;
    struct rate *rate;
    struct ports *ports;
    atomic_uint n_connections;
    uint8_t cookie_secret[32];
    struct worker **workers;
    struct roam **roams; /* of the workers, roam.h */
    unsigned int n_workers;
};

/* Makes worker `index` and binds its listeners; ports of 0 in `listen` are filled in. The thread
 * does not run yet. Takes its own reference of `settings`.
 * Return: 0 and *ret; or -errno, with *ret_failed the listener that could not be bound. */
int worker_new(struct worker_shared *shared, unsigned int index, struct settings *settings,
               struct conf_listen *listen, size_t n_listen, struct worker **ret,
               size_t *ret_failed);
/* Return: 0 or -errno. */
int worker_start(struct worker *w);
/* Stops and joins the thread. Before any worker is freed, all are stopped: they post to each
 * other. */
void worker_stop(struct worker *w);
void worker_free(struct worker *w);

/* Posted; takes effect soon. A reference is taken. */
void worker_reload(struct worker *w, struct settings *settings);
void worker_drain(struct worker *w);

const struct counters *worker_counters(const struct worker *w);

/* Asks for the allocations; worker_flows() waits for the answer, until `until` (CLOCK_MONOTONIC) at
 * most, and appends it, or what was answered a moment before. Return: false when there is neither.
 */
void worker_ask_flows(struct worker *w);
bool worker_flows(struct worker *w, const struct timespec *until, struct flow_list *list);
