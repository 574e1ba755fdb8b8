#include "relay/seal/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/seal/reattach.h"

static const int watched[] = {SIGINT,  SIGQUIT,  SIGTERM, SIGHUP,  SIGUSR1,
                              SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT, SIGCHLD};

#define N_WATCHED (sizeof(watched) / sizeof(watched[0]))

int watch_init(struct watch *w)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < N_WATCHED; i++)
        sigaddset(&set, watched[i]);
    /* Before the mask: whoever is forked gets this one back. */
    if (sigprocmask(SIG_BLOCK, &set, &w->old) < 0)
        return -errno;
    w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return w->signals < 0 ? -errno : 0;
}

void watch_deinit(struct watch *w)
{
    if (w->signals >= 0)
        close(w->signals);
    w->signals = -1;
}

/* ---- signals ---- */

/* Of the terminal: it sent them to the app as well. */
static bool watch_is_terminals(const struct signalfd_siginfo *s)
{
    return s->ssi_code == SI_KERNEL;
}

static void watch_pass_on(const struct watch *w, pid_t app)
{
    struct signalfd_siginfo s;

    while (read(w->signals, &s, sizeof(s)) == sizeof(s)) {
        if (s.ssi_signo == SIGCHLD || (watch_is_terminals(&s) && s.ssi_signo != SIGCONT))
            continue;
        (void)kill(app, (int)s.ssi_signo);
    }
}

/* As the app did, for whoever waits for us. What continues us continues the app: as a group, or by
 * the SIGCONT that watch_pass_on() finds. */
static void watch_stop(void)
{
    raise(SIGSTOP);
}

/* Return: whether it has ended, and *ret_status. */
static bool watch_collect(pid_t app, int *ret_status)
{
    int status;

    while (waitpid(app, &status, WNOHANG | WUNTRACED) == app) {
        if (WIFSTOPPED(status)) {
            watch_stop();
            continue;
        }
        *ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        return true;
    }
    return false;
}

int watch_app(struct watch *w, pid_t app, struct reattach *reattach)
{
    int status;

    while (!watch_collect(app, &status)) {
        struct pollfd fds[] = {{.fd = w->signals, .events = POLLIN},
                               {.fd = reattach_fd(reattach), .events = POLLIN}};
        int n = poll(fds, 2, reattach_timeout_ms(reattach));

        if (n < 0 && errno != EINTR)
            return 1;
        watch_pass_on(w, app);
        if (n == 0 || (n > 0 && fds[1].revents))
            reattach_turn(reattach, n > 0);
    }
    return status;
}
