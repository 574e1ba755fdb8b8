/*
 * relay/relay.h - the relay role: workers, settings, stats, wired left to right
 *
 * relay_start() returns when every listener is bound and the workers run; what
 * is wrong before that is logged and answered with the exit status that the
 * process should end with (2: configuration, 1: anything else).
 *
 * Threads: one thread (the process's main one) makes all calls below.
 */
#pragma once

#include <event2/event.h>

#include "common/net/addr.h"
#include "conf/conf.h"

struct relay;

/* `base` is the main thread's: signals of the command and the stats endpoint live there.
 * Takes `conf` (also on failure). Return: 0 and *ret, or the exit status. */
int relay_start(struct conf *conf, struct event_base *base, struct relay **ret);

/* Builds new settings from `conf` (taken) and swaps them in; running calls go on. Listeners and
 * the number of workers stay as they are until a restart; a line says so when they differ.
 * Return: 0, or -1 with the reasons logged and the old settings in force. */
int relay_reload(struct relay *relay, struct conf *conf);

/* No new allocations; the process may end when relay_n_allocations() is 0. */
void relay_drain(struct relay *relay);
unsigned int relay_n_allocations(struct relay *relay);

/* The i-th listener's bound address (a port of 0 in the configuration is resolved). */
struct addr relay_listen_addr(const struct relay *relay, size_t i);

/* "sha256/..." of the certificate's key, or NULL without TLS and DTLS listeners. */
const char *relay_pin(const struct relay *relay);

/* Ends every allocation, stops the workers, frees everything. NULL is fine. */
void relay_free(struct relay *relay);

/* `callveil relay`: argv[0] is "relay". Return: the exit status. */
int relay_command(int argc, char **argv);
