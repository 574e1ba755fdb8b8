#include "relay/seal/outside.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/net/pass.h"
#include "conf/conf.h"
#include "conf/path.h"
#include "relay/local.h"
#include "relay/rendezvous.h"
#include "relay/seal/place.h"
#include "relay/usage.h"

#define ATTACHED_WAIT_MS 20000 /* longer than the proxy waits for the relay */
#define END_WAIT_MS      2000  /* for our own proxy to tell the relay that it ends */
#define END_LOOK_MS      5

/* ---- our own proxy ---- */

static void proxy_on_ended(void *arg)
{
    event_base_loopbreak(arg);
}

static struct conf *proxy_load(const struct outside_want *want)
{
    char *standard = want->file ? NULL : conf_local_file();
    const char *file = want->file ? want->file : standard;
    struct conf *conf = NULL;

    if (file)
        conf = conf_load(file, "local");
    else
        fputs("callveil run: no home directory to look for local.conf in\n", stderr);
    free(standard);
    if (!conf)
        return NULL;
    conf->log_level = want->log_level >= 0 ? (enum log_level)want->log_level : LOG_LEVEL_WARNING;
    return conf;
}

/* Nobody else is to depend on a proxy that ends with this app, and another one may have the ports.
 * The TURN server is for the app itself, which does not come by that port. */
static void proxy_withdraw(struct conf *conf)
{
    conf->socks5 = conf->stats_listen = (struct addr){0};
    if (conf->turn.family != ADDR_NONE)
        addr_parse_ip("127.0.0.1", 0, &conf->turn);
}

static int proxy_serve(struct conf *conf, int fd)
{
    bool has_page = conf->stats_listen.family != ADDR_NONE;
    struct event_base *base = event_base_new();
    struct local *local = NULL;
    int status;

    if (!base) {
        conf_free(conf);
        return EXIT_FAILURE;
    }
    proxy_withdraw(conf);
    status = local_start(conf, base, &local);
    if (status == 0 && local_adopt(local, fd, has_page, proxy_on_ended, base) == 0)
        event_base_dispatch(base);
    local_free(local);
    event_base_free(base);
    return status;
}

/* Only what it logs goes to where the app's output goes. */
static void proxy_leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return;
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    if (null > STDERR_FILENO)
        close(null);
}

/* Each flow of the app is a descriptor or two. The app's own limit stays as it is. */
static void proxy_raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* A session of its own: the terminal's signals are the app's. */
__attribute__((noreturn)) static void proxy_main(const struct outside_want *want, int fd)
{
    struct conf *conf;
    sigset_t none;

    setsid();
    proxy_leave_terminal();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_NAME, "callveil-local");
    prctl(PR_SET_DUMPABLE, 0); /* it holds the relay's password */
    proxy_raise_limits();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    conf = proxy_load(want);
    exit(conf ? proxy_serve(conf, fd) : EXIT_USAGE);
}

static int outside_start_own(const struct outside_want *want, struct outside *ret,
                             char why[SEAL_WHY_LEN])
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return seal_fail(why, "no local proxy: %s", strerror(errno));
    ret->own = fork();
    if (ret->own == 0) {
        close(ends[0]);
        proxy_main(want, ends[1]);
    }
    close(ends[1]);
    ret->fd = ends[0];
    if (ret->own < 0)
        return seal_fail(why, "no local proxy: %s", strerror(errno));
    return 0;
}

int outside_open(const struct outside_want *want, struct outside *ret, char why[SEAL_WHY_LEN])
{
    *ret = (struct outside){.fd = -1, .own = -1};
    if (want->file)
        return outside_start_own(want, ret, why);
    ret->fd = rendezvous_connect();
    if (ret->fd >= 0)
        return 0;
    if (ret->fd == -ENOENT || ret->fd == -ECONNREFUSED)
        return outside_start_own(want, ret, why);
    if (ret->fd == -EPERM)
        return seal_fail(why, "the local proxy's folder or socket is not this user's alone; see "
                              "FILES in callveil(1)");
    return seal_fail(why, "cannot reach the local proxy: %s", strerror(-ret->fd));
}

int outside_reopen(struct outside *o)
{
    int fd = rendezvous_connect();

    if (fd < 0)
        return fd;
    o->fd = fd;
    return 0;
}

/* ---- the gate ---- */

int outside_ask(struct outside *o, const struct keeper_attach *attach, const int fds[KEEPER_N_FDS])
{
    return pass_send(o->fd, attach, sizeof(*attach), fds, KEEPER_N_FDS);
}

/* Return: its exit status once it is gone, or -1 and why. */
static int outside_own_status(struct outside *o, char why[SEAL_WHY_LEN])
{
    int status;

    if (o->own < 0 || waitpid(o->own, &status, 0) != o->own)
        return seal_fail(why, "the local proxy has closed the connection");
    o->own = -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return WEXITSTATUS(status);
    return seal_fail(why, "the local proxy has died");
}

static void outside_accept(struct outside *o, const struct keeper_attached *answer)
{
    if (!answer->is_ready)
        fputs("callveil run: the relay cannot be reached: until it can, the app has no network\n",
              stderr);
    snprintf(o->page_token, sizeof(o->page_token), "%.*s", KEEPER_TOKEN_LEN, answer->page_token);
}

/* Return: 0 or -errno; -EPROTONOSUPPORT when it is of another version. */
static int outside_receive(const struct outside *o, struct keeper_attached *ret)
{
    int r = pass_recv(o->fd, ret, sizeof(*ret), NULL, 0);

    if (r < 0)
        return r;
    return ret->version == KEEPER_VERSION ? 0 : -EPROTONOSUPPORT;
}

static int outside_wait(struct outside *o, struct keeper_attached *ret, char why[SEAL_WHY_LEN])
{
    struct pollfd p = {.fd = o->fd, .events = POLLIN};
    int r;

    do
        r = poll(&p, 1, ATTACHED_WAIT_MS);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return seal_fail(why, "the local proxy does not answer");
    r = outside_receive(o, ret);
    if (r == -EPIPE || r == -ECONNRESET)
        return outside_own_status(o, why);
    if (r == -EPROTONOSUPPORT)
        return seal_fail(why, "the local proxy that runs is of another version: restart it");
    return r < 0 ? seal_fail(why, "the local proxy: %s", strerror(-r)) : 0;
}

int outside_attach(struct outside *o, const struct keeper_attach *attach,
                   const int fds[KEEPER_N_FDS], char why[SEAL_WHY_LEN])
{
    struct keeper_attached answer = {0};
    int r = outside_ask(o, attach, fds);

    if (r == -EPIPE || r == -ECONNRESET)
        return outside_own_status(o, why);
    if (r < 0)
        return seal_fail(why, "the local proxy: %s", strerror(-r));
    r = outside_wait(o, &answer, why);
    if (r != 0)
        return r;
    if (answer.status < 0)
        return seal_fail(why, "the local proxy refuses: %s", strerror(-answer.status));
    outside_accept(o, &answer);
    return 0;
}

int outside_hear(struct outside *o)
{
    struct keeper_attached answer = {0};
    int r = outside_receive(o, &answer);

    if (r == 0)
        r = answer.status;
    if (r == 0)
        outside_accept(o, &answer);
    return r;
}

void outside_tell_page(const struct outside *o)
{
    if (o->page_token[0])
        fprintf(stderr,
                "callveil run: what its peers see, by its own test: http://%s:%u/check#%s\n",
                PLACE_ROUTER_V4, ROUTER_PAGE_PORT, o->page_token);
}

static void outside_end_own(const struct outside *o)
{
    static const struct timespec pause = {.tv_nsec = END_LOOK_MS * 1000000L};

    for (int waited = 0; waited < END_WAIT_MS; waited += END_LOOK_MS) {
        if (waitpid(o->own, NULL, WNOHANG) == o->own)
            return;
        nanosleep(&pause, NULL);
    }
    kill(o->own, SIGKILL);
    waitpid(o->own, NULL, 0);
}

void outside_disconnect(struct outside *o)
{
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
}

void outside_close(struct outside *o)
{
    outside_disconnect(o);
    if (o->own > 0)
        outside_end_own(o);
    *o = (struct outside){.fd = -1, .own = -1};
}
