/*
 * The negotiation: methods, perhaps a login, one request
 *
 * States, moved here and (from WORKING on) by the command:
 *   METHODS -> LOGIN -> REQUEST    bytes are messages; half a minute for all of it.
 *                                  With users in the configuration LOGIN cannot be
 *                                  left out, whatever the app offers or sends.
 *   WORKING                        one command is being carried out. What the app
 *                                  sends already is not read: it waits for the far
 *                                  side (CONNECT, BIND) or means nothing (ASSOCIATE).
 *   JOINED, ASSOCIATED             until either side ends.
 *   CLOSING                        ten seconds for a reply to get out.
 */
#include <errno.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/front/socks5_impl.h"

static void socks5_say(struct socks5_conn *c, const void *data, size_t len)
{
    /* A stream that takes no more says so to on_closed(). */
    (void)stream_write(c->app, data, len);
}

void socks5_reply(struct socks5_conn *c, enum socks5_rep rep, const struct addr *bound)
{
    uint8_t buf[SOCKS5_REPLY_MAX];

    socks5_say(c, buf, socks5_put_reply(buf, rep, bound));
}

void socks5_end(struct socks5_conn *c)
{
    socks5_connect_free(c->connect);
    socks5_bind_free(c->bind);
    socks5_udp_free(c->udp);
    c->connect = NULL;
    c->bind = NULL;
    c->udp = NULL;
    c->state = SOCKS5_CLOSING;
    c->deadline_ns = clock_now_ns() + SOCKS5_CLOSING_S * NS_PER_S;
    stream_close(c->app, 0);
}

void socks5_fail(struct socks5_conn *c, enum socks5_rep rep)
{
    static const struct addr nowhere;

    counter_add(&c->socks->params.counters->socks_failed, 1);
    log_debug("socks5: a request was answered with error %d", (int)rep);
    socks5_reply(c, rep, &nowhere);
    socks5_end(c);
}

enum socks5_rep socks5_rep_of(enum exit_result result)
{
    switch (result) {
    case EXIT_OK:
        return SOCKS5_SUCCEEDED;
    case EXIT_E_FORBIDDEN:
        return SOCKS5_FORBIDDEN;
    case EXIT_E_DOWN:
    case EXIT_E_FAMILY:
        return SOCKS5_NET_UNREACHABLE;
    case EXIT_E_UNREACHABLE:
    case EXIT_E_NAME:
        return SOCKS5_HOST_UNREACHABLE;
    case EXIT_E_REFUSED:
        return SOCKS5_REFUSED;
    case EXIT_E_TIMEOUT:
        return SOCKS5_TTL_EXPIRED;
    default:
        return SOCKS5_FAILED;
    }
}

bool socks5_is_usable(const struct addr *addr)
{
    return addr->family != ADDR_NONE && !addr_is_any(addr) && addr->port != 0;
}

/* ---- joined ---- */

enum {
    SOCKS5_APP,
    SOCKS5_FAR,
};

static bool socks5_on_crossed(void *user, struct splice_end *from, size_t len)
{
    struct socks5_conn *c = user;
    struct counters *counters = c->socks->params.counters;

    counter_add(from == &c->pair.ends[SOCKS5_APP] ? &counters->up_bytes : &counters->down_bytes,
                len);
    return true;
}

static void socks5_on_ended(void *user)
{
    socks5_conn_free(user);
}

static const struct splice_events socks5_pair_events = {
    .on_crossed = socks5_on_crossed,
    .on_ended = socks5_on_ended,
};

void socks5_join(struct socks5_conn *c, struct stream *far)
{
    struct stream *app = c->app;

    c->state = SOCKS5_JOINED;
    c->deadline_ns = 0;
    c->app = NULL;
    splice_init(&c->pair, &socks5_pair_events, c);
    splice_add(&c->pair, SOCKS5_APP, app, c->eof);
    splice_add(&c->pair, SOCKS5_FAR, far, false);
}

/* ---- messages ---- */

/* A listener that others can reach is never open, even if a reload took all users away. */
static bool socks5_needs_login(const struct socks5 *s)
{
    return s->conf->n_user > 0 || !addr_is_loopback(&s->addr);
}

static ptrdiff_t socks5_on_methods(struct socks5_conn *c, const uint8_t *data, size_t len)
{
    uint8_t answer[2] = {SOCKS5_VERSION, SOCKS5_METHOD_REFUSED};
    struct socks5_methods offered;
    ptrdiff_t n = socks5_read_methods(data, len, &offered);

    if (n <= 0)
        return n;
    if (!socks5_needs_login(c->socks) && offered.none) {
        answer[1] = SOCKS5_METHOD_NONE;
        c->state = SOCKS5_REQUEST;
    } else if (socks5_needs_login(c->socks) && offered.login) {
        answer[1] = SOCKS5_METHOD_LOGIN;
        c->state = SOCKS5_LOGIN;
    }
    socks5_say(c, answer, sizeof(answer));
    if (answer[1] == SOCKS5_METHOD_REFUSED)
        socks5_end(c);
    return n;
}

static ptrdiff_t socks5_on_login(struct socks5_conn *c, const uint8_t *data, size_t len)
{
    uint8_t answer[2] = {1, 0};
    struct socks5_login login;
    ptrdiff_t n = socks5_read_login(data, len, &login);

    if (n == 0)
        return 0;
    c->logged_in = n > 0 && socks5_login_is_users(c->socks->conf, &login);
    answer[1] = !c->logged_in;
    socks5_say(c, answer, sizeof(answer));
    if (c->logged_in) {
        c->state = SOCKS5_REQUEST;
        return n;
    }
    counter_add(&c->socks->params.counters->socks_auth_failed, 1);
    log_limited(LOG_LEVEL_WARNING, "socks5: a login failed");
    socks5_end(c);
    return (ptrdiff_t)len;
}

/* A connection to ourselves goes no further: the app's stream becomes a client of the loopback
 * TURN server. Return: whether it did. */
static bool socks5_join_ours(struct socks5_conn *c, const struct socks5_target *target)
{
    const struct socks5_params *p = &c->socks->params;
    char ip[ADDR_STRLEN];
    const char *name = target->name;

    if (target->addr.family != ADDR_NONE)
        name = addr_format_ip(&target->addr, ip, sizeof(ip));
    if (!p->is_ours || !p->join || !p->is_ours(p->arg, name, target->addr.port))
        return false;
    socks5_reply(c, SOCKS5_SUCCEEDED, &c->local);
    if (p->join(p->arg, c->app, &c->remote))
        c->app = NULL;
    else
        socks5_end(c);
    return true;
}

static void socks5_start(struct socks5_conn *c, const struct socks5_request *request)
{
    struct counters *counters = c->socks->params.counters;

    c->state = SOCKS5_WORKING;
    c->deadline_ns = clock_now_ns() + SOCKS5_WORK_S * NS_PER_S;
    switch (request->command) {
    case SOCKS5_CONNECT:
        counter_add(&counters->socks_connect, 1);
        if (!socks5_join_ours(c, &request->target))
            socks5_connect_start(c, &request->target);
        break;
    case SOCKS5_BIND:
        counter_add(&counters->socks_bind, 1);
        socks5_bind_start(c, &request->target);
        break;
    default:
        counter_add(&counters->socks_associate, 1);
        socks5_udp_start(c, &request->target);
        break;
    }
}

static ptrdiff_t socks5_on_request(struct socks5_conn *c, const uint8_t *data, size_t len)
{
    struct socks5_request request;
    ptrdiff_t n = socks5_read_request(data, len, &request);

    if (n <= 0)
        return n;
    /* A reload may have brought users since the methods were settled. */
    if (socks5_needs_login(c->socks) && !c->logged_in)
        socks5_fail(c, SOCKS5_FORBIDDEN);
    else if (request.refusal != SOCKS5_SUCCEEDED)
        socks5_fail(c, request.refusal);
    else
        socks5_start(c, &request);
    return n;
}

/* ---- the app's stream ---- */

/* Return: how many of the bytes were messages, or -errno. */
static ptrdiff_t socks5_negotiate(struct socks5_conn *c, const uint8_t *data, size_t len)
{
    size_t used = 0;
    ptrdiff_t n = 1;

    while (n > 0 && used < len && c->state < SOCKS5_WORKING) {
        const uint8_t *at = data + used;

        if (c->state == SOCKS5_METHODS)
            n = socks5_on_methods(c, at, len - used);
        else if (c->state == SOCKS5_LOGIN)
            n = socks5_on_login(c, at, len - used);
        else
            n = socks5_on_request(c, at, len - used);
        used += n > 0 ? (size_t)n : 0;
    }
    return n < 0 ? n : (ptrdiff_t)used;
}

static ptrdiff_t socks5_on_bytes(void *user, const uint8_t *data, size_t len)
{
    struct socks5_conn *c = user;
    ptrdiff_t used = socks5_negotiate(c, data, len);

    if (used >= 0 && !c->app) { /* handed over, with the rest */
        socks5_conn_free(c);
        return used;
    }
    if (used < 0 || c->state == SOCKS5_CLOSING)
        return used < 0 ? used : (ptrdiff_t)len;
    if (c->udp)
        return (ptrdiff_t)len;
    if (c->state == SOCKS5_WORKING && (size_t)used < len)
        stream_pause(c->app);
    return used;
}

static void socks5_on_eof(void *user)
{
    struct socks5_conn *c = user;

    c->eof = true;
    /* It may only have ended its sending, as HTTP/0.9 and `nc -N` do. */
    if (c->state == SOCKS5_WORKING && !c->udp)
        return;
    socks5_end(c);
}

static void socks5_on_closed(void *user, int reason)
{
    socks5_conn_free(user);
}

const struct stream_events socks5_app_events = {
    .on_bytes = socks5_on_bytes,
    .on_eof = socks5_on_eof,
    .on_closed = socks5_on_closed,
};
