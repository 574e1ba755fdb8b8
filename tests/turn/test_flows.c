/*
 * Allocations one by one, as the stats show them.
 */
#include <string.h>

#include "tests/support/turn_world.h"

static struct world *w;
static struct flow_list list;

static void setup(void)
{
    w = world_new();
}

static void teardown(void)
{
    world_free(w);
}

static void allocate(struct fake_client *fc, struct login *login)
{
    *login = login_old(fc, "alice", "wonderland");
    ck_assert_uint_eq(ask_allocate(fc, login, NULL), 0);
}

static const struct flow_view *flow(size_t i)
{
    list = (struct flow_list){0};
    turn_flows(w->turn, &list);
    ck_assert_uint_gt(list.n, i);
    return &list.flow[i];
}

START_TEST(a_flow_counts_what_was_relayed_and_nothing_else)
{
    struct fake_client *fc = world_client(w, TRANSPORT_UDP, CLIENT);
    struct login login;

    allocate(fc, &login);
    give_send(fc, PEER, "dropped", 7);
    fake_exit_datagram(w->exit.last, PEER, "dropped", 7);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    give_send(fc, PEER, "hello", 5);
    give_send(fc, PEER, "peer", 4);
    fake_exit_datagram(w->exit.last, PEER, "hi", 2);
    ck_assert_uint_eq(flow(0)->count.up_packets, 2);
    ck_assert_uint_eq(flow(0)->count.up_bytes, 9);
    ck_assert_uint_eq(flow(0)->count.down_packets, 1);
    ck_assert_uint_eq(flow(0)->count.down_bytes, 2);
}
END_TEST

START_TEST(a_flow_has_its_users_name_and_the_clients_transport)
{
    struct login login;

    allocate(world_client(w, TRANSPORT_TLS, CLIENT), &login);
    ck_assert_str_eq(flow(0)->front, "turn");
    ck_assert_str_eq(flow(0)->transport, "tls");
    ck_assert_uint_eq(flow(0)->user_len, 5);
    ck_assert_mem_eq(flow(0)->user, "alice", 5);
    assert_addr_eq(flow(0)->client, CLIENT);
}
END_TEST

START_TEST(the_newest_comes_first_and_what_has_ended_is_gone)
{
    struct fake_client *first = world_client(w, TRANSPORT_UDP, CLIENT);
    struct fake_client *second = world_client(w, TRANSPORT_UDP, CLIENT2);
    struct login a, b;

    allocate(first, &a);
    world_pass(10);
    allocate(second, &b);
    ck_assert_uint_gt(flow(0)->made_ns, flow(1)->made_ns);
    assert_addr_eq(list.flow[0].client, CLIENT2);
    ck_assert_uint_eq(ask_refresh(second, &b, 0, NULL), 0);
    assert_addr_eq(flow(0)->client, CLIENT);
    ck_assert_uint_eq(list.n_all, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("turn/flows");
    TCase *t = tcase_create("flows");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_flow_counts_what_was_relayed_and_nothing_else);
    tcase_add_test(t, a_flow_has_its_users_name_and_the_clients_transport);
    tcase_add_test(t, the_newest_comes_first_and_what_has_ended_is_gone);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
