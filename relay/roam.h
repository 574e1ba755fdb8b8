/*
 * relay/roam.h - clients that came to one worker, and whose allocation another has
 *
 * The kernel spreads flows over the workers by their 5-tuple, so a client that comes
 * back to its allocation from another address (RFC 8016) may arrive at a worker that
 * does not have it. Its transport stays where it is, and so does its allocation: what
 * the one says and what the other answers is carried between them in letters, copied
 * once. That costs more than a flow of one worker's own, and only moved ones pay it.
 *
 *   at the worker it came to      visitor: holds the client (client.h) of the listener
 *   at the allocation's worker    guest: a client (client.h) like any other, to turn/
 *
 * A visit begins with a message (roam_visit()), and ends when the guest has no
 * allocation any more, or the client's transport closes. Both sides know it by the
 * visitor's worker and a number, never by each other's memory.
 *
 * Owner:   each worker has one; the visitor's side holds the client (keep/release).
 * Threads: the worker's; `all` is complete before any of them runs.
 * Limits:  ROAM_QUEUE letters wait for a worker; datagrams beyond that are dropped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/client.h"
#include "relay/mail.h"
#include "relay/stats/counters.h"

struct roam;
struct turn;

#define ROAM_QUEUE 4096

struct roam_params {
    unsigned int worker; /* our index in `all` */
    struct roam **all;   /* of all workers; borrowed */
    struct mailbox *mailbox;
    struct turn *turn; /* where guests' messages go */
    struct counters *counters;
};

/* Puts itself into params->all. Return: NULL when memory is short. */
struct roam *roam_new(const struct roam_params *params);
/* Nothing is posted from now on: the workers are being freed. NULL is fine. */
void roam_close(struct roam *roam);
/* Lets visitors go; guests must have gone, with their allocations. NULL is fine. */
void roam_free(struct roam *roam);

/* What turn_params.visit is for: `data` goes to worker `to`, or to where the client is visiting
 * already. */
bool roam_visit(struct roam *roam, unsigned int to, struct client *client, const uint8_t *data,
                size_t len);
/* What turn_params.leave is for: the transport of a visiting client is gone. */
void roam_leave(struct roam *roam, struct client *client);

/* The worker has flushed: what guests sent is not referenced any more. */
void roam_flushed(struct roam *roam);

size_t roam_n_visitors(const struct roam *roam);
size_t roam_n_guests(const struct roam *roam);
