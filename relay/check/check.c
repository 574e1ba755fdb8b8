#include "relay/check/check.h"

#include <errno.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "conf/path.h"
#include "relay/check/probe.h"
#include "relay/usage.h"

#define CHECK_OWN_MAX 64

struct check {
    const struct conf *conf;
    struct probe *probes;           /* one per url */
    struct addr own[CHECK_OWN_MAX]; /* this machine's, loopback apart */
    size_t n_own;
    struct addr leaked; /* one of them that was seen, or ADDR_NONE */
    bool any_works;
};

/* ---- this machine ---- */

static int check_read_own(struct check *c)
{
    struct ifaddrs *all;

    if (getifaddrs(&all) < 0)
        return -errno;
    for (struct ifaddrs *i = all; i && c->n_own < CHECK_OWN_MAX; i = i->ifa_next) {
        struct addr a = i->ifa_addr ? addr_from_sockaddr(i->ifa_addr) : (struct addr){0};

        a.port = 0;
        if (a.family != ADDR_NONE && !addr_is_loopback(&a))
            c->own[c->n_own++] = a;
    }
    freeifaddrs(all);
    return 0;
}

static bool check_is_own(const struct check *c, const struct addr *a)
{
    for (size_t i = 0; i < c->n_own; i++)
        if (addr_ip_equal(&c->own[i], a))
            return true;
    return false;
}

/* ---- the probes ---- */

/* A configuration that has the i-th url only; its lists are the original's. */
static struct conf check_only(const struct conf *conf, size_t i)
{
    struct conf only = *conf;

    only.url = &conf->url[i];
    only.n_url = 1;
    return only;
}

static void check_judge(struct check *c, const struct probe *p)
{
    c->any_works = c->any_works || p->hears_echo;
    for (size_t i = 0; i < p->n_seen; i++)
        if (check_is_own(c, &p->seen[i]))
            c->leaked = p->seen[i];
}

static bool check_is_safe(const struct check *c)
{
    return c->any_works && c->leaked.family == ADDR_NONE;
}

static const char *check_verdict(const struct check *c, char *buf, size_t cap)
{
    char text[ADDR_STRLEN];

    if (c->leaked.family != ADDR_NONE)
        snprintf(buf, cap, "LEAK: a peer saw %s, which is this machine's address",
                 addr_format_ip(&c->leaked, text, sizeof(text)));
    else if (!c->any_works)
        snprintf(buf, cap,
                 "not working: no packet got through the relay (and nothing went past it)");
    else
        snprintf(buf, cap, "ok: peers see the relay's address only");
    return buf;
}

/* ---- as text ---- */

static const char *check_transport(const struct conf_url *url)
{
    switch (url->protocol) {
    case LISTEN_DTLS:
        return "DTLS";
    case LISTEN_TCP:
        return "TCP";
    case LISTEN_TLS:
        return "TLS";
    default:
        return "UDP";
    }
}

static void check_print_seen(const struct probe *p, FILE *out)
{
    char text[ADDR_STRLEN];

    for (size_t i = 0; i < p->n_seen; i++)
        fprintf(out, "%s%s", i > 0 ? ", " : "", addr_format_ip(&p->seen[i], text, sizeof(text)));
}

static void check_print_probe(const struct conf_url *url, const struct probe *p, FILE *out)
{
    fprintf(out, "%-4s %s:%u\n", check_transport(url), url->host, url->port);
    if (p->hears_echo) {
        fprintf(out, "  peers see     ");
        check_print_seen(p, out);
        /* The packets went through the relay twice. */
        fprintf(out, "\n  round trip    %u.%u ms to the relay\n  lost          %u of %u packets\n",
                p->rtt_us / 2000, p->rtt_us / 200 % 10, p->n_sent - p->n_echoed, p->n_sent);
    } else {
        fprintf(out, "  not working   %s\n", p->why);
    }
    if (p->streams_ok)
        fprintf(out, "  TCP streams   yes\n");
    else if (p->streams_wanted)
        fprintf(out, "  TCP streams   not working: %s\n", p->streams_why);
    fflush(out);
}

static void check_print_own(const struct check *c, FILE *out)
{
    char text[ADDR_STRLEN];

    fprintf(out, "\nThis machine's addresses: ");
    for (size_t i = 0; i < c->n_own; i++)
        fprintf(out, "%s%s", i > 0 ? ", " : "", addr_format_ip(&c->own[i], text, sizeof(text)));
    fprintf(out, "%s\n", c->n_own == 0 ? "none but loopback" : "");
}

/* ---- as JSON ---- */

static json_t *check_json_addresses(const struct addr *list, size_t n)
{
    json_t *array = json_array();
    char text[ADDR_STRLEN];

    for (size_t i = 0; i < n; i++)
        if (list[i].family != ADDR_NONE)
            json_array_append_new(array, json_string(addr_format_ip(&list[i], text, sizeof(text))));
    return array;
}

static json_t *check_json_probe(const struct conf_url *url, const struct probe *p)
{
    json_t *o = json_object();

    json_object_set_new(o, "transport", json_string(check_transport(url)));
    json_object_set_new(o, "host", json_string(url->host));
    json_object_set_new(o, "port", json_integer(url->port));
    json_object_set_new(o, "reached", json_boolean(p->reached));
    json_object_set_new(o, "works", json_boolean(p->hears_echo));
    json_object_set_new(o, "why", p->why[0] ? json_string(p->why) : json_null());
    json_object_set_new(o, "peers_see", check_json_addresses(p->seen, p->n_seen));
    json_object_set_new(o, "relayed", check_json_addresses(p->relayed, 2));
    json_object_set_new(o, "sent", json_integer(p->n_sent));
    json_object_set_new(o, "lost", json_integer(p->n_sent - p->n_echoed));
    json_object_set_new(o, "rtt_ms", p->rtt_us ? json_real(p->rtt_us / 2000.0) : json_null());
    json_object_set_new(o, "streams",
                        p->streams_wanted ? json_boolean(p->streams_ok) : json_null());
    json_object_set_new(o, "streams_why",
                        p->streams_why[0] ? json_string(p->streams_why) : json_null());
    return o;
}

static int check_print_json(const struct check *c, FILE *out)
{
    json_t *root = json_object(), *paths = json_array();
    char verdict[160];
    int r;

    for (size_t i = 0; i < c->conf->n_url; i++)
        json_array_append_new(paths, check_json_probe(&c->conf->url[i], &c->probes[i]));
    json_object_set_new(root, "version", json_integer(1));
    json_object_set_new(root, "safe", json_boolean(check_is_safe(c)));
    json_object_set_new(root, "verdict", json_string(check_verdict(c, verdict, sizeof(verdict))));
    json_object_set_new(root, "own_addresses", check_json_addresses(c->own, c->n_own));
    json_object_set_new(root, "paths", paths);
    r = json_dumpf(root, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(root);
    return r;
}

/* ---- the run ---- */

static int check_probe_all(struct check *c, bool json, FILE *out)
{
    for (size_t i = 0; i < c->conf->n_url; i++) {
        struct conf only = check_only(c->conf, i);
        int r = probe_run(&only, &c->probes[i]);

        if (r < 0)
            return r;
        check_judge(c, &c->probes[i]);
        if (!json)
            check_print_probe(&c->conf->url[i], &c->probes[i], out);
    }
    return 0;
}

int check_run(const struct conf *conf, bool json, FILE *out)
{
    struct check c = {.conf = conf, .probes = calloc(conf->n_url, sizeof(*c.probes))};
    char verdict[160];
    int r = c.probes ? check_read_own(&c) : -ENOMEM;

    if (r == 0)
        r = check_probe_all(&c, json, out);
    if (r < 0)
        fprintf(stderr, "callveil check: %s\n", strerror(-r));
    else if (json)
        r = check_print_json(&c, out);
    else
        check_print_own(&c, out);
    free(c.probes);
    if (r < 0)
        return EXIT_FAILURE;
    if (!json)
        fprintf(out, "\n%s\n", check_verdict(&c, verdict, sizeof(verdict)));
    return check_is_safe(&c) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- the command ---- */

/* Return: the exit status. */
static int check_file(const char *file, bool json)
{
    struct conf *conf = conf_load(file, "local");
    int status;

    if (!conf)
        return EXIT_USAGE;
    log_init(LOG_LEVEL_ERROR, false);
    status = check_run(conf, json, stdout);
    conf_free(conf);
    return status;
}

int check_command(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {0},
    };
    char *own = NULL;
    const char *file = NULL;
    bool json = false;
    int o, status;

    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (o == 'c')
            file = optarg;
        else if (o == 'j')
            json = true;
        else
            return usage_bad_option("check", options, argv, o);
    }
    if (optind < argc)
        return usage_error("check", "unexpected argument '%s'", argv[optind]);
    if (!file)
        file = own = conf_local_file();
    if (!file)
        return usage_error("check", "there is no home directory: name the configuration with -c");
    status = check_file(file, json);
    free(own);
    return status;
}
