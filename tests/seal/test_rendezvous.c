#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/rendezvous.h"
#include "tests/support/suite.h"

static char base[64], folder[PATH_MAX], name[PATH_MAX];

static void setup(void)
{
    strcpy(base, "/tmp/callveil-rendezvous-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    snprintf(folder, sizeof(folder), "%s/callveil", base);
    snprintf(name, sizeof(name), "%s/callveil/local.sock", base);
    setenv("XDG_RUNTIME_DIR", base, 1);
}

static void teardown(void)
{
    unlink(name);
    (void)(rmdir(folder) < 0 && unlink(folder) < 0);
    ck_assert_int_eq(rmdir(base), 0);
}

START_TEST(a_run_finds_the_one_that_listens)
{
    int there = rendezvous_listen(), here, met;
    struct stat st;

    ck_assert_int_ge(there, 0);
    ck_assert_int_eq(stat(folder, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0700);
    here = rendezvous_connect();
    ck_assert_int_ge(here, 0);
    met = accept(there, NULL, NULL);
    ck_assert_int_ge(met, 0);
    ck_assert(rendezvous_is_ours(met));
    close(met);
    close(here);
    close(there);
}
END_TEST

START_TEST(nobody_there_is_told_from_trouble)
{
    int there;

    ck_assert_int_eq(rendezvous_connect(), -ENOENT);
    there = rendezvous_listen();
    ck_assert_int_ge(there, 0);
    close(there);
    ck_assert_int_eq(rendezvous_connect(), -ECONNREFUSED);
}
END_TEST

START_TEST(what_a_killed_one_left_is_replaced)
{
    int there = rendezvous_listen();

    close(there);
    there = rendezvous_listen();
    ck_assert_int_ge(there, 0);
    close(there);
    rendezvous_unlink();
    ck_assert_int_eq(access(name, F_OK), -1);
}
END_TEST

START_TEST(there_is_one_at_a_time)
{
    int there = rendezvous_listen(), here;

    ck_assert_int_eq(rendezvous_listen(), -EADDRINUSE);
    here = rendezvous_connect();
    ck_assert_int_ge(here, 0);
    close(here);
    close(there);
}
END_TEST

START_TEST(a_folder_that_others_may_enter_is_refused)
{
    static const mode_t modes[] = {0755, 0710, 0701, 0777, 01777};

    ck_assert_int_eq(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        ck_assert_int_eq(chmod(folder, modes[i]), 0);
        ck_assert_int_eq(rendezvous_listen(), -EPERM);
        ck_assert_int_eq(rendezvous_connect(), -EPERM);
    }
    ck_assert_int_eq(chmod(folder, 0700), 0);
    ck_assert_int_eq(rendezvous_connect(), -ENOENT);
}
END_TEST

/* What /tmp may hold under that name, of somebody else's making. */
START_TEST(what_is_no_folder_is_refused)
{
    FILE *f;

    ck_assert_int_eq(symlink("/tmp", folder), 0);
    ck_assert_int_eq(rendezvous_listen(), -EPERM);
    ck_assert_int_eq(rendezvous_connect(), -EPERM);
    ck_assert_int_eq(unlink(folder), 0);
    f = fopen(folder, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    ck_assert_int_eq(rendezvous_listen(), -EPERM);
    ck_assert_int_eq(rendezvous_connect(), -EPERM);
}
END_TEST

/* Only root can make such a folder, for the test. */
START_TEST(a_folder_of_another_user_is_refused)
{
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(chown(folder, 4711, 4711), 0);
    ck_assert_int_eq(rendezvous_listen(), -EPERM);
    ck_assert_int_eq(rendezvous_connect(), -EPERM);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("seal/rendezvous");
    TCase *t = tcase_create("rendezvous");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_run_finds_the_one_that_listens);
    tcase_add_test(t, nobody_there_is_told_from_trouble);
    tcase_add_test(t, what_a_killed_one_left_is_replaced);
    tcase_add_test(t, there_is_one_at_a_time);
    tcase_add_test(t, a_folder_that_others_may_enter_is_refused);
    tcase_add_test(t, what_is_no_folder_is_refused);
    if (geteuid() == 0)
        tcase_add_test(t, a_folder_of_another_user_is_refused);
    suite_add_tcase(s, t);
    return suite_run(s);
}
