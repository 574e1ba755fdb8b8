/*
 * The page for people, and what only its owner may see.
 */
#include "relay/stats/page.h"
#include "tests/stats/http_fixture.h"
#include "tests/support/suite.h"

#define PAGE_TOKEN "0123456789abcdef0123456789abcdef"

static void describe_secrets_fake(void *arg, const struct stats_reader *reader, json_t *root)
{
    if (!reader->has_token)
        return;
    json_object_set_new(root, "own_addresses", json_string("192.0.2.7"));
}

/* As the local role does it: everybody on loopback may look, the owner sees more. */
static void restart_with_secrets(const char *token)
{
    struct stats_source with_secrets = source;
    struct addr listen;

    with_secrets.describe = describe_secrets_fake;
    with_secrets.page_token = PAGE_TOKEN;
    stats_http_free(http);
    ck_assert(addr_parse_ip("127.0.0.1", 0, &listen));
    ck_assert_int_eq(stats_http_new(base, &listen, token, &with_secrets, &http), 0);
}

static const char *get_as(const char *token)
{
    return ask("GET /stats.json HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAuthorization: Bearer %s\r\n\r\n",
               port(), token);
}

static const char *policy_of(const char *text)
{
    const char *policy = strstr(text, "\r\nContent-Security-Policy: ");

    ck_assert_ptr_nonnull(policy);
    ck_assert_ptr_null(strstr(policy + 2, "\r\nContent-Security-Policy: "));
    return policy;
}

START_TEST(the_page_is_served_with_a_policy_of_its_own)
{
    static const char *const paths[] = {"/", "/check", "/style.css", "/index.js", "/check.js"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const char *policy;

        expect_status(get(paths[i]), 200);
        policy = policy_of(reply);
        ck_assert_ptr_nonnull(strstr(policy, "default-src 'none'; script-src 'self';"));
        ck_assert_ptr_null(strstr(policy, "unsafe"));
        ck_assert_ptr_nonnull(strstr(reply, "\r\nX-Content-Type-Options: nosniff\r\n"));
        ck_assert_ptr_nonnull(strstr(reply, "\r\nReferrer-Policy: no-referrer\r\n"));
    }
    expect_status(ask("HEAD / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", port()), 200);
    ck_assert_str_eq(body_of(reply), "");
    expect_status(ask("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 421);
}
END_TEST

START_TEST(the_page_asks_for_no_token_and_tells_nothing)
{
    restart("127.0.0.1", "the token");
    expect_status(get("/"), 200);
    expect_status(get("/check"), 200);
    expect_status(get("/index.js"), 200);
    expect_status(get("/stats.json"), 401);
    expect_status(get("/no-such.js"), 401);
}
END_TEST

/* What the policy would stop at run time is not even there. */
START_TEST(no_file_has_inline_script_or_style_or_names_another_host)
{
    static const char *const wrong[] = {
        " style=",        "<style",    "javascript:",        " onclick=",
        " onload=",       "innerHTML", "insertAdjacentHTML", "eval(",
        "document.write", "//cdn"};

    for (size_t i = 0; i < n_page_files; i++) {
        const struct page_file *file = &page_files[i];
        char *text = strndup((const char *)file->data, file->len);
        const char *at = text;

        ck_assert_ptr_nonnull(text);
        ck_assert_uint_eq(strlen(text), file->len);
        for (size_t n = 0; n < sizeof(wrong) / sizeof(wrong[0]); n++)
            ck_assert_msg(!strstr(text, wrong[n]), "%s: %s", file->path, wrong[n]);
        while ((at = strstr(at, "<script")) != NULL) {
            ck_assert_msg(strncmp(at, "<script type=\"module\" src=\"/", 28) == 0, "%s",
                          file->path);
            at++;
        }
        free(text);
    }
}
END_TEST

START_TEST(secrets_are_for_who_shows_the_page_token)
{
    restart_with_secrets(NULL);
    expect_status(get("/stats.json"), 200);
    ck_assert_ptr_null(strstr(reply, "192.0.2.7"));
    expect_status(get_as(PAGE_TOKEN), 200);
    ck_assert_ptr_nonnull(strstr(reply, "192.0.2.7"));
    expect_status(get_as("0123456789abcdef0123456789abcdeF"), 200);
    ck_assert_ptr_null(strstr(reply, "192.0.2.7"));
    expect_status(get_as(""), 200);
    ck_assert_ptr_null(strstr(reply, "192.0.2.7"));
}
END_TEST

START_TEST(either_token_opens_where_one_is_set)
{
    restart_with_secrets("the token");
    expect_status(get("/stats.json"), 401);
    expect_status(get_as("wrong"), 401);
    expect_status(get_as("the token"), 200);
    ck_assert_ptr_nonnull(strstr(reply, "192.0.2.7"));
    expect_status(get_as(PAGE_TOKEN), 200);
    ck_assert_ptr_nonnull(strstr(reply, "192.0.2.7"));
    /* and the metrics have none of it */
    expect_status(ask("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAuthorization: Bearer %s\r\n"
                      "\r\n",
                      port(), PAGE_TOKEN),
                  200);
    ck_assert_ptr_null(strstr(reply, "192.0.2.7"));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("stats/page");
    TCase *tc = tcase_create("page");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, the_page_is_served_with_a_policy_of_its_own);
    tcase_add_test(tc, the_page_asks_for_no_token_and_tells_nothing);
    tcase_add_test(tc, no_file_has_inline_script_or_style_or_names_another_host);
    tcase_add_test(tc, secrets_are_for_who_shows_the_page_token);
    tcase_add_test(tc, either_token_opens_where_one_is_set);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return suite_run(suite());
}
