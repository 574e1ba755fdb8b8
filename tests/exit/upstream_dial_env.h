/* What the tests of dials and trunks share: one relay, one front. */
#pragma once

#include <errno.h>
#include <stdio.h>

#include "common/net/stream.h"
#include "tests/support/upstream_world.h"

static struct upstream_world *w;
static struct fake_server *a;

static inline void teardown(void)
{
    world_free(w);
    w = NULL;
}

static inline void setup_ready(void)
{
    w = world_ready(0);
    a = world_server(w, SERVER_A);
    front_close(front_open_v4(w)); /* find's own */
    world_settle(w);
}

static inline struct front_dial *dialed(const char *peer)
{
    struct front_dial *d = front_dial(w, peer);

    world_settle(w);
    assert_dialed(d, EXIT_OK);
    return d;
}

static inline struct world_connection *last_connection(void)
{
    return list_entry(w->connections.prev, struct world_connection, link);
}

static inline void drop_link(struct world_link *l)
{
    l->closed = true;
    fake_wire_close(l->wire, -ECONNRESET, "reset");
}

static inline void hang_up_next(struct front_dial *d)
{
    struct list *it = d->link.next;

    if (it != &d->world->dials)
        front_hang_up(list_entry(it, struct front_dial, link));
}
