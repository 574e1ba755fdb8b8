/*
 * Names, who waits for them, and telling them
 *
 * A lookup is answered from the `work` event, never from within a call. It waits in
 * its query's list, or, once its answer is known, in the resolver's `ready` list. Its
 * user may do anything while being told: forget other lookups, start new ones, free the
 * resolver.
 */
#include "relay/exit/resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire/dns.h"
#include "relay/exit/resolve_impl.h"

#define TTL_MIN_S     1
#define TTL_MAX_S     3600
#define TTL_NO_NAME_S 60
/* One family answered, the other question did not come through: soon asked again. */
#define TTL_PARTIAL_S 10

/* Callers that were refused for capacity wait for their answer as well, but not without end. */
#define LOOKUPS_MAX (4 * RESOLVE_PENDING_MAX)
/* Abandoned queries included. */
#define QUERIES_MAX (2 * RESOLVE_PENDING_MAX)

struct lookup {
    struct resolver *r;
    struct list link; /* query.lookups or resolver.ready */
    exit_on_resolved *on_resolved;
    void *user;
    struct resolve_answer answer; /* once ready */
};

void resolve_raise(struct resolver *r)
{
    event_active(&r->work, EV_TIMEOUT, 1);
}

/* ---- lookups ---- */

static void lookup_ready(struct lookup *l, const struct resolve_answer *answer)
{
    l->answer = *answer;
    list_remove(&l->link);
    list_append(&l->r->ready, &l->link);
    resolve_raise(l->r);
}

static void lookup_fail(struct lookup *l, enum exit_result result)
{
    struct resolve_answer answer = {.result = result};

    lookup_ready(l, &answer);
}

static void lookup_free(struct lookup *l)
{
    list_remove(&l->link);
    l->r->n_lookups--;
    free(l);
}

/* The last thing that is done with `r`: a user who is told may free it. */
static void lookups_tell(struct resolver *r)
{
    r->is_telling = true;
    while (!r->is_freed && !list_empty(&r->ready)) {
        struct lookup *l = list_entry(r->ready.next, struct lookup, link);
        struct lookup told = *l; /* NOLINT(clang-analyzer-unix.Malloc) */

        lookup_free(l);
        told.on_resolved(told.user, told.answer.result, told.answer.addrs, told.answer.n);
    }
    r->is_telling = false;
    if (r->is_freed)
        free(r);
}

/* ---- queries ---- */

static struct query *query_find(struct resolver *r, const char *name)
{
    uint64_t hash = hash_bytes(name, strlen(name));
    struct hash_node *node = hash_first(&r->table, hash);

    while (node && strcmp(hash_entry(node, struct query, node)->name, name) != 0)
        node = hash_next(node, hash);
    return node ? hash_entry(node, struct query, node) : NULL;
}

static void query_tell(struct query *q, const struct resolve_answer *answer)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &q->lookups)
        lookup_ready(list_entry(it, struct lookup, link), answer);
}

static void query_free(struct query *q)
{
    if (q->is_listed)
        hash_remove(&q->r->table, &q->node);
    event_del(&q->timer);
    list_remove(&q->link);
    q->r->n_queries--;
    free(q);
}

/* Answers whoever waits, and lets go of it: now, or when c-ares does. */
static void query_finish(struct query *q, const struct resolve_answer *answer)
{
    query_tell(q, answer);
    if (q->n_asked == 0) {
        query_free(q);
        return;
    }
    event_del(&q->timer);
    hash_remove(&q->r->table, &q->node);
    q->is_listed = false;
    list_remove(&q->link);
    list_append(&q->r->abandoned, &q->link);
}

/* Families in turn, so that an unreachable one costs one attempt (RFC 8305, section 4). IPv6 first,
 * or, near, what RFC 6724 put first. */
static void interleave(const struct query *q, struct resolve_answer *ret)
{
    uint8_t first = q->r->near ? q->found[0].family : ADDR_IPV6;
    size_t one = 0, other = 0;

    while (ret->n < q->n_found) {
        while (one < q->n_found && q->found[one].family != first)
            one++;
        if (one < q->n_found)
            ret->addrs[ret->n++] = q->found[one++];
        while (other < q->n_found && q->found[other].family == first)
            other++;
        if (other < q->n_found)
            ret->addrs[ret->n++] = q->found[other++];
    }
}

/* NXDOMAIN counts for every type (RFC 8020), an empty answer for its own. */
static void query_answer(const struct query *q, struct resolve_answer *ret)
{
    *ret = (struct resolve_answer){.result = EXIT_OK};
    if (q->n_found > 0)
        interleave(q, ret);
    else
        ret->result = q->no_name || !q->failed ? EXIT_E_NAME : EXIT_E_TIMEOUT;
}

static void query_cache(const struct query *q, const struct resolve_answer *answer)
{
    uint32_t ttl_s = TTL_NO_NAME_S;

    /* The relay's name was unknown to the network of a moment ago, or to one that wants a login
     * first: find.c waits as long as is right before it asks again. */
    if (answer->result == EXIT_E_TIMEOUT || (q->r->near && answer->result != EXIT_OK))
        return;
    if (answer->result == EXIT_OK) {
        ttl_s = q->ttl_s < TTL_MIN_S ? TTL_MIN_S : q->ttl_s;
        ttl_s = ttl_s > TTL_MAX_S ? TTL_MAX_S : ttl_s;
        if (q->failed && ttl_s > TTL_PARTIAL_S)
            ttl_s = TTL_PARTIAL_S;
    }
    resolve_cache_put(&q->r->cache, q->name, answer, q->r->now() + ttl_s * NS_PER_S);
}

void resolve_query_complete(struct query *q)
{
    struct resolve_answer answer;

    if (!q->r->is_cancelling) {
        query_answer(q, &answer);
        query_cache(q, &answer);
        query_tell(q, &answer);
    }
    query_free(q);
}

void resolve_query_expect_other(struct query *q)
{
    static const struct timeval tv = {.tv_usec = RESOLVE_OTHER_MS * 1000};

    if (q->is_listed)
        evtimer_add(&q->timer, &tv);
}

static int query_timer_start(struct query *q)
{
    static const struct timeval tv = {.tv_sec = RESOLVE_TOTAL_MS / 1000};

    return evtimer_add(&q->timer, &tv);
}

/* Out of time; or there is something, and the rest is late. */
static void query_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct query *q = arg;
    struct resolve_answer answer = {.result = EXIT_E_TIMEOUT};

    if (q->n_found == 0) {
        query_finish(q, &answer);
        return;
    }
    q->is_early = true;
    query_answer(q, &answer);
    query_tell(q, &answer);
}

static struct query *query_new(struct resolver *r, const char *name)
{
    struct query *q = r->n_queries < QUERIES_MAX ? calloc(1, sizeof(*q)) : NULL;

    if (!q)
        return NULL;
    q->r = r;
    memcpy(q->name, name, strlen(name) + 1);
    list_init(&q->lookups);
    list_append(&r->queries, &q->link);
    r->n_queries++;
    hash_insert(&r->table, &q->node, hash_bytes(name, strlen(name)));
    q->is_listed = q->is_waiting = true;
    evtimer_assign(&q->timer, r->base, query_on_timer, q);
    if (query_timer_start(q) < 0) {
        query_free(q);
        return NULL;
    }
    resolve_raise(r);
    return q;
}

static void queries_fail(struct resolver *r, enum exit_result why)
{
    struct resolve_answer answer = {.result = why};
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &r->queries)
        query_finish(list_entry(it, struct query, link), &answer);
}

/* Asks what waits, if the way is open. */
static void queries_start(struct resolver *r)
{
    struct list *it, *tmp;
    int ready;

    list_for_each_safe (it, tmp, &r->queries) {
        struct query *q = list_entry(it, struct query, link);

        if (!q->is_waiting)
            continue;
        if (r->near)
            resolve_near_refresh(r->near, false);
        ready = r->far ? resolve_far_ready(r->far) : 0;
        if (ready > 0)
            queries_fail(r, (enum exit_result)ready);
        if (ready != 0)
            return;
        resolve_ask(q);
    }
}

void resolve_again(struct resolver *r, enum exit_result why)
{
    struct list *it, *tmp;

    resolve_cancel(r);
    list_for_each_safe (it, tmp, &r->queries) {
        struct query *q = list_entry(it, struct query, link);

        if (q->is_waiting && why == EXIT_OK)
            continue;
        /* What was told already is all that they get; a way out that keeps breaking is none. */
        if (q->is_early || q->n_restarts > 1 || why != EXIT_OK) {
            struct resolve_answer answer = {.result = why == EXIT_OK ? EXIT_E_DOWN : why};

            query_finish(q, &answer);
            continue;
        }
        /* One limit for the whole, however often the way breaks. */
        if (q->n_found > 0)
            query_timer_start(q);
        q->is_waiting = true;
        q->n_found = 0;
        q->n_restarts++;
    }
    resolve_raise(r);
}

static void restart(struct resolver *r)
{
    struct list *it, *tmp;

    r->restart_due = false;
    list_for_each_safe (it, tmp, &r->queries)
        list_entry(it, struct query, link)->n_restarts = 0;
    resolve_cache_forget_failures(&r->cache);
    if (r->far)
        resolve_far_reset(r->far);
    resolve_again(r, EXIT_OK);
    if (r->near)
        resolve_near_refresh(r->near, true);
}

static void on_work(evutil_socket_t fd, short what, void *arg)
{
    struct resolver *r = arg;

    if (r->restart_due)
        restart(r);
    if (r->far)
        resolve_far_work(r->far);
    queries_start(r);
    lookups_tell(r);
}

/* ---- the interface ---- */

int resolver_new(const struct resolver_params *params, struct resolver **ret)
{
    struct resolver *r = calloc(1, sizeof(*r));
    int error;

    if (!r)
        return -ENOMEM;
    r->base = params->base;
    r->exit = params->exit;
    r->now = params->now ? params->now : clock_now_ns;
    list_init(&r->queries);
    list_init(&r->abandoned);
    list_init(&r->ready);
    event_assign(&r->work, r->base, -1, EV_TIMEOUT, on_work, r);
    resolve_timer_init(r);
    error = hash_init(&r->table, 64);
    if (error == 0)
        error = resolve_cache_init(&r->cache, RESOLVE_CACHE_MAX);
    if (error == 0)
        error = r->exit ? resolve_far_new(r, params) : resolve_near_new(r);
    if (error < 0) {
        resolver_free(r);
        return error;
    }
    *ret = r;
    return 0;
}

void resolver_free(struct resolver *r)
{
    struct list *it, *tmp;

    if (!r)
        return;
    if (r->channel) {
        resolve_cancel(r);
        ares_destroy(r->channel);
    }
    queries_fail(r, EXIT_E_DOWN);
    list_for_each_safe (it, tmp, &r->ready)
        lookup_free(list_entry(it, struct lookup, link));
    resolve_far_free(r->far);
    resolve_near_free(r->near);
    event_del(&r->timer);
    event_del(&r->work);
    resolve_cache_deinit(&r->cache);
    hash_deinit(&r->table);
    r->is_freed = true;
    if (!r->is_telling)
        free(r);
}

static void lookup_start(struct lookup *l, const char *text)
{
    struct resolver *r = l->r;
    struct resolve_answer literal = {.result = EXIT_OK, .n = 1};
    const struct resolve_answer *known;
    char name[RESOLVE_NAME_MAX + 1];
    struct query *q;

    if (addr_parse_ip(text, 0, &literal.addrs[0])) {
        lookup_ready(l, &literal);
        return;
    }
    if (!resolve_name_canonical(text, name) || (r->far && !dns_name_is_global(name))) {
        lookup_fail(l, EXIT_E_NAME);
        return;
    }
    known = resolve_cache_get(&r->cache, name, r->now());
    if (known) {
        lookup_ready(l, known);
        return;
    }
    q = query_find(r, name);
    if (!q && r->n_lookups <= RESOLVE_PENDING_MAX)
        q = query_new(r, name);
    if (!q || r->n_lookups > RESOLVE_PENDING_MAX) {
        lookup_fail(l, EXIT_E_CAPACITY);
        return;
    }
    list_append(&q->lookups, &l->link);
    if (q->is_early) {
        query_answer(q, &literal);
        lookup_ready(l, &literal);
    }
}

int resolver_lookup(struct resolver *r, const char *name, exit_on_resolved *on_resolved, void *user,
                    struct lookup **ret)
{
    struct lookup *l = r->n_lookups < LOOKUPS_MAX ? calloc(1, sizeof(*l)) : NULL;

    if (!l)
        return -ENOMEM;
    l->r = r;
    l->on_resolved = on_resolved;
    l->user = user;
    list_init(&l->link);
    r->n_lookups++;
    lookup_start(l, name);
    *ret = l;
    return 0;
}

void resolver_forget(struct lookup *l)
{
    lookup_free(l);
}

void resolver_restart(struct resolver *r)
{
    /* The exit may find out that its way is another one while c-ares sends. */
    r->restart_due = true;
    resolve_raise(r);
}

int resolver_set_servers(struct resolver *r, const struct addr *servers, size_t n)
{
    return resolve_far_set_servers(r->far, servers, n);
}
