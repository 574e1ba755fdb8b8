#include "relay/turn/alloc.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define ALLOC_LIFETIME_DEFAULT_S 600

/* REQUESTED-TRANSPORT (RFC 8656, section 18.7; RFC 6062, section 6) */
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17

/* Address families on the wire (RFC 8489, section 14.1) */
#define FAMILY_IPV4 0x01
#define FAMILY_IPV6 0x02

#define EVEN_PORT_RESERVE 0x80

static void alloc_on_open(void *user, const struct assoc_opened *opened);
static void alloc_on_lost(void *user, enum exit_result why);

static const struct assoc_events alloc_events = {
    .on_open = alloc_on_open,
    .on_datagram = forward_on_datagram,
    .on_icmp = forward_on_icmp,
    .on_permitted = admission_on_permitted,
    .on_connected = tcp_on_connected,
    .on_accepted = tcp_on_accepted,
    .on_lost = alloc_on_lost,
};

/* ---- life ---- */

/* Clients with an allocation, by transport. */
static void alloc_count_client(struct turn *turn, const struct client *client, bool is_one_more)
{
    struct counters *c = turn->params.counters;
    _Atomic uint64_t *const gauges[N_TRANSPORTS] = {
        [TRANSPORT_UDP] = &c->clients_udp,
        [TRANSPORT_TCP] = &c->clients_tcp,
        [TRANSPORT_TLS] = &c->clients_tls,
        [TRANSPORT_DTLS] = &c->clients_dtls,
    };

    if (client == &turn->nobody)
        return;
    if (is_one_more)
        counter_add(gauges[client->transport], 1);
    else
        counter_sub(gauges[client->transport], 1);
}

/* `client` is kept. */
static void alloc_hold(struct alloc *alloc, struct client *client)
{
    alloc->client = client;
    client->alloc = alloc;
    client->id = alloc->id;
    alloc_count_client(alloc->turn, client, true);
}

static void alloc_let_go(struct alloc *alloc)
{
    struct client *client = alloc->client;

    alloc_count_client(alloc->turn, client, false);
    client->alloc = NULL;
    client->ops->release(client);
}

void alloc_set_client(struct alloc *alloc, struct client *client)
{
    alloc_let_go(alloc);
    alloc_hold(alloc, client);
}

void alloc_free(struct alloc *alloc)
{
    struct turn *turn = alloc->turn;

    tcp_end(alloc);
    mobility_end(alloc);
    if (alloc->assoc)
        turn->params.exit->ops->close(alloc->assoc);
    quota_give(&alloc->charge);
    list_remove(&alloc->link);
    turn->n_allocs--;
    counter_sub(&turn->params.counters->allocations, 1);
    alloc_let_go(alloc);
    log_debug("allocation %llu ended", (unsigned long long)alloc->id);
    admission_deinit(alloc);
    perm_deinit(&alloc->perms);
    chan_deinit(&alloc->chans);
    OPENSSL_clear_free(alloc->answer, sizeof(*alloc->answer));
    free(alloc->user);
    free(alloc);
}

/* Makes the allocation and its hold on the client; the charge is taken by the caller. */
static struct alloc *alloc_new(struct request *req, struct quota_charge *charge)
{
    struct turn *turn = req->turn;
    struct alloc *alloc = calloc(1, sizeof(*alloc));
    struct client *client = NULL;

    if (!alloc)
        return NULL;
    alloc->answer = malloc(sizeof(*alloc->answer));
    alloc->user = malloc(req->who.name_len + 1);
    if (alloc->answer && alloc->user)
        client = req->client->ops->keep(req->client);
    if (!client) {
        free(alloc->answer);
        free(alloc->user);
        free(alloc);
        return NULL;
    }
    *alloc->answer = req->answer;
    memcpy(alloc->user, req->who.name, req->who.name_len);
    alloc->user_len = req->who.name_len;
    alloc->user_listed = req->who.listed;
    alloc->turn = turn;
    alloc->state = ALLOC_OPENING;
    alloc->made_ns = req->now_ns;
    alloc->id = ++turn->next_id * turn->params.n_workers + turn->params.worker;
    alloc->charge = *charge;
    *charge = (struct quota_charge){0};
    list_init(&alloc->admissions);
    list_init(&alloc->conns);
    list_append(&turn->allocs, &alloc->link);
    turn->n_allocs++;
    counter_add(&turn->params.counters->allocations, 1);
    alloc_hold(alloc, client);
    return alloc;
}

bool alloc_has_family(const struct alloc *alloc, uint8_t family)
{
    return (family == ADDR_IPV4 ? alloc->relayed_v4 : alloc->relayed_v6).family != ADDR_NONE;
}

/* The relayed address of one family ends, with its permissions and channels; the other one's stay
 * (RFC 8656, section 8.1). The exit's socket closes with the whole association: until then nobody
 * has a permission to send through it. Return: true when the allocation is gone. */
static bool alloc_drop_family(struct alloc *alloc, uint8_t family)
{
    *(family == ADDR_IPV4 ? &alloc->relayed_v4 : &alloc->relayed_v6) = (struct addr){0};
    perm_drop_family(&alloc->perms, family);
    chan_drop_family(&alloc->chans, family);
    if (alloc_has_family(alloc, ADDR_IPV4) || alloc_has_family(alloc, ADDR_IPV6))
        return false;
    alloc_free(alloc);
    return true;
}

bool alloc_expire(struct alloc *alloc, uint64_t now_ns)
{
    if (alloc->state != ALLOC_LIVE)
        return false;
    if (alloc_has_family(alloc, ADDR_IPV4) && alloc->expires_v4_ns <= now_ns &&
        alloc_drop_family(alloc, ADDR_IPV4))
        return true;
    return alloc_has_family(alloc, ADDR_IPV6) && alloc->expires_v6_ns <= now_ns &&
           alloc_drop_family(alloc, ADDR_IPV6);
}

bool alloc_is_users(const struct alloc *alloc, const struct auth_who *who)
{
    return alloc->user_len == who->name_len && memcmp(alloc->user, who->name, who->name_len) == 0;
}

bool alloc_is_revoked(const struct alloc *alloc)
{
    return alloc->user_listed && !auth_lists(alloc->turn->auth, alloc->user, alloc->user_len);
}

static uint32_t alloc_lifetime(const struct request *req)
{
    uint32_t max = req->turn->conf->max_lifetime_s;
    uint32_t wanted = ALLOC_LIFETIME_DEFAULT_S;

    /* RFC 8656, section 7.2: at least the default, unless the operator's maximum is less. */
    if (stun_get_u32(req->msg, STUN_LIFETIME, &wanted) && wanted < ALLOC_LIFETIME_DEFAULT_S)
        wanted = ALLOC_LIFETIME_DEFAULT_S;
    return wanted < max ? wanted : max;
}

/* ---- Allocate ---- */

static unsigned int allocate_read_transport(const struct request *req, struct assoc_want *want)
{
    const struct stun_msg *msg = req->msg;
    uint8_t protocol;

    if (!stun_get_u8(msg, STUN_REQUESTED_TRANSPORT, &protocol))
        return 400;
    if (protocol == PROTOCOL_UDP)
        return 0;
    if (protocol != PROTOCOL_TCP)
        return 442;
    /* RFC 6062, section 5.1 */
    want->tcp = true;
    if (!client_is_stream(req->client) || stun_has(msg, STUN_EVEN_PORT) ||
        stun_has(msg, STUN_DONT_FRAGMENT) || stun_has(msg, STUN_RESERVATION_TOKEN))
        return 400;
    return 0;
}

/* REQUESTED- and ADDITIONAL-ADDRESS-FAMILY; without either, IPv4 (RFC 8656, section 7.2). */
static unsigned int allocate_read_family(const struct request *req, struct assoc_want *want)
{
    uint8_t requested = 0, additional = 0;
    bool has_requested = stun_get_u8(req->msg, STUN_REQUESTED_ADDRESS_FAMILY, &requested);
    bool has_additional = stun_get_u8(req->msg, STUN_ADDITIONAL_ADDRESS_FAMILY, &additional);

    if (has_requested && has_additional)
        return 400;
    if (has_additional && (additional != FAMILY_IPV6 || want->reserve || want->tcp))
        return 400;
    if (has_requested && requested != FAMILY_IPV4 && requested != FAMILY_IPV6)
        return 440;
    want->v4 = !has_requested || requested == FAMILY_IPV4;
    want->v6 = has_additional || (has_requested && requested == FAMILY_IPV6);
    return 0;
}

static unsigned int allocate_read_ports(const struct request *req, struct assoc_want *want)
{
    const struct stun_msg *msg = req->msg;
    const uint8_t *token;
    uint8_t even = 0;
    size_t len;

    want->even_port = stun_get_u8(msg, STUN_EVEN_PORT, &even);
    want->reserve = want->even_port && (even & EVEN_PORT_RESERVE);
    token = stun_get(msg, STUN_RESERVATION_TOKEN, &len);
    if (!token)
        return 0;
    if (want->even_port || stun_has(msg, STUN_REQUESTED_ADDRESS_FAMILY) ||
        stun_has(msg, STUN_ADDITIONAL_ADDRESS_FAMILY))
        return 400;
    want->has_token = true;
    memcpy(want->token, token, sizeof(want->token));
    return 0;
}

/* Return: 0 and *want, or the error, in the order of RFC 8656, section 7.2. */
static unsigned int allocate_read(const struct request *req, struct assoc_want *want)
{
    unsigned int code = allocate_read_transport(req, want);

    if (code == 0)
        code = allocate_read_ports(req, want);
    if (code == 0)
        code = allocate_read_family(req, want);
    want->local = req->client->local;
    return code;
}

/* Before the ports, although the RFC looks at them first: a user over the quota must not be able to
 * use up ports and their hold-down by asking. */
static unsigned int allocate_charge(const struct request *req, struct quota_charge *charge)
{
    const struct conf *conf = req->turn->conf;
    /* RFC 8489, section 14.15: the alternate's family is that of the request's source. */
    bool redirect = conf->alternate_server.family == req->client->remote.family;
    int r;

    if (req->turn->draining)
        return redirect ? 300 : 508;
    r = quota_take(req->turn->params.quota, req->who.name + req->who.id_at, req->who.id_len,
                   conf->max_allocations_per_user, conf->max_allocations, charge);
    if (r == 0)
        return 0;
    if (r == QUOTA_E_USER)
        return 486;
    return r == QUOTA_E_TOTAL && redirect ? 300 : 508;
}

void alloc_on_allocate(struct request *req)
{
    struct turn *turn = req->turn;
    struct assoc_want want = {0};
    struct quota_charge charge = {0};
    struct alloc *alloc = req->client->alloc;
    bool mobile = false;
    unsigned int code;

    if (alloc) {
        /* A retransmission of the request being carried out: its answer is on the way. */
        if (alloc->state == ALLOC_OPENING &&
            memcmp(alloc->answer->txid, req->msg->txid, STUN_TXID_LEN) == 0)
            return;
        request_fail(req, 437);
        return;
    }
    code = allocate_read(req, &want);
    if (code == 0)
        code = mobility_read(req, &mobile);
    if (code == 0)
        code = allocate_charge(req, &charge);
    if (code != 0) {
        request_fail(req, code);
        return;
    }
    alloc = alloc_new(req, &charge);
    if (!alloc) {
        quota_give(&charge);
        request_fail(req, 508);
        return;
    }
    alloc->tcp = want.tcp;
    alloc->mobile = mobile && !want.tcp;
    alloc->lifetime_s = alloc_lifetime(req);
    turn->now_ns = req->now_ns;
    /* May answer, and free the allocation, before it returns. */
    if (turn->params.exit->ops->open(turn->params.exit, &want, &alloc_events, alloc,
                                     &alloc->assoc) < 0) {
        request_fail(req, 508);
        alloc_free(alloc);
    }
}

static unsigned int exit_error(enum exit_result result)
{
    switch (result) {
    case EXIT_E_FAMILY:
        return 440;
    case EXIT_E_FORBIDDEN:
        return 403;
    default:
        return 508;
    }
}

/* ADDRESS-ERROR-CODE (RFC 8656, section 18.12): which of the two families failed, and why. */
static void allocate_put_family_error(struct stun_builder *b, uint8_t family,
                                      enum exit_result result)
{
    unsigned int code = exit_error(result);

    stun_put_u32(b, STUN_ADDRESS_ERROR_CODE,
                 (uint32_t)family << 24 | (code / 100) << 8 | code % 100);
}

static void allocate_succeed(struct alloc *alloc, const struct assoc_opened *opened)
{
    struct turn *turn = alloc->turn;
    const struct addr *relayed =
        opened->relayed_v4.family != ADDR_NONE ? &opened->relayed_v4 : &opened->relayed_v6;
    struct addr shown = turn_shown_address(turn, alloc->client, relayed);
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;

    answer_begin(alloc->answer, &b, buf);
    if (opened->relayed_v4.family != ADDR_NONE)
        stun_put_addr(&b, STUN_XOR_RELAYED_ADDRESS, &opened->relayed_v4);
    if (opened->relayed_v6.family != ADDR_NONE)
        stun_put_addr(&b, STUN_XOR_RELAYED_ADDRESS, &opened->relayed_v6);
    if (opened->result_v4 != EXIT_OK)
        allocate_put_family_error(&b, FAMILY_IPV4, opened->result_v4);
    if (opened->result_v6 != EXIT_OK)
        allocate_put_family_error(&b, FAMILY_IPV6, opened->result_v6);
    stun_put_u32(&b, STUN_LIFETIME, alloc->lifetime_s);
    if (opened->has_token)
        stun_put(&b, STUN_RESERVATION_TOKEN, opened->token, sizeof(opened->token));
    stun_put_addr(&b, STUN_XOR_MAPPED_ADDRESS, &shown);
    mobility_put(alloc, &b);
    answer_send(turn, alloc->client, alloc->answer, &b, true, turn->now_ns);
    histogram_add(&turn->params.counters->allocation_time,
                  (clock_now_ns() - alloc->made_ns) / NS_PER_US);
}

static void alloc_on_open(void *user, const struct assoc_opened *opened)
{
    static const char *const names[N_TRANSPORTS] = {"UDP", "TCP", "TLS", "DTLS"};
    struct alloc *alloc = user;
    struct turn *turn = alloc->turn;
    char text[LOG_TEXT_LEN], from[ADDR_STRLEN];

    if (opened->result != EXIT_OK) {
        answer_error(turn, alloc->client, alloc->answer, exit_error(opened->result));
        if (opened->result == EXIT_E_CAPACITY)
            log_limited(LOG_LEVEL_WARNING, "no relayed port, descriptor or memory is left: a "
                                           "client was refused with 508");
        alloc_free(alloc);
        return;
    }
    alloc->state = ALLOC_LIVE;
    alloc->relayed_v4 = opened->relayed_v4;
    alloc->relayed_v6 = opened->relayed_v6;
    alloc->expires_v4_ns = alloc->expires_v6_ns = turn->now_ns + alloc->lifetime_s * NS_PER_S;
    counter_add(&turn->params.counters->allocations_made, 1);
    log_debug("allocation %llu made over %s for user \"%s\" at %s", (unsigned long long)alloc->id,
              names[alloc->client->transport], log_text(alloc->user, alloc->user_len, text),
              addr_logged(&alloc->client->remote, from));
    if (alloc->mobile)
        mobility_begin(alloc);
    allocate_succeed(alloc, opened);
    OPENSSL_clear_free(alloc->answer, sizeof(*alloc->answer));
    alloc->answer = NULL;
}

static void alloc_on_lost(void *user, enum exit_result why)
{
    struct alloc *alloc = user;

    if (alloc->state == ALLOC_OPENING)
        answer_error(alloc->turn, alloc->client, alloc->answer, exit_error(why));
    alloc_free(alloc);
}

/* ---- Refresh ---- */

/* `moved`: the allocation, when the answer is to carry its next ticket. */
static void refresh_answer(struct request *req, struct client *client, const struct alloc *moved,
                           uint32_t lifetime_s)
{
    uint8_t buf[TURN_ANSWER_MAX];
    struct stun_builder b;

    answer_begin(&req->answer, &b, buf);
    stun_put_u32(&b, STUN_LIFETIME, lifetime_s);
    if (moved)
        mobility_put(moved, &b);
    answer_send(req->turn, client, &req->answer, &b, lifetime_s == 0 || moved, req->now_ns);
}

/* Which relayed addresses a Refresh is about: with REQUESTED-ADDRESS-FAMILY that one, else all
 * there are (RFC 8656, section 8.1). Return: false for one that the allocation has not (443). */
static bool refresh_families(const struct request *req, const struct alloc *alloc, bool *ret_v4,
                             bool *ret_v6)
{
    bool has_v4 = alloc_has_family(alloc, ADDR_IPV4), has_v6 = alloc_has_family(alloc, ADDR_IPV6);
    uint8_t family;
    bool named = stun_get_u8(req->msg, STUN_REQUESTED_ADDRESS_FAMILY, &family);

    *ret_v4 = has_v4 && (!named || family == FAMILY_IPV4);
    *ret_v6 = has_v6 && (!named || family == FAMILY_IPV6);
    return *ret_v4 || *ret_v6;
}

void alloc_on_refresh(struct request *req)
{
    bool has_ticket = stun_has(req->msg, STUN_MOBILITY_TICKET);
    struct alloc *alloc = has_ticket ? mobility_find(req) : request_alloc(req);
    struct client *client = req->client;
    uint32_t wanted = ALLOC_LIFETIME_DEFAULT_S, lifetime_s;
    uint64_t expires_ns;
    bool v4, v6, moves;

    if (!alloc)
        return;
    if (!refresh_families(req, alloc, &v4, &v6)) {
        request_fail(req, 443);
        return;
    }
    stun_get_u32(req->msg, STUN_LIFETIME, &wanted);
    lifetime_s = wanted == 0 ? 0 : alloc_lifetime(req);
    moves = client != alloc->client && lifetime_s > 0;
    if (moves)
        client = mobility_move(alloc, req);
    if (!client) {
        request_fail(req, 508);
        return;
    }
    expires_ns = req->now_ns + lifetime_s * NS_PER_S;
    if (v4)
        alloc->expires_v4_ns = expires_ns;
    if (v6)
        alloc->expires_v6_ns = expires_ns;
    refresh_answer(req, client, moves ? alloc : NULL, lifetime_s);
    alloc_expire(alloc, req->now_ns);
}
