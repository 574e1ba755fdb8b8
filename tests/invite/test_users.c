#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/value.h"
#include "relay/invite/users.h"
#include "tests/conf/capture.h"
#include "tests/invite/folder.h"

static const char *path;
static struct stat model;

static void setup(void)
{
    folder_new();
    path = strdup(path_of("users.conf"));
    write_text(path_of("relay.conf"), "");
    ck_assert_int_eq(stat(path_of("relay.conf"), &model), 0);
}

static void teardown(void)
{
    folder_free();
    free((void *)(uintptr_t)path);
}

START_TEST(the_first_user_makes_the_file)
{
    mode_t old = umask(0);

    ck_assert_int_eq(users_add(path, "alice", "pw", &model), 0);
    umask(old);
    ck_assert_str_eq(read_text(path), "[users]\nalice = pw\n");
    ck_assert_uint_eq(mode_of(path), 0640);
    ck_assert_int_eq(n_files(), 2);
}
END_TEST

START_TEST(what_the_operator_wrote_stays)
{
    static const char by_hand[] = "# mine ; and = theirs\n"
                                  "[users]\n"
                                  "\n"
                                  "  bob=key:0x00112233445566778899aabbccddeeff # old\n"
                                  "carol = \"c # [users]\"";

    write_text(path, by_hand);
    ck_assert_int_eq(users_add(path, "alice", "pw", &model), 0);
    ck_assert_int_eq(strncmp(read_text(path), by_hand, strlen(by_hand)), 0);
    ck_assert_str_eq(read_text(path) + strlen(by_hand), "\nalice = pw\n");
    ck_assert_int_eq(users_remove(path, "alice"), 0);
    ck_assert_int_eq(strncmp(read_text(path), by_hand, strlen(by_hand)), 0);
    ck_assert_str_eq(read_text(path) + strlen(by_hand), "\n");
}
END_TEST

START_TEST(a_file_of_comments_gets_its_section)
{
    write_text(path, "# nobody yet\n");
    ck_assert_int_eq(users_add(path, "alice", "pw", &model), 0);
    ck_assert_str_eq(read_text(path), "# nobody yet\n[users]\nalice = pw\n");
}
END_TEST

/* relay.conf by mistake: its last section is another one. */
START_TEST(a_file_that_would_not_mean_that_user_is_left_alone)
{
    static const char text[] = "[users]\nbob = b\n[stats]\n";
    static struct capture err;
    int r;

    write_text(path, text);
    capture_begin(&err, stderr);
    r = users_add(path, "listen", "off", &model);
    capture_end(&err);
    ck_assert_int_eq(r, USERS_E_CHANGED);
    ck_assert_str_eq(read_text(path), text);
    ck_assert_int_eq(n_files(), 2);
}
END_TEST

START_TEST(the_line_of_that_user_goes_and_no_other)
{
    static const char *const names[] = {"alice", "alic", "alice2", "al ice"};

    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(users_add(path, names[i], "pw", &model), 0);
    ck_assert_int_eq(users_remove(path, "alice"), 0);
    ck_assert_str_eq(read_text(path), "[users]\nalic = pw\nalice2 = pw\nal ice = pw\n");
    ck_assert_int_eq(users_remove(path, "alice"), USERS_E_ABSENT);
    ck_assert_int_eq(users_remove(path, "al ice"), 0);
    ck_assert_str_eq(read_text(path), "[users]\nalic = pw\nalice2 = pw\n");
}
END_TEST

START_TEST(names_are_found_however_they_are_written)
{
    write_text(path, "[users]\n\t cafe\xcc\x81\t=x\n# zed = z\n;zed = z\nzed=last");
    ck_assert_int_eq(users_remove(path, "zed"), 0);
    ck_assert_str_eq(read_text(path), "[users]\n\t cafe\xcc\x81\t=x\n# zed = z\n;zed = z\n");
    ck_assert_int_eq(users_remove(path, "caf\xc3\xa9"), 0);
    ck_assert_str_eq(read_text(path), "[users]\n# zed = z\n;zed = z\n");
}
END_TEST

static void append_name(void *arg, const char *name)
{
    strcat(arg, name);
    strcat(arg, ",");
}

START_TEST(names_are_listed_in_the_files_order)
{
    char names[128] = "";

    ck_assert_int_eq(users_each(path, append_name, names), 0);
    ck_assert_str_eq(names, "");
    write_text(path, "# a = b\n[users]\nzoe = 1\n\n bob = 2\nadam = =x\n");
    ck_assert_int_eq(users_each(path, append_name, names), 0);
    ck_assert_str_eq(names, "zoe,bob,adam,");
}
END_TEST

START_TEST(mode_and_symbolic_link_are_kept)
{
    const char *link_path = path_of("link.conf");

    write_text(path, "[users]\nbob = b\n");
    ck_assert_int_eq(chmod(path, 0604), 0);
    ck_assert_int_eq(symlink("users.conf", link_path), 0);
    ck_assert_int_eq(users_add(link_path, "alice", "pw", &model), 0);
    ck_assert_uint_eq(mode_of(path), 0604);
    ck_assert_str_eq(read_text(path), "[users]\nbob = b\nalice = pw\n");
    ck_assert_int_eq(users_remove(link_path, "bob"), 0);
    ck_assert_str_eq(read_text(link_path), "[users]\nalice = pw\n");
    ck_assert_uint_eq(mode_of(path), 0604);
    ck_assert_int_eq(n_files(), 3);
}
END_TEST

START_TEST(owner_and_group_are_kept_or_those_of_the_configuration)
{
    struct stat st;

    model.st_uid = 1234;
    model.st_gid = 4321;
    ck_assert_int_eq(users_add(path, "alice", "pw", &model), 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, 1234);
    ck_assert_uint_eq(st.st_gid, 4321);
    ck_assert_int_eq(chown(path, 2345, 5432), 0);
    ck_assert_int_eq(users_remove(path, "alice"), 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, 2345);
    ck_assert_uint_eq(st.st_gid, 5432);
}
END_TEST

#define N_WRITERS 8

/* Each in a process of its own, as commands are. */
static void add_from_child(int i)
{
    char name[16];
    int lock = users_lock(path);

    snprintf(name, sizeof(name), "user%d", i);
    _exit(lock >= 0 && users_add(path, name, "pw", &model) == 0 ? 0 : 1);
}

START_TEST(of_many_at_a_time_none_is_lost)
{
    char names[256] = "";
    int status;

    fflush(NULL);
    for (int i = 0; i < N_WRITERS; i++)
        if (fork() == 0)
            add_from_child(i);
    for (int i = 0; i < N_WRITERS; i++) {
        ck_assert_int_ge(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_int_eq(users_each(path, append_name, names), 0);
    for (int i = 0; i < N_WRITERS; i++) {
        char name[16];

        snprintf(name, sizeof(name), "user%d,", i);
        ck_assert_ptr_nonnull(strstr(names, name));
    }
    ck_assert_int_eq(n_files(), 2);
}
END_TEST

START_TEST(the_lock_is_exclusive_and_ends_with_its_descriptor)
{
    int lock = users_lock(path), other = open(folder, O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(lock, 0);
    ck_assert_int_eq(flock(other, LOCK_EX | LOCK_NB), -1);
    ck_assert_int_eq(errno, EWOULDBLOCK);
    close(lock);
    ck_assert_int_eq(flock(other, LOCK_EX | LOCK_NB), 0);
    close(other);
    ck_assert_int_eq(users_lock("/nonexistent/users.conf"), -ENOENT);
}
END_TEST

static const struct {
    const char *name, *why;
} wrong[] = {
    {"", "a bad user name: it is empty"},
    {"a:b", "a user name cannot contain ':'"},
    {"a=b", "a user name cannot contain '='"},
    {"#a", "a user name cannot start with '#'"},
    {";a", "a user name cannot start with ';'"},
    {"[a]", "a user name cannot start with '['"},
    {" a", "a user name cannot start or end with a blank"},
    {"a\xe3\x80\x80", "a user name cannot start or end with a blank"},
    {"\"a\"", "a user name is not put in quotes (and cannot contain '=')"},
    {"a\nb", "a bad user name: it contains a control character"},
    {"a\xff", "a bad user name: it is not UTF-8"},
};

START_TEST(names_that_no_line_can_hold_are_refused)
{
    char why[VALUE_WHY_LEN] = "", *name;

    ck_assert_int_eq(users_name(wrong[_i].name, &name, why), USERS_E_BAD);
    ck_assert_str_eq(why, wrong[_i].why);
}
END_TEST

START_TEST(a_name_comes_out_in_its_normal_form)
{
    char why[VALUE_WHY_LEN], *name;

    ck_assert_int_eq(users_name("cafe\xcc\x81 #1", &name, why), 0);
    ck_assert_str_eq(name, "caf\xc3\xa9 #1");
    ck_assert_int_eq(users_add(path, name, "pw", &model), 0);
    ck_assert_str_eq(read_text(path), "[users]\ncaf\xc3\xa9 #1 = pw\n");
    free(name);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("invite/users");
    TCase *tc = tcase_create("users");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_first_user_makes_the_file);
    tcase_add_test(tc, what_the_operator_wrote_stays);
    tcase_add_test(tc, a_file_of_comments_gets_its_section);
    tcase_add_test(tc, a_file_that_would_not_mean_that_user_is_left_alone);
    tcase_add_test(tc, the_line_of_that_user_goes_and_no_other);
    tcase_add_test(tc, names_are_found_however_they_are_written);
    tcase_add_test(tc, names_are_listed_in_the_files_order);
    tcase_add_test(tc, mode_and_symbolic_link_are_kept);
    if (geteuid() == 0) /* nobody else can give files away */
        tcase_add_test(tc, owner_and_group_are_kept_or_those_of_the_configuration);
    tcase_add_test(tc, of_many_at_a_time_none_is_lost);
    tcase_add_test(tc, the_lock_is_exclusive_and_ends_with_its_descriptor);
    tcase_add_loop_test(tc, names_that_no_line_can_hold_are_refused, 0,
                        sizeof(wrong) / sizeof(wrong[0]));
    tcase_add_test(tc, a_name_comes_out_in_its_normal_form);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
