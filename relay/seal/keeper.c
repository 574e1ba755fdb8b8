#include "relay/seal/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/batch.h"
#include "common/net/pass.h"
#include "relay/seal/link.h"
#include "relay/seal/names.h"
#include "relay/seal/place.h"
#include "relay/seal/rules.h"

#define KEEPER_N_PASSED (KEEPER_LINK + SPACE_N)
#define KEEPER_BACKLOG  512
#define KEEPER_RENEW_MS 2000
#define TOKEN           UINT64_C(1000)
#define NS_PER_TOKEN    (UINT64_C(1000000000) / (KEEPER_RATE * TOKEN))

_Static_assert(KEEPER_N_PASSED <= PASS_FDS_MAX, "what is passed fits into one message");

/* ---- sockets ---- */

static int keeper_set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int keeper_set_transparent(int fd, enum addr_family family)
{
    return family == ADDR_IPV6 ? keeper_set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                               : keeper_set(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
}

static int keeper_prepare(int fd, enum addr_family family, int type)
{
    int r = keeper_set_transparent(fd, family);

    if (r < 0)
        return r;
    if (type == SOCK_STREAM)
        return listen(fd, KEEPER_BACKLOG) < 0 ? -errno : 0;
    return family == ADDR_IPV6 ? keeper_set(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
                               : keeper_set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
}

/* Return: the socket or -errno. */
static int keeper_catching(const char *ip, int type)
{
    struct addr addr;
    int fd, r;

    if (!addr_parse_ip(ip, PLACE_PORT, &addr))
        return -EINVAL;
    fd = sock_bind(&addr, type, 0);
    if (fd < 0)
        return fd;
    r = keeper_prepare(fd, (enum addr_family)addr.family, type);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* bind(2) to an address that is not of this machine: after the option, so not by sock_bind(). */
static int keeper_peer_socket(const struct addr *peer)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(peer, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    r = keeper_set_transparent(fd, (enum addr_family)peer->family);
    if (r == 0 && bind(fd, (const struct sockaddr *)&sa, len) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

static int keeper_raw_socket(const struct addr *family)
{
    int fd = socket(family->family == ADDR_IPV6 ? AF_INET6 : AF_INET,
                    SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);

    return fd < 0 ? -errno : fd;
}

/* ---- requests ---- */

bool keeper_may_make(struct keeper_bucket *b, uint64_t now_ns)
{
    const uint64_t full = KEEPER_BURST * TOKEN;
    uint64_t gained = (now_ns - b->at_ns) / NS_PER_TOKEN;

    if (gained >= full - b->tokens) {
        b->tokens = full;
        b->at_ns = now_ns;
    } else {
        b->tokens += gained;
        b->at_ns += gained * NS_PER_TOKEN; /* a part of a token is kept for the next time */
    }
    if (b->tokens < TOKEN)
        return false;
    b->tokens -= TOKEN;
    return true;
}

int keeper_judge(const struct keeper_want *want)
{
    if (want->version != KEEPER_VERSION || (want->kind != KEEPER_UDP && want->kind != KEEPER_RAW))
        return -EINVAL;
    if (want->addr.family != ADDR_IPV4 && want->addr.family != ADDR_IPV6)
        return -EAFNOSUPPORT;
    if (want->kind == KEEPER_UDP && (addr_is_any(&want->addr) || want->addr.port == 0))
        return -EADDRNOTAVAIL;
    return 0;
}

/* Return: 0, or -errno when the connection is of no more use. */
static int keeper_answer(int link, struct keeper_bucket *bucket)
{
    struct keeper_want want;
    struct keeper_made made = {.version = KEEPER_VERSION};
    int fd = -1, r = pass_recv(link, &want, sizeof(want), NULL, 0);

    if (r < 0)
        return r;
    made.id = want.id;
    made.status = keeper_judge(&want);
    if (made.status == 0 && !keeper_may_make(bucket, clock_now_ns()))
        made.status = -EAGAIN;
    if (made.status == 0) {
        fd = want.kind == KEEPER_RAW ? keeper_raw_socket(&want.addr)
                                     : keeper_peer_socket(&want.addr);
        made.status = fd < 0 ? fd : 0;
    }
    r = pass_send(link, &made, sizeof(made), &fd, fd >= 0);
    if (fd >= 0)
        close(fd);
    return r;
}

static int keeper_catch_all(int ret[KEEPER_LINK], char why[SEAL_WHY_LEN])
{
    static const struct {
        const char *ip;
        int type;
    } wanted[KEEPER_LINK] = {
        [KEEPER_TCP4] = {"127.0.0.1", SOCK_STREAM},
        [KEEPER_TCP6] = {"::1", SOCK_STREAM},
        [KEEPER_UDP4] = {"127.0.0.1", SOCK_DGRAM},
        [KEEPER_UDP6] = {"::1", SOCK_DGRAM},
    };

    for (int i = 0; i < KEEPER_LINK; i++) {
        ret[i] = keeper_catching(wanted[i].ip, wanted[i].type);
        if (ret[i] < 0)
            return seal_fail(why, "no transparent socket inside: %s", strerror(-ret[i]));
    }
    return 0;
}

static void keeper_fill_attach(struct keeper_attach *ret)
{
    *ret = (struct keeper_attach){.version = KEEPER_VERSION};
    addr_parse_ip(PLACE_NEAR_V4, 0, &ret->near_v4);
    addr_parse_ip(PLACE_ROUTER_V4, 0, &ret->router_v4);
    addr_parse_ip(PLACE_NEAR_V6, 0, &ret->near_v6);
    addr_parse_ip(PLACE_ROUTER_V6, 0, &ret->router_v6);
}

/* ---- the process ---- */

static void keeper_close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

/* What another gate needs. Return: the keeper's end of the connection with it, or -1 and why. */
static int keeper_make_again(struct keeper_ready *ready, int fds[KEEPER_N_FDS])
{
    int link[2];

    if (keeper_catch_all(fds, ready->why) < 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) < 0) {
        seal_fail(ready->why, "no connection for a gate: %s", strerror(errno));
    } else if (rules_load(ready->why) < 0) {
        keeper_close_all(link, 2);
    } else {
        fds[KEEPER_LINK] = link[0];
        keeper_fill_attach(&ready->attach);
        return link[1];
    }
    keeper_close_all(fds, KEEPER_LINK);
    return -1;
}

/* There is no gate any more: what leads there is taken back. (Without that the app would be as
 * dark, but wait.) */
static void keeper_go_dark(int *link)
{
    char why[SEAL_WHY_LEN];

    (void)rules_refuse_all(why);
    if (*link >= 0)
        close(*link);
    *link = -1;
}

/* The maker has said something, or has ended. Return: whether it is still there; *link is what the
 * keeper serves from now on, or -1. */
static bool keeper_hear(int control, int *link)
{
    struct keeper_ready ready = {.status = -1};
    struct keeper_again again;
    int fds[KEEPER_N_FDS], r;

    if (pass_recv(control, &again, sizeof(again), NULL, 0) < 0 || again.version != KEEPER_VERSION)
        return false;
    keeper_go_dark(link);
    *link = keeper_make_again(&ready, fds);
    if (*link < 0)
        return pass_send(control, &ready, sizeof(ready), NULL, 0) == 0;
    ready.status = 0;
    r = pass_send(control, &ready, sizeof(ready), fds, KEEPER_N_FDS);
    keeper_close_all(fds, KEEPER_N_FDS);
    return r == 0;
}

/* Until the maker is gone. */
static void keeper_serve(int control, int link)
{
    struct keeper_bucket bucket = {.at_ns = clock_now_ns(), .tokens = KEEPER_BURST * TOKEN};

    for (;;) {
        struct pollfd fds[] = {{.fd = link, .events = POLLIN}, {.fd = control, .events = POLLIN}};

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents && !keeper_hear(control, &link))
            break;
        if (!fds[1].revents && fds[0].revents && keeper_answer(link, &bucket) < 0)
            keeper_go_dark(&link);
    }
    keeper_go_dark(&link);
}

static int keeper_make(struct keeper_ready *ready, int fds[KEEPER_N_PASSED])
{
    int r;

    if (space_enter(ready->why) < 0 || link_make(ready->why) < 0 || rules_load(ready->why) < 0 ||
        names_hide(ready->why) < 0 || keeper_catch_all(fds, ready->why) < 0)
        return -1;
    r = space_open(fds + KEEPER_LINK);
    if (r < 0)
        return seal_fail(ready->why, "no way to its own namespaces: %s", strerror(-r));
    keeper_fill_attach(&ready->attach);
    return 0;
}

/* What it got by fork(2) and has no use for, the maker's end of our own proxy's connection among
 * them: that one is to end when the maker closes it. */
static void keeper_close_others(int control, int link)
{
    unsigned int low = (unsigned int)(control < link ? control : link);
    unsigned int high = (unsigned int)(control < link ? link : control);

    if (low > 3)
        (void)close_range(3, low - 1, 0);
    if (high > low + 1)
        (void)close_range(low + 1, high - 1, 0);
    (void)close_range(high + 1, ~0U, 0);
}

/* Nobody waits for output of ours, or for its end. */
static void keeper_leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        (void)dup2(null, fd);
    if (null > 2)
        close(null);
}

/* A session of its own: the terminal's Ctrl-C and Ctrl-Z are the app's. Signals that somebody sends
 * to the whole family end it by default, and the app's network with it. */
__attribute__((noreturn)) static void keeper_main(int control, int link)
{
    struct keeper_ready ready = {0};
    int fds[KEEPER_N_PASSED];

    setsid();
    keeper_close_others(control, link);
    ready.status = keeper_make(&ready, fds);
    /* After unshare(2), which clears it; the maker may be gone by now, which the socket tells. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "callveil-keeper");
    if (pass_send(control, &ready, sizeof(ready), fds, ready.status == 0 ? KEEPER_N_PASSED : 0) <
            0 ||
        ready.status < 0)
        _exit(1);
    keeper_close_all(fds, KEEPER_N_PASSED);
    keeper_leave_terminal();
    /* The app is this user too. Its user namespace is another one, which alone would keep ptrace(2)
     * away; this does so whatever the namespaces. */
    prctl(PR_SET_DUMPABLE, 0);
    keeper_serve(control, link);
    _exit(0);
}

/* ---- its maker ---- */

int keeper_start(struct keeper *ret, char why[SEAL_WHY_LEN])
{
    int control[2] = {-1, -1}, link[2] = {-1, -1};

    *ret = (struct keeper){.pid = -1, .control = -1};
    memset(ret->passed, -1, sizeof(ret->passed));
    memset(ret->spaces, -1, sizeof(ret->spaces));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0 &&
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) == 0)
        ret->pid = fork();
    if (ret->pid == 0) {
        close(control[0]);
        close(link[0]);
        keeper_main(control[1], link[1]);
    }
    if (ret->pid < 0)
        seal_fail(why, "no keeper: %s", strerror(errno));
    ret->control = control[0];
    ret->passed[KEEPER_LINK] = link[0];
    if (control[1] >= 0)
        close(control[1]);
    if (link[1] >= 0)
        close(link[1]);
    return ret->pid < 0 ? -1 : 0;
}

/* What it passes, `n` descriptors. Return: 0, or -1 and why: then there are none. */
static int keeper_receive(struct keeper *k, int *fds, size_t n, char why[SEAL_WHY_LEN])
{
    struct keeper_ready ready;
    int r = pass_recv(k->control, &ready, sizeof(ready), fds, n);

    if (r < 0)
        return seal_fail(why, "the keeper has died: %s", strerror(-r));
    if (ready.status == 0 && r == (int)n) {
        memcpy(k->passed, fds, KEEPER_LINK * sizeof(*fds));
        k->attach = ready.attach;
        return 0;
    }
    keeper_close_all(fds, (size_t)r);
    return ready.status < 0 ? seal_fail(why, "%.*s", SEAL_WHY_LEN - 1, ready.why)
                            : seal_fail(why, "the keeper has passed too little");
}

int keeper_wait(struct keeper *k, char why[SEAL_WHY_LEN])
{
    int fds[KEEPER_N_PASSED];
    int r = keeper_receive(k, fds, KEEPER_N_PASSED, why);

    if (r == 0)
        memcpy(k->spaces, fds + KEEPER_LINK, sizeof(k->spaces));
    return r;
}

bool keeper_is_there(const struct keeper *k)
{
    struct pollfd p = {.fd = k->control};

    return poll(&p, 1, 0) == 0;
}

static int keeper_receive_again(struct keeper *k, char why[SEAL_WHY_LEN])
{
    int fds[KEEPER_N_FDS];
    int r = keeper_receive(k, fds, KEEPER_N_FDS, why);

    if (r == 0)
        k->passed[KEEPER_LINK] = fds[KEEPER_LINK];
    return r;
}

int keeper_renew(struct keeper *k, char why[SEAL_WHY_LEN])
{
    const struct keeper_again again = {.version = KEEPER_VERSION};
    struct pollfd p = {.fd = k->control, .events = POLLIN};
    int r;

    /* An answer that was too late the last time. */
    while (keeper_is_there(k) && poll(&p, 1, 0) > 0)
        if (keeper_receive_again(k, why) == 0)
            keeper_close_passed(k);
    r = pass_send(k->control, &again, sizeof(again), NULL, 0);
    if (r < 0)
        return seal_fail(why, "the keeper has died: %s", strerror(-r));
    if (poll(&p, 1, KEEPER_RENEW_MS) == 0)
        return seal_fail(why, "the keeper does not answer");
    return keeper_receive_again(k, why);
}

static void keeper_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void keeper_close_passed(struct keeper *k)
{
    for (int i = 0; i < KEEPER_N_FDS; i++)
        keeper_close(&k->passed[i]);
}

void keeper_stop(struct keeper *k)
{
    keeper_close_passed(k);
    for (int i = 0; i < SPACE_N; i++)
        keeper_close(&k->spaces[i]);
    keeper_close(&k->control);
    if (k->pid > 0)
        waitpid(k->pid, NULL, 0);
    k->pid = -1;
}
