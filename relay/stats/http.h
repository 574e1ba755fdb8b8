/*
 * relay/stats/http.h - the stats endpoint: JSON, Prometheus text, health
 *
 *   /            the page for people         /check    the browser's own leak check
 *   /stats.json  everything, versioned       /metrics  Prometheus text format
 *   /healthz     200 while the process runs  /readyz   200 while new clients are
 *                                                      served, 503 when draining
 *
 * Runs on the main thread's event_base, never on a worker's. Requests whose Host is
 * not the listener's own are refused (DNS rebinding), as are methods other than GET
 * and HEAD, large headers and slow senders; with a token set, every path but
 * /healthz, /readyz and the page's files (page.h), which hold nothing of this machine,
 * asks for "Authorization: Bearer TOKEN" (constant-time). No CORS.
 * A relay that listens beyond loopback serves it over TLS.
 *
 * Sealed apps get the same by a second endpoint (stats_http_new_inside()), on which everything but
 * the page's files and health asks for a token of its own, and nothing tells of the machine
 * outside.
 *
 * A page token, which a role makes up at each start and prints, is as good as the token
 * and works without one: what only its owner may know (a credential, the machine's own
 * addresses) is added for who shows either of them, and for nobody else.
 *
 * The program must ignore SIGPIPE: libevent writes without MSG_NOSIGNAL, and a client
 * that is cut off for its slowness would take the process with it.
 */
#pragma once

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "common/net/addr.h"
#include "common/net/tls.h"
#include "relay/stats/counters.h"

struct stats_http;

/* What is no count, and may not be there at all. */
struct stats_state {
    enum {
        STATS_LINK_NONE, /* no relay is gone to, or none could be */
        STATS_LINK_DOWN,
        STATS_LINK_UP,
    } datagrams,
        streams;
    uint64_t certificate_not_after_s; /* of the relay; seconds since 1970; 0: there is no
                                       * certificate, or its dates do not matter */
};

/* Who is told. */
struct stats_reader {
    bool has_token; /* what only the owner may know is for them */
    bool is_inside; /* a sealed app: nothing of this machine is, whatever it has shown */
};

/* What the endpoint asks the role it serves; all called on the main thread. */
struct stats_source {
    enum stats_role role; /* the counters that are shown */
    void *arg;
    void (*state)(void *arg, struct stats_state *ret); /* may be NULL; *ret is zero */
    void (*sum)(void *arg, struct counters *ret);
    /* Adds role-specific members ("relay": what peers see, ports, certificate, users, ...); may be
     * NULL. */
    void (*describe)(void *arg, const struct stats_reader *reader, json_t *root);
    const char *page_token; /* may be NULL; borrowed during stats_http_new() */
    bool (*ready)(void *arg);
};

/* Return: 0, or -1 with a line in the log. `token` may be NULL only for a loopback address. */
int stats_http_new(struct event_base *base, const struct addr *listen, const char *token,
                   const struct stats_source *source, struct stats_http **ret);
/* On a listening socket of the caller's, taken also on failure. Requests name one of `hosts`
 * (copied), and everything that is not open to all asks for `token`. Return: 0, or -1 with a line
 * in the log. */
int stats_http_new_inside(struct event_base *base, int listener, const struct addr hosts[2],
                          const char *token, const struct stats_source *source,
                          struct stats_http **ret);
/* From the next connection on, HTTPS with this certificate (borrowed); NULL: HTTP. At the start,
 * before the loop turns, and when the certificate changes. */
void stats_http_set_tls(struct stats_http *http, const struct tls_server *tls);
void stats_http_free(struct stats_http *http);
/* The bound address (port 0 in `listen` means any). */
struct addr stats_http_addr(const struct stats_http *http);
