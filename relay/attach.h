/*
 * relay/attach.h - `callveil run`s that use this `callveil local`
 *
 * A run connects, passes the sockets of its namespace (relay/keeper.h), and is told that
 * there is a gate once there is one and the relay can be reached, or has had ATTACH_READY_S
 * to be. The gate ends with the connection, or with the keeper.
 *
 * What comes over the connection is of this user's, but it may be of a program that is
 * itself sealed, so it is judged: the descriptors must be sockets of the kinds that they are
 * said to be. They give nothing away: a gate has no way out but the exit.
 *
 * Owner:   local.c.
 * Threads: the worker's. Limits: ATTACH_MAX runs, ATTACH_WAIT_S for each to say what it wants.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "relay/front/gate.h"

#define ATTACH_MAX     64
#define ATTACH_WAIT_S  5
#define ATTACH_READY_S 10

struct attach;

struct attach_params {
    struct gate_params gate; /* on_ended and arg are filled in here */
    bool (*is_ready)(void *arg);
    void *arg;
    const char *page_token;          /* what runs are told; NULL: there is no page inside */
    void (*on_run_ended)(void *arg); /* may be NULL; nothing may be freed in it */
    void *on_run_ended_arg;
};

/* Return: NULL when memory is short. */
struct attach *attach_new(const struct attach_params *params);
/* Ends every gate. NULL is fine. */
void attach_free(struct attach *a);

/* Lets runs of this user find it (relay/rendezvous.h). Return: 0 or -errno. */
int attach_listen(struct attach *a);
/* Takes a connected socket, whose other end is a run. Return: 0 or -errno. */
int attach_adopt(struct attach *a, int fd);
/* About once a second. */
void attach_sweep(struct attach *a, uint64_t now_ns);
/* What the gates add to the flows. */
void attach_flows(const struct attach *a, struct flow_list *list);
/* After a reload. */
void attach_set_dns(struct attach *a, const struct addr *dns, size_t n_dns);
