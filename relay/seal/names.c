/*
 * A bind mount needs a file to be mounted: they are written to a tmpfs that lies over SCRATCH for
 * a moment, in this mount namespace and so unseen by anybody, and stays alive below the binds.
 */
#include "relay/seal/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/seal/place.h"
#include "relay/seal/space.h"

#define SCRATCH      "/tmp"
#define RESOLV       "/etc/resolv.conf"
#define NSSWITCH     "/etc/nsswitch.conf"
#define NSSWITCH_MAX 65536
#define HOSTS_LINE   "hosts: files myhostname dns\n"
#define RESOLV_TEXT                                                                                \
    "# inside a sealed namespace: callveil answers, through the relay\n"                           \
    "nameserver " PLACE_ROUTER_V4 "\n"

static const char *const services[] = {
    "/run/systemd/resolve",
    "/run/nscd",
    "/var/run/nscd",
    "/run/avahi-daemon",
};

/* ---- nsswitch.conf ---- */

static bool names_is_hosts(const char *line)
{
    line += strspn(line, " \t");
    return strncasecmp(line, "hosts", 5) == 0 && line[5 + strspn(line + 5, " \t")] == ':';
}

char *names_rewrite(const char *text)
{
    char *ret = malloc(strlen(text) + sizeof(HOSTS_LINE) + 1), *to = ret;
    size_t len;

    if (!ret)
        return NULL;
    for (const char *line = text; *line; line += len) {
        len = strcspn(line, "\n");
        len += line[len] == '\n';
        if (names_is_hosts(line))
            continue;
        memcpy(to, line, len);
        to += len;
    }
    if (to > ret && to[-1] != '\n')
        *to++ = '\n';
    memcpy(to, HOSTS_LINE, sizeof(HOSTS_LINE));
    return ret;
}

/* Return: the text, or NULL with errno. */
static char *names_read(const char *path)
{
    char *text = calloc(1, NSSWITCH_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = 0;

    if (text && fd >= 0) {
        while (len < NSSWITCH_MAX && (n = read(fd, text + len, NSSWITCH_MAX - len)) > 0)
            len += (size_t)n;
    }
    if (!text || fd < 0 || n < 0) {
        free(text);
        text = NULL;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

/* ---- mounts ---- */

static int names_put(const char *source, const char *text, const char *target)
{
    int fd = open(source, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444);
    size_t len = strlen(text);
    int r = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, len) != (ssize_t)len || fchmod(fd, 0444) < 0)
        r = errno ? -errno : -EIO;
    close(fd);
    if (r == 0 && mount(source, target, NULL, MS_BIND, NULL) < 0)
        r = -errno;
    return r;
}

static int names_put_resolv(char why[SEAL_WHY_LEN])
{
    int r = names_put(SCRATCH "/resolv.conf", RESOLV_TEXT, RESOLV);

    if (r == -ENOENT)
        return seal_fail(why, "there is no " RESOLV " to put another in the place of; as root: "
                              "\"touch " RESOLV "\"");
    if (r < 0)
        return seal_fail(why, "cannot replace " RESOLV " inside: %s", strerror(-r));
    return 0;
}

static int names_put_nsswitch(char why[SEAL_WHY_LEN])
{
    char *text = names_read(NSSWITCH), *ours;
    int r;

    /* Without one, libc asks DNS and the hosts file. */
    if (!text && errno == ENOENT)
        return 0;
    ours = text ? names_rewrite(text) : NULL;
    r = ours ? names_put(SCRATCH "/nsswitch.conf", ours, NSSWITCH) : -errno;
    free(text);
    free(ours);
    if (r < 0)
        return seal_fail(why, "cannot replace " NSSWITCH " inside: %s", strerror(-r));
    return 0;
}

static int names_hide_services(char why[SEAL_WHY_LEN])
{
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        if (mount("callveil", services[i], "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "size=4k,mode=755") == 0 ||
            errno == ENOENT)
            continue;
        return seal_fail(why, "cannot hide %s inside: %s", services[i], strerror(errno));
    }
    return 0;
}

/* MS_SLAVE: nothing done here is seen outside, and what is mounted there later is seen here. */
int names_hide(char why[SEAL_WHY_LEN])
{
    int r;

    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
        mount("callveil", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=1m") < 0)
        return errno == EPERM || errno == EACCES
                   ? space_explain(errno, why)
                   : seal_fail(why, "cannot mount inside: %s", strerror(errno));
    r = names_put_resolv(why);
    if (r == 0)
        r = names_put_nsswitch(why);
    if (umount2(SCRATCH, MNT_DETACH) < 0 && r == 0)
        r = seal_fail(why, "cannot unmount inside: %s", strerror(errno));
    if (r == 0)
        r = names_hide_services(why);
    return r;
}
