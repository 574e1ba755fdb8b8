#include "tests/support/upstream_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/batch.h"
#include "common/net/stream.h"
#include "common/net/tls_client.h"

/* ---- the symbols of common/net/tls_client.h that the exit itself uses ---- */

struct tls_client {
    int nothing;
};

int tls_client_new(const char *ca_file, struct tls_client **ret, char *ret_error, size_t error_len)
{
    if (ca_file && strcmp(ca_file, WORLD_BAD_CA) == 0) {
        snprintf(ret_error, error_len, "cannot read it");
        return -1;
    }
    *ret = calloc(1, sizeof(**ret));
    return 0;
}

void tls_client_free(struct tls_client *t)
{
    free(t);
}

/* ---- the relays ---- */

struct fake_server *world_server(struct upstream_world *w, const char *addr)
{
    struct fake_server *server;
    struct addr a = at(addr);

    for (size_t i = 0; i < w->n_servers; i++)
        if (addr_equal(&w->servers[i].addr, &a))
            return &w->servers[i];
    ck_assert_uint_lt(w->n_servers, WORLD_SERVERS);
    server = &w->servers[w->n_servers++];
    *server = (struct fake_server){.addr = a, .password = "wonderland"};
    return server;
}

static struct world_link *link_new_of(struct upstream_world *w, struct fake_wire *wire)
{
    struct world_link *l = calloc(1, sizeof(*l));
    char text[ADDR_STRLEN];

    ck_assert_ptr_nonnull(l);
    l->wire = wire;
    l->server = world_server(w, addr_format(&wire->server, text, sizeof(text)));
    l->server->n_links++;
    if (wire->kind == LINK_DTLS || wire->kind == LINK_TLS)
        wire->certificate_end_s = l->server->certificate_end_s;
    fake_relay_init(&l->relay, wire);
    l->relay.password = l->server->password;
    l->relay.v4_only = l->server->v4_only;
    l->relay.mobile = l->server->mobile;
    list_append(&w->links, &l->link);
    return l;
}

/* Wires are listed youngest first. */
static void find_new_wires(struct upstream_world *w, struct fake_wire *wire)
{
    if (!wire || wire == w->last_wire)
        return;
    find_new_wires(w, wire->next);
    link_new_of(w, wire);
    w->last_wire = wire;
}

static struct world_connection *connection_find(struct upstream_world *w, uint32_t id)
{
    for (struct list *it = w->connections.next; it != &w->connections; it = it->next) {
        struct world_connection *c = list_entry(it, struct world_connection, link);

        if (c->id == id)
            return c;
    }
    return NULL;
}

static struct world_connection *connection_add(struct upstream_world *w, struct world_link *control,
                                               const struct addr *peer)
{
    struct world_connection *c = calloc(1, sizeof(*c));

    ck_assert_ptr_nonnull(c);
    c->id = ++w->last_connection_id;
    c->control = control;
    c->peer = *peer;
    list_append(&w->connections, &c->link);
    return c;
}

static void note_doubled(struct upstream_world *w, struct world_link *control,
                         const struct addr *peer)
{
    for (struct list *it = w->connections.next; it != &w->connections; it = it->next) {
        const struct world_connection *c = list_entry(it, struct world_connection, link);

        if (c->control == control && addr_equal(&c->peer, peer) && c->far && !c->far->freed)
            control->server->n_doubled++;
    }
}

static void answer_error(struct world_link *l, const struct fake_request *req, unsigned int code)
{
    struct fake_relay *r = &l->relay;

    if (l->server->on_error)
        l->server->on_error(l->server);
    fake_relay_begin(r, req, STUN_ERROR);
    stun_put_error(&r->b, code);
    if (code == 300)
        stun_put_addr(&r->b, STUN_ALTERNATE_SERVER, &l->server->alternate);
    fake_relay_end(r);
}

static void allocate(struct world_link *l, const struct fake_request *req)
{
    l->allocated = true;
    fake_relay_allocated(&l->relay, req);
}

static void answer_allocate(struct world_link *l, const struct fake_request *req)
{
    uint8_t family = 0;
    bool v6 = stun_get_u8(&req->msg, STUN_REQUESTED_ADDRESS_FAMILY, &family) && family == 2;

    if (v6 && l->server->no_v6)
        answer_error(l, req, 440);
    else if (l->server->forbids_mobility && stun_has(&req->msg, STUN_MOBILITY_TICKET))
        answer_error(l, req, 405);
    else
        allocate(l, req);
    l->dies = l->server->takes_back;
}

/* The link on which the allocation of a ticket is, or NULL. */
static struct world_link *find_ticket(struct upstream_world *w, const struct fake_server *server,
                                      const struct stun_msg *msg)
{
    size_t len = 0;
    const uint8_t *ticket = stun_get(msg, STUN_MOBILITY_TICKET, &len);

    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        if (l->server == server && l->allocated && len == strlen(l->relay.ticket) &&
            memcmp(l->relay.ticket, ticket, len) == 0)
            return l;
    }
    return NULL;
}

static void answer_move(struct upstream_world *w, struct world_link *l,
                        const struct fake_request *req)
{
    struct world_link *from = find_ticket(w, l->server, &req->msg);

    if (!from || l->allocated) {
        answer_error(l, req, 437);
        return;
    }
    from->allocated = false;
    l->allocated = true;
    l->server->n_moved++;
    fake_relay_moved(&l->relay, req);
}

static bool is_strange(const struct world_link *l, const struct stun_msg *msg)
{
    return l->server->mobile && !l->allocated && !stun_has(msg, STUN_MOBILITY_TICKET) &&
           (msg->method == STUN_REFRESH || msg->method == STUN_CREATE_PERMISSION ||
            msg->method == STUN_CHANNEL_BIND);
}

static void answer_refresh(struct world_link *l, const struct fake_request *req)
{
    uint32_t lifetime_s = l->relay.lifetime_s;

    (void)stun_get_u32(&req->msg, STUN_LIFETIME, &lifetime_s);
    l->server->n_deleted += lifetime_s == 0;
    fake_relay_refreshed(&l->relay, req, lifetime_s);
}

static void answer_connect(struct upstream_world *w, struct world_link *l,
                           const struct fake_request *req)
{
    struct addr peer;

    ck_assert(stun_get_peer(&req->msg, 0, &peer));
    note_doubled(w, l, &peer);
    fake_relay_connected(&l->relay, req, connection_add(w, l, &peer)->id);
}

static void answer_bind(struct upstream_world *w, struct world_link *l,
                        const struct fake_request *req)
{
    struct world_connection *c;
    uint32_t id = 0;

    ck_assert(stun_get_u32(&req->msg, STUN_CONNECTION_ID, &id));
    c = connection_find(w, id);
    if (!c || c->far || c->control->closed || !c->control->wire->link) {
        answer_error(l, req, 400);
        return;
    }
    fake_relay_success(&l->relay, req);
    c->far = l->wire->far;
}

static void answer(struct upstream_world *w, struct world_link *l, const struct fake_request *req)
{
    const struct server_rule *rule = &l->server->rules[req->msg.method];

    l->server->n_strange += is_strange(l, &req->msg);
    if (rule->code != 0)
        answer_error(l, req, rule->code);
    else if (is_strange(l, &req->msg))
        answer_error(l, req, 437);
    else if (req->msg.method == STUN_ALLOCATE)
        answer_allocate(l, req);
    else if (req->msg.method == STUN_REFRESH && stun_has(&req->msg, STUN_MOBILITY_TICKET))
        answer_move(w, l, req);
    else if (req->msg.method == STUN_REFRESH)
        answer_refresh(l, req);
    else if (req->msg.method == STUN_CONNECT)
        answer_connect(w, l, req);
    else if (req->msg.method == STUN_CONNECTION_BIND)
        answer_bind(w, l, req);
    else
        fake_relay_success(&l->relay, req);
}

static bool proves_password(const struct world_link *l, const struct fake_request *req)
{
    uint8_t key[STUN_KEY_MAX];
    size_t key_len = stun_long_term_key(STUN_PASSWORD_SHA256, l->relay.user, l->relay.realm,
                                        l->relay.password, key);

    return stun_check_integrity(&req->msg, STUN_INTEGRITY_SHA256, key, key_len);
}

static bool is_held(const struct fake_server *server, const struct stun_msg *msg)
{
    return server->rules[msg->method].hold || (server->hold_even && stun_has(msg, STUN_EVEN_PORT));
}

static void on_request(struct upstream_world *w, struct world_link *l, struct world_held *h)
{
    struct fake_request *req = &h->req;

    ck_assert_uint_lt(req->msg.method, WORLD_METHODS);
    req->is_signed = stun_has(&req->msg, STUN_MESSAGE_INTEGRITY_SHA256);
    if (req->msg.method == STUN_BINDING) {
        l->server->n_asked[STUN_BINDING]++;
        if (!l->server->rules[STUN_BINDING].hold)
            fake_relay_success(&l->relay, req);
    } else if (!req->is_signed || !proves_password(l, req)) {
        fake_relay_challenge(&l->relay, req, 401);
    } else {
        l->server->n_asked[req->msg.method]++;
        if (is_held(l->server, &req->msg)) {
            list_append(&w->held, &h->link);
            return;
        }
        answer(w, l, req);
    }
    free(h);
}

/* Return: whether there was a message to read. */
static bool serve_one(struct upstream_world *w, struct world_link *l)
{
    const struct fake_sent *sent = fake_wire_read(l->wire);
    struct world_held *h;

    if (!sent)
        return false;
    if (wire_kind_of(sent->data[0]) != WIRE_STUN)
        return true;
    h = calloc(1, sizeof(*h));
    ck_assert(h && sent->len <= sizeof(h->req.buf));
    list_init(&h->link);
    h->to = l;
    h->req.len = sent->len;
    memcpy(h->req.buf, sent->data, sent->len);
    ck_assert_int_eq(stun_decode(&h->req.msg, h->req.buf, h->req.len), 0);
    if (h->req.msg.class == STUN_REQUEST)
        on_request(w, l, h);
    else
        free(h);
    return true;
}

static void link_drop(struct world_link *l)
{
    if (l->closed || !l->wire->link || l->wire->far)
        return;
    l->closed = true;
    fake_wire_close(l->wire, -ECONNRESET, "connection reset");
}

static bool serve_link(struct upstream_world *w, struct world_link *l)
{
    struct fake_server *server = l->server;
    bool busy = l->dies;

    if (l->dies)
        link_drop(l);
    l->dies = false;

    if (!l->opened && !l->closed && l->wire->link && server->refuses != 0) {
        l->closed = true;
        fake_wire_close(l->wire, server->refuses, server->why);
        return true;
    }
    if (!l->opened && !l->closed && l->wire->link && !server->deaf) {
        l->opened = busy = true;
        fake_wire_open(l->wire);
    }
    while (serve_one(w, l))
        busy = true;
    return busy;
}

static bool serve_all(struct upstream_world *w)
{
    bool busy = false;

    find_new_wires(w, fake_wire_last());
    for (struct list *it = w->links.next; it != &w->links; it = it->next)
        busy = serve_link(w, list_entry(it, struct world_link, link)) || busy;
    return busy;
}

void world_answer_held(struct upstream_world *w, enum stun_method method)
{
    struct list *it, *tmp, now;

    list_init(&now);
    list_for_each_safe (it, tmp, &w->held) {
        if (list_entry(it, struct world_held, link)->req.msg.method != method)
            continue;
        list_remove(it);
        list_append(&now, it);
    }
    while (!list_empty(&now)) {
        struct world_held *h = list_entry(now.next, struct world_held, link);

        list_remove(&h->link);
        answer(w, h->to, &h->req);
        free(h);
    }
    world_settle(w);
}

unsigned int world_n_held(const struct upstream_world *w, enum stun_method method)
{
    unsigned int n = 0;

    for (struct list *it = w->held.next; it != &w->held; it = it->next)
        n += list_entry(it, struct world_held, link)->req.msg.method == method;
    return n;
}

void world_drop(struct upstream_world *w, struct fake_server *server)
{
    find_new_wires(w, fake_wire_last());
    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        if (l->server == server)
            link_drop(l);
    }
}

void world_forget(struct upstream_world *w, const struct fake_server *server)
{
    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        l->allocated = l->allocated && l->server != server;
    }
}

void world_drop_control(struct upstream_world *w, const char *peer)
{
    struct addr a = at(peer);

    for (struct list *it = w->connections.next; it != &w->connections; it = it->next) {
        struct world_connection *c = list_entry(it, struct world_connection, link);

        if (addr_equal(&c->peer, &a))
            link_drop(c->control);
    }
    world_settle(w);
}

void world_attempt(struct upstream_world *w, struct world_link *control, const char *peer)
{
    struct addr a = at(peer);

    fake_relay_attempt(&control->relay, peer, connection_add(w, control, &a)->id);
}

unsigned int world_n_open(const struct upstream_world *w, const struct fake_server *server)
{
    unsigned int n = 0;

    for (struct list *it = w->links.next; it != &w->links; it = it->next) {
        const struct world_link *l = list_entry(it, struct world_link, link);

        n += l->server == server && l->wire->link != NULL;
    }
    return n;
}

struct world_link *world_last_link(struct upstream_world *w)
{
    ck_assert(!list_empty(&w->links));
    return list_entry(w->links.prev, struct world_link, link);
}

/* ---- time ---- */

static bool world_turn(struct upstream_world *w)
{
    bool busy;

    event_del(&w->x->ticker); /* real time must not come in */
    event_base_loop(w->base, EVLOOP_NONBLOCK);
    busy = fake_resolver_turn();
    busy = serve_all(w) || busy;
    fake_streams_turn();
    if (w->x->due_ns <= fake_now_ns) {
        upstream_tick(w->x, fake_now_ns);
        busy = true;
    }
    return busy || evtimer_pending(&w->x->pump, NULL);
}

void world_settle(struct upstream_world *w)
{
    unsigned int n = 0;

    while (world_turn(w))
        ck_assert_msg(++n < 2000, "the exit is never content");
}

void world_pass_ms(struct upstream_world *w, uint64_t ms)
{
    uint64_t end_ns = fake_now_ns + ms * NS_PER_MS;

    world_settle(w);
    while (fake_now_ns < end_ns) {
        fake_now_ns = w->x->due_ns < end_ns ? w->x->due_ns : end_ns;
        world_settle(w);
    }
}

/* ---- life ---- */

static void on_state(void *arg)
{
    ((struct upstream_world *)arg)->n_states++;
}

static void conf_init(struct upstream_world *w, unsigned int i)
{
    static char user[] = "alice", password[] = "wonderland";

    w->conf[i] = (struct conf){
        .url = w->urls[i],
        .upstream_user = user,
        .upstream_password = password,
        .dns = &w->dns,
        .n_dns = 1,
    };
}

struct upstream_world *world_new(unsigned int ready)
{
    struct upstream_world *w = calloc(1, sizeof(*w));
    struct upstream_params params = {
        .n_ready_sessions = ready,
        .n_ready_trunks = ready,
        .n_ready_links = ready,
        .on_state = on_state,
        .arg = w,
    };

    ck_assert_ptr_nonnull(w);
    fake_resolver_reset();
    fake_link_error = 0;
    w->dns = at("192.0.2.53:53");
    list_init(&w->links);
    list_init(&w->connections);
    list_init(&w->held);
    list_init(&w->assocs);
    list_init(&w->dials);
    conf_init(w, 0);
    conf_init(w, 1);
    params.base = w->base = event_base_new();
    params.tx = w->tx = tx_queue_new(NULL);
    params.counters = &w->counters;
    w->exit = upstream_exit_new(&params);
    ck_assert_ptr_nonnull(w->exit);
    w->x = upstream_of(w->exit);
    return w;
}

void world_url(struct upstream_world *w, unsigned int conf, const char *host, unsigned int protocol)
{
    struct conf *c = &w->conf[conf];

    ck_assert_uint_lt(c->n_url, WORLD_URLS);
    w->urls[conf][c->n_url++] =
        (struct conf_url){.host = (char *)(uintptr_t)host, .port = 3478, .protocol = protocol};
}

void world_go(struct upstream_world *w, unsigned int conf)
{
    ck_assert_int_eq(upstream_exit_set_conf(w->exit, &w->conf[conf]), 0);
    world_settle(w);
}

struct upstream_world *world_ready(unsigned int ready)
{
    struct upstream_world *w = world_new(ready);

    world_server(w, SERVER_A);
    world_url(w, 0, HOST_A, LISTEN_TCP);
    world_go(w, 0);
    world_pass_ms(w, 2000); /* what is lost sooner counts as never found */
    ck_assert_int_eq(world_status(w, true).state, UPSTREAM_READY);
    ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
    return w;
}

static void free_list(struct list *list)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, list)
        free(it); /* `link` is the first of each */
}

static void end_front(struct upstream_world *w)
{
    for (struct list *it = w->dials.next; it != &w->dials; it = it->next)
        front_hang_up(list_entry(it, struct front_dial, link));
    for (struct list *it = w->assocs.next; it != &w->assocs; it = it->next)
        front_close(list_entry(it, struct front_assoc, link));
}

void world_free(struct upstream_world *w)
{
    end_front(w);
    upstream_exit_free(w->exit);
    ck_assert_uint_eq(w->counters.upstream_sessions, 0);
    ck_assert_uint_eq(w->counters.upstream_streams, 0);
    ck_assert_uint_eq(fake_streams_count(), 0);
    ck_assert_uint_eq(fake_resolver_n_pending(), 0);
    ck_assert_int_eq(event_base_get_num_events(w->base, EVENT_BASE_COUNT_ADDED), 0);
    for (struct list *it = w->links.next; it != &w->links; it = it->next)
        ck_assert_ptr_null(list_entry(it, struct world_link, link)->wire->link);
    free_list(&w->links);
    free_list(&w->connections);
    free_list(&w->held);
    free_list(&w->assocs);
    free_list(&w->dials);
    fake_wires_free_all();
    far_free_all();
    tx_queue_free(w->tx);
    event_base_free(w->base);
    free(w);
}

struct upstream_status world_status(struct upstream_world *w, bool streams)
{
    struct upstream_status status;

    upstream_exit_status(w->exit, streams, &status);
    return status;
}

/* ---- the front's associations ---- */

static void assoc_event(struct front_assoc *f)
{
    if (f->then)
        f->then(f);
    if (f->closes)
        front_close(f);
}

static void on_open(void *user, const struct assoc_opened *opened)
{
    struct front_assoc *f = user;

    f->n_open++;
    f->opened = *opened;
    assoc_event(f);
}

static void on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                        uint64_t now_ns)
{
    struct front_assoc *f = user;

    f->n_datagrams++;
    assoc_event(f);
}

static void on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    assoc_event(user);
}

static void keep_stream(struct front_assoc *f, struct stream *stream)
{
    ck_assert_uint_lt(f->n_streams, 16);
    f->streams[f->n_streams++] = stream;
}

static void on_connected(void *user, uint32_t connect_id, enum exit_result result,
                         struct stream *stream)
{
    struct front_assoc *f = user;

    ck_assert((result == EXIT_OK) == (stream != NULL));
    f->n_connected++;
    f->connect_id = connect_id;
    f->connect_result = result;
    if (stream)
        keep_stream(f, stream);
    assoc_event(f);
}

static void on_accepted(void *user, const struct addr *peer, struct stream *stream)
{
    struct front_assoc *f = user;

    f->n_accepted++;
    f->accepted_peer = *peer;
    keep_stream(f, stream);
    assoc_event(f);
}

static void on_lost(void *user, enum exit_result why)
{
    struct front_assoc *f = user;

    f->n_lost++;
    f->lost = why;
    assoc_event(f);
}

static const struct assoc_events assoc_events = {
    .on_open = on_open,
    .on_datagram = on_datagram,
    .on_icmp = on_icmp,
    .on_connected = on_connected,
    .on_accepted = on_accepted,
    .on_lost = on_lost,
};

struct front_assoc *front_open(struct upstream_world *w, const struct assoc_want *want)
{
    struct front_assoc *f = calloc(1, sizeof(*f));

    ck_assert_ptr_nonnull(f);
    f->world = w;
    list_append(&w->assocs, &f->link);
    ck_assert_int_eq(w->exit->ops->open(w->exit, want, &assoc_events, f, &f->assoc), 0);
    return f;
}

struct front_assoc *front_open_v4(struct upstream_world *w)
{
    static const struct assoc_want want = {.v4 = true};

    return front_open(w, &want);
}

void front_close(struct front_assoc *f)
{
    f->world->exit->ops->close(f->assoc);
    f->assoc = NULL;
    for (size_t i = 0; i < f->n_streams; i++)
        stream_free(f->streams[i]);
    f->n_streams = 0;
}

enum exit_result front_connect(struct front_assoc *f, const char *peer, uint32_t id)
{
    struct addr a = at(peer);

    return f->world->exit->ops->connect(f->assoc, &a, id);
}

/* ---- the front's dials ---- */

static ptrdiff_t on_bytes(void *user, const uint8_t *data, size_t len)
{
    return (ptrdiff_t)len;
}

static void on_closed(void *user, int reason)
{
    struct front_dial *f = user;

    f->n_closed++;
    f->closed_reason = reason;
    stream_free(f->stream);
    f->stream = NULL;
}

static const struct stream_events stream_events = {.on_bytes = on_bytes, .on_closed = on_closed};

static void on_dialed(void *user, enum exit_result result, struct stream *stream,
                      const struct addr *relayed)
{
    struct front_dial *f = user;

    ck_assert((result == EXIT_OK) == (stream != NULL));
    f->dial = NULL;
    f->n_done++;
    f->result = result;
    f->relayed = *relayed;
    f->stream = stream;
    if (stream)
        stream_set_events(stream, &stream_events, f);
    if (f->frees)
        front_hang_up(f);
    if (f->then)
        f->then(f);
}

struct front_dial *front_dial(struct upstream_world *w, const char *peer)
{
    struct front_dial *f = calloc(1, sizeof(*f));
    struct addr a = at(peer);

    ck_assert_ptr_nonnull(f);
    f->world = w;
    list_append(&w->dials, &f->link);
    ck_assert_int_eq(w->exit->ops->dial(w->exit, &a, on_dialed, f, &f->dial), 0);
    return f;
}

void front_hang_up(struct front_dial *f)
{
    if (f->dial)
        f->world->exit->ops->hang_up(f->dial);
    f->dial = NULL;
    stream_free(f->stream);
    f->stream = NULL;
}

void assert_dialed(const struct front_dial *f, enum exit_result result)
{
    ck_assert_uint_eq(f->n_done, 1);
    ck_assert_int_eq(f->result, result);
}

void assert_not_dialed(const struct front_dial *f)
{
    ck_assert_uint_eq(f->n_done, 0);
}
