#include "relay/roam.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "relay/turn/turn.h"

struct roam {
    struct roam_params params;
    struct hash_table visitors, guests;
    uint64_t next_id;
    struct list heard; /* letters whose bytes wait for the flush */
    bool is_closed;
};

/* What both sides know a visit by. */
struct visit_id {
    unsigned int worker; /* the visitor's */
    uint64_t number;
};

/* One side of it. */
struct visit {
    struct hash_node node; /* roam->visitors or roam->guests */
    struct visit_id id;
};

struct visitor {
    struct visit visit;
    unsigned int at; /* the worker with the allocation */
    struct client *client;
};

struct guest {
    struct client client;
    struct visit visit;
    struct roam *roam;
    bool is_heard; /* a message of its is being handled: its memory must outlive that */
    bool has_left; /* the other side knows */
};

/* One letter for all that is said between two workers. */
struct roam_letter {
    struct letter letter;
    struct roam *to;
    struct visit_id id;
    struct client like; /* of messages to a guest: the addresses and the transport */
    size_t len;
    uint8_t data[];
};

/* ---- visits ---- */

static uint64_t visit_hash(const struct visit_id *id)
{
    const uint64_t key[2] = {id->worker, id->number};

    return hash_bytes(key, sizeof(key));
}

static void visit_begin(struct hash_table *table, struct visit *visit, const struct visit_id *id)
{
    visit->id = *id;
    hash_insert(table, &visit->node, visit_hash(id));
}

static struct visit *visit_find(const struct hash_table *table, const struct visit_id *id)
{
    uint64_t hash = visit_hash(id);

    for (struct hash_node *n = hash_first(table, hash); n; n = hash_next(n, hash)) {
        struct visit *visit = hash_entry(n, struct visit, node);

        if (visit->id.worker == id->worker && visit->id.number == id->number)
            return visit;
    }
    return NULL;
}

/* ---- letters ---- */

static void roam_letter_free(struct letter *letter)
{
    free(letter);
}

static struct roam_letter *roam_letter_new(const struct roam *roam, unsigned int to,
                                           const struct visit_id *id,
                                           void (*deliver)(struct letter *letter), size_t len)
{
    struct roam_letter *l = calloc(1, sizeof(*l) + len);

    if (!l)
        return NULL;
    list_init(&l->letter.link);
    l->letter.deliver = deliver;
    l->letter.free = roam_letter_free;
    l->to = roam->params.all[to];
    l->id = *id;
    l->len = len;
    return l;
}

static struct roam_letter *roam_letter_of(struct letter *letter)
{
    return (struct roam_letter *)(void *)letter;
}

/* A message, which may be lost as any datagram may. */
static void roam_post_message(const struct roam *roam, struct roam_letter *l)
{
    if (!roam->is_closed && mailbox_post_at_most(l->to->params.mailbox, &l->letter, ROAM_QUEUE))
        return;
    counter_add(&roam->params.counters->drop_backlog, 1);
    free(l);
}

static void roam_post_end(const struct roam *roam, unsigned int to, const struct visit_id *id,
                          void (*deliver)(struct letter *letter))
{
    struct roam_letter *l = roam->is_closed ? NULL : roam_letter_new(roam, to, id, deliver, 0);

    /* Without memory the other side keeps its half until the allocation, or the flow, ends. */
    if (l)
        mailbox_post(l->to->params.mailbox, &l->letter);
}

/* ---- where the client is ---- */

static struct visitor *visitor_find(const struct roam *roam, const struct visit_id *id)
{
    struct visit *visit = visit_find(&roam->visitors, id);

    return visit ? hash_entry(visit, struct visitor, visit) : NULL;
}

static void visitor_free(struct roam *roam, struct visitor *v)
{
    struct client *client = v->client;

    hash_remove(&roam->visitors, &v->visit.node);
    free(v);
    client->away = NULL;
    client->ops->release(client);
}

static struct visitor *visitor_new(struct roam *roam, unsigned int to, struct client *client)
{
    struct visitor *v = calloc(1, sizeof(*v));
    struct client *kept = v ? client->ops->keep(client) : NULL;
    struct visit_id id;

    if (!kept) {
        free(v);
        return NULL;
    }
    v->at = to;
    v->client = kept;
    kept->away = v;
    id = (struct visit_id){.worker = roam->params.worker, .number = ++roam->next_id};
    visit_begin(&roam->visitors, &v->visit, &id);
    return v;
}

static void guest_on_message(struct letter *letter);
static void guest_on_left(struct letter *letter);

bool roam_visit(struct roam *roam, unsigned int to, struct client *client, const uint8_t *data,
                size_t len)
{
    struct visitor *v = client->away;
    bool is_first = !v;
    struct roam_letter *l;

    if (roam->is_closed)
        return false;
    if (!v)
        v = visitor_new(roam, to, client);
    if (!v)
        return false;
    l = roam_letter_new(roam, v->at, &v->visit.id, guest_on_message, len);
    if (!l) {
        if (is_first)
            visitor_free(roam, v);
        return false;
    }
    l->like = (struct client){
        .remote = v->client->remote, .local = v->client->local, .transport = v->client->transport};
    memcpy(l->data, data, len);
    if (is_first)
        mailbox_post(l->to->params.mailbox, &l->letter);
    else
        roam_post_message(roam, l);
    return true;
}

void roam_leave(struct roam *roam, struct client *client)
{
    struct visitor *v = client->away;
    const struct visit_id id = v->visit.id;
    unsigned int at = v->at;

    visitor_free(roam, v);
    roam_post_end(roam, at, &id, guest_on_left);
}

static void visitor_on_message(struct letter *letter)
{
    struct roam_letter *l = roam_letter_of(letter);
    struct visitor *v = visitor_find(l->to, &l->id);

    if (v)
        v->client->ops->send_copy(v->client, l->data, l->len);
    free(l);
}

static void visitor_on_end(struct letter *letter)
{
    struct roam_letter *l = roam_letter_of(letter);
    struct visitor *v = visitor_find(l->to, &l->id);

    if (v)
        visitor_free(l->to, v);
    free(l);
}

/* ---- where its allocation is ---- */

static struct guest *guest_of(struct client *client)
{
    return (struct guest *)(void *)client;
}

static struct guest *guest_find(const struct roam *roam, const struct visit_id *id)
{
    struct visit *visit = visit_find(&roam->guests, id);

    return visit ? hash_entry(visit, struct guest, visit) : NULL;
}

static void guest_free(struct guest *g)
{
    if (!g->has_left)
        roam_post_end(g->roam, g->visit.id.worker, &g->visit.id, visitor_on_end);
    hash_remove(&g->roam->guests, &g->visit.node);
    free(g);
}

static void guest_send(struct client *client, const void *header, size_t header_len,
                       const void *payload, size_t payload_len, size_t n_padding)
{
    struct guest *g = guest_of(client);
    struct roam_letter *l;

    if (g->has_left)
        return;
    l = roam_letter_new(g->roam, g->visit.id.worker, &g->visit.id, visitor_on_message,
                        header_len + payload_len + n_padding);
    if (!l) {
        counter_add(&g->roam->params.counters->drop_send, 1);
        return;
    }
    memcpy(l->data, header, header_len);
    if (payload_len > 0)
        memcpy(l->data + header_len, payload, payload_len);
    roam_post_message(g->roam, l);
}

static void guest_send_copy(struct client *client, const void *data, size_t len)
{
    guest_send(client, data, len, NULL, 0, 0);
}

static struct client *guest_keep(struct client *client)
{
    return client;
}

static void guest_release(struct client *client)
{
    struct guest *g = guest_of(client);

    if (!g->is_heard)
        guest_free(g);
}

/* Its byte stream is another thread's. */
static struct stream *guest_take_stream(struct client *client)
{
    return NULL;
}

static const struct client_ops guest_ops = {
    .send = guest_send,
    .send_copy = guest_send_copy,
    .keep = guest_keep,
    .release = guest_release,
    .take_stream = guest_take_stream,
};

static struct guest *guest_new(struct roam *roam, const struct roam_letter *l)
{
    struct guest *g = calloc(1, sizeof(*g));

    if (!g)
        return NULL;
    g->roam = roam;
    g->client = l->like;
    g->client.ops = &guest_ops;
    visit_begin(&roam->guests, &g->visit, &l->id);
    return g;
}

/* Out of a message or an end of its: what it has no allocation for, it has no business here. */
static void guest_done(struct guest *g)
{
    g->is_heard = false;
    if (!g->client.alloc)
        guest_free(g);
}

static void guest_on_message(struct letter *letter)
{
    struct roam_letter *l = roam_letter_of(letter);
    struct roam *roam = l->to;
    struct guest *g = guest_find(roam, &l->id);

    /* One that comes after the end of its visit is a guest without an allocation, and not for long.
     */
    if (!g)
        g = guest_new(roam, l);
    if (!g) {
        roam_post_end(roam, l->id.worker, &l->id, visitor_on_end);
        free(l);
        return;
    }
    list_append(&roam->heard, &l->letter.link);
    g->is_heard = true;
    (void)turn_on_message(roam->params.turn, &g->client, l->data, l->len, clock_now_ns());
    guest_done(g);
}

static void guest_on_left(struct letter *letter)
{
    struct roam_letter *l = roam_letter_of(letter);
    struct guest *g = guest_find(l->to, &l->id);

    free(l);
    if (!g)
        return;
    g->has_left = true;
    g->is_heard = true;
    turn_on_closed(g->roam->params.turn, &g->client);
    guest_done(g);
}

void roam_flushed(struct roam *roam)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &roam->heard) {
        list_remove(it);
        free(roam_letter_of(list_entry(it, struct letter, link)));
    }
}

/* ---- life ---- */

struct roam *roam_new(const struct roam_params *params)
{
    struct roam *roam = calloc(1, sizeof(*roam));

    if (!roam)
        return NULL;
    roam->params = *params;
    list_init(&roam->heard);
    if (hash_init(&roam->visitors, 16) < 0 || hash_init(&roam->guests, 16) < 0) {
        roam_free(roam);
        return NULL;
    }
    params->all[params->worker] = roam;
    return roam;
}

void roam_close(struct roam *roam)
{
    if (roam)
        roam->is_closed = true;
}

void roam_free(struct roam *roam)
{
    if (!roam)
        return;
    roam_close(roam);
    roam_flushed(roam);
    for (size_t i = 0; i < roam->visitors.n_buckets; i++)
        while (roam->visitors.buckets[i])
            visitor_free(roam, hash_entry(roam->visitors.buckets[i], struct visitor, visit.node));
    hash_deinit(&roam->visitors);
    hash_deinit(&roam->guests);
    free(roam);
}

size_t roam_n_visitors(const struct roam *roam)
{
    return roam->visitors.n_entries;
}

size_t roam_n_guests(const struct roam *roam)
{
    return roam->guests.n_entries;
}
