/*
 * tests/support/turn_world.h - a struct turn with fakes on both sides
 *
 * A test talks as a client does: it builds requests, signs them with what a 401
 * told it, and looks at the answers. ask() checks on the way what must hold for
 * every answer: a known sender's answers are authentic, challenges carry none,
 * and with hide-client-address the client's IP is nowhere in them.
 */
#pragma once

#include <check.h>

#include "common/wire/channel.h"
#include "common/wire/stun.h"
#include "tests/support/fake_client.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_exit.h"
#include "tests/support/suite.h"

#define CLIENT  "198.51.100.77:40000"
#define CLIENT2 "198.51.100.78:40000"
#define CLIENT6 "[2001:db8:77::5]:40000"
#define RELAY   "192.0.2.1:3478"
#define RELAY6  "[2001:db8::1]:3478"
#define PEER    "203.0.113.9:6000"
#define PEER2   "203.0.113.10:6000"
#define PEER6   "[2001:db8:9::9]:6000"

#define WORLD_CLIENTS 64

struct world {
    struct conf *conf;
    uint8_t nonce_secret[AUTH_SECRET_LEN];
    struct auth *auth;
    struct quota *quota;
    struct rate *rate;
    struct counters counters;
    struct fake_exit exit;
    struct turn *turn;
    struct turn_bind handed; /* the last data connection handed to another worker */
    unsigned int handed_to, n_handed;
    /* The last client sent on to another worker, with its message. */
    unsigned int visit_to, n_visits;
    uint8_t visit_data[1024];
    size_t visit_len;
    bool visit_fails;
    struct fake_client *clients[WORLD_CLIENTS];
    size_t n_clients;
};

/* Users alice/wonderland and bob/builder, secrets "north" and "south", no rate limit. */
struct world *world_new(void);
struct world *world_new_with(const char *conf_text);
/* Ends it in the order a worker does, and checks that nothing is left open. */
void world_free(struct world *w);
/* New settings, as at a reload; the old ones are freed. */
void world_reload(struct world *w, const char *conf_text);

/* A struct turn of the same world for one of several workers; the caller frees it. */
struct turn *world_turn(struct world *w, unsigned int worker, unsigned int n_workers);

struct fake_client *world_client(struct world *w, enum transport transport, const char *remote);
void world_pass(uint64_t seconds);

/* ---- a client's credentials, filled by login_learn() from a 401 or 438 ---- */

struct login {
    const char *user, *password;
    bool rfc5389; /* ignores the nonce cookie: MD5, no PASSWORD-ALGORITHM */
    enum stun_password_algorithm algorithm;
    enum stun_integrity integrity;
    bool userhash, fingerprint;
    /* learnt */
    char realm[128];
    char nonce[128];
    uint8_t algorithms[64];
    size_t algorithms_len;
    uint8_t key[STUN_KEY_MAX];
    size_t key_len;
};

/* An RFC 5389 client, as all of today's are, that has asked once already. */
struct login login_old(struct fake_client *fc, const char *user, const char *password);
/* An RFC 8489 client with SHA-256 throughout. */
struct login login_new(struct fake_client *fc, const char *user, const char *password);
void login_learn(struct login *login, const struct stun_msg *challenge);

/* ---- requests ---- */

struct req {
    uint8_t buf[2048];
    struct stun_builder b;
    uint8_t txid[STUN_TXID_LEN];
    uint16_t method;
};

struct reply {
    bool any;          /* there was an answer */
    unsigned int code; /* 0: success */
    uint8_t buf[1024];
    size_t len;
    struct stun_msg msg;
};

void req_begin(struct req *r, uint16_t method);
/* Adds credentials (none with NULL), integrity and fingerprint. Return: the length. */
size_t req_end(struct req *r, const struct login *login);
/* Sends what is built already, once more if need be. */
void req_send(struct fake_client *fc, const struct req *r, struct reply *reply);
/* req_end(), req_send() and the checks. Return: the error code, 0 for success; fails the test
 * when there is no answer. */
unsigned int ask(struct fake_client *fc, struct req *r, const struct login *login,
                 struct reply *reply);
/* The last message to the client, decoded. */
void reply_read(struct fake_client *fc, struct reply *reply);
bool reply_is_authentic(const struct reply *reply, const struct login *login);

void req_put_u8(struct req *r, enum stun_attr attr, uint8_t value);
void req_put_peer(struct req *r, const char *peer);
/* An attribute as raw bytes, whatever the table says. */
void req_put_raw(struct req *r, uint16_t type, const void *value, size_t len);

/* The usual requests. Return: as ask(); `reply` may be NULL. */
void allocate_begin(struct req *r);
unsigned int ask_allocate(struct fake_client *fc, const struct login *login, struct reply *reply);
unsigned int ask_allocate_tcp(struct fake_client *fc, const struct login *login);
unsigned int ask_allocate_dual(struct fake_client *fc, const struct login *login);
unsigned int ask_refresh(struct fake_client *fc, const struct login *login, uint32_t lifetime_s,
                         struct reply *reply);
unsigned int ask_permission(struct fake_client *fc, const struct login *login, const char *peer);
unsigned int ask_channel(struct fake_client *fc, const struct login *login, unsigned int number,
                         const char *peer);
unsigned int ask_connect(struct fake_client *fc, const struct login *login, const char *peer,
                         struct reply *reply);
unsigned int ask_connection_bind(struct fake_client *fc, const struct login *login, uint32_t id,
                                 struct reply *reply);

/* ---- data ---- */

void give_send(struct fake_client *fc, const char *peer, const void *data, size_t len);
void give_channel_data(struct fake_client *fc, unsigned int number, const void *data, size_t len);

#define assert_addr_eq(a, text)                                                                    \
    do {                                                                                           \
        struct addr expected_ = at(text), actual_ = (a);                                           \
        char buf_[ADDR_STRLEN];                                                                    \
        ck_assert_msg(addr_equal(&actual_, &expected_), "%s is not %s",                            \
                      addr_format(&actual_, buf_, sizeof(buf_)), (text));                          \
    } while (0)

uint32_t reply_u32(const struct reply *reply, enum stun_attr attr);
/* The MOBILITY-TICKET, which must be there; longer and shorter ones are for tests to make. */
struct ticket {
    uint8_t bytes[64];
    size_t len;
};
struct ticket reply_ticket(const struct reply *reply);
struct addr reply_addr(const struct reply *reply, enum stun_attr attr);

/* Whether the IP's bytes are in the message, plain or XORed as STUN does. */
bool message_shows_ip(const uint8_t *data, size_t len, const struct addr *ip);
