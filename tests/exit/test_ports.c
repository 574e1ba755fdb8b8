#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/net/batch.h"
#include "relay/exit/ports.h"
#include "tests/support/suite.h"

static const struct port_space udp4 = {ADDR_IPV4, false};
static struct ports *ports;
static struct port_rng rng;

static void setup(void)
{
    memset(&rng, 0, sizeof(rng));
    ports = ports_new();
    ck_assert_ptr_nonnull(ports);
}

static void teardown(void)
{
    ports_free(ports);
}

static int take(struct port_space space, uint16_t min, uint16_t max, enum ports_shape shape,
                uint64_t now_ns, uint16_t *ret)
{
    struct ports_scan scan;

    ports_scan_init(&scan, ports, &rng, space, (struct port_range){min, max}, shape);
    return ports_scan_next(&scan, now_ns, ret);
}

START_TEST(every_port_of_the_range_is_found_once)
{
    static bool seen[65536];
    uint16_t port;

    memset(seen, 0, sizeof(seen));
    for (unsigned int i = 0; i < 300; i++) {
        ck_assert_int_eq(take(udp4, 50001, 50300, PORTS_ANY, 0, &port), 0);
        ck_assert_uint_ge(port, 50001);
        ck_assert_uint_le(port, 50300);
        ck_assert(!seen[port]);
        seen[port] = true;
    }
    ck_assert_int_eq(take(udp4, 50001, 50300, PORTS_ANY, 0, &port), PORTS_E_NONE);
}
END_TEST

START_TEST(the_last_free_port_of_a_large_range_is_found)
{
    struct port_range range = {1024, 65535};
    uint16_t port, missing = 0;

    for (unsigned int i = 0; i < 65535 - 1024 + 1; i++)
        ck_assert_int_eq(take(udp4, range.min, range.max, PORTS_ANY, 0, &port), 0);
    for (int i = 0; i < 20; i++) {
        missing = (uint16_t)(2000 + i * 3000);
        ports_cancel(ports, udp4, missing);
        ck_assert_int_eq(take(udp4, range.min, range.max, PORTS_ANY, 0, &port), 0);
        ck_assert_uint_eq(port, missing);
    }
}
END_TEST

START_TEST(a_range_of_one_port_and_an_empty_range_work)
{
    uint16_t port;

    ck_assert_int_eq(take(udp4, 65535, 65535, PORTS_PAIR, 0, &port), PORTS_E_NONE);
    ck_assert_int_eq(take(udp4, 65535, 65535, PORTS_EVEN, 0, &port), PORTS_E_NONE);
    ck_assert_int_eq(take(udp4, 65535, 65535, PORTS_ANY, 0, &port), 0);
    ck_assert_uint_eq(port, 65535);
    ck_assert_int_eq(take(udp4, 65535, 65535, PORTS_ANY, 0, &port), PORTS_E_NONE);
    ck_assert_int_eq(take(udp4, 600, 500, PORTS_ANY, 0, &port), PORTS_E_NONE);
}
END_TEST

START_TEST(families_and_protocols_have_ports_of_their_own)
{
    uint16_t port;

    for (int family = 0; family < 2; family++)
        for (int tcp = 0; tcp < 2; tcp++) {
            struct port_space space = {family ? ADDR_IPV6 : ADDR_IPV4, tcp};

            ck_assert_int_eq(take(space, 5000, 5000, PORTS_ANY, 0, &port), 0);
            ck_assert_int_eq(take(space, 5000, 5000, PORTS_ANY, 0, &port), PORTS_E_NONE);
        }
}
END_TEST

START_TEST(a_released_port_rests_for_two_minutes_to_the_nanosecond)
{
    static const uint64_t starts[] = {0, 1, NS_PER_S - 1, NS_PER_S, 17 * NS_PER_S + 999999999};
    uint16_t port;

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        uint64_t t = starts[i];
        uint16_t p = (uint16_t)(6000 + i);

        ck_assert_int_eq(take(udp4, p, p, PORTS_ANY, t, &port), 0);
        ports_release(ports, udp4, p, t);
        ck_assert_int_eq(take(udp4, p, p, PORTS_ANY, t, &port), PORTS_E_NONE);
        ck_assert_int_eq(take(udp4, p, p, PORTS_ANY, t + 120 * NS_PER_S - 1, &port), PORTS_E_NONE);
        /* Whole seconds are kept, so it may take one more. */
        ck_assert_int_eq(take(udp4, p, p, PORTS_ANY, t + 121 * NS_PER_S, &port), 0);
    }
}
END_TEST

START_TEST(a_cancelled_port_is_free_at_once)
{
    uint16_t port;

    ck_assert_int_eq(take(udp4, 7000, 7000, PORTS_ANY, 0, &port), 0);
    ports_cancel(ports, udp4, port);
    ck_assert_int_eq(take(udp4, 7000, 7000, PORTS_ANY, 0, &port), 0);
}
END_TEST

START_TEST(the_hold_survives_the_wrap_of_the_second_counter)
{
    /* 31 bits of seconds; and the end of the 64-bit clock. */
    static const uint64_t wraps[] = {(1ull << 31) * NS_PER_S, (1ull << 32) * NS_PER_S};
    uint16_t port;

    for (uint16_t i = 0; i < 2; i++)
        for (uint16_t before = 0; before < 125; before += 4) {
            uint64_t t = wraps[i] - before * NS_PER_S;
            uint16_t p = (uint16_t)(8000 + i * 200 + before);

            ck_assert_int_eq(take(udp4, p, p, PORTS_ANY, t, &port), 0);
            ports_release(ports, udp4, p, t - 1);
            ck_assert_int_eq(take(udp4, p, p, PORTS_ANY, t + 60 * NS_PER_S, &port), PORTS_E_NONE);
            ck_assert_int_eq(take(udp4, p, p, PORTS_ANY, t + 119 * NS_PER_S - 1, &port),
                             PORTS_E_NONE);
            ck_assert_int_eq(take(udp4, p, p, PORTS_ANY, t + 121 * NS_PER_S, &port), 0);
        }
}
END_TEST

START_TEST(even_ports_are_even_and_leave_their_sibling_free)
{
    struct ports_count count;
    uint16_t port;

    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(take(udp4, 9001, 9100, PORTS_EVEN, 0, &port), 0);
        ck_assert_uint_eq(port % 2, 0);
    }
    ck_assert_int_eq(take(udp4, 9001, 9100, PORTS_EVEN, 0, &port), PORTS_E_NONE);
    count = ports_count(ports, udp4, (struct port_range){9001, 9100}, 0);
    ck_assert_uint_eq(count.in_use, 50);
    ck_assert_uint_eq(count.free, 50);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(take(udp4, 9001, 9100, PORTS_ANY, 0, &port), 0);
}
END_TEST

START_TEST(a_pair_takes_both_ports_within_the_range_or_none)
{
    struct port_range range = {9001, 9008};
    uint16_t port;

    /* Pairs: 9002+9003, 9004+9005, 9006+9007; 9008 would need 9009. */
    ck_assert_int_eq(take(udp4, 9005, 9005, PORTS_ANY, 0, &port), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(take(udp4, range.min, range.max, PORTS_PAIR, 0, &port), 0);
        ck_assert(port == 9002 || port == 9006);
    }
    ck_assert_int_eq(take(udp4, range.min, range.max, PORTS_PAIR, 0, &port), PORTS_E_NONE);
    ck_assert_uint_eq(ports_count(ports, udp4, range, 0).in_use, 5);
    ck_assert_uint_eq(ports_count(ports, udp4, range, 0).free, 3);
}
END_TEST

START_TEST(a_scan_goes_on_to_other_ports_when_the_kernel_refuses_one)
{
    static bool seen[40];
    struct ports_scan scan;
    uint16_t port;
    int r, n = 0;

    memset(seen, 0, sizeof(seen));
    ports_scan_init(&scan, ports, &rng, udp4, (struct port_range){1000, 1039}, PORTS_ANY);
    while ((r = ports_scan_next(&scan, 5 * NS_PER_S, &port)) == 0) {
        ck_assert(!seen[port - 1000]);
        seen[port - 1000] = true;
        ports_release(ports, udp4, port, 5 * NS_PER_S);
        n++;
    }
    ck_assert_int_eq(r, PORTS_E_NONE);
    ck_assert_int_eq(n, 40);
}
END_TEST

START_TEST(counts_tell_used_resting_and_free)
{
    struct port_range range = {49152, 65535};
    struct ports_count count;
    uint16_t port[10];

    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(take(udp4, range.min, range.max, PORTS_ANY, 0, &port[i]), 0);
    for (int i = 0; i < 4; i++)
        ports_release(ports, udp4, port[i], 0);
    count = ports_count(ports, udp4, range, NS_PER_S);
    ck_assert_uint_eq(count.in_use, 6);
    ck_assert_uint_eq(count.resting, 4);
    ck_assert_uint_eq(count.free, 16384 - 10);
    count = ports_count(ports, udp4, range, 200 * NS_PER_S);
    ck_assert_uint_eq(count.resting, 0);
    ck_assert_uint_eq(count.free, 16384 - 6);
}
END_TEST

START_TEST(ports_follow_no_pattern)
{
    uint16_t port, last = 0;
    unsigned int n_upper = 0, n_near = 0;

    for (int i = 0; i < 2000; i++) {
        ck_assert_int_eq(take(udp4, 49152, 65535, PORTS_ANY, 0, &port), 0);
        n_upper += port >= 57344;
        n_near += abs(port - last) <= 16;
        last = port;
    }
    /* Six standard deviations (22 and 2) around what chance gives (1000 and 4). */
    ck_assert_uint_gt(n_upper, 866);
    ck_assert_uint_lt(n_upper, 1134);
    ck_assert_uint_lt(n_near, 17);
}
END_TEST

START_TEST(random_numbers_stay_below_their_bound_and_reach_all_of_it)
{
    unsigned int n_seen[7] = {0};
    uint32_t value;

    for (int i = 0; i < 7000; i++) {
        ck_assert_int_eq(port_rng_below(&rng, 7, &value), 0);
        ck_assert_uint_lt(value, 7);
        n_seen[value]++;
    }
    for (int i = 0; i < 7; i++)
        ck_assert(n_seen[i] > 800 && n_seen[i] < 1200);
}
END_TEST

#define N_RACERS   4
#define RACE_PORTS 32768

static pthread_barrier_t start_line;

/* Takes every port that is to be had, and marks it; a mark found there already is a port shared. */
static void *race(void *arg)
{
    static _Atomic bool seen[65536];
    struct port_rng own = {.n_left = 0};
    unsigned int *n_taken = arg;
    struct ports_scan scan;
    uint16_t port;

    pthread_barrier_wait(&start_line);
    ports_scan_init(&scan, ports, &own, udp4, (struct port_range){1024, 1024 + RACE_PORTS - 1},
                    PORTS_ANY);
    scan.n_picks = UINT32_MAX; /* the walk only, and all from the same end: they stay abreast */
    scan.n_walked = 1;
    while (ports_scan_next(&scan, 0, &port) == 0) {
        if (seen[port])
            return NULL;
        seen[port] = true;
        ++*n_taken;
    }
    return NULL;
}

START_TEST(threads_share_the_range_without_sharing_a_port)
{
    pthread_t threads[N_RACERS];
    unsigned int n_taken[N_RACERS] = {0}, n = 0;

    ck_assert_int_eq(pthread_barrier_init(&start_line, NULL, N_RACERS), 0);
    for (int i = 0; i < N_RACERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, race, &n_taken[i]), 0);
    for (int i = 0; i < N_RACERS; i++) {
        pthread_join(threads[i], NULL);
        n += n_taken[i];
    }
    ck_assert_uint_eq(n, RACE_PORTS - 1); /* all but the one before the start */
    pthread_barrier_destroy(&start_line);
}
END_TEST

static struct ports_reserved reserve_one(uint16_t port)
{
    struct ports_reserved reserved = {.bound = addr_make_v4(0x7f000001, port)};
    uint16_t taken;

    ck_assert_int_eq(take(udp4, port, port, PORTS_ANY, 0, &taken), 0);
    reserved.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(reserved.fd, 0);
    return reserved;
}

START_TEST(a_token_brings_its_socket_back_once)
{
    struct ports_reserved a = reserve_one(5001), b = reserve_one(5003), got;
    uint8_t token_a[8], token_b[8], wrong[8];

    ck_assert_int_eq(ports_park(ports, &rng, &a, 0, token_a), 0);
    ck_assert_int_eq(ports_park(ports, &rng, &b, 0, token_b), 0);
    ck_assert_mem_ne(token_a, token_b, 8);
    memcpy(wrong, token_a, 8);
    wrong[7] ^= 1;
    ck_assert_int_eq(ports_claim(ports, wrong, 1, &got), PORTS_E_TOKEN);
    ck_assert_int_eq(ports_claim(ports, token_a, 1, &got), 0);
    ck_assert_int_eq(got.fd, a.fd);
    ck_assert(addr_equal(&got.bound, &a.bound));
    ck_assert_int_eq(ports_claim(ports, token_a, 1, &got), PORTS_E_TOKEN);
    ck_assert_int_eq(ports_claim(ports, token_b, 29 * NS_PER_S, &got), 0);
    ck_assert_int_eq(got.fd, b.fd);
    close(a.fd);
    close(b.fd);
}
END_TEST

START_TEST(a_reservation_ends_after_thirty_seconds_and_its_port_rests)
{
    struct ports_reserved a = reserve_one(5001), got;
    uint8_t token[8];
    uint16_t port;

    ck_assert_int_eq(ports_park(ports, &rng, &a, 0, token), 0);
    ck_assert_uint_eq(ports_sweep(ports, 30 * NS_PER_S - 1), 1);
    ck_assert_int_eq(fcntl(a.fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(ports_claim(ports, token, 30 * NS_PER_S, &got), PORTS_E_TOKEN);
    ck_assert_int_eq(fcntl(a.fd, F_GETFD), -1);
    ck_assert_uint_eq(ports_sweep(ports, 30 * NS_PER_S), 0);
    ck_assert_int_eq(take(udp4, 5001, 5001, PORTS_ANY, 149 * NS_PER_S, &port), PORTS_E_NONE);
    ck_assert_int_eq(take(udp4, 5001, 5001, PORTS_ANY, 151 * NS_PER_S, &port), 0);
}
END_TEST

START_TEST(a_full_reservation_table_refuses_and_leaves_the_socket_alone)
{
    uint8_t token[8], last[8];
    struct ports_reserved a, got;

    for (uint16_t i = 0; i < PORTS_RESERVED_MAX; i++) {
        a = reserve_one((uint16_t)(10000 + i));
        ck_assert_int_eq(ports_park(ports, &rng, &a, 0, last), 0);
    }
    a = reserve_one(20000);
    ck_assert_int_eq(ports_park(ports, &rng, &a, 0, token), PORTS_E_FULL);
    ck_assert_int_eq(fcntl(a.fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(ports_claim(ports, last, 0, &got), 0);
    close(got.fd);
    ck_assert_int_eq(ports_park(ports, &rng, &a, 0, token), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exit/ports");
    TCase *tc = tcase_create("ports");

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_port_of_the_range_is_found_once);
    tcase_add_test(tc, the_last_free_port_of_a_large_range_is_found);
    tcase_add_test(tc, a_range_of_one_port_and_an_empty_range_work);
    tcase_add_test(tc, families_and_protocols_have_ports_of_their_own);
    tcase_add_test(tc, a_released_port_rests_for_two_minutes_to_the_nanosecond);
    tcase_add_test(tc, a_cancelled_port_is_free_at_once);
    tcase_add_test(tc, the_hold_survives_the_wrap_of_the_second_counter);
    tcase_add_test(tc, even_ports_are_even_and_leave_their_sibling_free);
    tcase_add_test(tc, a_pair_takes_both_ports_within_the_range_or_none);
    tcase_add_test(tc, a_scan_goes_on_to_other_ports_when_the_kernel_refuses_one);
    tcase_add_test(tc, counts_tell_used_resting_and_free);
    tcase_add_test(tc, ports_follow_no_pattern);
    tcase_add_test(tc, random_numbers_stay_below_their_bound_and_reach_all_of_it);
    tcase_add_test(tc, threads_share_the_range_without_sharing_a_port);
    tcase_add_test(tc, a_token_brings_its_socket_back_once);
    tcase_add_test(tc, a_reservation_ends_after_thirty_seconds_and_its_port_rests);
    tcase_add_test(tc, a_full_reservation_table_refuses_and_leaves_the_socket_alone);
    return suite_run(suite);
}
