/*
 * relay/guard/acl.h - may this peer be reached?
 *
 * One verdict, asked on every path to a peer: permissions, channels, Send, TCP
 * connect and inbound connections. The address is in its normal form already
 * (common/net/addr.h); an IPv6 address that *embeds* an IPv4 one (IPv4-compatible,
 * NAT64, 6to4, Teredo, ISATAP) must pass the IPv6 rules and the IPv4 rules of what
 * it embeds.
 *
 * Rules, first match decides:
 *   1. a listener of this process (TURN or stats port on an address of ours): denied,
 *      nothing can allow it;
 *   2. a relayed address of ours with a port in the relay's range, or no port
 *      asked: allowed (two clients of one relay call each other);
 *   3. the longest prefix among the built-in special-purpose ranges (IANA), `allow`
 *      and `deny`: at equal length the configuration beats the built-in and `deny`
 *      beats `allow`. A built-in or `deny` match refuses.
 *   4. any other address of this machine: denied unless rule 3 matched an `allow`;
 *   5. everything else: allowed.
 *
 * The object is const after acl_new() and shared by all workers of one configuration.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/net/addr.h"
#include "conf/conf.h"

struct acl;

enum acl_verdict {
    ACL_ALLOW,
    ACL_DENY_LISTENER, /* rule 1 */
    ACL_DENY_OWN,      /* rule 4 */
    ACL_DENY_SPECIAL,  /* a built-in range */
    ACL_DENY_CONFIG,   /* a `deny` entry */
};

/* Takes the machine's addresses (getifaddrs) now; a reload makes a new object. `conf` is copied
 * from, not kept. Return: NULL when memory is short. */
struct acl *acl_new(const struct conf *conf);
/* The same for a machine with these addresses (ports and ADDR_NONE are ignored). */
struct acl *acl_new_with(const struct conf *conf, const struct addr *addrs, size_t n_addrs);
void acl_free(struct acl *acl);

/* `peer` with port 0 asks about the address alone. `tcp`: an RFC 6062 connection. */
enum acl_verdict acl_check(const struct acl *acl, const struct addr *peer, bool tcp);

/* Whether the address belongs to this machine, is its public address or embeds one of these: only
 * then can a port matter, and the caller must ask acl_check() per datagram. */
bool acl_is_own(const struct acl *acl, const struct addr *ip);

/* "a private address", for the log. */
const char *acl_verdict_name(enum acl_verdict verdict);
