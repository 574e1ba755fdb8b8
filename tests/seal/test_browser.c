#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/seal/browser.h"
#include "tests/support/suite.h"

static char folder[] = "/tmp/callveil-browser-XXXXXX";
static char why[SEAL_WHY_LEN];
static struct browser browser;

static void setup(void)
{
    strcpy(folder, "/tmp/callveil-browser-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    setenv("TMPDIR", folder, 1);
    why[0] = '\0';
}

static void teardown(void)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, i == 0 ? "SingletonLock" : "lock");
        unlink(path);
    }
    ck_assert_int_eq(rmdir(folder), 0);
}

/* Good until the next but one. */
static char **command(const char *text)
{
    static char buffers[2][256], *words[2][8];
    static unsigned int turn;
    unsigned int i = turn++ % 2, n = 0;

    snprintf(buffers[i], sizeof(buffers[i]), "%s", text);
    for (char *word = strtok(buffers[i], " "); word; word = strtok(NULL, " "))
        words[i][n++] = word;
    words[i][n] = NULL;
    return words[i];
}

static void lock(const char *name, long pid, const char *format)
{
    char path[PATH_MAX], target[64];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    snprintf(target, sizeof(target), format, pid);
    ck_assert_int_eq(symlink(target, path), 0);
}

START_TEST(a_chromium_gets_a_folder_that_is_removed)
{
    char **argv = command("/usr/bin/chromium --incognito page"), made[PATH_MAX];
    struct stat st;

    ck_assert_int_eq(browser_prepare(argv, NULL, &browser, why), 0);
    ck_assert_str_eq(browser.argv[0], argv[0]);
    ck_assert_int_eq(strncmp(browser.argv[1], "--user-data-dir=", 16), 0);
    ck_assert_str_eq(browser.argv[2], "--incognito");
    ck_assert_str_eq(browser.argv[3], "page");
    ck_assert_ptr_null(browser.argv[4]);
    snprintf(made, sizeof(made), "%s", browser.argv[1] + 16);
    ck_assert_int_eq(stat(made, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0700);
    browser_free(&browser, argv);
    ck_assert_int_ne(stat(made, &st), 0);
}
END_TEST

START_TEST(a_firefox_is_a_new_instance_with_a_folder)
{
    char **argv = command("firefox-esr");

    ck_assert_int_eq(browser_prepare(argv, NULL, &browser, why), 0);
    ck_assert_str_eq(browser.argv[1], "--new-instance");
    ck_assert_str_eq(browser.argv[2], "--profile");
    ck_assert_str_eq(browser.argv[3], browser.made);
    ck_assert_ptr_null(browser.argv[4]);
    browser_free(&browser, argv);
}
END_TEST

START_TEST(a_chosen_folder_stays)
{
    char **argv = command("google-chrome-stable"), path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%s/mine", folder);
    ck_assert_int_eq(browser_prepare(argv, path, &browser, why), 0);
    ck_assert_ptr_null(browser.made);
    ck_assert_str_eq(browser.argv[1] + 16, path);
    browser_free(&browser, argv);
    ck_assert_int_eq(stat(path, &st), 0);
    rmdir(path);
}
END_TEST

START_TEST(other_programs_are_left_alone)
{
    char **argv = command("/opt/chromium/curl chromium");

    ck_assert_int_eq(browser_prepare(argv, NULL, &browser, why), 0);
    ck_assert_ptr_eq(browser.argv, argv);
    browser_free(&browser, argv);
    ck_assert_int_eq(browser_prepare(argv, folder, &browser, why), -1);
    ck_assert_ptr_nonnull(strstr(why, "no browser"));
    browser_free(&browser, argv);
}
END_TEST

START_TEST(a_command_that_chooses_its_profile_is_left_alone)
{
    static const char *const chosen[] = {
        "chromium --user-data-dir=/nowhere", "firefox -P name",   "firefox --profile /nowhere",
        "firefox -profile /nowhere",         "firefox --profile",
    };

    for (size_t i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++) {
        char **argv = command(chosen[i]);

        ck_assert_int_eq(browser_prepare(argv, NULL, &browser, why), 0);
        ck_assert_ptr_eq(browser.argv, argv);
        browser_free(&browser, argv);
        ck_assert_int_eq(browser_prepare(argv, folder, &browser, why), -1);
        browser_free(&browser, argv);
    }
}
END_TEST

START_TEST(a_profile_in_use_is_refused)
{
    char **firefox = command("firefox"), **chromium, text[128];

    snprintf(text, sizeof(text), "chromium --user-data-dir %s", folder);
    chromium = command(text);
    lock("SingletonLock", (long)getpid(), "some-host-%ld");
    ck_assert_int_eq(browser_prepare(chromium, NULL, &browser, why), -1);
    ck_assert_ptr_nonnull(strstr(why, "in use"));
    browser_free(&browser, chromium);
    ck_assert_int_eq(browser_prepare(firefox, folder, &browser, why), 0);
    browser_free(&browser, firefox);
    lock("lock", (long)getpid(), "127.0.1.1:+%ld");
    ck_assert_int_eq(browser_prepare(firefox, folder, &browser, why), -1);
    browser_free(&browser, firefox);
}
END_TEST

/* No process has such a number (its limit is 2^22). */
START_TEST(a_lock_left_over_is_no_use)
{
    char **chromium = command("chromium");

    lock("SingletonLock", 1L << 23, "some-host-%ld");
    ck_assert_int_eq(browser_prepare(chromium, folder, &browser, why), 0);
    browser_free(&browser, chromium);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("seal/browser");
    TCase *t = tcase_create("profiles");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_chromium_gets_a_folder_that_is_removed);
    tcase_add_test(t, a_firefox_is_a_new_instance_with_a_folder);
    tcase_add_test(t, a_chosen_folder_stays);
    tcase_add_test(t, other_programs_are_left_alone);
    tcase_add_test(t, a_command_that_chooses_its_profile_is_left_alone);
    tcase_add_test(t, a_profile_in_use_is_refused);
    tcase_add_test(t, a_lock_left_over_is_no_use);
    suite_add_tcase(s, t);
    return suite_run(s);
}
