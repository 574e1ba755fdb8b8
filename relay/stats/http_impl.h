/*
 * relay/stats/http_impl.h - shared by the rooms of the endpoint; nobody else's
 *
 * http.c: listening, and an endpoint's life. http_answer.c: one request, its answer.
 * conns.c: how many connections there are, and for how long.
 */
#pragma once

#include <event2/http.h>
#include <event2/listener.h>
#include <stdint.h>

#include "relay/stats/conns.h"
#include "relay/stats/http.h"

#define HTTP_TOKEN_LEN 32 /* as its SHA-256: comparing takes equal time for any length */

struct stats_http {
    struct stats_http *next; /* in http_all */
    struct evhttp *evhttp;
    struct evconnlistener *listener; /* evhttp's */
    struct event *resume;
    unsigned int n_accepted; /* since `resume` last fired */
    struct stats_conns conns;
    struct stats_source source;
    struct addr bound;
    bool is_inside; /* then `hosts` are ours, whatever the socket says */
    struct addr hosts[2];
    bool has_token, has_page_token;
    uint8_t token[HTTP_TOKEN_LEN], page_token[HTTP_TOKEN_LEN];
};

/* The moment the process started, as near as this module can know it: a reload that moves the
 * endpoint does not restart it. */
extern uint64_t http_started_ns, http_started_s;

bool http_hash_token(const char *token, uint8_t ret_hash[HTTP_TOKEN_LEN]);
/* For evhttp_set_gencb(), with the struct stats_http as `arg`. */
void http_on_request(struct evhttp_request *req, void *arg);
