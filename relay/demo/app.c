#include "relay/demo/app.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/net/batch.h"

#define APP_STEP_NS    (5 * NS_PER_S)
#define APP_EVERY_NS   (20 * NS_PER_MS)
#define APP_PACKET_LEN 172
#define APP_HEADER_LEN 10 /* of a SOCKS5 datagram with an IPv4 address (RFC 1928, section 7) */
#define APP_CHUNK      16384

static int app_fail(struct demo_app *app, const char *what, int error)
{
    snprintf(app->why, sizeof(app->why), "the app: %s: %s", what,
             error == -ETIMEDOUT ? "no answer" : strerror(-error));
    return -1;
}

/* ---- sockets ---- */

/* Return: what poll(2) reports, 0 at the deadline. */
static int app_poll(struct pollfd *fds, nfds_t n, uint64_t deadline_ns)
{
    uint64_t now_ns = clock_now_ns();
    int ms = deadline_ns > now_ns ? (int)((deadline_ns - now_ns) / NS_PER_MS + 1) : 0;
    int r = poll(fds, n, ms);

    return r < 0 ? 0 : r;
}

static int app_open_socket(struct addr *addr, int type)
{
    int fd = type == SOCK_STREAM ? sock_listen(addr, SOCK_REUSEADDR) : sock_bind(addr, type, 0);

    if (fd >= 0)
        sock_local_addr(fd, addr);
    return fd;
}

int demo_app_open(struct demo_app *app, const struct addr *peer, const struct addr *dns)
{
    app->peer_udp_addr = app->peer_tcp_addr = *peer;
    app->dns_addr = *dns;
    app->peer_udp = app_open_socket(&app->peer_udp_addr, SOCK_DGRAM);
    app->peer_tcp = app_open_socket(&app->peer_tcp_addr, SOCK_STREAM);
    app->dns = app_open_socket(&app->dns_addr, SOCK_DGRAM);
    if (app->peer_udp < 0 || app->peer_tcp < 0 || app->dns < 0)
        return app_fail(app, "the peer's sockets", -EADDRNOTAVAIL);
    return 0;
}

void demo_app_close(struct demo_app *app)
{
    const int fds[] = {app->peer_udp, app->peer_tcp, app->dns};

    for (size_t i = 0; i < 3; i++)
        if (fds[i] > 0)
            close(fds[i]);
    app->peer_udp = app->peer_tcp = app->dns = -1;
}

/* ---- the name server: one name, one address ---- */

/* Answers a query for DEMO_PEER_NAME with the peer's address, all others with "no data". */
static void app_serve_dns(struct demo_app *app)
{
    uint8_t buf[512], *at;
    struct sockaddr_storage sa;
    socklen_t sa_len = sizeof(sa);
    ssize_t n = recvfrom(app->dns, buf, sizeof(buf) - 16, 0, (struct sockaddr *)&sa, &sa_len);
    size_t end = 12;
    bool wants_a;

    if (n < 17)
        return;
    app->dns_seen = addr_from_sockaddr((struct sockaddr *)&sa);
    while (end < (size_t)n && buf[end] != 0)
        end += 1u + buf[end];
    end += 5; /* the root label, QTYPE and QCLASS (RFC 1035, section 4.1.2) */
    if (end > (size_t)n)
        return;
    wants_a = buf[end - 3] == 1 && end == 12 + 2 + strlen(DEMO_PEER_NAME) + 4;
    buf[2] = 0x84; /* an authoritative answer */
    buf[3] = 0;
    memset(buf + 6, 0, 6);
    buf[7] = wants_a;
    at = buf + end;
    if (wants_a) {
        static const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4};

        memcpy(at, record, sizeof(record));
        memcpy(at + sizeof(record), app->peer_tcp_addr.ip, 4);
        at += sizeof(record) + 4;
    }
    (void)sendto(app->dns, buf, (size_t)(at - buf), 0, (struct sockaddr *)&sa, sa_len);
}

/* ---- SOCKS5, the app's side (RFC 1928) ---- */

/* Waits for `len` bytes while the name server goes on. Return: 0 or -errno. */
static int app_read(struct demo_app *app, int fd, uint8_t *buf, size_t len, uint64_t deadline_ns)
{
    while (len > 0) {
        struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = app->dns, .events = POLLIN}};
        ssize_t n;

        if (app_poll(fds, 2, deadline_ns) == 0)
            return -ETIMEDOUT;
        if (fds[1].revents & POLLIN)
            app_serve_dns(app);
        if (!fds[0].revents)
            continue;
        n = recv(fd, buf, len, MSG_DONTWAIT);
        if (n <= 0)
            return n == 0 ? -ECONNRESET : -errno;
        buf += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Return: a connected, blocking socket from the app's own address, or -errno. */
static int app_connect(const struct demo_app *app)
{
    struct sockaddr_storage from, to;
    socklen_t from_len = addr_to_sockaddr(&app->own, &from);
    socklen_t to_len = addr_to_sockaddr(&app->socks5, &to);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&from, from_len) < 0 ||
        connect(fd, (struct sockaddr *)&to, to_len) < 0) {
        int r = -errno;

        close(fd);
        return r;
    }
    return fd;
}

/* Negotiates and asks. `request` is all of it but the version. Return: the socket, or -1. */
static int app_request(struct demo_app *app, const uint8_t *request, size_t len,
                       struct addr *ret_bound)
{
    static const uint8_t greeting[] = {5, 1, 0};
    uint64_t deadline_ns = clock_now_ns() + APP_STEP_NS;
    uint8_t reply[10];
    int fd = app_connect(app), r = fd;

    if (r >= 0)
        r = send(fd, greeting, sizeof(greeting), MSG_NOSIGNAL) < 0 ? -errno : 0;
    if (r == 0)
        r = app_read(app, fd, reply, 2, deadline_ns);
    if (r == 0)
        r = send(fd, request, len, MSG_NOSIGNAL) < 0 ? -errno : 0;
    if (r == 0)
        r = app_read(app, fd, reply, sizeof(reply), deadline_ns);
    if (r == 0 && reply[1] == 0 && reply[3] == 1) {
        *ret_bound = addr_make(ADDR_IPV4, reply + 4, (uint16_t)(reply[8] << 8 | reply[9]));
        return fd;
    }
    if (fd >= 0)
        close(fd);
    if (r == 0) {
        snprintf(app->why, sizeof(app->why), "the app: SOCKS5 answered with error %u", reply[1]);
        return -1;
    }
    return app_fail(app, "SOCKS5", r);
}

/* ---- datagrams ---- */

static void app_packet(uint32_t i, uint8_t *buf)
{
    memset(buf, 0xd5, APP_PACKET_LEN);
    put_u32(buf, i);
}

static int app_send_packet(struct demo_app *app, int fd, const struct addr *proxy)
{
    uint8_t buf[APP_HEADER_LEN + APP_PACKET_LEN] = {0, 0, 0, 1};
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(proxy, &sa);

    memcpy(buf + 4, app->peer_udp_addr.ip, 4);
    put_u16(buf + 8, app->peer_udp_addr.port);
    app_packet(app->n_sent++, buf + APP_HEADER_LEN);
    return sendto(fd, buf, sizeof(buf), 0, (struct sockaddr *)&sa, sa_len) < 0 ? -errno : 0;
}

/* The peer returns what it gets to where it came from. */
static void app_echo(struct demo_app *app)
{
    uint8_t buf[2048];
    struct sockaddr_storage sa;
    socklen_t sa_len = sizeof(sa);
    ssize_t n = recvfrom(app->peer_udp, buf, sizeof(buf), 0, (struct sockaddr *)&sa, &sa_len);

    if (n < 0)
        return;
    app->udp_seen = addr_from_sockaddr((struct sockaddr *)&sa);
    (void)sendto(app->peer_udp, buf, (size_t)n, 0, (struct sockaddr *)&sa, sa_len);
}

/* Return: the number of a packet that came back as it was sent, from the peer; or -1. */
static int app_receive_packet(const struct demo_app *app, int fd)
{
    uint8_t buf[2048], wanted[APP_PACKET_LEN];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    struct reader r = reader_make(buf + APP_HEADER_LEN, APP_PACKET_LEN);
    uint32_t i;

    if (n != APP_HEADER_LEN + APP_PACKET_LEN || buf[3] != 1 ||
        memcmp(buf + 4, app->peer_udp_addr.ip, 4) != 0 ||
        (buf[8] << 8 | buf[9]) != app->peer_udp_addr.port)
        return -1;
    i = reader_u32(&r);
    app_packet(i, wanted);
    return i < app->n_sent && memcmp(wanted, buf + APP_HEADER_LEN, APP_PACKET_LEN) == 0 ? (int)i
                                                                                        : -1;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int app_exchange(struct demo_app *app, int fd, const struct addr *proxy)
{
    uint64_t sent_ns[DEMO_APP_PACKETS], next_ns = clock_now_ns();
    uint64_t end_ns = next_ns + DEMO_APP_PACKETS * APP_EVERY_NS + APP_STEP_NS / 2;
    bool seen[DEMO_APP_PACKETS] = {false};
    uint32_t rtt_us[DEMO_APP_PACKETS];

    while (app->n_echoed < DEMO_APP_PACKETS && clock_now_ns() < end_ns) {
        struct pollfd fds[] = {{.fd = fd, .events = POLLIN},
                               {.fd = app->peer_udp, .events = POLLIN}};
        int i;

        if (app->n_sent < DEMO_APP_PACKETS && clock_now_ns() >= next_ns) {
            sent_ns[app->n_sent] = clock_now_ns();
            next_ns += APP_EVERY_NS;
            if (app_send_packet(app, fd, proxy) < 0)
                return app_fail(app, "sending", -errno);
        }
        (void)app_poll(fds, 2, app->n_sent < DEMO_APP_PACKETS ? next_ns : end_ns);
        if (fds[1].revents & POLLIN)
            app_echo(app);
        i = fds[0].revents & POLLIN ? app_receive_packet(app, fd) : -1;
        if (i >= 0 && !seen[i]) {
            seen[i] = true;
            rtt_us[app->n_echoed++] = (uint32_t)((clock_now_ns() - sent_ns[i]) / NS_PER_US);
        }
    }
    if (app->n_echoed > 0) {
        qsort(rtt_us, app->n_echoed, sizeof(rtt_us[0]), compare_u32);
        app->rtt_us = rtt_us[app->n_echoed / 2];
    }
    return 0;
}

int demo_app_datagrams(struct demo_app *app)
{
    static const uint8_t associate[] = {5, 3, 0, 1, 0, 0, 0, 0, 0, 0};
    struct addr proxy;
    int control = app_request(app, associate, sizeof(associate), &proxy), fd, r;

    if (control < 0)
        return -1;
    fd = sock_bind(&app->own, SOCK_DGRAM, 0);
    r = fd < 0 ? app_fail(app, "a socket", fd) : app_exchange(app, fd, &proxy);
    if (fd >= 0)
        close(fd);
    close(control);
    return r;
}

/* ---- the stream ---- */

static uint8_t app_byte(size_t at)
{
    return (uint8_t)(at * 131 >> 3);
}

/* The peer's end: everything that comes goes back. Return: 0 or -errno. */
static int app_echo_stream(int fd, uint64_t deadline_ns)
{
    uint8_t buf[APP_CHUNK];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

    for (ssize_t at = 0; at < n;) {
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        ssize_t sent = send(fd, buf + at, (size_t)(n - at), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent > 0)
            at += sent;
        else if (errno != EAGAIN || app_poll(&wait, 1, deadline_ns) == 0)
            return -EPIPE;
    }
    return n < 0 && errno != EAGAIN ? -errno : 0;
}

static ssize_t app_send_some(int fd, size_t at)
{
    uint8_t buf[APP_CHUNK];
    size_t len = DEMO_APP_BYTES - at < sizeof(buf) ? DEMO_APP_BYTES - at : sizeof(buf);

    for (size_t i = 0; i < len; i++)
        buf[i] = app_byte(at + i);
    return send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Return: whether what came is what was sent. */
static bool app_take_some(struct demo_app *app, int fd)
{
    uint8_t buf[APP_CHUNK];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

    for (ssize_t i = 0; i < n; i++)
        if (buf[i] != app_byte(app->n_bytes++))
            return false;
    return n != 0;
}

static int app_exchange_stream(struct demo_app *app, int fd)
{
    uint64_t deadline_ns = clock_now_ns() + APP_STEP_NS;
    size_t n_sent = 0;
    struct sockaddr_storage sa;
    socklen_t sa_len = sizeof(sa);
    int peer = accept4(app->peer_tcp, (struct sockaddr *)&sa, &sa_len, SOCK_CLOEXEC), r = 0;

    if (peer < 0)
        return app_fail(app, "the peer's connection", -errno);
    app->tcp_seen = addr_from_sockaddr((struct sockaddr *)&sa);
    while (r == 0 && app->n_bytes < DEMO_APP_BYTES) {
        struct pollfd fds[] = {
            {.fd = fd, .events = (short)(POLLIN | (n_sent < DEMO_APP_BYTES ? POLLOUT : 0))},
            {.fd = peer, .events = POLLIN}};
        ssize_t n;

        if (app_poll(fds, 2, deadline_ns) == 0)
            r = -ETIMEDOUT;
        if (fds[1].revents)
            r = app_echo_stream(peer, deadline_ns);
        if (fds[0].revents & POLLOUT) {
            n = app_send_some(fd, n_sent);
            n_sent += n > 0 ? (size_t)n : 0;
        }
        if (fds[0].revents & (POLLIN | POLLHUP) && !app_take_some(app, fd))
            r = -ECONNRESET;
    }
    close(peer);
    return r < 0 ? app_fail(app, "the stream", r) : 0;
}

int demo_app_stream(struct demo_app *app)
{
    static const size_t name_len = sizeof(DEMO_PEER_NAME) - 1;
    uint8_t request[5 + sizeof(DEMO_PEER_NAME) - 1 + 2] = {5, 1, 0, 3, sizeof(DEMO_PEER_NAME) - 1};
    struct addr bound;
    int fd, r;

    memcpy(request + 5, DEMO_PEER_NAME, name_len);
    put_u16(request + 5 + name_len, app->peer_tcp_addr.port);
    fd = app_request(app, request, sizeof(request), &bound);
    if (fd < 0)
        return -1;
    r = app_exchange_stream(app, fd);
    close(fd);
    return r;
}
