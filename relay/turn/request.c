/*
 * relay/turn/request.c - from a message to its handler, and answers back
 *
 * A request goes: decode -> retransmission? -> (Binding) | credentials -> unknown
 * attributes -> handler. The order is RFC 8489's (section 6.3): authentication
 * comes before the complaint about attributes, so that a stranger learns nothing
 * and costs one small answer.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/wire/channel.h"
#include "relay/turn/alloc.h"
#include "relay/turn/internal.h"

struct method {
    uint16_t method;
    bool stranger; /* needs no credentials */
    void (*handle)(struct request *req);
};

static const struct method methods[] = {
    {STUN_BINDING, true, binding_on_request},
    {STUN_ALLOCATE, false, alloc_on_allocate},
    {STUN_REFRESH, false, alloc_on_refresh},
    {STUN_CREATE_PERMISSION, false, admission_on_create_permission},
    {STUN_CHANNEL_BIND, false, admission_on_channel_bind},
    {STUN_CONNECT, false, tcp_on_connect},
    {STUN_CONNECTION_BIND, false, tcp_on_connection_bind},
};

static const struct method *method_find(uint16_t number)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (methods[i].method == number)
            return &methods[i];
    return NULL;
}

static void count_error(struct counters *c, unsigned int code)
{
    const struct {
        unsigned int code;
        _Atomic uint64_t *counter;
    } rows[] = {
        {400, &c->err_400}, {401, &c->err_401}, {403, &c->err_403}, {437, &c->err_437},
        {438, &c->err_438}, {441, &c->err_441}, {486, &c->err_486}, {508, &c->err_508},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].code == code) {
            counter_add(rows[i].counter, 1);
            return;
        }
    }
    counter_add(&c->err_other, 1);
}

/* ---- answers ---- */

void answer_begin(const struct answer *answer, struct stun_builder *b, uint8_t *buf)
{
    stun_begin(b, buf, TURN_ANSWER_MAX, STUN_SUCCESS, answer->method, answer->txid);
}

static void answer_begin_error(const struct answer *answer, struct stun_builder *b, uint8_t *buf,
                               unsigned int code)
{
    stun_begin(b, buf, TURN_ANSWER_MAX, STUN_ERROR, answer->method, answer->txid);
    stun_put_error(b, code);
}

void answer_send(struct turn *turn, struct client *client, const struct answer *answer,
                 struct stun_builder *b, bool keep, uint64_t now_ns)
{
    size_t len;

    if (answer->integrity != STUN_INTEGRITY_NONE)
        stun_put_integrity(b, answer->integrity, answer->key, answer->key_len);
    if (answer->fingerprint)
        stun_put_fingerprint(b);
    len = stun_finish(b);
    if (len == 0)
        return;
    if (keep && !client_is_stream(client))
        replay_keep(turn->replay, &client->remote, answer->txid, b->buf, len, now_ns);
    client->ops->send_copy(client, b->buf, len);
}

void answer_error(struct turn *turn, struct client *client, const struct answer *answer,
                  unsigned int code)
{
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;

    count_error(turn->params.counters, code);
    answer_begin_error(answer, &b, buf, code);
    if (code == 300)
        stun_put_addr(&b, STUN_ALTERNATE_SERVER, &turn->conf->alternate_server);
    answer_send(turn, client, answer, &b, false, 0);
}

void answer_error_icmp(struct turn *turn, struct client *client, const struct answer *answer,
                       unsigned int code, uint8_t type, uint8_t icmp_code)
{
    uint8_t buf[TURN_ANSWER_MAX], value[8] = {0, 0, type, icmp_code};
    struct stun_builder b;

    count_error(turn->params.counters, code);
    answer_begin_error(answer, &b, buf, code);
    stun_put(&b, STUN_ICMP, value, sizeof(value));
    answer_send(turn, client, answer, &b, false, 0);
}

void request_fail(struct request *req, unsigned int code)
{
    answer_error(req->turn, req->client, &req->answer, code);
}

void request_fail_unknown(struct request *req, const uint16_t *types, size_t n)
{
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;

    count_error(req->turn->params.counters, 420);
    answer_begin_error(&req->answer, &b, buf, 420);
    stun_put_unknown(&b, types, n);
    answer_send(req->turn, req->client, &req->answer, &b, false, 0);
}

void request_succeed(struct request *req)
{
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;

    answer_begin(&req->answer, &b, buf);
    answer_send(req->turn, req->client, &req->answer, &b, false, 0);
}

bool request_may_answer_stranger(struct request *req)
{
    struct turn *turn = req->turn;

    /* TCP's handshake and DTLS's cookie have proved the address already. */
    if (req->client->transport != TRANSPORT_UDP || req->client->alloc)
        return true;
    if (rate_allows(turn->params.rate, &req->client->remote, turn->conf->unauthenticated_rate,
                    req->now_ns))
        return true;
    counter_add(&turn->params.counters->rate_limited, 1);
    return false;
}

/* 401 and 438: the only errors that carry a challenge, and never an integrity attribute. */
static void request_challenge(struct request *req, unsigned int code)
{
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;

    answer_begin_error(&req->answer, &b, buf, code);
    auth_put_challenge(req->turn->auth, &b, &req->client->remote, req->now_ns);
    answer_send(req->turn, req->client, &req->answer, &b, false, 0);
}

static void request_reject(struct request *req, unsigned int code)
{
    struct counters *c = req->turn->params.counters;
    bool first_step = code == 401 && req->who.integrity == STUN_INTEGRITY_NONE;

    if (!request_may_answer_stranger(req))
        return;
    if (first_step)
        counter_add(&c->challenges, 1);
    if (code != 401 && code != 438) {
        request_fail(req, code);
        return;
    }
    if (!first_step)
        count_error(c, code);
    request_challenge(req, code);
}

/* ---- requests ---- */

static bool request_authenticate(struct request *req)
{
    unsigned int code = auth_check(req->turn->auth, req->msg, &req->client->remote, req->now_ns,
                                   clock_real_s(), &req->who);

    if (code == 0 && req->who.expired && req->msg->method == STUN_ALLOCATE)
        code = 401;
    if (code != 0) {
        request_reject(req, code);
        return false;
    }
    req->answer.integrity = req->who.integrity;
    req->answer.key_len = req->who.key_len;
    memcpy(req->answer.key, req->who.key, req->who.key_len);
    return true;
}

struct alloc *request_alloc(struct request *req)
{
    struct alloc *alloc = req->client->alloc;

    if (!alloc || alloc->state != ALLOC_LIVE) {
        request_fail(req, 437);
        return NULL;
    }
    if (!alloc_is_users(alloc, &req->who)) {
        request_fail(req, 441);
        return NULL;
    }
    /* RFC 8016, section 3.2.2, names Send and ChannelData; a client that asks for something from
     * its new address has had the answer to its move as well, and may only mean to listen. */
    if (alloc->client != req->client)
        mobility_arrive(alloc);
    return alloc;
}

static bool request_replay(struct request *req)
{
    const uint8_t *answer;
    size_t len;

    if (client_is_stream(req->client))
        return false;
    answer =
        replay_find(req->turn->replay, &req->client->remote, req->msg->txid, &len, req->now_ns);
    if (!answer)
        return false;
    req->client->ops->send_copy(req->client, answer, len);
    return true;
}

static void request_dispatch(struct request *req)
{
    const struct method *method = method_find(req->msg->method);

    if (!method) {
        /* RFC 8489, section 6.3: an unknown method gets no service; a stranger gets little. */
        if (request_may_answer_stranger(req))
            request_fail(req, 400);
        return;
    }
    if (!method->stranger && !request_authenticate(req))
        return;
    if (method->stranger && !request_may_answer_stranger(req))
        return;
    if (req->msg->n_unknown > 0) {
        request_fail_unknown(req, req->msg->unknown, req->msg->n_unknown);
        return;
    }
    method->handle(req);
}

static void turn_on_request(struct turn *turn, struct client *client, const struct stun_msg *msg,
                            bool malformed, uint64_t now_ns)
{
    struct request req = {.turn = turn, .client = client, .msg = msg, .now_ns = now_ns};

    counter_add(&turn->params.counters->requests, 1);
    req.answer.method = msg->method;
    memcpy(req.answer.txid, msg->txid, STUN_TXID_LEN);
    if (malformed) {
        if (request_may_answer_stranger(&req))
            request_fail(&req, 400);
        return;
    }
    req.answer.fingerprint = stun_has(msg, STUN_FINGERPRINT);
    if (!request_replay(&req))
        request_dispatch(&req);
    OPENSSL_cleanse(&req.who.key, sizeof(req.who.key));
    OPENSSL_cleanse(&req.answer.key, sizeof(req.answer.key));
}

static int turn_on_stun(struct turn *turn, struct client *client, const uint8_t *data, size_t len,
                        uint64_t now_ns)
{
    struct stun_msg msg;
    int r = stun_decode(&msg, data, len);

    if (r == STUN_E_NOT_STUN) {
        counter_add(&turn->params.counters->drop_malformed, 1);
        return -EPROTO;
    }
    if (msg.class == STUN_REQUEST) {
        turn_on_request(turn, client, &msg, r == STUN_E_MALFORMED, now_ns);
    } else if (r == 0 && msg.class == STUN_INDICATION && msg.method == STUN_SEND) {
        forward_send(turn, client, &msg, now_ns);
    } else if (msg.class != STUN_INDICATION || msg.method != STUN_BINDING) {
        /* Answers to questions we never ask, and indications only a server sends. A Binding
         * indication is a keepalive. */
        counter_add(&turn->params.counters->drop_malformed, 1);
    }
    return 0;
}

int turn_on_message(struct turn *turn, struct client *client, const uint8_t *data, size_t len,
                    uint64_t now_ns)
{
    turn->now_ns = now_ns;
    if (client->away) {
        (void)turn->params.visit(turn->params.arg, 0, client, data, len);
        return 0;
    }
    if (len > 0 && wire_kind_of(data[0]) == WIRE_CHANNEL) {
        forward_channel_data(turn, client, data, len, now_ns);
        return 0;
    }
    if (len > 0 && wire_kind_of(data[0]) == WIRE_STUN)
        return turn_on_stun(turn, client, data, len, now_ns);
    counter_add(&turn->params.counters->drop_malformed, 1);
    return -EPROTO;
}
