/*
 * Sealed apps' way to the stats page: a stream from a gate, evhttp behind the door
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/stream.h"
#include "relay/door.h"
#include "relay/stats/http.h"
#include "tests/support/suite.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

static struct event_base *base;
static struct stream_pool *pool;
static struct door *door;
static struct stats_http *http;
static char reply[65536];

static void sum(void *arg, struct counters *ret)
{
    counter_add(&ret->requests, 4711);
}

static void describe(void *arg, const struct stats_reader *reader, json_t *root)
{
    json_object_set_new(root, "inside", json_boolean(reader->is_inside));
    json_object_set_new(root, "token", json_boolean(reader->has_token));
}

static void setup(void)
{
    const struct stats_source source = {.role = STATS_local, .sum = sum, .describe = describe};
    struct addr hosts[2];

    signal(SIGPIPE, SIG_IGN);
    log_init(LOG_LEVEL_ERROR, false);
    ck_assert(addr_parse("192.0.2.1:9642", &hosts[0]) && addr_parse("[fd00::1]:9642", &hosts[1]));
    base = event_base_new();
    pool = stream_pool_new(base);
    door = door_new(pool);
    ck_assert_ptr_nonnull(door);
    ck_assert_int_eq(
        stats_http_new_inside(base, door_take_listener(door), hosts, TOKEN, &source, &http), 0);
}

static void teardown(void)
{
    stats_http_free(http);
    door_free(door);
    stream_pool_free(pool);
    event_base_free(base);
}

/* An app that has come through. */
static int enter(void)
{
    struct stream *app;
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    app = stream_accept(pool, fds[0], NULL, false, 65536);
    ck_assert(door_enter(door, app));
    return fds[1];
}

/* Return: whether the connection has come to its end in this time. */
static bool ends(int fd, unsigned int ms)
{
    uint64_t until = clock_now_ns() + ms * NS_PER_MS;
    size_t len = 0;
    ssize_t n;

    do {
        event_base_loop(base, EVLOOP_NONBLOCK);
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 1);
        n = recv(fd, reply + len, sizeof(reply) - 1 - len, 0);
        len += n > 0 ? (size_t)n : 0;
        reply[len] = '\0';
    } while (n != 0 && (n > 0 || errno == EAGAIN) && clock_now_ns() < until);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static const char *ask(const char *path, const char *host, const char *token)
{
    char request[512];
    int len, fd = enter();

    len = snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, host,
                   token);
    ck_assert_int_eq(send(fd, request, (size_t)len, MSG_NOSIGNAL), len);
    ck_assert(ends(fd, 3000));
    close(fd);
    return reply;
}

static void expect(const char *text, int status)
{
    char line[16];

    snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
    ck_assert_msg(strncmp(text, line, strlen(line)) == 0, "not %d: %.200s", status, text);
}

START_TEST(the_page_is_open_and_the_numbers_ask_for_the_token)
{
    expect(ask("/check", "192.0.2.1:9642", ""), 200);
    expect(ask("/healthz", "192.0.2.1:9642", ""), 200);
    expect(ask("/stats.json", "192.0.2.1:9642", ""), 401);
    expect(ask("/stats.json", "192.0.2.1:9642", "0123456789abcdef0123456789abcdeF"), 401);
    expect(ask("/metrics", "192.0.2.1:9642", ""), 401);
    expect(ask("/stats.json", "192.0.2.1:9642", TOKEN), 200);
    ck_assert_ptr_nonnull(strstr(reply, "\"requests\": 4711"));
    ck_assert_ptr_nonnull(strstr(reply, "\"inside\": true"));
    ck_assert_ptr_nonnull(strstr(reply, "\"token\": true"));
    expect(ask("/metrics", "192.0.2.1:9642", TOKEN), 200);
}
END_TEST

START_TEST(only_the_routers_addresses_are_its_hosts)
{
    static const char *const others[] = {
        "192.0.2.1",      "192.0.2.1:80",      "192.0.2.2:9642", "127.0.0.1:9642",
        "localhost:9642", "evil.example:9642", "[fd00::2]:9642", ""};

    expect(ask("/healthz", "[fd00::1]:9642", ""), 200);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        expect(ask("/healthz", others[i], TOKEN), 421);
}
END_TEST

START_TEST(a_whole_page_comes_through)
{
    const char *body = strstr(ask("/index.js", "192.0.2.1:9642", ""), "\r\n\r\n");
    const char *length = strstr(reply, "\r\nContent-Length: ");

    ck_assert(body && length);
    ck_assert_uint_eq(strlen(body + 4), strtoul(length + 18, NULL, 10));
    ck_assert_uint_gt(strlen(body + 4), 4096);
}
END_TEST

/* Idlers take places from one another, never from whoever comes last. */
START_TEST(the_oldest_one_makes_room)
{
    int idlers[DOOR_MAX + 5];

    for (size_t i = 0; i < DOOR_MAX + 5; i++) {
        idlers[i] = enter();
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    for (size_t i = 0; i < 5; i++)
        ck_assert(ends(idlers[i], 100));
    ck_assert(!ends(idlers[DOOR_MAX + 4], 20));
    expect(ask("/healthz", "192.0.2.1:9642", ""), 200);
    for (size_t i = 0; i < DOOR_MAX + 5; i++)
        close(idlers[i]);
}
END_TEST

/* The endpoint is done with these: only the door still holds them. */
START_TEST(apps_that_never_close_hold_no_more_than_the_doors_places)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: 192.0.2.1:9642\r\n\r\n";
    int apps[DOOR_MAX + 5];

    for (size_t i = 0; i < DOOR_MAX + 5; i++) {
        apps[i] = enter();
        ck_assert_int_gt(send(apps[i], request, sizeof(request) - 1, MSG_NOSIGNAL), 0);
        ck_assert(ends(apps[i], 3000));
        expect(reply, 200);
    }
    for (size_t i = 0; i < DOOR_MAX + 5; i++) {
        bool is_held = send(apps[i], "x", 1, MSG_NOSIGNAL) == 1;

        ck_assert_msg(is_held == (i >= 5), "%zu", i);
        close(apps[i]);
    }
}
END_TEST

START_TEST(an_app_that_is_gone_is_gone_behind_the_door)
{
    static const struct timeval while_it_notices = {.tv_usec = 100000};
    int fd = enter();

    event_base_loop(base, EVLOOP_NONBLOCK);
    close(fd);
    event_base_loopexit(base, &while_it_notices);
    event_base_dispatch(base);
    for (int i = 0; i < 2 * DOOR_MAX; i++)
        expect(ask("/healthz", "192.0.2.1:9642", ""), 200);
}
END_TEST

START_TEST(its_end_is_theirs)
{
    int fd = enter();

    event_base_loop(base, EVLOOP_NONBLOCK);
    door_free(door);
    door = NULL;
    ck_assert(ends(fd, 100));
    close(fd);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("local/door");
    TCase *t = tcase_create("door");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, the_page_is_open_and_the_numbers_ask_for_the_token);
    tcase_add_test(t, only_the_routers_addresses_are_its_hosts);
    tcase_add_test(t, a_whole_page_comes_through);
    tcase_add_test(t, the_oldest_one_makes_room);
    tcase_add_test(t, apps_that_never_close_hold_no_more_than_the_doors_places);
    tcase_add_test(t, an_app_that_is_gone_is_gone_behind_the_door);
    tcase_add_test(t, its_end_is_theirs);
    suite_add_tcase(s, t);
    return suite_run(s);
}
