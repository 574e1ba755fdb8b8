/*
 * The resolver between a fake exit and fake DNS servers
 *
 * c-ares and libevent read the clock themselves, so this program has a clock_gettime() of
 * its own, which tells the fake clock's time. It also has the calls by which c-ares could
 * reach a file or the network: they count, and let nothing through.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/base/hash.h"
#include "relay/exit/resolve.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_dns.h"
#include "tests/support/suite.h"

#define SERVER  "203.0.113.53:53"
#define SERVER2 "[2001:db8:53::53]:5353"
#define NAME    "www.example.org"

int clock_gettime(clockid_t id, struct timespec *ts)
{
    ts->tv_sec = (time_t)(fake_now_ns / NS_PER_S);
    ts->tv_nsec = (long)(fake_now_ns % NS_PER_S);
    return 0;
}

/* ---- what c-ares must not do ---- */

static unsigned int n_forbidden, n_urandom;
static bool urandom_is_missing;
static char forbidden[64];

static int forbid(const char *what)
{
    n_forbidden++;
    snprintf(forbidden, sizeof(forbidden), "%s", what);
    errno = EPERM;
    return -1;
}

/* c-ares' only way to a file. Its random ids start from /dev/urandom. (By its symbol: with large
 * files, fopen() in this file means fopen64().) */
FILE *fopen_of_cares(const char *path, const char *mode) __asm__("fopen");
FILE *fopen_of_cares(const char *path, const char *mode)
{
    if (strcmp(path, "/dev/urandom") == 0) {
        n_urandom++;
        return urandom_is_missing ? NULL : fdopen(open(path, O_RDONLY | O_CLOEXEC), mode);
    }
    forbid(path);
    return NULL;
}

int socket(int domain, int type, int protocol)
{
    return forbid("socket");
}

int connect(int fd, __CONST_SOCKADDR_ARG sa, socklen_t len)
{
    return forbid("connect");
}

int bind(int fd, __CONST_SOCKADDR_ARG sa, socklen_t len)
{
    return forbid("bind");
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    return forbid("send");
}

ssize_t recvfrom(int fd, void *data, size_t len, int flags, __SOCKADDR_ARG sa, socklen_t *sa_len)
{
    return forbid("recvfrom");
}

/* Sorting addresses would ask for the local one of a socket. */
int getsockname(int fd, __SOCKADDR_ARG sa, socklen_t *sa_len)
{
    return forbid("getsockname");
}

int gethostname(char *name, size_t len)
{
    return forbid("gethostname");
}

/* ---- the world ---- */

#define HEARD_MAX 600

static struct event_base *base;
static struct fake_exit exit_;
static struct fake_dials dials;
static struct resolver *resolver;

struct heard {
    unsigned int n; /* how often it was answered */
    enum exit_result result;
    size_t n_addrs;
    char addrs[RESOLVE_ADDRS_MAX][ADDR_STRLEN];
    struct lookup *lookup;
};

static struct heard heard[HEARD_MAX];
static size_t n_heard;

static void on_resolved(void *user, enum exit_result result, const struct addr *addrs, size_t n)
{
    struct heard *h = user;

    h->n++;
    h->result = result;
    h->n_addrs = n;
    h->lookup = NULL;
    ck_assert((result == EXIT_OK) == (n > 0));
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(addrs[i].port, 0);
        addr_format_ip(&addrs[i], h->addrs[i], sizeof(h->addrs[i]));
    }
}

static void turn(void)
{
    for (int i = 0; i < 4; i++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        fake_streams_turn();
    }
}

/* Time passes in steps that no timer is lost in. */
static void pass_ms(unsigned int ms)
{
    for (unsigned int i = 0; i < ms; i += 50) {
        fake_now_ns += 50 * NS_PER_MS;
        turn();
    }
}

static struct heard *lookup(const char *name)
{
    struct heard *h = &heard[n_heard++];

    ck_assert_uint_le(n_heard, HEARD_MAX);
    ck_assert_int_eq(resolver_lookup(resolver, name, on_resolved, h, &h->lookup), 0);
    ck_assert_uint_eq(h->n, 0); /* never within the call */
    return h;
}

static struct heard *look_up(const char *name)
{
    struct heard *h = lookup(name);

    turn();
    return h;
}

static void make(const char *server, const char *server2)
{
    struct addr servers[2] = {at(server), at(server2 ? server2 : server)};
    struct resolver_params params = {
        .base = base,
        .exit = &exit_.exit,
        .servers = servers,
        .n_servers = server2 ? 2 : 1,
    };

    ck_assert_int_eq(resolver_new(&params, &resolver), 0);
}

static void setup(void)
{
    memset(heard, 0, sizeof(heard));
    n_heard = 0;
    /* OpenSSL reads its configuration with its first random number. */
    (void)hash_bytes("", 0);
    n_forbidden = n_urandom = 0;
    base = event_base_new();
    fake_exit_init(&exit_);
    fake_dials_init(&dials, &exit_);
    make(SERVER, NULL);
}

/* Whatever a test did: nothing is left open, and nothing went past the exit. */
static void teardown(void)
{
    resolver_free(resolver);
    ck_assert_uint_eq(fake_streams_count(), 0);
    ck_assert_ptr_null(dials.last);
    fake_exit_deinit(&exit_);
    far_free_all();
    event_base_free(base);
    ck_assert_msg(n_forbidden == 0, "c-ares did: %s", forbidden);
}

/* The test's other resolver instead. */
static void make_again(const char *server, const char *server2)
{
    resolver_free(resolver);
    make(server, server2);
}

static struct dns_query query_for(const char *name, uint16_t type)
{
    struct dns_query q;

    ck_assert_msg(dns_query_find(&exit_, name, type, &q), "nothing asked for %s/%u", name, type);
    return q;
}

static void forget_sent(void)
{
    exit_.n_sent = 0;
}

/* Answers one question with one address (or, without, an empty answer). */
static void answer(const char *name, uint16_t type, unsigned int rcode, uint32_t ttl,
                   const char *ip)
{
    struct dns_query q = query_for(name, type);
    struct dns_answer a;

    dns_begin(&a, &q, rcode);
    if (ip)
        dns_add_addr(&a, name, ttl, ip);
    dns_send(&exit_, &q, &a);
}

static void answer_both(const char *name, uint32_t ttl)
{
    answer(name, DNS_AAAA, DNS_NOERROR, ttl, "2001:db8:7::7");
    answer(name, DNS_A, DNS_NOERROR, ttl, "198.51.100.7");
    turn();
}

/* ---- asking ---- */

START_TEST(a_name_is_asked_for_at_the_server_and_answered_once)
{
    struct heard *h = look_up(NAME);
    struct dns_query q;

    ck_assert_uint_eq(exit_.n_sent, 2);
    q = query_for(NAME, DNS_A);
    ck_assert(addr_equal(&q.server, &(struct addr){0}) == false);
    ck_assert(q.has_edns);
    ck_assert_uint_eq(h->n, 0);
    answer_both(NAME, 300);
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_OK);
    ck_assert_uint_eq(h->n_addrs, 2);
    ck_assert_str_eq(h->addrs[0], "2001:db8:7::7");
    ck_assert_str_eq(h->addrs[1], "198.51.100.7");
}
END_TEST

START_TEST(queries_go_to_the_configured_server_only)
{
    look_up(NAME);
    for (size_t i = 0; i < exit_.n_sent; i++) {
        struct addr server = at(SERVER);

        ck_assert(addr_equal(&exit_.sent[i].peer, &server));
    }
    ck_assert(exit_.last->want.v4 && !exit_.last->want.v6 && !exit_.last->want.tcp);
}
END_TEST

START_TEST(families_take_turns_and_ipv6_begins)
{
    struct heard *h = look_up(NAME);
    struct dns_query q4 = query_for(NAME, DNS_A), q6 = query_for(NAME, DNS_AAAA);
    struct dns_answer a;

    dns_begin(&a, &q4, DNS_NOERROR);
    dns_add_addr(&a, NAME, 60, "198.51.100.1");
    dns_add_addr(&a, NAME, 60, "198.51.100.2");
    dns_add_addr(&a, NAME, 60, "198.51.100.3");
    dns_send(&exit_, &q4, &a);
    dns_begin(&a, &q6, DNS_NOERROR);
    dns_add_addr(&a, NAME, 60, "2001:db8::1");
    dns_add_addr(&a, NAME, 60, "2001:db8::2");
    dns_send(&exit_, &q6, &a);
    turn();
    ck_assert_uint_eq(h->n_addrs, 5);
    ck_assert_str_eq(h->addrs[0], "2001:db8::1");
    ck_assert_str_eq(h->addrs[1], "198.51.100.1");
    ck_assert_str_eq(h->addrs[2], "2001:db8::2");
    ck_assert_str_eq(h->addrs[3], "198.51.100.2");
    ck_assert_str_eq(h->addrs[4], "198.51.100.3");
}
END_TEST

START_TEST(more_addresses_than_fit_leave_room_for_both_families)
{
    struct heard *h = look_up(NAME);
    struct dns_query q = query_for(NAME, DNS_A);
    struct dns_answer a;

    dns_begin(&a, &q, DNS_NOERROR);
    for (int i = 1; i <= 40; i++) {
        char ip[32];

        snprintf(ip, sizeof(ip), "198.51.100.%d", i);
        dns_add_addr(&a, "w", 60, ip);
    }
    /* All of another name: none of them counts. */
    dns_send(&exit_, &q, &a);
    answer(NAME, DNS_AAAA, DNS_NOERROR, 60, "2001:db8::1");
    turn();
    ck_assert_uint_eq(h->n_addrs, 1);
    ck_assert_str_eq(h->addrs[0], "2001:db8::1");

    h = look_up("w.example");
    q = query_for("w.example", DNS_A);
    dns_begin(&a, &q, DNS_NOERROR);
    for (int i = 1; i <= 40; i++) {
        char ip[32];

        snprintf(ip, sizeof(ip), "198.51.100.%d", i);
        dns_add_addr(&a, "w.example", 60, ip);
    }
    dns_send(&exit_, &q, &a);
    answer("w.example", DNS_AAAA, DNS_NOERROR, 60, "2001:db8::1");
    turn();
    ck_assert_uint_eq(h->n_addrs, RESOLVE_ADDRS_MAX / 2 + 1);
    ck_assert_str_eq(h->addrs[0], "2001:db8::1");
}
END_TEST

START_TEST(a_chain_of_aliases_is_followed_and_the_shortest_ttl_counts)
{
    struct heard *h = look_up(NAME);
    struct dns_query q = query_for(NAME, DNS_A);
    struct dns_answer a;

    dns_begin(&a, &q, DNS_NOERROR);
    dns_add_cname(&a, NAME, 20, "cdn.example.net");
    dns_add_cname(&a, "cdn.example.net", 300, "edge.example.net");
    dns_add_addr(&a, "edge.example.net", 300, "198.51.100.9");
    dns_send(&exit_, &q, &a);
    answer(NAME, DNS_AAAA, DNS_NOERROR, 0, NULL);
    turn();
    ck_assert_int_eq(h->result, EXIT_OK);
    ck_assert_str_eq(h->addrs[0], "198.51.100.9");
    forget_sent();
    pass_ms(19000);
    ck_assert_uint_eq(look_up(NAME)->n, 1);
    ck_assert_uint_eq(exit_.n_sent, 0);
    pass_ms(2000);
    ck_assert_uint_eq(look_up(NAME)->n, 0);
    ck_assert_uint_gt(exit_.n_sent, 0);
}
END_TEST

START_TEST(lookups_of_one_name_share_one_query_whatever_their_spelling)
{
    struct heard *one = look_up("WWW.Example.ORG"), *two = look_up(NAME),
                 *three = look_up("www.example.org.");

    ck_assert_uint_eq(exit_.n_sent, 2);
    answer_both(NAME, 60);
    ck_assert_uint_eq(one->n, 1);
    ck_assert_uint_eq(two->n, 1);
    ck_assert_uint_eq(three->n, 1);
    ck_assert_int_eq(three->result, EXIT_OK);
}
END_TEST

START_TEST(a_forgotten_lookup_hears_nothing_and_the_others_do)
{
    struct heard *one = look_up(NAME), *two = look_up(NAME);

    resolver_forget(one->lookup);
    answer_both(NAME, 60);
    ck_assert_uint_eq(one->n, 0);
    ck_assert_uint_eq(two->n, 1);
    one = lookup(NAME); /* from the cache */
    resolver_forget(one->lookup);
    turn();
    ck_assert_uint_eq(one->n, 0);
}
END_TEST

START_TEST(a_family_that_is_late_is_not_waited_for_long)
{
    struct heard *h = look_up(NAME), *later;

    answer(NAME, DNS_A, DNS_NOERROR, 60, "198.51.100.7");
    turn();
    ck_assert_uint_eq(h->n, 0);
    pass_ms(400);
    ck_assert_uint_eq(h->n, 1);
    ck_assert_uint_eq(h->n_addrs, 1);
    later = look_up(NAME);
    ck_assert_uint_eq(later->n, 1);
    ck_assert_int_eq(later->result, EXIT_OK);
    answer(NAME, DNS_AAAA, DNS_NOERROR, 60, "2001:db8:7::7");
    turn();
    ck_assert_uint_eq(h->n, 1);
    ck_assert_uint_eq(look_up(NAME)->n_addrs, 2);
}
END_TEST

/* ---- no answer, or none of use ---- */

START_TEST(nxdomain_and_empty_answers_are_no_name)
{
    struct heard *h = look_up("nx.example.org");

    answer("nx.example.org", DNS_A, DNS_NXDOMAIN, 0, NULL);
    answer("nx.example.org", DNS_AAAA, DNS_NXDOMAIN, 0, NULL);
    turn();
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_E_NAME);
    h = look_up("mail.example.org");
    answer("mail.example.org", DNS_A, DNS_NOERROR, 0, NULL);
    answer("mail.example.org", DNS_AAAA, DNS_NOERROR, 0, NULL);
    turn();
    ck_assert_int_eq(h->result, EXIT_E_NAME);
    /* Remembered for a minute. */
    forget_sent();
    pass_ms(58000);
    ck_assert_int_eq(look_up("mail.example.org")->result, EXIT_E_NAME);
    ck_assert_uint_eq(exit_.n_sent, 0);
    pass_ms(3000);
    look_up("mail.example.org");
    ck_assert_uint_gt(exit_.n_sent, 0);
}
END_TEST

START_TEST(an_empty_answer_beside_a_lost_one_is_not_taken_for_no_name)
{
    struct heard *h = look_up(NAME);

    answer(NAME, DNS_AAAA, DNS_NOERROR, 0, NULL);
    pass_ms(16000);
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_E_TIMEOUT);
    forget_sent();
    look_up(NAME);
    ck_assert_uint_gt(exit_.n_sent, 0); /* nothing was remembered */
}
END_TEST

START_TEST(servfail_and_refused_are_failures_of_the_asking)
{
    static const unsigned int rcodes[] = {DNS_SERVFAIL, DNS_REFUSED};

    for (size_t i = 0; i < 2; i++) {
        struct heard *h = look_up(NAME);

        for (int tries = 0; tries < 8 && h->n == 0; tries++) {
            answer(NAME, DNS_A, rcodes[i], 0, NULL);
            answer(NAME, DNS_AAAA, rcodes[i], 0, NULL);
            turn();
        }
        ck_assert_uint_eq(h->n, 1);
        ck_assert_int_eq(h->result, EXIT_E_TIMEOUT);
    }
}
END_TEST

START_TEST(a_lost_query_is_sent_again)
{
    struct heard *h = look_up(NAME);

    forget_sent();
    pass_ms(2000);
    ck_assert_uint_eq(exit_.n_sent, 2);
    answer_both(NAME, 60);
    ck_assert_int_eq(h->result, EXIT_OK);
}
END_TEST

START_TEST(silence_ends_in_a_timeout)
{
    struct heard *h = look_up(NAME);

    pass_ms(16000);
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_E_TIMEOUT);
}
END_TEST

START_TEST(the_second_server_is_asked_when_the_first_is_silent_or_refuses)
{
    struct heard *h;
    struct addr second = at(SERVER2);
    struct dns_query q;

    make_again(SERVER, SERVER2);
    h = look_up(NAME);
    ck_assert(exit_.last->want.v4 && exit_.last->want.v6);
    answer(NAME, DNS_A, DNS_REFUSED, 0, NULL);
    turn();
    q = query_for(NAME, DNS_A);
    ck_assert(addr_equal(&q.server, &second));
    pass_ms(2000);
    q = query_for(NAME, DNS_AAAA);
    ck_assert(addr_equal(&q.server, &second));
    answer_both(NAME, 60);
    ck_assert_int_eq(h->result, EXIT_OK);
}
END_TEST

START_TEST(a_server_without_edns_is_asked_without)
{
    struct heard *h = look_up(NAME);
    struct dns_query q;

    answer(NAME, DNS_A, DNS_FORMERR, 0, NULL);
    turn();
    q = query_for(NAME, DNS_A);
    ck_assert(!q.has_edns);
    answer_both(NAME, 60);
    ck_assert_int_eq(h->result, EXIT_OK);
}
END_TEST

START_TEST(an_unreachable_port_is_not_waited_for)
{
    struct heard *h = look_up(NAME);

    for (int i = 0; i < 8 && h->n == 0; i++) {
        fake_exit_icmp(exit_.last, SERVER, 3, 3, 0);
        turn();
    }
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_E_TIMEOUT);
}
END_TEST

/* ---- answers of strangers ---- */

START_TEST(an_answer_from_another_address_or_port_is_not_believed)
{
    struct heard *h = look_up(NAME);
    struct dns_query q = query_for(NAME, DNS_A);
    struct dns_answer a;

    dns_begin(&a, &q, DNS_NOERROR);
    dns_add_addr(&a, NAME, 60, "198.51.100.66");
    dns_send_from(&exit_, "203.0.113.53:54", &a);
    dns_send_from(&exit_, "203.0.113.54:53", &a);
    dns_send_from(&exit_, "[2001:db8::53]:53", &a);
    turn();
    answer_both(NAME, 60);
    ck_assert_uint_eq(h->n_addrs, 2);
    ck_assert_str_eq(h->addrs[1], "198.51.100.7");
}
END_TEST

START_TEST(an_answer_with_another_id_or_question_is_not_believed)
{
    struct heard *h = look_up(NAME);
    struct dns_query q = query_for(NAME, DNS_A);
    struct dns_answer a;

    dns_begin(&a, &q, DNS_NOERROR);
    dns_add_addr(&a, NAME, 60, "198.51.100.66");
    a.data[1] ^= 1;
    dns_send(&exit_, &q, &a);
    a.data[1] ^= 1;
    a.data[13] ^= 1; /* the question's first letter */
    dns_send(&exit_, &q, &a);
    turn();
    answer_both(NAME, 60);
    ck_assert_uint_eq(h->n_addrs, 2);
    ck_assert_str_eq(h->addrs[1], "198.51.100.7");
}
END_TEST

START_TEST(garbage_and_every_truncation_of_an_answer_do_no_harm)
{
    struct heard *h = look_up(NAME);
    struct dns_query q = query_for(NAME, DNS_A);
    struct dns_answer a;

    fake_exit_datagram(exit_.last, SERVER, "", 0);
    fake_exit_datagram(exit_.last, SERVER, "x", 1);
    dns_begin(&a, &q, DNS_NOERROR);
    dns_add_addr(&a, NAME, 60, "198.51.100.7");
    for (size_t len = 0; len < q.question_end; len++)
        fake_exit_datagram(exit_.last, SERVER, a.data, len);
    turn();
    ck_assert_uint_eq(h->n, 0);
    for (size_t len = q.question_end; len < a.len; len++) {
        char name[48];

        snprintf(name, sizeof(name), "t%zu.example.org", len);
        h = look_up(name);
        forget_sent();
        pass_ms(1600);
        q = query_for(name, DNS_A);
        dns_begin(&a, &q, DNS_NOERROR);
        dns_add_addr(&a, name, 60, "198.51.100.7");
        fake_exit_datagram(exit_.last, SERVER, a.data, len < a.len ? len : a.len - 1);
        answer(name, DNS_AAAA, DNS_NOERROR, 60, NULL);
        pass_ms(16000);
        ck_assert_uint_eq(h->n, 1);
        ck_assert_int_ne(h->result, EXIT_OK);
    }
}
END_TEST

START_TEST(ids_do_not_follow_a_pattern_and_are_not_those_of_the_last_run)
{
    uint16_t ids[2][40];
    size_t n_steps = 0, n_same = 0;

    urandom_is_missing = true; /* c-ares then takes what rand() says */
    for (int run = 0; run < 2; run++) {
        srand(1);
        make_again(SERVER, NULL);
        forget_sent();
        for (int i = 0; i < 20; i++) {
            char name[48];

            snprintf(name, sizeof(name), "n%d.example.org", i);
            look_up(name);
            ids[run][2 * i] = query_for(name, DNS_A).id;
            ids[run][2 * i + 1] = query_for(name, DNS_AAAA).id;
        }
    }
    for (size_t i = 2; i < 40; i++)
        n_steps +=
            (uint16_t)(ids[0][i] - ids[0][i - 1]) == (uint16_t)(ids[0][i - 1] - ids[0][i - 2]);
    for (size_t i = 0; i < 40; i++)
        n_same += ids[0][i] == ids[1][i];
    ck_assert_uint_lt(n_steps, 3);
    ck_assert_uint_lt(n_same, 3);
    ck_assert_uint_eq(n_urandom, 3); /* it was asked */
}
END_TEST

/* ---- TCP ---- */

START_TEST(a_truncated_answer_is_asked_for_again_by_tcp)
{
    struct heard *h = look_up(NAME);
    struct dns_query q = query_for(NAME, DNS_A), tcp;
    struct addr server = at(SERVER);
    struct dns_answer a;
    struct far *far;

    answer(NAME, DNS_AAAA, DNS_NOERROR, 60, NULL);
    dns_begin(&a, &q, DNS_NOERROR);
    dns_truncate(&a);
    dns_send(&exit_, &q, &a);
    turn();
    ck_assert_uint_eq(dials.n_dials, 1);
    ck_assert(addr_equal(&dials.last->peer, &server));
    far = fake_dials_answer(&dials, EXIT_OK);
    turn();
    ck_assert_uint_gt(far->n_got, 14);
    ck_assert(dns_query_read(&tcp, far->got + 2, far->n_got - 2));
    dns_begin(&a, &tcp, DNS_NOERROR);
    for (int i = 1; i <= 100; i++)
        dns_add_addr(&a, NAME, 60, "198.51.100.8");
    dns_send_tcp(far, &a);
    turn();
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_OK);
    ck_assert_str_eq(h->addrs[0], "198.51.100.8");
    ck_assert(far->freed);
}
END_TEST

static struct far *go_tcp(const char *name)
{
    struct dns_query q = query_for(name, DNS_A);
    struct dns_answer a;
    struct far *far;

    dns_begin(&a, &q, DNS_NOERROR);
    dns_truncate(&a);
    dns_send(&exit_, &q, &a);
    turn();
    ck_assert_ptr_nonnull(dials.last);
    far = fake_dials_answer(&dials, EXIT_OK);
    turn();
    return far;
}

START_TEST(an_answer_by_tcp_may_come_byte_by_byte)
{
    struct heard *h = look_up(NAME);
    struct far *far = go_tcp(NAME);
    struct dns_query q;
    struct dns_answer a;
    uint8_t len[2];

    ck_assert(dns_query_read(&q, far->got + 2, far->n_got - 2));
    dns_begin(&a, &q, DNS_NOERROR);
    dns_add_addr(&a, NAME, 60, "198.51.100.8");
    put_u16(len, (uint16_t)a.len);
    far_write(far, len, 1);
    far_write(far, len + 1, 1);
    for (size_t i = 0; i < a.len; i++)
        far_write(far, a.data + i, 1);
    answer(NAME, DNS_AAAA, DNS_NOERROR, 60, NULL);
    turn();
    ck_assert_int_eq(h->result, EXIT_OK);
    ck_assert_uint_eq(h->n, 1);
}
END_TEST

START_TEST(tcp_that_fails_breaks_or_talks_nonsense_ends_the_lookup_in_time)
{
    for (int how = 0; how < 4; how++) {
        char name[40];
        struct heard *h;
        struct far *far;

        snprintf(name, sizeof(name), "h%d.example.org", how);
        h = look_up(name);
        answer(name, DNS_AAAA, DNS_NOERROR, 60, NULL);
        far = go_tcp(name);
        if (how == 0)
            far_reset(far);
        else if (how == 1)
            far_fin(far);
        else if (how == 2)
            far_write(far, "\0\0", 2);
        else
            far_write(far, "\0\004abcdefghij", 12);
        turn();
        for (int i = 0; i < 320 && h->n == 0; i++) {
            if (dials.last)
                fake_dials_answer(&dials, EXIT_E_REFUSED);
            pass_ms(50);
        }
        ck_assert_uint_eq(h->n, 1);
        ck_assert_int_eq(h->result, EXIT_E_TIMEOUT);
    }
}
END_TEST

START_TEST(a_dial_that_is_under_way_is_given_up_at_the_end)
{
    struct dns_query q;
    struct dns_answer a;

    look_up(NAME);
    q = query_for(NAME, DNS_A);
    dns_begin(&a, &q, DNS_NOERROR);
    dns_truncate(&a);
    dns_send(&exit_, &q, &a);
    turn();
    ck_assert_ptr_nonnull(dials.last);
    /* teardown frees the resolver and looks */
}
END_TEST

/* ---- the way out ---- */

START_TEST(the_association_is_opened_when_needed_and_closed_when_idle)
{
    ck_assert_uint_eq(exit_.n_opened, 0);
    look_up("192.0.2.9");
    ck_assert_uint_eq(exit_.n_opened, 0);
    look_up(NAME);
    ck_assert_uint_eq(exit_.n_opened, 1);
    answer_both(NAME, 60);
    pass_ms(20000);
    ck_assert_uint_eq(exit_.n_closed, 0);
    look_up("other.example.org");
    answer_both("other.example.org", 60);
    pass_ms(20000);
    ck_assert_uint_eq(exit_.n_closed, 0);
    pass_ms(15000);
    ck_assert_uint_eq(exit_.n_closed, 1);
    look_up("third.example.org");
    ck_assert_uint_eq(exit_.n_opened, 2);
}
END_TEST

START_TEST(queries_wait_for_the_association)
{
    struct heard *h;

    exit_.open_later = true;
    h = look_up(NAME);
    ck_assert_uint_eq(exit_.n_sent, 0);
    pass_ms(1000);
    fake_exit_answer(exit_.last);
    turn();
    ck_assert_uint_eq(exit_.n_sent, 2);
    answer_both(NAME, 60);
    ck_assert_int_eq(h->result, EXIT_OK);
}
END_TEST

START_TEST(a_way_out_that_never_opens_is_a_timeout)
{
    struct heard *h;

    exit_.open_later = true;
    h = look_up(NAME);
    pass_ms(16000);
    ck_assert_int_eq(h->result, EXIT_E_TIMEOUT);
    ck_assert_uint_eq(h->n, 1);
}
END_TEST

START_TEST(a_way_out_that_is_down_fails_lookups_at_once)
{
    struct heard *h;

    exit_.open_v4 = EXIT_E_DOWN;
    h = look_up(NAME);
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_E_DOWN);
    exit_.open_v4 = EXIT_E_CAPACITY;
    ck_assert_int_eq(look_up(NAME)->result, EXIT_E_CAPACITY);
    exit_.open_no_memory = true;
    ck_assert_int_eq(look_up(NAME)->result, EXIT_E_CAPACITY);
    exit_.open_no_memory = false;
    exit_.open_v4 = EXIT_OK;
    h = look_up(NAME);
    answer_both(NAME, 60);
    ck_assert_int_eq(h->result, EXIT_OK);
}
END_TEST

START_TEST(a_way_out_that_is_lost_fails_lookups_at_once)
{
    struct heard *one = look_up(NAME), *two = look_up("other.example.org");

    exit_.last->events->on_lost(exit_.last->user, EXIT_E_DOWN);
    ck_assert_uint_eq(one->n, 0);
    turn();
    ck_assert_uint_eq(one->n, 1);
    ck_assert_int_eq(one->result, EXIT_E_DOWN);
    ck_assert_int_eq(two->result, EXIT_E_DOWN);
    ck_assert_uint_eq(exit_.n_closed, 1);
    one = look_up(NAME);
    answer_both(NAME, 60);
    ck_assert_int_eq(one->result, EXIT_OK);
}
END_TEST

START_TEST(an_association_lost_alone_is_replaced_but_not_for_ever)
{
    struct heard *h = look_up(NAME);

    exit_.last->events->on_lost(exit_.last->user, EXIT_E_CAPACITY);
    forget_sent();
    turn();
    ck_assert_uint_eq(h->n, 0);
    ck_assert_uint_eq(exit_.n_opened, 2);
    ck_assert_uint_eq(exit_.n_sent, 2);
    for (int i = 0; i < 5 && h->n == 0; i++) {
        exit_.last->events->on_lost(exit_.last->user, EXIT_E_CAPACITY);
        turn();
    }
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_E_DOWN);
}
END_TEST

START_TEST(a_dial_that_finds_the_way_down_fails_lookups_at_once)
{
    struct heard *h = look_up(NAME);
    struct dns_query q = query_for(NAME, DNS_A);
    struct dns_answer a;

    dns_begin(&a, &q, DNS_NOERROR);
    dns_truncate(&a);
    dns_send(&exit_, &q, &a);
    turn();
    fake_dials_answer(&dials, EXIT_E_DOWN);
    turn();
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_E_DOWN);
}
END_TEST

START_TEST(a_restart_asks_again_by_the_new_way_and_forgets_failures_only)
{
    struct heard *pending, *h = look_up(NAME);

    answer_both(NAME, 600);
    ck_assert_int_eq(h->result, EXIT_OK);
    look_up("nx.example.org");
    answer("nx.example.org", DNS_A, DNS_NXDOMAIN, 0, NULL);
    answer("nx.example.org", DNS_AAAA, DNS_NXDOMAIN, 0, NULL);
    turn();
    pending = look_up("other.example.org");
    forget_sent();
    resolver_restart(resolver);
    turn();
    ck_assert_uint_eq(exit_.n_closed, 1);
    ck_assert_uint_eq(exit_.n_opened, 2);
    ck_assert_uint_eq(exit_.n_sent, 2);
    ck_assert_uint_eq(pending->n, 0);
    answer_both("other.example.org", 60);
    ck_assert_int_eq(pending->result, EXIT_OK);
    forget_sent();
    ck_assert_uint_eq(look_up(NAME)->n, 1);
    ck_assert_uint_eq(exit_.n_sent, 0);
    ck_assert_uint_eq(look_up("nx.example.org")->n, 0);
    ck_assert_uint_eq(exit_.n_sent, 2);
}
END_TEST

static unsigned int n_restarts_left;
static void (*real_send)(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                         bool dont_fragment);

static void send_and_break(struct assoc *a, const struct addr *peer, const uint8_t *data,
                           size_t len, bool dont_fragment)
{
    real_send(a, peer, data, len, dont_fragment);
    if (n_restarts_left == 0)
        return;
    n_restarts_left--;
    a->events->on_lost(a->user, EXIT_E_CAPACITY);
    resolver_restart(resolver);
}

START_TEST(the_way_out_may_change_while_a_query_is_sent)
{
    struct heard *h;

    real_send = dials.ops.send;
    dials.ops.send = send_and_break;
    n_restarts_left = 3;
    h = look_up(NAME);
    ck_assert_uint_eq(n_restarts_left, 0);
    ck_assert_uint_eq(h->n, 0);
    answer_both(NAME, 60);
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_OK);
}
END_TEST

START_TEST(a_server_that_policy_forbids_is_not_asked)
{
    struct heard *h;

    fake_exit_deny(&exit_, "203.0.113.53");
    h = look_up(NAME);
    ck_assert_uint_eq(exit_.n_sent, 0);
    ck_assert_uint_eq(h->n, 1);
    ck_assert_int_eq(h->result, EXIT_E_TIMEOUT);
}
END_TEST

/* ---- names that are not asked for ---- */

START_TEST(local_names_never_leave)
{
    static const char *const names[] = {
        "localhost",  "localhost.", "a.localhost", "printer",  "printer.local",
        "x.onion",    "X.ONION.",   "db.internal", "127.1",    "0x7f.0x1",
        "2130706433", "1.2.3.4.5",  "10.0.0",      "a.b.0x7f",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct heard *h = look_up(names[i]);

        ck_assert_msg(h->n == 1 && h->result == EXIT_E_NAME, "%s", names[i]);
    }
    ck_assert_uint_eq(exit_.n_opened, 0);
}
END_TEST

START_TEST(what_is_no_host_name_never_leaves)
{
    char longest[260] = "", label[80] = "";

    memset(label, 'a', 64);
    strcpy(label + 64, ".org");
    for (int i = 0; i < 64; i++)
        strcat(longest, "abc.");
    strcpy(longest + 250, ".org");
    const char *const names[] = {"",        ".",         "..",      "a..org",  ".a.org",
                                 "a b.org", "a\\.b.org", "a:b.org", "a\n.org", "\xC3\xA9.org",
                                 "a/b.org", label,       longest};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct heard *h = look_up(names[i]);

        ck_assert_msg(h->n == 1 && h->result == EXIT_E_NAME, "%zu", i);
    }
    ck_assert_uint_eq(exit_.n_opened, 0);
}
END_TEST

START_TEST(the_longest_name_there_is_is_asked_for)
{
    char name[256] = "";

    for (int i = 0; i < 62; i++)
        strcat(name, "abc.");
    strcat(name, "abcde");
    ck_assert_uint_eq(strlen(name), 253);
    look_up(name);
    ck_assert_uint_eq(exit_.n_sent, 2);
    (void)query_for(name, DNS_A);
}
END_TEST

START_TEST(a_literal_is_its_own_answer)
{
    struct heard *h = look_up("192.0.2.9");

    ck_assert_int_eq(h->result, EXIT_OK);
    ck_assert_str_eq(h->addrs[0], "192.0.2.9");
    h = look_up("2001:db8::9");
    ck_assert_str_eq(h->addrs[0], "2001:db8::9");
    h = look_up("::ffff:192.0.2.9");
    ck_assert_str_eq(h->addrs[0], "192.0.2.9");
    ck_assert_uint_eq(exit_.n_opened, 0);
}
END_TEST

/* ---- limits ---- */

START_TEST(lookups_beyond_the_limit_are_refused_and_those_before_are_not)
{
    for (int i = 0; i < RESOLVE_PENDING_MAX + 2; i++) {
        char name[48];

        snprintf(name, sizeof(name), "n%d.example.org", i);
        lookup(name);
    }
    lookup("n0.example.org");
    turn();
    ck_assert_int_eq(heard[RESOLVE_PENDING_MAX + 2].result, EXIT_E_CAPACITY);
    ck_assert_uint_eq(heard[RESOLVE_PENDING_MAX - 1].n, 0);
    ck_assert_int_eq(heard[RESOLVE_PENDING_MAX].result, EXIT_E_CAPACITY);
    ck_assert_uint_eq(heard[RESOLVE_PENDING_MAX].n, 1);
    pass_ms(16000);
    for (int i = 0; i < RESOLVE_PENDING_MAX; i++)
        ck_assert_int_eq(heard[i].result, EXIT_E_TIMEOUT);
    ck_assert_uint_eq(look_up(NAME)->n, 0);
}
END_TEST

START_TEST(ttls_have_a_floor_and_a_ceiling)
{
    uint64_t start_ns = fake_now_ns;

    look_up("zero.example.org");
    answer_both("zero.example.org", 0);
    look_up("long.example.org");
    answer_both("long.example.org", 0x7FFFFFFF);
    look_up("wild.example.org");
    answer_both("wild.example.org", 0xFFFFFFFF);
    forget_sent();
    look_up("zero.example.org");
    look_up("wild.example.org");
    ck_assert_uint_eq(exit_.n_sent, 0);
    pass_ms(1100);
    look_up("zero.example.org");
    ck_assert_uint_eq(exit_.n_sent, 2);
    look_up("wild.example.org");
    ck_assert_uint_eq(exit_.n_sent, 4);
    forget_sent();
    fake_now_ns += 3590 * NS_PER_S;
    ck_assert_uint_eq(look_up("long.example.org")->n, 1);
    fake_now_ns += 20 * NS_PER_S;
    ck_assert_uint_eq(look_up("long.example.org")->n, 0);
    fake_now_ns = start_ns; /* Check measures how long a test took */
}
END_TEST

/* ---- whatever the user does while being told ---- */

static struct heard *free_user;

static void on_resolved_free(void *user, enum exit_result result, const struct addr *addrs,
                             size_t n)
{
    on_resolved(user, result, addrs, n);
    resolver_free(resolver);
    resolver = NULL;
}

START_TEST(the_resolver_may_be_freed_within_an_answer)
{
    struct lookup *l;

    free_user = &heard[n_heard++];
    ck_assert_int_eq(resolver_lookup(resolver, NAME, on_resolved_free, free_user, &l), 0);
    ck_assert_int_eq(resolver_lookup(resolver, NAME, on_resolved, &heard[n_heard++], &l), 0);
    turn();
    answer_both(NAME, 60);
    ck_assert_uint_eq(heard[0].n, 1);
    ck_assert_uint_eq(heard[1].n, 0);
    ck_assert_ptr_null(resolver);
}
END_TEST

START_TEST(queries_do_not_depend_on_this_machines_settings)
{
    setenv("LOCALDOMAIN", "leak.example", 1);
    setenv("RES_OPTIONS", "ndots:15 rotate retrans:1", 1);
    setenv("HOSTALIASES", "/etc/passwd", 1);
    make_again(SERVER, NULL);
    look_up(NAME);
    ck_assert_uint_eq(exit_.n_sent, 2);
    (void)query_for(NAME, DNS_A);
    answer(NAME, DNS_A, DNS_NXDOMAIN, 0, NULL);
    answer(NAME, DNS_AAAA, DNS_NXDOMAIN, 0, NULL);
    turn();
    ck_assert_uint_eq(exit_.n_sent, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exit/resolve");
    TCase *t = tcase_create("resolve");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_name_is_asked_for_at_the_server_and_answered_once);
    tcase_add_test(t, queries_go_to_the_configured_server_only);
    tcase_add_test(t, families_take_turns_and_ipv6_begins);
    tcase_add_test(t, more_addresses_than_fit_leave_room_for_both_families);
    tcase_add_test(t, a_chain_of_aliases_is_followed_and_the_shortest_ttl_counts);
    tcase_add_test(t, lookups_of_one_name_share_one_query_whatever_their_spelling);
    tcase_add_test(t, a_forgotten_lookup_hears_nothing_and_the_others_do);
    tcase_add_test(t, a_family_that_is_late_is_not_waited_for_long);
    tcase_add_test(t, nxdomain_and_empty_answers_are_no_name);
    tcase_add_test(t, an_empty_answer_beside_a_lost_one_is_not_taken_for_no_name);
    tcase_add_test(t, servfail_and_refused_are_failures_of_the_asking);
    tcase_add_test(t, a_lost_query_is_sent_again);
    tcase_add_test(t, silence_ends_in_a_timeout);
    tcase_add_test(t, the_second_server_is_asked_when_the_first_is_silent_or_refuses);
    tcase_add_test(t, a_server_without_edns_is_asked_without);
    tcase_add_test(t, an_unreachable_port_is_not_waited_for);
    tcase_add_test(t, an_answer_from_another_address_or_port_is_not_believed);
    tcase_add_test(t, an_answer_with_another_id_or_question_is_not_believed);
    tcase_add_test(t, garbage_and_every_truncation_of_an_answer_do_no_harm);
    tcase_add_test(t, ids_do_not_follow_a_pattern_and_are_not_those_of_the_last_run);
    tcase_add_test(t, a_truncated_answer_is_asked_for_again_by_tcp);
    tcase_add_test(t, an_answer_by_tcp_may_come_byte_by_byte);
    tcase_add_test(t, tcp_that_fails_breaks_or_talks_nonsense_ends_the_lookup_in_time);
    tcase_add_test(t, a_dial_that_is_under_way_is_given_up_at_the_end);
    tcase_add_test(t, the_association_is_opened_when_needed_and_closed_when_idle);
    tcase_add_test(t, queries_wait_for_the_association);
    tcase_add_test(t, a_way_out_that_never_opens_is_a_timeout);
    tcase_add_test(t, a_way_out_that_is_down_fails_lookups_at_once);
    tcase_add_test(t, a_way_out_that_is_lost_fails_lookups_at_once);
    tcase_add_test(t, an_association_lost_alone_is_replaced_but_not_for_ever);
    tcase_add_test(t, a_dial_that_finds_the_way_down_fails_lookups_at_once);
    tcase_add_test(t, a_restart_asks_again_by_the_new_way_and_forgets_failures_only);
    tcase_add_test(t, the_way_out_may_change_while_a_query_is_sent);
    tcase_add_test(t, a_server_that_policy_forbids_is_not_asked);
    tcase_add_test(t, local_names_never_leave);
    tcase_add_test(t, what_is_no_host_name_never_leaves);
    tcase_add_test(t, the_longest_name_there_is_is_asked_for);
    tcase_add_test(t, a_literal_is_its_own_answer);
    tcase_add_test(t, lookups_beyond_the_limit_are_refused_and_those_before_are_not);
    tcase_add_test(t, ttls_have_a_floor_and_a_ceiling);
    tcase_add_test(t, the_resolver_may_be_freed_within_an_answer);
    tcase_add_test(t, queries_do_not_depend_on_this_machines_settings);
    suite_add_tcase(s, t);
    return suite_run(s);
}
