/*
 * relay/exit/upstream/find.c - which of the configured relays and transports works now
 *
 * That one works is shown by an allocation on it, not by an open socket: a wrong
 * password, a relay without RFC 6062 or a network that swallows UDP are found out
 * before an app's call depends on it. The allocation is not thrown away; it is the
 * first ready one.
 *
 * Urls have their turn in the configured order. The addresses of one race as in RFC
 * 8305: the next one starts a quarter of a second after the last, or at once when that
 * fails. A url whose addresses have all failed, or that has had FIND_URL_NS, makes room
 * for the next; after the last one the search has failed and is repeated later, each
 * time somewhat later, with jitter so that a relay that comes back is not met by all of
 * its clients at once.
 */
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "relay/exit/upstream/upstream_impl.h"

#define FIND_STAGGER_NS  (250 * NS_PER_MS) /* RFC 8305, section 5 */
#define FIND_URL_NS      (6 * NS_PER_S)
#define FIND_BACKOFF_NS  NS_PER_S
#define FIND_BACKOFF_MAX (60 * NS_PER_S)
#define FIND_HURRY_NS    (2 * NS_PER_S) /* the shortest pause between two searches */
#define FIND_UPGRADE_NS  (60 * NS_PER_S)
#define FIND_OFFERED_NS  (300 * NS_PER_S) /* does the relay have RFC 6062 by now? */

static const struct session_events find_events;

const struct session_ended find_silence = {.end = SESSION_E_TIMEOUT,
                                           .why = "the relay does not answer"};

static void find_next_url(struct find *f);
static void find_next_address(struct find *f);

/* ---- small things ---- */

static void find_set_timer(struct find *f, uint64_t at_ns)
{
    const struct session_waker waker = upstream_waker(f->x);

    f->at_ns = at_ns;
    waker.wake(waker.arg, at_ns);
}

static const char *find_name(const struct find *f)
{
    return f->streams ? "streams" : "datagrams";
}

static const char *find_kind(enum link_kind kind)
{
    static const char *const names[N_LINK_KINDS] = {"UDP", "DTLS", "TCP", "TLS"};

    return names[kind];
}

static enum link_kind find_url_kind(const struct conf_url *url)
{
    switch (url->protocol) {
    case LISTEN_DTLS:
        return LINK_DTLS;
    case LISTEN_TCP:
        return LINK_TCP;
    case LISTEN_TLS:
        return LINK_TLS;
    default:
        return LINK_UDP;
    }
}

static bool find_suits(const struct find *f, const struct conf_url *url)
{
    return !f->streams || link_kind_is_stream(find_url_kind(url));
}

static void find_set_state(struct find *f, enum upstream_state state)
{
    if (f->state == state)
        return;
    f->state = state;
    f->since_ns = clock_now_ns();
    if (state == UPSTREAM_READY || f->without_ns == 0)
        f->without_ns = state == UPSTREAM_READY ? 0 : f->since_ns;
    upstream_state_changed(f->x);
    upstream_wake(f->x);
}

static void find_say_why(struct find *f, const char *why)
{
    const struct conf_url *url = &f->x->conf->url[f->url];

    f->only_442 = false;
    snprintf(f->why, sizeof(f->why), "%s: %s", find_kind(find_url_kind(url)), why);
}

/* ---- attempts ---- */

static void attempt_free(struct attempt *at)
{
    list_remove(&at->link);
    carrier_close(&at->carrier);
    free(at);
}

static void find_drop_attempts(struct find *f)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &f->attempts)
        attempt_free(list_entry(it, struct attempt, link));
}

static void find_stop(struct find *f)
{
    find_drop_attempts(f);
    if (f->lookup)
        resolver_forget(f->lookup);
    f->lookup = NULL;
    f->searching = false;
    f->at_ns = FIND_NEVER;
}

static void find_attempt(struct find *f, const struct addr *server)
{
    const struct conf_url *url = &f->x->conf->url[f->url];
    const struct session_want want = {
        .tcp = f->streams, .v4 = true, .v6 = !f->streams, .mobile = !f->streams};
    struct target *target = calloc(1, sizeof(*target));
    struct attempt *at = calloc(1, sizeof(*at));
    int r = -ENOMEM;

    if (at) {
        at->find = f;
        list_init(&at->link);
        carrier_init(&at->carrier, f->x);
    }
    if (at && target) {
        *target = (struct target){
            .n_refs = 1, .x = f->x, .url = f->url, .kind = find_url_kind(url), .server = *server};
        counter_add(&f->x->params.counters->upstream_attempts, 1);
        f->x->creds[target->url].no_mobility = false; /* it may have it by now */
        r = carrier_open(&at->carrier, target, &want, &find_events, at);
        target_unref(target);
        target = NULL;
    }
    if (r == 0) {
        list_append(&f->attempts, &at->link);
        return;
    }
    counter_add(&f->x->params.counters->upstream_failures, 1);
    find_say_why(f, strerror(-r));
    free(target);
    free(at);
}

/* ---- the search ---- */

/* Every relay answers, and none relays streams: nothing is down, and nothing to be hurried. */
static void find_not_offered(struct find *f)
{
    if (f->state != UPSTREAM_OFF)
        log_warn("the relay carries no streams, only datagrams (%s)", f->why);
    find_set_state(f, UPSTREAM_OFF);
    find_set_timer(f, clock_now_ns() + FIND_OFFERED_NS);
}

static void find_exhausted(struct find *f)
{
    uint64_t now_ns = clock_now_ns(), wait_ns;
    uint32_t jitter = 0;

    find_stop(f);
    f->searched_ns = now_ns;
    if (f->state == UPSTREAM_READY) { /* it was only for something better */
        find_set_timer(f, now_ns + FIND_UPGRADE_NS);
        return;
    }
    if (f->only_442) {
        find_not_offered(f);
        return;
    }
    wait_ns = FIND_BACKOFF_NS << (f->n_failures < 6 ? f->n_failures : 6);
    wait_ns = wait_ns < FIND_BACKOFF_MAX ? wait_ns : FIND_BACKOFF_MAX;
    f->n_failures++;
    /* Up to a quarter more. Without random numbers nothing worse happens than a crowd. */
    (void)RAND_bytes((unsigned char *)&jitter, sizeof(jitter));
    wait_ns += wait_ns / 4 * (jitter % 1024) / 1024;
    f->retry_at_ns = now_ns + wait_ns;
    log_warn("relay not reachable for %s (%s); trying again in %llu s", find_name(f), f->why,
             (unsigned long long)((wait_ns + NS_PER_S - 1) / NS_PER_S));
    find_set_state(f, UPSTREAM_DOWN);
    find_set_timer(f, f->retry_at_ns);
}

static void find_on_resolved(void *user, enum exit_result result, const struct addr *addrs,
                             size_t n)
{
    struct find *f = user;

    f->lookup = NULL;
    if (result != EXIT_OK) {
        find_say_why(f, result == EXIT_E_NAME ? "the relay's name does not exist"
                                              : "the relay's name cannot be resolved");
        f->url++;
        find_next_url(f);
        return;
    }
    f->n_addrs = n < FIND_ATTEMPTS_MAX ? n : FIND_ATTEMPTS_MAX;
    memcpy(f->addrs, addrs, f->n_addrs * sizeof(*addrs));
    f->next_addr = 0;
    find_next_address(f);
}

/* Begins with f->url or, where that does not suit, behind it. */
static void find_next_url(struct find *f)
{
    const struct conf *conf = f->x->conf;

    find_drop_attempts(f);
    f->redirected = false;
    while (f->url < f->url_end && !find_suits(f, &conf->url[f->url]))
        f->url++;
    if (f->url >= f->url_end) {
        find_exhausted(f);
        return;
    }
    f->n_addrs = f->next_addr = 0;
    f->url_until_ns = clock_now_ns() + FIND_URL_NS;
    if (resolver_lookup(f->x->near, conf->url[f->url].host, find_on_resolved, f, &f->lookup) < 0) {
        find_say_why(f, "out of memory");
        find_exhausted(f);
        return;
    }
    find_set_timer(f, f->url_until_ns);
}

/* Starts the race's next one, if there is one, and sees when to look again. */
static void find_next_address(struct find *f)
{
    uint64_t now_ns = clock_now_ns(), at_ns = f->url_until_ns;

    do {
        if (f->next_addr >= f->n_addrs)
            break;
        f->addrs[f->next_addr].port = f->x->conf->url[f->url].port;
        find_attempt(f, &f->addrs[f->next_addr]);
        f->next_addr++;
    } while (list_empty(&f->attempts));
    if (list_empty(&f->attempts)) {
        f->url++;
        find_next_url(f);
        return;
    }
    if (f->next_addr < f->n_addrs && now_ns + FIND_STAGGER_NS < at_ns)
        at_ns = now_ns + FIND_STAGGER_NS;
    find_set_timer(f, at_ns);
}

static void find_search(struct find *f, size_t url, size_t url_end)
{
    f->searching = true;
    f->only_442 = f->streams && url == 0; /* only a whole search can tell */
    f->url = url;
    f->url_end = url_end;
    find_next_url(f);
}

static void find_on_due(struct find *f, uint64_t now_ns)
{
    if (!f->searching && f->state == UPSTREAM_READY) {
        find_search(f, 0, f->current->url);
    } else if (!f->searching && f->state == UPSTREAM_OFF) {
        find_search(f, 0, f->x->conf->n_url);
    } else if (!f->searching) {
        find_start(f);
    } else if (now_ns >= f->url_until_ns) {
        if (f->lookup)
            resolver_forget(f->lookup);
        f->lookup = NULL;
        find_say_why(f, "no answer");
        f->url++;
        find_next_url(f);
    } else if (!f->lookup) {
        find_next_address(f);
    } else {
        find_set_timer(f, f->url_until_ns);
    }
}

void find_tick(struct find *f, uint64_t now_ns)
{
    if (now_ns < f->at_ns)
        return;
    f->at_ns = FIND_NEVER;
    find_on_due(f, now_ns);
}

/* ---- what attempts say ---- */

/* The search is over. Takes `target`. */
static void find_reached(struct find *f, struct target *target)
{
    struct upstream *x = f->x;
    struct find *other = f->streams ? &x->datagrams : &x->streams;
    const struct conf_url *url = &x->conf->url[target->url];

    find_stop(f);
    target_unref(f->current);
    f->current = target;
    f->found_ns = clock_now_ns();
    f->why[0] = '\0';
    log_info("relay reached by %s for %s (%s)", find_kind(target->kind), find_name(f), url->host);
    if (f->state == UPSTREAM_READY)
        upstream_state_changed(x); /* another one */
    find_set_state(f, UPSTREAM_READY);
    if (target->url > 0)
        find_set_timer(f, clock_now_ns() + FIND_UPGRADE_NS);
    /* The relay is back: what the other one waits for need not wait out its pause. */
    if (other->state == UPSTREAM_DOWN)
        find_start(other);
    upstream_wake(x);
}

static void find_on_live(void *user, const struct assoc_opened *opened)
{
    struct attempt *winner = user;
    struct find *f = winner->find;
    struct target *target = target_ref(winner->carrier.target);

    if (f->streams)
        trunk_adopt(f->x, &winner->carrier);
    else
        ready_put_session(f->x, &winner->carrier);
    find_reached(f, target);
}

/* The user's quota is used up, maybe by those very allocations that wait for a way to go on by: who
 * is told so has reached the relay. */
static bool find_is_full_of_moving(const struct find *f, const struct session_ended *ended)
{
    if (f->streams || ended->end != SESSION_E_REFUSED || ended->code != 486)
        return false;
    for (struct list *it = f->x->carriers.next; it != &f->x->carriers; it = it->next) {
        const struct carrier *c = list_entry(it, struct carrier, link);

        if (c->session && session_is_moving(c->session))
            return true;
    }
    return false;
}

static void find_on_ended(void *user, const struct session_ended *ended)
{
    struct attempt *at = user;
    struct find *f = at->find;
    bool only_442 = f->only_442 && ended->end == SESSION_E_REFUSED && ended->code == 442;

    if (find_is_full_of_moving(f, ended)) {
        find_reached(f, target_ref(at->carrier.target));
        return;
    }
    counter_add(&f->x->params.counters->upstream_failures, 1);
    find_say_why(f, ended->why);
    f->only_442 = only_442;
    attempt_free(at);
    if (ended->end == SESSION_E_REDIRECTED && !f->redirected &&
        ended->alternate.family != ADDR_NONE) {
        /* RFC 8489, section 10: the same credentials and transport, and only once. */
        f->redirected = true;
        find_attempt(f, &ended->alternate);
        if (!list_empty(&f->attempts))
            return;
    }
    find_next_address(f);
}

static const struct session_events find_events = {
    .on_live = find_on_live,
    .on_ended = find_on_ended,
};

/* ---- from outside ---- */

void find_init(struct find *f, struct upstream *x, bool streams)
{
    *f = (struct find){.x = x, .streams = streams, .state = UPSTREAM_OFF};
    f->at_ns = FIND_NEVER;
    list_init(&f->attempts);
}

void find_deinit(struct find *f)
{
    find_stop(f);
    target_unref(f->current);
    f->current = NULL;
    f->state = UPSTREAM_OFF;
    f->without_ns = 0;
    f->n_failures = 0;
}

void find_start(struct find *f)
{
    const struct conf *conf = f->x->conf;
    bool any = false;

    for (size_t i = 0; i < conf->n_url; i++)
        any = any || find_suits(f, &conf->url[i]);
    if (!any) {
        find_set_state(f, UPSTREAM_OFF);
        return;
    }
    find_set_state(f, UPSTREAM_CONNECTING);
    find_search(f, 0, conf->n_url);
}

void find_hurry(struct find *f)
{
    uint64_t now_ns = clock_now_ns();

    if (f->state != UPSTREAM_DOWN || f->retry_at_ns <= f->searched_ns + FIND_HURRY_NS)
        return;
    f->retry_at_ns = f->searched_ns + FIND_HURRY_NS;
    find_set_timer(f, f->retry_at_ns > now_ns ? f->retry_at_ns : now_ns);
}

void find_failed(struct find *f, const struct target *target, const struct session_ended *ended)
{
    counter_add(&f->x->params.counters->upstream_failures, 1);
    find_left(f, target, ended);
}

void find_left(struct find *f, const struct target *target, const struct session_ended *ended)
{
    /* Those that say nothing about the next attempt: this one's quota, this one's port. */
    if (ended->end == SESSION_E_REFUSED || ended->end == SESSION_E_MEMORY)
        return;
    if (f->state != UPSTREAM_READY || target != f->current)
        return;
    snprintf(f->why, sizeof(f->why), "%s: %s", find_kind(target->kind), ended->why);
    log_warn("relay lost for %s (%s)", find_name(f), f->why);
    find_stop(f);
    if (clock_now_ns() - f->found_ns >= FIND_HURRY_NS) {
        f->n_failures = 0;
        find_start(f);
    } else {
        /* One that takes back at once what it gives has failed, and is not to be asked without
         * end: on with the search that found it. */
        find_set_state(f, UPSTREAM_CONNECTING);
        find_search(f, target->url + 1, f->x->conf->n_url);
    }
    if (ended->end == SESSION_E_LINK || ended->end == SESSION_E_TIMEOUT)
        upstream_probe_all(f->x);
}
