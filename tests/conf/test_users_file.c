/*
 * A relay's second file, which holds users only.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "tests/conf/capture.h"
#include "tests/support/suite.h"

static struct capture err;
static char folder[64], path[96], text[512], expected[1024];

static void setup(void)
{
    strcpy(folder, "/tmp/callveil-users-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/users.conf", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

static void write_users(const char *content)
{
    FILE *out = fopen(path, "we");

    ck_assert_ptr_nonnull(out);
    ck_assert_int_ge(fputs(content, out), 0);
    ck_assert_int_eq(fclose(out), 0);
}

/* `rest` stands behind the users-file line, the second of the main file. */
static struct conf *load(const char *rest)
{
    struct conf *conf;

    snprintf(text, sizeof(text), "[relay]\nusers-file = %s\n%s", path, rest);
    capture_begin(&err, stderr);
    conf = conf_load_text(text, "f", "relay");
    capture_end(&err);
    return conf;
}

static void refuse(const char *rest, const char *messages)
{
    ck_assert_ptr_null(load(rest));
    ck_assert_str_eq(err.text, messages);
}

START_TEST(its_users_come_behind_those_of_the_main_file)
{
    struct conf *c;

    write_users("# invited\n[users]\nbob = b\nalice2 = c\n");
    c = load("[users]\nalice = a\n");
    ck_assert_str_eq(err.text, "");
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->users_file, path);
    ck_assert_uint_eq(c->n_user, 3);
    ck_assert_str_eq(c->user[0].name, "alice");
    ck_assert_str_eq(c->user[1].name, "bob");
    ck_assert_str_eq(c->user[1].password, "b");
    ck_assert_str_eq(c->user[2].name, "alice2");
    conf_free(c);
}
END_TEST

/* Nobody has been invited yet. */
START_TEST(it_may_be_missing_or_empty)
{
    struct conf *c = load("");

    ck_assert_str_eq(err.text, "");
    ck_assert_ptr_nonnull(c);
    ck_assert_uint_eq(c->n_user, 0);
    conf_free(c);
    write_users("");
    c = load("");
    ck_assert_str_eq(err.text, "");
    ck_assert_ptr_nonnull(c);
    conf_free(c);
}
END_TEST

START_TEST(a_name_in_both_files_is_reported_with_both_lines)
{
    write_users("[users]\nbob = b\nalice = c\n");
    snprintf(expected, sizeof(expected), "%s:3: user \"alice\": already on line 4 of f\n", path);
    refuse("[users]\nalice = a\n", expected);
}
END_TEST

START_TEST(a_name_twice_in_it_is_reported_with_its_lines)
{
    write_users("[users]\nbob = b\n\nbob = c\n");
    snprintf(expected, sizeof(expected), "%s:4: user \"bob\": already on line 2\n", path);
    refuse("", expected);
}
END_TEST

START_TEST(it_holds_no_other_section)
{
    write_users("[relay]\nsecret = x\n[users]\nbob = b\n");
    snprintf(expected, sizeof(expected), "%s:1: section [relay] does not belong in a users file\n",
             path);
    refuse("", expected);
    write_users("[user]\nbob = b\n");
    snprintf(expected, sizeof(expected), "%s:1: unknown section \"user\" (did you mean [users]?)\n",
             path);
    refuse("", expected);
}
END_TEST

START_TEST(its_mistakes_carry_its_name_and_lines)
{
    write_users("bob = b\n[users]\ncarol: c\n= d\nerin = key:0x1\n");
    snprintf(expected, sizeof(expected),
             "f:3: unknown option \"nothing\" in [relay]\n"
             "%s:1: \"bob\" stands before the first [section]\n"
             "%s:3: a user name cannot contain ':', and '=' stands between it and the password\n"
             "%s:4: user \"\": a bad user name: it is empty\n"
             "%s:5: user \"erin\": a key has 32 hex digits (MD5) or 64 (SHA-256), this one has 1\n"
             "f:4: certificate: private-key must be set too\n",
             path, path, path, path);
    refuse("nothing = x\ncertificate = c\n", expected);
}
END_TEST

START_TEST(one_that_cannot_be_read_is_an_error)
{
    rmdir(folder);
    strcpy(path, "/tmp");
    refuse("", "/tmp: cannot be read: Is a directory\n");
    strcpy(path, "/dev/null/users");
    refuse("", "/dev/null/users: cannot be opened: Not a directory\n");
}
END_TEST

START_TEST(a_list_left_open_does_not_go_on_in_it)
{
    write_users("[users]\nbob = b\n");
    refuse("ports = 49152-65535\nlisten = udp://0.0.0.0:3478,\n",
           "f:4: listen: the list ends in a comma (further lines of it must be indented)\n");
    write_users("   10.0.0.0/8\n[users]\nbob = b\n");
    snprintf(expected, sizeof(expected),
             "f:4: allow: the list ends in a comma (further lines of it must be indented)\n"
             "%s:1: not a line like: name = value\n",
             path);
    refuse("[peers]\nallow = 10.0.0.0/8,", expected);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/users_file");
    TCase *tc = tcase_create("users_file");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, its_users_come_behind_those_of_the_main_file);
    tcase_add_test(tc, it_may_be_missing_or_empty);
    tcase_add_test(tc, a_name_in_both_files_is_reported_with_both_lines);
    tcase_add_test(tc, a_name_twice_in_it_is_reported_with_its_lines);
    tcase_add_test(tc, it_holds_no_other_section);
    tcase_add_test(tc, its_mistakes_carry_its_name_and_lines);
    tcase_add_test(tc, one_that_cannot_be_read_is_an_error);
    tcase_add_test(tc, a_list_left_open_does_not_go_on_in_it);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
