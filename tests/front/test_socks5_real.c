/*
 * The SOCKS5 front with real streams: apps and far sides are sockets on loopback, and the exit
 * dials the machine's own loopback. What only the kernel can show: bulk both ways under
 * back-pressure, half-closes, resets, replies that get out before the close.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/batch.h"
#include "common/net/stream.h"
#include "common/wire/socks5.h"
#include "relay/front/socks5.h"
#include "tests/support/suite.h"

#define BULK (16u << 20)

/* ---- an exit that connects where it is told ---- */

struct dial {
    struct stream *stream;
    exit_on_dialed *on_dialed;
    void *user;
};

static struct {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct conf conf;
    struct counters counters;
    struct exit exit;
    struct socks5 *s;
    int listener; /* the far side's */
    struct addr far_addr;
    unsigned int n_dials; /* that exist */
} env;

static void dial_end(struct dial *d)
{
    env.n_dials--;
    free(d);
}

static ptrdiff_t dial_on_bytes(void *user, const uint8_t *data, size_t len)
{
    return 0;
}

static void dial_on_open(void *user)
{
    struct dial d = *(struct dial *)user;
    struct addr relayed = stream_local(d.stream);

    dial_end(user);
    d.on_dialed(d.user, EXIT_OK, d.stream, &relayed);
}

static void dial_on_closed(void *user, int reason)
{
    static const struct addr none;
    struct dial d = *(struct dial *)user;

    stream_free(d.stream);
    dial_end(user);
    d.on_dialed(d.user, reason == -ECONNREFUSED ? EXIT_E_REFUSED : EXIT_E_UNREACHABLE, NULL, &none);
}

static const struct stream_events dial_events = {
    .on_bytes = dial_on_bytes, .on_open = dial_on_open, .on_closed = dial_on_closed};

static int exit_dial(struct exit *e, const struct addr *peer, exit_on_dialed *on_dialed, void *user,
                     struct dial **ret)
{
    struct addr local = addr_make_v4(INADDR_LOOPBACK, 0);
    int fd = sock_bind(&local, SOCK_STREAM, 0);
    struct dial *d = calloc(1, sizeof(*d));
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(peer, &sa);

    (void)connect(fd, (struct sockaddr *)&sa, len);
    *d = (struct dial){.on_dialed = on_dialed, .user = user};
    d->stream = stream_connecting(env.pool, fd, 65536);
    stream_set_events(d->stream, &dial_events, d);
    env.n_dials++;
    *ret = d;
    return 0;
}

static void exit_hang_up(struct dial *d)
{
    stream_free(d->stream);
    dial_end(d);
}

static int exit_resolve(struct exit *e, const char *name, exit_on_resolved *on_resolved, void *user,
                        struct lookup **ret)
{
    return -ENOMEM;
}

static void exit_forget(struct lookup *l)
{
}

static const struct exit_ops exit_ops = {
    .dial = exit_dial, .hang_up = exit_hang_up, .resolve = exit_resolve, .forget = exit_forget};

/* ---- the bench ---- */

static void setup(void)
{
    struct addr any = addr_make_v4(INADDR_LOOPBACK, 0);
    struct socks5_params params;

    memset(&env, 0, sizeof(env));
    log_init(LOG_LEVEL_ERROR, false);
    env.base = event_base_new();
    env.rx = rx_batch_new();
    env.tx = tx_queue_new(NULL);
    env.pool = stream_pool_new(env.base);
    env.exit.ops = &exit_ops;
    env.listener = sock_listen(&any, 0);
    ck_assert_int_eq(sock_local_addr(env.listener, &env.far_addr), 0);
    params = (struct socks5_params){.base = env.base,
                                    .rx = env.rx,
                                    .tx = env.tx,
                                    .pool = env.pool,
                                    .exit = &env.exit,
                                    .counters = &env.counters};
    ck_assert_int_eq(socks5_new(&params, &env.conf, &any, &env.s), 0);
}

static void teardown(void)
{
    socks5_free(env.s);
    ck_assert_uint_eq(env.counters.socks_connections, 0);
    ck_assert_uint_eq(env.n_dials, 0);
    if (env.listener >= 0)
        close(env.listener);
    stream_pool_free(env.pool);
    tx_queue_free(env.tx);
    rx_batch_free(env.rx);
    event_base_free(env.base);
}

static void turn(void)
{
    event_base_loop(env.base, EVLOOP_NONBLOCK);
}

static int app_connect(void)
{
    struct addr listen = socks5_addr(env.s);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&listen, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Up to `cap` bytes, turning the loop meanwhile, at most two seconds. Return: how many; -errno when
 * the end was no orderly one. */
static ssize_t read_all(int fd, void *buf, size_t cap)
{
    uint64_t end_ns = clock_now_ns() + 2 * NS_PER_S;
    size_t len = 0;

    while (len < cap && clock_now_ns() < end_ns) {
        ssize_t n = recv(fd, (char *)buf + len, cap - len, 0);

        if (n == 0)
            break;
        if (n < 0 && errno != EAGAIN)
            return -errno;
        len += n > 0 ? (size_t)n : 0;
        turn();
        if (n < 0)
            usleep(200);
    }
    return (ssize_t)len;
}

static void say(int fd, const void *data, size_t len)
{
    ck_assert_int_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static size_t request_to(const struct addr *to, uint8_t buf[64])
{
    struct writer w = writer_make(buf, 64);
    struct socks5_target target = {.addr = *to};

    writer_bytes(&w, "\x05\x01\x00\x05\x01\x00", 6);
    socks5_put_target(&w, &target);
    return w.len;
}

static int app, far;

/* Methods, request and some bytes in one go, as an impatient app sends them. */
static void connected(const char *early)
{
    uint8_t buf[64 + 64], got[12];
    size_t len = request_to(&env.far_addr, buf);

    app = app_connect();
    memcpy(buf + len, early, strlen(early));
    say(app, buf, len + strlen(early));
    ck_assert_int_eq(read_all(app, got, sizeof(got)), sizeof(got));
    ck_assert_mem_eq(got, "\x05\x00\x05\x00\x00\x01\x7F\x00\x00\x01", 10);
    far = accept4(env.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ck_assert_int_ge(far, 0);
}

static void hang_up(void)
{
    close(app);
    close(far);
    for (int i = 0; i < 20; i++)
        turn();
}

/* ---- tests ---- */

START_TEST(bytes_sent_at_once_with_the_request_arrive)
{
    char buf[5];

    connected("early");
    ck_assert_int_eq(read_all(far, buf, sizeof(buf)), 5);
    ck_assert_mem_eq(buf, "early", 5);
    hang_up();
}
END_TEST

static uint8_t pattern(size_t at, unsigned int way)
{
    return (uint8_t)((at * 2654435761u >> 13) + way);
}

/* Sends what `fd` takes of the way's bytes. */
static void push(int fd, size_t *sent, unsigned int way)
{
    uint8_t block[32768];
    size_t len = BULK - *sent < sizeof(block) ? BULK - *sent : sizeof(block);
    ssize_t n;

    for (size_t i = 0; i < len; i++)
        block[i] = pattern(*sent + i, way);
    n = len > 0 ? send(fd, block, len, MSG_NOSIGNAL) : 0;
    *sent += n > 0 ? (size_t)n : 0;
}

static void pull(int fd, size_t *got, unsigned int way)
{
    uint8_t block[32768];
    ssize_t n = recv(fd, block, sizeof(block), 0);
    size_t n_wrong = 0;

    for (ssize_t i = 0; i < n; i++)
        n_wrong += block[i] != pattern(*got + (size_t)i, way);
    ck_assert_uint_eq(n_wrong, 0);
    *got += n > 0 ? (size_t)n : 0;
}

START_TEST(bulk_passes_both_ways_at_once_and_unchanged)
{
    size_t sent[2] = {0}, got[2] = {0};
    uint64_t end_ns = clock_now_ns() + 30 * NS_PER_S;

    connected("");
    while ((got[0] < BULK || got[1] < BULK) && clock_now_ns() < end_ns) {
        push(app, &sent[0], 0);
        push(far, &sent[1], 1);
        turn();
        pull(far, &got[0], 0);
        pull(app, &got[1], 1);
    }
    ck_assert_uint_eq(got[0], BULK);
    ck_assert_uint_eq(got[1], BULK);
    ck_assert_uint_eq(env.counters.up_bytes, BULK);
    ck_assert_uint_eq(env.counters.down_bytes, BULK);
    hang_up();
}
END_TEST

START_TEST(a_reader_that_stops_stops_the_sender_within_bounds)
{
    size_t sent = 0, before, got = 0;
    int quiet = 0;

    connected("");
    while (quiet < 200 && sent < BULK) {
        before = sent;
        push(far, &sent, 1);
        turn();
        quiet = sent == before ? quiet + 1 : 0;
    }
    ck_assert_uint_lt(sent, BULK);
    while (got < sent) {
        pull(app, &got, 1);
        turn();
    }
    ck_assert_uint_eq(got, sent);
    hang_up();
}
END_TEST

START_TEST(a_half_close_reaches_the_far_side_and_its_answer_the_app)
{
    char buf[16];

    connected("question");
    shutdown(app, SHUT_WR);
    ck_assert_int_eq(read_all(far, buf, sizeof(buf)), 8);
    say(far, "answer", 6);
    shutdown(far, SHUT_WR);
    ck_assert_int_eq(read_all(app, buf, sizeof(buf)), 6);
    hang_up();
    ck_assert_uint_eq(env.counters.socks_connections, 0);
}
END_TEST

static void reset(int fd)
{
    const struct linger now = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

START_TEST(a_reset_is_passed_on_as_a_reset_both_ways)
{
    char buf[16];

    connected("");
    reset(far);
    ck_assert_int_eq(read_all(app, buf, sizeof(buf)), -ECONNRESET);
    close(app);
    connected("");
    reset(app);
    ck_assert_int_eq(read_all(far, buf, sizeof(buf)), -ECONNRESET);
    close(far);
    for (int i = 0; i < 20; i++)
        turn();
    ck_assert_uint_eq(env.counters.socks_connections, 0);
}
END_TEST

START_TEST(a_failure_is_read_whole_even_by_an_app_that_keeps_talking)
{
    uint8_t buf[64 + 1000] = {0}, got[64];
    struct addr nobody = env.far_addr;
    size_t len;

    close(env.listener); /* now nobody is there */
    len = request_to(&nobody, buf);
    app = app_connect();
    say(app, buf, len + 1000);
    ck_assert_int_eq(read_all(app, got, sizeof(got)), 12);
    ck_assert_mem_eq(got, "\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0", 12);
    close(app);
    for (int i = 0; i < 20; i++)
        turn();
    ck_assert_uint_eq(env.counters.socks_connections, 0);
    env.listener = -1;
}
END_TEST

START_TEST(a_reply_of_no_method_gets_out_before_the_close)
{
    uint8_t got[8];

    app = app_connect();
    say(app, "\x05\x01\x01\x05\x01\x00\x01\x7F\x00\x00\x01\x00\x50", 13);
    ck_assert_int_eq(read_all(app, got, sizeof(got)), 2);
    ck_assert_mem_eq(got, "\x05\xFF", 2);
    close(app);
    for (int i = 0; i < 20; i++)
        turn();
    ck_assert_uint_eq(env.counters.socks_connections, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/socks5_real");
    TCase *t = tcase_create("real");

    signal(SIGPIPE, SIG_IGN);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, bytes_sent_at_once_with_the_request_arrive);
    tcase_add_test(t, bulk_passes_both_ways_at_once_and_unchanged);
    tcase_add_test(t, a_reader_that_stops_stops_the_sender_within_bounds);
    tcase_add_test(t, a_half_close_reaches_the_far_side_and_its_answer_the_app);
    tcase_add_test(t, a_reset_is_passed_on_as_a_reset_both_ways);
    tcase_add_test(t, a_failure_is_read_whole_even_by_an_app_that_keeps_talking);
    tcase_add_test(t, a_reply_of_no_method_gets_out_before_the_close);
    suite_add_tcase(s, t);
    return suite_run(s);
}
