#include "relay/seal/keeper.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/net/pass.h"
#include "relay/seal/keeper_impl.h"

#define KEEPER_RENEW_MS 2000

_Static_assert(KEEPER_N_PASSED <= PASS_FDS_MAX, "what is passed fits into one message");

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
