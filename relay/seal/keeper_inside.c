#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/pass.h"
#include "relay/seal/keeper_impl.h"
#include "relay/seal/link.h"
#include "relay/seal/names.h"
#include "relay/seal/place.h"
#include "relay/seal/rules.h"

#define TOKEN        UINT64_C(1000)
#define NS_PER_TOKEN (UINT64_C(1000000000) / (KEEPER_RATE * TOKEN))

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

/* ---- what it makes ---- */

static void keeper_fill_attach(struct keeper_attach *ret)
{
    *ret = (struct keeper_attach){.version = KEEPER_VERSION};
    addr_parse_ip(PLACE_NEAR_V4, 0, &ret->near_v4);
    addr_parse_ip(PLACE_ROUTER_V4, 0, &ret->router_v4);
    addr_parse_ip(PLACE_NEAR_V6, 0, &ret->near_v6);
    addr_parse_ip(PLACE_ROUTER_V6, 0, &ret->router_v6);
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

/* ---- the process ---- */

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
void keeper_main(int control, int link)
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
