#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "relay/guard/rate.h"
#include "tests/support/suite.h"

#define HOUR (3600 * NS_PER_S)

static struct rate *rate;

static void setup(void)
{
    rate = rate_new();
    ck_assert_ptr_nonnull(rate);
}

static void teardown(void)
{
    rate_free(rate);
}

static struct addr ip(const char *text, uint16_t port)
{
    struct addr a;

    ck_assert(addr_parse_ip(text, port, &a));
    return a;
}

/* How many of `n` questions at one moment are answered. */
static unsigned int ask(const struct addr *a, unsigned int n, unsigned int per_second,
                        uint64_t now_ns)
{
    unsigned int n_allowed = 0;

    for (unsigned int i = 0; i < n; i++)
        n_allowed += rate_allows(rate, a, per_second, now_ns);
    return n_allowed;
}

START_TEST(a_burst_is_one_second_s_worth)
{
    static const unsigned int rates[] = {1, 2, 3, 7, 50, 999, 1000, 12345};

    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct addr a = ip("192.0.2.1", 0);

        ck_assert_uint_eq(ask(&a, 20000, rates[i], HOUR * (i + 1)), rates[i]);
    }
}
END_TEST

START_TEST(after_the_burst_one_goes_out_per_interval)
{
    struct addr a = ip("192.0.2.1", 0);
    uint64_t now = HOUR;

    ck_assert_uint_eq(ask(&a, 10, 4, now), 4);
    ck_assert_uint_eq(ask(&a, 10, 4, now + NS_PER_S / 4 - 1), 0);
    ck_assert_uint_eq(ask(&a, 10, 4, now + NS_PER_S / 4), 1);
    ck_assert_uint_eq(ask(&a, 10, 4, now + NS_PER_S / 2), 1);
    /* A second of silence earns the whole burst again, an hour of it no more. */
    ck_assert_uint_eq(ask(&a, 10, 4, now + 2 * NS_PER_S), 4);
    ck_assert_uint_eq(ask(&a, 10, 4, now + HOUR), 4);
}
END_TEST

START_TEST(a_flood_gets_the_rate_and_nothing_more)
{
    struct addr a = ip("192.0.2.1", 0);
    unsigned int n = 0;

    for (uint64_t t = 0; t < 10 * NS_PER_S; t += NS_PER_MS)
        n += ask(&a, 3, 50, HOUR + t);
    ck_assert_uint_eq(n, 50 + 10 * 50 - 1); /* the burst, then one each 20 ms of ten seconds */
}
END_TEST

START_TEST(refused_questions_cost_nothing)
{
    struct addr a = ip("192.0.2.1", 0);

    ck_assert_uint_eq(ask(&a, 100000, 2, HOUR), 2);
    ck_assert_uint_eq(ask(&a, 10, 2, HOUR + NS_PER_S), 2);
}
END_TEST

START_TEST(no_rate_is_no_limit)
{
    struct addr a = ip("192.0.2.1", 0);

    ck_assert_uint_eq(ask(&a, 100000, 0, HOUR), 100000);
    ck_assert_uint_eq(ask(&a, 1, UINT32_MAX, HOUR), 1);
}
END_TEST

START_TEST(ports_of_one_address_share_its_rate)
{
    unsigned int n = 0;

    for (uint16_t port = 1; port < 1000; port++) {
        struct addr a = ip("192.0.2.1", port);

        n += ask(&a, 1, 5, HOUR);
    }
    ck_assert_uint_eq(n, 5);
}
END_TEST

START_TEST(addresses_of_one_ipv6_64_share_its_rate)
{
    struct addr a = ip("2001:db8:0:1::1", 0), b = ip("2001:db8:0:1:ffff:ffff:ffff:ffff", 0);
    struct addr c = ip("2001:db8:0:2::1", 0);

    ck_assert_uint_eq(ask(&a, 9, 5, HOUR), 5);
    ck_assert_uint_eq(ask(&b, 9, 5, HOUR), 0);
    ck_assert_uint_eq(ask(&c, 9, 5, HOUR), 5);
}
END_TEST

START_TEST(neighbouring_ipv4_addresses_do_not)
{
    struct addr a = ip("192.0.2.1", 0), b = ip("192.0.2.2", 0);

    ck_assert_uint_eq(ask(&a, 9, 5, HOUR), 5);
    ck_assert_uint_eq(ask(&b, 9, 5, HOUR), 5);
}
END_TEST

START_TEST(a_hundred_thousand_senders_silence_nobody_for_long)
{
    struct addr honest = ip("198.51.100.7", 0);
    unsigned int n_allowed = 0;

    /* One packet each: 1.5 per slot, where a slot has room for 50. */
    for (uint32_t i = 0; i < 100000; i++) {
        struct addr a = addr_make_v4(0x0b000000 + i * 7, 0);

        n_allowed += ask(&a, 1, 50, HOUR);
    }
    ck_assert_uint_eq(n_allowed, 100000);
    ck_assert_uint_ge(ask(&honest, 50, 50, HOUR), 35);
    ck_assert_uint_eq(ask(&honest, 60, 50, HOUR + NS_PER_S), 50);
}
END_TEST

START_TEST(s39_the_rate_holds_when_the_clock_s_word_turns_over)
{
    struct addr a = ip("192.0.2.1", 0);
    uint64_t before = 0 - NS_PER_S / 2; /* half a second before 2^64 ns */

    ck_assert_uint_eq(ask(&a, 20, 10, before - NS_PER_S), 10);
    ck_assert_uint_eq(ask(&a, 20, 10, before), 10);
    ck_assert_uint_eq(ask(&a, 20, 10, before + NS_PER_S / 2), 5);
    ck_assert_uint_eq(ask(&a, 20, 10, before + NS_PER_S), 5);
    ck_assert_uint_eq(ask(&a, 20, 10, before + HOUR), 10);
}
END_TEST

START_TEST(a_fresh_table_answers_at_any_time_of_the_clock)
{
    static const uint64_t times[] = {0, 1, NS_PER_S, 1ull << 62, 1ull << 63, (1ull << 63) + HOUR};

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct addr a = ip("192.0.2.1", 0);

        rate_free(rate);
        rate = rate_new();
        ck_assert_uint_eq(ask(&a, 9, 5, times[i]), 5);
    }
}
END_TEST

START_TEST(a_worker_whose_clock_is_behind_grants_no_second_burst)
{
    struct addr a = ip("192.0.2.1", 0);

    ck_assert_uint_eq(ask(&a, 9, 5, HOUR), 5);
    ck_assert_uint_eq(ask(&a, 9, 5, HOUR - 30 * NS_PER_MS), 0);
    ck_assert_uint_eq(ask(&a, 9, 5, HOUR - 3 * NS_PER_S), 0);
}
END_TEST

START_TEST(a_changed_rate_applies_at_once)
{
    struct addr a = ip("192.0.2.1", 0);

    ck_assert_uint_eq(ask(&a, 9, 5, HOUR), 5);
    ck_assert_uint_eq(ask(&a, 999, 100, HOUR), 0);
    ck_assert_uint_eq(ask(&a, 999, 100, HOUR + NS_PER_S / 10), 10);
}
END_TEST

static atomic_uint n_granted;

static void *flood(void *arg)
{
    struct addr a = addr_make_v4(0xc0000201, 0);

    for (uint64_t t = 0; t < 20000; t++)
        if (rate_allows(rate, &a, 1000, HOUR + t * 100 * NS_PER_US))
            atomic_fetch_add(&n_granted, 1);
    return NULL;
}

START_TEST(workers_share_one_sender_s_rate)
{
    pthread_t threads[4];

    atomic_store(&n_granted, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, flood, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    /* Two seconds at 1000/s and the burst, whichever thread asked when. */
    ck_assert_uint_le(atomic_load(&n_granted), 3000);
    ck_assert_uint_ge(atomic_load(&n_granted), 2990);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("guard/rate");
    TCase *tc = tcase_create("rate");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_burst_is_one_second_s_worth);
    tcase_add_test(tc, after_the_burst_one_goes_out_per_interval);
    tcase_add_test(tc, a_flood_gets_the_rate_and_nothing_more);
    tcase_add_test(tc, refused_questions_cost_nothing);
    tcase_add_test(tc, no_rate_is_no_limit);
    tcase_add_test(tc, ports_of_one_address_share_its_rate);
    tcase_add_test(tc, addresses_of_one_ipv6_64_share_its_rate);
    tcase_add_test(tc, neighbouring_ipv4_addresses_do_not);
    tcase_add_test(tc, a_hundred_thousand_senders_silence_nobody_for_long);
    tcase_add_test(tc, s39_the_rate_holds_when_the_clock_s_word_turns_over);
    tcase_add_test(tc, a_fresh_table_answers_at_any_time_of_the_clock);
    tcase_add_test(tc, a_worker_whose_clock_is_behind_grants_no_second_burst);
    tcase_add_test(tc, a_changed_rate_applies_at_once);
    tcase_add_test(tc, workers_share_one_sender_s_rate);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
