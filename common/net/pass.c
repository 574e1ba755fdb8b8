#include "common/net/pass.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union pass_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(PASS_FDS_MAX * sizeof(int))];
};

int pass_send(int fd, const void *message, size_t len, const int *fds, size_t n_fds)
{
    union pass_control control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)message, .iov_len = len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *c = &control.align;
    ssize_t n;

    if (n_fds > PASS_FDS_MAX)
        return -EINVAL;
    if (n_fds > 0) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EMSGSIZE;
}

static size_t pass_take(struct msghdr *m, int *ret)
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(ret, CMSG_DATA(c), n * sizeof(int));
    }
    return n;
}

int pass_recv(int fd, void *message, size_t len, int *fds, size_t max_fds)
{
    union pass_control control = {0};
    struct iovec iov = {.iov_base = message, .iov_len = len};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    int all[PASS_FDS_MAX];
    size_t n_all;
    ssize_t n;

    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    n_all = pass_take(&m, all);
    if ((size_t)n == len && n_all <= max_fds && !(m.msg_flags & MSG_CTRUNC)) {
        if (n_all > 0)
            memcpy(fds, all, n_all * sizeof(int));
        return (int)n_all;
    }
    for (size_t i = 0; i < n_all; i++)
        close(all[i]);
    return n == 0 ? -EPIPE : -EBADMSG;
}
