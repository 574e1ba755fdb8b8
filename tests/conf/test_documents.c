/*
 * What a person reads about the options, held against conf/options.def.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/option.h"
#include "tests/conf/capture.h"
#include "tests/support/suite.h"

static char text[65536];

static const struct {
    unsigned int role;
    const char *name, *sample, *manual;
} roles[] = {
    {ROLE_relay, "relay", "conf/relay.conf", "conf/man/relay.conf.5"},
    {ROLE_local, "local", "conf/local.conf", "conf/man/local.conf.5"},
};
#define N_ROLES (sizeof(roles) / sizeof(roles[0]))

/* Reads a file of the source tree into `text`. */
static void read_document(const char *name)
{
    const char *root = getenv("CALLVEIL_SOURCE_ROOT");
    char path[4096];
    size_t n;
    FILE *in;

    ck_assert_msg(root != NULL, "run by meson test, which sets CALLVEIL_SOURCE_ROOT");
    snprintf(path, sizeof(path), "%s/%s", root, name);
    in = fopen(path, "re");
    ck_assert_msg(in != NULL, "%s", path);
    n = fread(text, 1, sizeof(text) - 1, in);
    fclose(in);
    ck_assert_uint_gt(n, 0);
    ck_assert_uint_lt(n, sizeof(text) - 1);
    text[n] = '\0';
}

/* The part of `text` that is about a section, cut out: from `head` to the next `end`. */
static void keep_section(const char *head, const char *end)
{
    char *start = strstr(text, head), *stop;

    ck_assert_msg(start != NULL, "no %s", head);
    stop = strstr(start + strlen(head), end);
    if (stop)
        *stop = '\0';
    memmove(text, start, strlen(start) + 1);
}

static void find_in_sample(const struct conf_option *o, const char *sample)
{
    char line[512];

    read_document(sample);
    snprintf(line, sizeof(line), "\n[%s]\n", sections[o->section].name);
    keep_section(line, "\n[");
    snprintf(line, sizeof(line), "\n#%s = %s%s", o->name, o->def, *o->def ? "\n" : "");
    ck_assert_msg(strstr(text, line) != NULL, "no line%s in the section of %s", line, sample);
}

START_TEST(every_option_is_in_its_samples_with_its_default)
{
    for (size_t i = 0; i < N_ROLES; i++)
        if (options[_i].roles & roles[i].role)
            find_in_sample(&options[_i], roles[i].sample);
}
END_TEST

static char *find_item(const char *name)
{
    static const char *const forms[] = {"\n.It Cm %s\n", " , Cm %s\n", "\n.It Cm %s , "};
    char line[256], *item = NULL;

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]) && !item; i++) {
        snprintf(line, sizeof(line), forms[i], name);
        item = strstr(text, line);
    }
    return item;
}

static void find_in_manual(const struct conf_option *o, const char *manual)
{
    static const char *const heads[N_SECTIONS] = {
        [SECTION_relay] = ".Sh RELAY SECTION\n",       [SECTION_users] = ".Sh USERS SECTION\n",
        [SECTION_peers] = ".Sh PEERS SECTION\n",       [SECTION_limits] = ".Sh LIMITS SECTION\n",
        [SECTION_stats] = ".Sh STATS SECTION\n",       [SECTION_local] = ".Sh LOCAL SECTION\n",
        [SECTION_upstream] = ".Sh UPSTREAM SECTION\n",
    };
    char *item;

    read_document(manual);
    keep_section(heads[o->section], "\n.Sh ");
    item = find_item(o->name);
    ck_assert_msg(item != NULL, "no item %s in %s", o->name, manual);
    if (*o->def) {
        char *next = strstr(item + 1, "\n.It "), *def;

        if (next)
            *next = '\0';
        def = strstr(item, "Default:");
        ck_assert_msg(def && strstr(def, o->def), "%s: the default is %s", o->name, o->def);
    }
}

START_TEST(every_option_is_in_its_manuals_with_its_default)
{
    for (size_t i = 0; i < N_ROLES; i++)
        if (options[_i].roles & roles[i].role)
            find_in_manual(&options[_i], roles[i].manual);
}
END_TEST

START_TEST(every_limit_in_the_manual_is_that_of_the_table)
{
    const struct conf_option *o = &options[_i];
    char line[256], range[64], *item, *next;

    if (o->section != SECTION_limits || o->max > 1000000 || strstr(o->name, "lifetime"))
        return; /* these are written in units */
    read_document("conf/man/relay.conf.5");
    snprintf(line, sizeof(line), "\n.It Cm %s\n", o->name);
    item = strstr(text, line);
    ck_assert_ptr_nonnull(item);
    next = strstr(item + 1, "\n.It ");
    if (next)
        *next = '\0';
    snprintf(range, sizeof(range), "%llu to %llu", (unsigned long long)o->min,
             (unsigned long long)o->max);
    ck_assert_msg(strstr(item, range) != NULL, "%s: %s", o->name, range);
}
END_TEST

/* "#name = value" becomes "name = value"; prose, which starts with "# ", stays. */
static void uncomment(void)
{
    for (char *at = strstr(text, "\n#"); at; at = strstr(at + 1, "\n#"))
        if (at[2] != ' ' && at[2] != '\n')
            memmove(at + 1, at + 2, strlen(at + 2) + 1);
}

START_TEST(the_examples_in_the_samples_are_valid)
{
    static struct capture err;
    struct conf *conf;

    read_document(roles[_i].sample);
    uncomment();
    capture_begin(&err, stderr);
    conf = conf_load_text(text, roles[_i].sample, roles[_i].name);
    capture_end(&err);
    ck_assert_str_eq(err.text, "");
    ck_assert_ptr_nonnull(conf);
    ck_assert_uint_eq(conf->n_user, 1);
    ck_assert_uint_eq(conf->n_secret, roles[_i].role == ROLE_relay ? 1 : 0);
    ck_assert_uint_eq(conf->n_url, roles[_i].role == ROLE_relay ? 0 : 2);
    conf_free(conf);
}
END_TEST

START_TEST(the_local_sample_as_it_is_only_lacks_the_relay)
{
    static struct capture err;

    read_document("conf/local.conf");
    capture_begin(&err, stderr);
    ck_assert_ptr_null(conf_load_text(text, "local.conf", "local"));
    capture_end(&err);
    ck_assert_str_eq(err.text, "local.conf: url must be set in [upstream]\n"
                               "local.conf: user must be set in [upstream]\n"
                               "local.conf: password must be set in [upstream]\n");
}
END_TEST

START_TEST(the_sample_as_it_is_only_lacks_somebody_to_use_it)
{
    static struct capture err;

    read_document("conf/relay.conf");
    capture_begin(&err, stderr);
    ck_assert_ptr_null(conf_load_text(text, "relay.conf", "relay"));
    capture_end(&err);
    ck_assert_str_eq(err.text, "relay.conf: nobody could use this relay: add a user to [users], or "
                               "a secret to [relay]\n");
}
END_TEST

START_TEST(every_option_and_section_has_its_help)
{
    for (int i = 0; i < N_OPTIONS; i++)
        ck_assert_uint_gt(strlen(options[i].help), 10);
    for (int i = 0; i < N_SECTIONS; i++)
        ck_assert_uint_gt(strlen(sections[i].help), 10);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf/documents");
    TCase *tc = tcase_create("documents");

    tcase_add_loop_test(tc, every_option_is_in_its_samples_with_its_default, 0, N_OPTIONS);
    tcase_add_loop_test(tc, every_option_is_in_its_manuals_with_its_default, 0, N_OPTIONS);
    tcase_add_loop_test(tc, every_limit_in_the_manual_is_that_of_the_table, 0, N_OPTIONS);
    tcase_add_loop_test(tc, the_examples_in_the_samples_are_valid, 0, N_ROLES);
    tcase_add_test(tc, the_local_sample_as_it_is_only_lacks_the_relay);
    tcase_add_test(tc, the_sample_as_it_is_only_lacks_somebody_to_use_it);
    tcase_add_test(tc, every_option_and_section_has_its_help);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
