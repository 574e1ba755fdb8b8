/*
 * relay/turn/tcp.c - TCP allocations (RFC 6062): connections to and from peers
 *
 * A conn is one TCP connection between the relayed address and a peer, and later
 * the client's data connection that is joined to it.
 *
 * States of a conn:
 *   CONNECTING  Connect was asked and the exit is at it; the answer waits.
 *   WAITING     the peer's stream is there, paused (its bytes stay in the kernel);
 *               the client knows the CONNECTION-ID and has 30 s for ConnectionBind.
 *   JOINED      both streams are there; bytes go across until both ends closed.
 *
 * A data connection may arrive at any worker: the CONNECTION-ID says which one
 * owns the conn (id % n_workers), and the stream is handed over. The rest of the
 * id is random: it can be used once, by the user who owns the allocation.
 *
 * Owner: the alloc lists its conns and ends them when it ends (section 4.1).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/splice.h"
#include "common/net/stream.h"
#include "relay/turn/alloc.h"
#include "relay/turn/internal.h"

#define CONN_BIND_TIMEOUT_S 30

enum conn_state {
    CONN_CONNECTING,
    CONN_WAITING,
    CONN_JOINED,
};

/* The ends of the pair. */
enum {
    CONN_PEER,
    CONN_CLIENT,
};

struct conn {
    struct alloc *alloc;
    struct list link; /* alloc->conns */
    uint32_t id;
    enum conn_state state;
    struct addr peer_addr;
    uint64_t expires_ns;
    struct answer *answer; /* of the Connect request, while CONNECTING */
    struct splice pair;
};

static struct bucket *conn_bucket(struct conn *conn, unsigned int end)
{
    return end == CONN_PEER ? &conn->alloc->down : &conn->alloc->up;
}

static bool conn_on_crossed(void *user, struct splice_end *from, size_t len)
{
    struct conn *conn = user;
    struct turn *turn = conn->alloc->turn;
    struct counters *c = turn->params.counters;
    unsigned int end = from == &conn->pair.ends[CONN_PEER] ? CONN_PEER : CONN_CLIENT;

    counter_add(end == CONN_PEER ? &c->down_bytes : &c->up_bytes, len);
    *(end == CONN_PEER ? &conn->alloc->count.down_bytes : &conn->alloc->count.up_bytes) += len;
    return bucket_spend(conn_bucket(conn, end), turn->conf->max_bandwidth_per_allocation, len,
                        clock_now_ns());
}

static void conn_free(struct conn *conn)
{
    struct alloc *alloc = conn->alloc;

    if (conn->state != CONN_CONNECTING)
        counter_sub(&alloc->turn->params.counters->peer_connections, 1);
    list_remove(&conn->link);
    alloc->n_conns--;
    splice_deinit(&conn->pair);
    OPENSSL_clear_free(conn->answer, sizeof(*conn->answer));
    free(conn);
}

static void conn_on_ended(void *user)
{
    conn_free(user);
}

/* Closing either side closes the other (RFC 6062, section 5.4), after what is on its way. */
static const struct splice_events conn_events = {
    .on_crossed = conn_on_crossed,
    .on_ended = conn_on_ended,
};

/* Unpredictable, unused here, and naming us as the owner. */
static bool conn_draw_id(const struct alloc *alloc, uint32_t *ret_id)
{
    const struct turn_params *p = &alloc->turn->params;
    uint32_t id;

    if (RAND_bytes((unsigned char *)&id, sizeof(id)) != 1)
        return false;
    id &= 0x7FFFFFFF;
    *ret_id = id - id % p->n_workers + p->worker;
    return true;
}

static struct conn *conn_find_id(struct alloc *alloc, uint32_t id)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &alloc->conns) {
        struct conn *conn = list_entry(it, struct conn, link);

        if (conn->id == id)
            return conn;
    }
    return NULL;
}

static struct conn *conn_find_peer(struct alloc *alloc, const struct addr *peer)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &alloc->conns) {
        struct conn *conn = list_entry(it, struct conn, link);

        if (addr_equal(&conn->peer_addr, peer))
            return conn;
    }
    return NULL;
}

static struct conn *conn_new(struct alloc *alloc, const struct addr *peer)
{
    struct conn *conn = calloc(1, sizeof(*conn));

    if (!conn)
        return NULL;
    do {
        if (!conn_draw_id(alloc, &conn->id)) {
            free(conn);
            return NULL;
        }
    } while (conn_find_id(alloc, conn->id));
    conn->alloc = alloc;
    conn->peer_addr = *peer;
    splice_init(&conn->pair, &conn_events, conn);
    list_append(&alloc->conns, &conn->link);
    alloc->n_conns++;
    return conn;
}

static void conn_wait_for_bind(struct conn *conn, struct stream *stream, uint64_t now_ns)
{
    conn->state = CONN_WAITING;
    conn->expires_ns = now_ns + CONN_BIND_TIMEOUT_S * NS_PER_S;
    counter_add(&conn->alloc->turn->params.counters->peer_connections, 1);
    splice_add(&conn->pair, CONN_PEER, stream, false);
}

/* ---- active: Connect ---- */

/* In the order of RFC 6062, section 5.2, but the missing address first. */
static unsigned int connect_refusal(const struct request *req, struct alloc *alloc,
                                    struct addr *ret_peer)
{
    unsigned int code;

    if (!alloc->tcp)
        return 403;
    if (req->msg->n_peers == 0 || !stun_get_peer(req->msg, 0, ret_peer) || ret_peer->port == 0)
        return 400;
    if (conn_find_peer(alloc, ret_peer))
        return 446;
    /* Connect needs no permission, so this is where the access rules are asked (pion/turn#570). */
    code = admission_check(alloc, ret_peer);
    if (code != 0 && code != ADMISSION_PENDING) /* a connection needs no permission */
        return code;
    return alloc->n_conns >= req->turn->conf->max_peer_connections ? 508 : 0;
}

static unsigned int connect_error(enum exit_result result)
{
    switch (result) {
    case EXIT_E_FORBIDDEN:
        return 403;
    case EXIT_E_DUPLICATE:
        return 446;
    case EXIT_E_CAPACITY:
        return 508;
    default:
        return 447;
    }
}

/* RFC 6062 has one code for a peer that refuses, one that cannot be reached and one that is silent;
 * a SOCKS reply wants to know which. The attribute is comprehension-optional (RFC 8489, section
 * 14): a client that knows nothing of it is not disturbed. Silence has no ICMP. */
static void connect_fail(struct turn *turn, struct client *client, const struct answer *answer,
                         const struct addr *peer, enum exit_result result)
{
    bool v4 = peer->family == ADDR_IPV4;
    unsigned int code = connect_error(result);

    /* Destination unreachable: port, or host; in ICMPv6 port, or address. */
    if (result == EXIT_E_REFUSED)
        answer_error_icmp(turn, client, answer, code, v4 ? 3 : 1, v4 ? 3 : 4);
    else if (result == EXIT_E_UNREACHABLE)
        answer_error_icmp(turn, client, answer, code, v4 ? 3 : 1, v4 ? 1 : 3);
    else
        answer_error(turn, client, answer, code);
}

void tcp_on_connect(struct request *req)
{
    struct alloc *alloc = request_alloc(req);
    enum exit_result result;
    struct conn *conn = NULL;
    struct addr peer;
    unsigned int code;
    uint32_t id;

    if (!alloc)
        return;
    code = connect_refusal(req, alloc, &peer);
    if (code == 0) {
        conn = conn_new(alloc, &peer);
        code = conn ? 0 : 508;
    }
    if (code == 0) {
        conn->answer = malloc(sizeof(*conn->answer));
        code = conn->answer ? 0 : 508;
    }
    if (code != 0) {
        if (conn)
            conn_free(conn);
        request_fail(req, code);
        return;
    }
    *conn->answer = req->answer;
    id = conn->id;
    /* May answer before it returns; then there is nothing left to do here. */
    result = req->turn->params.exit->ops->connect(alloc->assoc, &peer, id);
    if (result != EXIT_OK) {
        connect_fail(req->turn, req->client, &req->answer, &peer, result);
        conn = conn_find_id(alloc, id);
        if (conn)
            conn_free(conn);
    }
}

void tcp_on_connected(void *user, uint32_t connect_id, enum exit_result result,
                      struct stream *stream)
{
    struct alloc *alloc = user;
    struct turn *turn = alloc->turn;
    struct conn *conn = conn_find_id(alloc, connect_id);
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;

    if (!conn || conn->state != CONN_CONNECTING) {
        stream_free(stream);
        return;
    }
    if (result != EXIT_OK) {
        connect_fail(turn, alloc->client, conn->answer, &conn->peer_addr, result);
        conn_free(conn);
        return;
    }
    conn_wait_for_bind(conn, stream, clock_now_ns());
    answer_begin(conn->answer, &b, buf);
    stun_put_u32(&b, STUN_CONNECTION_ID, conn->id);
    answer_send(turn, alloc->client, conn->answer, &b, false, 0);
    OPENSSL_clear_free(conn->answer, sizeof(*conn->answer));
    conn->answer = NULL;
}

/* ---- passive: a peer connects ---- */

void tcp_on_accepted(void *user, const struct addr *peer, struct stream *stream)
{
    struct alloc *alloc = user;
    struct turn *turn = alloc->turn;
    uint8_t buf[STUN_HEADER_LEN + 24 + 8], txid[STUN_TXID_LEN] = {0};
    uint64_t now_ns = clock_now_ns();
    struct conn *conn = NULL;
    struct stun_builder b;
    size_t len;

    if (!perm_has(&alloc->perms, peer, now_ns))
        counter_add(&turn->params.counters->drop_no_permission, 1);
    else if (alloc->n_conns < turn->conf->max_peer_connections)
        conn = conn_new(alloc, peer);
    if (!conn) {
        stream_free(stream);
        return;
    }
    conn_wait_for_bind(conn, stream, now_ns);
    memcpy(txid, &conn->id, sizeof(conn->id));
    stun_begin(&b, buf, sizeof(buf), STUN_INDICATION, STUN_CONNECTION_ATTEMPT, txid);
    stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, peer);
    stun_put_u32(&b, STUN_CONNECTION_ID, conn->id);
    len = stun_finish(&b);
    if (len > 0)
        alloc->client->ops->send_copy(alloc->client, buf, len);
}

/* ---- ConnectionBind ---- */

static struct conn *bind_find(struct turn *turn, uint32_t id)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &turn->allocs) {
        struct alloc *alloc = list_entry(it, struct alloc, link);
        struct conn *conn = alloc->tcp ? conn_find_id(alloc, id) : NULL;

        if (conn)
            return conn;
    }
    return NULL;
}

static void bind_answer(const struct turn_bind *bind, unsigned int code)
{
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;
    struct iovec iov = {.iov_base = buf};

    stun_begin(&b, buf, sizeof(buf), code == 0 ? STUN_SUCCESS : STUN_ERROR, STUN_CONNECTION_BIND,
               bind->txid);
    if (code != 0)
        stun_put_error(&b, code);
    stun_put_integrity(&b, bind->who.integrity, bind->who.key, bind->who.key_len);
    if (bind->fingerprint)
        stun_put_fingerprint(&b);
    iov.iov_len = stun_finish(&b);
    if (iov.iov_len > 0)
        (void)stream_send(bind->stream, &iov, 1);
}

/* A refused data connection has said its one message: it closes when the answer has gone. */
struct refused {
    struct list link; /* turn->refused */
    struct stream *stream;
};

static void refused_free(struct refused *refused)
{
    list_remove(&refused->link);
    stream_free(refused->stream);
    free(refused);
}

static ptrdiff_t refused_on_bytes(void *user, const uint8_t *data, size_t len)
{
    return (ptrdiff_t)len;
}

static void refused_on_closed(void *user, int reason)
{
    refused_free(user);
}

static const struct stream_events refused_events = {
    .on_bytes = refused_on_bytes,
    .on_closed = refused_on_closed,
};

static void bind_refuse(struct turn *turn, const struct turn_bind *bind, unsigned int code)
{
    struct counters *c = turn->params.counters;
    struct refused *refused = malloc(sizeof(*refused));

    counter_add(code == 441 ? &c->err_441 : &c->err_400, 1);
    if (!refused) {
        stream_free(bind->stream);
        return;
    }
    bind_answer(bind, code);
    refused->stream = bind->stream;
    list_append(&turn->refused, &refused->link);
    stream_set_events(refused->stream, &refused_events, refused);
    stream_close(refused->stream, 0);
}

void tcp_deinit(struct turn *turn)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &turn->refused)
        refused_free(list_entry(it, struct refused, link));
}

void turn_on_bind(struct turn *turn, const struct turn_bind *bind, uint64_t now_ns)
{
    struct conn *conn = bind_find(turn, bind->connection_id);
    unsigned int code = 0;

    if (!conn || conn->state != CONN_WAITING || !conn->pair.ends[CONN_PEER].stream ||
        conn->expires_ns <= now_ns)
        code = 400;
    else if (!alloc_is_users(conn->alloc, &bind->who))
        code = 441;
    if (code != 0) {
        bind_refuse(turn, bind, code);
        return;
    }
    bind_answer(bind, 0);
    conn->state = CONN_JOINED;
    splice_add(&conn->pair, CONN_CLIENT, bind->stream, false);
}

void tcp_on_connection_bind(struct request *req)
{
    struct turn *turn = req->turn;
    struct client *client = req->client;
    struct turn_bind bind = {.who = req->who, .fingerprint = req->answer.fingerprint};
    unsigned int owner;

    memcpy(bind.txid, req->msg->txid, STUN_TXID_LEN);
    /* Only on a connection that is good for nothing else (RFC 6062, section 4.4). */
    if (!client_is_stream(client) || client->alloc ||
        !stun_get_u32(req->msg, STUN_CONNECTION_ID, &bind.connection_id)) {
        request_fail(req, 400);
        return;
    }
    owner = bind.connection_id % turn->params.n_workers;
    bind.stream = client->ops->take_stream(client);
    if (!bind.stream)
        request_fail(req, 400);
    else if (owner == turn->params.worker)
        turn_on_bind(turn, &bind, req->now_ns);
    else
        turn->params.hand_over(turn->params.arg, owner, &bind);
}

/* ---- the allocation's side ---- */

void tcp_end(struct alloc *alloc)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &alloc->conns)
        conn_free(list_entry(it, struct conn, link));
}

void tcp_sweep(struct turn *turn, struct alloc *alloc, uint64_t now_ns)
{
    uint64_t limit = turn->conf->max_bandwidth_per_allocation;
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &alloc->conns) {
        struct conn *conn = list_entry(it, struct conn, link);

        if (conn->state == CONN_WAITING && conn->expires_ns <= now_ns) {
            conn_free(conn);
            continue;
        }
        for (unsigned int i = 0; i < 2; i++)
            if (conn->pair.ends[i].held && bucket_solvent(conn_bucket(conn, i), limit, now_ns))
                splice_release(&conn->pair.ends[i]);
    }
}
