#include <fcntl.h>
#include <ifaddrs.h>

#include "tests/stats/http_fixture.h"
#include "tests/support/suite.h"

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
    ck_assert_str_eq(body_of(reply), "not ready\n");
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

static unsigned int n_descriptors(void)
{
    unsigned int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* On the local proxy, calls wait while connections are accepted: four in 2 ms. */
START_TEST(a_flood_of_connections_is_taken_a_few_at_a_time)
{
    uint64_t until = clock_now_ns() + 3 * NS_PER_S, start_ns;
    int fds[40];
    unsigned int before, n, n_times;

    for (size_t i = 0; i < 40; i++)
        fds[i] = connect_to("127.0.0.1");
    before = n_descriptors();
    start_ns = clock_now_ns();
    event_base_loop(base, EVLOOP_NONBLOCK);
    n_times = (unsigned int)((clock_now_ns() - start_ns) / (2 * NS_PER_MS)) + 1;
    n = n_descriptors() - before;
    ck_assert_uint_gt(n, 0);
    ck_assert_uint_le(n, 4 * n_times);
    while (n_descriptors() < before + 40) {
        ck_assert_msg(clock_now_ns() < until, "not all of them are taken");
        pump(-1);
    }
    for (size_t i = 0; i < 40; i++)
        close(fds[i]);
}
END_TEST

START_TEST(other_paths_are_not_found)
{
    static const char *const paths[] = {
        "/stats",      "/metrics/",   "/../stats.json", "/%73tats.json", "/index.html",
        "//metrics/x", "/healthz%00", "/check/",        "/style.css.",   "/./"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        get(paths[i]);
        ck_assert_msg(strstr(reply, " 404 ") || strstr(reply, " 421 "), "%s: %s", paths[i], reply);
    }
    expect_status(get("/stats"), 404);
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

static Suite *suite(void)
{
    Suite *s = suite_create("stats/http");
    TCase *pages = tcase_create("pages");
    TCase *host = tcase_create("host");
    TCase *token = tcase_create("token");

    tcase_add_test(pages, health_answers);
    tcase_add_test(pages, readiness_ends_when_draining);
    tcase_add_test(pages, json_carries_counters_and_what_the_role_adds);
    tcase_add_test(pages, metrics_carry_counters_and_no_user);
    tcase_add_test(pages, a_flood_of_connections_is_taken_a_few_at_a_time);
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
    tcase_add_test(token, with_a_token_only_health_is_open);
    tcase_add_test(token, only_the_right_token_opens);
    tcase_add_test(token, without_a_token_only_loopback_is_listened_on);
    tcase_add_checked_fixture(pages, setup, teardown);
    tcase_set_timeout(pages, 30);
    suite_add_tcase(s, pages);
    tcase_add_checked_fixture(host, setup, teardown);
    tcase_set_timeout(host, 30);
    suite_add_tcase(s, host);
    tcase_add_checked_fixture(token, setup, teardown);
    tcase_set_timeout(token, 30);
    suite_add_tcase(s, token);
    return s;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as http.h asks of the program */
    return suite_run(suite());
}
