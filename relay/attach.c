#include "relay/attach.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/net/pass.h"
#include "relay/rendezvous.h"

#define ATTACH_LOOK_US 5000 /* at whether the relay can be reached */

/* One run: waits for its message, then for the relay, then for its end. */
struct attach_run {
    struct list link;
    struct attach *attach;
    int fd;
    bool has_sent, is_answered;
    uint64_t deadline_ns;
    struct event readable, look;
    struct gate *gate;
};

struct attach {
    struct attach_params params;
    int fd; /* -1: not listening */
    struct event acceptable;
    struct list runs;
    unsigned int n_runs;
};

/* ---- a run ---- */

static void run_free(struct attach_run *run)
{
    struct attach *a = run->attach;

    gate_free(run->gate);
    event_del(&run->readable);
    event_del(&run->look);
    close(run->fd);
    list_remove(&run->link);
    a->n_runs--;
    free(run);
    if (a->params.on_run_ended)
        a->params.on_run_ended(a->params.on_run_ended_arg);
}

static int run_answer(struct attach_run *run, int status)
{
    const struct attach_params *params = &run->attach->params;
    struct keeper_attached answer = {
        .version = KEEPER_VERSION,
        .status = status,
        .is_ready = params->is_ready(params->arg),
    };

    if (params->page_token)
        snprintf(answer.page_token, sizeof(answer.page_token), "%s", params->page_token);
    run->is_answered = true;
    return pass_send(run->fd, &answer, sizeof(answer), NULL, 0);
}

/* From within the gate, so it is freed later: by the end of our own connection, which the look at
 * it finds. */
static void run_on_gate_ended(void *arg)
{
    struct attach_run *run = arg;

    shutdown(run->fd, SHUT_RDWR);
}

static void run_on_look(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval soon = {.tv_usec = ATTACH_LOOK_US};
    struct attach_run *run = arg;
    struct attach *a = run->attach;

    if (!a->params.is_ready(a->params.arg) && clock_now_ns() < run->deadline_ns) {
        event_add(&run->look, &soon);
        return;
    }
    if (run_answer(run, 0) < 0)
        run_free(run);
}

/* ---- what it passes ---- */

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 ? value : -1;
}

static bool attach_is_socket(int fd, int domain, int type)
{
    return socket_option(fd, SO_DOMAIN) == domain && socket_option(fd, SO_TYPE) == type &&
           fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

static bool attach_are_right(const int fds[KEEPER_N_FDS])
{
    return attach_is_socket(fds[KEEPER_TCP4], AF_INET, SOCK_STREAM) &&
           attach_is_socket(fds[KEEPER_TCP6], AF_INET6, SOCK_STREAM) &&
           attach_is_socket(fds[KEEPER_UDP4], AF_INET, SOCK_DGRAM) &&
           attach_is_socket(fds[KEEPER_UDP6], AF_INET6, SOCK_DGRAM) &&
           attach_is_socket(fds[KEEPER_LINK], AF_UNIX, SOCK_SEQPACKET) &&
           socket_option(fds[KEEPER_TCP4], SO_ACCEPTCONN) == 1 &&
           socket_option(fds[KEEPER_TCP6], SO_ACCEPTCONN) == 1;
}

/* Takes the descriptors. Return: 0 or -errno. */
static int run_make_gate(struct attach_run *run, const struct keeper_attach *want,
                         const int fds[KEEPER_N_FDS])
{
    struct gate_params params = run->attach->params.gate;

    if (want->version != KEEPER_VERSION || !attach_are_right(fds)) {
        for (int i = 0; i < KEEPER_N_FDS; i++)
            close(fds[i]);
        return want->version != KEEPER_VERSION ? -EPROTONOSUPPORT : -EINVAL;
    }
    params.on_ended = run_on_gate_ended;
    params.arg = run;
    return gate_new(&params, want, fds, &run->gate);
}

/* Return: 0, or -errno when the run is to be ended. */
static int run_begin(struct attach_run *run)
{
    struct keeper_attach want;
    int fds[KEEPER_N_FDS];
    int r = pass_recv(run->fd, &want, sizeof(want), fds, KEEPER_N_FDS);

    if (r < 0)
        return r;
    run->has_sent = true;
    if (r < KEEPER_N_FDS) {
        while (r-- > 0)
            close(fds[r]);
        r = -EBADMSG;
    } else {
        r = run_make_gate(run, &want, fds);
    }
    if (r < 0) {
        log_warn("run: refused: %s", strerror(-r));
        (void)run_answer(run, r);
        return r;
    }
    log_debug("run: attached");
    run->deadline_ns = clock_now_ns() + ATTACH_READY_S * NS_PER_S;
    event_active(&run->look, EV_TIMEOUT, 0);
    return 0;
}

/* After its message a run has nothing to say but its end. */
static void run_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct attach_run *run = arg;
    int r;

    if (run->has_sent) {
        log_debug("run: ended");
        run_free(run);
        return;
    }
    r = run_begin(run);
    if (r < 0 && r != -EAGAIN)
        run_free(run);
}

int attach_adopt(struct attach *a, int fd)
{
    struct event_base *base = a->params.gate.base;
    struct attach_run *run;

    if (a->n_runs >= ATTACH_MAX || !rendezvous_is_ours(fd)) {
        int r = a->n_runs >= ATTACH_MAX ? -EBUSY : -EPERM;

        close(fd);
        return r;
    }
    run = calloc(1, sizeof(*run));
    if (!run || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        free(run);
        close(fd);
        return -ENOMEM;
    }
    run->attach = a;
    run->fd = fd;
    run->deadline_ns = clock_now_ns() + ATTACH_WAIT_S * NS_PER_S;
    event_assign(&run->readable, base, fd, EV_READ | EV_PERSIST, run_on_readable, run);
    evtimer_assign(&run->look, base, run_on_look, run);
    list_append(&a->runs, &run->link);
    a->n_runs++;
    if (event_add(&run->readable, NULL) < 0) {
        run_free(run);
        return -ENOMEM;
    }
    return 0;
}

/* ---- all of them ---- */

static void attach_on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct attach *a = arg;
    int r, run = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (run < 0)
        return;
    r = attach_adopt(a, run);
    if (r < 0)
        log_limited(LOG_LEVEL_WARNING, "run: turned away: %s", strerror(-r));
}

int attach_listen(struct attach *a)
{
    a->fd = rendezvous_listen();
    if (a->fd < 0)
        return a->fd;
    event_assign(&a->acceptable, a->params.gate.base, a->fd, EV_READ | EV_PERSIST,
                 attach_on_acceptable, a);
    return event_add(&a->acceptable, NULL) < 0 ? -ENOMEM : 0;
}

void attach_sweep(struct attach *a, uint64_t now_ns)
{
    struct list *node, *next;

    list_for_each_safe (node, next, &a->runs) {
        struct attach_run *run = list_entry(node, struct attach_run, link);

        if (run->gate)
            gate_sweep(run->gate, now_ns);
        else if (now_ns > run->deadline_ns)
            run_free(run);
    }
}

void attach_flows(const struct attach *a, struct flow_list *list)
{
    struct list *node;

    for (node = a->runs.prev; node != &a->runs; node = node->prev) {
        const struct attach_run *run = list_entry(node, struct attach_run, link);

        if (run->gate)
            gate_flows(run->gate, list);
    }
}

void attach_set_dns(struct attach *a, const struct addr *dns, size_t n_dns)
{
    a->params.gate.dns = dns;
    a->params.gate.n_dns = n_dns;
}

struct attach *attach_new(const struct attach_params *params)
{
    struct attach *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->params = *params;
    a->fd = -1;
    list_init(&a->runs);
    return a;
}

void attach_free(struct attach *a)
{
    struct list *node, *next;

    if (!a)
        return;
    list_for_each_safe (node, next, &a->runs)
        run_free(list_entry(node, struct attach_run, link));
    if (a->fd >= 0) {
        event_del(&a->acceptable);
        close(a->fd);
        rendezvous_unlink();
    }
    free(a);
}
