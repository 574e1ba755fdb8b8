#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "conf/conf.h"
#include "conf/option.h"
#include "conf/suggest.h"

#define DEFAULT_FILE "/etc/callveil/relay.conf"
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
    if (o == &options[OPT_secret])
        return print_fresh_secret();
    if (*o->def)
        printf("%s = %s\n", o->name, o->def);
    else
        printf("#%s =\n", o->name);
    return EXIT_DONE;
}

static int command_defaults(void)
{
    int r = EXIT_DONE;

    puts("# Every option of the relay with its default; relay.conf(5) says more.\n"
         "# Lines that start with '#' are comments, or options that have no default.");
    for (int s = 0; s < N_SECTIONS && r == EXIT_DONE; s++) {
        putchar('\n');
        print_wrapped("# ", sections[s].help);
        printf("[%s]\n", sections[s].name);
        if (s == SECTION_users)
            puts("#alice = a password of alice's own");
        for (int i = 0; i < N_OPTIONS && r == EXIT_DONE; i++)
            if ((int)options[i].section == s)
                r = print_option(&options[i]);
    }
    return r;
}

static int command_check(const char *file)
{
    struct conf *conf = conf_load(file, "relay");

    if (!conf)
        return EXIT_USAGE;
    conf_free(conf);
    printf("%s: ok\n", file);
    return EXIT_DONE;
}

static void explain_option(const struct conf_option *o)
{
    char type[OPTION_TYPE_LEN];

    printf("%s, in section [%s]\n", o->name, sections[o->section].name);
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
        printf("[%s]\n", sections[i].name);
        print_wrapped("    ", sections[i].help);
        n_found++;
    }
    return n_found > 0 ? EXIT_DONE : explain_unknown(key);
}

static int usage(FILE *to)
{
    fputs("usage: callveil config [-c FILE] --check\n"
          "       callveil config --defaults\n"
          "       callveil config --explain KEY\n"
          "\n"
          "  --check        report every error of FILE (default " DEFAULT_FILE ")\n"
          "  --defaults     print a complete configuration with every default\n"
          "  --explain KEY  say what an option is for, its values and its default\n",
          to);
    return to == stdout ? EXIT_DONE : EXIT_USAGE;
}

static int run(int action, const char *file, const char *key)
{
    int r = action == 'C'   ? command_check(file)
            : action == 'D' ? command_defaults()
                            : command_explain(key);

    /* A full disk behind "--defaults > relay.conf" must not pass for a configuration. */
    if (fflush(stdout) != 0) {
        fprintf(stderr, "callveil config: cannot write: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    return r;
}

int conf_command(int argc, char **argv)
{
    static const struct option words[] = {
        {"check", no_argument, NULL, 'C'},         {"defaults", no_argument, NULL, 'D'},
        {"explain", required_argument, NULL, 'E'}, {"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},          {0},
    };
    const char *file = DEFAULT_FILE, *key = NULL;
    int c, action = 0, n_actions = 0;

    optind = 0; /* glibc: start afresh, main() has been through argv already */
    while ((c = getopt_long(argc, argv, "+c:h", words, NULL)) != -1) {
        if (c == 'h')
            return usage(stdout);
        if (c == '?')
            return usage(stderr);
        if (c == 'c') {
            file = optarg;
            continue;
        }
        key = c == 'E' ? optarg : key;
        action = c;
        n_actions++;
    }
    if (n_actions != 1 || optind < argc)
        return usage(stderr);
    return run(action, file, key);
}
