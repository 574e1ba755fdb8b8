/* RFC 6062 on the control connection: Connect and ConnectionAttempt. */
#include <stdlib.h>

#include "relay/exit/upstream/session_impl.h"

/* A relay may try for half a minute and more (RFC 6062, section 5.2). */
#define CONNECT_NS (45 * NS_PER_S)
/* A refusal comes within a round trip or a few; what took longer was waited for. */
#define CONNECT_SLOW_NS (10 * NS_PER_S)

#define ICMPV4_UNREACHABLE      3
#define ICMPV4_PORT_UNREACHABLE 3
#define ICMPV6_UNREACHABLE      1
#define ICMPV6_PORT_UNREACHABLE 4

static void connect_put(struct session *s, const void *subject, struct stun_builder *b)
{
    const struct session_connect *c = subject;

    stun_put_addr(b, STUN_XOR_PEER_ADDRESS, &c->peer);
}

static void connect_free(struct session *s, struct session_connect *c)
{
    list_remove(&c->link);
    s->n_connects--;
    free(c);
}

static void connect_finish(struct session *s, struct session_connect *c, enum exit_result result,
                           uint32_t connection_id)
{
    uint32_t id = c->id;

    connect_free(s, c);
    s->events->on_connect(s->user, id, result, connection_id);
}

static void connect_on_success(struct session *s, void *subject, const struct stun_msg *msg,
                               uint64_t sent_ns, uint64_t now_ns)
{
    uint32_t connection_id = 0;
    bool ok = stun_get_u32(msg, STUN_CONNECTION_ID, &connection_id);

    connect_finish(s, subject, ok ? EXIT_OK : EXIT_E_UNREACHABLE, connection_id);
}

/* 447, "Connection Timeout or Failure", says which of them only by the time it took; our own relay
 * adds what it heard as an ICMP attribute. */
static enum exit_result connect_failure(const struct session_connect *c, const struct stun_msg *msg,
                                        uint64_t now_ns)
{
    size_t len = 0;
    const uint8_t *icmp = msg ? stun_get(msg, STUN_ICMP, &len) : NULL;

    if (icmp && icmp[2] == ICMPV4_UNREACHABLE)
        return icmp[3] == ICMPV4_PORT_UNREACHABLE ? EXIT_E_REFUSED : EXIT_E_UNREACHABLE;
    if (icmp && icmp[2] == ICMPV6_UNREACHABLE)
        return icmp[3] == ICMPV6_PORT_UNREACHABLE ? EXIT_E_REFUSED : EXIT_E_UNREACHABLE;
    return now_ns - c->asked_ns > CONNECT_SLOW_NS ? EXIT_E_TIMEOUT : EXIT_E_REFUSED;
}

static enum exit_result connect_result(const struct session_connect *c, unsigned int code,
                                       const struct stun_msg *msg, uint64_t now_ns)
{
    switch (code) {
    case 0:
        return EXIT_E_TIMEOUT;
    case 401:
    case 438:
        return EXIT_E_DOWN; /* about us, and not about the peer */
    case 403:
        return EXIT_E_FORBIDDEN;
    case 440:
    case 443:
        return EXIT_E_FAMILY;
    case 446:
        return EXIT_E_DUPLICATE;
    case 447:
        return connect_failure(c, msg, now_ns);
    case 486:
    case 508:
        return EXIT_E_CAPACITY;
    default:
        return EXIT_E_UNREACHABLE;
    }
}

static void connect_on_failure(struct session *s, void *subject, unsigned int code,
                               const struct stun_msg *msg, uint64_t sent_ns, uint64_t now_ns)
{
    struct session_connect *c = subject;

    if (code == 437 || code == 441) {
        session_fail(s, SESSION_E_LOST, code, "the relay has forgotten the allocation");
        return;
    }
    if (code == 401)
        session_probe(s, now_ns); /* a Refresh shows whether the user is still one */
    connect_finish(s, c, connect_result(c, code, msg, now_ns), 0);
}

static const struct session_kind connect_kind = {
    .method = STUN_CONNECT,
    .patience_ns = CONNECT_NS,
    .stream_patience_ns = CONNECT_NS,
    .put = connect_put,
    .on_success = connect_on_success,
    .on_failure = connect_on_failure,
};

enum exit_result session_connect(struct session *s, const struct addr *peer, uint32_t connect_id,
                                 uint64_t now_ns)
{
    const struct assoc_opened *o = &s->opened;
    struct session_connect *c;
    bool asked;

    if (s->state != SESSION_LIVE || !s->want.tcp)
        return EXIT_E_DOWN;
    if (peer->family == ADDR_NONE ||
        (peer->family == ADDR_IPV4 ? o->relayed_v4 : o->relayed_v6).family == ADDR_NONE)
        return EXIT_E_FAMILY;
    c = s->n_connects < SESSION_CONNECTS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c)
        return EXIT_E_CAPACITY;
    *c = (struct session_connect){.peer = *peer, .id = connect_id, .asked_ns = now_ns};
    list_append(&s->connects, &c->link);
    s->n_connects++;
    session_enter(s);
    asked = session_ask(s, &connect_kind, c, now_ns);
    if (!asked)
        connect_free(s, c);
    session_leave(s);
    return asked ? EXIT_OK : EXIT_E_CAPACITY;
}

void session_on_attempt(struct session *s, const struct stun_msg *msg)
{
    uint32_t connection_id;
    struct addr peer;

    if (s->state != SESSION_LIVE || !s->want.tcp || msg->n_unknown > 0 ||
        !stun_get_peer(msg, 0, &peer) || !stun_get_u32(msg, STUN_CONNECTION_ID, &connection_id))
        return;
    s->events->on_attempt(s->user, &peer, connection_id);
}

void session_connects_deinit(struct session *s)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &s->connects)
        connect_free(s, list_entry(it, struct session_connect, link));
}
