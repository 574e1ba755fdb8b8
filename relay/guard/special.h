/*
 * relay/guard/special.h - addresses that are not what they seem
 *
 * The built-in ranges no peer is expected in, and the IPv4 addresses that hide in
 * IPv6 ones. Data and arithmetic only: what follows from it is acl.c's to say.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/net/addr.h"

/* NULL-terminated, each one readable by addr_range_parse(). */
extern const char *const special_ranges[];

/* Whether an address lies in one of them: nobody on the Internet can reach it. */
bool special_contains(const struct addr *addr);

/* Four forms of a local NAT64 prefix and an ISATAP interface identifier. */
#define SPECIAL_EMBEDDED_MAX 6

/* The IPv4 addresses that `v6` embeds, each with its port: a translator or tunnel on the way may
 * deliver to any of them. `prefix_bits` is the length of the prefix the operator opened around
 * `v6`, 0 when there is none; it tells which forms of a local NAT64 prefix are possible.
 * Return: how many were written. */
size_t special_embedded(const struct addr *v6, unsigned int prefix_bits,
                        struct addr ret_v4[SPECIAL_EMBEDDED_MAX]);
