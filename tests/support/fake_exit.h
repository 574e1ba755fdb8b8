/*
 * tests/support/fake_exit.h - an exit without a network
 *
 * Records what a session asks for and answers as the test wants: at once or
 * later, well or badly. The test then plays the far side: datagrams, ICMP,
 * connections. An assoc is a heap object that close() frees, so that a sanitizer
 * sees every use after it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/list.h"
#include "relay/exit.h"
#include "tests/support/fake_stream.h"

#define FAKE_EXIT_SENT_MAX 64
#define FAKE_EXIT_DENY_MAX 8
#define FAKE_DATA_MAX      2048

struct assoc {
    struct list link;
    struct fake_exit *exit;
    struct assoc_want want;
    const struct assoc_events *events;
    void *user;
    bool answered;
    uint16_t port;
};

struct dial {
    struct list link;
    struct fake_exit *exit;
    struct addr peer;
    exit_on_dialed *on_dialed;
    void *user;
};

struct lookup {
    struct list link;
    struct fake_exit *exit;
    char name[256];
    exit_on_resolved *on_resolved;
    void *user;
};

struct fake_datagram {
    struct addr peer;
    uint8_t data[FAKE_DATA_MAX];
    size_t len;
    bool dont_fragment;
};

struct fake_exit {
    struct exit exit;
    /* what it is to do */
    bool open_no_memory; /* open(), dial() and resolve() return -ENOMEM */
    bool open_later;     /* on_open() waits for fake_exit_answer() */
    bool connect_later;  /* on_connected() waits for fake_exit_connected() */
    enum exit_result open_v4, open_v6, connect_result;
    enum exit_result connect_event; /* what on_connected() says */
    struct addr deny[FAKE_EXIT_DENY_MAX];
    size_t n_deny;
    bool permit_later;                  /* permit() is EXIT_PENDING until fake_exit_permitted() */
    struct addr relayed_v4, relayed_v6; /* their ports count up with each association */
    /* what happened */
    struct list assocs, dials, lookups; /* under way, oldest first */
    unsigned int n_dials, n_lookups;    /* asked for so far */
    struct assoc *last;                 /* the youngest that is open, or NULL */
    struct addr permit_peer;            /* the last that permit() was asked about */
    unsigned int n_opened, n_closed, n_permits, n_connects;
    uint32_t connect_id;
    struct addr connect_peer;
    struct far *connected; /* the far end of the last stream made for on_connected() */
    struct fake_datagram sent[FAKE_EXIT_SENT_MAX];
    size_t n_sent; /* may exceed FAKE_EXIT_SENT_MAX: then only counted */
};

void fake_exit_init(struct fake_exit *e);
/* Every association, dial and lookup must be over. */
void fake_exit_deinit(struct fake_exit *e);

void fake_exit_answer(struct assoc *a);
/* Answers the last connect(). Return: the peer's end of the connection, or NULL on failure. */
struct far *fake_exit_connected(struct fake_exit *e, enum exit_result result);
/* A peer connects. Return: its end. */
/* The answer to the dial to `peer`, which must be under way. Return: the far end, or NULL. */
struct far *fake_exit_dialed(struct fake_exit *e, const char *peer, enum exit_result result);
bool fake_exit_is_dialing(const struct fake_exit *e, const char *peer);
/* The answer to the oldest lookup, which must be for `name`: IP literals with blanks between. */
void fake_exit_resolved(struct fake_exit *e, const char *name, enum exit_result result,
                        const char *ips);
/* on_lost() */
void fake_exit_lose(struct assoc *a, enum exit_result why);

struct far *fake_exit_accept(struct assoc *a, const char *peer);
void fake_exit_datagram(struct assoc *a, const char *peer, const void *data, size_t len);
void fake_exit_icmp(struct assoc *a, const char *peer, uint8_t type, uint8_t code, uint32_t data);
void fake_exit_deny(struct fake_exit *e, const char *ip);
/* on_permitted() for the youngest association. */
void fake_exit_permitted(struct fake_exit *e, const char *ip, enum exit_result result);

/* "192.0.2.1:80" or "[2001:db8::1]:80"; asserts that it is one. */
struct addr at(const char *text);
