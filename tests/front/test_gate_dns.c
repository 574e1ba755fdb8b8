/*
 * DNS of a sealed app: its queries, and servers that answer well, badly or not at all
 */
#include "common/base/cursor.h"
#include "common/wire/dns.h"
#include "tests/front/gate_env.h"

#define ASKED "192.0.2.1:53"

static uint8_t query[512];
static size_t query_len;

static void setup(void)
{
    env_begin();
}

static void teardown(void)
{
    env_end();
}

/* A query for `name`, with id 0x1234 and recursion desired. */
static void make_query(const char *name, uint16_t type)
{
    struct writer w = writer_make(query, sizeof(query));

    writer_u16(&w, 0x1234);
    writer_u16(&w, 0x0100);
    writer_u16(&w, 1);
    writer_zeros(&w, 6);
    while (*name) {
        size_t n = strcspn(name, ".");

        writer_u8(&w, (uint8_t)n);
        writer_bytes(&w, name, n);
        name += n + (name[n] == '.');
    }
    writer_u8(&w, 0);
    writer_u16(&w, type);
    writer_u16(&w, 1);
    query_len = w.len;
}

static void app_asks(const char *name, uint16_t type)
{
    make_query(name, type);
    app_sends_bytes(APP, ASKED, query, query_len);
}

/* The answer of `server` to what the exit sent as datagram `i`, with a byte changed (or none: 0).
 */
static void server_answers(const char *server, size_t i, size_t changed)
{
    const struct fake_datagram *d = &env.exit.sent[i];
    uint8_t buf[600];

    memcpy(buf, d->data, d->len);
    buf[2] |= 0x80;
    memcpy(buf + d->len, "records", 7);
    if (changed > 0)
        buf[changed - 1] ^= 1;
    far_sends_bytes(env.exit.last, server, buf, d->len + 7);
    tx_flush(env.tx);
}

/* The app got a DNS message next, from the address that it had asked. */
static const uint8_t *check_answer(const char *asked, const char *app, size_t *ret_len)
{
    const struct env_said *s;
    const uint8_t *data;

    if (env.n_looked < env.n_said && !env.said[env.n_looked % ENV_SAID_MAX].is_raw) {
        s = env_next_said();
        assert_addr_eq(s->as, asked);
        assert_addr_eq(s->to, app);
        data = s->data;
        *ret_len = s->len;
    } else {
        *ret_len = check_raw_udp(asked, app, &data);
    }
    ck_assert_uint_ge(*ret_len, 12);
    ck_assert_uint_eq(data[0] << 8 | data[1], 0x1234);
    ck_assert(data[2] & 0x80);
    return data;
}

static void check_code(unsigned int rcode)
{
    size_t len;
    const uint8_t *data = check_answer(ASKED, APP, &len);

    ck_assert_uint_eq(data[3] & 0xf, rcode);
    ck_assert_uint_eq(len, query_len);
    ck_assert_mem_eq(data + 12, query + 12, query_len - 12);
}

START_TEST(a_query_of_any_type_goes_to_our_server_and_its_answer_comes_back)
{
    static const uint16_t types[] = {1, 28, 12, 15, 16, 33, 64, 65};
    const uint8_t *data;
    size_t len;

    for (size_t i = 0; i < 8; i++) {
        app_asks("www.Example.com", types[i]);
        assert_addr_eq(env.exit.sent[i].peer, SERVER);
        ck_assert_uint_eq(env.exit.sent[i].len, query_len);
        ck_assert_mem_eq(env.exit.sent[i].data + 2, query + 2, query_len - 2);
        server_answers(SERVER, i, 0);
        tx_flush(env.tx);
        data = check_answer(ASKED, APP, &len);
        ck_assert_uint_eq(len, query_len + 7);
        ck_assert_mem_eq(data + query_len, "records", 7);
        env_keeper_works();
    }
    ck_assert_uint_eq(env.exit.n_opened, 1);
    ck_assert_uint_eq(env.counters.gate_dns, 8);
    ck_assert_uint_eq(env.counters.gate_dns_failed, 0);
}
END_TEST

START_TEST(ids_are_ours_and_differ)
{
    unsigned int n_same = 0;
    size_t len;

    for (int i = 0; i < 60; i++)
        app_asks("example.com", 1);
    for (int i = 0; i < 60; i++) {
        n_same += memcmp(env.exit.sent[i].data, query, 2) == 0;
        for (int k = 0; k < i; k++)
            ck_assert_mem_ne(env.exit.sent[i].data, env.exit.sent[k].data, 2);
    }
    ck_assert_uint_le(n_same, 1); /* it may be drawn */
    for (size_t i = 0; i < 60; i++)
        server_answers(SERVER, i, 0);
    for (int i = 0; i < 60; i++)
        check_answer(ASKED, APP, &len);
    check_silence();
}
END_TEST

START_TEST(an_answer_goes_to_who_asked_in_the_name_of_whom_it_asked)
{
    size_t len;

    make_query("example.com", 1);
    app_sends_bytes("192.0.2.2:50000", "8.8.8.8:53", query, query_len);
    app_sends_bytes("[2001:db8:1::2]:50001", "[2001:4860:4860::8888]:53", query, query_len);
    app_sends_bytes("127.0.0.1:50002", "127.0.0.53:53", query, query_len);
    for (size_t i = 0; i < 3; i++)
        server_answers(SERVER, i, 0);
    check_answer("8.8.8.8:53", "192.0.2.2:50000", &len);
    check_answer("[2001:4860:4860::8888]:53", "[2001:db8:1::2]:50001", &len);
    check_answer("127.0.0.53:53", "127.0.0.1:50002", &len);
}
END_TEST

START_TEST(an_answer_that_is_not_the_servers_is_dropped)
{
    size_t len;

    app_asks("example.com", 1);
    server_answers("9.9.9.8:53", 0, 0);
    server_answers("9.9.9.9:54", 0, 0);
    for (size_t i = 1; i <= query_len; i++)
        if (i == 1 || i == 2 || i == 5 || i > 12) /* id, number of questions, question */
            server_answers(SERVER, 0, i);
    far_sends_bytes(env.exit.last, SERVER, env.exit.sent[0].data, query_len); /* no answer */
    for (size_t n = 0; n < 12; n++)
        far_sends_bytes(env.exit.last, SERVER, env.exit.sent[0].data, n);
    check_silence();
    server_answers(SERVER, 0, 0);
    tx_flush(env.tx);
    check_answer(ASKED, APP, &len);
    server_answers(SERVER, 0, 0); /* a second time */
    check_silence();
}
END_TEST

START_TEST(names_that_only_mean_something_here_are_answered_here)
{
    static const char *const names[] = {"printer.local", "localhost",   "x.localhost", "abc.onion",
                                        "router",        "db.internal", "127.0.0.1",   "A.B.ONION"};

    for (size_t i = 0; i < 8; i++) {
        app_asks(names[i], 1);
        check_code(3);
    }
    ck_assert_uint_eq(env.exit.n_opened, 0);
    ck_assert_uint_eq(env.counters.gate_dns_local, 8);
}
END_TEST

START_TEST(what_is_no_query_gets_no_answer_or_an_error)
{
    make_query("example.com", 1);
    for (size_t n = 0; n < 12; n++)
        app_sends_bytes(APP, ASKED, query, n);
    query[2] |= 0x80; /* an answer */
    app_sends_bytes(APP, ASKED, query, query_len);
    check_silence();
    ck_assert_uint_eq(env.counters.drop_malformed, 13);
    make_query("example.com", 1);
    query[2] |= 0x28; /* an update */
    app_sends_bytes(APP, ASKED, query, query_len);
    query_len = 12;
    check_code(4);
    make_query("example.com", 1);
    app_sends_bytes(APP, ASKED, query, query_len - 1);
    query_len = 12;
    check_code(1);
    ck_assert_uint_eq(env.exit.n_opened, 0);
}
END_TEST

START_TEST(while_the_exit_is_down_queries_fail_at_once)
{
    env.exit.open_v4 = env.exit.open_v6 = EXIT_E_DOWN;
    app_asks("example.com", 1);
    check_code(2);
    app_asks("example.com", 1);
    check_code(2);
    ck_assert_uint_eq(env.exit.n_opened, 1);
    env.exit.open_v4 = EXIT_OK;
    env_pass(1);
    app_asks("example.com", 1);
    check_silence();
    ck_assert_uint_eq(env.exit.n_sent, 1);
    ck_assert_uint_eq(env.counters.gate_dns_failed, 2);
}
END_TEST

START_TEST(queries_wait_for_the_association)
{
    env.exit.open_later = true;
    app_asks("example.com", 1);
    app_asks("example.org", 1);
    ck_assert_uint_eq(env.exit.n_sent, 0);
    fake_exit_answer(env.exit.last);
    ck_assert_uint_eq(env.exit.n_sent, 2);
    check_silence();
}
END_TEST

START_TEST(a_lost_association_fails_what_is_asked_and_the_next_query_opens_another)
{
    app_asks("example.com", 1);
    fake_exit_lose(env.exit.last, EXIT_E_DOWN);
    check_code(2);
    app_asks("example.com", 1);
    ck_assert_uint_eq(env.exit.n_opened, 2);
    check_silence();
}
END_TEST

START_TEST(a_query_lost_in_mid_send_is_whole_on_the_wire_and_fails)
{
    const struct env_said *s;

    env_exit_refers(true);
    app_asks("example.com", 1);
    s = env_next_said();
    ck_assert_ptr_nonnull(s);
    assert_addr_eq(s->to, SERVER);
    ck_assert_uint_eq(s->len, query_len);
    ck_assert_mem_eq(s->data + 2, query + 2, query_len - 2);
    check_code(2);
    ck_assert_ptr_null(env.exit.last);
}
END_TEST

START_TEST(a_query_on_its_way_outlives_the_gate)
{
    struct rx_packet packet = {.data = query, .from = at(APP), .to = at(ASKED)};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    const struct env_said *s;

    make_query("example.com", 1);
    packet.len = query_len;
    env_exit_refers(false);
    env_referring_fd = fd;
    gate_udp_send(env.g, &packet, fake_now_ns);
    gate_free(env.g);
    env.g = NULL;
    s = env_next_said();
    ck_assert_uint_eq(s->len, query_len);
    ck_assert_mem_eq(s->data + 2, query + 2, query_len - 2);
    close(fd);
}
END_TEST

START_TEST(a_silent_server_is_followed_by_the_next_and_then_by_servfail)
{
    env_end();
    env_begin_with(2);
    env_keeper_works();
    app_asks("example.com", 1);
    assert_addr_eq(env.exit.sent[0].peer, SERVER);
    ck_assert(env.exit.last->want.v4 && env.exit.last->want.v6);
    env_pass(2);
    ck_assert_uint_eq(env.exit.n_sent, 2);
    assert_addr_eq(env.exit.sent[1].peer, SERVER_2);
    env_pass(2);
    ck_assert_uint_eq(env.exit.n_sent, 3);
    assert_addr_eq(env.exit.sent[2].peer, SERVER);
    check_silence();
    env_pass(1);
    check_code(2);
    ck_assert_uint_eq(env.counters.gate_dns_failed, 1);
    server_answers(SERVER, 0, 0);
    check_silence();
}
END_TEST

START_TEST(a_server_that_cannot_be_reached_is_passed_over)
{
    size_t len;

    env_end();
    env_begin_with(2);
    env_keeper_works();
    env.exit.open_v4 = EXIT_E_FAMILY;
    app_asks("example.com", 28);
    assert_addr_eq(env.exit.sent[0].peer, SERVER_2);
    server_answers(SERVER_2, 0, 0);
    tx_flush(env.tx);
    check_answer(ASKED, APP, &len);
}
END_TEST

START_TEST(addresses_of_a_family_that_the_relay_has_not_are_not_told)
{
    for (int i = 0; i < 2; i++) {
        env.exit.open_v6 = EXIT_E_FAMILY;
        env.exit.open_later = i > 0;
        app_asks("example.com", 28);
        app_asks("example.com", 1);
        if (i > 0)
            fake_exit_answer(env.exit.last);
        make_query("example.com", 28);
        check_code(0);
        check_silence();
        ck_assert_uint_eq(env.exit.n_sent, i + 1u);
        ck_assert_uint_eq(env.exit.sent[i].data[query_len - 3], 1);
        ck_assert_uint_eq(env.counters.gate_dns_no_family, i + 1u);
        fake_exit_lose(env.exit.last, EXIT_E_DOWN);
        make_query("example.com", 1);
        check_code(2);
    }
}
END_TEST

START_TEST(a_server_that_is_denied_fails_at_once)
{
    fake_exit_deny(&env.exit, "9.9.9.9");
    app_asks("example.com", 1);
    check_code(2);
    env.exit.n_deny = 0;
    env.exit.permit_later = true;
    app_asks("example.com", 1);
    check_silence();
    for (int i = 0; i < 4; i++)
        fake_exit_permitted(&env.exit, "9.9.9.9", EXIT_E_FORBIDDEN);
    check_code(2);
}
END_TEST

START_TEST(queries_are_limited)
{
    for (int i = 0; i < GATE_QUERIES_MAX; i++)
        app_asks("example.com", 1);
    check_silence();
    app_asks("example.com", 1);
    check_code(2);
    check_silence();
    ck_assert_uint_eq(env.exit.n_sent, GATE_QUERIES_MAX);
    env_pass(5);
    ck_assert_uint_eq(env.counters.gate_dns_failed, GATE_QUERIES_MAX + 1);
    env.n_looked = env.n_said;
    app_asks("example.com", 1);
    check_silence();
}
END_TEST

START_TEST(without_a_server_queries_fail)
{
    env_end();
    env_begin_with(0);
    env_keeper_works();
    app_asks("example.com", 1);
    check_code(2);
    ck_assert_uint_eq(env.exit.n_opened, 0);
}
END_TEST

START_TEST(the_association_ends_when_nobody_asks)
{
    app_asks("example.com", 1);
    server_answers(SERVER, 0, 0);
    env_pass(59);
    ck_assert_ptr_nonnull(env.exit.last);
    env_pass(1);
    ck_assert_ptr_null(env.exit.last);
    app_asks("example.com", 1);
    ck_assert_uint_eq(env.exit.n_opened, 2);
}
END_TEST

START_TEST(a_query_too_long_to_keep_fails)
{
    make_query("example.com", 1);
    memset(query + query_len, 0, sizeof(query) - query_len);
    app_sends_bytes(APP, ASKED, query, sizeof(query));
    check_silence();
    ck_assert_uint_eq(env.exit.sent[0].len, sizeof(query));
    {
        uint8_t longer[sizeof(query) + 1] = {0};

        memcpy(longer, query, sizeof(query));
        app_sends_bytes(APP, ASKED, longer, sizeof(longer));
    }
    check_code(2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front/gate_dns");
    TCase *t = tcase_create("dns");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_query_of_any_type_goes_to_our_server_and_its_answer_comes_back);
    tcase_add_test(t, ids_are_ours_and_differ);
    tcase_add_test(t, an_answer_goes_to_who_asked_in_the_name_of_whom_it_asked);
    tcase_add_test(t, an_answer_that_is_not_the_servers_is_dropped);
    tcase_add_test(t, names_that_only_mean_something_here_are_answered_here);
    tcase_add_test(t, what_is_no_query_gets_no_answer_or_an_error);
    tcase_add_test(t, while_the_exit_is_down_queries_fail_at_once);
    tcase_add_test(t, queries_wait_for_the_association);
    tcase_add_test(t, a_lost_association_fails_what_is_asked_and_the_next_query_opens_another);
    tcase_add_test(t, a_query_lost_in_mid_send_is_whole_on_the_wire_and_fails);
    tcase_add_test(t, a_query_on_its_way_outlives_the_gate);
    tcase_add_test(t, a_silent_server_is_followed_by_the_next_and_then_by_servfail);
    tcase_add_test(t, a_server_that_cannot_be_reached_is_passed_over);
    tcase_add_test(t, addresses_of_a_family_that_the_relay_has_not_are_not_told);
    tcase_add_test(t, a_server_that_is_denied_fails_at_once);
    tcase_add_test(t, queries_are_limited);
    tcase_add_test(t, without_a_server_queries_fail);
    tcase_add_test(t, the_association_ends_when_nobody_asks);
    tcase_add_test(t, a_query_too_long_to_keep_fails);
    suite_add_tcase(s, t);
    return suite_run(s);
}
