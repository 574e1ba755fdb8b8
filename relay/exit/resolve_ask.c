/*
 * Asking c-ares, and what its answers mean
 *
 * Far, the two families are two questions of ours rather than one AF_UNSPEC: that
 * reports the status of whichever came last, and a lost answer beside an empty one would
 * pass for a name without addresses. Near it is one question, because a line in
 * /etc/hosts must answer for both. NOSORT: sorting by RFC 6724 asks this machine's
 * routes, with sockets connected to each address; only `near` may do that.
 */
#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "relay/exit/resolve_impl.h"

int resolve_seed(void)
{
    unsigned int seed;

    if (RAND_bytes((unsigned char *)&seed, sizeof(seed)) != 1)
        return -EIO;
    srand(seed);
    return 0;
}

bool resolve_enter(struct resolver *r)
{
    if (r->is_inside)
        return false;
    r->is_inside = true;
    return true;
}

void resolve_leave(struct resolver *r)
{
    struct timeval tv, *next;

    r->is_inside = false;
    next = ares_timeout(r->channel, NULL, &tv);
    if (next)
        evtimer_add(&r->timer, next);
    else
        evtimer_del(&r->timer);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct resolver *r = arg;

    if (!resolve_enter(r))
        return;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    resolve_leave(r);
}

void resolve_timer_init(struct resolver *r)
{
    evtimer_assign(&r->timer, r->base, on_timer, r);
}

void resolve_cancel(struct resolver *r)
{
    if (!resolve_enter(r))
        return;
    r->is_cancelling = true;
    ares_cancel(r->channel);
    r->is_cancelling = false;
    resolve_leave(r);
}

/* The shortest TTL of the whole chain. One with its top bit set is 0 (RFC 2181, section 8). */
static void keep_ttl(struct query *q, int ttl)
{
    uint32_t ttl_s = ttl > 0 ? (uint32_t)ttl : 0;

    if (ttl_s < q->ttl_s)
        q->ttl_s = ttl_s;
}

static void keep_addrs(struct query *q, const struct ares_addrinfo *info)
{
    const struct ares_addrinfo_cname *cname;
    const struct ares_addrinfo_node *node;
    size_t n = 0;

    for (cname = info->cnames; cname; cname = cname->next)
        keep_ttl(q, cname->ttl);
    /* Half of the room for either question, so that the second is not left out. */
    for (node = info->nodes; node && n < RESOLVE_ADDRS_MAX / 2; node = node->ai_next) {
        struct addr addr = addr_from_sockaddr(node->ai_addr);

        keep_ttl(q, node->ai_ttl);
        if (addr.family == ADDR_NONE || q->n_found == RESOLVE_ADDRS_MAX)
            continue;
        addr.port = 0;
        q->found[q->n_found++] = addr;
        n++;
    }
}

static void note_answer(struct query *q, int status, const struct ares_addrinfo *info)
{
    switch (status) {
    case ARES_SUCCESS:
        keep_addrs(q, info);
        break;
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
        q->no_name = true;
        break;
    case ARES_ENODATA:
        break;
    default:
        q->failed = true;
    }
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct query *q = arg;

    q->n_asked--;
    /* One that will be asked anew keeps nothing of this attempt. */
    if (!(q->r->is_cancelling && q->is_listed))
        note_answer(q, status, info);
    ares_freeaddrinfo(info);
    if (q->r->is_cancelling && q->is_listed)
        return;
    if (q->n_asked == 0)
        resolve_query_complete(q);
    else if (q->n_found > 0)
        resolve_query_expect_other(q);
}

void resolve_ask(struct query *q)
{
    struct resolver *r = q->r;
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT};

    if (!resolve_enter(r))
        return;
    q->is_waiting = false;
    q->n_found = 0;
    q->no_name = q->failed = false;
    q->ttl_s = UINT32_MAX;
    /* A callback may come at once, and the last of them frees `q`. */
    if (r->near) {
        hints.ai_flags = 0;
        hints.ai_family = AF_UNSPEC;
        q->n_asked = 1;
        ares_getaddrinfo(r->channel, q->name, NULL, &hints, on_answer, q);
    } else {
        q->n_asked = 2;
        hints.ai_family = AF_INET6;
        ares_getaddrinfo(r->channel, q->name, NULL, &hints, on_answer, q);
        hints.ai_family = AF_INET;
        ares_getaddrinfo(r->channel, q->name, NULL, &hints, on_answer, q);
    }
    resolve_leave(r);
}
