#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/addr.h"
#include "tests/support/suite.h"

static int real_stderr, captured;
static char text[65536];

/* stderr is a file in memory while a test runs. */
static void setup(void)
{
    real_stderr = dup(STDERR_FILENO);
    captured = memfd_create("stderr", MFD_CLOEXEC);
    ck_assert_int_ge(captured, 0);
    dup2(captured, STDERR_FILENO);
    unsetenv("JOURNAL_STREAM");
    log_init(LOG_LEVEL_INFO, false);
}

static void teardown(void)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(captured);
    unsetenv("JOURNAL_STREAM");
}

/* What was written since the last call. */
static const char *written(void)
{
    ssize_t n = pread(captured, text, sizeof(text) - 1, 0);

    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    ck_assert_int_eq(ftruncate(captured, 0), 0);
    lseek(captured, 0, SEEK_SET);
    return text;
}

static unsigned int n_lines(const char *s)
{
    unsigned int n = 0;

    for (; *s; s++)
        n += *s == '\n';
    return n;
}

static void pretend_journal(const char *change)
{
    struct stat st;
    char stream[64];

    ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu%s", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino, change);
    setenv("JOURNAL_STREAM", stream, 1);
}

START_TEST(a_line_has_time_and_level)
{
    int year, month, day, hour, minute, second, ms, end = 0;

    log_warn("port %d is busy", 3478);
    ck_assert_int_eq(sscanf(written(), "%d-%d-%dT%d:%d:%d.%3dZ warning: port 3478 is busy\n%n",
                            &year, &month, &day, &hour, &minute, &second, &ms, &end),
                     7);
    ck_assert_int_eq(end, (int)strlen(text));
    ck_assert_int_ge(year, 2024);
}
END_TEST

START_TEST(the_journal_gets_a_priority_and_no_time)
{
    pretend_journal("");
    log_init(LOG_LEVEL_DEBUG, false);
    log_error("a");
    log_warn("b");
    log_info("c");
    log_debug("d");
    ck_assert_str_eq(written(), "<3>a\n<4>b\n<6>c\n<7>d\n");
}
END_TEST

START_TEST(a_journal_stream_inherited_for_another_file_is_not_ours)
{
    pretend_journal("0");
    log_init(LOG_LEVEL_INFO, false);
    log_info("x");
    ck_assert_ptr_nonnull(strstr(written(), "Z info: x\n"));
}
END_TEST

START_TEST(lines_above_the_level_are_not_written)
{
    log_debug("no");
    log_init(LOG_LEVEL_ERROR, false);
    log_warn("no");
    log_info("no");
    ck_assert_str_eq(written(), "");
    ck_assert(!log_enabled(LOG_LEVEL_WARNING));
    log_error("yes");
    ck_assert_uint_eq(n_lines(written()), 1);
}
END_TEST

START_TEST(s26_hostile_text_is_made_printable)
{
    char buf[LOG_TEXT_LEN];

    ck_assert_str_eq(log_text("alice", 5, buf), "alice");
    ck_assert_str_eq(log_text("a\nb\r\x1b[2J", 8, buf), "a\\x0ab\\x0d\\x1b[2J");
    ck_assert_str_eq(log_text("\"\\ \x7f", 4, buf), "\\x22\\x5c\\x20\\x7f");
    ck_assert_str_eq(log_text("\x00\xff\xc2\x9b", 4, buf), "\\x00\\xff\\xc2\\x9b");
    ck_assert_str_eq(log_text("%s%n%x", 6, buf), "%s%n%x");
    ck_assert_str_eq(log_text("", 0, buf), "");
}
END_TEST

START_TEST(s26_text_is_never_a_format)
{
    char buf[LOG_TEXT_LEN];

    log_info("user %s", log_text("%s%s%n%x<script>", 16, buf));
    ck_assert_ptr_nonnull(strstr(written(), "user %s%s%n%x<script>\n"));
}
END_TEST

START_TEST(long_text_is_cut_between_two_escapes)
{
    char buf[LOG_TEXT_LEN], in[600];

    for (size_t len = 0; len < sizeof(in); len += 7) {
        memset(in, 'a', sizeof(in));
        ck_assert_uint_eq(strlen(log_text(in, len, buf)),
                          len < LOG_TEXT_LEN ? len : LOG_TEXT_LEN - 1);
        memset(in, '\n', sizeof(in));
        ck_assert_uint_eq(strlen(log_text(in, len, buf)), len * 4 < 124 ? len * 4 : 124);
    }
}
END_TEST

START_TEST(an_event_is_one_line_even_where_escaping_was_forgotten)
{
    log_info("user %s", "eve\n<0>system: \x1b[31mall is lost\r\x7f\t");
    ck_assert_uint_eq(n_lines(written()), 1);
    ck_assert_ptr_nonnull(strstr(text, "user eve?<0>system: ?[31mall is lost???\n"));
    log_info("naïve"); /* UTF-8 stays */
    ck_assert_ptr_nonnull(strstr(written(), "naïve\n"));
}
END_TEST

START_TEST(a_line_of_any_length_ends_in_one_newline)
{
    static char in[3000];

    for (size_t len = 900; len < 1100; len++) {
        memset(in, 'x', len);
        in[len] = '\0';
        log_info("%s", in);
        ck_assert_uint_eq(n_lines(written()), 1);
        ck_assert_uint_le(strlen(text), 1024);
        ck_assert_uint_ge(strlen(text), 900);
        ck_assert_int_eq(text[strlen(text) - 1], '\n');
    }
}
END_TEST

START_TEST(addresses_are_hidden_unless_asked_for)
{
    char buf[ADDR_STRLEN];
    struct addr a;

    ck_assert(addr_parse("203.0.113.5:4711", &a));
    ck_assert_str_eq(addr_logged(&a, buf), "(address hidden)");
    log_init(LOG_LEVEL_INFO, true);
    ck_assert_str_eq(addr_logged(&a, buf), "203.0.113.5:4711");
    ck_assert(addr_parse("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", &a));
    ck_assert_str_eq(addr_logged(&a, buf), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
    log_init(LOG_LEVEL_INFO, false);
    ck_assert_str_eq(addr_logged(&a, buf), "(address hidden)");
}
END_TEST

static uint64_t this_minute(void)
{
    return clock_now_ns() / (60 * NS_PER_S);
}

static unsigned int flood(struct log_limit *limit, unsigned int n)
{
    unsigned int n_allowed = 0;

    for (unsigned int i = 0; i < n; i++)
        n_allowed += log_limit_allows(limit);
    return n_allowed;
}

/* Unless the minute turned meanwhile, which is not what is tested. */
START_TEST(a_flood_is_five_lines_and_a_count_of_the_rest)
{
    struct log_limit limit;
    uint64_t minute;

    do {
        minute = this_minute();
        limit = (struct log_limit){.window = minute};
        written();
        ck_assert_uint_le(flood(&limit, 1000), 2 * LOG_LIMIT_BURST);
    } while (minute != this_minute());
    ck_assert_uint_eq(limit.n_dropped, 995);
    ck_assert_str_eq(written(), "");

    limit.window = minute - 1;
    ck_assert(log_limit_allows(&limit));
    ck_assert_ptr_nonnull(strstr(written(), "995 further lines like the next one were withheld"));
    ck_assert_uint_eq(n_lines(text), 1);
    ck_assert_uint_eq(limit.n_dropped, 0);

    limit.window = minute - 1;
    ck_assert(log_limit_allows(&limit));
    ck_assert_str_eq(written(), ""); /* nothing was withheld, nothing is said */
}
END_TEST

START_TEST(an_older_minute_opens_no_new_window)
{
    struct log_limit limit = {.window = this_minute() + 5};

    ck_assert_uint_eq(flood(&limit, 100), LOG_LIMIT_BURST);
    ck_assert_uint_eq(limit.window, this_minute() + 5);
}
END_TEST

static void one_line(int i)
{
    log_limited(LOG_LEVEL_INFO, "line %d", i);
}

START_TEST(each_call_site_has_a_limit_of_its_own)
{
    for (int i = 0; i < 100; i++)
        one_line(i);
    for (int i = 0; i < 3; i++)
        log_limited(LOG_LEVEL_WARNING, "other %d", i);
    written();
    ck_assert_ptr_nonnull(strstr(text, "line 4\n"));
    ck_assert_uint_le(n_lines(text), 2 * LOG_LIMIT_BURST + 1 + 3);
    ck_assert_ptr_nonnull(strstr(text, "other 2\n"));
}
END_TEST

START_TEST(limited_lines_below_the_level_are_not_counted)
{
    log_init(LOG_LEVEL_ERROR, false);
    for (int i = 0; i < 50; i++)
        one_line(i);
    ck_assert_str_eq(written(), "");
}
END_TEST

static struct log_limit shared;

static void *flood_thread(void *arg)
{
    *(unsigned int *)arg = flood(&shared, 50000);
    return NULL;
}

START_TEST(threads_share_a_call_site_s_limit)
{
    pthread_t threads[4];
    unsigned int n[4], sum = 0;

    shared = (struct log_limit){.window = this_minute() + 5};
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, flood_thread, &n[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        sum += n[i];
    }
    ck_assert_uint_eq(sum, LOG_LIMIT_BURST);
    ck_assert_uint_eq(shared.n_dropped, 200000 - LOG_LIMIT_BURST);
}
END_TEST

START_TEST(errno_survives_a_line_that_cannot_be_written)
{
    int keep = dup(STDERR_FILENO);

    close(STDERR_FILENO);
    errno = ENOSPC;
    log_error("into nowhere");
    ck_assert_int_eq(errno, ENOSPC);
    dup2(keep, STDERR_FILENO);
    close(keep);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/log");
    TCase *tc = tcase_create("log");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_line_has_time_and_level);
    tcase_add_test(tc, the_journal_gets_a_priority_and_no_time);
    tcase_add_test(tc, a_journal_stream_inherited_for_another_file_is_not_ours);
    tcase_add_test(tc, lines_above_the_level_are_not_written);
    tcase_add_test(tc, s26_hostile_text_is_made_printable);
    tcase_add_test(tc, s26_text_is_never_a_format);
    tcase_add_test(tc, long_text_is_cut_between_two_escapes);
    tcase_add_test(tc, an_event_is_one_line_even_where_escaping_was_forgotten);
    tcase_add_test(tc, a_line_of_any_length_ends_in_one_newline);
    tcase_add_test(tc, addresses_are_hidden_unless_asked_for);
    tcase_add_test(tc, a_flood_is_five_lines_and_a_count_of_the_rest);
    tcase_add_test(tc, an_older_minute_opens_no_new_window);
    tcase_add_test(tc, each_call_site_has_a_limit_of_its_own);
    tcase_add_test(tc, limited_lines_below_the_level_are_not_counted);
    tcase_add_test(tc, threads_share_a_call_site_s_limit);
    tcase_add_test(tc, errno_survives_a_line_that_cannot_be_written);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
