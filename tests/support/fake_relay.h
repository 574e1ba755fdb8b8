/*
 * tests/support/fake_relay.h - the relay at the other end of a fake_wire
 *
 * It reads requests one by one, checks what every request must have (credentials that
 * prove the password, with a nonce of its own), and answers as it is told: well, badly,
 * unsigned, later, twice. fake_relay_serve() answers all that waits as a good relay does.
 */
#pragma once

#include <check.h>

#include "common/wire/channel.h"
#include "common/wire/stun.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_link.h"

#define RELAYED   "192.0.2.1:50000"
#define RELAYED6  "[2001:db8::1]:50000"
#define ALTERNATE "192.0.2.99:3478"

struct fake_request {
    uint8_t buf[4096];
    size_t len;
    struct stun_msg msg;
    bool is_signed;
};

struct fake_relay {
    struct fake_wire *wire;
    const char *user, *password, *realm;
    char nonce[64];
    unsigned int n_nonces;
    bool rfc5389;          /* no nonce cookie, no PASSWORD-ALGORITHMS */
    bool userhash;         /* wants it */
    bool takes_any_nonce;  /* does not check that it is the newest */
    uint32_t lifetime_s;   /* granted */
    bool v4_only;          /* does not know ADDITIONAL-ADDRESS-FAMILY */
    unsigned int v6_error; /* ADDRESS-ERROR-CODE for IPv6; 0: there is one */
    bool mobile;           /* gives tickets to who asks for one (RFC 8016) */
    char ticket[32];       /* the last one; no two relays give the same */
    bool unsigned_answers; /* what follows proves nothing */
    const char *forger;    /* the password the answers are signed with, if not ours */
    bool hold;             /* answers are made, not given */
    uint8_t answer[4096];  /* the last one made */
    size_t answer_len;
    struct stun_builder b;
    unsigned int n_served[0x10];  /* by method: requests that fake_relay_serve() answered */
    uint64_t served_ns[0x10];     /* when the last of them was */
    struct addr channels[0x1000]; /* by number - 0x4000: a peer once bound, for good */
};

/* alice/wonderland at realm "test", with SHA-256. */
void fake_relay_init(struct fake_relay *r, struct fake_wire *wire);
void fake_relay_new_nonce(struct fake_relay *r);

/* The next message of the session, which must be a request of this method. Fails the test
 * otherwise. A signed one is checked. */
void fake_relay_expect(struct fake_relay *r, enum stun_method method, struct fake_request *ret);
/* Nothing (more) was sent. */
void fake_relay_expect_nothing(struct fake_relay *r);
/* Reads on to the next request of this method. Return: whether there is one. */
bool fake_relay_find(struct fake_relay *r, enum stun_method method, struct fake_request *ret);

/* ---- answers ---- */

/* Between begin and end a test adds attributes to r->b. */
void fake_relay_begin(struct fake_relay *r, const struct fake_request *req, enum stun_class class);
void fake_relay_end(struct fake_relay *r);
/* Gives the last answer made (again). */
void fake_relay_give(struct fake_relay *r);

void fake_relay_challenge(struct fake_relay *r, const struct fake_request *req, unsigned int code);
void fake_relay_error(struct fake_relay *r, const struct fake_request *req, unsigned int code);
/* A success without attributes of its own. */
void fake_relay_success(struct fake_relay *r, const struct fake_request *req);
void fake_relay_allocated(struct fake_relay *r, const struct fake_request *req);
void fake_relay_refreshed(struct fake_relay *r, const struct fake_request *req,
                          uint32_t lifetime_s);
/* The allocation goes on from here: a new ticket, if the relay is mobile. */
void fake_relay_moved(struct fake_relay *r, const struct fake_request *req);
void fake_relay_connected(struct fake_relay *r, const struct fake_request *req, uint32_t id);

/* Answers every request that waits; what else was sent is skipped. */
void fake_relay_serve(struct fake_relay *r);

/* ---- indications and data ---- */

void fake_relay_data(struct fake_relay *r, const char *peer, const void *data, size_t len);
void fake_relay_icmp(struct fake_relay *r, const char *peer, uint8_t type, uint8_t code,
                     uint32_t data);
void fake_relay_channel_data(struct fake_relay *r, unsigned int number, const void *data,
                             size_t len);
void fake_relay_attempt(struct fake_relay *r, const char *peer, uint32_t id);
