#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/seal/names.h"
#include "tests/support/suite.h"

static const char ours[] = "hosts: files myhostname dns\n";

static void assert_rewritten(const char *text, const char *others)
{
    char *got = names_rewrite(text), expected[512];

    snprintf(expected, sizeof(expected), "%s%s", others, ours);
    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got, expected);
    free(got);
}

START_TEST(only_the_hosts_line_is_another_one)
{
    assert_rewritten("passwd: files systemd\n"
                     "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n"
                     "networks: files\n",
                     "passwd: files systemd\nnetworks: files\n");
}
END_TEST

START_TEST(it_is_found_however_it_is_written)
{
    assert_rewritten("hosts:resolve\n", "");
    assert_rewritten(" \thosts : resolve dns\n", "");
    assert_rewritten("HOSTS: mdns4_minimal\n", "");
    assert_rewritten("a: b\nhosts: resolve", "a: b\n");
    assert_rewritten("hosts: resolve\nhosts: mdns\n", "");
}
END_TEST

START_TEST(what_only_looks_like_it_stays)
{
    assert_rewritten("#hosts: resolve\n", "#hosts: resolve\n");
    assert_rewritten("hostsx: a\nmyhosts: b\n", "hostsx: a\nmyhosts: b\n");
}
END_TEST

START_TEST(a_file_without_one_gets_one)
{
    assert_rewritten("", "");
    assert_rewritten("passwd: files", "passwd: files\n");
    assert_rewritten("passwd: files\n\n", "passwd: files\n\n");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("seal/names");
    TCase *t = tcase_create("nsswitch.conf");

    tcase_add_test(t, only_the_hosts_line_is_another_one);
    tcase_add_test(t, it_is_found_however_it_is_written);
    tcase_add_test(t, what_only_looks_like_it_stays);
    tcase_add_test(t, a_file_without_one_gets_one);
    suite_add_tcase(s, t);
    return suite_run(s);
}
