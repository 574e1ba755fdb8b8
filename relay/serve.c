#include "relay/serve.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/base/log.h"
#include "conf/value.h"
#include "relay/usage.h"

struct watched {
    char *name; /* NULL: not set */
    struct timespec time;
    off_t size;
};

struct serve {
    const struct serve_role *role;
    const char *file;
    int log_level; /* -1: the configuration's */
    struct event_base *base;
    void *running;
    struct event *drain;
    struct event *watch;
    struct watched files[SERVE_FILES_MAX];
};

/* ---- watched files ---- */

static void watched_look(struct watched *f)
{
    struct stat st = {0};

    if (f->name && stat(f->name, &st) < 0)
        st = (struct stat){0};
    f->time = st.st_mtim;
    f->size = st.st_size;
}

/* Return: whether it is another one than last time. */
static bool watched_changed(struct watched *f)
{
    struct watched before = *f;

    watched_look(f);
    return before.time.tv_sec != f->time.tv_sec || before.time.tv_nsec != f->time.tv_nsec ||
           before.size != f->size;
}

static void serve_remember_files(struct serve *s, const struct conf *conf)
{
    const char *names[SERVE_FILES_MAX] = {0};

    if (s->role->files)
        s->role->files(conf, names);
    for (size_t i = 0; i < SERVE_FILES_MAX; i++) {
        free(s->files[i].name);
        s->files[i].name = names[i] ? strdup(names[i]) : NULL;
        watched_look(&s->files[i]);
    }
}

/* ---- signals and timers ---- */

static struct conf *serve_load(struct serve *s)
{
    struct conf *conf = conf_load(s->file, s->role->name);

    if (conf && s->log_level >= 0)
        conf->log_level = (enum log_level)s->log_level;
    return conf;
}

static void serve_reload(struct serve *s)
{
    struct conf *conf = serve_load(s);

    if (conf)
        serve_remember_files(s, conf);
    if (conf && s->role->reload(s->running, conf) == 0)
        log_info("configuration reloaded");
    else
        log_error("reload refused: the old configuration stays in force");
}

static void on_hup(evutil_socket_t sig, short what, void *arg)
{
    serve_reload(arg);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct serve *s = arg;
    bool changed = false;

    for (size_t i = 0; i < SERVE_FILES_MAX; i++)
        changed = watched_changed(&s->files[i]) || changed;
    if (!changed)
        return;
    log_info("a file that the configuration names has changed");
    serve_reload(s);
}

static void on_end(evutil_socket_t sig, short what, void *arg)
{
    struct serve *s = arg;

    log_info("ending on %s", sig == SIGTERM ? "SIGTERM" : "SIGINT");
    event_base_loopbreak(s->base);
}

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
    struct serve *s = arg;

    if (s->role->n_left(s->running) > 0)
        return;
    log_info("drained: no allocation is left");
    event_base_loopbreak(s->base);
}

static void on_usr1(evutil_socket_t sig, short what, void *arg)
{
    static const struct timeval every = {.tv_usec = 200000};
    struct serve *s = arg;

    log_info("draining: %u allocations are left", s->role->n_left(s->running));
    s->role->drain(s->running);
    event_add(s->drain, &every);
}

/* ---- the run ---- */

/* Every allocation is a descriptor; the soft limit is only a default, so the hard one is taken. */
static void serve_raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn("cannot raise the limit of open files: %s", strerror(errno));
}

static int serve_loop(struct serve *s)
{
    static const struct timeval watch = {.tv_sec = SERVE_WATCH_S};
    struct event *signals[] = {
        evsignal_new(s->base, SIGTERM, on_end, s),
        evsignal_new(s->base, SIGINT, on_end, s),
        evsignal_new(s->base, SIGHUP, on_hup, s),
        s->role->drain ? evsignal_new(s->base, SIGUSR1, on_usr1, s) : NULL,
    };
    const size_t n = s->role->drain ? 4 : 3;
    int status = 1;

    s->drain = event_new(s->base, -1, EV_PERSIST, on_drained, s);
    s->watch = event_new(s->base, -1, EV_PERSIST, on_watch, s);
    for (size_t i = 0; i < n; i++)
        if (!signals[i] || event_add(signals[i], NULL) < 0)
            goto out;
    if (!s->drain || !s->watch || event_add(s->watch, &watch) < 0)
        goto out;
    log_info("callveil %s %s is ready", s->role->name, CALLVEIL_VERSION);
    event_base_dispatch(s->base);
    status = 0;
out:
    for (size_t i = 0; i < n; i++)
        if (signals[i])
            event_free(signals[i]);
    if (s->drain)
        event_free(s->drain);
    if (s->watch)
        event_free(s->watch);
    return status;
}

static int serve_run(struct serve *s)
{
    struct conf *conf = serve_load(s);
    int status;

    if (!conf)
        return EXIT_USAGE;
    serve_remember_files(s, conf);
    serve_raise_limits();
    s->base = event_base_new();
    if (!s->base) {
        conf_free(conf);
        return 1;
    }
    status = s->role->start(conf, s->base, &s->running);
    if (status == 0) {
        /* What a first start makes (certificates) is no change. */
        for (size_t i = 0; i < SERVE_FILES_MAX; i++)
            watched_look(&s->files[i]);
        status = serve_loop(s);
        s->role->free(s->running);
    }
    event_base_free(s->base);
    return status;
}

int serve_command(const struct serve_role *role, const char *file, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"log-level", required_argument, NULL, 'l'},
        {0},
    };
    struct serve s = {.role = role, .file = file, .log_level = -1};
    enum log_level level;
    char why[VALUE_WHY_LEN];
    int o, status;

    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (o == 'c') {
            s.file = optarg;
        } else if (o == 'l') {
            if (value_log_level(optarg, &level, why) != 0)
                return usage_error(role->name,
                                   "--log-level is error, warning, info or debug, "
                                   "not '%s'",
                                   optarg);
            s.log_level = (int)level;
        } else {
            return usage_bad_option(role->name, options, argv, o);
        }
    }
    if (optind < argc)
        return usage_error(role->name, "unexpected argument '%s'", argv[optind]);
    if (!s.file)
        return usage_error(role->name,
                           "there is no home directory: name the configuration with -c");
    status = serve_run(&s);
    for (size_t i = 0; i < SERVE_FILES_MAX; i++)
        free(s.files[i].name);
    return status;
}
