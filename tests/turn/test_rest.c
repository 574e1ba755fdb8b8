#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "relay/turn/rest.h"
#include "tests/support/suite.h"

static bool parse(const char *user, struct rest_name *ret)
{
    return rest_parse(user, strlen(user), ret);
}

/* printf %s 1700000000:alice | openssl dgst -sha1 -hmac north -binary | openssl base64 */
START_TEST(password_is_what_the_openssl_command_computes)
{
    static const struct {
        const char *secret, *user, *password;
    } vectors[] = {
        {"north", "1700000000:alice", "Cd/49soE35ICqcJF/bCTn8Z4OyE="},
        {"north", "1700000000", "CWyHi3zCeWqXBir9thl4m+iZPRY="},
        {"k\xc3\xa9y with spaces", "1700000000:@alice:example.org", "9LP3HhxfuOMJhN7yjUYgfuE4wOI="},
    };

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        char password[REST_PASSWORD_LEN + 1];

        ck_assert_int_eq(
            rest_password(vectors[i].secret, vectors[i].user, strlen(vectors[i].user), password),
            0);
        ck_assert_str_eq(password, vectors[i].password);
        ck_assert_uint_eq(strlen(password), REST_PASSWORD_LEN);
    }
}
END_TEST

START_TEST(password_covers_the_given_length_only)
{
    char whole[REST_PASSWORD_LEN + 1], part[REST_PASSWORD_LEN + 1];

    rest_password("s", "1700000000:alice", 10, part);
    rest_password("s", "1700000000", 10, whole);
    ck_assert_str_eq(part, whole);
    rest_password("s", "1700000000:alice", 16, whole);
    ck_assert_str_ne(part, whole);
}
END_TEST

START_TEST(expiry_and_id_are_told_apart)
{
    struct rest_name name;

    ck_assert(parse("1700000000:alice", &name));
    ck_assert_uint_eq(name.expiry_s, 1700000000);
    ck_assert_uint_eq(name.id_len, 5);
    ck_assert(memcmp(name.id, "alice", 5) == 0);
}
END_TEST

START_TEST(id_may_hold_colons)
{
    struct rest_name name;

    ck_assert(parse("1700000000:@alice:example.org:8448", &name));
    ck_assert_uint_eq(name.id_len, strlen("@alice:example.org:8448"));
    ck_assert(memcmp(name.id, "@alice:example.org:8448", name.id_len) == 0);
}
END_TEST

START_TEST(name_without_an_id_has_an_empty_one)
{
    struct rest_name name = {.id_len = 99};

    ck_assert(parse("1700000000", &name));
    ck_assert_uint_eq(name.expiry_s, 1700000000);
    ck_assert_uint_eq(name.id_len, 0);
    name.id_len = 99;
    ck_assert(parse("1700000000:", &name));
    ck_assert_uint_eq(name.id_len, 0);
}
END_TEST

START_TEST(garbage_is_not_an_ephemeral_name)
{
    static const char *const bad[] = {
        "",           ":",           ":alice",       "alice",     "alice:1700000000",
        " 170000000", "170000000 ",  "-1:alice",     "+1:alice",  "1.5:alice",
        "0x10:alice", "17e8:alice",  "1700000000;a", "17000a:b",  "\xd9\xa1:alice",
        "17\n:alice", "1700000000/", "/1700000000",  "1;700:eve",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rest_name name;

        ck_assert_msg(!parse(bad[i], &name), "\"%s\" was taken", bad[i]);
    }
}
END_TEST

START_TEST(number_that_is_too_long_is_refused_and_never_wraps)
{
    struct rest_name name = {.expiry_s = 7};

    ck_assert(parse("999999999999:a", &name));
    ck_assert_uint_eq(name.expiry_s, 999999999999);
    name.expiry_s = 7;
    ck_assert(!parse("1000000000000:a", &name));
    ck_assert(!parse("18446744073709551617:a", &name)); /* 2^64 + 1 */
    ck_assert(!parse("0000000000001:a", &name));
    ck_assert_uint_eq(name.expiry_s, 7);
}
END_TEST

START_TEST(nothing_beyond_the_length_is_read)
{
    /* Exact-size heap copies: AddressSanitizer sees a byte too many. */
    static const char text[] = "1700000000:alice";
    struct rest_name name;

    for (size_t len = 0; len < sizeof(text); len++) {
        char *copy = malloc(len > 0 ? len : 1);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text, len);
        ck_assert(rest_parse(copy, len, &name) == (len > 0));
        free(copy);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rest");
    TCase *tc = tcase_create("rest");

    tcase_add_test(tc, password_is_what_the_openssl_command_computes);
    tcase_add_test(tc, password_covers_the_given_length_only);
    tcase_add_test(tc, expiry_and_id_are_told_apart);
    tcase_add_test(tc, id_may_hold_colons);
    tcase_add_test(tc, name_without_an_id_has_an_empty_one);
    tcase_add_test(tc, garbage_is_not_an_ephemeral_name);
    tcase_add_test(tc, number_that_is_too_long_is_refused_and_never_wraps);
    tcase_add_test(tc, nothing_beyond_the_length_is_read);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
