#include "tests/net/dtls_client_env.h"

/* ---- the handshake ---- */

START_TEST(handshake_then_messages_both_ways)
{
    ck_assert_int_eq(say("early", 5), -EPIPE);
    start();
    ck_assert_int_eq(say("early", 5), -EPIPE);
    ck_assert(settle(1000));
    ck_assert_str_eq(SSL_get_version(dtls_client_ssl(b.client)), "DTLSv1.2");
    echo_works();
    echo_works();
}
END_TEST

START_TEST(no_datagram_of_the_handshake_is_over_the_mtu)
{
    struct cert_want ca = {.cn = "a long way up", .is_ca = true}, leaf = {.cn = "x"};
    struct cert issuer = cert_make(&ca), server;
    SSL_CTX *ctx;
    char san[2200] = "DNS:" NAME;

    for (int i = 0; i < 80; i++) /* a certificate of two datagrams */
        snprintf(san + strlen(san), sizeof(san) - strlen(san), ",DNS:name-%d.relay.test", i);
    leaf.san = san;
    leaf.from = &issuer;
    server = cert_make(&leaf);
    ctx = cert_server(&server, DTLS_server_method());
    dtls_ctx_init(ctx);
    server_new(ctx);
    client_use(&issuer, NAME, NULL, 0);
    start();
    ck_assert(settle(1000));
    ck_assert_uint_le(b.to_client.max_len, DTLS_HANDSHAKE_MTU);
    ck_assert_uint_le(b.to_server.max_len, DTLS_HANDSHAKE_MTU);
    echo_works();
    SSL_CTX_free(ctx);
    cert_free(&server);
    cert_free(&issuer);
}
END_TEST

START_TEST(handshake_survives_loss_doubles_and_reordering)
{
    srand(100 + (unsigned int)_i);
    b.to_server.loss_percent = b.to_client.loss_percent = 25;
    b.to_server.twice_percent = b.to_client.twice_percent = 25;
    b.to_server.shuffled = b.to_client.shuffled = true;
    dtls_client_set_times(b.client, 20000, RETRANSMIT_MS);
    start();
    ck_assert(settle(15000));
    b.to_server = (struct wire){.n_sent = b.to_server.n_sent};
    b.to_client = (struct wire){0};
    /* The server may still be waiting for our last words: its retransmissions bring them. */
    for (int i = 0; i < 2000 && !b.session; i++) {
        deliver();
        event_base_loop(b.base, EVLOOP_NONBLOCK);
        usleep(500);
    }
    ck_assert_ptr_nonnull(b.session);
    wire_clear(&b.to_client);
    echo_works();
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(silence_is_retransmitted_into_and_then_given_up)
{
    dtls_client_set_times(b.client, 400, RETRANSMIT_MS);
    b.to_server.loss_percent = 100;
    start();
    closed_within(1000, -ETIMEDOUT);
    /* 0, 40, 120 and 280 ms; one fewer on a busy machine. */
    ck_assert_uint_ge(b.to_server.n_sent, 3);
    ck_assert_uint_le(b.to_server.n_sent, 5);
    ck_assert_int_eq(b.n_open, 0);
    ck_assert_int_eq(say("late", 4), -EPIPE);
}
END_TEST

/* ---- who is there ---- */

START_TEST(wrong_pin_ends_with_eacces_and_nothing_was_said)
{
    unsigned char pins[1][32] = {{1, 2, 3}};

    client_use(NULL, NAME, pins, 1);
    start();
    closed_within(1000, -EACCES);
    ck_assert_str_eq(b.why, "the server's certificate does not have the pinned key");
    ck_assert_int_eq(b.n_open, 0);
    ck_assert_int_eq(say("secret", 6), -EPIPE);
    deliver();
    ck_assert_int_eq(b.server_messages, 0);
    ck_assert_ptr_null(b.session); /* the server never got our Finished */
}
END_TEST

START_TEST(self_signed_server_without_a_pin_is_refused)
{
    client_use(NULL, NAME, NULL, 0);
    start();
    closed_within(1000, -EACCES);
    ck_assert_ptr_nonnull(strstr(b.why, "self-signed"));
    ck_assert_int_eq(b.n_open, 0);
}
END_TEST

START_TEST(ca_and_name_decide_without_a_pin)
{
    static const struct {
        const char *name;
        long start_s, end_s;
        int reason;
        const char *why;
    } rows[] = {
        {NAME, 0, 0, 0, ""},
        {"other.test", 0, 0, -EACCES, "mismatch"},
        {"192.0.2.1", 0, 0, -EACCES, "mismatch"},
        {NAME, -7200, -3600, -EACCES, "expired"},
    };
    struct cert_want ca = {.cn = "CA", .is_ca = true}, leaf = {.cn = "x", .san = "DNS:" NAME};
    struct cert issuer = cert_make(&ca), server;
    SSL_CTX *ctx;

    leaf.from = &issuer;
    leaf.start_s = rows[_i].start_s;
    leaf.end_s = rows[_i].end_s;
    server = cert_make(&leaf);
    ctx = cert_server(&server, DTLS_server_method());
    dtls_ctx_init(ctx);
    server_new(ctx);
    client_use(&issuer, rows[_i].name, NULL, 0);
    start();
    if (rows[_i].reason == 0) {
        ck_assert(settle(1000));
        echo_works();
    } else {
        closed_within(1000, rows[_i].reason);
        ck_assert_ptr_nonnull(strstr(b.why, rows[_i].why));
    }
    SSL_CTX_free(ctx);
    cert_free(&server);
    cert_free(&issuer);
}
END_TEST

/* ---- strangers ---- */

static void random_bytes(uint8_t *ret, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)rand();
}

/* Anything, or shaped like a record of `epoch` to epoch + 2. */
static void noise(unsigned int i, uint8_t epoch)
{
    uint8_t data[1500];
    size_t len = (size_t)rand() % sizeof(data);

    random_bytes(data, sizeof(data));
    if (i % 2 && len > 13) {
        data[0] = (uint8_t)(20 + rand() % 4);
        data[1] = 254;
        data[2] = 253;
        data[3] = 0;
        data[4] = (uint8_t)(epoch + rand() % 3);
        data[11] = (uint8_t)((len - 13) >> 8);
        data[12] = (uint8_t)(len - 13);
    }
    client_input(data, len);
}

START_TEST(datagrams_that_are_no_records_do_not_disturb_the_handshake)
{
    uint8_t data[1500];

    start();
    for (unsigned int i = 0; i < 2000; i++) {
        random_bytes(data, sizeof(data));
        data[1] = (uint8_t)(data[1] == 254 ? 1 : data[1]);
        client_input(data, (size_t)rand() % sizeof(data));
        if (i % 500 == 499) {
            struct datagram *d = wire_get(&b.to_server);

            if (d)
                dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                                  clock_now_ns());
            free(d);
            d = wire_get(&b.to_client);
            if (d)
                client_input(d->data, d->len);
            free(d);
        }
    }
    ck_assert(settle(1000));
    echo_works();
}
END_TEST

START_TEST(garbage_does_not_end_an_open_session)
{
    start();
    ck_assert(settle(1000));
    for (unsigned int i = 0; i < 20000; i++)
        noise(i, 0);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_int_eq(b.n_messages, 0);
    wire_clear(&b.to_server); /* what they made us repeat */
    echo_works();
}
END_TEST

START_TEST(forged_alert_does_not_end_the_handshake)
{
    static const uint8_t alerts[][15] = {
        {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40}, /* fatal, handshake_failure */
        {21, 254, 255, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0},  /* close_notify */
    };

    start();
    client_input(alerts[_i], 15);
    ck_assert(settle(1000));
    echo_works();
    client_input(alerts[_i], 15);
    event_base_loop(b.base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(b.n_closed, 0);
    echo_works();
}
END_TEST

START_TEST(alert_that_is_followed_by_silence_ends_the_handshake_early)
{
    static const uint8_t alert[] = {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
    uint64_t start_ns = clock_now_ns();

    b.to_server.loss_percent = 100;
    dtls_client_set_times(b.client, 20000, RETRANSMIT_MS);
    start();
    client_input(alert, sizeof(alert));
    closed_within(5000, -EPROTO);
    ck_assert_uint_ge(clock_now_ns() - start_ns, 900 * NS_PER_MS);
}
END_TEST

START_TEST(recorded_record_is_delivered_once)
{
    struct datagram *d;

    start();
    ck_assert(settle(1000));
    ck_assert_int_eq(say("once", 4), 0);
    d = wire_get(&b.to_server);
    dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                      clock_now_ns());
    free(d);
    d = wire_get(&b.to_client);
    for (int i = 0; i < 3; i++)
        client_input(d->data, d->len);
    free(d);
    ck_assert_int_eq(b.n_messages, 1);
}
END_TEST

/* ---- messages ---- */

START_TEST(several_records_in_one_datagram_are_several_messages)
{
    struct iovec iov = {(void *)(uintptr_t) "abcde", 5};
    struct datagram *one, *two;

    start();
    ck_assert(settle(1000));
    deliver();
    dtls_session_send(b.session, &iov, 1);
    dtls_session_send(b.session, &iov, 1);
    one = wire_get(&b.to_client);
    two = wire_get(&b.to_client);
    memcpy(one->data + one->len, two->data, two->len);
    client_input(one->data, one->len + two->len);
    ck_assert_int_eq(b.n_messages, 2);
    free(one);
    free(two);
}
END_TEST

START_TEST(message_that_comes_before_the_last_words_of_the_handshake_is_not_lost)
{
    struct iovec iov = {(void *)(uintptr_t) "first", 5};
    struct datagram *d;

    start();
    while (!b.session) { /* the server is through; its Finished is on the wire */
        while ((d = wire_get(&b.to_server))) {
            dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                              clock_now_ns());
            free(d);
        }
        if (!b.session && (d = wire_get(&b.to_client))) {
            client_input(d->data, d->len);
            free(d);
        }
    }
    b.to_client.shuffled = true;
    dtls_session_send(b.session, &iov, 1);
    d = b.to_client.queue[b.to_client.n - 1]; /* and overtakes it */
    for (size_t i = b.to_client.n - 1; i > 0; i--)
        b.to_client.queue[i] = b.to_client.queue[i - 1];
    b.to_client.queue[0] = d;
    ck_assert_int_eq(b.n_open, 0);
    ck_assert(settle(1000));
    ck_assert_int_eq(b.n_messages, 1);
}
END_TEST

START_TEST(largest_message_passes_and_a_larger_one_is_refused)
{
    static uint8_t data[DTLS_MESSAGE_MAX + 1];

    random_bytes(data, sizeof(data));
    start();
    ck_assert(settle(1000));
    ck_assert_int_eq(say(data, DTLS_MESSAGE_MAX), 0);
    deliver();
    deliver();
    ck_assert_uint_eq(b.message_len, DTLS_MESSAGE_MAX);
    ck_assert_int_eq(memcmp(b.message, data, DTLS_MESSAGE_MAX), 0);
    ck_assert_int_eq(say(data, DTLS_MESSAGE_MAX + 1), -EMSGSIZE);
    echo_works();
}
END_TEST

START_TEST(messages_stay_until_flush)
{
    const uint8_t *first;

    start();
    ck_assert(settle(1000));
    echo_works();
    first = b.last_data;
    while (b.n_flushes == 0) {
        ck_assert_int_eq(memcmp(first, "hello", 5), 0);
        ck_assert_int_eq(say(b.message, 1200), 0);
        deliver();
        deliver();
    }
    ck_assert_int_gt(b.n_messages, 10);
}
END_TEST

/* ---- the end ---- */

START_TEST(close_notify_of_the_server_is_an_orderly_end_and_answered)
{
    start();
    ck_assert(settle(1000));
    deliver();
    dtls_session_close(b.session);
    b.session = NULL;
    closed_within(500, 0);
    ck_assert_uint_eq(b.to_server.n, 1); /* our own close_notify (RFC 5246, section 7.2.1) */
    ck_assert_int_eq(say("late", 4), -EPIPE);
}
END_TEST

START_TEST(goodbye_reaches_the_server)
{
    start();
    ck_assert(settle(1000));
    deliver();
    dtls_client_say_goodbye(b.client);
    client_free();
    deliver();
    ck_assert_int_eq(b.server_closed, 1);
    ck_assert_int_eq(b.server_reason, 0);
}
END_TEST

START_TEST(goodbye_before_the_handshake_says_nothing)
{
    unsigned int n_sent;

    dtls_client_say_goodbye(b.client);
    ck_assert_uint_eq(b.to_server.n_sent, 0);
    start();
    n_sent = b.to_server.n_sent;
    dtls_client_say_goodbye(b.client);
    ck_assert_uint_eq(b.to_server.n_sent, n_sent);
}
END_TEST

START_TEST(client_may_be_freed_within_its_events)
{
    b.free_on_open = _i == 0;
    b.free_on_message = _i == 1;
    b.free_on_closed = _i == 2;
    if (_i == 3) {
        b.free_on_closed = true;
        b.to_server.loss_percent = 100;
        dtls_client_set_times(b.client, 100, RETRANSMIT_MS);
    }
    start();
    settle(1000);
    deliver();
    if (_i == 1) {
        say("hello", 5);
        say("hello", 5);
        deliver();
        deliver();
    } else if (_i == 2) {
        dtls_session_close(b.session);
        deliver();
    }
    ck_assert_ptr_null(b.client);
    ck_assert_int_le(b.n_messages, 1);
}
END_TEST

START_TEST(freeing_in_any_state_leaves_nothing_behind)
{
    if (_i > 0)
        start();
    for (int i = 1; i < _i; i++) {
        struct datagram *d = wire_get(&b.to_server);

        if (d)
            dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                              clock_now_ns());
        free(d);
        if ((d = wire_get(&b.to_client)))
            client_input(d->data, d->len);
        free(d);
    }
    client_free();
    run_for(b.base, 3 * RETRANSMIT_MS);
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dtls_client");
    TCase *tc = tcase_create("dtls_client");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, handshake_then_messages_both_ways);
    tcase_add_test(tc, no_datagram_of_the_handshake_is_over_the_mtu);
    tcase_add_loop_test(tc, handshake_survives_loss_doubles_and_reordering, 0, 12);
    tcase_add_test(tc, silence_is_retransmitted_into_and_then_given_up);
    tcase_add_test(tc, wrong_pin_ends_with_eacces_and_nothing_was_said);
    tcase_add_test(tc, self_signed_server_without_a_pin_is_refused);
    tcase_add_loop_test(tc, ca_and_name_decide_without_a_pin, 0, 4);
    tcase_add_test(tc, datagrams_that_are_no_records_do_not_disturb_the_handshake);
    tcase_add_test(tc, garbage_does_not_end_an_open_session);
    tcase_add_loop_test(tc, forged_alert_does_not_end_the_handshake, 0, 2);
    tcase_add_test(tc, alert_that_is_followed_by_silence_ends_the_handshake_early);
    tcase_add_test(tc, recorded_record_is_delivered_once);
    tcase_add_test(tc, several_records_in_one_datagram_are_several_messages);
    tcase_add_test(tc, message_that_comes_before_the_last_words_of_the_handshake_is_not_lost);
    tcase_add_test(tc, largest_message_passes_and_a_larger_one_is_refused);
    tcase_add_test(tc, messages_stay_until_flush);
    tcase_add_test(tc, close_notify_of_the_server_is_an_orderly_end_and_answered);
    tcase_add_test(tc, goodbye_reaches_the_server);
    tcase_add_test(tc, goodbye_before_the_handshake_says_nothing);
    tcase_add_loop_test(tc, client_may_be_freed_within_its_events, 0, 4);
    tcase_add_loop_test(tc, freeing_in_any_state_leaves_nothing_behind, 0, 5);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
