/*
 * tests/support/fake_resolver.h - relay/exit/resolve.h without DNS
 *
 * Same symbols as relay/exit/resolve.c. An IP literal is its own answer; a name has the addresses
 * the test gave it, and none otherwise. Answers come when the test turns the loop, never within
 * the call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "relay/exit/resolve.h"

/* What is known of `name` from now on; `ips` are IP literals. */
void fake_resolver_know(const char *name, const char *const *ips, size_t n);
/* Lookups of `name` are not answered. */
void fake_resolver_hang(const char *name);
/* Forgets all of it. */
void fake_resolver_reset(void);
/* Answers what can be. Return: whether there was anything. */
bool fake_resolver_turn(void);
/* Lookups under way. */
size_t fake_resolver_n_pending(void);
/* How often resolver_restart() was called. */
unsigned int fake_resolver_n_restarts(void);
