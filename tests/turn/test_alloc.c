/*
 * An allocation's life: Refresh, expiry, CreatePermission, ChannelBind, and its
 * end in every way there is (RFC 8656, sections 8-12).
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

static void sweep_after(uint64_t seconds)
{
    world_pass(seconds);
    turn_sweep(w->turn, fake_now_ns);
}

/* Whether a datagram of this peer reaches the client. */
static bool hears(const char *peer)
{
    size_t before = fc->n_sent;

    fake_exit_datagram(w->exit.last, peer, "ping", 4);
    return fc->n_sent > before;
}

/* ---- Refresh ---- */

START_TEST(an_allocation_ends_when_its_lifetime_does)
{
    allocated();
    sweep_after(599);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    sweep_after(1);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(w->exit.n_closed, 1);
    ck_assert_uint_eq(fc->n_released, 1);
}
END_TEST

START_TEST(refresh_prolongs_it)
{
    struct reply reply;

    allocated();
    world_pass(500);
    ck_assert_uint_eq(ask_refresh(fc, &login, 1000, &reply), 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 1000);
    sweep_after(999);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    sweep_after(1);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(refresh_without_lifetime_means_the_default)
{
    struct reply reply;
    struct req r;

    allocated();
    req_begin(&r, STUN_REFRESH);
    ck_assert_uint_eq(ask(fc, &r, &login, &reply), 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 600);
    ck_assert_uint_eq(ask_refresh(fc, &login, UINT32_MAX, &reply), 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 3600);
    ck_assert_uint_eq(ask_refresh(fc, &login, 1, &reply), 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 600);
}
END_TEST

START_TEST(refresh_to_zero_deletes_and_frees_the_flow_for_another)
{
    struct reply reply;

    allocated();
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, &reply), 0);
    ck_assert_uint_eq(reply_u32(&reply, STUN_LIFETIME), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(w->counters.allocations, 0);
    ck_assert_uint_eq(w->counters.clients_udp, 0);
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 437);
    allocated();
}
END_TEST

START_TEST(without_an_allocation_everything_gets_437)
{
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, NULL), 437);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 437);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 437);
    ck_assert_uint_eq(ask_connect(fc, &login, PEER, NULL), 437);
}
END_TEST

START_TEST(another_user_gets_441_and_changes_nothing)
{
    struct login bob = login_old(fc, "bob", "builder");

    allocated();
    ck_assert_uint_eq(ask_refresh(fc, &bob, 0, NULL), 441);
    ck_assert_uint_eq(ask_permission(fc, &bob, PEER), 441);
    ck_assert_uint_eq(ask_channel(fc, &bob, 0x4000, PEER), 441);
    ck_assert_uint_eq(ask_connect(fc, &bob, PEER, NULL), 441);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    ck_assert(!hears(PEER));
}
END_TEST

static unsigned int refresh_family(uint8_t family, uint32_t lifetime_s)
{
    struct req r;

    req_begin(&r, STUN_REFRESH);
    stun_put_u32(&r.b, STUN_LIFETIME, lifetime_s);
    req_put_u8(&r, STUN_REQUESTED_ADDRESS_FAMILY, family);
    return ask(fc, &r, &login, NULL);
}

START_TEST(refresh_of_a_family_it_has_not_gets_443)
{
    allocated();
    ck_assert_uint_eq(refresh_family(2, 600), 443);
    ck_assert_uint_eq(refresh_family(2, 0), 443);
    ck_assert_uint_eq(refresh_family(9, 0), 443);
    ck_assert_uint_eq(refresh_family(1, 600), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
}
END_TEST

static void dual_allocated(void)
{
    ck_assert_uint_eq(ask_allocate_dual(fc, &login), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4001, PEER6), 0);
    ck_assert(hears(PEER));
    ck_assert(hears(PEER6));
}

START_TEST(one_family_of_two_can_be_deleted_and_the_other_goes_on)
{
    dual_allocated();
    ck_assert_uint_eq(refresh_family(1, 0), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    ck_assert(!hears(PEER));
    ck_assert(hears(PEER6));
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 443);
    ck_assert_uint_eq(refresh_family(1, 600), 443);
    give_channel_data(fc, 0x4000, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    give_channel_data(fc, 0x4001, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 1);
    ck_assert_uint_eq(refresh_family(2, 0), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(each_family_of_two_has_a_lifetime)
{
    dual_allocated();
    ck_assert_uint_eq(refresh_family(2, 1800), 0);
    sweep_after(600);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 443);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER6), 0);
    sweep_after(1200);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(without_a_family_refresh_is_about_both)
{
    dual_allocated();
    ck_assert_uint_eq(ask_refresh(fc, &login, 1800, NULL), 0);
    sweep_after(1799);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER6), 0);
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

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

/* ---- the end ---- */

START_TEST(a_closed_client_ends_its_allocation_on_every_transport)
{
    static const char *const from[] = {"198.51.100.77:41000", "198.51.100.77:41001",
                                       "198.51.100.77:41002", "198.51.100.77:41003"};

    for (int transport = 0; transport < N_TRANSPORTS; transport++) {
        struct fake_client *c = world_client(w, (enum transport)transport, from[transport]);

        ck_assert_uint_eq(ask_allocate(c, &login, NULL), 0);
        ck_assert_uint_eq(ask_channel(c, &login, 0x4000, PEER), 0);
        fake_client_close(c);
        ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
        ck_assert_uint_eq(quota_total(w->quota), 0);
    }
    ck_assert_uint_eq(w->counters.clients_tcp, 0);
    ck_assert_uint_eq(w->counters.clients_dtls, 0);
}
END_TEST

START_TEST(a_client_without_an_allocation_may_close_too)
{
    struct fake_client *tcp = world_client(w, TRANSPORT_TCP, CLIENT2);

    fake_client_close(tcp);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(a_worker_that_ends_takes_its_allocations_along_without_a_word)
{
    size_t before;

    allocated();
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    before = fc->n_sent;
    turn_free(w->turn);
    ck_assert_uint_eq(fc->n_sent, before);
    ck_assert_uint_eq(w->exit.n_closed, 1);
    w->turn = NULL;
}
END_TEST

START_TEST(allocations_on_one_worker_keep_apart)
{
    struct fake_client *other = world_client(w, TRANSPORT_UDP, CLIENT2);
    struct login bob = login_old(other, "bob", "builder");
    struct assoc *mine;

    allocated();
    mine = w->exit.last;
    ck_assert_uint_eq(ask_allocate(other, &bob, NULL), 0);
    ck_assert_uint_eq(ask_permission(other, &bob, PEER), 0);
    fake_client_forget(fc);
    fake_client_forget(other);
    fake_exit_datagram(mine, PEER, "x", 1);
    ck_assert_uint_eq(fc->n_sent, 0);
    fake_exit_datagram(w->exit.last, PEER, "x", 1);
    ck_assert_uint_eq(other->n_sent, 1);
    ck_assert_uint_eq(fc->n_sent, 0);
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/alloc");
    TCase *t = tcase_create("alloc");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_allocation_ends_when_its_lifetime_does);
    tcase_add_test(t, refresh_prolongs_it);
    tcase_add_test(t, refresh_without_lifetime_means_the_default);
    tcase_add_test(t, refresh_to_zero_deletes_and_frees_the_flow_for_another);
    tcase_add_test(t, without_an_allocation_everything_gets_437);
    tcase_add_test(t, another_user_gets_441_and_changes_nothing);
    tcase_add_test(t, refresh_of_a_family_it_has_not_gets_443);
    tcase_add_test(t, one_family_of_two_can_be_deleted_and_the_other_goes_on);
    tcase_add_test(t, each_family_of_two_has_a_lifetime);
    tcase_add_test(t, without_a_family_refresh_is_about_both);
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
    tcase_add_test(t, a_closed_client_ends_its_allocation_on_every_transport);
    tcase_add_test(t, a_client_without_an_allocation_may_close_too);
    tcase_add_test(t, a_worker_that_ends_takes_its_allocations_along_without_a_word);
    tcase_add_test(t, allocations_on_one_worker_keep_apart);
    suite_add_tcase(s, t);
    return run_suite(s);
}
