/*
 * What a person reads, or copies, about the statistics, held against counters.def.
 */
#include <check.h>
#include <ctype.h>
#include <event2/buffer.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/stats/render.h"
#include "tests/support/suite.h"

static char text[1 << 18];

static const struct {
    const char *field, *metric, *labels;
    unsigned int roles;
    bool is_histogram;
} rows[] = {
#define COUNTER(role, field, kind, metric, labels, help)                                           \
    {#field, metric, labels, STATS_##role, false},
#define HISTOGRAM(role, field, metric, help) {#field, metric, "", STATS_##role, true},
#include "relay/stats/counters.def"
#undef COUNTER
#undef HISTOGRAM
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

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

/* The entry of `name` in a section of the manual, cut out. */
static char *find_entry(const char *head, const char *name)
{
    char line[256], *section, *end, *entry;

    read_document("conf/man/callveil-stats.5");
    section = strstr(text, head);
    ck_assert_msg(section != NULL, "no %s", head);
    end = strstr(section + 1, "\n.Sh ");
    if (end)
        *end = '\0';
    snprintf(line, sizeof(line), "\n.It Cm %s\n", name);
    entry = strstr(section, line);
    ck_assert_msg(entry != NULL, "no entry %s in%s", name, head);
    ck_assert_msg(strstr(entry + 1, line) == NULL, "two entries %s", name);
    end = strstr(entry + 1, "\n.It ");
    if (end)
        *end = '\0';
    return entry;
}

START_TEST(every_counter_is_in_the_manual_with_its_role_and_metric)
{
    char *entry = find_entry(rows[_i].is_histogram ? "\n.Sh HISTOGRAMS\n" : "\n.Sh COUNTERS\n",
                             rows[_i].field);
    char line[256];

    snprintf(line, sizeof(line), rows[_i].labels[0] ? "\nMetric: %s{%s}" : "\nMetric: %s%s",
             rows[_i].metric, rows[_i].labels);
    ck_assert_msg(strstr(entry, line) != NULL, "%s: no line%s", rows[_i].field, line);
    ck_assert_msg((strstr(entry, "Relay only.") != NULL) == (rows[_i].roles == STATS_relay),
                  "%s: is it the relay's only?", rows[_i].field);
    ck_assert_msg((strstr(entry, "Local proxy only.") != NULL) == (rows[_i].roles == STATS_local),
                  "%s: is it the local proxy's only?", rows[_i].field);
}
END_TEST

START_TEST(the_manual_has_no_entry_for_what_is_not_counted)
{
    size_t n_entries = 0;

    read_document("conf/man/callveil-stats.5");
    for (char *at = text; (at = strstr(at, "\nMetric: ")) != NULL; at++)
        n_entries++;
    ck_assert_uint_eq(n_entries, N_ROWS);
}
END_TEST

/* ---- metrics that other files name ---- */

static const char *const suffixes[] = {"_bucket", "_sum", "_count", ""};

static bool metric_exists(const char *name, size_t len, const char *metrics)
{
    char line[256];

    for (size_t i = 0; i < 4; i++) {
        size_t n = strlen(suffixes[i]);

        if (len <= n || memcmp(name + len - n, suffixes[i], n) != 0)
            continue;
        snprintf(line, sizeof(line), "\n# TYPE %.*s %s", (int)(len - n), name,
                 n > 0 ? "histogram\n" : "");
        if (strstr(metrics, line))
            return true;
    }
    return false;
}

/* What both roles show when all is there; the caller frees it. */
static char *all_metrics(void)
{
    static const enum stats_role roles[] = {STATS_relay, STATS_local};
    struct evbuffer *out = evbuffer_new();
    char *metrics;

    for (size_t i = 0; i < 2; i++) {
        struct stats_view view = {.role = roles[i],
                                  .state = {STATS_LINK_UP, STATS_LINK_UP, 1800000000}};

        ck_assert_int_eq(stats_render_metrics(&view, out), 0);
    }
    evbuffer_add(out, "", 1);
    metrics = strdup((const char *)evbuffer_pullup(out, -1));
    evbuffer_free(out);
    return metrics;
}

static size_t check_metrics(const char *document, const char *prefix)
{
    char *metrics = all_metrics();
    size_t n = 0;

    for (const char *at = document; (at = strstr(at, prefix)) != NULL; n++) {
        size_t len = 0;

        while (isalnum((unsigned char)at[len]) || at[len] == '_')
            len++;
        ck_assert_msg(metric_exists(at, len, metrics), "no metric %.*s", (int)len, at);
        at += len;
    }
    free(metrics);
    return n;
}

START_TEST(the_dashboard_is_json_and_names_metrics_that_exist)
{
    json_error_t error;
    json_t *root, *panels, *panel;
    size_t i;

    read_document("conf/grafana-dashboard.json");
    root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(root != NULL, "line %d: %s", error.line, error.text);
    panels = json_object_get(root, "panels");
    ck_assert_uint_gt(json_array_size(panels), 5);
    json_array_foreach(panels, i, panel)
    {
        json_t *targets = json_object_get(panel, "targets"), *target;
        size_t j;

        ck_assert_ptr_nonnull(json_string_value(json_object_get(panel, "title")));
        ck_assert_uint_gt(json_array_size(targets), 0);
        json_array_foreach(targets, j, target)
        {
            const char *expr = json_string_value(json_object_get(target, "expr"));

            ck_assert_ptr_nonnull(expr);
            ck_assert_msg(check_metrics(expr, "callveil_") + check_metrics(expr, "process_") > 0,
                          "%s", expr);
        }
    }
    json_decref(root);
}
END_TEST

START_TEST(the_scrape_file_names_both_ports_and_metrics_that_exist)
{
    read_document("conf/prometheus.yml");
    ck_assert_ptr_nonnull(strstr(text, "127.0.0.1:9641"));
    ck_assert_ptr_nonnull(strstr(text, "127.0.0.1:9642"));
    check_metrics(text, "callveil_");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stats/documents");
    TCase *tc = tcase_create("documents");

    tcase_add_loop_test(tc, every_counter_is_in_the_manual_with_its_role_and_metric, 0,
                        (int)N_ROWS);
    tcase_add_test(tc, the_manual_has_no_entry_for_what_is_not_counted);
    tcase_add_test(tc, the_dashboard_is_json_and_names_metrics_that_exist);
    tcase_add_test(tc, the_scrape_file_names_both_ports_and_metrics_that_exist);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
