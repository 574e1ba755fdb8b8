#include "relay/seal/app.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relay/usage.h"

/* ---- what it inherits ---- */

int app_judge_standard_descriptors(char why[SEAL_WHY_LEN])
{
    for (int fd = 0; fd <= 2; fd++) {
        int domain;
        socklen_t len = sizeof(domain);

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain == AF_UNIX)
            continue;
        return seal_fail(why,
                         "descriptor %d is a socket of the network outside, which would be a way "
                         "out; use a pipe",
                         fd);
    }
    return 0;
}

void app_clean_environment(void)
{
    static const char *const names[] = {
        "http_proxy",  "https_proxy", "ftp_proxy",   "all_proxy",    "no_proxy",
        "socks_proxy", "ws_proxy",    "wss_proxy",   "rsync_proxy",  "HTTP_PROXY",
        "HTTPS_PROXY", "FTP_PROXY",   "ALL_PROXY",   "NO_PROXY",     "SOCKS_PROXY",
        "WS_PROXY",    "WSS_PROXY",   "RSYNC_PROXY", "SOCKS_SERVER",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
}

/* ---- what it may not do ---- */

/* Namespaces that it makes give it capabilities again, over these and nothing else. The bounding
 * set stays: without it execve(2) of a file with capabilities (ping) fails, when it may well run
 * without them. */
static int app_drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    if (syscall(SYS_capset, &header, none) < 0)
        return -errno;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* The kernel reads 32 bits of these arguments, and so must the filter: what stands in the others
 * would hide a value from it. */
static int app_forbid_value(scmp_filter_ctx ctx, int error, int call, unsigned int argument,
                            uint32_t value)
{
    const struct scmp_arg_cmp is_value = {
        .arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX, .datum_b = value};

    return seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO((uint16_t)error), call, 1, &is_value);
}

static int app_forbid_sockets(scmp_filter_ctx ctx)
{
    static const uint32_t allowed[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    static const size_t n = sizeof(allowed) / sizeof(allowed[0]);
    struct scmp_arg_cmp beyond = {.arg = 0, .op = SCMP_CMP_GE, .datum_a = allowed[n - 1] + 1};
    uint32_t after = 0;
    int r = 0;

    /* One rule for each family between those that are allowed, one for all beyond the last. */
    for (size_t i = 0; i < n && r == 0; i++) {
        for (uint32_t family = after; family < allowed[i] && r == 0; family++)
            r = app_forbid_value(ctx, EAFNOSUPPORT, SCMP_SYS(socket), 0, family);
        after = allowed[i] + 1;
    }
    if (r == 0)
        r = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, &beyond);
    return r;
}

/* io_uring makes sockets by requests that a filter cannot look into; programs have had to do
 * without it for years. TIOCSTI and TIOCLINUX type into the terminal, for the shell outside to
 * read. */
static int app_forbid(scmp_filter_ctx ctx)
{
    int r = app_forbid_sockets(ctx);

    if (r == 0)
        r = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup), 0, NULL);
    if (r == 0)
        r = app_forbid_value(ctx, EPERM, SCMP_SYS(ioctl), 1, TIOCSTI);
    if (r == 0)
        r = app_forbid_value(ctx, EPERM, SCMP_SYS(ioctl), 1, TIOCLINUX);
    return r;
}

/* A call by the numbers of another architecture (32-bit programs) ends the program: its sockets
 * would pass unseen. */
static int app_filter(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int r;

    if (!ctx)
        return -ENOMEM;
    r = app_forbid(ctx);
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}

/* ---- its process ---- */

static int app_confine(const int spaces[SPACE_N], char why[SEAL_WHY_LEN])
{
    int r;

    if (space_join(spaces, why) < 0)
        return -1;
    r = app_drop_capabilities();
    if (r == 0)
        r = app_filter();
    if (r < 0)
        return seal_fail(why, "the app cannot be confined: %s", strerror(-r));
    if (close_range(STDERR_FILENO + 1, ~0U, 0) < 0)
        return seal_fail(why, "the app's descriptors cannot be closed: %s", strerror(errno));
    return 0;
}

__attribute__((noreturn)) static void app_main(char **argv, const int spaces[SPACE_N],
                                               const sigset_t *mask)
{
    char why[SEAL_WHY_LEN];

    if (app_confine(spaces, why) < 0) {
        fprintf(stderr, "callveil run: %s\n", why);
        _exit(EXIT_USAGE);
    }
    /* Ours ends with a signal that nobody can catch: the network is gone, and so may the app. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(argv[0], argv);
    fprintf(stderr, "callveil run: %s: %s\n", argv[0], strerror(errno));
    _exit(errno == ENOENT ? APP_NOT_FOUND : APP_NOT_RUN);
}

pid_t app_start(char **argv, const int spaces[SPACE_N], const sigset_t *mask,
                char why[SEAL_WHY_LEN])
{
    pid_t pid = fork();

    if (pid == 0)
        app_main(argv, spaces, mask);
    if (pid < 0)
        seal_fail(why, "no process for the app: %s", strerror(errno));
    return pid;
}
