#include "relay/seal/run.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "conf/value.h"
#include "relay/seal/app.h"
#include "relay/seal/browser.h"
#include "relay/seal/explain.h"
#include "relay/seal/keeper.h"
#include "relay/seal/outside.h"
#include "relay/seal/person.h"
#include "relay/seal/reattach.h"
#include "relay/seal/watch.h"
#include "relay/usage.h"

struct run {
    struct outside_want want;
    const char *user, *profile;
    bool explain;
    char **command;
    struct browser browser;
    struct watch watch;
    struct outside outside;
    struct keeper keeper;
    char why[SEAL_WHY_LEN];
};

static int run_refuse(const char *why)
{
    fprintf(stderr, "callveil run: %s\n", why);
    return EXIT_USAGE;
}

/* ---- the app ---- */

/* Return: the exit status. */
static int run_attached(struct run *run)
{
    struct reattach reattach = {
        .outside = &run->outside,
        .keeper = &run->keeper,
        /* Only where there is somebody to look at it: other programs' stderr is theirs. */
        .tells_page = browser_describe(run->command),
    };
    pid_t app;

    if (reattach.tells_page)
        outside_tell_page(&run->outside);
    app = app_start(run->browser.argv, run->keeper.spaces, &run->watch.old, run->why);

    if (app < 0)
        return run_refuse(run->why);
    return watch_app(&run->watch, app, &reattach);
}

static int run_seal(struct run *run)
{
    int r;

    /* The proxy first: it looks for the relay while the namespace is made. */
    if (outside_open(&run->want, &run->outside, run->why) < 0 ||
        keeper_start(&run->keeper, run->why) < 0 || keeper_wait(&run->keeper, run->why) < 0)
        return run_refuse(run->why);
    r = outside_attach(&run->outside, &run->keeper.attach, run->keeper.passed, run->why);
    keeper_close_passed(&run->keeper);
    if (r < 0)
        return run_refuse(run->why);
    return r > 0 ? r : run_attached(run);
}

static int run_prepared(struct run *run)
{
    int status;

    if (watch_init(&run->watch) < 0)
        return run_refuse("no signals");
    status = run_seal(run);
    outside_close(&run->outside);
    keeper_stop(&run->keeper);
    watch_deinit(&run->watch);
    return status;
}

static int run_run(struct run *run)
{
    int status;

    if (person_become(run->user, run->why) < 0 || app_judge_standard_descriptors(run->why) < 0)
        return run_refuse(run->why);
    app_clean_environment();
    if (browser_prepare(run->command, run->profile, &run->browser, run->why) < 0)
        status = run_refuse(run->why);
    else
        status = run_prepared(run);
    browser_free(&run->browser, run->command);
    return status;
}

/* ---- options ---- */

static int run_parse_option(struct run *run, int o, const struct option *options, char **argv)
{
    char why[VALUE_WHY_LEN];
    enum log_level level;

    switch (o) {
    case 'c':
        run->want.file = optarg;
        return 0;
    case 'u':
        run->user = optarg;
        return 0;
    case 'p':
        run->profile = optarg;
        return 0;
    case 'e':
        run->explain = true;
        return 0;
    case 'l':
        if (value_log_level(optarg, &level, why) != 0)
            return usage_error("run", "--log-level: %s", why);
        run->want.log_level = (int)level;
        return 0;
    default:
        return usage_bad_option("run", options, argv, o);
    }
}

static int run_parse(struct run *run, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},  {"user", required_argument, NULL, 'u'},
        {"profile", required_argument, NULL, 'p'}, {"log-level", required_argument, NULL, 'l'},
        {"explain", no_argument, NULL, 'e'},       {0},
    };
    int o, r;

    optind = 1;
    opterr = 0;
    /* "+": what stands behind the command's name is the command's. */
    while ((o = getopt_long(argc, argv, "+:c:", options, NULL)) != -1) {
        r = run_parse_option(run, o, options, argv);
        if (r != 0)
            return r;
    }
    run->command = argv + optind;
    if (optind == argc && !run->explain)
        return usage_error("run", "which program?");
    return 0;
}

int run_command(int argc, char **argv)
{
    struct run run = {
        .want = {.log_level = -1},
        .watch = {.signals = -1},
        .outside = {.fd = -1, .own = -1},
        .keeper = {.pid = -1,
                   .control = -1,
                   .passed = {-1, -1, -1, -1, -1},
                   .spaces = {-1, -1, -1}},
    };
    int status = run_parse(&run, argc, argv);

    if (status != 0)
        return status;
    if (run.explain) {
        explain(run.command);
        return 0;
    }
    return run_run(&run);
}
