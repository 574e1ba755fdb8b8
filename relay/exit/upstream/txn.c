#include "relay/exit/upstream/txn.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

void txn_set_init(struct txn_set *set, struct link *link)
{
    list_init(&set->txns);
    set->n = 0;
    set->link = link;
    set->is_parked = false;
}

void txn_set_deinit(struct txn_set *set)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &set->txns)
        txn_end(set, list_entry(it, struct txn, link));
}

int txn_id(uint8_t ret_txid[STUN_TXID_LEN])
{
    return RAND_bytes(ret_txid, STUN_TXID_LEN) == 1 ? 0 : -EIO;
}

/* A datagram link may refuse a message for the moment (a full queue), which is one more way to lose
 * it; and a stream that refuses one is ending, of which its events tell. */
static void txn_send(const struct txn_set *set, struct txn *t, uint64_t now_ns)
{
    (void)link_send_copy(set->link, t->msg, t->len);
    t->n_sent++;
    t->last_ns = now_ns;
    t->next_ns = TXN_NEVER;
    if (link_kind_is_stream(link_kind(set->link)) || t->n_sent >= TXN_RC)
        return;
    t->next_ns = now_ns + t->rto_ns;
    t->rto_ns *= 2;
}

static struct txn *txn_add(struct txn_set *set, const uint8_t *msg, size_t len,
                           uint64_t patience_ns, uint64_t now_ns)
{
    struct stun_msg decoded;
    struct txn *t;

    if (stun_decode(&decoded, msg, len) != 0)
        return NULL;
    t = calloc(1, sizeof(*t) + len);
    if (!t)
        return NULL;
    memcpy(t->txid, decoded.txid, STUN_TXID_LEN);
    t->method = decoded.method;
    t->first_ns = now_ns;
    t->next_ns = TXN_NEVER;
    t->rto_ns = TXN_RTO_NS;
    t->end_ns = now_ns + (patience_ns > 0 ? patience_ns : TXN_TIMEOUT_NS);
    t->len = len;
    memcpy(t->msg, msg, len);
    list_append(&set->txns, &t->link);
    set->n++;
    return t;
}

struct txn *txn_start(struct txn_set *set, const uint8_t *msg, size_t len, uint64_t patience_ns,
                      uint64_t now_ns)
{
    struct txn *t = set->n < TXN_MAX ? txn_add(set, msg, len, patience_ns, now_ns) : NULL;

    if (!t)
        return NULL;
    t->is_parked = set->is_parked;
    if (!t->is_parked)
        txn_send(set, t, now_ns);
    return t;
}

struct txn *txn_start_ahead(struct txn_set *set, const uint8_t *msg, size_t len,
                            uint64_t patience_ns, uint64_t now_ns)
{
    struct txn *t = txn_add(set, msg, len, patience_ns, now_ns);

    if (t)
        txn_send(set, t, now_ns);
    return t;
}

void txn_end(struct txn_set *set, struct txn *t)
{
    list_remove(&t->link);
    set->n--;
    free(t);
}

void txn_end_subject(struct txn_set *set, const void *subject)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &set->txns) {
        struct txn *t = list_entry(it, struct txn, link);

        if (t->subject == subject)
            txn_end(set, t);
    }
}

void txn_park(struct txn_set *set)
{
    set->is_parked = true;
    for (struct list *it = set->txns.next; it != &set->txns; it = it->next) {
        struct txn *t = list_entry(it, struct txn, link);

        t->is_parked = true;
        t->next_ns = TXN_NEVER;
    }
}

void txn_unpark(struct txn_set *set)
{
    set->is_parked = false;
}

struct txn *txn_find_parked(const struct txn_set *set)
{
    for (struct list *it = set->txns.next; it != &set->txns; it = it->next) {
        struct txn *t = list_entry(it, struct txn, link);

        if (t->is_parked)
            return t;
    }
    return NULL;
}

struct txn *txn_match(const struct txn_set *set, const struct stun_msg *msg)
{
    if (msg->class != STUN_SUCCESS && msg->class != STUN_ERROR)
        return NULL;
    for (struct list *it = set->txns.next; it != &set->txns; it = it->next) {
        struct txn *t = list_entry(it, struct txn, link);

        if (t->method == msg->method && memcmp(t->txid, msg->txid, STUN_TXID_LEN) == 0)
            return t;
    }
    return NULL;
}

void txn_doubt(struct txn *t, uint64_t grace_ns, uint64_t now_ns)
{
    t->next_ns = TXN_NEVER;
    if (now_ns + grace_ns < t->end_ns)
        t->end_ns = now_ns + grace_ns;
}

struct txn *txn_tick(struct txn_set *set, uint64_t now_ns)
{
    for (struct list *it = set->txns.next; it != &set->txns; it = it->next) {
        struct txn *t = list_entry(it, struct txn, link);

        if (t->end_ns <= now_ns)
            return t;
        if (t->next_ns <= now_ns)
            txn_send(set, t, now_ns);
    }
    return NULL;
}

uint64_t txn_due_ns(const struct txn_set *set)
{
    uint64_t due = TXN_NEVER;

    for (struct list *it = set->txns.next; it != &set->txns; it = it->next) {
        const struct txn *t = list_entry(it, struct txn, link);

        if (t->end_ns < due)
            due = t->end_ns;
        if (t->next_ns < due)
            due = t->next_ns;
    }
    return due;
}

uint64_t txn_rtt_ns(const struct txn *t, uint64_t now_ns)
{
    return t->n_sent == 1 ? now_ns - t->first_ns : 0;
}

unsigned int txn_n_lost(const struct txn *t, uint64_t rtt_ns, uint64_t now_ns)
{
    unsigned int n_again = t->n_sent - 1u;
    bool in_vain = rtt_ns >= TXN_RTO_NS / 4 && now_ns - t->last_ns < rtt_ns / 2;

    return n_again > 0 && in_vain ? n_again - 1 : n_again;
}
