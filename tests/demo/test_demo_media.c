#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "relay/demo/link.h"
#include "relay/demo/media.h"
#include "tests/support/suite.h"

#define N_PACKETS 300

static struct demo_stream stream;
static uint8_t buf[DEMO_PACKET_MAX];

static void setup(void)
{
    ck_assert_int_eq(demo_stream_init(&stream, 0, 172, 160, N_PACKETS), 0);
}

static void teardown(void)
{
    demo_stream_deinit(&stream);
}

START_TEST(packet_that_arrives_as_sent_is_counted)
{
    unsigned int i = 99;
    size_t len = demo_stream_send(&stream, 7, buf);

    ck_assert_uint_eq(len, 172);
    ck_assert_uint_eq(buf[0], 0x80);
    ck_assert(demo_stream_receive(&stream, buf, len, &i));
    ck_assert_uint_eq(i, 7);
    ck_assert_uint_eq(stream.n_received, 1);
    ck_assert_uint_eq(demo_stream_n_lost(&stream), 0);
}
END_TEST

START_TEST(any_changed_byte_is_noticed)
{
    unsigned int i;
    size_t len = demo_stream_send(&stream, 3, buf);

    for (size_t k = 0; k < len; k++) {
        buf[k] ^= 0x10;
        ck_assert_msg(!demo_stream_receive(&stream, buf, len, &i), "byte %zu", k);
        buf[k] ^= 0x10;
    }
    ck_assert(!demo_stream_receive(&stream, buf, len - 1, &i));
    ck_assert_uint_eq(demo_stream_n_lost(&stream), 1);
    ck_assert(demo_stream_receive(&stream, buf, len, &i));
}
END_TEST

START_TEST(packet_that_was_never_sent_is_foreign)
{
    struct demo_stream copy = stream;
    uint8_t state[N_PACKETS] = {0};
    unsigned int i;
    size_t len;

    copy.state = state;
    len = demo_stream_send(&copy, 5, buf);
    ck_assert(!demo_stream_receive(&stream, buf, len, &i));
}
END_TEST

START_TEST(loss_and_duplicates_are_counted_apart)
{
    unsigned int i;
    size_t len;

    demo_stream_send(&stream, 0, buf);
    len = demo_stream_send(&stream, 1, buf);
    ck_assert(demo_stream_receive(&stream, buf, len, &i));
    ck_assert(demo_stream_receive(&stream, buf, len, &i));
    ck_assert_uint_eq(stream.n_sent, 2);
    ck_assert_uint_eq(stream.n_received, 1);
    ck_assert_uint_eq(stream.n_twice, 1);
    ck_assert_uint_eq(demo_stream_n_lost(&stream), 1);
}
END_TEST

START_TEST(sequence_numbers_may_pass_the_top)
{
    unsigned int i;

    stream.seq0 = 65530;
    for (unsigned int n = 0; n < N_PACKETS; n++) {
        size_t len = demo_stream_send(&stream, n, buf);

        ck_assert(demo_stream_receive(&stream, buf, len, &i));
        ck_assert_uint_eq(i, n);
    }
    ck_assert_uint_eq(stream.n_received, N_PACKETS);
}
END_TEST

/* A false alarm in the demo would be as bad as a missed one. */
START_TEST(media_never_looks_like_a_loopback_address)
{
    for (unsigned int round = 0; round < 20; round++) {
        teardown();
        setup();
        for (unsigned int n = 0; n < N_PACKETS; n++) {
            size_t len = demo_stream_send(&stream, n, buf);

            for (uint32_t host = 1; host < 8; host++) {
                struct addr addr = addr_make_v4(0x7f000000 + host, 0);

                ck_assert(!demo_watch_holds(buf, len, &addr));
            }
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("demo_media");
    TCase *tc = tcase_create("demo_media");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, packet_that_arrives_as_sent_is_counted);
    tcase_add_test(tc, any_changed_byte_is_noticed);
    tcase_add_test(tc, packet_that_was_never_sent_is_foreign);
    tcase_add_test(tc, loss_and_duplicates_are_counted_apart);
    tcase_add_test(tc, sequence_numbers_may_pass_the_top);
    tcase_add_test(tc, media_never_looks_like_a_loopback_address);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
