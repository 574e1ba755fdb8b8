#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/net/pass.h"
#include "tests/support/suite.h"

static int ends[2];

static void setup(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends),
                     0);
}

static void teardown(void)
{
    close(ends[0]);
    close(ends[1]);
}

static unsigned int n_open(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned int n = 0;

    ck_assert_ptr_nonnull(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static bool is_same_file(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

START_TEST(a_message_arrives_with_its_descriptors_in_order)
{
    int fds[2], got[4] = {-1, -1, -1, -1};
    char text[6];

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(pass_send(ends[0], "hello", 6, fds, 2), 0);
    ck_assert_int_eq(pass_recv(ends[1], text, sizeof(text), got, 4), 2);
    ck_assert_str_eq(text, "hello");
    for (int i = 0; i < 2; i++) {
        ck_assert(is_same_file(fds[i], got[i]));
        ck_assert_int_eq(fcntl(got[i], F_GETFD), FD_CLOEXEC);
        close(got[i]);
        close(fds[i]);
    }
}
END_TEST

START_TEST(a_message_may_come_without_descriptors)
{
    char text[6];

    ck_assert_int_eq(pass_send(ends[0], "hello", 6, NULL, 0), 0);
    ck_assert_int_eq(pass_recv(ends[1], text, sizeof(text), NULL, 0), 0);
    ck_assert_str_eq(text, "hello");
}
END_TEST

START_TEST(a_message_of_another_length_is_refused_and_nothing_stays_open)
{
    static const size_t lengths[] = {1, 5, 7, 100};
    unsigned int before = n_open();
    char bytes[100] = {0}, text[6];
    int got[2];

    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(pass_send(ends[0], bytes, lengths[i], ends, 2), 0);
        ck_assert_int_eq(pass_recv(ends[1], text, sizeof(text), got, 2), -EBADMSG);
        ck_assert_uint_eq(n_open(), before);
    }
}
END_TEST

START_TEST(more_descriptors_than_there_is_room_for_are_refused_and_closed)
{
    int many[PASS_FDS_MAX], got[2];
    unsigned int before = n_open();
    char text[6];

    for (size_t i = 0; i < PASS_FDS_MAX; i++)
        many[i] = ends[0];
    ck_assert_int_eq(pass_send(ends[0], "hello", 6, many, 3), 0);
    ck_assert_int_eq(pass_recv(ends[1], text, 6, got, 2), -EBADMSG);
    ck_assert_int_eq(pass_send(ends[0], "hello", 6, many, PASS_FDS_MAX), 0);
    ck_assert_int_eq(pass_recv(ends[1], text, 6, got, 2), -EBADMSG);
    ck_assert_uint_eq(n_open(), before);
}
END_TEST

/* By hand: pass_send() refuses so many. */
START_TEST(more_than_any_message_may_have_are_closed_too)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(20 * sizeof(int))];
    } control = {0};
    char text[6] = "hello";
    struct iovec iov = {.iov_base = text, .iov_len = 6};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    unsigned int before = n_open();
    int got[PASS_FDS_MAX];

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(20 * sizeof(int));
    for (size_t i = 0; i < 20; i++)
        memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &ends[0], sizeof(int));
    ck_assert_int_eq(sendmsg(ends[0], &m, 0), 6);
    ck_assert_int_eq(pass_recv(ends[1], text, 6, got, PASS_FDS_MAX), -EBADMSG);
    ck_assert_uint_eq(n_open(), before);
    ck_assert_int_eq(pass_send(ends[0], text, 6, (int[20]){0}, 20), -EINVAL);
}
END_TEST

START_TEST(the_end_is_told_from_silence)
{
    char text[6];

    ck_assert_int_eq(pass_recv(ends[1], text, 6, NULL, 0), -EAGAIN);
    close(ends[0]);
    ck_assert_int_eq(pass_recv(ends[1], text, 6, NULL, 0), -EPIPE);
    ck_assert_int_eq(pass_send(ends[1], text, 6, NULL, 0), -EPIPE);
    ends[0] = -1;
}
END_TEST

static Suite *pass_suite(void)
{
    Suite *s = suite_create("net/pass");
    TCase *t = tcase_create("pass");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_message_arrives_with_its_descriptors_in_order);
    tcase_add_test(t, a_message_may_come_without_descriptors);
    tcase_add_test(t, a_message_of_another_length_is_refused_and_nothing_stays_open);
    tcase_add_test(t, more_descriptors_than_there_is_room_for_are_refused_and_closed);
    tcase_add_test(t, more_than_any_message_may_have_are_closed_too);
    tcase_add_test(t, the_end_is_told_from_silence);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(pass_suite());
}
