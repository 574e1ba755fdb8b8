/*
 * relay/exit/upstream/txn.h - requests on their way, until an answer or the end of patience
 *
 * Over datagrams a request is sent again after 500 ms and then at doubling intervals,
 * seven times in all, and given up sixteen times 500 ms after the last (RFC 8489,
 * section 6.2.1: 39.5 s); over a stream it is sent once and given up after Ti, 39.5 s
 * (section 6.2.2). What is sent again is the same bytes, kept with the transaction.
 *
 * An answer belongs to the transaction with its id *and* method; any other is late, a
 * duplicate or made up. Ids come from the CSPRNG: who cannot see our packets cannot
 * answer them.
 *
 * While there is no way to the relay, the set may be parked: what is under way is not sent
 * again, and what is started is kept and not sent, until patience ends or the owner starts
 * it anew by another way.
 *
 * Nothing is called back: the owner asks txn_match() for each answer and txn_tick()
 * when txn_due_ns() has come, and ends each transaction it is told of.
 *
 * Owner:   who embeds the set; the transactions are the set's.
 * Threads: the worker's.
 * Limits:  TXN_MAX at a time, and those that go ahead; one heap block for each, made when it
 * starts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/wire/stun.h"
#include "relay/exit/upstream/link.h"

#define TXN_RTO_NS     (500 * NS_PER_MS)
#define TXN_RC         7
#define TXN_RM         16
#define TXN_TIMEOUT_NS (39500 * NS_PER_MS) /* over datagrams Rc and Rm amount to Ti */
#define TXN_MAX        128
#define TXN_NEVER      UINT64_MAX

struct txn {
    struct list link; /* txn_set.txns, oldest first */
    uint8_t txid[STUN_TXID_LEN];
    uint16_t method;
    uint16_t n_sent;
    uint64_t first_ns; /* when it was sent first */
    uint64_t last_ns;  /* and when last */
    uint64_t next_ns;  /* when it is sent again; TXN_NEVER: not */
    uint64_t rto_ns;   /* the wait before that */
    uint64_t end_ns;   /* when patience ends */
    /* The owner's, not looked at here. */
    const void *kind;
    void *subject;
    bool is_parked;   /* never sent, or sent by a way that is gone */
    bool is_signed;   /* it carried credentials */
    bool superseded;  /* a newer one asks for the same; only a good answer is of interest */
    bool is_answered; /* believed or not yet, it still waits for a better answer */
    uint8_t n_stale, n_unauthorized; /* challenges in a row that led to this one */
    unsigned int doubt;              /* an error code that came without proof; 0: none */
    size_t len;
    uint8_t msg[];
};

struct txn_set {
    struct list txns;
    unsigned int n;
    struct link *link;
    bool is_parked;
};

/* Binds the set to a link, which is borrowed. */
void txn_set_init(struct txn_set *set, struct link *link);
/* Forgets all of them. */
void txn_set_deinit(struct txn_set *set);

/* A fresh transaction id. Return: 0, or -EIO when there is no randomness. */
int txn_id(uint8_t ret_txid[STUN_TXID_LEN]);

/* Sends a finished request (not in a parked set) and keeps it for `patience_ns` (0:
 * TXN_TIMEOUT_NS), counted from now. Return: NULL when TXN_MAX are under way or memory is short;
 * nothing was sent. */
struct txn *txn_start(struct txn_set *set, const uint8_t *msg, size_t len, uint64_t patience_ns,
                      uint64_t now_ns);
/* The same ahead of whatever is parked, and however many those are: it is what they wait for. */
struct txn *txn_start_ahead(struct txn_set *set, const uint8_t *msg, size_t len,
                            uint64_t patience_ns, uint64_t now_ns);
/* Removes and frees it. */
void txn_end(struct txn_set *set, struct txn *t);
/* Ends all that concern `subject`. */
void txn_end_subject(struct txn_set *set, const void *subject);

/* Parks the set, and all that is in it. */
void txn_park(struct txn_set *set);
/* What is started from now on is sent. What is parked stays so: it was made for a way that is gone.
 */
void txn_unpark(struct txn_set *set);
/* One that is parked, or NULL. */
struct txn *txn_find_parked(const struct txn_set *set);

/* The transaction that a success or error answers, or NULL. */
struct txn *txn_match(const struct txn_set *set, const struct stun_msg *msg);

/* An answer came that cannot be believed: nothing is sent again, and a real answer has `grace_ns`
 * more to arrive. */
void txn_doubt(struct txn *t, uint64_t grace_ns, uint64_t now_ns);

/* Sends again what is due. Return: one whose patience has ended (still in the set: end it, and
 * call again), or NULL. */
struct txn *txn_tick(struct txn_set *set, uint64_t now_ns);
/* When something is due next; TXN_NEVER: nothing. */
uint64_t txn_due_ns(const struct txn_set *set);

/* The round trip an answer at `now_ns` shows. Return: 0 when the request was sent more than once:
 * nobody knows which of them was answered (RFC 6298, section 3, Karn's algorithm). */
uint64_t txn_rtt_ns(const struct txn *t, uint64_t now_ns);
/* How often it, or its answer, was lost before the one that came at `now_ns`: as often as it was
 * sent again, unless that was in vain. Where the usual round trip (`rtt_ns`) is within reach of the
 * wait, an answer shows that which comes sooner after the last time than half of it. */
unsigned int txn_n_lost(const struct txn *t, uint64_t rtt_ns, uint64_t now_ns);
