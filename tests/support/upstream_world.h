/*
 * tests/support/upstream_world.h - the upstream exit between fake relays and a recording front
 *
 * The relays (struct fake_server, by address) answer every link by themselves as good ones do,
 * unless a test says otherwise: refuse with a code, keep requests for later, be deaf, close
 * links. Time is fake_now_ns; it moves in world_pass_ms(), which ticks the exit whenever it said
 * that something is due, as its timer would, and turns the loop in between.
 *
 * Includes upstream_impl.h, and so never tests/support/fake_exit.h, which has other structs of
 * the same names.
 */
#pragma once

#include <check.h>

#include "relay/exit/upstream/upstream_impl.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_relay.h"
#include "tests/support/fake_resolver.h"
#include "tests/support/suite.h"

#define SERVER_A "192.0.2.10:3478"
#define SERVER_B "192.0.2.11:3478"
#define SERVER_C "192.0.2.12:3478"
#define HOST_A   "192.0.2.10"
#define HOST_B   "192.0.2.11"
#define HOST_C   "192.0.2.12"

#define PEER  "203.0.113.9:6000"
#define PEER2 "203.0.113.10:6000"
#define PEER6 "[2001:db8:9::9]:6000"

#define WORLD_BAD_CA  "/not/to/be/read.pem"
#define WORLD_SERVERS 4
#define WORLD_URLS    4
#define WORLD_METHODS 0x10

struct addr at(const char *text); /* fake_exit.c */

/* How requests of one method are answered. */
struct server_rule {
    unsigned int code; /* an error; 0: success */
    bool hold;         /* kept until world_answer_held(); a Binding has no answer then */
};

struct fake_server {
    struct addr addr;
    bool deaf;   /* links to it never open */
    int refuses; /* -errno: they close instead of opening */
    const char *why, *password;
    struct addr alternate;      /* of code 300 */
    uint64_t certificate_end_s; /* as DTLS and TLS links made from now on are shown it */
    bool no_v6;                 /* 440 to an Allocate for IPv6 only */
    bool v4_only;               /* ignores ADDITIONAL-ADDRESS-FAMILY */
    bool takes_back;            /* closes the connection of each allocation at once */
    bool mobile;                /* RFC 8016; and strangers are told that they are */
    bool forbids_mobility;      /* 405 to who asks for a ticket */
    bool hold_even;             /* keeps an Allocate with EVEN-PORT for later */
    struct server_rule rules[WORLD_METHODS];
    void (*on_error)(void *arg);         /* called before an error is answered; may be NULL */
    unsigned int n_links;                /* that were made to it */
    unsigned int n_asked[WORLD_METHODS]; /* signed requests, and Bindings */
    unsigned int n_deleted;              /* Refreshes with lifetime 0 */
    unsigned int n_moved;                /* Refreshes with a ticket that was good */
    unsigned int n_strange;              /* requests about an allocation that is not there */
    unsigned int n_doubled; /* Connects to a peer that has a living stream on that allocation */
};

struct world_link {
    struct list link;
    struct fake_wire *wire;
    struct fake_relay relay;
    struct fake_server *server;
    bool opened, closed, dies;
    bool allocated; /* at a relay that is mobile */
};

/* RFC 6062's, as the relay sees it. */
struct world_connection {
    struct list link;
    uint32_t id;
    struct world_link *control;
    struct addr peer;
    struct far *far; /* once bound */
};

struct world_held {
    struct list link;
    struct world_link *to;
    struct fake_request req;
};

/* What a front knows of an association. */
struct front_assoc {
    struct list link; /* of world->assocs */
    struct upstream_world *world;
    struct assoc *assoc;
    bool closes; /* in every event */
    void (*then)(struct front_assoc *f);
    unsigned int n_open, n_lost, n_datagrams, n_connected, n_accepted;
    struct assoc_opened opened;
    enum exit_result lost, connect_result;
    uint32_t connect_id;
    struct addr accepted_peer;
    struct far *far; /* of the last stream: the relay's end */
    struct stream *streams[16];
    size_t n_streams;
};

struct front_dial {
    struct list link; /* of world->dials */
    struct upstream_world *world;
    struct dial *dial;
    bool frees; /* the stream, at once */
    void (*then)(struct front_dial *f);
    unsigned int n_done;
    enum exit_result result;
    struct stream *stream;
    struct addr relayed;
    unsigned int n_closed;
    int closed_reason;
};

struct upstream_world {
    struct event_base *base;
    struct tx_queue *tx;
    struct counters counters;
    struct conf conf[2];
    struct conf_url urls[2][WORLD_URLS];
    struct addr dns;
    struct exit *exit;
    struct upstream *x;
    struct fake_server servers[WORLD_SERVERS];
    size_t n_servers;
    struct fake_wire *last_wire;
    struct list links, connections, held, assocs, dials;
    uint32_t last_connection_id;
    unsigned int n_states; /* on_state() */
};

/* An exit that has nowhere to go yet. `ready`: sessions, trunks and links made ahead, each. */
struct upstream_world *world_new(unsigned int ready);
/* Frees all the front has and then the exit; nothing may be left. */
void world_free(struct upstream_world *w);

struct fake_server *world_server(struct upstream_world *w, const char *addr);
/* Adds a url to the conf that is not in use yet. */
void world_url(struct upstream_world *w, unsigned int conf, const char *host,
               unsigned int protocol);
/* upstream_exit_set_conf(), and a turn of the loop. */
void world_go(struct upstream_world *w, unsigned int conf);
/* One server A with a TCP url (datagrams and streams), found. */
struct upstream_world *world_ready(unsigned int ready);

/* All that happens without time going by. */
void world_settle(struct upstream_world *w);
void world_pass_ms(struct upstream_world *w, uint64_t ms);
/* Answers the held requests of this method, as the rules now say but held no more. */
void world_answer_held(struct upstream_world *w, enum stun_method method);
unsigned int world_n_held(const struct upstream_world *w, enum stun_method method);
/* Closes every open link to the server: a relay that is gone. */
void world_drop(struct upstream_world *w, struct fake_server *server);
/* The server knows none of the allocations that it has given: it was restarted. */
void world_forget(struct upstream_world *w, const struct fake_server *server);
/* Closes the links on which it made an allocation for the connections to `peer`. */
void world_drop_control(struct upstream_world *w, const char *peer);
/* A peer connects to the relayed address of the youngest allocation. Return: the CONNECTION-ID. */
void world_attempt(struct upstream_world *w, struct world_link *control, const char *peer);
/* Links the exit holds to the server. */
unsigned int world_n_open(const struct upstream_world *w, const struct fake_server *server);
struct world_link *world_last_link(struct upstream_world *w);

struct upstream_status world_status(struct upstream_world *w, bool streams);

/* ---- the front ---- */

struct front_assoc *front_open(struct upstream_world *w, const struct assoc_want *want);
/* IPv4 by UDP. */
struct front_assoc *front_open_v4(struct upstream_world *w);
void front_close(struct front_assoc *f);
enum exit_result front_connect(struct front_assoc *f, const char *peer, uint32_t id);

struct front_dial *front_dial(struct upstream_world *w, const char *peer);
/* Frees the stream, if there is one. */
void front_hang_up(struct front_dial *f);
/* It was answered so, once. */
void assert_dialed(const struct front_dial *f, enum exit_result result);
void assert_not_dialed(const struct front_dial *f);
