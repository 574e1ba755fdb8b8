/*
 * relay/demo/proxy.h - the demo's `callveil local`, in a thread of its own
 *
 * The apps of the demo block while they wait; the proxy between them and the relay must
 * not. Everything below is called from the demo's own thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "conf/conf.h"

struct demo_proxy;

/* Takes `conf` (role "local"), also on failure. Return: 0 and *ret, or the exit status. */
int demo_proxy_start(struct conf *conf, struct demo_proxy **ret);
/* Waits until it has reached the relay. Return: false when `deadline_ns` came first. */
bool demo_proxy_wait(const struct demo_proxy *p, uint64_t deadline_ns);
void demo_proxy_stop(struct demo_proxy *p); /* NULL is fine */

struct addr demo_proxy_socks5(const struct demo_proxy *p);
struct addr demo_proxy_turn(const struct demo_proxy *p);
const char *demo_proxy_user(const struct demo_proxy *p);
const char *demo_proxy_password(const struct demo_proxy *p);
