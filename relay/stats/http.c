#include "relay/stats/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/stats/http_impl.h"

#define HTTP_HEADERS_MAX 8192
#define HTTP_BODY_MAX    1024
#define HTTP_IDLE_S      5 /* between two reads; conns.h has the total */
#define HTTP_BACKLOG     64
/* On the local proxy, calls share this thread: a flood of connections gets a few at a time. */
#define HTTP_ACCEPTS   4
#define HTTP_ACCEPT_US 2000
#define HTTP_LISTENER  (LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC)

/* All endpoints, for http_on_accept_error(). Like everything here the main thread's. */
static struct stats_http *http_all;

uint64_t http_started_ns, http_started_s;

/* Out of descriptors, say. The listener stays readable and would be tried again at once, for as
 * long as it lasts. `arg` is not ours: evhttp_bind_listener() has put its evhttp there. */
static void http_on_accept_error(struct evconnlistener *listener, void *arg)
{
    static const struct timeval pause = {1, 0};
    struct stats_http *http = http_all;

    log_limited(LOG_LEVEL_WARNING, "stats: cannot accept a connection: %s", strerror(errno));
    while (http && http->listener != listener)
        http = http->next;
    if (!http)
        return;
    evconnlistener_disable(listener);
    event_add(http->resume, &pause);
}

static void http_on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct stats_http *http = arg;

    http->n_accepted = 0;
    evconnlistener_enable(http->listener);
}

static struct bufferevent *http_on_accept(struct event_base *base, void *arg)
{
    static const struct timeval pause = {.tv_usec = HTTP_ACCEPT_US};
    struct stats_http *http = arg;

    if (http->n_accepted++ == 0)
        event_add(http->resume, &pause);
    if (http->n_accepted == HTTP_ACCEPTS)
        evconnlistener_disable(http->listener);
    return stats_conns_on_accept(base, &http->conns);
}

/* Takes the listener; NULL: errno says why there is none. Return: 0 or -errno. */
static int http_serve(struct stats_http *http, struct evconnlistener *listener)
{
    if (!listener)
        return errno ? -errno : -ENOMEM;
    http->listener = listener;
    if (!evhttp_bind_listener(http->evhttp, listener)) {
        evconnlistener_free(listener);
        return -ENOMEM;
    }
    evconnlistener_set_error_cb(listener, http_on_accept_error);
    return 0;
}

/* Takes the socket, also on failure. */
static struct evconnlistener *http_listener(struct event_base *base, int fd)
{
    struct evconnlistener *listener = evconnlistener_new(base, NULL, NULL, HTTP_LISTENER, 0, fd);

    if (!listener)
        close(fd);
    return listener;
}

static int http_listen(struct stats_http *http, struct event_base *base, const struct addr *listen)
{
    unsigned int flags = HTTP_LISTENER | LEV_OPT_REUSEABLE;
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(listen, &sa);
    int r;

    if (listen->family == ADDR_IPV6)
        flags |= LEV_OPT_BIND_IPV6ONLY;
    r = http_serve(http, evconnlistener_new_bind(base, NULL, NULL, flags, HTTP_BACKLOG,
                                                 (struct sockaddr *)&sa, (int)len));
    if (r < 0)
        return r;
    len = sizeof(sa);
    if (getsockname(evconnlistener_get_fd(http->listener), (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    http->bound = addr_from_sockaddr((const struct sockaddr *)&sa);
    return 0;
}

static int http_init(struct stats_http *http, struct event_base *base)
{
    int r = stats_conns_init(&http->conns, base, STATS_CONN_TIME_MS);

    if (r < 0)
        return r;
    http->evhttp = evhttp_new(base);
    http->resume = evtimer_new(base, http_on_resume, http);
    if (!http->evhttp || !http->resume)
        return -ENOMEM;
    evhttp_set_bevcb(http->evhttp, http_on_accept, http);
    evhttp_set_timeout(http->evhttp, HTTP_IDLE_S);
    evhttp_set_max_headers_size(http->evhttp, HTTP_HEADERS_MAX);
    evhttp_set_max_body_size(http->evhttp, HTTP_BODY_MAX);
    /* All of them, the unknown too, are ours to answer: evhttp would say 501. */
    evhttp_set_allowed_methods(http->evhttp, UINT16_MAX);
    evhttp_set_gencb(http->evhttp, http_on_request, http);
    return 0;
}

/* What is not given is not there. Return: NULL when memory is short. */
static struct stats_http *http_new(struct event_base *base, const char *token,
                                   const char *page_token, const struct stats_source *source)
{
    struct stats_http *http = calloc(1, sizeof(*http));

    if (!http)
        return NULL;
    http->next = http_all;
    http_all = http;
    http->source = *source;
    http->source.page_token = NULL;
    http->has_token = token && *token;
    http->has_page_token = page_token;
    if ((http->has_token && !http_hash_token(token, http->token)) ||
        (http->has_page_token && !http_hash_token(page_token, http->page_token)) ||
        http_init(http, base) < 0) {
        stats_http_free(http);
        return NULL;
    }
    if (http_started_ns == 0) {
        http_started_ns = clock_now_ns();
        http_started_s = clock_real_s();
    }
    return http;
}

int stats_http_new(struct event_base *base, const struct addr *listen, const char *token,
                   const struct stats_source *source, struct stats_http **ret)
{
    struct stats_http *http;
    char text[ADDR_STRLEN];
    int r;

    addr_format(listen, text, sizeof(text));
    if ((!token || !*token) && !addr_is_loopback(listen)) {
        log_error("stats: %s is not loopback: set a token in [stats] first", text);
        return -1;
    }
    http = http_new(base, token, source->page_token, source);
    r = http ? http_listen(http, base, listen) : -ENOMEM;
    if (r < 0) {
        log_error("stats: cannot listen on %s: %s", text, strerror(-r));
        stats_http_free(http);
        return -1;
    }
    *ret = http;
    return 0;
}

int stats_http_new_inside(struct event_base *base, int listener, const struct addr hosts[2],
                          const char *token, const struct stats_source *source,
                          struct stats_http **ret)
{
    struct stats_http *http = http_new(base, token, NULL, source);
    int r = -ENOMEM;

    if (http)
        r = http_serve(http, http_listener(base, listener));
    else
        close(listener);
    if (r < 0) {
        log_error("stats: nothing for sealed apps: %s", strerror(-r));
        stats_http_free(http);
        return -1;
    }
    http->is_inside = true;
    memcpy(http->hosts, hosts, sizeof(http->hosts));
    *ret = http;
    return 0;
}

void stats_http_free(struct stats_http *http)
{
    struct stats_http **link = &http_all;

    if (!http)
        return;
    while (*link != http)
        link = &(*link)->next;
    *link = http->next;
    if (http->evhttp)
        evhttp_free(http->evhttp);
    if (http->resume)
        event_free(http->resume);
    stats_conns_deinit(&http->conns);
    free(http);
}

void stats_http_set_tls(struct stats_http *http, const struct tls_server *tls)
{
    stats_conns_set_tls(&http->conns, tls ? tls->http : NULL);
}

struct addr stats_http_addr(const struct stats_http *http)
{
    return http->bound;
}
