#include <sys/resource.h>

#include "tests/stats/http_fixture.h"
#include "tests/support/suite.h"

START_TEST(only_get_and_head_are_allowed)
{
    static const char *const methods[] = {"POST",  "PUT",  "DELETE", "OPTIONS", "TRACE",
                                          "PATCH", "BREW", "get",    "PROPFIND"};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        ask("%s /stats.json HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", methods[i], port());
        expect_status(reply, 405);
        ck_assert_ptr_nonnull(strstr(reply, "\r\nAllow: GET, HEAD\r\n"));
        ck_assert_ptr_null(strstr(reply, "counters"));
    }
}
END_TEST

START_TEST(s24_bad_bodies_and_lengths_are_refused)
{
    static const char *const headers[] = {
        "Content-Length: -1",
        "Content-Length: abc",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 9223372036854775807",
        "Content-Length: 4096",
        "Content-Length: 5\r\n\r\nhello",
        "Content-Length:",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\nx",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "Expect: nonsense\r\nContent-Length: 5",
        "Expect: 100-continue\r\nContent-Length: 4096",
    };

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        ask("POST /stats.json HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s\r\n\r\n", port(), headers[i]);
        ck_assert_msg(reply[0] == '\0' || strstr(reply, "HTTP/1.1 4") == reply, "%s: %s",
                      headers[i], reply);
        ck_assert_ptr_null(strstr(reply, "counters"));
    }
    expect_status(get("/healthz"), 200);
}
END_TEST

START_TEST(s24_garbage_is_refused)
{
    uint32_t seed = 12345;
    char junk[600];

    for (int round = 0; round < 300; round++) {
        size_t len = 1 + (size_t)round * 2;

        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525 + 1013904223;
            junk[i] = (char)(seed >> 24);
        }
        memcpy(junk + len - 1, "\n", 1);
        ask_raw("127.0.0.1", junk, len);
        ck_assert_msg(reply[0] == '\0' || strstr(reply, "HTTP/1.1 4") == reply, "%s", reply);
        ck_assert_ptr_null(strstr(reply, "counters"));
    }
    expect_status(get("/healthz"), 200);
}
END_TEST

START_TEST(every_truncation_of_a_request_is_survived)
{
    char request[256];
    int len = snprintf(request, sizeof(request),
                       "POST http://127.0.0.1:%u/stats.json?a=b HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                       "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0"
                       "\r\n\r\n",
                       port(), port());

    for (int cut = 0; cut < len; cut++) {
        int fd = connect_to("127.0.0.1");

        say(fd, request, (size_t)cut);
        pump(fd);
        shutdown(fd, SHUT_WR);
        hear(fd);
        ck_assert_ptr_null(strstr(reply, "counters"));
    }
    expect_status(get("/healthz"), 200);
}
END_TEST

START_TEST(large_headers_are_refused)
{
    static char filler[12000];

    memset(filler, 'a', sizeof(filler) - 1);
    ask("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nX: %s\r\n\r\n", port(), filler);
    ck_assert_msg(reply[0] == '\0' || strstr(reply, " 400 "), "%s", reply);
    ask("GET /%s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", filler, port());
    ck_assert_msg(reply[0] == '\0' || strstr(reply, " 400 "), "%s", reply);
    ask_raw("127.0.0.1", filler, sizeof(filler) - 1);
    ck_assert_msg(reply[0] == '\0' || strstr(reply, " 400 "), "%s", reply);
    filler[6000] = '\0';
    ask("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nX: %s\r\n\r\n", port(), filler);
    expect_status(reply, 200);
}
END_TEST

START_TEST(a_connection_carries_one_request)
{
    ask("GET /healthz HTTP/1.0\r\nHost: 127.0.0.1:%u\r\nConnection: keep-alive\r\n\r\n"
        "GET /healthz HTTP/1.0\r\nHost: 127.0.0.1:%u\r\n\r\n",
        port(), port());
    expect_status(reply, 200);
    ck_assert_ptr_null(strcasestr(reply, "keep-alive"));
    ck_assert_ptr_null(strstr(reply + 1, "HTTP/1"));
}
END_TEST

START_TEST(a_port_in_use_is_an_error_not_a_crash)
{
    struct stats_http *other = NULL;
    struct addr listen = stats_http_addr(http);
    int keep = dup(STDERR_FILENO), null[2];

    ck_assert_int_eq(pipe(null), 0);
    dup2(null[1], STDERR_FILENO);
    ck_assert_int_eq(stats_http_new(base, &listen, NULL, &source, &other), -1);
    dup2(keep, STDERR_FILENO);
    close(keep);
    close(null[0]);
    close(null[1]);
    ck_assert_ptr_null(other);
    expect_status(get("/healthz"), 200);
}
END_TEST

START_TEST(two_hundred_idle_connections_do_not_stop_health)
{
    int fds[200];
    char byte;
    unsigned int n_open = 0;

    for (size_t i = 0; i < 200; i++) {
        fds[i] = connect_to("127.0.0.1");
        if (i % 3 == 0)
            say(fds[i], "GET /heal", 9);
        pump(-1);
    }
    expect_status(get("/healthz"), 200);
    for (size_t i = 0; i < 200; i++) {
        n_open += recv(fds[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
        close(fds[i]);
    }
    ck_assert_uint_le(n_open, STATS_CONN_MAX);
    ck_assert_uint_ge(n_open, STATS_CONN_MAX - 2);
    expect_status(get("/healthz"), 200);
}
END_TEST

START_TEST(running_out_of_descriptors_is_waited_out)
{
    struct rlimit before, none;
    unsigned int n_turns = 0;
    int fd = connect_to("127.0.0.1");
    char request[128];
    int len = snprintf(request, sizeof(request),
                       "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", port());
    uint64_t until = clock_now_ns() + 200 * NS_PER_MS;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){(rlim_t)fd, before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    say(fd, request, (size_t)len);
    /* A loop that sleeps until something happens: accept() failing over and over would keep it
     * awake. */
    for (; clock_now_ns() < until; n_turns++) {
        static const struct timeval nap = {0, 50000};

        event_base_loopexit(base, &nap);
        event_base_loop(base, EVLOOP_ONCE);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_uint_le(n_turns, 20);
    expect_status(hear(fd), 200);
}
END_TEST

START_TEST(a_thousand_requests_leave_no_descriptor_behind)
{
    int before, after;

    for (int i = 0; i < 3; i++)
        expect_status(get("/healthz"), 200);
    before = dup(STDERR_FILENO);
    close(before);
    for (int i = 0; i < 1000; i++)
        expect_status(get("/healthz"), 200);
    stats_http_free(http);
    event_base_loop(base, EVLOOP_NONBLOCK);
    after = dup(STDERR_FILENO);
    close(after);
    start("127.0.0.1", NULL);
    ck_assert_int_le(after, before);
}
END_TEST

START_TEST(it_can_be_freed_with_clients_in_every_state)
{
    int idle = connect_to("127.0.0.1"), half = connect_to("127.0.0.1"),
        waiting = connect_to("127.0.0.1");
    char request[128];
    int len = snprintf(request, sizeof(request),
                       "GET /stats.json HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", port());

    pump(-1);
    say(half, request, 20);
    pump(-1);
    say(waiting, request, (size_t)len);
    stats_http_free(http);
    close(idle);
    close(half);
    close(waiting);
    event_base_loop(base, EVLOOP_NONBLOCK);
    start("127.0.0.1", NULL);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("stats/http_input");
    TCase *input = tcase_create("input");
    TCase *clients = tcase_create("clients");

    tcase_add_test(input, only_get_and_head_are_allowed);
    tcase_add_test(input, s24_bad_bodies_and_lengths_are_refused);
    tcase_add_test(input, s24_garbage_is_refused);
    tcase_add_test(input, every_truncation_of_a_request_is_survived);
    tcase_add_test(input, large_headers_are_refused);
    tcase_add_test(input, a_connection_carries_one_request);
    tcase_add_test(clients, a_port_in_use_is_an_error_not_a_crash);
    tcase_add_test(clients, two_hundred_idle_connections_do_not_stop_health);
    tcase_add_test(clients, running_out_of_descriptors_is_waited_out);
    tcase_add_test(clients, a_thousand_requests_leave_no_descriptor_behind);
    tcase_add_test(clients, it_can_be_freed_with_clients_in_every_state);
    tcase_add_checked_fixture(input, setup, teardown);
    tcase_set_timeout(input, 30);
    suite_add_tcase(s, input);
    tcase_add_checked_fixture(clients, setup, teardown);
    tcase_set_timeout(clients, 30);
    suite_add_tcase(s, clients);
    return s;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as http.h asks of the program */
    return suite_run(suite());
}
