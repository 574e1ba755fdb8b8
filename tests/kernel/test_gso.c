/*
 * What common/net/batch_*.c assumes of UDP_SEGMENT and UDP_GRO. It tests Linux, not
 * callveil: when it fails, the assumption is what has to change.
 */
#include <check.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "tests/support/suite.h"

static int receiver, sender;
static struct addr to;

static void setup(void)
{
    struct addr from = addr_make_v4(0x7f000001, 0);

    to = from;
    receiver = sock_bind(&to, SOCK_DGRAM, 0);
    sender = sock_bind(&from, SOCK_DGRAM, 0);
    ck_assert_int_ge(receiver, 0);
    ck_assert_int_ge(sender, 0);
    ck_assert_int_eq(sock_local_addr(receiver, &to), 0);
}

static void teardown(void)
{
    close(receiver);
    close(sender);
}

/* Return: bytes sent, or -errno. */
static ssize_t send_train(struct iovec *iov, size_t n_iov, uint16_t segment_len)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct sockaddr_storage sa;
    struct msghdr hdr = {.msg_name = &sa,
                         .msg_namelen = addr_to_sockaddr(&to, &sa),
                         .msg_iov = iov,
                         .msg_iovlen = n_iov,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&hdr);
    ssize_t n;

    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(segment_len));
    memcpy(CMSG_DATA(c), &segment_len, sizeof(segment_len));
    n = sendmsg(sender, &hdr, 0);
    return n < 0 ? -errno : n;
}

/* Return: bytes received (-1: nothing there); *ret_segment_len is 0 without a GRO report. */
static ssize_t receive(uint8_t *data, size_t cap, int *ret_segment_len)
{
    _Alignas(struct cmsghdr) uint8_t control[128];
    struct iovec iov = {data, cap};
    struct msghdr hdr = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(receiver, &hdr, MSG_DONTWAIT);

    *ret_segment_len = 0;
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&hdr); c; c = CMSG_NXTHDR(&hdr, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
            memcpy(ret_segment_len, CMSG_DATA(c), sizeof(*ret_segment_len));
    return n;
}

static uint8_t data[65536], got[65536];

static void fill(void)
{
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
}

START_TEST(segments_need_not_end_where_pieces_end)
{
    struct iovec iov[3] = {{data, 30}, {data + 30, 250}, {data + 280, 70}};
    int segment_len;

    fill();
    ck_assert_int_eq(send_train(iov, 3, 100), 350);
    for (size_t at = 0; at < 350; at += 100) {
        ck_assert_int_eq(receive(got, sizeof(got), &segment_len), at < 300 ? 100 : 50);
        ck_assert_mem_eq(got, data + at, at < 300 ? 100 : 50);
        ck_assert_int_eq(segment_len, 0); /* the receiver did not ask for trains */
    }
    ck_assert_int_eq(receive(got, sizeof(got), &segment_len), -1);
}
END_TEST

START_TEST(a_train_arrives_in_one_piece_with_its_segment_length)
{
    struct iovec iov = {data, 64 * 1000 - 1};
    int segment_len, on = 1;

    fill();
    ck_assert_int_eq(setsockopt(receiver, SOL_UDP, UDP_GRO, &on, sizeof(on)), 0);
    ck_assert_int_eq(send_train(&iov, 1, 1000), 64 * 1000 - 1);
    ck_assert_int_eq(receive(got, sizeof(got), &segment_len), 64 * 1000 - 1);
    ck_assert_int_eq(segment_len, 1000);
    ck_assert_mem_eq(got, data, 64 * 1000 - 1);
}
END_TEST

START_TEST(sixty_four_segments_are_always_allowed)
{
    struct iovec iov = {data, 64};

    ck_assert_int_eq(send_train(&iov, 1, 1), 64);
}
END_TEST

START_TEST(a_refused_train_is_refused_whole)
{
    struct iovec iov = {data, 1000}, all = {data, 65536};
    int segment_len, no_check = 1;

    ck_assert_int_eq(send_train(&all, 1, 2000), -EMSGSIZE);
    ck_assert_int_eq(setsockopt(sender, SOL_SOCKET, SO_NO_CHECK, &no_check, sizeof(no_check)), 0);
    ck_assert_int_lt(send_train(&iov, 1, 100), 0);
    ck_assert_int_eq(receive(got, sizeof(got), &segment_len), -1);
}
END_TEST

START_TEST(the_kernel_says_whether_it_knows_udp_segment)
{
    socklen_t len = sizeof(int);
    int value = -1;

    ck_assert_int_eq(getsockopt(sender, SOL_UDP, UDP_SEGMENT, &value, &len), 0);
    ck_assert_int_eq(value, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel/gso");
    TCase *tc = tcase_create("gso");

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, segments_need_not_end_where_pieces_end);
    tcase_add_test(tc, a_train_arrives_in_one_piece_with_its_segment_length);
    tcase_add_test(tc, sixty_four_segments_are_always_allowed);
    tcase_add_test(tc, a_refused_train_is_refused_whole);
    tcase_add_test(tc, the_kernel_says_whether_it_knows_udp_segment);
    return suite_run(suite);
}
