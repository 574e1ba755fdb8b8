/*
 * relay/door.h - sealed apps' way to the stats page
 *
 *     gate -> door_enter() -> a unix socket of this process -> stats/http
 *
 * evhttp only serves what it has accepted from a listener itself. So there is one here, whose
 * name nobody is told, and each stream of an app is joined to a connection with it. Whoever finds
 * the name gets what a sealed app gets: nothing without the token.
 *
 * Owner:   local.c. Threads: the worker's. Limits: DOOR_MAX at a time; the oldest one goes.
 */
#pragma once

#include <stdbool.h>

#define DOOR_MAX 64

struct door;
struct stream;
struct stream_pool;

/* Return: NULL when memory or descriptors are short. */
struct door *door_new(struct stream_pool *pool);
/* Ends what goes through it. NULL is fine. */
void door_free(struct door *d);

/* The listening socket, for stats_http_new_inside(); the caller's from now on. Once. */
int door_take_listener(struct door *d);
/* Takes the app's stream. Return: false when it cannot be joined; then it is still the caller's. */
bool door_enter(struct door *d, struct stream *app);
