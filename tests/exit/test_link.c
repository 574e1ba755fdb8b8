#include "common/wire/stun.h"
#include "tests/exit/link_env.h"

static const enum link_kind kinds[] = {LINK_UDP, LINK_DTLS, LINK_TCP, LINK_TLS};
static const enum link_kind streams[] = {LINK_TCP, LINK_TLS};

/* ChannelData: 4 bytes, then as many of `fill`. Return: its length without padding. */
static size_t channel_message(uint8_t *buf, uint16_t len, uint8_t fill)
{
    channel_put_header(buf, CHANNEL_MIN, len);
    memset(buf + 4, fill, len);
    return 4u + len;
}

/* As the owner would from a loop: queued, then flushed with the rest. */
static void say_channel(const uint8_t *payload, uint16_t len)
{
    uint8_t header[4];

    channel_put_header(header, CHANNEL_MIN, len);
    b.in_call = true;
    link_send(b.link, header, 4, payload, len);
    b.in_call = false;
    tx_flush(b.env.tx);
}

/* ---- all four alike ---- */

START_TEST(opens_on_a_turn_of_the_loop_and_carries_messages_both_ways)
{
    static const uint8_t payload[] = "seven!!";
    bool is_stream = link_kind_is_stream(kinds[_i]);
    struct addr local;

    bench_relay(kinds[_i]);
    ck_assert_int_eq(bench_link(), 0);
    ck_assert_int_eq(b.n_open, 0);
    ck_assert(!link_is_open(b.link));
    ck_assert(run_until(b.base, &b.opened, 2000));
    ck_assert(link_is_open(b.link));
    ck_assert_int_eq(link_kind(b.link), kinds[_i]);
    local = link_local(b.link);
    ck_assert(addr_is_loopback(&local));
    ck_assert_uint_ne(local.port, 0);
    say_channel(payload, 7);
    ck_assert(bench_messages(1));
    /* Padded where ChannelData must be, and only there. */
    ck_assert_uint_eq(b.lens[0], is_stream ? 12 : 11);
    ck_assert_int_eq(memcmp(b.data[0], "\x40\x00\x00\x07seven!!\0", b.lens[0]), 0);
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(stun_is_padded_on_every_transport)
{
    uint8_t header[STUN_HEADER_LEN + 4] = {0, 0x16, 0, 8, 0x21, 0x12, 0xa4, 0x42};

    header[21] = 0x13; /* DATA of three bytes */
    header[23] = 3;
    bench_open(kinds[_i]);
    link_send(b.link, header, sizeof(header), "abc", 3);
    tx_flush(b.env.tx);
    ck_assert(bench_messages(1));
    ck_assert_uint_eq(b.lens[0], 28);
    ck_assert_int_eq(memcmp(b.data[0] + 24, "abc\0", 4), 0);
    ck_assert_int_eq(link_send_copy(b.link, b.data[0], 28), 0);
    tx_flush(b.env.tx);
    ck_assert(bench_messages(2));
    ck_assert_uint_eq(b.lens[1], 28);
}
END_TEST

START_TEST(burst_arrives_whole_and_in_order)
{
    static uint8_t payloads[200][1000];

    bench_open(kinds[_i]);
    for (unsigned int i = 0; i < 200; i++) {
        uint8_t header[4];

        memset(payloads[i], (int)i, sizeof(payloads[i]));
        channel_put_header(header, CHANNEL_MIN, 1000);
        link_send(b.link, header, 4, payloads[i], 1000);
        if (i % 50 == 49) {
            tx_flush(b.env.tx);
            ck_assert(bench_messages((int)i + 1));
        }
    }
    for (unsigned int i = 0; i < 200; i++) {
        ck_assert_uint_eq(b.lens[i], 1004);
        ck_assert_uint_eq(b.data[i][4], i);
    }
}
END_TEST

START_TEST(nothing_is_sent_before_it_is_open)
{
    b.silent = true;
    bench_relay(kinds[_i]);
    ck_assert_int_eq(bench_link(), 0);
    say_channel((const uint8_t *)"early", 5);
    ck_assert_int_eq(link_send_copy(b.link, "\x40\0\0\0", 4), -ENOTCONN);
    tx_flush(b.env.tx);
    ck_assert(run_until(b.base, &b.opened, 2000));
    bench_turns(5);
    ck_assert_uint_eq(b.relay_bytes, 0);
}
END_TEST

START_TEST(what_is_neither_stun_nor_channel_data_is_nobodys_or_the_end)
{
    static const uint8_t other[] = "SSH-2.0-OpenSSH_9.2p1\r\n";

    bench_open(kinds[_i]);
    say_channel((const uint8_t *)"x", 1);
    ck_assert(bench_messages(1));
    bench_relay_says(other, sizeof(other));
    if (link_kind_is_stream(kinds[_i])) {
        ck_assert(run_until(b.base, &b.closed, 500));
        ck_assert_int_eq(b.reason, -EPROTO);
        ck_assert_str_eq(b.why, "the relay does not speak TURN");
    } else {
        bench_turns(5);
        ck_assert_int_eq(b.n_closed, 0);
    }
    ck_assert_int_eq(b.n_messages, 1);
}
END_TEST

START_TEST(what_was_said_last_goes_out_before_the_link_does)
{
    b.silent = true;
    bench_open(kinds[_i]);
    ck_assert_int_eq(link_send_copy(b.link, "\x40\0\0\x04last", 8), 0);
    link_free(b.link);
    b.link = NULL;
    for (int i = 0; i < 1000 && b.relay_bytes == 0; i++)
        bench_turns(1);
    ck_assert_uint_eq(b.relay_bytes, 8);
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(link_may_be_freed_within_its_events)
{
    enum link_kind kind = kinds[_i % 4];

    b.free_on = 1 + _i / 4;
    bench_relay(kind);
    if (b.free_on == 3)
        b.to.server.port = 1; /* nobody listens there, or so one hopes */
    ck_assert_int_eq(bench_link(), 0);
    run_until(b.base, b.free_on == 3 && kind != LINK_UDP ? &b.closed : &b.opened, 2000);
    if (b.free_on == 2)
        for (int i = 0; i < 3; i++)
            say_channel((const uint8_t *)"x", 1);
    if (b.free_on == 3 && kind == LINK_UDP)
        say_channel((const uint8_t *)"x", 1);
    for (int i = 0; i < 1000 && b.link; i++)
        bench_turns(1);
    ck_assert_ptr_null(b.link);
    bench_turns(5);
    ck_assert_int_le(b.n_messages, 1);
}
END_TEST

START_TEST(freeing_before_it_is_open_leaves_nothing_behind)
{
    bench_relay(kinds[_i % 4]);
    ck_assert_int_eq(bench_link(), 0);
    bench_turns(_i / 4);
    link_free(b.link);
    b.link = NULL;
    link_free(NULL);
    bench_turns(5);
    ck_assert_int_le(b.n_open, 1);
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(end_that_comes_before_an_owner_is_told_to_the_owner)
{
    bench_open(LINK_TCP);
    link_set_events(b.link, NULL, NULL);
    stream_close(b.stream, 0);
    for (int i = 0; i < 1000 && link_is_open(b.link); i++)
        bench_turns(1);
    ck_assert(!link_is_open(b.link));
    ck_assert_int_eq(b.n_closed, 0);
    b.in_call = true;
    link_set_events(b.link, &bench_events, &b);
    b.in_call = false;
    bench_turns(2);
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.reason, 0);
    bench_turns(2);
    ck_assert_int_eq(b.n_closed, 1);
}
END_TEST

/* ---- nobody there, or somebody else ---- */

START_TEST(refused_link_closes_with_the_reason)
{
    enum link_kind kind = kinds[_i];

    bench_relay(kind);
    b.to.server.port = 1;
    ck_assert_int_eq(bench_link(), 0);
    if (kind == LINK_UDP) { /* the first message finds out */
        ck_assert(run_until(b.base, &b.opened, 500));
        say_channel((const uint8_t *)"x", 1);
    }
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_int_eq(b.reason, -ECONNREFUSED);
    ck_assert_str_eq(b.why, "Connection refused");
    ck_assert_int_eq(b.n_open, kind == LINK_UDP);
    ck_assert_int_eq(link_send_copy(b.link, "\x40\0\0\0", 4), -ENOTCONN);
}
END_TEST

START_TEST(relay_with_another_key_is_refused_and_hears_nothing)
{
    static const enum link_kind secure[] = {LINK_DTLS, LINK_TLS};

    bench_relay(secure[_i % 2]);
    b.pin[0][5] ^= 1;
    if (_i >= 2) /* self-signed, and no pin at all */
        b.to.n_pins = 0;
    ck_assert_int_eq(bench_link(), 0);
    for (int i = 0; i < 20 && !b.closed; i++) {
        bench_turns(3);
        if (b.stream && i > 10) { /* the alert is out; TLS waits for the relay's end */
            stream_free(b.stream);
            b.stream = NULL;
        }
    }
    ck_assert(run_until(b.base, &b.closed, 3000));
    ck_assert_int_eq(b.reason, -EACCES);
    ck_assert_str_eq(b.why, _i < 2 ? "the server's certificate does not have the pinned key"
                                   : "self-signed certificate");
    ck_assert_int_eq(b.n_open, 0);
    ck_assert_uint_eq(b.relay_bytes, 0);
}
END_TEST

START_TEST(stream_that_does_not_open_is_given_up_after_ten_seconds)
{
    struct timeval at, now;

    b.deaf = true;
    bench_relay(LINK_TLS);
    ck_assert_int_eq(bench_link(), 0);
    bench_turns(3);
    ck_assert(event_pending(&b.link->timer, EV_TIMEOUT, &at));
    gettimeofday(&now, NULL);
    ck_assert_int_ge(at.tv_sec - now.tv_sec, 8);
    ck_assert_int_le(at.tv_sec - now.tv_sec, 11);
    event_active(&b.link->timer, EV_TIMEOUT, 0);
    bench_turns(1);
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.reason, -ETIMEDOUT);
    ck_assert_str_eq(b.why, "the relay does not answer");
}
END_TEST

START_TEST(without_tls_there_is_no_link_that_needs_it)
{
    static const enum link_kind secure[] = {LINK_DTLS, LINK_TLS};

    bench_relay(secure[_i]);
    b.env.tls = NULL;
    ck_assert_int_eq(bench_link(), -EINVAL);
    ck_assert_ptr_null(b.link);
}
END_TEST

/* ---- datagrams ---- */

START_TEST(datagrams_of_strangers_do_not_come_in)
{
    struct addr local, any;
    struct sockaddr_storage sa;
    socklen_t len;
    int fd;

    bench_open(LINK_UDP);
    local = link_local(b.link);
    len = addr_to_sockaddr(&local, &sa);
    ck_assert(addr_parse("127.0.0.1:0", &any));
    fd = sock_bind(&any, SOCK_DGRAM, 0);
    sendto(fd, "\x40\0\0\0", 4, 0, (struct sockaddr *)&sa, len);
    bench_turns(5);
    ck_assert_int_eq(b.n_messages, 0);
    say_channel((const uint8_t *)"x", 1);
    ck_assert(bench_messages(1));
    close(fd);
}
END_TEST

/* The relay's socket is gone, and the kernel says so for each datagram. */
static void icmp_error(void)
{
    say_channel((const uint8_t *)"x", 1);
    bench_turns(3);
}

START_TEST(icmp_errors_end_a_link_that_works_only_when_they_keep_coming)
{
    struct link_udp *u;

    bench_open(LINK_UDP);
    say_channel((const uint8_t *)"x", 1);
    ck_assert(bench_messages(1));
    event_free(b.event);
    b.event = NULL;
    close(b.fd);
    b.fd = -1;
    u = (struct link_udp *)(void *)b.link;
    for (int i = 0; i < 20; i++)
        icmp_error();
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_uint_gt(u->n_refusals, 3);
    u->refused_ns -= 4 * NS_PER_S;
    icmp_error();
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.reason, -ECONNREFUSED);
}
END_TEST

START_TEST(one_datagram_makes_icmp_errors_forgotten)
{
    struct link_udp *u;

    bench_open(LINK_UDP);
    u = (struct link_udp *)(void *)b.link;
    u->n_refusals = 100;
    u->refused_ns = 1;
    say_channel((const uint8_t *)"x", 1);
    ck_assert(bench_messages(1));
    ck_assert_uint_eq(u->n_refusals, 0);
}
END_TEST

START_TEST(dtls_says_goodbye_and_hears_it)
{
    bench_open(LINK_DTLS);
    if (_i == 0) {
        link_free(b.link);
        b.link = NULL;
        for (int i = 0; i < 1000 && b.n_relay_closed == 0; i++)
            bench_turns(1);
        ck_assert_int_eq(b.n_relay_closed, 1);
    } else {
        dtls_session_close(b.session);
        ck_assert(run_until(b.base, &b.closed, 500));
        ck_assert_int_eq(b.reason, 0);
        ck_assert_str_eq(b.why, "the relay closed the connection");
    }
}
END_TEST

START_TEST(the_certificates_end_is_known_while_it_is_open)
{
    bool has = kinds[_i] == LINK_DTLS || kinds[_i] == LINK_TLS;
    uint64_t end_s = b.tls->not_after_s;

    ck_assert_uint_gt(end_s, (uint64_t)time(NULL));
    bench_relay(kinds[_i]);
    ck_assert_int_eq(bench_link(), 0);
    ck_assert_uint_eq(link_certificate_end_s(b.link), 0);
    ck_assert(run_until(b.base, &b.opened, 2000));
    ck_assert_uint_eq(link_certificate_end_s(b.link), has ? end_s : 0);
    if (b.stream)
        stream_close(b.stream, 0);
    else if (b.session)
        dtls_session_close(b.session);
    if (kinds[_i] == LINK_UDP)
        return;
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_uint_eq(link_certificate_end_s(b.link), 0);
}
END_TEST

START_TEST(datagram_links_have_no_stream_to_take)
{
    bench_open(kinds[_i]);
    ck_assert_ptr_null(link_take_stream(b.link));
    ck_assert(link_is_open(b.link));
}
END_TEST

/* ---- streams ---- */

START_TEST(messages_are_found_however_they_are_cut)
{
    uint8_t buf[600];
    size_t len = 0, step = (size_t)_i / 2 + 1;

    b.silent = true;
    bench_open(streams[_i % 2]);
    for (uint16_t i = 0; i < 10; i++) {
        memset(buf + len, 0, 48);
        len += (channel_message(buf + len, (uint16_t)(3 * i), (uint8_t)(i + 1)) + 3) & ~3u;
    }
    for (size_t at = 0; at < len; at += step) {
        bench_relay_says(buf + at, step < len - at ? step : len - at);
        bench_turns(2);
    }
    ck_assert(bench_messages(10));
    for (unsigned int i = 0; i < 10; i++) {
        ck_assert_uint_eq(b.lens[i], (4 + 3 * i + 3) & ~3u);
        ck_assert_uint_eq(b.data[i][3], 3 * i);
        if (i > 0)
            ck_assert_uint_eq(b.data[i][4], i + 1);
    }
}
END_TEST

START_TEST(orderly_end_of_the_relay_is_reason_zero)
{
    bench_open(streams[_i]);
    stream_close(b.stream, 0);
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_int_eq(b.reason, 0);
}
END_TEST

START_TEST(slow_uplink_loses_messages_but_never_framing)
{
    static uint8_t payload[1000];

    b.counts = true;
    bench_open(streams[_i]);
    stream_pause(b.stream);
    for (int i = 0; i < 20000 && link_send_copy(b.link, "\x40\0\0\0", 4) == 0; i++) {
        memset(payload, 'S', sizeof(payload)); /* is no message, should framing be lost */
        say_channel(payload, (uint16_t)(1 + i % 1000));
    }
    ck_assert_int_eq(link_send_copy(b.link, "\x40\0\0\0", 4), -ENOBUFS);
    stream_resume(b.stream);
    for (int i = 0; i < 1000 && b.n_drained == 0; i++)
        bench_turns(1);
    ck_assert_int_eq(b.n_drained, 1);
    ck_assert_uint_gt(b.n_counted, 100);
    ck_assert_int_eq(link_send_copy(b.link, "\x40\0\0\0", 4), 0);
}
END_TEST

/* ---- handing the stream over (RFC 6062, section 4.4) ---- */

static struct {
    struct stream *stream;
    char got[64];
    size_t len;
} taken;

static ptrdiff_t taken_on_bytes(void *user, const uint8_t *data, size_t len)
{
    ck_assert_uint_lt(taken.len + len, sizeof(taken.got));
    memcpy(taken.got + taken.len, data, len);
    taken.len += len;
    return (ptrdiff_t)len;
}

static void taken_on_closed(void *user, int reason)
{
}

static const struct stream_events taken_events = {
    .on_bytes = taken_on_bytes,
    .on_closed = taken_on_closed,
};

static void take_it(const uint8_t *data, size_t len)
{
    taken.stream = link_take_stream(b.link);
    ck_assert_ptr_nonnull(taken.stream);
    ck_assert(!link_is_open(b.link));
    stream_set_events(taken.stream, &taken_events, NULL);
    if (b.silent) /* freed at once, or some time later */
        link_free(b.link);
    if (b.silent)
        b.link = NULL;
}

START_TEST(stream_that_is_taken_brings_all_bytes_behind_the_message)
{
    memset(&taken, 0, sizeof(taken));
    b.silent = _i % 2;
    bench_open(streams[_i / 2]);
    b.hook = take_it;
    bench_relay_says("\x40\0\0\x04"
                     "bindraw by",
                     14);
    for (int i = 0; i < 1000 && taken.len < 6; i++)
        bench_turns(1);
    bench_relay_says("tes", 3);
    for (int i = 0; i < 1000 && taken.len < 9; i++)
        bench_turns(1);
    ck_assert_str_eq(taken.got, "raw bytes");
    ck_assert_int_eq(b.n_messages, 1);
    ck_assert_int_ge(stream_write(taken.stream, "back", 4), 0);
    for (int i = 0; i < 1000 && b.relay_bytes < 4; i++)
        bench_turns(1);
    ck_assert_int_eq(memcmp(b.relay_got, "back", 4), 0);
    ck_assert_int_eq(b.n_closed, 0);
    stream_free(taken.stream);
}
END_TEST

static void add_streams(TCase *tc)
{
    tcase_add_loop_test(tc, messages_are_found_however_they_are_cut, 0, 16);
    tcase_add_loop_test(tc, orderly_end_of_the_relay_is_reason_zero, 0, 2);
    tcase_add_loop_test(tc, slow_uplink_loses_messages_but_never_framing, 0, 2);
    tcase_add_loop_test(tc, stream_that_is_taken_brings_all_bytes_behind_the_message, 0, 4);
    tcase_add_test(tc, stream_that_does_not_open_is_given_up_after_ten_seconds);
}

int main(void)
{
    Suite *suite = suite_create("link");
    TCase *tc = tcase_create("link");

    tcase_add_checked_fixture(tc, bench_setup, bench_teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, opens_on_a_turn_of_the_loop_and_carries_messages_both_ways, 0, 4);
    tcase_add_loop_test(tc, stun_is_padded_on_every_transport, 0, 4);
    tcase_add_loop_test(tc, burst_arrives_whole_and_in_order, 0, 4);
    tcase_add_loop_test(tc, nothing_is_sent_before_it_is_open, 0, 4);
    tcase_add_loop_test(tc, what_is_neither_stun_nor_channel_data_is_nobodys_or_the_end, 0, 4);
    tcase_add_loop_test(tc, what_was_said_last_goes_out_before_the_link_does, 0, 4);
    tcase_add_loop_test(tc, link_may_be_freed_within_its_events, 0, 12);
    tcase_add_loop_test(tc, the_certificates_end_is_known_while_it_is_open, 0, 4);
    tcase_add_loop_test(tc, freeing_before_it_is_open_leaves_nothing_behind, 0, 12);
    tcase_add_test(tc, end_that_comes_before_an_owner_is_told_to_the_owner);
    tcase_add_loop_test(tc, refused_link_closes_with_the_reason, 0, 4);
    tcase_add_loop_test(tc, relay_with_another_key_is_refused_and_hears_nothing, 0, 4);
    tcase_add_loop_test(tc, without_tls_there_is_no_link_that_needs_it, 0, 2);
    tcase_add_test(tc, datagrams_of_strangers_do_not_come_in);
    tcase_add_test(tc, icmp_errors_end_a_link_that_works_only_when_they_keep_coming);
    tcase_add_test(tc, one_datagram_makes_icmp_errors_forgotten);
    tcase_add_loop_test(tc, dtls_says_goodbye_and_hears_it, 0, 2);
    tcase_add_loop_test(tc, datagram_links_have_no_stream_to_take, 0, 2);
    add_streams(tc);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
