/*
 * relay/main.c - the subcommand table
 *
 * Each command parses its own options; what is the same for all of them (help, the
 * exit status, whether the output could be written) is done here, once.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "relay/check/check.h"
#include "relay/demo/demo.h"
#include "relay/invite/invite.h"
#include "relay/local.h"
#include "relay/relay.h"
#include "relay/seal/run.h"
#include "relay/top/top.h"
#include "relay/turn/rest.h"
#include "relay/usage.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
    const char *help;
    const char *more; /* lines for `callveil help NAME` */
} commands[] = {
    {"relay", relay_command, "relay [-c FILE] [--log-level LEVEL]", "run the relay",
     "  -c, --config FILE   the configuration (default /etc/callveil/relay.conf)\n"
     "  --log-level LEVEL   error, warning, info or debug, whatever the configuration says\n"
     "\n"
     "SIGTERM ends it, SIGHUP reloads the configuration and certificates, SIGUSR1 drains:\n"
     "no new allocations, and an end with the last one.\n"},
    {"local", local_command, "local [-c FILE] [--log-level LEVEL]",
     "run the local proxy: SOCKS5 and TURN for the apps of this machine",
     "  -c, --config FILE   the configuration (default ~/.config/callveil/local.conf)\n"
     "  --log-level LEVEL   error, warning, info or debug, whatever the configuration says\n"
     "\n"
     "All that apps send leaves through the relay; when that cannot be reached, apps get\n"
     "errors. SIGTERM ends it, SIGHUP reloads the configuration.\n"},
    {"run", run_command,
     "run [-c FILE] [--profile DIR] [--user NAME] [--log-level LEVEL] [--explain] -- CMD...",
     "run a program that has no way out but the relay",
     "  -c, --config FILE   a local proxy of its own, with this configuration; default: the one\n"
     "                      that runs, else one of its own with ~/.config/callveil/local.conf\n"
     "  --profile DIR       for a browser: this profile, instead of a new one that is removed\n"
     "  --user NAME         as root: whom to run it as (default: who called sudo)\n"
     "  --log-level LEVEL   what a local proxy of its own says (default warning)\n"
     "  --explain           print what would be set up\n"
     "\n"
     "Exits with the program's status, 128 + n when signal n ended it, and 2 when it cannot be\n"
     "sealed: it is never started unsealed.\n"},
    {"invite", invite_command, "invite [-c FILE] [--host HOST] NAME | --remove NAME | --list",
     "make a user on this relay: a link and its QR code",
     "  -c, --config FILE   the relay's configuration (default /etc/callveil/relay.conf)\n"
     "  --host HOST         where clients reach the relay, if the configuration does not say\n"
     "  --remove NAME       take the user away; what they have at the relay ends\n"
     "  --list              print the names of those invited\n"
     "\n"
     "A running relay takes changes up within seconds. The link holds a password.\n"},
    {"join", join_command, "join [-c FILE] [--force] [--no-check] LINK",
     "store an invitation as local.conf, and try it",
     "  -c, --config FILE   what to write (default ~/.config/callveil/local.conf)\n"
     "  --force             replace the file, and keep the old one as FILE.old\n"
     "  --no-check          do not try the relay\n"
     "\n"
     "With - as LINK it is read from standard input, and neither the shell's history nor\n"
     "other users of the machine get to see the password in it.\n"},
    {"check", check_command, "check [-c FILE] [--json]", "prove it end to end: what do peers see?",
     "  -c, --config FILE   the configuration (default ~/.config/callveil/local.conf)\n"
     "  --json              the same for programs\n"
     "\n"
     "Tries every transport of the configuration with real packets. Exits 0 only if one\n"
     "works and no address of this machine was seen.\n"},
    {"demo", demo_command, "demo [--seconds N] [--log-level LEVEL]",
     "relay and local proxy on this machine, and what peers saw",
     "  --seconds N         how long the calls last (default 3, at most 600)\n"
     "  --log-level LEVEL   what relay and proxy say meanwhile (default error)\n"
     "\n"
     "Exits 0 only if everything arrived and nobody learned another's address.\n"},
    {"top", top_command, "top [-c FILE] [--role relay|local]",
     "watch a running relay or local proxy in the terminal",
     "  -c, --config FILE   its configuration (default ~/.config/callveil/local.conf if there\n"
     "                      is one, else /etc/callveil/relay.conf)\n"
     "  --role ROLE         whose: relay or local, if the file does not tell\n"
     "\n"
     "Asks the statistics that [stats] of the configuration names, once a second, until q or\n"
     "^C. Without a terminal it prints one page.\n"},
    {"stats", stats_command, "stats [-c FILE] [--role relay|local]",
     "print the statistics of a running relay or local proxy as JSON",
     "  -c, --config FILE   its configuration (default ~/.config/callveil/local.conf if there\n"
     "                      is one, else /etc/callveil/relay.conf)\n"
     "  --role ROLE         whose: relay or local, if the file does not tell\n"
     "\n"
     "callveil-stats(5) says what each member means.\n"},
    {"config", conf_command,
     "config [-c FILE] [--role relay|local] --check | --defaults | --explain KEY",
     "check a configuration, or explain its options",
     "  -c, --config FILE   the configuration (default /etc/callveil/relay.conf)\n"
     "  --check             report every error in it\n"
     "  --defaults          print a complete configuration\n"
     "  --explain KEY       what an option is for, its values and its default\n"
     "  --role ROLE         whose: relay or local, which --check also tells by the file\n"},
    {"credential", rest_command, "credential [-c FILE] NAME [--ttl 1h]",
     "make a user name and password that expire, as JSON",
     "  -c, --config FILE   the configuration (default /etc/callveil/relay.conf)\n"
     "  --ttl TIME          how long: 30s, 10m, 1h, at most 7d (default 1h)\n"
     "\n"
     "NAME is what quotas and statistics go by. The first secret of the configuration is\n"
     "used: put a new one in front of those that still must be accepted.\n"},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *to)
{
    fputs("usage: callveil COMMAND [OPTIONS]\n"
          "       callveil help [COMMAND] | --help | --version\n"
          "\n"
          "Calls through a relay of your own: peers see its address, not yours.\n"
          "\n",
          to);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-12s%s\n", commands[i].name, commands[i].help);
}

static void print_command_help(const struct command *command)
{
    printf("usage: callveil %s\n\n%s\n\n%s", command->usage, command->help, command->more);
}

/* Return: NULL after a line on stderr. */
static const struct command *find_command(const char *name)
{
    const char *names[N_COMMANDS];

    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
        names[i] = commands[i].name;
    }
    usage_unknown(NULL, "", name, names, N_COMMANDS);
    return NULL;
}

/* Whether an argument asks for help; what stands behind "--" is no option. */
static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

static int help_command(int argc, char **argv)
{
    const struct command *command;

    if (argc > 2)
        return usage_error(NULL, "help takes one command");
    if (argc < 2) {
        print_help(stdout);
        return 0;
    }
    command = find_command(argv[1]);
    if (!command)
        return EXIT_USAGE;
    print_command_help(command);
    return 0;
}

/* Before a command there are no options but the two that are commands themselves. */
static int unknown_option(const char *word)
{
    static const char *const names[] = {"help", "version"};
    size_t n_dashes = strspn(word, "-");

    return usage_unknown(NULL, n_dashes > 1 ? "--" : "-", word + (n_dashes > 1 ? 2 : 1), names,
                         n_dashes > 1 ? 2 : 0);
}

static int run(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return help_command(argc - 1, argv + 1);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("callveil " CALLVEIL_VERSION);
        return 0;
    }
    if (argv[1][0] == '-')
        return unknown_option(argv[1]);
    command = find_command(argv[1]);
    if (!command)
        return EXIT_USAGE;
    if (wants_help(argc - 1, argv + 1)) {
        print_command_help(command);
        return 0;
    }
    return command->run(argc - 1, argv + 1);
}

/* Started with standard descriptors closed, we would get them for sockets, and a log line would go
 * to whoever is at the other end. Filled the wrong way round, so that using one stays an error. */
static bool fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    int status;

    if (!fill_standard_descriptors())
        return 1;
    /* A connection that its far end closed is an error code of write(2), not our end. */
    signal(SIGPIPE, SIG_IGN);
    status = run(argc, argv);
    /* Half a credential, or half a configuration, must not pass for a whole one. */
    if (status == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        fprintf(stderr, "callveil: cannot write: %s\n", strerror(errno));
        return 1;
    }
    return status;
}
