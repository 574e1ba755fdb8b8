/*
 * One request, answered before its callback returns:
 *
 *   Host -> method -> token -> path -> answer
 *
 * The Host comes first because a page on somebody's web site can make a browser ask
 * us anything under its own name (DNS rebinding): such a request learns nothing, not
 * even which paths exist. What evhttp refuses by itself (malformed lines, headers over
 * 8 KiB, bodies over 1 KiB) gets evhttp's own fixed HTML page, which quotes no input.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/keyvalq_struct.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/stats/http_impl.h"
#include "relay/stats/page.h"
#include "relay/stats/render.h"

#define HTTP_TEXT "text/plain; charset=utf-8"

/* What the page may do: run its own files and ask this endpoint. */
#define HTTP_PAGE_POLICY                                                                           \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "                \
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

struct http_route {
    const char *path;
    bool open; /* asks for no token */
    void (*answer)(struct stats_http *http, struct evhttp_request *req);
};

static void http_set_headers(struct evhttp_request *req, const char *type, size_t len)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    char number[24];

    snprintf(number, sizeof(number), "%zu", len);
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Content-Length", number);
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "Referrer-Policy", "no-referrer");
    if (!evhttp_find_header(headers, "Content-Security-Policy"))
        evhttp_add_header(headers, "Content-Security-Policy", "default-src 'none'");
    evhttp_add_header(headers, "Connection", "close");
}

static struct bufferevent *http_bev(struct evhttp_request *req)
{
    return evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));
}

static int http_fd(struct evhttp_request *req)
{
    return bufferevent_getfd(http_bev(req));
}

static void http_on_connect_answered(struct evhttp_request *req, void *arg)
{
    shutdown(http_fd(req), SHUT_RDWR);
}

/* Takes what is in `body`. */
static void http_reply(struct evhttp_request *req, int code, const char *reason, const char *type,
                       struct evbuffer *body)
{
    http_set_headers(req, type, evbuffer_get_length(body));
    /* evhttp adds its own "keep-alive" to the answer when it finds one here (HTTP/1.0). */
    while (evhttp_remove_header(evhttp_request_get_input_headers(req), "Connection") == 0)
        ;
    /* and sends a body whatever the method. */
    if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD)
        evbuffer_drain(body, evbuffer_get_length(body));
    /* and leaves a CONNECT open whatever the headers say. */
    if (evhttp_request_get_command(req) == EVHTTP_REQ_CONNECT)
        evhttp_request_set_on_complete_cb(req, http_on_connect_answered, NULL);
    evhttp_send_reply(req, code, reason, body);
}

static void http_reply_text(struct evhttp_request *req, int code, const char *reason,
                            const char *text)
{
    struct evbuffer *body = evbuffer_new();

    if (!body || evbuffer_add(body, text, strlen(text)) < 0)
        evhttp_send_error(req, HTTP_INTERNAL, NULL);
    else
        http_reply(req, code, reason, HTTP_TEXT, body);
    if (body)
        evbuffer_free(body);
}

static void http_answer_health(struct stats_http *http, struct evhttp_request *req)
{
    http_reply_text(req, HTTP_OK, "OK", "ok\n");
}

static void http_answer_ready(struct stats_http *http, struct evhttp_request *req)
{
    if (!http->source.ready || http->source.ready(http->source.arg))
        http_reply_text(req, HTTP_OK, "OK", "ready\n");
    else
        http_reply_text(req, HTTP_SERVUNAVAIL, "Service Unavailable", "not ready\n");
}

static const struct page_file *http_find_page(const char *path)
{
    for (size_t i = 0; path && i < n_page_files; i++)
        if (strcmp(page_files[i].path, path) == 0)
            return &page_files[i];
    return NULL;
}

static void http_answer_page(struct evhttp_request *req, const struct page_file *file)
{
    struct evbuffer *body = evbuffer_new();

    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Security-Policy",
                      HTTP_PAGE_POLICY);
    if (!body || evbuffer_add_reference(body, file->data, file->len, NULL, NULL) < 0)
        http_reply_text(req, HTTP_INTERNAL, "Internal Server Error", "out of memory\n");
    else
        http_reply(req, HTTP_OK, "OK", file->type, body);
    if (body)
        evbuffer_free(body);
}

bool http_hash_token(const char *token, uint8_t ret_hash[HTTP_TOKEN_LEN])
{
    return EVP_Digest(token, strlen(token), ret_hash, NULL, EVP_sha256(), NULL) == 1;
}

/* Whether the request shows one of the tokens that there are. */
static bool http_has_token(const struct stats_http *http, struct evhttp_request *req)
{
    const char *given = evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
    uint8_t hash[HTTP_TOKEN_LEN];

    if (!given || strncasecmp(given, "Bearer ", 7) != 0)
        return false;
    given += 7;
    given += strspn(given, " ");
    if (!http_hash_token(given, hash))
        return false;
    return (http->has_token && CRYPTO_memcmp(hash, http->token, sizeof(hash)) == 0) ||
           (http->has_page_token && CRYPTO_memcmp(hash, http->page_token, sizeof(hash)) == 0);
}

static void http_answer_view(struct stats_http *http, struct evhttp_request *req, bool json)
{
    struct stats_view view = {
        .role = http->source.role,
        .uptime_s = (clock_now_ns() - http_started_ns) / NS_PER_S,
        .started_s = http_started_s,
        .reader = {.has_token = http_has_token(http, req), .is_inside = http->is_inside},
    };
    struct evbuffer *body = evbuffer_new();
    int r = -ENOMEM;

    http->source.sum(http->source.arg, &view.counters);
    if (http->source.state)
        http->source.state(http->source.arg, &view.state);
    if (body && json)
        r = stats_render_json(&http->source, &view, body);
    else if (body)
        r = stats_render_metrics(&view, body);
    if (r < 0)
        http_reply_text(req, HTTP_INTERNAL, "Internal Server Error", "out of memory\n");
    else
        http_reply(req, HTTP_OK, "OK",
                   json ? "application/json" : "text/plain; version=0.0.4; charset=utf-8", body);
    if (body)
        evbuffer_free(body);
}

static void http_answer_json(struct stats_http *http, struct evhttp_request *req)
{
    http_answer_view(http, req, true);
}

static void http_answer_metrics(struct stats_http *http, struct evhttp_request *req)
{
    http_answer_view(http, req, false);
}

static const struct http_route http_routes[] = {
    {"/healthz", true, http_answer_health},
    {"/readyz", true, http_answer_ready},
    {"/stats.json", false, http_answer_json},
    {"/metrics", false, http_answer_metrics},
};

static const struct http_route *http_find_route(const char *path)
{
    for (size_t i = 0; path && i < sizeof(http_routes) / sizeof(http_routes[0]); i++)
        if (strcmp(http_routes[i].path, path) == 0)
            return &http_routes[i];
    return NULL;
}

/* The address of ours that the client reached, which for a wildcard listener only the socket
 * knows. */
static struct addr http_local_addr(struct evhttp_request *req)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    if (getsockname(http_fd(req), (struct sockaddr *)&sa, &len) < 0)
        return (struct addr){0};
    return addr_from_sockaddr((const struct sockaddr *)&sa);
}

/* "address:port" as reached, "localhost:port" on loopback, or over TLS a name that the certificate
 * has; the port may be left out when it is the scheme's. No other name is ours: any of them could
 * be a stranger's that resolves to us. */
static bool http_is_own_host(const char *host, const struct addr *local, SSL *ssl)
{
    const uint16_t usual = ssl ? 443 : 80;
    size_t len = strcspn(host, ":");
    char port[8];
    struct addr named;

    if (addr_parse(host, &named) || addr_parse_ip(host, usual, &named))
        return addr_equal(&named, local);
    snprintf(port, sizeof(port), ":%u", local->port);
    if (host[len] ? strcmp(host + len, port) != 0 : local->port != usual)
        return false;
    if (addr_is_loopback(local) && len == strlen("localhost") &&
        strncasecmp(host, "localhost", len) == 0)
        return true;
    return ssl && len > 0 && X509_check_host(SSL_get_certificate(ssl), host, len, 0, NULL) == 1;
}

static bool http_is_ours(const struct stats_http *http, struct evhttp_request *req,
                         const char *host)
{
    SSL *ssl = bufferevent_openssl_get_ssl(http_bev(req));
    struct addr local;

    if (http->is_inside)
        return http_is_own_host(host, &http->hosts[0], ssl) ||
               http_is_own_host(host, &http->hosts[1], ssl);
    local = http_local_addr(req);
    return http_is_own_host(host, &local, ssl);
}

/* Return: 0 when the request is meant for us, else the status to refuse it with. */
static int http_check_host(const struct stats_http *http, struct evhttp_request *req)
{
    const struct evkeyvalq *headers = evhttp_request_get_input_headers(req);
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *host = NULL;
    struct evkeyval *header;
    char authority[128];
    int port;

    for (header = headers->tqh_first; header; header = header->next.tqe_next) {
        if (strcasecmp(header->key, "Host") != 0)
            continue;
        /* Two of them are two opinions (RFC 9112, section 3.2). */
        if (host)
            return HTTP_BADREQUEST;
        host = header->value;
    }
    if (!host)
        return HTTP_BADREQUEST;
    if (!http_is_ours(http, req, host))
        return 421;
    /* "GET http://name/path" names the host a second time. */
    if (!uri || !evhttp_uri_get_host(uri))
        return 0;
    port = evhttp_uri_get_port(uri);
    if (port < 0)
        port = bufferevent_openssl_get_ssl(http_bev(req)) ? 443 : 80;
    snprintf(authority, sizeof(authority), "%s:%d", evhttp_uri_get_host(uri), port);
    return http_is_ours(http, req, authority) ? 0 : 421;
}

void http_on_request(struct evhttp_request *req, void *arg)
{
    struct stats_http *http = arg;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
    const struct http_route *route = http_find_route(path);
    const struct page_file *page = http_find_page(path);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    int method = evhttp_request_get_command(req);
    int refused = http_check_host(http, req);

    if (http->conns.tls && !bufferevent_openssl_get_ssl(http_bev(req))) {
        /* Memory was short when it came, and evhttp took it without encryption. */
        shutdown(http_fd(req), SHUT_RDWR);
        http_reply_text(req, HTTP_SERVUNAVAIL, "Service Unavailable", "HTTPS only\n");
    } else if (refused == HTTP_BADREQUEST) {
        http_reply_text(req, HTTP_BADREQUEST, "Bad Request", "one Host, please\n");
    } else if (refused) {
        log_limited(LOG_LEVEL_WARNING, "stats: refused a request that names another host");
        http_reply_text(req, refused, "Misdirected Request", "not the host you think it is\n");
    } else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
        evhttp_add_header(headers, "Allow", "GET, HEAD");
        http_reply_text(req, HTTP_BADMETHOD, "Method Not Allowed", "GET or HEAD\n");
    } else if (page) {
        http_answer_page(req, page);
    } else if ((http->has_token || http->is_inside) && !(route && route->open) &&
               !http_has_token(http, req)) {
        log_limited(LOG_LEVEL_WARNING, "stats: refused a request without the token");
        evhttp_add_header(headers, "WWW-Authenticate", "Bearer realm=\"callveil\"");
        http_reply_text(req, 401, "Unauthorized", "the token is missing or wrong\n");
    } else if (!route) {
        http_reply_text(req, HTTP_NOTFOUND, "Not Found", "no such page\n");
    } else {
        route->answer(http, req);
    }
}
