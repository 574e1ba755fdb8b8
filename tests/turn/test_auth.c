/*
 * The long-term credential mechanism (RFC 8489, section 9.2) as a client meets
 * it: through Allocate and Refresh.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "relay/turn/auth.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc;

static const char only_users[] = "[relay]\nlisten = udp://192.0.2.1:3478\n"
                                 "[users]\nalice = wonderland\nbob = builder\n"
                                 "[limits]\nunauthenticated-rate = 0\n";

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
}

static void setup_only_users(void)
{
    w = world_new_with(only_users);
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
}

static void teardown(void)
{
    world_free(w);
}

/* ---- the challenge ---- */

START_TEST(without_integrity_the_answer_is_401_with_realm_nonce_and_algorithms)
{
    struct reply reply;
    struct req r;
    size_t len;

    allocate_begin(&r);
    ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 401);
    ck_assert_mem_eq(stun_get(&reply.msg, STUN_REALM, &len), "callveil", 8);
    ck_assert_uint_eq(len, 8);
    ck_assert_mem_eq(stun_get(&reply.msg, STUN_NONCE, &len), "obMatJos2", 9);
    ck_assert_uint_eq(len, AUTH_NONCE_LEN);
    ck_assert_mem_eq(stun_get(&reply.msg, STUN_PASSWORD_ALGORITHMS, &len),
                     "\x00\x02\x00\x00\x00\x01\x00\x00", 8);
    ck_assert(!stun_has(&reply.msg, STUN_USERNAME));
    ck_assert(!stun_has(&reply.msg, STUN_SOFTWARE));
    ck_assert_uint_eq(w->counters.challenges, 1);
    ck_assert_uint_eq(w->counters.err_401, 0);
}
END_TEST

START_TEST(every_method_but_binding_is_challenged)
{
    static const uint16_t methods[] = {STUN_ALLOCATE,     STUN_REFRESH, STUN_CREATE_PERMISSION,
                                       STUN_CHANNEL_BIND, STUN_CONNECT, STUN_CONNECTION_BIND};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        struct req r;

        req_begin(&r, methods[i]);
        ck_assert_uint_eq(ask(fc, &r, NULL, NULL), 401);
    }
}
END_TEST

/* ---- who gets in ---- */

START_TEST(an_rfc5389_client_with_sha1_is_let_in)
{
    struct login login = login_old(fc, "alice", "wonderland");

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(an_rfc8489_client_with_sha256_is_let_in)
{
    struct login login = login_new(fc, "alice", "wonderland");

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(an_rfc8489_client_may_choose_md5)
{
    struct login login = login_new(fc, "alice", "wonderland");

    login.algorithm = STUN_PASSWORD_MD5;
    login.key_len =
        stun_long_term_key(login.algorithm, login.user, login.realm, login.password, login.key);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(a_wrong_password_gets_401_and_is_counted)
{
    struct login login = login_old(fc, "alice", "looking-glass");

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);
    login = login_new(fc, "alice", "looking-glass");
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);
    ck_assert_uint_eq(w->counters.err_401, 2);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(an_unknown_user_gets_the_same_401_as_a_wrong_password)
{
    struct login unknown = login_old(fc, "mallory", "wonderland");
    struct login wrong = login_old(fc, "alice", "looking-glass");
    struct reply a, b;

    ck_assert_uint_eq(ask_allocate(fc, &unknown, &a), 401);
    ck_assert_uint_eq(ask_allocate(fc, &wrong, &b), 401);
    ck_assert_uint_eq(a.len, b.len);
    ck_assert_mem_eq(a.buf + STUN_HEADER_LEN, b.buf + STUN_HEADER_LEN, a.len - STUN_HEADER_LEN);
}
END_TEST

START_TEST(every_bit_of_the_integrity_counts)
{
    struct login login = login_new(fc, "alice", "wonderland");
    struct reply reply;
    struct req r;
    size_t len;

    allocate_begin(&r);
    len = req_end(&r, &login);
    for (size_t bit = 0; bit < 32 * 8; bit++) {
        r.buf[len - 32 + bit / 8] ^= (uint8_t)(1u << bit % 8);
        req_send(fc, &r, &reply);
        ck_assert_uint_eq(reply.code, 401);
        r.buf[len - 32 + bit / 8] ^= (uint8_t)(1u << bit % 8);
        fake_client_forget(fc);
    }
    req_send(fc, &r, &reply);
    ck_assert(reply.any);
    ck_assert_uint_eq(reply.code, 0);
}
END_TEST

START_TEST(userhash_names_a_listed_user)
{
    struct login login = login_new(fc, "bob", "builder");

    login.userhash = true;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    login.userhash = false; /* the same user, by either name */
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, NULL), 0);
}
END_TEST

START_TEST(an_unknown_userhash_gets_401)
{
    struct login login = login_new(fc, "mallory", "builder");

    login.userhash = true;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);
}
END_TEST

/* The 24 feature bits, in base64 behind the cookie: bit 0 (the leftmost) is password algorithms,
 * bit 1 user name anonymity. */
START_TEST(username_anonymity_is_announced_when_all_users_are_listed)
{
    struct login login = login_new(fc, "alice", "wonderland");

    ck_assert_mem_eq(login.nonce + 9, "wAAA", 4);
}
END_TEST

START_TEST(username_anonymity_is_not_announced_beside_ephemeral_credentials)
{
    struct login login = login_new(fc, "alice", "wonderland");

    ck_assert_mem_eq(login.nonce + 9, "gAAA", 4);
}
END_TEST

/* ---- 400 ---- */

/* Leaves one attribute out of a signed request. */
static unsigned int ask_without(enum stun_attr missing)
{
    struct login login = login_old(fc, "alice", "wonderland");
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    if (missing != STUN_USERNAME)
        stun_put_text(&r.b, STUN_USERNAME, login.user);
    if (missing != STUN_REALM)
        stun_put_text(&r.b, STUN_REALM, login.realm);
    if (missing != STUN_NONCE)
        stun_put_text(&r.b, STUN_NONCE, login.nonce);
    stun_put_integrity(&r.b, login.integrity, login.key, login.key_len);
    req_end(&r, NULL);
    req_send(fc, &r, &reply);
    ck_assert(reply.any);
    ck_assert(!stun_has(&reply.msg, STUN_REALM));
    ck_assert(!stun_has(&reply.msg, STUN_NONCE));
    ck_assert(!stun_has(&reply.msg, STUN_MESSAGE_INTEGRITY));
    return reply.code;
}

START_TEST(integrity_without_username_realm_or_nonce_gets_400)
{
    ck_assert_uint_eq(ask_without(STUN_USERNAME), 400);
    ck_assert_uint_eq(ask_without(STUN_REALM), 400);
    ck_assert_uint_eq(ask_without(STUN_NONCE), 400);
}
END_TEST

START_TEST(s11_attributes_behind_the_integrity_do_not_count_as_credentials)
{
    struct login login = login_old(fc, "alice", "wonderland");
    struct reply reply;
    struct req r;

    allocate_begin(&r);
    stun_put_text(&r.b, STUN_REALM, login.realm);
    stun_put_text(&r.b, STUN_NONCE, login.nonce);
    stun_put_integrity(&r.b, login.integrity, login.key, login.key_len);
    stun_put_text(&r.b, STUN_USERNAME, login.user);
    req_end(&r, NULL);
    req_send(fc, &r, &reply);
    ck_assert_uint_eq(reply.code, 400);
}
END_TEST

/* ---- bid-down ---- */

START_TEST(a_list_of_algorithms_that_is_not_ours_gets_400)
{
    struct login login = login_new(fc, "alice", "wonderland");

    memcpy(login.algorithms, "\x00\x01\x00\x00", 4); /* somebody removed SHA-256 on the way */
    login.algorithms_len = 4;
    login.algorithm = STUN_PASSWORD_MD5;
    login.key_len =
        stun_long_term_key(login.algorithm, login.user, login.realm, login.password, login.key);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 400);
    memcpy(login.algorithms, "\x00\x01\x00\x00\x00\x02\x00\x00", 8); /* or changed the order */
    login.algorithms_len = 8;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 400);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(an_algorithm_that_is_not_in_the_list_gets_400)
{
    struct login login = login_new(fc, "alice", "wonderland");

    login.algorithm = (enum stun_password_algorithm)3;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 400);
}
END_TEST

static unsigned int ask_with_half_of_the_algorithms(bool list)
{
    struct login login = login_new(fc, "alice", "wonderland");
    struct req r;

    login.rfc5389 = true; /* we add one of the two ourselves */
    allocate_begin(&r);
    if (list)
        stun_put(&r.b, STUN_PASSWORD_ALGORITHMS, login.algorithms, login.algorithms_len);
    else
        stun_put_u32(&r.b, STUN_PASSWORD_ALGORITHM, 2u << 16);
    return ask(fc, &r, &login, NULL);
}

START_TEST(one_of_the_two_algorithm_attributes_alone_gets_400)
{
    ck_assert_uint_eq(ask_with_half_of_the_algorithms(true), 400);
    ck_assert_uint_eq(ask_with_half_of_the_algorithms(false), 400);
}
END_TEST

START_TEST(a_nonce_with_its_feature_bits_edited_is_stale)
{
    struct login login = login_old(fc, "alice", "wonderland");

    memcpy(login.nonce + 9, "AAAA", 4);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 438);
}
END_TEST

START_TEST(only_what_every_user_can_do_is_offered)
{
    struct reply reply;
    struct req r;
    size_t len;

    world_reload(w, "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\nalice = wonderland\n"
                    "carol = key:0x00112233445566778899aabbccddeeff\n");
    allocate_begin(&r);
    ck_assert_uint_eq(ask(fc, &r, NULL, &reply), 401);
    ck_assert_mem_eq(stun_get(&reply.msg, STUN_PASSWORD_ALGORITHMS, &len), "\x00\x01\x00\x00", 4);
    ck_assert_uint_eq(len, 4);
}
END_TEST

START_TEST(after_a_reload_that_changes_the_list_the_old_one_is_stale_not_bad)
{
    struct login login = login_new(fc, "alice", "wonderland");
    struct reply reply;

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    world_reload(w, "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\nalice = wonderland\n"
                    "carol = key:0x00112233445566778899aabbccddeeff\n");
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, &reply), 438);
    login.algorithm = STUN_PASSWORD_MD5;
    login_learn(&login, &reply.msg);
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, NULL), 0);
}
END_TEST

/* ---- nonces ---- */

START_TEST(a_stale_nonce_gets_438_with_a_fresh_one)
{
    struct login login = login_old(fc, "alice", "wonderland");
    char old[128];
    struct reply reply;

    world_pass(w->conf->nonce_lifetime_s + 8);
    ck_assert_uint_eq(ask_allocate(fc, &login, &reply), 438);
    ck_assert_uint_eq(w->counters.err_438, 1);
    memcpy(old, login.nonce, sizeof(old));
    login_learn(&login, &reply.msg);
    ck_assert_str_ne(old, login.nonce);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(a_nonce_is_good_for_its_lifetime)
{
    struct login login = login_old(fc, "alice", "wonderland");

    world_pass(w->conf->nonce_lifetime_s - 4);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(a_nonce_from_the_future_is_stale)
{
    struct login login;

    world_pass(1000);
    login = login_old(fc, "alice", "wonderland");
    fake_now_ns -= 1000 * NS_PER_S;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 438);
}
END_TEST

START_TEST(a_nonce_is_bound_to_the_clients_ip)
{
    struct fake_client *other = world_client(w, TRANSPORT_UDP, CLIENT2);
    struct login login = login_old(fc, "alice", "wonderland");

    ck_assert_uint_eq(ask_allocate(other, &login, NULL), 438);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(a_nonce_serves_the_hosts_other_ports_and_transports)
{
    struct fake_client *other = world_client(w, TRANSPORT_TCP, "198.51.100.77:41000");
    struct login login = login_old(fc, "alice", "wonderland");

    ck_assert_uint_eq(ask_allocate(other, &login, NULL), 0);
}
END_TEST

START_TEST(s28_no_two_flows_get_the_same_nonce)
{
    static char nonces[40][128];

    for (unsigned int i = 0; i < 40; i++) {
        struct fake_client *other;
        struct login login;
        char text[ADDR_STRLEN];

        snprintf(text, sizeof(text), "198.51.100.%u:%u", 1 + i / 8, 50000 + i % 8);
        other = world_client(w, TRANSPORT_UDP, text);
        login = login_old(other, "alice", "wonderland");
        memcpy(nonces[i], login.nonce, sizeof(nonces[i]));
        for (unsigned int j = 0; j < i; j++)
            ck_assert_str_ne(nonces[i], nonces[j]);
    }
}
END_TEST

START_TEST(s28_a_nonces_mac_changes_with_time_and_process)
{
    struct login first = login_old(fc, "alice", "wonderland"), later, restarted;

    world_pass(4);
    later = login_old(fc, "alice", "wonderland");
    ck_assert_str_ne(first.nonce + 20, later.nonce + 20);
    w->nonce_secret[0] ^= 1;
    world_reload(w, only_users);
    restarted = login_old(fc, "alice", "wonderland");
    ck_assert_str_ne(later.nonce + 20, restarted.nonce + 20);
    ck_assert_uint_eq(ask_allocate(fc, &later, NULL), 438);
}
END_TEST

START_TEST(a_nonce_is_accepted_by_another_worker_and_after_a_reload)
{
    struct login login = login_new(fc, "alice", "wonderland");

    world_reload(w, only_users); /* another struct auth with the same secret */
    login = login_new(fc, "alice", "wonderland");
    world_reload(w, only_users);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(s18_forged_integrity_with_a_random_nonce_gets_438_and_leaves_nothing)
{
    struct login login = login_old(fc, "alice", "wonderland");

    for (unsigned int i = 0; i < 100; i++) {
        snprintf(login.nonce, sizeof(login.nonce), "obMatJos2gAAA%016x", i * 2654435761u);
        memset(login.key, (int)i, sizeof(login.key));
        ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 438);
    }
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
    ck_assert_uint_eq(fc->n_kept, 0);
    ck_assert_uint_eq(w->exit.n_opened, 0);
}
END_TEST

START_TEST(nonces_of_any_length_and_content_are_stale)
{
    struct login login = login_old(fc, "alice", "wonderland");

    for (size_t len = 0; len < 100; len++) {
        memset(login.nonce, len % 2 ? '=' : ' ', len);
        login.nonce[len] = '\0';
        ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 438);
    }
}
END_TEST

/* ---- settings change ---- */

START_TEST(a_user_who_was_removed_is_refused)
{
    struct login login = login_old(fc, "bob", "builder");

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    world_reload(w, "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\nalice = wonderland\n");
    ck_assert_uint_ne(ask_refresh(fc, &login, 600, NULL), 0);
    login = login_old(fc, "bob", "builder");
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, NULL), 401);
}
END_TEST

START_TEST(a_changed_password_counts_at_once)
{
    struct login login = login_old(fc, "bob", "builder");

    world_reload(w, "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\nbob = wrecker\n");
    login = login_old(fc, "bob", "builder");
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);
    login = login_old(fc, "bob", "wrecker");
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

/* ---- hostile names ---- */

START_TEST(s26_hostile_user_names_are_refused_like_any_other)
{
    static const char *const names[] = {
        "%s%n%x", "a\nb", "\x1b[2J", "\"quoted\"", "<script>alert(1)</script>", "", "' or 1=1 --"};

    log_init(LOG_LEVEL_DEBUG, true);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct login login = login_old(fc, names[i], "x");

        ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);
    }
    log_init(LOG_LEVEL_ERROR, false);
}
END_TEST

START_TEST(the_longest_user_name_is_refused_and_a_nul_is_no_end)
{
    static char name[514];
    struct login login;
    struct reply reply;
    struct req r;

    memset(name, 'a', sizeof(name) - 1);
    login = login_old(fc, name, "x");
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);

    login = login_old(fc, "alice", "wonderland");
    allocate_begin(&r);
    stun_put(&r.b, STUN_USERNAME, "alice\0x", 7);
    stun_put_text(&r.b, STUN_REALM, login.realm);
    stun_put_text(&r.b, STUN_NONCE, login.nonce);
    stun_put_integrity(&r.b, login.integrity, login.key, login.key_len);
    req_end(&r, NULL);
    req_send(fc, &r, &reply);
    ck_assert_uint_eq(reply.code, 401);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/auth");
    TCase *t = tcase_create("auth");
    TCase *u = tcase_create("listed users only");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, without_integrity_the_answer_is_401_with_realm_nonce_and_algorithms);
    tcase_add_test(t, every_method_but_binding_is_challenged);
    tcase_add_test(t, an_rfc5389_client_with_sha1_is_let_in);
    tcase_add_test(t, an_rfc8489_client_with_sha256_is_let_in);
    tcase_add_test(t, an_rfc8489_client_may_choose_md5);
    tcase_add_test(t, a_wrong_password_gets_401_and_is_counted);
    tcase_add_test(t, an_unknown_user_gets_the_same_401_as_a_wrong_password);
    tcase_add_test(t, every_bit_of_the_integrity_counts);
    tcase_add_test(t, userhash_names_a_listed_user);
    tcase_add_test(t, an_unknown_userhash_gets_401);
    tcase_add_test(t, username_anonymity_is_not_announced_beside_ephemeral_credentials);
    tcase_add_test(t, integrity_without_username_realm_or_nonce_gets_400);
    tcase_add_test(t, s11_attributes_behind_the_integrity_do_not_count_as_credentials);
    tcase_add_test(t, a_list_of_algorithms_that_is_not_ours_gets_400);
    tcase_add_test(t, an_algorithm_that_is_not_in_the_list_gets_400);
    tcase_add_test(t, one_of_the_two_algorithm_attributes_alone_gets_400);
    tcase_add_test(t, a_nonce_with_its_feature_bits_edited_is_stale);
    tcase_add_test(t, only_what_every_user_can_do_is_offered);
    tcase_add_test(t, after_a_reload_that_changes_the_list_the_old_one_is_stale_not_bad);
    tcase_add_test(t, a_stale_nonce_gets_438_with_a_fresh_one);
    tcase_add_test(t, a_nonce_is_good_for_its_lifetime);
    tcase_add_test(t, a_nonce_from_the_future_is_stale);
    tcase_add_test(t, a_nonce_is_bound_to_the_clients_ip);
    tcase_add_test(t, a_nonce_serves_the_hosts_other_ports_and_transports);
    tcase_add_test(t, s28_no_two_flows_get_the_same_nonce);
    tcase_add_test(t, s28_a_nonces_mac_changes_with_time_and_process);
    tcase_add_test(t, s18_forged_integrity_with_a_random_nonce_gets_438_and_leaves_nothing);
    tcase_add_test(t, nonces_of_any_length_and_content_are_stale);
    tcase_add_test(t, a_user_who_was_removed_is_refused);
    tcase_add_test(t, a_changed_password_counts_at_once);
    tcase_add_test(t, s26_hostile_user_names_are_refused_like_any_other);
    tcase_add_test(t, the_longest_user_name_is_refused_and_a_nul_is_no_end);
    suite_add_tcase(s, t);

    tcase_add_checked_fixture(u, setup_only_users, teardown);
    tcase_add_test(u, username_anonymity_is_announced_when_all_users_are_listed);
    tcase_add_test(u, a_nonce_is_accepted_by_another_worker_and_after_a_reload);
    suite_add_tcase(s, u);
    return suite_run(s);
}
