/*
 * Whatever the app, peers, the exit and the keeper do, and in whatever order: nothing is touched
 * after its end (a sanitizer looks), and nothing is left
 */
#include "tests/front/gate_env.h"

#define ROUNDS 30
#define STEPS  500
#define FARS   24
#define APPS   12

static struct far *fars[FARS];
static uint64_t state = 0x9E3779B97F4A7C15u;

static const char *const peers[] = {"203.0.113.9:50000", "203.0.113.10:443", "198.51.100.7:50000",
                                    "203.0.113.9:50001"};

static uint32_t random_below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % n;
}

static enum exit_result any_result(void)
{
    return random_below(4) ? EXIT_OK : (enum exit_result)(1 + random_below(10));
}

static void keep(struct far *far)
{
    size_t i = random_below(FARS);

    for (int n = 0; n < 8 && fars[i] && !fars[i]->freed; n++)
        i = random_below(FARS);
    if (far)
        fars[i] = far;
}

static struct assoc *any_assoc(void)
{
    struct list *it = &env.exit.assocs;

    if (list_empty(it))
        return NULL;
    for (uint32_t n = random_below(8) + 1; n > 0 || it == &env.exit.assocs; n -= n > 0)
        it = it->next;
    return list_entry(it, struct assoc, link);
}

static void step_app(void)
{
    static const char query[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
                                "\x07"
                                "example\x03"
                                "com\x00\x00\x01\x00\x01";
    bool is_v6 = random_below(4) == 0;
    char from[64];

    snprintf(from, sizeof(from), "%s:%u", is_v6 ? "[2001:db8:1::2]" : "192.0.2.2",
             40000 + random_below(APPS));
    if (random_below(4) == 0)
        app_sends_bytes(from, is_v6 ? "[2001:db8:1::1]:53" : "192.0.2.1:53", query,
                        random_below(8) ? sizeof(query) - 1 : random_below(sizeof(query)));
    else
        app_sends(from, is_v6 ? PEER_V6 : peers[random_below(4)], "data");
}

static void step_tcp(void)
{
    struct far *far = fars[random_below(FARS)];

    if (random_below(4) == 0 || !far) {
        keep(app_connects(random_below(4) ? peers[random_below(4)] : "192.0.2.1:53"));
        return;
    }
    switch (random_below(8)) {
    case 0:
        far_fin(far);
        break;
    case 1:
        far_reset(far);
        break;
    case 2:
        far->window = random_below(2) ? far->n_got : SIZE_MAX;
        break;
    case 3:
        far_drain(far);
        break;
    default:
        far_write(far, "bytes", 5);
        break;
    }
}

static void step_dial(void)
{
    struct list *dials = &env.exit.dials;
    char text[ADDR_STRLEN];

    if (!list_empty(dials))
        keep(fake_exit_dialed(
            &env.exit,
            addr_format(&list_entry(dials->next, struct dial, link)->peer, text, sizeof(text)),
            any_result()));
}

/* What a server would say to the last query that was sent, or something else. */
static void step_far_datagram(struct assoc *a)
{
    const struct fake_datagram *d = &env.exit.sent[random_below(FAKE_EXIT_SENT_MAX)];
    uint8_t buf[FAKE_DATA_MAX];

    memcpy(buf, d->data, d->len);
    if (d->len > 12)
        buf[2] |= 0x80;
    if (random_below(2))
        far_sends_bytes(a, random_below(4) ? SERVER : PEER, buf, d->len);
    else
        far_sends_bytes(a, a->want.v4 ? peers[random_below(4)] : PEER_V6, "down", 4);
}

static void step_assoc(void)
{
    struct assoc *a = any_assoc();
    struct addr ip = at(peers[random_below(4)]);

    if (!a)
        return;
    if (!a->answered) {
        fake_exit_answer(a);
    } else if (random_below(12) == 0) {
        fake_exit_lose(a, EXIT_E_DOWN);
    } else if (random_below(8) == 0) {
        ip.port = 0;
        a->events->on_permitted(a->user, &ip, any_result());
    } else if (random_below(8) == 0) {
        fake_exit_icmp(a, random_below(2) ? peers[random_below(4)] : SERVER, 3, 3, 0);
    } else {
        step_far_datagram(a);
    }
    tx_flush(env.tx);
}

static void step_keeper(void)
{
    struct keeper_want want;

    if (env.keeper < 0)
        return;
    if (random_below(200) == 0) {
        close(env.keeper);
        env.keeper = -1;
        env_turn();
    } else if (env.n_sockets < 1000 && env_wanted(&want)) {
        env_answer_want(&want, random_below(3) ? 0 : -EADDRINUSE);
    }
}

static void step_settings(void)
{
    env.exit.open_later = random_below(2);
    env.exit.open_v4 = any_result();
    env.exit.open_v6 = any_result();
    env.exit.open_no_memory = random_below(12) == 0;
    env.exit.permit_later = random_below(2);
    env.exit.n_deny = 0;
    if (random_below(4) == 0)
        fake_exit_deny(&env.exit, random_below(2) ? "203.0.113.9" : "9.9.9.9");
    if (env.exit.n_sent > FAKE_EXIT_SENT_MAX)
        env.exit.n_sent = 0;
}

static void step(void)
{
    switch (random_below(12)) {
    case 0:
        env_pass(random_below(3) ? 1 : random_below(200));
        break;
    case 1:
        step_settings();
        break;
    case 2:
        fake_streams_turn();
        break;
    case 3:
        step_dial();
        break;
    case 4:
    case 5:
        step_tcp();
        break;
    case 6:
        step_keeper();
        break;
    case 7:
    case 8:
    case 9:
        step_assoc();
        break;
    default:
        step_app();
        break;
    }
    env.n_looked = env.n_said;
}

/* Loses the association from within send() or permit(), as a link that breaks does. */
static const struct exit_ops *plain_ops;
static struct exit_ops nasty_ops;

static void nasty_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                       bool dont_fragment)
{
    plain_ops->send(a, peer, data, len, dont_fragment);
    if (random_below(20) == 0)
        a->events->on_lost(a->user, EXIT_E_DOWN);
}

static enum exit_result nasty_permit(struct assoc *a, const struct addr *peer)
{
    if (random_below(20) == 0)
        a->events->on_permitted(a->user, peer, EXIT_E_FORBIDDEN);
    if (random_below(20) > 0)
        return plain_ops->permit(a, peer);
    a->events->on_lost(a->user, EXIT_E_DOWN);
    return random_below(2) ? EXIT_E_DOWN : EXIT_PENDING;
}

START_TEST(s40_any_order_of_events_of_a_sealed_app_leaves_nothing_behind)
{
    uint64_t n_tcp = 0, n_up = 0, n_down = 0, n_dns = 0, n_failed = 0;

    for (int i = 0; i < ROUNDS; i++) {
        env_begin();
        plain_ops = env.exit.exit.ops;
        nasty_ops = *plain_ops;
        nasty_ops.send = nasty_send;
        nasty_ops.permit = nasty_permit;
        if (i % 2)
            env.exit.exit.ops = &nasty_ops;
        memset(fars, 0, sizeof(fars));
        for (int n = 0; n < STEPS; n++)
            step();
        n_tcp += env.counters.down_bytes;
        n_up += env.counters.up_packets;
        n_down += env.counters.down_packets;
        n_dns += env.counters.gate_dns;
        n_failed += env.counters.gate_dns_failed;
        env_end();
    }
    /* It went somewhere. */
    ck_assert_uint_gt(n_tcp, 1000);
    ck_assert_uint_gt(n_up, 500);
    ck_assert_uint_gt(n_down, 200);
    ck_assert_uint_gt(n_dns, n_failed + 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/gate_any_order");
    TCase *t = tcase_create("any order");

    tcase_add_test(t, s40_any_order_of_events_of_a_sealed_app_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return suite_run(s);
}
