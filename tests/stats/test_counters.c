#include <check.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/stats/render.h"
#include "tests/support/suite.h"

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

#define COUNTER(role, field, kind, metric, labels, help)                                           \
    i++;                                                                                           \
    counter_add(&a.field, i);                                                                      \
    counter_add(&b.field, 1000 * i);
#define HISTOGRAM(role, field, metric, help)                                                       \
    histogram_add(&a.field, 15);                                                                   \
    histogram_add(&b.field, 20);
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
    counters_sum(&sum, &a);
    counters_sum(&sum, &b);
    i = 0;
#define COUNTER(role, field, kind, metric, labels, help)                                           \
    i++;                                                                                           \
    ck_assert_uint_eq(sum.field, 1001 * i);
#define HISTOGRAM(role, field, metric, help)                                                       \
    ck_assert_uint_eq(sum.field.bucket[0], 2);                                                     \
    ck_assert_uint_eq(sum.field.sum_us, 35);
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
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

START_TEST(a_time_is_counted_in_the_first_bucket_that_may_hold_it)
{
    struct histogram h = {0};
    uint64_t sum = 0;

    for (size_t i = 0; i < HISTOGRAM_N_BOUNDS; i++) {
        if (i > 0)
            ck_assert_uint_lt(histogram_bounds_us[i - 1], histogram_bounds_us[i]);
        histogram_add(&h, histogram_bounds_us[i]);
        ck_assert_uint_eq(h.bucket[i], 1);
        histogram_add(&h, histogram_bounds_us[i] + 1);
        ck_assert_uint_eq(h.bucket[i + 1], 1);
        h.bucket[i + 1] = 0;
        sum += 2 * (uint64_t)histogram_bounds_us[i] + 1;
    }
    ck_assert_uint_eq(h.sum_us, sum);
    histogram_add(&h, UINT64_MAX / 2);
    ck_assert_uint_eq(h.bucket[HISTOGRAM_N_BOUNDS], 1);
}
END_TEST

START_TEST(a_gauge_caught_below_zero_reads_zero)
{
    struct stats_view view = {.role = STATS_relay};

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
    bool typed, is_histogram;
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
    x->is_histogram = strcmp(type, "histogram") == 0;
    ck_assert(strcmp(type, "gauge") == 0 || strcmp(type, "counter") == 0 || x->is_histogram);
    ck_assert_msg((strcmp(type, "counter") == 0) == (strstr(name, "_total") != NULL), "%s", line);
    x->typed = true;
}

static size_t suffix_len(const char *name, size_t len)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};

    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(suffixes[i]);

        if (len > n && memcmp(name + len - n, suffixes[i], n) == 0)
            return n;
    }
    ck_abort_msg("%s", name);
}

static void check_sample(struct syntax *x, const char *line)
{
    const char *space = strrchr(line, ' ');
    size_t name_len = strcspn(line, "{ "), base_len, series_len;
    char *end;

    ck_assert_msg(space && space[1], "%s", line);
    base_len = x->is_histogram ? name_len - suffix_len(line, name_len) : name_len;
    ck_assert_msg(x->typed && strncmp(x->current, line, base_len) == 0 &&
                      strlen(x->current) == base_len,
                  "%s", line);
    strtod(space + 1, &end);
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

/* What the tables say that a role has. */
static size_t n_series_of(enum stats_role shown)
{
    size_t n = 0;

#define COUNTER(role, field, kind, metric, labels, help) n += (STATS_##role & shown) != 0;
#define HISTOGRAM(role, field, metric, help)             n += STATS_##role & shown ? HISTOGRAM_N_BOUNDS + 3 : 0;
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
    return n;
}

static const enum stats_role roles[] = {STATS_relay, STATS_local};

START_TEST(the_metrics_are_well_formed)
{
    static struct syntax x;
    struct stats_view view = {
        .role = roles[_i],
        .started_s = 1700000000,
        .state = {STATS_LINK_UP, STATS_LINK_DOWN, 1800000000},
    };
    char *line, *rest;

    memset(&x, 0, sizeof(x));
    counter_add(&view.counters.err_403, 7);
    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert_int_eq(text()[strlen(text()) - 1], '\n');
    rest = strdup(text());
    for (char *p = rest; (line = strsep(&p, "\n")) && *line;)
        line[0] == '#' ? check_comment(&x, line) : check_sample(&x, line);
    free(rest);
    ck_assert_uint_eq(x.n_series, n_series_of(roles[_i]) + 5);
}
END_TEST

START_TEST(the_metrics_say_what_was_counted)
{
    struct stats_view view = {.role = STATS_relay, .started_s = 1700000000};

    counter_add(&view.counters.err_403, 7);
    counter_add(&view.counters.up_bytes, 5000000000000ull);
    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert_ptr_nonnull(strstr(text(), "\ncallveil_errors_total{code=\"403\"} 7\n"));
    ck_assert_ptr_nonnull(
        strstr(text(), "\ncallveil_relayed_bytes_total{direction=\"up\"} 5000000000000\n"));
    ck_assert_ptr_nonnull(strstr(text(), "\ncallveil_build_info{version=\"" CALLVEIL_VERSION
                                         "\",role=\"relay\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text(), "\nprocess_start_time_seconds 1700000000\n"));
}
END_TEST

START_TEST(a_role_shows_its_own_counters_only)
{
    struct stats_view view = {.role = roles[_i]};
    bool is_relay = roles[_i] == STATS_relay;

    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert((strstr(text(), "callveil_socks_") == NULL) == is_relay);
    ck_assert((strstr(text(), "callveil_upstream_") == NULL) == is_relay);
    ck_assert((strstr(text(), "callveil_relay_ports") != NULL) == is_relay);
    ck_assert((strstr(text(), "transport=\"dtls\"") != NULL) == is_relay);
    ck_assert_ptr_nonnull(strstr(text(), "callveil_relayed_bytes_total"));
}
END_TEST

START_TEST(a_histogram_is_cumulative_and_in_seconds)
{
    struct stats_view view = {.role = STATS_local};

    histogram_add(&view.counters.upstream_rtt, 30);
    histogram_add(&view.counters.upstream_rtt, 18000);
    histogram_add(&view.counters.upstream_rtt, 7000000);
    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert_ptr_nonnull(strstr(text(), "\n# TYPE callveil_upstream_rtt_seconds histogram\n"));
    for (size_t i = 0; i < HISTOGRAM_N_BOUNDS; i++) {
        char line[128];

        snprintf(line, sizeof(line), "\ncallveil_upstream_rtt_seconds_bucket{le=\"%g\"} %d\n",
                 histogram_bounds_us[i] / 1e6,
                 histogram_bounds_us[i] < 30      ? 0
                 : histogram_bounds_us[i] < 18000 ? 1
                                                  : 2);
        ck_assert_msg(strstr(text(), line) != NULL, "%s", line);
    }
    ck_assert_ptr_nonnull(strstr(text(), "\ncallveil_upstream_rtt_seconds_bucket{le=\"+Inf\"} 3\n"
                                         "callveil_upstream_rtt_seconds_sum 7.018030\n"
                                         "callveil_upstream_rtt_seconds_count 3\n"));
}
END_TEST

START_TEST(what_is_not_there_has_no_series)
{
    struct stats_view view = {.role = STATS_local};

    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert_ptr_null(strstr(text(), "callveil_upstream_up"));
    ck_assert_ptr_null(strstr(text(), "callveil_certificate_expiry"));
    evbuffer_drain(out, evbuffer_get_length(out));
    view.state = (struct stats_state){STATS_LINK_DOWN, STATS_LINK_NONE, 1800000000};
    ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    ck_assert_ptr_nonnull(strstr(text(), "\ncallveil_upstream_up{for=\"datagrams\"} 0\n"));
    ck_assert_ptr_null(strstr(text(), "for=\"streams\""));
    ck_assert_ptr_nonnull(
        strstr(text(), "\ncallveil_certificate_expiry_timestamp_seconds 1800000000\n"));
}
END_TEST

static const char *user_name;

static void describe_user(void *arg, const struct stats_reader *reader, json_t *root)
{
    ck_assert_int_eq(json_object_set_new(root, "user", json_string(user_name)), 0);
}

START_TEST(the_json_says_what_was_counted)
{
    struct stats_source source = {0};
    struct stats_view view = {.role = STATS_relay, .uptime_s = 12};
    json_t *root, *counters, *histogram, *buckets;

    counter_add(&view.counters.err_403, 7);
    counter_sub(&view.counters.clients_udp, 7);
    histogram_add(&view.counters.allocation_time, 50);
    counter_sub(&view.counters.up_bytes, 1); /* more than JSON readers take */
    ck_assert_int_eq(stats_render_json(&source, &view, out), 0);
    root = json_loads(text(), 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "version")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(root, "callveil")), CALLVEIL_VERSION);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "uptime_s")), 12);
    counters = json_object_get(root, "counters");
    ck_assert_ptr_nonnull(json_object_get(counters, "ports_udp4_free"));
    ck_assert_ptr_null(json_object_get(counters, "socks_connect"));
    ck_assert_int_eq(json_integer_value(json_object_get(counters, "err_403")), 7);
    ck_assert_int_eq(json_integer_value(json_object_get(counters, "clients_udp")), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(counters, "up_bytes")), INT64_MAX);
    ck_assert_uint_eq(json_object_size(json_object_get(root, "histograms")), 1);
    histogram = json_object_get(json_object_get(root, "histograms"), "allocation_time");
    ck_assert_int_eq(json_integer_value(json_object_get(histogram, "count")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(histogram, "sum_us")), 50);
    buckets = json_object_get(histogram, "buckets");
    ck_assert_uint_eq(json_array_size(buckets), HISTOGRAM_N_BOUNDS + 1);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(buckets, 1), "le_us")), 50);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(buckets, 1), "n")), 1);
    ck_assert(json_is_null(json_object_get(json_array_get(buckets, HISTOGRAM_N_BOUNDS), "le_us")));
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

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_counter_is_summed);
    tcase_add_test(tc, a_gauge_raised_here_and_lowered_there_sums_to_zero);
    tcase_add_test(tc, a_gauge_caught_below_zero_reads_zero);
    tcase_add_test(tc, a_time_is_counted_in_the_first_bucket_that_may_hold_it);
    tcase_add_loop_test(tc, the_metrics_are_well_formed, 0, 2);
    tcase_add_test(tc, the_metrics_say_what_was_counted);
    tcase_add_loop_test(tc, a_role_shows_its_own_counters_only, 0, 2);
    tcase_add_test(tc, a_histogram_is_cumulative_and_in_seconds);
    tcase_add_test(tc, what_is_not_there_has_no_series);
    tcase_add_test(tc, the_json_says_what_was_counted);
    tcase_add_test(tc, s26_a_hostile_user_name_stays_a_string);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
