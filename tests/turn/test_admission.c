/*
 * Which Allocates are turned away although nothing is wrong with them (quotas,
 * a full or draining relay), and an exit that answers later or never.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "relay/turn/rest.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc, *tcp;
static struct login login;

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
    tcp = world_client(w, TRANSPORT_TCP, "198.51.100.77:41000");
    login = login_old(fc, "alice", "wonderland");
}

static void teardown(void)
{
    world_free(w);
}

/* ---- quotas ---- */

START_TEST(a_user_over_the_quota_gets_486_until_one_is_given_back)
{
    w->conf->max_allocations_per_user = 1;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    ck_assert_uint_eq(ask_allocate(tcp, &login, NULL), 486);
    ck_assert_uint_eq(w->counters.err_486, 1);
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
    ck_assert_uint_eq(ask_allocate(tcp, &login, NULL), 0);
}
END_TEST

START_TEST(another_user_has_a_quota_of_its_own)
{
    struct login bob = login_old(tcp, "bob", "builder");

    w->conf->max_allocations_per_user = 1;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    ck_assert_uint_eq(ask_allocate(tcp, &bob, NULL), 0);
}
END_TEST

START_TEST(a_full_relay_answers_508)
{
    struct login bob = login_old(tcp, "bob", "builder");

    w->conf->max_allocations = 1;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    ck_assert_uint_eq(ask_allocate(tcp, &bob, NULL), 508);
}
END_TEST

START_TEST(a_refused_allocate_gives_its_charge_back)
{
    w->exit.open_v4 = EXIT_E_CAPACITY;
    w->conf->max_allocations_per_user = 1;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 508);
    ck_assert_uint_eq(quota_total(w->quota), 0);
    w->exit.open_v4 = EXIT_OK;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

static unsigned int allocate_as_rest(struct fake_client *c, unsigned int ttl_s, const char *tail)
{
    static char user[128], password[REST_PASSWORD_LEN + 1];
    struct login rest;

    snprintf(user, sizeof(user), "%llu%s", (unsigned long long)fake_real_s + ttl_s, tail);
    ck_assert_int_eq(rest_password("north", user, strlen(user), password), 0);
    rest = login_old(c, user, password);
    return ask_allocate(c, &rest, NULL);
}

START_TEST(ephemeral_names_with_one_id_share_a_quota_whatever_their_expiry)
{
    struct fake_client *third = world_client(w, TRANSPORT_UDP, CLIENT2);

    w->conf->max_allocations_per_user = 1;
    ck_assert_uint_eq(allocate_as_rest(fc, 60, ":carol"), 0);
    ck_assert_uint_eq(allocate_as_rest(tcp, 61, ":carol"), 486);
    ck_assert_uint_eq(allocate_as_rest(third, 62, ":dave"), 0);
}
END_TEST

START_TEST(ephemeral_names_without_an_id_share_one_quota)
{
    w->conf->max_allocations_per_user = 1;
    ck_assert_uint_eq(allocate_as_rest(fc, 60, ""), 0);
    ck_assert_uint_eq(allocate_as_rest(tcp, 61, ":"), 486);
}
END_TEST

/* ---- draining and full, with an alternate ---- */

START_TEST(a_draining_relay_answers_508_and_keeps_what_runs)
{
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    turn_set_draining(w->turn);
    ck_assert_uint_eq(ask_allocate(tcp, &login, NULL), 508);
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, NULL), 0);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
}
END_TEST

START_TEST(with_an_alternate_a_draining_relay_redirects)
{
    struct reply reply;

    w->conf->alternate_server = at("192.0.2.99:3478");
    turn_set_draining(w->turn);
    ck_assert_uint_eq(ask_allocate(fc, &login, &reply), 300);
    assert_addr_eq(reply_addr(&reply, STUN_ALTERNATE_SERVER), "192.0.2.99:3478");
}
END_TEST

START_TEST(with_an_alternate_a_full_relay_redirects_and_a_greedy_user_gets_486)
{
    struct login bob = login_old(tcp, "bob", "builder");

    w->conf->alternate_server = at("192.0.2.99:3478");
    w->conf->max_allocations = 1;
    w->conf->max_allocations_per_user = 1;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    ck_assert_uint_eq(ask_allocate(tcp, &bob, NULL), 300);
    ck_assert_uint_eq(ask_allocate(tcp, &login, NULL), 486);
}
END_TEST

START_TEST(an_alternate_of_the_other_family_is_not_named)
{
    w->conf->alternate_server = at("[2001:db8::99]:3478");
    turn_set_draining(w->turn);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 508);
}
END_TEST

START_TEST(a_stranger_is_challenged_not_redirected)
{
    struct req r;

    w->conf->alternate_server = at("192.0.2.99:3478");
    turn_set_draining(w->turn);
    allocate_begin(&r);
    ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 401);
}
END_TEST

/* ---- an exit that answers later ---- */

START_TEST(the_answer_waits_for_the_exit)
{
    struct reply reply;
    struct req r;

    w->exit.open_later = true;
    fake_client_forget(fc);
    allocate_begin(&r);
    req_end(&r, &login);
    req_send(fc, &r, &reply);
    ck_assert(!reply.any);
    ck_assert_uint_eq(w->counters.allocations_made, 0);
    fake_exit_answer(w->exit.last);
    reply_read(fc, &reply);
    ck_assert(reply.any);
    ck_assert_uint_eq(reply.code, 0);
    ck_assert_mem_eq(reply.msg.txid, r.txid, STUN_TXID_LEN);
    ck_assert(reply_is_authentic(&reply, &login));
    ck_assert_uint_eq(w->counters.allocations_made, 1);
}
END_TEST

/* An Allocate that the exit has not answered yet. */
static void open_later(struct fake_client *c, struct req *r)
{
    struct reply reply;

    w->exit.open_later = true;
    allocate_begin(r);
    req_end(r, &login);
    req_send(c, r, &reply);
    ck_assert(!reply.any);
    fake_client_forget(c);
}

START_TEST(the_time_that_the_exit_takes_is_counted)
{
    struct req r;

    open_later(fc, &r);
    fake_now_ns += 30 * NS_PER_MS;
    ck_assert_uint_eq(w->counters.allocation_time.sum_us, 0);
    fake_exit_answer(w->exit.last);
    ck_assert_uint_eq(w->counters.allocation_time.sum_us, 30000);
}
END_TEST

START_TEST(a_retransmission_while_the_exit_is_at_it_is_answered_once)
{
    struct reply reply;
    struct req r;

    open_later(fc, &r);
    req_send(fc, &r, &reply);
    ck_assert(!reply.any);
    ck_assert_uint_eq(w->exit.n_opened, 1);
    fake_exit_answer(w->exit.last);
    ck_assert_uint_eq(fc->n_sent, 1);
    req_send(fc, &r, &reply);
    ck_assert_uint_eq(reply.code, 0);
}
END_TEST

START_TEST(another_allocate_while_the_exit_is_at_it_gets_437)
{
    struct req r;

    open_later(fc, &r);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 437);
    fake_exit_answer(w->exit.last);
}
END_TEST

START_TEST(nothing_else_works_while_the_exit_is_at_it)
{
    struct req r;

    open_later(fc, &r);
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, NULL), 437);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 437);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 437);
    give_send(fc, PEER, "x", 1);
    give_channel_data(fc, 0x4000, "x", 1);
    ck_assert_uint_eq(w->exit.n_sent, 0);
    world_pass(7200);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
}
END_TEST

START_TEST(a_late_refusal_is_an_error_answer_and_frees_everything)
{
    struct reply reply;
    struct req r;

    w->exit.open_v4 = EXIT_E_CAPACITY;
    open_later(fc, &r);
    fake_exit_answer(w->exit.last);
    reply_read(fc, &reply);
    ck_assert_uint_eq(reply.code, 508);
    ck_assert(reply_is_authentic(&reply, &login));
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(quota_total(w->quota), 0);
    ck_assert(!fake_client_has_alloc(fc));
}
END_TEST

START_TEST(a_client_that_leaves_while_the_exit_is_at_it_leaves_nothing)
{
    struct req r;

    open_later(tcp, &r);
    fake_client_close(tcp);
    ck_assert_uint_eq(w->exit.n_closed, 1);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(quota_total(w->quota), 0);
}
END_TEST

START_TEST(a_worker_that_ends_while_the_exit_is_at_it_leaves_nothing)
{
    struct req r;

    open_later(fc, &r);
}
END_TEST

START_TEST(an_exit_that_is_lost_ends_the_allocation)
{
    struct reply reply;
    struct req r;

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    w->exit.last->events->on_lost(w->exit.last->user, EXIT_E_DOWN);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, NULL), 437);

    open_later(tcp, &r);
    w->exit.last->events->on_lost(w->exit.last->user, EXIT_E_DOWN);
    reply_read(tcp, &reply);
    ck_assert_uint_eq(reply.code, 508);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(settings_may_change_while_the_exit_is_at_it)
{
    struct reply reply;
    struct req r;

    open_later(fc, &r);
    world_reload(w, "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\nalice = wonderland\n");
    fake_exit_answer(w->exit.last);
    reply_read(fc, &reply);
    ck_assert_uint_eq(reply.code, 0);
    ck_assert(reply_is_authentic(&reply, &login));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/admission");
    TCase *t = tcase_create("admission");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_user_over_the_quota_gets_486_until_one_is_given_back);
    tcase_add_test(t, another_user_has_a_quota_of_its_own);
    tcase_add_test(t, a_full_relay_answers_508);
    tcase_add_test(t, a_refused_allocate_gives_its_charge_back);
    tcase_add_test(t, ephemeral_names_with_one_id_share_a_quota_whatever_their_expiry);
    tcase_add_test(t, ephemeral_names_without_an_id_share_one_quota);
    tcase_add_test(t, a_draining_relay_answers_508_and_keeps_what_runs);
    tcase_add_test(t, with_an_alternate_a_draining_relay_redirects);
    tcase_add_test(t, with_an_alternate_a_full_relay_redirects_and_a_greedy_user_gets_486);
    tcase_add_test(t, an_alternate_of_the_other_family_is_not_named);
    tcase_add_test(t, a_stranger_is_challenged_not_redirected);
    tcase_add_test(t, the_answer_waits_for_the_exit);
    tcase_add_test(t, the_time_that_the_exit_takes_is_counted);
    tcase_add_test(t, a_retransmission_while_the_exit_is_at_it_is_answered_once);
    tcase_add_test(t, another_allocate_while_the_exit_is_at_it_gets_437);
    tcase_add_test(t, nothing_else_works_while_the_exit_is_at_it);
    tcase_add_test(t, a_late_refusal_is_an_error_answer_and_frees_everything);
    tcase_add_test(t, a_client_that_leaves_while_the_exit_is_at_it_leaves_nothing);
    tcase_add_test(t, a_worker_that_ends_while_the_exit_is_at_it_leaves_nothing);
    tcase_add_test(t, an_exit_that_is_lost_ends_the_allocation);
    tcase_add_test(t, settings_may_change_while_the_exit_is_at_it);
    suite_add_tcase(s, t);
    return suite_run(s);
}
