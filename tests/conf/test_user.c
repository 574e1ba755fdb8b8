#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conf/user.h"
#include "conf/value.h"
#include "tests/support/suite.h"

static char why[VALUE_WHY_LEN];

START_TEST(users_come_with_password_or_keys)
{
    struct conf_user u;

    ck_assert_int_eq(user_parse("alice", "p:a=s#s;", false, &u, why), 0);
    ck_assert_str_eq(u.name, "alice");
    ck_assert_str_eq(u.password, "p:a=s#s;");
    ck_assert(!u.has_md5 && !u.has_sha256);
    user_deinit(&u);

    ck_assert_int_eq(user_parse("al ice", "key:0x000102030405060708090a0B0C0D0E0F", false, &u, why),
                     0);
    ck_assert_ptr_null(u.password);
    ck_assert(u.has_md5 && !u.has_sha256);
    ck_assert_uint_eq(u.key_md5[1], 1);
    ck_assert_uint_eq(u.key_md5[15], 15);
    user_deinit(&u);

    ck_assert_int_eq(user_parse("al",
                                "key:0x00112233445566778899aabbccddeeff, "
                                "0x0011223344556677889900112233445566778899001122334455667788"
                                "99aabb",
                                false, &u, why),
                     0);
    ck_assert(u.has_md5 && u.has_sha256);
    ck_assert_uint_eq(u.key_sha256[31], 0xbb);
    user_deinit(&u);

    ck_assert_int_eq(user_parse("al", "key:0x12", true, &u, why), 0);
    ck_assert_str_eq(u.password, "key:0x12");
    user_deinit(&u);
}
END_TEST

START_TEST(bad_users_are_refused)
{
    static const char *const values[] = {
        "",
        "key:0x",
        "key:0x00112233445566778899aabbccddeefg",
        "key:0x00112233445566778899aabbccddee",
        "key:0x00112233445566778899aabbccddeeff,",
        "key:0x00112233445566778899aabbccddeeff,0x00112233445566778899aabbccddeeff",
        "a\x01"};
    struct conf_user u;
    char name[USER_NAME_MAX + 2] = "";

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        ck_assert_int_eq(user_parse("alice", values[i], false, &u, why), VALUE_E_BAD);
    ck_assert_int_eq(user_parse("", "x", false, &u, why), VALUE_E_BAD);
    ck_assert_int_eq(user_parse("a:b", "x", false, &u, why), VALUE_E_BAD);
    ck_assert_int_eq(user_parse("\"a\"", "x", false, &u, why), VALUE_E_BAD);
    memset(name, 'a', USER_NAME_MAX + 1);
    ck_assert_int_eq(user_parse(name, "x", false, &u, why), VALUE_E_BAD);
    name[USER_NAME_MAX] = '\0';
    ck_assert_int_eq(user_parse(name, "x", false, &u, why), 0);
    user_deinit(&u);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/user");
    TCase *tc = tcase_create("user");

    tcase_add_test(tc, users_come_with_password_or_keys);
    tcase_add_test(tc, bad_users_are_refused);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
