#include "relay/seal/browser.h"

#include <errno.h>
#include <fnmatch.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct family {
    const char *names[8];   /* patterns for the program's name */
    const char *options[6]; /* by which a command chooses a profile itself */
    const char *lock;       /* a symbolic link in a profile in use: its end is the process id */
    const char *describe;
};

static const struct family families[] = {
    {
        .names = {"chromium*", "chrome", "google-chrome*", "brave*", "vivaldi*", "microsoft-edge*",
                  "opera*"},
        .options = {"--user-data-dir"},
        .lock = "SingletonLock",
        .describe = "a Chromium: --user-data-dir",
    },
    {
        .names = {"firefox*", "librewolf*", "waterfox*", "iceweasel*"},
        .options = {"--profile", "-profile", "-P", "-p", "--ProfileManager"},
        .lock = "lock",
        .describe = "a Firefox: --new-instance --profile",
    },
};

#define CHROMIUM (&families[0])

static const struct family *browser_family(const char *command)
{
    const char *slash = strrchr(command, '/'), *name = slash ? slash + 1 : command;

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        for (size_t k = 0; k < 8 && families[i].names[k]; k++)
            if (fnmatch(families[i].names[k], name, 0) == 0)
                return &families[i];
    return NULL;
}

const char *browser_describe(char **argv)
{
    const struct family *f = browser_family(argv[0]);

    return f ? f->describe : NULL;
}

/* Whether the command chooses a profile, and which one where it says so by a path. */
static bool browser_chooses(const struct family *f, char **argv, const char **ret_path)
{
    size_t len;

    *ret_path = NULL;
    for (; *argv; argv++) {
        for (size_t i = 0; i < 6 && f->options[i]; i++) {
            len = strlen(f->options[i]);
            if (strncmp(*argv, f->options[i], len) != 0)
                continue;
            if ((*argv)[len] == '=')
                *ret_path = *argv + len + 1;
            else if ((*argv)[len] != '\0')
                continue;
            else if (strcasecmp(f->options[i], "-p") != 0)
                *ret_path = argv[1];
            return true;
        }
    }
    return false;
}

/* "host-1234" or "127.0.1.1:+1234". */
static bool browser_is_in_use(const struct family *f, const char *profile)
{
    char path[PATH_MAX], target[256];
    const char *number;
    ssize_t n;
    long pid;

    snprintf(path, sizeof(path), "%s/%s", profile, f->lock);
    n = readlink(path, target, sizeof(target) - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    number = target + strcspn(target, "+");
    if (!*number)
        number = strrchr(target, '-');
    pid = number && *number ? strtol(number + 1, NULL, 10) : 0;
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static int browser_refuse_in_use(const struct family *f, const char *profile,
                                 char why[SEAL_WHY_LEN])
{
    if (!browser_is_in_use(f, profile))
        return 0;
    return seal_fail(why,
                     "the profile %s is in use: the browser that has it would open the page, and "
                     "that one need not be sealed",
                     profile);
}

/* ---- a profile ---- */

static int browser_make_profile(struct browser *b, char why[SEAL_WHY_LEN])
{
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/callveil-profile-XXXXXX",
             base && base[0] == '/' ? base : "/tmp");
    if (!mkdtemp(path) || !(b->made = strdup(path)))
        return seal_fail(why, "no new profile: %s: %s", path, strerror(errno));
    return 0;
}

static int browser_use_profile(const char *profile, char **ret, char why[SEAL_WHY_LEN])
{
    if (mkdir(profile, 0700) < 0 && errno != EEXIST)
        return seal_fail(why, "--profile: %s: %s", profile, strerror(errno));
    *ret = realpath(profile, NULL);
    return *ret ? 0 : seal_fail(why, "--profile: %s: %s", profile, strerror(errno));
}

/* The command with words after its first. Return: 0 or -1 and why. */
static int browser_add(struct browser *b, char **argv, const struct family *f, const char *profile,
                       char why[SEAL_WHY_LEN])
{
    size_t n = 0, n_added = 0;

    if (f == CHROMIUM) {
        if (asprintf(&b->added[n_added++], "--user-data-dir=%s", profile) < 0)
            b->added[0] = NULL;
    } else {
        b->added[n_added++] = strdup("--new-instance");
        b->added[n_added++] = strdup("--profile");
        b->added[n_added++] = strdup(profile);
    }
    while (argv[n])
        n++;
    b->argv = calloc(n + n_added + 1, sizeof(*b->argv));
    for (size_t i = 0; i < n_added; i++)
        if (!b->added[i] || !b->argv)
            return seal_fail(why, "out of memory");
    b->argv[0] = argv[0];
    memcpy(b->argv + 1, b->added, n_added * sizeof(*argv));
    memcpy(b->argv + 1 + n_added, argv + 1, (n - 1) * sizeof(*argv));
    return 0;
}

int browser_prepare(char **argv, const char *profile, struct browser *ret, char why[SEAL_WHY_LEN])
{
    const struct family *f = browser_family(argv[0]);
    char *chosen = NULL;
    const char *theirs;
    int r;

    *ret = (struct browser){.argv = argv};
    if (!f)
        return profile ? seal_fail(why, "--profile: %s is no browser that is known here", argv[0])
                       : 0;
    if (browser_chooses(f, argv, &theirs)) {
        if (profile)
            return seal_fail(why, "--profile: the command chooses a profile itself");
        return theirs ? browser_refuse_in_use(f, theirs, why) : 0;
    }
    if (profile)
        r = browser_use_profile(profile, &chosen, why);
    else
        r = browser_make_profile(ret, why);
    if (r == 0 && chosen)
        r = browser_refuse_in_use(f, chosen, why);
    if (r == 0)
        r = browser_add(ret, argv, f, chosen ? chosen : ret->made, why);
    free(chosen);
    return r;
}

static int browser_remove(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)remove(path);
    return 0;
}

void browser_free(struct browser *b, char **argv)
{
    if (b->made)
        (void)nftw(b->made, browser_remove, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    free(b->made);
    for (size_t i = 0; i < sizeof(b->added) / sizeof(b->added[0]); i++)
        free(b->added[i]);
    if (b->argv != argv)
        free(b->argv);
    *b = (struct browser){0};
}
