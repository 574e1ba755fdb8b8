/*
 * tests/guard/acl_fixture.h - a machine and a relay for the tests of the access rules
 */
#pragma once

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "relay/guard/acl.h"

/* The machine under test: two global addresses, a private one, a link-local one. */
static const char *const machine[] = {"127.0.0.1", "::1",     "45.33.32.1",
                                      "10.1.2.3",  "fe80::1", "2600:3c01::1"};

#define N_RANGES 8

static struct conf_listen listeners[3];
static struct addr_range allowed[N_RANGES], denied[N_RANGES];

static inline struct addr ip(const char *text, uint16_t port)
{
    struct addr a;

    ck_assert_msg(addr_parse_ip(text, port, &a), "%s", text);
    return a;
}

/* A relay on both wildcards with the usual ports. */
static inline struct conf usual(void)
{
    listeners[0] = (struct conf_listen){ip("0.0.0.0", 3478), LISTEN_UDP | LISTEN_TCP};
    listeners[1] = (struct conf_listen){ip("::", 5349), LISTEN_TLS | LISTEN_DTLS};
    return (struct conf){
        .listen = listeners,
        .n_listen = 2,
        .port_min = 49152,
        .port_max = 65535,
        .allow = allowed,
        .deny = denied,
        .stats_listen = ip("127.0.0.1", 9641),
    };
}

static inline void add_range(struct addr_range *list, size_t *n, const char *text)
{
    ck_assert_uint_lt(*n, N_RANGES);
    ck_assert_msg(addr_range_parse(text, &list[(*n)++]), "%s", text);
}

static inline struct acl *make(const struct conf *conf)
{
    struct addr addrs[sizeof(machine) / sizeof(machine[0])];
    size_t n = sizeof(machine) / sizeof(machine[0]);
    struct acl *acl;

    for (size_t i = 0; i < n; i++)
        addrs[i] = ip(machine[i], 0);
    acl = acl_new_with(conf, addrs, n);
    ck_assert_ptr_nonnull(acl);
    return acl;
}

static inline struct acl *make_usual(void)
{
    struct conf conf = usual();

    return make(&conf);
}

static inline enum acl_verdict ask(const struct acl *acl, const char *text, uint16_t port, bool tcp)
{
    struct addr a = ip(text, port);

    return acl_check(acl, &a, tcp);
}

/* Over UDP and TCP, with a port and without: where the address alone decides, all must agree. */
static inline void expect(const struct acl *acl, const char *text, enum acl_verdict verdict)
{
    for (int i = 0; i < 4; i++) {
        enum acl_verdict got = ask(acl, text, i & 1 ? 443 : 0, i & 2);

        ck_assert_msg(got == verdict, "%s: %s, not %s", text, acl_verdict_name(got),
                      acl_verdict_name(verdict));
    }
}

static inline void expect_allow(const char *allow, const char *text, enum acl_verdict verdict)
{
    struct conf conf = usual();
    struct acl *acl;

    add_range(allowed, &conf.n_allow, allow);
    acl = make(&conf);
    expect(acl, text, verdict);
    acl_free(acl);
}
