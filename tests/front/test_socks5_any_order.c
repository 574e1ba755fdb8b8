/*
 * Whatever apps, peers and the exit do, and in whatever order: nothing is touched after its end
 * (a sanitizer looks), and nothing is left
 */
#include "tests/front/socks5_env.h"

#define ROUNDS 60
#define STEPS  400
#define APPS   24

static struct far *fars[APPS]; /* apps and far sides */
static uint64_t state = 0x9E3779B97F4A7C15u;
static int sock; /* of the apps, for datagrams */

static uint32_t random_below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % n;
}

static struct far *any_far(void)
{
    return fars[random_below(APPS)];
}

static void keep(struct far *far)
{
    size_t at = random_below(APPS);

    for (int i = 0; i < 8 && fars[at] && !fars[at]->freed; i++)
        at = random_below(APPS);
    if (far)
        fars[at] = far;
}

static enum exit_result any_result(void)
{
    return random_below(4) ? EXIT_OK : (enum exit_result)(1 + random_below(10));
}

static void step_say(struct far *app)
{
    static const char *const peers[] = {"203.0.113.9", "2001:db8:9::9", "peer.example", "0.0.0.0"};
    uint8_t buf[400] = "\x05\x01\x00";
    size_t len = 3;

    if (random_below(12) == 0)
        len = random_below(sizeof(buf)); /* rubbish, mostly */
    else if (random_below(8))
        len = request_make(buf, 300, (uint8_t)(1 + random_below(3)), peers[random_below(4)],
                           (uint16_t)random_below(3)) +
              random_below(2) * random_below(90);
    far_write(app, buf, len);
}

static void step_far(void)
{
    struct far *far = any_far();

    if (!far)
        return;
    switch (random_below(16)) {
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
        step_say(far);
        break;
    }
}

static void step_dial_and_lookup(void)
{
    struct list *dials = &env.exit.dials, *lookups = &env.exit.lookups;
    enum exit_result result = any_result();
    char text[ADDR_STRLEN];

    if (random_below(2) && !list_empty(dials))
        keep(fake_exit_dialed(
            &env.exit,
            addr_format(&list_entry(dials->next, struct dial, link)->peer, text, sizeof(text)),
            result));
    else if (!list_empty(lookups))
        fake_exit_resolved(&env.exit, list_entry(lookups->next, struct lookup, link)->name, result,
                           result == EXIT_OK ? "203.0.113.9 2001:db8:9::9 203.0.113.10" : "");
}

static void step_assoc(void)
{
    struct assoc *a = env.exit.last;
    struct addr from = at("203.0.113.9:6000");

    if (!a)
        return;
    if (!a->answered)
        fake_exit_answer(a);
    else if (random_below(5) == 0)
        fake_exit_lose(a, any_result() == EXIT_OK ? EXIT_E_DOWN : EXIT_E_FORBIDDEN);
    else if (a->want.tcp)
        keep(fake_exit_accept(a, random_below(3) ? "203.0.113.9:1" : "203.0.113.8:1"));
    else
        a->events->on_datagram(a->user, &from, (const uint8_t *)"data", 4, fake_now_ns);
    tx_flush(env.tx);
}

/* To the port that the app was told, if it was told one. */
static void step_datagram(void)
{
    static const char *const peers[] = {"203.0.113.9", "a.example", "b.example"};
    struct far *app = NULL;
    struct socks5_target t;
    struct sockaddr_storage sa;
    uint8_t buf[100];
    struct writer w = writer_make(buf, sizeof(buf));
    struct addr to;
    const char *peer = peers[random_below(3)];

    for (int i = 0; i < APPS; i++)
        if (fars[i] && !fars[i]->freed && fars[i]->n_got >= 10 && fars[i]->got[1] == 0 &&
            fars[i]->got[4] == 127)
            app = fars[i];
    if (!app)
        return;
    to = addr_make(ADDR_IPV4, app->got + 4, (uint16_t)(app->got[8] << 8 | app->got[9]));
    writer_zeros(&w, 3);
    ck_assert(socks5_target_of(peer, strlen(peer), 6000, &t));
    socks5_put_target(&w, &t);
    (void)sendto(sock, buf, w.len, 0, (struct sockaddr *)&sa, addr_to_sockaddr(&to, &sa));
    event_base_loop(env.base, EVLOOP_NONBLOCK);
}

static void step(void)
{
    struct exit *exit = &env.exit.exit;

    switch (random_below(14)) {
    case 0:
        keep(app_ready());
        break;
    case 1:
        env_pass(random_below(3) ? 1 : random_below(70));
        break;
    case 2:
        env.exit.open_later = random_below(2);
        env.exit.open_v4 = any_result();
        env.exit.open_v6 = any_result();
        env.exit.open_no_memory = random_below(12) == 0;
        env.exit.n_deny = 0;
        if (random_below(4) == 0)
            fake_exit_deny(&env.exit, "203.0.113.9");
        ck_assert_ptr_nonnull(exit->ops);
        break;
    case 3:
    case 4:
        step_dial_and_lookup();
        break;
    case 5:
    case 6:
        step_assoc();
        break;
    case 7:
    case 8:
    case 9:
        step_datagram();
        break;
    case 10:
        fake_streams_turn();
        break;
    default:
        step_far();
        break;
    }
}

START_TEST(s40_any_order_of_events_leaves_nothing_behind)
{
    uint64_t n_joined = 0, n_datagrams = 0, n_bound = 0;
    struct addr local = addr_make_v4(INADDR_LOOPBACK, 0);

    sock = sock_bind(&local, SOCK_DGRAM, 0);
    for (int i = 0; i < ROUNDS; i++) {
        env_begin();
        memset(fars, 0, sizeof(fars));
        for (int n = 0; n < STEPS; n++)
            step();
        n_joined += env.counters.down_bytes;
        n_datagrams += env.counters.up_packets;
        n_bound += env.counters.socks_bind;
        env_end();
    }
    close(sock);
    /* It went somewhere. */
    ck_assert_uint_gt(n_joined, 1000);
    ck_assert_uint_gt(n_datagrams, 50);
    ck_assert_uint_gt(n_bound, 50);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/socks5_any_order");
    TCase *t = tcase_create("any order");

    tcase_add_test(t, s40_any_order_of_events_leaves_nothing_behind);
    suite_add_tcase(s, t);
    return suite_run(s);
}
