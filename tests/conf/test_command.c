#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/option.h"
#include "tests/conf/capture.h"
#include "tests/support/suite.h"

#define ARGS_MAX 8

static struct capture out, err;

/* `words`: what follows "callveil", separated by spaces. */
static int command(const char *words)
{
    char copy[512], *argv[ARGS_MAX + 1] = {0}, *rest = copy;
    int argc = 0, status;

    snprintf(copy, sizeof(copy), "%s", words);
    while (argc < ARGS_MAX && (argv[argc] = strsep(&rest, " ")))
        argc++;
    capture_begin(&out, stdout);
    capture_begin(&err, stderr);
    status = conf_command(argc, argv);
    capture_end(&err);
    capture_end(&out);
    return status;
}

static const char *write_file(const char *text)
{
    static char path[64];
    size_t len = strlen(text);
    int fd;

    strcpy(path, "/tmp/callveil-conf-XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
    return path;
}

static int check_text(const char *text, char *ret_path)
{
    char words[128];
    int status;

    strcpy(ret_path, write_file(text));
    snprintf(words, sizeof(words), "config -c %s --check", ret_path);
    status = command(words);
    unlink(ret_path);
    return status;
}

START_TEST(check_says_ok_and_nothing_else)
{
    char path[64], expected[80];

    ck_assert_int_eq(check_text("[users]\nalice = a\n", path), 0);
    snprintf(expected, sizeof(expected), "%s: ok\n", path);
    ck_assert_str_eq(out.text, expected);
    ck_assert_str_eq(err.text, "");
}
END_TEST

START_TEST(check_reports_every_error_and_ends_with_2)
{
    char path[64], expected[256];

    ck_assert_int_eq(check_text("[relay]\nrealm =\nports = x\n[users]\na = b\n", path), 2);
    snprintf(expected, sizeof(expected),
             "%s:2: realm: the value is missing\n"
             "%s:3: ports: \"x\" is not a range of ports (49152-65535)\n",
             path, path);
    ck_assert_str_eq(err.text, expected);
    ck_assert_str_eq(out.text, "");
}
END_TEST

START_TEST(check_takes_its_options_in_any_order)
{
    ck_assert_int_eq(command("config --check -c /nonexistent"), 2);
    ck_assert_str_eq(err.text, "/nonexistent: cannot be opened: No such file or directory\n");
    ck_assert_int_eq(command("config --check --config=/nonexistent"), 2);
    ck_assert_str_eq(err.text, "/nonexistent: cannot be opened: No such file or directory\n");
}
END_TEST

START_TEST(defaults_load_again_and_are_the_defaults)
{
    struct conf *printed, *built_in;

    ck_assert_int_eq(command("config --defaults"), 0);
    ck_assert_str_eq(err.text, "");
    printed = conf_load_text(out.text, "defaults", "relay");
    built_in = conf_load_text("[relay]\nsecret = x\n", "built-in", "relay");
    ck_assert_ptr_nonnull(printed);
    ck_assert_ptr_nonnull(built_in);
    ck_assert_uint_eq(printed->n_listen, built_in->n_listen);
    ck_assert_str_eq(printed->realm, built_in->realm);
    ck_assert_uint_eq(printed->workers, built_in->workers);
    ck_assert_uint_eq(printed->max_lifetime_s, built_in->max_lifetime_s);
    ck_assert_uint_eq(printed->max_allocations, built_in->max_allocations);
    ck_assert_uint_eq(printed->unauthenticated_rate, built_in->unauthenticated_rate);
    ck_assert(addr_equal(&printed->stats_listen, &built_in->stats_listen));
    ck_assert_uint_eq(printed->n_secret, 1);
    ck_assert_uint_eq(strlen(printed->secret[0]), 64);
    conf_free(printed);
    conf_free(built_in);
}
END_TEST

START_TEST(the_defaults_of_local_lack_the_relay_only)
{
    ck_assert_int_eq(command("config --defaults --role local"), 0);
    ck_assert_str_eq(err.text, "");
    strcat(out.text, "[upstream]\nurl = turns:r.example\nuser = a\npassword = b\n");
    capture_begin(&err, stderr);
    conf_free(conf_load_text(out.text, "defaults", "local"));
    capture_end(&err);
    ck_assert_str_eq(err.text, "");
    ck_assert_int_eq(command("config --role local --defaults"), 0);
    ck_assert_ptr_null(strstr(out.text, "[relay]"));
}
END_TEST

static void find_defaults(unsigned int role)
{
    char line[128];

    for (int i = 0; i < N_OPTIONS; i++) {
        if (!(options[i].roles & role))
            continue;
        snprintf(line, sizeof(line),
                 "\n%s%s =", *options[i].def || strcmp(options[i].name, "secret") == 0 ? "" : "#",
                 options[i].name);
        ck_assert_msg(strstr(out.text, line) != NULL, "%s", options[i].name);
    }
}

START_TEST(defaults_name_every_option)
{
    ck_assert_int_eq(command("config --defaults"), 0);
    find_defaults(ROLE_relay);
    ck_assert_int_eq(command("config --defaults --role relay"), 0);
    find_defaults(ROLE_relay);
    ck_assert_int_eq(command("config --defaults --role local"), 0);
    find_defaults(ROLE_local);
}
END_TEST

static const char local_text[] = "# mine\n  [upstream]\nurl = turns:r.example\nuser = a\n"
                                 "password = b\n";

START_TEST(check_goes_by_the_first_section)
{
    char path[64], words[128];

    ck_assert_int_eq(check_text(local_text, path), 0);
    ck_assert_str_eq(err.text, "");
    ck_assert_int_eq(check_text("[local]\nsocks5 = off\n[upstream]\nuser = a\n", path), 2);
    ck_assert_ptr_nonnull(strstr(err.text, "url must be set"));
    /* --role goes before. */
    strcpy(path, write_file(local_text));
    snprintf(words, sizeof(words), "config -c %s --role relay --check", path);
    ck_assert_int_eq(command(words), 2);
    ck_assert_ptr_nonnull(strstr(err.text, "does not belong in the configuration of"));
    unlink(path);
}
END_TEST

START_TEST(the_local_file_is_found_in_the_home_directory)
{
    setenv("XDG_CONFIG_HOME", "/nonexistent/xdg", 1);
    ck_assert_int_eq(command("config --role local --check"), 2);
    ck_assert_str_eq(err.text, "/nonexistent/xdg/callveil/local.conf: cannot be opened: No such "
                               "file or directory\n");
    setenv("XDG_CONFIG_HOME", "relative", 1);
    setenv("HOME", "/nonexistent/home", 1);
    ck_assert_int_eq(command("config --role local --check"), 2);
    ck_assert_str_eq(err.text, "/nonexistent/home/.config/callveil/local.conf: cannot be opened: "
                               "No such file or directory\n");
}
END_TEST

START_TEST(each_printed_secret_is_another)
{
    char *first;

    ck_assert_int_eq(command("config --defaults"), 0);
    first = strdup(strstr(out.text, "\nsecret = "));
    ck_assert_int_eq(command("config --defaults"), 0);
    ck_assert_int_ne(strncmp(first, strstr(out.text, "\nsecret = "), 74), 0);
    free(first);
}
END_TEST

START_TEST(every_option_can_be_explained)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        char words[128];

        snprintf(words, sizeof(words), "config --explain %s", options[i].name);
        ck_assert_int_eq(command(words), 0);
        ck_assert_str_eq(err.text, "");
        ck_assert_int_eq(strncmp(out.text, options[i].name, strlen(options[i].name)), 0);
        ck_assert_ptr_nonnull(strstr(out.text, "    Value: "));
        ck_assert_ptr_nonnull(strstr(out.text, "    Default: "));
    }
}
END_TEST

START_TEST(explain_gives_type_range_default_and_help)
{
    ck_assert_int_eq(command("config --explain max-channels"), 0);
    ck_assert_str_eq(out.text, "max-channels, in section [limits] of relay.conf\n"
                               "    Channels bound at a time, per allocation.\n"
                               "    Value: a number, 1 to 4096.\n"
                               "    Default: 128\n");
}
END_TEST

START_TEST(a_dot_tells_options_of_one_name_apart)
{
    ck_assert_int_eq(command("config --explain listen"), 0);
    ck_assert_ptr_nonnull(strstr(out.text, "in section [relay]"));
    ck_assert_ptr_nonnull(strstr(out.text, "in section [stats]"));
    ck_assert_int_eq(command("config --explain stats.listen"), 0);
    ck_assert_ptr_null(strstr(out.text, "in section [relay]"));
    ck_assert_ptr_nonnull(strstr(out.text, "in section [stats]"));
    ck_assert_int_eq(command("config --explain peers.listen"), 2);
    ck_assert_int_eq(command("config --explain users"), 0);
    ck_assert_int_eq(strncmp(out.text, "[users] of relay.conf and local.conf\n", 37), 0);
}
END_TEST

START_TEST(an_unknown_option_is_answered_with_the_nearest)
{
    ck_assert_int_eq(command("config --explain max-chanels"), 2);
    ck_assert_str_eq(out.text, "");
    ck_assert_str_eq(err.text, "callveil config: no option \"max-chanels\" (did you mean "
                               "\"max-channels\"?)\n");
    ck_assert_int_eq(command("config --explain zzzzzz"), 2);
    ck_assert_str_eq(err.text, "callveil config: no option \"zzzzzz\"; --defaults lists all\n");
}
END_TEST

START_TEST(wrong_usage_ends_with_2)
{
    static const char *const words[] = {
        "config",
        "config --check --defaults",
        "config --explain",
        "config --nothing",
        "config --check relay.conf",
        "config -c",
        "config -x",
        "config --defaults --defaults",
        "config check",
        "config --defaults --role peer",
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        ck_assert_int_eq(command(words[i]), 2);
        ck_assert_str_eq(out.text, "");
        ck_assert_msg(strstr(err.text, "usage: callveil config") != NULL, "%s", words[i]);
    }
    ck_assert_int_eq(command("config --help"), 0);
    ck_assert_str_eq(err.text, "");
    ck_assert_ptr_nonnull(strstr(out.text, "usage: callveil config"));
}
END_TEST

START_TEST(defaults_on_a_full_disk_fail)
{
    int saved = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY | O_CLOEXEC), status;
    char *argv[] = {(char[]){"config"}, (char[]){"--defaults"}, NULL};

    ck_assert_int_ge(full, 0);
    fflush(stdout);
    dup2(full, STDOUT_FILENO);
    capture_begin(&err, stderr);
    status = conf_command(2, argv);
    capture_end(&err);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(full);
    clearerr(stdout);
    ck_assert_int_eq(status, 1);
    ck_assert_str_eq(err.text, "callveil config: cannot write: No space left on device\n");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/command");
    TCase *tc = tcase_create("command");

    tcase_add_test(tc, check_says_ok_and_nothing_else);
    tcase_add_test(tc, check_reports_every_error_and_ends_with_2);
    tcase_add_test(tc, check_takes_its_options_in_any_order);
    tcase_add_test(tc, defaults_load_again_and_are_the_defaults);
    tcase_add_test(tc, the_defaults_of_local_lack_the_relay_only);
    tcase_add_test(tc, defaults_name_every_option);
    tcase_add_test(tc, check_goes_by_the_first_section);
    tcase_add_test(tc, the_local_file_is_found_in_the_home_directory);
    tcase_add_test(tc, each_printed_secret_is_another);
    tcase_add_test(tc, every_option_can_be_explained);
    tcase_add_test(tc, explain_gives_type_range_default_and_help);
    tcase_add_test(tc, a_dot_tells_options_of_one_name_apart);
    tcase_add_test(tc, an_unknown_option_is_answered_with_the_nearest);
    tcase_add_test(tc, wrong_usage_ends_with_2);
    tcase_add_test(tc, defaults_on_a_full_disk_fail);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
