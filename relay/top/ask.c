#include "relay/top/ask.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/http.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/tls_client.h"

#define ASK_TIMEOUT_S 5
#define ASK_BODY_MAX  (4 << 20)

struct ask {
    struct event_base *base;
    const struct conf *conf;
    const char *role;
    ask_on_answer *on_answer;
    void *user;
    char host[ADDR_STRLEN]; /* to connect to */
    char at[ADDR_STRLEN];   /* with the port: the Host header */
    uint16_t port;
    struct tls_client *tls; /* NULL: plain */
    unsigned char pin[1][32];
    struct evhttp_connection *conn;
    struct event *failed; /* tells of what failed at once, from the loop */
    char why[ASK_WHY_LEN];
};

/* ---- whom to believe ---- */

static bool ask_read_pin(const char *file, unsigned char ret[32])
{
    FILE *in = fopen(file, "re");
    X509 *cert = in ? PEM_read_X509(in, NULL, NULL, NULL) : NULL;
    unsigned char *der = NULL;
    int len = cert ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der) : 0;
    bool ok = len > 0 && EVP_Digest(der, (size_t)len, ret, NULL, EVP_sha256(), NULL) == 1;

    OPENSSL_free(der);
    X509_free(cert);
    if (in)
        fclose(in);
    return ok;
}

static bool ask_init_tls(struct ask *a)
{
    const char *file = a->conf->certificate;
    char error[160];

    if (!conf_stats_is_https(a->conf))
        return true;
    if (!ask_read_pin(file, a->pin[0])) {
        snprintf(a->why, sizeof(a->why), "cannot read the certificate %s", file);
        return false;
    }
    /* The pin decides; authorities would only take long to load. */
    if (tls_client_new(file, &a->tls, error, sizeof(error)) == 0)
        return true;
    snprintf(a->why, sizeof(a->why), "%s", error);
    return false;
}

/* ---- life ---- */

static void ask_on_failed(evutil_socket_t fd, short what, void *arg)
{
    struct ask *a = arg;

    a->on_answer(a->user, NULL, NULL, 0, a->why);
}

/* A wildcard stands for every address of this machine: loopback is one. */
static void ask_init_address(struct ask *a)
{
    struct addr to = a->conf->stats_listen;

    if (addr_is_any(&to))
        addr_parse_ip(to.family == ADDR_IPV6 ? "::1" : "127.0.0.1", to.port, &to);
    addr_format_ip(&to, a->host, sizeof(a->host));
    addr_format(&to, a->at, sizeof(a->at));
    a->port = to.port;
}

static bool ask_init(struct ask *a)
{
    if (a->conf->stats_listen.family == ADDR_NONE) {
        snprintf(a->why, sizeof(a->why), "%s has listen = off in [stats]", a->conf->file);
        return false;
    }
    if (a->conf->stats_listen.port == 0) {
        snprintf(a->why, sizeof(a->why), "%s leaves the port in [stats] to chance", a->conf->file);
        return false;
    }
    ask_init_address(a);
    a->failed = evtimer_new(a->base, ask_on_failed, a);
    return a->failed && ask_init_tls(a);
}

struct ask *ask_new(struct event_base *base, const struct conf *conf, const char *role,
                    ask_on_answer *on_answer, void *user, char ret_why[ASK_WHY_LEN])
{
    struct ask *a = calloc(1, sizeof(*a));

    snprintf(ret_why, ASK_WHY_LEN, "out of memory");
    if (!a)
        return NULL;
    a->base = base;
    a->conf = conf;
    a->role = role;
    a->on_answer = on_answer;
    a->user = user;
    if (ask_init(a))
        return a;
    if (a->why[0])
        memcpy(ret_why, a->why, ASK_WHY_LEN);
    ask_free(a);
    return NULL;
}

void ask_free(struct ask *a)
{
    if (!a)
        return;
    if (a->conn)
        evhttp_connection_free(a->conn);
    if (a->failed)
        event_free(a->failed);
    tls_client_free(a->tls);
    free(a);
}

/* ---- one question ---- */

static struct bufferevent *ask_new_bev(struct ask *a)
{
    struct bufferevent *bev;
    SSL *ssl;

    if (!a->tls)
        return bufferevent_socket_new(a->base, -1, BEV_OPT_CLOSE_ON_FREE);
    ssl = tls_client_ssl(a->tls, false, a->host, (const unsigned char(*)[32])a->pin, 1);
    if (!ssl)
        return NULL;
    bev = bufferevent_openssl_socket_new(a->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                         BEV_OPT_CLOSE_ON_FREE);
    if (!bev)
        SSL_free(ssl);
    else
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

/* Why there was no answer at all; errno is what the socket left. */
static void ask_explain_silence(struct ask *a, int error)
{
    SSL *ssl = bufferevent_openssl_get_ssl(evhttp_connection_get_bufferevent(a->conn));
    const char *certificate = ssl ? tls_client_why(ssl) : NULL;

    if (certificate)
        snprintf(a->why, sizeof(a->why), "%s: %s", a->at, certificate);
    else if (error == ECONNREFUSED || error == ENOTCONN) /* the latter is OpenSSL's attempt */
        snprintf(a->why, sizeof(a->why), "nobody listens at %s: is \"callveil %s\" running?", a->at,
                 a->role);
    else if (error != 0 && error != EINPROGRESS && error != EAGAIN)
        snprintf(a->why, sizeof(a->why), "%s: %s", a->at, strerror(error));
    else
        snprintf(a->why, sizeof(a->why), "%s does not answer", a->at);
}

static void ask_explain_status(struct ask *a, int status)
{
    if (status == 401)
        snprintf(a->why, sizeof(a->why),
                 "%s wants another token than the one in %s (a changed token counts from the next "
                 "start)",
                 a->at, a->conf->file);
    else
        snprintf(a->why, sizeof(a->why), "%s answers with status %d: it is no callveil of ours",
                 a->at, status);
}

static void ask_on_response(struct evhttp_request *req, void *arg)
{
    int error = EVUTIL_SOCKET_ERROR();
    int status = req ? evhttp_request_get_response_code(req) : 0;
    struct ask *a = arg;
    struct evbuffer *body;
    json_t *root;
    const char *text;
    size_t len;

    if (status != HTTP_OK) {
        if (status == 0)
            ask_explain_silence(a, error);
        else
            ask_explain_status(a, status);
        a->on_answer(a->user, NULL, NULL, 0, a->why);
        return;
    }
    body = evhttp_request_get_input_buffer(req);
    len = evbuffer_get_length(body);
    text = len > 0 ? (const char *)evbuffer_pullup(body, -1) : "";
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(root))
        snprintf(a->why, sizeof(a->why), "%s answers with something else than statistics", a->at);
    a->on_answer(a->user, json_is_object(root) ? root : NULL, text, len, a->why);
    json_decref(root);
}

static bool ask_send(struct ask *a, struct bufferevent *bev)
{
    struct evhttp_request *req;
    struct evkeyvalq *headers;
    char bearer[300];

    a->conn = evhttp_connection_base_bufferevent_new(a->base, NULL, bev, a->host, a->port);
    if (!a->conn) {
        bufferevent_free(bev);
        return false;
    }
    evhttp_connection_set_timeout(a->conn, ASK_TIMEOUT_S);
    evhttp_connection_set_max_body_size(a->conn, ASK_BODY_MAX);
    req = evhttp_request_new(ask_on_response, a);
    if (!req)
        return false;
    headers = evhttp_request_get_output_headers(req);
    evhttp_add_header(headers, "Host", a->at);
    evhttp_add_header(headers, "Connection", "close");
    if (a->conf->stats_token) {
        snprintf(bearer, sizeof(bearer), "Bearer %s", a->conf->stats_token);
        evhttp_add_header(headers, "Authorization", bearer);
        explicit_bzero(bearer, sizeof(bearer));
    }
    return evhttp_make_request(a->conn, req, EVHTTP_REQ_GET, "/stats.json") == 0;
}

void ask_stats(struct ask *a)
{
    static const struct timeval now = {0};
    struct bufferevent *bev;

    if (a->conn)
        evhttp_connection_free(a->conn);
    a->conn = NULL;
    bev = ask_new_bev(a);
    if (bev && ask_send(a, bev))
        return;
    snprintf(a->why, sizeof(a->why), "cannot connect to %s: %s", a->at, strerror(errno));
    event_add(a->failed, &now);
}
