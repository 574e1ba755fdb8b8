/*
 * CreatePermission and ChannelBind on an exit that has to ask the far side first.
 */
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/turn_world.h"

#define PEER_IP  "203.0.113.9"
#define PEER2_IP "203.0.113.10"

static struct world *w;
static struct fake_client *fc;
static struct login login;

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    login = login_old(fc, "alice", "wonderland");
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    w->exit.permit_later = true;
}

static void teardown(void)
{
    world_free(w);
}

static bool hears(const char *peer)
{
    size_t before = fc->n_sent;

    fake_exit_datagram(w->exit.last, peer, "ping", 4);
    return fc->n_sent > before;
}

/* Sends a request for these peers (or one that binds a channel). Return: whether it was answered.
 */
static bool request(struct req *r, unsigned int channel, const char *peer, const char *peer2)
{
    struct reply reply;

    req_begin(r, channel ? STUN_CHANNEL_BIND : STUN_CREATE_PERMISSION);
    if (channel)
        stun_put_u32(&r->b, STUN_CHANNEL_NUMBER, channel << 16);
    req_put_peer(r, peer);
    if (peer2)
        req_put_peer(r, peer2);
    req_end(r, &login);
    req_send(fc, r, &reply);
    return reply.any;
}

/* The code of the last message to the client, which must be the authentic answer to `r`. */
static unsigned int answered(const struct req *r)
{
    struct reply reply;

    reply_read(fc, &reply);
    ck_assert(reply.any && reply_is_authentic(&reply, &login));
    ck_assert_mem_eq(reply.msg.txid, r->txid, STUN_TXID_LEN);
    return reply.code;
}

START_TEST(success_is_answered_when_the_far_side_has_let_the_peer_in)
{
    struct req r;

    ck_assert(!request(&r, 0, PEER, NULL));
    ck_assert(!hears(PEER));
    fake_exit_permitted(&w->exit, PEER_IP, EXIT_OK);
    ck_assert_uint_eq(answered(&r), 0);
    ck_assert(hears(PEER));
}
END_TEST

START_TEST(a_refusal_of_the_far_side_is_a_403)
{
    struct req r;

    ck_assert(!request(&r, 0, PEER, NULL));
    fake_exit_permitted(&w->exit, PEER_IP, EXIT_E_FORBIDDEN);
    ck_assert_uint_eq(answered(&r), 403);
    ck_assert(!hears(PEER));
    ck_assert(!request(&r, 0x4001, PEER, NULL));
    fake_exit_permitted(&w->exit, PEER_IP, EXIT_E_CAPACITY);
    ck_assert_uint_eq(answered(&r), 508);
}
END_TEST

START_TEST(a_channel_is_bound_when_the_far_side_has_let_the_peer_in)
{
    struct req r;

    ck_assert(!request(&r, 0x4001, PEER, NULL));
    give_channel_data(fc, 0x4001, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    fake_exit_permitted(&w->exit, PEER_IP, EXIT_OK);
    ck_assert_uint_eq(answered(&r), 0);
    give_channel_data(fc, 0x4001, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 1);
}
END_TEST

START_TEST(several_peers_are_answered_with_the_last_and_installed_together)
{
    struct req r;
    size_t n_sent;

    ck_assert(!request(&r, 0, PEER, PEER2));
    n_sent = fc->n_sent;
    fake_exit_permitted(&w->exit, PEER2_IP, EXIT_OK);
    ck_assert_uint_eq(fc->n_sent, n_sent);
    ck_assert(!hears(PEER2));
    fake_exit_permitted(&w->exit, PEER_IP, EXIT_OK);
    ck_assert_uint_eq(answered(&r), 0);
    ck_assert(hears(PEER) && hears(PEER2));
}
END_TEST

START_TEST(one_refused_among_several_refuses_all_at_once)
{
    struct req r;
    size_t n_sent;

    ck_assert(!request(&r, 0, PEER, PEER2));
    fake_exit_permitted(&w->exit, PEER_IP, EXIT_E_FORBIDDEN);
    ck_assert_uint_eq(answered(&r), 403);
    n_sent = fc->n_sent;
    fake_exit_permitted(&w->exit, PEER2_IP, EXIT_OK);
    ck_assert_uint_eq(fc->n_sent, n_sent);
    ck_assert(!hears(PEER) && !hears(PEER2));
}
END_TEST

START_TEST(a_retransmission_meanwhile_is_answered_once)
{
    struct req r;
    struct reply reply;
    size_t n_sent;

    ck_assert(!request(&r, 0, PEER, NULL));
    req_send(fc, &r, &reply);
    ck_assert(!reply.any);
    n_sent = fc->n_sent;
    fake_exit_permitted(&w->exit, PEER_IP, EXIT_OK);
    ck_assert_uint_eq(fc->n_sent, n_sent + 1);
}
END_TEST

START_TEST(what_waits_is_bounded_and_forgotten_after_a_while)
{
    struct req r;
    unsigned int n = 0;
    size_t n_sent;

    while (!request(&r, 0, PEER, NULL))
        ck_assert_uint_lt(++n, 100);
    ck_assert_uint_eq(answered(&r), 508);
    ck_assert_uint_ge(n, 16);
    world_pass(46);
    turn_sweep(w->turn, fake_now_ns);
    n_sent = fc->n_sent;
    fake_exit_permitted(&w->exit, PEER_IP, EXIT_OK);
    ck_assert_uint_eq(fc->n_sent, n_sent);
    ck_assert(!hears(PEER));
}
END_TEST

START_TEST(an_allocation_that_ends_meanwhile_leaves_nothing)
{
    struct req r;

    ck_assert(!request(&r, 0, PEER, PEER2));
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/permit_later");
    TCase *t = tcase_create("later");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, success_is_answered_when_the_far_side_has_let_the_peer_in);
    tcase_add_test(t, a_refusal_of_the_far_side_is_a_403);
    tcase_add_test(t, a_channel_is_bound_when_the_far_side_has_let_the_peer_in);
    tcase_add_test(t, several_peers_are_answered_with_the_last_and_installed_together);
    tcase_add_test(t, one_refused_among_several_refuses_all_at_once);
    tcase_add_test(t, a_retransmission_meanwhile_is_answered_once);
    tcase_add_test(t, what_waits_is_bounded_and_forgotten_after_a_while);
    tcase_add_test(t, an_allocation_that_ends_meanwhile_leaves_nothing);
    suite_add_tcase(s, t);
    return suite_run(s);
}
