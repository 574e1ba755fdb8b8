/*
 * What becomes of allocations when a reload takes their user off the list.
 */
#include <stdio.h>
#include <string.h>

#include "relay/turn/rest.h"
#include "tests/support/turn_world.h"

#define RELAY_OF(users) "[relay]\nlisten = udp://192.0.2.1:3478\nsecret = north\n[users]\n" users

#define WITHOUT_BOB RELAY_OF("alice = wonderland\n")

static struct world *w;
static struct fake_client *fc, *other;

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    other = world_client(w, TRANSPORT_UDP, CLIENT2);
}

static void teardown(void)
{
    world_free(w);
}

static void allocate(struct fake_client *client, const char *user, const char *password)
{
    struct login login = login_old(client, user, password);

    ck_assert_uint_eq(ask_allocate(client, &login, NULL), 0);
    ck_assert_uint_eq(ask_permission(client, &login, PEER), 0);
    fake_client_forget(client);
}

START_TEST(a_user_taken_off_the_list_loses_the_allocation_at_once)
{
    struct assoc *alices, *bobs;

    allocate(other, "alice", "wonderland");
    alices = w->exit.last;
    allocate(fc, "bob", "builder");
    bobs = w->exit.last;
    fake_exit_datagram(bobs, PEER, "x", 1);
    ck_assert_uint_eq(fc->n_sent, 1);
    fake_client_forget(fc);
    world_reload(w, WITHOUT_BOB);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    ck_assert_uint_eq(w->exit.n_closed, 1);
    ck_assert_uint_eq(quota_total(w->quota), 1);
    give_send(fc, PEER, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    /* The others' calls go on. */
    fake_exit_datagram(alices, PEER, "x", 1);
    ck_assert_uint_eq(other->n_sent, 1);
}
END_TEST

START_TEST(all_of_the_users_allocations_end)
{
    allocate(fc, "bob", "builder");
    allocate(other, "bob", "builder");
    world_reload(w, WITHOUT_BOB);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(w->exit.n_closed, 2);
}
END_TEST

START_TEST(a_user_known_by_a_hash_only_is_no_exception)
{
    struct login login = login_new(fc, "bob", "builder");

    login.userhash = true;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    world_reload(w, WITHOUT_BOB);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(a_reload_that_keeps_the_user_keeps_the_allocation)
{
    allocate(fc, "bob", "builder");
    world_reload(w, RELAY_OF("carol = c\nbob = another\n"));
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    fake_exit_datagram(w->exit.last, PEER, "x", 1);
    ck_assert_uint_eq(fc->n_sent, 1);
}
END_TEST

static void allocate_ephemeral(const char *id)
{
    char user[64], password[REST_PASSWORD_LEN + 1];

    snprintf(user, sizeof(user), "%llu:%s", (unsigned long long)fake_real_s + 60, id);
    ck_assert_int_eq(rest_password("north", user, strlen(user), password), 0);
    allocate(fc, user, password);
}

/* They are on no list: who issued them does not tell us whom to end. */
START_TEST(ephemeral_users_stay_whoever_is_taken_off)
{
    allocate_ephemeral("bob");
    world_reload(w, WITHOUT_BOB);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    world_reload(w, "[relay]\nsecret = east\n");
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
}
END_TEST

START_TEST(one_still_being_opened_ends_too)
{
    struct login login = login_old(fc, "bob", "builder");
    struct reply reply;
    struct req r;

    w->exit.open_later = true;
    allocate_begin(&r);
    req_end(&r, &login);
    req_send(fc, &r, &reply);
    ck_assert(!reply.any);
    world_reload(w, WITHOUT_BOB);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(w->exit.n_closed, 1);
    /* What the client sends again is answered like anybody's wrong password. */
    req_send(fc, &r, &reply);
    ck_assert_uint_eq(reply.code, 401);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/revoke");
    TCase *t = tcase_create("revoke");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_user_taken_off_the_list_loses_the_allocation_at_once);
    tcase_add_test(t, all_of_the_users_allocations_end);
    tcase_add_test(t, a_user_known_by_a_hash_only_is_no_exception);
    tcase_add_test(t, a_reload_that_keeps_the_user_keeps_the_allocation);
    tcase_add_test(t, ephemeral_users_stay_whoever_is_taken_off);
    tcase_add_test(t, one_still_being_opened_ends_too);
    suite_add_tcase(s, t);
    return suite_run(s);
}
