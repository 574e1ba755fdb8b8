/*
 * The keeper's connection, and the cache of the sockets that it makes
 */
#include <fcntl.h>

#include "tests/front/gate_env.h"

static void setup(void)
{
    env_begin();
}

static void teardown(void)
{
    env_end();
}

static void far_sends(const char *peer, const char *text)
{
    far_sends_bytes(env.exit.last, peer, text, strlen(text));
}

static void peer_of(unsigned int i, char *ret, size_t cap)
{
    snprintf(ret, cap, "203.0.113.%u:%u", i % 250 + 1, 50000 + i);
}

static int open_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 2048; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

START_TEST(at_the_start_a_raw_socket_of_each_family_is_asked_for)
{
    struct keeper_want want[2];

    env_end();
    env_begin_with(1);
    ck_assert(env_wanted(&want[0]));
    ck_assert(env_wanted(&want[1]));
    ck_assert(!env_wanted(&want[1]));
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(want[i].version, KEEPER_VERSION);
        ck_assert_uint_eq(want[i].kind, KEEPER_RAW);
        ck_assert_uint_eq(want[i].addr.family, i ? ADDR_IPV6 : ADDR_IPV4);
    }
    ck_assert_uint_ne(want[0].id, want[1].id);
}
END_TEST

START_TEST(without_a_raw_socket_nothing_breaks_and_drops_are_counted)
{
    struct keeper_want want;

    env_end();
    env_begin_with(1);
    for (int i = 0; i < 2; i++) {
        ck_assert(env_wanted(&want));
        env_answer_want(&want, -EINVAL);
    }
    app_sends(APP, PEER, "ping");
    far_sends(PEER, "too early");
    check_silence();
    ck_assert_uint_eq(env.counters.drop_send, 1);
    ck_assert_uint_eq(env_keeper_works(), 1);
    far_sends(PEER, "pong");
    check_said_as(PEER, APP, "pong");
    fake_exit_deny(&env.exit, "203.0.113.10");
    app_sends(APP, "203.0.113.10:50000", "x");
    check_silence();
}
END_TEST

START_TEST(a_refused_peer_is_served_raw_and_asked_for_again_later)
{
    struct keeper_want want;

    app_sends(APP, PEER, "ping");
    far_sends(PEER, "one");
    ck_assert(env_wanted(&want));
    env_answer_want(&want, -EADDRINUSE);
    check_said_raw(PEER, APP, "one");
    far_sends(PEER, "two");
    check_said_raw(PEER, APP, "two");
    ck_assert(!env_wanted(&want));
    env_pass(10);
    far_sends(PEER, "three");
    check_said_raw(PEER, APP, "three");
    ck_assert_uint_eq(env_keeper_works(), 1);
    far_sends(PEER, "four");
    check_said_as(PEER, APP, "four");
}
END_TEST

START_TEST(a_port_that_an_app_may_want_for_itself_is_not_taken)
{
    static const struct {
        const char *peer;
        bool is_taken;
    } cases[] = {{"203.0.113.9:443", true},    {"203.0.113.9:1023", true},
                 {"203.0.113.9:1024", false},  {"203.0.113.9:5060", false},
                 {"203.0.113.9:32767", false}, {"203.0.113.9:32768", true}};

    app_sends(APP, PEER, "ping");
    for (size_t i = 0; i < 6; i++) {
        far_sends(cases[i].peer, "one");
        check_said_raw(cases[i].peer, APP, "one");
        ck_assert_uint_eq(env_keeper_works(), cases[i].is_taken);
    }
    ck_assert_uint_eq(env.counters.gate_peers, 3);
}
END_TEST

START_TEST(the_least_recently_used_makes_room)
{
    char peer[32];
    int before = open_fds();

    app_sends(APP, PEER, "ping");
    for (unsigned int i = 0; i < GATE_PEERS_MAX; i++) {
        peer_of(i, peer, sizeof(peer));
        far_sends(peer, "x");
        ck_assert_uint_eq(env_keeper_works(), 1);
    }
    peer_of(0, peer, sizeof(peer));
    far_sends(peer, "used again");
    env.n_looked = env.n_said;
    peer_of(GATE_PEERS_MAX, peer, sizeof(peer));
    far_sends(peer, "new");
    check_said_raw(peer, APP, "new");
    ck_assert_uint_eq(env.counters.gate_peers, GATE_PEERS_MAX);
    ck_assert_int_eq(open_fds(), before + GATE_PEERS_MAX - 1);
    peer_of(0, peer, sizeof(peer));
    far_sends(peer, "still there");
    check_said_as(peer, APP, "still there");
    peer_of(1, peer, sizeof(peer));
    far_sends(peer, "was closed");
    check_said_raw(peer, APP, "was closed");
    ck_assert_uint_eq(env.counters.gate_peers, GATE_PEERS_MAX);
}
END_TEST

START_TEST(what_is_queued_goes_out_before_its_socket_is_closed)
{
    struct assoc *a;
    struct addr from;
    char peer[32];

    app_sends(APP, PEER, "ping");
    far_sends(PEER, "x");
    ck_assert_uint_eq(env_keeper_works(), 1);
    env.n_looked = env.n_said;
    a = env.exit.last;
    from = at(PEER);
    a->events->on_datagram(a->user, &from, (const uint8_t *)"queued", 6, fake_now_ns);
    for (unsigned int i = 0; i < GATE_PEERS_MAX; i++) {
        peer_of(i, peer, sizeof(peer));
        from = at(peer);
        a->events->on_datagram(a->user, &from, (const uint8_t *)"y", 1, fake_now_ns);
    }
    check_said_as(PEER, APP, "queued");
}
END_TEST

START_TEST(idle_sockets_are_closed)
{
    int before = open_fds();

    app_sends(APP, PEER, "ping");
    far_sends(PEER, "x");
    ck_assert_uint_eq(env_keeper_works(), 1);
    env_pass(119);
    ck_assert_int_eq(open_fds(), before + 1);
    far_sends(PEER, "x");
    env_pass(119);
    ck_assert_uint_eq(env.counters.gate_peers, 1);
    env_pass(1);
    ck_assert_uint_eq(env.counters.gate_peers, 0);
    ck_assert_int_eq(open_fds(), before);
}
END_TEST

START_TEST(an_answer_that_nobody_waits_for_is_closed)
{
    struct keeper_want want;
    int before = open_fds();

    app_sends(APP, PEER, "ping");
    far_sends(PEER, "x");
    ck_assert(env_wanted(&want));
    env_pass(120);
    env_answer_want(&want, 0);
    want.id = 0;
    env_answer_want(&want, 0);
    want.id = 1; /* the raw socket, a second time */
    env_answer_want(&want, 0);
    ck_assert_int_eq(open_fds(), before);
    ck_assert_uint_eq(env.n_ended, 0);
}
END_TEST

START_TEST(a_keeper_that_is_gone_ends_the_gate_once)
{
    app_sends(APP, PEER, "ping");
    close(env.keeper);
    env.keeper = -1;
    env_turn();
    env_turn();
    ck_assert_uint_eq(env.n_ended, 1);
    /* Until it is freed, it does no harm. */
    far_sends(PEER, "x");
    check_said_raw(PEER, APP, "x");
    app_sends(APP, PEER, "y");
    env_pass(400);
    ck_assert_uint_eq(env.n_ended, 1);
}
END_TEST

START_TEST(the_gate_may_be_freed_from_on_ended)
{
    env.free_at_end = true;
    app_sends(APP, PEER, "ping");
    close(env.keeper);
    env.keeper = -1;
    env_turn();
    ck_assert_uint_eq(env.n_ended, 1);
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

/* Each ends the gate, and keeps no descriptor. */
START_TEST(messages_that_are_none_end_the_gate)
{
    struct keeper_made made = {.version = KEEPER_VERSION, .id = 7, .status = -EINVAL};
    uint8_t longer[sizeof(made) + 1] = {0};
    int fds[6], before, n_fds = 0;
    size_t len = sizeof(made);
    const void *data = &made;

    for (int i = 0; i < 6; i++)
        fds[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
    before = open_fds();
    switch (_i) {
    case 0:
        len--;
        break;
    case 1:
        data = longer;
        memcpy(longer, &made, sizeof(made));
        len++;
        break;
    case 2:
        made.version++;
        break;
    case 3:
        made.status = 1;
        break;
    case 4: /* a failure with a descriptor */
        n_fds = 1;
        break;
    case 5: /* success without one */
        made.status = 0;
        break;
    case 6:
        made.status = 0;
        n_fds = 2;
        break;
    case 7: /* more than there is room for */
        made.status = 0;
        n_fds = 6;
        break;
    default:
        break;
    }
    env_keeper_says(data, len, fds, (size_t)n_fds);
    ck_assert_uint_eq(env.n_ended, _i < 8);
    ck_assert_int_eq(open_fds(), before - (_i < 8)); /* the link */
    for (int i = 0; i < 6; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_keeper_that_reads_nothing_is_not_waited_for)
{
    char peer[32];

    app_sends(APP, PEER, "ping");
    for (unsigned int i = 0; i < 400; i++) {
        peer_of(i, peer, sizeof(peer));
        far_sends(peer, "x");
        check_said_raw(peer, APP, "x");
    }
    /* What could not be asked for is asked for later. */
    env_keeper_works();
    env_pass(10);
    env_keeper_works();
    for (unsigned int i = 0; i < 400; i++) {
        peer_of(i, peer, sizeof(peer));
        far_sends(peer, "x");
        env_keeper_works();
    }
    env.n_looked = env.n_said;
    far_sends(peer, "y");
    check_said_as(peer, APP, "y");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/gate_keeper");
    TCase *t = tcase_create("keeper");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, at_the_start_a_raw_socket_of_each_family_is_asked_for);
    tcase_add_test(t, without_a_raw_socket_nothing_breaks_and_drops_are_counted);
    tcase_add_test(t, a_refused_peer_is_served_raw_and_asked_for_again_later);
    tcase_add_test(t, a_port_that_an_app_may_want_for_itself_is_not_taken);
    tcase_add_test(t, the_least_recently_used_makes_room);
    tcase_add_test(t, what_is_queued_goes_out_before_its_socket_is_closed);
    tcase_add_test(t, idle_sockets_are_closed);
    tcase_add_test(t, an_answer_that_nobody_waits_for_is_closed);
    tcase_add_test(t, a_keeper_that_is_gone_ends_the_gate_once);
    tcase_add_test(t, the_gate_may_be_freed_from_on_ended);
    tcase_add_loop_test(t, messages_that_are_none_end_the_gate, 0, 9);
    tcase_add_test(t, a_keeper_that_reads_nothing_is_not_waited_for);
    suite_add_tcase(s, t);
    return suite_run(s);
}
