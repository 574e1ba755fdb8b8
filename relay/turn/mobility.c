#include "relay/turn/mobility.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/base/log.h"
#include "relay/turn/alloc.h"
#include "relay/turn/internal.h"

/* ---- tickets ---- */

static uint32_t ticket_first(const uint8_t *ticket)
{
    struct reader r = reader_make(ticket, sizeof(uint32_t));

    return reader_u32(&r);
}

static unsigned int ticket_worker(const struct turn *turn, const uint8_t *ticket)
{
    return ticket_first(ticket) % turn->params.n_workers;
}

static bool ticket_draw(const struct turn *turn, uint8_t ret[MOBILITY_TICKET_LEN])
{
    uint32_t first;

    if (RAND_bytes(ret, MOBILITY_TICKET_LEN) != 1)
        return false;
    first = ticket_first(ret) & 0x7FFFFFFF;
    put_u32(ret, first - first % turn->params.n_workers + turn->params.worker);
    return true;
}

static void ticket_forget(struct turn *turn, struct mobility_ticket *t)
{
    if (t->is_given)
        hash_remove(&turn->tickets, &t->node);
    t->is_given = false;
}

static void ticket_give(struct turn *turn, struct mobility_ticket *t, struct alloc *alloc,
                        const uint8_t bytes[MOBILITY_TICKET_LEN])
{
    ticket_forget(turn, t);
    memmove(t->bytes, bytes, MOBILITY_TICKET_LEN);
    t->alloc = alloc;
    t->is_given = true;
    hash_insert(&turn->tickets, &t->node, hash_bytes(t->bytes, MOBILITY_TICKET_LEN));
}

static bool ticket_is(const struct mobility_ticket *t, const uint8_t *bytes)
{
    return t->is_given && CRYPTO_memcmp(t->bytes, bytes, MOBILITY_TICKET_LEN) == 0;
}

static struct alloc *ticket_find(const struct turn *turn, const uint8_t *bytes)
{
    uint64_t hash = hash_bytes(bytes, MOBILITY_TICKET_LEN);

    for (struct hash_node *n = hash_first(&turn->tickets, hash); n; n = hash_next(n, hash)) {
        const struct mobility_ticket *t = hash_entry(n, struct mobility_ticket, node);

        if (ticket_is(t, bytes))
            return t->alloc;
    }
    return NULL;
}

/* The client has shown that it knows the next one. */
static void ticket_advance(struct alloc *alloc)
{
    struct mobility *m = &alloc->mobility;

    ticket_give(alloc->turn, &m->here, alloc, m->next.bytes);
    ticket_forget(alloc->turn, &m->next);
}

/* ---- Allocate ---- */

unsigned int mobility_read(const struct request *req, bool *ret)
{
    size_t len;

    *ret = stun_get(req->msg, STUN_MOBILITY_TICKET, &len) != NULL;
    if (!*ret)
        return 0;
    if (len > 0)
        return 400;
    return req->turn->conf->mobility ? 0 : 405;
}

void mobility_begin(struct alloc *alloc)
{
    uint8_t bytes[MOBILITY_TICKET_LEN];

    if (ticket_draw(alloc->turn, bytes))
        ticket_give(alloc->turn, &alloc->mobility.here, alloc, bytes);
}

void mobility_put(const struct alloc *alloc, struct stun_builder *b)
{
    const struct mobility *m = &alloc->mobility;
    const struct mobility_ticket *t = m->next.is_given ? &m->next : &m->here;

    if (t->is_given)
        stun_put(b, STUN_MOBILITY_TICKET, t->bytes, sizeof(t->bytes));
}

/* ---- Refresh from elsewhere ---- */

/* Return: whether the request is another worker's now. */
static bool mobility_pass_on(struct request *req, const uint8_t *ticket)
{
    const struct turn_params *p = &req->turn->params;
    unsigned int owner = ticket_worker(req->turn, ticket);

    return owner != p->worker && !req->client->alloc &&
           p->visit(p->arg, owner, req->client, req->msg->raw, req->msg->len);
}

struct alloc *mobility_find(struct request *req)
{
    struct alloc *own = req->client->alloc, *alloc;
    const uint8_t *ticket;
    size_t len;

    if (!req->turn->conf->mobility) {
        request_fail(req, 405);
        return NULL;
    }
    ticket = stun_get(req->msg, STUN_MOBILITY_TICKET, &len);
    if (len == MOBILITY_TICKET_LEN && mobility_pass_on(req, ticket))
        return NULL;
    alloc = len == MOBILITY_TICKET_LEN ? ticket_find(req->turn, ticket) : NULL;
    if (!alloc || (own && own != alloc)) {
        request_fail(req, 437);
        return NULL;
    }
    if (!alloc_is_users(alloc, &req->who)) {
        request_fail(req, 441);
        return NULL;
    }
    return alloc;
}

static void mobility_drop_pending(struct alloc *alloc)
{
    struct client *client = alloc->mobility.pending;

    alloc->mobility.pending = NULL;
    if (!client)
        return;
    client->alloc = NULL;
    client->ops->release(client);
}

struct client *mobility_move(struct alloc *alloc, struct request *req)
{
    struct turn *turn = alloc->turn;
    struct mobility *m = &alloc->mobility;
    struct client *client = req->client;
    uint8_t fresh[MOBILITY_TICKET_LEN];
    size_t len;
    const uint8_t *shown = stun_get(req->msg, STUN_MOBILITY_TICKET, &len);

    if (!ticket_draw(turn, fresh))
        return NULL;
    if (client->alloc != alloc) {
        client = client->ops->keep(client);
        if (!client)
            return NULL;
        mobility_drop_pending(alloc);
        m->pending = client;
        client->alloc = alloc;
        client->id = alloc->id;
    }
    if (ticket_is(&m->next, shown))
        ticket_advance(alloc);
    ticket_give(turn, &m->next, alloc, fresh);
    m->until_ns = req->now_ns + MOBILITY_PENDING_S * NS_PER_S;
    if (alloc->client == &turn->nobody)
        mobility_arrive(alloc);
    return client;
}

/* ---- the move ---- */

void mobility_arrive(struct alloc *alloc)
{
    struct mobility *m = &alloc->mobility;
    struct client *client = m->pending;

    m->pending = NULL;
    ticket_advance(alloc);
    alloc_set_client(alloc, client);
    counter_add(&alloc->turn->params.counters->allocations_moved, 1);
    log_debug("allocation %llu goes on over another connection", (unsigned long long)alloc->id);
}

bool mobility_on_closed(struct alloc *alloc, struct client *client, uint64_t now_ns)
{
    struct mobility *m = &alloc->mobility;

    if (client == m->pending) {
        mobility_drop_pending(alloc);
        return true;
    }
    if (!m->here.is_given || alloc->state != ALLOC_LIVE)
        return false;
    if (m->pending) {
        mobility_arrive(alloc);
        return true;
    }
    alloc_set_client(alloc, &alloc->turn->nobody);
    m->until_ns = now_ns + MOBILITY_NOWHERE_S * NS_PER_S;
    return true;
}

bool mobility_sweep(struct alloc *alloc, uint64_t now_ns)
{
    struct mobility *m = &alloc->mobility;

    if (now_ns < m->until_ns)
        return false;
    mobility_drop_pending(alloc);
    if (alloc->client != &alloc->turn->nobody)
        return false;
    alloc_free(alloc);
    return true;
}

void mobility_end(struct alloc *alloc)
{
    mobility_drop_pending(alloc);
    ticket_forget(alloc->turn, &alloc->mobility.here);
    ticket_forget(alloc->turn, &alloc->mobility.next);
}

/* ---- nobody ---- */

static void nobody_send(struct client *client, const void *header, size_t header_len,
                        const void *payload, size_t payload_len, size_t n_padding)
{
}

static void nobody_send_copy(struct client *client, const void *data, size_t len)
{
}

static void nobody_release(struct client *client)
{
}

const struct client_ops mobility_nobody_ops = {
    .send = nobody_send,
    .send_copy = nobody_send_copy,
    .release = nobody_release,
};
