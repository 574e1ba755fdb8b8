#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "tests/support/suite.h"

#define MAX_GOT 4096

struct got {
    struct addr from, to;
    size_t len;
    uint8_t data[64]; /* the first bytes */
    bool is_whole;    /* every byte is what fill() writes for the sequence number in front */
};

static struct rx_batch *rx;
static struct tx_queue *tx;
static struct tx_stats stats;
static struct got got[MAX_GOT];
static size_t n_got;

/* The next `n_failures` calls of sendmmsg fail with `failure`: loopback never has a full buffer. */
static int n_failures, failure;

static void fail_next(int n, int error)
{
    n_failures = n;
    failure = error;
}

int sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
    if (n_failures > 0) {
        n_failures--;
        errno = failure;
        return -1;
    }
    return (int)syscall(SYS_sendmmsg, fd, msgs, n, flags);
}

static void setup(void)
{
    n_failures = 0;
    memset(&stats, 0, sizeof(stats));
    n_got = 0;
    rx = rx_batch_new();
    tx = tx_queue_new(&stats);
    ck_assert_ptr_nonnull(rx);
    ck_assert_ptr_nonnull(tx);
}

static void teardown(void)
{
    rx_batch_free(rx);
    tx_queue_free(tx);
}

/* A datagram of `len` bytes: its number, then bytes that follow from number and length. */
static void fill(uint8_t *data, size_t len, uint16_t seq)
{
    for (size_t i = 0; i < len; i++)
        data[i] = i == 0 ? (uint8_t)(seq >> 8) : i == 1 ? (uint8_t)seq : (uint8_t)(seq * 7 + i);
}

static bool is_whole(const uint8_t *data, size_t len)
{
    uint16_t seq;

    if (len < 2)
        return true;
    seq = (uint16_t)(data[0] << 8 | data[1]);
    for (size_t i = 2; i < len; i++)
        if (data[i] != (uint8_t)(seq * 7 + i))
            return false;
    return true;
}

static uint16_t seq_of(const struct got *g)
{
    return (uint16_t)(g->data[0] << 8 | g->data[1]);
}

static struct addr loopback(uint8_t last, uint16_t port)
{
    return addr_make_v4(0x7f000000u | last, port);
}

static struct addr loopback_v6(void)
{
    struct addr addr = {0};

    ck_assert(addr_parse_ip("::1", 0, &addr));
    return addr;
}

static int open_udp(struct addr *addr)
{
    int fd = sock_bind(addr, SOCK_DGRAM, 0);

    ck_assert_int_ge(fd, 0);
    sock_tune_udp(fd, 4 << 20, 4 << 20);
    ck_assert_int_eq(sock_local_addr(fd, addr), 0);
    return fd;
}

/* Everything that is there, into `got`. Return: the number of messages (trains count as one). */
static int collect(int fd)
{
    struct rx_packet packet;
    int n, n_messages = 0;

    while ((n = rx_batch_recv(rx, fd)) > 0) {
        n_messages += n;
        while (rx_batch_next(rx, &packet)) {
            struct got *g = &got[n_got++];

            ck_assert_uint_le(n_got, MAX_GOT);
            g->from = packet.from;
            g->to = packet.to;
            g->len = packet.len;
            g->is_whole = is_whole(packet.data, packet.len);
            memcpy(g->data, packet.data, packet.len < 64 ? packet.len : 64);
        }
    }
    ck_assert_int_eq(n, 0);
    return n_messages;
}

START_TEST(a_train_is_one_message_and_arrives_as_its_datagrams)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);
    static uint8_t data[40][1200];

    for (unsigned int i = 0; i < 40; i++) {
        fill(data[i], 1200, (uint16_t)i);
        tx_push(tx, fa, &b, NULL, data[i], 4, data[i] + 4, 1196);
    }
    tx_flush(tx);
    ck_assert_uint_eq(stats.n_calls, 1);
    ck_assert_uint_eq(stats.n_datagrams, 40);
    ck_assert_uint_eq(stats.n_bytes, 40 * 1200);
    ck_assert_int_eq(collect(fb), 1);
    ck_assert_uint_eq(n_got, 40);
    for (unsigned int i = 0; i < 40; i++) {
        ck_assert_uint_eq(seq_of(&got[i]), i);
        ck_assert_uint_eq(got[i].len, 1200);
        ck_assert(got[i].is_whole);
        ck_assert(addr_equal(&got[i].from, &a));
        ck_assert_int_eq(got[i].to.family, ADDR_NONE);
    }
    close(fa);
    close(fb);
}
END_TEST

START_TEST(a_shorter_datagram_ends_a_train_and_lengths_survive)
{
    static const size_t lens[] = {500, 500, 500, 20, 20, 300, 0, 0, 700, 699, 698, 2, 1400, 1400};
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);
    static uint8_t data[14][1500];

    for (unsigned int i = 0; i < 14; i++) {
        fill(data[i], lens[i], (uint16_t)i);
        tx_push(tx, fa, &b, NULL, NULL, 0, data[i], lens[i]);
    }
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 14);
    for (unsigned int i = 0; i < 14; i++) {
        ck_assert_uint_eq(got[i].len, lens[i]);
        ck_assert(got[i].is_whole);
        if (lens[i] >= 2)
            ck_assert_uint_eq(seq_of(&got[i]), i);
    }
    ck_assert_uint_eq(stats.n_dropped, 0);
    close(fa);
    close(fb);
}
END_TEST

/* Order holds always. Return: whether the flows formed trains, which two of them do not when their
 * ports, the kernel's choice, share a slot of the queue's table. */
static bool interleave_three_flows(void)
{
    struct addr a = loopback(1, 0), to[3];
    uint64_t n_calls = stats.n_calls;
    int fa = open_udp(&a), fds[3];
    static uint8_t data[90][400];
    int n_messages = 0;

    for (unsigned int i = 0; i < 3; i++) {
        to[i] = loopback(1, 0);
        fds[i] = open_udp(&to[i]);
    }
    for (unsigned int i = 0; i < 90; i++) {
        /* Flow 1 changes its size now and then, which must not reorder it. */
        size_t len = i % 3 == 1 && i % 7 == 0 ? 350 + i % 40 : 300;

        fill(data[i], len, (uint16_t)i);
        tx_push(tx, fa, &to[i % 3], NULL, data[i], 20, data[i] + 20, len - 20);
    }
    tx_flush(tx);
    for (unsigned int i = 0; i < 3; i++) {
        n_got = 0;
        n_messages += collect(fds[i]);
        ck_assert_uint_eq(n_got, 30);
        for (unsigned int k = 0; k < 30; k++) {
            ck_assert_uint_eq(seq_of(&got[k]), k * 3 + i);
            ck_assert(got[k].is_whole);
        }
        close(fds[i]);
    }
    close(fa);
    return stats.n_calls == n_calls + 1 && n_messages < 20;
}

START_TEST(interleaved_flows_keep_their_order_and_still_form_trains)
{
    bool formed = false;

    /* About one choice of ports in a hundred collides; five of them do not. */
    for (int i = 0; i < 5 && !formed; i++)
        formed = interleave_three_flows();
    ck_assert(formed);
}
END_TEST

START_TEST(a_full_queue_flushes_itself_and_loses_nothing)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);
    static uint8_t data[3000][32];

    for (unsigned int i = 0; i < 3000; i++) {
        fill(data[i], 32, (uint16_t)i);
        tx_push(tx, fa, &b, NULL, NULL, 0, data[i], 32);
    }
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 3000);
    for (unsigned int i = 0; i < 3000; i++)
        ck_assert(seq_of(&got[i]) == i && got[i].is_whole && got[i].len == 32);
    ck_assert_uint_eq(stats.n_datagrams, 3000);
    close(fa);
    close(fb);
}
END_TEST

START_TEST(copied_text_may_die_before_the_flush)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);
    uint8_t text[900];

    /* 200 x 900 bytes do not fit the arena, so it is flushed and used again on the way. */
    for (unsigned int i = 0; i < 200; i++) {
        size_t len = i % 2 ? 900 : 40;

        fill(text, len, (uint16_t)i);
        tx_push_copy(tx, fa, &b, NULL, text, len);
        memset(text, 0xee, sizeof(text));
    }
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 200);
    for (unsigned int i = 0; i < 200; i++)
        ck_assert(seq_of(&got[i]) == i && got[i].is_whole);
    close(fa);
    close(fb);
}
END_TEST

START_TEST(padding_follows_the_payload_in_trains_and_plain)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);
    static uint8_t data[40][54];

    fail_next(1, EIO); /* the first half goes plain */
    for (unsigned int i = 0; i < 40; i++) {
        memset(data[i], 0xcc, sizeof(data[i]));
        data[i][0] = (uint8_t)i;
        tx_push_padded(tx, fa, &b, NULL, data[i], 4, data[i] + 4, 47, 1);
        if (i == 19)
            tx_flush(tx);
    }
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 40);
    for (unsigned int i = 0; i < 40; i++) {
        ck_assert_uint_eq(got[i].len, 52);
        ck_assert_mem_eq(got[i].data, data[i], 51);
        ck_assert_uint_eq(got[i].data[51], 0);
    }
    close(fa);
    close(fb);
}
END_TEST

START_TEST(copied_text_survives_the_flush_of_a_full_queue)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);
    uint8_t filler[2] = {0}, text[100];

    for (unsigned int i = 0; i < 1024; i++)
        tx_push(tx, fa, &b, NULL, NULL, 0, filler, sizeof(filler));
    for (unsigned int i = 0; i < 3; i++) {
        fill(text, sizeof(text), (uint16_t)(500 + i));
        tx_push_copy(tx, fa, &b, NULL, text, sizeof(text));
    }
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 1024 + 3);
    for (unsigned int i = 0; i < 3; i++)
        ck_assert(seq_of(&got[1024 + i]) == 500 + i && got[1024 + i].is_whole);
    close(fa);
    close(fb);
}
END_TEST

/* More than one datagram of that size cannot travel whole as UDP_SEGMENT once the route's MTU is
 * smaller; loopback has 64 KiB, so the limit on the whole message is what splits here. */
START_TEST(large_datagrams_go_in_messages_the_kernel_takes)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);
    static uint8_t data[5][60000];

    for (unsigned int i = 0; i < 5; i++) {
        size_t len = i < 3 ? 30000 : 60000;

        fill(data[i], len, (uint16_t)i);
        tx_push(tx, fa, &b, NULL, NULL, 0, data[i], len);
    }
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 5);
    for (unsigned int i = 0; i < 5; i++)
        ck_assert(seq_of(&got[i]) == i && got[i].is_whole);
    ck_assert_uint_eq(stats.n_calls, 1);
    close(fa);
    close(fb);
}
END_TEST

START_TEST(a_wildcard_socket_tells_the_reached_address_and_answers_from_it)
{
    struct addr any = {.family = ADDR_IPV4}, server = loopback(2, 0), client = loopback(3, 0);
    int fs = open_udp(&any), fc = open_udp(&client);
    uint8_t data[100];

    server.port = any.port;
    ck_assert_int_eq(sock_want_pktinfo(fs, ADDR_IPV4), 0);
    fill(data, sizeof(data), 1);
    for (int i = 0; i < 5; i++)
        tx_push(tx, fc, &server, NULL, NULL, 0, data, sizeof(data));
    tx_flush(tx);
    collect(fs);
    ck_assert_uint_eq(n_got, 5);
    for (size_t i = 0; i < n_got; i++) {
        ck_assert(addr_ip_equal(&got[i].to, &server));
        ck_assert_uint_eq(got[i].to.port, 0);
    }
    n_got = 0;
    for (int i = 0; i < 5; i++)
        tx_push(tx, fs, &client, &server, NULL, 0, data, sizeof(data));
    tx_push(tx, fs, &client, NULL, NULL, 0, data, sizeof(data));
    tx_flush(tx);
    collect(fc);
    ck_assert_uint_eq(n_got, 6);
    for (size_t i = 0; i < 5; i++)
        ck_assert(addr_equal(&got[i].from, &server));
    ck_assert(!addr_equal(&got[5].from, &server));
    /* The client's socket did not ask, though the batch has answered for another before. */
    for (size_t i = 0; i < n_got; i++)
        ck_assert_int_eq(got[i].to.family, ADDR_NONE);
    close(fs);
    close(fc);
}
END_TEST

START_TEST(an_ipv6_wildcard_does_so_too)
{
    struct addr any = {.family = ADDR_IPV6}, server, client;
    uint8_t data[100];
    int fs = open_udp(&any), fc;

    ck_assert(addr_parse_ip("::1", any.port, &server));
    client = server;
    client.port = 0;
    fc = open_udp(&client);
    ck_assert_int_eq(sock_want_pktinfo(fs, ADDR_IPV6), 0);
    fill(data, sizeof(data), 1);
    for (int i = 0; i < 3; i++)
        tx_push(tx, fc, &server, NULL, NULL, 0, data, sizeof(data));
    tx_flush(tx);
    collect(fs);
    ck_assert_uint_eq(n_got, 3);
    ck_assert(addr_ip_equal(&got[2].to, &server));
    n_got = 0;
    for (int i = 0; i < 3; i++)
        tx_push(tx, fs, &client, &server, NULL, 0, data, sizeof(data));
    tx_flush(tx);
    collect(fc);
    ck_assert_uint_eq(n_got, 3);
    ck_assert(addr_equal(&got[2].from, &server));
    close(fs);
    close(fc);
}
END_TEST

START_TEST(different_sources_do_not_share_a_train)
{
    struct addr any = {.family = ADDR_IPV4}, one = loopback(1, 0), two = loopback(2, 0);
    struct addr b = loopback(1, 0);
    int fa = open_udp(&any), fb = open_udp(&b);
    uint8_t data[8][50];

    for (unsigned int i = 0; i < 8; i++) {
        fill(data[i], 50, (uint16_t)i);
        tx_push(tx, fa, &b, i % 2 ? &one : &two, NULL, 0, data[i], 50);
    }
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 8);
    for (unsigned int i = 0; i < 8; i++)
        ck_assert(addr_ip_equal(&got[i].from, seq_of(&got[i]) % 2 ? &one : &two));
    close(fa);
    close(fb);
}
END_TEST

START_TEST(what_the_kernel_refuses_is_dropped_counted_and_stops_nothing)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0), zero = loopback(1, 0), v6;
    int fa = open_udp(&a), fb = open_udp(&b);
    static uint8_t data[65535];

    ck_assert(addr_parse_ip("::1", b.port, &v6));
    fill(data, 100, 1);
    tx_push(tx, fa, &zero, NULL, NULL, 0, data, 100);           /* port 0 */
    tx_push(tx, fa, &b, NULL, NULL, 0, data, 100);              /* good */
    tx_push(tx, fa, &v6, NULL, NULL, 0, data, 100);             /* another family */
    tx_push(tx, fa, &b, NULL, NULL, 0, data, 65535);            /* longer than UDP can be */
    tx_push(tx, fa, &b, NULL, NULL, 0, data, sizeof(data) + 1); /* longer than anything */
    tx_push(tx, -1, &b, NULL, NULL, 0, data, 100);              /* no socket */
    tx_push(tx, fa, &b, NULL, NULL, 0, data, 100);              /* good */
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 2);
    ck_assert_uint_eq(stats.n_datagrams, 2);
    ck_assert_uint_eq(stats.n_dropped, 5);
    close(fa);
    close(fb);
}
END_TEST

static void push_three_rounds_of_ten(int fd, const struct addr *to)
{
    static uint8_t data[10][200];

    for (unsigned int round = 0; round < 3; round++) {
        for (unsigned int i = 0; i < 10; i++) {
            fill(data[i], 200, (uint16_t)(round * 10 + i));
            tx_push(tx, fd, to, NULL, data[i], 10, data[i] + 10, 190);
        }
        tx_flush(tx);
    }
}

static void expect_thirty_in_order(int fd, int n_messages)
{
    ck_assert_int_eq(collect(fd), n_messages);
    ck_assert_uint_eq(n_got, 30);
    for (unsigned int i = 0; i < 30; i++)
        ck_assert(seq_of(&got[i]) == i && got[i].is_whole);
    ck_assert_uint_eq(stats.n_dropped, 0);
    ck_assert_uint_eq(stats.n_datagrams, 30);
}

START_TEST(a_train_refused_whole_is_sent_in_pieces)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b), no_check = 1;

    /* Without a checksum the kernel does not segment (EINVAL, as when a datagram is longer than
     * the route's MTU): a matter of this train, so the next one is tried again. */
    ck_assert_int_eq(setsockopt(fa, SOL_SOCKET, SO_NO_CHECK, &no_check, sizeof(no_check)), 0);
    push_three_rounds_of_ten(fa, &b);
    expect_thirty_in_order(fb, 30);
    ck_assert_uint_eq(stats.n_calls, 6);
    close(fa);
    close(fb);
}
END_TEST

START_TEST(a_device_that_cannot_segment_is_remembered)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);

    fail_next(1, EIO);
    push_three_rounds_of_ten(fa, &b);
    /* The second and third round are not even tried as trains. */
    expect_thirty_in_order(fb, 30);
    ck_assert_uint_eq(stats.n_calls, 4);
    close(fa);
    close(fb);
}
END_TEST

START_TEST(a_full_send_buffer_drops_what_is_queued_for_that_socket_only)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0), c = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b), fc = open_udp(&c);
    uint8_t data[100];

    fill(data, sizeof(data), 1);
    for (int i = 0; i < 5; i++) {
        tx_push(tx, fa, &b, NULL, NULL, 0, data, sizeof(data));
        tx_push(tx, fa, &c, NULL, NULL, 0, data, sizeof(data));
    }
    tx_push(tx, fc, &b, NULL, NULL, 0, data, sizeof(data));
    fail_next(1, EAGAIN);
    tx_flush(tx);
    collect(fb);
    collect(fc);
    ck_assert_uint_eq(n_got, 1);
    ck_assert_uint_eq(stats.n_dropped, 10);
    ck_assert_uint_eq(stats.n_datagrams, 1);
    close(fa);
    close(fb);
    close(fc);
}
END_TEST

START_TEST(a_full_device_queue_drops_one_message)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0), c = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b), fc = open_udp(&c);
    uint8_t data[100];

    fill(data, sizeof(data), 1);
    tx_push(tx, fa, &b, NULL, NULL, 0, data, sizeof(data));
    tx_push(tx, fa, &c, NULL, NULL, 0, data, sizeof(data));
    fail_next(1, ENOBUFS);
    tx_flush(tx);
    collect(fb);
    ck_assert_uint_eq(n_got, 0);
    collect(fc);
    ck_assert_uint_eq(n_got, 1);
    ck_assert_uint_eq(stats.n_dropped, 1);
    close(fa);
    close(fb);
    close(fc);
}
END_TEST

START_TEST(an_icmp_error_of_an_earlier_datagram_costs_no_later_one)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0), closed = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b), fc = open_udp(&closed), on = 1;
    uint8_t data[100];

    close(fc);
    ck_assert_int_eq(setsockopt(fa, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
    fill(data, sizeof(data), 1);
    for (int i = 0; i < 3; i++) {
        tx_push(tx, fa, &closed, NULL, NULL, 0, data, sizeof(data));
        tx_flush(tx);
        tx_push(tx, fa, &b, NULL, NULL, 0, data, sizeof(data));
        tx_flush(tx);
    }
    collect(fb);
    ck_assert_uint_eq(n_got, 3);
    ck_assert_uint_eq(stats.n_dropped, 0);
    /* The receiving side is told, once, and then goes on. */
    tx_push(tx, fa, &closed, NULL, NULL, 0, data, sizeof(data));
    tx_flush(tx);
    ck_assert_int_eq(rx_batch_recv(rx, fa), -ECONNREFUSED);
    close(fa);
    close(fb);
}
END_TEST

START_TEST(nothing_waiting_is_zero_and_a_bad_socket_is_an_error)
{
    struct addr a = loopback(1, 0);
    int fa = open_udp(&a);
    struct rx_packet packet;

    ck_assert_int_eq(rx_batch_recv(rx, fa), 0);
    ck_assert(!rx_batch_next(rx, &packet));
    close(fa);
    ck_assert_int_eq(rx_batch_recv(rx, fa), -EBADF);
    ck_assert(!rx_batch_next(rx, &packet));
}
END_TEST

START_TEST(more_messages_than_a_batch_arrive_in_the_next_one)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a), fb = open_udp(&b);
    struct rx_packet packet;
    uint8_t data[200];
    int n = 0;

    for (unsigned int i = 0; i < RX_BATCH_MESSAGES + 5; i++) {
        /* Growing lengths, flushed one by one: no trains. */
        fill(data, 20 + i, (uint16_t)i);
        tx_push_copy(tx, fa, &b, NULL, data, 20 + i);
        tx_flush(tx);
    }
    ck_assert_int_eq(rx_batch_recv(rx, fb), RX_BATCH_MESSAGES);
    while (rx_batch_next(rx, &packet))
        ck_assert_uint_eq(packet.len, 20 + (size_t)n++);
    ck_assert_int_eq(rx_batch_recv(rx, fb), 5);
    while (rx_batch_next(rx, &packet))
        ck_assert_uint_eq(packet.len, 20 + (size_t)n++);
    ck_assert_int_eq(n, RX_BATCH_MESSAGES + 5);
    close(fa);
    close(fb);
}
END_TEST

START_TEST(a_bound_port_is_refused_to_a_second_socket)
{
    struct addr a = loopback(1, 0), none = {0};
    int fa = open_udp(&a);

    ck_assert_int_eq(sock_bind(&a, SOCK_DGRAM, 0), -EADDRINUSE);
    ck_assert_int_eq(sock_bind(&none, SOCK_DGRAM, 0), -EAFNOSUPPORT);
    close(fa);
}
END_TEST

START_TEST(the_route_to_loopback_starts_at_loopback)
{
    struct addr to = loopback(9, 1234), from;

    ck_assert_int_eq(sock_route_source(&to, &from), 0);
    ck_assert(addr_is_loopback(&from));
    ck_assert_uint_eq(from.port, 0);
}
END_TEST

START_TEST(what_has_no_port_to_go_to_is_never_a_train)
{
    struct addr a = loopback(1, 0), b = loopback(1, 0);
    int fa = open_udp(&a);
    static uint8_t data[4][100];

    for (unsigned int i = 0; i < 4; i++)
        tx_push(tx, fa, &b, NULL, NULL, 0, data[i], 100);
    tx_flush(tx);
    /* A UDP socket refuses each; a train would have been refused as one and sent again plain. */
    ck_assert_uint_eq(stats.n_dropped, 4);
    ck_assert_uint_eq(stats.n_calls, 8); /* each is tried twice */
    close(fa);
}
END_TEST

/* Without tproxy it is the address and port that the socket is bound to. */
START_TEST(the_original_destination_comes_with_every_datagram_of_a_train)
{
    struct addr a = _i ? loopback_v6() : loopback(1, 0), b = a;
    int fa = open_udp(&a), fb = open_udp(&b);
    static uint8_t data[20][300];

    ck_assert_int_eq(sock_want_origdst(fb, (enum addr_family)b.family), 0);
    for (unsigned int i = 0; i < 20; i++) {
        fill(data[i], 300, (uint16_t)i);
        tx_push(tx, fa, &b, NULL, NULL, 0, data[i], 300);
    }
    tx_push(tx, fa, &b, NULL, NULL, 0, NULL, 0);
    tx_flush(tx);
    ck_assert_int_eq(collect(fb), 2);
    ck_assert_uint_eq(n_got, 21);
    for (unsigned int i = 0; i < 21; i++) {
        ck_assert(addr_equal(&got[i].from, &a));
        ck_assert(addr_equal(&got[i].to, &b));
        ck_assert(got[i].is_whole);
    }
    close(fa);
    close(fb);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/batch");
    TCase *tc = tcase_create("batch");

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_train_is_one_message_and_arrives_as_its_datagrams);
    tcase_add_test(tc, a_shorter_datagram_ends_a_train_and_lengths_survive);
    tcase_add_test(tc, interleaved_flows_keep_their_order_and_still_form_trains);
    tcase_add_test(tc, a_full_queue_flushes_itself_and_loses_nothing);
    tcase_add_test(tc, copied_text_may_die_before_the_flush);
    tcase_add_test(tc, padding_follows_the_payload_in_trains_and_plain);
    tcase_add_test(tc, copied_text_survives_the_flush_of_a_full_queue);
    tcase_add_test(tc, large_datagrams_go_in_messages_the_kernel_takes);
    tcase_add_test(tc, a_wildcard_socket_tells_the_reached_address_and_answers_from_it);
    tcase_add_test(tc, an_ipv6_wildcard_does_so_too);
    tcase_add_test(tc, what_has_no_port_to_go_to_is_never_a_train);
    tcase_add_loop_test(tc, the_original_destination_comes_with_every_datagram_of_a_train, 0, 2);
    tcase_add_test(tc, different_sources_do_not_share_a_train);
    tcase_add_test(tc, what_the_kernel_refuses_is_dropped_counted_and_stops_nothing);
    tcase_add_test(tc, a_train_refused_whole_is_sent_in_pieces);
    tcase_add_test(tc, a_device_that_cannot_segment_is_remembered);
    tcase_add_test(tc, a_full_send_buffer_drops_what_is_queued_for_that_socket_only);
    tcase_add_test(tc, a_full_device_queue_drops_one_message);
    tcase_add_test(tc, an_icmp_error_of_an_earlier_datagram_costs_no_later_one);
    tcase_add_test(tc, nothing_waiting_is_zero_and_a_bad_socket_is_an_error);
    tcase_add_test(tc, more_messages_than_a_batch_arrive_in_the_next_one);
    tcase_add_test(tc, a_bound_port_is_refused_to_a_second_socket);
    tcase_add_test(tc, the_route_to_loopback_starts_at_loopback);
    return suite_run(suite);
}
