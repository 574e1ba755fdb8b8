/*
 * tests/stats/http_fixture.h - a stats endpoint and a client of it
 */
#pragma once

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
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

static inline void sum_fake(void *arg, struct counters *ret)
{
    counter_add(&ret->requests, 4711);
}

static inline void describe_fake(void *arg, const struct stats_reader *reader, json_t *root)
{
    json_object_set_new(root, "user", json_string("<script>\"\n"));
}

static inline bool ready_fake(void *arg)
{
    return is_ready;
}

static const struct stats_source source = {
    .role = STATS_relay,
    .sum = sum_fake,
    .describe = describe_fake,
    .ready = ready_fake,
};

static inline void start(const char *address, const char *token)
{
    struct addr listen;

    ck_assert(addr_parse_ip(address, 0, &listen));
    ck_assert_int_eq(stats_http_new(base, &listen, token, &source, &http), 0);
    ck_assert_uint_ne(stats_http_addr(http).port, 0);
}

static inline void setup(void)
{
    log_init(LOG_LEVEL_ERROR, false);
    base = event_base_new();
    is_ready = true;
    start("127.0.0.1", NULL);
}

static inline void restart(const char *address, const char *token)
{
    stats_http_free(http);
    start(address, token);
}

static inline void teardown(void)
{
    stats_http_free(http);
    event_base_free(base);
}

static inline unsigned int port(void)
{
    return stats_http_addr(http).port;
}

static inline void pump(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    event_base_loop(base, EVLOOP_NONBLOCK);
    poll(&pfd, fd >= 0, 1);
}

static inline int connect_to(const char *ip)
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

static inline void say(int fd, const void *data, size_t len)
{
    ck_assert_int_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Everything up to the end of the connection, which must come. */
static inline const char *hear(int fd)
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

static inline const char *ask_raw(const char *ip, const void *data, size_t len)
{
    int fd = connect_to(ip);

    say(fd, data, len);
    return hear(fd);
}

__attribute__((format(printf, 1, 2))) static inline const char *ask(const char *format, ...)
{
    char request[16384];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(request, sizeof(request), format, args);
    va_end(args);
    return ask_raw("127.0.0.1", request, (size_t)len);
}

static inline const char *get(const char *path)
{
    return ask("GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", path, port());
}

static inline const char *get_host(const char *host)
{
    return ask("GET /stats.json HTTP/1.1\r\nHost: %s\r\n\r\n", host);
}

static inline void expect_status(const char *text, int status)
{
    char line[16];

    snprintf(line, sizeof(line), "HTTP/1.%c %d ", text[7] == '0' ? '0' : '1', status);
    ck_assert_msg(strncmp(text, line, strlen(line)) == 0, "not %d: %.200s", status, text);
}

static inline const char *body_of(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");

    ck_assert_ptr_nonnull(end);
    return end + 4;
}
