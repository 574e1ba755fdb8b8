/*
 * What relay/exit/direct_tcp.c and the listeners assume of SO_REUSEPORT. It tests
 * Linux, not callveil: when it fails, the assumption is what has to change.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "tests/support/suite.h"

static struct addr any_port(void)
{
    return addr_make_v4(0x7f000001, 0);
}

/* A listener the way the exit makes one: the option comes after bind(2). */
static int late_listener(struct addr *addr)
{
    int fd = sock_bind(addr, SOCK_STREAM, SOCK_REUSEADDR), on = 1;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
    ck_assert_int_eq(listen(fd, 8), 0);
    ck_assert_int_eq(sock_local_addr(fd, addr), 0);
    return fd;
}

/* Return: a socket connected from `from`, or -errno. */
static int connect_from(const struct addr *from, const struct addr *to)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    int fd = sock_bind(from, SOCK_STREAM, SOCK_REUSEADDR | SOCK_REUSEPORT), error;

    if (fd < 0)
        return fd;
    if (connect(fd, (struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS)
        return fd;
    error = errno;
    close(fd);
    return -error;
}

START_TEST(sockets_connect_from_the_port_of_a_listener)
{
    struct addr relayed = any_port(), peer1 = any_port(), peer2 = any_port(), from;
    int listener = late_listener(&relayed);
    int l1 = sock_listen(&peer1, 0), l2 = sock_listen(&peer2, 0), c1, c2, inbound;

    ck_assert_int_eq(sock_local_addr(l1, &peer1), 0);
    ck_assert_int_eq(sock_local_addr(l2, &peer2), 0);
    c1 = connect_from(&relayed, &peer1);
    c2 = connect_from(&relayed, &peer2);
    ck_assert_int_ge(c1, 0);
    ck_assert_int_ge(c2, 0);
    ck_assert_int_eq(sock_local_addr(c1, &from), 0);
    ck_assert(addr_equal(&from, &relayed));

    /* The same 5-tuple again is refused at once, and the listener still listens. */
    ck_assert_int_eq(connect_from(&relayed, &peer1), -EADDRNOTAVAIL);
    from = any_port();
    inbound = connect_from(&from, &relayed);
    ck_assert_int_ge(inbound, 0);
    close(inbound);
    inbound = accept(listener, NULL, NULL);
    ck_assert_int_ge(inbound, 0);
    close(inbound);
    close(c1);
    close(c2);
    close(l1);
    close(l2);
    close(listener);
}
END_TEST

START_TEST(a_late_option_keeps_others_from_sharing_the_port)
{
    struct addr relayed = any_port();
    int listener = late_listener(&relayed);

    /* A second relay binds as the first did: before it has the option. */
    ck_assert_int_eq(sock_bind(&relayed, SOCK_STREAM, SOCK_REUSEADDR), -EADDRINUSE);
    close(listener);
}
END_TEST

START_TEST(an_early_option_lets_others_share_it)
{
    struct addr relayed = any_port();
    int first = sock_listen(&relayed, SOCK_REUSEADDR | SOCK_REUSEPORT), second;

    ck_assert_int_eq(sock_local_addr(first, &relayed), 0);
    second = sock_listen(&relayed, SOCK_REUSEADDR | SOCK_REUSEPORT);
    ck_assert_int_ge(second, 0); /* which is why the exit does not do it */
    close(first);
    close(second);
}
END_TEST

#define N_SOCKETS 4
#define N_FLOWS   64

START_TEST(a_udp_flow_stays_on_one_of_several_sockets)
{
    struct addr server = any_port();
    int sockets[N_SOCKETS], n_used = 0;
    struct sockaddr_storage sa;
    socklen_t sa_len;
    char text[4];

    for (int i = 0; i < N_SOCKETS; i++) {
        sockets[i] = sock_bind(&server, SOCK_DGRAM, SOCK_REUSEPORT);
        ck_assert_int_ge(sockets[i], 0);
        ck_assert_int_eq(sock_local_addr(sockets[i], &server), 0);
    }
    sa_len = addr_to_sockaddr(&server, &sa);
    for (int flow = 0; flow < N_FLOWS; flow++) {
        struct addr client = any_port();
        int fd = sock_bind(&client, SOCK_DGRAM, 0), n_hit = 0;

        for (int k = 0; k < 10; k++)
            ck_assert_int_eq(sendto(fd, "x", 1, 0, (struct sockaddr *)&sa, sa_len), 1);
        for (int i = 0; i < N_SOCKETS; i++) {
            int n = 0;

            while (recv(sockets[i], text, sizeof(text), MSG_DONTWAIT) == 1)
                n++;
            ck_assert(n == 0 || n == 10);
            n_hit += n > 0;
            n_used |= (n > 0) << i;
        }
        ck_assert_int_eq(n_hit, 1);
        close(fd);
    }
    ck_assert_int_eq(n_used, (1 << N_SOCKETS) - 1); /* and flows are spread over all */
    for (int i = 0; i < N_SOCKETS; i++)
        close(sockets[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel/reuseport");
    TCase *tc = tcase_create("reuseport");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, sockets_connect_from_the_port_of_a_listener);
    tcase_add_test(tc, a_late_option_keeps_others_from_sharing_the_port);
    tcase_add_test(tc, an_early_option_lets_others_share_it);
    tcase_add_test(tc, a_udp_flow_stays_on_one_of_several_sockets);
    return suite_run(suite);
}
