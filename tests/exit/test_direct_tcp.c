#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "common/base/clock.h"
#include "tests/exit/direct_env.h"
#include "tests/support/suite.h"

static struct session *const a = &sessions[0], *const b = &sessions[1];

/* What arrived on a stream that a test took over. */
struct taken {
    struct stream *stream;
    char data[64];
    unsigned int len, n_closed;
};

static ptrdiff_t taken_on_bytes(void *user, const uint8_t *data, size_t len)
{
    struct taken *t = user;

    ck_assert_uint_le(t->len + len, sizeof(t->data));
    memcpy(t->data + t->len, data, len);
    t->len += (unsigned int)len;
    return (ptrdiff_t)len;
}

static void taken_on_closed(void *user, int reason)
{
    struct taken *t = user;

    t->n_closed++;
}

static const struct stream_events taken_events = {
    .on_bytes = taken_on_bytes,
    .on_closed = taken_on_closed,
};

static void take(struct taken *t, struct stream *stream)
{
    memset(t, 0, sizeof(*t));
    t->stream = stream;
    stream_set_events(stream, &taken_events, t);
}

static struct assoc_want want_tcp(void)
{
    return (struct assoc_want){.tcp = true, .v4 = true, .local = loopback(1, 3478)};
}

static void open_tcp(struct session *s)
{
    struct assoc_want want = want_tcp();

    ck_assert_int_eq(session_open(s, &want), EXIT_OK);
}

static int outside_listen(struct addr *addr)
{
    int fd = sock_listen(addr, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sock_local_addr(fd, addr), 0);
    return fd;
}

static int outside_accept(int listener, struct addr *ret_from)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int fd = accept4(listener, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC);

    if (fd >= 0)
        *ret_from = addr_from_sockaddr((struct sockaddr *)&sa);
    return fd;
}

static int outside_connect(const struct addr *to)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
    return fd;
}

static enum exit_result try_connect(struct session *s, const struct addr *peer, uint32_t id)
{
    return s->exit->ops->connect(s->assoc, peer, id);
}

START_TEST(a_connection_leaves_from_the_relayed_address)
{
    struct addr peer = loopback(2, 0), from;
    int listener = outside_listen(&peer), fd;
    struct taken t;
    char text[10];

    open_tcp(a);
    ck_assert_int_eq(try_connect(a, &peer, 77), EXIT_OK);
    ck_assert_uint_eq(a->n_connected, 0);
    env_until(&a->n_connected, 1);
    ck_assert_uint_eq(a->connected[0].id, 77);
    ck_assert_int_eq(a->connected[0].result, EXIT_OK);
    fd = outside_accept(listener, &from);
    ck_assert_int_ge(fd, 0);
    ck_assert(addr_equal(&from, &a->opened.relayed_v4));

    take(&t, a->connected[0].stream);
    ck_assert_int_eq(stream_write(t.stream, "hello", 5), 0);
    ck_assert_int_eq(recv(fd, text, sizeof(text), 0), 5);
    ck_assert_int_eq(send(fd, "world", 5, 0), 5);
    env_until(&t.len, 5);
    ck_assert_mem_eq(t.data, "world", 5);
    stream_free(t.stream);
    session_close(a);
    close(fd);
    close(listener);
}
END_TEST

START_TEST(bytes_sent_before_the_session_looks_are_kept)
{
    struct addr peer = loopback(2, 0), from;
    int listener = outside_listen(&peer), fd;
    struct taken t;

    open_tcp(a);
    ck_assert_int_eq(try_connect(a, &peer, 1), EXIT_OK);
    fd = outside_accept(listener, &from);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(send(fd, "early", 5, 0), 5);
    env_until(&a->n_connected, 1);
    take(&t, a->connected[0].stream);
    env_until(&t.len, 5);
    ck_assert_mem_eq(t.data, "early", 5);
    stream_free(t.stream);
    session_close(a);
    close(fd);
    close(listener);
}
END_TEST

START_TEST(peers_connect_to_the_relayed_address)
{
    struct addr local;
    struct taken t[2];
    int fds[2];

    open_tcp(a);
    for (unsigned int i = 0; i < 2; i++) {
        fds[i] = outside_connect(&a->opened.relayed_v4);
        ck_assert_int_eq(sock_local_addr(fds[i], &local), 0);
        env_until(&a->n_accepted, i + 1);
        ck_assert(addr_equal(&a->accepted[i].peer, &local));
        take(&t[i], a->accepted[i].stream);
        ck_assert_int_eq(send(fds[i], i ? "two" : "one", 3, 0), 3);
    }
    env_until(&t[0].len, 3);
    env_until(&t[1].len, 3);
    ck_assert_mem_eq(t[0].data, "one", 3);
    ck_assert_mem_eq(t[1].data, "two", 3);
    for (int i = 0; i < 2; i++) {
        stream_free(t[i].stream);
        close(fds[i]);
    }
    session_close(a);
}
END_TEST

START_TEST(two_associations_meet_at_their_public_addresses)
{
    struct taken t;

    env.conf.public_v4 = addr_make_v4(0xcb007105, 0); /* 203.0.113.5 */
    env_apply_conf();
    open_tcp(a);
    open_tcp(b);
    ck_assert_int_eq(try_connect(a, &b->opened.relayed_v4, 1), EXIT_OK);
    env_until(&a->n_connected, 1);
    env_until(&b->n_accepted, 1);
    ck_assert_int_eq(a->connected[0].result, EXIT_OK);
    ck_assert(addr_equal(&b->accepted[0].peer, &a->opened.relayed_v4));
    ck_assert(addr_ip_equal(&a->opened.relayed_v4, &env.conf.public_v4));
    take(&t, b->accepted[0].stream);
    ck_assert_int_eq(stream_write(a->connected[0].stream, "hairpin", 7), 0);
    env_until(&t.len, 7);
    stream_free(t.stream);
    stream_free(a->connected[0].stream);
    session_close(a);
    session_close(b);
}
END_TEST

START_TEST(ipv6_works_as_well)
{
    struct assoc_want want = {.tcp = true, .v6 = true, .local = loopback6()};
    struct addr peer = loopback6(), wrong = loopback(1, 80), from;
    int listener = outside_listen(&peer), fd;

    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_int_eq(try_connect(a, &wrong, 1), EXIT_E_FAMILY);
    ck_assert_int_eq(try_connect(a, &peer, 1), EXIT_OK);
    env_until(&a->n_connected, 1);
    fd = outside_accept(listener, &from);
    ck_assert(addr_equal(&from, &a->opened.relayed_v6));
    stream_free(a->connected[0].stream);
    session_close(a);
    close(fd);
    close(listener);
}
END_TEST

START_TEST(a_second_connection_to_the_same_peer_is_a_duplicate)
{
    struct addr peer = loopback(2, 0), from;
    int listener = outside_listen(&peer), fd, inbound;

    open_tcp(a);
    ck_assert_int_eq(try_connect(a, &peer, 1), EXIT_OK);
    ck_assert_int_eq(try_connect(a, &peer, 2), EXIT_E_DUPLICATE); /* while it is being made */
    env_until(&a->n_connected, 1);
    ck_assert_int_eq(try_connect(a, &peer, 3), EXIT_E_DUPLICATE); /* when it stands */
    fd = outside_accept(listener, &from);

    inbound = outside_connect(&a->opened.relayed_v4);
    env_until(&a->n_accepted, 1);
    ck_assert_int_eq(try_connect(a, &a->accepted[0].peer, 4), EXIT_E_DUPLICATE);
    ck_assert_uint_eq(a->n_connected, 1);
    stream_free(a->accepted[0].stream);
    stream_free(a->connected[0].stream);
    session_close(a);
    close(inbound);
    close(fd);
    close(listener);
}
END_TEST

START_TEST(a_refused_connection_is_refused)
{
    struct addr peer = loopback(2, 0);
    int listener = outside_listen(&peer);
    enum exit_result result;

    close(listener);
    open_tcp(a);
    result = try_connect(a, &peer, 9);
    /* Loopback refuses within connect(2), a network later. */
    if (result == EXIT_OK) {
        env_until(&a->n_connected, 1);
        ck_assert_uint_eq(a->connected[0].id, 9);
        result = a->connected[0].result;
    }
    ck_assert_int_eq(result, EXIT_E_REFUSED);
    session_close(a);
}
END_TEST

/* From 127.0.0.1 Linux routes to nowhere beyond this machine: no packet leaves. */
START_TEST(a_peer_without_a_route_is_unreachable)
{
    struct addr peer = addr_make_v4(0x01000001, 80);

    open_tcp(a);
    ck_assert_int_eq(try_connect(a, &peer, 9), EXIT_E_UNREACHABLE);
    session_close(a);
}
END_TEST

/* A listener that drops every SYN: its backlog of one is taken. */
static int silent_listen(struct addr *addr, int *ret_filler)
{
    int fd = sock_bind(addr, SOCK_STREAM, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sock_local_addr(fd, addr), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    *ret_filler = outside_connect(addr);
    return fd;
}

START_TEST(a_connection_without_an_answer_times_out)
{
    struct addr peer = loopback(2, 0);
    int filler, listener = silent_listen(&peer, &filler);

    open_tcp(a);
    ck_assert_int_eq(try_connect(a, &peer, 5), EXIT_OK);
    for (int i = 0; i < 4; i++)
        env_turn();
    ck_assert_uint_eq(a->n_connected, 0);
    env_until(&a->n_connected, 1);
    ck_assert_int_eq(a->connected[0].result, EXIT_E_TIMEOUT);
    ck_assert_uint_eq(a->connected[0].id, 5);
    session_close(a);
    close(filler);
    close(listener);
}
END_TEST

START_TEST(connections_being_made_are_bounded_and_die_with_the_association)
{
    struct addr peers[DIRECT_CONNECTS_MAX + 1];
    int fillers[DIRECT_CONNECTS_MAX + 1], listeners[DIRECT_CONNECTS_MAX + 1];

    open_tcp(a);
    for (uint32_t i = 0; i <= DIRECT_CONNECTS_MAX; i++) {
        peers[i] = loopback(2, 0);
        listeners[i] = silent_listen(&peers[i], &fillers[i]);
        ck_assert_int_eq(try_connect(a, &peers[i], i),
                         i < DIRECT_CONNECTS_MAX ? EXIT_OK : EXIT_E_CAPACITY);
    }
    session_close(a);
    for (int i = 0; i < 20; i++)
        env_turn();
    ck_assert_uint_eq(a->n_connected, 0);
    for (int i = 0; i <= DIRECT_CONNECTS_MAX; i++) {
        close(fillers[i]);
        close(listeners[i]);
    }
}
END_TEST

START_TEST(denied_peers_are_neither_called_nor_heard)
{
    struct addr peer = loopback(1, 0);
    int listener = outside_listen(&peer), inbound;
    char byte;

    open_tcp(a);
    env.denied = loopback(1, 0);
    ck_assert_int_eq(try_connect(a, &peer, 1), EXIT_E_FORBIDDEN);
    ck_assert_int_eq(a->exit->ops->permit(a->assoc, &peer), EXIT_E_FORBIDDEN);
    env.denied = addr_make_v4(0x7f000001, 0); /* where an unbound socket calls from */
    inbound = outside_connect(&a->opened.relayed_v4);
    for (int i = 0; i < 3; i++)
        env_turn();
    ck_assert_uint_eq(a->n_accepted, 0);
    ck_assert_int_eq(recv(inbound, &byte, 1, MSG_DONTWAIT), 0); /* closed */
    session_close(a);
    close(inbound);
    close(listener);
}
END_TEST

START_TEST(a_connection_to_itself_is_refused)
{
    open_tcp(a);
    ck_assert_int_eq(try_connect(a, &a->opened.relayed_v4, 1), EXIT_E_FORBIDDEN);
    session_close(a);
    env.conf.public_v4 = addr_make_v4(0xcb007105, 0);
    env_apply_conf();
    open_tcp(a);
    ck_assert_int_eq(try_connect(a, &a->opened.relayed_v4, 1), EXIT_E_FORBIDDEN);
    session_close(a);
}
END_TEST

START_TEST(a_port_another_listener_has_is_stepped_over)
{
    struct addr taken = loopback(1, 20020);
    int fd = sock_listen(&taken, SOCK_REUSEADDR | SOCK_REUSEPORT);
    struct assoc_want want = want_tcp();

    ck_assert_int_ge(fd, 0);
    env.conf.port_min = 20020;
    env.conf.port_max = 20021;
    env_apply_conf();
    open_tcp(a);
    ck_assert_uint_eq(a->opened.relayed_v4.port, 20021);
    ck_assert_int_eq(session_open(b, &want), EXIT_E_CAPACITY);
    session_close(a);
    session_close(b);
    close(fd);
}
END_TEST

START_TEST(a_tcp_association_relays_no_datagrams_and_takes_no_token)
{
    struct assoc_want want = want_tcp();
    struct addr peer = loopback(1, 9);

    open_tcp(a);
    a->exit->ops->send(a->assoc, &peer, (const uint8_t *)"x", 1, false);
    tx_flush(env.tx);
    ck_assert_uint_eq(env.tx_stats.n_calls, 0);
    session_close(a);
    want.has_token = true;
    ck_assert_int_eq(session_open(a, &want), EXIT_E_TOKEN);
    session_close(a);
    want = want_v4();
    ck_assert_int_eq(session_open(a, &want), EXIT_OK);
    ck_assert_int_eq(try_connect(a, &peer, 1), EXIT_E_FAMILY);
    session_close(a);
}
END_TEST

START_TEST(running_out_of_descriptors_delays_accepting_without_spinning)
{
    struct rlimit old, none;
    uint64_t start_ns = clock_now_ns();
    unsigned int n_turns = 0;
    int fd, probe;

    open_tcp(a);
    fd = outside_connect(&a->opened.relayed_v4);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    probe = dup(fd); /* the lowest free number */
    close(probe);
    none.rlim_cur = (rlim_t)probe;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 10; i++)
        env_turn();
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    /* The listener is ready, and left alone until a second has passed. */
    event_base_loop(env.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    if (clock_now_ns() - start_ns < 900 * NS_PER_MS)
        ck_assert_uint_eq(a->n_accepted, 0);
    /*
     * Some fifty turns of 20 ms, a few times that when timers of earlier turns are left to end
     * them early. A listener that spins ends every turn at once: tens of thousands.
     */
    for (; n_turns < 2000 && a->n_accepted == 0; n_turns++)
        env_turn();
    ck_assert_uint_eq(a->n_accepted, 1);
    ck_assert_uint_lt(n_turns, 1000);
    stream_free(a->accepted[0].stream);
    session_close(a);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exit/direct_tcp");
    TCase *tc = tcase_create("direct_tcp");

    signal(SIGPIPE, SIG_IGN);
    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, direct_env_begin, direct_env_end);
    tcase_add_test(tc, a_connection_leaves_from_the_relayed_address);
    tcase_add_test(tc, bytes_sent_before_the_session_looks_are_kept);
    tcase_add_test(tc, peers_connect_to_the_relayed_address);
    tcase_add_test(tc, two_associations_meet_at_their_public_addresses);
    tcase_add_test(tc, ipv6_works_as_well);
    tcase_add_test(tc, a_second_connection_to_the_same_peer_is_a_duplicate);
    tcase_add_test(tc, a_refused_connection_is_refused);
    tcase_add_test(tc, a_peer_without_a_route_is_unreachable);
    tcase_add_test(tc, a_connection_without_an_answer_times_out);
    tcase_add_test(tc, connections_being_made_are_bounded_and_die_with_the_association);
    tcase_add_test(tc, denied_peers_are_neither_called_nor_heard);
    tcase_add_test(tc, a_connection_to_itself_is_refused);
    tcase_add_test(tc, a_port_another_listener_has_is_stepped_over);
    tcase_add_test(tc, a_tcp_association_relays_no_datagrams_and_takes_no_token);
    tcase_add_test(tc, running_out_of_descriptors_delays_accepting_without_spinning);
    return suite_run(suite);
}
