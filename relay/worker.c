#include "relay/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "relay/exit/direct.h"
#include "relay/listen/listen.h"
#include "relay/turn/turn.h"

#define WORKER_SWEEP_S       1
#define WORKER_FLOWS_FRESH_S 5 /* how long an answer that was too late for its question serves */

struct letter {
    struct list link;
    void (*deliver)(struct worker *w, struct letter *letter);
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
    struct event *mail;
    int mail_fd;
    pthread_mutex_t mail_lock;
    struct list letters; /* under mail_lock */
    pthread_mutex_t flows_lock;
    pthread_cond_t flows_filled;
    struct flow_list flows;                /* under flows_lock, like the next */
    uint64_t n_flows_asked, n_flows_given; /* how often */
    uint64_t flows_ns;                     /* when they were given */
    pthread_t thread;
    bool running;
};

/* ---- mail ---- */

static void worker_post(struct worker *w, struct letter *letter)
{
    uint64_t one = 1;

    pthread_mutex_lock(&w->mail_lock);
    list_append(&w->letters, &letter->link);
    pthread_mutex_unlock(&w->mail_lock);
    /* Can only fail when the counter is full, and then the reader is being woken already. */
    if (write(w->mail_fd, &one, sizeof(one)) < 0)
        return;
}

static struct letter *worker_take_letter(struct worker *w)
{
    struct letter *letter = NULL;

    pthread_mutex_lock(&w->mail_lock);
    if (!list_empty(&w->letters)) {
        letter = list_entry(w->letters.next, struct letter, link);
        list_remove(&letter->link);
    }
    pthread_mutex_unlock(&w->mail_lock);
    return letter;
}

static void worker_on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    struct letter *letter;
    uint64_t n;

    if (read(fd, &n, sizeof(n)) < 0)
        return;
    while ((letter = worker_take_letter(w)))
        letter->deliver(w, letter);
}

static struct letter *letter_new(void (*deliver)(struct worker *w, struct letter *letter))
{
    struct letter *letter = calloc(1, sizeof(*letter));

    if (letter) {
        list_init(&letter->link);
        letter->deliver = deliver;
    }
    return letter;
}

static void letter_free(struct letter *letter)
{
    stream_free(letter->bind.stream);
    settings_unref(letter->settings);
    free(letter);
}

/* ---- what letters do ---- */

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

static void deliver_reload(struct worker *w, struct letter *letter)
{
    worker_apply(w, letter->settings);
    letter->settings = NULL;
    letter_free(letter);
}

static void deliver_drain(struct worker *w, struct letter *letter)
{
    turn_set_draining(w->turn);
    letter_free(letter);
}

static void deliver_stop(struct worker *w, struct letter *letter)
{
    event_base_loopbreak(w->base);
    letter_free(letter);
}

/* The main thread waits for it, with a time limit, and may have given up. */
static void deliver_flows(struct worker *w, struct letter *letter)
{
    pthread_mutex_lock(&w->flows_lock);
    w->flows.n = w->flows.n_all = 0;
    turn_flows(w->turn, &w->flows);
    w->n_flows_given++;
    w->flows_ns = clock_now_ns();
    pthread_cond_signal(&w->flows_filled);
    pthread_mutex_unlock(&w->flows_lock);
    letter_free(letter);
}

/* At the owner: the stream joins our base and the peer's connection. */
static void deliver_bind(struct worker *w, struct letter *letter)
{
    if (stream_attach(letter->bind.stream, w->pool) < 0) {
        letter_free(letter);
        return;
    }
    turn_on_bind(w->turn, &letter->bind, clock_now_ns());
    letter->bind.stream = NULL;
    letter_free(letter);
    tx_flush(w->tx);
}

/* At the worker where it landed, out of the stream's callback: off our base, on to the owner. */
static void deliver_forward(struct worker *w, struct letter *letter)
{
    if (!letter->bind.stream) {
        letter_free(letter); /* it closed meanwhile */
        return;
    }
    stream_detach(letter->bind.stream);
    letter->deliver = deliver_bind;
    worker_post(w->shared->workers[letter->to], letter);
}

static ptrdiff_t parked_on_bytes(void *user, const uint8_t *data, size_t len)
{
    return 0; /* they belong to the joined stream: the stream keeps them */
}

static void parked_on_closed(void *user, int reason)
{
    struct letter *letter = user;

    stream_free(letter->bind.stream);
    letter->bind.stream = NULL;
}

static const struct stream_events parked_events = {
    .on_bytes = parked_on_bytes,
    .on_closed = parked_on_closed,
};

static void worker_hand_over(void *arg, unsigned int to, const struct turn_bind *bind)
{
    struct worker *w = arg;
    struct letter *letter = letter_new(deliver_forward);

    if (!letter) {
        stream_set_events(bind->stream, &parked_events, NULL);
        stream_free(bind->stream);
        return;
    }
    letter->bind = *bind;
    letter->to = to;
    stream_pause(bind->stream);
    stream_set_events(bind->stream, &parked_events, letter);
    worker_post(w, letter);
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
    struct letter *letter;

    if (!w || !w->running)
        return;
    letter = letter_new(deliver_stop);
    if (!letter)
        abort(); /* the process is ending, and cannot even say so to its thread */
    worker_post(w, letter);
    pthread_join(w->thread, NULL);
    w->running = false;
}

void worker_reload(struct worker *w, struct settings *settings)
{
    struct letter *letter = letter_new(deliver_reload);

    if (!letter) {
        log_error("out of memory: a worker keeps the old configuration");
        return;
    }
    letter->settings = settings_ref(settings);
    worker_post(w, letter);
}

void worker_drain(struct worker *w)
{
    struct letter *letter = letter_new(deliver_drain);

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
    struct letter *letter = letter_new(deliver_flows);

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
    w->mail_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->mail_fd < 0)
        return -errno;
    w->rx = rx_batch_new();
    w->tx = tx_queue_new(&w->tx_stats);
    w->pool = stream_pool_new(w->base);
    w->mail = event_new(w->base, w->mail_fd, EV_READ | EV_PERSIST, worker_on_mail, w);
    w->sweep = event_new(w->base, -1, EV_PERSIST, worker_on_sweep, w);
    return w->rx && w->tx && w->pool && w->mail && w->sweep ? 0 : -ENOMEM;
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
        .arg = w,
    };

    w->exit = direct_exit_new(&direct);
    params.exit = w->exit;
    w->turn = w->exit ? turn_new(&params) : NULL;
    return w->turn ? 0 : -ENOMEM;
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
    w->mail_fd = -1;
    list_init(&w->letters);
    pthread_mutex_init(&w->mail_lock, NULL);
    worker_init_flows(w);
    r = worker_init_base(w);
    if (r == 0)
        r = worker_init_turn(w);
    if (r == 0) {
        worker_apply(w, settings_ref(settings));
        r = worker_init_listen(w, listen, n_listen, ret_failed);
    }
    if (r == 0 && (event_add(w->mail, NULL) < 0 || event_add(w->sweep, &sweep) < 0))
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
    struct letter *letter;

    if (!w)
        return;
    while ((letter = worker_take_letter(w)))
        letter_free(letter);
    /* Allocations first: they hold clients of the listeners. */
    turn_free(w->turn);
    listen_set_free(w->listen);
    direct_exit_free(w->exit);
    stream_pool_free(w->pool);
    tx_queue_free(w->tx);
    rx_batch_free(w->rx);
    if (w->sweep)
        event_free(w->sweep);
    if (w->mail)
        event_free(w->mail);
    if (w->base)
        event_base_free(w->base);
    if (w->mail_fd >= 0)
        close(w->mail_fd);
    pthread_mutex_destroy(&w->mail_lock);
    pthread_cond_destroy(&w->flows_filled);
    pthread_mutex_destroy(&w->flows_lock);
    settings_unref(w->settings);
    free(w);
}
