#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "common/wire/stun.h"
#include "relay/mirror.h"
#include "tests/support/suite.h"

static struct event_base *base;
static struct mirror *mirror;
static const uint8_t txid[STUN_TXID_LEN] = "twelve bytes";

static struct addr address(const char *text)
{
    struct addr addr;

    ck_assert(addr_parse_ip(text, 0, &addr));
    return addr;
}

static void setup(void)
{
    base = event_base_new();
    mirror = mirror_new(base);
    ck_assert_ptr_nonnull(mirror);
}

static void teardown(void)
{
    mirror_free(mirror);
    event_base_free(base);
}

static void look(const char *text)
{
    struct addr own = address(text);

    mirror_look(mirror, &own, 1);
}

/* Sends one message from `from` to the mirror. Return: the length of its answer, 0 for none. */
static size_t ask(const char *from, const void *message, size_t len, uint8_t answer[512],
                  struct addr *ret_me)
{
    struct addr me = address(from), at = mirror_addr(mirror, ADDR_IPV4);
    int fd = sock_bind(&me, SOCK_DGRAM, 0);
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(&at, &sa);
    ssize_t n = 0;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(sock_local_addr(fd, ret_me), 0);
    ck_assert_int_eq(sendto(fd, message, len, 0, (struct sockaddr *)&sa, sa_len), (ssize_t)len);
    /* Loopback delivers within sendto(): one turn of the loop is all it takes. */
    event_base_loop(base, EVLOOP_NONBLOCK);
    if (poll(&pfd, 1, 0) > 0)
        n = recv(fd, answer, 512, 0);
    close(fd);
    return n > 0 ? (size_t)n : 0;
}

static size_t binding(uint8_t *buf, size_t cap, enum stun_class class)
{
    struct stun_builder b;

    stun_begin(&b, buf, cap, class, STUN_BINDING, txid);
    return stun_finish(&b);
}

START_TEST(this_machine_sees_itself)
{
    uint8_t request[STUN_HEADER_LEN], answer[512];
    struct addr me, mapped;
    struct stun_msg msg;
    size_t len;

    look("127.0.0.1");
    len = ask("127.0.0.1", request, binding(request, sizeof(request), STUN_REQUEST), answer, &me);
    ck_assert_int_eq(stun_decode(&msg, answer, len), 0);
    ck_assert_int_eq(msg.class, STUN_SUCCESS);
    ck_assert_mem_eq(msg.txid, txid, STUN_TXID_LEN);
    ck_assert(stun_get_addr(&msg, STUN_XOR_MAPPED_ADDRESS, &mapped));
    ck_assert(addr_equal(&mapped, &me));
}
END_TEST

START_TEST(nobody_else_is_answered)
{
    uint8_t request[STUN_HEADER_LEN], answer[512];
    struct addr me;

    look("127.0.0.1");
    ck_assert_uint_eq(
        ask("127.0.0.2", request, binding(request, sizeof(request), STUN_REQUEST), answer, &me), 0);
}
END_TEST

START_TEST(nothing_but_a_binding_request_is_answered)
{
    uint8_t message[STUN_HEADER_LEN + 1] = {0}, answer[512];
    struct stun_builder b;
    struct addr me;

    look("127.0.0.1");
    for (size_t len = 0; len < sizeof(message); len++)
        ck_assert_uint_eq(ask("127.0.0.1", message, len, answer, &me), 0);
    ck_assert_uint_eq(
        ask("127.0.0.1", message, binding(message, sizeof(message), STUN_INDICATION), answer, &me),
        0);
    ck_assert_uint_eq(
        ask("127.0.0.1", message, binding(message, sizeof(message), STUN_SUCCESS), answer, &me), 0);
    stun_begin(&b, message, sizeof(message), STUN_REQUEST, STUN_ALLOCATE, txid);
    ck_assert_uint_eq(ask("127.0.0.1", message, stun_finish(&b), answer, &me), 0);
}
END_TEST

START_TEST(it_stays_while_the_address_does_and_moves_with_it)
{
    struct addr first, second;

    ck_assert_int_eq(mirror_addr(mirror, ADDR_IPV4).family, ADDR_NONE);
    look("127.0.0.1");
    first = mirror_addr(mirror, ADDR_IPV4);
    look("127.0.0.1");
    second = mirror_addr(mirror, ADDR_IPV4);
    ck_assert(addr_equal(&first, &second));
    look("127.0.0.2");
    second = mirror_addr(mirror, ADDR_IPV4);
    ck_assert_int_eq(second.ip[3], 2);
    mirror_look(mirror, NULL, 0);
    ck_assert_int_eq(mirror_addr(mirror, ADDR_IPV4).family, ADDR_NONE);
}
END_TEST

START_TEST(an_address_that_cannot_be_bound_is_no_mirror)
{
    look("192.0.2.99");
    ck_assert_int_eq(mirror_addr(mirror, ADDR_IPV4).family, ADDR_NONE);
    look("127.0.0.1");
    ck_assert_int_eq(mirror_addr(mirror, ADDR_IPV4).family, ADDR_IPV4);
}
END_TEST

START_TEST(own_addresses_are_neither_loopback_nor_more_than_fit)
{
    struct addr addrs[MIRROR_ADDRS_MAX];
    size_t n = mirror_own_addresses(addrs, MIRROR_ADDRS_MAX);

    for (size_t i = 0; i < n; i++) {
        ck_assert(!addr_is_loopback(&addrs[i]));
        ck_assert_uint_eq(addrs[i].port, 0);
    }
    ck_assert_uint_eq(mirror_own_addresses(addrs, 0), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("local/mirror");
    TCase *tc = tcase_create("mirror");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, this_machine_sees_itself);
    tcase_add_test(tc, nobody_else_is_answered);
    tcase_add_test(tc, nothing_but_a_binding_request_is_answered);
    tcase_add_test(tc, it_stays_while_the_address_does_and_moves_with_it);
    tcase_add_test(tc, an_address_that_cannot_be_bound_is_no_mirror);
    tcase_add_test(tc, own_addresses_are_neither_loopback_nor_more_than_fit);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
