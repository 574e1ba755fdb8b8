/*
 * What fronts want, what relays do, reloads and the passing of time in any order: nothing
 * may be used after it ended, nobody may be left without an answer, and nothing may be left
 * over. A sanitizer build is what this is for; world_free() looks for what was left.
 */
#include <errno.h>
#include <stdio.h>

#include "common/net/stream.h"
#include "tests/support/upstream_world.h"

#define N_WORLDS 40
#define N_STEPS  150

static struct upstream_world *w;
static uint64_t random_state;
static unsigned int n_opened, n_dialed, n_lost, n_refused,
    n_moved; /* of all worlds: that it was worth it */

static const char *const server_names[] = {SERVER_A, SERVER_B, SERVER_C};
static const char *const hosts[] = {HOST_A, HOST_B, HOST_C};

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
    static const char *const peers[] = {PEER, PEER, PEER2, "203.0.113.11:1", PEER6};

    return peers[dice(5)];
}

static struct fake_server *any_server(void)
{
    return world_server(w, server_names[dice(3)]);
}

static struct list *any_of(struct list *head)
{
    unsigned int n = 0, chosen;
    struct list *it;

    for (it = head->next; it != head; it = it->next)
        n++;
    if (n == 0)
        return NULL;
    /* The young ones are of more interest. */
    chosen = dice(2) ? dice(n) : n - 1 - dice(n < 6 ? n : 6);
    for (it = head->next; chosen > 0; chosen--)
        it = it->next;
    return it;
}

/* ---- the front ---- */

static void on_assoc(struct front_assoc *f);
static void on_dial(struct front_dial *d);

static void open_any(void)
{
    struct assoc_want want = {.v4 = true};
    struct front_assoc *f;

    want.tcp = dice(3) == 0;
    want.v6 = !want.tcp && dice(2);
    want.v4 = !want.v6 || dice(2);
    want.even_port = !want.tcp && dice(6) == 0;
    want.reserve = want.even_port && dice(2);
    f = front_open(w, &want);
    if (f->assoc)
        f->then = on_assoc;
}

static void dial_any(void)
{
    front_dial(w, any_peer())->then = on_dial;
}

static void close_any(void)
{
    struct list *it = any_of(&w->assocs);

    if (it)
        front_close(list_entry(it, struct front_assoc, link));
}

static void hang_up_any(void)
{
    struct list *it = any_of(&w->dials);

    if (it)
        front_hang_up(list_entry(it, struct front_dial, link));
}

static void do_something_within(void)
{
    switch (dice(12)) {
    case 0:
        open_any();
        break;
    case 1:
        dial_any();
        break;
    case 2:
        close_any();
        break;
    case 3:
        hang_up_any();
        break;
    default:
        break;
    }
}

static void on_assoc(struct front_assoc *f)
{
    do_something_within();
    f->closes = dice(6) == 0;
}

static void on_dial(struct front_dial *d)
{
    do_something_within();
    if (dice(6) == 0)
        front_hang_up(d);
}

static void use_any_assoc(void)
{
    struct list *it = any_of(&w->assocs);
    struct front_assoc *f = it ? list_entry(it, struct front_assoc, link) : NULL;
    struct addr peer = at(PEER);
    char text[32];

    if (!f || !f->assoc)
        return;
    switch (dice(3)) {
    case 0:
        (void)w->exit->ops->permit(f->assoc, &peer);
        break;
    case 1:
        w->exit->ops->send(f->assoc, &peer, (const uint8_t *)"hello", 5, dice(2));
        break;
    default:
        snprintf(text, sizeof(text), "203.0.113.77:%u", dice(60000) + 1);
        if (f->n_streams < 8)
            (void)front_connect(f, text, dice(1000));
        break;
    }
}

/* ---- the relays ---- */

static void server_changes_its_mind(void)
{
    static const enum stun_method methods[] = {STUN_ALLOCATE, STUN_CONNECT, STUN_CONNECTION_BIND,
                                               STUN_REFRESH, STUN_CREATE_PERMISSION};
    static const unsigned int codes[] = {300, 403, 437, 440, 446, 447, 486, 508};
    struct fake_server *server = any_server();
    struct server_rule *rule = &server->rules[methods[dice(5)]];

    server->deaf = dice(6) == 0;
    server->refuses = dice(6) == 0 ? -ECONNREFUSED : 0;
    server->why = "connection refused";
    server->no_v6 = dice(4) == 0;
    server->alternate = any_server()->addr;
    rule->hold = dice(3) == 0;
    rule->code = dice(3) == 0 ? codes[dice(8)] : 0;
}

static void drop_any_link(void)
{
    struct list *it = any_of(&w->links);
    struct world_link *l = it ? list_entry(it, struct world_link, link) : NULL;

    if (!l || l->closed || !l->wire->link || l->wire->far)
        return;
    l->closed = true;
    fake_wire_close(l->wire, dice(2) ? -ECONNRESET : 0, "closed");
}

static void peer_connects(void)
{
    struct list *it = any_of(&w->assocs);
    struct front_assoc *f = it ? list_entry(it, struct front_assoc, link) : NULL;

    if (!f || !f->assoc || !f->assoc->carrier.session || !f->assoc->want.tcp || f->n_streams > 8)
        return;
    for (it = w->links.next; it != &w->links; it = it->next) {
        struct world_link *l = list_entry(it, struct world_link, link);

        if (l->wire->link == session_link(f->assoc->carrier.session)) {
            world_attempt(w, l, "203.0.113.78:99");
            return;
        }
    }
}

static void far_does_something(void)
{
    struct list *it = any_of(&w->connections);
    struct far *far = it ? list_entry(it, struct world_connection, link)->far : NULL;

    if (!far)
        return;
    if (dice(2))
        far_fin(far);
    else
        far_reset(far);
}

static void answer_some(void)
{
    static const enum stun_method methods[] = {STUN_ALLOCATE, STUN_CONNECT, STUN_CONNECTION_BIND,
                                               STUN_REFRESH};

    world_answer_held(w, methods[dice(4)]);
}

/* ---- all of it ---- */

static void front_does_something(void)
{
    switch (dice(8)) {
    case 0:
    case 1:
        open_any();
        break;
    case 2:
    case 3:
        dial_any();
        break;
    case 4:
        close_any();
        break;
    case 5:
        hang_up_any();
        break;
    default:
        use_any_assoc();
        break;
    }
}

static void relay_does_something(void)
{
    switch (dice(12)) {
    case 0:
    case 1:
        server_changes_its_mind();
        break;
    case 2:
    case 3:
        drop_any_link();
        break;
    case 4:
        if (dice(4) == 0)
            world_drop(w, any_server());
        if (dice(8) == 0)
            world_forget(w, any_server());
        break;
    case 5:
        peer_connects();
        break;
    case 6:
    case 7:
        far_does_something();
        break;
    default:
        answer_some();
        break;
    }
}

static void step(void)
{
    unsigned int n = dice(20);

    if (n < 9)
        front_does_something();
    else if (n < 15)
        relay_does_something();
    else if (n < 18)
        world_pass_ms(w, dice(3) ? dice(300) : dice(30000));
    else if (n == 18)
        world_settle(w);
    else if (dice(10) == 0)
        ck_assert_int_eq(upstream_exit_set_conf(w->exit, &w->conf[dice(2)]), 0);
}

static void heal(void)
{
    for (unsigned int i = 0; i < 3; i++) {
        struct fake_server *server = world_server(w, server_names[i]);
        struct fake_server now = {.addr = server->addr,
                                  .password = server->password,
                                  .mobile = server->mobile,
                                  .n_doubled = server->n_doubled};

        *server = now;
    }
    world_pass_ms(w, 120000);
}

/* Whoever asked has had one answer, unless it did not wait for it. */
static void check_answers(void)
{
    for (struct list *it = w->assocs.next; it != &w->assocs; it = it->next) {
        const struct front_assoc *f = list_entry(it, struct front_assoc, link);

        ck_assert_uint_le(f->n_open, 1);
        ck_assert_uint_le(f->n_lost, 1);
        ck_assert(f->n_open == 1 || !f->assoc);
        ck_assert(f->n_lost == 0 || f->opened.result == EXIT_OK);
        ck_assert(!f->assoc || !f->assoc->carrier.session ||
                  session_is_live(f->assoc->carrier.session));
        n_opened += f->n_open == 1 && f->opened.result == EXIT_OK;
        n_refused += f->n_open == 1 && f->opened.result != EXIT_OK;
        n_lost += f->n_lost;
    }
    for (struct list *it = w->dials.next; it != &w->dials; it = it->next) {
        const struct front_dial *d = list_entry(it, struct front_dial, link);

        ck_assert_uint_le(d->n_done, 1);
        ck_assert_ptr_null(d->dial);
        n_dialed += d->n_done == 1 && d->result == EXIT_OK;
        n_refused += d->n_done == 1 && d->result != EXIT_OK;
    }
    for (unsigned int i = 0; i < 3; i++)
        ck_assert_uint_eq(world_server(w, server_names[i])->n_doubled, 0);
}

static void world_begin(unsigned int seed)
{
    static const unsigned int protocols[] = {LISTEN_TCP, LISTEN_TLS, LISTEN_UDP};

    random_state = seed * 0x9E3779B97F4A7C15u;
    w = world_new(seed % 3);
    for (unsigned int i = 0; i < 3; i++) {
        world_url(w, 0, hosts[i], protocols[dice(3)]);
        world_url(w, 1, hosts[2 - i], LISTEN_TCP);
        world_server(w, server_names[i])->mobile = seed % 5 > 0;
    }
    world_go(w, seed % 2);
}

START_TEST(any_order_of_events_leaves_nobody_unanswered_and_nothing_behind)
{
    for (unsigned int seed = 1; seed <= N_WORLDS; seed++) {
        world_begin(seed);
        for (unsigned int n = 0; n < N_STEPS; n++)
            step();
        if (seed % 4 != 0) {
            heal();
            check_answers();
            ck_assert_int_eq(world_status(w, false).state, UPSTREAM_READY);
        }
        n_moved += (unsigned int)w->counters.upstream_moves;
        world_free(w);
    }
    ck_assert_uint_gt(n_opened, 300);
    ck_assert_uint_gt(n_dialed, 300);
    ck_assert_uint_gt(n_lost, 100);
    ck_assert_uint_gt(n_refused, 100);
    ck_assert_uint_gt(n_moved, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exit/upstream/any_order");
    TCase *t = tcase_create("any order");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, any_order_of_events_leaves_nobody_unanswered_and_nothing_behind);
    suite_add_tcase(s, t);
    return suite_run(s);
}
