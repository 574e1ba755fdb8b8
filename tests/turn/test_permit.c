/*
 * CreatePermission and ChannelBind (RFC 8656, sections 9, 10 and 12).
 */
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc;
static struct login login;

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    login = login_old(fc, "alice", "wonderland");
}

static void teardown(void)
{
    world_free(w);
}

static void allocated(void)
{
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}

/* Whether a datagram of this peer reaches the client. */
static bool hears(const char *peer)
{
    size_t before = fc->n_sent;

    fake_exit_datagram(w->exit.last, peer, "ping", 4);
    return fc->n_sent > before;
}

/* ---- CreatePermission ---- */

START_TEST(a_permission_lets_the_peer_in_for_exactly_five_minutes)
{
    allocated();
    ck_assert(!hears(PEER));
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    ck_assert(hears(PEER));
    fake_now_ns += 300 * NS_PER_S - 1;
    ck_assert(hears(PEER));
    fake_now_ns += 1;
    ck_assert(!hears(PEER));
}
END_TEST

START_TEST(data_does_not_refresh_a_permission)
{
    allocated();
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    for (unsigned int s = 0; s < 300; s += 10) {
        give_send(fc, PEER, "x", 1);
        ck_assert(hears(PEER));
        world_pass(10);
        fake_client_forget(fc);
    }
    ck_assert(!hears(PEER));
}
END_TEST

START_TEST(create_permission_and_channel_bind_refresh_a_permission)
{
    allocated();
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    world_pass(200);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    world_pass(200);
    ck_assert(hears(PEER));
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    world_pass(299);
    ck_assert(hears(PEER));
    world_pass(1);
    ck_assert(!hears(PEER));
}
END_TEST

START_TEST(a_permission_is_for_every_port_of_the_ip)
{
    allocated();
    ck_assert_uint_eq(ask_permission(fc, &login, "203.0.113.9:1"), 0);
    ck_assert(hears("203.0.113.9:60000"));
    ck_assert(!hears("203.0.113.8:1"));
}
END_TEST

START_TEST(the_access_rules_are_asked_about_any_port_or_about_the_channels)
{
    allocated();
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    assert_addr_eq(w->exit.permit_peer, "203.0.113.9:0");
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    assert_addr_eq(w->exit.permit_peer, PEER);
}
END_TEST

START_TEST(no_peer_address_gets_400)
{
    struct req r;

    allocated();
    req_begin(&r, STUN_CREATE_PERMISSION);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
}
END_TEST

START_TEST(a_peer_address_of_no_family_gets_400)
{
    struct req r;

    allocated();
    req_begin(&r, STUN_CREATE_PERMISSION);
    req_put_raw(&r, 0x0012, "\0\3\0\0\0\0\0\0", 8);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
    req_begin(&r, STUN_CREATE_PERMISSION);
    req_put_raw(&r, 0x0012, "\0\2\0\0\0\0\0\0", 8); /* IPv6 with four bytes */
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
}
END_TEST

START_TEST(a_peer_of_the_other_family_gets_443)
{
    allocated();
    ck_assert_uint_eq(ask_permission(fc, &login, PEER6), 443);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER6), 443);
}
END_TEST

START_TEST(s9_a_denied_peer_gets_403_on_every_path)
{
    struct req r;

    allocated();
    fake_exit_deny(&w->exit, "203.0.113.9");
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 403);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 403);
    req_begin(&r, STUN_CREATE_PERMISSION);
    req_put_peer(&r, "[::ffff:203.0.113.9]:1");
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 403);
    give_send(fc, PEER, "x", 1);
    give_channel_data(fc, 0x4000, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    ck_assert(!hears(PEER));
}
END_TEST

/* The wire form of ::ffff:a.b.c.d, which the builder would never write. */
START_TEST(s1_a_mapped_peer_address_is_judged_as_the_ipv4_one)
{
    uint8_t value[20] = {0, 2, 0, 0, [14] = 0xFF, 0xFF, 203, 0, 113, 9};
    struct req r;

    allocated();
    fake_exit_deny(&w->exit, "203.0.113.9");
    req_begin(&r, STUN_CREATE_PERMISSION);
    for (size_t i = 0; i < 16; i++)
        value[4 + i] ^= r.buf[4 + i];
    req_put_raw(&r, 0x0012, value, sizeof(value));
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 403);
}
END_TEST

static unsigned int permissions(const char *const *peers, size_t n)
{
    struct req r;

    req_begin(&r, STUN_CREATE_PERMISSION);
    for (size_t i = 0; i < n; i++)
        req_put_peer(&r, peers[i]);
    return ask(fc, &r, &login, NULL);
}

START_TEST(several_peers_are_permitted_together)
{
    static const char *const peers[] = {PEER, PEER2, PEER};

    allocated();
    ck_assert_uint_eq(permissions(peers, 3), 0);
    ck_assert(hears(PEER));
    ck_assert(hears(PEER2));
}
END_TEST

START_TEST(one_bad_peer_among_several_refuses_all)
{
    static const char *const denied[] = {PEER, PEER2}, *const family[] = {PEER, PEER6};

    allocated();
    fake_exit_deny(&w->exit, "203.0.113.10");
    ck_assert_uint_eq(permissions(denied, 2), 403);
    ck_assert(!hears(PEER));
    ck_assert_uint_eq(permissions(family, 2), 443);
    ck_assert(!hears(PEER));
}
END_TEST

START_TEST(one_peer_too_many_among_several_refuses_all)
{
    static const char *const peers[] = {PEER, PEER2};

    allocated();
    w->conf->max_permissions = 1;
    ck_assert_uint_eq(permissions(peers, 2), 508);
    ck_assert(!hears(PEER));
    ck_assert_uint_eq(permissions(peers, 1), 0);
}
END_TEST

START_TEST(more_peers_than_a_request_may_hold_get_508)
{
    const char *peers[STUN_MAX_PEERS + 1];

    for (size_t i = 0; i < STUN_MAX_PEERS + 1; i++)
        peers[i] = PEER;
    allocated();
    ck_assert_uint_eq(permissions(peers, STUN_MAX_PEERS + 1), 508);
    ck_assert(!hears(PEER));
    ck_assert_uint_eq(permissions(peers, STUN_MAX_PEERS), 0);
}
END_TEST

START_TEST(s32_permissions_are_capped_with_508)
{
    allocated();
    w->conf->max_permissions = 3;
    ck_assert_uint_eq(ask_permission(fc, &login, "203.0.113.1:1"), 0);
    ck_assert_uint_eq(ask_permission(fc, &login, "203.0.113.2:1"), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, "203.0.113.3:1"), 0);
    ck_assert_uint_eq(ask_permission(fc, &login, "203.0.113.4:1"), 508);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4001, "203.0.113.4:1"), 508);
    ck_assert_uint_eq(ask_permission(fc, &login, "203.0.113.1:1"), 0);
    world_pass(300);
    ck_assert_uint_eq(ask_permission(fc, &login, "203.0.113.4:1"), 0);
}
END_TEST

/* ---- ChannelBind ---- */

START_TEST(s35_channel_numbers_outside_their_range_get_400)
{
    static const unsigned int bad[] = {0x0000, 0x3FFF, 0x5000, 0x7FFF, 0x8000, 0xFFFF};

    allocated();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_uint_eq(ask_channel(fc, &login, bad[i], PEER), 400);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4FFF, PEER2), 0);
}
END_TEST

START_TEST(channel_bind_without_number_or_peer_gets_400)
{
    struct req r;

    allocated();
    req_begin(&r, STUN_CHANNEL_BIND);
    req_put_peer(&r, PEER);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
    req_begin(&r, STUN_CHANNEL_BIND);
    stun_put_u32(&r.b, STUN_CHANNEL_NUMBER, 0x4000u << 16);
    ck_assert_uint_eq(ask(fc, &r, &login, NULL), 400);
}
END_TEST

START_TEST(a_number_or_peer_that_is_bound_otherwise_gets_400)
{
    allocated();
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER2), 400);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4001, PEER), 400);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
}
END_TEST

START_TEST(a_refused_channel_leaves_no_permission)
{
    allocated();
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER2), 400);
    ck_assert(!hears(PEER2));
}
END_TEST

START_TEST(a_channel_installs_a_permission_of_five_minutes)
{
    allocated();
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    ck_assert(hears(PEER));
    ck_assert(hears("203.0.113.9:1"));
    world_pass(300);
    ck_assert(!hears(PEER));
}
END_TEST

START_TEST(a_channel_relays_for_ten_minutes_and_its_number_rests_for_five)
{
    allocated();
    ck_assert_uint_eq(ask_refresh(fc, &login, 3600, NULL), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    world_pass(599);
    give_channel_data(fc, 0x4000, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    world_pass(1);
    give_channel_data(fc, 0x4000, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    ck_assert_uint_eq(w->counters.drop_no_channel, 1);
    world_pass(299);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER2), 400);
    world_pass(1);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER2), 0);
}
END_TEST

START_TEST(s32_channels_are_capped_with_508)
{
    allocated();
    w->conf->max_channels = 1;
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4001, PEER2), 508);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/permit");
    TCase *t = tcase_create("permit");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_permission_lets_the_peer_in_for_exactly_five_minutes);
    tcase_add_test(t, data_does_not_refresh_a_permission);
    tcase_add_test(t, create_permission_and_channel_bind_refresh_a_permission);
    tcase_add_test(t, a_permission_is_for_every_port_of_the_ip);
    tcase_add_test(t, the_access_rules_are_asked_about_any_port_or_about_the_channels);
    tcase_add_test(t, no_peer_address_gets_400);
    tcase_add_test(t, a_peer_address_of_no_family_gets_400);
    tcase_add_test(t, a_peer_of_the_other_family_gets_443);
    tcase_add_test(t, s9_a_denied_peer_gets_403_on_every_path);
    tcase_add_test(t, s1_a_mapped_peer_address_is_judged_as_the_ipv4_one);
    tcase_add_test(t, several_peers_are_permitted_together);
    tcase_add_test(t, one_bad_peer_among_several_refuses_all);
    tcase_add_test(t, one_peer_too_many_among_several_refuses_all);
    tcase_add_test(t, more_peers_than_a_request_may_hold_get_508);
    tcase_add_test(t, s32_permissions_are_capped_with_508);
    tcase_add_test(t, s35_channel_numbers_outside_their_range_get_400);
    tcase_add_test(t, channel_bind_without_number_or_peer_gets_400);
    tcase_add_test(t, a_number_or_peer_that_is_bound_otherwise_gets_400);
    tcase_add_test(t, a_refused_channel_leaves_no_permission);
    tcase_add_test(t, a_channel_installs_a_permission_of_five_minutes);
    tcase_add_test(t, a_channel_relays_for_ten_minutes_and_its_number_rests_for_five);
    tcase_add_test(t, s32_channels_are_capped_with_508);
    suite_add_tcase(s, t);
    return suite_run(s);
}
