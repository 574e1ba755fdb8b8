/*
 * A joined pair of a TCP allocation (RFC 6062, section 5): bytes, back-pressure,
 * bandwidth, ends of file, closing in every order.
 */
#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/support/turn_world.h"

static struct world *w;
static struct fake_client *fc, *data;
static struct login login;
static struct far *peer, *client; /* the two far ends */
static size_t n_answer;           /* bytes of the ConnectionBind answer in client->got */
static uint32_t id;

static void setup_waiting(void)
{
    struct reply reply;

    w = world_new();
    fc = world_client(w, TRANSPORT_TCP, CLIENT);
    data = world_client(w, TRANSPORT_TCP, "198.51.100.77:42000");
    login = login_old(fc, "alice", "wonderland");
    ck_assert_uint_eq(ask_allocate_tcp(fc, &login), 0);
    ck_assert_uint_eq(ask_connect(fc, &login, PEER, &reply), 0);
    id = reply_u32(&reply, STUN_CONNECTION_ID);
    peer = w->exit.connected;
}

static void join(void)
{
    ck_assert_uint_eq(ask_connection_bind(data, &login, id, NULL), 0);
    client = data->far;
    n_answer = (size_t)(STUN_HEADER_LEN + (client->got[2] << 8 | client->got[3]));
}

static void setup(void)
{
    setup_waiting();
    join();
}

static void teardown(void)
{
    world_free(w);
}

static void check_client_got(const char *text)
{
    ck_assert_uint_eq(client->n_got - n_answer, strlen(text));
    ck_assert_mem_eq(client->got + n_answer, text, strlen(text));
}

static void check_peer_got(const char *text)
{
    ck_assert_uint_eq(peer->n_got, strlen(text));
    ck_assert_mem_eq(peer->got, text, strlen(text));
}

/* ---- before the bind (waiting) ---- */

START_TEST(a_peers_early_bytes_stay_in_the_kernel_and_follow_the_answer)
{
    ck_assert(far_is_paused(peer));
    far_write(peer, "early ", 6);
    fake_streams_turn();
    ck_assert_uint_eq(far_n_unread(peer), 6);
    join();
    far_write(peer, "late", 4);
    fake_streams_turn();
    check_client_got("early late");
}
END_TEST

START_TEST(a_peers_early_bytes_and_end_of_file_both_arrive)
{
    far_write(peer, "all I have", 10);
    far_fin(peer);
    fake_streams_turn();
    ck_assert(!peer->freed);
    join();
    fake_streams_turn();
    check_client_got("all I have");
    ck_assert(client->fin);
}
END_TEST

/* A stream that reads ahead may report the end before anyone is there to be told. */
START_TEST(an_end_of_file_reported_before_the_bind_is_passed_on_after_it)
{
    stream_resume(peer->stream);
    far_fin(peer);
    ck_assert(!peer->freed);
    join();
    fake_streams_turn();
    ck_assert(client->fin);
    far_write(client, "still heard", 11);
    check_peer_got("still heard");
}
END_TEST

START_TEST(a_peer_that_closes_before_the_bind_is_forgotten)
{
    far_reset(peer);
    fake_streams_turn();
    ck_assert(peer->freed);
    ck_assert_uint_eq(w->counters.peer_connections, 0);
    ck_assert_uint_eq(ask_connection_bind(data, &login, id, NULL), 400);
}
END_TEST

START_TEST(an_allocation_that_ends_closes_waiting_peers)
{
    fake_client_close(fc);
    ck_assert(peer->freed);
}
END_TEST

/* ---- joined ---- */

START_TEST(bytes_cross_unchanged_both_ways)
{
    far_write(peer, "GET / ", 6);
    far_write(peer, "HTTP/1.1", 8);
    far_write(client, "\x00\x01\x00\x00", 4);
    check_client_got("GET / HTTP/1.1");
    ck_assert_uint_eq(peer->n_got, 4);
    ck_assert_mem_eq(peer->got, "\x00\x01\x00\x00", 4);
    ck_assert_uint_eq(w->counters.down_bytes, 14);
    ck_assert_uint_eq(w->counters.up_bytes, 4);
}
END_TEST

START_TEST(client_bytes_behind_the_bind_are_relayed_once_it_is_answered)
{
    /* take_stream() hands over what came in the same segment: it waits in the stream. */
    far_write(client, "at once", 7);
    fake_streams_turn();
    check_peer_got("at once");
}
END_TEST

START_TEST(a_slow_reader_pauses_the_other_end_until_it_has_caught_up)
{
    static uint8_t block[64 * 1024];

    client->window = n_answer;
    for (int i = 0; i < 20 && !far_is_paused(peer); i++)
        far_write(peer, block, sizeof(block));
    ck_assert(far_is_paused(peer));
    ck_assert_uint_le(client->n_got - n_answer, 256 * 1024 + sizeof(block));
    far_write(client, "other way", 9);
    check_peer_got("other way");
    far_write(peer, block, 100);
    ck_assert_uint_eq(far_n_unread(peer), 100);
    far_drain(client);
    fake_streams_turn();
    ck_assert(!far_is_paused(peer));
    ck_assert_uint_eq(far_n_unread(peer), 0);
}
END_TEST

START_TEST(bandwidth_is_throttled_not_dropped)
{
    static uint8_t block[30000];

    w->conf->max_bandwidth_per_allocation = 10000;
    far_write(peer, block, sizeof(block));
    ck_assert(far_is_paused(peer));
    ck_assert_uint_eq(client->n_got - n_answer, sizeof(block));
    far_write(peer, block, 1);
    world_pass(1);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert(far_is_paused(peer)); /* still 10000 in debt */
    world_pass(1);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert(!far_is_paused(peer));
    fake_streams_turn();
    ck_assert_uint_eq(client->n_got - n_answer, sizeof(block) + 1);
    ck_assert_uint_eq(w->counters.drop_bandwidth, 0);
}
END_TEST

START_TEST(each_direction_is_throttled_by_itself)
{
    static uint8_t block[30000];

    w->conf->max_bandwidth_per_allocation = 10000;
    far_write(client, block, sizeof(block));
    ck_assert(far_is_paused(client));
    ck_assert(!far_is_paused(peer));
    far_write(peer, "x", 1);
    check_client_got("x");
}
END_TEST

START_TEST(a_throttled_and_blocked_end_resumes_only_when_both_are_over)
{
    static uint8_t block[300 * 1024];

    client->window = n_answer;
    w->conf->max_bandwidth_per_allocation = 200 * 1024;
    far_write(peer, block, sizeof(block));
    ck_assert(far_is_paused(peer));
    world_pass(5);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert(far_is_paused(peer));
    far_drain(client);
    fake_streams_turn();
    ck_assert(!far_is_paused(peer));
}
END_TEST

/* ---- the end ---- */

START_TEST(half_close_is_passed_on_and_the_other_way_goes_on)
{
    far_write(peer, "bye", 3);
    far_fin(peer);
    fake_streams_turn();
    ck_assert(client->fin);
    ck_assert(!client->close_called);
    far_write(client, "one more", 8);
    check_peer_got("one more");
    check_client_got("bye");
}
END_TEST

START_TEST(both_half_closes_end_the_pair_whichever_comes_first)
{
    far_fin(client);
    ck_assert(peer->fin);
    far_fin(peer);
    fake_streams_turn();
    ck_assert(client->freed);
    ck_assert(peer->freed);
    ck_assert(!client->reset);
    ck_assert(!peer->reset);
    ck_assert_uint_eq(w->counters.peer_connections, 0);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
    /* The peer may be connected to again. */
    ck_assert_uint_eq(ask_connect(fc, &login, PEER, NULL), 0);
}
END_TEST

START_TEST(both_half_closes_the_other_way_round)
{
    far_fin(peer);
    far_fin(client);
    fake_streams_turn();
    ck_assert(client->freed);
    ck_assert(peer->freed);
}
END_TEST

START_TEST(closing_the_peer_closes_the_client_with_what_it_was_sent)
{
    far_write(peer, "last words", 10);
    far_reset(peer);
    fake_streams_turn();
    check_client_got("last words");
    ck_assert(client->close_called);
    ck_assert_int_eq(client->close_reason, -ECONNRESET);
    ck_assert(client->reset); /* cut short, and not to be taken for whole */
    ck_assert(client->freed);
    ck_assert_uint_eq(w->counters.peer_connections, 0);
}
END_TEST

START_TEST(closing_the_client_closes_the_peer)
{
    far_write(client, "last words", 10);
    far_reset(client);
    fake_streams_turn();
    check_peer_got("last words");
    ck_assert(peer->freed);
    ck_assert_uint_eq(turn_n_allocations(w->turn), 1);
}
END_TEST

START_TEST(both_closing_at_once_is_no_trouble)
{
    far_reset(client);
    far_reset(peer);
    fake_streams_turn();
    ck_assert(client->freed);
    ck_assert(peer->freed);
}
END_TEST

/* The one that is left over closes once its output has gone; until then it may still send. */
START_TEST(bytes_and_ends_while_closing_do_not_cut_the_output_short)
{
    client->window = n_answer;
    far_write(peer, "last words", 10);
    far_reset(peer);
    fake_streams_turn();
    ck_assert(peer->freed);
    far_write(client, "too late", 8);
    far_fin(client);
    fake_streams_turn();
    ck_assert(!client->freed);
    far_drain(client);
    fake_streams_turn();
    check_client_got("last words");
    ck_assert(client->freed);
}
END_TEST

START_TEST(losing_the_control_connection_closes_both_ends)
{
    fake_client_close(fc);
    ck_assert(peer->freed);
    ck_assert(client->freed);
    ck_assert_uint_eq(w->counters.peer_connections, 0);
}
END_TEST

START_TEST(refresh_to_zero_closes_both_ends)
{
    ck_assert_uint_eq(ask_refresh(fc, &login, 0, NULL), 0);
    ck_assert(peer->freed);
    ck_assert(client->freed);
}
END_TEST

START_TEST(expiry_closes_both_ends)
{
    world_pass(600);
    turn_sweep(w->turn, fake_now_ns);
    ck_assert(peer->freed);
    ck_assert(client->freed);
}
END_TEST

START_TEST(taking_the_user_off_the_list_closes_both_ends)
{
    world_reload(w, "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\nbob = builder\n");
    ck_assert(peer->freed);
    ck_assert(client->freed);
}
END_TEST

START_TEST(a_joined_pair_does_not_time_out)
{
    ck_assert_uint_eq(ask_refresh(fc, &login, 3600, NULL), 0);
    world_pass(3000);
    turn_sweep(w->turn, fake_now_ns);
    far_write(peer, "awake", 5);
    check_client_got("awake");
}
END_TEST

START_TEST(settings_may_change_under_a_joined_pair)
{
    world_reload(w, "[relay]\nlisten = udp://192.0.2.1:3478\n[users]\nalice = wonderland\n"
                    "[limits]\nmax-bandwidth-per-allocation = 1000\n");
    far_write(peer, "still here", 10);
    check_client_got("still here");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("turn/tcp_relay");
    TCase *t = tcase_create("joined");
    TCase *u = tcase_create("waiting");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, bytes_cross_unchanged_both_ways);
    tcase_add_test(t, client_bytes_behind_the_bind_are_relayed_once_it_is_answered);
    tcase_add_test(t, a_slow_reader_pauses_the_other_end_until_it_has_caught_up);
    tcase_add_test(t, bandwidth_is_throttled_not_dropped);
    tcase_add_test(t, each_direction_is_throttled_by_itself);
    tcase_add_test(t, a_throttled_and_blocked_end_resumes_only_when_both_are_over);
    tcase_add_test(t, half_close_is_passed_on_and_the_other_way_goes_on);
    tcase_add_test(t, both_half_closes_end_the_pair_whichever_comes_first);
    tcase_add_test(t, both_half_closes_the_other_way_round);
    tcase_add_test(t, closing_the_peer_closes_the_client_with_what_it_was_sent);
    tcase_add_test(t, closing_the_client_closes_the_peer);
    tcase_add_test(t, both_closing_at_once_is_no_trouble);
    tcase_add_test(t, bytes_and_ends_while_closing_do_not_cut_the_output_short);
    tcase_add_test(t, losing_the_control_connection_closes_both_ends);
    tcase_add_test(t, refresh_to_zero_closes_both_ends);
    tcase_add_test(t, expiry_closes_both_ends);
    tcase_add_test(t, taking_the_user_off_the_list_closes_both_ends);
    tcase_add_test(t, a_joined_pair_does_not_time_out);
    tcase_add_test(t, settings_may_change_under_a_joined_pair);
    suite_add_tcase(s, t);

    tcase_add_checked_fixture(u, setup_waiting, teardown);
    tcase_add_test(u, a_peers_early_bytes_stay_in_the_kernel_and_follow_the_answer);
    tcase_add_test(u, a_peers_early_bytes_and_end_of_file_both_arrive);
    tcase_add_test(u, an_end_of_file_reported_before_the_bind_is_passed_on_after_it);
    tcase_add_test(u, a_peer_that_closes_before_the_bind_is_forgotten);
    tcase_add_test(u, an_allocation_that_ends_closes_waiting_peers);
    suite_add_tcase(s, u);
    return suite_run(s);
}
