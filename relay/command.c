/*
 * relay/command.c - `callveil relay`: options, signals, and the wait for the end
 *
 *   SIGTERM, SIGINT  end now          SIGHUP   reload the configuration and certificates
 *   SIGUSR1          drain: no new allocations; ends with the last one
 *
 * Certificates are also reloaded when their files change, since renewal tools
 * rarely know whom to signal.
 */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/base/log.h"
#include "conf/conf.h"
#include "relay/relay.h"
#include "relay/usage.h"

#define COMMAND_WATCH_S 30

struct command {
    const char *file;
    int log_level; /* -1: the configuration's */
    struct event_base *base;
    struct relay *relay;
    struct event *drain;
    struct event *watch;
    struct timespec cert_time, key_time;
    char *cert_file, *key_file;
};

static struct timespec file_time(const char *file)
{
    struct stat st;

    if (!file || stat(file, &st) < 0)
        return (struct timespec){0};
    return st.st_mtim;
}

static void command_remember_files(struct command *c, const struct conf *conf)
{
    free(c->cert_file);
    free(c->key_file);
    c->cert_file = conf->certificate ? strdup(conf->certificate) : NULL;
    c->key_file = conf->private_key ? strdup(conf->private_key) : NULL;
}

static struct conf *command_load(struct command *c)
{
    struct conf *conf = conf_load(c->file, "relay");

    if (conf && c->log_level >= 0)
        conf->log_level = (enum log_level)c->log_level;
    return conf;
}

static void command_reload(struct command *c)
{
    struct conf *conf = command_load(c);

    if (conf)
        command_remember_files(c, conf);
    if (conf && relay_reload(c->relay, conf) == 0)
        log_info("configuration reloaded");
    else
        log_error("reload refused: the old configuration stays in force");
    c->cert_time = file_time(c->cert_file);
    c->key_time = file_time(c->key_file);
}

static void on_hup(evutil_socket_t sig, short what, void *arg)
{
    command_reload(arg);
}

static bool time_equal(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct command *c = arg;
    struct timespec cert = file_time(c->cert_file), key = file_time(c->key_file);

    if (time_equal(&cert, &c->cert_time) && time_equal(&key, &c->key_time))
        return;
    log_info("certificate files have changed");
    command_reload(c);
}

static void on_end(evutil_socket_t sig, short what, void *arg)
{
    struct command *c = arg;

    log_info("ending on %s", sig == SIGTERM ? "SIGTERM" : "SIGINT");
    event_base_loopbreak(c->base);
}

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
    struct command *c = arg;

    if (relay_n_allocations(c->relay) > 0)
        return;
    log_info("drained: no allocation is left");
    event_base_loopbreak(c->base);
}

static void on_usr1(evutil_socket_t sig, short what, void *arg)
{
    static const struct timeval every = {.tv_usec = 200000};
    struct command *c = arg;

    log_info("draining: %u allocations are left", relay_n_allocations(c->relay));
    relay_drain(c->relay);
    event_add(c->drain, &every);
}

/* Every allocation is a descriptor; the soft limit is only a default, so the hard one is taken. */
static void command_raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn("cannot raise the limit of open files: %s", strerror(errno));
}

static int command_loop(struct command *c)
{
    static const struct timeval watch = {.tv_sec = COMMAND_WATCH_S};
    struct event *signals[] = {
        evsignal_new(c->base, SIGTERM, on_end, c),
        evsignal_new(c->base, SIGINT, on_end, c),
        evsignal_new(c->base, SIGHUP, on_hup, c),
        evsignal_new(c->base, SIGUSR1, on_usr1, c),
    };
    const size_t n = sizeof(signals) / sizeof(signals[0]);
    int status = 1;

    c->drain = event_new(c->base, -1, EV_PERSIST, on_drained, c);
    c->watch = event_new(c->base, -1, EV_PERSIST, on_watch, c);
    for (size_t i = 0; i < n; i++)
        if (!signals[i] || event_add(signals[i], NULL) < 0)
            goto out;
    if (!c->drain || !c->watch || event_add(c->watch, &watch) < 0)
        goto out;
    event_base_dispatch(c->base);
    status = 0;
out:
    for (size_t i = 0; i < n; i++)
        if (signals[i])
            event_free(signals[i]);
    if (c->drain)
        event_free(c->drain);
    if (c->watch)
        event_free(c->watch);
    return status;
}

static int command_run(struct command *c)
{
    struct conf *conf = command_load(c);
    int status;

    if (!conf)
        return 2;
    command_remember_files(c, conf);
    command_raise_limits();
    c->base = event_base_new();
    if (!c->base) {
        conf_free(conf);
        return 1;
    }
    status = relay_start(conf, c->base, &c->relay);
    if (status == 0) {
        c->cert_time = file_time(c->cert_file);
        c->key_time = file_time(c->key_file);
        log_info("callveil relay %s is ready", CALLVEIL_VERSION);
        status = command_loop(c);
        relay_free(c->relay);
    }
    event_base_free(c->base);
    return status;
}

static int parse_log_level(const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    return -1;
}

int relay_command(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"log-level", required_argument, NULL, 'l'},
        {0},
    };
    struct command c = {.file = "/etc/callveil/relay.conf", .log_level = -1};
    int o, status;

    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (o == 'c')
            c.file = optarg;
        else if (o == 'l')
            c.log_level = parse_log_level(optarg);
        else
            return usage_bad_option("relay", options, argv, o);
        if (o == 'l' && c.log_level < 0)
            return usage_error("relay", "--log-level is error, warning, info or debug, not '%s'",
                               optarg);
    }
    if (optind < argc)
        return usage_error("relay", "unexpected argument '%s'", argv[optind]);
    status = command_run(&c);
    free(c.cert_file);
    free(c.key_file);
    return status;
}
