/*
 * CONNECT: one stream to an address, or to the first of a name's addresses that
 * answers
 *
 * Addresses are tried in the order in which the exit gives them: the next one
 * after 250 ms without an answer, or at once when one fails; the first stream
 * wins and the other attempts are given up (RFC 8305, section 5). An address of a
 * family that the exit does not have costs one failed attempt and no time.
 */
#include <stdlib.h>

#include "common/base/clock.h"
#include "relay/front/socks5_impl.h"

#define CONNECT_ATTEMPT_DELAY_MS 250

struct connect_attempt {
    struct socks5_connect *connect;
    struct dial *dial; /* NULL: not begun, or over */
};

struct socks5_connect {
    struct socks5_conn *conn;
    struct lookup *lookup; /* under way; or NULL */
    struct addr addrs[SOCKS5_ADDRS_MAX];
    struct connect_attempt attempts[SOCKS5_ADDRS_MAX];
    size_t n_addrs, n_tried, n_running;
    enum exit_result why; /* the most telling failure so far */
    struct event next;    /* the next address's turn */
};

static struct exit *connect_exit(const struct socks5_connect *connect)
{
    return connect->conn->socks->params.exit;
}

void socks5_connect_free(struct socks5_connect *connect)
{
    const struct exit_ops *ops;

    if (!connect)
        return;
    ops = connect_exit(connect)->ops;
    if (connect->lookup)
        ops->forget(connect->lookup);
    for (size_t i = 0; i < connect->n_tried; i++)
        if (connect->attempts[i].dial)
            ops->hang_up(connect->attempts[i].dial);
    event_del(&connect->next);
    free(connect);
}

static void connect_won(struct socks5_connect *connect, struct stream *stream,
                        const struct addr *relayed)
{
    struct socks5_conn *c = connect->conn;

    socks5_reply(c, SOCKS5_SUCCEEDED, socks5_is_usable(relayed) ? relayed : &c->local);
    c->connect = NULL;
    socks5_connect_free(connect);
    socks5_join(c, stream);
}

/* A family that is missing says least about why a name with other addresses failed. */
static void connect_note_failure(struct socks5_connect *connect, enum exit_result why)
{
    if (why != EXIT_E_FAMILY || connect->why == EXIT_OK)
        connect->why = why;
}

static void connect_on_dialed(void *user, enum exit_result result, struct stream *stream,
                              const struct addr *relayed);

static void connect_arm(struct socks5_connect *connect)
{
    unsigned int ms = connect->conn->socks->params.attempt_delay_ms;
    struct timeval tv;

    ms = ms ? ms : CONNECT_ATTEMPT_DELAY_MS;
    tv = (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    if (connect->n_tried < connect->n_addrs)
        evtimer_add(&connect->next, &tv);
    else
        event_del(&connect->next);
}

/* Begins the next attempt, or fails when there is none left to wait for. `connect` may be gone
 * after it. */
static void connect_go_on(struct socks5_connect *connect)
{
    struct exit *exit = connect_exit(connect);

    while (connect->n_tried < connect->n_addrs) {
        struct connect_attempt *attempt = &connect->attempts[connect->n_tried];
        const struct addr *addr = &connect->addrs[connect->n_tried++];

        attempt->connect = connect;
        if (exit->ops->dial(exit, addr, connect_on_dialed, attempt, &attempt->dial) < 0) {
            connect_note_failure(connect, EXIT_E_CAPACITY);
            continue;
        }
        connect->n_running++;
        connect_arm(connect);
        return;
    }
    if (connect->n_running == 0)
        socks5_fail(connect->conn, socks5_rep_of(connect->why));
}

static void connect_on_dialed(void *user, enum exit_result result, struct stream *stream,
                              const struct addr *relayed)
{
    struct connect_attempt *attempt = user;
    struct socks5_connect *connect = attempt->connect;

    attempt->dial = NULL;
    connect->n_running--;
    if (result == EXIT_OK) {
        connect_won(connect, stream, relayed);
        return;
    }
    connect_note_failure(connect, result);
    connect_go_on(connect);
}

static void connect_on_timer(evutil_socket_t fd, short what, void *arg)
{
    connect_go_on(arg);
}

static void connect_on_resolved(void *user, enum exit_result result, const struct addr *addrs,
                                size_t n)
{
    struct socks5_connect *connect = user;
    uint16_t port = connect->addrs[0].port;

    connect->lookup = NULL;
    if (result != EXIT_OK) {
        socks5_fail(connect->conn, socks5_rep_of(result));
        return;
    }
    for (size_t i = 0; i < n && i < SOCKS5_ADDRS_MAX; i++) {
        connect->addrs[i] = addrs[i];
        connect->addrs[i].port = port;
        connect->n_addrs++;
    }
    connect_go_on(connect);
}

void socks5_connect_start(struct socks5_conn *c, const struct socks5_target *target)
{
    struct exit *exit = c->socks->params.exit;
    struct socks5_connect *connect = NULL;

    if (exit->ops->dial && exit->ops->resolve && target->addr.port != 0)
        connect = calloc(1, sizeof(*connect));
    if (!connect) {
        socks5_fail(c, SOCKS5_FAILED);
        return;
    }
    c->connect = connect;
    connect->conn = c;
    connect->addrs[0] = target->addr;
    evtimer_assign(&connect->next, c->socks->params.base, connect_on_timer, connect);
    if (target->addr.family != ADDR_NONE) {
        connect->n_addrs = 1;
        connect_go_on(connect);
    } else if (exit->ops->resolve(exit, target->name, connect_on_resolved, connect,
                                  &connect->lookup) < 0) {
        socks5_fail(c, SOCKS5_FAILED);
    }
}
