/*
 * An allocation's life: Refresh, expiry, and its end in every way there is
 * (RFC 8656, section 8).
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
    tcase_add_test(t, a_closed_client_ends_its_allocation_on_every_transport);
    tcase_add_test(t, a_client_without_an_allocation_may_close_too);
    tcase_add_test(t, a_worker_that_ends_takes_its_allocations_along_without_a_word);
    tcase_add_test(t, allocations_on_one_worker_keep_apart);
    suite_add_tcase(s, t);
    return suite_run(s);
}
