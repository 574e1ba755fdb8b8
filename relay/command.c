/*
 * relay/command.c - `callveil relay`: options, signals, and the wait for the end
 *
 *   SIGTERM, SIGINT  end now          SIGHUP   reload the configuration and certificates
 *   SIGUSR1          drain: no new allocations; ends with the last one
 *
 * Certificates are also reloaded when their files change, since renewal tools
 * rarely know whom to signal; and so is a changed users file, which is how
 * `callveil invite` reaches a running relay.
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
#include <time.h>

#include "common/base/log.h"
#include "conf/conf.h"
#include "relay/relay.h"
#include "relay/usage.h"

#define COMMAND_WATCH_S      1
#define COMMAND_WATCH_CERT_S 30

/* What tells a file from its successor. The time is that of the inode: unlike the contents' own, it
 * also moves when a file is renamed into place, or made readable. */
struct file_state {
    struct timespec changed;
    ino_t inode;
};

struct command {
    const char *file;
    int log_level; /* -1: the configuration's */
    struct event_base *base;
    struct relay *relay;
    struct event *drain;
    struct event *watch;
    unsigned int n_watched;
    struct file_state cert, key, users;
    char *cert_file, *key_file, *users_file;
};

static struct file_state file_state(const char *file)
{
    struct stat st;

    if (!file || stat(file, &st) < 0)
        return (struct file_state){0};
    return (struct file_state){st.st_ctim, st.st_ino};
}

static bool file_is(const char *file, const struct file_state *state)
{
    struct file_state now = file_state(file);

    return now.changed.tv_sec == state->changed.tv_sec &&
           now.changed.tv_nsec == state->changed.tv_nsec && now.inode == state->inode;
}

static void copy_name(char **to, const char *name)
{
    free(*to);
    *to = name ? strdup(name) : NULL;
}

static void command_remember_certificate(struct command *c)
{
    c->cert = file_state(c->cert_file);
    c->key = file_state(c->key_file);
}

/* For a file that was read since `before`: one so young that it may have been replaced after that
 * counts as changed. */
static struct file_state file_state_since(const char *file, const struct timespec *before)
{
    struct file_state state = file_state(file);

    if (state.changed.tv_sec > before->tv_sec ||
        (state.changed.tv_sec == before->tv_sec && state.changed.tv_nsec >= before->tv_nsec))
        return (struct file_state){.inode = (ino_t)-1};
    return state;
}

/* The files that a configuration names are watched even if it is refused later. Of the users file,
 * it is the state from before reading it that counts; only at first its name is not known yet. */
static struct conf *command_load(struct command *c)
{
    struct file_state users = file_state(c->users_file);
    struct timespec before;
    struct conf *conf;

    clock_gettime(CLOCK_REALTIME_COARSE, &before); /* the clock that stamps files */
    conf = conf_load(c->file, "relay");
    if (conf) {
        if (!c->users_file || !conf->users_file || strcmp(c->users_file, conf->users_file) != 0)
            users = file_state_since(conf->users_file, &before);
        copy_name(&c->cert_file, conf->certificate);
        copy_name(&c->key_file, conf->private_key);
        copy_name(&c->users_file, conf->users_file);
    }
    c->users = users;
    if (conf && c->log_level >= 0)
        conf->log_level = (enum log_level)c->log_level;
    return conf;
}

static void command_reload(struct command *c)
{
    struct conf *conf = command_load(c);

    if (conf && relay_reload(c->relay, conf) == 0)
        log_info("configuration reloaded");
    else
        log_error("reload refused: the old configuration stays in force");
    command_remember_certificate(c);
}

static void on_hup(evutil_socket_t sig, short what, void *arg)
{
    command_reload(arg);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct command *c = arg;
    bool cert_is_due = ++c->n_watched % (COMMAND_WATCH_CERT_S / COMMAND_WATCH_S) == 0;

    if (!file_is(c->users_file, &c->users))
        log_info("the users file has changed");
    else if (cert_is_due && (!file_is(c->cert_file, &c->cert) || !file_is(c->key_file, &c->key)))
        log_info("certificate files have changed");
    else
        return;
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
    command_raise_limits();
    c->base = event_base_new();
    if (!c->base) {
        conf_free(conf);
        return 1;
    }
    status = relay_start(conf, c->base, &c->relay);
    if (status == 0) {
        command_remember_certificate(c);
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
    free(c.users_file);
    return status;
}
