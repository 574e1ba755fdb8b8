#include "common/base/clock.h"
#include "relay/turn/perm.h"
#include "tests/support/turn_world.h"

#define NOW (100 * NS_PER_S)
#define MAX 8

static struct perm_set set;

static void teardown(void)
{
    perm_deinit(&set);
}

static int add(const char *peer, uint64_t now_ns)
{
    struct addr addr = at(peer);

    return perm_add(&set, &addr, MAX, now_ns);
}

static bool has(const char *peer, uint64_t now_ns)
{
    struct addr addr = at(peer);

    return perm_has(&set, &addr, now_ns);
}

START_TEST(peer_is_refused_once_five_minutes_pass)
{
    ck_assert_int_eq(add(PEER, NOW), 0);
    ck_assert(has(PEER, NOW));
    ck_assert(has(PEER, NOW + 300 * NS_PER_S - 1));
    ck_assert(!has(PEER, NOW + 300 * NS_PER_S));
}
END_TEST

START_TEST(adding_again_refreshes)
{
    ck_assert_int_eq(add(PEER, NOW), 0);
    ck_assert_int_eq(add(PEER, NOW + 200 * NS_PER_S), 0);
    ck_assert(has(PEER, NOW + 499 * NS_PER_S));
    ck_assert(!has(PEER, NOW + 500 * NS_PER_S));
    ck_assert_uint_eq(set.n, 1);
}
END_TEST

START_TEST(looking_does_not_refresh)
{
    ck_assert_int_eq(add(PEER, NOW), 0);
    for (uint64_t s = 0; s < 300; s++)
        ck_assert(has(PEER, NOW + s * NS_PER_S));
    ck_assert(!has(PEER, NOW + 300 * NS_PER_S));
}
END_TEST

START_TEST(any_port_of_the_address_is_permitted_and_no_other_address)
{
    ck_assert_int_eq(add("203.0.113.9:1", NOW), 0);
    ck_assert(has("203.0.113.9:65535", NOW));
    ck_assert(!has("203.0.113.8:1", NOW));
    ck_assert(!has("[2001:db8::9]:1", NOW));
}
END_TEST

START_TEST(a_mapped_address_is_the_ipv4_one)
{
    ck_assert_int_eq(add("[::ffff:203.0.113.9]:1", NOW), 0);
    ck_assert(has("203.0.113.9:1", NOW));
}
END_TEST

static void fill(unsigned int n, uint64_t now_ns)
{
    for (unsigned int i = 0; i < n; i++) {
        struct addr addr = addr_make_v4(0x0A000000u + i, 0);

        ck_assert_int_eq(perm_add(&set, &addr, MAX, now_ns), 0);
    }
}

START_TEST(a_full_set_takes_no_more_but_refreshes)
{
    fill(MAX, NOW);
    ck_assert_int_eq(add(PEER, NOW), PERM_E_FULL);
    ck_assert_int_eq(add("10.0.0.3:1", NOW), 0);
    ck_assert_uint_eq(set.n, MAX);
}
END_TEST

START_TEST(expired_entries_make_room)
{
    fill(MAX, NOW);
    ck_assert_int_eq(add(PEER, NOW + 300 * NS_PER_S), 0);
    ck_assert(has(PEER, NOW + 300 * NS_PER_S));
    ck_assert_uint_eq(set.n, 1);
}
END_TEST

START_TEST(s32_a_hundred_thousand_peers_take_no_more_than_the_cap)
{
    for (uint32_t i = 0; i < 100000; i++) {
        struct addr addr = addr_make_v4(0x0A000000u + i, 0);

        ck_assert_int_eq(perm_add(&set, &addr, MAX, NOW), i < MAX ? 0 : PERM_E_FULL);
    }
    ck_assert_uint_le(set.cap, MAX);
}
END_TEST

START_TEST(reserve_counts_each_new_address_once)
{
    struct addr peers[] = {at("10.1.0.1:0"), at("10.1.0.1:0"), at("10.0.0.0:0"), at("10.1.0.2:0")};

    fill(MAX - 2, NOW);
    ck_assert_int_eq(perm_reserve(&set, peers, 4, MAX, NOW), 0);
    ck_assert_uint_eq(set.n, MAX - 2);
    ck_assert_int_eq(perm_reserve(&set, peers, 4, MAX - 1, NOW), PERM_E_FULL);
    ck_assert_int_eq(perm_reserve(&set, peers, 4, 1, NOW), PERM_E_FULL);
    ck_assert_int_eq(perm_reserve(&set, peers, 4, 3, NOW + 300 * NS_PER_S), 0);
    ck_assert_uint_eq(set.n, 0);
}
END_TEST

START_TEST(dropping_a_family_leaves_the_other)
{
    ck_assert_int_eq(add(PEER, NOW), 0);
    ck_assert_int_eq(add(PEER6, NOW), 0);
    ck_assert_int_eq(add(PEER2, NOW), 0);
    perm_drop_family(&set, ADDR_IPV4);
    ck_assert(!has(PEER, NOW));
    ck_assert(!has(PEER2, NOW));
    ck_assert(has(PEER6, NOW));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/perm");
    TCase *t = tcase_create("perm");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, peer_is_refused_once_five_minutes_pass);
    tcase_add_test(t, adding_again_refreshes);
    tcase_add_test(t, looking_does_not_refresh);
    tcase_add_test(t, any_port_of_the_address_is_permitted_and_no_other_address);
    tcase_add_test(t, a_mapped_address_is_the_ipv4_one);
    tcase_add_test(t, a_full_set_takes_no_more_but_refreshes);
    tcase_add_test(t, expired_entries_make_room);
    tcase_add_test(t, s32_a_hundred_thousand_peers_take_no_more_than_the_cap);
    tcase_add_test(t, reserve_counts_each_new_address_once);
    tcase_add_test(t, dropping_a_family_leaves_the_other);
    suite_add_tcase(s, t);
    return suite_run(s);
}
