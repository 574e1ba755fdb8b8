/*
 * Ephemeral credentials (draft-uberti-behave-turn-rest) as the server sees them;
 * test_rest.c tests how they are made.
 */
#include <stdio.h>
#include <string.h>

#include "relay/turn/rest.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc;

static void setup(void)
{
    w = world_new();
    fc = world_client(w, TRANSPORT_UDP, CLIENT);
}

static void teardown(void)
{
    world_free(w);
}

static char rest_user[128], rest_pass[REST_PASSWORD_LEN + 1];

static struct login login_rest(struct fake_client *client, const char *secret, int64_t ttl_s,
                               const char *tail)
{
    snprintf(rest_user, sizeof(rest_user), "%llu%s",
             (unsigned long long)((int64_t)fake_real_s + ttl_s), tail);
    ck_assert_int_eq(rest_password(secret, rest_user, strlen(rest_user), rest_pass), 0);
    return login_old(client, rest_user, rest_pass);
}

START_TEST(ephemeral_credentials_of_either_secret_are_let_in)
{
    struct fake_client *other = world_client(w, TRANSPORT_UDP, CLIENT2);
    struct login login = login_rest(fc, "north", 60, ":carol");

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    login = login_rest(other, "south", 60, ":carol");
    ck_assert_uint_eq(ask_allocate(other, &login, NULL), 0);
}
END_TEST

START_TEST(ephemeral_credentials_of_another_secret_get_401)
{
    struct login login = login_rest(fc, "east", 60, ":carol");

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);
}
END_TEST

START_TEST(ephemeral_credentials_work_with_sha256)
{
    struct login login = login_rest(fc, "north", 60, ":carol");

    login = login_new(fc, rest_user, rest_pass);
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(ephemeral_credentials_without_an_id_are_let_in)
{
    struct login login = login_rest(fc, "north", 60, "");

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
}
END_TEST

START_TEST(expired_credentials_are_refused_at_allocate)
{
    struct login login = login_rest(fc, "north", 60, ":carol");

    fake_real_s += 60;
    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 0);
}
END_TEST

START_TEST(a_running_allocation_outlives_its_credentials)
{
    struct login login = login_rest(fc, "north", 60, ":carol");

    ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 0);
    fake_real_s += 3600;
    ck_assert_uint_eq(ask_refresh(fc, &login, 600, NULL), 0);
    ck_assert_uint_eq(ask_permission(fc, &login, PEER), 0);
    ck_assert_uint_eq(ask_channel(fc, &login, 0x4000, PEER), 0);
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
}
END_TEST

START_TEST(a_name_that_only_begins_like_an_expiry_is_no_ephemeral_one)
{
    static const char *const names[] = {"99999999999999999999:x", "12ab:x", ":x", "-1:x", "0x10:x"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct login login;

        ck_assert_int_eq(rest_password("north", names[i], strlen(names[i]), rest_pass), 0);
        login = login_old(fc, names[i], rest_pass);
        ck_assert_uint_eq(ask_allocate(fc, &login, NULL), 401);
    }
}
END_TEST

/* The HMAC covers the whole name, a key derived from a C string only its beginning. */
START_TEST(a_nul_in_an_ephemeral_name_gets_401)
{
    struct login login = login_rest(fc, "north", 60, ":carol");
    size_t len = strlen(rest_user);
    char name[sizeof(rest_user)];
    struct reply reply;
    struct req r;

    memcpy(name, rest_user, len);
    memcpy(name + len, "\0dave", 5);
    ck_assert_int_eq(rest_password("north", name, len + 5, rest_pass), 0);
    login.key_len =
        stun_long_term_key(login.algorithm, rest_user, login.realm, rest_pass, login.key);
    allocate_begin(&r);
    stun_put(&r.b, STUN_USERNAME, name, len + 5);
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
    Suite *s = suite_create("turn/auth_rest");
    TCase *t = tcase_create("auth_rest");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, ephemeral_credentials_of_either_secret_are_let_in);
    tcase_add_test(t, ephemeral_credentials_of_another_secret_get_401);
    tcase_add_test(t, ephemeral_credentials_work_with_sha256);
    tcase_add_test(t, ephemeral_credentials_without_an_id_are_let_in);
    tcase_add_test(t, expired_credentials_are_refused_at_allocate);
    tcase_add_test(t, a_running_allocation_outlives_its_credentials);
    tcase_add_test(t, a_name_that_only_begins_like_an_expiry_is_no_ephemeral_one);
    tcase_add_test(t, a_nul_in_an_ephemeral_name_gets_401);
    suite_add_tcase(s, t);
    return suite_run(s);
}
