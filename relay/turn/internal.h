/*
 * relay/turn/internal.h - what the files of turn/ share; for them only
 */
#pragma once

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/wire/stun.h"
#include "relay/turn/replay.h"
#include "relay/turn/turn.h"

struct turn {
    struct turn_params params;
    const struct conf *conf;
    const struct auth *auth;
    struct replay *replay;
    struct list allocs;
    struct list refused;       /* data connections about to close, tcp.c */
    struct hash_table tickets; /* struct mobility_ticket */
    struct client nobody;      /* mobility.h */
    size_t n_allocs;
    uint64_t next_id;
    uint64_t now_ns; /* of the message being handled: for on_open(), which may come within it */
    bool draining;
};

/* What an answer needs to know of its request, when the request itself is gone. */
struct answer {
    uint16_t method;
    uint8_t txid[STUN_TXID_LEN];
    bool fingerprint;
    enum stun_integrity integrity; /* NONE before the sender is known */
    uint8_t key[STUN_KEY_MAX];
    size_t key_len;
};

struct request {
    struct turn *turn;
    struct client *client;
    const struct stun_msg *msg;
    uint64_t now_ns;
    struct auth_who who;
    struct answer answer;
};

#define TURN_ANSWER_MAX 512 /* bytes; our largest answer is a dual-family Allocate success */

/* ---- answering (request.c) ---- */

/* A builder for the success answer; finish with answer_send(). */
void answer_begin(const struct answer *answer, struct stun_builder *b, uint8_t *buf);
/* Adds integrity and fingerprint, sends, and keeps the bytes for a retransmission if `keep`. */
void answer_send(struct turn *turn, struct client *client, const struct answer *answer,
                 struct stun_builder *b, bool keep, uint64_t now_ns);
/* An error answer to a sender that is known. */
void answer_error(struct turn *turn, struct client *client, const struct answer *answer,
                  unsigned int code);
/* With an ICMP attribute, laid out as in a Data indication (RFC 8656, section 18.13): type and code
 * by the peer's family. */
void answer_error_icmp(struct turn *turn, struct client *client, const struct answer *answer,
                       unsigned int code, uint8_t type, uint8_t icmp_code);
void request_fail(struct request *req, unsigned int code);
/* 420 with the given types. */
void request_fail_unknown(struct request *req, const uint16_t *types, size_t n);
/* A success answer without attributes. */
void request_succeed(struct request *req);

/* Whether the rate limit lets an answer out to a sender that has not authenticated. */
bool request_may_answer_stranger(struct request *req);

/* The allocation of the request's client if it is LIVE and the sender's own; else answers 437 or
 * 441 and returns NULL. */
struct alloc *request_alloc(struct request *req);

/* The address that an answer shows as the client's (hide-client-address). `relayed` may be NULL. */
struct addr turn_shown_address(const struct turn *turn, const struct client *client,
                               const struct addr *relayed);

/* ---- binding.c ---- */
void binding_on_request(struct request *req);

/* ---- forward.c ---- */
void forward_channel_data(struct turn *turn, struct client *client, const uint8_t *data, size_t len,
                          uint64_t now_ns);
void forward_send(struct turn *turn, struct client *client, const struct stun_msg *msg,
                  uint64_t now_ns);
void forward_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                         uint64_t now_ns);
void forward_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns);

/* ---- tcp.c ---- */
void tcp_on_connect(struct request *req);
void tcp_on_connection_bind(struct request *req);
void tcp_on_connected(void *user, uint32_t connect_id, enum exit_result result,
                      struct stream *stream);
void tcp_on_accepted(void *user, const struct addr *peer, struct stream *stream);
void tcp_end(struct alloc *alloc);
/* Ends the data connections that were refused and are about to close. */
void tcp_deinit(struct turn *turn);
void tcp_sweep(struct turn *turn, struct alloc *alloc, uint64_t now_ns);
