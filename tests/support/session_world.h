/*
 * tests/support/session_world.h - a struct session between a fake link and a recording owner
 *
 * Time is fake_now_ns and moves in session_world_pass(), which ticks whenever the session
 * says that something is due, as its owner would; a session that never said so is not
 * ticked.
 */
#pragma once

#include "relay/exit/upstream/session.h"
#include "tests/support/fake_exit.h"
#include "tests/support/fake_relay.h"
#include "tests/support/suite.h"

#define PEER  "203.0.113.9:6000"
#define PEER2 "203.0.113.10:6000"
#define PEER6 "[2001:db8:9::9]:6000"

#define SESSION_WORLD_EVENTS 64

struct got_datagram {
    struct addr peer;
    uint8_t data[2048];
    size_t len;
};

struct session_world {
    struct cred cred;
    struct fake_wire *wire;
    struct fake_relay relay;
    struct session *session;
    struct counters counters;
    uint64_t due_ns; /* as told by wake() and the ticks */
    bool frees_on_any_event;
    unsigned int n_permitted;
    unsigned int n_live, n_moving, n_ended, n_datagrams, n_icmp, n_refused, n_connects, n_attempts,
        n_wakes;
    struct assoc_opened opened;
    struct session_ended ended, moving;
    struct got_datagram datagrams[SESSION_WORLD_EVENTS];
    struct assoc_icmp icmp;
    struct addr refused_peer, attempt_peer;
    unsigned int refused_code;
    uint32_t connect_id, connection_id, attempt_id;
    enum exit_result connect_result;
};

/* A session that opens on a link that does. `want` NULL: UDP, IPv4. */
struct session_world *session_world_new(enum link_kind kind, const struct session_want *want);
/* One that is LIVE. */
struct session_world *session_world_live(enum link_kind kind, const struct session_want *want);
/* Another session of the same user at the same relay, after the first has ended. */
void session_world_again(struct session_world *w, enum link_kind kind,
                         const struct session_want *want);
/* A session that is MOVING gets another link, which opens when the test says so; `relay` is at the
 * end of that from now on. */
void session_world_move(struct session_world *w, enum link_kind kind);
void session_world_free(struct session_world *w);

/* Time goes by, with the ticks that are due on the way. */
void session_world_pass_ms(struct session_world *w, uint64_t ms);
/* The same with a relay that answers everything. */
void session_world_serve_s(struct session_world *w, unsigned int seconds);

void session_world_send(struct session_world *w, const char *peer, const char *text);
/* The next message sent is a Send indication with this text to this peer. */
void expect_send(struct session_world *w, const char *peer, const char *text);
void expect_channel_data(struct session_world *w, unsigned int number, const char *text);
/* The i-th datagram that came. */
void expect_got(const struct session_world *w, unsigned int i, const char *peer, const char *text);
