/*
 * Requests, data, connections, closes, reloads and the passing of time in any
 * order: nothing may be used after it ended, and nothing may be left over. A
 * sanitizer build is what this is for; the counters are checked by world_free().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "relay/turn/mobility.h"
#include "tests/support/turn_world.h"

#define N_CLIENTS 6
#define N_STEPS   400

static struct world *w;
static struct fake_client *clients[N_CLIENTS];
static struct login logins[N_CLIENTS];
static struct far *fars[64];
static size_t n_fars;
static uint32_t last_id;
static uint64_t random_state;
/* The last ones given out (RFC 8016): some are good, some have been, some are another user's. */
static uint8_t tickets[4][MOBILITY_TICKET_LEN];
static unsigned int n_tickets;

/* xorshift64: the same steps for the same seed, everywhere. */
static unsigned int dice(unsigned int n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned int)(random_state % n);
}

static const char *any_peer(void)
{
    static const char *const peers[] = {PEER, PEER2, PEER6, "203.0.113.66:1"};

    return peers[dice(4)];
}

static void new_client(unsigned int i)
{
    static unsigned int port = 20000;
    char text[ADDR_STRLEN];

    if (w->n_clients == WORLD_CLIENTS)
        return;
    snprintf(text, sizeof(text), "198.51.100.77:%u", port++ % 40000 + 20000);
    clients[i] =
        world_client(w, dice(2) ? TRANSPORT_TCP : (enum transport)dice(N_TRANSPORTS), text);
    logins[i] = dice(4) ? login_old(clients[i], "alice", "wonderland")
                        : login_new(clients[i], "bob", "builder");
}

static void note_ticket(struct fake_client *c)
{
    struct reply reply;
    const uint8_t *ticket;
    size_t len;

    if (c->n_sent == 0)
        return;
    reply_read(c, &reply);
    ticket = stun_get(&reply.msg, STUN_MOBILITY_TICKET, &len);
    if (ticket)
        memcpy(tickets[n_tickets++ % 4], ticket, MOBILITY_TICKET_LEN);
}

/* Sends whatever was built, answered or not. */
static void tell(unsigned int i, struct req *r)
{
    struct fake_client *c = clients[i];

    req_end(r, &logins[i]);
    if (c->taken || (!c->flow && c->transport != TRANSPORT_UDP))
        return; /* its transport is gone */
    fake_client_forget(c);
    (void)fake_client_give(c, r->buf, r->b.len);
    note_ticket(c);
    if (dice(4) == 0 && !c->taken && c->flow)
        (void)fake_client_give(c, r->buf, r->b.len);
}

static void allocate(unsigned int i)
{
    struct req r;

    req_begin(&r, STUN_ALLOCATE);
    req_put_u8(&r, STUN_REQUESTED_TRANSPORT, dice(3) ? 17 : 6);
    if (dice(3) == 0)
        req_put_u8(&r, STUN_ADDITIONAL_ADDRESS_FAMILY, 2);
    if (dice(4))
        stun_put(&r.b, STUN_MOBILITY_TICKET, "", 0);
    w->exit.open_later = dice(3) == 0;
    w->exit.open_v4 = dice(6) ? EXIT_OK : EXIT_E_CAPACITY;
    w->exit.open_v6 = dice(6) ? EXIT_OK : EXIT_E_FAMILY;
    tell(i, &r);
}

static void refresh(unsigned int i)
{
    struct req r;

    req_begin(&r, STUN_REFRESH);
    stun_put_u32(&r.b, STUN_LIFETIME, dice(4) ? 600 : 0);
    if (dice(5) == 0)
        req_put_u8(&r, STUN_REQUESTED_ADDRESS_FAMILY, (uint8_t)(1 + dice(2)));
    if (dice(4))
        stun_put(&r.b, STUN_MOBILITY_TICKET, tickets[dice(4)], MOBILITY_TICKET_LEN);
    tell(i, &r);
}

static void client_sends(unsigned int i)
{
    struct fake_client *c = clients[i];

    if (c->taken || (!c->flow && c->transport != TRANSPORT_UDP))
        return;
    if (dice(2))
        give_channel_data(c, 0x4000u + dice(4), "data", dice(5));
    else
        give_send(c, any_peer(), "data", dice(5));
}

static void peer_request(unsigned int i)
{
    static const uint16_t methods[] = {STUN_CREATE_PERMISSION, STUN_CHANNEL_BIND, STUN_CONNECT};
    struct req r;

    req_begin(&r, methods[dice(3)]);
    stun_put_u32(&r.b, STUN_CHANNEL_NUMBER, (0x4000u + dice(4)) << 16);
    req_put_peer(&r, any_peer());
    w->exit.connect_later = dice(2);
    w->exit.connected = NULL;
    tell(i, &r);
    if (w->exit.connected && n_fars < 64)
        fars[n_fars++] = w->exit.connected;
}

static void connection_bind(unsigned int i)
{
    struct req r;

    req_begin(&r, STUN_CONNECTION_BIND);
    stun_put_u32(&r.b, STUN_CONNECTION_ID, dice(3) ? last_id : dice(1000));
    tell(i, &r);
    if (clients[i]->taken && clients[i]->far && n_fars < 64) {
        fars[n_fars++] = clients[i]->far;
        new_client(i);
    }
}

static void exit_does_something(void)
{
    struct assoc *a = w->exit.last;
    struct far *far;

    if (!a)
        return;
    if (!a->answered) {
        fake_exit_answer(a);
        return;
    }
    switch (dice(5)) {
    case 0:
        fake_exit_datagram(a, any_peer(), "data", dice(5));
        break;
    case 1:
        fake_exit_icmp(a, any_peer(), 3, 3, 0);
        break;
    case 2:
        far = a->want.tcp ? fake_exit_accept(a, any_peer()) : NULL;
        if (far && n_fars < 64)
            fars[n_fars++] = far;
        break;
    case 3:
        last_id = w->exit.connect_id;
        if (a->want.tcp && w->exit.connect_later) {
            far = fake_exit_connected(&w->exit, dice(3) ? EXIT_OK : EXIT_E_TIMEOUT);
            if (far && n_fars < 64)
                fars[n_fars++] = far;
        }
        break;
    default:
        if (dice(8) == 0)
            a->events->on_lost(a->user, EXIT_E_DOWN);
        break;
    }
}

static void stream_does_something(void)
{
    struct far *far = n_fars > 0 ? fars[dice((unsigned int)n_fars)] : NULL;

    if (!far)
        return;
    switch (dice(6)) {
    case 0:
        far_fin(far);
        break;
    case 1:
        far_reset(far);
        break;
    case 2:
        far->window = far->n_got;
        break;
    case 3:
        far_drain(far);
        break;
    default:
        far_write(far, "stream bytes", 12);
        break;
    }
}

static unsigned int n_moved;

static void step(void)
{
    unsigned int i = dice(N_CLIENTS);
    bool gone;

    switch (dice(14)) {
    case 0:
    case 1:
        allocate(i);
        break;
    case 2:
    case 12:
        refresh(i);
        break;
    case 13:
        client_sends(i);
        break;
    case 3:
    case 4:
        peer_request(i);
        last_id = w->exit.connect_id;
        break;
    case 5:
        connection_bind(i);
        break;
    case 6:
    case 7:
        exit_does_something();
        break;
    case 8:
    case 9:
        stream_does_something();
        break;
    case 10:
        gone = clients[i]->taken || (!clients[i]->flow && clients[i]->transport != TRANSPORT_UDP);
        if (dice(3) == 0 && !gone)
            fake_client_close(clients[i]);
        if (gone || !clients[i]->flow)
            new_client(i);
        break;
    default:
        world_pass(dice(40));
        turn_sweep(w->turn, fake_now_ns);
        fake_streams_turn();
        break;
    }
}

START_TEST(s40_any_order_of_events_leaves_nothing_behind)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        random_state = seed * 0x9E3779B97F4A7C15u;
        w = world_new();
        w->conf->max_bandwidth_per_allocation = seed % 2 ? 100 : 0;
        n_fars = 0;
        for (unsigned int i = 0; i < N_CLIENTS; i++)
            new_client(i);
        for (unsigned int n = 0; n < N_STEPS; n++)
            step();
        n_moved += (unsigned int)w->counters.allocations_moved;
        world_free(w);
    }
    ck_assert_uint_gt(n_moved, 50);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/any_order");
    TCase *t = tcase_create("any order");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, s40_any_order_of_events_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return suite_run(s);
}
