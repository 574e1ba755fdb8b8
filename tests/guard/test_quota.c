#include <check.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/guard/quota.h"
#include "tests/support/suite.h"

static struct quota *quota;

static void setup(void)
{
    quota = quota_new();
    ck_assert_ptr_nonnull(quota);
}

static void teardown(void)
{
    quota_free(quota);
}

static int take(const char *user, unsigned int max_per_user, unsigned int max_total,
                struct quota_charge *charge)
{
    return quota_take(quota, user, strlen(user), max_per_user, max_total, charge);
}

static void count_user(void *arg, const char *user, size_t user_len, unsigned int n)
{
    unsigned int *sum = arg;

    sum[0]++;
    sum[1] += n;
}

static void expect_held(unsigned int n_users, unsigned int n_charges)
{
    unsigned int sum[2] = {0, 0};

    quota_each(quota, count_user, sum);
    ck_assert_uint_eq(sum[0], n_users);
    ck_assert_uint_eq(sum[1], n_charges);
    ck_assert_uint_eq(quota_total(quota), n_charges);
}

START_TEST(a_user_gets_no_more_than_the_limit)
{
    struct quota_charge a = {0}, b = {0}, c = {0};

    ck_assert_int_eq(take("alice", 2, 100, &a), 0);
    ck_assert_int_eq(take("alice", 2, 100, &b), 0);
    ck_assert_int_eq(take("alice", 2, 100, &c), QUOTA_E_USER);
    ck_assert_ptr_null(c.user);
    expect_held(1, 2);
    quota_give(&a);
    ck_assert_int_eq(take("alice", 2, 100, &c), 0);
    expect_held(1, 2);
    quota_give(&b);
    quota_give(&c);
    expect_held(0, 0);
}
END_TEST

START_TEST(two_users_have_a_quota_each)
{
    struct quota_charge alice = {0}, bob = {0}, more = {0};

    ck_assert_int_eq(take("alice", 1, 100, &alice), 0);
    ck_assert_int_eq(take("bob", 1, 100, &bob), 0);
    ck_assert_int_eq(take("alice", 1, 100, &more), QUOTA_E_USER);
    ck_assert_int_eq(take("bob", 1, 100, &more), QUOTA_E_USER);
    quota_give(&alice);
    ck_assert_int_eq(take("bob", 1, 100, &more), QUOTA_E_USER);
    ck_assert_int_eq(take("alice", 1, 100, &alice), 0);
    quota_give(&alice);
    quota_give(&bob);
    expect_held(0, 0);
}
END_TEST

START_TEST(the_relay_gives_no_more_than_its_total)
{
    struct quota_charge a = {0}, b = {0}, c = {0};

    ck_assert_int_eq(take("alice", 9, 2, &a), 0);
    ck_assert_int_eq(take("bob", 9, 2, &b), 0);
    ck_assert_int_eq(take("carol", 9, 2, &c), QUOTA_E_TOTAL);
    expect_held(2, 2); /* carol left nothing behind */
    quota_give(&a);
    ck_assert_int_eq(take("carol", 9, 2, &c), 0);
    quota_give(&b);
    quota_give(&c);
}
END_TEST

START_TEST(at_both_limits_a_user_hears_of_its_own)
{
    struct quota_charge a = {0}, b = {0};

    ck_assert_int_eq(take("alice", 1, 1, &a), 0);
    ck_assert_int_eq(take("alice", 1, 1, &b), QUOTA_E_USER);
    quota_give(&a);
}
END_TEST

START_TEST(giving_twice_or_giving_nothing_changes_nothing)
{
    struct quota_charge a = {0}, b = {0}, empty = {0};

    ck_assert_int_eq(take("alice", 9, 9, &a), 0);
    ck_assert_int_eq(take("alice", 9, 9, &b), 0);
    quota_give(&empty);
    quota_give(&a);
    quota_give(&a);
    expect_held(1, 1);
    quota_give(&b);
    quota_give(&b);
    expect_held(0, 0);
}
END_TEST

START_TEST(a_lowered_limit_applies_at_once_and_takes_nothing_back)
{
    struct quota_charge a = {0}, b = {0}, c = {0};

    ck_assert_int_eq(take("alice", 5, 5, &a), 0);
    ck_assert_int_eq(take("alice", 5, 5, &b), 0);
    ck_assert_int_eq(take("alice", 1, 5, &c), QUOTA_E_USER);
    quota_give(&a);
    ck_assert_int_eq(take("alice", 1, 5, &c), QUOTA_E_USER);
    quota_give(&b);
    ck_assert_int_eq(take("alice", 1, 5, &c), 0);
    quota_give(&c);
}
END_TEST

START_TEST(limits_of_zero_and_of_everything_work)
{
    struct quota_charge a = {0};

    ck_assert_int_eq(take("alice", 0, 5, &a), QUOTA_E_USER);
    ck_assert_int_eq(take("alice", 5, 0, &a), QUOTA_E_TOTAL);
    ck_assert_int_eq(take("alice", UINT_MAX, UINT_MAX, &a), 0);
    quota_give(&a);
    expect_held(0, 0);
}
END_TEST

START_TEST(names_are_bytes_compared_in_full)
{
    char longest[512], other[512];
    struct quota_charge c[5] = {{0}};

    memset(longest, 'a', sizeof(longest));
    memset(other, 'a', sizeof(other));
    other[511] = 'b';
    ck_assert_int_eq(quota_take(quota, "a\0b", 3, 1, 9, &c[0]), 0);
    ck_assert_int_eq(quota_take(quota, "a\0c", 3, 1, 9, &c[1]), 0);
    ck_assert_int_eq(quota_take(quota, "", 0, 1, 9, &c[2]), 0);
    ck_assert_int_eq(quota_take(quota, longest, 512, 1, 9, &c[3]), 0);
    ck_assert_int_eq(quota_take(quota, other, 512, 1, 9, &c[4]), 0);
    ck_assert_int_eq(quota_take(quota, longest, 512, 1, 9, &(struct quota_charge){0}),
                     QUOTA_E_USER);
    expect_held(5, 5);
    for (int i = 0; i < 5; i++)
        quota_give(&c[i]);
    expect_held(0, 0);
}
END_TEST

START_TEST(a_name_over_the_limit_is_refused_not_cut)
{
    char name[513];
    struct quota_charge c = {0};

    memset(name, 'a', sizeof(name));
    ck_assert_int_eq(quota_take(quota, name, sizeof(name), 9, 9, &c), QUOTA_E_USER);
    expect_held(0, 0);
}
END_TEST

#define N_MANY 5000

START_TEST(many_names_come_and_leave_nothing_behind)
{
    static struct quota_charge c[N_MANY];
    char name[32];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N_MANY; i++) {
            snprintf(name, sizeof(name), "user-%d-%d", round, i);
            ck_assert_int_eq(take(name, 1, N_MANY, &c[i]), 0);
        }
        expect_held(N_MANY, N_MANY);
        ck_assert_int_eq(take("one more", 1, N_MANY, &(struct quota_charge){0}), QUOTA_E_TOTAL);
        for (int i = 0; i < N_MANY; i++)
            quota_give(&c[i]);
        expect_held(0, 0);
    }
}
END_TEST

static struct quota *given;

static void *give_and_take(void *arg)
{
    const char *user = arg;
    struct quota_charge held[4] = {{0}};
    unsigned int n_over = 0;

    for (unsigned int i = 0; i < 20000; i++) {
        struct quota_charge *charge = &held[i % 4];

        quota_give(charge);
        if (quota_take(given, user, strlen(user), 6, 9, charge) == 0 && quota_total(given) > 9)
            n_over++;
    }
    for (int i = 0; i < 4; i++)
        quota_give(&held[i]);
    return n_over == 0 ? NULL : arg;
}

START_TEST(workers_share_the_limits_and_leak_no_charge)
{
    static char *const users[] = {(char *)"alice", (char *)"alice", (char *)"bob", (char *)"carol"};
    pthread_t threads[4];
    void *failed;

    given = quota;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, give_and_take, users[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    expect_held(0, 0);
}
END_TEST

START_TEST(freeing_with_charges_outstanding_leaks_nothing)
{
    struct quota_charge a = {0};

    ck_assert_int_eq(take("alice", 1, 1, &a), 0);
    /* teardown frees the table; LeakSanitizer has the last word */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("guard/quota");
    TCase *tc = tcase_create("quota");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_user_gets_no_more_than_the_limit);
    tcase_add_test(tc, two_users_have_a_quota_each);
    tcase_add_test(tc, the_relay_gives_no_more_than_its_total);
    tcase_add_test(tc, at_both_limits_a_user_hears_of_its_own);
    tcase_add_test(tc, giving_twice_or_giving_nothing_changes_nothing);
    tcase_add_test(tc, a_lowered_limit_applies_at_once_and_takes_nothing_back);
    tcase_add_test(tc, limits_of_zero_and_of_everything_work);
    tcase_add_test(tc, names_are_bytes_compared_in_full);
    tcase_add_test(tc, a_name_over_the_limit_is_refused_not_cut);
    tcase_add_test(tc, many_names_come_and_leave_nothing_behind);
    tcase_add_test(tc, workers_share_the_limits_and_leak_no_charge);
    tcase_add_test(tc, freeing_with_charges_outstanding_leaks_nothing);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
