/*
 * The client against a scripted relay: a thread with a UDP socket that answers each
 * request by the test's script. What a real relay does is the demo's own business.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/wire/channel.h"
#include "relay/demo/client.h"
#include "tests/support/suite.h"

#define REALM "test"

enum script {
    SCRIPT_PLAIN,       /* challenge without PASSWORD-ALGORITHMS, then success */
    SCRIPT_SHA256,      /* the same with them */
    SCRIPT_STALE,       /* as plain, but 438 once */
    SCRIPT_ALWAYS_401,  /* nobody's password is right */
    SCRIPT_FORGED,      /* success under another key */
    SCRIPT_NO_ADDRESS,  /* success without a relayed address */
    SCRIPT_TELLS,       /* success that shows the client its own address */
    SCRIPT_SLOW,        /* as plain, but deaf to the first request */
    SCRIPT_CHALLENGE_0, /* a 401 without realm and nonce */
};

static struct {
    int fd;
    struct addr addr;
    enum script script;
    pthread_t thread;
    atomic_bool stop;
    /* Written by the fake's thread, read by the test's. */
    atomic_uint n_requests;
    atomic_int seen_integrity; /* enum stun_integrity */
    atomic_bool echoed;        /* PASSWORD-ALGORITHMS came back */
} fake;

static const uint8_t algorithms[] = {0, STUN_PASSWORD_MD5, 0, 0, 0, STUN_PASSWORD_SHA256, 0, 0};

static void fake_challenge(struct stun_builder *b, const struct stun_msg *msg, unsigned int code)
{
    stun_begin(b, b->buf, b->cap, STUN_ERROR, msg->method, msg->txid);
    stun_put_error(b, code);
    if (fake.script == SCRIPT_CHALLENGE_0)
        return;
    stun_put_text(b, STUN_REALM, REALM);
    stun_put_text(b, STUN_NONCE, code == 438 ? "second" : "first");
    if (fake.script == SCRIPT_SHA256)
        stun_put(b, STUN_PASSWORD_ALGORITHMS, algorithms, sizeof(algorithms));
}

static void fake_success(struct stun_builder *b, const struct stun_msg *msg,
                         const struct addr *client)
{
    bool sha256 = fake.script == SCRIPT_SHA256;
    struct addr relayed = addr_make_v4(0x7f000001, 50000), mapped = addr_make_v4(0x7f000001, 3478);
    uint8_t key[STUN_KEY_MAX];
    size_t len = stun_long_term_key(sha256 ? STUN_PASSWORD_SHA256 : STUN_PASSWORD_MD5, "alice",
                                    REALM, fake.script == SCRIPT_FORGED ? "guess" : "pw", key);

    fake.seen_integrity =
        stun_check_integrity(msg, sha256 ? STUN_INTEGRITY_SHA256 : STUN_INTEGRITY_SHA1, key, len)
            ? (sha256 ? STUN_INTEGRITY_SHA256 : STUN_INTEGRITY_SHA1)
            : STUN_INTEGRITY_NONE;
    fake.echoed = stun_has(msg, STUN_PASSWORD_ALGORITHMS);
    stun_begin(b, b->buf, b->cap, STUN_SUCCESS, msg->method, msg->txid);
    if (fake.script != SCRIPT_NO_ADDRESS)
        stun_put_addr(b, STUN_XOR_RELAYED_ADDRESS, &relayed);
    stun_put_addr(b, STUN_XOR_MAPPED_ADDRESS, fake.script == SCRIPT_TELLS ? client : &mapped);
    stun_put_integrity(b, sha256 ? STUN_INTEGRITY_SHA256 : STUN_INTEGRITY_SHA1, key, len);
}

static size_t fake_answer(const struct stun_msg *msg, const struct addr *client, uint8_t *out,
                          size_t cap)
{
    struct stun_builder b = {.buf = out, .cap = cap};
    unsigned int n = fake.n_requests++;
    size_t len;
    const uint8_t *nonce = stun_get(msg, STUN_NONCE, &len);

    if (fake.script == SCRIPT_SLOW && n == 0)
        return 0;
    if (!nonce || fake.script == SCRIPT_ALWAYS_401)
        fake_challenge(&b, msg, 401);
    else if (fake.script == SCRIPT_STALE && memcmp(nonce, "first", 5) == 0)
        fake_challenge(&b, msg, 438);
    else
        fake_success(&b, msg, client);
    return stun_finish(&b);
}

static void *fake_run(void *arg)
{
    while (!atomic_load(&fake.stop)) {
        struct pollfd p = {.fd = fake.fd, .events = POLLIN};
        uint8_t in[2048], out[2048];
        struct sockaddr_storage sa;
        socklen_t sa_len = sizeof(sa);
        struct stun_msg msg;
        struct addr client;
        ssize_t n;
        size_t len;

        if (poll(&p, 1, 10) != 1)
            continue;
        n = recvfrom(fake.fd, in, sizeof(in), 0, (struct sockaddr *)&sa, &sa_len);
        if (n <= 0 || stun_decode(&msg, in, (size_t)n) != 0)
            continue;
        client = addr_from_sockaddr((struct sockaddr *)&sa);
        len = fake_answer(&msg, &client, out, sizeof(out));
        if (len > 0)
            (void)!sendto(fake.fd, out, len, 0, (struct sockaddr *)&sa, sa_len);
    }
    return NULL;
}

static int bind_loopback(struct addr *ret)
{
    struct addr any = addr_make_v4(0x7f000001, 0);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&any, &sa);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
    len = sizeof(sa);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *ret = addr_from_sockaddr((struct sockaddr *)&sa);
    return fd;
}

static struct demo_client *start(enum script script)
{
    struct addr own = addr_make_v4(0x7f000002, 0);
    struct demo_client *c;

    memset(&fake, 0, sizeof(fake));
    fake.script = script;
    fake.fd = bind_loopback(&fake.addr);
    ck_assert_int_eq(pthread_create(&fake.thread, NULL, fake_run, NULL), 0);
    ck_assert_int_eq(demo_client_new(&own, &fake.addr, false, "alice", "pw", &c), 0);
    demo_watch_hide(&c->link.watch, &own);
    return c;
}

static void stop(struct demo_client *c)
{
    demo_client_free(c);
    atomic_store(&fake.stop, true);
    pthread_join(fake.thread, NULL);
    close(fake.fd);
}

/* From the fake relay's socket. */
static void send_to(const struct demo_client *c, int fd, const void *data, size_t len)
{
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(&c->link.local, &sa);

    ck_assert_int_eq(sendto(fd, data, len, 0, (struct sockaddr *)&sa, sa_len), (ssize_t)len);
}

START_TEST(challenge_is_answered_the_old_way_without_password_algorithms)
{
    struct demo_client *c = start(SCRIPT_PLAIN);

    ck_assert_int_eq(demo_client_allocate(c), 0);
    ck_assert_uint_eq(fake.n_requests, 2);
    ck_assert_int_eq(fake.seen_integrity, STUN_INTEGRITY_SHA1);
    ck_assert_uint_eq(c->relayed.port, 50000);
    ck_assert_uint_eq(c->mapped.port, 3478);
    ck_assert_uint_eq(c->link.watch.n_found, 0);
    stop(c);
    ck_assert_uint_eq(fake.n_requests, 3); /* the Refresh that gives it back */
}
END_TEST

START_TEST(offered_sha256_is_taken_and_the_offer_returned)
{
    struct demo_client *c = start(SCRIPT_SHA256);

    ck_assert_int_eq(demo_client_allocate(c), 0);
    ck_assert_int_eq(fake.seen_integrity, STUN_INTEGRITY_SHA256);
    ck_assert(fake.echoed);
    stop(c);
}
END_TEST

START_TEST(stale_nonce_is_replaced)
{
    struct demo_client *c = start(SCRIPT_STALE);

    ck_assert_int_eq(demo_client_allocate(c), 0);
    ck_assert_uint_eq(fake.n_requests, 3);
    ck_assert_str_eq(c->nonce, "second");
    stop(c);
}
END_TEST

START_TEST(second_401_is_the_answer)
{
    struct demo_client *c = start(SCRIPT_ALWAYS_401);

    ck_assert_int_eq(demo_client_allocate(c), 401);
    ck_assert_uint_eq(fake.n_requests, 2);
    stop(c);
}
END_TEST

START_TEST(success_of_somebody_without_the_password_is_refused)
{
    struct demo_client *c = start(SCRIPT_FORGED);

    ck_assert_int_eq(demo_client_allocate(c), -EBADMSG);
    stop(c);
}
END_TEST

START_TEST(success_without_what_it_must_hold_is_refused)
{
    struct demo_client *c = start(SCRIPT_NO_ADDRESS);

    ck_assert_int_eq(demo_client_allocate(c), -EBADMSG);
    stop(c);
    c = start(SCRIPT_CHALLENGE_0);
    ck_assert_int_eq(demo_client_allocate(c), -EBADMSG);
    stop(c);
}
END_TEST

START_TEST(lost_request_is_sent_again)
{
    struct demo_client *c = start(SCRIPT_SLOW);

    ck_assert_int_eq(demo_client_allocate(c), 0);
    ck_assert_uint_eq(fake.n_requests, 3);
    stop(c);
}
END_TEST

START_TEST(answer_that_shows_the_clients_address_is_noticed)
{
    struct demo_client *c = start(SCRIPT_TELLS);

    ck_assert_int_eq(demo_client_allocate(c), 0);
    ck_assert_uint_eq(c->link.watch.n_found, 1);
    ck_assert_uint_eq(c->link.watch.n_strangers, 0);
    stop(c);
}
END_TEST

START_TEST(hidden_address_is_found_in_each_of_its_forms)
{
    static const uint8_t plain[] = {1, 2, 127, 0, 0, 2, 9}, other[] = {127, 0, 0, 1, 127, 0, 0, 3},
                         xored[] = {0x7f ^ 0x21, 0x12, 0xa4, 2 ^ 0x42};
    static const uint8_t txid[STUN_TXID_LEN] = {1};
    struct addr addr = addr_make_v4(0x7f000002, 4711);
    uint8_t buf[64];
    struct stun_builder b;
    size_t len;

    ck_assert(demo_watch_holds(plain, sizeof(plain), &addr));
    ck_assert(!demo_watch_holds(plain, 5, &addr));
    ck_assert(!demo_watch_holds(other, sizeof(other), &addr));
    ck_assert(demo_watch_holds(xored, sizeof(xored), &addr));
    ck_assert(demo_watch_holds((const uint8_t *)"raddr 127.0.0.2 rport", 21, &addr));
    ck_assert(!demo_watch_holds((const uint8_t *)"raddr 127.0.0.1 rport", 21, &addr));
    ck_assert(!demo_watch_holds(plain, 0, &addr));
    stun_begin(&b, buf, sizeof(buf), STUN_SUCCESS, STUN_BINDING, txid);
    stun_put_addr(&b, STUN_XOR_MAPPED_ADDRESS, &addr);
    len = stun_finish(&b);
    ck_assert(demo_watch_holds(buf, len, &addr));
}
END_TEST

START_TEST(datagram_past_the_relay_is_counted_and_not_handed_out)
{
    struct demo_client *c = start(SCRIPT_PLAIN);
    struct demo_packet packet;
    struct addr stranger;
    int fd = bind_loopback(&stranger);

    send_to(c, fd, "hello", 5);
    ck_assert_int_eq(demo_client_receive(c, clock_now_ns() + 50 * NS_PER_MS, &packet), -ETIMEDOUT);
    ck_assert_uint_eq(c->link.watch.n_strangers, 1);
    ck_assert(addr_equal(&c->link.watch.found, &stranger));
    close(fd);
    stop(c);
}
END_TEST

START_TEST(packets_come_from_data_indications_and_the_bound_channel_alone)
{
    static const uint8_t txid[STUN_TXID_LEN] = {1}, payload[3] = {'a', 'b', 'c'};
    struct demo_client *c = start(SCRIPT_PLAIN);
    struct addr peer = addr_make_v4(0xc6336401, 1000);
    uint8_t buf[128];
    struct demo_packet packet;
    struct stun_builder b;

    ck_assert_int_eq(demo_client_allocate(c), 0);
    ck_assert_int_eq(demo_client_bind(c, &peer, 0x4001), 0);
    channel_put_header(buf, 0x4002, 3); /* not ours */
    memcpy(buf + CHANNEL_HEADER_LEN, payload, sizeof(payload));
    send_to(c, fake.fd, buf, CHANNEL_HEADER_LEN + 3);
    channel_put_header(buf, 0x4001, 3);
    send_to(c, fake.fd, buf, CHANNEL_HEADER_LEN + 3);
    ck_assert_int_eq(demo_client_receive(c, clock_now_ns() + NS_PER_S, &packet), 0);
    ck_assert_uint_eq(packet.len, 3);
    ck_assert(addr_equal(&packet.from, &peer));

    peer.port = 2000;
    stun_begin(&b, buf, sizeof(buf), STUN_INDICATION, STUN_DATA, txid);
    stun_put_addr(&b, STUN_XOR_PEER_ADDRESS, &peer);
    stun_put(&b, STUN_DATA_ATTR, "defg", 4);
    send_to(c, fake.fd, buf, stun_finish(&b));
    ck_assert_int_eq(demo_client_receive(c, clock_now_ns() + NS_PER_S, &packet), 0);
    ck_assert_uint_eq(packet.len, 4);
    ck_assert(memcmp(packet.data, "defg", 4) == 0);
    ck_assert(addr_equal(&packet.from, &peer));
    stop(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("demo_client");
    TCase *tc = tcase_create("demo_client");

    tcase_add_test(tc, challenge_is_answered_the_old_way_without_password_algorithms);
    tcase_add_test(tc, offered_sha256_is_taken_and_the_offer_returned);
    tcase_add_test(tc, stale_nonce_is_replaced);
    tcase_add_test(tc, second_401_is_the_answer);
    tcase_add_test(tc, success_of_somebody_without_the_password_is_refused);
    tcase_add_test(tc, success_without_what_it_must_hold_is_refused);
    tcase_add_test(tc, lost_request_is_sent_again);
    tcase_add_test(tc, answer_that_shows_the_clients_address_is_noticed);
    tcase_add_test(tc, hidden_address_is_found_in_each_of_its_forms);
    tcase_add_test(tc, datagram_past_the_relay_is_counted_and_not_handed_out);
    tcase_add_test(tc, packets_come_from_data_indications_and_the_bound_channel_alone);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
