/*
 * TCP: each connection that was caught is dialled on, and the two streams are joined
 *
 * The app's connect(2) has succeeded by the time we hear of it (tproxy completes the
 * handshake in the kernel), so a far side that cannot be reached shows as a reset right
 * after, never as an end of file: a stream that was cut short must not look whole. Until
 * the far side is there the app's stream is paused, and its bytes wait in the kernel.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/log.h"
#include "relay/front/gate_impl.h"

enum {
    FLOW_APP,
    FLOW_FAR,
};

struct gate_flow {
    struct gate *gate;
    struct list link;  /* gate->flows */
    struct dial *dial; /* under way; or NULL */
    struct splice pair;
};

static void flow_free(struct gate_flow *flow)
{
    struct gate *g = flow->gate;

    if (flow->dial)
        g->params.exit->ops->hang_up(flow->dial);
    splice_deinit(&flow->pair);
    list_remove(&flow->link);
    g->n_flows--;
    counter_sub(&g->params.counters->gate_flows, 1);
    free(flow);
}

static bool flow_on_crossed(void *user, struct splice_end *from, size_t len)
{
    struct gate_flow *flow = user;
    struct counters *counters = flow->gate->params.counters;

    counter_add(from == &flow->pair.ends[FLOW_APP] ? &counters->up_bytes : &counters->down_bytes,
                len);
    return true;
}

static void flow_on_ended(void *user)
{
    flow_free(user);
}

static const struct splice_events flow_events = {
    .on_crossed = flow_on_crossed,
    .on_ended = flow_on_ended,
};

/* At once: aborted and freed, which is a reset with nothing before it. */
static void gate_tcp_reset(struct gate *g, struct stream *app)
{
    counter_add(&g->params.counters->gate_failed, 1);
    stream_abort(app, -ECONNRESET);
    stream_free(app);
}

static void flow_fail(struct gate_flow *flow)
{
    struct splice_end *app = &flow->pair.ends[FLOW_APP];
    struct stream *stream = app->stream;

    app->stream = NULL;
    gate_tcp_reset(flow->gate, stream);
    flow_free(flow);
}

static void flow_on_dialed(void *user, enum exit_result result, struct stream *stream,
                           const struct addr *relayed)
{
    struct gate_flow *flow = user;

    flow->dial = NULL;
    if (result == EXIT_OK) {
        splice_add(&flow->pair, FLOW_FAR, stream, false);
        return;
    }
    log_debug("gate: a connection could not be made (%d)", (int)result);
    if (result == EXIT_E_DOWN)
        log_limited(LOG_LEVEL_WARNING, "gate: the relay is out of reach: connections are reset");
    flow_fail(flow);
}

static struct gate_flow *flow_new(struct gate *g, struct stream *app)
{
    struct gate_flow *flow = NULL;

    if (g->n_flows < GATE_FLOWS_MAX)
        flow = calloc(1, sizeof(*flow));
    if (!flow) {
        log_limited(LOG_LEVEL_WARNING, "gate: too many connections: one was reset");
        return NULL;
    }
    flow->gate = g;
    list_append(&g->flows, &flow->link);
    g->n_flows++;
    counter_add(&g->params.counters->gate_flows, 1);
    splice_init(&flow->pair, &flow_events, flow);
    splice_add(&flow->pair, FLOW_APP, app, false);
    return flow;
}

void gate_tcp_take(struct gate *g, struct stream *app, const struct addr *to)
{
    struct exit *exit = g->params.exit;
    struct gate_flow *flow = NULL;
    struct addr peer = *to;

    counter_add(&g->params.counters->gate_connects, 1);
    if (gate_is_router(g, to) && g->params.on_service &&
        g->params.on_service(g->params.service_arg, app, to->port))
        return;
    if (to->port == GATE_DNS_PORT)
        peer = gate_dns_server(g->dns);
    if (exit->ops->dial && peer.port != 0 && !gate_is_inside(g, &peer))
        flow = flow_new(g, app);
    if (!flow)
        gate_tcp_reset(g, app);
    else if (exit->ops->dial(exit, &peer, flow_on_dialed, flow, &flow->dial) < 0)
        flow_fail(flow);
}

void gate_tcp_accept(struct gate *g, int fd)
{
    struct stream *app;
    struct addr to;

    if (sock_local_addr(fd, &to) < 0) {
        close(fd);
        return;
    }
    app = stream_accept(g->params.pool, fd, NULL, false, GATE_PENDING_MAX);
    if (app)
        gate_tcp_take(g, app, &to);
}

void gate_tcp_free_all(struct gate *g)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &g->flows) {
        struct gate_flow *flow = list_entry(it, struct gate_flow, link);

        for (int i = 0; i < 2; i++)
            if (flow->pair.ends[i].stream)
                stream_abort(flow->pair.ends[i].stream, -ECONNRESET);
        flow_free(flow);
    }
}
