/*
 * The folder is opened and judged once, and its socket is then named by that descriptor: what the
 * name leads to cannot change in between.
 */
#include "relay/rendezvous.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_NAME        "local.sock"
#define RENDEZVOUS_BACKLOG 16

static void rendezvous_folder(char path[PATH_MAX])
{
    const char *base = getenv("XDG_RUNTIME_DIR");

    if (base && base[0] == '/')
        snprintf(path, PATH_MAX, "%s/callveil", base);
    else
        snprintf(path, PATH_MAX, "/tmp/callveil-%u", (unsigned int)geteuid());
}

/* Return: the folder, or -errno. */
static int rendezvous_open(bool make)
{
    char path[PATH_MAX];
    struct stat st;
    int fd;

    rendezvous_folder(path);
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP || errno == ENOTDIR ? -EPERM : -errno;
    if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

static struct sockaddr_un rendezvous_name(int folder)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/" SOCKET_NAME, folder);
    return sa;
}

bool rendezvous_is_ours(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == geteuid();
}

static int rendezvous_connect_in(int folder)
{
    struct sockaddr_un sa = rendezvous_name(folder);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        r = -errno;
    else if (!rendezvous_is_ours(fd))
        r = -EPERM;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

int rendezvous_connect(void)
{
    int folder = rendezvous_open(false), fd;

    if (folder < 0)
        return folder;
    fd = rendezvous_connect_in(folder);
    close(folder);
    return fd;
}

static int rendezvous_listen_in(int folder)
{
    struct sockaddr_un sa = rendezvous_name(folder);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r = 0;

    if (fd < 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(fd, RENDEZVOUS_BACKLOG) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

int rendezvous_listen(void)
{
    int folder = rendezvous_open(true), other, fd;

    if (folder < 0)
        return folder;
    other = rendezvous_connect_in(folder);
    if (other >= 0) {
        close(other);
        close(folder);
        return -EADDRINUSE;
    }
    /* Nobody answers there: left over from one that was killed. */
    if (other == -ECONNREFUSED)
        (void)unlinkat(folder, SOCKET_NAME, 0);
    fd = rendezvous_listen_in(folder);
    close(folder);
    return fd;
}

void rendezvous_unlink(void)
{
    int folder = rendezvous_open(false);

    if (folder < 0)
        return;
    (void)unlinkat(folder, SOCKET_NAME, 0);
    close(folder);
}
