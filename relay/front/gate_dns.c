/*
 * Port 53: queries are relayed to the configured name servers
 *
 * Whatever address the app asks, the query goes through one association of the exit to
 * our servers, byte for byte but for its id, and so does the answer back, in the name of
 * the server that the app asked. The id is a random one of ours, and an answer must come
 * from the server that was asked and repeat the question (RFC 5452): whoever guesses
 * answers must guess that. The next server is asked when one keeps silent; when none
 * answers, or the relay is gone, the app is told so (SERVFAIL).
 *
 * Addresses of a family that the relay does not have are not told. The app's connect(2)
 * always succeeds (gate_tcp.c), so it would settle on IPv6, lose the connection at once, and
 * never try IPv4: what is meant to choose between the two (RFC 8305) chooses by connect(2).
 *
 * A query lives from the app's question to its answer, and its bytes with it.
 */
#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/base/log.h"
#include "common/wire/dns.h"
#include "relay/front/gate_impl.h"

#define DNS_QUERY_MAX     512
#define DNS_TRIES_MAX     4
#define DNS_TRY_NS        (1500 * NS_PER_MS)
#define DNS_TIMEOUT_NS    (5 * NS_PER_S)
#define DNS_QUESTION(msg) ((msg) + DNS_HEADER_LEN)

struct gate_query {
    struct list link;             /* dns->queries, oldest first */
    struct addr app, asked;       /* who asks, and whom it thinks it asks */
    struct dns_question question; /* with the app's id */
    uint16_t id;                  /* ours */
    struct addr server;           /* the one asked last; ADDR_NONE: none yet */
    unsigned int n_tries;
    uint64_t born_ns, tried_ns;
    size_t len;
    uint8_t data[DNS_QUERY_MAX];
};

/* As an association of gate_udp.c: opened by a query, closed when idle. */
struct gate_dns {
    struct gate *gate;
    struct addr servers[GATE_DNS_MAX];
    size_t n_servers;
    struct assoc *assoc;
    bool is_open, has_v4, has_v6;
    bool is_sending; /* the list is being walked, or a query on it in use */
    uint64_t used_ns, retry_ns;
    struct list queries;
    unsigned int n_queries;
};

/* ---- answers ---- */

static void dns_refuse(struct gate_dns *dns, const struct rx_packet *packet,
                       const struct dns_question *question, enum dns_rcode rcode)
{
    uint8_t buf[DNS_FAILURE_MAX];
    size_t len = dns_put_failure(buf, packet->data, question, rcode);

    gate_answer(dns->gate, &packet->to, &packet->from, NULL, 0, buf, len, clock_now_ns());
    tx_flush(dns->gate->params.tx); /* `buf` ends here */
}

static void query_free(struct gate_dns *dns, struct gate_query *q)
{
    tx_flush(dns->gate->params.tx); /* it may be on its way */
    list_remove(&q->link);
    dns->n_queries--;
    free(q);
}

static void query_refuse(struct gate_dns *dns, struct gate_query *q, enum dns_rcode rcode)
{
    const struct rx_packet packet = {
        .data = q->data, .len = q->len, .from = q->app, .to = q->asked};

    dns_refuse(dns, &packet, &q->question, rcode);
    query_free(dns, q);
}

static void query_fail(struct gate_dns *dns, struct gate_query *q)
{
    counter_add(&dns->gate->params.counters->gate_dns_failed, 1);
    query_refuse(dns, q, DNS_RCODE_SERVFAIL);
}

static void dns_fail_all(struct gate_dns *dns)
{
    struct list *it, *tmp;

    if (!list_empty(&dns->queries))
        log_limited(LOG_LEVEL_WARNING, "gate: no way to a name server: queries fail");
    list_for_each_safe (it, tmp, &dns->queries)
        query_fail(dns, list_entry(it, struct gate_query, link));
}

/* ---- asking ---- */

static bool dns_reaches(const struct gate_dns *dns, const struct addr *server)
{
    return server->family == ADDR_IPV6 ? dns->has_v6 : dns->has_v4;
}

/* Sends to the next server that may be sent to. Return: false when there is none. */
static bool query_try(struct gate_dns *dns, struct gate_query *q, uint64_t now_ns)
{
    const struct exit_ops *ops = dns->gate->params.exit->ops;
    bool is_sent = false;

    dns->is_sending = true;
    while (dns->is_open && !is_sent && q->n_tries < DNS_TRIES_MAX) {
        const struct addr *server = &dns->servers[q->n_tries++ % dns->n_servers];
        struct addr ip = *server;

        ip.port = 0;
        if (!dns_reaches(dns, server) || !exit_may_send(ops->permit(dns->assoc, &ip)) ||
            !dns->is_open)
            continue;
        q->server = *server;
        q->tried_ns = now_ns;
        ops->send(dns->assoc, server, q->data, q->len, false);
        is_sent = true;
    }
    dns->is_sending = false;
    return is_sent;
}

/* Deals with a query that has not been sent yet, while the association is open. `q` may be gone
 * after it; when the association is, `q` is not. */
static void query_begin(struct gate_dns *dns, struct gate_query *q, uint64_t now_ns)
{
    uint16_t type = q->question.type;

    if ((type == DNS_TYPE_AAAA && !dns->has_v6) || (type == DNS_TYPE_A && !dns->has_v4)) {
        counter_add(&dns->gate->params.counters->gate_dns_no_family, 1);
        query_refuse(dns, q, DNS_RCODE_OK);
    } else if (!query_try(dns, q, now_ns) && dns->is_open) {
        query_fail(dns, q);
    }
}

/* Every query that waits for the association, or (`refused`) for a server that will not do. */
static void dns_try_all(struct gate_dns *dns, const struct addr *refused)
{
    uint64_t now_ns = clock_now_ns();
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &dns->queries) {
        struct gate_query *q = list_entry(it, struct gate_query, link);

        if (dns->is_open && (refused ? addr_ip_equal(&q->server, refused) : q->n_tries == 0))
            query_begin(dns, q, now_ns);
    }
    if (!dns->assoc) /* lost on the way */
        dns_fail_all(dns);
}

/* ---- the association ---- */

static void dns_close(struct gate_dns *dns)
{
    struct assoc *assoc = dns->assoc;

    dns->assoc = NULL;
    dns->is_open = false;
    if (assoc)
        dns->gate->params.exit->ops->close(assoc);
}

static void dns_on_open(void *user, const struct assoc_opened *opened)
{
    struct gate_dns *dns = user;

    if (opened->result != EXIT_OK) {
        dns_close(dns);
        dns->retry_ns = clock_now_ns() + GATE_RETRY_S * NS_PER_S;
        dns_fail_all(dns);
        return;
    }
    dns->is_open = true;
    dns->has_v4 = opened->relayed_v4.family != ADDR_NONE;
    dns->has_v6 = opened->relayed_v6.family != ADDR_NONE;
    dns_try_all(dns, NULL);
}

/* May come while a query is being sent: whoever sends looks at dns->assoc behind it. */
static void dns_on_lost(void *user, enum exit_result why)
{
    struct gate_dns *dns = user;
    bool was_open = dns->is_open;

    dns_close(dns);
    dns->retry_ns = was_open ? 0 : clock_now_ns() + GATE_RETRY_S * NS_PER_S;
    if (!dns->is_sending)
        dns_fail_all(dns);
}

static void dns_on_permitted(void *user, const struct addr *peer, enum exit_result result)
{
    struct gate_dns *dns = user;

    /* In mid-send, the sweep sees to it. */
    if (!exit_may_send(result) && !dns->is_sending)
        dns_try_all(dns, peer);
}

static void dns_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    struct gate_dns *dns = user;

    if (!dns->is_sending)
        dns_try_all(dns, &icmp->peer);
}

static void dns_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                            uint64_t now_ns)
{
    struct gate_dns *dns = user;
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &dns->queries) {
        struct gate_query *q = list_entry(it, struct gate_query, link);
        uint8_t id[2];

        if (!addr_equal(&q->server, peer) ||
            !dns_answers(data, len, q->id, DNS_QUESTION(q->data), q->question.question_len))
            continue;
        put_u16(id, q->question.id);
        gate_answer(dns->gate, &q->asked, &q->app, id, sizeof(id), data + 2, len - 2, now_ns);
        query_free(dns, q);
        return;
    }
    counter_add(&dns->gate->params.counters->drop_malformed, 1);
}

static const struct assoc_events dns_events = {
    .on_open = dns_on_open,
    .on_datagram = dns_on_datagram,
    .on_icmp = dns_on_icmp,
    .on_permitted = dns_on_permitted,
    .on_lost = dns_on_lost,
};

/* Opens the association if need be. Return: false when it cannot be. */
static bool dns_ready(struct gate_dns *dns, uint64_t now_ns)
{
    /* Both, whatever the servers': it tells what the relay has. */
    const struct assoc_want want = {.v4 = true, .v6 = true};
    struct exit *exit = dns->gate->params.exit;

    dns->used_ns = now_ns;
    if (!dns->assoc && dns->n_servers > 0 && dns->retry_ns <= now_ns)
        (void)exit->ops->open(exit, &want, &dns_events, dns, &dns->assoc);
    return dns->assoc != NULL;
}

/* ---- from the app ---- */

static bool dns_id_is_free(const struct gate_dns *dns, uint16_t id)
{
    for (const struct list *it = dns->queries.next; it != &dns->queries; it = it->next)
        if (list_entry(it, const struct gate_query, link)->id == id)
            return false;
    return true;
}

/* Return: false when the system has no random bytes. */
static bool dns_draw_id(const struct gate_dns *dns, uint16_t *ret)
{
    do {
        if (RAND_bytes((unsigned char *)ret, sizeof(*ret)) != 1)
            return false;
    } while (!dns_id_is_free(dns, *ret));
    return true;
}

static struct gate_query *query_new(struct gate_dns *dns, const struct rx_packet *packet,
                                    const struct dns_question *question, uint64_t now_ns)
{
    struct gate_query *q = NULL;
    uint16_t id;

    if (dns->n_queries < GATE_QUERIES_MAX && packet->len <= DNS_QUERY_MAX && dns_draw_id(dns, &id))
        q = malloc(sizeof(*q));
    if (!q)
        return NULL;
    *q = (struct gate_query){
        .app = packet->from,
        .asked = packet->to,
        .question = *question,
        .id = id,
        .born_ns = now_ns,
        .len = packet->len,
    };
    memcpy(q->data, packet->data, packet->len);
    put_u16(q->data, id);
    list_append(&dns->queries, &q->link);
    dns->n_queries++;
    return q;
}

static void dns_relay(struct gate_dns *dns, const struct rx_packet *packet,
                      const struct dns_question *question, uint64_t now_ns)
{
    struct counters *counters = dns->gate->params.counters;
    struct gate_query *q = NULL;

    counter_add(&counters->gate_dns, 1);
    if (dns_ready(dns, now_ns))
        q = query_new(dns, packet, question, now_ns);
    if (!q) {
        counter_add(&counters->gate_dns_failed, 1);
        dns_refuse(dns, packet, question, DNS_RCODE_SERVFAIL);
        return;
    }
    if (dns->is_open)
        query_begin(dns, q, now_ns);
    if (!dns->assoc)
        dns_fail_all(dns);
}

void gate_dns_ask(struct gate_dns *dns, const struct rx_packet *packet, uint64_t now_ns)
{
    struct counters *counters = dns->gate->params.counters;
    struct dns_question question;
    int r = dns_read_query(packet->data, packet->len, &question);

    if (r < 0) {
        counter_add(&counters->drop_malformed, 1);
    } else if (r > 0) {
        dns_refuse(dns, packet, &question, (enum dns_rcode)r);
    } else if (!dns_name_is_global(question.name)) {
        counter_add(&counters->gate_dns_local, 1);
        dns_refuse(dns, packet, &question, DNS_RCODE_NXDOMAIN);
    } else {
        dns_relay(dns, packet, &question, now_ns);
    }
}

void gate_dns_sweep(struct gate_dns *dns, uint64_t now_ns)
{
    struct list *it, *tmp;

    if (!dns->assoc) {
        dns_fail_all(dns);
        return;
    }
    list_for_each_safe (it, tmp, &dns->queries) {
        struct gate_query *q = list_entry(it, struct gate_query, link);

        if (q->born_ns + DNS_TIMEOUT_NS <= now_ns)
            query_fail(dns, q);
        else if (dns->is_open && q->tried_ns + DNS_TRY_NS <= now_ns)
            (void)query_try(dns, q, now_ns);
    }
    if (list_empty(&dns->queries) && dns->used_ns + GATE_DNS_IDLE_S * NS_PER_S <= now_ns)
        dns_close(dns);
}

/* ---- life ---- */

int gate_dns_new(struct gate *g, struct gate_dns **ret)
{
    struct gate_dns *dns = calloc(1, sizeof(*dns));

    if (!dns)
        return -ENOMEM;
    dns->gate = g;
    list_init(&dns->queries);
    for (size_t i = 0; i < g->params.n_dns && i < GATE_DNS_MAX; i++)
        dns->servers[dns->n_servers++] = g->params.dns[i];
    *ret = dns;
    return 0;
}

void gate_dns_free(struct gate_dns *dns)
{
    struct list *it, *tmp;

    if (!dns)
        return;
    dns_close(dns);
    list_for_each_safe (it, tmp, &dns->queries)
        query_free(dns, list_entry(it, struct gate_query, link));
    free(dns);
}

struct addr gate_dns_server(const struct gate_dns *dns)
{
    return dns->n_servers > 0 ? dns->servers[0] : (struct addr){0};
}
