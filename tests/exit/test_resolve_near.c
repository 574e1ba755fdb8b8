/*
 * The resolver with this machine's configuration and sockets
 *
 * c-ares runs as it is, against a DNS server of the test's own on loopback. Only its
 * configuration is told: the files it opens are the test's, and its port 53, which is not
 * ours to bind, is the test server's port.
 */
#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "relay/exit/resolve.h"
#include "tests/support/fake_dns.h"
#include "tests/support/suite.h"

static char hosts[] = "198.51.100.44 Relay.example.org relay\n";
static char resolv_conf[128];
static unsigned int conf_version, n_conf_read;
static uint16_t server_port;

static FILE *open_text(char *text)
{
    return fmemopen(text, strlen(text), "r");
}

FILE *fopen_of_cares(const char *path, const char *mode) __asm__("fopen");
FILE *fopen_of_cares(const char *path, const char *mode)
{
    if (strcmp(path, "/etc/hosts") == 0)
        return open_text(hosts);
    if (strcmp(path, "/etc/resolv.conf") == 0) {
        n_conf_read++;
        return open_text(resolv_conf);
    }
    if (strcmp(path, "/dev/urandom") == 0)
        return fdopen(open(path, O_RDONLY | O_CLOEXEC), mode);
    errno = ENOENT;
    return NULL;
}

int stat(const char *path, struct stat *ret)
{
    ck_assert_str_eq(path, "/etc/resolv.conf");
    *ret = (struct stat){.st_ino = 1 + conf_version, .st_size = 10};
    return 0;
}

int connect(int fd, __CONST_SOCKADDR_ARG sa, socklen_t len)
{
    static int (*real)(int, const struct sockaddr *, socklen_t);
    struct sockaddr_in to;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "connect");
    ck_assert_uint_eq(len, sizeof(to));
    memcpy(&to, sa.__sockaddr__, sizeof(to));
    /* The sorting of addresses connects to each of them. */
    if (to.sin_port == htons(53))
        to.sin_port = htons(server_port);
    return real(fd, (const struct sockaddr *)&to, sizeof(to));
}

/* ---- a server ---- */

static struct event_base *base;
static struct resolver *resolver;
static int server;
static unsigned int n_asked, n_searched;

static void server_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    uint8_t data[512];
    struct dns_query q;
    struct dns_answer a;
    bool nx;
    ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &from_len);

    if (n < 0 || !dns_query_read(&q, data, (size_t)n))
        return;
    n_asked++;
    nx = strncmp(q.name, "nx", 2) == 0;
    n_searched += strstr(q.name, "lan.example") != NULL;
    dns_begin(&a, &q, nx ? DNS_NXDOMAIN : DNS_NOERROR);
    if (q.type == DNS_A && !nx)
        dns_add_addr(&a, q.name, 60, "127.0.0.7");
    (void)sendto(fd, a.data, a.len, 0, (struct sockaddr *)&from, from_len);
}

/* ---- */

static unsigned int n_resolved;
static enum exit_result result;
static char first[ADDR_STRLEN];

static void on_resolved(void *user, enum exit_result r, const struct addr *addrs, size_t n)
{
    n_resolved++;
    result = r;
    if (n > 0)
        addr_format_ip(&addrs[0], first, sizeof(first));
    event_base_loopbreak(base);
}

static void look_up(const char *name)
{
    struct timeval limit = {.tv_sec = 20};
    struct lookup *l;
    unsigned int before = n_resolved;

    ck_assert_int_eq(resolver_lookup(resolver, name, on_resolved, NULL, &l), 0);
    ck_assert_uint_eq(n_resolved, before);
    event_base_loopexit(base, &limit);
    event_base_dispatch(base);
    ck_assert_uint_eq(n_resolved, before + 1);
}

static struct event *server_event;

static void setup(void)
{
    struct resolver_params params = {0};
    struct addr local = at("127.0.0.1:0");

    n_resolved = n_asked = n_searched = n_conf_read = 0;
    snprintf(resolv_conf, sizeof(resolv_conf), "nameserver 127.0.0.1\nsearch lan.example\n");
    base = params.base = event_base_new();
    server = sock_bind(&local, SOCK_DGRAM, 0);
    ck_assert_int_ge(server, 0);
    ck_assert_int_eq(sock_local_addr(server, &local), 0);
    server_port = local.port;
    server_event = event_new(base, server, EV_READ | EV_PERSIST, server_on_event, NULL);
    event_add(server_event, NULL);
    ck_assert_int_eq(resolver_new(&params, &resolver), 0);
}

static void teardown(void)
{
    resolver_free(resolver);
    event_free(server_event);
    close(server);
    event_base_free(base);
}

START_TEST(a_line_in_the_hosts_file_is_the_answer_for_both_families)
{
    look_up("relay.example.org");
    ck_assert_int_eq(result, EXIT_OK);
    ck_assert_str_eq(first, "198.51.100.44");
    look_up("relay");
    ck_assert_str_eq(first, "198.51.100.44");
    ck_assert_uint_eq(n_asked, 0);
}
END_TEST

START_TEST(another_name_is_asked_for_at_the_configured_server)
{
    look_up("relay2.example.org");
    ck_assert_int_eq(result, EXIT_OK);
    ck_assert_str_eq(first, "127.0.0.7");
    ck_assert_uint_eq(n_asked, 2);
    look_up("RELAY2.example.org.");
    ck_assert_uint_eq(n_asked, 2);
    look_up("nx.example.org");
    ck_assert_int_eq(result, EXIT_E_NAME);
}
END_TEST

START_TEST(that_there_is_no_such_name_is_not_remembered)
{
    look_up("nx.example.org");
    ck_assert_int_eq(result, EXIT_E_NAME);
    ck_assert_uint_eq(n_asked, 2);
    look_up("nx.example.org");
    ck_assert_int_eq(result, EXIT_E_NAME);
    ck_assert_uint_eq(n_asked, 4);
}
END_TEST

START_TEST(no_search_domain_hears_of_the_name)
{
    static const char *const names[] = {"nx.example.org", "nx", "nx.example.org."};

    look_up(names[_i]);
    ck_assert_int_eq(result, EXIT_E_NAME);
    ck_assert_uint_gt(n_asked, 0);
    ck_assert_uint_eq(n_searched, 0);
}
END_TEST

START_TEST(a_changed_configuration_is_read_again)
{
    snprintf(resolv_conf, sizeof(resolv_conf), "nameserver 127.0.0.2\n");
    look_up("relay2.example.org");
    ck_assert_uint_eq(n_conf_read, 1);
    conf_version++;
    look_up("relay3.example.org");
    ck_assert_uint_eq(n_conf_read, 2);
    look_up("relay4.example.org");
    ck_assert_uint_eq(n_conf_read, 2);
    resolver_restart(resolver);
    look_up("relay5.example.org");
    ck_assert_uint_eq(n_conf_read, 3);
    conf_version = 0;
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exit/resolve_near");
    TCase *t = tcase_create("near");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, a_line_in_the_hosts_file_is_the_answer_for_both_families);
    tcase_add_test(t, another_name_is_asked_for_at_the_configured_server);
    tcase_add_test(t, that_there_is_no_such_name_is_not_remembered);
    tcase_add_loop_test(t, no_search_domain_hears_of_the_name, 0, 3);
    tcase_add_test(t, a_changed_configuration_is_read_again);
    suite_add_tcase(s, t);
    return suite_run(s);
}
