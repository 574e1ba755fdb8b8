#include "relay/seal/space.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APPARMOR_SWITCH "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
#define DEBIAN_SWITCH   "/proc/sys/kernel/unprivileged_userns_clone"
#define MAX_USER        "/proc/sys/user/max_user_namespaces"
#define MAX_NET         "/proc/sys/user/max_net_namespaces"

/* ---- why not ---- */

/* Return: the number in a file of /proc/sys, or -1 where there is none. */
static long space_read_number(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -1;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n > 0 ? strtol(text, NULL, 10) : -1;
}

/* Either unshare(2) fails or, with AppArmor's restriction, what needs a capability after it. */
int space_explain(int error, char why[SEAL_WHY_LEN])
{
    if (space_read_number(APPARMOR_SWITCH) == 1)
        return seal_fail(why, "AppArmor keeps this program from making user namespaces; as root: "
                              "\"sysctl kernel.apparmor_restrict_unprivileged_userns=0\", or a "
                              "profile for callveil with \"userns,\"");
    if (space_read_number(DEBIAN_SWITCH) == 0)
        return seal_fail(why, "ordinary users may not make user namespaces here; as root: "
                              "\"sysctl kernel.unprivileged_userns_clone=1\"");
    if (error == ENOSPC || space_read_number(MAX_USER) == 0 || space_read_number(MAX_NET) == 0)
        return seal_fail(why, "no more namespaces are allowed here; as root: "
                              "\"sysctl user.max_user_namespaces=15000 "
                              "user.max_net_namespaces=15000\"");
    if (error == EINVAL || error == ENOSYS)
        return seal_fail(why, "this kernel has no user or network namespaces (CONFIG_USER_NS, "
                              "CONFIG_NET_NS)");
    return seal_fail(why,
                     "no namespace that could be used: %s; inside a container, its seccomp filter "
                     "must allow unshare(2) and mount(2)",
                     strerror(error));
}

/* ---- maps ---- */

static int space_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) < 0)
        r = -errno;
    close(fd);
    return r;
}

static int space_map(const char *path, unsigned int id)
{
    char line[64];

    snprintf(line, sizeof(line), "%u %u 1\n", id, id);
    return space_write(path, line);
}

/* A user namespace in which `uid` and `gid` are what they were. */
static int space_new_user(int more, uid_t uid, gid_t gid)
{
    int r;

    if (unshare(CLONE_NEWUSER | more) < 0)
        return -errno;
    /* Without it nobody may write a gid_map (user_namespaces(7)); nested, it is so already. */
    r = space_write("/proc/self/setgroups", "deny");
    if (r == 0)
        r = space_map("/proc/self/gid_map", gid);
    if (r == 0)
        r = space_map("/proc/self/uid_map", uid);
    return r;
}

int space_enter(char why[SEAL_WHY_LEN])
{
    int r = space_new_user(CLONE_NEWNET | CLONE_NEWNS, geteuid(), getegid());

    return r < 0 ? space_explain(-r, why) : 0;
}

/* ---- of another process ---- */

static const struct {
    const char *path;
    int type;
} kinds[SPACE_N] = {
    [SPACE_USER] = {"/proc/self/ns/user", CLONE_NEWUSER},
    [SPACE_NET] = {"/proc/self/ns/net", CLONE_NEWNET},
    [SPACE_MOUNT] = {"/proc/self/ns/mnt", CLONE_NEWNS},
};

int space_open(int ret_fds[SPACE_N])
{
    int r;

    for (int i = 0; i < SPACE_N; i++) {
        ret_fds[i] = open(kinds[i].path, O_RDONLY | O_CLOEXEC);
        if (ret_fds[i] >= 0)
            continue;
        r = -errno;
        while (i-- > 0)
            close(ret_fds[i]);
        return r;
    }
    return 0;
}

/* setns() of a mount namespace puts a process at its root. The folder is found again by its name:
 * a descriptor of it would lead into the mounts outside. */
static int space_change(const int fds[SPACE_N])
{
    char folder[PATH_MAX];

    if (!getcwd(folder, sizeof(folder)))
        return -errno;
    for (int i = 0; i < SPACE_N; i++)
        if (setns(fds[i], kinds[i].type) < 0)
            return -errno;
    return chdir(folder) < 0 ? -errno : 0;
}

int space_join(const int fds[SPACE_N], char why[SEAL_WHY_LEN])
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int r = space_change(fds);

    if (r == 0)
        r = space_new_user(0, uid, gid);
    if (r < 0)
        return seal_fail(why, "the app cannot be put into its namespace: %s", strerror(-r));
    return 0;
}
