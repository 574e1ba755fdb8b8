#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/net/addr.h"
#include "conf/conf.h"
#include "conf/invite_link.h"
#include "conf/path.h"
#include "conf/value.h"
#include "relay/check/check.h"
#include "relay/invite/invite.h"
#include "relay/invite/local_conf.h"
#include "relay/usage.h"

struct arguments {
    const char *file; /* NULL: local.conf of this person */
    const char *link; /* "-": on standard input */
    bool force;
    bool no_check;
};

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "callveil join: %s%s%s\n", what, *why ? ": " : "", why);
    return EXIT_FAILURE;
}

/* ---- the link ---- */

/* The link stands on the first line that is not empty. Blanks around it come from pasting. */
static int read_stdin(char *buf, size_t cap)
{
    size_t len;

    do {
        if (!fgets(buf, (int)cap, stdin))
            return usage_error("join", "no link on standard input");
        len = strspn(buf, " \t\r\n");
    } while (!buf[len]);
    memmove(buf, buf + len, strlen(buf + len) + 1);
    len = strlen(buf);
    while (len > 0 && strchr(" \t\r\n", buf[len - 1]))
        buf[--len] = '\0';
    return 0;
}

static int take_link(const struct arguments *a, struct invite_link *ret)
{
    char buf[INVITE_LINK_MAX + 64], why[VALUE_WHY_LEN];
    const char *text = a->link;
    int status = 0, r;

    assert(text); /* parse() lets no command line pass without one */
    if (strcmp(text, "-") == 0) {
        status = read_stdin(buf, sizeof(buf));
        text = buf;
    }
    if (status == 0) {
        r = invite_link_decode(text, ret, why);
        if (r != 0)
            status = usage_error("join", "%s", r > 0 ? why : strerror(-r));
    }
    explicit_bzero(buf, sizeof(buf));
    return status;
}

/* ---- the file ---- */

static int write_file(const struct arguments *a, const char *file, const char *text)
{
    int r = a->file ? 0 : local_conf_make_folders(file);

    if (r == 0)
        r = local_conf_write(file, text, a->force);
    if (r == LOCAL_CONF_E_EXISTS)
        return fail(file, "is there already; --force replaces it and keeps the old one as .old");
    return r == 0 ? EXIT_SUCCESS : fail(file, strerror(-r));
}

static void tell_next(const struct conf *conf, const struct arguments *a)
{
    char socks5[ADDR_STRLEN], turn[ADDR_STRLEN];

    printf("\nNow run \"callveil local%s%s\", and point programs at\n"
           "    SOCKS5 %s (names are resolved at the relay's side)\n"
           "    TURN   %s (calls; it prints the password)\n",
           a->file ? " -c " : "", a->file ? a->file : "",
           addr_format(&conf->socks5, socks5, sizeof(socks5)),
           addr_format(&conf->turn, turn, sizeof(turn)));
}

/* A relay that cannot be reached now may be later: the file stays, and the status says. */
static int try_relay(const struct conf *conf, const struct arguments *a)
{
    int status;

    if (a->no_check)
        return EXIT_SUCCESS;
    printf("Trying the relay:\n\n");
    fflush(stdout);
    log_init(LOG_LEVEL_ERROR, false);
    status = check_run(conf, false, stdout);
    if (status != EXIT_SUCCESS)
        printf("\nThe file stays; \"callveil check\" tries again.\n");
    return status;
}

static int join(const struct arguments *a, const char *file, const char *text)
{
    /* Read as "callveil local" will read it: a link must not make a file that is refused. */
    struct conf *conf = conf_load_text(text, file, "local");
    int status = conf ? write_file(a, file, text) : EXIT_FAILURE;

    if (status == EXIT_SUCCESS) {
        printf("%s is written.\n", file);
        status = try_relay(conf, a);
        if (status == EXIT_SUCCESS)
            tell_next(conf, a);
    }
    conf_free(conf);
    return status;
}

static int run(const struct arguments *a, const struct invite_link *link)
{
    char *file = a->file ? strdup(a->file) : conf_local_file(), *text = local_conf_text(link);
    int status;

    if (file && text)
        status = join(a, file, text);
    else if (file || a->file)
        status = fail("out of memory", "");
    else
        status = usage_error("join", "no home directory; name the file with -c");
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    free(file);
    return status;
}

/* ---- the command line ---- */

static int parse(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"force", no_argument, NULL, 'f'},
        {"no-check", no_argument, NULL, 'n'},
        {0},
    };
    int o;

    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (o == 'c')
            ret->file = optarg;
        else if (o == 'f')
            ret->force = true;
        else if (o == 'n')
            ret->no_check = true;
        else
            return usage_bad_option("join", options, argv, o);
    }
    if (optind == argc)
        return usage_error("join", "LINK is missing (\"-\" reads it from standard input)");
    if (optind + 1 < argc)
        return usage_error("join", "one LINK only; a shell needs it in single quotes");
    ret->link = argv[optind];
    return 0;
}

int join_command(int argc, char **argv)
{
    struct invite_link link = {0};
    struct arguments a = {0};
    int status = parse(argc, argv, &a);

    if (status == 0)
        status = take_link(&a, &link);
    if (status == 0)
        status = run(&a, &link);
    invite_link_deinit(&link);
    return status;
}
