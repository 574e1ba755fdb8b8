#include <check.h>
#include <stdlib.h>

#include "conf/suggest.h"
#include "tests/support/suite.h"

static const char *near(const char *word)
{
    static const char *const words[] = {"listen", "realm", "relay-address", "max-allocations",
                                        "max-allocations-per-user"};

    return suggest(word, words, sizeof(words) / sizeof(words[0]));
}

START_TEST(slips_of_the_finger_are_recognised)
{
    ck_assert_str_eq(near("lisen"), "listen");
    ck_assert_str_eq(near("lisstem"), "listen");
    ck_assert_str_eq(near("relam"), "realm");
    ck_assert_str_eq(near("max-alocations"), "max-allocations");
    ck_assert_str_eq(near("max-allocation-per-user"), "max-allocations-per-user");
}
END_TEST

START_TEST(case_and_underscores_cost_nothing)
{
    ck_assert_str_eq(near("RELAY_ADDRESS"), "relay-address");
}
END_TEST

START_TEST(swapped_neighbours_are_one_slip)
{
    static const char *const words[] = {"abc"};

    ck_assert_ptr_nonnull(suggest("acb", words, 1));
    ck_assert_ptr_null(suggest("cab", words, 1));
}
END_TEST

START_TEST(the_nearest_wins)
{
    static const char *const words[] = {"deny-all", "deny-al"};

    ck_assert_str_eq(suggest("deny-a", words, 2), "deny-al");
}
END_TEST

START_TEST(words_far_from_all_get_no_suggestion)
{
    ck_assert_ptr_null(near("certificate"));
    ck_assert_ptr_null(near("x"));
    ck_assert_ptr_null(near(""));
    ck_assert_ptr_null(near("listenlistenlistenlistenlistenlistenlistenlistenlisten"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/suggest");
    TCase *tc = tcase_create("suggest");

    tcase_add_test(tc, slips_of_the_finger_are_recognised);
    tcase_add_test(tc, case_and_underscores_cost_nothing);
    tcase_add_test(tc, swapped_neighbours_are_one_slip);
    tcase_add_test(tc, the_nearest_wins);
    tcase_add_test(tc, words_far_from_all_get_no_suggestion);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
