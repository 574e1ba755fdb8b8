/*
 * Order matters: whatever can be refused is refused before the users file is touched, and the link
 * is printed when the user is in it. The lock spans from reading the configuration to writing, so
 * that of two invitations at a time neither is lost, nor a name given twice.
 */
#include "relay/invite/invite.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/invite_link.h"
#include "conf/path.h"
#include "conf/value.h"
#include "relay/invite/endpoint.h"
#include "relay/invite/file.h"
#include "relay/invite/qr.h"
#include "relay/invite/users.h"
#include "relay/settings.h"
#include "relay/usage.h"

/* 26 of 32 characters that cannot be taken for one another: 130 bits. */
#define PASSWORD_LEN   26
#define PASSWORD_CHARS "abcdefghijkmnpqrstuvwxyz23456789"

enum action { ACTION_ADD, ACTION_REMOVE, ACTION_LIST };

struct arguments {
    const char *file, *host;
    char *name; /* NULL with --list */
    enum action action;
};

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "callveil invite: %s%s%s\n", what, *why ? ": " : "", why);
    return EXIT_FAILURE;
}

static int fail_file(const struct conf *conf, int r)
{
    if (r == USERS_E_CHANGED)
        return fail(conf->users_file, "it does not end where a user could be added");
    if (r == -EAGAIN)
        return fail(conf->users_file, "another command is changing it");
    return fail(conf->users_file, strerror(-r));
}

/* ---- the certificate ---- */

/* Root made it for a relay that runs as somebody else: whoever may write where it lies, or else the
 * group that may read the configuration. */
static void give_to_relay(const char *file, mode_t group_mode, const struct stat *model)
{
    char *folder = file_folder(file);
    struct stat st;
    int r = -1;

    if (folder && stat(folder, &st) == 0) {
        if (st.st_uid != 0)
            r = chown(file, st.st_uid, st.st_gid);
        else
            r = chown(file, 0, model->st_gid) == 0 ? chmod(file, group_mode) : -1;
    }
    if (r < 0)
        fprintf(stderr, "callveil invite: warning: see to it that the relay may read %s: %s\n",
                file, strerror(errno));
    free(folder);
}

static int load_certificate(const struct conf *conf, const struct stat *model,
                            struct tls_server **ret)
{
    const bool is_new = conf->certificate && access(conf->certificate, F_OK) < 0;
    char error[512];

    if (settings_tls_new(conf, ret, error, sizeof(error)) < 0)
        return fail(error, "");
    if (is_new && *ret && geteuid() == 0) {
        give_to_relay(conf->private_key, 0640, model);
        give_to_relay(conf->certificate, 0644, model);
    }
    return EXIT_SUCCESS;
}

/* ---- adding ---- */

static int make_password(char ret[PASSWORD_LEN + 1])
{
    unsigned char bytes[PASSWORD_LEN];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return fail("no random bytes", strerror(errno));
    for (size_t i = 0; i < PASSWORD_LEN; i++)
        ret[i] = PASSWORD_CHARS[bytes[i] % 32];
    ret[PASSWORD_LEN] = '\0';
    explicit_bzero(bytes, sizeof(bytes));
    return EXIT_SUCCESS;
}

static void print_qr(const char *text)
{
    struct winsize size = {.ws_col = 0};
    int r;

    if (!isatty(STDOUT_FILENO))
        return;
    /* A terminal that does not say how wide it is gets the benefit of the doubt. */
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        size.ws_col = 1000;
    putchar('\n');
    r = qr_print(stdout, text, size.ws_col);
    if (r == QR_E_NARROW)
        fputs("callveil invite: the terminal is too narrow for the QR code\n", stderr);
    else if (r != 0)
        fputs("callveil invite: the link does not fit into a QR code\n", stderr);
}

static int print_link(const struct invite_link *link)
{
    char *text = invite_link_encode(link);

    if (!text)
        return fail("out of memory", "");
    puts(text);
    print_qr(text);
    explicit_bzero(text, strlen(text));
    free(text);
    fprintf(stderr,
            "callveil invite: \"%s\" may use the relay. Whoever has the link is \"%s\": send it "
            "where nobody else reads.\n",
            link->user, link->user);
    return EXIT_SUCCESS;
}

static int add_linked(const struct conf *conf, const struct stat *model, struct invite_link *link)
{
    char password[PASSWORD_LEN + 1];
    int status = make_password(password), r;

    if (status != EXIT_SUCCESS)
        return status;
    link->password = strdup(password);
    r = link->password ? users_add(conf->users_file, link->user, password, model) : -ENOMEM;
    explicit_bzero(password, sizeof(password));
    return r == 0 ? print_link(link) : fail_file(conf, r);
}

static bool is_user(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->n_user; i++)
        if (strcmp(conf->user[i].name, name) == 0)
            return true;
    return false;
}

static int add(const struct arguments *a, const struct conf *conf)
{
    struct invite_link link = {.user = a->name};
    struct tls_server *tls = NULL;
    char note[ENDPOINT_WHY_LEN];
    struct stat model;
    int status;

    if (is_user(conf, a->name))
        return fail(a->name, "there is such a user already; --remove takes the old one away");
    if (stat(a->file, &model) < 0)
        return fail(a->file, strerror(errno));
    status = load_certificate(conf, &model, &tls);
    if (status == EXIT_SUCCESS && endpoint_find(conf, tls, a->host, &link, note) < 0)
        status = fail(note, "");
    else if (status == EXIT_SUCCESS && *note)
        fprintf(stderr, "callveil invite: %s\n", note);
    if (status == EXIT_SUCCESS)
        status = add_linked(conf, &model, &link);
    tls_server_free(tls);
    link.user = NULL; /* the arguments' */
    invite_link_deinit(&link);
    return status;
}

/* ---- removing and listing ---- */

static int remove_user(const struct arguments *a, const struct conf *conf)
{
    int r = users_remove(conf->users_file, a->name);

    if (r == USERS_E_ABSENT && is_user(conf, a->name))
        return fail(a->name, "this user was not invited, but stands in the configuration: take "
                             "the line out there, and reload the relay");
    if (r == USERS_E_ABSENT)
        return fail(a->name, "there is no such user");
    if (r < 0)
        return fail_file(conf, r);
    fprintf(stderr,
            "callveil invite: \"%s\" is removed; what this user has at the relay ends "
            "within seconds\n",
            a->name);
    return EXIT_SUCCESS;
}

static void print_name(void *arg, const char *name)
{
    puts(name);
}

static int act(const struct arguments *a, const struct conf *conf)
{
    int r;

    switch (a->action) {
    case ACTION_ADD:
        return add(a, conf);
    case ACTION_REMOVE:
        return remove_user(a, conf);
    default:
        r = users_each(conf->users_file, print_name, NULL);
        return r == 0 ? EXIT_SUCCESS : fail_file(conf, r);
    }
}

/* ---- the command line ---- */

static struct conf *load(const char *file)
{
    struct conf *conf = conf_load(file, "relay");

    if (conf && !conf->users_file) {
        fprintf(stderr,
                "callveil invite: %s has no users-file: add \"users-file = "
                "/etc/callveil/users.conf\" to its [relay], and reload the relay\n",
                file);
        conf_free(conf);
        return NULL;
    }
    return conf;
}

static int run(const struct arguments *a)
{
    struct conf *conf = load(a->file);
    int lock, status;

    if (!conf)
        return EXIT_USAGE;
    lock = users_lock(conf->users_file);
    if (lock < 0) {
        status = fail_file(conf, lock);
        conf_free(conf);
        return status;
    }
    /* Again, now that nobody else is changing it. */
    conf_free(conf);
    conf = load(a->file);
    status = conf ? act(a, conf) : EXIT_USAGE;
    conf_free(conf);
    close(lock);
    return status;
}

static int parse(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"host", required_argument, NULL, 'H'},
        {"list", no_argument, NULL, 'l'},
        {"remove", no_argument, NULL, 'r'},
        {0},
    };
    char why[VALUE_WHY_LEN];
    int o, n_actions = 0, r;

    optind = 1;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (o == 'c') {
            ret->file = optarg;
        } else if (o == 'H') {
            ret->host = optarg;
        } else if (o == 'l' || o == 'r') {
            ret->action = o == 'l' ? ACTION_LIST : ACTION_REMOVE;
            n_actions++;
        } else {
            return usage_bad_option("invite", options, argv, o);
        }
    }
    if (n_actions > 1)
        return usage_error("invite", "one of --list and --remove only");
    if (ret->host && ret->action != ACTION_ADD)
        return usage_error("invite", "--host is for making a link");
    if (ret->action == ACTION_LIST)
        return optind == argc ? 0 : usage_error("invite", "--list takes no NAME");
    if (optind == argc)
        return usage_error("invite", "NAME is missing");
    if (optind + 1 < argc)
        return usage_error("invite", "one NAME only");
    r = users_name(argv[optind], &ret->name, why);
    return r == 0 ? 0 : usage_error("invite", "NAME: %s", r > 0 ? why : strerror(-r));
}

int invite_command(int argc, char **argv)
{
    struct arguments a = {.file = CONF_RELAY_FILE};
    int status = parse(argc, argv, &a);

    if (status == 0)
        status = run(&a);
    free(a.name);
    return status;
}
