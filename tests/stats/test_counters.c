#include <check.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/stats/render.h"

static struct evbuffer *out;

static void setup(void)
{
    out = evbuffer_new();
    ck_assert_ptr_nonnull(out);
}

static void teardown(void)
{
    evbuffer_free(out);
}

static const char *text(void)
{
    ck_assert_int_eq(evbuffer_add(out, "", 1), 0);
    return (const char *)evbuffer_pullup(out, -1);
}

START_TEST(every_counter_is_summed)
{
    struct counters a = {0}, b = {0}, sum = {0};
    uint64_t i = 0;

#define COUNTER(field, kind, metric, labels, help)                                                 \
    i++;                                                                                           \
    counter_add(&a.field, i);                                                                      \
    counter_add(&b.field, 1000 * i);
#include "relay/stats/counters.def"
#undef COUNTER
    counters_sum(&sum, &a);
    counters_sum(&sum, &b);
    i = 0;
#define COUNTER(field, kind, metric, labels, help)                                                 \
    i++;                                                                                           \
    ck_assert_uint_eq(sum.field, 1001 * i);
#include "relay/stats/counters.def"
#undef COUNTER
    ck_assert_uint_ge(i, 30);
}
END_TEST

START_TEST(a_gauge_raised_here_and_lowered_there_sums_to_zero)
{
    struct counters a = {0}, b = {0}, sum = {0};

    counter_add(&a.allocations, 3);
    counter_sub(&b.allocations, 3);
    counters_sum(&sum, &a);
    counters_sum(&sum, &b);
    ck_assert_uint_eq(sum.allocations, 0);
}
END_TEST

START_TEST(a_gauge_caught_below_zero_reads_zero)
{
    struct stats_view view = {0};

    counter_sub(&view.counters.allocations, 1);
    ck_assert_uint_eq(stats_value(STATS_GAUGE, &view.counters.allocations), 0);
    ck_assert_uint_eq(stats_value(STATS_COUNTER, &view.counters.allocations), UINT64_MAX);
    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert_ptr_nonnull(strstr(text(), "\ncallveil_allocations 0\n"));
}
END_TEST

static bool valid_name(const char *s, size_t len)
{
    return len > 0 && strspn(s, "abcdefghijklmnopqrstuvwxyz_") >= len;
}

struct syntax {
    char current[128];   /* the metric whose HELP and TYPE came last */
    char seen[100][128]; /* metrics that had a HELP */
    char series[200][256];
    size_t n_seen, n_series;
    bool typed;
};

static void check_comment(struct syntax *x, const char *line)
{
    char kind[16], name[128], type[16];

    ck_assert_msg(sscanf(line, "# %15s %127s %15s", kind, name, type) == 3, "%s", line);
    ck_assert_msg(valid_name(name, strlen(name)), "%s", line);
    if (strcmp(kind, "HELP") == 0) {
        for (size_t i = 0; i < x->n_seen; i++)
            ck_assert_str_ne(x->seen[i], name); /* its rows stand together */
        strcpy(x->seen[x->n_seen++], name);
        strcpy(x->current, name);
        x->typed = false;
        return;
    }
    ck_assert_str_eq(kind, "TYPE");
    ck_assert_str_eq(x->current, name);
    ck_assert(strcmp(type, "gauge") == 0 || strcmp(type, "counter") == 0);
    ck_assert_msg((strcmp(type, "counter") == 0) == (strstr(name, "_total") != NULL), "%s", line);
    x->typed = true;
}

static void check_sample(struct syntax *x, const char *line)
{
    const char *space = strrchr(line, ' ');
    size_t name_len = strcspn(line, "{ "), series_len;
    char *end;

    ck_assert_msg(space && space[1], "%s", line);
    ck_assert_msg(x->typed && strncmp(x->current, line, name_len) == 0 &&
                      strlen(x->current) == name_len,
                  "%s", line);
    strtoull(space + 1, &end, 10);
    ck_assert_msg(*end == '\0', "%s", line);
    series_len = (size_t)(space - line);
    if (line[name_len] == '{')
        ck_assert_msg(line[series_len - 1] == '}' && line[series_len - 2] == '"', "%s", line);
    ck_assert_uint_lt(series_len, sizeof(x->series[0]));
    memcpy(x->series[x->n_series], line, series_len);
    x->series[x->n_series][series_len] = '\0';
    for (size_t i = 0; i < x->n_series; i++)
        ck_assert_str_ne(x->series[i], x->series[x->n_series]);
    x->n_series++;
}

START_TEST(the_metrics_are_well_formed)
{
    static struct syntax x;
    struct stats_view view = {.uptime_s = 12, .started_s = 1700000000};
    char *line, *rest;

    memset(&x, 0, sizeof(x));
    counter_add(&view.counters.err_403, 7);
    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert_int_eq(text()[strlen(text()) - 1], '\n');
    rest = strdup(text());
    for (char *p = rest; (line = strsep(&p, "\n")) && *line;)
        line[0] == '#' ? check_comment(&x, line) : check_sample(&x, line);
    free(rest);
    ck_assert_uint_eq(x.n_series, sizeof(struct counters) / sizeof(uint64_t) + 3);
}
END_TEST

START_TEST(the_metrics_say_what_was_counted)
{
    struct stats_view view = {.uptime_s = 12, .started_s = 1700000000};

    counter_add(&view.counters.err_403, 7);
    counter_add(&view.counters.up_bytes, 5000000000000ull);
    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert_ptr_nonnull(strstr(text(), "\ncallveil_errors_total{code=\"403\"} 7\n"));
    ck_assert_ptr_nonnull(
        strstr(text(), "\ncallveil_relayed_bytes_total{direction=\"up\"} 5000000000000\n"));
    ck_assert_ptr_nonnull(
        strstr(text(), "\ncallveil_build_info{version=\"" CALLVEIL_VERSION "\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text(), "\nprocess_start_time_seconds 1700000000\n"));
    ck_assert_ptr_nonnull(strstr(text(), "\ncallveil_uptime_seconds 12\n"));
}
END_TEST

static const char *user_name;

static void describe_user(void *arg, json_t *root)
{
    ck_assert_int_eq(json_object_set_new(root, "user", json_string(user_name)), 0);
}

START_TEST(the_json_says_what_was_counted)
{
    struct stats_source source = {0};
    struct stats_view view = {.uptime_s = 12};
    json_t *root, *counters;

    counter_add(&view.counters.err_403, 7);
    counter_sub(&view.counters.clients_udp, 7);
    counter_sub(&view.counters.up_bytes, 1); /* more than JSON readers take */
    ck_assert_int_eq(stats_render_json(&source, &view, out), 0);
    root = json_loads(text(), 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "version")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(root, "callveil")), CALLVEIL_VERSION);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "uptime_s")), 12);
    counters = json_object_get(root, "counters");
    ck_assert_uint_eq(json_object_size(counters), sizeof(struct counters) / sizeof(uint64_t));
    ck_assert_int_eq(json_integer_value(json_object_get(counters, "err_403")), 7);
    ck_assert_int_eq(json_integer_value(json_object_get(counters, "clients_udp")), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(counters, "up_bytes")), INT64_MAX);
    json_decref(root);
}
END_TEST

START_TEST(s26_a_hostile_user_name_stays_a_string)
{
    struct stats_source source = {.describe = describe_user};
    struct stats_view view = {0};
    json_t *root;

    user_name = "<script>\"\n</script>&amp;\\\x1b[31m%n é";
    ck_assert_int_eq(stats_render_json(&source, &view, out), 0);
    ck_assert_ptr_null(strpbrk(text(), "<>&\x1b"));
    ck_assert_ptr_nonnull(strstr(text(), "\\u003cscript\\u003e\\\"\\n\\u003c/script\\u003e"));
    root = json_loads(text(), 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_str_eq(json_string_value(json_object_get(root, "user")), user_name);
    json_decref(root);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stats/counters");
    TCase *tc = tcase_create("counters");
    SRunner *runner = srunner_create(s);
    int n_failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_counter_is_summed);
    tcase_add_test(tc, a_gauge_raised_here_and_lowered_there_sums_to_zero);
    tcase_add_test(tc, a_gauge_caught_below_zero_reads_zero);
    tcase_add_test(tc, the_metrics_are_well_formed);
    tcase_add_test(tc, the_metrics_say_what_was_counted);
    tcase_add_test(tc, the_json_says_what_was_counted);
    tcase_add_test(tc, s26_a_hostile_user_name_stays_a_string);
    suite_add_tcase(s, tc);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
