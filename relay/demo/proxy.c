#include "relay/demo/proxy.h"

#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "relay/local.h"

struct demo_proxy {
    struct event_base *base;
    struct local *local;
    struct event *stop, *look;
    int stop_pipe[2];
    atomic_bool ready;
    pthread_t thread;
    bool running;
};

static void proxy_on_stop(evutil_socket_t fd, short what, void *arg)
{
    struct demo_proxy *p = arg;

    event_base_loopbreak(p->base);
}

static void proxy_on_look(evutil_socket_t fd, short what, void *arg)
{
    struct demo_proxy *p = arg;

    atomic_store(&p->ready, local_is_ready(p->local));
}

static void *proxy_main(void *arg)
{
    struct demo_proxy *p = arg;

    event_base_dispatch(p->base);
    return NULL;
}

static bool proxy_run(struct demo_proxy *p)
{
    static const struct timeval often = {.tv_usec = 10000};
    sigset_t all, old;

    p->stop = event_new(p->base, p->stop_pipe[0], EV_READ, proxy_on_stop, p);
    p->look = event_new(p->base, -1, EV_PERSIST, proxy_on_look, p);
    if (!p->stop || !p->look || event_add(p->stop, NULL) < 0 || event_add(p->look, &often) < 0)
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    p->running = pthread_create(&p->thread, NULL, proxy_main, p) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return p->running;
}

int demo_proxy_start(struct conf *conf, struct demo_proxy **ret)
{
    struct demo_proxy *p = calloc(1, sizeof(*p));
    int status = 1;

    if (!p) {
        conf_free(conf);
        return status;
    }
    p->stop_pipe[0] = p->stop_pipe[1] = -1;
    p->base = event_base_new();
    if (!p->base || pipe(p->stop_pipe) < 0)
        conf_free(conf);
    else
        status = local_start(conf, p->base, &p->local);
    if (status == 0 && !proxy_run(p))
        status = 1;
    if (status != 0) {
        demo_proxy_stop(p);
        return status;
    }
    *ret = p;
    return 0;
}

bool demo_proxy_wait(const struct demo_proxy *p, uint64_t deadline_ns)
{
    static const struct timespec pause = {.tv_nsec = 5000000};

    while (!atomic_load(&p->ready)) {
        if (clock_now_ns() >= deadline_ns)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

void demo_proxy_stop(struct demo_proxy *p)
{
    if (!p)
        return;
    if (p->stop_pipe[1] >= 0)
        close(p->stop_pipe[1]); /* its end is what the thread waits for */
    if (p->running)
        pthread_join(p->thread, NULL);
    local_free(p->local);
    if (p->stop)
        event_free(p->stop);
    if (p->look)
        event_free(p->look);
    if (p->stop_pipe[0] >= 0)
        close(p->stop_pipe[0]);
    if (p->base)
        event_base_free(p->base);
    free(p);
}

struct addr demo_proxy_socks5(const struct demo_proxy *p)
{
    return local_socks5_addr(p->local);
}

struct addr demo_proxy_turn(const struct demo_proxy *p)
{
    return local_turn_addr(p->local);
}

const char *demo_proxy_user(const struct demo_proxy *p)
{
    return local_turn_user(p->local);
}

const char *demo_proxy_password(const struct demo_proxy *p)
{
    return local_turn_password(p->local);
}
