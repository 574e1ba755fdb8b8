#include "relay/turn/bucket.h"
#include "tests/support/turn_world.h"

#define NOW  (100 * NS_PER_S)
#define RATE 1000

START_TEST(no_rate_is_no_limit)
{
    struct bucket b = {0};

    for (int i = 0; i < 1000; i++)
        ck_assert(bucket_take(&b, 0, 1u << 30, NOW));
    ck_assert(bucket_spend(&b, 0, 1u << 30, NOW));
}
END_TEST

START_TEST(one_seconds_worth_may_go_at_once_and_no_more)
{
    struct bucket b = {0};

    ck_assert(bucket_take(&b, RATE, 600, NOW));
    ck_assert(bucket_take(&b, RATE, 400, NOW));
    ck_assert(!bucket_take(&b, RATE, 1, NOW));
}
END_TEST

START_TEST(it_refills_with_time_up_to_one_second)
{
    struct bucket b = {0};

    ck_assert(bucket_take(&b, RATE, RATE, NOW));
    ck_assert(!bucket_take(&b, RATE, 101, NOW + 100 * NS_PER_MS));
    ck_assert(bucket_take(&b, RATE, 100, NOW + 100 * NS_PER_MS));
    ck_assert(bucket_take(&b, RATE, RATE / 2, NOW + 100 * NS_PER_S));
    ck_assert(!bucket_take(&b, RATE, RATE + 1, NOW + 200 * NS_PER_S));
    ck_assert(bucket_take(&b, RATE, RATE, NOW + 200 * NS_PER_S));
    ck_assert(!bucket_take(&b, RATE, 1, NOW + 200 * NS_PER_S));
}
END_TEST

START_TEST(short_steps_earn_as_much_as_long_ones)
{
    struct bucket b = {0};
    uint64_t now = NOW;
    size_t n = 0;

    ck_assert(bucket_take(&b, RATE, RATE, now));
    /* A third of a millisecond is worth a third of a byte. */
    for (int i = 0; i < 3000; i++) {
        now += NS_PER_MS / 3;
        n += bucket_take(&b, RATE, 1, now);
    }
    ck_assert_uint_ge(n, 990);
    ck_assert_uint_le(n, 1000);
}
END_TEST

START_TEST(over_ten_seconds_the_rate_is_kept)
{
    struct bucket b = {0};
    uint64_t now = NOW, sent = 0;

    for (int i = 0; i < 10000; i++, now += NS_PER_MS)
        if (bucket_take(&b, 100000, 1200, now))
            sent += 1200;
    ck_assert_uint_le(sent, 11 * 100000);
    ck_assert_uint_ge(sent, 9 * 100000);
}
END_TEST

START_TEST(a_debt_is_waited_off)
{
    struct bucket b = {0};

    ck_assert(bucket_spend(&b, RATE, RATE, NOW));
    ck_assert(!bucket_spend(&b, RATE, 2 * RATE, NOW));
    ck_assert(!bucket_solvent(&b, RATE, NOW + 1 * NS_PER_S));
    ck_assert(bucket_solvent(&b, RATE, NOW + 2 * NS_PER_S));
}
END_TEST

START_TEST(the_highest_rate_does_not_overflow)
{
    struct bucket b = {0};
    uint64_t rate = 1000000000000; /* the option's maximum, bytes a second */

    ck_assert(bucket_take(&b, rate, 1500, NOW));
    for (unsigned int i = 1; i < 100; i++) {
        ck_assert(bucket_take(&b, rate, 1500, NOW + i * (NS_PER_S - 1)));
        ck_assert_int_ge(b.bytes, 0);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/bucket");
    TCase *t = tcase_create("bucket");

    tcase_add_test(t, no_rate_is_no_limit);
    tcase_add_test(t, one_seconds_worth_may_go_at_once_and_no_more);
    tcase_add_test(t, it_refills_with_time_up_to_one_second);
    tcase_add_test(t, short_steps_earn_as_much_as_long_ones);
    tcase_add_test(t, over_ten_seconds_the_rate_is_kept);
    tcase_add_test(t, a_debt_is_waited_off);
    tcase_add_test(t, the_highest_rate_does_not_overflow);
    suite_add_tcase(s, t);
    return suite_run(s);
}
