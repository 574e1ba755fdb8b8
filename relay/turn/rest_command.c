/*
 * relay/turn/rest_command.c - `callveil credential`: what a web application's server would issue
 *
 * Several secrets may be valid at a time, so that one can be replaced without a
 * break: the relay accepts all of them, and this command uses the first. A new
 * secret therefore goes in front.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "conf/conf.h"
#include "conf/opaque.h"
#include "conf/value.h"
#include "relay/turn/rest.h"
#include "relay/usage.h"

#define REST_DEFAULT_FILE  "/etc/callveil/relay.conf"
#define REST_DEFAULT_TTL_S 3600
/* Nothing but a new secret takes a credential back, so none outlives a week. */
#define REST_MAX_TTL_S (UINT64_C(7) * 86400)
/* USERNAME is shorter than 509 bytes (RFC 8489, section 14.3), EXPIRY and ":" included. */
#define REST_USER_MAX 508

struct rest_args {
    const char *file, *name;
    uint64_t ttl_s;
};

/* ---- where the relay is ---- */

/* In the order that a client does well to try them; DTLS is "turns" over UDP (RFC 7065). */
static const struct {
    unsigned int protocol;
    const char *scheme, *transport;
} rest_uris[] = {
    {LISTEN_UDP, "turn", "udp"},
    {LISTEN_TCP, "turn", "tcp"},
    {LISTEN_TLS, "turns", "tcp"},
    {LISTEN_DTLS, "turns", "udp"},
};

/* The address that clients reach a listener at; ADDR_NONE when the configuration does not say. */
static struct addr rest_host(const struct conf *conf, const struct addr *listen)
{
    struct addr host = listen->family == ADDR_IPV6 ? conf->public_v6 : conf->public_v4;

    if (addr_is_loopback(listen) || host.family == ADDR_NONE)
        host = *listen;
    if (addr_is_any(&host))
        host = listen->family == ADDR_IPV6 ? conf->relay_v6 : conf->relay_v4;
    host.port = listen->port;
    return host;
}

/* A listener on 0.0.0.0 and one on the public address have the same URI. */
static int rest_add_uri(json_t *uris, const char *uri)
{
    json_t *known;
    size_t i;

    json_array_foreach(uris, i, known)
    {
        if (strcmp(json_string_value(known), uri) == 0)
            return 0;
    }
    return json_array_append_new(uris, json_string(uri));
}

/* Return: NULL when memory is short. */
static json_t *rest_list_uris(const struct conf *conf)
{
    json_t *uris = json_array();
    int r = uris ? 0 : -1;

    for (size_t k = 0; k < sizeof(rest_uris) / sizeof(rest_uris[0]); k++) {
        for (size_t i = 0; i < conf->n_listen && r == 0; i++) {
            struct addr host = rest_host(conf, &conf->listen[i].addr);
            char text[ADDR_STRLEN], uri[128];

            if (!(conf->listen[i].protocols & rest_uris[k].protocol) || host.family == ADDR_NONE)
                continue;
            snprintf(uri, sizeof(uri), "%s:%s?transport=%s", rest_uris[k].scheme,
                     addr_format(&host, text, sizeof(text)), rest_uris[k].transport);
            r = rest_add_uri(uris, uri);
        }
    }
    if (r == 0)
        return uris;
    json_decref(uris);
    return NULL;
}

/* ---- the credential ---- */

static int rest_print(const struct conf *conf, const char *name, uint64_t ttl_s)
{
    uint64_t expiry_s = clock_real_s() + ttl_s;
    char user[REST_USER_MAX + 1], password[REST_PASSWORD_LEN + 1];
    int n = snprintf(user, sizeof(user), "%llu:%s", (unsigned long long)expiry_s, name);
    json_t *uris, *root;
    int r;

    if (n < 0 || (size_t)n >= sizeof(user))
        return usage_error("credential", "NAME is too long: with the expiry, %d bytes are allowed",
                           REST_USER_MAX);
    r = rest_password(conf->secret[0], user, (size_t)n, password);
    uris = rest_list_uris(conf);
    root = r == 0 && uris ? json_pack("{s:s, s:s, s:I, s:O}", "username", user, "password",
                                      password, "ttl", (json_int_t)ttl_s, "uris", uris)
                          : NULL;
    r = root ? json_dumpf(root, stdout, JSON_INDENT(2)) : -1;
    if (r == 0 && json_array_size(uris) == 0)
        fprintf(stderr, "callveil credential: no uris: the relay listens on a wildcard address, "
                        "and public-address is not set\n");
    json_decref(root);
    json_decref(uris);
    if (r != 0) {
        fprintf(stderr, "callveil credential: out of memory, or cannot write\n");
        return EXIT_FAILURE;
    }
    putchar('\n');
    return EXIT_SUCCESS;
}

/* ---- the command line ---- */

static int rest_parse_args(int argc, char **argv, struct rest_args *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"ttl", required_argument, NULL, 't'},
        {0},
    };
    char why[VALUE_WHY_LEN];
    int o;

    *ret = (struct rest_args){.file = REST_DEFAULT_FILE, .ttl_s = REST_DEFAULT_TTL_S};
    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (o == 'c')
            ret->file = optarg;
        else if (o != 't')
            return usage_bad_option("credential", options, argv, o);
        else if (value_duration(optarg, 1, REST_MAX_TTL_S, &ret->ttl_s, why) != 0)
            return usage_error("credential", "--ttl: %s", why);
    }
    if (optind == argc)
        return usage_error("credential", "NAME is missing");
    if (optind + 1 < argc)
        return usage_error("credential", "one NAME only");
    ret->name = argv[optind];
    return 0;
}

int rest_command(int argc, char **argv)
{
    struct rest_args args;
    struct conf *conf = NULL;
    char *name = NULL;
    int status = rest_parse_args(argc, argv, &args), r;

    if (status != 0)
        return status;
    /* The relay computes with the bytes that the client sends, and a client normalises what it
     * sends (RFC 8489, section 14.3): a name is issued in the form that survives that. */
    r = opaque_string(args.name, &name);
    if (r != 0)
        return usage_error("credential", "NAME: %s", r > 0 ? opaque_reason(r) : strerror(-r));
    conf = conf_load(args.file, "relay");
    if (!conf)
        status = EXIT_USAGE;
    else if (conf->n_secret == 0)
        status = usage_error("credential", "%s has no secret: add \"secret = ...\" to [relay]",
                             args.file);
    else
        status = rest_print(conf, name, args.ttl_s);
    conf_free(conf);
    free(name);
    return status;
}
