#include "relay/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "relay/exit/direct.h"
#include "relay/listen/listen.h"
#include "relay/mail.h"
#include "relay/roam.h"
#include "relay/turn/turn.h"

#define WORKER_SWEEP_S       1
#define WORKER_FLOWS_FRESH_S 5 /* how long an answer that was too late for its question serves */

struct worker_letter {
    struct letter letter;
    struct worker *w;          /* who is to read it */
    struct settings *settings; /* reload: a reference */
    struct turn_bind bind;     /* a data connection: owns bind.stream */
    unsigned int to;           /* the worker it is for */
};

struct worker {
    struct worker_shared *shared;
    unsigned int index;
    struct settings *settings;
    struct counters counters;
    struct tx_stats tx_stats, tx_counted;
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct exit *exit;
    struct turn *turn;
    struct listen_set *listen;
    struct event *sweep;
    struct mailbox *mailbox;
    struct roam *roam;
    pthread_mutex_t flows_lock;
    pthread_cond_t flows_filled;
    struct flow_list flows;                /* under flows_lock, like the next */
    uint64_t n_flows_asked, n_flows_given; /* how often */
    uint64_t flows_ns;                     /* when they were given */
    pthread_t thread;
    bool running;
};

/* ---- mail ---- */

static void worker_letter_free(struct letter *letter)
{
    struct worker_letter *l = (struct worker_letter *)(void *)letter;

    stream_free(l->bind.stream);
    settings_unref(l->settings);
    free(l);
}

static struct worker_letter *worker_letter_new(void (*deliver)(struct letter *letter))
{
    struct worker_letter *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    list_init(&l->letter.link);
    l->letter.deliver = deliver;
    l->letter.free = worker_letter_free;
    return l;
}

static void worker_post(struct worker *w, struct worker_letter *l)
{
    l->w = w;
    mailbox_post(w->mailbox, &l->letter);
}

static void worker_on_read(void *arg)
{
    struct worker *w = arg;

    tx_flush(w->tx);
    roam_flushed(w->roam);
}

/* ---- what letters do ---- */

static struct worker_letter *worker_letter_of(struct letter *letter)
{
    return (struct worker_letter *)(void *)letter;
}

static void worker_apply(struct worker *w, struct settings *settings)
{
    settings_unref(w->settings);
    w->settings = settings;
    turn_set_settings(w->turn, settings->conf, settings->auth);
    direct_exit_set_conf(w->exit, settings->conf, settings->acl);
    if (w->listen)
        listen_set_reloaded(w->listen);
    /* Last: it closes associations, through an exit that has its new configuration. */
    turn_end_revoked(w->turn);
}

static void deliver_reload(struct letter *letter)
{
    struct worker_letter *l = worker_letter_of(letter);

    worker_apply(l->w, l->settings);
    l->settings = NULL;
    worker_letter_free(letter);
}

static void deliver_drain(struct letter *letter)
{
    turn_set_draining(worker_letter_of(letter)->w->turn);
    worker_letter_free(letter);
}

static void deliver_stop(struct letter *letter)
{
    event_base_loopbreak(worker_letter_of(letter)->w->base);
    worker_letter_free(letter);
}

/* The main thread waits for it, with a time limit, and may have given up. */
static void deliver_flows(struct letter *letter)
{
    struct worker *w = worker_letter_of(letter)->w;

    pthread_mutex_lock(&w->flows_lock);
    w->flows.n = w->flows.n_all = 0;
    turn_flows(w->turn, &w->flows);
    w->n_flows_given++;
    w->flows_ns = clock_now_ns();
    pthread_cond_signal(&w->flows_filled);
    pthread_mutex_unlock(&w->flows_lock);
    worker_letter_free(letter);
}

/* At the owner: the stream joins our base and the peer's connection. */
static void deliver_bind(struct letter *letter)
{
    struct worker_letter *l = worker_letter_of(letter);

    if (stream_attach(l->bind.stream, l->w->pool) == 0) {
        turn_on_bind(l->w->turn, &l->bind, clock_now_ns());
        l->bind.stream = NULL;
    }
    worker_letter_free(letter);
}

/* At the worker where it landed, out of the stream's callback: off our base, on to the owner. */
static void deliver_forward(struct letter *letter)
{
    struct worker_letter *l = worker_letter_of(letter);

    if (!l->bind.stream) {
        worker_letter_free(letter); /* it closed meanwhile */
        return;
    }
    stream_detach(l->bind.stream);
    l->letter.deliver = deliver_bind;
    worker_post(l->w->shared->workers[l->to], l);
}

static ptrdiff_t parked_on_bytes(void *user, const uint8_t *data, size_t len)
{
    return 0; /* they belong to the joined stream: the stream keeps them */
}

static void parked_on_closed(void *user, int reason)
{
    struct worker_letter *l = user;

    stream_free(l->bind.stream);
    l->bind.stream = NULL;
}

static const struct stream_events parked_events = {
    .on_bytes = parked_on_bytes,
    .on_closed = parked_on_closed,
};

static void worker_hand_over(void *arg, unsigned int to, const struct turn_bind *bind)
{
    struct worker *w = arg;
    struct worker_letter *l = worker_letter_new(deliver_forward);

    if (!l) {
        stream_set_events(bind->stream, &parked_events, NULL);
        stream_free(bind->stream);
        return;
    }
    l->bind = *bind;
    l->to = to;
    stream_pause(bind->stream);
    stream_set_events(bind->stream, &parked_events, l);
    worker_post(w, l);
}

static bool worker_visit(void *arg, unsigned int to, struct client *client, const uint8_t *data,
                         size_t len)
{
    return roam_visit(((struct worker *)arg)->roam, to, client, data, len);
}

static void worker_leave(void *arg, struct client *client)
{
    roam_leave(((struct worker *)arg)->roam, client);
}

/* ---- the thread ---- */

/* The queue counts for itself, in plain numbers; what it has counted is added once a second. */
static void worker_count_sends(struct worker *w)
{
    counter_add(&w->counters.tx_calls, w->tx_stats.n_calls - w->tx_counted.n_calls);
    counter_add(&w->counters.drop_send, w->tx_stats.n_dropped - w->tx_counted.n_dropped);
    w->tx_counted = w->tx_stats;
}

static void worker_on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    uint64_t now_ns = clock_now_ns();

    turn_sweep(w->turn, now_ns);
    listen_set_sweep(w->listen, now_ns);
    tx_flush(w->tx);
    worker_count_sends(w);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    event_base_loop(w->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

int worker_start(struct worker *w)
{
    sigset_t all, old;
    int r;

    /* Signals are the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    w->running = r == 0;
    return -r;
}

void worker_stop(struct worker *w)
{
    struct worker_letter *letter;

    if (!w || !w->running)
        return;
    letter = worker_letter_new(deliver_stop);
    if (!letter)
        abort(); /* the process is ending, and cannot even say so to its thread */
    worker_post(w, letter);
    pthread_join(w->thread, NULL);
    w->running = false;
}

void worker_reload(struct worker *w, struct settings *settings)
{
    struct worker_letter *letter = worker_letter_new(deliver_reload);

    if (!letter) {
        log_error("out of memory: a worker keeps the old configuration");
        return;
    }
    letter->settings = settings_ref(settings);
    worker_post(w, letter);
}

void worker_drain(struct worker *w)
{
    struct worker_letter *letter = worker_letter_new(deliver_drain);

    if (letter)
        worker_post(w, letter);
}

const struct counters *worker_counters(const struct worker *w)
{
    return &w->counters;
}

/* ---- the allocations, for the stats ---- */

static void worker_init_flows(struct worker *w)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&w->flows_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->flows_filled, &attr);
    pthread_condattr_destroy(&attr);
}

void worker_ask_flows(struct worker *w)
{
    struct worker_letter *letter = worker_letter_new(deliver_flows);

    if (!letter)
        return;
    pthread_mutex_lock(&w->flows_lock);
    w->n_flows_asked++;
    pthread_mutex_unlock(&w->flows_lock);
    worker_post(w, letter);
}

bool worker_flows(struct worker *w, const struct timespec *until, struct flow_list *list)
{
    bool is_fresh;

    pthread_mutex_lock(&w->flows_lock);
    while (w->n_flows_given < w->n_flows_asked &&
           pthread_cond_timedwait(&w->flows_filled, &w->flows_lock, until) == 0)
        ;
    is_fresh = w->flows_ns > 0 && clock_now_ns() - w->flows_ns < WORKER_FLOWS_FRESH_S * NS_PER_S;
    if (is_fresh)
        flows_append(list, &w->flows);
    pthread_mutex_unlock(&w->flows_lock);
    return is_fresh;
}

/* ---- making ---- */

static int worker_init_base(struct worker *w)
{
    struct event_config *config = event_config_new();

    if (!config)
        return -ENOMEM;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    w->base = event_base_new_with_config(config);
    event_config_free(config);
    if (!w->base)
        return -ENOMEM;
    w->rx = rx_batch_new();
    w->tx = tx_queue_new(&w->tx_stats);
    w->pool = stream_pool_new(w->base);
    w->mailbox = mailbox_new(w->base, worker_on_read, w);
    w->sweep = event_new(w->base, -1, EV_PERSIST, worker_on_sweep, w);
    return w->rx && w->tx && w->pool && w->mailbox && w->sweep ? 0 : -ENOMEM;
}

static int worker_init_turn(struct worker *w)
{
    const struct direct_params direct = {
        .base = w->base,
        .rx = w->rx,
        .tx = w->tx,
        .pool = w->pool,
        .ports = w->shared->ports,
        .counters = &w->counters,
    };
    struct turn_params params = {
        .worker = w->index,
        .n_workers = w->shared->n_workers,
        .quota = w->shared->quota,
        .rate = w->shared->rate,
        .counters = &w->counters,
        .hand_over = worker_hand_over,
        .visit = worker_visit,
        .leave = worker_leave,
        .arg = w,
    };
    struct roam_params roam = {
        .worker = w->index,
        .all = w->shared->roams,
        .mailbox = w->mailbox,
        .counters = &w->counters,
    };

    w->exit = direct_exit_new(&direct);
    params.exit = w->exit;
    roam.turn = w->turn = w->exit ? turn_new(&params) : NULL;
    w->roam = w->turn ? roam_new(&roam) : NULL;
    return w->roam ? 0 : -ENOMEM;
}

static int worker_init_listen(struct worker *w, struct conf_listen *listen, size_t n_listen,
                              size_t *ret_failed)
{
    const struct listen_env env = {
        .base = w->base,
        .rx = w->rx,
        .tx = w->tx,
        .pool = w->pool,
        .turn = w->turn,
        .counters = &w->counters,
        .settings = &w->settings,
        .n_connections = &w->shared->n_connections,
        .cookie_secret = w->shared->cookie_secret,
    };

    return listen_set_new(&env, listen, n_listen, &w->listen, ret_failed);
}

int worker_new(struct worker_shared *shared, unsigned int index, struct settings *settings,
               struct conf_listen *listen, size_t n_listen, struct worker **ret, size_t *ret_failed)
{
    static const struct timeval sweep = {.tv_sec = WORKER_SWEEP_S};
    struct worker *w = calloc(1, sizeof(*w));
    int r;

    *ret_failed = 0;
    if (!w)
        return -ENOMEM;
    w->shared = shared;
    w->index = index;
    worker_init_flows(w);
    r = worker_init_base(w);
    if (r == 0)
        r = worker_init_turn(w);
    if (r == 0) {
        worker_apply(w, settings_ref(settings));
        r = worker_init_listen(w, listen, n_listen, ret_failed);
    }
    if (r == 0 && event_add(w->sweep, &sweep) < 0)
        r = -ENOMEM;
    if (r < 0) {
        worker_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    /* Allocations first: they hold clients of the listeners, and of other workers'. */
    roam_close(w->roam);
    turn_free(w->turn);
    roam_free(w->roam);
    listen_set_free(w->listen);
    direct_exit_free(w->exit);
    mailbox_free(w->mailbox);
    stream_pool_free(w->pool);
    tx_queue_free(w->tx);
    rx_batch_free(w->rx);
    if (w->sweep)
        event_free(w->sweep);
    if (w->base)
        event_base_free(w->base);
    pthread_cond_destroy(&w->flows_filled);
    pthread_mutex_destroy(&w->flows_lock);
    settings_unref(w->settings);
    free(w);
}
