#include <errno.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/value.h"
#include "relay/invite/local_conf.h"
#include "tests/conf/capture.h"
#include "tests/invite/folder.h"

#define PIN "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static struct capture err;

static struct conf *joined(const char *link_text)
{
    char why[VALUE_WHY_LEN], *text;
    struct invite_link link;
    struct conf *conf;

    ck_assert_int_eq(invite_link_decode(link_text, &link, why), 0);
    text = local_conf_text(&link);
    invite_link_deinit(&link);
    ck_assert_ptr_nonnull(text);
    capture_begin(&err, stderr);
    conf = conf_load_text(text, "local.conf", "local");
    capture_end(&err);
    ck_assert_str_eq(err.text, "");
    ck_assert_ptr_nonnull(conf);
    free(text);
    return conf;
}

START_TEST(a_link_becomes_the_configuration_it_stands_for)
{
    struct conf *c = joined("callveil://alice:pw@[2001:db8::1]/?dtls=5349&tcp=80&pin=" PIN
                            "&pin=sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");

    ck_assert_uint_eq(c->n_url, 2);
    ck_assert_str_eq(c->url[0].host, "2001:db8::1");
    ck_assert_uint_eq(c->url[0].protocol, LISTEN_DTLS);
    ck_assert_uint_eq(c->url[0].port, 5349);
    ck_assert_uint_eq(c->url[1].protocol, LISTEN_TCP);
    ck_assert_uint_eq(c->url[1].port, 80);
    ck_assert_str_eq(c->upstream_user, "alice");
    ck_assert_str_eq(c->upstream_password, "pw");
    ck_assert_uint_eq(c->n_pin, 2);
    ck_assert_uint_eq(c->pin[0][0], 0xe3);
    ck_assert_uint_eq(c->pin[1][0], 0);
    conf_free(c);
}
END_TEST

/* Percent-encoded in the link, in quotes in the file: no text may break out of either. */
static const struct {
    const char *encoded, *text;
} odd[] = {
    {"%22", "\""},
    {"%5C", "\\"},
    {"%5C%22%23", "\\\"#"},
    {"a%20%23%20b", "a # b"},
    {"%20a%20", " a "},
    {"%2Ckey%3A0x12%2C", ",key:0x12,"},
    {"%5Busers%5D", "[users]"},
    {"%22%20%3B%20%22", "\" ; \""},
    {"%C3%A9", "\xc3\xa9"},
};

START_TEST(no_text_breaks_out_of_its_line)
{
    char link[256];
    struct conf *c;

    snprintf(link, sizeof(link), "callveil://%s:%s@r.example/?tls=1", odd[_i].encoded,
             odd[_i].encoded);
    c = joined(link);
    ck_assert_str_eq(c->upstream_user, odd[_i].text);
    ck_assert_str_eq(c->upstream_password, odd[_i].text);
    ck_assert_uint_eq(c->n_user, 0);
    conf_free(c);
}
END_TEST

START_TEST(the_file_is_its_owners_alone)
{
    mode_t old = umask(0);
    const char *path = path_of("local.conf");

    ck_assert_int_eq(local_conf_write(path, "text\n", false), 0);
    umask(old);
    ck_assert_uint_eq(mode_of(path), 0600);
    ck_assert_str_eq(read_text(path), "text\n");
    ck_assert_int_eq(n_files(), 1);
}
END_TEST

START_TEST(a_file_that_exists_is_left_alone)
{
    const char *path = path_of("local.conf");

    write_text(path, "mine\n");
    ck_assert_int_eq(local_conf_write(path, "text\n", false), LOCAL_CONF_E_EXISTS);
    ck_assert_str_eq(read_text(path), "mine\n");
    ck_assert_int_eq(n_files(), 1);
    /* Wherever a symbolic link points, nothing is made there. */
    unlink(path);
    ck_assert_int_eq(symlink("elsewhere", path), 0);
    ck_assert_int_eq(local_conf_write(path, "text\n", false), LOCAL_CONF_E_EXISTS);
    ck_assert_int_eq(access(path_of("elsewhere"), F_OK), -1);
}
END_TEST

START_TEST(force_keeps_the_old_one)
{
    const char *path = path_of("local.conf");

    ck_assert_int_eq(local_conf_write(path, "first\n", true), 0);
    ck_assert_int_eq(n_files(), 1);
    ck_assert_int_eq(local_conf_write(path, "second\n", true), 0);
    ck_assert_str_eq(read_text(path), "second\n");
    ck_assert_str_eq(read_text(path_of("local.conf.old")), "first\n");
    ck_assert_int_eq(local_conf_write(path, "third\n", true), 0);
    ck_assert_str_eq(read_text(path_of("local.conf.old")), "second\n");
    ck_assert_uint_eq(mode_of(path), 0600);
    ck_assert_int_eq(n_files(), 2);
}
END_TEST

START_TEST(folders_are_made_for_their_owner_alone)
{
    mode_t old = umask(0);

    ck_assert_int_eq(local_conf_make_folders(path_of("a/b/local.conf")), 0);
    umask(old);
    ck_assert_uint_eq(mode_of(path_of("a")), 0700);
    ck_assert_uint_eq(mode_of(path_of("a/b")), 0700);
    ck_assert_int_eq(local_conf_make_folders(path_of("a/b/local.conf")), 0);
    write_text(path_of("file"), "");
    ck_assert_int_eq(local_conf_make_folders(path_of("file/b/local.conf")), -ENOTDIR);
}
END_TEST

START_TEST(a_folder_that_is_missing_is_an_error_and_leaves_nothing)
{
    ck_assert_int_eq(local_conf_write(path_of("none/local.conf"), "x", false), -ENOENT);
    ck_assert_int_eq(n_files(), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("invite/local_conf");
    TCase *tc = tcase_create("local_conf");

    tcase_add_checked_fixture(tc, folder_new, folder_free);
    tcase_add_test(tc, a_link_becomes_the_configuration_it_stands_for);
    tcase_add_loop_test(tc, no_text_breaks_out_of_its_line, 0, sizeof(odd) / sizeof(odd[0]));
    tcase_add_test(tc, the_file_is_its_owners_alone);
    tcase_add_test(tc, a_file_that_exists_is_left_alone);
    tcase_add_test(tc, force_keeps_the_old_one);
    tcase_add_test(tc, folders_are_made_for_their_owner_alone);
    tcase_add_test(tc, a_folder_that_is_missing_is_an_error_and_leaves_nothing);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
