#include "common/base/clock.h"
#include "relay/turn/chan.h"
#include "tests/support/turn_world.h"

#define NOW (100 * NS_PER_S)
#define MAX 8

static struct chan_set set;

static void teardown(void)
{
    chan_deinit(&set);
}

static int bind_at(uint16_t number, const char *peer, uint64_t now_ns)
{
    struct addr addr = at(peer);

    return chan_bind(&set, number, &addr, MAX, now_ns);
}

static const struct chan *of_peer(const char *peer, uint64_t now_ns)
{
    struct addr addr = at(peer);

    return chan_by_peer(&set, &addr, now_ns);
}

START_TEST(a_channel_lasts_ten_minutes)
{
    ck_assert_int_eq(bind_at(0x4000, PEER, NOW), 0);
    ck_assert_ptr_nonnull(chan_by_number(&set, 0x4000, NOW + 600 * NS_PER_S - 1));
    ck_assert_ptr_nonnull(of_peer(PEER, NOW + 600 * NS_PER_S - 1));
    ck_assert_ptr_null(chan_by_number(&set, 0x4000, NOW + 600 * NS_PER_S));
    ck_assert_ptr_null(of_peer(PEER, NOW + 600 * NS_PER_S));
}
END_TEST

START_TEST(binding_again_refreshes)
{
    ck_assert_int_eq(bind_at(0x4000, PEER, NOW), 0);
    ck_assert_int_eq(bind_at(0x4000, PEER, NOW + 500 * NS_PER_S), 0);
    ck_assert_ptr_nonnull(of_peer(PEER, NOW + 1099 * NS_PER_S));
    ck_assert_ptr_null(of_peer(PEER, NOW + 1100 * NS_PER_S));
}
END_TEST

START_TEST(a_channel_names_a_peer_with_its_port)
{
    ck_assert_int_eq(bind_at(0x4000, "203.0.113.9:6000", NOW), 0);
    ck_assert_ptr_null(of_peer("203.0.113.9:6001", NOW));
    ck_assert_int_eq(bind_at(0x4001, "203.0.113.9:6001", NOW), 0);
    ck_assert_uint_eq(of_peer("203.0.113.9:6001", NOW)->number, 0x4001);
    ck_assert_uint_eq(of_peer("203.0.113.9:6000", NOW)->number, 0x4000);
    assert_addr_eq(chan_by_number(&set, 0x4001, NOW)->peer, "203.0.113.9:6001");
}
END_TEST

START_TEST(number_and_peer_are_bound_to_each_other_alone)
{
    ck_assert_int_eq(bind_at(0x4000, PEER, NOW), 0);
    ck_assert_int_eq(bind_at(0x4000, PEER2, NOW), CHAN_E_CONFLICT);
    ck_assert_int_eq(bind_at(0x4001, PEER, NOW), CHAN_E_CONFLICT);
    ck_assert_int_eq(bind_at(0x4001, PEER2, NOW), 0);
    ck_assert_int_eq(bind_at(0x4001, PEER, NOW), CHAN_E_CONFLICT);
    assert_addr_eq(chan_by_number(&set, 0x4000, NOW)->peer, PEER);
}
END_TEST

START_TEST(for_five_minutes_after_the_end_no_other_pairing_is_made)
{
    uint64_t end = NOW + 600 * NS_PER_S;

    ck_assert_int_eq(bind_at(0x4000, PEER, NOW), 0);
    ck_assert_int_eq(bind_at(0x4000, PEER2, end), CHAN_E_CONFLICT);
    ck_assert_int_eq(bind_at(0x4000, PEER2, end + 300 * NS_PER_S - 1), CHAN_E_CONFLICT);
    ck_assert_int_eq(bind_at(0x4001, PEER, end + 300 * NS_PER_S - 1), CHAN_E_CONFLICT);
    ck_assert_int_eq(bind_at(0x4000, PEER2, end + 300 * NS_PER_S), 0);
    ck_assert_int_eq(bind_at(0x4001, PEER, end + 300 * NS_PER_S), 0);
}
END_TEST

START_TEST(the_same_pair_may_be_bound_again_within_the_five_minutes)
{
    uint64_t later = NOW + 700 * NS_PER_S;

    ck_assert_int_eq(bind_at(0x4000, PEER, NOW), 0);
    ck_assert_int_eq(bind_at(0x4000, PEER, later), 0);
    ck_assert_ptr_nonnull(of_peer(PEER, later + 599 * NS_PER_S));
}
END_TEST

START_TEST(s32_channels_are_capped_and_those_on_hold_count)
{
    for (uint16_t i = 0; i < MAX; i++) {
        struct addr addr = addr_make_v4(0x0A000000u + i, 1);

        ck_assert_int_eq(chan_bind(&set, 0x4000 + i, &addr, MAX, NOW), 0);
    }
    ck_assert_int_eq(bind_at(0x4100, PEER, NOW), CHAN_E_FULL);
    ck_assert_int_eq(bind_at(0x4000, "10.0.0.0:1", NOW), 0);
    ck_assert_int_eq(bind_at(0x4100, PEER, NOW + 899 * NS_PER_S), CHAN_E_FULL);
    ck_assert_int_eq(bind_at(0x4100, PEER, NOW + 900 * NS_PER_S), 0);
}
END_TEST

START_TEST(may_bind_answers_alike_and_binds_nothing)
{
    struct addr peer = at(PEER), peer2 = at(PEER2);

    ck_assert_int_eq(chan_may_bind(&set, 0x4000, &peer, MAX, NOW), 0);
    ck_assert_ptr_null(of_peer(PEER, NOW));
    ck_assert_int_eq(bind_at(0x4000, PEER, NOW), 0);
    ck_assert_int_eq(chan_may_bind(&set, 0x4000, &peer2, MAX, NOW), CHAN_E_CONFLICT);
    ck_assert_int_eq(chan_may_bind(&set, 0x4001, &peer2, 1, NOW), CHAN_E_FULL);
}
END_TEST

START_TEST(dropping_a_family_leaves_the_other)
{
    ck_assert_int_eq(bind_at(0x4000, PEER, NOW), 0);
    ck_assert_int_eq(bind_at(0x4001, PEER6, NOW), 0);
    chan_drop_family(&set, ADDR_IPV6);
    ck_assert_ptr_null(of_peer(PEER6, NOW));
    ck_assert_ptr_nonnull(of_peer(PEER, NOW));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/chan");
    TCase *t = tcase_create("chan");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_channel_lasts_ten_minutes);
    tcase_add_test(t, binding_again_refreshes);
    tcase_add_test(t, a_channel_names_a_peer_with_its_port);
    tcase_add_test(t, number_and_peer_are_bound_to_each_other_alone);
    tcase_add_test(t, for_five_minutes_after_the_end_no_other_pairing_is_made);
    tcase_add_test(t, the_same_pair_may_be_bound_again_within_the_five_minutes);
    tcase_add_test(t, s32_channels_are_capped_and_those_on_hold_count);
    tcase_add_test(t, may_bind_answers_alike_and_binds_nothing);
    tcase_add_test(t, dropping_a_family_leaves_the_other);
    suite_add_tcase(s, t);
    return suite_run(s);
}
