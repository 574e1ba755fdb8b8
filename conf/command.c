#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "conf/conf.h"
#include "conf/option.h"
#include "conf/path.h"
#include "conf/suggest.h"

#define HELP_COLUMNS 78

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2, /* wrong usage or configuration */
};

/* Breaks `text` at spaces; every line starts with `prefix`. */
static void print_wrapped(const char *prefix, const char *text)
{
    const size_t width = HELP_COLUMNS - strlen(prefix);

    while (*text) {
        size_t len = strlen(text), cut = len;

        if (len > width) {
            for (cut = width; cut > 0 && text[cut] != ' ';)
                cut--;
            if (cut == 0)
                cut = strcspn(text, " ");
        }
        printf("%s%.*s\n", prefix, (int)cut, text);
        text += cut;
        text += strspn(text, " ");
    }
}

/* What a relay cannot do without and nobody should share: drawn afresh each time. */
static int print_fresh_secret(void)
{
    unsigned char bytes[32];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        fprintf(stderr, "callveil config: no random bytes: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    puts("# This one was just drawn from the system's random source. Keep the file readable\n"
         "# by the relay alone.");
    printf("secret = ");
    for (size_t i = 0; i < sizeof(bytes); i++)
        printf("%02x", bytes[i]);
    putchar('\n');
    return EXIT_DONE;
}

static int print_option(const struct conf_option *o)
{
    char type[OPTION_TYPE_LEN];

    putchar('\n');
    print_wrapped("# ", o->help);
    printf("# Value: %s.\n", option_type(o, type));
    if (o == &options[OPT_relay_secret])
        return print_fresh_secret();
    if (*o->def)
        printf("%s = %s\n", o->name, o->def);
    else
        printf("#%s =\n", o->name);
    return EXIT_DONE;
}

static const char *role_name(unsigned int role)
{
    return role == ROLE_local ? "local" : "relay";
}

static int print_section(unsigned int role, int section)
{
    int r = EXIT_DONE;

    putchar('\n');
    print_wrapped("# ", sections[section].help);
    printf("[%s]\n", sections[section].name);
    if (section == SECTION_users)
        puts("#alice = a password of alice's own");
    for (int i = 0; i < N_OPTIONS && r == EXIT_DONE; i++)
        if ((int)options[i].section == section && options[i].roles & role)
            r = print_option(&options[i]);
    return r;
}

static int command_defaults(unsigned int role)
{
    int r = EXIT_DONE;

    printf("# Every option of \"callveil %s\" with its default; %s.conf(5) says more.\n"
           "# Lines that start with '#' are comments, or options that have no default.\n",
           role_name(role), role_name(role));
    for (int s = 0; s < N_SECTIONS && r == EXIT_DONE; s++)
        if (sections[s].roles & role)
            r = print_section(role, s);
    return r;
}

static int check_file(const char *file, unsigned int role)
{
    struct conf *conf = conf_load(file, role ? role_name(role) : conf_file_role(file));

    if (!conf)
        return EXIT_USAGE;
    conf_free(conf);
    printf("%s: ok\n", file);
    return EXIT_DONE;
}

static int command_check(const char *file, unsigned int role)
{
    char *local;
    int r;

    if (file || role != ROLE_local)
        return check_file(file ? file : CONF_RELAY_FILE, role);
    local = conf_local_file();
    if (!local) {
        fputs("callveil config: no home directory; name the file with -c\n", stderr);
        return EXIT_USAGE;
    }
    r = check_file(local, role);
    free(local);
    return r;
}

static const char *files_of(unsigned int roles)
{
    return roles == ROLE_both    ? "relay.conf and local.conf"
           : roles == ROLE_local ? "local.conf"
                                 : "relay.conf";
}

static void explain_option(const struct conf_option *o)
{
    char type[OPTION_TYPE_LEN];

    printf("%s, in section [%s] of %s\n", o->name, sections[o->section].name, files_of(o->roles));
    print_wrapped("    ", o->help);
    printf("    Value: %s.\n    Default: %s\n", option_type(o, type), *o->def ? o->def : "not set");
}

static int explain_unknown(const char *key)
{
    const char *names[N_OPTIONS + N_SECTIONS], *near;
    size_t n = 0;

    for (int i = 0; i < N_OPTIONS; i++)
        names[n++] = options[i].name;
    for (int i = 0; i < N_SECTIONS; i++)
        names[n++] = sections[i].name;
    near = suggest(key, names, n);
    if (near)
        fprintf(stderr, "callveil config: no option \"%s\" (did you mean \"%s\"?)\n", key, near);
    else
        fprintf(stderr, "callveil config: no option \"%s\"; --defaults lists all\n", key);
    return EXIT_USAGE;
}

/* `key` is an option's name, section.name, or a section. */
static int command_explain(const char *key)
{
    const char *dot, *name;
    int n_found = 0;

    assert(key); /* getopt_long() lets no --explain pass without one */
    dot = strchr(key, '.');
    name = dot ? dot + 1 : key;
    for (int i = 0; i < N_OPTIONS; i++) {
        const char *section = sections[options[i].section].name;

        if (strcmp(options[i].name, name) != 0)
            continue;
        if (dot &&
            ((size_t)(dot - key) != strlen(section) || strncmp(key, section, strlen(section)) != 0))
            continue;
        explain_option(&options[i]);
        n_found++;
    }
    for (int i = 0; i < N_SECTIONS; i++) {
        if (strcmp(sections[i].name, key) != 0)
            continue;
        printf("[%s] of %s\n", sections[i].name, files_of(sections[i].roles));
        print_wrapped("    ", sections[i].help);
        n_found++;
    }
    return n_found > 0 ? EXIT_DONE : explain_unknown(key);
}

static int usage(FILE *to)
{
    fputs("usage: callveil config [-c FILE] [--role ROLE] --check\n"
          "       callveil config [--role ROLE] --defaults\n"
          "       callveil config --explain KEY\n"
          "\n"
          "  --check        report every error of FILE\n"
          "  --defaults     print a complete configuration with every default\n"
          "  --explain KEY  say what an option is for, its values and its default\n"
          "  --role ROLE    relay or local: whose configuration. Otherwise --check goes by the\n"
          "                 file's first section, and --defaults prints the relay's\n"
          "\n"
          "FILE is " CONF_RELAY_FILE ", or for local\n"
          "~/.config/callveil/local.conf, unless given.\n",
          to);
    return to == stdout ? EXIT_DONE : EXIT_USAGE;
}

struct arguments {
    int action, n_actions; /* 'C', 'D' or 'E' */
    const char *file, *key;
    unsigned int role; /* 0: not given */
};

static int run(const struct arguments *a)
{
    int r = a->action == 'C'   ? command_check(a->file, a->role)
            : a->action == 'D' ? command_defaults(a->role ? a->role : ROLE_relay)
                               : command_explain(a->key);

    /* A full disk behind "--defaults > relay.conf" must not pass for a configuration. */
    if (fflush(stdout) != 0) {
        fprintf(stderr, "callveil config: cannot write: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    return r;
}

/* Return: whether the argument is one that we have. */
static bool take_argument(struct arguments *a, int c)
{
    switch (c) {
    case 'c':
        a->file = optarg;
        return true;
    case 'r':
        a->role = role_find(optarg);
        if (!a->role)
            fprintf(stderr, "callveil config: a role is relay or local\n");
        return a->role != 0;
    case 'C':
    case 'D':
    case 'E':
        a->key = optarg; /* NULL but for 'E' */
        a->action = c;
        a->n_actions++;
        return true;
    default:
        return false;
    }
}

int conf_command(int argc, char **argv)
{
    static const struct option words[] = {
        {"check", no_argument, NULL, 'C'},
        {"defaults", no_argument, NULL, 'D'},
        {"explain", required_argument, NULL, 'E'},
        {"config", required_argument, NULL, 'c'},
        {"role", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct arguments a = {0};
    int c;

    optind = 0; /* glibc: start afresh, main() has been through argv already */
    while ((c = getopt_long(argc, argv, "+c:h", words, NULL)) != -1) {
        if (c == 'h')
            return usage(stdout);
        if (!take_argument(&a, c))
            return usage(stderr);
    }
    if (a.n_actions != 1 || optind < argc)
        return usage(stderr);
    return run(&a);
}
