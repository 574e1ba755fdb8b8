#include "relay/stats/conns.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "common/base/clock.h"

/*
 * evhttp 2.1 tells nobody that a connection has come or gone (evhttp_set_newreqcb()
 * is of 2.2), but asks for its bufferevent. We make one that closes its socket when
 * it dies and keep a reference to it, so that the descriptor stays this connection's
 * for as long as we know it:
 *
 *   in use     evhttp's callbacks are set. Too old, or in the way of a new one:
 *              shutdown(2), on which evhttp reads an end of file and lets go.
 *   let go     bufferevent_free() has taken the callbacks off; evhttp has sent a FIN.
 *              The next sweep drops our reference, which closes the socket.
 *
 * Were the callbacks no longer taken off in some later libevent, the time limit would
 * still end every connection.
 */

/* evhttp reads 8 KiB of headers at most; nobody reads what comes after it has let go. */
#define CONNS_READ_MAX 16384

#define CONNS_SWEEP_PER_TIME 16

static bool conns_is_let_go(const struct stats_conn *conn)
{
    bufferevent_event_cb on_event;

    bufferevent_getcb(conn->bev, NULL, NULL, &on_event, NULL);
    return !on_event;
}

static void conns_drop(struct stats_conn *conn)
{
    shutdown(bufferevent_getfd(conn->bev), SHUT_RDWR);
    bufferevent_decref(conn->bev);
    conn->bev = NULL;
}

/* Return: how many are left. */
static unsigned int conns_sweep(struct stats_conns *conns, uint64_t now_ns)
{
    unsigned int n_left = 0;

    for (size_t i = 0; i < STATS_CONN_MAX; i++) {
        struct stats_conn *conn = &conns->conn[i];

        if (!conn->bev)
            continue;
        if (conns_is_let_go(conn) || now_ns - conn->since_ns >= conns->time_ms * NS_PER_MS)
            conns_drop(conn);
        else
            n_left++;
    }
    return n_left;
}

static void conns_on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct stats_conns *conns = arg;

    if (conns_sweep(conns, clock_now_ns()) == 0)
        event_del(conns->sweep);
}

int stats_conns_init(struct stats_conns *conns, struct event_base *base, unsigned int time_ms)
{
    *conns = (struct stats_conns){.time_ms = time_ms};
    conns->sweep = event_new(base, -1, EV_PERSIST, conns_on_sweep, conns);
    return conns->sweep ? 0 : -ENOMEM;
}

void stats_conns_deinit(struct stats_conns *conns)
{
    for (size_t i = 0; i < STATS_CONN_MAX; i++)
        if (conns->conn[i].bev)
            conns_drop(&conns->conn[i]);
    if (conns->sweep)
        event_free(conns->sweep);
    conns->sweep = NULL;
    stats_conns_set_tls(conns, NULL);
}

void stats_conns_set_tls(struct stats_conns *conns, SSL_CTX *tls)
{
    if (tls)
        SSL_CTX_up_ref(tls);
    SSL_CTX_free(conns->tls);
    conns->tls = tls;
}

static struct bufferevent *conns_new_bev(const struct stats_conns *conns, struct event_base *base)
{
    struct bufferevent *bev;
    SSL *ssl;

    if (!conns->tls)
        return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    ERR_clear_error();
    ssl = SSL_new(conns->tls);
    if (!ssl)
        return NULL;
    bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                         BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        SSL_free(ssl);
        return NULL;
    }
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

static struct stats_conn *conns_place(struct stats_conns *conns)
{
    struct stats_conn *oldest = &conns->conn[0];

    for (size_t i = 0; i < STATS_CONN_MAX; i++) {
        struct stats_conn *conn = &conns->conn[i];

        if (!conn->bev)
            return conn;
        if (conn->since_ns < oldest->since_ns)
            oldest = conn;
    }
    conns_drop(oldest);
    return oldest;
}

struct bufferevent *stats_conns_on_accept(struct event_base *base, void *arg)
{
    struct stats_conns *conns = arg;
    unsigned int sweep_ms = conns->time_ms / CONNS_SWEEP_PER_TIME;
    struct timeval every = {sweep_ms / 1000, sweep_ms % 1000 * 1000};
    uint64_t now_ns = clock_now_ns();
    struct bufferevent *bev = conns_new_bev(conns, base);
    struct stats_conn *conn;

    if (!bev)
        return NULL;
    bufferevent_setwatermark(bev, EV_READ, 0, CONNS_READ_MAX);
    if (conns_sweep(conns, now_ns) == 0)
        event_add(conns->sweep, &every);
    conn = conns_place(conns);
    bufferevent_incref(bev);
    *conn = (struct stats_conn){bev, now_ns};
    return bev;
}
