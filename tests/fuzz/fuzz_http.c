/*
 * Bytes of a client of the stats endpoint, through evhttp to our answers. The first byte
 * says at how many places they are cut into writes. What stands for a port in a seed
 * ("99999") becomes the real one: without the right Host there is nothing but 421.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/log.h"
#include "relay/stats/http.h"
#include "tests/fuzz/fuzz.h"

#define PLACEHOLDER "99999"
#define ANSWER_MAX  65536
#define MAX_TURNS   400 /* some milliseconds: an incomplete request is not waited for */

static struct event_base *base;
static struct stats_http *http;
static char answer[ANSWER_MAX + 1];
static unsigned int n_described;

static void sum(void *arg, struct counters *ret)
{
    counter_add(&ret->requests, 4711);
}

static void describe(void *arg, const struct stats_reader *reader, json_t *root)
{
    n_described++;
    json_object_set_new(root, "user", json_string("<script>"));
}

static bool ready(void *arg)
{
    return true;
}

/* Tens of thousands of connections leave as many ports in TIME-WAIT: not on the machine's own
 * loopback, where others look for ports. Where that is not allowed, they do. */
static void leave_network(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    fuzz_check(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0);
    close(fd);
}

static void start(void)
{
    static const struct stats_source source = {
        .role = STATS_both, .sum = sum, .describe = describe, .ready = ready};
    struct addr listen;

    signal(SIGPIPE, SIG_IGN);
    leave_network();
    log_init(LOG_LEVEL_ERROR, false);
    base = event_base_new();
    fuzz_check(base && addr_parse_ip("127.0.0.1", 0, &listen));
    fuzz_check(stats_http_new(base, &listen, "token", &source, &http) == 0);
}

static void put_port(uint8_t *data, size_t size)
{
    char port[6];

    snprintf(port, sizeof(port), "%05u", stats_http_addr(http).port);
    for (size_t i = 0; i + 5 <= size; i++)
        if (memcmp(data + i, PLACEHOLDER, 5) == 0)
            memcpy(data + i, port, 5);
}

/* Each from an address of its own: one alone has not enough ports. */
static int open_client(void)
{
    static uint32_t n;
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(0x7F010000u + ++n % 0xFFFF)};
    struct addr to = stats_http_addr(http);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&to, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    fuzz_check(fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0);
    fuzz_check(connect(fd, (struct sockaddr *)&sa, len) == 0);
    return fd;
}

/* Return: whether the end of the answer has come. */
static bool hear(int fd, size_t *len)
{
    ssize_t n = recv(fd, answer + *len, ANSWER_MAX - *len, MSG_DONTWAIT);

    fuzz_check(*len < ANSWER_MAX); /* none of ours is as long */
    *len += n > 0 ? (size_t)n : 0;
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static size_t converse(const uint8_t *data, size_t size, size_t n_parts)
{
    size_t part = size / n_parts + 1, sent = 0, len = 0;
    int fd = open_client();

    for (int turn = 0; turn < MAX_TURNS; turn++) {
        size_t n = size - sent < part ? size - sent : part;
        ssize_t r = n > 0 ? send(fd, data + sent, n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

        sent = r < 0 && errno != EAGAIN ? size : sent + (r > 0 ? (size_t)r : 0);
        if (sent == size)
            shutdown(fd, SHUT_WR);
        event_base_loop(base, EVLOOP_NONBLOCK);
        if (hear(fd, &len))
            break;
        if (turn > 10)
            poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, turn > 20 ? 1 : 0);
    }
    close(fd);
    event_base_loop(base, EVLOOP_NONBLOCK);
    answer[len] = '\0';
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned int before = n_described;
    bool shows_token;
    uint8_t *copy;

    if (!http)
        start();
    if (size == 0)
        return 0;
    copy = malloc(size);
    fuzz_check(copy != NULL);
    memcpy(copy, data, size);
    put_port(copy + 1, size - 1);
    shows_token = memmem(copy, size, "token", 5) != NULL;
    if (converse(copy + 1, size - 1, 1 + copy[0] % 4) > 0) {
        fuzz_check(strncmp(answer, "HTTP/", 5) == 0); /* of the version that was asked in */
        fuzz_check(!strstr(answer, "Access-Control"));
        fuzz_check(!strchr(answer, '<') || !strstr(answer, "<script>"));
    }
    /* What it holds is told to nobody without the token. */
    fuzz_check(n_described == before || shows_token);
    free(copy);
    return 0;
}
