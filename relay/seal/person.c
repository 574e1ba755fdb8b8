#include "relay/seal/person.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct passwd *person_by_number(const char *text)
{
    char *end;
    unsigned long id;

    if (!text || text[0] < '0' || text[0] > '9')
        return NULL;
    errno = 0;
    id = strtoul(text, &end, 10);
    if (errno || *end || id == 0 || id >= UINT32_MAX)
        return NULL;
    return getpwuid((uid_t)id);
}

static const struct passwd *person_at_terminal(void)
{
    struct stat st;

    for (int fd = 0; fd <= 2; fd++)
        if (isatty(fd) && fstat(fd, &st) == 0 && st.st_uid != 0)
            return getpwuid(st.st_uid);
    return NULL;
}

static const struct passwd *person_find(const char *name)
{
    const struct passwd *p;

    if (name)
        return getpwnam(name);
    p = person_by_number(getenv("SUDO_UID"));
    if (!p)
        p = person_by_number(getenv("PKEXEC_UID"));
    return p ? p : person_at_terminal();
}

/* What root's environment says of root. */
static void person_set_environment(const struct passwd *p)
{
    char runtime[64];
    struct stat st;

    setenv("HOME", p->pw_dir, 1);
    setenv("USER", p->pw_name, 1);
    setenv("LOGNAME", p->pw_name, 1);
    setenv("SHELL", p->pw_shell && p->pw_shell[0] ? p->pw_shell : "/bin/sh", 1);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("XDG_DATA_HOME");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("XDG_STATE_HOME");
    snprintf(runtime, sizeof(runtime), "/run/user/%u", (unsigned int)p->pw_uid);
    if (stat(runtime, &st) == 0 && st.st_uid == p->pw_uid)
        setenv("XDG_RUNTIME_DIR", runtime, 1);
    else
        unsetenv("XDG_RUNTIME_DIR");
}

static int person_drop_to(const struct passwd *p)
{
    if (initgroups(p->pw_name, p->pw_gid) < 0 || setresgid(p->pw_gid, p->pw_gid, p->pw_gid) < 0 ||
        setresuid(p->pw_uid, p->pw_uid, p->pw_uid) < 0)
        return -errno;
    /* Root again would mean that the above did not take. */
    if (setuid(0) == 0 || geteuid() == 0 || getegid() == 0)
        return -EPERM;
    /* Who has changed identity may not write its own uid_map, unless it says so. Nothing secret is
     * in this process yet. */
    return prctl(PR_SET_DUMPABLE, 1) < 0 ? -errno : 0;
}

int person_become(const char *name, char why[SEAL_WHY_LEN])
{
    const struct passwd *p;
    int r;

    if (getuid() != geteuid() || getgid() != getegid())
        return seal_fail(why, "this program must not be installed setuid or setgid");
    if (geteuid() != 0)
        return name ? seal_fail(why, "--user is for root") : 0;
    p = person_find(name);
    if (!p && name)
        return seal_fail(why, "there is no user \"%s\"", name);
    if (!p || p->pw_uid == 0)
        return seal_fail(why, "root can undo a seal: run it as an ordinary user, or say which one "
                              "with --user NAME");
    person_set_environment(p);
    r = person_drop_to(p);
    return r < 0 ? seal_fail(why, "cannot become %s: %s", p->pw_name, strerror(-r)) : 0;
}
