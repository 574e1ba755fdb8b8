/*
 * Method negotiation, logins, requests that are refused (RFC 1928, RFC 1929)
 */
#include <errno.h>

#include "tests/front/socks5_env.h"

/* ---- methods ---- */

START_TEST(no_authentication_is_chosen_without_users)
{
    struct far *app = app_new();

    SAY(app, "\x05\x03\x01\x02\x00");
    GOT(app, "\x05\x00");
    ck_assert(!app->close_called);
}
END_TEST

START_TEST(without_an_acceptable_method_0xff_and_the_end)
{
    struct far *app = app_new();

    SAY(app, "\x05\x02\x01\x80");
    GOT(app, "\x05\xFF");
    ck_assert(app->close_called);
    fake_streams_turn();
    ck_assert(app->freed);
    app = app_new();
    SAY(app, "\x05\x00");
    GOT(app, "\x05\xFF");
    ck_assert(app->close_called);
}
END_TEST

START_TEST(messages_may_come_in_pieces_or_all_at_once)
{
    static const char all[] = "\x05\x01\x00\x05\x01\x00\x01\xCB\x00\x71\x09\x17\x70";
    struct far *app = app_new();

    for (size_t i = 0; i < sizeof(all) - 1; i++) {
        ck_assert_uint_eq(env.exit.n_dials, 0);
        far_write(app, all + i, 1);
    }
    ck_assert(fake_exit_is_dialing(&env.exit, "203.0.113.9:6000"));
    app = app_new();
    far_write(app, all, sizeof(all) - 1);
    ck_assert_uint_eq(env.exit.n_dials, 2);
}
END_TEST

START_TEST(other_protocols_are_closed_without_a_word)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\n", "\x04\x01\x00\x50", "\x16\x03\x01"};

    for (size_t i = 0; i < 3; i++) {
        struct far *app = app_new();

        far_write(app, texts[i], 3);
        fake_streams_turn();
        ck_assert(app->freed);
        ck_assert_uint_eq(app->n_got, 0);
    }
}
END_TEST

/* ---- S43: nothing before authentication ---- */

START_TEST(s43_a_request_before_the_methods_is_closed_without_an_answer)
{
    struct far *app = app_new();

    /* As a method selection this is one of one method, "no authentication" after it: bytes of a
     * request are never taken for anything but messages in their order. */
    SAY(app, "\x05\x01\x80\x01\xCB\x00\x71\x09\x17\x70");
    GOT(app, "\x05\xFF");
    fake_streams_turn();
    ck_assert(app->freed);
    ck_assert_uint_eq(env.exit.n_dials, 0);
}
END_TEST

START_TEST(s43_with_users_an_offer_of_no_authentication_is_not_taken)
{
    struct far *app;

    env_add_users();
    app = app_new();
    SAY(app, "\x05\x01\x00\x05\x01\x00\x01\xCB\x00\x71\x09\x17\x70");
    GOT(app, "\x05\xFF");
    fake_streams_turn();
    ck_assert(app->freed);
    ck_assert_uint_eq(env.exit.n_dials, 0);
}
END_TEST

static struct far *app_logging_in(void)
{
    struct far *app = app_new();

    SAY(app, "\x05\x02\x00\x02");
    GOT(app, "\x05\x02");
    return app;
}

START_TEST(s43_a_request_in_place_of_the_login_is_closed)
{
    struct far *app;

    env_add_users();
    app = app_logging_in();
    SAY(app, "\x05\x01\x00\x01\xCB\x00\x71\x09\x17\x70");
    GOT(app, "\x01\x01");
    fake_streams_turn();
    ck_assert(app->freed);
    ck_assert_uint_eq(env.exit.n_dials, 0);
}
END_TEST

START_TEST(s43_nothing_counts_after_a_failed_login)
{
    struct far *app;

    env_add_users();
    app = app_logging_in();
    SAY(app, "\x01\x05"
             "alice\x05"
             "wrong"
             "\x01\x05"
             "alice\x0A"
             "wonderland"
             "\x05\x01\x00\x01\xCB\x00\x71\x09\x17\x70");
    GOT(app, "\x01\x01");
    SAY(app, "\x01\x05"
             "alice\x0A"
             "wonderland");
    SAY(app, "\x05\x01\x00\x01\xCB\x00\x71\x09\x17\x70");
    ck_assert_uint_eq(app->n_got, 0);
    ck_assert_uint_eq(env.exit.n_dials, 0);
    ck_assert_uint_eq(env.counters.socks_auth_failed, 1);
    fake_streams_turn();
    ck_assert(app->freed);
}
END_TEST

START_TEST(s43_users_that_a_reload_brought_are_asked_of_those_on_their_way_too)
{
    struct far *app = app_ready();

    env_add_users();
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    check_failed(app, SOCKS5_FORBIDDEN);
    ck_assert_uint_eq(env.exit.n_dials, 0);
}
END_TEST

START_TEST(a_listener_that_others_reach_is_never_open)
{
    struct far *app = app_new();

    SAY(app, "\x05\x01\x00");
    GOT(app, "\x05\xFF");
    app = app_new();
    SAY(app, "\x05\x01\x02");
    GOT(app, "\x05\x02");
    SAY(app, "\x01\x01x\x01y");
    GOT(app, "\x01\x01");
}
END_TEST

/* ---- logins ---- */

static void login(struct far *app, const char *name, size_t name_len, const char *password,
                  size_t password_len)
{
    uint8_t buf[600];
    struct writer w = writer_make(buf, sizeof(buf));

    writer_u8(&w, 1);
    writer_u8(&w, (uint8_t)name_len);
    writer_bytes(&w, name, name_len);
    writer_u8(&w, (uint8_t)password_len);
    writer_bytes(&w, password, password_len);
    far_write(app, buf, w.len);
}

static bool logs_in(const char *name, size_t name_len, const char *password, size_t password_len)
{
    struct far *app = app_logging_in();
    bool ok;

    login(app, name, name_len, password, password_len);
    ck_assert_uint_eq(app->n_got, 2);
    ck_assert_uint_eq(app->got[0], 1);
    ok = app->got[1] == 0;
    ck_assert(app->close_called == !ok);
    return ok;
}

START_TEST(each_user_logs_in_with_its_own_password_only)
{
    static char long_text[255];

    env_add_users();
    memset(long_text, 'a', sizeof(long_text));
    ck_assert(logs_in("alice", 5, "wonderland", 10));
    ck_assert(logs_in("bob", 3, "builder", 7));
    ck_assert(!logs_in("alice", 5, "builder", 7));
    ck_assert(!logs_in("bob", 3, "wonderland", 10));
    ck_assert(!logs_in("alice", 5, "wonderlan", 9));
    ck_assert(!logs_in("alice", 5, "wonderland2", 11));
    ck_assert(!logs_in("alic", 4, "wonderland", 10));
    ck_assert(!logs_in("eve", 3, "wonderland", 10));
    ck_assert(!logs_in("alice", 5, "", 0));
    ck_assert(!logs_in(long_text, 255, long_text, 255));
    ck_assert(!logs_in("alice\0", 6, "wonderland", 10));
    ck_assert(!logs_in("alice", 5, "wonderland\0", 11));
}
END_TEST

START_TEST(names_and_passwords_are_compared_in_their_normal_form)
{
    env_add_users();
    env.users[0].name = (char *)"zo\xC3\xAB"; /* as the loader has prepared it: composed */
    ck_assert(logs_in("zoe\xCC\x88", 5, "wonderland", 10));
}
END_TEST

START_TEST(a_user_of_whom_only_a_key_is_stored_cannot_log_in)
{
    env_add_users();
    ck_assert(!logs_in("carol", 5, "", 0));
    ck_assert(!logs_in("carol", 5, "x", 1));
}
END_TEST

START_TEST(a_login_of_another_version_or_without_a_name_fails)
{
    struct far *app;

    env_add_users();
    app = app_logging_in();
    SAY(app, "\x02");
    GOT(app, "\x01\x01");
    ck_assert(app->close_called);
    ck_assert(!logs_in("", 0, "wonderland", 10));
}
END_TEST

START_TEST(after_a_login_requests_are_heard)
{
    struct far *app;

    env_add_users();
    app = app_logging_in();
    login(app, "alice", 5, "wonderland", 10);
    GOT(app, "\x01\x00");
    app_asks(app, SOCKS5_CONNECT, "203.0.113.9", 6000);
    ck_assert(fake_exit_is_dialing(&env.exit, "203.0.113.9:6000"));
}
END_TEST

/* ---- requests ---- */

START_TEST(unknown_commands_get_7)
{
    static const uint8_t commands[] = {0, 4, 0x80, 0xFF};

    for (size_t i = 0; i < sizeof(commands); i++) {
        uint8_t request[] = {5, commands[i], 0, 1, 203, 0, 113, 9, 0x17, 0x70};
        struct far *app = app_ready();

        far_write(app, request, sizeof(request));
        check_failed(app, SOCKS5_BAD_COMMAND);
    }
    ck_assert_uint_eq(env.counters.socks_failed, 4);
}
END_TEST

START_TEST(unknown_address_types_get_8)
{
    static const uint8_t types[] = {0, 2, 5, 0xFF};

    for (size_t i = 0; i < sizeof(types); i++) {
        uint8_t request[] = {5, 1, 0, types[i], 203, 0, 113, 9, 0x17, 0x70};
        struct far *app = app_ready();

        far_write(app, request, sizeof(request));
        check_failed(app, SOCKS5_BAD_ADDRESS_TYPE);
    }
}
END_TEST

START_TEST(a_reserved_byte_that_is_set_gets_1_and_another_version_the_end)
{
    struct far *app = app_ready();

    SAY(app, "\x05\x01\x01\x01\xCB\x00\x71\x09\x17\x70");
    check_failed(app, SOCKS5_FAILED);
    app = app_ready();
    SAY(app, "\x04\x01\x00\x01\xCB\x00\x71\x09\x17\x70");
    fake_streams_turn();
    ck_assert(app->freed);
    ck_assert_uint_eq(app->n_got, 0);
}
END_TEST

START_TEST(s46_names_that_are_none_get_1)
{
    static const char *const names[] = {"", "a b", "a\tb", "a\nb", "\x7F", " ", "a\r\n"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        uint8_t request[300] = {5, 1, 0, 3, (uint8_t)strlen(names[i])};
        struct far *app = app_ready();

        memcpy(request + 5, names[i], strlen(names[i]));
        far_write(app, request, 5 + strlen(names[i]) + 2);
        check_failed(app, SOCKS5_FAILED);
    }
    ck_assert_uint_eq(env.exit.n_lookups, 0);
}
END_TEST

START_TEST(s46_a_nul_in_a_name_gets_1)
{
    struct far *app = app_ready();

    SAY(app, "\x05\x01\x00\x03\x0D"
             "a.example\0.b\0"
             "\x00\x50");
    check_failed(app, SOCKS5_FAILED);
    ck_assert_uint_eq(env.exit.n_lookups, 0);
}
END_TEST

START_TEST(s46_a_name_of_255_bytes_is_resolved_whole)
{
    static uint8_t request[5 + 255 + 2] = {5, 1, 0, 3, 255};
    char name[256];
    struct far *app = app_ready();

    memset(name, 'n', 255);
    name[255] = '\0';
    memcpy(request + 5, name, 255);
    request[sizeof(request) - 1] = 80;
    far_write(app, request, sizeof(request));
    fake_exit_resolved(&env.exit, name, EXIT_E_NAME, "");
    check_failed(app, SOCKS5_HOST_UNREACHABLE);
}
END_TEST

/* ---- limits ---- */

START_TEST(an_app_that_says_nothing_has_half_a_minute)
{
    struct far *silent = app_new(), *half = app_new(), *ready = app_ready();

    SAY(half, "\x05");
    env_pass(29);
    ck_assert(!silent->freed);
    env_pass(1);
    ck_assert(silent->freed);
    ck_assert(half->freed);
    ck_assert(ready->freed);
}
END_TEST

START_TEST(a_failure_that_is_not_read_is_closed_within_ten_seconds)
{
    struct far *app = app_ready();

    app->window = 0;
    SAY(app, "\x05\x09\x00\x01\xCB\x00\x71\x09\x17\x70");
    fake_streams_turn();
    ck_assert(!app->freed);
    env_pass(10);
    ck_assert(app->freed);
}
END_TEST

START_TEST(connections_are_limited_and_counted)
{
    struct far *last;

    env.s->n_conns = SOCKS5_CONNS_MAX - 1;
    last = app_new();
    ck_assert(!last->freed);
    ck_assert_ptr_null(socks5_take(env.s, far_new()->stream));
    ck_assert_uint_eq(fake_streams_count(), 1);
    ck_assert_uint_eq(env.counters.socks_refused, 1);
    far_fin(last);
    fake_streams_turn();
    ck_assert(!app_new()->freed); /* a place became free */
    env.s->n_conns = 1;
}
END_TEST

START_TEST(an_app_that_leaves_in_between_leaves_nothing)
{
    far_fin(app_new());
    far_fin(app_ready());
    far_reset(app_ready());
    fake_streams_turn();
    ck_assert_uint_eq(env.counters.socks_connections, 0);
}
END_TEST

static void setup_open(void)
{
    env_begin_at("0.0.0.0");
}

int main(void)
{
    Suite *s = suite_create("front/socks5");
    TCase *t = tcase_create("negotiation");
    TCase *u = tcase_create("open");

    tcase_add_checked_fixture(t, env_begin, env_end);
    tcase_add_test(t, no_authentication_is_chosen_without_users);
    tcase_add_test(t, without_an_acceptable_method_0xff_and_the_end);
    tcase_add_test(t, messages_may_come_in_pieces_or_all_at_once);
    tcase_add_test(t, other_protocols_are_closed_without_a_word);
    tcase_add_test(t, s43_a_request_before_the_methods_is_closed_without_an_answer);
    tcase_add_test(t, s43_with_users_an_offer_of_no_authentication_is_not_taken);
    tcase_add_test(t, s43_a_request_in_place_of_the_login_is_closed);
    tcase_add_test(t, s43_nothing_counts_after_a_failed_login);
    tcase_add_test(t, s43_users_that_a_reload_brought_are_asked_of_those_on_their_way_too);
    tcase_add_test(t, each_user_logs_in_with_its_own_password_only);
    tcase_add_test(t, names_and_passwords_are_compared_in_their_normal_form);
    tcase_add_test(t, a_user_of_whom_only_a_key_is_stored_cannot_log_in);
    tcase_add_test(t, a_login_of_another_version_or_without_a_name_fails);
    tcase_add_test(t, after_a_login_requests_are_heard);
    tcase_add_test(t, unknown_commands_get_7);
    tcase_add_test(t, unknown_address_types_get_8);
    tcase_add_test(t, a_reserved_byte_that_is_set_gets_1_and_another_version_the_end);
    tcase_add_test(t, s46_names_that_are_none_get_1);
    tcase_add_test(t, s46_a_nul_in_a_name_gets_1);
    tcase_add_test(t, s46_a_name_of_255_bytes_is_resolved_whole);
    tcase_add_test(t, an_app_that_says_nothing_has_half_a_minute);
    tcase_add_test(t, a_failure_that_is_not_read_is_closed_within_ten_seconds);
    tcase_add_test(t, connections_are_limited_and_counted);
    tcase_add_test(t, an_app_that_leaves_in_between_leaves_nothing);
    suite_add_tcase(s, t);

    tcase_add_checked_fixture(u, setup_open, env_end);
    tcase_add_test(u, a_listener_that_others_reach_is_never_open);
    suite_add_tcase(s, u);
    return suite_run(s);
}
