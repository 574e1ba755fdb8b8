/*
 * A real keeper in real namespaces. Where this user may not make any, the program says so; what
 * fails for another reason fails.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "common/net/pass.h"
#include "relay/seal/keeper.h"
#include "tests/support/suite.h"

#define WAIT_MS 5000
#define SECOND  UINT64_C(1000000000)

static struct keeper keeper;
static char why[SEAL_WHY_LEN];

static void setup(void)
{
    ck_assert_msg(keeper_start(&keeper, why) == 0, "%s", why);
    ck_assert_msg(keeper_wait(&keeper, why) == 0, "%s", why);
}

static void teardown(void)
{
    keeper_stop(&keeper);
}

static int socket_option(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, option, &value, &len) == 0 ? value : -1;
}

static struct addr address(const char *text)
{
    struct addr addr = {0};

    ck_assert(addr_parse(text, &addr));
    return addr;
}

/* Return: the answer's status, and a descriptor or -1. */
static int ask(struct keeper_want want, int *ret_fd)
{
    struct pollfd p = {.fd = keeper.passed[KEEPER_LINK], .events = POLLIN};
    struct keeper_made made;
    int n;

    *ret_fd = -1;
    ck_assert_int_eq(pass_send(keeper.passed[KEEPER_LINK], &want, sizeof(want), NULL, 0), 0);
    ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1);
    n = pass_recv(keeper.passed[KEEPER_LINK], &made, sizeof(made), ret_fd, 1);
    ck_assert_int_ge(n, 0);
    ck_assert_uint_eq(made.id, want.id);
    ck_assert_int_eq(n, made.status == 0);
    return made.status;
}

static bool has_ended(void)
{
    for (int waited = 0; waited < WAIT_MS; waited += 10) {
        if (waitpid(keeper.pid, NULL, WNOHANG) == keeper.pid) {
            keeper.pid = -1;
            return true;
        }
        usleep(10000);
    }
    return false;
}

START_TEST(the_catching_sockets_are_what_the_gate_expects)
{
    static const int types[] = {SOCK_STREAM, SOCK_STREAM, SOCK_DGRAM, SOCK_DGRAM};
    static const int domains[] = {AF_INET, AF_INET6, AF_INET, AF_INET6};
    struct addr addr;

    for (int i = 0; i < KEEPER_LINK; i++) {
        ck_assert_int_eq(socket_option(keeper.passed[i], SOL_SOCKET, SO_DOMAIN), domains[i]);
        ck_assert_int_eq(socket_option(keeper.passed[i], SOL_SOCKET, SO_TYPE), types[i]);
        ck_assert_int_eq(sock_local_addr(keeper.passed[i], &addr), 0);
        ck_assert(addr_is_loopback(&addr));
        if (types[i] == SOCK_STREAM)
            ck_assert_int_eq(socket_option(keeper.passed[i], SOL_SOCKET, SO_ACCEPTCONN), 1);
    }
    ck_assert_int_eq(socket_option(keeper.passed[KEEPER_UDP4], IPPROTO_IP, IP_RECVORIGDSTADDR), 1);
    ck_assert_uint_eq(keeper.attach.version, KEEPER_VERSION);
    ck_assert_uint_eq(keeper.attach.near_v4.family, ADDR_IPV4);
    ck_assert_uint_eq(keeper.attach.near_v6.family, ADDR_IPV6);
    ck_assert_uint_eq(keeper.attach.router_v4.family, ADDR_IPV4);
}
END_TEST

/* In a process of its own, which enters the namespace. Return: its exit status. */
static int inside(int (*run)(void))
{
    int status;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(space_join(keeper.spaces, why) < 0 ? 99 : run());
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

/* Return: what connect(2) says, 0 or its errno, and the socket. */
static int begin_connect(const char *to, int type, int *ret_fd)
{
    struct addr addr;
    struct sockaddr_storage sa;
    socklen_t len;

    *ret_fd = -1;
    if (!addr_parse(to, &addr))
        return 97;
    len = addr_to_sockaddr(&addr, &sa);
    *ret_fd = socket(sa.ss_family, type | SOCK_NONBLOCK, 0);
    return connect(*ret_fd, (struct sockaddr *)&sa, len) < 0 ? errno : 0;
}

static int connect_errno(const char *to, int type)
{
    int fd, r = begin_connect(to, type, &fd);

    if (r == 0 && type == SOCK_DGRAM && send(fd, "x", 1, 0) < 0)
        r = errno;
    close(fd);
    return r;
}

static int app_sends(void)
{
    if (connect_errno("198.51.100.1:80", SOCK_STREAM) != EINPROGRESS)
        return 1;
    if (connect_errno("[2001:db8::1]:80", SOCK_STREAM) != EINPROGRESS)
        return 2;
    if (connect_errno("198.51.100.1:80", SOCK_DGRAM) != 0)
        return 3;
    return connect_errno("[2001:db8::1]:80", SOCK_DGRAM) == 0 ? 0 : 4;
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, WAIT_MS) == 1;
}

START_TEST(what_an_app_sends_arrives_at_the_catching_sockets)
{
    struct addr to;
    int fd;

    ck_assert_int_eq(inside(app_sends), 0);
    for (int i = 0; i < KEEPER_LINK; i++)
        ck_assert(is_readable(keeper.passed[i]));
    fd = accept(keeper.passed[KEEPER_TCP4], NULL, NULL);
    ck_assert_int_eq(sock_local_addr(fd, &to), 0);
    ck_assert(addr_equal(&to, &(struct addr){.ip = {198, 51, 100, 1}, .port = 80, .family = 4}));
    close(fd);
}
END_TEST

static int app_is_refused(void)
{
    static const char *const nowhere[] = {"224.0.0.251:5353", "255.255.255.255:9",
                                          "[ff02::fb]:5353",  "0.0.0.1:9",
                                          "127.0.0.1:1",      "[::1]:1"};

    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
        if (connect_errno(nowhere[i], SOCK_DGRAM) == 0)
            return (int)i + 1;
    return connect_errno("127.0.0.1:1", SOCK_STREAM) == ECONNREFUSED ||
                   connect_errno("127.0.0.1:1", SOCK_STREAM) == EINPROGRESS
               ? 0
               : 20;
}

START_TEST(what_cannot_be_relayed_is_refused_and_not_caught)
{
    struct pollfd p = {.events = POLLIN};

    ck_assert_int_eq(inside(app_is_refused), 0);
    for (int i = 0; i < KEEPER_LINK; i++) {
        p.fd = keeper.passed[i];
        ck_assert_int_eq(poll(&p, 1, 0), 0);
    }
}
END_TEST

static int app_has_no_say(void)
{
    int one = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0 || errno != EPERM)
        return 1;
    if (setsockopt(fd, SOL_SOCKET, SO_MARK, &one, sizeof(one)) == 0)
        return 2;
    return setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one)) == 0 ? 3 : 0;
}

START_TEST(an_app_has_no_say_about_the_network)
{
    ck_assert_int_eq(inside(app_has_no_say), 0);
}
END_TEST

START_TEST(a_socket_for_a_peer_is_bound_to_the_peer)
{
    static const char *const peers[] = {"198.51.100.7:5000", "[2001:db8::7]:53", "127.0.0.53:53"};
    struct addr bound, peer;
    int fd;

    for (size_t i = 0; i < 3; i++) {
        peer = address(peers[i]);
        ck_assert_int_eq(ask((struct keeper_want){.version = KEEPER_VERSION,
                                                  .kind = KEEPER_UDP,
                                                  .id = 7,
                                                  .addr = peer},
                             &fd),
                         0);
        ck_assert_int_eq(sock_local_addr(fd, &bound), 0);
        ck_assert(addr_equal(&bound, &peer));
        close(fd);
    }
}
END_TEST

START_TEST(a_raw_socket_is_made_for_each_family)
{
    static const char *const families[] = {"0.0.0.0:0", "[::]:0"};
    int fd;

    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(ask((struct keeper_want){.version = KEEPER_VERSION,
                                                  .kind = KEEPER_RAW,
                                                  .addr = address(families[i])},
                             &fd),
                         0);
        ck_assert_int_eq(socket_option(fd, SOL_SOCKET, SO_TYPE), SOCK_RAW);
        close(fd);
    }
}
END_TEST

START_TEST(what_makes_no_sense_is_refused_and_the_keeper_goes_on)
{
    struct keeper_want good = {
        .version = KEEPER_VERSION, .kind = KEEPER_UDP, .addr = address("198.51.100.7:5000")};
    struct keeper_want bad = good;
    int fd;

    bad.version = KEEPER_VERSION + 1;
    ck_assert_int_eq(ask(bad, &fd), -EINVAL);
    bad = good;
    bad.kind = 77;
    ck_assert_int_eq(ask(bad, &fd), -EINVAL);
    bad = good;
    bad.addr.family = ADDR_NONE;
    ck_assert_int_eq(ask(bad, &fd), -EAFNOSUPPORT);
    bad = good;
    bad.addr.port = 0;
    ck_assert_int_eq(ask(bad, &fd), -EADDRNOTAVAIL);
    ck_assert_int_eq(ask(good, &fd), 0);
    close(fd);
}
END_TEST

/* What a connection comes to, within a while. */
static int connection_errno(const char *to)
{
    int fd, r = begin_connect(to, SOCK_STREAM, &fd);

    if (r == EINPROGRESS && poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 100) == 1)
        r = socket_option(fd, SOL_SOCKET, SO_ERROR);
    close(fd);
    return r;
}

static int app_is_refused_all(void)
{
    if (connection_errno("198.51.100.1:80") != ECONNREFUSED)
        return 1;
    if (connection_errno("[2001:db8::1]:80") != ECONNREFUSED)
        return 2;
    if (connect_errno("198.51.100.1:80", SOCK_DGRAM) == 0)
        return 3;
    return connect_errno("[2001:db8::1]:80", SOCK_DGRAM) == 0 ? 4 : 0;
}

/* Return: what the app finds, once the keeper has heard of the gate's end. */
static int dark_inside(void)
{
    int found = -1;

    for (int waited = 0; waited < WAIT_MS && found != 0; waited += 10) {
        usleep(10000);
        found = inside(app_is_refused_all);
    }
    return found;
}

START_TEST(without_a_gate_everything_is_refused_until_there_is_another)
{
    struct keeper_want want = {
        .version = KEEPER_VERSION, .kind = KEEPER_UDP, .addr = address("198.51.100.7:5000")};
    int fd;

    for (int i = 0; i < 3; i++) {
        keeper_close_passed(&keeper);
        ck_assert_int_eq(dark_inside(), 0);
        ck_assert(keeper_is_there(&keeper));
        ck_assert_msg(keeper_renew(&keeper, why) == 0, "%s", why);
        ck_assert_int_eq(inside(app_sends), 0);
        for (int k = 0; k < KEEPER_LINK; k++)
            ck_assert(is_readable(keeper.passed[k]));
        ck_assert_int_eq(ask(want, &fd), 0);
        close(fd);
    }
}
END_TEST

/* As when `local` has let go of the gate, and the keeper has not heard of it yet. */
START_TEST(another_gate_may_come_before_the_end_of_the_first_is_heard)
{
    int fd, old = keeper.passed[KEEPER_LINK];

    for (int i = 0; i < KEEPER_LINK; i++)
        close(keeper.passed[i]);
    ck_assert_msg(keeper_renew(&keeper, why) == 0, "%s", why);
    ck_assert_int_ne(keeper.passed[KEEPER_LINK], old);
    ck_assert(is_readable(old)); /* its end */
    close(old);
    usleep(50000);
    ck_assert_int_eq(inside(app_sends), 0);
    ck_assert_int_eq(ask((struct keeper_want){.version = KEEPER_VERSION,
                                              .kind = KEEPER_RAW,
                                              .addr = address("0.0.0.0:0")},
                         &fd),
                     0);
    close(fd);
}
END_TEST

/* The sockets are taken, by a gate that still is. */
START_TEST(what_cannot_be_made_again_is_said_and_the_keeper_goes_on)
{
    int catching[KEEPER_LINK];

    memcpy(catching, keeper.passed, sizeof(catching));
    close(keeper.passed[KEEPER_LINK]);
    keeper.passed[KEEPER_LINK] = -1;
    ck_assert_int_eq(keeper_renew(&keeper, why), -1);
    ck_assert_ptr_nonnull(strstr(why, "no transparent socket"));
    ck_assert_int_eq(dark_inside(), 0);
    for (int i = 0; i < KEEPER_LINK; i++)
        close(catching[i]);
    ck_assert_msg(keeper_renew(&keeper, why) == 0, "%s", why);
    ck_assert_int_eq(inside(app_sends), 0);
}
END_TEST

/* What it brings is closed, and not to be closed once more. */
START_TEST(an_answer_that_comes_too_late_is_let_go)
{
    int rc;

    keeper_close_passed(&keeper);
    for (int i = 0; i < 2; i++) {
        kill(keeper.pid, SIGSTOP);
        rc = keeper_renew(&keeper, why);
        kill(keeper.pid, SIGCONT); /* first: a stopped keeper would outlive a failed test */
        ck_assert_int_eq(rc, -1);
        ck_assert_str_eq(why, "the keeper does not answer");
        for (int k = 0; k < KEEPER_N_FDS; k++)
            ck_assert_int_eq(keeper.passed[k], -1);
        ck_assert(is_readable(keeper.control));
    }
    ck_assert_msg(keeper_renew(&keeper, why) == 0, "%s", why);
    ck_assert_int_eq(inside(app_sends), 0);
}
END_TEST

START_TEST(a_dead_keeper_is_told_from_a_silent_one)
{
    ck_assert(keeper_is_there(&keeper));
    kill(keeper.pid, SIGKILL);
    ck_assert(has_ended());
    ck_assert(!keeper_is_there(&keeper));
    ck_assert_int_eq(keeper_renew(&keeper, why), -1);
}
END_TEST

START_TEST(it_ends_with_its_maker)
{
    close(keeper.control);
    keeper.control = -1;
    ck_assert(has_ended());
}
END_TEST

/* ---- no process ---- */

START_TEST(so_many_at_once_and_so_many_a_second)
{
    struct keeper_bucket bucket = {.at_ns = SECOND};
    unsigned int n = 0;

    while (keeper_may_make(&bucket, 100 * SECOND) && n < 10000)
        n++;
    ck_assert_uint_eq(n, KEEPER_BURST);
    ck_assert(!keeper_may_make(&bucket, 100 * SECOND));
    for (n = 0; keeper_may_make(&bucket, 101 * SECOND) && n < 10000; n++) {
    }
    ck_assert_uint_eq(n, KEEPER_RATE);
}
END_TEST

/* Asked often, the time in between must not be lost to rounding. */
START_TEST(frequent_requests_get_the_rate_too)
{
    struct keeper_bucket bucket = {.at_ns = 0};
    unsigned int n = 0;

    for (uint64_t now_ns = 0; now_ns <= SECOND; now_ns += 1500)
        n += keeper_may_make(&bucket, now_ns);
    ck_assert_uint_ge(n, KEEPER_RATE - 5);
    ck_assert_uint_le(n, KEEPER_RATE);
}
END_TEST

static bool can_make_namespaces(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0);
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static Suite *keeper_suite(void)
{
    Suite *s = suite_create("seal/keeper");
    TCase *t = tcase_create("keeper"), *bucket = tcase_create("bucket");

    tcase_add_test(bucket, so_many_at_once_and_so_many_a_second);
    tcase_add_test(bucket, frequent_requests_get_the_rate_too);
    suite_add_tcase(s, bucket);
    if (!can_make_namespaces()) {
        printf("# no user namespaces for this user: the keeper's other tests are left out\n");
        return s;
    }
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, the_catching_sockets_are_what_the_gate_expects);
    tcase_add_test(t, what_an_app_sends_arrives_at_the_catching_sockets);
    tcase_add_test(t, what_cannot_be_relayed_is_refused_and_not_caught);
    tcase_add_test(t, an_app_has_no_say_about_the_network);
    tcase_add_test(t, a_socket_for_a_peer_is_bound_to_the_peer);
    tcase_add_test(t, a_raw_socket_is_made_for_each_family);
    tcase_add_test(t, what_makes_no_sense_is_refused_and_the_keeper_goes_on);
    tcase_add_test(t, without_a_gate_everything_is_refused_until_there_is_another);
    tcase_add_test(t, another_gate_may_come_before_the_end_of_the_first_is_heard);
    tcase_add_test(t, what_cannot_be_made_again_is_said_and_the_keeper_goes_on);
    tcase_add_test(t, an_answer_that_comes_too_late_is_let_go);
    tcase_add_test(t, a_dead_keeper_is_told_from_a_silent_one);
    tcase_add_test(t, it_ends_with_its_maker);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(keeper_suite());
}
