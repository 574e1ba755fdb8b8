/*
 * relay/turn/alloc.h - allocations: made, refreshed, ended
 *
 * An allocation is a client's 5-tuple, an association of the exit (one or two
 * relayed addresses) and what the client may do with it.
 *
 * States, moved by alloc.c only:
 *   OPENING  the exit was asked; the Allocate request waits in `answer`.
 *            Nothing is relayed. -> LIVE, or gone with an error answer.
 *   LIVE     everything works. -> gone: Refresh 0, expiry, client closed (unless it may move,
 *            mobility.h), its user taken off the list, shutdown.
 * An allocation that is gone has been freed; its client's `alloc` is NULL.
 *
 * Owner:   struct turn lists them. The client points here, and is kept (client.h)
 *          until the allocation ends, or moves to another.
 */
#pragma once

#include "common/base/list.h"
#include "relay/stats/flows.h"
#include "relay/turn/bucket.h"
#include "relay/turn/chan.h"
#include "relay/turn/internal.h"
#include "relay/turn/mobility.h"
#include "relay/turn/perm.h"

enum alloc_state {
    ALLOC_OPENING,
    ALLOC_LIVE,
};

struct alloc {
    struct turn *turn;
    struct client *client;
    struct mobility mobility;
    struct assoc *assoc;
    struct list link; /* turn->allocs */
    uint64_t id;
    uint64_t expires_v4_ns, expires_v6_ns; /* of the relayed address of each family */
    uint64_t last_icmp_ns; /* ICMP reports are rate-limited (RFC 8656, section 11.5) */
    enum alloc_state state;
    bool tcp;    /* RFC 6062 */
    bool mobile; /* a ticket was asked for */
    struct addr relayed_v4, relayed_v6;
    struct quota_charge charge;
    struct perm_set perms;
    struct chan_set chans;
    struct bucket up, down;
    struct flow_count count;
    uint64_t made_ns;
    struct list admissions; /* requests that wait for the exit's word, admission.c */
    unsigned int n_admissions;
    struct list conns; /* struct conn of tcp.c */
    unsigned int n_conns;
    struct answer *answer; /* of the Allocate request, while OPENING */
    uint32_t lifetime_s;   /* granted by Allocate, until it is answered */
    char *user;            /* the name that made it; only this one may touch it (441) */
    size_t user_len;
    bool user_listed; /* by the configuration, which may stop doing so */
};

/* Request handlers, called by request.c once the sender is known. */
void alloc_on_allocate(struct request *req);
void alloc_on_refresh(struct request *req);

/* Ends an allocation: association, connections, charge, memory. */
void alloc_free(struct alloc *alloc);

/* `client`, which is kept, takes the place of the one there was, which is released. */
void alloc_set_client(struct alloc *alloc, struct client *client);

/* Ends what has expired. Return: true when the whole allocation is gone. */
bool alloc_expire(struct alloc *alloc, uint64_t now_ns);

/* Whether it belongs to a listed user whom the configuration does not list any more. */
bool alloc_is_revoked(const struct alloc *alloc);

/* Whether one of its relayed addresses is of this family (443 otherwise). */
bool alloc_has_family(const struct alloc *alloc, uint8_t family);
bool alloc_is_users(const struct alloc *alloc, const struct auth_who *who);

/* ---- admission.c ---- */

/* Whether the peer may be given a permission, a channel or a connection: 0, 443, 403 or 508; or
 * ADMISSION_PENDING, and admission_on_permitted() will be called. */
#define ADMISSION_PENDING 1
unsigned int admission_check(struct alloc *alloc, const struct addr *peer);
void admission_on_permitted(void *user, const struct addr *peer, enum exit_result result);
/* Those that waited too long are forgotten, or all of them. */
void admission_sweep(struct alloc *alloc, uint64_t now_ns);
void admission_deinit(struct alloc *alloc);
void admission_on_create_permission(struct request *req);
void admission_on_channel_bind(struct request *req);
