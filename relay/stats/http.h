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
#include "relay/stats/counters.h"

struct stats_http;

/* What the endpoint asks the role it serves; all called on the main thread. */
struct stats_source {
    void *arg;
    void (*sum)(void *arg, struct counters *ret);
    /* Adds role-specific members ("relay": what peers see, ports, certificate, users, ...). */
    void (*describe)(void *arg, json_t *root);
    /* The same, for who has shown a token; may be NULL. */
    void (*describe_secrets)(void *arg, json_t *root);
    const char *page_token; /* may be NULL; borrowed during stats_http_new() */
    bool (*ready)(void *arg);
};

/* Return: 0, or -1 with a line in the log. `token` may be NULL only for a loopback address. */
int stats_http_new(struct event_base *base, const struct addr *listen, const char *token,
                   const struct stats_source *source, struct stats_http **ret);
void stats_http_free(struct stats_http *http);
/* The bound address (port 0 in `listen` means any). */
struct addr stats_http_addr(const struct stats_http *http);
