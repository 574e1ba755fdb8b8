#include "relay/invite/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/batch.h"
#include "conf/value.h"
#include "relay/guard/special.h"
#include "relay/invite/cert.h"

/* ---- the host ---- */

static char *vouched_host(const struct tls_server *tls)
{
    char *host = tls ? cert_host(tls) : NULL, why[VALUE_WHY_LEN];

    if (!host || cert_is_vouched_for(tls, host, why, sizeof(why)))
        return host;
    free(host);
    return NULL;
}

/* The first of the addresses that names one. */
static const struct addr *first_named(const struct addr *const *addrs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (addrs[i]->family != ADDR_NONE && !addr_is_any(addrs[i]))
            return addrs[i];
    return NULL;
}

/* One that the world can reach is preferred to one on loopback or a private network. */
static const struct addr *listener_address(const struct conf *conf)
{
    const struct addr *found = NULL;

    for (size_t i = 0; i < conf->n_listen; i++) {
        const struct addr *a = &conf->listen[i].addr;

        if (!addr_is_any(a) && (!found || (special_contains(found) && !special_contains(a))))
            found = a;
    }
    return found;
}

/* Only the routing table is asked: 198.51.100.1 and 2001:db8::1 are nobody's. */
static struct addr route_address(void)
{
    static const char *const far[] = {"198.51.100.1", "2001:db8::1"};

    for (size_t i = 0; i < 2; i++) {
        struct addr to, from;

        if (addr_parse_ip(far[i], 9, &to) && sock_route_source(&to, &from) == 0 &&
            !addr_is_any(&from) && !special_contains(&from))
            return from;
    }
    return (struct addr){0};
}

static struct addr own_address(const struct conf *conf)
{
    const struct addr *const told[] = {&conf->public_v4, &conf->public_v6};
    const struct addr *const bound[] = {&conf->relay_v4, &conf->relay_v6};
    const struct addr *found = first_named(told, 2);

    if (!found)
        found = listener_address(conf);
    if (!found)
        found = first_named(bound, 2);
    return found ? *found : route_address();
}

static int find_host(const struct conf *conf, const struct tls_server *tls, const char *host,
                     struct invite_link *link, char *ret_note)
{
    char text[ADDR_STRLEN], why[VALUE_WHY_LEN];
    struct addr addr;
    int r;

    if (!host) {
        link->host = vouched_host(tls);
        if (link->host)
            return 0;
        addr = own_address(conf);
        if (addr.family == ADDR_NONE) {
            snprintf(ret_note, ENDPOINT_WHY_LEN,
                     "no address is known that clients could reach: name it with --host, or set "
                     "public-address in %s",
                     conf->file);
            return -1;
        }
        host = addr_format_ip(&addr, text, sizeof(text));
    }
    r = url_host(host, &link->host, why);
    if (r != 0)
        snprintf(ret_note, ENDPOINT_WHY_LEN, "--host: %s", r > 0 ? why : strerror(-r));
    return r == 0 ? 0 : -1;
}

/* ---- the transports ---- */

/* Whether who goes to `host` gets to this listener. Of a name's addresses nothing is known. */
static bool is_reached(const struct conf_listen *l, const char *host)
{
    struct addr addr;

    if (!addr_parse_ip(host, 0, &addr))
        return !addr_is_loopback(&l->addr);
    return l->addr.family == addr.family &&
           addr_is_loopback(&l->addr) == (addr_is_loopback(&addr) && !addr_is_any(&l->addr));
}

static void add_transport(struct invite_link *link, unsigned int protocol, uint16_t port)
{
    for (size_t i = 0; i < link->n_at; i++)
        if (link->at[i].protocol == protocol && link->at[i].port == port)
            return;
    if (link->n_at == INVITE_LINK_PORTS || port == 0)
        return;
    link->at[link->n_at].protocol = protocol;
    link->at[link->n_at++].port = port;
}

static bool is_encrypted(unsigned int protocol)
{
    return protocol == LISTEN_DTLS || protocol == LISTEN_TLS;
}

/* Next to encrypted transports no plain one is offered: whoever stands on the way and blocks the
 * first would be shown everything by the second. */
static int find_transports(const struct conf *conf, struct invite_link *link, char *ret_note)
{
    static const unsigned int best_first[] = {LISTEN_DTLS, LISTEN_TLS, LISTEN_UDP, LISTEN_TCP};

    for (size_t k = 0; k < sizeof(best_first) / sizeof(best_first[0]); k++) {
        if (!is_encrypted(best_first[k]) && link->n_at > 0 && is_encrypted(link->at[0].protocol))
            break;
        for (size_t i = 0; i < conf->n_listen; i++)
            if (conf->listen[i].protocols & best_first[k] &&
                is_reached(&conf->listen[i], link->host))
                add_transport(link, best_first[k], conf->listen[i].addr.port);
    }
    if (link->n_at > 0)
        return 0;
    snprintf(ret_note, ENDPOINT_WHY_LEN, "no listener of %s can be reached at %s (nor at port 0)",
             conf->file, link->host);
    return -1;
}

/* ---- the pin ---- */

static bool is_self_signed(const struct tls_server *tls)
{
    return X509_self_signed(SSL_CTX_get0_certificate(tls->tls), 0) == 1;
}

static int find_pin(const struct tls_server *tls, struct invite_link *link, char *ret_note)
{
    char why[VALUE_WHY_LEN];

    if (!is_encrypted(link->at[0].protocol)) {
        snprintf(ret_note, ENDPOINT_WHY_LEN,
                 "warning: without a tls or dtls listener, whoever watches the way to the relay "
                 "sees who is called");
        return 0;
    }
    if (cert_is_vouched_for(tls, link->host, why, sizeof(why)))
        return 0;
    if (!is_self_signed(tls))
        snprintf(ret_note, ENDPOINT_WHY_LEN,
                 "note: the certificate does not pass for %s (%s), so the link pins its key: when "
                 "the key changes, invite again",
                 link->host, why);
    if (url_pin_parse(tls->pin, link->pin[0], why) != 0) {
        snprintf(ret_note, ENDPOINT_WHY_LEN, "%s", why);
        return -1;
    }
    link->n_pin = 1;
    return 0;
}

int endpoint_find(const struct conf *conf, const struct tls_server *tls, const char *host,
                  struct invite_link *link, char *ret_note)
{
    ret_note[0] = '\0';
    if (find_host(conf, tls, host, link, ret_note) < 0)
        return -1;
    if (find_transports(conf, link, ret_note) < 0)
        return -1;
    return find_pin(tls, link, ret_note);
}
