#include <check.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/addr.h"
#include "relay/stats/conns.h"
#include "tests/support/suite.h"

/* An evhttp with connections of a fifth of a second, and no time limit of its own. */

#define TIME_MS 200

static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

static struct event_base *base;
static struct evhttp *evhttp;
static struct stats_conns conns;
static struct sockaddr_storage listening;
static unsigned int n_requests;
static size_t reply_len;

static void on_request(struct evhttp_request *req, void *arg)
{
    static const char zeros[1 << 16];
    struct evbuffer *body = evbuffer_new();

    n_requests++;
    evhttp_add_header(evhttp_request_get_output_headers(req), "Connection", "close");
    for (size_t n = 0; n < reply_len; n += sizeof(zeros))
        evbuffer_add(body, zeros, sizeof(zeros));
    evhttp_send_reply(req, HTTP_OK, "OK", body);
    evbuffer_free(body);
}

static void setup(void)
{
    struct evhttp_bound_socket *bound;
    socklen_t len = sizeof(listening);

    base = event_base_new();
    evhttp = evhttp_new(base);
    n_requests = 0;
    reply_len = 0;
    ck_assert_int_eq(stats_conns_init(&conns, base, TIME_MS), 0);
    evhttp_set_bevcb(evhttp, stats_conns_on_accept, &conns);
    evhttp_set_gencb(evhttp, on_request, NULL);
    bound = evhttp_bind_socket_with_handle(evhttp, "127.0.0.1", 0);
    ck_assert_ptr_nonnull(bound);
    ck_assert_int_eq(
        getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&listening, &len), 0);
}

static void teardown(void)
{
    evhttp_free(evhttp);
    stats_conns_deinit(&conns);
    event_base_free(base);
}

static int client(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&listening, sizeof(struct sockaddr_in)), 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    return fd;
}

static unsigned int n_in_use(void)
{
    unsigned int n = 0;

    for (size_t i = 0; i < STATS_CONN_MAX; i++)
        n += conns.conn[i].bev != NULL;
    return n;
}

static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

static void turn_ms(unsigned int ms)
{
    uint64_t until = clock_now_ns() + ms * NS_PER_MS;

    while (clock_now_ns() < until) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        poll(NULL, 0, 2);
    }
}

/* Turns the loop until no place is taken. Return: how long that took from `since_ns`. */
static uint64_t free_after(uint64_t since_ns)
{
    while (n_in_use() > 0) {
        ck_assert_uint_lt(clock_now_ns() - since_ns, 20 * NS_PER_S);
        turn_ms(5);
    }
    return clock_now_ns() - since_ns;
}

START_TEST(a_slow_sender_is_cut_off_however_steadily_it_sends)
{
    uint64_t begun = clock_now_ns();
    int fd = client();

    while (!is_closed(fd)) {
        ck_assert_uint_lt(clock_now_ns() - begun, 20 * NS_PER_S);
        send(fd, "G", 1, MSG_NOSIGNAL);
        turn_ms(5);
    }
    ck_assert_uint_ge(clock_now_ns() - begun, TIME_MS * NS_PER_MS);
    close(fd);
    free_after(begun);
    ck_assert(!event_pending(conns.sweep, EV_TIMEOUT, NULL)); /* an idle endpoint wakes nobody */
}
END_TEST

START_TEST(a_handshake_that_does_not_end_is_cut_off)
{
    static const char record[] = {0x16, 0x03, 0x01, 0x02, 0x00};
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    uint64_t begun;
    int fds[2];

    stats_conns_set_tls(&conns, ctx);
    SSL_CTX_free(ctx);
    begun = clock_now_ns();
    for (size_t i = 0; i < 2; i++)
        fds[i] = client();
    send(fds[1], record, sizeof(record), MSG_NOSIGNAL);
    turn_ms(TIME_MS / 4);
    ck_assert_uint_eq(n_in_use(), 2);
    ck_assert_uint_ge(free_after(begun), TIME_MS * NS_PER_MS);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(is_closed(fds[i]));
        close(fds[i]);
    }
    ck_assert_uint_eq(n_requests, 0);
}
END_TEST

START_TEST(a_client_that_does_not_read_its_answer_is_cut_off)
{
    uint64_t begun = clock_now_ns();
    int fd = client();

    reply_len = 32 << 20; /* more than the kernel takes */
    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    ck_assert_uint_ge(free_after(begun), TIME_MS * NS_PER_MS);
    ck_assert_uint_eq(n_requests, 1);
    close(fd);
}
END_TEST

START_TEST(an_answered_connection_leaves_its_place_early)
{
    uint64_t begun = clock_now_ns();
    int fd;

    conns.time_ms = 10000;
    fd = client();
    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    ck_assert_uint_lt(free_after(begun), 5 * NS_PER_S);
    ck_assert_uint_eq(n_requests, 1);
    close(fd);
}
END_TEST

START_TEST(a_client_that_left_leaves_its_place_early)
{
    uint64_t begun = clock_now_ns();
    int fd;

    conns.time_ms = 10000;
    fd = client();
    ck_assert_uint_eq(n_in_use(), 1);
    close(fd);
    ck_assert_uint_lt(free_after(begun), 5 * NS_PER_S);
}
END_TEST

START_TEST(when_all_places_are_taken_the_oldest_goes)
{
    int fds[STATS_CONN_MAX + 3];

    conns.time_ms = 60000;
    for (size_t i = 0; i < STATS_CONN_MAX + 3; i++) {
        fds[i] = client();
        ck_assert_uint_le(n_in_use(), STATS_CONN_MAX);
    }
    event_base_loop(base, EVLOOP_NONBLOCK);
    for (size_t i = 0; i < STATS_CONN_MAX + 3; i++) {
        ck_assert_msg(is_closed(fds[i]) == (i < 3), "%zu", i);
        close(fds[i]);
    }
}
END_TEST

START_TEST(what_comes_after_the_answer_is_not_kept)
{
    static char flood[1 << 20];
    int small = 4096, fd;
    size_t n_sent = 0;

    conns.time_ms = 60000;
    fd = client();
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    while (n_requests == 0)
        event_base_loop(base, EVLOOP_NONBLOCK);
    for (int i = 0; i < 100 && conns.conn[0].bev; i++) {
        ssize_t n = send(fd, flood, sizeof(flood), MSG_NOSIGNAL | MSG_DONTWAIT);

        n_sent += n > 0 ? (size_t)n : 0;
        event_base_loop(base, EVLOOP_NONBLOCK);
        if (conns.conn[0].bev)
            ck_assert_uint_le(evbuffer_get_length(bufferevent_get_input(conns.conn[0].bev)), 16384);
    }
    ck_assert_uint_gt(n_sent, 0);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stats/conns");
    TCase *tc = tcase_create("conns");

    signal(SIGPIPE, SIG_IGN); /* as http.h asks of the program */

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_slow_sender_is_cut_off_however_steadily_it_sends);
    tcase_add_test(tc, a_handshake_that_does_not_end_is_cut_off);
    tcase_add_test(tc, a_client_that_does_not_read_its_answer_is_cut_off);
    tcase_add_test(tc, an_answered_connection_leaves_its_place_early);
    tcase_add_test(tc, a_client_that_left_leaves_its_place_early);
    tcase_add_test(tc, when_all_places_are_taken_the_oldest_goes);
    tcase_add_test(tc, what_comes_after_the_answer_is_not_kept);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
