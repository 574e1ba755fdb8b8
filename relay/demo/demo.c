#include "relay/demo/demo.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "conf/conf.h"
#include "conf/value.h"
#include "relay/demo/app.h"
#include "relay/demo/call.h"
#include "relay/demo/proxy.h"
#include "relay/relay.h"
#include "relay/secret.h"
#include "relay/usage.h"

#define DEMO_USER            "demo"
#define DEMO_DEFAULT_SECONDS 3
#define DEMO_N_CALLS         2
#define DEMO_REACH_NS        (8 * NS_PER_S)

/* All of 127.0.0.0/8 is this machine, and everybody has an address of their own there, so that what
 * the others see can be told from where somebody is. */
#define DEMO_SERVERS "127.0.0.1" /* where the relay and the proxy listen */
#define DEMO_RELAYED "127.0.0.9" /* what peers are to see */
#define DEMO_APP     "127.0.0.6"
#define DEMO_PEER    "127.0.0.7"
#define DEMO_DNS     "127.0.0.8"

struct demo {
    unsigned int seconds;
    enum log_level log_level;
    char password[SECRET_LEN + 1];
    char folder[64]; /* of the relay's certificate; empty when there is none */
    struct event_base *base;
    struct relay *relay;
    struct demo_proxy *proxy;
    struct demo_login at_relay, at_proxy;
    struct demo_call call[DEMO_N_CALLS];
    struct demo_app app;
};

/* The first of each call is behind the proxy, the other one somewhere in the world. */
static const struct {
    const char *name, *ip;
    bool stream, channel;
} demo_peers[DEMO_N_CALLS][2] = {
    {{"A", "127.0.0.2", false, true}, {"B", "127.0.0.3", false, false}},
    {{"C", "127.0.0.4", true, true}, {"D", "127.0.0.5", true, true}},
};

/* ---- the relay ---- */

/* A certificate has to be a file; it is made by the relay itself and gone as soon as that has read
 * it. */
static void demo_drop_certificate(struct demo *demo)
{
    char path[128];

    if (!demo->folder[0])
        return;
    snprintf(path, sizeof(path), "%s/cert.pem", demo->folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/key.pem", demo->folder);
    unlink(path);
    rmdir(demo->folder);
    demo->folder[0] = '\0';
}

static bool demo_make_folder(struct demo *demo)
{
    const char *base = getenv("TMPDIR");

    if (snprintf(demo->folder, sizeof(demo->folder), "%s/callveil-demo.XXXXXX",
                 base && *base ? base : "/tmp") >= (int)sizeof(demo->folder))
        snprintf(demo->folder, sizeof(demo->folder), "/tmp/callveil-demo.XXXXXX");
    if (mkdtemp(demo->folder))
        return true;
    demo->folder[0] = '\0';
    return false;
}

/* Only this machine can reach what is opened, and only the demo's own peer and name server are
 * allowed; that calls between two users of one relay need no such leave is part of what is shown.
 */
static struct conf *demo_relay_conf(const struct demo *demo)
{
    char text[1024];

    snprintf(text, sizeof(text),
             "[relay]\n"
             "listen = udp://" DEMO_SERVERS ":0, dtls://" DEMO_SERVERS ":0, tcp://" DEMO_SERVERS
             ":0, tls://" DEMO_SERVERS ":0\n"
             "relay-address = " DEMO_RELAYED "\n"
             "realm = demo\n"
             "certificate = %s/cert.pem\n"
             "private-key = %s/key.pem\n"
             "[users]\n" DEMO_USER " = %s\n"
             "[peers]\n"
             "allow = " DEMO_PEER ", " DEMO_DNS "\n"
             "[stats]\n"
             "listen = off\n",
             demo->folder, demo->folder, demo->password);
    return conf_load_text(text, "demo", "relay");
}

/* Return: 0 or the exit status. */
static int demo_start_relay(struct demo *demo)
{
    struct conf *conf;
    int status;

    demo->base = event_base_new();
    if (!demo->base || !secret_draw(demo->password) || !demo_make_folder(demo))
        return EXIT_FAILURE;
    conf = demo_relay_conf(demo);
    if (!conf)
        return EXIT_FAILURE;
    conf->log_level = demo->log_level;
    log_init(demo->log_level, true);
    status = relay_start(conf, demo->base, &demo->relay);
    demo_drop_certificate(demo);
    if (status != 0)
        return status;
    /* udp and dtls share a port, and so do tcp and tls. */
    demo->at_relay = (struct demo_login){.udp = relay_listen_addr(demo->relay, 0),
                                         .tcp = relay_listen_addr(demo->relay, 1),
                                         .user = DEMO_USER,
                                         .password = demo->password};
    return 0;
}

/* ---- the proxy ---- */

static struct conf *demo_proxy_conf(const struct demo *demo)
{
    char text[1024], dns[ADDR_STRLEN];

    snprintf(text, sizeof(text),
             "[local]\n"
             "socks5 = " DEMO_SERVERS ":0\n"
             "turn = " DEMO_SERVERS ":0\n"
             "[upstream]\n"
             "url = turns:" DEMO_SERVERS ":%u?transport=udp, turns:" DEMO_SERVERS
             ":%u?transport=tcp\n"
             "user = " DEMO_USER "\n"
             "password = %s\n"
             "pin = %s\n"
             "dns = %s\n"
             "[stats]\n"
             "listen = off\n",
             demo->at_relay.udp.port, demo->at_relay.tcp.port, demo->password,
             relay_pin(demo->relay), addr_format(&demo->app.dns_addr, dns, sizeof(dns)));
    return conf_load_text(text, "demo", "local");
}

/* Return: 0 or the exit status. */
static int demo_start_proxy(struct demo *demo)
{
    struct conf *conf = demo_proxy_conf(demo);
    int status;

    if (!conf)
        return EXIT_FAILURE;
    conf->log_level = demo->log_level;
    status = demo_proxy_start(conf, &demo->proxy);
    if (status != 0)
        return status;
    demo->app.socks5 = demo_proxy_socks5(demo->proxy);
    demo->at_proxy = (struct demo_login){.udp = demo_proxy_turn(demo->proxy),
                                         .tcp = demo_proxy_turn(demo->proxy),
                                         .user = demo_proxy_user(demo->proxy),
                                         .password = demo_proxy_password(demo->proxy)};
    return demo_proxy_wait(demo->proxy, clock_now_ns() + DEMO_REACH_NS) ? 0 : EXIT_FAILURE;
}

static void demo_stop(struct demo *demo)
{
    for (size_t i = 0; i < DEMO_N_CALLS; i++)
        demo_call_close(&demo->call[i]);
    demo_app_close(&demo->app);
    demo_proxy_stop(demo->proxy);
    relay_free(demo->relay);
    if (demo->base)
        event_base_free(demo->base);
    demo_drop_certificate(demo);
}

/* The relay's own events on this thread; its workers have threads. */
static void demo_tick(void *arg)
{
    struct demo *demo = arg;

    event_base_loop(demo->base, EVLOOP_NONBLOCK);
}

/* ---- the report ---- */

static void demo_print_peer(const struct demo *demo, struct demo_peer *peer,
                            const struct demo_peer *other)
{
    char own[ADDR_STRLEN], seen[ADDR_STRLEN];
    unsigned int n_sent = 0, n_received = 0;
    uint32_t rtt_us = demo_peer_median_rtt_us(peer);

    for (size_t k = 0; k < DEMO_N_KINDS; k++) {
        n_sent += peer->out[k].n_sent;
        n_received += peer->out[k].n_received;
    }
    printf("  peer %s  %-11s %-18s %-18s %7u %7u %5u %6u.%03u ms\n", peer->name,
           peer->login == &demo->at_relay ? "relay"
           : peer->stream                 ? "proxy, TCP"
                                          : "proxy, UDP",
           addr_format(&peer->client->link.local, own, sizeof(own)),
           addr_format(&other->seen, seen, sizeof(seen)), n_sent, n_received, n_sent - n_received,
           rtt_us / 1000, rtt_us % 1000);
}

static void demo_print_search(const struct demo *demo)
{
    uint64_t n_messages = 0, n_bytes = 0, n_found = 0, n_strangers = 0;

    for (size_t i = 0; i / 2 < DEMO_N_CALLS; i++) {
        const struct demo_watch *watch = &demo->call[i / 2].peer[i % 2].client->link.watch;

        n_messages += watch->n_messages;
        n_bytes += watch->n_bytes;
        n_found += watch->n_found;
        n_strangers += watch->n_strangers;
    }
    printf("\nSearched all %llu messages (%llu bytes) that the peers received, as plain bytes, as\n"
           "STUN's XORed bytes and as text: %llu held a peer's own address, %llu came past the "
           "relay.\n",
           (unsigned long long)n_messages, (unsigned long long)n_bytes, (unsigned long long)n_found,
           (unsigned long long)n_strangers);
}

static void demo_print(struct demo *demo)
{
    printf("\n  %-7s %-11s %-18s %-18s %7s %7s %5s %13s\n", "", "calls by", "own address",
           "others saw", "sent", "arrived", "lost", "round trip");
    for (size_t i = 0; i < DEMO_N_CALLS; i++) {
        demo_print_peer(demo, &demo->call[i].peer[0], &demo->call[i].peer[1]);
        demo_print_peer(demo, &demo->call[i].peer[1], &demo->call[i].peer[0]);
    }
    demo_print_search(demo);
}

static void demo_print_app(const struct demo_app *app)
{
    char a[ADDR_STRLEN], b[ADDR_STRLEN], c[ADDR_STRLEN], d[ADDR_STRLEN];

    printf("\nAn app at %s, through SOCKS5:\n"
           "  datagrams   %u of %u came back from a peer that saw %s, round trip %u.%03u ms\n"
           "  a stream    %zu KB to \"%s\" and back; the peer saw %s,\n"
           "              and the name server, asked for that name, %s\n",
           addr_format_ip(&app->own, a, sizeof(a)), app->n_echoed, app->n_sent,
           addr_format(&app->udp_seen, b, sizeof(b)), app->rtt_us / 1000, app->rtt_us % 1000,
           app->n_bytes / 1024, DEMO_PEER_NAME, addr_format(&app->tcp_seen, c, sizeof(c)),
           addr_format(&app->dns_seen, d, sizeof(d)));
}

/* ---- the run ---- */

static int demo_failed(const char *why)
{
    fflush(stdout);
    fprintf(stderr, "callveil demo: failed: %s\n", why);
    return EXIT_FAILURE;
}

/* Return: why the app's exchanges show something else than they should, or NULL. */
static const char *demo_app_fault(const struct demo_app *app)
{
    struct addr relayed;

    addr_parse_ip(DEMO_RELAYED, 0, &relayed);
    if (app->n_echoed != DEMO_APP_PACKETS)
        return "datagrams of the app were lost";
    if (app->n_bytes != DEMO_APP_BYTES)
        return "the app's stream was cut short";
    if (!addr_ip_equal(&app->udp_seen, &relayed) || !addr_ip_equal(&app->tcp_seen, &relayed))
        return "the app's peer saw another address than the relay's";
    if (!addr_ip_equal(&app->dns_seen, &relayed))
        return "a name was asked for from another address than the relay's";
    return NULL;
}

static int demo_verdict(struct demo *demo)
{
    const char *fault = demo_app_fault(&demo->app);

    for (size_t i = 0; i < DEMO_N_CALLS; i++) {
        if (!demo_call_is_clean(&demo->call[i]))
            return demo_failed(demo->call[i].why);
    }
    if (fault)
        return demo_failed(fault);
    puts("\nok: every peer saw the relay's address only");
    return EXIT_SUCCESS;
}

static int demo_open(struct demo *demo)
{
    for (size_t i = 0; i < DEMO_N_CALLS; i++) {
        struct demo_call *call = &demo->call[i];

        for (size_t k = 0; k < 2; k++) {
            struct demo_peer *p = &call->peer[k];

            p->name = demo_peers[i][k].name;
            p->login = k == 0 ? &demo->at_proxy : &demo->at_relay;
            p->stream = demo_peers[i][k].stream;
            p->channel = demo_peers[i][k].channel;
            addr_parse_ip(demo_peers[i][k].ip, 0, &p->own);
        }
        if (demo_call_open(call, demo->seconds) < 0) {
            demo_failed(call->why);
            return -1;
        }
    }
    return 0;
}

static int demo_open_app(struct demo *demo)
{
    struct addr peer, dns;

    addr_parse_ip(DEMO_APP, 0, &demo->app.own);
    addr_parse_ip(DEMO_PEER, 0, &peer);
    addr_parse_ip(DEMO_DNS, 0, &dns);
    return demo_app_open(&demo->app, &peer, &dns);
}

/* Return: 0, or the exit status after a line. */
static int demo_start(struct demo *demo)
{
    int status = demo_start_relay(demo);

    if (status != 0) {
        demo_failed("the relay did not start");
        return status;
    }
    if (demo_open_app(demo) < 0)
        return demo_failed(demo->app.why);
    status = demo_start_proxy(demo);
    if (status != 0)
        demo_failed("the local proxy did not reach the relay");
    return status;
}

static int demo_run(struct demo *demo)
{
    const char *why;
    char relay[ADDR_STRLEN], turn[ADDR_STRLEN], socks5[ADDR_STRLEN];
    int status = demo_start(demo);

    if (status != 0)
        return status;
    printf(
        "A relay (%s) and a local proxy (TURN %s, SOCKS5 %s) on this machine;\n"
        "the proxy reaches the relay by DTLS, and by TLS for streams. Everybody has an address of\n"
        "their own, and the relay's, which is all that others should see, is " DEMO_RELAYED ".\n\n"
        "Two calls, each between somebody behind the proxy and somebody who uses the relay\n"
        "directly, %u seconds of audio and video each way:\n",
        addr_format(&demo->at_relay.udp, relay, sizeof(relay)),
        addr_format(&demo->at_proxy.udp, turn, sizeof(turn)),
        addr_format(&demo->app.socks5, socks5, sizeof(socks5)), demo->seconds);
    fflush(stdout);
    if (demo_open(demo) < 0)
        return EXIT_FAILURE;
    why = demo_calls_run(demo->call, DEMO_N_CALLS, demo->seconds, demo_tick, demo);
    demo_print(demo);
    if (why)
        return demo_failed(why);
    if (demo_app_datagrams(&demo->app) < 0 || demo_app_stream(&demo->app) < 0)
        return demo_failed(demo->app.why);
    demo_print_app(&demo->app);
    return demo_verdict(demo);
}

static int demo_parse_args(struct demo *demo, int argc, char **argv)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'},
        {"log-level", required_argument, NULL, 'l'},
        {0},
    };
    char why[VALUE_WHY_LEN];
    uint64_t seconds = DEMO_DEFAULT_SECONDS;
    int o;

    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (o == 's') {
            if (value_number(optarg, 1, DEMO_SECONDS_MAX, &seconds, why) != 0)
                return usage_error("demo", "--seconds: %s", why);
        } else if (o == 'l') {
            if (value_log_level(optarg, &demo->log_level, why) != 0)
                return usage_error("demo", "--log-level: %s", why);
        } else {
            return usage_bad_option("demo", options, argv, o);
        }
    }
    if (optind < argc)
        return usage_error("demo", "unexpected argument \"%s\"", argv[optind]);
    demo->seconds = (unsigned int)seconds;
    return 0;
}

int demo_command(int argc, char **argv)
{
    /* Some buffers for whole messages: too much for a stack. */
    struct demo *demo = calloc(1, sizeof(*demo));
    int status;

    if (!demo)
        return demo_failed("out of memory");
    demo->log_level = LOG_LEVEL_ERROR;
    status = demo_parse_args(demo, argc, argv);
    if (status == 0) {
        status = demo_run(demo);
        demo_stop(demo);
    }
    free(demo);
    return status;
}
