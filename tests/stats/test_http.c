#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <ifaddrs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/stats/conns.h"
#include "relay/stats/http.h"

/* Client and server share one thread: the client's sockets are real, and the server's loop turns
 * whenever the client has nothing to read. */

static struct event_base *base;
static struct stats_http *http;
static bool is_ready;
static char reply[65536];

static void sum_fake(void *arg, struct counters *ret)
{
    counter_add(&ret->requests, 4711);
}

static void describe_fake(void *arg, json_t *root)
{
    json_object_set_new(root, "user", json_string("<script>\"\n"));
}

static bool ready_fake(void *arg)
{
    return is_ready;
}

static const struct stats_source source = {
    .sum = sum_fake,
    .describe = describe_fake,
    .ready = ready_fake,
};

static void start(const char *address, const char *token)
{
    struct addr listen;

    ck_assert(addr_parse_ip(address, 0, &listen));
    ck_assert_int_eq(stats_http_new(base, &listen, token, &source, &http), 0);
    ck_assert_uint_ne(stats_http_addr(http).port, 0);
}

static void setup(void)
{
    log_init(LOG_LEVEL_ERROR, false);
    base = event_base_new();
    is_ready = true;
    start("127.0.0.1", NULL);
}

static void restart(const char *address, const char *token)
{
    stats_http_free(http);
    start(address, token);
}

static void teardown(void)
{
    stats_http_free(http);
    event_base_free(base);
}

static unsigned int port(void)
{
    return stats_http_addr(http).port;
}

static void pump(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    event_base_loop(base, EVLOOP_NONBLOCK);
    poll(&pfd, fd >= 0, 1);
}

static int connect_to(const char *ip)
{
    struct sockaddr_storage sa;
    struct addr to;
    socklen_t len;
    int fd;

    ck_assert(addr_parse_ip(ip, (uint16_t)port(), &to));
    len = addr_to_sockaddr(&to, &sa);
    fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
    return fd;
}

static void say(int fd, const void *data, size_t len)
{
    ck_assert_int_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Everything up to the end of the connection, which must come. */
static const char *hear(int fd)
{
    uint64_t until = clock_now_ns() + 3 * NS_PER_S; /* less than the server's patience */
    size_t len = 0;
    ssize_t n;

    do {
        ck_assert_msg(clock_now_ns() < until, "the connection stays open");
        pump(fd);
        n = recv(fd, reply + len, sizeof(reply) - 1 - len, MSG_DONTWAIT);
        if (n > 0)
            len += (size_t)n;
    } while (n > 0 || (n < 0 && errno == EAGAIN));
    reply[len] = '\0';
    close(fd);
    return reply;
}

static const char *ask_raw(const char *ip, const void *data, size_t len)
{
    int fd = connect_to(ip);

    say(fd, data, len);
    return hear(fd);
}

__attribute__((format(printf, 1, 2))) static const char *ask(const char *format, ...)
{
    char request[16384];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(request, sizeof(request), format, args);
    va_end(args);
    return ask_raw("127.0.0.1", request, (size_t)len);
}

static const char *get(const char *path)
{
    return ask("GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", path, port());
}

static const char *get_host(const char *host)
{
    return ask("GET /stats.json HTTP/1.1\r\nHost: %s\r\n\r\n", host);
}

static void expect_status(const char *text, int status)
{
    char line[16];

    snprintf(line, sizeof(line), "HTTP/1.%c %d ", text[7] == '0' ? '0' : '1', status);
    ck_assert_msg(strncmp(text, line, strlen(line)) == 0, "not %d: %.200s", status, text);
}

static const char *body_of(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");

    ck_assert_ptr_nonnull(end);
    return end + 4;
}

START_TEST(health_answers)
{
    expect_status(get("/healthz"), 200);
    ck_assert_str_eq(body_of(reply), "ok\n");
}
END_TEST

START_TEST(readiness_ends_when_draining)
{
    expect_status(get("/readyz"), 200);
    ck_assert_str_eq(body_of(reply), "ready\n");
    is_ready = false;
    expect_status(get("/readyz"), 503);
    ck_assert_str_eq(body_of(reply), "draining\n");
    expect_status(get("/healthz"), 200);
}
END_TEST

START_TEST(json_carries_counters_and_what_the_role_adds)
{
    json_t *root;

    expect_status(get("/stats.json?pretty"), 200);
    ck_assert_ptr_nonnull(strstr(reply, "\r\nContent-Type: application/json\r\n"));
    ck_assert_ptr_null(strchr(reply, '<'));
    root = json_loads(body_of(reply), 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_object_get(root, "counters"), "requests")), 4711);
    ck_assert_str_eq(json_string_value(json_object_get(root, "user")), "<script>\"\n");
    json_decref(root);
}
END_TEST

START_TEST(metrics_carry_counters_and_no_user)
{
    expect_status(get("/metrics"), 200);
    ck_assert_ptr_nonnull(
        strstr(reply, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    ck_assert_ptr_nonnull(strstr(reply, "\ncallveil_requests_total 4711\n"));
    ck_assert_ptr_null(strstr(reply, "script"));
}
END_TEST

START_TEST(other_paths_are_not_found)
{
    static const char *const paths[] = {
        "/",           "/stats",     "/metrics/", "/../stats.json", "/%73tats.json",
        "//metrics/x", "/healthz%00"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        get(paths[i]);
        ck_assert_msg(strstr(reply, " 404 ") || strstr(reply, " 421 "), "%s: %s", paths[i], reply);
    }
    expect_status(get("/"), 404);
}
END_TEST

START_TEST(every_answer_has_the_headers_and_no_cors)
{
    static const char *const paths[] = {"/healthz", "/stats.json", "/metrics", "/nothing"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        get(paths[i]);
        ck_assert_ptr_nonnull(strstr(reply, "\r\nContent-Type: "));
        ck_assert_ptr_nonnull(strstr(reply, "\r\nX-Content-Type-Options: nosniff\r\n"));
        ck_assert_ptr_nonnull(strstr(reply, "\r\nCache-Control: no-store\r\n"));
        ck_assert_ptr_nonnull(strstr(reply, "\r\nContent-Security-Policy: default-src 'none'\r\n"));
        ck_assert_ptr_nonnull(strstr(reply, "\r\nConnection: close\r\n"));
        ck_assert_ptr_null(strcasestr(reply, "access-control"));
    }
}
END_TEST

START_TEST(head_has_headers_and_no_body)
{
    char length[64];
    size_t len;

    expect_status(get("/metrics"), 200);
    len = strlen(body_of(reply));
    snprintf(length, sizeof(length), "\r\nContent-Length: %zu\r\n", len);
    ck_assert_ptr_nonnull(strstr(reply, length));
    expect_status(ask("HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", port()), 200);
    ck_assert_str_eq(body_of(reply), "");
    ck_assert_ptr_nonnull(strstr(reply, length));
    expect_status(ask("HEAD /x HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", port()), 404);
    ck_assert_str_eq(body_of(reply), "");
}
END_TEST

START_TEST(our_own_hosts_are_served)
{
    char host[64];

    snprintf(host, sizeof(host), "127.0.0.1:%u", port());
    expect_status(get_host(host), 200);
    snprintf(host, sizeof(host), "LocalHost:%u", port());
    expect_status(get_host(host), 200);
}
END_TEST

START_TEST(a_rebound_name_learns_nothing)
{
    static const char *const formats[] = {
        "evil.example:%u",
        "evil.example",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:1",
        "127.0.0.2:%u",
        "127.0.0.1.evil.com:%u",
        "0.0.0.0:%u",
        "localhost.:%u",
        "localhost:%u.evil.com",
        "[::1]:%u",
        "2130706433:%u",
        "127.1:%u",
        "user@127.0.0.1:%u",
        "127.0.0.1:%u, evil.example",
        "0x7f.0.0.1:%u",
        "",
        "127.0.0.1:99999",
    };
    char host[64];

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        snprintf(host, sizeof(host), formats[i], port());
        get_host(host);
        ck_assert_msg(strncmp(reply, "HTTP/1.1 421 ", 13) == 0, "%s: %s", host, reply);
        ck_assert_ptr_null(strstr(reply, "counters"));
    }
    /* nor which paths there are, nor whether we are well */
    expect_status(ask("GET /nothing HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 421);
    expect_status(ask("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 421);
    expect_status(ask("POST /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 421);
}
END_TEST

START_TEST(a_request_names_one_host)
{
    expect_status(ask("GET /stats.json HTTP/1.0\r\n\r\n"), 400);
    expect_status(ask("GET /stats.json HTTP/1.1\r\n\r\n"), 400);
    expect_status(
        ask("GET /stats.json HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nhost: evil.example\r\n\r\n", port()),
        400);
    expect_status(ask("GET /stats.json HTTP/1.0\r\nHost: 127.0.0.1:%u\r\n\r\n", port()), 200);
}
END_TEST

START_TEST(a_host_in_the_request_line_counts_too)
{
    expect_status(
        ask("GET http://evil.example/stats.json HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", port()),
        421);
    expect_status(
        ask("GET //evil.example/stats.json HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", port()), 421);
    expect_status(ask("GET http://127.0.0.1:%u/stats.json HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n",
                      port(), port()),
                  200);
    expect_status(ask("CONNECT evil.example:443 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", port()),
                  421);
}
END_TEST

START_TEST(ipv6_loopback_is_served_under_its_name)
{
    char request[128];
    int len;

    restart("::1", NULL);
    len = snprintf(request, sizeof(request), "GET /metrics HTTP/1.1\r\nHost: [::1]:%u\r\n\r\n",
                   port());
    expect_status(ask_raw("::1", request, (size_t)len), 200);
    len = snprintf(request, sizeof(request), "GET /metrics HTTP/1.1\r\nHost: localhost:%u\r\n\r\n",
                   port());
    expect_status(ask_raw("::1", request, (size_t)len), 200);
    len = snprintf(request, sizeof(request), "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n",
                   port());
    expect_status(ask_raw("::1", request, (size_t)len), 421);
}
END_TEST

START_TEST(a_wildcard_listener_is_named_by_the_address_reached)
{
    restart("0.0.0.0", "s3cret");
    expect_status(ask("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                      "Authorization: Bearer s3cret\r\n\r\n",
                      port()),
                  200);
    expect_status(ask("GET /metrics HTTP/1.1\r\nHost: 127.0.0.2:%u\r\n"
                      "Authorization: Bearer s3cret\r\n\r\n",
                      port()),
                  421);
    expect_status(ask("GET /metrics HTTP/1.1\r\nHost: 0.0.0.0:%u\r\n"
                      "Authorization: Bearer s3cret\r\n\r\n",
                      port()),
                  421);
}
END_TEST

/* The first IPv4 address of this machine that is not loopback's. */
static bool outside_address(char *ret_text, size_t cap)
{
    struct ifaddrs *list;
    bool found = false;

    ck_assert_int_eq(getifaddrs(&list), 0);
    for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
        struct addr a = i->ifa_addr ? addr_from_sockaddr(i->ifa_addr) : (struct addr){0};

        found = a.family == ADDR_IPV4 && !addr_is_loopback(&a);
        if (found)
            addr_format_ip(&a, ret_text, cap);
    }
    freeifaddrs(list);
    return found;
}

START_TEST(localhost_is_no_name_for_an_outside_address)
{
    char ip[ADDR_STRLEN], request[160];
    int len;

    if (!outside_address(ip, sizeof(ip)))
        return; /* a machine of loopback alone has nothing to confuse */
    restart(ip, "s3cret");
    len = snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\nHost: localhost:%u\r\n\r\n",
                   port());
    expect_status(ask_raw(ip, request, (size_t)len), 421);
    len = snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\nHost: %s:%u\r\n\r\n", ip,
                   port());
    expect_status(ask_raw(ip, request, (size_t)len), 200);
}
END_TEST

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

START_TEST(with_a_token_only_health_is_open)
{
    restart("127.0.0.1", "s3cret");
    expect_status(get("/healthz"), 200);
    expect_status(get("/readyz"), 200);
    expect_status(get("/stats.json"), 401);
    ck_assert_ptr_nonnull(strstr(reply, "\r\nWWW-Authenticate: Bearer"));
    ck_assert_ptr_null(strstr(reply, "counters"));
    expect_status(get("/metrics"), 401);
    expect_status(get("/nothing"), 401);
}
END_TEST

START_TEST(only_the_right_token_opens)
{
    static const struct {
        const char *header;
        int status;
    } cases[] = {
        {"Authorization: Bearer s3cret", 200},
        {"authorization: bearer s3cret", 200},
        {"Authorization: Bearer  s3cret", 200},
        {"Authorization: Bearer s3cre", 401},
        {"Authorization: Bearer s3cretx", 401},
        {"Authorization: Bearer S3cret", 401},
        {"Authorization: Bearer ", 401},
        {"Authorization: Bearer", 401},
        {"Authorization: Basic s3cret", 401},
        {"Authorization: Broken s3cret", 401},
        {"Authorization: s3cret", 401},
        {"Authorization:", 401},
        {"Cookie: s3cret", 401},
        {"X: y", 401},
    };

    restart("127.0.0.1", "s3cret");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ask("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s\r\n\r\n", port(), cases[i].header);
        expect_status(reply, cases[i].status);
    }
}
END_TEST

START_TEST(without_a_token_only_loopback_is_listened_on)
{
    static const char *const addresses[] = {"0.0.0.0", "::", "192.0.2.1"};
    struct stats_http *other = NULL;
    int keep = dup(STDERR_FILENO), null[2];
    struct addr listen;
    char line[256];

    for (size_t i = 0; i < 2 * sizeof(addresses) / sizeof(addresses[0]); i++) {
        ssize_t n;

        ck_assert_int_eq(pipe(null), 0);
        dup2(null[1], STDERR_FILENO);
        ck_assert(addr_parse_ip(addresses[i / 2], 0, &listen));
        ck_assert_int_eq(stats_http_new(base, &listen, i % 2 ? "" : NULL, &source, &other), -1);
        dup2(keep, STDERR_FILENO);
        n = read(null[0], line, sizeof(line) - 1);
        ck_assert_int_gt(n, 0);
        line[n] = '\0';
        ck_assert_ptr_nonnull(strstr(line, "set a token"));
        close(null[0]);
        close(null[1]);
    }
    ck_assert_ptr_null(other);
    close(keep);
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
    Suite *s = suite_create("stats/http");
    TCase *pages = tcase_create("pages"), *host = tcase_create("host"),
          *input = tcase_create("input"), *token = tcase_create("token"),
          *clients = tcase_create("clients");
    TCase *all[] = {pages, host, input, token, clients};

    tcase_add_test(pages, health_answers);
    tcase_add_test(pages, readiness_ends_when_draining);
    tcase_add_test(pages, json_carries_counters_and_what_the_role_adds);
    tcase_add_test(pages, metrics_carry_counters_and_no_user);
    tcase_add_test(pages, other_paths_are_not_found);
    tcase_add_test(pages, every_answer_has_the_headers_and_no_cors);
    tcase_add_test(pages, head_has_headers_and_no_body);
    tcase_add_test(host, our_own_hosts_are_served);
    tcase_add_test(host, a_rebound_name_learns_nothing);
    tcase_add_test(host, a_request_names_one_host);
    tcase_add_test(host, a_host_in_the_request_line_counts_too);
    tcase_add_test(host, ipv6_loopback_is_served_under_its_name);
    tcase_add_test(host, a_wildcard_listener_is_named_by_the_address_reached);
    tcase_add_test(host, localhost_is_no_name_for_an_outside_address);
    tcase_add_test(input, only_get_and_head_are_allowed);
    tcase_add_test(input, s24_bad_bodies_and_lengths_are_refused);
    tcase_add_test(input, s24_garbage_is_refused);
    tcase_add_test(input, every_truncation_of_a_request_is_survived);
    tcase_add_test(input, large_headers_are_refused);
    tcase_add_test(input, a_connection_carries_one_request);
    tcase_add_test(token, with_a_token_only_health_is_open);
    tcase_add_test(token, only_the_right_token_opens);
    tcase_add_test(token, without_a_token_only_loopback_is_listened_on);
    tcase_add_test(clients, a_port_in_use_is_an_error_not_a_crash);
    tcase_add_test(clients, two_hundred_idle_connections_do_not_stop_health);
    tcase_add_test(clients, a_thousand_requests_leave_no_descriptor_behind);
    tcase_add_test(clients, it_can_be_freed_with_clients_in_every_state);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        tcase_add_checked_fixture(all[i], setup, teardown);
        tcase_set_timeout(all[i], 30);
        suite_add_tcase(s, all[i]);
    }
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    int n_failed;

    signal(SIGPIPE, SIG_IGN); /* as http.h asks of the program */

    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
