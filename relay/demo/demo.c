#include "relay/demo/demo.h"

#include <event2/event.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "conf/conf.h"
#include "conf/value.h"
#include "relay/demo/call.h"
#include "relay/relay.h"
#include "relay/usage.h"

#define DEMO_USER            "demo"
#define DEMO_PASSWORD_LEN    32
#define DEMO_DEFAULT_SECONDS 3
#define DEMO_N_CALLS         2

struct demo {
    unsigned int seconds;
    enum log_level log_level;
    char password[DEMO_PASSWORD_LEN + 1];
    struct event_base *base;
    struct relay *relay;
    struct demo_login login;
    struct demo_call call[DEMO_N_CALLS];
};

/* Every peer has a loopback address of its own, so that what the others see can be told from where
 * it is: all of 127.0.0.0/8 is this machine. */
static const struct {
    const char *name, *ip;
    bool stream, channel;
} demo_peers[DEMO_N_CALLS][2] = {
    {{"A", "127.0.0.2", false, true}, {"B", "127.0.0.3", false, false}},
    {{"C", "127.0.0.4", false, true}, {"D", "127.0.0.5", true, true}},
};

/* ---- the relay ---- */

static int demo_draw_password(struct demo *demo)
{
    uint8_t bytes[DEMO_PASSWORD_LEN / 2];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return -1;
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(demo->password + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* Nothing is written to disk, and only this machine can reach what is opened. Nothing in [peers]:
 * that calls between two users of one relay work on loopback is part of what is shown. */
static struct conf *demo_conf(const struct demo *demo)
{
    char text[512];

    snprintf(text, sizeof(text),
             "[relay]\n"
             "listen = udp://127.0.0.1:0, tcp://127.0.0.1:0\n"
             "relay-address = 127.0.0.1\n"
             "realm = demo\n"
             "[users]\n" DEMO_USER " = %s\n"
             "[stats]\n"
             "listen = off\n",
             demo->password);
    return conf_load_text(text, "demo", "relay");
}

/* Return: 0 or the exit status. */
static int demo_start(struct demo *demo)
{
    struct conf *conf;
    int status;

    demo->base = event_base_new();
    if (!demo->base || demo_draw_password(demo) < 0)
        return EXIT_FAILURE;
    conf = demo_conf(demo);
    if (!conf)
        return EXIT_FAILURE;
    conf->log_level = demo->log_level;
    log_init(demo->log_level, true);
    status = relay_start(conf, demo->base, &demo->relay);
    if (status != 0)
        return status;
    demo->login = (struct demo_login){.udp = relay_listen_addr(demo->relay, 0),
                                      .tcp = relay_listen_addr(demo->relay, 1),
                                      .user = DEMO_USER,
                                      .password = demo->password};
    return 0;
}

static void demo_stop(struct demo *demo)
{
    for (size_t i = 0; i < DEMO_N_CALLS; i++)
        demo_call_close(&demo->call[i]);
    relay_free(demo->relay);
    if (demo->base)
        event_base_free(demo->base);
}

/* The relay's own events on this thread; its workers have threads. */
static void demo_tick(void *arg)
{
    struct demo *demo = arg;

    event_base_loop(demo->base, EVLOOP_NONBLOCK);
}

/* ---- the report ---- */

static void demo_print_peer(struct demo_peer *peer, const struct demo_peer *other)
{
    char own[ADDR_STRLEN], seen[ADDR_STRLEN];
    unsigned int n_sent = 0, n_received = 0;
    uint32_t rtt_us = demo_peer_median_rtt_us(peer);

    for (size_t k = 0; k < DEMO_N_KINDS; k++) {
        n_sent += peer->out[k].n_sent;
        n_received += peer->out[k].n_received;
    }
    printf("  peer %s  %-4s  %-18s %-18s %7u %7u %5u %6u.%03u ms\n", peer->name,
           peer->stream ? "TCP" : "UDP", addr_format(&peer->client->link.local, own, sizeof(own)),
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
    printf("\n  %-12s  %-18s %-18s %7s %7s %5s %13s\n", "", "own address", "others saw", "sent",
           "arrived", "lost", "round trip");
    for (size_t i = 0; i < DEMO_N_CALLS; i++) {
        demo_print_peer(&demo->call[i].peer[0], &demo->call[i].peer[1]);
        demo_print_peer(&demo->call[i].peer[1], &demo->call[i].peer[0]);
    }
    demo_print_search(demo);
}

/* ---- the run ---- */

static int demo_failed(const char *why)
{
    fflush(stdout);
    fprintf(stderr, "callveil demo: failed: %s\n", why);
    return EXIT_FAILURE;
}

static int demo_verdict(struct demo *demo)
{
    for (size_t i = 0; i < DEMO_N_CALLS; i++) {
        if (!demo_call_is_clean(&demo->call[i]))
            return demo_failed(demo->call[i].why);
    }
    puts("\nok: each peer saw the relay's address only");
    return EXIT_SUCCESS;
}

static int demo_open(struct demo *demo)
{
    for (size_t i = 0; i < DEMO_N_CALLS; i++) {
        struct demo_call *call = &demo->call[i];

        for (size_t k = 0; k < 2; k++) {
            struct demo_peer *p = &call->peer[k];

            p->name = demo_peers[i][k].name;
            p->stream = demo_peers[i][k].stream;
            p->channel = demo_peers[i][k].channel;
            addr_parse_ip(demo_peers[i][k].ip, 0, &p->own);
        }
        if (demo_call_open(call, &demo->login, demo->seconds) < 0) {
            demo_failed(call->why);
            return -1;
        }
    }
    return 0;
}

static int demo_run(struct demo *demo)
{
    const char *why;
    char udp[ADDR_STRLEN], tcp[ADDR_STRLEN];
    int status = demo_start(demo);

    if (status != 0) {
        demo_failed("the relay did not start");
        return status;
    }
    printf("A relay on this machine (UDP %s, TCP %s), and two calls through it:\n"
           "%u seconds of audio and video each way. Each peer has an address of its own.\n",
           addr_format(&demo->login.udp, udp, sizeof(udp)),
           addr_format(&demo->login.tcp, tcp, sizeof(tcp)), demo->seconds);
    fflush(stdout);
    if (demo_open(demo) < 0)
        return EXIT_FAILURE;
    why = demo_calls_run(demo->call, DEMO_N_CALLS, demo->seconds, demo_tick, demo);
    demo_print(demo);
    return why ? demo_failed(why) : demo_verdict(demo);
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
